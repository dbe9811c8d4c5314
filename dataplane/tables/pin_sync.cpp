// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/pin_sync.h"

#include <algorithm>
#include <span>
#include <utility>

namespace fairlead::tables {
static_assert(kPinUnitNs == 1ULL << FL_PIN_TIME_SHIFT);

namespace {

constexpr std::uint32_t kWordBits = 64;
// A pin that were older than this would look younger than it is (fl_pin_age).
constexpr std::uint32_t kOldest = FL_PIN_TIME_MASK - FL_PIN_TIME_AHEAD;

fl_engine engine_at(const Tables& tables, std::uint64_t now_ns) {
    auto engine = tables.engine();
    engine.now_ns = engine.now_coarse_ns = now_ns;
    return engine;
}

// The first bucket of a group, or where the table ends.
std::uint32_t first_bucket(const Tables& tables, std::uint64_t group) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(group * FL_DIRTY_BUCKETS, tables.pins().size()));
}

std::span<fl_pin_bucket> buckets_of(Tables& tables, std::uint64_t from, std::uint64_t groups) {
    const auto first = first_bucket(tables, from);
    return tables.pins().subspan(first, first_bucket(tables, from + groups) - first);
}

std::uint8_t& dirty_byte(Tables& tables, std::uint32_t group) {
    return tables.dirty()[group / FL_DIRTY_BYTES].groups[group % FL_DIRTY_BYTES];
}

bool is_to_be_told(fl_engine& engine, std::uint64_t word, std::uint32_t now) {
    const auto state = FL_PIN_STATE(word);
    return (state == FL_PIN_CONFIRMED || state == FL_PIN_CLOSING) && !fl_pin_expired(&engine, word, now);
}

}  // namespace

std::uint32_t pin_groups(const Tables& tables) {
    return static_cast<std::uint32_t>((tables.pins().size() + FL_DIRTY_BUCKETS - 1) / FL_DIRTY_BUCKETS);
}

void DirtyPins::take(std::uint32_t budget, std::vector<std::uint32_t>& groups) {
    const auto count = pin_groups(tables_);
    for (budget = std::min(budget, count); budget > 0; --budget) {
        auto& byte = dirty_byte(tables_, next_);
        if (fl_read_once(&byte) && __atomic_exchange_n(&byte, 0, __ATOMIC_SEQ_CST)) groups.push_back(next_);
        if (++next_ == count) next_ = 0;
    }
}

void pins_to_tell(Tables& tables, std::uint32_t group, std::uint64_t now_ns, std::vector<PinSeen>& pins) {
    auto engine = engine_at(tables, now_ns);
    const auto now = fl_pin_now(&engine);
    auto number = first_bucket(tables, group);
    for (const auto& bucket : buckets_of(tables, group, 1)) {
        for (const auto& place : bucket.words)
            if (const std::uint64_t word = fl_read_in_turn(&place); is_to_be_told(engine, word, now))
                pins.push_back({number, word, FL_PIN_SIGNATURE(word), FL_PIN_BACKEND(word), FL_PIN_STATE(word),
                                fl_pin_age(now, word)});
        ++number;
    }
}

std::optional<std::uint64_t> put_pin(Tables& tables, std::uint32_t bucket, std::uint32_t signature,
                                     std::uint32_t backend, std::uint32_t state, std::uint32_t age,
                                     std::uint64_t now_ns) {
    auto engine = engine_at(tables, now_ns);
    const auto& meta = std::as_const(tables).meta();
    const auto now = fl_pin_now(&engine);
    // As good as the flow's own: its low half may be that of the other bucket, which makes the same two.
    const auto hash = std::uint64_t{signature} << 32 | bucket;
    const auto word = FL_PIN_WORD(signature, backend, state, now - std::min(age, kOldest));
    for (int tries = 0; tries < FL_PIN_TRIES; ++tries) {
        __u64 old = 0;
        auto place = fl_find_pin(&engine, &meta, hash, &old);
        if (place >= FL_PIN_PLACES) place = fl_pin_room(&engine, &meta, hash, now, &old);
        if (place >= FL_PIN_PLACES) return std::nullopt;
        if (fl_compare_exchange(fl_pin_at(&engine, &meta, hash, place), old, word))
            return std::uint64_t{fl_pin_bucket_at(&meta, hash, place)} * FL_BUCKET_WORDS + place % FL_BUCKET_WORDS;
    }
    return std::nullopt;
}

PinMarks::PinMarks(const Tables& tables)
    : bits_((tables.pins().size() * FL_BUCKET_WORDS + kWordBits - 1) / kWordBits) {}

void PinMarks::clear() { std::ranges::fill(bits_, 0); }

void PinMarks::mark(std::uint64_t place) { bits_[place / kWordBits] |= std::uint64_t{1} << place % kWordBits; }

bool PinMarks::is_marked(std::uint64_t place) const { return bits_[place / kWordBits] >> place % kWordBits & 1; }

std::uint64_t PinMarks::sweep(Tables& tables, std::uint32_t from, std::uint32_t groups,
                              const std::function<bool(std::uint32_t pool)>& follows) {
    const auto backends = std::as_const(tables).backends();
    std::uint64_t gone = 0, place = std::uint64_t{first_bucket(tables, from)} * FL_BUCKET_WORDS;
    for (auto& bucket : buckets_of(tables, from, groups)) {
        for (auto& at : bucket.words) {
            const auto word = fl_read_once(&at);
            if (is_marked(place++) || !word || FL_PIN_BACKEND(word) >= backends.size()) continue;
            const auto pool = load_word(backends[FL_PIN_BACKEND(word)].pool);
            if (pool && follows(pool)) gone += static_cast<std::uint64_t>(fl_compare_exchange(&at, word, 0));
        }
    }
    return gone;
}

}  // namespace fairlead::tables
