// SPDX-License-Identifier: Apache-2.0
// 100 backends of one pool and their controller, on a clock that the caller moves: what checks and operators say becomes
// states and owners by the real planner, and slots move by the real transitions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/plan/transition.h"
#include "dataplane/tables/pin_scan.h"
#include "tests/simulation/connections.h"
#include "tests/support/moving_pool.h"

namespace fairlead::simulation {

class Fleet {
  public:
    static constexpr std::uint16_t kBackends = 100;
    static constexpr std::uint16_t kNobody = FL_NO_BACKEND;
    static constexpr std::uint32_t kTickMs = 250, kFailureGraceMs = 10'000;

    struct Backend {
        bool present = true;  // in the config
        int tier = 0;
        std::uint32_t weight = 100;
        bool drained = false;
        bool failing = false;  // says its check
        bool gone = false;     // at layer 2 too: dead without a time of grace
        bool up = true;        // in truth
        bool dead = false;     // says the controller
        std::uint32_t failing_since = 0;
        std::optional<std::uint32_t> died;  // the last time it was up no more, or was declared dead
        std::uint64_t death_ticket = 0;     // the grace period after which it may be shown alive again
    };

    Fleet(const TrafficShape& shape, ConnectionsOutcome& outcome);

    void set_now(std::uint32_t now_ms);
    // What the controller does every kTickMs.
    void tick();

    // Backends: change them, then say so; what it comes to is decided at the next tick.
    Backend& at(std::uint16_t backend) { return backends_[backend]; }
    void changed() { changed_ = true; }
    void set_failing(std::uint16_t backend, bool failing);
    void set_up(std::uint16_t backend, bool up);
    void set_quorum(int quorum) { config_.quorum = quorum; }
    void restart_controller();

    bool is_up(std::uint16_t backend) const { return backends_[backend].up; }
    bool is_dead(std::uint16_t backend) const { return backends_[backend].dead; }
    bool died_since(std::uint16_t backend, std::uint32_t then_ms) const {
        const auto& died = backends_[backend].died;
        return died && *died >= then_ms;
    }
    std::uint16_t owner(std::uint32_t slot) const { return owners_[slot]; }
    std::vector<std::uint32_t> slots_of(std::uint16_t backend) const;
    // Who owns most of these now.
    std::uint16_t heir_to(std::span<const std::uint32_t> slots) const;

    test::MovingPool& pool() { return pool_; }
    fl_engine& engine() { return engine_; }
    std::uint64_t pins_used();
    std::uint32_t slots_in_transition() const { return planner_->in_transition(); }

  private:
    plan::SlotsView view();
    plan::TransitionClock clock() const;
    void find_the_dead();
    void decide();
    void apply(const std::vector<plan::SlotChange>& changes);
    std::span<std::uint32_t> words() { return {&pool_.word(0), owners_.size()}; }

    ConnectionsOutcome& outcome_;
    test::MovingPool pool_;
    fl_engine engine_;
    tables::PinScan scan_;
    plan::TransitionTimes times_;
    std::optional<plan::SlotTransitions> planner_;
    config::Pool config_;
    std::vector<std::string> names_;
    std::vector<Backend> backends_;
    std::vector<fl_backend_state> states_;
    std::vector<std::uint16_t> owners_;
    std::vector<bool> dead_;
    std::vector<std::uint8_t> moves_;  // of each slot in its present transition
    std::vector<plan::SlotChange> changes_;
    plan::Turns graces_;
    std::uint32_t now_ms_ = 0;
    bool changed_ = true;
};

}  // namespace fairlead::simulation
