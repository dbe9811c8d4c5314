// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/next_hops.h"

#include <algorithm>
#include <utility>

namespace fairlead::net {

namespace {

using namespace std::chrono_literals;

// A routing daemon's churn must not have every destination looked up for each route that moves.
constexpr Duration kRerouteGap = 100ms;
constexpr Duration kReroutePeriod = 30s;
// The kernel gives up on a neighbour after three solicitations a second apart; one that failed is asked again.
constexpr Duration kKickGap = 1s;
// A kernel without managed neighbours is to be asked before its entry (30 s on average) is stale for long.
constexpr Duration kRefreshGap = 5s;

}  // namespace

std::string Destination::to_string() const {
    if (!vlan) return address.to_string();
    return address.to_string() + (*vlan == 0 ? " untagged" : " on VLAN " + std::to_string(*vlan));
}

void NextHopTracker::set_wanted(const std::vector<Destination>& destinations, TimePoint now) {
    const std::set<Destination> wanted(destinations.begin(), destinations.end());
    for (auto target = targets_.begin(); target != targets_.end();) {
        if (!wanted.contains(target->first)) {
            watch(target->first, target->second, std::nullopt);
            target = targets_.erase(target);
        } else {
            ++target;
        }
    }
    if (!rerouted_) rerouted_ = now;
    for (const Destination& destination : wanted) {
        const auto [entry, is_new] = targets_.try_emplace(destination);
        if (is_new) find_way(destination, entry->second);
    }
    kick_due(now);
    tell();
}

void NextHopTracker::on_change(const Changes& changes, TimePoint now) {
    for (const NeighbourKey& key : changes.neighbours) refresh(key, now);
    if (changes.links) forgive_dead_links();
    if (changes.reroutes()) {
        reroute_pending_ = true;
        if (!rerouted_ || now - *rerouted_ >= kRerouteGap) reroute_all(now);
    }
    kick_due(now);
    tell();
}

void NextHopTracker::tick(TimePoint now) {
    if (rerouted_ && now - *rerouted_ >= (reroute_pending_ ? kRerouteGap : kReroutePeriod)) reroute_all(now);
    kick_due(now);
    tell();
}

std::optional<TimePoint> NextHopTracker::next_deadline() const {
    if (targets_.empty() || !rerouted_) return std::nullopt;
    TimePoint next = *rerouted_ + (reroute_pending_ ? kRerouteGap : kReroutePeriod);
    for (const auto& [key, watched] : watched_)
        if (wants_kick(key, watched)) next = std::min(next, watched.next_kick);
    return next;
}

void NextHopTracker::reroute_all(TimePoint now) {
    rerouted_ = now;
    reroute_pending_ = false;
    for (auto& [destination, target] : targets_) find_way(destination, target);
}

// The way to a destination, or why there is none that frames can take.
Result<Route> NextHopTracker::usable_route(const Destination& destination) const {
    auto route = given_route(destination, os_.route_to(destination.address));
    if (!route || route->local) return route;
    const Link* link = os_.link(route->ifindex);
    if (link != nullptr && !link->has_arp) return fail("interface " + link->name + " has no MAC addresses");
    return route;
}

// With the next hop's MAC given, nothing is left for the kernel to say but the interface: the only one needs no route,
// and where the kernel has one it is about networks that the kernel knows.
Result<Route> NextHopTracker::given_route(const Destination& destination, Result<Route> route) const {
    if (destination.mac.is_zero() || interfaces_.size() != 1 || (route && route->local)) return route;
    const std::uint32_t only = *interfaces_.begin();
    const Link* link = route ? os_.link(route->ifindex) : nullptr;
    const bool ours = link != nullptr && (link->ifindex == only || (link->vlan && link->vlan->lower == only));
    return ours ? route : Route{false, only, std::nullopt, std::nullopt, std::nullopt};
}

NextHopTracker::Way NextHopTracker::way_of(const Destination& destination, const Route& route) const {
    Way way;
    way.ifindex = way.device = route.ifindex;
    way.via = route.gateway.value_or(destination.address);
    if (const Link* link = os_.link(route.ifindex); link != nullptr && link->vlan) {
        way.device = link->vlan->lower;
        way.vlan = link->vlan->id;
    }
    if (!destination.vlan || destination.vlan == way.vlan) return way;
    // The config knows better than the route: the neighbour is asked where that VLAN is.
    way.vlan = destination.vlan;
    way.ifindex = way.device;
    if (*destination.vlan == 0) return way;
    const Link* device = os_.vlan_on(way.device, *destination.vlan);
    way.askable = device != nullptr;
    if (device != nullptr) way.ifindex = device->ifindex;
    return way;
}

void NextHopTracker::find_way(const Destination& destination, Target& target) {
    target.route = usable_route(destination);
    std::optional<NeighbourKey> neighbour;
    if (target.route && !target.route->local) {
        target.way = way_of(destination, *target.route);
        if (destination.mac.is_zero()) neighbour = NeighbourKey{target.way.ifindex, target.way.via};
    }
    watch(destination, target, neighbour);
    note(destination, target);
}

void NextHopTracker::watch(const Destination& destination, Target& target, std::optional<NeighbourKey> key) {
    if (target.neighbour == key) return;
    if (target.neighbour) unwatch(*target.neighbour, destination);
    target.neighbour = key;
    if (!key) return;
    Watched& watched = watched_[*key];
    watched.users.insert(destination);
    const Neighbour* known = os_.neighbour(*key);
    if (known != nullptr && known->usable()) watched.last_mac = known->mac;
    watched.failed = known != nullptr && known->state == NeighbourState::kFailed;
}

void NextHopTracker::unwatch(const NeighbourKey& key, const Destination& user) {
    const auto found = watched_.find(key);
    found->second.users.erase(user);
    if (!found->second.users.empty()) return;
    watched_.erase(found);
    const Neighbour* known = os_.neighbour(key);
    // A failure can be borne: the entry is no worse for being kept fresh.
    if (known != nullptr && known->managed && !known->is_static()) (void)os_.release(key);
}

// The kernel's entry for a neighbour changed.
void NextHopTracker::refresh(const NeighbourKey& key, TimePoint now) {
    const auto found = watched_.find(key);
    if (found == watched_.end()) return;
    Watched& watched = found->second;
    const Neighbour* known = os_.neighbour(key);
    if (known != nullptr && known->usable()) {
        watched.last_mac = known->mac;
        watched.failed = false;
    } else if (known != nullptr && known->state == NeighbourState::kFailed) {
        watched.failed = true;
    }
    // An entry that the kernel has dropped is asked for again at once, unless it was just asked for.
    if (known == nullptr) watched.next_kick = std::min(watched.next_kick, now + kKickGap);
    for (const Destination& user : watched.users) note(user, targets_.at(user));
}

// A link that went down took the blame; when it is back, its neighbours are asked as if for the first time.
void NextHopTracker::forgive_dead_links() {
    for (auto& [key, watched] : watched_) {
        const Link* link = os_.link(key.ifindex);
        if (link != nullptr && link->up()) continue;
        watched.failed = false;
        watched.next_kick = {};
    }
}

bool NextHopTracker::wants_kick(const NeighbourKey& key, const Watched& watched) const {
    const auto askable = [&](const Destination& user) { return targets_.at(user).way.askable; };
    if (std::none_of(watched.users.begin(), watched.users.end(), askable)) return false;
    const Link* link = os_.link(key.ifindex);
    if (link == nullptr || !link->up()) return false;
    const Neighbour* known = os_.neighbour(key);
    if (known == nullptr) return true;
    if (known->is_static()) return false;
    return !known->managed || known->state == NeighbourState::kFailed || known->state == NeighbourState::kNone;
}

void NextHopTracker::kick_due(TimePoint now) {
    for (auto& [key, watched] : watched_) {
        if (watched.next_kick > now || !wants_kick(key, watched)) continue;
        const Neighbour* known = os_.neighbour(key);
        watched.next_kick = now + (known != nullptr && known->usable() ? kRefreshGap : kKickGap);
        const auto kicked = os_.resolve(key);
        watched.kick_error = kicked ? std::string() : kicked.error().message;
        for (const Destination& user : watched.users) note(user, targets_.at(user));
    }
}

NextHop NextHopTracker::describe(const Destination& destination, const Target& target) const {
    NextHop hop;
    hop.destination = destination;
    hop.via = destination.address;
    if (!target.route) {
        hop.reach = Reach::kNoRoute;
        hop.reason = target.route.error().message;
        return hop;
    }
    hop.ifindex = hop.device = target.route->ifindex;
    if (!target.route->local) {
        hop.ifindex = target.way.ifindex;
        hop.device = target.way.device;
        hop.vlan = target.way.vlan;
        hop.via = target.way.via;
    }
    const Link* link = os_.link(hop.ifindex);
    hop.source = target.route->source;
    hop.mtu = link == nullptr ? 0 : link->mtu;
    hop.mtu = std::min(hop.mtu, target.route->mtu.value_or(hop.mtu));
    if (target.route->local) {
        hop.reach = Reach::kLocal;
    } else if (link == nullptr || !link->up()) {
        hop.reach = Reach::kLinkDown;
        hop.reason = link == nullptr ? "its interface is gone"
                                     : "interface " + link->name + (link->admin_up ? " has no carrier" : " is down");
    } else if (!target.neighbour) {
        hop.reach = Reach::kReachable;
        hop.mac = destination.mac;
    } else if (!target.way.askable) {
        describe_unaskable(*target.neighbour, hop);
    } else {
        describe_neighbour(*target.neighbour, hop);
    }
    return hop;
}

// On a VLAN that the kernel has no device for, only what was written down by hand is known.
void NextHopTracker::describe_unaskable(const NeighbourKey& key, NextHop& hop) const {
    const Neighbour* known = os_.neighbour(key);
    if (known != nullptr && known->is_static() && known->usable()) {
        hop.reach = Reach::kReachable;
        hop.mac = known->mac;
        return;
    }
    hop.reach = Reach::kFailed;
    hop.reason = "nobody to ask for " + hop.via.to_string() + " on VLAN " + std::to_string(*hop.vlan) + ": " +
                 os_.link(hop.device)->name +
                 " has no VLAN device of that number; add one, or write the backend's 'mac'";
}

void NextHopTracker::describe_neighbour(const NeighbourKey& key, NextHop& hop) const {
    const Watched& watched = watched_.at(key);
    const Neighbour* known = os_.neighbour(key);
    hop.mac = watched.last_mac;
    if (known != nullptr && known->usable()) {
        hop.reach = Reach::kReachable;
        hop.mac = known->mac;
    } else if (watched.failed) {
        hop.reach = Reach::kFailed;
        hop.reason = "no answer to " + std::string(hop.via.is_v4() ? "ARP" : "neighbour solicitation") + " for " +
                     hop.via.to_string();
    } else {
        hop.reach = Reach::kResolving;
        hop.reason = watched.kick_error.empty() ? "resolving " + hop.via.to_string() : watched.kick_error;
    }
}

// Compares with what was last told.
void NextHopTracker::note(const Destination& destination, Target& target) {
    NextHop hop = describe(destination, target);
    if (target.told == hop) return;
    events_.push_back({std::exchange(target.told, hop), hop});
}

void NextHopTracker::tell() {
    // A callback that calls back in has its own events told within that call.
    for (const Event& event : std::exchange(events_, {}))
        if (callback_) callback_(event.before, event.now);
}

const NextHop* NextHopTracker::find(const Destination& destination) const {
    const auto found = targets_.find(destination);
    return found == targets_.end() ? nullptr : &*found->second.told;
}

std::vector<NextHop> NextHopTracker::all() const {
    std::vector<NextHop> hops;
    for (const auto& [destination, target] : targets_) hops.push_back(*target.told);
    return hops;
}

bool NextHopTracker::settled() const {
    return std::none_of(targets_.begin(), targets_.end(), [](const auto& entry) {
        const NextHop& hop = *entry.second.told;
        return hop.reach == Reach::kResolving && !hop.sendable();
    });
}

std::string_view to_string(Reach reach) {
    switch (reach) {
        case Reach::kResolving:
            return "resolving";
        case Reach::kReachable:
            return "reachable";
        case Reach::kLocal:
            return "local";
        case Reach::kFailed:
            return "failed";
        case Reach::kLinkDown:
            return "link down";
        case Reach::kNoRoute:
            return "no route";
    }
    return "?";
}

}  // namespace fairlead::net
