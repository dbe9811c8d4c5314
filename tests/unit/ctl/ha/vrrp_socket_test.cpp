// SPDX-License-Identifier: Apache-2.0
// The real kernel between two namespaces.
#include "ctl/ha/vrrp_socket.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <fstream>
#include <sstream>

#include "tests/unit/ctl/ha/adverts.h"
#include "tests/unit/ctl/ha/namespace_pair.h"

namespace fairlead::ha {
namespace {

class VrrpSocketTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!NamespacePair::allowed()) GTEST_SKIP() << "needs root for network namespaces";
        pair_.emplace();
    }

    VrrpSocket open_here(const char* source, std::vector<IpAddress> peers = {}) {
        return open({"left", NamespacePair::index_of("left"), ip(source), std::move(peers)});
    }
    VrrpSocket open_there(const char* source, std::vector<IpAddress> peers = {}) {
        std::optional<VrrpSocket> made;
        pair_->in_there(
            [&] { made = open({"right", NamespacePair::index_of("right"), ip(source), std::move(peers)}); });
        return std::move(*made);
    }
    static VrrpSocket open(const VrrpSocketOptions& options) {
        auto made = VrrpSocket::open(options);
        if (!made) {
            ADD_FAILURE() << made.error().message;
            std::abort();
        }
        return std::move(*made);
    }
    static AdvertToSend advert(std::span<const IpAddress> vips) {
        return {.vrid = 51, .priority = 150, .interval = Centiseconds(10), .addresses = vips};
    }
    static std::optional<VrrpSocket::Received> wait_for(VrrpSocket& socket, int timeout_ms = 5000) {
        pollfd ready{socket.fd(), POLLIN, 0};
        ::poll(&ready, 1, timeout_ms);
        return socket.receive();
    }

    std::optional<NamespacePair> pair_;
};

TEST_F(VrrpSocketTest, AdvertsArriveByMulticast) {
    struct Case {
        const char *here, *there, *group, *vip;
    };
    for (const auto& [here, there, group, vip] : {Case{"192.0.2.2", "192.0.2.3", "224.0.0.18", "192.0.2.10"},
                                                  {"fe80::2", "fe80::3", "ff02::12", "2001:db8::10"}}) {
        auto sender = open_here(here);
        auto receiver = open_there(there);
        const std::vector<IpAddress> vips = {ip(vip)};
        ASSERT_TRUE(sender.send(advert(vips))) << std::strerror(sender.last_error());
        const auto received = wait_for(receiver);
        ASSERT_TRUE(received) << here;
        EXPECT_EQ(received->arrival.source, ip(here));
        EXPECT_EQ(received->arrival.destination, ip(group));
        EXPECT_EQ(received->arrival.ttl, 255);
        const auto decoded = decode_advert(received->message, received->arrival);
        ASSERT_TRUE(decoded) << to_string(decoded.error());
        EXPECT_EQ(decoded->vrid, 51);
        EXPECT_EQ(decoded->priority, 150);
        EXPECT_EQ(decoded->address(0), ip(vip));
        EXPECT_FALSE(receiver.receive());
        EXPECT_FALSE(sender.receive()) << "hears itself";
    }
}

TEST_F(VrrpSocketTest, AdvertsArriveByUnicast) {
    struct Case {
        const char *here, *there, *nobody, *vip;
    };
    for (const auto& [here, there, nobody, vip] : {Case{"192.0.2.2", "192.0.2.3", "198.51.100.1", "192.0.2.10"},
                                                   {"fe80::2", "fe80::3", "2001:db8:1::1", "2001:db8::10"}}) {
        auto sender = open_here(here, {ip(nobody), ip(there)});  // one that has no route does not hinder the other
        auto receiver = open_there(there, {ip(here)});
        const std::vector<IpAddress> vips = {ip(vip)};
        ASSERT_TRUE(sender.send(advert(vips)));
        const auto received = wait_for(receiver);
        ASSERT_TRUE(received) << here;
        EXPECT_EQ(received->arrival.destination, ip(there));
        EXPECT_TRUE(decode_advert(received->message, received->arrival));
    }
}

