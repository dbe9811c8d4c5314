// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/ha_service.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>

#include "dataplane/tables/tables.h"

namespace fairlead {
namespace {

// Of a family that VIPs have, since an advert names those of its family and must name one: IPv4 first, the configured
// address, else the first of the interface; then the link-local IPv6 address.
std::optional<IpAddress> advert_source(const HaWorld& world, const net::Link& link, const std::set<IpAddress>& vips) {
    std::optional<IpAddress> v4, v6;
    for (const auto& [ifindex, address, length] : world.network.addresses()) {
        if (ifindex != link.ifindex || vips.contains(address)) continue;
        if (address.is_v4() && (!v4 || address == world.node.address)) v4 = address;
        if (address.is_v6() && address.is_link_local() && !v6) v6 = address;
    }
    const auto has = [&](bool family_v4) {
        return vips.empty() ||
               std::any_of(vips.begin(), vips.end(), [&](const auto& vip) { return vip.is_v4() == family_v4; });
    };
    if (v4 && has(true)) return v4;
    return v6 && has(false) ? v6 : std::nullopt;
}

ha::VrrpSocketOptions socket_options(const HaWorld& world, const net::Link& link, const IpAddress& source) {
    ha::VrrpSocketOptions options{link.name, link.ifindex, source, {}};
    // One file for all nodes: it may list this one too.
    for (const auto& peer : world.config.ha.peers)
        if (peer.is_v4() == source.is_v4() && peer != source) options.peers.push_back(peer);
    return options;
}

// Untagged where the config says so, or nothing.
std::optional<std::uint16_t> announced_vlan(const config::Interface& interface) {
    return interface.vlan.value_or(0) ? interface.vlan : std::nullopt;
}

ha::HaGroup made_of(const config::HaGroup& configured, const HaWorld& world) {
    ha::HaGroup group;
    group.name = configured.name;
    group.vrid = configured.vrid;
    group.external = world.config.ha.mode == config::HaMode::kExternal;
    group.role = configured.vrid < world.roles.size() ? &world.roles[configured.vrid] : nullptr;
    group.settings.priority = config::priority_of(world.node, configured);
    group.settings.advert_interval = std::chrono::duration_cast<ha::Centiseconds>(configured.advert_interval);
    group.settings.preempt = configured.preempt;
    group.settings.preempt_delay = configured.preempt_delay;
    // A file that names one node alone has a peer of another make, or none.
    group.settings.peers_have_leases = world.config.nodes.size() > 1;
    group.vips = configured.vips;
    return group;
}

bool has_group(const std::vector<ha::HaGroup>& groups, const std::string& name) {
    return std::any_of(groups.begin(), groups.end(), [&](const auto& group) { return group.name == name; });
}

}  // namespace

Result<std::vector<ha::HaGroup>> make_ha_groups(const HaWorld& world) {
    std::set<IpAddress> vips;
    for (const auto& service : world.config.services) vips.insert(service.vip);
    const auto& name = world.node.interfaces.front().name;
    const auto* first = world.network.link(name);
    if (!first) return fail("interface " + name + " is not there", ENODEV);
    const auto source = advert_source(world, *first, vips);
    if (!source)
        return fail("interface " + first->name + " has no address to send adverts of these VIPs from", EADDRNOTAVAIL);

    std::vector<ha::HaPort> ports;
    for (const auto& interface : world.node.interfaces)
        if (const auto* link = world.network.link(interface.name))
            ports.push_back({link->ifindex, link->mac, announced_vlan(interface)});
    std::vector<ha::HaGroup> groups;
    for (const auto& configured : config::groups_of(world.config)) {
        auto& group = groups.emplace_back(made_of(configured, world));
        group.settings.address = *source;
        group.socket = socket_options(world, *first, *source);
        group.ports = ports;
    }
    return groups;
}

ha::Tracking tracking_of(const config::Ha& ha, const HaCondition& condition) {
    ha::Tracking tracking;
    int off = 0;
    const auto take = [&](bool good, const config::HaPenalty& penalty) {
        if (good) return;
        off += penalty.off;
        tracking.fault |= penalty.fault;
    };
    take(condition.interfaces_up, ha.track_interface);
    take(condition.attached, ha.track_engine);
    take(condition.backends, ha.track_backends);
    tracking.penalty = static_cast<std::uint8_t>(std::min(off, 255));
    return tracking;
}

Result<std::unique_ptr<HaService>> HaService::create() {
    auto thread = ha::HaThread::create();
    if (!thread) return tl::unexpected(thread.error());
    std::unique_ptr<HaService> made(new HaService);
    made->thread_ = std::move(*thread);
    if (!made->thread_->realtime())
        spdlog::warn("HA: {}; advert intervals under 100 ms are refused", made->thread_->realtime_error());
    return made;
}

Result<void> HaService::follow(const HaWorld& world) {
    auto groups = make_ha_groups(world);
    if (!groups) return tl::unexpected(groups.error());
    if (groups_ == *groups) return {};
    if (auto done = thread_->configure(*groups); !done) return done;
    const auto before = std::exchange(groups_, std::move(*groups));
    std::erase_if(tracking_, [&](const auto& entry) { return !has_group(groups_, entry.first); });
    std::erase_if(told_, [&](const auto& entry) { return !has_group(groups_, entry.first); });
    for (std::size_t i = 0; i < groups_.size(); ++i) {
        const auto& group = groups_[i];
        thread_->set_tracking(i, tracking_[group.name]);
        // What the other program said to an earlier lbd still holds.
        if (!group.external || has_group(before, group.name) || tables::load_word(group.role->active_until_ns) == 0)
            continue;
        if (auto done = thread_->set_external(i, true); !done) return done;
    }
    return {};
}

void HaService::set_ready() {
    if (ready_) return;
    ready_ = true;
    thread_->set_ready(true);
}

void HaService::track(const config::Ha& ha, const std::function<HaCondition(const ha::HaGroup&)>& condition_of) {
    for (std::size_t i = 0; i < groups_.size(); ++i) {
        const auto tracking = tracking_of(ha, condition_of(groups_[i]));
        auto& known = tracking_[groups_[i].name];
        if (tracking == known) continue;
        known = tracking;
        spdlog::info("HA group {}: tracking takes {} off the priority{}", groups_[i].name, tracking.penalty,
                     tracking.fault ? ", and this node must not be active" : "");
        thread_->set_tracking(i, tracking);
    }
}

Result<std::vector<std::size_t>> HaService::positions_of(const std::string& group) const {
    if (groups_.empty()) return fail("HA has not started yet", EAGAIN);
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < groups_.size(); ++i)
        if (group.empty() || groups_[i].name == group) positions.push_back(i);
    if (!positions.empty()) return positions;
    std::string names;
    for (const auto& known : groups_) names += (names.empty() ? "" : ", ") + known.name;
    return fail("no HA group " + group + " (there are: " + names + ")", ENOENT);
}

