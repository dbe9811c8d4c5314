// SPDX-License-Identifier: Apache-2.0
// What two configs differ in beside pools and services, of which plan::diff_plan() speaks.
#include <algorithm>
#include <map>

#include "ctl/config/config.h"

namespace fairlead::config {
namespace {

using Lines = std::vector<std::string>;

void add_change(Lines& lines, const std::string& key, const std::string& before, const std::string& after) {
    if (before != after) lines.push_back(key + " " + before + " -> " + after);
}

template <typename List, typename Text>
std::string joined(const List& list, Text text) {
    std::string all;
    for (const auto& item : list) all += (all.empty() ? "" : ", ") + text(item);
    return all.empty() ? "none" : all;
}

std::string text_of(const Interface& interface) {
    if (!interface.vlan) return interface.name;
    return interface.name + (*interface.vlan == 0 ? " untagged" : " VLAN " + std::to_string(*interface.vlan));
}

std::string text_of(const std::optional<IpAddress>& address) { return address ? address->to_string() : "none"; }

std::string_view text_of(LogLevel level) {
    switch (level) {
        case LogLevel::kDebug:
            return "debug";
        case LogLevel::kInfo:
            return "info";
        case LogLevel::kWarning:
            return "warning";
        case LogLevel::kError:
            return "error";
    }
    return "?";
}

std::string text_of(const Ha& ha) {
    if (ha.announce == Announce::kArp) return "arp";
    return "route (table " + std::to_string(ha.routes.table) + ", protocol " + std::to_string(ha.routes.protocol) +
           ", on stop " + std::string(to_string(ha.routes.on_stop)) + ")";
}

std::string endpoint_of(const Metrics& metrics) {
    if (!metrics.enabled) return "off";
    const auto host = metrics.address.to_string();
    return (metrics.address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(metrics.port);
}

std::string priorities_of(const Node& node) {
    if (node.priority) return std::to_string(*node.priority);
    return joined(node.priorities, [](const auto& of) { return of.first + " " + std::to_string(of.second); });
}

std::string called(const Node& node) { return node.name.empty() ? "node" : "node " + node.name; }

void diff_node(Lines& lines, const Node& before, const Node& after) {
    const auto name = called(after) + ": ";
    const auto interfaces = [](const Node& node) {
        return joined(node.interfaces, [](const Interface& interface) { return text_of(interface); });
    };
    add_change(lines, name + "interfaces", interfaces(before), interfaces(after));
    add_change(lines, name + "engine", std::string(to_string(before.engine)), std::string(to_string(after.engine)));
    add_change(lines, name + "address", text_of(before.address), text_of(after.address));
    add_change(lines, name + "IPv6 address", text_of(before.address6), text_of(after.address6));
    add_change(lines, name + "priority", priorities_of(before), priorities_of(after));
}

void diff_nodes(Lines& lines, const Config& before, const Config& after) {
    std::map<std::string_view, const Node*> old;
    for (const auto& node : before.nodes) old.emplace(node.name, &node);
    for (const auto& node : after.nodes) {
        const auto found = old.find(node.name);
        if (found == old.end()) {
            lines.push_back(called(node) + " added");
            continue;
        }
        diff_node(lines, *found->second, node);
        old.erase(found);
    }
    for (const auto& [name, node] : old) lines.push_back(called(*node) + " removed");
}

void diff_limits(Lines& lines, const Limits& before, const Limits& after) {
    const std::pair<const char*, std::uint32_t Limits::*> kLimits[] = {
        {"vips", &Limits::vips},         {"services", &Limits::services}, {"pools", &Limits::pools},
        {"backends", &Limits::backends}, {"slots", &Limits::slots},       {"pins", &Limits::pins}};
    for (const auto& [name, member] : kLimits)
        add_change(lines, std::string("[limits] ") + name, std::to_string(before.*member),
                   std::to_string(after.*member));
}

std::string text_of(const HaPenalty& penalty) { return penalty.fault ? "fault" : std::to_string(penalty.off); }

std::string text_of(Milliseconds time) { return std::to_string(time.count()) + "ms"; }

void diff_group(Lines& lines, const HaGroup& before, const HaGroup& after) {
    const auto group = "HA group " + after.name + ": ";
    const auto vips = [](const HaGroup& of) {
        return joined(of.vips, [](const auto& vip) { return vip.to_string(); });
    };
    add_change(lines, group + "vrid", std::to_string(before.vrid), std::to_string(after.vrid));
    add_change(lines, group + "vips", vips(before), vips(after));
    add_change(lines, group + "priority", std::to_string(before.priority), std::to_string(after.priority));
    add_change(lines, group + "advert_interval", text_of(before.advert_interval), text_of(after.advert_interval));
    add_change(lines, group + "preempt", before.preempt ? "yes" : "no", after.preempt ? "yes" : "no");
    add_change(lines, group + "preempt_delay", text_of(before.preempt_delay), text_of(after.preempt_delay));
}

void diff_groups(Lines& lines, const Config& before, const Config& after) {
    const auto old_groups = groups_of(before), new_groups = groups_of(after);
    const auto find = [](const std::vector<HaGroup>& groups, const std::string& name) {
        const auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.name == name; });
        return found == groups.end() ? nullptr : &*found;
    };
    for (const auto& group : new_groups) {
        if (const auto* old = find(old_groups, group.name))
            diff_group(lines, *old, group);
        else
            lines.push_back("HA group " + group.name + " added");
    }
    for (const auto& group : old_groups)
        if (find(new_groups, group.name) == nullptr) lines.push_back("HA group " + group.name + " removed");
}

void diff_ha(Lines& lines, const Config& before, const Config& after) {
    const auto &old = before.ha, &now = after.ha;
    const auto peers = [](const Ha& ha) { return joined(ha.peers, [](const auto& peer) { return peer.to_string(); }); };
    add_change(lines, "[ha] mode", std::string(to_string(old.mode)), std::string(to_string(now.mode)));
    add_change(lines, "[ha] peers", peers(old), peers(now));
    add_change(lines, "[ha] hello_port", std::to_string(old.hello_port), std::to_string(now.hello_port));
    add_change(lines, "[ha] track interface", text_of(old.track_interface), text_of(now.track_interface));
    add_change(lines, "[ha] track engine", text_of(old.track_engine), text_of(now.track_engine));
    add_change(lines, "[ha] track backends", text_of(old.track_backends), text_of(now.track_backends));
    diff_groups(lines, before, after);
}

std::string text_of(const DpdkPort& port) {
    return port.interface + " = " + port.device + ", queues " + std::to_string(port.queues) +
           (port.node.empty() ? "" : ", node " + port.node);
}

void diff_dpdk(Lines& lines, const Dpdk& before, const Dpdk& after) {
    const auto flag = [](bool set) { return set ? "yes" : "no"; };
    const auto cores = [](const Dpdk& of) { return joined(of.cores, [](auto core) { return std::to_string(core); }); };
    const auto ports = [](const Dpdk& of) { return joined(of.ports, [](const auto& port) { return text_of(port); }); };
    add_change(lines, "[dpdk] supervise", flag(before.supervise), flag(after.supervise));
    add_change(lines, "[dpdk] exceptions", flag(before.exceptions), flag(after.exceptions));
    add_change(lines, "[dpdk] exceptions_per_second", std::to_string(before.exceptions_per_second),
               std::to_string(after.exceptions_per_second));
    add_change(lines, "[dpdk] cores", cores(before), cores(after));
    add_change(lines, "[dpdk] memory_mb", std::to_string(before.memory_mb), std::to_string(after.memory_mb));
    add_change(lines, "[dpdk] huge_pages", flag(before.huge_pages), flag(after.huge_pages));
    add_change(lines, "[dpdk] poll", std::string(to_string(before.poll)), std::string(to_string(after.poll)));
    add_change(lines, "[dpdk] ports", ports(before), ports(after));
}

void diff_sync(Lines& lines, const Sync& before, const Sync& after) {
    add_change(lines, "[sync]", before.on ? "on" : "off", after.on ? "on" : "off");
    add_change(lines, "[sync] key_file", before.key_file.string(), after.key_file.string());
    add_change(lines, "[sync] port", std::to_string(before.port), std::to_string(after.port));
    add_change(lines, "[sync] interval", text_of(before.interval), text_of(after.interval));
    add_change(lines, "[sync] rate_mbit", std::to_string(before.rate_mbit), std::to_string(after.rate_mbit));
    add_change(lines, "[sync] sync_wait", text_of(before.wait), text_of(after.wait));
    add_change(lines, "[sync] full_interval", text_of(before.full_interval), text_of(after.full_interval));
}

}  // namespace

std::vector<std::string> diff_settings(const Config& before, const Config& after) {
    Lines lines;
    diff_nodes(lines, before, after);
    diff_limits(lines, before.limits, after.limits);
    add_change(lines, "[ha] announce", text_of(before.ha), text_of(after.ha));
    diff_ha(lines, before, after);
    diff_sync(lines, before.sync, after.sync);
    diff_dpdk(lines, before.dpdk, after.dpdk);
    add_change(lines, "[metrics]", endpoint_of(before.metrics), endpoint_of(after.metrics));
    add_change(lines, "[log] level", std::string(text_of(before.log.level)), std::string(text_of(after.log.level)));
    add_change(lines, "hash_key_file", before.hash_key_file.string(), after.hash_key_file.string());
    const auto prefixes = [](const Config& config) {
        return joined(config.encap_source_prefix, [](const IpPrefix& prefix) { return prefix.to_string(); });
    };
    add_change(lines, "encap_source_prefix", prefixes(before), prefixes(after));
    return lines;
}

}  // namespace fairlead::config
