// SPDX-License-Identifier: Apache-2.0
// Every step of a packet's way, on anonymous tables: the bytes, the verdict and the counter. Expected bytes come from
// the packet builder, which shares no arithmetic with the core.
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/dataplane/core/steer_fixture.h"

namespace fairlead {
namespace {
using namespace test;

// --- Forwarding ---

TEST_F(Steer, L2dsrChangesMacAddressesAndTtlAlone) {
    expect_steered(Ethernet{} / Ipv4{} / Tcp{.syn = true} / Payload{"hello"}, "dsr", kDsr, false, FL_VERDICT_TRANSMIT,
                   (onward() / Ipv4{.ttl = 63} / Tcp{.syn = true} / Payload{"hello"}).bytes(), true);
    expect_steered(Ethernet{} / Ipv6{} / Tcp{.ack = true}, "dsr6", kDsr, true, FL_VERDICT_TRANSMIT,
                   (onward() / Ipv6{.hop_limit = 63} / Tcp{.ack = true}).bytes());
}

TEST_F(Steer, IpipWrapsIpv4WithCopiedDscpAndEcn) {
    expect_steered(Ethernet{} / Ipv4{.tos = 0xb9} / Tcp{.destination = kIpip, .ack = true} / Payload{"data"}, "ipip",
                   kIpip, false, FL_VERDICT_TRANSMIT,
                   (onward() / Ipv4{.source = kNode, .destination = kBackend, .tos = 0xb9} /
                    Ipv4{.ttl = 63, .tos = 0xb9} / Tcp{.destination = kIpip, .ack = true} / Payload{"data"})
                       .bytes());
}

TEST_F(Steer, IpipWrapsIpv6WithCopiedClassAndFlowLabel) {
    expect_steered(
        Ethernet{} / Ipv6{.traffic_class = 0x2e, .flow_label = 0xabcde} / Tcp{.destination = kIpip}, "ipip6", kIpip,
        true, FL_VERDICT_TRANSMIT,
        (onward() / Ipv6{.source = kNode6, .destination = kBackend6, .traffic_class = 0x2e, .flow_label = 0xabcde} /
         Ipv6{.hop_limit = 63, .traffic_class = 0x2e, .flow_label = 0xabcde} / Tcp{.destination = kIpip})
            .bytes());
}

// Backends of the other family behind the tunnels.
class CrossFamily : public Steer {
  protected:
    CrossFamily() { cross_family_ = true; }
};

TEST_F(CrossFamily, IpipWrapsIpv6InIpv4) {
    const Ipv6 in{.traffic_class = 0xb9, .flow_label = 0xabcde};
    auto inside = in;
    inside.hop_limit = 63;
    expect_steered(Ethernet{} / in / Tcp{.destination = kIpip, .ack = true} / Payload{"data"}, "ipip6", kIpip, true,
                   FL_VERDICT_TRANSMIT,
                   (onward() / Ipv4{.source = kNode, .destination = kBackend, .tos = 0xb9, .protocol = 41} / inside /
                    Tcp{.destination = kIpip, .ack = true} / Payload{"data"})
                       .bytes());
}

TEST_F(CrossFamily, IpipWrapsIpv4InIpv6WithAFlowLabelOfTheHash) {
    std::set<Bytes> labels;
    for (std::uint16_t port = 1000; port < 1032; ++port) {
        const Tcp tcp{.source = port, .destination = kIpip};
        auto out = run((Ethernet{} / Ipv4{.tos = 0xb9} / tcp / Payload{"data"}).bytes());
        ASSERT_EQ(out.verdict, FL_VERDICT_TRANSMIT);
        Bytes label{static_cast<std::uint8_t>(out.bytes[15] & 15), out.bytes[16], out.bytes[17]};
        const std::uint32_t number = static_cast<std::uint32_t>(label[0] << 16 | label[1] << 8 | label[2]);
        labels.insert(label);
        EXPECT_EQ(hex(out.bytes), hex((onward() /
                                       Ipv6{.source = kNode6,
                                            .destination = kBackend6,
                                            .traffic_class = 0xb9,
                                            .flow_label = number,
                                            .next = 4} /
                                       Ipv4{.ttl = 63, .tos = 0xb9} / tcp / Payload{"data"})
                                          .bytes()));
    }
    EXPECT_GT(labels.size(), 30U);
}

TEST_F(CrossFamily, TheOuterHeadersSizeCountsForTheMtu) {
    // MTU 100: an IPv4 packet has 40 bytes of outer header now, an IPv6 packet 20.
    const auto packet = Ethernet{} / Ipv4{} / Tcp{.destination = kSmall} / Payload{Bytes(21, 1)};
    const auto bytes = packet.bytes();
    expect_reason(packet, FL_VERDICT_TRANSMIT, FL_REASON_FRAG_NEEDED,
                  (back() / Ipv4{.source = kVip, .destination = kClient} / Icmp{.type = 3, .code = 4, .rest = 60} /
                   Payload{Bytes(bytes.begin() + 14, bytes.begin() + 42)})
                      .bytes());
    EXPECT_EQ(run((Ethernet{} / Ipv6{} / Tcp{.destination = kSmall} / Payload{Bytes(20, 1)}).bytes()).verdict,
              FL_VERDICT_TRANSMIT);
}

TEST_F(CrossFamily, WithoutAnAddressOfTheOuterFamilyThereIsNoTunnel) {
    ok(writer_->set_encap4(std::nullopt));
    ok(writer_->set_encap6(std::nullopt));
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = kIpip}, FL_REASON_NO_TUNNEL);
    expect_drop(Ethernet{} / Ipv6{} / Tcp{.destination = kIpip}, FL_REASON_NO_TUNNEL);
}

