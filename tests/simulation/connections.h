// SPDX-License-Identifier: Apache-2.0
// Connections of many clients through a pool of 100 backends while the pool changes: the real core on anonymous memory
// decides each packet, the real planner (eligibility, Maglev, transitions) and the real scan of pins move its slots, on a
// clock of the simulation's own. Beside it, for the same packets and the same changes, what other balancers do: stateless
// Maglev, and a table of every connection that forgets the least recently used. One seed, one run: the same each time.
//
// A connection is broken when a packet of it goes to another backend than the one that answered its SYN. It is not when
// that backend has died since (`lost`); nor, counted apart, when its SYN was sent more than once and its first packet
// after the handshake goes astray (`failed_handshakes`, DESIGN section 6, "Hard cases").
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace fairlead::simulation {

enum class Scenario {
    kQuiet,      // nothing changes
    kFlap,       // checks fail for less than failure_grace; nobody dies
    kDrain,      // backends are drained, and taken into use again
    kScaleOut,   // 60 backends become 100
    kWeight,     // weights change
    kSlowStart,  // backends come back with a small weight that grows
    kTiers,      // the first tier falls below its quorum by flaps, deaths and drains in turn, and is used again
    kMix,        // flaps, drains, weights, deaths, restarts of the controller
    kFlood,      // the mix, and a flood of SYNs for a third of the time
};
inline constexpr std::array kScenarios{Scenario::kQuiet,    Scenario::kFlap,   Scenario::kDrain,
                                       Scenario::kScaleOut, Scenario::kWeight, Scenario::kSlowStart,
                                       Scenario::kTiers,    Scenario::kMix,    Scenario::kFlood};

std::string_view to_string(Scenario scenario);

struct TrafficShape {
    std::uint64_t flows = 1'000'000;
    std::uint32_t seconds = 900;
    std::uint32_t idle_timeout_s = 60;  // no connection is silent for longer
    std::uint32_t slots = 65'536;
    std::uint32_t pins = 65'536;  // and entries of the full table
    std::uint32_t flood_per_s = 50'000;
    std::uint64_t seed = 1;
};

inline constexpr std::size_t kFairlead = 0, kMaglev = 1, kLru = 2, kSchemes = 3;
inline constexpr std::array<std::string_view, kSchemes> kSchemeNames{"fairlead", "maglev", "lru"};

struct SchemeOutcome {
    std::uint64_t broken = 0;
    std::uint64_t failed_handshakes = 0;  // of SYNs sent more than once
    std::uint64_t lost = 0;               // with their backend
    std::uint64_t refused = 0;            // went to a backend that was down already
    std::uint64_t tracked = 0;            // flows that ever had an entry
    std::uint64_t peak_entries = 0;       // at the end of a second
};

struct ConnectionsOutcome {
    std::uint64_t flows = 0, peak_live = 0, packets = 0, flood = 0;
    std::uint64_t changes = 0;                        // of eligibility or weight, at one time each
    std::uint64_t slots_moved = 0;                    // owner changes
    std::uint64_t moved_twice = 0, moved_thrice = 0;  // of them, the second and third of a slot in one transition
    std::uint64_t settled = 0;                        // slots, again
    std::uint64_t slots_left = 0, pins_left = 0;      // long after the last connection
    std::array<SchemeOutcome, kSchemes> schemes{};
    std::string first_fault;  // of kFairlead
};

ConnectionsOutcome simulate(Scenario scenario, const TrafficShape& shape);

}  // namespace fairlead::simulation
