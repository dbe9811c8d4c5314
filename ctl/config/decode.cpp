// SPDX-License-Identifier: Apache-2.0
// First step of reading a config: every key and value by itself.
#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <set>

#include "ctl/config/draft.h"

namespace fairlead::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::size_t kMaxInterfaceName = 15;  // IFNAMSIZ less its NUL

const KeyList kTopKeys = {
    .known = {"interface", "interfaces", "node", "pool", "service", "limits", "metrics", "log", "hash_key_file",
              "encap_source_prefix", "ha", "sync", "dpdk"},
    .reserved = {},
    .elsewhere = {{"engine", "[[node]]"},
                  {"address", "[[node]]"},
                  {"name", "[[node]], [[pool]] or [[service]]"},
                  {"vip", "[[service]]"},
                  {"ports", "[[service]]"},
                  {"protocol", "[[service]]"},
                  {"unlisted", "[[service]]"},
                  {"backends", "[[service]]"},
                  {"forward", "[[pool]]"},
                  {"affinity", "[[pool]]"},
                  {"quorum", "[[pool]]"},
                  {"all_down", "[[pool]]"},
                  {"too_big", "[[pool]]"},
                  {"gue_port", "[[pool]]"},
                  {"vlan", "[[node]] or [[pool.backend]]"},
                  {"checks", "[[pool]]"},
                  {"check_policy", "[[pool]]"},
                  {"table", "[[pool]]"},
                  {"backend", "[[pool.backend]]"},
                  {"priority", "[ha] or [[node]]"}},
};

const KeyList kNodeKeys = {
    .known = {"name", "interface", "interfaces", "vlan", "engine", "address", "priority"},
    .reserved = {},
    .elsewhere = {{"hash_key_file", "the top of the file"}, {"encap_source_prefix", "the top of the file"}},
};

const KeyList kPoolKeys = {
    .known = {"name", "forward", "gue_port", "affinity", "quorum", "all_down", "too_big", "checks", "check_policy",
              "table", "idle_timeout", "failure_grace", "slow_start", "failback", "failback_delay", "backend"},
    .reserved = {},
    .elsewhere = {{"vip", "[[service]]"},
                  {"ports", "[[service]]"},
                  {"protocol", "[[service]]"},
                  {"unlisted", "[[service]]"},
                  {"address", "[[pool.backend]]"},
                  {"tier", "[[pool.backend]]"},
                  {"weight", "[[pool.backend]]"},
                  {"local", "[[pool.backend]]"},
                  {"mac", "[[pool.backend]]"},
                  {"vlan", "[[pool.backend]] or [[node]]"}},
};

const KeyList kBackendKeys = {
    .known = {"name", "address", "local", "tier", "weight", "forward", "vlan", "mac"},
    .reserved = {},
    .elsewhere = {{"affinity", "[[pool]]"},
                  {"gue_port", "[[pool]]"},
                  {"quorum", "[[pool]]"},
                  {"all_down", "[[pool]]"},
                  {"too_big", "[[pool]]"},
                  {"checks", "[[pool]]"},
                  {"check_policy", "[[pool]]"},
                  {"table", "[[pool]]"},
                  {"idle_timeout", "[[pool]]"},
                  {"failure_grace", "[[pool]]"},
                  {"slow_start", "[[pool]]"},
                  {"failback", "[[pool]]"},
                  {"failback_delay", "[[pool]]"}},
};

const KeyList kServiceKeys = {
    .known = {"name", "vip", "ports", "protocol", "pool", "backends", "unlisted"},
    .reserved = {},
    .elsewhere = {{"forward", "[[pool]]"},
                  {"gue_port", "[[pool]]"},
                  {"affinity", "[[pool]]"},
                  {"quorum", "[[pool]]"},
                  {"all_down", "[[pool]]"},
                  {"too_big", "[[pool]]"},
                  {"vlan", "[[node]] or [[pool.backend]]"},
                  {"checks", "[[pool]]"},
                  {"check_policy", "[[pool]]"},
                  {"table", "[[pool]]"},
                  {"idle_timeout", "[[pool]]"},
                  {"failure_grace", "[[pool]]"},
                  {"slow_start", "[[pool]]"},
                  {"failback", "[[pool]]"},
                  {"failback_delay", "[[pool]]"},
                  {"interface", "the top of the file, or [[node]]"}},
};

