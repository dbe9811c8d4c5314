// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/capture_text.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "ctl/api/views.h"
#include "ctl/lbctl/capture_filter.h"
#include "ctl/lbctl/packet.h"
#include "dataplane/tables/memory_steer.h"
#include "dataplane/tables/records.h"

namespace fairlead::lbctl {
namespace {
using Json = nlohmann::ordered_json;

std::string tcp_flags_text(std::uint8_t flags) {
    constexpr std::array<const char*, 5> kNames{"FIN", "SYN", "RST", "PSH", "ACK"};  // from the lowest bit on
    std::string text;
    for (std::size_t bit = 0; bit < kNames.size(); ++bit)
        if (flags >> bit & 1) text += (text.empty() ? "" : ",") + std::string(kNames[bit]);
    return text;
}

std::string protocol_text(const fl_ip& ip) {
    switch (ip.protocol) {
        case FL_PROTO_TCP:
            return "tcp " + tcp_flags_text(ip.tcp_flags);
        case FL_PROTO_UDP:
            return "udp";
        case FL_PROTO_ICMP:
            return "icmp " + std::to_string(ip.icmp_type) + "/" + std::to_string(ip.icmp_code);
        case FL_PROTO_ICMPV6:
            return "icmpv6 " + std::to_string(ip.icmp_type) + "/" + std::to_string(ip.icmp_code);
        case FL_PROTO_IPIP:
        case FL_PROTO_IPV6:
            return "tunnel";
        default:
            return "protocol " + std::to_string(ip.protocol);
    }
}

std::string end_text(const fl_address& address, std::uint16_t port_on_wire) {
    const Endpoint end{tables::from_record(address), fl_ntohs(port_on_wire)};
    return port_on_wire ? end.to_string() : end.address.to_string();
}

// Of the IP packet of `family` at offset `at`.
std::string ip_text(const fl_packet& packet, std::uint8_t family, std::uint32_t at, std::uint32_t limit, int depth) {
    fl_ip ip{};
    fl_parse_ip_step(&packet, FL_PLACE_IP, family, at, limit, &ip);
    if (ip.fault == FL_FAULT_NOT_IP) return "malformed IP";
    auto text = end_text(ip.source, static_cast<std::uint16_t>(ip.ports)) + " > " +
                end_text(ip.destination, static_cast<std::uint16_t>(ip.ports >> 16)) + " " + protocol_text(ip);
    if (ip.fragment != FL_FRAGMENT_NOT)
        text += ip.fragment == FL_FRAGMENT_FIRST ? " first fragment" : " later fragment";
    const auto inner = fl_family_of_protocol(ip.protocol);
    if (inner && depth == 0 && ip.fault == FL_FAULT_NONE)
        text += " | " + ip_text(packet, inner, ip.l4, limit, depth + 1);
    return text;
}

std::string reason_name(const fl_capture_entry& entry) {
    return std::string(api::reason_text(static_cast<fl_reason>(entry.reason)).name);
}

bool steered(const fl_capture_entry& entry) {
    return entry.action == FL_ACTION_FORWARD || entry.action == FL_ACTION_LOCAL;
}

std::string pin_text(std::uint8_t pinned) {
    switch (pinned) {
        case FL_PINNED_FOLLOWED:
            return ", by its pin";
        case FL_PINNED_NEW:
            return ", pinned anew";
        case FL_PINNED_PREVIOUS:
            return ", the slot's previous owner";
        default:
            return "";
    }
}

const char* outcome_name(std::uint8_t verdict) {
    constexpr std::array<const char*, 4> kNames{"pass", "drop", "transmit", "hand"};  // by fl_verdict
    return verdict < kNames.size() ? kNames[verdict] : "unknown";
}

// To the nanosecond, as rfc3339_ns() is to the millisecond.
std::string time_text(std::uint64_t realtime_ns) {
    constexpr std::size_t kToTheSecond = 19;
    std::array<char, 16> fraction{};
    std::snprintf(fraction.data(), fraction.size(), ".%09u", static_cast<unsigned>(realtime_ns % 1'000'000'000));
    return api::rfc3339_ns(realtime_ns).substr(0, kToTheSecond) + fraction.data() + "Z";
}

std::string hex(std::span<const std::uint8_t> bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    std::string text;
    for (const auto byte : bytes) (text += kDigits[byte >> 4]) += kDigits[byte & 15];
    return text;
}

const std::string* find(const std::map<std::uint32_t, std::string>& names, std::uint32_t id) {
    const auto found = names.find(id);
    return found == names.end() ? nullptr : &found->second;
}

Json name_or_null(const std::map<std::uint32_t, std::string>& names, std::uint32_t id) {
    const auto* name = find(names, id);
    return name ? Json(*name) : Json();
}
}  // namespace

std::string flow_text(std::span<const std::uint8_t> bytes, std::uint32_t length) {
    std::vector<std::uint8_t> copy(bytes.begin(), bytes.end());
    const fl_packet packet{copy.data(), copy.data() + copy.size()};
    fl_frame frame{};
    fl_parse_frame_step(&packet, length, &frame);
    const auto type = fl_ntohs(frame.type);
    const std::string tag = frame.tags ? "vlan " + std::to_string(frame.vlan) + " " : "";
    if (type == FL_ETHERTYPE_IPV4 || type == FL_ETHERTYPE_IPV6)
        return tag + ip_text(packet, type == FL_ETHERTYPE_IPV4 ? 4 : 6, frame.l3, length, 0);
    if (type == FL_ETHERTYPE_ARP) return tag + "arp";
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "type 0x%04x", type);
    return tag + text.data();
}

CaptureText::CaptureText(const tables::Snapshot& snapshot, const fl_limits& limits)
    : cpus_(limits.strides - FL_MAX_WORKERS) {
    for (const auto& port : snapshot.ports) ports_[port.number] = port.name;
    for (const auto& service : snapshot.services) services_[service.id] = service.name;
    for (const auto& vip : snapshot.vips) vips_[vip.id] = vip.address.to_string();
    for (const auto& pool : snapshot.pools) {
        pools_[pool.id] = pool.name;
        for (const auto& backend : pool.backends)
            backends_[backend.global_index] = {backend.name, backend.address.to_string(), pool.name};
    }
}

std::string CaptureText::port_name(std::uint32_t number) const {
    const auto* name = find(ports_, number);
    return name ? *name : "port " + std::to_string(number);
}

std::string CaptureText::interface(const fl_capture_entry& entry) const {
    const bool leaves = entry.stage == FL_CAPTURE_AFTER && entry.verdict == FL_VERDICT_TRANSMIT;
    return port_name(leaves ? entry.egress : entry.ingress);
}

// "slave (192.0.2.12) by ipip, by its pin, service web": what of it there is.
std::string CaptureText::target(const fl_capture_entry& entry) const {
    std::string text;
    const auto found = backends_.find(entry.backend);
    if (entry.chosen) {
        text = found == backends_.end() ? "a backend that is gone"
                                        : found->second.name + " (" + found->second.address + ")";
        if (steered(entry)) text += " by " + std::string(api::to_string(static_cast<fl_forward>(entry.forward)));
        text += pin_text(entry.pinned);
    }
    if (const auto* service = find(services_, entry.service))
        text += (text.empty() ? "service " : ", service ") + *service;
    return text;
}

std::string CaptureText::sentence(const fl_capture_entry& entry) const {
    const auto to = target(entry);
    const std::string behind = to.empty() ? "" : ", " + std::string(entry.chosen ? "to " : "") + to;
    if (entry.stage == FL_CAPTURE_BEFORE) {
        const std::string verdict(verdict_name(entry.action));
        return steered(entry) ? verdict + " to " + to : verdict + ", " + reason_name(entry) + behind;
    }
    switch (entry.verdict) {
        case FL_VERDICT_TRANSMIT:
            return "transmit by " + port_name(entry.egress) + behind;
        case FL_VERDICT_PASS:
            return "pass to the host" + behind;
        case FL_VERDICT_DROP:
            return "drop, " + reason_name(entry) + behind;
        default:
            return "hand to lb-dpdk" + behind;
    }
}

std::string CaptureText::comment(const fl_capture_entry& entry) const {
    return (entry.stage == FL_CAPTURE_BEFORE ? "before: " : "after: ") + sentence(entry);
}

std::string CaptureText::line(const tables::Captured& captured, std::uint64_t realtime_ns) const {
    const auto& entry = captured.entry;
    const auto time = time_text(realtime_ns);
    return time.substr(time.find('T') + 1) + (entry.stage == FL_CAPTURE_BEFORE ? " before " : " after  ") +
           interface(entry) + "  " + flow_text(captured.bytes, entry.frame) + ", " + std::to_string(entry.frame) +
           " bytes: " + sentence(entry);
}

Json CaptureText::json(const tables::Captured& captured, std::uint64_t realtime_ns) const {
    const auto& entry = captured.entry;
    const bool before = entry.stage == FL_CAPTURE_BEFORE;
    const auto backend = entry.chosen ? backends_.find(entry.backend) : backends_.end();
    Json json{{"time", time_text(realtime_ns)},
              {"stage", before ? "before" : "after"},
              {"verdict", before ? std::string(verdict_name(entry.action)) : outcome_name(entry.verdict)},
              {"reason", steered(entry) ? Json() : Json(reason_name(entry))},
              {"vip", name_or_null(vips_, entry.vip)},
              {"service", name_or_null(services_, entry.service)},
              {"pool", name_or_null(pools_, entry.pool)}};
    const bool known = backend != backends_.end();
    json["backend"] = known ? Json(backend->second.name) : Json();
    json["address"] = known ? Json(backend->second.address) : Json();
    json["forward"] = steered(entry) ? Json(api::to_string(static_cast<fl_forward>(entry.forward))) : Json();
    json["interface"] = interface(entry);
    json["engine"] = captured.stride < cpus_ ? "xdp" : "dpdk";
    json["core"] = captured.stride < cpus_ ? captured.stride : captured.stride - cpus_;
    json["packet"] = entry.packet;
    json["flow"] = flow_text(captured.bytes, entry.frame);
    json["text"] = comment(entry);
    json["length"] = entry.frame;
    json["frame"] = hex(captured.bytes);
    return json;
}

}  // namespace fairlead::lbctl
