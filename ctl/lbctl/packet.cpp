// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/packet.h"

#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>

#include "dataplane/tables/memory_steer.h"  // the headers, as they lie on the wire

namespace fairlead::lbctl {
namespace {

constexpr std::size_t kMaxIpv4 = 65'535;
constexpr std::size_t kMaxIpv6 = sizeof(fl_ipv6) + 65'535;
constexpr std::size_t kMaxFrame = 1U << 17;
constexpr std::uint16_t kFragmentOffset = 185;  // in units of 8 bytes: behind a first one of 1500 bytes
constexpr std::uint8_t kTcpData = FL_TCP_ACK;

struct Ipv6Fragment {  // RFC 8200 section 4.5
    __u8 next;
    __u8 reserved;
    __be16 offset;
    __be32 id;
};

std::uint8_t protocol_of(const Question& q) { return q.udp ? FL_PROTO_UDP : FL_PROTO_TCP; }

// Sizes of the parts, in bytes.
struct Plan {
    std::size_t tags = 0;
    std::size_t l3 = 0;  // the fragment header of IPv6 included
    std::size_t l4 = 0;  // what follows it
};

Result<Plan> plan_of(const Question& q) {
    const bool v4 = q.source.address.is_v4();
    if (v4 != q.destination.address.is_v4())
        return fail("source and destination are not of one address family", EINVAL);
    if (q.df && !v4) return fail("IPv6 has no DF: routers never fragment", EINVAL);
    Plan plan;
    plan.tags = q.vlans.size() * sizeof(fl_vlan);
    plan.l3 = v4 ? sizeof(fl_ipv4) : sizeof(fl_ipv6) + (q.later_fragment ? sizeof(Ipv6Fragment) : 0);
    plan.l4 = q.later_fragment ? 8 : q.udp ? sizeof(fl_udp) : sizeof(fl_tcp);
    if (q.size == 0) return plan;
    if (q.size < plan.l3 + plan.l4 || q.size > (v4 ? kMaxIpv4 : kMaxIpv6))
        return fail("a packet of " + std::to_string(q.size) + " bytes: expected " + std::to_string(plan.l3 + plan.l4) +
                        " to " + std::to_string(v4 ? kMaxIpv4 : kMaxIpv6),
                    EINVAL);
    plan.l4 = q.size - plan.l3;
    return plan;
}

// RFC 1071, a byte at a time: any length and alignment will do, and how fast it is does not matter.
std::uint64_t sum_of(std::span<const std::uint8_t> bytes) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) sum += i % 2 ? bytes[i] : std::uint64_t{bytes[i]} << 8;
    return sum;
}

