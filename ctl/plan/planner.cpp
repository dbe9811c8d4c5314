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

Plan make_plan(const config::Config& config, const NodeView& node, const HealthView& health, const Overrides& overrides,
               const Tiers& tiers) {
    Plan plan;
    for (const config::Pool& pool : config.pools) {
        plan.desired.pools.push_back(desired_pool(pool, node));
        plan.settings.push_back({pool.quorum, pool.all_down, pool.check_policy, pool.checks, pool.failure_grace,
                                 pool.slow_start, pool.failback_delay, pool.failback});
        const auto tier = tiers.find(pool.name);
        plan.decisions.push_back(decide_pool(pool, of_pool(health, pool.name), of_pool(overrides, pool.name),
                                             tier == tiers.end() ? std::nullopt : std::optional(tier->second)));
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

namespace {
// Whether a record of the tables is this backend of a config.
bool is_record_of(const tables::BackendStatus& record, const config::Backend& backend) {
    const auto tunnel = backend.forward == config::Forward::kIpip  ? FL_FORWARD_IPIP
                        : backend.forward == config::Forward::kGue ? FL_FORWARD_GUE
                                                                   : FL_FORWARD_L2DSR;
    return record.address == backend.address && (record.forward == FL_FORWARD_LOCAL || record.forward == tunnel);
}

config::Forward forward_of(const tables::BackendStatus& record) {
    switch (record.forward) {
        case FL_FORWARD_IPIP:
            return config::Forward::kIpip;
        case FL_FORWARD_GUE:
            return config::Forward::kGue;
        default:
            return config::Forward::kL2Dsr;
    }
}

bool has_name(const config::Pool& pool, const std::string& name) {
    return std::ranges::any_of(pool.backends, [&](const auto& backend) { return backend.name == name; });
}

// The name of the one that leaves, unless another has it now: web1 -> web1~2. Names in a file have no '~'.
std::string free_name(const config::Pool& pool, const std::string& name) {
    auto base = name.substr(0, name.find('~'));
    base.resize(std::min<std::size_t>(base.size(), FL_NAME_BYTES - 8));
    auto result = name;
    for (int number = 2; has_name(pool, result); ++number) result = base + "~" + std::to_string(number);
    return result;
}

config::Backend leaving_backend(const tables::BackendStatus& record, const config::Pool* present) {
    config::Backend backend;
    if (present)
        for (const auto& known : present->backends)
            if (known.name == record.name && is_record_of(record, known)) backend = known;
    backend.name = record.name;
    backend.address = record.address;
    backend.local = record.forward == FL_FORWARD_LOCAL;
    backend.tier = static_cast<int>(record.tier);
    if (record.forward != FL_FORWARD_LOCAL) backend.forward = forward_of(record);
    backend.leaving = true;
    return backend;
}
}  // namespace

void keep_tables(config::Config& config, const tables::Snapshot& tables) {
    for (auto& pool : config.pools)
        if (const auto* known = pool.table_given ? nullptr : tables.find_pool(pool.name))
            pool.table = std::max(pool.table, known->slots);
}

std::vector<std::string> keep_leaving(config::Config& config, const tables::Snapshot& tables,
                                      const config::Config& present) {
    std::vector<std::string> lines;
    for (auto& pool : config.pools) {
        const auto* known = tables.find_pool(pool.name);
        if (!known) continue;
        for (const auto& record : known->backends) {
            const auto same = [&](const auto& backend) { return is_record_of(record, backend); };
            if (std::ranges::any_of(pool.backends, same)) continue;
            const auto before = std::ranges::find(present.pools, pool.name, &config::Pool::name);
            auto backend = leaving_backend(record, before == present.pools.end() ? nullptr : &*before);
            backend.name = free_name(pool, backend.name);
            lines.push_back("pool " + pool.name + ": backend " + backend.name + " (" + backend.address.to_string() +
                            ") is no longer in the config, and drains");
            pool.backends.push_back(std::move(backend));
        }
    }
    return lines;
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
