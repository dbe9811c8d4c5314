// SPDX-License-Identifier: Apache-2.0
// lb-dpdk: reads its arguments and the config, starts DPDK, and runs the engine until SIGTERM. It belongs to the data path:
// lbd may come and go meanwhile.
#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>

#include "ctl/config/config.h"
#include "ctl/instance.h"
#include "ctl/lbd/log.h"
#include "dataplane/core/layout.h"
#include "dataplane/engine/engine.h"
#include "dataplane/engine/environment.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::engine {
namespace {
enum ExitCode { kDone = 0, kFailed = 1, kBadConfig = 2 };

// linux/capability.h and libc's know no names to print.
struct Capability {
    unsigned number;
    const char* name;
    const char* purpose;
};
constexpr Capability kNeeded[] = {{12, "CAP_NET_ADMIN", "sockets of AF_XDP and taps"},
                                  {13, "CAP_NET_RAW", "sockets of AF_XDP"},
                                  {14, "CAP_IPC_LOCK", "packet buffers, which are locked into memory"},
                                  {39, "CAP_BPF", "the pinned tables"}};

struct Options {
    std::filesystem::path config_file = kDefaultConfig;
    std::string node;
    std::string instance = kDefaultInstance;
    std::vector<std::string> environment;  // behind "--"
};

bool has_capability(unsigned number) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("CapEff:")) return std::stoull(line.substr(7), nullptr, 16) >> number & 1;
    return false;
}

Result<void> check_privileges() {
    std::string missing;
    for (const auto& [number, name, purpose] : kNeeded)
        if (!has_capability(number))
            missing += (missing.empty() ? "" : ", ") + std::string(name) + " (" + purpose + ")";
    if (!missing.empty()) return fail("lb-dpdk needs to run as root, or with " + missing, EPERM);
    return {};
}

// Held as long as the process lives; lbd finds our pid in it.
class InstanceLock {
  public:
    static Result<InstanceLock> take(const std::filesystem::path& path) {
        std::error_code error;
        std::filesystem::create_directories(path.parent_path(), error);
        InstanceLock lock;
        lock.path_ = path;
        lock.fd_ = UniqueFd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
        if (!lock.fd_) return fail_errno("open " + path.string(), errno);
        // The one before us takes the file away when it ends: a lock on what has no name any more is none.
        if (flock(lock.fd_.get(), LOCK_EX | LOCK_NB) || !lock.is_named()) {
            lock.fd_ = UniqueFd();  // and the file is not ours to remove
            return fail("another lb-dpdk runs for this instance: it holds " + path.string(), EBUSY);
        }
        const std::string pid = std::to_string(getpid()) + "\n";
        if (ftruncate(lock.fd_.get(), 0) || ::write(lock.fd_.get(), pid.data(), pid.size()) < 0)
            return fail_errno("write " + path.string(), errno);
        return lock;
    }
    InstanceLock(InstanceLock&&) = default;
    InstanceLock& operator=(InstanceLock&&) = default;
    ~InstanceLock() {
        if (fd_) unlink(path_.c_str());
    }

  private:
    InstanceLock() = default;

    bool is_named() const {
        struct stat held{}, named{};
        return fstat(fd_.get(), &held) == 0 && stat(path_.c_str(), &named) == 0 && held.st_ino == named.st_ino;
    }

    UniqueFd fd_;
    std::filesystem::path path_;
};

EngineSettings engine_settings(const config::Config& config, const config::Node& node, const InstancePaths& paths) {
    EngineSettings settings;
    settings.folder = paths.tables;
    settings.memory_mb = config.dpdk.memory_mb;
    settings.busy = config.dpdk.poll == config::Poll::kBusy;
    for (const auto& interface : node.interfaces)
        if (const auto* port = config::dpdk_port(config, node, interface.name))
            settings.devices.push_back({port->interface, port->device, port->queues});
    return settings;
}

