// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/maglev.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "ctl/plan/name_hash.h"
#include "dataplane/core/layout.h"

namespace fairlead::plan {
namespace {

struct Named {
    std::string name;
    std::uint32_t weight = 100;
    std::uint16_t local_index = 0;
};

std::vector<Named> fleet(std::size_t count, std::uint32_t weight = 100) {
    std::vector<Named> backends;
    for (std::size_t i = 0; i < count; ++i) {
        backends.push_back({"backend-" + std::to_string(i), weight, static_cast<std::uint16_t>(i)});
    }
    return backends;
}

using Table = std::vector<std::uint16_t>;

Table fill(const std::vector<Named>& backends, std::size_t slots, std::uint64_t seed = kMaglevSeed) {
    std::vector<Candidate> candidates;
    for (const Named& backend : backends) {
        candidates.push_back({backend.local_index, backend.name, backend.weight});
    }
    Table owners(slots, 0x1234);
    fill_owners(owners, candidates, seed);
    return owners;
}

std::map<std::uint16_t, std::size_t> shares(const Table& owners) {
    std::map<std::uint16_t, std::size_t> counts;
    for (const std::uint16_t owner : owners) {
        ++counts[owner];
    }
    return counts;
}

std::size_t differing(const Table& a, const Table& b) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        count += a[i] != b[i] ? 1 : 0;
    }
    return count;
}

// The paper's algorithm as it stands there, slow and plain: a whole permutation per backend (section 3.4, Pseudocode 1),
// and turns by looking at everybody for the one due first, in exact arithmetic. Only the hash is shared.
Table oracle(std::vector<Named> backends, std::size_t slots, std::uint64_t seed) {
    std::erase_if(backends, [](const Named& backend) { return backend.weight == 0; });
    const auto hash = [&](const Named& backend) { return name_hash(backend.name, {seed, 0x6d61676c65762d31}); };
    std::vector<std::vector<std::size_t>> permutation(backends.size());
    for (std::size_t i = 0; i < backends.size(); ++i) {
        const std::size_t offset = (hash(backends[i]) & 0xffffffff) % slots;
        const std::size_t skip = ((hash(backends[i]) >> 32) | 1) % slots;
        for (std::size_t j = 0; j < slots; ++j) {
            permutation[i].push_back((offset + j * skip) % slots);
        }
    }
    std::vector<std::optional<std::uint16_t>> entry(slots);
    std::vector<std::size_t> next(backends.size(), 0);
    std::vector<std::uint64_t> turns(backends.size(), 0);
    for (std::size_t filled = 0; filled < slots; ++filled) {
        std::size_t first = 0;
        for (std::size_t i = 1; i < backends.size(); ++i) {
            const std::uint64_t mine = (2 * turns[i] + 1) * backends[first].weight;
            const std::uint64_t best = (2 * turns[first] + 1) * backends[i].weight;
            const auto rank = [&](std::size_t b) {
                return std::pair(~std::uint64_t{backends[b].weight}, hash(backends[b]));
            };
            if (mine < best || (mine == best && rank(i) < rank(first))) {
                first = i;
            }
        }
        ++turns[first];
        while (entry[permutation[first][next[first]]]) {
            ++next[first];
        }
        entry[permutation[first][next[first]]] = backends[first].local_index;
    }
    Table owners;
    for (const auto& owner : entry) {
        owners.push_back(*owner);
    }
    return owners;
}

TEST(Maglev, AgreesWithThePaperOnEqualWeights) {
    for (const std::size_t count : {1, 2, 3, 7, 100}) {
        EXPECT_EQ(fill(fleet(count), 1024), oracle(fleet(count), 1024, kMaglevSeed)) << count << " backends";
    }
}

