// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/print.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

namespace fairlead::lbctl {
namespace {
// Columns as wide as their widest cell; numbers (`right`) to the right.
class Table {
  public:
    struct Column {
        std::string title;
        bool right = false;
    };
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {
        for (const auto& column : columns_) widths_.push_back(column.title.size());
    }

    void add(std::vector<std::string> row) {
        for (std::size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], row[i].size());
        rows_.push_back(std::move(row));
    }

    std::string print() const {
        std::vector<std::string> titles;
        for (const auto& column : columns_) titles.push_back(column.title);
        std::string text = line(titles);
        for (const auto& row : rows_) text += line(row);
        return text;
    }

  private:
    std::string line(const std::vector<std::string>& cells) const {
        std::string text;
        for (std::size_t i = 0; i < cells.size(); ++i) {
            const std::string pad(widths_[i] - cells[i].size(), ' ');
            text += columns_[i].right ? pad + cells[i] : cells[i] + pad;
            text += "  ";
        }
        return text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
    }

    std::vector<Column> columns_;
    std::vector<std::size_t> widths_;
    std::vector<std::vector<std::string>> rows_;
};

// A field as text: "-" where there is nothing.
std::string cell(const Json& json) {
    if (json.is_null()) return "-";
    if (json.is_string()) return json.get<std::string>().empty() ? "-" : json.get<std::string>();
    if (json.is_boolean()) return json.get<bool>() ? "yes" : "no";
    return json.dump();
}

std::string format(const char* pattern, double value) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), pattern, value);
    return text.data();
}

