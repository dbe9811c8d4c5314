// SPDX-License-Identifier: Apache-2.0
// All three engines, world after world: tables of chance, and over them frames of the corpus, mutated ones and made ones,
// in bursts of any size. One seed says everything.
#pragma once

#include "tests/differential/comparison.h"

namespace fairlead::test {

struct CampaignOptions {
    std::uint64_t seed = 1;
    std::uint64_t frames = 10'000;
    std::uint64_t frames_per_world = 1'000;
};

class Campaign {
  public:
    // Within the life of an Eal, as root.
    Campaign();
    ~Campaign();

    // "" or the first difference, with the seed and what to do with it. The clock's part in what a frame ends as is none.
    std::string run(const CampaignOptions& options);
    // Whether a bit that is other for one engine alone is found, whichever engine and wherever the bit.
    std::string find_planted_faults(std::uint64_t seed);

    const Tally& tally() const { return tally_; }

  private:
    std::string run_world(std::uint64_t seed, std::uint64_t frames, const PlantedFault* fault);

    std::vector<std::unique_ptr<SteerEngine>> engines_;
    Tally tally_;
};

}  // namespace fairlead::test
