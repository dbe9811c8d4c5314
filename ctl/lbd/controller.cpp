// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/controller.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <thread>

#include "ctl/lbd/engine_process.h"
#include "ctl/lbd/hash_key.h"
#include "ctl/lbd/hello_service.h"
#include "ctl/lbd/log.h"
#include "ctl/lbd/silent_hosts.h"
#include "ctl/lbd/sync_service.h"
#include "ctl/plan/shared_digest.h"
#include "dataplane/tables/grace.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead {
namespace {
// Answers that the program makes itself, per CPU and second: plenty for people and scanners, too few to amplify.
constexpr std::uint32_t kAnswersPerSecond = 10'000;
constexpr std::chrono::seconds kTick{1};
constexpr int kStepsAnAsk = 5;                    // whether a backend that leaves may go
constexpr std::chrono::milliseconds kStep{100};   // of slots in transition, of pins, and of backends that come or go
constexpr std::chrono::seconds kEngineStart{30};  // for lb-dpdk to make its interfaces: it maps huge pages first
constexpr std::chrono::milliseconds kEngineLook{20};
constexpr std::uint32_t kRole = 0;  // without HA; with it a group's is its VRID

std::uint64_t realtime_ns() {
    return static_cast<std::uint64_t>(
        std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
}

health::Verdict verdict_of(fl_backend_state state) {
    switch (state) {
        case FL_BACKEND_HEALTHY:
        case FL_BACKEND_DRAINING:
            return health::Verdict::kUp;
        case FL_BACKEND_UNHEALTHY:
        case FL_BACKEND_DEAD:
            return health::Verdict::kDown;
        default:
            return health::Verdict::kUnknown;
    }
}

}  // namespace

struct Controller::Io {
    explicit Io(boost::asio::io_context& io) : netlink(io), ha(io), hello(io), tick(io), step(io), tracking(io) {}
    boost::asio::posix::stream_descriptor netlink;
    boost::asio::posix::stream_descriptor ha;
    HelloService hello;
    boost::asio::steady_timer tick;
    boost::asio::steady_timer step;
    boost::asio::steady_timer tracking;
    bool stepping = false;  // `step` waits
    bool saving = false;    // the state, at the end of this turn
    bool syncing = false;   // what is told, likewise
    std::unique_ptr<net::NextHopTracker> tracker;
    std::unique_ptr<SilentHosts> silent;
};

Controller::Controller(boost::asio::io_context& io, ControllerOptions options, config::Config config)
    : io_(io),
      options_(std::move(options)),
      config_(std::move(config)),
      since_(Clock::now()),
      config_loaded_(since_),
      asio_(std::make_unique<Io>(io)) {}

Controller::~Controller() {
    if (asio_->netlink.is_open()) asio_->netlink.release();  // the descriptor is the monitor's
    if (asio_->ha.is_open()) asio_->ha.release();            // the HA thread's
    if (lock_fd_ >= 0) close(lock_fd_);
}

Result<std::unique_ptr<Controller>> Controller::create(boost::asio::io_context& io, ControllerOptions options,
                                                       config::Config config) {
    std::unique_ptr<Controller> controller(new Controller(io, std::move(options), std::move(config)));
    if (auto started = controller->start(); !started) return tl::unexpected(started.error());
    return controller;
}

Result<void> Controller::start() {
    for (const auto step : {&Controller::choose_this_node, &Controller::take_lock, &Controller::open_tables,
                            &Controller::begin_engines}) {
        if (auto done = (this->*step)(); !done) return done;
    }
    auto network = net::KernelNet::create();
    if (!network) return tl::unexpected(network.error());
    network_ = std::move(*network);
    announcer_.emplace(*network_);
    for (const auto& address : network_->model().addresses()) local_addresses_.insert(address.address);
    for (const auto step :
         {&Controller::set_ports, &Controller::write_identity, &Controller::start_ha, &Controller::start_sync}) {
        if (auto done = (this->*step)(); !done) return done;
    }
    load_state();
    shared_digest_ = plan::shared_digest(config_);  // of the file: what leaves is each node's own
    adopt_run_time_state();
    monitor_ = std::make_unique<health::HealthMonitor>(io_);
    plan_ = plan::make_plan(config_, node_view(), {}, state_.overrides, state_.tiers);
    watch_network();
    start_checks();
    plan_ = make_plan();
    own_routes();
    tick();
    if (adopting_ || carry_over_) return publish();
    follow_routes();
    spdlog::info("node {}: waiting for the first result of {} checks before answering for a VIP", node_.name,
                 monitor_->unreported());
    publish_if_ready();
    return {};
}

Result<void> Controller::choose_this_node() {
    auto node = config::choose_node(config_, options_.node, host_name());
    if (!node) return tl::unexpected(node.error());
    node_ = **node;
    if (node_.name.empty()) node_.name = host_name();
    return {};
}

// Held until the process ends, however it ends.
Result<void> Controller::take_lock() {
    std::error_code error;
    std::filesystem::create_directories(options_.paths.lock.parent_path(), error);
    const auto& file = options_.paths.lock;
    lock_fd_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (lock_fd_ < 0) return fail_errno("cannot open " + file.string(), errno);
    if (flock(lock_fd_, LOCK_EX | LOCK_NB) == 0) return {};
    if (errno == EWOULDBLOCK)
        return fail("instance " + options_.paths.name + " has an lbd already: " + file.string() + " is locked", EBUSY);
    return fail_errno("cannot lock " + file.string(), errno);
}

// Those that the program goes by: of other limits, of an older layout, or of a take-over that was not finished. They stay
// pinned until the new ones have taken their place.
Result<void> Controller::set_old_tables_aside(const std::string& why) {
    const auto& folder = options_.paths.tables;
    const auto filled = [](const auto& tables) { return tables && tables->meta().config_digest != 0; };
    auto old = tables::Tables::open_to_carry(tables::Tables::aside(folder));
    if (!filled(old)) {
        old = tables::Tables::open_to_carry(folder);
        if (filled(old))
            if (auto set = tables::Tables::set_aside(folder); !set) return set;
    }
    if (filled(old)) {
        spdlog::warn("{}: new tables take over from the old ones", why);
        old_tables_ = std::make_unique<tables::Tables>(std::move(*old));
        carry_over_.emplace(*old_tables_);
    } else if (!old && old.error().code != ENOENT && old.error().code != EUCLEAN) {
        spdlog::warn("new tables are made, and nothing of old ones is taken over: {}", old.error().message);
    }
    return {};
}

Result<void> Controller::open_tables() {
    const auto& folder = options_.paths.tables;
    if (auto ready = tables::ensure_bpffs(folder); !ready) return ready;
    auto cpus = tables::possible_cpus();
    if (!cpus) return tl::unexpected(cpus.error());
    const auto& l = config_.limits;
    const auto limits = tables::limits_for({l.vips, l.services, l.pools, l.backends, l.slots, l.pins}, *cpus);
    auto opened = tables::Tables::open_pinned(folder, tables::Access::kReadWrite);
    const bool same = opened && std::memcmp(&opened->limits(), &limits, sizeof(limits)) == 0;
    adopting_ = same && opened->meta().config_digest != 0;
    if (!opened && opened.error().code != EPROTO && opened.error().code != ENOENT && opened.error().code != EUCLEAN)
        return tl::unexpected(opened.error());
    if (!adopting_) {
        if (auto set = set_old_tables_aside(opened ? "[limits] changed" : opened.error().message); !set) return set;
        if (auto removed = tables::Tables::remove_pinned(folder); !removed) return removed;
        opened = tables::Tables::create_pinned(folder, limits);
        if (!opened) return tl::unexpected(opened.error());
    }
    tables_ = std::make_unique<tables::Tables>(std::move(*opened));
    auto grace = tables::make_grace(*tables_);
    if (!grace) return tl::unexpected(grace.error());
    grace_ = std::move(*grace);
    auto writer = tables::TableWriter::create(*tables_, *grace_);
    if (!writer) return tl::unexpected(writer.error());
    writer_.emplace(std::move(*writer));
    auto turns = tables::make_grace(*tables_);
    if (!turns) return tl::unexpected(turns.error());
    transitions_ = std::make_unique<Transitions>(*writer_, std::move(*turns), options_.settle_at_once);
    if (options_.settle_at_once) spdlog::warn("a test asked for it: connections break whenever slots move");
    decisions_.emplace(*writer_, *transitions_, [this](const plan::BackendDecision& backend) {
        return path_table_->path_to(destination_of(backend));
    });
    spdlog::info("tables {}: {} MiB in {}", adopting_ ? "adopted" : "made", tables_->bytes() >> 20, folder.string());
    return {};
}

// The interface of a NIC that is DPDK's comes from lb-dpdk; then all is as with any other.
Result<void> Controller::begin_engines() {
    engines_.emplace(*tables_, options_.paths.tables, config_, node_);
    if (auto r = writer_->set_exception_rate(config_.dpdk.exceptions_per_second); !r) return r;
    if (config_.dpdk.supervise) {
        std::vector<std::string> command{engine_program(), "--config", options_.config_file.string(), "--instance",
                                         options_.paths.name};
        if (!options_.node.empty()) command.insert(command.end(), {"--node", options_.node});
        engine_process_ = std::make_unique<EngineProcess>(io_, std::move(command), options_.paths.engine);
    }
    if (engines_->missing_interfaces().empty()) return {};
    follow_engine();
    const auto deadline = std::chrono::steady_clock::now() + kEngineStart;
    while (!engines_->missing_interfaces().empty()) {
        if (std::chrono::steady_clock::now() > deadline)
            return fail("lb-dpdk has not made the interface " + engines_->missing_interfaces().front(), ENODEV);
        std::this_thread::sleep_for(kEngineLook);
    }
    return {};
}

namespace {
// XDP is as the config wants it, or as it can be had.
config::Engine switched_engine(bool dpdk, config::Engine configured) {
    if (dpdk) return config::Engine::kDpdk;
    return configured == config::Engine::kDpdk ? config::Engine::kAuto : configured;
}
}  // namespace

// lb-dpdk runs while it is needed, if that is ours to see to.
void Controller::follow_engine() {
    if (!engine_process_) return;
    if (engines_->needs_dpdk())
        engine_process_->run();
    else
        engine_process_->end();
}

Controller::ChangeResult Controller::switch_engine(bool dpdk) {
    if (!published_) return fail("not serving yet", EAGAIN);
    auto lines = engines_->switch_to(switched_engine(dpdk, node_.engine), ports_->devices());
    if (!lines) return lines;
    follow_engine();
    look_at_programs();
    state_.engine.reset();
    if (dpdk != (node_.engine == config::Engine::kDpdk)) state_.engine = SwitchedEngine{dpdk, node_.engine};
    save_state();
    if (dpdk && !tables::any_worker_lives(*tables_))
        lines->push_back(engine_process_ ? "lb-dpdk is being started" : "lb-dpdk does not run: start it");
    return lines;
}

Result<void> Controller::set_ports() {
    if (!ports_) ports_.emplace(*writer_, node_.interfaces);
    if (auto done = ports_->update(network_->model().links()); !done)
        return fail("node " + node_.name + ": " + done.error().message, done.error().code);
    return {};
}

namespace {
// The interface that the node's addresses are on: where the VIPs are on a VLAN, that one's device if there is one.
const net::Link* address_link(const config::Interface& interface, const net::NetlinkModel& model) {
    const auto* link = model.link(interface.name);
    if (!link || !interface.vlan || *interface.vlan == 0) return link;
    const auto* device = model.vlan_on(link->ifindex, *interface.vlan);
    return device ? device : link;
}

// The node's address of a family: as configured, else the first global one of its interfaces.
std::optional<IpAddress> own_address(const config::Node& node, const net::NetlinkModel& model, bool v4,
                                     const std::set<IpAddress>& vips) {
    const auto& configured = v4 ? node.address : node.address6;
    if (configured) return configured;
    for (const auto& interface : node.interfaces) {
        const auto* link = address_link(interface, model);
        for (const auto& a : model.addresses())
            if (link && a.ifindex == link->ifindex && a.address.is_v4() == v4 && !a.address.is_link_local() &&
                !vips.contains(a.address))
                return a.address;
    }
    return std::nullopt;
}

// Other nodes answer for the same VIPs, and must choose as this one does.
bool shares_vips(const config::Config& config) {
    return config.ha.mode != config::HaMode::kNone ||
           (config.ha.announce == config::Announce::kRoute && config.nodes.size() > 1);
}

std::optional<IpPrefix> tunnel_source(const config::Config& config, const std::optional<IpAddress>& own, bool v4) {
    for (const auto& prefix : config.encap_source_prefix)
        if (prefix.address.is_v4() == v4) return prefix;
    if (!own) return std::nullopt;
    return IpPrefix{*own, v4 ? 32 : 128};
}
}  // namespace

// What every packet reads and no reload changes: key, addresses, peers.
Result<void> Controller::write_identity() {
    std::error_code unreadable;
    if (shares_vips(config_) && !std::filesystem::exists(config_.hash_key_file, unreadable))
        return fail("with [ha] the hash key must be there, and be the other nodes': " + config_.hash_key_file.string() +
                        " is not",
                    ENOENT);
    auto key = load_or_create_hash_key(config_.hash_key_file);
    if (!key) return tl::unexpected(key.error());
    if (key->created)
        spdlog::info("made a hash key in {}; nodes that share a VIP need the same one", config_.hash_key_file.string());
    std::set<IpAddress> vips;
    for (const auto& service : config_.services) vips.insert(service.vip);
    const auto own4 = own_address(node_, network_->model(), true, vips);
    const auto own6 = own_address(node_, network_->model(), false, vips);

    // Wider than a word, so not to be changed under an engine; after a restart with other values there is no other way,
    // and it is said.
    const auto engine = static_cast<fl_engine_kind>(tables_->meta().engine);
    const auto set_all = [&]() -> Result<void> {
        if (auto r = writer_->set_hash_key(key->bytes); !r) return r;
        if (auto r = writer_->set_node(own4, own6); !r) return r;
        if (auto r = writer_->set_encap4(tunnel_source(config_, own4, true)); !r) return r;
        return writer_->set_encap6(tunnel_source(config_, own6, false));
    };
    auto set = set_all();
    if (!set && set.error().code == EBUSY) {
        spdlog::warn("hash key or node address differ from those in use: changed now, open connections may move");
        if (auto r = writer_->set_engine(FL_ENGINE_NONE); !r) return r;
        set = set_all();
        if (auto r = writer_->set_engine(engine); !r) return r;
    }
    if (!set) return set;
    if (auto r = writer_->set_answer_rate(kAnswersPerSecond); !r) return r;
    return reset_roles();
}

// ---- High availability ----

HaWorld Controller::ha_world() { return {config_, node_, network_->model(), tables_->roles()}; }

// Without HA this node is active from the moment that its tables are published. With VRRP roles begin anew; what another
// program decided holds on. Words that no group has any more are cleared, so that none is active that gets one later.
Result<void> Controller::reset_roles() {
    std::set<std::uint32_t> kept;
    if ((adopting_ || carry_over_) && config_.ha.mode == config::HaMode::kExternal)
        for (const auto& group : config::groups_of(config_)) {
            kept.insert(group.vrid);
            if (!carry_over_ || group.vrid >= old_tables_->roles().size()) continue;
            const auto until = tables::load_word(old_tables_->roles()[group.vrid].active_until_ns);
            if (auto set = writer_->set_role(group.vrid, until); !set) return set;
        }
    if (adopting_ && config_.ha.mode == config::HaMode::kNone) {
        kept.insert(kRole);
        if (auto set = writer_->set_role(kRole, UINT64_MAX); !set) return set;
    }
    for (std::uint32_t role = 0; role < tables_->roles().size(); ++role) {
        if (kept.contains(role)) continue;
        if (auto cleared = writer_->set_role(role, 0); !cleared) return cleared;
    }
    return {};
}

Result<void> Controller::start_ha() {
    if (config_.ha.mode == config::HaMode::kNone) return {};
    auto made = HaService::create();
    if (!made) return tl::unexpected(made.error());
    ha_ = std::move(*made);
    asio_->ha.assign(ha_->changes_fd());
    wait_for_ha();
    auto followed = ha_->follow(ha_world());
    // An address may come yet; a refusal stays one.
    if (!followed && followed.error().code == EPERM) return followed;
    if (!followed) spdlog::warn("HA: {}", followed.error().message);
    return {};
}

// From when the tables are published.
Result<void> Controller::begin_role() {
    if (!ha_) return writer_->set_role(kRole, UINT64_MAX);
    track_ha();
    return {};
}

void Controller::follow_ha() {
    if (!ha_) return;
    if (auto followed = ha_->follow(ha_world()); !followed) spdlog::warn("HA: {}", followed.error().message);
    track_ha();
    follow_hello();
}

const HelloService& Controller::hello() const { return asio_->hello; }

// Where adverts leave; to the configured peers, or to the nodes that are known otherwise.
void Controller::follow_hello() {
    if (!ha_ || ha_->groups().empty() || config_.ha.hello_port == 0) return asio_->hello.close();
    const auto& socket = ha_->groups().front().socket;
    asio_->hello.follow({socket.interface, socket.ifindex, socket.source, config_.ha.hello_port, ha::kHelloBytes});
    ha::Hello own{false, FL_ABI, tables_->meta().hash_key_id, shared_digest_, node_.name, {}};
    ha::HelloScope scope{socket.source, socket.peers, peer_addresses()};
    for (const auto& group : ha_->status()) {
        own.groups.push_back({group.vrid, group.state, group.priority, group.ready && !group.tracking.fault});
        if (group.peer) scope.neighbours.push_back(group.peer->address);
    }
    asio_->hello.speak(std::move(own), std::move(scope));
}

// A node that came back takes no mastership before all its checks have spoken, and it knows what the active one knows.
void Controller::track_ha() {
    if (!ha_) return;
    HaCondition node;
    for (const auto& interface : node_.interfaces) {
        const auto* link = network_->model().link(interface.name);
        node.interfaces_up &= link != nullptr && link->up();
    }
    node.attached = published_ && attached_;
    ha_->track(config_.ha, [&](const ha::HaGroup& group) {
        return HaCondition{node.interfaces_up, node.attached, has_eligible_backend(group)};
    });
    if (ha_->ready() || !published_ || !monitor_->all_reported() || (sync_ && !sync_->wait_over())) return;
    ha_->set_ready();
    follow_hello();  // whoever hands over waits for that
}

bool Controller::has_eligible_backend(const ha::HaGroup& group) const {
    std::set<std::string_view> pools;
    for (const auto& service : config_.services)
        if (std::binary_search(group.vips.begin(), group.vips.end(), service.vip)) pools.insert(service.pool);
    return std::any_of(plan_.decisions.begin(), plan_.decisions.end(),
                       [&](const auto& decision) { return pools.contains(decision.pool) && decision.eligible > 0; });
}

void Controller::wait_for_ha() {
    asio_->ha.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](const auto& error) {
        if (error) return;
        log_role();
        follow_routes();
        follow_hello();
        wait_for_ha();
    });
}