// 1,234 as "1234", then "12.3 k", "4.5 M": three figures are enough for a look.
std::string short_number(double value) {
    constexpr std::array<const char*, 5> kUnits{"", " k", " M", " G", " T"};
    std::size_t unit = 0;
    for (double limit = 9'999.5; value >= limit && unit + 1 < kUnits.size(); limit = 999.95, ++unit) value /= 1000;
    return format(unit ? "%.1f" : "%.0f", value) + kUnits[unit];
}

std::string port_text(const Json& vip, const Json& port) {
    const auto address = vip.get<std::string>();
    return (address.find(':') == std::string::npos ? address : "[" + address + "]") + ":" + cell(port);
}

std::string share(const Json& backend) {
    const auto slots = backend["slots"].get<double>(), all = backend["pool_slots"].get<double>();
    return all > 0 ? format("%.1f %%", 100 * slots / all) : "-";
}

// What all screens call a pool or service without an eligible backend.
std::string up_or_down(bool all_down) { return all_down ? "ALL DOWN" : "up"; }

std::string controller_line(const Json& controller) {
    if (!controller["running"].get<bool>()) return "DOWN, last seen " + cell(controller["last_seen"]);
    const auto starting = controller["state"] == "starting" ? " (waiting for the first result of every check)" : "";
    return cell(controller["state"]) + starting + ", pid " + cell(controller["pid"]) + ", since " +
           cell(controller["since"]);
}

std::string count_of(const Json& number, const char* what) {
    return cell(number) + " " + what + (number == 1 ? "" : "s");
}

std::string serving_line(const Json& serving) {
    return count_of(serving["services"], "service") + " on " + count_of(serving["vips"], "VIP") + ", " +
           (serving["all_down"] == 0 ? "all up" : cell(serving["all_down"]) + " ALL DOWN");
}

std::string upper(std::string text) {
    for (auto& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

// The first few: there may be thousands.
std::string vips_text(const Json& vips) {
    constexpr std::size_t kShown = 3;
    std::string text;
    for (std::size_t i = 0; i < std::min(vips.size(), kShown); ++i) text += (i ? ", " : "") + cell(vips[i]);
    return text + (vips.size() > kShown ? " and " + std::to_string(vips.size() - kShown) + " more" : "");
}

std::string peer_line(const Json& peer) {
    if (peer.is_null()) return "none heard";
    std::string text = cell(peer["address"]) + ", priority " + cell(peer["priority"]) + ", every " +
                       cell(peer["interval_ms"]) + " ms, last heard " + cell(peer["last_advert"]);
    if (peer["addresses_differ"].get<bool>()) text += ", HAS OTHER VIPS";
    if (peer["interval_differs"].get<bool>()) text += ", HAS ANOTHER INTERVAL";
    return text;
}

// A line for each of several groups.
std::string group_roles(const Json& groups) {
    std::string text;
    for (const auto& group : groups) {
        text += std::string(text.empty() ? "role        " : "            ") + "group " + cell(group["name"]) + " (" +
                vips_text(group["vips"]) + "): " + (group["active"].get<bool>() ? "active" : "not active") +
                (group["since"].is_null() ? "" : " since " + cell(group["since"])) + " (" + cell(group["reason"]) + ")";
        text += (group["peer"].is_null() ? "" : "; peer " + peer_line(group["peer"])) + "\n";
    }
    return text;
}

std::string role_lines(const Json& role) {
    if (role.contains("groups") && role["groups"].size() > 1) return group_roles(role["groups"]);
    const bool with_ha = role.contains("since") && !role["since"].is_null();
    std::string text = std::string("role        ") + (role["active"].get<bool>() ? "active" : "not active") +
                       (with_ha ? " since " + cell(role["since"]) : "") + " (" + cell(role["reason"]) + ")\n";
    if (with_ha) text += "peer        " + peer_line(role["peer"]) + "\n";
    return text;
}

// Which VIPs routers are told of; of those that they are not told of, why.
std::string announce_lines(const Json& announce) {
    constexpr std::size_t kMostShown = 20;
    std::size_t announced = 0;
    std::vector<std::string> silent;
    for (const auto& vip : announce["vips"]) {
        if (vip["announced"].get<bool>())
            ++announced;
        else
            silent.push_back("            " + cell(vip["vip"]) + " NOT ANNOUNCED: " + cell(vip["reason"]) + "\n");
    }
    std::string text = "announced   " + std::to_string(announced) + " of " + count_of(announce["vips"].size(), "VIP") +
                       ", by routes of protocol " + cell(announce["protocol"]) + " in table " +
                       cell(announce["table"]) + "\n";
    for (std::size_t i = 0; i < std::min(silent.size(), kMostShown); ++i) text += silent[i];
    if (silent.size() > kMostShown)
        text += "            " + std::to_string(silent.size() - kMostShown) + " more NOT ANNOUNCED\n";
    return text;
}

// The other nodes, a line each; what differs cannot be overlooked.
std::string node_lines(const Json& nodes) {
    std::string text;
    for (const auto& node : nodes) {
        text += std::string(text.empty() ? "nodes       " : "            ") + cell(node["name"]) + " at " +
                cell(node["address"]) + ", last heard " + cell(node["last_hello"]);
        for (const auto& what : node["differs"]) text += ", HAS ANOTHER " + upper(what.get<std::string>());
        text += node["differs"].empty() ? ", same config\n" : "\n";
    }
    return text;
}

std::string peer_name(const Json& peer) { return cell(peer[peer["name"].is_null() ? "address" : "name"]); }

std::string in_ms(const Json& seconds) {
    return seconds.is_null() ? "-" : format("%.0f ms", 1000 * seconds.get<double>());
}

// What the sync is hindered by; empty: nothing.
std::string sync_fault(const Json& sync) {
    if (!sync["error"].is_null()) return cell(sync["error"]);
    if (sync["peers"].empty()) return "NO OTHER NODE";
    for (const auto& peer : sync["peers"]) {
        if (!peer["heard"].get<bool>()) return peer_name(peer) + " NOT HEARD";
        if (peer["common_differs"].get<bool>()) return peer_name(peer) + " HAS ANOTHER HASH KEY OR PIN TABLE";
    }
    return "";
}

// A line; nothing where there is no [sync].
std::string sync_line(const Json& sync) {
    if (sync.is_null()) return "";
    std::string text = sync_fault(sync);
    for (const auto& peer : text.empty() ? sync["peers"] : Json::array())
        text +=
            (text.empty() ? "" : "; ") + peer_name(peer) + ": " + cell(peer["part"]) + ", lag " + in_ms(peer["lag_s"]);
    if (sync["mastership"] == "peer" || sync["mastership"] == "full")
        text += ", MASTERSHIP WAITS for " + cell(sync["mastership_text"]);
    return "sync        " + text + "\n";
}

std::string status_head(const Json& s) {
    std::string text = "instance    " + cell(s["instance"]) + (s["node"].is_null() ? "" : ", node " + cell(s["node"])) +
                       ", Fairlead " + cell(s["version"]) + "\n";
    text += "controller  " + controller_line(s["controller"]) + "\n";
    if (!s["config"].is_null()) {
        text += "config      " + cell(s["config"]["file"]) + ", loaded " + cell(s["config"]["loaded"]) + "\n";
        if (!s["config"]["reload_error"].is_null())
            text += "            LAST RELOAD REFUSED: " + cell(s["config"]["reload_error"]) + "\n";
    }
    text += role_lines(s["role"]);
    if (s.contains("nodes")) text += node_lines(s["nodes"]);
    if (s.contains("sync")) text += sync_line(s["sync"]);
    if (s.contains("announce") && !s["announce"].is_null()) text += announce_lines(s["announce"]);
    if (s.contains("lb_dpdk") && !s["lb_dpdk"].is_null())
        text +=
            "lb-dpdk     process " + cell(s["lb_dpdk"]["pid"]) + ", workers: " + cell(s["lb_dpdk"]["workers"]) + "\n";
    const auto& ports = s["ports"];
    if (std::none_of(ports.begin(), ports.end(), [](const Json& port) { return port["attached"].get<bool>(); }))
        return text + "serving     NOTHING: no program is attached\n";
    if (s.contains("serving")) text += "serving     " + serving_line(s["serving"]) + "\n";
    return text;
}

std::string vlan_text(const Json& vlan) { return vlan.is_null() ? "any" : vlan == 0 ? "untagged" : cell(vlan); }

std::string status_ports(const Json& ports) {
    Table table(
        {{"INTERFACE"}, {"ENGINE"}, {"MTU", true}, {"LARGEST", true}, {"FRAMES"}, {"VLAN"}, {"MAC"}, {"REASON"}});
    for (const auto& p : ports)
        table.add({cell(p["interface"]) + (p["bond"].is_null() ? "" : " of " + cell(p["bond"])),
                   p["attached"].get<bool>() ? cell(p["engine"]) : "NOT ATTACHED", cell(p["mtu"]), cell(p["max_mtu"]),
                   p["frames"].get<bool>() ? "whole" : "one buffer", vlan_text(p["vlan"]), cell(p["mac"]),
                   cell(p["reason"])});
    return table.print();
}

// VLANs behind interfaces, and bonds; nothing where there are none.
std::string status_ways(const Json& ways) {
    if (ways.empty()) return "";
    Table table({{"WAY OUT"}, {"INTERFACE"}, {"VLAN"}, {"MTU", true}, {"MAC"}});
    for (const auto& w : ways)
        table.add({cell(w["name"]), cell(w["interface"]), w["vlan"].is_null() ? "as it came" : vlan_text(w["vlan"]),
                   cell(w["mtu"]), cell(w["mac"])});
    return "\n" + table.print();
}

// Pools in trouble first.
std::string status_pools(const Json& pools) {
    Table table({{"POOL"}, {"STATE"}, {"TIER", true}, {"ELIGIBLE", true}, {"WHY"}});
    for (const bool all_down : {true, false})
        for (const auto& p : pools)
            if (p["all_down"] == all_down)
                table.add({cell(p["name"]), up_or_down(all_down), cell(p["tier"]),
                           cell(p["eligible"]) + "/" + cell(p["backends"]), cell(p["reason"])});
    return table.print();
}

std::string status_tables(const Json& s) {
    std::string text = "tables      ";
    for (const auto& t : s["tables"]) text += cell(t["table"]) + " " + cell(t["used"]) + "/" + cell(t["size"]) + ", ";
    return text + format("%.1f MiB\n", s["tables_bytes"].get<double>() / (1 << 20)) + "hash key    " +
           cell(s["hash_key_id"]) + " (equal on all nodes that share a VIP)\n";
}

// "pool web: ALL DOWN", before the table where a line a backend does not say it.
std::string all_down_banner(const Json& backends) {
    std::map<std::string, std::pair<bool, bool>> pools;  // any eligible, any used
    for (const auto& b : backends) {
        auto& [eligible, used] = pools[cell(b["pool"])];
        eligible |= b["eligible"].is_null() ? b["state"] == "healthy" : b["eligible"].get<bool>();
        used |= b["in_use"].get<bool>();
    }
    std::string text;
    for (const auto& [pool, seen] : pools)
        if (!seen.first)
            text += "pool " + pool + ": ALL DOWN: no backend is eligible" +
                    (seen.second ? ", all are used as if healthy" : "") + "\n";
    return text.empty() ? "" : text + "\n";
}

std::string next_hop_text(const Json& hop) {
    if (hop.is_null()) return "this node";
    if (hop["resolved"].get<bool>()) {
        const bool tagged = hop.contains("vlan") && hop["vlan"].is_number() && hop["vlan"] != 0;
        return cell(hop["interface"]) + (tagged ? "." + cell(hop["vlan"]) : "") + " " + cell(hop["mac"]);
    }
    return "UNRESOLVED" + (cell(hop["reason"]) == "-" ? "" : ": " + cell(hop["reason"]));
}

std::string weight_text(const Json& backend) {
    const auto configured = cell(backend["configured_weight"]);
    return cell(backend["weight"]) + (cell(backend["weight"]) == configured ? "" : " (config " + configured + ")");
}

// The decision, then each check.
std::string why_text(const Json& backend) {
    std::string text = cell(backend["reason"]);
    if (backend["drained"].get<bool>() && text.find("drained") == std::string::npos) text = "drained; " + text;
    if (backend["checks"].is_null()) return text;
    for (const auto& c : backend["checks"])
        text += "; " + cell(c["check"]) + " " + cell(c["state"]) +
                (c["state"] == "up" ? " " + format("%.1f ms", c["last_ms"].get<double>()) : "");
    return text;
}
}  // namespace

std::string print_status(const Json& s) {
    return status_head(s) + "\n" + status_ports(s["ports"]) + status_ways(s["ways"]) + "\n" + status_pools(s["pools"]) +
           "\n" + status_tables(s);
}

namespace {
// A controller of before there were groups has none.
Json groups_of(const Json& ha) { return ha.contains("groups") ? ha["groups"] : Json::array({ha}); }

// The latest first, whichever group's.
std::string print_ha_history(const Json& groups) {
    const bool several = groups.size() > 1;
    std::vector<std::vector<std::string>> rows;
    for (const auto& group : groups)
        for (const auto& h : group["history"]) {
            auto& row = rows.emplace_back(std::vector{cell(h["at"])});
            if (several) row.push_back(cell(group["name"]));
            for (const char* key : {"from", "to", "text", "peer", "peer_priority"}) row.push_back(cell(h[key]));
        }
    std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a[0] > b[0]; });
    std::vector<Table::Column> columns{{"AT"}, {"FROM"}, {"TO"}, {"REASON"}, {"PEER"}, {"PRIORITY", true}};
    if (several) columns.insert(columns.begin() + 1, Table::Column{"GROUP"});
    Table table(std::move(columns));
    for (auto& row : rows) table.add(std::move(row));
    return table.print();
}

// What keeps the node from being active, or is not as it should be.
std::string ha_notes(const Json& ha) {
    std::string text;
    if (!ha["ready"].get<bool>()) text += "            not ready: waits for the first result of every check\n";
    if (ha["fault"].get<bool>()) text += "            FAULT: a tracked fault forbids to be active\n";
    if (ha["handed_over"].get<bool>())
        text += "            handed over by an operator: takes over when the other dies\n";
    if (ha["split_brain"].get<bool>()) text += "            SPLIT BRAIN: another node is active too\n";
    return text;
}
std::string print_ha_group(const Json& ha) {
    std::string text = "state       " + cell(ha["state"]) + (ha["active"].get<bool>() ? ", acts for the VIPs" : "") +
                       "\n" + ha_notes(ha);
    text += "priority    " + cell(ha["priority"]) + " (configured " + cell(ha["configured_priority"]) + "), vrid " +
            cell(ha["vrid"]) + "\n";
    text += "peer        " + peer_line(ha["peer"]) + "\n";
    const auto& adverts = ha["adverts"];
    text += "adverts     " + cell(adverts["sent"]) + " sent, " + cell(adverts["received"]) + " received";
    for (const auto& [reason, count] : adverts["refused"].items())
        if (count != 0) text += ", " + cell(count) + " refused: " + reason;
    return text + "\nsplit brain " + count_of(ha["split_brains"], "time") + "\n";
}
}  // namespace