const KeyList kCheckKeys = {
    .known = {"type", "port", "path", "host", "expect", "interval", "timeout", "rise", "fall", "via"},
    .reserved = {},
    .elsewhere = {{"check_policy", "[[pool]]"}},
};

constexpr std::array<Choice<Engine>, 4> kEngines = {
    {{"auto", Engine::kAuto}, {"xdp", Engine::kXdp}, {"xdp-generic", Engine::kXdpGeneric}, {"dpdk", Engine::kDpdk}}};
constexpr std::array<Choice<Forward>, 4> kForwards = {
    {{"l2dsr", Forward::kL2Dsr}, {"ipip", Forward::kIpip}, {"gue", Forward::kGue}, {"nat", std::nullopt}}};
constexpr std::array<Choice<Affinity>, 2> kAffinities = {
    {{"connection", Affinity::kConnection}, {"client-ip", Affinity::kClientIp}}};
constexpr std::array<Choice<AllDown>, 3> kAllDown = {
    {{"reset", AllDown::kReset}, {"drop", AllDown::kDrop}, {"any", AllDown::kAny}}};
constexpr std::array<Choice<TooBig>, 2> kTooBig = {{{"drop", TooBig::kDrop}, {"pass", TooBig::kPass}}};
constexpr std::array<Choice<CheckPolicy>, 2> kCheckPolicies = {
    {{"all", CheckPolicy::kAll}, {"any", CheckPolicy::kAny}}};
constexpr std::array<Choice<CheckType>, 6> kCheckTypes = {{{"tcp", CheckType::kTcp},
                                                           {"http", CheckType::kHttp},
                                                           {"https", std::nullopt},
                                                           {"dns", std::nullopt},
                                                           {"exec", std::nullopt},
                                                           {"agent", std::nullopt}}};
constexpr std::array<Choice<bool>, 2> kVia = {{{"address", true}, {"path", std::nullopt}}};
constexpr std::array<Choice<Protocol>, 2> kProtocols = {{{"tcp", Protocol::kTcp}, {"udp", Protocol::kUdp}}};
constexpr std::array<Choice<Unlisted>, 2> kUnlisted = {{{"reset", Unlisted::kReset}, {"drop", Unlisted::kDrop}}};
constexpr std::array<Choice<LogLevel>, 4> kLogLevels = {{{"debug", LogLevel::kDebug},
                                                         {"info", LogLevel::kInfo},
                                                         {"warning", LogLevel::kWarning},
                                                         {"error", LogLevel::kError}}};

template <typename E, std::size_t N>
std::optional<Located<E>> choose(const TableReader& reader, std::string_view key,
                                 const std::array<Choice<E>, N>& choices) {
    return reader.choice<E>(key, std::span<const Choice<E>>(choices));
}

template <typename To, typename From>
void assign(To& to, const std::optional<Located<From>>& from) {
    if (from) to = static_cast<To>(from->value);
}

// What no packet can be sent to, or from, as an ordinary host: empty if the address is fit for use.
std::string_view address_fault(const IpAddress& address) {
    if (address.is_unspecified()) return "is the unspecified address";
    if (address.is_loopback()) return "is a loopback address";
    if (address.is_multicast()) return "is a multicast address";
    if (address.is_v6() && address.is_link_local()) return "is a link-local IPv6 address";
    const auto bytes = address.family_bytes();
    if (address.is_v4() && std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 255; }))
        return "is the broadcast address";
    return "";
}

std::optional<IpAddress> usable_address(Report& report, std::string_view what, const Located<IpAddress>& found) {
    const auto fault = address_fault(found.value);
    if (fault.empty()) return found.value;
    report.add(found.at, std::string(what) + " " + found.value.to_string() + " " + std::string(fault) +
                             "; expected a unicast address");
    return std::nullopt;
}

std::optional<Located<IpAddress>> parse_address(Report& report, std::string_view what,
                                                const Located<std::string>& text) {
    const auto parsed = IpAddress::parse(text.value);
    if (!parsed) {
        report.add(text.at, std::string(what) + " " + quote(text.value) + " is not an IPv4 or IPv6 address");
        return std::nullopt;
    }
    const Located<IpAddress> found{*parsed, text.at};
    if (!usable_address(report, what, found)) return std::nullopt;
    return found;
}

