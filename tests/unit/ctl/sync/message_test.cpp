// SPDX-License-Identifier: Apache-2.0
#include "ctl/sync/message.h"

#include <gtest/gtest.h>

#include <vector>

#include "ctl/sync/replay_window.h"

namespace fairlead::sync {
namespace {

using Bytes = std::vector<std::uint8_t>;
using namespace std::chrono_literals;

Key key(std::uint8_t fill) {
    Key made;
    made.bytes.fill(fill);
    return made;
}

class SyncMessage : public testing::Test {
  protected:
    Message sample(std::variant<Hello, Data, Ack> body) const {
        return {0x0102030405060708, 0x1112131415161718, 3, {1, 0x1a2b3c4d, 4096}, 20ms, true, "lb-a", body};
    }
    Bytes encode(const Message& message) {
        MessageBuffer buffer{};
        const auto bytes = encode_message(message, authenticator_, buffer);
        return {bytes.begin(), bytes.end()};
    }
    std::optional<SyncRefusal> refusal(const Bytes& bytes) {
        const auto message = decode_message(bytes, authenticator_);
        return message ? std::nullopt : std::optional(message.error());
    }
    // With the MAC made right again: what somebody with the key could send.
    std::optional<SyncRefusal> refusal_with(Bytes bytes, std::size_t at, std::uint8_t value) {
        bytes.at(at) = value;
        return refusal(signed_again(bytes));
    }
    Bytes signed_again(Bytes bytes) {
        bytes.erase(bytes.end() - std::ptrdiff_t{kMacBytes}, bytes.end());
        const auto mac = authenticator_.mac(bytes);
        bytes.insert(bytes.end(), mac.begin(), mac.end());
        return bytes;
    }

