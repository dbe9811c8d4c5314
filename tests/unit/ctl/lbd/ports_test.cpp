// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/ports.h"

#include <gtest/gtest.h>

#include "ctl/lbd/paths.h"
#include "dataplane/tables/grace.h"
#include "dataplane/tables/snapshot.h"

namespace fairlead {
namespace {

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }
MacAddress mac(int last) { return {{0x02, 0x00, 0x5e, 0x00, 0x53, static_cast<std::uint8_t>(last)}}; }

net::Link link(std::uint32_t ifindex, const std::string& name) {
    net::Link link;
    link.ifindex = ifindex;
    link.name = name;
    link.mac = mac(static_cast<int>(ifindex));
    link.mtu = 1500;
    link.admin_up = link.carrier = true;
    return link;
}

net::Link vlan(std::uint32_t ifindex, std::uint16_t id, std::uint32_t lower) {
    auto device = link(ifindex, "anything");
    device.kind = "vlan";
    device.vlan = net::VlanOf{id, lower};
    device.mtu = 1496;
    return device;
}

net::Link slave(std::uint32_t ifindex, const std::string& name, std::uint32_t master, bool active) {
    auto device = link(ifindex, name);
    device.master = master;
    device.active_slave = active;
    return device;
}

net::Link bond(std::uint32_t ifindex) {
    auto device = link(ifindex, "bond0");
    device.kind = "bond";
    return device;
}

class PortTableTest : public testing::Test {
  protected:
    const fl_port& record(std::uint32_t number) { return tables_.ports()[number]; }
    // A new lbd over the same tables.
    PortTable restart(std::vector<config::Interface> interfaces) {
        writer_ = std::move(*tables::TableWriter::create(tables_, *grace_));
        return {*writer_, std::move(interfaces)};
    }

