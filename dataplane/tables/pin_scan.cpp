// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/pin_scan.h"

#include <algorithm>

namespace fairlead::tables {
namespace {
constexpr std::uint64_t kHeld = UINT64_MAX;

std::uint64_t touched(std::uint64_t word, std::uint32_t now) {
    return FL_PIN_WORD(FL_PIN_SIGNATURE(word), FL_PIN_BACKEND(word), FL_PIN_STATE(word), now);
}
}  // namespace

PinScan::PinScan(Tables& tables) : tables_(tables), held_through_(tables.limits().pools) {
    complete_.by_backend.resize(tables.limits().backends);
    present_.by_backend.resize(tables.limits().backends);
}

std::uint32_t PinScan::buckets() const { return static_cast<std::uint32_t>(tables_.pins().size()); }

void PinScan::begin() {
    ++begun_;
    present_.by_state = {};
    present_.expired = 0;
    std::fill(present_.by_backend.begin(), present_.by_backend.end(), 0);
}

void PinScan::hold(const std::set<std::uint32_t>& pools) {
    for (std::uint32_t id = 0; id < held_through_.size(); ++id) {
        if (pools.contains(id))
            held_through_[id] = kHeld;
        else if (held_through_[id] == kHeld)
            held_through_[id] = begun_ + 1;
    }
}

bool PinScan::holds() const {
    return std::ranges::any_of(held_through_, [this](const auto through) { return through > done_; });
}

bool PinScan::is_held(std::uint64_t word) const {
    const auto backends = tables_.backends();
    if (FL_PIN_STATE(word) == FL_PIN_PROBATION || FL_PIN_BACKEND(word) >= backends.size()) return false;
    const auto pool = load_word(backends[FL_PIN_BACKEND(word)].pool);
    return pool < held_through_.size() && held_through_[pool] >= begun_;
}

void PinScan::look_at(fl_engine& engine, fl_pin_bucket& bucket, std::uint32_t now) {
    for (auto& place : bucket.words) {
        const auto word = fl_read_once(&place);
        const auto kept = word && is_held(word) ? touched(word, now) : word;  // expires only if it is void
        if (word && fl_pin_expired(&engine, kept, now) && fl_compare_exchange(&place, word, 0)) {
            ++present_.expired;
            ++present_.by_state[FL_PIN_FREE];
            continue;
        }
        if (kept != word) fl_compare_exchange(&place, word, kept);
        ++present_.by_state[FL_PIN_STATE(word)];
        if (word && FL_PIN_BACKEND(word) < present_.by_backend.size()) ++present_.by_backend[FL_PIN_BACKEND(word)];
    }
}

void PinScan::run(std::uint32_t buckets, std::uint64_t now_ns) {
    auto engine = tables_.engine();
    engine.now_ns = engine.now_coarse_ns = now_ns;
    const auto now = fl_pin_now(&engine);
    const auto pins = tables_.pins();
    if (next_ == 0 && buckets > 0) begin();
    for (; buckets > 0 && next_ < pins.size(); --buckets) look_at(engine, pins[next_++], now);
    if (next_ < pins.size()) return;
    next_ = 0;
    if (begun_ == done_) return;
    ++done_;
    std::swap(complete_, present_);
}

}  // namespace fairlead::tables
