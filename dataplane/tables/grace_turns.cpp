// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/grace_turns.h"

#include <signal.h>

#include <algorithm>
#include <chrono>

namespace fairlead::tables {

GraceTurns::GraceTurns(std::unique_ptr<GracePeriod> grace) : grace_(std::move(grace)) {
    sigset_t all, before;  // signals are for the main thread
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

GraceTurns::~GraceTurns() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wanted_.notify_one();
    thread_.join();
}

// The lock orders the caller's stores before the beginning of the next turn.
Turns GraceTurns::turns() const {
    const std::lock_guard lock(mutex_);
    return turns_;
}

void GraceTurns::request(std::uint64_t ticket) {
    {
        const std::lock_guard lock(mutex_);
        if (ticket <= requested_) return;
        requested_ = ticket;
    }
    wanted_.notify_one();
}

void GraceTurns::run() {
    constexpr std::chrono::milliseconds kPause{100};  // after one that failed
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        if (turns_.done >= requested_) {
            wanted_.wait(lock);
            continue;
        }
        lock.unlock();
        {
            const std::lock_guard beginning(beginning_);
            lock.lock();
            if (turns_.begun == turns_.done) ++turns_.begun;
            lock.unlock();
        }
        const bool done = grace_->wait().has_value();
        lock.lock();
        if (done)
            turns_.done = turns_.begun;
        else
            wanted_.wait_for(lock, kPause, [this] { return stopping_; });
    }
}

}  // namespace fairlead::tables
