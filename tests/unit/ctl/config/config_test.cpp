// SPDX-License-Identifier: Apache-2.0
#include "ctl/config/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>

#include "ctl/config/document.h"
#include "ctl/config/reader.h"

namespace fairlead::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

std::filesystem::path shipped(const char* name) { return std::filesystem::path(FAIRLEAD_SHIPPED_CONFIGS) / name; }

std::string contents(const std::filesystem::path& file) {
    std::ifstream stream(file);
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
}

std::string list(const LoadResult& result) {
    std::string text;
    for (const auto& diagnostic : result.diagnostics) text += diagnostic.to_string() + "\n";
    return text;
}

// The config, or a failed test that says what is wrong with it.
Config good(const LoadResult& result) {
    EXPECT_TRUE(result.config) << list(result);
    return result.config.value_or(Config{});
}

Config parse(const std::string& text) { return good(parse_config(text, "test.toml")); }

constexpr const char* kMinimal = R"(
interface = "eth0"
[[service]]
name = "web"
vip = "192.0.2.10"
ports = [80]
backends = ["192.0.2.11", "192.0.2.12"]
)";

// ---- values ----

TEST(Config, FillsInEveryDefaultOfTheSmallestFile) {
    const auto config = parse(kMinimal);
    ASSERT_EQ(config.nodes.size(), 1U);
    EXPECT_EQ(config.nodes[0].name, "");
    EXPECT_EQ(config.nodes[0].interfaces, (std::vector<Interface>{{"eth0", std::nullopt}}));
    EXPECT_EQ(config.nodes[0].engine, Engine::kAuto);
    EXPECT_FALSE(config.nodes[0].address);

    ASSERT_EQ(config.services.size(), 1U);
    const auto& service = config.services[0];
    EXPECT_EQ(service.vip, ip("192.0.2.10"));
    EXPECT_EQ(service.ports, std::vector<std::uint16_t>{80});
    EXPECT_EQ(service.protocol, Protocol::kTcp);
    EXPECT_EQ(service.unlisted, Unlisted::kReset);
    EXPECT_EQ(service.pool, "web");

    ASSERT_EQ(config.pools.size(), 1U);
    const auto* pool = config.find_pool("web");
    ASSERT_NE(pool, nullptr);
    EXPECT_EQ(pool->affinity, Affinity::kConnection);
    EXPECT_EQ(pool->quorum, 1);
    EXPECT_EQ(pool->all_down, AllDown::kReset);
    EXPECT_EQ(pool->too_big, TooBig::kDrop);
    EXPECT_EQ(pool->gue_port, 6080);
    EXPECT_EQ(pool->check_policy, CheckPolicy::kAll);
    EXPECT_EQ(pool->table, 1024U);
    ASSERT_EQ(pool->checks.size(), 1U);
    Check check;
    check.port = 80;
    EXPECT_EQ(pool->checks[0], check);
    ASSERT_EQ(pool->backends.size(), 2U);
    EXPECT_EQ(pool->backends[1].name, "192.0.2.12");
    EXPECT_EQ(pool->backends[1].address, ip("192.0.2.12"));
    EXPECT_EQ(pool->backends[1].tier, 0);
    EXPECT_EQ(pool->backends[1].weight, 100);
    EXPECT_EQ(pool->backends[1].forward, Forward::kL2Dsr);
    EXPECT_FALSE(pool->backends[1].local);

    EXPECT_EQ(config.limits, Limits{});
    EXPECT_TRUE(config.metrics.enabled);
    EXPECT_EQ(config.metrics.address, ip("127.0.0.1"));
    EXPECT_EQ(config.metrics.port, 9435);
    EXPECT_EQ(config.log.level, LogLevel::kInfo);
    EXPECT_EQ(config.hash_key_file, "/var/lib/fairlead/hash.key");
    EXPECT_TRUE(config.encap_source_prefix.empty());
}

