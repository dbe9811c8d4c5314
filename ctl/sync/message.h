// SPDX-License-Identifier: Apache-2.0
// One datagram of the state sync: values to authenticated bytes and back, with every check (docs/sync-protocol.md has the
// layout). Whatever the bytes, nothing beyond them is read, and nothing is believed of what has not the right MAC.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>

#include "ctl/sync/session.h"

struct evp_mac_ctx_st;  // OpenSSL's

namespace fairlead::sync {

inline constexpr std::uint8_t kSyncVersion = 1;
inline constexpr std::size_t kHeaderBytes = 48;  // before the name
inline constexpr std::size_t kMacBytes = 16;
inline constexpr std::size_t kHelloBytes = 8;
inline constexpr std::size_t kDataBytes = 17;  // before the records
inline constexpr std::size_t kBitmapBytes = 64;
inline constexpr std::size_t kAckBytes = 17 + kBitmapBytes;
inline constexpr std::chrono::milliseconds kLongestInterval{60'000};

using MessageBuffer = std::array<std::uint8_t, kMessageBytes>;

// Says who is there, and asks who is.
struct Hello {
    std::uint64_t answers = 0;  // the counter of the receiver's message that it answers; 0: none
};

// A message of the sender's stream.
struct Data {
    std::uint64_t stream = 0;  // from 1, goes up
    std::uint64_t number = 0;  // from 0 in each stream
    bool caught_up = false;    // there was nothing more to tell when it was made
    std::span<const std::uint8_t> records;
};

// What the sender has of the receiver's stream.
struct Ack {
    std::uint64_t stream = 0;
    std::uint64_t next = 0;                           // all before it
    std::array<std::uint8_t, kBitmapBytes> beyond{};  // bit i (of byte i / 8, from the lowest): number next + 1 + i
    bool anew = false;                                // it cannot follow: begin another
};

struct Message {
    std::uint64_t nonce = 0;    // of the sender
    std::uint64_t heard = 0;    // the receiver's, as the sender knows it; 0: not yet
    std::uint64_t counter = 0;  // goes up with each message of a nonce
    Common common;
    std::chrono::milliseconds interval{0};
    bool has_state = false;
    std::string_view name;
    std::variant<Hello, Data, Ack> body;
};

// HMAC-SHA-256 with one key, cut to kMacBytes (RFC 2104 section 5).
class Authenticator {
  public:
    using Mac = std::array<std::uint8_t, kMacBytes>;
    explicit Authenticator(const Key& key);

    Mac mac(std::span<const std::uint8_t> bytes);
    // In a time that does not tell where they differ.
    bool is_right(std::span<const std::uint8_t> bytes, std::span<const std::uint8_t, kMacBytes> mac);

  private:
    struct Free {
        void operator()(evp_mac_ctx_st* context) const;
    };
    std::unique_ptr<evp_mac_ctx_st, Free> context_;
};

// Room for the records of a Data message of a node of this name.
std::size_t data_room(std::string_view name);

// The bytes in `buffer` that make the message up; records beyond data_room() are a fault of the caller.
std::span<const std::uint8_t> encode_message(const Message& message, Authenticator& authenticator,
                                             MessageBuffer& buffer);
// Name and records are in `bytes`.
tl::expected<Message, SyncRefusal> decode_message(std::span<const std::uint8_t> bytes, Authenticator& authenticator);

}  // namespace fairlead::sync
