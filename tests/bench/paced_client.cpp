// SPDX-License-Identifier: Apache-2.0
// HTTP requests at a fixed rate over keep-alive connections, whether or not earlier ones have been answered.
//
// Each request has its place in a schedule that is fixed beforehand, and its latency counts from there: a request that
// had to wait for a free connection waited, and the time is in the figure. (A client that only sends after an answer
// asks a stalled server nothing, and so never measures the stall.) Prints one JSON object. Exit status: 0 all requests
// were answered by 200, 1 some were not, 2 the measurement could not begin.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::int64_t kSecond_ns = 1'000'000'000;
constexpr std::int64_t kLead_ns = kSecond_ns / 20;  // from the last connection made to the first request
constexpr std::int64_t kGrace_ns = 5 * kSecond_ns;  // after the last request's time; what is open then has failed

struct Options {
    std::string address;
    std::uint16_t port = 80;
    double rate = 1'000;  // requests a second
    double seconds = 5;
    double warm_up_seconds = 0;  // of requests that are sent at the same rate, before, and not counted
    unsigned connections = 16;
};

std::int64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * kSecond_ns + now.tv_nsec;
}

enum class Answer { kPartial, kWhole, kWrong };

// Whether these bytes are one whole answer of status 200. More than one is wrong: nothing more was asked for.
Answer judge(std::string_view bytes) {
    constexpr std::string_view kStatus = "HTTP/1.1 200 ", kLength = "\r\nContent-Length: ";
    const auto end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos) return Answer::kPartial;
    const auto head = bytes.substr(0, end);
    const auto field = head.find(kLength);
    if (!head.starts_with(kStatus) || field == std::string_view::npos) return Answer::kWrong;
    const auto digits = head.substr(field + kLength.size());
    std::size_t length = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), length);
    const std::size_t whole = end + 4 + length;
    if (bytes.size() < whole) return Answer::kPartial;
    return bytes.size() == whole ? Answer::kWhole : Answer::kWrong;
}

// A connection carries one request at a time.
struct Connection {
    int descriptor = -1;
    bool waiting = false;           // for an answer
    bool counted = false;           // the request under way is one whose latency counts
    std::int64_t scheduled_ns = 0;  // its time
    std::string received;
};

