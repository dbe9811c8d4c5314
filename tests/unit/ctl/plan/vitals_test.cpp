// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/vitals.h"

#include <gtest/gtest.h>

namespace fairlead::plan {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

class VitalsTest : public testing::Test {
  protected:
    VitalsTest() {
        pool_.name = "web";
        pool_.checks.emplace_back();
        pool_.failure_grace = seconds(10);
        pool_.slow_start = seconds(30);
        pool_.failback_delay = seconds(5);
        pool_.backends.push_back({.name = "a", .address = {}});
        pool_.backends.push_back({.name = "other", .address = {}});
    }

    BackendHealth look(Verdict verdict, milliseconds at, bool gone = false) {
        const PoolHealth checks{{"a", {verdict, "said so"}}, {"other", {other_, ""}}};
        const auto is_gone = [&](const auto& backend) { return gone && backend.name == "a"; };
        return vitals_.look(pool_, checks, begin_ + at, is_gone).at("a");
    }

    config::Pool pool_;
    Verdict other_ = Verdict::kUp;
    Vitals vitals_;
    Vitals::Time begin_ = Vitals::Time(std::chrono::hours(1));
};

TEST_F(VitalsTest, AFlappingCheckKillsNobody) {
    EXPECT_FALSE(look(Verdict::kUp, seconds(0)).up_for) << "one that was never away needs no slow start";
    EXPECT_FALSE(look(Verdict::kDown, seconds(1)).dead);
    EXPECT_TRUE(vitals_.running().contains("web"));
    EXPECT_FALSE(look(Verdict::kDown, milliseconds(10'999)).dead);
    EXPECT_EQ(look(Verdict::kUp, milliseconds(10'999)).verdict, Verdict::kUp);
    EXPECT_FALSE(look(Verdict::kDown, seconds(12)).dead) << "its grace begins anew";
}

TEST_F(VitalsTest, DownForLongerThanTheGraceIsDead) {
    look(Verdict::kUp, seconds(0));
    look(Verdict::kDown, seconds(1));
    EXPECT_TRUE(look(Verdict::kDown, seconds(11)).dead);
    EXPECT_FALSE(vitals_.running().contains("web")) << "nothing comes of waiting any longer";
}

TEST_F(VitalsTest, GoneAtLayerTwoIsDeadAsSoonAsItIsDown) {
    EXPECT_EQ(look(Verdict::kUp, seconds(0), true).verdict, Verdict::kUp) << "an answer counts for more";
    EXPECT_TRUE(look(Verdict::kDown, seconds(1), true).dead);
}

TEST_F(VitalsTest, TheDeadComeBackOnlyWhenEveryEngineKnowsThatTheyWere) {
    look(Verdict::kUp, seconds(0));
    look(Verdict::kDown, seconds(1));
    ASSERT_TRUE(look(Verdict::kDown, seconds(20)).dead);
    EXPECT_TRUE(look(Verdict::kUp, seconds(21)).dead) << "the tables do not say yet that it is";
    vitals_.buried("web", 2);
    vitals_.buried("web", 4);  // its slots moved once more
    vitals_.turns_done(3);
    const auto waits = look(Verdict::kUp, seconds(22));
    EXPECT_TRUE(waits.dead);
    EXPECT_EQ(waits.verdict, Verdict::kDown);
    EXPECT_TRUE(vitals_.running().contains("web"));
    vitals_.turns_done(4);
    const auto back = look(Verdict::kUp, seconds(23));
    EXPECT_FALSE(back.dead);
    EXPECT_EQ(back.verdict, Verdict::kUp);
    EXPECT_EQ(back.up_for, milliseconds(0)) << "it is back since now";
}

TEST_F(VitalsTest, SaysForHowLongOneIsBackUntilThatMattersNoMore) {
    look(Verdict::kUp, seconds(0));
    look(Verdict::kDown, seconds(1));
    EXPECT_EQ(look(Verdict::kUp, seconds(2)).up_for, milliseconds(0));
    EXPECT_EQ(look(Verdict::kUp, seconds(12)).up_for, seconds(10));
    EXPECT_TRUE(vitals_.running().contains("web"));
    EXPECT_EQ(look(Verdict::kUp, seconds(32)).up_for, seconds(30));
    EXPECT_FALSE(look(Verdict::kUp, seconds(33)).up_for);
    EXPECT_FALSE(vitals_.running().contains("web"));
}

TEST_F(VitalsTest, WhoAppearsLaterIsNewWhoWasThereIsNot) {
    vitals_.adopt("web", "a", {}, begin_);
    vitals_.begin();
    EXPECT_FALSE(look(Verdict::kUp, seconds(0)).up_for);
    pool_.backends.push_back({.name = "b", .address = {}});
    const auto health =
        vitals_.look(pool_, {{"a", {Verdict::kUp, ""}}, {"b", {Verdict::kUp, ""}}}, begin_ + seconds(1));
    EXPECT_FALSE(health.at("a").up_for);
    EXPECT_EQ(health.at("b").up_for, milliseconds(0));
}

TEST_F(VitalsTest, WhereNobodyIsUpNobodyHasDied) {
    look(Verdict::kUp, seconds(0));
    other_ = Verdict::kDown;
    EXPECT_FALSE(look(Verdict::kDown, seconds(1), true).dead) << "it may be this node that is cut off";
    EXPECT_FALSE(look(Verdict::kDown, seconds(3600), true).dead);
    EXPECT_FALSE(vitals_.running().contains("web"));
    other_ = Verdict::kUp;
    EXPECT_FALSE(look(Verdict::kDown, seconds(3601)).dead) << "the cable is in again: it has its grace from now";
    EXPECT_TRUE(vitals_.running().contains("web"));
    EXPECT_TRUE(look(Verdict::kDown, seconds(3611)).dead);
}

TEST_F(VitalsTest, AdoptsTheDead) {
    vitals_.adopt("web", "a", {.dead = true, .down = true}, begin_);
    EXPECT_TRUE(look(Verdict::kDown, seconds(0)).dead) << "no second grace";
}

TEST_F(VitalsTest, UnknownIsLeftAsItIs) {
    EXPECT_EQ(look(Verdict::kUnknown, seconds(0)).verdict, Verdict::kUnknown);
    EXPECT_FALSE(vitals_.running().contains("web"));
}

}  // namespace
}  // namespace fairlead::plan
