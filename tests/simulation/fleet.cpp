// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/fleet.h"

#include <algorithm>

#include "ctl/plan/eligibility.h"
#include "ctl/plan/maglev.h"

namespace fairlead::simulation {
namespace {

constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::uint64_t kBeginNs = 5'000'000 * kNsPerMs;
constexpr std::uint32_t kTicksPerSecond = 1000 / Fleet::kTickMs;
constexpr std::uint32_t kScanTicks = 10 * kTicksPerSecond;

}  // namespace

Fleet::Fleet(const TrafficShape& shape, ConnectionsOutcome& outcome)
    : outcome_(outcome),
      pool_({.backends = kBackends, .slots = shape.slots, .pins = shape.pins, .idle_timeout_s = shape.idle_timeout_s}),
      engine_(pool_.engine()),
      scan_(pool_.tables()),
      times_{shape.idle_timeout_s, shape.idle_timeout_s},
      backends_(kBackends),
      states_(kBackends, FL_BACKEND_HEALTHY),
      owners_(shape.slots, kNobody),
      dead_(kBackends, false),
      moves_(shape.slots, 0) {
    for (std::uint16_t i = 0; i < kBackends; ++i) names_.push_back("b" + std::to_string(i));
    config_.name = "web";
    config_.checks.emplace_back();
    pool_.set_words(FL_SLOT_SETTLED(kNobody));
    set_now(0);
    planner_.emplace(times_, view(), clock());
}

void Fleet::set_now(std::uint32_t now_ms) {
    now_ms_ = now_ms;
    engine_.now_ns = engine_.now_coarse_ns = kBeginNs + now_ms * kNsPerMs;
}

plan::SlotsView Fleet::view() { return {words(), {&pool_.stamp(0), owners_.size()}, dead_}; }

plan::TransitionClock Fleet::clock() const {
    return {.now_ns = engine_.now_coarse_ns, .graces = graces_, .scans = {scan_.begun(), scan_.done()}};
}

void Fleet::restart_controller() { planner_.emplace(times_, view(), clock()); }

void Fleet::set_failing(std::uint16_t backend, bool failing) {
    auto& b = backends_[backend];
    if (failing && !b.failing) b.failing_since = now_ms_;
    b.failing = failing;
    if (!failing) b.gone = false;
    changed_ = true;
}

void Fleet::set_up(std::uint16_t backend, bool up) {
    auto& b = backends_[backend];
    if (b.up && !up) b.died = now_ms_;
    b.up = up;
}

void Fleet::find_the_dead() {
    for (auto& b : backends_) {
        const bool dies = b.failing && (b.gone || now_ms_ - b.failing_since > kFailureGraceMs);
        if (dies && !b.dead) {
            b.dead = changed_ = true;
            b.died = now_ms_;
            b.death_ticket = graces_.begun + 1;
        } else if (b.dead && !b.failing && graces_.done >= b.death_ticket) {
            b.dead = false;
            changed_ = true;
        }
    }
}

void Fleet::decide() {
    std::vector<std::uint16_t> order;
    plan::PoolHealth health;
    plan::PoolOverrides overrides;
    config_.backends.clear();
    for (std::uint16_t i = 0; i < kBackends; ++i) {
        const auto& b = backends_[i];
        if (!b.present) continue;
        order.push_back(i);
        config_.backends.emplace_back();
        config_.backends.back().name = names_[i];
        config_.backends.back().tier = b.tier;
        health[names_[i]].verdict = b.failing || b.dead ? plan::Verdict::kDown : plan::Verdict::kUp;
        overrides[names_[i]].drained = b.drained;
        overrides[names_[i]].weight = b.weight;
    }
    const auto decision = plan::decide_pool(config_, health, overrides);
    std::vector<plan::Candidate> candidates;
    for (std::size_t i = 0; i < order.size(); ++i) {
        const auto index = order[i];
        const auto& decided = decision.backends[i];
        if (decided.in_use) candidates.push_back({index, names_[index], decided.weight});
        const auto state = backends_[index].dead ? FL_BACKEND_DEAD : decided.state;
        if (state != states_[index]) pool_.set_state(index, state);
        states_[index] = state;
        dead_[index] = backends_[index].dead;
    }
    plan::fill_owners(owners_, candidates);
    changes_.clear();
    planner_->retarget(view(), owners_, clock(), changes_);
    for (auto& b : backends_)
        if (b.dead) b.death_ticket = graces_.begun + 1;
    apply(changes_);
    ++outcome_.changes;
}

void Fleet::apply(const std::vector<plan::SlotChange>& changes) {
    const auto now = plan::stamp_of(engine_.now_coarse_ns);
    for (const auto& change : changes) {
        auto& word = words()[change.slot];
        auto& stamp = pool_.stamp(change.slot);
        if (change.restart_previous) stamp.previous_used = now;
        if (change.restart_pin) stamp.pin_used = now;
        if (FL_SLOT_OWNER(word) != kNobody && FL_SLOT_OWNER(word) != FL_SLOT_OWNER(change.word)) {
            const auto moves = ++moves_[change.slot];
            ++outcome_.slots_moved;
            outcome_.moved_twice += moves == 2;
            outcome_.moved_thrice += moves == 3;
        }
        if (word & FL_SLOT_LOOKUP && !(change.word & FL_SLOT_LOOKUP)) {
            ++outcome_.settled;
            moves_[change.slot] = 0;
        }
        tables::store_word(word, change.word);
    }
}

void Fleet::tick() {
    graces_.done = graces_.begun;
    ++graces_.begun;
    find_the_dead();
    if (changed_) decide();
    changed_ = false;
    scan_.run(std::max(1U, scan_.buckets() / kScanTicks), engine_.now_coarse_ns);
    changes_.clear();
    planner_->advance(view(), clock(), static_cast<std::uint32_t>(owners_.size()) / kTicksPerSecond, changes_);
    apply(changes_);
}

std::vector<std::uint32_t> Fleet::slots_of(std::uint16_t backend) const {
    std::vector<std::uint32_t> slots;
    for (std::uint32_t slot = 0; slot < owners_.size(); ++slot)
        if (owners_[slot] == backend) slots.push_back(slot);
    return slots;
}

std::uint16_t Fleet::heir_to(std::span<const std::uint32_t> slots) const {
    std::vector<std::uint32_t> count(kBackends);
    for (const auto slot : slots)
        if (owners_[slot] != kNobody) ++count[owners_[slot]];
    return static_cast<std::uint16_t>(std::max_element(count.begin(), count.end()) - count.begin());
}

std::uint64_t Fleet::pins_used() {
    std::uint64_t used = 0;
    for (const auto& bucket : pool_.tables().pins())
        for (const auto word : bucket.words) used += word != 0;
    return used;
}

}  // namespace fairlead::simulation
