// SPDX-License-Identifier: Apache-2.0
// The tables that the XDP benchmark measures over: one service of 65,536 slots with 100 backends per case, and beside
// them 999 services of 4,096 slots, each with a VIP of its own. Pinned in a folder of this process, which goes with it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "dataplane/tables/writer.h"

namespace fairlead::bench {

inline constexpr std::uint32_t kSlots = 65'536, kBackends = 100;
inline constexpr std::uint32_t kOtherServices = 999, kOtherSlots = 4'096, kOtherBackends = 4;
inline constexpr std::uint32_t kPins = 1U << 22;
inline constexpr std::uint16_t kPort = 80;  // of every service; the benchmark's packets go there

// VIPs of the services under test (RFC 5737, RFC 3849).
inline constexpr const char* kVipIpip4 = "192.0.2.1";
inline constexpr const char* kVipL2dsr = "192.0.2.2";
inline constexpr const char* kVipMoving = "192.0.2.3";  // all its slots are in transition, by IPIP
inline constexpr const char* kVipIpip6 = "2001:db8::1";

// Next hop of every backend, and this machine's own MAC.
inline constexpr const char* kGatewayMac = "02:00:00:00:00:02";
inline constexpr const char* kOwnMac = "02:00:00:00:00:01";

class BenchTables {
  public:
    static Result<std::unique_ptr<BenchTables>> create();
    ~BenchTables();

    // Where next hops and port 1 lie: real interfaces for the live measurement.
    Result<void> set_path(std::uint32_t ifindex, const MacAddress& own, const MacAddress& gateway);

    // Confirmed pins of these flows of the moving service, and no others, in a slot that has moved again since.
    void pin(std::span<const std::vector<std::uint8_t>> syn_and_data, std::uint32_t flows,
             void (*set_flow)(std::vector<std::uint8_t>& frame, std::uint32_t flow));
    // As pin() left them, or none.
    void restore_pins();
    // Packets that have found no pin in a slot that is not settled.
    std::uint64_t unpinned() const { return tables::CounterReader(*tables_).event(FL_EVENT_PREVIOUS); }
    void remove_pins();

    // Counted by the backends of a pool under test.
    std::uint64_t packets_of(const std::string& pool) const;

    tables::Tables& tables() { return *tables_; }
    tables::TableWriter& writer() { return *writer_; }

  private:
    BenchTables() = default;
    Result<void> fill();
    void move(std::uint16_t by, std::uint16_t previous_by);

    std::filesystem::path folder_;
    std::unique_ptr<tables::Tables> tables_;
    std::unique_ptr<tables::GracePeriod> grace_;
    std::optional<tables::TableWriter> writer_;
    std::uint32_t nexthop_ = 0;
    std::vector<fl_pin_bucket> pins_;
};

}  // namespace fairlead::bench
