// SPDX-License-Identifier: Apache-2.0
// `lbctl capture` but for the rings: words to a filter, entries to text, packets to the bytes of a file, and the end of it.
#include "ctl/lbctl/capture.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "ctl/lbctl/capture_filter.h"
#include "ctl/lbctl/pcapng.h"
#include "dataplane/tables/memory_steer.h"
#include "dataplane/tables/records.h"
#include "tests/support/packet.h"
#include "tests/unit/ctl/lbctl/world.h"

namespace fairlead::lbctl {
namespace {
using namespace test;

class Capture : public testing::Test {
  protected:
    fl_capture_filter filter(const std::vector<std::string>& words) const {
        const auto parsed = parse_filter(words, tables::take_snapshot(world.tables));
        if (!parsed) throw std::runtime_error(parsed.error().message);
        return *parsed;
    }

    std::string fault(const std::vector<std::string>& words) const {
        const auto parsed = parse_filter(words, tables::take_snapshot(world.tables));
        if (parsed) return "none";
        EXPECT_EQ(parsed.error().code, EINVAL);
        return parsed.error().message;
    }

    // Steers the packet as a worker does, with stride `stride`.
    void steer(const Packet& packet, std::uint32_t stride = 0) {
        constexpr std::size_t kRoom = 128;
        const auto frame = packet.bytes();
        std::vector<std::uint8_t> room(kRoom + frame.size() + kRoom);
        std::copy(frame.begin(), frame.end(), room.begin() + kRoom);
        auto engine = world.tables.engine();
        engine.stride = stride;
        engine.ingress_port = 1;
        engine.now_ns = engine.now_coarse_ns = tables::monotonic_ns();
        engine.headroom = engine.tailroom = kRoom;
        fl_packet p{room.data() + kRoom, room.data() + kRoom + frame.size()};
        std::uint32_t port = 0;
        fl_steer(&engine, &p, &port);
    }

    std::vector<tables::Captured> captured_of(const Packet& packet, std::uint32_t stride = 0) {
        const auto grace = tables::make_grace(world.tables).value();
        auto capture = tables::Capture::create(world.tables, *grace, any()).value();
        capture.renew();
        steer(packet, stride);
        return capture.read();
    }

    static fl_capture_filter any() {
        fl_capture_filter filter{};
        filter.per_second = 1'000'000;
        return filter;
    }

    CaptureText text() const { return {tables::take_snapshot(world.tables), world.tables.limits()}; }

    static Packet to(std::uint16_t port) { return Ethernet{} / Ipv4{} / Tcp{.destination = port, .syn = true}; }

