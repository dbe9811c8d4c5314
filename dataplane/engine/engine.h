// SPDX-License-Identifier: Apache-2.0
// lb-dpdk's control thread: makes ports, waits for tables, runs workers over both, and follows what changes: tables that take
// the place of others, interfaces and their programs that come and go. Meanwhile what is the host's goes on.
#pragma once

#include "dataplane/engine/worker.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/engine/ethdev_port.h"
#include "dataplane/engine/tap.h"
#include "dataplane/engine/xsk_port.h"
#include "dataplane/tables/result.h"
#include "dataplane/tables/tables.h"

namespace fairlead::engine {

// An interface that a device of DPDK's is.
struct DeviceSpec {
    std::string interface;
    std::string device;
    std::uint16_t queues = 1;
};

struct EngineSettings {
    std::filesystem::path folder;     // of the pinned tables
    std::vector<DeviceSpec> devices;  // every other interface is the kernel's
    std::vector<unsigned> lcores;     // one a worker; not the control thread's
    std::uint32_t memory_mb = 256;
    bool busy = false;
};

// Belongs to the thread that made it. DPDK's environment is up before, and goes down after.
class Engine {
  public:
    // Makes the buffers, the devices' ports and their taps.
    static Result<std::unique_ptr<Engine>> create(const EngineSettings& settings);
    ~Engine();

    // Until pause(), which waits for at most the time given, says that it is time to stop. Error: it cannot go on.
    Result<void> run(const std::function<bool(std::chrono::milliseconds)>& pause);

  private:
    struct Device {
        DeviceSpec spec;
        std::unique_ptr<EthdevPort> port;
        std::unique_ptr<Tap> tap;
        bool kernel_sees = false;   // the kernel has a copy of every frame
        std::uint32_t ifindex = 0;  // then: of its interface
    };
    // A kernel's interface that the program gives us frames of.
    struct Fed {
        std::unique_ptr<XskPort> port;
        std::unique_ptr<Tap> tap;
    };
    // What of the tables decides about ports, to see it change.
    struct Place {
        std::uint32_t number = 0, ifindex = 0, mtu = 0, mode = 0, map = 0;
        auto operator<=>(const Place&) const = default;
    };
    struct View {
        std::uint32_t tables = 0;  // the kernel's number of the first of them; 0 = none
        bool host = false;         // frames may be this host's: a local backend or VIP
        std::map<std::string, Place> places;
        bool operator==(const View&) const = default;
    };

    explicit Engine(const EngineSettings& settings) : settings_(settings) {}

    int node_of_cards() const;
    Result<void> make_pool();
    Result<void> add_device(const DeviceSpec& spec);
    Result<void> start_port(Device& device, std::uint16_t mtu) const;
    Result<void> give_tap(Device& device) const;
    void renew_device(Device& device);

    std::unique_ptr<tables::Tables> newer_tables();
    bool are_still_there() const;
    View look(const tables::Tables* tables) const;
    Result<void> follow();
    Result<void> refuse_local() const;
    bool fits(const std::string& name, const Fed& fed) const;
    std::map<std::string, Fed> make_fed(const View& view);
    void renew_fed(std::map<std::string, Fed> fresh);
    void give_stray_tap(Fed& fed, const Place& place);
    void line_up();
    Result<void> start_workers();
    void stop_workers();
    void watch_links();
    void report() const;
    void complain(const std::string& about, const std::string& message);

    EngineSettings settings_;
    rte_mempool* pool_ = nullptr;
    std::vector<Device> devices_;
    std::map<std::string, Fed> fed_;
    std::unique_ptr<tables::Tables> tables_;
    View view_;
    std::vector<Station> stations_;
    std::vector<PacketPort*> lineup_;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::atomic<bool> stop_workers_ = false;
    std::map<std::string, bool> links_;
    std::map<std::string, std::string> complaints_;
    Worker::Totals totals_;
};

}  // namespace fairlead::engine
