// SPDX-License-Identifier: Apache-2.0
// High availability as lbd runs it: what the config, the links and the addresses of this node make of [ha], given to the
// HA thread, and what the controller knows turned into tracking. make_ha_group() is pure.
//
// Thread rule: the controller's thread.
#pragma once

#include <memory>
#include <optional>
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
    fl_role* role = nullptr;
};

// The error says what is missing yet: an interface, or an address to send from.
Result<ha::HaGroup> make_ha_group(const HaWorld& world);

// What tracking asks of the node. All good by default.
struct HaCondition {
    bool interfaces_up = true;
    bool attached = true;
    bool backends = true;  // some pool has an eligible one
};
ha::Tracking tracking_of(const config::Ha& ha, const HaCondition& condition);

class HaService {
  public:
    static Result<std::unique_ptr<HaService>> create();

    // After a change of config, links or addresses. Where there is no group to be made yet, the last one stays.
    Result<void> follow(const HaWorld& world);
    // The first full round of checks is over.
    void set_ready();
    bool ready() const { return ready_; }
    void track(const config::Ha& ha, const HaCondition& condition);

    Result<void> give_up();
    Result<void> set_external(bool active);
    // Hands over.
    void stop() { thread_->stop(); }

    bool configured() const { return group_.has_value(); }
    // Of the one group; only when configured().
    ha::HaGroupStatus status() const { return thread_->status().front(); }
    int changes_fd() const { return thread_->changes_fd(); }
    // The changes of role since the last call, a line each.
    std::vector<std::string> take_changes();

  private:
    HaService() = default;

    std::unique_ptr<ha::HaThread> thread_;
    std::optional<ha::HaGroup> group_;
    ha::Tracking tracking_;
    bool ready_ = false;
    std::uint64_t told_ = 0;
};

// "backup -> active: no advert for the down interval (192.0.2.3, priority 100)"
std::string describe(const ha::StateChange& change);

}  // namespace fairlead
