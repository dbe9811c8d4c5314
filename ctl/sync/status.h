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

// X(symbol, "name in JSON", "what people are told").
#define FAIRLEAD_SYNC_PARTS(X)                                                             \
    X(kNone, "none", "neither: no VIP is active on either node, or both think that it is") \
    X(kSends, "sends", "this node is active")                                              \
    X(kReceives, "receives", "this node stands by")                                        \
    X(kBoth, "both", "active for some VIPs, standby for others")

FAIRLEAD_NAMED_ENUM(Part, FAIRLEAD_SYNC_PARTS, text_of)

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
#define FAIRLEAD_SYNC_WAITS(X)                                                          \
    X(kOff, "off", "nothing: there is no [sync]")                                       \
    X(kPeer, "peer", "another node that answers")                                       \
    X(kFull, "full", "the other node's whole state")                                    \
    X(kSynced, "synced", "nothing: the other node's state came")                        \
    X(kAlone, "alone", "nothing: no other node answered, or none had anything to tell") \
    X(kGaveUp, "gave_up", "nothing any more: sync_wait passed without the other node's state")

FAIRLEAD_NAMED_ENUM(Wait, FAIRLEAD_SYNC_WAITS, text_of)

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
