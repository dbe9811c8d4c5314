// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbctl/explain.h"

#include <nlohmann/json.hpp>
#include <set>

#include "ctl/lbctl/print.h"
#include "tests/unit/ctl/lbctl/world.h"

namespace fairlead::lbctl {
namespace {
using namespace test;

Json ask(const World& world, const std::string& from, const std::string& to, bool udp = false) {
    const auto before = world.image();
    auto json = explain(world.tables, {Endpoint::parse(from).value(), Endpoint::parse(to).value(), udp});
    EXPECT_EQ(world.image(), before) << "explaining changed the tables";
    EXPECT_TRUE(json.has_value());
    return json.value_or(Json());
}

Json ask_port(const World& world, std::uint16_t port, bool v6 = false) {
    return v6 ? ask(world, "[2001:db8:ffff::7]:40000", "[2001:db8::10]:" + std::to_string(port))
              : ask(world, "198.51.100.7:40000", "192.0.2.10:" + std::to_string(port));
}

TEST(Explain, HasTheDocumentedKeysWhateverTheVerdict) {
    const World world;
    const std::vector<std::string> keys{
        "source",  "destination", "protocol", "vlans", "frame_bytes", "verdict", "reason",   "why",   "vip", "active",
        "service", "pool",        "slot",     "pin",   "backend",     "forward", "next_hop", "outer", "mtu", "open"};
    for (const auto port : {kTiers, kIpip, kLocal, kDown, kUnresolved, kSmall, std::uint16_t{9}}) {
        const auto json = ask_port(world, port);
        std::vector<std::string> found;
        for (const auto& [key, value] : json.items()) found.push_back(key);
        EXPECT_EQ(found, keys) << json;
    }
}

TEST(Explain, SaysWhatASlotInTransitionMeansForTheFlow) {
    World world;
    EXPECT_EQ(ask_port(world, kTiers)["pin"], nullptr) << "settled";
    const auto id = world.pool("tiers");
    std::vector<tables::SlotChange> changes;
    for (std::uint32_t slot = 0; slot < world.writer.slot_count(id); ++slot)
        changes.push_back({slot, FL_SLOT_WORD(0, 1, 1, 0), false, false});
    World::ok(world.writer.change_slots(id, changes, 1));
    const auto json = ask_port(world, kTiers);
    EXPECT_EQ(json["slot"]["settled"], false);
    EXPECT_EQ(json["pin"]["found"], false);
    EXPECT_NE(json["pin"]["text"].get<std::string>().find("would begin a connection"), std::string::npos);
    EXPECT_NE(json["open"]["backend"], json["backend"]["name"]) << "what is open is the previous owner's";
    EXPECT_EQ(json["open"]["pinned"], false);
}

TEST(Explain, ForwardedByL2Dsr) {
    const World world;
    const auto json = ask_port(world, kTiers);
    EXPECT_EQ(json["source"], "198.51.100.7:40000");
    EXPECT_EQ(json["destination"], "192.0.2.10:80");
    EXPECT_EQ(json["verdict"], "forwarded");
    EXPECT_EQ(json["reason"], "steered");
    EXPECT_EQ(json["vip"], kVip);
    EXPECT_EQ(json["active"], true);
    EXPECT_EQ(json["service"], Json({{"name", "tiers"}, {"port", 80}}));
    EXPECT_EQ(json["pool"], "tiers");
    EXPECT_EQ(json["backend"],
              Json({{"name", "master"}, {"address", "203.0.113.11"}, {"tier", 0}, {"state", "healthy"}}));
    EXPECT_EQ(json["forward"], "l2dsr");
    EXPECT_EQ(json["next_hop"], Json({{"interface", "eth0"}, {"mac", "02:00:00:00:00:b1"}}));
    EXPECT_EQ(json["outer"], nullptr);
    const auto slot = json["slot"];
    EXPECT_EQ(slot["of"], 1024);
    EXPECT_LT(slot["number"], 1024);
    EXPECT_EQ(slot["owner"], "master");
    EXPECT_EQ(slot["previous"], "master");
    EXPECT_EQ(slot["settled"], true);
    EXPECT_EQ(slot["by"], "5-tuple");
    EXPECT_EQ(json["why"], "slot " + slot["number"].dump() + " of pool tiers belongs to master");
}

TEST(Explain, AnswersAboutAFrameAsItStands) {
    const World world;
    const Question first{Endpoint::parse("198.51.100.7:40000").value(), Endpoint::parse("192.0.2.10:80").value()};
    Question question;
    question.frame = make_packet(first).value();
    const auto json = explain(world.tables, question).value();
    EXPECT_EQ(json["verdict"], "forwarded");
    EXPECT_EQ(json["vip"], kVip);
    EXPECT_EQ(json["backend"]["name"], "master");
    EXPECT_EQ(json["slot"], explain(world.tables, first).value()["slot"]);
    EXPECT_EQ(json["source"], nullptr);
    EXPECT_EQ(json["frame_bytes"], 54);
    EXPECT_EQ(print_explain(json).find("frame of 54 bytes: forwarded: slot "), 0U) << print_explain(json);
    question.frame = {1, 2, 3};
    EXPECT_EQ(explain(world.tables, question).value()["verdict"], "passed") << "not an Ethernet frame";
}

TEST(Explain, FollowsTheSlotsOwner) {
    World world;
    world.set_owner("tiers", "slave");
    EXPECT_EQ(ask_port(world, kTiers)["backend"]["name"], "slave");
    std::set<Json> slots;
    for (int port = 40000; port < 40020; ++port)
        slots.insert(ask(world, "198.51.100.7:" + std::to_string(port), "192.0.2.10:80")["slot"]["number"]);
    EXPECT_GT(slots.size(), 10U) << "the source port is part of the hash";
}

TEST(Explain, TunnelsNameTheOuterAddresses) {
    const World world;
    auto json = ask_port(world, kIpip);
    EXPECT_EQ(json["verdict"], "forwarded");
    EXPECT_EQ(json["forward"], "ipip");
    EXPECT_EQ(json["outer"], Json({{"source", "192.0.2.250"}, {"destination", "203.0.113.21"}}));
    EXPECT_EQ(json["mtu"]["overhead"], 20);
    EXPECT_EQ(json["mtu"]["largest_packet"], 1480);
    json = ask_port(world, kIpip, true);
    EXPECT_EQ(json["outer"], Json({{"source", "2001:db8::fa"}, {"destination", "2001:db8:1::21"}}));
    EXPECT_EQ(json["mtu"]["next_hop"], 1500);
    EXPECT_EQ(json["mtu"]["overhead"], 40);
    EXPECT_EQ(json["mtu"]["largest_packet"], 1460);
}

TEST(Explain, LocalBackend) {
    const World world;
    for (const bool v6 : {false, true}) {
        const auto json = ask_port(world, kLocal, v6);
        EXPECT_EQ(json["verdict"], "local");
        EXPECT_EQ(json["reason"], "steered");
        EXPECT_EQ(json["backend"]["name"], "b");
        EXPECT_EQ(json["forward"], "local");
        EXPECT_EQ(json["next_hop"], nullptr);
        EXPECT_EQ(json["mtu"], nullptr);
    }
}

TEST(Explain, UnlistedPortIsRefused) {
    const World world;
    const auto json = ask_port(world, 9);
    EXPECT_EQ(json["verdict"], "answered");
    EXPECT_EQ(json["reason"], "reset");
    EXPECT_EQ(json["why"], "TCP reset: no service on that port");
    EXPECT_EQ(json["vip"], kVip);
    for (const auto* key : {"service", "pool", "slot", "backend", "forward", "next_hop", "outer", "mtu"})
        EXPECT_EQ(json[key], nullptr) << key;
    const auto udp = ask(world, "[2001:db8:ffff::7]:40000", "[2001:db8::10]:80", true);
    EXPECT_EQ(udp["reason"], "unreachable");
    EXPECT_EQ(udp["why"], "ICMP port unreachable: no service on that port");
}

TEST(Explain, AnyPort) {
    const World world;
    const auto json = ask(world, "198.51.100.7:40000", "192.0.2.10:53", true);
    EXPECT_EQ(json["protocol"], "udp");
    EXPECT_EQ(json["service"], Json({{"name", "dns"}, {"port", "any"}}));
    EXPECT_EQ(json["verdict"], "forwarded");
}

TEST(Explain, AllDownIsToldFromUnlisted) {
    const World world;
    const auto json = ask_port(world, kDown, true);
    EXPECT_EQ(json["verdict"], "answered");
    EXPECT_EQ(json["reason"], "reset");
    EXPECT_EQ(json["why"], "TCP reset: no backend of the pool is eligible");
    EXPECT_EQ(json["service"]["name"], "down6");
    EXPECT_EQ(json["slot"]["owner"], nullptr);
    EXPECT_EQ(json["backend"], nullptr);
}

TEST(Explain, NotAVip) {
    const World world;
    const auto json = ask(world, "198.51.100.7:40000", "192.0.2.99:80");
    EXPECT_EQ(json["verdict"], "passed");
    EXPECT_EQ(json["reason"], "not_vip");
    EXPECT_EQ(json["vip"], nullptr);
    EXPECT_EQ(json["active"], nullptr);
}

TEST(Explain, StandbySteersButDoesNotAnswer) {
    World world;
    World::ok(world.writer.set_role(0, 0));
    const auto refused = ask_port(world, 9);
    EXPECT_EQ(refused["verdict"], "dropped");
    EXPECT_EQ(refused["reason"], "standby");
    EXPECT_EQ(refused["active"], false);
    const auto steered = ask_port(world, kTiers);
    EXPECT_EQ(steered["verdict"], "forwarded");
    EXPECT_EQ(steered["active"], false);
    EXPECT_NE(print_explain(steered).find("this node is not active for the VIP"), std::string::npos);
}

TEST(Explain, UnresolvedNextHop) {
    const World world;
    const auto json = ask_port(world, kUnresolved);
    EXPECT_EQ(json["verdict"], "dropped");
    EXPECT_EQ(json["reason"], "no_neighbour");
    EXPECT_EQ(json["why"], "the next hop's MAC address is not known");
    EXPECT_EQ(json["backend"]["name"], "b");
    EXPECT_EQ(json["next_hop"], nullptr);
}

TEST(Explain, MtuVerdict) {
    const World world;
    const auto json = ask_port(world, kSmall);  // 40 bytes of SYN and 20 of tunnel: just fits
    EXPECT_EQ(json["verdict"], "forwarded");
    EXPECT_EQ(json["mtu"]["next_hop"], 60);
    EXPECT_EQ(json["mtu"]["largest_packet"], 40);
    EXPECT_EQ(json["mtu"]["verdict"], "packets of up to 40 bytes pass; the sender of a larger one is told so");
    const auto dropped = ask_port(world, kSmall, true);  // 60 and 40
    EXPECT_EQ(dropped["reason"], "too_big");
    EXPECT_EQ(dropped["mtu"]["largest_packet"], 20);
}

TEST(Explain, ClientAffinityIgnoresThePort) {
    World world;
    auto& pool = world.tables.pools()[world.pool("tiers")];
    pool.flags |= FL_POOL_CLIENT_IP;
    const auto first = ask(world, "198.51.100.7:40000", "192.0.2.10:80");
    const auto second = ask(world, "198.51.100.7:40001", "192.0.2.10:80");
    EXPECT_EQ(first["slot"]["by"], "client address");
    EXPECT_EQ(first["slot"]["number"], second["slot"]["number"]);
}

TEST(Explain, RefusalsDoNotUseUpTheAnswerLimit) {
    World world;
    World::ok(world.writer.set_answer_rate(1));
    for (int i = 0; i < 50; ++i) ASSERT_EQ(ask_port(world, 9)["reason"], "reset") << i;
}

TEST(Explain, FamiliesMustAgree) {
    const World world;
    const auto json =
        explain(world.tables, {Endpoint::parse("[2001:db8::7]:1").value(), Endpoint::parse("192.0.2.10:80").value()});
    ASSERT_FALSE(json.has_value());
    EXPECT_EQ(json.error().code, EINVAL);
}

TEST(Endpoint, ReadsBothFamilies) {
    for (const auto* text : {"192.0.2.7:40000", "[2001:db8::7]:1", "[::]:65535", "0.0.0.0:0"}) {
        const auto endpoint = Endpoint::parse(text);
        ASSERT_TRUE(endpoint.has_value()) << text;
        EXPECT_EQ(endpoint->to_string(), text);
    }
    EXPECT_EQ(Endpoint::parse("[2001:db8::7]:443")->port, 443);
}

TEST(Endpoint, RefusesEverythingElse) {
    for (const auto* text : {"",
                             ":",
                             ":80",
                             "192.0.2.7",
                             "192.0.2.7:",
                             "192.0.2.7:http",
                             "192.0.2.7:65536",
                             "192.0.2.7:-1",
                             "192.0.2.7:+1",
                             "192.0.2.7: 80",
                             "192.0.2.7:80 ",
                             "192.0.2.700:80",
                             "192.0.2:80",
                             "2001:db8::7:80",
                             "[2001:db8::7]",
                             "[2001:db8::7]:",
                             "2001:db8::7]:80",
                             "[2001:db8::7:80",
                             "[192.0.2.7]:80",
                             "[]:80",
                             "[2001:db8::7%eth0]:80",
                             "localhost:80",
                             "192.0.2.7:80:80"}) {
        const auto endpoint = Endpoint::parse(text);
        ASSERT_FALSE(endpoint.has_value()) << text;
        EXPECT_EQ(endpoint.error().code, EINVAL);
        EXPECT_NE(endpoint.error().message.find(text), std::string::npos) << "the error quotes the input";
    }
}

}  // namespace
}  // namespace fairlead::lbctl
