// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/index_table.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "dataplane/tables/records.h"

namespace fairlead::tables {
namespace {
constexpr unsigned kSmallestLog2 = 4;
constexpr int kSeedsPerSize = 16;
constexpr std::uint32_t kSeedMask = 0xffffff;

std::uint64_t entry(std::uint64_t hash, std::uint32_t id) { return (hash & 0xffffffff00000000ULL) | id; }
}  // namespace

IndexTable::IndexTable(std::span<fl_index_bucket> table, __u64& word, Hash hash)
    : table_(table), word_(&word), hash_(std::move(hash)) {}

Result<std::vector<std::uint32_t>> IndexTable::adopt() {
    const auto base = FL_INDEX_BASE(*word_);
    if ((base != 0 && base != half_size()) || buckets() > half_size())
        return fail("an index lies outside its table", EUCLEAN);
    auto found = ids();
    keys_ = found.size();
    return found;
}

std::vector<std::uint32_t> IndexTable::ids() const { return indexed_ids(table_, *word_); }

void IndexTable::clear_other_half() {
    for (auto& bucket : half(other_base()))
        for (auto& word : bucket.words)
            if (word) store_word(word, 0);
    other_half_clean_ = true;
}

bool IndexTable::place(std::span<fl_index_bucket> buckets, std::uint32_t id, std::uint32_t seed) const {
    const auto hash = hash_(id, seed);
    for (auto& word : buckets[static_cast<std::uint32_t>(hash) & (buckets.size() - 1)].words) {
        if (word) continue;
        store_word(word, entry(hash, id));
        return true;
    }
    return false;
}

bool IndexTable::build_with(std::span<fl_index_bucket> buckets, std::span<const std::uint32_t> ids,
                            std::uint32_t seed) const {
    for (const auto id : ids) {
        if (place(buckets, id, seed)) continue;
        for (auto& bucket : buckets) bucket = {};  // nobody reads here yet
        return false;
    }
    return true;
}

Result<void> IndexTable::rebuild(unsigned log2_buckets, std::uint32_t extra, GracePeriod& grace) {
    if (!other_half_clean_) {  // readers of the index before this one were still inside when last asked
        if (auto waited = grace.wait(); !waited) return waited;
        clear_other_half();
    }
    auto all = ids();
    if (extra) all.push_back(extra);
    const auto base = other_base();
    std::uint32_t seed = FL_INDEX_SEED(*word_);
    for (; (1U << log2_buckets) <= half_size(); ++log2_buckets) {
        for (int attempt = 0; attempt < kSeedsPerSize; ++attempt) {
            seed = (seed + 1) & kSeedMask;
            if (!build_with(half(base).first(1U << log2_buckets), all, seed)) continue;
            store_word(*word_, FL_INDEX_WORD(base, log2_buckets, seed));
            keys_ = all.size();
            other_half_clean_ = false;
            if (grace.wait()) clear_other_half();  // else the next rebuild waits
            return {};
        }
    }
    return fail("an index has no room for " + std::to_string(all.size()) + " keys", ENOSPC);
}

Result<void> IndexTable::reserve(std::size_t keys, GracePeriod& grace) {
    const auto wanted = std::max<std::size_t>(std::bit_ceil(keys), 1U << kSmallestLog2);
    const auto possible = std::min<std::size_t>(wanted, half_size());
    if (possible <= buckets()) return {};
    return rebuild(static_cast<unsigned>(std::countr_zero(possible)), 0, grace);
}

Result<void> IndexTable::insert(std::uint32_t id, GracePeriod& grace) {
    const auto now = half(FL_INDEX_BASE(*word_)).first(buckets());
    if (!place(now, id, FL_INDEX_SEED(*word_)))
        return rebuild(static_cast<unsigned>(std::countr_zero(buckets())), id, grace);
    ++keys_;
    return {};
}

__u64* IndexTable::find(std::uint32_t id, std::uint32_t key_of) {
    const auto hash = hash_(key_of, FL_INDEX_SEED(*word_));
    auto& bucket = half(FL_INDEX_BASE(*word_))[static_cast<std::uint32_t>(hash) & (buckets() - 1)];
    const auto found = std::find(std::begin(bucket.words), std::end(bucket.words), entry(hash, id));
    return found == std::end(bucket.words) ? nullptr : &*found;
}

void IndexTable::replace(std::uint32_t old_id, std::uint32_t new_id) {
    if (auto* word = find(old_id, new_id)) store_word(*word, (*word & 0xffffffff00000000ULL) | new_id);
}

void IndexTable::erase(std::uint32_t id) {
    auto* word = find(id, id);
    if (!word) return;
    store_word(*word, 0);
    --keys_;
}

}  // namespace fairlead::tables
