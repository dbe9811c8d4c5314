// SPDX-License-Identifier: Apache-2.0
// Tables with a pool of every kind behind two VIPs, and what is expected of a frame: its verdict, each byte, and that just
// the counters moved that should. Expected bytes come from the packet builder, which shares no arithmetic with the core.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "dataplane/tables/counters.h"
#include "dataplane/tables/memory_steer.h"
#include "dataplane/tables/writer.h"
#include "tests/support/packet.h"
#include "tests/support/steer_engine.h"

namespace fairlead::test {

inline constexpr const char* kVip = "192.0.2.10";
inline constexpr const char* kVip6 = "2001:db8::10";
inline constexpr const char* kClient = "198.51.100.7";
inline constexpr const char* kClient6 = "2001:db8:ffff::7";
inline constexpr const char* kClientMac = "02:00:00:00:00:c1";
inline constexpr const char* kOwnMac = "02:00:00:00:00:01";
inline constexpr const char* kHopMac = "02:00:00:00:00:b1";
inline constexpr const char* kPeerMac = "02:00:00:00:00:a2";
inline constexpr const char* kNode = "192.0.2.250";
inline constexpr const char* kNode6 = "2001:db8::fa";
inline constexpr const char* kPeer = "192.0.2.251";
inline constexpr const char* kPeer6 = "2001:db8::fb";
inline constexpr const char* kBackend = "203.0.113.11";
inline constexpr const char* kBackend6 = "2001:db8:1::11";
inline constexpr std::uint16_t kDsr = 80, kIpip = 81, kLocal = 82, kDown = 83, kDownSilent = 84, kUnresolved = 85,
                               kSmall = 86, kGue = 87, kOther = 88;
inline constexpr std::uint16_t kGuePort = 6080;
inline constexpr std::uint64_t kNow = 1'000'000'000'000;

class Steer : public testing::Test {
  protected:
    void SetUp() override {
        if (const auto missing = engine_->missing(); !missing.empty()) GTEST_SKIP() << missing;
        tables_ = std::make_unique<tables::Tables>(
            engine_->make_tables(tables::limits_for({64, 64, 64, 128, 1 << 16, 64}, 1)));
        grace_ = tables::make_grace(*tables_).value();
        writer_.emplace(tables::TableWriter::create(*tables_, *grace_).value());
        ok(writer_->set_hash_key({3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3}));
        ok(writer_->set_node(address(kNode), address(kNode6)));
        ok(writer_->set_encap4(IpPrefix{address(kNode), 32}));
        ok(writer_->set_encap6(IpPrefix{address(kNode6), 128}));
        ok(writer_->set_answer_rate(1000));
        ok(writer_->set_role(0, UINT64_MAX));
        set_way(1, FL_PORT_WAY_AS_IT_CAME);
        set_way(2, FL_PORT_WAY_AS_IT_CAME);
        hop_ = writer_->allocate_nexthop().value();
        ok(writer_->set_nexthop(hop_, MacAddress::parse(kHopMac).value(), 1));
        nowhere_ = writer_->allocate_nexthop().value();
        other_ = writer_->allocate_nexthop().value();
        ok(writer_->set_nexthop(other_, MacAddress::parse(kHopMac).value(), 2));
        apply(desired());
    }

    void set_way(std::uint32_t port, std::uint64_t way, fl_engine_kind mode = FL_ENGINE_NONE) {
        ok(writer_->set_port(port, {.name = "eth" + std::to_string(port),
                                    .ifindex = 7 + port,
                                    .mac = MacAddress::parse(kOwnMac).value(),
                                    .mode = mode,
                                    .way = way}));
    }

    static IpAddress address(const std::string& text) { return IpAddress::parse(text).value(); }
    static void ok(const Result<void>& result) { ASSERT_TRUE(result.has_value()) << result.error().message; }

    tables::Desired desired() const {
        tables::Desired d;
        for (const auto* vip : {kVip, kVip6}) {
            const bool v6 = vip == kVip6;
            d.vips.push_back({address(vip), true, local_vip_, 0});
            const auto add = [&](const std::string& name, std::uint16_t port, fl_forward forward, std::uint32_t flags) {
                const auto full = name + (v6 ? "6" : "");
                const bool tunnel = forward == FL_FORWARD_IPIP || forward == FL_FORWARD_GUE;
                const bool by_v6 = v6 != (cross_family_ && tunnel);
                d.pools.push_back({full,
                                   flags,
                                   1024,
                                   3600,
                                   {{.name = "b",
                                     .address = address(by_v6 ? kBackend6 : kBackend),
                                     .forward = forward,
                                     .gue_port = kGuePort}}});
                d.services.push_back({full, address(vip), port, 6, full});
            };
            add("dsr", kDsr, FL_FORWARD_L2DSR, FL_POOL_ALL_DOWN_RESET);
            add("ipip", kIpip, FL_FORWARD_IPIP, FL_POOL_ALL_DOWN_RESET);
            add("local", kLocal, FL_FORWARD_LOCAL, FL_POOL_ALL_DOWN_RESET);
            add("down", kDown, FL_FORWARD_L2DSR, FL_POOL_ALL_DOWN_RESET);
            add("silent", kDownSilent, FL_FORWARD_L2DSR, 0);
            add("unresolved", kUnresolved, FL_FORWARD_L2DSR, FL_POOL_ALL_DOWN_RESET);
            add("small", kSmall, FL_FORWARD_IPIP, FL_POOL_ALL_DOWN_RESET | small_flags_);
            add("gue", kGue, FL_FORWARD_GUE, 0);
            add("other", kOther, FL_FORWARD_L2DSR, 0);
            d.services.push_back({"any", address(vip), 0, 17, v6 ? "dsr6" : "dsr"});
        }
        return d;
    }

