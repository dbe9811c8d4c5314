// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/vitals.h"

#include <algorithm>

namespace fairlead::plan {
namespace {
using std::chrono::milliseconds;

milliseconds between(Vitals::Time from, Vitals::Time to) {
    return std::chrono::duration_cast<milliseconds>(std::max(to - from, Vitals::Time::duration::zero()));
}
}  // namespace

void Vitals::adopt(const std::string& pool, const std::string& backend, Adopted state, Time now) {
    auto& life = pools_[pool][backend];
    life.verdict = state.dead || state.down ? Verdict::kDown : Verdict::kUp;
    if (life.verdict == Verdict::kDown) life.since = now;
    life.dead = state.dead;
}

BackendHealth Vitals::look_at(Life& life, const config::Pool& pool, BackendHealth checks, bool gone,
                              std::optional<Time> served, Time now) {
    const bool first = life.verdict == Verdict::kUnknown;
    if (checks.verdict == Verdict::kUnknown) return checks;
    if (life.dead && checks.verdict == Verdict::kUp) {
        // Shown alive too soon, it would meet engines that still take it for dead.
        if (!life.ticket || *life.ticket > done_)
            return {Verdict::kDown, "was dead until a moment ago", true, std::nullopt};
        life.dead = false;
        life.ticket.reset();
    }
    if (life.verdict != checks.verdict) {
        life.verdict = checks.verdict;
        life.since = first && !begun_ ? std::nullopt : std::optional(now);
    }
    if (checks.verdict == Verdict::kDown) {
        if (!life.since) life.since = now;
        if (served && (gone || between(std::max(*life.since, *served), now) >= pool.failure_grace)) life.dead = true;
        checks.dead = life.dead;
    } else if (life.since) {
        checks.up_for = between(*life.since, now);
        if (*checks.up_for >= std::max(pool.slow_start, pool.failback_delay)) life.since.reset();
    }
    return checks;
}

PoolHealth Vitals::look(const config::Pool& pool, PoolHealth checks, Time now, const IsGone& gone) {
    auto& lives = pools_[pool.name];
    bool runs = false;
    const bool anybody = std::ranges::any_of(pool.backends, [&](const auto& backend) {
        const auto found = checks.find(backend.name);
        return pool.checks.empty() || (found != checks.end() && found->second.verdict == Verdict::kUp);
    });
    if (!anybody) served_since_.erase(pool.name);
    std::optional<Time> served;
    if (anybody) served = served_since_.try_emplace(pool.name, now).first->second;
    for (const auto& backend : pool.backends) {
        auto& health = checks[backend.name];
        if (pool.checks.empty()) health = combine_checks(pool.check_policy, {});
        auto& life = lives[backend.name];
        const bool up = health.verdict == Verdict::kUp;
        health = look_at(life, pool, std::move(health), gone && gone(backend), served, now);
        runs |=
            (life.verdict == Verdict::kDown && !life.dead && anybody) || (life.dead && up) || health.up_for.has_value();
    }
    if (lives.size() > pool.backends.size())
        std::erase_if(lives, [&](const auto& life) {
            return std::ranges::none_of(pool.backends, [&](const auto& backend) { return backend.name == life.first; });
        });
    if (runs)
        running_.insert(pool.name);
    else
        running_.erase(pool.name);
    return checks;
}

void Vitals::buried(const std::string& pool, std::uint64_t ticket) {
    const auto found = pools_.find(pool);
    if (found == pools_.end()) return;
    for (auto& [name, life] : found->second)
        if (life.dead) life.ticket = ticket;
}

void Vitals::keep_only(const std::function<bool(const std::string& pool)>& is_there) {
    std::erase_if(pools_, [&](const auto& entry) { return !is_there(entry.first); });
    std::erase_if(running_, [&](const auto& pool) { return !is_there(pool); });
    std::erase_if(served_since_, [&](const auto& entry) { return !is_there(entry.first); });
}

}  // namespace fairlead::plan
