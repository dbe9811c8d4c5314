// SPDX-License-Identifier: Apache-2.0
// The Prometheus page: names and labels as DESIGN section 12 has them, in the text format 0.0.4. Pure; thread-safe.
// Counters come from the tables and are never reset by a restart of lbd.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctl/sync/status.h"

namespace fairlead::api {

inline constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

struct TrafficCounts {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    std::uint64_t syns = 0;
};

struct ServiceMetrics {
    std::string service;
    std::string vip;
    std::string port;      // "443" or "any"
    std::string protocol;  // "tcp" or "udp"
    TrafficCounts counts;
};

struct BackendMetrics {
    std::string pool;
    std::string backend;
    std::string address;
    int tier = 0;
    TrafficCounts counts;
    bool up = false;  // its checks pass
    std::uint32_t weight = 0;
    bool eligible = false;  // healthy, not drained, weight above 0
};

struct CheckMetrics {
    std::string pool;
    std::string backend;
    std::string check;                       // "http 192.0.2.11:9869/"
    std::optional<double> duration_seconds;  // of the last probe; none before the first
    std::uint64_t failures = 0;
};

struct TableMetrics {
    std::string table;
    std::uint64_t used = 0;
    std::uint64_t size = 0;
};

struct EngineMetrics {
    std::string interface;
    std::string engine;  // "xdp-native"
};

struct HaMetrics {
    std::string group;
    bool active = false;  // by the role word: what is stale reads as standby
    std::uint64_t transitions = 0;
    std::uint64_t adverts_sent = 0;
    std::uint64_t adverts_received = 0;
    std::uint64_t split_brains = 0;
    bool peer_differs = false;                                    // the peer has other VIPs
    std::vector<std::pair<std::string, std::uint64_t>> rejected;  // adverts, by reason
};

struct TransitionMetrics {
    std::vector<std::pair<std::string, std::uint32_t>> slots;            // in transition, by pool
    std::vector<std::pair<std::string, std::uint64_t>> pins, evictions;  // by state
    std::uint64_t inserts = 0, full = 0, previous = 0;
};

struct HelloMetrics {
    std::uint64_t nodes = 0;  // other nodes that were heard of late
    bool differs = false;     // one of them has another config, hash key or table layout
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::vector<std::pair<std::string, std::uint64_t>> rejected;  // by reason
};

struct MetricsInput {
    std::vector<ServiceMetrics> services;
    std::vector<BackendMetrics> backends;
    std::vector<CheckMetrics> checks;
    std::vector<TableMetrics> tables;
    std::vector<EngineMetrics> engines;
    TransitionMetrics transitions;
    std::vector<HaMetrics> ha;                      // none without [ha]
    std::optional<HelloMetrics> hello;              // as well
    std::optional<sync::Status> sync;               // none without [sync]
    std::optional<std::uint64_t> announced_routes;  // none unless announce = "route"
    std::vector<std::uint64_t> reasons;             // packets by enum fl_reason; missing ones are 0
    std::string version;
    std::string abi;  // of the tables
};

std::string render_metrics(const MetricsInput& input);

}  // namespace fairlead::api
