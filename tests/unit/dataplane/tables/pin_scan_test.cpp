// SPDX-License-Identifier: Apache-2.0
// The controller's way round the pins; and, under ThreadSanitizer too, engines that insert, touch and evict through the
// core while it expires and owners change.
#include "dataplane/tables/pin_scan.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/support/moving_pool.h"

namespace fairlead::tables {
namespace {
using test::FlowPackets;
using test::MovingPool;

constexpr std::uint64_t kUnit = std::uint64_t{1} << FL_PIN_TIME_SHIFT;
constexpr std::uint32_t kIdle = 20;
constexpr std::uint64_t kStart = 1000 * kUnit;
constexpr std::uint16_t kA = 0, kB = 1, kC = 2;

std::uint32_t moving(std::uint16_t owner, std::uint16_t previous) { return FL_SLOT_WORD(owner, previous, 1, 0); }

class PinScanTest : public testing::Test {
  protected:
    void put(std::uint32_t place, std::uint16_t backend, fl_pin_state state, std::uint32_t age = 0) {
        const auto time = static_cast<std::uint32_t>((now_ >> FL_PIN_TIME_SHIFT) - age);
        word(place) = FL_PIN_WORD(0xabcd0000 + place, pool_.global_index(backend), state, time);
    }
    __u64& word(std::uint32_t place) {
        return pool_.tables().pins()[place / FL_BUCKET_WORDS].words[place % FL_BUCKET_WORDS];
    }
    void scan() { scan_.run(scan_.buckets(), now_); }

