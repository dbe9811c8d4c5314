// SPDX-License-Identifier: Apache-2.0
// What a poll-mode worker does with one burst: receive, decide about every packet, act, transmit. The deciding and the
// rewriting are the steering core's, the very lines that the XDP program is made of; this adds bursts and buffers.
#pragma once

#include "dataplane/engine/mbuf_access.h"

#include <rte_ethdev.h>

#include <array>
#include <ctime>
#include <span>
#include <utility>

#include "dataplane/tables/grace.h"
#include "dataplane/tables/tables.h"

namespace fairlead::engine {

inline constexpr std::uint16_t kBurst = 32;

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
    // ethdev[n] is DPDK's port id of port number n in the tables; number 0 names no port.
    BurstWorker(const tables::Tables& tables, tables::WorkerSlot slot, std::span<const std::uint16_t> ethdev)
        : slot_(std::move(slot)), ethdev_(ethdev) {
        engine_.memory = &tables.memory();
        engine_.stride = slot_.stride();
    }

    // One burst of queue `queue` of table port `port`. What is for the host goes to pass(rte_mbuf*), and is its own.
    template <typename Pass>
    BurstCount run(std::uint32_t port, std::uint16_t queue, Pass&& pass) {
        std::array<rte_mbuf*, kBurst> mbufs;
        BurstCount count;
        count.received = rte_eth_rx_burst(ethdev_[port], queue, mbufs.data(), kBurst);
        if (!count.received) return count;
        const std::span<rte_mbuf*> burst(mbufs.data(), count.received);

        Steered steered;
        engine_.ingress_port = port;
        slot_.begin_burst();
        read_clocks();
        steer(burst, steered);
        slot_.end_burst();

        for (std::uint16_t i = 0; i < count.received; i++) {
            if (steered.verdict[i] == FL_VERDICT_PASS) {
                count.passed++;
                pass(burst[i]);
            } else if (steered.verdict[i] == FL_VERDICT_DROP) {
                count.dropped++;
                rte_pktmbuf_free(burst[i]);
            }
        }
        transmit(burst, steered, queue, count);
        return count;
    }

  private:
    struct Steered {
        std::array<fl_verdict, kBurst> verdict;
        std::array<std::uint32_t, kBurst> port;  // in the tables; where the verdict is to transmit
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

    // Headers are rewritten and buffers grow: another core's copy of a line is better withdrawn while others are waited for.
    static void prefetch_to_write(void* line) {
#ifdef RTE_ARCH_X86_64
        __asm__ volatile("prefetchw %0" : : "m"(*static_cast<const char*>(line)));
#else
        __builtin_prefetch(line, 1, 3);
#endif
    }

    // All decisions first, so that the table lines of one packet arrive while another is looked at.
    void steer(std::span<rte_mbuf*> burst, Steered& steered) {
        std::array<fl_decision, kBurst> decisions;
        for (rte_mbuf* mbuf : burst) prefetch_to_write(mbuf);
        for (rte_mbuf* mbuf : burst) {
            auto* data = rte_pktmbuf_mtod(mbuf, char*);
            prefetch_to_write(data);
            prefetch_to_write(data - RTE_CACHE_LINE_SIZE);
        }
        for (std::size_t i = 0; i < burst.size(); i++) {
            // The core wants a frame in one piece; a chain that does not fit one buffer is judged by its first.
            if (burst[i]->nb_segs > 1) rte_pktmbuf_linearize(burst[i]);
            MbufPacket packet(burst[i]);
            fl_decide(&engine_, &packet, &decisions[i]);
        }
        for (std::size_t i = 0; i < burst.size(); i++) {
            MbufPacket packet(burst[i]);
            steered.verdict[i] = fl_finish(&engine_, &packet, &decisions[i], &steered.port[i]);
        }
    }

    // A call for each port that the burst leaves by, which is nearly always one.
    void transmit(std::span<rte_mbuf*> burst, Steered& steered, std::uint16_t queue, BurstCount& count) {
        for (std::size_t first = 0; first < burst.size(); first++) {
            if (steered.verdict[first] != FL_VERDICT_TRANSMIT) continue;
            const std::uint32_t port = steered.port[first];
            std::array<rte_mbuf*, kBurst> leaving;
            std::uint16_t number = 0;
            for (std::size_t i = first; i < burst.size(); i++) {
                if (steered.verdict[i] != FL_VERDICT_TRANSMIT || steered.port[i] != port) continue;
                leaving[number++] = burst[i];
                steered.verdict[i] = FL_VERDICT_DROP;  // done with
            }
            const std::uint16_t sent =
                port < ethdev_.size() ? rte_eth_tx_burst(ethdev_[port], queue, leaving.data(), number) : 0;
            count.transmitted += sent;
            count.unsent += number - sent;
            rte_pktmbuf_free_bulk(leaving.data() + sent, number - sent);
        }
    }

    tables::WorkerSlot slot_;
    std::span<const std::uint16_t> ethdev_;
    fl_engine engine_{};
};

}  // namespace fairlead::engine
