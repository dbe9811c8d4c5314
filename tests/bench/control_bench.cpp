// SPDX-License-Identifier: Apache-2.0
// What the controller's work on the tables costs, through the lines that lbd itself runs:
//   flap_to_last_slot_ms    from a verdict, as HealthMonitor tells it, to the last slot and backend word written: one of
//                           1,000 backends goes or comes back, in a pool of 65,536 slots
//   reload_10k_services_ms  a file of 10,000 services with a pool of 1,024 slots and 4 backends each, 1 in 100 of them
//                           with a backend replaced: read, check, plan, apply, say what changed, follow the new checks
//   tables_mib_default      the tables of the shipped limits on this machine
// Pinned tables with root, anonymous ones without. Results are checked after every round. Prints one JSON object.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "ctl/config/config.h"
#include "ctl/health/health_monitor.h"
#include "ctl/lbd/decision_writer.h"
#include "ctl/lbd/paths.h"
#include "ctl/plan/planner.h"
#include "dataplane/tables/grace.h"

namespace fairlead::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
constexpr std::uint32_t kFlapBackends = 1'000, kFlapSlots = 65'536;
constexpr std::uint32_t kServices = 10'000, kBackendsOfService = 4, kSlotsOfService = 1'024, kChangedEvery = 100;

double ms_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// The middle half of the samples, as a share of the median.
double spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return (values[values.size() * 3 / 4] - values[values.size() / 4]) / values[values.size() / 2];
}

constexpr const char* kInterface = "bench";

// A network on which every destination is a neighbour on one link.
class FlatNet : public net::NetOs {
  public:
    FlatNet() {
        link_.ifindex = 1;
        link_.name = kInterface;
        link_.mtu = 1500;
        link_.mac = *MacAddress::parse("02:00:00:00:00:01");
        link_.admin_up = link_.carrier = true;
        neighbour_.mac = *MacAddress::parse("02:00:00:00:00:02");
        neighbour_.state = net::NeighbourState::kReachable;
    }
    Result<net::Route> route_to(const IpAddress&) override {
        net::Route route;
        route.ifindex = 1;
        return route;
    }
    const net::Link* link(std::uint32_t) const override { return &link_; }
    const net::Link* vlan_on(std::uint32_t, std::uint16_t) const override { return nullptr; }
    const net::Neighbour* neighbour(const net::NeighbourKey& key) const override {
        neighbour_.key = key;
        return &neighbour_;
    }
    Result<void> resolve(const net::NeighbourKey&) override { return {}; }
    Result<void> release(const net::NeighbourKey&) override { return {}; }

    const net::Link& only_link() const { return link_; }

  private:
    net::Link link_;
    mutable net::Neighbour neighbour_;
};

// Answers every probe at once: all is well but at the address that is down.
class ScriptedProber : public health::ProbeRunner {
  public:
    explicit ScriptedProber(boost::asio::io_context& io) : io_(io) {}
    void start(health::TargetId, const health::TargetKey& key, Done done) override {
        health::ProbeResult result{health::Outcome::kOk, "", {}};
        if (key.address == down) result = {health::Outcome::kFailed, "connection refused", {}};
        boost::asio::post(io_, [done = std::move(done), result] { done(result); });
    }
    void cancel(health::TargetId) override {}

    std::optional<IpAddress> down;

  private:
    boost::asio::io_context& io_;
};