TEST(Config, ReadsEveryKey) {
    const auto config = parse(R"(
hash_key_file = "/etc/fairlead/key"
encap_source_prefix = ["198.51.100.0/24", "2001:db8:1::/64"]
[[node]]
name = "lb-a"
interfaces = ["eth0", { name = "eth1", vlan = 7 }, { name = "eth2", vlan = 0 }, { name = "eth3" }]
vlan = 5
engine = "xdp-generic"
address = ["192.0.2.2", "2001:db8::2"]
[[node]]
name = "lb-b"
interface = "eth0"
address = "192.0.2.3"
[[pool]]
name = "p"
forward = "ipip"
gue_port = 6081
affinity = "client-ip"
quorum = 2
all_down = "any"
too_big = "pass"
check_policy = "any"
table = 4096
checks = [
  { type = "http", port = 8080, path = "/up?full=1", host = "www.example.com", expect = "204", interval = "500ms", timeout = "200ms", rise = 4, fall = 5, via = "address" },
  { type = "tcp" },
]
[[pool.backend]]
name = "a"
address = "192.0.2.11"
local = true
tier = 3
weight = 0
[[pool.backend]]
name = "b"
address = "192.0.2.12"
tier = 3
forward = "l2dsr"
vlan = 4094
mac = "02:00:5E:00:53:01"
[[pool.backend]]
name = "c"
address = "2001:db8::13"
forward = "gue"
vlan = 0
[[service]]
name = "s"
vip = "192.0.2.10"
ports = [443, 80]
protocol = "tcp"
pool = "p"
unlisted = "drop"
[limits]
vips = 1
services = 2
pools = 1
backends = 3
slots = 4096
pins = 2048
[metrics]
enabled = false
address = "[2001:db8::2]:9999"
[log]
level = "debug"
)");
    ASSERT_EQ(config.nodes.size(), 2U);
    EXPECT_EQ(config.nodes[0].interfaces, (std::vector<Interface>{{"eth0", 5}, {"eth1", 7}, {"eth2", 0}, {"eth3", 5}}));
    EXPECT_EQ(config.nodes[0].engine, Engine::kXdpGeneric);
    EXPECT_EQ(config.nodes[0].address, ip("192.0.2.2"));
    EXPECT_EQ(config.nodes[0].address6, ip("2001:db8::2"));
    EXPECT_EQ(config.nodes[1].address, ip("192.0.2.3"));
    EXPECT_FALSE(config.nodes[1].address6);

    ASSERT_EQ(config.pools.size(), 1U);
    const auto& pool = config.pools[0];
    EXPECT_EQ(pool.affinity, Affinity::kClientIp);
    EXPECT_EQ(pool.quorum, 2);
    EXPECT_EQ(pool.all_down, AllDown::kAny);
    EXPECT_EQ(pool.gue_port, 6081);
    EXPECT_EQ(pool.too_big, TooBig::kPass);
    EXPECT_EQ(pool.check_policy, CheckPolicy::kAny);
    EXPECT_EQ(pool.table, 4096U);
    ASSERT_EQ(pool.checks.size(), 2U);
    EXPECT_EQ(pool.checks[0], (Check{CheckType::kHttp,
                                     8080,
                                     "/up?full=1",
                                     "www.example.com",
                                     {204, 204},
                                     milliseconds(500),
                                     milliseconds(200),
                                     4,
                                     5}));
    EXPECT_EQ(pool.checks[1].port, 443) << "the first port as written, not the lowest";
    EXPECT_TRUE(pool.backends[0].local);
    EXPECT_EQ(pool.backends[0].tier, 3);
    EXPECT_EQ(pool.backends[0].weight, 0);
    EXPECT_EQ(pool.backends[0].forward, Forward::kIpip) << "the pool's";
    EXPECT_FALSE(pool.backends[0].vlan);
    EXPECT_FALSE(pool.backends[0].mac);
    EXPECT_EQ(pool.backends[1].forward, Forward::kL2Dsr) << "its own";
    EXPECT_EQ(pool.backends[1].vlan, 4094);
    EXPECT_EQ(pool.backends[1].mac, *MacAddress::parse("02:00:5e:00:53:01"));
    EXPECT_EQ(pool.backends[2].forward, Forward::kGue) << "a tunnel may be of the other family";
    EXPECT_EQ(pool.backends[2].vlan, 0) << "untagged, said explicitly";

    EXPECT_EQ(config.services[0].ports, (std::vector<std::uint16_t>{80, 443})) << "ascending";
    EXPECT_EQ(config.services[0].unlisted, Unlisted::kDrop);
    EXPECT_EQ(config.limits, (Limits{1, 2, 1, 3, 4096, 2048}));
    EXPECT_FALSE(config.metrics.enabled);
    EXPECT_EQ(config.metrics.address, ip("2001:db8::2"));
    EXPECT_EQ(config.metrics.port, 9999);
    EXPECT_EQ(config.log.level, LogLevel::kDebug);
    EXPECT_EQ(config.hash_key_file, "/etc/fairlead/key");
    ASSERT_EQ(config.encap_source_prefix.size(), 2U);
    EXPECT_EQ(config.encap_source_prefix[1], *IpPrefix::parse("2001:db8:1::/64"));
}

std::string pool_with(const std::string& keys, int backends = 2) {
    std::string text = "interface = \"eth0\"\n[[pool]]\nname = \"p\"\n" + keys + "\n";
    for (int i = 0; i < backends; ++i)
        text += "[[pool.backend]]\nname = \"b" + std::to_string(i) + "\"\naddress = \"10.0." + std::to_string(i / 250) +
                "." + std::to_string(1 + i % 250) + "\"\n";
    return text + "[[service]]\nname = \"s\"\nvip = \"192.0.2.10\"\nports = [80]\npool = \"p\"\n";
}

TEST(Config, SizesTheTableByTheBackends) {
    EXPECT_EQ(parse(pool_with("", 1)).pools[0].table, 1024U);
    EXPECT_EQ(parse(pool_with("", 10)).pools[0].table, 1024U);
    EXPECT_EQ(parse(pool_with("", 11)).pools[0].table, 2048U);
    EXPECT_EQ(parse(pool_with("", 41)).pools[0].table, 8192U);
    EXPECT_EQ(parse(pool_with("", 1000)).pools[0].table, 65536U) << "the largest default";
    EXPECT_EQ(parse(pool_with("table = 1024", 1000)).pools[0].table, 1024U) << "as it says";
}

