// SPDX-License-Identifier: Apache-2.0
// What a packet costs the DPDK engine, beside a floor through the same ports in the same run: a worker on one core, and on
// another the far end of its net_ring port, which looks at what comes back, writes each header anew and sends it again.
// Interleaved rounds, medians. Prints one JSON object.
#include "dataplane/engine/burst.h"
// Before what brings the tables' own packet access in.
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_launch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>

#include "tests/bench/bench_packets.h"
#include "tests/bench/bench_tables.h"
#include "tests/support/ring_port.h"

namespace fairlead::bench {
namespace {
constexpr std::uint32_t kOneFlow = 0, kMillionFlows = (1U << 20) - 1;  // masks
constexpr std::uint64_t kLookedAt = 64;                                // one in so many is compared byte by byte
constexpr double kWarmUp = 0.1;                                        // of a round, before it counts
constexpr double kPatience_s = 10;
constexpr std::uint64_t kInterrupted = 50'000;  // cycles: a burst that took longer was not all of it ours
constexpr std::size_t kMostCycles = 1'000;      // a packet, of the bursts that are sorted by it

// A case of the measurement: a program of the application core, a packet, what must come out.
struct Case {
    std::string name;
    int (*program)(void*);
    Frame frame;
    std::uint32_t flow_mask = kOneFlow;
    std::size_t grown = 0;     // bytes that the frame must have grown by
    std::string pool;          // whose backends must have counted every packet
    std::vector<double> mpps;  // of each round
    std::vector<double> cycles;
    std::vector<double> best;  // cycles, in the fastest tenth of full bursts
    std::vector<double> busy;  // share of its time in which the application core had packets
};

// What the application core works with and leaves; the generator's core reads the numbers when it has stopped.
struct Application {
    engine::BurstWorker& worker;
    std::uint16_t ethdev;
    std::atomic<bool> stop{false};
    std::uint64_t packets = 0, lost = 0, cycles = 0;
    std::uint64_t timed_packets = 0, timed_cycles = 0;  // of bursts that nothing interrupted
    std::array<std::uint64_t, kMostCycles> bursts{};    // full ones, by their cycles a packet
};

// Calls `burst` until it is told to stop; that returns {received, transmitted}.
template <typename Burst>
int work(Application& application, Burst&& burst) {
    application.packets = application.lost = application.timed_packets = application.timed_cycles = 0;
    application.bursts = {};
    const std::uint64_t began = rte_rdtsc();
    std::uint64_t before = began;
    while (!application.stop.load(std::memory_order_relaxed)) {
        const auto [received, transmitted] = burst();
        const std::uint64_t now = rte_rdtsc();
        application.packets += received;
        application.lost += received - transmitted;
        if (received && now - before < kInterrupted) {
            application.timed_packets += received;
            application.timed_cycles += now - before;
            const std::uint64_t each = (now - before) / engine::kBurst;
            if (received == engine::kBurst && each < kMostCycles) ++application.bursts[each];
        }
        before = now;
    }
    application.cycles = before - began;
    return 0;
}

int steer(void* argument) {
    auto& application = *static_cast<Application*>(argument);
    return work(application, [&] {
        const auto count = application.worker.run(1, 0, [](rte_mbuf* mbuf) { rte_pktmbuf_free(mbuf); });
        return std::pair(count.received, count.transmitted);
    });
}

// The least that any forwarder does, as testpmd's macswap does it.
int swap_addresses(void* argument) {
    auto& application = *static_cast<Application*>(argument);
    return work(application, [&] {
        std::array<rte_mbuf*, engine::kBurst> burst;
        const std::uint16_t received = rte_eth_rx_burst(application.ethdev, 0, burst.data(), engine::kBurst);
        for (std::uint16_t i = 0; i < received; ++i) rte_prefetch0(rte_pktmbuf_mtod(burst[i], void*));
        for (std::uint16_t i = 0; i < received; ++i) {
            auto* header = rte_pktmbuf_mtod(burst[i], rte_ether_hdr*);
            std::swap(header->src_addr, header->dst_addr);
        }
        const std::uint16_t sent = received ? rte_eth_tx_burst(application.ethdev, 0, burst.data(), received) : 0;
        rte_pktmbuf_free_bulk(burst.data() + sent, received - sent);
        return std::pair(received, sent);
    });
}

struct Seen {
    std::uint64_t packets = 0, compared = 0;
    double seconds = 0;
    std::string fault;
};

// The network at the far end of the port. Its buffers go round: from it to the application and back.
class Generator {
  public:
    Generator(test::RingPort& port, rte_mempool* pool, unsigned buffers)
        : port_(port), buffers_(buffers), idle_(buffers) {
        if (rte_pktmbuf_alloc_bulk(pool, idle_.data(), buffers) != 0) throw std::runtime_error("no buffers");
    }
    ~Generator() { rte_pktmbuf_free_bulk(idle_.data(), static_cast<unsigned>(idle_.size())); }

