// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/sync_source.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace fairlead {
namespace {
constexpr std::uint32_t kSlotsACall = 1U << 18;  // that are compared: 1 MiB of words
constexpr std::uint32_t kGap = 3;                // slots that did not change, told rather than a record begun
constexpr std::uint32_t kLongestRun = sync::kMessageBytes / sizeof(std::uint32_t);
constexpr std::uint32_t kAnyAge = std::numeric_limits<std::uint32_t>::max();

// The pin that was confirmed at that time, or after it, is not older than this.
std::uint32_t units_since(std::uint64_t now_ns, std::uint64_t since_ns) {
    return static_cast<std::uint32_t>((now_ns - std::min(now_ns, since_ns)) / tables::kPinUnitNs) + 1;
}
}  // namespace

bool SyncSource::set_pools(const std::map<std::uint32_t, ToldPool>& pools) {
    if (pools == pools_) return false;
    const bool same_tables = std::ranges::equal(pools, pools_, [](const auto& a, const auto& b) {
        return a.first == b.first && a.second.pool.slots == b.second.pool.slots &&
               a.second.pool.name == b.second.pool.name;
    });
    pools_ = pools;
    pools_changed_ = true;
    return !same_tables;
}

void SyncSource::add_dirty(std::span<const std::uint32_t> groups, std::uint64_t confirmed_since_ns) {
    if (dirty_.size() + groups.size() <= tables::pin_groups(tables_)) {
        for (const auto group : groups) dirty_.push_back({group, confirmed_since_ns});
    } else {  // too far behind to keep account
        dirty_.clear();
        next_group_ = 0;
    }
}

void SyncSource::begin() {
    told_.clear();
    pools_changed_ = comparing_ = true;
    next_pool_ = next_slot_ = next_group_ = 0;
    dirty_.clear();  // the whole has them
    pins_.clear();
    next_pin_ = 0;
    ended_ = false;
    stream_slots_ = stream_pins_ = 0;
}

// What names indexes comes before what uses them; new connections before the many that are old.
std::size_t SyncSource::fill(std::span<std::uint8_t> room) {
    sync::RecordWriter out(room);
    if (!pools_.empty()) (void)(tell_pools(out) && tell_slots(out) && tell_pins(out) && tell_end(out));
    return out.size();
}

// All of these: false when there is no more room.
bool SyncSource::tell_pools(sync::RecordWriter& out) {
    if (!pools_changed_) return true;
    for (const auto& [id, pool] : pools_) {
        auto& told = told_[id];
        if (told.pool != pool.pool) {
            if (!out.add(pool.pool)) return false;
            told.pool = pool.pool;
        }
        if (!tell_backends(pool, told, out)) return false;
    }
    pools_changed_ = false;
    return true;
}

bool SyncSource::tell_backends(const ToldPool& pool, Told& told, sync::RecordWriter& out) {
    told.backends.resize(std::min(told.backends.size(), pool.backends.size()));
    for (std::size_t i = 0; i < pool.backends.size(); ++i) {
        const auto& backend = pool.backends[i];
        const bool known = i < told.backends.size() && told.backends[i].identity == backend.identity;
        if (known && told.backends[i].view == backend.view) continue;
        if (!known && !out.add(backend.identity)) return false;
        if (!out.add(backend.view)) return false;
        if (i < told.backends.size())
            told.backends[i] = backend;
        else
            told.backends.push_back(backend);
    }
    return true;
}

// Round all pools, from where the last call ended; over when it has come round.
bool SyncSource::tell_slots(sync::RecordWriter& out) {
    if (!comparing_ || told_.empty()) return true;
    auto budget = kSlotsACall;
    auto pool = told_.lower_bound(next_pool_);
    for (std::size_t looked = 0; looked <= told_.size(); ++looked) {
        if (pool == told_.end()) {
            pool = told_.begin();
            next_slot_ = 0;
        }
        next_pool_ = pool->first;
        if (!tell_slots_of(pool->first, pool->second, budget, out)) return false;
        if (budget == 0) return true;
        next_slot_ = 0;
        ++pool;
        next_pool_ = pool == told_.end() ? 0 : pool->first;
    }
    comparing_ = false;
    return true;
}

