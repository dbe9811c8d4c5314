// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server for the control socket and for metrics: few clients, short messages, and no trust in any of
// them. Slow, silent and malformed clients cost a connection for a bounded time and nothing else.
//
// Thread rule: everything, handlers included, runs on the one thread that runs the io_context; only a Reply may be called
// from another. The io_context must outlive the server.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"

namespace boost::asio {
class io_context;
}

namespace fairlead::api {

struct Request {
    std::string method;  // as sent: "GET"
    std::string path;    // of the target, not percent-decoded: "/v1/status"
    std::string query;   // what follows the '?', not decoded
    std::string body;
    std::optional<uid_t> peer_uid;      // of the process that connected (SO_PEERCRED); none over TCP
    std::function<bool()> client_gone;  // true once the client has hung up: for a handler that makes it wait
};

struct Response {
    unsigned status = 200;
    std::string body;
    std::string content_type = "application/json";
};

// Answers one request, once; further calls do nothing. A handler may keep it and answer later. If every copy is gone
// unused, the client gets a 500; if the client or the server is gone, nothing happens.
using Reply = std::function<void(Response)>;
using Handler = std::function<void(const Request&, Reply)>;

struct ServerLimits {
    std::size_t body_bytes = 1U << 20;
    std::size_t header_bytes = 8U << 10;
    std::size_t connections = 64;             // a listener; one more closes the one that has been silent longest
    std::chrono::milliseconds idle{10'000};   // to send a whole header, and again a whole body; between two requests
    std::chrono::milliseconds write{30'000};  // to take a whole answer
};

class HttpServer {
  public:
    explicit HttpServer(boost::asio::io_context& io, ServerLimits limits = {});
    ~HttpServer();  // stop()
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    // Listens on a unix socket, mode 0660 and of group `group` where there is such a group (mode 0600 where it cannot be
    // given to it). Takes the place of a socket that nobody listens on any more; EADDRINUSE if somebody does, or if the
    // path is something other than a socket.
    Result<void> listen_unix(const std::filesystem::path& path, Handler handler, const std::string& group = "fairlead");

    // Listens on an address; port 0 takes a free one. Returns the port.
    Result<std::uint16_t> listen_tcp(const IpAddress& address, std::uint16_t port, Handler handler);

    // Closes all connections and listeners and removes the unix sockets. Replies still out are dropped.
    void stop();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace fairlead::api