// Tables and what writes them, as lbd has them.
class Control {
  public:
    static Result<std::unique_ptr<Control>> create(const config::Limits& l) {
        std::unique_ptr<Control> control(new Control);
        auto cpus = tables::possible_cpus();
        if (!cpus) return tl::unexpected(cpus.error());
        auto made =
            control->make(tables::limits_for({l.vips, l.services, l.pools, l.backends, l.slots, l.pins}, *cpus));
        if (!made) return tl::unexpected(made.error());
        control->tables_ = std::make_unique<tables::Tables>(std::move(*made));
        auto grace = tables::make_grace(*control->tables_);
        if (!grace) return tl::unexpected(grace.error());
        control->grace_ = std::move(*grace);
        auto writer = tables::TableWriter::create(*control->tables_, *control->grace_);
        if (!writer) return tl::unexpected(writer.error());
        auto& w = control->writer_.emplace(std::move(*writer));
        auto& ports = control->ports_.emplace(w, std::vector<config::Interface>{{.name = kInterface}});
        if (auto r = ports.update({control->net_.only_link()}); !r) return tl::unexpected(r.error());
        control->tracker_.set_interfaces(ports.interfaces());
        control->paths_.emplace(w, control->tracker_, ports);
        auto turns = tables::make_grace(*control->tables_);
        if (!turns) return tl::unexpected(turns.error());
        control->transitions_ = std::make_unique<Transitions>(w, std::move(*turns));
        control->decisions_.emplace(w, *control->transitions_,
                                    [c = control.get()](const plan::BackendDecision& decision) {
                                        return c->paths_->path_to(destination_of(decision));
                                    });
        return control;
    }

    ~Control() {
        decisions_.reset();
        transitions_.reset();  // its thread waits for readers of the tables
        writer_.reset();
        tables_.reset();
        if (!folder_.empty()) static_cast<void>(tables::Tables::remove_pinned(folder_));
    }

    // What Controller::want_destinations() does.
    void follow(const config::Config& config) {
        std::set<net::Destination> wanted;
        for (const auto& pool : config.pools)
            for (const auto& backend : pool.backends) wanted.insert(destination_of(backend));
        tracker_.set_wanted({wanted.begin(), wanted.end()}, Clock::now());
        paths_->keep_only(wanted);
    }

    tables::Tables& tables() { return *tables_; }
    tables::TableWriter& writer() { return *writer_; }
    DecisionWriter& decisions() { return *decisions_; }

  private:
    Control() = default;

    Result<tables::Tables> make(const fl_limits& limits) {
        if (geteuid() != 0) return tables::Tables::create_anonymous(limits);
        folder_ = "/sys/fs/bpf/fairlead/control-bench-" + std::to_string(getpid());
        if (auto ready = tables::ensure_bpffs(folder_); !ready) return tl::unexpected(ready.error());
        return tables::Tables::create_pinned(folder_, limits);
    }

    std::filesystem::path folder_;  // empty: anonymous
    FlatNet net_;
    net::NextHopTracker tracker_{net_};
    std::unique_ptr<tables::Tables> tables_;
    std::unique_ptr<tables::GracePeriod> grace_;
    std::optional<tables::TableWriter> writer_;
    std::optional<PortTable> ports_;
    std::optional<PathTable> paths_;
    std::unique_ptr<Transitions> transitions_;
    std::optional<DecisionWriter> decisions_;
};

std::string address(unsigned first, unsigned number) {
    return std::to_string(first) + "." + std::to_string(number >> 16) + "." + std::to_string(number >> 8 & 255) + "." +
           std::to_string(number & 255);
}

// Everything that ran before is up.
std::vector<health::TargetSpec> all_up(const plan::Plan& plan) {
    std::vector<health::TargetSpec> specs;
    specs.reserve(plan.checks.size());
    for (const auto& target : plan.checks) specs.push_back({{target.address, target.check}, health::Verdict::kUp});
    return specs;
}

plan::HealthView health_view(const config::Config& config, const health::HealthMonitor& monitor) {
    plan::HealthView view;
    for (const auto& pool : config.pools) view[pool.name] = pool_health(pool, monitor);
    return view;
}

// ---- One backend of a thousand ----

