// SPDX-License-Identifier: Apache-2.0
// The writer's side of one index (readers: dataplane/core/index.h). A word is published by one release store and never
// moved; where there is no room, a second index is built in the table's other half and published by one store.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "dataplane/core/layout.h"
#include "dataplane/tables/grace.h"
#include "dataplane/tables/result.h"

namespace fairlead::tables {

class IndexTable {
  public:
    // hash(id, seed) of the record `id`, which is filled by then.
    using Hash = std::function<std::uint64_t(std::uint32_t id, std::uint32_t seed)>;

    // `table` holds two halves; `word` is the index word in meta.
    IndexTable(std::span<fl_index_bucket> table, __u64& word, Hash hash);

    // The ids that the index in use names, with the place of each. EUCLEAN if its word makes no sense.
    Result<std::vector<std::uint32_t>> adopt();

    // Zeroes the half that is not in use. The caller has waited for readers of an index that may have been there.
    void clear_other_half();

    // Makes room for `keys` in all, one bucket a key.
    Result<void> reserve(std::size_t keys, GracePeriod& grace);
    Result<void> insert(std::uint32_t id, GracePeriod& grace);
    // `old_id` and `new_id` have the same key: one store, a reader finds the one or the other.
    void replace(std::uint32_t old_id, std::uint32_t new_id);
    void erase(std::uint32_t id);

    std::uint32_t buckets() const { return FL_INDEX_MASK(*word_) + 1; }
    std::size_t size() const { return keys_; }

  private:
    __u64* find(std::uint32_t id, std::uint32_t key_of);
    bool place(std::span<fl_index_bucket> buckets, std::uint32_t id, std::uint32_t seed) const;
    std::vector<std::uint32_t> ids() const;
    // Builds an index of `log2_buckets` or more in the other half, with `extra` in it unless that is 0, publishes it
    // and waits for the readers of the old one.
    Result<void> rebuild(unsigned log2_buckets, std::uint32_t extra, GracePeriod& grace);
    bool build_with(std::span<fl_index_bucket> buckets, std::span<const std::uint32_t> ids, std::uint32_t seed) const;

    std::uint32_t half_size() const { return static_cast<std::uint32_t>(table_.size() / 2); }
    std::span<fl_index_bucket> half(std::uint32_t base) const { return table_.subspan(base, half_size()); }
    std::uint32_t other_base() const { return FL_INDEX_BASE(*word_) ? 0 : half_size(); }

    std::span<fl_index_bucket> table_;
    __u64* word_;
    Hash hash_;
    std::size_t keys_ = 0;
    bool other_half_clean_ = false;
};

}  // namespace fairlead::tables
