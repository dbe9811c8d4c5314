// SPDX-License-Identifier: Apache-2.0
// How a node that became active tells the others where a VIP is now: the frames, and when each is sent; and what asks where
// an address is. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "ctl/ha/vrrp_instance.h"
#include "dataplane/tables/address.h"

namespace fairlead::ha {

inline constexpr std::size_t kAnnouncementBytes = 14 + 4 + 40 + 32;  // Ethernet, a VLAN tag, IPv6, NA with an option

struct Frame {
    std::array<std::uint8_t, kAnnouncementBytes> bytes{};
    std::size_t size = 0;
    std::span<const std::uint8_t> span() const { return {bytes.data(), size}; }
};

// IPv4: a gratuitous ARP *request*, sender = target = VIP (RFC 5227 section 3): within the kernel's locktime only that
// overrides a neighbour's entry. IPv6: an unsolicited neighbour advertisement with Override (RFC 4861 section 7.2.6)
// from the VIP to all nodes. `vlan`: the tag that the frame leaves with.
Frame announcement(const IpAddress& vip, const MacAddress& mac, std::optional<std::uint16_t> vlan = {});

// What asks whose MAC an address of the same family is: an ARP request, or a neighbour solicitation to the address's
// solicited-node group (RFC 4861 section 7.2.2), from one of this node's own addresses.
Frame solicitation(const IpAddress& target, const IpAddress& own, const MacAddress& mac);

// ff02::1:ffXX:XXXX of an IPv6 address (RFC 4291 section 2.7.1).
IpAddress solicited_node_group(const IpAddress& address);

// When the VIPs of one instance are announced: at once, and again some times, since the first may be lost or come before
// a switch's port forwards. At most so many frames at a time, so that a node with many VIPs still sends its adverts.
class AnnouncementSchedule {
  public:
    static constexpr std::array<std::chrono::milliseconds, 5> kRounds = {
        std::chrono::milliseconds{0}, std::chrono::milliseconds{100}, std::chrono::milliseconds{500},
        std::chrono::milliseconds{1000}, std::chrono::milliseconds{3000}};  // after the beginning
    static constexpr std::size_t kBatch = 64;
    static constexpr std::chrono::milliseconds kBatchGap{1};
    // Beginnings are not closer: nobody else's adverts make this node send many.
    static constexpr std::chrono::milliseconds kRestartGap{50};

    // `count` things to announce; again from the first round if it goes on already.
    void begin(std::size_t count, TimePoint now);
    void end() { count_ = 0; }

    struct Range {
        std::size_t first = 0;
        std::size_t count = 0;
    };
    // What is to be sent now, perhaps nothing.
    Range take(TimePoint now);
    std::optional<TimePoint> next() const;

  private:
    std::size_t count_ = 0;  // 0: nothing goes on
    std::size_t round_ = 0;
    std::size_t position_ = 0;
    TimePoint began_;
    TimePoint next_;
};

}  // namespace fairlead::ha
