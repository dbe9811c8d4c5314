// SPDX-License-Identifier: Apache-2.0
// One HaThread with one group, and no data path: for tests beside real VRRP peers. Commands come on standard input, a
// line each; SIGTERM or the input's end hands over and ends. Every answer and every change of state is a line of JSON.
//
//   ready       takes part          status      answers with {"status": ...}
//   failover    hands over          fault, ok   a tracked fault, and its end
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>

#include "ctl/ha/ha_thread.h"
#include "dataplane/tables/tables.h"

namespace {
using namespace fairlead;
using namespace fairlead::ha;
using Json = nlohmann::ordered_json;

struct Arguments {
    std::string interface = "eth0";
    std::string source;
    std::vector<std::string> vips;
    std::vector<std::string> peers;
    int vrid = 51;
    int priority = 100;
    int interval_cs = 10;
    bool no_preempt = false;
    bool no_pseudo_header = false;
    bool foreign_peers = false;
};

IpAddress parse(const std::string& text) { return IpAddress::parse(text).value(); }

MacAddress mac_of(const std::string& interface) {
    const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, interface.c_str(), sizeof request.ifr_name - 1);
    MacAddress mac;
    if (::ioctl(fd.get(), SIOCGIFHWADDR, &request) == 0)
        std::memcpy(mac.bytes.data(), request.ifr_hwaddr.sa_data, mac.bytes.size());
    return mac;
}

HaGroup group_of(const Arguments& arguments, fl_role& role) {
    const auto ifindex = ::if_nametoindex(arguments.interface.c_str());
    HaGroup group{.name = "all",
                  .vrid = static_cast<std::uint8_t>(arguments.vrid),
                  .role = &role,
                  .settings = {.priority = static_cast<std::uint8_t>(arguments.priority),
                               .advert_interval = Centiseconds(arguments.interval_cs),
                               .preempt = !arguments.no_preempt,
                               .peers_have_leases = !arguments.foreign_peers},
                  .socket = {arguments.interface, ifindex, parse(arguments.source), {}},
                  .pseudo_header = !arguments.no_pseudo_header,
                  .ports = {{ifindex, mac_of(arguments.interface)}}};
    for (const auto& vip : arguments.vips) group.vips.push_back(parse(vip));
    for (const auto& peer : arguments.peers) group.socket.peers.push_back(parse(peer));
    return group;
}

Json to_json(const StateChange& change) {
    return {{"from", to_string(change.from)},
            {"to", to_string(change.to)},
            {"reason", to_string(change.reason)},
            {"peer", change.peer.to_string()},
            {"peer_priority", change.peer_priority}};
}

Json to_json(const HaGroupStatus& status, const fl_role& role) {
    Json refused = Json::object();
    for (std::size_t i = 0; i < kAdvertRefusals; ++i)
        refused[std::string(to_string(static_cast<AdvertRefusal>(i)))] = status.refused.at(i);
    const auto now = role_word(std::chrono::steady_clock::now());
    return {{"state", to_string(status.state)},
            {"active", now < tables::load_word(role.active_until_ns)},
            {"priority", status.priority},
            {"peer", status.peer ? status.peer->address.to_string() : ""},
            {"sent", status.counters.sent},
            {"send_failures", status.counters.send_failures},
            {"received", status.counters.received},
            {"became_active", status.counters.became_active},
            {"split_brains", status.counters.split_brains},
            {"addresses_differ", status.peer_addresses_differ},
            {"changes", status.changes},
            {"refused", refused}};
}

void print(const Json& json) { std::cout << json.dump() << std::endl; }

class Node {
  public:
    Node(HaThread& thread, const fl_role& role) : thread_(thread), role_(role) {}

    void print_changes() {
        std::uint64_t count = 0;
        if (::read(thread_.changes_fd(), &count, sizeof count) < 0) return;
        const auto status = thread_.status().at(0);
        for (; printed_ < status.changes; ++printed_)
            print({{"change", to_json(status.history.at(printed_ % kHaHistory))}});
    }
    void obey(const std::string& command) {
        if (command == "ready") thread_.set_ready(true);
        if (command == "fault") thread_.set_tracking(0, {.penalty = 0, .fault = true});
        if (command == "ok") thread_.set_tracking(0, {});
        if (command == "failover") print({{"failover", thread_.give_up(0).has_value()}});
        if (command == "status") print({{"status", to_json(thread_.status().at(0), role_)}});
    }

  private:
    HaThread& thread_;
    const fl_role& role_;
    std::uint64_t printed_ = 0;
};

// Until the input ends or SIGTERM comes.
void serve(Node& node, const HaThread& thread, int signals) {
    std::string text;
    for (;;) {
        std::array<pollfd, 3> ready = {
            {{STDIN_FILENO, POLLIN, 0}, {signals, POLLIN, 0}, {thread.changes_fd(), POLLIN, 0}}};
        ::poll(ready.data(), ready.size(), -1);
        if (ready[2].revents != 0) node.print_changes();
        if (ready[1].revents != 0) return;
        if (ready[0].revents == 0) continue;
        std::array<char, 256> input{};
        const auto size = ::read(STDIN_FILENO, input.data(), input.size());
        if (size <= 0) return;
        text.append(input.data(), static_cast<std::size_t>(size));
        for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
            node.obey(text.substr(0, end));
            text.erase(0, end + 1);
        }
    }
}

int run(const Arguments& arguments) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    const UniqueFd signals(::signalfd(-1, &set, SFD_CLOEXEC));
    fl_role role{};
    auto thread = HaThread::create();
    if (!thread) {
        std::cerr << thread.error().message << '\n';
        return 1;
    }
    if (auto configured = (*thread)->configure({group_of(arguments, role)}); !configured) {
        std::cerr << configured.error().message << '\n';
        return 1;
    }
    print({{"realtime", (*thread)->realtime()}, {"why", (*thread)->realtime_error()}});
    Node node(**thread, role);
    serve(node, **thread, signals.get());
    (*thread)->stop();
    return 0;
}
}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"a VRRP node without a data path", "vrrp_node"};
    Arguments arguments;
    app.add_option("--interface", arguments.interface);
    app.add_option("--source", arguments.source)->required();
    app.add_option("--vip", arguments.vips)->required();
    app.add_option("--peer", arguments.peers);
    app.add_option("--vrid", arguments.vrid);
    app.add_option("--priority", arguments.priority);
    app.add_option("--interval-cs", arguments.interval_cs);
    app.add_flag("--no-preempt", arguments.no_preempt);
    app.add_flag("--no-pseudo-header", arguments.no_pseudo_header);
    app.add_flag("--foreign-peers", arguments.foreign_peers, "the peers are no Fairlead nodes");
    CLI11_PARSE(app, argc, argv);
    return run(arguments);
}
