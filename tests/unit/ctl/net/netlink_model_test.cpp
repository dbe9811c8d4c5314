// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/netlink_model.h"

#include <gtest/gtest.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <cstring>
#include <random>
#include <vector>

namespace fairlead::net {
namespace {

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }
MacAddress mac(const char* text) { return MacAddress::parse(text).value(); }

// Builds one message the way the kernel would.
class Message {
  public:
    explicit Message(std::uint16_t type) : bytes_(4096) { mnl_nlmsg_put_header(bytes_.data())->nlmsg_type = type; }
    template <typename Header>
    Message& fixed(const Header& header) {
        std::memcpy(mnl_nlmsg_put_extra_header(get(), sizeof header), &header, sizeof header);
        return *this;
    }
    Message& number(std::uint16_t type, std::uint32_t value) {
        mnl_attr_put_u32(get(), type, value);
        return *this;
    }
    Message& text(std::uint16_t type, const char* value) {
        mnl_attr_put_strz(get(), type, value);
        return *this;
    }
    Message& address(std::uint16_t type, const IpAddress& value) {
        mnl_attr_put(get(), type, value.family_bytes().size(), value.family_bytes().data());
        return *this;
    }
    Message& hardware(std::uint16_t type, const MacAddress& value) {
        mnl_attr_put(get(), type, value.bytes.size(), value.bytes.data());
        return *this;
    }
    Message& raw(std::uint16_t type, std::string_view value) {
        mnl_attr_put(get(), type, value.size(), value.data());
        return *this;
    }
    Message& nested_text(std::uint16_t outer, std::uint16_t inner, const char* value) {
        nlattr* nest = mnl_attr_nest_start(get(), outer);
        mnl_attr_put_strz(get(), inner, value);
        mnl_attr_nest_end(get(), nest);
        return *this;
    }
    // Attributes within attributes, as a link of a kind has them.
    template <typename Fill>
    Message& nested(std::uint16_t outer, Fill fill) {
        nlattr* nest = mnl_attr_nest_start(get(), outer);
        fill(*this);
        mnl_attr_nest_end(get(), nest);
        return *this;
    }
    Message& short_number(std::uint16_t type, std::uint16_t value) {
        mnl_attr_put_u16(get(), type, value);
        return *this;
    }
    Message& byte(std::uint16_t type, std::uint8_t value) {
        mnl_attr_put_u8(get(), type, value);
        return *this;
    }
    Message& nested_number(std::uint16_t outer, std::uint16_t inner, std::uint32_t value) {
        nlattr* nest = mnl_attr_nest_start(get(), outer);
        mnl_attr_put_u32(get(), inner, value);
        mnl_attr_nest_end(get(), nest);
        return *this;
    }
    nlmsghdr* get() { return reinterpret_cast<nlmsghdr*>(bytes_.data()); }

