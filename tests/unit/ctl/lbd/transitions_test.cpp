// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/transitions.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace fairlead {
namespace {

constexpr std::uint32_t kSlots = 16;

// One pool of four backends whose slots are all b0's.
class TransitionsTest : public testing::Test {
  protected:
    TransitionsTest() {
        tables::DesiredPool pool{.name = "web", .flags = 0, .slots = kSlots, .idle_timeout_s = 3600, .backends = {}};
        for (int i = 0; i < 4; ++i)
            pool.backends.push_back({.name = "b" + std::to_string(i),
                                     .address = IpAddress::parse("198.51.100." + std::to_string(i + 1)).value()});
        tables::Desired desired;
        desired.pools.push_back(pool);
        EXPECT_TRUE(writer_->apply(desired));
        pool_ = writer_->find_pool("web").value();
        for (std::uint16_t i = 0; i < 4; ++i) set_state(i, FL_BACKEND_HEALTHY);
        retarget(0);
    }

    void set_state(std::uint16_t backend, fl_backend_state state) {
        EXPECT_TRUE(writer_->set_backend_state(pool_, backend, state, 1500, 0));
    }
    void retarget(std::uint16_t owner) {
        EXPECT_TRUE(transitions_->retarget(pool_, std::vector<std::uint16_t>(kSlots, owner)));
    }
    void follow() { ASSERT_TRUE(transitions_->set_following({pool_})); }
    // As the node does that is followed, into all slots.
    void put(std::uint32_t word_of_all) {
        std::vector<tables::SlotChange> changes;
        for (std::uint32_t slot = 0; slot < kSlots; ++slot) changes.push_back({slot, word_of_all});
        ASSERT_TRUE(transitions_->put_slots(pool_, changes));
    }
    std::uint32_t word(std::uint32_t slot = 0) const { return writer_->slots_of(pool_).words[slot]; }
    std::uint32_t in_transition() const { return transitions_->view(pool_).in_transition; }

    // Steps as lbd takes them, until `done`.
    template <typename Done>
    bool step_until(Done done) {
        for (const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
             std::chrono::steady_clock::now() < deadline; std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
            transitions_->step();
            if (done()) return true;
        }
        return false;
    }

    void restart() {
        transitions_ = std::make_unique<Transitions>(*writer_, tables::make_grace(tables_).value());
        transitions_->follow_tables();
    }

    tables::Tables tables_ = std::move(*tables::Tables::create_anonymous(
        tables::limits_for({.vips = 4, .services = 4, .pools = 3, .backends = 24, .slots = 64, .pins = 1024}, 1)));
    std::unique_ptr<tables::GracePeriod> grace_ = tables::make_grace(tables_).value();
    std::optional<tables::TableWriter> writer_ = std::move(*tables::TableWriter::create(tables_, *grace_));
    std::unique_ptr<Transitions> transitions_ =
        std::make_unique<Transitions>(*writer_, tables::make_grace(tables_).value());
    std::uint32_t pool_ = 0;
};

TEST_F(TransitionsTest, TheFirstOwnersAreSettledAtOnce) {
    EXPECT_EQ(word(), FL_SLOT_SETTLED(0));
    EXPECT_EQ(in_transition(), 0U);
}

TEST_F(TransitionsTest, ANewOwnerKeepsTheOldOneAsPrevious) {
    retarget(1);
    EXPECT_EQ(word(), FL_SLOT_WORD(1, 0, 1, 1));
    EXPECT_EQ(in_transition(), kSlots);
    EXPECT_NE(writer_->slots_of(pool_).stamps[0].previous_used, 0U);
    EXPECT_NE(writer_->slots_of(pool_).stamps[0].pin_used, 0U);
    retarget(0);
    EXPECT_EQ(word(), FL_SLOT_WORD(0, 0, 1, 1)) << "back to the start";
    ASSERT_TRUE(step_until([&] { return word() == FL_SLOT_WORD(0, 0, 1, 0); })) << "once every engine has seen it";
    EXPECT_EQ(in_transition(), kSlots) << "pins of 1 may be open yet";
}

TEST_F(TransitionsTest, ADeadPreviousOwnerIsForgottenAtOnce) {
    retarget(1);
    set_state(0, FL_BACKEND_DEAD);
    ASSERT_TRUE(transitions_->retarget(pool_));
    EXPECT_EQ(word(), FL_SLOT_WORD(1, 1, 1, 1));
}

TEST_F(TransitionsTest, WhileAnotherNodeHasTheConnectionsNobodyWasTheOwnerBefore) {
    retarget(1);
    ASSERT_TRUE(transitions_->set_idle({pool_}));
    EXPECT_EQ(word(), FL_SLOT_WORD(1, 1, 1, 1)) << "forgotten, and pins are followed yet";
    retarget(2);
    EXPECT_EQ(word(), FL_SLOT_WORD(2, 2, 1, 1)) << "by a change meanwhile, too";
    ASSERT_TRUE(transitions_->set_idle({}));
    EXPECT_EQ(word(), FL_SLOT_WORD(2, 2, 1, 1));
    retarget(3);
    EXPECT_EQ(FL_SLOT_PREVIOUS(word()), 2U) << "and from then on connections are this node's";
}

TEST_F(TransitionsTest, WhileAnotherNodeHasTheConnectionsThoseOfNobodysSlotGoOnUntilItHasAnOwner) {
    ASSERT_TRUE(transitions_->set_idle({pool_}));
    retarget(FL_NO_BACKEND);
    EXPECT_EQ(FL_SLOT_PREVIOUS(word()), 0U) << "all are drained: what still comes here is the last owner's";
    retarget(2);
    EXPECT_EQ(word(), FL_SLOT_WORD(2, 2, 1, 1));
}

TEST_F(TransitionsTest, ARestartedControllerGoesOnWithThem) {
    retarget(1);
    restart();
    EXPECT_EQ(in_transition(), kSlots);
    EXPECT_EQ(word(), FL_SLOT_WORD(1, 0, 1, 1));
    EXPECT_TRUE(transitions_->busy());
    set_state(0, FL_BACKEND_DEAD);
    ASSERT_TRUE(transitions_->retarget(pool_));
    EXPECT_EQ(word(), FL_SLOT_WORD(1, 1, 1, 1));
}

TEST_F(TransitionsTest, ABackendIsInUseWhileASlotNamesIt) {
    retarget(1);
    for (int i = 0; i < 100; ++i) {
        transitions_->step();
        const auto uses = transitions_->uses(pool_, 0);
        ASSERT_EQ(uses.slots, kSlots);
        ASSERT_FALSE(uses.none);
    }
}

TEST_F(TransitionsTest, ABackendIsInUseWhileAPinNamesIt) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    const auto units = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 >> FL_PIN_TIME_SHIFT;
    auto& place = tables_.pins()[3].words[2];
    place = FL_PIN_WORD(77, writer_->global_index(pool_, 2), FL_PIN_CONFIRMED, units);
    EXPECT_FALSE(transitions_->uses(pool_, 2).none) << "nobody has looked yet";
    ASSERT_TRUE(step_until([&] { return transitions_->uses(pool_, 2).pins == 1; }));
    const auto scans = transitions_->scan().done();
    ASSERT_TRUE(step_until([&] {
        EXPECT_FALSE(transitions_->uses(pool_, 2).none);
        return transitions_->scan().done() > scans + 5;
    }));
    place = 0;
    EXPECT_TRUE(step_until([&] { return transitions_->uses(pool_, 2).none; }));
}

