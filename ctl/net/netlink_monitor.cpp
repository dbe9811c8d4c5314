// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/netlink_monitor.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "ctl/net/netlink_socket.h"

namespace fairlead::net {

namespace {

constexpr std::array kGroups = {RTNLGRP_LINK,        RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR,
                                RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                                RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_RULE,  RTNLGRP_NEXTHOP};
// A dump that the tables change under is repeated; under a steady storm the last one has to do until the next event.
constexpr int kDumpAttempts = 5;
constexpr int kDumpWaitMs = 5000;
// Datagrams taken in one on_readable(), so that a storm cannot hold the caller's loop.
constexpr int kMostDatagrams = 512;

}  // namespace

Result<std::unique_ptr<NetlinkMonitor>> NetlinkMonitor::create(MonitorOptions options) {
    const auto fd = open_netlink_socket();
    if (!fd) return tl::unexpected(fd.error());
    std::unique_ptr<NetlinkMonitor> monitor(new NetlinkMonitor(*fd));
    if (auto subscribed = monitor->subscribe(options); !subscribed) return tl::unexpected(subscribed.error());
    Changes ignored;
    if (auto read = monitor->read_all(ignored); !read) return tl::unexpected(read.error());
    return monitor;
}

NetlinkMonitor::~NetlinkMonitor() { ::close(fd_); }

Result<void> NetlinkMonitor::subscribe(MonitorOptions options) {
    buffer_.resize(kNetlinkBufferBytes);
    const auto port = netlink_port(fd_);
    if (!port) return tl::unexpected(port.error());
    port_ = *port;
    const int size = options.receive_buffer_bytes;
    if (::setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0 &&
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) != 0)
        return fail_errno("set the netlink socket's receive buffer", errno);
    for (const int group : kGroups)
        if (::setsockopt(fd_, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
            return fail_errno("subscribe to rtnetlink group " + std::to_string(group), errno);
    return {};
}

Result<void> NetlinkMonitor::read_all(Changes& changes) {
    incomplete_ = true;
    for (int attempt = 0; attempt < kDumpAttempts && incomplete_; ++attempt) {
        bool whole = true;
        model_.begin_dump();
        for (const int type : {RTM_GETLINK, RTM_GETADDR, RTM_GETNEIGH}) {
            const auto dumped = dump(type, changes);
            if (!dumped) return tl::unexpected(dumped.error());
            whole = whole && *dumped;
        }
        model_.end_dump(changes);
        incomplete_ = !whole;
    }
    return {};
}

// False: the tables changed meanwhile and the dump may have missed something.
Result<bool> NetlinkMonitor::dump(int type, Changes& changes) {
    const std::uint32_t sequence = ++sequence_;
    if (auto sent = send_dump_request(fd_, type, sequence); !sent) return tl::unexpected(sent.error());
    bool whole = true;
    while (true) {
        pollfd ready{fd_, POLLIN, 0};
        if (::poll(&ready, 1, kDumpWaitMs) == 0) return fail("the kernel does not answer a netlink dump", ETIMEDOUT);
        const auto received = receive_netlink(fd_, buffer_, MSG_DONTWAIT);
        if (!received && received.error().code == ENOBUFS) {
            whole = false;  // notifications were lost; the dump itself goes on
            continue;
        }
        if (!received && received.error().code != EAGAIN) return tl::unexpected(received.error());
        int left = received ? static_cast<int>(*received) : 0;
        for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(message, left);
             message = mnl_nlmsg_next(message, &left)) {
            // Notifications arrive among the dump's messages, in the order of the changes: both are applied.
            model_.apply(message, changes);
            if (message->nlmsg_seq != sequence || message->nlmsg_pid != port_) continue;
            whole = whole && (message->nlmsg_flags & NLM_F_DUMP_INTR) == 0;
            if (message->nlmsg_type == NLMSG_DONE) return whole;
            if (message->nlmsg_type == NLMSG_ERROR)
                return fail_errno("read the kernel's tables", netlink_error(message));
        }
    }
}

Result<void> NetlinkMonitor::on_readable() {
    Changes changes;
    bool lost = incomplete_;
    for (int datagram = 0; datagram < kMostDatagrams; ++datagram) {
        const auto received = receive_netlink(fd_, buffer_, MSG_DONTWAIT);
        if (!received && received.error().code == EAGAIN) break;
        if (!received && received.error().code == ENOBUFS) {
            lost = true;
            continue;
        }
        if (!received) return tl::unexpected(received.error());
        apply_received(*received, changes);
    }
    if (lost) {
        if (auto read = read_all(changes); !read) return read;
        changes.resynchronized = changes.links = changes.addresses = changes.routes = true;
    }
    if (changes.any() && on_change_) on_change_(changes);
    return {};
}

void NetlinkMonitor::apply_received(std::size_t bytes, Changes& changes) {
    int left = static_cast<int>(bytes);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left))
        model_.apply(message, changes);
}

Result<Link> link_by_name(std::string_view name) {
    const auto monitor = NetlinkMonitor::create();
    if (!monitor) return tl::unexpected(monitor.error());
    const Link* found = (*monitor)->model().link(name);
    if (found == nullptr) return fail("there is no interface " + std::string(name), ENODEV);
    return *found;
}

Result<std::vector<LocalAddress>> local_addresses() {
    const auto monitor = NetlinkMonitor::create();
    if (!monitor) return tl::unexpected(monitor.error());
    return (*monitor)->model().addresses();
}

}  // namespace fairlead::net
