// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>

#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "ctl/plan/planner.h"

namespace fairlead::plan {
namespace {

using Lines = std::vector<std::string>;

void add_change(Lines& lines, const std::string& subject, const std::string& what, const std::string& before,
                const std::string& after) {
    if (before != after) {
        lines.push_back(subject + ": " + what + " " + before + " -> " + after);
    }
}

std::string_view all_down_name(config::AllDown all_down) {
    switch (all_down) {
        case config::AllDown::kReset:
            return "reset";
        case config::AllDown::kDrop:
            return "drop";
        case config::AllDown::kAny:
            return "any";
    }
    return "unknown";
}

// The entries of a list by name, for comparing two lists in the order of the names.
template <typename Entry>
std::map<std::string_view, const Entry*> by_name(const std::vector<Entry>& entries) {
    std::map<std::string_view, const Entry*> index;
    for (const Entry& entry : entries) {
        index.emplace(entry.name, &entry);
    }
    return index;
}

// Calls removed(entry), added(entry) and both(before, after) for two maps of pointers with the same kind of key.
template <typename Map, typename Removed, typename Added, typename Both>
void compare(const Map& before, const Map& after, Removed removed, Added added, Both both) {
    for (const auto& [key, entry] : before) {
        if (!after.contains(key)) {
            removed(*entry);
        }
    }
    for (const auto& [key, entry] : after) {
        const auto old = before.find(key);
        if (old == before.end()) {
            added(*entry);
        } else {
            both(*old->second, *entry);
        }
    }
}

// One pool of a plan with everything that the plan says of it.
struct PoolPart {
    std::string_view name;
    const tables::DesiredPool* desired;
    const PoolSettings* settings;
    std::map<std::string_view, const BackendDecision*> decisions;
};

std::vector<PoolPart> parts_of(const Plan& plan) {
    std::vector<PoolPart> parts;
    for (std::size_t i = 0; i < plan.desired.pools.size(); ++i) {
        parts.push_back({plan.desired.pools[i].name, &plan.desired.pools[i], &plan.settings[i], {}});
        for (const BackendDecision& backend : plan.decisions[i].backends) {
            parts.back().decisions[backend.name] = &backend;
        }
    }
    return parts;
}

// What the config says of a backend and the tables do not.
void diff_decided(Lines& lines, const std::string& subject, const BackendDecision& before,
                  const BackendDecision& after) {
    const auto vlan = [](const BackendDecision& backend) {
        return backend.vlan ? std::to_string(*backend.vlan) : "none";
    };
    const auto mac = [](const BackendDecision& backend) { return backend.mac ? backend.mac->to_string() : "none"; };
    add_change(lines, subject, "vlan", vlan(before), vlan(after));
    add_change(lines, subject, "mac", mac(before), mac(after));
    add_change(lines, subject, "weight", std::to_string(before.configured_weight),
               std::to_string(after.configured_weight));
}

void diff_backends(Lines& lines, const PoolPart& before, const PoolPart& after) {
    const std::string prefix = "pool " + std::string(after.name) + ": backend ";
    const auto removed = [&](const auto& backend) { lines.push_back(prefix + backend.name + " removed"); };
    const auto leaves = [](const PoolPart& part, const auto& backend) {
        return part.decisions.at(backend.name)->leaving;
    };
    const auto added = [&](const auto& backend) {
        lines.push_back(prefix + backend.name + " added (" + backend.address.to_string() + ", tier " +
                        std::to_string(backend.tier) + ")");
    };
    const auto both = [&](const auto& old, const auto& now) {
        const std::string subject = prefix + now.name;
        if (leaves(before, old) != leaves(after, now)) {
            lines.push_back(subject + (leaves(after, now) ? " removed, drains first" : " is in the config again"));
        }
        add_change(lines, subject, "address", old.address.to_string(), now.address.to_string());
        add_change(lines, subject, "forward", std::string(tables::to_string(old.forward)),
                   std::string(tables::to_string(now.forward)));
        add_change(lines, subject, "gue_port", std::to_string(old.gue_port), std::to_string(now.gue_port));
        add_change(lines, subject, "tier", std::to_string(old.tier), std::to_string(now.tier));
        diff_decided(lines, subject, *before.decisions.at(old.name), *after.decisions.at(now.name));
    };
    compare(by_name(before.desired->backends), by_name(after.desired->backends), removed, added, both);
}

void diff_settings(Lines& lines, const PoolPart& before, const PoolPart& after) {
    const std::string subject = "pool " + std::string(after.name);
    const auto affinity = [](const PoolPart& part) {
        return std::string(part.desired->flags & FL_POOL_CLIENT_IP ? "client-ip" : "connection");
    };
    const auto too_big = [](const PoolPart& part) {
        return std::string(part.desired->flags & FL_POOL_TOO_BIG_PASS ? "pass" : "drop");
    };
    const auto policy = [](const PoolPart& part) {
        return std::string(part.settings->check_policy == config::CheckPolicy::kAll ? "all" : "any");
    };
    add_change(lines, subject, "affinity", affinity(before), affinity(after));
    add_change(lines, subject, "quorum", std::to_string(before.settings->quorum),
               std::to_string(after.settings->quorum));
    add_change(lines, subject, "all_down", std::string(all_down_name(before.settings->all_down)),
               std::string(all_down_name(after.settings->all_down)));
    add_change(lines, subject, "too_big", too_big(before), too_big(after));
    add_change(lines, subject, "check_policy", policy(before), policy(after));
    add_change(lines, subject, "table", std::to_string(before.desired->slots), std::to_string(after.desired->slots));
    add_change(lines, subject, "idle_timeout", std::to_string(before.desired->idle_timeout_s) + "s",
               std::to_string(after.desired->idle_timeout_s) + "s");
    const auto ms = [](std::chrono::milliseconds time) { return std::to_string(time.count()) + "ms"; };
    const auto yes = [](bool value) { return std::string(value ? "true" : "false"); };
    add_change(lines, subject, "failure_grace", ms(before.settings->failure_grace), ms(after.settings->failure_grace));
    add_change(lines, subject, "slow_start", ms(before.settings->slow_start), ms(after.settings->slow_start));
    add_change(lines, subject, "failback", yes(before.settings->failback), yes(after.settings->failback));
    add_change(lines, subject, "failback_delay", ms(before.settings->failback_delay),
               ms(after.settings->failback_delay));
    if (before.settings->checks != after.settings->checks) {
        lines.push_back(subject + ": checks changed");
    }
}

void diff_pools(Lines& lines, const Plan& before, const Plan& after) {
    const std::vector<PoolPart> old_parts = parts_of(before);
    const std::vector<PoolPart> new_parts = parts_of(after);
    compare(
        by_name(old_parts), by_name(new_parts),
        [&](const PoolPart& pool) { lines.push_back("pool " + std::string(pool.name) + " removed"); },
        [&](const PoolPart& pool) {
            lines.push_back("pool " + std::string(pool.name) + " added (" +
                            std::to_string(pool.desired->backends.size()) + " backends)");
        },
        [&](const PoolPart& old, const PoolPart& now) {
            diff_settings(lines, old, now);
            diff_backends(lines, old, now);
        });
}

std::map<IpAddress, const tables::DesiredVip*> vips_of(const Plan& plan) {
    std::map<IpAddress, const tables::DesiredVip*> vips;
    for (const tables::DesiredVip& vip : plan.desired.vips) {
        vips.emplace(vip.address, &vip);
    }
    return vips;
}

void diff_vips(Lines& lines, const Plan& before, const Plan& after) {
    compare(
        vips_of(before), vips_of(after),
        [&](const auto& vip) { lines.push_back("vip " + vip.address.to_string() + " removed"); },
        [&](const auto& vip) { lines.push_back("vip " + vip.address.to_string() + " added"); },
        [&](const auto& old, const auto& now) {
            const std::string subject = "vip " + now.address.to_string();
            add_change(lines, subject, "unlisted", old.reset ? "reset" : "drop", now.reset ? "reset" : "drop");
            add_change(lines, subject, "local", old.local ? "yes" : "no", now.local ? "yes" : "no");
            add_change(lines, subject, "vrid", std::to_string(old.role), std::to_string(now.role));
        });
}

// A service as a person wrote it: its ports together again.
struct ServicePart {
    std::string name;
    std::string pool;
    std::set<std::uint16_t> ports;
};
using ServiceKey = std::tuple<std::string, IpAddress, std::uint8_t>;

std::map<ServiceKey, ServicePart> services_of(const Plan& plan) {
    std::map<ServiceKey, ServicePart> services;
    for (const tables::DesiredService& service : plan.desired.services) {
        ServicePart& part = services[{service.name, service.vip, service.protocol}];
        part.name = "service " + service.name + " (" + service.vip.to_string() +
                    (service.protocol == IPPROTO_UDP ? " udp)" : " tcp)");
        part.pool = service.pool;
        part.ports.insert(service.port);
    }
    return services;
}

std::string port_name(std::uint16_t port) { return port == 0 ? "any port" : "port " + std::to_string(port); }

void diff_ports(Lines& lines, const ServicePart& before, const ServicePart& after) {
    for (const std::uint16_t port : before.ports) {
        if (!after.ports.contains(port)) {
            lines.push_back(after.name + ": " + port_name(port) + " removed");
        }
    }
    for (const std::uint16_t port : after.ports) {
        if (!before.ports.contains(port)) {
            lines.push_back(after.name + ": " + port_name(port) + " added");
        }
    }
}

void diff_services(Lines& lines, const Plan& before, const Plan& after) {
    const auto old_services = services_of(before);
    const auto new_services = services_of(after);
    for (const auto& [key, service] : old_services) {
        if (!new_services.contains(key)) {
            lines.push_back(service.name + " removed");
        }
    }
    for (const auto& [key, service] : new_services) {
        const auto old = old_services.find(key);
        if (old == old_services.end()) {
            lines.push_back(service.name + " added to pool " + service.pool);
            continue;
        }
        add_change(lines, service.name, "pool", old->second.pool, service.pool);
        diff_ports(lines, old->second, service);
    }
}

std::string tier_name(const PoolDecision& decision) {
    return decision.tier ? std::to_string(*decision.tier) : decision.in_use > 0 ? "all" : "none";
}

}  // namespace

std::vector<std::string> diff_plan(const Plan& before, const Plan& after) {
    Lines lines;
    diff_vips(lines, before, after);
    diff_pools(lines, before, after);
    diff_services(lines, before, after);
    return lines;
}

std::vector<std::string> diff_decision(const PoolDecision& before, const PoolDecision& after) {
    Lines lines;
    const std::string pool = "pool " + after.pool;
    const auto old_backends = by_name(before.backends);
    for (const BackendDecision& backend : after.backends) {
        const auto old = old_backends.find(backend.name);
        if (old == old_backends.end()) {
            continue;  // a reload's doing
        }
        const std::string subject = pool + ": backend " + backend.name;
        if (old->second->reason != backend.reason) {
            lines.push_back(subject + ": " + old->second->reason + " -> " + backend.reason);
        }
        add_change(lines, subject, "weight", std::to_string(old->second->weight), std::to_string(backend.weight));
    }
    if (tier_name(before) != tier_name(after) || before.all_down != after.all_down) {
        lines.push_back(pool + ": tier " + tier_name(before) + " -> " + tier_name(after) + " (" + after.reason + ")");
    }
    return lines;
}

}  // namespace fairlead::plan