TEST(Config, ShortIntervalShortensTheDefaultTimeout) {
    const auto check = parse(pool_with("checks = [{ type = \"tcp\", interval = \"200ms\" }]")).pools[0].checks[0];
    EXPECT_EQ(check.interval, milliseconds(200));
    EXPECT_EQ(check.timeout, milliseconds(200));
}

TEST(Config, InterfacesOfTheShortFormMayNameTheirVlan) {
    const auto config = parse(std::string("interfaces = [{ name = \"eth0\", vlan = 4094 }, \"eth1\"]\n") +
                              std::string(kMinimal).substr(std::string(kMinimal).find("[[service]]")));
    EXPECT_EQ(config.nodes[0].interfaces, (std::vector<Interface>{{"eth0", 4094}, {"eth1", std::nullopt}}));
}

TEST(Config, NoChecksIsAChoice) { EXPECT_TRUE(parse(pool_with("checks = []")).pools[0].checks.empty()); }

TEST(Config, ReadsStatusAsNumberStringOrRange) {
    const auto expect = [](const std::string& value) {
        return parse(pool_with("checks = [{ type = \"http\", expect = " + value + " }]")).pools[0].checks[0].expect;
    };
    EXPECT_EQ(expect("200"), (StatusRange{200, 200}));
    EXPECT_EQ(expect("\"301\""), (StatusRange{301, 301}));
    EXPECT_EQ(expect("\"100-599\""), (StatusRange{100, 599}));
}

TEST(Config, AnyPortAndListedPortsOfOneVipLiveTogether) {
    const auto config = parse(pool_with("checks = [{ type = \"tcp\", port = 22 }]") +
                              "[[service]]\nname = \"rest\"\nvip = \"192.0.2.10\"\nports = \"any\"\npool = \"p\"\n"
                              "[[service]]\nname = \"udp\"\nvip = \"192.0.2.10\"\nports = [80]\nprotocol = \"udp\"\n"
                              "pool = \"p\"\n");
    ASSERT_EQ(config.services.size(), 3U);
    EXPECT_TRUE(config.services[1].ports.empty());
    EXPECT_EQ(config.services[2].protocol, Protocol::kUdp);
}

TEST(Config, ServicesOfAVipShareWhatOneSaysOfUnlisted) {
    const auto config = parse(pool_with("") +
                              "[[service]]\nname = \"t\"\nvip = \"192.0.2.10\"\nports = [81]\npool = \"p\"\n"
                              "unlisted = \"drop\"\n"
                              "[[service]]\nname = \"u\"\nvip = \"192.0.2.20\"\nports = [81]\npool = \"p\"\n");
    EXPECT_EQ(config.services[0].unlisted, Unlisted::kDrop) << "another service of its VIP says so";
    EXPECT_EQ(config.services[1].unlisted, Unlisted::kDrop);
    EXPECT_EQ(config.services[2].unlisted, Unlisted::kReset) << "another VIP";
}

TEST(Config, PoolsOfServicesComeAfterTheOthers) {
    const auto config = parse(pool_with("") +
                              "[[service]]\nname = \"own\"\nvip = \"2001:db8::10\"\nports = [81]\n"
                              "backends = [\"2001:db8::11\"]\n");
    ASSERT_EQ(config.pools.size(), 2U);
    EXPECT_EQ(config.pools[1].name, "own");
    EXPECT_EQ(config.pools[1].checks[0].port, 81);
    EXPECT_EQ(config.find_pool("none"), nullptr);
}

TEST(Config, LimitIsEnoughWhenItIsExactlyUsed) {
    EXPECT_TRUE(
        parse_config(pool_with("") + "[limits]\nvips=1\nservices=1\npools=1\nbackends=2\nslots=1024\n", "t").config);
}

