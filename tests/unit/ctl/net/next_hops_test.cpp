// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/next_hops.h"

#include <gtest/gtest.h>

#include <map>

namespace fairlead::net {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{1000s};

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }
MacAddress mac(int last) { return {{0x02, 0x00, 0x5e, 0x00, 0x53, static_cast<std::uint8_t>(last)}}; }

// A kernel in memory: resolve() and release() are only written down.
class FakeOs : public NetOs {
  public:
    FakeOs() {
        Link& link = links_[3];
        link.ifindex = 3;
        link.name = "eth0";
        link.mtu = 1500;
        link.admin_up = link.carrier = true;
    }
    Result<Route> route_to(const IpAddress& destination) override {
        ++lookups_;
        const auto found = routes_.find(destination);
        return found == routes_.end() ? Result<Route>(fail("no route", 101)) : Result<Route>(found->second);
    }
    const Link* link(std::uint32_t ifindex) const override {
        const auto found = links_.find(ifindex);
        return found == links_.end() ? nullptr : &found->second;
    }
    const Link* vlan_on(std::uint32_t lower, std::uint16_t id) const override {
        for (const auto& [ifindex, link] : links_)
            if (link.vlan == VlanOf{id, lower}) return &link;
        return nullptr;
    }
    const Neighbour* neighbour(const NeighbourKey& key) const override {
        const auto found = neighbours_.find(key);
        return found == neighbours_.end() ? nullptr : &found->second;
    }
    Result<void> resolve(const NeighbourKey& key) override {
        resolved_.push_back(key);
        if (refuses_) return fail("ask the kernel: Operation not permitted", 1);
        return {};
    }
    Result<void> release(const NeighbourKey& key) override {
        released_.push_back(key);
        return {};
    }

    void on_link(const char* address) {
        routes_[ip(address)] = {false, 3, std::nullopt, ip("192.0.2.1"), std::nullopt};
    }
    void through(const char* address, const char* gateway) {
        routes_[ip(address)] = {false, 3, ip(gateway), std::nullopt, std::nullopt};
    }
    // Sets the entry and returns what the monitor would tell.
    Changes set(const char* address, NeighbourState state, MacAddress hardware, bool managed = true) {
        const NeighbourKey key{3, ip(address)};
        neighbours_[key] = {key, hardware, state, managed};
        Changes changes;
        changes.neighbours.insert(key);
        return changes;
    }
    Changes forget(const char* address) {
        Changes changes;
        changes.neighbours.insert({3, ip(address)});
        neighbours_.erase({3, ip(address)});
        return changes;
    }

    std::map<std::uint32_t, Link> links_;
    std::map<IpAddress, Route> routes_;
    std::map<NeighbourKey, Neighbour> neighbours_;
    std::vector<NeighbourKey> resolved_;
    std::vector<NeighbourKey> released_;
    int lookups_ = 0;
    bool refuses_ = false;
};

class NextHopTrackerTest : public ::testing::Test {
  protected:
    NextHopTrackerTest() {
        tracker_.on_change([this](const std::optional<NextHop>& before, const NextHop& now) {
            told_.push_back({before, now});
            EXPECT_TRUE(!before || *before != now) << "told of no change";
        });
    }
    const NextHop& hop(const char* address) { return *tracker_.find(ip(address)); }
    Changes routes() {
        Changes changes;
        changes.routes = true;
        return changes;
    }
    Changes links() {
        Changes changes;
        changes.links = true;
        return changes;
    }

    FakeOs os_;
    NextHopTracker tracker_{os_};
    std::vector<std::pair<std::optional<NextHop>, NextHop>> told_;
};

