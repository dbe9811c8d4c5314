// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bench_tables.h"

#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "ctl/plan/maglev.h"
#include "dataplane/tables/counters.h"
#include "dataplane/tables/memory_steer.h"

namespace fairlead::bench {
namespace {
IpAddress address(const std::string& text) { return IpAddress::parse(text).value(); }

tables::DesiredPool pool(std::string name, fl_forward forward, std::uint32_t slots, std::uint32_t backends, bool v6) {
    tables::DesiredPool result;
    result.name = std::move(name);
    result.slots = slots;
    for (std::uint32_t i = 0; i < backends; ++i)
        result.backends.push_back({"b" + std::to_string(i),
                                   address((v6 ? "2001:db8:1::" : "198.51.100.") + std::to_string(i + 1)), forward, 0});
    return result;
}

void add_service(tables::Desired& desired, const std::string& vip, tables::DesiredPool pool) {
    desired.vips.push_back({address(vip), true, false, 0});
    desired.services.push_back({pool.name, address(vip), kPort, IPPROTO_TCP, pool.name});
    desired.pools.push_back(std::move(pool));
}

tables::Desired desired() {
    tables::Desired result;
    add_service(result, kVipIpip4, pool("ipip4", FL_FORWARD_IPIP, kSlots, kBackends, false));
    add_service(result, kVipL2dsr, pool("l2dsr", FL_FORWARD_L2DSR, kSlots, kBackends, false));
    add_service(result, kVipMoving, pool("moving", FL_FORWARD_IPIP, kSlots, kBackends, false));
    add_service(result, kVipIpip6, pool("ipip6", FL_FORWARD_IPIP, kSlots, kBackends, true));
    for (std::uint32_t i = 0; i < kOtherServices; ++i)
        add_service(result, "203.0." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1),
                    pool("other" + std::to_string(i), FL_FORWARD_L2DSR, kOtherSlots, kOtherBackends, false));
    return result;
}

void fill_slots(tables::TableWriter& writer, std::uint32_t pool, std::span<std::uint16_t> owners) {
    std::vector<std::string> names;
    std::vector<plan::Candidate> candidates;
    for (std::uint32_t i = 0; i < kBackends; ++i) names.push_back("b" + std::to_string(i));
    for (const auto& name : names)
        if (const auto index = writer.find_backend(pool, name)) candidates.push_back({*index, name, 100});
    plan::fill_owners(owners, candidates);
}
}  // namespace

Result<std::unique_ptr<BenchTables>> BenchTables::create() {
    std::unique_ptr<BenchTables> bench(new BenchTables);
    bench->folder_ = "/sys/fs/bpf/fairlead/bench-" + std::to_string(getpid());
    if (auto ready = tables::ensure_bpffs(bench->folder_); !ready) return tl::unexpected(ready.error());
    auto cpus = tables::possible_cpus();
    if (!cpus) return tl::unexpected(cpus.error());
    // The shipped defaults, with what this load needs more of.
    tables::Capacity capacity;
    capacity.backends = 8192;
    capacity.slots = 1U << 23;
    capacity.pins = kPins;
    auto made = tables::Tables::create_pinned(bench->folder_, tables::limits_for(capacity, *cpus));
    if (!made) return tl::unexpected(made.error());
    bench->tables_ = std::make_unique<tables::Tables>(std::move(*made));
    auto grace = tables::make_grace(*bench->tables_);
    if (!grace) return tl::unexpected(grace.error());
    bench->grace_ = std::move(*grace);
    auto writer = tables::TableWriter::create(*bench->tables_, *bench->grace_);
    if (!writer) return tl::unexpected(writer.error());
    bench->writer_.emplace(std::move(*writer));
    if (auto filled = bench->fill(); !filled) return tl::unexpected(filled.error());
    return bench;
}

BenchTables::~BenchTables() {
    writer_.reset();
    tables_.reset();
    static_cast<void>(tables::Tables::remove_pinned(folder_));
}

