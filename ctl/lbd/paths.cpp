// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/paths.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace fairlead {

// Stores the next hop's word, and gives the path as a backend's word names it.
Path PathTable::resolve(const net::NextHop& hop) {
    if (hop.ifindex == 0 || hop.reach == net::Reach::kLocal || hop.reach == net::Reach::kNoRoute) return {};
    const Way way{hop.device, hop.vlan, hop.via, hop.destination.mac};
    auto found = ways_.find(way);
    if (found == ways_.end()) {
        auto id = writer_.allocate_nexthop();
        if (!id) {
            spdlog::error("no next hop for {}: {}", hop.destination.to_string(), id.error().message);
            return {};
        }
        found = ways_.emplace(way, Entry{*id, 0}).first;
    }
    auto& [id, port] = found->second;
    port = ports_.way_out(hop.device, hop.vlan);
    const bool usable = hop.sendable() && port != 0;
    if (auto stored = writer_.set_nexthop(id, usable ? hop.mac : MacAddress{}, usable ? port : 0); !stored)
        spdlog::error("next hop {}: {}", hop.via.to_string(), stored.error().message);
    return {id, std::min<std::uint32_t>(hop.mtu, 0xffff)};
}

Path PathTable::path_to(const net::Destination& destination) {
    const auto* hop = tracker_.find(destination);
    if (!hop) return {};
    return known_[destination] = resolve(*hop);
}

bool PathTable::changed(const net::NextHop& hop) {
    const auto path = resolve(hop);
    auto& known = known_[hop.destination];
    return std::exchange(known, path) != path;
}

void PathTable::keep_only(const std::set<net::Destination>& destinations) {
    std::set<std::uint32_t> used;
    std::erase_if(known_, [&](const auto& entry) { return !destinations.contains(entry.first); });
    for (const auto& [destination, path] : known_) used.insert(path.nexthop);
    std::set<std::uint32_t> ports;
    std::erase_if(ways_, [&](const auto& entry) {
        const auto& [id, port] = entry.second;
        if (used.contains(id)) {
            ports.insert(port);
            return false;
        }
        if (auto freed = writer_.free_nexthop(id); !freed) spdlog::debug("{}", freed.error().message);
        return true;
    });
    ports_.keep_only(ports);
}

}  // namespace fairlead
