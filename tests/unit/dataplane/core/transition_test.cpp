// SPDX-License-Identifier: Apache-2.0
// Slots in transition and pins (DESIGN section 6): each rule and each hard case by its name, in plain memory and, as suite
// 'bpf', in the kernel. Slot words are written as the controller would write them.
#include <set>
#include <utility>

#include "tests/unit/dataplane/core/steer_fixture.h"

namespace fairlead {
namespace {
using namespace test;

constexpr std::uint16_t kWeb = 8000, kOtherPort = 8001;
constexpr std::uint16_t kA = 0, kB = 1, kC = 2;
constexpr std::uint64_t kUnit = std::uint64_t{1} << FL_PIN_TIME_SHIFT;

class Transition : public Steer {
  protected:
    void SetUp() override {
        Steer::SetUp();
        if (IsSkipped()) return;
        tables::Desired d;
        d.vips.push_back({.address = address(kVip), .reset = true});
        tables::DesiredPool pool{
            .name = "web", .flags = FL_POOL_ALL_DOWN_RESET | pool_flags_, .slots = 16, .backends = {}};
        for (const auto* name : {"a", "b", "c"})
            pool.backends.push_back(
                {.name = name, .address = address("203.0.113." + std::to_string(name[0] - 'a' + 1))});
        d.pools.push_back(pool);
        for (const std::uint8_t protocol : {6, 17})
            d.services.push_back({"web" + std::to_string(protocol), address(kVip), kWeb, protocol, "web"});
        d.services.push_back({"other", address(kVip), kOtherPort, 6, "web"});
        const auto report = writer_->apply(d);
        ASSERT_TRUE(report.has_value()) << report.error().message;
        pool_ = writer_->find_pool("web").value();
        for (const std::uint16_t backend : {kA, kB, kC}) {
            hops_[backend] = writer_->allocate_nexthop().value();
            ok(writer_->set_nexthop(hops_[backend],
                                    MacAddress::parse("02:00:00:00:0b:0" + std::to_string(backend)).value(), 1));
            set_state(backend, FL_BACKEND_HEALTHY);
        }
        set_slots(FL_SLOT_SETTLED(kA));
    }

    void set_state(std::uint16_t backend, fl_backend_state state) {
        ok(writer_->set_backend_state(pool_, backend, state, 1500, hops_[backend]));
    }
    // Of all slots of the pool.
    void set_slots(std::uint32_t word) {
        const auto slots = tables_->pools()[pool_].slots;
        const auto base = FL_SLOTS_BASE(slots);
        for (std::uint32_t slot = base; slot <= base + FL_SLOTS_MASK(slots); ++slot)
            tables_->slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE] = word;
    }
    void move(std::uint16_t owner, std::uint16_t previous, bool learning = false) {
        set_slots(FL_SLOT_WORD(owner, previous, 1, learning));
    }

    // Which backend a frame went to; -1: none.
    int to(const Packet& packet) {
        const auto out = run(packet.bytes());
        return out.verdict == FL_VERDICT_TRANSMIT && out.bytes[4] == 0x0b ? out.bytes[5] : -1;
    }
    static Packet segment(std::uint16_t port, Tcp tcp) {
        tcp.source = port;
        tcp.destination = kWeb;
        return Ethernet{} / Ipv4{} / tcp;
    }
    int syn(std::uint16_t port) { return to(segment(port, {.syn = true})); }
    int data(std::uint16_t port) { return to(segment(port, {.ack = true})); }
    int fin(std::uint16_t port) { return to(segment(port, {.ack = true, .fin = true})); }
    int datagram(std::uint16_t port) { return to(Ethernet{} / Ipv4{} / Udp{.source = port, .destination = kWeb}); }