namespace {
// How many words from `slot` on are told as they are, by blocks.
std::uint32_t equal_from(std::uint32_t slot, std::span<const std::uint32_t> words,
                         std::span<const std::uint32_t> told) {
    constexpr std::uint32_t kBlock = 1024;
    std::uint32_t equal = 0;
    while (slot + equal + kBlock <= told.size() &&
           std::memcmp(&words[slot + equal], &told[slot + equal], kBlock * sizeof(std::uint32_t)) == 0)
        equal += kBlock;
    while (slot + equal < told.size() && words[slot + equal] == told[slot + equal]) ++equal;
    return equal;
}
}  // namespace

// Nobody writes slots but this thread.
bool SyncSource::tell_slots_of(std::uint32_t id, Told& told, std::uint32_t& budget, sync::RecordWriter& out) {
    const auto words = writer_.slots_of(id).words;
    const auto count = static_cast<std::uint32_t>(words.size());
    if (!told.pool || told.pool->slots != count) return true;  // the tables are about to change
    const auto differs = [&](std::uint32_t slot) {
        return slot >= told.words.size() || told.words[slot] != words[slot];
    };
    auto slot = std::min(next_slot_, static_cast<std::uint32_t>(told.words.size()));
    while (slot < count && budget > 0) {
        if (const auto equal = equal_from(slot, words, told.words); equal > 0) {
            next_slot_ = slot += equal;
            budget -= std::min(budget, equal);
            continue;
        }
        std::uint32_t length = 0;
        for (std::uint32_t i = 0, same = 0; slot + i < count && i < kLongestRun && same <= kGap; ++i) {
            same = differs(slot + i) ? 0 : same + 1;
            if (same == 0) length = i + 1;
        }
        const auto fitted = static_cast<std::uint32_t>(out.add_slots(id, slot, words.subspan(slot, length)));
        if (fitted == 0) return false;
        told.words.resize(std::max<std::size_t>(told.words.size(), slot + fitted));
        std::copy_n(words.begin() + slot, fitted, told.words.begin() + slot);
        slots_told_ += fitted;
        stream_slots_ += fitted;
        next_slot_ = slot += fitted;
        budget -= std::min(budget, fitted);
    }
    return true;
}

bool SyncSource::tell_pins(sync::RecordWriter& out) {
    do {
        while (next_pin_ < pins_.size()) {
            const auto fitted = out.add_pins(std::span(pins_).subspan(next_pin_));
            if (fitted == 0) return false;
            next_pin_ += fitted;
            pins_told_ += fitted;
            stream_pins_ += fitted;
        }
    } while (next_group());
    return true;
}

// The next group that has something to tell: those with new connections first.
bool SyncSource::next_group() {
    const auto groups = tables::pin_groups(tables_);
    pins_.clear();
    next_pin_ = 0;
    while (pins_.empty() && !dirty_.empty()) {
        const auto [group, since] = dirty_.back();
        dirty_.pop_back();
        read_group(group, units_since(tables::monotonic_ns(), since));
    }
    while (pins_.empty() && next_group_ < groups) read_group(next_group_++, kAnyAge);
    return !pins_.empty();
}

void SyncSource::read_group(std::uint32_t group, std::uint32_t oldest) {
    seen_.clear();
    tables::pins_to_tell(tables_, group, tables::monotonic_ns(), seen_);
    for (const auto& seen : seen_) {
        const auto pool = tables::load_word(tables_.backends()[seen.backend].pool);
        if (seen.age > oldest || !told_.contains(pool)) continue;
        const auto local = seen.backend - tables::load_word(tables_.pools()[pool].backend_base);
        pins_.push_back({seen.bucket, seen.signature, pool, static_cast<std::uint16_t>(local),
                         static_cast<std::uint16_t>(seen.age), static_cast<std::uint8_t>(seen.state)});
    }
    std::ranges::sort(pins_, {}, &sync::Pin::pool);  // a change of the pool costs room
}

bool SyncSource::tell_end(sync::RecordWriter& out) {
    if (ended_) return true;
    ended_ = out.add(sync::EndRecord{stream_slots_, stream_pins_});
    return ended_;
}

}  // namespace fairlead
