// SPDX-License-Identifier: Apache-2.0
// What a person reads: alignment, all-down on every screen, rates.
#include "ctl/lbctl/print.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace fairlead::lbctl {
namespace {

Json sample_status() {
    return Json::parse(R"({
        "instance": "default", "node": "lb-a", "version": "0.1.0",
        "controller": {"running": true, "state": "running", "pid": 4711, "since": "T1", "last_seen": "T2"},
        "config": {"file": "/etc/fairlead/fairlead.toml", "loaded": "T1", "reload_error": null},
        "role": {"active": true, "reason": "no HA configured"},
        "serving": {"vips": 1, "services": 2, "all_down": 0},
        "ports": [{"number": 1, "interface": "eth0", "engine": "xdp-native", "reason": "", "mac": "02:00:00:00:00:01",
                   "mtu": 1500, "max_mtu": 9216, "frames": true, "vlan": null, "bond": null, "attached": true}],
        "ways": [],
        "pools": [{"name": "web", "tier": 0, "eligible": 1, "backends": 2, "all_down": false, "reason": "tier 0: 1 of 1"},
                  {"name": "a-longer-name", "tier": 1, "eligible": 10, "backends": 10, "all_down": false, "reason": "fine"}],
        "tables": [{"table": "services", "used": 2, "size": 4096}, {"table": "pins", "used": 0, "size": 1048576}],
        "tables_bytes": 1572864, "hash_key_id": "1a2b3c4d"})");
}

Json sample_services() {
    return Json::parse(R"({"services": [
        {"name": "web", "vip": "192.0.2.10", "port": 80, "protocol": "tcp", "pool": "web", "state": "up",
         "backends": 2, "eligible": 1, "packets": 123456, "bytes": 98765432, "syns": 1234},
        {"name": "dns", "vip": "2001:db8::10", "port": "any", "protocol": "udp", "pool": "web", "state": "up",
         "backends": 2, "eligible": 1, "packets": 0, "bytes": 0, "syns": 0}]})");
}

Json sample_backends() {
    return Json::parse(R"({"backends": [
        {"pool": "web", "name": "master", "address": "192.0.2.11", "tier": 0, "weight": 50, "configured_weight": 100,
         "forward": "l2dsr", "state": "healthy", "eligible": true, "in_use": true, "reason": "in use", "drained": false,
         "slots": 1024, "pool_slots": 1024, "mtu": 1500,
         "next_hop": {"address": "192.0.2.11", "interface": "eth0", "mac": "02:00:00:00:00:b1", "resolved": true, "reason": ""},
         "checks": [{"check": "tcp 192.0.2.11:80", "state": "up", "since": "T", "last_ms": 1.25, "error": "", "failures": 0}],
         "packets": 400, "bytes": 4000, "syns": 40},
        {"pool": "web", "name": "slave", "address": "192.0.2.12", "tier": 1, "weight": 100, "configured_weight": 100,
         "forward": "l2dsr", "state": "unhealthy", "eligible": false, "in_use": false, "reason": "check failed: timeout",
         "drained": true, "slots": 0, "pool_slots": 1024, "mtu": 1500,
         "next_hop": {"address": "192.0.2.12", "interface": null, "mac": null, "resolved": false, "reason": "no answer"},
         "checks": [{"check": "tcp 192.0.2.12:80", "state": "down", "since": "T", "last_ms": 500, "error": "timeout", "failures": 9}],
         "packets": 0, "bytes": 0, "syns": 0}]})");
}

Json sample_counters() {
    return Json::parse(R"({
        "passed": [{"reason": "not_vip", "help": "not for a VIP", "packets": 15, "bytes": 9999}],
        "answered": [{"reason": "reset", "help": "TCP reset", "packets": 123456, "bytes": 10000000}],
        "dropped": [{"reason": "too_big", "help": "larger than the MTU", "packets": 0, "bytes": 0}],
        "handed": [{"reason": "exception", "help": "given to lb-dpdk", "packets": 0, "bytes": 0}], "all_down": []})");
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t from = 0, to; (to = text.find('\n', from)) != std::string::npos; from = to + 1)
        lines.push_back(text.substr(from, to - from));
    return lines;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string line_with(const std::string& text, const std::string& part) {
    for (const auto& line : lines_of(text))
        if (has(line, part)) return line;
    ADD_FAILURE() << "no '" << part << "' in\n" << text;
    return "";
}

