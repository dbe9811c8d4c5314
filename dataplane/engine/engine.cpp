// SPDX-License-Identifier: Apache-2.0
#include "dataplane/engine/engine.h"

#include <bpf/bpf.h>
#include <net/if.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "dataplane/tables/snapshot.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::engine {
namespace {
using Milliseconds = std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr Milliseconds kTick{100};
constexpr Milliseconds kLook{250};  // between two looks at what is pinned
constexpr std::uint32_t kPoolCache = 256;
constexpr std::uint16_t kRoom = RTE_MBUF_DEFAULT_BUF_SIZE;
constexpr std::uint16_t kMostMtu = RTE_MBUF_DEFAULT_DATAROOM - RTE_ETHER_HDR_LEN - 2 * RTE_VLAN_HLEN;
constexpr std::uint32_t kLeastBuffers = 8191;

// The kernel's number of a map; 0: there is none.
std::uint32_t map_id(int map) {
    bpf_map_info info{};
    __u32 size = sizeof(info);
    return map >= 0 && bpf_obj_get_info_by_fd(map, &info, &size) == 0 ? info.id : 0;
}

std::uint32_t map_id(const std::filesystem::path& path) { return map_id(UniqueFd(bpf_obj_get(path.c_str())).get()); }

// This node's own backend of a pool.
bool has_local_backend(const tables::Tables& tables) {
    const auto pools = tables.pools();
    return std::any_of(pools.begin(), pools.end(), [](const fl_pool& pool) {
        return tables::load_word(pool.backend_count) != 0 && tables::load_word(pool.local) != FL_NO_BACKEND;
    });
}

bool has_local_vip(const tables::Tables& tables) {
    const auto vips = tables.vips();
    return std::any_of(vips.begin(), vips.end(),
                       [](const fl_vip& vip) { return (tables::load_word(vip.flags) & FL_VIP_LOCAL) != 0; });
}

struct Call {
    Worker* worker;
    const std::atomic<bool>* stop;
};

int run_worker(void* argument) {
    const std::unique_ptr<Call> call(static_cast<Call*>(argument));
    call->worker->run(*call->stop);
    return 0;
}
}  // namespace

Result<std::unique_ptr<Engine>> Engine::create(const EngineSettings& settings) {
    auto engine = std::unique_ptr<Engine>(new Engine(settings));
    if (auto made = engine->make_pool(); !made) return tl::unexpected(made.error());
    for (const DeviceSpec& spec : settings.devices)
        if (auto added = engine->add_device(spec); !added) return tl::unexpected(added.error());
    return engine;
}

Engine::~Engine() {
    stop_workers();
    fed_.clear();
    devices_.clear();
    // Those that the kernel was just sending; more would be a defect.
    if (pool_)
        if (const unsigned lost = rte_mempool_in_use_count(pool_))
            spdlog::debug("{} packet buffers did not come back", lost);
    rte_mempool_free(pool_);
}

// The NUMA node of the first card; SOCKET_ID_ANY: it is on none, or there is none.
int Engine::node_of_cards() const {
    for (const DeviceSpec& spec : settings_.devices)
        if (const auto id = EthdevPort::probe(spec.device))
            if (const int node = rte_eth_dev_socket_id(*id); node >= 0) return node;
    return SOCKET_ID_ANY;
}

