// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/shared_digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

namespace fairlead::plan {
namespace {

using config::Config;

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

Config sample() {
    const auto parsed = config::parse_config(R"(
[[node]]
name = "lb-a"
interface = "eth0"
address = "192.0.2.2"
[[node]]
name = "lb-b"
interface = "eth0"
address = "192.0.2.3"
[[pool]]
name = "web"
checks = [{ type = "http", port = 80 }]
[[pool.backend]]
name = "one"
address = "192.0.2.11"
[[pool.backend]]
name = "two"
address = "192.0.2.12"
[[service]]
name = "web"
vip = "192.0.2.10"
ports = [80, 443]
pool = "web"
[[service]]
name = "mail"
vip = "192.0.2.20"
ports = [25]
backends = ["192.0.2.13"]
[ha]
mode = "vrrp"
vrid = 51
[[ha.group]]
name = "mail"
vrid = 52
vips = ["192.0.2.20"]
)",
                                             "sample.toml");
    EXPECT_TRUE(parsed.config);
    return *parsed.config;
}

// The number itself: nodes of two versions must agree on it.
TEST(SharedDigest, IsTheSameInEveryBuild) { EXPECT_EQ(shared_digest(sample()), 0x9ef4991f284caa8bULL); }

TEST(SharedDigest, LeavesOutOrderAndWhatIsANodesOwn) {
    const auto digest = shared_digest(sample());
    auto other = sample();
    std::reverse(other.pools.begin(), other.pools.end());
    std::reverse(other.services.begin(), other.services.end());
    for (auto& pool : other.pools) std::reverse(pool.backends.begin(), pool.backends.end());
    other.nodes.pop_back();
    other.nodes[0].priority = 7;
    other.ha.priority = 9;
    other.ha.groups[0].name = "post";
    other.ha.groups[0].preempt = false;
    other.pools[0].backends[0].local = true;
    other.pools[0].backends[0].vlan = 7;
    other.pools[0].backends[0].mac = MacAddress::parse("02:00:5e:00:53:01").value();
    other.limits.pins = 1024;
    other.log.level = config::LogLevel::kDebug;
    EXPECT_EQ(shared_digest(other), digest);
}

TEST(SharedDigest, EveryThingThatMustBeAlikeChangesIt) {
    const std::vector<std::function<void(Config&)>> changes = {
        [](Config&) {},
        [](Config& c) { c.services[0].name = "w"; },
        [](Config& c) { c.services[0].vip = ip("192.0.2.30"); },
        [](Config& c) { c.services[0].ports = {80}; },
        [](Config& c) { c.services[0].ports.clear(); },
        [](Config& c) { c.services[0].protocol = config::Protocol::kUdp; },
        [](Config& c) { c.services[0].pool = "mail"; },
        [](Config& c) { c.services[0].unlisted = config::Unlisted::kDrop; },
        [](Config& c) { c.pools[0].affinity = config::Affinity::kClientIp; },
        [](Config& c) { c.pools[0].quorum = 2; },
        [](Config& c) { c.pools[0].all_down = config::AllDown::kAny; },
        [](Config& c) { c.pools[0].too_big = config::TooBig::kPass; },
        [](Config& c) { c.pools[0].gue_port = 6081; },
        [](Config& c) { c.pools[0].table = 2048; },
        [](Config& c) { c.pools[0].idle_timeout = config::Milliseconds(1); },
        [](Config& c) { c.pools[0].check_policy = config::CheckPolicy::kAny; },
        [](Config& c) { c.pools[0].checks.clear(); },
        [](Config& c) { c.pools[0].checks[0].path = "/x"; },
        [](Config& c) { c.pools[0].checks[0].fall = 9; },
        [](Config& c) { c.pools[0].backends[0].name = "uno"; },
        [](Config& c) { c.pools[0].backends[0].address = ip("192.0.2.14"); },
        [](Config& c) { c.pools[0].backends[0].tier = 1; },
        [](Config& c) { c.pools[0].backends[0].weight = 1; },
        [](Config& c) { c.pools[0].backends[0].forward = config::Forward::kIpip; },
        [](Config& c) { c.pools[0].backends.pop_back(); },
        [](Config& c) { c.ha.vrid = 53; },
        [](Config& c) { c.ha.advert_interval = config::Milliseconds(100); },
        [](Config& c) { c.ha.groups[0].vips = {ip("192.0.2.10")}; },
        [](Config& c) { c.ha.groups.clear(); },
    };
    std::set<std::uint64_t> digests;
    for (const auto& change : changes) {
        auto config = sample();
        change(config);
        digests.insert(shared_digest(config));
    }
    EXPECT_EQ(digests.size(), changes.size());
}

}  // namespace
}  // namespace fairlead::plan
