// SPDX-License-Identifier: Apache-2.0
// Live frames out of a veth, made in the kernel, for a balancer at its other end; what that sends back is counted and
// dropped. To be run in the namespace of the veth, whose XDP program it replaces for as long as it runs. Prints one JSON
// object: how many of the frames were to be forwarded, how many came back, and how long that took.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>

#include "dataplane/core/checksum.h"
#include "dataplane/tables/address.h"
#include "driver.skel.h"
#include "tests/bench/bench_packets.h"
#include "tests/bench/driver.h"
#include "tests/bench/live_frames.h"

namespace fairlead::bench {
namespace {

constexpr std::uint32_t kFlows = 1U << 20;
constexpr auto kPatience = std::chrono::seconds(2);  // without a frame that comes back

struct Options {
    std::string interface, source, destination, vip;
    std::uint32_t frames = 1'000'000, exceptions_every = 0;
};

// Puts the program that was there back.
class Attached {
  public:
    Attached(std::uint32_t ifindex, int program) : ifindex_(static_cast<int>(ifindex)) {
        std::uint32_t before = 0;
        bpf_xdp_query_id(ifindex_, XDP_FLAGS_DRV_MODE, &before);
        if (before) before_ = bpf_prog_get_fd_by_id(before);
        failed = bpf_xdp_attach(ifindex_, program, XDP_FLAGS_DRV_MODE, nullptr);
    }
    ~Attached() {
        if (!failed) bpf_xdp_attach(ifindex_, before_, XDP_FLAGS_DRV_MODE, nullptr);
        if (before_ >= 0) close(before_);
    }
    Attached(const Attached&) = delete;
    Attached& operator=(const Attached&) = delete;
    int failed = 0;

  private:
    int ifindex_, before_ = -1;
};

bench_config make_config(const Options& options) {
    Frame frame = packet4(options.vip.c_str());
    std::memcpy(&frame[0], MacAddress::parse(options.destination).value().bytes.data(), 6);
    std::memcpy(&frame[6], MacAddress::parse(options.source).value().bytes.data(), 6);
    bench_config config{};
    config.length = 60;
    config.flow_mask = kFlows - 1;
    config.exceptions_every = options.exceptions_every;
    std::memcpy(config.header, frame.data(), sizeof(config.header));
    config.header_sum = header_sum(std::span(frame).subspan(sizeof(fl_eth)));
    return config;
}

std::uint64_t sunk(fl_driver* driver) {
    sink_counts counts{};
    const std::uint32_t zero = 0;
    bpf_map_lookup_elem(bpf_map__fd(driver->maps.bench_sink), &zero, &counts);
    return counts.packets;
}

int run(const Options& options) {
    const std::uint32_t ifindex = if_nametoindex(options.interface.c_str());
    auto* driver = fl_driver__open_and_load();
    if (!ifindex || !driver) return std::cerr << "no such interface, or no permission\n", 1;
    const Attached sink(ifindex, bpf_program__fd(driver->progs.sink));
    if (sink.failed) return std::cerr << "native XDP does not attach here\n", 1;
    const auto config = make_config(options);
    const std::uint32_t zero = 0;
    bpf_map_update_elem(bpf_map__fd(driver->maps.bench_config), &zero, &config, BPF_ANY);

    const std::uint64_t wanted =
        options.frames - (options.exceptions_every ? options.frames / options.exceptions_every : 0);
    const auto start = std::chrono::steady_clock::now();
    if (const int error = send_live_frames(bpf_program__fd(driver->progs.generate4_mixed), ifindex, options.frames))
        return std::cerr << "live frames: " << std::strerror(-error) << '\n', 1;
    auto last = std::chrono::steady_clock::now();
    std::uint64_t seen = sunk(driver);
    for (auto now = last; seen < wanted && now - last < kPatience; now = std::chrono::steady_clock::now()) {
        usleep(100);
        if (const auto count = sunk(driver); count != seen) {
            seen = count;
            last = now;
        }
    }
    const std::chrono::duration<double> took = last - start;
    fl_driver__destroy(driver);
    std::cout << nlohmann::json{{"wanted", wanted}, {"seen", seen}, {"seconds", took.count()}} << '\n';
    return 0;
}

}  // namespace
}  // namespace fairlead::bench

int main(int argc, char** argv) {
    CLI::App app{"live frames for a balancer at the other end of a veth"};
    fairlead::bench::Options options;
    app.add_option("--interface", options.interface)->required();
    app.add_option("--source", options.source, "MAC address")->required();
    app.add_option("--destination", options.destination, "MAC address")->required();
    app.add_option("--vip", options.vip, "to its port 80")->required();
    app.add_option("--frames", options.frames)->check(CLI::Range(1'000U, 100'000'000U));
    app.add_option("--exceptions-every", options.exceptions_every, "one in so many is a fragment without its first");
    CLI11_PARSE(app, argc, argv);
    return fairlead::bench::run(options);
}