std::vector<std::string> Controller::log_role() {
    auto lines = ha_->take_changes();
    for (const auto& line : lines) spdlog::warn("role: {}", line);
    if (sync_ && !lines.empty()) sync_->tell_now();  // who yields to a better node has not told its last connections
    follow_idle();
    return lines;
}

// VIPs whose connections other nodes have: of groups whose active node is another, one that is heard or that another
// program knows of (a node that has just been started, and hears nobody, may be the one that has them); and, where several
// nodes announce, those that this one withdrew for want of a backend and does not announce again yet. `node`: those of one
// node alone.
std::set<IpAddress> Controller::vips_of_others(const std::optional<IpAddress>& node) const {
    std::set<IpAddress> elsewhere;
    if (!node && announcer_->on() && shares_vips(config_)) elsewhere = settling_.returning();
    if (!ha_) return elsewhere;
    const auto now = std::chrono::steady_clock::now();
    const auto statuses = ha_->status();
    for (std::size_t i = 0; i < statuses.size(); ++i) {
        const auto& peer = statuses[i].peer;
        const bool heard = peer && now - peer->at < 3 * std::chrono::milliseconds(peer->interval);
        if (node && heard && peer->address != *node) continue;
        const auto until = tables::load_word(tables_->roles()[statuses[i].vrid].active_until_ns);
        if (ha::role_word(now) >= until && (heard || statuses[i].external))
            elsewhere.insert(ha_->groups()[i].vips.begin(), ha_->groups()[i].vips.end());
    }
    return elsewhere;
}

