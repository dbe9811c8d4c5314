// SPDX-License-Identifier: Apache-2.0
// The planner of transitions, rule by rule (DESIGN section 6, "Controller"). That the rules keep connections is shown by
// tests/simulation/model_test.cpp; here, that each is kept.
#include "ctl/plan/transition.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace fairlead::plan {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint16_t kA = 0, kB = 1, kC = 2, kNone = FL_NO_BACKEND;
constexpr std::uint32_t kIdle = 100, kLearning = 30;
// Pins expire by units of 4.29 s, the last of which must be over.
constexpr std::uint32_t kPinIdle = kIdle + 15;

std::uint32_t moving(std::uint16_t owner, std::uint16_t previous, bool learning = false) {
    return FL_SLOT_WORD(owner, previous, 1, learning);
}

// O = P, and not every engine has seen it.
std::uint32_t held(std::uint16_t owner) { return moving(owner, owner, true); }

class TransitionPlan : public testing::Test {
  protected:
    void SetUp() override { begin({FL_SLOT_SETTLED(kA)}); }

    void begin(std::vector<std::uint32_t> words) {
        words_ = std::move(words);
        stamps_.assign(words_.size(), {});
        planner_.emplace(TransitionTimes{kIdle, kLearning}, view(), clock_);
    }

    SlotsView view() const { return {words_, stamps_, dead_}; }

    // Does what the planner says, and returns how many words it said.
    std::size_t apply(const std::vector<SlotChange>& changes) {
        for (const auto& change : changes) {
            auto& stamp = stamps_[change.slot];
            if (change.restart_previous) stamp.previous_used = stamp_of(clock_.now_ns);
            if (change.restart_pin) stamp.pin_used = stamp_of(clock_.now_ns);
            words_[change.slot] = change.word;
        }
        return changes.size();
    }
    std::size_t own(std::uint16_t owner) {
        std::vector<SlotChange> changes;
        planner_->retarget(view(), std::vector<std::uint16_t>(words_.size(), owner), clock_, changes);
        return apply(changes);
    }
    std::size_t advance(std::uint32_t budget = 100) {
        std::vector<SlotChange> changes;
        planner_->advance(view(), clock_, budget, changes);
        return apply(changes);
    }
    void pass(std::uint32_t seconds) {
        clock_.now_ns += seconds * kSecond;
        advance();
    }
    void grace() {
        clock_.graces.done = ++clock_.graces.begun;
        advance();
    }
    void scan() {
        clock_.scans.done = ++clock_.scans.begun;
        advance();
    }
    // The idle time of P, and the grace period after it: P := O.
    void outlive_previous() {
        pass(kIdle + 1);
        grace();
    }
    void use_previous() { stamps_[0].previous_used = stamp_of(clock_.now_ns); }
    void use_pin() { stamps_[0].pin_used = stamp_of(clock_.now_ns); }
    // From O = P with idle pins to L = 0.
    void finish() {
        advance();
        grace();
        scan();
        grace();
    }

    std::vector<std::uint32_t> words_;
    std::vector<fl_stamp> stamps_;
    std::vector<bool> dead_{false, false, false};
    TransitionClock clock_{.now_ns = 1000 * kSecond, .graces = {}, .scans = {}};
    std::optional<SlotTransitions> planner_;
};

TEST_F(TransitionPlan, ANewOwnerKeepsThePreviousAndRestartsBothTimes) {
    EXPECT_EQ(own(kB), 1U);
    EXPECT_EQ(words_[0], moving(kB, kA, true));
    EXPECT_EQ(stamps_[0].previous_used, stamp_of(clock_.now_ns));
    EXPECT_EQ(stamps_[0].pin_used, stamp_of(clock_.now_ns));
    EXPECT_EQ(planner_->in_transition(), 1U);
    EXPECT_EQ(own(kB), 0U) << "it is so already";
}

