// SPDX-License-Identifier: Apache-2.0
// lbctl: the operator's command. Each subcommand is a function from its arguments to an exit code.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "ctl/api/views.h"
#include "ctl/config/config.h"
#include "ctl/lbctl/capture.h"
#include "ctl/lbctl/capture_filter.h"
#include "ctl/lbctl/explain.h"
#include "ctl/lbctl/print.h"
#include "ctl/lbctl/role.h"
#include "ctl/lbctl/source.h"
#include "dataplane/tables/unique_fd.h"
#include "xdp/decap.h"
#include "xdp/loader.h"

namespace fairlead::lbctl {
namespace {
struct Options {
    std::string instance = kDefaultInstance;
    std::string output = "table";
    bool json() const { return output == "json"; }
};

int report(const Error& error) {
    std::cerr << "lbctl: " << error.message << '\n';
    if (error.code == ECONNREFUSED) return kNoController;
    return error.code == ENOENT ? kNothing : kRefused;
}

int show(const Options& options, const Json& json, const std::function<std::string(const Json&)>& print) {
    std::cout << (options.json() ? json.dump(2) + "\n" : print(json));
    return kDone;
}

// With a table the notice comes first; beside JSON it goes to standard error.
void show_notice(const Options& options, const std::string& notice) {
    if (!notice.empty()) (options.json() ? std::cerr : std::cout) << notice << (options.json() ? "\n" : "\n\n");
}

int view(const Options& options, const Source& source, const std::string& name,
         const std::function<std::string(const Json&)>& print) {
    auto view = source.view(name);
    if (!view) return report(view.error());
    show_notice(options, view->notice);
    return show(options, view->json, print);
}

int status(const Options& options, const Source& source) {
    auto view = source.view("status");
    if (!view) return report(view.error());
    show_notice(options, view->notice);
    show(options, view->json, print_status);
    if (!view->notice.empty()) return kNoController;
    for (const auto& pool : view->json["pools"])
        if (pool["all_down"].get<bool>()) return kRefused;
    return kDone;
}

// 0: the other nodes and this one have each other's state.
int sync_status(const Options& options, const Source& source) {
    auto view = source.view("sync");
    if (!view) return report(view.error());
    show_notice(options, view->notice);
    show(options, view->json, print_sync);
    if (!view->notice.empty()) return kNoController;
    return is_synced(view->json) ? kDone : kRefused;
}

// --- Changes ---

int show_changes(const Options& options, const Json& json) {
    return show(options, json, [](const Json& answer) {
        std::string text;
        for (const auto& line : answer["changed"]) text += line.get<std::string>() + "\n";
        return text.empty() ? std::string("nothing changed\n") : text;
    });
}

int change(const Options& options, const Source& source, const std::string& path, const Json& body) {
    auto json = source.post(path, body);
    return json ? show_changes(options, *json) : report(json.error());
}

struct BackendArguments {
    std::string backend, pool, weight;
    Json body() const {
        Json json{{"backend", backend}};
        if (!pool.empty()) json["pool"] = pool;
        return json;
    }
};

// Decimal digits alone: "010" and "0x10" would mean different things to different readers.
std::optional<std::uint16_t> parse_weight(const std::string& text) {
    std::uint16_t weight = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return weight;
}

std::string weight_fault(const std::string& text) {
    return text == "default" || parse_weight(text) ? "" : "'" + text + "': expected 0 to 65535, or default";
}

// While this is held no lbd starts. An error: one has it. Not made where it is not there: it would not be lbd's user's.
Result<UniqueFd> lock_instance(const InstancePaths& paths) {
    UniqueFd lock(open(paths.lock.c_str(), O_RDONLY | O_CLOEXEC));
    if (!lock && errno == ENOENT) return lock;
    if (!lock) return fail_errno("cannot open " + paths.lock.string(), errno);
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
        return fail("an lbd is there, but does not answer: " + paths.lock.string() + " is locked", EBUSY);
    return lock;
}

struct RoleArguments {
    std::string role, group, config = kDefaultConfig;
};

int store_role(const Options& options, const Source& source, const RoleArguments& arguments) {
    auto tables = source.tables(tables::Access::kReadWrite);
    if (!tables) return report(tables.error());
    const auto lock = lock_instance(source.paths());
    if (!lock) return report(lock.error());
    const auto loaded = config::load_config(arguments.config);
    if (!loaded.config) {
        for (const auto& d : loaded.diagnostics) std::cerr << d.to_string() << '\n';
        return kUsage;
    }
    const auto targets = role_targets(*loaded.config, *tables, arguments.group);
    if (!targets) return report(targets.error());
    show_notice(options, notice_of(*tables));
    return show_changes(options, {{"changed", store_roles(*tables, *targets, arguments.role == "active")}});
}

int set_role(const Options& options, const Source& source, const RoleArguments& arguments) {
    Json body{{"role", arguments.role}};
    if (!arguments.group.empty()) body["group"] = arguments.group;
    auto json = source.post("/v1/role", body);
    if (json) return show_changes(options, *json);
    return json.error().code == ECONNREFUSED ? store_role(options, source, arguments) : report(json.error());
}

int fail_over(const Options& options, const Source& source, const std::string& group, const std::string& to) {
    auto body = Json::object();
    if (!group.empty()) body["group"] = group;
    if (!to.empty()) body["to"] = to;
    return change(options, source, "/v1/failover", body);
}

int set_weight(const Options& options, const Source& source, const BackendArguments& arguments) {
    auto body = arguments.body();
    const auto weight = parse_weight(arguments.weight);
    body["weight"] = weight ? Json(*weight) : Json();
    return change(options, source, "/v1/weight", body);
}

// What still needs a backend that takes no new connections.
struct Remains {
    std::uint64_t slots = 0, pins = 0;
    bool there = false;
    bool none() const { return !there || (slots == 0 && pins == 0); }
};

// Pins are counted by scans: that of one may have begun before now, that of the next has not. Without a slot in transition
// nobody is pinned.
bool counted_since(const Json& transitions, std::uint64_t scans) {
    const auto& pins = transitions["pins"];
    if (transitions["slots_in_transition"] == 0) return true;
    return !pins.is_null() && pins["scans"].get<std::uint64_t>() >= scans + 2;
}

std::uint64_t scans_of(const Json& transitions) {
    return transitions["pins"].is_null() ? 0 : transitions["pins"]["scans"].get<std::uint64_t>();
}

Remains remains_of(const Json& transitions, const BackendArguments& arguments) {
    Remains remains;
    for (const auto& pool : transitions["pools"]) {
        if (!arguments.pool.empty() && pool["name"] != arguments.pool) continue;
        for (const auto& backend : pool["backends"]) {
            if (backend["name"] != arguments.backend) continue;
            remains.there = true;
            remains.slots += backend["slots"].get<std::uint64_t>() + backend["slots_previous"].get<std::uint64_t>();
            if (!backend["pins"].is_null()) remains.pins += backend["pins"].get<std::uint64_t>();
        }
    }
    return remains;
}

struct DrainArguments {
    bool wait = false;
    double timeout = 0;  // seconds; 0: none
};

// Says what is left whenever that changes. 1: there still is something at the end of the time.
int wait_for_drain(const Options& options, const Source& source, const BackendArguments& arguments, double timeout) {
    constexpr std::chrono::milliseconds kPause{500};
    const auto begin = std::chrono::steady_clock::now();
    std::string said;
    std::optional<std::uint64_t> scans;
    for (;;) {
        auto view = source.view("transitions");
        if (!view) return report(view.error());
        if (!scans) scans = scans_of(view->json);
        if (!view->notice.empty()) return report({"lbd is not there: it counts the connections", ECONNREFUSED});
        const auto remains = remains_of(view->json, arguments);
        if (!remains.none()) scans = scans_of(view->json);
        if (remains.none() && counted_since(view->json, *scans)) break;
        auto text = arguments.backend + ": " + std::to_string(remains.slots) + " slots and " +
                    std::to_string(remains.pins) + " pinned connections remain";
        if (text != said) std::cerr << (said = std::move(text)) << std::endl;
        const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
        if (timeout > 0 && waited.count() >= timeout)
            return report({"after " + arguments.backend + " was drained: " + said, EBUSY});
        std::this_thread::sleep_for(kPause);
    }
    return show(options, Json{{"changed", {arguments.backend + ": no connection is left"}}},
                [](const Json& json) { return json["changed"][0].get<std::string>() + "\n"; });
}

int drain(const Options& options, const Source& source, const BackendArguments& arguments, const DrainArguments& more) {
    if (!more.wait) return change(options, source, "/v1/drain", arguments.body());
    const auto done = source.post("/v1/drain", arguments.body());
    if (!done) return report(done.error());
    return wait_for_drain(options, source, arguments, more.timeout);
}

// --- Looking ---

int check_config(const Options& options, const std::string& file) {
    const auto loaded = config::load_config(file);
    Json json{{"file", file}, {"good", loaded.config.has_value()}, {"errors", Json::array()}};
    for (const auto& d : loaded.diagnostics)
        json["errors"].push_back({{"line", d.line}, {"column", d.column}, {"message", d.message}});
    show(options, json, [&](const Json&) {
        std::string text;
        for (const auto& d : loaded.diagnostics) text += d.to_string() + "\n";
        if (loaded.config) return file + ": good\n";
        return text + std::to_string(loaded.diagnostics.size()) +
               (loaded.diagnostics.size() == 1 ? " error\n" : " errors\n");
    });
    return loaded.config ? kDone : kUsage;
}

// 0: no difference, 1: some, 2: the file has errors.
int diff_config(const Options& options, const Source& source, const std::string& file) {
    const auto text = config::read_config(file);
    if (!text) {
        std::cerr << "lbctl: " << file << ": " << text.error().message << '\n';
        return kUsage;
    }
    auto json = source.post("/v1/config/diff", {{"file", file}, {"text", *text}});
    if (!json) return report(json.error());
    show(options, *json, print_config_diff);
    if (!(*json)["good"].get<bool>()) return kUsage;
    return (*json)["changes"].empty() && (*json)["restart"].empty() ? kDone : kRefused;
}

// 0: nobody is cut off, 1: somebody is, 2: the file has errors.
int plan_config(const Options& options, const Source& source, const std::string& file, bool now) {
    const auto text = config::read_config(file);
    if (!text) {
        std::cerr << "lbctl: " << file << ": " << text.error().message << '\n';
        return kUsage;
    }
    auto json = source.post("/v1/plan", {{"file", file}, {"text", *text}, {"now", now}});
    if (!json) return report(json.error());
    show(options, *json, print_plan);
    if (!(*json)["good"].get<bool>()) return kUsage;
    return (*json)["cut"].empty() ? kDone : kRefused;
}

struct ExplainArguments {
    std::string from, to, protocol = "tcp", frame;
    std::vector<std::uint16_t> vlans;
    std::uint32_t size = 0;
    bool fragment = false, df = false, no_df = false;
};

Result<Question> question_of(const ExplainArguments& arguments) {
    Question question;
    if (!arguments.frame.empty()) {
        auto frame = read_frame(arguments.frame);
        if (!frame) return tl::unexpected(frame.error());
        question.frame = std::move(*frame);
        return question;
    }
    if (arguments.from.empty() || arguments.to.empty())
        return fail("explain: expected a source and a destination, or --frame", EINVAL);
    auto client = Endpoint::parse(arguments.from);
    if (!client) return tl::unexpected(client.error());
    auto vip = Endpoint::parse(arguments.to);
    if (!vip) return tl::unexpected(vip.error());
    question.source = *client;
    question.destination = *vip;
    question.udp = arguments.protocol == "udp";
    question.vlans = arguments.vlans;
    question.size = arguments.size;
    question.later_fragment = arguments.fragment;
    if (arguments.df || arguments.no_df) question.df = arguments.df;
    return question;
}

int explain_flow(const Options& options, const Source& source, const ExplainArguments& arguments) {
    const auto wrong = [](const Error& error) {
        std::cerr << "lbctl: " << error.message << '\n';
        return kUsage;
    };
    const auto question = question_of(arguments);
    if (!question) return wrong(question.error());
    auto tables = source.tables();
    if (!tables) return report(tables.error());
    auto json = explain(*tables, *question);
    if (!json) return wrong(json.error());
    return show(options, *json, print_explain);
}

struct CaptureArguments {
    std::vector<std::string> filter;
    std::string file;  // empty: none; "-": standard output
    std::uint64_t count = 0;
    double seconds = 0;
    std::uint32_t one_in = 1, rate = kCaptureRate;
};

std::atomic<bool> interrupted{false};  // by a signal

// A write to a reader who is gone fails then, instead of ending the process.
void catch_signals() {
    struct sigaction action{};
    action.sa_handler = [](int) { interrupted = true; };
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, nullptr);
}

Json summary_json(const CaptureSummary& summary) {
    return {{"packets", summary.packets},
            {"matched", summary.counts.matched},
            {"limited", summary.counts.limited},
            {"overwritten", summary.counts.overwritten}};
}

// What is not among the packets shown is said beside them.
int show_summary(const Options& options, const CaptureArguments& arguments, const CaptureSummary& summary) {
    std::cerr << summary.packets << (summary.packets == 1 ? " packet" : " packets") << " captured of "
              << summary.counts.matched << " that matched; " << summary.counts.limited
              << " not kept because of --rate, " << summary.counts.overwritten
              << " entries overwritten before they were read\n";
    if (options.json() && !arguments.file.empty() && arguments.file != "-")
        std::cout << summary_json(summary).dump(2) << '\n';
    return kDone;
}

int capture_to(const Options& options, const CaptureArguments& arguments, tables::Tables& tables,
               const fl_capture_filter& filter, CaptureSink& sink, std::ostream& out) {
    const CaptureRun run{arguments.count, arguments.seconds, interrupted,
                         [] { std::cerr << "capturing; an interrupt ends it\n"; }};
    const auto summary = run_capture(tables, filter, run, sink, out);
    return summary ? show_summary(options, arguments, *summary) : report(summary.error());
}

int capture(const Options& options, const Source& source, const CaptureArguments& arguments) {
    auto tables = source.tables(tables::Access::kReadWrite);
    if (!tables) return report(tables.error());
    auto filter = parse_filter(arguments.filter, tables::take_snapshot(*tables));
    if (!filter) {
        std::cerr << "lbctl: " << filter.error().message << '\n';
        return kUsage;
    }
    filter->one_in = arguments.one_in;
    filter->per_second = arguments.rate;
    const auto lock = lock_capture(source.paths().tables);
    if (!lock) return report(lock.error());
    catch_signals();
    if (!source.has_controller()) std::cerr << notice_of(*tables) << '\n';
    if (arguments.file.empty()) {
        const auto sink = options.json() ? make_json_sink(std::cout) : make_text_sink(std::cout);
        return capture_to(options, arguments, *tables, *filter, *sink, std::cout);
    }
    if (arguments.file == "-")
        return capture_to(options, arguments, *tables, *filter, *make_pcapng_sink(std::cout), std::cout);
    std::ofstream file(arguments.file, std::ios::binary | std::ios::trunc);
    if (!file) return report({"cannot write " + arguments.file + ": " + std::strerror(errno), EIO});
    return capture_to(options, arguments, *tables, *filter, *make_pcapng_sink(file), file);
}

struct Sample {
    Json services, backends;
    std::string notice;
    std::chrono::steady_clock::time_point time;

