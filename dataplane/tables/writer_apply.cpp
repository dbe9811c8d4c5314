// SPDX-License-Identifier: Apache-2.0
// The half of apply() that stores, in the order that DESIGN section 4 asks for: fill, wait where an index may be used
// only when every reader sees the range it is in, publish from the inside out, unlink from the outside in, wait, free.
#include <cerrno>

#include "dataplane/tables/writer_impl.h"

// After the accessors that it is written in.
#include "dataplane/core/pins.h"

namespace fairlead::tables {

Result<ApplyReport> TableWriter::Impl::apply(TableWriter& self, const Desired& desired, const SlotSource& source) {
    if (auto collected = collect(); !collected) return tl::unexpected(collected.error());
    if (auto valid = validate(desired); !valid) return tl::unexpected(valid.error());
    auto planned = plan(desired);
    if (!planned) return tl::unexpected(planned.error());
    auto& plan = *planned;
    ApplyReport result;
    report(plan, result);
    const bool stores_names = !plan.empty();
    if (stores_names) bump_generation();
    used = plan.next;
    auto clients = plan_clients(desired);
    clear_client_words(clients);
    auto done = place_pools(plan);
    for (const auto& pool : plan.pools)
        if (pool.state && pool.state->needs_fill) result.pools_to_fill.push_back(pool.state->name);
    if (done) done = fill_slots(self, plan, source);
    if (done) done = publish_services(plan);
    if (done) done = publish_vips(plan);
    if (!done) {
        give_back_unpublished(plan);
        drop_stale_client_words();
        if (stores_names) bump_generation();
        return tl::unexpected(done.error());
    }
    choose_client_services(desired, clients);
    set_client_words(clients, Which::kThoseThatStand);
    unlink(plan);
    set_client_words(clients, Which::kAll);
    if (stores_names) bump_generation();
    auto collected = collect();
    if (!collected && collected.error().code != ETIMEDOUT) return tl::unexpected(collected.error());
    result.reuse_pending = !collected;
    return result;
}

void TableWriter::Impl::report(const Plan& plan, ApplyReport& into) const {
    const auto count = [](const auto& list) { return static_cast<std::uint32_t>(list.size()); };
    into.vips = {count(plan.new_vips), count(plan.changed_vips), count(plan.removed_vips)};
    into.services.removed = count(plan.removed_services);
    for (const auto& service : plan.services) ++(service.replaces ? into.services.changed : into.services.added);
    into.pools.removed = count(plan.removed_pools);
    for (const auto& pool : plan.pools) {
        if (pool.changed) ++(pool.state ? into.pools.changed : into.pools.added);
        into.backends.added += count(pool.add) - pool.replaced;
        into.backends.changed += pool.replaced + count(pool.tiers) + count(pool.renames);
        into.backends.removed += count(pool.remove) - pool.replaced;
    }
    for (const auto id : plan.removed_pools)
        into.backends.removed += static_cast<std::uint32_t>(pools[id]->by_name.size());
}

void TableWriter::Impl::bump_generation() {
    auto& generation = tables.meta().name_generation;
    store_word(generation, generation + 1);
}

// After each change of what an adjacency is made of, and before anything names what is new.
void TableWriter::Impl::bump_adjacencies() {
    auto& generation = tables.meta().adjacency_generation;
    store_word(generation, generation + 1);
}

// --- Counters that go on -------------------------------------------------------------------------------------------

namespace {
void store_counts(fl_counter& to, const Counts& counts) {
    store_record(to, {counts.packets, counts.bytes, counts.syns, 0});
}
}  // namespace

// From here on the counter stands at 0, whoever had the index before.
void TableWriter::Impl::start_counter(std::uint32_t index_in_stride) {
    store_counts(tables.baselines()[index_in_stride], CounterReader(tables).raw(index_in_stride));
}

// From here on `to` shows what `from` showed, and what it counts itself.
void TableWriter::Impl::carry_counter(std::uint32_t from, std::uint32_t to) {
    const CounterReader reader(tables);
    const auto shown = reader.value(from);
    store_counts(tables.baselines()[to], reader.raw(to) - shown);
    retired.carries.push_back({from, to, shown});
}

void TableWriter::Impl::finish_carry(const Carry& carry) {
    const CounterReader reader(tables);
    const auto late = reader.value(carry.from) - carry.at_publication;
    auto& baseline = tables.baselines()[carry.to];
    store_counts(baseline, Counts{baseline.packets, baseline.bytes, baseline.syns} - late);
}

// --- Pools and backends --------------------------------------------------------------------------------------------

// The entry is nobody's; the pool's number, stored last, makes it one of the pool's for whoever adopts the tables.
void TableWriter::Impl::fill_backend(const PoolState& pool, std::uint32_t index, const DesiredBackend& desired) {
    fl_backend record{};
    record.address = to_record(desired.address);
    record.state = FL_BACKEND_WORD(FL_BACKEND_UNKNOWN, 0, 0);
    record.name = backend_name_index(limits, index);
    record.forward = static_cast<__u8>(desired.forward);
    record.gue_port = fl_htons(desired.gue_port);
    record.tier = desired.tier;
    store_name(tables.names()[record.name], desired.name);
    start_counter(FL_COUNTER_BACKEND(&limits, index));
    auto& entry = tables.backends()[index];
    store_record(entry, record);
    store_word(entry.pool, pool.id);
    bump_adjacencies();
}

void TableWriter::Impl::place_new_pool(PoolPlan& plan) {
    const auto& desired = *plan.desired;
    auto state = std::make_unique<PoolState>();
    state->id = plan.id;
    state->name = desired.name;
    state->slots_base = plan.slots->base;
    state->slots = plan.slots->size;
    state->backend_base = plan.backends->base;
    state->capacity = plan.backends->size;
    state->taken.resize(state->capacity);
    state->live.resize(state->capacity);
    state->needs_fill = true;
    for (const auto& [backend, local] : plan.add) {
        fill_backend(*state, state->backend_base + local, *backend);
        state->by_name.emplace(backend->name, local);
        state->taken[local] = state->live[local] = true;
    }
    for (std::uint32_t i = 0; i < state->slots; ++i)
        store_word(slot_word(state->slots_base + i), FL_SLOT_SETTLED(FL_NO_BACKEND));
    fl_pool record{};
    record.slots = FL_SLOTS_WORD(state->slots_base, state->slots - 1);
    record.backend_base = state->backend_base;
    record.backend_count = state->capacity;
    record.local = FL_NO_BACKEND;
    record.flags = desired.flags;
    record.idle_timeout_s = desired.idle_timeout_s;
    auto& entry = tables.pools()[plan.id];
    const auto name = pool_name_index(limits, plan.id);
    store_name(tables.names()[name], desired.name);
    store_record(entry, record);
    store_word(entry.name, name);  // a pool that has a name is whole: what an adopter goes by
    plan.state = state.get();
    pool_ids.emplace(state->name, plan.id);
    pools[plan.id] = std::move(state);
}

// Copies every filled entry, so that a reader finds the same backend under the same local index by either base.
void TableWriter::Impl::move_backends(PoolState& pool, Range to) {
    for (std::uint32_t local = 0; local < pool.capacity; ++local) {
        if (!pool.taken[local]) continue;
        const auto from_index = pool.backend_base + local;
        const auto to_index = to.base + local;
        fl_backend record = tables.backends()[from_index];
        record.name = backend_name_index(limits, to_index);
        record.pool = 0;
        store_name(tables.names()[record.name], load_name(tables.names(), backend_name_index(limits, from_index)));
        carry_counter(FL_COUNTER_BACKEND(&limits, from_index), FL_COUNTER_BACKEND(&limits, to_index));
        auto& entry = tables.backends()[to_index];
        store_record(entry, record);
        store_word(entry.pool, pool.id);
    }
    bump_adjacencies();
    retired.moved_pools.push_back({pool.id, {pool.backend_base, pool.capacity}});
    pool.backend_base = to.base;
    pool.capacity = to.size;
    pool.taken.resize(to.size);
    pool.live.resize(to.size);
    pool.count_pending = true;
}

// Engines never read names; who shows them looks at the generation.
void TableWriter::Impl::rename_backends(PoolState& pool, const PoolPlan& plan) {
    const auto name_of = [&](std::uint16_t local) -> fl_name& {
        return tables.names()[backend_record(pool, local).name];
    };
    for (const auto& [local, desired] : plan.renames)
        if (const auto found = pool.by_name.find(load_name(tables.names(), backend_record(pool, local).name));
            found != pool.by_name.end() && found->second == local)
            pool.by_name.erase(found);
    for (const auto& [local, desired] : plan.renames) {
        store_name(name_of(local), desired->name);
        pool.by_name.insert_or_assign(desired->name, local);
    }
}

void TableWriter::Impl::change_pool(PoolPlan& plan) {
    auto& pool = *plan.state;
    auto& record = tables.pools()[pool.id];
    const auto& desired = *plan.desired;
    if (record.flags != desired.flags) store_word(record.flags, desired.flags);
    if (record.idle_timeout_s != desired.idle_timeout_s) store_word(record.idle_timeout_s, desired.idle_timeout_s);
    for (const auto& [local, tier] : plan.tiers) store_word(backend_record(pool, local).tier, tier);
    rename_backends(pool, plan);
    if (plan.backends) move_backends(pool, *plan.backends);
    for (const auto local : plan.remove) {
        const auto found = pool.by_name.find(load_name(tables.names(), backend_record(pool, local).name));
        if (found != pool.by_name.end() && found->second == local) pool.by_name.erase(found);
        pool.live[local] = false;
    }
    for (const auto& [backend, local] : plan.add) {
        fill_backend(pool, pool.backend_base + local, *backend);
        pool.by_name.emplace(backend->name, local);
        pool.taken[local] = pool.live[local] = true;
    }
    if (plan.backends) store_word(record.backend_base, pool.backend_base);
    if (plan.slots || !plan.add.empty() || !plan.remove.empty()) pool.needs_fill = true;
}

Result<void> TableWriter::Impl::place_pools(Plan& plan) {
    for (auto& pool : plan.pools) {
        if (!pool.state)
            place_new_pool(pool);
        else if (pool.changed)
            change_pool(pool);
    }
    // Slots may name an index beyond the old range only when no reader has the old base.
    return retired.moved_pools.empty() ? Result<void>{} : collect();
}

// --- Slots ---------------------------------------------------------------------------------------------------------

// Word i of the old table is found at i and, where the table grows, at i + 2^k: by either, a flow finds the same owner.
void TableWriter::Impl::move_slots(PoolState& pool, Range to) {
    const auto stamps = tables.stamps();
    for (std::uint32_t i = 0; i < to.size; ++i) {
        const auto from = pool.slots_base + (i & (pool.slots - 1));
        store_word(slot_word(to.base + i), slot_word(from));
        store_record(stamps[to.base + i], load_record(stamps[from]));
    }
    retired.slot_ranges.push_back({pool.slots_base, pool.slots});
    pool.slots_base = to.base;
    pool.slots = to.size;
    store_word(tables.pools()[pool.id].slots, FL_SLOTS_WORD(to.base, to.size - 1));
}

// Whatever the mover made of them: no slot names a backend that is about to be nobody's.
void TableWriter::Impl::forget_removed(const PoolState& pool) {
    for (std::uint32_t i = 0; i < pool.slots; ++i) {
        auto& word = slot_word(pool.slots_base + i);
        auto owner = FL_SLOT_OWNER(word), previous = FL_SLOT_PREVIOUS(word);
        if (owner != FL_NO_BACKEND && !pool.is_live(owner)) owner = FL_NO_BACKEND;
        if (previous != FL_NO_BACKEND && !pool.is_live(previous)) previous = owner;
        const auto wanted = FL_SLOT_WORD(owner, previous, 0, 0) | (word & (FL_SLOT_LOOKUP | FL_SLOT_LEARNING));
        if (word != wanted) store_word(word, wanted);
    }
}

Result<void> TableWriter::Impl::fill_pool_slots(TableWriter& self, PoolState& pool, const SlotSource& source) {
    std::vector<std::uint16_t> owners(pool.slots);
    for (std::uint32_t i = 0; i < pool.slots; ++i) {
        auto owner = static_cast<std::uint16_t>(FL_SLOT_OWNER(slot_word(pool.slots_base + i)));
        if (owner != FL_NO_BACKEND && !pool.is_live(owner)) {  // to whoever has its name now
            const bool filled = owner < pool.taken.size() && pool.taken[owner];
            const auto name = filled ? load_name(tables.names(), backend_record(pool, owner).name) : std::string();
            const auto found = pool.by_name.find(name);
            owner = found == pool.by_name.end() ? static_cast<std::uint16_t>(FL_NO_BACKEND) : found->second;
        }
        owners[i] = owner;
    }
    if (source.filler) source.filler(self, pool.id, owners);
    if (source.mover) {
        if (auto moved = source.mover(self, pool.id, owners); !moved) return moved;
        forget_removed(pool);
    } else if (auto stored = set_slots(pool, owners); !stored) {
        return tl::unexpected(stored.error());
    }
    pool.needs_fill = false;
    return {};
}

void TableWriter::Impl::choose_local(PoolState& pool, const DesiredPool& desired) {
    auto& word = tables.pools()[pool.id].local;
    std::uint32_t local = pool.is_live(word) ? word : FL_NO_BACKEND;
    for (const auto& backend : desired.backends)
        if (backend.forward == FL_FORWARD_LOCAL) local = pool.by_name.find(backend.name)->second;
    if (local != word) store_word(word, local);
}

Result<void> TableWriter::Impl::fill_slots(TableWriter& self, Plan& plan, const SlotSource& source) {
    for (auto& planned : plan.pools) {
        auto& pool = *planned.state;
        if (!pool.needs_fill) continue;
        if (planned.slots && planned.slots->base != pool.slots_base) move_slots(pool, *planned.slots);
        planned.slots.reset();
        if (auto filled = fill_pool_slots(self, pool, source); !filled) return filled;
        choose_local(pool, *planned.desired);
    }
    return {};
}

// --- Services and VIPs ---------------------------------------------------------------------------------------------

void TableWriter::Impl::fill_service(const ServicePlan& plan) {
    const auto& desired = *plan.desired;
    fl_service record{};
    record.vip = vips.find(desired.vip)->second;
    record.port = fl_htons(desired.port);
    record.protocol = desired.protocol;
    record.pool = pool_ids.find(desired.pool)->second;
    record.name = service_name_index(limits, plan.id);
    store_name(tables.names()[record.name], desired.name);
    store_record(tables.services()[plan.id], record);
    const auto counter = FL_COUNTER_SERVICE(&limits, plan.id);
    if (plan.replaces)
        carry_counter(FL_COUNTER_SERVICE(&limits, plan.replaces), counter);
    else
        start_counter(counter);
}

Result<void> TableWriter::Impl::publish_services(Plan& plan) {
    // A VIP has its number, and its record, before it can be found: its services come first.
    for (const auto& vip : plan.new_vips) {
        fl_vip record{};
        record.address = to_record(vip.desired->address);
        record.flags = (vip.desired->reset ? FL_VIP_RESET : 0) | (vip.desired->local ? FL_VIP_LOCAL : 0);
        record.role = vip.desired->role;
        store_record(tables.vips()[vip.id], record);
        vips.emplace(vip.desired->address, vip.id);
    }
    if (auto room = service_index.reserve(plan.services_after, grace); !room) return room;
    while (!plan.services.empty()) {
        const auto& service = plan.services.back();
        fill_service(service);
        const ServiceKey key{service.desired->vip, service.desired->port, service.desired->protocol};
        if (service.replaces) {
            service_index.replace(service.replaces, service.id);
            retired.services.push_back(service.replaces);
        } else if (auto inserted = service_index.insert(service.id, grace); !inserted) {
            return inserted;
        }
        services.insert_or_assign(key, service.id);
        plan.services.pop_back();
    }
    return {};
}

Result<void> TableWriter::Impl::publish_vips(Plan& plan) {
    if (auto room = vip_index.reserve(plan.vips_after, grace); !room) return room;
    while (!plan.new_vips.empty()) {
        if (auto inserted = vip_index.insert(plan.new_vips.back().id, grace); !inserted) return inserted;
        plan.new_vips.pop_back();
    }
    for (const auto& vip : plan.changed_vips) {
        auto& record = tables.vips()[vip.id];
        store_word(record.flags, (vip.desired->reset ? FL_VIP_RESET : 0) | (vip.desired->local ? FL_VIP_LOCAL : 0));
        store_word(record.role, vip.desired->role);
    }
    return {};
}

// From the outside in: VIP, service, pool, backend.
void TableWriter::Impl::unlink(const Plan& plan) {
    for (const auto& [address, id] : plan.removed_vips) {
        vip_index.erase(id);
        vips.erase(address);
        retired.vips.push_back(id);
    }
    for (const auto& [key, id] : plan.removed_services) {
        service_index.erase(id);
        services.erase(key);
        retired.services.push_back(id);
    }
    for (const auto id : plan.removed_pools) {
        pools[id]->removed = true;
        pool_ids.erase(pools[id]->name);
        retired.pools.push_back(id);
    }
    for (const auto& pool : plan.pools)
        for (const auto local : pool.remove) retired.backends.emplace_back(pool.id, local);
}

// After a failure half way: what no reader can have found is free at once.
void TableWriter::Impl::give_back_unpublished(const Plan& plan) {
    for (const auto& service : plan.services) used.services.release(service.id);
    for (const auto& vip : plan.new_vips) {
        std::erase_if(services, [&](const auto& service) {  // found by the VIP's number alone, which nobody has yet
            if (service.first.vip != vip.desired->address) return false;
            service_index.erase(service.second);
            retired.services.push_back(service.second);
            return true;
        });
        if (vips.erase(vip.desired->address))
            retired.vips.push_back(vip.id);
        else
            used.vips.release(vip.id);
    }
    for (const auto& pool : plan.pools)
        if (pool.state && pool.slots && pool.slots->base != pool.state->slots_base)
            used.slot_lines.release(pool.slots->base / FL_SLOTS_PER_LINE,
                                    std::max<std::uint32_t>(pool.slots->size, FL_SLOTS_PER_LINE) / FL_SLOTS_PER_LINE);
}

// --- Freeing -------------------------------------------------------------------------------------------------------

Result<void> TableWriter::Impl::collect() {
    if (retired.empty()) return {};
    if (auto waited = grace.wait(); !waited) return waited;
    free_retired();
    return {};
}

void TableWriter::Impl::clear_backend_range(Range range) {
    for (std::uint32_t index = range.base; index < range.base + range.size; ++index) {
        auto& record = tables.backends()[index];
        if (record.pool) store_word(record.pool, 0);
    }
    used.backend_chunks.release(range.base / kMinimumBackendRange, range.size / kMinimumBackendRange);
}

void TableWriter::Impl::free_backend(PoolState& pool, std::uint16_t local) {
    auto& record = backend_record(pool, local);
    const auto nexthop = FL_BACKEND_NEXTHOP(record.state);
    if (nexthop < nexthop_references.size() && nexthop_references[nexthop]) --nexthop_references[nexthop];
    store_word(record.pool, 0);
    pool.taken[local] = pool.live[local] = false;
}

void TableWriter::Impl::free_pool(std::uint32_t id) {
    auto& pool = *pools[id];
    store_word(tables.pools()[id].name, 0);
    for (std::uint32_t local = 0; local < pool.capacity; ++local)
        if (pool.taken[local]) free_backend(pool, static_cast<std::uint16_t>(local));
    clear_backend_range({pool.backend_base, pool.capacity});
    retired.slot_ranges.push_back({pool.slots_base, pool.slots});
    pools[id].reset();
    used.pools.release(id);
}

// No engine has the old base any more; what one read before is changed by compare-and-exchange, so it notices. Pins are of
// slots in transition alone.
void TableWriter::Impl::take_pins_along(const MovedPool& moved) {
    const auto& pool = *pools[moved.id];
    bool any = false;
    for (std::uint32_t i = 0; i < pool.slots && !any; ++i) any = slot_word(pool.slots_base + i) & FL_SLOT_LOOKUP;
    if (!any) return;
    for (auto& bucket : tables.pins())
        for (auto& place : bucket.words)
            for (auto word = load_word(place); word;) {
                const auto local = static_cast<std::uint32_t>(FL_PIN_BACKEND(word)) - moved.from.base;
                if (local >= moved.from.size) break;
                const auto renamed = (word & ~__u64{0xfffff}) | (pool.backend_base + local);
                if (__atomic_compare_exchange_n(&place, &word, renamed, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
                    break;
            }
}

void TableWriter::Impl::free_retired() {
    for (const auto& carry : retired.carries) finish_carry(carry);
    for (const auto& moved : retired.moved_pools) {
        pools[moved.id]->count_pending = false;
        store_word(tables.pools()[moved.id].backend_count, pools[moved.id]->capacity);
        take_pins_along(moved);
    }
    for (const auto range : retired.backend_ranges) clear_backend_range(range);
    // An engine that read a pin before it was renamed may still follow it: its old range is free a grace period later.
    std::vector<Range> left;
    for (const auto& moved : retired.moved_pools) left.push_back(moved.from);
    for (const auto& [id, local] : retired.backends) free_backend(*pools[id], local);
    for (const auto id : retired.pools) free_pool(id);
    for (const auto range : retired.slot_ranges)
        used.slot_lines.release(range.base / FL_SLOTS_PER_LINE,
                                std::max<std::uint32_t>(range.size, FL_SLOTS_PER_LINE) / FL_SLOTS_PER_LINE);
    for (const auto id : retired.services) used.services.release(id);
    for (const auto id : retired.vips) used.vips.release(id);
    for (const auto number : retired.ports) {
        store_word(tables.ports()[number].ifindex, 0);
        store_record(tables.ports()[number], fl_port{});
    }
    if (!retired.ports.empty()) bump_adjacencies();
    for (const auto id : retired.nexthops) {
        nexthop_use[id] = NexthopUse::kFree;
        nexthop_hint = std::min(nexthop_hint, id);
    }
    // clear(), not a new one: what frees at run time shall not allocate.
    retired.vips.clear(), retired.services.clear(), retired.pools.clear(), retired.nexthops.clear();
    retired.ports.clear();
    retired.backends.clear(), retired.backend_ranges.clear(), retired.slot_ranges.clear(), retired.carries.clear();
    retired.moved_pools.clear();
    retired.backend_ranges = std::move(left);
}

}  // namespace fairlead::tables
