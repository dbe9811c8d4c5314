// SPDX-License-Identifier: Apache-2.0
// Keeps the host routes that a routing daemon announces VIPs by (announce = "route"): makes the kernel's routes what
// plan::decide_announcements() says, and knows of each VIP whether its route stands, or why not.
//
// What an earlier lbd left is taken over as it stands: a route that is wanted now too is not touched, so that the daemon
// sees no change, and one that is not wanted any more goes.
//
// Thread rule: the controller's thread.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ctl/net/host_routes.h"
#include "ctl/plan/announce.h"
#include "dataplane/tables/address.h"

namespace fairlead {

class RouteAnnouncer {
  public:
    // `os` outlives this.
    explicit RouteAnnouncer(net::HostRouteOs& os) : os_(os) {}

    // Of the config: where the routes are kept; none: nothing is announced, as before the first call. Routes that an
    // earlier owner of this object had are withdrawn, and those that stand under the new one are taken over.
    void set_owner(const std::optional<net::RouteOwner>& owner);

    // After a change of what is decided. What fails is logged, and tried again by refresh().
    void follow(std::vector<plan::VipAnnouncement> decided);
    // Routes of the kernel changed, perhaps ours: reads them again, and puts right what is not as last decided.
    void refresh();
    void withdraw_all();

    bool on() const { return owner_.has_value(); }
    // Something could not be done: refresh() is to be called after a while.
    bool failing() const { return unreadable_ || !errors_.empty(); }

    struct Vip {
        IpAddress vip;
        bool announced = false;
        std::string reason;  // why, or why not
        bool operator==(const Vip&) const = default;
    };
    // In the order of what was decided last.
    std::vector<Vip> vips() const;
    // Routes that stand.
    std::size_t announced() const { return present_.size(); }

  private:
    void read();
    void apply();
    void announce(const IpAddress& vip, const std::string& reason);
    void withdraw(const IpAddress& vip, const std::string& reason);
    // Logs it once as long as it stays the same.
    void fail_of(const IpAddress& vip, const std::string& message);

    net::HostRouteOs& os_;
    std::optional<net::RouteOwner> owner_;
    std::vector<plan::VipAnnouncement> decided_;
    std::set<IpAddress> present_;
    bool unreadable_ = false;
    std::map<IpAddress, std::string> errors_;  // what stands in the way of a VIP's route, or of its end
};

}  // namespace fairlead
