// SPDX-License-Identifier: Apache-2.0
// What new tables take over from old ones, of other sizes or of an older layout (DESIGN section 4): counters, who owns
// which slot and whose it was before, and pins. Pools go by name, and backends by what they are, whatever they are called
// now: ids and indexes are each table's own. The old
// tables are read alone; an engine may go on with them until the new ones take their place.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>

#include "dataplane/tables/snapshot.h"
#include "dataplane/tables/writer.h"

namespace fairlead::tables {

class CarryOver {
  public:
    // `old` must outlive this.
    explicit CarryOver(const Tables& old);

    const Snapshot& snapshot() const { return snapshot_; }

    // Into tables that say the same (TableWriter::apply() without a filler), and that no engine uses yet. Slots of
    // a pool whose table is smaller now keep the first of those that become one. What named a backend that is not there
    // any more names nobody, or the other of the two.
    Result<void> slots(TableWriter& writer) const;
    void counters(TableWriter& writer) const;

    // Again once the old tables are out of use: what was pinned meanwhile. A table that has grown does not tell which of
    // its buckets a pin belongs to, so it is put into each; who does not find it there lets it expire. Returns how many
    // pins found no place.
    std::uint64_t pins(TableWriter& writer) const;

  private:
    using Indexes = std::unordered_map<std::uint32_t, std::uint32_t>;  // old global index of a backend -> new one
    Indexes global_indexes(const TableWriter& writer) const;

    const Tables& old_;
    Snapshot snapshot_;
};

}  // namespace fairlead::tables