std::string print_ha(const Json& view, bool history) {
    const auto& ha = view["ha"];
    if (ha.is_null()) return "no HA configured, or lbd is not there\n";
    const auto groups = groups_of(ha);
    if (history) return print_ha_history(groups);
    std::string text;
    for (const auto& group : groups) {
        if (groups.size() > 1)
            text += (text.empty() ? "" : "\n") + ("group       " + cell(group["name"])) + ": " +
                    vips_text(group["vips"]) + "\n";
        text += print_ha_group(group);
    }
    if (!ha.contains("nodes")) return text;
    const auto nodes = node_lines(ha["nodes"]);
    return text + (groups.size() > 1 ? "\n" : "") + (nodes.empty() ? "nodes       none heard\n" : nodes);
}

namespace {
std::string sync_peers(const Json& peers) {
    Table table({{"PEER"},
                 {"ADDRESS"},
                 {"PART"},
                 {"HEARD"},
                 {"LAG", true},
                 {"SLOTS SENT", true},
                 {"PINS SENT", true},
                 {"SLOTS APPLIED", true},
                 {"PINS APPLIED", true},
                 {"LAST FULL"},
                 {"TOOK", true}});
    for (const auto& p : peers)
        table.add({peer_name(p), cell(p["address"]), cell(p["part"]), p["heard"].get<bool>() ? "yes" : "NO",
                   in_ms(p["lag_s"]), cell(p["sent"]["slots"]), cell(p["sent"]["pins"]), cell(p["received"]["slots"]),
                   cell(p["received"]["pins"]), cell(p["last_full"]), in_ms(p["last_full_s"])});
    return table.print();
}

// By reason, from whomever; nothing where none was.
std::string sync_refusals(const Json& sync) {
    std::string text;
    for (const auto& [reason, count] : sync["refused"].items()) {
        auto all = count.get<std::uint64_t>();
        for (const auto& peer : sync["peers"]) all += peer["refused"].value(reason, std::uint64_t{0});
        if (all) text += (text.empty() ? "refused     " : ", ") + std::to_string(all) + " " + reason;
    }
    return text.empty() ? "" : text + "\n";
}
}  // namespace

