// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/connections.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>

#include "tests/simulation/dice.h"
#include "tests/simulation/fleet.h"
#include "tests/simulation/lru_table.h"
#include "tests/simulation/script.h"

namespace fairlead::simulation {
namespace {

constexpr std::uint16_t kNobody = Fleet::kNobody;
constexpr std::uint32_t kNone = ~0U;
constexpr std::uint32_t kLastBirthMs = 5'000;  // before the end: handshakes are over by then
constexpr std::size_t kAddressAt = 14 + 12, kPortAt = 14 + 20, kChecksumAt = kPortAt + 16;
constexpr std::uint32_t kSynAgainMs[] = {0, 1'000, 3'000};  // RFC 6298: doubled each time

enum class Stage : std::uint8_t { kHandshake, kOpen, kLastAck };

struct Flow {
    std::uint64_t hash = 0;
    std::uint32_t next = kNone;  // of those that are due at one time, or are free
    std::uint32_t address = 0, begin_ms = 0, end_ms = 0, slot = 0;
    std::array<std::uint16_t, kSchemes> backend{};  // kNobody: it is over for this one
    std::uint16_t port = 0;
    Stage stage = Stage::kHandshake;
    std::uint8_t syns = 0, repeats = 0, answered = 0;  // which SYN's answer counts
    bool tracked = false, used = false, leaves = false;
};

class Traffic {
  public:
    Traffic(Scenario scenario, const TrafficShape& shape)
        : shape_(shape),
          dice_(shape.seed * 1000 + static_cast<std::uint64_t>(scenario)),
          fleet_(shape, outcome_),
          script_(scenario, fleet_, dice_, shape.seconds),
          lru_(shape.pins),
          packets_(1024, test::MovingPool::kPort),
          first_backend_(fleet_.pool().global_index(0)),
          due_(shape.seconds * 1000 + 1, kNone),
          scenario_(scenario) {
        // No checksum is right for all flows. This one is never what an unfinished one is (parse.h).
        std::memset(&packets_.syn[kChecksumAt], 0, 2);
    }

    ConnectionsOutcome run();

  private:
    void begin_second(std::uint32_t second);
    void give_birth(std::uint32_t now);
    void schedule(std::uint32_t flow, std::uint32_t at);
    void run_flow(std::uint32_t index);
    void shake_hands(std::uint32_t index);
    void exchange(std::uint32_t index);
    void end(std::uint32_t index);
    void flood();
    void settle();

