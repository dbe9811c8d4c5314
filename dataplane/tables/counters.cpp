// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/counters.h"

namespace fairlead::tables {
namespace {
std::uint64_t relaxed(const __u64& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); }
Counts read(const fl_counter& c) { return {relaxed(c.packets), relaxed(c.bytes), relaxed(c.syns)}; }
}  // namespace

Counts& Counts::operator+=(const Counts& other) {
    packets += other.packets;
    bytes += other.bytes;
    syns += other.syns;
    return *this;
}

Counts CounterReader::raw(std::uint32_t index_in_stride) const {
    Counts total;
    for (std::uint32_t stride = 0; stride < tables_->limits().strides; ++stride) total += raw(stride, index_in_stride);
    return total;
}

Counts CounterReader::raw(std::uint32_t stride, std::uint32_t index_in_stride) const {
    const auto first = std::size_t{stride} * FL_COUNTER_STRIDE(&tables_->limits());
    return read(tables_->counters()[first + index_in_stride]);
}

Counts CounterReader::services_of(std::uint32_t stride) const {
    const auto& limits = tables_->limits();
    Counts total;
    for (std::uint32_t id = 0; id < limits.services; ++id) total += raw(stride, FL_COUNTER_SERVICE(&limits, id));
    return total;
}

Counts CounterReader::value(std::uint32_t index_in_stride) const {
    return raw(index_in_stride) - read(tables_->baselines()[index_in_stride]);
}

Counts CounterReader::reason(fl_reason reason) const { return value(reason); }
std::uint64_t CounterReader::event(fl_event event) const { return value(event).packets; }
Counts CounterReader::service(std::uint32_t id) const { return value(FL_COUNTER_SERVICE(&tables_->limits(), id)); }
Counts CounterReader::backend(std::uint32_t global_index) const {
    return value(FL_COUNTER_BACKEND(&tables_->limits(), global_index));
}

std::vector<Counts> CounterReader::reasons() const {
    std::vector<Counts> all;
    for (int r = 0; r < FL_REASON_COUNT; ++r) all.push_back(reason(static_cast<fl_reason>(r)));
    return all;
}

}  // namespace fairlead::tables