// Those that are used by such VIPs alone.
std::set<std::uint32_t> Controller::pools_of_others(const std::optional<IpAddress>& node) const {
    const auto elsewhere = vips_of_others(node);
    if (elsewhere.empty()) return {};
    std::set<std::string_view> theirs, ours;
    for (const auto& service : plan_.desired.services)
        (elsewhere.contains(service.vip) ? theirs : ours).insert(service.pool);
    std::set<std::uint32_t> pools;
    for (const auto pool : theirs)
        if (const auto id = ours.contains(pool) ? std::nullopt : writer_->find_pool(pool)) pools.insert(*id);
    return pools;
}

// Slots of pools that others are active for go by what these tell, or else by no previous owner.
void Controller::follow_idle() {
    if (!published_) return;
    const auto others = pools_of_others();
    if (auto set = transitions_->set_idle(others); !set) spdlog::error("{}", set.error().message);
    if (!sync_) return;
    release_followed(others);
    sync_->set_standby([this](const IpAddress& node) { return pools_of_others(node); });
    following_ = sync_->followed();
    if (auto set = transitions_->set_following(following_); !set) spdlog::error("{}", set.error().message);
    sync_soon();
}

// Once for all that happens in this turn of the loop.
void Controller::sync_soon() {
    if (!sync_ || std::exchange(asio_->syncing, true)) return;
    boost::asio::post(io_, [this] {
        asio_->syncing = false;
        follow_sync();
    });
}

// ---- Routes that announce VIPs ----

void Controller::own_routes() {
    const auto& routes = config_.ha.routes;
    const bool wanted = config_.ha.announce == config::Announce::kRoute;
    announcer_->set_owner(wanted ? std::optional(net::RouteOwner{routes.table, routes.protocol}) : std::nullopt);
}

