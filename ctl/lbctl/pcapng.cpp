// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/pcapng.h"

#include <algorithm>

namespace fairlead::lbctl {
namespace {
// Block types, sections 4.1 to 4.3.
constexpr std::uint32_t kSectionHeader = 0x0a0d0d0a, kInterface = 1, kEnhancedPacket = 6;
// Options: of any block (section 3.5), of an interface (4.2), of a packet (4.3).
constexpr std::uint16_t kEndOfOptions = 0, kComment = 1, kUserApplication = 4;
constexpr std::uint16_t kInterfaceName = 2, kTimeResolution = 9;
constexpr std::uint16_t kPacketFlags = 2;

constexpr std::uint32_t kByteOrderMagic = 0x1a2b3c4d;
constexpr std::uint16_t kEthernet = 1;  // LINKTYPE_ETHERNET
constexpr std::uint8_t kNanoseconds = 9;
constexpr std::size_t kLongestOption = 65532;  // its length has 16 bits, and is padded

template <typename T>
void append(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append_padded(std::string& to, std::string_view bytes) {
    to.append(bytes);
    to.append((4 - bytes.size() % 4) % 4, '\0');
}

void append_option(std::string& to, std::uint16_t code, std::string_view value) {
    value = value.substr(0, kLongestOption);
    append(to, code);
    append(to, static_cast<std::uint16_t>(value.size()));
    append_padded(to, value);
}

template <typename T>
void append_number(std::string& to, std::uint16_t code, T value) {
    append_option(to, code, {reinterpret_cast<const char*>(&value), sizeof(value)});
}
}  // namespace

PcapngWriter::PcapngWriter(std::ostream& out, std::string_view program) : out_(out) {
    std::string body;
    append(body, kByteOrderMagic);
    append(body, std::uint16_t{1});  // version 1.0
    append(body, std::uint16_t{0});
    append(body, std::int64_t{-1});  // the section's length is not known
    append_option(body, kUserApplication, program);
    append_option(body, kEndOfOptions, {});
    write_block(kSectionHeader, body);
}

std::uint32_t PcapngWriter::add_interface(std::string_view name, std::uint32_t snap) {
    std::string body;
    append(body, kEthernet);
    append(body, std::uint16_t{0});
    append(body, snap);
    append_option(body, kInterfaceName, name);
    append_number(body, kTimeResolution, kNanoseconds);
    append_option(body, kEndOfOptions, {});
    write_block(kInterface, body);
    return interfaces_++;
}

void PcapngWriter::add_packet(const PcapngPacket& packet) {
    std::string body;
    append(body, packet.interface);
    append(body, static_cast<std::uint32_t>(packet.realtime_ns >> 32));
    append(body, static_cast<std::uint32_t>(packet.realtime_ns));
    append(body, static_cast<std::uint32_t>(packet.bytes.size()));
    append(body, std::max(packet.length, static_cast<std::uint32_t>(packet.bytes.size())));
    append_padded(body, {reinterpret_cast<const char*>(packet.bytes.data()), packet.bytes.size()});
    append_number(body, kPacketFlags, static_cast<std::uint32_t>(packet.direction));
    append_option(body, kComment, packet.comment);
    append_option(body, kEndOfOptions, {});
    write_block(kEnhancedPacket, body);
}

// A block says its length at both ends.
void PcapngWriter::write_block(std::uint32_t type, const std::string& body) {
    std::string block;
    const auto length = static_cast<std::uint32_t>(body.size() + 3 * sizeof(std::uint32_t));
    append(block, type);
    append(block, length);
    block += body;
    append(block, length);
    out_.write(block.data(), static_cast<std::streamsize>(block.size()));
}

}  // namespace fairlead::lbctl
