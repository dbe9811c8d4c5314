// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/vrrp_packet.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>

#include "tests/unit/ctl/ha/adverts.h"

namespace fairlead::ha {
namespace {

tl::expected<Advert, AdvertRefusal> decode(const AdvertText& text) {
    static test::Bytes kept;  // the advert's addresses point into it
    kept = text.bytes();
    return decode_advert(kept, text.arrival());
}

AdvertRefusal refusal(const AdvertText& text) {
    const auto decoded = decode(text);
    EXPECT_FALSE(decoded.has_value());
    return decoded ? AdvertRefusal::kPeer : decoded.error();
}

TEST(VrrpPacket, ReadsAVersion4Advert) {
    AdvertText text;
    text.addresses = {"192.0.2.10", "192.0.2.11"};
    text.priority = 254;
    text.interval_cs = 4095;
    const auto advert = decode(text);
    ASSERT_TRUE(advert) << to_string(advert.error());
    EXPECT_EQ(advert->vrid, 51);
    EXPECT_EQ(advert->priority, 254);
    EXPECT_EQ(advert->interval, Centiseconds(4095));
    EXPECT_TRUE(advert->pseudo_header);
    EXPECT_EQ(advert->source, ip("192.0.2.2"));
    ASSERT_EQ(advert->addresses(), 2U);
    EXPECT_EQ(advert->address(0), ip("192.0.2.10"));
    EXPECT_EQ(advert->address(1), ip("192.0.2.11"));
}

TEST(VrrpPacket, AcceptsBothChecksumsOfVersion4AndSaysWhich) {
    AdvertText text;
    text.pseudo_header = false;
    const auto advert = decode(text);
    ASSERT_TRUE(advert);
    EXPECT_FALSE(advert->pseudo_header);
}

TEST(VrrpPacket, ReadsAVersion6AdvertAndInsistsOnItsPseudoHeader) {
    auto text = advert6();
    const auto advert = decode(text);
    ASSERT_TRUE(advert) << to_string(advert.error());
    ASSERT_EQ(advert->addresses(), 2U);
    EXPECT_EQ(advert->address(1), ip("2001:db8::11"));
    text.pseudo_header = false;
    EXPECT_EQ(refusal(text), AdvertRefusal::kChecksum);
}

TEST(VrrpPacket, ReservedBitsAreIgnored) {
    AdvertText text;
    text.interval_cs = 0xf064;  // the four reserved bits, and one second
    const auto advert = decode(text);
    ASSERT_TRUE(advert);
    EXPECT_EQ(advert->interval, Centiseconds(100));
}

TEST(VrrpPacket, RefusesWithTheReason) {
    AdvertText text;
    text.first = 0x21;
    text.interval_cs = 0x0101;  // where version 2 has its kind of authentication, and its interval
    EXPECT_EQ(refusal(text), AdvertRefusal::kAuthentication);
    text.interval_cs = 0x0001;
    EXPECT_EQ(refusal(text), AdvertRefusal::kVersion);
    text.first = 0x41;
    EXPECT_EQ(refusal(text), AdvertRefusal::kVersion);
    text.first = 0x32;
    EXPECT_EQ(refusal(text), AdvertRefusal::kType);
    text = {};
    text.interval_cs = 0;
    EXPECT_EQ(refusal(text), AdvertRefusal::kInterval);
    text.interval_cs = 0xf000;
    EXPECT_EQ(refusal(text), AdvertRefusal::kInterval);
    text = {};
    text.addresses = {};
    EXPECT_EQ(refusal(text), AdvertRefusal::kCount);
    text = {};
    text.source = "224.0.0.18";
    EXPECT_EQ(refusal(text), AdvertRefusal::kFamily);
    text.source = "0.0.0.0";
    EXPECT_EQ(refusal(text), AdvertRefusal::kFamily);
    text.source = "fe80::2";
    EXPECT_EQ(refusal(text), AdvertRefusal::kFamily);
}

TEST(VrrpPacket, RefusesWhatPassedARouter) {
    const AdvertText text;
    const auto bytes = text.bytes();
    for (const int ttl : {-1, 0, 1, 254, 256}) {
        auto arrival = text.arrival();
        arrival.ttl = ttl;
        const auto advert = decode_advert(bytes, arrival);
        ASSERT_FALSE(advert) << ttl;
        EXPECT_EQ(advert.error(), AdvertRefusal::kTtl);
    }
}

// Each in memory of its own size, so that the sanitizers see a read beyond it.
TEST(VrrpPacket, EveryTruncationAndExtensionIsRefused) {
    for (const auto& text : {AdvertText{}, advert6()}) {
        const auto whole = text.bytes();
        for (std::size_t size = 0; size <= whole.size() + 20; ++size) {
            if (size == whole.size()) continue;
            const auto copy = std::make_unique<std::uint8_t[]>(size);
            std::copy_n(whole.begin(), std::min(size, whole.size()), copy.get());
            const auto advert = decode_advert({copy.get(), size}, text.arrival());
            ASSERT_FALSE(advert) << size;
            EXPECT_EQ(advert.error(), AdvertRefusal::kLength) << size;
        }
    }
}

TEST(VrrpPacket, EveryFlippedBitIsNoticed) {
    for (const auto& text : {AdvertText{}, advert6()}) {
        const auto whole = text.bytes();
        for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
            auto flipped = whole;
            flipped[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
            EXPECT_FALSE(decode_advert(flipped, text.arrival())) << bit;
        }
    }
}

TEST(VrrpPacket, AForgedSourceIsNoticedByThePseudoHeader) {
    const AdvertText text;
    auto arrival = text.arrival();
    arrival.source = ip("192.0.2.77");
    EXPECT_FALSE(decode_advert(text.bytes(), arrival));
}

TEST(VrrpPacket, WritesWhatTheOracleWrites) {
    for (auto text : {AdvertText{}, advert6()})
        for (const bool pseudo_header : {true, false}) {
            text.pseudo_header = pseudo_header || text.source == "fe80::2";
            std::vector<IpAddress> addresses;
            for (const auto& address : text.addresses) addresses.push_back(ip(address));
            const auto buffer = encode_advert({.vrid = 51,
                                               .priority = 100,
                                               .interval = Centiseconds(100),
                                               .pseudo_header = pseudo_header,
                                               .source = ip(text.source),
                                               .destination = ip(text.destination),
                                               .addresses = addresses});
            EXPECT_EQ(test::Bytes(buffer.span().begin(), buffer.span().end()), text.bytes());
        }
}

TEST(VrrpPacket, SendsTheAddressesOfItsFamilyAndAsManyAsFit) {
    std::vector<IpAddress> many;
    for (int i = 0; i < 300; ++i) {
        many.push_back(ip("198.18." + std::to_string(i / 250) + "." + std::to_string(i % 250)));
        many.push_back(ip("2001:db8::" + std::to_string(i)));
    }
    for (const bool v4 : {true, false}) {
        const Arrival arrival{ip(v4 ? "192.0.2.2" : "fe80::2"), ip(v4 ? "224.0.0.18" : "ff02::12"), 255};
        const auto buffer = encode_advert({.vrid = 1,
                                           .priority = 0,
                                           .interval = Centiseconds(1),
                                           .source = arrival.source,
                                           .destination = arrival.destination,
                                           .addresses = many});
        const auto advert = decode_advert(buffer.span(), arrival);
        ASSERT_TRUE(advert);
        EXPECT_EQ(advert->addresses(), v4 ? kAdvertAddresses4 : kAdvertAddresses6);
        EXPECT_EQ(advert->address(1), ip(v4 ? "198.18.0.1" : "2001:db8::1"));
        EXPECT_EQ(advert->priority, kPriorityStop);
    }
}

TEST(VrrpPacket, TheIntervalIsHeldToWhatTheFieldCarries) {
    for (const auto& [given, sent] : {std::pair{0, 1}, {1, 1}, {4095, 4095}, {4096, 4095}, {65535, 4095}}) {
        const std::vector<IpAddress> one = {ip("192.0.2.10")};
        const Arrival arrival{ip("192.0.2.2"), ip("224.0.0.18"), 255};
        const auto buffer = encode_advert({.vrid = 1,
                                           .priority = 1,
                                           .interval = Centiseconds(given),
                                           .source = arrival.source,
                                           .destination = arrival.destination,
                                           .addresses = one});
        EXPECT_EQ(decode_advert(buffer.span(), arrival)->interval, Centiseconds(sent));
    }
}

TEST(VrrpPacket, ComparesAddressesInAnyOrder) {
    AdvertText text;
    text.addresses = {"192.0.2.10", "192.0.2.11"};
    const auto advert = decode(text);
    ASSERT_TRUE(advert);
    const auto compare = [&](std::vector<IpAddress> ours) { return compare_addresses(*advert, ours); };
    EXPECT_EQ(compare({ip("192.0.2.11"), ip("192.0.2.10")}), AddressMatch::kSame);
    EXPECT_EQ(compare({ip("192.0.2.10")}), AddressMatch::kDifferent);
    EXPECT_EQ(compare({ip("192.0.2.10"), ip("192.0.2.11"), ip("192.0.2.12")}), AddressMatch::kDifferent);
    EXPECT_EQ(compare({ip("192.0.2.12")}), AddressMatch::kNoneOfOurs);
    EXPECT_EQ(compare({}), AddressMatch::kNoneOfOurs);
}

TEST(VrrpPacket, EveryRefusalHasAName) {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < kAdvertRefusals; ++i) {
        names.insert(to_string(static_cast<AdvertRefusal>(i)));
        EXPECT_FALSE(help_of(static_cast<AdvertRefusal>(i)).empty());
    }
    EXPECT_EQ(names.size(), kAdvertRefusals);
}

}  // namespace
}  // namespace fairlead::ha
