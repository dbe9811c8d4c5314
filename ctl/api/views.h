// SPDX-License-Identifier: Apache-2.0
// The JSON objects of docs/api.md, made in one place for lbd's answers and for lbctl when lbd is not there: always from
// the tables, and from what only a live controller knows where there is one. Pure but for reading the tables.
#pragma once

#include <chrono>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctl/plan/eligibility.h"
#include "ctl/sync/status.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead::api {

using Json = nlohmann::ordered_json;
using WallTime = std::chrono::system_clock::time_point;

struct CheckFacts {
    std::string check;  // "http 192.0.2.11:9869/"
    std::string state;  // unknown, up, down
    WallTime since;
    double last_ms = 0;
    std::string error;
    std::uint64_t failures = 0;
};

struct NextHopFacts {
    std::string address;  // whose MAC it is
    std::string interface;
    std::string mac;
    bool resolved = false;
    std::string reason;
};

struct BackendFacts {
    NextHopFacts next_hop;
    std::vector<CheckFacts> checks;
};

struct PortFacts {
    std::uint32_t number = 0;
    std::string reason;                                   // why it is attached the way it is
    std::optional<std::uint32_t> max_mtu = std::nullopt;  // that the driver takes; none: it does not say
    std::string bond{};                                   // whose slave it is
};

struct HaPeerFacts {
    std::string address;
    unsigned priority = 0;
    double interval_ms = 0;
    WallTime last_advert;
};

struct HaChangeFacts {
    WallTime at;
    std::string from, to, reason, phrase;
    std::string peer;  // whose advert or silence it was; empty if nobody's
    unsigned peer_priority = 0;
};

// Of one group.
struct HaFacts {
    std::string mode;  // "vrrp", "external"
    std::string name{};
    unsigned vrid = 0;  // and its role word's number
    std::string state;  // "initialize", "backup", "active"
    unsigned priority = 0, configured_priority = 0;
    bool ready = false;     // all checks have spoken
    bool fault = false;     // tracking forbids to be active
    bool released = false;  // handed over by an operator
    bool split = false;     // another node is active too
    bool peer_addresses_differ = false, peer_interval_differs = false;
    std::optional<HaPeerFacts> peer;
    std::uint64_t adverts_sent = 0, adverts_received = 0, send_failures = 0, split_brains = 0, transitions = 0;
    std::vector<std::pair<std::string, std::uint64_t>> refused;  // by reason, zeroes too
    std::vector<HaChangeFacts> history;                          // the latest first; never empty
};

struct VipAnnouncementFacts {
    std::string vip;
    bool announced = false;
    std::string reason;
};

// With announce = "route".
struct AnnounceFacts {
    std::uint32_t table = 0;
    unsigned protocol = 0;
    std::vector<VipAnnouncementFacts> vips;
};

// What slots of a pool in transition wait for (plan::SlotPhase), and since when the oldest does.
struct PoolTransitionFacts {
    std::uint32_t engines = 0;      // that every engine has seen a word
    std::uint32_t connections = 0;  // that the previous owner's connections end
    std::uint32_t pins = 0;         // that pins of others are unused for the idle timeout
    std::uint32_t scan = 0;         // a scan of all pins
    double oldest_s = 0;
};

// As of the last complete scan.
struct PinFacts {
    std::uint64_t free = 0, probation = 0, confirmed = 0, closing = 0;
    std::uint64_t scans = 0;                                                    // complete ones since lbd started
    std::map<std::pair<std::string, std::string>, std::uint64_t> by_backend{};  // by pool and name, those with any

    std::uint64_t used() const { return probation + confirmed + closing; }
};

// What another node's lbd says of itself.
struct HaNodeGroupFacts {
    unsigned vrid = 0;
    std::string state;
    unsigned priority = 0;
    bool ready = false;  // may take over
};

struct HaNodeFacts {
    std::string name, address;
    WallTime last_hello;
    std::vector<std::string> differs;  // what must be alike and is not: "config", "hash key", "table layout"
    std::vector<HaNodeGroupFacts> groups;
};

struct HelloFacts {
    std::uint64_t config_digest = 0;
    std::vector<HaNodeFacts> nodes;
    std::uint64_t sent = 0, received = 0;
    std::vector<std::pair<std::string, std::uint64_t>> refused;  // by reason, zeroes too
};

// What only a live controller knows.
struct ControllerFacts {
    std::string state;  // "starting", "running"
    WallTime since;
    std::string node;
    std::string config_file;
    WallTime config_loaded;
    std::optional<std::string> reload_error;
    std::vector<plan::PoolDecision> pools;
    std::map<std::pair<std::string, std::string>, BackendFacts> backends;  // by pool and name
    std::vector<PortFacts> ports;
    std::vector<HaFacts> ha;          // none without [ha]
    std::optional<HelloFacts> hello;  // as well
    std::optional<sync::Status> sync = std::nullopt;
    std::optional<AnnounceFacts> announce = std::nullopt;
    std::map<std::string, PoolTransitionFacts> transitions{};  // by pool, those with slots in transition
    PinFacts pins{};
    std::string state_file{};  // what was set at run time
};

// `facts` null: lbd is not there.
Json status_view(const std::string& instance, const tables::Tables& tables, const tables::Snapshot& snapshot,
                 const ControllerFacts* facts);
Json services_view(const tables::Snapshot& snapshot, const ControllerFacts* facts);
Json backends_view(const tables::Snapshot& snapshot, const ControllerFacts* facts);
// Null where there is no HA, or no controller.
Json ha_view(const tables::Snapshot& snapshot, const ControllerFacts* facts);
// Null where there is no [sync], or no controller.
Json sync_view(const ControllerFacts* facts);
// Slots in transition and pins; without a controller, what the slots say.
Json transitions_view(const tables::Snapshot& snapshot, const ControllerFacts* facts);
Json counters_view(const tables::Snapshot& snapshot, const ControllerFacts* facts);
// What each CPU and each worker of lb-dpdk did since the tables were made; of places for workers, those that were ever used.
Json cores_view(const tables::Tables& tables);

// RFC 3339, UTC, milliseconds.
std::string rfc3339(WallTime time);
std::string rfc3339_ns(std::uint64_t ns);  // since the epoch, as the tables hold it
std::string_view to_string(fl_backend_state state);
using tables::to_string;  // of a way of forwarding
std::string_view to_string(fl_engine_kind engine);

struct ReasonText {
    fl_reason_class kind;
    std::string_view name;
    std::string_view help;
};
const ReasonText& reason_text(fl_reason reason);

}  // namespace fairlead::api
