// SPDX-License-Identifier: Apache-2.0
// Second step of reading a config: values against each other, and what follows from them.
#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "ctl/config/draft.h"

namespace fairlead::config {
namespace {

std::string at_line(Position at) { return "at line " + std::to_string(at.line); }

std::string_view family(const IpAddress& address) { return address.is_v4() ? "IPv4" : "IPv6"; }

// Remembers where each name was first defined and reports the second.
class Names {
  public:
    Names(Report& report, std::string what) : report_(report), what_(std::move(what)) {}

    bool add(const std::string& name, Position at) {
        const auto [found, added] = first_.try_emplace(name, at);
        if (!added) report_.add(at, what_ + " " + quote(name) + " is already there " + at_line(found->second));
        return added;
    }

  private:
    Report& report_;
    std::string what_;
    std::unordered_map<std::string, Position> first_;
};

// One of [limits]: what is needed, what there is, and the first thing that has no room.
class Budget {
  public:
    Budget(std::string name, std::uint64_t limit, std::uint64_t maximum, std::optional<Position> limit_at)
        : name_(std::move(name)), limit_(limit), maximum_(maximum), limit_at_(limit_at) {}

    void take(std::uint64_t count, Position at) {
        needed_ += count;
        if (needed_ > limit_ && !beyond_) beyond_ = at;
    }

    void report_if_exhausted(Report& report) const {
        if (!beyond_) return;
        std::string message = "limit '" + name_ + "' is exhausted: " + std::to_string(needed_) + " needed, " +
                              std::to_string(limit_) + (limit_at_ ? " given" : " by default");
        message += needed_ > maximum_
                       ? "; more than the maximum of " + std::to_string(maximum_)
                       : "; raise '" + name_ + "' in [limits] (at most " + std::to_string(maximum_) + ")";
        report.add(limit_at_.value_or(*beyond_), std::move(message));
    }

  private:
    std::string name_;
    std::uint64_t limit_;
    std::uint64_t maximum_;
    std::optional<Position> limit_at_;
    std::uint64_t needed_ = 0;
    std::optional<Position> beyond_;
};

class Completer {
  public:
    Completer(Draft draft, Report& report) : draft_(std::move(draft)), report_(report) {
        for (auto& pool : draft_.pools) pools_.push_back(&pool);
        for (auto& service : draft_.services)
            if (service.own_pool) pools_.push_back(&*service.own_pool);
    }

    Config run() && {
        check_nodes();
        check_names();
        resolve_pools();
        for (auto* pool : pools_) check_pool(*pool);
        check_vip_owners();
        check_endpoints();
        settle_unlisted();
        check_families();
        fill_checks();
        for (auto* pool : pools_) fill_table(*pool);
        check_limits();
        complete_ha(draft_, report_);
        complete_dpdk(draft_, report_);
        return assemble();
    }

  private:
    // ---- nodes ----

    void check_nodes() {
        Names names(report_, "a node");
        std::map<IpAddress, Position> addresses;
        const bool several = draft_.nodes.size() > 1;
        for (const auto& node : draft_.nodes) {
            if (node.name_at) names.add(node.value.name, *node.name_at);
            if (several && !node.name_at)
                report_.add(node.at, "[[node]] needs a 'name': with several nodes each is chosen by its name");
            if (several && !node.has_address_key)
                report_.add(node.at, "[[node]] needs an 'address': with several nodes they know each other by it");
            for (const auto& address : node.addresses) {
                const auto [found, added] = addresses.try_emplace(address.value, address.at);
                if (!added)
                    report_.add(address.at, "address " + address.value.to_string() + " is already that of the node " +
                                                at_line(found->second));
            }
        }
        if (draft_.nodes.size() > kMaxNodes)
            report_.add(draft_.nodes[kMaxNodes].at, "more than " + std::to_string(kMaxNodes) +
                                                        " nodes; expected at most " + std::to_string(kMaxNodes - 1) +
                                                        " beside this one");
    }

    // ---- names ----

    void check_names() {
        Names pool_names(report_, "a pool");
        Names service_names(report_, "a service");
        for (auto& pool : draft_.pools) pool.repeated = pool.name_at && !pool_names.add(pool.value.name, *pool.name_at);
        for (const auto& service : draft_.services) {
            if (!service.name_at) continue;
            const bool first = service_names.add(service.value.name, *service.name_at);
            // Its `backends` make a pool of the same name.
            if (first && service.own_pool) pool_names.add(service.value.name, *service.name_at);
        }
    }

