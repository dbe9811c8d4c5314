// SPDX-License-Identifier: Apache-2.0
// When each check runs next: thousands of targets, one ordered queue. Pure and deterministic: the same seed and the
// same calls give the same schedule. Not thread-safe.
//
// Every target's first run falls within the first 100 ms, so that a cold start is short; its second is drawn from the
// whole interval, so that the load spreads; later ones come after the interval less up to 10 %. Jitter only shortens:
// `interval` stays the longest time between two checks, and detection stays within interval x fall + timeout.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ctl/health/check_state.h"

namespace fairlead::health {

using TargetId = std::uint64_t;

inline constexpr std::chrono::milliseconds kFirstRunSpread{100};

class Scheduler {
  public:
    explicit Scheduler(std::uint64_t seed) : seed_(seed) {}

    // An id already known is scheduled anew.
    void add(TargetId id, Duration interval, TimePoint now);
    void remove(TargetId id);

    // The targets whose time has come, earliest first, at most `limit` of them. Each counts as started at `now` and
    // is not due again until finished(): a target's checks never overlap.
    std::vector<TargetId> take_due(TimePoint now, std::size_t limit);
    void finished(TargetId id, TimePoint now);

    // The earliest run to come; nothing when all are running or there are none.
    std::optional<TimePoint> next_due() const;
    std::size_t size() const { return entries_.size(); }

  private:
    struct Entry {
        Duration interval{};
        TimePoint due;
        TimePoint started;
        std::uint32_t runs = 0;
        bool queued = false;
    };

    // A fraction in [0, 1) that depends on seed, target and run alone.
    double draw(TargetId id, std::uint32_t run) const;
    void enqueue(TargetId id, Entry& entry, TimePoint due);

    std::uint64_t seed_;
    std::unordered_map<TargetId, Entry> entries_;
    std::set<std::pair<TimePoint, TargetId>> queue_;
};

}  // namespace fairlead::health
