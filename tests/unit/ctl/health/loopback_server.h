// SPDX-License-Identifier: Apache-2.0
// Real listeners on 127.0.0.1 for the prober's tests. Each owns its socket and thread and ends them on destruction.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace fairlead::health::testing {

class BoundSocket {
  public:
    BoundSocket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in any{};
        any.sin_family = AF_INET;
        any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof any;
        if (fd_ < 0 || ::bind(fd_, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0 ||
            ::getsockname(fd_, reinterpret_cast<sockaddr*>(&any), &length) != 0)
            throw std::runtime_error("cannot bind a loopback socket");
        port_ = ntohs(any.sin_port);
    }
    ~BoundSocket() { ::close(fd_); }
    BoundSocket(const BoundSocket&) = delete;
    BoundSocket& operator=(const BoundSocket&) = delete;

    void listen(int backlog) const {
        if (::listen(fd_, backlog) != 0) throw std::runtime_error("cannot listen");
    }
    int fd() const { return fd_; }
    std::uint16_t port() const { return port_; }

  private:
    int fd_;
    std::uint16_t port_ = 0;
};

// One accepted connection, as a server's script sees it.
class Connection {
  public:
    Connection(int fd, const std::atomic<bool>& stop) : fd_(fd), stop_(stop) {}

    // Until the blank line that ends a request, the end of the connection, or the end of the test.
    std::string read_request() {
        std::string request;
        char byte = 0;
        while (request.find("\r\n\r\n") == std::string::npos && wait_readable() && ::recv(fd_, &byte, 1, 0) == 1)
            request += byte;
        return request;
    }
    bool send(std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }
    // Until the peer closes; true if it did so with an RST.
    bool wait_closed() {
        char buffer[4096];
        while (wait_readable()) {
            const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
            if (got <= 0) return got < 0 && errno == ECONNRESET;
        }
        return false;
    }
    bool stopping() const { return stop_; }

  private:
    bool wait_readable() {
        while (!stop_) {
            pollfd ready{fd_, POLLIN, 0};
            if (::poll(&ready, 1, 10) > 0) return true;
        }
        return false;
    }

    int fd_;
    const std::atomic<bool>& stop_;
};

// Serves connections one after the other with the given script.
class ScriptedServer {
  public:
    using Script = std::function<void(Connection&)>;

    explicit ScriptedServer(Script script) : script_(std::move(script)) {
        socket_.listen(64);
        thread_ = std::thread([this] { serve(); });
    }
    ~ScriptedServer() {
        stop_ = true;
        thread_.join();
    }
    std::uint16_t port() const { return socket_.port(); }
    int served() const { return served_; }

  private:
    void serve() {
        while (!stop_) {
            pollfd ready{socket_.fd(), POLLIN, 0};
            if (::poll(&ready, 1, 10) <= 0) continue;
            const int fd = ::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) continue;
            ++served_;
            Connection connection(fd, stop_);
            script_(connection);
            ::close(fd);
        }
    }

    BoundSocket socket_;
    Script script_;
    std::atomic<bool> stop_ = false;
    std::atomic<int> served_ = 0;
    std::thread thread_;
};

// A listener whose queue is full: further SYNs are dropped in silence.
class Blackhole {
  public:
    Blackhole() {
        socket_.listen(0);
        for (int i = 0; i < 8; ++i) {
            const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            sockaddr_in to{};
            to.sin_family = AF_INET;
            to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            to.sin_port = htons(socket_.port());
            (void)::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to);
            fillers_.push_back(fd);
        }
    }
    ~Blackhole() {
        for (const int fd : fillers_) ::close(fd);
    }
    std::uint16_t port() const { return socket_.port(); }

  private:
    BoundSocket socket_;
    std::vector<int> fillers_;
};

}  // namespace fairlead::health::testing
