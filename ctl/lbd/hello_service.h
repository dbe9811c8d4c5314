// SPDX-License-Identifier: Apache-2.0
// Hellos as lbd sends and takes them: socket, book, and what this node says of itself. What is wrong with them is logged
// and shown; forwarding and roles do not depend on them.
//
// Thread rule: the controller's thread.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ctl/ha/hello_book.h"
#include "ctl/ha/peer_socket.h"

namespace fairlead {

class HelloService {
  public:
    explicit HelloService(boost::asio::io_context& io) : readable_(io) {}
    ~HelloService() { close(); }
    HelloService(const HelloService&) = delete;
    HelloService& operator=(const HelloService&) = delete;

    // Opens the socket, or another where something of it changed. What hinders it is logged, once; the next call tries again.
    void follow(const ha::PeerSocketOptions& options);
    void close();

    // Once each ha::kHelloInterval, and when something changed: what this node is now, to whom it concerns.
    void speak(ha::Hello own, ha::HelloScope scope);

    const ha::Hello& own() const { return own_; }
    std::vector<ha::HelloPeer> peers() const { return book_.peers(std::chrono::steady_clock::now()); }
    const ha::HelloCounters& counters() const { return book_.counters(); }

  private:
    void wait();
    void receive();
    void log_differences();

    boost::asio::posix::stream_descriptor readable_;
    std::optional<ha::PeerSocket> socket_;
    std::optional<ha::PeerSocketOptions> options_;  // of socket_
    ha::HelloBook book_;
    ha::Hello own_;
    std::string told_;        // the last line about differences
    std::string told_error_;  // and about the socket
};

}  // namespace fairlead