    tables::Tables tables_ = std::move(*tables::Tables::create_anonymous(
        tables::limits_for({.vips = 4, .services = 4, .pools = 3, .backends = 24, .slots = 64, .pins = 8}, 1)));
    std::unique_ptr<tables::GracePeriod> grace_ = tables::make_grace(tables_).value();
    std::optional<tables::TableWriter> writer_ = std::move(*tables::TableWriter::create(tables_, *grace_));
};

TEST_F(PortTableTest, AnInterfaceIsAPortWithItsVlan) {
    PortTable ports(*writer_, {{"eth0", std::nullopt}, {"eth1", 7}, {"eth2", 0}});
    ASSERT_TRUE(ports.update({link(3, "eth0"), link(4, "eth1"), link(5, "eth2"), link(6, "eth3")}));
    ASSERT_EQ(ports.devices().size(), 3U);
    EXPECT_EQ(ports.devices()[1], (PortTable::Device{2, "eth1", 4, 7, ""}));
    EXPECT_EQ(record(1).way, FL_PORT_WAY_AS_IT_CAME);
    EXPECT_EQ(record(2).way, FL_PORT_WAY(0, 0, 7, FL_VLAN_NONE));
    EXPECT_EQ(record(3).way, FL_PORT_WAY(0, 0, 0, FL_VLAN_NONE)) << "untagged alone";
    EXPECT_EQ(record(2).mac, FL_NEXTHOP_MAC(0x0453005e0002ULL));
    EXPECT_EQ(ports.interfaces(), (std::set<std::uint32_t>{3, 4, 5}));
    EXPECT_EQ(ports.way_out(4, std::nullopt), 2U);
    EXPECT_EQ(ports.way_out(6, std::nullopt), 0U) << "not one of ours";
}

TEST_F(PortTableTest, AVlanBehindAnInterfaceIsAPortOfItsOwn) {
    PortTable ports(*writer_, {{"eth0", std::nullopt}, {"eth1", std::nullopt}});
    ASSERT_TRUE(ports.update({link(3, "eth0"), link(4, "eth1"), vlan(9, 7, 4), vlan(10, 8, 3)}));
    const auto tagged = ports.way_out(4, 7);
    EXPECT_EQ(tagged, 3U);
    EXPECT_EQ(ports.way_out(4, 7), tagged) << "once";
    EXPECT_EQ(record(tagged).way, FL_PORT_WAY(2, 0, FL_VLAN_NONE, 7));
    EXPECT_EQ(record(tagged).ifindex, 4U) << "the interface that frames leave by";
    EXPECT_EQ(record(tagged).mtu, 1496U) << "the VLAN device's";
    EXPECT_EQ(record(tagged).mac, FL_NEXTHOP_MAC(0x0953005e0002ULL));
    EXPECT_STREQ(record(tagged).name, "eth1.7");
    const auto bare = ports.way_out(4, 8);
    EXPECT_EQ(record(bare).mtu, 1500U) << "the device of that number is on another interface";
    const auto untagged = ports.way_out(4, 0);
    EXPECT_EQ(record(untagged).way, FL_PORT_WAY(2, 0, FL_VLAN_NONE, 0));
    EXPECT_NE(untagged, ports.way_out(4, std::nullopt)) << "not with the tags that frames came with";
}

TEST_F(PortTableTest, SlavesOfABondShareItsNumberAndTheActiveOneSends) {
    PortTable ports(*writer_, {{"eth9", std::nullopt}, {"bond0", 5}});
    ASSERT_TRUE(
        ports.update({link(9, "eth9"), bond(2), slave(3, "eth0", 2, false), slave(4, "eth1", 2, true), vlan(8, 7, 2)}));
    ASSERT_EQ(ports.devices().size(), 3U);
    EXPECT_EQ(ports.devices()[1], (PortTable::Device{2, "eth0", 3, 5, "bond0"}));
    EXPECT_EQ(ports.devices()[2].ifname, "eth1");
    EXPECT_EQ(record(2).way, FL_PORT_WAY(0, 2, 5, FL_VLAN_NONE));
    EXPECT_EQ(record(3).way, FL_PORT_WAY(0, 2, 5, FL_VLAN_NONE));
    EXPECT_EQ(record(3).mac, FL_NEXTHOP_MAC(0x0253005e0002ULL)) << "the bond's";
    EXPECT_EQ(ports.interfaces(), (std::set<std::uint32_t>{2, 9}));

    const auto out = ports.way_out(2, std::nullopt);
    const auto tagged = ports.way_out(2, 7);
    EXPECT_EQ(record(out).way, FL_PORT_WAY(3, 2, FL_VLAN_NONE, FL_VLAN_NONE));
    EXPECT_EQ(record(tagged).way, FL_PORT_WAY(3, 2, FL_VLAN_NONE, 7));
    // The other one takes over: a word, and no next hop changes.
    auto failed = slave(4, "eth1", 2, true);
    failed.carrier = false;
    ASSERT_TRUE(ports.update({link(9, "eth9"), bond(2), slave(3, "eth0", 2, false), failed, vlan(8, 7, 2)}));
    EXPECT_EQ(ports.way_out(2, std::nullopt), out);
    EXPECT_EQ(FL_PORT_DEVICE(record(out).way), 2U);
    EXPECT_EQ(FL_PORT_DEVICE(record(tagged).way), 2U);
}

TEST_F(PortTableTest, ASlaveComesAndGoesAndKeepsItsNumber) {
    PortTable ports(*writer_, {{"bond0", std::nullopt}});
    EXPECT_FALSE(ports.update({bond(2)})) << "a bond without slaves carries nothing";
    ASSERT_TRUE(ports.update({bond(2), slave(3, "eth0", 2, true), slave(4, "eth1", 2, true)}));
    ASSERT_TRUE(ports.update({bond(2), link(3, "eth0"), slave(4, "eth1", 2, true)}));
    ASSERT_EQ(ports.devices().size(), 1U);
    EXPECT_EQ(ports.devices()[0].number, 2U);
    ASSERT_TRUE(ports.update({bond(2), slave(3, "eth0", 2, true), slave(4, "eth1", 2, true)}));
    ASSERT_EQ(ports.devices().size(), 2U);
    EXPECT_EQ(ports.devices()[1].ifname, "eth0");
    EXPECT_EQ(ports.devices()[1].number, 1U);
}

TEST_F(PortTableTest, AnInterfaceThatIsMissingIsSaidAndTheOthersFollowed) {
    PortTable ports(*writer_, {{"eth0", std::nullopt}, {"eth1", std::nullopt}});
    const auto missing = ports.update({link(4, "eth1")});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ENODEV);
    EXPECT_EQ(missing.error().message, "interface eth0 does not exist");
    ASSERT_EQ(ports.devices().size(), 1U);
    ASSERT_TRUE(ports.update({link(3, "eth0"), link(4, "eth1")}));
    ASSERT_FALSE(ports.update({link(3, "eth0")}));
    EXPECT_EQ(ports.devices()[0].ifindex, 0U) << "gone";
}