// The column that begins (or, of numbers, ends) at one place in the title and in each row.
void expect_aligned(const std::string& text, const std::string& title, const std::vector<std::string>& cells,
                    bool right) {
    const auto head = line_with(text, title);
    const auto want = head.find(title) + (right ? title.size() : 0);
    for (const auto& cell : cells) {
        const auto line = line_with(text, cell);
        EXPECT_EQ(line.find(cell) + (right ? cell.size() : 0), want) << title << " and " << cell << " in\n" << text;
    }
}

TEST(Print, NoLineEndsInBlanks) {
    const auto services = sample_services(), backends = sample_backends();
    for (const auto& text : {print_status(sample_status()), print_services(services), print_backends(backends),
                             print_counters(sample_counters(), true), print_stats({services, backends}, nullptr, 0)}) {
        EXPECT_EQ(text.back(), '\n');
        for (const auto& line : lines_of(text)) EXPECT_TRUE(line.empty() || line.back() != ' ') << "'" << line << "'";
    }
}

TEST(Print, Status) {
    const auto text = print_status(sample_status());
    EXPECT_EQ(lines_of(text)[0], "instance    default, node lb-a, Fairlead 0.1.0");
    EXPECT_EQ(lines_of(text)[1], "controller  running, pid 4711, since T1");
    EXPECT_TRUE(has(text, "\nserving     2 services on 1 VIP, all up\n")) << text;
    EXPECT_TRUE(has(text, "\ntables      services 2/4096, pins 0/1048576, 1.5 MiB\n")) << text;
    expect_aligned(text, "STATE", {"up     "}, false);
    expect_aligned(text, "ELIGIBLE", {"10/10"}, true);
    EXPECT_TRUE(has(line_with(text, "eth0"), "xdp-native  1500"));
    EXPECT_FALSE(has(text, "ALL DOWN"));
    EXPECT_FALSE(has(text, "null"));
}

TEST(Print, StatusSaysWhatIsWrong) {
    auto status = sample_status();
    status["pools"][1]["all_down"] = true;
    status["serving"]["all_down"] = 1;
    status["config"]["reload_error"] = "the file has errors";
    const auto text = print_status(status);
    EXPECT_TRUE(has(text, "2 services on 1 VIP, 1 ALL DOWN\n")) << text;
    EXPECT_TRUE(has(line_with(text, "a-longer-name"), "ALL DOWN"));
    EXPECT_LT(text.find("a-longer-name"), text.find("\nweb")) << "pools in trouble come first";
    EXPECT_TRUE(has(text, "LAST RELOAD REFUSED: the file has errors"));
}

TEST(Print, StatusSaysWhatIsAnnouncedAndWhyNot) {
    auto status = sample_status();
    EXPECT_FALSE(has(print_status(status), "announced"));
    status["announce"] = Json::parse(R"({"by": "route", "table": 146, "protocol": 99, "vips": [
        {"vip": "192.0.2.10", "announced": true, "reason": "pool web"},
        {"vip": "2001:db8::10", "announced": false, "reason": "no backend is eligible"}]})");
    const auto text = print_status(status);
    EXPECT_TRUE(has(text,
                    "\nannounced   1 of 2 VIPs, by routes of protocol 99 in table 146\n"
                    "            2001:db8::10 NOT ANNOUNCED: no backend is eligible\n"))
        << text;
    const auto silent = status["announce"]["vips"][1];
    for (int i = 0; i < 29; ++i) status["announce"]["vips"].push_back(silent);
    EXPECT_TRUE(has(print_status(status), "\n            10 more NOT ANNOUNCED\n"));
}

TEST(Print, StatusOfWhatIsDetached) {
    auto status = sample_status();
    status["ports"][0]["attached"] = false;
    const auto text = print_status(status);
    EXPECT_TRUE(has(line_with(text, "eth0"), "NOT ATTACHED"));
    EXPECT_TRUE(has(text, "\nserving     NOTHING: no program is attached\n")) << text;
    EXPECT_FALSE(has(text, "all up"));
}

TEST(Print, StatusWithoutAController) {
    auto status = sample_status();
    status["controller"] = {
        {"running", false}, {"state", "down"}, {"pid", nullptr}, {"since", nullptr}, {"last_seen", "T2"}};
    status["node"] = status["config"] = nullptr;
    status["ports"][0]["reason"] = status["pools"][0]["tier"] = status["pools"][0]["reason"] = nullptr;
    const auto text = print_status(status);
    EXPECT_TRUE(has(text, "controller  DOWN, last seen T2\n")) << text;
    EXPECT_FALSE(has(text, "null"));
    EXPECT_FALSE(has(text, "config "));
}