bool is_synced(const Json& view) { return !view["sync"].is_null() && sync_fault(view["sync"]).empty(); }

std::string print_sync(const Json& view) {
    const auto& sync = view["sync"];
    if (sync.is_null()) return "no [sync] configured, or lbd is not there\n";
    std::string text = "mastership  waits for " + cell(sync["mastership_text"]) + "\n";
    if (const auto fault = sync_fault(sync); !fault.empty()) text += "fault       " + fault + "\n";
    std::string pools;
    for (const auto& pool : sync["pools_followed"]) pools += (pools.empty() ? "" : ", ") + cell(pool);
    text += "follows     " + (pools.empty() ? "no pool of another node" : pools) + "\n" + sync_refusals(sync);
    return text + "\n" + sync_peers(sync["peers"]);
}

std::string print_services(const Json& json) {
    Table table({{"SERVICE"},
                 {"PROTO"},
                 {"VIP:PORT"},
                 {"POOL"},
                 {"STATE"},
                 {"ELIGIBLE", true},
                 {"CONNECTIONS", true},
                 {"PACKETS", true},
                 {"BYTES", true}});
    for (const auto& s : json["services"])
        table.add({cell(s["name"]), cell(s["protocol"]), port_text(s["vip"], s["port"]), cell(s["pool"]),
                   up_or_down(s["state"] == "all_down"), cell(s["eligible"]) + "/" + cell(s["backends"]),
                   cell(s["syns"]), short_number(s["packets"]), short_number(s["bytes"])});
    return table.print();
}

