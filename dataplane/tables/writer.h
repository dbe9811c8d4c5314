// SPDX-License-Identifier: Apache-2.0
// The one writer of decisions. TableWriter makes the tables say what a Desired says, and changes the words that health,
// neighbours and roles move, under readers that take no lock (DESIGN section 4, "Publishing" and "Reuse"):
//   - a record is filled, then published by one release store of the word that names it: the index word of a VIP or a
//     service, the pool in a service's record, the slots word and backend base of a pool, the owner in a slot;
//   - what is removed is unlinked, and its id, index or range is used again only after a grace period.
//   - a VIP's words for later fragments name a service that is published, of the one pool that all share, or none.
// All it knows about allocation it reads from the tables, so that a new controller goes on where the last one stopped.
// One thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/tables/counters.h"
#include "dataplane/tables/desired.h"
#include "dataplane/tables/grace.h"
#include "dataplane/tables/tables.h"

namespace fairlead::tables {

struct ApplyReport {
    struct Change {
        std::uint32_t added = 0;
        std::uint32_t changed = 0;
        std::uint32_t removed = 0;
        bool any() const { return added || changed || removed; }
    };
    Change vips, services, pools, backends;
    std::vector<std::string> pools_to_fill;  // new, resized, or with other backends: their slots were given to the
                                             // SlotFiller, or wait for set_slots()
    bool reuse_pending = false;  // a reader has not left yet; what was removed is freed by a later apply() or collect()
    bool any() const { return vips.any() || services.any() || pools.any() || backends.any(); }
};

class TableWriter;

// Asked for a pool's owners (pool-local indexes or FL_NO_BACKEND) when its backends stand in the tables, before what
// is removed goes and before its services are published. `owners` comes filled with the present ones. Inside, lookups
// and set_backend_state() of the writer may be used; new backends are FL_BACKEND_UNKNOWN until then.
using SlotFiller = std::function<void(TableWriter&, std::uint32_t pool, std::span<std::uint16_t> owners)>;

// Brings new owners into a pool's slots by change_slots(). Without one they are set_slots(): settled at once.
using SlotMover = std::function<Result<void>(TableWriter&, std::uint32_t pool, std::span<const std::uint16_t> owners)>;

// A pool's slots as they are, engines writing stamps meanwhile.
struct PoolSlots {
    std::uint32_t base = 0;  // of the first in the whole table
    std::span<const std::uint32_t> words;
    std::span<const fl_stamp> stamps;
};

class TableWriter {
  public:
    // Adopts what is there, an empty set or that of a controller that died at any point. Keeps both references; they
    // must outlive it and not move.
    static Result<TableWriter> create(Tables& tables, GracePeriod& grace);
    TableWriter(TableWriter&&) noexcept;
    TableWriter& operator=(TableWriter&&) noexcept;
    ~TableWriter();

    // Makes the tables say `desired`: what has the same name (a service: the same VIP, port and protocol) keeps its id,
    // index and counters. Checked and allocated whole before the first store: on an error of validity (EINVAL) or a limit
    // (ENOSPC: names the limit, what is needed and what there is) nothing has changed. ETIMEDOUT: a reader did not leave;
    // the tables are consistent, the rest is done by the next apply(). Slots of a backend that goes, unless the filler
    // gave them away, have no owner; those that it is the previous owner of forget it. A backend that has another name,
    // and everything else of one that is not wanted any more, keeps its index: it is renamed. A pool whose backends move
    // to a larger range takes its pins along.
    Result<ApplyReport> apply(const Desired& desired, const SlotFiller& filler = {}, const SlotMover& mover = {});

    // Frees what earlier removals left, if every reader has left. Called by apply().
    Result<void> collect();

    // --- Lookups; no allocation. ---
    std::optional<std::uint32_t> find_vip(const IpAddress& address) const;
    std::optional<std::uint32_t> find_service(const IpAddress& vip, std::uint16_t port, std::uint8_t protocol) const;
    std::optional<std::uint32_t> find_pool(std::string_view name) const;
    std::optional<std::uint16_t> find_backend(std::uint32_t pool, std::string_view name) const;  // pool-local index
    std::uint32_t global_index(std::uint32_t pool, std::uint16_t backend) const;  // of an index that find_backend gave
    std::uint32_t slot_count(std::uint32_t pool) const;
    PoolSlots slots_of(std::uint32_t pool) const;  // until the next apply(); empty for a pool that is not there
    // By pool-local index: dead, or not there. Of as many as the pool has room for.
    std::vector<bool> dead_backends(std::uint32_t pool) const;

