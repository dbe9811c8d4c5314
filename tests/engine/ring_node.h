// SPDX-License-Identifier: Apache-2.0
// A node of net_ring ports and tables in plain memory, for tests of the engine. What must come out is written with DPDK's
// own headers and checksums, which know nothing of ours.
#pragma once

#include "dataplane/engine/burst.h"

#include <gtest/gtest.h>
#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/tables/counters.h"
#include "dataplane/tables/writer.h"
#include "tests/support/ring_port.h"

namespace fairlead::engine {

using Frame = std::vector<std::uint8_t>;

inline constexpr unsigned kRingSize = 256;
inline constexpr unsigned kPoolSize = 1023;
inline constexpr std::uint16_t kMtu = 1500;
inline constexpr std::uint8_t kTtl = 64;
inline constexpr std::uint16_t kHttp = 80;
inline constexpr std::uint16_t kUnlistedPort = 81;
inline constexpr std::uint64_t kAlwaysActive = UINT64_MAX;

inline const char* const kClientMac = "02:00:00:00:00:c1";
inline const char* const kPortMac[] = {"", "02:00:00:00:00:01", "02:00:00:00:00:02"};
inline const char* const kBackendMac[] = {"", "02:00:00:00:0b:01", "02:00:00:00:0b:02"};
inline const char* const kNode4 = "192.0.2.1";
inline const char* const kNode6 = "2001:db8::1";

class DpdkEnvironment : public ::testing::Environment {
  public:
    void SetUp() override { eal_.emplace(); }
    void TearDown() override { eal_.reset(); }

  private:
    std::optional<test::Eal> eal_;
};

inline IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }
inline MacAddress mac(const char* text) { return MacAddress::parse(text).value(); }

inline rte_ether_addr ether_address(const char* text) {
    rte_ether_addr address;
    if (rte_ether_unformat_addr(text, &address) != 0) throw std::invalid_argument(text);
    return address;
}

inline rte_be32_t ipv4_word(const char* text) {
    rte_be32_t word;
    std::memcpy(&word, ip(text).family_bytes().data(), sizeof(word));
    return word;
}

template <typename T>
void append(Frame& frame, const T& header) {
    const std::size_t length = frame.size();
    frame.resize(length + sizeof(header));
    std::memcpy(frame.data() + length, &header, sizeof(header));
}

