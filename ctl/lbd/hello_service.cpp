// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/hello_service.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace fairlead {
namespace {
// Of one wake-up, before the loop does something else: what floods this socket must not stop checks.
constexpr int kHellosAtOnce = 32;
}  // namespace

void HelloService::follow(const ha::PeerSocketOptions& options) {
    if (options_ == options) return;
    close();
    auto opened = ha::PeerSocket::open(options);
    const auto error = opened ? std::string() : opened.error().message;
    if (error != std::exchange(told_error_, error) && !error.empty())
        spdlog::warn("no hellos to other nodes: {}", error);
    if (!opened) return;
    socket_.emplace(std::move(*opened));
    options_ = options;
    readable_.assign(socket_->fd());
    wait();
}

void HelloService::close() {
    if (readable_.is_open()) readable_.release();  // the descriptor is the socket's
    socket_.reset();
    options_.reset();
}

void HelloService::wait() {
    readable_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](const auto& error) {
        if (error) return;
        receive();
        wait();
    });
}

void HelloService::receive() {
    for (int i = 0; i < kHellosAtOnce; ++i) {
        const auto message = socket_->receive();
        if (!message) return;
        if (!book_.received(message->bytes, message->source, message->ttl, std::chrono::steady_clock::now())) continue;
        auto answer = own_;
        answer.answer = true;
        if (socket_->send(message->source, ha::encode_hello(answer))) book_.sent();
    }
}

void HelloService::speak(ha::Hello own, ha::HelloScope scope) {
    own_ = std::move(own);
    book_.set_scope(std::move(scope));
    if (!socket_) return;
    const auto bytes = ha::encode_hello(own_);
    for (const auto& destination : book_.destinations())
        if (socket_->send(destination, bytes)) book_.sent();
    log_differences();
}

// When they change, not each second.
void HelloService::log_differences() {
    std::string line;
    for (const auto& peer : peers())
        for (const auto& what : ha::differences(own_, peer.hello))
            line += (line.empty() ? "" : ", ") + ("another " + what) + " on " + peer.hello.name;
    if (line == told_) return;
    told_ = line;
    if (line.empty())
        spdlog::info("the other nodes have the same config again");
    else
        spdlog::error("nodes differ: {}", line);
}

}  // namespace fairlead
