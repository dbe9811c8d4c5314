// SPDX-License-Identifier: Apache-2.0
// The writer's memory of what it read from the tables, and the steps of apply(). Private to dataplane/tables.
#pragma once

#include <netinet/in.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dataplane/tables/allocators.h"
#include "dataplane/tables/index_table.h"
#include "dataplane/tables/records.h"
#include "dataplane/tables/writer.h"

namespace fairlead::tables {

struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <typename T>
using NameMap = std::unordered_map<std::string, T, NameHash, std::equal_to<>>;

struct ServiceKey {
    IpAddress vip;
    std::uint16_t port = 0;  // host order
    std::uint8_t protocol = 0;
    bool operator==(const ServiceKey&) const = default;
};
struct ServiceKeyHash {
    std::size_t operator()(const ServiceKey& key) const {
        const auto rest = std::size_t{key.port} << 8 | key.protocol;
        return std::hash<IpAddress>{}(key.vip) ^ rest * 0x9e3779b97f4a7c15ULL;
    }
};

struct PoolState {
    std::uint32_t id = 0;
    std::string name;
    std::uint32_t slots_base = 0;
    std::uint32_t slots = 0;
    std::uint32_t backend_base = 0;
    std::uint32_t capacity = 0;      // of the backend range; what readers may use is the record's backend_count
    NameMap<std::uint16_t> by_name;  // live backends
    std::vector<bool> taken;         // by local index: an entry is filled
    std::vector<bool> live;          // taken, and not on its way out
    bool count_pending = false;      // the range has moved, and a reader may still have the old base
    bool needs_fill = false;         // slots may name a backend that is not live, or lack one that is
    bool removed = false;

    bool is_live(std::uint32_t local) const { return local < live.size() && live[local]; }
};

// What is in use; a copy serves to plan a change that may turn out not to fit.
struct Allocations {
    IdAllocator vips, services, pools;
    BuddyAllocator slot_lines;
    BuddyAllocator backend_chunks;  // of kMinimumBackendRange
};

struct Range {
    std::uint32_t base = 0;
    std::uint32_t size = 0;
};

// The words of a VIP that later fragments go by, and the protocol of each.
inline constexpr struct {
    std::uint8_t protocol;
    __u32 fl_vip::* word;
} kClientWords[] = {{IPPROTO_TCP, &fl_vip::client_tcp}, {IPPROTO_UDP, &fl_vip::client_udp}};

// By VIP, a word each: what its services of that protocol have in common.
struct ClientWord {
    std::string_view pool;     // of the first of them; empty: there are none
    bool steered = false;      // all of them have this pool, and it chooses by the client's address
    std::uint32_t lowest = 0;  // of their ids, once they have them
};
using ClientPlan = std::unordered_map<IpAddress, std::array<ClientWord, std::size(kClientWords)>>;

// A counter that goes on under another index: what is still counted under the old one is brought over at the end.
struct Carry {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    Counts at_publication;
};

// A pool whose backends have another range: its backend_count waits, and pins name the old one.
struct MovedPool {
    std::uint32_t id = 0;
    Range from;
};

// Unlinked, and perhaps still held by a reader.
struct Retired {
    std::vector<std::uint32_t> vips, services, pools, nexthops, ports;
    std::vector<std::pair<std::uint32_t, std::uint16_t>> backends;  // pool id, local index
    std::vector<Range> backend_ranges;
    std::vector<Range> slot_ranges;
    std::vector<Carry> carries;
    std::vector<MovedPool> moved_pools;
    bool empty() const {
        return vips.empty() && services.empty() && pools.empty() && nexthops.empty() && ports.empty() &&
               backends.empty() && backend_ranges.empty() && slot_ranges.empty() && carries.empty() &&
               moved_pools.empty();
    }
};

struct PoolPlan {
    const DesiredPool* desired = nullptr;
    PoolState* state = nullptr;  // null until a new pool is placed
    std::uint32_t id = 0;
    bool changed = false;
    std::vector<std::pair<const DesiredBackend*, std::uint16_t>> add;  // with the local index each gets
    std::vector<std::uint16_t> remove;
    std::vector<std::pair<std::uint16_t, std::uint32_t>> tiers;  // local index, new tier
    std::vector<std::pair<std::uint16_t, const DesiredBackend*>> renames;
    std::optional<Range> backends;  // a new pool's range, or where the range moves
    std::optional<Range> slots;     // likewise
    std::uint32_t replaced = 0;     // of `add`, those whose name was there with another address
};

struct ServicePlan {
    const DesiredService* desired = nullptr;
    std::uint32_t id = 0;
    std::uint32_t replaces = 0;  // id of the record before, or 0
};

struct VipPlan {
    const DesiredVip* desired = nullptr;
    std::uint32_t id = 0;
};

struct Plan {
    Allocations next;
    std::vector<PoolPlan> pools;
    std::vector<std::uint32_t> removed_pools;
    std::vector<ServicePlan> services;
    std::vector<std::pair<ServiceKey, std::uint32_t>> removed_services;
    std::vector<VipPlan> new_vips;
    std::vector<VipPlan> changed_vips;
    std::vector<std::pair<IpAddress, std::uint32_t>> removed_vips;
    std::size_t services_after = 0;
    std::size_t vips_after = 0;