TEST_F(NextHopTrackerTest, ResolvesADestinationOnLink) {
    os_.on_link("192.0.2.11");
    tracker_.set_wanted({ip("192.0.2.11"), ip("192.0.2.11")}, kStart);
    EXPECT_EQ(hop("192.0.2.11").reach, Reach::kResolving);
    EXPECT_EQ(hop("192.0.2.11").reason, "resolving 192.0.2.11");
    EXPECT_FALSE(hop("192.0.2.11").sendable());
    EXPECT_FALSE(tracker_.settled());
    EXPECT_EQ(os_.resolved_, (std::vector<NeighbourKey>{{3, ip("192.0.2.11")}}));

    tracker_.on_change(os_.set("192.0.2.11", NeighbourState::kReachable, mac(0xa)), kStart + 1ms);
    const NextHop& resolved = hop("192.0.2.11");
    EXPECT_EQ(resolved.reach, Reach::kReachable);
    EXPECT_EQ(resolved.mac, mac(0xa));
    EXPECT_EQ(resolved.mtu, 1500U);
    EXPECT_EQ(resolved.ifindex, 3U);
    EXPECT_EQ(resolved.source, ip("192.0.2.1"));
    EXPECT_EQ(resolved.reason, "");
    EXPECT_TRUE(resolved.sendable());
    EXPECT_TRUE(tracker_.settled());
    ASSERT_EQ(told_.size(), 2U);
    EXPECT_FALSE(told_[0].first);
    EXPECT_EQ(told_[1].first->reach, Reach::kResolving);
    EXPECT_EQ(tracker_.find(ip("192.0.2.12")), nullptr);
}

TEST_F(NextHopTrackerTest, AGatewayIsResolvedOnceForAllBehindIt) {
    os_.through("198.51.100.1", "192.0.2.254");
    os_.through("198.51.100.2", "192.0.2.254");
    tracker_.set_wanted({ip("198.51.100.1"), ip("198.51.100.2")}, kStart);
    EXPECT_EQ(os_.resolved_, (std::vector<NeighbourKey>{{3, ip("192.0.2.254")}}));
    tracker_.on_change(os_.set("192.0.2.254", NeighbourState::kReachable, mac(1)), kStart);
    EXPECT_EQ(hop("198.51.100.1").mac, mac(1));
    EXPECT_EQ(hop("198.51.100.1").via, ip("192.0.2.254"));
    tracker_.on_change(os_.set("192.0.2.254", NeighbourState::kReachable, mac(2)), kStart);
    EXPECT_EQ(hop("198.51.100.1").mac, mac(2));
    EXPECT_EQ(hop("198.51.100.2").mac, mac(2));
    EXPECT_EQ(told_.size(), 6U);
}

TEST_F(NextHopTrackerTest, AMacThatMovesIsOneEvent) {
    os_.on_link("192.0.2.11");
    os_.set("192.0.2.11", NeighbourState::kReachable, mac(1));
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    told_.clear();
    tracker_.on_change(os_.set("192.0.2.11", NeighbourState::kStale, mac(2)), kStart);
    ASSERT_EQ(told_.size(), 1U);
    EXPECT_EQ(told_[0].first->mac, mac(1));
    EXPECT_EQ(told_[0].second.mac, mac(2));
    // The kernel's own rounds of confirmation are no news.
    for (const auto state : {NeighbourState::kDelay, NeighbourState::kProbe, NeighbourState::kReachable})
        tracker_.on_change(os_.set("192.0.2.11", state, mac(2)), kStart);
    EXPECT_EQ(told_.size(), 1U);
}

TEST_F(NextHopTrackerTest, AFailedNeighbourIsToldOnceAndAskedOn) {
    os_.on_link("192.0.2.11");
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    tracker_.on_change(os_.set("192.0.2.11", NeighbourState::kReachable, mac(1)), kStart);
    told_.clear();
    os_.resolved_.clear();
    TimePoint now = kStart + 10s;
    for (int round = 0; round < 5; ++round) {
        tracker_.on_change(os_.set("192.0.2.11", NeighbourState::kFailed, MacAddress{}), now);
        now += 1s;
        tracker_.tick(now);
        tracker_.on_change(os_.set("192.0.2.11", NeighbourState::kIncomplete, MacAddress{}), now);
        now += 3s;
    }
    ASSERT_EQ(told_.size(), 1U);
    EXPECT_EQ(told_[0].second.reach, Reach::kFailed);
    EXPECT_EQ(told_[0].second.reason, "no answer to ARP for 192.0.2.11");
    EXPECT_EQ(told_[0].second.mac, mac(1));  // the last known one stands
    EXPECT_TRUE(told_[0].second.sendable());
    EXPECT_GE(os_.resolved_.size(), 5U);
    tracker_.on_change(os_.set("192.0.2.11", NeighbourState::kReachable, mac(3)), now);
    EXPECT_EQ(hop("192.0.2.11").reach, Reach::kReachable);
    EXPECT_EQ(hop("192.0.2.11").mac, mac(3));
}

