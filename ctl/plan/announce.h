// SPDX-License-Identifier: Apache-2.0
// Which VIPs this node announces to routers, and why not the others: with announce = "route", a host route stands for
// each VIP that this node can serve. Pure: no I/O, and the time is an argument. Settling apart, thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/plan/eligibility.h"
#include "dataplane/tables/address.h"

namespace fairlead::plan {

// What routers would send packets to.
struct AnnouncingNode {
    bool published = false;  // the tables say what the config and the checks say
    bool attached = false;   // the program is on every interface
    // Whether this node acts for a VIP: with VRRP, one node does.
    std::function<bool(const IpAddress&)> active = [](const IpAddress&) { return true; };
};

enum class Announced {
    kNo,
    kYes,
    // Nothing is known yet but that the data path of an earlier lbd runs on: a route that stands stays, for traffic to
    // stay where it is; none is added.
    kAsBefore
};

struct VipAnnouncement {
    IpAddress vip;
    Announced announced = Announced::kNo;
    std::string reason;   // for people: "pool web: tier 0: 2 of 2 backends eligible", "no backend is eligible"
    bool served = false;  // some pool has a backend to send to
    config::Milliseconds settle{0};  // the longest that backends take to be found well after the first one was
    bool operator==(const VipAnnouncement&) const = default;
};

// One a VIP, in order of first use. A VIP is announced while one of its services has a backend to send to, which a pool
// with all_down = "any" always has. `decisions` are by pool, in the config's order.
std::vector<VipAnnouncement> decide_announcements(const config::Config& config, std::span<const PoolDecision> decisions,
                                                  const AnnouncingNode& node);

// Holds back VIPs whose backends come back. Where a node was cut off from all of them, its checks find them well one after
// another; until they have, its table is not that of the other nodes, and a connection that routers moved to it would
// reach a backend that does not know it.
class Settling {
  public:
    using TimePoint = std::chrono::steady_clock::time_point;

    // Of a node that has published: before, a VIP without a backend is only one that is not known yet. Of each VIP that
    // had no backend when last decided, and was not announced since, kYes becomes kNo until it has had one for `settle`.
    void apply(std::vector<VipAnnouncement>& decided, TimePoint now);
    // Some VIP is held back: apply() is to be called again after a while.
    bool pending() const { return pending_; }
    // VIPs that have no backend, or have not had one for `settle` since.
    std::set<IpAddress> returning() const;

  private:
    std::map<IpAddress, std::optional<TimePoint>>
        returning_;  // since when they are served again; none: they are not yet
    bool pending_ = false;
};

// What is to be done to the routes that stand.
struct RouteChanges {
    std::vector<IpAddress> withdraw;
    std::vector<IpAddress> announce;
    bool operator==(const RouteChanges&) const = default;
};
RouteChanges route_changes(const std::set<IpAddress>& present, std::span<const VipAnnouncement> decided);

}  // namespace fairlead::plan
