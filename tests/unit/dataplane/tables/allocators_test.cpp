// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/allocators.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace fairlead::tables {
namespace {

TEST(IdAllocator, GivesTheLowestFreeId) {
    IdAllocator ids(1, 70);
    EXPECT_EQ(ids.available(), 69U);
    for (std::uint32_t id = 1; id < 70; ++id) EXPECT_EQ(ids.allocate(), id);
    EXPECT_EQ(ids.allocate(), std::nullopt);
    ids.release(66);
    ids.release(3);
    EXPECT_EQ(ids.allocate(), 3U);
    EXPECT_EQ(ids.allocate(), 66U);
    EXPECT_EQ(ids.available(), 0U);
}

TEST(IdAllocator, ReservesOnlyWhatIsFreeAndInRange) {
    IdAllocator ids(1, 64);
    EXPECT_FALSE(ids.reserve(0));
    EXPECT_FALSE(ids.reserve(64));
    EXPECT_TRUE(ids.reserve(1));
    EXPECT_FALSE(ids.reserve(1));
    EXPECT_EQ(ids.allocate(), 2U);
}

TEST(BuddyAllocator, RangesAreAlignedAndDoNotOverlap) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    constexpr std::uint32_t kUnits = 1000;  // no power of two
    BuddyAllocator buddies(kUnits);
    std::map<std::uint32_t, std::uint32_t> held;  // base -> units
    std::uint32_t used = 0;
    for (int step = 0; step < 5000; ++step) {
        if (held.empty() || random() % 2) {
            const std::uint32_t units = 1U << (random() % 7);
            const auto base = buddies.allocate(units);
            if (!base) continue;
            EXPECT_EQ(*base % units, 0U);
            EXPECT_LE(*base + units, kUnits);
            const auto next = held.upper_bound(*base);
            if (next != held.end()) {
                EXPECT_LE(*base + units, next->first);
            }
            if (next != held.begin()) {
                EXPECT_LE(std::prev(next)->first + std::prev(next)->second, *base);
            }
            held.emplace(*base, units);
            used += units;
        } else {
            auto chosen = std::next(held.begin(), static_cast<std::ptrdiff_t>(random() % held.size()));
            buddies.release(chosen->first, chosen->second);
            used -= chosen->second;
            held.erase(chosen);
        }
        ASSERT_EQ(buddies.available(), kUnits - used);
    }
    // A copy made of what is held goes on as the original would.
    BuddyAllocator adopted(kUnits);
    for (const auto& [base, units] : held) ASSERT_TRUE(adopted.reserve(base, units));
    for (const auto& [base, units] : held) EXPECT_FALSE(adopted.reserve(base, units));
    for (int step = 0; step < 200; ++step) {
        const std::uint32_t units = 1U << (random() % 5);
        ASSERT_EQ(adopted.allocate(units).has_value(), buddies.allocate(units).has_value());
    }
}

TEST(BuddyAllocator, JoinsWhatIsFreed) {
    BuddyAllocator buddies(64);
    for (std::uint32_t i = 0; i < 64; ++i) ASSERT_TRUE(buddies.allocate(1));
    EXPECT_FALSE(buddies.allocate(1));
    for (std::uint32_t i = 0; i < 64; ++i) buddies.release((i * 37) % 64, 1);
    EXPECT_EQ(buddies.allocate(64), 0U);
}

}  // namespace
}  // namespace fairlead::tables