TEST_F(VrrpSocketTest, TheTtlOfWhatPassedARouterIsSeen) {
    auto receiver = open_there("192.0.2.3");
    UniqueFd stranger(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, kVrrpProtocol));
    const int ttl = 254;
    ASSERT_EQ(::setsockopt(stranger.get(), IPPROTO_IP, IP_TTL, &ttl, sizeof ttl), 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = ::inet_addr("192.0.2.3");
    AdvertText text;
    text.destination = "192.0.2.3";
    const auto bytes = text.bytes();
    ASSERT_EQ(::sendto(stranger.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
              static_cast<ssize_t>(bytes.size()));
    const auto received = wait_for(receiver);
    ASSERT_TRUE(received);
    EXPECT_EQ(decode_advert(received->message, received->arrival).error(), AdvertRefusal::kTtl);
}

TEST_F(VrrpSocketTest, SaysWhenNothingCouldBeSent) {
    auto sender = open_here("192.0.2.2");
    NamespacePair::run("ip link set left down");
    const std::vector<IpAddress> vips = {ip("192.0.2.10")};
    EXPECT_FALSE(sender.send(advert(vips)));
    EXPECT_NE(sender.last_error(), 0);
    EXPECT_FALSE(VrrpSocket::open({"nope", 77, ip("192.0.2.2"), {}}));
}

TEST_F(VrrpSocketTest, FramesLeaveAsTheyAre) {
    std::optional<UniqueFd> capture;
    pair_->in_there([&] {
        capture.emplace(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ARP)));
        sockaddr_ll at{};
        at.sll_family = AF_PACKET;
        at.sll_protocol = htons(ETH_P_ARP);
        at.sll_ifindex = static_cast<int>(NamespacePair::index_of("right"));
        ASSERT_EQ(::bind(capture->get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    });
    auto sender = FrameSender::open(NamespacePair::index_of("left"));
    ASSERT_TRUE(sender);
    const auto frame = announcement(ip("192.0.2.10"), MacAddress::parse("02:00:5e:00:53:02").value());
    ASSERT_TRUE(sender->send(frame));
    pollfd ready{capture->get(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, 5000), 1);
    std::array<std::uint8_t, 256> bytes{};
    const auto size = ::recv(capture->get(), bytes.data(), bytes.size(), 0);
    ASSERT_EQ(size, static_cast<ssize_t>(frame.size));
    EXPECT_TRUE(std::equal(frame.span().begin(), frame.span().end(), bytes.begin()));
}

std::size_t memberships(const std::string& group) {
    std::ifstream file("/proc/thread-self/net/igmp6");
    std::size_t count = 0;
    for (std::string line; std::getline(file, line);) count += line.find(group) != std::string::npos ? 1 : 0;
    return count;
}

TEST_F(VrrpSocketTest, JoinsTheSolicitedNodeGroupsWhileItLives) {
    std::vector<IpAddress> vips = {ip("192.0.2.10")};
    for (int i = 0; i < 300; ++i) vips.push_back(ip("2001:db8::ab:" + std::to_string(1000 + i)));
    vips.push_back(ip("2001:db8:1::ab:1000"));  // the same group again
    const auto ifindex = NamespacePair::index_of("left");
    {
        const auto groups = SolicitedNodeGroups::join(ifindex, vips);
        ASSERT_TRUE(groups) << groups.error().message;
        EXPECT_EQ(groups->size(), 300U);
        EXPECT_EQ(memberships("ff0200000000000000000001ffab"), 300U);
    }
    EXPECT_EQ(memberships("ff0200000000000000000001ffab"), 0U);
    EXPECT_FALSE(SolicitedNodeGroups::join(7777, vips));
}

}  // namespace
}  // namespace fairlead::ha
