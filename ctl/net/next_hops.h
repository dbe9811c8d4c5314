// SPDX-License-Identifier: Apache-2.0
// For each destination that the data path sends to: which interface, which MAC, and if not, why not. Pure logic: the
// kernel is behind NetOs, the time is an argument. Not thread-safe.
//
// It keeps the neighbours of its destinations resolved (NetOs::resolve) and asks for a route again whenever links,
// addresses or routes change, and every 30 s in case a change goes unseen (a policy no event tells of).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ctl/net/types.h"
#include "dataplane/tables/result.h"

namespace fairlead::net {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

// What the tracker needs of the kernel. KernelNet is the real one.
class NetOs {
  public:
    virtual ~NetOs() = default;

    virtual Result<Route> route_to(const IpAddress& destination) = 0;
    // Pointers are read at once and not kept. Null: there is none.
    virtual const Link* link(std::uint32_t ifindex) const = 0;
    // The VLAN device of that number on top of a link.
    virtual const Link* vlan_on(std::uint32_t lower, std::uint16_t id) const = 0;
    virtual const Neighbour* neighbour(const NeighbourKey& key) const = 0;
    // See NetlinkRequests.
    virtual Result<void> resolve(const NeighbourKey& key) = 0;
    virtual Result<void> release(const NeighbourKey& key) = 0;
};

enum class Reach {
    kResolving,  // asked for; a MAC known from before still stands
    kReachable,
    kLocal,     // this node's own address
    kFailed,    // nobody answers for it at layer 2, and it is asked on; a MAC known from before still stands
    kLinkDown,  // or gone
    kNoRoute,   // none, or one that cannot be used
};

// Where frames are to get to, and what is known of the way beside what the kernel knows.
struct Destination {
    IpAddress address;
    std::optional<std::uint16_t> vlan;  // that they leave on; 0 = untagged. None: what the route says
    MacAddress mac;                     // of the next hop; zero: the kernel is asked

    Destination() = default;
    Destination(const IpAddress& address_, std::optional<std::uint16_t> vlan_ = {}, const MacAddress& mac_ = {})
        : address(address_), vlan(vlan_), mac(mac_) {}
    // "192.0.2.11", "192.0.2.11 on VLAN 7"
    std::string to_string() const;
    auto operator<=>(const Destination&) const = default;
};

struct NextHop {
    Destination destination;
    Reach reach = Reach::kResolving;
    std::uint32_t ifindex = 0;  // whose neighbour the next hop is; 0 without a route
    // The interface that frames leave by: where `ifindex` is a VLAN device, what it is on top of.
    std::uint32_t device = 0;
    std::optional<std::uint16_t> vlan;  // that they leave on; 0 = untagged. None: with the tags that they came with
    IpAddress via;                      // whose MAC it is: the gateway, or the destination itself
    std::optional<IpAddress> source;
    MacAddress mac;         // zero while none was ever known on this way
    std::uint32_t mtu = 0;  // of link and route, the smaller; 0 without a route
    std::string reason;     // why it is not reachable; empty when reachable or local

    // A frame can be sent: the link is up and a MAC known. A failed neighbour keeps its last MAC: whether a silent host
    // is out is for the health checks to say.
    bool sendable() const {
        return reach == Reach::kReachable ||
               ((reach == Reach::kResolving || reach == Reach::kFailed) && !mac.is_zero());
    }
    auto operator<=>(const NextHop&) const = default;
};

class NextHopTracker {
  public:
    // `before` is empty for a destination's first state. Called from within set_wanted(), on_change() and tick(), after
    // the tracker's own state is consistent: it may call any of them.
    using OnChange = std::function<void(const std::optional<NextHop>& before, const NextHop& now)>;

    // `os` must outlive the tracker. Its end releases nothing: the kernel goes on keeping the neighbours fresh for the
    // data path, which runs on without lbd.
    explicit NextHopTracker(NetOs& os) : os_(os) {}

    void on_change(OnChange callback) { callback_ = std::move(callback); }

    // The interfaces that frames can leave by. Where there is only one, a destination whose MAC is given needs no route.
    void set_interfaces(std::set<std::uint32_t> ifindexes) { interfaces_ = std::move(ifindexes); }

    // Replaces the destinations; duplicates collapse. Those kept keep their state.
    void set_wanted(const std::vector<Destination>& destinations, TimePoint now);
    // The kernel's news, as NetlinkMonitor tells them.
    void on_change(const Changes& changes, TimePoint now);
    // To be called at next_deadline(); harmless at any other time.
    void tick(TimePoint now);
    std::optional<TimePoint> next_deadline() const;

    const NextHop* find(const Destination& destination) const;  // null: not wanted
    std::vector<NextHop> all() const;
    // No destination is still waiting for its first answer.
    bool settled() const;

  private:
    // How frames leave for a destination, as far as links and routes say it.
    struct Way {
        std::uint32_t ifindex = 0;  // as in NextHop
        std::uint32_t device = 0;
        std::optional<std::uint16_t> vlan;
        IpAddress via;
        bool askable =
            true;  // the next hop is a neighbour that the kernel can ask for; else only a static one is known
    };
    struct Target {
        Result<Route> route = fail("not asked yet");
        Way way;                                // of a usable route that is not local
        std::optional<NeighbourKey> neighbour;  // none when local, without a usable route, or when the MAC is given
        std::optional<NextHop> told;
    };
    // A neighbour that at least one destination goes through.
    struct Watched {
        std::set<Destination> users;
        MacAddress last_mac;
        TimePoint next_kick;  // the past: at once
        std::string kick_error;
        bool failed = false;  // since it last answered: asking again does not make it less so
    };
    struct Event {
        std::optional<NextHop> before;
        NextHop now;
    };

    void reroute_all(TimePoint now);
    Result<Route> usable_route(const Destination& destination) const;
    Result<Route> given_route(const Destination& destination, Result<Route> route) const;
    Way way_of(const Destination& destination, const Route& route) const;
    void find_way(const Destination& destination, Target& target);
    void watch(const Destination& destination, Target& target, std::optional<NeighbourKey> key);
    void unwatch(const NeighbourKey& key, const Destination& user);
    void refresh(const NeighbourKey& key, TimePoint now);
    bool wants_kick(const NeighbourKey& key, const Watched& watched) const;
    void kick_due(TimePoint now);
    void forgive_dead_links();
    NextHop describe(const Destination& destination, const Target& target) const;
    void describe_neighbour(const NeighbourKey& key, NextHop& hop) const;
    void describe_unaskable(const NeighbourKey& key, NextHop& hop) const;
    void note(const Destination& destination, Target& target);
    void tell();

    NetOs& os_;
    OnChange callback_;
    std::set<std::uint32_t> interfaces_;
    std::map<Destination, Target> targets_;
    std::map<NeighbourKey, Watched> watched_;
    std::vector<Event> events_;  // to be told once the state is consistent
    std::optional<TimePoint> rerouted_;
    bool reroute_pending_ = false;
};

std::string_view to_string(Reach reach);

}  // namespace fairlead::net
