// SPDX-License-Identifier: Apache-2.0
// What a poll-mode worker does with one burst: receive, decide about every packet, act, transmit. The deciding and the
// rewriting are the steering core's, the very lines that the XDP program is made of; this adds bursts and buffers.
#pragma once

#include "dataplane/engine/mbuf_access.h"

#include <array>
#include <ctime>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/engine/adjacencies.h"
#include "dataplane/engine/exceptions.h"
#include "dataplane/engine/outlets.h"
#include "dataplane/engine/packet_port.h"
#include "dataplane/tables/grace.h"
#include "dataplane/tables/tables.h"

namespace fairlead::engine {

// Words, of which each is read as it was written: of narrower ones compilers read two at once, and a processor that finds
// them in two stores waits until both, and all before them, have left for the cache.
struct BurstCount {
    std::uint64_t received = 0;
    std::uint64_t transmitted = 0;
    std::uint64_t passed = 0;
    std::uint64_t dropped = 0;
    std::uint64_t unsent = 0;  // steered, but the port took no more
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
        for (const PacketPort* port : ports) adjacencies_.emplace_back(port ? tables.memory().limits.backends : 0);
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
        engine_.now_coarse_ns = read_clock(CLOCK_MONOTONIC_COARSE);
        precise_ = false;
        slot_.begin_burst();
        steer({mbufs.data(), count.received});
        slot_.end_burst();
        deliver(count, pass);
        for (std::uint16_t i = 0; i < exceptional_.count; i++) resolve(exceptional_.frames[i], count, pass);
        exceptional_.count = 0;
        return count;
    }

    // Whether fragments are held; then look_again() is to be called every millisecond at least.
    bool holds() const { return !held_.empty(); }

    // Releases the fragments whose first has come by meanwhile, here or in the XDP program, and drops those that have
    // waited for too long.
    template <typename Pass>
    BurstCount look_again(Pass&& pass) {
        BurstCount count;
        engine_.now_coarse_ns = read_clock(CLOCK_MONOTONIC_COARSE);
        engine_.now_ns = read_clock(CLOCK_MONOTONIC);
        precise_ = true;
        if (!first_came_ && engine_.now_ns < look_again_ns_) return count;
        look_again_ns_ = engine_.now_ns + kLookAgainNs;
        first_came_ = false;
        held_.revisit([&](const HeldFragments::Held& held) {
            engine_.ingress_port = held.port;
            slot_.begin_burst();
            const bool stays = !release(held);
            slot_.end_burst();
            deliver(count, pass);
            return stays;
        });
        return count;
    }

  private:
    static constexpr std::size_t kAhead = 4;  // frames that are fetched while one is looked at
    static constexpr std::uint64_t kLookAgainNs = 1'000'000;

    // Frames that end here, until their burst has left the tables.
    struct Gathered {
        std::uint16_t count = 0;
        std::array<rte_mbuf*, kBurst> frames;
        void add(rte_mbuf* frame) { frames[count++] = frame; }
    };

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