// True if it has changed.
bool Controller::look_at_programs() {
    const bool attached = engines_->all_attached(ports_->devices());
    return std::exchange(attached_, attached) != attached;
}

void Controller::follow_routes() {
    if (!announcer_->on()) return;
    plan::AnnouncingNode node{.published = published_, .attached = attached_};
    node.active = [&](const IpAddress& vip) {
        if (!ha_) return true;
        const auto now = ha::role_word(std::chrono::steady_clock::now());
        return std::any_of(plan_.desired.vips.begin(), plan_.desired.vips.end(), [&](const auto& desired) {
            return desired.address == vip && now < tables::load_word(tables_->roles()[desired.role].active_until_ns);
        });
    };
    auto decided = plan::decide_announcements(config_, plan_.decisions, node);
    if (published_) settling_.apply(decided, std::chrono::steady_clock::now());
    follow_idle();  // before routers send anything
    announcer_->follow(std::move(decided));
}

// What comes without a word: a program that is taken off, a role that runs out, a route that somebody removed.
void Controller::check_routes(bool programs_changed) {
    if (!announcer_->on()) return;
    if (std::exchange(routes_changed_, false) || announcer_->failing()) announcer_->refresh();
    if (ha_ || settling_.pending() || programs_changed) follow_routes();
}

// Verdicts that the pinned tables remember, and backends that were leaving.
void Controller::adopt_run_time_state() {
    if (!adopting_ && !carry_over_) return;
    const auto now = std::chrono::steady_clock::now();
    const auto snapshot = carry_over_ ? carry_over_->snapshot() : tables::take_snapshot(*tables_);
    for (const auto& pool : snapshot.pools)
        for (const auto& backend : pool.backends) {
            const auto verdict = verdict_of(backend.state);
            adopted_[{pool.name, backend.name}] = {verdict, backend.address};
            if (verdict == health::Verdict::kUnknown) continue;
            vitals_.adopt(pool.name, backend.name,
                          {backend.state == FL_BACKEND_DEAD, verdict == health::Verdict::kDown}, now);
        }
    plan::keep_tables(config_, snapshot);
    for (const auto& line : plan::keep_leaving(config_, snapshot, config_)) spdlog::info("{}", line);
}

void Controller::load_state() {
    auto loaded = fairlead::load_state(options_.paths.state);
    if (!loaded) {
        const auto aside = options_.paths.state.string() + ".bad";
        std::error_code failed;
        std::filesystem::rename(options_.paths.state, aside, failed);
        spdlog::error("what was set at run time does not hold: {}{}", loaded.error().message,
                      failed ? "" : "; the file is " + aside + " now");
        return;
    }
    state_ = std::move(*loaded);
    const auto kept = state_;
    for (const auto& line : drop_stale(state_, config_, node_.engine)) spdlog::warn("{}", line);
    resume_engine();
    if (state_ != kept) save_state();  // the config may be again what it was
    for (const auto& [pool, backends] : state_.overrides)
        for (const auto& [name, override] : backends)
            spdlog::info("pool {}: backend {}: still {}{}{}, as set at run time", pool, name,
                         override.drained ? "drained" : "", override.drained && override.weight ? ", " : "",
                         override.weight ? "of weight " + std::to_string(*override.weight) : "");
}

void Controller::resume_engine() {
    if (!state_.engine) return;
    const char* name = state_.engine->dpdk ? "dpdk" : "xdp";
    if (engines_->resume(switched_engine(state_.engine->dpdk, node_.engine)))
        return spdlog::info("engine {}: still, as set at run time", name);
    spdlog::warn("engine {}, set at run time, gives way to a [[dpdk.port]]", name);
    state_.engine.reset();
}

void Controller::save_state() {
    if (auto saved = fairlead::save_state(options_.paths.state, state_); !saved)
        spdlog::error("what was set at run time would not survive a restart: {}", saved.error().message);
}

// Which tier a pool with failback = false is in, so that a restart leaves it there.
void Controller::remember_tier(std::size_t position) {
    const auto& pool = config_.pools[position];
    const auto& tier = plan_.decisions[position].tier;
    const auto known = state_.tiers.find(pool.name);
    if (pool.failback || !tier) {
        if (!pool.failback || known == state_.tiers.end()) return;
        state_.tiers.erase(known);
    } else {
        if (known != state_.tiers.end() && known->second == *tier) return;
        state_.tiers[pool.name] = *tier;
    }
    save_soon();
}

// Once for all that happens in this turn of the loop.
void Controller::save_soon() {
    if (std::exchange(asio_->saving, true)) return;
    boost::asio::post(io_, [this] {
        asio_->saving = false;
        save_state();
    });
}

plan::NodeView Controller::node_view() const { return {node_.name, local_addresses_}; }

// What checks and time say of a pool's backends.
plan::PoolHealth Controller::look(const config::Pool& pool) {
    const auto gone = [this](const config::Backend& backend) {
        if (asio_->silent && asio_->silent->gone(backend.address)) return true;
        const auto* hop = path_table_->find(destination_of(backend));
        return hop && hop->reach == net::Reach::kFailed && hop->via == backend.address;
    };
    vitals_.turns_done(transitions_->turns_done());
    auto checks = pool_health(pool, *monitor_);
    // The active node's checks are what counts, while it is heard: two views would pull the tables apart.
    const auto* view = sync_ ? sync_->view(pool.name) : nullptr;
    if (view)
        for (const auto& [name, health] : view->health) checks[name] = health;
    auto health =
        vitals_.look(pool, std::move(checks), std::chrono::steady_clock::now(), view ? plan::Vitals::IsGone{} : gone);
    if (view)
        for (const auto& [name, seen] : view->health) health[name] = seen;
    looked_[pool.name] = health;
    return health;
}

plan::HealthView Controller::health_view() {
    plan::HealthView view;
    for (const auto& pool : config_.pools) view[pool.name] = look(pool);
    return view;
}

plan::Plan Controller::make_plan() {
    return plan::make_plan(config_, node_view(), health_view(), state_.overrides, state_.tiers);
}

// Makes the tables say `next`, which is the plan from then on.
Result<void> Controller::apply(plan::Plan next) {
    if (auto report = decisions_->apply(next); !report) return tl::unexpected(report.error());
    plan_ = std::move(next);
    leavers_ = 0;
    for (const auto& decision : plan_.decisions) {
        bury(decision);
        leavers_ +=
            static_cast<std::size_t>(std::ranges::count(decision.backends, true, &plan::BackendDecision::leaving));
    }
    for (std::size_t i = 0; i < config_.pools.size(); ++i) remember_tier(i);
    if (sync_) sync_->tables_changed();
    sync_soon();
    schedule_step();
    return {};
}

// The tables say of these backends that they are dead, and slots went by it.
void Controller::bury(const plan::PoolDecision& decision) {
    const auto dead = [](const auto& backend) { return backend.state == FL_BACKEND_DEAD; };
    if (std::ranges::any_of(decision.backends, dead)) vitals_.buried(decision.pool, transitions_->draw_ticket());
}

std::vector<health::TargetSpec> Controller::wanted_checks(const plan::Plan& plan) const {
    std::vector<health::TargetSpec> specs;
    specs.reserve(plan.checks.size());
    for (const auto& target : plan.checks) {
        const auto adopted = adopted_.find({target.pool, target.backend});
        // Another machine under the same name has yet to show what it is.
        const bool known = adopted != adopted_.end() && adopted->second.second == target.address;
        specs.push_back({{target.address, target.check}, known ? adopted->second.first : health::Verdict::kUnknown});
    }
    return specs;
}