    std::vector<std::uint64_t> pins() const {
        std::vector<std::uint64_t> words;
        for (const auto& bucket : tables_->pins())
            for (const auto word : bucket.words)
                if (word) words.push_back(word);
        return words;
    }
    // The only pin there is.
    void expect_pin(std::uint16_t backend, fl_pin_state state) {
        const auto words = pins();
        ASSERT_EQ(words.size(), 1U);
        EXPECT_EQ(FL_PIN_BACKEND(words[0]), writer_->global_index(pool_, backend));
        EXPECT_EQ(FL_PIN_STATE(words[0]), static_cast<std::uint32_t>(state));
    }
    // How many bytes were set; none is then.
    int take_dirty() {
        int set = 0;
        for (auto& line : tables_->dirty())
            for (auto& byte : line.groups) set += std::exchange(byte, 0) != 0;
        return set;
    }
    // One byte is set, and it is that of the only pin of this state.
    void expect_dirty_where_pinned(fl_pin_state state) {
        std::set<std::uint32_t> groups;
        for (std::uint32_t bucket = 0; bucket < tables_->pins().size(); ++bucket)
            for (const auto word : tables_->pins()[bucket].words)
                if (FL_PIN_STATE(word) == state) groups.insert(bucket / FL_DIRTY_BUCKETS);
        ASSERT_EQ(groups.size(), 1U);
        EXPECT_EQ(tables_->dirty()[*groups.begin() / FL_DIRTY_BYTES].groups[*groups.begin() % FL_DIRTY_BYTES], 1);
        EXPECT_EQ(take_dirty(), 1);
    }
    bool stamped(std::uint32_t fl_stamp::* which) const {
        for (const auto& stamp : tables_->stamps())
            if (stamp.*which) return true;
        return false;
    }
    std::uint64_t events(fl_event event) const { return tables::CounterReader(*tables_).event(event); }

    std::uint32_t pool_ = 0, pool_flags_ = 0;
    std::array<std::uint32_t, 3> hops_{};
};

TEST_F(Transition, ASettledSlotHasNoStateWhateverArrives) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    const auto before = pins();
    set_slots(FL_SLOT_SETTLED(kC));
    for (const auto result : {syn(1), data(1), fin(1), datagram(1), data(2)}) EXPECT_EQ(result, kC);
    EXPECT_EQ(pins(), before);
}

TEST_F(Transition, ANewConnectionIsTheOwnersAndStaysThere) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    expect_pin(kB, FL_PIN_PROBATION);
    EXPECT_EQ(data(1), kB);
    expect_pin(kB, FL_PIN_CONFIRMED);
    EXPECT_EQ(events(FL_EVENT_PIN_INSERTED), 1U);
    move(kC, kA);  // twice in one transition
    EXPECT_EQ(data(1), kB);
    move(kA, kA);  // and back to the start
    EXPECT_EQ(data(1), kB);
    EXPECT_TRUE(stamped(&fl_stamp::pin_used));
}

TEST_F(Transition, AnOldConnectionStaysAtThePreviousAndIsStamped) {
    move(kB, kA);
    EXPECT_EQ(data(1), kA);
    EXPECT_EQ(to(segment(1, {.syn = true, .ack = true})), kA) << "a SYN-ACK is not a SYN";
    EXPECT_TRUE(pins().empty());
    EXPECT_TRUE(stamped(&fl_stamp::previous_used));
    EXPECT_FALSE(stamped(&fl_stamp::pin_used));
    EXPECT_EQ(events(FL_EVENT_PREVIOUS), 2U);
}

TEST_F(Transition, ASynSentAgainAcrossAChangeFollowsItsPin) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    move(kC, kA);
    EXPECT_EQ(syn(1), kB);
    EXPECT_EQ(syn(2), kC);
    EXPECT_EQ(data(1), kB);
    EXPECT_EQ(data(2), kC);
}

TEST_F(Transition, TheDeadHaveNoPinsAndNoPast) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    EXPECT_EQ(data(1), kB);
    set_state(kB, FL_BACKEND_DEAD);
    move(kC, kA);
    EXPECT_EQ(data(1), kA) << "its pin is void: as if it had none";
    set_state(kA, FL_BACKEND_DEAD);
    EXPECT_EQ(data(2), kC) << "the new owner resets it at once";
    EXPECT_EQ(syn(3), kC);
    set_state(kA, FL_BACKEND_HEALTHY);
    EXPECT_EQ(data(2), kA) << "dead, and back";
}