TEST(Print, StatusWhileStarting) {
    auto status = sample_status();
    status["controller"]["state"] = "starting";
    EXPECT_TRUE(has(print_status(status), "starting (waiting for the first result of every check), pid 4711"));
}

TEST(Print, StatusOfAnOlderController) {
    auto status = sample_status();
    status.erase("serving");
    EXPECT_TRUE(has(print_status(status), "tables"));
}

Json sample_ha() {
    return Json::parse(R"({"ha": {
        "mode": "vrrp", "vrid": 51, "state": "backup", "active": false, "priority": 50, "configured_priority": 100,
        "ready": false, "fault": false, "handed_over": false, "split_brain": false,
        "peer": {"address": "192.0.2.3", "priority": 150, "interval_ms": 100.0, "last_advert": "T9",
                 "addresses_differ": true, "interval_differs": false},
        "adverts": {"sent": 3, "send_failures": 0, "received": 700, "refused": {"ttl": 0, "vrid": 12}},
        "transitions": 2, "split_brains": 1,
        "history": [{"at": "T2", "from": "active", "to": "backup", "reason": "yielded",
                     "text": "another node has the better claim", "peer": "192.0.2.3", "peer_priority": 150},
                    {"at": "T1", "from": "initialize", "to": "backup", "reason": "started",
                     "text": "started, and listens for an active node", "peer": null, "peer_priority": null}]}})");
}

TEST(Print, StatusWithHa) {
    auto status = sample_status();
    status["role"] = {{"active", false},
                      {"reason", "another node has the better claim"},
                      {"since", "T2"},
                      {"priority", 50},
                      {"peer", sample_ha()["ha"]["peer"]}};
    const auto text = print_status(status);
    EXPECT_TRUE(has(text, "\nrole        not active since T2 (another node has the better claim)\n")) << text;
    EXPECT_TRUE(has(text, "\npeer        192.0.2.3, priority 150, every 100.0 ms, last heard T9, HAS OTHER VIPS\n"))
        << text;
    status["role"]["peer"] = nullptr;
    EXPECT_TRUE(has(print_status(status), "\npeer        none heard\n"));
}

TEST(Print, Ha) {
    auto json = sample_ha();
    const auto text = print_ha(json, false);
    EXPECT_TRUE(has(text, "state       backup\n            not ready")) << text;
    EXPECT_TRUE(has(text, "priority    50 (configured 100), vrid 51\n")) << text;
    EXPECT_TRUE(has(text, "adverts     3 sent, 700 received, 12 refused: vrid\n")) << text;
    EXPECT_TRUE(has(text, "split brain 1 time\n")) << text;
    EXPECT_FALSE(has(text, "SPLIT BRAIN"));
    json["ha"]["split_brain"] = true;
    EXPECT_TRUE(has(print_ha(json, false), "SPLIT BRAIN"));
    EXPECT_TRUE(has(print_ha({{"ha", nullptr}}, false), "no HA"));
}

Json sample_groups() {
    auto json = sample_ha();
    auto second = json["ha"];
    json["ha"]["name"] = "default";
    json["ha"]["vips"] = {"192.0.2.10"};
    second["name"] = "second";
    second["vips"] = {"192.0.2.20", "192.0.2.21", "192.0.2.22", "192.0.2.23"};
    second["state"] = "active";
    second["history"][0]["at"] = "T3";
    json["ha"]["groups"] = Json::array({json["ha"], second});
    return json;
}

TEST(Print, HaOfSeveralGroups) {
    const auto text = print_ha(sample_groups(), false);
    EXPECT_TRUE(has(text, "group       default: 192.0.2.10\nstate       backup\n")) << text;
    EXPECT_TRUE(
        has(text, "\n\ngroup       second: 192.0.2.20, 192.0.2.21, 192.0.2.22 and 1 more\nstate       active\n"))
        << text;
    const auto history = print_ha(sample_groups(), true);
    expect_aligned(history, "GROUP", {"second", "default"}, false);
    EXPECT_LT(history.find("T3"), history.find("T2")) << history;
}

