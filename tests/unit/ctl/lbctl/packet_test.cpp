// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/packet.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/support/packet.h"

namespace fairlead::lbctl {
namespace {
using test::Bytes;
using test::hex;
using test::Icmp;
using test::Ipv4;
using test::Ipv6;
using test::Payload;
using test::Tcp;
using test::Udp;
using test::Vlan;

const test::Ethernet kEthernet{.source = "00:00:00:00:00:00", .destination = "00:00:00:00:00:00"};

Question tcp(bool v4 = true) {
    if (v4) return {Endpoint::parse("198.51.100.7:40000").value(), Endpoint::parse("192.0.2.10:80").value()};
    return {Endpoint::parse("[2001:db8:ffff::7]:40000").value(), Endpoint::parse("[2001:db8::10]:80").value()};
}

std::string made(const Question& question) {
    const auto bytes = make_packet(question);
    return bytes ? hex(*bytes) : bytes.error().message;
}

std::string built(const test::Packet& packet) { return hex(packet.bytes()); }

TEST(ExplainPacket, IsTheFirstOfAFlow) {
    EXPECT_EQ(made(tcp()), built(kEthernet / Ipv4{} / Tcp{.sequence = 0, .syn = true, .window = 0xffff}));
    EXPECT_EQ(made(tcp(false)), built(kEthernet / Ipv6{} / Tcp{.sequence = 0, .syn = true, .window = 0xffff}));
    auto udp = tcp();
    udp.udp = true;
    EXPECT_EQ(made(udp), built(kEthernet / Ipv4{} / Udp{.destination = 80}));
}

TEST(ExplainPacket, CarriesTags) {
    auto question = tcp();
    question.vlans = {7};
    EXPECT_EQ(made(question), built(kEthernet / Vlan{} / Ipv4{} / Tcp{.sequence = 0, .syn = true, .window = 0xffff}));
    question.vlans = {9, 7};
    EXPECT_EQ(made(question), built(kEthernet / Vlan{.id = 9, .ethertype = 0x88a8} / Vlan{} / Ipv4{} /
                                    Tcp{.sequence = 0, .syn = true, .window = 0xffff}));
}

TEST(ExplainPacket, OfASizeIsData) {
    auto question = tcp();
    question.size = 1500;
    EXPECT_EQ(made(question),
              built(kEthernet / Ipv4{} / Tcp{.sequence = 0, .ack = true, .window = 0xffff} / Payload(Bytes(1460))));
    question = tcp(false);
    question.udp = true;
    question.size = 1281;  // odd
    EXPECT_EQ(made(question), built(kEthernet / Ipv6{} / Udp{.destination = 80} / Payload(Bytes(1233))));
}

TEST(ExplainPacket, SaysWhetherItMayBeFragmented) {
    auto question = tcp();
    question.df = false;
    EXPECT_EQ(made(question),
              built(kEthernet / Ipv4{.dont_fragment = false} / Tcp{.sequence = 0, .syn = true, .window = 0xffff}));
    question = tcp(false);
    question.df = true;
    EXPECT_NE(made(question).find("IPv6 has no DF"), std::string::npos);
}

TEST(ExplainPacket, ALaterFragmentHasNoPorts) {
    auto question = tcp();
    question.later_fragment = true;
    EXPECT_EQ(made(question),
              built(kEthernet / Ipv4{.dont_fragment = false, .offset = 185, .protocol = 6} / Payload(Bytes(8))));
    question = tcp(false);
    question.udp = true;
    question.later_fragment = true;
    question.size = 100;
    Bytes behind(60);
    behind[0] = 17;
    behind[2] = 185 * 8 >> 8;
    behind[3] = 185 * 8 & 0xff;
    EXPECT_EQ(made(question), built(kEthernet / Ipv6{.next = 44} / Payload(behind)));
}

TEST(ExplainPacket, RefusesWhatCannotBe) {
    auto question = tcp();
    question.size = 39;
    EXPECT_EQ(made(question), "a packet of 39 bytes: expected 40 to 65535");
    question.size = 65'536;
    EXPECT_NE(made(question).find("expected 40 to 65535"), std::string::npos);
    question = tcp(false);
    question.size = 65'575;
    EXPECT_EQ(make_packet(question)->size(), 14U + 65'575U);
    question.size = 65'576;
    EXPECT_FALSE(make_packet(question));
    question = tcp();
    question.destination = tcp(false).destination;
    EXPECT_NE(made(question).find("not of one address family"), std::string::npos);
}

TEST(ExplainFrame, IsDigitsOrAFileOfDigitsOrOfBytes) {
    const std::vector<std::uint8_t> bytes{0x02, 0x00, 0x5e, 0xff};
    EXPECT_EQ(read_frame("02005eff").value(), bytes);
    EXPECT_EQ(read_frame("02:00:5E:FF\n").value(), bytes);
    Question question;
    question.frame = bytes;
    EXPECT_EQ(make_packet(question).value(), bytes);
    for (const auto* wrong : {"", "02005", "02xx", "/nonexistent"}) EXPECT_FALSE(read_frame(wrong)) << wrong;

    const auto file = std::filesystem::temp_directory_path() / ("fairlead-frame-" + std::to_string(::getpid()));
    std::ofstream(file) << "0200 5eff\n";
    EXPECT_EQ(read_frame(file).value(), bytes);
    std::ofstream(file, std::ios::binary) << std::string("\x02\x00\x5e\xff", 4);
    EXPECT_EQ(read_frame(file).value(), bytes);
    std::ofstream(file, std::ios::trunc);
    EXPECT_FALSE(read_frame(file)) << "empty";
    std::filesystem::remove(file);
}

}  // namespace
}  // namespace fairlead::lbctl
