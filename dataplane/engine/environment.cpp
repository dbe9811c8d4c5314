// SPDX-License-Identifier: Apache-2.0
#include "dataplane/engine/environment.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace fairlead::engine {
namespace {
namespace fs = std::filesystem;

std::string prefix_of(const std::string& instance) { return "fairlead-" + instance + "-"; }

std::string joined(const std::vector<unsigned>& numbers) {
    std::string text;
    for (unsigned number : numbers) text += (text.empty() ? "" : ",") + std::to_string(number);
    return text;
}

// "0@(0,1),1@0,2@1": lcore 0 is the control thread, which may run wherever the process may; then a worker each.
std::string lcores_of(const EnvironmentSettings& settings) {
    const std::string any = "(" + joined(usable_cores()) + ")";
    std::string text = "0@" + any;
    for (unsigned i = 0; i < settings.workers; i++)
        text += "," + std::to_string(i + 1) + "@" +
                (settings.cores.empty() ? any : std::to_string(settings.cores[i % settings.cores.size()]));
    return text;
}

struct Argument {
    std::vector<std::string> words;
    std::vector<std::string> replaced_by;  // any of these in `extra` takes its place
};

bool is_given(const std::vector<std::string>& extra, const std::vector<std::string>& names) {
    return std::any_of(extra.begin(), extra.end(), [&](const std::string& word) {
        const std::string name = word.substr(0, word.find('='));
        // A short option may have its value in the same word: -l0,1
        const auto same = [&](const std::string& n) {
            return n == name || (n.size() == 2 && n[1] != '-' && word.starts_with(n) && !word.starts_with("--"));
        };
        return std::any_of(names.begin(), names.end(), same);
    });
}

// What a process of the same instance left that was killed.
void sweep(const fs::path& own) {
    const std::string prefix = own.filename().string().substr(0, own.filename().string().rfind('-') + 1);
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(own.parent_path(), error)) {
        const std::string name = entry.path().filename().string();
        if (!name.starts_with(prefix)) continue;
        pid_t pid = 0;
        const auto read = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), pid);
        if (read.ptr != name.data() + name.size() || pid <= 0) continue;
        if (kill(pid, 0) != 0 && errno == ESRCH) fs::remove_all(entry.path(), error);
    }
}
}  // namespace

std::vector<unsigned> usable_cores() {
    cpu_set_t set;
    std::vector<unsigned> cores;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        for (unsigned core = 0; core < CPU_SETSIZE; core++)
            if (CPU_ISSET(core, &set)) cores.push_back(core);
    return cores.empty() ? std::vector<unsigned>{0} : cores;
}

std::vector<std::string> environment_arguments(const EnvironmentSettings& settings, int pid) {
    std::vector<Argument> arguments = {
        {{"--lcores=" + lcores_of(settings)}, {"-l", "-c", "--lcores"}},
        {{"--file-prefix=" + prefix_of(settings.instance) + std::to_string(pid)}, {"--file-prefix"}},
        {{"--no-telemetry"}, {"--telemetry"}},
        {{"--log-level=warning"}, {"--log-level"}},
        {{"-m", std::to_string(settings.memory_mb)}, {"-m", "--socket-mem"}},
    };
    if (settings.huge_pages)
        arguments.push_back({{"--in-memory"}, {"--in-memory", "--huge-dir", "--no-huge"}});
    else
        arguments.push_back({{"--no-huge"}, {"--no-huge"}});
    if (settings.pci.empty()) {
        arguments.push_back({{"--no-pci"}, {"--no-pci", "-a", "--allow", "-b", "--block"}});
        arguments.push_back({{"--iova-mode=va"}, {"--iova-mode"}});
    }
    for (const std::string& address : settings.pci) arguments.push_back({{"-a", address}, {}});
    std::vector<std::string> words = {"lb-dpdk"};
    for (const Argument& argument : arguments)
        if (!is_given(settings.extra, argument.replaced_by))
            words.insert(words.end(), argument.words.begin(), argument.words.end());
    words.insert(words.end(), settings.extra.begin(), settings.extra.end());
    return words;
}

Result<std::unique_ptr<Environment>> Environment::start(const EnvironmentSettings& settings) {
    auto environment = std::unique_ptr<Environment>(new Environment());
    environment->arguments_ = environment_arguments(settings, getpid());
    std::vector<char*> pointers;
    std::string text;
    for (std::string& word : environment->arguments_) {
        pointers.push_back(word.data());
        text += (text.empty() ? "" : " ") + word;
    }
    if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0)
        return fail("DPDK does not start (" + text + "): " + rte_strerror(rte_errno), rte_errno);
    environment->up_ = true;
    environment->runtime_folder_ = rte_eal_get_runtime_dir();
    sweep(environment->runtime_folder_);
    unsigned lcore = 0;
    RTE_LCORE_FOREACH_WORKER(lcore) {
        if (environment->lcores_.size() < settings.workers) environment->lcores_.push_back(lcore);
    }
    if (environment->lcores_.empty())
        return fail("DPDK has one lcore; expected one for the control thread, and one for each worker");
    return environment;
}

Environment::~Environment() {
    if (!up_) return;
    rte_eal_cleanup();
    std::error_code error;
    if (!runtime_folder_.empty()) fs::remove_all(runtime_folder_, error);
}

}  // namespace fairlead::engine
