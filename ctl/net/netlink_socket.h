// SPDX-License-Identifier: Apache-2.0
// The few calls on an rtnetlink socket that the monitor and the requests share. Stateless; the namespace is that of the
// calling thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/tables/result.h"

struct nlmsghdr;

namespace fairlead::net {

// The kernel's dumps fill at most 32 KiB a datagram.
inline constexpr std::size_t kNetlinkBufferBytes = 64 * 1024;

// A bound NETLINK_ROUTE socket, closed on exec; the caller owns it.
Result<int> open_netlink_socket();

// The address that the kernel gave the socket: in the header of what is meant for it alone.
Result<std::uint32_t> netlink_port(int fd);

Result<void> send_netlink(int fd, const nlmsghdr* message);
Result<void> send_dump_request(int fd, int type, std::uint32_t sequence);

// One datagram into `buffer`: its size, 0 if it did not come from the kernel. Errors carry errno: EAGAIN when there is
// none, ENOBUFS when the kernel dropped events.
Result<std::size_t> receive_netlink(int fd, std::span<char> buffer, int flags);

// The positive errno of an NLMSG_ERROR; 0 for an acknowledgement, EBADMSG for one that is too short.
int netlink_error(const nlmsghdr* message);

// The positive errno that a dump ended with (NLMSG_DONE); 0 for a good end.
int dump_error(const nlmsghdr* message);

}  // namespace fairlead::net
