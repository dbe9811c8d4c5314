// SPDX-License-Identifier: Apache-2.0
// The XDP programs behind tests/support/steer_engine.h.
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "tests/support/steer_engine.h"
#include "xdp/program.h"

namespace fairlead::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kIngress = 1;
constexpr std::uint32_t kRedirected = 2;  // the one port beside it

// What cannot work ends the process: a test cannot go on without its engine.
template <typename T>
T must(Result<T> result) {
    if (result) return std::move(*result);
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::abort();
}

class KernelEngine : public SteerEngine {
  public:
    ~KernelEngine() override { leave(); }

    const char* name() const override { return "kernel"; }

    std::string missing() const override { return ::geteuid() == 0 ? "" : "needs root: it loads XDP programs"; }

    tables::Tables make_tables(const fl_limits& limits) override {
        leave();
        folder_ = "/sys/fs/bpf/fairlead-vectors-" + std::to_string(::getpid());
        return must(tables::Tables::create_pinned(folder_, limits));
    }

    void leave() override {
        steer_.reset();
        decap_.reset();
        if (!folder_.empty()) static_cast<void>(tables::Tables::remove_pinned(folder_));
    }

    Steered run(tables::Tables& tables, const std::vector<std::uint8_t>& frame, bool unwrap_only,
                std::uint64_t) override {
        auto& program = unwrap_only ? decap_ : steer_;
        const auto kind = unwrap_only ? xdp::ProgramKind::kDecap : xdp::ProgramKind::kSteer;
        if (!devices_) devices_ = make_devices();
        if (!program) program.emplace(must(xdp::Program::load(tables, kind, kIngress, {.devices = devices_.get()})));
        xdp::TestRun ran = cramped_ ? run_cramped(program->fd(), frame) : must(xdp::test_run(program->fd(), frame));
        Steered out;
        out.bytes = std::move(ran.frame);
        switch (ran.verdict) {
            case XDP_PASS:
                out.verdict = FL_VERDICT_PASS;
                break;
            case XDP_DROP:
                out.verdict = FL_VERDICT_DROP;
                break;
            case XDP_TX:
                out.verdict = FL_VERDICT_TRANSMIT;
                out.port = kIngress;
                break;
            case XDP_REDIRECT:
                out.verdict = FL_VERDICT_TRANSMIT;
                out.port = kRedirected;
                break;
            default:
                std::fprintf(stderr, "verdict %u\n", ran.verdict);
                std::abort();
        }
        return out;
    }

  private:
    // Metadata in front of the frame takes all of the 256 bytes but what the kernel keeps to itself.
    static xdp::TestRun run_cramped(int program, const std::vector<std::uint8_t>& frame) {
        constexpr std::uint32_t kMetadata = 256 - 40;  // XDP_PACKET_HEADROOM, struct xdp_frame
        std::vector<std::uint8_t> in(kMetadata + frame.size());
        std::copy(frame.begin(), frame.end(), in.begin() + kMetadata);
        xdp::TestRun ran;
        ran.frame.resize(in.size() + 256);
        xdp_md context{};
        context.data = kMetadata;
        context.data_end = static_cast<std::uint32_t>(in.size());
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = in.data();
        options.data_size_in = static_cast<std::uint32_t>(in.size());
        options.data_out = ran.frame.data();
        options.data_size_out = static_cast<std::uint32_t>(ran.frame.size());
        options.ctx_in = &context;
        options.ctx_size_in = sizeof(context);
        options.repeat = 1;
        if (const int error = bpf_prog_test_run_opts(program, &options)) {
            std::fprintf(stderr, "run a program on a frame with metadata: %d\n", error);
            std::abort();
        }
        ran.verdict = options.retval;
        ran.frame.assign(ran.frame.begin() + kMetadata, ran.frame.begin() + options.data_size_out);
        return ran;
    }

    static UniqueFd make_devices() {
        UniqueFd map(bpf_map_create(BPF_MAP_TYPE_DEVMAP, "devices", 4, 4, 64, nullptr));
        const std::uint32_t loopback = 1;
        if (bpf_map_update_elem(map.get(), &kRedirected, &loopback, BPF_ANY)) std::abort();
        return map;
    }

    fs::path folder_;
    UniqueFd devices_;
    std::optional<xdp::Program> steer_;
    std::optional<xdp::Program> decap_;
};

}  // namespace

std::unique_ptr<SteerEngine> make_kernel_engine() { return std::make_unique<KernelEngine>(); }

}  // namespace fairlead::test
