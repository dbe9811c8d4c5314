// SPDX-License-Identifier: Apache-2.0
#include "ctl/api/http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <exception>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "ctl/api/listening_socket.h"

namespace fairlead::api {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;  // unix or TCP: one session for both
using Stream = beast::basic_stream<Protocol>;
using Acceptor = asio::basic_socket_acceptor<Protocol>;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kAcceptPause{100};  // after a failed accept: most likely out of descriptors
constexpr std::chrono::milliseconds kLinger{1000};      // for a client to read a refusal while it is still sending
constexpr std::size_t kLingerBytes = 8U << 20;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

class Session;

struct Listener {
    asio::io_context& io;
    Acceptor acceptor;
    asio::steady_timer pause;
    Handler handler;
    SocketFile file;                              // of a unix socket; else an empty path
    std::shared_ptr<std::atomic<bool>> stopped;   // the server's; outlives it for replies that come too late
    std::set<std::shared_ptr<Session>> sessions;  // open ones; a session takes itself out when it closes

    bool is_unix() const { return !file.path.empty(); }
};

std::string error_body(std::string_view message) {
    std::string escaped;
    for (const char c : message) {
        if (c == '"' || c == '\\') {
            escaped += '\\';
        }
        escaped += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return "{\"error\": \"" + escaped + "\"}\n";
}

// The answer to a request that could not be read; status 0 = none, the client is gone or was silent too long.
Response refusal_of(const error_code& error, const ServerLimits& limits) {
    if (error == http::error::body_limit) {
        return {413, error_body("the body is longer than " + std::to_string(limits.body_bytes) + " bytes")};
    }
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
        return {431, error_body("the header is longer than " + std::to_string(limits.header_bytes) + " bytes")};
    }
    const bool is_http = error.category() == http::make_error_code(http::error::bad_method).category();
    if (!is_http || error == http::error::end_of_stream || error == http::error::partial_message) {
        return {0, {}};
    }
    return {400, error_body("not an HTTP/1.1 request: " + error.message())};
}

}  // namespace

struct HttpServer::State {
    State(asio::io_context& context, ServerLimits wanted) : io(context), limits(wanted) {}

    Result<void> start(Descriptor descriptor, const Protocol& protocol, Handler handler, SocketFile file);

    asio::io_context& io;
    ServerLimits limits;
    std::shared_ptr<std::atomic<bool>> stopped = std::make_shared<std::atomic<bool>>(false);
    std::vector<std::shared_ptr<Listener>> listeners;
};

namespace {

// One connection: reads a request, has it handled, writes the answer, and so on. Its listener owns it until it closes;
// a Reply does not, for it may outlive the io_context, which a session must not.
class Session : public std::enable_shared_from_this<Session> {
  public:
    Session(Protocol::socket socket, const ServerLimits& limits, const std::shared_ptr<Listener>& listener)
        : stream_(std::move(socket)), limits_(limits), listener_(listener) {
        const int fd = stream_.socket().native_handle();
        if (listener->is_unix()) {
            ucred peer{};
            socklen_t length = sizeof(peer);
            if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0) {
                peer_uid_ = peer.uid;
            }
        } else {
            const int on = 1;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        }
    }

    void read_header();
    void respond(Response response);
    void close();

    // Since when nothing but the client has been waited for; none while a handler or the answer is under way.
    std::optional<Clock::time_point> silent_since() const { return silent_since_; }

  private:
    void header_read(const error_code& error);
    void read_body();
    void body_read(const error_code& error);
    void handle();
    void refuse(const error_code& error);
    void written(const error_code& error);
    void linger();
    bool client_gone();

    Stream stream_;
    const ServerLimits limits_;
    std::weak_ptr<Listener> listener_;
    std::optional<uid_t> peer_uid_;
    beast::flat_buffer buffer_;
    std::optional<http::request_parser<http::string_body>> parser_;
    std::optional<http::response<http::string_body>> response_;
    std::optional<Clock::time_point> silent_since_;
    bool keep_alive_ = false;
    bool is_head_ = false;
    bool refused_ = false;  // the client may still be sending what we do not want
    std::size_t lingered_bytes_ = 0;
};

