// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/server.h"

#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "ctl/lbd/facts.h"

namespace fairlead {
namespace {
using api::Json;

constexpr std::size_t kMaxControlBody = 80U << 20;  // the largest config (64 MiB), and what escapes add to it

api::Response error(unsigned status, const std::string& message, const std::vector<std::string>& details = {}) {
    return {status, Json{{"error", message}, {"details", details}}.dump() + "\n"};
}

api::Response good(const Json& json) { return {200, json.dump() + "\n"}; }

unsigned status_of(const Error& e) { return e.code == ENOENT ? 404 : 400; }

// The body of drain, undrain and weight.
struct Change {
    std::string pool, backend;
    std::optional<std::uint32_t> weight;
    bool has_weight = false;
};

Result<Change> parse_change(const std::string& body) {
    const auto json = Json::parse(body, nullptr, false);
    if (!json.is_object()) return fail("expected a JSON object with \"backend\"");
    Change change;
    for (const auto& [key, value] : json.items()) {
        if (key == "backend" && value.is_string()) {
            change.backend = value.get<std::string>();
        } else if (key == "pool" && (value.is_string() || value.is_null())) {
            change.pool = value.is_null() ? "" : value.get<std::string>();
        } else if (key == "weight" &&
                   (value.is_null() || (value.is_number_unsigned() && value.get<std::uint64_t>() <= 65535))) {
            change.has_weight = true;
            if (!value.is_null()) change.weight = value.get<std::uint32_t>();
        } else {
            return fail("\"" + key + "\": not known, or not of the type and range that was expected");
        }
    }
    if (change.backend.empty()) return fail("\"backend\" is missing");
    return change;
}
// The body of failover and role.
struct RoleChange {
    std::string group, role, to;
};

Result<RoleChange> parse_role_change(const std::string& body) {
    const auto json = Json::parse(body.empty() ? "{}" : body, nullptr, false);
    if (!json.is_object()) return fail("expected a JSON object");
    RoleChange change;
    for (const auto& [key, value] : json.items()) {
        if (key == "group" && value.is_string()) {
            change.group = value.get<std::string>();
        } else if (key == "to" && value.is_string()) {
            change.to = value.get<std::string>();
        } else if (key == "role" && (value == "active" || value == "standby")) {
            change.role = value.get<std::string>();
        } else {
            return fail("\"" + key + "\": not known, or not of the type and range that was expected");
        }
    }
    return change;
}
}  // namespace

// A whole config comes in a request, by those who may change it; metrics are for whoever reaches the port.
Server::Server(boost::asio::io_context& io, Controller& controller)
    : control_(io, {.body_bytes = kMaxControlBody}), metrics_(io), controller_(controller) {}

Result<std::unique_ptr<Server>> Server::create(boost::asio::io_context& io, Controller& controller) {
    std::unique_ptr<Server> server(new Server(io, controller));
    auto* raw = server.get();
    const auto& socket = controller.options().paths.socket;
    if (auto r = raw->control_.listen_unix(
            socket, [raw](const api::Request& request, api::Reply reply) { raw->answer(request, reply); });
        !r)
        return tl::unexpected(r.error());
    const auto& metrics = controller.config().metrics;
    if (!metrics.enabled) return server;
    const auto page = [raw](const api::Request& request, const api::Reply& reply) {
        if (request.path != "/metrics") return reply(error(404, "only /metrics is here"));
        if (request.method != "GET") return reply(error(405, "only GET"));
        reply({200, api::render_metrics(metrics_input(raw->controller_)), api::kMetricsContentType});
    };
    if (auto port = raw->metrics_.listen_tcp(metrics.address, metrics.port, page); !port)
        return tl::unexpected(port.error());
    return server;
}

void Server::answer(const api::Request& request, const api::Reply& reply) {
    if (request.method == "GET") return reply(get(request.path));
    if (request.method == "POST") return reply(post(request));
    reply(error(405, "expected GET or POST"));
}

api::Response Server::get(const std::string& path) {
    const auto& tables = controller_.tables();
    const auto snapshot = tables::take_snapshot(tables);
    const auto facts = controller_facts(controller_);
    if (path == "/v1/status") return good(api::status_view(controller_.options().paths.name, tables, snapshot, &facts));
    if (path == "/v1/services") return good(api::services_view(snapshot, &facts));
    if (path == "/v1/backends") return good(api::backends_view(snapshot, &facts));
    if (path == "/v1/counters") return good(api::counters_view(snapshot, &facts));
    if (path == "/v1/cores") return good(api::cores_view(tables));
    if (path == "/v1/transitions") return good(api::transitions_view(snapshot, &facts));
    if (path == "/v1/ha") return good(api::ha_view(snapshot, &facts));
    if (path == "/v1/sync") return good(api::sync_view(&facts));
    return error(404, "no " + path + " here");
}

api::Response Server::post(const api::Request& request) {
    const auto caller = request.peer_uid ? "uid " + std::to_string(*request.peer_uid) : std::string("unknown caller");
    if (request.path == "/v1/reload") {
        spdlog::info("reload asked for by {}", caller);
        return reload(request.body);
    }
    if (request.path == "/v1/failback") {
        spdlog::info("failback by {}: {}", caller, request.body);
        return fail_back(request.body);
    }
    if (request.path == "/v1/engine") {
        spdlog::info("engine by {}: {}", caller, request.body);
        return switch_engine(request.body);
    }
    if (request.path == "/v1/drain" || request.path == "/v1/undrain" || request.path == "/v1/weight") {
        spdlog::info("{} by {}: {}", request.path.substr(4), caller, request.body);
        return change(request);
    }
    if (request.path == "/v1/config/diff") return config_diff(request.body);
    if (request.path == "/v1/plan") return plan(request.body);
    if (request.path == "/v1/failover" || request.path == "/v1/role") {
        spdlog::info("{} by {}: {}", request.path.substr(4), caller, request.body);
        return change_role(request);
    }
    return error(404, "no " + request.path + " here");
}

namespace {
// The body of config/diff and plan: a config's text, and its name for messages.
struct Candidate {
    std::string text, file;
    bool now = false;
};

std::optional<Candidate> parse_candidate(const std::string& body) {
    const auto json = Json::parse(body, nullptr, false);
    if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) return std::nullopt;
    Candidate candidate;
    candidate.text = json["text"].get<std::string>();
    if (json.contains("file") && json["file"].is_string()) candidate.file = json["file"].get<std::string>();
    candidate.now = json.value("now", Json()) == true;
    return candidate;
}

constexpr const char* kExpectedCandidate = "expected a JSON object with \"text\", and \"file\" for its name";

Json difference_json(const Candidate& candidate, const Controller::Difference& difference) {
    Json errors = Json::array();
    for (const auto& d : difference.errors)
        errors.push_back({{"line", d.line}, {"column", d.column}, {"message", d.message}});
    return {{"file", candidate.file},
            {"good", difference.errors.empty()},
            {"errors", std::move(errors)},
            {"changes", difference.changes},
            {"restart", difference.restart}};
}
}  // namespace

