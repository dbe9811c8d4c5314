// SPDX-License-Identifier: Apache-2.0
// What the core leaves to an engine with memory of its own: fragments before their first, IPv4 that must be fragmented for
// a tunnel, long chains of IPv6 extension headers.
#include "dataplane/engine/exceptions.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "tests/engine/ring_node.h"

namespace fairlead::engine {
namespace {
using Clock = std::chrono::steady_clock;

constexpr auto kDeadline = std::chrono::seconds(10);
constexpr const char* kClient = "203.0.113.5";

Frame bytes_counting_up(std::size_t length) {
    Frame bytes(length);
    for (std::size_t i = 0; i < length; i++) bytes[i] = static_cast<std::uint8_t>(i * 7);
    return bytes;
}

// The header that stands at an offset; throws where the frame ends before.
template <typename Header>
Header header_at(const Frame& frame, std::size_t at) {
    if (frame.size() < at + sizeof(Header)) throw std::out_of_range("a frame is too short");
    Header header;
    std::memcpy(&header, frame.data() + at, sizeof(header));
    return header;
}

class Exceptions : public RingBurst {
  protected:
    // Parts of a datagram, cut by hand: `offset` and the length of all but the last are multiples of 8.
    static Frame fragment(const Mode& mode, std::uint16_t id, std::size_t offset, const Frame& part, bool last,
                          std::uint8_t hops = kTtl) {
        const auto bits = static_cast<std::uint16_t>(offset / 8 | (last ? 0 : RTE_IPV4_HDR_MF_FLAG));
        return ipv4(kClient, mode.vip, IPPROTO_TCP, hops, part, id, bits);
    }

    // A segment of three fragments, as packets; the first has the ports.
    static std::vector<Frame> fragments(const Mode& mode, std::uint16_t id, std::uint8_t hops = kTtl) {
        const Frame segment = joined(tcp(1024 + id, kHttp, RTE_TCP_ACK_FLAG), bytes_counting_up(37));  // 64 bytes
        const auto part = [&](std::size_t from, std::size_t to) {
            return Frame(segment.begin() + static_cast<long>(from), segment.begin() + static_cast<long>(to));
        };
        return {fragment(mode, id, 0, part(0, 24), false, hops), fragment(mode, id, 24, part(24, 48), false, hops),
                fragment(mode, id, 48, part(48, 64), true, hops)};
    }

    static Frame tunnelled(const Mode& mode, const Frame& packet) {
        return ethernet(kBackendMac[mode.port], kPortMac[mode.port], RTE_ETHER_TYPE_IPV4,
                        ipv4(kNode4, mode.backend, IPPROTO_IPIP, kTtl, packet, 0));
    }

    void arrive4(const Frame& packet) {
        ports_.arrive(1, ethernet(kPortMac[1], kClientMac, RTE_ETHER_TYPE_IPV4, packet));
    }

