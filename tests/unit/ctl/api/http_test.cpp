// SPDX-License-Identifier: Apache-2.0
// The HTTP server against raw sockets, the client against raw servers, and both against each other.
#include <arpa/inet.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "ctl/api/http_client.h"
#include "ctl/api/http_server.h"

namespace fairlead::api {
namespace {

using std::chrono::milliseconds;
namespace fs = std::filesystem;

constexpr int kPatienceSeconds = 10;  // for what must happen; never waited out when all is well

IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

// A blocking socket of a test's own.
class Raw {
  public:
    explicit Raw(int fd) : fd_(fd) {
        const timeval patience{kPatienceSeconds, 0};
        setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    }
    Raw(Raw&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    ~Raw() { hang_up(); }

    static sockaddr_un address(const fs::path& path) {
        sockaddr_un made{};
        made.sun_family = AF_UNIX;
        path.string().copy(made.sun_path, sizeof(made.sun_path) - 1);
        return made;
    }
    static Raw to(const fs::path& path) {
        Raw raw(socket(AF_UNIX, SOCK_STREAM, 0));
        const sockaddr_un to = address(path);
        EXPECT_EQ(connect(raw.fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0) << strerror(errno);
        return raw;
    }
    static Raw to_port(std::uint16_t port) {
        Raw raw(socket(AF_INET, SOCK_STREAM, 0));
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(connect(raw.fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0) << strerror(errno);
        return raw;
    }

    bool send(std::string_view text) { return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) >= 0; }
    void hang_up() {
        if (fd_ >= 0) {
            close(fd_);
        }
        fd_ = -1;
    }
    // Everything until `end` has been read; all there is, where the other side closes first.
    std::string read_until(std::string_view end) {
        char byte = 0;
        while (!text_.ends_with(end) && recv(fd_, &byte, 1, 0) == 1) {
            text_ += byte;
        }
        return std::exchange(text_, {});
    }
    // True once the other side has closed; false if it sends something or patience ends.
    bool closed() {
        char byte = 0;
        const ssize_t got = recv(fd_, &byte, 1, 0);
        return got == 0 || (got < 0 && errno == ECONNRESET);
    }
    int fd() const { return fd_; }

  private:
    int fd_;
    std::string text_;
};

class HttpTest : public testing::Test {
  protected:
    HttpTest() {
        char pattern[] = "/tmp/fairlead-http-XXXXXX";
        folder_ = mkdtemp(pattern);
        socket_ = folder_ / "control.sock";
    }
    ~HttpTest() override {
        if (thread_.joinable()) {
            on_loop([&] { server_.reset(); });
            work_.reset();
            thread_.join();
        }
        fs::remove_all(folder_);
    }

    // Serves on socket_ with a thread of its own.
    void serve(Handler handler, ServerLimits limits = {}) {
        server_ = std::make_unique<HttpServer>(io_, limits);
        const auto listening = server_->listen_unix(socket_, std::move(handler));
        ASSERT_TRUE(listening) << listening.error().message;
        thread_ = std::thread([this] { io_.run(); });
    }
    void on_loop(const std::function<void()>& act) {
        std::promise<void> done;
        boost::asio::post(io_, [&] {
            act();
            done.set_value();
        });
        done.get_future().wait();
    }
    Result<ClientResponse> get(const std::string& target,
                               milliseconds timeout = milliseconds(6000 * kPatienceSeconds)) {
        return request_unix(socket_, {"GET", target, {}}, timeout);
    }

    fs::path folder_;
    fs::path socket_;
    boost::asio::io_context io_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_ = boost::asio::make_work_guard(io_);
    std::unique_ptr<HttpServer> server_;
    std::thread thread_;
};

// Answers with what it understood.
void echo(const Request& request, const Reply& reply) {
    reply({200, request.method + "|" + request.path + "|" + request.query + "|" + request.body, "text/plain"});
}

TEST_F(HttpTest, HandsOverTheWholeRequest) {
    serve(echo);
    const auto answer = request_unix(socket_, {"POST", "/v1/drain?wait=1&x=?", "{\"a\": 1}"}, milliseconds(5000));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 200U);
    EXPECT_EQ(answer->content_type, "text/plain");
    EXPECT_EQ(answer->body, "POST|/v1/drain|wait=1&x=?|{\"a\": 1}");
}

TEST_F(HttpTest, KnowsWhoConnected) {
    std::optional<uid_t> uid;
    serve([&](const Request& request, const Reply& reply) {
        uid = request.peer_uid;
        reply({204, {}});
    });
    ASSERT_TRUE(get("/"));
    EXPECT_EQ(uid, getuid());
}

TEST_F(HttpTest, ServesManyRequestsOfOneConnection) {
    serve(echo);
    Raw client = Raw::to(socket_);
    client.send("GET /one HTTP/1.1\r\nHost: x\r\n\r\nGET /two HTTP/1.1\r\nHost: x\r\n\r\n");  // pipelined
    EXPECT_TRUE(client.read_until("GET|/one||").starts_with("HTTP/1.1 200 "));
    EXPECT_TRUE(client.read_until("GET|/two||").starts_with("HTTP/1.1 200 "));
    client.send("GET /three HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(client.read_until("GET|/three||").starts_with("HTTP/1.1 200 "));
    EXPECT_TRUE(client.closed());
}

TEST_F(HttpTest, AnswersHeadWithoutABody) {
    serve(echo);
    Raw client = Raw::to(socket_);
    client.send("HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const std::string answer = client.read_until("never");
    EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
    EXPECT_NE(answer.find("Content-Length: 9\r\n"), std::string::npos) << answer;
}

TEST_F(HttpTest, LetsAClientThatAsksContinue) {
    serve(echo);
    Raw client = Raw::to(socket_);
    client.send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    EXPECT_TRUE(client.read_until("POST|/x||body").ends_with("POST|/x||body"));
}

struct Refusal {
    std::string what;
    std::string sent;
    std::string status;
};

TEST_F(HttpTest, RefusesWhatItCannotRead) {
    bool handled = false;
    serve([&](const Request&, const Reply& reply) {
        handled = true;
        reply({});
    });
    const std::string kilobyte(1024, 'a');
    std::string long_header;
    std::string long_body;
    for (int i = 0; i < 9; ++i) {
        long_header += "X-" + std::to_string(i) + ": " + kilobyte + "\r\n";
    }
    for (int i = 0; i < 1100; ++i) {
        long_body += "400\r\n" + kilobyte + "\r\n";
    }
    const std::vector<Refusal> refusals = {
        {"not HTTP", "\x16\x03\x01\x02\r\n\r\n", "400"},
        {"no version", "GET /\r\n\r\n", "400"},
        {"a bad length", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"},
        {"a bad header line", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "400"},
        {"a bad chunk", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"},
        {"a long header", "GET / HTTP/1.1\r\n" + long_header + "\r\n", "431"},
        {"a long first line", "GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n", "431"},
        {"a long body, announced", "POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", "413"},
        {"a long body, in chunks", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + long_body, "413"},
    };
    for (const Refusal& refusal : refusals) {
        SCOPED_TRACE(refusal.what);
        Raw client = Raw::to(socket_);
        client.send(refusal.sent);
        const std::string answer = client.read_until("}\n");
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + refusal.status + " ")) << answer;
        EXPECT_NE(answer.find("{\"error\": \""), std::string::npos) << answer;
        EXPECT_TRUE(client.closed());
    }
    EXPECT_FALSE(handled);
}

TEST_F(HttpTest, TakesTheLongestBodyAllowed) {
    serve([](const Request& request, const Reply& reply) { reply({200, std::to_string(request.body.size())}); });
    const auto answer = request_unix(socket_, {"POST", "/", std::string(1U << 20, 'x')}, milliseconds(10'000));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "1048576");
}

TEST_F(HttpTest, ClosesSilentClients) {
    ServerLimits limits;
    limits.idle = milliseconds(1000);
    serve(echo, limits);
    Raw silent = Raw::to(socket_);
    Raw half = Raw::to(socket_);
    half.send("GET / HT");
    Raw bodiless = Raw::to(socket_);
    bodiless.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
    Raw served = Raw::to(socket_);
    served.send("GET /x HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(served.read_until("GET|/x||").ends_with("GET|/x||"));
    EXPECT_TRUE(silent.closed());
    EXPECT_TRUE(half.closed());
    EXPECT_TRUE(bodiless.closed());
    EXPECT_TRUE(served.closed());
}

TEST_F(HttpTest, ClosesClientsThatDribble) {
    ServerLimits limits;
    limits.idle = milliseconds(150);
    serve(echo, limits);
    Raw client = Raw::to(socket_);
    client.send("GET / HTTP/1.1\r\nX: ");
    // Each byte comes well within the limit; the whole never does.
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(kPatienceSeconds);
    bool accepted = true;
    while (accepted && std::chrono::steady_clock::now() < give_up) {
        accepted = client.send("a");
        std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_FALSE(accepted);
}

TEST_F(HttpTest, MakesRoomByClosingTheLongestSilent) {
    ServerLimits limits;
    limits.connections = 3;
    serve(echo, limits);
    Raw first = Raw::to(socket_);
    first.send("GET /a HTTP/1.1\r\n\r\n");  // served, then silent
    first.read_until("GET|/a||");
    std::vector<Raw> others;
    for (int i = 0; i < 2; ++i) {
        others.push_back(Raw::to(socket_));
        others.back().send("GET /b HTTP/1.1\r\n\r\n");
        others.back().read_until("GET|/b||");
    }
    ASSERT_TRUE(get("/c"));
    EXPECT_TRUE(first.closed());
    others[1].send("GET /d HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(others[1].read_until("GET|/d||").ends_with("GET|/d||"));
}

TEST_F(HttpTest, DoesNotCloseThoseItMakesWait) {
    ServerLimits limits;
    limits.connections = 2;
    limits.idle = milliseconds(1000);
    std::mutex mutex;
    std::vector<Reply> waiting;
    serve(
        [&](const Request&, Reply reply) {
            const std::lock_guard lock(mutex);
            waiting.push_back(std::move(reply));
        },
        limits);
    std::vector<Raw> clients;
    for (std::size_t i = 1; i <= 2; ++i) {
        clients.push_back(Raw::to(socket_));
        clients.back().send("GET / HTTP/1.1\r\n\r\n");
        const auto have = [&] {
            const std::lock_guard lock(mutex);
            return waiting.size();
        };
        for (int tries = 0; have() < i && tries < 1000 * kPatienceSeconds; ++tries) {
            std::this_thread::sleep_for(milliseconds(1));
        }
        ASSERT_EQ(have(), i);
    }
    Raw refused = Raw::to(socket_);
    EXPECT_TRUE(refused.closed()) << "all connections are being served: there is no room";
    std::this_thread::sleep_for(milliseconds(1500));  // past the idle time
    for (const Reply& reply : waiting) {              // from this thread, which is not the loop's
        reply({200, "done"});
        reply({500, "twice"});
    }
    for (Raw& client : clients) {
        EXPECT_TRUE(client.read_until("done").starts_with("HTTP/1.1 200 "));
    }
    waiting.clear();
}

TEST_F(HttpTest, AnswersForHandlersThatDoNot) {
    serve([](const Request& request, const Reply&) {
        if (request.path == "/throw") {
            throw std::runtime_error("it \"broke\"");
        }
    });
    const auto thrown = get("/throw");
    ASSERT_TRUE(thrown) << thrown.error().message;
    EXPECT_EQ(thrown->status, 500U);
    EXPECT_EQ(thrown->body, "{\"error\": \"it \\\"broke\\\"\"}\n");
    const auto dropped = get("/drop");
    ASSERT_TRUE(dropped) << dropped.error().message;
    EXPECT_EQ(dropped->status, 500U);
}

TEST_F(HttpTest, TellsAHandlerThatTheClientHungUp) {
    std::promise<std::pair<std::function<bool()>, Reply>> arrived;
    serve([&](const Request& request, Reply reply) { arrived.set_value({request.client_gone, std::move(reply)}); });
    Raw client = Raw::to(socket_);
    client.send("GET / HTTP/1.1\r\n\r\n");
    auto [gone, reply] = arrived.get_future().get();
    bool is_gone = true;
    on_loop([&] { is_gone = gone(); });
    EXPECT_FALSE(is_gone);
    client.hang_up();
    on_loop([&] { is_gone = gone(); });
    EXPECT_TRUE(is_gone);
    reply({200, "to nobody"});
    on_loop([] {});
}

TEST_F(HttpTest, StopClosesEverything) {
    std::promise<Reply> arrived;
    serve([&](const Request&, Reply reply) { arrived.set_value(std::move(reply)); });
    Raw waiting = Raw::to(socket_);
    waiting.send("GET / HTTP/1.1\r\n\r\n");
    Reply late = arrived.get_future().get();
    Raw silent = Raw::to(socket_);
    on_loop([] {});
    on_loop([&] { server_->stop(); });
    EXPECT_TRUE(silent.closed());
    EXPECT_TRUE(waiting.closed());
    EXPECT_FALSE(fs::exists(socket_));
    late({200, "too late"});
    late = nullptr;
    const auto refused = get("/");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ENOENT);
}

TEST_F(HttpTest, ReplyMayOutliveServerAndLoop) {
    Reply kept;
    {
        boost::asio::io_context io;
        HttpServer server(io);
        ASSERT_TRUE(server.listen_unix(socket_, [&](const Request&, Reply reply) { kept = std::move(reply); }));
        Raw client = Raw::to(socket_);
        client.send("GET / HTTP/1.1\r\n\r\n");
        while (!kept) {
            io.run_one_for(std::chrono::seconds(1));
        }
        server.stop();
        kept({200, "x"});
    }
    kept = nullptr;
}

// --- Sockets ---

mode_t mode_of(const fs::path& path) {
    struct stat status{};
    EXPECT_EQ(stat(path.c_str(), &status), 0);
    return status.st_mode & 07777;
}

TEST_F(HttpTest, GivesTheSocketToItsGroupAlone) {
    HttpServer server(io_);
    const group* own = getgrgid(getgid());
    ASSERT_TRUE(server.listen_unix(socket_, echo, own != nullptr ? own->gr_name : "no-such-group"));
    EXPECT_EQ(mode_of(socket_), 0660U);
    ASSERT_TRUE(server.listen_unix(folder_ / "other.sock", echo, "no-such-group"));
    EXPECT_EQ(mode_of(folder_ / "other.sock"), 0660U);
    if (getuid() == 0) {
        ASSERT_TRUE(server.listen_unix(folder_ / "daemon.sock", echo, "daemon"));
        struct stat status{};
        ASSERT_EQ(stat((folder_ / "daemon.sock").c_str(), &status), 0);
        EXPECT_EQ(status.st_gid, getgrnam("daemon")->gr_gid);
        EXPECT_EQ(status.st_uid, 0U);
    }
}

TEST_F(HttpTest, ReplacesADeadSocketOnly) {
    {
        Raw dead(socket(AF_UNIX, SOCK_STREAM, 0));
        const sockaddr_un at = Raw::address(socket_);
        ASSERT_EQ(bind(dead.fd(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
    }
    serve(echo);
    EXPECT_TRUE(get("/"));
    HttpServer second(io_);
    const auto taken = second.listen_unix(socket_, echo);
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().code, EADDRINUSE);
    EXPECT_TRUE(get("/")) << "the first server's socket must stand";

    const fs::path file = folder_ / "file";
    std::ofstream(file) << "precious";
    const auto blocked = second.listen_unix(file, echo);
    ASSERT_FALSE(blocked);
    EXPECT_EQ(blocked.error().code, EADDRINUSE);
    EXPECT_EQ(fs::file_size(file), 8U);
}

TEST_F(HttpTest, StopLeavesAnotherServersSocket) {
    HttpServer first(io_);
    ASSERT_TRUE(first.listen_unix(socket_, echo));
    fs::remove(socket_);
    HttpServer second(io_);
    ASSERT_TRUE(second.listen_unix(socket_, echo));
    first.stop();
    EXPECT_TRUE(fs::exists(socket_));
}

TEST_F(HttpTest, SaysWhichPathItCannotUse) {
    HttpServer server(io_);
    const auto too_long = server.listen_unix(folder_ / std::string(120, 'a'), echo);
    ASSERT_FALSE(too_long);
    EXPECT_EQ(too_long.error().code, ENAMETOOLONG);
    const auto no_folder = server.listen_unix(folder_ / "none" / "x.sock", echo);
    ASSERT_FALSE(no_folder);
    EXPECT_EQ(no_folder.error().code, ENOENT);
    EXPECT_NE(no_folder.error().message.find("none/x.sock"), std::string::npos);
}

TEST_F(HttpTest, ServesOverTcpWithoutAnOwner) {
    std::optional<uid_t> uid = 1;
    serve(echo);
    std::uint16_t port = 0;
    on_loop([&] {
        const auto listening = server_->listen_tcp(ip("127.0.0.1"), 0, [&](const Request& request, const Reply& reply) {
            uid = request.peer_uid;
            reply({200, "tcp"});
        });
        ASSERT_TRUE(listening) << listening.error().message;
        port = *listening;
    });
    ASSERT_NE(port, 0);
    Raw client = Raw::to_port(port);
    client.send("GET /metrics HTTP/1.0\r\n\r\n");
    EXPECT_TRUE(client.read_until("tcp").ends_with("tcp"));
    EXPECT_TRUE(client.closed());
    EXPECT_EQ(uid, std::nullopt);
    EXPECT_EQ(get("/x")->body, "GET|/x||") << "each listener has a handler of its own";
    on_loop([&] {
        const auto taken = server_->listen_tcp(ip("127.0.0.1"), port, echo);
        ASSERT_FALSE(taken);
        EXPECT_EQ(taken.error().code, EADDRINUSE);
    });
}

TEST_F(HttpTest, ServesOverIpv6) {
    HttpServer server(io_);
    const auto listening = server.listen_tcp(ip("::1"), 0, echo);
    if (!listening && (listening.error().code == EADDRNOTAVAIL || listening.error().code == EAFNOSUPPORT)) {
        GTEST_SKIP() << "no IPv6 loopback here";
    }
    ASSERT_TRUE(listening) << listening.error().message;
    EXPECT_NE(*listening, 0);
}

// --- The client ---

// A server that accepts one connection, sends `answer` and closes.
class OneShot {
  public:
    OneShot(const fs::path& path, std::string answer) : listener_(socket(AF_UNIX, SOCK_STREAM, 0)) {
        const sockaddr_un at = Raw::address(path);
        EXPECT_EQ(bind(listener_.fd(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
        EXPECT_EQ(listen(listener_.fd(), 1), 0);
        thread_ = std::thread([this, answer = std::move(answer)] {
            Raw connection(accept(listener_.fd(), nullptr, nullptr));
            request_ = connection.read_until("\r\n\r\n");
            connection.send(answer);
        });
    }
    ~OneShot() { join(); }
    std::string request() {
        join();
        return request_;
    }

  private:
    void join() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    Raw listener_;
    std::string request_;
    std::thread thread_;
};

TEST_F(HttpTest, ClientSendsAPlainRequest) {
    OneShot server(socket_, "HTTP/1.1 422 Unprocessable Entity\r\nContent-Length: 2\r\nContent-Type: a/b\r\n\r\nno");
    const auto answer = get("/v1/status?x=1");
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 422U);
    EXPECT_EQ(answer->content_type, "a/b");
    EXPECT_EQ(answer->body, "no");
    EXPECT_EQ(server.request(), "GET /v1/status?x=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
}

TEST_F(HttpTest, ClientTellsFailuresApart) {
    EXPECT_EQ(get("/").error().code, ENOENT);
    {
        Raw dead(socket(AF_UNIX, SOCK_STREAM, 0));
        const sockaddr_un at = Raw::address(socket_);
        ASSERT_EQ(bind(dead.fd(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
        EXPECT_EQ(get("/").error().code, ECONNREFUSED);
    }
    const std::vector<std::pair<std::string, int>> answers = {
        {"", ECONNRESET},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", ECONNRESET},
        {"SSH-2.0-OpenSSH\r\n\r\n", EPROTO},
    };
    for (const auto& [answer, code] : answers) {
        SCOPED_TRACE(answer);
        fs::remove(socket_);
        OneShot server(socket_, answer);
        const auto result = get("/");
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, code) << result.error().message;
    }
}

TEST_F(HttpTest, ClientDoesNotWaitForEver) {
    std::vector<Reply> kept;
    serve([&](const Request&, Reply reply) { kept.push_back(std::move(reply)); });
    const auto result = get("/", milliseconds(50));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ETIMEDOUT);
    on_loop([&] { kept.clear(); });
}

TEST_F(HttpTest, ClientWaitsAsLongAsItTakes) {
    serve([](const Request&, const Reply& reply) {
        std::thread([reply] {
            std::this_thread::sleep_for(milliseconds(100));
            reply({200, "at last"});
        }).detach();
    });
    EXPECT_EQ(get("/", milliseconds(0))->body, "at last");
}

TEST_F(HttpTest, ClientTakesALongAnswer) {
    const std::string page(4U << 20, 'x');
    serve([&](const Request&, const Reply& reply) { reply({200, page}); });
    const auto answer = get("/");
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_TRUE(answer->body == page);
}

TEST_F(HttpTest, ClientReadsARefusalOfWhatItIsStillSending) {
    serve(echo);
    const auto answer = request_unix(socket_, {"POST", "/", std::string(4U << 20, 'x')}, milliseconds(10'000));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->status, 413U);
}

}  // namespace
}  // namespace fairlead::api