    // The steady path in stages, so that the table lines of one packet arrive while another is looked at; what that does
    // not take goes the long way in its turn.
    void steer(std::span<rte_mbuf*> burst) {
        std::array<fl_look, kBurst> looks;
        fl_stages stages;
        const Adjacencies& adjacencies = adjacencies_[engine_.ingress_port];
        for (rte_mbuf* mbuf : burst) prefetch_to_write(mbuf);
        for (std::size_t i = 0; i < kAhead && i < burst.size(); i++) prefetch_frame(burst[i]);
        fl_stages_begin(&engine_, adjacencies.data(), adjacencies.size(), &stages);
        if (fl_unlikely(!stages.plain)) {
            for (rte_mbuf* mbuf : burst) steer_long(mbuf);
            return;
        }
        for (std::size_t i = 0; i < burst.size(); i++) {
            if (i + kAhead < burst.size()) prefetch_frame(burst[i + kAhead]);
            MbufPacket packet(burst[i]);
            if (fl_likely(burst[i]->nb_segs == 1))
                fl_stage_headers(&engine_, &stages, &packet, &looks[i]);
            else
                looks[i].word = 0;
        }
        if (moving_) {
            for (std::size_t i = 0; i < burst.size(); i++)
                if (fl_likely(looks[i].word != 0)) fl_stage_pins(&engine_, &stages, &looks[i]);
        }
        for (std::size_t i = 0; i < burst.size(); i++) {
            const fl_look& look = looks[i];
            bool done = false;
            if (fl_likely(look.word && FL_LOOK_FAMILY(look.word) == 4))
                done = forward<4>(stages, look, burst[i]);
            else if (look.word)
                done = forward<6>(stages, look, burst[i]);
            if (fl_likely(done)) continue;
            fl_stage_long(&stages);
            steer_long(burst[i]);
        }
        moving_ = stages.moving;
        fl_stages_end(&stages);
    }

    // The last stage. False: it is for the long way; the frame is as it was.
    template <__u8 kFamily>
    __rte_always_inline bool forward(fl_stages& stages, const fl_look& look, rte_mbuf* mbuf) {
        MbufPacket packet(mbuf);
        std::uint32_t port;
        fl_decision decision;
        const fl_adjacency* adjacency =
            fl_stage_choose(&engine_, &stages, &look, kFamily, fl_frame_length(&engine_, &packet), &decision);
        if (fl_unlikely(!adjacency)) return false;
        if (fl_likely(fl_act_forward(&engine_, stages.meta, &adjacency->backend, &packet, &decision, &port) ==
                      FL_VERDICT_TRANSMIT))
            outlets_.add(port, mbuf);
        else
            dropped_.add(mbuf);
        fl_stage_count(&engine_, &stages, &look, adjacency, &decision);
        return true;
    }

    void steer_long(rte_mbuf* mbuf) {
        fl_decision decision;
        // The core wants a frame in one piece; a chain that does not fit one buffer is judged by its first.
        if (fl_unlikely(mbuf->nb_segs > 1)) rte_pktmbuf_linearize(mbuf);
        decide(mbuf, decision);
        if (fl_unlikely(decision.exception))
            exceptional_.add(mbuf);
        else
            finish(mbuf, decision);
    }

    static void prefetch_frame(const rte_mbuf* mbuf) {
        auto* data = rte_pktmbuf_mtod(mbuf, char*);
        prefetch_to_write(data);
        prefetch_to_write(data - RTE_CACHE_LINE_SIZE);
    }

    // What cannot be finished as it is. Decided about once more: its first fragment may have been in the same burst.
    template <typename Pass>
    void resolve(rte_mbuf* mbuf, BurstCount& count, Pass& pass) {
        fl_decision decision;
        slot_.begin_burst();
        decide(mbuf, decision);
        if (!decision.exception || (!decision.mtu && decision.reason == FL_REASON_EXTENSION_CHAIN))
            finish(mbuf, decision);
        else if (decision.mtu)
            cut(mbuf, decision);
        else
            hold(mbuf);
        slot_.end_burst();
        deliver(count, pass);
    }

    // The pieces are steered as any fragments are: the first is remembered, and the others follow it.
    void cut(rte_mbuf* mbuf, fl_decision& decision) {
        std::array<rte_mbuf*, kMostPieces> pieces;
        const std::uint16_t number =
            cut_to_fit(mbuf, decision.l3, decision.length, decision.mtu, mbuf->pool, std::span(pieces));
        if (!number) return finish(mbuf, decision);
        fl_count_event(&engine_, FL_EVENT_FRAGMENTED);
        for (std::uint16_t i = 0; i < number; i++) {
            decide(pieces[i], decision);
            finish(pieces[i], decision);
        }
    }

