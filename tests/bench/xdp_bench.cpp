// SPDX-License-Identifier: Apache-2.0
// What the steering program costs a packet, beside floors measured through the same driver in the same run:
// interleaved rounds on one core, medians, output bytes and counters checked after every round. Prints one JSON object.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sched.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "ctl/plan/maglev.h"
#include "dataplane/tables/counters.h"
#include "driver.skel.h"
#include "tests/bench/bench_packets.h"
#include "tests/bench/bench_tables.h"
#include "tests/bench/driver.h"
#include "tests/bench/live.h"
#include "xdp/program.h"

namespace fairlead::bench {
namespace {
constexpr std::uint32_t kOneFlow = 0, kMillionFlows = (1U << 20) - 1, kNewFlows = ~0U;  // masks

// A case of the measurement: a program behind the driver, a packet, what must come out.
struct Case {
    std::string name;
    int driver = -1;
    int target = -1;  // tail-called; -1 = the driver alone
    Frame frame;
    std::uint32_t flow_mask = kOneFlow;
    std::uint32_t verdict = XDP_TX;
    std::size_t grown = 0;        // bytes that the frame must have grown by
    std::string counter_pool;     // the backends of this pool must have counted every repeat
    bool counts_not_vip = false;  // the reason must have
    std::vector<double> samples;
    bool makes_pins = false;  // one in each repeat; the others make none
};

struct Expectation {
    std::uint64_t pool = 0, not_vip = 0, pins_made = 0, to_previous = 0;
};

// The CPU time of this thread, in which BPF_PROG_TEST_RUN runs: what others take of the core meanwhile does not count.
double thread_ns() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

class Bench {
  public:
    Bench(BenchTables& tables, fl_driver* driver, std::uint32_t repeat)
        : tables_(tables), driver_(driver), repeat_(repeat) {}

    Result<void> run(Case& c) {
        if (auto set = configure(c); !set) return set;
        if (c.makes_pins) tables_.remove_pins();
        const auto before = count(c);
        Frame out(c.frame.size() + 256);
        bpf_test_run_opts options{};
        options.sz = sizeof(options);
        options.data_in = c.frame.data();
        options.data_size_in = static_cast<__u32>(c.frame.size());
        options.data_out = out.data();
        options.data_size_out = static_cast<__u32>(out.size());
        options.repeat = static_cast<int>(repeat_);
        const double start = thread_ns();
        if (const int error = bpf_prog_test_run_opts(c.driver, &options); error)
            return fail_errno("test run of " + c.name, -error);
        const double took = thread_ns() - start;
        c.samples.push_back(took / repeat_);
        out.resize(options.data_size_out);
        if (c.makes_pins) tables_.restore_pins();
        return check(c, options.retval, out, before);
    }

  private:
    Result<void> configure(const Case& c) {
        bench_config config{};
        config.length = static_cast<std::uint32_t>(c.frame.size());
        config.flow_mask = c.flow_mask;
        std::memcpy(config.header, c.frame.data(), sizeof(config.header));
        const std::uint32_t zero = 0;
        if (bpf_map_update_elem(bpf_map__fd(driver_->maps.bench_config), &zero, &config, BPF_ANY))
            return fail_errno("bench_config", errno);
        if (c.target >= 0 && bpf_map_update_elem(bpf_map__fd(driver_->maps.bench_target), &zero, &c.target, BPF_ANY))
            return fail_errno("bench_target", errno);
        return {};
    }

    Expectation count(const Case& c) const {
        const tables::CounterReader reader(tables_.tables());
        Expectation result;
        result.not_vip = reader.reason(FL_REASON_NOT_VIP).packets;
        result.pins_made = reader.raw(FL_EVENT_PIN_INSERTED).packets;
        result.to_previous = reader.raw(FL_EVENT_PREVIOUS).packets;
        if (c.counter_pool.empty()) return result;
        result.pool = tables_.packets_of(c.counter_pool);
        return result;
    }

    // The last repeat's frame, and as many counted as were run.
    Result<void> check(const Case& c, std::uint32_t verdict, const Frame& out, const Expectation& before) const {
        if (verdict != c.verdict) return fail(c.name + ": verdict " + std::to_string(verdict));
        if (out.size() != c.frame.size() + c.grown)
            return fail(c.name + ": " + std::to_string(out.size()) + " bytes came out");
        const auto after = count(c);
        if (!c.counter_pool.empty() && after.pool - before.pool != repeat_)
            return fail(c.name + ": backends counted " + std::to_string(after.pool - before.pool) + " of " +
                        std::to_string(repeat_));
        if (after.pins_made - before.pins_made != (c.makes_pins ? repeat_ : 0) ||
            after.to_previous != before.to_previous)
            return fail(c.name + ": " + std::to_string(after.pins_made - before.pins_made) + " pins were made, " +
                        std::to_string(after.to_previous - before.to_previous) + " packets had none");
        if (c.counts_not_vip && after.not_vip - before.not_vip != repeat_)
            return fail(c.name + ": not_vip was not counted");
        if (c.counter_pool.empty()) return {};
        const auto fault = fault_of(c.frame, out, c.grown);
        return fault.empty() ? Result<void>{} : fail(c.name + ": " + fault);
    }

