// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/route_announcer.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace fairlead {
namespace {

using plan::Announced;

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

const IpAddress kOne = ip("192.0.2.10"), kTwo = ip("192.0.2.11"), kSix = ip("2001:db8::10");
constexpr net::RouteOwner kOwner{146, 146};

// A kernel's routing tables: by table and destination, whose route it is.
class RoutesInMemory : public net::HostRouteOs {
  public:
    Result<std::vector<IpAddress>> host_routes(const net::RouteOwner& owner) override {
        if (broken) return fail_errno("list routes", ETIMEDOUT);
        std::vector<IpAddress> found;
        for (const auto& [key, protocol] : routes)
            if (net::RouteOwner{key.first, protocol} == owner) found.push_back(key.second);
        return found;
    }
    Result<void> add_host_route(const IpAddress& destination, const net::RouteOwner& owner) override {
        if (broken) return fail_errno("add a route", ENOBUFS);
        ++changes;
        if (!routes.try_emplace({owner.table, destination}, owner.protocol).second) return fail("exists", EEXIST);
        return {};
    }
    Result<void> delete_host_route(const IpAddress& destination, const net::RouteOwner& owner) override {
        if (broken) return fail_errno("delete a route", ENOBUFS);
        ++changes;
        const auto found = routes.find({owner.table, destination});
        if (found != routes.end() && found->second == owner.protocol) routes.erase(found);
        return {};
    }

    std::set<IpAddress> of(const net::RouteOwner& owner) {
        const auto list = host_routes(owner).value();
        return {list.begin(), list.end()};
    }

    std::map<std::pair<std::uint32_t, IpAddress>, std::uint8_t> routes;
    bool broken = false;
    int changes = 0;  // attempted
};

struct World {
    RoutesInMemory kernel;
    RouteAnnouncer announcer{kernel};
};

using Vips = std::vector<RouteAnnouncer::Vip>;
using Routes = std::set<IpAddress>;

TEST(RouteAnnouncer, DoesNothingUnlessTold) {
    World world;
    world.announcer.follow({{kOne, Announced::kYes, ""}});
    world.announcer.refresh();
    world.announcer.withdraw_all();
    EXPECT_FALSE(world.announcer.on());
    EXPECT_EQ(world.kernel.changes, 0);
}

TEST(RouteAnnouncer, MakesTheRoutesThatAreDecided) {
    World world;
    world.announcer.set_owner(kOwner);
    world.announcer.follow(
        {{kOne, Announced::kYes, "good"}, {kTwo, Announced::kNo, "bad"}, {kSix, Announced::kYes, ""}});
    EXPECT_EQ(world.kernel.of(kOwner), (Routes{kOne, kSix}));
    EXPECT_EQ(world.announcer.vips(), (Vips{{kOne, true, "good"}, {kTwo, false, "bad"}, {kSix, true, ""}}));
    EXPECT_EQ(world.announcer.announced(), 2U);
    world.announcer.follow({{kOne, Announced::kNo, "gone"}, {kTwo, Announced::kYes, ""}});
    EXPECT_EQ(world.kernel.of(kOwner), (Routes{kTwo}));
    world.announcer.withdraw_all();
    EXPECT_TRUE(world.kernel.of(kOwner).empty());
}

TEST(RouteAnnouncer, AdoptsWithoutTouchingWhatIsWanted) {
    World world;
    world.kernel.routes = {{{146, kOne}, 146}, {{146, kTwo}, 146}};
    world.announcer.set_owner(kOwner);
    world.announcer.follow(
        {{kOne, Announced::kAsBefore, ""}, {kTwo, Announced::kAsBefore, ""}, {kSix, Announced::kAsBefore, ""}});
    EXPECT_EQ(world.kernel.changes, 0);
    world.announcer.follow({{kOne, Announced::kYes, ""}, {kSix, Announced::kNo, ""}});
    EXPECT_EQ(world.kernel.changes, 1);  // the end of what is in no config any more
    EXPECT_EQ(world.kernel.of(kOwner), (Routes{kOne}));
}

TEST(RouteAnnouncer, LeavesOthersAlone) {
    World world;
    world.kernel.routes = {{{146, kOne}, 99}, {{254, kTwo}, 146}, {{146, ip("192.0.2.200")}, 12}};
    const auto others = world.kernel.routes;
    world.announcer.set_owner(kOwner);
    world.announcer.follow({{kOne, Announced::kYes, "good"}});
    EXPECT_EQ(world.announcer.vips(), (Vips{{kOne, false, "another program's route to it stands in table 146"}}));
    EXPECT_TRUE(world.announcer.failing());
    world.announcer.withdraw_all();
    EXPECT_EQ(world.kernel.routes, others);

    world.kernel.routes.erase({146, kOne});
    world.announcer.refresh();
    EXPECT_EQ(world.announcer.vips(), (Vips{{kOne, true, "good"}}));
    EXPECT_FALSE(world.announcer.failing());
}

TEST(RouteAnnouncer, PutsRightWhatOthersDid) {
    World world;
    world.announcer.set_owner(kOwner);
    world.announcer.follow({{kOne, Announced::kYes, ""}, {kTwo, Announced::kNo, ""}});
    world.kernel.routes.clear();
    world.kernel.routes[{146, kTwo}] = 146;
    world.announcer.refresh();
    EXPECT_EQ(world.kernel.of(kOwner), (Routes{kOne}));
}

TEST(RouteAnnouncer, TriesAgainWhatFailed) {
    World world;
    world.kernel.routes = {{{146, kTwo}, 146}};
    world.announcer.set_owner(kOwner);
    world.kernel.broken = true;
    world.announcer.follow({{kOne, Announced::kYes, ""}, {kTwo, Announced::kNo, ""}});
    EXPECT_TRUE(world.announcer.failing());
    ASSERT_EQ(world.announcer.vips().size(), 2U);
    EXPECT_FALSE(world.announcer.vips()[0].announced);
    EXPECT_NE(world.announcer.vips()[0].reason.find("add a route"), std::string::npos);
    EXPECT_TRUE(world.announcer.vips()[1].announced) << "it still stands";
    world.announcer.refresh();
    EXPECT_TRUE(world.announcer.failing()) << "what stands there is not even known";
    world.kernel.broken = false;
    world.announcer.refresh();
    EXPECT_FALSE(world.announcer.failing());
    EXPECT_EQ(world.kernel.of(kOwner), (Routes{kOne}));
}

TEST(RouteAnnouncer, AnErrorEndsWithItsCause) {
    World world;
    world.kernel.routes = {{{146, kOne}, 99}};
    world.announcer.set_owner(kOwner);
    world.announcer.follow({{kOne, Announced::kYes, ""}});
    world.announcer.follow({{kOne, Announced::kNo, "no backend"}});
    EXPECT_FALSE(world.announcer.failing());
    EXPECT_EQ(world.announcer.vips(), (Vips{{kOne, false, "no backend"}}));
}

TEST(RouteAnnouncer, MovesToAnotherTable) {
    World world;
    world.announcer.set_owner(kOwner);
    world.announcer.follow({{kOne, Announced::kYes, ""}});
    const net::RouteOwner other{200, 146};
    world.announcer.set_owner(other);
    EXPECT_TRUE(world.kernel.of(kOwner).empty());
    world.announcer.follow({{kOne, Announced::kYes, ""}});
    EXPECT_EQ(world.kernel.of(other), (Routes{kOne}));
    world.announcer.set_owner(std::nullopt);
    EXPECT_TRUE(world.kernel.routes.empty());
    EXPECT_TRUE(world.announcer.vips().empty());
}

}  // namespace
}  // namespace fairlead
