// SPDX-License-Identifier: Apache-2.0
// The objects of docs/api.md as tables that a person likes to read. Pure text; colour only on a terminal.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace fairlead::lbctl {

using Json = nlohmann::ordered_json;

std::string print_status(const Json& status);
std::string print_services(const Json& services);
std::string print_backends(const Json& backends);
// Reasons that never happened are left out unless `all`.
std::string print_counters(const Json& counters, bool all);
// Role and peer, or with `history` how the role came and went.
std::string print_ha(const Json& view, bool history);
std::string print_sync(const Json& view);
// Whether every other node is heard and takes what this one tells; not without [sync].
bool is_synced(const Json& view);
// ipvsadm's habit: a line a service, below it `->` a line a backend. With `before`, taken `seconds` ago: rates.
struct Stats {
    const Json& services;
    const Json& backends;
};
std::string print_stats(const Stats& now, const Stats* before, double seconds);
// A line for each CPU and worker; with `before`, taken `seconds` ago: rates.
std::string print_cores(const Json& now, const Json* before, double seconds);
std::string print_explain(const Json& explanation);
std::string print_decap(const Json& decap);
std::string print_config_diff(const Json& difference);
std::string print_plan(const Json& plan);
std::string print_transitions(const Json& transitions);

}  // namespace fairlead::lbctl