// ---- nodes ----

// 0: untagged, said explicitly.
std::optional<Located<std::int64_t>> decode_vlan(const TableReader& reader) {
    return reader.integer("vlan", {0, kMaxVlan});
}

void add_interface(Report& report, const Located<std::string>& text, std::optional<std::uint16_t> vlan,
                   std::vector<Interface>& interfaces) {
    const auto& name = text.value;
    const bool odd = std::any_of(name.begin(), name.end(), [](char c) {
        return c == '/' || c == ':' || static_cast<unsigned char>(c) <= 0x20 || c == 0x7f;
    });
    if (name.empty() || name.size() > kMaxInterfaceName || odd || name == "." || name == "..")
        return report.add(text.at, "interface " + quote(name) + " cannot be the name of an interface; expected 1 to " +
                                       std::to_string(kMaxInterfaceName) + " characters such as \"eth0\"");
    const auto same = [&](const Interface& other) { return other.name == name; };
    if (std::any_of(interfaces.begin(), interfaces.end(), same))
        return report.add(text.at, "interface " + quote(name) + " is named twice");
    interfaces.push_back({name, vlan});
}

// An item of `interfaces`: a name, or { name = "eth1", vlan = 7 }.
void decode_interface(Report& report, const Value& item, std::optional<std::uint16_t> vlan,
                      std::vector<Interface>& interfaces) {
    static const KeyList kKeys = {.known = {"name", "vlan"}, .reserved = {}, .elsewhere = {}};
    if (item.kind == Kind::kString) return add_interface(report, {item.text, item.at}, vlan, interfaces);
    if (item.kind != Kind::kTable)
        return report.add(item.at,
                          "each item of 'interfaces' must be a string or a table such as { name = \"eth1\", "
                          "vlan = 7 }, not " +
                              describe(item));
    const TableReader reader(report, item, "an interface", kKeys);
    if (const auto own = decode_vlan(reader)) vlan = static_cast<std::uint16_t>(own->value);
    reader.require("name", "the name of an interface, such as \"eth0\"");
    if (const auto name = reader.string("name", "the name of an interface (a string)"))
        add_interface(report, *name, vlan, interfaces);
}

// `vlan` is that of the interfaces that do not say one themselves.
std::vector<Interface> decode_interfaces(const TableReader& reader, std::optional<std::uint16_t> vlan) {
    std::vector<Interface> interfaces;
    auto& report = reader.report();
    if (reader.has("interface") && reader.has("interfaces"))
        report.add(reader.get("interfaces")->at, "'interface' and 'interfaces' are both given; expected one of them");
    if (const auto one = reader.string("interface", "the name of an interface (a string)"))
        add_interface(report, *one, vlan, interfaces);
    const auto* several = reader.get("interfaces");
    if (several == nullptr) return interfaces;
    if (several->kind != Kind::kArray) {
        reader.wrong("interfaces", *several, "a list of names of interfaces");
        return interfaces;
    }
    if (several->items.empty()) report.add(several->at, "'interfaces' is empty; expected at least one name");
    for (const auto& item : several->items) decode_interface(report, item, vlan, interfaces);
    return interfaces;
}

void decode_node_addresses(const TableReader& reader, NodeDraft& node) {
    node.has_address_key = reader.has("address");
    const auto texts =
        reader.strings("address", "an address, or a list of at most one IPv4 and one IPv6 address", true);
    if (!texts) return;
    for (const auto& text : *texts) {
        const auto found = parse_address(reader.report(), "'address'", text);
        if (!found) continue;
        auto& place = found->value.is_v4() ? node.value.address : node.value.address6;
        if (place)
            reader.report().add(text.at, "'address' has a second " +
                                             std::string(found->value.is_v4() ? "IPv4" : "IPv6") +
                                             " address; expected at most one of each family");
        place = found->value;
        node.addresses.push_back(*found);
    }
}

