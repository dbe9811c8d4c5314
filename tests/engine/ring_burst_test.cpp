// SPDX-License-Identifier: Apache-2.0
// One burst through the steering core as DPDK would run it: net_ring ports, mbufs, the tables in plain memory. What
// must come out is written with DPDK's own headers and checksums, which know nothing of ours.
#include "dataplane/engine/burst.h"

#include <gtest/gtest.h>
#include <rte_arp.h>
#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <sched.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/engine/ethdev_port.h"
#include "dataplane/tables/counters.h"
#include "dataplane/tables/writer.h"

namespace fairlead::engine {
namespace {

using Frame = std::vector<std::uint8_t>;

constexpr unsigned kRingSize = 256;
constexpr unsigned kPoolSize = 1023;
constexpr std::uint16_t kMtu = 1500;
constexpr std::uint8_t kTtl = 64;
constexpr std::uint16_t kHttp = 80;
constexpr std::uint16_t kUnlistedPort = 81;
constexpr std::uint64_t kAlwaysActive = UINT64_MAX;

const char* const kClientMac = "02:00:00:00:00:c1";
const char* const kPortMac[] = {"", "02:00:00:00:00:01", "02:00:00:00:00:02"};
const char* const kBackendMac[] = {"", "02:00:00:00:0b:01", "02:00:00:00:0b:02"};
const char* const kNode4 = "192.0.2.1";
const char* const kNode6 = "2001:db8::1";

// The environment abstraction layer can be initialised once a process.
class Eal : public ::testing::Environment {
  public:
    void SetUp() override {
        std::vector<std::string> words = {"ring-burst",
                                          "--no-huge",
                                          "-m",
                                          "256",
                                          "--no-pci",
                                          "--no-telemetry",
                                          "--iova-mode=va",
                                          "--log-level=error",
                                          "-l",
                                          std::to_string(sched_getcpu()),
                                          "--file-prefix=fairlead-test-" + std::to_string(getpid())};
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        ASSERT_GE(rte_eal_init(static_cast<int>(arguments.size()), arguments.data()), 0) << rte_strerror(rte_errno);
        runtime_folder_ = rte_eal_get_runtime_dir();
    }
    void TearDown() override {
        rte_eal_cleanup();
        if (!runtime_folder_.empty()) std::filesystem::remove_all(runtime_folder_);
    }