// A check that times out may mean that the host is gone; one that answers, however badly, is there.
void Controller::check_answered(const health::TargetKey& key, health::Outcome outcome) {
    if (outcome == health::Outcome::kInconclusive) return;
    if (outcome != health::Outcome::kTimedOut) return asio_->silent->answered(key.address);
    for (const auto& pool : config_.pools)
        for (const auto& backend : pool.backends)
            if (backend.address == key.address)
                if (const auto* hop = path_table_->find(destination_of(backend))) return asio_->silent->timed_out(*hop);
}

void Controller::start_checks() {
    asio_->silent = std::make_unique<SilentHosts>(io_, *network_, [this](const IpAddress& address) {
        spdlog::warn("{}: nobody answers for it at layer 2", address.to_string());
        update_pools_of(address);
    });
    monitor_->on_result(
        [this](const auto& key, const auto& result, const auto&) { check_answered(key, result.outcome); });
    monitor_->on_change(
        [this](const auto& key, auto from, auto to, const auto& reason) { check_changed(key, from, to, reason); });
    monitor_->set_targets(wanted_checks(plan_));
    adopted_.clear();
}

// ---- Tables ----

// From tables of other sizes, or of an older layout, which the program goes by until it has ours.
Result<void> Controller::take_over() {
    if (!carry_over_) return {};
    if (auto report = writer_->apply(plan_.desired); !report) return tl::unexpected(report.error());
    if (auto carried = carry_over_->slots(*writer_); !carried) return carried;
    carry_over_->counters(*writer_);
    transitions_->follow_tables();
    if (const auto lost = carry_over_->pins(*writer_))
        spdlog::warn("{} pins found no place in the new tables: [limits] pins is too small for them", lost);
    return {};
}

// What was pinned between the first look and the exchange of the program.
void Controller::finish_take_over() {
    const auto aside = tables::Tables::aside(options_.paths.tables);
    if (auto removed = tables::Tables::remove_pinned(aside); !removed) spdlog::warn("{}", removed.error().message);
    if (!carry_over_) return;
    if (auto waited = grace_->wait(); !waited) spdlog::warn("{}", waited.error().message);
    carry_over_->pins(*writer_);
    carry_over_.reset();
    old_tables_.reset();
}

// What drains has no place that was asked for: rather without it than not at all.
void Controller::drop_leavers() {
    for (auto& pool : config_.pools) std::erase_if(pool.backends, [](const auto& backend) { return backend.leaving; });
    plan_ = make_plan();
}

Result<void> Controller::publish() {
    const auto fill = [this]() -> Result<void> {
        if (auto taken = take_over(); !taken) return taken;
        return apply(plan_);
    };
    auto filled = fill();
    if (!filled && filled.error().code == ENOSPC) {
        spdlog::error("{}: backends that are no longer in the config are not drained", filled.error().message);
        drop_leavers();
        filled = fill();
    }
    if (!filled) return filled;
    vitals_.begin();
    update_peers();
    // What tells tables that were filled from tables that were only made.
    if (auto r = writer_->set_config_digest(1); !r) return r;
    if (auto r = engines_->attach(ports_->devices()); !r) return r;
    follow_engine();
    finish_take_over();
    ports_->forget_adopted();
    published_ = true;
    look_at_programs();
    if (auto r = begin_role(); !r) return r;
    follow_routes();
    for (const auto& decision : plan_.decisions) spdlog::info("pool {}: {}", decision.pool, decision.reason);
    spdlog::info("serving {} VIPs, {} services", plan_.desired.vips.size(), plan_.desired.services.size());
    return {};
}

void Controller::publish_if_ready() {
    if (published_ || !monitor_->all_reported()) return;
    plan_ = make_plan();
    if (auto done = publish(); !done) {
        spdlog::critical("{}", done.error().message);
        io_.stop();
    }
}

void Controller::follow_interfaces() {
    if (auto set = set_ports(); !set) spdlog::warn("{}", set.error().message);
    asio_->tracker->set_interfaces(ports_->interfaces());
    if (!published_) return;
    engines_->follow(ports_->devices());
    follow_engine();
    look_at_programs();
    follow_routes();
}

// ---- Network ----

void Controller::watch_network() {
    asio_->tracker = std::make_unique<net::NextHopTracker>(*network_);
    asio_->tracker->set_interfaces(ports_->interfaces());
    path_table_ = std::make_unique<PathTable>(*writer_, *asio_->tracker, *ports_);
    asio_->tracker->on_change([this](const auto& before, const auto& now) { way_changed(before, now); });
    want_destinations();
    network_->on_change([this](const net::Changes& changes) { network_changed(changes); });
    asio_->netlink.assign(network_->fd());
    wait_for_netlink();
}

void Controller::wait_for_netlink() {
    asio_->netlink.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](const auto& error) {
        if (error) return;
        if (auto read = network_->on_readable(); !read) {
            spdlog::error("rtnetlink: {}: neighbours and routes are no longer followed", read.error().message);
            return;
        }
        wait_for_netlink();
    });
}

namespace {
void add_backends(std::set<net::Destination>& destinations, const config::Config& config) {
    for (const auto& pool : config.pools)
        for (const auto& backend : pool.backends) destinations.insert(destination_of(backend));
}
}  // namespace

// Those of a config that is about to be applied too, so that a backend's way is known when its word is written.
void Controller::want_also(const config::Config& next) {
    std::set<net::Destination> added;
    add_backends(added, next);
    add_backends(added, config_);
    for (const auto& address : peer_addresses()) added.insert(address);
    asio_->tracker->set_wanted({added.begin(), added.end()}, std::chrono::steady_clock::now());
}

// Backends and the other nodes.
void Controller::want_destinations() {
    std::set<net::Destination> wanted;
    add_backends(wanted, config_);
    for (const auto& address : peer_addresses()) wanted.insert(address);
    asio_->tracker->set_wanted({wanted.begin(), wanted.end()}, std::chrono::steady_clock::now());
    path_table_->keep_only(wanted);
    schedule_tracker();
}

void Controller::schedule_tracker() {
    const auto deadline = asio_->tracker->next_deadline();
    if (!deadline) return;
    asio_->tracking.expires_at(*deadline);
    asio_->tracking.async_wait([this](const boost::system::error_code& error) {
        if (error) return;
        asio_->tracker->tick(std::chrono::steady_clock::now());
        schedule_tracker();
    });
}

void Controller::network_changed(const net::Changes& changes) {
    if (changes.links || changes.resynchronized) follow_interfaces();
    asio_->tracker->on_change(changes, std::chrono::steady_clock::now());
    schedule_tracker();
    if (changes.addresses || changes.resynchronized) addresses_changed();
    routes_changed_ |= changes.routes || changes.resynchronized;
    if (changes.links || changes.addresses || changes.resynchronized) follow_ha();
}

// An address that comes or goes may make a backend or a VIP this node's own, or another's.
void Controller::addresses_changed() {
    std::set<IpAddress> now;
    for (const auto& address : network_->model().addresses()) now.insert(address.address);
    if (now == local_addresses_) return;
    local_addresses_ = std::move(now);
    if (!published_) return;
    auto next = make_plan();
    if (next.desired == plan_.desired) return;
    for (const auto& line : plan::diff_plan(plan_, next)) spdlog::info("addresses changed: {}", line);
    if (auto applied = apply(std::move(next)); !applied) {
        spdlog::error("after a change of this node's addresses: {}", applied.error().message);
        return;
    }
    update_peers();
}