TEST_F(Transition, ASynFollowsADrainingBackendAndNoUnhealthyOne) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    set_state(kB, FL_BACKEND_DRAINING);
    move(kC, kA);
    EXPECT_EQ(syn(1), kB);
    set_state(kB, FL_BACKEND_UNHEALTHY);
    EXPECT_EQ(data(1), kB) << "an open connection is kept for its time of grace";
    EXPECT_EQ(syn(1), kC);
    expect_pin(kC, FL_PIN_PROBATION);
}

TEST_F(Transition, CleaningUpFreesWhatTheSlotItselfSays) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    EXPECT_EQ(syn(2), kB);
    move(kC, kA);
    EXPECT_EQ(syn(3), kC);
    move(kC, kC);  // clean-up
    EXPECT_EQ(data(3), kC);
    EXPECT_EQ(pins().size(), 2U) << "its own pin has gone";
    EXPECT_EQ(data(1), kB);
    EXPECT_EQ(pins().size(), 2U);
    EXPECT_EQ(data(9), kC);
    EXPECT_EQ(syn(9), kC);
    EXPECT_EQ(pins().size(), 2U) << "none is made";
    EXPECT_EQ(syn(2), kB) << "its handshake is not over";
    set_state(kB, FL_BACKEND_UNHEALTHY);
    EXPECT_EQ(syn(2), kC);
    EXPECT_EQ(data(2), kC) << "the stale pin was repaired by the SYN";
    EXPECT_EQ(pins().size(), 1U);
}

TEST_F(Transition, TheOwnersPinsStayWhileAnEngineMayHoldTheWordBefore) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    EXPECT_EQ(data(1), kB);
    move(kB, kB, true);
    EXPECT_EQ(data(1), kB);
    EXPECT_EQ(pins().size(), 1U);
    move(kB, kA);  // as that engine sees it
    EXPECT_EQ(data(1), kB);
    move(kB, kB);
    EXPECT_EQ(data(1), kB);
    EXPECT_TRUE(pins().empty());
}

TEST_F(Transition, APinOfTheDeadIsNotFoundAgainWhenTheyAreBack) {
    move(kB, kA);
    EXPECT_EQ(datagram(1), kB);
    move(kC, kC);
    set_state(kB, FL_BACKEND_DEAD);
    EXPECT_EQ(datagram(1), kC);
    set_state(kB, FL_BACKEND_HEALTHY);
    EXPECT_EQ(datagram(1), kC);
}

TEST_F(Transition, APinOfTheDeadIsNotFoundAgainInTheTransitionEither) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB) << "sent again; its connection is A's, which answered the first";
    set_state(kB, FL_BACKEND_DEAD);
    EXPECT_EQ(data(1), kA);
    set_state(kB, FL_BACKEND_HEALTHY);
    EXPECT_EQ(data(1), kA);
    EXPECT_TRUE(pins().empty());
}

TEST_F(Transition, FinAndResetMakeAPinClosingAndKeepIt) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    EXPECT_EQ(fin(1), kB);
    expect_pin(kB, FL_PIN_CLOSING);
    EXPECT_EQ(data(1), kB) << "the last acknowledgement";
    expect_pin(kB, FL_PIN_CLOSING);
    move(kC, kA);
    EXPECT_EQ(syn(1), kC) << "the tuple is used again";
    expect_pin(kC, FL_PIN_PROBATION);
    EXPECT_EQ(to(segment(1, {.ack = true, .rst = true})), kC);
    expect_pin(kC, FL_PIN_CLOSING);
}

TEST_F(Transition, WhatIsNotOfThisPoolIsNotFollowed) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    auto& word = *[&]() -> __u64* {
        for (auto& bucket : tables_->pins())
            for (auto& candidate : bucket.words)
                if (candidate) return &candidate;
        return nullptr;
    }();
    word = FL_PIN_WORD(FL_PIN_SIGNATURE(word), 0xfffff, FL_PIN_CONFIRMED, FL_PIN_TIME(word));
    EXPECT_EQ(data(1), kA);
}