class Flap {
  public:
    Result<Json> run(int rounds) {
        if (auto ready = prepare(); !ready) return tl::unexpected(ready.error());
        monitor_.on_change([this](const auto&, auto, auto to, const auto&) { changed(to); });
        for (int round = 0; round < rounds && !failure_; ++round) {
            // A stride of its own for each round, so that they are different backends.
            flapping_ = static_cast<std::size_t>(round) * 37 % kFlapBackends;
            for (const bool goes : {true, false}) {
                prober_.down = goes ? std::optional(pool().backends[flapping_].address) : std::nullopt;
                const auto samples = samples_.size();
                const auto deadline = Clock::now() + std::chrono::seconds(20);
                while (samples_.size() == samples && !failure_ && Clock::now() < deadline) io_.run_one();
                if (samples_.size() == samples && !failure_) failure_ = "flap: no verdict in 20 s";
            }
        }
        if (failure_) return fail(*failure_);
        Json result;
        result["flap_to_last_slot_ms"] = median(samples_);
        result["tables_mib_default"] = static_cast<double>(control_->tables().bytes()) / (1 << 20);
        result["spread"]["flap_to_last_slot_ms"] = spread(samples_);
        result["samples"]["flap_to_last_slot_ms"] = samples_;
        result["flap_decide_ms"] = median(decided_);
        result["tables"] = control_->tables().is_pinned() ? "pinned" : "anonymous";
        return result;
    }

  private:
    static std::string text() {
        std::string text =
            "interface = \"lo\"\n[[pool]]\nname = \"edge\"\n"
            "checks = [{ type = \"tcp\", port = 80, interval = \"1s\", timeout = \"500ms\", rise = 1, fall = 1 }]\n";
        for (std::uint32_t i = 0; i < kFlapBackends; ++i)
            text += "[[pool.backend]]\nname = \"node-" + std::to_string(i) + "\"\naddress = \"" + address(10, i + 1) +
                    "\"\n";
        return text + "[[service]]\nname = \"web\"\nvip = \"192.0.2.1\"\nports = [80]\npool = \"edge\"\n";
    }

    Result<void> prepare() {
        auto loaded = config::parse_config(text(), "flap.toml");
        if (!loaded.config) return fail(loaded.diagnostics.front().to_string());
        config_ = std::move(*loaded.config);
        if (pool().table != kFlapSlots) return fail("flap: the pool has " + std::to_string(pool().table) + " slots");
        auto control = Control::create(config_.limits);  // the defaults
        if (!control) return tl::unexpected(control.error());
        control_ = std::move(*control);
        control_->follow(config_);
        monitor_.set_targets(all_up(plan::make_plan(config_, {}, {}, {})));
        auto plan = plan::make_plan(config_, {}, health_view(config_, monitor_), {});
        if (auto applied = control_->decisions().apply(plan); !applied) return tl::unexpected(applied.error());
        present_ = plan.decisions.front();
        return check(kFlapBackends);
    }

    const config::Pool& pool() const { return config_.pools.front(); }

    // As Controller::update_pool() does.
    void changed(health::Verdict to) {
        const auto begin = Clock::now();
        auto decision = plan::decide_pool(pool(), pool_health(pool(), monitor_), {});
        const double decided = ms_since(begin);
        control_->decisions().update(decision);
        samples_.push_back(ms_since(begin));
        decided_.push_back(decided);
        if (decision == present_) failure_ = "flap: the verdict changed nothing";
        present_ = std::move(decision);
        if (auto good = check(kFlapBackends - (to == health::Verdict::kDown)); !good) failure_ = good.error().message;
    }

    // All slots have an owner, nobody who is down has one, and the state words say the same.
    Result<void> check(std::uint32_t in_use) {
        auto& t = control_->tables();
        const auto id = control_->writer().find_pool("edge").value();
        const auto& record = t.pools()[id];
        std::vector<std::uint32_t> owned(kFlapBackends);
        const auto base = FL_SLOTS_BASE(record.slots);
        for (std::uint32_t i = 0; i < kFlapSlots; ++i) {
            const auto slot = base + i;
            const auto owner = FL_SLOT_OWNER(t.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE]);
            if (owner >= kFlapBackends) return fail("flap: slot " + std::to_string(i) + " has no owner");
            ++owned[owner];
        }
        const auto owners = std::count_if(owned.begin(), owned.end(), [](auto n) { return n > 0; });
        if (owners != in_use) return fail("flap: " + std::to_string(owners) + " backends own slots");
        for (std::uint32_t i = 0; i < kFlapBackends; ++i) {
            const auto state = FL_BACKEND_STATE(t.backends()[record.backend_base + i].state);
            if ((owned[i] > 0) != (state == FL_BACKEND_HEALTHY)) return fail("flap: backend " + std::to_string(i));
        }
        return {};
    }

    boost::asio::io_context io_;
    ScriptedProber prober_{io_};
    health::HealthMonitor monitor_{io_, prober_, {}};
    config::Config config_;
    std::unique_ptr<Control> control_;
    plan::PoolDecision present_;
    std::size_t flapping_ = 0;
    std::vector<double> samples_, decided_;
    std::optional<std::string> failure_;
};

