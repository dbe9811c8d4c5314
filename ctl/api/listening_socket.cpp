// SPDX-License-Identifier: Apache-2.0
#include "ctl/api/listening_socket.h"

#include <grp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace fairlead::api {
namespace {

constexpr mode_t kPrivate = 0600;
constexpr mode_t kShared = 0660;

Result<sockaddr_un> unix_address(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string text = path.string();
    if (text.empty() || text.size() >= sizeof(address.sun_path)) {
        return fail_errno("socket path '" + text + "'", ENAMETOOLONG);
    }
    std::copy(text.begin(), text.end(), address.sun_path);
    return address;
}

std::optional<gid_t> group_id(const std::string& name) {
    std::vector<char> buffer(64 << 10);  // of one entry; a group with more members is as good as none
    group entry{};
    group* found = nullptr;
    if (getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
        return std::nullopt;
    }
    return entry.gr_gid;
}

// Removes a socket that a dead process left behind.
Result<void> clear_place(const std::filesystem::path& path) {
    struct stat status{};
    if (lstat(path.c_str(), &status) != 0) {
        return {};
    }
    if (!S_ISSOCK(status.st_mode)) {
        return fail(path.string() + " exists and is not a socket", EADDRINUSE);
    }
    const Result<Descriptor> somebody = connect_unix(path, 1000);
    if (somebody) {
        return fail(path.string() + ": another process listens here", EADDRINUSE);
    }
    if (somebody.error().code != ECONNREFUSED) {
        return tl::unexpected(somebody.error());
    }
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
        return fail_errno("unlink " + path.string(), errno);
    }
    return {};
}

// Opens the socket to its group. Until then only its owner could connect.
Result<void> share(const std::filesystem::path& path, const std::string& group) {
    const std::optional<gid_t> gid = group_id(group);
    if (gid && chown(path.c_str(), static_cast<uid_t>(-1), *gid) != 0) {
        return {};  // not ours to give: it stays its owner's alone
    }
    if (chmod(path.c_str(), kShared) != 0) {
        return fail_errno("chmod " + path.string(), errno);
    }
    return {};
}

struct TcpAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

TcpAddress tcp_address(const IpAddress& address, std::uint16_t port) {
    TcpAddress made;
    const auto bytes = address.family_bytes();
    if (address.is_v4()) {
        auto& v4 = reinterpret_cast<sockaddr_in&>(made.storage);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        std::memcpy(&v4.sin_addr, bytes.data(), bytes.size());
        made.length = sizeof(v4);
    } else {
        auto& v6 = reinterpret_cast<sockaddr_in6&>(made.storage);
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
        made.length = sizeof(v6);
    }
    return made;
}

std::uint16_t port_of(const TcpAddress& address) {
    return ntohs(address.storage.ss_family == AF_INET
                     ? reinterpret_cast<const sockaddr_in&>(address.storage).sin_port
                     : reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_port);
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    if (this != &other) {
        close();
        fd_ = other.release();
    }
    return *this;
}

int Descriptor::release() { return std::exchange(fd_, -1); }

void Descriptor::close() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
    fd_ = -1;
}

void SocketFile::remove() const {
    struct stat status{};
    if (lstat(path.c_str(), &status) == 0 && status.st_dev == device && status.st_ino == inode) {
        unlink(path.c_str());
    }
}

Result<UnixListener> open_unix_listener(const std::filesystem::path& path, const std::string& group) {
    const Result<sockaddr_un> address = unix_address(path);
    if (!address) {
        return tl::unexpected(address.error());
    }
    if (Result<void> cleared = clear_place(path); !cleared) {
        return tl::unexpected(cleared.error());
    }
    Descriptor descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // The mode of the unbound socket becomes the file's, so that nobody slips in between bind and chmod.
    if (!descriptor.is_open() || fchmod(descriptor.get(), kPrivate) != 0) {
        return fail_errno("socket", errno);
    }
    if (bind(descriptor.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) != 0) {
        return fail_errno("bind " + path.string(), errno);
    }
    struct stat status{};
    if (lstat(path.c_str(), &status) != 0) {
        return fail_errno("stat " + path.string(), errno);
    }
    UnixListener listener{std::move(descriptor), {path, status.st_dev, status.st_ino}};
    if (Result<void> shared = share(path, group); !shared) {
        listener.file.remove();
        return tl::unexpected(shared.error());
    }
    if (listen(listener.descriptor.get(), SOMAXCONN) != 0) {
        const int code = errno;
        listener.file.remove();
        return fail_errno("listen on " + path.string(), code);
    }
    return listener;
}

Result<TcpListener> open_tcp_listener(const IpAddress& address, std::uint16_t port) {
    const std::string what = "listen on " + address.to_string() + " port " + std::to_string(port);
    TcpAddress at = tcp_address(address, port);
    Descriptor descriptor(socket(at.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
    const int on = 1;
    if (!descriptor.is_open() || setsockopt(descriptor.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (address.is_v6() && setsockopt(descriptor.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
        bind(descriptor.get(), at.get(), at.length) != 0 || listen(descriptor.get(), SOMAXCONN) != 0 ||
        getsockname(descriptor.get(), at.get(), &at.length) != 0) {
        return fail_errno(what, errno);
    }
    return TcpListener{std::move(descriptor), port_of(at)};
}

Result<Descriptor> connect_unix(const std::filesystem::path& path, std::int64_t timeout_ms) {
    const Result<sockaddr_un> address = unix_address(path);
    if (!address) {
        return tl::unexpected(address.error());
    }
    Descriptor descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!descriptor.is_open()) {
        return fail_errno("socket", errno);
    }
    // The time limit of sending is that of waiting for room in the backlog, too (unix(7) leaves it out).
    timeval limit{};
    limit.tv_sec = timeout_ms / 1000;
    limit.tv_usec = (timeout_ms % 1000) * 1000;
    setsockopt(descriptor.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    int result = 0;
    do {
        result = connect(descriptor.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address));
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        return fail_errno("connect to " + path.string(), errno == EAGAIN ? ETIMEDOUT : errno);
    }
    return descriptor;
}

}  // namespace fairlead::api
