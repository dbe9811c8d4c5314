// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/netlink_requests.h"

#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "ctl/net/netlink_model.h"
#include "ctl/net/netlink_socket.h"

namespace fairlead::net {

namespace {

constexpr timeval kAnswerWait{2, 0};
// A table that changes under its dump is read again; under a steady storm the last one has to do.
constexpr int kDumpAttempts = 5;
// Header, fixed part and two attributes.
using RequestBuffer = std::array<char, 256>;

std::uint8_t family_of(const IpAddress& address) { return address.is_v4() ? AF_INET : AF_INET6; }

void put_address(nlmsghdr* message, std::uint16_t type, const IpAddress& address) {
    const auto bytes = address.family_bytes();
    mnl_attr_put(message, type, bytes.size(), bytes.data());
}

// Fills in which table: a number above 255 has room in an attribute only.
void put_table(nlmsghdr* message, rtmsg* header, std::uint32_t table) {
    header->rtm_table = static_cast<std::uint8_t>(table <= UINT8_MAX ? table : RT_TABLE_UNSPEC);
    mnl_attr_put_u32(message, RTA_TABLE, table);
}

std::string reason_of(int code) {
    switch (code) {
        case ENETUNREACH:
        case ESRCH:
            return "no route";
        case EHOSTUNREACH:
            return "the route says unreachable";
        case EACCES:
            return "the route says prohibited";
        case EINVAL:
            return "the route is a blackhole";
        default:
            return "asking for the route: " + std::string(std::strerror(code));
    }
}

}  // namespace

Result<std::unique_ptr<NetlinkRequests>> NetlinkRequests::create() {
    const auto fd = open_netlink_socket();
    if (!fd) return tl::unexpected(fd.error());
    std::unique_ptr<NetlinkRequests> requests(new NetlinkRequests(*fd));
    requests->buffer_.resize(kNetlinkBufferBytes);
    if (::setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &kAnswerWait, sizeof kAnswerWait) != 0)
        return fail_errno("set the rtnetlink socket's timeout", errno);
    // Dumps of one table then cost what that table holds. A kernel before 4.20 gives all, and is filtered here.
    const int on = 1;
    [[maybe_unused]] const int strict = ::setsockopt(*fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
    return requests;
}

NetlinkRequests::~NetlinkRequests() { ::close(fd_); }

Result<Route> NetlinkRequests::route_to(const IpAddress& destination) {
    alignas(nlmsghdr) RequestBuffer buffer{};
    nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
    message->nlmsg_type = RTM_GETROUTE;
    auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
    header->rtm_family = family_of(destination);
    header->rtm_dst_len = static_cast<std::uint8_t>(destination.family_bytes().size() * 8);
    put_address(message, RTA_DST, destination);
    Result<Route> route = fail("no route");
    if (auto asked = ask(message, [&](const nlmsghdr* answer) { route = parse_route(answer); }); !asked)
        return fail(reason_of(asked.error().code), asked.error().code);
    return route;
}

Result<void> NetlinkRequests::resolve(const NeighbourKey& key) {
    return use_neighbour(key, NLM_F_CREATE | NLM_F_REPLACE, NTF_EXT_MANAGED);
}

Result<void> NetlinkRequests::release(const NeighbourKey& key) {
    // NTF_USE without the managed flag clears it; the kernel has no call that only does that.
    auto done = use_neighbour(key, NLM_F_REPLACE, 0);
    if (!done && (done.error().code == ENOENT || done.error().code == ENODEV)) return {};
    return done;
}

Result<void> NetlinkRequests::use_neighbour(const NeighbourKey& key, std::uint16_t flags,
                                            std::uint32_t extended_flags) {
    alignas(nlmsghdr) RequestBuffer buffer{};
    nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
    message->nlmsg_type = RTM_NEWNEIGH;
    message->nlmsg_flags = flags;
    auto* header = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ndmsg)));
    header->ndm_family = family_of(key.address);
    header->ndm_ifindex = static_cast<int>(key.ifindex);
    header->ndm_state = NUD_NONE;
    header->ndm_flags = NTF_USE;
    put_address(message, NDA_DST, key.address);
    if (extended_flags != 0) mnl_attr_put_u32(message, NDA_FLAGS_EXT, extended_flags);
    auto asked = ask(message, [](const nlmsghdr*) {});
    if (!asked) return fail_errno("ask the kernel to resolve " + key.address.to_string(), asked.error().code);
    return {};
}