TEST(Config, CountsBackendsOfOnePoolAgainstTheirLimit) {
    std::string text =
        "interface = \"eth0\"\n[[service]]\nname = \"s\"\nvip = \"192.0.2.10\"\nports = [80]\nbackends = [";
    for (int i = 0; i < 32'767; ++i)
        text += "\"10.1." + std::to_string(i / 250) + "." + std::to_string(1 + i % 250) + "\",";
    const auto result = parse_config(text + "]\n[limits]\nbackends = 65536\n", "t");
    ASSERT_EQ(result.diagnostics.size(), 1U) << list(result);
    EXPECT_NE(result.diagnostics[0].message.find("has 32767 backends; expected at most 32766"), std::string::npos);
}

// ---- the files that are shipped ----

TEST(ShippedConfig, Minimal) {
    const auto config = good(load_config(shipped("minimal.toml")));
    ASSERT_EQ(config.services.size(), 1U);
    EXPECT_EQ(config.pools.at(0).backends.size(), 2U);
}

TEST(ShippedConfig, ExternalLb) {
    const auto config = good(load_config(shipped("external-lb.toml")));
    ASSERT_EQ(config.pools.size(), 1U);
    const auto& pool = config.pools[0];
    ASSERT_EQ(pool.backends.size(), 2U);
    EXPECT_EQ(pool.backends[0].tier, 0);
    EXPECT_EQ(pool.backends[1].tier, 1);
    EXPECT_EQ(pool.checks.at(0).type, CheckType::kHttp);
    EXPECT_EQ(pool.checks.at(0).port, 9869);
    EXPECT_EQ(config.services.at(0).ports, (std::vector<std::uint16_t>{9869, 29876}));
}

TEST(ShippedConfig, LbOnMaster) {
    const auto config = good(load_config(shipped("lb-on-master.toml")));
    ASSERT_EQ(config.nodes.size(), 2U);
    ASSERT_EQ(config.pools.size(), 1U) << "one pool, so that the ports of a client land on one node";
    const auto& pool = config.pools[0];
    EXPECT_EQ(pool.affinity, Affinity::kClientIp);
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(config.nodes[i].name, pool.backends.at(i).name);
        EXPECT_EQ(config.nodes[i].address, pool.backends.at(i).address);
        EXPECT_EQ(pool.backends.at(i).tier, static_cast<int>(i));
    }
    EXPECT_EQ(config.ha.mode, HaMode::kVrrp);
    EXPECT_GT(config.nodes[0].priority, config.nodes[1].priority);
    std::vector<std::uint16_t> ports;
    for (const auto& service : config.services) {
        EXPECT_EQ(service.pool, pool.name);
        ports.insert(ports.end(), service.ports.begin(), service.ports.end());
    }
    for (const std::uint16_t port : {9869, 29876, 2633, 8080, 9000, 7777})
        EXPECT_NE(std::find(ports.begin(), ports.end(), port), ports.end()) << port;
}

TEST(ShippedConfig, Edge) {
    const auto config = good(load_config(shipped("edge.toml")));
    EXPECT_EQ(config.nodes.size(), 3U);
    EXPECT_GE(config.services.size(), 5U);
    EXPECT_GT(config.limits.slots, Limits{}.slots);
    bool v4 = false;
    bool v6 = false;
    for (const auto& service : config.services) (service.vip.is_v4() ? v4 : v6) = true;
    EXPECT_TRUE(v4 && v6);
    for (const auto& pool : config.pools)
        for (const auto& backend : pool.backends) EXPECT_EQ(backend.forward, Forward::kIpip) << pool.name;
}

// ---- files that cannot be read ----

TEST(LoadConfig, SaysWhyAFileCannotBeRead) {
    const auto absent = load_config("/nonexistent/fairlead.toml");
    EXPECT_FALSE(absent.config);
    ASSERT_EQ(absent.diagnostics.size(), 1U);
    EXPECT_EQ(absent.diagnostics[0].to_string(),
              "/nonexistent/fairlead.toml:1:1: cannot read the file: No such file or directory");
    const auto directory = load_config("/");
    ASSERT_EQ(directory.diagnostics.size(), 1U);
    EXPECT_NE(directory.diagnostics[0].message.find("directory"), std::string::npos);
}

// ---- high availability ----

TEST(Config, WithoutHaThisNodeIsActive) {
    const auto config = parse(kMinimal);
    EXPECT_EQ(config.ha.mode, HaMode::kNone);
}

TEST(Config, HaIsReadWithItsDefaults) {
    const auto config = parse(std::string(kMinimal) + "[ha]\nmode = \"vrrp\"\nvrid = 51\n");
    const auto& ha = config.ha;
    EXPECT_EQ(ha.mode, HaMode::kVrrp);
    EXPECT_EQ(ha.vrid, 51);
    EXPECT_EQ(ha.priority, 100);
    EXPECT_EQ(ha.advert_interval, Milliseconds(1000));
    EXPECT_TRUE(ha.preempt);
    EXPECT_EQ(ha.preempt_delay, Milliseconds(0));
    EXPECT_TRUE(ha.peers.empty());
    EXPECT_EQ(ha.hello_port, 9436);
    EXPECT_EQ(ha.track_interface, (HaPenalty{0, true}));
    EXPECT_EQ(ha.track_engine, (HaPenalty{0, true}));
    EXPECT_EQ(ha.track_backends, (HaPenalty{50, false}));
}

TEST(Config, HaIsReadWhole) {
    const auto config = parse(std::string(kMinimal) + R"(
[ha]
mode = "vrrp"
vrid = 255
priority = 200
advert_interval = "10ms"
preempt = false
preempt_delay = "5s"
peers = ["192.0.2.2", "192.0.2.3"]
hello_port = 0
announce = "arp"
track = { interface = 20, engine = 0, backends = "fault" }
)");
    const auto& ha = config.ha;
    EXPECT_EQ(ha.vrid, 255);
    EXPECT_EQ(ha.priority, 200);
    EXPECT_EQ(ha.advert_interval, Milliseconds(10));
    EXPECT_FALSE(ha.preempt);
    EXPECT_EQ(ha.preempt_delay, Milliseconds(5000));
    EXPECT_EQ(ha.peers, (std::vector{ip("192.0.2.2"), ip("192.0.2.3")}));
    EXPECT_EQ(ha.hello_port, 0);
    EXPECT_EQ(ha.track_interface, (HaPenalty{20, false}));
    EXPECT_EQ(ha.track_engine, (HaPenalty{0, false}));
    EXPECT_EQ(ha.track_backends, (HaPenalty{0, true}));
}

