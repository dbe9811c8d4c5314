// SPDX-License-Identifier: Apache-2.0
// Captured packets: what the engines put into the rings, and what a reader makes of them.
#include "dataplane/tables/capture.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <functional>

#include "dataplane/tables/records.h"
#include "tests/unit/dataplane/core/steer_fixture.h"

namespace fairlead {
namespace {
using namespace test;

class CaptureRings : public Steer {
  protected:
    void SetUp() override {
        Steer::SetUp();
        if (IsSkipped()) return;
        // In the kernel a packet is dealt with by the caller's CPU: one ring alone is in use.
        cpu_set_t here;
        CPU_ZERO(&here);
        CPU_SET(static_cast<unsigned>(sched_getcpu()), &here);
        sched_getaffinity(0, sizeof(anywhere_), &anywhere_);
        sched_setaffinity(0, sizeof(here), &here);
        run(to(kDsr).bytes());          // loads the program, which may take longer than a lease
        now_ = tables::monotonic_ns();  // leases are given by this clock
    }
    void TearDown() override {
        if (!IsSkipped()) sched_setaffinity(0, sizeof(anywhere_), &anywhere_);
        Steer::TearDown();
    }

    tables::Capture begin(fl_capture_filter filter = {}) {
        if (!filter.per_second) filter.per_second = 1'000'000;
        auto capture = tables::Capture::create(*tables_, *grace_, filter).value();
        capture.renew();
        return capture;
    }

    // What is captured of one packet.
    std::vector<tables::Captured> captured_of(const Packet& packet, const fl_capture_filter& filter = {}) {
        auto capture = begin(filter);
        run(packet.bytes());
        return capture.read();
    }

    std::uint64_t entries_written() const {
        std::uint64_t sum = 0;
        for (std::uint32_t stride = 0; stride < tables_->limits().strides; ++stride)
            sum += reinterpret_cast<const fl_ring&>(tables_->rings()[FL_RING_LINE(stride)]).written;
        return sum;
    }

    // The entry that was written last, where there is but one ring in use.
    fl_capture_entry& last_entry() {
        for (std::uint32_t stride = 0;; ++stride) {
            const auto& ring = reinterpret_cast<const fl_ring&>(tables_->rings()[FL_RING_LINE(stride)]);
            if (!ring.written) continue;
            const auto at = FL_RING_LINE(stride) + 1 + (ring.written - 1) % FL_RING_ENTRIES * FL_ENTRY_LINES;
            return reinterpret_cast<fl_capture_entry&>(tables_->rings()[at]);
        }
    }

    static Packet to(std::uint16_t port) { return Ethernet{} / Ipv4{} / Tcp{.destination = port, .syn = true}; }
    std::uint32_t backend_of(const std::string& pool) {
        return writer_->global_index(writer_->find_pool(pool).value(), 0);
    }

