// SPDX-License-Identifier: Apache-2.0
// What lbd shows of the state sync: for `lbctl sync status`, GET /v1/sync, and metrics. Plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ctl/sync/session.h"

namespace fairlead::sync {

enum class Part : std::uint8_t {
    kNone,      // neither: no VIP is active on either, or both think that they are
    kSends,     // this node is active
    kReceives,  // it stands by
    kBoth       // active for some VIPs, standby for others
};

struct PeerStatus {
    std::string address;
    SessionStatus session;
    Part part = Part::kNone;
    // Behind the other, or the other behind: 0 = not at all. None: not known, nothing was ever told.
    std::optional<std::chrono::nanoseconds> lag;
    std::uint64_t slots_sent = 0, pins_sent = 0, slots_applied = 0, pins_applied = 0, pins_swept = 0;
    std::optional<std::chrono::system_clock::time_point> last_full;  // applied, or acknowledged
    std::chrono::nanoseconds last_full_took{0};
};

// What the mastership of a node that has just started waits for.
enum class Wait : std::uint8_t {
    kOff,     // no [sync]
    kPeer,    // for a node that answers
    kFull,    // for its whole state
    kSynced,  // over: it came
    kAlone,   // over: no other node answered, or it has nothing to tell
    kGaveUp   // over: sync_wait has passed
};

struct Status {
    bool on = false;
    Wait wait = Wait::kOff;
    std::vector<PeerStatus> peers;            // by address
    std::vector<std::string> pools_followed;  // that this node steers as their active one does, by name
    // Of messages that belong to no peer: by SyncRefusal.
    Refusals refused{};
    std::string error;  // what hinders it: no address yet, a port in use; empty: nothing
};

}  // namespace fairlead::sync
