// SPDX-License-Identifier: Apache-2.0
// All checks of this node: which there are, when each is due, what each says. Pure: HealthMonitor gives it the time
// and runs the probes that it asks for. Not thread-safe.
//
// A target is {address, check}: two pools with the same check of the same address share one (DESIGN section 7).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/health/check_state.h"
#include "ctl/health/scheduler.h"
#include "dataplane/tables/address.h"

namespace fairlead::health {

struct TargetKey {
    IpAddress address;
    config::Check check;

    std::string to_string() const;  // "http 192.0.2.11:9869/path"
    auto operator<=>(const TargetKey&) const = default;
};

struct TargetSpec {
    TargetKey key;
    Verdict seed = Verdict::kUnknown;  // a verdict adopted from pinned tables; ignored for a target already known
};

// One probe to run now.
struct Launch {
    TargetId id = 0;
    TargetKey key;
};

class TargetSet {
  public:
    explicit TargetSet(std::uint64_t jitter_seed) : scheduler_(jitter_seed) {}

    // Replaces the set. Known targets keep state and schedule, duplicates collapse (a seed of up or down wins over
    // unknown). Returns the ids that are gone: their probes are to be cancelled.
    std::vector<TargetId> set_targets(const std::vector<TargetSpec>& specs, TimePoint now);

    std::vector<Launch> take_due(TimePoint now, std::size_t limit);
    std::optional<TimePoint> next_due() const { return scheduler_.next_due(); }

    // The end of a launched probe. Results for an id that is gone are ignored.
    std::optional<Transition> record(TargetId id, const ProbeResult& result, TimePoint now);

    const TargetKey* key(TargetId id) const;
    const CheckState* state(const TargetKey& key) const;
    Verdict verdict(const TargetKey& key) const;  // unknown for a target that is not in the set
    bool all_reported() const { return unreported_ == 0; }
    std::size_t unreported() const { return unreported_; }
    std::size_t size() const { return ids_.size(); }
    void for_each(const std::function<void(const TargetKey&, const CheckState&)>& visit) const;

  private:
    struct Target {
        TargetKey key;
        CheckState state;
    };

    void add(const TargetSpec& spec, TimePoint now);
    void remove(TargetId id);

    Scheduler scheduler_;
    std::map<TargetKey, TargetId> ids_;
    std::unordered_map<TargetId, Target> targets_;
    TargetId last_id_ = 0;        // never reused, so that a late result cannot meet another target
    std::size_t unreported_ = 0;  // targets whose verdict is unknown
};

}  // namespace fairlead::health
