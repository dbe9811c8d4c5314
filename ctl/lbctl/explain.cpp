// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/explain.h"

#include <netinet/in.h>

#include <charconv>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <vector>

#include "ctl/api/views.h"
#include "dataplane/tables/memory_steer.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead::lbctl {
namespace {
using Json = nlohmann::ordered_json;
constexpr std::size_t kRoom = 128;  // before and behind the packet: more than any encapsulation takes

std::uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

void put_ipv4(fl_ipv4* ip, const Question& q, std::size_t l4) {
    const auto from = q.source.address.family_bytes(), to = q.destination.address.family_bytes();
    ip->version_ihl = 0x45;
    ip->length = fl_htons(sizeof(*ip) + l4);
    ip->ttl = 64;
    ip->protocol = q.udp ? FL_PROTO_UDP : FL_PROTO_TCP;
    std::memcpy(&ip->source, from.data(), from.size());
    std::memcpy(&ip->destination, to.data(), to.size());
    ip->checksum = fl_checksum_fold(fl_checksum_words(ip, 5));
}

void put_ipv6(fl_ipv6* ip, const Question& q, std::size_t l4) {
    const auto from = q.source.address.family_bytes(), to = q.destination.address.family_bytes();
    ip->version_class = 0x60;
    ip->length = fl_htons(l4);
    ip->next = q.udp ? FL_PROTO_UDP : FL_PROTO_TCP;
    ip->hop_limit = 64;
    std::memcpy(ip->source, from.data(), from.size());
    std::memcpy(ip->destination, to.data(), to.size());
}

// A first packet of the flow: a TCP SYN, or an empty datagram.
std::vector<std::uint8_t> make_packet(const Question& q) {
    const bool v4 = q.source.address.is_v4();
    const std::size_t l4 = q.udp ? sizeof(fl_udp) : sizeof(fl_tcp), l3 = v4 ? sizeof(fl_ipv4) : sizeof(fl_ipv6);
    std::vector<std::uint8_t> bytes(sizeof(fl_eth) + l3 + l4);
    auto* eth = reinterpret_cast<fl_eth*>(bytes.data());
    eth->type = fl_htons(v4 ? FL_ETHERTYPE_IPV4 : FL_ETHERTYPE_IPV6);
    if (v4)
        put_ipv4(reinterpret_cast<fl_ipv4*>(eth + 1), q, l4);
    else
        put_ipv6(reinterpret_cast<fl_ipv6*>(eth + 1), q, l4);
    auto* ports = reinterpret_cast<fl_udp*>(bytes.data() + sizeof(fl_eth) + l3);
    ports->source = fl_htons(q.source.port);
    ports->destination = fl_htons(q.destination.port);
    if (q.udp) {
        ports->length = fl_htons(l4);
    } else {
        auto* tcp = reinterpret_cast<fl_tcp*>(ports);
        tcp->offset = sizeof(fl_tcp) / 4 << 4;
        tcp->flags = FL_TCP_SYN;
    }
    return bytes;
}

std::string address_text(const union fl_address& address) {
    IpAddress::Bytes bytes;
    std::copy(std::begin(address.bytes), std::end(address.bytes), bytes.begin());
    return IpAddress(bytes).to_string();
}

std::string mac_text(std::uint64_t word) {
    MacAddress mac;
    for (std::size_t i = 0; i < mac.bytes.size(); ++i) mac.bytes[i] = static_cast<std::uint8_t>(word >> (8 * i));
    return mac.to_string();
}

const char* verdict_text(const fl_decision& d) {
    switch (d.action) {
        case FL_ACTION_FORWARD:
            return "forwarded";
        case FL_ACTION_LOCAL:
            return "local";
        case FL_ACTION_ANSWER:
            return "answered";
        case FL_ACTION_DROP:
            return "dropped";
        default:
            return "passed";
    }
}

// The outer addresses, from the packet that the core made.
Json outer_json(const fl_decision& d, const fl_packet& packet) {
    if (d.action != FL_ACTION_FORWARD || !d.outer) return nullptr;
    fl_ip ip{};
    const auto length = static_cast<__u32>(static_cast<__u8*>(packet.end) - static_cast<__u8*>(packet.data));
    fl_parse_ip_step(&packet, FL_PLACE_IP, d.outer, fl_l3_out(&d), length, &ip);
    Json json{{"source", address_text(ip.source)}, {"destination", address_text(ip.destination)}};
    if (d.forward == FL_FORWARD_GUE) json["gue_port"] = fl_ntohs(ip.ports >> 16);
    return json;
}

Json mtu_json(const fl_decision& d, std::uint32_t mtu) {
    const auto overhead = fl_overhead(d.forward, d.outer);
    const auto largest = mtu > overhead ? mtu - overhead : 0;
    return {{"next_hop", mtu},
            {"overhead", overhead},
            {"largest_packet", largest},
            {"verdict",
             "packets of up to " + std::to_string(largest) + " bytes pass; the sender of a larger one is told so"}};
}

void add_slot(Json& json, const fl_decision& d, const tables::PoolStatus& pool) {
    const auto owner = FL_SLOT_OWNER(d.slot_word), previous = FL_SLOT_PREVIOUS(d.slot_word);
    const auto name = [&](std::uint32_t local) -> Json {
        for (const auto& backend : pool.backends)
            if (backend.local_index == local) return backend.name;
        return nullptr;
    };
    json["slot"] = {{"number", d.slot},
                    {"of", pool.slots},
                    {"owner", name(owner)},
                    {"previous", name(previous)},
                    {"settled", !(d.slot_word & FL_SLOT_LOOKUP)},
                    {"by", pool.flags & FL_POOL_CLIENT_IP ? "client address" : "5-tuple"}};
}

void add_backend(Json& json, const fl_decision& d, const tables::Snapshot& snapshot, const tables::PoolStatus& pool) {
    for (const auto& backend : pool.backends) {
        if (backend.global_index != d.backend_index) continue;
        json["backend"] = {{"name", backend.name},
                           {"address", backend.address.to_string()},
                           {"tier", backend.tier},
                           {"state", api::to_string(backend.state)}};
        json["forward"] = api::to_string(backend.forward);
        if (backend.forward == FL_FORWARD_LOCAL) continue;
        json["mtu"] = mtu_json(d, backend.mtu);
        const auto word = backend.nexthop_word;
        if (!word) continue;
        json["next_hop"] = {{"interface", nullptr}, {"mac", mac_text(FL_NEXTHOP_MAC(word))}};
        for (const auto& port : snapshot.ports)
            if (port.number == FL_NEXTHOP_PORT(word)) json["next_hop"]["interface"] = port.name;
    }
}

bool steered(const fl_decision& d) { return d.action == FL_ACTION_FORWARD || d.action == FL_ACTION_LOCAL; }

// Ends the sentence that begins with the verdict.
std::string why_text(const fl_decision& d, const Json& json) {
    if (steered(d) && !json["slot"].is_null())
        return "slot " + json["slot"]["number"].dump() + " of pool " + json["pool"].get<std::string>() +
               " belongs to " + (json["backend"].is_null() ? "nobody" : json["backend"]["name"].get<std::string>());
    if (d.reason == FL_REASON_RESET || d.reason == FL_REASON_UNREACHABLE) {
        const std::string what = d.reason == FL_REASON_RESET ? "TCP reset: " : "ICMP port unreachable: ";
        return what + (d.service ? "no backend of the pool is eligible" : "no service on that port");
    }
    return std::string(api::reason_text(static_cast<fl_reason>(d.reason)).help);
}

void add_vip(Json& json, const Question& q, const tables::Snapshot& snapshot) {
    for (const auto& vip : snapshot.vips) {
        if (vip.address != q.destination.address) continue;
        json["vip"] = vip.address.to_string();
        json["active"] = monotonic_ns() < vip.active_until_ns;
    }
}

Json describe(const Question& q, const fl_decision& d, const fl_packet& packet, const tables::Snapshot& snapshot) {
    Json json{{"source", q.source.to_string()},
              {"destination", q.destination.to_string()},
              {"protocol", q.udp ? "udp" : "tcp"}};
    json["verdict"] = verdict_text(d);
    json["reason"] = steered(d) ? "steered" : api::reason_text(static_cast<fl_reason>(d.reason)).name;
    for (const auto* key :
         {"why", "vip", "active", "service", "pool", "slot", "backend", "forward", "next_hop", "outer", "mtu"})
        json[key] = nullptr;
    if (d.vip) add_vip(json, q, snapshot);
    for (const auto& service : snapshot.services)
        if (d.service && service.id == d.service)
            json["service"] = {{"name", service.name}, {"port", service.port ? Json(service.port) : Json("any")}};
    for (const auto& pool : snapshot.pools) {
        if (!d.pool || pool.id != d.pool) continue;
        json["pool"] = pool.name;
        add_slot(json, d, pool);
        if (d.chosen) add_backend(json, d, snapshot, pool);
    }
    json["why"] = why_text(d, json);
    json["outer"] = outer_json(d, packet);
    return json;
}
}  // namespace

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

Result<Json> explain(const tables::Tables& tables, const Question& question) {
    if (question.source.address.is_v4() != question.destination.address.is_v4())
        return fail("source and destination are not of one address family", EINVAL);
    // What the core writes to decide (throttles) must not reach the real tables.
    fl_memory memory = tables.memory();
    fl_throttle throttle{};
    memory.base[FL_TABLE_throttles] = &throttle;
    memory.count[FL_TABLE_throttles] = 1;
    fl_engine engine{};
    engine.memory = &memory;
    engine.ingress_port = 1;
    engine.now_ns = engine.now_coarse_ns = monotonic_ns();
    engine.headroom = engine.tailroom = kRoom;

    const auto bytes = make_packet(question);
    std::vector<std::uint8_t> room(kRoom + bytes.size() + kRoom);
    std::copy(bytes.begin(), bytes.end(), room.begin() + kRoom);
    fl_packet packet{room.data() + kRoom, room.data() + kRoom + bytes.size()};
    fl_decision decision{};
    fl_decide(&engine, &packet, &decision);
    std::uint32_t port = 0;
    static_cast<void>(fl_act(&engine, &packet, &decision, &port));
    return describe(question, decision, packet, tables::take_snapshot(tables));
}

}  // namespace fairlead::lbctl