TEST(Print, OtherNodesAndWhatDiffers) {
    auto status = sample_status();
    status["nodes"] = Json::parse(R"([{"name": "lb-b", "address": "192.0.2.3", "last_hello": "T1", "differs": []},
        {"name": "lb-c", "address": "192.0.2.4", "last_hello": "T2", "differs": ["hash key", "config"]}])");
    const std::string lines =
        "\nnodes       lb-b at 192.0.2.3, last heard T1, same config\n"
        "            lb-c at 192.0.2.4, last heard T2, HAS ANOTHER HASH KEY, HAS ANOTHER CONFIG\n";
    EXPECT_TRUE(has(print_status(status), lines)) << print_status(status);
    auto json = sample_ha();
    json["ha"]["nodes"] = status["nodes"];
    EXPECT_TRUE(has(print_ha(json, false), lines));
    json["ha"]["nodes"] = Json::array();
    EXPECT_TRUE(has(print_ha(json, false), "\nnodes       none heard\n"));
    status["nodes"] = nullptr;
    EXPECT_FALSE(has(print_status(status), "nodes  "));
}

Json sample_sync() {
    return Json::parse(R"({"sync": {"mastership": "synced", "mastership_text": "nothing: the other node's state came",
        "error": null, "pools_followed": ["web", "mail"], "refused": {"mac": 0, "peer": 2}, "peers": [
        {"name": "lb-b", "address": "192.0.2.3", "part": "sends", "heard": true, "last_heard": "T1", "interval_ms": 20,
         "has_state": true, "common_differs": false, "lag_s": 0.0042,
         "sent": {"messages": 700, "again": 7, "streams": 1, "slots": 1024, "pins": 300},
         "received": {"messages": 600, "streams": 0, "slots": 0, "pins": 12, "pins_swept": 0},
         "last_full": "T2", "last_full_s": 0.25, "refused": {"mac": 5, "peer": 1}}]}})");
}

TEST(Print, Sync) {
    auto json = sample_sync();
    const auto text = print_sync(json);
    EXPECT_TRUE(has(text, "mastership  waits for nothing: the other node's state came\n")) << text;
    EXPECT_TRUE(has(text, "follows     web, mail\nrefused     5 mac, 3 peer\n")) << text;
    EXPECT_FALSE(has(text, "fault"));
    expect_aligned(text, "LAG", {"4 ms"}, true);
    expect_aligned(text, "SLOTS SENT", {"1024"}, true);
    expect_aligned(text, "PINS APPLIED", {"12"}, true);
    expect_aligned(text, "TOOK", {"250 ms"}, true);
    json["sync"]["pools_followed"] = Json::array();
    json["sync"]["refused"] = json["sync"]["peers"][0]["refused"] = {{"mac", 0}};
    EXPECT_TRUE(has(print_sync(json), "follows     no pool of another node\n\nPEER")) << print_sync(json);
    EXPECT_TRUE(has(print_sync({{"sync", nullptr}}), "no [sync] configured"));
}

// What the exit code of `lbctl sync status` goes by, and the line of `lbctl status`.
TEST(Print, SyncIsWellOnlyWithAnotherNodeThatTakesIt) {
    const auto good = sample_sync();
    EXPECT_TRUE(is_synced(good));
    EXPECT_FALSE(is_synced({{"sync", nullptr}}));
    auto status = sample_status();
    const auto line = [&](const Json& json) {
        status["sync"] = json["sync"];
        EXPECT_EQ(has(print_sync(json), "fault "), !is_synced(json));
        return line_with(print_status(status), "sync  ");
    };
    EXPECT_EQ(line(good), "sync        lb-b: sends, lag 4 ms");
    for (const auto& [key, value, expected] :
         {std::tuple{"heard", false, "sync        lb-b NOT HEARD"},
          {"common_differs", true, "sync        lb-b HAS ANOTHER HASH KEY OR PIN TABLE"}}) {
        auto bad = good;
        bad["sync"]["peers"][0][key] = value;
        EXPECT_FALSE(is_synced(bad));
        EXPECT_EQ(line(bad), expected);
    }
    auto bad = good;
    bad["sync"]["peers"] = Json::array();
    EXPECT_EQ(line(bad), "sync        NO OTHER NODE");
    EXPECT_FALSE(is_synced(bad));
    bad = good;
    bad["sync"]["error"] = "UDP port 9437: in use";
    EXPECT_EQ(line(bad), "sync        UDP port 9437: in use");
    EXPECT_FALSE(is_synced(bad));
    auto waiting = good;
    waiting["sync"]["mastership"] = "full";
    waiting["sync"]["mastership_text"] = "the other node's whole state";
    EXPECT_TRUE(has(line(waiting), "lag 4 ms, MASTERSHIP WAITS for the other node's whole state"));
    status["sync"] = nullptr;
    EXPECT_FALSE(has(print_status(status), "sync  "));
}