    Authenticator authenticator_{key(7)};
};

// RFC 4231 section 4.2, its first 16 bytes; the key there is 20 bytes, and a shorter key is filled up with zeros.
TEST_F(SyncMessage, MacIsHmacSha256) {
    Key rfc;
    std::fill_n(rfc.bytes.begin(), 20, std::uint8_t{0x0b});
    Authenticator authenticator(rfc);
    const Bytes data = {'H', 'i', ' ', 'T', 'h', 'e', 'r', 'e'};
    const Authenticator::Mac expected = {0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53,
                                         0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b};
    for (int again = 0; again < 2; ++again) EXPECT_EQ(authenticator.mac(data), expected);
    EXPECT_TRUE(authenticator.is_right(data, expected));
}

TEST_F(SyncMessage, BytesAreAsDocumented) {
    const auto bytes = encode(sample(Hello{5}));
    const Bytes head = {'F',  'L',  'S',  'Y',  1, 1, 1, 4,  1,   2,   3,   4,   5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14,
                        0x15, 0x16, 0x17, 0x18, 0, 0, 0, 0,  0,   0,   0,   3,   0, 0, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d,
                        0,    0,    0x10, 0,    0, 0, 0, 20, 'l', 'b', '-', 'a', 0, 0, 0, 0, 0,    0,    0,    5};
    ASSERT_EQ(bytes.size(), head.size() + kMacBytes);
    EXPECT_TRUE(std::equal(head.begin(), head.end(), bytes.begin()));
}

TEST_F(SyncMessage, WhatIsWrittenIsRead) {
    const Bytes records(data_room("lb-a"), 0xcd);
    Ack ack{9, 10, {}, true};
    ack.beyond[0] = 0x81;
    ack.beyond[kBitmapBytes - 1] = 0x80;
    const auto hello = encode(sample(Hello{77}));
    const auto longest = encode(sample(Data{1, 2, true, records}));
    const auto acknowledged = encode(sample(ack));
    EXPECT_EQ(longest.size(), kMessageBytes);
    const auto read_hello = decode_message(hello, authenticator_);
    const auto read_data = decode_message(longest, authenticator_);
    const auto read_ack = decode_message(acknowledged, authenticator_);
    ASSERT_TRUE(read_hello && read_data && read_ack);
    EXPECT_EQ(read_hello->nonce, 0x0102030405060708U);
    EXPECT_EQ(read_hello->heard, 0x1112131415161718U);
    EXPECT_EQ(read_hello->counter, 3U);
    EXPECT_EQ(read_hello->common, (Common{1, 0x1a2b3c4d, 4096}));
    EXPECT_EQ(read_hello->interval, 20ms);
    EXPECT_TRUE(read_hello->has_state);
    EXPECT_EQ(read_hello->name, "lb-a");
    EXPECT_EQ(std::get<Hello>(read_hello->body).answers, 77U);
    const auto& data = std::get<Data>(read_data->body);
    EXPECT_EQ(data.stream, 1U);
    EXPECT_EQ(data.number, 2U);
    EXPECT_TRUE(data.caught_up);
    EXPECT_EQ(Bytes(data.records.begin(), data.records.end()), records);
    const auto& read = std::get<Ack>(read_ack->body);
    EXPECT_EQ(read.stream, 9U);
    EXPECT_EQ(read.next, 10U);
    EXPECT_EQ(read.beyond, ack.beyond);
    EXPECT_TRUE(read.anew);
}

TEST_F(SyncMessage, EveryFlippedBitIsRefused) {
    const Bytes records = {6, 0, 0, 0};
    for (const auto& good :
         {encode(sample(Hello{})), encode(sample(Data{1, 2, false, records})), encode(sample(Ack{1, 2, {}, false}))}) {
        EXPECT_EQ(refusal(good), std::nullopt);
        for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
            auto bytes = good;
            bytes[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
            const auto expected = bit / 8 < 4    ? SyncRefusal::kMagic
                                  : bit / 8 == 4 ? SyncRefusal::kVersion
                                                 : SyncRefusal::kMac;
            EXPECT_EQ(refusal(bytes), expected) << bit;
        }
    }
}

TEST_F(SyncMessage, EveryTruncationIsRefused) {
    const Bytes records = {6, 0, 0, 0};
    const auto good = encode(sample(Data{1, 2, false, records}));
    for (std::size_t size = 0; size < good.size(); ++size) {
        const Bytes cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
        EXPECT_EQ(refusal(cut), size <= kHeaderBytes + kMacBytes ? SyncRefusal::kLength : SyncRefusal::kMac) << size;
        // By somebody with the key: what is too short for its type, or for its name.
        if (size <= kHeaderBytes + kMacBytes || size >= good.size() - records.size()) continue;
        EXPECT_TRUE(refusal(signed_again(cut)).has_value()) << size;
    }
    EXPECT_EQ(refusal(Bytes(kMessageBytes + 1, 0)), SyncRefusal::kLength);
}

TEST_F(SyncMessage, AnotherKeyIsRefused) {
    Authenticator other(key(8));
    EXPECT_EQ(decode_message(encode(sample(Hello{})), other).error(), SyncRefusal::kMac);
}

TEST_F(SyncMessage, ContentIsCheckedThoughTheMacIsRight) {
    const auto hello = encode(sample(Hello{}));
    EXPECT_EQ(refusal_with(hello, 5, 0), SyncRefusal::kContent) << "type";
    EXPECT_EQ(refusal_with(hello, 5, 2), SyncRefusal::kContent) << "too short for data";
    EXPECT_EQ(refusal_with(hello, 5, 3), SyncRefusal::kContent) << "too short for an ack";
    EXPECT_EQ(refusal_with(hello, 5, 4), SyncRefusal::kContent) << "type";
    EXPECT_EQ(refusal_with(hello, 7, 255), SyncRefusal::kLength) << "a name beyond the end";
    EXPECT_EQ(refusal_with(hello, 7, 0), SyncRefusal::kContent) << "no name";
    EXPECT_EQ(refusal_with(hello, 48, 0x1b), SyncRefusal::kContent) << "for a terminal";
    EXPECT_EQ(refusal_with(hello, 47, 0), SyncRefusal::kContent) << "no interval";
    EXPECT_EQ(refusal_with(hello, 44, 1), SyncRefusal::kContent) << "an interval of hours";
    auto nobody = sample(Hello{});
    nobody.nonce = 0;
    EXPECT_EQ(refusal(encode(nobody)), SyncRefusal::kContent);
    EXPECT_EQ(refusal(encode(sample(Data{0, 0, false, {}}))), SyncRefusal::kContent) << "no stream";
    EXPECT_EQ(refusal_with(hello, 6, 0xff), std::nullopt) << "flags of a later version";
}

TEST(SyncReplayWindow, EachNumberOnceAndNoneTooOld) {
    ReplayWindow window;
    EXPECT_TRUE(window.take(5000));
    EXPECT_FALSE(window.take(5000));
    for (std::uint64_t number = 5000 - ReplayWindow::kNumbers + 1; number < 5000; ++number) {
        EXPECT_TRUE(window.take(number)) << number;
        EXPECT_FALSE(window.take(number)) << number;
    }
    EXPECT_FALSE(window.take(5000 - ReplayWindow::kNumbers));
    EXPECT_FALSE(window.take(0));
    EXPECT_TRUE(window.take(5010));
    for (std::uint64_t number = 5001; number < 5010; ++number) EXPECT_TRUE(window.take(number)) << number;
    EXPECT_FALSE(window.take(5000));
    EXPECT_TRUE(window.take(5010 + ReplayWindow::kNumbers));
    EXPECT_FALSE(window.take(5010));
    EXPECT_TRUE(window.take(5011));
    EXPECT_TRUE(window.take(~0ULL));
    EXPECT_FALSE(window.take(~0ULL));
    EXPECT_FALSE(window.take(6000));
    EXPECT_TRUE(window.take(~0ULL - 1));
}

}  // namespace
}  // namespace fairlead::sync
