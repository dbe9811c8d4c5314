// SPDX-License-Identifier: Apache-2.0
#include "tests/support/packet.h"

#include <arpa/inet.h>

#include <cstdio>
#include <stdexcept>

namespace fairlead::test {
namespace {
void put16(Bytes& out, std::uint32_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8));
    out.push_back(static_cast<std::uint8_t>(value));
}
void put32(Bytes& out, std::uint32_t value) {
    put16(out, value >> 16);
    put16(out, value & 0xffff);
}
void put(Bytes& out, const Bytes& more) { out.insert(out.end(), more.begin(), more.end()); }
void set16(Bytes& out, std::size_t at, std::uint16_t value) {
    out[at] = static_cast<std::uint8_t>(value >> 8);
    out[at + 1] = static_cast<std::uint8_t>(value);
}

// What a transport checksum covers besides its own bytes.
Bytes pseudo_header(const Layer* ip, std::uint8_t protocol, std::size_t length) {
    Bytes out;
    if (const auto* v4 = ip ? std::get_if<Ipv4>(ip) : nullptr) {
        put(out, address_bytes(v4->source));
        put(out, address_bytes(v4->destination));
        put16(out, protocol);
        put16(out, static_cast<std::uint32_t>(length));
    } else if (const auto* v6 = ip ? std::get_if<Ipv6>(ip) : nullptr) {
        put(out, address_bytes(v6->source));
        put(out, address_bytes(v6->destination));
        put32(out, static_cast<std::uint32_t>(length));
        put32(out, protocol);
    }
    return out;
}

void set_checksum(Bytes& segment, std::size_t at, Bytes covered) {
    put(covered, segment);
    set16(segment, at, internet_checksum(covered));
}

struct Builder {
    Bytes rest;         // the bytes behind the layer
    const Layer* next;  // the layer behind, and
    const Layer* ip;    // the IP header before

    std::uint16_t ethertype() const {
        if (!next) return 0x88b5;  // IEEE: local experimental
        if (std::holds_alternative<Ipv4>(*next)) return 0x0800;
        if (std::holds_alternative<Ipv6>(*next)) return 0x86dd;
        if (std::holds_alternative<Arp>(*next)) return 0x0806;
        if (const auto* vlan = std::get_if<Vlan>(next)) return vlan->ethertype;
        return 0x88b5;
    }
    std::uint8_t protocol(bool v6) const {
        if (!next) return 59;  // RFC 8200: no next header
        if (std::holds_alternative<Tcp>(*next)) return 6;
        if (std::holds_alternative<Udp>(*next)) return 17;
        if (std::holds_alternative<Icmp>(*next)) return v6 ? 58 : 1;
        if (std::holds_alternative<Ipv4>(*next)) return 4;
        if (std::holds_alternative<Ipv6>(*next)) return 41;
        if (std::holds_alternative<Fragment>(*next)) return 44;
        if (const auto* extension = std::get_if<Extension>(next)) return extension->kind;
        return 253;  // RFC 3692: experiments
    }

