// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/capture.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "dataplane/tables/records.h"

namespace fairlead::tables {
namespace {

// A word that an engine may be writing; what is read after it is read later.
std::uint64_t acquire(const __u64& word) { return load_word(word); }

template <typename T>
T copy_lines(const fl_ring_line* lines) {
    static_assert(sizeof(T) % sizeof(__u64) == 0);
    __u64 words[sizeof(T) / sizeof(__u64)];
    const auto* from = reinterpret_cast<const __u64*>(lines);
    for (auto& word : words) word = acquire(*from++);
    T value;
    std::memcpy(&value, words, sizeof(T));
    return value;
}

using FrameStart = std::array<std::uint8_t, FL_CAPTURE_BYTES>;
}  // namespace

Result<Capture> Capture::create(Tables& tables, GracePeriod& grace, const fl_capture_filter& filter) {
    const auto& limits = tables.limits();
    const std::uint64_t needed = FL_RINGS_LINES(&limits);
    if (tables.rings().size() < needed)
        return fail("these tables have no room for captured packets: restart lbd with this version", ENOTSUP);
    store_word(tables.meta().capture_until_ns, 0);
    if (auto waited = grace.wait(); !waited) return tl::unexpected(waited.error());  // nobody reads the old filter now
    auto& place = reinterpret_cast<fl_capture_filter&>(tables.rings()[0]);
    auto wanted = filter;
    wanted.number = load_record(place).number + 1;
    store_record(place, wanted);
    Capture capture(tables);
    capture.number_ = wanted.number;
    for (std::uint32_t stride = 0; stride < limits.strides; ++stride) {
        const auto& ring = capture.ring(stride);
        capture.places_.push_back({acquire(ring.written), acquire(ring.matched), acquire(ring.limited)});
    }
    return capture;
}

Capture::Capture(Capture&& other) noexcept
    : tables_(std::exchange(other.tables_, nullptr)),
      number_(other.number_),
      places_(std::move(other.places_)),
      overwritten_(other.overwritten_) {}

void Capture::renew() {
    const auto lease = std::chrono::duration_cast<std::chrono::nanoseconds>(kLease).count();
    store_word(tables_->meta().capture_until_ns, monotonic_ns() + static_cast<std::uint64_t>(lease));
}

void Capture::end() {
    if (tables_) store_word(tables_->meta().capture_until_ns, 0);
}

const fl_ring& Capture::ring(std::uint32_t stride) const {
    return reinterpret_cast<const fl_ring&>(tables_->rings()[FL_RING_LINE(stride)]);
}

std::vector<Captured> Capture::read() {
    std::vector<Captured> all;
    for (std::uint32_t stride = 0; stride < places_.size(); ++stride) read_ring(stride, all);
    std::ranges::stable_sort(all, {}, [](const Captured& c) { return c.entry.time_ns; });
    return all;
}

CaptureCounts Capture::counts() const {
    CaptureCounts counts{0, 0, overwritten_};
    for (std::uint32_t stride = 0; stride < places_.size(); ++stride) {
        counts.matched += acquire(ring(stride).matched) - places_[stride].matched;
        counts.limited += acquire(ring(stride).limited) - places_[stride].limited;
    }
    return counts;
}

void Capture::read_ring(std::uint32_t stride, std::vector<Captured>& into) {
    auto& next = places_[stride].next;
    const auto written = acquire(ring(stride).written);
    if (written - next > FL_RING_ENTRIES) {
        overwritten_ += written - next - FL_RING_ENTRIES;
        next = written - FL_RING_ENTRIES;
    }
    for (; next != written; ++next) {
        Captured captured;
        captured.stride = stride;
        if (!read_entry(stride, next, captured))
            ++overwritten_;
        else if (captured.entry.capture == number_)
            into.push_back(std::move(captured));
    }
}

// False: it is overwritten, or is just being so.
bool Capture::read_entry(std::uint32_t stride, std::uint64_t number, Captured& into) const {
    const auto at = FL_RING_LINE(stride) + 1 + (number % FL_RING_ENTRIES) * FL_ENTRY_LINES;
    const auto* lines = &std::as_const(*tables_).rings()[at];
    const auto& sequence = reinterpret_cast<const fl_capture_entry*>(lines)->sequence;
    into.entry = copy_lines<fl_capture_entry>(lines);
    const auto start = copy_lines<FrameStart>(lines + 1);
    if (into.entry.sequence != number + 1 || acquire(sequence) != number + 1) return false;
    const auto kept = std::min<std::size_t>(into.entry.kept, start.size());
    into.bytes.assign(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(kept));
    return true;
}

}  // namespace fairlead::tables