// ---- Ten thousand services ----

class Reload {
  public:
    ~Reload() {
        std::error_code ignored;
        std::filesystem::remove(file_, ignored);
    }

    Result<Json> run(int rounds) {
        file_ = std::filesystem::temp_directory_path() / ("control-bench-" + std::to_string(getpid()) + ".toml");
        Json result, first;
        if (auto r = start(first); !r) return tl::unexpected(r.error());
        const std::uint32_t changed = kServices / kChangedEvery;
        if (auto r = repeat(rounds, kChangedEvery, changed, result, "reload_10k_services_ms"); !r)
            return tl::unexpected(r.error());
        if (auto r = repeat(rounds, kServices, 1, result, "reload_10k_one_changed_ms"); !r)
            return tl::unexpected(r.error());
        if (auto r = repeat(rounds, 0, 0, result, "reload_10k_unchanged_ms"); !r) return tl::unexpected(r.error());
        result["start_10k_services"] = first;
        return result;
    }

  private:
    struct Phases {
        double read = 0, plan = 0, apply = 0, follow = 0;
        double total() const { return read + plan + apply + follow; }
        Json json() const { return {{"read_ms", read}, {"plan_ms", plan}, {"apply_ms", apply}, {"follow_ms", follow}}; }
    };

    // One service in `changed_every` (0 = none) has another last backend in each generation.
    void write_file(std::uint32_t changed_every) {
        ++generation_;
        if (revisions_.empty()) revisions_.resize(kServices);
        for (std::uint32_t i = 0; changed_every && i < kServices; i += changed_every) ++revisions_[i];
        std::ofstream out(file_);
        out << "interface = \"lo\"\n[limits]\nvips = " << kServices << "\nservices = " << kServices
            << "\npools = " << kServices << "\nbackends = " << kServices * kBackendsOfService
            << "\nslots = " << (1U << 24) << "\n";
        for (std::uint32_t i = 0; i < kServices; ++i) {
            out << "\n[[service]]\nname = \"service-" << i << "\"\nvip = \"" << address(10, i + 1)
                << "\"\nports = [80]\nbackends = [";
            for (std::uint32_t b = 0; b + 1 < kBackendsOfService; ++b)
                out << '"' << address(172, (16U << 16) + i * kBackendsOfService + b) << "\", ";
            out << '"' << address(100, (64U + revisions_[i] % 64) * 65536 + i) << "\"]\n";
        }
    }

    // What Controller::reload() does; `report` is what the tables say of it.
    Result<Phases> reload(tables::ApplyReport& report, bool start) {
        Phases phases;
        auto begin = Clock::now();
        const auto next_phase = [&](double& into) { into = ms_since(std::exchange(begin, Clock::now())); };
        auto loaded = config::load_config(file_);
        if (!loaded.config) return fail(loaded.diagnostics.front().to_string());
        next_phase(phases.read);
        std::swap(config_, *loaded.config);
        if (start) {  // as if every check had reported
            auto made = Control::create(config_.limits);
            if (!made) return tl::unexpected(made.error());
            control_ = std::move(*made);
            control_->follow(config_);
            monitor_.set_targets(all_up(plan::make_plan(config_, {}, {}, {})));
            begin = Clock::now();
        }
        auto next = plan::make_plan(config_, {}, health_view(config_, monitor_), {});
        next_phase(phases.plan);
        auto applied = control_->decisions().apply(next);
        if (!applied) return tl::unexpected(applied.error());
        report = *applied;
        next_phase(phases.apply);
        lines_ = plan::diff_plan(plan_, next).size();
        plan_ = std::move(next);
        if (!start) control_->follow(config_);
        monitor_.set_targets(all_up(plan_));
        next_phase(phases.follow);
        return phases;
    }