TEST(Maglev, AgreesWithThePaperOnRandomWeights) {
    const auto seed = static_cast<unsigned>(std::random_device{}());
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    for (int round = 0; round < 40; ++round) {
        const std::size_t slots = std::size_t{1} << (random() % 10);
        std::vector<Named> backends = fleet(1 + random() % 60);
        const std::uint32_t most = round % 2 == 0 ? 4 : 65'536;
        for (Named& backend : backends) {
            backend.weight = random() % most;
        }
        backends.front().weight = 1 + random() % 65'535;
        const std::uint64_t table_seed = random();
        ASSERT_EQ(fill(backends, slots, table_seed), oracle(backends, slots, table_seed)) << "round " << round;
    }
}

// The same table on every node and in every release: changing it moves connections, so it must not happen unnoticed.
TEST(Maglev, DoesNotChangeFromReleaseToRelease) {
    const std::vector<Named> backends = {{"master", 100, 0}, {"slave", 100, 1}, {"third", 50, 2}};
    const Table owners = fill(backends, 16);
    EXPECT_EQ(owners, oracle(backends, 16, kMaglevSeed));
    EXPECT_EQ(owners, (Table{1, 0, 1, 2, 1, 0, 0, 0, 2, 1, 1, 1, 2, 1, 0, 0}));
}

