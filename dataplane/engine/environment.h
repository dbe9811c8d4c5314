// SPDX-License-Identifier: Apache-2.0
// DPDK's environment abstraction layer, once a process: memory, lcores and drivers. Started with what the config says, or
// with what stands behind `--` on the command line, which wins.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/tables/result.h"

namespace fairlead::engine {

struct EnvironmentSettings {
    std::string instance;
    std::vector<unsigned> cores;  // of the workers, one each; empty: any that the process may use
    unsigned workers = 1;         // no more than there are such cores
    unsigned memory_mb = 256;
    bool huge_pages = false;
    std::vector<std::string> pci;    // addresses of the devices that DPDK may touch
    std::vector<std::string> extra;  // further arguments
};

// CPUs that this process may run on.
std::vector<unsigned> usable_cores();

// The arguments that the environment is started with, program name first.
std::vector<std::string> environment_arguments(const EnvironmentSettings& settings, int pid);

class Environment {
  public:
    // Threads that it starts have the signal mask of the caller.
    static Result<std::unique_ptr<Environment>> start(const EnvironmentSettings& settings);
    ~Environment();
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

    // Of the workers.
    const std::vector<unsigned>& lcores() const { return lcores_; }

  private:
    Environment() = default;

    std::vector<std::string> arguments_;  // DPDK keeps pointers to them
    bool up_ = false;
    std::vector<unsigned> lcores_;
    std::filesystem::path runtime_folder_;
};

}  // namespace fairlead::engine