TEST_F(Steer, TtlChecksumIsRightForEveryTtl) {
    for (int ttl = 2; ttl < 256; ++ttl)
        for (const std::uint16_t id : {0, 0x1234, 0xffff}) {
            const auto t = static_cast<std::uint8_t>(ttl);
            const auto out = run((Ethernet{} / Ipv4{.ttl = t, .id = id} / Tcp{}).bytes());
            ASSERT_EQ(hex(out.bytes),
                      hex((onward() / Ipv4{.ttl = static_cast<std::uint8_t>(t - 1), .id = id} / Tcp{}).bytes()))
                << ttl;
        }
}

TEST_F(Steer, LocalBackendGetsThePacketUntouched) {
    const auto packet = Ethernet{} / Ipv4{.ttl = 1} / Tcp{.destination = kLocal};
    expect_steered(packet, "local", kLocal, false, FL_VERDICT_PASS, packet.bytes());
    const auto packet6 = Ethernet{} / Ipv6{.hop_limit = 1} / Tcp{.destination = kLocal};
    expect_steered(packet6, "local6", kLocal, true, FL_VERDICT_PASS, packet6.bytes());
}

TEST_F(Steer, EncapSourceVariesWithTheFlowInsideItsPrefix) {
    ok(writer_->set_encap4(IpPrefix::parse("10.9.0.0/16").value()));
    std::set<Bytes> sources;
    for (std::uint16_t port = 1000; port < 1064; ++port) {
        const auto out = run((Ethernet{} / Ipv4{} / Tcp{.source = port, .destination = kIpip}).bytes());
        const Bytes source(out.bytes.begin() + 26, out.bytes.begin() + 30);
        EXPECT_EQ(source[0], 10);
        EXPECT_EQ(source[1], 9);
        EXPECT_EQ(internet_checksum({out.bytes.begin() + 14, out.bytes.begin() + 34}), 0);
        sources.insert(source);
    }
    EXPECT_GT(sources.size(), 55U);
}

TEST_F(Steer, ServiceIsExactPortFirstThenAny) {
    const tables::CounterReader reader(*tables_);
    const auto any = writer_->find_service(address(kVip), 0, 17).value();
    EXPECT_EQ(run((Ethernet{} / Ipv4{} / Udp{.destination = 9}).bytes()).verdict, FL_VERDICT_TRANSMIT);
    EXPECT_EQ(reader.service(any).packets, 1U);
    auto d = desired();
    d.services.push_back({"exact", address(kVip), 9, 17, "dsr"});
    apply(d);
    EXPECT_EQ(run((Ethernet{} / Ipv4{} / Udp{.destination = 9}).bytes()).verdict, FL_VERDICT_TRANSMIT);
    EXPECT_EQ(reader.service(any).packets, 1U);
    EXPECT_EQ(reader.service(writer_->find_service(address(kVip), 9, 17).value()).packets, 1U);
}

// --- Slots ---

class Slots : public Steer {
  protected:
    static constexpr int kBackends = 4;

    void two_pools(std::uint32_t flags) {
        auto d = desired();
        tables::DesiredPool pool{"many", flags, 1024, 3600, {}};
        for (int i = 0; i < kBackends; ++i)
            pool.backends.push_back(
                {"b" + std::to_string(i), address("203.0.113." + std::to_string(20 + i)), FL_FORWARD_IPIP, 0});
        d.pools.push_back(pool);
        d.services.push_back({"many", address(kVip), 4000, 6, "many"});
        d.services.push_back({"many", address(kVip), 4001, 6, "many"});
        ASSERT_TRUE(writer_->apply(d).has_value());
        const auto id = writer_->find_pool("many").value();
        owners_.resize(1024);
        for (std::size_t i = 0; i < owners_.size(); ++i) owners_[i] = static_cast<std::uint16_t>(i * 7 % kBackends);
        ASSERT_TRUE(writer_->set_slots(id, owners_).has_value());
        for (std::uint16_t i = 0; i < kBackends; ++i)
            ok(writer_->set_backend_state(id, i, FL_BACKEND_HEALTHY, 1500, hop_));
    }

    // The last byte of the tunnel's far end, less 20.
    int backend_of(std::uint16_t source, std::uint16_t destination, const std::string& client = kClient) {
        return run((Ethernet{} / Ipv4{.source = client} / Tcp{.source = source, .destination = destination}).bytes())
                   .bytes[33] -
               20;
    }

    std::vector<std::uint16_t> owners_;
};

TEST_F(Slots, TheFlowsHashNamesTheSlotAndTheSlotItsOwner) {
    two_pools(0);
    std::array<int, kBackends> load{};
    for (int port = 1024; port < 5120; ++port) {
        const auto source = static_cast<std::uint16_t>(port);
        const auto from = address_bytes(kClient), to = address_bytes(kVip);
        std::uint32_t s = 0, d = 0;
        std::memcpy(&s, from.data(), 4);
        std::memcpy(&d, to.data(), 4);
        const auto h = fl_hash_flow4(&tables_->meta(), s, d,
                                     fl_htons(source) | static_cast<std::uint32_t>(fl_htons(4000)) << 16, 6);
        const auto expected = owners_[h & 1023];
        ASSERT_EQ(backend_of(source, 4000), expected);
        ++load[expected];
    }
    for (const int n : load) EXPECT_GT(n, 800);
}

