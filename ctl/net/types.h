// SPDX-License-Identifier: Apache-2.0
// What the kernel knows of links, addresses, neighbours and routes, as plain values. Addresses in network byte order
// (IpAddress), numbers in host order. Safe to copy between threads.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "dataplane/tables/address.h"

namespace fairlead::net {

// What makes a link a VLAN's (IEEE 802.1Q): its number, and the link that its frames go by with a tag.
struct VlanOf {
    std::uint16_t id = 0;
    std::uint32_t lower = 0;
    auto operator<=>(const VlanOf&) const = default;
};

struct Link {
    std::uint32_t ifindex = 0;
    std::string name;
    std::string kind;  // "veth", "bridge", ...; empty for hardware
    MacAddress mac;
    std::uint32_t mtu = 0;
    std::uint32_t max_mtu = 0;  // that the driver takes at all; 0: not said
    bool admin_up = false;
    bool carrier = false;
    bool loopback = false;
    bool has_arp = true;                     // false: a link without neighbours to resolve
    std::optional<std::uint32_t> veth_peer;  // its ifindex, when the peer is in this network namespace
    std::optional<VlanOf> vlan;              // a VLAN device over a link of this network namespace
    std::uint32_t master = 0;                // ifindex of the bond or bridge that it belongs to; 0: none
    bool active_slave = false;               // of a bond, and in use: its master sends by it

    bool up() const { return admin_up && carrier; }
    bool is_bond() const { return kind == "bond"; }
    auto operator<=>(const Link&) const = default;
};

struct LocalAddress {
    std::uint32_t ifindex = 0;
    IpAddress address;
    int prefix_length = 0;  // in the address's own family
    auto operator<=>(const LocalAddress&) const = default;
};

struct NeighbourKey {
    std::uint32_t ifindex = 0;
    IpAddress address;
    auto operator<=>(const NeighbourKey&) const = default;
};

enum class NeighbourState { kNone, kIncomplete, kReachable, kStale, kDelay, kProbe, kFailed, kNoArp, kPermanent };

struct Neighbour {
    NeighbourKey key;
    MacAddress mac;  // zero while unresolved
    NeighbourState state = NeighbourState::kNone;
    bool managed = false;  // NTF_EXT_MANAGED: the kernel keeps it resolved by itself

    // The kernel would send to this MAC now.
    bool usable() const;
    // Set by hand: the kernel never resolves it, and neither do we.
    bool is_static() const { return state == NeighbourState::kPermanent || state == NeighbourState::kNoArp; }
    auto operator<=>(const Neighbour&) const = default;
};

// The kernel's answer for one destination.
struct Route {
    bool local = false;                // an address of this node
    std::uint32_t ifindex = 0;         // the loopback's when local
    std::optional<IpAddress> gateway;  // none: on link. May be of the other family (RFC 8950)
    std::optional<IpAddress> source;
    std::optional<std::uint32_t> mtu;  // of the route, if it has one of its own
    auto operator<=>(const Route&) const = default;
};

// What has changed since the last report.
struct Changes {
    bool links = false;
    bool addresses = false;
    bool routes = false;  // routes, rules or next-hop objects: which is not said
    std::set<NeighbourKey> neighbours;
    bool resynchronized = false;  // events were lost and all was read anew; everything above is set as if changed

    bool any() const { return links || addresses || routes || resynchronized || !neighbours.empty(); }
    bool reroutes() const { return links || addresses || routes || resynchronized; }
};

std::string_view to_string(NeighbourState state);

}  // namespace fairlead::net
