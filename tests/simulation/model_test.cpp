// SPDX-License-Identifier: Apache-2.0
// The model checker (model.h): no established connection changes its backend, whatever happens; and each rule of DESIGN
// section 6 that is switched off breaks some, so that the model is known to see.
//
//   FAIRLEAD_MODEL_CONNECTIONS=N   in each shape, over all seeds (default 10,000; 1,000,000 is what is promised)
//   FAIRLEAD_MODEL_SEED=N          this seed alone, with the last events before a fault
#include "tests/simulation/model.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

namespace fairlead::simulation {
namespace {

constexpr std::uint64_t kSeeds = 20;
constexpr Shape kPlain{.name = "plain"};
constexpr Shape kSlow{.name = "slow", .slow_answers = true};
constexpr Shape kFull{.name = "full", .pins = 8, .flood = 0.05, .datagrams = false};
constexpr Shape kFullSlow{.name = "full_slow", .pins = 8, .slow_answers = true, .flood = 0.3, .datagrams = false};
constexpr Shape kQuiet{.name = "quiet", .datagrams = false, .tuples = 2, .silence = 0.7, .scan_pause = 100};
constexpr Shape kSilent{.name = "silent", .datagrams = false, .tuples = 2, .silence = 0.7};
constexpr Shape kTide{.name = "tide", .silence = 0.5, .oversleep = 0.2, .tide = 400};
constexpr Shape kStopping{
    .name = "stopping", .silence = 0.4, .stall = 0.2, .long_grace = 0.3, .haste = 3, .goes_on = 0.05, .returns = 0.2};
constexpr Shape kUnscanned{
    .name = "unscanned", .datagrams = false, .scan_pause = 2000, .stall = 0, .births = 0.2, .tide = 400};
constexpr Shape kSleepy{.name = "sleepy",
                        .datagrams = false,
                        .tuples = 2,
                        .silence = 0.95,
                        .scan_s = 1,
                        .stall = 0,
                        .grace_s = 1,
                        .long_grace = 0};
constexpr Shape kHeld{
    .name = "held", .datagrams = false, .tuples = 2, .silence = 0.9, .scan_s = 1, .stall = 0.3, .long_grace = 0.5};
constexpr Shape kDying{.name = "dying",
                       .stall = 0.3,
                       .long_grace = 0.5,
                       .haste = 2,
                       .gone = 0.9,
                       .goes_on = 0.03,
                       .returns = 0.4,
                       .backends = 2,
                       .births = 0.5};
constexpr Shape kHeldLong{.name = "held_long",
                          .datagrams = false,
                          .tuples = 2,
                          .silence = 0.97,
                          .scan_s = 1,
                          .stall = 0.5,
                          .grace_s = 60,
                          .long_grace = 0,
                          .haste = 0.5,
                          .goes_on = 0.01};
constexpr Shape kSpoof{.name = "spoof", .spoof = 0.002};

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

Outcome run_all(const Shape& shape) {
    const auto each = number_from("FAIRLEAD_MODEL_CONNECTIONS", 10'000) / kSeeds;
    const auto only = number_from("FAIRLEAD_MODEL_SEED", 0);
    Outcome sum;
    for (auto seed = only ? only : 1; seed <= (only ? only : kSeeds); ++seed)
        sum += Model(shape, Without::kNothing, seed).run(each);
    std::cout << shape.name << ": " << sum.connections << " connections, " << sum.established << " established, "
              << sum.flows << " flows of datagrams, " << sum.changes << " owner changes, " << sum.settled
              << " times settled, " << sum.full << " SYNs without a place; broken " << sum.broken << ", flows "
              << sum.broken_flows << ", at birth " << sum.broken_at_birth << "\n";
    return sum;
}

class Model1 : public testing::TestWithParam<Shape> {};

TEST_P(Model1, BreaksNoEstablishedConnection) {
    const auto sum = run_all(GetParam());
    EXPECT_EQ(sum.broken, 0U) << sum.first_fault;
    EXPECT_EQ(sum.broken_flows, 0U) << sum.first_fault;
    EXPECT_EQ(sum.to_the_dead, 0U);
    EXPECT_EQ(sum.pins_left, 0U) << "stale pins in a settled slot";
    EXPECT_GT(sum.changes, sum.connections / 100);
    EXPECT_GT(sum.settled, 0U);
    EXPECT_GT(sum.established, sum.connections / 20);
    if (GetParam().pins == 8) {
        EXPECT_GT(sum.full, sum.connections / 100);
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Model1,
                         testing::Values(kPlain, kSlow, kFull, kFullSlow, kQuiet, kSilent, kTide, kStopping, kSleepy,
                                         kHeld, kHeldLong, kDying),
                         [](const auto& info) { return std::string(info.param.name); });

// A forged or late SYN of a connection that has no pin, in a slot that has moved, is the one known loss.
TEST(ModelLimits, AForgedSynBreaksFew) {
    const auto sum = run_all(kSpoof);
    std::cout << sum.spoofed << " broken by " << sum.spoofs << " forged SYNs\n";
    EXPECT_LE(sum.spoofed * 100, sum.established * 3);
    EXPECT_GT(sum.spoofs, sum.established / 10);
    EXPECT_EQ(sum.broken, 0U) << sum.first_fault;
    EXPECT_EQ(sum.broken_flows, 0U) << sum.first_fault;
}

struct Control {
    Without without;
    Shape shape;
    const char* name;
    std::uint64_t at_least = 30;
    std::uint64_t each = 500;  // connections of a seed
    std::uint64_t Outcome::* breaks = &Outcome::broken;
};

class Controls : public testing::TestWithParam<Control> {};

TEST_P(Controls, WithoutThisRuleSomeBreak) {
    const auto& control = GetParam();
    Outcome sum;
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        sum += Model(control.shape, control.without, seed).run(control.each);
    }
    std::cout << "without " << control.name << ": broken " << sum.broken << ", flows " << sum.broken_flows
              << ", at birth " << sum.broken_at_birth << ", of " << sum.connections << "\n";
    EXPECT_GE(sum.*control.breaks, control.at_least) << "the model is blind to this rule";
}

INSTANTIATE_TEST_SUITE_P(
    Rules, Controls,
    testing::Values(
        Control{Without::kLookup, kPlain, "Lookup"}, Control{Without::kFailToPrevious, kFull, "FailToPrevious"},
        Control{Without::kSynFollowsPin, kSpoof, "SynFollowsPin"}, Control{Without::kRepair, kPlain, "Repair"},
        Control{Without::kClosingPins, kPlain, "ClosingPins"},
        Control{Without::kDeadIsForgotten, kFull, "DeadIsForgotten"},
        Control{Without::kPreviousTime, kPlain, "PreviousTime"},
        Control{Without::kPreviousRestart, kSleepy, "PreviousRestart"},
        Control{Without::kPinRestart, kSleepy, "PinRestart"},
        Control{Without::kSettledPrevious, kSleepy, "SettledPrevious"}, Control{Without::kPinTime, kPlain, "PinTime"},
        Control{Without::kGrace, kStopping, "Grace", 40, 2000},
        Control{Without::kSeenGrace, kStopping, "SeenGrace", 8, 2000},
        Control{Without::kForgetGrace, kHeld, "ForgetGrace", 20, 2000},
        Control{Without::kScanGrace, kHeldLong, "ScanGrace", 3, 5000},
        Control{Without::kReviveGrace, kDying, "ReviveGrace", 4, 2000}, Control{Without::kScan, kUnscanned, "Scan"},
        Control{Without::kLearningForgets, kStopping, "LearningForgets", 8, 2000},
        Control{Without::kDeadPins, kPlain, "DeadPins", 20, 2000, &Outcome::broken_flows},
        Control{Without::kLearning, kPlain, "Learning", 30, 500, &Outcome::broken_flows},
        Control{Without::kLearningInCleanUp, kPlain, "LearningInCleanUp", 30, 500, &Outcome::broken_flows}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(ModelControls, TheDeadWouldBeFollowedIfTheirPinsWereValid) {
    EXPECT_GT(Model(kPlain, Without::kDeadIsVoid, 1).run(5000).to_the_dead, 0U);
}

TEST(ModelControls, OneSeedIsOneRun) {
    const auto first = Model(kSlow, Without::kPinTime, 7).run(5000),
               second = Model(kSlow, Without::kPinTime, 7).run(5000);
    EXPECT_EQ(first.first_fault, second.first_fault);
    EXPECT_EQ(first.changes, second.changes);
    EXPECT_NE(first.changes, Model(kSlow, Without::kPinTime, 8).run(5000).changes);
}

}  // namespace
}  // namespace fairlead::simulation
