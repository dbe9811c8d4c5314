// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/ports.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/tables/snapshot.h"

namespace fairlead {
namespace {

std::uint32_t vlan_word(const std::optional<std::uint16_t>& vlan) { return vlan.value_or(FL_VLAN_NONE); }

}  // namespace

PortTable::PortTable(tables::TableWriter& writer, std::vector<config::Interface> interfaces) : writer_(writer) {
    for (auto& interface : interfaces) interfaces_.push_back({std::move(interface), 0, nullptr, 0});
    const auto ports = writer_.tables().ports();
    for (std::uint32_t number = 1; number < ports.size(); ++number)
        if (ports[number].ifindex && FL_PORT_DEVICE(ports[number].way)) adopted_.insert(number);
}

// --- Interfaces ---

Result<void> PortTable::update(const std::vector<net::Link>& links) {
    links_ = links;
    for (auto& device : devices_) device.ifindex = 0;
    Result<void> result;
    for (auto& interface : interfaces_)
        if (auto done = update_interface(interface); !done && result) result = done;
    // A slave that left its bond is no way for VIPs any more.
    std::erase_if(devices_, [](const Device& device) { return device.ifindex == 0 && !device.bond.empty(); });
    for (const auto& [key, number] : ways_)
        if (interfaces_[key.first].link) write_way(key, number);
    return result;
}

Result<void> PortTable::update_interface(Interface& interface) {
    const auto& name = interface.config.name;
    const auto found = std::find_if(links_.begin(), links_.end(), [&](const auto& link) { return link.name == name; });
    interface.link = found == links_.end() ? nullptr : &*found;
    if (!interface.link) return fail("interface " + name + " does not exist", ENODEV);
    std::vector<const net::Link*> devices{interface.link};
    interface.bond = 0;
    if (interface.link->is_bond()) {
        interface.bond = static_cast<std::uint16_t>(&interface - interfaces_.data() + 1);
        devices.clear();
        for (const auto& link : links_)
            if (link.master == interface.link->ifindex) devices.push_back(&link);
        if (devices.empty()) return fail("bond " + name + " has no slaves", ENODEV);
    }
    for (const auto* link : devices)
        if (auto done = update_device(interface, *link); !done) return done;
    choose_active(interface, devices);
    return {};
}

Result<void> PortTable::update_device(const Interface& interface, const net::Link& link) {
    const auto number = number_of_device(link.name);
    if (number == 0) return fail("limit 'ports' is too small for interface " + link.name, ENOSPC);
    if (auto written = write_device(interface, link, number); !written) return written;
    const Device device{number,
                        link.name,
                        link.ifindex,
                        interface.config.vlan,
                        interface.bond ? interface.config.name : std::string(),
                        link.kind == "tun"};
    const auto known =
        std::find_if(devices_.begin(), devices_.end(), [&](const auto& other) { return other.number == number; });
    if (known == devices_.end())
        devices_.push_back(device);
    else
        *known = device;
    return {};
}

// The number that it has, in this lbd or in one before; else a free one.
std::uint32_t PortTable::number_of_device(const std::string& name) const {
    for (const auto& device : devices_)
        if (device.ifname == name) return device.number;
    const auto ports = writer_.tables().ports();
    for (std::uint32_t number = 1; number < ports.size(); ++number)
        if (ports[number].ifindex && FL_PORT_DEVICE(ports[number].way) == 0 && tables::port_name(ports[number]) == name)
            return number;
    return free_number();
}

std::uint32_t PortTable::free_number() const {
    const auto taken = [&](std::uint32_t number) {
        return std::any_of(devices_.begin(), devices_.end(), [&](const auto& d) { return d.number == number; }) ||
               std::any_of(ways_.begin(), ways_.end(), [&](const auto& way) { return way.second == number; });
    };
    const auto ports = writer_.tables().ports();
    for (std::uint32_t number = 1; number < ports.size(); ++number)
        if (!ports[number].ifindex && !taken(number)) return number;
    return 0;
}

// What was switched off and attached on another interface of that name is that one's affair.
Result<void> PortTable::write_device(const Interface& interface, const net::Link& link, std::uint32_t number) {
    const auto& present = writer_.tables().ports()[number];
    const bool same = present.ifindex == link.ifindex;
    tables::TableWriter::Port port{link.name, link.ifindex, interface.link->mac, interface.link->mtu};
    port.saved_features = same ? present.saved_features : 0;
    port.mode = same ? static_cast<fl_engine_kind>(present.mode) : FL_ENGINE_NONE;
    port.flags = same ? present.flags : 0;
    port.way = FL_PORT_WAY(0, interface.bond, vlan_word(interface.config.vlan), FL_VLAN_NONE);
    return writer_.set_port(number, port);
}

void PortTable::choose_active(Interface& interface, const std::vector<const net::Link*>& devices) {
    const auto best = std::max_element(devices.begin(), devices.end(), [](const auto* a, const auto* b) {
        return std::pair(a->up(), a->active_slave) < std::pair(b->up(), b->active_slave);
    });
    interface.active = number_of_device((*best)->name);
}

std::set<std::uint32_t> PortTable::interfaces() const {
    std::set<std::uint32_t> result;
    for (const auto& interface : interfaces_)
        if (interface.link) result.insert(interface.link->ifindex);
    return result;
}

// --- Ways ---

std::uint64_t PortTable::way_of(const WayKey& key) const {
    const auto& interface = interfaces_[key.first];
    return FL_PORT_WAY(interface.active, interface.bond, FL_VLAN_NONE, vlan_word(key.second));
}

const net::Link* PortTable::vlan_device(const Interface& interface, std::uint16_t vlan) const {
    for (const auto& link : links_)
        if (link.vlan == net::VlanOf{vlan, interface.link->ifindex}) return &link;
    return nullptr;
}

void PortTable::write_way(const WayKey& key, std::uint32_t number) {
    const auto& interface = interfaces_[key.first];
    const auto& vlan = key.second;
    const auto* link = vlan && *vlan ? vlan_device(interface, *vlan) : nullptr;
    const auto name = interface.config.name + (vlan && *vlan ? "." + std::to_string(*vlan) : "");
    if (!link) link = interface.link;
    tables::TableWriter::Port port{name, interface.link->ifindex, link->mac, link->mtu};
    port.way = way_of(key);
    if (auto written = writer_.set_port(number, port); !written) spdlog::error("{}: {}", name, written.error().message);
}

std::uint32_t PortTable::way_out(std::uint32_t ifindex, std::optional<std::uint16_t> vlan) {
    const auto found = std::find_if(interfaces_.begin(), interfaces_.end(), [&](const auto& interface) {
        return interface.link && interface.link->ifindex == ifindex && interface.active;
    });
    if (found == interfaces_.end()) return 0;
    if (!vlan && !found->bond) return found->active;
    const WayKey key{static_cast<std::size_t>(found - interfaces_.begin()), vlan};
    if (const auto known = ways_.find(key); known != ways_.end()) return known->second;
    auto number = adopt_way(key);
    if (number == 0) number = free_number();
    if (number == 0) {
        spdlog::error("limit 'ports' is too small for {} on VLAN {}", found->config.name, vlan_word(vlan));
        return 0;
    }
    ways_[key] = number;
    write_way(key, number);
    return number;
}

// The same way of an lbd before this one. By whichever slave a bond sent then.
std::uint32_t PortTable::adopt_way(const WayKey& key) {
    const auto& interface = interfaces_[key.first];
    for (const auto number : adopted_) {
        const auto& record = writer_.tables().ports()[number];
        const bool same = record.ifindex == interface.link->ifindex && FL_PORT_BOND(record.way) == interface.bond &&
                          FL_PORT_VLAN_OUT(record.way) == vlan_word(key.second);
        if (!same) continue;
        adopted_.erase(number);
        return number;
    }
    return 0;
}

void PortTable::keep_only(const std::set<std::uint32_t>& numbers) {
    std::erase_if(ways_, [&](const auto& way) {
        if (numbers.contains(way.second)) return false;
        static_cast<void>(writer_.release_port(way.second));
        return true;
    });
}

void PortTable::forget_adopted() {
    for (const auto number : adopted_) static_cast<void>(writer_.release_port(number));
    adopted_.clear();
}

}  // namespace fairlead