Result<std::optional<std::chrono::milliseconds>> NetlinkRequests::since_confirmed(const NeighbourKey& key) {
    alignas(nlmsghdr) RequestBuffer buffer{};
    nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
    message->nlmsg_type = RTM_GETNEIGH;
    auto* header = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ndmsg)));
    header->ndm_family = family_of(key.address);
    header->ndm_ifindex = static_cast<int>(key.ifindex);
    put_address(message, NDA_DST, key.address);
    std::optional<std::chrono::milliseconds> since;
    auto asked = ask(message, [&](const nlmsghdr* answer) { since = parse_since_confirmed(answer); });
    if (!asked && asked.error().code == ENOENT) return std::nullopt;
    if (!asked) return fail_errno("ask the kernel about " + key.address.to_string(), asked.error().code);
    return since;
}

Result<std::vector<IpAddress>> NetlinkRequests::host_routes(const RouteOwner& owner) {
    std::vector<IpAddress> found;
    for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
        found.clear();
        bool whole = true;
        for (const int family : {AF_INET, AF_INET6}) {
            const auto dumped = dump_host_routes(family, owner, found);
            if (!dumped) return fail_errno("list routes of table " + std::to_string(owner.table), dumped.error().code);
            whole = whole && *dumped;
        }
        if (whole) break;
    }
    return found;
}

Result<bool> NetlinkRequests::dump_host_routes(int family, const RouteOwner& owner, std::vector<IpAddress>& found) {
    alignas(nlmsghdr) RequestBuffer buffer{};
    nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
    message->nlmsg_type = RTM_GETROUTE;
    message->nlmsg_flags = NLM_F_DUMP;
    auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
    header->rtm_family = static_cast<std::uint8_t>(family);
    header->rtm_protocol = owner.protocol;
    put_table(message, header, owner.table);
    bool whole = true;
    auto asked = ask(message, [&](const nlmsghdr* answer) {
        whole = whole && (answer->nlmsg_flags & NLM_F_DUMP_INTR) == 0;
        if (const auto destination = parse_host_route(answer, owner)) found.push_back(*destination);
    });
    if (!asked && asked.error().code == ENOENT) return true;  // the kernel has no such table yet
    if (!asked) return tl::unexpected(asked.error());
    return whole;
}

Result<void> NetlinkRequests::add_host_route(const IpAddress& destination, const RouteOwner& owner) {
    return change_host_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, destination, owner);
}

Result<void> NetlinkRequests::delete_host_route(const IpAddress& destination, const RouteOwner& owner) {
    auto done = change_host_route(RTM_DELROUTE, 0, destination, owner);
    if (!done && done.error().code == ESRCH) return {};
    return done;
}

Result<void> NetlinkRequests::change_host_route(int type, std::uint16_t flags, const IpAddress& destination,
                                                const RouteOwner& owner) {
    alignas(nlmsghdr) RequestBuffer buffer{};
    nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
    message->nlmsg_type = static_cast<std::uint16_t>(type);
    message->nlmsg_flags = flags;
    auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
    header->rtm_family = family_of(destination);
    header->rtm_dst_len = static_cast<std::uint8_t>(destination.family_bytes().size() * 8);
    header->rtm_protocol = owner.protocol;
    header->rtm_type = RTN_BLACKHOLE;
    header->rtm_scope = RT_SCOPE_UNIVERSE;
    put_address(message, RTA_DST, destination);
    put_table(message, header, owner.table);
    auto asked = ask(message, [](const nlmsghdr*) {});
    if (!asked)
        return fail_errno((type == RTM_NEWROUTE ? "add a route to " : "delete the route to ") +
                              destination.to_string() + " in table " + std::to_string(owner.table),
                          asked.error().code);
    return {};
}

Result<void> NetlinkRequests::ask(nlmsghdr* message, const std::function<void(const nlmsghdr*)>& answer) {
    const std::uint32_t sequence = ++sequence_;
    message->nlmsg_seq = sequence;
    message->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (auto sent = send_netlink(fd_, message); !sent) return sent;
    while (true) {
        const auto received = receive_netlink(fd_, buffer_, 0);
        if (!received) return tl::unexpected(received.error());
        int left = static_cast<int>(*received);
        for (auto* reply = reinterpret_cast<nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(reply, left);
             reply = mnl_nlmsg_next(reply, &left)) {
            if (reply->nlmsg_seq != sequence) continue;  // of an earlier request whose answer came too late
            if (reply->nlmsg_type != NLMSG_ERROR && reply->nlmsg_type != NLMSG_DONE) {
                answer(reply);
                continue;
            }
            const int code = reply->nlmsg_type == NLMSG_DONE ? dump_error(reply) : netlink_error(reply);
            if (code != 0) return fail_errno("rtnetlink", code);
            return {};
        }
    }
}

}  // namespace fairlead::net