void Controller::way_changed(const std::optional<net::NextHop>& before, const net::NextHop& now) {
    if (!before || before->reach != now.reach || before->mac != now.mac)
        spdlog::info("next hop of {}: {}{}{}", now.destination.to_string(), net::to_string(now.reach),
                     now.mac.is_zero() ? "" : " at " + now.mac.to_string(),
                     now.reason.empty() ? "" : ": " + now.reason);
    if (now.reach == net::Reach::kReachable && asio_->silent) asio_->silent->answered(now.destination.address);
    const bool rewrite = path_table_->changed(now);
    if (!published_) return;
    const auto peers = peer_addresses();
    if (std::find(peers.begin(), peers.end(), now.destination.address) != peers.end()) update_peers();
    if (!rewrite) return;
    for (std::size_t i = 0; i < config_.pools.size(); ++i) {
        const auto& backends = config_.pools[i].backends;
        const bool concerned = std::any_of(backends.begin(), backends.end(), [&](const auto& backend) {
            return destination_of(backend) == now.destination;
        });
        if (concerned) decisions_->write_backends(plan_.decisions[i]);
    }
}

std::vector<IpAddress> Controller::peer_addresses() const {
    std::vector<IpAddress> result;
    for (const auto& node : config_.nodes) {
        if (node.name == node_.name) continue;
        if (node.address) result.push_back(*node.address);
        if (node.address6) result.push_back(*node.address6);
    }
    return result;
}

namespace {
struct Tunnels {
    bool any = false;
    std::uint16_t gue_port = 0;  // 0: none by GUE
};

// How packets for this node's own backends come here when another node steers them.
Tunnels tunnels_to(const config::Config& config, const plan::NodeView& node) {
    Tunnels tunnels;
    for (const auto& pool : config.pools)
        for (const auto& backend : pool.backends) {
            if (backend.forward == config::Forward::kL2Dsr || !plan::is_local(backend, node)) continue;
            tunnels.any = true;
            if (backend.forward != config::Forward::kGue) continue;
            if (tunnels.gue_port && tunnels.gue_port != pool.gue_port)
                spdlog::error("pool {}: gue_port {}, but this node unwraps what comes to port {} for another pool",
                              pool.name, pool.gue_port, tunnels.gue_port);
            else
                tunnels.gue_port = pool.gue_port;
        }
    return tunnels;
}
}  // namespace

// "A packet is steered once" matters where this node is a backend: there, what a peer sends for a VIP was steered by it.
// Elsewhere a peer is a client like any other.
void Controller::update_peers() {
    std::vector<MacAddress> macs;
    std::vector<IpPrefix> sources;
    bool local = false;
    for (const auto& pool : plan_.desired.pools)
        for (const auto& backend : pool.backends) local |= backend.forward == FL_FORWARD_LOCAL;
    const auto [tunnelled, gue_port] = tunnels_to(config_, node_view());
    if (local)
        for (const auto& address : peer_addresses()) {
            const auto* hop = path_table_->find(address);
            if (hop && !hop->mac.is_zero() && hop->via == address &&
                std::find(macs.begin(), macs.end(), hop->mac) == macs.end())
                macs.push_back(hop->mac);
            if (tunnelled) sources.push_back({address, address.is_v4() ? 32 : 128});
        }
    if (tunnelled)
        sources.insert(sources.end(), config_.encap_source_prefix.begin(), config_.encap_source_prefix.end());
    const auto report = [](const Result<void>& result) {
        if (!result) spdlog::error("peers: {}", result.error().message);
    };
    report(writer_->set_peers(macs));
    report(writer_->set_sources(sources));
    report(writer_->set_gue_port(gue_port));
    report(writer_->set_meta_flags(tunnelled ? FL_META_DECAP : 0));
}

// ---- Events ----

void Controller::check_changed(const health::TargetKey& key, health::Verdict from, health::Verdict to,
                               const std::string& reason) {
    const auto level = to == health::Verdict::kDown ? spdlog::level::warn : spdlog::level::info;
    spdlog::log(level, "check {}: {} -> {}: {}", key.to_string(), health::to_string(from), health::to_string(to),
                reason);
    if (!published_) return publish_if_ready();
    update_pools_of(key.address);
}

void Controller::update_pools_of(const IpAddress& address) {
    if (!published_) return;
    for (std::size_t i = 0; i < config_.pools.size(); ++i) {
        const auto& pool = config_.pools[i];
        const bool concerned = std::any_of(pool.backends.begin(), pool.backends.end(),
                                           [&](const auto& backend) { return backend.address == address; });
        if (concerned) update_pool(i);
    }
}

// After a verdict or an override: decide again, and write what came of it.
void Controller::update_pool(std::size_t position) {
    const auto& pool = config_.pools[position];
    const auto overrides = state_.overrides.find(pool.name);
    const auto tier = state_.tiers.find(pool.name);
    auto decision = plan::decide_pool(pool, look(pool),
                                      overrides == state_.overrides.end() ? plan::PoolOverrides{} : overrides->second,
                                      tier == state_.tiers.end() ? std::nullopt : std::optional(tier->second));
    schedule_step();
    auto& present = plan_.decisions[position];
    if (decision == present) return;
    if (published_) {
        decisions_->update(decision);
        bury(decision);
    }
    for (const auto& line : plan::diff_decision(present, decision)) spdlog::info("{}", line);
    const bool routes = (present.in_use > 0) != (decision.in_use > 0);
    present = std::move(decision);
    remember_tier(position);
    sync_soon();
    track_ha();
    if (routes) follow_routes();
}

// ---- What time brings ----

// Only while there is something to wait for.
void Controller::schedule_step() {
    if (!published_ || asio_->stepping || (!transitions_->busy() && vitals_.running().empty() && leavers_ == 0)) return;
    asio_->stepping = true;
    asio_->step.expires_after(kStep);
    asio_->step.async_wait([this](const boost::system::error_code& error) {
        asio_->stepping = false;
        if (!error) step();
    });
}

void Controller::step() {
    transitions_->step();
    const auto running = vitals_.running();
    for (std::size_t i = 0; i < config_.pools.size() && !running.empty(); ++i)
        if (running.contains(config_.pools[i].name)) update_pool(i);
    release_leavers();
    schedule_step();
}

// No slot and no pin names it, nor can one come to.
bool Controller::may_go(const config::Pool& pool, const config::Backend& backend) {
    if (!backend.leaving) return false;
    const auto id = writer_->find_pool(pool.name);
    const auto index = id ? writer_->find_backend(*id, backend.name) : std::nullopt;
    return !index || transitions_->uses(*id, *index).none;
}

// Backends that left the config, once no connection needs them.
void Controller::release_leavers() {
    if (leavers_ == 0 || ++steps_since_release_ < kStepsAnAsk) return;
    steps_since_release_ = 0;
    std::vector<std::pair<std::string, std::string>> released;
    for (const auto& pool : config_.pools)
        for (const auto& backend : pool.backends)
            if (may_go(pool, backend)) released.emplace_back(pool.name, backend.name);
    if (released.empty()) return;
    const auto pools = config_.pools;
    for (auto& pool : config_.pools)
        std::erase_if(pool.backends, [&](const auto& backend) {
            return backend.leaving && std::ranges::find(released, std::pair(pool.name, backend.name)) != released.end();
        });
    if (auto applied = apply(make_plan()); !applied) {
        spdlog::error("{}", applied.error().message);
        config_.pools = pools;  // asked for again
        return;
    }
    for (const auto& [pool, backend] : released)
        spdlog::info("pool {}: backend {}: its last connection is gone, and it with it", pool, backend);
    follow_checks();
    want_destinations();
    update_peers();
}

