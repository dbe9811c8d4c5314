// SPDX-License-Identifier: Apache-2.0
// What a balancer that tracks every connection has: a table of fixed size, by the flow's hash, which forgets the least
// recently used entry for a new one.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace fairlead::simulation {

class LruTable {
  public:
    explicit LruTable(std::uint32_t entries)
        : nodes_(entries + 1), heads_(std::bit_ceil(2 * entries), kNone), mask_(heads_.size() - 1) {
        nodes_[kNone].newer = nodes_[kNone].older = kNone;  // the ring's own place
    }

    // The flow's backend, which becomes the most recently used; nullptr: it is not known.
    std::uint16_t* find(std::uint64_t key) {
        for (auto at = heads_[key & mask_]; at != kNone; at = nodes_[at].chain) {
            if (nodes_[at].key != key) continue;
            unlink(at);
            link(at);
            return &nodes_[at].backend;
        }
        return nullptr;
    }

    // Of a flow that is not known.
    void insert(std::uint64_t key, std::uint16_t backend) {
        std::uint32_t at = used_ + 1;
        if (at < nodes_.size()) {
            ++used_;
        } else {
            at = nodes_[kNone].older;
            forget(at);
        }
        nodes_[at].key = key;
        nodes_[at].backend = backend;
        nodes_[at].chain = heads_[key & mask_];
        heads_[key & mask_] = at;
        link(at);
    }

    std::uint32_t used() const { return used_; }

  private:
    static constexpr std::uint32_t kNone = 0;
    struct Node {
        std::uint64_t key = 0;
        std::uint32_t newer = 0, older = 0;  // of the ring's own place: the oldest is `older`, the newest `newer`
        std::uint32_t chain = 0;
        std::uint16_t backend = 0;
    };

    void link(std::uint32_t at) {
        const auto newest = nodes_[kNone].newer;
        nodes_[at].older = newest;
        nodes_[at].newer = kNone;
        if (newest == kNone)
            nodes_[kNone].older = at;
        else
            nodes_[newest].newer = at;
        nodes_[kNone].newer = at;
    }
    void unlink(std::uint32_t at) {
        const auto newer = nodes_[at].newer, older = nodes_[at].older;
        (newer == kNone ? nodes_[kNone].newer : nodes_[newer].older) = older;
        (older == kNone ? nodes_[kNone].older : nodes_[older].newer) = newer;
    }
    void forget(std::uint32_t at) {
        auto* from = &heads_[nodes_[at].key & mask_];
        while (*from != at) from = &nodes_[*from].chain;
        *from = nodes_[at].chain;
        unlink(at);
    }

    std::vector<Node> nodes_;
    std::vector<std::uint32_t> heads_;
    std::uint64_t mask_;
    std::uint32_t used_ = 0;
};

}  // namespace fairlead::simulation
