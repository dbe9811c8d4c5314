// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/eligibility.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace fairlead::plan {
namespace {

constexpr BackendHealth kNever{};

// One backend of a scenario: what it is, and what must come of it.
struct Row {
    std::string name;
    int tier;
    char health;  // 'u'p, 'd'own, '?' unknown
    bool drained = false;
    int weight = 100;
    bool in_use = false;
    std::string reason = {};
    fl_backend_state state = FL_BACKEND_HEALTHY;
};

struct Scenario {
    std::string what;
    int quorum;
    config::AllDown all_down;
    std::vector<Row> rows;
    std::optional<int> tier;
    bool is_all_down;
    std::string reason;
};

BackendHealth health_of(char letter) {
    switch (letter) {
        case 'u':
            return {Verdict::kUp, ""};
        case 'd':
            return {Verdict::kDown, "timeout"};
        default:
            return kNever;
    }
}

PoolDecision decide(const Scenario& scenario) {
    config::Pool pool;
    pool.name = "megam";
    pool.quorum = scenario.quorum;
    pool.all_down = scenario.all_down;
    pool.checks.emplace_back();
    PoolHealth health;
    PoolOverrides overrides;
    for (const Row& row : scenario.rows) {
        config::Backend backend;
        backend.name = row.name;
        backend.tier = row.tier;
        backend.weight = row.weight;
        pool.backends.push_back(backend);
        health[row.name] = health_of(row.health);
        overrides[row.name].drained = row.drained;
    }
    return decide_pool(pool, health, overrides);
}

constexpr auto kReset = config::AllDown::kReset;
constexpr auto kDrop = config::AllDown::kDrop;
constexpr auto kAny = config::AllDown::kAny;

const std::vector<Scenario> kScenarios = {
    {"master and slave, all well",
     1,
     kReset,
     {{"master", 0, 'u', false, 100, true, "in use"}, {"slave", 1, 'u', false, 100, false, "tier 1 stands by"}},
     0,
     false,
     "tier 0: 1 of 1 backends eligible"},
    {"master down",
     1,
     kReset,
     {{"master", 0, 'd', false, 100, false, "check failed: timeout", FL_BACKEND_UNHEALTHY},
      {"slave", 1, 'u', false, 100, true, "in use"}},
     1,
     false,
     "tier 1: 1 of 1 backends eligible"},
    {"master drained",
     1,
     kReset,
     {{"master", 0, 'u', true, 100, false, "drained", FL_BACKEND_DRAINING},
      {"slave", 1, 'u', false, 100, true, "in use"}},
     1,
     false,
     "tier 1: 1 of 1 backends eligible"},
    {"drained and down is unhealthy, not draining",
     1,
     kReset,
     {{"master", 0, 'd', true, 100, false, "drained", FL_BACKEND_UNHEALTHY},
      {"slave", 1, 'u', false, 100, true, "in use"}},
     1,
     false,
     "tier 1: 1 of 1 backends eligible"},
    {"master of weight 0",
     1,
     kReset,
     {{"master", 0, 'u', false, 0, false, "weight 0"}, {"slave", 1, 'u', false, 100, true, "in use"}},
     1,
     false,
     "tier 1: 1 of 1 backends eligible"},
    {"unknown is not eligible",
     1,
     kReset,
     {{"master", 0, '?', false, 100, false, "not checked yet", FL_BACKEND_UNKNOWN},
      {"slave", 1, 'u', false, 100, true, "in use"}},
     1,
     false,
     "tier 1: 1 of 1 backends eligible"},
    {"tier 0 below its quorum",
     2,
     kReset,
     {{"a", 0, 'u', false, 100, false, "tier 0 is below its quorum"},
      {"b", 0, 'd', false, 100, false, "check failed: timeout", FL_BACKEND_UNHEALTHY},
      {"c", 5, 'u', false, 100, true, "in use"},
      {"d", 5, 'u', false, 100, true, "in use"},
      {"e", 7, 'u', false, 100, false, "tier 7 stands by"}},
     5,
     false,
     "tier 5: 2 of 2 backends eligible"},
    {"no tier reaches the quorum: the lowest with any serves",
     3,
     kReset,
     {{"a", 0, 'd', false, 100, false, "check failed: timeout", FL_BACKEND_UNHEALTHY},
      {"b", 1, 'u', false, 100, true, "in use"},
      {"c", 2, 'u', false, 100, false, "tier 2 stands by"},
      {"d", 2, 'u', false, 100, false, "tier 2 stands by"}},
     1,
     false,
     "tier 1: 1 of 1 backends eligible, below the quorum of 3 that no tier reaches"},
    {"a quorum of 0 still needs somebody",
     0,
     kReset,
     {{"a", 0, 'd', false, 100, false, "check failed: timeout", FL_BACKEND_UNHEALTHY},
      {"b", 1, 'u', false, 100, true, "in use"}},
     1,
     false,
     "tier 1: 1 of 1 backends eligible"},
    {"both down, reset",
     1,
     kReset,
     {{"master", 0, 'd', false, 100, false, "check failed: timeout", FL_BACKEND_UNHEALTHY},
      {"slave", 1, 'd', false, 100, false, "check failed: timeout", FL_BACKEND_UNHEALTHY}},
     std::nullopt,
     true,
     "no backend is eligible: connections are refused"},
    {"both down, drop",
     1,
     kDrop,
     {{"master", 0, 'd', false, 100, false, "check failed: timeout", FL_BACKEND_UNHEALTHY}},
     std::nullopt,
     true,
     "no backend is eligible: connections are dropped"},
    {"all down, any: every tier, but neither drained nor weightless",
     1,
     kAny,
     {{"a", 0, 'd', false, 100, true, "in use as if healthy (check failed: timeout)", FL_BACKEND_UNHEALTHY},
      {"b", 1, '?', false, 100, true, "in use as if healthy (not checked yet)", FL_BACKEND_UNKNOWN},
      {"c", 1, 'u', true, 100, false, "drained", FL_BACKEND_DRAINING},
      {"d", 1, 'u', false, 0, false, "weight 0"}},
     std::nullopt,
     true,
     "no backend is eligible: all are used as if healthy"},
    {"all drained, any: nobody is left",
     1,
     kAny,
     {{"a", 0, 'u', true, 100, false, "drained", FL_BACKEND_DRAINING}},
     std::nullopt,
     true,
     "no backend is eligible: connections are refused"},
    {"any, with one eligible, uses that one alone",
     1,
     kAny,
     {{"a", 0, 'd', false, 100, false, "check failed: timeout", FL_BACKEND_UNHEALTHY},
      {"b", 0, 'u', false, 100, true, "in use"}},
     0,
     false,
     "tier 0: 1 of 2 backends eligible"},
    {"a pool without backends", 1, kReset, {}, std::nullopt, true, "no backend is eligible: connections are refused"},
};

TEST(Eligibility, Scenarios) {
    for (const Scenario& scenario : kScenarios) {
        SCOPED_TRACE(scenario.what);
        const PoolDecision decision = decide(scenario);
        EXPECT_EQ(decision.pool, "megam");
        EXPECT_EQ(decision.tier, scenario.tier);
        EXPECT_EQ(decision.all_down, scenario.is_all_down);
        EXPECT_EQ(decision.reason, scenario.reason);
        ASSERT_EQ(decision.backends.size(), scenario.rows.size());
        std::size_t in_use = 0;
        std::size_t eligible = 0;
        for (std::size_t i = 0; i < scenario.rows.size(); ++i) {
            const Row& row = scenario.rows[i];
            const BackendDecision& backend = decision.backends[i];
            SCOPED_TRACE(row.name);
            EXPECT_EQ(backend.name, row.name);
            EXPECT_EQ(backend.tier, row.tier);
            EXPECT_EQ(backend.in_use, row.in_use);
            EXPECT_EQ(backend.reason, row.reason);
            EXPECT_EQ(backend.state, row.state);
            EXPECT_EQ(backend.drained, row.drained);
            EXPECT_EQ(backend.eligible, row.health == 'u' && !row.drained && row.weight > 0);
            in_use += row.in_use ? 1 : 0;
            eligible += backend.eligible ? 1 : 0;
        }
        EXPECT_EQ(decision.in_use, in_use);
        EXPECT_EQ(decision.eligible, eligible);
    }
}

config::Pool one_backend_pool() {
    config::Pool pool;
    pool.name = "p";
    pool.backends.push_back({.name = "b", .address = {}, .weight = 10});
    pool.checks.emplace_back();
    return pool;
}

TEST(Eligibility, AnOverriddenWeightReplacesTheConfiguredOne) {
    const PoolHealth up = {{"b", {Verdict::kUp, ""}}};
    const PoolDecision reduced = decide_pool(one_backend_pool(), up, {{"b", {false, 3}}});
    EXPECT_EQ(reduced.backends[0].weight, 3U);
    EXPECT_EQ(reduced.backends[0].configured_weight, 10U);
    EXPECT_TRUE(reduced.backends[0].in_use);
    const PoolDecision none = decide_pool(one_backend_pool(), up, {{"b", {false, 0}}});
    EXPECT_FALSE(none.backends[0].in_use);
    EXPECT_TRUE(none.all_down);
}

TEST(Eligibility, AMissingNameIsUnknownAndHasNoOverride) {
    const PoolDecision decision = decide_pool(one_backend_pool(), {}, {{"other", {true, 0}}});
    EXPECT_EQ(decision.backends[0].state, FL_BACKEND_UNKNOWN);
    EXPECT_EQ(decision.backends[0].weight, 10U);
    EXPECT_FALSE(decision.backends[0].drained);
}

TEST(Eligibility, APoolWithoutChecksIsHealthy) {
    config::Pool pool = one_backend_pool();
    pool.checks.clear();
    const PoolDecision decision = decide_pool(pool, {{"b", {Verdict::kDown, "stale"}}}, {});
    EXPECT_EQ(decision.backends[0].state, FL_BACKEND_HEALTHY);
    EXPECT_TRUE(decision.backends[0].in_use);
}

TEST(CombineChecks, AllIsDownAsSoonAsOneIs) {
    const auto all = [](std::vector<BackendHealth> checks) {
        return combine_checks(config::CheckPolicy::kAll, checks);
    };
    EXPECT_EQ(all({{Verdict::kUp, ""}, {Verdict::kUp, ""}}).verdict, Verdict::kUp);
    EXPECT_EQ(all({{Verdict::kUp, ""}, kNever}).verdict, Verdict::kUnknown);
    EXPECT_EQ(all({kNever, {Verdict::kDown, "refused"}, {Verdict::kUp, ""}}),
              (BackendHealth{Verdict::kDown, "refused"}));
    EXPECT_EQ(all({}).verdict, Verdict::kUp);
}

TEST(CombineChecks, AnyIsUpAsSoonAsOneIs) {
    const auto any = [](std::vector<BackendHealth> checks) {
        return combine_checks(config::CheckPolicy::kAny, checks);
    };
    EXPECT_EQ(any({{Verdict::kDown, "refused"}, {Verdict::kUp, ""}, kNever}).verdict, Verdict::kUp);
    EXPECT_EQ(any({{Verdict::kDown, "refused"}, kNever}).verdict, Verdict::kUnknown);
    EXPECT_EQ(any({{Verdict::kDown, "refused"}, {Verdict::kDown, "timeout"}}),
              (BackendHealth{Verdict::kDown, "refused"}));
    EXPECT_EQ(any({}).verdict, Verdict::kUp);
}

// A pool of two tiers, a backend in each.
class Failback : public testing::Test {
  protected:
    Failback() {
        pool_.name = "megam";
        pool_.checks.emplace_back();
        for (const int tier : {0, 1})
            pool_.backends.push_back({.name = tier ? "slave" : "master", .address = {}, .local = false, .tier = tier});
        health_ = {{"master", {Verdict::kUp, ""}}, {"slave", {Verdict::kUp, ""}}};
    }
    PoolDecision decide(std::optional<int> tier = {}) const { return decide_pool(pool_, health_, {}, tier); }