    World world;
};

// --- The filter's words ---

TEST_F(Capture, WordsOfAFilter) {
    EXPECT_EQ(filter({}).one_in, 1U);
    EXPECT_EQ(filter({}).by, 0);
    const auto all = filter({"vip", kVip, "client", "198.51.100.0/24", "port", "80", "protocol", "tcp", "pool", "tiers",
                             "backend", "slave", "reason", "too_big", "verdict", "drop"});
    EXPECT_EQ(all.vip, world.writer.find_vip(address(kVip)).value());
    EXPECT_EQ(tables::from_record(all.client).to_string(), "198.51.100.0");
    EXPECT_EQ(hex({std::begin(all.client_mask.bytes), std::end(all.client_mask.bytes)}),
              hex({255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0}));
    EXPECT_EQ(fl_ntohs(all.port), 80);
    EXPECT_EQ(all.protocol, 6);
    EXPECT_EQ(all.pool, world.pool("tiers"));
    EXPECT_EQ(all.backend, world.writer.global_index(world.pool("tiers"), 1));
    EXPECT_EQ(all.reason, FL_REASON_TOO_BIG);
    EXPECT_EQ(all.action, FL_ACTION_DROP);
    EXPECT_EQ(all.by, FL_CAPTURE_BY_BACKEND | FL_CAPTURE_BY_REASON | FL_CAPTURE_BY_ACTION);
    EXPECT_EQ(filter({"client", "2001:db8::/33"}).client_mask.bytes[4], 0x80);
    EXPECT_EQ(filter({"client", "192.0.2.1"}).client_mask.words[3], 0xffffffffU) << "one address";
    EXPECT_EQ(filter({"protocol", "icmpv6"}).protocol, 58);
}

TEST_F(Capture, AWrongFilterSaysWhatIsWrong) {
    const auto says = [&](const std::vector<std::string>& words, const std::string& part) {
        EXPECT_NE(fault(words).find(part), std::string::npos) << fault(words);
    };
    says({"vip"}, "nothing after 'vip'");
    says({"host", "192.0.2.1"},
         "unknown word 'host'; expected backend, client, pool, port, protocol, reason, verdict or vip");
    says({"port", "80", "port", "81"}, "'port' stands there twice");
    says({"vip", "192.0.2.99"}, "no such VIP");
    says({"vip", "192.0.2"}, "vip '192.0.2'");
    says({"client", "198.51.100.7/24"}, "client '198.51.100.7/24'");
    says({"port", "0"}, "expected 1 to 65535");
    says({"port", "80x"}, "expected 1 to 65535");
    says({"protocol", "sctp"}, "expected tcp, udp, icmp or icmpv6");
    says({"verdict", "dropped"}, "expected forward, local");
    says({"reason", "toobig"}, "lbctl counters --all");
    says({"pool", "nowhere"}, "there is none of that name");
    says({"backend", "nobody"}, "there is none of that name");
    says({"backend", "slave"}, "several pools have one: say pool tiers or tiers6 as well");
    says({"backend", "slave", "pool", "ipip"}, "there is none of that name");
}

// --- What is said of a packet ---

TEST_F(Capture, TheSentencesOfASteeredPacket) {
    const auto captured = captured_of(to(kIpip));
    ASSERT_EQ(captured.size(), 2U);
    EXPECT_EQ(text().comment(captured[0].entry), "before: forward to b (203.0.113.21) by ipip, service ipip");
    EXPECT_EQ(text().comment(captured[1].entry), "after: transmit by eth0, to b (203.0.113.21) by ipip, service ipip");
    EXPECT_EQ(text().interface(captured[1].entry), "eth0");
    constexpr std::uint64_t kTime = 1'700'000'000'123'456'789;
    EXPECT_EQ(text().line(captured[0], kTime),
              "22:13:20.123456789Z before eth0  198.51.100.7:40000 > 192.0.2.10:81 tcp SYN, 54 bytes: "
              "forward to b (203.0.113.21) by ipip, service ipip");
    EXPECT_EQ(text().line(captured[1], kTime),
              "22:13:20.123456789Z after  eth0  192.0.2.250 > 203.0.113.21 tunnel | "
              "198.51.100.7:40000 > 192.0.2.10:81 tcp SYN, 74 bytes: "
              "transmit by eth0, to b (203.0.113.21) by ipip, service ipip");
}

TEST_F(Capture, TheSentencesOfOthers) {
    const auto comments = [&](const Packet& packet) {
        std::vector<std::string> all;
        for (const auto& captured : captured_of(packet)) all.push_back(text().comment(captured.entry));
        return all;
    };
    using Comments = std::vector<std::string>;
    EXPECT_EQ(comments(to(kLocal)), (Comments{"before: local to b (203.0.113.21) by local, service local",
                                              "after: pass to the host, to b (203.0.113.21) by local, service local"}));
    EXPECT_EQ(comments(to(kDown)),
              (Comments{"before: answer, reset, service down", "after: transmit by eth0, service down"}));
    EXPECT_EQ(comments(to(kUnresolved)),
              (Comments{"before: drop, no_neighbour, to b (203.0.113.21), service unresolved"}));
    EXPECT_EQ(comments(to(99)), (Comments{"before: answer, reset", "after: transmit by eth0"}));
    EXPECT_EQ(comments(Ethernet{} / Arp{}), (Comments{"before: answer, arp", "after: transmit by eth0"}));
}

TEST_F(Capture, AFramesOwnWords) {
    const auto flow = [](const Packet& packet, std::size_t cut = 1500) {
        auto bytes = packet.bytes();
        const auto length = static_cast<std::uint32_t>(bytes.size());
        bytes.resize(std::min(bytes.size(), cut));
        return flow_text(bytes, length);
    };
    EXPECT_EQ(flow(Ethernet{} / Ipv6{} / Udp{} / Payload{"hello"}), "[2001:db8:ffff::7]:40000 > [2001:db8::10]:53 udp");
    EXPECT_EQ(flow(Ethernet{} / Vlan{} / Ipv4{} / Tcp{.syn = true, .ack = true}),
              "vlan 7 198.51.100.7:40000 > 192.0.2.10:80 tcp SYN,ACK");
    EXPECT_EQ(flow(Ethernet{} / Ipv4{} / Icmp{} / Payload{"ping"}), "198.51.100.7 > 192.0.2.10 icmp 8/0");
    EXPECT_EQ(flow(Ethernet{} / Ipv4{.more_fragments = true, .offset = 9, .protocol = 17} / Payload{"x"}),
              "198.51.100.7 > 192.0.2.10 udp later fragment");
    EXPECT_EQ(flow(Ethernet{} / Ipv4{} / Tcp{.ack = true} / Payload{Bytes(1000, 1)}, 256),
              "198.51.100.7:40000 > 192.0.2.10:80 tcp ACK")
        << "cut off behind its headers";
    EXPECT_EQ(flow(Ethernet{} / Ipv4{} / Tcp{.ack = true}, 30), "malformed IP");
    EXPECT_EQ(flow(Ethernet{.type = 0x88cc} / Payload{"lldp"}), "type 0x88cc");
    EXPECT_EQ(flow(Ethernet{} / Arp{}), "arp");
}

TEST_F(Capture, AsJson) {
    const auto captured = captured_of(to(kIpip), 1);
    ASSERT_EQ(captured.size(), 2U);
    const auto before = text().json(captured[0], 1'700'000'000'123'456'789);
    EXPECT_EQ(before["time"], "2023-11-14T22:13:20.123456789Z");
    EXPECT_EQ(before["stage"], "before");
    EXPECT_EQ(before["verdict"], "forward");
    EXPECT_TRUE(before["reason"].is_null());
    EXPECT_EQ(before["vip"], kVip);
    EXPECT_EQ(before["backend"], "b");
    EXPECT_EQ(before["forward"], "ipip");
    EXPECT_EQ(before["engine"], "dpdk") << "one CPU, then workers";
    EXPECT_EQ(before["core"], 0);
    EXPECT_TRUE(before["frame"].get<std::string>().starts_with("0200000000010200000000c1080045"));
    EXPECT_EQ(before["frame"].get<std::string>().size(), 2 * to(kIpip).bytes().size());
    const auto after = text().json(captured[1], 0);
    EXPECT_EQ(after["verdict"], "transmit");
    EXPECT_EQ(after["packet"], before["packet"]);
    const auto dropped = text().json(captured_of(to(kUnresolved)).at(0), 0);
    EXPECT_EQ(dropped["verdict"], "drop");
    EXPECT_EQ(dropped["reason"], "no_neighbour");
    EXPECT_EQ(dropped["engine"], "xdp");
}

// --- The file ---

template <typename T>
T at(const std::string& bytes, std::size_t offset) {
    T value{};
    if (offset + sizeof(T) > bytes.size()) throw std::out_of_range("the file is too short");
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

std::vector<std::string> blocks_of(const std::string& file) {
    std::vector<std::string> blocks;
    for (std::size_t from = 0; from < file.size();) {
        const auto length = at<std::uint32_t>(file, from + 4);
        EXPECT_EQ(length % 4, 0U);
        EXPECT_EQ(at<std::uint32_t>(file, from + length - 4), length) << "it stands at both ends";
        blocks.push_back(file.substr(from, length));
        from += length;
    }
    return blocks;
}

// The option's value; the options of a block begin at `from`.
std::string option(const std::string& block, std::size_t from, std::uint16_t code) {
    while (at<std::uint16_t>(block, from) != code) {
        if (at<std::uint16_t>(block, from) == 0) return "not there";
        from += 4 + (at<std::uint16_t>(block, from + 2) + 3U) / 4 * 4;
    }
    return block.substr(from + 4, at<std::uint16_t>(block, from + 2));
}

TEST(Pcapng, TheBytesOfAFile) {
    std::ostringstream out;
    PcapngWriter writer(out, "Fairlead");
    EXPECT_EQ(writer.add_interface("eth0", 256), 0U);
    EXPECT_EQ(writer.add_interface("eth1", 256), 1U);
    const Bytes frame{1, 2, 3, 4, 5};
    writer.add_packet({.interface = 1,
                       .realtime_ns = 0x1122334455667788,
                       .length = 1500,
                       .direction = PcapngPacket::Direction::kOutbound,
                       .bytes = frame,
                       .comment = "after: transmit"});
    const auto blocks = blocks_of(out.str());
    ASSERT_EQ(blocks.size(), 4U);
    EXPECT_EQ(at<std::uint32_t>(blocks[0], 0), 0x0a0d0d0aU);
    EXPECT_EQ(at<std::uint32_t>(blocks[0], 8), 0x1a2b3c4dU);
    EXPECT_EQ(at<std::uint32_t>(blocks[0], 12), 1U) << "version 1.0";
    EXPECT_EQ(at<std::int64_t>(blocks[0], 16), -1);
    EXPECT_EQ(option(blocks[0], 24, 4), "Fairlead");
    EXPECT_EQ(at<std::uint32_t>(blocks[2], 0), 1U);
    EXPECT_EQ(at<std::uint16_t>(blocks[2], 8), 1U) << "Ethernet";
    EXPECT_EQ(at<std::uint32_t>(blocks[2], 12), 256U);
    EXPECT_EQ(option(blocks[2], 16, 2), "eth1");
    EXPECT_EQ(option(blocks[2], 16, 9), "\x09");
    const auto& packet = blocks[3];
    EXPECT_EQ(at<std::uint32_t>(packet, 0), 6U);
    EXPECT_EQ(at<std::uint32_t>(packet, 8), 1U);
    EXPECT_EQ(at<std::uint32_t>(packet, 12), 0x11223344U);
    EXPECT_EQ(at<std::uint32_t>(packet, 16), 0x55667788U);
    EXPECT_EQ(at<std::uint32_t>(packet, 20), 5U);
    EXPECT_EQ(at<std::uint32_t>(packet, 24), 1500U);
    EXPECT_EQ(packet.substr(28, 8), std::string("\1\2\3\4\5\0\0\0", 8)) << "filled up to a word";
    EXPECT_EQ(option(packet, 36, 2), std::string("\2\0\0\0", 4)) << "outbound";
    EXPECT_EQ(option(packet, 36, 1), "after: transmit");
}

TEST_F(Capture, PacketsInAFile) {
    std::ostringstream out;
    const auto sink = make_pcapng_sink(out);
    for (const auto& captured : captured_of(to(kIpip))) sink->add(captured, 5, text());
    const auto blocks = blocks_of(out.str());
    ASSERT_EQ(blocks.size(), 4U) << "a section, one interface, a packet before and after";
    EXPECT_EQ(option(blocks[1], 16, 2), "eth0");
    const auto frame = to(kIpip).bytes();
    EXPECT_EQ(blocks[2].substr(28, 54), std::string(frame.begin(), frame.end()));
    EXPECT_EQ(option(blocks[2], 28 + 56, 1), "before: forward to b (203.0.113.21) by ipip, service ipip");
}

// --- Its end ---

TEST_F(Capture, ACountIsOfPackets) {
    CaptureLimit limit(2);
    tables::Captured first, other;
    other.stride = 1;
    EXPECT_TRUE(limit.take(first));
    EXPECT_TRUE(limit.take(other));
    EXPECT_TRUE(limit.reached());
    first.entry.stage = other.entry.stage = FL_CAPTURE_AFTER;
    EXPECT_TRUE(limit.take(first)) << "what became of a packet that was let through";
    EXPECT_TRUE(limit.take(other));
    tables::Captured third;
    third.entry.packet = 1;
    EXPECT_FALSE(limit.take(third));
    third.entry.stage = FL_CAPTURE_AFTER;
    EXPECT_FALSE(limit.take(third));
    EXPECT_EQ(limit.packets(), 2U);
}

TEST_F(Capture, RunsUntilItHasSeenEnough) {
    std::atomic<bool> stop{false};
    std::ostringstream out;
    const auto sink = make_text_sink(out);
    std::thread traffic([&] {
        while (!stop) steer(to(kIpip)), std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    const auto summary = run_capture(world.tables, any(), {3, 0, stop}, *sink, out);
    stop = true;
    traffic.join();
    ASSERT_TRUE(summary.has_value()) << summary.error().message;
    EXPECT_EQ(summary->packets, 3U);
    const auto said = out.str();
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 6) << said;
    EXPECT_EQ(world.tables.meta().capture_until_ns, 0U);
}

TEST_F(Capture, EndsByTimeAndWhenNobodyReads) {
    std::atomic<bool> stop{false};
    std::ostringstream out;
    const auto sink = make_text_sink(out);
    const auto summary = run_capture(world.tables, any(), {0, 0.1, stop}, *sink, out);
    ASSERT_TRUE(summary.has_value());
    EXPECT_EQ(summary->packets, 0U);
    out.setstate(std::ios::badbit);
    const auto refused = run_capture(world.tables, any(), {0, 0, stop}, *sink, out);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, EPIPE);
    EXPECT_EQ(world.tables.meta().capture_until_ns, 0U);
}

TEST_F(Capture, OneAtATime) {
    const auto folder = std::filesystem::temp_directory_path() / ("fairlead-capture-" + std::to_string(getpid()));
    std::filesystem::create_directory(folder);
    {
        const auto first = lock_capture(folder);
        ASSERT_TRUE(first.has_value()) << first.error().message;
        const auto second = lock_capture(folder);
        ASSERT_FALSE(second.has_value());
        EXPECT_EQ(second.error().code, EBUSY);
    }
    EXPECT_TRUE(lock_capture(folder).has_value()) << "the first is over";
    std::filesystem::remove(folder);
}

}  // namespace
}  // namespace fairlead::lbctl
