// SPDX-License-Identifier: Apache-2.0
// The state machine of one health check of one address: results in, verdicts out. Pure: it does no I/O and takes
// the time as an argument. Not thread-safe; owned by one TargetSet.
//
// Cold start (DESIGN section 7): a target starts unknown and its first result counts at once. A target adopted
// with a verdict starts from that verdict and needs the full rise or fall to leave it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fairlead::health {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

enum class Verdict { kUnknown, kUp, kDown };

enum class Outcome {
    kOk,
    kFailed,        // refused, unreachable, a wrong answer
    kTimedOut,      // a failure too, kept apart because silence may mean that the host is gone
    kInconclusive,  // this node could not even try (out of descriptors, say): says nothing about the target
};

struct ProbeResult {
    Outcome outcome = Outcome::kFailed;
    std::string reason;  // a phrase for the log; empty when kOk
    Duration duration{};
};

// A change of verdict. `reason` is the last failure, or how the target came up.
struct Transition {
    Verdict from = Verdict::kUnknown;
    Verdict to = Verdict::kUnknown;
    std::string reason;
};

class CheckState {
  public:
    // rise and fall below 1 are taken as 1.
    CheckState(int rise, int fall, Verdict seed, TimePoint now);

    // Counts one result. An inconclusive one changes nothing but last_error().
    std::optional<Transition> record(const ProbeResult& result, TimePoint now);

    Verdict verdict() const { return verdict_; }
    int consecutive_ok() const { return consecutive_ok_; }
    int consecutive_failed() const { return consecutive_failed_; }
    std::uint64_t results() const { return results_; }             // conclusive ones
    std::uint64_t failures() const { return failures_; }           // of those
    const std::string& last_error() const { return last_error_; }  // stays after recovery; empty = never failed
    TimePoint last_change() const { return last_change_; }         // of the verdict; creation if it never changed
    std::optional<TimePoint> last_result() const { return last_result_; }
    Duration last_duration() const { return last_duration_; }

  private:
    std::optional<Transition> move_to(Verdict to, std::string reason, TimePoint now);
    std::optional<Transition> record_ok(TimePoint now);
    std::optional<Transition> record_failure(const ProbeResult& result, TimePoint now);

    int rise_;
    int fall_;
    Verdict verdict_;
    int consecutive_ok_ = 0;
    int consecutive_failed_ = 0;
    std::uint64_t results_ = 0;
    std::uint64_t failures_ = 0;
    std::string last_error_;
    TimePoint last_change_;
    std::optional<TimePoint> last_result_;
    Duration last_duration_{};
};

std::string_view to_string(Verdict verdict);
std::string_view to_string(Outcome outcome);

}  // namespace fairlead::health
