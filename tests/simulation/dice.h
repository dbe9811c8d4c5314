// SPDX-License-Identifier: Apache-2.0
// Chance that is the same again for one seed, on every machine: no distribution of the standard library is used, whose
// results are its own affair.
#pragma once

#include <cstdint>
#include <random>

namespace fairlead::simulation {

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : random_(seed) {}

    std::uint64_t bits() { return random_(); }
    double fraction() { return static_cast<double>(random_() >> 11) * 0x1p-53; }  // in [0, 1)
    bool chance(double probability) { return fraction() < probability; }
    std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(random_() % bound); }
    std::uint32_t between(std::uint32_t least, std::uint32_t most) { return least + below(most - least + 1); }

  private:
    std::mt19937_64 random_;
};

}  // namespace fairlead::simulation
