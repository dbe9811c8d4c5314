// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/role.h"

#include <gtest/gtest.h>

#include "tests/unit/ctl/lbctl/world.h"

namespace fairlead::lbctl {
namespace {

using test::World;

// The world's VIPs are of role 0, which the default group has without a VRID.
config::Config external() {
    config::Config config;
    config.ha.mode = config::HaMode::kExternal;
    config.services = {{.name = "a", .vip = test::address(test::kVip), .ports = {}, .pool = "a"},
                       {.name = "b", .vip = test::address(test::kVip6), .ports = {}, .pool = "b"}};
    return config;
}

std::uint64_t word(const World& world, std::size_t role = 0) {
    return tables::load_word(world.tables.roles()[role].active_until_ns);
}

TEST(Role, IsStoredForTheGroupsOfTheConfig) {
    World world;
    World::ok(world.writer.set_role(0, 0));
    const auto targets = role_targets(external(), world.tables, "");
    ASSERT_TRUE(targets) << targets.error().message;
    ASSERT_EQ(targets->size(), 1U);
    EXPECT_EQ((*targets)[0].group, "default");
    EXPECT_EQ((*targets)[0].vips.size(), 2U);
    // Interface 7 of the world is not there: nothing can be announced, and the word is stored all the same.
    const auto lines = store_roles(world.tables, *targets, true);
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].find("group default: active, stored without lbd"), 0U) << lines[0];
    EXPECT_EQ(word(world), UINT64_MAX);
    EXPECT_TRUE(store_roles(world.tables, *targets, true).empty());
    EXPECT_EQ(store_roles(world.tables, *targets, false),
              (std::vector<std::string>{"group default: standby, stored without lbd"}));
    EXPECT_EQ(word(world), 0U);
}

TEST(Role, IsLbdsWhereTheConfigSaysSo) {
    World world;
    auto config = external();
    for (const auto mode : {config::HaMode::kNone, config::HaMode::kVrrp}) {
        config.ha.mode = mode;
        const auto targets = role_targets(config, world.tables, "");
        ASSERT_FALSE(targets);
        EXPECT_NE(targets.error().message.find("mode is not \"external\""), std::string::npos);
    }
    EXPECT_EQ(word(world), UINT64_MAX);
}

TEST(Role, AGroupThatTheTablesDoNotHaveIsRefused) {
    World world;
    auto config = external();
    config.ha.groups = {{.name = "second", .vrid = 52, .vips = {test::address(test::kVip6)}}};
    const auto second = role_targets(config, world.tables, "second");
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("the tables have no VIP of it"), std::string::npos);
    EXPECT_FALSE(role_targets(config, world.tables, "third"));
    EXPECT_TRUE(role_targets(config, world.tables, "default"));
}

}  // namespace
}  // namespace fairlead::lbctl