void Controller::tick() {
    writer_->set_controller(static_cast<std::uint32_t>(getpid()), realtime_ns());
    if (auto collected = writer_->collect(); !collected) spdlog::debug("{}", collected.error().message);
    const bool programs_changed = look_at_programs();
    track_ha();
    if (ha_) log_role();  // a split is no change of role
    check_routes(programs_changed);
    follow_hello();
    sync_soon();
    schedule_step();
    asio_->tick.expires_after(kTick);
    asio_->tick.async_wait([this](const boost::system::error_code& error) {
        if (!error) tick();
    });
}

void Controller::stop() {
    if (ha_) {
        if (sync_) sync_->flush();
        ha_->stop();  // the other node waits for it
        if (sync_) sync_->tell_to_the_end();
        asio_->ha.cancel();
        asio_->hello.close();
    }
    if (config_.ha.routes.on_stop == config::OnStop::kWithdraw) announcer_->withdraw_all();
    monitor_->stop();
    if (asio_->silent) asio_->silent->stop();
    asio_->tick.cancel();
    asio_->step.cancel();
    asio_->tracking.cancel();
    writer_->set_controller(0, realtime_ns());
}

// ---- Operator ----

Result<std::pair<std::string, std::string>> Controller::find_backend(const std::string& pool,
                                                                     const std::string& name) const {
    std::vector<std::string> found;
    for (const auto& p : config_.pools) {
        if (!pool.empty() && p.name != pool) continue;
        for (const auto& b : p.backends)
            if (b.name == name) found.push_back(p.name);
    }
    if (found.size() == 1) return std::pair(found.front(), name);
    if (found.empty()) return fail("no backend " + name + (pool.empty() ? "" : " in pool " + pool), ENOENT);
    std::string pools = found.front();
    for (std::size_t i = 1; i < found.size(); ++i) pools += ", " + found[i];
    return fail("backend " + name + " is in several pools: " + pools + "; name one", EINVAL);
}

Controller::ChangeResult Controller::override_changed(const std::string& pool) {
    for (std::size_t i = 0; i < config_.pools.size(); ++i) {
        if (config_.pools[i].name != pool) continue;
        const auto before = plan_.decisions[i];
        update_pool(i);
        drop_stale(state_, config_, node_.engine);
        save_state();
        return plan::diff_decision(before, plan_.decisions[i]);
    }
    return fail("no pool " + pool, ENOENT);
}

Controller::ChangeResult Controller::set_drained(const std::string& pool, const std::string& backend, bool drained) {
    auto found = find_backend(pool, backend);
    if (!found) return tl::unexpected(found.error());
    if (auto own = check_not_followed(found->first); !own) return tl::unexpected(own.error());
    state_.overrides[found->first][found->second].drained = drained;
    return override_changed(found->first);
}

Controller::ChangeResult Controller::set_weight(const std::string& pool, const std::string& backend,
                                                std::optional<std::uint32_t> weight) {
    auto found = find_backend(pool, backend);
    if (!found) return tl::unexpected(found.error());
    if (weight && *weight > 65535) return fail("weight " + std::to_string(*weight) + ": expected 0 to 65535", EINVAL);
    if (auto own = check_not_followed(found->first); !own) return tl::unexpected(own.error());
    auto& override = state_.overrides[found->first][found->second];
    override.weight = weight;
    for (const auto& backend : config_.find_pool(found->first)->backends)
        if (backend.name == found->second) override.instead_of = static_cast<std::uint32_t>(backend.weight);
    return override_changed(found->first);
}

Controller::ChangeResult Controller::fail_back(const std::string& pool) {
    std::vector<std::string> lines;
    bool found = pool.empty();
    for (std::size_t i = 0; i < config_.pools.size(); ++i) {
        if (!pool.empty() && config_.pools[i].name != pool) continue;
        found = true;
        if (auto own = check_not_followed(config_.pools[i].name); !own) return tl::unexpected(own.error());
        const auto before = plan_.decisions[i];
        state_.tiers.erase(config_.pools[i].name);
        update_pool(i);
        for (auto& line : plan::diff_decision(before, plan_.decisions[i])) lines.push_back(std::move(line));
    }
    if (!found) return fail("no pool " + pool, ENOENT);
    return lines;
}

// Who takes over is decided by VRRP, not by us: all that can be done is to refuse where it would be another.
Result<void> Controller::check_takeover(const std::string& group, const std::string& to) const {
    if (to == node_.name) return fail("this node is " + to, EINVAL);
    const auto peers = asio_->hello.peers();
    for (const auto& status : ha_->status()) {
        if ((!group.empty() && status.name != group) || status.state != ha::State::kActive) continue;
        if (const auto fault = ha::takeover_fault(peers, to, status.vrid))
            return fail("group " + status.name + ": " + *fault, EINVAL);
    }
    return {};
}

Controller::ChangeResult Controller::fail_over(const std::string& group, const std::string& to) {
    if (!ha_) return fail("there is no [ha] in the config", EINVAL);
    if (!to.empty())
        if (auto checked = check_takeover(group, to); !checked) return tl::unexpected(checked.error());
    if (sync_) sync_->flush();
    if (auto done = ha_->give_up(group); !done) return tl::unexpected(done.error());
    if (sync_) sync_->tell_to_the_end();
    return log_role();
}

Controller::ChangeResult Controller::set_role(const std::string& group, bool active) {
    if (!ha_) return fail("there is no [ha] in the config", EINVAL);
    if (sync_ && !active) sync_->flush();
    if (auto done = ha_->set_external(group, active); !done) return tl::unexpected(done.error());
    return log_role();
}

// What only a restart can change.
std::vector<std::string> Controller::reload_refusals(const config::Config& next) const {
    std::vector<std::string> lines;
    const auto node = config::choose_node(next, options_.node, host_name());
    if (!node) return {node.error().message};
    if ((*node)->interfaces != node_.interfaces)
        lines.push_back("the node's interfaces changed: restart lbd (traffic is forwarded meanwhile)");
    if ((*node)->engine != node_.engine) lines.push_back("engine changed: restart lbd");
    if ((*node)->address != node_.address || (*node)->address6 != node_.address6)
        lines.push_back("the node's address changed: restart lbd");
    if (next.limits != config_.limits) lines.push_back("[limits] changed: restart lbd");
    if (next.hash_key_file != config_.hash_key_file) lines.push_back("hash_key_file changed: restart lbd");
    if (next.encap_source_prefix != config_.encap_source_prefix)
        lines.push_back("encap_source_prefix changed: restart lbd");
    if (next.ha.mode != config_.ha.mode) lines.push_back("[ha] mode changed: restart lbd");
    auto dpdk = next.dpdk;
    dpdk.exceptions_per_second = config_.dpdk.exceptions_per_second;
    if (dpdk != config_.dpdk) lines.push_back("[dpdk] changed: restart lbd and lb-dpdk");
    if (next.metrics.enabled != config_.metrics.enabled || next.metrics.address != config_.metrics.address ||
        next.metrics.port != config_.metrics.port)
        lines.push_back("[metrics] changed: restart lbd");
    return lines;
}

Controller::Difference Controller::compare(std::string_view text, std::string_view file_name) const {
    return look_ahead(text, file_name, Leavers::kDrain).difference;
}

