// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/hello.h"

#include <gtest/gtest.h>

#include "ctl/ha/hello_book.h"

namespace fairlead::ha {
namespace {

using namespace std::chrono_literals;

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

Hello sample(const std::string& name = "lb-b") {
    return {false,      7,
            0x1a2b3c4d, 0x0102030405060708,
            name,       {{51, State::kBackup, 100, true}, {52, State::kActive, 150, false}}};
}

constexpr TimePoint kStart{std::chrono::hours{1}};

// --- bytes ---

TEST(Hello, BytesAreAsWritten) {
    const auto bytes = encode_hello(sample());
    ASSERT_EQ(bytes.size(), 1108U);
    const std::vector<std::uint8_t> head = {'F',  'L', 'H', 'I', 1, 0, 4, 2, 0, 0,   0,   7,   0x1a, 0x2b, 0x3c,
                                            0x4d, 1,   2,   3,   4, 5, 6, 7, 8, 'l', 'b', '-', 'b',  0};
    EXPECT_TRUE(std::equal(head.begin(), head.end(), bytes.begin()));
    const std::vector<std::uint8_t> groups = {51, 1, 100, 1, 52, 2, 150, 0, 0};
    EXPECT_TRUE(std::equal(groups.begin(), groups.end(), bytes.begin() + 88));
    EXPECT_EQ(decode_hello(bytes, 255), sample());
}

TEST(Hello, LongestAndShortest) {
    auto hello = sample(std::string(63, 'n'));
    hello.groups.assign(255, {1, State::kInitialize, 0, false});
    hello.answer = true;
    EXPECT_EQ(decode_hello(encode_hello(hello), 255), hello);
    auto longer = hello;
    longer.name += "n";
    longer.groups.resize(256);
    EXPECT_EQ(encode_hello(longer), encode_hello(hello));
    const Hello least{false, 0, 0, 0, "a", {}};
    EXPECT_EQ(decode_hello(encode_hello(least), 255), least);
}

TEST(Hello, WhatIsNotOneIsRefused) {
    const auto good = encode_hello(sample());
    const auto refusal = [&](std::size_t at, std::uint8_t byte) {
        auto bytes = good;
        bytes.at(at) = byte;
        const auto decoded = decode_hello(bytes, 255);
        return decoded ? std::nullopt : std::optional(decoded.error());
    };
    EXPECT_EQ(decode_hello(good, 254).error(), HelloRefusal::kTtl);
    EXPECT_EQ(decode_hello(good, -1).error(), HelloRefusal::kTtl);
    for (std::size_t size = 0; size < good.size(); ++size)
        EXPECT_EQ(decode_hello(std::span(good).first(size), 255).error(), HelloRefusal::kLength) << size;
    std::vector<std::uint8_t> longer(good.begin(), good.end());
    longer.push_back(0);
    EXPECT_EQ(decode_hello(longer, 255).error(), HelloRefusal::kLength);
    for (std::size_t at = 0; at < 4; ++at) EXPECT_EQ(refusal(at, 'x'), HelloRefusal::kMagic);
    EXPECT_EQ(refusal(4, 2), HelloRefusal::kVersion);
    EXPECT_EQ(refusal(5, 2), HelloRefusal::kContent);        // flags
    EXPECT_EQ(refusal(6, 0), HelloRefusal::kContent);        // no name
    EXPECT_EQ(refusal(6, 64), HelloRefusal::kContent);       // a longer one than there can be
    EXPECT_EQ(refusal(6, 3), HelloRefusal::kContent);        // a shorter one than is there
    EXPECT_EQ(refusal(24, '\x1b'), HelloRefusal::kContent);  // for a terminal
    EXPECT_EQ(refusal(87, 'x'), HelloRefusal::kContent);     // filling
    EXPECT_EQ(refusal(7, 1), HelloRefusal::kContent);        // fewer groups than are there
    EXPECT_EQ(refusal(89, 3), HelloRefusal::kContent);       // a state
    EXPECT_EQ(refusal(91, 2), HelloRefusal::kContent);       // a group's flags
    EXPECT_EQ(refusal(1107, 1), HelloRefusal::kContent);     // filling
    EXPECT_EQ(refusal(8, 1), std::nullopt);
}

TEST(Hello, EveryRefusalHasANameOfItsOwn) {
    for (std::size_t i = 0; i < kHelloRefusals; ++i) {
        EXPECT_FALSE(help_of(static_cast<HelloRefusal>(i)).empty());
        for (std::size_t j = 0; j < i; ++j)
            EXPECT_NE(to_string(static_cast<HelloRefusal>(i)), to_string(static_cast<HelloRefusal>(j)));
    }
}

// --- the book ---

class HelloBookTest : public ::testing::Test {
  protected:
    bool hear(const std::string& from, const Hello& hello, TimePoint now = kStart) {
        return book_.received(encode_hello(hello), ip(from), 255, now);
    }
    std::uint64_t refused(HelloRefusal refusal) const {
        return book_.counters().refused.at(static_cast<std::size_t>(refusal));
    }

