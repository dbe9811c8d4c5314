// SPDX-License-Identifier: Apache-2.0
// The way to this machine's own stack for frames that are not the load balancer's: a tap device (kernel documentation,
// networking/tuntap). Where DPDK has taken a network card from the kernel, the tap carries the card's name and MAC address,
// so that addresses, routes, SSH, BGP and VRRP go on through it; what the stack sends is read here.
//
// A frame is a system call. Writing is any worker's, reading one worker's. The device goes with the object.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <string>

#include "dataplane/tables/result.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::engine {

class Tap {
  public:
    // Makes the device and brings it up. EBUSY: there is an interface of this name.
    static Result<Tap> create(const std::string& name, const std::array<std::uint8_t, 6>& mac, std::uint32_t mtu);

    // For frames that came in by another interface: no address of its own is made, and what arrives is believed whatever
    // way its answer would go (as reverse-path filters of all interfaces allow).
    Result<void> accept_strays() const;

    // False: the stack took it not. The frame stays the caller's.
    bool write(rte_mbuf* frame) const;
    // The next frame that the stack sends, nullptr: none, or no buffer for it.
    rte_mbuf* read(rte_mempool* pool) const;
    int descriptor() const { return fd_.get(); }

    void set_carrier(bool up);

  private:
    Tap(UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

    UniqueFd fd_;
    std::string name_;
    bool carrier_ = true;
};

}  // namespace fairlead::engine
