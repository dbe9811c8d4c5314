// SPDX-License-Identifier: Apache-2.0
// From config and health to what the tables shall say. Pure: no I/O, no clock, no state kept; thread-safe.
//
// make_plan() is for start and reload. When one check's verdict or one override changes, decide_pool() and
// slot_candidates() for the pools concerned are enough: nothing else of the plan depends on health.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/plan/eligibility.h"
#include "ctl/plan/maglev.h"
#include "dataplane/tables/address.h"
#include "dataplane/tables/desired.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead::plan {

// What the planner needs to know of the node it plans for.
struct NodeView {
    std::string name;
    std::set<IpAddress> local_addresses;  // of all interfaces, loopback included
};

// A check that is to run for a backend. Equal {address, check} of several pools may be run once (DESIGN section 7).
struct CheckTarget {
    std::string pool;
    std::string backend;
    IpAddress address;
    config::Check check;
    auto operator<=>(const CheckTarget&) const = default;
};

// What the config says of a pool and the tables do not: for diff_plan() and for display.
struct PoolSettings {
    int quorum = 1;
    config::AllDown all_down = config::AllDown::kReset;
    config::CheckPolicy check_policy = config::CheckPolicy::kAll;
    std::vector<config::Check> checks;
    std::chrono::milliseconds failure_grace{}, slow_start{}, failback_delay{};
    bool failback = true;
    bool operator==(const PoolSettings&) const = default;
};

struct Plan {
    tables::Desired desired;             // VIPs in order of first use, pools in the config's, a service for each port
    std::vector<PoolSettings> settings;  // of desired.pools, by position, as are the decisions
    std::vector<PoolDecision> decisions;
    std::vector<CheckTarget> checks;  // by pool, backend, check, in the config's order
};

// `config` has passed every check (config.h). A VIP is local where one of its services has a backend on this node, or
// where the VIP is an address of this node.
Plan make_plan(const config::Config& config, const NodeView& node, const HealthView& health, const Overrides& overrides,
               const Tiers& tiers = {});

// A table that follows from the number of backends grows with it and never shrinks: half of the connections would find
// another slot. To be called with every config that is to take the place of one.
void keep_tables(config::Config& config, const tables::Snapshot& tables);

// What a config leaves out and the tables still have drains first: appends to each pool of `config` the backends that a
// pool of that name has in the tables, marked as leaving, under a name that is free. Those that `config` has again are not
// leaving. `present`: what was in force until now, for what the tables do not say of them (VLAN, MAC). Returns a line each.
std::vector<std::string> keep_leaving(config::Config& config, const tables::Snapshot& tables,
                                      const config::Config& present);

// Whether this node is the backend: the config says so, or its address is one of the node's.
bool is_local(const config::Backend& backend, const NodeView& node);

// A backend's pool-local index, as the tables have it (it stays the same over a reload); none: it is not there (yet).
using IndexOf = std::function<std::optional<std::uint16_t>(std::string_view name)>;

// Who shares the pool's slots, for fill_owners(): the backends in use that have an index. Names point into `decision`.
std::vector<Candidate> slot_candidates(const PoolDecision& decision, const IndexOf& index_of);

// What a reload changes, a line each, for the log and `lbctl config diff`: "pool megam: backend slave added". Health is
// left out: a reload does not change it. Empty if there is nothing to apply.
std::vector<std::string> diff_plan(const Plan& before, const Plan& after);

// What a verdict or an override changed in a pool, a line each: "pool megam: backend master: in use -> check failed:
// timeout", "pool megam: tier 0 -> 1 (tier 1: 1 of 1 backends eligible)".
std::vector<std::string> diff_decision(const PoolDecision& before, const PoolDecision& after);

}  // namespace fairlead::plan
