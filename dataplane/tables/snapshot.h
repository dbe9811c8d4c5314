// SPDX-License-Identifier: Apache-2.0
// What the tables say, by name, read without the controller's help: `lbctl status` with lbd dead, metrics, adoption.
// Reads alone, from tables mapped read-only if need be; plain values come out.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/tables/address.h"
#include "dataplane/tables/counters.h"
#include "dataplane/tables/tables.h"

namespace fairlead::tables {

inline std::string port_name(const fl_port& port) { return {port.name, strnlen(port.name, sizeof(port.name))}; }

// Of a MAC in a word, as fl_port.mac and FL_NEXTHOP_MAC() have it: its first byte is the lowest.
inline MacAddress mac_of(std::uint64_t word) {
    MacAddress mac;
    for (std::size_t i = 0; i < mac.bytes.size(); ++i) mac.bytes[i] = static_cast<std::uint8_t>(word >> (8 * i));
    return mac;
}

struct VipStatus {
    std::uint32_t id = 0;
    IpAddress address;
    std::uint32_t flags = 0;  // FL_VIP_*
    std::uint32_t role = 0;
    std::uint64_t active_until_ns = 0;  // CLOCK_MONOTONIC; UINT64_MAX without HA
    std::uint32_t client_tcp = 0;       // service by which later fragments are steered; 0 = they follow their first
    std::uint32_t client_udp = 0;
};

struct ServiceStatus {
    std::uint32_t id = 0;
    std::string name;
    IpAddress vip;
    std::uint16_t port = 0;  // host order; 0 = any
    std::uint8_t protocol = 0;
    std::string pool;
    std::uint32_t pool_id = 0;
    Counts counts;
};

struct BackendStatus {
    std::string name;
    IpAddress address;
    fl_forward forward = FL_FORWARD_L2DSR;
    std::uint32_t tier = 0;
    std::uint16_t gue_port = 0;  // host order; 0 unless `forward` is FL_FORWARD_GUE
    std::uint16_t local_index = 0;
    std::uint32_t global_index = 0;
    fl_backend_state state = FL_BACKEND_UNKNOWN;
    std::uint32_t mtu = 0;
    std::uint32_t nexthop = 0;       // 0 = none yet
    std::uint64_t nexthop_word = 0;  // FL_NEXTHOP_WORD; 0 = not resolved
    std::uint32_t slots_owned = 0;
    std::uint32_t slots_previous = 0;  // in transition, and another's now
    Counts counts;
};

struct PoolStatus {
    std::uint32_t id = 0;
    std::string name;
    std::uint32_t flags = 0;  // FL_POOL_*
    std::uint32_t slots = 0;
    std::uint32_t slots_without_owner = 0;
    std::uint32_t slots_in_transition = 0;
    std::uint32_t idle_timeout_s = 0;
    std::uint16_t local = FL_NO_BACKEND;
    std::vector<BackendStatus> backends;  // by local index
};

struct TableUsage {
    std::string table;
    std::uint64_t used = 0;  // of pins always 0: they may be 2^26, and are counted by PinScan
    std::uint64_t size = 0;
};

struct PortStatus {
    std::uint32_t number = 0;
    std::string name;
    std::uint32_t ifindex = 0;
    std::uint32_t mtu = 0;
    fl_engine_kind mode = FL_ENGINE_NONE;
    std::uint64_t way = 0;    // FL_PORT_WAY
    std::uint32_t flags = 0;  // FL_PORT_*

    // An interface itself, not a VLAN behind one.
    bool is_device() const { return FL_PORT_DEVICE(way) == 0; }
};

struct Snapshot {
    std::vector<VipStatus> vips;          // by address
    std::vector<ServiceStatus> services;  // by VIP, protocol, port
    std::vector<PoolStatus> pools;        // by name
    std::vector<PortStatus> ports;
    std::vector<TableUsage> usage;      // vips, services, pools, backends, slots, nexthops, pins
    std::vector<Counts> reasons;        // by fl_reason
    std::vector<std::uint64_t> events;  // from FL_EVENTS_AT on

    const PoolStatus* find_pool(std::string_view name) const;
};

std::string_view to_string(fl_forward forward);  // as the config has it: "l2dsr"

// Reads again if names changed meanwhile; after several tries what was read last is returned.
Snapshot take_snapshot(const Tables& tables);

}  // namespace fairlead::tables
