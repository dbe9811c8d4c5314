// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/transition.h"

#include <algorithm>

#include "dataplane/tables/tables.h"

namespace fairlead::plan {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
// Coarse clocks lag by up to a tick of the kernel (10 ms), and an engine writes a little after it reads its clock.
constexpr std::uint32_t kStampSlack = 8;  // 34 ms

// Not negative: a stamp that is younger than the controller's clock has just been written.
std::uint32_t age_of(std::uint32_t now, std::uint32_t stamp) {
    const auto age = static_cast<std::int32_t>(now - stamp);
    return age > 0 ? static_cast<std::uint32_t>(age) : 0;
}

std::uint32_t stamps_in(std::uint32_t seconds) {
    return static_cast<std::uint32_t>((seconds * kNsPerSecond) >> FL_STAMP_SHIFT) + 1 + kStampSlack;
}

// A pin of this idle timeout that has not been touched for this long is expired, in its own coarser units.
std::uint32_t pin_lifetime(std::uint32_t idle_timeout_s) {
    constexpr std::uint32_t kStampsPerUnit = 1U << (FL_PIN_TIME_SHIFT - FL_STAMP_SHIFT);
    return (fl_pin_units(idle_timeout_s) + 1) * kStampsPerUnit + kStampSlack;
}

bool is_done(const Turns& turns, std::uint64_t ticket) { return turns.done >= ticket; }

bool looks_up(std::uint32_t word) { return word & FL_SLOT_LOOKUP; }

}  // namespace

std::uint32_t stamp_of(std::uint64_t now_ns) { return static_cast<std::uint32_t>(now_ns >> FL_STAMP_SHIFT); }

SlotTransitions::SlotTransitions(TransitionTimes times, const SlotsView& slots, const TransitionClock& clock)
    : times_(times) {
    phases_[static_cast<std::size_t>(SlotPhase::kSettled)] = static_cast<std::uint32_t>(slots.words.size());
    for (std::size_t slot = 0; slot < slots.words.size(); ++slot) {
        if (!looks_up(slots.words[slot])) continue;
        records_.resize(slots.words.size());
        auto& record = records_[slot];
        record.since_ns = clock.now_ns;
        record.learning_since = stamp_of(clock.now_ns);
        record.restarts_previous = record.restarts_pin = true;
        await(record, SlotPhase::kSeen, clock.graces);
    }
}

void SlotTransitions::enter(Record& record, SlotPhase phase) {
    --phases_[static_cast<std::size_t>(record.phase)];
    ++phases_[static_cast<std::size_t>(phase)];
    if (record.phase == SlotPhase::kSettled && phase != SlotPhase::kSettled) ++in_transition_;
    if (record.phase != SlotPhase::kSettled && phase == SlotPhase::kSettled) --in_transition_;
    record.phase = phase;
}

void SlotTransitions::await(Record& record, SlotPhase phase, const Turns& turns) {
    record.ticket = turns.ticket();
    enter(record, phase);
}

bool SlotTransitions::previous_is_void(const SlotsView& slots, std::uint32_t word) const {
    const auto previous = FL_SLOT_PREVIOUS(word);
    const bool forgets = slots.idle && FL_SLOT_OWNER(word) != FL_NO_BACKEND;
    return forgets || previous >= slots.dead.size() || slots.dead[previous];
}

// P := O. The owner's pins stay until every engine has seen it.
void SlotTransitions::forget_previous(SlotChange& change, Record& record, const TransitionClock& clock) {
    const auto owner = FL_SLOT_OWNER(change.word);
    change.word = FL_SLOT_WORD(owner, owner, 1, 1);
    await(record, SlotPhase::kSeen, clock.graces);
}

SlotChange SlotTransitions::change_owner(const SlotsView& slots, std::uint32_t slot, std::uint16_t owner,
                                         const TransitionClock& clock) {
    SlotChange change{.slot = slot, .word = slots.words[slot], .restart_previous = false, .restart_pin = true};
    auto& record = records_[slot];
    // What came without a pin while the previous owner was dead went to the present one, and stays there.
    if (looks_up(change.word) && previous_is_void(slots, change.word)) forget_previous(change, record, clock);
    const auto previous = FL_SLOT_PREVIOUS(change.word);
    const bool leaves = FL_SLOT_OWNER(change.word) == previous;  // O = P: unpinned flows are the present owner's
    const bool learns = leaves ? times_.learning_s > 0 : (change.word & FL_SLOT_LEARNING) != 0;
    if (record.phase == SlotPhase::kSettled) record.since_ns = clock.now_ns;
    if (leaves) record.learning_since = stamp_of(clock.now_ns);
    change.restart_previous = leaves;
    record.restarts_pin = true;
    record.restarts_previous = leaves || (record.phase == SlotPhase::kSeen && record.restarts_previous);
    change.word = FL_SLOT_WORD(owner, previous, 1, learns);
    await(record, SlotPhase::kSeen, clock.graces);
    if (owner == previous || previous_is_void(slots, change.word)) forget_previous(change, record, clock);
    return change;
}