    void resolve_pools() {
        std::unordered_map<std::string_view, PoolDraft*> by_name;
        std::vector<std::string_view> known;
        bool all_named = draft_.has_all_pools;
        for (auto& pool : draft_.pools) {
            all_named = all_named && pool.name_at;
            if (!pool.name_at || !by_name.try_emplace(pool.value.name, &pool).second) continue;
            known.push_back(pool.value.name);
        }
        for (auto& service : draft_.services) {
            PoolDraft* pool = service.own_pool ? &*service.own_pool : nullptr;
            if (const auto found = by_name.find(service.value.pool); pool == nullptr && found != by_name.end())
                pool = found->second;
            pool_of_.push_back(pool);
            if (pool != nullptr) continue;
            doubtful_pools_ = true;
            if (!service.pool_at || !all_named) continue;
            const auto hint = unknown_pools_++ < kMaxPoolHints ? near_miss(service.value.pool, known) : "";
            report_.add(*service.pool_at, "unknown pool " + quote(service.value.pool) + hint +
                                              (hint.empty() ? "; expected the name of a [[pool]]" : ""));
        }
    }

    // ---- one pool ----

    std::string called(const PoolDraft& pool) const {
        return pool.of_service ? "the pool of service " + quote(pool.value.name) : "pool " + quote(pool.value.name);
    }

    void check_pool(const PoolDraft& pool) {
        if (!pool.has_backends)
            report_.add(pool.at, pool.of_service
                                     ? "'backends' is empty; expected at least one address"
                                     : called(pool) + " has no backends; expected at least one [[pool.backend]]");
        if (pool.backends.empty()) return;
        check_backends(pool);
        check_ways(pool);
        check_quorum(pool);
        const auto idle = [](const BackendDraft& backend) { return backend.value.weight == 0; };
        if (std::all_of(pool.backends.begin(), pool.backends.end(), idle))
            report_.add(pool.backends.front().weight_at,
                        "every backend of " + called(pool) + " has weight 0; expected at least one above 0");
        if (pool.table_at && pool.value.table < pool.backends.size())
            report_.add(*pool.table_at, "'table' has fewer slots than " + called(pool) + " has backends (" +
                                            std::to_string(pool.backends.size()) + ")");
    }

    void check_backends(const PoolDraft& pool) {
        Names names(report_, "a backend");
        Names addresses(report_, "a backend with address");
        for (const auto& backend : pool.backends) {
            if (backend.name_at && !pool.of_service) names.add(backend.value.name, *backend.name_at);
            if (backend.address_at) addresses.add(backend.value.address.to_string(), *backend.address_at);
        }
        if (pool.backends.size() > kMaxBackendsOfPool)
            report_.add(pool.backends[kMaxBackendsOfPool].at,
                        called(pool) + " has " + std::to_string(pool.backends.size()) + " backends; expected at most " +
                            std::to_string(kMaxBackendsOfPool));
    }

    // What is said of the way to a backend must be of use there.
    void check_ways(const PoolDraft& pool) {
        const auto gue = [](const BackendDraft& backend) { return backend.value.forward == Forward::kGue; };
        if (pool.gue_port_at && std::none_of(pool.backends.begin(), pool.backends.end(), gue))
            report_.add(*pool.gue_port_at,
                        "'gue_port' is given, but no backend of " + called(pool) + " has forward = \"gue\"");
        for (const auto& backend : pool.backends) {
            if (!backend.value.local) continue;
            const auto useless = [&](const char* key, const std::optional<Position>& at) {
                if (at)
                    report_.add(*at, std::string("'") + key + "' is given, but backend " + quote(backend.value.name) +
                                         " is local: no frame is sent to it");
            };
            useless("vlan", backend.vlan_at);
            useless("mac", backend.mac_at);
        }
    }

    void check_quorum(const PoolDraft& pool) {
        std::map<int, int> backends_of_tier;
        int most = 0;
        for (const auto& backend : pool.backends) most = std::max(most, ++backends_of_tier[backend.value.tier]);
        if (pool.value.quorum > most)
            report_.add(pool.quorum_at, "'quorum' is " + std::to_string(pool.value.quorum) + ", but no tier of " +
                                            called(pool) + " has more than " + std::to_string(most) +
                                            (most == 1 ? " backend" : " backends"));
    }

    // ---- VIPs ----

