// SPDX-License-Identifier: Apache-2.0
// Hellos between two namespaces.
#include "ctl/ha/peer_socket.h"

#include "ctl/ha/hello.h"

#include <gtest/gtest.h>
#include <poll.h>

#include "ctl/ha/socket_message.h"
#include "tests/unit/ctl/ha/namespace_pair.h"

namespace fairlead::ha {
namespace {

constexpr std::uint16_t kPort = 9436;

IpAddress ip(std::string_view text) { return IpAddress::parse(text).value(); }

class PeerSocketTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (!NamespacePair::allowed()) GTEST_SKIP() << "needs root for network namespaces";
        pair_.emplace();
    }
    void open_both(const std::string& network) {
        open(here_, "left", ip(network + "2"));
        pair_->in_there([&] { open(there_, "right", ip(network + "3")); });
    }
    static void open(std::optional<PeerSocket>& socket, const char* interface, const IpAddress& source) {
        auto made = PeerSocket::open({interface, NamespacePair::index_of(interface), source, kPort, kHelloBytes});
        ASSERT_TRUE(made) << made.error().message;
        socket.emplace(std::move(*made));
    }
    std::optional<PeerSocket::Received> receive() {
        pollfd ready{there_->fd(), POLLIN, 0};
        return ::poll(&ready, 1, 2000) == 1 ? there_->receive() : std::nullopt;
    }

    std::optional<NamespacePair> pair_;
    std::optional<PeerSocket> here_, there_;
};

TEST_F(PeerSocketTest, CarriesHellosOfBothFamilies) {
    const auto hello = encode_hello({false, 1, 2, 3, "lb-a", {}});
    for (const std::string network : {"192.0.2.", "fe80::"}) {
        open_both(network);
        ASSERT_TRUE(here_->send(ip(network + "3"), hello));
        const auto received = receive();
        ASSERT_TRUE(received) << network;
        EXPECT_EQ(received->source, ip(network + "2"));
        EXPECT_EQ(received->ttl, 255);
        EXPECT_EQ(decode_hello(received->bytes, received->ttl)->name, "lb-a");
        EXPECT_FALSE(there_->receive());
    }
}

TEST_F(PeerSocketTest, ALongerDatagramIsNotTakenForAHello) {
    open_both("192.0.2.");
    const auto hello = encode_hello({false, 1, 2, 3, "lb-a", {}});
    std::vector<std::uint8_t> longer(hello.begin(), hello.end());
    longer.resize(1400);
    ASSERT_TRUE(here_->send(ip("192.0.2.3"), longer));
    const auto received = receive();
    ASSERT_TRUE(received);
    EXPECT_EQ(decode_hello(received->bytes, received->ttl).error(), HelloRefusal::kLength);
}

TEST_F(PeerSocketTest, TheTtlIsTheOneThatItCameWith) {
    open_both("192.0.2.");
    const std::array<SocketOption, 1> routed = {{{IPPROTO_IP, IP_TTL, 254}}};
    ASSERT_TRUE(set_options(here_->fd(), "the test's socket", routed));
    ASSERT_TRUE(here_->send(ip("192.0.2.3"), encode_hello({false, 1, 2, 3, "lb-a", {}})));
    const auto received = receive();
    ASSERT_TRUE(received);
    EXPECT_EQ(received->ttl, 254);
}

TEST_F(PeerSocketTest, APortThatIsTakenIsSaid) {
    open_both("192.0.2.");
    const auto second =
        PeerSocket::open({"left", NamespacePair::index_of("left"), ip("192.0.2.2"), kPort, kHelloBytes});
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().message.find("192.0.2.2, UDP port 9436"), std::string::npos) << second.error().message;
}

}  // namespace
}  // namespace fairlead::ha