TEST_F(TransitionsTest, WordsOfAnotherNodeAreStoredForAPoolThatFollowsAlone) {
    EXPECT_FALSE(transitions_->following(pool_));
    const auto refused = transitions_->put_slots(pool_, std::vector<tables::SlotChange>{{0, FL_SLOT_SETTLED(2)}});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EINVAL);
    EXPECT_EQ(word(), FL_SLOT_SETTLED(0));
    follow();
    EXPECT_TRUE(transitions_->following(pool_));
    put(FL_SLOT_WORD(2, 1, 1, 1));
    EXPECT_EQ(word(3), FL_SLOT_WORD(2, 1, 1, 1));
    EXPECT_FALSE(transitions_->put_slots(pool_, std::vector<tables::SlotChange>{{0, FL_SLOT_SETTLED(9)}}));
    EXPECT_FALSE(transitions_->put_slots(pool_, std::vector<tables::SlotChange>{{kSlots, FL_SLOT_SETTLED(1)}}));
}

TEST_F(TransitionsTest, TheSlotsOfAPoolThatFollowsAreTheOtherNodes) {
    retarget(1);  // half way when it begins to follow
    follow();
    const auto moving = FL_SLOT_WORD(2, 0, 1, 1);
    put(moving);
    retarget(3);
    set_state(0, FL_BACKEND_DEAD);
    ASSERT_TRUE(transitions_->retarget(pool_));
    ASSERT_TRUE(transitions_->set_idle({pool_}));
    transitions_->follow_tables();
    const auto scans = transitions_->scan().done(), turns = transitions_->draw_ticket();
    ASSERT_TRUE(
        step_until([&] { return transitions_->scan().done() > scans + 2 && transitions_->turns_done() >= turns; }));
    for (std::uint32_t slot = 0; slot < kSlots; ++slot) ASSERT_EQ(word(slot), moving);
    const auto view = transitions_->view(pool_);
    EXPECT_EQ(view.slots, kSlots);
    EXPECT_EQ(view.in_transition, kSlots);
    EXPECT_EQ(view.phases[static_cast<std::size_t>(plan::SlotPhase::kConnections)], kSlots);
    EXPECT_NE(view.oldest_ns, 0U);
}

