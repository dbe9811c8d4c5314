// SPDX-License-Identifier: Apache-2.0
// The two halves of a session alone: what a network seldom does, and what no honest peer does.
#include <gtest/gtest.h>

#include "ctl/sync/receive_stream.h"
#include "ctl/sync/send_stream.h"
#include "tests/unit/ctl/sync/session_pair.h"

namespace fairlead::sync {
namespace {

constexpr std::size_t kRoom = 200;  // ten pins of their own pools
constexpr std::size_t kWindow = 8;

class SyncSendStream : public testing::Test {
  protected:
    SyncSendStream() {
        for (std::uint64_t number = 0; number < 5; ++number) {
            EXPECT_EQ(next(), number);
            now_ += 10us;
        }
    }
    std::optional<std::uint64_t> next() {
        const auto data = stream_.next(now_, true, kRoom);
        return data ? std::optional(data->number) : std::nullopt;
    }
    void acknowledge(const Ack& ack) { stream_.acknowledged(ack, ++order_, 20ms, now_); }

    TestSource source_{1000};
    SendStream stream_{source_, kWindow, 20ms};
    TimePoint now_{std::chrono::hours{1}};
    std::uint64_t order_ = 0;
};

TEST_F(SyncSendStream, ThreeLaterOnesAcknowledgedAreReasonToSendAgainAtOnce) {
    Ack two{1, 0, {0x03}, false}, three{1, 0, {0x07}, false};
    acknowledge(two);
    EXPECT_EQ(next(), 5U);
    acknowledge(three);
    EXPECT_EQ(next(), 0U);
    EXPECT_EQ(next(), 6U) << "once";
    acknowledge({1, 4, {}, false});
    EXPECT_EQ(next(), 7U);
    EXPECT_EQ(stream_.kept(), 4U);
}

// Which of two was answered is not known (RFC 6298 section 3): it would make a long way look short.
TEST_F(SyncSendStream, WhatWasSentTwiceIsNotMeasured) {
    now_ += 120ms;
    for (std::uint64_t number = 0; number < 5; ++number) EXPECT_EQ(next(), number);
    now_ += 1ms;
    acknowledge({1, 5, {}, false});
    for (std::uint64_t number = 5; number < 5 + kWindow; ++number) EXPECT_EQ(next(), number);
    now_ += 40ms;
    EXPECT_EQ(next(), std::nullopt);
    now_ += 200ms;
    EXPECT_EQ(next(), 5U);
}

TEST_F(SyncSendStream, NoMoreIsKeptThanTheWindow) {
    while (next()) {
    }
    EXPECT_EQ(stream_.kept(), kWindow);
    EXPECT_GT(stream_.wake(now_, true), now_);
}

TEST_F(SyncSendStream, WhatCannotBeAcknowledgedIsAnotherReceiversState) {
    acknowledge({1, 3, {}, false});
    for (const auto next_expected : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{100}, ~std::uint64_t{0}}) {
        const auto begun = source_.begun;
        acknowledge({stream_.begun(), next_expected, {0xff}, false});
        EXPECT_EQ(next(), 0U) << next_expected;
        EXPECT_EQ(source_.begun, begun + 1);
        next();
        next();
        acknowledge({stream_.begun(), 3, {}, false});
    }
}

TEST_F(SyncSendStream, AnOlderAcknowledgementOrOneOfAnotherStreamIsOfNoUse) {
    stream_.acknowledged({1, 3, {}, false}, 10, 20ms, now_);
    stream_.acknowledged({1, 1, {}, false}, 9, 20ms, now_);
    stream_.acknowledged({2, 4, {}, true}, 11, 20ms, now_);
    stream_.acknowledged({0, 4, {}, true}, 12, 20ms, now_);
    EXPECT_EQ(stream_.kept(), 2U);
    EXPECT_EQ(source_.begun, 1U);
}

class SyncReceiveStream : public testing::Test {
  protected:
    bool receive(std::uint64_t number, std::uint64_t stream = 1) {
        return stream_.received({stream, number, false, {}}, now_);
    }

    TestSink sink_;
    ReceiveStream stream_{sink_, kWindow, 20ms};
    TimePoint now_{std::chrono::hours{1}};
};

TEST_F(SyncReceiveStream, NoMoreIsKeptThanTheWindow) {
    receive(0);
    for (std::uint64_t number = 2; number < 100; ++number) receive(number);
    EXPECT_EQ(stream_.kept(), kWindow - 1);
    const auto ack = stream_.next(now_);
    ASSERT_TRUE(ack.has_value());
    EXPECT_EQ(ack->next, 1U);
    EXPECT_EQ(ack->beyond[0], 0x7f);
    EXPECT_FALSE(ack->anew);
    receive(1);
    EXPECT_EQ(stream_.kept(), 0U);
    now_ += 10ms;
    EXPECT_EQ(stream_.next(now_)->next, kWindow + 1);
}

TEST_F(SyncReceiveStream, BeginsWhereTheFirstIsStillToCome) {
    receive(2, 7);
    EXPECT_EQ(sink_.begun, 0U);
    receive(0, 7);
    EXPECT_EQ(sink_.begun, 1U);
    receive(1, 6);
    receive(0, 6);
    EXPECT_EQ(sink_.begun, 1U) << "an older stream";
    receive(1, 7);
    EXPECT_EQ(stream_.kept(), 0U);
    receive(kWindow, 9);
    const auto ask = stream_.next(now_);
    ASSERT_TRUE(ask.has_value());
    EXPECT_TRUE(ask->anew) << "what came before so high a number is not coming any more";
    EXPECT_EQ(ask->stream, 9U);
}

}  // namespace
}  // namespace fairlead::sync
