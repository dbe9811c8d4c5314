// SPDX-License-Identifier: Apache-2.0
// Links, addresses and neighbours of the network namespace, followed live over one rtnetlink socket; route changes are
// told of but not kept (ask NetlinkRequests). When the kernel had to drop events (ENOBUFS), all is read anew.
//
// Thread rule: one thread. The namespace is that of the thread that calls create(). The caller watches fd() for
// reading and calls on_readable(); the callback comes from within on_readable(), at most once a call, and must not
// destroy the monitor.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "ctl/net/netlink_model.h"
#include "ctl/net/types.h"
#include "dataplane/tables/result.h"

namespace fairlead::net {

struct MonitorOptions {
    // Asked of the kernel; without CAP_NET_ADMIN it grants no more than net.core.rmem_max.
    int receive_buffer_bytes = 4 << 20;
};

class NetlinkMonitor {
  public:
    using OnChange = std::function<void(const Changes&)>;

    // Opens the socket, subscribes, then reads all there is: nothing falls between.
    static Result<std::unique_ptr<NetlinkMonitor>> create(MonitorOptions options = {});
    ~NetlinkMonitor();
    NetlinkMonitor(const NetlinkMonitor&) = delete;
    NetlinkMonitor& operator=(const NetlinkMonitor&) = delete;

    int fd() const { return fd_; }  // stays the monitor's own
    // Takes what has arrived, without waiting. An error means that the socket is of no use any more.
    Result<void> on_readable();
    void on_change(OnChange callback) { on_change_ = std::move(callback); }

    const NetlinkModel& model() const { return model_; }

  private:
    explicit NetlinkMonitor(int fd) : fd_(fd) {}

    Result<void> subscribe(MonitorOptions options);
    Result<void> read_all(Changes& changes);
    Result<bool> dump(int type, Changes& changes);
    void apply_received(std::size_t bytes, Changes& changes);

    int fd_;
    std::uint32_t port_ = 0;  // the socket's own netlink address
    std::uint32_t sequence_ = 0;
    std::vector<char> buffer_;
    NetlinkModel model_;
    OnChange on_change_;
    bool incomplete_ = false;  // events were lost and the dumps after it did not come through whole
};

// One look, without a monitor: for lbctl and for checks before lbd starts.
Result<Link> link_by_name(std::string_view name);
Result<std::vector<LocalAddress>> local_addresses();

}  // namespace fairlead::net
