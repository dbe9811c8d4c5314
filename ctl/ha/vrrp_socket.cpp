// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/vrrp_socket.h"

#include <linux/if_packet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "ctl/ha/socket_message.h"

namespace fairlead::ha {

namespace {

constexpr std::array<std::uint8_t, 4> kGroup4 = {224, 0, 0, 18};
constexpr IpAddress::Bytes kGroup6 = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12};
constexpr int kTrafficClass = 0xc0;  // CS6, network control
constexpr int kPriority = 6;         // TC_PRIO_INTERACTIVE: ahead of what else waits in this node's queues
// The kernel counts a socket's memberships against net.core.optmem_max, 20 KiB on old kernels.
constexpr std::size_t kGroupsPerSocket = 128;

Result<void> prepare_v4(int fd, const VrrpSocketOptions& options) {
    const std::array<SocketOption, 6> numbers = {{{IPPROTO_IP, IP_TTL, kVrrpTtl},
                                                  {IPPROTO_IP, IP_MULTICAST_TTL, kVrrpTtl},
                                                  {IPPROTO_IP, IP_MULTICAST_LOOP, 0},
                                                  {IPPROTO_IP, IP_MULTICAST_ALL, 0},
                                                  {IPPROTO_IP, IP_TOS, kTrafficClass},
                                                  {SOL_SOCKET, SO_PRIORITY, kPriority}}};
    if (auto set = set_options(fd, "a VRRP socket", numbers); !set) return set;
    ip_mreqn group{};
    group.imr_multiaddr = to_in_addr(IpAddress::from_v4(kGroup4));
    group.imr_address = to_in_addr(options.source);
    group.imr_ifindex = static_cast<int>(options.ifindex);
    if (::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof group) != 0)
        return fail_errno("send VRRP on " + options.interface, errno);
    if (options.peers.empty() && ::setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) != 0)
        return fail_errno("join 224.0.0.18 on " + options.interface, errno);
    return {};
}

Result<void> prepare_v6(int fd, const VrrpSocketOptions& options) {
    const int ifindex = static_cast<int>(options.ifindex);
    const std::array<SocketOption, 8> numbers = {{{IPPROTO_IPV6, IPV6_UNICAST_HOPS, kVrrpTtl},
                                                  {IPPROTO_IPV6, IPV6_MULTICAST_HOPS, kVrrpTtl},
                                                  {IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0},
                                                  {IPPROTO_IPV6, IPV6_MULTICAST_IF, ifindex},
                                                  {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1},
                                                  {IPPROTO_IPV6, IPV6_RECVPKTINFO, 1},
                                                  {IPPROTO_IPV6, IPV6_TCLASS, kTrafficClass},
                                                  {SOL_SOCKET, SO_PRIORITY, kPriority}}};
    if (auto set = set_options(fd, "a VRRP socket", numbers); !set) return set;
    ipv6_mreq group{};
    group.ipv6mr_multiaddr = to_in6_addr(IpAddress(kGroup6));
    group.ipv6mr_interface = options.ifindex;
    if (options.peers.empty() && ::setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group) != 0)
        return fail_errno("join ff02::12 on " + options.interface, errno);
    return {};
}

// The kernel checked the header of what a raw socket gets; only its length varies.
std::optional<VrrpSocket::Received> parse_v4(std::span<const std::uint8_t> packet) {
    iphdr header{};
    if (packet.size() < sizeof header) return std::nullopt;
    std::memcpy(&header, packet.data(), sizeof header);
    const std::size_t length = std::size_t{header.ihl} * 4;
    if (length < sizeof header || length > packet.size()) return std::nullopt;
    const Arrival arrival{from_in_addr({header.saddr}), from_in_addr({header.daddr}), header.ttl};
    return VrrpSocket::Received{arrival, packet.subspan(length)};
}

VrrpSocket::Received parse_v6(msghdr& header, const sockaddr_in6& sender, std::span<const std::uint8_t> message) {
    VrrpSocket::Received received{{from_in6_addr(sender.sin6_addr), {}, -1}, message};
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
        if (item->cmsg_level != IPPROTO_IPV6) continue;
        if (item->cmsg_type == IPV6_HOPLIMIT) std::memcpy(&received.arrival.ttl, CMSG_DATA(item), sizeof(int));
        if (item->cmsg_type != IPV6_PKTINFO) continue;
        in6_pktinfo info{};
        std::memcpy(&info, CMSG_DATA(item), sizeof info);
        received.arrival.destination = from_in6_addr(info.ipi6_addr);
    }
    return received;
}

}  // namespace