TEST_F(Slots, ClientIpAffinityKeepsAClientsPortsOnOneBackend) {
    two_pools(FL_POOL_CLIENT_IP);
    std::set<int> used;
    for (int client = 1; client < 100; ++client) {
        const auto ip = "198.51.100." + std::to_string(client);
        const int first = backend_of(1024, 4000, ip);
        used.insert(first);
        for (const std::uint16_t port : {1025, 30000, 60000}) {
            EXPECT_EQ(backend_of(port, 4000, ip), first);
            EXPECT_EQ(backend_of(port, 4001, ip), first) << "services of one pool share its slots";
        }
    }
    EXPECT_EQ(used.size(), static_cast<std::size_t>(kBackends));
}

// Invariant 2 of DESIGN section 6: no state for a settled slot.
TEST_F(Slots, SettledSlotsWriteNoState) {
    two_pools(0);
    for (int port = 1024; port < 3000; ++port) backend_of(static_cast<std::uint16_t>(port), 4000);
    for (const auto& bucket : tables_->pins())
        for (const auto word : bucket.words) ASSERT_EQ(word, 0U);
    for (const auto& stamp : tables_->stamps()) ASSERT_EQ(stamp.previous_used | stamp.pin_used, 0U);
}

// --- What is not ours ---

TEST_F(Steer, WhatIsForNoVipIsPassedUntouchedWhateverItLooksLike) {
    expect_pass(Ethernet{} / Ipv4{.destination = "192.0.2.99"} / Tcp{});
    expect_pass(Ethernet{} / Ipv4{.destination = "192.0.2.99", .ttl = 0, .more_fragments = true, .offset = 100} /
                Payload{"x"});
    expect_pass(Ethernet{} / Ipv4{.destination = "192.0.2.99", .options = Bytes(8, 1)} / Udp{});
    expect_pass(Ethernet{} / Ipv4{.destination = "192.0.2.99", .length = 9} / Tcp{});
    expect_pass(Ethernet{} / Ipv6{.destination = "2001:db8::99"} / Tcp{});
    expect_pass(Ethernet{} / Ipv6{.destination = "2001:db8::99", .next = 0} / Payload{"abcdefgh"});
    expect_pass(Ethernet{} / Vlan{} / Ipv4{.destination = "192.0.2.99"} / Tcp{});
    expect_pass(Ethernet{.type = 0x88cc} / Payload{"lldp"});
    expect_pass(Ethernet{} / Arp{.target = "192.0.2.99"});
    expect_pass(Ethernet{.type = 0x0800} / Payload{"short"});
    expect_pass(Ethernet{} / Ipv4{.destination = "192.0.2.99"} / Icmp{});
}

#ifndef FAIRLEAD_KERNEL_ENGINE  // The kernel hands over no such frame.
TEST_F(Steer, FramesTooShortForAnEthernetHeaderArePassed) {
    for (std::size_t size = 0; size < 14; ++size) {
        const auto out = run(Bytes(size, 0xff));
        EXPECT_EQ(out.verdict, FL_VERDICT_PASS);
        EXPECT_EQ(out.bytes, Bytes(size, 0xff));
    }
}
#endif

// --- For a VIP, and not to be forwarded ---

TEST_F(Steer, MalformedIsDroppedAtEveryCut) {
    for (const auto& packet : {Ethernet{} / Ipv4{} / Tcp{}, Ethernet{} / Ipv6{} / Tcp{}}) {
        const auto whole = packet.bytes();
        const std::size_t addressed = whole[12] == 0x08 ? 34 : 54;  // from here on the VIP is known
        for (std::size_t size = 14; size < whole.size(); ++size) {
            const auto out = run(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)));
            EXPECT_EQ(out.verdict, size < addressed ? FL_VERDICT_PASS : FL_VERDICT_DROP) << size;
        }
    }
    // The packet ends inside its TCP, UDP or ICMP header, and the frame goes on.
    expect_drop(Ethernet{} / Ipv4{.length = 39} / Tcp{}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv4{.length = 27} / Udp{}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv4{.length = 27} / Icmp{}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv6{.length = 19} / Tcp{}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv6{.length = 7} / Icmp{.type = 128}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv4{.length = 19} / Tcp{}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv4{.length = 1500} / Tcp{}, FL_REASON_MALFORMED);
    expect_drop(Ethernet{} / Ipv6{.length = 1500} / Tcp{}, FL_REASON_MALFORMED);
}

TEST_F(Steer, DropsForWantOfAWay) {
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = kUnresolved}, FL_REASON_NO_NEIGHBOUR);
    expect_drop(Ethernet{} / Ipv4{.ttl = 1} / Tcp{}, FL_REASON_TTL_EXPIRED);
    expect_drop(Ethernet{} / Ipv6{.hop_limit = 0} / Tcp{}, FL_REASON_TTL_EXPIRED);
    ok(writer_->set_nexthop(nowhere_, MacAddress::parse(kHopMac).value(), 5));
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = kUnresolved}, FL_REASON_NO_PORT);
}

