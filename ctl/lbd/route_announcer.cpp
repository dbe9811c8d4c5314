// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/route_announcer.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <utility>

namespace fairlead {

void RouteAnnouncer::set_owner(const std::optional<net::RouteOwner>& owner) {
    if (owner == owner_) return;
    withdraw_all();
    owner_ = owner;
    decided_.clear();
    present_.clear();
    errors_.clear();
    if (!owner_) return;
    read();
    spdlog::info("announcing VIPs by routes of protocol {} in table {}; {} stand there", owner_->protocol,
                 owner_->table, present_.size());
}

void RouteAnnouncer::read() {
    auto routes = os_.host_routes(*owner_);
    if (!routes && !unreadable_) spdlog::error("announcing VIPs: {}", routes.error().message);
    unreadable_ = !routes;
    if (routes) present_ = {routes->begin(), routes->end()};
}

void RouteAnnouncer::follow(std::vector<plan::VipAnnouncement> decided) {
    if (!owner_) return;
    decided_ = std::move(decided);
    apply();
}

void RouteAnnouncer::refresh() {
    if (!owner_) return;
    read();
    apply();
}

void RouteAnnouncer::withdraw_all() {
    if (!owner_) return;
    for (const auto& vip : std::set<IpAddress>(present_)) withdraw(vip, "lbd no longer announces it");
}

// Without knowing what stands there is nothing to compare with.
void RouteAnnouncer::apply() {
    if (unreadable_) return;
    std::map<IpAddress, const std::string*> reasons;
    for (const auto& vip : decided_) reasons.emplace(vip.vip, &vip.reason);
    const auto reason_of = [&](const IpAddress& vip) {
        const auto found = reasons.find(vip);
        return found == reasons.end() ? std::string("it is not in the config") : *found->second;
    };
    auto [withdrawn, announced] = plan::route_changes(present_, decided_);
    std::set<IpAddress> open(withdrawn.begin(), withdrawn.end());
    open.insert(announced.begin(), announced.end());
    std::erase_if(errors_, [&](const auto& error) { return !open.contains(error.first); });
    for (const auto& vip : withdrawn) withdraw(vip, reason_of(vip));
    for (const auto& vip : announced) announce(vip, reason_of(vip));
}

void RouteAnnouncer::announce(const IpAddress& vip, const std::string& reason) {
    if (auto added = os_.add_host_route(vip, *owner_); !added) {
        const bool taken = added.error().code == EEXIST;
        return fail_of(vip, taken ? "another program's route to it stands in table " + std::to_string(owner_->table)
                                  : added.error().message);
    }
    present_.insert(vip);
    errors_.erase(vip);
    spdlog::info("VIP {} announced: {}", vip.to_string(), reason);
}

void RouteAnnouncer::withdraw(const IpAddress& vip, const std::string& reason) {
    if (auto gone = os_.delete_host_route(vip, *owner_); !gone) return fail_of(vip, gone.error().message);
    present_.erase(vip);
    errors_.erase(vip);
    spdlog::warn("VIP {} withdrawn: {}", vip.to_string(), reason);
}

void RouteAnnouncer::fail_of(const IpAddress& vip, const std::string& message) {
    auto& known = errors_[vip];
    if (known == message) return;
    known = message;
    spdlog::error("VIP {}: {}", vip.to_string(), message);
}

std::vector<RouteAnnouncer::Vip> RouteAnnouncer::vips() const {
    std::vector<Vip> list;
    list.reserve(decided_.size());
    for (const auto& decided : decided_) {
        const auto error = errors_.find(decided.vip);
        list.push_back(
            {decided.vip, present_.contains(decided.vip), error == errors_.end() ? decided.reason : error->second});
    }
    return list;
}

}  // namespace fairlead
