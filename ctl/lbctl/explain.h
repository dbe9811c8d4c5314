// SPDX-License-Identifier: Apache-2.0
// Why a packet goes where it goes: runs the steering core itself on a packet made up for the question, over the live
// tables, and says what it decided. Changes nothing: what the core would write goes to memory of its own.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "ctl/lbctl/packet.h"
#include "dataplane/tables/tables.h"

namespace fairlead::lbctl {

// EINVAL: there is no such packet (make_packet()).
Result<nlohmann::ordered_json> explain(const tables::Tables& tables, const Question& question);

}  // namespace fairlead::lbctl