    BenchTables& tables_;
    fl_driver* driver_;
    std::uint32_t repeat_;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// The middle half of the samples, as a share of the median.
double spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return (values[values.size() * 3 / 4] - values[values.size() / 4]) / values[values.size() / 2];
}

std::vector<Case> cases(fl_driver* d, int steer) {
    const int drive4 = bpf_program__fd(d->progs.drive4), drive6 = bpf_program__fd(d->progs.drive6);
    return {
        // The kernel's own loop around a program that returns at once: what no program can be below.
        {"loop_ns",
         bpf_program__fd(d->progs.floor_pass),
         -1,
         packet4("198.51.100.200"),
         kOneFlow,
         XDP_PASS,
         0,
         "",
         false,
         {}},
        {"driver_ns",
         bpf_program__fd(d->progs.drive_alone),
         -1,
         packet4("198.51.100.200"),
         kOneFlow,
         XDP_PASS,
         0,
         "",
         false,
         {}},
        {"floor_pass_ns",
         drive4,
         bpf_program__fd(d->progs.floor_pass),
         packet4("198.51.100.200"),
         kOneFlow,
         XDP_PASS,
         0,
         "",
         false,
         {}},
        {"floor_encap_ns",
         drive4,
         bpf_program__fd(d->progs.floor_encap),
         packet4(kVipIpip4),
         kOneFlow,
         XDP_TX,
         20,
         "",
         false,
         {}},
        {"not_vip_ns", drive4, steer, packet4("198.51.100.200"), kOneFlow, XDP_PASS, 0, "", true, {}},
        {"steady_ipip4_1flow_ns", drive4, steer, packet4(kVipIpip4), kOneFlow, XDP_TX, 20, "ipip4", false, {}},
        {"steady_ipip4_1mflows_ns", drive4, steer, packet4(kVipIpip4), kMillionFlows, XDP_TX, 20, "ipip4", false, {}},
        {"steady_ipip6_1flow_ns", drive6, steer, packet6(kVipIpip6), kOneFlow, XDP_TX, 40, "ipip6", false, {}},
        {"steady_l2dsr_1flow_ns", drive4, steer, packet4(kVipL2dsr), kOneFlow, XDP_TX, 0, "l2dsr", false, {}},
        {"pinned_hit_1flow_ns", drive4, steer, packet4(kVipMoving), kOneFlow, XDP_TX, 20, "moving", false, {}},
        {"pinned_hit_1mflows_ns", drive4, steer, packet4(kVipMoving), kMillionFlows, XDP_TX, 20, "moving", false, {}},
        {"syn_insert_ns", drive4, steer, syn4(kVipMoving), kNewFlows, XDP_TX, 20, "moving", false, {}, true},
        {"syn_flood_settled_ns", drive4, steer, syn4(kVipIpip4), kMillionFlows, XDP_TX, 20, "ipip4", false, {}},
    };
}

int run(int rounds, std::uint32_t repeat, std::uint32_t live_frames) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof(one), &one);
    auto tables = BenchTables::create();
    if (!tables) return std::cerr << tables.error().message << '\n', 1;
    auto program = xdp::Program::load((*tables)->tables(), xdp::ProgramKind::kSteer, 1);
    if (!program) return std::cerr << program.error().message << '\n', 1;
    auto* driver = fl_driver__open_and_load();
    if (!driver) return std::cerr << "the driver does not load\n", 1;

    const std::array moving{syn4(kVipMoving), packet4(kVipMoving)};
    (*tables)->pin(moving, kMillionFlows + 1, set_flow);

    nlohmann::ordered_json result;
    auto all = cases(driver, program->fd());
    Bench bench(**tables, driver, repeat);
    for (int round = 0; round < rounds; ++round)
        for (auto& c : all)
            if (auto done = bench.run(c); !done) return std::cerr << done.error().message << '\n', 1;
    std::map<std::string, double> ns;
    for (const auto& c : all) {
        result[c.name] = ns[c.name] = median(c.samples);
        result["spread"][c.name] = spread(c.samples);
        result["samples"][c.name] = c.samples;
    }
    result["ipip4_over_floor"] = ns["steady_ipip4_1flow_ns"] / ns["floor_encap_ns"];
    result["1mflows_over_1flow"] = ns["steady_ipip4_1mflows_ns"] / ns["steady_ipip4_1flow_ns"];
    result["not_vip_over_floor"] = ns["not_vip_ns"] / ns["floor_pass_ns"];
    result["bytes_per_pin"] =
        static_cast<double>((*tables)->tables().pins().size_bytes()) / (*tables)->tables().limits().pins;
    result["verified_insns"] = program->info().verified_insns;
    result["xlated_bytes"] = program->info().xlated_bytes;
    if (live_frames) {
        auto measured = measure_live(**tables, driver, rounds, live_frames);
        if (!measured) return std::cerr << measured.error().message << '\n', 1;
        result.update(*measured);
    }
    fl_driver__destroy(driver);
    std::cout << result.dump(2) << '\n';
    return 0;
}
}  // namespace
}  // namespace fairlead::bench

int main(int argc, char** argv) {
    CLI::App app{"cost of the XDP program a packet"};
    int rounds = 15;
    std::uint32_t repeat = 1'000'000, live_frames = 2'000'000;
    bool live = false;
    app.add_option("--rounds", rounds)->check(CLI::Range(3, 1000));
    app.add_option("--repeat", repeat)->check(CLI::Range(1000, 100'000'000));
    app.add_flag("--live", live, "real frames over veth as well");
    app.add_option("--live-frames", live_frames, "of a live run")->check(CLI::Range(1000, 100'000'000));
    CLI11_PARSE(app, argc, argv);
    return fairlead::bench::run(rounds, repeat, live ? live_frames : 0);
}
