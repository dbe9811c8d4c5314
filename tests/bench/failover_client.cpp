// SPDX-License-Identifier: Apache-2.0
// The clients of scripts/bench failover and churn: many long-lived connections that exchange numbered messages all along, a stream of
// new ones, and probes over UDP that say to the millisecond when the VIP was of no use.
//
// Prints "ready" once all connections stand and probes run. On SIGTERM every connection has to complete one more
// exchange, begun from then on: it was kept if it does, and broken if it does not. Then prints one JSON object:
//
//   connections   by the server that greeted: how many were kept, how many broken
//   later         of those that were begun on SIGUSR1, evenly, each: server, greeted_ns (CLOCK_REALTIME), kept, reason
//   new           of the stream: done, failed
//   probes        began_ns (CLOCK_REALTIME), and after it in microseconds when each was sent, and when each that was
//                 answered had arrived at its server, by the server's kernel
//
// Exit status: 0 with an object, 2 the traffic could not begin.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "failover_wire.h"

namespace {

using fairlead::bench::Message;
using fairlead::bench::Name;
using fairlead::bench::Probe;
using fairlead::bench::text_of;

constexpr std::int64_t kMillisecond_ns = 1'000'000, kSecond_ns = 1'000'000'000;
constexpr std::int64_t kConnect_ns = 10 * kSecond_ns;  // for all connections to be greeted
// How many begin at once: more would overrun queues, and where pins are short the first handshakes would lose theirs.
constexpr unsigned kBegunAtOnce = 200;
constexpr std::int64_t kAttempt_ns = 5 * kSecond_ns;  // a new one that is not done by then has failed
constexpr std::int64_t kLastExchange_ns =
    5 * kSecond_ns;  // more than TCP waits for a retransmission after a short outage
constexpr std::int64_t kProbeReply_ns = kSecond_ns / 5;
constexpr int kProbeFlows = 64;  // so many source ports are tried until one leads to the server that was asked for
constexpr int kProbeBuffer_bytes = 1 << 20;
constexpr int kTick_ms = 1;
constexpr int kProberPriority = 90;  // above what the balancers run at: their work must not hold up what measures them

struct Options {
    std::string address;
    std::uint16_t tcp_port = 0, udp_port = 0;
    unsigned connections = 500;
    unsigned later = 0;  // more of them, begun on SIGUSR1
    unsigned later_per_second = 50;
    unsigned interval_ms = 200;         // from one exchange of a connection to the next
    unsigned new_per_second = 50;       // connections of the stream
    unsigned probe_interval_us = 1000;  // from one probe to the next
    std::string probe_server;           // the one that probes are to reach; empty: any
};

volatile std::sig_atomic_t stop_requested = 0, later_requested = 0;

std::int64_t clock_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return now.tv_sec * kSecond_ns + now.tv_nsec;
}
std::int64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

sockaddr_in address_of(const Options& options, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, options.address.c_str(), &address.sin_addr);
    return address;
}

int connected_socket(const Options& options, int type, std::uint16_t port) {
    const int descriptor = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const auto address = address_of(options, port);
    if (connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EINPROGRESS)
        return descriptor;
    close(descriptor);
    return -1;
}

// --- Connections --------------------------------------------------------------------------------------------------------

// A connection with at most one numbered message under way. `error` says what ended it, if anything did.
class Talk {
  public:
    Talk(const Options& options, std::uint64_t id)
        : id_(id), descriptor_(connected_socket(options, SOCK_STREAM, options.tcp_port)) {
        if (descriptor_ < 0) {
            error_ = std::strerror(errno);
            return;
        }
        const int on = 1;
        setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    Talk(const Talk&) = delete;
    Talk& operator=(const Talk&) = delete;
    ~Talk() {
        if (descriptor_ >= 0) close(descriptor_);
    }

    int descriptor() const { return descriptor_; }
    const std::string& server() const { return server_; }
    const std::string& error() const { return error_; }
    bool alive() const { return error_.empty(); }
    bool greeted() const { return !server_.empty(); }
    std::int64_t greeted_ns() const { return greeted_ns_; }  // CLOCK_REALTIME; 0: not yet
    bool waiting() const { return begun_ != done_; }
    std::uint64_t done() const { return done_; }
    std::uint64_t begun() const { return begun_; }

    void begin_exchange() {
        ++begun_;
        const Message message{id_, begun_, name_};
        if (send(descriptor_, &message, sizeof(message), MSG_NOSIGNAL) != sizeof(message)) end(std::strerror(errno));
    }

    void receive() {
        std::array<char, 256> bytes{};
        const auto size = recv(descriptor_, bytes.data(), bytes.size(), 0);
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0) return end(size == 0 ? "closed" : std::strerror(errno));
        received_.append(bytes.data(), static_cast<std::size_t>(size));
        if (!greeted()) take_greeting();
        if (greeted() && !received_.empty()) take_echo();
    }

