// SPDX-License-Identifier: Apache-2.0
// What the engines counted: the sum over strides less the baseline, since a service or backend got its id or index.
// Reads only, needs no controller; values of one call are not of one instant. Sums wrap modulo 2^64 as the counters do.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/tables/tables.h"

namespace fairlead::tables {

struct Counts {
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    std::uint64_t syns = 0;
    auto operator<=>(const Counts&) const = default;
    Counts& operator+=(const Counts& other);
    friend Counts operator-(const Counts& a, const Counts& b) {
        return {a.packets - b.packets, a.bytes - b.bytes, a.syns - b.syns};
    }
};

class CounterReader {
  public:
    explicit CounterReader(const Tables& tables) : tables_(&tables) {}  // keeps the reference

    Counts reason(fl_reason reason) const;
    Counts service(std::uint32_t id) const;
    Counts backend(std::uint32_t global_index) const;
    std::vector<Counts> reasons() const;  // FL_REASON_COUNT of them
    std::uint64_t event(fl_event event) const;

    // By index within a stride (FL_COUNTER_SERVICE and so on): the bare sum, and less the baseline.
    Counts raw(std::uint32_t index_in_stride) const;
    Counts value(std::uint32_t index_in_stride) const;
    // What one CPU or worker counted, and all services together there: no baseline is taken off, since the tables were made.
    Counts raw(std::uint32_t stride, std::uint32_t index_in_stride) const;
    Counts services_of(std::uint32_t stride) const;

  private:
    const Tables* tables_;
};

}  // namespace fairlead::tables
