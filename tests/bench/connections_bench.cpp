// SPDX-License-Identifier: Apache-2.0
// A million connections through each kind of change (tests/simulation/connections.h), for Fairlead and for what other
// balancers do. Prints one JSON object; counts, no times.
#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tests/simulation/connections.h"

namespace fairlead::simulation {
namespace {

using Json = nlohmann::ordered_json;

Json of_scheme(const SchemeOutcome& scheme, const ConnectionsOutcome& outcome) {
    return {{"flows", outcome.flows},
            {"broken", scheme.broken},
            {"tracked_share", static_cast<double>(scheme.tracked) / static_cast<double>(outcome.flows)},
            {"peak_entries", scheme.peak_entries},
            {"failed_handshakes", scheme.failed_handshakes},
            {"lost_with_backend", scheme.lost},
            {"refused", scheme.refused}};
}

Json of_traffic(const ConnectionsOutcome& outcome) {
    return {{"peak_live", outcome.peak_live},       {"packets", outcome.packets},
            {"flood_syns", outcome.flood},          {"changes", outcome.changes},
            {"slots_moved", outcome.slots_moved},   {"moved_twice", outcome.moved_twice},
            {"moved_thrice", outcome.moved_thrice}, {"settled", outcome.settled},
            {"slots_left", outcome.slots_left},     {"pins_left", outcome.pins_left}};
}

int run(const TrafficShape& shape) {
    Json result;
    for (const auto scenario : kScenarios) {
        const std::string name{to_string(scenario)};
        const auto outcome = simulate(scenario, shape);
        for (std::size_t i = 0; i < kSchemes; ++i)
            result[std::string(kSchemeNames[i])][name] = of_scheme(outcome.schemes[i], outcome);
        result["traffic"][name] = of_traffic(outcome);
        if (!outcome.first_fault.empty()) std::cerr << "connections-bench: " << outcome.first_fault << '\n';
    }
    result["settings"] = {{"seed", shape.seed},   {"seconds", shape.seconds}, {"idle_timeout_s", shape.idle_timeout_s},
                          {"slots", shape.slots}, {"pins", shape.pins},       {"flood_per_s", shape.flood_per_s}};
    std::cout << result.dump(2) << '\n';
    return 0;
}

}  // namespace
}  // namespace fairlead::simulation

int main(int argc, char** argv) {
    CLI::App app{"connections through changes, simulated"};
    fairlead::simulation::TrafficShape shape;
    app.add_option("--flows", shape.flows)->check(CLI::Range(1'000, 100'000'000));
    app.add_option("--seed", shape.seed);
    CLI11_PARSE(app, argc, argv);
    return fairlead::simulation::run(shape);
}