    config::Pool pool_;
    PoolHealth health_;
};

TEST_F(Failback, GoesToTheBetterTierAtOnceByDefault) { EXPECT_EQ(decide(1).tier, 0); }

TEST_F(Failback, WaitsForTheOperatorWhereItIsOff) {
    pool_.failback = false;
    EXPECT_EQ(decide().tier, 0) << "at the beginning the best tier";
    const auto stays = decide(1);
    EXPECT_EQ(stays.tier, 1);
    EXPECT_EQ(stays.reason, "tier 1: 1 of 1 backends eligible, tier 0 is back: lbctl failback gives it the pool");
    EXPECT_EQ(find_backend(stays, "master")->reason, "tier 0 waits for lbctl failback");
    health_["slave"].verdict = Verdict::kDown;
    EXPECT_EQ(decide(1).tier, 0) << "its own tier has nobody left";
}

TEST_F(Failback, IsHeldBackForTheDelayWhileSomebodyElseServes) {
    pool_.failback_delay = std::chrono::seconds(30);
    health_["master"].up_for = std::chrono::seconds(29);
    const auto held = decide();
    EXPECT_EQ(held.tier, 1);
    EXPECT_EQ(find_backend(held, "master")->state, FL_BACKEND_HEALTHY) << "its connections go on";
    EXPECT_FALSE(find_backend(held, "master")->eligible);
    health_["slave"].verdict = Verdict::kDown;
    EXPECT_EQ(decide().tier, 0) << "nobody else is left";
    health_["slave"].verdict = Verdict::kUp;
    health_["master"].up_for = std::chrono::seconds(30);
    EXPECT_EQ(decide().tier, 0);
}

TEST_F(Failback, SlowStartGivesTheWeightInTenths) {
    pool_.slow_start = std::chrono::seconds(30);
    const auto weight = [&](int ms) {
        health_["master"].up_for = std::chrono::milliseconds(ms);
        return find_backend(decide(), "master")->weight;
    };
    EXPECT_EQ(weight(0), 10U);
    EXPECT_EQ(weight(2'999), 10U);
    EXPECT_EQ(weight(3'000), 20U);
    EXPECT_EQ(weight(29'999), 100U);
    EXPECT_EQ(weight(30'000), 100U);
    pool_.backends[0].weight = 3;
    EXPECT_EQ(weight(0), 1U) << "never nothing";
    pool_.backends[0].weight = 0;
    EXPECT_EQ(weight(0), 0U);
}

TEST_F(Failback, DeadIsAStateOfItsOwnAndLeavingDrains) {
    health_["master"] = {Verdict::kDown, "timeout", true};
    EXPECT_EQ(find_backend(decide(), "master")->state, FL_BACKEND_DEAD);
    health_["master"] = {Verdict::kUp, ""};
    pool_.backends[0].leaving = true;
    const auto decision = decide();
    EXPECT_EQ(decision.tier, 1);
    EXPECT_EQ(find_backend(decision, "master")->state, FL_BACKEND_DRAINING);
    EXPECT_EQ(find_backend(decision, "master")->reason, "removed from the config, drains");
}

TEST_F(Failback, AnyUsesTheDeadOnlyWhereAllAre) {
    pool_.all_down = config::AllDown::kAny;
    health_["master"] = {Verdict::kDown, "timeout", true};
    health_["slave"] = {Verdict::kDown, "timeout"};
    const auto some = decide();
    EXPECT_FALSE(find_backend(some, "master")->in_use) << "the data path believes in no dead one";
    EXPECT_TRUE(find_backend(some, "slave")->in_use);
    health_["slave"].dead = true;
    const auto all = decide();
    for (const auto* name : {"master", "slave"}) {
        EXPECT_TRUE(find_backend(all, name)->in_use);
        EXPECT_EQ(find_backend(all, name)->state, FL_BACKEND_UNHEALTHY);
    }
}

}  // namespace
}  // namespace fairlead::plan