api::Response Server::config_diff(const std::string& body) {
    const auto candidate = parse_candidate(body);
    if (!candidate) return error(400, kExpectedCandidate);
    return good(difference_json(*candidate, controller_.compare(candidate->text, candidate->file)));
}

api::Response Server::plan(const std::string& body) {
    const auto candidate = parse_candidate(body);
    if (!candidate) return error(400, kExpectedCandidate);
    const auto leavers = candidate->now ? Controller::Leavers::kCut : Controller::Leavers::kDrain;
    const auto outlook = controller_.foresee(candidate->text, candidate->file, leavers);
    auto json = difference_json(*candidate, outlook.difference);
    json["pools"] = Json::array();
    for (const auto& pool : outlook.pools)
        json["pools"].push_back(
            {{"name", pool.name}, {"slots", pool.slots}, {"slots_moved", pool.moved}, {"leave", pool.leave}});
    json["cut"] = outlook.cut;
    return good(json);
}

// {"now": true}: without waiting for the connections of backends that go.
api::Response Server::reload(const std::string& body) {
    const auto json = Json::parse(body, nullptr, false);
    const bool now = json.is_object() && json.value("now", Json()) == true;
    auto changed = controller_.reload(now ? Controller::Leavers::kCut : Controller::Leavers::kDrain);
    if (changed) return good({{"changed", *changed}});
    return error(422, changed.error().message, changed.error().details);
}

api::Response Server::fail_back(const std::string& body) {
    const auto json = Json::parse(body, nullptr, false);
    const auto pool = json.is_object() ? json.value("pool", Json()) : Json();
    if (!json.is_object() || !(pool.is_null() || pool.is_string()))
        return error(400, "expected {} or {\"pool\": name}");
    auto changed = controller_.fail_back(pool.is_string() ? pool.get<std::string>() : "");
    if (!changed) return error(status_of(changed.error()), changed.error().message);
    return good({{"changed", *changed}});
}

api::Response Server::switch_engine(const std::string& body) {
    const auto json = Json::parse(body, nullptr, false);
    const auto engine = json.is_object() && json.size() == 1 ? json.value("engine", Json()) : Json();
    if (engine != "dpdk" && engine != "xdp") return error(400, "expected {\"engine\": \"dpdk\"} or \"xdp\"");
    auto changed = controller_.switch_engine(engine == "dpdk");
    if (!changed) return error(status_of(changed.error()), changed.error().message);
    return good({{"changed", *changed}});
}

// {}, {"group": "second"} and {"to": "lb-b"} for a failover; {"role": "active"} or "standby" from the program that decides.
api::Response Server::change_role(const api::Request& request) {
    const auto wanted = parse_role_change(request.body);
    if (!wanted) return error(400, wanted.error().message);
    Controller::ChangeResult changed;
    if (request.path == "/v1/failover") {
        if (!wanted->role.empty()) return error(400, "\"role\": not known here");
        changed = controller_.fail_over(wanted->group, wanted->to);
    } else {
        if (wanted->role.empty() || !wanted->to.empty())
            return error(400, "expected {\"role\": \"active\"} or \"standby\"");
        changed = controller_.set_role(wanted->group, wanted->role == "active");
    }
    if (!changed) return error(status_of(changed.error()), changed.error().message);
    return good({{"changed", *changed}});
}

api::Response Server::change(const api::Request& request) {
    auto wanted = parse_change(request.body);
    if (!wanted) return error(400, wanted.error().message);
    if (request.path == "/v1/weight" && !wanted->has_weight) return error(400, "\"weight\" is missing");
    auto changed = request.path == "/v1/weight"
                       ? controller_.set_weight(wanted->pool, wanted->backend, wanted->weight)
                       : controller_.set_drained(wanted->pool, wanted->backend, request.path == "/v1/drain");
    if (!changed) return error(status_of(changed.error()), changed.error().message);
    return good({{"changed", *changed}});
}

}  // namespace fairlead
