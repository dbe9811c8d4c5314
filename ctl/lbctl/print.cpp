// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/print.h"

#include <array>
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
    for (; value >= 10'000 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
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

std::string controller_line(const Json& controller) {
    if (controller["running"].get<bool>())
        return cell(controller["state"]) + ", pid " + cell(controller["pid"]) + ", since " + cell(controller["since"]);
    return "down since " + cell(controller["last_seen"]) + "; the data path is running";
}
}  // namespace

std::string print_status(const Json& s) {
    std::string text;
    if (!s["controller"]["running"].get<bool>())
        text += "data path running, controller down since " + cell(s["controller"]["last_seen"]) + "\n\n";
    text += "instance    " + cell(s["instance"]) + (s["node"].is_null() ? "" : ", node " + cell(s["node"])) +
            ", Fairlead " + cell(s["version"]) + "\n";
    text += "controller  " + controller_line(s["controller"]) + "\n";
    if (!s["config"].is_null()) {
        text += "config      " + cell(s["config"]["file"]) + ", loaded " + cell(s["config"]["loaded"]) + "\n";
        if (!s["config"]["reload_error"].is_null())
            text += "            last reload refused: " + cell(s["config"]["reload_error"]) + "\n";
    }
    text += std::string("role        ") + (s["role"]["active"].get<bool>() ? "active" : "not active") + " (" +
            cell(s["role"]["reason"]) + ")\n\n";
    Table ports({{"INTERFACE"}, {"ENGINE"}, {"MTU", true}, {"MAC"}, {"REASON"}});
    for (const auto& p : s["ports"])
        ports.add({cell(p["interface"]), cell(p["engine"]), cell(p["mtu"]), cell(p["mac"]), cell(p["reason"])});
    text += ports.print() + "\n";
    Table pools({{"POOL"}, {"TIER"}, {"ELIGIBLE", true}, {"BACKENDS", true}, {"STATE"}});
    for (const auto& p : s["pools"]) {
        const auto state = p["all_down"].get<bool>() ? "ALL DOWN" : "up";
        pools.add({cell(p["name"]), cell(p["tier"]), cell(p["eligible"]), cell(p["backends"]),
                   std::string(state) + (p["reason"].is_null() ? "" : ": " + cell(p["reason"]))});
    }
    text += pools.print() + "\n";
    text += "tables     ";
    for (const auto& t : s["tables"]) text += " " + cell(t["table"]) + " " + cell(t["used"]) + "/" + cell(t["size"]);
    text += ", " + format("%.1f MiB", s["tables_bytes"].get<double>() / (1 << 20)) + ", hash key " +
            cell(s["hash_key_id"]) + "\n";
    return text;
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
                   s["state"] == "all_down" ? "ALL DOWN" : cell(s["state"]),
                   cell(s["eligible"]) + "/" + cell(s["backends"]), cell(s["syns"]), short_number(s["packets"]),
                   short_number(s["bytes"])});
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
    for (const auto& b : json["backends"]) {
        const auto& hop = b["next_hop"];
        auto next = hop.is_null() ? "this node" : cell(hop["interface"]) + " " + cell(hop["mac"]);
        if (!hop.is_null() && !hop["resolved"].get<bool>())
            next = "unresolved" + (hop["reason"].is_null() ? "" : ": " + cell(hop["reason"]));
        std::string why = cell(b["reason"]);
        if (!b["checks"].is_null())
            for (const auto& c : b["checks"])
                why += "; " + cell(c["check"]) + " " + cell(c["state"]) +
                       (cell(c["error"]) == "-" ? " " + format("%.1f ms", c["last_ms"]) : "");
        const auto weight =
            cell(b["weight"]) +
            (b["weight"] == b["configured_weight"] ? "" : " (config " + cell(b["configured_weight"]) + ")");
        table.add({cell(b["pool"]), cell(b["name"]), cell(b["address"]), cell(b["tier"]), weight, cell(b["forward"]),
                   cell(b["state"]), share(b), next, cell(b["syns"]), short_number(b["packets"]), why});
    }
    return table.print();
}

std::string print_counters(const Json& json, bool all) {
    Table table({{"WHAT"}, {"REASON"}, {"PACKETS", true}, {"BYTES", true}, {"MEANING"}});
    for (const auto& [group, rows] : json.items())
        for (const auto& row : rows)
            if (all || row["packets"] != 0)
                table.add(
                    {group, cell(row["reason"]), cell(row["packets"]), short_number(row["bytes"]), cell(row["help"])});
    return table.print();
}