// The promise of an answer behind a Reply.
class PendingReply {
  public:
    PendingReply(asio::io_context& io, std::weak_ptr<Session> session, std::shared_ptr<const std::atomic<bool>> stopped)
        : io_(io), session_(std::move(session)), stopped_(std::move(stopped)) {}
    PendingReply(const PendingReply&) = delete;
    PendingReply& operator=(const PendingReply&) = delete;
    ~PendingReply() { send({500, error_body("the request was dropped without an answer")}); }

    void send(Response response) {
        if (sent_.exchange(true)) {
            return;
        }
        // Dropped with the server: the io_context may be gone, too.
        if (!*stopped_) {
            asio::post(io_, [weak = session_, response = std::move(response)]() mutable {
                if (const auto session = weak.lock()) {
                    session->respond(std::move(response));
                }
            });
        }
    }

  private:
    std::atomic<bool> sent_ = false;
    asio::io_context& io_;
    std::weak_ptr<Session> session_;
    std::shared_ptr<const std::atomic<bool>> stopped_;
};

void Session::close() {
    stream_.close();
    if (const auto listener = listener_.lock()) {
        listener->sessions.erase(shared_from_this());
    }
}

void Session::read_header() {
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(limits_.header_bytes));
    parser_->body_limit(limits_.body_bytes);
    silent_since_ = Clock::now();
    stream_.expires_after(limits_.idle);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](const error_code& error, std::size_t) { self->header_read(error); });
}

void Session::header_read(const error_code& error) {
    if (error) {
        return refuse(error);
    }
    if (!beast::iequals(parser_->get()[http::field::expect], "100-continue")) {
        return read_body();
    }
    asio::async_write(stream_, asio::buffer(kContinue),
                      [self = shared_from_this()](const error_code& failed, std::size_t) {
                          failed ? self->close() : self->read_body();
                      });
}

void Session::read_body() {
    stream_.expires_after(limits_.idle);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](const error_code& error, std::size_t) { self->body_read(error); });
}

void Session::body_read(const error_code& error) {
    silent_since_.reset();
    if (error) {
        return refuse(error);
    }
    handle();
}

void Session::handle() {
    const auto listener = listener_.lock();
    if (!listener || *listener->stopped) {
        return close();
    }
    auto& message = parser_->get();
    keep_alive_ = message.keep_alive();
    is_head_ = message.method() == http::verb::head;
    const std::string_view target(message.target().data(), message.target().size());
    const std::size_t mark = target.find('?');
    Request request;
    request.method = std::string(message.method_string());
    request.path = std::string(target.substr(0, mark));
    request.query = mark == std::string_view::npos ? std::string() : std::string(target.substr(mark + 1));
    request.body = std::move(message.body());
    request.peer_uid = peer_uid_;
    request.client_gone = [weak = weak_from_this()] {
        const auto self = weak.lock();
        return !self || self->client_gone();
    };
    const auto pending = std::make_shared<PendingReply>(listener->io, weak_from_this(), listener->stopped);
    try {
        listener->handler(request, [pending](Response response) { pending->send(std::move(response)); });
    } catch (const std::exception& thrown) {
        pending->send({500, error_body(thrown.what())});
    }
}

void Session::respond(Response response) {
    auto& message = response_.emplace(static_cast<http::status>(response.status), 11);
    message.set(http::field::server, "fairlead");
    message.set(http::field::content_type, response.content_type);
    message.set(http::field::cache_control, "no-store");
    message.keep_alive(keep_alive_);
    message.content_length(response.body.size());
    if (!is_head_) {
        message.body() = std::move(response.body);
    }
    stream_.expires_after(limits_.write);
    http::async_write(stream_, message,
                      [self = shared_from_this()](const error_code& error, std::size_t) { self->written(error); });
}

void Session::refuse(const error_code& error) {
    silent_since_.reset();
    Response response = refusal_of(error, limits_);
    if (response.status == 0) {
        return close();
    }
    keep_alive_ = false;
    is_head_ = false;
    refused_ = true;
    respond(std::move(response));
}

void Session::written(const error_code& error) {
    if (error) {
        return close();
    }
    if (keep_alive_) {
        return read_header();
    }
    error_code ignored;
    stream_.socket().shutdown(Protocol::socket::shutdown_send, ignored);
    if (!refused_) {
        return close();
    }
    // Closed at once, what the client has yet to send would be answered by a reset that overtakes the refusal.
    stream_.expires_after(kLinger);
    linger();
}

