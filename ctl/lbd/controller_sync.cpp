// SPDX-License-Identifier: Apache-2.0
// The controller's part in the state sync: what of its plan it tells a standby, and what it makes of what the active node
// tells.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "ctl/lbd/controller.h"
#include "ctl/lbd/hello_service.h"
#include "ctl/lbd/sync_service.h"

namespace fairlead {

Result<void> Controller::start_sync() {
    if (sync_ && sync_->settings() == config_.sync) return {};
    if (sync_) release_followed({});
    sync_.reset();
    if (!config_.sync.on || !ha_) return {};
    auto key = sync::load_key(config_.sync.key_file);
    if (!key) return tl::unexpected(key.error());
    sync_ = std::make_unique<SyncService>(io_, SyncTables{*tables_, *writer_, *transitions_}, config_.sync, *key,
                                          [this] { sync_changed(); });
    return {};
}

// By the way of the adverts, to those whom hellos go to, or who sent one: where adverts come from link-local addresses,
// nobody is known by these before he has spoken.
void Controller::follow_sync() {
    if (!sync_ || !ha_ || ha_->groups().empty()) return;
    const auto& socket = ha_->groups().front().socket;
    SyncScope scope{{socket.interface, socket.ifindex, socket.source, config_.sync.port, sync::kMessageBytes,
                     SyncService::kReceiveBuffer},
                    {},
                    node_.name};
    std::set<IpAddress> peers(socket.peers.begin(), socket.peers.end());
    if (peers.empty()) {
        for (const auto& address : peer_addresses()) peers.insert(address);
        for (const auto& group : ha_->status())
            if (group.peer) peers.insert(group.peer->address);
        for (const auto& peer : hello().peers()) peers.insert(peer.address);
    }
    const auto reached = [&](const IpAddress& address) {
        return address.is_v4() == socket.source.is_v4() && address.is_link_local() == socket.source.is_link_local() &&
               address != socket.source;
    };
    std::ranges::copy_if(peers, std::back_inserter(scope.peers), reached);
    sync_->follow(scope);
    if (published_) sync_->set_active(pools_to_tell());
}

// Pools whose VIPs are all active here.
std::map<std::uint32_t, ToldPool> Controller::pools_to_tell() const {
    const auto now = ha::role_word(std::chrono::steady_clock::now());
    std::set<IpAddress> active;
    for (const auto& vip : plan_.desired.vips)
        if (now < tables::load_word(tables_->roles()[vip.role].active_until_ns)) active.insert(vip.address);
    std::set<std::string_view> ours, others;
    for (const auto& service : plan_.desired.services)
        (active.contains(service.vip) ? ours : others).insert(service.pool);
    std::map<std::uint32_t, ToldPool> pools;
    for (std::size_t i = 0; i < plan_.decisions.size(); ++i) {
        const auto& name = plan_.decisions[i].pool;
        if (!ours.contains(name) || others.contains(name)) continue;
        if (const auto id = writer_->find_pool(name)) pools.emplace(*id, pool_to_tell(i, *id));
    }
    return pools;
}

ToldPool Controller::pool_to_tell(std::size_t position, std::uint32_t id) const {
    const auto& desired = plan_.desired.pools[position];
    ToldPool told{{id, writer_->slot_count(id), desired.flags, {}, desired.name}, {}};
    if (const auto tier = state_.tiers.find(desired.name); tier != state_.tiers.end()) told.pool.tier = tier->second;
    const auto health = looked_.find(desired.name);
    const auto overrides = state_.overrides.find(desired.name);
    for (const auto& backend : desired.backends) {
        const auto index = writer_->find_backend(id, backend.name);
        if (!index) continue;
        sync::ViewRecord view{.pool = id, .index = *index, .weight = {}, .up_for_ms = {}};
        if (health != looked_.end())
            if (const auto found = health->second.find(backend.name); found != health->second.end()) {
                view.verdict = static_cast<std::uint8_t>(found->second.verdict);
                view.dead = found->second.dead;
                // By the second, lest each look be news.
                if (found->second.up_for)
                    view.up_for_ms = static_cast<std::uint32_t>(found->second.up_for->count() / 1000 * 1000);
            }
        if (overrides != state_.overrides.end())
            if (const auto found = overrides->second.find(backend.name); found != overrides->second.end()) {
                view.drained = found->second.drained;
                view.weight = found->second.weight;
                view.instead_of = found->second.instead_of;
            }
        told.backends.push_back(
            {{id, *index, static_cast<std::uint8_t>(backend.forward), backend.address, backend.name}, view});
    }
    return told;
}

// What an operator set on the active node holds here, and goes on to hold when this one is active.
void Controller::take_view(std::size_t position) {
    const auto& name = config_.pools[position].name;
    if (const auto* view = sync_->view(name)) {
        const auto before = state_;
        if (view->overrides.empty())
            state_.overrides.erase(name);
        else
            state_.overrides[name] = view->overrides;
        if (view->tier)
            state_.tiers[name] = *view->tier;
        else
            state_.tiers.erase(name);
        if (state_ != before) save_soon();
    }
    update_pool(position);
}

void Controller::sync_changed() {
    follow_idle();
    const auto changed = sync_->take_changed();
    for (std::size_t i = 0; i < config_.pools.size() && !changed.empty(); ++i)
        if (changed.contains(config_.pools[i].name)) take_view(i);
    track_ha();
}

// Those of the pools that were followed, and are no more, go on by this node's own checks and planner, from where they are.
void Controller::release_followed(const std::set<std::uint32_t>& following) {
    for (std::size_t i = 0; i < config_.pools.size(); ++i) {
        const auto& name = config_.pools[i].name;
        const auto id = writer_->find_pool(name);
        if (!id || !following_.contains(*id) || following.contains(*id)) continue;
        if (const auto* view = sync_->last_view(name))
            for (const auto& [backend, health] : view->health)
                if (health.dead)
                    vitals_.adopt(name, backend, {.dead = true, .down = true}, std::chrono::steady_clock::now());
        following_.erase(*id);
        if (auto set = transitions_->set_following(following_); !set) spdlog::error("{}", set.error().message);
        sync_->forget(*id);
        update_pool(i);
        decisions_->update_anew(plan_.decisions[i]);
        spdlog::info("pool {} goes by this node's own checks", name);
    }
}

Result<void> Controller::check_not_followed(const std::string& pool) const {
    if (!sync_ || !sync_->view(pool)) return {};
    return fail("pool " + pool + " follows the node that is active for it: change it there", EBUSY);
}

}  // namespace fairlead
