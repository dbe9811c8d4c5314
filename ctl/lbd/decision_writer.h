// SPDX-License-Identifier: Apache-2.0
// Brings what ctl/plan decided into the tables: each backend's word, and who owns a pool's slots. A pool's owners are
// computed again only where what they follow from has changed, so that a reload of ten thousand pools costs what it
// changes; how its slots come to them is for Transitions. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/health/health_monitor.h"
#include "ctl/lbd/paths.h"
#include "ctl/lbd/transitions.h"
#include "ctl/plan/planner.h"
#include "dataplane/tables/writer.h"

namespace fairlead {

// What the checks of a pool say of its backends.
plan::PoolHealth pool_health(const config::Pool& pool, const health::HealthMonitor& monitor);

class DecisionWriter {
  public:
    using PathTo = std::function<Path(const plan::BackendDecision&)>;

    // `writer` and `transitions` must outlive this, and nobody else may set slots.
    DecisionWriter(tables::TableWriter& writer, Transitions& transitions, PathTo path_to)
        : writer_(writer), transitions_(transitions), path_to_(std::move(path_to)) {}

    // For start and reload. Errors are those of TableWriter::apply(), but for a reader that did not leave in time: the
    // tables stand, and the rest is done by the next apply().
    Result<tables::ApplyReport> apply(const plan::Plan& plan);

    // After a verdict or an override. Backends' words first: by them the slots' transitions go.
    void update(const plan::PoolDecision& decision);

    // The same where others have written the slots meanwhile.
    void update_anew(const plan::PoolDecision& decision);

    // What update() of such a decision would make of a pool's slots: of how many another backend would be the owner. 0
    // for a pool that is not there yet. `slots`: as many as the pool is to have.
    std::uint32_t slots_moved(const plan::PoolDecision& decision, std::uint32_t slots) const;

    // After a change of the ways to backends.
    void write_backends(const plan::PoolDecision& decision);

  private:
    // What the slots of a pool were computed from.
    struct Share {
        std::uint16_t index = 0;
        std::uint32_t weight = 0;
        std::string name;
        bool operator==(const Share&) const = default;
    };
    using Shares = std::vector<Share>;

    std::vector<plan::Candidate> candidates(const plan::PoolDecision& decision, std::uint32_t pool) const;
    void fill(const plan::PoolDecision& decision, std::uint32_t pool, std::span<std::uint16_t> owners);
    void write_slots(const plan::PoolDecision& decision, std::uint32_t pool, bool states_changed);
    bool write_backends(const plan::PoolDecision& decision, std::uint32_t pool);  // true: some state is another
    Result<tables::ApplyReport> apply_desired(const plan::Plan& plan);

    tables::TableWriter& writer_;
    Transitions& transitions_;
    PathTo path_to_;
    std::unordered_map<std::uint32_t, Shares> written_;  // by pool id; none: not known what its slots hold
};

}  // namespace fairlead