TEST_F(Transition, WithoutAnOwnerNewOnesAreRefusedAndOldOnesGoOn) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    set_slots(FL_SLOT_WORD(FL_NO_BACKEND, kA, 1, 0));
    EXPECT_EQ(data(1), kB);
    EXPECT_EQ(data(2), kA);
    EXPECT_EQ(syn(3), -1);
    EXPECT_EQ(pins().size(), 1U);
    set_slots(FL_SLOT_WORD(kC, FL_NO_BACKEND, 1, 0));
    EXPECT_EQ(data(2), kC);
    EXPECT_EQ(syn(3), kC);
}

TEST_F(Transition, DatagramsOfOldFlowsAreLearnt) {
    move(kB, kA, true);
    EXPECT_EQ(datagram(1), kA);
    expect_pin(kA, FL_PIN_PROBATION);
    EXPECT_TRUE(stamped(&fl_stamp::previous_used));
    move(kB, kA, false);
    EXPECT_EQ(datagram(1), kA);
    expect_pin(kA, FL_PIN_CONFIRMED);
    EXPECT_EQ(datagram(2), kB) << "nobody knew it while the slot was learning: it is new";
    EXPECT_EQ(pins().size(), 2U);
    move(kC, kB, false);
    EXPECT_EQ(datagram(1), kA);
    EXPECT_EQ(datagram(2), kB);
}

TEST_F(Transition, APacketThatLeavesTheSteadyPathMovesOnce) {
    move(kB, kA);
    const auto short_lived = [](std::uint16_t port) {
        return Ethernet{} / Ipv4{.ttl = 1} / Udp{.source = port, .destination = kWeb};
    };
    EXPECT_EQ(to(short_lived(1)), -1);
    expect_pin(kB, FL_PIN_PROBATION);
    EXPECT_EQ(events(FL_EVENT_PIN_INSERTED), 1U);
    EXPECT_EQ(to(Ethernet{} / Ipv4{.ttl = 1} / Tcp{.source = 2, .destination = kWeb, .ack = true}), -1);
    EXPECT_EQ(events(FL_EVENT_PREVIOUS), 1U);
    EXPECT_EQ(datagram(1), kB) << "and the next packet makes its own";
    expect_pin(kB, FL_PIN_CONFIRMED);
    EXPECT_EQ(data(3), kA);
    EXPECT_EQ(events(FL_EVENT_PREVIOUS), 2U);
}

TEST_F(Transition, AnIcmpErrorLooksUpAndNeverWrites) {
    const auto error = [&](std::uint16_t port) {
        const auto sent = Ethernet{} / Ipv4{.source = kVip, .destination = kClient} /
                          Tcp{.source = kWeb, .destination = port, .syn = true, .rst = true};
        return to(Ethernet{} / Ipv4{.source = "203.0.113.9"} / Icmp{.type = 3, .code = 1} / Payload{quoted(sent, 40)});
    };
    move(kB, kA);
    EXPECT_EQ(error(1), kA);
    EXPECT_FALSE(stamped(&fl_stamp::previous_used));
    EXPECT_EQ(syn(1), kB);
    const auto before = pins();
    EXPECT_EQ(error(1), kB);
    EXPECT_EQ(pins(), before);
}

TEST_F(Transition, LaterFragmentsFollowThePinOfTheirFlow) {
    move(kB, kA);
    const Ipv4 first{.id = 4, .dont_fragment = false, .more_fragments = true};
    Ipv4 later = first;
    later.offset = 3;
    later.protocol = 6;
    EXPECT_EQ(to(Ethernet{} / first / Tcp{.source = 1, .destination = kWeb, .syn = true}), kB);
    EXPECT_EQ(to(Ethernet{} / later / Payload{"rest"}), kB);
    expect_pin(kB, FL_PIN_CONFIRMED);
}

// The rows of DESIGN section 6, "Hard cases", under their names there.
class HardCase : public Transition {};

