// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/name_hash.h"

#include <gtest/gtest.h>

#include <string>

namespace fairlead::plan {
namespace {

// The paper's key, bytes 00 to 0f.
constexpr NameHashKey kPaperKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};

std::string counting_bytes(int length) {
    std::string bytes;
    for (int i = 0; i < length; ++i) {
        bytes.push_back(static_cast<char>(i));
    }
    return bytes;
}

// From the reference implementation's vectors (and, for 15 bytes, appendix A of the paper).
TEST(NameHash, GivesThePaperValues) {
    EXPECT_EQ(name_hash("", kPaperKey), 0x726fdb47dd0e0e31U);
    EXPECT_EQ(name_hash(counting_bytes(1), kPaperKey), 0x74f839c593dc67fdU);
    EXPECT_EQ(name_hash(counting_bytes(8), kPaperKey), 0x93f5f5799a932462U);
    EXPECT_EQ(name_hash(counting_bytes(15), kPaperKey), 0xa129ca6149be45e5U);
}

TEST(NameHash, DependsOnBothHalvesOfTheKey) {
    EXPECT_NE(name_hash("master", {1, 2}), name_hash("master", {1, 3}));
    EXPECT_NE(name_hash("master", {1, 2}), name_hash("master", {0, 2}));
}

TEST(NameHash, TellsBytesAbove127Apart) { EXPECT_NE(name_hash("\x80", kPaperKey), name_hash("\xff", kPaperKey)); }

}  // namespace
}  // namespace fairlead::plan
