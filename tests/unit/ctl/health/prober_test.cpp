// SPDX-License-Identifier: Apache-2.0
// The prober against real sockets on the loopback. Deadlines are generous; nothing asserts how fast a thing is.
#include "ctl/health/prober.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <boost/asio/io_context.hpp>
#include <optional>

#include "ctl/health/http_response.h"
#include "tests/unit/ctl/health/loopback_server.h"

namespace fairlead::health {
namespace {

using namespace std::chrono_literals;
using testing::Blackhole;
using testing::BoundSocket;
using testing::Connection;
using testing::ScriptedServer;

constexpr auto kGenerous = 20s;
constexpr auto kShort = 300ms;

TargetKey tcp_target(std::uint16_t port, std::chrono::milliseconds timeout = kGenerous) {
    TargetKey key;
    key.address = IpAddress::parse("127.0.0.1").value();
    key.check.port = port;
    key.check.timeout = timeout;
    return key;
}

TargetKey http_target(std::uint16_t port, std::chrono::milliseconds timeout = kGenerous) {
    TargetKey key = tcp_target(port, timeout);
    key.check.type = config::CheckType::kHttp;
    key.check.path = "/up";
    return key;
}

// Runs one probe to its end. The context runs until the connection is done with too.
ProbeResult probe(const TargetKey& key) {
    boost::asio::io_context io;
    Prober prober(io);
    std::optional<ProbeResult> result;
    prober.start(1, key, [&](const ProbeResult& r) {
        EXPECT_FALSE(result) << "told twice";
        result = r;
    });
    EXPECT_FALSE(result) << "told from within start()";
    io.run();
    EXPECT_TRUE(result);
    return result.value_or(ProbeResult{});
}

class NoMoreDescriptors {
  public:
    NoMoreDescriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const rlimit none{0, before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &none);
    }
    ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  private:
    rlimit before_{};
};

TEST(TcpCheck, PassesWhenSomebodyListens) {
    BoundSocket listener;
    listener.listen(8);
    const ProbeResult result = probe(tcp_target(listener.port()));
    EXPECT_EQ(result.outcome, Outcome::kOk) << result.reason;
    EXPECT_EQ(result.reason, "");
    EXPECT_GT(result.duration, 0ns);
}

TEST(TcpCheck, LeavesWithAReset) {
    std::atomic<bool> reset = false;
    {
        ScriptedServer server([&](Connection& connection) { reset = connection.wait_closed(); });
        EXPECT_EQ(probe(tcp_target(server.port())).outcome, Outcome::kOk);
        for (int i = 0; i < 1000 && !reset; ++i) std::this_thread::sleep_for(10ms);
    }
    EXPECT_TRUE(reset);
}

TEST(TcpCheck, FailsWhenRefused) {
    const BoundSocket not_listening;
    const ProbeResult result = probe(tcp_target(not_listening.port()));
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_EQ(result.reason, "connection refused");
}

TEST(TcpCheck, TimesOutOnSilence) {
    const Blackhole blackhole;
    const ProbeResult result = probe(tcp_target(blackhole.port(), kShort));
    EXPECT_EQ(result.outcome, Outcome::kTimedOut);
    EXPECT_EQ(result.reason, "timed out after 300 ms");
    EXPECT_GE(result.duration, kShort);
}

TEST(TcpCheck, ChecksIpv6) {
    const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_addr = in6addr_loopback;
    socklen_t length = sizeof any;
    if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0)
        GTEST_SKIP() << "no IPv6 loopback here";
    ASSERT_EQ(::listen(fd, 4), 0);
    ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&any), &length), 0);
    TargetKey key = tcp_target(ntohs(any.sin6_port));
    key.address = IpAddress::parse("::1").value();
    const ProbeResult result = probe(key);
    EXPECT_EQ(result.outcome, Outcome::kOk) << result.reason;
    ::close(fd);
}

TEST(TcpCheck, LackOfDescriptorsSaysNothingAboutTheTarget) {
    BoundSocket listener;
    listener.listen(8);
    boost::asio::io_context io;
    Prober prober(io);
    prober.start(1, tcp_target(listener.port()), [](const ProbeResult&) {});  // lets Asio open what it needs itself
    io.run();
    std::optional<ProbeResult> result;
    {
        const NoMoreDescriptors shortage;
        prober.start(2, tcp_target(listener.port()), [&](const ProbeResult& r) { result = r; });
    }
    EXPECT_FALSE(result);
    io.restart();
    io.run();
    ASSERT_TRUE(result);
    EXPECT_EQ(result->outcome, Outcome::kInconclusive);
    EXPECT_EQ(result->reason, "cannot check: Too many open files");
}

TEST(HttpCheck, PassesOnAnExpectedStatus) {
    std::string request;
    TargetKey key;
    ProbeResult result;
    {
        ScriptedServer server([&](Connection& connection) {
            request = connection.read_request();
            connection.send("HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nhi");
        });
        key = http_target(server.port());
        result = probe(key);
    }
    EXPECT_EQ(result.outcome, Outcome::kOk) << result.reason;
    EXPECT_EQ(request, http_request(key.address, key.check).value());
}

// Answers the request with `answer` and closes.
ProbeResult probe_answer(const std::string& answer) {
    ScriptedServer server([&](Connection& connection) {
        connection.read_request();
        connection.send(answer);
    });
    return probe(http_target(server.port()));
}

