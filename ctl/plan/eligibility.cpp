// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/eligibility.h"

#include <algorithm>
#include <utility>

namespace fairlead::plan {
namespace {

// What a tier has to offer.
struct TierCount {
    std::size_t backends = 0;
    std::size_t eligible = 0;
};

fl_backend_state state_of(const BackendHealth& health, bool drained) {
    switch (health.verdict) {
        case Verdict::kUp:
            return drained ? FL_BACKEND_DRAINING : FL_BACKEND_HEALTHY;
        case Verdict::kDown:
            return health.dead ? FL_BACKEND_DEAD : FL_BACKEND_UNHEALTHY;
        case Verdict::kUnknown:
            break;
    }
    return FL_BACKEND_UNKNOWN;
}

// Why a backend may take no new connections; empty if it may. What an operator did is said before what a check found.
std::string bar_of(const BackendHealth& health, bool leaving, bool drained, std::uint32_t weight) {
    if (leaving) {
        return "removed from the config, drains";
    }
    if (drained) {
        return "drained";
    }
    if (weight == 0) {
        return "weight 0";
    }
    switch (health.verdict) {
        case Verdict::kUp:
            return {};
        case Verdict::kDown:
            return health.reason.empty() ? "check failed" : "check failed: " + health.reason;
        case Verdict::kUnknown:
            break;
    }
    return "not checked yet";
}

// Of the weight that it is to have, in tenths of slow_start; at least 1.
std::uint32_t slow_weight(std::uint32_t weight, std::chrono::milliseconds up_for,
                          std::chrono::milliseconds slow_start) {
    constexpr std::int64_t kSteps = 10;
    if (up_for >= slow_start || weight == 0) return weight;
    const auto step = up_for.count() * kSteps / slow_start.count() + 1;
    return std::max<std::uint32_t>(1, static_cast<std::uint32_t>(weight * step / kSteps));
}

std::string seconds_text(std::chrono::milliseconds time) {
    return std::to_string(std::chrono::ceil<std::chrono::seconds>(time).count()) + " s";
}

BackendDecision decide_backend(const config::Pool& pool, const config::Backend& backend, const BackendHealth& health,
                               const PoolOverrides& overrides) {
    BackendDecision decision;
    decision.name = backend.name;
    decision.address = backend.address;
    decision.vlan = backend.vlan;
    decision.mac = backend.mac;
    decision.tier = backend.tier;
    decision.configured_weight = static_cast<std::uint32_t>(backend.weight);
    decision.weight = decision.configured_weight;
    if (const auto found = overrides.find(backend.name); found != overrides.end()) {
        decision.drained = found->second.drained;
        decision.weight = found->second.weight.value_or(decision.weight);
    }
    decision.leaving = backend.leaving;
    decision.drained |= backend.leaving;
    decision.state = state_of(health, decision.drained);
    decision.reason = bar_of(health, decision.leaving, decision.drained, decision.weight);
    decision.eligible = decision.reason.empty();
    if (!decision.eligible || !health.up_for) return decision;
    decision.weight = slow_weight(decision.weight, *health.up_for, pool.slow_start);
    if (*health.up_for >= pool.failback_delay) return decision;
    decision.held = true;
    decision.eligible = false;
    decision.reason = "back, held for " + seconds_text(pool.failback_delay) + " (failback_delay)";
    return decision;
}

BackendHealth health_of(const config::Pool& pool, const config::Backend& backend, const PoolHealth& health) {
    if (pool.checks.empty()) {
        return combine_checks(pool.check_policy, {});
    }
    const auto found = health.find(backend.name);
    return found == health.end() ? BackendHealth{} : found->second;
}

// Somebody who came back a moment ago serves better than nobody.
void take_held_if_alone(std::vector<BackendDecision>& backends) {
    if (std::ranges::any_of(backends, [](const auto& backend) { return backend.eligible; })) return;
    for (BackendDecision& backend : backends) backend.eligible |= std::exchange(backend.held, false);
}

std::map<int, TierCount> count_tiers(const std::vector<BackendDecision>& backends) {
    std::map<int, TierCount> tiers;
    for (const BackendDecision& backend : backends) {
        TierCount& tier = tiers[backend.tier];
        ++tier.backends;
        tier.eligible += backend.eligible ? 1 : 0;
    }
    return tiers;
}

std::string tier_text(int tier, const TierCount& count) {
    return "tier " + std::to_string(tier) + ": " + std::to_string(count.eligible) + " of " +
           std::to_string(count.backends) + " backends eligible";
}

// Sets the tier in use and the pool's reason; false if no backend of any tier is eligible. `stay`: the tier that is not
// left for a better one.
bool choose_tier(PoolDecision& decision, const std::map<int, TierCount>& tiers, std::size_t quorum,
                 std::optional<int> stay) {
    const auto enough = [&](const auto& tier) { return tier.second.eligible > 0 && tier.second.eligible >= quorum; };
    const auto any = [](const auto& tier) { return tier.second.eligible > 0; };
    if (const auto best = std::find_if(tiers.begin(), tiers.end(), enough); best != tiers.end()) {
        const auto present = stay && *stay > best->first ? tiers.find(*stay) : tiers.end();
        const auto& chosen = present != tiers.end() && enough(*present) ? *present : *best;
        decision.tier = chosen.first;
        decision.reason = tier_text(chosen.first, chosen.second);
        if (chosen.first != best->first)
            decision.reason += ", tier " + std::to_string(best->first) + " is back: lbctl failback gives it the pool";
        return true;
    }
    if (const auto best = std::find_if(tiers.begin(), tiers.end(), any); best != tiers.end()) {
        decision.tier = best->first;
        decision.reason = tier_text(best->first, best->second) + ", below the quorum of " + std::to_string(quorum) +
                          " that no tier reaches";
        return true;
    }
    return false;
}

void use_tier(PoolDecision& decision, const std::map<int, TierCount>& tiers, std::size_t quorum) {
    for (BackendDecision& backend : decision.backends) {
        if (!backend.eligible) {
            continue;
        }
        backend.in_use = backend.tier == *decision.tier;
        const bool waits = tiers.at(backend.tier).eligible >= quorum;
        if (backend.in_use) {
            backend.reason = "in use";
        } else if (backend.tier > *decision.tier) {
            backend.reason = "tier " + std::to_string(backend.tier) + " stands by";
        } else if (waits) {
            backend.reason = "tier " + std::to_string(backend.tier) + " waits for lbctl failback";
        } else {
            backend.reason = "tier " + std::to_string(backend.tier) + " is below its quorum";
        }
    }
}

// The data path believes in no backend that is dead: those are used only where all are, and are not dead then.
void use_any(PoolDecision& decision) {
    const auto usable = [](const BackendDecision& backend) { return backend.weight > 0 && !backend.drained; };
    const bool all_dead = std::ranges::all_of(decision.backends, [&](const BackendDecision& backend) {
        return !usable(backend) || backend.state == FL_BACKEND_DEAD;
    });
    for (BackendDecision& backend : decision.backends) {
        if (!usable(backend) || (backend.state == FL_BACKEND_DEAD && !all_dead)) {
            continue;
        }
        if (backend.state == FL_BACKEND_DEAD) {
            backend.state = FL_BACKEND_UNHEALTHY;
        }
        backend.in_use = true;
        backend.reason = "in use as if healthy (" + backend.reason + ")";
    }
}

std::string_view refusal(config::AllDown all_down) {
    return all_down == config::AllDown::kDrop ? "no backend is eligible: connections are dropped"
                                              : "no backend is eligible: connections are refused";
}

void count_backends(PoolDecision& decision) {
    for (const BackendDecision& backend : decision.backends) {
        decision.eligible += backend.eligible ? 1 : 0;
        decision.in_use += backend.in_use ? 1 : 0;
    }
}

}  // namespace

BackendHealth combine_checks(config::CheckPolicy policy, std::span<const BackendHealth> checks) {
    if (checks.empty()) {
        return {Verdict::kUp, "no checks"};
    }
    // "all" is decided by the first check that is down, "any" by the first that is up; else the undecided weigh more.
    const Verdict deciding = policy == config::CheckPolicy::kAll ? Verdict::kDown : Verdict::kUp;
    for (const Verdict wanted : {deciding, Verdict::kUnknown}) {
        const auto is_wanted = [&](const BackendHealth& check) { return check.verdict == wanted; };
        if (const auto found = std::find_if(checks.begin(), checks.end(), is_wanted); found != checks.end()) {
            return *found;
        }
    }
    return checks.front();
}

PoolDecision decide_pool(const config::Pool& pool, const PoolHealth& health, const PoolOverrides& overrides,
                         std::optional<int> tier) {
    PoolDecision decision;
    decision.pool = pool.name;
    decision.backends.reserve(pool.backends.size());
    for (const config::Backend& backend : pool.backends) {
        decision.backends.push_back(decide_backend(pool, backend, health_of(pool, backend, health), overrides));
    }
    take_held_if_alone(decision.backends);
    const std::size_t quorum = pool.quorum > 0 ? static_cast<std::size_t>(pool.quorum) : 0;
    const auto tiers = count_tiers(decision.backends);
    decision.all_down = !choose_tier(decision, tiers, quorum, pool.failback ? std::nullopt : tier);
    if (!decision.all_down) {
        use_tier(decision, tiers, quorum);
    } else if (pool.all_down == config::AllDown::kAny) {
        use_any(decision);
    }
    count_backends(decision);
    if (decision.all_down) {
        decision.reason = decision.in_use > 0 ? "no backend is eligible: all are used as if healthy"
                                              : std::string(refusal(pool.all_down));
    }
    return decision;
}

const BackendDecision* find_backend(const PoolDecision& decision, std::string_view name) {
    const auto found = std::ranges::find(decision.backends, name, &BackendDecision::name);
    return found == decision.backends.end() ? nullptr : &*found;
}

std::string_view to_string(Verdict verdict) {
    switch (verdict) {
        case Verdict::kUp:
            return "up";
        case Verdict::kDown:
            return "down";
        case Verdict::kUnknown:
            break;
    }
    return "unknown";
}

}  // namespace fairlead::plan
