// SPDX-License-Identifier: Apache-2.0
// Plain memory, the XDP program and the DPDK engine held against each other over millions of frames: how often they differ,
// how often each way of ending was met, and whether a planted fault is found. Prints one JSON object.
#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tests/differential/campaign.h"
#include "tests/support/ring_port.h"

namespace fairlead::bench {
namespace {

// Every way there is, so that one that was not met shows as 0. What is handed to lb-dpdk is not: nobody listens here.
nlohmann::ordered_json all_ways() {
    nlohmann::ordered_json ways;
    for (const char* verdict : {"pass", "drop", "transmit", "redirect"}) ways[verdict] = 0;
    for (const char* way : {"local", "l2dsr", "ipip_4in4", "ipip_4in6", "ipip_6in4", "ipip_6in6", "gue_4in4",
                            "gue_4in6", "gue_6in4", "gue_6in6"})
        ways[way] = 0;
    for (int reason = 0; reason < FL_REASON_COUNT; ++reason)
        if (reason != FL_REASON_EXCEPTION) ways[test::reason_name(static_cast<fl_reason>(reason))] = 0;
    return ways;
}

int measure(const test::CampaignOptions& options) {
    test::Campaign campaign;
    const std::string missed = campaign.find_planted_faults(options.seed);
    const auto start = std::chrono::steady_clock::now();
    const std::string difference = campaign.run(options);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;

    auto ways = all_ways();
    std::uint64_t packets = 0;
    const test::Tally tally = campaign.tally();
    for (const char* kind : {"verdict", "encapsulation", "reason"})
        if (const auto found = tally.find(kind); found != tally.end())
            for (const auto& [name, count] : found->second) {
                ways[name] = count;
                if (kind == std::string("verdict")) packets += count;
            }
    nlohmann::ordered_json result;
    result["packets"] = packets;
    result["differences"] = difference.empty() ? 0 : 1;  // it ends at the first
    result["difference"] = difference;
    result["per_verdict"] = ways;
    const auto exceptions = tally.find("exception");
    result["exceptions"] =
        exceptions == tally.end() ? nlohmann::ordered_json::object() : nlohmann::ordered_json(exceptions->second);
    result["planted_fault_found"] = missed.empty();
    result["planted_fault_missed"] = missed;
    result["packets_per_s"] = static_cast<double>(packets) / took.count();
    result["seed"] = options.seed;
    std::cout << result.dump(2) << '\n';
    return 0;
}

}  // namespace
}  // namespace fairlead::bench

int main(int argc, char** argv) {
    CLI::App app{"three engines held against each other"};
    fairlead::test::CampaignOptions options{.frames = 10'000'000, .frames_per_world = 25'000};
    app.add_option("--packets", options.frames)->check(CLI::Range(1'000UL, 10'000'000'000UL));
    app.add_option("--per-world", options.frames_per_world, "of them over the same tables")
        ->check(CLI::Range(100UL, 1'000'000UL));
    app.add_option("--seed", options.seed);
    CLI11_PARSE(app, argc, argv);
    try {
        const fairlead::test::Eal eal;
        return fairlead::bench::measure(options);
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