    void load(const Case& c) {
        case_ = &c;
        std::memcpy(pattern_.data(), c.frame.data(), pattern_.size());
        header_sum_ = header_sum(std::span(c.frame).subspan(sizeof(rte_ether_hdr)));
    }

    // Keeps the port busy, and gathers everything in at the end.
    Seen run(double seconds) {
        Seen seen;
        const auto hertz = static_cast<double>(rte_get_tsc_hz());
        const std::uint64_t start = rte_rdtsc(),
                            counts_from = start + static_cast<std::uint64_t>(kWarmUp * seconds * hertz),
                            end = counts_from + static_cast<std::uint64_t>(seconds * hertz);
        std::uint64_t now = start, first = 0;
        send(idle_.data(), static_cast<unsigned>(idle_.size()));
        idle_.clear();
        for (std::array<rte_mbuf*, engine::kBurst> burst; now < end; now = rte_rdtsc()) {
            if (!first && now >= counts_from) {
                first = now;
                seen.packets = 0;
            }
            const unsigned count = take(burst, seen);
            send(burst.data(), count);
        }
        seen.seconds = static_cast<double>(now - first) / hertz;
        gather(hertz);
        return seen;
    }

  private:
    unsigned take(std::array<rte_mbuf*, engine::kBurst>& burst, Seen& seen) {
        const unsigned count = rte_ring_sc_dequeue_burst(port_.outward(), reinterpret_cast<void**>(burst.data()),
                                                         static_cast<unsigned>(burst.size()), nullptr);
        // Where the next header is to be written, which is not where an outer header begins.
        for (unsigned i = 0; i < count; ++i)
            rte_prefetch0(static_cast<char*>(burst[i]->buf_addr) + RTE_PKTMBUF_HEADROOM);
        seen.packets += count;
        looked_at_ += count;
        if (looked_at_ >= kLookedAt && count) {
            looked_at_ = 0;
            compare(*burst[0], seen);
        }
        return count;
    }

    void compare(const rte_mbuf& mbuf, Seen& seen) {
        const std::span out(rte_pktmbuf_mtod(&mbuf, const std::uint8_t*), rte_pktmbuf_data_len(&mbuf));
        ++seen.compared;
        std::string fault = case_->pool.empty() ? swap_fault(out) : fault_of(case_->frame, out, case_->grown);
        if (fault.empty() && inner(out)->hdr_checksum != checksum(*inner(out)))
            fault = "wrong checksum of the inner header";
        if (seen.fault.empty()) seen.fault = std::move(fault);
    }

    std::string swap_fault(std::span<const std::uint8_t> out) const {
        const auto& sent = case_->frame;
        const bool swapped = out.size() == sent.size() && std::equal(out.begin(), out.begin() + 6, sent.begin() + 6) &&
                             std::equal(out.begin() + 6, out.begin() + 12, sent.begin());
        return swapped ? "" : "the addresses were not swapped";
    }

    const rte_ipv4_hdr* inner(std::span<const std::uint8_t> out) const {
        return reinterpret_cast<const rte_ipv4_hdr*>(out.data() + sizeof(rte_ether_hdr) + case_->grown);
    }

    static rte_be16_t checksum(rte_ipv4_hdr header) {
        header.hdr_checksum = 0;
        return rte_ipv4_cksum(&header);
    }