std::string print_backends(const Json& json) {
    Table table({{"POOL"},
                 {"BACKEND"},
                 {"ADDRESS"},
                 {"TIER", true},
                 {"WEIGHT", true},
                 {"FORWARD"},
                 {"STATE"},
                 {"SHARE", true},
                 {"NEXT HOP"},
                 {"CONNECTIONS", true},
                 {"PACKETS", true},
                 {"WHY"}});
    for (const auto& b : json["backends"])
        table.add({cell(b["pool"]), cell(b["name"]), cell(b["address"]), cell(b["tier"]), weight_text(b),
                   cell(b["forward"]), cell(b["state"]), share(b), next_hop_text(b["next_hop"]), cell(b["syns"]),
                   short_number(b["packets"]), why_text(b)});
    return all_down_banner(json["backends"]) + table.print();
}

std::string print_counters(const Json& json, bool all) {
    Table table({{"WHAT"}, {"REASON"}, {"PACKETS", true}, {"BYTES", true}, {"MEANING"}});
    for (const auto* group : {"passed", "answered", "dropped", "handed"})
        for (const auto& row : json[group])
            if (all || row["packets"] != 0)
                table.add(
                    {group, cell(row["reason"]), cell(row["packets"]), short_number(row["bytes"]), cell(row["help"])});
    std::string banner;
    for (const auto& pool : json.value("all_down", Json::array())) banner += "pool " + cell(pool) + ": ALL DOWN\n";
    return banner + (banner.empty() ? "" : "\n") + table.print();
}