    // A VIP is nobody's own address: packets to it are steered, never delivered to their destination.
    void check_vip_owners() {
        std::map<IpAddress, std::string> owners;
        for (const auto* pool : pools_)
            for (const auto& backend : pool->backends)
                if (backend.address_at)
                    owners.try_emplace(backend.value.address, "backend " + quote(backend.value.name) + " of " +
                                                                  called(*pool) + " " + at_line(*backend.address_at));
        for (const auto& node : draft_.nodes)
            for (const auto& address : node.addresses)
                owners.try_emplace(address.value, (node.name_at ? "node " + quote(node.value.name) : "the node") + " " +
                                                      at_line(address.at));
        for (const auto& service : draft_.services) {
            if (!service.vip_at) continue;
            const auto owner = owners.find(service.value.vip);
            if (owner != owners.end())
                report_.add(*service.vip_at, "VIP " + service.value.vip.to_string() + " is also the address of " +
                                                 owner->second + "; expected an address of its own");
        }
    }

    void check_endpoints() {
        std::map<std::tuple<IpAddress, Protocol, int>, Position> first;  // port 0: any
        for (const auto& service : draft_.services) {
            if (!service.vip_at || !service.has_protocol) continue;
            const auto add = [&](int port, Position at) {
                const auto [found, added] = first.try_emplace({service.value.vip, service.value.protocol, port}, at);
                if (!added)
                    report_.add(at, service.value.vip.to_string() + " " +
                                        (port == 0 ? std::string("any port") : "port " + std::to_string(port)) + " " +
                                        std::string(to_string(service.value.protocol)) + " is already served " +
                                        at_line(found->second));
            };
            if (service.any_port) add(0, service.ports_at);
            std::set<std::uint16_t> seen;  // twice in one list was reported before
            for (const auto& port : service.ports)
                if (seen.insert(port.value).second) add(port.value, port.at);
        }
    }

    // `unlisted` belongs to the VIP: a service that does not say it takes what another service of the VIP says.
    void settle_unlisted() {
        std::map<IpAddress, std::pair<Unlisted, Position>> said;
        for (const auto& service : draft_.services) {
            if (!service.vip_at || !service.unlisted_at) continue;
            const auto [found, added] =
                said.try_emplace(service.value.vip, std::pair{service.value.unlisted, *service.unlisted_at});
            if (!added && found->second.first != service.value.unlisted)
                report_.add(*service.unlisted_at, "'unlisted' is of the whole VIP " + service.value.vip.to_string() +
                                                      ", and \"" + std::string(to_string(found->second.first)) + "\" " +
                                                      at_line(found->second.second));
        }
        for (auto& service : draft_.services)
            if (const auto found = said.find(service.value.vip); found != said.end())
                service.value.unlisted = found->second.first;
    }

    void check_families() {
        for (std::size_t i = 0; i < draft_.services.size(); ++i) {
            const auto& service = draft_.services[i];
            const auto* pool = pool_of_[i];
            if (!service.vip_at || pool == nullptr) continue;
            const auto& backends = pool->backends;
            const auto other = std::find_if(backends.begin(), backends.end(), [&](const BackendDraft& backend) {
                return backend.address_at && backend.value.forward == Forward::kL2Dsr &&
                       backend.value.address.is_v4() != service.value.vip.is_v4();
            });
            if (other == backends.end()) continue;
            const auto* why = "; forward = \"l2dsr\" needs backends of the VIP's family, a tunnel does not";
            report_.add(pool->of_service ? *other->address_at : *service.vip_at,
                        "the VIP " + service.value.vip.to_string() + " is " + std::string(family(service.value.vip)) +
                            " and backend " + quote(other->value.name) + " of " + called(*pool) + " is " +
                            std::string(family(other->value.address)) + why);
        }
    }

    // ---- health checks ----

    // What services say of a pool's checks.
    struct Use {
        std::uint16_t first_port = 0;  // of the first TCP service with a list of ports
        bool doubtful = false;         // a service of it has ports that could not be read
        bool reported = false;
    };

    void fill_checks() {
        std::unordered_map<const PoolDraft*, Use> uses;
        for (std::size_t i = 0; i < draft_.services.size(); ++i) {
            if (pool_of_[i] == nullptr) continue;
            auto& use = uses[pool_of_[i]];
            const auto& service = draft_.services[i];
            use.doubtful = use.doubtful || !service.has_protocol || (!service.any_port && service.ports.empty());
            if (!pool_of_[i]->has_checks_key) use.reported = needs_own_check(service, *pool_of_[i]) || use.reported;
            if (service.has_protocol && service.value.protocol == Protocol::kTcp && !service.ports.empty() &&
                use.first_port == 0)
                use.first_port = service.ports.front().value;
        }
        for (auto* pool : pools_) fill_checks_of(*pool, uses[pool]);
    }