  private:
    std::filesystem::path runtime_folder_;
};

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }
MacAddress mac(const char* text) { return MacAddress::parse(text).value(); }

rte_ether_addr ether_address(const char* text) {
    rte_ether_addr address;
    if (rte_ether_unformat_addr(text, &address) != 0) throw std::invalid_argument(text);
    return address;
}

rte_be32_t ipv4_word(const char* text) {
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

Frame joined(Frame first, const Frame& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

Frame ethernet(const char* destination, const char* source, std::uint16_t type, const Frame& payload) {
    Frame frame;
    append(frame, rte_ether_hdr{ether_address(destination), ether_address(source), rte_cpu_to_be_16(type)});
    return joined(std::move(frame), payload);
}

Frame ipv4(const char* source, const char* destination, std::uint8_t protocol, std::uint8_t ttl, const Frame& payload,
           std::uint16_t id = 0x1234, std::uint16_t fragment = RTE_IPV4_HDR_DF_FLAG) {
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

Frame ipv6(const char* source, const char* destination, std::uint8_t protocol, std::uint8_t hops,
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
Frame tcp(std::uint16_t source_port, std::uint16_t port, std::uint8_t flags) {
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

Frame arp(std::uint16_t operation, const char* sender_mac, const char* sender, const char* target_mac,
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
    int port;  // in the tables, that the backend is reached by
};

const Mode kDsr4{"dsr4", "198.51.100.1", "192.0.2.11", FL_FORWARD_L2DSR, 1};
const Mode kDsr6{"dsr6", "2001:db8:100::1", "2001:db8::11", FL_FORWARD_L2DSR, 1};
const Mode kTunnel4{"tunnel4", "198.51.100.2", "203.0.113.12", FL_FORWARD_IPIP, 2};
const Mode kTunnel6{"tunnel6", "2001:db8:100::2", "2001:db8:2::12", FL_FORWARD_IPIP, 2};
const Mode kLocal{"local", "198.51.100.3", kNode4, FL_FORWARD_LOCAL, 0};
const Mode kModes[] = {kDsr4, kDsr6, kTunnel4, kTunnel6, kLocal};

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

    const tables::Tables& tables() const { return tables_; }
    tables::WorkerSlot join() { return tables::WorkerSlot::create(tables_).value(); }
    tables::Counts reason(fl_reason reason) const { return tables::CounterReader(tables_).reason(reason); }

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
        for (const Mode& mode : kModes) {
            desired.vips.push_back({.address = ip(mode.vip)});
            desired.pools.push_back(
                {.name = mode.name,
                 .backends = {{.name = mode.name, .address = ip(mode.backend), .forward = mode.forward}}});
            desired.services.push_back({.name = mode.name, .vip = ip(mode.vip), .port = kHttp, .pool = mode.name});
        }
        check(writer_.apply(desired));
        for (const Mode& mode : kModes) {
            const std::uint32_t pool = writer_.find_pool(mode.name).value();
            const std::uint16_t backend = writer_.find_backend(pool, mode.name).value();
            check(writer_.set_backend_state(pool, backend, FL_BACKEND_HEALTHY, kMtu, nexthops_[mode.port]));
            check(writer_.set_slots(pool, std::vector<std::uint16_t>(writer_.slot_count(pool), backend)));
        }
    }

    tables::Tables tables_;
    std::unique_ptr<tables::GracePeriod> grace_;
    tables::TableWriter writer_;
    std::uint32_t nexthops_[3] = {};
};

// Two net_ring ports, and the far end of their rings.
class RingPorts {
  public:
    RingPorts() {
        pool_ = rte_pktmbuf_pool_create("frames", kPoolSize, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
        if (!pool_) throw std::runtime_error(rte_strerror(rte_errno));
        for (int port : {1, 2}) start(port);
    }
    ~RingPorts() {
        for (int port : {1, 2}) {
            rte_eth_dev_stop(ethdev_[port]);
            rte_vdev_uninit(("net_ring_" + name_of(port)).c_str());  // closes the port, too
            rte_ring_free(inward_[port]);
            rte_ring_free(outward_[port]);
        }
        rte_mempool_free(pool_);
    }

    std::span<PacketPort* const> ports() const { return pointers_; }
    unsigned buffers_in_use() const { return rte_mempool_in_use_count(pool_); }

    // As a driver delivers it, at an even address. `headroom` less than an outer header needs makes encapsulation fail.
    void arrive(int port, const Frame& frame, std::uint16_t headroom = RTE_PKTMBUF_HEADROOM) {
        rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_);
        mbuf->data_off = headroom;
        std::memcpy(rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(frame.size())), frame.data(), frame.size());
        ASSERT_EQ(rte_ring_enqueue(inward_[port], mbuf), 0);
    }

    std::optional<Frame> take(int port) {
        void* mbuf = nullptr;
        if (rte_ring_dequeue(outward_[port], &mbuf) != 0) return std::nullopt;
        return consume(static_cast<rte_mbuf*>(mbuf));
    }

    static Frame consume(rte_mbuf* mbuf) {
        const auto* bytes = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
        Frame frame(bytes, bytes + rte_pktmbuf_pkt_len(mbuf));
        rte_pktmbuf_free(mbuf);
        return frame;
    }

  private:
    static std::string name_of(int port) { return "port" + std::to_string(port); }

    void start(int port) {
        const std::string name = name_of(port);
        inward_[port] = rte_ring_create((name + "-in").c_str(), kRingSize, SOCKET_ID_ANY, 0);
        outward_[port] = rte_ring_create((name + "-out").c_str(), kRingSize, SOCKET_ID_ANY, 0);
        const int made = rte_eth_from_rings(name.c_str(), &inward_[port], 1, &outward_[port], 1, 0);
        if (made < 0) throw std::runtime_error(name + ": " + rte_strerror(rte_errno));
        ethdev_[port] = static_cast<std::uint16_t>(made);
        ports_[port] = EthdevPort::running(ethdev_[port]);
        pointers_[port] = ports_[port].get();
        const rte_eth_conf settings{};
        if (rte_eth_dev_configure(ethdev_[port], 1, 1, &settings) != 0 ||
            rte_eth_rx_queue_setup(ethdev_[port], 0, kRingSize, 0, nullptr, pool_) != 0 ||
            rte_eth_tx_queue_setup(ethdev_[port], 0, kRingSize, 0, nullptr) != 0 ||
            rte_eth_dev_start(ethdev_[port]) != 0)
            throw std::runtime_error(name + " does not start");
    }

    rte_mempool* pool_ = nullptr;
    rte_ring* inward_[3] = {};
    rte_ring* outward_[3] = {};
    std::uint16_t ethdev_[3] = {};
    std::unique_ptr<PacketPort> ports_[3];
    PacketPort* pointers_[3] = {};
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

    BurstCount run() {
        return worker_.run(1, 0, [this](rte_mbuf* mbuf) { passed_.push_back(RingPorts::consume(mbuf)); });
    }

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

// Thirty-two packets of every kind, interleaved as a network would: each leaves by its port, in order, to the byte.
TEST_F(RingBurst, ForwardsEveryModeToTheByte) {
    std::vector<Frame> by_port[3], to_host;
    for (std::uint16_t i = 0; i < kBurst; i++) {
        const std::uint16_t source_port = 1024 + i;
        if (i % 8 == 7) {  // for no VIP
            to_host.push_back(arriving("192.0.2.200", source_port));
            ports_.arrive(1, to_host.back());
            continue;
        }
        const Mode& mode = kModes[i % 5];
        ports_.arrive(1, arriving(mode.vip, source_port));
        if (mode.forward == FL_FORWARD_LOCAL)
            to_host.push_back(arriving(mode.vip, source_port));
        else
            by_port[mode.port].push_back(leaving(mode, source_port));
    }

    const BurstCount count = run();

    EXPECT_EQ(count.received, kBurst);
    EXPECT_EQ(count.transmitted, by_port[1].size() + by_port[2].size());
    EXPECT_EQ(count.passed, to_host.size());
    EXPECT_EQ(count.dropped, 0);
    EXPECT_EQ(count.unsent, 0);
    EXPECT_EQ(sent(1), by_port[1]);
    EXPECT_EQ(sent(2), by_port[2]);
    EXPECT_EQ(passed_, to_host);
    EXPECT_EQ(node_.reason(FL_REASON_NOT_VIP).packets, 4U);
    for (const Mode& mode : kModes) {
        EXPECT_GE(node_.backend(mode).packets, 5U) << mode.name;
        EXPECT_EQ(node_.backend(mode).syns, node_.backend(mode).packets) << mode.name;
    }
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

TEST_F(RingBurst, AnswersForAVipWhereTheQuestionCameIn) {
    ports_.arrive(1, ethernet("ff:ff:ff:ff:ff:ff", kClientMac, RTE_ETHER_TYPE_ARP,
                              arp(RTE_ARP_OP_REQUEST, kClientMac, "192.0.2.100", "00:00:00:00:00:00", kDsr4.vip)));
    EXPECT_EQ(run().transmitted, 1);
    const Frame answer = ethernet(kClientMac, kPortMac[1], RTE_ETHER_TYPE_ARP,
                                  arp(RTE_ARP_OP_REPLY, kPortMac[1], kDsr4.vip, kClientMac, "192.0.2.100"));
    EXPECT_EQ(sent(1), std::vector<Frame>{answer});
    EXPECT_EQ(node_.reason(FL_REASON_ARP).packets, 1U);
}

// A reset is shorter than what it answers: the buffer shrinks.
TEST_F(RingBurst, ResetsAPortThatNoServiceLists) {
    ports_.arrive(1, arriving(kDsr4.vip, 2000, kTtl, kUnlistedPort));
    EXPECT_EQ(run().transmitted, 1);
    const std::vector<Frame> frames = sent(1);
    ASSERT_EQ(frames.size(), 1U);
    ASSERT_EQ(frames[0].size(), sizeof(rte_ether_hdr) + sizeof(rte_ipv4_hdr) + sizeof(rte_tcp_hdr));
    const auto* header = reinterpret_cast<const rte_ipv4_hdr*>(frames[0].data() + sizeof(rte_ether_hdr));
    rte_tcp_hdr segment;
    std::memcpy(&segment, header + 1, sizeof(segment));
    EXPECT_EQ(segment.tcp_flags, RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG);
    EXPECT_EQ(segment.dst_port, rte_cpu_to_be_16(2000));
    const rte_be16_t checksum = segment.cksum;
    segment.cksum = 0;
    EXPECT_EQ(checksum, rte_ipv4_udptcp_cksum(header, &segment));
    EXPECT_EQ(node_.reason(FL_REASON_RESET).packets, 1U);
}

TEST_F(RingBurst, DropsWithTheReason) {
    Frame fragment = ethernet(kPortMac[1], kClientMac, RTE_ETHER_TYPE_IPV4,
                              ipv4("203.0.113.5", kDsr4.vip, IPPROTO_TCP, kTtl, tcp(1, kHttp, RTE_TCP_ACK_FLAG), 7,
                                   RTE_IPV4_HDR_MF_FLAG | 1));
    ports_.arrive(1, fragment);
    ports_.arrive(1, arriving(kDsr4.vip, 2001, 1));
    ports_.arrive(1, arriving(kTunnel4.vip, 2002), sizeof(rte_ipv4_hdr) - 2);
    ports_.arrive(1, arriving(kTunnel6.vip, 2003), sizeof(rte_ipv6_hdr) - 2);
    EXPECT_EQ(run().dropped, 4);
    EXPECT_EQ(node_.reason(FL_REASON_FRAGMENT_ORPHAN).packets, 1U);
    EXPECT_EQ(node_.reason(FL_REASON_TTL_EXPIRED).packets, 1U);
    EXPECT_EQ(node_.reason(FL_REASON_NO_HEADROOM).packets, 2U);
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

TEST_F(RingBurst, HeadroomThatJustSufficesDoes) {
    ports_.arrive(1, arriving(kTunnel4.vip, 2004), sizeof(rte_ipv4_hdr));
    ports_.arrive(1, arriving(kTunnel6.vip, 2005), sizeof(rte_ipv6_hdr));
    EXPECT_EQ(run().transmitted, 2);
    EXPECT_EQ(sent(2), (std::vector<Frame>{leaving(kTunnel4, 2004), leaving(kTunnel6, 2005)}));
}

// A port whose ring is full takes no more; the buffers go back to their pool all the same.
TEST_F(RingBurst, FreesWhatAPortDoesNotTake) {
    std::uint16_t source_port = 3000, unsent = 0;
    for (unsigned i = 0; i < kRingSize / kBurst + 1; i++) {
        for (unsigned j = 0; j < kBurst; j++) ports_.arrive(1, arriving(kDsr4.vip, source_port++));
        unsent += run().unsent;
    }
    EXPECT_EQ(unsent, kBurst + 1);  // a ring holds one less than its size
    EXPECT_EQ(sent(1).size(), kRingSize - 1);
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

}  // namespace
}  // namespace fairlead::engine

int main(int count, char** words) {
    ::testing::InitGoogleTest(&count, words);
    ::testing::AddGlobalTestEnvironment(new fairlead::engine::Eal);
    return RUN_ALL_TESTS();
}
