// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/engine_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

extern char** environ;

namespace fairlead {
namespace {

constexpr std::chrono::milliseconds kFirstPause{1'000};
constexpr std::chrono::milliseconds kLongestPause{30'000};
constexpr std::chrono::seconds kRunsWell{60};

}  // namespace

EngineProcess::EngineProcess(boost::asio::io_context& io, std::vector<std::string> command, std::filesystem::path lock)
    : command_(std::move(command)), lock_(std::move(lock)), process_(io), again_(io) {}

EngineProcess::~EngineProcess() = default;

void EngineProcess::run() {
    if (std::exchange(wanted_, true)) return;
    pause_ = std::chrono::milliseconds{0};
    start();
}

void EngineProcess::end() {
    wanted_ = false;
    again_.cancel();
    if (pid_) kill(*pid_, SIGTERM);
}

// Whoever holds the lock has written its pid into the file.
std::optional<pid_t> EngineProcess::running_elsewhere() const {
    const int fd = open(lock_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    const bool held = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    pid_t pid = 0;
    std::ifstream(lock_) >> pid;
    return held && pid > 0 ? std::optional(pid) : std::nullopt;
}

// Signals as a program expects them; its output goes where lbd's goes.
Result<pid_t> EngineProcess::spawn() const {
    std::vector<char*> arguments;
    for (const auto& word : command_) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);  // not for the signals of lbd's terminal
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    pid_t pid = 0;
    const int error = posix_spawn(&pid, command_[0].c_str(), nullptr, &attributes, arguments.data(), environ);
    posix_spawnattr_destroy(&attributes);
    if (error) return fail_errno("start " + command_[0], error);
    return pid;
}

void EngineProcess::start() {
    started_ = Clock::now();
    if (const auto there = running_elsewhere()) {
        spdlog::info("lb-dpdk runs already, process {}", *there);
        return watch(*there);
    }
    const auto pid = spawn();
    if (pid) {
        spdlog::info("lb-dpdk started, process {}", *pid);
        return watch(*pid);
    }
    spdlog::error("lb-dpdk: {}", pid.error().message);
    ended();
}

void EngineProcess::watch(pid_t pid) {
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) return ended();  // between two looks
    pid_ = pid;
    process_.assign(fd);
    process_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this, pid](const auto& error) {
        if (error) return;
        int status = 0;
        const bool own = waitpid(pid, &status, WNOHANG) == pid;
        if (own && WIFSIGNALED(status))
            spdlog::error("lb-dpdk, process {}, was ended by signal {}", pid, WTERMSIG(status));
        else
            spdlog::log(wanted_ ? spdlog::level::err : spdlog::level::info, "lb-dpdk, process {}, has ended{}", pid,
                        own ? " with status " + std::to_string(WEXITSTATUS(status)) : "");
        process_.close();
        pid_.reset();
        ended();
    });
}

void EngineProcess::ended() {
    if (!wanted_) return;
    if (Clock::now() - started_ > kRunsWell) pause_ = std::chrono::milliseconds{0};
    again_.expires_after(pause_);
    pause_ = std::min(std::max(2 * pause_, kFirstPause), kLongestPause);
    again_.async_wait([this](const boost::system::error_code& error) {
        if (!error && wanted_) start();
    });
}

std::string engine_program() {
    if (const char* given = std::getenv("FAIRLEAD_LB_DPDK")) return given;
    std::error_code error;
    return (std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "lb-dpdk").string();
}

}  // namespace fairlead
