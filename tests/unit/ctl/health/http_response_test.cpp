// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/http_response.h"

#include <gtest/gtest.h>

#include <random>

namespace fairlead::health {
namespace {

TEST(ParseStatusLine, TakesWhatServersSend) {
    for (const char* line :
         {"HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.1 200 Very fine\xe2\x82\xac"}) {
        const auto status = parse_status_line(line);
        ASSERT_TRUE(status) << line;
        EXPECT_EQ(*status, (StatusLine{1, 200})) << line;
    }
    EXPECT_EQ(parse_status_line("HTTP/1.0 503 Service Unavailable").value(), (StatusLine{0, 503}));
    EXPECT_EQ(parse_status_line("HTTP/1.1 999 Odd").value().code, 999);
}

TEST(ParseStatusLine, RefusesEverythingElse) {
    for (const std::string_view line :
         {"", "H", "HTTP/1.", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20", "HTTP/1.1 2000", "HTTP/1.1 20x OK",
          "HTTP/1.1  200", "HTTP/1.1 -20", "HTTP/1.1 020 OK", "HTTP/1.1 200\tOK", "HTTP/2 200", "HTTP/2.0 200 OK",
          "http/1.1 200 OK", " HTTP/1.1 200 OK", "HTTP/1.x 200 OK", "SSH-2.0-OpenSSH_9.2p1", "ICY 200 OK"})
        EXPECT_FALSE(parse_status_line(line)) << line;
}

TEST(ParseStatusLine, QuotesForeignBytesHarmlessly) {
    const std::string line = std::string("\x1b[31m\0\n", 7) + std::string(500, 'A');
    const auto status = parse_status_line(line);
    ASSERT_FALSE(status);
    EXPECT_LT(status.error().message.size(), 100U);
    for (const char c : status.error().message) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

TEST(ParseStatusLine, NeverReadsPastTheEnd) {
    const std::string valid = "HTTP/1.1 200 OK";
    for (std::size_t length = 0; length <= valid.size(); ++length) {
        const std::vector<char> exact(valid.begin(), valid.begin() + static_cast<long>(length));  // for the sanitizer
        const auto status = parse_status_line({exact.data(), exact.size()});
        EXPECT_EQ(status.has_value(), length == 12 || length >= 13) << length;
    }
}

std::optional<Result<StatusLine>> feed_all(StatusReader& reader, std::string_view bytes, std::size_t piece) {
    while (!bytes.empty()) {
        auto done = reader.feed(bytes.substr(0, piece));
        if (done) return done;
        bytes.remove_prefix(std::min(piece, bytes.size()));
    }
    return std::nullopt;
}

TEST(StatusReader, FindsTheStatusHoweverTheBytesArrive) {
    constexpr std::string_view kAnswer = "HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
    for (std::size_t piece = 1; piece <= kAnswer.size(); ++piece) {
        StatusReader reader({200, 399});
        const auto status = feed_all(reader, kAnswer, piece);
        ASSERT_TRUE(status && *status) << piece;
        EXPECT_EQ((*status)->code, 204) << piece;
    }
}

TEST(StatusReader, TakesABareLineFeed) {
    StatusReader reader({200, 399});
    const auto status = reader.feed("HTTP/1.0 200 OK\n");
    ASSERT_TRUE(status && *status);
    EXPECT_EQ((*status)->code, 200);
}

TEST(StatusReader, SkipsInterimAnswers) {
    constexpr std::string_view kAnswer =
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\n";
    for (std::size_t piece = 1; piece <= kAnswer.size(); ++piece) {
        StatusReader reader({200, 399});
        const auto status = feed_all(reader, kAnswer, piece);
        ASSERT_TRUE(status && *status) << piece;
        EXPECT_EQ((*status)->code, 503) << piece;
    }
    StatusReader wanted({100, 199});
    EXPECT_EQ((*wanted.feed(kAnswer))->code, 103);
    StatusReader switching({200, 399});
    EXPECT_EQ((*switching.feed("HTTP/1.1 101 Switching Protocols\r\n"))->code, 101);
}

TEST(StatusReader, BoundsWhatItTakes) {
    StatusReader endless({200, 399});
    std::optional<Result<StatusLine>> status;
    std::size_t fed = 0;
    while (!status && fed < 1U << 20) {
        status = endless.feed(std::string(100, 'x'));
        fed += 100;
    }
    ASSERT_TRUE(status);
    EXPECT_FALSE(*status);
    EXPECT_LE(fed, kMaxStatusLine + 100);

    StatusReader interim({200, 399});
    status.reset();
    fed = 0;
    while (!status && fed < 1U << 20) {
        status = interim.feed("HTTP/1.1 100 Continue\r\n\r\n");
        fed += 25;
    }
    ASSERT_TRUE(status);
    EXPECT_FALSE(*status);
    EXPECT_LE(fed, kMaxInterimBytes + 100);

    StatusReader headers({200, 399});
    status = headers.feed("HTTP/1.1 100 Continue\r\n");
    fed = 0;
    while (!status && fed < 1U << 20) {
        status = headers.feed(std::string(1000, 'h'));
        fed += 1000;
    }
    ASSERT_TRUE(status);
    EXPECT_FALSE(*status);
}

TEST(StatusReader, SurvivesRandomBytes) {
    std::mt19937 random(20240611);
    for (int round = 0; round < 2000; ++round) {
        StatusReader reader({200, 399});
        std::string bytes = round % 2 == 0 ? "HTTP/1.1 1" : "";
        for (unsigned i = random() % 200; i > 0; --i)
            bytes += static_cast<char>("\r\n HTTP/1.012\0\xff"[random() % 15]);
        feed_all(reader, bytes, 1 + random() % 50);
        EXPECT_LE(reader.received(), bytes.size());
    }
}

TEST(UnexpectedStatus, ComparesInclusively) {
    EXPECT_FALSE(unexpected_status(200, {200, 399}));
    EXPECT_FALSE(unexpected_status(399, {200, 399}));
    EXPECT_EQ(unexpected_status(199, {200, 399}), "HTTP 199, expected 200-399");
    EXPECT_EQ(unexpected_status(503, {200, 399}), "HTTP 503, expected 200-399");
    EXPECT_EQ(unexpected_status(301, {200, 200}), "HTTP 301, expected 200");
}

config::Check http_check(std::uint16_t port) {
    config::Check check;
    check.type = config::CheckType::kHttp;
    check.port = port;
    return check;
}

TEST(HttpRequest, NamesTheHost) {
    const IpAddress v4 = IpAddress::parse("192.0.2.11").value();
    const IpAddress v6 = IpAddress::parse("2001:db8::1").value();
    EXPECT_EQ(http_request(v4, http_check(80)).value(),
              "GET / HTTP/1.1\r\nHost: 192.0.2.11\r\nUser-Agent: fairlead-check\r\nAccept: */*\r\n"
              "Connection: close\r\n\r\n");
    EXPECT_NE(http_request(v6, http_check(9869)).value().find("\r\nHost: [2001:db8::1]:9869\r\n"), std::string::npos);
    config::Check named = http_check(80);
    named.host = "cloud.example";
    named.path = "/up?deep=1";
    const std::string request = http_request(v4, named).value();
    EXPECT_TRUE(request.starts_with("GET /up?deep=1 HTTP/1.1\r\nHost: cloud.example\r\n"));
}

TEST(HttpRequest, RefusesWhatWouldBreakTheSyntax) {
    const IpAddress address = IpAddress::parse("192.0.2.11").value();
    for (const char* path : {"", "up", "/a b", "/a\r\nX: y", "/a\n", "/\x7f"}) {
        config::Check check = http_check(80);
        check.path = path;
        EXPECT_FALSE(http_request(address, check)) << path;
    }
    config::Check check = http_check(80);
    check.host = "a\r\nX: y";
    EXPECT_FALSE(http_request(address, check));
}

}  // namespace
}  // namespace fairlead::health
