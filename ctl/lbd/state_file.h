// SPDX-License-Identifier: Apache-2.0
// What an operator set at run time, kept over a restart of lbd (DESIGN section 12): drains, weights, and the tier that a
// pool with failback = false stays in. One JSON object, written whole beside the old one and renamed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/plan/eligibility.h"

namespace fairlead {

struct RunTimeState {
    plan::Overrides overrides;
    plan::Tiers tiers;
    bool operator==(const RunTimeState&) const = default;
};

// A file that is not there is an empty state; one that cannot be read as a whole is an error that says where.
Result<RunTimeState> load_state(const std::filesystem::path& file);
Result<void> save_state(const std::filesystem::path& file, const RunTimeState& state);

// Drops what the config has no place for any more, and weights whose configured value is another one now: that one wins.
// A line for each.
std::vector<std::string> drop_stale(RunTimeState& state, const config::Config& config);

}  // namespace fairlead
