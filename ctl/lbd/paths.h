// SPDX-License-Identifier: Apache-2.0
// From addresses to next hops: keeps the tables' next-hop words in step with the kernel's routes and neighbours. One
// next hop a neighbour, however many backends lie behind it, so that a MAC that moves is one store (DESIGN section 4).
// One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "ctl/net/next_hops.h"
#include "dataplane/tables/writer.h"

namespace fairlead {

// How a destination is reached, as its backend's word needs it.
struct Path {
    std::uint32_t nexthop = 0;  // id in the tables; 0 = none
    std::uint32_t mtu = 0;      // bytes of IP
    auto operator<=>(const Path&) const = default;
};

class PathTable {
  public:
    // Interface index -> port number.
    using Ports = std::map<std::uint32_t, std::uint32_t>;

    PathTable(tables::TableWriter& writer, net::NextHopTracker& tracker) : writer_(writer), tracker_(tracker) {}

    void set_ports(Ports ports);

    // The present path to `destination`; allocates its next hop on first use.
    Path path_to(const IpAddress& destination);
    // The tracker said that the way to a destination changed. True when the backend words that use it must be rewritten
    // (another next hop or MTU); a MAC alone is stored here, and that is all.
    bool changed(const net::NextHop& hop);
    // Frees the next hops that none of `destinations` uses; call when no backend names them any more.
    void keep_only(const std::set<IpAddress>& destinations);

    const net::NextHop* find(const IpAddress& destination) const { return tracker_.find(destination); }

  private:
    Path resolve(const net::NextHop& hop);

    tables::TableWriter& writer_;
    net::NextHopTracker& tracker_;
    Ports ports_;
    std::map<net::NeighbourKey, std::uint32_t> ids_;
    std::map<IpAddress, Path> known_;
};

}  // namespace fairlead