  private:
    void take_greeting() {
        if (received_.size() < name_.size()) return;
        std::copy_n(received_.begin(), name_.size(), name_.begin());
        received_.erase(0, name_.size());
        server_ = text_of(name_);
        greeted_ns_ = clock_ns(CLOCK_REALTIME);
    }

    void take_echo() {
        Message echo;
        if (received_.size() < sizeof(echo)) return;
        std::memcpy(&echo, received_.data(), sizeof(echo));
        if (!waiting() || received_.size() > sizeof(echo) || echo != Message{id_, begun_, name_})
            return end("wrong data");
        received_.clear();
        done_ = begun_;
    }

    // The descriptor is closed at once, so that nothing more is told about it.
    void end(const char* why) {
        error_ = why;
        close(descriptor_);
        descriptor_ = -1;
    }

    std::uint64_t id_, begun_ = 0, done_ = 0;
    std::int64_t greeted_ns_ = 0;
    int descriptor_;
    Name name_{};  // of the server, as it greeted
    std::string server_, received_, error_;
};

// --- Probes -------------------------------------------------------------------------------------------------------------

// Sends on a thread of its own, with real-time priority where that is allowed: nothing here but the network shall be late.
class Prober {
  public:
    explicit Prober(const Options& options) : options_(options) {}
    Prober(const Prober&) = delete;
    Prober& operator=(const Prober&) = delete;
    ~Prober() { stop(); }

    // Finds a flow that reaches the wanted server. False if there is none.
    bool open() {
        for (int i = 0; i < kProbeFlows; ++i) {
            descriptor_ = connected_socket(options_, SOCK_DGRAM, options_.udp_port);
            if (descriptor_ >= 0 && reaches_wanted()) break;
            close(descriptor_);
            descriptor_ = -1;
        }
        if (descriptor_ < 0) return false;
        setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUFFORCE, &kProbeBuffer_bytes, sizeof(kProbeBuffer_bytes));
        return true;
    }

    int descriptor() const { return descriptor_; }

    void start() {
        began_ns_ = clock_ns(CLOCK_REALTIME);
        thread_ = std::thread([this] { send_all(); });
        const sched_param parameters{.sched_priority = kProberPriority};
        realtime_ = pthread_setschedparam(thread_.native_handle(), SCHED_FIFO, &parameters) == 0;
    }

    void stop() {
        running_ = false;
        if (thread_.joinable()) thread_.join();
    }

    void receive() {
        Probe probe;
        while (recv(descriptor_, &probe, sizeof(probe), 0) == sizeof(probe))
            arrived_us_.push_back((probe.received_ns - began_ns_) / 1000);
    }

    // After stop().
    nlohmann::json report() {
        std::sort(arrived_us_.begin(), arrived_us_.end());
        return {{"began_ns", began_ns_}, {"sent_us", sent_us_}, {"arrived_us", arrived_us_}, {"realtime", realtime_}};
    }

  private:
    bool reaches_wanted() const {
        Probe probe;
        send(descriptor_, &probe, sizeof(probe), MSG_NOSIGNAL);
        const auto deadline = now_ns() + kProbeReply_ns;
        while (now_ns() < deadline) {
            if (recv(descriptor_, &probe, sizeof(probe), 0) == sizeof(probe))
                return options_.probe_server.empty() || text_of(probe.name) == options_.probe_server;
            usleep(1000);
        }
        return false;
    }

    void send_all() {
        prctl(PR_SET_TIMERSLACK, 1);
        Probe probe;
        for (auto next_ns = now_ns(); running_; next_ns += options_.probe_interval_us * 1000) {
            const timespec until{next_ns / kSecond_ns, next_ns % kSecond_ns};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
            ++probe.number;
            sent_us_.push_back((clock_ns(CLOCK_REALTIME) - began_ns_) / 1000);
            send(descriptor_, &probe, sizeof(probe), MSG_NOSIGNAL);  // an ICMP error about an earlier one is no concern
        }
    }

    const Options& options_;
    int descriptor_ = -1;
    std::int64_t began_ns_ = 0;
    std::atomic<bool> running_ = true;
    bool realtime_ = false;
    std::thread thread_;
    std::vector<std::int64_t> sent_us_;  // the thread's until stop()
    std::vector<std::int64_t> arrived_us_;
};

