// SPDX-License-Identifier: Apache-2.0
// A way in and out of this machine for frames in mbufs: a port of DPDK's (EthdevPort) or a socket of the kernel's on each
// of an interface's queues (XskPort). A burst costs one virtual call each way, a packet none.
//
// Threads: a receive queue belongs to one worker. A lane, the way out, does too where there are as many as workers; where
// there are fewer, workers share them by a lock. Everything else is the control thread's.
#pragma once

#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "dataplane/core/base.h"

namespace fairlead::engine {

class PacketPort {
  public:
    virtual ~PacketPort() = default;
    PacketPort(const PacketPort&) = delete;
    PacketPort& operator=(const PacketPort&) = delete;

    // Up to `most` frames of queue `queue`, which are the caller's now.
    virtual std::uint16_t receive(std::uint16_t queue, rte_mbuf** frames, std::uint16_t most) = 0;

    // How many of the frames, from the first, the port took; the others stay the caller's. `worker` counts from 0.
    std::uint16_t send(std::uint16_t worker, rte_mbuf** frames, std::uint16_t count) {
        const std::uint16_t lane = lane_of(worker);
        if (fl_likely(!shared_)) return transmit(lane, frames, count);
        rte_spinlock_lock(&locks_[lane]);
        const std::uint16_t sent = transmit(lane, frames, count);
        rte_spinlock_unlock(&locks_[lane]);
        return sent;
    }

    // Carries on with what was sent before: called by each worker once a turn. True: not all is sent yet, look again soon.
    bool tend(std::uint16_t worker) {
        const std::uint16_t lane = lane_of(worker);
        if (!tended_) return false;
        if (!shared_) return tend_lane(lane);
        if (!rte_spinlock_trylock(&locks_[lane])) return false;  // another is at it
        const bool more = tend_lane(lane);
        rte_spinlock_unlock(&locks_[lane]);
        return more;
    }

    // Becomes readable when frames have come to the queue; -1: nothing does, look again.
    virtual int descriptor(std::uint16_t /*queue*/) const { return -1; }
    virtual bool link_up() = 0;
    // Received frames that found no buffer or no place, since the port was made.
    virtual std::uint64_t missed() = 0;

    const std::string& name() const { return name_; }
    std::uint16_t queues() const { return queues_; }

  protected:
    // tended: tend_lane() has something to do.
    PacketPort(std::string name, std::uint16_t queues, std::uint16_t lanes, std::uint16_t workers, bool tended)
        : name_(std::move(name)), queues_(queues), lanes_(lanes), shared_(workers > lanes), tended_(tended) {
        locks_ = std::make_unique<rte_spinlock_t[]>(lanes);
        for (std::uint16_t lane = 0; lane < lanes; lane++) rte_spinlock_init(&locks_[lane]);
    }

  private:
    virtual std::uint16_t transmit(std::uint16_t lane, rte_mbuf** frames, std::uint16_t count) = 0;
    virtual bool tend_lane(std::uint16_t /*lane*/) { return false; }

    std::uint16_t lane_of(std::uint16_t worker) const {
        return fl_likely(!shared_) ? worker : static_cast<std::uint16_t>(worker % lanes_);
    }

    std::string name_;
    std::uint16_t queues_;
    std::uint16_t lanes_;
    bool shared_;
    bool tended_;
    std::unique_ptr<rte_spinlock_t[]> locks_;
};

}  // namespace fairlead::engine