Controller::Prospect Controller::look_ahead(std::string_view text, std::string_view file_name, Leavers leavers) const {
    Prospect prospect;
    auto parsed = config::parse_config(text, file_name);
    prospect.difference.errors = std::move(parsed.diagnostics);
    if (!parsed.config) return prospect;
    auto& next = *parsed.config;
    prospect.difference.restart = reload_refusals(next);
    prospect.difference.changes = config::diff_settings(config_, next);
    const auto snapshot = tables::take_snapshot(*tables_);
    plan::keep_tables(next, snapshot);
    if (leavers == Leavers::kDrain) plan::keep_leaving(next, snapshot, config_);
    auto state = state_;
    drop_stale(state, next, node_.engine);
    auto vitals = vitals_;
    plan::HealthView health;
    const auto now = std::chrono::steady_clock::now();
    for (const auto& pool : next.pools) {
        auto& backends = health[pool.name] = vitals.look(pool, pool_health(pool, *monitor_), now);
        // Of what is yet to come the best is expected.
        for (auto& [name, backend] : backends)
            if (backend.verdict == plan::Verdict::kUnknown) backend.verdict = plan::Verdict::kUp;
    }
    prospect.plan = plan::make_plan(next, node_view(), health, state.overrides, state.tiers);
    for (auto& line : plan::diff_plan(plan_, *prospect.plan)) prospect.difference.changes.push_back(std::move(line));
    return prospect;
}

namespace {
using ServiceId = std::tuple<IpAddress, std::uint16_t, std::uint8_t>;
ServiceId id_of(const tables::DesiredService& service) { return {service.vip, service.port, service.protocol}; }

// Services that a plan no longer has, or has by another pool: their connections find other slots.
void add_cut_services(const plan::Plan& before, const plan::Plan& after, std::vector<std::string>& lines) {
    std::map<ServiceId, const tables::DesiredService*> present;
    for (const auto& service : after.desired.services) present.emplace(id_of(service), &service);
    for (const auto& old : before.desired.services) {
        const auto found = present.find(id_of(old));
        const auto subject = "service " + old.name + " (" + old.vip.to_string() + " port " +
                             (old.port ? std::to_string(old.port) : "any") + ")";
        if (found == present.end())
            lines.push_back(subject + " is removed");
        else if (found->second->pool != old.pool)
            lines.push_back(subject + " goes from pool " + old.pool + " to " + found->second->pool);
    }
}

// Pools whose flows are told apart in another way.
void add_cut_pools(const tables::DesiredPool& before, const tables::DesiredPool& after,
                   std::vector<std::string>& lines) {
    if (after.slots < before.slots)
        lines.push_back("pool " + after.name + ": its table shrinks from " + std::to_string(before.slots) + " to " +
                        std::to_string(after.slots) + " slots");
    if ((after.flags ^ before.flags) & FL_POOL_CLIENT_IP)
        lines.push_back("pool " + after.name + ": its affinity changes");
}
}  // namespace

Controller::Outlook Controller::foresee(std::string_view text, std::string_view file_name, Leavers leavers) const {
    auto prospect = look_ahead(text, file_name, leavers);
    Outlook outlook{std::move(prospect.difference), {}, {}};
    if (!prospect.plan) return outlook;
    const auto& planned = *prospect.plan;
    add_cut_services(plan_, planned, outlook.cut);
    std::map<std::string_view, std::size_t> positions;
    for (std::size_t i = 0; i < plan_.decisions.size(); ++i) positions.emplace(plan_.decisions[i].pool, i);
    for (std::size_t i = 0; i < planned.decisions.size(); ++i) {
        const auto& decision = planned.decisions[i];
        auto& pool = outlook.pools.emplace_back();
        pool.name = decision.pool;
        pool.slots = planned.desired.pools[i].slots;
        pool.moved = decisions_->slots_moved(decision, pool.slots);
        const auto known = positions.find(pool.name);
        if (known == positions.end()) continue;
        add_cut_pools(plan_.desired.pools[known->second], planned.desired.pools[i], outlook.cut);
        for (const auto& backend : plan_.decisions[known->second].backends) {
            if (const auto* kept = plan::find_backend(decision, backend.name); kept && !kept->leaving) continue;
            pool.leave.push_back(backend.name);
            if (leavers == Leavers::kCut)
                outlook.cut.push_back("pool " + pool.name + ": backend " + backend.name + " is removed at once");
        }
    }
    return outlook;
}

// Checks what the present config asks for. A backend that was there before keeps its verdict, also where its check is
// another one now: unknown is only for names that are new, else a changed interval would take a whole pool out.
void Controller::follow_checks() {
    for (const auto& decision : plan_.decisions)
        for (const auto& backend : decision.backends)
            adopted_[{decision.pool, backend.name}] = {verdict_of(backend.state), backend.address};
    monitor_->set_targets(wanted_checks(plan::make_plan(config_, node_view(), {}, state_.overrides)));
    adopted_.clear();
}

ReloadResult Controller::reload(Leavers leavers) {
    const auto refuse = [this](std::string message, std::vector<std::string> details) -> ReloadResult {
        spdlog::error("reload refused: {}; nothing has changed", message);
        for (const auto& line : details) spdlog::error("  {}", line);
        reload_error_ = message;
        return tl::unexpected(ReloadError{std::move(message), std::move(details)});
    };
    auto loaded = config::load_config(options_.config_file);
    if (!loaded.config) {
        std::vector<std::string> lines;
        for (const auto& d : loaded.diagnostics) lines.push_back(d.to_string());
        return refuse("the file has errors", std::move(lines));
    }
    if (auto lines = reload_refusals(*loaded.config); !lines.empty())
        return refuse("needs a restart", std::move(lines));

    if (loaded.config->sync.on)
        if (auto key = sync::load_key(loaded.config->sync.key_file); !key) return refuse(key.error().message, {});

    const auto digest = plan::shared_digest(*loaded.config);
    if (published_) {
        const auto snapshot = tables::take_snapshot(*tables_);
        plan::keep_tables(*loaded.config, snapshot);
        if (leavers == Leavers::kDrain) plan::keep_leaving(*loaded.config, snapshot, config_);
    }
    auto state = state_;
    const auto vitals = vitals_;
    const auto stale = drop_stale(state, *loaded.config, node_.engine);
    want_also(*loaded.config);
    std::swap(config_, *loaded.config);  // the views below read config_
    std::swap(state_, state);
    follow_checks();
    auto next = make_plan();
    auto changed = config::diff_settings(*loaded.config, config_);
    for (auto& line : plan::diff_plan(plan_, next)) changed.push_back(std::move(line));
    if (!published_) plan_ = std::move(next);
    if (auto applied = published_ ? apply(std::move(next)) : Result<void>{}; !applied) {
        std::swap(config_, *loaded.config);
        std::swap(state_, state);
        vitals_ = vitals;
        follow_checks();
        want_destinations();
        return refuse(applied.error().message, {});
    }
    for (const auto& line : stale) {
        spdlog::warn("{}", line);
        changed.push_back(line);
    }
    if (state_ != state) save_state();
    config_loaded_ = Clock::now();
    shared_digest_ = digest;
    reload_error_.reset();
    set_log_level(config_.log.level);
    if (auto started = start_sync(); !started) spdlog::error("{}", started.error().message);
    vitals_.keep_only([this](const std::string& pool) { return config_.find_pool(pool) != nullptr; });
    want_destinations();
    update_peers();
    const auto* node = *config::choose_node(config_, options_.node, host_name());
    node_.priority = node->priority;
    node_.priorities = node->priorities;
    follow_ha();
    if (auto r = writer_->set_exception_rate(config_.dpdk.exceptions_per_second); !r)
        spdlog::error("{}", r.error().message);
    own_routes();
    follow_routes();
    for (const auto& line : changed) spdlog::info("reload: {}", line);
    if (changed.empty()) spdlog::info("reload: nothing changed");
    publish_if_ready();
    return changed;
}

}  // namespace fairlead