TEST(Print, StatusOfSeveralGroups) {
    auto status = sample_status();
    const auto peer = sample_ha()["ha"]["peer"];
    status["role"]["groups"] = {{{"name", "default"},
                                 {"vips", {"192.0.2.10"}},
                                 {"active", false},
                                 {"since", "T2"},
                                 {"reason", "why"},
                                 {"peer", peer}},
                                {{"name", "second"},
                                 {"vips", {"192.0.2.20"}},
                                 {"active", true},
                                 {"since", nullptr},
                                 {"reason", "lease held"},
                                 {"peer", nullptr}}};
    const auto text = print_status(status);
    EXPECT_TRUE(
        has(text, "\nrole        group default (192.0.2.10): not active since T2 (why); peer 192.0.2.3, priority"))
        << text;
    EXPECT_TRUE(has(text, "\n            group second (192.0.2.20): active (lease held)\n")) << text;
}

TEST(Print, HaHistory) {
    const auto text = print_ha(sample_ha(), true);
    expect_aligned(text, "REASON", {"another node", "started, and"}, false);
    expect_aligned(text, "PRIORITY", {"150"}, true);
}

TEST(Print, Services) {
    auto services = sample_services();
    auto text = print_services(services);
    EXPECT_TRUE(has(text, "192.0.2.10:80 "));
    EXPECT_TRUE(has(text, "[2001:db8::10]:any "));
    expect_aligned(text, "CONNECTIONS", {"1234"}, true);
    expect_aligned(text, "PACKETS", {"123.5 k"}, true);
    expect_aligned(text, "BYTES", {"98.8 M"}, true);
    EXPECT_FALSE(has(text, "ALL DOWN"));
    services["services"][0]["state"] = "all_down";
    EXPECT_TRUE(has(line_with(print_services(services), "web "), "ALL DOWN"));
}

TEST(Print, Backends) {
    auto backends = sample_backends();
    auto text = print_backends(backends);
    EXPECT_EQ(lines_of(text).size(), 3U);
    const auto master = line_with(text, "master"), slave = line_with(text, "slave");
    EXPECT_TRUE(has(master, "50 (config 100)")) << master;
    EXPECT_TRUE(has(master, "100.0 %"));
    EXPECT_TRUE(has(master, "eth0 02:00:00:00:00:b1"));
    EXPECT_TRUE(has(master, "in use; tcp 192.0.2.11:80 up 1.2 ms")) << master;
    EXPECT_TRUE(has(slave, "UNRESOLVED: no answer")) << slave;
    EXPECT_TRUE(has(slave, "drained; check failed: timeout; tcp 192.0.2.12:80 down")) << slave;
    expect_aligned(text, "SHARE", {"100.0 %"}, true);
    backends["backends"][0]["next_hop"] = nullptr;
    EXPECT_TRUE(has(line_with(print_backends(backends), "master"), "this node"));
}

TEST(Print, BackendsSayWhenAllAreDown) {
    auto backends = sample_backends();
    auto& master = backends["backends"][0];
    master["eligible"] = master["in_use"] = false;
    EXPECT_EQ(lines_of(print_backends(backends))[0], "pool web: ALL DOWN: no backend is eligible");
    master["in_use"] = true;
    EXPECT_EQ(lines_of(print_backends(backends))[0],
              "pool web: ALL DOWN: no backend is eligible, all are used as if healthy");
    for (auto& b : backends["backends"])  // lbd not there: the tables know the state alone
        b["eligible"] = b["weight"] = b["configured_weight"] = b["reason"] = b["checks"] = nullptr;
    EXPECT_FALSE(has(print_backends(backends), "ALL DOWN")) << "Master is healthy";
    EXPECT_FALSE(has(print_backends(backends), "null"));
    master["state"] = "unhealthy";
    EXPECT_TRUE(has(print_backends(backends), "ALL DOWN"));
}