    MovingPool pool_{{.pins = 256, .idle_timeout_s = kIdle}};
    PinScan scan_{pool_.tables()};
    std::uint64_t now_ = kStart;
};

TEST_F(PinScanTest, CountsByStateAndBackend) {
    put(0, kA, FL_PIN_PROBATION);
    put(9, kB, FL_PIN_CONFIRMED);
    put(77, kB, FL_PIN_CLOSING);
    put(255, kB, FL_PIN_CONFIRMED);
    scan();
    const auto& counts = scan_.counts();
    EXPECT_EQ(counts.by_state, (std::array<std::uint64_t, 4>{252, 1, 2, 1}));
    EXPECT_EQ(counts.used(), 4U);
    EXPECT_EQ(counts.expired, 0U);
    EXPECT_EQ(counts.by_backend[pool_.global_index(kA)], 1U);
    EXPECT_EQ(counts.by_backend[pool_.global_index(kB)], 3U);
    EXPECT_EQ(counts.by_backend[pool_.global_index(kC)], 0U);
}

TEST_F(PinScanTest, TakesWhatIsExpiredAndNoMore) {
    const auto units = fl_pin_units(kIdle);
    put(0, kA, FL_PIN_CONFIRMED, units);
    put(1, kA, FL_PIN_CONFIRMED, units + 1);
    put(2, kA, FL_PIN_PROBATION, units + 1);
    put(3, kA, FL_PIN_CLOSING, units + 1);
    scan();
    EXPECT_EQ(scan_.counts().expired, 3U);
    EXPECT_EQ(scan_.counts().used(), 1U);
    EXPECT_NE(word(0), 0U);
    EXPECT_EQ(word(1) | word(2) | word(3), 0U);
}

TEST_F(PinScanTest, TakesWhatIsVoid) {
    put(0, kA, FL_PIN_CONFIRMED);
    put(1, kB, FL_PIN_CONFIRMED);
    word(2) = FL_PIN_WORD(7, pool_.global_index(kC) + 1, FL_PIN_CONFIRMED, 1000);  // there is no such backend
    word(3) = FL_PIN_WORD(7, 0xfffff, FL_PIN_CONFIRMED, 1000);
    pool_.set_state(kB, FL_BACKEND_DEAD);
    pool_.set_state(kA, FL_BACKEND_UNHEALTHY);
    put(4, 3, FL_PIN_CONFIRMED);
    scan();
    EXPECT_NE(word(0), 0U) << "it has its time of grace";
    EXPECT_EQ(word(1), 0U);
    EXPECT_EQ(word(3), 0U);
    EXPECT_NE(word(4), 0U);
}

TEST_F(PinScanTest, APinOfALaterClockStays) {
    put(0, kA, FL_PIN_CONFIRMED);
    now_ -= kUnit;  // the engine's clock went on while the scan was on its way
    scan();
    EXPECT_NE(word(0), 0U);
}

TEST_F(PinScanTest, WorkIsBoundedAndTurnsAreCounted) {
    EXPECT_EQ(scan_.begun(), 0U);
    for (std::uint32_t bucket = 0; bucket < scan_.buckets(); ++bucket) put(bucket * 8, kA, FL_PIN_CONFIRMED, 900);
    for (std::uint32_t call = 0; call < scan_.buckets() / 8; ++call) {
        EXPECT_EQ(scan_.done(), 0U);
        EXPECT_NE(word(call * 64), 0U);
        scan_.run(8, now_);
        EXPECT_EQ(word(call * 64 + 56), 0U);
        EXPECT_EQ(scan_.begun(), 1U);
    }
    EXPECT_EQ(scan_.done(), 1U);
    EXPECT_EQ(scan_.counts().expired, scan_.buckets());
    scan_.run(0, now_);
    EXPECT_EQ(scan_.begun(), 1U) << "no work, no scan";
    scan_.run(1, now_);
    EXPECT_EQ(scan_.begun(), 2U);
    EXPECT_EQ(scan_.done(), 1U);
    EXPECT_EQ(scan_.counts().expired, scan_.buckets()) << "of the last that is complete";
    scan_.run(1'000'000, now_);
    EXPECT_EQ(scan_.done(), 2U) << "one at a time";
    EXPECT_EQ(scan_.counts().expired, 0U);
}

TEST_F(PinScanTest, PinsOfAHeldPoolAreYoungInsteadOfGone) {
    scan_.hold({pool_.id()});
    EXPECT_TRUE(scan_.holds());
    put(0, kA, FL_PIN_CONFIRMED, 900);
    put(1, kB, FL_PIN_CLOSING, 900);
    put(2, kB, FL_PIN_CONFIRMED, 0);
    scan();
    EXPECT_EQ(scan_.counts().by_state, (std::array<std::uint64_t, 4>{253, 0, 2, 1}));
    EXPECT_EQ(scan_.counts().expired, 0U);
    EXPECT_EQ(scan_.counts().by_backend[pool_.global_index(kB)], 2U);
    for (const std::uint32_t place : {0U, 1U, 2U}) EXPECT_EQ(FL_PIN_TIME(word(place)), now_ >> FL_PIN_TIME_SHIFT);
    EXPECT_EQ(FL_PIN_STATE(word(1)), static_cast<std::uint32_t>(FL_PIN_CLOSING));
    EXPECT_EQ(FL_PIN_SIGNATURE(word(1)), 0xabcd0001U);
}

TEST_F(PinScanTest, WhatIsVoidOrOnProbationIsNotHeld) {
    scan_.hold({pool_.id()});
    put(0, kA, FL_PIN_CONFIRMED);
    pool_.set_state(kA, FL_BACKEND_DEAD);
    put(1, kB, FL_PIN_PROBATION, fl_pin_units(kIdle) + 1);
    put(2, kB, FL_PIN_PROBATION, 3);
    const auto handshake = word(2);
    word(3) = FL_PIN_WORD(7, 0xfffff, FL_PIN_CONFIRMED, 1000);
    scan();
    EXPECT_EQ(word(0) | word(1) | word(3), 0U);
    EXPECT_EQ(word(2), handshake);
    EXPECT_EQ(scan_.counts().expired, 3U);
}

TEST_F(PinScanTest, OtherPoolsThanTheHeldOneAge) {
    scan_.hold({pool_.id() + 1});
    put(0, kA, FL_PIN_CONFIRMED, 900);
    scan();
    EXPECT_EQ(word(0), 0U);
}

// Half the table has been looked at when it is held no more; by the end of that scan much time has passed for the rest.
TEST_F(PinScanTest, WhatIsHeldNoMoreIsFoundYoungOnceMore) {
    scan_.hold({pool_.id()});
    put(0, kA, FL_PIN_CONFIRMED);
    put(255, kA, FL_PIN_CONFIRMED);
    scan_.run(scan_.buckets() / 2, now_);
    scan_.hold({});
    EXPECT_TRUE(scan_.holds());
    now_ += 500 * kUnit;
    scan();
    EXPECT_EQ(scan_.done(), 1U);
    scan();
    EXPECT_EQ(scan_.counts().used(), 2U);
    EXPECT_EQ(FL_PIN_TIME(word(0)), now_ >> FL_PIN_TIME_SHIFT & FL_PIN_TIME_MASK);
    EXPECT_EQ(FL_PIN_TIME(word(255)), now_ >> FL_PIN_TIME_SHIFT & FL_PIN_TIME_MASK);
    EXPECT_FALSE(scan_.holds());
    now_ += fl_pin_units(kIdle) * kUnit;
    scan();
    EXPECT_EQ(scan_.counts().used(), 2U);
    now_ += kUnit;
    scan();
    EXPECT_EQ(scan_.counts().used(), 0U) << "they age again";
}

// --- Several engines and the expiry at once. ---

constexpr int kEngines = 3;
constexpr std::uint16_t kFlows = 120, kSleepers = 30;
constexpr std::uint16_t kFloodPorts = 2000;
constexpr std::uint32_t kPacketsPerUnit = 6000;
constexpr std::uint64_t kUnits = 96, kUnitsOfAFlood = 12;  // then as long a rest, in which its pins expire

// A clock that nobody's own is ever far behind of, however long his thread was stopped: it goes on when all have seen it.
class SharedClock {
  public:
    std::uint64_t see(std::size_t who) {
        const auto now = units_.load();
        seen_[who] = now;
        return now << FL_PIN_TIME_SHIFT;
    }
    void leave(std::size_t who) { seen_[who] = UINT64_MAX; }
    void count_packet() {
        if (++packets_ % kPacketsPerUnit == 0) ++due_;
        auto now = units_.load();
        if (due_ <= now - kStart / kUnit) return;
        for (const auto& seen : seen_)
            if (seen.load() < now) return;
        units_.compare_exchange_strong(now, now + 1);
    }
    std::uint64_t passed() const { return units_ - kStart / kUnit; }

