// SPDX-License-Identifier: Apache-2.0
// Two sessions over a network that does what networks do. A seed that fails is printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "tests/unit/ctl/sync/session_pair.h"

namespace fairlead::sync {
namespace {

constexpr std::uint64_t kSeeds = 20;

void change_something(SessionPair& pair) {
    auto& source = pair.nodes[pair.dice.below(2)].tells();
    const auto count = pair.dice.below(pair.dice.chance(0.05) ? 2000 : 5);
    for (std::uint32_t i = 0; i < count; ++i)
        source.change(pair.dice.below(static_cast<std::uint32_t>(source.values.size())),
                      static_cast<std::uint32_t>(pair.dice.bits()));
}

class SyncSimulation : public testing::TestWithParam<std::uint64_t> {};

TEST_P(SyncSimulation, LossDoublingAndReorderingConverge) {
    SessionPair pair(GetParam(), 5000);
    pair.network = {0.05, 0.02, 100us, 2ms};
    for (int step = 0; step < 500; ++step) {
        change_something(pair);
        pair.run(nanoseconds(pair.dice.below(20'000'000)));
    }
    EXPECT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 5s));
    for (std::size_t node = 0; node < 2; ++node) {
        EXPECT_EQ(pair.status(node).streams_sent, 1U) << "loss alone makes no new stream";
        EXPECT_EQ(pair.status(node).streams_received, 1U);
        EXPECT_GT(pair.status(node).resent, 0U);
        // 7 % of what arrives is lost or doubled on either way; that costs no more than some resending.
        EXPECT_LT(pair.status(node).resent, pair.status(node).sent / 4);
    }
}

// Restarts of processes, cuts of either way, streams begun for other reasons: once quiet, both have what the other tells.
TEST_P(SyncSimulation, AnythingConvergesOnceQuiet) {
    SessionPair pair(GetParam(), 3000);
    pair.network = {0.05, 0.05, 100us, 5ms};
    for (int step = 0; step < 300; ++step) {
        const auto node = pair.dice.below(2);
        change_something(pair);
        switch (pair.dice.below(25)) {
            case 0:
                pair.start(node);
                break;
            case 1:
                pair.network.cut[node] = !pair.network.cut[node];
                break;
            case 2:
                pair.nodes[node].session->restart();
                break;
            case 3:
                pair.nodes[node].session->ask_again();
                break;
            case 4:
                pair.run(nanoseconds(std::chrono::milliseconds(pair.dice.below(3000))));
                break;
            default:
                break;
        }
        pair.run(nanoseconds(pair.dice.below(40'000'000)));
    }
    pair.network.cut[0] = pair.network.cut[1] = false;
    pair.run(3s);  // a process that has just begun lacks nothing yet
    EXPECT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 10s));
    EXPECT_TRUE(pair.status(0).heard && pair.status(1).heard);
}

INSTANTIATE_TEST_SUITE_P(Seeds, SyncSimulation, testing::Range<std::uint64_t>(1, kSeeds + 1));

TEST(SyncHealing, ACutOfTenSecondsHealsByOneStream) {
    for (const int ways : {1, 2, 3}) {
        for (const bool changes : {false, true}) {
            SessionPair pair(static_cast<std::uint64_t>(ways), 5000);
            pair.network.loss = 0.02;
            ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 2s));
            pair.network.cut[0] = (ways & 1) != 0;
            pair.network.cut[1] = (ways & 2) != 0;
            for (std::uint32_t step = 0; step < 1000; ++step) {
                if (changes) pair.nodes[0].tells().change(step, step + 1);
                pair.run(10ms);
            }
            pair.network.cut[0] = pair.network.cut[1] = false;
            EXPECT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 5s)) << ways << changes;
            pair.run(5s);
            for (std::size_t node = 0; node < 2; ++node) {
                EXPECT_EQ(pair.nodes[node].tells().begun, 2U) << ways << changes;
                EXPECT_EQ(pair.nodes[node].has().begun, 2U) << ways << changes;
            }
            EXPECT_TRUE(pair.both_agree());
        }
    }
}

// The round trip becomes a hundred times longer: what is not lost is not sent again for ever.
TEST(SyncHealing, ALongerWayIsLearned) {
    SessionPair pair(1, 1000);
    ASSERT_TRUE(pair.run_until([&] { return pair.both_agree(); }, 2s));
    pair.network.delay = 40ms;
    pair.run(2s);
    const auto before = pair.status(0);
    pair.run(5s);
    EXPECT_EQ(pair.status(0).resent, before.resent);
    EXPECT_TRUE(pair.status(0).heard);
    EXPECT_EQ(pair.status(0).streams_sent, 1U);
}

