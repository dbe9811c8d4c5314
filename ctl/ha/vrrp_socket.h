// SPDX-License-Identifier: Apache-2.0
// The sockets of VRRP: adverts on one interface, announcements of VIPs, and the groups that neighbour solicitations for
// VIPs are sent to. Opened in the network namespace of the calling thread; each object then belongs to one thread.
// Sending and receiving allocates nothing and never blocks.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ctl/ha/announcement.h"
#include "ctl/ha/vrrp_packet.h"
#include "dataplane/tables/result.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::ha {

struct VrrpSocketOptions {
    std::string interface;
    std::uint32_t ifindex = 0;
    IpAddress source;  // of this node; for IPv6 the interface's link-local address. Its family is the socket's
    std::vector<IpAddress> peers;  // sent to one by one; none: to 224.0.0.18 or ff02::12 (RFC 9568 section 5.1)
    bool operator==(const VrrpSocketOptions&) const = default;
};

class VrrpSocket {
  public:
    static Result<VrrpSocket> open(const VrrpSocketOptions& options);

    int fd() const { return fd_.get(); }

    // Fills in source and destination. True if a send worked, to one of the peers at least; errno of the last that did
    // not in last_error().
    bool send(AdvertToSend advert);
    int last_error() const { return last_error_; }

    struct Received {
        Arrival arrival;
        std::span<const std::uint8_t> message;  // behind the IP header; valid until the next receive()
    };
    // Nothing when there is no more.
    std::optional<Received> receive();

  private:
    VrrpSocket() = default;
    bool send_to(const IpAddress& destination, std::span<const std::uint8_t> bytes);

    UniqueFd fd_;
    std::uint32_t ifindex_ = 0;
    IpAddress source_;
    std::vector<IpAddress> destinations_;
    int last_error_ = 0;
    std::array<std::uint8_t, 2048> buffer_{};
};

// Whole Ethernet frames out of one interface.
class FrameSender {
  public:
    static Result<FrameSender> open(std::uint32_t ifindex);
    bool send(const Frame& frame);

  private:
    UniqueFd fd_;
};

// Membership of the solicited-node groups of IPv6 VIPs on one interface, for as long as the object lives: network cards
// and switches drop what nobody joined. IPv4 addresses are passed over. To change the set, make another and drop this.
class SolicitedNodeGroups {
  public:
    static Result<SolicitedNodeGroups> join(std::uint32_t ifindex, std::span<const IpAddress> vips);
    std::size_t size() const { return joined_; }

  private:
    std::vector<UniqueFd> sockets_;
    std::size_t joined_ = 0;
};

}  // namespace fairlead::ha
