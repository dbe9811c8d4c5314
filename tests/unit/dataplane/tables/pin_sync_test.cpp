// SPDX-License-Identifier: Apache-2.0
// Pins from one balancer's table to another's; and, under ThreadSanitizer too, engines that confirm pins while it is asked
// which are new.
#include "dataplane/tables/pin_sync.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "tests/support/moving_pool.h"
#include "tests/unit/dataplane/tables/store_tracer.h"

namespace fairlead::tables {
namespace {
using fairlead::test::FlowPackets;
using fairlead::test::MovingPool;

constexpr std::uint64_t kUnit = std::uint64_t{1} << FL_PIN_TIME_SHIFT;
constexpr std::uint64_t kStart = 1000 * kUnit;
constexpr std::uint32_t kIdle = 20;
constexpr std::uint16_t kA = 0, kB = 1, kC = 2;
constexpr std::uint32_t kMoving = FL_SLOT_WORD(kB, kA, 1, 0);

std::uint32_t units(std::uint64_t now_ns) {
    return static_cast<std::uint32_t>(now_ns >> FL_PIN_TIME_SHIFT) & FL_PIN_TIME_MASK;
}

class PinSync : public testing::Test {
  protected:
    PinSync() {
        pool_.set_words(kMoving);
        engine_.now_ns = engine_.now_coarse_ns = kStart;
    }

    __u64& word(std::uint64_t place) { return word(tables_, place); }
    static __u64& word(Tables& tables, std::uint64_t place) {
        return tables.pins()[place / FL_BUCKET_WORDS].words[place % FL_BUCKET_WORDS];
    }
    std::uint64_t made(std::uint16_t backend, fl_pin_state state, std::uint32_t age = 0, std::uint32_t signature = 7) {
        return FL_PIN_WORD(signature, pool_.global_index(backend), state, units(kStart) - age);
    }
    std::vector<std::uint32_t> take(std::uint32_t budget = UINT32_MAX) {
        std::vector<std::uint32_t> groups;
        dirty_.take(budget, groups);
        return groups;
    }
    std::vector<PinSeen> to_tell(std::uint32_t group) {
        std::vector<PinSeen> pins;
        pins_to_tell(tables_, group, kStart, pins);
        return pins;
    }
    std::vector<PinSeen> all_to_tell() {
        std::vector<PinSeen> pins;
        for (std::uint32_t group = 0; group < pin_groups(tables_); ++group) pins_to_tell(tables_, group, kStart, pins);
        return pins;
    }
    std::optional<std::uint64_t> put(std::uint32_t bucket, std::uint32_t signature, std::uint16_t backend,
                                     std::uint32_t age = 0) {
        return put_pin(tables_, bucket, signature, pool_.global_index(backend), FL_PIN_CONFIRMED, age, kStart);
    }
    std::uint64_t used() {
        std::uint64_t sum = 0;
        for (const auto& bucket : tables_.pins())
            for (const auto present : bucket.words) sum += present != 0;
        return sum;
    }

