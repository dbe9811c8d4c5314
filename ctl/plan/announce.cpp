// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/announce.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string_view>
#include <utility>

namespace fairlead::plan {
namespace {

// What the services of a VIP make of it.
struct VipState {
    const PoolDecision* serving = nullptr;  // the first pool that has a backend to send to
    config::Milliseconds settle{0};         // the longest of its pools'
};

struct Verdict {
    Announced announced = Announced::kNo;
    std::string reason;
};

Verdict verdict_of(const IpAddress& vip, const PoolDecision* serving, const AnnouncingNode& node) {
    if (!node.attached) return {Announced::kNo, "the program is not on every interface"};
    if (!node.published) return {Announced::kAsBefore, "as before: waits for the first result of every check"};
    if (serving == nullptr) return {Announced::kNo, "no backend is eligible"};
    if (!node.active(vip)) return {Announced::kNo, "this node is not the active one"};
    return {Announced::kYes, "pool " + serving->pool + ": " + serving->reason};
}

// From when a backend is well until it is known to be, at most.
config::Milliseconds settle_time(const config::Pool& pool) {
    config::Milliseconds longest{0};
    for (const auto& check : pool.checks) longest = std::max(longest, check.interval * check.rise + check.timeout);
    return longest;
}

}  // namespace

std::vector<VipAnnouncement> decide_announcements(const config::Config& config, std::span<const PoolDecision> decisions,
                                                  const AnnouncingNode& node) {
    struct Pool {
        const PoolDecision* decision = nullptr;
        config::Milliseconds settle{0};
    };
    std::map<std::string_view, Pool> pools;
    for (const auto& pool : config.pools) pools[pool.name].settle = settle_time(pool);
    for (const auto& decision : decisions) pools[decision.pool].decision = &decision;
    std::vector<IpAddress> order;
    std::map<IpAddress, VipState> vips;
    for (const auto& service : config.services) {
        const auto [found, added] = vips.try_emplace(service.vip);
        if (added) order.push_back(service.vip);
        const auto& [decision, settle] = pools[service.pool];
        auto& vip = found->second;
        if (vip.serving == nullptr && decision != nullptr && decision->in_use > 0) vip.serving = decision;
        vip.settle = std::max(vip.settle, settle);
    }
    std::vector<VipAnnouncement> decided;
    decided.reserve(order.size());
    for (const auto& vip : order) {
        const auto& [serving, settle] = vips.at(vip);
        auto [announced, reason] = verdict_of(vip, serving, node);
        decided.push_back({vip, announced, std::move(reason), serving != nullptr, settle});
    }
    return decided;
}

void Settling::apply(std::vector<VipAnnouncement>& decided, TimePoint now) {
    std::map<IpAddress, std::optional<TimePoint>> returning;
    pending_ = false;
    for (auto& vip : decided) {
        const auto before = returning_.find(vip.vip);
        if (!vip.served) {
            returning[vip.vip] = std::nullopt;
            continue;
        }
        if (before == returning_.end()) continue;
        const auto since = before->second.value_or(now);
        if (now - since >= vip.settle) continue;
        returning[vip.vip] = since;
        if (vip.announced != Announced::kYes) continue;
        vip.announced = Announced::kNo;
        vip.reason = "a backend is back: waits for others, at most " + std::to_string(vip.settle.count()) + " ms";
        pending_ = true;
    }
    returning_ = std::move(returning);
}

std::set<IpAddress> Settling::returning() const {
    std::set<IpAddress> vips;
    for (const auto& [vip, since] : returning_) vips.insert(vip);
    return vips;
}

RouteChanges route_changes(const std::set<IpAddress>& present, std::span<const VipAnnouncement> decided) {
    RouteChanges changes;
    std::set<IpAddress> wanted;
    for (const auto& [vip, announced, reason, served, settle] : decided) {
        const bool stands = present.contains(vip);
        if (announced == Announced::kYes || (announced == Announced::kAsBefore && stands)) wanted.insert(vip);
        if (announced == Announced::kYes && !stands) changes.announce.push_back(vip);
    }
    std::set_difference(present.begin(), present.end(), wanted.begin(), wanted.end(),
                        std::back_inserter(changes.withdraw));
    return changes;
}

}  // namespace fairlead::plan
