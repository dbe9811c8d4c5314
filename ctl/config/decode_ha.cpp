// SPDX-License-Identifier: Apache-2.0
// [ha]: every key and value by itself.
#include <array>

#include "ctl/config/draft.h"

namespace fairlead::config {
namespace {

const KeyList kHaKeys = {
    .known = {"mode", "vrid", "priority", "advert_interval", "preempt", "preempt_delay", "peers", "announce", "route",
              "track", "group", "hello_port"},
    .reserved = {},
    .elsewhere = {},
};
const KeyList kGroupKeys = {
    .known = {"name", "vrid", "vips", "priority", "advert_interval", "preempt", "preempt_delay"},
    .reserved = {},
    .elsewhere = {{"mode", "[ha]"}, {"peers", "[ha]"}, {"hello_port", "[ha]"}, {"announce", "[ha]"}, {"track", "[ha]"}},
};
const KeyList kRouteKeys = {.known = {"table", "protocol", "on_stop"}, .reserved = {}, .elsewhere = {}};
const KeyList kTrackKeys = {.known = {"interface", "engine", "backends"}, .reserved = {}, .elsewhere = {}};

constexpr std::array<Choice<HaMode>, 3> kModes = {
    {{"none", HaMode::kNone}, {"vrrp", HaMode::kVrrp}, {"external", HaMode::kExternal}}};
constexpr std::array<Choice<Announce>, 2> kAnnouncements = {{{"arp", Announce::kArp}, {"route", Announce::kRoute}}};
constexpr std::array<Choice<OnStop>, 2> kOnStop = {{{"withdraw", OnStop::kWithdraw}, {"keep", OnStop::kKeep}}};

// What an advert carries: 12 bits of centiseconds (RFC 9568 section 5.2.7).
constexpr Milliseconds kIntervalUnit{10};
constexpr Milliseconds kIntervalMaximum{40'950};
constexpr std::int64_t kPenaltyMaximum = 253;
constexpr Range kVrids{1, 255};
constexpr Range kPriorities{1, 255};

// The kernel's own tables (linux/rtnetlink.h): the host routes by them.
constexpr Range kKernelTables = {253, 255};
// Below are the numbers of the kernel and of the daemons that iproute2 knows, above those of FRR: some of these daemons
// remove at their start what they take to be left over from themselves.
constexpr Range kRouteProtocols = {19, 185};

void decode_interval(const TableReader& reader, Milliseconds& interval) {
    const auto found = reader.duration("advert_interval", kIntervalUnit, kIntervalMaximum);
    if (!found) return;
    if (found->value % kIntervalUnit != Milliseconds{0})
        reader.report().add(found->at, "'advert_interval' must be a multiple of 10ms, which is what adverts carry");
    interval = found->value;
}

// A penalty, or "fault".
void decode_penalty(const TableReader& reader, std::string_view key, HaPenalty& penalty) {
    const auto* value = reader.get(key);
    if (value == nullptr) return;
    if (value->kind == Kind::kString && value->text == "fault") {
        penalty = {0, true};
    } else if (value->kind == Kind::kInteger && value->integer >= 0 && value->integer <= kPenaltyMaximum) {
        penalty = {static_cast<std::uint8_t>(value->integer), false};
    } else {
        reader.wrong(key, *value, "what is taken off the priority, 0 to 253, or \"fault\": never active then");
    }
}

void decode_track(const TableReader& ha, Ha& value) {
    const auto* table = section(ha, "track");
    if (table == nullptr) return;
    const TableReader reader(ha.report(), *table, "[ha.track]", kTrackKeys);
    decode_penalty(reader, "interface", value.track_interface);
    decode_penalty(reader, "engine", value.track_engine);
    decode_penalty(reader, "backends", value.track_backends);
}

void decode_routes(const TableReader& ha, Ha& value) {
    const auto* table = section(ha, "route");
    if (table == nullptr) return;
    const auto* announce = ha.get("announce");
    if (announce == nullptr || announce->text == "arp")
        ha.report().add(table->at, "[ha.route] is for announce = \"route\" alone");
    const TableReader reader(ha.report(), *table, "[ha.route]", kRouteKeys);
    if (const auto number = reader.integer("table", {1, UINT32_MAX})) {
        value.routes.table = static_cast<std::uint32_t>(number->value);
        if (number->value >= kKernelTables.low && number->value <= kKernelTables.high)
            reader.report().add(number->at,
                                "'table' must be one that the host does not route by: 253 to 255 are the "
                                "kernel's default, main and local");
    }
    if (const auto number = reader.integer("protocol", kRouteProtocols))
        value.routes.protocol = static_cast<std::uint8_t>(number->value);
    if (const auto on_stop = reader.choice<OnStop>("on_stop", kOnStop)) value.routes.on_stop = on_stop->value;
}

void decode_peers(const TableReader& reader, std::vector<IpAddress>& peers) {
    constexpr std::string_view kExpected = "a list of addresses of nodes; without it adverts are sent by multicast";
    const auto texts = reader.strings("peers", kExpected, false);
    if (!texts) return;
    for (const auto& text : *texts) {
        const auto address = IpAddress::parse(text.value);
        if (address && !address->is_multicast() && !address->is_unspecified())
            peers.push_back(*address);
        else
            reader.report().add(text.at, "'peers': " + quote(text.value) + " is not the address of a node");
    }
}

// What each group has, and [ha] for the default one and those that do not say.
template <typename Group>
void decode_settings(const TableReader& reader, Group& group) {
    if (const auto vrid = reader.integer("vrid", kVrids)) group.vrid = static_cast<std::uint8_t>(vrid->value);
    if (const auto priority = reader.integer("priority", kPriorities))
        group.priority = static_cast<std::uint8_t>(priority->value);
    decode_interval(reader, group.advert_interval);
    if (const auto preempt = reader.boolean("preempt")) group.preempt = preempt->value;
    if (const auto delay = reader.duration("preempt_delay", Milliseconds{0}, std::chrono::hours{1}))
        group.preempt_delay = delay->value;
}

std::optional<Position> position_of(const TableReader& reader, std::string_view key) {
    const auto* value = reader.get(key);
    return value == nullptr ? std::nullopt : std::optional(value->at);
}

HaGroupDraft decode_group(Report& report, const Value& table, const Ha& defaults) {
    const TableReader reader(report, table, "[[ha.group]]", kGroupKeys);
    HaGroupDraft group;
    group.at = reader.at();
    group.value = {{}, 0, defaults.priority, defaults.advert_interval, defaults.preempt, defaults.preempt_delay, {}};
    reader.require("name", "a name that no other group has");
    if (const auto name = reader.name("name")) {
        group.value.name = name->value;
        group.name_at = name->at;
    }
    reader.require("vrid", "the number of the group, 1 to 255, the same on all nodes");
    decode_settings(reader, group.value);
    if (group.value.vrid != 0) group.vrid_at = position_of(reader, "vrid");
    constexpr std::string_view kExpected = "a list of VIPs of services";
    reader.require("vips", kExpected);
    const auto texts = reader.strings("vips", kExpected, false);
    if (texts && texts->empty()) report.add(*position_of(reader, "vips"), "'vips' is empty; expected at least one");
    for (const auto& text : texts.value_or(std::vector<Located<std::string>>{})) {
        if (const auto vip = IpAddress::parse(text.value))
            group.vips.push_back({*vip, text.at});
        else
            report.add(text.at, "'vips': " + quote(text.value) + " is not an IPv4 or IPv6 address");
    }
    return group;
}

std::optional<std::uint8_t> priority_in(const Value& value) {
    if (value.kind != Kind::kInteger || value.integer < kPriorities.low || value.integer > kPriorities.high)
        return std::nullopt;
    return static_cast<std::uint8_t>(value.integer);
}

}  // namespace

// A number, or one for each group that is named: { default = 150, second = 50 }.
void decode_node_priority(const TableReader& reader, NodeDraft& node) {
    constexpr std::string_view kExpected =
        "an integer from 1 to 255, or one for each group, such as { default = 150, second = 50 }";
    const auto* value = reader.get("priority");
    if (value == nullptr) return;
    node.value.priority = priority_in(*value);
    if (node.value.priority) return;
    if (value->kind != Kind::kTable) return reader.wrong("priority", *value, kExpected);
    for (const auto& entry : value->entries) {
        if (const auto priority = priority_in(entry.value))
            node.value.priorities.emplace(entry.key, *priority);
        else
            reader.wrong("priority", entry.value, kExpected);
        node.prioritized.push_back({entry.key, entry.key_at});
    }
}

void decode_ha(const TableReader& top, Ha& ha, HaDraft& draft) {
    const auto* table = section(top, "ha");
    if (table == nullptr) return;
    const TableReader reader(top.report(), *table, "[ha]", kHaKeys);
    reader.require("mode", "\"none\", \"vrrp\" or \"external\"");
    if (const auto mode = reader.choice<HaMode>("mode", kModes)) ha.mode = mode->value;
    // With groups it depends on whether they leave a VIP over.
    if (ha.mode == HaMode::kVrrp && !reader.has("group"))
        reader.require("vrid", "the number of the VRRP group, 1 to 255, the same on all nodes");
    decode_settings(reader, ha);
    draft.at = reader.at();
    draft.vrid_at = position_of(reader, "vrid");
    draft.needs_vrid = ha.mode == HaMode::kVrrp && reader.has("group") && !reader.has("vrid");
    for (const auto* group : reader.tables("group", "[[ha.group]]"))
        draft.groups.push_back(decode_group(top.report(), *group, ha));
    decode_peers(reader, ha.peers);
    if (const auto announce = reader.choice<Announce>("announce", kAnnouncements)) ha.announce = announce->value;
    if (const auto port = reader.integer("hello_port", {0, 65535}))
        ha.hello_port = static_cast<std::uint16_t>(port->value);
    decode_routes(reader, ha);
    decode_track(reader, ha);
}

}  // namespace fairlead::config
