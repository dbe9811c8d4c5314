// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/writer.h"

#include <bit>
#include <cerrno>
#include <climits>

#include "dataplane/core/hash.h"
#include "dataplane/tables/writer_impl.h"

// After the accessors that it is written in.
#include "dataplane/core/index.h"

namespace fairlead::tables {

TableWriter::Impl::Impl(Tables& tables_, GracePeriod& grace_)
    : tables(tables_),
      grace(grace_),
      limits(tables_.limits()),
      vip_index(
          tables_.vip_index(), tables_.meta().vip_index,
          [this](std::uint32_t id, std::uint32_t seed) { return fl_index_hash_vip(&tables.vips()[id].address, seed); }),
      service_index(tables_.service_index(), tables_.meta().service_index,
                    [this](std::uint32_t id, std::uint32_t seed) {
                        const auto& service = tables.services()[id];
                        return fl_index_hash_service(&tables.vips()[service.vip].address, service.port,
                                                     service.protocol, seed);
                    }),
      pools(tables_.limits().pools),
      nexthop_use(tables_.limits().nexthops, NexthopUse::kFree),
      nexthop_references(tables_.limits().nexthops) {
    used.vips = IdAllocator(1, limits.vips);
    used.services = IdAllocator(1, limits.services);
    used.pools = IdAllocator(1, limits.pools);
    used.slot_lines = BuddyAllocator(limits.slots / FL_SLOTS_PER_LINE);
    used.backend_chunks = BuddyAllocator(limits.backends / kMinimumBackendRange);
    retired.nexthops.reserve(limits.nexthops);
}

// --- Adoption ------------------------------------------------------------------------------------------------------

namespace {
tl::unexpected<Error> unsound(const std::string& what) {
    return fail("the tables contradict themselves (" + what +
                    "): run 'lbctl detach --all', which removes them, and start lbd again",
                EUCLEAN);
}
}  // namespace

Result<void> TableWriter::Impl::adopt() {
    if (auto done = adopt_pools(); !done) return done;
    if (auto done = adopt_vips(); !done) return done;
    if (auto done = adopt_services(); !done) return done;
    adopt_nexthops();
    drop_stale_client_words();
    if (tables.meta().name_generation & 1) bump_generation();  // the one before us died inside apply()
    bump_adjacencies();                                        // or just before it had done so itself
    // What it had unlinked, or was filling, is free once nobody can hold it.
    if (auto waited = grace.wait(); !waited) return waited;
    clear_strays();
    vip_index.clear_other_half();
    service_index.clear_other_half();
    return {};
}

Result<void> TableWriter::Impl::adopt_pools() {
    for (std::uint32_t id = 1; id < limits.pools; ++id) {
        const auto& record = tables.pools()[id];
        if (!record.name) continue;
        auto state = std::make_unique<PoolState>();
        state->id = id;
        state->name = load_name(tables.names(), record.name);
        state->slots_base = FL_SLOTS_BASE(record.slots);
        state->slots = FL_SLOTS_MASK(record.slots) + 1;
        state->backend_base = record.backend_base;
        state->capacity = record.backend_count;
        state->needs_fill = true;
        const auto lines = std::max<std::uint32_t>(state->slots, FL_SLOTS_PER_LINE) / FL_SLOTS_PER_LINE;
        const bool sound = record.name == pool_name_index(limits, id) && !state->name.empty() &&
                           state->slots_base % FL_SLOTS_PER_LINE == 0 && state->capacity >= kMinimumBackendRange &&
                           state->backend_base % kMinimumBackendRange == 0 &&
                           used.slot_lines.reserve(state->slots_base / FL_SLOTS_PER_LINE, lines) &&
                           used.backend_chunks.reserve(state->backend_base / kMinimumBackendRange,
                                                       state->capacity / kMinimumBackendRange) &&
                           used.pools.reserve(id) && pool_ids.emplace(state->name, id).second;
        if (!sound) return unsound("pool " + std::to_string(id));
        if (auto done = adopt_backends(*state); !done) return done;
        pools[id] = std::move(state);
    }
    return {};
}

Result<void> TableWriter::Impl::adopt_backends(PoolState& pool) {
    pool.taken.resize(pool.capacity);
    pool.live.resize(pool.capacity);
    for (std::uint32_t local = 0; local < pool.capacity; ++local) {
        const auto index = pool.backend_base + local;
        const auto& record = tables.backends()[index];
        if (record.pool != pool.id) continue;
        if (record.name != backend_name_index(limits, index)) return unsound("backend " + std::to_string(index));
        pool.taken[local] = true;
        // Two of one name: a replacement was under way, and the next apply() says which one is right.
        pool.live[local] =
            pool.by_name.emplace(load_name(tables.names(), record.name), static_cast<std::uint16_t>(local)).second;
    }
    return {};
}

Result<void> TableWriter::Impl::adopt_vips() {
    auto ids = vip_index.adopt();
    if (!ids) return unsound(ids.error().message);
    for (const auto id : *ids)
        if (!used.vips.reserve(id) || !vips.emplace(from_record(tables.vips()[id].address), id).second)
            return unsound("VIP " + std::to_string(id));
    return {};
}

Result<void> TableWriter::Impl::adopt_services() {
    auto ids = service_index.adopt();
    if (!ids) return unsound(ids.error().message);
    for (const auto id : *ids) {
        if (id >= limits.services || tables.services()[id].vip >= limits.vips)
            return unsound("service " + std::to_string(id));
        const auto& record = tables.services()[id];
        if (!used.vips.is_taken(record.vip)) {
            service_index.erase(id);  // its VIP was not yet, or no longer, to be found
            continue;
        }
        const ServiceKey key{from_record(tables.vips()[record.vip].address), fl_ntohs(record.port), record.protocol};
        if (!used.services.reserve(id) || !pool(record.pool) || record.name != service_name_index(limits, id) ||
            !services.emplace(key, id).second)
            return unsound("service " + std::to_string(id));
    }
    return {};
}

void TableWriter::Impl::adopt_nexthops() {
    for (const auto& record : tables.backends()) {
        const auto nexthop = FL_BACKEND_NEXTHOP(record.state);
        if (!record.pool || nexthop == 0 || nexthop >= limits.nexthops) continue;
        const auto* owner = pool(record.pool);
        const auto index = static_cast<std::uint32_t>(&record - tables.backends().data());
        if (!owner || index - owner->backend_base >= owner->capacity) continue;
        ++nexthop_references[nexthop];
        nexthop_use[nexthop] = NexthopUse::kAdopted;
    }
}

// Entries of ranges that were being left or moved into.
void TableWriter::Impl::clear_strays() {
    const auto backends = tables.backends();
    for (std::uint32_t index = 0; index < backends.size(); ++index) {
        if (!backends[index].pool) continue;
        const auto* owner = pool(backends[index].pool);
        if (!owner || index - owner->backend_base >= owner->capacity) store_word(backends[index].pool, 0);
    }
}

Result<TableWriter> TableWriter::create(Tables& tables, GracePeriod& grace) {
    if (tables.access() != Access::kReadWrite) return fail("the tables are mapped read-only", EACCES);
    auto impl = std::make_unique<Impl>(tables, grace);
    if (auto adopted = impl->adopt(); !adopted) return tl::unexpected(adopted.error());
    return TableWriter(std::move(impl));
}

TableWriter::TableWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TableWriter::TableWriter(TableWriter&&) noexcept = default;
TableWriter& TableWriter::operator=(TableWriter&&) noexcept = default;
TableWriter::~TableWriter() = default;

Result<ApplyReport> TableWriter::apply(const Desired& desired, const SlotFiller& filler, const SlotMover& mover) {
    return impl_->apply(*this, desired, {filler, mover});
}
Result<void> TableWriter::collect() { return impl_->collect(); }
Tables& TableWriter::tables() { return impl_->tables; }
const Tables& TableWriter::tables() const { return impl_->tables; }

// --- Lookups -------------------------------------------------------------------------------------------------------

namespace {
template <typename Map, typename Key>
auto lookup(const Map& map, const Key& key) -> std::optional<typename Map::mapped_type> {
    const auto found = map.find(key);
    if (found == map.end()) return std::nullopt;
    return found->second;
}
}  // namespace

std::optional<std::uint32_t> TableWriter::find_vip(const IpAddress& address) const {
    return lookup(impl_->vips, address);
}

std::optional<std::uint32_t> TableWriter::find_service(const IpAddress& vip, std::uint16_t port,
                                                       std::uint8_t protocol) const {
    return lookup(impl_->services, ServiceKey{vip, port, protocol});
}

std::optional<std::uint32_t> TableWriter::find_pool(std::string_view name) const {
    return lookup(impl_->pool_ids, name);
}

std::optional<std::uint16_t> TableWriter::find_backend(std::uint32_t pool, std::string_view name) const {
    const auto* state = impl_->pool(pool);
    return state ? lookup(state->by_name, name) : std::nullopt;
}

std::uint32_t TableWriter::global_index(std::uint32_t pool, std::uint16_t backend) const {
    const auto* state = impl_->pool(pool);
    return state ? state->backend_base + backend : UINT32_MAX;
}

std::uint32_t TableWriter::slot_count(std::uint32_t pool) const {
    const auto* state = impl_->pool(pool);
    return state ? state->slots : 0;
}

PoolSlots TableWriter::slots_of(std::uint32_t pool) const {
    const auto* state = impl_->pool(pool);
    if (!state) return {};
    const auto stamps = impl_->tables.stamps().subspan(state->slots_base, state->slots);
    return {state->slots_base, {&impl_->slot_word(state->slots_base), state->slots}, stamps};
}

std::vector<bool> TableWriter::dead_backends(std::uint32_t pool) const {
    const auto* state = impl_->pool(pool);
    if (!state) return {};
    std::vector<bool> dead(state->capacity);
    for (std::uint32_t local = 0; local < state->capacity; ++local)
        dead[local] =
            !state->live[local] || FL_BACKEND_STATE(impl_->backend_record(*state, local).state) == FL_BACKEND_DEAD;
    return dead;
}

// --- Slots and backends at run time --------------------------------------------------------------------------------

namespace {
tl::unexpected<Error> no_pool(std::uint32_t id) { return fail("there is no pool " + std::to_string(id), EINVAL); }
tl::unexpected<Error> no_backend(const PoolState& pool, std::uint32_t local) {
    return fail("pool '" + pool.name + "' has no backend of index " + std::to_string(local), EINVAL);
}
}  // namespace

Result<std::uint32_t> TableWriter::Impl::set_slots(PoolState& pool, std::span<const std::uint16_t> owners) {
    if (owners.size() != pool.slots)
        return fail("pool '" + pool.name + "' has " + std::to_string(pool.slots) + " slots, not " +
                        std::to_string(owners.size()),
                    EINVAL);
    for (const auto owner : owners)
        if (owner != FL_NO_BACKEND && !pool.is_live(owner)) return no_backend(pool, owner);
    std::uint32_t changed = 0;
    auto* line = &tables.slots()[pool.slots_base / FL_SLOTS_PER_LINE];
    for (std::uint32_t i = 0; i < owners.size(); ++i) {
        auto& word = line[i / FL_SLOTS_PER_LINE].words[i % FL_SLOTS_PER_LINE];
        const std::uint32_t wanted = FL_SLOT_SETTLED(owners[i]);
        if (word == wanted) continue;
        store_word(word, wanted);
        ++changed;
    }
    return changed;
}

Result<std::uint32_t> TableWriter::set_slots(std::uint32_t pool, std::span<const std::uint16_t> owners) {
    auto* state = impl_->pool(pool);
    if (!state) return no_pool(pool);
    return impl_->set_slots(*state, owners);
}

Result<void> TableWriter::change_slots(std::uint32_t pool, std::span<const SlotChange> changes, std::uint32_t stamp) {
    auto* state = impl_->pool(pool);
    if (!state) return no_pool(pool);
    for (const auto& change : changes) {
        const auto owner = FL_SLOT_OWNER(change.word);
        if (owner != FL_NO_BACKEND && !state->is_live(owner)) return no_backend(*state, owner);
        if (change.slot >= state->slots)
            return fail("pool '" + state->name + "' has no slot " + std::to_string(change.slot), EINVAL);
    }
    const auto stamps = impl_->tables.stamps();
    for (const auto& change : changes) {
        auto& stamps_of = stamps[state->slots_base + change.slot];
        if (change.restart_previous) store_word(stamps_of.previous_used, stamp);
        if (change.restart_pin) store_word(stamps_of.pin_used, stamp);
        auto& word = impl_->slot_word(state->slots_base + change.slot);
        if (word != change.word) store_word(word, change.word);
    }
    return {};
}

Result<void> TableWriter::set_backend_state(std::uint32_t pool, std::uint16_t backend, fl_backend_state state,
                                            std::uint32_t mtu, std::uint32_t nexthop) {
    auto* owner = impl_->pool(pool);
    if (!owner) return no_pool(pool);
    if (!owner->is_live(backend)) return no_backend(*owner, backend);
    using Use = Impl::NexthopUse;
    if (nexthop >= impl_->limits.nexthops ||
        (nexthop && impl_->nexthop_use[nexthop] != Use::kAllocated && impl_->nexthop_use[nexthop] != Use::kAdopted))
        return fail("there is no next hop " + std::to_string(nexthop), EINVAL);
    if (mtu > UINT16_MAX) return fail("an MTU of " + std::to_string(mtu) + " does not fit 16 bits", EINVAL);
    auto& word = impl_->backend_record(*owner, backend).state;
    const std::uint64_t wanted = FL_BACKEND_WORD(state, mtu, nexthop);
    if (word == wanted) return {};
    if (const auto before = FL_BACKEND_NEXTHOP(word); before != nexthop) {
        if (before && impl_->nexthop_references[before]) --impl_->nexthop_references[before];
        if (nexthop) ++impl_->nexthop_references[nexthop];
    }
    store_word(word, wanted);
    impl_->bump_adjacencies();
    return {};
}

Result<void> TableWriter::set_pool_local(std::uint32_t pool, std::uint16_t backend) {
    auto* state = impl_->pool(pool);
    if (!state) return no_pool(pool);
    if (backend != FL_NO_BACKEND && !state->is_live(backend)) return no_backend(*state, backend);
    store_word(impl_->tables.pools()[pool].local, backend);
    return {};
}

Result<void> TableWriter::set_role(std::uint32_t role, std::uint64_t active_until_ns) {
    if (role >= impl_->limits.roles) return fail("there is no role " + std::to_string(role), EINVAL);
    store_word(impl_->tables.roles()[role].active_until_ns, active_until_ns);
    return {};
}

// --- Next hops and ports -------------------------------------------------------------------------------------------

Result<std::uint32_t> TableWriter::allocate_nexthop() {
    using Use = Impl::NexthopUse;
    auto& use = impl_->nexthop_use;
    for (int attempt = 0; attempt < 2; ++attempt) {
        for (auto& id = impl_->nexthop_hint; id < use.size(); ++id) {
            if (use[id] != Use::kFree) continue;
            use[id] = Use::kAllocated;
            store_word(impl_->tables.nexthops()[id].word, 0);
            impl_->bump_adjacencies();
            return id++;
        }
        for (std::uint32_t id = 1; id < use.size(); ++id) {  // those of the controller before us, no longer named
            if (use[id] != Use::kAdopted || impl_->nexthop_references[id]) continue;
            use[id] = Use::kRetired;
            impl_->retired.nexthops.push_back(id);
        }
        if (auto collected = impl_->collect(); !collected) return tl::unexpected(collected.error());
    }
    return fail("limit 'nexthops' is too small: all " + std::to_string(use.size() - 1) + " are in use", ENOSPC);
}

Result<void> TableWriter::claim_nexthop(std::uint32_t id) {
    using Use = Impl::NexthopUse;
    if (id == 0 || id >= impl_->limits.nexthops || impl_->nexthop_use[id] != Use::kAdopted)
        return fail("next hop " + std::to_string(id) + " was not adopted", EINVAL);
    impl_->nexthop_use[id] = Use::kAllocated;
    return {};
}

Result<void> TableWriter::free_nexthop(std::uint32_t id) {
    using Use = Impl::NexthopUse;
    if (id == 0 || id >= impl_->limits.nexthops || impl_->nexthop_use[id] != Use::kAllocated)
        return fail("next hop " + std::to_string(id) + " is not in use", EINVAL);
    if (impl_->nexthop_references[id])
        return fail("next hop " + std::to_string(id) + " is still named by a backend", EBUSY);
    impl_->nexthop_use[id] = Use::kRetired;
    impl_->retired.nexthops.push_back(id);
    return {};
}

Result<void> TableWriter::set_nexthop(std::uint32_t id, const MacAddress& mac, std::uint32_t port) {
    using Use = Impl::NexthopUse;
    if (id == 0 || id >= impl_->limits.nexthops ||
        (impl_->nexthop_use[id] != Use::kAllocated && impl_->nexthop_use[id] != Use::kAdopted))
        return fail("next hop " + std::to_string(id) + " is not in use", EINVAL);
    if (port >= impl_->limits.ports) return fail("there is no port " + std::to_string(port), EINVAL);
    auto& word = impl_->tables.nexthops()[id].word;
    const std::uint64_t wanted = mac.is_zero() ? 0 : FL_NEXTHOP_WORD(mac_word(mac), port);
    if (word == wanted) return {};
    store_word(word, wanted);
    impl_->bump_adjacencies();
    return {};
}

Result<void> TableWriter::set_port(std::uint32_t number, const Port& port) {
    if (number == 0 || number >= impl_->limits.ports) return fail("there is no port " + std::to_string(number), EINVAL);
    if (port.ifindex && (!port.way || FL_PORT_DEVICE(port.way) >= impl_->limits.ports))
        return fail("port " + std::to_string(number) + " has no way out", EINVAL);
    auto& record = impl_->tables.ports()[number];
    fl_port wanted{};
    wanted.mac = mac_word(port.mac);
    wanted.ifindex = record.ifindex;  // last
    const bool same = record.mac == wanted.mac && record.way == port.way && record.ifindex == port.ifindex;
    wanted.mtu = port.mtu;
    wanted.way = port.way;
    wanted.flags = port.flags;
    wanted.saved_features = port.saved_features;
    wanted.mode = port.mode;
    std::copy_n(port.name.begin(), std::min(port.name.size(), sizeof(wanted.name) - 1), wanted.name);
    store_record(record, wanted);
    store_word(record.ifindex, port.ifindex);
    if (!same) impl_->bump_adjacencies();
    return {};
}

Result<void> TableWriter::release_port(std::uint32_t number) {
    if (number == 0 || number >= impl_->limits.ports) return fail("there is no port " + std::to_string(number), EINVAL);
    impl_->retired.ports.push_back(number);
    return {};
}

// --- Meta ----------------------------------------------------------------------------------------------------------

// A word without a peer is 0, which no frame's source is; the count never falls, so that nobody has to move.
Result<void> TableWriter::set_peers(std::span<const MacAddress> peers) {
    if (peers.size() > FL_MAX_PEERS)
        return fail(std::to_string(peers.size()) + " peers; at most " + std::to_string(FL_MAX_PEERS) + " are possible",
                    ENOSPC);
    auto& meta = impl_->tables.meta();
    std::vector<std::uint64_t> missing;
    for (const auto& peer : peers) missing.push_back(mac_word(peer));
    for (auto& word : meta.peers) {
        if (!word) continue;
        const auto found = std::find(missing.begin(), missing.end(), word);
        if (found == missing.end())
            store_word(word, 0);
        else
            missing.erase(found);
    }
    std::uint32_t count = meta.peer_count;
    for (const auto peer : missing) {
        const auto free = std::find(std::begin(meta.peers), std::end(meta.peers), 0);
        if (free == std::end(meta.peers)) break;  // the same peer twice
        store_word(*free, peer);
        count = std::max(count, static_cast<std::uint32_t>(free - std::begin(meta.peers)) + 1);
    }
    if (count != meta.peer_count) store_word(meta.peer_count, count);
    return {};
}

namespace {
// No source address begins with 64 ones: they would be multicast (RFC 4291 section 2.7).
constexpr std::uint64_t kNoSource = ~0ULL;

fl_source to_source(const IpPrefix& prefix) {
    fl_source source{};
    source.address = to_record(prefix.address);
    const int length = prefix.length + (prefix.address.is_v4() ? 96 : 0);
    for (int bit = 0; bit < length; ++bit) source.mask.bytes[bit / 8] |= static_cast<__u8>(0x80 >> (bit % 8));
    return source;
}

bool same_source(const fl_source& a, const fl_source& b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

void store_source_body(fl_source& entry, const fl_source& value) {
    __atomic_store_n(&entry.mask.halves[0], value.mask.halves[0], __ATOMIC_RELAXED);
    __atomic_store_n(&entry.mask.halves[1], value.mask.halves[1], __ATOMIC_RELAXED);
    __atomic_store_n(&entry.address.halves[1], value.address.halves[1], __ATOMIC_RELAXED);
}
}  // namespace

Result<void> TableWriter::set_sources(std::span<const IpPrefix> sources) {
    if (sources.size() > FL_MAX_SOURCES)
        return fail(
            std::to_string(sources.size()) + " sources; at most " + std::to_string(FL_MAX_SOURCES) + " are possible",
            ENOSPC);
    auto& meta = impl_->tables.meta();
    std::vector<fl_source> missing;
    for (const auto& prefix : sources) missing.push_back(to_source(prefix));
    std::vector<fl_source*> holes;
    for (auto& entry : std::span(meta.sources).first(meta.source_count)) {
        const auto found =
            std::find_if(missing.begin(), missing.end(), [&](const fl_source& s) { return same_source(s, entry); });
        if (found != missing.end()) {
            missing.erase(found);
            continue;
        }
        store_word(entry.address.halves[0], kNoSource);
        holes.push_back(&entry);
    }
    // Behind the count nobody looks: fill, then raise the count.
    while (!missing.empty() && meta.source_count < FL_MAX_SOURCES) {
        auto& entry = meta.sources[meta.source_count];
        store_source_body(entry, missing.back());
        store_word(entry.address.halves[0], missing.back().address.halves[0]);
        store_word(meta.source_count, meta.source_count + 1);
        missing.pop_back();
    }
    if (missing.empty()) return {};
    // Into entries that were used before: nobody may still compare with what was there, nor mix it with what comes.
    holes.resize(std::min(holes.size(), missing.size()));
    if (auto waited = impl_->grace.wait(); !waited) return waited;
    for (std::size_t i = 0; i < holes.size(); ++i) store_source_body(*holes[i], missing[i]);
    if (auto waited = impl_->grace.wait(); !waited) return waited;
    for (std::size_t i = 0; i < holes.size(); ++i)
        store_word(holes[i]->address.halves[0], missing[i].address.halves[0]);
    return {};
}

Result<void> TableWriter::set_meta_flags(std::uint32_t flags) {
    store_word(impl_->tables.meta().flags, flags);
    return {};
}

Result<void> TableWriter::set_gue_port(std::uint16_t port) {
    store_word(impl_->tables.meta().gue_port, __u64{fl_htons(port)});
    return {};
}

Result<void> TableWriter::set_answer_rate(std::uint32_t per_second_per_cpu) {
    store_word(impl_->tables.meta().answers_per_second, per_second_per_cpu);
    return {};
}

Result<void> TableWriter::set_exception_rate(std::uint32_t per_second_per_cpu) {
    store_word(impl_->tables.meta().exceptions_per_second, per_second_per_cpu);
    return {};
}

Result<void> TableWriter::set_engine(fl_engine_kind engine) {
    store_word(impl_->tables.meta().engine, engine);
    return {};
}

Result<void> TableWriter::set_config_digest(std::uint64_t digest) {
    store_word(impl_->tables.meta().config_digest, digest);
    return {};
}

void TableWriter::set_controller(std::uint32_t pid, std::uint64_t realtime_ns) {
    store_word(impl_->tables.meta().controller_pid, pid);
    store_word(impl_->tables.meta().controller_realtime_ns, realtime_ns);
}

Result<void> TableWriter::Impl::refuse_under_engine(bool same, const char* what) const {
    if (same) return {};
    if (tables.meta().engine == FL_ENGINE_NONE && !any_worker_lives(tables)) return {};
    return fail(
        std::string(what) + " cannot be changed while an engine runs: run 'lbctl detach --all' and start lbd again",
        EBUSY);
}

namespace {
bool same_address(const fl_address& a, const fl_address& b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

// Host bits of the prefix within the low 32, network order.
__be32 varying_bits(const std::optional<IpPrefix>& source) {
    if (!source) return 0;
    const int host_bits = std::min((source->address.is_v4() ? 32 : 128) - source->length, 32);
    return fl_htonl(static_cast<__u32>((1ULL << host_bits) - 1));
}

fl_address source_address(const std::optional<IpPrefix>& source) {
    return source ? to_record(source->address) : fl_address{};
}
}  // namespace

Result<void> TableWriter::set_encap4(const std::optional<IpPrefix>& source) {
    if (source && !source->address.is_v4()) return fail(source->to_string() + " is not an IPv4 prefix", EINVAL);
    auto& meta = impl_->tables.meta();
    const auto address = source_address(source);
    const auto mask = varying_bits(source);
    const bool same = same_address(meta.encap4, address) && meta.encap4_mask == mask;
    if (auto free = impl_->refuse_under_engine(same, "the IPv4 source of tunnels"); !free) return free;
    if (same) return {};
    meta.encap4 = address;
    meta.encap4_mask = mask;
    impl_->bump_adjacencies();
    return {};
}

Result<void> TableWriter::set_encap6(const std::optional<IpPrefix>& source) {
    if (source && source->address.is_v4()) return fail(source->to_string() + " is not an IPv6 prefix", EINVAL);
    auto& meta = impl_->tables.meta();
    const auto address = source_address(source);
    const auto mask = varying_bits(source);
    const bool same = same_address(meta.encap6, address) && meta.encap6_mask == mask;
    if (auto free = impl_->refuse_under_engine(same, "the IPv6 source of tunnels"); !free) return free;
    if (same) return {};
    meta.encap6 = address;
    meta.encap6_mask = mask;
    impl_->bump_adjacencies();
    return {};
}

Result<void> TableWriter::set_node(const std::optional<IpAddress>& node4, const std::optional<IpAddress>& node6) {
    auto& meta = impl_->tables.meta();
    const auto address4 = node4 ? to_record(*node4) : fl_address{};
    const auto address6 = node6 ? to_record(*node6) : fl_address{};
    const bool same = same_address(meta.node4, address4) && same_address(meta.node6, address6);
    if (auto free = impl_->refuse_under_engine(same, "this node's address"); !free) return free;
    meta.node4 = address4;
    meta.node6 = address6;
    return {};
}

Result<void> TableWriter::set_hash_key(const std::array<std::uint8_t, 16>& key) {
    __u64 words[2];
    std::memcpy(words, key.data(), sizeof(words));
    auto& meta = impl_->tables.meta();
    fl_meta expanded{};
    fl_hash_expand(&expanded, words);
    const bool same =
        std::memcmp(expanded.hash_multipliers, meta.hash_multipliers, sizeof(meta.hash_multipliers)) == 0 &&
        std::memcmp(expanded.hash_addends, meta.hash_addends, sizeof(meta.hash_addends)) == 0;
    if (auto free = impl_->refuse_under_engine(same, "the hash key"); !free) return free;
    fl_hash_expand(&meta, words);
    return {};
}

}  // namespace fairlead::tables
