// SPDX-License-Identifier: Apache-2.0
// What this node takes from the active one: its indexes are translated by the names that go with them, slot words and pins
// go into the tables as they come, and what it thinks of its backends is kept for the controller to decide by. Refused, and
// counted, is what names something that is not here, or a pool that this node is not a standby for. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ctl/lbd/transitions.h"
#include "ctl/plan/eligibility.h"
#include "ctl/sync/records.h"
#include "ctl/sync/session.h"
#include "dataplane/tables/pin_sync.h"

namespace fairlead {

// What the active node thinks of a pool: by backend name.
struct FollowedView {
    plan::PoolHealth health;
    plan::PoolOverrides overrides;
    std::optional<int> tier;
    bool operator==(const FollowedView&) const = default;
};

class SyncSink : public sync::Sink {
  public:
    // All must outlive it and not move. Of several peers each has one of its own.
    // `follow`: makes Transitions follow one more pool, before its first slots are written.
    using Follow = std::function<void(std::uint32_t pool)>;
    SyncSink(tables::Tables& tables, tables::TableWriter& writer, Transitions& transitions, Follow follow)
        : tables_(tables), writer_(writer), transitions_(transitions), follow_(std::move(follow)), marks_(tables) {}

    // Pools, by id, that the peer may tell of: it is active for them, and this node stands by. True if one is new that the
    // present stream told of in vain: it is to be asked for again.
    bool allow(const std::set<std::uint32_t>& pools);

    // This node goes by itself for that pool, until it is allowed anew and told of anew. Pins are taken for a moment yet:
    // those that were confirmed on the other node until this one took over may be on their way.
    void forget(std::uint32_t pool);
    // The tables were changed as a whole: indexes may be others now, and the stream has to begin anew.
    void forget_indexes();

    void begin() override;
    bool apply(std::span<const std::uint8_t> records) override;

    // A bounded part of what is left to do once the whole was told. False: nothing is.
    bool step();

    // Allowed, and told of: the tables say what the peer's say.
    std::set<std::uint32_t> followed() const;
    // The whole of the present stream was told, and taken as far as it is this node's to take.
    bool whole() const { return whole_ && !told_in_vain_; }
    std::vector<std::string> followed_names() const;
    // Of a pool that is followed; null: nothing is known of it.
    const FollowedView* view(const std::string& pool) const;
    // Pools, by name, whose view is another since the last call.
    std::set<std::string> take_changed();
    bool has_changed() const { return !changed_.empty(); }

    std::uint64_t slots_applied() const { return slots_applied_; }
    std::uint64_t pins_applied() const { return pins_applied_; }
    std::uint64_t pins_swept() const { return pins_swept_; }
    const sync::Refusals& refused() const { return refused_; }

  private:
    // A pool of the peer's, under its id. `here`: none if it cannot be taken.
    struct Pool {
        std::optional<std::uint32_t> here;
        std::string name;
        std::uint32_t base = 0;                                  // global index of the pool's backend 0 here
        std::unordered_map<std::uint16_t, std::string> names;    // by the peer's index
        std::unordered_map<std::uint16_t, std::uint16_t> local;  // pool-local indexes here, by the peer's
    };

    void refuse(sync::SyncRefusal reason);
    bool takes(const Pool& pool);
    Pool* find(std::uint32_t id);
    Pool* find_for_pins(std::uint32_t id, std::uint64_t now_ns);
    void take(const sync::PoolRecord& record);
    void take(const sync::BackendRecord& record);
    void take(const sync::ViewRecord& record);
    void take(const sync::SlotsRecord& record);
    void take(const sync::PinsRecord& record);
    void take(const sync::EndRecord& record);
    bool take_pin(const sync::Pin& pin, std::uint64_t now_ns);
    std::optional<std::uint32_t> translate(const Pool& pool, std::uint32_t word);

    tables::Tables& tables_;
    tables::TableWriter& writer_;
    Transitions& transitions_;
    Follow follow_;
    std::set<std::uint32_t> allowed_;
    std::map<std::uint32_t, Pool> pools_;                // of the present stream, by the peer's id
    std::map<std::uint32_t, std::uint64_t> late_until_;  // pools here, ns of CLOCK_MONOTONIC
    bool told_in_vain_ = false;
    std::set<std::uint32_t> told_;  // pools here; of earlier streams too, until they are not allowed any more
    std::map<std::string, FollowedView> views_;
    std::set<std::string> changed_;
    tables::PinMarks marks_;
    bool whole_ = false;
    std::optional<std::uint32_t> sweep_at_;    // group
    std::vector<tables::SlotChange> changes_;  // of one record, kept for its room
    std::uint64_t slots_applied_ = 0, pins_applied_ = 0, pins_swept_ = 0;
    sync::Refusals refused_{};
};

}  // namespace fairlead
