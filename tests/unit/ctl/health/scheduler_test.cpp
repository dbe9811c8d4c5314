// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace fairlead::health {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{5000s};
constexpr std::size_t kAll = 1U << 20;

// Runs the schedule for a while with checks that take `duration`, and returns each target's starts.
std::map<TargetId, std::vector<TimePoint>> simulate(Scheduler& scheduler, TimePoint until, Duration duration) {
    std::map<TargetId, std::vector<TimePoint>> starts;
    std::multimap<TimePoint, TargetId> running;
    while (true) {
        const auto due = scheduler.next_due();
        if (!running.empty() && (!due || running.begin()->first <= *due)) {
            scheduler.finished(running.begin()->second, running.begin()->first);
            running.erase(running.begin());
            continue;
        }
        if (!due || *due > until) return starts;
        for (const TargetId id : scheduler.take_due(*due, kAll)) {
            starts[id].push_back(*due);
            running.emplace(*due + duration, id);
        }
    }
}

TEST(Scheduler, FirstRunsFallWithinAHundredMilliseconds) {
    Scheduler scheduler(7);
    for (TargetId id = 1; id <= 5000; ++id) scheduler.add(id, 2s, kStart);
    EXPECT_EQ(scheduler.take_due(kStart + 100ms, kAll).size(), 5000U);
    EXPECT_FALSE(scheduler.next_due());  // all are running
}

TEST(Scheduler, FirstRunsAreSpread) {
    Scheduler scheduler(7);
    for (TargetId id = 1; id <= 1000; ++id) scheduler.add(id, 2s, kStart);
    for (int tenth = 1; tenth <= 10; ++tenth) {
        const auto due = scheduler.take_due(kStart + tenth * 10ms, kAll);
        EXPECT_GT(due.size(), 50U) << tenth;
        EXPECT_LT(due.size(), 150U) << tenth;
    }
}

TEST(Scheduler, ShortIntervalSpreadsOverTheInterval) {
    Scheduler scheduler(7);
    for (TargetId id = 1; id <= 100; ++id) scheduler.add(id, 20ms, kStart);
    EXPECT_EQ(scheduler.take_due(kStart + 20ms, kAll).size(), 100U);
}

TEST(Scheduler, LaterRunsNeverExceedTheIntervalNorCrowdIt) {
    Scheduler scheduler(42);
    for (TargetId id = 1; id <= 200; ++id) scheduler.add(id, 1s, kStart);
    const auto starts = simulate(scheduler, kStart + 60s, 5ms);
    ASSERT_EQ(starts.size(), 200U);
    for (const auto& [id, times] : starts) {
        ASSERT_GE(times.size(), 59U);
        EXPECT_GE(times[1] - times[0], 100ms);
        EXPECT_LE(times[1] - times[0], 1s);
        for (std::size_t i = 2; i < times.size(); ++i) {
            EXPECT_GE(times[i] - times[i - 1], 900ms);
            EXPECT_LE(times[i] - times[i - 1], 1s);
        }
    }
}

TEST(Scheduler, SecondRunsSpreadTheLoadOverTheInterval) {
    Scheduler scheduler(3);
    for (TargetId id = 1; id <= 1000; ++id) scheduler.add(id, 1s, kStart);
    const auto starts = simulate(scheduler, kStart + 10s, 1ms);
    std::map<long, int> per_tenth;  // in the tenth second, long after the burst of first runs
    for (const auto& [id, times] : starts)
        for (const TimePoint time : times)
            if (time >= kStart + 8s && time < kStart + 9s) ++per_tenth[(time - kStart - 8s) / 100ms];
    ASSERT_EQ(per_tenth.size(), 10U);
    for (const auto& [tenth, count] : per_tenth) EXPECT_LT(count, 250) << tenth;
}

TEST(Scheduler, ChecksOfATargetNeverOverlap) {
    Scheduler scheduler(1);
    scheduler.add(1, 100ms, kStart);
    const TimePoint first = *scheduler.next_due();
    ASSERT_EQ(scheduler.take_due(first, kAll).size(), 1U);
    EXPECT_TRUE(scheduler.take_due(first + 10s, kAll).empty());
    scheduler.finished(1, first + 10s);  // took far longer than the interval
    EXPECT_EQ(scheduler.next_due(), first + 10s);
}

TEST(Scheduler, TakesTheEarliestFirstUpToTheLimit) {
    Scheduler scheduler(9);
    for (TargetId id = 1; id <= 50; ++id) scheduler.add(id, 1s, kStart);
    const TimePoint earliest = *scheduler.next_due();
    const auto some = scheduler.take_due(kStart + 1s, 20);
    EXPECT_EQ(some.size(), 20U);
    EXPECT_GE(*scheduler.next_due(), earliest);
    EXPECT_EQ(scheduler.take_due(kStart + 1s, kAll).size(), 30U);
}

TEST(Scheduler, SameSeedSameScheduleOtherSeedAnother) {
    const auto run = [](std::uint64_t seed) {
        Scheduler scheduler(seed);
        for (TargetId id = 1; id <= 20; ++id) scheduler.add(id, 1s, kStart);
        return simulate(scheduler, kStart + 5s, 2ms);
    };
    EXPECT_EQ(run(11), run(11));
    EXPECT_NE(run(11), run(12));
}

TEST(Scheduler, RemovedTargetsDoNotComeBack) {
    Scheduler scheduler(1);
    scheduler.add(1, 1s, kStart);
    scheduler.add(2, 1s, kStart);
    scheduler.remove(1);
    EXPECT_EQ(scheduler.take_due(kStart + 1s, kAll), std::vector<TargetId>{2});
    scheduler.remove(2);  // while running
    scheduler.finished(2, kStart + 2s);
    EXPECT_FALSE(scheduler.next_due());
    EXPECT_EQ(scheduler.size(), 0U);
    scheduler.remove(3);
}

}  // namespace
}  // namespace fairlead::health
