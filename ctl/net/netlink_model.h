// SPDX-License-Identifier: Apache-2.0
// Rtnetlink messages in, the state of links, addresses and neighbours out. Pure: no socket, so that every message can
// be made up in a test. Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "ctl/net/host_routes.h"
#include "ctl/net/types.h"
#include "dataplane/tables/result.h"

struct nlmsghdr;
struct nlattr;

namespace fairlead::net {

class NetlinkModel {
  public:
    // Takes one message of a dump or a notification; `changes` gains what it changed. A message of another kind or
    // family, or one whose lengths do not fit, changes nothing. The header's own length must have been checked
    // against the buffer (mnl_nlmsg_ok).
    void apply(const nlmsghdr* message, Changes& changes);

    // A dump of everything begins: what it does not name again is removed by end_dump().
    void begin_dump() { ++generation_; }
    void end_dump(Changes& changes);

    const Link* link(std::uint32_t ifindex) const;
    const Link* link(std::string_view name) const;
    // The VLAN device of that number on top of a link; null: there is none.
    const Link* vlan_on(std::uint32_t lower, std::uint16_t id) const;
    const Neighbour* neighbour(const NeighbourKey& key) const;
    std::vector<Link> links() const;
    std::vector<LocalAddress> addresses() const;
    std::vector<Neighbour> neighbours() const;

  private:
    template <typename T>
    struct Seen {
        T value;
        std::uint64_t generation = 0;
    };

    void apply_link(const nlmsghdr* message, Changes& changes);
    void apply_address(const nlmsghdr* message, Changes& changes);
    void apply_neighbour(const nlmsghdr* message, Changes& changes);

    std::map<std::uint32_t, Seen<Link>> links_;
    std::map<LocalAddress, std::uint64_t> addresses_;  // and the generation
    std::map<NeighbourKey, Seen<Neighbour>> neighbours_;
    std::uint64_t generation_ = 0;
};

// The address in an attribute whose payload is 4 or 16 bytes, or nothing.
std::optional<IpAddress> address_in(const nlattr* attribute);

// The answer to RTM_GETROUTE, an RTM_NEWROUTE.
Result<Route> parse_route(const nlmsghdr* message);

// Of an RTM_NEWNEIGH: how long ago the neighbour last showed that it is there, in steps of 10 ms.
std::optional<std::chrono::milliseconds> parse_since_confirmed(const nlmsghdr* message);

// The destination of one of this owner's host routes, of a dump of routes; nothing for any other message.
std::optional<IpAddress> parse_host_route(const nlmsghdr* message, const RouteOwner& owner);

}  // namespace fairlead::net