TEST_F(PortTableTest, WhatIsAttachedStaysSaidUntilTheInterfaceIsAnother) {
    PortTable ports(*writer_, {{"eth0", std::nullopt}});
    ASSERT_TRUE(ports.update({link(3, "eth0")}));
    tables_.ports()[1].saved_features = FL_FEATURE_RXVLAN;
    tables_.ports()[1].mode = FL_ENGINE_XDP_NATIVE;
    tables_.ports()[1].flags = FL_PORT_FRAMES;
    auto larger = link(3, "eth0");
    larger.mtu = 9000;
    ASSERT_TRUE(ports.update({larger}));
    EXPECT_EQ(record(1).mtu, 9000U);
    EXPECT_EQ(record(1).saved_features, FL_FEATURE_RXVLAN);
    EXPECT_EQ(record(1).mode, std::uint32_t{FL_ENGINE_XDP_NATIVE});
    EXPECT_EQ(record(1).flags, FL_PORT_FRAMES);
    ASSERT_TRUE(ports.update({link(5, "eth0")}));
    EXPECT_EQ(record(1).saved_features, 0U);
    EXPECT_EQ(record(1).mode, std::uint32_t{FL_ENGINE_NONE});
    EXPECT_EQ(record(1).flags, 0U);
}

TEST_F(PortTableTest, NumbersOutliveARestart) {
    PortTable before(*writer_, {{"eth0", std::nullopt}, {"eth1", std::nullopt}});
    ASSERT_TRUE(before.update({link(3, "eth0"), link(4, "eth1")}));
    const auto seven = before.way_out(4, 7);
    const auto eight = before.way_out(4, 8);
    auto after = restart({{"eth1", std::nullopt}, {"eth5", std::nullopt}});  // in another order, with another one
    ASSERT_TRUE(after.update({link(4, "eth1"), link(5, "eth5")}));
    EXPECT_EQ(after.devices()[0].number, 2U);
    EXPECT_NE(after.devices()[1].number, 1U) << "a program may still run with that number";
    EXPECT_EQ(after.way_out(4, 8), eight);
    EXPECT_NE(after.way_out(4, 9), seven) << "a next hop may still name it";
    EXPECT_EQ(record(seven).ifindex, 4U);
    after.forget_adopted();
    ASSERT_TRUE(writer_->collect());
    EXPECT_EQ(record(seven).ifindex, 0U);
    EXPECT_EQ(record(eight).ifindex, 4U);
    EXPECT_EQ(after.way_out(4, 10), seven) << "free again";
}

TEST_F(PortTableTest, AFullTableIsNoWayOut) {
    PortTable ports(*writer_, {{"eth0", std::nullopt}});
    ASSERT_TRUE(ports.update({link(3, "eth0")}));
    std::set<std::uint32_t> given;
    std::uint16_t id = 1;
    while (const auto number = ports.way_out(3, id++)) EXPECT_TRUE(given.insert(number).second);
    EXPECT_EQ(given.size(), tables_.limits().ports - 2U);
}

// --- Next hops ---

