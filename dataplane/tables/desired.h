// SPDX-License-Identifier: Apache-2.0
// What the tables shall say, by name: the planner makes it from config and health, TableWriter::apply() makes it so.
// Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/core/layout.h"
#include "dataplane/tables/address.h"

namespace fairlead::tables {

struct DesiredVip {
    IpAddress address;
    bool reset = true;       // FL_VIP_RESET
    bool local = false;      // FL_VIP_LOCAL
    std::uint32_t role = 0;  // index of the role word
    auto operator<=>(const DesiredVip&) const = default;
};

struct DesiredBackend {
    std::string name;  // unique in its pool
    IpAddress address;
    fl_forward forward = FL_FORWARD_L2DSR;  // FL_FORWARD_LOCAL where this node is the backend
    std::uint32_t tier = 0;
    std::uint16_t gue_port = 0;  // host order; of its tunnel, with FL_FORWARD_GUE
    auto operator<=>(const DesiredBackend&) const = default;
};

struct DesiredPool {
    std::string name;
    std::uint32_t flags = 0;     // FL_POOL_*
    std::uint32_t slots = 1024;  // power of two
    std::uint32_t idle_timeout_s = 3600;
    std::vector<DesiredBackend> backends;
    auto operator<=>(const DesiredPool&) const = default;
};

struct DesiredService {
    std::string name;
    IpAddress vip;
    std::uint16_t port = 0;  // host order; 0 = any
    std::uint8_t protocol = 6;
    std::string pool;
    auto operator<=>(const DesiredService&) const = default;
};

// What becomes of one slot (DESIGN section 6). The stamps that begin anew are set first, then the word is stored with
// release.
struct SlotChange {
    std::uint32_t slot = 0;  // within the pool
    std::uint32_t word = 0;
    bool restart_previous = false;
    bool restart_pin = false;
    bool operator==(const SlotChange&) const = default;
};

struct Desired {
    std::vector<DesiredVip> vips;
    std::vector<DesiredPool> pools;
    std::vector<DesiredService> services;
    auto operator<=>(const Desired&) const = default;
};

}  // namespace fairlead::tables
