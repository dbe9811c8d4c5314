// SPDX-License-Identifier: Apache-2.0
// What the sockets of this folder share: addresses as the kernel has them, options, and messages with ancillary data. No
// allocation but in errors.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"

namespace fairlead::ha {

inline in_addr to_in_addr(const IpAddress& address) {
    in_addr out{};
    std::memcpy(&out, address.family_bytes().data(), sizeof out);
    return out;
}
inline in6_addr to_in6_addr(const IpAddress& address) {
    in6_addr out{};
    std::memcpy(&out, address.bytes().data(), sizeof out);
    return out;
}
inline IpAddress from_in_addr(const in_addr& address) {
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), &address, sizeof address);
    return IpAddress::from_v4(bytes);
}
inline IpAddress from_in6_addr(const in6_addr& address) {
    IpAddress::Bytes bytes{};
    std::memcpy(bytes.data(), &address, sizeof address);
    return IpAddress(bytes);
}

struct SocketOption {
    int level;
    int name;
    int value;
};

// `what`: "a VRRP socket", for the error.
inline Result<void> set_options(int fd, const char* what, std::span<const SocketOption> options) {
    for (const auto& [level, name, value] : options)
        if (::setsockopt(fd, level, name, &value, sizeof value) != 0)
            return fail_errno(std::string("set an option of ") + what, errno);
    return {};
}

inline Result<void> bind_to_device(int fd, const std::string& name) {
    if (::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name.c_str(), static_cast<socklen_t>(name.size() + 1)) != 0)
        return fail_errno("bind a socket to " + name, errno);
    return {};
}

// A message of one part with room for one piece of ancillary data.
struct Message {
    explicit Message(std::span<const std::uint8_t> payload)
        : part{const_cast<std::uint8_t*>(payload.data()), payload.size()} {
        header.msg_iov = &part;
        header.msg_iovlen = 1;
    }
    template <typename T>
    void attach(int level, int type, const T& value) {
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(sizeof value);
        cmsghdr* item = CMSG_FIRSTHDR(&header);
        item->cmsg_level = level;
        item->cmsg_type = type;
        item->cmsg_len = CMSG_LEN(sizeof value);
        std::memcpy(CMSG_DATA(item), &value, sizeof value);
    }
    void room_for_control() {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
    }

    iovec part;
    msghdr header{};
    alignas(cmsghdr) std::array<char, 256> control{};
};

// Bytes of the next message, cut off at what `message` has room for; nothing when none waits. `sender` is filled.
template <typename Address>
std::optional<std::size_t> receive_message(int fd, Message& message, Address& sender) {
    message.room_for_control();
    message.header.msg_name = &sender;
    message.header.msg_namelen = sizeof sender;
    for (;;) {
        const auto size = ::recvmsg(fd, &message.header, MSG_DONTWAIT);
        if (size >= 0) return static_cast<std::size_t>(size);
        if (errno != EINTR) return std::nullopt;
    }
}

}  // namespace fairlead::ha