TEST_F(Steer, TooBigCountsTheEncapsulation) {
    // Next hop's MTU 100: 20 + 20 + 40 and 40 bytes of encapsulation fit just so.
    EXPECT_EQ(run((Ethernet{} / Ipv4{} / Tcp{.destination = kSmall} / Payload{Bytes(40, 1)}).bytes()).verdict,
              FL_VERDICT_TRANSMIT);
    expect_drop(Ethernet{} / Ipv4{.dont_fragment = false} / Tcp{.destination = kSmall} / Payload{Bytes(41, 1)},
                FL_REASON_TOO_BIG);
    EXPECT_EQ(run((Ethernet{} / Ipv6{} / Tcp{.destination = kSmall}).bytes()).verdict, FL_VERDICT_TRANSMIT);
    // Below IPv6's least MTU it is for the tunnel to fragment.
    expect_drop(Ethernet{} / Ipv6{} / Tcp{.destination = kSmall} / Payload{"x"}, FL_REASON_TOO_BIG);
}

// --- Path MTU ---

TEST_F(Steer, TooBigWithDontFragmentIsAnsweredWithWhatFits) {
    const auto packet = Ethernet{} / Ipv4{} / Tcp{.destination = kSmall} / Payload{Bytes(41, 1)};
    expect_answer(packet, FL_REASON_FRAG_NEEDED,
                  back() / Ipv4{.source = kVip, .destination = kClient} / Icmp{.type = 3, .code = 4, .rest = 100 - 20} /
                      Payload{quoted(packet, 28)});
    const auto packet6 = Ethernet{} / Ipv6{} / Tcp{.destination = kSmall} / Payload{Bytes(1300, 1)};
    expect_answer(packet6, FL_REASON_FRAG_NEEDED,
                  back() / Ipv6{.source = kVip6, .destination = kClient6} / Icmp{.type = 2, .rest = 1280} /
                      Payload{quoted(packet6, 48)});
}

TEST_F(Steer, TooBigIsNotAnsweredWhereNoAnswerMayGo) {
    const Payload data{Bytes(61, 1)};
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = kSmall, .rst = true} / data, FL_REASON_NOT_ANSWERABLE);
    expect_drop(Ethernet{} / Ipv4{.source = "224.0.0.1"} / Tcp{.destination = kSmall} / data, FL_REASON_NOT_ANSWERABLE);
    ok(writer_->set_role(0, 0));
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = kSmall} / data, FL_REASON_STANDBY);
    ok(writer_->set_role(0, UINT64_MAX));
    ok(writer_->set_answer_rate(0));
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = kSmall} / data, FL_REASON_ANSWER_LIMITED);
}

TEST_F(Steer, AMergedSuperframeIsNeverAnswered) {
    // The port's MTU is 1500: nothing larger came off a wire.
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = kDsr} / Payload{Bytes(1461, 1)}, FL_REASON_SUPERFRAME);
    expect_drop(Ethernet{} / Ipv6{} / Tcp{.destination = kDsr} / Payload{Bytes(1441, 1)}, FL_REASON_SUPERFRAME);
}

TEST_F(Steer, IcmpErrorsGoToTheBackendOfTheConnectionTheyQuote) {
    const auto sent =
        Ethernet{} / Ipv4{.source = kVip, .destination = kClient} / Tcp{.source = kIpip, .destination = 40000};
    // A router's address: the error is steered by what it quotes. RFC 792's minimum is enough.
    for (const std::size_t size : {24U, 28U, 40U}) {
        const Payload quote{quoted(sent, size)};
        const Icmp error{.type = 3, .code = 4, .rest = 1400};
        expect_steered(Ethernet{} / Ipv4{.source = "203.0.113.9"} / error / quote, "ipip", kIpip, false,
                       FL_VERDICT_TRANSMIT,
                       (onward() / Ipv4{.source = kNode, .destination = kBackend} /
                        Ipv4{.source = "203.0.113.9", .ttl = 63} / error / quote)
                           .bytes());
    }
    const auto sent6 =
        Ethernet{} / Ipv6{.source = kVip6, .destination = kClient6} / Tcp{.source = kDsr, .destination = 40000};
    for (const std::uint8_t type : {1, 2, 3, 4}) {
        const Payload quote{quoted(sent6, 48)};
        const Icmp error{.type = type, .rest = type == 2 ? 1300U : 0U};
        expect_steered(Ethernet{} / Ipv6{.source = "2001:db8:9::9"} / error / quote, "dsr6", kDsr, true,
                       FL_VERDICT_TRANSMIT,
                       (onward() / Ipv6{.source = "2001:db8:9::9", .hop_limit = 63} / error / quote).bytes());
    }
    // Options in the quoted header push the ports further back.
    const Payload quote{quoted(Ethernet{} / Ipv4{.source = kVip, .destination = kClient, .options = Bytes(8, 1)} /
                                   Tcp{.source = kDsr, .destination = 40000},
                               36)};
    for (const std::uint8_t type : {3, 11, 12})
        expect_steered(Ethernet{} / Ipv4{} / Icmp{.type = type} / quote, "dsr", kDsr, false, FL_VERDICT_TRANSMIT,
                       (onward() / Ipv4{.ttl = 63} / Icmp{.type = type} / quote).bytes());
}

