// SPDX-License-Identifier: Apache-2.0
// lbd: reads its arguments, checks the config, runs the controller and its two servers until SIGTERM. The data path goes
// on without it.
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <cstdlib>
#include <iostream>

#include "ctl/lbd/controller.h"
#include "ctl/lbd/log.h"
#include "ctl/lbd/server.h"

namespace fairlead {
namespace {
enum ExitCode { kDone = 0, kFailed = 1, kBadConfig = 2 };

void print_diagnostics(const config::LoadResult& result) {
    for (const auto& diagnostic : result.diagnostics) std::cerr << diagnostic.to_string() << '\n';
    const auto count = result.diagnostics.size();
    std::cerr << count << (count == 1 ? " error" : " errors") << '\n';
}

// SIGHUP reloads; SIGTERM and SIGINT end lbd, not the data path.
void handle_signals(boost::asio::io_context& io, boost::asio::signal_set& signals, Controller& controller) {
    signals.async_wait([&](const boost::system::error_code& error, int signal) {
        if (error) return;
        if (signal != SIGHUP) {
            spdlog::info("stopping on signal {}; the data path goes on", signal);
            controller.stop();
            io.stop();
            return;
        }
        static_cast<void>(controller.reload());  // logs what it did, or why it did not
        handle_signals(io, signals, controller);
    });
}

// Each check that is under way has a socket, and up to 512 are; the usual soft limit is 1024.
void raise_descriptor_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) spdlog::warn("cannot raise the limit of open files");
}

int run(ControllerOptions options, config::Config config) {
    start_log();
    raise_descriptor_limit();
    set_log_level(config.log.level);
    boost::asio::io_context io(1);
    auto controller = Controller::create(io, options, std::move(config));
    if (!controller) {
        spdlog::critical("{}", controller.error().message);
        return kFailed;
    }
    auto server = Server::create(io, **controller);
    if (!server) {
        spdlog::critical("{}", server.error().message);
        return kFailed;
    }
    boost::asio::signal_set signals(io, SIGHUP, SIGTERM, SIGINT);
    handle_signals(io, signals, **controller);
    io.run();
    return kDone;
}

int main_checked(int argc, char** argv) {
    CLI::App app{"lbd: the controller of the Fairlead load balancer", "lbd"};
    ControllerOptions options;
    options.config_file = kDefaultConfig;
    std::string instance = kDefaultInstance;
    bool check = false;
    app.add_option("--config", options.config_file, "configuration file")->capture_default_str();
    app.add_option("--node", options.node, "name of this node in the file; the host name by default");
    app.add_option("--instance", instance, "name of this instance")->capture_default_str();
    app.add_flag("--check", check, "check the file, say every error, and end");
    app.set_version_flag("--version", FAIRLEAD_VERSION);
    CLI11_PARSE(app, argc, argv);

    auto paths = InstancePaths::of(instance);
    if (!paths) {
        std::cerr << paths.error().message << '\n';
        return kBadConfig;
    }
    options.paths = *paths;
    options.settle_at_once = std::getenv("FAIRLEAD_TEST_SETTLE_AT_ONCE") != nullptr;
    auto loaded = config::load_config(options.config_file);
    if (!loaded.config) {
        print_diagnostics(loaded);
        return kBadConfig;
    }
    if (check) {
        std::cout << options.config_file.string() << ": good: " << loaded.config->services.size() << " services, "
                  << loaded.config->pools.size() << " pools, " << loaded.config->nodes.size() << " nodes\n";
        return kDone;
    }
    return run(std::move(options), std::move(*loaded.config));
}
}  // namespace
}  // namespace fairlead

int main(int argc, char** argv) { return fairlead::main_checked(argc, argv); }