namespace {
struct Rate {
    double packets = 0, bytes = 0, syns = 0;
};

Rate rate_of(const Json& now, const Json* before, double seconds) {
    const auto value = [&](const char* key) {
        const auto is = now[key].get<double>(), was = before ? (*before)[key].get<double>() : 0.0;
        return (is < was ? is : is - was) / seconds;  // less than before: new tables, which begin at zero
    };
    return {value("packets"), value("bytes"), value("syns")};
}

using Keys = std::initializer_list<const char*>;

std::string key_of(const Json& row, Keys keys) {
    std::string text;
    for (const auto* key : keys) text += cell(row[key]) + "\n";
    return text;
}

// The rows of a sample by what tells them apart; empty without a sample.
using Index = std::map<std::string, const Json*>;
Index index_of(const Json* rows, Keys keys) {
    Index index;
    if (rows)
        for (const auto& row : *rows) index[key_of(row, keys)] = &row;
    return index;
}

const Json* find_row(const Index& index, const std::string& key) {
    const auto found = index.find(key);
    return found == index.end() ? nullptr : found->second;
}
}  // namespace

std::string print_stats(const Stats& now, const Stats* before, double seconds) {
    const auto unit = before ? std::string("/S") : std::string();
    Table table({{"SERVICE / -> BACKEND"},
                 {"ADDRESS"},
                 {"STATE"},
                 {"CONNECTIONS" + unit, true},
                 {"PACKETS" + unit, true},
                 {"BYTES" + unit, true}});
    const auto add = [&](const std::string& name, const std::string& address, const Json& row, const Json* old) {
        const auto rate = rate_of(row, old, before ? seconds : 1);
        table.add({name, address, row["state"] == "all_down" ? up_or_down(true) : cell(row["state"]),
                   short_number(rate.syns), short_number(rate.packets), short_number(rate.bytes)});
    };
    static constexpr Keys kService{"vip", "port", "protocol"}, kBackend{"pool", "name"};
    const auto old_services = index_of(before ? &before->services["services"] : nullptr, kService);
    const auto old_backends = index_of(before ? &before->backends["backends"] : nullptr, kBackend);
    std::map<std::string, std::vector<const Json*>> pools;
    for (const auto& b : now.backends["backends"]) pools[cell(b["pool"])].push_back(&b);
    for (const auto& s : now.services["services"]) {
        add(cell(s["name"]), cell(s["protocol"]) + " " + port_text(s["vip"], s["port"]), s,
            find_row(old_services, key_of(s, kService)));
        // Services of one pool share its backends: those are shown once, below the first.
        for (const auto* b : std::exchange(pools[cell(s["pool"])], {}))
            add("  -> " + cell((*b)["name"]), cell((*b)["address"]), *b, find_row(old_backends, key_of(*b, kBackend)));
    }
    return table.print();
}

namespace {
constexpr std::array<const char*, 8> kCoreCounts{"packets",  "bytes",   "steered", "passed",
                                                 "answered", "dropped", "handed",  "unsent"};

std::string core_state(const Json& row) {
    if (row["running"].is_null()) return "-";  // a CPU
    return row["running"].get<bool>() ? "running" : "gone";
}
}  // namespace

