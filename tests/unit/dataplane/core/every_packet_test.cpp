// SPDX-License-Identifier: Apache-2.0
// What real networks send beside plain packets: VLAN tags, options, extension headers, fragments, every tunnel, several
// ports. In plain memory and, as suite 'bpf', in the kernel.
#include <set>

#include "tests/unit/dataplane/core/steer_fixture.h"

namespace fairlead {
namespace {
using namespace test;

constexpr std::uint64_t kSecond = 1'000'000'000;

// --- VLAN tags ---

TEST_F(Steer, TagsAreKeptOnTheWayOut) {
    const Vlan inner{.id = 7}, outer{.id = 0x6123, .ethertype = 0x88a8};  // with a priority of 3
    for (const auto port : {kDsr, kIpip, kGue}) {
        const std::string pool = port == kDsr ? "dsr" : port == kIpip ? "ipip" : "gue";
        const Packet plain = Ethernet{} / Ipv4{} / Tcp{.destination = port};
        const Bytes out = run(plain.bytes()).bytes;
        const auto with_tags = [&](const Bytes& tags) {
            Bytes frame = out;
            frame.insert(frame.begin() + 12, tags.begin(), tags.end());
            return frame;
        };
        expect_steered(Ethernet{} / inner / Ipv4{} / Tcp{.destination = port}, pool, port, false, FL_VERDICT_TRANSMIT,
                       with_tags({0x81, 0x00, 0x00, 0x07}));
        expect_steered(Ethernet{} / outer / inner / Ipv4{} / Tcp{.destination = port}, pool, port, false,
                       FL_VERDICT_TRANSMIT, with_tags({0x88, 0xa8, 0x61, 0x23, 0x81, 0x00, 0x00, 0x07}));
    }
    expect_steered(Ethernet{} / outer / inner / Ipv6{} / Tcp{.syn = true}, "dsr6", kDsr, true, FL_VERDICT_TRANSMIT,
                   (onward() / outer / inner / Ipv6{.hop_limit = 63} / Tcp{.syn = true}).bytes(), true);
}

TEST_F(Steer, AThirdTagIsNobodys) {
    expect_pass(Ethernet{} / Vlan{.ethertype = 0x88a8} / Vlan{} / Vlan{} / Ipv4{} / Tcp{});
    expect_pass(Ethernet{} / Vlan{} / Ipv4{.destination = "192.0.2.77"} / Tcp{});
    expect_pass(Ethernet{.type = 0x8100} / Payload{"tag"});
}

TEST_F(Steer, AnswersCarryTheTagsOfTheirQuestion) {
    const Vlan tag{.id = 7};
    expect_answer(
        Ethernet{} / tag / Arp{}, FL_REASON_ARP,
        back() / tag /
            Arp{.operation = 2, .sender_mac = kOwnMac, .sender = kVip, .target_mac = kClientMac, .target = kClient});
    expect_answer(Ethernet{} / tag / tag / Ipv4{} / Icmp{.rest = 5} / Payload{"data"}, FL_REASON_ECHO,
                  back() / tag / tag / Ipv4{.source = kVip, .destination = kClient} / Icmp{.type = 0, .rest = 5} /
                      Payload{"data"});
    expect_answer(
        Ethernet{} / tag / Ipv6{} / Tcp{.destination = 99, .syn = true}, FL_REASON_RESET,
        back() / tag / Ipv6{.source = kVip6, .destination = kClient6} /
            Tcp{.source = 99, .destination = 40000, .sequence = 0, .acknowledgement = 1001, .ack = true, .rst = true});
    const auto big = Ethernet{} / tag / Ipv4{} / Tcp{.destination = kSmall} / Payload{Bytes(60, 1)};
    auto quote = big.bytes();
    quote.erase(quote.begin(), quote.begin() + 18);
    quote.resize(28);
    expect_answer(big, FL_REASON_FRAG_NEEDED,
                  back() / tag / Ipv4{.source = kVip, .destination = kClient} / Icmp{.type = 3, .code = 4, .rest = 80} /
                      Payload{quote});
}

TEST_F(Steer, AVipIsOnTheVlanThatItsInterfaceSays) {
    set_way(1, FL_PORT_WAY(0, 0, 7, FL_VLAN_NONE));
    const Vlan own{.id = 7}, other{.id = 8};
    expect_steered(Ethernet{} / own / Ipv4{} / Tcp{}, "dsr", kDsr, false, FL_VERDICT_TRANSMIT,
                   (onward() / own / Ipv4{.ttl = 63} / Tcp{}).bytes());
    for (const auto& packet : {Ethernet{} / Ipv4{} / Tcp{}, Ethernet{} / other / Ipv4{} / Tcp{},
                               Ethernet{} / Ipv6{} / Tcp{}, Ethernet{} / other / own / Ipv6{} / Tcp{},
                               Ethernet{} / Arp{}, Ethernet{} / other / Ipv4{.more_fragments = true} / Tcp{}})
        expect_pass(packet, FL_REASON_OTHER_VLAN);
    expect_answer(
        Ethernet{} / own / Arp{}, FL_REASON_ARP,
        back() / own /
            Arp{.operation = 2, .sender_mac = kOwnMac, .sender = kVip, .target_mac = kClientMac, .target = kClient});
    // Untagged alone; a priority tag is no VLAN (IEEE 802.1Q section 6.9.1).
    set_way(1, FL_PORT_WAY(0, 0, 0, FL_VLAN_NONE));
    EXPECT_EQ(run((Ethernet{} / Ipv4{} / Tcp{}).bytes()).verdict, FL_VERDICT_TRANSMIT);
    EXPECT_EQ(run((Ethernet{} / Vlan{.id = 0xe000} / Ipv4{} / Tcp{}).bytes()).verdict, FL_VERDICT_TRANSMIT);
    expect_pass(Ethernet{} / own / Ipv4{} / Tcp{}, FL_REASON_OTHER_VLAN);
}

// --- Several ports ---

TEST_F(Steer, ABackendsVlanReplacesTheTags) {
    const Packet untagged = onward() / Ipv4{.ttl = 63} / Tcp{.destination = kOther};
    const Packet tagged = onward() / Vlan{.id = 9} / Ipv4{.ttl = 63} / Tcp{.destination = kOther};
    const auto expect_out = [&](const Packet& in, const Packet& out) {
        expect_steered(in, "other", kOther, false, FL_VERDICT_TRANSMIT, out.bytes());
    };
    const Packet plain = Ethernet{} / Ipv4{} / Tcp{.destination = kOther};
    const Packet twice =
        Ethernet{} / Vlan{.id = 0xa003, .ethertype = 0x88a8} / Vlan{} / Ipv4{} / Tcp{.destination = kOther};
    set_way(2, FL_PORT_WAY(1, 0, FL_VLAN_NONE, 9));  // VLAN 9 behind the device of port 1
    expect_out(plain, tagged);
    expect_out(twice, onward() / Vlan{.id = 0xa009} / Ipv4{.ttl = 63} / Tcp{.destination = kOther});
    set_way(2, FL_PORT_WAY(1, 0, FL_VLAN_NONE, 0));  // untagged
    expect_out(plain, untagged);
    expect_out(twice, untagged);
    set_way(2, FL_PORT_WAY(1, 0, FL_VLAN_NONE, FL_VLAN_NONE));  // as it came
    expect_out(plain, untagged);
}

TEST_F(Steer, OutByTheNextHopsDevice) {
    leaves_by_ = 2;
    expect_steered(Ethernet{} / Ipv4{} / Tcp{.destination = kOther}, "other", kOther, false, FL_VERDICT_TRANSMIT,
                   (onward() / Ipv4{.ttl = 63} / Tcp{.destination = kOther}).bytes());
    // Slaves of a bond: out by the one that it came in by.
    set_way(1, FL_PORT_WAY(0, 3, FL_VLAN_NONE, FL_VLAN_NONE));
    set_way(2, FL_PORT_WAY(0, 3, FL_VLAN_NONE, FL_VLAN_NONE));
    leaves_by_ = 1;
    expect_steered(Ethernet{} / Ipv6{} / Tcp{.destination = kOther}, "other6", kOther, true, FL_VERDICT_TRANSMIT,
                   (onward() / Ipv6{.hop_limit = 63} / Tcp{.destination = kOther}).bytes());
    set_way(1, FL_PORT_WAY(0, 4, FL_VLAN_NONE, FL_VLAN_NONE));
    leaves_by_ = 2;
    expect_steered(Ethernet{} / Ipv4{} / Tcp{.destination = kOther}, "other", kOther, false, FL_VERDICT_TRANSMIT,
                   (onward() / Ipv4{.ttl = 63} / Tcp{.destination = kOther}).bytes());
}

// --- IPv4 options ---

const Bytes kTimestamp = {68, 8, 5, 0, 0, 0, 0, 0}, kRouterAlert = {148, 4, 0, 0};

TEST_F(Steer, OptionsChangeNothingAboutTheWay) {
    for (const auto& options : {kTimestamp, kRouterAlert, Bytes(40, 1), Bytes(4, 0)}) {
        const Tcp tcp{.destination = kDsr, .syn = true};
        expect_steered(Ethernet{} / Ipv4{.options = options} / tcp, "dsr", kDsr, false, FL_VERDICT_TRANSMIT,
                       (onward() / Ipv4{.ttl = 63, .options = options} / tcp).bytes(), true);
        const Tcp wrapped{.destination = kIpip};
        expect_steered(
            Ethernet{} / Ipv4{.options = options} / wrapped, "ipip", kIpip, false, FL_VERDICT_TRANSMIT,
            (onward() / Ipv4{.source = kNode, .destination = kBackend} / Ipv4{.ttl = 63, .options = options} / wrapped)
                .bytes());
    }
}

TEST_F(Steer, OptionsAreQuotedInErrorsAndLeftOutOfResets) {
    const auto syn = Ethernet{} / Ipv4{.options = kTimestamp} / Tcp{.destination = 99, .syn = true} / Payload{"early"};
    expect_answer(
        syn, FL_REASON_RESET,
        back() / Ipv4{.source = kVip, .destination = kClient} /
            Tcp{.source = 99, .destination = 40000, .sequence = 0, .acknowledgement = 1006, .ack = true, .rst = true});
    const auto big = Ethernet{} / Ipv4{.options = Bytes(40, 1)} / Tcp{.destination = kSmall} / Payload{Bytes(60, 1)};
    expect_answer(big, FL_REASON_FRAG_NEEDED,
                  back() / Ipv4{.source = kVip, .destination = kClient} / Icmp{.type = 3, .code = 4, .rest = 80} /
                      Payload{quoted(big, 68)});
    // An echo's own go back with it.
    expect_answer(Ethernet{} / Ipv4{.options = kRouterAlert} / Icmp{} / Payload{"x"}, FL_REASON_ECHO,
                  back() / Ipv4{.source = kVip, .destination = kClient, .options = kRouterAlert} / Icmp{.type = 0} /
                      Payload{"x"});
}

TEST_F(Steer, SourceRoutesAreRefused) {
    for (const std::uint8_t kind : {131, 137}) {
        const Bytes route = {1, kind, 7, 4, 192, 0, 2, 99};
        expect_drop(Ethernet{} / Ipv4{.options = route} / Tcp{}, FL_REASON_SOURCE_ROUTE);
        Bytes late = kTimestamp;
        late.insert(late.end(), route.begin(), route.end());
        expect_drop(Ethernet{} / Ipv4{.options = late} / Tcp{}, FL_REASON_SOURCE_ROUTE);
        expect_pass(Ethernet{} / Ipv4{.destination = "192.0.2.77", .options = route} / Tcp{});
    }
    // Behind the end of the list, or where a length leads nowhere, stands no option.
    EXPECT_EQ(run((Ethernet{} / Ipv4{.options = {0, 131, 7, 4, 192, 0, 2, 99}} / Tcp{}).bytes()).verdict,
              FL_VERDICT_TRANSMIT);
    EXPECT_EQ(run((Ethernet{} / Ipv4{.options = {68, 1, 131, 0}} / Tcp{}).bytes()).verdict, FL_VERDICT_TRANSMIT);
    expect_drop(Ethernet{} / Ipv6{} / Extension{.kind = 43, .segments_left = 1} / Tcp{}, FL_REASON_SOURCE_ROUTE);
}

// --- IPv6 extension headers ---

TEST_F(Steer, ExtensionHeadersChangeNothingAboutTheWay) {
    const Tcp tcp{.destination = kIpip, .syn = true};
    const auto expect_through = [&](const auto&... extensions) {
        expect_steered(
            (Ethernet{} / Ipv6{} / ... / extensions) / tcp, "ipip6", kIpip, true, FL_VERDICT_TRANSMIT,
            ((onward() / Ipv6{.source = kNode6, .destination = kBackend6} / Ipv6{.hop_limit = 63} / ... / extensions) /
             tcp)
                .bytes(),
            true);
    };
    expect_through(Extension{.kind = 0});
    expect_through(Extension{.kind = 60, .size = 256});
    expect_through(Extension{.kind = 43, .size = 24});
    expect_through(Extension{.kind = 51, .size = 24});
    expect_through(Extension{.kind = 51, .size = 12}, Extension{.kind = 60});
    expect_through(Fragment{.more = false});  // RFC 6946: an atomic one
    expect_through(Extension{.kind = 0}, Extension{.kind = 60}, Extension{.kind = 43}, Extension{.kind = 51},
                   Extension{.kind = 60}, Fragment{.more = false});
}

TEST_F(Steer, AChainPastTheBoundIsCounted) {
    const Extension options{.kind = 60};
    expect_drop(Ethernet{} / Ipv6{} / options / options / options / options / options / options / options / Tcp{},
                FL_REASON_EXTENSION_CHAIN);
    expect_drop(Ethernet{} / Ipv6{} / Extension{.kind = 60, .size = 264} / Tcp{}, FL_REASON_EXTENSION_CHAIN);
    expect_drop(Ethernet{} / Ipv6{} / Extension{.kind = 0, .size = 160} / Extension{.kind = 60, .size = 104} / Tcp{},
                FL_REASON_EXTENSION_CHAIN);
    expect_drop(Ethernet{} / Ipv6{.length = 12} / options / Tcp{}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv6{.next = 0} / Payload{"short"}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv6{} / options / Payload{"unknown"}, FL_REASON_UNLISTED);
    expect_pass(Ethernet{} / Ipv6{.destination = "2001:db8::77"} / Extension{.kind = 60, .size = 264} / Tcp{});
}

TEST_F(Steer, ErrorsQuoteTheChainAndResetsLeaveItOut) {
    const Extension options{.kind = 60, .size = 16};
    expect_answer(Ethernet{} / Ipv6{} / options / Tcp{.destination = 99, .ack = true}, FL_REASON_RESET,
                  back() / Ipv6{.source = kVip6, .destination = kClient6} /
                      Tcp{.source = 99, .destination = 40000, .sequence = 0, .rst = true});
    const auto big = Ethernet{} / Ipv6{} / options / Tcp{.destination = kSmall} / Payload{Bytes(1300, 1)};
    expect_answer(big, FL_REASON_FRAG_NEEDED,
                  back() / Ipv6{.source = kVip6, .destination = kClient6} / Icmp{.type = 2, .rest = 1280} /
                      Payload{quoted(big, 64)});
    const auto longest =
        Ethernet{} / Ipv6{} / Extension{.kind = 0, .size = 256} / Tcp{.destination = kSmall} / Payload{Bytes(1100, 1)};
    expect_answer(longest, FL_REASON_FRAG_NEEDED,
                  back() / Ipv6{.source = kVip6, .destination = kClient6} / Icmp{.type = 2, .rest = 1280} /
                      Payload{quoted(longest, 304)});
}

// --- Fragments ---

TEST_F(Steer, LaterFragmentsFollowTheirFirst) {
    const auto expect_to = [&](const Packet& in, const Packet& out) {
        expect_steered(in, "dsr", 0, false, FL_VERDICT_TRANSMIT, out.bytes(), false, 17);
    };
    const Ipv4 first{.id = 77, .dont_fragment = false, .more_fragments = true};
    Ipv4 later = first;
    later.offset = 185;
    later.protocol = 17;
    const Payload rest{Bytes(200, 5)};
    expect_drop(Ethernet{} / later / rest, FL_REASON_FRAGMENT_ORPHAN);
    Ipv4 first_out = first, later_out = later;
    first_out.ttl = later_out.ttl = 63;
    expect_to(Ethernet{} / first / Udp{} / rest, onward() / first_out / Udp{} / rest);
    expect_to(Ethernet{} / later / rest, onward() / later_out / rest);
    later.more_fragments = later_out.more_fragments = false;
    expect_to(Ethernet{} / Vlan{} / later / rest, onward() / Vlan{} / later_out / rest);
    // Another id, client or protocol is another packet's.
    Ipv4 stranger = later;
    stranger.id = 78;
    expect_drop(Ethernet{} / stranger / rest, FL_REASON_FRAGMENT_ORPHAN);
    stranger = later;
    stranger.source = "198.51.100.8";
    expect_drop(Ethernet{} / stranger / rest, FL_REASON_FRAGMENT_ORPHAN);
    stranger = later;
    stranger.protocol = 6;
    expect_drop(Ethernet{} / stranger / rest, FL_REASON_FRAGMENT_ORPHAN);
    expect_pass(Ethernet{} / Ipv4{.destination = "192.0.2.77", .offset = 5} / rest);
}

TEST_F(Steer, LaterFragmentsFollowInIpv6WhateverHeaderTheyName) {
    const Payload rest{Bytes(64, 5)};
    const auto syn = Tcp{.destination = kIpip, .syn = true};
    const Fragment first{.id = 0x12345678}, later{.offset = 9, .more = false, .id = 0x12345678, .next = 60};
    const Ipv6 out{.source = kNode6, .destination = kBackend6};
    expect_drop(Ethernet{} / Ipv6{} / later / rest, FL_REASON_FRAGMENT_ORPHAN);
    expect_steered(Ethernet{} / Ipv6{} / first / Extension{.kind = 60} / syn, "ipip6", kIpip, true, FL_VERDICT_TRANSMIT,
                   (onward() / out / Ipv6{.hop_limit = 63} / first / Extension{.kind = 60} / syn).bytes(), true);
    expect_steered(Ethernet{} / Ipv6{} / later / rest, "ipip6", kIpip, true, FL_VERDICT_TRANSMIT,
                   (onward() / out / Ipv6{.hop_limit = 63} / later / rest).bytes());
}

TEST_F(Steer, AFirstFragmentHoldsItsWholeHeader) {
    expect_drop(Ethernet{} / Ipv4{.more_fragments = true, .protocol = 6} / Payload{Bytes(16, 0)}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv6{} / Fragment{.next = 6} / Payload{Bytes(16, 0)}, FL_REASON_MALFORMED);
}

TEST_F(Steer, FragmentsAreNeverRefusedButByTheirFirst) {
    const auto first = Ethernet{} / Ipv4{.id = 5, .dont_fragment = false, .more_fragments = true} / Udp{};
    auto d = desired();
    std::erase_if(d.services, [](const auto& service) { return service.protocol == 17; });
    apply(d);
    expect_answer(first, FL_REASON_UNREACHABLE,
                  back() / Ipv4{.source = kVip, .destination = kClient} / Icmp{.type = 3, .code = 3} /
                      Payload{quoted(first, 28)});
    expect_drop(Ethernet{} / Ipv4{.id = 5, .offset = 1, .protocol = 17} / Payload{"rest"}, FL_REASON_FRAGMENT_ORPHAN);
}

TEST_F(Steer, ClientIpAffinityNeedsNoMemoryOfFragments) {
    tables::Desired d;
    for (const auto* vip : {kVip, kVip6}) {
        const std::string name = vip == kVip ? "clients" : "clients6";
        d.vips.push_back({.address = address(vip), .reset = true});
        d.pools.push_back({.name = name,
                           .flags = FL_POOL_CLIENT_IP,
                           .slots = 1024,
                           .backends = {{.name = "b", .address = address(vip == kVip ? kBackend : kBackend6)}}});
        for (const std::uint16_t port : {std::uint16_t{53}, std::uint16_t{54}})
            d.services.push_back({name + std::to_string(port), address(vip), port, 17, name});
    }
    apply(d);
    const Ipv4 later{.id = 9, .dont_fragment = false, .offset = 20, .protocol = 17};
    Ipv4 out = later;
    out.ttl = 63;
    expect_steered(Ethernet{} / later / Payload{"rest"}, "clients", 53, false, FL_VERDICT_TRANSMIT,
                   (onward() / out / Payload{"rest"}).bytes(), false, 17);
    const Fragment part{.offset = 9, .more = false, .next = 17};
    expect_steered(Ethernet{} / Ipv6{} / part / Payload{"rest"}, "clients6", 53, true, FL_VERDICT_TRANSMIT,
                   (onward() / Ipv6{.hop_limit = 63} / part / Payload{"rest"}).bytes(), false, 17);
    // TCP has no service here.
    Ipv4 tcp = later;
    tcp.protocol = 6;
    expect_drop(Ethernet{} / tcp / Payload{"rest"}, FL_REASON_FRAGMENT_ORPHAN);
}

TEST_F(Steer, OfAVipOfTheHostsOwnAnOrphanIsTheHosts) {
    local_vip_ = true;
    apply(desired());
    expect_pass(Ethernet{} / Ipv4{.id = 3, .offset = 2, .protocol = 17} / Payload{"rest"}, FL_REASON_LOCAL_VIP);
}

#ifndef FAIRLEAD_KERNEL_ENGINE  // With the clock in the test's hand.
TEST_F(Steer, AFirstFragmentIsRememberedForSeconds) {
    const auto first = (Ethernet{} / Ipv4{.id = 1, .dont_fragment = false, .more_fragments = true} / Udp{}).bytes();
    const auto later =
        (Ethernet{} / Ipv4{.id = 1, .dont_fragment = false, .offset = 1, .protocol = 17} / Payload{"rest"}).bytes();
    EXPECT_EQ(run(first).verdict, FL_VERDICT_TRANSMIT);
    now_ += 8 * kSecond;
    EXPECT_EQ(run(later).verdict, FL_VERDICT_TRANSMIT);
    now_ += 5 * kSecond;
    EXPECT_EQ(run(later).verdict, FL_VERDICT_DROP);
}
#endif

TEST_F(Steer, TheMemoryOfFragmentsIsBoundedAndKeepsTheYoungest) {
    const auto frame = [](std::uint32_t id, bool first) {
        const Ipv6 ip{};
        return first ? (Ethernet{} / ip / Fragment{.id = id} / Udp{}).bytes()
                     : (Ethernet{} / ip / Fragment{.offset = 1, .more = false, .id = id, .next = 17} / Payload{"r"})
                           .bytes();
    };
    const std::uint32_t many = 3 * tables_->limits().fragments;
    for (std::uint32_t id = 0; id < many; ++id) ASSERT_EQ(run(frame(id, true)).verdict, FL_VERDICT_TRANSMIT);
    std::uint32_t known = 0;
    for (std::uint32_t id = 0; id < many; ++id) known += run(frame(id, false)).verdict == FL_VERDICT_TRANSMIT;
    EXPECT_LE(known, tables_->limits().fragments);
    EXPECT_GT(known, tables_->limits().fragments / 2);
    EXPECT_EQ(run(frame(many - 1, false)).verdict, FL_VERDICT_TRANSMIT);
}

// --- ICMP errors ---

TEST_F(Steer, ErrorsAboutPacketsWithExtensionsFollowTheirConnection) {
    const auto sent = Ethernet{} / Ipv6{.source = kVip6, .destination = kClient6} / Extension{.kind = 60} /
                      Fragment{.id = 4} / Tcp{.source = kIpip, .destination = 40000};
    const Payload quote{quoted(sent, 60)};
    const Icmp error{.type = 3, .code = 0};
    const Ipv6 router{.source = "2001:db8:9::9"};
    expect_steered(Ethernet{} / router / Extension{.kind = 0} / error / quote, "ipip6", kIpip, true,
                   FL_VERDICT_TRANSMIT,
                   (onward() / Ipv6{.source = kNode6, .destination = kBackend6} /
                    Ipv6{.source = router.source, .hop_limit = 63} / Extension{.kind = 0} / error / quote)
                       .bytes());
    // A later fragment says nothing about ports.
    const auto part = Ethernet{} / Ipv6{.source = kVip6, .destination = kClient6} / Fragment{.offset = 1, .next = 6} /
                      Payload{"12345678"};
    expect_drop(Ethernet{} / router / error / Payload{quoted(part, 56)}, FL_REASON_ICMP);
}

TEST_F(Steer, FragmentedIcmpIsNeitherAnsweredNorSteered) {
    expect_drop(Ethernet{} / Ipv4{.more_fragments = true} / Icmp{} / Payload{"part"}, FL_REASON_ICMP);
    expect_drop(Ethernet{} / Ipv6{} / Fragment{} / Icmp{.type = 128} / Payload{"part"}, FL_REASON_ICMP);
    expect_drop(Ethernet{} / Ipv4{.offset = 3, .protocol = 1} / Payload{"rest"}, FL_REASON_FRAGMENT_ORPHAN);
}

// --- Too big ---

TEST_F(Steer, WhatMayBeFragmentedGoesWhereItsPoolSays) {
    const auto packet = Ethernet{} / Ipv4{.dont_fragment = false} / Tcp{.destination = kSmall} / Payload{Bytes(60, 1)};
    expect_drop(packet, FL_REASON_TOO_BIG);
    small_flags_ = FL_POOL_TOO_BIG_PASS;
    apply(desired());
    expect_pass(packet, FL_REASON_TOO_BIG_PASSED);
    EXPECT_EQ(run((Ethernet{} / Ipv4{} / Tcp{.destination = kSmall} / Payload{Bytes(60, 1)}).bytes()).verdict,
              FL_VERDICT_TRANSMIT)
        << "with DF its sender is told";
}

TEST_F(Steer, OfAnIpv6FragmentTheSenderIsTold) {
    const Fragment first{.id = 6}, later{.offset = 1, .more = false, .id = 6, .next = 6};
    ASSERT_EQ(run((Ethernet{} / Ipv6{} / first / Tcp{.destination = kSmall}).bytes()).verdict, FL_VERDICT_DROP);
    const auto d = desired();
    ok(writer_->set_backend_state(*writer_->find_pool("small6"), 0, FL_BACKEND_HEALTHY, 1400, hop_));
    ASSERT_EQ(run((Ethernet{} / Ipv6{} / first / Tcp{.destination = kSmall}).bytes()).verdict, FL_VERDICT_TRANSMIT);
    const auto big = Ethernet{} / Ipv6{} / later / Payload{Bytes(1400, 1)};
    expect_answer(big, FL_REASON_FRAG_NEEDED,
                  back() / Ipv6{.source = kVip6, .destination = kClient6} / Icmp{.type = 2, .rest = 1360} /
                      Payload{quoted(big, 56)});
}

// --- Checksums left to an offload ---

TEST_F(Steer, ASynWhoseChecksumWasLeftIsCountedAndNotSent) {
    const Bytes options = {2, 4, 5, 180, 1, 3, 3, 7};
    for (const auto port : {kDsr, kIpip}) {
        const Tcp syn{.destination = port, .syn = true, .checksum_left = true, .options = options};
        expect_drop(Ethernet{} / Ipv4{} / syn, FL_REASON_CHECKSUM_OFFLOAD);
        expect_drop(Ethernet{} / Ipv6{} / syn, FL_REASON_CHECKSUM_OFFLOAD);
        expect_drop(Ethernet{} / Vlan{} / Ipv4{} / syn, FL_REASON_CHECKSUM_OFFLOAD);
    }
    // To this host it goes, and a refusal needs no checksum.
    const auto local = Ethernet{} / Ipv4{} / Tcp{.destination = kLocal, .syn = true, .checksum_left = true};
    expect_steered(local, "local", kLocal, false, FL_VERDICT_PASS, local.bytes(), true);
    expect_answer(
        Ethernet{} / Ipv4{} / Tcp{.destination = 99, .syn = true, .checksum_left = true}, FL_REASON_RESET,
        back() / Ipv4{.source = kVip, .destination = kClient} /
            Tcp{.source = 99, .destination = 40000, .sequence = 0, .acknowledgement = 1001, .ack = true, .rst = true});
    // In generic mode the frame still knows that its checksum is to be completed.
    set_way(1, FL_PORT_WAY_AS_IT_CAME, FL_ENGINE_XDP_GENERIC);
    EXPECT_EQ(run((Ethernet{} / Ipv4{} / Tcp{.syn = true, .checksum_left = true}).bytes()).verdict,
              FL_VERDICT_TRANSMIT);
}

TEST_F(Steer, ARightChecksumThatLooksUnfinishedIsNotMistaken) {
    // A sequence number for which the two are the same.
    bool met = false;
    for (std::uint32_t low = 0; low < 0x10000 && !met; ++low) {
        const Tcp right{.sequence = low, .syn = true};
        const Tcp left{.sequence = low, .syn = true, .checksum_left = true};
        const auto frame = (Ethernet{} / Ipv4{} / right).bytes();
        if (frame != (Ethernet{} / Ipv4{} / left).bytes()) continue;
        met = true;
        EXPECT_EQ(run(frame).verdict, FL_VERDICT_TRANSMIT);
    }
    EXPECT_TRUE(met);
}

// --- GUE ---

class Gue : public Steer {
  protected:
    // A datagram whose source port has been taken out, for it is made of the hash.
    static Bytes without_port(Bytes frame, std::size_t l3) {
        const auto at = static_cast<std::ptrdiff_t>(l3);
        EXPECT_GE(frame[l3], 0xc0) << "RFC 6335's dynamic range";
        frame.erase(frame.begin() + at, frame.begin() + at + 2);
        return frame;
    }
    void expect_gue(const Packet& in, std::size_t outer, const Packet& out) {
        const auto frame = run(in.bytes());
        const auto want = out.bytes();
        ASSERT_EQ(frame.verdict, FL_VERDICT_TRANSMIT);
        ASSERT_EQ(frame.bytes.size(), want.size());
        EXPECT_EQ(hex(without_port(frame.bytes, 14 + outer)), hex(without_port(want, 14 + outer)));
    }
    // Whether a datagram over IPv6 has a checksum, and a right one.
    void expect_checksum(const Packet& in, bool there) {
        const auto out = run(in.bytes());
        ASSERT_EQ(out.verdict, FL_VERDICT_TRANSMIT);
        ASSERT_EQ(out.bytes[12], 0x86) << "not over IPv6";
        // The pseudo-header of RFC 8200, then the datagram: with a right checksum, RFC 1071 says, it comes to nothing.
        Bytes covered(out.bytes.begin() + 22, out.bytes.end());
        const auto length = covered.size() - 32;
        const Bytes pseudo = {0, 0, static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(length), 0, 0,
                              0, 17};
        covered.insert(covered.begin(), pseudo.begin(), pseudo.end());
        const auto field = static_cast<unsigned>(out.bytes[60] << 8 | out.bytes[61]);
        EXPECT_EQ(field != 0, there);
        if (there) {
            EXPECT_EQ(internet_checksum(covered), 0) << hex(out.bytes);
        }
    }
};

class CrossGue : public Gue {
  protected:
    CrossGue() { cross_family_ = true; }
};

TEST_F(Gue, WrapsInUdpWithoutAChecksumOverIpv4) {
    const Tcp tcp{.destination = kGue, .ack = true};
    const Udp udp{.source = 0xc000, .destination = kGuePort, .checksum = 0};
    expect_gue(Ethernet{} / Ipv4{.tos = 0xb9} / tcp / Payload{"hello"}, 20,
               onward() / Ipv4{.source = kNode, .destination = kBackend, .tos = 0xb9} / udp /
                   Ipv4{.ttl = 63, .tos = 0xb9} / tcp / Payload{"hello"});
}

TEST_F(CrossGue, WrapsIpv6InUdpOverIpv4) {
    const Tcp tcp{.destination = kGue, .ack = true};
    const Udp udp{.source = 0xc000, .destination = kGuePort, .checksum = 0};
    expect_gue(Ethernet{} / Ipv6{} / tcp, 20,
               onward() / Ipv4{.source = kNode, .destination = kBackend} / udp / Ipv6{.hop_limit = 63} / tcp);
}

TEST_F(Gue, HasAChecksumOverIpv6WhereverItCanBeHad) {
    const Tcp tcp{.destination = kGue, .ack = true};
    for (const std::size_t size : {0U, 1U, 2U, 333U})
        expect_checksum(Ethernet{} / Ipv6{.traffic_class = 3, .flow_label = 0x12345} / tcp / Payload{Bytes(size, 7)},
                        true);
    expect_checksum(Ethernet{} / Ipv6{} / Extension{.kind = 60} / tcp, false);
}

TEST_F(CrossGue, HasAChecksumOverIpv6WhereverItCanBeHad) {
    const Tcp tcp{.destination = kGue, .ack = true};
    expect_checksum(Ethernet{} / Ipv4{.tos = 7} / tcp / Payload{"odd"}, true);
    expect_checksum(Ethernet{} / Ipv4{.options = Bytes(4, 1)} / tcp, false);
    expect_checksum(Ethernet{} / Ipv4{.id = 4, .dont_fragment = false, .more_fragments = true} / tcp, false);
    const auto sent =
        Ethernet{} / Ipv4{.source = kVip, .destination = kClient} / Tcp{.source = kGue, .destination = 40000};
    expect_checksum(Ethernet{} / Ipv4{} / Icmp{.type = 3, .code = 1} / Payload{quoted(sent, 28)}, true);
}

TEST_F(Gue, ItsSourcePortVariesWithTheFlow) {
    std::set<int> ports;
    for (std::uint16_t source = 1024; source < 1088; ++source) {
        const auto out = run((Ethernet{} / Ipv4{} / Tcp{.source = source, .destination = kGue}).bytes());
        ports.insert(out.bytes[34] << 8 | out.bytes[35]);
    }
    EXPECT_GT(ports.size(), 50U);
}

TEST_F(Gue, CountsItsHeadersForTheMtu) {
    ok(writer_->set_backend_state(*writer_->find_pool("gue"), 0, FL_BACKEND_HEALTHY, 128, hop_));
    EXPECT_EQ(run((Ethernet{} / Ipv4{} / Tcp{.destination = kGue} / Payload{Bytes(60, 1)}).bytes()).verdict,
              FL_VERDICT_TRANSMIT);
    const auto big = Ethernet{} / Ipv4{} / Tcp{.destination = kGue} / Payload{Bytes(61, 1)};
    expect_answer(big, FL_REASON_FRAG_NEEDED,
                  back() / Ipv4{.source = kVip, .destination = kClient} / Icmp{.type = 3, .code = 4, .rest = 100} /
                      Payload{quoted(big, 28)});
}

// --- Decapsulation ---

TEST_F(Decap, UnwrapsGueInBothVariants) {
    const Tcp tcp{.destination = kLocal};
    const auto inner = Ethernet{} / Ipv4{} / tcp;
    const auto inner6 = Ethernet{} / Ipv6{} / tcp;
    const Udp udp{.source = 50000, .destination = kGuePort, .checksum = 0};
    const auto header = [](std::uint8_t first, std::uint8_t protocol, std::size_t options = 0) {
        Bytes bytes = {first, protocol, 0, 0};
        bytes.resize(4 + options, 9);
        return Payload{bytes};
    };
    expect_pass(Ethernet{} / outer() / udp / Ipv4{} / tcp);  // no port for it yet
    ok(writer_->set_gue_port(kGuePort));
    expect_steered(Ethernet{} / outer() / udp / Ipv4{} / tcp, "local", kLocal, false, FL_VERDICT_PASS, inner.bytes());
    expect_steered(Ethernet{} / outer6() / udp / Ipv6{} / tcp, "local6", kLocal, true, FL_VERDICT_PASS, inner6.bytes());
    expect_steered(Ethernet{} / outer6() / udp / Ipv4{} / tcp, "local", kLocal, false, FL_VERDICT_PASS, inner.bytes());
    expect_steered(Ethernet{} / outer() / udp / header(0, 4) / Ipv4{} / tcp, "local", kLocal, false, FL_VERDICT_PASS,
                   inner.bytes());
    expect_steered(Ethernet{} / Vlan{} / outer() / udp / header(3, 41, 12) / Ipv6{} / tcp, "local6", kLocal, true,
                   FL_VERDICT_PASS, (Ethernet{} / Vlan{} / Ipv6{} / tcp).bytes());
    expect_pass(Ethernet{} / outer() / udp / header(0x20, 4) / Ipv4{} / tcp);  // a control message
    expect_pass(Ethernet{} / outer() / udp / header(0x80, 4) / Ipv4{} / tcp);
    expect_pass(Ethernet{} / outer() / udp / header(0, 17) / Ipv4{} / tcp);
    expect_pass(Ethernet{} / outer() / Udp{.destination = 6081} / Ipv4{} / tcp);
    expect_drop(Ethernet{} / Ipv4{.source = "192.0.2.66", .destination = kNode} / udp / Ipv4{} / tcp,
                FL_REASON_DECAP_REFUSED);
}

TEST_F(Decap, OuterHeadersMayHaveTagsOptionsAndExtensions) {
    const Tcp tcp{.destination = kLocal};
    auto with_options = outer();
    with_options.options = kRouterAlert;
    expect_steered(Ethernet{} / Vlan{} / with_options / Ipv4{} / tcp, "local", kLocal, false, FL_VERDICT_PASS,
                   (Ethernet{} / Vlan{} / Ipv4{} / tcp).bytes());
    // RFC 2473 section 4.1.1: the tunnel encapsulation limit is a destination option.
    expect_steered(Ethernet{} / outer6() / Extension{.kind = 60} / Ipv6{} / Extension{.kind = 0} / tcp, "local6",
                   kLocal, true, FL_VERDICT_PASS, (Ethernet{} / Ipv6{} / Extension{.kind = 0} / tcp).bytes());
}

TEST_F(Decap, WhatIsInsideMayBeAnything) {
    const auto expect_out = [&](const Packet& packet, const Packet& inner) {
        expect_reason(packet, FL_VERDICT_PASS, FL_REASON_DECAPSULATED, inner.bytes());
    };
    const Ipv4 later{.id = 3, .dont_fragment = false, .offset = 4, .protocol = 6};
    expect_out(Ethernet{} / outer() / later / Payload{"rest"}, Ethernet{} / later / Payload{"rest"});
    const Ipv4 options{.options = Bytes(8, 1)};
    expect_steered(Ethernet{} / outer() / options / Tcp{.destination = kLocal}, "local", kLocal, false, FL_VERDICT_PASS,
                   (Ethernet{} / options / Tcp{.destination = kLocal}).bytes());
    expect_drop(Ethernet{} / outer() / Ipv4{.length = 1500} / Tcp{}, FL_REASON_MALFORMED);
}

}  // namespace
}  // namespace fairlead