TEST_F(TransitionPlan, AnotherOwnerInATransitionRestartsThePinsTimeAlone) {
    own(kB);
    const auto first = stamp_of(clock_.now_ns);
    grace();
    pass(20);
    own(kC);
    EXPECT_EQ(words_[0], moving(kC, kA, true));
    EXPECT_EQ(stamps_[0].previous_used, first);
    EXPECT_EQ(stamps_[0].pin_used, stamp_of(clock_.now_ns));
    grace();
    EXPECT_EQ(stamps_[0].previous_used, first);
    pass(kLearning);
    EXPECT_EQ(words_[0], moving(kC, kA));
    pass(kIdle - kLearning - 10);
    grace();
    EXPECT_EQ(words_[0], held(kC)) << "the previous owner's time began at the first change";
}

TEST_F(TransitionPlan, TheTimesCountFromTheGracePeriodAfterTheChange) {
    own(kB);
    clock_.graces.begun = 1;  // one that has begun, and whose readers began before
    pass(10 * kIdle);
    EXPECT_EQ(words_[0], moving(kB, kA, true)) << "an engine may hold the word before";
    clock_.graces.done = 1;
    begin(words_);
    pass(kIdle);
    EXPECT_EQ(planner_->phase(0), SlotPhase::kSeen);
    grace();
    EXPECT_EQ(stamps_[0].previous_used, stamp_of(clock_.now_ns));
    EXPECT_EQ(stamps_[0].pin_used, stamp_of(clock_.now_ns));
    pass(kIdle);
    EXPECT_EQ(words_[0], moving(kB, kA));
    grace();
    EXPECT_EQ(words_[0], moving(kB, kA));
    outlive_previous();
    EXPECT_EQ(words_[0], held(kB));
    grace();
    EXPECT_EQ(words_[0], moving(kB, kB)) << "pins of the owner may go now";
}

TEST_F(TransitionPlan, AGracePeriodThatHadBegunBeforeTheChangeIsNotWaitedFor) {
    clock_.graces.begun = 1;
    own(kB);
    clock_.graces.done = 1;
    advance();
    EXPECT_EQ(planner_->phase(0), SlotPhase::kSeen);
    grace();
    EXPECT_EQ(planner_->phase(0), SlotPhase::kConnections);
}

TEST_F(TransitionPlan, ThePreviousStaysAsLongAsItIsUsed) {
    own(kB);
    grace();
    for (int i = 0; i < 10; ++i) {
        pass(kIdle);
        EXPECT_EQ(words_[0], moving(kB, kA));
        use_previous();
    }
    pass(kIdle + 1);
    EXPECT_EQ(planner_->phase(0), SlotPhase::kLastConnections);
    use_previous();  // by an engine that had read the word before
    grace();
    EXPECT_EQ(planner_->phase(0), SlotPhase::kConnections);
    outlive_previous();
    EXPECT_EQ(words_[0], held(kB));
    grace();
    EXPECT_EQ(planner_->phase(0), SlotPhase::kPins);
}

TEST_F(TransitionPlan, AStampOfTheFutureIsYoung) {
    own(kB);
    grace();
    stamps_[0].previous_used = stamp_of(clock_.now_ns) + 5;
    advance();
    EXPECT_EQ(FL_SLOT_PREVIOUS(words_[0]), kA);
}

TEST_F(TransitionPlan, ThePreviousThatIsDeadIsForgottenAtOnce) {
    own(kB);
    dead_[kA] = true;
    EXPECT_EQ(own(kB), 1U);
    EXPECT_EQ(words_[0], held(kB));
    EXPECT_EQ(planner_->phase(0), SlotPhase::kSeen);
    begin({moving(kC, kA, true)});
    EXPECT_EQ(advance(), 1U);
    EXPECT_EQ(words_[0], held(kC)) << "by itself too";
}

