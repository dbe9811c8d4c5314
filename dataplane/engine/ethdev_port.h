// SPDX-License-Identifier: Apache-2.0
// A device of DPDK's: a network card bound to a DPDK driver, or a virtual device.
#pragma once

#include <rte_ethdev.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "dataplane/engine/packet_port.h"
#include "dataplane/tables/result.h"

namespace fairlead::engine {

struct EthdevSettings {
    std::string name;           // for the log
    std::uint16_t queues = 1;   // to receive on; as many of them as the device has
    std::uint16_t workers = 1;  // that send
    std::uint16_t mtu = RTE_ETHER_MTU;
    rte_mempool* pool = nullptr;  // of all frames that are received, and of all that are sent
    bool for_host = false;        // the host lives behind this device: its multicast groups are to arrive
};

class EthdevPort final : public PacketPort {
  public:
    // DPDK's number of a device, "0000:03:00.0" or a virtual one with its arguments ("net_af_packet0,iface=eth0"), which is
    // probed if it is not there yet.
    static Result<std::uint16_t> probe(const std::string& device);

    // Configures and starts the device; the port stops and closes it.
    static Result<std::unique_ptr<EthdevPort>> start(std::uint16_t id, const EthdevSettings& settings);
    // Over a device that runs already, with one queue, and stays another's.
    static std::unique_ptr<EthdevPort> running(std::uint16_t id);

    ~EthdevPort() override;

    std::uint16_t receive(std::uint16_t queue, rte_mbuf** frames, std::uint16_t most) override {
        return rte_eth_rx_burst(id_, queue, frames, most);
    }
    bool link_up() override;
    std::uint64_t missed() override;

    std::string driver() const;
    std::array<std::uint8_t, 6> mac() const;
    std::uint16_t mtu() const;  // bytes of IP
    // Nothing may be received or sent meanwhile: most devices stop for it.
    Result<void> set_mtu(std::uint16_t mtu);

  private:
    EthdevPort(std::uint16_t id, const EthdevSettings& settings, std::uint16_t queues, std::uint16_t lanes, bool owned)
        : PacketPort(settings.name, queues, lanes, settings.workers, false), id_(id), owned_(owned) {}

    std::uint16_t transmit(std::uint16_t lane, rte_mbuf** frames, std::uint16_t count) override {
        return rte_eth_tx_burst(id_, lane, frames, count);
    }

    std::uint16_t id_;
    bool owned_;
};

}  // namespace fairlead::engine
