// SPDX-License-Identifier: Apache-2.0
// From destinations to next hops: keeps the tables' next-hop words in step with the kernel's routes and neighbours. One
// next hop a neighbour and way to it, however many backends lie behind it, so that a MAC that moves is one store (DESIGN
// section 4). One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "ctl/lbd/ports.h"
#include "ctl/net/next_hops.h"
#include "dataplane/tables/writer.h"

namespace fairlead {

// How a destination is reached, as its backend's word needs it.
struct Path {
    std::uint32_t nexthop = 0;  // id in the tables; 0 = none
    std::uint32_t mtu = 0;      // bytes of IP
    auto operator<=>(const Path&) const = default;
};

// Of a backend of the config, or of a decision about one.
template <typename Backend>
net::Destination destination_of(const Backend& backend) {
    return {backend.address, backend.vlan, backend.mac.value_or(MacAddress{})};
}

class PathTable {
  public:
    // All must outlive this.
    PathTable(tables::TableWriter& writer, net::NextHopTracker& tracker, PortTable& ports)
        : writer_(writer), tracker_(tracker), ports_(ports) {}

    // The present path to `destination`; allocates its next hop on first use.
    Path path_to(const net::Destination& destination);
    // The tracker said that the way to a destination changed. True when the backend words that use it must be rewritten
    // (another next hop or MTU); a MAC alone is stored here, and that is all.
    bool changed(const net::NextHop& hop);
    // Frees the next hops that none of `destinations` uses; call when no backend names them any more.
    void keep_only(const std::set<net::Destination>& destinations);

    const net::NextHop* find(const net::Destination& destination) const { return tracker_.find(destination); }

  private:
    // What makes two next hops one: who it is, and how frames get there.
    struct Way {
        std::uint32_t device = 0;
        std::optional<std::uint16_t> vlan;
        IpAddress via;
        MacAddress given;
        auto operator<=>(const Way&) const = default;
    };
    struct Entry {
        std::uint32_t id = 0;
        std::uint32_t port = 0;
    };

    Path resolve(const net::NextHop& hop);

    tables::TableWriter& writer_;
    net::NextHopTracker& tracker_;
    PortTable& ports_;
    std::map<Way, Entry> ways_;
    std::map<net::Destination, Path> known_;
};

}  // namespace fairlead