    bool empty() const;
};

// Who owns a pool's slots, and how it comes to.
struct SlotSource {
    const SlotFiller& filler;
    const SlotMover& mover;
};

class TableWriter::Impl {
  public:
    Impl(Tables& tables, GracePeriod& grace);
    Result<void> adopt();

    // apply(): writer_plan.cpp and writer_apply.cpp
    Result<void> validate(const Desired& desired) const;
    Result<Plan> plan(const Desired& desired) const;
    Result<ApplyReport> apply(TableWriter& self, const Desired& desired, const SlotSource& source);
    Result<void> collect();

    PoolState* pool(std::uint32_t id) const {
        return id < pools.size() && pools[id] && !pools[id]->removed ? pools[id].get() : nullptr;
    }
    fl_backend& backend_record(const PoolState& pool, std::uint16_t local) const {
        return tables.backends()[pool.backend_base + local];
    }
    __u32& slot_word(std::uint32_t slot) const {
        return tables.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE];
    }
    Result<std::uint32_t> set_slots(PoolState& pool, std::span<const std::uint16_t> owners);
    Result<void> refuse_under_engine(bool same, const char* what) const;
    void bump_adjacencies();

    Tables& tables;
    GracePeriod& grace;
    fl_limits limits;
    IndexTable vip_index;
    IndexTable service_index;
    Allocations used;
    std::unordered_map<IpAddress, std::uint32_t> vips;
    std::unordered_map<ServiceKey, std::uint32_t, ServiceKeyHash> services;
    NameMap<std::uint32_t> pool_ids;
    std::vector<std::unique_ptr<PoolState>> pools;  // by id
    Retired retired;

    enum class NexthopUse : std::uint8_t { kFree, kAdopted, kAllocated, kRetired };
    std::vector<NexthopUse> nexthop_use;
    std::vector<std::uint32_t> nexthop_references;  // live backends whose word names it
    std::uint32_t nexthop_hint = 1;                 // none below is free

  private:
    // Adoption.
    Result<void> adopt_pools();
    Result<void> adopt_backends(PoolState& pool);
    Result<void> adopt_vips();
    Result<void> adopt_services();
    void adopt_nexthops();
    void clear_strays();
    void drop_stale_client_words();

    // Steps of apply(), in this order.
    static ClientPlan plan_clients(const Desired& desired);
    void clear_client_words(const ClientPlan& plan);
    Result<void> place_pools(Plan& plan);
    void place_new_pool(PoolPlan& plan);
    void change_pool(PoolPlan& plan);
    void move_backends(PoolState& pool, Range to);
    Result<void> fill_slots(TableWriter& self, Plan& plan, const SlotSource& source);
    Result<void> fill_pool_slots(TableWriter& self, PoolState& pool, const SlotSource& source);
    void forget_removed(const PoolState& pool);
    void rename_backends(PoolState& pool, const PoolPlan& plan);
    void move_slots(PoolState& pool, Range to);
    void choose_local(PoolState& pool, const DesiredPool& desired);
    Result<void> publish_services(Plan& plan);
    Result<void> publish_vips(Plan& plan);
    enum class Which { kThoseThatStand, kAll };
    void choose_client_services(const Desired& desired, ClientPlan& plan) const;
    void set_client_words(const ClientPlan& plan, Which which);  // before unlink(), and after
    void unlink(const Plan& plan);
    void give_back_unpublished(const Plan& plan);
    void report(const Plan& plan, ApplyReport& into) const;

    void fill_backend(const PoolState& pool, std::uint32_t index, const DesiredBackend& desired);
    void fill_service(const ServicePlan& plan);
    void start_counter(std::uint32_t index_in_stride);
    void carry_counter(std::uint32_t from, std::uint32_t to);
    void finish_carry(const Carry& carry);
    void free_retired();
    void free_backend(PoolState& pool, std::uint16_t local);
    void free_pool(std::uint32_t id);
    void take_pins_along(const MovedPool& moved);
    void clear_backend_range(Range range);
    void bump_generation();

    Result<void> plan_pools(const Desired& desired, Plan& plan) const;
    Result<void> plan_new_pool(const DesiredPool& desired, Plan& plan) const;
    Result<void> plan_pool(const DesiredPool& desired, PoolState& state, Plan& plan) const;
    void plan_backends(const PoolState& state, PoolPlan& plan, std::vector<const DesiredBackend*>& missing) const;
    Result<void> plan_backend_room(const PoolState& state, const std::vector<const DesiredBackend*>& missing,
                                   PoolPlan& pool_plan, Plan& plan) const;
    Result<void> plan_vips(const Desired& desired, Plan& plan) const;
    Result<void> plan_services(const Desired& desired, Plan& plan) const;
    Result<void> check_totals(const Desired& desired) const;
    bool service_differs(const DesiredService& desired, std::uint32_t id) const;

    friend class TableWriter;
};

}  // namespace fairlead::tables