TEST_F(HardCase, SlowSynAckAndASynRetransmittedAcrossAChange) {
    EXPECT_EQ(syn(1), kA);
    EXPECT_EQ(syn(2), kA);
    move(kB, kA);
    EXPECT_EQ(syn(1), kB) << "the first answer is still on its way";
    EXPECT_EQ(data(1), kB) << "if it was A's, this handshake fails; if it was B's, it does not";
    EXPECT_EQ(data(2), kA) << "an established connection stays";
    EXPECT_EQ(syn(3), kB);
    move(kC, kA);
    EXPECT_EQ(syn(3), kB) << "known by its pin";
    EXPECT_EQ(data(3), kB);
    EXPECT_EQ(data(2), kA);
}

TEST_F(HardCase, PDeadAndBack) {
    move(kB, kA);
    EXPECT_EQ(data(1), kA);
    EXPECT_EQ(syn(2), kB);
    set_state(kA, FL_BACKEND_DEAD);
    move(kB, kB, true);  // as the controller does at once
    EXPECT_EQ(data(1), kB);
    EXPECT_EQ(data(2), kB);
    set_state(kA, FL_BACKEND_HEALTHY);
    EXPECT_EQ(data(1), kB) << "what began anew at B stays there";
    move(kA, kB);
    EXPECT_EQ(data(1), kB);
    EXPECT_EQ(data(2), kB);
    EXPECT_EQ(syn(3), kA);
}

TEST_F(HardCase, OwnerChangedTwiceThriceAndBackToTheStart) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    move(kC, kA);
    EXPECT_EQ(syn(2), kC);
    move(kB, kA);
    EXPECT_EQ(syn(3), kB);
    move(kA, kA, true);
    EXPECT_EQ(syn(4), kA);
    for (const bool learning : {true, false}) {
        move(kA, kA, learning);
        EXPECT_EQ(data(1), kB);
        EXPECT_EQ(data(2), kC);
        EXPECT_EQ(data(3), kB);
        EXPECT_EQ(data(4), kA);
        EXPECT_EQ(data(5), kA) << "of before it all";
    }
    move(kC, kA);
    EXPECT_EQ(data(1), kB);
    EXPECT_EQ(data(2), kC);
    EXPECT_EQ(data(4), kA);
}

TEST_F(HardCase, BackendRemovedAndReAddedUnderAnotherIndex) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    EXPECT_EQ(data(1), kB);
    auto& removed = tables_->backends()[writer_->global_index(pool_, kB)];
    const auto was = removed;
    removed.pool = 0;
    move(kC, kA);  // as which it came back
    EXPECT_EQ(data(1), kA) << "the pin names nobody";
    EXPECT_EQ(syn(1), kC);
    EXPECT_EQ(data(1), kC);
    expect_pin(kC, FL_PIN_CONFIRMED);
    removed = was;
    removed.pool = pool_ + 1;  // the index is another pool's now
    EXPECT_EQ(data(1), kC);
    EXPECT_EQ(data(2), kA);
    removed = was;
}

TEST_F(HardCase, SpoofedOrDelayedSynForAnUnpinnedOpenConnectionInAMovedSlot) {
    EXPECT_EQ(syn(1), kA);
    EXPECT_EQ(data(1), kA);
    EXPECT_EQ(syn(1), kA) << "settled: nothing to lose";
    move(kB, kA);
    EXPECT_EQ(syn(2), kB);
    EXPECT_EQ(data(2), kB);
    EXPECT_EQ(data(1), kA);
    EXPECT_EQ(syn(1), kB);
    EXPECT_EQ(data(1), kB) << "the one known loss (docs); how many it is, the model says";
    move(kC, kA);
    EXPECT_EQ(syn(2), kB);
    EXPECT_EQ(data(2), kB) << "who has a pin loses nothing";
    move(kC, kC);
    EXPECT_EQ(syn(3), kC);
    EXPECT_EQ(data(3), kC);
}

TEST_F(HardCase, AckNoiseHoldsASlotOpen) {
    move(kB, kA);
    EXPECT_FALSE(stamped(&fl_stamp::previous_used));
    for (std::uint16_t port = 100; port < 120; ++port) EXPECT_EQ(data(port), kA);
    EXPECT_TRUE(stamped(&fl_stamp::previous_used)) << "P may not be forgotten";
    EXPECT_TRUE(pins().empty()) << "yet it takes no memory";
}

