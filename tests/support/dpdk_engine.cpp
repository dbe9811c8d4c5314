// SPDX-License-Identifier: Apache-2.0
// A worker of the DPDK engine behind steer_engine.h: frames reach it by one net_ring port and leave by two.
#include "dataplane/engine/burst.h"
// Before what brings the tables' own packet access in.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "tests/support/ring_port.h"
#include "tests/support/steer_engine.h"

namespace fairlead::test {
namespace {

constexpr unsigned kRing = 64;
constexpr unsigned kBuffers = 127;
constexpr std::uint16_t kRoom = 4096;  // for the largest frame of any test and what is put in front of it

class DpdkEngine : public SteerEngine {
  public:
    const char* name() const override { return "dpdk"; }
    std::string missing() const override { return {}; }

    tables::Tables make_tables(const fl_limits& limits) override {
        leave();
        return std::move(tables::Tables::create_anonymous(limits).value());
    }
    void leave() override { worker_.reset(); }
    // Exceptions: it holds fragments, cuts packets to fit and looks further along chains of IPv6 headers.
    bool finishes_exceptions() const override { return true; }

    Steered run(tables::Tables& tables, const std::vector<std::uint8_t>& frame, bool unwrap_only,
                std::uint64_t now_ns) override {
        return run_burst(tables, std::span(&frame, 1), unwrap_only, now_ns).front();
    }

    std::vector<Steered> run_burst(tables::Tables& tables, std::span<const std::vector<std::uint8_t>> frames,
                                   bool unwrap_only, std::uint64_t) override {
        if (unwrap_only || frames.size() > engine::kBurst) throw std::logic_error("not for this engine");
        if (!worker_) worker_.emplace(tables, tables::WorkerSlot::create(tables).value(), pointers_);
        std::vector<rte_mbuf*> sent;
        for (const auto& frame : frames) {
            sent.push_back(load(frame));
            rte_ring_enqueue(ports_[0].inward(), sent.back());
        }
        std::vector<Steered> all(frames.size(), Steered{.verdict = FL_VERDICT_DROP, .bytes = {}});
        const auto note = [&](rte_mbuf* mbuf, fl_verdict verdict, std::uint32_t port) {
            const auto at = std::find(sent.begin(), sent.end(), mbuf) - sent.begin();
            all.at(static_cast<std::size_t>(at)) = {.verdict = verdict, .port = port, .bytes = consume(mbuf)};
        };
        worker_->run(1, 0, [&](rte_mbuf* mbuf) { note(mbuf, FL_VERDICT_PASS, 0); });
        for (std::uint32_t port : {1U, 2U}) {
            void* mbuf = nullptr;
            while (rte_ring_dequeue(ports_[port - 1].outward(), &mbuf) == 0)
                note(static_cast<rte_mbuf*>(mbuf), FL_VERDICT_TRANSMIT, port);
        }
        if (rte_mempool_in_use_count(pool_.get())) throw std::runtime_error("the engine kept a buffer");
        return all;
    }

  private:
    rte_mbuf* load(const std::vector<std::uint8_t>& frame) {
        rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
        if (mbuf && cramped_) mbuf->data_off = 0;
        char* room = mbuf ? rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(frame.size())) : nullptr;
        if (!room) throw std::runtime_error("no buffer for a frame");
        std::memcpy(room, frame.data(), frame.size());
        return mbuf;
    }

    BufferPool pool_ = make_buffers("differential", kBuffers, kRoom);
    RingPort ports_[2] = {{"own", pool_.get(), kRing}, {"other", pool_.get(), kRing}};
    engine::PacketPort* pointers_[3] = {nullptr, &ports_[0].port(), &ports_[1].port()};
    std::optional<engine::BurstWorker> worker_;
};

}  // namespace

std::unique_ptr<SteerEngine> make_dpdk_engine() { return std::make_unique<DpdkEngine>(); }

}  // namespace fairlead::test
