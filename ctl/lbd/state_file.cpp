// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/state_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace fairlead {
namespace {
using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr std::size_t kMaxBytes = 64U << 20;

tl::unexpected<Error> bad(const std::filesystem::path& file, const std::string& what) {
    return fail(file.string() + ": " + what, EINVAL);
}

Result<plan::BackendOverride> read_backend(const Json& json) {
    if (!json.is_object()) return fail("expected an object", EINVAL);
    plan::BackendOverride override;
    for (const auto& [key, value] : json.items()) {
        const bool weight = value.is_number_unsigned() && value.get<std::uint64_t>() <= 65535;
        if (key == "drained" && value.is_boolean())
            override.drained = value.get<bool>();
        else if (key == "weight" && weight)
            override.weight = value.get<std::uint32_t>();
        else if (key == "configured_weight" && weight)
            override.instead_of = value.get<std::uint32_t>();
        else
            return fail("\"" + key + "\": not known, or not of the type and range that was expected", EINVAL);
    }
    return override;
}

Result<void> read_pool(const std::string& name, const Json& json, RunTimeState& state) {
    if (!json.is_object()) return fail("expected an object", EINVAL);
    for (const auto& [key, value] : json.items()) {
        if (key == "tier" && value.is_number_unsigned() && value.get<std::uint64_t>() <= 255) {
            state.tiers[name] = value.get<int>();
        } else if (key == "backends" && value.is_object()) {
            for (const auto& [backend, entry] : value.items()) {
                auto read = read_backend(entry);
                if (!read) return fail("backend " + backend + ": " + read.error().message, EINVAL);
                state.overrides[name][backend] = *read;
            }
        } else {
            return fail("\"" + key + "\": not known, or not of the type and range that was expected", EINVAL);
        }
    }
    return {};
}

Result<SwitchedEngine> read_engine(const Json& json) {
    using config::Engine;
    const auto text = [&](const char* key) {
        const auto found = json.is_object() ? json.find(key) : json.end();
        return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
    };
    const auto to = text("switched_to"), instead_of = text("configured");
    for (const auto engine : {Engine::kAuto, Engine::kXdp, Engine::kXdpGeneric, Engine::kDpdk})
        if (instead_of == config::to_string(engine) && (to == "dpdk" || to == "xdp"))
            return SwitchedEngine{to == "dpdk", engine};
    return fail("expected \"switched_to\": \"dpdk\" or \"xdp\", and \"configured\": an engine", EINVAL);
}

Json to_json(const RunTimeState& state) {
    Json pools = Json::object();
    for (const auto& [pool, tier] : state.tiers) pools[pool]["tier"] = tier;
    for (const auto& [pool, backends] : state.overrides)
        for (const auto& [name, override] : backends) {
            if (!override.drained && !override.weight) continue;
            auto& entry = pools[pool]["backends"][name];
            if (override.drained) entry["drained"] = true;
            if (!override.weight) continue;
            entry["weight"] = *override.weight;
            entry["configured_weight"] = override.instead_of;
        }
    Json json{{"version", kVersion}, {"pools", std::move(pools)}};
    if (state.engine)
        json["engine"] = {{"switched_to", state.engine->dpdk ? "dpdk" : "xdp"},
                          {"configured", config::to_string(state.engine->instead_of)}};
    return json;
}

Result<void> write_whole(int fd, const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
        const auto written = write(fd, text.data() + at, text.size() - at);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail_errno("write", errno);
        at += static_cast<std::size_t>(written);
    }
    if (fsync(fd)) return fail_errno("fsync", errno);
    return {};
}

const config::Backend* find_configured(const config::Pool& pool, std::string_view name) {
    for (const auto& backend : pool.backends)
        if (backend.name == name && !backend.leaving) return &backend;
    return nullptr;
}
}  // namespace

Result<RunTimeState> load_state(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) {
        if (errno == ENOENT) return RunTimeState{};
        return fail_errno("cannot read " + file.string(), errno);
    }
    std::string text(kMaxBytes, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(in.gcount()));
    Json json;
    try {
        json = Json::parse(text);
    } catch (const Json::parse_error& error) {
        return bad(file, error.what());
    }
    const auto version = json.is_object() ? json.find("version") : json.end();
    if (version == json.end() || !version->is_number_integer() || *version != kVersion)
        return bad(file, "expected an object of version " + std::to_string(kVersion));
    RunTimeState state;
    const auto pools = json.find("pools");
    if (pools == json.end() || !pools->is_object()) return bad(file, "expected an object \"pools\"");
    for (const auto& [name, entry] : pools->items())
        if (auto read = read_pool(name, entry, state); !read)
            return bad(file, "pool " + name + ": " + read.error().message);
    if (const auto engine = json.find("engine"); engine != json.end()) {
        auto read = read_engine(*engine);
        if (!read) return bad(file, "engine: " + read.error().message);
        state.engine = *read;
    }
    return state;
}

Result<void> save_state(const std::filesystem::path& file, const RunTimeState& state) {
    std::error_code ignored;
    std::filesystem::create_directories(file.parent_path(), ignored);
    const auto beside = file.string() + ".new";
    const int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) return fail_errno("cannot write " + beside, errno);
    auto written = write_whole(fd, to_json(state).dump(2) + "\n");
    close(fd);
    if (!written) return fail("cannot write " + beside + ": " + written.error().message, written.error().code);
    if (rename(beside.c_str(), file.c_str())) return fail_errno("cannot rename " + beside, errno);
    return {};
}

std::vector<std::string> drop_stale(RunTimeState& state, const config::Config& config, config::Engine engine) {
    std::vector<std::string> lines;
    if (state.engine && state.engine->instead_of != engine) {
        lines.push_back(std::string("engine ") + (state.engine->dpdk ? "dpdk" : "xdp") +
                        ", set at run time, gives way to the config's new " + std::string(config::to_string(engine)));
        state.engine.reset();
    }
    std::erase_if(state.tiers, [&](const auto& entry) {
        const auto* pool = config.find_pool(entry.first);
        return !pool || pool->failback;
    });
    for (auto& [name, backends] : state.overrides) {
        const auto* pool = config.find_pool(name);
        for (auto& [backend, override] : backends) {
            const auto subject = "pool " + name + ": backend " + backend;
            const auto* configured = pool ? find_configured(*pool, backend) : nullptr;
            if (!configured) {
                lines.push_back(subject + ": gone, and with it what was set at run time");
                override = {};
            } else if (override.weight && override.instead_of != static_cast<std::uint32_t>(configured->weight)) {
                lines.push_back(subject + ": weight " + std::to_string(*override.weight) +
                                ", set at run time, gives way to the config's new " +
                                std::to_string(configured->weight));
                override.weight.reset();
            }
        }
        std::erase_if(backends, [](const auto& entry) { return !entry.second.weight && !entry.second.drained; });
    }
    std::erase_if(state.overrides, [](const auto& entry) { return entry.second.empty(); });
    return lines;
}

}  // namespace fairlead
