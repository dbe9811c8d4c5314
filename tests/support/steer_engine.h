// SPDX-License-Identifier: Apache-2.0
// Where a test's frames are steered: the core in plain memory, or the same core as an XDP program in the kernel. The
// tests in tests/unit/dataplane/core are linked with the one and, as suite 'bpf', with the other.
#pragma once

#include <cstdint>
#include <memory>
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
};

class SteerEngine {
  public:
    virtual ~SteerEngine() = default;

    // "" or why this engine cannot be used here, for GTEST_SKIP.
    virtual std::string missing() const = 0;
    virtual tables::Tables make_tables(const fl_limits& limits) = 0;
    // A frame that came in by port 1; `unwrap_only`: to fl_decap. In the kernel `now_ns` is not looked at.
    virtual Steered run(const tables::Tables& tables, const std::vector<std::uint8_t>& frame, bool unwrap_only,
                        std::uint64_t now_ns) = 0;
};

std::unique_ptr<SteerEngine> make_steer_engine();

}  // namespace fairlead::test
