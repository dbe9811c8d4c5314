// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/role.h"

#include "ctl/ha/vrrp_socket.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead::lbctl {
namespace {

// Once: lbd, when it is there, repeats it. What cannot be sent is no reason to stop.
std::size_t announce(const tables::Tables& tables, const std::vector<IpAddress>& vips) {
    std::size_t sent = 0;
    for (const auto& port : tables::take_snapshot(tables).ports) {
        if (!port.is_device() || port.ifindex == 0) continue;
        auto sender = ha::FrameSender::open(port.ifindex);
        if (!sender) continue;
        const auto number = FL_PORT_VLAN_IN(port.way);
        const bool tagged = number != 0 && number != FL_VLAN_NONE;
        const auto vlan = tagged ? std::optional(static_cast<std::uint16_t>(number)) : std::nullopt;
        for (const auto& vip : vips)
            if (sender->send(ha::announcement(vip, tables::mac_of(tables.ports()[port.number].mac), vlan))) ++sent;
    }
    return sent;
}

}  // namespace

Result<std::vector<RoleTarget>> role_targets(const config::Config& config, const tables::Tables& tables,
                                             const std::string& group) {
    if (config.ha.mode != config::HaMode::kExternal)
        return fail("lbd is not there, and by the config it decides over the role: mode is not \"external\"", EINVAL);
    std::vector<RoleTarget> targets;
    const auto snapshot = tables::take_snapshot(tables);
    for (const auto& known : config::groups_of(config)) {
        if (!group.empty() && known.name != group) continue;
        auto& target = targets.emplace_back(RoleTarget{known.name, known.vrid, {}});
        for (const auto& vip : snapshot.vips)
            if (vip.role == target.role) target.vips.push_back(vip.address);
        if (target.vips.empty())
            return fail("group " + known.name + ": the tables have no VIP of it; start lbd with this config", EINVAL);
    }
    if (targets.empty()) return fail("no HA group " + group + " in the config", EINVAL);
    return targets;
}

std::vector<std::string> store_roles(tables::Tables& tables, const std::vector<RoleTarget>& targets, bool active) {
    std::vector<std::string> lines;
    for (const auto& target : targets) {
        auto& word = tables.roles()[target.role].active_until_ns;
        const std::uint64_t wanted = active ? UINT64_MAX : 0;
        if (tables::load_word(word) == wanted) continue;
        tables::store_word(word, wanted);
        auto line = "group " + target.group + ": " + (active ? "active" : "standby") + ", stored without lbd";
        if (active) line += "; " + std::to_string(announce(tables, target.vips)) + " announcements sent";
        lines.push_back(std::move(line));
    }
    return lines;
}

}  // namespace fairlead::lbctl
