// SPDX-License-Identifier: Apache-2.0
// What the XDP program hands over to lb-dpdk, while that listens: as it came, counted as handed over and as nothing else,
// and not more of it than allowed.
#include "tests/unit/dataplane/core/steer_fixture.h"

namespace fairlead {
namespace {
using namespace test;

constexpr std::uint64_t kSecond = 1'000'000'000;

class Exceptions : public Steer {
  protected:
    void SetUp() override {
        Steer::SetUp();
        ok(writer_->set_exception_rate(4));
    }

    fl_verdict verdict_of(const Packet& packet) {
        auto frame = packet.bytes();
        const auto sent = frame;
        fl_engine engine = tables_->engine();
        engine.ingress_port = 1;
        engine.now_ns = engine.now_coarse_ns = now_;
        engine.hands_over = listens_;
        fl_packet p{frame.data(), frame.data() + frame.size()};
        std::uint32_t port = 0;
        const auto verdict = fl_steer(&engine, &p, &port);
        EXPECT_EQ(hex(frame), hex(sent));
        return verdict;
    }

    // All that lb-dpdk can do better with, and how it ends without.
    struct Case {
        Packet packet;
        fl_reason reason;
    };
    static std::vector<Case> cases() {
        const Ipv4 late{.id = 9, .dont_fragment = false, .offset = 20, .protocol = 17};
        Packet chain = Ethernet{} / Ipv6{};
        for (int i = 0; i < 7; ++i) chain = chain / Extension{.kind = 60};
        return {{Ethernet{} / late / Payload{"rest"}, FL_REASON_FRAGMENT_ORPHAN},
                {Ethernet{} / Ipv6{} / Fragment{.offset = 9, .more = false, .next = 17} / Payload{"rest"},
                 FL_REASON_FRAGMENT_ORPHAN},
                {chain / Tcp{.destination = kDsr}, FL_REASON_EXTENSION_CHAIN},
                {Ethernet{} / Ipv4{.dont_fragment = false} / Tcp{.destination = kSmall} / Payload{Bytes(100, 'x')},
                 FL_REASON_TOO_BIG}};
    }

    std::uint64_t counted(fl_reason reason) const { return tables::CounterReader(*tables_).reason(reason).packets; }

    std::uint8_t listens_ = 1;
};

TEST_F(Exceptions, GoToLbDpdkWhereItListens) {
    std::uint64_t handed = 0;
    for (const auto& [packet, reason] : cases()) {
        now_ += kSecond;
        const auto before = total();
        EXPECT_EQ(verdict_of(packet), FL_VERDICT_EXCEPTION) << reason;
        EXPECT_EQ(counted(FL_REASON_EXCEPTION), ++handed);
        EXPECT_EQ(total(), before + 1) << "counted elsewhere too";
    }
}

TEST_F(Exceptions, EndAsEverWhereNobodyListens) {
    listens_ = 0;
    for (const auto& [packet, reason] : cases()) {
        const auto before = counted(reason);
        EXPECT_EQ(verdict_of(packet), FL_VERDICT_DROP);
        EXPECT_EQ(counted(reason), before + 1);
    }
    EXPECT_EQ(counted(FL_REASON_EXCEPTION), 0U);
}

// A bucket holds a quarter of a second's worth and one.
TEST_F(Exceptions, AreLimitedInRate) {
    const auto [packet, reason] = cases().front();
    now_ += kSecond;
    EXPECT_EQ(verdict_of(packet), FL_VERDICT_EXCEPTION);
    EXPECT_EQ(verdict_of(packet), FL_VERDICT_EXCEPTION);
    EXPECT_EQ(verdict_of(packet), FL_VERDICT_DROP);
    EXPECT_EQ(counted(reason), 1U);
    EXPECT_EQ(tables::CounterReader(*tables_).event(FL_EVENT_EXCEPTION_LIMITED), 1U);
    now_ += kSecond / 4;
    EXPECT_EQ(verdict_of(packet), FL_VERDICT_EXCEPTION);
    ok(writer_->set_exception_rate(0));
    now_ += kSecond;
    EXPECT_EQ(verdict_of(packet), FL_VERDICT_DROP);
}

// With a local VIP the host gets an orphan, but where lb-dpdk listens it may be another backend's.
TEST_F(Exceptions, ComeBeforeTheHost) {
    local_vip_ = true;
    apply(desired());
    now_ += kSecond;
    const auto [packet, reason] = cases().front();
    EXPECT_EQ(verdict_of(packet), FL_VERDICT_EXCEPTION);
    listens_ = 0;
    EXPECT_EQ(verdict_of(packet), FL_VERDICT_PASS);
}

TEST_F(Exceptions, WhatAnyEngineCanDoIsNone) {
    now_ += kSecond;
    EXPECT_EQ(verdict_of(Ethernet{} / Ipv4{.destination = "192.0.2.77", .offset = 20} / Payload{"rest"}),
              FL_VERDICT_PASS);
    // With DF the sender is told.
    const auto big = (Ethernet{} / Ipv4{} / Tcp{.destination = kSmall} / Payload{Bytes(100, 'x')}).bytes();
    EXPECT_EQ(run(big).verdict, FL_VERDICT_TRANSMIT);
    EXPECT_EQ(counted(FL_REASON_FRAG_NEEDED), 1U);
    EXPECT_EQ(counted(FL_REASON_EXCEPTION), 0U);
}

}  // namespace
}  // namespace fairlead
