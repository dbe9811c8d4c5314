// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/facts.h"

#include <algorithm>

#include "ctl/lbd/hello_service.h"
#include "ctl/lbd/sync_service.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead {
namespace {
// Steady time as wall time, for people.
api::WallTime wall(health::TimePoint time) {
    const auto ago = std::chrono::steady_clock::now() - time;
    return std::chrono::system_clock::now() - std::chrono::duration_cast<std::chrono::system_clock::duration>(ago);
}

double milliseconds(health::Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

std::string interface_name(const Controller& controller, std::uint32_t ifindex) {
    if (const auto* link = controller.network().link(ifindex)) return link->name;
    return ifindex ? "#" + std::to_string(ifindex) : "";
}

api::NextHopFacts next_hop_facts(const Controller& controller, const config::Backend& backend) {
    const auto* hop = controller.paths().find(destination_of(backend));
    if (!hop) return {};
    return {hop->via.to_string(), interface_name(controller, hop->device), hop->mac.to_string(), hop->sendable(),
            hop->reason};
}

std::vector<api::PortFacts> port_facts(const Controller& controller) {
    std::vector<api::PortFacts> facts;
    for (const auto& attachment : controller.attachments()) {
        auto& port = facts.emplace_back(api::PortFacts{attachment.port, attachment.reason});
        const auto* link = controller.network().link(attachment.ifindex);
        if (link && link->max_mtu) port.max_mtu = link->max_mtu;
        for (const auto& device : controller.ports().devices())
            if (device.number == attachment.port) port.bond = device.bond;
    }
    return facts;
}

std::vector<api::CheckFacts> check_facts(const Controller& controller, const config::Pool& pool,
                                         const config::Backend& backend) {
    std::vector<api::CheckFacts> result;
    for (const auto& check : pool.checks) {
        const health::TargetKey key{backend.address, check};
        const auto* state = controller.monitor().state(key);
        if (!state) continue;
        result.push_back({key.to_string(), std::string(health::to_string(state->verdict())), wall(state->last_change()),
                          milliseconds(state->last_duration()),
                          state->verdict() == health::Verdict::kUp ? "" : state->last_error(), state->failures()});
    }
    return result;
}

api::TrafficCounts traffic(const tables::Counts& counts) { return {counts.packets, counts.bytes, counts.syns}; }

const plan::BackendDecision* find_decision(const Controller& controller, const std::string& pool,
                                           const std::string& name) {
    for (const auto& decision : controller.plan().decisions)
        if (decision.pool == pool)
            for (const auto& backend : decision.backends)
                if (backend.name == name) return &backend;
    return nullptr;
}

void add_backends(const Controller& controller, const tables::Snapshot& snapshot, api::MetricsInput& input) {
    for (const auto& pool : snapshot.pools)
        for (const auto& backend : pool.backends) {
            const auto* decision = find_decision(controller, pool.name, backend.name);
            const bool up = backend.state == FL_BACKEND_HEALTHY || backend.state == FL_BACKEND_DRAINING;
            input.backends.push_back({pool.name, backend.name, backend.address.to_string(),
                                      static_cast<int>(backend.tier), traffic(backend.counts), up,
                                      decision ? decision->weight : 0, decision && decision->eligible});
        }
}

std::map<std::string, api::PoolTransitionFacts> transition_facts(const Controller& controller) {
    using enum plan::SlotPhase;
    std::map<std::string, api::PoolTransitionFacts> facts;
    const auto now = tables::monotonic_ns();
    for (const auto& pool : controller.config().pools) {
        const auto id = controller.writer().find_pool(pool.name);
        const auto view = id ? controller.transitions().view(*id) : Transitions::PoolView{};
        if (view.in_transition == 0) continue;
        const auto sum = [&](auto... phases) { return (view.phases[static_cast<std::size_t>(phases)] + ...); };
        auto& pool_facts = facts[pool.name];
        pool_facts.engines = sum(kSeen);
        pool_facts.connections = sum(kConnections, kLastConnections);
        pool_facts.pins = sum(kPins);
        pool_facts.scan = sum(kGrace, kScan, kLastGrace);
        pool_facts.oldest_s = static_cast<double>(now - view.oldest_ns) / 1e9;
    }
    return facts;
}

api::PinFacts pin_facts(const Controller& controller) {
    const auto& counts = controller.transitions().pins();
    api::PinFacts facts{counts.by_state[FL_PIN_FREE], counts.by_state[FL_PIN_PROBATION],
                        counts.by_state[FL_PIN_CONFIRMED], counts.by_state[FL_PIN_CLOSING],
                        controller.transitions().scan().done()};
    if (counts.used() == 0) return facts;
    for (const auto& pool : controller.config().pools)
        for (const auto& backend : pool.backends) {
            const auto id = controller.writer().find_pool(pool.name);
            const auto index = id ? controller.writer().find_backend(*id, backend.name) : std::nullopt;
            if (!index) continue;
            const auto pins = counts.by_backend[controller.writer().global_index(*id, *index)];
            if (pins > 0) facts.by_backend[{pool.name, backend.name}] = pins;
        }
    return facts;
}

api::HaChangeFacts change_facts(const ha::StateChange& change) {
    return {wall(change.at),
            std::string(ha::to_string(change.from)),
            std::string(ha::to_string(change.to)),
            std::string(ha::to_string(change.reason)),
            std::string(ha::phrase_of(change.reason)),
            change.peer.is_unspecified() ? "" : change.peer.to_string(),
            change.peer_priority};
}

std::optional<api::AnnounceFacts> announce_facts(const Controller& controller) {
    const auto& announcer = controller.announcer();
    if (!announcer.on()) return std::nullopt;
    const auto& routes = controller.config().ha.routes;
    api::AnnounceFacts facts{routes.table, routes.protocol, {}};
    for (const auto& [vip, announced, reason] : announcer.vips())
        facts.vips.push_back({vip.to_string(), announced, reason});
    return facts;
}

api::HaFacts group_facts(const Controller& controller, const ha::HaGroup& group, const ha::HaGroupStatus& status) {
    api::HaFacts facts;
    facts.mode = config::to_string(controller.config().ha.mode);
    facts.name = status.name;
    facts.vrid = status.vrid;
    facts.state = ha::to_string(status.state);
    facts.priority = status.priority;
    facts.configured_priority = group.settings.priority;
    facts.ready = status.ready;
    facts.fault = status.tracking.fault;
    facts.released = status.released;
    facts.split = status.split;
    facts.peer_addresses_differ = status.peer_addresses_differ;
    facts.peer_interval_differs = status.peer_interval_differs;
    if (status.peer)
        facts.peer = {status.peer->address.to_string(), status.peer->priority, milliseconds(status.peer->interval),
                      wall(status.peer->at)};
    facts.adverts_sent = status.counters.sent;
    facts.adverts_received = status.counters.received;
    facts.send_failures = status.counters.send_failures;
    facts.split_brains = status.counters.split_brains;
    facts.transitions = status.changes;
    for (std::size_t i = 0; i < ha::kAdvertRefusals; ++i)
        facts.refused.emplace_back(ha::to_string(static_cast<ha::AdvertRefusal>(i)), status.refused.at(i));
    for (auto n = status.changes; n > 0 && status.changes - n < ha::kHaHistory; --n)
        facts.history.push_back(change_facts(status.history.at((n - 1) % ha::kHaHistory)));
    return facts;
}

std::vector<api::HaFacts> ha_facts(const Controller& controller) {
    std::vector<api::HaFacts> facts;
    if (!controller.ha()) return facts;
    const auto& groups = controller.ha()->groups();
    const auto status = controller.ha()->status();
    for (std::size_t i = 0; i < groups.size(); ++i) facts.push_back(group_facts(controller, groups[i], status.at(i)));
    return facts;
}
std::optional<api::HelloFacts> hello_facts(const Controller& controller) {
    if (!controller.ha()) return std::nullopt;
    const auto& hello = controller.hello();
    api::HelloFacts facts;
    facts.config_digest = hello.own().config_digest;
    for (const auto& peer : hello.peers()) {
        auto differences = ha::differences(hello.own(), peer.hello);
        facts.nodes.push_back(
            {peer.hello.name, peer.address.to_string(), wall(peer.heard), std::move(differences), {}});
        for (const auto& group : peer.hello.groups)
            facts.nodes.back().groups.push_back(
                {group.vrid, std::string(ha::to_string(group.state)), group.priority, group.may_take_over});
    }
    facts.sent = hello.counters().sent;
    facts.received = hello.counters().received;
    for (std::size_t i = 0; i < ha::kHelloRefusals; ++i)
        facts.refused.emplace_back(ha::to_string(static_cast<ha::HelloRefusal>(i)), hello.counters().refused.at(i));
    return facts;
}
}  // namespace

api::ControllerFacts controller_facts(const Controller& controller) {
    api::ControllerFacts facts;
    facts.state = controller.running() ? "running" : "starting";
    facts.since = controller.since();
    facts.node = controller.node().name;
    facts.config_file = controller.options().config_file.string();
    facts.config_loaded = controller.config_loaded();
    facts.reload_error = controller.reload_error();
    facts.pools = controller.plan().decisions;
    facts.ports = port_facts(controller);
    facts.ha = ha_facts(controller);
    facts.announce = announce_facts(controller);
    facts.transitions = transition_facts(controller);
    facts.pins = pin_facts(controller);
    facts.state_file = controller.options().paths.state.string();
    facts.hello = hello_facts(controller);
    if (controller.sync()) facts.sync = controller.sync()->status();
    for (const auto& pool : controller.config().pools)
        for (const auto& backend : pool.backends)
            facts.backends[{pool.name, backend.name}] = {next_hop_facts(controller, backend),
                                                         check_facts(controller, pool, backend)};
    return facts;
}

namespace {
api::TransitionMetrics transition_metrics(const tables::Snapshot& snapshot, const api::PinFacts& pins) {
    const auto event = [&](fl_event which) {
        return snapshot.events.at(static_cast<std::size_t>(which) - FL_EVENTS_AT);
    };
    api::TransitionMetrics metrics;
    for (const auto& pool : snapshot.pools) metrics.slots.emplace_back(pool.name, pool.slots_in_transition);
    metrics.pins = {{"probation", pins.probation}, {"confirmed", pins.confirmed}, {"closing", pins.closing}};
    metrics.inserts = event(FL_EVENT_PIN_INSERTED);
    metrics.evictions = {{"probation", event(FL_EVENT_PIN_EVICTED)}, {"expired", event(FL_EVENT_PIN_RECLAIMED)}};
    metrics.full = event(FL_EVENT_PIN_FULL);
    metrics.previous = event(FL_EVENT_PREVIOUS);
    return metrics;
}
}  // namespace

api::MetricsInput metrics_input(const Controller& controller) {
    const auto snapshot = tables::take_snapshot(controller.tables());
    api::MetricsInput input;
    for (const auto& s : snapshot.services)
        input.services.push_back({s.name, s.vip.to_string(), s.port ? std::to_string(s.port) : "any",
                                  s.protocol == 17 ? "udp" : "tcp", traffic(s.counts)});
    add_backends(controller, snapshot, input);
    for (const auto& pool : controller.config().pools)
        for (const auto& backend : pool.backends)
            for (const auto& check : pool.checks) {
                const health::TargetKey key{backend.address, check};
                const auto* state = controller.monitor().state(key);
                if (!state) continue;
                const auto seconds = milliseconds(state->last_duration()) / 1000;
                input.checks.push_back({pool.name, backend.name, key.to_string(),
                                        state->last_result() ? std::optional(seconds) : std::nullopt,
                                        state->failures()});
            }
    const auto pins = pin_facts(controller);
    for (const auto& usage : snapshot.usage)
        input.tables.push_back({usage.table, usage.table == "pins" ? pins.used() : usage.used, usage.size});
    input.transitions = transition_metrics(snapshot, pins);
    for (const auto& port : controller.attachments()) {
        const auto engine = port.steering == xdp::Steering::kByDpdk ? FL_ENGINE_DPDK : port.mode;
        input.engines.push_back({port.ifname, std::string(api::to_string(engine))});
    }
    for (const auto& counts : snapshot.reasons) input.reasons.push_back(counts.packets);
    const auto now = ha::role_word(std::chrono::steady_clock::now());
    for (const auto& ha : ha_facts(controller)) {
        const auto active_by_it = [&](const auto& vip) { return vip.role == ha.vrid && now < vip.active_until_ns; };
        input.ha.push_back({ha.name, std::any_of(snapshot.vips.begin(), snapshot.vips.end(), active_by_it),
                            ha.transitions, ha.adverts_sent, ha.adverts_received, ha.split_brains,
                            ha.peer_addresses_differ, ha.refused});
    }
    if (controller.announcer().on()) input.announced_routes = controller.announcer().announced();
    if (const auto hello = hello_facts(controller)) {
        const auto differs = [](const auto& node) { return !node.differs.empty(); };
        input.hello = {hello->nodes.size(), std::any_of(hello->nodes.begin(), hello->nodes.end(), differs), hello->sent,
                       hello->received, hello->refused};
    }
    if (controller.sync()) input.sync = controller.sync()->status();
    input.version = FAIRLEAD_VERSION;
    input.abi = std::to_string(FL_ABI);
    return input;
}

}  // namespace fairlead
