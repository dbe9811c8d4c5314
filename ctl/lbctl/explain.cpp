// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/explain.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "ctl/api/views.h"
#include "dataplane/tables/memory_steer.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead::lbctl {
namespace {
using Json = nlohmann::ordered_json;
constexpr std::size_t kRoom = 128;  // before and behind the packet: more than any encapsulation takes

std::string address_text(const union fl_address& address) {
    IpAddress::Bytes bytes;
    std::copy(std::begin(address.bytes), std::end(address.bytes), bytes.begin());
    return IpAddress(bytes).to_string();
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
        json["next_hop"] = {{"interface", nullptr}, {"mac", tables::mac_of(FL_NEXTHOP_MAC(word)).to_string()}};
        for (const auto& port : snapshot.ports)
            if (port.number == FL_NEXTHOP_PORT(word)) json["next_hop"]["interface"] = port.name;
    }
}

// What becomes of the flow in a slot in transition. A pin is looked for, and none is made.
Json pin_json(const fl_decision& d) {
    if (!(d.slot_word & FL_SLOT_LOOKUP)) return nullptr;
    switch (d.pinned) {
        case FL_PINNED_FOLLOWED:
            return {{"found", true}, {"text", "the connection is pinned to the backend, and stays with it"}};
        case FL_PINNED_NEW:
            return {{"found", false},
                    {"text", "none: this packet would begin a connection, and pin it to the backend"}};
        case FL_PINNED_PREVIOUS:
            return {{"found", false}, {"text", "none: what is open without one belongs to the slot's previous owner"}};
        default:
            return {{"found", false}, {"text", "none: the slot's owner has it"}};
    }
}

bool steered(const fl_decision& d) { return d.action == FL_ACTION_FORWARD || d.action == FL_ACTION_LOCAL; }

// Ends the sentence that begins with the verdict.
std::string why_text(const fl_decision& d, const Json& json) {
    if (steered(d) && !json["slot"].is_null() && d.pinned == FL_PINNED_FOLLOWED)
        return "slot " + json["slot"]["number"].dump() + " of pool " + json["pool"].get<std::string>() +
               " is in transition, and the connection is pinned";
    if (steered(d) && !json["slot"].is_null() && d.pinned == FL_PINNED_PREVIOUS)
        return "slot " + json["slot"]["number"].dump() + " of pool " + json["pool"].get<std::string>() +
               " is in transition, and an open connection without a pin is its previous owner's";
    if (steered(d) && !json["slot"].is_null())
        return "slot " + json["slot"]["number"].dump() + " of pool " + json["pool"].get<std::string>() +
               " belongs to " + (json["backend"].is_null() ? "nobody" : json["backend"]["name"].get<std::string>());
    if (d.reason == FL_REASON_RESET || d.reason == FL_REASON_UNREACHABLE) {
        const std::string what = d.reason == FL_REASON_RESET ? "TCP reset: " : "ICMP port unreachable: ";
        return what + (d.service ? "no backend of the pool is eligible" : "no service on that port");
    }
    return std::string(api::reason_text(static_cast<fl_reason>(d.reason)).help) +
           (d.exception ? "; lb-dpdk deals with it where it listens" : "");
}

void add_vip(Json& json, std::uint32_t id, const tables::Snapshot& snapshot) {
    for (const auto& vip : snapshot.vips) {
        if (vip.id != id) continue;
        json["vip"] = vip.address.to_string();
        json["active"] = tables::monotonic_ns() < vip.active_until_ns;
    }
}

Json describe(const Question& q, std::size_t frame_bytes, const fl_decision& d, const fl_packet& packet,
              const tables::Snapshot& snapshot) {
    const bool made = q.frame.empty();
    Json json{{"source", made ? Json(q.source.to_string()) : Json()},
              {"destination", made ? Json(q.destination.to_string()) : Json()},
              {"protocol", made ? Json(q.udp ? "udp" : "tcp") : Json()}};
    json["vlans"] = made ? Json(q.vlans) : Json();
    json["frame_bytes"] = frame_bytes;
    json["verdict"] = verdict_text(d);
    json["reason"] = steered(d) ? "steered" : api::reason_text(static_cast<fl_reason>(d.reason)).name;
    for (const auto* key :
         {"why", "vip", "active", "service", "pool", "slot", "pin", "backend", "forward", "next_hop", "outer", "mtu"})
        json[key] = nullptr;
    if (d.vip) add_vip(json, d.vip, snapshot);
    for (const auto& service : snapshot.services)
        if (d.service && service.id == d.service)
            json["service"] = {{"name", service.name}, {"port", service.port ? Json(service.port) : Json("any")}};
    for (const auto& pool : snapshot.pools) {
        if (!d.pool || pool.id != d.pool) continue;
        json["pool"] = pool.name;
        add_slot(json, d, pool);
        json["pin"] = pin_json(d);
        if (d.chosen) add_backend(json, d, snapshot, pool);
    }
    json["why"] = why_text(d, json);
    json["outer"] = outer_json(d, packet);
    return json;
}
}  // namespace

namespace {
// The core's decision about a packet, and what it made of it. What it writes (throttles) does not reach the real tables.
struct Trial {
    Trial(const tables::Tables& tables, const std::vector<std::uint8_t>& bytes)
        : memory(tables.memory()), room(kRoom + bytes.size() + kRoom) {
        memory.base[FL_TABLE_throttles] = &throttle;
        memory.count[FL_TABLE_throttles] = 1;
        fl_engine engine{};
        engine.memory = &memory;
        engine.only_looks = 1;
        engine.ingress_port = 1;
        engine.now_ns = engine.now_coarse_ns = tables::monotonic_ns();
        engine.headroom = engine.tailroom = kRoom;
        std::copy(bytes.begin(), bytes.end(), room.begin() + kRoom);
        packet = {room.data() + kRoom, room.data() + kRoom + bytes.size()};
        fl_decide(&engine, &packet, &decision);
        std::uint32_t port = 0;
        static_cast<void>(fl_act(&engine, &packet, &decision, &port));
    }

    fl_memory memory;
    fl_throttle throttle{};
    std::vector<std::uint8_t> room;
    fl_packet packet{};
    fl_decision decision{};
};

// Where a connection of these ends goes that is open already, beside the one that the question's SYN would begin.
Json open_json(const tables::Tables& tables, Question question, const fl_decision& first,
               const tables::Snapshot& snapshot) {
    const bool begins = question.frame.empty() && !question.udp && question.size == 0 && !question.later_fragment;
    if (!begins || !(first.slot_word & FL_SLOT_LOOKUP)) return nullptr;
    constexpr std::uint32_t kDataBytes = 64;
    question.size = kDataBytes;
    const auto made = make_packet(question);
    if (!made) return nullptr;
    const auto decision = Trial(tables, *made).decision;
    for (const auto& pool : snapshot.pools)
        for (const auto& backend : pool.backends)
            if (decision.chosen && backend.global_index == decision.backend_index)
                return {{"backend", backend.name}, {"pinned", decision.pinned == FL_PINNED_FOLLOWED}};
    return nullptr;
}
}  // namespace

Result<Json> explain(const tables::Tables& tables, const Question& question) {
    const auto made = make_packet(question);
    if (!made) return tl::unexpected(made.error());
    const Trial trial(tables, *made);
    const auto snapshot = tables::take_snapshot(tables);
    auto json = describe(question, made->size(), trial.decision, trial.packet, snapshot);
    json["open"] = open_json(tables, question, trial.decision, snapshot);
    return json;
}

}  // namespace fairlead::lbctl
