// SPDX-License-Identifier: Apache-2.0
// What this node tells a standby: pools with their backends and what it thinks of them, slot words, and pins, as records of a
// stream (ctl/sync/records.h). The whole first, then what changed: slots by comparison with what was told, pins by the
// groups in which engines confirmed some. A call looks at a bounded part of the tables. One thread; engines write meanwhile.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ctl/sync/records.h"
#include "ctl/sync/session.h"
#include "dataplane/tables/pin_sync.h"
#include "dataplane/tables/tables.h"
#include "dataplane/tables/writer.h"

namespace fairlead {

// A pool that this node is active for, as it is told: ids and indexes are of this node's tables.
struct ToldPool {
    struct Backend {
        sync::BackendRecord identity;
        sync::ViewRecord view;
        bool operator==(const Backend&) const = default;
    };
    sync::PoolRecord pool;
    std::vector<Backend> backends;
    bool operator==(const ToldPool&) const = default;
};

class SyncSource : public sync::Source {
  public:
    // Both must outlive it and not move. Of several peers each has one of its own.
    SyncSource(tables::Tables& tables, const tables::TableWriter& writer) : tables_(tables), writer_(writer) {}

    // True if what was told does not go on to that: other pools, or another number of slots. A new stream is needed then.
    bool set_pools(const std::map<std::uint32_t, ToldPool>& pools);

    // Slots may be others than when they were last compared, and are to be compared again, once.
    void compare_slots() { comparing_ = true; }
    // Groups of pins in which some were confirmed; of all sources one takes them from the tables.
    void add_dirty(std::span<const std::uint32_t> groups, std::uint64_t confirmed_since_ns);

    void begin() override;
    std::size_t fill(std::span<std::uint8_t> room) override;
    bool has_state() const override { return !pools_.empty(); }

    // Of the present stream: the whole was told, and how much of it.
    bool whole_told() const { return ended_; }
    std::uint64_t slots_told() const { return slots_told_; }  // since this object was made, as what follows
    std::uint64_t pins_told() const { return pins_told_; }

  private:
    struct Told {
        std::optional<sync::PoolRecord> pool;
        std::vector<ToldPool::Backend> backends;  // in the order of the pool's; shorter: the rest is not told yet
        std::vector<std::uint32_t> words;         // likewise
    };
    struct Dirty {
        std::uint32_t group = 0;
        std::uint64_t since_ns = 0;
    };

    bool tell_pools(sync::RecordWriter& out);
    bool tell_backends(const ToldPool& pool, Told& told, sync::RecordWriter& out);
    bool tell_slots(sync::RecordWriter& out);
    bool tell_slots_of(std::uint32_t id, Told& told, std::uint32_t& budget, sync::RecordWriter& out);
    bool tell_pins(sync::RecordWriter& out);
    bool next_group();
    void read_group(std::uint32_t group, std::uint32_t oldest);
    bool tell_end(sync::RecordWriter& out);

    tables::Tables& tables_;
    const tables::TableWriter& writer_;
    std::map<std::uint32_t, ToldPool> pools_;
    std::map<std::uint32_t, Told> told_;
    bool pools_changed_ = true;
    bool comparing_ = true;
    std::uint32_t next_pool_ = 0, next_slot_ = 0;  // where the comparison of slots goes on
    std::vector<Dirty> dirty_;
    std::vector<sync::Pin> pins_;  // of the last group that was read; from next_pin_ on to be told
    std::size_t next_pin_ = 0;
    std::uint32_t next_group_ = 0;  // of the whole
    bool ended_ = false;
    std::uint64_t slots_told_ = 0, pins_told_ = 0;
    std::uint64_t stream_slots_ = 0, stream_pins_ = 0;
    std::vector<tables::PinSeen> seen_;  // of one call, kept for its room
};

}  // namespace fairlead
