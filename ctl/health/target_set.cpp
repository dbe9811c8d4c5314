// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/target_set.h"

#include <utility>

namespace fairlead::health {

std::string TargetKey::to_string() const {
    const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
    const std::string end = host + ":" + std::to_string(check.port);
    return check.type == config::CheckType::kHttp ? "http " + end + check.path : "tcp " + end;
}

std::vector<TargetId> TargetSet::set_targets(const std::vector<TargetSpec>& specs, TimePoint now) {
    std::map<TargetKey, Verdict> wanted;
    for (const TargetSpec& spec : specs) {
        Verdict& seed = wanted[spec.key];
        if (seed == Verdict::kUnknown) seed = spec.seed;
    }
    std::vector<TargetId> gone;
    for (const auto& [key, id] : ids_)
        if (!wanted.contains(key)) gone.push_back(id);
    for (const TargetId id : gone) remove(id);
    for (const auto& [key, seed] : wanted)
        if (!ids_.contains(key)) add({key, seed}, now);
    return gone;
}

void TargetSet::add(const TargetSpec& spec, TimePoint now) {
    const TargetId id = ++last_id_;
    ids_.emplace(spec.key, id);
    targets_.emplace(id, Target{spec.key, CheckState(spec.key.check.rise, spec.key.check.fall, spec.seed, now)});
    scheduler_.add(id, spec.key.check.interval, now);
    if (spec.seed == Verdict::kUnknown) ++unreported_;
}

void TargetSet::remove(TargetId id) {
    const auto found = targets_.find(id);
    if (found->second.state.verdict() == Verdict::kUnknown) --unreported_;
    ids_.erase(found->second.key);
    targets_.erase(found);
    scheduler_.remove(id);
}

std::vector<Launch> TargetSet::take_due(TimePoint now, std::size_t limit) {
    std::vector<Launch> launches;
    for (const TargetId id : scheduler_.take_due(now, limit)) launches.push_back({id, targets_.at(id).key});
    return launches;
}

std::optional<Transition> TargetSet::record(TargetId id, const ProbeResult& result, TimePoint now) {
    const auto found = targets_.find(id);
    if (found == targets_.end()) return std::nullopt;
    scheduler_.finished(id, now);
    auto transition = found->second.state.record(result, now);
    if (transition && transition->from == Verdict::kUnknown) --unreported_;
    return transition;
}

const TargetKey* TargetSet::key(TargetId id) const {
    const auto found = targets_.find(id);
    return found == targets_.end() ? nullptr : &found->second.key;
}

const CheckState* TargetSet::state(const TargetKey& key) const {
    const auto found = ids_.find(key);
    return found == ids_.end() ? nullptr : &targets_.at(found->second).state;
}

Verdict TargetSet::verdict(const TargetKey& key) const {
    const CheckState* found = state(key);
    return found == nullptr ? Verdict::kUnknown : found->verdict();
}

void TargetSet::for_each(const std::function<void(const TargetKey&, const CheckState&)>& visit) const {
    for (const auto& [key, id] : ids_) visit(key, targets_.at(id).state);
}

}  // namespace fairlead::health
