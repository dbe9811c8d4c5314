// SPDX-License-Identifier: Apache-2.0
// fl_decap on a front-end node's interface.
#include "xdp/decap.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "dataplane/core/wire.h"
#include "tests/bpf/frames.h"
#include "tests/bpf/sandbox.h"
#include "xdp/offloads.h"

namespace fairlead::xdp {
namespace {

using test::Frame;
using test::FrameMaker;
using test::program_on;
using test::run;
using test::Sandbox;
namespace fs = std::filesystem;

constexpr const char* kBalancer = "198.51.100.1";
constexpr const char* kBalancer6 = "2001:db8:1::1";

class Decap : public testing::Test {
  protected:
    void SetUp() override { FAIRLEAD_NEEDS_ROOT(); }

    static DecapSpec spec() {
        DecapSpec made;
        made.ifname = "left";
        made.sources = {IpPrefix::parse("198.51.100.0/30").value(), IpPrefix::parse("2001:db8:1::1/128").value()};
        made.vips = {IpAddress::parse("192.0.2.10").value(), IpAddress::parse("2001:db8::10").value()};
        return made;
    }

    static void give_addresses() {
        run("echo 0 > /proc/sys/net/ipv6/conf/left/disable_ipv6");
        run("ip addr add 192.0.2.11/24 dev left && ip addr add 2001:db8::11/64 dev left nodad");
    }

    // The plain headers that FrameMaker makes strange now and then.
    static Frame inner4(const std::string& destination = "192.0.2.10") {
        Frame packet;
        do packet = FrameMaker(++seed_).ipv4("203.0.113.5", destination, FL_PROTO_UDP, FrameMaker(1).udp(4000, 80, 8));
        while (packet[0] != 0x45 || packet[6] & 0x20 || packet[7] || packet[8] != 64);
        return packet;
    }
    static Frame tunnel4(const std::string& source, const Frame& inner, const std::string& destination = "192.0.2.11") {
        Frame packet;
        do packet = FrameMaker(++seed_).ipv4(source, destination, FL_PROTO_IPIP, inner);
        while (packet[0] != 0x45 || packet[6] & 0x20 || packet[7] || packet[8] != 64);
        return FrameMaker::ethernet(FL_ETHERTYPE_IPV4, packet);
    }
    static Frame tunnel6(Frame& inner) {
        Frame packet;
        const auto plain = [](const Frame& p, std::uint8_t next) { return p[0] == 0x60 && p[6] == next && p[7] == 64; };
        do
            inner =
                FrameMaker(++seed_).ipv6("2001:db8:9::5", "2001:db8::10", FL_PROTO_UDP, FrameMaker(1).udp(4000, 80, 8));
        while (!plain(inner, FL_PROTO_UDP));
        do packet = FrameMaker(++seed_).ipv6(kBalancer6, "2001:db8::11", FL_PROTO_IPV6, inner);
        while (!plain(packet, FL_PROTO_IPV6));
        return FrameMaker::ethernet(FL_ETHERTYPE_IPV6, packet);
    }

    static TestRun run_attached(const Frame& frame) {
        const UniqueFd program(bpf_prog_get_fd_by_id(program_on("left")));
        auto ran = test_run(program.get(), frame);
        EXPECT_TRUE(ran.has_value()) << ran.error().message;
        return ran.value_or(TestRun{});
    }