TEST_F(Steer, AnIcmpErrorFollowsItsConnectionWhereverThatIs) {
    // Sixteen backends: by chance alone one flow in sixteen would agree.
    auto d = desired();
    for (auto& pool : d.pools)
        if (pool.name == "dsr")
            for (int i = 1; i < 16; ++i)
                pool.backends.push_back(
                    {"b" + std::to_string(i), address("203.0.113." + std::to_string(20 + i)), FL_FORWARD_IPIP, 0});
    apply(d);
    const auto pool = writer_->find_pool("dsr").value();
    std::vector<std::uint16_t> owners(writer_->slot_count(pool));
    for (std::size_t i = 0; i < owners.size(); ++i) owners[i] = static_cast<std::uint16_t>(i % 16);
    ASSERT_TRUE(writer_->set_slots(pool, owners).has_value());
    for (std::uint16_t i = 1; i < 16; ++i) ok(writer_->set_backend_state(pool, i, FL_BACKEND_HEALTHY, 1500, hop_));
    const tables::CounterReader reader(*tables_);
    const auto counts = [&] {
        std::vector<std::uint64_t> all;
        for (std::uint16_t i = 0; i < 16; ++i) all.push_back(reader.backend(writer_->global_index(pool, i)).packets);
        return all;
    };
    for (std::uint16_t port = 1000; port < 1200; ++port) {
        const auto before = counts();
        run((Ethernet{} / Ipv4{} / Tcp{.source = port, .destination = kDsr}).bytes());
        const auto between = counts();
        const Payload quote{quoted(
            Ethernet{} / Ipv4{.source = kVip, .destination = kClient} / Tcp{.source = kDsr, .destination = port}, 28)};
        run((Ethernet{} / Ipv4{.source = "203.0.113.9"} / Icmp{.type = 11} / quote).bytes());
        const auto after = counts();
        for (std::size_t i = 0; i < 16; ++i) ASSERT_EQ(after[i] - between[i], between[i] - before[i]) << port;
    }
}

TEST_F(Steer, IcmpErrorsThatQuoteNothingOfOursAreDroppedAndNeverAnswered) {
    const auto quote = [](const Ipv4& ip, const Tcp& tcp, std::size_t size = 28) {
        return Payload{quoted(Ethernet{} / ip / tcp, size)};
    };
    const Ipv4 reply{.source = kVip, .destination = kClient};
    const Icmp error{.type = 3, .code = 4, .rest = 1400};
    expect_drop(Ethernet{} / Ipv4{} / error / quote({.source = "192.0.2.99"}, {.source = kDsr}), FL_REASON_ICMP);
    expect_drop(Ethernet{} / Ipv4{} / error / quote(reply, {.source = kDsr}, 23), FL_REASON_ICMP);
    expect_drop(Ethernet{} / Ipv4{} / error / quote(reply, {.source = kDsr}, 12), FL_REASON_ICMP);
    expect_drop(Ethernet{} / Ipv4{} / Icmp{.type = 5} / quote(reply, {.source = kDsr}), FL_REASON_ICMP);
    auto later = reply;
    later.offset = 5;
    expect_drop(Ethernet{} / Ipv4{} / error / quote(later, {.source = kDsr}), FL_REASON_ICMP);
    // No service there, or none left: with a packet that would be a reset.
    expect_drop(Ethernet{} / Ipv4{} / error / quote(reply, {.source = 4444}), FL_REASON_NOT_ANSWERABLE);
    expect_drop(Ethernet{} / Ipv4{} / error / quote(reply, {.source = kDown}), FL_REASON_NOT_ANSWERABLE);
    // Too big itself, for the tunnel: silence.
    expect_drop(Ethernet{} / Ipv4{} / error / quote(reply, {.source = kSmall}) / Payload{Bytes(60, 1)},
                FL_REASON_NOT_ANSWERABLE);
}

TEST_F(Steer, NoHeadroomIsADropAndNotAForwardedPacket) {
    const auto frame = (Ethernet{} / Ipv4{} / Tcp{.destination = kIpip}).bytes();
    auto engine = tables_->engine();
    engine.ingress_port = 1;
    engine.headroom = 19;
    auto copy = frame;
    fl_packet packet{copy.data(), copy.data() + copy.size()};
    std::uint32_t port = 0;
    EXPECT_EQ(fl_steer(&engine, &packet, &port), FL_VERDICT_DROP);
    EXPECT_EQ(tables::CounterReader(*tables_).reason(FL_REASON_NO_HEADROOM).packets, 1U);
    EXPECT_EQ(total(), 1U);
}

// --- Answers ---

TEST_F(Steer, ArpForAVipIsAnsweredWithOurMac) {
    const Ethernet broadcast{.destination = "ff:ff:ff:ff:ff:ff"};
    expect_answer(
        broadcast / Arp{}, FL_REASON_ARP,
        back() /
            Arp{.operation = 2, .sender_mac = kOwnMac, .sender = kVip, .target_mac = kClientMac, .target = kClient});
    // A probe (RFC 5227) comes from no address, and is answered too.
    expect_answer(
        broadcast / Arp{.sender = "0.0.0.0"}, FL_REASON_ARP,
        back() /
            Arp{.operation = 2, .sender_mac = kOwnMac, .sender = kVip, .target_mac = kClientMac, .target = "0.0.0.0"});
    // An announcement of the VIP is no question, a reply none either.
    expect_pass(broadcast / Arp{.sender = kVip});
    expect_pass(broadcast / Arp{.operation = 2});
}