TEST_F(NextHopTrackerTest, AForgottenNeighbourKeepsItsMacWhileItIsAskedFor) {
    os_.on_link("192.0.2.11");
    os_.set("192.0.2.11", NeighbourState::kReachable, mac(1));
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    EXPECT_TRUE(os_.resolved_.empty());  // it is there and managed
    tracker_.on_change(os_.forget("192.0.2.11"), kStart + 20s);
    EXPECT_EQ(os_.resolved_.size(), 1U);
    EXPECT_EQ(hop("192.0.2.11").reach, Reach::kResolving);
    EXPECT_EQ(hop("192.0.2.11").mac, mac(1));
    EXPECT_TRUE(hop("192.0.2.11").sendable());
    tracker_.on_change(os_.forget("192.0.2.11"), kStart + 20s + 1ms);
    EXPECT_EQ(os_.resolved_.size(), 1U);  // just asked
    tracker_.tick(kStart + 21s + 1ms);
    EXPECT_EQ(os_.resolved_.size(), 2U);
}

TEST_F(NextHopTrackerTest, AnUnmanagedNeighbourIsTakenCareOf) {
    os_.on_link("192.0.2.11");
    os_.set("192.0.2.11", NeighbourState::kStale, mac(1), false);
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    EXPECT_EQ(os_.resolved_.size(), 1U);
    // A kernel that does not know managed entries is asked again and again, but not in a hurry.
    for (TimePoint now = kStart; now < kStart + 60s; now += 100ms) tracker_.tick(now);
    EXPECT_EQ(os_.resolved_.size(), 12U);
    tracker_.on_change(os_.set("192.0.2.11", NeighbourState::kReachable, mac(1), true), kStart + 60s);
    for (TimePoint now = kStart + 60s; now < kStart + 120s; now += 100ms) tracker_.tick(now);
    EXPECT_EQ(os_.resolved_.size(), 12U);
}

TEST_F(NextHopTrackerTest, AStaticNeighbourIsLeftAlone) {
    os_.on_link("192.0.2.11");
    os_.set("192.0.2.11", NeighbourState::kPermanent, mac(1), false);
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    tracker_.tick(kStart + 60s);
    EXPECT_EQ(hop("192.0.2.11").reach, Reach::kReachable);
    tracker_.set_wanted({}, kStart + 60s);
    EXPECT_TRUE(os_.resolved_.empty());
    EXPECT_TRUE(os_.released_.empty());
}

TEST_F(NextHopTrackerTest, ReleasesWhatNobodyWantsAnyMore) {
    os_.through("198.51.100.1", "192.0.2.254");
    os_.through("198.51.100.2", "192.0.2.254");
    os_.set("192.0.2.254", NeighbourState::kReachable, mac(1));
    tracker_.set_wanted({ip("198.51.100.1"), ip("198.51.100.2")}, kStart);
    tracker_.set_wanted({ip("198.51.100.2")}, kStart);
    EXPECT_TRUE(os_.released_.empty());
    EXPECT_EQ(tracker_.find(ip("198.51.100.1")), nullptr);
    tracker_.set_wanted({}, kStart);
    EXPECT_EQ(os_.released_, (std::vector<NeighbourKey>{{3, ip("192.0.2.254")}}));
    EXPECT_FALSE(tracker_.next_deadline());
}

TEST_F(NextHopTrackerTest, FollowsARouteToAnotherGateway) {
    os_.through("198.51.100.1", "192.0.2.253");
    os_.set("192.0.2.253", NeighbourState::kReachable, mac(3));
    os_.set("192.0.2.254", NeighbourState::kReachable, mac(4));
    tracker_.set_wanted({ip("198.51.100.1")}, kStart);
    EXPECT_EQ(hop("198.51.100.1").mac, mac(3));
    os_.through("198.51.100.1", "192.0.2.254");
    tracker_.on_change(routes(), kStart + 1s);
    EXPECT_EQ(hop("198.51.100.1").mac, mac(4));
    EXPECT_EQ(os_.released_, (std::vector<NeighbourKey>{{3, ip("192.0.2.253")}}));
    // No MAC of the old way is kept for the new one.
    os_.through("198.51.100.1", "192.0.2.252");
    tracker_.on_change(routes(), kStart + 2s);
    EXPECT_TRUE(hop("198.51.100.1").mac.is_zero());
    EXPECT_EQ(hop("198.51.100.1").reach, Reach::kResolving);
}