    // Looks again until `count.FIELD` packets have ended so.
    BurstCount look_until(std::uint64_t BurstCount::* field, std::uint64_t wanted) {
        BurstCount all;
        for (const auto end = Clock::now() + kDeadline; all.*field < wanted && Clock::now() < end;) {
            const BurstCount count = worker_.look_again(keep());
            all.transmitted += count.transmitted;
            all.dropped += count.dropped;
            all.passed += count.passed;
        }
        return all;
    }
};

TEST_F(Exceptions, FragmentsInOrderWaitForNothing) {
    for (const Frame& packet : fragments(kTunnel4, 1)) arrive4(packet);
    EXPECT_EQ(run().transmitted, 3);
    EXPECT_EQ(node_.event(FL_EVENT_FRAGMENT_HELD), 0U);
    std::vector<Frame> expected;
    for (const Frame& packet : fragments(kTunnel4, 1, kTtl - 1)) expected.push_back(tunnelled(kTunnel4, packet));
    EXPECT_EQ(sent(2), expected);
    EXPECT_FALSE(worker_.holds());
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

TEST_F(Exceptions, FragmentsAreHeldForTheirFirst) {
    const std::vector<Frame> packets = fragments(kTunnel4, 2);
    arrive4(packets[2]);
    arrive4(packets[1]);
    EXPECT_EQ(run().transmitted, 0);
    EXPECT_TRUE(worker_.holds());
    EXPECT_EQ(ports_.buffers_in_use(), 2U);
    EXPECT_EQ(node_.event(FL_EVENT_FRAGMENT_HELD), 2U);

    arrive4(packets[0]);
    EXPECT_EQ(run().transmitted, 1);
    EXPECT_EQ(worker_.look_again(keep()).transmitted, 2);
    EXPECT_FALSE(worker_.holds());
    EXPECT_EQ(node_.event(FL_EVENT_FRAGMENT_RELEASED), 2U);
    EXPECT_EQ(node_.reason(FL_REASON_FRAGMENT_ORPHAN).packets, 0U);
    EXPECT_EQ(node_.backend(kTunnel4).packets, 3U);

    const std::vector<Frame> left = fragments(kTunnel4, 2, kTtl - 1);
    EXPECT_EQ(sent(2), (std::vector<Frame>{tunnelled(kTunnel4, left[0]), tunnelled(kTunnel4, left[2]),
                                           tunnelled(kTunnel4, left[1])}));
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

// The first comes by another worker, or in the XDP program: what it says lies in the tables.
TEST_F(Exceptions, AFirstThatAnotherSawReleasesToo) {
    BurstWorker other{node_.tables(), node_.join(), ports_.ports()};
    const std::vector<Frame> packets = fragments(kTunnel4, 3);
    arrive4(packets[1]);
    EXPECT_EQ(run().transmitted, 0);
    arrive4(packets[0]);
    EXPECT_EQ(other.run(1, 0, keep()).transmitted, 1);
    EXPECT_EQ(look_until(&BurstCount::transmitted, 1).transmitted, 1);
    EXPECT_EQ(sent(2).size(), 2U);
}

// Many datagrams, shuffled as a whole: none is lost, and each goes whole to one backend.
TEST_F(Exceptions, ShuffledDatagramsArriveWholeAtOneBackendEach) {
    std::vector<Frame> packets;
    for (std::uint16_t id = 0; id < 60; id++)
        for (const Frame& packet : fragments(kSpread4, id)) packets.push_back(packet);
    const std::size_t count = packets.size();
    std::uint32_t dice = 12345;
    for (std::size_t i = count; i > 1; i--) {
        dice = dice * 1664525 + 1013904223;
        std::swap(packets[i - 1], packets[(dice >> 16) % i]);
    }
    for (const Frame& packet : packets) arrive4(packet);
    while (run().received) worker_.look_again(keep());
    look_until(&BurstCount::transmitted, 0);
    for (const auto end = Clock::now() + kDeadline; worker_.holds() && Clock::now() < end;) worker_.look_again(keep());

    std::map<rte_be16_t, std::vector<rte_be32_t>> backends;
    for (const Frame& frame : sent(2)) {
        const auto outer = header_at<rte_ipv4_hdr>(frame, sizeof(rte_ether_hdr));
        const auto inner = header_at<rte_ipv4_hdr>(frame, sizeof(rte_ether_hdr) + sizeof(outer));
        backends[inner.packet_id].push_back(outer.dst_addr);
    }
    ASSERT_EQ(backends.size(), 60U);
    std::set<rte_be32_t> used;
    for (const auto& [id, of_datagram] : backends) {
        EXPECT_EQ(of_datagram, std::vector<rte_be32_t>(3, of_datagram.front())) << rte_be_to_cpu_16(id);
        used.insert(of_datagram.front());
    }
    EXPECT_EQ(used.size(), 2U);
    EXPECT_EQ(node_.reason(FL_REASON_FRAGMENT_ORPHAN).packets, 0U);
}

TEST_F(Exceptions, NobodyWaitsForEver) {
    arrive4(fragments(kTunnel4, 4)[1]);
    run();
    EXPECT_EQ(look_until(&BurstCount::dropped, 1).dropped, 1);
    EXPECT_EQ(node_.reason(FL_REASON_FRAGMENT_ORPHAN).packets, 1U);
    EXPECT_EQ(node_.event(FL_EVENT_FRAGMENT_RELEASED), 0U);
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

TEST_F(Exceptions, TheOldestGivesWay) {
    std::uint16_t dropped = 0;
    for (std::uint32_t id = 0; id < HeldFragments::kMost + 3; id++) {
        arrive4(fragments(kTunnel4, static_cast<std::uint16_t>(id))[1]);
        dropped += run().dropped;
    }
    EXPECT_EQ(dropped, 3);
    EXPECT_EQ(node_.reason(FL_REASON_FRAGMENT_ORPHAN).packets, 3U);
    EXPECT_EQ(ports_.buffers_in_use(), HeldFragments::kMost);
    for (std::uint16_t id : {2, 3}) arrive4(fragments(kTunnel4, id)[0]);
    run();
    worker_.look_again(keep());
    EXPECT_EQ(node_.event(FL_EVENT_FRAGMENT_RELEASED), 1U);  // of 3; that of 2 was the third to give way
}

// Bytes are bounded, not only numbers.
TEST_F(Exceptions, LargeFragmentsGiveWayEarlier) {
    constexpr std::size_t kLarge = 1400;
    constexpr std::size_t kFrame = sizeof(rte_ether_hdr) + sizeof(rte_ipv4_hdr) + kLarge;
    static_assert(HeldFragments::kMostBytes / kFrame > HeldFragments::kMost, "as many as fit by number");
    HeldFragments held;
    EXPECT_FALSE(held.give_way(HeldFragments::kMostBytes + 1));  // nobody there to give way
    rte_mempool* pool = rte_mempool_lookup("frames");
    const auto add = [&](std::uint16_t bytes) {
        rte_mbuf* mbuf = rte_pktmbuf_alloc(pool);
        rte_pktmbuf_append(mbuf, bytes);
        held.add(mbuf, 1, 0);
    };
    add(1000);
    add(500);
    EXPECT_FALSE(held.give_way(HeldFragments::kMostBytes - 1500));
    const auto oldest = held.give_way(HeldFragments::kMostBytes - 1499);
    ASSERT_TRUE(oldest);
    EXPECT_EQ(rte_pktmbuf_pkt_len(oldest->frame), 1000U);
    rte_pktmbuf_free(oldest->frame);
    EXPECT_FALSE(held.give_way(HeldFragments::kMostBytes - 1499));
}

class TooBig : public Exceptions, public ::testing::WithParamInterface<std::size_t> {
  protected:
    struct Piece {
        std::size_t offset;
        bool more;
        Frame payload;
        rte_be32_t backend;
    };

    // Takes a frame to a backend apart; everything about it that must hold of each is checked here.
    static Piece piece_of(const Frame& frame, const Frame& options) {
        const std::size_t outer_at = sizeof(rte_ether_hdr), inner_at = outer_at + sizeof(rte_ipv4_hdr);
        const auto outer = header_at<rte_ipv4_hdr>(frame, outer_at);
        const auto inner = header_at<rte_ipv4_hdr>(frame, inner_at);
        const std::size_t header = rte_ipv4_hdr_len(&inner), length = rte_be_to_cpu_16(inner.total_length);
        EXPECT_LE(rte_be_to_cpu_16(outer.total_length), kMtu);
        EXPECT_EQ(frame.size(), inner_at + length);
        EXPECT_EQ(rte_be_to_cpu_16(outer.total_length), sizeof(outer) + length);
        EXPECT_EQ(outer.next_proto_id, IPPROTO_IPIP);
        EXPECT_EQ(inner.time_to_live, kTtl - 1);
        EXPECT_EQ(rte_raw_cksum(frame.data() + outer_at, sizeof(outer)), 0xffff);
        EXPECT_EQ(rte_raw_cksum(frame.data() + inner_at, header), 0xffff);
        const std::uint16_t bits = rte_be_to_cpu_16(inner.fragment_offset);
        EXPECT_EQ(header, sizeof(inner) + (bits & RTE_IPV4_HDR_OFFSET_MASK ? 0 : options.size()));
        return {static_cast<std::size_t>(bits & RTE_IPV4_HDR_OFFSET_MASK) * 8U, (bits & RTE_IPV4_HDR_MF_FLAG) != 0,
                Frame(frame.begin() + static_cast<long>(inner_at + header), frame.end()), outer.dst_addr};
    }

    // The pieces of what left by port 2, put together.
    Frame together(std::size_t from, bool more_follow, const Frame& options = {}) {
        Frame payload;
        std::set<rte_be32_t> backends;
        const std::vector<Frame> frames = sent(2);
        EXPECT_GE(frames.size(), 2U);
        for (const Frame& frame : frames) {
            const Piece piece = piece_of(frame, options);
            EXPECT_EQ(piece.offset, from + payload.size());
            EXPECT_EQ(piece.more, more_follow || &frame != &frames.back());
            payload = joined(std::move(payload), piece.payload);
            backends.insert(piece.backend);
        }
        EXPECT_EQ(backends.size(), 1U);
        return payload;
    }
};

TEST_P(TooBig, IsFragmentedForATunnel) {
    const Frame segment = joined(tcp(4000, kHttp, RTE_TCP_ACK_FLAG), bytes_counting_up(GetParam() - 47));
    const Frame packet = ipv4(kClient, kSpread4.vip, IPPROTO_TCP, kTtl, segment, 0x4711, 0);
    ASSERT_EQ(packet.size(), GetParam());
    arrive4(packet);
    EXPECT_EQ(run().transmitted, 2);
    EXPECT_EQ(node_.event(FL_EVENT_FRAGMENTED), 1U);
    EXPECT_EQ(node_.reason(FL_REASON_TOO_BIG).packets, 0U);
    EXPECT_EQ(together(0, false), segment);
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}
// Just too big for 1500 bytes less the outer header, and as big as its interface lets it be.
INSTANTIATE_TEST_SUITE_P(Sizes, TooBig, ::testing::Values(1481, 1487, 1488, 1500));

TEST_F(TooBig, PaddingIsNoPartOfAPacket) {
    const Frame segment = joined(tcp(4001, kHttp, RTE_TCP_ACK_FLAG), bytes_counting_up(1453));
    Frame packet = ipv4(kClient, kSpread4.vip, IPPROTO_TCP, kTtl, segment, 1, 0);
    packet.resize(packet.size() + 6);
    arrive4(packet);
    run();
    EXPECT_EQ(together(0, false), segment);
}

TEST_F(TooBig, AFragmentIsFragmentedOnceMore) {
    const Frame start = joined(tcp(4002, kHttp, RTE_TCP_ACK_FLAG), bytes_counting_up(1453));  // 1480 bytes
    const Frame later = bytes_counting_up(1480);
    arrive4(fragment(kSpread4, 9, 0, start, false));
    run();
    EXPECT_EQ(together(0, true), start);
    arrive4(fragment(kSpread4, 9, 1480, later, false));
    run();
    EXPECT_EQ(together(1480, true), later);
    EXPECT_EQ(node_.event(FL_EVENT_FRAGMENTED), 2U);
}

// Held for its first, and too big when that has come.
TEST_F(TooBig, AHeldFragmentIsFragmented) {
    const Frame later = bytes_counting_up(1480);
    arrive4(fragment(kSpread4, 10, 24, later, true));
    EXPECT_EQ(run().transmitted, 0);
    arrive4(fragments(kSpread4, 10)[0]);
    run();
    sent(2);
    EXPECT_EQ(worker_.look_again(keep()).transmitted, 2);
    EXPECT_EQ(together(24, false), later);
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

TEST_F(TooBig, WithDfTheSenderIsToldInstead) {
    const Frame segment = joined(tcp(4003, kHttp, RTE_TCP_ACK_FLAG), bytes_counting_up(1453));
    arrive4(ipv4(kClient, kSpread4.vip, IPPROTO_TCP, kTtl, segment, 1, RTE_IPV4_HDR_DF_FLAG));
    EXPECT_EQ(run().transmitted, 1);
    EXPECT_EQ(node_.reason(FL_REASON_FRAG_NEEDED).packets, 1U);
    EXPECT_EQ(node_.event(FL_EVENT_FRAGMENTED), 0U);
}

// Options of the first piece (RFC 791 section 3.1: those without the copied bit stand there alone).
TEST_F(TooBig, OptionsStayWithTheFirst) {
    const Frame options = {7, 7, 4, 0, 0, 0, 0, 0};  // record route, room for one; end
    const Frame segment = joined(tcp(4004, kHttp, RTE_TCP_ACK_FLAG), bytes_counting_up(1445));
    Frame packet = ipv4(kClient, kSpread4.vip, IPPROTO_TCP, kTtl, joined(options, segment), 1, 0);
    auto header = header_at<rte_ipv4_hdr>(packet, 0);
    header.ihl = 7;
    header.hdr_checksum = 0;
    std::memcpy(packet.data(), &header, sizeof(header));
    header.hdr_checksum = static_cast<std::uint16_t>(~rte_raw_cksum(packet.data(), 28));
    std::memcpy(packet.data(), &header, sizeof(header));
    arrive4(packet);
    EXPECT_EQ(run().transmitted, 2);
    EXPECT_EQ(together(0, false, options), segment);
}

// 30 headers of destination options, 240 bytes, where the XDP program looks through six.
TEST_F(Exceptions, LongChainsAreFollowed) {
    Frame chain;
    for (int i = 0; i < 30; i++)
        chain = joined(std::move(chain), {static_cast<std::uint8_t>(i < 29 ? int{IPPROTO_DSTOPTS} : int{IPPROTO_TCP}),
                                          0, 1, 4, 0, 0, 0, 0});
    const Frame payload = joined(chain, tcp(5000, kHttp, RTE_TCP_SYN_FLAG));
    ports_.arrive(1, ethernet(kPortMac[1], kClientMac, RTE_ETHER_TYPE_IPV6,
                              ipv6("2001:db8:5::5", kDsr6.vip, IPPROTO_DSTOPTS, kTtl, payload)));
    EXPECT_EQ(run().transmitted, 1);
    EXPECT_EQ(sent(1),
              (std::vector<Frame>{ethernet(kBackendMac[1], kPortMac[1], RTE_ETHER_TYPE_IPV6,
                                           ipv6("2001:db8:5::5", kDsr6.vip, IPPROTO_DSTOPTS, kTtl - 1, payload))}));
    EXPECT_EQ(node_.reason(FL_REASON_EXTENSION_CHAIN).packets, 0U);
}

// A grace period ends while a worker forwards without a pause, and what began before it has left the tables by then.
TEST_F(Exceptions, GracePeriodsEndUnderLoad) {
    std::atomic<bool> stop = false;
    std::atomic<std::uint64_t> forwarded = 0;
    const auto end = Clock::now() + kDeadline;
    std::thread loop([&] {
        std::uint16_t source_port = 1024;
        while (!stop && Clock::now() < end) {
            for (std::uint16_t i = 0; i < kBurst; i++) ports_.arrive(1, arriving(kTunnel4.vip, source_port++));
            forwarded += run().transmitted;
            sent(2);
        }
    });
    for (int i = 0; i < 20; i++) {
        const std::uint64_t before = forwarded;
        while (forwarded == before && Clock::now() < end) std::this_thread::yield();
        EXPECT_TRUE(node_.grace().wait());
    }
    stop = true;
    loop.join();
    EXPECT_LT(Clock::now(), end);
    EXPECT_EQ(ports_.buffers_in_use(), 0U);
}

}  // namespace
}  // namespace fairlead::engine
