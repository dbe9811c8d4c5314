// SPDX-License-Identifier: Apache-2.0
// A config between its two steps: decode() reads each value by itself (keys, types, ranges), complete() checks them
// against each other and fills in what follows from them. What could not be read is absent; it has been reported.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/config/reader.h"

namespace fairlead::config {

// Limits that the layout of the tables carries (DESIGN section 9).
inline constexpr std::uint32_t kMaxServices = 65'536;
inline constexpr std::uint32_t kMaxBackendsOfPool = 32'766;
inline constexpr std::uint32_t kMaxBackends = 1U << 20;
inline constexpr std::uint32_t kMinTable = 1'024;
inline constexpr std::uint32_t kMaxTable = 65'536;
inline constexpr std::uint32_t kSlotsPerBackend = 100;
inline constexpr std::uint32_t kMaxSlots = 1U << 24;
inline constexpr std::uint32_t kMaxPools = kMaxSlots / kMinTable;
inline constexpr std::uint32_t kMaxPins = 1U << 26;
inline constexpr std::uint32_t kMinPins = 1'024;
inline constexpr std::int64_t kMaxVlan = 4'094;  // IEEE 802.1Q reserves 4095
inline constexpr std::size_t kMaxNodes =
    17;  // this one and 16 peers: the dataplane compares each packet's MAC with theirs
inline constexpr std::size_t kMaxChecksOfPool = 8;

struct NodeDraft {
    Node value;
    Position at;
    std::optional<Position> name_at;
    std::vector<Located<IpAddress>> addresses;
    bool has_address_key = false;
    std::vector<Located<std::string>> prioritized;  // groups that it has a priority of its own in
};

struct CheckDraft {
    Check value;
    Position at;
    bool has_port_key = false;
};

struct BackendDraft {
    Backend value;
    Position at;
    std::optional<Position> name_at;
    std::optional<Position> address_at;
    std::optional<Position> vlan_at, mac_at;
    Position weight_at;
};

struct PoolDraft {
    Pool value;
    Position at;
    std::optional<Position> name_at;
    Position quorum_at;
    std::optional<Position> table_at;
    std::optional<Position> gue_port_at;
    bool has_table_key = false;
    bool has_checks_key = false;
    bool has_backends = false;  // something stands there, readable or not
    bool repeated = false;      // its name is another pool's
    bool of_service = false;    // made by a service's `backends`, which its name then is
    std::vector<CheckDraft> checks;
    std::vector<BackendDraft> backends;
};

struct ServiceDraft {
    Service value;
    Position at;
    std::optional<Position> name_at;
    std::optional<Position> vip_at;
    std::vector<Located<std::uint16_t>> ports;  // as written
    Position ports_at;
    bool any_port = false;
    bool has_protocol = true;  // false: could not be read
    Position protocol_at;
    std::optional<Position> unlisted_at;
    std::optional<Position> pool_at;
    std::optional<PoolDraft> own_pool;
};

struct LimitsDraft {
    Limits value;
    // Where each limit is written; absent if the default holds.
    std::optional<Position> vips_at, services_at, pools_at, backends_at, slots_at;
};

struct HaGroupDraft {
    HaGroup value;
    Position at;
    std::optional<Position> name_at, vrid_at;
    std::vector<Located<IpAddress>> vips;  // as written
};

struct HaDraft {
    Position at;  // of [ha], if it is there
    std::optional<Position> vrid_at;
    bool needs_vrid = false;  // VRRP, and it was not asked for yet
    std::vector<HaGroupDraft> groups;
};

struct DpdkPortDraft {
    DpdkPort value;
    Position at;
    std::optional<Position> interface_at, node_at;
};

struct Draft {
    std::vector<NodeDraft> nodes;
    std::vector<PoolDraft> pools;
    bool has_all_pools = true;  // false: some [[pool]] could not be read as a table
    std::vector<ServiceDraft> services;
    LimitsDraft limits;
    HaDraft ha;
    std::vector<DpdkPortDraft> dpdk_ports;
    Config rest;  // ha, sync, dpdk, log, metrics, hash_key_file, encap_source_prefix
};

// A table such as [limits]; null, and reported, if it is something else.
const Value* section(const TableReader& top, std::string_view key);
// The path of a file.
void decode_path(const TableReader& reader, std::string_view key, std::filesystem::path& file);
void decode_ha(const TableReader& top, Ha& ha, HaDraft& draft);
void decode_sync(const TableReader& top, const Ha& ha, Sync& sync);  // after [ha]
void decode_dpdk(const TableReader& top, Dpdk& dpdk, std::vector<DpdkPortDraft>& ports);
// [[dpdk.port]] against the nodes.
void complete_dpdk(Draft& draft, Report& report);
void decode_node_priority(const TableReader& reader, NodeDraft& node);
// [ha] against nodes and services, once these are known to be good by themselves.
void complete_ha(Draft& draft, Report& report);

Draft decode(const Document& document, Report& report);
// The whole config; of use only if the report stayed empty.
Config complete(Draft draft, Report& report);

}  // namespace fairlead::config
