// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/check_state.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace fairlead::health {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{1000s};

ProbeResult ok() { return {Outcome::kOk, {}, 3ms}; }
ProbeResult failed(std::string reason = "connection refused") { return {Outcome::kFailed, std::move(reason), 1ms}; }
ProbeResult timed_out() { return {Outcome::kTimedOut, "timed out after 500 ms", 500ms}; }

TEST(CheckState, FirstResultCountsAtOnce) {
    CheckState up(3, 3, Verdict::kUnknown, kStart);
    EXPECT_EQ(up.verdict(), Verdict::kUnknown);
    const auto came_up = up.record(ok(), kStart + 1s);
    ASSERT_TRUE(came_up);
    EXPECT_EQ(came_up->from, Verdict::kUnknown);
    EXPECT_EQ(came_up->to, Verdict::kUp);
    EXPECT_EQ(came_up->reason, "first check passed");
    EXPECT_EQ(up.last_change(), kStart + 1s);

    CheckState down(3, 3, Verdict::kUnknown, kStart);
    const auto went_down = down.record(timed_out(), kStart + 2s);
    ASSERT_TRUE(went_down);
    EXPECT_EQ(went_down->to, Verdict::kDown);
    EXPECT_EQ(went_down->reason, "timed out after 500 ms (first check)");
    EXPECT_EQ(down.last_error(), "timed out after 500 ms");
    EXPECT_EQ(down.last_duration(), 500ms);
}

TEST(CheckState, FallsOnlyAfterAnUnbrokenStreak) {
    CheckState state(2, 3, Verdict::kUp, kStart);
    EXPECT_FALSE(state.record(failed(), kStart + 1s));
    EXPECT_FALSE(state.record(failed(), kStart + 2s));
    EXPECT_FALSE(state.record(ok(), kStart + 3s));  // breaks the streak
    EXPECT_FALSE(state.record(failed(), kStart + 4s));
    EXPECT_FALSE(state.record(failed(), kStart + 5s));
    EXPECT_EQ(state.consecutive_failed(), 2);
    const auto down = state.record(failed("HTTP 503, expected 200-399"), kStart + 6s);
    ASSERT_TRUE(down);
    EXPECT_EQ(down->from, Verdict::kUp);
    EXPECT_EQ(down->to, Verdict::kDown);
    EXPECT_EQ(down->reason, "HTTP 503, expected 200-399 (3 failed in a row)");
    EXPECT_FALSE(state.record(failed(), kStart + 7s));  // told once
    EXPECT_EQ(state.last_change(), kStart + 6s);
    EXPECT_EQ(state.failures(), 6U);
    EXPECT_EQ(state.results(), 7U);
}

TEST(CheckState, RisesOnlyAfterAnUnbrokenStreak) {
    CheckState state(2, 1, Verdict::kDown, kStart);
    EXPECT_FALSE(state.record(ok(), kStart + 1s));
    EXPECT_FALSE(state.record(failed(), kStart + 2s));
    EXPECT_FALSE(state.record(ok(), kStart + 3s));
    const auto up = state.record(ok(), kStart + 4s);
    ASSERT_TRUE(up);
    EXPECT_EQ(up->to, Verdict::kUp);
    EXPECT_EQ(up->reason, "2 passed in a row");
    EXPECT_EQ(state.last_error(), "connection refused");  // kept for the operator
}

TEST(CheckState, AdoptedVerdictNeedsTheFullStreak) {
    CheckState state(2, 3, Verdict::kUp, kStart);
    EXPECT_EQ(state.verdict(), Verdict::kUp);
    EXPECT_FALSE(state.record(failed(), kStart));
    EXPECT_EQ(state.verdict(), Verdict::kUp);
}

TEST(CheckState, InconclusiveResultsDoNotCount) {
    CheckState state(1, 2, Verdict::kUp, kStart);
    const ProbeResult shortage{Outcome::kInconclusive, "cannot check: Too many open files", 0ms};
    EXPECT_FALSE(state.record(failed(), kStart));
    for (int i = 0; i < 5; ++i) EXPECT_FALSE(state.record(shortage, kStart));
    EXPECT_EQ(state.consecutive_failed(), 1);
    EXPECT_EQ(state.results(), 1U);
    EXPECT_EQ(state.last_error(), "cannot check: Too many open files");
    EXPECT_TRUE(state.record(failed(), kStart));  // the second failure, with shortages between

    CheckState unknown(1, 1, Verdict::kUnknown, kStart);
    EXPECT_FALSE(unknown.record(shortage, kStart));
    EXPECT_EQ(unknown.verdict(), Verdict::kUnknown);
}

TEST(CheckState, SenselessRiseAndFallAreTakenAsOne) {
    CheckState state(0, -4, Verdict::kUp, kStart);
    EXPECT_TRUE(state.record(failed(), kStart));
    EXPECT_TRUE(state.record(ok(), kStart));
}

// The oracle says it from the history alone: the verdict is that of the last run of equal results that was long
// enough to decide, where a first result of an unknown target is always long enough.
Verdict oracle(const std::string& history, int rise, int fall, Verdict seed) {
    Verdict verdict = seed;
    for (std::size_t end = 1; end <= history.size(); ++end) {
        const char last = history[end - 1];
        std::size_t run = 0;
        while (run < end && history[end - 1 - run] == last) ++run;
        const auto needed = static_cast<std::size_t>(last == '+' ? rise : fall);
        if (verdict == Verdict::kUnknown || run >= needed) verdict = last == '+' ? Verdict::kUp : Verdict::kDown;
    }
    return verdict;
}

// Every sequence of up to ten results, for every small rise and fall and every start.
TEST(CheckState, AgreesWithTheOracleOnEverySequence) {
    for (const Verdict seed : {Verdict::kUnknown, Verdict::kUp, Verdict::kDown})
        for (int rise = 1; rise <= 4; ++rise)
            for (int fall = 1; fall <= 4; ++fall)
                for (unsigned bits = 0; bits < 1U << 10; ++bits) {
                    CheckState state(rise, fall, seed, kStart);
                    std::string history;
                    for (unsigned step = 0; step < 10; ++step) {
                        const bool pass = (bits >> step & 1U) != 0;
                        history += pass ? '+' : '-';
                        const Verdict before = state.verdict();
                        const auto transition = state.record(pass ? ok() : failed(), kStart);
                        ASSERT_EQ(state.verdict(), oracle(history, rise, fall, seed)) << history << rise << fall;
                        ASSERT_EQ(transition.has_value(), before != state.verdict()) << history;
                        if (transition) {
                            ASSERT_EQ(transition->from, before);
                            ASSERT_EQ(transition->to, state.verdict());
                        }
                    }
                }
}

}  // namespace
}  // namespace fairlead::health
