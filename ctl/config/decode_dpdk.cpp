// SPDX-License-Identifier: Apache-2.0
// [dpdk]: every key and value by itself, and its ports against the nodes.
#include <algorithm>
#include <array>
#include <cctype>

#include "ctl/config/draft.h"

namespace fairlead::config {
namespace {

const KeyList kDpdkKeys = {
    .known = {"supervise", "exceptions", "exceptions_per_second", "cores", "memory_mb", "huge_pages", "poll", "port"},
    .reserved = {},
    .elsewhere = {{"engine", "[[node]]"},
                  {"interface", "[[dpdk.port]]"},
                  {"device", "[[dpdk.port]]"},
                  {"queues", "[[dpdk.port]]"}},
};
const KeyList kPortKeys = {
    .known = {"interface", "device", "queues", "node"},
    .reserved = {},
    .elsewhere = {{"cores", "[dpdk]"}, {"poll", "[dpdk]"}},
};
constexpr std::array<Choice<Poll>, 2> kPolls = {{{"adaptive", Poll::kAdaptive}, {"busy", Poll::kBusy}}};

constexpr Range kRates{0, 10'000'000};
constexpr Range kMemory{64, 1 << 20};
constexpr Range kQueues{1, kMaxDpdkQueues};
constexpr std::int64_t kMaxCore = 1'023;  // RTE_MAX_LCORE of the largest builds

// What DPDK calls a virtual device: its driver and a number, then parameters, none of them empty.
bool is_virtual_device(std::string_view text) {
    constexpr std::array<std::string_view, 3> kDrivers = {"net_", "virtio_user", "eth_"};
    const auto name = text.substr(0, text.find(','));
    const auto in_name = [](unsigned char c) { return std::isalnum(c) || c == '_'; };
    const auto begins = [&](std::string_view driver) { return name.starts_with(driver); };
    return std::any_of(kDrivers.begin(), kDrivers.end(), begins) && std::all_of(name.begin(), name.end(), in_name) &&
           std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isgraph(c); }) &&
           !text.ends_with(',') && text.find(",,") == std::string_view::npos;
}

void decode_cores(const TableReader& reader, std::vector<unsigned>& cores) {
    constexpr std::string_view kExpected = "a list of numbers of CPUs, such as [2, 3]";
    const auto* value = reader.get("cores");
    if (value == nullptr) return;
    if (value->kind != Kind::kArray || value->items.empty()) return reader.wrong("cores", *value, kExpected);
    for (const auto& item : value->items) {
        if (item.kind != Kind::kInteger || item.integer < 0 || item.integer > kMaxCore)
            reader.wrong("cores", item, kExpected);
        else if (std::find(cores.begin(), cores.end(), item.integer) != cores.end())
            reader.report().add(item.at, "'cores' names CPU " + std::to_string(item.integer) + " twice");
        else
            cores.push_back(static_cast<unsigned>(item.integer));
    }
}

DpdkPortDraft decode_port(Report& report, const Value& table) {
    const TableReader reader(report, table, "[[dpdk.port]]", kPortKeys);
    constexpr std::string_view kDevice =
        "what DPDK calls the device: a PCI address such as \"0000:03:00.0\", or a virtual device such as "
        "\"net_af_packet0,iface=eth0\"";
    DpdkPortDraft port;
    port.at = reader.at();
    reader.require("interface", "the name that a [[node]] has for it in 'interfaces'");
    if (const auto name = reader.string("interface", "the name of an interface (a string)")) {
        port.value.interface = name->value;
        port.interface_at = name->at;
    }
    reader.require("device", kDevice);
    if (const auto device = reader.string("device", kDevice)) {
        port.value.device = device->value;
        if (!is_pci_address(device->value) && !is_virtual_device(device->value))
            reader.wrong("device", *reader.get("device"), kDevice);
    }
    if (const auto queues = reader.integer("queues", kQueues))
        port.value.queues = static_cast<std::uint16_t>(queues->value);
    if (const auto node = reader.string("node", "the name of a [[node]] (a string)")) {
        port.value.node = node->value;
        port.node_at = node->at;
    }
    return port;
}

bool has_interface(const Node& node, const std::string& name) {
    return std::any_of(node.interfaces.begin(), node.interfaces.end(), [&](const auto& i) { return i.name == name; });
}

void check_port(const Draft& draft, const DpdkPortDraft& port, Report& report) {
    const auto belongs = [&](const NodeDraft& node) {
        return port.value.node.empty() || node.value.name == port.value.node;
    };
    const bool any = std::any_of(draft.nodes.begin(), draft.nodes.end(), belongs);
    if (port.node_at && !any)
        return report.add(*port.node_at, "'node': there is no [[node]] named " + quote(port.value.node));
    if (!port.interface_at || !any) return;
    const bool known = std::any_of(draft.nodes.begin(), draft.nodes.end(), [&](const auto& node) {
        return belongs(node) && has_interface(node.value, port.value.interface);
    });
    if (!known)
        report.add(*port.interface_at, "'interface': no node" +
                                           (port.node_at ? " named " + quote(port.value.node) : std::string()) +
                                           " has " + quote(port.value.interface) + " among its interfaces");
}

}  // namespace

// "0000:03:00.0"; the domain may be left out.
bool is_pci_address(std::string_view device) {
    constexpr std::string_view kForm = "xxxx:xx:xx.7";
    auto form = kForm;
    if (device.size() + 5 == kForm.size()) form.remove_prefix(5);
    const auto fits = [](unsigned char c, char place) {
        return place == 'x' ? std::isxdigit(c) != 0 : place == '7' ? c >= '0' && c <= '7' : c == place;
    };
    return std::equal(device.begin(), device.end(), form.begin(), form.end(), fits);
}

void decode_dpdk(const TableReader& top, Dpdk& dpdk, std::vector<DpdkPortDraft>& ports) {
    const auto* table = section(top, "dpdk");
    if (table == nullptr) return;
    const TableReader reader(top.report(), *table, "[dpdk]", kDpdkKeys);
    const auto assign_flag = [&](const char* key, bool& flag) {
        if (const auto value = reader.boolean(key)) flag = value->value;
    };
    assign_flag("supervise", dpdk.supervise);
    assign_flag("exceptions", dpdk.exceptions);
    assign_flag("huge_pages", dpdk.huge_pages);
    if (const auto rate = reader.integer("exceptions_per_second", kRates))
        dpdk.exceptions_per_second = static_cast<std::uint32_t>(rate->value);
    if (const auto memory = reader.integer("memory_mb", kMemory))
        dpdk.memory_mb = static_cast<std::uint32_t>(memory->value);
    if (const auto poll = reader.choice<Poll>("poll", kPolls)) dpdk.poll = poll->value;
    decode_cores(reader, dpdk.cores);
    for (const auto* port : reader.tables("port", "[[dpdk.port]]")) ports.push_back(decode_port(top.report(), *port));
}

void complete_dpdk(Draft& draft, Report& report) {
    auto& ports = draft.rest.dpdk.ports;
    for (const auto& port : draft.dpdk_ports) {
        check_port(draft, port, report);
        const auto same = [&](const DpdkPort& other) {
            return other.interface == port.value.interface &&
                   (other.node.empty() || port.value.node.empty() || other.node == port.value.node);
        };
        if (port.interface_at && std::any_of(ports.begin(), ports.end(), same))
            report.add(*port.interface_at, "a second [[dpdk.port]] for " + quote(port.value.interface));
        ports.push_back(port.value);
    }
}

}  // namespace fairlead::config
