// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/prober.h"

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <string>
#include <unordered_map>
#include <utility>

#include "ctl/health/http_response.h"

namespace fairlead::health {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kReadChunk = 4096;
// How much of an answer's body is read, politely, before the connection is closed.
constexpr std::size_t kMaxDrainBytes = 64 * 1024;

tcp::endpoint endpoint_of(const TargetKey& key) {
    if (key.address.is_v4()) {
        asio::ip::address_v4::bytes_type bytes{};
        std::copy_n(key.address.family_bytes().begin(), bytes.size(), bytes.begin());
        return {asio::ip::address_v4(bytes), key.check.port};
    }
    asio::ip::address_v6::bytes_type bytes{};
    std::copy_n(key.address.family_bytes().begin(), bytes.size(), bytes.begin());
    return {asio::ip::address_v6(bytes), key.check.port};
}

// What this node lacks is no verdict about the target.
bool is_local_shortage(const error_code& error) {
    switch (error.value()) {
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM:
            return error.category() == asio::error::get_system_category();
        default:
            return false;
    }
}

std::string reason_of(const error_code& error) {
    switch (error.value()) {
        case ECONNREFUSED:
            return "connection refused";
        case EHOSTUNREACH:
            return "no route to host";
        case ENETUNREACH:
            return "network unreachable";
        case ECONNRESET:
            return "connection reset";
        case ETIMEDOUT:
            return "connection timed out";
        default:
            return error.message();
    }
}

// One probe. Its handlers hold it alive; forget() makes it silent, whatever still completes.
class Session : public std::enable_shared_from_this<Session> {
  public:
    using Done = std::function<void(ProbeResult)>;

    Session(asio::io_context& io, TargetKey key, Done done)
        : socket_(io), deadline_(io), key_(std::move(key)), done_(std::move(done)), reader_(key_.check.expect) {}

    void run();
    void forget();

  private:
    void on_connected(const error_code& error);
    bool met_itself() const;
    void read_status();
    void on_status_bytes(const error_code& error, std::size_t bytes);
    void drain();
    void on_deadline();
    void finish(Outcome outcome, std::string reason);
    void fail_with(const error_code& error);
    // An RST instead of a FIN: nothing is owed after a bare connect, and no TIME_WAIT fills the port range.
    void abort_connection();
    void close();

    tcp::socket socket_;
    asio::steady_timer deadline_;
    TargetKey key_;
    Done done_;  // empty once the result was given
    StatusReader reader_;
    std::string request_;
    std::array<char, kReadChunk> chunk_{};
    std::size_t drained_ = 0;
    bool connected_ = false;
    std::chrono::steady_clock::time_point started_;
};

void Session::run() {
    started_ = std::chrono::steady_clock::now();
    deadline_.expires_at(started_ + key_.check.timeout);
    deadline_.async_wait([self = shared_from_this()](const error_code& error) {
        if (!error) self->on_deadline();
    });
    error_code error;
    const tcp::endpoint endpoint = endpoint_of(key_);
    socket_.open(endpoint.protocol(), error);
    if (error) {
        // Never from within start(): the caller is in the middle of launching.
        asio::post(socket_.get_executor(), [self = shared_from_this(), error] { self->fail_with(error); });
        return;
    }
    socket_.async_connect(endpoint,
                          [self = shared_from_this()](const error_code& result) { self->on_connected(result); });
}

void Session::forget() {
    done_ = nullptr;
    close();
}

void Session::on_connected(const error_code& error) {
    if (!done_) return;
    if (error) return fail_with(error);
    if (met_itself()) return finish(Outcome::kFailed, "connection refused");
    connected_ = true;
    if (key_.check.type == config::CheckType::kTcp) {
        abort_connection();
        return finish(Outcome::kOk, {});
    }
    auto request = http_request(key_.address, key_.check);
    if (!request) return finish(Outcome::kFailed, request.error().message);
    request_ = std::move(*request);
    asio::async_write(
        socket_, asio::buffer(request_), [self = shared_from_this()](const error_code& result, std::size_t) {
            // A server may answer and close without reading: what it said is still there to read.
            if (self->done_ && result && result != asio::error::broken_pipe && result != asio::error::connection_reset)
                self->fail_with(result);
        });
    read_status();
}

// A connect to a port of this node's own ephemeral range on which nobody listens can meet itself (RFC 9293 section 3.5,
// simultaneous open) and would pass for a live backend.
bool Session::met_itself() const {
    error_code ignored;
    return socket_.local_endpoint(ignored) == endpoint_of(key_);
}

void Session::read_status() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](const error_code& error, std::size_t bytes) {
                                self->on_status_bytes(error, bytes);
                            });
}

