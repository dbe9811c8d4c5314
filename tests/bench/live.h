// SPDX-License-Identifier: Apache-2.0
// Real frames over a veth pair, generator, program and sink on one core, so that a run is lossless and the inverse of
// its rate is the cost of the whole chain: the steering program against a bare MAC swap in its place.
#pragma once

#include <nlohmann/json.hpp>

#include "dataplane/tables/result.h"
#include "tests/bench/bench_tables.h"

struct fl_driver;

namespace fairlead::bench {

// live_ratio_1flow, live_ratio_1mflows and what they come from, by runs of `frames` each. Changes the tables' path to the veth pair.
Result<nlohmann::ordered_json> measure_live(BenchTables& tables, fl_driver* driver, int rounds, std::uint32_t frames);

}  // namespace fairlead::bench