    static inline std::uint64_t seed_ = 0;
};

TEST_F(Decap, UnwrapsWhatTheBalancersSendForTheVips) {
    Sandbox sandbox;
    give_addresses();
    const auto attached = decap_attach(spec(), sandbox.folder());
    ASSERT_TRUE(attached.has_value()) << attached.error().message;
    EXPECT_EQ(attached->mode, FL_ENGINE_XDP_NATIVE);

    const Frame inner = inner4();
    const TestRun unwrapped = run_attached(tunnel4(kBalancer, inner));
    EXPECT_EQ(unwrapped.verdict, static_cast<std::uint32_t>(XDP_PASS));
    EXPECT_EQ(unwrapped.frame, FrameMaker::ethernet(FL_ETHERTYPE_IPV4, inner));

    Frame inner6;
    const Frame outer6 = tunnel6(inner6);
    const TestRun unwrapped6 = run_attached(outer6);
    EXPECT_EQ(unwrapped6.verdict, static_cast<std::uint32_t>(XDP_PASS));
    EXPECT_EQ(unwrapped6.frame, FrameMaker::ethernet(FL_ETHERTYPE_IPV6, inner6));

    EXPECT_EQ(run_attached(tunnel4("203.0.113.66", inner)).verdict, static_cast<std::uint32_t>(XDP_DROP));
    for (const Frame& other : {tunnel4(kBalancer, inner4("192.0.2.77")), tunnel4(kBalancer, inner, "192.0.2.12"),
                               FrameMaker::ethernet(FL_ETHERTYPE_IPV4, inner)}) {
        const TestRun passed = run_attached(other);
        EXPECT_EQ(passed.verdict, static_cast<std::uint32_t>(XDP_PASS));
        EXPECT_EQ(passed.frame, other);
    }
    const auto listed = decap_list(sandbox.folder());
    ASSERT_TRUE(listed.has_value()) << listed.error().message;
    ASSERT_EQ(listed->size(), 1U);
    const DecapStatus& status = listed->front();
    EXPECT_EQ(status.unwrapped.packets, 2U);
    EXPECT_EQ(status.refused.packets, 1U);
    EXPECT_EQ(status.passed.packets, 3U);
}

TEST_F(Decap, SaysWhatItWasTold) {
    Sandbox sandbox;
    give_addresses();
    auto with_gue = spec();
    with_gue.gue_port = 6080;
    ASSERT_TRUE(decap_attach(with_gue, sandbox.folder()).has_value());
    EXPECT_EQ(decap_list(sandbox.folder())->at(0).gue_port, 6080);
    ASSERT_TRUE(decap_attach(spec(), sandbox.folder()).has_value());
    const DecapStatus status = decap_list(sandbox.folder())->at(0);
    EXPECT_EQ(status.gue_port, 0) << "IP-in-IP alone";
    EXPECT_EQ(status.attached.ifname, "left");
    EXPECT_EQ(status.attached.mode, FL_ENGINE_XDP_NATIVE);
    EXPECT_EQ(status.node4, IpAddress::parse("192.0.2.11").value());
    EXPECT_EQ(status.node6, IpAddress::parse("2001:db8::11").value());
    EXPECT_EQ(status.sources, spec().sources);
    EXPECT_EQ(status.vips, spec().vips);
}

TEST_F(Decap, TakesTheNodesAddressAndNotAVip) {
    Sandbox sandbox;
    run("ip addr add 192.0.2.10/32 dev left && ip addr add 192.0.2.11/24 dev left");
    DecapSpec asked = spec();
    asked.vips.pop_back();
    ASSERT_TRUE(decap_attach(asked, sandbox.folder()).has_value());
    EXPECT_EQ(decap_list(sandbox.folder())->at(0).node4, IpAddress::parse("192.0.2.11").value());
}

TEST_F(Decap, ChangesUnderTheSameLink) {
    Sandbox sandbox;
    give_addresses();
    const auto first = decap_attach(spec(), sandbox.folder());
    ASSERT_TRUE(first.has_value()) << first.error().message;
    DecapSpec asked = spec();
    asked.vips.push_back(IpAddress::parse("192.0.2.77").value());
    asked.sources.push_back(IpPrefix::parse("203.0.113.66/32").value());
    const auto second = decap_attach(asked, sandbox.folder());
    ASSERT_TRUE(second.has_value()) << second.error().message;
    EXPECT_TRUE(second->adopted);
    EXPECT_EQ(second->link_id, first->link_id);
    const Frame inner = inner4("192.0.2.77");
    EXPECT_EQ(run_attached(tunnel4("203.0.113.66", inner)).frame, FrameMaker::ethernet(FL_ETHERTYPE_IPV4, inner));
}

TEST_F(Decap, FollowsAnotherAddressOfTheNodeAndMoreVipsThanItHadRoomFor) {
    Sandbox sandbox;
    give_addresses();
    ASSERT_TRUE(decap_attach(spec(), sandbox.folder()).has_value());
    run("ip addr del 192.0.2.11/24 dev left && ip addr add 192.0.2.12/24 dev left");
    DecapSpec asked = spec();
    for (int host = 1; host <= 200; ++host)
        asked.vips.push_back(IpAddress::parse("203.0.113." + std::to_string(host)).value());
    const auto again = decap_attach(asked, sandbox.folder());
    ASSERT_TRUE(again.has_value()) << again.error().message;
    const DecapStatus status = decap_list(sandbox.folder())->at(0);
    EXPECT_EQ(status.node4, IpAddress::parse("192.0.2.12").value());
    EXPECT_EQ(status.vips.size(), 202U);
    const Frame inner = inner4("203.0.113.200");
    EXPECT_EQ(run_attached(tunnel4(kBalancer, inner, "192.0.2.12")).frame,
              FrameMaker::ethernet(FL_ETHERTYPE_IPV4, inner));
}

TEST_F(Decap, DetachLeavesNothing) {
    Sandbox sandbox;
    give_addresses();
    const fs::path base = sandbox.folder() / "instance";
    ASSERT_TRUE(decap_attach(spec(), base).has_value());
    const auto detached = decap_detach("left", base);
    ASSERT_TRUE(detached.has_value()) << detached.error().message;
    EXPECT_EQ(detached->restored_features, FL_FEATURE_RXVLAN);
    EXPECT_EQ(program_on("left"), 0U);
    EXPECT_FALSE(fs::exists(base));
    EXPECT_TRUE(decap_list(base)->empty());
    const auto nothing = decap_detach("left", base);
    ASSERT_FALSE(nothing.has_value());
    EXPECT_EQ(nothing.error().code, ENOENT);
}

TEST_F(Decap, RefusesWhatCannotWork) {
    Sandbox sandbox;
    DecapSpec asked = spec();
    const auto no_address = decap_attach(asked, sandbox.folder());
    ASSERT_FALSE(no_address.has_value());
    EXPECT_EQ(no_address.error().code, EADDRNOTAVAIL);
    give_addresses();
    asked.sources.clear();
    EXPECT_FALSE(decap_attach(asked, sandbox.folder()).has_value());
    asked = spec();
    asked.vips.clear();
    EXPECT_FALSE(decap_attach(asked, sandbox.folder()).has_value());
    asked = spec();
    asked.ifname = "nowhere";
    EXPECT_FALSE(decap_attach(asked, sandbox.folder()).has_value());

    asked = spec();
    asked.sources.resize(FL_MAX_SOURCES + 1, asked.sources.front());
    EXPECT_FALSE(decap_attach(asked, sandbox.folder()).has_value());
    EXPECT_TRUE(fs::is_empty(sandbox.folder())) << "a refusal left something behind";
    EXPECT_EQ(program_on("left"), 0U);
}

TEST(DecapBase, IsOneForEachInstance) {
    EXPECT_EQ(decap_base("default"), fs::path(kDecapBase));
    EXPECT_EQ(decap_base("blue.1"), fs::path(kDecapBase) / "blue:1");
}

}  // namespace
}  // namespace fairlead::xdp
