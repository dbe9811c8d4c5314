// SPDX-License-Identifier: Apache-2.0
// From the sizes that an operator configures to the sizes of the tables. Pure.
#pragma once

#include <cstdint>

#include "dataplane/core/layout.h"
#include "dataplane/tables/result.h"

namespace fairlead::tables {

// What [limits] of the config says, in things that an operator counts.
struct Capacity {
    std::uint32_t vips = 1024;
    std::uint32_t services = 4096;
    std::uint32_t pools = 1024;
    std::uint32_t backends = 4096;
    std::uint32_t slots = 1U << 20;
    std::uint32_t pins = 1U << 20;
    auto operator<=>(const Capacity&) const = default;
};

// Sizes that hold `capacity` whatever shape it comes in: ids start at 1, the tables that have an index are powers of
// two, and each pool's backends lie in a range of a power of two (kMinimumBackendRange or more). `cpus` = possible CPUs.
// The largest values that DESIGN section 9 allows are the cap.
fl_limits limits_for(const Capacity& capacity, unsigned cpus);
inline fl_limits default_limits(unsigned cpus) { return limits_for(Capacity{}, cpus); }

// Possible CPUs of this machine, as the kernel numbers them (not those online).
Result<unsigned> possible_cpus();

// Whether tables of these sizes can be made; the error names the field.
Result<void> check_limits(const fl_limits& limits);

inline constexpr std::uint32_t kMinimumBackendRange = 8;
inline constexpr std::uint32_t kMaximumSlots = 1U << 24;
inline constexpr std::uint32_t kMaximumBackends = 1U << 20;  // a pin names a backend in 20 bits
inline constexpr std::uint32_t kMaximumServices = 65536;
inline constexpr std::uint32_t kMaximumPins = 1U << 26;
inline constexpr std::uint32_t kMaximumPoolBackends = 32766;  // 15 bits less FL_NO_BACKEND, and one to tell "none"
inline constexpr std::uint32_t kMaximumPoolSlots = 1U << 20;

// The name of a backend, service or pool lies at a place that follows from what it names, so that it is free to be
// used again exactly when that is. 0 = no name.
constexpr std::uint32_t backend_name_index(const fl_limits&, std::uint32_t backend) { return 1 + backend; }
constexpr std::uint32_t service_name_index(const fl_limits& l, std::uint32_t id) { return 1 + l.backends + id; }
constexpr std::uint32_t pool_name_index(const fl_limits& l, std::uint32_t id) {
    return 1 + l.backends + l.services + id;
}

}  // namespace fairlead::tables
