// SPDX-License-Identifier: Apache-2.0
// The XDP programs as loaded objects: verified by the kernel over a set of tables, not attached to anything yet.
// Loading needs CAP_BPF and CAP_NET_ADMIN, and CAP_PERFMON for the program to be as fast as it can be (DESIGN section
// 10). A Program belongs to one thread; the kernel keeps the program as long as it is attached or pinned somewhere.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dataplane/tables/result.h"
#include "dataplane/tables/tables.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::xdp {

enum class ProgramKind {
    kSteer,  // a balancer's
    kDecap,  // a front-end node's
};

// How frames of several buffers (an MTU beyond what one holds) come to the program.
enum class Frames {
    kLinear,  // not at all: the driver refuses such an MTU, or the network stack copies them into one piece
    kWhole,   // as they are (BPF_F_XDP_HAS_FRAGS; Linux 5.18)
};

struct ProgramInfo {
    std::uint32_t id = 0;
    std::string name;
    std::uint32_t verified_insns = 0;  // instructions that the verifier walked; 0 if the kernel does not say
    std::uint32_t xlated_bytes = 0;    // of the program as the verifier left it
    std::uint32_t jited_bytes = 0;     // of machine code; 0 = it is interpreted
    std::uint64_t loaded_ns = 0;       // CLOCK_BOOTTIME
};

Result<ProgramInfo> program_info(int program_fd);
Result<ProgramInfo> program_info_by_id(std::uint32_t id);

// Who steers what comes in.
enum class Steering {
    kHere,   // the program; lb-dpdk gets the exceptions, where it listens
    kByDpdk  // lb-dpdk; the program where lb-dpdk does not listen
};

struct ProgramOptions {
    int devices = -1;     // DEVMAP to transmit through; -1: an empty one of the program's own
    int exceptions = -1;  // XSKMAP, receive queue -> socket of lb-dpdk; -1: nobody listens
    Frames frames = Frames::kLinear;
    Steering steering = Steering::kHere;
};

class Program {
  public:
    // Verifies the program over pinned tables, for the interface with number `port` (dataplane/core/layout.h,
    // "ports"). The error holds the end of the verifier's log.
    static Result<Program> load(const tables::Tables& tables, ProgramKind kind, std::uint32_t port,
                                const ProgramOptions& options = {});

    int fd() const { return fd_.get(); }
    const ProgramInfo& info() const { return info_; }

  private:
    Program(UniqueFd fd, ProgramInfo info) : fd_(std::move(fd)), info_(std::move(info)) {}
    UniqueFd fd_;
    ProgramInfo info_;
};

// What a program does with one frame (BPF_PROG_TEST_RUN): its verdict (XDP_PASS, ...) and the frame afterwards.
struct TestRun {
    std::uint32_t verdict = 0;
    std::vector<std::uint8_t> frame;
};
Result<TestRun> test_run(int program_fd, std::span<const std::uint8_t> frame);

}  // namespace fairlead::xdp
