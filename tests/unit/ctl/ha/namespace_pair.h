// SPDX-License-Identifier: Apache-2.0
// Two network namespaces without names, that end with the test: "here" with the interface left (192.0.2.2, fe80::2) and
// "there" with right (192.0.2.3, fe80::3). The thread stands in here. Needs root.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "dataplane/tables/unique_fd.h"

namespace fairlead::ha {

class NamespacePair {
  public:
    static bool allowed() { return ::geteuid() == 0; }

    NamespacePair() : home_(current()) {
        EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
        there_ = current();
        EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
        here_ = current();
        const std::string there = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(there_.get());
        run("ip link add left address 02:00:5e:00:53:02 type veth peer name right address 02:00:5e:00:53:03 netns " +
            there);
        set_up("left", "2");
        in_there([] { set_up("right", "3"); });
    }
    ~NamespacePair() { EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0); }
    NamespacePair(const NamespacePair&) = delete;
    NamespacePair& operator=(const NamespacePair&) = delete;

    void in_there(const std::function<void()>& body) {
        ASSERT_EQ(::setns(there_.get(), CLONE_NEWNET), 0);
        body();
        ASSERT_EQ(::setns(here_.get(), CLONE_NEWNET), 0);
    }
    static void run(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }
    static std::uint32_t index_of(const char* name) { return ::if_nametoindex(name); }

  private:
    static UniqueFd current() { return UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)); }
    static void set_up(const std::string& name, const std::string& number) {
        run("ip link set lo up");
        // No address of the kernel's own making, and no wait for duplicates.
        run("ip link set " + name + " addrgenmode none");
        run("ip link set " + name + " up");
        run("ip address add 192.0.2." + number + "/24 dev " + name);
        run("ip address add fe80::" + number + "/64 dev " + name + " nodad");
    }

    UniqueFd home_;
    UniqueFd there_;
    UniqueFd here_;
};

}  // namespace fairlead::ha
