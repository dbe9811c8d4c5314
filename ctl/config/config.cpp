// SPDX-License-Identifier: Apache-2.0
#include "ctl/config/config.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "ctl/config/draft.h"

namespace fairlead::config {
namespace {

constexpr std::uintmax_t kMaxFileBytes = 64U << 20;

LoadResult unreadable(const std::filesystem::path& file, const std::string& why) {
    LoadResult result;
    result.diagnostics.push_back({file.string(), 1, 1, "cannot read the file: " + why});
    return result;
}

std::string_view short_name(std::string_view host) { return host.substr(0, host.find('.')); }

std::string names_of(const Config& config) {
    std::string names;
    for (const auto& node : config.nodes) names += (names.empty() ? "" : ", ") + quote(node.name);
    return names;
}

const Node* node_named(const Config& config, std::string_view name) {
    if (name.empty()) return nullptr;
    const auto found =
        std::find_if(config.nodes.begin(), config.nodes.end(), [&](const Node& n) { return n.name == name; });
    return found == config.nodes.end() ? nullptr : &*found;
}

}  // namespace

const Pool* Config::find_pool(std::string_view name) const {
    const auto found = std::find_if(pools.begin(), pools.end(), [&](const Pool& pool) { return pool.name == name; });
    return found == pools.end() ? nullptr : &*found;
}

std::string Diagnostic::to_string() const {
    return file + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + message;
}

Result<std::string> read_config(const std::filesystem::path& file) {
    std::error_code error;
    if (std::filesystem::is_directory(file, error)) return fail("it is a directory", EISDIR);
    errno = 0;
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return fail(errno != 0 ? std::strerror(errno) : "it cannot be opened", errno);
    std::string text;
    std::string chunk(1U << 16, '\0');
    while (stream.read(chunk.data(), static_cast<std::streamsize>(chunk.size())) || stream.gcount() > 0) {
        text.append(chunk, 0, static_cast<std::size_t>(stream.gcount()));
        if (text.size() > kMaxFileBytes) return fail("it is larger than 64 MiB", EFBIG);
    }
    if (stream.bad()) return fail("reading failed", EIO);
    return text;
}

LoadResult load_config(const std::filesystem::path& file) {
    const auto text = read_config(file);
    return text ? parse_config(*text, file.string()) : unreadable(file, text.error().message);
}

LoadResult parse_config(std::string_view toml, std::string_view file_name) {
    Report report(file_name);
    const auto document = parse_document(toml);
    for (const auto& error : document.errors) report.add(error.at, error.message);
    // What stands in statements that cannot be read is unknown: then nothing is called missing or contradictory.
    if (!document.errors.empty()) report.set_incomplete();
    auto draft = decode(document, report);
    LoadResult result;
    if (document.errors.empty()) result.config = complete(std::move(draft), report);
    result.diagnostics = std::move(report).take();
    if (!result.diagnostics.empty()) result.config.reset();
    return result;
}

Result<const Node*> choose_node(const Config& config, std::string_view requested, std::string_view host_name) {
    const Node* only = config.nodes.size() == 1 ? &config.nodes.front() : nullptr;
    if (!requested.empty()) {
        if (const auto* node = node_named(config, requested)) return node;
        if (only != nullptr && only->name.empty()) return only;
        std::vector<std::string_view> known;
        for (const auto& node : config.nodes) known.push_back(node.name);
        return fail("no node is named " + quote(requested) + near_miss(requested, known) +
                        " (there are: " + names_of(config) + ")",
                    ENOENT);
    }
    if (const auto* node = node_named(config, host_name)) return node;
    if (const auto* node = node_named(config, short_name(host_name))) return node;
    if (only != nullptr) return only;
    return fail("no node is named as this host, " + quote(host_name) + " (there are: " + names_of(config) +
                    "); expected --node NAME",
                ENOENT);
}

std::string_view to_string(HaMode mode) {
    switch (mode) {
        case HaMode::kNone:
            return "none";
        case HaMode::kVrrp:
            return "vrrp";
        case HaMode::kExternal:
            return "external";
    }
    return "?";
}

std::string_view to_string(Announce announce) { return announce == Announce::kRoute ? "route" : "arp"; }

std::string_view to_string(Poll poll) { return poll == Poll::kBusy ? "busy" : "adaptive"; }

const DpdkPort* dpdk_port(const Config& config, const Node& node, std::string_view interface) {
    const auto& ports = config.dpdk.ports;
    const auto found = std::find_if(ports.begin(), ports.end(), [&](const DpdkPort& port) {
        return port.interface == interface && (port.node.empty() || port.node == node.name);
    });
    return found == ports.end() ? nullptr : &*found;
}

std::string_view to_string(OnStop on_stop) { return on_stop == OnStop::kKeep ? "keep" : "withdraw"; }

std::string_view to_string(Engine engine) {
    switch (engine) {
        case Engine::kAuto:
            return "auto";
        case Engine::kXdp:
            return "xdp";
        case Engine::kXdpGeneric:
            return "xdp-generic";
        case Engine::kDpdk:
            return "dpdk";
    }
    return "?";
}

std::string_view to_string(Forward forward) {
    switch (forward) {
        case Forward::kL2Dsr:
            return "l2dsr";
        case Forward::kIpip:
            return "ipip";
        case Forward::kGue:
            return "gue";
    }
    return "?";
}

std::string_view to_string(Affinity affinity) { return affinity == Affinity::kConnection ? "connection" : "client-ip"; }

std::string_view to_string(AllDown all_down) {
    switch (all_down) {
        case AllDown::kReset:
            return "reset";
        case AllDown::kDrop:
            return "drop";
        case AllDown::kAny:
            return "any";
    }
    return "?";
}

std::string_view to_string(TooBig too_big) { return too_big == TooBig::kDrop ? "drop" : "pass"; }

std::string_view to_string(CheckType type) { return type == CheckType::kTcp ? "tcp" : "http"; }

std::string_view to_string(Protocol protocol) { return protocol == Protocol::kTcp ? "tcp" : "udp"; }

std::string_view to_string(Unlisted unlisted) { return unlisted == Unlisted::kReset ? "reset" : "drop"; }

}  // namespace fairlead::config
