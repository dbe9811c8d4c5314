// SPDX-License-Identifier: Apache-2.0
// A small world for the tests of the tables: names and addresses that tell on each other, so that a reader can see from
// what it found alone whether it is whole. Backend k of pool p is named "p<p>b<k>" and has the address 10.p.k.variant;
// pool p is named "pool<p>"; service {VIP v, port, protocol} is named "s<v>-<port>-<protocol>" and a suffix.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "dataplane/tables/records.h"
#include "dataplane/tables/snapshot.h"
#include "dataplane/tables/writer.h"

// After the accessors that it is written in.
#include "dataplane/core/index.h"

namespace fairlead::tables::test {

constexpr int kVips = 6;
constexpr int kPools = 6;
constexpr int kBackendsPerPool = 20;
constexpr std::uint16_t kPortNumbers[] = {0, 80, 443};
constexpr std::uint8_t kTcp = 6;

inline fl_limits small_limits() {
    fl_limits limits =
        limits_for({.vips = 15, .services = 31, .pools = 15, .backends = 128, .slots = 1024, .pins = 8}, 1);
    limits.strides = 1 + FL_MAX_WORKERS;
    return limits;
}

inline Tables anonymous(const fl_limits& limits = small_limits()) {
    auto tables = Tables::create_anonymous(limits);
    if (!tables) throw std::runtime_error(tables.error().message);
    return std::move(*tables);
}

inline IpAddress vip_address(int vip) {
    if (vip % 2) return IpAddress::parse("2001:db8::" + std::to_string(vip)).value();
    return IpAddress::parse("192.0.2." + std::to_string(vip)).value();
}

inline std::string pool_name(int pool) { return "pool" + std::to_string(pool); }
inline std::string backend_name(int pool, int backend) {
    return "p" + std::to_string(pool) + "b" + std::to_string(backend);
}
inline DesiredBackend backend(int pool, int number, int variant = 0) {
    const std::uint8_t bytes[4] = {10, static_cast<std::uint8_t>(pool), static_cast<std::uint8_t>(number),
                                   static_cast<std::uint8_t>(variant)};
    return {backend_name(pool, number), IpAddress::from_v4(bytes), FL_FORWARD_IPIP, 0};
}
inline DesiredPool pool(int number, int backends, std::uint32_t slots = 16) {
    DesiredPool pool;
    pool.name = pool_name(number);
    pool.flags = FL_POOL_ALL_DOWN_RESET;
    pool.slots = slots;
    for (int b = 0; b < backends; ++b) pool.backends.push_back(backend(number, b));
    return pool;
}
inline std::string service_name(int vip, std::uint16_t port, const std::string& suffix = "") {
    return "s" + std::to_string(vip) + "-" + std::to_string(port) + suffix;
}
inline DesiredService service(int vip, std::uint16_t port, int pool, const std::string& suffix = "") {
    return {service_name(vip, port, suffix), vip_address(vip), port, kTcp, pool_name(pool)};
}
inline DesiredVip vip(int number) { return {vip_address(number), true, false, 0}; }

// One VIP, one service, one pool.
inline Desired smallest(int backends = 2) { return {{vip(0)}, {pool(0, backends)}, {service(0, 80, 0)}}; }

inline Desired random_desired(std::mt19937& random) {
    const auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
    Desired desired;
    std::vector<int> pools;
    for (int p = 0; p < kPools; ++p) {
        if (!chance(70)) continue;
        pools.push_back(p);
        DesiredPool made;
        made.name = pool_name(p);
        made.flags = (chance(50) ? FL_POOL_ALL_DOWN_RESET : 0) | (chance(70) ? FL_POOL_CLIENT_IP : 0);
        made.slots = 8U << (random() % 5);
        const int density = static_cast<int>(random() % 100);
        for (int b = 0; b < kBackendsPerPool; ++b)
            if (b == 0 || chance(density)) made.backends.push_back(backend(p, b, chance(10) ? 1 : 0));
        std::shuffle(made.backends.begin(), made.backends.end(), random);
        desired.pools.push_back(made);
    }
    for (int v = 0; v < kVips && !pools.empty(); ++v) {
        if (!chance(70)) continue;
        desired.vips.push_back({vip_address(v), chance(50), chance(20), static_cast<std::uint32_t>(random() % 4)});
        const bool share = chance(60);
        auto of = pools[random() % pools.size()];
        for (const auto port : kPortNumbers) {
            if (!chance(60)) continue;
            if (!share) of = pools[random() % pools.size()];
            desired.services.push_back(service(v, port, of, chance(20) ? "-renamed" : ""));
        }
    }
    return desired;
}

// Round robin over the backends that are live, by name.
inline SlotFiller round_robin(const Desired& desired) {
    return [&desired](TableWriter& writer, std::uint32_t id, std::span<std::uint16_t> owners) {
        for (const auto& pool : desired.pools) {
            if (writer.find_pool(pool.name) != id) continue;
            for (std::size_t i = 0; i < owners.size(); ++i)
                owners[i] = writer.find_backend(id, pool.backends[i % pool.backends.size()].name).value();
        }
    };
}

// A grace period that ends when the test says so.
class TestGrace : public GracePeriod {
  public:
    Result<void> wait() override {
        ++waits;
        return on_wait ? on_wait() : Result<void>{};
    }
    int waits = 0;
    std::function<Result<void>()> on_wait;
};

// What a reader says of a backend that it found for pool `pool_id`: "" or what is wrong.
inline std::string backend_fault(const Tables& tables, std::uint32_t pool_id, const std::string& pool_name_text,
                                 const fl_backend& record) {
    const auto name = load_name(tables.names(), record.name);
    const auto* bytes = record.address.bytes;
    if (record.pool != pool_id) return "a slot of " + pool_name_text + " names an entry of another pool, or a free one";
    if (name != backend_name(bytes[13], bytes[14])) return "backend '" + name + "' has another one's address";
    if (pool_name_text != pool_name(bytes[13])) return "'" + name + "' stands in " + pool_name_text;
    return {};
}

// Every slot of the pool, as a reader sees it that has just come.
inline std::string pool_fault(fl_engine& engine, const Tables& tables, std::uint32_t id, bool owner_expected = true) {
    const fl_pool* pool = fl_at_pools(&engine, id);
    if (!pool || !fl_read_once(&pool->name))
        return "a service names pool " + std::to_string(id) + ", which is not there";
    const auto name = load_name(tables.names(), fl_read_once(&pool->name));
    const auto slots = fl_read_id(&pool->slots);
    for (std::uint32_t i = 0; i <= FL_SLOTS_MASK(slots); ++i) {
        const auto slot = FL_SLOTS_BASE(slots) + i;
        const fl_slot_line* line = fl_at_slots(&engine, slot / FL_SLOTS_PER_LINE);
        if (!line) return "a slot outside the table";
        const auto word = fl_read_id(&line->words[slot % FL_SLOTS_PER_LINE]);
        if (FL_SLOT_OWNER(word) != FL_SLOT_PREVIOUS(word) || (word & (FL_SLOT_LOOKUP | FL_SLOT_LEARNING)))
            return "a slot is not settled";
        if (FL_SLOT_OWNER(word) == FL_NO_BACKEND) {
            if (owner_expected) return "a slot of " + name + " has no owner";
            continue;
        }
        const fl_backend* backend = fl_at_backends(&engine, fl_read_id(&pool->backend_base) + FL_SLOT_OWNER(word));
        if (!backend) return "a backend outside the table";
        if (auto fault = backend_fault(tables, id, name, *backend); !fault.empty()) return fault;
    }
    return {};
}

struct Found {
    std::uint32_t vip = 0;
    std::uint32_t service = 0;
    std::uint32_t pool = 0;
};

// What a packet to {VIP, port} finds; `fault` is set if any of it is not whole.
inline Found look_up(fl_engine& engine, const Tables& tables, int vip_number, std::uint16_t port, std::string& fault) {
    Found found;
    const auto address = to_record(vip_address(vip_number));
    const fl_vip* vip = nullptr;
    const fl_service* service = nullptr;
    const fl_meta* meta = fl_at_meta(&engine, 0);
    found.vip = fl_find_vip(&engine, meta, &address, &vip);
    if (!found.vip) return found;
    found.service = fl_find_service_exact(&engine, meta, &address, found.vip, fl_htons(port), kTcp, &service);
    if (!found.service) return found;
    const auto name = load_name(tables.names(), service->name);
    if (!name.starts_with(service_name(vip_number, port)))
        fault = "service '" + name + "' is found for " + service_name(vip_number, port);
    found.pool = service->pool;
    return found;
}

// A VIP's word for later fragments must be true of all that can be found beside it.
inline std::string client_word_fault(fl_engine& engine, const Tables& tables, int vip_number) {
    std::string fault;
    const auto vip = look_up(engine, tables, vip_number, kPortNumbers[0], fault).vip;
    const auto id = vip ? fl_read_once(&tables.vips()[vip].client_tcp) : 0;
    if (!id) return {};
    const auto& service = tables.services()[id];
    if (service.vip != vip || service.protocol != kTcp) return "fragments of a VIP go by a service of another";
    if (!(tables.pools()[service.pool].flags & FL_POOL_CLIENT_IP))
        return "fragments go by a pool that needs their ports";
    for (const auto port : kPortNumbers) {
        const auto found = look_up(engine, tables, vip_number, port, fault);
        if (found.service && found.pool != service.pool) return "fragments go to another pool than their first may";
    }
    return {};
}

// Everything that a packet could meet, right now.
inline std::string world_fault(fl_engine& engine, const Tables& tables, bool owner_expected = true) {
    std::string fault;
    for (int v = 0; v < kVips && fault.empty(); ++v) {
        for (const auto port : kPortNumbers) {
            const auto found = look_up(engine, tables, v, port, fault);
            if (fault.empty() && found.pool) fault = pool_fault(engine, tables, found.pool, owner_expected);
            if (!fault.empty()) return fault;
        }
        if (fault.empty()) fault = client_word_fault(engine, tables, v);
    }
    return fault;
}

// The service that later fragments are steered by, as a Desired asks for it: by the rule's words, one VIP at a time.
inline std::uint32_t client_service(const Desired& desired, const Snapshot& snapshot, const IpAddress& vip,
                                    std::uint8_t protocol) {
    std::set<std::string> pools;
    for (const auto& s : desired.services)
        if (s.vip == vip && s.protocol == protocol) pools.insert(s.pool);
    if (pools.size() != 1 || !(snapshot.find_pool(*pools.begin())->flags & FL_POOL_CLIENT_IP)) return 0;
    std::uint32_t lowest = UINT32_MAX;
    for (const auto& s : snapshot.services)
        if (s.vip == vip && s.protocol == protocol) lowest = std::min(lowest, s.id);
    return lowest;
}

inline Desired sorted(Desired desired) {
    std::sort(desired.vips.begin(), desired.vips.end());
    for (auto& pool : desired.pools) std::sort(pool.backends.begin(), pool.backends.end());
    std::sort(desired.pools.begin(), desired.pools.end());
    std::sort(desired.services.begin(), desired.services.end());
    return desired;
}

// The tables as a Desired, sorted by name; made from a snapshot, so from the tables alone.
inline Desired as_desired(const Tables& tables) {
    const auto snapshot = take_snapshot(tables);
    Desired desired;
    for (const auto& v : snapshot.vips)
        desired.vips.push_back({v.address, (v.flags & FL_VIP_RESET) != 0, (v.flags & FL_VIP_LOCAL) != 0, v.role});
    for (const auto& p : snapshot.pools) {
        DesiredPool made{p.name, p.flags, p.slots, p.idle_timeout_s, {}};
        for (const auto& b : p.backends) made.backends.push_back({b.name, b.address, b.forward, b.tier, b.gue_port});
        desired.pools.push_back(made);
    }
    for (const auto& s : snapshot.services) desired.services.push_back({s.name, s.vip, s.port, s.protocol, s.pool});
    return sorted(desired);
}

#define ASSERT_OK(expression)                                        \
    do {                                                             \
        auto&& result_ = (expression);                               \
        ASSERT_TRUE(result_.has_value()) << result_.error().message; \
    } while (0)

}  // namespace fairlead::tables::test
