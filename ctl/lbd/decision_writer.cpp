// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/decision_writer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>

namespace fairlead {
namespace {

plan::Verdict to_plan(health::Verdict verdict) {
    switch (verdict) {
        case health::Verdict::kUp:
            return plan::Verdict::kUp;
        case health::Verdict::kDown:
            return plan::Verdict::kDown;
        default:
            return plan::Verdict::kUnknown;
    }
}

}  // namespace

plan::PoolHealth pool_health(const config::Pool& pool, const health::HealthMonitor& monitor) {
    plan::PoolHealth result;
    std::vector<plan::BackendHealth> checks;
    for (const auto& backend : pool.backends) {
        checks.clear();
        for (const auto& check : pool.checks) {
            const auto* state = monitor.state({backend.address, check});
            const auto verdict = state ? state->verdict() : health::Verdict::kUnknown;
            checks.push_back({to_plan(verdict), verdict == health::Verdict::kDown ? state->last_error() : ""});
        }
        result.emplace(backend.name, plan::combine_checks(pool.check_policy, checks));
    }
    return result;
}

std::vector<plan::Candidate> DecisionWriter::candidates(const plan::PoolDecision& decision, std::uint32_t pool) const {
    return plan::slot_candidates(decision, [&](std::string_view name) { return writer_.find_backend(pool, name); });
}

void DecisionWriter::write_backends(const plan::PoolDecision& decision) {
    if (const auto pool = writer_.find_pool(decision.pool)) write_backends(decision, *pool);
}

void DecisionWriter::write_backends(const plan::PoolDecision& decision, std::uint32_t pool) {
    for (const auto& backend : decision.backends) {
        const auto index = writer_.find_backend(pool, backend.name);
        if (!index) continue;
        const auto path = path_to_(backend);
        if (auto r = writer_.set_backend_state(pool, *index, backend.state, path.mtu, path.nexthop); !r)
            spdlog::error("pool {}: backend {}: {}", decision.pool, backend.name, r.error().message);
    }
}

// For a SlotFiller: apply() stores what is filled in, or fails as a whole.
void DecisionWriter::fill(const plan::PoolDecision& decision, std::uint32_t pool, std::span<std::uint16_t> owners) {
    const auto sharing = candidates(decision, pool);
    plan::fill_owners(owners, sharing);
    auto& shares = written_[pool];
    shares.clear();
    for (const auto& candidate : sharing)
        shares.push_back({candidate.local_index, candidate.weight, std::string(candidate.name)});
}

void DecisionWriter::write_slots(const plan::PoolDecision& decision, std::uint32_t pool) {
    const auto sharing = candidates(decision, pool);
    const auto known = written_.find(pool);
    const auto same = [](const plan::Candidate& candidate, const Share& share) {
        return candidate.local_index == share.index && candidate.weight == share.weight && candidate.name == share.name;
    };
    if (known != written_.end() && std::ranges::equal(sharing, known->second, same)) return;
    std::vector<std::uint16_t> owners(writer_.slot_count(pool));
    fill(decision, pool, owners);
    if (auto stored = writer_.set_slots(pool, owners); !stored) {
        written_.erase(pool);
        spdlog::error("pool {}: {}", decision.pool, stored.error().message);
    }
}

void DecisionWriter::update(const plan::PoolDecision& decision) {
    const auto pool = writer_.find_pool(decision.pool);
    if (!pool) return;
    write_slots(decision, *pool);
    write_backends(decision, *pool);
}

// The slots of pools that are new, or whose size or backends change.
Result<tables::ApplyReport> DecisionWriter::apply_desired(const plan::Plan& plan) {
    std::unordered_map<std::uint32_t, const plan::PoolDecision*> decisions;
    return writer_.apply(plan.desired,
                         [&](tables::TableWriter& writer, std::uint32_t pool, std::span<std::uint16_t> owners) {
                             if (decisions.empty())  // only now have new pools an id
                                 for (const auto& decision : plan.decisions)
                                     if (const auto id = writer.find_pool(decision.pool)) decisions[*id] = &decision;
                             const auto found = decisions.find(pool);
                             if (found == decisions.end()) return;
                             write_backends(*found->second, pool);
                             fill(*found->second, pool, owners);
                         });
}

Result<tables::ApplyReport> DecisionWriter::apply(const plan::Plan& plan) {
    auto report = apply_desired(plan);
    if (!report) written_.clear();
    if (!report && report.error().code != ETIMEDOUT) return report;
    if (!report) spdlog::warn("{}", report.error().message);
    for (const auto& decision : plan.decisions) update(decision);
    // A pool that went leaves its id to one that is filled anew; until then nothing needs to be known of it.
    if (written_.size() > plan.decisions.size()) {
        std::unordered_map<std::uint32_t, Shares> present;
        for (const auto& decision : plan.decisions)
            if (const auto pool = writer_.find_pool(decision.pool))
                if (auto known = written_.extract(*pool)) present.insert(std::move(known));
        written_ = std::move(present);
    }
    return report ? report : tables::ApplyReport{};
}

}  // namespace fairlead
