// SPDX-License-Identifier: Apache-2.0
// Tables with one of everything that `lbctl` shows, filled by the same writer that lbd uses. Port 1 is "eth0"; a VIP
// of each family; pools of the ports below, each with the one backend "b", but "tiers" with "master" and "slave".
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tables/writer.h"

namespace fairlead::test {

inline constexpr const char* kVip = "192.0.2.10";
inline constexpr const char* kVip6 = "2001:db8::10";
inline constexpr std::uint16_t kTiers = 80, kIpip = 81, kLocal = 82, kDown = 83, kUnresolved = 84, kSmall = 85;

inline IpAddress address(const std::string& text) { return IpAddress::parse(text).value(); }
inline MacAddress mac(const std::string& text) { return MacAddress::parse(text).value(); }

class World {
  public:
    World()
        : tables(tables::Tables::create_anonymous(tables::limits_for({64, 64, 64, 128, 1 << 16, 64}, 1)).value()),
          grace_(tables::make_grace(tables).value()),
          writer(tables::TableWriter::create(tables, *grace_).value()) {
        ok(writer.set_hash_key({3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3}));
        ok(writer.set_node(address("192.0.2.250"), address("2001:db8::fa")));
        ok(writer.set_encap4(IpPrefix{address("192.0.2.250"), 32}));
        ok(writer.set_encap6(IpPrefix{address("2001:db8::fa"), 128}));
        ok(writer.set_answer_rate(1000));
        ok(writer.set_role(0, UINT64_MAX));
        ok(writer.set_port(1, {"eth0", 7, mac("02:00:00:00:00:01"), 1500, 0, FL_ENGINE_XDP_NATIVE}));
        writer.set_controller(4711, 1'700'000'000'123'000'000);
        hop_ = writer.allocate_nexthop().value();
        ok(writer.set_nexthop(hop_, mac("02:00:00:00:00:b1"), 1));
        nowhere_ = writer.allocate_nexthop().value();
        fill();
    }

    static void ok(const Result<void>& result) {
        if (!result) throw std::runtime_error(result.error().message);
    }

    std::uint32_t pool(const std::string& name) const { return writer.find_pool(name).value(); }

    void set_state(const std::string& pool_name, const std::string& backend, fl_backend_state state,
                   std::uint32_t mtu = 1500, bool resolved = true) {
        const auto id = pool(pool_name);
        ok(writer.set_backend_state(id, writer.find_backend(id, backend).value(), state, mtu,
                                    resolved ? hop_ : nowhere_));
    }

    // All slots of the pool to the backend; none: to nobody.
    void set_owner(const std::string& pool_name, const std::optional<std::string>& backend) {
        const auto id = pool(pool_name);
        const std::vector<std::uint16_t> owners(
            writer.slot_count(id), backend ? writer.find_backend(id, *backend).value() : std::uint16_t{FL_NO_BACKEND});
        if (auto done = writer.set_slots(id, owners); !done) throw std::runtime_error(done.error().message);
    }

    // Every byte of every table.
    std::vector<char> image() const {
        std::vector<char> bytes;
        const auto& memory = tables.memory();
        for (int table = 0; table < FL_TABLE_COUNT; ++table) append(bytes, memory, table);
        return bytes;
    }

    tables::Tables tables;

  private:
    static void append(std::vector<char>& bytes, const fl_memory& memory, int table) {
        static const std::size_t kStrides[] = {
#define FL_X(name, type, count) FL_ELEMENT_STRIDE(type),
            FL_TABLE_LIST(FL_X)
#undef FL_X
        };
        const auto* first = static_cast<const char*>(memory.base[table]);
        bytes.insert(bytes.end(), first, first + memory.count[table] * kStrides[table]);
    }

    void add(tables::Desired& d, const char* vip, const std::string& name, std::uint16_t port, fl_forward forward) {
        const bool v4 = address(vip).is_v4();
        const auto full = name + (v4 ? "" : "6");
        d.pools.push_back({full, FL_POOL_ALL_DOWN_RESET, 1024, 3600, {}});
        auto& backends = d.pools.back().backends;
        if (name == "tiers") {
            backends.push_back({"master", address(v4 ? "203.0.113.11" : "2001:db8:1::11"), forward, 0});
            backends.push_back({"slave", address(v4 ? "203.0.113.12" : "2001:db8:1::12"), forward, 1});
        } else {
            backends.push_back({"b", address(v4 ? "203.0.113.21" : "2001:db8:1::21"), forward, 0});
        }
        d.services.push_back({full, address(vip), port, 6, full});
    }

    void fill() {
        tables::Desired d;
        for (const auto* vip : {kVip, kVip6}) {
            d.vips.push_back({address(vip), true, false, 0});
            add(d, vip, "tiers", kTiers, FL_FORWARD_L2DSR);
            add(d, vip, "ipip", kIpip, FL_FORWARD_IPIP);
            add(d, vip, "local", kLocal, FL_FORWARD_LOCAL);
            add(d, vip, "down", kDown, FL_FORWARD_L2DSR);
            add(d, vip, "unresolved", kUnresolved, FL_FORWARD_L2DSR);
            add(d, vip, "small", kSmall, FL_FORWARD_IPIP);
        }
        d.services.push_back({"dns", address(kVip), 0, 17, "tiers"});
        if (auto report = writer.apply(d); !report) throw std::runtime_error(report.error().message);
        for (const auto& pool : d.pools) settle(pool);
    }

    void settle(const tables::DesiredPool& pool) {
        const bool down = pool.name.starts_with("down"), lost = pool.name.starts_with("unresolved");
        for (const auto& backend : pool.backends)
            set_state(pool.name, backend.name, down ? FL_BACKEND_UNHEALTHY : FL_BACKEND_HEALTHY,
                      pool.name.starts_with("small") ? 60 : 1500, !lost);
        set_owner(pool.name, down ? std::nullopt : std::optional(pool.backends.front().name));
    }

    std::unique_ptr<tables::GracePeriod> grace_;
    std::uint32_t hop_ = 0, nowhere_ = 0;

  public:
    tables::TableWriter writer;
};

}  // namespace fairlead::test