  private:
    std::atomic<std::uint64_t> units_ = kStart / kUnit, packets_ = 0, due_ = 0;
    std::array<std::atomic<std::uint64_t>, kEngines + 1> seen_{};
};

// `life` is odd while the connection is established, with its backend in `backend`: a result counts if it was the same
// life before and after.
struct Flow {
    explicit Flow(std::uint16_t port) : packets(port, MovingPool::kPort) {}
    FlowPackets packets;
    std::atomic<std::uint32_t> life = 0;
    std::atomic<bool> busy = false;
    std::atomic<int> backend = MovingPool::kNobody;
};

class PinStress : public testing::Test {
  protected:
    void SetUp() override {
        for (std::uint16_t i = 0; i < kFlows + kSleepers; ++i) flows_.push_back(std::make_unique<Flow>(1000 + i));
        for (std::uint16_t i = 0; i < kFloodPorts; ++i) flood_.emplace_back(20000 + i, MovingPool::kPort);
        pool_.set_words(moving(kB, kA));
    }

    void check(bool holds, const char* what) {
        if (!holds && !failed_.exchange(true)) fault_ = what;
    }

    // One at a time ends a connection and begins the next on the same tuple.
    void renew(fl_engine& engine, Flow& flow) {
        if (flow.busy.exchange(true)) return;
        if (flow.life & 1) {
            ++flow.life;
            pool_.to(engine, flow.packets.fin);
        }
        const int first = pool_.to(engine, flow.packets.syn);
        if (first != MovingPool::kNobody && pool_.to(engine, flow.packets.data) == first &&
            pool_.to(engine, flow.packets.data) == first) {
            flow.backend = first;
            ++flow.life;
            ++established_;
            pinned_ += first != kA;
        }
        flow.busy = false;
    }

