// SPDX-License-Identifier: Apache-2.0
// Who has which id, index and range, in the writer's own memory. Plain values: a copy is a trial that can be thrown away.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace fairlead::tables {

// Ids first .. size - 1, lowest free first.
class IdAllocator {
  public:
    IdAllocator() = default;
    IdAllocator(std::uint32_t first, std::uint32_t size);

    std::optional<std::uint32_t> allocate();
    bool reserve(std::uint32_t id);  // false if it is taken or out of range
    void release(std::uint32_t id);
    bool is_taken(std::uint32_t id) const { return taken_[id / 64] >> (id % 64) & 1; }
    std::uint32_t available() const { return available_; }
    std::uint32_t size() const { return size_; }

  private:
    std::vector<std::uint64_t> taken_;
    std::uint32_t first_ = 0;
    std::uint32_t size_ = 0;
    std::uint32_t available_ = 0;
    std::uint32_t hint_ = 0;  // no word before this one has room
};

// Ranges of 2^k units that begin at a multiple of their size (Knowlton, "A fast storage allocator", 1965). The whole
// need not be a power of two.
class BuddyAllocator {
  public:
    BuddyAllocator() = default;
    explicit BuddyAllocator(std::uint32_t units);

    // `units` is a power of two; the first unit of the range.
    std::optional<std::uint32_t> allocate(std::uint32_t units);
    bool reserve(std::uint32_t base, std::uint32_t units);  // false if any of it is taken
    void release(std::uint32_t base, std::uint32_t units);
    std::uint32_t available() const { return available_; }
    std::uint32_t size() const { return size_; }

  private:
    void add_free(std::uint32_t base, unsigned order);
    // Cuts a free block of `order`, which is in no list, down to the part of `wanted` order that holds `keep`.
    void split(std::uint32_t base, unsigned order, unsigned wanted, std::uint32_t keep);

    std::vector<std::set<std::uint32_t>> free_;  // by order
    std::uint32_t size_ = 0;
    std::uint32_t available_ = 0;
};

}  // namespace fairlead::tables