// --- a million pins ---

class PinSource : public Source {
  public:
    explicit PinSource(std::uint32_t pins) : pins_(pins) {}
    void begin() override { told_ = 0; }
    std::size_t fill(std::span<std::uint8_t> room) override {
        RecordWriter writer(room);
        std::vector<Pin> some;
        for (std::uint32_t i = told_; i < std::min(pins_, told_ + 128); ++i) some.push_back({i, ~i, 1, 2, 3, 2});
        told_ += static_cast<std::uint32_t>(writer.add_pins(some));
        return writer.size();
    }
    bool has_state() const override { return true; }

  private:
    std::uint32_t pins_, told_ = 0;
};

class PinSink : public Sink {
  public:
    void begin() override { expected = 0; }
    bool apply(std::span<const std::uint8_t> records) override {
        return read_records(records, [&](const Record& record) {
            for (const auto& pin : std::get<PinsRecord>(record).pins) wrong += pin.bucket == expected++ ? 0 : 1;
        });
    }
    std::uint32_t expected = 0, wrong = 0;
};

struct Transfer {
    nanoseconds took{0};
    std::uint64_t messages = 0, bytes = 0, resent = 0;
};

Transfer transfer(std::uint32_t pins, const Network& network, std::uint64_t bytes_per_second) {
    SessionPair pair;
    for (auto& node : pair.nodes) node.options.bytes_per_second = bytes_per_second;
    pair.nodes[0].source = std::make_unique<PinSource>(pins);
    pair.nodes[1].sink = std::make_unique<PinSink>();
    pair.start(0);
    pair.start(1);
    pair.network = network;
    const auto begun = pair.now;
    const auto& sink = dynamic_cast<PinSink&>(*pair.nodes[1].sink);
    const bool whole = pair.run_until(
        [&] { return sink.expected == pins && pair.status(0).streams_sent != 0 && !pair.status(0).behind_since; }, 60s);
    EXPECT_TRUE(whole) << sink.expected;
    EXPECT_EQ(sink.wrong, 0U);
    EXPECT_EQ(pair.status(0).streams_sent, 1U);
    return {pair.now - begun, pair.status(0).sent, pair.nodes[0].bytes, pair.status(0).resent};
}

void report(const char* what, const Transfer& done) {
    std::cout << "[ MEASURED ] " << what << ": " << done.messages << " messages, " << done.bytes << " bytes, "
              << done.resent << " resent, " << std::chrono::duration<double>(done.took).count() << " s\n";
}

constexpr std::uint32_t kMillion = 1'000'000;

TEST(SyncVolume, AMillionPinsGoThroughInWhole) {
    const auto clean = transfer(kMillion, {}, 12'500'000);
    report("1,000,000 pins", clean);
    EXPECT_EQ(clean.resent, 0U);
    EXPECT_LT(clean.bytes, 13'000'000U) << "12 bytes each, and a tenth more";
    const auto lossy = transfer(kMillion, {0.05, 0.01, 100us, 1ms, {}}, 12'500'000);
    report("1,000,000 pins, 5 % lost", lossy);
    EXPECT_LT(lossy.resent, lossy.messages / 8);
    EXPECT_LT(lossy.took, 4 * clean.took);
    Network short_queue;  // as of a socket whose buffer is what the kernel gives by itself
    short_queue.queue = 90;
    const auto queued = transfer(kMillion, short_queue, 12'500'000);
    report("1,000,000 pins, 90 in the queue", queued);
    EXPECT_LT(queued.took, 4 * clean.took);
    EXPECT_LT(queued.resent, queued.messages / 8);
}

TEST(SyncVolume, TheRateIsKept) {
    constexpr std::uint64_t kRate = 1'000'000;
    for (const double loss : {0.0, 0.3}) {
        const auto done = transfer(300'000, {loss, 0, 100us, 0us, {}}, kRate);
        const auto seconds = std::chrono::duration<double>(done.took).count();
        const auto burst = 512 * kMessageBytes;
        // Acknowledgements and hellos are not held back, only counted.
        EXPECT_LE(static_cast<double>(done.bytes), 1.01 * seconds * kRate + burst + 10 * kMessageBytes);
        EXPECT_GE(static_cast<double>(done.bytes), 0.9 * seconds * kRate) << "and used";
    }
}

}  // namespace
}  // namespace fairlead::sync
