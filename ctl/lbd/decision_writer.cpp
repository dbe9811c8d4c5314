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

bool DecisionWriter::write_backends(const plan::PoolDecision& decision, std::uint32_t pool) {
    bool changed = false;
    for (const auto& backend : decision.backends) {
        const auto index = writer_.find_backend(pool, backend.name);
        if (!index) continue;
        const auto path = path_to_(backend);
        const auto& word = writer_.tables().backends()[writer_.global_index(pool, *index)].state;
        changed |= FL_BACKEND_STATE(word) != static_cast<std::uint32_t>(backend.state);
        if (auto r = writer_.set_backend_state(pool, *index, backend.state, path.mtu, path.nexthop); !r)
            spdlog::error("pool {}: backend {}: {}", decision.pool, backend.name, r.error().message);
    }
    return changed;
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

void DecisionWriter::write_slots(const plan::PoolDecision& decision, std::uint32_t pool, bool states_changed) {
    const auto sharing = candidates(decision, pool);
    const auto known = written_.find(pool);
    const auto same = [](const plan::Candidate& candidate, const Share& share) {
        return candidate.local_index == share.index && candidate.weight == share.weight && candidate.name == share.name;
    };
    const auto move = [&]() -> Result<void> {
        if (known != written_.end() && std::ranges::equal(sharing, known->second, same))
            return states_changed ? transitions_.retarget(pool) : Result<void>{};
        std::vector<std::uint16_t> owners(writer_.slot_count(pool));
        fill(decision, pool, owners);
        return transitions_.retarget(pool, owners);
    };
    if (auto moved = move(); !moved) {
        written_.erase(pool);
        spdlog::error("pool {}: {}", decision.pool, moved.error().message);
    }
}

void DecisionWriter::update(const plan::PoolDecision& decision) {
    const auto pool = writer_.find_pool(decision.pool);
    if (!pool) return;
    const bool states_changed = write_backends(decision, *pool);
    write_slots(decision, *pool, states_changed);
}

void DecisionWriter::update_anew(const plan::PoolDecision& decision) {
    if (const auto pool = writer_.find_pool(decision.pool)) written_.erase(*pool);
    update(decision);
}

// Owners are compared by name, since a backend that is yet to come has no index.
std::uint32_t DecisionWriter::slots_moved(const plan::PoolDecision& decision, std::uint32_t slots) const {
    const auto pool = writer_.find_pool(decision.pool);
    if (!pool) return 0;
    std::vector<std::string_view> names;
    auto sharing = plan::slot_candidates(decision, [&](std::string_view name) -> std::optional<std::uint16_t> {
        names.push_back(name);
        return static_cast<std::uint16_t>(names.size() - 1);
    });
    std::vector<std::uint16_t> owners(slots);
    plan::fill_owners(owners, sharing);
    std::vector<std::uint16_t> index_of;  // by position in `names`
    for (const auto name : names)
        index_of.push_back(writer_.find_backend(*pool, name).value_or(static_cast<std::uint16_t>(FL_NO_BACKEND)));
    const auto present = writer_.slots_of(*pool).words;
    std::uint32_t moved = 0;
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
        const auto next = owners[slot] == FL_NO_BACKEND ? owners[slot] : index_of[owners[slot]];
        const auto now = FL_SLOT_OWNER(present[slot & (present.size() - 1)]);
        moved += now != next || (next == FL_NO_BACKEND && owners[slot] != FL_NO_BACKEND);
    }
    return moved;
}

// The slots of pools that are new, or whose size or backends change.
Result<tables::ApplyReport> DecisionWriter::apply_desired(const plan::Plan& plan) {
    std::unordered_map<std::uint32_t, const plan::PoolDecision*> decisions;
    return writer_.apply(
        plan.desired,
        [&](tables::TableWriter& writer, std::uint32_t pool, std::span<std::uint16_t> owners) {
            if (decisions.empty())  // only now have new pools an id
                for (const auto& decision : plan.decisions)
                    if (const auto id = writer.find_pool(decision.pool)) decisions[*id] = &decision;
            const auto found = decisions.find(pool);
            if (found == decisions.end()) return;
            write_backends(*found->second, pool);
            fill(*found->second, pool, owners);
        },
        [&](tables::TableWriter&, std::uint32_t pool, std::span<const std::uint16_t> owners) {
            return transitions_.retarget(pool, owners);
        });
}

Result<tables::ApplyReport> DecisionWriter::apply(const plan::Plan& plan) {
    auto report = apply_desired(plan);
    if (!report) written_.clear();
    if (!report && report.error().code != ETIMEDOUT) return report;
    if (!report) spdlog::warn("{}", report.error().message);
    for (const auto& decision : plan.decisions) update(decision);
    transitions_.follow_tables();
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
