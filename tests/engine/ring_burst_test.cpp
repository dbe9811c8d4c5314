// SPDX-License-Identifier: Apache-2.0
// One burst through the steering core as DPDK would run it: net_ring ports, mbufs, the tables in plain memory.
#include "tests/engine/ring_node.h"

#include "dataplane/tables/capture.h"

namespace fairlead::engine {
namespace {

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
    ports_.arrive(1, arriving(kDsr4.vip, 2001, 1));
    ports_.arrive(1, arriving(kTunnel4.vip, 2002), sizeof(rte_ipv4_hdr) - 2);
    ports_.arrive(1, arriving(kTunnel6.vip, 2003), sizeof(rte_ipv6_hdr) - 2);
    EXPECT_EQ(run().dropped, 3);
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

// The worker remembers the way to a backend; whatever the controller changes of it shows in the next burst.
TEST_F(RingBurst, ForgetsAWayThatTheControllerChanged) {
    constexpr const char* kOtherMac = "02:00:00:00:00:77";
    const auto header = [&] {
        ports_.arrive(1, arriving(kTunnel4.vip, 2010));
        EXPECT_EQ(run().transmitted, 1U);
        const auto frames = sent(2);
        if (frames.size() != 1) return Frame{};
        return Frame(frames[0].begin(), frames[0].begin() + sizeof(rte_ether_hdr));
    };
    const auto expected = [](const char* to, const char* from) { return ethernet(to, from, RTE_ETHER_TYPE_IPV4, {}); };
    EXPECT_EQ(header(), expected(kBackendMac[2], kPortMac[2]));

    auto& writer = node_.writer();
    ASSERT_TRUE(writer.set_nexthop(node_.nexthop(2), mac(kOtherMac), 2));
    EXPECT_EQ(header(), expected(kOtherMac, kPortMac[2])) << "another next hop";

    ASSERT_TRUE(writer.set_port(2, {"port2", 102, mac(kOtherMac), kMtu, 0, FL_ENGINE_DPDK}));
    EXPECT_EQ(header(), expected(kOtherMac, kOtherMac)) << "another address of the port";

    const std::uint32_t hop = writer.allocate_nexthop().value();
    ASSERT_TRUE(writer.set_nexthop(hop, mac(kBackendMac[1]), 2));
    node_.set_backend(kTunnel4, FL_BACKEND_HEALTHY, kMtu, hop);
    EXPECT_EQ(header(), expected(kBackendMac[1], kOtherMac)) << "the backend's word names another next hop";

    const std::size_t size = arriving(kTunnel4.vip, 2010).size() - sizeof(rte_ether_hdr);
    node_.set_backend(kTunnel4, FL_BACKEND_HEALTHY, static_cast<std::uint32_t>(size) + sizeof(rte_ipv4_hdr) - 1, hop);
    ports_.arrive(1, arriving(kTunnel4.vip, 2010));
    run();
    EXPECT_EQ(node_.backend(kTunnel4).packets, 4U) << "a smaller MTU";

    node_.set_backend(kTunnel4, FL_BACKEND_HEALTHY, kMtu, 0);
    ports_.arrive(1, arriving(kTunnel4.vip, 2010));
    EXPECT_EQ(run().dropped, 1U);
    EXPECT_EQ(node_.reason(FL_REASON_NO_NEIGHBOUR).packets, 1U) << "no next hop";

    node_.set_backend(kTunnel4, FL_BACKEND_HEALTHY, kMtu, hop);
    EXPECT_EQ(header(), expected(kBackendMac[1], kOtherMac));
}

// More services in a burst than packets of any: each is counted, and nobody's is another's.
TEST_F(RingBurst, CountsForEachServiceOfABurst) {
    for (std::uint16_t i = 0; i < kBurst; i++) ports_.arrive(1, arriving(i % 2 ? kDsr4.vip : kDsr6.vip, 1024 + i));
    EXPECT_EQ(run().transmitted, kBurst);
    const std::size_t size4 = arriving(kDsr4.vip, 1).size(), size6 = arriving(kDsr6.vip, 1).size();
    const auto four = node_.service(kDsr4), six = node_.service(kDsr6);
    EXPECT_EQ(four.packets, kBurst / 2);
    EXPECT_EQ(six.packets, kBurst / 2);
    EXPECT_EQ(four.bytes, kBurst / 2 * size4);
    EXPECT_EQ(six.bytes, kBurst / 2 * size6);
    EXPECT_EQ(four.syns, kBurst / 2);
}

// What `lbctl capture` reads of a worker is what of the XDP program: a packet as it came, and as it left.
TEST_F(RingBurst, KeepsPacketsForACapture) {
    fl_capture_filter filter{};
    filter.per_second = 1'000'000;
    auto capture = tables::Capture::create(node_.tables(), node_.grace(), filter).value();
    ports_.arrive(1, arriving(kTunnel4.vip, 3000));
    run();
    EXPECT_TRUE(capture.read().empty()) << "before it has begun";
    capture.renew();
    for (std::uint16_t i = 1; i <= kBurst; i++) ports_.arrive(1, arriving(kTunnel4.vip, 3000 + i));
    run();
    const auto captured = capture.read();
    ASSERT_EQ(captured.size(), 2U * kBurst);
    for (std::uint16_t i = 0; i < kBurst; i++) {
        const auto& before = captured[2 * i];
        const auto& after = captured[2 * i + 1];
        EXPECT_EQ(before.stride, tables::living_workers(node_.tables()).at(0).stride);
        EXPECT_EQ(before.bytes, arriving(kTunnel4.vip, 3001 + i));
        EXPECT_EQ(after.bytes, leaving(kTunnel4, 3001 + i));
        EXPECT_EQ(before.entry.packet, after.entry.packet);
        EXPECT_EQ(after.entry.egress, kTunnel4.port);
    }
}

// A port whose ring is full takes no more; the buffers go back to their pool all the same.
TEST_F(RingBurst, FreesWhatAPortDoesNotTake) {
    std::uint16_t source_port = 3000, unsent = 0;
    for (unsigned i = 0; i < kRingSize / kBurst + 1; i++) {
        for (unsigned j = 0; j < kBurst; j++) ports_.arrive(1, arriving(kDsr4.vip, source_port++));
        unsent += run().unsent;
    }
    EXPECT_EQ(unsent, kBurst + 1);  // a ring holds one less than its size
    EXPECT_EQ(node_.event(FL_EVENT_UNSENT), unsent);
    EXPECT_EQ(sent(1).size(), kRingSize - 1);
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

}  // namespace
}  // namespace fairlead::engine

int main(int count, char** words) {
    ::testing::InitGoogleTest(&count, words);
    ::testing::AddGlobalTestEnvironment(new fairlead::engine::DpdkEnvironment);
    return RUN_ALL_TESTS();
}