TEST(Config, RoutesAreAnnouncedWithoutVrrpToo) {
    EXPECT_EQ(parse(kMinimal).ha.announce, Announce::kArp);
    const auto plain = parse(std::string(kMinimal) + "[ha]\nmode = \"none\"\nannounce = \"route\"\n").ha;
    EXPECT_EQ(plain.announce, Announce::kRoute);
    EXPECT_EQ(plain.routes, (AnnouncedRoutes{146, 146, OnStop::kWithdraw}));
    const auto whole = parse(std::string(kMinimal) +
                             "[ha]\nmode = \"vrrp\"\nvrid = 1\nannounce = \"route\"\n"
                             "route = { table = 4294967295, protocol = 99, on_stop = \"keep\" }\n")
                           .ha;
    EXPECT_EQ(whole.mode, HaMode::kVrrp);
    EXPECT_EQ(whole.routes, (AnnouncedRoutes{UINT32_MAX, 99, OnStop::kKeep}));
}

constexpr const char* kTwoGroups = R"(
[[node]]
name = "lb-a"
interface = "eth0"
address = "192.0.2.2"
priority = { default = 150, second = 50 }

[[node]]
name = "lb-b"
interface = "eth0"
address = "192.0.2.3"
priority = 77

[[service]]
name = "web"
vip = "192.0.2.10"
ports = [80]
backends = ["192.0.2.11"]

[[service]]
name = "mail"
vip = "192.0.2.20"
ports = [25]
backends = ["192.0.2.11"]

[ha]
mode = "vrrp"
vrid = 51
priority = 120
advert_interval = "100ms"

[[ha.group]]
name = "second"
vrid = 52
vips = ["192.0.2.20"]
preempt = false

[[ha.group]]
name = "third"
vrid = 53
vips = ["2001:db8::10", "192.0.2.30"]
priority = 99
advert_interval = "2s"

[[service]]
name = "six"
vip = "2001:db8::10"
ports = [80]
backends = ["2001:db8::11"]

[[service]]
name = "more"
vip = "192.0.2.30"
ports = "any"
pool = "more"

[[pool]]
name = "more"
checks = []
[[pool.backend]]
name = "one"
address = "192.0.2.11"
)";

TEST(Config, GroupsTakeFromHaWhatTheyDoNotSay) {
    const auto config = parse(kTwoGroups);
    const auto groups = groups_of(config);
    ASSERT_EQ(groups.size(), 3U);
    EXPECT_EQ(groups[0], (HaGroup{"default", 51, 120, Milliseconds(100), true, Milliseconds(0), {ip("192.0.2.10")}}));
    EXPECT_EQ(groups[1], (HaGroup{"second", 52, 120, Milliseconds(100), false, Milliseconds(0), {ip("192.0.2.20")}}));
    EXPECT_EQ(groups[2].priority, 99);
    EXPECT_EQ(groups[2].advert_interval, Milliseconds(2000));
    EXPECT_EQ(groups[2].vips.size(), 2U);
    EXPECT_TRUE(std::is_sorted(groups[2].vips.begin(), groups[2].vips.end()));
}

TEST(Config, ANodesPriorityIsThatOfTheGroupOrOfAll) {
    const auto config = parse(kTwoGroups);
    const auto groups = groups_of(config);
    ASSERT_EQ(groups.size(), 3U);
    EXPECT_EQ(priority_of(config.nodes[0], groups[0]), 150);
    EXPECT_EQ(priority_of(config.nodes[0], groups[1]), 50);
    EXPECT_EQ(priority_of(config.nodes[0], groups[2]), 99);
    for (const auto& group : groups) EXPECT_EQ(priority_of(config.nodes[1], group), 77);
}

TEST(Config, RoleWordsGoByVrid) {
    auto config = parse(kTwoGroups);
    EXPECT_EQ(role_of(config.ha, ip("192.0.2.10")), 51U);
    EXPECT_EQ(role_of(config.ha, ip("192.0.2.20")), 52U);
    EXPECT_EQ(role_of(config.ha, ip("2001:db8::10")), 53U);
    config.ha.mode = HaMode::kNone;
    EXPECT_EQ(role_of(config.ha, ip("192.0.2.20")), 0U);
    EXPECT_TRUE(groups_of(config).empty());
}

TEST(Config, TheDefaultGroupIsThereWhileItHasVips) {
    const std::string group = "[[ha.group]]\nname = \"all\"\nvrid = 7\nvips = [\"192.0.2.10\"]\n";
    const auto config = parse(std::string(kMinimal) + "[ha]\nmode = \"vrrp\"\n" + group);  // and needs no vrid then
    ASSERT_EQ(groups_of(config).size(), 1U);
    EXPECT_EQ(groups_of(config)[0].name, "all");
}

