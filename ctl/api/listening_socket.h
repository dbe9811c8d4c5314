// SPDX-License-Identifier: Apache-2.0
// Sockets for HttpServer to listen on: what asio has no words for (modes, groups, stale sockets). Internal to ctl/api.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"

namespace fairlead::api {

// Closes what it holds.
class Descriptor {
  public:
    explicit Descriptor(int fd = -1) : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
    Descriptor& operator=(Descriptor&& other) noexcept;
    ~Descriptor() { close(); }

    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    int release();  // to the caller, who closes it

  private:
    void close();
    int fd_;
};

// A unix socket's file, so that only the one that was made is removed again.
struct SocketFile {
    std::filesystem::path path;
    dev_t device = 0;
    ino_t inode = 0;

    void remove() const;
};

struct UnixListener {
    Descriptor descriptor;
    SocketFile file;
};
Result<UnixListener> open_unix_listener(const std::filesystem::path& path, const std::string& group);

struct TcpListener {
    Descriptor descriptor;
    std::uint16_t port = 0;
};
Result<TcpListener> open_tcp_listener(const IpAddress& address, std::uint16_t port);

// Connects to a unix socket; blocks at most `timeout_ms` where its backlog is full (0 = as long as it takes).
Result<Descriptor> connect_unix(const std::filesystem::path& path, std::int64_t timeout_ms);

}  // namespace fairlead::api
