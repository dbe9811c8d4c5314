// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/ha_service.h"

#include <gtest/gtest.h>

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