Result<void> HaService::give_up(const std::string& group) {
    const auto positions = positions_of(group);
    if (!positions) return tl::unexpected(positions.error());
    Result<void> refused;
    bool any = false;
    for (const auto position : *positions) {
        if (auto done = thread_->give_up(position); done)
            any = true;
        else
            refused = std::move(done);
    }
    return any ? Result<void>{} : refused;
}

Result<void> HaService::set_external(const std::string& group, bool active) {
    const auto positions = positions_of(group);
    if (!positions) return tl::unexpected(positions.error());
    for (const auto position : *positions)
        if (auto done = thread_->set_external(position, active); !done) return done;
    return {};
}

std::vector<std::string> HaService::take_changes() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto cleared = ::read(changes_fd(), &count, sizeof count);
    std::vector<std::string> lines;
    for (const auto& group : status()) {
        auto& [told, splits] = told_[group.name];
        if (told > group.changes) told = splits = 0;  // it began anew, with another VRID
        if (group.changes - told > ha::kHaHistory) told = group.changes - ha::kHaHistory;
        const auto called = groups_.size() > 1 ? "group " + group.name + ": " : std::string();
        for (; told < group.changes; ++told)
            lines.push_back(called + describe(group.history.at(told % ha::kHaHistory)));
        if (std::exchange(splits, group.counters.split_brains) < group.counters.split_brains)
            lines.push_back(called + "SPLIT BRAIN: another node was active too" +
                            (group.peer ? ": " + group.peer->address.to_string() : ""));
    }
    return lines;
}

std::string describe(const ha::StateChange& change) {
    std::string text(ha::to_string(change.from));
    text += " -> " + std::string(ha::to_string(change.to)) + ": " + std::string(ha::phrase_of(change.reason));
    if (!change.peer.is_unspecified())
        text += " (" + change.peer.to_string() + ", priority " + std::to_string(change.peer_priority) + ")";
    return text;
}

}  // namespace fairlead
