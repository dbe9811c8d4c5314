// SPDX-License-Identifier: Apache-2.0
// lbd's heart: brings config, health, neighbours and the operator's wishes together into the tables, and keeps the
// program on its interfaces. What it decides comes from ctl/plan, how tables change from dataplane/tables; here is only
// what happens when.
//
// Thread rule: everything on the one thread that runs the io_context.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ctl/config/config.h"
#include "ctl/health/health_monitor.h"
#include "ctl/instance.h"
#include "ctl/lbd/decision_writer.h"
#include "ctl/lbd/engines.h"
#include "ctl/lbd/ha_service.h"
#include "ctl/lbd/paths.h"
#include "ctl/lbd/ports.h"
#include "ctl/lbd/route_announcer.h"
#include "ctl/lbd/state_file.h"
#include "ctl/lbd/transitions.h"
#include "ctl/net/kernel_net.h"
#include "ctl/plan/planner.h"
#include "ctl/plan/vitals.h"
#include "dataplane/tables/carry_over.h"
#include "dataplane/tables/writer.h"
#include "xdp/loader.h"

namespace boost::asio {
class io_context;
}

namespace fairlead {

class EngineProcess;
class HelloService;
class SyncService;
struct ToldPool;

struct ControllerOptions {
    std::filesystem::path config_file;
    std::string node;  // --node; empty = by host name
    InstancePaths paths;
    bool settle_at_once = false;  // for tests that must see connections break: no slot is ever in transition
};

// Where a reload went wrong: lines for the operator, one a fault.
struct ReloadError {
    std::string message;
    std::vector<std::string> details;
};
using ReloadResult = tl::expected<std::vector<std::string>, ReloadError>;  // what changed, a line each

class Controller {
  public:
    using Clock = std::chrono::system_clock;

    // Opens or makes the tables, adopts what runs, starts checking. With nothing to adopt, tables are published and the
    // program attached once every check has reported (DESIGN section 7).
    static Result<std::unique_ptr<Controller>> create(boost::asio::io_context& io, ControllerOptions options,
                                                      config::Config config);
    ~Controller();
    Controller(const Controller&) = delete;
    Controller& operator=(const Controller&) = delete;

    // All or nothing: on an error what ran before runs on. Backends that the file no longer has drain first, unless their
    // connections are to be cut at once.
    enum class Leavers { kDrain, kCut };
    ReloadResult reload(Leavers leavers = Leavers::kDrain);

    // What reload() of a file with this text would change; touches nothing. Without a config, `errors` says why.
    struct Difference {
        std::vector<config::Diagnostic> errors;
        std::vector<std::string> changes;
        std::vector<std::string>
            restart;  // what of it only a restart can change, and so would have reload() refuse all
    };
    Difference compare(std::string_view text, std::string_view file_name) const;

    // What a reload of it would do to connections, with backends as healthy as they are now.
    struct Outlook {
        struct Pool {
            std::string name;
            std::uint32_t slots = 0, moved = 0;  // moved: new connections there go to another backend
            std::vector<std::string> leave;      // backends that drain, or are cut
        };
        Difference difference;
        std::vector<Pool> pools;
        // Whose connections would be cut, and why.
        std::vector<std::string> cut;
    };
    Outlook foresee(std::string_view text, std::string_view file_name, Leavers leavers) const;

    // Run-time changes, until changed back or the backend leaves the config. `pool` may be empty where the backend's
    // name is unique. The lines say what changed.
    using ChangeResult = Result<std::vector<std::string>>;
    ChangeResult set_drained(const std::string& pool, const std::string& backend, bool drained);
    ChangeResult set_weight(const std::string& pool, const std::string& backend, std::optional<std::uint32_t> weight);

    // Gives pools with failback = false back to their best tier; `pool` empty: all of them.
    ChangeResult fail_back(const std::string& pool);

    // Hands mastership of a group over until the other node dies; of all that this node is active for where it is empty.
    // `to`: refuses unless it is this node that will take over; empty: whoever does.
    ChangeResult fail_over(const std::string& group, const std::string& to);
    // With mode = "external": what the other program decided, for a group or, empty, for all.
    ChangeResult set_role(const std::string& group, bool active);

    // Who steers on interfaces that are the kernel's, over restarts of lbd.
    ChangeResult switch_engine(bool dpdk);

    // Stops checking and, with HA, hands over; the data path runs on.
    void stop();

    // --- For the views; all references are valid until the next turn of the loop. ---
    bool running() const { return published_; }
    Clock::time_point since() const { return since_; }
    Clock::time_point config_loaded() const { return config_loaded_; }
    const std::optional<std::string>& reload_error() const { return reload_error_; }
    const ControllerOptions& options() const { return options_; }
    const config::Config& config() const { return config_; }
    const config::Node& node() const { return node_; }
    const plan::Plan& plan() const { return plan_; }
    const plan::Overrides& overrides() const { return state_.overrides; }
    const Transitions& transitions() const { return *transitions_; }
    const tables::TableWriter& writer() const { return *writer_; }
    const health::HealthMonitor& monitor() const { return *monitor_; }
    const PathTable& paths() const { return *path_table_; }
    const PortTable& ports() const { return *ports_; }
    const net::NetlinkModel& network() const { return network_->model(); }
    const tables::Tables& tables() const { return *tables_; }
    const std::vector<xdp::Attachment>& attachments() const { return engines_->attachments(); }
    const HaService* ha() const { return ha_.get(); }  // null without HA
    const RouteAnnouncer& announcer() const { return *announcer_; }
    const HelloService& hello() const;                       // says nothing without HA
    const SyncService* sync() const { return sync_.get(); }  // null without [sync]

  private:
    Controller(boost::asio::io_context& io, ControllerOptions options, config::Config config);

