// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/check_state.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace fairlead::health {

namespace {

// Streaks are only compared with rise and fall, and a target may stay up for years.
void count_up(int& streak) {
    if (streak < std::numeric_limits<int>::max()) ++streak;
}

std::string streak_text(int count, std::string_view what) {
    return std::to_string(count) + " " + std::string(what) + " in a row";
}

}  // namespace

CheckState::CheckState(int rise, int fall, Verdict seed, TimePoint now)
    : rise_(std::max(rise, 1)), fall_(std::max(fall, 1)), verdict_(seed), last_change_(now) {}

std::optional<Transition> CheckState::record(const ProbeResult& result, TimePoint now) {
    if (result.outcome == Outcome::kInconclusive) {
        last_error_ = result.reason;
        return std::nullopt;
    }
    ++results_;
    last_result_ = now;
    last_duration_ = result.duration;
    return result.outcome == Outcome::kOk ? record_ok(now) : record_failure(result, now);
}

std::optional<Transition> CheckState::record_ok(TimePoint now) {
    count_up(consecutive_ok_);
    consecutive_failed_ = 0;
    if (verdict_ == Verdict::kUnknown) return move_to(Verdict::kUp, "first check passed", now);
    if (verdict_ == Verdict::kDown && consecutive_ok_ >= rise_)
        return move_to(Verdict::kUp, streak_text(consecutive_ok_, "passed"), now);
    return std::nullopt;
}

std::optional<Transition> CheckState::record_failure(const ProbeResult& result, TimePoint now) {
    count_up(consecutive_failed_);
    consecutive_ok_ = 0;
    ++failures_;
    last_error_ = result.reason;
    if (verdict_ == Verdict::kUnknown) return move_to(Verdict::kDown, result.reason + " (first check)", now);
    if (verdict_ == Verdict::kUp && consecutive_failed_ >= fall_)
        return move_to(Verdict::kDown, result.reason + " (" + streak_text(consecutive_failed_, "failed") + ")", now);
    return std::nullopt;
}

std::optional<Transition> CheckState::move_to(Verdict to, std::string reason, TimePoint now) {
    const Transition transition{verdict_, to, std::move(reason)};
    verdict_ = to;
    last_change_ = now;
    return transition;
}

std::string_view to_string(Verdict verdict) {
    switch (verdict) {
        case Verdict::kUnknown:
            return "unknown";
        case Verdict::kUp:
            return "up";
        case Verdict::kDown:
            return "down";
    }
    return "?";
}

std::string_view to_string(Outcome outcome) {
    switch (outcome) {
        case Outcome::kOk:
            return "ok";
        case Outcome::kFailed:
            return "failed";
        case Outcome::kTimedOut:
            return "timed out";
        case Outcome::kInconclusive:
            return "inconclusive";
    }
    return "?";
}

}  // namespace fairlead::health