TEST_F(NextHopTrackerTest, ChurnOfRoutesIsLookedUpAtMostEveryHundredMilliseconds) {
    os_.on_link("192.0.2.11");
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    os_.lookups_ = 0;
    tracker_.on_change(routes(), kStart + 200ms);
    EXPECT_EQ(os_.lookups_, 1);  // at once
    os_.through("192.0.2.11", "192.0.2.254");
    for (int i = 0; i < 50; ++i) tracker_.on_change(routes(), kStart + 210ms);
    EXPECT_EQ(os_.lookups_, 1);
    ASSERT_EQ(tracker_.next_deadline(), kStart + 300ms);
    tracker_.tick(kStart + 300ms);
    EXPECT_EQ(os_.lookups_, 2);
    EXPECT_EQ(hop("192.0.2.11").via, ip("192.0.2.254"));
}

TEST_F(NextHopTrackerTest, LooksAgainNowAndThen) {
    os_.on_link("192.0.2.11");
    os_.set("192.0.2.11", NeighbourState::kReachable, mac(1));
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    ASSERT_EQ(tracker_.next_deadline(), kStart + 30s);
    os_.routes_.clear();  // unseen
    tracker_.tick(kStart + 30s);
    EXPECT_EQ(hop("192.0.2.11").reach, Reach::kNoRoute);
    EXPECT_EQ(hop("192.0.2.11").reason, "no route");
    EXPECT_EQ(hop("192.0.2.11").ifindex, 0U);
    EXPECT_FALSE(hop("192.0.2.11").sendable());
    EXPECT_TRUE(tracker_.settled());
}

TEST_F(NextHopTrackerTest, LocalAddressesNeedNoNeighbour) {
    os_.routes_[ip("192.0.2.1")] = {true, 1, std::nullopt, std::nullopt, std::nullopt};
    tracker_.set_wanted({ip("192.0.2.1")}, kStart);
    EXPECT_EQ(hop("192.0.2.1").reach, Reach::kLocal);
    EXPECT_TRUE(os_.resolved_.empty());
    // The address moves to another node.
    os_.on_link("192.0.2.1");
    Changes changes;
    changes.addresses = true;
    tracker_.on_change(changes, kStart + 1s);
    EXPECT_EQ(hop("192.0.2.1").reach, Reach::kResolving);
    EXPECT_EQ(os_.resolved_.size(), 1U);
}

TEST_F(NextHopTrackerTest, SaysWhyALinkCannotBeUsed) {
    os_.on_link("192.0.2.11");
    os_.set("192.0.2.11", NeighbourState::kReachable, mac(1));
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    os_.links_[3].carrier = false;
    tracker_.on_change(links(), kStart + 1s);
    EXPECT_EQ(hop("192.0.2.11").reach, Reach::kLinkDown);
    EXPECT_EQ(hop("192.0.2.11").reason, "interface eth0 has no carrier");
    EXPECT_FALSE(hop("192.0.2.11").sendable());
    os_.links_[3].admin_up = false;
    tracker_.on_change(links(), kStart + 2s);
    EXPECT_EQ(hop("192.0.2.11").reason, "interface eth0 is down");
    os_.links_[3].admin_up = os_.links_[3].carrier = true;
    os_.forget("192.0.2.11");  // the kernel flushes them with the carrier
    tracker_.on_change(links(), kStart + 3s);
    EXPECT_EQ(hop("192.0.2.11").reach, Reach::kResolving);
    EXPECT_EQ(os_.resolved_.size(), 1U);
    os_.links_.clear();
    tracker_.on_change(links(), kStart + 4s);
    EXPECT_EQ(hop("192.0.2.11").reason, "its interface is gone");
    os_.links_[3].name = "tun0";
    os_.links_[3].has_arp = false;
    tracker_.on_change(links(), kStart + 5s);
    EXPECT_EQ(hop("192.0.2.11").reach, Reach::kNoRoute);
    EXPECT_EQ(hop("192.0.2.11").reason, "interface tun0 has no MAC addresses");
}