// Half of the memory for buffers: the rest is DPDK's own, and the drivers'. On the cards' node, where there is memory.
Result<void> Engine::make_pool() {
    const std::uint64_t bytes = std::uint64_t{settings_.memory_mb} * 1024 * 1024 / 2;
    const auto count = static_cast<unsigned>(std::clamp<std::uint64_t>(bytes / (kRoom + 256), kLeastBuffers, 262'143));
    const int node = node_of_cards();
    pool_ = rte_pktmbuf_pool_create("frames", count, kPoolCache, 0, kRoom, node);
    if (!pool_ && node != SOCKET_ID_ANY) {
        spdlog::warn("no memory on NUMA node {}, where the card is: packet buffers lie on another", node);
        pool_ = rte_pktmbuf_pool_create("frames", count, kPoolCache, 0, kRoom, SOCKET_ID_ANY);
    }
    if (!pool_)
        return fail(std::to_string(count) + " packet buffers in " + std::to_string(settings_.memory_mb) +
                        " MB: " + rte_strerror(rte_errno) + "; raise [dpdk] memory_mb",
                    rte_errno);
    for (const unsigned lcore : settings_.lcores)
        if (node != SOCKET_ID_ANY && rte_lcore_to_socket_id(lcore) != static_cast<unsigned>(node))
            spdlog::warn("CPU {} is not on NUMA node {}, where the card is: choose others by [dpdk] cores",
                         rte_lcore_to_cpu_id(static_cast<int>(lcore)), node);
    return {};
}

Result<void> Engine::add_device(const DeviceSpec& spec) {
    Device device;
    device.spec = spec;
    if (auto started = start_port(device, RTE_ETHER_MTU); !started) return started;
    if (device.port->queues() < spec.queues)
        spdlog::warn("{}: {} queues, more the device has not", spec.interface, device.port->queues());
    if (auto given = give_tap(device); !given) return given;
    spdlog::info("{}: {} by {}, {} queues", spec.interface, spec.device, device.port->driver(), device.port->queues());
    devices_.push_back(std::move(device));
    return {};
}

Result<void> Engine::start_port(Device& device, std::uint16_t mtu) const {
    const DeviceSpec& spec = device.spec;
    const auto id = EthdevPort::probe(spec.device);
    if (!id) return tl::unexpected(id.error());
    rte_eth_dev_info info{};
    rte_eth_dev_info_get(*id, &info);
    const std::string driver = info.driver_name ? info.driver_name : "";
    const bool copies = driver == "net_af_packet" || driver == "net_pcap";
    if (copies && spec.queues > 1)
        return fail("device '" + spec.device + "': expected queues = 1, for on each queue of " + driver +
                    " comes what is sent by another");
    device.ifindex = if_nametoindex(spec.interface.c_str());
    device.kernel_sees = copies && device.ifindex != 0;
    const auto workers = static_cast<std::uint16_t>(settings_.lcores.size());
    auto port = EthdevPort::start(*id, {spec.interface, spec.queues, workers, mtu, pool_, !device.kernel_sees});
    if (!port) return tl::unexpected(port.error());
    device.port = *std::move(port);
    return {};
}

// By the interface's own name, where that is free.
Result<void> Engine::give_tap(Device& device) const {
    if (device.kernel_sees) return {};
    if (device.ifindex)
        return fail("interface " + device.spec.interface + " is the kernel's: expected one that device '" +
                        device.spec.device + "' has taken from it",
                    EEXIST);
    auto tap = Tap::create(device.spec.interface, device.port->mac(), device.port->mtu());
    if (!tap) return tl::unexpected(tap.error());
    device.tap = std::make_unique<Tap>(*std::move(tap));
    return {};
}

// Follows the interface, as the tables have it: its MTU, and where a driver works by the kernel's, that itself.
void Engine::renew_device(Device& device) {
    const auto place = view_.places.find(device.spec.interface);
    if (place == view_.places.end()) return;
    const auto mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(place->second.mtu, UINT16_MAX));
    Result<void> done;
    if (!device.port || (device.kernel_sees && place->second.ifindex != device.ifindex)) {
        device.port.reset();
        done = start_port(device, mtu);
        if (done) spdlog::info("{}: another interface of that name is there now", device.spec.interface);
    } else if (mtu && mtu != device.port->mtu()) {
        done = mtu > kMostMtu ? fail(device.spec.interface + ": MTU " + std::to_string(mtu) + ", but buffers hold " +
                                     std::to_string(kMostMtu) + " bytes of IP: larger packets are lost")
                              : device.port->set_mtu(mtu);
    }
    if (!done) complain(device.spec.interface, done.error().message);
}

Result<void> Engine::run(const std::function<bool(Milliseconds)>& pause) {
    if (map_id(settings_.folder / "meta") == 0)
        spdlog::info("waiting for lbd to make tables in {}", settings_.folder.string());
    line_up();
    auto started = start_workers();
    for (auto next = Clock::now(); started && !pause(Clock::now() < next ? kTick : Milliseconds(0));) {
        if (Clock::now() < next) continue;
        next = Clock::now() + kLook;
        watch_links();
        started = follow();
    }
    stop_workers();
    report();
    return started;
}

// What lies pinned instead of the tables that are used, once lbd has filled it; nullptr: nothing.
std::unique_ptr<tables::Tables> Engine::newer_tables() {
    const std::uint32_t pinned = map_id(settings_.folder / "meta");
    if (!pinned || pinned == view_.tables) return nullptr;
    auto tables = tables::Tables::open_pinned(settings_.folder, tables::Access::kReadWrite);
    if (!tables) {
        if (tables.error().code != EUCLEAN) complain("tables", tables.error().message);
        return nullptr;
    }
    if (!tables::load_word(tables->meta().config_digest)) return nullptr;
    return std::make_unique<tables::Tables>(*std::move(tables));
}

// Also where lbd has begun to make others, which are to take their place: until those are filled.
bool Engine::are_still_there() const {
    return tables_ && (map_id(settings_.folder / "meta") ||
                       map_id(tables::Tables::aside(settings_.folder) / "meta") == view_.tables);
}

// Of what is pinned now: the ports in the tables, and the programs' maps.
Engine::View Engine::look(const tables::Tables* tables) const {
    View view;
    if (!tables) return view;
    view.tables = map_id(tables->fd(FL_TABLE_meta));
    view.host = has_local_backend(*tables) || has_local_vip(*tables);
    const auto ports = tables->ports();
    for (std::uint32_t number = 1; number < ports.size(); number++) {
        const fl_port& port = ports[number];
        const std::uint32_t ifindex = tables::load_word(port.ifindex);
        const std::string name = tables::port_name(port);
        if (!ifindex || view.places.contains(name)) continue;
        view.places[name] = {number, ifindex, tables::load_word(port.mtu), tables::load_word(port.mode),
                             map_id(tables::exceptions_path(settings_.folder, name))};
    }
    return view;
}

// Takes up what has changed since the last time. Workers stop for it, for some milliseconds, and only then.
Result<void> Engine::follow() {
    auto newer = newer_tables();
    const View view = look(newer ? newer.get() : are_still_there() ? tables_.get() : nullptr);
    auto fresh = make_fed(view);
    if (view == view_ && fresh.empty()) return {};
    stop_workers();
    if (newer)
        spdlog::info("steering by the tables in {}, number {}", settings_.folder.string(), view.tables);
    else if (tables_ && !view.tables)
        spdlog::info("the tables in {} are gone: waiting for lbd to make them", settings_.folder.string());
    if (newer || !view.tables) tables_ = std::move(newer);
    view_ = view;
    if (auto refused = refuse_local(); !refused) return refused;
    for (Device& device : devices_) renew_device(device);
    renew_fed(std::move(fresh));
    line_up();
    return start_workers();
}

Result<void> Engine::refuse_local() const {
    const auto seen = std::find_if(devices_.begin(), devices_.end(), [](const Device& d) { return d.kernel_sees; });
    if (seen == devices_.end() || !tables_ || !has_local_backend(*tables_)) return {};
    return fail("a pool has this node itself as a backend, and " + seen->spec.interface + " is run by '" +
                    seen->spec.device +
                    "', which leaves the kernel a copy of each frame: every packet would come twice; "
                    "use XDP, or a device that the kernel does not see",
                ENOTSUP);
}

bool Engine::fits(const std::string& name, const Fed& fed) const {
    const auto place = view_.places.find(name);
    return place != view_.places.end() && place->second.map && place->second.ifindex == fed.port->ifindex();
}

// Sockets on the interfaces that have a program's map and no sockets yet.
std::map<std::string, Engine::Fed> Engine::make_fed(const View& view) {
    std::map<std::string, Fed> fresh;
    for (const auto& [name, place] : view.places) {
        const auto have = fed_.find(name);
        if (!place.map || (have != fed_.end() && have->second.port->ifindex() == place.ifindex)) continue;
        auto port = XskPort::create({name, static_cast<std::uint16_t>(settings_.lcores.size()), pool_});
        if (port)
            fresh[name].port = *std::move(port);
        else
            complain(name, port.error().message);
    }
    return fresh;
}

void Engine::renew_fed(std::map<std::string, Fed> fresh) {
    std::erase_if(fed_, [&](const auto& entry) {
        const bool gone = !fits(entry.first, entry.second);
        if (gone) spdlog::info("{}: its program, or the interface itself, is gone", entry.first);
        return gone;
    });
    fed_.merge(fresh);
    for (auto& [name, fed] : fed_) {
        const Place& place = view_.places.at(name);
        if (view_.host && !fed.tap) give_stray_tap(fed, place);
        if (fed.port->map_id() == place.map) continue;
        if (auto done = fed.port->announce(tables::exceptions_path(settings_.folder, name)); !done)
            complain(name, done.error().message);
        else
            spdlog::info("{}: {} queues by AF_XDP", name, fed.port->queues());
    }
}

// For what turns out to be this host's own: the kernel takes nothing back from a socket.
void Engine::give_stray_tap(Fed& fed, const Place& place) {
    const fl_port& port = tables_->ports()[place.number];
    auto tap =
        Tap::create("flh" + std::to_string(place.ifindex), tables::mac_of(tables::load_word(port.mac)).bytes, port.mtu);
    auto accepted = tap ? tap->accept_strays() : Result<void>(tl::unexpected(tap.error()));
    if (!accepted) return complain(fed.port->name(), accepted.error().message);
    fed.tap = std::make_unique<Tap>(*std::move(tap));
}

void Engine::line_up() {
    stations_.clear();
    lineup_.assign(tables_ ? tables_->limits().ports : 0, nullptr);
    for (const Device& device : devices_) {
        if (!device.port) continue;
        const auto place = view_.places.find(device.spec.interface);
        // A device that leaves the kernel its frames has nothing to do while the XDP program steers them.
        const bool ours = place != view_.places.end() && (!device.kernel_sees || place->second.mode == FL_ENGINE_DPDK);
        const std::uint32_t number = ours ? place->second.number : 0;
        stations_.push_back({device.port.get(), number, device.tap.get(), device.tap != nullptr});
    }
    for (const auto& [name, fed] : fed_)
        stations_.push_back({fed.port.get(), view_.places.at(name).number, fed.tap.get(), false});
    for (const Station& station : stations_)
        if (station.number) lineup_[station.number] = station.port;
}

Result<void> Engine::start_workers() {
    stop_workers_ = false;
    const auto count = static_cast<std::uint16_t>(settings_.lcores.size());
    for (std::uint16_t index = 0; index < count; index++) {
        std::optional<tables::WorkerSlot> slot;
        if (tables_) {
            auto taken = tables::WorkerSlot::create(*tables_);
            if (!taken) return tl::unexpected(taken.error());
            slot = *std::move(taken);
        }
        const WorkerSettings settings{index, count, settings_.busy, pool_};
        workers_.push_back(std::make_unique<Worker>(settings, stations_, lineup_, tables_.get(), std::move(slot)));
    }
    for (std::uint16_t index = 0; index < count; index++)
        rte_eal_remote_launch(run_worker, new Call{workers_[index].get(), &stop_workers_}, settings_.lcores[index]);
    return {};
}

void Engine::stop_workers() {
    stop_workers_ = true;
    for (const unsigned lcore : settings_.lcores) rte_eal_wait_lcore(lcore);
    for (const auto& worker : workers_) totals_ += worker->totals();
    workers_.clear();
}

// A link of a device that is the host's goes up and down for the host too.
void Engine::watch_links() {
    for (Device& device : devices_) {
        const bool up = device.port && device.port->link_up();
        if (device.tap) device.tap->set_carrier(up);
        if (const auto [link, first] = links_.try_emplace(device.spec.interface, true); link->second != up) {
            link->second = up;
            spdlog::log(up ? spdlog::level::info : spdlog::level::warn, "{}: link {}", device.spec.interface,
                        up ? "up" : "down");
        }
    }
}

void Engine::report() const {
    spdlog::info("received {}, transmitted {}, given to the host {}, dropped {}, unsent {}", totals_.received,
                 totals_.transmitted, totals_.passed, totals_.dropped, totals_.unsent);
    if (totals_.host_refused) spdlog::warn("the host's stack did not take {} frames", totals_.host_refused);
    for (const Station& station : stations_)
        if (const auto missed = station.port->missed())
            spdlog::warn("{}: {} frames found no buffer or no place", station.port->name(), missed);
}

// Once until it changes: what does not work is tried again all the time.
void Engine::complain(const std::string& about, const std::string& message) {
    if (std::exchange(complaints_[about], message) != message) spdlog::warn("{}", message);
}

}  // namespace fairlead::engine