TEST(Maglev, BalancesAHundredBackendsWithinOnePercent) {
    const auto counts = shares(fill(fleet(100), 65'536));
    ASSERT_EQ(counts.size(), 100U);
    const double mean = 65'536.0 / 100;
    for (const auto& [index, count] : counts) {
        EXPECT_LE(static_cast<double>(count) / mean, 1.01) << index;
        EXPECT_GE(static_cast<double>(count) / mean, 0.99) << index;
    }
}

TEST(Maglev, RemovingABackendMovesLittleElse) {
    for (const std::size_t victim : {std::size_t{0}, std::size_t{50}, std::size_t{99}}) {
        std::vector<Named> fewer = fleet(100);
        const Table before = fill(fewer, 65'536);
        fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(victim));
        const Table after = fill(fewer, 65'536);
        const std::size_t necessary = shares(before)[static_cast<std::uint16_t>(victim)];
        EXPECT_EQ(shares(after).count(static_cast<std::uint16_t>(victim)), 0U);
        EXPECT_GE(differing(before, after), necessary);
        EXPECT_LE(static_cast<double>(differing(before, after) - necessary) / 65'536, 0.015);
    }
}

TEST(Maglev, AddingABackendMovesLittleElse) {
    const Table before = fill(fleet(100), 65'536);
    const Table after = fill(fleet(101), 65'536);
    const std::size_t necessary = shares(after)[100];
    EXPECT_NEAR(static_cast<double>(necessary), 65'536.0 / 101, 2);
    EXPECT_LE(static_cast<double>(differing(before, after) - necessary) / 65'536, 0.015);
}

TEST(Maglev, ChangingOneWeightMovesLittleElse) {
    std::vector<Named> backends = fleet(100);
    const Table before = fill(backends, 65'536);
    backends[7].weight = 50;
    const Table after = fill(backends, 65'536);
    const std::size_t necessary = shares(before)[7] - shares(after)[7];
    EXPECT_LE(static_cast<double>(differing(before, after) - necessary) / 65'536, 0.015);
}

TEST(Maglev, HonoursWeightsWithinASlotOfExact) {
    std::vector<Named> backends = fleet(50);
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < backends.size(); ++i) {
        backends[i].weight = static_cast<std::uint32_t>(100 + 37 * i);
        total += backends[i].weight;
    }
    const auto counts = shares(fill(backends, 65'536));
    for (const Named& backend : backends) {
        const double exact = 65'536.0 * backend.weight / static_cast<double>(total);
        const auto count = static_cast<double>(counts.at(backend.local_index));
        EXPECT_NEAR(count, exact, 1.0) << backend.name;
        EXPECT_NEAR(count / exact, 1.0, 0.02) << backend.name;
    }
}

TEST(Maglev, HonoursAnExtremeRatioOfWeights) {
    const auto counts = shares(fill({{"heavy", 65'535, 0}, {"light", 1, 1}}, 1 << 18));
    EXPECT_EQ(counts.at(1), 4U);
    EXPECT_EQ(counts.at(0), (1U << 18) - 4);
}

TEST(Maglev, OnlyTheRatioOfWeightsMatters) { EXPECT_EQ(fill(fleet(10, 1), 1024), fill(fleet(10, 65'535), 1024)); }

TEST(Maglev, WeightZeroTakesNoSlot) {
    std::vector<Named> backends = fleet(3);
    backends[1].weight = 0;
    const Table owners = fill(backends, 1024);
    EXPECT_EQ(shares(owners).count(1), 0U);
    backends.erase(backends.begin() + 1);
    EXPECT_EQ(owners, fill(backends, 1024));
}

TEST(Maglev, NobodyLeavesEverySlotWithoutAnOwner) {
    EXPECT_EQ(fill({}, 64), Table(64, FL_NO_BACKEND));
    EXPECT_EQ(fill(fleet(5, 0), 64), Table(64, FL_NO_BACKEND));
}

TEST(Maglev, TheOrderOfTheCandidatesDoesNotMatter) {
    std::vector<Named> backends = fleet(100);
    for (std::size_t i = 0; i < backends.size(); ++i) {
        backends[i].weight = 1 + i % 7;
    }
    const Table owners = fill(backends, 4096);
    std::mt19937 random(7);
    for (int round = 0; round < 5; ++round) {
        std::shuffle(backends.begin(), backends.end(), random);
        ASSERT_EQ(fill(backends, 4096), owners) << "round " << round;
    }
}

// Two nodes number the same backends differently: slot for slot they must still name the same one.
TEST(Maglev, TheIndexesDoNotMatter) {
    std::vector<Named> backends = fleet(20);
    const Table here = fill(backends, 1024);
    std::map<std::uint16_t, std::uint16_t> there_to_here;
    for (std::size_t i = 0; i < backends.size(); ++i) {
        const auto there = static_cast<std::uint16_t>((7 * i + 3) % 20 + 500);
        there_to_here[there] = backends[i].local_index;
        backends[i].local_index = there;
    }
    Table there = fill(backends, 1024);
    for (std::uint16_t& owner : there) {
        owner = there_to_here.at(owner);
    }
    EXPECT_EQ(there, here);
}

TEST(Maglev, AnotherSeedOrNameGivesAnotherTable) {
    const std::vector<Named> backends = fleet(10);
    EXPECT_GT(differing(fill(backends, 1024, 1), fill(backends, 1024, 2)), 700U);
    std::vector<Named> renamed = backends;
    renamed[3].name = "elsewhere";
    EXPECT_GT(differing(fill(backends, 1024), fill(renamed, 1024)), 0U);
}

TEST(Maglev, OneBackendOwnsAll) {
    EXPECT_EQ(fill({{"only", 1, 42}}, 1024), Table(1024, 42));
    EXPECT_EQ(fill({{"only", 65'535, 42}}, 1), Table(1, 42));
}

TEST(Maglev, MoreBackendsThanSlotsGiveEachAtMostOne) {
    const auto counts = shares(fill(fleet(100), 16));
    EXPECT_EQ(counts.size(), 16U);
    for (const auto& [index, count] : counts) {
        EXPECT_EQ(count, 1U) << index;
    }
    // Heavier ones come first.
    std::vector<Named> backends = fleet(100);
    for (std::size_t i = 0; i < 16; ++i) {
        backends[i * 6].weight = 1000;
    }
    for (const auto& [index, count] : shares(fill(backends, 16))) {
        EXPECT_EQ(index % 6, 0) << index;
    }
}

TEST(Maglev, CarriesTheGreatestPool) {
    const auto counts = shares(fill(fleet(32'766), 1 << 20));
    EXPECT_EQ(counts.size(), 32'766U);
    const auto [least, most] = std::minmax_element(counts.begin(), counts.end(),
                                                   [](const auto& a, const auto& b) { return a.second < b.second; });
    EXPECT_LE(most->second - least->second, 1U);
}

}  // namespace
}  // namespace fairlead::plan