    // All of the header that the application may have spoilt, of the next flow.
    void write(rte_mbuf* mbuf) {
        mbuf->data_off = RTE_PKTMBUF_HEADROOM;
        mbuf->data_len = static_cast<std::uint16_t>(pattern_.size());
        mbuf->pkt_len = mbuf->data_len;
        auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
        const std::uint32_t flow = (sequence_++ & case_->flow_mask) * 2654435761U;
        const auto high = static_cast<std::uint16_t>(flow >> 16), low = static_cast<std::uint16_t>(flow);
        std::uint32_t sum = header_sum_ + high;
        sum = (sum & 0xffff) + (sum >> 16);
        const auto complement = static_cast<std::uint16_t>(~(sum + (sum >> 16)));
        std::memcpy(data, pattern_.data(), pattern_.size());
        std::memcpy(data + 24, &complement, 2);
        std::memcpy(data + 28, &high, 2);
        std::memcpy(data + 34, &low, 2);
    }

    void send(rte_mbuf** burst, unsigned count) {
        for (unsigned i = 0; i < count; ++i) write(burst[i]);
        if (count) rte_ring_sp_enqueue_bulk(port_.inward(), reinterpret_cast<void**>(burst), count, nullptr);
    }

    void gather(double hertz) {
        const std::uint64_t deadline = rte_rdtsc() + static_cast<std::uint64_t>(kPatience_s * hertz);
        void* mbuf = nullptr;
        while (idle_.size() < buffers_ && rte_rdtsc() < deadline)
            if (rte_ring_sc_dequeue(port_.outward(), &mbuf) == 0) idle_.push_back(static_cast<rte_mbuf*>(mbuf));
        if (idle_.size() < buffers_) throw std::runtime_error("not every buffer came back");
    }

    test::RingPort& port_;
    unsigned buffers_;
    std::vector<rte_mbuf*> idle_;
    const Case* case_ = nullptr;
    std::array<std::uint8_t, 64> pattern_{};
    std::uint32_t header_sum_ = 0;
    std::uint64_t sequence_ = 0, looked_at_ = 0;
};

class Bench {
  public:
    // `buffers`: a power of two.
    Bench(BenchTables& tables, double seconds, unsigned buffers)
        : tables_(tables), seconds_(seconds), buffers_(buffers), worker_(tables.tables(), join(tables), ports_) {}

    Result<void> run(Case& c) {
        const std::uint64_t before = c.pool.empty() ? 0 : tables_.packets_of(c.pool), unpinned = tables_.unpinned();
        application_.stop = false;
        generator_.load(c);
        rte_eal_remote_launch(c.program, &application_, rte_get_next_lcore(-1, 1, 0));
        const Seen seen = generator_.run(seconds_);
        application_.stop = true;
        rte_eal_mp_wait_lcore();
        if (!seen.fault.empty()) return fail(c.name + ": " + seen.fault);
        if (!seen.compared) return fail(c.name + ": nothing was compared");
        if (application_.lost)
            return fail(c.name + ": " + std::to_string(application_.lost) + " packets were not sent");
        if (const std::uint64_t more = tables_.unpinned() - unpinned)
            return fail(c.name + ": " + std::to_string(more) + " packets found no pin");
        const std::uint64_t counted = c.pool.empty() ? application_.packets : tables_.packets_of(c.pool) - before;
        if (counted != application_.packets)
            return fail(c.name + ": backends counted " + std::to_string(counted) + " of " +
                        std::to_string(application_.packets));
        c.mpps.push_back(static_cast<double>(seen.packets) / seen.seconds / 1e6);
        const double cycles =
            static_cast<double>(application_.timed_cycles) / static_cast<double>(application_.timed_packets);
        c.cycles.push_back(cycles);
        c.best.push_back(fastest_tenth());
        c.busy.push_back(cycles * static_cast<double>(application_.packets) / static_cast<double>(application_.cycles));
        return {};
    }

  private:
    static tables::WorkerSlot join(BenchTables& tables) {
        auto slot = tables::WorkerSlot::create(tables.tables());
        if (!slot) throw std::runtime_error(slot.error().message);
        return std::move(*slot);
    }

    // What other machines' work beside ours adds to a median is not in this.
    double fastest_tenth() const {
        const auto& bursts = application_.bursts;
        const std::uint64_t all = std::accumulate(bursts.begin(), bursts.end(), std::uint64_t{0});
        std::uint64_t faster = 0;
        std::size_t cycles = 0;
        while (cycles < bursts.size() && (faster += bursts[cycles]) * 10 < all) ++cycles;
        return static_cast<double>(cycles);
    }