NodeDraft decode_node(Report& report, const Value& table) {
    const TableReader reader(report, table, "[[node]]", kNodeKeys);
    NodeDraft node;
    node.at = reader.at();
    if (const auto name = reader.name("name")) {
        node.value.name = name->value;
        node.name_at = name->at;
    }
    if (!reader.has("interfaces") && !reader.is_misspelt("interfaces"))
        reader.require("interface", "the interface that carries the VIPs, such as \"eth0\"");
    std::optional<std::uint16_t> vlan;
    assign(vlan, decode_vlan(reader));
    node.value.interfaces = decode_interfaces(reader, vlan);
    assign(node.value.engine, choose(reader, "engine", kEngines));
    decode_node_priority(reader, node);
    decode_node_addresses(reader, node);
    return node;
}

void decode_nodes(const TableReader& top, Draft& draft) {
    for (const auto* table : top.tables("node", "[[node]]")) draft.nodes.push_back(decode_node(top.report(), *table));
    const bool bare = top.has("interface") || top.has("interfaces");
    if (bare && top.has("node")) {
        const auto* key = top.has("interface") ? "interface" : "interfaces";
        top.report().add(top.get(key)->at, quote(key) +
                                               " at the top of the file is the short form for a single node; "
                                               "with [[node]] it belongs in there");
        return;
    }
    if (!bare && !top.has("node") && !top.is_misspelt("interface") && !top.is_misspelt("interfaces") &&
        !top.is_misspelt("node"))
        top.report().add_missing({1, 1}, "no node: expected interface = \"eth0\" at the top of the file, or [[node]]");
    if (!bare) return;
    NodeDraft node;
    node.at = top.at();
    node.value.interfaces = decode_interfaces(top, std::nullopt);
    draft.nodes.push_back(node);
}

// ---- checks ----

std::optional<int> parse_status(std::string_view text) {
    int status = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), status);
    if (error != std::errc{} || end != text.data() + text.size() || status < 100 || status > 599) return std::nullopt;
    return status;
}

