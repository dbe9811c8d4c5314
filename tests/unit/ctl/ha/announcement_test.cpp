// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/announcement.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/ctl/ha/adverts.h"

namespace fairlead::ha {
namespace {

using namespace std::chrono_literals;
using test::Bytes;

const MacAddress kMac = MacAddress::parse("02:00:5e:00:53:01").value();
const TimePoint kStart{1000s};

Bytes bytes_of(const Frame& frame) { return {frame.span().begin(), frame.span().end()}; }

TEST(Announcement, Ipv4IsAnArpRequestForItself) {
    const auto expected = test::Ethernet{.source = "02:00:5e:00:53:01", .destination = "ff:ff:ff:ff:ff:ff"} /
                          test::Arp{.operation = 1,
                                    .sender_mac = "02:00:5e:00:53:01",
                                    .sender = "192.0.2.10",
                                    .target_mac = "00:00:00:00:00:00",
                                    .target = "192.0.2.10"};
    EXPECT_EQ(test::hex(bytes_of(announcement(ip("192.0.2.10"), kMac))), test::hex(expected.bytes()));
}

TEST(Announcement, Ipv6IsAnUnsolicitedAdvertisementWithOverride) {
    Bytes body = test::address_bytes("2001:db8::10");
    body.insert(body.end(), {2, 1, 0x02, 0x00, 0x5e, 0x00, 0x53, 0x01});
    const auto expected = test::Ethernet{.source = "02:00:5e:00:53:01", .destination = "33:33:00:00:00:01"} /
                          test::Ipv6{.source = "2001:db8::10", .destination = "ff02::1", .hop_limit = 255} /
                          test::Icmp{.type = 136, .code = 0, .rest = 0x20000000} / test::Payload(body);
    EXPECT_EQ(test::hex(bytes_of(announcement(ip("2001:db8::10"), kMac))), test::hex(expected.bytes()));
}

TEST(Announcement, CarriesTheTagOfTheVlan) {
    for (const char* vip : {"192.0.2.10", "2001:db8::10"}) {
        auto untagged = bytes_of(announcement(ip(vip), kMac));
        const Bytes tag = {0x81, 0x00, 0x0f, 0xa1};
        untagged.insert(untagged.begin() + 12, tag.begin(), tag.end());
        EXPECT_EQ(bytes_of(announcement(ip(vip), kMac, 0xfa1)), untagged);
    }
}

TEST(Solicitation, Ipv4IsAnArpRequest) {
    const auto expected = test::Ethernet{.source = "02:00:5e:00:53:01", .destination = "ff:ff:ff:ff:ff:ff"} /
                          test::Arp{.operation = 1,
                                    .sender_mac = "02:00:5e:00:53:01",
                                    .sender = "192.0.2.2",
                                    .target_mac = "00:00:00:00:00:00",
                                    .target = "192.0.2.11"};
    EXPECT_EQ(test::hex(bytes_of(solicitation(ip("192.0.2.11"), ip("192.0.2.2"), kMac))), test::hex(expected.bytes()));
}

TEST(Solicitation, Ipv6GoesToTheSolicitedNodeGroup) {
    Bytes body = test::address_bytes("2001:db8::12:3456:789a");
    body.insert(body.end(), {1, 1, 0x02, 0x00, 0x5e, 0x00, 0x53, 0x01});
    const auto expected = test::Ethernet{.source = "02:00:5e:00:53:01", .destination = "33:33:ff:56:78:9a"} /
                          test::Ipv6{.source = "2001:db8::2", .destination = "ff02::1:ff56:789a", .hop_limit = 255} /
                          test::Icmp{.type = 135, .code = 0, .rest = 0} / test::Payload(body);
    EXPECT_EQ(test::hex(bytes_of(solicitation(ip("2001:db8::12:3456:789a"), ip("2001:db8::2"), kMac))),
              test::hex(expected.bytes()));
}

TEST(Announcement, SolicitedNodeGroup) {
    EXPECT_EQ(solicited_node_group(ip("2001:db8::12:3456:789a")), ip("ff02::1:ff56:789a"));
    EXPECT_EQ(solicited_node_group(ip("2001:db8::10")), ip("ff02::1:ff00:10"));
}

// The times at which each of `count` was sent.
std::vector<std::vector<Duration>> run(AnnouncementSchedule& schedule, std::size_t count) {
    std::vector<std::vector<Duration>> times(count);
    while (const auto next = schedule.next()) {
        const auto range = schedule.take(*next);
        EXPECT_GT(range.count, 0U);
        EXPECT_LE(range.count, AnnouncementSchedule::kBatch);
        for (std::size_t i = range.first; i < range.first + range.count; ++i) times.at(i).push_back(*next - kStart);
    }
    return times;
}

TEST(AnnouncementSchedule, AnnouncesAtOnceAndAgain) {
    AnnouncementSchedule schedule;
    EXPECT_FALSE(schedule.next());
    schedule.begin(3, kStart);
    EXPECT_EQ(schedule.take(kStart - 1ns).count, 0U);
    const std::vector<Duration> expected(AnnouncementSchedule::kRounds.begin(), AnnouncementSchedule::kRounds.end());
    for (const auto& times : run(schedule, 3)) EXPECT_EQ(times, expected);
    EXPECT_EQ(schedule.take(kStart + 1h).count, 0U);
}

TEST(AnnouncementSchedule, ManyAreSpread) {
    AnnouncementSchedule schedule;
    schedule.begin(1000, kStart);
    for (const auto& times : run(schedule, 1000)) {
        ASSERT_EQ(times.size(), AnnouncementSchedule::kRounds.size());
        EXPECT_LE(times.front(), 16ms);
    }
}

TEST(AnnouncementSchedule, EndsAndBeginsAnewButNotTooOften) {
    AnnouncementSchedule schedule;
    schedule.begin(1, kStart);
    EXPECT_EQ(schedule.take(kStart).count, 1U);
    schedule.begin(1, kStart + 49ms);
    EXPECT_EQ(schedule.take(kStart + 49ms).count, 0U);
    schedule.begin(1, kStart + 50ms);
    EXPECT_EQ(schedule.take(kStart + 50ms).count, 1U);
    schedule.end();
    EXPECT_FALSE(schedule.next());
    schedule.begin(1, kStart + 60ms);  // after an end it is another's turn that is over
    EXPECT_EQ(schedule.take(kStart + 60ms).count, 1U);
}

}  // namespace
}  // namespace fairlead::ha