std::uint16_t fold(std::uint64_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

void put_ethernet(std::uint8_t* at, const Question& q) {
    auto* eth = reinterpret_cast<fl_eth*>(at);
    auto* tag = reinterpret_cast<fl_vlan*>(eth + 1);
    __be16* type = &eth->type;
    for (std::size_t i = 0; i < q.vlans.size(); ++i, ++tag) {
        *type = fl_htons(i + 1 < q.vlans.size() ? FL_ETHERTYPE_QINQ : FL_ETHERTYPE_VLAN);
        tag->tci = fl_htons(q.vlans[i]);
        type = &tag->type;
    }
    *type = fl_htons(q.source.address.is_v4() ? FL_ETHERTYPE_IPV4 : FL_ETHERTYPE_IPV6);
}

void put_ipv4(std::uint8_t* at, const Question& q, const Plan& plan) {
    auto* ip = reinterpret_cast<fl_ipv4*>(at);
    const auto from = q.source.address.family_bytes(), to = q.destination.address.family_bytes();
    const bool df = q.df.value_or(!q.later_fragment);
    ip->version_ihl = 0x45;
    ip->length = fl_htons(static_cast<std::uint16_t>(plan.l3 + plan.l4));
    ip->fragment =
        fl_htons(static_cast<std::uint16_t>((df ? FL_IPV4_DF : 0) | (q.later_fragment ? kFragmentOffset : 0)));
    ip->ttl = 64;
    ip->protocol = protocol_of(q);
    std::memcpy(&ip->source, from.data(), from.size());
    std::memcpy(&ip->destination, to.data(), to.size());
    ip->checksum = fl_htons(fold(sum_of({at, sizeof(*ip)})));
}

void put_ipv6(std::uint8_t* at, const Question& q, const Plan& plan) {
    auto* ip = reinterpret_cast<fl_ipv6*>(at);
    const auto from = q.source.address.family_bytes(), to = q.destination.address.family_bytes();
    ip->version_class = 0x60;
    ip->length = fl_htons(static_cast<std::uint16_t>(plan.l3 - sizeof(*ip) + plan.l4));
    ip->next = q.later_fragment ? FL_PROTO_FRAGMENT : protocol_of(q);
    ip->hop_limit = 64;
    std::memcpy(ip->source, from.data(), from.size());
    std::memcpy(ip->destination, to.data(), to.size());
    if (!q.later_fragment) return;
    const Ipv6Fragment fragment{protocol_of(q), 0, fl_htons(kFragmentOffset << 3), 0};
    std::memcpy(ip + 1, &fragment, sizeof(fragment));
}

// Over the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) and the segment.
std::uint16_t l4_checksum(const Question& q, const std::uint8_t* segment, std::size_t length) {
    const auto addresses = sum_of(q.source.address.family_bytes()) + sum_of(q.destination.address.family_bytes());
    return fold(addresses + length + protocol_of(q) + sum_of({segment, length}));
}

void put_l4(std::uint8_t* at, const Question& q, const Plan& plan) {
    if (q.later_fragment) return;
    auto* udp = reinterpret_cast<fl_udp*>(at);
    udp->source = fl_htons(q.source.port);
    udp->destination = fl_htons(q.destination.port);
    if (q.udp) {
        udp->length = fl_htons(static_cast<std::uint16_t>(plan.l4));
        const auto sum = l4_checksum(q, at, plan.l4);
        udp->checksum = fl_htons(static_cast<std::uint16_t>(sum ? sum : 0xffff));  // RFC 768: 0 means none
        return;
    }
    auto* tcp = reinterpret_cast<fl_tcp*>(at);
    tcp->offset = sizeof(fl_tcp) / 4 << 4;
    tcp->flags = q.size ? kTcpData : FL_TCP_SYN;
    tcp->window = fl_htons(0xffff);
    tcp->checksum = fl_htons(l4_checksum(q, at, plan.l4));
}

// The bytes of hexadecimal digits, blanks and colons; nothing if there is anything else.
std::optional<std::vector<std::uint8_t>> parse_hex(const std::string& text) {
    std::string digits;
    for (const char c : text) {
        if (std::isxdigit(static_cast<unsigned char>(c)))
            digits += c;
        else if (c != ':' && !std::isspace(static_cast<unsigned char>(c)))
            return std::nullopt;
    }
    if (digits.empty() || digits.size() % 2) return std::nullopt;
    std::vector<std::uint8_t> bytes(digits.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); ++i)
        std::from_chars(digits.data() + 2 * i, digits.data() + 2 * i + 2, bytes[i], 16);
    return bytes;
}

}  // namespace

Result<std::vector<std::uint8_t>> make_packet(const Question& q) {
    if (!q.frame.empty()) return q.frame;
    const auto plan = plan_of(q);
    if (!plan) return tl::unexpected(plan.error());
    std::vector<std::uint8_t> bytes(sizeof(fl_eth) + plan->tags + plan->l3 + plan->l4);
    auto* l3 = bytes.data() + sizeof(fl_eth) + plan->tags;
    put_ethernet(bytes.data(), q);
    if (q.source.address.is_v4())
        put_ipv4(l3, q, *plan);
    else
        put_ipv6(l3, q, *plan);
    put_l4(l3 + plan->l3, q, *plan);
    return bytes;
}

Result<std::vector<std::uint8_t>> read_frame(const std::string& hex_or_file) {
    if (auto bytes = parse_hex(hex_or_file)) return *bytes;
    std::ifstream stream(hex_or_file, std::ios::binary);
    if (!stream) return fail("'" + hex_or_file + "' is neither hexadecimal digits nor a file that can be read", EINVAL);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    if (text.empty() || text.size() > kMaxFrame) return fail(hex_or_file + " holds no frame", EINVAL);
    if (auto bytes = parse_hex(text)) return *bytes;
    return std::vector<std::uint8_t>(text.begin(), text.end());
}

Result<Endpoint> Endpoint::parse(const std::string& text) {
    const auto colon = text.rfind(':');
    const auto wrong = [&] {
        return fail("'" + text + "': expected ADDRESS:PORT, an IPv6 address in brackets", EINVAL);
    };
    if (colon == std::string::npos) return wrong();
    auto host = text.substr(0, colon);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    auto address = IpAddress::parse(host);
    if (address && address->is_v6() != bracketed) return wrong();
    const auto digits = text.substr(colon + 1);
    Endpoint endpoint;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
    if (!address || error != std::errc{} || end != digits.data() + digits.size()) return wrong();
    endpoint.address = *address;
    return endpoint;
}

std::string Endpoint::to_string() const {
    const auto host = address.is_v4() ? address.to_string() : "[" + address.to_string() + "]";
    return host + ":" + std::to_string(port);
}

}  // namespace fairlead::lbctl
