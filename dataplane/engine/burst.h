// SPDX-License-Identifier: Apache-2.0
// What a poll-mode worker does with one burst: receive, decide about every packet, act, transmit. The deciding and the
// rewriting are the steering core's, the very lines that the XDP program is made of; this adds bursts and buffers.
#pragma once

#include "dataplane/engine/mbuf_access.h"

#include <array>
#include <ctime>
#include <span>
#include <utility>

#include "dataplane/engine/outlets.h"
#include "dataplane/engine/packet_port.h"
#include "dataplane/tables/grace.h"
#include "dataplane/tables/tables.h"

namespace fairlead::engine {

struct BurstCount {
    std::uint16_t received = 0;
    std::uint16_t transmitted = 0;
    std::uint16_t passed = 0;
    std::uint16_t dropped = 0;
    std::uint16_t unsent = 0;  // steered, but the port took no more
};

// Belongs to one thread, keeps a reference to the tables and its own place among their readers.
class BurstWorker {
  public:
    // ports[n] is port number n in the tables, nullptr where this engine has none; number 0 names no port. `worker` counts
    // from 0 among all that send by these ports.
    BurstWorker(const tables::Tables& tables, tables::WorkerSlot slot, std::span<PacketPort* const> ports,
                std::uint16_t worker = 0)
        : slot_(std::move(slot)), ports_(ports), outlets_(ports, worker) {
        engine_.memory = &tables.memory();
        engine_.stride = slot_.stride();
    }

    // One burst of queue `queue` of table port `port`. What is for the host goes to pass(rte_mbuf*), and is its own; the
    // mbuf's `port` is then the number of the table port that it came in by.
    template <typename Pass>
    BurstCount run(std::uint32_t port, std::uint16_t queue, Pass&& pass) {
        std::array<rte_mbuf*, kBurst> mbufs;
        BurstCount count;
        count.received = ports_[port]->receive(queue, mbufs.data(), kBurst);
        if (!count.received) return count;

        engine_.ingress_port = port;
        read_clocks();
        slot_.begin_burst();
        steer({mbufs.data(), count.received});
        slot_.end_burst();
        deliver(count, pass);
        return count;
    }

  private:
    // Frames that end here, until their burst has left the tables.
    struct Gathered {
        std::uint16_t count = 0;
        std::array<rte_mbuf*, kBurst> frames;
        void add(rte_mbuf* frame) { frames[count++] = frame; }
    };

    // A role is compared with the precise clock, everything else with the coarse one (DESIGN section 4).
    void read_clocks() {
        engine_.now_ns = read_clock(CLOCK_MONOTONIC);
        engine_.now_coarse_ns = read_clock(CLOCK_MONOTONIC_COARSE);
    }

    static std::uint64_t read_clock(clockid_t clock) {
        timespec now;
        clock_gettime(clock, &now);
        return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
    }

    // All decisions first, so that the table lines of one packet arrive while another is looked at.
    void steer(std::span<rte_mbuf*> burst) {
        std::array<fl_decision, kBurst> decisions;
        for (rte_mbuf* mbuf : burst) rte_prefetch0(rte_pktmbuf_mtod(mbuf, void*));
        for (std::size_t i = 0; i < burst.size(); i++) {
            // The core wants a frame in one piece; a chain that does not fit one buffer is judged by its first.
            if (fl_unlikely(burst[i]->nb_segs > 1)) rte_pktmbuf_linearize(burst[i]);
            MbufPacket packet(burst[i]);
            fl_decide(&engine_, &packet, &decisions[i]);
        }
        for (std::size_t i = 0; i < burst.size(); i++) finish(burst[i], decisions[i]);
    }

    void finish(rte_mbuf* mbuf, fl_decision& decision) {
        MbufPacket packet(mbuf);
        std::uint32_t port;
        const fl_verdict verdict = fl_finish(&engine_, &packet, &decision, &port);
        if (fl_likely(verdict == FL_VERDICT_TRANSMIT))
            outlets_.add(port, mbuf);
        else if (verdict == FL_VERDICT_PASS)
            passed_.add(mbuf);
        else
            dropped_.add(mbuf);
    }

    // Out of the tables again: what was gathered goes its ways.
    template <typename Pass>
    void deliver(BurstCount& count, Pass& pass) {
        const Outlets::Count sent = outlets_.flush();
        count.transmitted += sent.transmitted;
        count.unsent += sent.unsent;
        count.passed += passed_.count;
        for (std::uint16_t i = 0; i < passed_.count; i++) {
            passed_.frames[i]->port = static_cast<std::uint16_t>(engine_.ingress_port);
            pass(passed_.frames[i]);
        }
        count.dropped += dropped_.count;
        if (dropped_.count) rte_pktmbuf_free_bulk(dropped_.frames.data(), dropped_.count);
        passed_.count = dropped_.count = 0;
    }

    tables::WorkerSlot slot_;
    std::span<PacketPort* const> ports_;
    Outlets outlets_;
    Gathered passed_, dropped_;
    fl_engine engine_{};
};

}  // namespace fairlead::engine
