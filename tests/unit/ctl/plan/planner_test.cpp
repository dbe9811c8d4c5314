// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace fairlead::plan {
namespace {

using Lines = std::vector<std::string>;

IpAddress ip(std::string_view text) { return *IpAddress::parse(text); }

config::Backend backend(std::string name, std::string_view address, int tier = 0) {
    config::Backend made;
    made.name = std::move(name);
    made.address = ip(address);
    made.tier = tier;
    return made;
}

config::Check check(std::uint16_t port) {
    config::Check made;
    made.port = port;
    return made;
}

// Master and Slave behind one VIP, and a pool for UDP over tunnels behind another.
config::Config two_pools() {
    config::Config config;
    config::Pool megam;
    megam.name = "megam";
    megam.affinity = config::Affinity::kClientIp;
    megam.backends = {backend("master", "192.0.2.11"), backend("slave", "192.0.2.12", 1)};
    megam.checks = {check(9869), check(2633)};
    config::Pool dns;
    dns.name = "dns";
    dns.all_down = config::AllDown::kDrop;
    dns.table = 4096;
    dns.idle_timeout = config::Milliseconds{60'001};
    dns.backends = {backend("ns1", "2001:db8::11")};
    dns.backends[0].forward = config::Forward::kIpip;
    config.pools = {megam, dns};
    config.services = {
        {"sunstone", ip("192.0.2.10"), {9869, 29876}, config::Protocol::kTcp, "megam", config::Unlisted::kReset},
        {"resolver", ip("2001:db8::10"), {}, config::Protocol::kUdp, "dns", config::Unlisted::kDrop},
        {"oned", ip("192.0.2.10"), {2633}, config::Protocol::kTcp, "megam", config::Unlisted::kReset},
    };
    return config;
}

HealthView all_up() { return {{"megam", {{"master", {Verdict::kUp, ""}}, {"slave", {Verdict::kUp, ""}}}}}; }

Plan plan_of(const config::Config& config, const NodeView& node = {"lb", {}}) {
    return make_plan(config, node, all_up(), {});
}

TEST(Planner, ExpandsServicesByPort) {
    const Plan plan = plan_of(two_pools());
    const std::vector<tables::DesiredService> expected = {
        {"sunstone", ip("192.0.2.10"), 9869, 6, "megam"},
        {"sunstone", ip("192.0.2.10"), 29876, 6, "megam"},
        {"resolver", ip("2001:db8::10"), 0, 17, "dns"},
        {"oned", ip("192.0.2.10"), 2633, 6, "megam"},
    };
    EXPECT_EQ(plan.desired.services, expected);
}

TEST(Planner, NamesEachVipOnce) {
    const Plan plan = plan_of(two_pools());
    const std::vector<tables::DesiredVip> expected = {{ip("192.0.2.10"), true, false, 0},
                                                      {ip("2001:db8::10"), false, false, 0}};
    EXPECT_EQ(plan.desired.vips, expected);
}

TEST(Planner, GivesEachVipTheRoleOfItsGroup) {
    config::Config config = two_pools();
    config.ha.vrid = 51;
    config.ha.groups = {{.name = "six", .vrid = 52, .vips = {ip("2001:db8::10")}}};
    const auto roles = [&] {
        std::vector<std::uint32_t> found;
        for (const auto& vip : plan_of(config).desired.vips) found.push_back(vip.role);
        return found;
    };
    EXPECT_EQ(roles(), (std::vector<std::uint32_t>{0, 0})) << "without HA";
    config.ha.mode = config::HaMode::kVrrp;
    EXPECT_EQ(roles(), (std::vector<std::uint32_t>{51, 52}));
    const Plan before = plan_of(config);
    config.ha.groups[0].vips = {ip("192.0.2.10")};
    EXPECT_EQ(diff_plan(before, plan_of(config)),
              (std::vector<std::string>{"vip 192.0.2.10: vrid 51 -> 52", "vip 2001:db8::10: vrid 52 -> 51"}));
}

TEST(Planner, CarriesThePoolsSettings) {
    const Plan plan = plan_of(two_pools());
    ASSERT_EQ(plan.desired.pools.size(), 2U);
    const tables::DesiredPool& megam = plan.desired.pools[0];
    EXPECT_EQ(megam.flags, FL_POOL_CLIENT_IP | FL_POOL_ALL_DOWN_RESET);
    EXPECT_EQ(megam.slots, 1024U);
    EXPECT_EQ(megam.idle_timeout_s, 3600U);
    const std::vector<tables::DesiredBackend> expected = {
        {"master", ip("192.0.2.11"), FL_FORWARD_L2DSR, 0},
        {"slave", ip("192.0.2.12"), FL_FORWARD_L2DSR, 1},
    };
    EXPECT_EQ(megam.backends, expected);
    const tables::DesiredPool& dns = plan.desired.pools[1];
    EXPECT_EQ(dns.flags, 0U);
    EXPECT_EQ(dns.slots, 4096U);
    EXPECT_EQ(dns.idle_timeout_s, 61U) << "never shorter than asked for";
    EXPECT_EQ(dns.backends[0].forward, FL_FORWARD_IPIP);
}

TEST(Planner, SaysTheTunnelsPortAndWhatIsTooBig) {
    config::Config config = two_pools();
    config.pools[0].too_big = config::TooBig::kPass;
    config.pools[0].gue_port = 6081;
    config.pools[0].backends[0].forward = config::Forward::kGue;
    const auto megam = plan_of(config).desired.pools[0];
    EXPECT_EQ(megam.flags, FL_POOL_CLIENT_IP | FL_POOL_ALL_DOWN_RESET | FL_POOL_TOO_BIG_PASS);
    EXPECT_EQ(megam.backends[0].forward, FL_FORWARD_GUE);
    EXPECT_EQ(megam.backends[0].gue_port, 6081);
    EXPECT_EQ(megam.backends[1].gue_port, 0) << "no tunnel";
    const auto local = plan_of(config, {"lb", {ip("192.0.2.11")}}).desired.pools[0].backends[0];
    EXPECT_EQ(local.forward, FL_FORWARD_LOCAL);
    EXPECT_EQ(local.gue_port, 0);
}

TEST(Planner, AllDownAnyRefusesWhenNobodyIsLeft) {
    config::Config config = two_pools();
    config.pools[0].all_down = config::AllDown::kAny;
    EXPECT_TRUE(plan_of(config).desired.pools[0].flags & FL_POOL_ALL_DOWN_RESET);
}

TEST(Planner, FindsLocalBackendsByAddress) {
    const Plan plan = plan_of(two_pools(), {"master", {ip("192.0.2.11"), ip("127.0.0.1")}});
    EXPECT_EQ(plan.desired.pools[0].backends[0].forward, FL_FORWARD_LOCAL);
    EXPECT_EQ(plan.desired.pools[0].backends[1].forward, FL_FORWARD_L2DSR);
    EXPECT_TRUE(plan.desired.vips[0].local) << "a service's pool has a backend here";
    EXPECT_FALSE(plan.desired.vips[1].local);
}

TEST(Planner, BelievesAnExplicitLocalBackend) {
    config::Config config = two_pools();
    config.pools[1].backends[0].local = true;
    const Plan plan = plan_of(config);
    EXPECT_EQ(plan.desired.pools[1].backends[0].forward, FL_FORWARD_LOCAL) << "local goes before ipip";
    EXPECT_FALSE(plan.desired.vips[0].local);
    EXPECT_TRUE(plan.desired.vips[1].local);
}

TEST(Planner, AVipIsLocalIfAnyOfItsServicesIs) {
    config::Config config = two_pools();
    config.services[0].pool = "dns";  // the VIP's first service has no local backend, its last has
    EXPECT_TRUE(plan_of(config, {"slave", {ip("192.0.2.12")}}).desired.vips[0].local);
    std::reverse(config.services.begin(), config.services.end());
    const Plan reversed = plan_of(config, {"slave", {ip("192.0.2.12")}});
    EXPECT_EQ(reversed.desired.vips[0].address, ip("192.0.2.10"));
    EXPECT_TRUE(reversed.desired.vips[0].local);
}

TEST(Planner, AVipIsLocalIfItIsAnAddressOfTheNode) {
    const Plan plan = plan_of(two_pools(), {"lb", {ip("2001:db8::10")}});
    EXPECT_FALSE(plan.desired.vips[0].local);
    EXPECT_TRUE(plan.desired.vips[1].local);
}

TEST(Planner, ListsEveryCheckOfEveryBackend) {
    const std::vector<CheckTarget> expected = {
        {"megam", "master", ip("192.0.2.11"), check(9869)},
        {"megam", "master", ip("192.0.2.11"), check(2633)},
        {"megam", "slave", ip("192.0.2.12"), check(9869)},
        {"megam", "slave", ip("192.0.2.12"), check(2633)},
    };
    EXPECT_EQ(plan_of(two_pools()).checks, expected);
}

TEST(Planner, DecidesPoolByPool) {
    const Overrides overrides = {{"megam", {{"master", {true, {}}}}}};
    const Plan plan = make_plan(two_pools(), {"lb", {}}, all_up(), overrides);
    ASSERT_EQ(plan.decisions.size(), 2U);
    EXPECT_EQ(plan.decisions[0].pool, "megam");
    EXPECT_EQ(plan.decisions[0].tier, 1);
    EXPECT_EQ(plan.decisions[0].backends[0].state, FL_BACKEND_DRAINING);
    EXPECT_EQ(plan.decisions[1].tier, 0) << "no checks: healthy";
}

std::vector<std::uint16_t> pool_owners(const PoolDecision& decision,
                                       const std::map<std::string, std::uint16_t, std::less<>>& indexes,
                                       std::size_t slots) {
    const auto candidates = slot_candidates(decision, [&](std::string_view name) -> std::optional<std::uint16_t> {
        const auto found = indexes.find(name);
        return found == indexes.end() ? std::nullopt : std::optional(found->second);
    });
    std::vector<std::uint16_t> owners(slots);
    fill_owners(owners, candidates);
    return owners;
}

TEST(PoolOwners, GivesSlotsToThoseInUseAlone) {
    const Plan plan = plan_of(two_pools());
    EXPECT_EQ(pool_owners(plan.decisions[0], {{"master", 4}, {"slave", 2}}, 64), std::vector<std::uint16_t>(64, 4));
    EXPECT_EQ(pool_owners(plan.decisions[0], {{"slave", 2}}, 64), std::vector<std::uint16_t>(64, FL_NO_BACKEND));
}

TEST(PoolOwners, HonoursWeights) {
    config::Config config = two_pools();
    config.pools[0].backends[1].tier = 0;
    const Overrides overrides = {{"megam", {{"master", {false, 300}}}}};
    const Plan plan = make_plan(config, {"lb", {}}, all_up(), overrides);
    const auto owners = pool_owners(plan.decisions[0], {{"master", 0}, {"slave", 1}}, 1024);
    EXPECT_EQ(std::count(owners.begin(), owners.end(), 0), 768);
    EXPECT_EQ(std::count(owners.begin(), owners.end(), 1), 256);
}

TEST(DiffPlan, NothingChanged) { EXPECT_EQ(diff_plan(plan_of(two_pools()), plan_of(two_pools())), Lines{}); }

TEST(DiffPlan, HealthIsNoChange) {
    EXPECT_EQ(diff_plan(plan_of(two_pools()), make_plan(two_pools(), {"lb", {}}, {}, {})), Lines{});
}

// Each row is one edit of the config and the lines that it must give.
struct Edit {
    std::string what;
    void (*make)(config::Config&);
    Lines lines;
};

const std::vector<Edit> kEdits = {
    {"backend added",
     [](config::Config& c) { c.pools[0].backends.push_back(backend("third", "192.0.2.13", 1)); },
     {"pool megam: backend third added (192.0.2.13, tier 1)"}},
    {"backend removed",
     [](config::Config& c) { c.pools[0].backends.pop_back(); },
     {"pool megam: backend slave removed"}},
    {"backend changed",
     [](config::Config& c) {
         c.pools[0].backends[1] = backend("slave", "192.0.2.99", 2);
         c.pools[0].backends[1].weight = 7;
         c.pools[0].backends[1].forward = config::Forward::kIpip;
     },
     {"pool megam: backend slave: address 192.0.2.12 -> 192.0.2.99", "pool megam: backend slave: forward l2dsr -> ipip",
      "pool megam: backend slave: tier 1 -> 2", "pool megam: backend slave: weight 100 -> 7"}},
    {"backends in another order",
     [](config::Config& c) { std::swap(c.pools[0].backends[0], c.pools[0].backends[1]); },
     {}},
    {"pool settings",
     [](config::Config& c) {
         c.pools[0].affinity = config::Affinity::kConnection;
         c.pools[0].quorum = 2;
         c.pools[0].all_down = config::AllDown::kAny;
         c.pools[0].check_policy = config::CheckPolicy::kAny;
         c.pools[0].table = 2048;
         c.pools[0].idle_timeout = config::Milliseconds{30'000};
         c.pools[0].checks[0].port = 80;
     },
     {"pool megam: affinity client-ip -> connection", "pool megam: quorum 1 -> 2", "pool megam: all_down reset -> any",
      "pool megam: check_policy all -> any", "pool megam: table 1024 -> 2048", "pool megam: idle_timeout 3600s -> 30s",
      "pool megam: checks changed"}},
    {"tunnel's port",
     [](config::Config& c) {
         c.pools[0].too_big = config::TooBig::kPass;
         c.pools[0].backends[0].forward = config::Forward::kGue;
         c.pools[0].backends[1].vlan = 7;
         c.pools[0].backends[1].mac = MacAddress{{2, 0, 0x5e, 0, 0x53, 1}};
     },
     {"pool megam: too_big drop -> pass", "pool megam: backend master: forward l2dsr -> gue",
      "pool megam: backend master: gue_port 0 -> 6080", "pool megam: backend slave: vlan none -> 7",
      "pool megam: backend slave: mac none -> 02:00:5e:00:53:01"}},
    {"port added and removed",
     [](config::Config& c) { c.services[0].ports = {443, 9869}; },
     {"service sunstone (192.0.2.10 tcp): port 29876 removed", "service sunstone (192.0.2.10 tcp): port 443 added"}},
    {"any port",
     [](config::Config& c) { c.services[2].ports.clear(); },
     {"service oned (192.0.2.10 tcp): port 2633 removed", "service oned (192.0.2.10 tcp): any port added"}},
    {"service and its VIP removed",
     [](config::Config& c) { c.services.erase(c.services.begin() + 1); },
     {"vip 2001:db8::10 removed", "service resolver (2001:db8::10 udp) removed"}},
    {"another VIP",
     [](config::Config& c) { c.services[1].vip = ip("2001:db8::99"); },
     {"vip 2001:db8::10 removed", "vip 2001:db8::99 added", "service resolver (2001:db8::10 udp) removed",
      "service resolver (2001:db8::99 udp) added to pool dns"}},
    {"unlisted",
     [](config::Config& c) { c.services[1].unlisted = config::Unlisted::kReset; },
     {"vip 2001:db8::10: unlisted drop -> reset"}},
    {"another pool, a new one",
     [](config::Config& c) {
         c.pools.push_back(c.pools[1]);
         c.pools.back().name = "dns2";
         c.services[1].pool = "dns2";
     },
     {"pool dns2 added (1 backends)", "service resolver (2001:db8::10 udp): pool dns -> dns2"}},
    {"local backend",
     [](config::Config& c) { c.pools[1].backends[0].local = true; },
     {"vip 2001:db8::10: local no -> yes", "pool dns: backend ns1: forward ipip -> local"}},
};

TEST(DiffPlan, SaysWhatAReloadChanges) {
    for (const Edit& edit : kEdits) {
        SCOPED_TRACE(edit.what);
        config::Config changed = two_pools();
        edit.make(changed);
        EXPECT_EQ(diff_plan(plan_of(two_pools()), plan_of(changed)), edit.lines);
    }
}

TEST(DiffDecision, SaysWhatAVerdictChanges) {
    const PoolDecision before = plan_of(two_pools()).decisions[0];
    HealthView health = all_up();
    health["megam"]["master"] = {Verdict::kDown, "connection refused"};
    const PoolDecision failed = make_plan(two_pools(), {"lb", {}}, health, {}).decisions[0];
    EXPECT_EQ(diff_decision(before, failed),
              (Lines{"pool megam: backend master: in use -> check failed: connection refused",
                     "pool megam: backend slave: tier 1 stands by -> in use",
                     "pool megam: tier 0 -> 1 (tier 1: 1 of 1 backends eligible)"}));
    health["megam"]["slave"] = {Verdict::kDown, "timeout"};
    const PoolDecision down = make_plan(two_pools(), {"lb", {}}, health, {}).decisions[0];
    EXPECT_EQ(diff_decision(failed, down),
              (Lines{"pool megam: backend slave: in use -> check failed: timeout",
                     "pool megam: tier 1 -> none (no backend is eligible: connections are refused)"}));
    EXPECT_EQ(diff_decision(down, down), Lines{});
}

TEST(DiffDecision, SaysAnOverriddenWeight) {
    const PoolDecision before = plan_of(two_pools()).decisions[0];
    const Overrides overrides = {{"megam", {{"slave", {false, 5}}}}};
    const PoolDecision after = make_plan(two_pools(), {"lb", {}}, all_up(), overrides).decisions[0];
    EXPECT_EQ(diff_decision(before, after), Lines{"pool megam: backend slave: weight 100 -> 5"});
}

tables::Snapshot tables_with(std::uint32_t slots, std::vector<tables::BackendStatus> backends) {
    tables::Snapshot snapshot;
    tables::PoolStatus pool;
    pool.name = "megam";
    pool.slots = slots;
    pool.backends = std::move(backends);
    snapshot.pools.push_back(pool);
    return snapshot;
}

TEST(KeepTables, OneThatFollowsFromTheBackendsNeverShrinks) {
    config::Config config = two_pools();
    config.pools[0].table = 1024;
    keep_tables(config, tables_with(2048, {}));
    EXPECT_EQ(config.pools[0].table, 1024U) << "given";
    config.pools[0].table_given = false;
    keep_tables(config, tables_with(2048, {}));
    EXPECT_EQ(config.pools[0].table, 2048U);
    keep_tables(config, tables_with(1024, {}));
    EXPECT_EQ(config.pools[0].table, 2048U);
}

TEST(KeepLeaving, WhatTheTablesHaveAndTheConfigHasNotLeaves) {
    config::Config config = two_pools();
    const auto first = config.pools[0].backends.front();
    tables::BackendStatus same, gone, replaced;
    same.name = "under another name";
    same.address = first.address;
    same.forward = FL_FORWARD_LOCAL;  // whatever it was called
    gone.name = "gone";
    gone.address = *IpAddress::parse("198.51.100.77");
    gone.forward = FL_FORWARD_IPIP;
    gone.tier = 3;
    replaced = gone;
    replaced.name = first.name;
    replaced.address = *IpAddress::parse("198.51.100.78");
    const auto before = config.pools[0].backends.size();
    const auto lines = keep_leaving(config, tables_with(1024, {same, gone, replaced}), config);
    EXPECT_EQ(lines.size(), 2U);
    const auto& backends = config.pools[0].backends;
    ASSERT_EQ(backends.size(), before + 2);
    EXPECT_EQ(backends[before].name, "gone");
    EXPECT_TRUE(backends[before].leaving);
    EXPECT_EQ(backends[before].tier, 3);
    EXPECT_EQ(backends[before].forward, config::Forward::kIpip);
    EXPECT_EQ(backends[before + 1].name, first.name + "~2") << "another has its name now";
    EXPECT_EQ(keep_leaving(config, tables_with(1024, {gone}), config), Lines{}) << "it leaves already";
}

}  // namespace
}  // namespace fairlead::plan
