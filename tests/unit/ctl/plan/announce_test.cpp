// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/announce.h"

#include <gtest/gtest.h>

namespace fairlead::plan {
namespace {

using namespace std::chrono_literals;

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

const IpAddress kWeb = ip("192.0.2.10"), kMail = ip("192.0.2.25"), kWeb6 = ip("2001:db8::10");

// "www" and "www-alt" share a VIP, each with a pool of its own.
config::Config config_of_three_vips() {
    config::Config config;
    for (const auto& [name, vip, pool] : {std::tuple{"www", kWeb, "web"}, std::tuple{"mail", kMail, "mail"},
                                          std::tuple{"www-alt", kWeb, "alt"}, std::tuple{"www6", kWeb6, "web"}}) {
        config::Service service;
        service.name = name;
        service.vip = vip;
        service.pool = pool;
        config.services.push_back(service);
    }
    // Until it is known to be well: alt none, web 2 x 200 ms + 100 ms, mail 2 x 1 s + 500 ms.
    for (const auto& [name, interval, timeout] : {std::tuple{"web", 200ms, 100ms}, std::tuple{"mail", 1000ms, 500ms}}) {
        config::Pool pool;
        pool.name = name;
        pool.checks.resize(2);
        pool.checks[0].interval = interval;
        pool.checks[0].timeout = timeout;
        pool.checks[1].interval = pool.checks[1].timeout = 50ms;
        config.pools.push_back(pool);
    }
    return config;
}

PoolDecision pool(const char* name, std::size_t in_use) {
    PoolDecision decision;
    decision.pool = name;
    decision.in_use = in_use;
    decision.reason = "tier 0";
    return decision;
}

std::vector<PoolDecision> pools(std::size_t web, std::size_t mail, std::size_t alt) {
    return {pool("web", web), pool("mail", mail), pool("alt", alt)};
}

AnnouncingNode good_node() { return {.published = true, .attached = true}; }

std::vector<Announced> verdicts(const std::vector<PoolDecision>& decisions, const AnnouncingNode& node) {
    std::vector<Announced> result;
    for (const auto& vip : decide_announcements(config_of_three_vips(), decisions, node))
        result.push_back(vip.announced);
    return result;
}

constexpr auto kNo = Announced::kNo, kYes = Announced::kYes, kAsBefore = Announced::kAsBefore;

TEST(Announce, AVipWithABackendOnceEach) {
    const auto decided = decide_announcements(config_of_three_vips(), pools(2, 0, 0), good_node());
    EXPECT_EQ(decided, (std::vector<VipAnnouncement>{{kWeb, kYes, "pool web: tier 0", true, 500ms},
                                                     {kMail, kNo, "no backend is eligible", false, 2500ms},
                                                     {kWeb6, kYes, "pool web: tier 0", true, 500ms}}));
}

TEST(Announce, OneServiceOfTheVipIsEnough) {
    EXPECT_EQ(verdicts(pools(0, 1, 1), good_node()), (std::vector{kYes, kYes, kNo}));
    EXPECT_EQ(verdicts(pools(0, 0, 0), good_node()), (std::vector{kNo, kNo, kNo}));
    EXPECT_EQ(verdicts({}, good_node()), (std::vector{kNo, kNo, kNo})) << "nothing is decided yet";
}

TEST(Announce, AllDownAnyGoesOnServing) {
    auto decisions = pools(2, 2, 2);
    decisions[0].all_down = decisions[2].all_down = true;  // none is eligible, and all are used
    EXPECT_EQ(verdicts(decisions, good_node()), (std::vector{kYes, kYes, kYes}));
}

TEST(Announce, NotWithoutTheProgram) {
    for (const bool published : {false, true}) {
        const auto decided =
            decide_announcements(config_of_three_vips(), pools(1, 1, 1), {.published = published, .attached = false});
        for (const auto& vip : decided) {
            EXPECT_EQ(vip.announced, kNo);
            EXPECT_EQ(vip.reason, "the program is not on every interface");
        }
    }
}

TEST(Announce, BeforeTheFirstVerdictsAllStaysAsTheProgramFoundIt) {
    EXPECT_EQ(verdicts(pools(0, 0, 0), {.published = false, .attached = true}),
              (std::vector{kAsBefore, kAsBefore, kAsBefore}));
}

TEST(Announce, OnlyWhatThisNodeActsFor) {
    auto node = good_node();
    node.active = [](const IpAddress& vip) { return vip == kMail; };
    EXPECT_EQ(verdicts(pools(1, 1, 1), node), (std::vector{kNo, kYes, kNo}));
}

TEST(Announce, OnlyWhatDiffersIsTouched) {
    const std::vector<VipAnnouncement> decided = {{kWeb, kYes, ""}, {kMail, kNo, ""}, {kWeb6, kAsBefore, ""}};
    EXPECT_EQ(route_changes({}, decided), (RouteChanges{{}, {kWeb}}));
    EXPECT_EQ(route_changes({kWeb, kWeb6}, decided), (RouteChanges{}));
    EXPECT_EQ(route_changes({kWeb, kMail}, decided), (RouteChanges{{kMail}, {}}));
    const auto stale = ip("192.0.2.99");
    EXPECT_EQ(route_changes({stale, kWeb}, decided), (RouteChanges{{stale}, {}})) << "in no config any more";
    EXPECT_EQ(route_changes({kWeb}, {}), (RouteChanges{{kWeb}, {}}));
}

// ---- Settling ----

constexpr Settling::TimePoint kStart{1000s};

VipAnnouncement web(bool served) {
    return {kWeb, served ? kYes : kNo, served ? "served" : "not served", served, 500ms};
}

Announced settled(Settling& settling, VipAnnouncement vip, std::chrono::milliseconds after) {
    std::vector decided = {std::move(vip)};
    settling.apply(decided, kStart + after);
    return decided[0].announced;
}

TEST(AnnounceSettling, WhatIsServedFromTheFirstIsNotHeldBack) {
    Settling settling;
    EXPECT_EQ(settled(settling, web(true), 0ms), kYes);
    EXPECT_FALSE(settling.pending());
}

TEST(AnnounceSettling, HoldsBackWhatReturns) {
    Settling settling;
    EXPECT_EQ(settled(settling, web(true), 0ms), kYes);
    EXPECT_EQ(settled(settling, web(false), 10ms), kNo);
    EXPECT_FALSE(settling.pending());
    EXPECT_EQ(settling.returning(), std::set{kWeb});
    EXPECT_EQ(settled(settling, web(true), 5000ms), kNo);
    EXPECT_TRUE(settling.pending());
    EXPECT_EQ(settled(settling, web(true), 5499ms), kNo);
    EXPECT_EQ(settling.returning(), std::set{kWeb});
    EXPECT_EQ(settled(settling, web(true), 5500ms), kYes);
    EXPECT_FALSE(settling.pending());
    EXPECT_TRUE(settling.returning().empty());
    EXPECT_EQ(settled(settling, web(true), 5501ms), kYes) << "and once only";
}

TEST(AnnounceSettling, BeginsAnewWithEachFailure) {
    Settling settling;
    EXPECT_EQ(settled(settling, web(false), 0ms), kNo);
    EXPECT_EQ(settled(settling, web(true), 100ms), kNo);
    EXPECT_EQ(settled(settling, web(false), 500ms), kNo);
    EXPECT_EQ(settled(settling, web(true), 600ms), kNo);
    EXPECT_EQ(settled(settling, web(true), 1099ms), kNo);
    EXPECT_EQ(settled(settling, web(true), 1100ms), kYes);
}

TEST(AnnounceSettling, RunsOnWhereTheNodeIsNotToAnnounce) {
    Settling settling;
    auto standby = web(true);
    standby.announced = kNo;
    EXPECT_EQ(settled(settling, web(false), 0ms), kNo);
    EXPECT_EQ(settled(settling, standby, 100ms), kNo);
    EXPECT_FALSE(settling.pending());
    EXPECT_EQ(settled(settling, web(true), 600ms), kYes);
}

TEST(AnnounceSettling, WithoutChecksThereIsNothingToWaitFor) {
    Settling settling;
    auto vip = web(true);
    vip.settle = 0ms;
    EXPECT_EQ(settled(settling, web(false), 0ms), kNo);
    EXPECT_EQ(settled(settling, vip, 1ms), kYes);
}

}  // namespace
}  // namespace fairlead::plan