std::string print_cores(const Json& now, const Json* before, double seconds) {
    static constexpr Keys kCore{"engine", "core"};
    std::vector<Table::Column> columns{{"CORE"}, {"STATE"}, {"PID", true}};
    for (const auto* count : kCoreCounts) columns.push_back({upper(count) + (before ? "/S" : ""), true});
    Table table(std::move(columns));
    const auto old = index_of(before ? &(*before)["cores"] : nullptr, kCore);
    for (const auto& row : now["cores"]) {
        const auto* was = find_row(old, key_of(row, kCore));
        std::vector<std::string> cells{(row["engine"] == "dpdk" ? "worker " : "cpu ") + cell(row["core"]),
                                       core_state(row), cell(row["pid"])};
        for (const auto* count : kCoreCounts) {
            const double total = row[count].get<double>(), earlier = was ? (*was)[count].get<double>() : 0;
            cells.push_back(short_number((total - (earlier <= total ? earlier : 0)) / (before ? seconds : 1)));
        }
        table.add(std::move(cells));
    }
    return table.print();
}

namespace {
std::string slot_text(const Json& slot) {
    return cell(slot["number"]) + " of " + cell(slot["of"]) + ", by the " + cell(slot["by"]) + ", owner " +
           cell(slot["owner"]) +
           (slot["settled"].get<bool>() ? ", settled" : ", in transition from " + cell(slot["previous"]));
}

std::string backend_text(const Json& backend) {
    return cell(backend["name"]) + ", " + cell(backend["address"]) + ", tier " + cell(backend["tier"]) + ", " +
           cell(backend["state"]);
}

// What was asked about.
std::string question_text(const Json& e) {
    if (e["source"].is_null()) return "frame of " + cell(e["frame_bytes"]) + " bytes";
    return cell(e["protocol"]) + " " + cell(e["source"]) + " -> " + cell(e["destination"]);
}

std::string mtu_text(const Json& mtu) {
    return cell(mtu["next_hop"]) + ", encapsulation " + cell(mtu["overhead"]) + ": " + cell(mtu["verdict"]);
}
}  // namespace

std::string print_explain(const Json& e) {
    std::string text = question_text(e) + ": " + cell(e["verdict"]);
    text += (e["reason"] == "steered" ? ": " : ", " + cell(e["reason"]) + ": ") + cell(e["why"]) + "\n";
    const auto line = [&](const std::string& name, const std::string& value) {
        text += "  " + name + std::string(10 - name.size(), ' ') + value + "\n";
    };
    if (e["active"] == false) line("role", "this node is not active for the VIP");
    if (!e["service"].is_null())
        line("service",
             cell(e["service"]["name"]) + ", port " + cell(e["service"]["port"]) + ", pool " + cell(e["pool"]));
    if (!e["slot"].is_null()) line("slot", slot_text(e["slot"]));
    if (const auto pin = e.value("pin", Json()); !pin.is_null()) line("pin", cell(pin["text"]));
    if (const auto open = e.value("open", Json()); !open.is_null())
        line("open", "a connection of these ends that is open already goes to " + cell(open["backend"]) +
                         (open["pinned"].get<bool>() ? ", by its pin" : ""));
    if (!e["backend"].is_null()) line("backend", backend_text(e["backend"]));
    const auto& outer = e["outer"];
    if (!e["forward"].is_null())
        line("forward",
             cell(e["forward"]) +
                 (outer.is_null() ? "" : ", outer " + cell(outer["source"]) + " -> " + cell(outer["destination"])));
    if (!e["next_hop"].is_null())
        line("next hop", cell(e["next_hop"]["mac"]) + " on " + cell(e["next_hop"]["interface"]));
    if (!e["mtu"].is_null()) line("MTU", mtu_text(e["mtu"]));
    return text;
}

