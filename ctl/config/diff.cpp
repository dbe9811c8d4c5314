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

}  // namespace

std::vector<std::string> diff_settings(const Config& before, const Config& after) {
    Lines lines;
    diff_nodes(lines, before, after);
    diff_limits(lines, before.limits, after.limits);
    add_change(lines, "[ha] announce", text_of(before.ha), text_of(after.ha));
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