    Result<void> start(Json& result) {
        write_file(0);
        tables::ApplyReport report;
        auto phases = reload(report, true);
        if (!phases) return tl::unexpected(phases.error());
        if (report.services.added != kServices || report.backends.added != kServices * kBackendsOfService)
            return fail("start: not all services were added");
        result = phases->json();
        result["tables_mib"] = static_cast<double>(control_->tables().bytes()) / (1 << 20);
        return check();
    }

    Result<void> repeat(int rounds, std::uint32_t changed_every, std::uint32_t changed, Json& result,
                        const std::string& name) {
        std::vector<double> samples;
        Json phases_of_median;
        std::vector<std::pair<double, Phases>> all;
        for (int round = 0; round < rounds; ++round) {
            write_file(changed_every);
            tables::ApplyReport report;
            auto phases = reload(report, false);
            if (!phases) return tl::unexpected(phases.error());
            if (report.backends.changed + report.backends.added != changed || report.pools.changed != changed ||
                report.services.any() || report.vips.any() || (changed == 0) != (lines_ == 0))
                return fail(name + ": " + std::to_string(report.backends.added) + " backends were added, " +
                            std::to_string(report.pools.changed) + " pools changed");
            if (auto good = check(); !good) return good;
            samples.push_back(phases->total());
            all.emplace_back(phases->total(), *phases);
        }
        std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
        result[name] = all[all.size() / 2].first;
        result["phases"][name] = all[all.size() / 2].second.json();
        result["spread"][name] = spread(samples);
        result["samples"][name] = samples;
        return {};
    }

    // The slots of every pool are owned by those of its backends that are healthy, by all of them.
    Result<void> check() {
        const auto& t = control_->tables();
        for (std::uint32_t i = 0; i < kServices; ++i) {
            const std::string name = "service-" + std::to_string(i);
            const auto id = control_->writer().find_pool(name);
            if (!id) return fail(name + " has no pool");
            const auto& record = t.pools()[*id];
            const auto base = FL_SLOTS_BASE(record.slots);
            std::array<bool, 64> owns{};
            for (std::uint32_t slot = base; slot < base + kSlotsOfService; ++slot) {
                const auto owner = FL_SLOT_OWNER(t.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE]);
                if (owner >= owns.size()) return fail(name + " has a slot without an owner");
                owns[owner] = true;
            }
            for (const auto& backend : plan_.decisions[i].backends) {
                const auto index = control_->writer().find_backend(*id, backend.name);
                if (!index || owns[*index] != backend.in_use) return fail(name + ": wrong owners");
                owns[*index] = false;
            }
            if (std::count(owns.begin(), owns.end(), true)) return fail(name + ": an owner that is gone");
        }
        return {};
    }

    std::filesystem::path file_;
    boost::asio::io_context io_;  // never run: no probe changes a verdict here
    health::HealthMonitor monitor_{io_};
    std::unique_ptr<Control> control_;
    config::Config config_;
    plan::Plan plan_;
    std::vector<std::uint32_t> revisions_;
    std::uint32_t generation_ = 0;
    std::size_t lines_ = 0;
};

int run(int flaps, int reloads) {
    auto result = Flap().run(flaps);
    if (!result) return std::cerr << result.error().message << '\n', 1;
    if (reloads > 0) {
        auto more = Reload().run(reloads);
        if (!more) return std::cerr << more.error().message << '\n', 1;
        result->update(*more, true);
    }
    std::cout << result->dump(2) << '\n';
    return 0;
}

}  // namespace
}  // namespace fairlead::bench

int main(int argc, char** argv) {
    CLI::App app{"cost of the controller's changes to the tables"};
    int flaps = 15, reloads = 5;
    app.add_option("--flaps", flaps, "rounds of one backend going and coming back")->check(CLI::Range(1, 1000));
    app.add_option("--reloads", reloads, "rounds of each kind of reload; 0 = none")->check(CLI::Range(0, 1000));
    CLI11_PARSE(app, argc, argv);
    return fairlead::bench::run(flaps, reloads);
}
