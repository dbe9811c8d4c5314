// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "dataplane/tables/memory_steer.h"

namespace fairlead {
namespace {
fl_meta keyed(std::mt19937_64& random) {
    fl_meta meta{};
    const __u64 key[2] = {random(), random()};
    fl_hash_expand(&meta, key);
    return meta;
}

struct Flow {
    __u32 source, destination, ports;
    __u8 protocol;
};

__u64 hash(const fl_meta& meta, const Flow& f) {
    return fl_hash_flow4(&meta, f.source, f.destination, f.ports, f.protocol);
}

// The shape that DESIGN warns of: keyed by exclusive-or, mixed by odd multiplication.
__u64 naive_hash(__u64 key0, __u64 key1, const Flow& f) {
    __u64 h = ((static_cast<__u64>(f.source) << 32 | f.destination) ^ key0) * 0x9e3779b97f4a7c15ULL;
    h = (h ^ (static_cast<__u64>(f.ports) << 32 | f.protocol) ^ key1) * 0xbb67ae8584caa73bULL;
    return h ^ (h >> 32);
}

// Pairs made to collide in the naive hash whatever its key: the difference in the top bit passes an odd multiplication
// untouched, and the second word undoes it.
std::pair<Flow, Flow> crafted_pair(std::mt19937_64& random) {
    const Flow one{static_cast<__u32>(random()), static_cast<__u32>(random()), static_cast<__u32>(random()), 6};
    Flow other = one;
    other.source ^= 0x80000000;
    other.ports ^= 0x80000000;
    return {one, other};
}

TEST(Hash, SipHashGivesTheReferenceVector) {
    // SipHash's reference vectors: key 00 01 .. 0f, message 00 01 .. 07.
    const __u64 key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    EXPECT_EQ(fl_siphash_word(key, 0x0706050403020100), 0x93f5f5799a932462ULL);
}

TEST(Hash, EqualKeysGiveEqualFieldsAndAnIdThatDiffersBetweenKeys) {
    std::mt19937_64 random(1);
    const __u64 key[2] = {1, 2}, other[2] = {1, 3};
    fl_meta a{}, b{}, c{};
    fl_hash_expand(&a, key);
    fl_hash_expand(&b, key);
    fl_hash_expand(&c, other);
    EXPECT_EQ(memcmp(&a, &b, sizeof(a)), 0);
    EXPECT_NE(a.hash_key_id, c.hash_key_id);
    for (const auto addend : a.hash_addends) EXPECT_NE(addend, 0U);
    for (const auto multiplier : a.hash_multipliers) EXPECT_EQ(multiplier & 1, 1U);
}

// An oracle in 128-bit arithmetic, from the papers.
TEST(Hash, IsNhThenTwoMultiplyShifts) {
    std::mt19937_64 random(2);
    for (int i = 0; i < 1000; ++i) {
        const auto meta = keyed(random);
        const Flow f{static_cast<__u32>(random()), static_cast<__u32>(random()), static_cast<__u32>(random()),
                     static_cast<__u8>(random())};
        const __u32 words[4] = {f.source, f.ports, f.destination, f.protocol};
        unsigned __int128 sum = 0;
        for (int pair = 0; pair < 2; ++pair)
            sum += static_cast<unsigned __int128>((words[2 * pair] + static_cast<__u64>(meta.hash_addends[2 * pair])) %
                                                  (1ULL << 32)) *
                   ((words[2 * pair + 1] + static_cast<__u64>(meta.hash_addends[2 * pair + 1])) % (1ULL << 32));
        auto h = static_cast<__u64>(sum);
        for (const auto multiplier : meta.hash_multipliers) h = (h ^ (h >> 32)) * multiplier;
        EXPECT_EQ(hash(meta, f), h ^ (h >> 32));
    }
}

TEST(Hash, CraftedPairsCollideInANaiveHashUnderEveryKeyAndNotHere) {
    std::mt19937_64 random(3);
    int naive = 0, slots = 0, whole = 0;
    constexpr int kPairs = 20'000;
    for (int i = 0; i < kPairs; ++i) {
        const auto [one, other] = crafted_pair(random);
        const __u64 key0 = random(), key1 = random();
        naive += naive_hash(key0, key1, one) == naive_hash(key0, key1, other);
        const auto meta = keyed(random);
        whole += hash(meta, one) == hash(meta, other);
        slots += (hash(meta, one) & 0xffff) == (hash(meta, other) & 0xffff);
    }
    EXPECT_EQ(naive, kPairs) << "the control no longer shows the weakness";
    EXPECT_EQ(whole, 0);
    EXPECT_LE(slots, 6) << "expected 20,000 / 65,536";
}

// Differences of one and two bits, and of whole words, are no likelier to share a slot than chance.
TEST(Hash, StructuredDifferencesDoNotShareSlots) {
    std::mt19937_64 random(4);
    int same = 0, tried = 0;
    for (int k = 0; k < 40; ++k) {
        const auto meta = keyed(random);
        const Flow base{static_cast<__u32>(random()), 0x0a0200c0, static_cast<__u32>(random()), 6};
        for (int a = 0; a < 64; ++a)
            for (int b = a; b < 64; ++b) {
                Flow other = base;
                for (const int bit : {a, b}) (bit < 32 ? other.source : other.ports) ^= 1U << (bit % 32);
                if (a == b) (a < 32 ? other.source : other.ports) ^= 1U << (a % 32);
                same += (hash(meta, base) & 0xffff) == (hash(meta, other) & 0xffff);
                ++tried;
            }
    }
    EXPECT_LT(same, 3 * tried / 65'536 + 8);
}

TEST(Hash, ManyPortsOfOneClientSpreadEvenly) {
    std::mt19937_64 random(5);
    for (int k = 0; k < 10; ++k) {
        const auto meta = keyed(random);
        std::vector<int> load(256);
        for (__u32 port = 0; port < 65'536; ++port)
            ++load[hash(meta, {0x070033c6, 0x0a0200c0, port | 0x50000000, 6}) & 255];
        double chi = 0;
        for (const int n : load) chi += (n - 256.0) * (n - 256.0) / 256.0;
        // 255 degrees of freedom; a structured hash may be smoother than chance, never much rougher.
        EXPECT_LT(chi, 420) << "key " << k;
    }
}

TEST(Hash, ClientHashIgnoresPortsAndSeparatesClients) {
    std::mt19937_64 random(6);
    const auto meta = keyed(random);
    std::vector<int> load(64);
    for (__u32 client = 0; client < 6'400; ++client) ++load[fl_hash_client4(&meta, fl_htonl(0x0a000000 + client)) & 63];
    for (const int n : load) {
        EXPECT_GT(n, 50);
        EXPECT_LT(n, 160);
    }
    const __be32 one[4] = {1, 2, 3, 4}, other[4] = {1, 2, 3, 5};
    EXPECT_NE(fl_hash_client6(&meta, one), fl_hash_client6(&meta, other));
}

TEST(Hash, EveryWordOfAnIpv6FlowCounts) {
    std::mt19937_64 random(7);
    const auto meta = keyed(random);
    const __be32 from[4] = {1, 2, 3, 4}, to[4] = {5, 6, 7, 8};
    const auto base = fl_hash_flow6(&meta, from, to, 9, 6);
    for (int i = 0; i < 4; ++i) {
        __be32 changed[4];
        memcpy(changed, from, sizeof(changed));
        changed[i] ^= 1;
        EXPECT_NE(fl_hash_flow6(&meta, changed, to, 9, 6), base) << i;
        memcpy(changed, to, sizeof(changed));
        changed[i] ^= 1;
        EXPECT_NE(fl_hash_flow6(&meta, from, changed, 9, 6), base) << i;
    }
    EXPECT_NE(fl_hash_flow6(&meta, from, to, 10, 6), base);
    EXPECT_NE(fl_hash_flow6(&meta, from, to, 9, 17), base);
}
}  // namespace
}  // namespace fairlead
