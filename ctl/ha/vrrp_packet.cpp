// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/vrrp_packet.h"

#include <algorithm>

#include "ctl/ha/internet_checksum.h"

namespace fairlead::ha {

namespace {

constexpr std::uint8_t kVersion3 = 3;
constexpr std::uint8_t kVersion2 = 2;
constexpr std::uint8_t kTypeAdvert = 1;
// Offsets in the fixed part (RFC 9568 section 5.1).
constexpr std::size_t kVridAt = 1, kPriorityAt = 2, kCountAt = 3, kIntervalAt = 4, kChecksumAt = 6;
constexpr std::size_t kVersion2AuthenticationAt = 4;  // RFC 2338 section 5.1

std::uint16_t checksum(std::span<const std::uint8_t> message, const IpAddress& source, const IpAddress& destination,
                       bool pseudo_header) {
    InternetChecksum sum;
    sum.add(message);
    if (pseudo_header)
        sum.add_pseudo_header(source, destination, kVrrpProtocol, static_cast<std::uint32_t>(message.size()));
    return sum.value();
}

AdvertRefusal version_refusal(std::span<const std::uint8_t> message) {
    const bool secret = message[0] >> 4 == kVersion2 && message[kVersion2AuthenticationAt] != 0;
    return secret ? AdvertRefusal::kAuthentication : AdvertRefusal::kVersion;
}

bool is_unicast_pair(const Arrival& arrival) {
    return arrival.source.is_v4() == arrival.destination.is_v4() && !arrival.source.is_multicast() &&
           !arrival.source.is_unspecified();
}

IpAddress address_at(std::span<const std::uint8_t> bytes, std::size_t size, std::size_t index) {
    const auto part = bytes.subspan(index * size, size);
    if (size == 4) return IpAddress::from_v4(part.first<4>());
    IpAddress::Bytes whole{};
    std::copy(part.begin(), part.end(), whole.begin());
    return IpAddress(whole);
}

}  // namespace

IpAddress Advert::address(std::size_t index) const {
    return address_at(address_bytes, source.family_bytes().size(), index);
}

tl::expected<Advert, AdvertRefusal> decode_advert(std::span<const std::uint8_t> message, const Arrival& arrival) {
    const auto refuse = [](AdvertRefusal why) { return tl::unexpected(why); };
    if (arrival.ttl != kVrrpTtl) return refuse(AdvertRefusal::kTtl);
    if (!is_unicast_pair(arrival)) return refuse(AdvertRefusal::kFamily);
    if (message.size() < kAdvertHeaderBytes) return refuse(AdvertRefusal::kLength);
    if (message[0] >> 4 != kVersion3) return refuse(version_refusal(message));
    if ((message[0] & 0xf) != kTypeAdvert) return refuse(AdvertRefusal::kType);
    const std::size_t count = message[kCountAt];
    const std::size_t address_size = arrival.source.family_bytes().size();
    if (message.size() != kAdvertHeaderBytes + count * address_size) return refuse(AdvertRefusal::kLength);
    if (count == 0) return refuse(AdvertRefusal::kCount);

    const bool with = checksum(message, arrival.source, arrival.destination, true) == 0;
    const bool without = arrival.source.is_v4() && checksum(message, arrival.source, arrival.destination, false) == 0;
    if (!with && !without) return refuse(AdvertRefusal::kChecksum);

    const auto interval = static_cast<std::uint16_t>((message[kIntervalAt] & 0xf) << 8 | message[kIntervalAt + 1]);
    if (interval == 0) return refuse(AdvertRefusal::kInterval);
    return Advert{message[kVridAt],       message[kPriorityAt],
                  Centiseconds(interval), with,
                  arrival.source,         message.subspan(kAdvertHeaderBytes)};
}

AddressMatch compare_addresses(const Advert& advert, std::span<const IpAddress> ours) {
    std::size_t common = 0;
    for (std::size_t i = 0; i < advert.addresses(); ++i)
        common += std::find(ours.begin(), ours.end(), advert.address(i)) != ours.end() ? 1 : 0;
    if (common == 0) return AddressMatch::kNoneOfOurs;
    return common == advert.addresses() && common == ours.size() ? AddressMatch::kSame : AddressMatch::kDifferent;
}

AdvertBuffer encode_advert(const AdvertToSend& advert) {
    AdvertBuffer buffer;
    auto& out = buffer.bytes;
    out[0] = kVersion3 << 4 | kTypeAdvert;
    out[kVridAt] = advert.vrid;
    out[kPriorityAt] = advert.priority;
    const auto interval = std::clamp(advert.interval, kIntervalMinimum, kIntervalMaximum).count();
    out[kIntervalAt] = static_cast<std::uint8_t>(interval >> 8);
    out[kIntervalAt + 1] = static_cast<std::uint8_t>(interval);

    const std::size_t most = advert.source.is_v4() ? kAdvertAddresses4 : kAdvertAddresses6;
    std::size_t count = 0;
    buffer.size = kAdvertHeaderBytes;
    for (const auto& address : advert.addresses) {
        if (address.is_v4() != advert.source.is_v4() || count == most) continue;
        const auto bytes = address.family_bytes();
        std::copy(bytes.begin(), bytes.end(), out.begin() + static_cast<std::ptrdiff_t>(buffer.size));
        buffer.size += bytes.size();
        ++count;
    }
    out[kCountAt] = static_cast<std::uint8_t>(count);

    const auto sum =
        checksum(buffer.span(), advert.source, advert.destination, advert.pseudo_header || advert.source.is_v6());
    out[kChecksumAt] = static_cast<std::uint8_t>(sum >> 8);
    out[kChecksumAt + 1] = static_cast<std::uint8_t>(sum);
    return buffer;
}

}  // namespace fairlead::ha
