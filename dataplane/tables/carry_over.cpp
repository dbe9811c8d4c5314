// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/carry_over.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <vector>

#include "dataplane/tables/records.h"

// After the accessors that it is written in.
#include "dataplane/core/pins.h"

namespace fairlead::tables {
namespace {
constexpr std::uint16_t kNobody = FL_NO_BACKEND;

std::span<const std::uint32_t> words_of(const Tables& tables, std::uint32_t pool) {
    const auto slots = tables.pools()[pool].slots;
    const auto base = FL_SLOTS_BASE(slots);
    return {&tables.slots()[base / FL_SLOTS_PER_LINE].words[base % FL_SLOTS_PER_LINE], FL_SLOTS_MASK(slots) + 1};
}

using Identity = std::tuple<IpAddress, fl_forward, std::uint16_t>;
Identity identity_of(const BackendStatus& backend) { return {backend.address, backend.forward, backend.gue_port}; }

// From old local index to new one, of a pool that both have.
std::vector<std::uint16_t> local_indexes(const PoolStatus& old, const PoolStatus& now) {
    std::map<Identity, std::uint16_t> present;
    for (const auto& backend : now.backends) present.emplace(identity_of(backend), backend.local_index);
    std::vector<std::uint16_t> indexes;
    for (const auto& backend : old.backends) {
        indexes.resize(std::max<std::size_t>(indexes.size(), backend.local_index + 1U), kNobody);
        if (const auto found = present.find(identity_of(backend)); found != present.end())
            indexes[backend.local_index] = found->second;
    }
    return indexes;
}

bool put_pin(fl_pin_bucket& bucket, std::uint64_t word) {
    fl_pin_bucket* free = nullptr;
    std::size_t at = 0;
    for (std::size_t i = 0; i < FL_BUCKET_WORDS; ++i) {
        const auto present = load_word(bucket.words[i]);
        if (present && FL_PIN_SIGNATURE(present) == FL_PIN_SIGNATURE(word)) return true;  // the engine's own is newer
        if (!present && !free) free = &bucket, at = i;
    }
    if (!free) return false;
    __u64 nothing = 0;
    return __atomic_compare_exchange_n(&free->words[at], &nothing, word, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void continue_counter(Tables& tables, std::uint32_t index, const Counts& shown) {
    const auto raw = CounterReader(tables).raw(index);
    const auto baseline = raw - shown;
    store_record(tables.baselines()[index], {baseline.packets, baseline.bytes, baseline.syns, 0});
}
}  // namespace

CarryOver::CarryOver(const Tables& old) : old_(old), snapshot_(take_snapshot(old)) {}

Result<void> CarryOver::slots(TableWriter& writer) const {
    const auto present = take_snapshot(writer.tables());
    for (const auto& old : snapshot_.pools) {
        const auto pool = writer.find_pool(old.name);
        const auto* now = present.find_pool(old.name);
        if (!pool || !now) continue;
        const auto indexes = local_indexes(old, *now);
        const auto renamed = [&](std::uint32_t local) { return local < indexes.size() ? indexes[local] : kNobody; };
        const auto words = words_of(old_, old.id);
        std::vector<SlotChange> changes;
        for (std::uint32_t slot = 0; slot < writer.slot_count(*pool); ++slot) {
            const auto word = load_word(words[slot & (words.size() - 1)]);
            const auto owner = renamed(FL_SLOT_OWNER(word)), previous = renamed(FL_SLOT_PREVIOUS(word));
            const auto flags = word & (FL_SLOT_LOOKUP | FL_SLOT_LEARNING);
            changes.push_back({slot, FL_SLOT_WORD(owner, previous == kNobody ? owner : previous, 0, 0) | flags});
        }
        if (auto changed = writer.change_slots(*pool, changes, 0); !changed) return changed;
    }
    return {};
}

void CarryOver::counters(TableWriter& writer) const {
    auto& tables = writer.tables();
    const auto& limits = tables.limits();
    for (std::size_t reason = 0; reason < snapshot_.reasons.size(); ++reason)
        continue_counter(tables, static_cast<std::uint32_t>(reason), snapshot_.reasons[reason]);
    for (std::size_t event = 0; event < snapshot_.events.size(); ++event)
        continue_counter(tables, static_cast<std::uint32_t>(FL_EVENTS_AT + event), {snapshot_.events[event], 0, 0});
    for (const auto& service : snapshot_.services)
        if (const auto id = writer.find_service(service.vip, service.port, service.protocol))
            continue_counter(tables, FL_COUNTER_SERVICE(&limits, *id), service.counts);
    const auto indexes = global_indexes(writer);
    for (const auto& pool : snapshot_.pools)
        for (const auto& backend : pool.backends)
            if (const auto found = indexes.find(backend.global_index); found != indexes.end())
                continue_counter(tables, FL_COUNTER_BACKEND(&limits, found->second), backend.counts);
}

CarryOver::Indexes CarryOver::global_indexes(const TableWriter& writer) const {
    Indexes indexes;
    const auto present = take_snapshot(writer.tables());
    for (const auto& old : snapshot_.pools) {
        const auto* now = present.find_pool(old.name);
        if (!now) continue;
        const auto locals = local_indexes(old, *now);
        for (const auto& backend : old.backends)
            if (const auto local = locals[backend.local_index]; local != kNobody)
                indexes.emplace(backend.global_index, writer.global_index(now->id, local));
    }
    return indexes;
}

// Bucket numbers are the low bits of what the table's size does not change: of a smaller table fewer of them count, of a
// larger one those above are unknown.
std::uint64_t CarryOver::pins(TableWriter& writer) const {
    const auto indexes = global_indexes(writer);
    const auto from = old_.pins();
    const auto to = writer.tables().pins();
    std::uint64_t lost = 0;
    for (std::size_t bucket = 0; bucket < from.size(); ++bucket)
        for (const auto& place : from[bucket].words) {
            const auto word = load_word(place);
            if (!word) continue;
            const auto found = indexes.find(FL_PIN_BACKEND(word));
            if (found == indexes.end()) continue;
            const auto renamed = (word & ~__u64{0xfffff}) | found->second;
            if (to.size() <= from.size()) {
                lost += !put_pin(to[bucket & (to.size() - 1)], renamed);
                continue;
            }
            for (auto target = bucket; target < to.size(); target += from.size()) lost += !put_pin(to[target], renamed);
        }
    return lost;
}

}  // namespace fairlead::tables
