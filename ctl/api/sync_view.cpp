// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "ctl/api/views.h"

namespace fairlead::api {
namespace {
using std::chrono::steady_clock;

// Steady time as wall time, for people.
Json wall_json(const std::optional<sync::TimePoint>& time) {
    if (!time) return nullptr;
    const auto ago = std::chrono::duration_cast<WallTime::duration>(steady_clock::now() - *time);
    return rfc3339(WallTime::clock::now() - ago);
}

double seconds_of(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

// Zeroes too.
Json refused_json(const sync::Refusals& refused) {
    auto json = Json::object();
    for (std::size_t i = 0; i < refused.size(); ++i)
        json[std::string(to_string(static_cast<sync::SyncRefusal>(i)))] = refused.at(i);
    return json;
}

Json peer_json(const sync::PeerStatus& peer) {
    const auto& session = peer.session;
    Json json{{"name", session.name.empty() ? Json() : Json(session.name)}, {"address", peer.address}};
    json["part"] = to_string(peer.part);
    json["heard"] = session.heard;
    json["last_heard"] = wall_json(session.last_heard);
    json["interval_ms"] = session.peer_interval.count();
    json["has_state"] = session.peer_has_state;
    json["common_differs"] = session.common_differs;
    json["lag_s"] = peer.lag ? Json(seconds_of(*peer.lag)) : Json();
    json["sent"] = {{"messages", session.sent}, {"again", session.resent}, {"streams", session.streams_sent}};
    json["sent"]["slots"] = peer.slots_sent;
    json["sent"]["pins"] = peer.pins_sent;
    json["received"] = {{"messages", session.received}, {"streams", session.streams_received}};
    json["received"]["slots"] = peer.slots_applied;
    json["received"]["pins"] = peer.pins_applied;
    json["received"]["pins_swept"] = peer.pins_swept;
    json["last_full"] = peer.last_full ? Json(rfc3339(*peer.last_full)) : Json();
    json["last_full_s"] = peer.last_full ? Json(seconds_of(peer.last_full_took)) : Json();
    json["refused"] = refused_json(session.refused);
    return json;
}
}  // namespace

Json sync_view(const ControllerFacts* facts) {
    if (!facts || !facts->sync || !facts->sync->on) return {{"sync", nullptr}};
    const auto& status = *facts->sync;
    Json json{{"mastership", to_string(status.wait)}, {"mastership_text", text_of(status.wait)}};
    json["error"] = status.error.empty() ? Json() : Json(status.error);
    json["pools_followed"] = status.pools_followed;
    json["peers"] = Json::array();
    for (const auto& peer : status.peers) json["peers"].push_back(peer_json(peer));
    json["refused"] = refused_json(status.refused);
    return {{"sync", std::move(json)}};
}

}  // namespace fairlead::api