Result<void> BenchTables::fill() {
    auto& w = *writer_;
    if (auto r = w.set_hash_key({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}); !r) return r;
    if (auto r = w.set_encap4(IpPrefix{address("192.0.2.250"), 32}); !r) return r;
    if (auto r = w.set_encap6(IpPrefix{address("2001:db8::fa"), 128}); !r) return r;
    if (auto r = w.set_answer_rate(10'000); !r) return r;
    if (auto r = w.set_role(0, UINT64_MAX); !r) return r;
    auto hop = w.allocate_nexthop();
    if (!hop) return tl::unexpected(hop.error());
    nexthop_ = *hop;
    if (auto r = set_path(1, *MacAddress::parse(kOwnMac), *MacAddress::parse(kGatewayMac)); !r) return r;
    const auto wanted = desired();
    auto applied = w.apply(wanted, fill_slots);
    if (!applied) return tl::unexpected(applied.error());
    for (const auto& pool : wanted.pools) {
        const auto id = w.find_pool(pool.name).value();
        for (const auto& backend : pool.backends)
            if (auto r = w.set_backend_state(id, *w.find_backend(id, backend.name), FL_BACKEND_HEALTHY, 1500, nexthop_);
                !r)
                return r;
    }
    return {};
}

// Of each slot of the moving service: the backend that comes `by` after its Maglev owner, and the one before it.
void BenchTables::move(std::uint16_t by, std::uint16_t previous_by) {
    const auto pool = writer_->find_pool("moving").value();
    const auto base = FL_SLOTS_BASE(tables_->pools()[pool].slots);
    std::vector<std::uint16_t> owners(kSlots);
    fill_slots(*writer_, pool, owners);
    for (std::uint32_t i = 0; i < kSlots; ++i) {
        auto& word = tables_->slots()[(base + i) / FL_SLOTS_PER_LINE].words[(base + i) % FL_SLOTS_PER_LINE];
        const auto after = [&](std::uint16_t steps) { return (owners[i] + steps) % kBackends; };
        tables::store_word(word, FL_SLOT_WORD(after(by), after(previous_by), 1, 0));
    }
}

void BenchTables::pin(std::span<const std::vector<std::uint8_t>> syn_and_data, std::uint32_t flows,
                      void (*set_flow)(std::vector<std::uint8_t>& frame, std::uint32_t flow)) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    auto engine = tables_->engine();
    engine.ingress_port = 1;
    engine.now_ns = engine.now_coarse_ns =
        static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
    move(0, 1);
    for (auto frame : syn_and_data) {
        for (std::uint32_t flow = 0; flow < flows; ++flow) {
            set_flow(frame, flow);
            const fl_packet packet{frame.data(), frame.data() + frame.size()};
            fl_decision decision;
            fl_decide(&engine, &packet, &decision);
        }
    }
    move(2, 1);
    pins_.assign(tables_->pins().begin(), tables_->pins().end());
}

void BenchTables::restore_pins() { std::copy(pins_.begin(), pins_.end(), tables_->pins().begin()); }

void BenchTables::remove_pins() { std::fill(tables_->pins().begin(), tables_->pins().end(), fl_pin_bucket{}); }

std::uint64_t BenchTables::packets_of(const std::string& pool) const {
    const tables::CounterReader reader(*tables_);
    const auto id = writer_->find_pool(pool).value();
    std::uint64_t packets = 0;
    for (std::uint32_t i = 0; i < kBackends; ++i)
        packets +=
            reader.backend(writer_->global_index(id, *writer_->find_backend(id, "b" + std::to_string(i)))).packets;
    return packets;
}

Result<void> BenchTables::set_path(std::uint32_t ifindex, const MacAddress& own, const MacAddress& gateway) {
    if (auto r = writer_->set_port(1, {"bench", ifindex, own, 1500, 0, FL_ENGINE_XDP_NATIVE}); !r) return r;
    return writer_->set_nexthop(nexthop_, gateway, 1);
}

}  // namespace fairlead::bench