// As many as the interface with the most queues has, and no more than there are CPUs for.
unsigned worker_count(const config::Config& config, const config::Node& node) {
    std::size_t queues = 1;
    for (const auto& interface : node.interfaces) {
        const auto* port = config::dpdk_port(config, node, interface.name);
        queues = std::max<std::size_t>(queues, port ? port->queues : receive_queues(interface.name));
    }
    const std::size_t cores = config.dpdk.cores.empty() ? usable_cores().size() : config.dpdk.cores.size();
    return static_cast<unsigned>(std::min<std::size_t>({queues, cores, FL_MAX_WORKERS}));
}

EnvironmentSettings environment_settings(const config::Config& config, const config::Node& node,
                                         const EngineSettings& engine, const Options& options) {
    EnvironmentSettings settings{options.instance,      config.dpdk.cores,      worker_count(config, node),
                                 config.dpdk.memory_mb, config.dpdk.huge_pages, {},
                                 options.environment};
    for (const DeviceSpec& device : engine.devices)
        if (config::is_pci_address(device.device)) settings.pci.push_back(device.device);
    return settings;
}

// Signals that end us wait for the control thread to look; blocked before DPDK starts threads.
sigset_t block_signals() {
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ending, nullptr);
    signal(SIGHUP, SIG_IGN);  // a reload is lbd's affair: it comes to us by the tables
    return ending;
}

bool pause_for(const sigset_t& ending, std::chrono::milliseconds time) {
    const timespec limit{time.count() / 1000, time.count() % 1000 * 1'000'000};
    const int number = sigtimedwait(&ending, nullptr, &limit);
    if (number > 0) spdlog::info("stopping on signal {}", number);
    return number > 0;
}

Result<void> run(const Options& options, const config::Config& config, const InstancePaths& paths) {
    if (auto allowed = check_privileges(); !allowed) return allowed;
    auto node = config::choose_node(config, options.node, host_name());
    if (!node) return tl::unexpected(node.error());
    const sigset_t ending = block_signals();
    auto lock = InstanceLock::take(paths.engine);
    if (!lock) return tl::unexpected(lock.error());
    EngineSettings settings = engine_settings(config, **node, paths);
    auto environment = Environment::start(environment_settings(config, **node, settings, options));
    if (!environment) return tl::unexpected(environment.error());
    settings.lcores = (*environment)->lcores();
    auto engine = Engine::create(settings);
    if (!engine) return tl::unexpected(engine.error());
    return (*engine)->run([&](std::chrono::milliseconds time) { return pause_for(ending, time); });
}

int main_checked(int argc, char** argv) {
    CLI::App app{"lb-dpdk: the DPDK engine of the Fairlead load balancer", "lb-dpdk"};
    Options options;
    app.add_option("--config", options.config_file, "configuration file")->capture_default_str();
    app.add_option("--node", options.node, "name of this node in the file; the host name by default");
    app.add_option("--instance", options.instance, "name of this instance")->capture_default_str();
    app.set_version_flag("--version", FAIRLEAD_VERSION);
    app.footer("What follows -- goes to DPDK's environment (EAL), and wins over [dpdk] of the config.");
    const auto dashes = std::find(argv, argv + argc, std::string_view("--"));
    for (auto word = dashes; word != argv + argc && ++word != argv + argc;) options.environment.emplace_back(*word);
    CLI11_PARSE(app, static_cast<int>(dashes - argv), argv);

    start_log();
    const auto paths = InstancePaths::of(options.instance);
    if (!paths) {
        std::cerr << paths.error().message << '\n';
        return kBadConfig;
    }
    const auto loaded = config::load_config(options.config_file);
    if (!loaded.config) {
        for (const auto& diagnostic : loaded.diagnostics) std::cerr << diagnostic.to_string() << '\n';
        return kBadConfig;
    }
    set_log_level(loaded.config->log.level);
    if (auto done = run(options, *loaded.config, *paths); !done) {
        spdlog::critical("{}", done.error().message);
        return kFailed;
    }
    return kDone;
}
}  // namespace
}  // namespace fairlead::engine

int main(int argc, char** argv) { return fairlead::engine::main_checked(argc, argv); }
