// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/allocators.h"

#include <algorithm>
#include <bit>

namespace fairlead::tables {

IdAllocator::IdAllocator(std::uint32_t first, std::uint32_t size)
    : taken_((size + 63) / 64), first_(first), size_(size), available_(size - first) {
    for (std::uint32_t id = 0; id < first; ++id) taken_[id / 64] |= 1ULL << (id % 64);
    for (std::uint32_t id = size; id < taken_.size() * 64; ++id) taken_[id / 64] |= 1ULL << (id % 64);
}

std::optional<std::uint32_t> IdAllocator::allocate() {
    for (; hint_ < taken_.size(); ++hint_) {
        if (taken_[hint_] == ~0ULL) continue;
        const auto bit = static_cast<std::uint32_t>(std::countr_one(taken_[hint_]));
        taken_[hint_] |= 1ULL << bit;
        --available_;
        return hint_ * 64 + bit;
    }
    return std::nullopt;
}

bool IdAllocator::reserve(std::uint32_t id) {
    if (id < first_ || id >= size_ || is_taken(id)) return false;
    taken_[id / 64] |= 1ULL << (id % 64);
    --available_;
    return true;
}

void IdAllocator::release(std::uint32_t id) {
    taken_[id / 64] &= ~(1ULL << (id % 64));
    ++available_;
    hint_ = std::min(hint_, id / 64);
}

BuddyAllocator::BuddyAllocator(std::uint32_t units) : size_(units) {
    std::uint32_t base = 0;
    for (int order = 31; order >= 0; --order) {
        if (!(units >> order & 1)) continue;
        add_free(base, static_cast<unsigned>(order));
        base += 1U << order;
    }
    available_ = units;
}

void BuddyAllocator::add_free(std::uint32_t base, unsigned order) {
    if (free_.size() <= order) free_.resize(order + 1);
    free_[order].insert(base);
}

void BuddyAllocator::split(std::uint32_t base, unsigned order, unsigned wanted, std::uint32_t keep) {
    while (order > wanted) {
        --order;
        const std::uint32_t half = base + (1U << order);
        const bool upper = keep >= half;
        add_free(upper ? base : half, order);
        if (upper) base = half;
    }
}

std::optional<std::uint32_t> BuddyAllocator::allocate(std::uint32_t units) {
    const auto wanted = static_cast<unsigned>(std::countr_zero(units));
    for (unsigned order = wanted; order < free_.size(); ++order) {
        if (free_[order].empty()) continue;
        const auto base = *free_[order].begin();
        free_[order].erase(free_[order].begin());
        split(base, order, wanted, base);
        available_ -= units;
        return base;
    }
    return std::nullopt;
}

bool BuddyAllocator::reserve(std::uint32_t base, std::uint32_t units) {
    if (!std::has_single_bit(units) || base % units != 0) return false;
    const auto wanted = static_cast<unsigned>(std::countr_zero(units));
    for (unsigned order = wanted; order < free_.size(); ++order) {
        const std::uint32_t block = base >> order << order;
        if (!free_[order].erase(block)) continue;
        split(block, order, wanted, base);
        available_ -= units;
        return true;
    }
    return false;
}

void BuddyAllocator::release(std::uint32_t base, std::uint32_t units) {
    available_ += units;
    auto order = static_cast<unsigned>(std::countr_zero(units));
    while (order < free_.size() && free_[order].erase(base ^ (1U << order))) {
        base &= ~(1U << order);
        ++order;
    }
    add_free(base, order);
}

}  // namespace fairlead::tables
