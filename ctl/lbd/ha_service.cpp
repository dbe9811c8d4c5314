// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/ha_service.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <set>

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

}  // namespace

Result<ha::HaGroup> make_ha_group(const HaWorld& world) {
    const auto& ha = world.config.ha;
    std::set<IpAddress> vips;
    for (const auto& service : world.config.services) vips.insert(service.vip);
    const auto& name = world.node.interfaces.front().name;
    const auto* first = world.network.link(name);
    if (!first) return fail("interface " + name + " is not there", ENODEV);
    const auto source = advert_source(world, *first, vips);
    if (!source)
        return fail("interface " + first->name + " has no address to send adverts of these VIPs from", EADDRNOTAVAIL);

    ha::HaGroup group;
    group.name = "all";
    group.vrid = ha.vrid;
    group.external = ha.mode == config::HaMode::kExternal;
    group.role = world.role;
    group.settings.priority = world.node.priority.value_or(ha.priority);
    group.settings.advert_interval = std::chrono::duration_cast<ha::Centiseconds>(ha.advert_interval);
    group.settings.preempt = ha.preempt;
    group.settings.preempt_delay = ha.preempt_delay;
    group.settings.address = *source;
    // A file that names one node alone has a peer of another make, or none.
    group.settings.peers_have_leases = world.config.nodes.size() > 1;
    group.socket = socket_options(world, *first, *source);
    group.vips.assign(vips.begin(), vips.end());
    for (const auto& interface : world.node.interfaces)
        if (const auto* link = world.network.link(interface.name))
            group.ports.push_back({link->ifindex, link->mac, announced_vlan(interface)});
    return group;
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
    auto group = make_ha_group(world);
    if (!group) return tl::unexpected(group.error());
    if (group_ && *group_ == *group) return {};
    if (auto done = thread_->configure({*group}); !done) return done;
    const bool adopted = !group_ && group->external && tables::load_word(group->role->active_until_ns) != 0;
    group_ = std::move(*group);
    thread_->set_tracking(0, tracking_);
    // What the other program said to an earlier lbd still holds.
    if (adopted) return thread_->set_external(0, true);
    return {};
}

void HaService::set_ready() {
    if (ready_) return;
    ready_ = true;
    thread_->set_ready(true);
}

void HaService::track(const config::Ha& ha, const HaCondition& condition) {
    const auto tracking = tracking_of(ha, condition);
    if (tracking == tracking_) return;
    tracking_ = tracking;
    spdlog::info("HA: tracking takes {} off the priority{}", tracking.penalty,
                 tracking.fault ? ", and this node must not be active" : "");
    if (group_) thread_->set_tracking(0, tracking);
}

Result<void> HaService::give_up() {
    if (!group_) return fail("HA has not started yet", EAGAIN);
    return thread_->give_up(0);
}

Result<void> HaService::set_external(bool active) {
    if (!group_) return fail("HA has not started yet", EAGAIN);
    return thread_->set_external(0, active);
}

std::vector<std::string> HaService::take_changes() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto cleared = ::read(changes_fd(), &count, sizeof count);
    if (!group_) return {};
    const auto now = status();
    if (now.changes - told_ > ha::kHaHistory) told_ = now.changes - ha::kHaHistory;
    std::vector<std::string> lines;
    for (; told_ < now.changes; ++told_) lines.push_back(describe(now.history.at(told_ % ha::kHaHistory)));
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