void Session::on_status_bytes(const error_code& error, std::size_t bytes) {
    if (!done_) return;
    if (error == asio::error::eof)
        return finish(Outcome::kFailed,
                      "closed after " + std::to_string(reader_.received()) + " bytes without a status line");
    if (error) return fail_with(error);
    const auto status = reader_.feed({chunk_.data(), bytes});
    if (!status) return read_status();
    if (!*status) return finish(Outcome::kFailed, status->error().message);
    auto unexpected = unexpected_status((*status)->code, key_.check.expect);
    if (unexpected)
        finish(Outcome::kFailed, std::move(*unexpected));
    else
        finish(Outcome::kOk, {});
}

// The verdict is given; the rest is read so that the server can close first and logs no reset.
void Session::drain() {
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this()](const error_code& error, std::size_t bytes) {
                                self->drained_ += bytes;
                                if (error || self->drained_ >= kMaxDrainBytes)
                                    self->close();
                                else
                                    self->drain();
                            });
}

void Session::on_deadline() {
    if (!done_) return close();
    finish(Outcome::kTimedOut, "timed out after " + std::to_string(key_.check.timeout.count()) + " ms" +
                                   (connected_ ? " waiting for the answer" : ""));
}

void Session::fail_with(const error_code& error) {
    if (!done_) return;
    if (is_local_shortage(error)) return finish(Outcome::kInconclusive, "cannot check: " + error.message());
    // The kernel says that a host is unreachable when nobody answers for it at layer 2: silence, too.
    const bool silent = error == asio::error::timed_out || error == asio::error::host_unreachable;
    finish(silent ? Outcome::kTimedOut : Outcome::kFailed, reason_of(error));
}

void Session::finish(Outcome outcome, std::string reason) {
    const Done done = std::exchange(done_, nullptr);
    // What answered in full is let finish; anything else is closed now.
    if (outcome == Outcome::kOk && key_.check.type == config::CheckType::kHttp)
        drain();
    else
        close();
    done({outcome, std::move(reason), std::chrono::steady_clock::now() - started_});
}

void Session::abort_connection() {
    error_code ignored;
    socket_.set_option(asio::socket_base::linger(true, 0), ignored);
}

void Session::close() {
    error_code ignored;
    deadline_.cancel(ignored);
    socket_.close(ignored);
}

}  // namespace

class Prober::Impl {
  public:
    explicit Impl(asio::io_context& io) : io_(io) {}
    ~Impl() {
        for (const auto& [id, session] : sessions_)
            if (const auto alive = session.lock()) alive->forget();
    }

    void start(TargetId id, const TargetKey& key, ProbeRunner::Done done) {
        auto session =
            std::make_shared<Session>(io_, key, [this, id, done = std::move(done)](const ProbeResult& result) {
                sessions_.erase(id);
                done(result);
            });
        sessions_[id] = session;
        session->run();
    }

    void cancel(TargetId id) {
        const auto found = sessions_.find(id);
        if (found == sessions_.end()) return;
        if (const auto alive = found->second.lock()) alive->forget();
        sessions_.erase(id);
    }

  private:
    asio::io_context& io_;
    // Handlers own the sessions; an entry lives until its result, so `this` is safe in the callback.
    std::unordered_map<TargetId, std::weak_ptr<Session>> sessions_;
};

Prober::Prober(asio::io_context& io) : impl_(std::make_unique<Impl>(io)) {}
Prober::~Prober() = default;

void Prober::start(TargetId id, const TargetKey& key, Done done) { impl_->start(id, key, std::move(done)); }

void Prober::cancel(TargetId id) { impl_->cancel(id); }

}  // namespace fairlead::health
