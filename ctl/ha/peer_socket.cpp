// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/peer_socket.h"

#include "ctl/ha/socket_message.h"

namespace fairlead::ha {
namespace {

constexpr int kTtl = 255;  // what comes with it has passed no router

// An address and port of either family, as the kernel takes it.
struct Endpoint {
    Endpoint(const IpAddress& address, std::uint16_t port, std::uint32_t ifindex) {
        if (address.is_v4()) {
            auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
            v4.sin_family = AF_INET;
            v4.sin_port = htons(port);
            v4.sin_addr = to_in_addr(address);
            size = sizeof v4;
        } else {
            auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
            v6.sin6_family = AF_INET6;
            v6.sin6_port = htons(port);
            v6.sin6_addr = to_in6_addr(address);
            v6.sin6_scope_id = address.is_link_local() ? ifindex : 0;
            size = sizeof v6;
        }
    }
    sockaddr* pointer() { return reinterpret_cast<sockaddr*>(&storage); }

    sockaddr_storage storage{};
    socklen_t size = 0;
};

IpAddress address_of(const sockaddr_storage& storage) {
    if (storage.ss_family == AF_INET) return from_in_addr(reinterpret_cast<const sockaddr_in&>(storage).sin_addr);
    return from_in6_addr(reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr);
}

int ttl_of(msghdr& header) {
    int ttl = -1;
    for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item))
        if ((item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_TTL) ||
            (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_HOPLIMIT))
            std::memcpy(&ttl, CMSG_DATA(item), sizeof ttl);
    return ttl;
}

}  // namespace

Result<PeerSocket> PeerSocket::open(const PeerSocketOptions& options) {
    const bool v4 = options.source.is_v4();
    PeerSocket made;
    made.options_ = options;
    made.buffer_.resize(options.longest + 1);
    made.fd_ = UniqueFd(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!made.fd_) return fail_errno("open a socket for other nodes", errno);
    if (auto bound = bind_to_device(made.fd(), options.interface); !bound) return tl::unexpected(bound.error());
    const std::array<SocketOption, 2> numbers4 = {{{IPPROTO_IP, IP_TTL, kTtl}, {IPPROTO_IP, IP_RECVTTL, 1}}};
    const std::array<SocketOption, 2> numbers6 = {
        {{IPPROTO_IPV6, IPV6_UNICAST_HOPS, kTtl}, {IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1}}};
    if (auto set = set_options(made.fd(), "a socket for other nodes", v4 ? numbers4 : numbers6); !set)
        return tl::unexpected(set.error());
    // Where it is refused, what comes too fast is sent again.
    if (options.receive_buffer)
        (void)::setsockopt(made.fd(), SOL_SOCKET, SO_RCVBUFFORCE, &options.receive_buffer,
                           sizeof options.receive_buffer);
    Endpoint self(options.source, options.port, options.ifindex);
    if (::bind(made.fd(), self.pointer(), self.size) != 0)
        return fail_errno(
            "bind a socket to " + options.source.to_string() + ", UDP port " + std::to_string(options.port), errno);
    return made;
}

bool PeerSocket::send(const IpAddress& destination, std::span<const std::uint8_t> bytes) const {
    Endpoint to(destination, options_.port, options_.ifindex);
    return ::sendto(fd(), bytes.data(), bytes.size(), MSG_DONTWAIT, to.pointer(), to.size) ==
           static_cast<ssize_t>(bytes.size());
}

std::optional<PeerSocket::Received> PeerSocket::receive() {
    Message message(buffer_);
    sockaddr_storage sender{};
    const auto size = receive_message(fd(), message, sender);
    if (!size) return std::nullopt;
    return Received{address_of(sender), ttl_of(message.header), {buffer_.data(), *size}};
}

}  // namespace fairlead::ha
