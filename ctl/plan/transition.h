// SPDX-License-Identifier: Apache-2.0
// The slots of one pool on their way from one owner to the next (DESIGN section 6, "Controller"): what their words are to
// be, so that no connection changes its backend, and when a slot is settled again. Pure: the words and stamps are the
// caller's, who also tells the time and applies what is answered; nothing is written here. One thread.
//
// The way of a slot whose owner changes, O = owner, P = previous:
//   O != P   new connections are pinned to O, what has no pin is P's. Ends when P has had no unpinned packet for the
//            idle time, and a grace period later still has not, or is dead: P becomes O.
//   O == P   pins of others are still followed. Ends when none of them can be alive: unused for the idle time, then a
//            grace period (an engine may still hold the word before this one), then a scan of all pins that began after
//            it (what is expired is still found until a scan has taken it away), then another grace period (an engine
//            may have put back what the scan took, and stamps after that). The slot is settled then.
// The idle time of a change counts from the end of the first grace period begun after it: until then an engine may act
// upon the word before, and pin to an owner that is none any more without a stamp. For as long, O == P goes with the
// learning bit, which tells engines to leave O's pins: with the word before, one would miss them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/tables/desired.h"
#include "dataplane/tables/grace.h"

namespace fairlead::plan {

struct TransitionTimes {
    std::uint32_t idle_timeout_s = 3600;  // of the pool, as in its record
    // How long datagrams without a pin are taken for an old flow's. Flows that are silent for longer than this, though
    // not for the idle time, move with their slot.
    std::uint32_t learning_s = 60;
};

using tables::Turns;

struct TransitionClock {
    std::uint64_t now_ns = 0;  // CLOCK_MONOTONIC, as the engines stamp
    Turns graces;              // periods after which no reader holds what it read before (dataplane/tables/grace.h)
    Turns scans;               // of all pins (dataplane/tables/pin_scan.h)
};

// A pool's slots as they are. A backend beyond `dead`, or FL_NO_BACKEND, is as dead.
struct SlotsView {
    std::span<const std::uint32_t> words;
    std::span<const fl_stamp> stamps;  // written by engines meanwhile
    const std::vector<bool>& dead;     // by pool-local index
    bool idle = false;                 // another node has the connections: no previous owner has any here, and none
                                       // is needed once there is an owner
};

using tables::SlotChange;  // its stamps are set to stamp_of() the clock's now

// What a slot waits for.
enum class SlotPhase : std::uint8_t {
    kSettled,
    kSeen,             // a grace period: that every engine has seen the word
    kConnections,      // O != P: that the previous owner's unpinned connections have ended
    kLastConnections,  // the grace period after that: an engine may not have stamped yet
    kPins,             // O == P: that the pins of others are unused for the idle time
    kGrace,            // the period before the scan
    kScan,             // a complete scan of pins
    kLastGrace,        // the period after it
};
inline constexpr std::size_t kSlotPhases = 8;

std::uint32_t stamp_of(std::uint64_t now_ns);

class SlotTransitions {
  public:
    // Adopts slots that are in transition, as a new controller finds them: their times begin anew.
    SlotTransitions(TransitionTimes times, const SlotsView& slots, const TransitionClock& clock);

    // Makes `owners` (FL_NO_BACKEND: nobody) the owners, and forgets the dead among the previous ones: to be called, with
    // the state words stored, whenever a backend changes its state. One that is dead is shown alive again after a grace
    // period that began after the last call that found it dead and answered with changes: an engine with a word of before
    // would free pins that are made for it then. One pass over all slots. Appends to `changes`, all of which are to be applied before the next call.
    void retarget(const SlotsView& slots, std::span<const std::uint16_t> owners, const TransitionClock& clock,
                  std::vector<SlotChange>& changes);

    // What time brings: looks at the next `budget` slots of the pool, round and round. Appends likewise.
    void advance(const SlotsView& slots, const TransitionClock& clock, std::uint32_t budget,
                 std::vector<SlotChange>& changes);

    void set_times(TransitionTimes times) { times_ = times; }

    std::uint32_t in_transition() const { return in_transition_; }
    // How many slots wait for what.
    const std::array<std::uint32_t, kSlotPhases>& phases() const { return phases_; }
    SlotPhase phase(std::uint32_t slot) const;
    // When the slot that has been in transition for longest left L = 0, in ns of the clock; 0: none is.
    std::uint64_t oldest_ns() const;  // looks at all slots

  private:
    struct Record {
        std::uint64_t ticket = 0;          // the turn that is waited for
        std::uint64_t since_ns = 0;        // left L = 0, or was adopted
        std::uint32_t learning_since = 0;  // a stamp
        SlotPhase phase = SlotPhase::kSettled;
        bool restarts_previous = false;  // once the word is seen: the change left O = P
        bool restarts_pin = false;
    };

    void enter(Record& record, SlotPhase phase);
    void await(Record& record, SlotPhase phase, const Turns& turns);
    bool previous_is_void(const SlotsView& slots, std::uint32_t word) const;
    SlotChange change_owner(const SlotsView& slots, std::uint32_t slot, std::uint16_t owner,
                            const TransitionClock& clock);
    void forget_previous(SlotChange& change, Record& record, const TransitionClock& clock);
    void advance_connections(const SlotsView& slots, SlotChange& change, Record& record, const TransitionClock& clock);
    void see(SlotChange& change, Record& record, std::uint32_t now);
    void advance_slot(const SlotsView& slots, std::uint32_t slot, const TransitionClock& clock,
                      std::vector<SlotChange>& changes);
    bool pins_are_idle(const SlotsView& slots, std::uint32_t slot, const TransitionClock& clock) const;
    void advance_settling(const SlotsView& slots, SlotChange& change, Record& record, const TransitionClock& clock);

    TransitionTimes times_;
    std::vector<Record> records_;  // of all slots while any is in transition
    std::array<std::uint32_t, kSlotPhases> phases_{};
    std::uint32_t in_transition_ = 0;
    std::uint32_t cursor_ = 0;
};

}  // namespace fairlead::plan
