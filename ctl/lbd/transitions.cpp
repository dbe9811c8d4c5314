// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/transitions.h"

#include <algorithm>
#include <utility>

namespace fairlead {
namespace {
constexpr std::uint32_t kSlotsAStep = 1U << 18;
// A scan of the pins takes 64 steps, or more where the table is so large that a step would look at more than 4 MiB.
constexpr std::uint32_t kStepsAScan = 64;
constexpr std::uint32_t kFewestBuckets = 1024;
constexpr std::uint32_t kMostBuckets = 1U << 16;

std::uint32_t waiting_for_graces(const plan::SlotTransitions& transitions) {
    using enum plan::SlotPhase;
    std::uint32_t sum = 0;
    for (const auto phase : {kSeen, kLastConnections, kGrace, kLastGrace})
        sum += transitions.phases()[static_cast<std::size_t>(phase)];
    return sum;
}

std::uint64_t key_of(std::uint32_t pool, std::uint16_t backend) { return std::uint64_t{pool} << 16 | backend; }
}  // namespace

Transitions::Transitions(tables::TableWriter& writer, std::unique_ptr<tables::GracePeriod> grace, bool settle_at_once)
    : writer_(writer), graces_(std::move(grace)), scan_(writer.tables()), settle_at_once_(settle_at_once) {}

plan::TransitionClock Transitions::clock() const {
    return {tables::monotonic_ns(), graces_.turns(), {scan_.begun(), scan_.done()}};
}

// Datagrams without a pin are an old flow's for the learning time: new ones go to the previous owner meanwhile, which for a
// whole hour would be no drain.
plan::TransitionTimes Transitions::times(std::uint32_t pool) const {
    constexpr std::uint32_t kLongestLearning_s = 60;
    const auto idle = tables::load_word(writer_.tables().pools()[pool].idle_timeout_s);
    return {.idle_timeout_s = idle, .learning_s = std::min(idle, kLongestLearning_s)};
}

plan::SlotsView Transitions::view_of(std::uint32_t id, Pool& pool) {
    const auto slots = writer_.slots_of(id);
    pool.dead = writer_.dead_backends(id);
    return {slots.words, slots.stamps, pool.dead, idle_.contains(id)};
}

Result<void> Transitions::set_idle(const std::set<std::uint32_t>& pools) {
    const auto before = std::exchange(idle_, pools);
    std::erase_if(idle_, [this](const auto id) { return following(id); });
    for (const auto id : idle_) {
        if (before.contains(id)) continue;
        if (auto forgot = retarget(id); !forgot) return forgot;
    }
    return {};
}

Result<void> Transitions::set_following(const std::set<std::uint32_t>& pools) {
    const auto before = std::exchange(following_, {});
    for (const auto id : pools) {
        if (writer_.slot_count(id) == 0) continue;
        const auto known = before.find(id);
        following_.emplace(id, known != before.end() ? known->second : tables::monotonic_ns());
        idle_.erase(id);
        pools_.erase(id);
    }
    hold_pins();
    Result<void> result;
    for (const auto& [id, since] : before) {
        if (following(id) || writer_.slot_count(id) == 0) continue;
        if (auto adopted = retarget(id); !adopted) result = adopted;  // and what it missed meanwhile: who is dead
    }
    return result;
}

void Transitions::hold_pins() {
    std::set<std::uint32_t> pools;
    for (const auto& [id, since] : following_) pools.insert(id);
    scan_.hold(pools);
}

bool Transitions::following(std::uint32_t pool) const { return following_.contains(pool); }

Result<void> Transitions::put_slots(std::uint32_t id, std::span<const tables::SlotChange> changes) {
    if (!following(id)) return fail("pool " + std::to_string(id) + " follows no other node's", EINVAL);
    return writer_.change_slots(id, changes, plan::stamp_of(tables::monotonic_ns()));
}

Transitions::Pool& Transitions::adopt(std::uint32_t id) {
    const auto slots = writer_.slots_of(id);
    const auto found = pools_.find(id);
    if (found != pools_.end() && found->second.base == slots.base && found->second.slots == slots.words.size()) {
        found->second.transitions.set_times(times(id));
        return found->second;
    }
    auto dead = writer_.dead_backends(id);
    const plan::SlotsView view{slots.words, slots.stamps, dead, idle_.contains(id)};
    Pool pool{slots.base, static_cast<std::uint32_t>(slots.words.size()), {times(id), view, clock()}, std::move(dead)};
    return pools_.insert_or_assign(id, std::move(pool)).first->second;
}

void Transitions::follow_tables() {
    const auto records = writer_.tables().pools();
    std::erase_if(pools_, [&](const auto& entry) { return writer_.slot_count(entry.first) == 0; });
    released_.clear();  // who still leaves is asked for again
    std::erase_if(following_, [&](const auto& entry) { return writer_.slot_count(entry.first) == 0; });
    hold_pins();
    for (std::uint32_t id = 1; id < records.size(); ++id)
        if (writer_.slot_count(id) > 0 && !following(id)) adopt(id);
    request_graces();
}

Result<void> Transitions::store(std::uint32_t id, const plan::TransitionClock& clock) {
    auto stored = writer_.change_slots(id, changes_, plan::stamp_of(clock.now_ns));
    changes_.clear();
    return stored;
}

Result<void> Transitions::retarget(std::uint32_t id, std::span<const std::uint16_t> owners) {
    if (following(id)) return {};
    if (settle_at_once_) {
        const auto stored = writer_.set_slots(id, owners);
        return stored ? Result<void>{} : tl::unexpected(stored.error());
    }
    auto& pool = adopt(id);
    const auto held = graces_.hold();  // tickets are drawn before the words are stored that they are for
    const auto now = clock();
    changes_.clear();
    pool.transitions.retarget(view_of(id, pool), owners, now, changes_);
    auto stored = store(id, now);
    if (!stored) pools_.erase(id);  // adopted again, as the slots are
    request_graces();
    return stored;
}

Result<void> Transitions::retarget(std::uint32_t id) {
    std::vector<std::uint16_t> owners;
    for (const auto word : writer_.slots_of(id).words)
        owners.push_back(static_cast<std::uint16_t>(FL_SLOT_OWNER(word)));
    return retarget(id, owners);
}

void Transitions::advance(const plan::TransitionClock& clock) {
    std::vector<std::uint32_t> moving;
    for (const auto& [id, pool] : pools_)
        if (pool.transitions.in_transition()) moving.push_back(id);
    std::ranges::sort(moving);
    std::ranges::rotate(moving, std::ranges::lower_bound(moving, next_pool_));
    auto budget = kSlotsAStep;
    for (const auto id : moving) {
        if (budget == 0) {
            next_pool_ = id;
            return;
        }
        auto& pool = pools_.find(id)->second;
        const auto share = std::min(budget, pool.slots);
        budget -= share;
        pool.transitions.advance(view_of(id, pool), clock, share, changes_);
        if (!store(id, clock))
            pools_.erase(id);
        else if (pool.transitions.in_transition() == 0)
            pool.transitions.advance(view_of(id, pool), clock, 0, changes_);  // gives its memory back
    }
    next_pool_ = 0;
}

void Transitions::request_graces() {
    const bool wanted =
        std::ranges::any_of(pools_, [](const auto& entry) { return waiting_for_graces(entry.second.transitions) > 0; });
    const auto turns = graces_.turns();
    if (wanted || drawn_ > turns.done) graces_.request(std::max(turns.ticket(), drawn_));
}

void Transitions::step() {
    const auto buckets = std::clamp(scan_.buckets() / kStepsAScan, kFewestBuckets, kMostBuckets);
    scan_.run(buckets, tables::monotonic_ns());
    {
        const auto held = graces_.hold();
        advance(clock());
    }
    request_graces();
}

bool Transitions::busy() const {
    return in_transition() > 0 || scan_.done() == 0 || scan_.begun() != scan_.done() || scan_.counts().used() > 0 ||
           scan_.holds() || !released_.empty() || drawn_ > graces_.turns().done;
}

std::uint64_t Transitions::draw_ticket() {
    drawn_ = graces_.turns().ticket();
    graces_.request(drawn_);
    return drawn_;
}

bool Transitions::follow_pins(Released& released, std::uint64_t pins) {
    const auto scan_ticket = tables::Turns{scan_.begun(), scan_.done()}.ticket();
    switch (released.stage) {
        case Stage::kWords:
        case Stage::kTouches:
            if (turns_done() < released.ticket) break;
            released.stage = released.stage == Stage::kWords ? Stage::kScan : Stage::kLastScan;
            released.ticket = scan_ticket;
            break;
        case Stage::kScan:
        case Stage::kLastScan:
            if (scan_.done() < released.ticket) break;
            if (pins > 0) {
                released = {Stage::kScan, scan_ticket};
            } else if (released.stage == Stage::kScan) {
                released = {Stage::kTouches, draw_ticket()};
            } else {
                released.stage = Stage::kNone;
            }
            break;
        case Stage::kNone:
            break;
    }
    return released.stage == Stage::kNone;
}

Transitions::Uses Transitions::uses(std::uint32_t pool, std::uint16_t backend) {
    Uses uses;
    for (const auto word : writer_.slots_of(pool).words)
        uses.slots += FL_SLOT_OWNER(word) == backend || FL_SLOT_PREVIOUS(word) == backend;
    const auto global = writer_.global_index(pool, backend);
    const auto& counted = scan_.counts().by_backend;
    uses.pins = global < counted.size() ? counted[global] : 0;
    const auto key = key_of(pool, backend);
    if (uses.slots > 0) {
        released_.erase(key);
        return uses;
    }
    const auto [found, is_new] = released_.try_emplace(key);
    if (is_new) found->second.ticket = draw_ticket();
    uses.none = follow_pins(found->second, uses.pins);
    if (uses.none) released_.erase(found);
    return uses;
}

// What the other node's slots wait for there, as far as their words say.
Transitions::PoolView Transitions::view_of_words(std::uint32_t id) const {
    using enum plan::SlotPhase;
    PoolView view;
    for (const auto word : writer_.slots_of(id).words) {
        const bool settled = !(word & FL_SLOT_LOOKUP);
        const bool differs = FL_SLOT_OWNER(word) != FL_SLOT_PREVIOUS(word);
        ++view.slots;
        view.in_transition += settled ? 0 : 1;
        ++view.phases[static_cast<std::size_t>(settled ? kSettled : differs ? kConnections : kPins)];
    }
    if (view.in_transition > 0) view.oldest_ns = following_.at(id);
    return view;
}

Transitions::PoolView Transitions::view(std::uint32_t id) const {
    if (following(id)) return view_of_words(id);
    const auto found = pools_.find(id);
    if (found == pools_.end()) return {};
    const auto& [base, slots, transitions, dead] = found->second;
    return {slots, transitions.in_transition(), transitions.phases(), transitions.oldest_ns()};
}

std::uint32_t Transitions::in_transition() const {
    std::uint32_t sum = 0;
    for (const auto& [id, pool] : pools_) sum += pool.transitions.in_transition();
    return sum;
}

}  // namespace fairlead
