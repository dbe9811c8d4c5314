// SPDX-License-Identifier: Apache-2.0
// Where a test's frames are steered: the core in plain memory, the same core as an XDP program in the kernel, or in a
// poll-mode worker of DPDK. The tests in tests/unit/dataplane/core are linked with the first and, as suite 'bpf', with the
// second; tests/differential holds all three against each other.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/core/decision.h"
#include "dataplane/tables/memory_access.h"
#include "dataplane/tables/tables.h"

namespace fairlead::test {

struct Steered {
    fl_verdict verdict{};
    std::uint32_t port = 0;  // where to transmit, if that is the verdict
    std::vector<std::uint8_t> bytes;
    // From plain memory alone, and not where frames are only unwrapped.
    std::optional<fl_decision> decision = {};
    bool exception = false;  // lb-dpdk can do better on purpose
};

class SteerEngine {
  public:
    virtual ~SteerEngine() = default;

    virtual const char* name() const = 0;
    // "" or why this engine cannot be used here, for GTEST_SKIP.
    virtual std::string missing() const = 0;
    // The tables that it steers by from now on. Those that it made before are gone, or it was told to leave() them.
    virtual tables::Tables make_tables(const fl_limits& limits) = 0;
    virtual void leave() {}
    // A frame that came in by port 1; `unwrap_only`: to fl_decap. In plain memory alone `now_ns` is looked at.
    virtual Steered run(tables::Tables& tables, const std::vector<std::uint8_t>& frame, bool unwrap_only,
                        std::uint64_t now_ns) = 0;
    // Frames that came in together, no more than kMostAtOnce.
    virtual std::vector<Steered> run_burst(tables::Tables& tables, std::span<const std::vector<std::uint8_t>> frames,
                                           bool unwrap_only, std::uint64_t now_ns) {
        std::vector<Steered> all;
        for (const auto& frame : frames) all.push_back(run(tables, frame, unwrap_only, now_ns));
        return all;
    }
    static constexpr std::size_t kMostAtOnce = 32;

    // Whether it does better than plain memory, on purpose, with exceptions.
    virtual bool finishes_exceptions() const { return false; }
    // Whether frames arrive without room in front of them.
    void set_cramped(bool cramped) { cramped_ = cramped; }

  protected:
    bool cramped_ = false;
};

std::unique_ptr<SteerEngine> make_memory_engine();
std::unique_ptr<SteerEngine> make_kernel_engine();
std::unique_ptr<SteerEngine> make_dpdk_engine();  // within the life of an Eal (ring_port.h)

inline std::unique_ptr<SteerEngine> make_steer_engine() {
#ifdef FAIRLEAD_KERNEL_ENGINE
    return make_kernel_engine();
#else
    return make_memory_engine();
#endif
}

}  // namespace fairlead::test