TEST(Print, Counters) {
    auto counters = sample_counters();
    auto text = print_counters(counters, false);
    EXPECT_EQ(lines_of(text).size(), 3U) << "what never happened is left out";
    expect_aligned(text, "PACKETS", {"123456"}, true);
    EXPECT_TRUE(has(line_with(text, "reset"), "10.0 M  TCP reset"));
    EXPECT_TRUE(has(line_with(text, "not_vip"), "9999  not for a VIP"));
    text = print_counters(counters, true);
    EXPECT_TRUE(has(line_with(text, "too_big"), "dropped")) << text;
    counters["all_down"] = {"web"};
    EXPECT_EQ(lines_of(print_counters(counters, false))[0], "pool web: ALL DOWN");
}

TEST(Print, StatsAreTotalsWithoutAnEarlierSample) {
    const auto services = sample_services(), backends = sample_backends();
    const auto text = print_stats({services, backends}, nullptr, 0);
    EXPECT_TRUE(has(text, "CONNECTIONS  PACKETS"));
    EXPECT_TRUE(has(line_with(text, "-> master"), "40      400    4000")) << text;
    const auto lines = lines_of(text);
    ASSERT_EQ(lines.size(), 5U) << "the pool's backends once, below its first service\n" << text;
    EXPECT_EQ(lines[1].substr(0, 3), "web");
    EXPECT_EQ(lines[2].substr(0, 11), "  -> master");
    EXPECT_EQ(lines[4].substr(0, 3), "dns");
}

TEST(Print, StatsAreRatesBetweenTwoSamples) {
    const auto services = sample_services(), backends = sample_backends();
    auto later_services = services, later_backends = backends;
    later_services["services"][0]["packets"] = 123456 + 500;
    later_backends["backends"][0]["syns"] = 40 + 50;
    later_backends["backends"][0]["packets"] = 400 + 100'000;
    later_backends["backends"][0]["bytes"] = 10;  // new tables: less than before
    const Stats before{services, backends};
    const auto text = print_stats({later_services, later_backends}, &before, 2.5);
    EXPECT_TRUE(has(text, "CONNECTIONS/S  PACKETS/S  BYTES/S"));
    EXPECT_TRUE(has(line_with(text, "tcp 192.0.2.10:80"), " 200 ")) << text;
    const auto master = line_with(text, "-> master");
    EXPECT_TRUE(has(master, " 20 ") && has(master, "40.0 k")) << master;
    EXPECT_EQ(master.back(), '4') << "10 bytes in 2.5 s, never a negative rate: " << master;
    EXPECT_FALSE(has(text, " -0"));
}

TEST(Print, StatsShowAllDown) {
    auto services = sample_services();
    const auto backends = sample_backends();
    services["services"][0]["state"] = "all_down";
    EXPECT_TRUE(has(line_with(print_stats({services, backends}, nullptr, 0), "192.0.2.10:80"), "ALL DOWN"));
}

Json sample_cores() {
    return Json::parse(R"({"cores": [
        {"engine": "xdp", "core": 0, "running": null, "pid": null, "packets": 1000, "bytes": 64000, "steered": 900,
         "passed": 50, "answered": 20, "dropped": 30, "handed": 0, "unsent": 0},
        {"engine": "dpdk", "core": 0, "running": true, "pid": 4712, "packets": 500, "bytes": 32000, "steered": 500,
         "passed": 0, "answered": 0, "dropped": 0, "handed": 0, "unsent": 7},
        {"engine": "dpdk", "core": 1, "running": false, "pid": null, "packets": 5, "bytes": 320, "steered": 5,
         "passed": 0, "answered": 0, "dropped": 0, "handed": 0, "unsent": 0}]})");
}

TEST(Print, CoresAreTotalsWithoutAnEarlierSample) {
    const auto text = print_cores(sample_cores(), nullptr, 0);
    ASSERT_EQ(lines_of(text).size(), 4U) << text;
    EXPECT_TRUE(lines_of(text)[0].ends_with("PACKETS   BYTES  STEERED  PASSED  ANSWERED  DROPPED  HANDED  UNSENT"))
        << text;
    EXPECT_TRUE(has(line_with(text, "cpu 0"), "1000  64.0 k      900      50        20       30")) << text;
    EXPECT_TRUE(has(line_with(text, "worker 0"), "running  4712")) << text;
    EXPECT_TRUE(has(line_with(text, "worker 1"), "gone        -")) << text;
}