    Result<void> start();
    Result<void> take_lock();
    Result<void> choose_this_node();
    Result<void> open_tables();
    Result<void> write_identity();
    Result<void> set_ports();
    Result<void> begin_engines();
    void follow_engine();
    void adopt_run_time_state();
    void watch_network();
    void start_checks();
    void follow_checks();
    void tick();

    Result<void> start_ha();
    Result<void> begin_role();
    HaWorld ha_world();
    void follow_ha();
    void track_ha();
    bool has_eligible_backend(const ha::HaGroup& group) const;
    Result<void> reset_roles();
    void follow_hello();
    Result<void> check_takeover(const std::string& group, const std::string& to) const;
    void wait_for_ha();
    std::vector<std::string> log_role();
    std::set<IpAddress> vips_of_others(const std::optional<IpAddress>& node) const;
    std::set<std::uint32_t> pools_of_others(const std::optional<IpAddress>& node = {}) const;
    void follow_idle();

    Result<void> start_sync();
    void follow_sync();
    void sync_soon();
    void sync_changed();
    std::map<std::uint32_t, ToldPool> pools_to_tell() const;
    ToldPool pool_to_tell(std::size_t position, std::uint32_t id) const;
    void take_view(std::size_t position);
    void release_followed(const std::set<std::uint32_t>& following);
    Result<void> check_not_followed(const std::string& pool) const;

    void own_routes();
    bool look_at_programs();
    void follow_routes();
    void check_routes(bool programs_changed);

    plan::NodeView node_view() const;
    plan::HealthView health_view();
    plan::PoolHealth look(const config::Pool& pool);
    plan::Plan make_plan();
    Result<void> apply(plan::Plan next);
    void bury(const plan::PoolDecision& decision);

    void step();
    void schedule_step();
    void release_leavers();
    bool may_go(const config::Pool& pool, const config::Backend& backend);
    void remember_tier(std::size_t position);
    void save_soon();
    void drop_leavers();
    void save_state();
    void load_state();
    void resume_engine();
    std::vector<health::TargetSpec> wanted_checks(const plan::Plan& plan) const;

    Result<void> publish();
    Result<void> set_old_tables_aside(const std::string& why);
    Result<void> take_over();
    void finish_take_over();
    void follow_interfaces();
    void publish_if_ready();
    void wait_for_netlink();
    void want_destinations();
    void want_also(const config::Config& next);
    void schedule_tracker();
    void network_changed(const net::Changes& changes);
    void addresses_changed();
    void way_changed(const std::optional<net::NextHop>& before, const net::NextHop& now);
    std::vector<IpAddress> peer_addresses() const;
    void update_peers();
    void check_changed(const health::TargetKey& key, health::Verdict from, health::Verdict to,
                       const std::string& reason);
    void check_answered(const health::TargetKey& key, health::Outcome outcome);
    void update_pools_of(const IpAddress& address);
    void update_pool(std::size_t position);
    Result<std::pair<std::string, std::string>> find_backend(const std::string& pool, const std::string& backend) const;
    // A config as it would be applied, and what it changes; without a plan the file has errors.
    struct Prospect {
        Difference difference;
        std::optional<plan::Plan> plan = std::nullopt;
    };
    Prospect look_ahead(std::string_view text, std::string_view file_name, Leavers leavers) const;
    ChangeResult override_changed(const std::string& pool);
    std::vector<std::string> reload_refusals(const config::Config& next) const;

    boost::asio::io_context& io_;
    ControllerOptions options_;
    config::Config config_;
    config::Node node_;
    int lock_fd_ = -1;

    std::unique_ptr<tables::Tables> tables_;
    // Those that ours replace; gone once the program has ours.
    std::unique_ptr<tables::Tables> old_tables_;
    std::optional<tables::CarryOver> carry_over_;
    std::unique_ptr<tables::GracePeriod> grace_;
    std::optional<tables::TableWriter> writer_;
    std::unique_ptr<net::KernelNet> network_;
    std::optional<PortTable> ports_;
    std::unique_ptr<PathTable> path_table_;
    std::unique_ptr<Transitions> transitions_;
    std::optional<DecisionWriter> decisions_;
    std::unique_ptr<health::HealthMonitor> monitor_;
    std::optional<Engines> engines_;
    std::unique_ptr<EngineProcess> engine_process_;  // null: somebody else sees to lb-dpdk
    std::unique_ptr<HaService> ha_;
    std::unique_ptr<SyncService> sync_;
    std::set<std::uint32_t> following_;  // pools, as transitions_ has it
    std::optional<RouteAnnouncer> announcer_;
    plan::Settling settling_;
    bool attached_ = false;        // the program is on every interface, as last looked
    bool routes_changed_ = false;  // some route of the kernel, since routes were last looked at

    plan::Plan plan_;
    plan::Vitals vitals_;
    plan::HealthView looked_;  // what look() last said
    RunTimeState state_;       // as it stands in its file
    int steps_since_release_ = 0;
    std::size_t leavers_ = 0;          // backends of config_ that are leaving
    std::uint64_t shared_digest_ = 0;  // of the file
    // Verdicts that new checks begin with, for names that were there before: (pool, backend). Empty but while targets
    // are set.
    std::map<std::pair<std::string, std::string>, std::pair<health::Verdict, IpAddress>> adopted_;
    std::set<IpAddress> local_addresses_;

    bool adopting_ = false;
    bool published_ = false;
    Clock::time_point since_;
    Clock::time_point config_loaded_;
    std::optional<std::string> reload_error_;

    struct Io;  // timers and descriptors, so that this header needs no Asio
    std::unique_ptr<Io> asio_;
};

}  // namespace fairlead
