// SPDX-License-Identifier: Apache-2.0
// Weighted Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4) on a table of 2^k slots.
//
// As in the paper, every backend has a permutation of the slots, made from its name alone, and the backends take turns
// to claim the next free slot of theirs. Two things differ:
//  - the table is a power of two and every skip is odd, so that a skip still visits every slot, and the data path masks
//    where a prime table would have it divide (DESIGN section 6: same balance, same disruption);
//  - turns come at times. Turn j (from 0) of a backend with weight w is due at (2j + 1) / 2w; the earliest comes first, a
//    tie goes to the greater weight, then to the lower name hash. The number of slots is then the Webster/Sainte-Lague
//    apportionment of the table by weight, within a slot of exact; equal weights give the paper's plain rounds; and no
//    backend's times depend on which others are there, which keeps changes small.
//
// Pure: the result depends on {names, weights, seed, table size} and neither on the order of the candidates nor, but for
// the values written, on their indexes. Thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace fairlead::plan {

// The seed of every pool: nodes that are to compute equal tables must agree on it, so it is no setting.
inline constexpr std::uint64_t kMaglevSeed = 0x466169726c656164;  // "Fairlead"

struct Candidate {
    std::uint16_t local_index = 0;  // pool-local; what is written into the slots
    std::string_view name;          // unique in its pool
    std::uint32_t weight = 100;     // at most 65,535; 0 = takes no slot
};

// Fills `owners`, whose size must be a power of two up to 2^24, with the local indexes of the candidates, or with
// FL_NO_BACKEND where there is none. Throws nothing but std::bad_alloc.
void fill_owners(std::span<std::uint16_t> owners, std::span<const Candidate> candidates,
                 std::uint64_t seed = kMaglevSeed);

}  // namespace fairlead::plan