TEST(Print, CoresAreRatesBetweenTwoSamples) {
    const auto before = sample_cores();
    auto now = before;
    now["cores"][0]["packets"] = 1000 + 500;
    now["cores"][1]["packets"] = 10;  // new tables: less than before
    const auto text = print_cores(now, &before, 2.5);
    EXPECT_TRUE(has(text, "PACKETS/S")) << text;
    EXPECT_TRUE(has(line_with(text, "cpu 0"), " 200 ")) << text;
    EXPECT_TRUE(has(line_with(text, "worker 0"), " 4 ")) << text;
}

TEST(Print, LargeNumbersKeepThreeFigures) {
    const std::vector<std::pair<double, std::string>> cases{
        {0, " 0"},           {9999, " 9999"},       {10'000, " 10.0 k"}, {999'900, " 999.9 k"},
        {999'999, " 1.0 M"}, {1'234'567, " 1.2 M"}, {5e9, " 5.0 G"},     {1.5e12, " 1.5 T"},
        {3e16, " 30000.0 T"}};
    for (const auto& [value, text] : cases) {
        auto services = sample_services();
        services["services"][0]["bytes"] = value;
        EXPECT_TRUE(line_with(print_services(services), "192.0.2.10:80").ends_with(text)) << value;
    }
}

TEST(Print, Explain) {
    const auto json = Json::parse(R"({
        "source": "198.51.100.7:40000", "destination": "192.0.2.10:80", "protocol": "tcp", "verdict": "forwarded",
        "reason": "steered", "why": "slot 7 of pool web belongs to master", "vip": "192.0.2.10", "active": true,
        "service": {"name": "web", "port": 80}, "pool": "web",
        "slot": {"number": 7, "of": 1024, "owner": "master", "previous": "slave", "settled": false, "by": "5-tuple"},
        "backend": {"name": "master", "address": "203.0.113.11", "tier": 0, "state": "healthy"}, "forward": "ipip",
        "next_hop": {"interface": "eth0", "mac": "02:00:00:00:00:b1"},
        "outer": {"source": "192.0.2.250", "destination": "203.0.113.11"},
        "mtu": {"next_hop": 1500, "overhead": 20, "largest_packet": 1480, "verdict": "packets of up to 1480 bytes pass"}})");
    EXPECT_EQ(print_explain(json),
              "tcp 198.51.100.7:40000 -> 192.0.2.10:80: forwarded: slot 7 of pool web belongs to master\n"
              "  service   web, port 80, pool web\n"
              "  slot      7 of 1024, by the 5-tuple, owner master, in transition from slave\n"
              "  backend   master, 203.0.113.11, tier 0, healthy\n"
              "  forward   ipip, outer 192.0.2.250 -> 203.0.113.11\n"
              "  next hop  02:00:00:00:00:b1 on eth0\n"
              "  MTU       1500, encapsulation 20: packets of up to 1480 bytes pass\n");
    auto refused = json;
    refused["verdict"] = "answered";
    refused["reason"] = "reset";
    refused["why"] = "TCP reset: no service on that port";
    for (const auto* key : {"service", "pool", "slot", "backend", "forward", "next_hop", "outer", "mtu"})
        refused[key] = nullptr;
    EXPECT_EQ(print_explain(refused),
              "tcp 198.51.100.7:40000 -> 192.0.2.10:80: answered, reset: TCP reset: no service on that port\n");
}

TEST(Print, StatusSaysOfEachInterfaceWhatItCarries) {
    auto json = sample_status();
    EXPECT_TRUE(has(line_with(print_status(json), "eth0 "), "1500     9216  whole   any")) << print_status(json);
    EXPECT_FALSE(has(print_status(json), "WAY OUT"));
    json["ports"][0]["frames"] = false;
    json["ports"][0]["vlan"] = 0;
    json["ports"][0]["bond"] = "bond0";
    json["ways"] =
        Json::parse(R"([{"number": 2, "name": "bond0.7", "interface": "eth0", "vlan": 7, "mac": "m", "mtu": 1496},
        {"number": 3, "name": "bond0", "interface": "eth0", "vlan": null, "mac": "m", "mtu": 1500}])");
    const auto text = print_status(json);
    EXPECT_TRUE(has(text, "eth0 of bond0")) << text;
    EXPECT_TRUE(has(line_with(text, "eth0 of bond0"), "one buffer  untagged")) << text;
    EXPECT_TRUE(has(line_with(text, "bond0.7"), "eth0       7           1496")) << text;
    EXPECT_TRUE(has(text, "as it came")) << text;
}