Bytes with(Bytes first, const Bytes& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

TEST_F(Steer, NeighbourSolicitationIsAnswered) {
    const auto target = address_bytes(kVip6);
    const Payload option{with(with(target, {1, 1}), mac_bytes(kClientMac))};
    const auto advertisement = [&](std::uint32_t flags) { return Icmp{.type = 136, .rest = flags}; };
    const Payload own{with(with(target, {2, 1}), mac_bytes(kOwnMac))};
    const Ethernet multicast{.destination = "33:33:ff:00:00:10"};
    expect_answer(
        multicast / Ipv6{.destination = "ff02::1:ff00:10", .hop_limit = 255} / Icmp{.type = 135} / option, FL_REASON_ND,
        back() / Ipv6{.source = kVip6, .destination = kClient6, .hop_limit = 255} / advertisement(0x60000000) / own);
    // Duplicate address detection: from no address, without an option; answered to all nodes, unsolicited.
    expect_answer(multicast / Ipv6{.source = "::", .destination = "ff02::1:ff00:10", .hop_limit = 255} /
                      Icmp{.type = 135} / Payload{target},
                  FL_REASON_ND,
                  Ethernet{.source = kOwnMac, .destination = "33:33:00:00:00:01"} /
                      Ipv6{.source = kVip6, .destination = "ff02::1", .hop_limit = 255} / advertisement(0x20000000) /
                      own);
    // Forwarded by a router, so not from this link (RFC 4861 section 7.1.1).
    expect_pass(multicast / Ipv6{.destination = "ff02::1:ff00:10", .hop_limit = 254} / Icmp{.type = 135} / option);
    // For somebody else.
    const Payload other{with(with(address_bytes("2001:db8::99"), {1, 1}), mac_bytes(kClientMac))};
    expect_pass(multicast / Ipv6{.destination = "ff02::1:ff00:99", .hop_limit = 255} / Icmp{.type = 135} / other);
}

TEST_F(Steer, EchoIsAnsweredWithItsData) {
    for (const auto* data : {"", "x", "echo me, please"}) {
        expect_answer(
            Ethernet{} / Ipv4{.ttl = 3, .id = 99, .dont_fragment = false} / Icmp{.rest = 0x12340001} / Payload{data},
            FL_REASON_ECHO,
            back() / Ipv4{.source = kVip, .destination = kClient, .id = 99, .dont_fragment = false} /
                Icmp{.type = 0, .rest = 0x12340001} / Payload{data});
        expect_answer(Ethernet{} / Ipv6{.hop_limit = 3} / Icmp{.type = 128, .rest = 0x12340001} / Payload{data},
                      FL_REASON_ECHO,
                      back() / Ipv6{.source = kVip6, .destination = kClient6} / Icmp{.type = 129, .rest = 0x12340001} /
                          Payload{data});
    }
}

TEST_F(Steer, UnlistedPortIsReset) {
    expect_answer(
        Ethernet{} / Ipv4{} / Tcp{.destination = 99, .sequence = 0xffffffff, .syn = true}, FL_REASON_RESET,
        back() / Ipv4{.source = kVip, .destination = kClient} /
            Tcp{.source = 99, .destination = 40000, .sequence = 0, .acknowledgement = 0, .ack = true, .rst = true});
    // With data and FIN: what is acknowledged counts both.
    expect_answer(
        Ethernet{} / Ipv4{} / Tcp{.destination = 99, .sequence = 100, .fin = true} / Payload{"12345"}, FL_REASON_RESET,
        back() / Ipv4{.source = kVip, .destination = kClient} /
            Tcp{.source = 99, .destination = 40000, .sequence = 0, .acknowledgement = 106, .ack = true, .rst = true});
    // An acknowledging segment is answered with its own number.
    expect_answer(Ethernet{} / Ipv6{} / Tcp{.destination = 99, .sequence = 5, .acknowledgement = 77, .ack = true} /
                      Payload{"data"},
                  FL_REASON_RESET,
                  back() / Ipv6{.source = kVip6, .destination = kClient6} /
                      Tcp{.source = 99, .destination = 40000, .sequence = 77, .rst = true});
}

TEST_F(Steer, UnlistedDatagramIsUnreachable) {
    auto d = desired();
    std::erase_if(d.services, [](const auto& s) { return s.name == "any"; });
    apply(d);
    const auto question = (Ipv4{.id = 3} / Udp{} / Payload{"query"}).bytes();
    expect_answer(Ethernet{} / Ipv4{.id = 3} / Udp{} / Payload{"query"}, FL_REASON_UNREACHABLE,
                  back() / Ipv4{.source = kVip, .destination = kClient} / Icmp{.type = 3, .code = 3} /
                      Payload{Bytes(question.begin(), question.begin() + 28)});
    const auto question6 = Ipv6{} / Udp{} / Payload{"query"};
    const auto quoted = question6.bytes();
    expect_answer(Ethernet{} / Ipv6{} / Udp{} / Payload{"query"}, FL_REASON_UNREACHABLE,
                  back() / Ipv6{.source = kVip6, .destination = kClient6} / Icmp{.type = 1, .code = 4} /
                      Payload{Bytes(quoted.begin(), quoted.begin() + 48)});
}

TEST_F(Steer, AllDownIsRefusedOrDroppedAsConfigured) {
    expect_answer(
        Ethernet{} / Ipv4{} / Tcp{.destination = kDown, .sequence = 9, .syn = true}, FL_REASON_RESET,
        back() / Ipv4{.source = kVip, .destination = kClient} /
            Tcp{.source = kDown, .destination = 40000, .sequence = 0, .acknowledgement = 10, .ack = true, .rst = true});
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = kDownSilent, .syn = true}, FL_REASON_ALL_DOWN);
}

