// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/limits.h"

#include <bpf/libbpf.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string>

namespace fairlead::tables {
namespace {
constexpr std::uint32_t kFragments = 8192;  // first fragments in flight, seconds long each
constexpr std::uint32_t kPorts = 256;       // interfaces, bonds' slaves, and VLANs behind them
constexpr std::uint32_t kRoles = 256;       // a VRRP instance has 8 bits
constexpr std::uint32_t kGateways = 256;    // next hops beside one for each backend
constexpr std::uint32_t kMinimumIndex = 16;

std::uint32_t round_up(std::uint32_t value, std::uint32_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// A power of two with room for ids 1 to `count`.
std::uint32_t indexed(std::uint32_t count) { return std::max(std::bit_ceil(count + 1), kMinimumIndex); }

// Ranges of n backends take the next power of two, at most 2n - 2, or kMinimumBackendRange, at most 2n + 6.
std::uint32_t backend_entries(std::uint32_t backends, std::uint32_t pools) {
    const std::uint64_t worst = 2ULL * backends + (kMinimumBackendRange - 2ULL) * pools;
    return round_up(static_cast<std::uint32_t>(std::min<std::uint64_t>(worst, kMaximumBackends)), kMinimumBackendRange);
}
}  // namespace

fl_limits limits_for(const Capacity& wanted, unsigned cpus) {
    fl_limits limits{};
    limits.vips = indexed(std::clamp(wanted.vips, 1U, kMaximumServices));
    limits.services = indexed(std::clamp(wanted.services, 1U, kMaximumServices));
    const auto pools = std::clamp(wanted.pools, 1U, kMaximumServices);
    limits.pools = round_up(pools + 1, 8);
    const auto backends = std::clamp(wanted.backends, 1U, kMaximumBackends);
    limits.backends = backend_entries(backends, pools);
    limits.slots =
        round_up(std::clamp(wanted.slots, std::uint32_t{FL_SLOTS_PER_LINE}, kMaximumSlots), FL_SLOTS_PER_LINE);
    limits.pins = std::bit_ceil(std::clamp(wanted.pins, std::uint32_t{FL_BUCKET_WORDS}, kMaximumPins));
    limits.fragments = kFragments;
    limits.strides = cpus + FL_MAX_WORKERS;
    limits.nexthops = round_up(backends + kGateways, 8);
    limits.names = 1 + limits.backends + limits.services + limits.pools;
    limits.ports = kPorts;
    limits.roles = kRoles;
    limits.rings = FL_RINGS_LINES(&limits);
    return limits;
}

Result<unsigned> possible_cpus() {
    const int cpus = libbpf_num_possible_cpus();
    if (cpus < 1) return fail_errno("count the possible CPUs", -cpus);
    return static_cast<unsigned>(cpus);
}

Result<void> check_limits(const fl_limits& l) {
    struct Rule {
        const char* field;
        bool kept;
    };
    const Rule rules[] = {
        {"vips", l.vips >= 2 && std::has_single_bit(l.vips)},
        {"services", l.services >= 2 && std::has_single_bit(l.services)},
        {"pools", l.pools >= 2},
        {"backends", l.backends >= kMinimumBackendRange && l.backends % kMinimumBackendRange == 0 &&
                         l.backends <= kMaximumBackends},
        {"slots", l.slots >= FL_SLOTS_PER_LINE && l.slots % FL_SLOTS_PER_LINE == 0 && l.slots <= kMaximumSlots},
        {"pins", l.pins >= FL_BUCKET_WORDS && std::has_single_bit(l.pins) && l.pins <= kMaximumPins},
        {"fragments", l.fragments >= FL_BUCKET_WORDS && std::has_single_bit(l.fragments)},
        {"strides", l.strides > FL_MAX_WORKERS},
        {"nexthops", l.nexthops >= 2 && l.nexthops < (1U << 24)},
        {"names", l.names >= 1 + l.backends + l.services + l.pools},
        {"ports", l.ports >= 2 && l.ports <= (1U << 16)},
        {"roles", l.roles >= 1},
        {"rings", l.rings >= 1},
    };
    for (const auto& rule : rules)
        if (!rule.kept) return fail(std::string("table size '") + rule.field + "' is not possible", EINVAL);
    return {};
}

}  // namespace fairlead::tables
