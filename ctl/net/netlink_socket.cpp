// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/netlink_socket.h"

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace fairlead::net {

Result<int> open_netlink_socket() {
    const int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return fail_errno("open an rtnetlink socket", errno);
    sockaddr_nl self{};
    self.nl_family = AF_NETLINK;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&self), sizeof self) != 0) {
        const int code = errno;
        ::close(fd);
        return fail_errno("bind an rtnetlink socket", code);
    }
    return fd;
}

Result<std::uint32_t> netlink_port(int fd) {
    sockaddr_nl self{};
    socklen_t length = sizeof self;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&self), &length) != 0)
        return fail_errno("name an rtnetlink socket", errno);
    return self.nl_pid;
}

Result<void> send_netlink(int fd, const nlmsghdr* message) {
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    if (::sendto(fd, message, message->nlmsg_len, 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel) < 0)
        return fail_errno("send an rtnetlink request", errno);
    return {};
}

Result<void> send_dump_request(int fd, int type, std::uint32_t sequence) {
    // The largest fixed part of any request; all zero means every family.
    alignas(nlmsghdr) std::array<char, MNL_NLMSG_HDRLEN + sizeof(ifinfomsg)> buffer{};
    nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
    message->nlmsg_type = static_cast<std::uint16_t>(type);
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message->nlmsg_seq = sequence;
    mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
    return send_netlink(fd, message);
}

Result<std::size_t> receive_netlink(int fd, std::span<char> buffer, int flags) {
    sockaddr_nl sender{};
    iovec part{buffer.data(), buffer.size()};
    msghdr header{};
    header.msg_name = &sender;
    header.msg_namelen = sizeof sender;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    ssize_t received = 0;
    do {
        received = ::recvmsg(fd, &header, flags);
    } while (received < 0 && errno == EINTR);
    if (received < 0) return fail_errno("receive from rtnetlink", errno);
    if ((header.msg_flags & MSG_TRUNC) != 0)
        return fail_errno("an rtnetlink message is too long", ENOBUFS);  // as good as lost
    return sender.nl_pid == 0 ? static_cast<std::size_t>(received) : 0;
}

int netlink_error(const nlmsghdr* message) {
    if (message->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(nlmsgerr)) return EBADMSG;
    return -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
}

int dump_error(const nlmsghdr* message) {
    if (message->nlmsg_len < MNL_NLMSG_HDRLEN + sizeof(int)) return 0;
    return -*static_cast<const int*>(mnl_nlmsg_get_payload(message));
}

}  // namespace fairlead::net
