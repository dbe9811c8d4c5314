// SPDX-License-Identifier: Apache-2.0
// Hellos between the lbd's of a fleet: who a node is, and digests of what all must have alike. VRRP adverts cannot carry
// that: keepalived may be the peer. Bytes to values and back, with every check. Pure; no exceptions; whatever the bytes,
// nothing beyond them is read.
//
// Nothing in them is authenticated. They come from the same link, by their TTL of 255, and from the configured peers where
// there are any; whoever can send from a peer's address on that link can forge them. No role and no packet depends on them:
// a forger can show a node that is not there, hide or pretend a difference, and have `lbctl failover --to` refused, or let
// through to the node that VRRP chooses. Whatever arrives is checked in full, counted by reason where it is refused, and
// remembered of a bounded number of senders.
//
// Layout, all numbers in network order; what is not used is zero:
//     0  "FLHI"    4  version 1    5  flags: 1 = an answer    6  bytes of the name    7  groups
//     8  ABI of the tables    12  hash key id    16  digest of the config    24  name    88  groups, 4 bytes each:
//        VRID, state (0 initialize, 1 backup, 2 active), priority, flags: 1 = may take over
// All are equally long: an answer is never larger than what it answers.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "ctl/ha/named_enum.h"
#include "ctl/ha/vrrp_instance.h"

namespace fairlead::ha {

inline constexpr std::uint8_t kHelloTtl = 255;
inline constexpr std::uint8_t kHelloVersion = 1;
inline constexpr std::size_t kHelloNameBytes = 64;  // a name has at most 63
inline constexpr std::size_t kHelloGroups = 255;    // as many as there are VRIDs
inline constexpr std::size_t kHelloHeaderBytes = 24;
inline constexpr std::size_t kHelloGroupBytes = 4;
inline constexpr std::size_t kHelloBytes = kHelloHeaderBytes + kHelloNameBytes + kHelloGroups * kHelloGroupBytes;

struct HelloGroup {
    std::uint8_t vrid = 0;
    State state = State::kInitialize;
    std::uint8_t priority = 0;   // as tracking leaves it
    bool may_take_over = false;  // it is ready, and nothing forbids it
    bool operator==(const HelloGroup&) const = default;
};

struct Hello {
    bool answer = false;
    std::uint32_t abi = 0;            // FL_ABI
    std::uint32_t key_id = 0;         // fl_meta.hash_key_id
    std::uint64_t config_digest = 0;  // plan::shared_digest()
    std::string name;                 // of the node
    std::vector<HelloGroup> groups;   // at most kHelloGroups
    bool operator==(const Hello&) const = default;
};

// Why a hello that arrived was not believed: X(symbol, "name and metric label", "help").
#define FAIRLEAD_HELLO_REFUSALS(X)                                                                     \
    X(kTtl, "ttl", "TTL or hop limit is not 255: it has passed a router")                              \
    X(kLength, "length", "not as long as a hello")                                                     \
    X(kMagic, "magic", "not a hello")                                                                  \
    X(kVersion, "version", "of a version that this node does not know")                                \
    X(kContent, "content", "a name, state, flag or filling that cannot be")                            \
    X(kOwnAddress, "own_address", "from this node's own address: a loop, or an address that is twice") \
    X(kPeer, "peer", "not from one of the configured peers")                                           \
    X(kFull, "full", "from more nodes than a fleet has")

FAIRLEAD_NAMED_ENUM(HelloRefusal, FAIRLEAD_HELLO_REFUSALS, help_of)
inline constexpr std::size_t kHelloRefusals = kHelloRefusalTexts.size();

using HelloBuffer = std::array<std::uint8_t, kHelloBytes>;
// A name that is too long is cut off, groups beyond kHelloGroups are left out.
HelloBuffer encode_hello(const Hello& hello);
// All checks that need no configuration. `ttl`: that it arrived with.
tl::expected<Hello, HelloRefusal> decode_hello(std::span<const std::uint8_t> bytes, int ttl);

}  // namespace fairlead::ha