// --- All of it ----------------------------------------------------------------------------------------------------------

class Client {
  public:
    explicit Client(const Options& options)
        : options_(options), prober_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

    // What is wrong, or nothing.
    std::string begin() {
        for (unsigned i = 0; i < options_.connections; ++i) {
            add_connection();
            if (i % kBegunAtOnce == kBegunAtOnce - 1) wait_until_greeted();
        }
        wait_until_greeted();
        if (!all_greeted()) return "not every connection was greeted";
        if (!prober_.open()) return "no probe was answered";
        watch(prober_.descriptor(), nullptr);
        prober_.start();
        return {};
    }

    void run() {
        next_attempt_ns_ = now_ns();
        spread_exchanges();
        while (!stop_requested) {
            add_later(now_ns());
            begin_due(now_ns());
            start_attempts(now_ns());
            wait();
            finish_attempts(now_ns());
        }
        last_exchanges();
        prober_.stop();
        prober_.receive();
    }

    nlohmann::json report() {
        nlohmann::json connections = nlohmann::json::object();
        std::uint64_t exchanges = 0;
        for (std::size_t i = 0; i < options_.connections; ++i) {
            const auto& talk = *connections_[i];
            auto& of_server = connections[talk.server()];
            if (of_server.is_null()) of_server = {{"kept", 0}, {"broken", 0}, {"reasons", nlohmann::json::object()}};
            exchanges += talk.done();
            of_server[kept(i) ? "kept" : "broken"] = of_server[kept(i) ? "kept" : "broken"].get<int>() + 1;
            if (!kept(i)) count(of_server["reasons"], end_of(talk));
        }
        return {{"connections", connections},
                {"later", later_report()},
                {"exchanges", exchanges},
                {"new", {{"done", attempts_done_}, {"failed", attempts_failed_}, {"reasons", attempt_reasons_}}},
                {"probes", prober_.report()}};
    }

  private:
    struct Attempt {
        std::unique_ptr<Talk> talk;
        std::int64_t deadline_ns;
    };

    void add_connection() {
        auto& talk = connections_.emplace_back(std::make_unique<Talk>(options_, ids_++));
        if (talk->alive()) watch(talk->descriptor(), talk.get());
    }

    void add_later(std::int64_t now) {
        if (!later_requested) return;
        if (next_later_ns_ == 0) next_later_ns_ = now;
        const auto all = options_.connections + options_.later;
        for (; next_later_ns_ <= now && connections_.size() < all;
             next_later_ns_ += kSecond_ns / options_.later_per_second) {
            add_connection();
            due_ns_.push_back(now);
        }
    }

    bool kept(std::size_t i) const { return connections_[i]->alive() && connections_[i]->done() >= target_[i]; }
    static std::string end_of(const Talk& talk) { return talk.alive() ? "silence" : talk.error(); }

    nlohmann::json later_report() const {
        auto rows = nlohmann::json::array();
        for (std::size_t i = options_.connections; i < connections_.size(); ++i) {
            const auto& talk = *connections_[i];
            rows.push_back({{"server", talk.server()}, {"greeted_ns", talk.greeted_ns()}, {"kept", kept(i)}});
            if (!kept(i)) rows.back()["reason"] = end_of(talk);
        }
        return rows;
    }

    static void count(nlohmann::json& reasons, const std::string& reason) {
        reasons[reason] = reasons.value(reason, 0) + 1;
    }

    void wait_until_greeted() {
        for (const auto deadline = now_ns() + kConnect_ns; now_ns() < deadline && !all_greeted();) wait();
    }

    bool all_greeted() const {
        return std::all_of(connections_.begin(), connections_.end(),
                           [](const auto& talk) { return talk->alive() && talk->greeted(); });
    }

