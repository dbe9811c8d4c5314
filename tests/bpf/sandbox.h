// SPDX-License-Identifier: Apache-2.0
// What a test of the kernel side needs: a network namespace of its own with a pair of veths, and a folder of its own in
// the BPF file system, both gone when the test is. One at a time; a test process has one thread when it is made.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "dataplane/tables/tables.h"
#include "dataplane/tables/unique_fd.h"
#include "tests/bpf/frames.h"

namespace fairlead::test {

// Skips, visibly, where there is no root.
#define FAIRLEAD_NEEDS_ROOT()                                                                                   \
    do {                                                                                                        \
        if (::geteuid() != 0) GTEST_SKIP() << "needs root: it loads XDP programs and makes network namespaces"; \
    } while (false)

// Runs a program with the shell; a failure is a failure of the test.
void run(const std::string& command);

class Sandbox {
  public:
    // "left" <-> "right", both up, without IPv6, so that nothing is on the wire but what the test sends.
    Sandbox();
    ~Sandbox();
    Sandbox(const Sandbox&) = delete;
    Sandbox& operator=(const Sandbox&) = delete;

    void make_veths(const std::string& left = "left", const std::string& right = "right");
    const std::filesystem::path& folder() const { return folder_; }
    tables::Tables make_tables() const;

  private:
    std::filesystem::path folder_;
    UniqueFd home_;
};

// Runs `body` in a child process and returns the value that it returns; -1 if it died.
int in_child(const std::function<int()>& body);

// A packet socket on an interface.
UniqueFd packet_socket(const std::string& ifname);

// The id of the program that is on an interface, 0 = none, whoever put it there.
std::uint32_t program_on(const std::string& ifname);

// Loads a program that passes everything.
UniqueFd load_stranger(const char* name);

}  // namespace fairlead::test