TEST_F(TransitionsTest, WhatFollowsNoMoreGoesOnAsAfterARestart) {
    follow();
    put(FL_SLOT_WORD(2, 1, 1, 0));
    ASSERT_TRUE(transitions_->set_following({}));
    EXPECT_FALSE(transitions_->following(pool_));
    EXPECT_EQ(word(), FL_SLOT_WORD(2, 1, 1, 0)) << "its previous owner stays";
    EXPECT_EQ(in_transition(), kSlots);
    EXPECT_EQ(transitions_->view(pool_).phases[static_cast<std::size_t>(plan::SlotPhase::kSeen)], kSlots);
    const auto began = plan::stamp_of(tables::monotonic_ns());
    ASSERT_TRUE(step_until([&] { return writer_->slots_of(pool_).stamps[0].previous_used >= began; }))
        << "its times begin anew";
    retarget(3);
    EXPECT_EQ(word(), FL_SLOT_WORD(3, 1, 1, 0)) << "and owners are this node's again";
    EXPECT_FALSE(transitions_->put_slots(pool_, std::vector<tables::SlotChange>{{0, FL_SLOT_SETTLED(2)}}));
}

TEST_F(TransitionsTest, WhoDiedWhileItFollowedIsForgottenWhenItFollowsNoMore) {
    follow();
    put(FL_SLOT_WORD(2, 1, 1, 0));
    set_state(1, FL_BACKEND_DEAD);
    ASSERT_TRUE(transitions_->retarget(pool_));
    ASSERT_EQ(word(), FL_SLOT_WORD(2, 1, 1, 0));
    ASSERT_TRUE(transitions_->set_following({}));
    EXPECT_EQ(word(), FL_SLOT_WORD(2, 2, 1, 1));
}

TEST_F(TransitionsTest, APoolThatFollowsIsNotIdleAndForgetsNoPreviousOwnerAtATakeover) {
    ASSERT_TRUE(transitions_->set_idle({pool_}));
    follow();
    put(FL_SLOT_WORD(2, 1, 1, 0));
    ASSERT_TRUE(transitions_->set_idle({pool_}));
    EXPECT_EQ(word(), FL_SLOT_WORD(2, 1, 1, 0));
    ASSERT_TRUE(transitions_->set_following({}));  // whichever of the two is told first
    EXPECT_EQ(word(), FL_SLOT_WORD(2, 1, 1, 0));
    transitions_->step();
    EXPECT_EQ(FL_SLOT_PREVIOUS(word()), 1U);
    ASSERT_TRUE(transitions_->set_idle({}));
    EXPECT_EQ(FL_SLOT_PREVIOUS(word()), 1U);
    ASSERT_TRUE(transitions_->set_idle({pool_}));  // the other node is active yet, but not heard
    EXPECT_EQ(word(), FL_SLOT_WORD(2, 2, 1, 1));
}

TEST_F(TransitionsTest, PinsOfAPoolThatFollowsDoNotAge) {
    auto& place = tables_.pins()[5].words[1];
    const auto units = [] { return static_cast<std::uint32_t>(tables::monotonic_ns() >> FL_PIN_TIME_SHIFT); };
    ASSERT_TRUE(step_until([&] { return !transitions_->busy(); }));
    follow();
    EXPECT_TRUE(transitions_->busy()) << "though the last scan found none";
    place = FL_PIN_WORD(77, writer_->global_index(pool_, 2), FL_PIN_CONFIRMED, units() - 900);
    ASSERT_TRUE(step_until([&] { return transitions_->pins().used() == 1; }));
    EXPECT_LE(fl_pin_age(units(), place), 1U);
    place = FL_PIN_WORD(77, writer_->global_index(pool_, 2), FL_PIN_CONFIRMED, units() - 900);
    ASSERT_TRUE(transitions_->set_following({}));
    const auto scans = transitions_->scan().begun();
    ASSERT_TRUE(step_until([&] { return transitions_->scan().done() > scans + 1; }));
    EXPECT_LE(fl_pin_age(units(), place), 1U) << "it is young when it begins to age";
    place = FL_PIN_WORD(77, writer_->global_index(pool_, 2), FL_PIN_CONFIRMED, units() - 900);
    EXPECT_TRUE(step_until([&] { return place == 0; }));
}

TEST_F(TransitionsTest, APoolThatFollowsAndGoesIsForgotten) {
    follow();
    ASSERT_TRUE(writer_->apply({}));
    transitions_->follow_tables();
    EXPECT_FALSE(transitions_->following(pool_));
    ASSERT_TRUE(transitions_->set_following({pool_, 1000}));
    EXPECT_FALSE(transitions_->following(pool_)) << "nor is what is not there";
    EXPECT_TRUE(step_until([&] { return !transitions_->busy(); }));
}

TEST_F(TransitionsTest, NothingToDoIsSeen) {
    EXPECT_TRUE(step_until([&] { return !transitions_->busy(); })) << "after one scan, in case that pins were left";
}

TEST_F(TransitionsTest, APoolThatGoesIsForgotten) {
    retarget(1);
    ASSERT_TRUE(writer_->apply({}));
    transitions_->follow_tables();
    EXPECT_EQ(transitions_->in_transition(), 0U);
    transitions_->step();
}

}  // namespace
}  // namespace fairlead
