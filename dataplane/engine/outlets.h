// SPDX-License-Identifier: Apache-2.0
// Frames on their way out, gathered by the port that they leave by, so that a port is called once for all of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/core/base.h"
#include "dataplane/engine/packet_port.h"

namespace fairlead::engine {

inline constexpr std::uint16_t kBurst = 32;

// Belongs to one worker.
class Outlets {
  public:
    struct Count {
        std::uint16_t transmitted = 0;
        std::uint16_t unsent = 0;  // the port took no more, or there is none: freed
    };

    // ports[n] is port number n of the tables, nullptr where there is none here. Must outlive this.
    Outlets(std::span<PacketPort* const> ports, std::uint16_t worker) : ports_(ports), worker_(worker) {}

    // The frame is its port's now.
    void add(std::uint32_t port, rte_mbuf* frame) {
        if (fl_unlikely(port != outlet_->port || outlet_->count == kBurst)) choose(port);
        outlet_->frames[outlet_->count++] = frame;
    }

    // Sends what is gathered; what was sent since the last flush.
    Count flush() {
        for (Outlet& outlet : outlets_)
            if (outlet.count) send(outlet);
        const Count count = count_;
        count_ = {};
        return count;
    }

  private:
    struct Outlet {
        std::uint32_t port = 0;
        std::uint16_t count = 0;
        std::array<rte_mbuf*, kBurst> frames;
    };
    static constexpr std::size_t kOutlets = 4;  // a burst rarely leaves by more than two ports

    // The outlet of this port, else a free one, else the first made free; with room.
    void choose(std::uint32_t port) {
        Outlet* free = nullptr;
        for (Outlet& outlet : outlets_) {
            if (outlet.count && outlet.port == port) {
                if (outlet.count == kBurst) send(outlet);
                outlet_ = &outlet;
                return;
            }
            if (!outlet.count && !free) free = &outlet;
        }
        if (!free) {
            free = &outlets_.front();
            send(*free);
        }
        free->port = port;
        outlet_ = free;
    }

    void send(Outlet& outlet) {
        PacketPort* port = outlet.port < ports_.size() ? ports_[outlet.port] : nullptr;
        const std::uint16_t sent = port ? port->send(worker_, outlet.frames.data(), outlet.count) : 0;
        count_.transmitted += sent;
        count_.unsent += outlet.count - sent;
        if (fl_unlikely(sent < outlet.count)) rte_pktmbuf_free_bulk(outlet.frames.data() + sent, outlet.count - sent);
        outlet.count = 0;
    }

    std::span<PacketPort* const> ports_;
    std::uint16_t worker_;
    std::array<Outlet, kOutlets> outlets_;
    Outlet* outlet_ = &outlets_.front();
    Count count_;
};

}  // namespace fairlead::engine
