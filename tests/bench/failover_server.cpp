// SPDX-License-Identifier: Apache-2.0
// The front-end node of scripts/bench failover and churn: see failover_wire.h. Prints "ready", a line that begins with
// "wrong" for each connection whose message was not the one that was due, and runs until it is killed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <string>
#include <unordered_map>

#include "failover_wire.h"

namespace {

using fairlead::bench::Message;
using fairlead::bench::Name;
using fairlead::bench::Probe;

constexpr int kBacklog = 1024;
constexpr int kProbeBuffer_bytes = 1 << 20;  // of probes that wait while this process is not scheduled

sockaddr_in any_address(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    return address;
}

// Owned by the caller. Negative, with errno set, if it cannot be made.
int bound_socket(int type, std::uint16_t port) {
    const int descriptor = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -1;
    const int on = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const auto address = any_address(port);
    if (bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return descriptor;
    close(descriptor);
    return -1;
}

// Not thread-safe. Its sockets are the process's until its end.
class Server {
  public:
    explicit Server(const std::string& name) : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
        std::copy_n(name.begin(), std::min(name.size(), name_.size()), name_.begin());
    }

    // False, with errno set, if a port cannot be had.
    bool open(std::uint16_t tcp_port, std::uint16_t udp_port) {
        listener_ = bound_socket(SOCK_STREAM, tcp_port);
        if (listener_ < 0 || listen(listener_, kBacklog) != 0) return false;
        probes_ = bound_socket(SOCK_DGRAM, udp_port);
        if (probes_ < 0) return false;
        const int on = 1;
        // Answers leave from the address that was asked: a VIP, of which the socket knows nothing.
        setsockopt(probes_, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
        setsockopt(probes_, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
        setsockopt(probes_, SOL_SOCKET, SO_RCVBUFFORCE, &kProbeBuffer_bytes, sizeof(kProbeBuffer_bytes));
        return watch(listener_) && watch(probes_);
    }

    [[noreturn]] void run() {
        std::array<epoll_event, 64> events{};
        for (;;) {
            const int count = epoll_wait(epoll_, events.data(), events.size(), -1);
            for (int i = 0; i < count; ++i) serve(events[static_cast<std::size_t>(i)].data.fd);
        }
    }

  private:
    bool watch(int descriptor) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = descriptor;
        return epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) == 0;
    }

    void serve(int descriptor) {
        if (descriptor == listener_)
            accept_all();
        else if (descriptor == probes_)
            answer_probes();
        else
            echo(descriptor);
    }

    void accept_all() {
        int connection = -1;
        while ((connection = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
            const int on = 1;
            setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            clients_[connection] = {};
            const bool greeted = send(connection, name_.data(), name_.size(), MSG_NOSIGNAL) == std::ssize(name_);
            if (!greeted || !watch(connection)) end(connection);
        }
    }

    // A client has one small message under way: what cannot be sent at once is a client that is none of ours.
    void echo(int connection) {
        std::array<char, 4096> bytes{};
        const auto size = recv(connection, bytes.data(), bytes.size(), 0);
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0) return end(connection);
        auto& client = clients_[connection];
        client.received.append(bytes.data(), static_cast<std::size_t>(size));
        Message message;
        if (client.received.size() < sizeof(message)) return;
        std::memcpy(&message, client.received.data(), sizeof(message));
        const bool due = client.received.size() == sizeof(message) && message.server == name_ &&
                         message.number == client.last.number + 1 &&
                         (client.last.number == 0 || message.connection == client.last.connection);
        if (!due) {
            std::cout << "wrong: message " << message.number << " of connection " << message.connection << " with "
                      << fairlead::bench::text_of(message.server) << std::endl;
            return end(connection);
        }
        client.received.clear();
        client.last = message;
        if (send(connection, &message, sizeof(message), MSG_NOSIGNAL) != sizeof(message)) end(connection);
    }

    void end(int connection) {
        clients_.erase(connection);
        close(connection);
    }

    void answer_probes() {
        Probe probe;
        sockaddr_in client{};
        iovec part{&probe, sizeof(probe)};
        alignas(cmsghdr) std::array<char, 256> control{};
        msghdr message{};
        for (;;) {
            message = {&client, sizeof(client), &part, 1, control.data(), control.size(), 0};
            const auto size = recvmsg(probes_, &message, 0);
            if (size < 0) return;
            if (size != sizeof(probe)) continue;
            probe.name = name_;
            prepare_answer(message, probe);
            sendmsg(probes_, &message, 0);
        }
    }

    // Takes the time out of what came beside a probe, and leaves there only the address that it was sent to.
    static void prepare_answer(msghdr& message, Probe& probe) {
        in_pktinfo source{};
        for (auto* item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item)) {
            if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SCM_TIMESTAMPNS) {
                timespec time{};
                std::memcpy(&time, CMSG_DATA(item), sizeof(time));
                probe.received_ns = time.tv_sec * 1'000'000'000 + time.tv_nsec;
            } else if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
                std::memcpy(&source, CMSG_DATA(item), sizeof(source));
            }
        }
        source.ipi_ifindex = 0;
        source.ipi_spec_dst = source.ipi_addr;
        auto* item = reinterpret_cast<cmsghdr*>(message.msg_control);
        item->cmsg_level = IPPROTO_IP;
        item->cmsg_type = IP_PKTINFO;
        item->cmsg_len = CMSG_LEN(sizeof(source));
        std::memcpy(CMSG_DATA(item), &source, sizeof(source));
        message.msg_controllen = CMSG_SPACE(sizeof(source));
    }

    struct Client {
        std::string received;
        Message last;
    };

    Name name_{};
    int epoll_, listener_ = -1, probes_ = -1;
    std::unordered_map<int, Client> clients_;  // by descriptor
};

}  // namespace

int main(int argc, char** argv) {
    std::string name;
    std::uint16_t tcp_port = 0, udp_port = 0;
    CLI::App app{"Greets and echoes over TCP, answers probes over UDP"};
    app.add_option("--name", name, "of this server, in greetings and answers")->required();
    app.add_option("--tcp", tcp_port, "port of connections")->required();
    app.add_option("--udp", udp_port, "port of probes")->required();
    CLI11_PARSE(app, argc, argv);

    Server server(name);
    if (!server.open(tcp_port, udp_port)) {
        std::cerr << "failover-server: " << std::strerror(errno) << "\n";
        return 2;
    }
    std::cout << "ready" << std::endl;
    server.run();
}