TEST_F(TransitionPlan, ADeadOwnerIsReplacedAndNotRemembered) {
    dead_[kA] = true;
    own(kB);
    EXPECT_EQ(words_[0], held(kB)) << "pins that name it must not be believed when it comes back";
    EXPECT_EQ(stamps_[0].pin_used, stamp_of(clock_.now_ns));
}

TEST_F(TransitionPlan, WhatCameWhileThePreviousWasDeadIsThePresentOwners) {
    own(kB);
    dead_[kA] = true;
    own(kC);
    EXPECT_EQ(words_[0], moving(kC, kB, true));
    dead_[kB] = true;
    own(kA);
    EXPECT_EQ(words_[0], moving(kA, kC, true));
}

TEST_F(TransitionPlan, LearningIsForWhatWasUnpinnedAndEnds) {
    own(kB);
    grace();
    pass(kLearning);
    EXPECT_EQ(words_[0], moving(kB, kA, true));
    own(kC);
    EXPECT_EQ(words_[0], moving(kC, kA, true)) << "it goes on";
    grace();
    pass(1);
    EXPECT_EQ(words_[0], moving(kC, kA));
    own(kB);
    EXPECT_EQ(words_[0], moving(kB, kA)) << "all old flows are pinned by now";
    own(kA);
    EXPECT_EQ(words_[0], held(kA));
    own(kB);
    EXPECT_EQ(words_[0], moving(kB, kA, true)) << "in the clean-up flows were without a pin again";
}

TEST_F(TransitionPlan, BackToTheStartIsTheCleanUp) {
    own(kB);
    own(kA);
    EXPECT_EQ(words_[0], held(kA)) << "the pins of B are followed";
    own(kC);
    EXPECT_EQ(words_[0], moving(kC, kA, true));
}

class Settling : public TransitionPlan {
  protected:
    void SetUp() override {
        TransitionPlan::SetUp();
        own(kB);
        grace();
        outlive_previous();
        grace();
        ASSERT_EQ(words_[0], moving(kB, kB));
    }
    bool settled() const { return words_[0] == FL_SLOT_SETTLED(kB); }
};

TEST_F(Settling, WaitsForPinsThenAGracePeriodThenAScanThenAnother) {
    EXPECT_EQ(planner_->phase(0), SlotPhase::kPins);
    pass(kPinIdle - kIdle);
    EXPECT_EQ(planner_->phase(0), SlotPhase::kGrace);
    grace();
    EXPECT_EQ(planner_->phase(0), SlotPhase::kScan);
    scan();
    EXPECT_EQ(planner_->phase(0), SlotPhase::kLastGrace);
    EXPECT_FALSE(settled());
    grace();
    EXPECT_TRUE(settled());
    EXPECT_EQ(planner_->in_transition(), 0U);
    EXPECT_EQ(advance(), 0U);
}

TEST_F(Settling, NotBeforePinsAreExpired) {
    pass(kPinIdle - kIdle - 5);
    finish();
    EXPECT_FALSE(settled()) << "their own unit of time is not over";
}

TEST_F(Settling, NotWithoutTheGracePeriod) {
    pass(kPinIdle);
    for (int i = 0; i < 10; ++i) scan();
    EXPECT_FALSE(settled());
}

TEST_F(Settling, NotWithoutTheScan) {
    pass(kPinIdle);
    for (int i = 0; i < 10; ++i) grace();
    EXPECT_FALSE(settled());
}

TEST_F(Settling, AScanThatHadBegunIsNotComplete) {
    pass(kPinIdle);
    clock_.scans.begun = 1;
    grace();
    clock_.scans.done = 1;
    advance();
    grace();
    EXPECT_EQ(planner_->phase(0), SlotPhase::kScan);
    scan();
    grace();
    EXPECT_TRUE(settled());
}

