// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/announce.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>

namespace fairlead::plan {
namespace {

// For the whole node; empty: each VIP is judged by itself.
std::optional<VipAnnouncement> verdict_of_node(const AnnouncingNode& node) {
    if (!node.attached) return VipAnnouncement{{}, Announced::kNo, "the program is not on every interface"};
    if (!node.published)
        return VipAnnouncement{{}, Announced::kAsBefore, "as before: waits for the first result of every check"};
    return std::nullopt;
}

// `serving`: a pool of the VIP that has a backend to send to; null: none has.
VipAnnouncement verdict_of_vip(const IpAddress& vip, const PoolDecision* serving, const AnnouncingNode& node) {
    if (serving == nullptr) return {vip, Announced::kNo, "no backend is eligible"};
    if (!node.active(vip)) return {vip, Announced::kNo, "this node is not the active one"};
    return {vip, Announced::kYes, "pool " + serving->pool + ": " + serving->reason};
}

}  // namespace

std::vector<VipAnnouncement> decide_announcements(const config::Config& config, std::span<const PoolDecision> decisions,
                                                  const AnnouncingNode& node) {
    std::map<std::string_view, const PoolDecision*> pools;
    for (const auto& decision : decisions) pools.emplace(decision.pool, &decision);
    std::vector<IpAddress> order;
    std::map<IpAddress, const PoolDecision*> serving;
    for (const auto& service : config.services) {
        const auto [vip, added] = serving.try_emplace(service.vip, nullptr);
        if (added) order.push_back(service.vip);
        const auto pool = pools.find(service.pool);
        const bool serves = pool != pools.end() && pool->second->in_use > 0;
        if (serves && vip->second == nullptr) vip->second = pool->second;
    }
    const auto of_node = verdict_of_node(node);
    std::vector<VipAnnouncement> decided;
    decided.reserve(order.size());
    for (const auto& vip : order) {
        decided.push_back(of_node ? *of_node : verdict_of_vip(vip, serving.at(vip), node));
        decided.back().vip = vip;
    }
    return decided;
}

RouteChanges route_changes(const std::set<IpAddress>& present, std::span<const VipAnnouncement> decided) {
    RouteChanges changes;
    std::set<IpAddress> wanted;
    for (const auto& [vip, announced, reason] : decided) {
        const bool stands = present.contains(vip);
        if (announced == Announced::kYes || (announced == Announced::kAsBefore && stands)) wanted.insert(vip);
        if (announced == Announced::kYes && !stands) changes.announce.push_back(vip);
    }
    std::set_difference(present.begin(), present.end(), wanted.begin(), wanted.end(),
                        std::back_inserter(changes.withdraw));
    return changes;
}

}  // namespace fairlead::plan
