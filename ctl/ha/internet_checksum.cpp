// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/internet_checksum.h"

namespace fairlead::ha {

void InternetChecksum::add(std::span<const std::uint8_t> bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) sum_ += i % 2 == 0 ? std::uint64_t{bytes[i]} << 8 : bytes[i];
}

// Both families' pseudo-headers add up to the same: addresses, length and protocol, with zeroes between.
void InternetChecksum::add_pseudo_header(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                                         std::uint32_t length) {
    add(source.family_bytes());
    add(destination.family_bytes());
    sum_ += length + std::uint64_t{protocol};
}

std::uint16_t InternetChecksum::value() const {
    std::uint64_t sum = sum_;
    while ((sum >> 16) != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

}  // namespace fairlead::ha
