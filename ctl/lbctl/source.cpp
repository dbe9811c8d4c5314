// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/source.h"

#include "ctl/api/http_client.h"
#include "ctl/api/views.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead::lbctl {
namespace {
constexpr std::chrono::seconds kTimeout{10};

bool nobody_there(const Error& error) { return error.code == ENOENT || error.code == ECONNREFUSED; }

std::string error_text(const Json& json, unsigned status) {
    if (!json.is_object() || !json.contains("error")) return "lbd answered with status " + std::to_string(status);
    auto text = json["error"].get<std::string>();
    if (json.contains("details"))
        for (const auto& line : json["details"]) text += "\n" + line.get<std::string>();
    return text;
}

Result<Json> parse(const api::ClientResponse& response) {
    auto json = Json::parse(response.body, nullptr, false);
    if (response.status != 200) return fail(error_text(json, response.status), EREMOTEIO);
    if (json.is_discarded()) return fail("lbd's answer is not JSON", EPROTO);
    return json;
}
}  // namespace

std::string notice_of(const tables::Tables& tables) {
    bool attached = false;
    for (const auto& port : tables.ports()) attached |= port.ifindex != 0 && port.mode != FL_ENGINE_NONE;
    const auto seen = tables::load_word(tables.meta().controller_realtime_ns);
    return std::string(attached ? "data path running" : "no program attached, nothing is forwarded") +
           ", controller down" + (seen ? " since " + api::rfc3339_ns(seen) : "");
}

Result<View> Source::view(const std::string& name) const {
    auto response = api::request_unix(paths_.socket, {"GET", "/v1/" + name, ""}, kTimeout);
    if (!response && nobody_there(response.error())) return view_of_tables(name);
    if (!response) return tl::unexpected(response.error());
    auto json = parse(*response);
    if (!json) return tl::unexpected(json.error());
    return View{std::move(*json), ""};
}

bool Source::has_controller() const {
    const auto response = api::request_unix(paths_.socket, {"GET", "/v1/status", ""}, kTimeout);
    return response || !nobody_there(response.error());
}

Result<Json> Source::post(const std::string& path, const Json& body) const {
    auto response = api::request_unix(
        paths_.socket, {"POST", path, body.dump(-1, ' ', false, Json::error_handler_t::replace)}, kTimeout);
    if (response) return parse(*response);
    if (nobody_there(response.error()))
        return fail("instance " + paths_.name + ": lbd is not there (" + response.error().message + ")", ECONNREFUSED);
    return tl::unexpected(response.error());
}

Result<tables::Tables> Source::tables(tables::Access access) const {
    auto tables = tables::Tables::open_pinned(paths_.tables, access);
    if (tables || tables.error().code != ENOENT) return tables;
    return fail("instance " + paths_.name + ": nothing runs: no lbd, and no tables in " + paths_.tables.string(),
                ENOENT);
}

Result<View> Source::view_of_tables(const std::string& name) const {
    auto tables = this->tables();
    if (!tables) return tl::unexpected(tables.error());
    const auto snapshot = tables::take_snapshot(*tables);
    const auto notice = notice_of(*tables);
    if (name == "status") return View{api::status_view(paths_.name, *tables, snapshot, nullptr), notice};
    if (name == "services") return View{api::services_view(snapshot, nullptr), notice};
    if (name == "backends") return View{api::backends_view(snapshot, nullptr), notice};
    if (name == "transitions") return View{api::transitions_view(snapshot, nullptr), notice};
    if (name == "ha") return View{api::ha_view(snapshot, nullptr), notice};
    if (name == "sync") return View{api::sync_view(nullptr), notice};
    if (name == "cores") return View{api::cores_view(*tables), notice};
    return View{api::counters_view(snapshot, nullptr), notice};
}

}  // namespace fairlead::lbctl
