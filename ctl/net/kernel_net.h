// SPDX-License-Identifier: Apache-2.0
// The kernel's network state as NextHopTracker and RouteAnnouncer want it: the live model for what is known, requests for
// the rest.
//
// Thread rule: one thread; the network namespace is that of the thread that calls create(). The caller watches fd().
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "ctl/net/host_routes.h"
#include "ctl/net/netlink_monitor.h"
#include "ctl/net/netlink_requests.h"
#include "ctl/net/next_hops.h"

namespace fairlead::net {

class KernelNet : public NetOs, public HostRouteOs {
  public:
    static Result<std::unique_ptr<KernelNet>> create();

    int fd() const { return monitor_->fd(); }
    Result<void> on_readable() { return monitor_->on_readable(); }
    void on_change(NetlinkMonitor::OnChange callback) { monitor_->on_change(std::move(callback)); }
    const NetlinkModel& model() const { return monitor_->model(); }

    Result<Route> route_to(const IpAddress& destination) override { return requests_->route_to(destination); }
    const Link* link(std::uint32_t ifindex) const override { return model().link(ifindex); }
    const Link* vlan_on(std::uint32_t lower, std::uint16_t id) const override { return model().vlan_on(lower, id); }
    const Neighbour* neighbour(const NeighbourKey& key) const override { return model().neighbour(key); }
    Result<void> resolve(const NeighbourKey& key) override { return requests_->resolve(key); }
    Result<void> release(const NeighbourKey& key) override { return requests_->release(key); }

    Result<std::optional<std::chrono::milliseconds>> since_confirmed(const NeighbourKey& key) {
        return requests_->since_confirmed(key);
    }

    Result<std::vector<IpAddress>> host_routes(const RouteOwner& owner) override {
        return requests_->host_routes(owner);
    }
    Result<void> add_host_route(const IpAddress& destination, const RouteOwner& owner) override {
        return requests_->add_host_route(destination, owner);
    }
    Result<void> delete_host_route(const IpAddress& destination, const RouteOwner& owner) override {
        return requests_->delete_host_route(destination, owner);
    }

    // Of the live model.
    Result<Link> link_by_name(std::string_view name) const;
    bool is_local(const IpAddress& address) const;

  private:
    KernelNet(std::unique_ptr<NetlinkMonitor> monitor, std::unique_ptr<NetlinkRequests> requests)
        : monitor_(std::move(monitor)), requests_(std::move(requests)) {}

    std::unique_ptr<NetlinkMonitor> monitor_;
    std::unique_ptr<NetlinkRequests> requests_;
};

}  // namespace fairlead::net