    void use(fl_engine& engine, Flow& flow) {
        const auto life = flow.life.load();
        const int expected = life & 1 ? flow.backend.load() : MovingPool::kNobody;
        const int result = pool_.to(engine, flow.packets.data);
        if (life & 1 && flow.life.load() == life) check(result == expected, "an established connection moved");
    }

    void run_engine(int number) {
        std::mt19937 random(static_cast<unsigned>(number) + 1);
        auto engine = pool_.engine(static_cast<std::uint32_t>(number));
        while (clock_.passed() < kUnits && !failed_) {
            engine.now_ns = engine.now_coarse_ns = clock_.see(static_cast<std::size_t>(number));
            clock_.count_packet();
            const auto dice = random() % 1000;
            if (dice < 100 && clock_.passed() / kUnitsOfAFlood % 2 == 0) {
                pool_.to(engine, flood_[random() % kFloodPorts].syn);
            } else if (dice < 103) {  // who sleeps for so long may be forgotten, but may not upset anybody
                const auto& sleeper = flows_[kFlows + random() % kSleepers]->packets;
                pool_.to(engine, random() % 4 ? sleeper.data : sleeper.syn);
            } else if (dice < 120) {
                renew(engine, *flows_[random() % kFlows]);
            } else {
                use(engine, *flows_[random() % kFlows]);
            }
        }
        clock_.leave(static_cast<std::size_t>(number));
    }

    // Owners change, between B and C; A, the previous one, stays.
    void run_controller() {
        PinScan scan(pool_.tables());
        std::mt19937 random(99);
        while (clock_.passed() < kUnits && !failed_) {
            scan.run(1 + random() % 8, clock_.see(kEngines));
            expired_ += scan.begun() == scan.done() ? scan.counts().expired : 0;
            if (random() % 16 == 0) pool_.set_words(moving(random() % 2 ? kB : kC, kA));
            std::this_thread::yield();
        }
        clock_.leave(kEngines);
    }

    MovingPool pool_{{.pins = 256, .idle_timeout_s = kIdle}};
    SharedClock clock_;
    std::vector<std::unique_ptr<Flow>> flows_;
    std::vector<FlowPackets> flood_;
    std::atomic<bool> failed_ = false;
    std::string fault_;
    std::atomic<std::uint64_t> established_ = 0, pinned_ = 0, expired_ = 0;
};

TEST_F(PinStress, EnginesAndExpiryAtOnceMoveNobody) {
    std::vector<std::thread> threads;
    for (int number = 0; number < kEngines; ++number) threads.emplace_back([this, number] { run_engine(number); });
    threads.emplace_back([this] { run_controller(); });
    for (auto& thread : threads) thread.join();
    EXPECT_FALSE(failed_) << fault_;
    EXPECT_GT(established_, 500U);
    EXPECT_GT(pinned_, 250U);
    EXPECT_GT(expired_, 0U);
    EXPECT_GT(pool_.events(FL_EVENT_PIN_EVICTED), 0U);
    EXPECT_GT(pool_.events(FL_EVENT_PIN_FULL), 0U);

    PinScan scan(pool_.tables());
    scan.run(scan.buckets(), kStart + (kUnits + 2 + 2 * fl_pin_units(kIdle)) * kUnit);
    EXPECT_EQ(scan.counts().used(), 0U) << "pins in use return to zero";
    EXPECT_EQ(scan.counts().by_state[FL_PIN_FREE], 256U);
}

}  // namespace
}  // namespace fairlead::tables
