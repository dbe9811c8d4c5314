// SPDX-License-Identifier: Apache-2.0
// Waiting until no reader can hold what it read before (DESIGN section 4, "Reuse"): an RCU grace period of the kernel
// for the XDP program, and for each poll-mode worker the end of the burst it is in. Never a guess at a time: a virtual
// CPU or a stopped worker can sit between two loads for as long as it likes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/tables/result.h"
#include "dataplane/tables/tables.h"

namespace fairlead::tables {

// One thread at a time.
class GracePeriod {
  public:
    virtual ~GracePeriod() = default;

    // Returns when every reader that was inside the tables at the call has left them. ETIMEDOUT if one has not by the
    // end of the implementation's patience: nothing may be reused then.
    virtual Result<void> wait() = 0;
};

// How often something that takes its time has begun and has ended, ever; its turns do not overlap.
struct Turns {
    std::uint64_t begun = 0;
    std::uint64_t done = 0;

    // The next turn to begin is the first that nobody is in who read something before now.
    std::uint64_t ticket() const { return begun + 1; }
};

struct GraceOptions {
    std::chrono::milliseconds patience{2000};  // for workers; the kernel's own period always ends
};

// The grace period that these tables need: of workers alone (anonymous memory), or of the kernel as well. Keeps a
// reference to `tables`.
Result<std::unique_ptr<GracePeriod>> make_grace(Tables& tables, GraceOptions options = {});

// A registered worker that still runs, as far as one can tell.
struct LivingWorker {
    std::uint32_t index = 0;
    std::uint32_t pid = 0;
    std::uint32_t stride = 0;  // of its counters
};
std::vector<LivingWorker> living_workers(const Tables& tables);
bool any_worker_lives(const Tables& tables);

// A reader's entry in the workers table. Belongs to one thread; leaves the table when destroyed. A worker that dies
// without that is found out by its pid and the time it started.
class WorkerSlot {
  public:
    static Result<WorkerSlot> create(Tables& tables);
    WorkerSlot(WorkerSlot&& other) noexcept;
    WorkerSlot& operator=(WorkerSlot&& other) noexcept;
    ~WorkerSlot();

    // Between begin and end the thread may hold what it reads from the tables; outside it must hold nothing.
    void begin_burst() {
        // The store must be seen before any load of the burst is made. ThreadSanitizer knows no fences.
#ifdef __SANITIZE_THREAD__
        __atomic_exchange_n(&worker_->epoch, ++epoch_, __ATOMIC_SEQ_CST);
#else
        __atomic_store_n(&worker_->epoch, ++epoch_, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
    }
    void end_burst() { __atomic_store_n(&worker_->epoch, ++epoch_, __ATOMIC_RELEASE); }

    std::uint32_t index() const { return index_; }
    // This worker's stride of counters and throttles: those of the CPUs come first.
    std::uint32_t stride() const { return stride_; }

  private:
    WorkerSlot(fl_worker* worker, std::uint32_t index, std::uint32_t stride);
    void leave();

    fl_worker* worker_;
    std::uint64_t epoch_;
    std::uint32_t index_;
    std::uint32_t stride_;
};

}  // namespace fairlead::tables