TEST(Config, DifferencesOfGroupsAreSaid) {
    const auto before = parse(kTwoGroups);
    auto after = before;
    EXPECT_TRUE(diff_settings(before, after).empty());
    after.ha.groups[0].vips.push_back(ip("192.0.2.10"));
    after.ha.groups[1].name = "fourth";
    after.nodes[0].priorities["second"] = 250;
    after.ha.peers = {ip("192.0.2.3")};
    EXPECT_EQ(diff_settings(before, after),
              (std::vector<std::string>{
                  "node lb-a: priority default 150, second 50 -> default 150, second 250",
                  "[ha] peers none -> 192.0.2.3", "HA group second: vips 192.0.2.20 -> 192.0.2.10, 192.0.2.20",
                  "HA group fourth added", "HA group default removed", "HA group third removed"}));
}

// ---- state sync ----

constexpr auto kExternal = "[ha]\nmode = \"external\"\n";

TEST(Config, SyncIsOnWhereTheFileHasIt) {
    EXPECT_EQ(parse(std::string(kMinimal) + kExternal).sync, Sync{});
    const auto sync = parse(std::string(kMinimal) + kExternal + "[sync]\n").sync;
    EXPECT_TRUE(sync.on);
    EXPECT_EQ(sync.key_file, "/etc/fairlead/sync.key");
    EXPECT_EQ(sync.port, 9437);
    EXPECT_EQ(sync.interval, Milliseconds(20));
    EXPECT_EQ(sync.rate_mbit, 100U);
    EXPECT_EQ(sync.wait, Milliseconds(10'000));
    EXPECT_EQ(sync.full_interval, Milliseconds(300'000));
}

TEST(Config, SyncIsReadWholeWhereverItStands) {
    constexpr auto kSync =
        "[sync]\nkey_file = \"/k\"\nport = 65535\ninterval = \"5ms\"\nrate_mbit = 100000\n"
        "sync_wait = \"0s\"\nfull_interval = \"24h\"\n";
    const Sync expected{true, "/k", 65'535, Milliseconds(5), 100'000, Milliseconds(0), std::chrono::hours(24)};
    EXPECT_EQ(parse(std::string(kMinimal) + kExternal + kSync).sync, expected);
    EXPECT_EQ(parse(std::string(kMinimal) + kSync + kExternal).sync, expected);
    // Without hellos their default port is free.
    EXPECT_EQ(parse(std::string(kMinimal) + kExternal + "hello_port = 0\n[sync]\nport = 9436\n").sync.port, 9436);
}

TEST(DiffSettings, NamesEachKeyOfSync) {
    const auto before = parse(std::string(kMinimal) + kExternal);
    auto after = before;
    after.sync = {true, "/k", 9500, Milliseconds(50), 1000, Milliseconds(0), Milliseconds(60'000)};
    EXPECT_EQ(diff_settings(before, after),
              (std::vector<std::string>{"[sync] off -> on", "[sync] key_file /etc/fairlead/sync.key -> /k",
                                        "[sync] port 9437 -> 9500", "[sync] interval 20ms -> 50ms",
                                        "[sync] rate_mbit 100 -> 1000", "[sync] sync_wait 10000ms -> 0ms",
                                        "[sync] full_interval 300000ms -> 60000ms"}));
}

// ---- which node ----

Config nodes(std::initializer_list<const char*> names) {
    Config config;
    for (const auto* name : names) {
        Node node;
        node.name = name;
        config.nodes.push_back(node);
    }
    return config;
}

TEST(ChooseNode, TakesTheRequestedElseTheHostsElseTheOnly) {
    const auto two = nodes({"lb-a", "lb-b"});
    EXPECT_EQ((*choose_node(two, "lb-b", "lb-a"))->name, "lb-b");
    EXPECT_EQ((*choose_node(two, "", "lb-b"))->name, "lb-b");
    EXPECT_EQ((*choose_node(two, "", "lb-b.example.com"))->name, "lb-b");
    EXPECT_EQ((*choose_node(nodes({"lb-a"}), "", "elsewhere"))->name, "lb-a");
    EXPECT_EQ((*choose_node(nodes({""}), "", "elsewhere"))->name, "");
    EXPECT_EQ((*choose_node(nodes({""}), "anything", "elsewhere"))->name, "");
}

TEST(ChooseNode, SaysWhatThereIs) {
    const auto two = nodes({"lb-a", "lb-b"});
    const auto misspelt = choose_node(two, "lb-c", "lb-a");
    ASSERT_FALSE(misspelt);
    EXPECT_NE(misspelt.error().message.find("did you mean 'lb-a'?"), std::string::npos) << misspelt.error().message;
    EXPECT_FALSE(choose_node(nodes({"lb-a"}), "other", "lb-a")) << "a wrong --node is not overruled";
    const auto stranger = choose_node(two, "", "elsewhere");
    ASSERT_FALSE(stranger);
    EXPECT_NE(stranger.error().message.find("'lb-a', 'lb-b'"), std::string::npos) << stranger.error().message;
    EXPECT_FALSE(choose_node(two, "", ""));
}

// ---- two of them ----

TEST(Config, DpdkAndItsPorts) {
    const auto plain = parse(kMinimal);
    EXPECT_EQ(plain.dpdk, Dpdk{});
    EXPECT_EQ(dpdk_port(plain, plain.nodes[0], "eth0"), nullptr);
    const auto config = parse(std::string(kMinimal) + R"(
[dpdk]
supervise = false
exceptions = true
exceptions_per_second = 500
cores = [3, 2]
memory_mb = 1024
huge_pages = true
poll = "busy"
[[dpdk.port]]
interface = "eth0"
device = "net_af_packet0,iface=eth0"
queues = 2
)");
    const DpdkPort port{"eth0", "net_af_packet0,iface=eth0", 2, ""};
    EXPECT_EQ(config.dpdk, (Dpdk{false, true, 500, {3, 2}, 1024, true, Poll::kBusy, {port}}));
    ASSERT_NE(dpdk_port(config, config.nodes[0], "eth0"), nullptr);
    EXPECT_EQ(*dpdk_port(config, config.nodes[0], "eth0"), port);
    EXPECT_EQ(dpdk_port(config, config.nodes[0], "eth1"), nullptr);
    EXPECT_EQ(
        diff_settings(plain, config),
        (std::vector<std::string>{
            "[dpdk] supervise yes -> no", "[dpdk] exceptions no -> yes", "[dpdk] exceptions_per_second 10000 -> 500",
            "[dpdk] cores none -> 3, 2", "[dpdk] memory_mb 256 -> 1024", "[dpdk] huge_pages no -> yes",
            "[dpdk] poll adaptive -> busy", "[dpdk] ports none -> eth0 = net_af_packet0,iface=eth0, queues 2"}));
}

TEST(Config, WhatADpdkDeviceMayBe) {
    const auto fits = [](const std::string& device) {
        return parse_config(
                   std::string(kMinimal) + "[[dpdk.port]]\ninterface = \"eth0\"\ndevice = \"" + device + "\"\n",
                   "test.toml")
            .config.has_value();
    };
    for (const auto* good : {"0000:03:00.0", "03:00.1", "abCD:ef:1f.7", "net_af_packet0,iface=eth0", "net_ring0",
                             "virtio_user0,path=/dev/vhost-net,queues=2", "eth_af_packet0"})
        EXPECT_TRUE(fits(good)) << good;
    for (const auto* bad : {"", "eth0", "0000:03:00.8", "000:03:00.0", "0000:03:00", "0000:03:00.0,x=1", "net_a b",
                            "net_a,", "net_a,,b=1", "net-a", "net_a,b=\\u00e4"})
        EXPECT_FALSE(fits(bad)) << bad;
    EXPECT_TRUE(fits("net_a," + std::string(1 << 20, 'x'))) << "however long";
    EXPECT_TRUE(is_pci_address("0000:03:00.0"));
    EXPECT_FALSE(is_pci_address("net_af_packet0,iface=eth0"));
}

TEST(DiffSettings, NamesEachKeyOutsidePoolsAndServices) {
    const auto services = std::string(kMinimal).substr(std::string(kMinimal).find("[[service]]"));
    const auto before = parse(
        "[[node]]\nname = \"a\"\naddress = \"192.0.2.1\"\ninterface = \"eth0\"\n"
        "[[node]]\nname = \"b\"\naddress = \"192.0.2.2\"\ninterface = \"eth0\"\n" +
        services);
    EXPECT_TRUE(diff_settings(before, before).empty());
    const auto after = parse(
        "hash_key_file = \"/k\"\nencap_source_prefix = \"198.51.100.0/24\"\n"
        "[[node]]\nname = \"a\"\naddress = [\"192.0.2.3\", \"2001:db8::3\"]\nengine = \"xdp\"\n"
        "interfaces = [\"eth0\", { name = \"eth1\", vlan = 7 }, { name = \"eth2\", vlan = 0 }]\n"
        "[[node]]\nname = \"c\"\naddress = \"192.0.2.2\"\ninterface = \"eth0\"\n" +
        services + "[limits]\npins = 2048\n[metrics]\naddress = \"[::1]:9\"\n[log]\nlevel = \"debug\"\n");
    EXPECT_EQ(diff_settings(before, after),
              (std::vector<std::string>{"node a: interfaces eth0 -> eth0, eth1 VLAN 7, eth2 untagged",
                                        "node a: engine auto -> xdp", "node a: address 192.0.2.1 -> 192.0.2.3",
                                        "node a: IPv6 address none -> 2001:db8::3", "node c added", "node b removed",
                                        "[limits] pins 1048576 -> 2048", "[metrics] 127.0.0.1:9435 -> [::1]:9",
                                        "[log] level info -> debug", "hash_key_file /var/lib/fairlead/hash.key -> /k",
                                        "encap_source_prefix none -> 198.51.100.0/24"}));
    auto routed = before;
    routed.ha.announce = Announce::kRoute;
    routed.ha.routes.table = 200;
    EXPECT_EQ(diff_settings(before, routed),
              std::vector<std::string>{"[ha] announce arp -> route (table 200, protocol 146, on stop withdraw)"});
    auto off = before;
    off.metrics.enabled = false;
    EXPECT_EQ(diff_settings(before, off), std::vector<std::string>{"[metrics] 127.0.0.1:9435 -> off"});
}

// ---- small parts ----

TEST(Duration, IsAWholeNumberAndAUnit) {
    EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
    EXPECT_EQ(parse_duration("1s"), seconds(1));
    EXPECT_EQ(parse_duration("5m"), seconds(300));
    EXPECT_EQ(parse_duration("1h"), seconds(3600));
    EXPECT_EQ(parse_duration("0s"), seconds(0));
    for (const auto* text :
         {"", "s", "1", "1 s", " 1s", "1s ", "+1s", "-1s", "-0s", "1.5s", "1d", "1S", "99999999999999999999s"})
        EXPECT_FALSE(parse_duration(text)) << text;
}

TEST(NearMiss, FindsSlipsAndNothingElse) {
    const std::vector<std::string_view> keys = {"affinity", "address", "tier", "weight"};
    EXPECT_EQ(nearest("afinity", keys), "affinity");
    EXPECT_EQ(nearest("adress", keys), "address");
    EXPECT_EQ(nearest("teir", keys), "tier") << "neighbours swapped are one slip";
    EXPECT_EQ(nearest("wieght", keys), "weight");
    EXPECT_EQ(nearest("colour", keys), "");
    EXPECT_EQ(nearest("x", keys), "");
    EXPECT_EQ(nearest(std::string(1000, 'a'), keys), "");
}

TEST(Quote, CutsBetweenCharactersAndHidesControls) {
    EXPECT_EQ(quote("a\nb"), "'a?b'");
    const auto cut = quote(std::string(59, 'a') + "\xc3\xa4" + std::string(10, 'b'));
    EXPECT_EQ(cut, "'" + std::string(59, 'a') + "...'");
}

// ---- any bytes at all ----

// A result is a config or a fault, never both and never neither.
void expect_an_answer(const std::string& text) {
    const auto result = parse_config(text, "t");
    EXPECT_NE(result.config.has_value(), !result.diagnostics.empty());
    for (const auto& diagnostic : result.diagnostics) {
        EXPECT_GE(diagnostic.line, 1U);
        EXPECT_GE(diagnostic.column, 1U);
        EXPECT_FALSE(diagnostic.message.empty());
    }
}

TEST(AnyBytes, EveryPrefixOfAConfigHasAnAnswer) {
    const auto text = contents(shipped("external-lb.toml"));
    ASSERT_GT(text.size(), 1000U);
    for (std::size_t length = 0; length < text.size(); length += 3) expect_an_answer(text.substr(0, length));
}

TEST(AnyBytes, ChangedBytesHaveAnAnswer) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const std::string pieces = "[]{}\"'=.,#\n\t \\-_0a\x80\xff\x01";
    const auto original = contents(shipped("lb-on-master.toml"));
    for (int round = 0; round < 300; ++round) {
        auto text = original;
        for (int change = 0; change < 5; ++change) text[random() % text.size()] = pieces[random() % pieces.size()];
        expect_an_answer(text);
    }
}

TEST(AnyBytes, DepthIsBounded) {
    const auto repeated = [](const std::string& piece, int times) {
        std::string text;
        for (int i = 0; i < times; ++i) text += piece;
        return text;
    };
    expect_an_answer("a = " + repeated("[", 100'000));
    expect_an_answer("a = " + repeated("[", 250) + repeated("]", 250));
    expect_an_answer("a = " + repeated("{a = ", 100'000));
    expect_an_answer(repeated("a.", 1'000'000) + "a = 1");
    expect_an_answer("[" + repeated("a.", 1'000'000) + "a]");
    expect_an_answer(repeated("\"a\" . 'b' .", 100'000) + "a = 1");
    expect_an_answer("a = " + repeated("{ b.c.d.e.f.g.h = ", 250) + "1" + repeated("}", 250));
    expect_an_answer(repeated("[[a]]\n[a.b]\n", 10'000));
    expect_an_answer(repeated("\"", 100'001));
    expect_an_answer("a = \"\"\"" + repeated("\\", 100'000));
    expect_an_answer(repeated("x", 100'000));
    expect_an_answer(repeated("x\n", 10'000));
    expect_an_answer(std::string("a = \"\0\"", 7));
    expect_an_answer("\xef\xbb\xbf" + std::string(kMinimal));
    expect_an_answer("\xff\xfe");
}

TEST(AnyBytes, SyntaxErrorsAreReportedUpToABound) {
    std::string unreadable;
    std::string beyond_ascii;
    for (int i = 0; i < 1000; ++i) unreadable += "a b\n";
    for (int i = 0; i < 1000; ++i) beyond_ascii += "\xc3\xa4 = 1\n";
    EXPECT_EQ(parse_config(unreadable, "t").diagnostics.size(), 50U);
    EXPECT_EQ(parse_config(beyond_ascii, "t").diagnostics.size(), 50U);
}

TEST(AnyBytes, LinesMayEndInCrLf) {
    std::string text;
    for (const char c : std::string(kMinimal)) text += c == '\n' ? "\r\n" : std::string(1, c);
    EXPECT_TRUE(parse_config(text, "t").config);
}

}  // namespace
}  // namespace fairlead::config
