// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/types.h"

namespace fairlead::net {

bool Neighbour::usable() const {
    switch (state) {
        case NeighbourState::kReachable:
        case NeighbourState::kStale:
        case NeighbourState::kDelay:
        case NeighbourState::kProbe:
        case NeighbourState::kPermanent:
        case NeighbourState::kNoArp:
            return !mac.is_zero();
        case NeighbourState::kNone:
        case NeighbourState::kIncomplete:
        case NeighbourState::kFailed:
            return false;
    }
    return false;
}

std::string_view to_string(NeighbourState state) {
    switch (state) {
        case NeighbourState::kNone:
            return "none";
        case NeighbourState::kIncomplete:
            return "incomplete";
        case NeighbourState::kReachable:
            return "reachable";
        case NeighbourState::kStale:
            return "stale";
        case NeighbourState::kDelay:
            return "delay";
        case NeighbourState::kProbe:
            return "probe";
        case NeighbourState::kFailed:
            return "failed";
        case NeighbourState::kNoArp:
            return "noarp";
        case NeighbourState::kPermanent:
            return "permanent";
    }
    return "?";
}

}  // namespace fairlead::net
