// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/engines.h"

#include <net/if.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "dataplane/tables/grace.h"

namespace fairlead {
namespace {

const char* mode_name(fl_engine_kind mode) {
    switch (mode) {
        case FL_ENGINE_XDP_NATIVE:
            return "native XDP";
        case FL_ENGINE_XDP_GENERIC:
            return "generic XDP";
        case FL_ENGINE_DPDK:
            return "DPDK";
        default:
            return "nothing";
    }
}

xdp::Mode mode_of(config::Engine engine) {
    switch (engine) {
        case config::Engine::kXdp:
            return xdp::Mode::kNative;
        case config::Engine::kXdpGeneric:
            return xdp::Mode::kGeneric;
        default:
            return xdp::Mode::kAuto;
    }
}

constexpr const char* kFed = "lb-dpdk steers, over AF_XDP; the program where lb-dpdk does not listen";

}  // namespace

Engines::Engines(tables::Tables& tables, std::filesystem::path folder, const config::Config& config,
                 const config::Node& node)
    : tables_(tables),
      folder_(std::move(folder)),
      node_(node),
      exceptions_(config.dpdk.exceptions),
      engine_(node.engine) {
    for (const auto& interface : node.interfaces)
        if (const auto* port = config::dpdk_port(config, node, interface.name)) devices_.push_back(*port);
}

bool Engines::has_device(const std::string& interface) const {
    return std::any_of(devices_.begin(), devices_.end(), [&](const auto& port) { return port.interface == interface; });
}

bool Engines::needs_dpdk() const {
    if (exceptions_ || engine_ == config::Engine::kDpdk || !missing_interfaces().empty()) return true;
    return std::any_of(attachments_.begin(), attachments_.end(),
                       [](const auto& attachment) { return attachment.mode == FL_ENGINE_DPDK; });
}

std::vector<std::string> Engines::missing_interfaces() const {
    std::vector<std::string> missing;
    for (const auto& port : devices_)
        if (if_nametoindex(port.interface.c_str()) == 0) missing.push_back(port.interface);
    return missing;
}

// ---- One device ----

Result<xdp::Attachment> Engines::attach_program(const PortTable::Device& device, xdp::Mode mode) {
    xdp::PortSpec port{device.number, device.ifname};
    if (engine_ == config::Engine::kDpdk) port.steering = xdp::Steering::kByDpdk;
    auto attached = xdp::attach(tables_, folder_, port, mode);
    if (!attached) return attached;
    if (attached->steering == xdp::Steering::kByDpdk && attached->reason.empty()) attached->reason = kFed;
    spdlog::info("{}: {}{}, program {}{}{}", attached->ifname, mode_name(attached->mode),
                 attached->adopted ? ", replaced in place" : "", attached->program.id,
                 attached->reason.empty() ? "" : ": ", attached->reason);
    for (const auto& warning : attached->warnings) spdlog::warn("{}: {}", attached->ifname, warning);
    return attached;
}

// A program of an engine before this one would take the frames away from it.
Result<xdp::Attachment> Engines::give_to_dpdk(const PortTable::Device& device, std::string reason) {
    auto detached = xdp::detach(folder_, device.ifname);
    if (!detached && detached.error().code != ENOENT) return tl::unexpected(detached.error());
    tables::store_word(tables_.ports()[device.number].mode, __u32{FL_ENGINE_DPDK});
    tables::store_word(tables_.meta().engine, __u32{FL_ENGINE_DPDK});
    spdlog::info("{}: DPDK: {}", device.ifname, reason);
    xdp::Attachment attachment;
    attachment.ifname = device.ifname;
    attachment.port = device.number;
    attachment.ifindex = device.ifindex;
    attachment.mode = FL_ENGINE_DPDK;
    attachment.reason = std::move(reason);
    return attachment;
}

// auto: native XDP, else DPDK where it has a device for it, else generic XDP.
Result<xdp::Attachment> Engines::attach_device(const PortTable::Device& device) {
    const bool has = has_device(device.ifname);
    if (has && device.tap) return give_to_dpdk(device, "the NIC is DPDK's");
    if (has && engine_ == config::Engine::kDpdk) return give_to_dpdk(device, "engine = \"dpdk\"");
    if (!has || engine_ != config::Engine::kAuto) return attach_program(device, mode_of(engine_));
    auto attached = attach_program(device, xdp::Mode::kNative);
    if (attached || attached.error().code == EBUSY) return attached;
    return give_to_dpdk(device, attached.error().message);
}

// ---- All of them ----

Result<void> Engines::attach(const std::vector<PortTable::Device>& devices) {
    attachments_.clear();
    for (const auto& device : devices) {
        auto attached = attach_device(device);
        if (!attached) return tl::unexpected(attached.error());
        attachments_.push_back(std::move(*attached));
    }
    return {};
}

void Engines::follow(const std::vector<PortTable::Device>& devices) {
    detach_strays(devices);
    for (const auto& device : devices) follow_device(device);
}

void Engines::follow_device(const PortTable::Device& device) {
    auto found = std::find_if(attachments_.begin(), attachments_.end(),
                              [&](const auto& attachment) { return attachment.port == device.number; });
    if (found == attachments_.end()) {  // a slave that has come
        xdp::Attachment none;
        none.ifname = device.ifname;
        none.port = device.number;
        found = attachments_.insert(found, std::move(none));
    }
    if (device.ifindex && device.ifindex == found->ifindex) return;
    if (found->ifindex) spdlog::warn("{}: the interface is gone, and the program with it", device.ifname);
    found->ifindex = 0;
    found->mode = FL_ENGINE_NONE;
    found->reason = "the interface is gone";
    if (!device.ifindex) return;
    auto attached = attach_device(device);
    if (attached)
        *found = std::move(*attached);
    else
        spdlog::error("{}: {}", device.ifname, attached.error().message);
}

// Slaves that left their bond.
void Engines::detach_strays(const std::vector<PortTable::Device>& devices) {
    std::erase_if(attachments_, [&](const auto& attachment) {
        const auto same = [&](const auto& device) { return device.number == attachment.port; };
        if (std::any_of(devices.begin(), devices.end(), same)) return false;
        auto detached = xdp::detach(folder_, attachment.ifname);
        spdlog::warn("{}: it left its bond; {}", attachment.ifname,
                     detached ? "the program was taken off" : detached.error().message);
        return true;
    });
}

bool Engines::all_attached(const std::vector<PortTable::Device>& devices) const {
    const auto list = xdp::list(folder_);
    const auto attached = [&](const PortTable::Device& device) {
        if (tables_.ports()[device.number].mode == FL_ENGINE_DPDK) return tables::any_worker_lives(tables_);
        return list && std::any_of(list->begin(), list->end(), [&](const auto& one) {
                   return one.ifname == device.ifname && one.mode != FL_ENGINE_NONE;
               });
    };
    return !devices.empty() && std::all_of(devices.begin(), devices.end(), attached);
}

// Each that is there under the engine that is wanted now.
Result<void> Engines::renew(const std::vector<PortTable::Device>& devices) {
    for (auto& attachment : attachments_) {
        const auto device = std::find_if(devices.begin(), devices.end(),
                                         [&](const auto& d) { return d.number == attachment.port && d.ifindex; });
        if (device == devices.end()) continue;
        auto attached = attach_device(*device);
        if (!attached) return tl::unexpected(attached.error());
        attachment = std::move(*attached);
    }
    return {};
}

bool Engines::resume(config::Engine engine) {
    if (!devices_.empty()) return false;
    engine_ = engine;
    return true;
}

Result<std::vector<std::string>> Engines::switch_to(config::Engine engine,
                                                    const std::vector<PortTable::Device>& devices) {
    for (const auto& device : devices)
        if (has_device(device.ifname))
            return fail(device.ifname + " has a [[dpdk.port]]: its engine is changed in the config, and by a restart",
                        EBUSY);
    const auto before = std::exchange(engine_, engine);
    if (before == engine) return std::vector<std::string>{};
    if (auto done = renew(devices); !done) {
        engine_ = before;
        if (auto back = renew(devices); !back) done.error().message += "; and back: " + back.error().message;
        return tl::unexpected(done.error());
    }
    std::vector<std::string> lines;
    for (const auto& attachment : attachments_)
        lines.push_back(attachment.ifname + ": " + (engine == config::Engine::kDpdk ? kFed : "the XDP program steers"));
    return lines;
}

}  // namespace fairlead
