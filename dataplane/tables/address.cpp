// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace fairlead {
namespace {
constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool bits_equal(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b, int bits) {
    const auto whole = static_cast<std::size_t>(bits / 8);
    if (!std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(whole), b.begin())) return false;
    if (bits % 8 == 0) return true;
    const auto mask = static_cast<std::uint8_t>(0xff << (8 - bits % 8));
    return (a[whole] & mask) == (b[whole] & mask);
}
}  // namespace

IpAddress IpAddress::from_v4(std::span<const std::uint8_t, 4> network_order) {
    Bytes bytes{};
    std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), bytes.begin());
    std::copy(network_order.begin(), network_order.end(), bytes.begin() + 12);
    return IpAddress(bytes);
}

Result<IpAddress> IpAddress::parse(std::string_view text) {
    const std::string copy(text);
    std::array<std::uint8_t, 4> v4{};
    if (inet_pton(AF_INET, copy.c_str(), v4.data()) == 1) return from_v4(v4);
    Bytes bytes{};
    if (inet_pton(AF_INET6, copy.c_str(), bytes.data()) == 1) return IpAddress(bytes);
    return fail("'" + copy + "' is not an IPv4 or IPv6 address", EINVAL);
}

bool IpAddress::is_v4() const { return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes_.begin()); }

bool IpAddress::is_unspecified() const {
    const auto family = family_bytes();
    return std::all_of(family.begin(), family.end(), [](std::uint8_t b) { return b == 0; });
}

bool IpAddress::is_multicast() const { return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff; }

bool IpAddress::is_loopback() const {
    if (is_v4()) return bytes_[12] == 127;
    return std::all_of(bytes_.begin(), bytes_.begin() + 15, [](std::uint8_t b) { return b == 0; }) && bytes_[15] == 1;
}

bool IpAddress::is_link_local() const {
    if (is_v4()) return bytes_[12] == 169 && bytes_[13] == 254;
    return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

std::span<const std::uint8_t> IpAddress::family_bytes() const {
    const std::span<const std::uint8_t> all(bytes_);
    return is_v4() ? all.subspan(12) : all;
}

std::string IpAddress::to_string() const {
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(is_v4() ? AF_INET : AF_INET6, family_bytes().data(), text.data(), text.size());
    return text.data();
}

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) return fail("'" + std::string(text) + "' has no prefix length", EINVAL);
    auto address = IpAddress::parse(text.substr(0, slash));
    if (!address) return tl::unexpected(address.error());
    const auto digits = text.substr(slash + 1);
    int length = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
    const int limit = address->is_v4() ? 32 : 128;
    if (error != std::errc{} || end != digits.data() + digits.size() || length < 0 || length > limit)
        return fail("'" + std::string(text) + "': the prefix length is not 0 to " + std::to_string(limit), EINVAL);
    IpPrefix prefix{*address, length};
    const auto family = address->family_bytes();
    for (int bit = length; bit < limit; ++bit)
        if (family[static_cast<std::size_t>(bit / 8)] & (0x80 >> (bit % 8)))
            return fail("'" + std::string(text) + "' has host bits set", EINVAL);
    return prefix;
}

bool IpPrefix::contains(const IpAddress& other) const {
    return address.is_v4() == other.is_v4() && bits_equal(address.family_bytes(), other.family_bytes(), length);
}

std::string IpPrefix::to_string() const { return address.to_string() + "/" + std::to_string(length); }

Result<MacAddress> MacAddress::parse(std::string_view text) {
    MacAddress mac;
    const std::string copy(text);
    int used = 0;
    auto& b = mac.bytes;
    if (copy.size() != 17 ||
        std::sscanf(copy.c_str(), "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
                    &used) != 6 ||
        used != 17)
        return fail("'" + copy + "' is not a MAC address", EINVAL);
    return mac;
}

bool MacAddress::is_zero() const {
    return std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; });
}

std::string MacAddress::to_string() const {
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3],
                  bytes[4], bytes[5]);
    return text.data();
}

}  // namespace fairlead
