// SPDX-License-Identifier: Apache-2.0
// What the benchmarks of the data path send, and what must come out of it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fairlead::bench {

using Frame = std::vector<std::uint8_t>;

// A TCP segment with ACK from the gateway, in a frame of 64 bytes or as much as it needs.
Frame packet4(const char* destination);
Frame packet6(const char* destination);
// A SYN without a checksum: one that is right for some flows would be that of an unfinished one for others.
Frame syn4(const char* destination);

// Another flow in an IPv4 frame for each number: low half of the source address, and source port, as the driver's
// prepare4() does it. The header's checksum stays.
void set_flow(Frame& frame, std::uint32_t number);

// Sum of the IPv4 header's 16-bit words without the checksum and the low half of the source.
std::uint32_t header_sum(std::span<const std::uint8_t> header);

// What is wrong with the frame that came of `sent`, `grown` bytes longer than it, or "". The flow may be any, and the
// inner header's checksum with it.
std::string fault_of(const Frame& sent, std::span<const std::uint8_t> out, std::size_t grown);

}  // namespace fairlead::bench
