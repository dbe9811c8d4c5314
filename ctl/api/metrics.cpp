// SPDX-License-Identifier: Apache-2.0
#include "ctl/api/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <sstream>
#include <utility>

#include "dataplane/tables/desired.h"

namespace fairlead::api {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

struct Reason {
    const char* name;
    fl_reason_class reason_class;
};

constexpr std::array<Reason, FL_REASON_COUNT> kReasons = {{
#define FL_X(symbol, class, name, help) {name, FL_CLASS_##class},
    FL_REASON_LIST(FL_X)
#undef FL_X
}};

// A page of families in the order in which they are added.
class Page {
  public:
    void counter(const char* name, const char* help) { begin(name, help, MetricType::Counter); }
    void gauge(const char* name, const char* help) { begin(name, help, MetricType::Gauge); }

    // A sample of the family begun last.
    void sample(Labels labels, double value) {
        ClientMetric metric;
        metric.label = std::move(labels);
        metric.counter.value = value;
        metric.gauge.value = value;
        families_.back().metric.push_back(std::move(metric));
    }
    void sample(Labels labels, std::uint64_t value) { sample(std::move(labels), static_cast<double>(value)); }

    // Families without a sample are left out.
    std::string text() {
        std::erase_if(families_, [](const MetricFamily& family) { return family.metric.empty(); });
        std::ostringstream out;
        prometheus::TextSerializer().Serialize(out, families_);
        return std::move(out).str();
    }

  private:
    void begin(const char* name, const char* help, MetricType type) {
        families_.push_back({std::string("fairlead_") + name, help, type, {}});
    }