    // --- Run-time changes; no allocation, no system call. EINVAL for what is not there. ---

    // Owners of all slots of the pool, settled. Stores the words that differ, and returns their number. FL_NO_BACKEND
    // is an owner; an index without a backend is an error, and nothing is stored.
    Result<std::uint32_t> set_slots(std::uint32_t pool, std::span<const std::uint16_t> owners);
    // One by one, in this order; stamps become `stamp`, in their own unit (FL_STAMP_SHIFT). An owner that is not there is
    // an error, and nothing is stored.
    Result<void> change_slots(std::uint32_t pool, std::span<const SlotChange> changes, std::uint32_t stamp);
    Result<void> set_backend_state(std::uint32_t pool, std::uint16_t backend, fl_backend_state state, std::uint32_t mtu,
                                   std::uint32_t nexthop);
    // apply() does this for a backend with FL_FORWARD_LOCAL; FL_NO_BACKEND = none.
    Result<void> set_pool_local(std::uint32_t pool, std::uint16_t backend);
    Result<void> set_role(std::uint32_t role, std::uint64_t active_until_ns);

    // A next hop's number, from 1; unresolved until set_nexthop(). After adoption, those that backends name are in use;
    // claim_nexthop() makes one of them the caller's, the others go once no backend names them.
    Result<std::uint32_t> allocate_nexthop();
    Result<void> claim_nexthop(std::uint32_t id);
    // No backend may name it any more. It is given out again only after a grace period.
    Result<void> free_nexthop(std::uint32_t id);
    // A zero MAC means not resolved.
    Result<void> set_nexthop(std::uint32_t id, const MacAddress& mac, std::uint32_t port);

    // Port numbers start at 1. A changed MAC or MTU is one store; another interface under the number of one that next
    // hops still name is the caller's to avoid (set the next hops to unresolved first). A live port has a way.
    struct Port {
        std::string name;
        std::uint32_t ifindex = 0;  // 0 = none
        MacAddress mac;
        std::uint32_t mtu = 1500;  // bytes of IP
        std::uint32_t saved_features = 0;
        fl_engine_kind mode = FL_ENGINE_NONE;
        std::uint64_t way = FL_PORT_WAY_AS_IT_CAME;
        std::uint32_t flags = 0;  // FL_PORT_*
    };
    Result<void> set_port(std::uint32_t number, const Port& port);
    // No next hop names it any more. Its entry is emptied, and so free for another, after a grace period.
    Result<void> release_port(std::uint32_t number);

    // The MAC addresses of the other balancers; at most FL_MAX_PEERS. A word each: a reader sees the old or the new set
    // or part of both, never less than what they share.
    Result<void> set_peers(std::span<const MacAddress> peers);
    // From where encapsulated packets are accepted; at most FL_MAX_SOURCES. Safe under readers: an entry is made to
    // match nothing by one store, waited for, filled, and published by one store. May take two grace periods.
    Result<void> set_sources(std::span<const IpPrefix> sources);
    Result<void> set_meta_flags(std::uint32_t flags);  // FL_META_*
    Result<void> set_gue_port(std::uint16_t port);     // host order: where GUE is unwrapped; 0 = nowhere
    Result<void> set_answer_rate(std::uint32_t per_second_per_cpu);
    // How many packets the XDP program may give to lb-dpdk; 0 = none.
    Result<void> set_exception_rate(std::uint32_t per_second_per_cpu);
    Result<void> set_engine(fl_engine_kind engine);
    Result<void> set_config_digest(std::uint64_t digest);
    // The sign of life for people: the controller's pid and the time.
    void set_controller(std::uint32_t pid, std::uint64_t realtime_ns);

    // Wider than a word, so never changed under an engine: while meta.engine is not FL_ENGINE_NONE, or a worker is
    // registered, another value than the present one is refused (EBUSY); the same value is always fine.
    // The prefix's host bits vary with the flow; a full-length prefix is one address; no value = no tunnel from here.
    Result<void> set_encap4(const std::optional<IpPrefix>& source);
    Result<void> set_encap6(const std::optional<IpPrefix>& source);
    Result<void> set_node(const std::optional<IpAddress>& node4, const std::optional<IpAddress>& node6);
    Result<void> set_hash_key(const std::array<std::uint8_t, 16>& key);

    Tables& tables();
    const Tables& tables() const;

  private:
    class Impl;
    explicit TableWriter(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::tables
