// SPDX-License-Identifier: Apache-2.0
// The thread on which VRRP runs: adverts out and in, leases into the role words, announcements. SCHED_FIFO where that is
// allowed, with memory locked: an advert that is late by scheduling looks like a death (DESIGN section 8).
//
// Thread rule: HaThread belongs to the thread that made it, and to that thread's network namespace. The two share one
// mailbox: the owner puts a call in and waits until it has been run; the HA thread never waits for anybody, takes no lock
// and, once it runs, allocates nothing.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ctl/ha/announcement.h"
#include "ctl/ha/vrrp_instance.h"
#include "ctl/ha/vrrp_socket.h"
#include "dataplane/tables/result.h"

struct fl_role;

namespace fairlead::ha {

// Without SCHED_FIFO, gaps of 20 to 31 ms were measured at a 10 ms timer: shorter intervals are refused then.
inline constexpr Centiseconds kIntervalWithoutRealtime{10};

// Where VIPs are announced.
struct HaPort {
    std::uint32_t ifindex = 0;
    MacAddress mac;
    std::optional<std::uint16_t> vlan = {};  // that VIPs are on there; none: untagged
    bool operator==(const HaPort&) const = default;
};

// VIPs that move together: one VRRP instance, one role word.
struct HaGroup {
    std::string name;  // for status; of two configurations, groups of the same name are the same
    std::uint8_t vrid = 0;
    bool external = false;  // no adverts: another program decides, by set_external()
    fl_role* role = nullptr;
    InstanceSettings settings = {};
    VrrpSocketOptions socket = {};  // its source is also settings.address
    bool pseudo_header = true;      // in the checksum of IPv4 adverts, until a peer was heard; then as it does
    std::vector<IpAddress> vips = {};
    std::vector<HaPort> ports = {};
    bool operator==(const HaGroup&) const = default;
};

inline constexpr std::size_t kHaHistory = 32;

struct HaGroupStatus {
    std::string name;
    std::uint8_t vrid = 0;
    bool external = false;
    State state = State::kInitialize;
    StateChange last_change;
    std::uint8_t priority = 0;  // as tracking leaves it
    std::optional<TimePoint> lease;
    bool ready = false;
    bool released = false;
    Tracking tracking;
    std::optional<PeerAdvert> peer;
    InstanceCounters counters;
    std::array<std::uint64_t, kAdvertRefusals> refused{};
    bool split = false;
    bool peer_addresses_differ = false;  // the last believed advert named other addresses than ours, or more, or fewer
    bool peer_interval_differs = false;
    int send_error = 0;                           // errno of the last advert that could not be sent
    std::array<StateChange, kHaHistory> history;  // change n, counted from 0, at n % kHaHistory
    std::uint64_t changes = 0;
};

class HaThread {
  public:
    static Result<std::unique_ptr<HaThread>> create();
    // Stops, as stop() does.
    ~HaThread();
    HaThread(const HaThread&) = delete;
    HaThread& operator=(const HaThread&) = delete;

    // SCHED_FIFO was allowed, and so was locking memory. If not, why.
    bool realtime() const { return realtime_error_.empty(); }
    const std::string& realtime_error() const { return realtime_error_; }

    // These groups and no others; those that were there keep their state. All or nothing.
    Result<void> configure(std::vector<HaGroup> groups);

    void set_ready(bool ready);
    // By the position in the list that configure() was given.
    void set_tracking(std::size_t group, const Tracking& tracking);
    Result<void> give_up(std::size_t group);
    Result<void> set_external(std::size_t group, bool active);

    std::vector<HaGroupStatus> status() const;
    // Readable, as an eventfd, when a state has changed.
    int changes_fd() const;

    // Hands over, with priority 0, and ends the thread. Word of external groups stay as they are.
    void stop();

  private:
    class Loop;
    struct Running;
    HaThread();
    static Result<std::unique_ptr<Running>> prepare(HaGroup group);

    std::unique_ptr<Loop> loop_;
    std::string realtime_error_;
};

}  // namespace fairlead::ha
