// SPDX-License-Identifier: Apache-2.0
// The slots of all pools on their way from one owner to the next, and the pins of their connections: brings what
// ctl/plan/transition.h says into the tables, step by step, and takes expired pins away (DESIGN section 6, "Controller").
// A step is bounded in work, however many slots and pins there are. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "ctl/plan/transition.h"
#include "dataplane/tables/grace_turns.h"
#include "dataplane/tables/pin_scan.h"
#include "dataplane/tables/writer.h"

namespace fairlead {

class Transitions {
  public:
    struct PoolView {
        std::uint32_t slots = 0;
        std::uint32_t in_transition = 0;
        std::array<std::uint32_t, plan::kSlotPhases> phases{};
        std::uint64_t oldest_ns = 0;  // CLOCK_MONOTONIC; 0: none is in transition. Of a pool that follows: since then
    };

    // `writer` must outlive it; `grace` is for a thread of this object's own. `settle_at_once`: a negative control, in which
    // connections break.
    Transitions(tables::TableWriter& writer, std::unique_ptr<tables::GracePeriod> grace, bool settle_at_once = false);

    // Goes on with every slot that is in transition, as a new controller finds them, and forgets pools that are gone. To
    // be called after TableWriter::apply().
    void follow_tables();

    // Pools whose connections another node has. Those were begun at the owners that it had, which settled slots of equal
    // views have too; what slots here were on their way from is of no use to them. So previous owners are forgotten at
    // once, while pins are followed as ever. Of a pool that follows another node's nothing is forgotten, and it is not idle
    // when it follows no more, before the next call says so. Error: of TableWriter.
    Result<void> set_idle(const std::set<std::uint32_t>& pools);

    // Pools whose slots and pins follow another node's (state sync). Their slots are put_slots()'s alone: retarget() succeeds
    // and, as step(), leaves them; their pins do not age. One that follows no more goes on as a new controller would find
    // it, its times begin anew, and its pins are young; its owners are the other node's until retarget() says others.
    // What is not there is ignored. Error: of TableWriter.
    Result<void> set_following(const std::set<std::uint32_t>& pools);
    bool following(std::uint32_t pool) const;
    // Words as another node has them, translated. EINVAL: the pool does not follow.
    Result<void> put_slots(std::uint32_t pool, std::span<const tables::SlotChange> changes);

    // Makes `owners` the owners of a pool's slots; to be called with the backends' states stored, whenever one of those
    // changes.
    Result<void> retarget(std::uint32_t pool, std::span<const std::uint16_t> owners);
    // The same, of owners that do not change.
    Result<void> retarget(std::uint32_t pool);

    // A step of all that time brings.
    void step();
    // Whether there is anything for step() to do: slots in transition, pins, or turns that somebody waits for.
    bool busy() const;

    // What every engine has seen when turn `ticket` is done is what was stored before the call.
    std::uint64_t draw_ticket();
    std::uint64_t turns_done() const { return graces_.turns().done; }

    // What still names a backend. `none`: no slot and no pin does, nor can one come to while it owns no slot; it takes a
    // few asks, a step apart, to find out.
    struct Uses {
        std::uint32_t slots = 0;  // as owner or previous owner
        std::uint64_t pins = 0;   // as of the last complete scan
        bool none = false;
    };
    Uses uses(std::uint32_t pool, std::uint16_t backend);

    PoolView view(std::uint32_t pool) const;
    std::uint32_t in_transition() const;
    const tables::PinCounts& pins() const { return scan_.counts(); }
    const tables::PinScan& scan() const { return scan_; }

  private:
    struct Pool {
        std::uint32_t base = 0;  // of its slots: another one, or another number of them, is another table
        std::uint32_t slots = 0;
        plan::SlotTransitions transitions;
        std::vector<bool> dead;
    };
    // How a backend that no slot names comes to be named by no pin: engines forget the words that named it, a scan takes
    // its expired pins away, engines are done with putting one back, a scan finds none.
    enum class Stage : std::uint8_t { kWords, kScan, kTouches, kLastScan, kNone };
    struct Released {
        Stage stage = Stage::kWords;
        std::uint64_t ticket = 0;  // of graces, or of scans
    };

    plan::TransitionClock clock() const;
    plan::TransitionTimes times(std::uint32_t pool) const;
    plan::SlotsView view_of(std::uint32_t id, Pool& pool);
    Pool& adopt(std::uint32_t id);
    void hold_pins();
    PoolView view_of_words(std::uint32_t id) const;
    bool follow_pins(Released& released, std::uint64_t pins);
    Result<void> store(std::uint32_t id, const plan::TransitionClock& clock);
    void advance(const plan::TransitionClock& clock);
    void request_graces();

    tables::TableWriter& writer_;
    tables::GraceTurns graces_;
    tables::PinScan scan_;
    std::unordered_map<std::uint32_t, Pool> pools_;         // by id
    std::unordered_map<std::uint64_t, Released> released_;  // by pool id and local index
    std::vector<tables::SlotChange> changes_;               // of one call, kept for its room
    std::set<std::uint32_t> idle_;
    std::map<std::uint32_t, std::uint64_t> following_;  // since when, ns; none of them is in pools_, or idle_
    std::uint32_t next_pool_ = 0;                       // where the last step ended
    std::uint64_t drawn_ = 0;                           // the latest ticket
    bool settle_at_once_;
};

}  // namespace fairlead
