// SPDX-License-Identifier: Apache-2.0
// Frames that a BPF program makes and that leave by an interface as real ones do (BPF_F_TEST_XDP_LIVE_FRAMES).
#pragma once

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <array>
#include <cstdint>

namespace fairlead::bench {

// Runs the program for so many frames, as if they came in by the interface; 0, or a negative errno.
inline int send_live_frames(int program, std::uint32_t ifindex, std::uint32_t frames) {
    constexpr std::uint32_t kBatch = 64;
    std::array<std::uint8_t, 60> frame{};
    xdp_md context{};
    context.data_end = static_cast<__u32>(frame.size());
    context.ingress_ifindex = ifindex;
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = frame.size();
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
    options.batch_size = kBatch;
    options.repeat = static_cast<int>(frames);
    return bpf_prog_test_run_opts(program, &options);
}

}  // namespace fairlead::bench