class ClientHardCase : public HardCase {
  protected:
    ClientHardCase() { pool_flags_ = FL_POOL_CLIENT_IP; }
};

TEST_F(ClientHardCase, ClientIpAffinityWithASecondConnectionInATransition) {
    EXPECT_EQ(syn(1), kA);
    move(kB, kA);
    EXPECT_EQ(syn(2), kB);
    EXPECT_EQ(data(2), kB);
    EXPECT_EQ(data(1), kA) << "the client's first connection has not moved with its second";
    EXPECT_EQ(pins().size(), 1U);
}

TEST_F(ClientHardCase, GroupOfPorts) {
    const auto other = [&](std::uint16_t port, Tcp tcp) {
        tcp.source = port;
        tcp.destination = kOtherPort;
        return to(Ethernet{} / Ipv4{} / tcp);
    };
    EXPECT_EQ(syn(1), kA);
    EXPECT_EQ(other(2, {.syn = true}), kA);
    move(kB, kA);
    EXPECT_EQ(syn(3), kB);
    EXPECT_EQ(other(4, {.syn = true}), kB) << "a client's new connections meet at one backend, whatever the port";
    EXPECT_EQ(data(1), kA);
    EXPECT_EQ(other(2, {.ack = true}), kA);
    EXPECT_EQ(other(1, {.ack = true}), kA) << "not the same connection as of port 8000";
    EXPECT_EQ(other(3, {.ack = true}), kA) << "nor is a pin of that one its";
    move(kC, kA);
    EXPECT_EQ(data(3), kB);
    EXPECT_EQ(other(4, {.ack = true}), kB);
}

TEST_F(HardCase, PinTableFull) {
    const std::uint32_t room = tables_->limits().pins;
    move(kB, kA);
    for (std::uint32_t port = 1; port <= 4 * room; ++port) static_cast<void>(syn(static_cast<std::uint16_t>(port)));
    EXPECT_GT(events(FL_EVENT_PIN_FULL), 0U);
    EXPECT_LE(pins().size(), room);
    EXPECT_GT(pins().size(), room * 9 / 10);
    // Whoever found no place was sent to the previous one, where its later packets go too.
    std::uint32_t pinned = 0;
    for (std::uint32_t port = 1; port <= 4 * room; ++port) {
        const auto number = static_cast<std::uint16_t>(port);
        const auto first = syn(number), second = data(number);
        ASSERT_EQ(first, second) << port;
        pinned += first == kB;
    }
    EXPECT_EQ(pinned, pins().size());
    EXPECT_EQ(data(60000), kA);
}

TEST_F(Transition, WherePinsAreConfirmedOrBeginToCloseTheirGroupIsDirty) {
    data(1);
    fin(1);
    EXPECT_EQ(take_dirty(), 0) << "settled: there is no pin";
    move(kB, kA);
    data(1);
    fin(1);
    EXPECT_EQ(take_dirty(), 0) << "nor has an old connection one";
    syn(2);
    syn(2);
    datagram(3);
    EXPECT_EQ(take_dirty(), 0) << "on probation";
    data(2);
    expect_dirty_where_pinned(FL_PIN_CONFIRMED);
    data(2);
    EXPECT_EQ(take_dirty(), 0) << "it is confirmed already";
    fin(2);
    expect_dirty_where_pinned(FL_PIN_CLOSING);
    fin(2);
    data(2);
    EXPECT_EQ(take_dirty(), 0);
    datagram(3);
    expect_dirty_where_pinned(FL_PIN_CONFIRMED);
}

#ifndef FAIRLEAD_KERNEL_ENGINE  // With the clock in the test's hand.
TEST_F(Transition, AFloodTakesThePlacesOfTheUnconfirmedAlone) {
    const std::uint32_t room = tables_->limits().pins;
    move(kB, kA);
    std::vector<std::uint16_t> open;
    for (std::uint16_t port = 1; port <= room / 4; ++port)
        if (syn(port) == kB && data(port) == kB) open.push_back(port);
    for (int round = 0; round < 4; ++round) {
        now_ += FL_PIN_PROBATION_UNITS * kUnit;
        for (std::uint32_t port = 20000; port < 20000 + 4 * room; ++port)
            static_cast<void>(syn(static_cast<std::uint16_t>(port + 5000 * round)));
    }
    EXPECT_GT(events(FL_EVENT_PIN_EVICTED), room);
    for (const auto port : open) ASSERT_EQ(data(port), kB) << port;
}

