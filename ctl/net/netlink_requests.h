// SPDX-License-Identifier: Apache-2.0
// Questions and orders to the kernel, each answered before the call returns (microseconds: rtnetlink answers in the
// caller's own context; a dump takes as long as its table is).
//
// Thread rule: one thread. The namespace is that of the thread that calls create().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ctl/net/host_routes.h"
#include "ctl/net/types.h"
#include "dataplane/tables/result.h"

struct nlmsghdr;

namespace fairlead::net {

class NetlinkRequests {
  public:
    static Result<std::unique_ptr<NetlinkRequests>> create();
    ~NetlinkRequests();
    NetlinkRequests(const NetlinkRequests&) = delete;
    NetlinkRequests& operator=(const NetlinkRequests&) = delete;

    // Where this node would send a packet to `destination`. Errors: ENETUNREACH, EHOSTUNREACH, EACCES (prohibited),
    // EINVAL (blackholed).
    Result<Route> route_to(const IpAddress& destination);

    // Has the kernel resolve the neighbour now and keep it resolved: NTF_USE starts resolution as a packet would,
    // NTF_EXT_MANAGED (Linux 5.16) has the kernel probe it again before it goes stale. XDP's traffic never confirms a
    // neighbour, so that without this the kernel would let it go stale, forget it, and not notice a new MAC. A managed
    // entry needs no timer of ours and stays fresh while lbd is down. An older kernel ignores the second flag: then the
    // caller repeats the call. Must not be used on a static entry: it would lose its permanence. Needs CAP_NET_ADMIN.
    Result<void> resolve(const NeighbourKey& key);
    // Ends the kernel's own care for it. No error if there is no such entry.
    Result<void> release(const NeighbourKey& key);

    // How long ago the neighbour last showed that it is there, as far as the kernel knows (in steps of 10 ms). None: there is
    // no such entry.
    Result<std::optional<std::chrono::milliseconds>> since_confirmed(const NeighbourKey& key);

    // See HostRouteOs. The last two need CAP_NET_ADMIN.
    Result<std::vector<IpAddress>> host_routes(const RouteOwner& owner);
    Result<void> add_host_route(const IpAddress& destination, const RouteOwner& owner);
    Result<void> delete_host_route(const IpAddress& destination, const RouteOwner& owner);

  private:
    explicit NetlinkRequests(int fd) : fd_(fd) {}

    Result<void> use_neighbour(const NeighbourKey& key, std::uint16_t flags, std::uint32_t extended_flags);
    Result<void> change_host_route(int type, std::uint16_t flags, const IpAddress& destination,
                                   const RouteOwner& owner);
    // Adds what is found. False: the table changed meanwhile, and something may have been missed.
    Result<bool> dump_host_routes(int family, const RouteOwner& owner, std::vector<IpAddress>& found);
    // Sends and waits for the answer: an acknowledgement, or one message that `answer` is given, or all those of a dump.
    Result<void> ask(nlmsghdr* message, const std::function<void(const nlmsghdr*)>& answer);

    int fd_;
    std::uint32_t sequence_ = 0;
    std::vector<char> buffer_;
};

}  // namespace fairlead::net
