// SPDX-License-Identifier: Apache-2.0
// What an active node tells and what its standby makes of it, without a network between them: two sets of tables that have
// the same pool under other ids and indexes, and the real core to steer by both.
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>
#include <vector>

#include "ctl/lbd/sync_sink.h"
#include "ctl/lbd/sync_source.h"
#include "tests/support/moving_pool.h"

namespace fairlead {
namespace {

using sync::SyncRefusal;
using test::FlowPackets;
using test::MovingPool;

constexpr std::uint16_t kBackends = 4;
constexpr std::uint16_t kFlows = 64;

class SyncStreams : public testing::Test {
  protected:
    SyncStreams() {
        for (std::uint16_t backend = 0; backend < kBackends; ++backend) view(backend).verdict = 1;
        tell();
        sink_.allow({standby_.id()});
        for (std::uint16_t flow = 0; flow < kFlows; ++flow)
            flows_.emplace_back(static_cast<std::uint16_t>(30'000 + flow), MovingPool::kPort);
    }

    static test::MovingPoolShape shape(bool reversed) { return {.backends = kBackends, .reversed = reversed}; }

    sync::ViewRecord& view(std::uint16_t backend) { return views_.at(backend); }
    ToldPool told() {
        ToldPool pool{{active_.id(), 16, FL_POOL_ALL_DOWN_RESET, {}, "web"}, {}};
        for (std::uint16_t i = 0; i < kBackends; ++i) {
            auto seen = view(i);
            seen.pool = active_.id();
            seen.index = i;
            pool.backends.push_back(
                {{active_.id(), i, FL_FORWARD_L2DSR, IpAddress::parse("203.0.113." + std::to_string(i + 1)).value(),
                  "b" + std::to_string(i)},
                 seen});
        }
        return pool;
    }
    bool tell() { return source_.set_pools({{active_.id(), told()}}); }

    void begin() {
        source_.begin();
        sink_.begin();
    }
    // All there is, message by message.
    void pass() {
        std::array<std::uint8_t, 200> room;  // small, so that everything is cut up
        source_.compare_slots();
        for (int i = 0; i < 10'000; ++i) {
            const auto size = source_.fill(room);
            if (size == 0) break;
            ASSERT_TRUE(sink_.apply({room.data(), size}));
        }
        while (sink_.step()) continue;
    }
    void pass_dirty() {
        std::vector<std::uint32_t> groups;
        tables::DirtyPins(active_.tables()).take(tables::pin_groups(active_.tables()), groups);
        source_.add_dirty(groups, 0);
        pass();
    }

    void open(std::uint16_t flow) {
        auto engine = active_.engine();
        engine.now_ns = engine.now_coarse_ns = tables::monotonic_ns();
        active_.to(engine, flows_[flow].syn);
        active_.to(engine, flows_[flow].data);
    }
    // By name.
    std::string to(MovingPool& pool, bool reversed, std::uint16_t flow) {
        auto engine = pool.engine();
        engine.now_ns = engine.now_coarse_ns = tables::monotonic_ns();
        engine.only_looks = 1;
        const auto index = pool.to(engine, flows_[flow].data);
        if (index == MovingPool::kNobody) return "nobody";
        return "b" + std::to_string(reversed ? kBackends - 1 - index : index);
    }
    void expect_alike() {
        for (std::uint16_t flow = 0; flow < kFlows; ++flow)
            EXPECT_EQ(to(standby_, true, flow), to(active_, false, flow)) << "flow " << flow;
    }
    std::uint64_t refused(SyncRefusal reason) const { return sink_.refused()[static_cast<std::size_t>(reason)]; }
    std::uint64_t pins(MovingPool& pool) {
        std::uint64_t count = 0;
        for (const auto& bucket : pool.tables().pins())
            for (const auto word : bucket.words) count += word != 0;
        return count;
    }

    MovingPool active_{shape(false)}, standby_{shape(true)};
    Transitions transitions_{standby_.writer(), tables::make_grace(standby_.tables()).value()};
    SyncSource source_{active_.tables(), active_.writer()};
    SyncSink sink_{standby_.tables(), standby_.writer(), transitions_,
                   [this](std::uint32_t pool) { EXPECT_TRUE(transitions_.set_following({pool})); }};
    std::array<sync::ViewRecord, kBackends> views_{};
    std::vector<FlowPackets> flows_;
};

TEST_F(SyncStreams, TheStandbySteersEveryConnectionAsTheActiveNodeDoes) {
    active_.set_words(FL_SLOT_WORD(1, 0, 1, 0));  // half of the flows are new, and pinned
    for (std::uint16_t flow = 0; flow < kFlows; flow += 2) open(flow);
    begin();
    pass();
    EXPECT_EQ(standby_.word(3), FL_SLOT_WORD(2, 3, 1, 0)) << "the same names under its own indexes";
    EXPECT_EQ(to(standby_, true, 0), "b1");
    EXPECT_EQ(to(standby_, true, 1), "b0");
    expect_alike();
    EXPECT_EQ(sink_.slots_applied(), 16U);
    EXPECT_EQ(sink_.pins_applied(), kFlows / 2);
    EXPECT_EQ(source_.pins_told(), kFlows / 2);
    EXPECT_TRUE(sink_.whole());
    EXPECT_EQ(sink_.followed(), std::set{standby_.id()});
}

TEST_F(SyncStreams, ThenChangesAreTold) {
    begin();
    pass();
    const auto before = source_.slots_told();
    pass();
    EXPECT_EQ(source_.slots_told(), before) << "nothing has changed";
    tables::store_word(active_.word(5), FL_SLOT_WORD(2, 1, 1, 1));
    active_.set_words(FL_SLOT_WORD(1, 0, 1, 0));
    tables::store_word(active_.word(5), FL_SLOT_WORD(2, 1, 1, 1));
    open(7);
    pass_dirty();
    EXPECT_EQ(standby_.word(5), FL_SLOT_WORD(1, 2, 1, 1));
    EXPECT_EQ(sink_.pins_applied(), 1U);
    expect_alike();
}

TEST_F(SyncStreams, WhatTheActiveNodeHasNoMoreGoes) {
    active_.set_words(FL_SLOT_WORD(1, 0, 1, 0));
    for (std::uint16_t flow = 0; flow < kFlows; ++flow) open(flow);
    begin();
    pass();
    ASSERT_EQ(pins(standby_), kFlows);
    for (auto& bucket : active_.tables().pins()) bucket = {};
    open(3);
    begin();
    pass();
    EXPECT_EQ(pins(standby_), 1U);
    EXPECT_EQ(sink_.pins_swept(), kFlows - 1U);
    EXPECT_EQ(to(standby_, true, 3), "b1");
}

TEST_F(SyncStreams, WhatItIsNotAStandbyForIsRefusedUntilItIs) {
    sink_.allow({});
    active_.set_words(FL_SLOT_SETTLED(2));
    open(1);
    const auto before = standby_.word(0);
    begin();
    pass();
    EXPECT_EQ(standby_.word(0), before);
    EXPECT_GT(refused(SyncRefusal::kRole), 0U);
    EXPECT_TRUE(sink_.followed().empty());
    EXPECT_FALSE(sink_.whole()) << "what it could not take it does not have";
    EXPECT_TRUE(sink_.allow({standby_.id()})) << "to be asked for again";
    EXPECT_FALSE(sink_.allow({standby_.id()})) << "once";
    EXPECT_FALSE(sink_.whole()) << "before it was told again";
    begin();
    pass();
    EXPECT_EQ(standby_.word(0), FL_SLOT_SETTLED(1));
    EXPECT_TRUE(sink_.whole());
}

TEST_F(SyncStreams, PinsThatComeAfterATakeoverAreTakenYet) {
    active_.set_words(FL_SLOT_WORD(1, 0, 1, 0));
    begin();
    pass();
    sink_.forget(standby_.id());
    open(3);
    active_.set_words(FL_SLOT_SETTLED(2));
    const auto before = standby_.word(0);
    pass_dirty();
    EXPECT_EQ(sink_.pins_applied(), 1U);
    EXPECT_EQ(to(standby_, true, 3), "b1");
    EXPECT_EQ(standby_.word(0), before) << "slots are its own";
    EXPECT_TRUE(sink_.followed().empty());
}

TEST_F(SyncStreams, AnotherTableOrAffinityIsRefused) {
    for (const auto change : {&sync::PoolRecord::slots, &sync::PoolRecord::flags}) {
        auto pool = told();
        pool.pool.*change *= 2;
        std::array<std::uint8_t, 500> room;
        sync::RecordWriter out(room);
        ASSERT_TRUE(out.add(pool.pool));
        const std::vector<std::uint32_t> words(4, FL_SLOT_SETTLED(2));
        ASSERT_EQ(out.add_slots(active_.id(), 0, words), 4U);
        const auto before = refused(SyncRefusal::kPool);
        ASSERT_TRUE(sink_.apply({room.data(), out.size()}));
        EXPECT_EQ(refused(SyncRefusal::kPool), before + 1);
    }
    EXPECT_EQ(sink_.slots_applied(), 0U);
}

TEST_F(SyncStreams, ABackendThatIsAnotherMachineHereIsRefused) {
    auto pool = told();
    pool.backends[2].identity.address = IpAddress::parse("203.0.113.77").value();
    source_.set_pools({{active_.id(), pool}});
    active_.set_words(FL_SLOT_SETTLED(2));
    tables::store_word(active_.word(1), FL_SLOT_SETTLED(1));
    tables::store_word(active_.word(2), FL_SLOT_WORD(1, 2, 1, 0));
    const auto before = standby_.word(0);
    begin();
    pass();
    EXPECT_EQ(standby_.word(0), before) << "nobody here is that owner";
    EXPECT_EQ(standby_.word(1), FL_SLOT_SETTLED(2));
    EXPECT_EQ(standby_.word(2), FL_SLOT_WORD(2, 2, 1, 0)) << "without the previous one";
    EXPECT_GT(refused(SyncRefusal::kBackend), 0U);
}

TEST_F(SyncStreams, TheViewIsTheActiveNodes) {
    view(1).verdict = 2;
    view(1).dead = true;
    view(2).drained = true;
    view(3).weight = 50;
    view(3).instead_of = 100;
    EXPECT_FALSE(tell()) << "no new stream for that";
    begin();
    pass();
    EXPECT_EQ(sink_.take_changed(), std::set<std::string>{"web"});
    const auto* seen = sink_.view("web");
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->health.at("b0").verdict, plan::Verdict::kUp);
    EXPECT_EQ(seen->health.at("b1").verdict, plan::Verdict::kDown);
    EXPECT_TRUE(seen->health.at("b1").dead);
    EXPECT_EQ(seen->overrides, (plan::PoolOverrides{{"b2", {true, std::nullopt, 0}}, {"b3", {false, 50U, 100}}}));
    view(2).drained = false;
    tell();
    pass();
    EXPECT_EQ(sink_.take_changed(), std::set<std::string>{"web"});
    EXPECT_FALSE(sink_.view("web")->overrides.contains("b2"));
    EXPECT_TRUE(sink_.take_changed().empty());
    sink_.forget(standby_.id());
    EXPECT_FALSE(sink_.view("web"));
    EXPECT_TRUE(sink_.followed().empty());
}

TEST_F(SyncStreams, AnotherSizeOfATableNeedsANewStream) {
    auto pool = told();
    pool.pool.slots = 32;
    EXPECT_TRUE(source_.set_pools({{active_.id(), pool}}));
    EXPECT_TRUE(source_.set_pools({}));
    EXPECT_FALSE(source_.has_state());
}

TEST_F(SyncStreams, WhatIsTooFarBehindIsToldInWhole) {
    active_.set_words(FL_SLOT_WORD(1, 0, 1, 0));
    begin();
    pass();
    open(1);
    const std::vector<std::uint32_t> groups(tables::pin_groups(active_.tables()) + 1, 0);
    source_.add_dirty(groups, tables::monotonic_ns());
    pass();
    EXPECT_EQ(sink_.pins_applied(), 1U);
}

}  // namespace
}  // namespace fairlead
