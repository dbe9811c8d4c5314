// SPDX-License-Identifier: Apache-2.0
// One number for what the nodes of a fleet must have alike to steer alike: services, pools with their backends, and who
// moves with whom. Pure; the same in every build and on every machine.
#pragma once

#include <cstdint>

#include "ctl/config/config.h"

namespace fairlead::plan {

// Equal for files that differ in order, comments, and what a node has of its own: [[node]], addresses to send from, ways
// to a backend (`local`, `vlan`, `mac`), priorities, limits.
std::uint64_t shared_digest(const config::Config& config);

}  // namespace fairlead::plan
