// SPDX-License-Identifier: Apache-2.0
// What DPDK is started with: the config's words, and those of the command line in their place.
#include "dataplane/engine/environment.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fairlead::engine {
namespace {
using Words = std::vector<std::string>;

constexpr int kPid = 4711;

bool has(const Words& words, const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

bool any_begins(const Words& words, const std::string& begin) {
    return std::any_of(words.begin(), words.end(), [&](const std::string& word) { return word.starts_with(begin); });
}

EnvironmentSettings settings() {
    return {.instance = "edge",
            .cores = {4, 5},
            .workers = 2,
            .memory_mb = 128,
            .huge_pages = false,
            .pci = {},
            .extra = {}};
}

TEST(Environment, TouchesNoCardUnlessOneIsNamed) {
    EnvironmentSettings virtual_devices = settings();
    const Words words = environment_arguments(virtual_devices, kPid);
    EXPECT_TRUE(has(words, "--no-pci"));
    EXPECT_TRUE(has(words, "--no-huge"));
    EXPECT_TRUE(has(words, "--file-prefix=fairlead-edge-4711"));
    EXPECT_EQ(*(std::find(words.begin(), words.end(), "-m") + 1), "128");

    virtual_devices.pci = {"0000:03:00.0"};
    const Words cards = environment_arguments(virtual_devices, kPid);
    EXPECT_FALSE(has(cards, "--no-pci"));
    EXPECT_EQ(*(std::find(cards.begin(), cards.end(), "-a") + 1), "0000:03:00.0");
    EXPECT_FALSE(any_begins(cards, "--iova-mode"));  // what the IOMMU allows
}

// The control thread may run on any CPU; each worker has its own.
TEST(Environment, AWorkerACore) {
    const Words words = environment_arguments(settings(), kPid);
    const auto lcores =
        std::find_if(words.begin(), words.end(), [](auto& word) { return word.starts_with("--lcores="); });
    ASSERT_NE(lcores, words.end());
    EXPECT_TRUE(lcores->starts_with("--lcores=0@("));
    EXPECT_TRUE(lcores->ends_with("),1@4,2@5")) << *lcores;
}

TEST(Environment, HugePagesLeaveNoFiles) {
    EnvironmentSettings huge = settings();
    huge.huge_pages = true;
    const Words words = environment_arguments(huge, kPid);
    EXPECT_TRUE(has(words, "--in-memory"));
    EXPECT_FALSE(has(words, "--no-huge"));
}

struct Given {
    Words extra;
    std::string replaced;  // how what it replaces begins
};

class GivenWins : public ::testing::TestWithParam<Given> {};

TEST_P(GivenWins, InPlaceOfTheConfigs) {
    EnvironmentSettings given = settings();
    const Words before = environment_arguments(given, kPid);
    given.extra = GetParam().extra;
    const Words words = environment_arguments(given, kPid);
    EXPECT_TRUE(any_begins(before, GetParam().replaced));
    const Words own(words.begin(), words.end() - static_cast<long>(given.extra.size()));
    EXPECT_FALSE(any_begins(own, GetParam().replaced));
    EXPECT_TRUE(std::equal(given.extra.rbegin(), given.extra.rend(), words.rbegin()));
}
INSTANTIATE_TEST_SUITE_P(Options, GivenWins,
                         ::testing::Values(Given{{"-l", "0,1"}, "--lcores"}, Given{{"-l0,1"}, "--lcores"},
                                           Given{{"--lcores=0,1"}, "--lcores"}, Given{{"-m", "64"}, "-m"},
                                           Given{{"-a", "0000:03:00.1"}, "--no-pci"},
                                           Given{{"--log-level=debug"}, "--log-level"},
                                           Given{{"--file-prefix=mine"}, "--file-prefix"}));

}  // namespace
}  // namespace fairlead::engine