    cpu_set_t anywhere_;
};

TEST_F(CaptureRings, NothingIsWrittenWhileNobodyCaptures) {
    for (const auto port : {kDsr, kIpip, kDown}) run(to(port).bytes());
    EXPECT_EQ(entries_written(), 0U);
    {
        const auto capture = begin();
    }
    run(to(kIpip).bytes());
    EXPECT_EQ(entries_written(), 0U) << "a capture that has ended";
    for (const auto& line : tables_->rings().subspan(1))
        for (const auto byte : line.bytes) ASSERT_EQ(byte, 0);
}

TEST_F(CaptureRings, ASteeredPacketIsKeptBeforeAndAfter) {
    const auto packet = Ethernet{} / Ipv4{} / Tcp{.destination = kIpip, .ack = true} / Payload{Bytes(400, 0xa5)};
    auto capture = begin();
    const auto out = run(packet.bytes());
    const auto captured = capture.read();
    ASSERT_EQ(captured.size(), 2U);
    const auto& before = captured[0].entry;
    const auto& after = captured[1].entry;
    EXPECT_EQ(before.stage, FL_CAPTURE_BEFORE);
    EXPECT_EQ(after.stage, FL_CAPTURE_AFTER);
    EXPECT_EQ(before.packet, after.packet);
    EXPECT_LE(before.time_ns, after.time_ns);
    for (const auto& entry : {before, after}) {
        EXPECT_EQ(entry.action, FL_ACTION_FORWARD);
        EXPECT_EQ(entry.forward, FL_FORWARD_IPIP);
        EXPECT_EQ(entry.chosen, 1);
        EXPECT_EQ(entry.backend, backend_of("ipip"));
        EXPECT_EQ(entry.pool, writer_->find_pool("ipip").value());
        EXPECT_EQ(entry.service, writer_->find_service(address(kVip), kIpip, 6).value());
        EXPECT_EQ(entry.ingress, 1);
        EXPECT_EQ(entry.kept, FL_CAPTURE_BYTES);
    }
    EXPECT_EQ(before.frame, packet.bytes().size());
    EXPECT_EQ(after.frame, packet.bytes().size() + 20);
    EXPECT_EQ(after.verdict, FL_VERDICT_TRANSMIT);
    EXPECT_EQ(after.egress, 1);
    const auto beginning = [](Bytes bytes) { return bytes.resize(FL_CAPTURE_BYTES), hex(bytes); };
    EXPECT_EQ(hex(captured[0].bytes), beginning(packet.bytes()));
    EXPECT_EQ(hex(captured[1].bytes), beginning(out.bytes));
    EXPECT_EQ(capture.counts().matched, 1U);
}

// Whatever is left over of a word.
TEST_F(CaptureRings, EveryByteOfAShortFrameIsKept) {
    for (std::size_t extra = 0; extra < 18; ++extra) {
        const auto packet = Ethernet{} / Ipv4{} / Tcp{.ack = true} / Payload{Bytes(extra, 0x5a)};
        const auto captured = captured_of(packet);
        ASSERT_EQ(captured.size(), 2U);
        EXPECT_EQ(hex(captured[0].bytes), hex(packet.bytes()));
    }
    const auto captured = captured_of(Ethernet{} / Ipv4{} / Tcp{.ack = true} / Payload{Bytes(256 - 54, 1)});
    EXPECT_EQ(captured[0].bytes.size(), 256U);
    EXPECT_EQ(captured[0].entry.frame, 256U);
}

TEST_F(CaptureRings, WhatIsDroppedIsNotThereAfterwards) {
    const auto captured = captured_of(to(kUnresolved));
    ASSERT_EQ(captured.size(), 1U);
    EXPECT_EQ(captured[0].entry.stage, FL_CAPTURE_BEFORE);
    EXPECT_EQ(captured[0].entry.action, FL_ACTION_DROP);
    EXPECT_EQ(captured[0].entry.reason, FL_REASON_NO_NEIGHBOUR);
    EXPECT_EQ(captured[0].entry.backend, backend_of("unresolved"));
}

TEST_F(CaptureRings, AnAnswerIsWhatThePacketBecomes) {
    auto capture = begin();
    const auto out = run(to(kDown).bytes());
    const auto captured = capture.read();
    ASSERT_EQ(captured.size(), 2U);
    EXPECT_EQ(captured[0].entry.action, FL_ACTION_ANSWER);
    EXPECT_EQ(captured[0].entry.reason, FL_REASON_RESET);
    EXPECT_EQ(captured[1].entry.verdict, FL_VERDICT_TRANSMIT);
    EXPECT_EQ(hex(captured[1].bytes), hex(out.bytes));
}

TEST_F(CaptureRings, WhatIsForTheHostOrALocalBackend) {
    EXPECT_TRUE(captured_of(Ethernet{} / Ipv4{.destination = "198.51.100.200"} / Tcp{}).empty()) << "for no VIP";
    const auto captured = captured_of(to(kLocal));
    ASSERT_EQ(captured.size(), 2U);
    EXPECT_EQ(captured[0].entry.action, FL_ACTION_LOCAL);
    EXPECT_EQ(captured[1].entry.verdict, FL_VERDICT_PASS);
    EXPECT_EQ(captured[1].entry.egress, 0);
}

TEST_F(CaptureRings, TheCountersDoNotKnowWhetherSomebodyLooks) {
    const auto packet = Ethernet{} / Ipv4{} / Tcp{.syn = true} / Payload{"hello"};
    const auto seen = (onward() / Ipv4{.ttl = 63} / Tcp{.syn = true} / Payload{"hello"}).bytes();
    const auto capture = begin();
    expect_steered(packet, "dsr", kDsr, false, FL_VERDICT_TRANSMIT, seen, true);
    expect_drop(to(kUnresolved), FL_REASON_NO_NEIGHBOUR);
}

// --- The filter ---

TEST_F(CaptureRings, TheFilterSeesWhatIsDecided) {
    struct Case {
        const char* what;
        std::function<void(fl_capture_filter&)> set;
        Packet in, out;
    };
    const auto client = [](const char* network, const char* mask) {
        return [=](fl_capture_filter& f) {
            f.client = tables::to_record(address(network));
            f.client_mask = tables::to_record(address(mask));
            if (address(network).is_v4())
                std::fill(std::begin(f.client_mask.bytes), std::begin(f.client_mask.bytes) + 12, std::uint8_t{0xff});
        };
    };
    const auto from4 = [](const char* source) { return Ethernet{} / Ipv4{.source = source} / Tcp{.ack = true}; };
    const auto from6 = [](const char* source) { return Ethernet{} / Ipv6{.source = source} / Tcp{.ack = true}; };
    const auto udp = Ethernet{} / Ipv4{} / Udp{};
    const auto echo = Ethernet{} / Ipv4{} / Icmp{} / Payload{"ping"};
    const auto vip6 = Ethernet{} / Ipv6{} / Tcp{.ack = true};
    const std::vector<Case> cases{
        {"vip", [&](auto& f) { f.vip = writer_->find_vip(address(kVip)).value(); }, to(kDsr), vip6},
        {"pool", [&](auto& f) { f.pool = writer_->find_pool("ipip").value(); }, to(kIpip), to(kDsr)},
        {"port", [](auto& f) { f.port = fl_htons(kIpip); }, to(kIpip), to(kDsr)},
        {"udp", [](auto& f) { f.protocol = 17; }, udp, to(kDsr)},
        {"tcp", [](auto& f) { f.protocol = 6; }, to(kDsr), udp},
        {"icmp", [](auto& f) { f.protocol = 1; }, echo, to(kDsr)},
        {"backend", [&](auto& f) { f.backend = backend_of("ipip"), f.by = FL_CAPTURE_BY_BACKEND; }, to(kIpip),
         to(kDsr)},
        {"no backend", [&](auto& f) { f.backend = backend_of("dsr"), f.by = FL_CAPTURE_BY_BACKEND; }, to(kDsr),
         to(kDown)},
        {"action", [](auto& f) { f.action = FL_ACTION_DROP, f.by = FL_CAPTURE_BY_ACTION; }, to(kUnresolved), to(kDsr)},
        {"reason", [](auto& f) { f.reason = FL_REASON_RESET, f.by = FL_CAPTURE_BY_REASON; }, to(kDown), to(kDsr)},
        {"no reason", [](auto& f) { f.reason = FL_REASON_NO_NEIGHBOUR, f.by = FL_CAPTURE_BY_REASON; }, to(kUnresolved),
         to(kDown)},
        {"client", client("198.51.100.0", "255.255.255.0"), from4("198.51.100.7"), from4("203.0.113.7")},
        {"one client", client("198.51.100.7", "255.255.255.255"), from4("198.51.100.7"), from4("198.51.100.8")},
        {"a client of the other family", client("198.51.100.0", "255.255.255.0"), from4("198.51.100.7"), vip6},
        {"client6", client("2001:db8:ffff::", "ffff:ffff:ffff::"), from6("2001:db8:ffff::7"),
         from6("2001:db8:fffe::7")},
    };
    for (const auto& c : cases) {
        fl_capture_filter filter{};
        c.set(filter);
        EXPECT_FALSE(captured_of(c.in, filter).empty()) << c.what;
        EXPECT_TRUE(captured_of(c.out, filter).empty()) << c.what;
    }
}

TEST_F(CaptureRings, OneInSoMany) {
    fl_capture_filter filter{};
    filter.one_in = 4;
    filter.port = fl_htons(kDsr);
    auto capture = begin(filter);
    for (int i = 0; i < 40; ++i) run(to(kDsr).bytes()), run(to(kIpip).bytes());
    EXPECT_EQ(capture.read().size(), 2U * 10);
    EXPECT_EQ(capture.counts().matched, 40U);
}

TEST_F(CaptureRings, TheRateIsBounded) {
    fl_capture_filter filter{};
    filter.per_second = 40;  // and ten, and one, at once
    auto capture = begin(filter);
    for (int i = 0; i < 30; ++i) run(to(kDsr).bytes());
    const auto captured = capture.read().size() / 2;
    EXPECT_GE(captured, 11U);
    EXPECT_LT(captured, 30U) << "30 packets within much less than a second";
    EXPECT_EQ(capture.counts().matched, 30U);
    EXPECT_EQ(capture.counts().limited, 30U - captured);
}

// --- The rings ---

TEST_F(CaptureRings, WhatIsOverwrittenIsCounted) {
    auto capture = begin();
    constexpr unsigned kPackets = FL_RING_ENTRIES;  // twice as many entries
    for (unsigned i = 0; i < kPackets; ++i)
        run((Ethernet{} / Ipv4{.id = static_cast<std::uint16_t>(i)} / Tcp{.ack = true}).bytes());
    const auto captured = capture.read();
    ASSERT_EQ(captured.size(), FL_RING_ENTRIES);
    EXPECT_EQ(capture.counts().overwritten, 2 * kPackets - FL_RING_ENTRIES);
    EXPECT_EQ(captured.back().bytes[19], (kPackets - 1) & 0xff) << "the newest are there";
    EXPECT_TRUE(capture.read().empty()) << "once only";
}

// As a reader finds an entry that is being written, or was meanwhile.
TEST_F(CaptureRings, AnEntryThatIsNotWholeIsNotRead) {
    for (const std::uint64_t sequence : {0, 77}) {
        auto capture = begin();
        run(to(kDsr).bytes());
        last_entry().sequence = sequence;
        EXPECT_EQ(capture.read().size(), 1U);
        EXPECT_EQ(capture.counts().overwritten, 1U);
    }
}

TEST_F(CaptureRings, OneCaptureDoesNotSeeTheEntriesOfAnother) {
    auto capture = begin();
    run(to(kDsr).bytes());
    last_entry().capture += 7;
    EXPECT_EQ(capture.read().size(), 1U);
    run(to(kDsr).bytes());
    EXPECT_TRUE(begin().read().empty()) << "what is older";
}

TEST_F(CaptureRings, ACaptureThatIsNotRenewedEnds) {
    auto capture = begin();
    tables_->meta().capture_until_ns = now_ - 1;
    run(to(kDsr).bytes());
    EXPECT_TRUE(capture.read().empty());
    EXPECT_EQ(tables_->meta().capture_until_ns, 0U) << "nor does it cost anything any more";
    now_ = tables::monotonic_ns();
    capture.renew();
    run(to(kDsr).bytes());
    EXPECT_EQ(capture.read().size(), 2U) << "who was stopped for a while goes on";
}

TEST_F(CaptureRings, TablesWithoutRoomForItAreRefused) {
    auto limits = tables::limits_for({64, 64, 64, 128, 1 << 16, 64}, 1);
    limits.rings = 64;
    auto small = tables::Tables::create_anonymous(limits).value();
    const auto grace = tables::make_grace(small).value();
    const auto capture = tables::Capture::create(small, *grace, {});
    ASSERT_FALSE(capture.has_value());
    EXPECT_EQ(capture.error().code, ENOTSUP);
}

}  // namespace
}  // namespace fairlead