// A kernel whose neighbours all answer with a MAC that their link's index tells.
class EagerOs : public net::NetOs {
  public:
    Result<net::Route> route_to(const IpAddress&) override {
        return net::Route{false, 3, ip("192.0.2.1"), std::nullopt, std::nullopt};
    }
    const net::Link* link(std::uint32_t ifindex) const override {
        for (const auto& l : links)
            if (l.ifindex == ifindex) return &l;
        return nullptr;
    }
    const net::Link* vlan_on(std::uint32_t lower, std::uint16_t id) const override {
        for (const auto& l : links)
            if (l.vlan == net::VlanOf{id, lower}) return &l;
        return nullptr;
    }
    const net::Neighbour* neighbour(const net::NeighbourKey& key) const override {
        neighbour_ = {key, mac(static_cast<int>(key.ifindex)), net::NeighbourState::kReachable, true};
        return &neighbour_;
    }
    Result<void> resolve(const net::NeighbourKey&) override { return {}; }
    Result<void> release(const net::NeighbourKey&) override { return {}; }

    std::vector<net::Link> links{fairlead::link(3, "eth0"), vlan(9, 7, 3)};

  private:
    mutable net::Neighbour neighbour_;
};

class PathTableTest : public PortTableTest {
  protected:
    PathTableTest() {
        EXPECT_TRUE(ports_.update(os_.links));
        tracker_.on_change([this](const auto&, const auto& now) { paths_.changed(now); });
    }
    void want(std::set<net::Destination> destinations) {
        tracker_.set_wanted({destinations.begin(), destinations.end()}, std::chrono::steady_clock::now());
        paths_.keep_only(destinations);
    }
    std::uint64_t word(const net::Destination& destination) {
        return tables_.nexthops()[paths_.path_to(destination).nexthop].word;
    }

    EagerOs os_;
    net::NextHopTracker tracker_{os_};
    PortTable ports_{*writer_, {{"eth0", std::nullopt}}};
    PathTable paths_{*writer_, tracker_, ports_};
};

TEST_F(PathTableTest, OneNextHopANeighbourAndWay) {
    const net::Destination a = ip("198.51.100.1"), b = ip("198.51.100.2");
    const net::Destination tagged(ip("198.51.100.2"), 7), given(ip("198.51.100.3"), 7, mac(0x77));
    want({a, b, tagged, given});
    EXPECT_EQ(paths_.path_to(a), paths_.path_to(b)) << "both behind one gateway";
    EXPECT_NE(paths_.path_to(b).nexthop, paths_.path_to(tagged).nexthop) << "the gateway on another VLAN is another";
    EXPECT_NE(paths_.path_to(tagged).nexthop, paths_.path_to(given).nexthop);
    EXPECT_EQ(word(a), FL_NEXTHOP_WORD(0x0353005e0002ULL, 1));
    EXPECT_EQ(word(tagged), FL_NEXTHOP_WORD(0x0953005e0002ULL, 2));
    EXPECT_EQ(word(given), FL_NEXTHOP_WORD(0x7753005e0002ULL, 2)) << "by the same port";
    EXPECT_EQ(paths_.path_to(tagged).mtu, 1496U);
}

TEST_F(PathTableTest, AWayThatNobodyTakesIsReleasedWithItsPort) {
    const net::Destination tagged(ip("198.51.100.2"), 7);
    want({tagged});
    ASSERT_EQ(record(2).ifindex, 3U);
    want({ip("198.51.100.2")});
    ASSERT_TRUE(writer_->collect());
    EXPECT_EQ(record(2).ifindex, 0U);
    want({tagged});
    EXPECT_EQ(FL_NEXTHOP_PORT(word(tagged)), 2U);
}

TEST_F(PathTableTest, AnInterfaceThatIsNotOursIsNoWay) {
    os_.links.push_back(link(4, "eth1"));
    os_.links[0].name = "other";
    EXPECT_FALSE(ports_.update(os_.links));
    const net::Destination a = ip("198.51.100.1");
    want({a});
    EXPECT_EQ(word(a), 0U);
}

}  // namespace
}  // namespace fairlead