    // A frame of many times the oldest's size may find no room: few give way for one.
    void hold(rte_mbuf* mbuf) {
        const std::uint32_t bytes = rte_pktmbuf_pkt_len(mbuf), port = engine_.ingress_port;
        fl_decision decision;
        for (std::uint16_t i = 0; i + 1 < kBurst; i++) {
            const auto oldest = held_.give_way(bytes);
            if (!oldest) {
                fl_count_event(&engine_, FL_EVENT_FRAGMENT_HELD);
                return held_.add(mbuf, port, engine_.now_ns);
            }
            engine_.ingress_port = oldest->port;
            decide(oldest->frame, decision);
            finish(oldest->frame, decision);
            engine_.ingress_port = port;
        }
        decide(mbuf, decision);
        finish(mbuf, decision);
    }

    // False: its first is not known yet, and there is time.
    bool release(const HeldFragments::Held& held) {
        fl_decision decision;
        decide(held.frame, decision);
        const bool too_big = decision.exception && decision.mtu, orphan = decision.exception && !too_big;
        if (orphan && engine_.now_ns < held.until_ns) return false;
        if (!orphan) fl_count_event(&engine_, FL_EVENT_FRAGMENT_RELEASED);
        if (too_big)
            cut(held.frame, decision);
        else
            finish(held.frame, decision);
        return true;
    }

    // The long way, for the rare ones; apart from the burst's loop.
    [[gnu::noinline]] void decide(rte_mbuf* mbuf, fl_decision& decision) {
        MbufPacket packet(mbuf);
        if (!precise_) engine_.now_ns = read_clock(CLOCK_MONOTONIC);
        precise_ = true;
        fl_decide_long(&engine_, &packet, &decision);
    }

    void finish(rte_mbuf* mbuf, fl_decision& decision) {
        MbufPacket packet(mbuf);
        std::uint32_t port = 0;
        const fl_verdict verdict = fl_finish(&engine_, &packet, &decision, &port);
        if (fl_unlikely(decision.remember)) first_came_ = true;
        if (fl_likely(verdict == FL_VERDICT_TRANSMIT))
            outlets_.add(port, mbuf);
        else if (verdict == FL_VERDICT_PASS)
            keep_for_host(mbuf);
        else
            dropped_.add(mbuf);
    }

    void keep_for_host(rte_mbuf* mbuf) {
        mbuf->port = static_cast<std::uint16_t>(engine_.ingress_port);
        passed_.add(mbuf);
    }

    // Out of the tables again: what was gathered goes its ways.
    template <typename Pass>
    void deliver(BurstCount& count, Pass& pass) {
        const Outlets::Count sent = outlets_.flush();
        count.transmitted += sent.transmitted;
        count.unsent += sent.unsent;
        for (std::uint16_t i = 0; i < sent.unsent; i++) fl_count_event(&engine_, FL_EVENT_UNSENT);
        count.passed += passed_.count;
        for (std::uint16_t i = 0; i < passed_.count; i++) pass(passed_.frames[i]);
        count.dropped += dropped_.count;
        if (dropped_.count) rte_pktmbuf_free_bulk(dropped_.frames.data(), dropped_.count);
        passed_.count = dropped_.count = 0;
    }

    tables::WorkerSlot slot_;
    std::span<PacketPort* const> ports_;
    std::vector<Adjacencies> adjacencies_;  // by port of entry
    Outlets outlets_;
    Gathered passed_, dropped_, exceptional_;
    HeldFragments held_;
    std::uint64_t look_again_ns_ = 0;
    bool moving_ = false;  // a packet of the burst before was for a slot that is not settled
    // A role is compared with the precise clock, everything else with the coarse one (DESIGN section 4). It costs as much as a
    // packet does, and the steady path never asks for it.
    bool precise_ = false;     // engine_.now_ns is this burst's
    bool first_came_ = false;  // since look_again() was called: one that others may wait for
    fl_engine engine_{};
};

}  // namespace fairlead::engine
