// SPDX-License-Identifier: Apache-2.0
#include "ctl/plan/planner.h"

#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace fairlead::plan {
namespace {

template <typename View>
const typename View::mapped_type& of_pool(const View& view, const std::string& pool) {
    static const typename View::mapped_type kNothing{};
    const auto found = view.find(pool);
    return found == view.end() ? kNothing : found->second;
}

fl_forward forward_of(const config::Backend& backend, const NodeView& node) {
    if (is_local(backend, node)) {
        return FL_FORWARD_LOCAL;
    }
    switch (backend.forward) {
        case config::Forward::kIpip:
            return FL_FORWARD_IPIP;
        case config::Forward::kGue:
            return FL_FORWARD_GUE;
        case config::Forward::kL2Dsr:
            break;
    }
    return FL_FORWARD_L2DSR;
}

std::uint32_t flags_of(const config::Pool& pool) {
    std::uint32_t flags = pool.affinity == config::Affinity::kClientIp ? FL_POOL_CLIENT_IP : 0;
    if (pool.too_big == config::TooBig::kPass) {
        flags |= FL_POOL_TOO_BIG_PASS;
    }
    // all_down = "any" leaves slots without an owner only when all backends are drained: refuse at once then, too.
    if (pool.all_down != config::AllDown::kDrop) {
        flags |= FL_POOL_ALL_DOWN_RESET;
    }
    return flags;
}

// Whole seconds, never fewer than were asked for.
std::uint32_t seconds_of(config::Milliseconds time) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
    return static_cast<std::uint32_t>(std::max<std::int64_t>(seconds, 1));
}

tables::DesiredPool desired_pool(const config::Pool& pool, const NodeView& node) {
    tables::DesiredPool desired;
    desired.name = pool.name;
    desired.flags = flags_of(pool);
    desired.slots = pool.table;
    desired.idle_timeout_s = seconds_of(pool.idle_timeout);
    desired.backends.reserve(pool.backends.size());
    for (const config::Backend& backend : pool.backends) {
        const fl_forward forward = forward_of(backend, node);
        desired.backends.push_back({backend.name, backend.address, forward, static_cast<std::uint32_t>(backend.tier),
                                    forward == FL_FORWARD_GUE ? pool.gue_port : std::uint16_t{0}});
    }
    return desired;
}

void append_services(std::vector<tables::DesiredService>& services, const config::Service& service) {
    tables::DesiredService desired;
    desired.name = service.name;
    desired.vip = service.vip;
    desired.pool = service.pool;
    desired.protocol = service.protocol == config::Protocol::kUdp ? IPPROTO_UDP : IPPROTO_TCP;
    if (service.ports.empty()) {
        services.push_back(desired);  // any
        return;
    }
    for (const std::uint16_t port : service.ports) {
        desired.port = port;
        services.push_back(desired);
    }
}

// The VIPs, each once, in the order in which services name them.
class VipList {
  public:
    VipList(const config::Ha& ha, const NodeView& node, std::set<std::string_view> local_pools)
        : ha_(ha), node_(node), local_pools_(std::move(local_pools)) {}

    void add(const config::Service& service) {
        const auto [place, is_new] = places_.try_emplace(service.vip, vips_.size());
        if (is_new) {
            const bool reset = service.unlisted == config::Unlisted::kReset;
            vips_.push_back(
                {service.vip, reset, node_.local_addresses.contains(service.vip), config::role_of(ha_, service.vip)});
        }
        vips_[place->second].local |= local_pools_.contains(service.pool);
    }

    std::vector<tables::DesiredVip> take() { return std::move(vips_); }

  private:
    const config::Ha& ha_;
    const NodeView& node_;
    std::set<std::string_view> local_pools_;
    std::map<IpAddress, std::size_t> places_;
    std::vector<tables::DesiredVip> vips_;
};

std::set<std::string_view> pools_with_local_backend(const config::Config& config, const NodeView& node) {
    std::set<std::string_view> names;
    for (const config::Pool& pool : config.pools) {
        if (std::any_of(pool.backends.begin(), pool.backends.end(),
                        [&](const config::Backend& backend) { return is_local(backend, node); })) {
            names.insert(pool.name);
        }
    }
    return names;
}

void append_checks(std::vector<CheckTarget>& targets, const config::Pool& pool) {
    for (const config::Backend& backend : pool.backends) {
        for (const config::Check& check : pool.checks) {
            targets.push_back({pool.name, backend.name, backend.address, check});
        }
    }
}

}  // namespace

bool is_local(const config::Backend& backend, const NodeView& node) {
    return backend.local || node.local_addresses.contains(backend.address);
}

Plan make_plan(const config::Config& config, const NodeView& node, const HealthView& health,
               const Overrides& overrides) {
    Plan plan;
    for (const config::Pool& pool : config.pools) {
        plan.desired.pools.push_back(desired_pool(pool, node));
        plan.settings.push_back({pool.quorum, pool.all_down, pool.check_policy, pool.checks});
        plan.decisions.push_back(decide_pool(pool, of_pool(health, pool.name), of_pool(overrides, pool.name)));
        append_checks(plan.checks, pool);
    }
    VipList vips(config.ha, node, pools_with_local_backend(config, node));
    for (const config::Service& service : config.services) {
        vips.add(service);
        append_services(plan.desired.services, service);
    }
    plan.desired.vips = vips.take();
    return plan;
}

std::vector<Candidate> slot_candidates(const PoolDecision& decision, const IndexOf& index_of) {
    std::vector<Candidate> candidates;
    candidates.reserve(decision.in_use);
    for (const BackendDecision& backend : decision.backends) {
        if (!backend.in_use) {
            continue;
        }
        if (const auto index = index_of(backend.name)) {
            candidates.push_back({*index, backend.name, backend.weight});
        }
    }
    return candidates;
}

}  // namespace fairlead::plan
