// SPDX-License-Identifier: Apache-2.0
// IP and MAC addresses as the tables hold them: 16 bytes in network byte order, IPv4 as its RFC 4291
// section 2.5.5.2 IPv4-mapped form. Plain values; safe to copy between threads.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "dataplane/tables/result.h"

namespace fairlead {

class IpAddress {
  public:
    using Bytes = std::array<std::uint8_t, 16>;

    IpAddress() = default;  // "::"
    explicit IpAddress(const Bytes& bytes) : bytes_(bytes) {}
    static IpAddress from_v4(std::span<const std::uint8_t, 4> network_order);

    // "192.0.2.1" or "2001:db8::1"; no prefix length, no zone, no port, no leading zeros.
    static Result<IpAddress> parse(std::string_view text);

    bool is_v4() const;
    bool is_v6() const { return !is_v4(); }
    bool is_unspecified() const;
    bool is_multicast() const;
    bool is_loopback() const;
    bool is_link_local() const;

    const Bytes& bytes() const { return bytes_; }
    // The address as its family writes it: 4 or 16 bytes, network order.
    std::span<const std::uint8_t> family_bytes() const;
    std::string to_string() const;

    auto operator<=>(const IpAddress&) const = default;

  private:
    Bytes bytes_{};
};

// An address and a prefix length in the address's own family (0-32 or 0-128).
struct IpPrefix {
    IpAddress address;
    int length = 0;

    // "192.0.2.0/24"; host bits must be zero.
    static Result<IpPrefix> parse(std::string_view text);
    bool contains(const IpAddress& other) const;
    std::string to_string() const;
    auto operator<=>(const IpPrefix&) const = default;
};

struct MacAddress {
    std::array<std::uint8_t, 6> bytes{};

    // "02:00:5e:00:53:01"
    static Result<MacAddress> parse(std::string_view text);
    bool is_zero() const;
    bool is_multicast() const { return (bytes[0] & 1) != 0; }  // or broadcast
    std::string to_string() const;
    auto operator<=>(const MacAddress&) const = default;
};

}  // namespace fairlead

template <>
struct std::hash<fairlead::IpAddress> {
    std::size_t operator()(const fairlead::IpAddress& a) const noexcept {
        return std::hash<std::string_view>{}({reinterpret_cast<const char*>(a.bytes().data()), a.bytes().size()});
    }
};
