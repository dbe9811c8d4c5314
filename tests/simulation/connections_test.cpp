// SPDX-License-Identifier: Apache-2.0
// Connections through changes (connections.h), in short; `scripts/bench connections` runs a million of each scenario.
//
//   FAIRLEAD_CONNECTIONS_SEED=N   another seed
#include "tests/simulation/connections.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>

#include "tests/support/moving_pool.h"

namespace fairlead::simulation {
namespace {

TrafficShape short_shape() {
    const char* seed = std::getenv("FAIRLEAD_CONNECTIONS_SEED");
    return {.flows = 50'000,
            .seconds = 200,
            .idle_timeout_s = 20,
            .slots = 8192,
            .pins = 4096,
            .flood_per_s = 6'000,
            .seed = seed ? std::strtoull(seed, nullptr, 10) : 1};
}

const ConnectionsOutcome& run(Scenario scenario) {
    static std::map<Scenario, ConnectionsOutcome> done;
    if (done.contains(scenario)) return done[scenario];
    const auto& outcome = done[scenario] = simulate(scenario, short_shape());
    std::cout << to_string(scenario) << ", seed " << short_shape().seed << ": " << outcome.flows << " flows, "
              << outcome.packets << " packets, " << outcome.slots_moved << " slots moved, " << outcome.moved_twice
              << " twice, " << outcome.moved_thrice << " thrice, " << outcome.settled << " settled\n";
    for (std::size_t i = 0; i < kSchemes; ++i) {
        const auto& scheme = outcome.schemes[i];
        std::cout << "  " << kSchemeNames[i] << ": broken " << scheme.broken << ", handshakes "
                  << scheme.failed_handshakes << ", lost " << scheme.lost << ", refused " << scheme.refused
                  << ", tracked " << scheme.tracked << ", peak " << scheme.peak_entries << "\n";
    }
    return outcome;
}

// Of the traffic: that it would show what is wrong.
void expect_sharp(const ConnectionsOutcome& outcome) {
    EXPECT_EQ(outcome.flows, short_shape().flows);
    EXPECT_GT(outcome.slots_moved, short_shape().slots / 10);
    EXPECT_GT(outcome.moved_twice, 0U);
    EXPECT_GT(outcome.moved_thrice, 0U);
    EXPECT_GT(outcome.schemes[kMaglev].broken, 500U) << "the traffic is blind";
    EXPECT_GT(outcome.schemes[kFairlead].tracked, 0U);
}

class ConnectionsThrough : public testing::TestWithParam<Scenario> {};

TEST_P(ConnectionsThrough, NoneChangesItsBackend) {
    const auto& outcome = run(GetParam());
    expect_sharp(outcome);
    EXPECT_EQ(outcome.schemes[kFairlead].broken, 0U) << outcome.first_fault;
}

TEST_P(ConnectionsThrough, PinsAndTransitionsEndWithTheConnections) {
    const auto& outcome = run(GetParam());
    EXPECT_EQ(outcome.slots_left, 0U);
    EXPECT_EQ(outcome.pins_left, 0U);
    EXPECT_GT(outcome.schemes[kFairlead].peak_entries, 0U);
}

INSTANTIATE_TEST_SUITE_P(Changes, ConnectionsThrough,
                         testing::Values(Scenario::kFlap, Scenario::kDrain, Scenario::kScaleOut, Scenario::kWeight,
                                         Scenario::kSlowStart, Scenario::kTiers, Scenario::kMix),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST(Connections, WhileNothingChangesNothingIsTracked) {
    const auto& outcome = run(Scenario::kQuiet);
    const auto& fairlead = outcome.schemes[kFairlead];
    EXPECT_EQ(outcome.flows, short_shape().flows);
    EXPECT_EQ(fairlead.broken + fairlead.failed_handshakes + fairlead.lost + fairlead.refused, 0U);
    EXPECT_EQ(fairlead.tracked, 0U);
    EXPECT_EQ(fairlead.peak_entries, 0U);
    EXPECT_EQ(outcome.schemes[kMaglev].broken, 0U);
}

TEST(Connections, AFloodOfSynsBreaksAtMostAFew) {
    const auto& outcome = run(Scenario::kFlood);
    expect_sharp(outcome);
    EXPECT_GT(outcome.flood, 100'000U);
    EXPECT_EQ(outcome.schemes[kFairlead].peak_entries, short_shape().pins) << "the flood did not fill the table";
    EXPECT_LE(outcome.schemes[kFairlead].broken, 5U) << outcome.first_fault;
    EXPECT_GT(outcome.schemes[kLru].broken, 500U) << "the flood did not push entries out";
}

// Invariant 3 of DESIGN section 6, by what is taken over: slots and pins. Equal owners are the planner's (maglev_test.cpp).
TEST(Connections, AStandbyWithTheSlotsAndPinsSteersAsTheActiveDid) {
    constexpr std::uint16_t kFlows = 3000;
    const test::MovingPoolShape shape{.backends = 3, .slots = 256, .pins = 4096};
    test::MovingPool active(shape), standby(shape);
    auto engine = active.engine(), standby_engine = standby.engine();
    engine.now_ns = engine.now_coarse_ns = standby_engine.now_ns = standby_engine.now_coarse_ns = 5'000'000'000'000;
    std::vector<test::FlowPackets> flows;
    std::vector<int> backends;
    for (std::uint16_t i = 0; i < kFlows; ++i) {
        if (i == kFlows / 3) active.set_words(FL_SLOT_WORD(1, 0, 1, 0));
        if (i == kFlows * 2 / 3) active.set_words(FL_SLOT_WORD(2, 0, 1, 0));
        flows.emplace_back(static_cast<std::uint16_t>(1024 + i), test::MovingPool::kPort);
        if (i == 0) active.set_words(FL_SLOT_SETTLED(0));
        backends.push_back(active.to(engine, flows.back().syn));
        ASSERT_EQ(active.to(engine, flows.back().data), backends.back());
    }
    for (std::uint32_t slot = 0; slot < shape.slots; ++slot) standby.word(slot) = active.word(slot);
    std::copy(active.tables().pins().begin(), active.tables().pins().end(), standby.tables().pins().begin());
    std::array<int, 3> of_backend{};
    for (std::uint16_t i = 0; i < kFlows; ++i) {
        ASSERT_EQ(standby.to(standby_engine, flows[i].data), backends[i]) << i;
        ++of_backend.at(static_cast<std::size_t>(backends[i]));
    }
    EXPECT_EQ(*std::min_element(of_backend.begin(), of_backend.end()), kFlows / 3);
}

TEST(Connections, OneSeedIsOneRun) {
    auto shape = short_shape();
    shape.flows = 5'000;
    const auto first = simulate(Scenario::kMix, shape), second = simulate(Scenario::kMix, shape);
    EXPECT_EQ(first.packets, second.packets);
    EXPECT_EQ(first.schemes[kMaglev].broken, second.schemes[kMaglev].broken);
    ++shape.seed;
    EXPECT_NE(first.schemes[kMaglev].broken, simulate(Scenario::kMix, shape).schemes[kMaglev].broken);
}

}  // namespace
}  // namespace fairlead::simulation
