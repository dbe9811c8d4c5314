// SPDX-License-Identifier: Apache-2.0
// Room for the adjacencies of one worker and port of entry, one for each backend that the tables have room for.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <memory>
#include <new>

#include "dataplane/engine/mbuf_access.h"

namespace fairlead::engine {

// Pages that no backend in use lies in take no memory, and none is taken from DPDK's.
class Adjacencies {
  public:
    explicit Adjacencies(std::uint32_t count)
        : memory_(map(count), Unmap{count * sizeof(fl_adjacency)}), count_(count) {}

    fl_adjacency* data() const { return memory_.get(); }
    std::uint32_t size() const { return count_; }

  private:
    struct Unmap {
        std::size_t bytes;
        void operator()(fl_adjacency* memory) const { munmap(memory, bytes); }
    };

    static fl_adjacency* map(std::uint32_t count) {
        if (!count) return nullptr;
        void* memory =
            mmap(nullptr, count * sizeof(fl_adjacency), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        return static_cast<fl_adjacency*>(memory);
    }

    std::unique_ptr<fl_adjacency[], Unmap> memory_;
    std::uint32_t count_;
};

}  // namespace fairlead::engine