    Stats stats() const { return {services, backends}; }
    Json json() const { return {{"services", services["services"]}, {"backends", backends["backends"]}}; }
};

Result<Sample> take_sample(const Source& source) {
    auto services = source.view("services");
    if (!services) return tl::unexpected(services.error());
    auto backends = source.view("backends");
    if (!backends) return tl::unexpected(backends.error());
    return Sample{std::move(services->json), std::move(backends->json), backends->notice,
                  std::chrono::steady_clock::now()};
}

void show_rates(const Options& options, const Sample& before, const Sample& now) {
    if (options.json()) {
        std::cout << now.json().dump() << std::endl;
        return;
    }
    const auto old = before.stats();
    const double seconds = std::chrono::duration<double>(now.time - before.time).count();
    if (isatty(STDOUT_FILENO)) std::cout << "\033[H\033[2J";
    show_notice(options, now.notice);
    std::cout << print_stats(now.stats(), &old, seconds) << std::endl;
}

// Beside those by service: by CPU and worker.
int core_stats(const Options& options, const Source& source, bool watch, double interval) {
    if (!watch) return view(options, source, "cores", [](const Json& json) { return print_cores(json, nullptr, 0); });
    auto before = source.view("cores");
    for (auto looked = std::chrono::steady_clock::now(); before;) {
        std::this_thread::sleep_for(std::chrono::duration<double>(interval));
        auto now = source.view("cores");
        if (!now) return report(now.error());
        const auto time = std::chrono::steady_clock::now();
        const double seconds = std::chrono::duration<double>(time - std::exchange(looked, time)).count();
        if (!options.json() && isatty(STDOUT_FILENO)) std::cout << "\033[H\033[2J";
        show_notice(options, now->notice);
        std::cout << (options.json() ? now->json.dump() : print_cores(now->json, &before->json, seconds)) << std::endl;
        before = std::move(now);
    }
    return report(before.error());
}

int stats(const Options& options, const Source& source, bool watch, double interval) {
    auto before = take_sample(source);
    if (!before) return report(before.error());
    if (!watch) {
        show_notice(options, before->notice);
        return show(options, before->json(), [&](const Json&) { return print_stats(before->stats(), nullptr, 0); });
    }
    for (;;) {
        std::this_thread::sleep_for(std::chrono::duration<double>(interval));
        auto now = take_sample(source);
        if (!now) return report(now.error());
        show_rates(options, *before, *now);
        before = std::move(now);
    }
}

// --- Programs on interfaces ---

Json detached_json(const std::vector<xdp::Detached>& list) {
    Json json{{"detached", Json::array()}};
    for (const auto& d : list) json["detached"].push_back({{"interface", d.ifname}, {"warning", d.warning}});
    return json;
}

std::string print_detached(const Json& json) {
    std::string text;
    for (const auto& d : json["detached"]) {
        text += d["interface"].get<std::string>() + ": detached\n";
        if (const auto warning = d["warning"].get<std::string>(); !warning.empty()) text += "  " + warning + "\n";
    }
    return text.empty() ? "nothing was attached\n" : text;
}

// Said with a detach: what lbd will do about it, or since when it is gone.
std::string detach_notice(const Source& source) {
    if (source.has_controller())
        return "lbd is running, and will attach again when it is restarted; stop it to keep the program off";
    const auto tables = source.tables();
    return tables ? notice_of(*tables) : "";
}

Result<std::vector<xdp::Detached>> detach_one(const std::filesystem::path& folder, const std::string& interface) {
    auto done = xdp::detach(folder, interface);
    if (!done) return tl::unexpected(done.error());
    return std::vector{std::move(*done)};
}

int detach(const Options& options, const Source& source, const std::string& interface, bool all) {
    if (all == !interface.empty()) {
        std::cerr << "lbctl: detach: expected an interface or --all\n";
        return kUsage;
    }
    std::error_code hidden;
    const auto& folder = source.paths().tables;
    if (!std::filesystem::exists(folder, hidden) && !hidden)
        return report({"instance " + source.paths().name + ": nothing runs", ENOENT});
    const auto notice = detach_notice(source);
    auto done = all ? xdp::detach_all(folder, xdp::TablesAfter::kRemove) : detach_one(folder, interface);
    if (!done) return report({done.error().message, EIO});
    show_notice(options, notice);
    return show(options, detached_json(*done), print_detached);
}

struct DecapArguments {
    std::string interface;
    std::vector<std::string> sources, vips, nodes;
    std::uint16_t gue_port = 0;
};

Result<xdp::DecapSpec> decap_spec(const DecapArguments& arguments) {
    xdp::DecapSpec spec;
    spec.ifname = arguments.interface;
    spec.gue_port = arguments.gue_port;
    for (const auto& text : arguments.sources) {
        const bool bare = text.find('/') == std::string::npos;
        auto prefix = IpPrefix::parse(bare ? text + (text.find(':') == std::string::npos ? "/32" : "/128") : text);
        if (!prefix) return tl::unexpected(prefix.error());
        spec.sources.push_back(*prefix);
    }
    for (const auto& text : arguments.vips) {
        auto vip = IpAddress::parse(text);
        if (!vip) return tl::unexpected(vip.error());
        spec.vips.push_back(*vip);
    }
    for (const auto& text : arguments.nodes) {
        auto node = IpAddress::parse(text);
        if (!node) return tl::unexpected(node.error());
        (node->is_v4() ? spec.node4 : spec.node6) = *node;
    }
    return spec;
}

int decap_attach(const Options& options, const DecapArguments& arguments) {
    auto spec = decap_spec(arguments);
    if (!spec) {
        std::cerr << "lbctl: " << spec.error().message << '\n';
        return kUsage;
    }
    auto attached = xdp::decap_attach(*spec, xdp::decap_base(options.instance));
    if (!attached) return report({attached.error().message, EIO});
    Json json{
        {"interface", attached->ifname}, {"engine", api::to_string(attached->mode)}, {"reason", attached->reason}};
    return show(options, json, [](const Json& a) {
        const auto reason = a["reason"].get<std::string>();
        return a["interface"].get<std::string>() + ": " + a["engine"].get<std::string>() +
               (reason.empty() ? "" : ": " + reason) + "\n";
    });
}

int decap_detach(const Options& options, const DecapArguments& arguments) {
    auto done = xdp::decap_detach(arguments.interface, xdp::decap_base(options.instance));
    if (!done) return report({done.error().message, EIO});
    return show(options, detached_json({*done}), print_detached);
}

int decap_show(const Options& options) {
    auto list = xdp::decap_list(xdp::decap_base(options.instance));
    if (!list) return report({list.error().message, EIO});
    Json json{{"decap", Json::array()}};
    for (const auto& d : *list) {
        Json row{{"interface", d.attached.ifname},
                 {"engine", api::to_string(d.attached.mode)},
                 {"node", Json::array()},
                 {"sources", Json::array()},
                 {"vips", Json::array()}};
        for (const auto& node : {d.node4, d.node6})
            if (node) row["node"].push_back(node->to_string());
        for (const auto& source : d.sources) row["sources"].push_back(source.to_string());
        for (const auto& vip : d.vips) row["vips"].push_back(vip.to_string());
        row["gue_port"] = d.gue_port ? Json(d.gue_port) : Json();
        row["unwrapped"] = d.unwrapped.packets;
        row["refused"] = d.refused.packets;
        row["passed"] = d.passed.packets;
        json["decap"].push_back(std::move(row));
    }
    return show(options, json, print_decap);
}

// --- Command line ---

// What the callbacks of the subcommands share; lives as long as the parser.
struct Command {
    Options options;
    std::function<int(const Source&)> run;
    BackendArguments backend;
    DecapArguments decap;
    ExplainArguments explain;
    CaptureArguments capture;
    DrainArguments drain;
    RoleArguments role;
    std::string file, interface, pool, group, to, engine;
    bool all = false, watch = false, history = false, now = false, per_core = false;
    double interval = 1;
};

void add_explain(CLI::App& app, ExplainArguments& arguments) {
    auto* from = app.add_option("source", arguments.from, "client as ADDRESS:PORT");
    auto* to = app.add_option("destination", arguments.to, "VIP as ADDRESS:PORT");
    app.add_option("protocol", arguments.protocol)->check(CLI::IsMember({"tcp", "udp"}))->capture_default_str();
    app.add_option("--vlan", arguments.vlans, "VLAN tag that it carries; of two the outer one first")
        ->check(CLI::Range(0, 4094))
        ->allow_extra_args(false);
    app.add_option("--size", arguments.size, "bytes of the IP packet");
    app.add_flag("--fragment", arguments.fragment, "a later fragment, which has no ports");
    auto* df = app.add_flag("--df", arguments.df, "IPv4's DF set, the default");
    app.add_flag("--no-df", arguments.no_df, "IPv4's DF not set")->excludes(df);
    auto* frame = app.add_option("--frame", arguments.frame, "this Ethernet frame: hexadecimal digits, or a file");
    frame->excludes(from)->excludes(to);
}

void add_capture(CLI::App& app, CaptureArguments& arguments) {
    app.add_option("filter", arguments.filter,
                   "pairs of words, such as: vip 192.0.2.10 client 198.51.100.0/24 reason too_big");
    app.add_option("-w,--write", arguments.file,
                   "write a pcapng file, with the verdicts as comments; - is standard output");
    app.add_option("--count", arguments.count, "end after so many packets")->check(CLI::Range(1U, 1U << 31));
    app.add_option("--seconds", arguments.seconds, "end after this time")->check(CLI::Range(0.1, 1e6));
    app.add_option("--sample", arguments.one_in, "of the packets that match, one in so many")
        ->check(CLI::Range(1U, 1U << 31));
    app.add_option("--rate", arguments.rate, "packets a second at most, for each CPU and worker")
        ->check(CLI::Range(1U, 1'000'000U))
        ->capture_default_str();
}

void add_views(CLI::App& app, Command& c) {
    const auto add = [&](const char* name, const char* help, std::function<int(const Source&)> run) {
        auto* sub = app.add_subcommand(name, help);
        sub->callback([&c, run = std::move(run)] { c.run = run; });
        return sub;
    };
    add("status", "engine, controller, role, pools and tables", [&c](const Source& s) { return status(c.options, s); });
    add("services", "services with their VIPs and traffic",
        [&c](const Source& s) { return view(c.options, s, "services", print_services); });
    add("backends", "backends with health, weight, share, next hop and traffic",
        [&c](const Source& s) { return view(c.options, s, "backends", print_backends); });
    add("transitions", "slots in transition, pinned connections, and what they wait for",
        [&c](const Source& s) { return view(c.options, s, "transitions", print_transitions); });
    auto* ha = add("ha", "role, peer and adverts", [&c](const Source& s) {
        return view(c.options, s, "ha", [&c](const Json& json) { return print_ha(json, c.history); });
    });
    ha->add_subcommand("history", "how the role came and went")->callback([&c] { c.history = true; });
    auto* sync = app.add_subcommand("sync", "what the nodes tell each other of their state")->require_subcommand(1);
    sync->add_subcommand("status", "other nodes, how far behind they are, and what was refused")->callback([&c] {
        c.run = [&c](const Source& s) { return sync_status(c.options, s); };
    });
    auto* counters = add("counters", "what became of packets that were not forwarded", [&c](const Source& s) {
        return view(c.options, s, "counters", [&c](const Json& json) { return print_counters(json, c.all); });
    });
    counters->add_flag("--all", c.all, "reasons that never happened too");
    auto* st = add("stats", "traffic by service and backend", [&c](const Source& s) {
        return (c.per_core ? core_stats : stats)(c.options, s, c.watch, c.interval);
    });
    st->add_flag("--per-core", c.per_core, "by CPU and by worker of lb-dpdk instead");
    st->add_flag("--watch", c.watch, "rates, until interrupted");
    st->add_option("--interval", c.interval, "seconds between two looks")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
    add_explain(*add("explain", "where a packet would go, and why",
                     [&c](const Source& s) { return explain_flow(c.options, s, c.explain); }),
                c.explain);
    add_capture(*add("capture", "show packets for VIPs before and after they are steered",
                     [&c](const Source& s) { return capture(c.options, s, c.capture); }),
                c.capture);
}

void add_changes(CLI::App& app, Command& c) {
    const auto add_backend = [&](const char* name, const char* help, std::function<int(const Source&)> run) {
        auto* sub = app.add_subcommand(name, help);
        sub->add_option("backend", c.backend.backend, "name of the backend")->required();
        sub->callback([&c, run = std::move(run)] { c.run = run; });
        return sub;
    };
    auto* drain_command = add_backend("drain", "give a backend no new connections",
                                      [&c](const Source& s) { return drain(c.options, s, c.backend, c.drain); });
    drain_command->add_option("--pool", c.backend.pool, "where several pools have a backend of that name");
    auto* wait = drain_command->add_flag("--wait", c.drain.wait, "return when its last connection is gone");
    drain_command->add_option("--timeout", c.drain.timeout, "seconds to wait at most")
        ->needs(wait)
        ->check(CLI::Range(0.1, 1e6));
    add_backend("undrain", "give it new connections again", [&c](const Source& s) {
        return change(c.options, s, "/v1/undrain", c.backend.body());
    })->add_option("--pool", c.backend.pool, "where several pools have a backend of that name");
    auto* weight = add_backend("weight", "change a backend's weight until it is changed back",
                               [&c](const Source& s) { return set_weight(c.options, s, c.backend); });
    weight->add_option("weight", c.backend.weight, "0 to 65535, or default for the configured one")
        ->required()
        ->check(weight_fault);
    weight->add_option("--pool", c.backend.pool, "where several pools have a backend of that name");
    auto* reload = app.add_subcommand("reload", "read the config again and apply what changed");
    reload->add_flag("--now", c.now, "cut the connections of backends that are removed, instead of draining them");
    reload->callback(
        [&c] { c.run = [&c](const Source& s) { return change(c.options, s, "/v1/reload", Json{{"now", c.now}}); }; });
    auto* plan = app.add_subcommand("plan", "say what a reload of that file would do to connections");
    plan->add_option("file", c.file)->required();
    plan->add_flag("--now", c.now, "as of reload --now");
    plan->callback([&c] { c.run = [&c](const Source& s) { return plan_config(c.options, s, c.file, c.now); }; });
    auto* failback = app.add_subcommand("failback", "with failback = false: give pools back to their best tier");
    failback->add_option("pool", c.pool, "that one alone");
    failback->callback([&c] {
        c.run = [&c](const Source& s) {
            return change(c.options, s, "/v1/failback", c.pool.empty() ? Json::object() : Json{{"pool", c.pool}});
        };
    });
    auto* engine = app.add_subcommand("engine", "who steers: the XDP program or lb-dpdk")->require_subcommand(1);
    auto* switch_to = engine->add_subcommand("switch", "on interfaces that are the kernel's, until lbd ends");
    switch_to->add_option("engine", c.engine)->required()->check(CLI::IsMember({"dpdk", "xdp"}));
    switch_to->callback([&c] {
        c.run = [&c](const Source& s) { return change(c.options, s, "/v1/engine", Json{{"engine", c.engine}}); };
    });
    auto* failover = app.add_subcommand("failover", "hand over to the other node, until that one dies");
    failover->add_option("--group", c.group, "only this group of VIPs");
    failover->add_option("--to", c.to, "to this node, or not at all");
    failover->callback([&c] { c.run = [&c](const Source& s) { return fail_over(c.options, s, c.group, c.to); }; });
    auto* role = app.add_subcommand("role", "with [ha] mode = \"external\": what the other program decided");
    role->add_option("role", c.role.role)->required()->check(CLI::IsMember({"active", "standby"}));
    role->add_option("--group", c.role.group, "only of this group of VIPs");
    role->add_option("--config", c.role.config, "where lbd is not there: its configuration")->capture_default_str();
    role->callback([&c] { c.run = [&c](const Source& s) { return set_role(c.options, s, c.role); }; });
    auto* config = app.add_subcommand("config", "look at a config file")->require_subcommand(1);
    auto* check = config->add_subcommand("check", "say every error of a file");
    check->add_option("file", c.file)->required();
    check->callback([&c] { c.run = [&c](const Source&) { return check_config(c.options, c.file); }; });
    auto* diff = config->add_subcommand("diff", "say what a reload of that file would change");
    diff->add_option("file", c.file)->required();
    diff->callback([&c] { c.run = [&c](const Source& s) { return diff_config(c.options, s, c.file); }; });
}

void add_programs(CLI::App& app, Command& c) {
    auto* detach_command = app.add_subcommand("detach", "take the program off an interface; needs no lbd");
    detach_command->add_option("interface", c.interface);
    detach_command->add_flag("--all", c.all, "off every interface, and remove the tables");
    detach_command->callback(
        [&c] { c.run = [&c](const Source& s) { return detach(c.options, s, c.interface, c.all); }; });

    auto* decap = app.add_subcommand("decap", "decapsulation on a front-end node")->require_subcommand(1);
    auto* attach = decap->add_subcommand("attach", "unwrap what balancers send, or change from whom and for what");
    attach->add_option("--interface", c.decap.interface)->required();
    attach->add_option("--source", c.decap.sources, "address or prefix of a balancer")->required();
    attach->add_option("--vip", c.decap.vips)->required();
    attach->add_option("--node", c.decap.nodes, "this node's address, where it is not the interface's first");
    attach->add_option("--gue-port", c.decap.gue_port, "unwrap GUE that comes to this UDP port too")
        ->check(CLI::Range(1, 65535));
    attach->callback([&c] { c.run = [&c](const Source&) { return decap_attach(c.options, c.decap); }; });
    auto* off = decap->add_subcommand("detach", "stop unwrapping");
    off->add_option("--interface", c.decap.interface)->required();
    off->callback([&c] { c.run = [&c](const Source&) { return decap_detach(c.options, c.decap); }; });
    decap->add_subcommand("show", "what is unwrapped where")->callback([&c] {
        c.run = [&c](const Source&) { return decap_show(c.options); };
    });
}

int main_checked(int argc, char** argv) {
    CLI::App app{"lbctl: look at and operate a Fairlead load balancer", "lbctl"};
    Command command;
    app.add_option("--instance", command.options.instance, "name of the instance")->capture_default_str();
    app.add_option("-o,--output", command.options.output, "table or json")
        ->check(CLI::IsMember({"table", "json"}))
        ->capture_default_str();
    app.set_version_flag("--version", FAIRLEAD_VERSION);
    app.require_subcommand(1);
    app.fallthrough();
    add_views(app, command);
    add_changes(app, command);
    add_programs(app, command);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? kDone : kUsage;
    }
    auto paths = InstancePaths::of(command.options.instance);
    if (!paths) {
        std::cerr << "lbctl: " << paths.error().message << '\n';
        return kUsage;
    }
    return command.run(Source(*paths));
}
}  // namespace
}  // namespace fairlead::lbctl

int main(int argc, char** argv) { return fairlead::lbctl::main_checked(argc, argv); }
