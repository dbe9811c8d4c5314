// SPDX-License-Identifier: Apache-2.0
// High availability as lbd runs it: what the config, the links and the addresses of this node make of [ha], given to the
// HA thread, and what the controller knows turned into tracking. make_ha_group() is pure.
//
// Thread rule: the controller's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/ha/ha_thread.h"
#include "ctl/net/netlink_model.h"
#include "dataplane/tables/result.h"

namespace fairlead {

// What [ha] is applied to.
struct HaWorld {
    const config::Config& config;
    const config::Node& node;  // adverts leave on its first interface
    const net::NetlinkModel& network;
    std::span<fl_role> roles;  // by VRID
};

// One for each group that has VIPs, in the order of config::groups_of(). The error says what is missing yet: an interface,
// or an address to send from.
Result<std::vector<ha::HaGroup>> make_ha_groups(const HaWorld& world);

// What tracking asks of the node, for one group. All good by default.
struct HaCondition {
    bool interfaces_up = true;
    bool attached = true;
    bool backends = true;  // some pool of the group's VIPs has an eligible one
};
ha::Tracking tracking_of(const config::Ha& ha, const HaCondition& condition);

class HaService {
  public:
    static Result<std::unique_ptr<HaService>> create();

    // After a change of config, links or addresses. Where groups cannot be made yet, the last ones stay.
    Result<void> follow(const HaWorld& world);
    // The first full round of checks is over.
    void set_ready();
    bool ready() const { return ready_; }
    void track(const config::Ha& ha, const std::function<HaCondition(const ha::HaGroup&)>& condition_of);

    // `group`: its name; empty: those that this node is active for.
    Result<void> give_up(const std::string& group);
    // `group`: its name; empty: all.
    Result<void> set_external(const std::string& group, bool active);
    // Hands over.
    void stop() { thread_->stop(); }

    const std::vector<ha::HaGroup>& groups() const { return groups_; }
    // Of groups(), by position.
    std::vector<ha::HaGroupStatus> status() const { return thread_->status(); }
    int changes_fd() const { return thread_->changes_fd(); }
    // The changes of role since the last call, a line each, and whether another node was found active beside this one.
    std::vector<std::string> take_changes();

  private:
    HaService() = default;

    Result<std::vector<std::size_t>> positions_of(const std::string& group) const;

    std::unique_ptr<ha::HaThread> thread_;
    std::vector<ha::HaGroup> groups_;
    std::map<std::string, ha::Tracking> tracking_;  // by group, as the thread has it
    bool ready_ = false;
    struct Told {
        std::uint64_t changes = 0, splits = 0;
    };
    std::map<std::string, Told> told_;  // by group
};

// "backup -> active: no advert for the down interval (192.0.2.3, priority 100)"
std::string describe(const ha::StateChange& change);

}  // namespace fairlead