std::string print_config_diff(const Json& json) {
    std::string text;
    const auto file = json["file"].get<std::string>();
    for (const auto& e : json["errors"])
        text += file + ":" + cell(e["line"]) + ":" + cell(e["column"]) + ": " + cell(e["message"]) + "\n";
    if (!json["good"].get<bool>()) return text + count_of(json["errors"].size(), "error") + "\n";
    for (const auto& line : json["changes"]) text += cell(line) + "\n";
    for (const auto& line : json["restart"]) text += "NOT BY RELOAD: " + cell(line) + "\n";
    return text.empty() ? "no difference\n" : text;
}

std::string print_plan(const Json& json) {
    auto text = print_config_diff(json);
    if (!json["good"].get<bool>()) return text;
    text += "\n";
    Table table({{"POOL"}, {"SLOTS", true}, {"MOVED", true}, {"SHARE", true}, {"LEAVING"}});
    for (const auto& pool : json["pools"]) {
        const auto slots = pool["slots"].get<double>(), moved = pool["slots_moved"].get<double>();
        std::string leaving;
        for (const auto& name : pool["leave"]) leaving += (leaving.empty() ? "" : " ") + cell(name);
        table.add({cell(pool["name"]), cell(pool["slots"]), cell(pool["slots_moved"]),
                   format("%.1f %%", slots > 0 ? 100 * moved / slots : 0), leaving.empty() ? "-" : leaving});
    }
    text += table.print() + "\n";
    if (json["cut"].empty()) return text + "connections that would be cut: none\n";
    text += "connections that would be cut, those of:\n";
    for (const auto& line : json["cut"]) text += "  " + cell(line) + "\n";
    return text;
}

namespace {
std::string waits_text(const Json& waits) {
    std::string text;
    const auto add = [&](const char* key, const char* what) {
        if (const auto slots = waits[key].get<std::uint64_t>())
            text += (text.empty() ? "" : ", ") + std::to_string(slots) + " " + what;
    };
    add("connections", "for old connections");
    add("pins", "for pins to end");
    add("scan", "for a scan of pins");
    add("engines", "for engines to see");
    return text;
}
}  // namespace

std::string print_transitions(const Json& json) {
    const auto& pins = json["pins"];
    auto text = cell(json["slots_in_transition"]) + " slots in transition";
    if (!pins.is_null())
        text += "; pins: " + cell(pins["confirmed"]) + " confirmed, " + cell(pins["probation"]) + " on probation, " +
                cell(pins["closing"]) + " closing";
    text += "\n";
    Table table({{"POOL"}, {"BACKEND"}, {"STATE"}, {"OWNS", true}, {"OWNED", true}, {"PINS", true}});
    bool any = false;
    for (const auto& pool : json["pools"]) {
        const bool moving = pool["in_transition"].get<std::uint64_t>() > 0;
        if (moving)
            text +=
                "pool " + cell(pool["name"]) + ": " + cell(pool["in_transition"]) + " of " + cell(pool["slots"]) +
                " slots" +
                (pool["waits_for"].is_null() ? ""
                                             : ", the oldest for " + format("%.0f s", pool["oldest_s"].get<double>()) +
                                                   ": " + waits_text(pool["waits_for"])) +
                "\n";
        for (const auto& backend : pool["backends"]) {
            const bool pinned = !backend["pins"].is_null() && backend["pins"].get<std::uint64_t>() > 0;
            if (!moving && !pinned) continue;
            any = true;
            table.add({cell(pool["name"]), cell(backend["name"]), cell(backend["state"]), cell(backend["slots"]),
                       cell(backend["slots_previous"]), cell(backend["pins"])});
        }
    }
    return any ? text + "\n" + table.print() : text;
}

std::string print_decap(const Json& json) {
    Table table({{"INTERFACE"},
                 {"ENGINE"},
                 {"NODE"},
                 {"SOURCES"},
                 {"VIPS"},
                 {"GUE PORT", true},
                 {"UNWRAPPED", true},
                 {"REFUSED", true}});
    const auto list = [](const Json& items) {
        std::string text;
        for (const auto& item : items) text += (text.empty() ? "" : " ") + cell(item);
        return text;
    };
    for (const auto& d : json["decap"])
        table.add({cell(d["interface"]), cell(d["engine"]), list(d["node"]), list(d["sources"]), list(d["vips"]),
                   cell(d["gue_port"]), cell(d["unwrapped"]), cell(d["refused"])});
    return table.print();
}

}  // namespace fairlead::lbctl