    HelloBook book_;
};

TEST_F(HelloBookTest, SpeaksToPeersAndNeighboursOnce) {
    book_.set_scope(
        {ip("192.0.2.2"), {ip("192.0.2.2"), ip("192.0.2.3"), ip("2001:db8::3")}, {ip("192.0.2.3"), ip("192.0.2.4")}});
    EXPECT_EQ(book_.destinations(), (std::vector{ip("192.0.2.3"), ip("192.0.2.4")}));
}

TEST_F(HelloBookTest, AnswersOnlyWhomItDoesNotSpeakToAnyway) {
    book_.set_scope({ip("192.0.2.2"), {}, {ip("192.0.2.3")}});
    EXPECT_FALSE(hear("192.0.2.3", sample()));
    EXPECT_TRUE(hear("192.0.2.4", sample("lb-c")));
    auto answer = sample("lb-c");
    answer.answer = true;
    EXPECT_FALSE(hear("192.0.2.4", answer));  // else two nodes would answer each other for ever
    EXPECT_EQ(book_.counters().received, 3U);
    ASSERT_EQ(book_.peers(kStart).size(), 2U);
    EXPECT_EQ(book_.peers(kStart)[1].hello.name, "lb-c");
}

TEST_F(HelloBookTest, WhoIsSilentIsGone) {
    hear("192.0.2.3", sample());
    EXPECT_EQ(book_.peers(kStart + kHelloExpiry).size(), 1U);
    EXPECT_TRUE(book_.peers(kStart + kHelloExpiry + 1ms).empty());
    hear("192.0.2.3", sample("other"), kStart + 1min);
    ASSERT_EQ(book_.peers(kStart + 1min).size(), 1U);
    EXPECT_EQ(book_.peers(kStart + 1min)[0].hello.name, "other");
}

TEST_F(HelloBookTest, StrangersAreCountedAndNotAnswered) {
    book_.set_scope({ip("192.0.2.2"), {ip("192.0.2.3")}, {}});
    EXPECT_FALSE(hear("192.0.2.4", sample()));
    EXPECT_FALSE(hear("192.0.2.2", sample()));
    EXPECT_FALSE(book_.received({}, ip("192.0.2.3"), 255, kStart));
    EXPECT_FALSE(book_.received(encode_hello(sample()), ip("192.0.2.3"), 64, kStart));
    EXPECT_EQ(refused(HelloRefusal::kPeer), 1U);
    EXPECT_EQ(refused(HelloRefusal::kOwnAddress), 1U);
    EXPECT_EQ(refused(HelloRefusal::kLength), 1U);
    EXPECT_EQ(refused(HelloRefusal::kTtl), 1U);
    EXPECT_EQ(book_.counters().received, 0U);
    EXPECT_TRUE(book_.peers(kStart).empty());
}

TEST_F(HelloBookTest, ForgedSourcesFillNoMemory) {
    for (int i = 1; i <= 200; ++i) hear("198.51.100." + std::to_string(i), sample());
    EXPECT_EQ(book_.peers(kStart).size(), kHelloPeers);
    EXPECT_EQ(refused(HelloRefusal::kFull), 200 - kHelloPeers);
    EXPECT_TRUE(hear("198.51.100.1", sample()));  // who is known is still heard
    EXPECT_TRUE(hear("192.0.2.3", sample(), kStart + kHelloExpiry + 1ms));
    EXPECT_EQ(book_.peers(kStart + kHelloExpiry + 1ms).size(), 1U);
}

TEST_F(HelloBookTest, ForgedSourcesKeepNoNodeOut) {
    for (int i = 1; i <= 200; ++i) hear("198.51.100." + std::to_string(i), sample());
    book_.set_scope({ip("192.0.2.2"), {}, {ip("192.0.2.3")}});
    EXPECT_FALSE(hear("192.0.2.3", sample("lb-b")));
    ASSERT_EQ(book_.peers(kStart).size(), kHelloPeers + 1);
    EXPECT_EQ(book_.peers(kStart)[0].hello.name, "lb-b");
    hear("198.51.100.201", sample());
    EXPECT_EQ(refused(HelloRefusal::kFull), 200 - kHelloPeers + 1);
}

// --- what is made of it ---

TEST(HelloDifferences, AreNamed) {
    const auto own = sample();
    auto other = sample("lb-c");
    other.groups.clear();
    EXPECT_TRUE(differences(own, other).empty());
    other.key_id = 1;
    EXPECT_EQ(differences(own, other), (std::vector<std::string>{"hash key"}));
    other.config_digest = 1;
    other.abi = 1;
    EXPECT_EQ(differences(own, other), (std::vector<std::string>{"hash key", "config", "table layout"}));
}

HelloPeer peer(const std::string& address, const std::string& name, std::uint8_t priority, bool may = true) {
    return {ip(address), {false, 0, 0, 0, name, {{51, State::kBackup, priority, may}}}, kStart};
}

TEST(HelloTakeover, IsByTheNodeThatWins) {
    const std::vector peers = {peer("192.0.2.3", "lb-b", 100), peer("192.0.2.4", "lb-c", 120),
                               peer("192.0.2.5", "lb-d", 120), peer("192.0.2.6", "lb-e", 200, false)};
    const auto fault = [&](const std::string& name, std::uint8_t vrid = 51) {
        return takeover_fault(peers, name, vrid).value_or("");
    };
    EXPECT_EQ(fault("lb-d"), "");
    EXPECT_NE(fault("lb-b").find("would take over"), std::string::npos);
    EXPECT_NE(fault("lb-c").find("node lb-d would take over"), std::string::npos) << "the higher address";
    EXPECT_NE(fault("lb-e").find("not ready"), std::string::npos);
    EXPECT_EQ(fault("lb-z"), "node lb-z was not heard of late (heard: lb-b, lb-c, lb-d, lb-e)");
    EXPECT_EQ(fault("lb-d", 52), "node lb-d has no group with vrid 52");
    EXPECT_EQ(takeover_fault({}, "lb-b", 51), "node lb-b was not heard of late (heard: none)");
}

}  // namespace
}  // namespace fairlead::ha
