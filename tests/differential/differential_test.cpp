// SPDX-License-Identifier: Apache-2.0
// Plain memory, the XDP program and the DPDK engine end every frame alike. FAIRLEAD_SEED and FAIRLEAD_FRAMES replay or go
// further; scripts/bench differential goes through millions.
#include <gtest/gtest.h>
#include <unistd.h>

#include <random>

#include "tests/differential/campaign.h"
#include "tests/support/ring_port.h"

namespace fairlead::test {
namespace {

class Differential : public testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root: it loads XDP programs";
        campaign_.emplace();
    }

    std::uint64_t seed_ = environment("FAIRLEAD_SEED", std::random_device{}());
    std::optional<Campaign> campaign_;
};

TEST_F(Differential, TheEnginesEndEveryFrameAlike) {
    EXPECT_EQ(campaign_->run({.seed = seed_, .frames = environment("FAIRLEAD_FRAMES", 10'000)}), "");
    auto tally = campaign_->tally();
    for (const char* verdict : {"drop", "pass", "transmit", "redirect"})
        EXPECT_GT(tally["verdict"][verdict], 0U) << verdict;
}

TEST_F(Differential, OneBitThatIsOtherForOneOfThemIsFound) {
    EXPECT_EQ(campaign_->find_planted_faults(seed_), "") << "FAIRLEAD_SEED=" << seed_;
}

}  // namespace
}  // namespace fairlead::test

int main(int count, char** words) {
    ::testing::InitGoogleTest(&count, words);
    const fairlead::test::Eal eal;
    return RUN_ALL_TESTS();
}
