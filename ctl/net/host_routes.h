// SPDX-License-Identifier: Apache-2.0
// The routes by which a routing daemon learns of VIPs: one host route (/32, /128) each, of type blackhole, in a table and of
// a protocol number that nobody else uses together.
//
// No rule of the host's points at the table, so the host itself routes nothing by it; and XDP takes a VIP's packets before
// the stack sees them. Blackhole matters where a daemon copies what it learns into the main table, as FRR does: what XDP
// leaves of a VIP to the stack ends there, and is not sent back to the router that it came from. A VIP that stands on the
// loopback, for a backend on this node, is found earlier, in the kernel's local table.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"

namespace fairlead::net {

// Whose a route is. What differs in either is somebody else's, and is neither seen nor touched.
struct RouteOwner {
    std::uint32_t table = 0;
    std::uint8_t protocol = 0;
    auto operator<=>(const RouteOwner&) const = default;
};

// What RouteAnnouncer needs of the kernel. KernelNet is the real one.
class HostRouteOs {
  public:
    virtual ~HostRouteOs() = default;

    virtual Result<std::vector<IpAddress>> host_routes(const RouteOwner& owner) = 0;
    // EEXIST: there is one, of this owner or of another.
    virtual Result<void> add_host_route(const IpAddress& destination, const RouteOwner& owner) = 0;
    // No error if there is none of this owner.
    virtual Result<void> delete_host_route(const IpAddress& destination, const RouteOwner& owner) = 0;
};

}  // namespace fairlead::net
