// SPDX-License-Identifier: Apache-2.0
// Which VIPs move together.
#include <algorithm>
#include <set>

#include "ctl/config/config.h"

namespace fairlead::config {
namespace {

const HaGroup* group_that_names(const Ha& ha, const IpAddress& vip) {
    const auto found = std::find_if(ha.groups.begin(), ha.groups.end(), [&](const HaGroup& group) {
        return std::find(group.vips.begin(), group.vips.end(), vip) != group.vips.end();
    });
    return found == ha.groups.end() ? nullptr : &*found;
}

}  // namespace

std::vector<HaGroup> groups_of(const Config& config) {
    const auto& ha = config.ha;
    if (ha.mode == HaMode::kNone) return {};
    std::set<IpAddress> unnamed;
    for (const auto& service : config.services)
        if (group_that_names(ha, service.vip) == nullptr) unnamed.insert(service.vip);
    std::vector<HaGroup> groups;
    if (!unnamed.empty())
        groups.push_back({std::string(kDefaultGroup),
                          ha.vrid,
                          ha.priority,
                          ha.advert_interval,
                          ha.preempt,
                          ha.preempt_delay,
                          {unnamed.begin(), unnamed.end()}});
    for (const auto& group : ha.groups) {
        auto& vips = groups.emplace_back(group).vips;
        std::sort(vips.begin(), vips.end());
    }
    return groups;
}

std::uint8_t priority_of(const Node& node, const HaGroup& group) {
    const auto own = node.priorities.find(group.name);
    return own != node.priorities.end() ? own->second : node.priority.value_or(group.priority);
}

// Words go by VRID, so that a group keeps its own over a reload and a restart whatever else comes and goes.
std::uint32_t role_of(const Ha& ha, const IpAddress& vip) {
    if (ha.mode == HaMode::kNone) return 0;
    const auto* group = group_that_names(ha, vip);
    return group != nullptr ? group->vrid : ha.vrid;
}

}  // namespace fairlead::config
