// SPDX-License-Identifier: Apache-2.0
// VRRP version 3 adverts (RFC 9568 section 5), bytes to values and back, and every check that a received one must pass
// (section 7.1). Pure: no I/O, no allocation, no exceptions; whatever the bytes, nothing beyond them is read.
//
// For IPv4, implementations differ in whether the checksum covers a pseudo-header. Both are accepted, the advert says
// which it was, and whoever answers may do as the peer does. For IPv6 it is always covered.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <string_view>
#include <tl/expected.hpp>

#include "ctl/ha/named_enum.h"
#include "dataplane/tables/address.h"

namespace fairlead::ha {

// Why an advert that arrived was not believed: X(symbol, "name and metric label", "help").
#define FAIRLEAD_ADVERT_REFUSALS(X)                                                                     \
    X(kTtl, "ttl", "TTL or hop limit is not 255: it has passed a router")                               \
    X(kVersion, "version", "not VRRP version 3")                                                        \
    X(kAuthentication, "authentication", "VRRP version 2 with authentication, which version 3 has not") \
    X(kType, "type", "not an advertisement")                                                            \
    X(kVrid, "vrid", "for a VRID that no instance of this interface has")                               \
    X(kLength, "length", "shorter or longer than its address count says")                               \
    X(kCount, "count", "names no address")                                                              \
    X(kChecksum, "checksum", "wrong checksum")                                                          \
    X(kInterval, "interval", "an advert interval of zero")                                              \
    X(kAddresses, "addresses", "names none of our addresses: another group with our VRID")              \
    X(kFamily, "family", "not from a unicast address of its own family")                                \
    X(kOwnAddress, "own_address", "from this node's own address: a loop, or an address that is twice")  \
    X(kPeer, "peer", "not from one of the configured peers")

FAIRLEAD_NAMED_ENUM(AdvertRefusal, FAIRLEAD_ADVERT_REFUSALS, help_of)
inline constexpr std::size_t kAdvertRefusals = kAdvertRefusalTexts.size();

inline constexpr std::uint8_t kVrrpProtocol = 112;
inline constexpr std::uint8_t kVrrpTtl = 255;
inline constexpr std::uint8_t kPriorityStop = 0;     // the active gives up
inline constexpr std::uint8_t kPriorityOwner = 255;  // the owner of the addresses
inline constexpr std::size_t kAdvertHeaderBytes = 8;
// As many addresses as the count can say and, behind an IPv6 header, an Ethernet frame holds.
inline constexpr std::size_t kAdvertAddresses4 = 255;
inline constexpr std::size_t kAdvertAddresses6 = 90;
inline constexpr std::size_t kAdvertBytes = kAdvertHeaderBytes + kAdvertAddresses6 * 16;

// The advert interval travels in 12 bits of centiseconds.
using Centiseconds = std::chrono::duration<std::uint16_t, std::centi>;
inline constexpr Centiseconds kIntervalMinimum{1};
inline constexpr Centiseconds kIntervalMaximum{4095};

// A received advert that is well formed. The addresses lie in the caller's buffer.
struct Advert {
    std::uint8_t vrid = 0;
    std::uint8_t priority = 0;
    Centiseconds interval{};
    bool pseudo_header = true;  // covered by the checksum
    IpAddress source;
    std::span<const std::uint8_t> address_bytes;  // network order, 4 or 16 bytes each, by the source's family

    std::size_t addresses() const { return address_bytes.size() / source.family_bytes().size(); }
    IpAddress address(std::size_t index) const;  // index < addresses()
};

// From where and how a VRRP message came: the IP header, or what the kernel says beside the message.
struct Arrival {
    IpAddress source;
    IpAddress destination;
    int ttl = 0;
};

// All checks that need no configuration.
tl::expected<Advert, AdvertRefusal> decode_advert(std::span<const std::uint8_t> message, const Arrival& arrival);

// Whether the advert names what `ours` names, in any order.
enum class AddressMatch { kSame, kDifferent, kNoneOfOurs };
AddressMatch compare_addresses(const Advert& advert, std::span<const IpAddress> ours);

struct AdvertBuffer {
    std::array<std::uint8_t, kAdvertBytes> bytes{};
    std::size_t size = 0;
    std::span<const std::uint8_t> span() const { return {bytes.data(), size}; }
};

struct AdvertToSend {
    std::uint8_t vrid = 0;
    std::uint8_t priority = 0;
    Centiseconds interval{};
    bool pseudo_header = true;
    IpAddress source = {};
    IpAddress destination = {};
    std::span<const IpAddress> addresses;  // those of the source's family are sent, as many as fit
};
AdvertBuffer encode_advert(const AdvertToSend& advert);

}  // namespace fairlead::ha