TEST_F(NextHopTrackerTest, TheSmallerMtuHolds) {
    os_.on_link("192.0.2.11");
    os_.routes_[ip("192.0.2.11")].mtu = 1400;
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    EXPECT_EQ(hop("192.0.2.11").mtu, 1400U);
    os_.routes_[ip("192.0.2.11")].mtu = 9000;
    tracker_.on_change(routes(), kStart + 1s);
    EXPECT_EQ(hop("192.0.2.11").mtu, 1500U);
    os_.links_[3].mtu = 1300;
    tracker_.on_change(links(), kStart + 2s);
    EXPECT_EQ(hop("192.0.2.11").mtu, 1300U);
}

// --- VLANs, and next hops whose MAC is given ---

class VlanTest : public NextHopTrackerTest {
  protected:
    VlanTest() { tracker_.set_interfaces({3}); }
    // eth0.ID, ifindex 100 + ID.
    void add_vlan(std::uint16_t id) {
        Link& link = os_.links_[100U + id] = os_.links_[3];
        link.ifindex = 100U + id;
        link.name = "eth0." + std::to_string(id);
        link.mtu = 1496;
        link.vlan = VlanOf{id, 3};
    }
    const NextHop& want(const Destination& destination) {
        tracker_.set_wanted({destination}, kStart);
        return *tracker_.find(destination);
    }
    Changes set_on(std::uint32_t ifindex, const char* address, NeighbourState state, MacAddress hardware) {
        const NeighbourKey key{ifindex, ip(address)};
        os_.neighbours_[key] = {key, hardware, state, true};
        Changes changes;
        changes.neighbours.insert(key);
        return changes;
    }
};

TEST_F(VlanTest, ARouteByAVlanDeviceLeavesByWhatItIsOn) {
    add_vlan(7);
    os_.routes_[ip("192.0.2.11")] = {false, 107, std::nullopt, std::nullopt, std::nullopt};
    const auto& hop = want(ip("192.0.2.11"));
    EXPECT_EQ(hop.ifindex, 107U) << "whose neighbour it is";
    EXPECT_EQ(hop.device, 3U);
    EXPECT_EQ(hop.vlan, 7);
    EXPECT_EQ(hop.mtu, 1496U);
    EXPECT_EQ(os_.resolved_, (std::vector<NeighbourKey>{{107, ip("192.0.2.11")}}));
}

TEST_F(VlanTest, OneWithoutAVlanLeavesWithTheTagsThatFramesCameWith) {
    os_.on_link("192.0.2.11");
    const auto& hop = want(ip("192.0.2.11"));
    EXPECT_EQ(hop.device, 3U);
    EXPECT_FALSE(hop.vlan);
}

TEST_F(VlanTest, TheConfigsVlanIsAskedOnItsDevice) {
    os_.through("192.0.2.11", "198.51.100.1");
    add_vlan(7);
    add_vlan(8);
    const auto& hop = want({ip("192.0.2.11"), 7});
    EXPECT_EQ(hop.ifindex, 107U) << "though the route says eth0";
    EXPECT_EQ(hop.device, 3U);
    EXPECT_EQ(hop.vlan, 7);
    EXPECT_EQ(hop.via, ip("198.51.100.1"));
    os_.routes_[ip("192.0.2.11")].ifindex = 108;
    tracker_.on_change(routes(), kStart + 1s);
    EXPECT_EQ(tracker_.find({ip("192.0.2.11"), 7})->ifindex, 107U) << "though the route says another VLAN";
    EXPECT_EQ(want({ip("192.0.2.11"), 0}).ifindex, 3U) << "untagged is on the interface itself";
    EXPECT_EQ(want({ip("192.0.2.11"), 0}).vlan, 0);
}