TEST_F(Steer, NothingIsAnsweredThatMustNotBe) {
    expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = 99, .rst = true}, FL_REASON_NOT_ANSWERABLE);
    for (const auto* source : {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", kVip})
        expect_drop(Ethernet{} / Ipv4{.source = source} / Tcp{.destination = 99, .syn = true},
                    FL_REASON_NOT_ANSWERABLE);
    for (const auto* source : {"::", "::1", "ff02::1", kVip6})
        expect_drop(Ethernet{} / Ipv6{.source = source} / Tcp{.destination = 99, .syn = true},
                    FL_REASON_NOT_ANSWERABLE);
    expect_drop(Ethernet{.destination = "ff:ff:ff:ff:ff:ff"} / Ipv4{} / Tcp{.destination = 99, .syn = true},
                FL_REASON_NOT_ANSWERABLE);
    expect_drop(Ethernet{} / Ipv4{.source = "224.0.0.1"} / Icmp{}, FL_REASON_NOT_ANSWERABLE);
}

TEST_F(Steer, UnlistedOtherProtocolsAreDropped) {
    expect_drop(Ethernet{} / Ipv4{.protocol = 132} / Payload{"sctp"}, FL_REASON_UNLISTED);
}

#ifndef FAIRLEAD_KERNEL_ENGINE  // With the clock in the test's hand.
TEST_F(Steer, AnswersAreLimitedInRateAndTheLimitRefills) {
    const auto echo = (Ethernet{} / Ipv4{} / Icmp{}).bytes();
    int answered = 0;
    for (int i = 0; i < 2000; ++i) answered += run(echo).verdict == FL_VERDICT_TRANSMIT;
    EXPECT_EQ(answered, 251) << "a quarter of a second's worth";
    EXPECT_EQ(tables::CounterReader(*tables_).reason(FL_REASON_ANSWER_LIMITED).packets, 2000U - 251U);
    now_ += 100'000'000;
    answered = 0;
    for (int i = 0; i < 2000; ++i) answered += run(echo).verdict == FL_VERDICT_TRANSMIT;
    EXPECT_EQ(answered, 100);
    // A little at a time earns as much as all at once.
    answered = 0;
    for (int i = 0; i < 1000; ++i) {
        now_ += 300'000;
        answered += run(echo).verdict == FL_VERDICT_TRANSMIT;
    }
    EXPECT_NEAR(answered, 300, 75);
    // ARP is not limited: a VIP that cannot be found serves nobody.
    for (int i = 0; i < 2000; ++i) ASSERT_EQ(run((Ethernet{} / Arp{}).bytes()).verdict, FL_VERDICT_TRANSMIT);
}
#endif

// --- Roles ---

#ifndef FAIRLEAD_KERNEL_ENGINE  // With the clock in the test's hand.
TEST_F(Steer, AStandbySteersAndAnswersNothing) {
    for (const std::uint64_t until : {std::uint64_t{0}, kNow - 1, kNow}) {
        ok(writer_->set_role(0, until));
        expect_drop(Ethernet{} / Arp{}, FL_REASON_STANDBY);
        expect_drop(Ethernet{} / Ipv4{} / Icmp{}, FL_REASON_STANDBY);
        expect_drop(Ethernet{} / Ipv4{} / Tcp{.destination = 99, .syn = true}, FL_REASON_STANDBY);
        EXPECT_EQ(run((Ethernet{} / Ipv4{} / Tcp{}).bytes()).verdict, FL_VERDICT_TRANSMIT);
    }
    ok(writer_->set_role(0, kNow + 1));
    EXPECT_EQ(run((Ethernet{} / Arp{}).bytes()).verdict, FL_VERDICT_TRANSMIT);
}
#endif

// --- A packet is steered once ---

TEST_F(Steer, FromAPeerOnlyTheLocalBackendOrNowhere) {
    const std::array peers{MacAddress::parse("02:00:00:00:00:77").value(), MacAddress::parse(kPeerMac).value()};
    ok(writer_->set_peers(peers));
    const Ethernet peer{.source = kPeerMac};
    expect_drop(peer / Ipv4{} / Tcp{}, FL_REASON_RESTEER);
    expect_drop(peer / Ipv6{} / Tcp{.destination = kIpip}, FL_REASON_RESTEER);
    const auto local = peer / Ipv4{.ttl = 1} / Tcp{.destination = kLocal};
    expect_steered(local, "local", kLocal, false, FL_VERDICT_PASS, local.bytes());
    // Everybody else's are steered as ever.
    EXPECT_EQ(run((Ethernet{} / Ipv4{} / Tcp{}).bytes()).verdict, FL_VERDICT_TRANSMIT);
}

TEST_F(Steer, UnlistedOfALocalVipIsTheHosts) {
    local_vip_ = true;
    apply(desired());
    expect_pass(Ethernet{} / Ipv4{} / Tcp{.destination = 22, .syn = true}, FL_REASON_LOCAL_VIP);
    expect_pass(Ethernet{} / Ipv4{.protocol = 132} / Payload{"sctp"}, FL_REASON_LOCAL_VIP);
    expect_pass(Ethernet{} / Ipv4{} / Icmp{.type = 3, .code = 4} / Payload{"12345678"}, FL_REASON_LOCAL_VIP);
}

// --- Decapsulation ---

TEST_F(Decap, UnwrapsForTheLocalBackendAndCountsIt) {
    expect_steered(Ethernet{} / outer() / Ipv4{} / Tcp{.destination = kLocal} / Payload{"data"}, "local", kLocal, false,
                   FL_VERDICT_PASS, (Ethernet{} / Ipv4{} / Tcp{.destination = kLocal} / Payload{"data"}).bytes());
    expect_steered(Ethernet{} / outer6() / Ipv6{} / Tcp{.destination = kLocal}, "local6", kLocal, true, FL_VERDICT_PASS,
                   (Ethernet{} / Ipv6{} / Tcp{.destination = kLocal}).bytes());
}

TEST_F(Decap, NeverSteersAgain) {
    expect_drop(Ethernet{} / outer() / Ipv4{} / Tcp{}, FL_REASON_RESTEER);
    expect_drop(Ethernet{} / outer6() / Ipv6{} / Tcp{.destination = kIpip}, FL_REASON_RESTEER);
}

TEST_F(Decap, RefusesSourcesThatAreNotConfigured) {
    expect_drop(Ethernet{} / Ipv4{.source = "192.0.2.66", .destination = kNode} / Ipv4{} / Tcp{.destination = kLocal},
                FL_REASON_DECAP_REFUSED);
    expect_drop(
        Ethernet{} / Ipv6{.source = "2001:db8:2::1", .destination = kNode6} / Ipv6{} / Tcp{.destination = kLocal},
        FL_REASON_DECAP_REFUSED);
}

TEST_F(Decap, LeavesOtherTunnelsToTheHost) {
    expect_pass(Ethernet{} / outer() / Ipv4{.destination = "192.0.2.99"} / Tcp{});
    expect_pass(Ethernet{} / Ipv4{.source = kPeer, .destination = "192.0.2.77"} / Ipv4{} / Tcp{});
    expect_pass(Ethernet{} / Ipv4{.source = kPeer, .destination = kNode, .more_fragments = true} / Ipv4{} / Tcp{});
    ok(writer_->set_meta_flags(0));
    expect_pass(Ethernet{} / outer() / Ipv4{} / Tcp{.destination = kLocal});
}

TEST_F(Decap, UnwrapsEitherFamilyOutOfEither) {
    auto out4 = outer();
    out4.protocol = 41;
    expect_steered(Ethernet{} / out4 / Ipv6{} / Tcp{.destination = kLocal}, "local6", kLocal, true, FL_VERDICT_PASS,
                   (Ethernet{} / Ipv6{} / Tcp{.destination = kLocal}).bytes());
    auto out6 = outer6();
    out6.next = 4;
    expect_steered(Ethernet{} / out6 / Ipv4{} / Tcp{.destination = kLocal}, "local", kLocal, false, FL_VERDICT_PASS,
                   (Ethernet{} / Ipv4{} / Tcp{.destination = kLocal}).bytes());
}

TEST_F(Decap, EcnComesOutAsRfc6040Says) {
    // Figure 4; a row for each inner field, a column for each outer one: Not-ECT, ECT(1), ECT(0), CE. -1: dropped.
    const int table[4][4] = {{0, 0, 0, -1}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};
    for (std::uint8_t inner = 0; inner < 4; ++inner)
        for (std::uint8_t around = 0; around < 4; ++around) {
            const int want = table[inner][around];
            const auto tos = [](int ecn) { return static_cast<std::uint8_t>(0xb8 | ecn); };
            auto out4 = outer();
            out4.tos = around;
            auto out6 = outer6();
            out6.traffic_class = around;
            const auto packet4 = Ethernet{} / out4 / Ipv4{.tos = tos(inner)} / Tcp{.destination = kLocal};
            const auto packet6 = Ethernet{} / out6 / Ipv6{.traffic_class = tos(inner)} / Tcp{.destination = kLocal};
            if (want < 0) {
                expect_drop(packet4, FL_REASON_DECAP_ECN);
                expect_drop(packet6, FL_REASON_DECAP_ECN);
                continue;
            }
            EXPECT_EQ(hex(run(packet4.bytes()).bytes),
                      hex((Ethernet{} / Ipv4{.tos = tos(want)} / Tcp{.destination = kLocal}).bytes()));
            EXPECT_EQ(hex(run(packet6.bytes()).bytes),
                      hex((Ethernet{} / Ipv6{.traffic_class = tos(want)} / Tcp{.destination = kLocal}).bytes()));
        }
}

TEST_F(Decap, AFrontEndNodeUnwrapsWhateverIsForAVip) {
    const auto unwrap = [&](const Packet& packet, const Packet& inner) {
        expect_reason(packet, FL_VERDICT_PASS, FL_REASON_DECAPSULATED, inner.bytes(), true);
    };
    unwrap(Ethernet{} / outer() / Ipv4{.ttl = 9} / Tcp{.destination = 7},
           Ethernet{} / Ipv4{.ttl = 9} / Tcp{.destination = 7});
    unwrap(Ethernet{} / outer() / Ipv4{.more_fragments = true} / Payload{"part"},
           Ethernet{} / Ipv4{.more_fragments = true} / Payload{"part"});
    unwrap(Ethernet{} / outer6() / Ipv6{} / Icmp{.type = 128}, Ethernet{} / Ipv6{} / Icmp{.type = 128});
    // It steers nothing and answers nothing.
    expect_reason(Ethernet{} / Arp{}, FL_VERDICT_PASS, FL_REASON_NOT_VIP, (Ethernet{} / Arp{}).bytes(), true);
    expect_reason(Ethernet{} / Ipv4{} / Tcp{}, FL_VERDICT_PASS, FL_REASON_NOT_VIP,
                  (Ethernet{} / Ipv4{} / Tcp{}).bytes(), true);
}
}  // namespace
}  // namespace fairlead
