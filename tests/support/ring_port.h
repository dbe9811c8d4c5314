// SPDX-License-Identifier: Apache-2.0
// DPDK without hardware, for tests and benchmarks: the environment, and a net_ring port whose wire is two rings, so that
// whoever holds their far ends is the network. What fails throws std::runtime_error.
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/engine/packet_port.h"

namespace fairlead::test {

// The environment abstraction layer, which can be initialised once a process. Its runtime folder goes with it.
class Eal {
  public:
    // Ordinary memory and the processor that this runs on.
    static std::vector<std::string> small();
    explicit Eal(const std::vector<std::string>& arguments = small());
    ~Eal();
    Eal(const Eal&) = delete;
    Eal& operator=(const Eal&) = delete;

  private:
    std::filesystem::path runtime_folder_;
};

using BufferPool = std::unique_ptr<rte_mempool, void (*)(rte_mempool*)>;
// `room`: bytes of a buffer, headroom included.
BufferPool make_buffers(const std::string& name, unsigned number, std::uint16_t room = RTE_MBUF_DEFAULT_BUF_SIZE);

// One thread at each end of each ring.
class RingPort {
  public:
    RingPort(const std::string& name, rte_mempool* pool, unsigned ring_size);
    ~RingPort();
    RingPort(const RingPort&) = delete;
    RingPort& operator=(const RingPort&) = delete;

    std::uint16_t ethdev() const { return ethdev_; }
    engine::PacketPort& port() const { return *port_; }
    rte_ring* inward() const { return inward_; }    // what the port receives
    rte_ring* outward() const { return outward_; }  // what it has sent

    // As a driver delivers it, at an even address. `headroom` less than an outer header needs makes encapsulation fail.
    void arrive(std::span<const std::uint8_t> frame, std::uint16_t headroom = RTE_PKTMBUF_HEADROOM);
    std::optional<std::vector<std::uint8_t>> take();

  private:
    std::string name_;
    rte_mempool* pool_;
    rte_ring* inward_;
    rte_ring* outward_;
    std::uint16_t ethdev_;
    std::unique_ptr<engine::PacketPort> port_;
};

// The frame in a buffer, which goes back to its pool.
std::vector<std::uint8_t> consume(rte_mbuf* mbuf);

}  // namespace fairlead::test