    std::uint16_t steer(test::Bytes& frame, Flow& flow);
    std::uint16_t remembered(const Flow& flow);
    std::uint16_t choose(std::size_t scheme, test::Bytes& frame, Flow& flow);
    bool deliver(test::Bytes& frame, Flow& flow);
    void judge(std::size_t scheme, const Flow& flow, std::uint16_t to);
    std::uint16_t port() { return static_cast<std::uint16_t>(dice_.between(1, 65'535)); }
    std::uint32_t lifetime_ms();
    std::uint32_t gap_ms();

    TrafficShape shape_;
    ConnectionsOutcome outcome_;
    Dice dice_;
    Fleet fleet_;
    Script script_;
    LruTable lru_;
    test::FlowPackets packets_;
    std::uint32_t first_backend_;
    std::vector<std::uint32_t> due_;  // first flow of each millisecond
    std::vector<Flow> flows_;
    std::uint32_t free_ = kNone;
    std::uint32_t now_ = 0;
    std::uint64_t live_ = 0;
    Flow departed_;  // its tuple may be used again
    Scenario scenario_;
};

// Heavy-tailed (Pareto, 1.05): half end within 16 s, some last for all of the time. A quarter hour's, where it is that.
std::uint32_t Traffic::lifetime_ms() {
    const double least_ms = 8'000.0 * shape_.seconds / 900;
    const double life = least_ms * std::pow(1 - dice_.fraction(), -1 / 1.05);
    return static_cast<std::uint32_t>(std::min(life, 1e9));
}

// Between two packets: mostly seconds, sometimes almost the idle timeout.
std::uint32_t Traffic::gap_ms() {
    const double idle_ms = shape_.idle_timeout_s * 1000.0;
    if (dice_.chance(0.1)) return 1 + dice_.below(static_cast<std::uint32_t>(0.95 * idle_ms));
    return 1 + static_cast<std::uint32_t>(std::min(-std::log(1 - dice_.fraction()) * idle_ms / 20, 0.9 * idle_ms));
}

void Traffic::schedule(std::uint32_t flow, std::uint32_t at) {
    at = std::clamp<std::uint32_t>(at, now_ + 1, static_cast<std::uint32_t>(due_.size()) - 1);
    flows_[flow].next = due_[at];
    due_[at] = flow;
}

std::uint16_t Traffic::steer(test::Bytes& frame, Flow& flow) {
    std::memcpy(&frame[kAddressAt], &flow.address, 4);
    std::memcpy(&frame[kPortAt], &flow.port, 2);
    const auto decision = fleet_.pool().decide(fleet_.engine(), frame);
    flow.hash = decision.hash;
    flow.slot = decision.slot;
    flow.tracked |= decision.pinned == FL_PINNED_NEW || decision.pinned == FL_PINNED_FOLLOWED;
    ++outcome_.packets;
    if (decision.action != FL_ACTION_FORWARD) return kNobody;
    return static_cast<std::uint16_t>(decision.backend_index - first_backend_);
}

std::uint16_t Traffic::remembered(const Flow& flow) {
    auto* const known = lru_.find(flow.hash);
    if (known && !fleet_.is_dead(*known)) return *known;
    const auto owner = fleet_.owner(flow.slot);
    if (known)
        *known = owner;
    else
        lru_.insert(flow.hash, owner);
    return owner;
}

std::uint16_t Traffic::choose(std::size_t scheme, test::Bytes& frame, Flow& flow) {
    if (scheme == kFairlead) return steer(frame, flow);
    return scheme == kMaglev ? fleet_.owner(flow.slot) : remembered(flow);
}

void Traffic::judge(std::size_t scheme, const Flow& flow, std::uint16_t to) {
    auto& outcome = outcome_.schemes[scheme];
    if (!flow.used && flow.repeats > 0) {
        ++outcome.failed_handshakes;
        return;
    }
    ++outcome.broken;
    if (scheme != kFairlead || !outcome_.first_fault.empty()) return;
    std::ostringstream out;
    out << to_string(scenario_) << ", seed " << shape_.seed << ": at " << now_ << " ms a connection begun at "
        << flow.begin_ms << " ms went from backend " << flow.backend[scheme] << " to " << to << " in slot " << flow.slot
        << (flow.used ? "" : ", at its first packet");
    outcome_.first_fault = out.str();
}

// To each scheme's own backend, where it has one still. False: nobody has.
bool Traffic::deliver(test::Bytes& frame, Flow& flow) {
    bool goes_on = false;
    for (std::size_t scheme = 0; scheme < kSchemes; ++scheme) {
        auto& backend = flow.backend[scheme];
        if (backend == kNobody) continue;
        if (fleet_.died_since(backend, flow.begin_ms)) {
            ++outcome_.schemes[scheme].lost;
            backend = kNobody;
            continue;
        }
        const auto to = choose(scheme, frame, flow);
        if (to == backend) {
            goes_on = true;
            continue;
        }
        judge(scheme, flow, to);
        backend = kNobody;
    }
    flow.used = true;
    return goes_on;
}

void Traffic::shake_hands(std::uint32_t index) {
    auto& flow = flows_[index];
    for (std::size_t scheme = 0; scheme < kSchemes; ++scheme) {
        const auto to = choose(scheme, packets_.syn, flow);
        if (flow.syns != flow.answered) continue;
        flow.backend[scheme] = to;
        if (to != kNobody && fleet_.is_up(to)) continue;
        flow.backend[scheme] = kNobody;
        ++outcome_.schemes[scheme].refused;
    }
    if (flow.syns < flow.repeats) {
        ++flow.syns;
        schedule(index, flow.begin_ms + kSynAgainMs[flow.syns]);
        return;
    }
    flow.stage = Stage::kOpen;
    schedule(index, now_ + dice_.between(5, 150));
}

void Traffic::exchange(std::uint32_t index) {
    auto& flow = flows_[index];
    const bool ends = flow.stage == Stage::kLastAck || now_ >= flow.end_ms;
    const bool says_so = ends && flow.leaves && flow.stage == Stage::kOpen;
    const bool goes_on = deliver(says_so ? packets_.fin : packets_.data, flow);
    if (!goes_on || (ends && !says_so)) return end(index);
    if (says_so) flow.stage = Stage::kLastAck;
    const auto next = now_ + (says_so ? 40 : gap_ms());
    schedule(index, says_so ? next : std::min(next, std::max(flow.end_ms, now_ + 1)));
}

void Traffic::end(std::uint32_t index) {
    auto& flow = flows_[index];
    outcome_.schemes[kFairlead].tracked += flow.tracked;
    departed_ = flow;
    flow.next = free_;
    free_ = index;
    --live_;
}

void Traffic::run_flow(std::uint32_t index) {
    if (flows_[index].stage == Stage::kHandshake)
        shake_hands(index);
    else
        exchange(index);
}

void Traffic::give_birth(std::uint32_t now) {
    auto index = free_;
    if (index == kNone) {
        index = static_cast<std::uint32_t>(flows_.size());
        flows_.emplace_back();
    } else {
        free_ = flows_[index].next;
    }
    Flow flow;
    flow.begin_ms = now;
    flow.end_ms = now + lifetime_ms();
    flow.address = static_cast<std::uint32_t>(dice_.bits());
    flow.port = port();
    if (departed_.port && dice_.chance(0.02)) {  // a tuple used again at once
        flow.address = departed_.address;
        flow.port = departed_.port;
        departed_.port = 0;
    }
    const double kind = dice_.fraction();
    flow.repeats = kind < 0.02 ? 2 : kind < 0.06 ? 1 : 0;
    flow.answered = static_cast<std::uint8_t>(dice_.below(flow.repeats + 1U));
    flow.leaves = dice_.chance(0.9);
    flows_[index] = flow;
    ++live_;
    ++outcome_.flows;
    outcome_.peak_live = std::max(outcome_.peak_live, live_);
    run_flow(index);
}

void Traffic::flood() {
    Flow nobody;
    for (std::uint32_t i = 0; i < shape_.flood_per_s / 1000; ++i) {
        nobody.address = static_cast<std::uint32_t>(dice_.bits());
        nobody.port = port();
        static_cast<void>(steer(packets_.syn, nobody));
        static_cast<void>(remembered(nobody));
        ++outcome_.flood;
    }
}

void Traffic::begin_second(std::uint32_t second) {
    script_.act(second);
    auto& peak = outcome_.schemes[kFairlead].peak_entries;
    peak = std::max(peak, fleet_.pins_used());
    outcome_.schemes[kLru].peak_entries = lru_.used();
}

// Without traffic, until nothing changes any more.
void Traffic::settle() {
    const auto until = now_ + 20 * shape_.idle_timeout_s * 1000 + 200'000;
    for (; now_ < until && (fleet_.slots_in_transition() > 0 || fleet_.pins_used() > 0); now_ += Fleet::kTickMs) {
        if (now_ % 1000 == 0) script_.act(now_ / 1000);
        fleet_.set_now(now_);
        fleet_.tick();
    }
    outcome_.slots_left = fleet_.slots_in_transition();
    outcome_.pins_left = fleet_.pins_used();
}

ConnectionsOutcome Traffic::run() {
    const auto end_ms = shape_.seconds * 1000;
    const auto last_birth = end_ms - kLastBirthMs;
    for (; now_ < end_ms; ++now_) {
        fleet_.set_now(now_);
        if (now_ % 1000 == 0) begin_second(now_ / 1000);
        if (now_ % Fleet::kTickMs == 0) fleet_.tick();
        if (script_.floods(now_ / 1000)) flood();
        while (outcome_.flows < shape_.flows * std::min(now_, last_birth) / last_birth) give_birth(now_);
        for (auto index = due_[now_]; index != kNone;) {
            const auto next = flows_[index].next;
            run_flow(index);
            index = next;
        }
    }
    for (auto index = due_.back(); index != kNone; index = flows_[index].next)
        outcome_.schemes[kFairlead].tracked += flows_[index].tracked;
    outcome_.schemes[kLru].tracked = outcome_.flows;
    settle();
    return outcome_;
}

}  // namespace

std::string_view to_string(Scenario scenario) {
    constexpr std::array<std::string_view, kScenarios.size()> kNames{
        "quiet", "flap", "drain", "scale_out", "weight", "slow_start", "tiers", "mix", "flood"};
    return kNames[static_cast<std::size_t>(scenario)];
}

ConnectionsOutcome simulate(Scenario scenario, const TrafficShape& shape) { return Traffic(scenario, shape).run(); }

}  // namespace fairlead::simulation
