// SPDX-License-Identifier: Apache-2.0
// What happens to the backends in each scenario.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "tests/simulation/dice.h"
#include "tests/simulation/fleet.h"

namespace fairlead::simulation {

class Script {
  public:
    // `fleet` and `dice` must outlive it. It acts between the fifteenth and three quarters of the time.
    Script(Scenario scenario, Fleet& fleet, Dice& dice, std::uint32_t seconds);

    // Once at the beginning of each second, in order.
    void act(std::uint32_t second);

    // Whether SYNs come from everywhere.
    bool floods(std::uint32_t second) const;

  private:
    using Deed = std::function<void(std::uint16_t backend)>;

    void later(std::uint32_t seconds, std::function<void()> what);
    // Seconds at the length of 900; shorter runs have as many events in less time.
    std::uint32_t scaled(std::uint32_t seconds) const;
    bool every(std::uint32_t seconds) const;
    std::uint16_t any();
    void chain(std::uint16_t backend, int deeds, const Deed& deed);

    void flap(std::uint16_t backend, std::uint32_t seconds);
    void drain(std::uint16_t backend, std::uint32_t seconds);
    void weigh(std::uint16_t backend);
    void start_slowly(std::uint16_t backend);
    void die(std::uint16_t backend, std::uint32_t seconds);
    void shake_tiers();
    void mix();

    Scenario scenario_;
    Fleet& fleet_;
    Dice& dice_;
    std::uint32_t seconds_, now_ = 0, rounds_ = 0, present_ = Fleet::kBackends;
    std::multimap<std::uint32_t, std::function<void()>> pending_;
};

}  // namespace fairlead::simulation
