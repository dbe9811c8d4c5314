// SPDX-License-Identifier: Apache-2.0
#include "ctl/health/scheduler.h"

#include <algorithm>

namespace fairlead::health {

namespace {

constexpr double kJitter = 0.1;
// The second run must not follow the first at once: the target would be asked twice for nothing.
constexpr double kShortestSecondDelay = 0.1;

// The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

Duration scaled(Duration duration, double factor) {
    return std::chrono::duration_cast<Duration>(std::chrono::duration<double, Duration::period>(duration) * factor);
}

}  // namespace

double Scheduler::draw(TargetId id, std::uint32_t run) const {
    const std::uint64_t bits = mix(mix(seed_ ^ mix(id)) + run);
    return static_cast<double>(bits >> 11) * 0x1p-53;
}

void Scheduler::enqueue(TargetId id, Entry& entry, TimePoint due) {
    entry.due = due;
    entry.queued = true;
    queue_.emplace(due, id);
}

void Scheduler::add(TargetId id, Duration interval, TimePoint now) {
    remove(id);
    Entry& entry = entries_[id];
    entry.interval = interval;
    const Duration spread = std::min<Duration>(interval, kFirstRunSpread);
    enqueue(id, entry, now + scaled(spread, draw(id, 0)));
}

void Scheduler::remove(TargetId id) {
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    if (found->second.queued) queue_.erase({found->second.due, id});
    entries_.erase(found);
}

std::vector<TargetId> Scheduler::take_due(TimePoint now, std::size_t limit) {
    std::vector<TargetId> due;
    while (due.size() < limit && !queue_.empty() && queue_.begin()->first <= now) {
        const TargetId id = queue_.begin()->second;
        queue_.erase(queue_.begin());
        Entry& entry = entries_.at(id);
        entry.queued = false;
        entry.started = now;
        ++entry.runs;
        due.push_back(id);
    }
    return due;
}

void Scheduler::finished(TargetId id, TimePoint now) {
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second.queued) return;
    Entry& entry = found->second;
    const double fraction = draw(id, entry.runs);
    const double factor =
        entry.runs == 1 ? kShortestSecondDelay + (1 - kShortestSecondDelay) * fraction : 1 - kJitter * fraction;
    enqueue(id, entry, std::max(now, entry.started + scaled(entry.interval, factor)));
}

std::optional<TimePoint> Scheduler::next_due() const {
    if (queue_.empty()) return std::nullopt;
    return queue_.begin()->first;
}

}  // namespace fairlead::health