TEST_F(VlanTest, WithoutADeviceNobodyIsAskedAndOnlyStaticNeighboursAreKnown) {
    os_.on_link("192.0.2.11");
    const Destination destination{ip("192.0.2.11"), 7};
    tracker_.on_change(set_on(3, "192.0.2.11", NeighbourState::kReachable, mac(0xb)), kStart);
    EXPECT_FALSE(want(destination).sendable()) << "whoever has that address untagged is somebody else";
    EXPECT_NE(want(destination).reason.find("nobody to ask for 192.0.2.11 on VLAN 7: eth0 has no VLAN device"),
              std::string::npos)
        << want(destination).reason;
    EXPECT_TRUE(os_.resolved_.empty());
    tracker_.on_change(set_on(3, "192.0.2.11", NeighbourState::kPermanent, mac(0xa)), kStart);
    EXPECT_TRUE(tracker_.find(destination)->sendable());
    EXPECT_EQ(tracker_.find(destination)->mac, mac(0xa));
    EXPECT_EQ(tracker_.find(destination)->reason, "");
    add_vlan(7);
    tracker_.on_change(links(), kStart + 1s);
    EXPECT_EQ(os_.resolved_, (std::vector<NeighbourKey>{{107, ip("192.0.2.11")}}));
}

TEST_F(VlanTest, DestinationsOfOneAddressOnTwoVlansAreTwo) {
    os_.on_link("192.0.2.11");
    add_vlan(7);
    tracker_.set_wanted({{ip("192.0.2.11"), 7}, ip("192.0.2.11")}, kStart);
    tracker_.on_change(set_on(107, "192.0.2.11", NeighbourState::kReachable, mac(7)), kStart);
    EXPECT_EQ(tracker_.find({ip("192.0.2.11"), 7})->mac, mac(7));
    EXPECT_EQ(tracker_.find(ip("192.0.2.11"))->reach, Reach::kResolving);
    EXPECT_EQ(tracker_.find({ip("192.0.2.11"), 8}), nullptr);
}

TEST_F(VlanTest, AGivenMacIsNotAskedFor) {
    os_.on_link("192.0.2.11");
    const auto& hop = want({ip("192.0.2.11"), 7, mac(1)});
    EXPECT_EQ(hop.reach, Reach::kReachable);
    EXPECT_EQ(hop.mac, mac(1));
    EXPECT_EQ(hop.vlan, 7);
    EXPECT_TRUE(tracker_.settled());
    EXPECT_TRUE(os_.resolved_.empty());
    os_.links_[3].carrier = false;
    tracker_.on_change(links(), kStart + 1s);
    EXPECT_FALSE(tracker_.find({ip("192.0.2.11"), 7, mac(1)})->sendable());
}

TEST_F(VlanTest, WithAGivenMacTheOnlyInterfaceNeedsNoRoute) {
    EXPECT_EQ(want({ip("192.0.2.11"), 7, mac(1)}).device, 3U);
    EXPECT_TRUE(want({ip("192.0.2.11"), 7, mac(1)}).sendable());
    os_.links_[4] = os_.links_[3];
    os_.links_[4].ifindex = 4;
    os_.routes_[ip("192.0.2.11")] = {false, 4, ip("198.51.100.1"), std::nullopt, std::nullopt};
    EXPECT_EQ(want({ip("192.0.2.11"), 8, mac(1)}).device, 3U) << "the default route leads elsewhere";
    tracker_.set_interfaces({3, 4});
    EXPECT_EQ(want({ip("192.0.2.11"), 9, mac(1)}).device, 4U) << "of several, the route chooses";
    os_.routes_.clear();
    EXPECT_EQ(want({ip("192.0.2.11"), 10, mac(1)}).reach, Reach::kNoRoute);
}

TEST_F(NextHopTrackerTest, SaysWhenItMayNotAsk) {
    os_.refuses_ = true;
    os_.on_link("192.0.2.11");
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    EXPECT_EQ(hop("192.0.2.11").reason, "ask the kernel: Operation not permitted");
}

TEST_F(NextHopTrackerTest, ACallbackMayChangeWhatIsWanted) {
    os_.on_link("192.0.2.11");
    os_.on_link("192.0.2.12");
    tracker_.on_change([&](const std::optional<NextHop>&, const NextHop& now) {
        if (now.destination == ip("192.0.2.11")) tracker_.set_wanted({ip("192.0.2.12")}, kStart);
    });
    tracker_.set_wanted({ip("192.0.2.11")}, kStart);
    EXPECT_EQ(tracker_.find(ip("192.0.2.11")), nullptr);
    EXPECT_EQ(tracker_.all().size(), 1U);
}

}  // namespace
}  // namespace fairlead::net