TEST_F(Settling, APinThatIsUsedBeginsItAnew) {
    for (int step = 0; step < 4; ++step) {
        pass(kPinIdle);
        if (step > 0) grace();
        if (step > 1) scan();
        use_pin();
        if (step > 2) grace();
        advance();
        EXPECT_EQ(planner_->phase(0), SlotPhase::kPins) << step;
        EXPECT_FALSE(settled());
    }
    pass(kPinIdle);
    finish();
    EXPECT_TRUE(settled());
}

TEST_F(Settling, AnotherOwnerBeginsItAnew) {
    pass(kPinIdle);
    grace();
    own(kC);
    EXPECT_EQ(words_[0], moving(kC, kB, true));
    EXPECT_EQ(stamps_[0].previous_used, stamp_of(clock_.now_ns));
    EXPECT_EQ(planner_->phase(0), SlotPhase::kSeen);
}

TEST_F(TransitionPlan, WithoutAnOwnerOldConnectionsGoOn) {
    own(kNone);
    EXPECT_EQ(words_[0], moving(kNone, kA, true));
    grace();
    outlive_previous();
    grace();
    EXPECT_EQ(words_[0], moving(kNone, kNone));
    pass(kPinIdle);
    finish();
    EXPECT_EQ(words_[0], FL_SLOT_SETTLED(kNone));
    own(kB);
    EXPECT_EQ(words_[0], FL_SLOT_SETTLED(kB)) << "nobody's slot has nothing to keep";
    EXPECT_EQ(planner_->in_transition(), 0U);
}

TEST_F(TransitionPlan, AnOwnerAfterNoneKeepsThePinsThereAre) {
    own(kNone);
    dead_[kA] = true;
    own(kB);
    EXPECT_EQ(words_[0], held(kB));
}

TEST_F(TransitionPlan, ABackendThatIsNotThereIsDead) {
    own(kB);
    dead_.resize(kA);
    own(kB);
    EXPECT_EQ(words_[0], held(kB));
}

TEST_F(TransitionPlan, WorkIsBoundedAndGoesRound) {
    begin(std::vector<std::uint32_t>(64, FL_SLOT_SETTLED(kA)));
    EXPECT_EQ(own(kB), 64U);
    clock_.graces.done = ++clock_.graces.begun;
    std::size_t sum = 0;
    for (int call = 0; call < 4; ++call) {
        const auto changed = advance(16);
        EXPECT_EQ(changed, 16U);
        sum += changed;
    }
    EXPECT_EQ(sum, 64U);
    EXPECT_EQ(advance(16), 0U);
    EXPECT_EQ(planner_->phases()[static_cast<std::size_t>(SlotPhase::kConnections)], 64U);
}

TEST_F(TransitionPlan, AdoptsWhatIsInTransition) {
    begin({FL_SLOT_SETTLED(kA), moving(kB, kA, true), moving(kC, kC)});
    EXPECT_EQ(planner_->in_transition(), 2U);
    EXPECT_EQ(planner_->oldest_ns(), clock_.now_ns);
    grace();
    EXPECT_EQ(planner_->phase(1), SlotPhase::kConnections);
    EXPECT_EQ(planner_->phase(2), SlotPhase::kPins);
    outlive_previous();
    grace();
    pass(kPinIdle);
    finish();
    finish();
    EXPECT_EQ(words_, (std::vector<std::uint32_t>{FL_SLOT_SETTLED(kA), FL_SLOT_SETTLED(kB), FL_SLOT_SETTLED(kC)}));
    EXPECT_EQ(planner_->oldest_ns(), 0U);
}

TEST_F(TransitionPlan, StampsMayWrap) {
    clock_.now_ns = (std::uint64_t{UINT32_MAX} << FL_STAMP_SHIFT) - 10 * kSecond;
    begin({FL_SLOT_SETTLED(kA)});
    own(kB);
    grace();
    pass(kIdle);
    EXPECT_EQ(FL_SLOT_PREVIOUS(words_[0]), kA);
    pass(1);
    grace();
    EXPECT_EQ(words_[0], held(kB));
}

}  // namespace
}  // namespace fairlead::plan
