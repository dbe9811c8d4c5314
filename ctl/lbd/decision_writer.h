// SPDX-License-Identifier: Apache-2.0
// Brings what ctl/plan decided into the tables: who owns a pool's slots, and each backend's word. A pool's slots are
// computed again only where what they follow from has changed, so that a reload of ten thousand pools costs what it
// changes. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/health/health_monitor.h"
#include "ctl/lbd/paths.h"
#include "ctl/plan/planner.h"
#include "dataplane/tables/writer.h"

namespace fairlead {

// What the checks of a pool say of its backends.
plan::PoolHealth pool_health(const config::Pool& pool, const health::HealthMonitor& monitor);

class DecisionWriter {
  public:
    using PathTo = std::function<Path(const plan::BackendDecision&)>;

    // `writer` must outlive this, and nobody else may set its slots.
    DecisionWriter(tables::TableWriter& writer, PathTo path_to) : writer_(writer), path_to_(std::move(path_to)) {}

    // For start and reload. Errors are those of TableWriter::apply(), but for a reader that did not leave in time: the
    // tables stand, and the rest is done by the next apply().
    Result<tables::ApplyReport> apply(const plan::Plan& plan);

    // After a verdict or an override. Slots first: they move connections.
    void update(const plan::PoolDecision& decision);

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
    void write_slots(const plan::PoolDecision& decision, std::uint32_t pool);
    void write_backends(const plan::PoolDecision& decision, std::uint32_t pool);
    Result<tables::ApplyReport> apply_desired(const plan::Plan& plan);

    tables::TableWriter& writer_;
    PathTo path_to_;
    std::unordered_map<std::uint32_t, Shares> written_;  // by pool id; none: not known what its slots hold
};

}  // namespace fairlead