void Session::linger() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(16U << 10),
                            [self = shared_from_this()](const error_code& error, std::size_t bytes) {
                                self->lingered_bytes_ += bytes;
                                if (error || self->lingered_bytes_ > kLingerBytes) {
                                    return self->close();
                                }
                                self->linger();
                            });
}

bool Session::client_gone() {
    char byte = 0;
    const ssize_t got = ::recv(stream_.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

// Room for one more connection: closes the one that has been silent longest. False if all are being served.
bool make_room(Listener& listener, std::size_t limit) {
    if (listener.sessions.size() < limit) {
        return true;
    }
    std::shared_ptr<Session> oldest;
    for (const auto& session : listener.sessions) {
        if (session->silent_since() && (!oldest || session->silent_since() < oldest->silent_since())) {
            oldest = session;
        }
    }
    if (oldest) {
        oldest->close();
    }
    return oldest != nullptr;
}

void accept_next(const std::shared_ptr<Listener>& listener, const ServerLimits& limits);

void accepted(const std::shared_ptr<Listener>& listener, const ServerLimits& limits, const error_code& error,
              Protocol::socket socket) {
    if (*listener->stopped) {
        return;
    }
    if (error) {
        listener->pause.expires_after(kAcceptPause);
        listener->pause.async_wait([listener, limits](const error_code&) { accept_next(listener, limits); });
        return;
    }
    if (make_room(*listener, limits.connections)) {
        const auto session = std::make_shared<Session>(std::move(socket), limits, listener);
        listener->sessions.insert(session);
        session->read_header();
    }
    accept_next(listener, limits);
}

void accept_next(const std::shared_ptr<Listener>& listener, const ServerLimits& limits) {
    if (*listener->stopped) {
        return;
    }
    listener->acceptor.async_accept([listener, limits](const error_code& error, Protocol::socket socket) {
        accepted(listener, limits, error, std::move(socket));
    });
}

}  // namespace

HttpServer::HttpServer(asio::io_context& io, ServerLimits limits) : state_(std::make_unique<State>(io, limits)) {}

HttpServer::~HttpServer() { stop(); }

Result<void> HttpServer::listen_unix(const std::filesystem::path& path, Handler handler, const std::string& group) {
    Result<UnixListener> opened = open_unix_listener(path, group);
    if (!opened) {
        return tl::unexpected(opened.error());
    }
    Result<void> started =
        state_->start(std::move(opened->descriptor), Protocol(AF_UNIX, 0), std::move(handler), opened->file);
    if (!started) {
        opened->file.remove();
    }
    return started;
}

Result<std::uint16_t> HttpServer::listen_tcp(const IpAddress& address, std::uint16_t port, Handler handler) {
    Result<TcpListener> opened = open_tcp_listener(address, port);
    if (!opened) {
        return tl::unexpected(opened.error());
    }
    const int family = address.is_v4() ? AF_INET : AF_INET6;
    Result<void> started =
        state_->start(std::move(opened->descriptor), Protocol(family, IPPROTO_TCP), std::move(handler), {});
    if (!started) {
        return tl::unexpected(started.error());
    }
    return opened->port;
}

Result<void> HttpServer::State::start(Descriptor descriptor, const Protocol& protocol, Handler handler,
                                      SocketFile file) {
    auto listener = std::make_shared<Listener>(
        Listener{io, Acceptor(io), asio::steady_timer(io), std::move(handler), std::move(file), stopped, {}});
    error_code failed;
    listener->acceptor.assign(protocol, descriptor.get(), failed);
    if (failed) {
        return fail_errno("epoll", failed.value());
    }
    descriptor.release();
    listeners.push_back(listener);
    accept_next(listener, limits);
    return {};
}

void HttpServer::stop() {
    *state_->stopped = true;
    for (const auto& listener : state_->listeners) {
        error_code ignored;
        listener->acceptor.close(ignored);
        listener->pause.cancel();
        for (const auto& session : std::exchange(listener->sessions, {})) {
            session->close();
        }
        if (listener->is_unix()) {
            listener->file.remove();
        }
    }
    state_->listeners.clear();
}

}  // namespace fairlead::api
