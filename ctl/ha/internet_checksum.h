// SPDX-License-Identifier: Apache-2.0
// The Internet checksum (RFC 1071) of what this folder sends and receives. Pure.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/tables/address.h"

namespace fairlead::ha {

class InternetChecksum {
  public:
    // Network order. A part of odd length may only be the last.
    void add(std::span<const std::uint8_t> bytes);
    // The pseudo-header of the addresses' family: RFC 793 section 3.1, RFC 8200 section 8.1.
    void add_pseudo_header(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                           std::uint32_t length);

    // Host order; 0 over a range that holds its own right checksum.
    std::uint16_t value() const;

  private:
    std::uint64_t sum_ = 0;
};

}  // namespace fairlead::ha