    void apply(const tables::Desired& d) {
        const auto report = writer_->apply(d, [](tables::TableWriter&, std::uint32_t, std::span<std::uint16_t> owners) {
            std::fill(owners.begin(), owners.end(), 0);
        });
        ASSERT_TRUE(report.has_value()) << report.error().message;
        for (const auto& pool : d.pools) {
            const auto id = writer_->find_pool(pool.name).value();
            const bool small = pool.name.starts_with("small"), lost = pool.name.starts_with("unresolved");
            ok(writer_->set_backend_state(id, *writer_->find_backend(id, "b"), FL_BACKEND_HEALTHY, small ? 100 : 1500,
                                          pool.name.starts_with("other") ? other_
                                          : lost                         ? nowhere_
                                                                         : hop_));
            if (pool.name.starts_with("down") || pool.name.starts_with("silent")) {
                const std::vector<std::uint16_t> none(writer_->slot_count(id), FL_NO_BACKEND);
                ASSERT_TRUE(writer_->set_slots(id, none).has_value());
            }
        }
    }

    Steered run(const Bytes& frame, bool unwrap_only = false) {
        return engine_->run(*tables_, frame, unwrap_only, now_);
    }

    // Runs the frame and checks verdict and bytes; nothing but `reason` may have been counted.
    void expect_reason(const Packet& packet, fl_verdict verdict, fl_reason reason, const Bytes& bytes,
                       bool unwrap_only = false) {
        const auto before = total();
        const auto was = tables::CounterReader(*tables_).reason(reason);
        const auto frame = packet.bytes();
        const auto out = run(frame, unwrap_only);
        EXPECT_EQ(out.verdict, verdict);
        if (verdict != FL_VERDICT_DROP) {
            EXPECT_EQ(hex(out.bytes), hex(bytes));
        }
        const auto now = tables::CounterReader(*tables_).reason(reason);
        EXPECT_EQ(now.packets, was.packets + 1);
        EXPECT_EQ(now.bytes, was.bytes + frame.size());
        EXPECT_EQ(total(), before + 1) << "more than one counter moved";
    }
    void expect_drop(const Packet& packet, fl_reason reason) { expect_reason(packet, FL_VERDICT_DROP, reason, {}); }
    void expect_pass(const Packet& packet, fl_reason reason = FL_REASON_NOT_VIP) {
        expect_reason(packet, FL_VERDICT_PASS, reason, packet.bytes());
    }
    void expect_answer(const Packet& packet, fl_reason reason, const Packet& answer) {
        expect_reason(packet, FL_VERDICT_TRANSMIT, reason, answer.bytes());
    }

    // Counted once for the service and once for its backend.
    void expect_steered(const Packet& packet, const std::string& pool, std::uint16_t port, bool v6, fl_verdict verdict,
                        const Bytes& bytes, bool syn = false, std::uint8_t protocol = 6) {
        const auto service = writer_->find_service(address(v6 ? kVip6 : kVip), port, protocol).value();
        const auto id = writer_->find_pool(pool).value();
        const auto backend = writer_->global_index(id, 0);
        const tables::CounterReader reader(*tables_);
        const auto s = reader.service(service), b = reader.backend(backend);
        const auto before = total();
        const auto frame = packet.bytes();
        const auto out = run(frame);
        EXPECT_EQ(out.verdict, verdict);
        EXPECT_EQ(hex(out.bytes), hex(bytes));
        if (verdict == FL_VERDICT_TRANSMIT) {
            EXPECT_EQ(out.port, leaves_by_);
        }
        const tables::Counts one{1, frame.size(), syn ? 1U : 0U};
        EXPECT_EQ(reader.service(service) - s, one);
        EXPECT_EQ(reader.backend(backend) - b, one);
        EXPECT_EQ(total(), before + 2);
    }

    std::uint64_t total() const {
        std::uint64_t sum = 0;
        for (const auto& counter : tables_->counters()) sum += counter.packets;
        return sum;
    }

    std::unique_ptr<SteerEngine> engine_ = make_steer_engine();
    std::unique_ptr<tables::Tables> tables_;
    std::unique_ptr<tables::GracePeriod> grace_;
    std::optional<tables::TableWriter> writer_;
    std::uint32_t hop_ = 0, nowhere_ = 0, other_ = 0;
    std::uint32_t leaves_by_ = 1;    // the port that steered frames are to leave by
    std::uint32_t small_flags_ = 0;  // of the pool whose next hop has a small MTU
    bool local_vip_ = false, cross_family_ = false;
    std::uint64_t now_ = kNow;
};

inline Ethernet onward() { return {.source = kOwnMac, .destination = kHopMac}; }
inline Ethernet back() { return {.source = kOwnMac, .destination = kClientMac}; }

// The first `size` bytes of the packet behind the Ethernet header: what an ICMP error quotes.
inline Bytes quoted(const Packet& packet, std::size_t size) {
    const auto bytes = packet.bytes();
    return {bytes.begin() + 14, bytes.begin() + 14 + static_cast<std::ptrdiff_t>(std::min(size, bytes.size() - 14))};
}

class Decap : public Steer {
  protected:
    void SetUp() override {
        Steer::SetUp();
        if (IsSkipped()) return;
        ok(writer_->set_meta_flags(FL_META_DECAP));
        const std::array sources{IpPrefix{address(kPeer), 32}, IpPrefix::parse("2001:db8::/64").value()};
        ok(writer_->set_sources(sources));
    }
    static Ipv4 outer() { return {.source = kPeer, .destination = kNode}; }
    static Ipv6 outer6() { return {.source = kPeer6, .destination = kNode6}; }
};

}  // namespace fairlead::test