inline Frame joined(Frame first, const Frame& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

inline Frame ethernet(const char* destination, const char* source, std::uint16_t type, const Frame& payload) {
    Frame frame;
    append(frame, rte_ether_hdr{ether_address(destination), ether_address(source), rte_cpu_to_be_16(type)});
    return joined(std::move(frame), payload);
}

inline Frame ipv4(const char* source, const char* destination, std::uint8_t protocol, std::uint8_t ttl,
                  const Frame& payload, std::uint16_t id = 0x1234, std::uint16_t fragment = RTE_IPV4_HDR_DF_FLAG) {
    rte_ipv4_hdr header{};
    header.version_ihl = RTE_IPV4_VHL_DEF;
    header.total_length = rte_cpu_to_be_16(static_cast<std::uint16_t>(sizeof(header) + payload.size()));
    header.packet_id = rte_cpu_to_be_16(id);
    header.fragment_offset = rte_cpu_to_be_16(fragment);
    header.time_to_live = ttl;
    header.next_proto_id = protocol;
    header.src_addr = ipv4_word(source);
    header.dst_addr = ipv4_word(destination);
    header.hdr_checksum = rte_ipv4_cksum(&header);
    Frame packet;
    append(packet, header);
    return joined(std::move(packet), payload);
}

inline Frame ipv6(const char* source, const char* destination, std::uint8_t protocol, std::uint8_t hops,
                  const Frame& payload) {
    rte_ipv6_hdr header{};
    header.vtc_flow = rte_cpu_to_be_32(6U << 28);
    header.payload_len = rte_cpu_to_be_16(static_cast<std::uint16_t>(payload.size()));
    header.proto = protocol;
    header.hop_limits = hops;
    std::memcpy(header.src_addr, ip(source).bytes().data(), sizeof(header.src_addr));
    std::memcpy(header.dst_addr, ip(destination).bytes().data(), sizeof(header.dst_addr));
    Frame packet;
    append(packet, header);
    return joined(std::move(packet), payload);
}

// The core neither reads nor changes a TCP checksum of what it forwards, so this one is merely a mark.
inline Frame tcp(std::uint16_t source_port, std::uint16_t port, std::uint8_t flags) {
    rte_tcp_hdr header{};
    header.src_port = rte_cpu_to_be_16(source_port);
    header.dst_port = rte_cpu_to_be_16(port);
    header.sent_seq = rte_cpu_to_be_32(0x01020304);
    header.data_off = sizeof(header) / 4 << 4;
    header.tcp_flags = flags;
    header.cksum = 0xbeef;
    Frame segment;
    append(segment, header);
    for (const char c : std::string("payload")) segment.push_back(static_cast<std::uint8_t>(c));
    return segment;
}

inline Frame arp(std::uint16_t operation, const char* sender_mac, const char* sender, const char* target_mac,
                 const char* target) {
    rte_arp_hdr header{};
    header.arp_hardware = rte_cpu_to_be_16(RTE_ARP_HRD_ETHER);
    header.arp_protocol = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
    header.arp_hlen = RTE_ETHER_ADDR_LEN;
    header.arp_plen = sizeof(rte_be32_t);
    header.arp_opcode = rte_cpu_to_be_16(operation);
    header.arp_data = {ether_address(sender_mac), ipv4_word(sender), ether_address(target_mac), ipv4_word(target)};
    Frame packet;
    append(packet, header);
    return packet;
}

struct Mode {
    const char* name;
    const char* vip;
    const char* backend;
    fl_forward forward;
    int port;                     // in the tables, that the backend is reached by
    const char* other = nullptr;  // of a second backend, that every other slot is of
};

inline const Mode kDsr4{"dsr4", "198.51.100.1", "192.0.2.11", FL_FORWARD_L2DSR, 1};
inline const Mode kDsr6{"dsr6", "2001:db8:100::1", "2001:db8::11", FL_FORWARD_L2DSR, 1};
inline const Mode kTunnel4{"tunnel4", "198.51.100.2", "203.0.113.12", FL_FORWARD_IPIP, 2};
inline const Mode kTunnel6{"tunnel6", "2001:db8:100::2", "2001:db8:2::12", FL_FORWARD_IPIP, 2};
inline const Mode kLocal{"local", "198.51.100.3", kNode4, FL_FORWARD_LOCAL, 0};
inline const Mode kSpread4{"spread4", "198.51.100.4", "203.0.113.13", FL_FORWARD_IPIP, 2, "203.0.113.14"};
inline const Mode kModes[] = {kDsr4, kDsr6, kTunnel4, kTunnel6, kLocal};

// The tables of a node with two ports, and a pool of one backend for each way of forwarding.
class Node {
  public:
    Node()
        : tables_(tables::Tables::create_anonymous(tables::default_limits(1)).value()),
          grace_(tables::make_grace(tables_).value()),
          writer_(tables::TableWriter::create(tables_, *grace_).value()) {
        for (std::uint32_t port : {1U, 2U})
            check(writer_.set_port(
                port, {"port" + std::to_string(port), 100 + port, mac(kPortMac[port]), kMtu, 0, FL_ENGINE_DPDK}));
        for (std::uint32_t port : {1U, 2U}) {
            nexthops_[port] = writer_.allocate_nexthop().value();
            check(writer_.set_nexthop(nexthops_[port], mac(kBackendMac[port]), port));
        }
        check(writer_.set_hash_key({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
        check(writer_.set_encap4(IpPrefix{ip(kNode4), 32}));
        check(writer_.set_encap6(IpPrefix{ip(kNode6), 128}));
        check(writer_.set_answer_rate(1000));
        check(writer_.set_role(0, kAlwaysActive));
        publish();
    }

    tables::Tables& tables() { return tables_; }
    const tables::Tables& tables() const { return tables_; }
    tables::WorkerSlot join() { return tables::WorkerSlot::create(tables_).value(); }
    tables::Counts reason(fl_reason reason) const { return tables::CounterReader(tables_).reason(reason); }

    std::uint64_t event(fl_event event) const { return tables::CounterReader(tables_).event(event); }
    tables::GracePeriod& grace() { return *grace_; }
    tables::TableWriter& writer() { return writer_; }
    std::uint32_t nexthop(int port) const { return nexthops_[port]; }

    tables::Counts service(const Mode& mode) const {
        return tables::CounterReader(tables_).service(writer_.find_service(ip(mode.vip), kHttp, IPPROTO_TCP).value());
    }

    void set_backend(const Mode& mode, fl_backend_state state, std::uint32_t mtu, std::uint32_t nexthop) {
        const std::uint32_t pool = writer_.find_pool(mode.name).value();
        check(writer_.set_backend_state(pool, writer_.find_backend(pool, mode.name).value(), state, mtu, nexthop));
    }

    tables::Counts backend(const Mode& mode) const {
        const std::uint32_t pool = writer_.find_pool(mode.name).value();
        const std::uint16_t local = writer_.find_backend(pool, mode.name).value();
        return tables::CounterReader(tables_).backend(writer_.global_index(pool, local));
    }

  private:
    template <typename R>
    static void check(const R& result) {
        if (!result) throw std::runtime_error(result.error().message);
    }

    void publish() {
        tables::Desired desired;
        std::vector<Mode> modes(std::begin(kModes), std::end(kModes));
        modes.push_back(kSpread4);
        for (const Mode& mode : modes) {
            desired.vips.push_back({.address = ip(mode.vip)});
            desired.pools.push_back({.name = mode.name, .backends = {}});
            auto& backends = desired.pools.back().backends;
            backends.push_back({.name = mode.name, .address = ip(mode.backend), .forward = mode.forward});
            if (mode.other) backends.push_back({.name = "other", .address = ip(mode.other), .forward = mode.forward});
            desired.services.push_back({.name = mode.name, .vip = ip(mode.vip), .port = kHttp, .pool = mode.name});
        }
        check(writer_.apply(desired));
        for (const Mode& mode : modes) steer_to_backends(mode);
    }

    void steer_to_backends(const Mode& mode) {
        const std::uint32_t pool = writer_.find_pool(mode.name).value();
        std::vector<std::uint16_t> backends = {writer_.find_backend(pool, mode.name).value()};
        if (mode.other) backends.push_back(writer_.find_backend(pool, "other").value());
        for (std::uint16_t backend : backends)
            check(writer_.set_backend_state(pool, backend, FL_BACKEND_HEALTHY, kMtu, nexthops_[mode.port]));
        std::vector<std::uint16_t> slots(writer_.slot_count(pool));
        for (std::size_t i = 0; i < slots.size(); i++) slots[i] = backends[i % backends.size()];
        check(writer_.set_slots(pool, slots));
    }

    tables::Tables tables_;
    std::unique_ptr<tables::GracePeriod> grace_;
    tables::TableWriter writer_;
    std::uint32_t nexthops_[3] = {};
};

// Two net_ring ports, and the far end of their rings.
class RingPorts {
  public:
    std::span<PacketPort* const> ports() const { return pointers_; }
    unsigned buffers_in_use() const { return rte_mempool_in_use_count(pool_.get()); }
    void arrive(int port, const Frame& frame, std::uint16_t headroom = RTE_PKTMBUF_HEADROOM) {
        ports_[port - 1].arrive(frame, headroom);
    }
    std::optional<Frame> take(int port) { return ports_[port - 1].take(); }

  private:
    test::BufferPool pool_ = test::make_buffers("frames", kPoolSize);
    test::RingPort ports_[2] = {{"port1", pool_.get(), kRingSize}, {"port2", pool_.get(), kRingSize}};
    PacketPort* pointers_[3] = {nullptr, &ports_[0].port(), &ports_[1].port()};
};

class RingBurst : public ::testing::Test {
  protected:
    // A client's packet to `vip`, as it arrives (hops = 64) and as it leaves (63).
    static Frame packet(const char* vip, std::uint16_t source_port, std::uint8_t hops, std::uint16_t port = kHttp) {
        const Frame segment = tcp(source_port, port, RTE_TCP_SYN_FLAG);
        if (ip(vip).is_v4()) return ipv4("203.0.113.5", vip, IPPROTO_TCP, hops, segment);
        return ipv6("2001:db8:5::5", vip, IPPROTO_TCP, hops, segment);
    }

    static std::uint16_t ethertype(const char* vip) {
        return ip(vip).is_v4() ? RTE_ETHER_TYPE_IPV4 : RTE_ETHER_TYPE_IPV6;
    }

    static Frame arriving(const char* vip, std::uint16_t source_port, std::uint8_t hops = kTtl,
                          std::uint16_t port = kHttp) {
        return ethernet(kPortMac[1], kClientMac, ethertype(vip), packet(vip, source_port, hops, port));
    }

    static Frame leaving(const Mode& mode, std::uint16_t source_port) {
        Frame inner = packet(mode.vip, source_port, kTtl - 1);
        if (mode.forward == FL_FORWARD_IPIP && ip(mode.vip).is_v4())
            inner = ipv4(kNode4, mode.backend, IPPROTO_IPIP, kTtl, inner, 0);
        else if (mode.forward == FL_FORWARD_IPIP)
            inner = ipv6(kNode6, mode.backend, IPPROTO_IPV6, kTtl, inner);
        return ethernet(kBackendMac[mode.port], kPortMac[mode.port], ethertype(mode.vip), inner);
    }

    auto keep() {
        return [this](rte_mbuf* mbuf) { passed_.push_back(test::consume(mbuf)); };
    }
    BurstCount run() { return worker_.run(1, 0, keep()); }

    std::vector<Frame> sent(int port) {
        std::vector<Frame> frames;
        while (auto frame = ports_.take(port)) frames.push_back(*std::move(frame));
        return frames;
    }

    Node node_;
    RingPorts ports_;
    BurstWorker worker_{node_.tables(), node_.join(), ports_.ports()};
    std::vector<Frame> passed_;
};

}  // namespace fairlead::engine
