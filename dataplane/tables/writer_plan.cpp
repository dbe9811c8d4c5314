// SPDX-License-Identifier: Apache-2.0
// The half of apply() that stores nothing: validity, limits, and which id, index and range everything gets.
#include <bit>
#include <cerrno>
#include <unordered_set>

#include "dataplane/tables/writer_impl.h"

namespace fairlead::tables {
namespace {

tl::unexpected<Error> limit_error(const char* limit, std::uint64_t needed, std::uint64_t available,
                                  std::string_view unit = {}) {
    std::string text = std::string("limit '") + limit + "' is too small: " + std::to_string(needed) + " needed, " +
                       std::to_string(available) + " there";
    if (!unit.empty()) text += std::string(" (") + std::string(unit) + ")";
    return fail(text, ENOSPC);
}

// All would fit, but not beside what is only about to go.
tl::unexpected<Error> transition_error(const char* limit, std::uint64_t needed, std::uint64_t available) {
    return fail(std::string("limit '") + limit + "' is too small for this change: " + std::to_string(needed) +
                    " needed in one piece while what it replaces is still in use, " + std::to_string(available) +
                    " free; remove first and add afterwards, or raise the limit",
                ENOSPC);
}

std::uint32_t backend_range_for(std::size_t backends) {
    return std::max(static_cast<std::uint32_t>(std::bit_ceil(backends)), kMinimumBackendRange);
}

std::uint32_t slot_range_for(std::uint32_t slots) { return std::max<std::uint32_t>(slots, FL_SLOTS_PER_LINE); }

Result<Range> allocate_backends(Allocations& from, std::uint32_t size) {
    const auto chunk = from.backend_chunks.allocate(size / kMinimumBackendRange);
    if (!chunk)
        return transition_error("backends", size,
                                std::uint64_t{from.backend_chunks.available()} * kMinimumBackendRange);
    return Range{*chunk * kMinimumBackendRange, size};
}

Result<Range> allocate_slots(Allocations& from, std::uint32_t slots) {
    const auto size = slot_range_for(slots);
    const auto line = from.slot_lines.allocate(size / FL_SLOTS_PER_LINE);
    if (!line) return transition_error("slots", size, std::uint64_t{from.slot_lines.available()} * FL_SLOTS_PER_LINE);
    return Range{*line * FL_SLOTS_PER_LINE, slots};
}

Result<std::uint32_t> allocate_id(IdAllocator& from, const char* limit) {
    if (const auto id = from.allocate()) return *id;
    return transition_error(limit, 1, 0);
}

Result<void> validate_name(const char* what, const std::string& name) {
    if (name.empty()) return fail(std::string("a ") + what + " has no name", EINVAL);
    if (name.size() >= FL_NAME_BYTES)
        return fail(
            std::string(what) + " name '" + name + "' is longer than " + std::to_string(FL_NAME_BYTES - 1) + " bytes",
            EINVAL);
    return {};
}

Result<void> validate_pool(const DesiredPool& pool) {
    if (auto named = validate_name("pool", pool.name); !named) return named;
    if (!std::has_single_bit(pool.slots) || pool.slots > kMaximumPoolSlots)
        return fail("pool '" + pool.name + "': " + std::to_string(pool.slots) +
                        " slots; expected a power of two, at most " + std::to_string(kMaximumPoolSlots),
                    EINVAL);
    if (pool.backends.size() > kMaximumPoolBackends)
        return fail("pool '" + pool.name + "' has " + std::to_string(pool.backends.size()) + " backends; at most " +
                        std::to_string(kMaximumPoolBackends) + " are possible",
                    EINVAL);
    std::unordered_set<std::string_view> names;
    for (const auto& backend : pool.backends) {
        if (auto named = validate_name("backend", backend.name); !named) return named;
        if (!names.insert(backend.name).second)
            return fail("pool '" + pool.name + "' has two backends named '" + backend.name + "'", EINVAL);
    }
    return {};
}

// Another address or way to reach it is another backend, under whatever name.
bool same_backend(const fl_backend& record, const DesiredBackend& desired) {
    return from_record(record.address) == desired.address && record.forward == desired.forward &&
           record.gue_port == fl_htons(desired.gue_port);
}

}  // namespace

bool Plan::empty() const {
    const bool pools_alone = std::none_of(pools.begin(), pools.end(), [](const PoolPlan& p) { return p.changed; });
    return pools_alone && removed_pools.empty() && services.empty() && removed_services.empty() && new_vips.empty() &&
           changed_vips.empty() && removed_vips.empty();
}

Result<void> TableWriter::Impl::validate(const Desired& desired) const {
    std::unordered_set<IpAddress> addresses;
    for (const auto& vip : desired.vips) {
        if (!addresses.insert(vip.address).second)
            return fail("VIP " + vip.address.to_string() + " is there twice", EINVAL);
        if (vip.role >= limits.roles)
            return fail("VIP " + vip.address.to_string() + ": there is no role " + std::to_string(vip.role), EINVAL);
    }
    std::unordered_set<std::string_view> pool_names;
    for (const auto& pool : desired.pools) {
        if (auto valid = validate_pool(pool); !valid) return valid;
        if (!pool_names.insert(pool.name).second) return fail("there are two pools named '" + pool.name + "'", EINVAL);
    }
    std::unordered_set<ServiceKey, ServiceKeyHash> keys;
    for (const auto& service : desired.services) {
        if (auto named = validate_name("service", service.name); !named) return named;
        if (!pool_names.contains(service.pool))
            return fail("service '" + service.name + "': there is no pool '" + service.pool + "'", EINVAL);
        if (!addresses.contains(service.vip))
            return fail("service '" + service.name + "': " + service.vip.to_string() + " is no VIP", EINVAL);
        if (!keys.insert({service.vip, service.port, service.protocol}).second)
            return fail("service '" + service.name + "': port " + std::to_string(service.port) + " of " +
                            service.vip.to_string() + " is another service's already",
                        EINVAL);
    }
    return {};
}

Result<void> TableWriter::Impl::check_totals(const Desired& desired) const {
    const auto ids = [](const IdAllocator& a) { return std::uint64_t{a.size()} - 1; };
    if (desired.vips.size() > ids(used.vips)) return limit_error("vips", desired.vips.size(), ids(used.vips));
    if (desired.services.size() > ids(used.services))
        return limit_error("services", desired.services.size(), ids(used.services), "one a port");
    if (desired.pools.size() > ids(used.pools)) return limit_error("pools", desired.pools.size(), ids(used.pools));
    std::uint64_t slots = 0;
    std::uint64_t backends = 0;
    for (const auto& pool : desired.pools) {
        slots += slot_range_for(pool.slots);
        backends += backend_range_for(pool.backends.size());
    }
    if (slots > limits.slots) return limit_error("slots", slots, limits.slots);
    if (backends > limits.backends)
        return limit_error("backends", backends, limits.backends, "each pool takes a power of two, 8 or more");
    return {};
}

Result<Plan> TableWriter::Impl::plan(const Desired& desired) const {
    if (auto fits = check_totals(desired); !fits) return tl::unexpected(fits.error());
    Plan plan;
    plan.next = used;
    plan.services_after = desired.services.size();
    plan.vips_after = desired.vips.size();
    if (auto done = plan_pools(desired, plan); !done) return tl::unexpected(done.error());
    if (auto done = plan_vips(desired, plan); !done) return tl::unexpected(done.error());
    if (auto done = plan_services(desired, plan); !done) return tl::unexpected(done.error());
    return plan;
}

Result<void> TableWriter::Impl::plan_pools(const Desired& desired, Plan& plan) const {
    std::vector<bool> kept(limits.pools);
    for (const auto& pool : desired.pools) {
        const auto found = pool_ids.find(pool.name);
        if (found != pool_ids.end()) kept[found->second] = true;
        auto done = found == pool_ids.end() ? plan_new_pool(pool, plan) : plan_pool(pool, *pools[found->second], plan);
        if (!done) return done;
    }
    for (const auto& [name, id] : pool_ids)
        if (!kept[id]) plan.removed_pools.push_back(id);
    return {};
}

Result<void> TableWriter::Impl::plan_new_pool(const DesiredPool& desired, Plan& plan) const {
    PoolPlan pool;
    pool.desired = &desired;
    pool.changed = true;
    auto id = allocate_id(plan.next.pools, "pools");
    if (!id) return tl::unexpected(id.error());
    auto backends = allocate_backends(plan.next, backend_range_for(desired.backends.size()));
    if (!backends) return tl::unexpected(backends.error());
    auto slots = allocate_slots(plan.next, desired.slots);
    if (!slots) return tl::unexpected(slots.error());
    pool.id = *id;
    pool.backends = *backends;
    pool.slots = *slots;
    for (const auto& backend : desired.backends)
        pool.add.emplace_back(&backend, static_cast<std::uint16_t>(pool.add.size()));
    plan.pools.push_back(std::move(pool));
    return {};
}

// Sorts the pool's backends into those that stay, go, and are to come.
void TableWriter::Impl::plan_backends(const PoolState& state, PoolPlan& plan,
                                      std::vector<const DesiredBackend*>& missing) const {
    std::vector<bool> stays(state.taken.size());
    const auto keep = [&](std::uint16_t local, const DesiredBackend& backend) {
        stays[local] = true;
        if (backend_record(state, local).tier != backend.tier) plan.tiers.emplace_back(local, backend.tier);
    };
    std::vector<const DesiredBackend*> unnamed;
    for (const auto& backend : plan.desired->backends) {
        const auto found = state.by_name.find(backend.name);
        if (found != state.by_name.end() && same_backend(backend_record(state, found->second), backend))
            keep(found->second, backend);
        else
            unnamed.push_back(&backend);
    }
    for (const auto* backend : unnamed) {
        std::uint16_t local = 0;
        while (local < stays.size() &&
               (stays[local] || !state.live[local] || !same_backend(backend_record(state, local), *backend)))
            ++local;
        if (local < stays.size()) {
            keep(local, *backend);
            plan.renames.emplace_back(local, backend);
        } else {
            missing.push_back(backend);
        }
    }
    for (const auto* backend : missing)
        if (const auto found = state.by_name.find(backend->name); found != state.by_name.end() && !stays[found->second])
            ++plan.replaced;
    for (std::size_t local = 0; local < state.taken.size(); ++local)
        if (state.taken[local] && !stays[local]) plan.remove.push_back(static_cast<std::uint16_t>(local));
}

// A local index for each missing backend: free ones of the range, else of a larger range.
Result<void> TableWriter::Impl::plan_backend_room(const PoolState& state,
                                                  const std::vector<const DesiredBackend*>& missing,
                                                  PoolPlan& pool_plan, Plan& plan) const {
    std::uint32_t local = 0;
    for (const auto* backend : missing) {
        while (local < state.taken.size() && state.taken[local]) ++local;
        if (local >= FL_NO_BACKEND)
            return fail("pool '" + state.name + "' has no index left for backend '" + backend->name +
                            "' while those to be removed are still in use",
                        ENOSPC);
        pool_plan.add.emplace_back(backend, static_cast<std::uint16_t>(local++));
    }
    if (local <= state.capacity) return {};
    auto range = allocate_backends(plan.next, backend_range_for(local));
    if (!range) return tl::unexpected(range.error());
    pool_plan.backends = *range;
    return {};
}

Result<void> TableWriter::Impl::plan_pool(const DesiredPool& desired, PoolState& state, Plan& plan) const {
    PoolPlan pool;
    pool.desired = &desired;
    pool.state = &state;
    pool.id = state.id;
    std::vector<const DesiredBackend*> missing;
    plan_backends(state, pool, missing);
    if (auto done = plan_backend_room(state, missing, pool, plan); !done) return done;
    if (desired.slots != state.slots) {
        auto slots = allocate_slots(plan.next, desired.slots);
        if (!slots) return tl::unexpected(slots.error());
        pool.slots = *slots;
    }
    const auto& record = tables.pools()[state.id];
    pool.changed = !pool.add.empty() || !pool.remove.empty() || !pool.tiers.empty() || !pool.renames.empty() ||
                   pool.slots || record.flags != desired.flags || record.idle_timeout_s != desired.idle_timeout_s;
    plan.pools.push_back(std::move(pool));
    return {};
}

Result<void> TableWriter::Impl::plan_vips(const Desired& desired, Plan& plan) const {
    std::unordered_set<IpAddress> kept;
    for (const auto& vip : desired.vips) {
        kept.insert(vip.address);
        const auto found = vips.find(vip.address);
        if (found == vips.end()) {
            auto id = allocate_id(plan.next.vips, "vips");
            if (!id) return tl::unexpected(id.error());
            plan.new_vips.push_back({&vip, *id});
            continue;
        }
        const auto& record = tables.vips()[found->second];
        const std::uint32_t flags = (vip.reset ? FL_VIP_RESET : 0) | (vip.local ? FL_VIP_LOCAL : 0);
        if (record.flags != flags || record.role != vip.role) plan.changed_vips.push_back({&vip, found->second});
    }
    for (const auto& [address, id] : vips)
        if (!kept.contains(address)) plan.removed_vips.emplace_back(address, id);
    return {};
}

bool TableWriter::Impl::service_differs(const DesiredService& desired, std::uint32_t id) const {
    const auto& record = tables.services()[id];
    const auto pool = pool_ids.find(desired.pool);
    return pool == pool_ids.end() || record.pool != pool->second ||
           tables.names()[record.name].text != std::string_view(desired.name);
}

Result<void> TableWriter::Impl::plan_services(const Desired& desired, Plan& plan) const {
    std::unordered_set<std::uint32_t> kept;
    for (const auto& service : desired.services) {
        const auto found = services.find({service.vip, service.port, service.protocol});
        const bool exists = found != services.end();
        if (exists) kept.insert(found->second);
        if (exists && !service_differs(service, found->second)) continue;
        auto id = allocate_id(plan.next.services, "services");
        if (!id) return tl::unexpected(id.error());
        plan.services.push_back({&service, *id, exists ? found->second : 0});
    }
    for (const auto& [key, id] : services)
        if (!kept.contains(id)) plan.removed_services.emplace_back(key, id);
    return {};
}

}  // namespace fairlead::tables
