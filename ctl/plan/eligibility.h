// SPDX-License-Identifier: Apache-2.0
// Which backends of a pool take new connections, and why (DESIGN section 7): tiers, quorum, drains, all_down. Pure and
// thread-safe.
//
// Eligible = healthy, not drained, weight above 0, and not held back (failback_delay) unless nobody else is left. A backend
// that came back gets its weight in ten steps over slow_start. The pool uses its lowest-numbered tier with at least `quorum`
// eligible backends. Where no tier has that many, the lowest-numbered one with any is used all the same: too few serve
// better than none, and the reason says so. Where no backend at all is eligible, all_down = "any" uses every backend of
// every tier as if healthy, drained and weightless ones excepted: an operator took those out, not a check. With "reset"
// and "drop" nobody owns the slots, and the data path refuses.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/config/config.h"
#include "dataplane/tables/address.h"
#include "dataplane/tables/desired.h"

namespace fairlead::plan {

enum class Verdict { kUnknown, kUp, kDown };

// What the checks say of one backend of one pool. `reason` is a phrase without the verdict: "connection refused".
struct BackendHealth {
    Verdict verdict = Verdict::kUnknown;
    std::string reason;
    bool dead = false;  // down for so long that its connections are given up
    std::optional<std::chrono::milliseconds> up_for = std::nullopt;  // since it came back; none: it was never away
    bool operator==(const BackendHealth&) const = default;
};

// What an operator changed at run time, until changed back.
struct BackendOverride {
    bool drained = false;
    std::optional<std::uint32_t> weight;  // 0 to 65,535, instead of the configured one
    std::uint32_t instead_of = 0;         // the configured weight when it was set: another one in the config wins
    bool operator==(const BackendOverride&) const = default;
};

// By backend name; a name that is missing is unknown, or has no override.
using PoolHealth = std::map<std::string, BackendHealth, std::less<>>;
using PoolOverrides = std::map<std::string, BackendOverride, std::less<>>;
// By pool name.
using HealthView = std::map<std::string, PoolHealth, std::less<>>;
using Overrides = std::map<std::string, PoolOverrides, std::less<>>;

// The verdicts of a backend's checks made one (check_policy): "all" is down as soon as one check is, "any" up as soon as
// one is; unknown while those that would decide are. No checks at all: up.
BackendHealth combine_checks(config::CheckPolicy policy, std::span<const BackendHealth> checks);

struct BackendDecision {
    std::string name;
    IpAddress address;
    std::optional<std::uint16_t> vlan;  // as the config says them
    std::optional<MacAddress> mac;
    int tier = 0;
    std::uint32_t configured_weight = 100;
    std::uint32_t weight = 100;  // effective
    fl_backend_state state = FL_BACKEND_UNKNOWN;
    bool drained = false;
    bool leaving = false;   // the config has it no more
    bool eligible = false;  // healthy, not drained, weight above 0, not held back
    bool held = false;      // back, but not for failback_delay yet
    bool in_use = false;    // takes new connections: a candidate for slots
    std::string reason;     // for people: "in use", "tier 1 stands by", "drained", "check failed: timeout"
    bool operator==(const BackendDecision&) const = default;
};

struct PoolDecision {
    std::string pool;
    std::optional<int> tier;  // in use; none when no backend is, or when all are (all_down = "any")
    bool all_down = false;    // no backend is eligible
    std::size_t eligible = 0;
    std::size_t in_use = 0;
    std::string reason;                     // for people: "tier 0: 2 of 3 backends eligible"
    std::vector<BackendDecision> backends;  // in the config's order
    bool operator==(const PoolDecision&) const = default;
};

// Null: the decision says nothing of a backend of that name.
const BackendDecision* find_backend(const PoolDecision& decision, std::string_view name);

// By pool name: the tier in use, where failback = false holds a pool to it.
using Tiers = std::map<std::string, int, std::less<>>;

// A pool without checks is healthy, whatever `health` says of it. `tier`: in use before this decision; with
// failback = false the pool stays there while that has its quorum.
PoolDecision decide_pool(const config::Pool& pool, const PoolHealth& health, const PoolOverrides& overrides,
                         std::optional<int> tier = {});

std::string_view to_string(Verdict verdict);

}  // namespace fairlead::plan
