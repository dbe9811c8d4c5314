// SPDX-License-Identifier: Apache-2.0
// lb-dpdk as a process that lbd keeps running. It outlives lbd, as the data path does: the next lbd finds it by its lock
// file, and watches it as if it had started it. One thread, that of the io_context.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tables/result.h"

namespace fairlead {

class EngineProcess {
  public:
    // `command`: the program and its arguments. `lock`: a file that a running lb-dpdk holds locked, with its pid in it.
    EngineProcess(boost::asio::io_context& io, std::vector<std::string> command, std::filesystem::path lock);
    ~EngineProcess();
    EngineProcess(const EngineProcess&) = delete;
    EngineProcess& operator=(const EngineProcess&) = delete;

    // Started if it does not run, and again whenever it ends: at once the first time, then after a second, then later
    // each time, up to half a minute; it counts as running well after a minute.
    void run();
    // Ends it. Not done by the destructor.
    void end();

    std::optional<pid_t> pid() const { return pid_; }

  private:
    using Clock = std::chrono::steady_clock;

    std::optional<pid_t> running_elsewhere() const;
    Result<pid_t> spawn() const;
    void start();
    void watch(pid_t pid);
    void ended();

    std::vector<std::string> command_;
    std::filesystem::path lock_;
    boost::asio::posix::stream_descriptor process_;  // a pidfd: readable when it has ended
    boost::asio::steady_timer again_;
    bool wanted_ = false;
    std::optional<pid_t> pid_;
    Clock::time_point started_;
    std::chrono::milliseconds pause_{0};
};

// Where lb-dpdk is: beside lbd, or what FAIRLEAD_LB_DPDK names.
std::string engine_program();

}  // namespace fairlead
