// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/paths.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace fairlead {

void PathTable::set_ports(Ports ports) { ports_ = std::move(ports); }

// Stores the next hop's word, and gives the path as a backend's word names it.
Path PathTable::resolve(const net::NextHop& hop) {
    if (hop.ifindex == 0 || hop.reach == net::Reach::kLocal || hop.reach == net::Reach::kNoRoute) return {};
    const net::NeighbourKey key{hop.ifindex, hop.via};
    auto found = ids_.find(key);
    if (found == ids_.end()) {
        auto id = writer_.allocate_nexthop();
        if (!id) {
            spdlog::error("no next hop for {}: {}", hop.destination.to_string(), id.error().message);
            return {};
        }
        found = ids_.emplace(key, *id).first;
    }
    const auto port = ports_.find(hop.ifindex);
    const bool usable = hop.sendable() && port != ports_.end();
    if (auto stored = writer_.set_nexthop(found->second, usable ? hop.mac : MacAddress{}, usable ? port->second : 0);
        !stored)
        spdlog::error("next hop {}: {}", hop.via.to_string(), stored.error().message);
    return {found->second, std::min<std::uint32_t>(hop.mtu, 0xffff)};
}

Path PathTable::path_to(const IpAddress& destination) {
    const auto* hop = tracker_.find(destination);
    if (!hop) return {};
    return known_[destination] = resolve(*hop);
}

bool PathTable::changed(const net::NextHop& hop) {
    const auto path = resolve(hop);
    auto& known = known_[hop.destination];
    return std::exchange(known, path) != path;
}

void PathTable::keep_only(const std::set<IpAddress>& destinations) {
    std::set<std::uint32_t> used;
    std::erase_if(known_, [&](const auto& entry) { return !destinations.contains(entry.first); });
    for (const auto& [destination, path] : known_) used.insert(path.nexthop);
    std::erase_if(ids_, [&](const auto& entry) {
        if (used.contains(entry.second)) return false;
        if (auto freed = writer_.free_nexthop(entry.second); !freed) spdlog::debug("{}", freed.error().message);
        return true;
    });
}

}  // namespace fairlead
