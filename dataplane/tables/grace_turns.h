// SPDX-License-Identifier: Apache-2.0
// Grace periods one after the other, on a thread of their own, for who cannot stand still for one (an RCU grace period
// takes 7 to 16 ms): they are numbered, and a ticket is the number of the first that begins after it was drawn.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "dataplane/tables/grace.h"

namespace fairlead::tables {

class GraceTurns {
  public:
    // `grace` is this object's alone. A turn that fails (a worker that does not leave) is tried again.
    explicit GraceTurns(std::unique_ptr<GracePeriod> grace);
    ~GraceTurns();
    GraceTurns(const GraceTurns&) = delete;
    GraceTurns& operator=(const GraceTurns&) = delete;

    // What the caller stored before this call is seen by every reader once turn `ticket()` of the answer is done.
    Turns turns() const;
    // No turn begins while it is held: what is stored meanwhile is seen too, by a ticket of before.
    std::unique_lock<std::mutex> hold() const { return std::unique_lock(beginning_); }
    // Lets turns be made until this one is done.
    void request(std::uint64_t ticket);

  private:
    void run();

    std::unique_ptr<GracePeriod> grace_;
    mutable std::mutex beginning_;  // before mutex_
    mutable std::mutex mutex_;
    std::condition_variable wanted_;
    Turns turns_;
    std::uint64_t requested_ = 0;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace fairlead::tables
