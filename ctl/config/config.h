// SPDX-License-Identifier: Apache-2.0
// The configuration as lbd and lbctl see it after every check has passed (DESIGN section 12): plain values,
// every default filled in, every name resolved. Built only by load_config(); immutable afterwards, so it may be
// shared between threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"

namespace fairlead::config {

using Milliseconds = std::chrono::milliseconds;

inline constexpr std::uint16_t kDefaultGuePort = 6080;  // IANA's for GUE (draft-ietf-intarea-gue section 8.1)

enum class Engine { kAuto, kXdp, kXdpGeneric, kDpdk };
enum class Forward {
    kL2Dsr,
    kIpip,
    kGue
};  // how a packet reaches a backend; a local backend is a property, not a mode
enum class Affinity { kConnection, kClientIp };
enum class AllDown { kReset, kDrop, kAny };
enum class TooBig { kDrop, kPass };  // IPv4 without DF that does not fit the way to its backend
enum class CheckType { kTcp, kHttp };
enum class CheckPolicy { kAll, kAny };
enum class Protocol { kTcp, kUdp };
enum class Unlisted { kReset, kDrop };
enum class HaMode { kNone, kVrrp, kExternal };
enum class Announce {
    kArp,   // neighbours ask, and are told of a takeover
    kRoute  // also a host route for each VIP, for a routing daemon to announce
};
enum class OnStop { kWithdraw, kKeep };
enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Inclusive range of HTTP status codes, from expect = "200-399" or "200".
struct StatusRange {
    int first = 200;
    int last = 399;
    auto operator<=>(const StatusRange&) const = default;
};

struct Check {
    CheckType type = CheckType::kTcp;
    std::uint16_t port = 0;  // host order; defaults to the first port of the first service of the pool
    std::string path = "/";  // HTTP only
    std::string host;        // HTTP only: Host header; empty = the backend's address
    StatusRange expect;      // HTTP only
    Milliseconds interval{2000};
    Milliseconds timeout{1000};
    int rise = 2;
    int fall = 3;
    auto operator<=>(const Check&) const = default;
};

struct Backend {
    std::string name;
    IpAddress address;
    bool local = false;  // explicit `local = true`; the controller also finds local addresses by itself
    int tier = 0;
    int weight = 100;  // 0 to 65535; 0 takes no new connections
    Forward forward = Forward::kL2Dsr;
    // The VLAN that frames leave for it on; 0 = untagged. None: what the kernel's route says, else the tags they came with.
    std::optional<std::uint16_t> vlan = std::nullopt;
    // The next hop's MAC, where the kernel cannot ask for it. None: resolved.
    std::optional<MacAddress> mac = std::nullopt;
    // Not of a file: the tables still hold it, and it drains until no connection needs it (plan::keep_leaving()).
    bool leaving = false;
};

struct Pool {
    std::string name;
    Affinity affinity = Affinity::kConnection;
    int quorum = 1;  // eligible backends a tier needs before it is used
    AllDown all_down = AllDown::kReset;
    TooBig too_big = TooBig::kDrop;
    std::uint16_t gue_port = kDefaultGuePort;  // host order; of the tunnels to backends with Forward::kGue
    CheckPolicy check_policy = CheckPolicy::kAll;
    std::vector<Check> checks;  // never empty unless the config says checks = [] (then always healthy)
    std::vector<Backend> backends;
    std::uint32_t table = 1024;  // slots; a power of two
    bool table_given = true;     // false: it follows from the number of backends
    Milliseconds idle_timeout{3'600'000};
    Milliseconds failure_grace{10'000};  // how long an unhealthy backend keeps its connections
    Milliseconds slow_start{0};          // in which a backend that is up again comes to its whole weight
    bool failback = true;                // to a better tier, as soon as it has its quorum again
    Milliseconds failback_delay{0};      // how long a backend must be up again before it is used, if others are
};

// A service as the config writes it: one VIP, one pool, a list of ports or any.
struct Service {
    std::string name;
    IpAddress vip;
    std::vector<std::uint16_t> ports;  // host order, ascending, unique; empty = "any"
    Protocol protocol = Protocol::kTcp;
    std::string pool;
    Unlisted unlisted = Unlisted::kReset;  // of the VIP: services of one VIP must agree
};

struct Interface {
    std::string name;
    // The VLAN that the VIPs are on here: frames of others are left alone; 0 = untagged frames alone. None: on any.
    std::optional<std::uint16_t> vlan = std::nullopt;
    auto operator<=>(const Interface&) const = default;
};

struct Node {
    std::string name;
    std::vector<Interface> interfaces;
    // This node's own addresses: outer source of tunnels, and what the other nodes know it by. None: lbd takes the
    // interface's.
    std::optional<IpAddress> address;   // IPv4
    std::optional<IpAddress> address6;  // IPv6
    Engine engine = Engine::kAuto;
    std::optional<std::uint8_t> priority = std::nullopt;            // for VRRP, in every group; none: the group's
    std::map<std::string, std::uint8_t, std::less<>> priorities{};  // of single groups, by name
};

// What a tracked thing that is wrong does to the node's VRRP priority.
struct HaPenalty {
    std::uint8_t off = 0;  // taken off
    bool fault = false;    // the node must not be active at all
    auto operator<=>(const HaPenalty&) const = default;
};

// With Announce::kRoute: where the routes are kept, and what becomes of them when lbd stops. Nothing else may keep routes of
// this protocol in this table. The default table is one that FRR can import (it takes none above 252).
struct AnnouncedRoutes {
    std::uint32_t table = 146;    // none of the kernel's own
    std::uint8_t protocol = 146;  // neither the kernel's nor a known daemon's
    OnStop on_stop = OnStop::kWithdraw;
    auto operator<=>(const AnnouncedRoutes&) const = default;
};

// VIPs that move together, beside those of other groups: one VRRP instance, one role.
struct HaGroup {
    std::string name;
    std::uint8_t vrid = 0;  // 1 to 255, but for the default group without VRRP; the number of its role word too
    std::uint8_t priority = 100;
    Milliseconds advert_interval{1000};
    bool preempt = true;
    Milliseconds preempt_delay{0};
    std::vector<IpAddress> vips = {};
    bool operator==(const HaGroup&) const = default;
};
inline constexpr std::string_view kDefaultGroup = "default";  // of the VIPs that no [[ha.group]] names

// Who of several nodes answers for the VIPs. Without it (kNone) this one does.
struct Ha {
    HaMode mode = HaMode::kNone;
    std::uint8_t vrid = 0;  // this and what follows: of the default group
    std::uint8_t priority = 100;
    Milliseconds advert_interval{1000};  // a multiple of 10 ms
    bool preempt = true;
    Milliseconds preempt_delay{0};
    std::vector<IpAddress> peers = {};       // adverts go to these; empty: by multicast
    std::uint16_t hello_port = 9436;         // UDP, host order; 0: no hellos
    HaPenalty track_interface = {0, true};   // an interface of the node is down
    HaPenalty track_engine = {0, true};      // the data path is not attached
    HaPenalty track_backends = {50, false};  // no pool of the group has an eligible backend
    std::vector<HaGroup> groups = {};        // of [[ha.group]]
    Announce announce = Announce::kArp;      // in every mode
    AnnouncedRoutes routes = {};
    bool operator==(const Ha&) const = default;
};

// What the active balancer tells its standby (DESIGN section 8). On where the file has a [sync]; needs mode kVrrp or kExternal.
struct Sync {
    bool on = false;
    std::filesystem::path key_file = "/etc/fairlead/sync.key";  // 32 bytes as 64 hex digits, 0600, alike on all nodes
    std::uint16_t port = 9437;                                  // UDP, host order
    Milliseconds interval{20};            // how long a change may wait; a message at least as often
    std::uint32_t rate_mbit = 100;        // the most that is sent to one node, 10^6 bits a second
    Milliseconds wait{10'000};            // "sync_wait": for the other's state, before mastership
    Milliseconds full_interval{300'000};  // between two tellings of the whole state
    bool operator==(const Sync&) const = default;
};

// Sizes of the shared tables, fixed when they are created. Entries, not bytes.
struct Limits {
    std::uint32_t vips = 1024;
    std::uint32_t services = 4096;
    std::uint32_t pools = 1024;
    std::uint32_t backends = 4096;
    std::uint32_t slots = 1U << 20;
    std::uint32_t pins = 1U << 20;
    auto operator<=>(const Limits&) const = default;
};

// How lb-dpdk waits for packets: sleeps when there are none for a while, or never.
enum class Poll { kAdaptive, kBusy };

// An interface that lb-dpdk runs with a driver of DPDK's. The others of a node are the kernel's.
struct DpdkPort {
    std::string interface;  // of a node
    std::string device;     // a PCI address, or a virtual device with its parameters, as DPDK calls it
    std::uint16_t queues = 1;
    std::string node = {};  // whose interface; empty: of every node that has it
    bool operator==(const DpdkPort&) const = default;
};
inline constexpr std::uint16_t kMaxDpdkQueues = 64;

struct Dpdk {
    bool supervise = true;                         // lbd starts lb-dpdk where it is needed, and again when it ends
    bool exceptions = false;                       // lb-dpdk is needed behind XDP too
    std::uint32_t exceptions_per_second = 10'000;  // that the XDP program may give it, per CPU
    std::vector<unsigned> cores = {};              // CPUs for its workers; empty: any
    std::uint32_t memory_mb = 256;
    bool huge_pages = false;
    Poll poll = Poll::kAdaptive;
    std::vector<DpdkPort> ports = {};
    bool operator==(const Dpdk&) const = default;
};

struct Log {
    LogLevel level = LogLevel::kInfo;
};

struct Metrics {
    bool enabled = true;
    IpAddress address;  // 127.0.0.1 by default
    std::uint16_t port = 9435;
};

struct Config {
    std::vector<Node> nodes;  // at least one
    std::vector<Pool> pools;
    std::vector<Service> services;
    Limits limits;
    Log log;
    Metrics metrics;
    Ha ha;
    Sync sync;
    Dpdk dpdk;
    std::filesystem::path hash_key_file = "/var/lib/fairlead/hash.key";  // 16 bytes as 32 hex digits, made once, 0600
    std::vector<IpPrefix> encap_source_prefix;  // at most one a family; empty = the node's own address

    const Pool* find_pool(std::string_view name) const;
};

// One fault of a config file. line and column count from 1.
struct Diagnostic {
    std::string file;
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::string message;  // what is wrong, what was expected, and a near miss where there is one

    std::string to_string() const;  // "file:line:column: message"
};

struct LoadResult {
    std::optional<Config> config;         // set when and only when `diagnostics` is empty
    std::vector<Diagnostic> diagnostics;  // every fault of the file, in order of position
};

// The text of a file that may be a config; the error says why it cannot be read.
Result<std::string> read_config(const std::filesystem::path& file);
LoadResult load_config(const std::filesystem::path& file);
LoadResult parse_config(std::string_view toml, std::string_view file_name);

// What of a [[dpdk.port]] device is a network card, and no virtual device.
bool is_pci_address(std::string_view device);

// The device that a node's interface is run with by DPDK; null: it is the kernel's.
const DpdkPort* dpdk_port(const Config& config, const Node& node, std::string_view interface);

// What two configs differ in beside pools, services and VIPs, a line each: "[log] level info -> debug".
std::vector<std::string> diff_settings(const Config& before, const Config& after);

// The groups that have VIPs: the default one first, then those of the file, all VIPs by address. None without HA.
std::vector<HaGroup> groups_of(const Config& config);
// The priority that a node is configured with in a group: its own for that group or for all, else the group's.
std::uint8_t priority_of(const Node& node, const HaGroup& group);
// The role word that a VIP is active by.
std::uint32_t role_of(const Ha& ha, const IpAddress& vip);

// The node that this process is: --node, else the host name, else the only node there is.
Result<const Node*> choose_node(const Config& config, std::string_view requested, std::string_view host_name);

std::string_view to_string(Engine);
std::string_view to_string(HaMode);
std::string_view to_string(Announce);
std::string_view to_string(OnStop);
std::string_view to_string(Poll);
std::string_view to_string(Forward);
std::string_view to_string(Affinity);
std::string_view to_string(AllDown);
std::string_view to_string(TooBig);
std::string_view to_string(CheckType);
std::string_view to_string(Protocol);
std::string_view to_string(Unlisted);

}  // namespace fairlead::config
