// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/live.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "dataplane/core/wire.h"
#include "driver.skel.h"
#include "tests/bench/bench_packets.h"
#include "tests/bench/driver.h"
#include "tests/bench/live_frames.h"
#include "xdp/program.h"

namespace fairlead::bench {
namespace {
constexpr std::uint32_t kVerified = 2'000'000;  // frames, so that chance alone moves no backend's share by 5 %

// Two nameless network namespaces, which end with this process, and g0 <-> d0 between them.
class VethPair {
  public:
    static Result<VethPair> create() {
        VethPair pair;
        if (unshare(CLONE_NEWNET)) return fail_errno("unshare", errno);
        silence();
        pair.program_ns_ = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (unshare(CLONE_NEWNET)) return fail_errno("unshare", errno);
        silence();
        pair.generator_ns_ = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        const auto other = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(pair.program_ns_);
        const auto commands = "ip link add g0 type veth peer name d0 && ip link set d0 netns " + other +
                              " && ip link set lo up && ip link set g0 up && nsenter --net=" + other +
                              " ip link set d0 up";
        if (std::system(commands.c_str()) != 0) return fail("cannot make a veth pair");
        if (auto r = pair.describe("g0", pair.generator_index, pair.generator_mac); !r)
            return tl::unexpected(r.error());
        pair.enter_program();
        if (auto r = pair.describe("d0", pair.program_index, pair.program_mac); !r) return tl::unexpected(r.error());
        return pair;
    }

    void enter_program() const { setns(program_ns_, CLONE_NEWNET); }
    void enter_generator() const { setns(generator_ns_, CLONE_NEWNET); }

    std::uint32_t generator_index = 0, program_index = 0;
    MacAddress generator_mac, program_mac;

  private:
    // Without IPv6 the kernel sends nothing of its own, so that what arrives is what was generated.
    static void silence() {
        const int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
        if (fd < 0) return;
        if (write(fd, "1", 1) != 1) perror("disable_ipv6");
        close(fd);
    }

    Result<void> describe(const char* name, std::uint32_t& index, MacAddress& mac) {
        index = if_nametoindex(name);
        ifreq request{};
        std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
        const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        const int failed = ioctl(fd, SIOCGIFHWADDR, &request);
        close(fd);
        if (failed || index == 0) return fail_errno(name, errno);
        std::memcpy(mac.bytes.data(), request.ifr_hwaddr.sa_data, 6);
        return {};
    }

    int program_ns_ = -1, generator_ns_ = -1;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

class Live {
  public:
    Live(BenchTables& tables, fl_driver* driver, const VethPair& pair)
        : tables_(tables), driver_(driver), pair_(pair) {}

    Result<void> prepare() {
        if (auto r = tables_.set_path(pair_.program_index, pair_.program_mac, pair_.generator_mac); !r) return r;
        auto steer = xdp::Program::load(tables_.tables(), xdp::ProgramKind::kSteer, 1);
        if (!steer) return tl::unexpected(steer.error());
        steer_.emplace(std::move(*steer));
        make_header();
        pair_.enter_program();
        program_link_ = attach(bpf_program__fd(driver_->progs.swap), pair_.program_index);
        pair_.enter_generator();
        sink_link_ = attach(bpf_program__fd(driver_->progs.sink), pair_.generator_index);
        if (program_link_ < 0 || sink_link_ < 0) return fail("native XDP does not attach to veth here");
        return {};
    }

    ~Live() {
        if (program_link_ >= 0) close(program_link_);
        if (sink_link_ >= 0) close(sink_link_);
    }

    enum class Program { kSwap, kSteer };

    // Nanoseconds a packet, of generator, program and sink together.
    Result<double> run(Program program, std::uint32_t flow_mask, std::uint32_t frames) {
        const int fd = program == Program::kSwap ? bpf_program__fd(driver_->progs.swap) : steer_->fd();
        if (bpf_link_update(program_link_, fd, nullptr)) return fail_errno("replace the program", errno);
        return send(flow_mask, frames);
    }

    Result<void> verify(std::uint32_t flow_mask, double& worst_share) {
        if (bpf_link_update(program_link_, steer_->fd(), nullptr) ||
            bpf_link_update(sink_link_, bpf_program__fd(driver_->progs.verify_ipip4), nullptr))
            return fail_errno("replace the program", errno);
        auto sent = send(flow_mask, kVerified);
        bpf_link_update(sink_link_, bpf_program__fd(driver_->progs.sink), nullptr);
        if (!sent) return tl::unexpected(sent.error());
        const auto seen = sink();
        if (seen.faults)
            return fail("verification: " + std::to_string(seen.faults) + " of " + std::to_string(seen.packets) +
                        " frames are wrong");
        for (std::uint32_t i = 1; i <= kBackends && flow_mask; ++i) {
            const double share =
                static_cast<double>(seen.by_backend[i]) * kBackends / static_cast<double>(seen.packets);
            worst_share = std::max(worst_share, std::abs(share - 1));
        }
        if (worst_share > 0.05)
            return fail("verification: a backend's share is " + std::to_string(worst_share) + " off");
        return {};
    }

