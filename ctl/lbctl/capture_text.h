// SPDX-License-Identifier: Apache-2.0
// Captured packets as people and programs read them: a sentence on what was decided and what came of it, and what the frame
// itself says. Pure.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "dataplane/tables/capture.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead::lbctl {

// "198.51.100.7:40000 > 192.0.2.10:80 tcp SYN", and of a tunnel what it carries behind " | ". `length`: of the frame, of
// which `bytes` is the beginning.
std::string flow_text(std::span<const std::uint8_t> bytes, std::uint32_t length);

class CaptureText {
  public:
    CaptureText(const tables::Snapshot& snapshot, const fl_limits& limits);

    // "forward to slave (192.0.2.12) by ipip, service web", or of what came of it "transmit by eth0, to slave ..."
    std::string sentence(const fl_capture_entry& entry) const;
    // A packet's comment: the stage, and the sentence.
    std::string comment(const fl_capture_entry& entry) const;
    // The interface that the packet came in by or, afterwards, was transmitted by.
    std::string interface(const fl_capture_entry& entry) const;

    // A line of the terminal, and the object of docs/api.md.
    std::string line(const tables::Captured& captured, std::uint64_t realtime_ns) const;
    nlohmann::ordered_json json(const tables::Captured& captured, std::uint64_t realtime_ns) const;

  private:
    struct Backend {
        std::string name, address, pool;
    };
    std::string port_name(std::uint32_t number) const;
    std::string target(const fl_capture_entry& entry) const;

    std::map<std::uint32_t, std::string> ports_, services_, vips_, pools_;
    std::map<std::uint32_t, Backend> backends_;  // by global index
    std::uint32_t cpus_;
};

}  // namespace fairlead::lbctl
