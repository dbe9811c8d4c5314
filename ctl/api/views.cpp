// SPDX-License-Identifier: Apache-2.0
#include "ctl/api/views.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "dataplane/tables/grace.h"

namespace fairlead::api {
namespace {
void add_counts(Json& json, const tables::Counts& counts) {
    json["packets"] = counts.packets;
    json["bytes"] = counts.bytes;
    json["syns"] = counts.syns;
}

const plan::BackendDecision* decision_of(const ControllerFacts* facts, const std::string& pool,
                                         const std::string& name) {
    if (!facts) return nullptr;
    for (const auto& decision : facts->pools)
        if (decision.pool == pool)
            for (const auto& backend : decision.backends)
                if (backend.name == name) return &backend;
    return nullptr;
}

Json controller_json(const fl_meta& meta, const ControllerFacts* facts) {
    const auto last_seen = tables::load_word(meta.controller_realtime_ns);
    Json json;
    json["running"] = facts != nullptr;
    json["state"] = facts ? facts->state : "down";
    json["pid"] = facts ? Json(tables::load_word(meta.controller_pid)) : Json();
    json["since"] = facts ? Json(rfc3339(facts->since)) : Json();
    json["last_seen"] = last_seen ? Json(rfc3339_ns(last_seen)) : Json();
    return json;
}

// Of what the tables say, for the VIPs of one role: a word that has run out is no role, whoever wrote it.
struct RoleState {
    bool active = false;
    bool without_end = false;
    std::vector<std::string> vips;
};

// By number.
std::map<std::uint32_t, RoleState> role_states(const tables::Snapshot& snapshot) {
    const auto now_ns = tables::monotonic_ns();
    std::map<std::uint32_t, RoleState> states;
    for (const auto& vip : snapshot.vips) {
        auto& state = states[vip.role];
        state.active |= now_ns < vip.active_until_ns;
        state.without_end |= vip.active_until_ns == UINT64_MAX;
        state.vips.push_back(vip.address.to_string());
    }
    for (auto& [role, state] : states) std::sort(state.vips.begin(), state.vips.end());
    return states;
}

Json change_json(const HaChangeFacts& change) {
    return {{"at", rfc3339(change.at)},
            {"from", change.from},
            {"to", change.to},
            {"reason", change.reason},
            {"text", change.phrase},
            {"peer", change.peer.empty() ? Json() : Json(change.peer)},
            {"peer_priority", change.peer.empty() ? Json() : Json(change.peer_priority)}};
}

Json peer_json(const HaFacts& ha) {
    if (!ha.peer) return nullptr;
    return {{"address", ha.peer->address},
            {"priority", ha.peer->priority},
            {"interval_ms", ha.peer->interval_ms},
            {"last_advert", rfc3339(ha.peer->last_advert)},
            {"addresses_differ", ha.peer_addresses_differ},
            {"interval_differs", ha.peer_interval_differs}};
}

// Null members: without HA, or without lbd.
Json group_json(std::uint32_t role, const RoleState& state, const HaFacts* ha) {
    Json json{{"name", ha ? Json(ha->name) : Json()}, {"vrid", role}, {"vips", state.vips}, {"active", state.active}};
    const auto* last = ha && !ha->history.empty() ? &ha->history.front() : nullptr;
    json["reason"] = last                ? last->phrase
                     : state.without_end ? "no HA configured"
                     : state.active      ? "lease held"
                                         : "not active yet";
    json["since"] = last ? Json(rfc3339(last->at)) : Json();
    json["priority"] = ha ? Json(ha->priority) : Json();
    json["peer"] = ha ? peer_json(*ha) : Json();
    return json;
}

// In the config's order where lbd says it, else by number.
Json groups_json(const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    auto states = role_states(snapshot);
    Json groups = Json::array();
    for (const auto& ha : facts ? facts->ha : std::vector<HaFacts>{}) {
        groups.push_back(group_json(ha.vrid, states[ha.vrid], &ha));
        states.erase(ha.vrid);
    }
    for (const auto& [role, state] : states) groups.push_back(group_json(role, state, nullptr));
    return groups;
}

// Of the first group; "active" for any of them.
Json role_json(const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    auto groups = groups_json(snapshot, facts);
    const auto active = std::any_of(groups.begin(), groups.end(),
                                    [](const auto& group) { return group["active"].template get<bool>(); });
    const auto first = groups.empty() ? group_json(0, {}, nullptr) : groups.front();
    return {{"active", active},        {"reason", first["reason"]},
            {"since", first["since"]}, {"priority", first["priority"]},
            {"peer", first["peer"]},   {"groups", std::move(groups)}};
}

Json announce_json(const ControllerFacts* facts) {
    if (!facts || !facts->announce) return nullptr;
    const auto& announce = *facts->announce;
    Json json{{"by", "route"}, {"table", announce.table}, {"protocol", announce.protocol}};
    json["vips"] = Json::array();
    for (const auto& vip : announce.vips)
        json["vips"].push_back({{"vip", vip.vip}, {"announced", vip.announced}, {"reason", vip.reason}});
    return json;
}

// Null without HA or lbd.
Json nodes_json(const ControllerFacts* facts) {
    if (!facts || !facts->hello) return nullptr;
    Json nodes = Json::array();
    for (const auto& node : facts->hello->nodes) {
        Json json{{"name", node.name}, {"address", node.address}, {"last_hello", rfc3339(node.last_hello)}};
        json["differs"] = node.differs;
        json["groups"] = Json::array();
        for (const auto& group : node.groups) {
            Json row{{"vrid", group.vrid}, {"state", group.state}};
            row["priority"] = group.priority;
            row["ready"] = group.ready;
            json["groups"].push_back(std::move(row));
        }
        nodes.push_back(std::move(json));
    }
    return nodes;
}

// A VLAN's number; 0 = untagged; null = whatever a frame has.
Json vlan_json(std::uint32_t vlan) { return vlan == FL_VLAN_NONE ? Json() : Json(vlan); }

// Who steers what comes in there.
std::string_view engine_of(const tables::PortStatus& port) {
    return to_string(port.flags & FL_PORT_FEED ? FL_ENGINE_DPDK : port.mode);
}

Json lb_dpdk_json(const tables::Tables& tables) {
    const auto workers = tables::living_workers(tables);
    if (workers.empty()) return nullptr;
    return {{"pid", workers.front().pid}, {"workers", workers.size()}};
}

// A device of DPDK's is as good as lb-dpdk is alive.
bool is_attached(const tables::PortStatus& port, const tables::Tables& tables) {
    return port.mode == FL_ENGINE_DPDK ? tables::any_worker_lives(tables) : port.mode != FL_ENGINE_NONE;
}

Json port_json(const tables::PortStatus& port, const tables::Tables& tables, const ControllerFacts* facts) {
    const fl_port& record = tables.ports()[port.number];
    const PortFacts* more = nullptr;
    if (facts)
        for (const auto& known : facts->ports)
            if (known.number == port.number) more = &known;
    Json json{{"number", port.number}, {"interface", port.name}, {"engine", engine_of(port)}};
    json["reason"] = more ? Json(more->reason) : Json();
    json["mac"] = tables::mac_of(record.mac).to_string();
    json["mtu"] = port.mtu;
    json["max_mtu"] = more && more->max_mtu ? Json(*more->max_mtu) : Json();
    json["frames"] = (port.flags & FL_PORT_FRAMES) != 0;
    json["vlan"] = vlan_json(FL_PORT_VLAN_IN(port.way));
    json["bond"] = more && !more->bond.empty() ? Json(more->bond) : Json();
    json["attached"] = is_attached(port, tables);
    return json;
}

std::string port_name(const tables::Snapshot& snapshot, std::uint32_t number) {
    for (const auto& port : snapshot.ports)
        if (port.number == number) return port.name;
    return "";
}

// A way out that is not an interface by itself: a VLAN behind one, or a bond by its active slave.
Json way_json(const tables::PortStatus& port, const fl_port& record, const tables::Snapshot& snapshot) {
    return {{"number", port.number},
            {"name", port.name},
            {"interface", port_name(snapshot, FL_PORT_DEVICE(port.way))},
            {"vlan", vlan_json(FL_PORT_VLAN_OUT(port.way))},
            {"mac", tables::mac_of(record.mac).to_string()},
            {"mtu", port.mtu}};
}

// What is said of a pool on every screen alike: by the controller, or as far as the tables know.
struct PoolVerdict {
    std::size_t eligible = 0;
    bool all_down = false;
    const plan::PoolDecision* decision = nullptr;
};

PoolVerdict verdict_of(const tables::PoolStatus& pool, const ControllerFacts* facts) {
    if (facts)
        for (const auto& decision : facts->pools)
            if (decision.pool == pool.name) return {decision.eligible, decision.all_down, &decision};
    PoolVerdict verdict;
    for (const auto& backend : pool.backends) verdict.eligible += backend.state == FL_BACKEND_HEALTHY;
    // With all_down = "any" the slots keep their owners.
    verdict.all_down = verdict.eligible == 0 || pool.slots_without_owner == pool.slots;
    return verdict;
}

Json pool_json(const tables::PoolStatus& pool, const ControllerFacts* facts) {
    const auto [eligible, all_down, decision] = verdict_of(pool, facts);
    Json json{{"name", pool.name}};
    json["tier"] = decision && decision->tier ? Json(*decision->tier) : Json();
    json["eligible"] = eligible;
    json["backends"] = pool.backends.size();
    json["all_down"] = all_down;
    json["reason"] = decision ? Json(decision->reason) : Json();
    return json;
}

Json serving_json(const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    std::size_t all_down = 0;
    for (const auto& service : snapshot.services) {
        const auto* pool = snapshot.find_pool(service.pool);
        all_down += !pool || verdict_of(*pool, facts).all_down;
    }
    return {{"vips", snapshot.vips.size()}, {"services", snapshot.services.size()}, {"all_down", all_down}};
}

Json next_hop_json(const tables::BackendStatus& backend, const tables::Snapshot& snapshot, const NextHopFacts* facts) {
    if (backend.forward == FL_FORWARD_LOCAL) return nullptr;
    const auto word = backend.nexthop_word;
    Json json{{"address", facts ? Json(facts->address) : Json()}, {"interface", nullptr}, {"vlan", nullptr}};
    for (const auto& port : snapshot.ports)
        if (word && port.number == FL_NEXTHOP_PORT(word)) {
            json["interface"] = port.is_device() ? port.name : port_name(snapshot, FL_PORT_DEVICE(port.way));
            json["vlan"] = vlan_json(FL_PORT_VLAN_OUT(port.way));
        }
    if (facts && !facts->interface.empty()) json["interface"] = facts->interface;
    json["mac"] = word ? Json(tables::mac_of(FL_NEXTHOP_MAC(word)).to_string()) : Json();
    json["resolved"] = word != 0;
    json["reason"] = facts ? Json(facts->reason) : Json();
    return json;
}

Json checks_json(const std::vector<CheckFacts>& checks) {
    Json json = Json::array();
    for (const auto& check : checks)
        json.push_back({{"check", check.check},
                        {"state", check.state},
                        {"since", rfc3339(check.since)},
                        {"last_ms", check.last_ms},
                        {"error", check.error},
                        {"failures", check.failures}});
    return json;
}

Json backend_json(const tables::PoolStatus& pool, const tables::BackendStatus& backend,
                  const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    const auto* decision = decision_of(facts, pool.name, backend.name);
    const BackendFacts* more = nullptr;
    if (facts)
        if (const auto found = facts->backends.find({pool.name, backend.name}); found != facts->backends.end())
            more = &found->second;
    Json json{
        {"pool", pool.name}, {"name", backend.name}, {"address", backend.address.to_string()}, {"tier", backend.tier}};
    json["weight"] = decision ? Json(decision->weight) : Json();
    json["configured_weight"] = decision ? Json(decision->configured_weight) : Json();
    json["forward"] = to_string(backend.forward);
    json["state"] = to_string(backend.state);
    json["eligible"] = decision ? Json(decision->eligible) : Json();
    json["in_use"] = backend.slots_owned > 0;
    json["reason"] = decision ? Json(decision->reason) : Json();
    json["drained"] = decision ? decision->drained : backend.state == FL_BACKEND_DRAINING;
    json["leaving"] = decision ? Json(decision->leaving) : Json();
    json["slots"] = backend.slots_owned;
    json["pool_slots"] = pool.slots;
    json["mtu"] = backend.mtu;
    json["next_hop"] = next_hop_json(backend, snapshot, more ? &more->next_hop : nullptr);
    json["checks"] = more ? checks_json(more->checks) : Json();
    add_counts(json, backend.counts);
    return json;
}
}  // namespace

Json status_view(const std::string& instance, const tables::Tables& tables, const tables::Snapshot& snapshot,
                 const ControllerFacts* facts) {
    const auto& meta = tables.meta();
    Json json;
    json["instance"] = instance;
    json["node"] = facts ? Json(facts->node) : Json();
    json["version"] = FAIRLEAD_VERSION;
    json["controller"] = controller_json(meta, facts);
    json["config"] = facts ? Json{{"file", facts->config_file},
                                  {"loaded", rfc3339(facts->config_loaded)},
                                  {"reload_error", facts->reload_error ? Json(*facts->reload_error) : Json()},
                                  {"state_file", facts->state_file}}
                           : Json();
    json["role"] = role_json(snapshot, facts);
    json["nodes"] = nodes_json(facts);
    json["sync"] = sync_view(facts)["sync"];
    json["announce"] = announce_json(facts);
    json["serving"] = serving_json(snapshot, facts);
    json["lb_dpdk"] = lb_dpdk_json(tables);
    json["ports"] = Json::array();
    json["ways"] = Json::array();
    for (const auto& port : snapshot.ports) {
        const auto& record = tables.ports()[port.number];
        if (port.is_device())
            json["ports"].push_back(port_json(port, tables, facts));
        else
            json["ways"].push_back(way_json(port, record, snapshot));
    }
    json["pools"] = Json::array();
    for (const auto& pool : snapshot.pools) json["pools"].push_back(pool_json(pool, facts));
    json["tables"] = Json::array();
    for (const auto& usage : snapshot.usage) {
        // Pins are counted by lbd's scans alone.
        const bool counted = facts && facts->pins.scans > 0;
        const auto used = usage.table != "pins" ? Json(usage.used) : counted ? Json(facts->pins.used()) : Json();
        json["tables"].push_back({{"table", usage.table}, {"used", used}, {"size", usage.size}});
    }
    json["tables_bytes"] = tables.bytes();
    std::array<char, 9> key_id{};
    std::snprintf(key_id.data(), key_id.size(), "%08x", meta.hash_key_id);
    json["hash_key_id"] = key_id.data();
    return json;
}

namespace {
Json ha_group_json(const HaFacts& ha, const RoleState& state) {
    Json json{{"name", ha.name}, {"mode", ha.mode}, {"vrid", ha.vrid}, {"vips", state.vips}, {"state", ha.state}};
    json["active"] = state.active;
    json["priority"] = ha.priority;
    json["configured_priority"] = ha.configured_priority;
    json["ready"] = ha.ready;
    json["fault"] = ha.fault;
    json["handed_over"] = ha.released;
    json["split_brain"] = ha.split;
    json["peer"] = peer_json(ha);
    json["adverts"] = {
        {"sent", ha.adverts_sent}, {"send_failures", ha.send_failures}, {"received", ha.adverts_received}};
    json["adverts"]["refused"] = Json::object();
    for (const auto& [reason, count] : ha.refused) json["adverts"]["refused"][reason] = count;
    json["transitions"] = ha.transitions;
    json["split_brains"] = ha.split_brains;
    json["history"] = Json::array();
    for (const auto& change : ha.history) json["history"].push_back(change_json(change));
    return json;
}
Json hellos_json(const HelloFacts& hello) {
    std::array<char, 17> digest{};
    std::snprintf(digest.data(), digest.size(), "%016llx", static_cast<unsigned long long>(hello.config_digest));
    Json json{{"config_digest", digest.data()}, {"sent", hello.sent}, {"received", hello.received}};
    json["refused"] = Json::object();
    for (const auto& [reason, count] : hello.refused) json["refused"][reason] = count;
    return json;
}
}  // namespace

// The first group's members stand beside the list of all: most nodes have one.
Json ha_view(const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    if (!facts || facts->ha.empty()) return {{"ha", nullptr}};
    auto states = role_states(snapshot);
    Json groups = Json::array();
    for (const auto& ha : facts->ha) groups.push_back(ha_group_json(ha, states[ha.vrid]));
    Json json = groups.front();
    json["groups"] = std::move(groups);
    json["nodes"] = nodes_json(facts);
    json["hellos"] = hellos_json(facts->hello.value_or(HelloFacts{}));
    return {{"ha", std::move(json)}};
}

Json services_view(const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    Json list = Json::array();
    for (const auto& service : snapshot.services) {
        const auto* pool = snapshot.find_pool(service.pool);
        const auto verdict = pool ? verdict_of(*pool, facts) : PoolVerdict{0, true, nullptr};
        Json json{{"name", service.name}, {"vip", service.vip.to_string()}};
        json["port"] = service.port ? Json(service.port) : Json("any");
        json["protocol"] = service.protocol == 17 ? "udp" : "tcp";
        json["pool"] = service.pool;
        json["state"] = verdict.all_down ? "all_down" : "up";
        json["backends"] = pool ? pool->backends.size() : 0;
        json["eligible"] = verdict.eligible;
        add_counts(json, service.counts);
        list.push_back(std::move(json));
    }
    return {{"services", std::move(list)}};
}

Json backends_view(const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    Json list = Json::array();
    for (const auto& pool : snapshot.pools)
        for (const auto& backend : pool.backends) list.push_back(backend_json(pool, backend, snapshot, facts));
    return {{"backends", std::move(list)}};
}

namespace {
Json pin_counts_json(const ControllerFacts* facts) {
    if (!facts || facts->pins.scans == 0) return nullptr;
    const auto& pins = facts->pins;
    return {{"probation", pins.probation},
            {"confirmed", pins.confirmed},
            {"closing", pins.closing},
            {"free", pins.free},
            {"scans", pins.scans}};
}

Json pool_transition_json(const tables::PoolStatus& pool, const ControllerFacts* facts) {
    Json json{{"name", pool.name}, {"slots", pool.slots}, {"in_transition", pool.slots_in_transition}};
    const PoolTransitionFacts* more = nullptr;
    if (facts)
        if (const auto found = facts->transitions.find(pool.name); found != facts->transitions.end())
            more = &found->second;
    json["oldest_s"] = more ? Json(more->oldest_s) : Json();
    json["waits_for"] = more ? Json{{"engines", more->engines},
                                    {"connections", more->connections},
                                    {"pins", more->pins},
                                    {"scan", more->scan}}
                             : Json();
    json["backends"] = Json::array();
    for (const auto& backend : pool.backends) {
        Json pins;
        if (facts && facts->pins.scans > 0) {
            const auto found = facts->pins.by_backend.find({pool.name, backend.name});
            pins = found == facts->pins.by_backend.end() ? 0 : found->second;
        }
        json["backends"].push_back({{"name", backend.name},
                                    {"state", to_string(backend.state)},
                                    {"slots", backend.slots_owned},
                                    {"slots_previous", backend.slots_previous},
                                    {"pins", std::move(pins)}});
    }
    return json;
}
}  // namespace

Json transitions_view(const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    std::uint64_t moving = 0;
    for (const auto& pool : snapshot.pools) moving += pool.slots_in_transition;
    Json json{{"slots_in_transition", moving}, {"pins", pin_counts_json(facts)}};
    json["events"] = Json::object();
    static constexpr const char* kNames[] = {
#define FL_X(symbol, name, help) name,
        FL_EVENT_LIST(FL_X)
#undef FL_X
    };
    for (std::size_t i = 0; i < snapshot.events.size(); ++i) json["events"][kNames[i]] = snapshot.events[i];
    json["pools"] = Json::array();
    for (const auto& pool : snapshot.pools) json["pools"].push_back(pool_transition_json(pool, facts));
    return json;
}

namespace {
constexpr std::array<const char*, 4> kReasonGroups{"passed", "answered", "dropped", "handed"};  // by fl_reason_class
}  // namespace

Json counters_view(const tables::Snapshot& snapshot, const ControllerFacts* facts) {
    Json json{
        {"passed", Json::array()}, {"answered", Json::array()}, {"dropped", Json::array()}, {"handed", Json::array()}};
    json["all_down"] = Json::array();
    for (const auto& pool : snapshot.pools)
        if (verdict_of(pool, facts).all_down) json["all_down"].push_back(pool.name);
    for (int i = 0; i < FL_REASON_COUNT; ++i) {
        const auto& text = reason_text(static_cast<fl_reason>(i));
        const auto& counts = snapshot.reasons[static_cast<std::size_t>(i)];
        json[kReasonGroups[text.kind]].push_back(
            {{"reason", text.name}, {"help", text.help}, {"packets", counts.packets}, {"bytes", counts.bytes}});
    }
    return json;
}

namespace {
Json core_json(const tables::CounterReader& reader, std::uint32_t stride) {
    const auto steered = reader.services_of(stride);
    auto all = steered;
    std::array<std::uint64_t, kReasonGroups.size()> groups{};
    for (int i = 0; i < FL_REASON_COUNT; ++i) {
        const auto counts = reader.raw(stride, static_cast<std::uint32_t>(i));
        groups.at(reason_text(static_cast<fl_reason>(i)).kind) += counts.packets;
        all += counts;
    }
    Json json{{"packets", all.packets}, {"bytes", all.bytes}, {"steered", steered.packets}};
    for (std::size_t i = 0; i < groups.size(); ++i) json[kReasonGroups.at(i)] = groups.at(i);
    json["unsent"] = reader.raw(stride, FL_EVENT_UNSENT).packets;
    return json;
}
}  // namespace

Json cores_view(const tables::Tables& tables) {
    const tables::CounterReader reader(tables);
    const auto cpus = tables.limits().strides - FL_MAX_WORKERS;
    const auto living = tables::living_workers(tables);
    Json json{{"cores", Json::array()}};
    for (std::uint32_t stride = 0; stride < tables.limits().strides; ++stride) {
        const bool worker = stride >= cpus;
        const auto lives = std::ranges::find(living, stride, &tables::LivingWorker::stride);
        const bool running = lives != living.end();
        Json row{{"engine", worker ? "dpdk" : "xdp"},
                 {"core", worker ? stride - cpus : stride},
                 {"running", worker ? Json(running) : Json()},
                 {"pid", running ? Json(lives->pid) : Json()}};
        row.update(core_json(reader, stride));
        if (!worker || running || row["packets"] != 0) json["cores"].push_back(std::move(row));
    }
    return json;
}

std::string rfc3339(WallTime time) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
    const std::time_t seconds = ms / 1000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
    std::array<char, 8> fraction{};
    std::snprintf(fraction.data(), fraction.size(), ".%03dZ", static_cast<int>(ms % 1000));
    return std::string(text.data()) + fraction.data();
}

std::string rfc3339_ns(std::uint64_t ns) {
    return rfc3339(WallTime(std::chrono::duration_cast<WallTime::duration>(std::chrono::nanoseconds(ns))));
}

std::string_view to_string(fl_backend_state state) {
    switch (state) {
        case FL_BACKEND_HEALTHY:
            return "healthy";
        case FL_BACKEND_UNHEALTHY:
            return "unhealthy";
        case FL_BACKEND_DRAINING:
            return "draining";
        case FL_BACKEND_DEAD:
            return "dead";
        default:
            return "unknown";
    }
}

std::string_view to_string(fl_engine_kind engine) {
    switch (engine) {
        case FL_ENGINE_XDP_NATIVE:
            return "xdp-native";
        case FL_ENGINE_XDP_GENERIC:
            return "xdp-generic";
        case FL_ENGINE_DPDK:
            return "dpdk";
        default:
            return "none";
    }
}

const ReasonText& reason_text(fl_reason reason) {
    static constexpr ReasonText kTexts[] = {
#define FL_X(symbol, kind, name, help) {FL_CLASS_##kind, name, help},
        FL_REASON_LIST(FL_X)
#undef FL_X
    };
    return kTexts[reason];
}

}  // namespace fairlead::api
