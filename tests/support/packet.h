// SPDX-License-Identifier: Apache-2.0
// Packets as one writes them down: Ethernet{} / Ipv4{.ttl = 1} / Tcp{.syn = true} / Payload{"x"}. Documentation addresses
// (RFC 5737, RFC 3849) by default; lengths, protocols and checksums are filled in from what follows, by an arithmetic of
// its own that shares nothing with the core, so that bytes built here are an oracle for it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace fairlead::test {

using Bytes = std::vector<std::uint8_t>;

struct Ethernet {
    std::string source = "02:00:00:00:00:c1";       // the client's
    std::string destination = "02:00:00:00:00:01";  // the balancer's
    std::optional<std::uint16_t> type = {};
};

struct Vlan {
    std::uint16_t id = 7;
    std::uint16_t ethertype = 0x8100;  // of the tag itself
};

struct Ipv4 {
    std::string source = "198.51.100.7";
    std::string destination = "192.0.2.10";
    std::uint8_t ttl = 64;
    std::uint8_t tos = 0;
    std::uint16_t id = 0;
    bool dont_fragment = true;
    bool more_fragments = false;
    std::uint16_t offset = 0;  // in units of 8 bytes
    Bytes options = {};        // a multiple of 4
    std::optional<std::uint8_t> protocol = {};
    std::optional<std::uint16_t> length = {};
};

struct Ipv6 {
    std::string source = "2001:db8:ffff::7";
    std::string destination = "2001:db8::10";
    std::uint8_t hop_limit = 64;
    std::uint8_t traffic_class = 0;
    std::uint32_t flow_label = 0;
    std::optional<std::uint8_t> next = {};
    std::optional<std::uint16_t> length = {};
};

// An IPv6 extension header of RFC 8200, or an authentication header (`kind` 51): filled up with zeros to `size` bytes.
struct Extension {
    std::uint8_t kind = 0;  // its own number; the header before it says it
    std::size_t size = 8;   // a multiple of 8; of an authentication header, of 4
    std::uint8_t routing_type = 0;
    std::uint8_t segments_left = 0;
    std::optional<std::uint8_t> next = {};
};

// RFC 8200 section 4.5. What follows a later fragment is Payload.
struct Fragment {
    std::uint16_t offset = 0;  // in units of 8 bytes
    bool more = true;
    std::uint32_t id = 1;
    std::optional<std::uint8_t> next = {};
};

struct Tcp {
    std::uint16_t source = 40000;
    std::uint16_t destination = 80;
    std::uint32_t sequence = 1000;
    std::uint32_t acknowledgement = 0;
    bool syn = false, ack = false, rst = false, fin = false;
    std::uint16_t window = 0;
    bool checksum_left = false;  // the pseudo-header's sum alone, as a sender with checksum offload leaves it
    Bytes options = {};          // a multiple of 4
};

struct Udp {
    std::uint16_t source = 40000;
    std::uint16_t destination = 53;
    std::optional<std::uint16_t> checksum = {};
};

// ICMP or ICMPv6, by the IP header before it.
struct Icmp {
    std::uint8_t type = 8;
    std::uint8_t code = 0;
    std::uint32_t rest = 0;
};

struct Arp {
    std::uint16_t operation = 1;
    std::string sender_mac = "02:00:00:00:00:c1";
    std::string sender = "198.51.100.7";
    std::string target_mac = "00:00:00:00:00:00";
    std::string target = "192.0.2.10";
};

struct Payload {
    Bytes bytes;
    Payload() = default;
    explicit Payload(const std::string& text) : bytes(text.begin(), text.end()) {}
    explicit Payload(Bytes raw) : bytes(std::move(raw)) {}
};

using Layer = std::variant<Ethernet, Vlan, Ipv4, Ipv6, Extension, Fragment, Tcp, Udp, Icmp, Arp, Payload>;

class Packet {
  public:
    Packet() = default;
    explicit Packet(Layer layer) { layers_.push_back(std::move(layer)); }
    Packet& add(Layer layer) {
        layers_.push_back(std::move(layer));
        return *this;
    }
    Bytes bytes() const;

  private:
    std::vector<Layer> layers_;
};

template <typename T>
concept PacketLayer = std::is_constructible_v<Layer, T> && !std::is_same_v<std::remove_cvref_t<T>, Packet>;

template <PacketLayer A, PacketLayer B>
Packet operator/(A first, B second) {
    return Packet(std::move(first)).add(std::move(second));
}
template <PacketLayer T>
Packet operator/(Packet packet, T layer) {
    return packet.add(std::move(layer));
}

// "02:00:..." or an IP address, as bytes in network order.
Bytes mac_bytes(const std::string& text);
Bytes address_bytes(const std::string& text);

// RFC 1071, a byte at a time: 0 over a range that holds its own right checksum.
std::uint16_t internet_checksum(const Bytes& bytes);

// For failure messages.
std::string hex(const Bytes& bytes);

}  // namespace fairlead::test