    MovingPool pool_{{.pins = 4096, .idle_timeout_s = kIdle}};  // eight groups
    Tables& tables_ = pool_.tables();
    DirtyPins dirty_{tables_};
    fl_engine engine_ = pool_.engine();
};

TEST(PinGroups, ATableHasADirtyByteForEachOfThem) {
    for (const std::uint32_t pins : {8U, 64U, 512U, 1024U, 32768U, 65536U, 1U << 20}) {
        const auto tables = Tables::create_anonymous(limits_for({8, 8, 8, 8, 16, pins}, 1)).value();
        EXPECT_EQ(pin_groups(tables), std::max(1U, pins / 512)) << pins;
        EXPECT_EQ(tables.dirty().size(), std::max(1U, pins / 32768)) << pins;
    }
}

TEST_F(PinSync, WhatAnEngineConfirmsOrEndsIsDirtyOnce) {
    const FlowPackets flow(4000, MovingPool::kPort);
    pool_.to(engine_, flow.syn);
    EXPECT_TRUE(take().empty()) << "on probation: a standby is not told";
    pool_.to(engine_, flow.data);
    const auto groups = take();
    ASSERT_EQ(groups.size(), 1U);
    const auto pins = to_tell(groups[0]);
    ASSERT_EQ(pins.size(), 1U);
    EXPECT_EQ(FL_PIN_STATE(pins[0].word), static_cast<std::uint32_t>(FL_PIN_CONFIRMED));
    EXPECT_EQ(FL_PIN_BACKEND(pins[0].word), pool_.global_index(kB));
    EXPECT_EQ(pins[0].bucket / FL_DIRTY_BUCKETS, groups[0]);
    EXPECT_TRUE(take().empty());
    engine_.now_coarse_ns += kUnit;
    pool_.to(engine_, flow.data);
    EXPECT_TRUE(take().empty()) << "that it is used is not told";
    pool_.to(engine_, flow.fin);
    EXPECT_EQ(take(), groups);
    pool_.to(engine_, flow.fin);
    pool_.to(engine_, flow.data);
    EXPECT_TRUE(take().empty());
    EXPECT_EQ(FL_PIN_STATE(to_tell(groups[0])[0].word), static_cast<std::uint32_t>(FL_PIN_CLOSING));
}

TEST_F(PinSync, GroupsAreTakenGoingRound) {
    for (const std::uint32_t group : {1U, 2U, 6U}) tables_.dirty()[0].groups[group] = 1;
    EXPECT_TRUE(take(1).empty());
    EXPECT_EQ(take(1), (std::vector<std::uint32_t>{1}));
    EXPECT_EQ(take(5), (std::vector<std::uint32_t>{2, 6}));
    tables_.dirty()[0].groups[6] = 1;
    EXPECT_EQ(take(), (std::vector<std::uint32_t>{6})) << "once round, and no more";
    EXPECT_TRUE(take().empty());
}

TEST_F(PinSync, ToldIsWhatAStandbyIsToHave) {
    word(8 * 64 + 1) = made(kA, FL_PIN_CONFIRMED, 3);
    word(8 * 127 + 7) = made(kB, FL_PIN_CLOSING, 1);
    word(8 * 63) = word(8 * 128) = made(kA, FL_PIN_CONFIRMED);  // of the groups beside it
    word(8 * 65) = made(kA, FL_PIN_PROBATION);
    word(8 * 66) = made(kA, FL_PIN_CONFIRMED, fl_pin_units(kIdle) + 1);
    word(8 * 67) = made(kB, FL_PIN_CLOSING, FL_PIN_CLOSING_UNITS + 1);
    word(8 * 68) = FL_PIN_WORD(7, 0xfffff, FL_PIN_CONFIRMED, 1000);
    word(8 * 69) = made(kC, FL_PIN_CONFIRMED);
    pool_.set_state(kC, FL_BACKEND_DEAD);
    const auto pins = to_tell(1);
    ASSERT_EQ(pins.size(), 2U);
    EXPECT_EQ(pins[0].bucket, 64U);
    EXPECT_EQ(pins[0].word, made(kA, FL_PIN_CONFIRMED, 3));
    EXPECT_EQ(pins[1].bucket, 127U);
    EXPECT_EQ(pins[1].word, made(kB, FL_PIN_CLOSING, 1));
    EXPECT_TRUE(to_tell(7).empty());
    EXPECT_TRUE(to_tell(8).empty()) << "there is no such group";
}

// Half of the flows stand in their second bucket.
TEST_F(PinSync, AFlowIsFoundWhereverItsPinWasToldOf) {
    std::vector<FlowPackets> flows;
    for (std::uint16_t port = 0; port < 500; ++port) flows.emplace_back(2000 + port, MovingPool::kPort);
    for (const auto& flow : flows) {
        ASSERT_EQ(pool_.to(engine_, flow.syn), kB);
        ASSERT_EQ(pool_.to(engine_, flow.data), kB);
    }
    MovingPool standby({.pins = 4096, .idle_timeout_s = kIdle});
    standby.set_words(FL_SLOT_WORD(kC, kA, 1, 0));
    auto engine = standby.engine();
    engine.now_ns = engine.now_coarse_ns = kStart;
    ASSERT_EQ(standby.to(engine, flows[0].data), kA);
    const auto pins = all_to_tell();
    ASSERT_EQ(pins.size(), flows.size());
    for (const auto& pin : pins) {
        const auto place = put_pin(standby.tables(), pin.bucket, FL_PIN_SIGNATURE(pin.word), standby.global_index(kB),
                                   FL_PIN_STATE(pin.word), 1, kStart);
        ASSERT_TRUE(place);
        const auto put = word(standby.tables(), *place);
        EXPECT_EQ(FL_PIN_SIGNATURE(put), FL_PIN_SIGNATURE(pin.word));
        EXPECT_EQ(fl_pin_age(units(kStart), put), 1U);
    }
    for (const auto& flow : flows) ASSERT_EQ(standby.to(engine, flow.data), kB);
    EXPECT_EQ(standby.events(FL_EVENT_PIN_INSERTED), 0U) << "counters are the engines' own";
    EXPECT_TRUE(tables_.dirty()[0].groups[0] | tables_.dirty()[0].groups[7]);
    std::vector<std::uint32_t> groups;
    DirtyPins(standby.tables()).take(UINT32_MAX, groups);
    EXPECT_TRUE(groups.empty()) << "what was told is not told back";
}

TEST_F(PinSync, APinTakesThePlaceOfItsOwn) {
    const auto first = put(9, 0x1234, kA);
    ASSERT_TRUE(first);
    const auto second = put(9, 0x5678, kA);
    ASSERT_TRUE(second);
    EXPECT_NE(*first, *second);
    EXPECT_EQ(put(9, 0x1234, kB), first);
    EXPECT_EQ(FL_PIN_BACKEND(word(*first)), pool_.global_index(kB));
    // Told of from its other bucket: the same two, so the same pin.
    const auto hash = std::uint64_t{0x1234} << 32 | 9;
    const auto other = fl_pin_bucket_at(&tables_.meta(), hash, FL_BUCKET_WORDS);
    EXPECT_NE(other, 9U);
    EXPECT_EQ(put(other, 0x1234, kC), first);
    EXPECT_EQ(FL_PIN_BACKEND(word(*first)), pool_.global_index(kC));
    EXPECT_EQ(used(), 2U);
}

TEST_F(PinSync, FullBucketsGiveWayAsTheyDoForEngines) {
    const auto hash = std::uint64_t{0x1234} << 32 | 9;
    const auto fill = [&](auto word_of) {
        for (std::uint32_t place = 0; place < FL_PIN_PLACES; ++place)
            *fl_pin_at(&engine_, &tables_.meta(), hash, place) = word_of(place);
    };
    fill([&](std::uint32_t place) { return made(kA, FL_PIN_CONFIRMED, 0, 100 + place); });
    EXPECT_FALSE(put(9, 0x1234, kB));
    EXPECT_EQ(used(), FL_PIN_PLACES);
    fill([&](std::uint32_t place) {
        return made(kA, place == 11 ? FL_PIN_PROBATION : FL_PIN_CONFIRMED, FL_PIN_PROBATION_UNITS, 100 + place);
    });
    const auto place = put(9, 0x1234, kB);
    ASSERT_TRUE(place);
    EXPECT_EQ(&word(*place), fl_pin_at(&engine_, &tables_.meta(), hash, 11));
}

TEST_F(PinSync, AnAgeThatCannotBeIsTheOldest) {
    const auto place = put(9, 0x1234, kA, 60'000);
    ASSERT_TRUE(place);
    EXPECT_EQ(fl_pin_age(units(kStart), word(*place)), FL_PIN_TIME_MASK - FL_PIN_TIME_AHEAD);
}

TEST_F(PinSync, WhatIsNotMarkedIsSweptFromPoolsThatFollow) {
    PinMarks marks(tables_);
    const auto follows = [this](std::uint32_t pool) { return pool == pool_.id(); };
    word(8 * 64) = word(8 * 65) = word(8 * 128 + 7) = made(kA, FL_PIN_CONFIRMED);
    word(8 * 66) = made(kA, FL_PIN_PROBATION);
    word(8 * 67) = FL_PIN_WORD(7, 0xfffff, FL_PIN_CONFIRMED, 1000);  // nobody's: the scan's to take away
    marks.mark(8 * 65);
    EXPECT_EQ(marks.sweep(tables_, 1, 1, [](std::uint32_t) { return false; }), 0U);
    EXPECT_EQ(marks.sweep(tables_, 1, 1, follows), 2U);
    EXPECT_EQ(word(8 * 64) | word(8 * 66), 0U);
    EXPECT_NE(word(8 * 65), 0U);
    EXPECT_NE(word(8 * 67), 0U);
    EXPECT_NE(word(8 * 128 + 7), 0U) << "in a group that it was not asked about";
    EXPECT_EQ(marks.sweep(tables_, 2, 1000, follows), 1U);
    EXPECT_EQ(word(8 * 128 + 7), 0U);
    marks.clear();
    EXPECT_EQ(marks.sweep(tables_, 0, pin_groups(tables_), follows), 1U);
    EXPECT_EQ(word(8 * 65), 0U);
    EXPECT_EQ(marks.sweep(tables_, 1000, 1, follows), 0U);
}

// --- Engines at once. ---

constexpr int kEngines = 3;
constexpr std::uint16_t kFlowsOfEach = 4000;

// Takes and reads for as long as engines run, and once more.
class Teller {
  public:
    explicit Teller(Tables& tables) : tables_(tables), dirty_(tables) {}
    void tell() {
        groups_.clear();
        pins_.clear();
        dirty_.take(UINT32_MAX, groups_);
        for (const auto group : groups_) pins_to_tell(tables_, group, kStart, pins_);
        for (const auto& pin : pins_) told_.emplace(pin.bucket, pin.word);
        rounds_ += !groups_.empty();
    }
    // Every pin that there is, as it is.
    void expect_all_told(std::uint64_t pins) const {
        std::uint64_t expected = 0, missed = 0;
        for (std::uint32_t bucket = 0; bucket < tables_.pins().size(); ++bucket)
            for (const std::uint64_t word : tables_.pins()[bucket].words) {
                if (!word) continue;
                ++expected;
                missed += !told_.contains({bucket, word});
            }
        EXPECT_EQ(expected, pins);
        EXPECT_EQ(missed, 0U);
    }
    std::uint64_t rounds() const { return rounds_; }

  private:
    Tables& tables_;
    DirtyPins dirty_;
    std::vector<std::uint32_t> groups_;
    std::vector<PinSeen> pins_;
    std::set<std::pair<std::uint32_t, std::uint64_t>> told_;
    std::uint64_t rounds_ = 0;
};

TEST(PinSyncStress, NoPinThatAnEngineConfirmsOrEndsIsMissed) {
    MovingPool pool({.pins = 32768, .idle_timeout_s = kIdle});
    pool.set_words(kMoving);
    std::atomic<int> running = kEngines;
    std::vector<std::thread> threads;
    for (int number = 0; number < kEngines; ++number)
        threads.emplace_back([&, number] {
            auto engine = pool.engine(static_cast<std::uint32_t>(number));
            engine.now_ns = engine.now_coarse_ns = kStart;
            for (std::uint16_t i = 0; i < kFlowsOfEach; ++i) {
                const FlowPackets flow(static_cast<std::uint16_t>(1000 + number * kFlowsOfEach + i), MovingPool::kPort);
                pool.to(engine, flow.syn);
                pool.to(engine, flow.data);
                if (i % 2) pool.to(engine, flow.fin);
            }
            --running;
        });
    Teller teller(pool.tables());
    while (running > 0) teller.tell();
    for (auto& thread : threads) thread.join();
    teller.tell();
    teller.expect_all_told(kEngines * kFlowsOfEach);
    EXPECT_GT(teller.rounds(), 10U) << "it was asked while engines ran";
}

#ifdef FAIRLEAD_STORE_TRACER
// Whoever asks just after any store of an engine's, and once more in the end, has missed nothing.
TEST(PinSyncEveryStore, NoPinIsMissedWhereverAnEngineStands) {
    MovingPool pool({.pins = 32768, .idle_timeout_s = kIdle});
    pool.set_words(kMoving);
    auto engine = pool.engine();
    engine.now_ns = engine.now_coarse_ns = kStart;
    Teller teller(pool.tables());
    for (std::uint16_t port = 1000; port < 1020; ++port) {
        const FlowPackets flow(port, MovingPool::kPort);
        pool.to(engine, flow.syn);
        for (const auto* frame : {&flow.data, &flow.fin}) {
            test::StoreTracer* tracing = nullptr;
            test::StoreTracer tracer(pool.tables(), [&] { tracing->lift([&] { teller.tell(); }); });
            tracing = &tracer;
            pool.to(engine, *frame);
            EXPECT_GE(tracer.stores(), 2) << "the word and the byte";
        }
    }
    teller.tell();
    teller.expect_all_told(20);
}
#endif

}  // namespace
}  // namespace fairlead::tables
