// SPDX-License-Identifier: Apache-2.0
// lb-dpdk's life under lbd, with real processes: a shell that takes the lock and writes its pid, as lb-dpdk does.
#include "ctl/lbd/engine_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

namespace fairlead {
namespace {

using std::chrono::seconds;

class EngineProcessTest : public testing::Test {
  protected:
    void SetUp() override { std::filesystem::create_directories(folder_); }
    void TearDown() override {
        for (const auto pid : started_) kill(pid, SIGKILL);
        std::filesystem::remove_all(folder_);
    }

    std::vector<std::string> command() const {
        return {"/bin/sh", "-c",
                "exec 9<>" + lock_.string() + " && flock -n 9 && echo $$ >" + lock_.string() + " && exec sleep 60"};
    }

    // Turns the loop until something holds.
    void until(const std::function<bool()>& holds) {
        const auto deadline = std::chrono::steady_clock::now() + seconds(20);
        while (!holds()) {
            ASSERT_LT(std::chrono::steady_clock::now(), deadline);
            io_.restart();
            io_.run_for(std::chrono::milliseconds(10));
        }
    }

    // It has the lock: what runs is the whole of it.
    pid_t until_running(const EngineProcess& process) {
        pid_t written = 0;
        until([&] {
            written = 0;
            std::ifstream(lock_) >> written;
            return process.pid() && written == *process.pid();
        });
        started_.push_back(written);
        return written;
    }

    std::filesystem::path folder_ =
        std::filesystem::temp_directory_path() / ("fairlead-engine-" + std::to_string(getpid()));
    std::filesystem::path lock_ = folder_ / "lock";
    std::vector<pid_t> started_;
    boost::asio::io_context io_{1};
};

TEST_F(EngineProcessTest, IsStartedAgainWhenItEnds) {
    EngineProcess process(io_, command(), lock_);
    EXPECT_FALSE(process.pid());
    process.run();
    const auto first = until_running(process);
    kill(first, SIGKILL);
    until([&] { return process.pid() != first; });
    EXPECT_NE(until_running(process), first);
    // And once more, though not at once.
    kill(*process.pid(), SIGKILL);
    until([&] { return !process.pid(); });
    until_running(process);
}

TEST_F(EngineProcessTest, EndsWhenAskedTo) {
    EngineProcess process(io_, command(), lock_);
    process.run();
    until_running(process);
    process.end();
    until([&] { return !process.pid(); });
    io_.restart();
    io_.run_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(process.pid());
    process.run();
    until_running(process);
}

TEST_F(EngineProcessTest, OutlivesItsLbdAndIsFoundByTheNext) {
    pid_t pid = 0;
    {
        EngineProcess process(io_, command(), lock_);
        process.run();
        pid = until_running(process);
    }
    EXPECT_EQ(kill(pid, 0), 0);
    boost::asio::io_context next_io(1);
    EngineProcess next(next_io, command(), lock_);
    next.run();
    EXPECT_EQ(next.pid(), pid);
}

TEST_F(EngineProcessTest, AProgramThatIsNotThereIsTriedAgain) {
    EngineProcess process(io_, {(folder_ / "missing").string()}, lock_);
    process.run();
    EXPECT_FALSE(process.pid());
    std::ofstream(folder_ / "missing") << "#!/bin/sh\n" << command()[2] << "\n";
    std::filesystem::permissions(folder_ / "missing", std::filesystem::perms::owner_all);
    until_running(process);
}

}  // namespace
}  // namespace fairlead
