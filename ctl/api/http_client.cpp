// SPDX-License-Identifier: Apache-2.0
#include "ctl/api/http_client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "ctl/api/listening_socket.h"

namespace fairlead::api {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using Stream = beast::basic_stream<asio::local::stream_protocol>;

constexpr std::uint64_t kMostBytes = 1U << 30;  // of an answer: everything about 65,536 services and more

http::request<http::string_body> message_of(const ClientRequest& request) {
    http::request<http::string_body> message;
    message.target(request.target);
    message.method_string(request.method);
    message.set(http::field::host, "localhost");
    message.set(http::field::connection, "close");
    if (!request.body.empty()) {
        message.set(http::field::content_type, "application/json");
    }
    message.body() = request.body;
    message.prepare_payload();
    return message;
}

int errno_of(const error_code& error) {
    if (error == beast::error::timeout) {
        return ETIMEDOUT;
    }
    if (error == http::error::end_of_stream || error == http::error::partial_message) {
        return ECONNRESET;
    }
    if (error.category() == boost::system::system_category()) {
        return error.value();
    }
    return EPROTO;
}

// A request on its way; io.run() sees it through.
struct Exchange {
    explicit Exchange(const ClientRequest& request) : message(message_of(request)) { parser.body_limit(kMostBytes); }

    void start() {
        http::async_write(stream, message, [this](const error_code& error, std::size_t) {
            // A server may refuse without reading all of it: then what it said matters, not that it stopped reading.
            if (error && error != asio::error::broken_pipe && error != asio::error::connection_reset) {
                result = error;
                return;
            }
            http::async_read(stream, buffer, parser,
                             [this](const error_code& failed, std::size_t) { result = failed; });
        });
    }

    asio::io_context io{1};
    Stream stream{io};
    beast::flat_buffer buffer;
    http::request<http::string_body> message;
    http::response_parser<http::string_body> parser;
    error_code result;
};

}  // namespace

Result<ClientResponse> request_unix(const std::filesystem::path& socket, const ClientRequest& request,
                                    std::chrono::milliseconds timeout) {
    Result<Descriptor> connected = connect_unix(socket, timeout.count());
    if (!connected) {
        return tl::unexpected(connected.error());
    }
    Exchange exchange(request);
    error_code failed;
    exchange.stream.socket().assign(asio::local::stream_protocol(), connected->get(), failed);
    if (failed) {
        return fail_errno("epoll", failed.value());
    }
    connected->release();
    if (timeout.count() > 0) {
        exchange.stream.expires_after(timeout);
    }
    exchange.start();
    exchange.io.run();
    if (exchange.result) {
        return fail_errno(request.method + " " + request.target + " at " + socket.string(), errno_of(exchange.result));
    }
    const auto& answer = exchange.parser.get();
    return ClientResponse{answer.result_int(), std::string(answer[http::field::content_type]), answer.body()};
}

}  // namespace fairlead::api