    // `talk` outlives its descriptor; null for the probes.
    void watch(int descriptor, Talk* talk) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.ptr = talk;
        epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event);
    }

    void wait() {
        std::array<epoll_event, 128> events{};
        const int count = epoll_wait(epoll_, events.data(), events.size(), kTick_ms);
        for (int i = 0; i < count; ++i) {
            auto* talk = static_cast<Talk*>(events[static_cast<std::size_t>(i)].data.ptr);
            if (talk == nullptr)
                prober_.receive();
            else if (talk->alive())
                talk->receive();
        }
    }

    // The first exchanges spread over an interval, so that the traffic is even.
    void spread_exchanges() {
        const auto count = connections_.size();
        for (std::size_t i = 0; i < count; ++i)
            due_ns_.push_back(now_ns() + static_cast<std::int64_t>(i * options_.interval_ms * kMillisecond_ns / count));
    }

    void begin_due(std::int64_t now) {
        for (std::size_t i = 0; i < connections_.size(); ++i) {
            auto& talk = *connections_[i];
            if (!talk.alive() || !talk.greeted() || talk.waiting() || due_ns_[i] > now) continue;
            talk.begin_exchange();
            due_ns_[i] = now + options_.interval_ms * kMillisecond_ns;
        }
    }

    void start_attempts(std::int64_t now) {
        if (options_.new_per_second == 0) return;
        for (; next_attempt_ns_ <= now; next_attempt_ns_ += kSecond_ns / options_.new_per_second) {
            auto& attempt = attempts_.emplace_back(std::make_unique<Talk>(options_, ids_++), now + kAttempt_ns);
            if (attempt.talk->alive()) watch(attempt.talk->descriptor(), attempt.talk.get());
        }
    }

    // A new connection is done with its greeting and one exchange.
    void finish_attempts(std::int64_t now) {
        std::erase_if(attempts_, [&](Attempt& attempt) {
            auto& talk = *attempt.talk;
            if (talk.alive() && talk.greeted() && talk.begun() == 0) talk.begin_exchange();
            const bool done = talk.done() == 1;
            const bool failed = !done && (!talk.alive() || now >= attempt.deadline_ns);
            attempts_done_ += done ? 1 : 0;
            attempts_failed_ += failed ? 1 : 0;
            if (failed) count(attempt_reasons_, talk.alive() ? "silence" : talk.error());
            return done || failed;
        });
    }

    void last_exchanges() {
        for (const auto& talk : connections_) target_.push_back(talk->begun() + 1);
        for (const auto deadline = now_ns() + kLastExchange_ns; now_ns() < deadline && !ended();) {
            for (std::size_t i = 0; i < connections_.size(); ++i) {
                auto& talk = *connections_[i];
                if (talk.alive() && talk.greeted() && !talk.waiting() && talk.begun() < target_[i])
                    talk.begin_exchange();
            }
            wait();
            finish_attempts(now_ns());
        }
    }

    bool ended() const {
        for (std::size_t i = 0; i < connections_.size(); ++i)
            if (connections_[i]->alive() && connections_[i]->done() < target_[i]) return false;
        return attempts_.empty();
    }

    const Options& options_;
    Prober prober_;
    int epoll_;
    std::uint64_t ids_ = 0;
    std::vector<std::unique_ptr<Talk>> connections_;
    std::vector<std::int64_t> due_ns_;   // of each connection's next exchange
    std::vector<std::uint64_t> target_;  // the exchange that each must complete to have been kept
    std::vector<Attempt> attempts_;
    std::int64_t next_attempt_ns_ = 0, next_later_ns_ = 0;
    unsigned attempts_done_ = 0, attempts_failed_ = 0;
    nlohmann::json attempt_reasons_ = nlohmann::json::object();
};

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app{"Long-lived connections, new ones, and probes, while what carries them changes"};
    app.add_option("address", options.address, "server's IPv4 address")->required()->check(CLI::ValidIPV4);
    app.add_option("--tcp", options.tcp_port, "port of connections")->required();
    app.add_option("--udp", options.udp_port, "port of probes")->required();
    app.add_option("--connections", options.connections, "long-lived ones")->check(CLI::Range(1, 10'000));
    app.add_option("--later", options.later, "more of them, begun on SIGUSR1")->check(CLI::Range(0, 10'000));
    app.add_option("--later-per-second", options.later_per_second, "")->check(CLI::Range(1, 1'000));
    app.add_option("--interval-ms", options.interval_ms, "from one exchange to the next")->check(CLI::Range(1, 60'000));
    app.add_option("--new-per-second", options.new_per_second, "new connections")->check(CLI::Range(0, 1'000));
    app.add_option("--probe-interval-us", options.probe_interval_us, "")->check(CLI::Range(100, 1'000'000));
    app.add_option("--probe-server", options.probe_server, "name of the server that probes shall reach");
    CLI11_PARSE(app, argc, argv);

    std::signal(SIGTERM, [](int) { stop_requested = 1; });
    std::signal(SIGUSR1, [](int) { later_requested = 1; });
    Client client(options);
    if (const auto wrong = client.begin(); !wrong.empty()) {
        std::cerr << "failover-client: " << options.address << ": " << wrong << "\n";
        return 2;
    }
    std::cout << "ready" << std::endl;
    client.run();
    std::cout << client.report().dump() << "\n";
}