Result<VrrpSocket> VrrpSocket::open(const VrrpSocketOptions& options) {
    const bool v4 = options.source.is_v4();
    VrrpSocket made;
    made.fd_ = UniqueFd(::socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, kVrrpProtocol));
    if (!made.fd_) return fail_errno("open a VRRP socket", errno);
    if (auto bound = bind_to_device(made.fd(), options.interface); !bound) return tl::unexpected(bound.error());
    auto prepared = v4 ? prepare_v4(made.fd(), options) : prepare_v6(made.fd(), options);
    if (!prepared) return tl::unexpected(prepared.error());
    made.ifindex_ = options.ifindex;
    made.source_ = options.source;
    made.destinations_ = options.peers;
    if (made.destinations_.empty()) made.destinations_ = {v4 ? IpAddress::from_v4(kGroup4) : IpAddress(kGroup6)};
    return made;
}

bool VrrpSocket::send(AdvertToSend advert) {
    bool sent = false;
    advert.source = source_;
    for (const auto& destination : destinations_) {
        advert.destination = destination;
        const auto buffer = encode_advert(advert);
        if (send_to(destination, buffer.span()))
            sent = true;
        else
            last_error_ = errno;
    }
    return sent;
}

// Not bound to the source: a raw socket that is hears no multicast.
bool VrrpSocket::send_to(const IpAddress& destination, std::span<const std::uint8_t> bytes) {
    Message message(bytes);
    sockaddr_in to4{};
    sockaddr_in6 to6{};
    if (destination.is_v4()) {
        to4.sin_family = AF_INET;
        to4.sin_addr = to_in_addr(destination);
        message.header.msg_name = &to4;
        message.header.msg_namelen = sizeof to4;
        in_pktinfo from{};
        from.ipi_ifindex = static_cast<int>(ifindex_);
        from.ipi_spec_dst = to_in_addr(source_);
        message.attach(IPPROTO_IP, IP_PKTINFO, from);
    } else {
        to6.sin6_family = AF_INET6;
        to6.sin6_addr = to_in6_addr(destination);
        to6.sin6_scope_id = ifindex_;
        message.header.msg_name = &to6;
        message.header.msg_namelen = sizeof to6;
        message.attach(IPPROTO_IPV6, IPV6_PKTINFO, in6_pktinfo{to_in6_addr(source_), ifindex_});
    }
    return ::sendmsg(fd(), &message.header, MSG_DONTWAIT) == static_cast<ssize_t>(bytes.size());
}

std::optional<VrrpSocket::Received> VrrpSocket::receive() {
    for (;;) {
        Message message(buffer_);
        sockaddr_in6 sender{};
        const auto size = receive_message(fd(), message, sender);
        if (!size) return std::nullopt;
        // Cut off: longer than any advert, and refused for its length by whoever decodes it.
        const std::span<const std::uint8_t> bytes(buffer_.data(), *size);
        if (source_.is_v6()) return parse_v6(message.header, sender, bytes);
        if (auto received = parse_v4(bytes)) return received;
    }
}

Result<FrameSender> FrameSender::open(std::uint32_t ifindex) {
    FrameSender made;
    // Protocol 0: it receives nothing.
    made.fd_ = UniqueFd(::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!made.fd_) return fail_errno("open a packet socket", errno);
    sockaddr_ll self{};
    self.sll_family = AF_PACKET;
    self.sll_ifindex = static_cast<int>(ifindex);
    if (::bind(made.fd_.get(), reinterpret_cast<sockaddr*>(&self), sizeof self) != 0)
        return fail_errno("bind a packet socket", errno);
    return made;
}

bool FrameSender::send(const Frame& frame) {
    return ::send(fd_.get(), frame.bytes.data(), frame.size, MSG_DONTWAIT) == static_cast<ssize_t>(frame.size);
}

Result<SolicitedNodeGroups> SolicitedNodeGroups::join(std::uint32_t ifindex, std::span<const IpAddress> vips) {
    std::set<IpAddress> groups;
    for (const auto& vip : vips)
        if (vip.is_v6()) groups.insert(solicited_node_group(vip));
    SolicitedNodeGroups made;
    for (const auto& group : groups) {
        if (made.joined_ % kGroupsPerSocket == 0)
            made.sockets_.emplace_back(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        ipv6_mreq request{};
        request.ipv6mr_multiaddr = to_in6_addr(group);
        request.ipv6mr_interface = ifindex;
        if (::setsockopt(made.sockets_.back().get(), IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request) != 0)
            return fail_errno("join " + group.to_string(), errno);
        ++made.joined_;
    }
    return made;
}

}  // namespace fairlead::ha
