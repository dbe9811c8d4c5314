// SPDX-License-Identifier: Apache-2.0
// Whether a backend that does not answer its checks is still there at layer 2 (DESIGN section 6, "Failure"): it is asked for
// three times by ARP or neighbour solicitation, 100 ms apart, and is gone if the kernel has not seen it meanwhile.
//
// Thread rule: everything on the one thread that runs the io_context.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "ctl/ha/vrrp_socket.h"
#include "ctl/net/kernel_net.h"

namespace fairlead {

class SilentHosts {
  public:
    static constexpr int kTimes = 3;
    static constexpr std::chrono::milliseconds kApart{100};

    // Told of an address that is gone. Both references must outlive this.
    using OnGone = std::function<void(const IpAddress&)>;
    SilentHosts(boost::asio::io_context& io, net::KernelNet& network, OnGone on_gone)
        : io_(io), network_(network), on_gone_(std::move(on_gone)) {}

    // A check of the destination timed out: asks, unless that is under way or known, or the destination is behind a router.
    void timed_out(const net::NextHop& hop);
    // It answered something. Who else was silent is gone only if somebody answered since it was asked for: else it may be
    // this node that is cut off. If the one that answers was silent itself, that has just ended, and others are asked again.
    void answered(const IpAddress& address);
    bool gone(const IpAddress& address) const { return gone_.contains(address) && !doubted_.contains(address); }
    void stop() { asked_.clear(); }

  private:
    struct Asked {
        explicit Asked(boost::asio::io_context& io) : timer(io) {}
        boost::asio::steady_timer timer;
        net::NextHop hop;
        int times = 0;
    };
    void begin(const net::NextHop& hop);
    ha::FrameSender* sender_for(std::uint32_t ifindex);
    void ask(const IpAddress& address);
    void conclude(const IpAddress& address);

    boost::asio::io_context& io_;
    net::KernelNet& network_;
    OnGone on_gone_;
    std::map<IpAddress, std::unique_ptr<Asked>> asked_;
    std::map<IpAddress, net::NextHop> gone_;
    std::set<IpAddress> doubted_;
    std::map<std::uint32_t, ha::FrameSender> senders_;  // by interface
};

}  // namespace fairlead