std::optional<StatusRange> decode_expect(const TableReader& reader) {
    const auto* value = reader.get("expect");
    if (value == nullptr) return std::nullopt;
    const std::string text = value->kind == Kind::kInteger ? std::to_string(value->integer) : value->text;
    const auto dash = text.find('-');
    const auto first = parse_status(text.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_status(text.substr(dash + 1));
    if (first && last && *first <= *last) return StatusRange{*first, *last};
    reader.wrong("expect", *value, "an HTTP status or a range of them within 100 to 599, such as \"200-399\"");
    return std::nullopt;
}

// What goes into an HTTP request line or header as it stands.
bool is_request_text(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

void decode_http(const TableReader& reader, Check& check) {
    if (const auto path = reader.string("path", "a path such as \"/\"")) {
        if (path->value.starts_with('/') && is_request_text(path->value))
            check.path = path->value;
        else
            reader.wrong("path", *reader.get("path"), "a path that begins with '/' and has no blanks");
    }
    if (const auto host = reader.string("host", "a host name")) {
        if (!host->value.empty() && is_request_text(host->value))
            check.host = host->value;
        else
            reader.wrong("host", *reader.get("host"), "a host name without blanks");
    }
    if (const auto expect = decode_expect(reader)) check.expect = *expect;
}

void decode_timing(const TableReader& reader, Check& check) {
    const auto interval = reader.duration("interval", Milliseconds(50), hours(1));
    assign(check.interval, interval);
    check.timeout = std::min(check.timeout, check.interval);
    const auto timeout = reader.duration("timeout", Milliseconds(10), minutes(1));
    assign(check.timeout, timeout);
    const bool interval_readable = interval || !reader.has("interval");
    if (timeout && interval_readable && check.timeout > check.interval)
        reader.report().add(timeout->at, "'timeout' is longer than the interval of " +
                                             std::to_string(check.interval.count()) +
                                             "ms; expected at most the interval");
    assign(check.rise, reader.integer("rise", {1, 100}));
    assign(check.fall, reader.integer("fall", {1, 100}));
}

CheckDraft decode_check(Report& report, const Value& table) {
    const TableReader reader(report, table, "a check", kCheckKeys);
    CheckDraft check;
    check.at = reader.at();
    const auto type = choose(reader, "type", kCheckTypes);
    reader.require("type", "\"tcp\" or \"http\"");
    assign(check.value.type, type);
    check.has_port_key = reader.has("port");
    assign(check.value.port, reader.integer("port", {1, 65'535}));
    choose(reader, "via", kVia);
    if (type && type->value == CheckType::kTcp) {
        for (const auto key : {"path", "host", "expect"})
            if (const auto* entry = table.find(key))
                report.add(entry->key_at, quote(key) + " is for checks of type \"http\"; this one is \"tcp\"");
    } else {
        decode_http(reader, check.value);
    }
    decode_timing(reader, check.value);
    return check;
}

void decode_checks(const TableReader& reader, PoolDraft& pool) {
    pool.has_checks_key = reader.has("checks");
    for (const auto* table : reader.tables("checks", "checks = [{ type = \"tcp\" }]"))
        pool.checks.push_back(decode_check(reader.report(), *table));
    if (pool.checks.size() > kMaxChecksOfPool)
        reader.report().add(pool.checks[kMaxChecksOfPool].at, "a pool has at most " + std::to_string(kMaxChecksOfPool) +
                                                                  " checks, this one " +
                                                                  std::to_string(pool.checks.size()));
}

// ---- pools ----

// How frames get to the backend: where the kernel's routes and neighbours do not say it.
void decode_link(const TableReader& reader, BackendDraft& backend) {
    if (const auto vlan = decode_vlan(reader)) {
        backend.value.vlan = static_cast<std::uint16_t>(vlan->value);
        backend.vlan_at = vlan->at;
    }
    constexpr std::string_view kExpected = "a unicast MAC address such as \"02:00:5e:00:53:01\"";
    const auto text = reader.string("mac", kExpected);
    if (!text) return;
    backend.mac_at = text->at;
    const auto mac = MacAddress::parse(text->value);
    if (mac && !mac->is_zero() && !mac->is_multicast())
        backend.value.mac = *mac;
    else
        reader.wrong("mac", *reader.get("mac"), kExpected);
}

BackendDraft decode_backend(Report& report, const Value& table, Forward forward) {
    const TableReader reader(report, table, "[[pool.backend]]", kBackendKeys);
    BackendDraft backend;
    backend.at = backend.weight_at = reader.at();
    reader.require("name", "a name that is unique in its pool");
    if (const auto name = reader.name("name")) {
        backend.value.name = name->value;
        backend.name_at = name->at;
    }
    reader.require("address", "the backend's own address, such as \"192.0.2.11\"");
    if (const auto address = reader.address("address"))
        if (const auto usable = usable_address(report, "'address'", *address)) {
            backend.value.address = *usable;
            backend.address_at = address->at;
        }
    assign(backend.value.local, reader.boolean("local"));
    assign(backend.value.tier, reader.integer("tier", {0, 255}));
    if (const auto weight = reader.integer("weight", {0, 65'535})) {
        backend.value.weight = static_cast<int>(weight->value);
        backend.weight_at = weight->at;
    }
    backend.value.forward = forward;
    assign(backend.value.forward, choose(reader, "forward", kForwards));
    decode_link(reader, backend);
    return backend;
}

void decode_table_size(const TableReader& reader, PoolDraft& pool) {
    pool.has_table_key = reader.has("table");
    const auto table = reader.integer("table", {kMinTable, kMaxTable});
    if (!table) return;
    if (!std::has_single_bit(static_cast<std::uint64_t>(table->value)))
        return reader.wrong("table", *reader.get("table"), "a power of two from 1024 to 65536");
    pool.value.table = static_cast<std::uint32_t>(table->value);
    pool.table_at = table->at;
}

// What changes of backends mean for connections. A pin's time wraps at 4,398 s (DESIGN section 6).
void decode_times(const TableReader& reader, Pool& pool) {
    assign(pool.idle_timeout, reader.duration("idle_timeout", seconds(1), hours(1)));
    assign(pool.failure_grace, reader.duration("failure_grace", seconds(0), hours(1)));
    assign(pool.slow_start, reader.duration("slow_start", seconds(0), hours(1)));
    assign(pool.failback, reader.boolean("failback"));
    assign(pool.failback_delay, reader.duration("failback_delay", seconds(0), hours(24)));
}

PoolDraft decode_pool(Report& report, const Value& table) {
    const TableReader reader(report, table, "[[pool]]", kPoolKeys);
    PoolDraft pool;
    pool.at = pool.quorum_at = reader.at();
    reader.require("name", "a name for services to refer to");
    if (const auto name = reader.name("name")) {
        pool.value.name = name->value;
        pool.name_at = name->at;
    }
    Forward forward = Forward::kL2Dsr;
    assign(forward, choose(reader, "forward", kForwards));
    assign(pool.value.affinity, choose(reader, "affinity", kAffinities));
    if (const auto quorum = reader.integer("quorum", {1, kMaxBackendsOfPool})) {
        pool.value.quorum = static_cast<int>(quorum->value);
        pool.quorum_at = quorum->at;
    }
    assign(pool.value.all_down, choose(reader, "all_down", kAllDown));
    assign(pool.value.too_big, choose(reader, "too_big", kTooBig));
    if (const auto port = reader.integer("gue_port", {1, 65'535})) {
        pool.value.gue_port = static_cast<std::uint16_t>(port->value);
        pool.gue_port_at = port->at;
    }
    assign(pool.value.check_policy, choose(reader, "check_policy", kCheckPolicies));
    decode_checks(reader, pool);
    decode_table_size(reader, pool);
    decode_times(reader, pool.value);
    const auto* backends = reader.get("backend");
    pool.has_backends = reader.is_misspelt("backend");
    if (backends != nullptr) pool.has_backends = (backends->kind != Kind::kArray || !backends->items.empty());
    for (const auto* backend : reader.tables("backend", "[[pool.backend]]"))
        pool.backends.push_back(decode_backend(report, *backend, forward));
    return pool;
}

// ---- services ----

void decode_port(Report& report, const Value& item, ServiceDraft& service) {
    if (item.kind != Kind::kInteger || item.integer < 1 || item.integer > 65'535)
        return report.add(item.at, "each port must be an integer from 1 to 65535, not " + describe(item));
    const auto port = static_cast<std::uint16_t>(item.integer);
    service.ports.push_back({port, item.at});
}

void report_repeated_ports(Report& report, const ServiceDraft& service) {
    std::set<std::uint16_t> seen;
    for (const auto& port : service.ports)
        if (!seen.insert(port.value).second)
            report.add(port.at, "port " + std::to_string(port.value) + " is listed twice");
}

void decode_ports(const TableReader& reader, ServiceDraft& service) {
    constexpr std::string_view kExpected = "a list of ports such as [80, 443], or \"any\"";
    reader.require("ports", kExpected);
    const auto* value = reader.get("ports");
    if (value == nullptr) return;
    service.ports_at = value->at;
    service.any_port = value->kind == Kind::kString && value->text == "any";
    if (service.any_port) return;
    if (value->kind != Kind::kArray) return reader.wrong("ports", *value, kExpected);
    if (value->items.empty()) reader.report().add(value->at, "'ports' is empty; expected " + std::string(kExpected));
    for (const auto& item : value->items) decode_port(reader.report(), item, service);
    report_repeated_ports(reader.report(), service);
}

// backends = ["192.0.2.11", "192.0.2.12"]: a pool of the service's own, all defaults.
std::optional<PoolDraft> decode_own_pool(const TableReader& reader, const ServiceDraft& service) {
    constexpr std::string_view kExpected = "a list of addresses such as [\"192.0.2.11\", \"192.0.2.12\"]";
    const auto* value = reader.get("backends");
    if (value == nullptr) return std::nullopt;
    PoolDraft pool;
    pool.of_service = true;
    pool.at = pool.quorum_at = value->at;
    pool.name_at = service.name_at;
    pool.value.name = service.value.name;
    pool.has_backends = value->kind != Kind::kArray || !value->items.empty();
    for (const auto& text :
         reader.strings("backends", kExpected, false).value_or(std::vector<Located<std::string>>{})) {
        const auto address = parse_address(reader.report(), "backend", text);
        if (!address) continue;
        BackendDraft backend;
        backend.value.name = address->value.to_string();
        backend.value.address = address->value;
        backend.at = backend.weight_at = text.at;
        backend.name_at = backend.address_at = text.at;
        pool.backends.push_back(backend);
    }
    return pool;
}

void decode_pool_of(const TableReader& reader, const Value& table, ServiceDraft& service) {
    auto& report = reader.report();
    if (const auto pool = reader.string("pool", "the name of a [[pool]]")) {
        service.value.pool = pool->value;
        service.pool_at = pool->at;
    }
    service.own_pool = decode_own_pool(reader, service);
    if (reader.has("pool") && reader.has("backends")) {
        report.add(table.find("backends")->key_at, "'pool' and 'backends' are both given; expected one of them");
        service.own_pool.reset();
    }
    if (!reader.has("pool") && !reader.has("backends") && !reader.is_misspelt("pool") &&
        !reader.is_misspelt("backends"))
        report.add_missing(reader.at(),
                           "[[service]] needs 'pool' or 'backends': the name of a [[pool]], or a list of addresses");
}

ServiceDraft decode_service(Report& report, const Value& table) {
    const TableReader reader(report, table, "[[service]]", kServiceKeys);
    ServiceDraft service;
    service.at = service.protocol_at = service.ports_at = reader.at();
    reader.require("name", "a name that no other service has");
    if (const auto name = reader.name("name")) {
        service.value.name = name->value;
        service.name_at = name->at;
    }
    reader.require("vip", "the address that clients connect to, such as \"192.0.2.10\"");
    if (const auto vip = reader.address("vip"))
        if (const auto usable = usable_address(report, "'vip'", *vip)) {
            service.value.vip = *usable;
            service.vip_at = vip->at;
        }
    decode_ports(reader, service);
    const auto protocol = choose(reader, "protocol", kProtocols);
    service.has_protocol = protocol || !reader.has("protocol");
    assign(service.value.protocol, protocol);
    if (protocol) service.protocol_at = protocol->at;
    if (const auto unlisted = choose(reader, "unlisted", kUnlisted)) {
        service.value.unlisted = unlisted->value;
        service.unlisted_at = unlisted->at;
    }
    decode_pool_of(reader, table, service);
    return service;
}

// ---- the rest ----

std::optional<Position> decode_limit(const TableReader& reader, std::string_view key, Range range, bool power_of_two,
                                     std::uint32_t& limit) {
    const auto found = reader.integer(key, range);
    if (!found) return std::nullopt;
    if (power_of_two && !std::has_single_bit(static_cast<std::uint64_t>(found->value))) {
        reader.wrong(key, *reader.get(key),
                     "a power of two from " + std::to_string(range.low) + " to " + std::to_string(range.high));
        return std::nullopt;
    }
    limit = static_cast<std::uint32_t>(found->value);
    return found->at;
}

void decode_limits(const TableReader& top, LimitsDraft& limits) {
    static const KeyList kKeys = {
        .known = {"vips", "services", "pools", "backends", "slots", "pins"}, .reserved = {}, .elsewhere = {}};
    const auto* table = section(top, "limits");
    if (table == nullptr) return;
    const TableReader reader(top.report(), *table, "[limits]", kKeys);
    limits.vips_at = decode_limit(reader, "vips", {1, kMaxServices}, false, limits.value.vips);
    limits.services_at = decode_limit(reader, "services", {1, kMaxServices}, false, limits.value.services);
    limits.pools_at = decode_limit(reader, "pools", {1, kMaxPools}, false, limits.value.pools);
    limits.backends_at = decode_limit(reader, "backends", {1, kMaxBackends}, false, limits.value.backends);
    limits.slots_at = decode_limit(reader, "slots", {kMinTable, kMaxSlots}, true, limits.value.slots);
    decode_limit(reader, "pins", {kMinPins, kMaxPins}, true, limits.value.pins);
}

// "127.0.0.1:9435", "[::1]:9435"
std::optional<std::pair<IpAddress, std::uint16_t>> parse_endpoint(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    auto host = text.substr(0, colon);
    const auto digits = text.substr(colon + 1);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    const auto address = IpAddress::parse(host);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (!address || address->is_v6() != bracketed || address->is_multicast() || error != std::errc{} ||
        end != digits.data() + digits.size() || port == 0)
        return std::nullopt;
    return std::pair{*address, port};
}

void decode_metrics(const TableReader& top, Metrics& metrics) {
    static const KeyList kKeys = {.known = {"enabled", "address"}, .reserved = {}, .elsewhere = {}};
    constexpr std::string_view kExpected = "an address and a port such as \"127.0.0.1:9435\" or \"[::1]:9435\"";
    metrics.address = *IpAddress::parse("127.0.0.1");
    const auto* table = section(top, "metrics");
    if (table == nullptr) return;
    const TableReader reader(top.report(), *table, "[metrics]", kKeys);
    assign(metrics.enabled, reader.boolean("enabled"));
    const auto text = reader.string("address", kExpected);
    if (!text) return;
    if (const auto endpoint = parse_endpoint(text->value))
        std::tie(metrics.address, metrics.port) = *endpoint;
    else
        reader.wrong("address", *reader.get("address"), kExpected);
}

void decode_log(const TableReader& top, Log& log) {
    static const KeyList kKeys = {.known = {"level"}, .reserved = {}, .elsewhere = {}};
    const auto* table = section(top, "log");
    if (table == nullptr) return;
    const TableReader reader(top.report(), *table, "[log]", kKeys);
    assign(log.level, choose(reader, "level", kLogLevels));
}

void decode_prefixes(const TableReader& top, std::vector<IpPrefix>& prefixes) {
    const auto texts = top.strings("encap_source_prefix",
                                   "a prefix such as \"192.0.2.128/25\", or a list of at most one a family", true);
    if (!texts) return;
    for (const auto& text : *texts) {
        const auto prefix = IpPrefix::parse(text.value);
        if (!prefix) {
            top.report().add(text.at, "'encap_source_prefix': " + prefix.error().message +
                                          "; expected a prefix such as \"192.0.2.128/25\"");
            continue;
        }
        if (const auto fault = address_fault(prefix->address); !fault.empty()) {
            top.report().add(text.at, "'encap_source_prefix' " + prefix->to_string() + ": " +
                                          prefix->address.to_string() + " " + std::string(fault) +
                                          "; expected a unicast prefix");
            continue;
        }
        const auto same_family = [&](const IpPrefix& p) { return p.address.is_v4() == prefix->address.is_v4(); };
        if (std::any_of(prefixes.begin(), prefixes.end(), same_family))
            top.report().add(text.at,
                             "'encap_source_prefix' has a second prefix of its family; expected at most one of each");
        else
            prefixes.push_back(*prefix);
    }
}

}  // namespace

void decode_path(const TableReader& reader, std::string_view key, std::filesystem::path& file) {
    constexpr std::string_view kExpected = "an absolute path";
    const auto text = reader.string(key, kExpected);
    if (!text) return;
    if (text->value.starts_with('/') && !text->value.ends_with('/') && text->value.find('\0') == std::string::npos)
        file = text->value;
    else
        reader.wrong(key, *reader.get(key), kExpected);
}

const Value* section(const TableReader& top, std::string_view key) {
    const auto* value = top.get(key);
    if (value == nullptr || value->kind == Kind::kTable) return value;
    top.wrong(key, *value, "a table, written [" + std::string(key) + "]");
    return nullptr;
}

Draft decode(const Document& document, Report& report) {
    Draft draft;
    const TableReader top(report, document.root, "the file", kTopKeys);
    decode_nodes(top, draft);
    for (const auto* pool : top.tables("pool", "[[pool]]")) draft.pools.push_back(decode_pool(report, *pool));
    const auto* pools = top.get("pool");
    draft.has_all_pools =
        !top.is_misspelt("pool") &&
        (pools == nullptr || (pools->kind == Kind::kArray && pools->items.size() == draft.pools.size()));
    for (const auto* service : top.tables("service", "[[service]]"))
        draft.services.push_back(decode_service(report, *service));
    decode_limits(top, draft.limits);
    decode_metrics(top, draft.rest.metrics);
    decode_log(top, draft.rest.log);
    decode_ha(top, draft.rest.ha, draft.ha);
    decode_dpdk(top, draft.rest.dpdk, draft.dpdk_ports);
    decode_sync(top, draft.rest.ha, draft.rest.sync);
    decode_path(top, "hash_key_file", draft.rest.hash_key_file);
    decode_prefixes(top, draft.rest.encap_source_prefix);
    return draft;
}

}  // namespace fairlead::config