    std::vector<MetricFamily> families_;
};

Labels labels_of(const ServiceMetrics& row) {
    return {{"service", row.service}, {"vip", row.vip}, {"port", row.port}, {"protocol", row.protocol}};
}

Labels labels_of(const BackendMetrics& row) {
    return {{"pool", row.pool}, {"backend", row.backend}, {"address", row.address}, {"tier", std::to_string(row.tier)}};
}

Labels labels_of(const CheckMetrics& row) {
    return {{"pool", row.pool}, {"backend", row.backend}, {"check", row.check}};
}

Labels labels_of(const HaMetrics& row) { return {{"group", row.group}}; }

template <typename Rows, typename Value>
void add_rows(Page& page, const Rows& rows, Value value) {
    for (const auto& row : rows) {
        page.sample(labels_of(row), value(row));
    }
}

void add_services(Page& page, const std::vector<ServiceMetrics>& rows) {
    page.counter("service_packets_total", "Packets that the service forwarded to its backends.");
    add_rows(page, rows, [](const ServiceMetrics& row) { return row.counts.packets; });
    page.counter("service_bytes_total", "Bytes of the frames that the service forwarded, as received.");
    add_rows(page, rows, [](const ServiceMetrics& row) { return row.counts.bytes; });
    page.counter("service_syns_total", "TCP connections that clients began at the service (SYNs, repeated ones too).");
    add_rows(page, rows, [](const ServiceMetrics& row) { return row.counts.syns; });
}

void add_backends(Page& page, const std::vector<BackendMetrics>& rows) {
    page.counter("backend_packets_total", "Packets forwarded to the backend.");
    add_rows(page, rows, [](const BackendMetrics& row) { return row.counts.packets; });
    page.counter("backend_bytes_total", "Bytes of the frames forwarded to the backend, as received.");
    add_rows(page, rows, [](const BackendMetrics& row) { return row.counts.bytes; });
    page.counter("backend_syns_total", "TCP connections begun at the backend (SYNs, repeated ones too).");
    add_rows(page, rows, [](const BackendMetrics& row) { return row.counts.syns; });
    page.gauge("backend_up", "Whether the backend's checks pass.");
    add_rows(page, rows, [](const BackendMetrics& row) { return row.up ? 1.0 : 0.0; });
    page.gauge("backend_weight", "The backend's weight in effect.");
    add_rows(page, rows, [](const BackendMetrics& row) { return static_cast<double>(row.weight); });
    page.gauge("backend_eligible", "Whether the backend may take connections: up, not drained, weight above 0.");
    add_rows(page, rows, [](const BackendMetrics& row) { return row.eligible ? 1.0 : 0.0; });
}

void add_checks(Page& page, const std::vector<CheckMetrics>& rows) {
    page.gauge("check_duration_seconds", "How long the check's last probe took.");
    for (const CheckMetrics& row : rows) {
        if (row.duration_seconds) {
            page.sample(labels_of(row), *row.duration_seconds);
        }
    }
    page.counter("check_failures_total", "Probes of the check that failed.");
    add_rows(page, rows, [](const CheckMetrics& row) { return row.failures; });
}

// One sample for each reason of a class, at zero too.
void add_reasons(Page& page, const std::vector<std::uint64_t>& counts, fl_reason_class wanted, const char* label) {
    for (std::size_t i = 0; i < kReasons.size(); ++i) {
        if (kReasons[i].reason_class == wanted) {
            page.sample({{label, kReasons[i].name}}, i < counts.size() ? counts[i] : 0);
        }
    }
}

void add_verdicts(Page& page, const std::vector<std::uint64_t>& counts) {
    std::uint64_t passed = 0;
    for (std::size_t i = 0; i < kReasons.size() && i < counts.size(); ++i) {
        passed += kReasons[i].reason_class == FL_CLASS_PASSED ? counts[i] : 0;
    }
    page.counter("passed_packets_total", "Packets given to the host untouched.");
    page.sample({}, passed);
    page.counter("exception_packets_total", "Packets given to lb-dpdk, which counts them by how they end.");
    page.sample({}, FL_REASON_EXCEPTION < counts.size() ? counts[FL_REASON_EXCEPTION] : 0);
    page.counter("answered_packets_total", "Packets answered by the data path itself, by what they were or got.");
    add_reasons(page, counts, FL_CLASS_ANSWERED, "kind");
    page.counter("drops_total", "Packets dropped, by reason.");
    add_reasons(page, counts, FL_CLASS_DROPPED, "reason");
}

void add_tables(Page& page, const std::vector<TableMetrics>& rows) {
    page.gauge("table_used", "Entries of the table that are in use.");
    for (const TableMetrics& row : rows) {
        page.sample({{"table", row.table}}, row.used);
    }
    page.gauge("table_size", "Entries that the table has room for.");
    for (const TableMetrics& row : rows) {
        page.sample({{"table", row.table}}, row.size);
    }
}

void add_transitions(Page& page, const TransitionMetrics& metrics) {
    page.gauge("slots_in_transition", "Slots of the pool whose connections are not all their owner's yet.");
    for (const auto& [pool, slots] : metrics.slots) page.sample({{"pool", pool}}, std::uint64_t{slots});
    page.gauge("pins", "Connections that are pinned to their backend, as last counted.");
    for (const auto& [state, count] : metrics.pins) page.sample({{"state", state}}, count);
    page.counter("pin_inserts_total", "Connections that were pinned to their backend.");
    page.sample({}, metrics.inserts);
    page.counter("pin_evictions_total", "Pins that gave way to newer ones, by what they were.");
    for (const auto& [state, count] : metrics.evictions) page.sample({{"state", state}}, count);
    page.counter("pins_full_total", "Connections that found no place for a pin, and went to the previous backend.");
    page.sample({}, metrics.full);
    page.counter("previous_packets_total", "Packets that went to their slot's previous backend.");
    page.sample({}, metrics.previous);
}

void add_ha(Page& page, const std::vector<HaMetrics>& rows) {
    if (rows.empty()) return;
    page.gauge("ha_role", "Whether this node answers for the group's VIPs.");
    add_rows(page, rows, [](const HaMetrics& row) { return row.active ? 1.0 : 0.0; });
    page.counter("ha_transitions_total", "Changes of the VRRP state since lbd started.");
    add_rows(page, rows, [](const HaMetrics& row) { return row.transitions; });
    page.counter("ha_adverts_sent_total", "VRRP adverts sent.");
    add_rows(page, rows, [](const HaMetrics& row) { return row.adverts_sent; });
    page.counter("ha_adverts_received_total", "VRRP adverts received and believed.");
    add_rows(page, rows, [](const HaMetrics& row) { return row.adverts_received; });
    page.counter("ha_adverts_rejected_total", "VRRP adverts received and not believed, by reason.");
    for (const HaMetrics& row : rows) {
        for (const auto& [reason, count] : row.rejected) {
            page.sample({{"group", row.group}, {"reason", reason}}, count);
        }
    }
    page.counter("ha_split_brain_total", "Times that another node was found active beside this one.");
    add_rows(page, rows, [](const HaMetrics& row) { return row.split_brains; });
    page.gauge("ha_peer_differs", "Whether the peer advertises other VIPs than this node.");
    add_rows(page, rows, [](const HaMetrics& row) { return row.peer_differs ? 1.0 : 0.0; });
}

void add_routes(Page& page, const std::optional<std::uint64_t>& announced) {
    if (!announced) return;
    page.gauge("announced_routes", "VIPs whose host route stands for a routing daemon to announce.");
    page.sample({}, *announced);
}

void add_hello(Page& page, const std::optional<HelloMetrics>& hello) {
    if (!hello) return;
    page.gauge("ha_config_differs", "Whether another node has another config, hash key or table layout than this one.");
    page.sample({}, hello->differs ? 1.0 : 0.0);
    page.gauge("ha_nodes_heard", "Other nodes whose hellos came within the last 10 seconds.");
    page.sample({}, hello->nodes);
    page.counter("ha_hellos_sent_total", "Hellos sent to other nodes.");
    page.sample({}, hello->sent);
    page.counter("ha_hellos_received_total", "Hellos received and believed.");
    page.sample({}, hello->received);
    page.counter("ha_hellos_rejected_total", "Hellos received and not believed, by reason.");
    for (const auto& [reason, count] : hello->rejected) {
        page.sample({{"reason", reason}}, count);
    }
}

// As people know it; by its address until it has said its name.
const std::string& name_of(const sync::PeerStatus& peer) {
    return peer.session.name.empty() ? peer.address : peer.session.name;
}

template <typename Value>
std::uint64_t sum_of(const std::vector<sync::PeerStatus>& peers, Value value) {
    std::uint64_t sum = 0;
    for (const auto& peer : peers) sum += value(peer);
    return sum;
}

void add_sync_peers(Page& page, const std::vector<sync::PeerStatus>& peers) {
    using Seconds = std::chrono::duration<double>;
    page.gauge("sync_heard", "Whether the other node's sync messages came of late.");
    for (const auto& peer : peers) page.sample({{"peer", name_of(peer)}}, peer.session.heard ? 1.0 : 0.0);
    page.gauge("sync_common_differs", "Whether hash key or pin table differ, so that neither takes the other's state.");
    for (const auto& peer : peers) page.sample({{"peer", name_of(peer)}}, peer.session.common_differs ? 1.0 : 0.0);
    page.gauge("sync_lag_seconds", "How far the standby is behind the active node.");
    for (const auto& peer : peers)
        if (peer.lag) page.sample({{"peer", name_of(peer)}}, Seconds(*peer.lag).count());
    page.gauge("sync_full_seconds", "How long it took last to tell the whole state.");
    for (const auto& peer : peers)
        if (peer.last_full) page.sample({{"peer", name_of(peer)}}, Seconds(peer.last_full_took).count());
}

void add_sync(Page& page, const std::optional<sync::Status>& sync) {
    if (!sync || !sync->on) return;
    const auto& peers = sync->peers;
    using Peer = sync::PeerStatus;
    add_sync_peers(page, peers);
    page.counter("sync_messages_total", "Sync messages sent, and received and believed.");
    page.sample({{"direction", "sent"}}, sum_of(peers, [](const Peer& peer) { return peer.session.sent; }));
    page.sample({{"direction", "received"}}, sum_of(peers, [](const Peer& peer) { return peer.session.received; }));
    page.counter("sync_slots_total", "Slots told to the standby, and taken from the active node.");
    page.sample({{"direction", "sent"}}, sum_of(peers, [](const Peer& peer) { return peer.slots_sent; }));
    page.sample({{"direction", "received"}}, sum_of(peers, [](const Peer& peer) { return peer.slots_applied; }));
    page.counter("sync_pins_total", "Pinned connections told to the standby, and taken from the active node.");
    page.sample({{"direction", "sent"}}, sum_of(peers, [](const Peer& peer) { return peer.pins_sent; }));
    page.sample({{"direction", "received"}}, sum_of(peers, [](const Peer& peer) { return peer.pins_applied; }));
    page.counter("sync_rejected_total", "Sync messages not believed, or not used, by reason.");
    for (std::size_t i = 0; i < sync::kSyncRefusals; ++i) {
        const auto of_peers = sum_of(peers, [i](const Peer& peer) { return peer.session.refused.at(i); });
        page.sample({{"reason", std::string(to_string(static_cast<sync::SyncRefusal>(i)))}},
                    of_peers + sync->refused.at(i));
    }
}

void add_infos(Page& page, const MetricsInput& input) {
    page.gauge("engine_info", "The engine that runs on the interface; always 1.");
    for (const EngineMetrics& row : input.engines) {
        page.sample({{"interface", row.interface}, {"engine", row.engine}}, 1.0);
    }
    page.gauge("build_info", "The controller's version and the tables' layout; always 1.");
    page.sample({{"version", input.version}, {"abi", input.abi}}, 1.0);
}

}  // namespace

std::string render_metrics(const MetricsInput& input) {
    Page page;
    add_services(page, input.services);
    add_backends(page, input.backends);
    add_checks(page, input.checks);
    add_verdicts(page, input.reasons);
    add_tables(page, input.tables);
    add_transitions(page, input.transitions);
    add_ha(page, input.ha);
    add_routes(page, input.announced_routes);
    add_hello(page, input.hello);
    add_sync(page, input.sync);
    add_infos(page, input);
    return page.text();
}

}  // namespace fairlead::api