namespace {
struct Rate {
    double packets = 0, bytes = 0, syns = 0;
};

Rate rate_of(const Json& now, const Json* before, double seconds) {
    const auto value = [&](const char* key) {
        const auto was = before ? (*before)[key].get<double>() : 0.0;
        return (now[key].get<double>() - was) / seconds;
    };
    return {value("packets"), value("bytes"), value("syns")};
}

const Json* same_row(const Json* rows, const Json& row, std::initializer_list<const char*> keys) {
    if (!rows) return nullptr;
    for (const auto& other : *rows) {
        bool same = true;
        for (const auto* key : keys) same = same && other[key] == row[key];
        if (same) return &other;
    }
    return nullptr;
}
}  // namespace

std::string print_stats(const Stats& now, const Stats* before, double seconds) {
    const auto unit = before ? std::string("/S") : std::string();
    Table table({{"SERVICE / -> BACKEND"},
                 {"ADDRESS"},
                 {"CONNECTIONS" + unit, true},
                 {"PACKETS" + unit, true},
                 {"BYTES" + unit, true}});
    const auto add = [&](const std::string& name, const std::string& address, const Json& row, const Json* old) {
        const auto rate = rate_of(row, before ? old : nullptr, before ? seconds : 1);
        table.add({name, address, short_number(rate.syns), short_number(rate.packets), short_number(rate.bytes)});
    };
    std::map<std::string, bool> shown;
    for (const auto& s : now.services["services"]) {
        add(cell(s["name"]), cell(s["protocol"]) + " " + port_text(s["vip"], s["port"]), s,
            before ? same_row(&before->services["services"], s, {"vip", "port", "protocol"}) : nullptr);
        // Services of one pool share its backends: those are shown once, below the first.
        if (std::exchange(shown[cell(s["pool"])], true)) continue;
        for (const auto& b : now.backends["backends"])
            if (b["pool"] == s["pool"])
                add("  -> " + cell(b["name"]), cell(b["address"]), b,
                    before ? same_row(&before->backends["backends"], b, {"pool", "name"}) : nullptr);
    }
    return table.print();
}

std::string print_explain(const Json& e) {
    std::string text =
        cell(e["protocol"]) + " " + cell(e["source"]) + " -> " + cell(e["destination"]) + ": " + cell(e["verdict"]);
    if (!e["why"].is_null()) text += ", " + cell(e["reason"]) + ": " + cell(e["why"]);
    text += "\n";
    const auto line = [&](const char* name, const std::string& value) {
        text += std::string("  ") + name + std::string(10 - std::string(name).size(), ' ') + value + "\n";
    };
    if (!e["service"].is_null())
        line("service",
             cell(e["service"]["name"]) + ", port " + cell(e["service"]["port"]) + ", pool " + cell(e["pool"]));
    if (!e["slot"].is_null()) {
        const auto& s = e["slot"];
        line("slot", cell(s["number"]) + " of " + cell(s["of"]) + ", by the " + cell(s["by"]) + ", owner " +
                         cell(s["owner"]) +
                         (s["settled"].get<bool>() ? ", settled" : ", in transition from " + cell(s["previous"])));
    }
    if (!e["backend"].is_null())
        line("backend", cell(e["backend"]["name"]) + ", " + cell(e["backend"]["address"]) + ", tier " +
                            cell(e["backend"]["tier"]) + ", " + cell(e["backend"]["state"]));
    if (!e["forward"].is_null())
        line("forward", cell(e["forward"]) + (e["outer"].is_null() ? ""
                                                                   : ", outer " + cell(e["outer"]["source"]) + " -> " +
                                                                         cell(e["outer"]["destination"])));
    if (!e["next_hop"].is_null())
        line("next hop", cell(e["next_hop"]["mac"]) + " on " + cell(e["next_hop"]["interface"]));
    if (!e["mtu"].is_null())
        line("MTU", cell(e["mtu"]["next_hop"]) + ", encapsulation " + cell(e["mtu"]["overhead"]) + ": " +
                        cell(e["mtu"]["verdict"]));
    return text;
}

std::string print_decap(const Json& json) {
    Table table({{"INTERFACE"}, {"ENGINE"}, {"NODE"}, {"SOURCES"}, {"VIPS"}, {"UNWRAPPED", true}, {"REFUSED", true}});
    const auto list = [](const Json& items) {
        std::string text;
        for (const auto& item : items) text += (text.empty() ? "" : " ") + cell(item);
        return text;
    };
    for (const auto& d : json["decap"])
        table.add({cell(d["interface"]), cell(d["engine"]), list(d["node"]), list(d["sources"]), list(d["vips"]),
                   cell(d["unwrapped"]), cell(d["refused"])});
    return table.print();
}

}  // namespace fairlead::lbctl