std::optional<sockaddr_storage> parse_address(const Options& options, socklen_t& length) {
    sockaddr_storage storage{};
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    if (inet_pton(AF_INET, options.address.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(options.port);
        length = sizeof(*v4);
    } else if (inet_pton(AF_INET6, options.address.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(options.port);
        length = sizeof(*v6);
    } else {
        return std::nullopt;
    }
    return storage;
}

// Not thread-safe. Owns its sockets.
class Client {
  public:
    explicit Client(const Options& options) : options_(options), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
        const bool v6 = options.address.find(':') != std::string::npos;
        request_ = "GET / HTTP/1.1\r\nHost: " + (v6 ? "[" + options.address + "]" : options.address) + "\r\n\r\n";
        uncounted_ = std::llround(options.rate * options.warm_up_seconds);
        total_ = uncounted_ + std::llround(options.rate * options.seconds);
        latencies_ns_.reserve(static_cast<std::size_t>(total_ - uncounted_));
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() {
        for (auto& connection : connections_) drop(connection);
        close(epoll_);
    }

    // False, with errno set, unless every connection was made.
    bool connect_all() {
        socklen_t length = 0;
        const auto address = parse_address(options_, length);
        if (!address) {
            errno = EINVAL;
            return false;
        }
        connections_.resize(options_.connections);
        for (std::size_t i = 0; i < connections_.size(); ++i) {
            if (!connect_one(i, *address, length)) return false;
            idle_.push_back(i);
        }
        return true;
    }

    void run() {
        begin_ns_ = now_ns() + kLead_ns;
        const std::int64_t deadline_ns = scheduled_ns(total_) + kGrace_ns;
        while (ended_ < total_ && open_ > 0) {
            const std::int64_t now = now_ns();
            if (now >= deadline_ns) break;
            send_due(now);
            const bool must_wait_for_answer = idle_.empty() || next_ == total_;
            wait(must_wait_for_answer ? deadline_ns : scheduled_ns(next_));
        }
        end_ns_ = now_ns();
    }

    nlohmann::json report() {
        std::sort(latencies_ns_.begin(), latencies_ns_.end());
        const auto counted = total_ - uncounted_;
        const auto answered = static_cast<std::int64_t>(latencies_ns_.size());
        return {{"requests", counted},
                {"sent", next_},  // those of the warm-up included
                {"failed", counted - answered},
                {"rate", static_cast<double>(ended_) / (static_cast<double>(end_ns_ - begin_ns_) / kSecond_ns)},
                {"p50_ms", percentile_ms(0.50)},
                {"p90_ms", percentile_ms(0.90)},
                {"p99_ms", percentile_ms(0.99)},
                {"max_ms", percentile_ms(1.0)}};
    }

    bool all_answered() const { return static_cast<std::int64_t>(latencies_ns_.size()) == total_ - uncounted_; }

  private:
    bool connect_one(std::size_t index, const sockaddr_storage& address, socklen_t length) {
        auto& connection = connections_[index];
        connection.descriptor = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connection.descriptor < 0) return false;
        ++open_;
        const int on = 1;
        setsockopt(connection.descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(connection.descriptor, reinterpret_cast<const sockaddr*>(&address), length) != 0) return false;
        if (fcntl(connection.descriptor, F_SETFL, O_NONBLOCK) != 0) return false;
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = index;
        return epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.descriptor, &event) == 0;
    }

    std::int64_t scheduled_ns(std::int64_t number) const {
        return begin_ns_ + std::llround(static_cast<double>(number) * kSecond_ns / options_.rate);
    }

    // Longest idle first, so that every connection, and so every backend, is used.
    void send_due(std::int64_t now) {
        while (next_ < total_ && !idle_.empty() && scheduled_ns(next_) <= now) {
            const std::size_t index = idle_.front();
            auto& connection = connections_[index];
            connection.scheduled_ns = scheduled_ns(next_);
            connection.counted = next_ >= uncounted_;
            connection.received.clear();
            connection.waiting = true;
            idle_.pop_front();
            ++next_;
            const auto sent = send(connection.descriptor, request_.data(), request_.size(), MSG_NOSIGNAL);
            if (sent != static_cast<ssize_t>(request_.size())) fail(index);
        }
    }

    void wait(std::int64_t until_ns) {
        std::array<epoll_event, 64> events{};
        const std::int64_t left = std::max<std::int64_t>(0, until_ns - now_ns());
        const timespec timeout{left / kSecond_ns, left % kSecond_ns};
        const int count = epoll_pwait2(epoll_, events.data(), events.size(), &timeout, nullptr);
        const std::int64_t now = now_ns();
        for (int i = 0; i < count; ++i) receive(events[static_cast<std::size_t>(i)].data.u64, now);
    }

    void receive(std::size_t index, std::int64_t now) {
        auto& connection = connections_[index];
        std::array<char, 16384> chunk;
        const auto size = recv(connection.descriptor, chunk.data(), chunk.size(), 0);
        if (size < 0 && errno == EAGAIN) return;
        Answer answer = Answer::kWrong;
        if (size > 0 && connection.waiting) {
            connection.received.append(chunk.data(), static_cast<std::size_t>(size));
            answer = judge(connection.received);
        }
        if (answer == Answer::kWrong) fail(index);
        if (answer == Answer::kWhole) finish(index, now);
    }

    void finish(std::size_t index, std::int64_t now) {
        auto& connection = connections_[index];
        ++ended_;
        connection.waiting = false;
        idle_.push_back(index);
        if (connection.counted) latencies_ns_.push_back(now - connection.scheduled_ns);
    }

    // What was under way, if anything, has failed, and the connection is not used again.
    void fail(std::size_t index) {
        auto& connection = connections_[index];
        ended_ += connection.waiting ? 1 : 0;
        std::erase(idle_, index);
        drop(connection);
    }

    void drop(Connection& connection) {
        if (connection.descriptor < 0) return;
        close(connection.descriptor);
        connection.descriptor = -1;
        --open_;
    }

    // Nearest rank. Null where nothing was answered.
    nlohmann::json percentile_ms(double share) const {
        if (latencies_ns_.empty()) return nullptr;
        const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(latencies_ns_.size())));
        return static_cast<double>(latencies_ns_[std::max<std::size_t>(rank, 1) - 1]) / 1e6;
    }

    Options options_;
    int epoll_;
    std::string request_;
    std::vector<Connection> connections_;
    std::deque<std::size_t> idle_;
    std::size_t open_ = 0;
    std::int64_t begin_ns_ = 0, end_ns_ = 0;
    std::int64_t total_ = 0, uncounted_ = 0;
    std::int64_t next_ = 0, ended_ = 0;
    std::vector<std::int64_t> latencies_ns_;
};

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app{"HTTP requests at a fixed rate; latency from each request's scheduled time"};
    app.add_option("address", options.address, "server's IP address")->required();
    app.add_option("port", options.port, "server's TCP port");
    app.add_option("--rate", options.rate, "requests a second")->check(CLI::Range(1.0, 1e6));
    app.add_option("--seconds", options.seconds, "time measured")->check(CLI::Range(0.1, 3600.0));
    app.add_option("--warm-up", options.warm_up_seconds, "seconds before, not counted")->check(CLI::Range(0.0, 60.0));
    app.add_option("--connections", options.connections, "keep-alive connections")->check(CLI::Range(1, 10'000));
    CLI11_PARSE(app, argc, argv);

    // The kernel may otherwise wake this thread 50 us late, to save wake-ups.
    prctl(PR_SET_TIMERSLACK, 1);
    Client client(options);
    if (!client.connect_all()) {
        std::cerr << "paced-client: " << options.address << ": " << std::strerror(errno) << "\n";
        return 2;
    }
    client.run();
    std::cout << client.report().dump() << "\n";
    return client.all_answered() ? 0 : 1;
}