  private:
    std::vector<char> bytes_;
};

Message link_message(std::uint16_t type, int index, const char* name, unsigned flags = IFF_UP | IFF_RUNNING,
                     std::uint8_t family = AF_UNSPEC) {
    ifinfomsg header{};
    header.ifi_family = family;
    header.ifi_index = index;
    header.ifi_flags = flags;
    Message message(type);
    message.fixed(header).text(IFLA_IFNAME, name).number(IFLA_MTU, 1500);
    return message;
}

Message neighbour_message(std::uint16_t type, const char* address, std::uint16_t state, const char* hardware,
                          std::uint8_t flags = 0) {
    ndmsg header{};
    header.ndm_family = ip(address).is_v4() ? AF_INET : AF_INET6;
    header.ndm_ifindex = 3;
    header.ndm_state = state;
    header.ndm_flags = flags;
    Message message(type);
    message.fixed(header).address(NDA_DST, ip(address));
    if (hardware != nullptr) message.hardware(NDA_LLADDR, mac(hardware));
    return message;
}

Changes apply(NetlinkModel& model, Message message) {
    Changes changes;
    model.apply(message.get(), changes);
    return changes;
}

TEST(NetlinkModel, FollowsALink) {
    NetlinkModel model;
    EXPECT_TRUE(
        apply(model, link_message(RTM_NEWLINK, 3, "eth0").hardware(IFLA_ADDRESS, mac("02:00:5e:00:53:01"))).links);
    const Link* link = model.link(3);
    ASSERT_NE(link, nullptr);
    EXPECT_EQ(link->name, "eth0");
    EXPECT_EQ(link->mtu, 1500U);
    EXPECT_EQ(link->mac, mac("02:00:5e:00:53:01"));
    EXPECT_TRUE(link->up());
    EXPECT_TRUE(link->has_arp);
    EXPECT_EQ(model.link("eth0"), link);
    EXPECT_EQ(model.link("eth1"), nullptr);

    // The same again is no change; a lost carrier is; a message without the address keeps it.
    EXPECT_FALSE(apply(model, link_message(RTM_NEWLINK, 3, "eth0")).any());
    EXPECT_TRUE(apply(model, link_message(RTM_NEWLINK, 3, "eth0", IFF_UP)).links);
    EXPECT_FALSE(model.link(3)->up());
    EXPECT_EQ(model.link(3)->mac, mac("02:00:5e:00:53:01"));

    EXPECT_TRUE(apply(model, link_message(RTM_DELLINK, 3, "eth0")).links);
    EXPECT_EQ(model.link(3), nullptr);
    EXPECT_FALSE(apply(model, link_message(RTM_DELLINK, 3, "eth0")).any());
}

TEST(NetlinkModel, ABridgePortThatLeavesIsNoLinkThatGoes) {
    NetlinkModel model;
    apply(model, link_message(RTM_NEWLINK, 3, "eth0"));
    EXPECT_FALSE(apply(model, link_message(RTM_DELLINK, 3, "eth0", IFF_UP, AF_BRIDGE)).any());
    EXPECT_NE(model.link(3), nullptr);
}

TEST(NetlinkModel, KnowsAVethPeerInTheSameNamespaceOnly) {
    NetlinkModel model;
    apply(model,
          link_message(RTM_NEWLINK, 3, "v0").nested_text(IFLA_LINKINFO, IFLA_INFO_KIND, "veth").number(IFLA_LINK, 4));
    EXPECT_EQ(model.link(3)->veth_peer, 4U);
    apply(model, link_message(RTM_NEWLINK, 5, "v1")
                     .number(IFLA_LINK, 4)
                     .number(IFLA_LINK_NETNSID, 0)
                     .nested_text(IFLA_LINKINFO, IFLA_INFO_KIND, "veth"));
    EXPECT_FALSE(model.link(5)->veth_peer);
    apply(
        model,
        link_message(RTM_NEWLINK, 6, "m0").nested_text(IFLA_LINKINFO, IFLA_INFO_KIND, "macvlan").number(IFLA_LINK, 4));
    EXPECT_FALSE(model.link(6)->veth_peer);
}

Message vlan_message(int index, const char* name, std::uint16_t id, std::uint32_t lower,
                     std::uint16_t protocol = 0x8100) {
    auto message = link_message(RTM_NEWLINK, index, name);
    message.number(IFLA_LINK, lower).nested(IFLA_LINKINFO, [&](Message& info) {
        info.text(IFLA_INFO_KIND, "vlan").nested(IFLA_INFO_DATA, [&](Message& data) {
            data.short_number(IFLA_VLAN_ID, id).short_number(IFLA_VLAN_PROTOCOL, __builtin_bswap16(protocol));
        });
    });
    return message;
}

TEST(NetlinkModel, KnowsAVlanDeviceByItsNumberAndWhatItIsOn) {
    NetlinkModel model;
    apply(model, link_message(RTM_NEWLINK, 3, "eth0"));
    apply(model, vlan_message(9, "eth0.7", 7, 3));
    EXPECT_EQ(model.link(9)->vlan, (VlanOf{7, 3}));
    EXPECT_EQ(model.vlan_on(3, 7), model.link(9));
    EXPECT_EQ(model.vlan_on(3, 8), nullptr);
    EXPECT_EQ(model.vlan_on(4, 7), nullptr);
    EXPECT_FALSE(model.link(3)->vlan);
    apply(model, vlan_message(10, "eth0.8", 8, 3, 0x88a8));
    EXPECT_FALSE(model.link(10)->vlan) << "a service tag (802.1ad) is not one that we put on";
    apply(model, vlan_message(11, "eth0.9", 9, 3).number(IFLA_LINK_NETNSID, 0));
    EXPECT_FALSE(model.link(11)->vlan) << "on a link of another network namespace";
    EXPECT_FALSE(apply(model, vlan_message(9, "eth0.7", 7, 3)).any());
}

Message slave_message(std::uint32_t master, std::uint8_t state) {
    auto message = link_message(RTM_NEWLINK, 4, "eth1");
    if (master) message.number(IFLA_MASTER, master);
    message.nested(IFLA_LINKINFO, [&](Message& info) {
        info.text(IFLA_INFO_SLAVE_KIND, "bond").nested(IFLA_INFO_SLAVE_DATA, [&](Message& data) {
            data.byte(IFLA_BOND_SLAVE_STATE, state);
        });
    });
    return message;
}

TEST(NetlinkModel, FollowsTheSlavesOfABond) {
    NetlinkModel model;
    apply(model, link_message(RTM_NEWLINK, 2, "bond0").nested_text(IFLA_LINKINFO, IFLA_INFO_KIND, "bond"));
    EXPECT_TRUE(model.link(2)->is_bond());
    apply(model, slave_message(2, 0));
    EXPECT_EQ(model.link(4)->master, 2U);
    EXPECT_TRUE(model.link(4)->active_slave);
    EXPECT_TRUE(apply(model, slave_message(2, 1)).links);
    EXPECT_FALSE(model.link(4)->active_slave) << "a backup";
    apply(model, slave_message(0, 0));
    EXPECT_EQ(model.link(4)->master, 0U) << "it left";
    EXPECT_FALSE(model.link(4)->active_slave);
}

TEST(NetlinkModel, SaysTheLargestMtuOfADriver) {
    NetlinkModel model;
    apply(model, link_message(RTM_NEWLINK, 3, "eth0").number(IFLA_MAX_MTU, 9216));
    EXPECT_EQ(model.link(3)->max_mtu, 9216U);
}

TEST(NetlinkModel, LinksWithoutArp) {
    NetlinkModel model;
    apply(model, link_message(RTM_NEWLINK, 1, "lo", IFF_UP | IFF_RUNNING | IFF_LOOPBACK));
    apply(model, link_message(RTM_NEWLINK, 2, "tun0", IFF_UP | IFF_RUNNING | IFF_NOARP));
    EXPECT_FALSE(model.link(1)->has_arp);
    EXPECT_TRUE(model.link(1)->loopback);
    EXPECT_FALSE(model.link(2)->has_arp);
}

TEST(NetlinkModel, FollowsAddresses) {
    NetlinkModel model;
    const auto message = [](std::uint16_t type, const char* address, std::uint8_t length) {
        ifaddrmsg header{};
        header.ifa_family = ip(address).is_v4() ? AF_INET : AF_INET6;
        header.ifa_prefixlen = length;
        header.ifa_index = 3;
        Message built(type);
        built.fixed(header).address(IFA_ADDRESS, ip(address));
        return built;
    };
    EXPECT_TRUE(apply(model, message(RTM_NEWADDR, "192.0.2.1", 24)).addresses);
    EXPECT_FALSE(apply(model, message(RTM_NEWADDR, "192.0.2.1", 24)).any());
    EXPECT_TRUE(apply(model, message(RTM_NEWADDR, "2001:db8::1", 64)).addresses);
    // A point-to-point link: the peer's address is not ours.
    EXPECT_TRUE(
        apply(model, message(RTM_NEWADDR, "198.51.100.2", 32).address(IFA_LOCAL, ip("198.51.100.1"))).addresses);
    EXPECT_EQ(
        model.addresses(),
        (std::vector<LocalAddress>{{3, ip("192.0.2.1"), 24}, {3, ip("198.51.100.1"), 32}, {3, ip("2001:db8::1"), 64}}));
    EXPECT_TRUE(apply(model, message(RTM_DELADDR, "192.0.2.1", 24)).addresses);
    EXPECT_FALSE(apply(model, message(RTM_DELADDR, "192.0.2.1", 24)).any());
    EXPECT_EQ(model.addresses().size(), 2U);
}

TEST(NetlinkModel, FollowsANeighbourAndItsMac) {
    NetlinkModel model;
    const NeighbourKey key{3, ip("192.0.2.11")};
    const auto first = apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.11", NUD_REACHABLE, "02:00:5e:00:53:0a"));
    EXPECT_EQ(first.neighbours, std::set<NeighbourKey>{key});
    EXPECT_FALSE(first.reroutes());
    EXPECT_TRUE(model.neighbour(key)->usable());
    EXPECT_FALSE(model.neighbour(key)->managed);

    EXPECT_FALSE(apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.11", NUD_REACHABLE, "02:00:5e:00:53:0a")).any());
    EXPECT_TRUE(apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.11", NUD_REACHABLE, "02:00:5e:00:53:0b")).any());
    EXPECT_EQ(model.neighbour(key)->mac, mac("02:00:5e:00:53:0b"));
    EXPECT_TRUE(apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.11", NUD_REACHABLE, "02:00:5e:00:53:0b")
                                 .number(NDA_FLAGS_EXT, NTF_EXT_MANAGED))
                    .any());
    EXPECT_TRUE(model.neighbour(key)->managed);
    apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.11", NUD_FAILED, nullptr));
    EXPECT_FALSE(model.neighbour(key)->usable());
    EXPECT_EQ(apply(model, neighbour_message(RTM_DELNEIGH, "192.0.2.11", NUD_FAILED, nullptr)).neighbours.count(key),
              1U);
    EXPECT_EQ(model.neighbour(key), nullptr);
}

TEST(NetlinkModel, UsableMeansAValidStateAndAMac) {
    for (const std::uint16_t state : {NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_PERMANENT, NUD_NOARP}) {
        NetlinkModel model;
        apply(model, neighbour_message(RTM_NEWNEIGH, "2001:db8::b", state, "02:00:5e:00:53:0a"));
        EXPECT_TRUE(model.neighbours().at(0).usable()) << state;
        apply(model, neighbour_message(RTM_NEWNEIGH, "2001:db8::b", state, "00:00:00:00:00:00"));
        EXPECT_FALSE(model.neighbours().at(0).usable()) << state;
    }
    for (const std::uint16_t state : {NUD_NONE, NUD_INCOMPLETE, NUD_FAILED}) {
        NetlinkModel model;
        apply(model, neighbour_message(RTM_NEWNEIGH, "2001:db8::b", state, "02:00:5e:00:53:0a"));
        EXPECT_FALSE(model.neighbours().at(0).usable()) << state;
    }
}

TEST(NetlinkModel, IgnoresForeignNeighbours) {
    NetlinkModel model;
    Message bridge = neighbour_message(RTM_NEWNEIGH, "192.0.2.11", NUD_REACHABLE, "02:00:5e:00:53:0a");
    static_cast<ndmsg*>(mnl_nlmsg_get_payload(bridge.get()))->ndm_family = AF_BRIDGE;
    EXPECT_FALSE(apply(model, std::move(bridge)).any());
    EXPECT_FALSE(apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.11", NUD_PERMANENT, nullptr, NTF_PROXY)).any());
    EXPECT_TRUE(model.neighbours().empty());
}

TEST(NetlinkModel, TellsOfRoutesWithoutKeepingThem) {
    for (const std::uint16_t type :
         {RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWRULE, RTM_DELRULE, RTM_NEWNEXTHOP, RTM_DELNEXTHOP}) {
        NetlinkModel model;
        const auto changes = apply(model, Message(type));
        EXPECT_TRUE(changes.routes);
        EXPECT_TRUE(changes.reroutes());
    }
}

TEST(NetlinkModel, ADumpSweepsWhatIsGone) {
    NetlinkModel model;
    apply(model, link_message(RTM_NEWLINK, 3, "eth0"));
    apply(model, link_message(RTM_NEWLINK, 4, "eth1"));
    apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.11", NUD_REACHABLE, "02:00:5e:00:53:0a"));
    apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.12", NUD_REACHABLE, "02:00:5e:00:53:0b"));
    model.begin_dump();
    apply(model, link_message(RTM_NEWLINK, 4, "eth1"));
    apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.12", NUD_REACHABLE, "02:00:5e:00:53:0b"));
    Changes changes;
    model.end_dump(changes);
    EXPECT_TRUE(changes.links);
    EXPECT_FALSE(changes.addresses);
    EXPECT_EQ(changes.neighbours, (std::set<NeighbourKey>{{3, ip("192.0.2.11")}}));
    EXPECT_EQ(model.links().size(), 1U);
    EXPECT_EQ(model.neighbours().size(), 1U);
    Changes none;
    model.begin_dump();
    apply(model, link_message(RTM_NEWLINK, 4, "eth1"));
    apply(model, neighbour_message(RTM_NEWNEIGH, "192.0.2.12", NUD_REACHABLE, "02:00:5e:00:53:0b"));
    model.end_dump(none);
    EXPECT_FALSE(none.any());
}

TEST(NetlinkModel, ShortAndOddMessagesChangeNothing) {
    for (const std::uint16_t type : {RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWNEIGH, RTM_DELNEIGH}) {
        NetlinkModel model;
        EXPECT_FALSE(apply(model, Message(type)).any()) << type;  // no fixed part at all
    }
    NetlinkModel model;
    ndmsg header{};
    header.ndm_family = AF_INET;
    header.ndm_ifindex = 3;
    EXPECT_FALSE(apply(model, Message(RTM_NEWNEIGH).fixed(header)).any());                      // no address
    EXPECT_FALSE(apply(model, Message(RTM_NEWNEIGH).fixed(header).raw(NDA_DST, "abc")).any());  // of 3 bytes
    EXPECT_FALSE(apply(model, Message(NLMSG_DONE)).any());
    // Attributes that are too short for their kind are as if not there.
    apply(model,
          link_message(RTM_NEWLINK, 3, "eth0").raw(IFLA_MTU, "x").raw(IFLA_ADDRESS, "12345678").raw(IFLA_LINK, ""));
    EXPECT_EQ(model.link(3)->mtu, 1500U);
    EXPECT_TRUE(model.link(3)->mac.is_zero());
}

TEST(NetlinkModel, SurvivesDamagedMessages) {
    std::mt19937 random(7);
    for (int round = 0; round < 20000; ++round) {
        Message message =
            round % 3 == 0   ? link_message(RTM_NEWLINK, 3, "eth0").nested_text(IFLA_LINKINFO, IFLA_INFO_KIND, "veth")
            : round % 3 == 1 ? neighbour_message(RTM_NEWNEIGH, "192.0.2.1", NUD_REACHABLE, "02:00:5e:00:53:0a")
                             : Message(RTM_NEWROUTE).fixed(rtmsg{}).nested_number(RTA_METRICS, RTAX_MTU, 1400);
        // Exactly as long as it says, so that a sanitizer sees a byte read past the end.
        const std::size_t length = message.get()->nlmsg_len;
        std::vector<nlmsghdr> aligned((length + sizeof(nlmsghdr) - 1) / sizeof(nlmsghdr));
        auto* bytes = reinterpret_cast<std::uint8_t*>(aligned.data());
        std::memcpy(bytes, message.get(), length);
        for (int damage = 0; damage < 4; ++damage)
            bytes[sizeof(nlmsghdr) + random() % (length - sizeof(nlmsghdr))] = static_cast<std::uint8_t>(random());
        Changes changes;
        NetlinkModel model;
        model.apply(aligned.data(), changes);
        (void)parse_route(aligned.data());
        (void)parse_host_route(aligned.data(), {146, 146});
    }
}

TEST(ParseRoute, ReadsGatewaySourceAndMtu) {
    rtmsg header{};
    header.rtm_family = AF_INET;
    header.rtm_type = RTN_UNICAST;
    const Route route = parse_route(Message(RTM_NEWROUTE)
                                        .fixed(header)
                                        .number(RTA_OIF, 3)
                                        .address(RTA_GATEWAY, ip("192.0.2.254"))
                                        .address(RTA_PREFSRC, ip("192.0.2.1"))
                                        .nested_number(RTA_METRICS, RTAX_MTU, 1400)
                                        .get())
                            .value();
    EXPECT_FALSE(route.local);
    EXPECT_EQ(route.ifindex, 3U);
    EXPECT_EQ(route.gateway, ip("192.0.2.254"));
    EXPECT_EQ(route.source, ip("192.0.2.1"));
    EXPECT_EQ(route.mtu, 1400U);

    std::string via("\x0a\x00", 2);  // AF_INET6 in host order
    const IpAddress gateway = ip("2001:db8::fe");
    via.append(gateway.bytes().begin(), gateway.bytes().end());
    EXPECT_EQ(parse_route(Message(RTM_NEWROUTE).fixed(header).number(RTA_OIF, 3).raw(RTA_VIA, via).get())->gateway,
              gateway);
}

TEST(ParseRoute, ALearnedPathMtuIsNotFollowed) {
    rtmsg header{};
    header.rtm_type = RTN_UNICAST;
    rta_cacheinfo cache{};
    cache.rta_expires = 100;
    const std::string_view bytes(reinterpret_cast<const char*>(&cache), sizeof cache);
    EXPECT_FALSE(parse_route(Message(RTM_NEWROUTE)
                                 .fixed(header)
                                 .number(RTA_OIF, 3)
                                 .nested_number(RTA_METRICS, RTAX_MTU, 576)
                                 .raw(RTA_CACHEINFO, bytes)
                                 .get())
                     ->mtu);
}

TEST(ParseRoute, RefusesWhatIsNoWay) {
    rtmsg header{};
    for (const std::uint8_t type : {RTN_BROADCAST, RTN_MULTICAST, RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT}) {
        header.rtm_type = type;
        EXPECT_FALSE(parse_route(Message(RTM_NEWROUTE).fixed(header).number(RTA_OIF, 3).get())) << int{type};
    }
    header.rtm_type = RTN_LOCAL;
    EXPECT_TRUE(parse_route(Message(RTM_NEWROUTE).fixed(header).number(RTA_OIF, 1).get())->local);
    EXPECT_FALSE(parse_route(Message(RTM_NEWROUTE).fixed(header).get()));  // no interface
    EXPECT_FALSE(parse_route(Message(RTM_NEWROUTE).get()));
    EXPECT_FALSE(parse_route(Message(RTM_NEWLINK).fixed(header).number(RTA_OIF, 1).get()));
}

// A host route as the kernel lists it.
rtmsg host_route_header() {
    rtmsg header{};
    header.rtm_family = AF_INET;
    header.rtm_dst_len = 32;
    header.rtm_table = RT_TABLE_COMPAT;  // what stands there for a number above 255
    header.rtm_protocol = 146;
    header.rtm_type = RTN_BLACKHOLE;
    return header;
}

std::optional<IpAddress> parsed_host_route(const rtmsg& header, std::uint32_t table, const char* destination) {
    return parse_host_route(
        Message(RTM_NEWROUTE).fixed(header).number(RTA_TABLE, table).address(RTA_DST, ip(destination)).get(),
        {70000, 146});
}

TEST(ParseHostRoute, ReadsTheOwnersAlone) {
    auto header = host_route_header();
    EXPECT_EQ(parsed_host_route(header, 70000, "192.0.2.10"), ip("192.0.2.10"));
    EXPECT_FALSE(parsed_host_route(header, 146, "192.0.2.10")) << "another table";
    header.rtm_protocol = RTPROT_STATIC;
    EXPECT_FALSE(parsed_host_route(header, 70000, "192.0.2.10")) << "another's";
    header = host_route_header();
    header.rtm_dst_len = 24;
    EXPECT_FALSE(parsed_host_route(header, 70000, "192.0.2.0")) << "a network";
    header = host_route_header();
    header.rtm_type = RTN_UNICAST;
    EXPECT_FALSE(parsed_host_route(header, 70000, "192.0.2.10")) << "lbd makes none of this type";
    header = host_route_header();
    header.rtm_family = AF_INET6;
    header.rtm_dst_len = 128;
    EXPECT_EQ(parsed_host_route(header, 70000, "2001:db8::10"), ip("2001:db8::10"));
}

TEST(ParseHostRoute, RefusesWhatIsNone) {
    const auto header = host_route_header();
    const RouteOwner owner{RT_TABLE_COMPAT, 146};
    EXPECT_FALSE(parse_host_route(Message(RTM_NEWROUTE).fixed(header).get(), owner)) << "no destination: the default";
    EXPECT_FALSE(parse_host_route(Message(RTM_NEWROUTE).get(), owner));
    EXPECT_FALSE(parse_host_route(Message(RTM_DELROUTE).fixed(header).address(RTA_DST, ip("192.0.2.10")).get(), owner));
    EXPECT_EQ(parse_host_route(Message(RTM_NEWROUTE).fixed(header).address(RTA_DST, ip("192.0.2.10")).get(), owner),
              ip("192.0.2.10"))
        << "an old kernel has the number in the header alone";
}

}  // namespace
}  // namespace fairlead::net