    BenchTables& tables_;
    double seconds_;
    unsigned buffers_;
    test::BufferPool pool_ = test::make_buffers("bench", 2 * buffers_ - 1);
    test::RingPort port_{"bench", pool_.get(), 2 * buffers_};
    engine::PacketPort* ports_[2] = {nullptr, &port_.port()};
    engine::BurstWorker worker_;
    Application application_{worker_, port_.ethdev()};
    Generator generator_{port_, pool_.get(), buffers_};
};

std::vector<Case> cases() {
    const auto make = [](const char* name, int (*program)(void*), const char* vip, std::uint32_t flows,
                         std::size_t grown, const char* pool) {
        return Case{name, program, packet4(vip), flows, grown, pool, {}, {}, {}, {}};
    };
    return {
        make("floor_ring_macswap", swap_addresses, kVipIpip4, kOneFlow, 0, ""),
        make("dpdk_ring_ipip4_1flow", steer, kVipIpip4, kOneFlow, 20, "ipip4"),
        make("dpdk_ring_ipip4_1mflows", steer, kVipIpip4, kMillionFlows, 20, "ipip4"),
        make("dpdk_ring_l2dsr", steer, kVipL2dsr, kOneFlow, 0, "l2dsr"),
        make("dpdk_ring_pinned", steer, kVipMoving, kOneFlow, 20, "moving"),
        make("dpdk_ring_pinned_1mflows", steer, kVipMoving, kMillionFlows, 20, "moving"),
    };
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

int measure(int rounds, double seconds, unsigned buffers, const std::string& only) {
    auto tables = BenchTables::create();
    if (!tables) return std::cerr << tables.error().message << '\n', 1;
    const std::array moving{syn4(kVipMoving), packet4(kVipMoving)};
    (*tables)->pin(moving, kMillionFlows + 1, set_flow);
    auto all = cases();
    std::erase_if(all, [&](const Case& c) { return !only.empty() && c.name != only; });
    Bench bench(**tables, seconds, buffers);
    for (int round = 0; round < rounds; ++round)
        for (Case& c : all)
            if (auto done = bench.run(c); !done) return std::cerr << done.error().message << '\n', 1;
    nlohmann::ordered_json result;
    for (const Case& c : all) {
        result[c.name + "_mpps"] = median(c.mpps);
        result["cycles_per_packet"][c.name] = median(c.cycles);
        result["cycles_fastest_tenth"][c.name] = median(c.best);
        result["application_busy"][c.name] = median(c.busy);
        result["samples"][c.name + "_mpps"] = c.mpps;
    }
    std::cout << result.dump(2) << '\n';
    return 0;
}
}  // namespace
}  // namespace fairlead::bench

int main(int argc, char** argv) {
    CLI::App app{"rate of the DPDK engine over a net_ring port"};
    int rounds = 15;
    double seconds = 0.2;
    unsigned buffers = 2048;  // what a card's rings of 1,024 descriptors each way hold
    bool huge_pages = false;
    std::string only;
    app.add_option("--rounds", rounds)->check(CLI::Range(3, 1000));
    app.add_option("--seconds", seconds, "of each case in each round")->check(CLI::Range(0.01, 10.0));
    app.add_option("--buffers", buffers, "that go round: a power of two")
        ->check(CLI::IsMember({512, 1024, 2048, 4096, 8192}));
    app.add_option("--case", only, "this one alone, for a profiler");
    app.add_flag("--huge-pages", huge_pages, "64 MiB of them; else ordinary memory");
    CLI11_PARSE(app, argc, argv);
    std::vector<std::string> words{"--no-pci",
                                   "--no-telemetry",
                                   "--iova-mode=va",
                                   "--log-level=error",
                                   "-l",
                                   "0,1",
                                   "-m",
                                   "64",
                                   huge_pages ? "--in-memory" : "--no-huge"};
    if (!huge_pages) words.push_back("--file-prefix=fairlead-bench-" + std::to_string(getpid()));
    try {
        const fairlead::test::Eal eal(words);
        return fairlead::bench::measure(rounds, seconds, buffers, only);
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