    Bytes operator()(const Ethernet& e) const {
        Bytes out = mac_bytes(e.destination);
        put(out, mac_bytes(e.source));
        put16(out, e.type.value_or(ethertype()));
        put(out, rest);
        return out;
    }
    Bytes operator()(const Vlan& v) const {
        Bytes out;
        put16(out, v.id);
        put16(out, ethertype());
        put(out, rest);
        return out;
    }
    Bytes operator()(const Ipv4& ip4) const {
        Bytes out;
        const auto header = 20 + ip4.options.size();
        put16(out, static_cast<std::uint32_t>((0x40 | header / 4) << 8 | ip4.tos));
        put16(out, ip4.length.value_or(static_cast<std::uint16_t>(header + rest.size())));
        put16(out, ip4.id);
        put16(out, (ip4.dont_fragment ? 0x4000U : 0U) | (ip4.more_fragments ? 0x2000U : 0U) | ip4.offset);
        put16(out, static_cast<std::uint32_t>(ip4.ttl << 8 | ip4.protocol.value_or(protocol(false))));
        put16(out, 0);
        put(out, address_bytes(ip4.source));
        put(out, address_bytes(ip4.destination));
        put(out, ip4.options);
        set16(out, 10, internet_checksum(out));
        put(out, rest);
        return out;
    }
    Bytes operator()(const Ipv6& ip6) const {
        Bytes out;
        put32(out, 6U << 28 | static_cast<std::uint32_t>(ip6.traffic_class) << 20 | ip6.flow_label);
        put16(out, ip6.length.value_or(static_cast<std::uint16_t>(rest.size())));
        put16(out, static_cast<std::uint32_t>(ip6.next.value_or(protocol(true)) << 8 | ip6.hop_limit));
        put(out, address_bytes(ip6.source));
        put(out, address_bytes(ip6.destination));
        put(out, rest);
        return out;
    }
    Bytes operator()(const Extension& x) const {
        const auto units = x.kind == 51 ? x.size / 4 - 2 : x.size / 8 - 1;
        Bytes out{x.next.value_or(protocol(true)), static_cast<std::uint8_t>(units), x.routing_type, x.segments_left};
        out.resize(x.size);
        put(out, rest);
        return out;
    }
    Bytes operator()(const Fragment& f) const {
        Bytes out{f.next.value_or(protocol(true)), 0};
        put16(out, static_cast<std::uint32_t>(f.offset << 3 | (f.more ? 1 : 0)));
        put32(out, f.id);
        put(out, rest);
        return out;
    }
    Bytes operator()(const Tcp& t) const {
        Bytes out;
        put16(out, t.source);
        put16(out, t.destination);
        put32(out, t.sequence);
        put32(out, t.acknowledgement);
        put16(out, static_cast<std::uint32_t>((5 + t.options.size() / 4) << 12) | (t.fin ? 1U : 0U) |
                       (t.syn ? 2U : 0U) | (t.rst ? 4U : 0U) | (t.ack ? 16U : 0U));
        put16(out, t.window);
        put32(out, 0);
        put(out, t.options);
        put(out, rest);
        if (t.checksum_left)
            set16(out, 16, static_cast<std::uint16_t>(~internet_checksum(pseudo_header(ip, 6, out.size()))));
        else
            set_checksum(out, 16, pseudo_header(ip, 6, out.size()));
        return out;
    }
    Bytes operator()(const Udp& u) const {
        Bytes out;
        put16(out, u.source);
        put16(out, u.destination);
        put16(out, static_cast<std::uint32_t>(8 + rest.size()));
        put16(out, 0);
        put(out, rest);
        set_checksum(out, 6, pseudo_header(ip, 17, out.size()));
        if (u.checksum) set16(out, 6, *u.checksum);
        return out;
    }
    Bytes operator()(const Icmp& i) const {
        Bytes out{i.type, i.code, 0, 0};
        put32(out, i.rest);
        put(out, rest);
        const bool v6 = ip && std::holds_alternative<Ipv6>(*ip);
        set_checksum(out, 2, v6 ? pseudo_header(ip, 58, out.size()) : Bytes{});
        return out;
    }
    Bytes operator()(const Arp& a) const {
        Bytes out{0, 1, 8, 0, 6, 4};
        put16(out, a.operation);
        put(out, mac_bytes(a.sender_mac));
        put(out, address_bytes(a.sender));
        put(out, mac_bytes(a.target_mac));
        put(out, address_bytes(a.target));
        put(out, rest);
        return out;
    }
    Bytes operator()(const Payload& p) const {
        Bytes out = p.bytes;
        put(out, rest);
        return out;
    }
};
}  // namespace

Bytes Packet::bytes() const {
    Bytes built;
    const Layer* next = nullptr;
    for (std::size_t i = layers_.size(); i-- > 0;) {
        const Layer* ip = nullptr;
        for (std::size_t j = i; j-- > 0 && !ip;)
            if (std::holds_alternative<Ipv4>(layers_[j]) || std::holds_alternative<Ipv6>(layers_[j])) ip = &layers_[j];
        built = std::visit(Builder{built, next, ip}, layers_[i]);
        next = &layers_[i];
    }
    return built;
}

Bytes mac_bytes(const std::string& text) {
    Bytes out(6);
    if (std::sscanf(text.c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &out[0], &out[1], &out[2], &out[3], &out[4],
                    &out[5]) != 6)
        throw std::invalid_argument(text);
    return out;
}

Bytes address_bytes(const std::string& text) {
    const bool v6 = text.find(':') != std::string::npos;
    Bytes out(v6 ? 16 : 4);
    if (inet_pton(v6 ? AF_INET6 : AF_INET, text.c_str(), out.data()) != 1) throw std::invalid_argument(text);
    return out;
}

std::uint16_t internet_checksum(const Bytes& bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        sum += i % 2 ? bytes[i] : static_cast<std::uint32_t>(bytes[i]) << 8;
        if (sum > 0xffff) sum -= 0xffff;
    }
    return static_cast<std::uint16_t>(~sum);
}

std::string hex(const Bytes& bytes) {
    std::string out;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        char text[4];
        std::snprintf(text, sizeof(text), "%02x%c", bytes[i], i % 16 == 15 ? '\n' : ' ');
        out += text;
    }
    return out;
}

}  // namespace fairlead::test
