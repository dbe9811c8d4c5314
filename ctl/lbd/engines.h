// SPDX-License-Identifier: Apache-2.0
// Which engine runs each interface of this node, and how it comes to (DESIGN section 2):
//
//   XDP          the program, in the driver or in the network stack; lb-dpdk gets its exceptions, where it listens
//   DPDK         of an interface that is the kernel's: the program feeds lb-dpdk, and steers itself where that does not
//                listen. Of one with a [[dpdk.port]]: lb-dpdk has the device, and nothing is attached.
//
// Puts programs on and takes them off; runs no process (engine_process.h). One thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/lbd/ports.h"
#include "xdp/loader.h"

namespace fairlead {

class Engines {
  public:
    // `tables` must outlive this.
    Engines(tables::Tables& tables, std::filesystem::path folder, const config::Config& config,
            const config::Node& node);

    // Each device under its engine; the first failure ends it.
    Result<void> attach(const std::vector<PortTable::Device>& devices);

    // After links changed: an interface that was made anew has another index and no program; what left its bond is let
    // go. What fails is logged, and tried again at the next change.
    void follow(const std::vector<PortTable::Device>& devices);

    // Whether all of them forward. Asks the kernel: an earlier lbd's program counts, and one that an operator took off
    // does not; a device of DPDK's counts while lb-dpdk runs.
    bool all_attached(const std::vector<PortTable::Device>& devices) const;

    // Before attach(): as switch_to() left it when the lbd before ended. False, and no change, where an interface has a
    // [[dpdk.port]].
    bool resume(config::Engine engine);

    // On an error all is as it was before; EBUSY where an interface has a [[dpdk.port]].
    Result<std::vector<std::string>> switch_to(config::Engine engine, const std::vector<PortTable::Device>& devices);

    // lb-dpdk has something to do: to steer, or to take exceptions.
    bool needs_dpdk() const;

    // Interfaces that lb-dpdk has to make first.
    std::vector<std::string> missing_interfaces() const;

    // By port number. With mode FL_ENGINE_DPDK: a device of DPDK's.
    const std::vector<xdp::Attachment>& attachments() const { return attachments_; }

  private:
    Result<xdp::Attachment> attach_device(const PortTable::Device& device);
    Result<xdp::Attachment> attach_program(const PortTable::Device& device, xdp::Mode mode);
    Result<xdp::Attachment> give_to_dpdk(const PortTable::Device& device, std::string reason);
    bool has_device(const std::string& interface) const;
    Result<void> renew(const std::vector<PortTable::Device>& devices);
    void follow_device(const PortTable::Device& device);
    void detach_strays(const std::vector<PortTable::Device>& devices);

    tables::Tables& tables_;
    std::filesystem::path folder_;
    config::Node node_;
    std::vector<config::DpdkPort> devices_;  // of this node
    bool exceptions_;
    config::Engine engine_;
    std::vector<xdp::Attachment> attachments_;
};

}  // namespace fairlead