TEST(Print, ANextHopOnAVlanSaysWhich) {
    auto json = sample_backends();
    json["backends"][0]["next_hop"]["vlan"] = 7;
    EXPECT_TRUE(has(print_backends(json), "eth0.7 02:00:00:00:00:b1"));
    json["backends"][0]["next_hop"]["vlan"] = 0;
    EXPECT_TRUE(has(print_backends(json), "eth0 02:00:00:00:00:b1"));
}

TEST(Print, ConfigDiff) {
    auto json = Json::parse(R"({"file": "f.toml", "good": true, "errors": [], "changes": [], "restart": []})");
    EXPECT_EQ(print_config_diff(json), "no difference\n");
    json["changes"] = {"pool web: quorum 1 -> 2"};
    json["restart"] = {"engine changed: restart lbd"};
    EXPECT_EQ(print_config_diff(json), "pool web: quorum 1 -> 2\nNOT BY RELOAD: engine changed: restart lbd\n");
    json = Json::parse(R"({"file": "f.toml", "good": false, "changes": [], "restart": [],
                           "errors": [{"line": 3, "column": 7, "message": "unknown key 'x'"}]})");
    EXPECT_EQ(print_config_diff(json), "f.toml:3:7: unknown key 'x'\n1 error\n");
}

TEST(Print, Decap) {
    const auto json = Json::parse(R"({"decap": [{"interface": "eth0", "engine": "xdp-native", "node": ["192.0.2.11"],
        "sources": ["192.0.2.2/32", "2001:db8::2/128"], "vips": ["192.0.2.10"], "gue_port": 6080, "unwrapped": 5, "refused": 0, "passed": 9}]})");
    const auto text = print_decap(json);
    EXPECT_TRUE(has(text, "192.0.2.2/32 2001:db8::2/128  192.0.2.10")) << text;
    EXPECT_EQ(lines_of(text)[1].size(), lines_of(text)[0].find("REFUSED") + 7);
}

TEST(PrintTransitions, SaysWhatSlotsWaitForAndWhoHasWhat) {
    const auto json = Json::parse(R"({"slots_in_transition": 512,
        "pins": {"probation": 3, "confirmed": 120, "closing": 4, "free": 9, "scans": 17}, "events": {},
        "pools": [{"name": "megam", "slots": 1024, "in_transition": 512, "oldest_s": 12.4,
                   "waits_for": {"engines": 0, "connections": 500, "pins": 12, "scan": 0},
                   "backends": [{"name": "master", "state": "draining", "slots": 0, "slots_previous": 500, "pins": 0},
                                {"name": "slave", "state": "healthy", "slots": 1024, "slots_previous": 0, "pins": 127}]},
                  {"name": "still", "slots": 1024, "in_transition": 0, "oldest_s": null, "waits_for": null,
                   "backends": [{"name": "b", "state": "healthy", "slots": 1024, "slots_previous": 0, "pins": 0}]}]})");
    EXPECT_EQ(print_transitions(json),
              "512 slots in transition; pins: 120 confirmed, 3 on probation, 4 closing\n"
              "pool megam: 512 of 1024 slots, the oldest for 12 s: 500 for old connections, 12 for pins to end\n"
              "\n"
              "POOL   BACKEND  STATE     OWNS  OWNED  PINS\n"
              "megam  master   draining     0    500     0\n"
              "megam  slave    healthy   1024      0   127\n");
}

TEST(PrintTransitions, NothingMoves) {
    EXPECT_EQ(print_transitions(Json::parse(R"({"slots_in_transition": 0, "pins": null, "events": {}, "pools": []})")),
              "0 slots in transition\n");
}

TEST(PrintPlan, SaysSharesAndWhoIsCutOff) {
    auto json = Json::parse(R"({"file": "new.toml", "good": true, "errors": [], "changes": ["pool p: quorum 1 -> 2"],
        "restart": [], "pools": [{"name": "p", "slots": 1024, "slots_moved": 128, "leave": ["old", "older"]}], "cut": []})");
    EXPECT_EQ(print_plan(json),
              "pool p: quorum 1 -> 2\n\n"
              "POOL  SLOTS  MOVED   SHARE  LEAVING\n"
              "p      1024    128  12.5 %  old older\n\n"
              "connections that would be cut: none\n");
    json["cut"] = Json::array({"pool p: backend old is removed at once"});
    EXPECT_NE(print_plan(json).find("those of:\n  pool p: backend old is removed at once\n"), std::string::npos);
}

}  // namespace
}  // namespace fairlead::lbctl
