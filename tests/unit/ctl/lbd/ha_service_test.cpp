// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/ha_service.h"

#include <gtest/gtest.h>

#include <array>

#include "ctl/net/kernel_net.h"
#include "dataplane/core/layout.h"

namespace fairlead {
namespace {

TEST(HaService, TrackingAddsUpWhatIsWrong) {
    config::Ha ha;
    ha.track_interface = {.off = 200, .fault = false};
    ha.track_engine = {.off = 0, .fault = true};
    ha.track_backends = {.off = 100, .fault = false};
    EXPECT_EQ(tracking_of(ha, {}), (ha::Tracking{0, false}));
    EXPECT_EQ(tracking_of(ha, {true, true, false}), (ha::Tracking{100, false}));
    EXPECT_EQ(tracking_of(ha, {true, false, true}), (ha::Tracking{0, true}));
    EXPECT_EQ(tracking_of(ha, {false, false, false}), (ha::Tracking{255, true}));  // and no more
}

TEST(HaService, WithoutAnInterfaceThereIsNoGroupYet) {
    const config::Config config;
    config::Node node;
    node.interfaces = {{.name = "eth0"}};
    const net::NetlinkModel network;
    const auto groups = make_ha_groups({config, node, network, {}});
    ASSERT_FALSE(groups);
    EXPECT_EQ(groups.error().code, ENODEV);
}

TEST(HaService, EachGroupIsMadeOfItsOwnSettingsAndRole) {
    const auto kernel = net::KernelNet::create();
    ASSERT_TRUE(kernel);
    config::Config config;
    config.ha.mode = config::HaMode::kVrrp;
    config.ha.vrid = 51;
    config.ha.groups = {{.name = "second",
                         .vrid = 52,
                         .priority = 30,
                         .advert_interval = config::Milliseconds(100),
                         .preempt = false,
                         .vips = {IpAddress::parse("192.0.2.20").value()}}};
    for (const char* vip : {"192.0.2.20", "192.0.2.10"})
        config.services.push_back({.name = vip, .vip = IpAddress::parse(vip).value(), .ports = {}, .pool = "web"});
    config::Node node;
    node.interfaces = {{.name = "lo", .vlan = 7}};
    node.priorities = {{"default", 150}};
    std::array<fl_role, 256> roles{};
    const auto groups = make_ha_groups({config, node, (*kernel)->model(), roles});
    if (!groups && groups.error().code == EADDRNOTAVAIL) GTEST_SKIP() << "the loopback interface has no address";
    ASSERT_TRUE(groups) << groups.error().message;
    ASSERT_EQ(groups->size(), 2U);
    const auto &first = (*groups)[0], &second = (*groups)[1];
    EXPECT_EQ(first.name, "default");
    EXPECT_EQ(first.role, &roles[51]);
    EXPECT_EQ(first.settings.priority, 150);
    EXPECT_EQ(first.vips, (std::vector{IpAddress::parse("192.0.2.10").value()}));
    EXPECT_EQ(second.name, "second");
    EXPECT_EQ(second.vrid, 52);
    EXPECT_EQ(second.role, &roles[52]);
    EXPECT_EQ(second.settings.priority, 30);
    EXPECT_EQ(second.settings.advert_interval, ha::Centiseconds(10));
    EXPECT_FALSE(second.settings.preempt);
    EXPECT_EQ(second.vips, (std::vector{IpAddress::parse("192.0.2.20").value()}));
    EXPECT_EQ(first.socket, second.socket);
    ASSERT_EQ(second.ports.size(), 1U);
    EXPECT_EQ(second.ports[0].vlan, 7);
}

TEST(HaService, ChangesAreDescribedForTheLog) {
    const ha::StateChange change{ha::State::kBackup,
                                 ha::State::kActive,
                                 ha::RoleReason::kSilence,
                                 {},
                                 IpAddress::parse("192.0.2.3").value(),
                                 100};
    EXPECT_EQ(describe(change), "backup -> active: no advert for the down interval (192.0.2.3, priority 100)");
    EXPECT_EQ(describe({}), "initialize -> initialize: not started");
}

}  // namespace
}  // namespace fairlead
