// SPDX-License-Identifier: Apache-2.0
// One poll-mode thread: goes round its queues, steers what has come, relays what is the host's, and sleeps when there has been
// nothing for a while. Without tables every frame is the host's.
#pragma once

#include "dataplane/engine/burst.h"

#include <poll.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/engine/tap.h"

namespace fairlead::engine {

// A port as the workers use it. Nothing of it changes while they run.
struct Station {
    PacketPort* port = nullptr;
    std::uint32_t number = 0;   // in the tables; 0 = not there: all of it is the host's
    const Tap* host = nullptr;  // where the host's frames go; nullptr: the kernel has them already
    bool speaks = false;        // what the host sends into the tap leaves by this port
};

struct WorkerSettings {
    std::uint16_t index = 0;  // of `count` workers
    std::uint16_t count = 1;
    bool busy = false;  // never sleeps
    rte_mempool* pool = nullptr;
};

// Run by one thread, made and destroyed by another while it does not run.
class Worker {
  public:
    // stations and lineup (port by number in the tables) must outlive this. tables: nullptr, without.
    Worker(const WorkerSettings& settings, const std::vector<Station>& stations, std::span<PacketPort* const> lineup,
           const tables::Tables* tables, std::optional<tables::WorkerSlot> slot);

    // Until `stop`.
    void run(const std::atomic<bool>& stop);

    struct Totals {
        std::uint64_t received = 0, transmitted = 0, passed = 0, dropped = 0, unsent = 0;
        std::uint64_t host_refused = 0;  // frames for the host that its stack did not take
        Totals& operator+=(const Totals& other);
    };
    const Totals& totals() const { return totals_; }

  private:
    struct Queue {
        const Station* station;
        std::uint16_t number;
    };

    bool turn();
    bool receive(const Queue& queue);
    bool relay_from_host();
    void to_host(const Tap* host, rte_mbuf* frame);
    const Tap* host_of(std::uint32_t number) const;
    void add(const BurstCount& count);
    void rest();
    int longest_nap_us() const;

    WorkerSettings settings_;
    const std::vector<Station>& stations_;
    std::vector<Queue> queues_;
    std::vector<pollfd> descriptors_;
    bool all_wake_ = true;  // each queue has a descriptor
    bool pending_ = false;  // a port has not sent yet all that it took
    std::optional<BurstWorker> burst_;
    std::uint32_t turns_ = 0;
    std::uint32_t idle_turns_ = 0;
    int nap_us_ = 0;
    Totals totals_;
};

}  // namespace fairlead::engine
