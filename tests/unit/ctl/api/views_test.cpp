// SPDX-License-Identifier: Apache-2.0
// The objects of docs/api.md: exactly the documented keys, with a controller and without.
#include "ctl/api/views.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/unit/ctl/lbctl/world.h"

namespace fairlead::api {
namespace {
using namespace test;
using Keys = std::vector<std::string>;

Keys keys_of(const Json& json) {
    Keys keys;
    for (const auto& [key, value] : json.items()) keys.push_back(key);
    return keys;
}

const Json& find(const Json& list, const std::string& key, const std::string& value) {
    for (const auto& row : list)
        if (row[key] == value) return row;
    throw std::runtime_error("no " + value);
}

plan::BackendDecision decision(const std::string& name, int tier, bool eligible, const std::string& reason) {
    plan::BackendDecision d;
    d.name = name;
    d.tier = tier;
    d.eligible = eligible;
    d.reason = reason;
    return d;
}

// The controller's view of pool "tiers": Master healthy, Slave drained by hand while it is down.
ControllerFacts facts() {
    ControllerFacts f;
    f.state = "running";
    f.since = WallTime(std::chrono::seconds(1'700'000'000));
    f.node = "lb-a";
    f.config_file = "/etc/fairlead/fairlead.toml";
    f.config_loaded = f.since + std::chrono::milliseconds(1500);
    plan::PoolDecision pool;
    pool.pool = "tiers";
    pool.tier = 0;
    pool.eligible = 1;
    pool.reason = "tier 0: 1 of 1 backends eligible";
    pool.backends = {decision("master", 0, true, "in use"), decision("slave", 1, false, "drained")};
    pool.backends[0].weight = 50;
    pool.backends[1].drained = true;
    f.pools = {pool};
    BackendFacts master;
    master.next_hop = {"203.0.113.11", "eth0", "02:00:00:00:00:b1", true, ""};
    master.checks = {{"tcp 203.0.113.11:80", "up", f.since, 1.25, "", 3}};
    f.backends[{"tiers", "master"}] = master;
    f.ports = {{1, "driver knows it", 9216, "bond0"}};
    return f;
}

Json status(const World& world, const ControllerFacts* f) {
    return status_view("default", world.tables, tables::take_snapshot(world.tables), f);
}
Json services(const World& world, const ControllerFacts* f) {
    return services_view(tables::take_snapshot(world.tables), f)["services"];
}
Json backends(const World& world, const ControllerFacts* f) {
    return backends_view(tables::take_snapshot(world.tables), f)["backends"];
}
Json counters(const World& world, const ControllerFacts* f) {
    return counters_view(tables::take_snapshot(world.tables), f);
}

TEST(Views, StatusHasTheDocumentedKeys) {
    const World world;
    const auto f = facts();
    for (const auto* known : {&f, static_cast<const ControllerFacts*>(nullptr)}) {
        const auto json = status(world, known);
        EXPECT_EQ(keys_of(json),
                  (Keys{"instance", "node", "version", "controller", "config", "role", "nodes", "sync", "announce",
                        "serving", "lb_dpdk", "ports", "ways", "pools", "tables", "tables_bytes", "hash_key_id"}));
        EXPECT_EQ(keys_of(json["controller"]), (Keys{"running", "state", "pid", "since", "last_seen"}));
        EXPECT_EQ(keys_of(json["role"]), (Keys{"active", "reason", "since", "priority", "peer", "groups"}));
        EXPECT_EQ(keys_of(json["serving"]), (Keys{"vips", "services", "all_down"}));
        ASSERT_EQ(json["ports"].size(), 1U);
        EXPECT_EQ(keys_of(json["ports"][0]), (Keys{"number", "interface", "engine", "reason", "mac", "mtu", "max_mtu",
                                                   "frames", "vlan", "bond", "attached"}));
        ASSERT_EQ(json["pools"].size(), 12U);
        for (const auto& pool : json["pools"])
            EXPECT_EQ(keys_of(pool), (Keys{"name", "tier", "eligible", "backends", "all_down", "reason"}));
        for (const auto& table : json["tables"]) EXPECT_EQ(keys_of(table), (Keys{"table", "used", "size"}));
    }
}

TEST(Views, StatusWithAController) {
    const World world;
    auto f = facts();
    auto json = status(world, &f);
    EXPECT_EQ(json["instance"], "default");
    EXPECT_EQ(json["node"], "lb-a");
    EXPECT_EQ(json["controller"], Json({{"running", true},
                                        {"state", "running"},
                                        {"pid", 4711},
                                        {"since", "2023-11-14T22:13:20.000Z"},
                                        {"last_seen", "2023-11-14T22:13:20.123Z"}}));
    EXPECT_EQ(keys_of(json["config"]), (Keys{"file", "loaded", "reload_error", "state_file"}));
    EXPECT_EQ(json["config"]["loaded"], "2023-11-14T22:13:21.500Z");
    EXPECT_EQ(json["config"]["reload_error"], nullptr);
    EXPECT_EQ(json["role"]["active"], true);
    EXPECT_EQ(json["role"]["reason"], "no HA configured");
    EXPECT_TRUE(json["role"]["since"].is_null());
    EXPECT_EQ(json["ports"][0], Json({{"number", 1},
                                      {"interface", "eth0"},
                                      {"engine", "xdp-native"},
                                      {"reason", "driver knows it"},
                                      {"mac", "02:00:00:00:00:01"},
                                      {"mtu", 1500},
                                      {"max_mtu", 9216},
                                      {"frames", false},
                                      {"vlan", nullptr},
                                      {"bond", "bond0"},
                                      {"attached", true}}));
    EXPECT_EQ(find(json["pools"], "name", "tiers"), Json({{"name", "tiers"},
                                                          {"tier", 0},
                                                          {"eligible", 1},
                                                          {"backends", 2},
                                                          {"all_down", false},
                                                          {"reason", "tier 0: 1 of 1 backends eligible"}}));
    EXPECT_EQ(json["tables_bytes"], world.tables.bytes());
    f.reload_error = "the file has errors";
    EXPECT_EQ(status(world, &f)["config"]["reload_error"], "the file has errors");
}

TEST(Views, StatusWithoutAControllerIsNullWhereOnlyItKnows) {
    const World world;
    const auto json = status(world, nullptr);
    EXPECT_EQ(json["node"], nullptr);
    EXPECT_EQ(json["config"], nullptr);
    EXPECT_EQ(json["controller"], Json({{"running", false},
                                        {"state", "down"},
                                        {"pid", nullptr},
                                        {"since", nullptr},
                                        {"last_seen", "2023-11-14T22:13:20.123Z"}}));
    EXPECT_EQ(json["ports"][0]["reason"], nullptr);
    EXPECT_EQ(json["ports"][0]["engine"], "xdp-native");
    const auto& pool = find(json["pools"], "name", "tiers");
    EXPECT_EQ(pool["tier"], nullptr);
    EXPECT_EQ(pool["reason"], nullptr);
    EXPECT_EQ(pool["eligible"], 2);
}

TEST(Views, WaysOutAreNotInterfaces) {
    World world;
    tables::TableWriter::Port port{"eth0", 7, *MacAddress::parse("02:00:00:00:00:01")};
    port.way = FL_PORT_WAY(0, 0, 0, FL_VLAN_NONE);
    port.flags = FL_PORT_FRAMES;
    World::ok(world.writer.set_port(1, port));
    port.name = "eth0.7";
    port.way = FL_PORT_WAY(1, 0, FL_VLAN_NONE, 7);
    World::ok(world.writer.set_port(2, port));
    const auto id = world.pool("tiers");
    const auto hop = world.writer.allocate_nexthop().value();
    World::ok(world.writer.set_nexthop(hop, *MacAddress::parse("02:00:00:00:00:b2"), 2));
    World::ok(world.writer.set_backend_state(id, 0, FL_BACKEND_HEALTHY, 1500, hop));
    const auto json = status(world, nullptr);
    ASSERT_EQ(json["ports"].size(), 1U);
    EXPECT_EQ(json["ports"][0]["frames"], true);
    EXPECT_EQ(json["ports"][0]["vlan"], 0);
    EXPECT_EQ(json["ports"][0]["max_mtu"], nullptr);
    EXPECT_EQ(json["ways"], Json::array({{{"number", 2},
                                          {"name", "eth0.7"},
                                          {"interface", "eth0"},
                                          {"vlan", 7},
                                          {"mac", "02:00:00:00:00:01"},
                                          {"mtu", 1500}}}));
    const auto list = backends(world, nullptr);
    const auto& next_hop = find(list, "pool", "tiers")["next_hop"];
    EXPECT_EQ(next_hop["interface"], "eth0");
    EXPECT_EQ(next_hop["vlan"], 7);
}

TEST(Views, KeyIdIsNotTheKey) {
    const World world;
    const auto id = status(world, nullptr)["hash_key_id"].get<std::string>();
    EXPECT_EQ(id.size(), 8U);
    EXPECT_NE(id, "03010401") << "the first bytes of the key";
}

TEST(Views, TransitionsBySlotsPinsAndWhatTheyWaitFor) {
    World world;
    const auto id = world.pool("tiers");
    const auto settled = transitions_view(tables::take_snapshot(world.tables), nullptr);
    EXPECT_EQ(settled["slots_in_transition"], 0);
    EXPECT_EQ(settled["pins"], nullptr) << "nobody has counted them";
    const auto master = world.writer.find_backend(id, "master").value();
    const auto slave = world.writer.find_backend(id, "slave").value();
    World::ok(world.writer.change_slots(
        id,
        std::vector<tables::SlotChange>{{0, FL_SLOT_WORD(slave, master, 1, 0)}, {1, FL_SLOT_WORD(slave, slave, 1, 0)}},
        1));
    ControllerFacts f;
    f.transitions["tiers"] = {.engines = 0, .connections = 1, .pins = 1, .scan = 0, .oldest_s = 12.5};
    f.pins = {.free = 90, .probation = 1, .confirmed = 2, .closing = 3, .scans = 4};
    f.pins.by_backend[{"tiers", "slave"}] = 6;
    const auto json = transitions_view(tables::take_snapshot(world.tables), &f);
    EXPECT_EQ(json["slots_in_transition"], 2);
    EXPECT_EQ(json["pins"], Json({{"probation", 1}, {"confirmed", 2}, {"closing", 3}, {"free", 90}, {"scans", 4}}));
    EXPECT_EQ(json["events"]["previous"], 0);
    const auto& pool = find(json["pools"], "name", "tiers");
    EXPECT_EQ(pool["in_transition"], 2);
    EXPECT_EQ(pool["waits_for"], Json({{"engines", 0}, {"connections", 1}, {"pins", 1}, {"scan", 0}}));
    EXPECT_EQ(find(pool["backends"], "name", "master")["slots_previous"], 1);
    EXPECT_EQ(find(pool["backends"], "name", "slave")["slots_previous"], 0) << "its own";
    EXPECT_EQ(find(pool["backends"], "name", "slave")["pins"], 6);
    EXPECT_EQ(find(pool["backends"], "name", "master")["pins"], 0);
}

TEST(Views, RoleThatIsNotActive) {
    World world;
    World::ok(world.writer.set_role(0, 0));
    EXPECT_EQ(status(world, nullptr)["role"]["active"], false);
    EXPECT_EQ(status(world, nullptr)["role"]["reason"], "not active yet");
}

// Of the role that the world's VIPs have.
HaFacts ha_facts() {
    const WallTime time{std::chrono::seconds(1'700'000'000)};
    HaFacts ha;
    ha.mode = "vrrp";
    ha.name = "default";
    ha.vrid = 0;
    ha.state = "active";
    ha.priority = 100;
    ha.configured_priority = 150;
    ha.peer = HaPeerFacts{"192.0.2.3", 50, 100, time};
    ha.refused = {{"ttl", 0}, {"vrid", 7}};
    ha.history = {{time, "backup", "active", "silence", "no advert for the down interval", "192.0.2.3", 50},
                  {time, "initialize", "backup", "started", "started", "", 0}};
    return ha;
}

TEST(Views, AnnouncedVipsAndWhyNot) {
    const World world;
    auto f = facts();
    EXPECT_TRUE(status(world, &f)["announce"].is_null());
    f.announce = AnnounceFacts{146, 99, {{"192.0.2.10", true, "pool web"}, {"2001:db8::10", false, "no backend"}}};
    EXPECT_EQ(status(world, &f)["announce"], Json::parse(R"({"by": "route", "table": 146, "protocol": 99, "vips": [
                  {"vip": "192.0.2.10", "announced": true, "reason": "pool web"},
                  {"vip": "2001:db8::10", "announced": false, "reason": "no backend"}]})"));
    EXPECT_TRUE(status(world, nullptr)["announce"].is_null());
}

TEST(Views, HaIsNullWhereThereIsNone) {
    const World world;
    const auto f = facts();
    const auto snapshot = tables::take_snapshot(world.tables);
    for (const auto* known : {&f, static_cast<const ControllerFacts*>(nullptr)})
        EXPECT_EQ(ha_view(snapshot, known), Json({{"ha", nullptr}}));
}

// The word in the tables has the last say: state "active" with a lease that has run out is not active.
TEST(Views, StaleRolesAreNotActive) {
    World world;
    auto f = facts();
    f.ha = {ha_facts()};
    for (const bool active : {true, false}) {
        World::ok(world.writer.set_role(0, active ? UINT64_MAX - 1 : 1));
        const auto json = ha_view(tables::take_snapshot(world.tables), &f)["ha"];
        EXPECT_EQ(json["state"], "active");
        EXPECT_EQ(json["active"], active);
        EXPECT_EQ(status(world, &f)["role"]["active"], active);
    }
}

TEST(Views, Ha) {
    const World world;
    auto f = facts();
    f.ha = {ha_facts()};
    const auto json = ha_view(tables::take_snapshot(world.tables), &f)["ha"];
    EXPECT_EQ(keys_of(json), (Keys{"name",    "mode",    "vrid",        "vips",
                                   "state",   "active",  "priority",    "configured_priority",
                                   "ready",   "fault",   "handed_over", "split_brain",
                                   "peer",    "adverts", "transitions", "split_brains",
                                   "history", "groups",  "nodes",       "hellos"}));
    EXPECT_EQ(json["peer"]["last_advert"], "2023-11-14T22:13:20.000Z");
    EXPECT_EQ(json["adverts"]["refused"], Json({{"ttl", 0}, {"vrid", 7}}));
    EXPECT_EQ(json["history"][0]["peer_priority"], 50);
    EXPECT_EQ(json["history"][1]["peer"], nullptr);
    const auto role = status(world, &f)["role"];
    EXPECT_EQ(role["reason"], "no advert for the down interval");
    EXPECT_EQ(role["since"], "2023-11-14T22:13:20.000Z");
    EXPECT_EQ(role["peer"]["address"], "192.0.2.3");
}

TEST(Views, OtherNodesAndWhatDiffers) {
    const World world;
    auto f = facts();
    EXPECT_EQ(status(world, &f)["nodes"], nullptr);
    f.ha = {ha_facts()};
    f.hello = HelloFacts{
        0xabc,
        {{"lb-b", "192.0.2.3", WallTime{std::chrono::seconds(1'700'000'000)}, {"config"}, {{51, "backup", 100, true}}}},
        3,
        4,
        {{"ttl", 1}}};
    const auto nodes = Json::parse(R"([{"name": "lb-b", "address": "192.0.2.3",
        "last_hello": "2023-11-14T22:13:20.000Z", "differs": ["config"],
        "groups": [{"vrid": 51, "state": "backup", "priority": 100, "ready": true}]}])");
    EXPECT_EQ(status(world, &f)["nodes"], nodes);
    const auto ha = ha_view(tables::take_snapshot(world.tables), &f)["ha"];
    EXPECT_EQ(ha["nodes"], nodes);
    EXPECT_EQ(ha["hellos"],
              Json({{"config_digest", "0000000000000abc"}, {"sent", 3}, {"received", 4}, {"refused", {{"ttl", 1}}}}));
    EXPECT_EQ(status(world, nullptr)["nodes"], nullptr);
}

sync::Status sync_status() {
    sync::PeerStatus peer;
    peer.address = "192.0.2.3";
    peer.part = sync::Part::kSends;
    peer.lag = std::chrono::milliseconds(4);
    peer.session.heard = true;
    peer.session.name = "lb-b";
    peer.session.peer_interval = std::chrono::milliseconds(20);
    peer.session.last_heard = std::chrono::steady_clock::now();
    peer.session.sent = 700;
    peer.session.resent = 7;
    peer.session.refused[static_cast<std::size_t>(sync::SyncRefusal::kMac)] = 5;
    peer.slots_sent = 1024;
    peer.pins_sent = 300;
    sync::Status status;
    status.on = true;
    status.wait = sync::Wait::kSynced;
    status.peers = {peer};
    status.pools_followed = {"tiers"};
    status.refused[static_cast<std::size_t>(sync::SyncRefusal::kPeer)] = 2;
    return status;
}

TEST(Views, Sync) {
    const World world;
    auto f = facts();
    f.sync = sync_status();
    const auto sync = sync_view(&f)["sync"];
    EXPECT_EQ(keys_of(sync), (Keys{"mastership", "mastership_text", "error", "pools_followed", "peers", "refused"}));
    EXPECT_EQ(sync["mastership"], "synced");
    EXPECT_EQ(sync["error"], nullptr);
    EXPECT_EQ(sync["pools_followed"], Json::array({"tiers"}));
    EXPECT_EQ(sync["refused"]["peer"], 2);
    EXPECT_EQ(sync["refused"].size(), sync::kSyncRefusals) << "zeroes too";
    const auto peer = sync["peers"][0];
    EXPECT_EQ(keys_of(peer),
              (Keys{"name", "address", "part", "heard", "last_heard", "interval_ms", "has_state", "common_differs",
                    "lag_s", "sent", "received", "last_full", "last_full_s", "refused"}));
    EXPECT_EQ(peer["name"], "lb-b");
    EXPECT_EQ(peer["part"], "sends");
    EXPECT_EQ(peer["lag_s"], 0.004);
    EXPECT_TRUE(peer["last_heard"].is_string());
    EXPECT_EQ(peer["sent"], Json({{"messages", 700}, {"again", 7}, {"streams", 0}, {"slots", 1024}, {"pins", 300}}));
    EXPECT_EQ(peer["received"], Json({{"messages", 0}, {"streams", 0}, {"slots", 0}, {"pins", 0}, {"pins_swept", 0}}));
    EXPECT_EQ(peer["refused"]["mac"], 5);
    EXPECT_EQ(status(world, &f)["sync"], sync);
}

TEST(Views, SyncSaysWhatIsNotKnown) {
    const World world;
    auto f = facts();
    f.sync = sync_status();
    f.sync->error = "UDP port 9437: in use";
    auto& peer = f.sync->peers[0];
    peer = {};
    auto sync = sync_view(&f)["sync"];
    EXPECT_EQ(sync["error"], "UDP port 9437: in use");
    for (const char* key : {"name", "last_heard", "lag_s", "last_full", "last_full_s"})
        EXPECT_EQ(sync["peers"][0][key], nullptr) << key;
    peer.last_full = WallTime(std::chrono::seconds(1'700'000'000));
    peer.last_full_took = std::chrono::milliseconds(250);
    sync = sync_view(&f)["sync"];
    EXPECT_EQ(sync["peers"][0]["last_full"], "2023-11-14T22:13:20.000Z");
    EXPECT_EQ(sync["peers"][0]["last_full_s"], 0.25);
    f.sync->on = false;
    EXPECT_EQ(sync_view(&f)["sync"], nullptr);
    f.sync.reset();
    EXPECT_EQ(sync_view(&f)["sync"], nullptr);
    EXPECT_EQ(sync_view(nullptr)["sync"], nullptr);
    EXPECT_EQ(status(world, nullptr)["sync"], nullptr);
}

TEST(Views, EachGroupHasARoleOfItsOwn) {
    const World world;
    auto f = facts();
    f.ha = {ha_facts(), ha_facts()};
    f.ha[1].name = "second";
    f.ha[1].vrid = 52;  // none of its VIPs is in the tables
    const auto ha = ha_view(tables::take_snapshot(world.tables), &f)["ha"];
    ASSERT_EQ(ha["groups"].size(), 2U);
    EXPECT_EQ(ha["name"], "default");
    EXPECT_FALSE(ha["groups"][0]["vips"].empty());
    EXPECT_EQ(ha["groups"][0]["active"], true);
    EXPECT_EQ(ha["groups"][1]["vips"], Json::array());
    EXPECT_EQ(ha["groups"][1]["active"], false);
    const auto role = status(world, &f)["role"];
    EXPECT_EQ(role["active"], true);
    EXPECT_EQ(role["groups"][1]["name"], "second");
    EXPECT_EQ(role["groups"][1]["active"], false);
    // Without lbd the tables know the VIPs of each role, and no names.
    const auto alone = status(world, nullptr)["role"]["groups"];
    ASSERT_EQ(alone.size(), 1U);
    EXPECT_EQ(alone[0]["name"], nullptr);
    EXPECT_EQ(alone[0]["vips"], ha["vips"]);
}

TEST(Views, DetachedPort) {
    World world;
    World::ok(world.writer.set_port(1, {"eth0", 7, mac("02:00:00:00:00:01"), 1500, 0, FL_ENGINE_NONE}));
    const auto port = status(world, nullptr)["ports"][0];
    EXPECT_EQ(port["attached"], false);
    EXPECT_EQ(port["engine"], "none");
}

TEST(Views, Services) {
    const World world;
    const auto f = facts();
    const auto with = services(world, &f), without = services(world, nullptr);
    ASSERT_EQ(with.size(), 13U);
    for (const auto& list : {with, without})
        for (const auto& service : list)
            EXPECT_EQ(keys_of(service), (Keys{"name", "vip", "port", "protocol", "pool", "state", "backends",
                                              "eligible", "packets", "bytes", "syns"}));
    const auto& tiers = find(with, "name", "tiers");
    EXPECT_EQ(tiers["vip"], kVip);
    EXPECT_EQ(tiers["port"], 80);
    EXPECT_EQ(tiers["protocol"], "tcp");
    EXPECT_EQ(tiers["state"], "up");
    EXPECT_EQ(tiers["backends"], 2);
    EXPECT_EQ(tiers["eligible"], 1) << "the controller's count: Slave is drained";
    EXPECT_EQ(find(without, "name", "tiers")["eligible"], 2) << "the tables say healthy";
    EXPECT_EQ(find(with, "name", "dns")["port"], "any");
    EXPECT_EQ(find(with, "name", "dns")["protocol"], "udp");
    EXPECT_EQ(find(without, "name", "down")["state"], "all_down");
}

TEST(Views, CountersOfServicesAndBackends) {
    World world;
    const auto stride = FL_COUNTER_STRIDE(&world.tables.limits());
    const auto service = world.writer.find_service(address(kVip), kTiers, 6).value();
    const auto pool = world.pool("tiers");
    const auto backend = world.writer.global_index(pool, world.writer.find_backend(pool, "slave").value());
    const auto& limits = world.tables.limits();
    world.tables.counters()[FL_COUNTER_SERVICE(&limits, service)] = {5, 500, 2, 0};
    world.tables.counters()[FL_COUNTER_BACKEND(&limits, backend)] = {3, 300, 1, 0};
    world.tables.counters()[stride + FL_COUNTER_BACKEND(&limits, backend)] = {4, 400, 1, 0};  // another CPU's
    const auto row = services(world, nullptr);
    EXPECT_EQ(find(row, "name", "tiers")["packets"], 5);
    EXPECT_EQ(find(row, "name", "tiers")["bytes"], 500);
    EXPECT_EQ(find(row, "name", "tiers")["syns"], 2);
    const auto list = backends(world, nullptr);
    const auto& slave = find(list, "name", "slave");
    EXPECT_EQ(slave["packets"], 7);
    EXPECT_EQ(slave["bytes"], 700);
    EXPECT_EQ(slave["syns"], 2);
}

TEST(Views, CountersOfEachCore) {
    World world;
    const auto& limits = world.tables.limits();
    const auto stride = FL_COUNTER_STRIDE(&limits);
    const auto counters = world.tables.counters();
    const auto slot = tables::WorkerSlot::create(world.tables).value();  // after the one CPU's stride
    counters[FL_COUNTER_SERVICE(&limits, 1)] = {5, 500, 2, 0};
    counters[FL_COUNTER_SERVICE(&limits, 9)] = {2, 200, 0, 0};
    counters[FL_COUNTER_BACKEND(&limits, 3)] = {7, 700, 2, 0};  // the same packets once more
    counters[FL_REASON_NOT_VIP] = {10, 1000, 0, 0};
    counters[FL_REASON_ARP] = {1, 60, 0, 0};
    counters[FL_REASON_TOO_BIG] = {2, 3000, 0, 0};
    counters[FL_REASON_NO_PORT] = {3, 300, 0, 0};
    counters[slot.stride() * stride + FL_COUNTER_SERVICE(&limits, 1)] = {4, 400, 0, 0};
    counters[slot.stride() * stride + FL_EVENT_UNSENT] = {6, 0, 0, 0};
    counters[(slot.stride() + 5) * stride + FL_REASON_TOO_BIG] = {1, 100, 0, 0};
    world.tables.baselines()[FL_COUNTER_SERVICE(&limits, 1)] = {3, 300, 0, 0};  // is no core's
    const auto view = cores_view(world.tables);
    ASSERT_EQ(view["cores"].size(), 3U) << "CPUs, workers that live, and places where one was: " << view;
    EXPECT_EQ(view["cores"][0],
              Json::parse(R"({"engine": "xdp", "core": 0, "running": null, "pid": null, "packets": 23, "bytes": 5060,
                              "steered": 7, "passed": 10, "answered": 1, "dropped": 5, "handed": 0, "unsent": 0})"));
    EXPECT_EQ(view["cores"][1]["engine"], "dpdk");
    EXPECT_EQ(view["cores"][1]["core"], slot.index());
    EXPECT_EQ(view["cores"][1]["running"], true);
    EXPECT_EQ(view["cores"][1]["pid"], getpid());
    EXPECT_EQ(view["cores"][1]["packets"], 4);
    EXPECT_EQ(view["cores"][1]["unsent"], 6);
    EXPECT_EQ(view["cores"][2]["core"], slot.index() + 5);
    EXPECT_EQ(view["cores"][2]["running"], false);
    EXPECT_TRUE(view["cores"][2]["pid"].is_null());
    EXPECT_EQ(view["cores"][2]["dropped"], 1);
}

const Keys kBackendKeys{"pool",    "name",  "address",    "tier",   "weight",   "configured_weight",
                        "forward", "state", "eligible",   "in_use", "reason",   "drained",
                        "leaving", "slots", "pool_slots", "mtu",    "next_hop", "checks",
                        "packets", "bytes", "syns"};

TEST(Views, BackendsWithAController) {
    World world;
    world.set_state("tiers", "slave", FL_BACKEND_UNHEALTHY);
    const auto f = facts();
    const auto list = backends(world, &f);
    ASSERT_EQ(list.size(), 14U);
    for (const auto& backend : list) EXPECT_EQ(keys_of(backend), kBackendKeys);
    const auto& master = find(list, "name", "master");
    EXPECT_EQ(master["weight"], 50);
    EXPECT_EQ(master["configured_weight"], 100);
    EXPECT_EQ(master["eligible"], true);
    EXPECT_EQ(master["in_use"], true);
    EXPECT_EQ(master["reason"], "in use");
    EXPECT_EQ(master["slots"], 1024);
    EXPECT_EQ(master["pool_slots"], 1024);
    EXPECT_EQ(master["next_hop"], Json({{"address", "203.0.113.11"},
                                        {"interface", "eth0"},
                                        {"vlan", nullptr},
                                        {"mac", "02:00:00:00:00:b1"},
                                        {"resolved", true},
                                        {"reason", ""}}));
    EXPECT_EQ(master["checks"], Json::array({{{"check", "tcp 203.0.113.11:80"},
                                              {"state", "up"},
                                              {"since", "2023-11-14T22:13:20.000Z"},
                                              {"last_ms", 1.25},
                                              {"error", ""},
                                              {"failures", 3}}}));
    const auto& slave = find(list, "name", "slave");
    EXPECT_EQ(slave["drained"], true) << "drained and down at once";
    EXPECT_EQ(slave["state"], "unhealthy");
    EXPECT_EQ(slave["eligible"], false);
    EXPECT_EQ(slave["in_use"], false);
}

TEST(Views, BackendsWithoutAController) {
    World world;
    world.set_state("tiers", "slave", FL_BACKEND_DRAINING);
    const auto list = backends(world, nullptr);
    for (const auto& backend : list) {
        EXPECT_EQ(keys_of(backend), kBackendKeys);
        for (const auto* key : {"weight", "configured_weight", "eligible", "reason", "checks"})
            EXPECT_EQ(backend[key], nullptr) << key;
    }
    const auto& master = find(list, "name", "master");
    EXPECT_EQ(master["next_hop"], Json({{"address", nullptr},
                                        {"interface", "eth0"},
                                        {"vlan", nullptr},
                                        {"mac", "02:00:00:00:00:b1"},
                                        {"resolved", true},
                                        {"reason", nullptr}}));
    EXPECT_EQ(master["drained"], false);
    EXPECT_EQ(find(list, "name", "slave")["drained"], true);
    EXPECT_EQ(find(list, "forward", "local")["next_hop"], nullptr);
    const auto& unresolved = find(list, "pool", "unresolved")["next_hop"];
    EXPECT_EQ(unresolved["resolved"], false);
    EXPECT_EQ(unresolved["mac"], nullptr);
}

TEST(Views, CountersListEveryReasonOnce) {
    World world;
    world.tables.counters()[FL_REASON_TOO_BIG] = {2, 3000, 0, 0};
    const auto f = facts();
    for (const auto* known : {&f, static_cast<const ControllerFacts*>(nullptr)}) {
        const auto json = counters(world, known);
        EXPECT_EQ(keys_of(json), (Keys{"passed", "answered", "dropped", "handed", "all_down"}));
        std::set<std::string> names;
        for (const auto* group : {"passed", "answered", "dropped", "handed"})
            for (const auto& row : json[group]) {
                EXPECT_EQ(keys_of(row), (Keys{"reason", "help", "packets", "bytes"}));
                EXPECT_TRUE(names.insert(row["reason"].get<std::string>()).second) << row["reason"];
            }
        EXPECT_EQ(names.size(), FL_REASON_COUNT);
        EXPECT_EQ(find(json["dropped"], "reason", "too_big")["packets"], 2);
        EXPECT_EQ(find(json["passed"], "reason", "not_vip")["packets"], 0);
    }
}

// The same word on every screen, whichever way the pool treats clients meanwhile.
TEST(Views, AllDownIsSaidEverywhere) {
    World world;
    const auto said = [&](const ControllerFacts* f) {
        const auto s = status(world, f);
        EXPECT_EQ(find(s["pools"], "name", "tiers")["all_down"], true);
        EXPECT_EQ(find(services(world, f), "name", "tiers")["state"], "all_down");
        EXPECT_EQ(find(services(world, f), "name", "dns")["state"], "all_down") << "of the same pool";
        EXPECT_EQ(counters(world, f)["all_down"], Json::array({"down", "down6", "tiers"}));
        EXPECT_EQ(s["serving"], Json({{"vips", 2}, {"services", 13}, {"all_down", 4}}));
    };
    for (const auto* name : {"master", "slave"}) world.set_state("tiers", name, FL_BACKEND_UNHEALTHY);
    said(nullptr);  // all_down = "any": the slots keep their owners
    world.set_owner("tiers", std::nullopt);
    said(nullptr);
    auto f = facts();
    f.pools[0].all_down = true;
    f.pools[0].eligible = 0;
    said(&f);
}

TEST(Views, Times) {
    EXPECT_EQ(rfc3339(WallTime()), "1970-01-01T00:00:00.000Z");
    EXPECT_EQ(rfc3339_ns(1'700'000'000'999'999'999), "2023-11-14T22:13:20.999Z");
}

}  // namespace
}  // namespace fairlead::api