TEST_F(Transition, AFloodTakesNoHandshakesPlaceForFourSeconds) {
    const std::uint32_t room = tables_->limits().pins;
    move(kB, kA);
    now_ += kUnit - now_ % kUnit - 1;  // the unit is about to change
    std::vector<std::uint16_t> begun;
    for (std::uint16_t port = 1; port <= room; ++port)
        if (syn(port) == kB) begun.push_back(port);
    for (int step = 0; step < 2; ++step) {
        for (std::uint32_t port = 20000; port < 20000 + 4 * room; ++port)
            static_cast<void>(syn(static_cast<std::uint16_t>(port + 20000 * step)));
        now_ += kUnit;
    }
    for (const auto port : begun) ASSERT_EQ(data(port), kB) << port;
}

TEST_F(Transition, ExpiredPinsGiveWayAndTheClosingSoon) {
    const std::uint32_t room = tables_->limits().pins;
    move(kB, kA);
    for (std::uint32_t port = 1; port <= 4 * room; ++port)
        if (syn(static_cast<std::uint16_t>(port)) == kB) static_cast<void>(fin(static_cast<std::uint16_t>(port)));
    EXPECT_EQ(events(FL_EVENT_PIN_RECLAIMED), 0U);
    now_ += (FL_PIN_CLOSING_UNITS + 1) * kUnit;
    for (std::uint32_t port = 30000; port < 30000 + room; ++port)
        static_cast<void>(syn(static_cast<std::uint16_t>(port)));
    EXPECT_GT(events(FL_EVENT_PIN_RECLAIMED), room / 2);
    EXPECT_EQ(events(FL_EVENT_PIN_EVICTED), 0U);
}

TEST_F(Transition, APinLivesAsLongAsItsPoolSays) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    EXPECT_EQ(data(1), kB);
    for (int day = 0; day < 3; ++day) {  // the time field wraps meanwhile
        now_ += std::uint64_t{3600} * 1'000'000'000;
        EXPECT_EQ(data(1), kB);
    }
    expect_pin(kB, FL_PIN_CONFIRMED);
}

TEST_F(Transition, APinTouchedByALaterClockIsYoung) {
    const std::uint32_t room = tables_->limits().pins;
    move(kB, kA);
    now_ += kUnit;
    std::vector<std::uint16_t> open;
    for (std::uint32_t port = 1; port <= 4 * room; ++port)
        if (const auto number = static_cast<std::uint16_t>(port); syn(number) == kB && data(number) == kB)
            open.push_back(number);
    now_ -= kUnit;  // of an engine that read its clock just before the unit changed
    for (std::uint32_t port = 30000; port < 30000 + room; ++port)
        static_cast<void>(syn(static_cast<std::uint16_t>(port)));
    EXPECT_EQ(events(FL_EVENT_PIN_RECLAIMED), 0U);
    for (const auto port : open) ASSERT_EQ(data(port), kB) << port;
}

TEST_F(Transition, LookingChangesNothing) {
    move(kB, kA);
    EXPECT_EQ(syn(1), kB);
    const auto before = pins();
    fl_engine engine = tables_->engine();
    engine.ingress_port = 1;
    engine.only_looks = 1;
    engine.now_ns = engine.now_coarse_ns = now_ + kUnit;
    for (const auto& packet : {segment(1, {.ack = true}), segment(2, {.syn = true}), segment(3, {.ack = true})}) {
        auto bytes = packet.bytes();
        fl_packet view{bytes.data(), bytes.data() + bytes.size()};
        fl_decision d;
        fl_decide(&engine, &view, &d);
        EXPECT_EQ(d.action, FL_ACTION_FORWARD);
    }
    EXPECT_EQ(pins(), before);
    EXPECT_FALSE(stamped(&fl_stamp::previous_used));
}
#endif

}  // namespace
}  // namespace fairlead
