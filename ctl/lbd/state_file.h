// SPDX-License-Identifier: Apache-2.0
// What an operator set at run time, kept over a restart of lbd (DESIGN section 12): drains, weights, the engine, and the tier
// that a pool with failback = false stays in. One JSON object, written whole beside the old one and renamed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/plan/eligibility.h"

namespace fairlead {

// `lbctl engine switch`: another than the configured one, which was `instead_of`.
struct SwitchedEngine {
    bool dpdk = false;
    config::Engine instead_of = config::Engine::kAuto;
    bool operator==(const SwitchedEngine&) const = default;
};

struct RunTimeState {
    plan::Overrides overrides;
    plan::Tiers tiers;
    std::optional<SwitchedEngine> engine;
    bool operator==(const RunTimeState&) const = default;
};

// A file that is not there is an empty state; one that cannot be read as a whole is an error that says where.
Result<RunTimeState> load_state(const std::filesystem::path& file);
Result<void> save_state(const std::filesystem::path& file, const RunTimeState& state);

// Drops what the config has no place for any more, and weights and an engine whose configured value is another one now: that
// one wins. `engine` is this node's. A line for each.
std::vector<std::string> drop_stale(RunTimeState& state, const config::Config& config, config::Engine engine);

}  // namespace fairlead