void SlotTransitions::retarget(const SlotsView& slots, std::span<const std::uint16_t> owners,
                               const TransitionClock& clock, std::vector<SlotChange>& changes) {
    for (std::uint32_t slot = 0; slot < slots.words.size(); ++slot) {
        const auto word = slots.words[slot];
        if (FL_SLOT_OWNER(word) == owners[slot]) {
            if (!looks_up(word) || FL_SLOT_PREVIOUS(word) == owners[slot] || !previous_is_void(slots, word)) continue;
            changes.push_back({.slot = slot, .word = word, .restart_previous = false, .restart_pin = false});
            forget_previous(changes.back(), records_[slot], clock);
        } else if (word == FL_SLOT_SETTLED(FL_NO_BACKEND)) {
            // Nobody's: it has no connection, and no pin since the scan that it was settled by.
            changes.push_back(
                {.slot = slot, .word = FL_SLOT_SETTLED(owners[slot]), .restart_previous = false, .restart_pin = false});
        } else {
            records_.resize(slots.words.size());
            changes.push_back(change_owner(slots, slot, owners[slot], clock));
        }
    }
}

bool SlotTransitions::pins_are_idle(const SlotsView& slots, std::uint32_t slot, const TransitionClock& clock) const {
    const auto used = tables::load_word(slots.stamps[slot].pin_used);
    return age_of(stamp_of(clock.now_ns), used) > pin_lifetime(times_.idle_timeout_s);
}

// O = P: on to L = 0. A pin that is used again leads back to the beginning.
void SlotTransitions::advance_settling(const SlotsView& slots, SlotChange& change, Record& record,
                                       const TransitionClock& clock) {
    if (!pins_are_idle(slots, change.slot, clock)) {
        enter(record, SlotPhase::kPins);
    } else if (record.phase == SlotPhase::kPins) {
        await(record, SlotPhase::kGrace, clock.graces);
    } else if (record.phase == SlotPhase::kGrace && is_done(clock.graces, record.ticket)) {
        await(record, SlotPhase::kScan, clock.scans);
    } else if (record.phase == SlotPhase::kScan && is_done(clock.scans, record.ticket)) {
        await(record, SlotPhase::kLastGrace, clock.graces);
    } else if (record.phase == SlotPhase::kLastGrace && is_done(clock.graces, record.ticket)) {
        change.word = FL_SLOT_SETTLED(FL_SLOT_OWNER(change.word));
        enter(record, SlotPhase::kSettled);
    }
}

// O != P: on to O = P.
void SlotTransitions::advance_connections(const SlotsView& slots, SlotChange& change, Record& record,
                                          const TransitionClock& clock) {
    const auto now = stamp_of(clock.now_ns);
    const auto used = tables::load_word(slots.stamps[change.slot].previous_used);
    if (change.word & FL_SLOT_LEARNING && age_of(now, record.learning_since) > stamps_in(times_.learning_s))
        change.word &= ~FL_SLOT_LEARNING;
    if (age_of(now, used) <= stamps_in(times_.idle_timeout_s))
        enter(record, SlotPhase::kConnections);
    else if (record.phase == SlotPhase::kConnections)
        await(record, SlotPhase::kLastConnections, clock.graces);
    else if (is_done(clock.graces, record.ticket))
        forget_previous(change, record, clock);
}

// Every engine acts upon the present word.
void SlotTransitions::see(SlotChange& change, Record& record, std::uint32_t now) {
    const bool differs = FL_SLOT_OWNER(change.word) != FL_SLOT_PREVIOUS(change.word);
    change.restart_pin = record.restarts_pin;
    change.restart_previous = record.restarts_previous && differs;
    if (change.restart_previous) record.learning_since = now;
    record.restarts_pin = record.restarts_previous = false;
    if (!differs) change.word &= ~FL_SLOT_LEARNING;
    enter(record, differs ? SlotPhase::kConnections : SlotPhase::kPins);
}

void SlotTransitions::advance_slot(const SlotsView& slots, std::uint32_t slot, const TransitionClock& clock,
                                   std::vector<SlotChange>& changes) {
    auto& record = records_[slot];
    const auto word = slots.words[slot], now = stamp_of(clock.now_ns);
    SlotChange change{.slot = slot, .word = word, .restart_previous = false, .restart_pin = false};
    const bool differs = FL_SLOT_OWNER(word) != FL_SLOT_PREVIOUS(word);
    if (differs && previous_is_void(slots, word)) {
        forget_previous(change, record, clock);
    } else if (record.phase == SlotPhase::kSeen) {
        if (is_done(clock.graces, record.ticket)) see(change, record, now);
    } else if (differs) {
        advance_connections(slots, change, record, clock);
    } else {
        advance_settling(slots, change, record, clock);
    }
    if (change.word != word || change.restart_pin || change.restart_previous) changes.push_back(change);
}

void SlotTransitions::advance(const SlotsView& slots, const TransitionClock& clock, std::uint32_t budget,
                              std::vector<SlotChange>& changes) {
    if (!in_transition_) {
        records_ = {};
        return;
    }
    const auto count = static_cast<std::uint32_t>(slots.words.size());
    for (budget = std::min(budget, count); budget > 0; --budget) {
        if (cursor_ >= count) cursor_ = 0;
        if (looks_up(slots.words[cursor_])) advance_slot(slots, cursor_, clock, changes);
        ++cursor_;
    }
}

SlotPhase SlotTransitions::phase(std::uint32_t slot) const {
    return slot < records_.size() ? records_[slot].phase : SlotPhase::kSettled;
}

std::uint64_t SlotTransitions::oldest_ns() const {
    std::uint64_t oldest = 0;
    for (const auto& record : records_) {
        if (record.phase != SlotPhase::kSettled && (!oldest || record.since_ns < oldest)) oldest = record.since_ns;
    }
    return oldest;
}

}  // namespace fairlead::plan
