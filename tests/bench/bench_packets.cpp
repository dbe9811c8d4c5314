// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bench_packets.h"

#include <algorithm>
#include <cstring>

#include "dataplane/core/checksum.h"
#include "dataplane/tables/address.h"
#include "tests/bench/bench_tables.h"

namespace fairlead::bench {
namespace {

template <typename T>
void append(Frame& frame, const T& header) {
    const std::size_t at = frame.size();
    frame.resize(at + sizeof(header));
    std::memcpy(frame.data() + at, &header, sizeof(header));
}

Frame ethernet(std::uint16_t type) {
    fl_eth eth{};
    fl_mac_store(eth.destination, fl_mac_word(MacAddress::parse(kOwnMac)->bytes.data()));
    fl_mac_store(eth.source, fl_mac_word(MacAddress::parse(kGatewayMac)->bytes.data()));
    eth.type = fl_htons(type);
    Frame frame;
    append(frame, eth);
    return frame;
}

void append_tcp(Frame& frame) {
    fl_tcp tcp{};
    tcp.source = fl_htons(40'000);
    tcp.destination = fl_htons(kPort);
    tcp.offset = 5 << 4;
    tcp.flags = FL_TCP_ACK;
    append(frame, tcp);
    frame.resize(std::max<std::size_t>(frame.size(), 64));
}

// The outer header that the tables ask for, from the balancer to one of the backends, round a packet of `length` bytes.
bool is_outer4(const fl_ipv4& outer, std::size_t length) {
    return outer.version_ihl == 0x45 && outer.protocol == FL_PROTO_IPIP && fl_ntohs(outer.length) == length + 20 &&
           fl_ntohl(outer.source) == 0xc00002fa && fl_ntohl(outer.destination) >> 8 == 0xc63364 &&
           fl_checksum_fold(fl_checksum_words(&outer, 5)) == 0;
}

bool is_outer6(const fl_ipv6& outer, std::size_t length) {
    return outer.next == FL_PROTO_IPV6 && fl_ntohs(outer.length) == length;
}

// What forwarding changes, a hop and in IPv4 the checksum, and what varies with the flow: taken out.
std::vector<std::uint8_t> constant_part(std::span<const std::uint8_t> packet) {
    std::vector<std::uint8_t> part(packet.begin(), packet.end());
    const bool v6 = part[0] >> 4 == 6;
    for (const std::size_t at :
         v6 ? std::vector<std::size_t>{7, 22, 23, 40, 41} : std::vector<std::size_t>{8, 10, 11, 14, 15, 20, 21})
        part[at] = 0;
    return part;
}

}  // namespace

Frame packet4(const char* destination) {
    auto frame = ethernet(FL_ETHERTYPE_IPV4);
    fl_ipv4 ip{};
    ip.version_ihl = 0x45;
    ip.length = fl_htons(40);
    ip.fragment = fl_htons(FL_IPV4_DF);
    ip.ttl = 64;
    ip.protocol = FL_PROTO_TCP;
    ip.source = fl_htonl(0x0a000001);
    std::memcpy(&ip.destination, IpAddress::parse(destination)->family_bytes().data(), 4);
    ip.checksum = fl_checksum_fold(fl_checksum_words(&ip, 5));
    append(frame, ip);
    append_tcp(frame);
    return frame;
}

Frame packet6(const char* destination) {
    auto frame = ethernet(FL_ETHERTYPE_IPV6);
    fl_ipv6 ip{};
    ip.version_class = 0x60;
    ip.length = fl_htons(20);
    ip.next = FL_PROTO_TCP;
    ip.hop_limit = 64;
    std::memcpy(ip.source, IpAddress::parse("2001:db8:ffff::1")->bytes().data(), 16);
    std::memcpy(ip.destination, IpAddress::parse(destination)->bytes().data(), 16);
    append(frame, ip);
    append_tcp(frame);
    return frame;
}

Frame syn4(const char* destination) {
    auto frame = packet4(destination);
    frame[14 + 20 + 13] = FL_TCP_SYN;
    return frame;
}

void set_flow(Frame& frame, std::uint32_t number) {
    const std::uint32_t flow = number * 2654435761U;
    const auto high = static_cast<std::uint16_t>(flow >> 16), low = static_cast<std::uint16_t>(flow);
    std::memcpy(&frame[28], &high, 2);
    std::memcpy(&frame[34], &low, 2);
}

std::uint32_t header_sum(std::span<const std::uint8_t> header) {
    fl_ipv4 ip;
    std::memcpy(&ip, header.data(), sizeof(ip));
    ip.checksum = 0;
    ip.source &= fl_htonl(0xffff0000);
    return static_cast<std::uint16_t>(~fl_checksum_fold(fl_checksum_words(&ip, 5)));
}

std::string fault_of(const Frame& sent, std::span<const std::uint8_t> out, std::size_t grown) {
    if (out.size() != sent.size() + grown) return std::to_string(out.size()) + " bytes came out";
    const auto* eth = reinterpret_cast<const fl_eth*>(out.data());
    if (fl_mac_word(eth->destination) != fl_mac_word(MacAddress::parse(kGatewayMac)->bytes.data()) ||
        fl_mac_word(eth->source) != fl_mac_word(MacAddress::parse(kOwnMac)->bytes.data()))
        return "wrong MAC addresses";
    const auto before = std::span(sent).subspan(sizeof(*eth)), inner = out.subspan(sizeof(*eth) + grown);
    const bool v6 = inner[0] >> 4 == 6;
    const std::size_t length = v6 ? 60 : 40;  // of the packet; a frame may be longer
    if (grown == 20 && !is_outer4(*reinterpret_cast<const fl_ipv4*>(eth + 1), length)) return "wrong outer header";
    if (grown == 40 && !is_outer6(*reinterpret_cast<const fl_ipv6*>(eth + 1), length)) return "wrong outer header";
    const std::size_t hops = v6 ? 7 : 8;
    if (inner[hops] != before[hops] - 1) return "TTL was not decremented";
    return constant_part(inner) == constant_part(before) ? "" : "the inner packet changed";
}

}  // namespace fairlead::bench
