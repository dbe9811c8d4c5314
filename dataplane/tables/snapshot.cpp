// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/snapshot.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <tuple>

#include "dataplane/tables/records.h"

namespace fairlead::tables {
namespace {

constexpr int kTries = 5;
constexpr auto kBetweenTries = std::chrono::milliseconds(2);

void read_vips(const Tables& tables, Snapshot& into) {
    for (const auto id : indexed_ids(tables.vip_index(), tables.meta().vip_index)) {
        if (id >= tables.vips().size()) continue;
        const auto record = load_record(tables.vips()[id]);
        VipStatus vip;
        vip.id = id;
        vip.address = from_record(record.address);
        vip.flags = record.flags;
        vip.role = record.role;
        vip.client_tcp = record.client_tcp;
        vip.client_udp = record.client_udp;
        if (record.role < tables.roles().size())
            vip.active_until_ns = load_word(tables.roles()[record.role].active_until_ns);
        into.vips.push_back(std::move(vip));
    }
    std::sort(into.vips.begin(), into.vips.end(), [](const auto& a, const auto& b) { return a.address < b.address; });
}

void read_services(const Tables& tables, Snapshot& into) {
    const CounterReader counters(tables);
    for (const auto id : indexed_ids(tables.service_index(), tables.meta().service_index)) {
        if (id >= tables.services().size()) continue;
        const auto record = load_record(tables.services()[id]);
        if (record.vip >= tables.vips().size() || record.pool >= tables.pools().size()) continue;
        ServiceStatus service;
        service.id = id;
        service.name = load_name(tables.names(), record.name);
        service.vip = from_record(load_record(tables.vips()[record.vip]).address);
        service.port = fl_ntohs(record.port);
        service.protocol = record.protocol;
        service.pool_id = record.pool;
        service.pool = load_name(tables.names(), load_record(tables.pools()[record.pool]).name);
        service.counts = counters.service(id);
        into.services.push_back(std::move(service));
    }
    std::sort(into.services.begin(), into.services.end(), [](const auto& a, const auto& b) {
        return std::tie(a.vip, a.protocol, a.port) < std::tie(b.vip, b.protocol, b.port);
    });
}

BackendStatus read_backend(const Tables& tables, const fl_backend& record, std::uint32_t base, std::uint32_t local) {
    BackendStatus backend;
    backend.name = load_name(tables.names(), record.name);
    backend.address = from_record(record.address);
    backend.forward = static_cast<fl_forward>(record.forward);
    backend.tier = record.tier;
    backend.gue_port = fl_ntohs(record.gue_port);
    backend.local_index = static_cast<std::uint16_t>(local);
    backend.global_index = base + local;
    backend.state = static_cast<fl_backend_state>(FL_BACKEND_STATE(record.state));
    backend.mtu = FL_BACKEND_MTU(record.state);
    backend.nexthop = FL_BACKEND_NEXTHOP(record.state);
    if (backend.nexthop && backend.nexthop < tables.nexthops().size())
        backend.nexthop_word = load_word(tables.nexthops()[backend.nexthop].word);
    backend.counts = CounterReader(tables).backend(backend.global_index);
    return backend;
}

// Of a pool's slots, by local index; the last of `owned`, those that nobody owns.
struct SlotCounts {
    std::vector<std::uint32_t> owned, previous;
    std::uint32_t in_transition = 0;
};

SlotCounts count_slots(const Tables& tables, std::uint64_t slots, std::uint32_t backends) {
    SlotCounts counts;
    counts.owned.resize(std::size_t{backends} + 1);
    counts.previous.resize(std::size_t{backends} + 1);
    const std::uint64_t base = FL_SLOTS_BASE(slots);
    for (std::uint64_t slot = base; slot <= base + FL_SLOTS_MASK(slots); ++slot) {
        if (slot / FL_SLOTS_PER_LINE >= tables.slots().size()) break;
        const auto word = load_word(tables.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE]);
        const auto owner = FL_SLOT_OWNER(word), previous = FL_SLOT_PREVIOUS(word);
        ++counts.owned[std::min(owner, backends)];
        if (!(word & FL_SLOT_LOOKUP)) continue;
        ++counts.in_transition;
        if (owner != previous) ++counts.previous[std::min(previous, backends)];
    }
    return counts;
}

void read_pools(const Tables& tables, Snapshot& into) {
    for (std::uint32_t id = 1; id < tables.pools().size(); ++id) {
        const auto record = load_record(tables.pools()[id]);
        if (!record.name) continue;
        PoolStatus pool;
        pool.id = id;
        pool.name = load_name(tables.names(), record.name);
        pool.flags = record.flags;
        pool.slots = FL_SLOTS_MASK(record.slots) + 1;
        pool.idle_timeout_s = record.idle_timeout_s;
        pool.local = static_cast<std::uint16_t>(record.local);
        const auto count = std::min<std::uint32_t>(record.backend_count, FL_NO_BACKEND);
        const auto slots = count_slots(tables, record.slots, count);
        pool.slots_without_owner = slots.owned.back();
        pool.slots_in_transition = slots.in_transition;
        for (std::uint32_t local = 0; local < count; ++local) {
            if (record.backend_base + local >= tables.backends().size()) break;
            const auto backend = load_record(tables.backends()[record.backend_base + local]);
            if (backend.pool != id) continue;
            pool.backends.push_back(read_backend(tables, backend, record.backend_base, local));
            pool.backends.back().slots_owned = slots.owned[local];
            pool.backends.back().slots_previous = slots.previous[local];
        }
        into.pools.push_back(std::move(pool));
    }
    std::sort(into.pools.begin(), into.pools.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
}

void read_ports(const Tables& tables, Snapshot& into) {
    for (std::uint32_t number = 1; number < tables.ports().size(); ++number) {
        const auto record = load_record(tables.ports()[number]);
        if (!record.ifindex) continue;
        into.ports.push_back({number, port_name(record), record.ifindex, record.mtu,
                              static_cast<fl_engine_kind>(record.mode), record.way, record.flags});
    }
}

void read_usage(const Tables& tables, Snapshot& into) {
    const auto& l = tables.limits();
    std::uint64_t backends = 0;
    std::uint64_t slots = 0;
    for (const auto& pool : into.pools) {
        backends += pool.backends.size();
        slots += pool.slots;
    }
    std::uint64_t nexthops = 0;
    for (const auto& nexthop : tables.nexthops()) nexthops += load_word(nexthop.word) != 0;
    into.usage = {{"vips", into.vips.size(), l.vips - 1U},
                  {"services", into.services.size(), l.services - 1U},
                  {"pools", into.pools.size(), l.pools - 1U},
                  {"backends", backends, l.backends},
                  {"slots", slots, l.slots},
                  {"nexthops", nexthops, l.nexthops - 1U},
                  {"pins", 0, l.pins}};
}
}  // namespace

std::string_view to_string(fl_forward forward) {
    switch (forward) {
        case FL_FORWARD_L2DSR:
            return "l2dsr";
        case FL_FORWARD_IPIP:
            return "ipip";
        case FL_FORWARD_LOCAL:
            return "local";
        case FL_FORWARD_GUE:
            return "gue";
        case FL_FORWARD_NAT:
            return "nat";
    }
    return "unknown";
}

const PoolStatus* Snapshot::find_pool(std::string_view name) const {
    const auto found = std::ranges::lower_bound(pools, name, {}, &PoolStatus::name);
    return found == pools.end() || found->name != name ? nullptr : &*found;
}

Snapshot take_snapshot(const Tables& tables) {
    for (int attempt = 1;; ++attempt) {
        const auto generation = load_word(tables.meta().name_generation);
        Snapshot snapshot;
        read_vips(tables, snapshot);
        read_pools(tables, snapshot);
        read_services(tables, snapshot);
        read_ports(tables, snapshot);
        read_usage(tables, snapshot);
        snapshot.reasons = CounterReader(tables).reasons();
        for (int event = FL_EVENTS_AT; event < FL_EVENT_END; ++event)
            snapshot.events.push_back(CounterReader(tables).event(static_cast<fl_event>(event)));
        // Odd: a change is under way (TableWriter::apply()).
        const bool still = !(generation & 1) && load_word(tables.meta().name_generation) == generation;
        if (still || attempt == kTries) return snapshot;
        std::this_thread::sleep_for(kBetweenTries);
    }
}

}  // namespace fairlead::tables