  private:
    static int attach(int program, std::uint32_t ifindex) {
        bpf_link_create_opts options{};
        options.sz = sizeof(options);
        options.flags = XDP_FLAGS_DRV_MODE;
        return bpf_link_create(program, static_cast<int>(ifindex), BPF_XDP, &options);
    }

    void make_header() {
        auto* eth = reinterpret_cast<fl_eth*>(config_.header);
        auto* ip = reinterpret_cast<fl_ipv4*>(eth + 1);
        auto* tcp = reinterpret_cast<fl_tcp*>(ip + 1);
        fl_mac_store(eth->destination, fl_mac_word(pair_.program_mac.bytes.data()));
        fl_mac_store(eth->source, fl_mac_word(pair_.generator_mac.bytes.data()));
        eth->type = fl_htons(FL_ETHERTYPE_IPV4);
        ip->version_ihl = 0x45;
        ip->length = fl_htons(40);
        ip->fragment = fl_htons(FL_IPV4_DF);
        ip->ttl = 64;
        ip->protocol = FL_PROTO_TCP;
        ip->source = fl_htonl(0x0a000000);
        std::memcpy(&ip->destination, IpAddress::parse(kVipIpip4)->family_bytes().data(), 4);
        config_.header_sum = header_sum(std::span(config_.header).subspan(sizeof(fl_eth)));
        tcp->source = fl_htons(40'000);
        tcp->destination = fl_htons(kPort);
        tcp->offset = 5 << 4;
        config_.length = 60;
    }

    sink_counts sink() const {
        sink_counts counts{};
        const std::uint32_t zero = 0;
        bpf_map_lookup_elem(bpf_map__fd(driver_->maps.bench_sink), &zero, &counts);
        return counts;
    }

    Result<double> send(std::uint32_t flow_mask, std::uint32_t frames) {
        const std::uint32_t zero = 0;
        const sink_counts none{};
        config_.flow_mask = flow_mask;
        bpf_map_update_elem(bpf_map__fd(driver_->maps.bench_config), &zero, &config_, BPF_ANY);
        bpf_map_update_elem(bpf_map__fd(driver_->maps.bench_sink), &zero, &none, BPF_ANY);
        const auto start = std::chrono::steady_clock::now();
        const int program = bpf_program__fd(driver_->progs.generate4);
        if (const int error = send_live_frames(program, pair_.generator_index, frames); error)
            return fail_errno("live frames", -error);
        const auto deadline = start + std::chrono::seconds(30);
        while (sink().packets < frames && std::chrono::steady_clock::now() < deadline) usleep(100);
        const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
        const auto arrived = sink().packets;
        if (arrived != frames)
            return fail("live frames: " + std::to_string(arrived) + " of " + std::to_string(frames) + " arrived");
        return took.count() / frames;
    }

    BenchTables& tables_;
    fl_driver* driver_;
    const VethPair& pair_;
    std::optional<xdp::Program> steer_;
    bench_config config_{};
    int program_link_ = -1, sink_link_ = -1;
};
}  // namespace

Result<nlohmann::ordered_json> measure_live(BenchTables& tables, fl_driver* driver, int rounds, std::uint32_t frames) {
    constexpr std::uint32_t kMillion = (1U << 20) - 1;
    auto pair = VethPair::create();
    if (!pair) return tl::unexpected(pair.error());
    Live live(tables, driver, *pair);
    if (auto ready = live.prepare(); !ready) return tl::unexpected(ready.error());
    double worst_share = 0;
    for (const auto mask : {0U, kMillion})
        if (auto good = live.verify(mask, worst_share); !good) return tl::unexpected(good.error());

    std::vector<double> swap, one, million;
    for (int i = 0; i < rounds; ++i) {
        const auto take = [&](std::vector<double>& samples, Live::Program program, std::uint32_t mask) -> Result<void> {
            auto ns = live.run(program, mask, frames);
            if (!ns) return tl::unexpected(ns.error());
            samples.push_back(*ns);
            return {};
        };
        if (auto r = take(swap, Live::Program::kSwap, 0); !r) return tl::unexpected(r.error());
        if (auto r = take(one, Live::Program::kSteer, 0); !r) return tl::unexpected(r.error());
        if (auto r = take(million, Live::Program::kSteer, kMillion); !r) return tl::unexpected(r.error());
    }
    nlohmann::ordered_json result;
    result["live_swap_ns"] = median(swap);
    result["live_1flow_ns"] = median(one);
    result["live_1mflows_ns"] = median(million);
    result["live_ratio_1flow"] = median(swap) / median(one);
    result["live_ratio_1mflows"] = median(swap) / median(million);
    result["live_worst_share"] = worst_share;
    result["live_samples"] = {{"swap", swap}, {"1flow", one}, {"1mflows", million}};
    return result;
}

}  // namespace fairlead::bench