TEST(HttpCheck, FailsOnAnotherStatus) {
    const ProbeResult result = probe_answer("HTTP/1.1 503 Service Unavailable\r\n\r\n");
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_EQ(result.reason, "HTTP 503, expected 200-399");
}

TEST(HttpCheck, FailsOnGarbage) {
    const ProbeResult result = probe_answer("SSH-2.0-OpenSSH_9.2p1\r\n");
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_EQ(result.reason, "not an HTTP/1 answer: \"SSH-2.0-OpenSSH_9.2p1\"");
}

TEST(HttpCheck, FailsOnAnEndlessLine) {
    const ProbeResult result = probe_answer(std::string(1U << 20, 'A'));
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_EQ(result.reason, "status line longer than 1024 bytes");
}

TEST(HttpCheck, FailsOnAnEmptyAnswer) {
    const ProbeResult result = probe_answer("");
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_EQ(result.reason, "closed after 0 bytes without a status line");
    EXPECT_EQ(probe_answer("HTTP/1.1 200").reason, "closed after 12 bytes without a status line");
}

TEST(HttpCheck, HugeHeadersAreNobodysBusiness) {
    const ProbeResult result = probe_answer("HTTP/1.1 200 OK\r\nX: " + std::string(4U << 20, 'h') + "\r\n\r\n");
    EXPECT_EQ(result.outcome, Outcome::kOk) << result.reason;
}

TEST(HttpCheck, WaitsForTheAnswerAfterAnInterimOne) {
    EXPECT_EQ(probe_answer("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").outcome,
              Outcome::kOk);
}

TEST(HttpCheck, FailsWhenRefused) {
    const BoundSocket not_listening;
    EXPECT_EQ(probe(http_target(not_listening.port())).reason, "connection refused");
}

TEST(HttpCheck, TimesOutWithoutAnAnswer) {
    ScriptedServer server([](Connection& connection) {
        connection.read_request();
        connection.wait_closed();
    });
    const ProbeResult result = probe(http_target(server.port(), kShort));
    EXPECT_EQ(result.outcome, Outcome::kTimedOut);
    EXPECT_EQ(result.reason, "timed out after 300 ms waiting for the answer");
}

TEST(HttpCheck, ASlowDripDoesNotStretchTheTimeout) {
    ScriptedServer server([](Connection& connection) {
        connection.read_request();
        while (!connection.stopping() && connection.send("H")) std::this_thread::sleep_for(20ms);
    });
    const ProbeResult result = probe(http_target(server.port(), kShort));
    EXPECT_EQ(result.outcome, Outcome::kTimedOut) << result.reason;
}

TEST(HttpCheck, TakesAnAnswerFromAServerThatNeverReads) {
    ScriptedServer server([](Connection& connection) { connection.send("HTTP/1.1 200 OK\r\n\r\n"); });
    const ProbeResult result = probe(http_target(server.port()));
    // The server's close with unread bytes is a reset, which may overtake its answer: either is a verdict.
    EXPECT_TRUE(result.outcome == Outcome::kOk || result.reason == "connection reset") << result.reason;
}

TEST(HttpCheck, LetsTheServerCloseFirst) {
    std::atomic<bool> sent_all = false;
    {
        ScriptedServer server([&](Connection& connection) {
            connection.read_request();
            bool sent = connection.send("HTTP/1.1 200 OK\r\n\r\n");
            std::this_thread::sleep_for(100ms);
            sent = connection.send("late") && sent;
            std::this_thread::sleep_for(100ms);
            sent_all = connection.send("later") && sent;  // fails after an RST
        });
        EXPECT_EQ(probe(http_target(server.port())).outcome, Outcome::kOk);
    }
    EXPECT_TRUE(sent_all);
}

TEST(HttpCheck, AnUnsendablePathFailsTheCheck) {
    BoundSocket listener;
    listener.listen(8);
    TargetKey key = http_target(listener.port());
    key.check.path = "/a\r\nb";
    const ProbeResult result = probe(key);
    EXPECT_EQ(result.outcome, Outcome::kFailed);
    EXPECT_NE(result.reason.find("cannot be sent"), std::string::npos);
}

TEST(Prober, ACancelledProbeIsSilent) {
    const Blackhole blackhole;
    boost::asio::io_context io;
    Prober prober(io);
    prober.start(1, tcp_target(blackhole.port()), [](const ProbeResult&) { FAIL(); });
    prober.cancel(1);
    prober.cancel(1);
    prober.cancel(99);
    io.run();  // ends at once: nothing is left to wait for
}

TEST(Prober, ItsEndCancelsAllProbes) {
    const Blackhole blackhole;
    boost::asio::io_context io;
    {
        Prober prober(io);
        for (TargetId id = 1; id <= 10; ++id)
            prober.start(id, http_target(blackhole.port()), [](const ProbeResult&) { FAIL(); });
        io.poll();
    }
    io.run();
}

TEST(Prober, RunsManyAtOnce) {
    BoundSocket listener;
    listener.listen(256);
    const BoundSocket refusing;
    boost::asio::io_context io;
    Prober prober(io);
    int passed = 0;
    int failed = 0;
    for (TargetId id = 1; id <= 200; ++id)
        prober.start(id, tcp_target(id % 2 == 0 ? listener.port() : refusing.port()),
                     [&](const ProbeResult& result) { ++(result.outcome == Outcome::kOk ? passed : failed); });
    io.run();
    EXPECT_EQ(passed, 100);
    EXPECT_EQ(failed, 100);
}

}  // namespace
}  // namespace fairlead::health