    // A TCP connect proves nothing about a UDP port, and "any" names no port to connect to.
    bool needs_own_check(const ServiceDraft& service, const PoolDraft& pool) {
        const bool udp = service.has_protocol && service.value.protocol == Protocol::kUdp;
        if (!udp && !service.any_port) return false;
        const std::string kind = udp ? "a udp service" : "a service of any port";
        const std::string how = pool.of_service ? "; write a [[pool]] with 'checks' instead of 'backends'"
                                                : "; write 'checks' in " + called(pool);
        report_.add(udp ? service.protocol_at : service.ports_at, kind + " needs explicit checks" + how);
        return true;
    }

    void fill_checks_of(PoolDraft& pool, const Use& use) {
        const bool silent = use.doubtful || use.reported || pool.repeated || doubtful_pools_;
        if (!pool.has_checks_key) {
            if (use.first_port == 0 && !silent)
                report_.add(pool.name_at.value_or(pool.at), called(pool) +
                                                                " is used by no service and so has no port to "
                                                                "check; expected a service, or 'checks'");
            Check check;
            check.port = use.first_port;
            pool.value.checks.push_back(check);
            return;
        }
        for (auto& check : pool.checks) {
            if (!check.has_port_key && use.first_port == 0 && !silent)
                report_.add(check.at,
                            "this check needs a 'port': no tcp service with a list of ports uses " + called(pool));
            if (!check.has_port_key) check.value.port = use.first_port;
            pool.value.checks.push_back(check.value);
        }
    }

    // ---- sizes ----

    void fill_table(PoolDraft& pool) {
        pool.value.table_given = pool.has_table_key;
        if (pool.has_table_key) return;
        const auto wanted = static_cast<std::uint64_t>(pool.backends.size()) * kSlotsPerBackend;
        pool.value.table =
            static_cast<std::uint32_t>(std::bit_ceil(std::clamp<std::uint64_t>(wanted, kMinTable, kMaxTable)));
    }

    void check_limits() {
        const auto& limits = draft_.limits;
        Budget vips("vips", limits.value.vips, kMaxServices, limits.vips_at);
        Budget services("services", limits.value.services, kMaxServices, limits.services_at);
        Budget pools("pools", limits.value.pools, kMaxPools, limits.pools_at);
        Budget backends("backends", limits.value.backends, kMaxBackends, limits.backends_at);
        Budget slots("slots", limits.value.slots, kMaxSlots, limits.slots_at);
        std::set<IpAddress> seen;
        for (const auto& service : draft_.services) {
            if (service.vip_at && seen.insert(service.value.vip).second) vips.take(1, *service.vip_at);
            services.take(std::max<std::size_t>(1, service.ports.size()), service.at);
        }
        for (const auto* pool : pools_) {
            pools.take(1, pool->at);
            backends.take(pool->backends.size(), pool->at);
            slots.take(pool->value.table, pool->table_at.value_or(pool->at));
        }
        for (const auto* budget : {&vips, &services, &pools, &backends, &slots}) budget->report_if_exhausted(report_);
    }

    // ---- the result ----

    Config assemble() {
        Config config = std::move(draft_.rest);
        config.limits = draft_.limits.value;
        for (auto& node : draft_.nodes) config.nodes.push_back(std::move(node.value));
        for (auto* pool : pools_) {
            for (auto& backend : pool->backends) pool->value.backends.push_back(std::move(backend.value));
            config.pools.push_back(pool->value);
        }
        for (auto& service : draft_.services) {
            for (const auto& port : service.ports) service.value.ports.push_back(port.value);
            std::sort(service.value.ports.begin(), service.value.ports.end());
            if (service.own_pool) service.value.pool = service.value.name;
            config.services.push_back(std::move(service.value));
        }
        return config;
    }

    static constexpr int kMaxPoolHints = 100;  // each compares with every pool

    Draft draft_;
    Report& report_;
    std::vector<PoolDraft*> pools_;    // those of [[pool]], then those of services
    std::vector<PoolDraft*> pool_of_;  // of each service; null: unknown
    bool doubtful_pools_ = false;      // some service's pool is unknown: no pool can be called unused
    int unknown_pools_ = 0;
};

}  // namespace

Config complete(Draft draft, Report& report) { return Completer(std::move(draft), report).run(); }

}  // namespace fairlead::config
