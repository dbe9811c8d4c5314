// SPDX-License-Identifier: Apache-2.0
// Writes packets as Wireshark's own format has them: draft-ietf-opsawg-pcapng, one section of this machine's byte order.
// Times are in nanoseconds. One thread.
#pragma once

#include <cstdint>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

namespace fairlead::lbctl {

struct PcapngPacket {
    enum class Direction { kInbound = 1, kOutbound = 2 };  // values of epb_flags, section 4.3.1

    std::uint32_t interface = 0;    // of add_interface()
    std::uint64_t realtime_ns = 0;  // CLOCK_REALTIME
    std::uint32_t length = 0;       // bytes of the frame, of which `bytes` is the beginning
    Direction direction = Direction::kInbound;
    std::span<const std::uint8_t> bytes;
    std::string_view comment;
};

class PcapngWriter {
  public:
    // Writes the section's header to `out`, which must outlive this; whether all was written is `out`'s to know.
    explicit PcapngWriter(std::ostream& out, std::string_view program);

    // An Ethernet interface, of whose frames at most `snap` bytes are there. Numbers count from 0.
    std::uint32_t add_interface(std::string_view name, std::uint32_t snap);
    void add_packet(const PcapngPacket& packet);

  private:
    void write_block(std::uint32_t type, const std::string& body);

    std::ostream& out_;
    std::uint32_t interfaces_ = 0;
};

}  // namespace fairlead::lbctl
