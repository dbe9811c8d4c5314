// SPDX-License-Identifier: Apache-2.0
// An interface that the kernel owns, reached by an AF_XDP socket on each of its receive queues (kernel documentation,
// networking/af_xdp). The sockets' memory is the whole pool of DPDK's buffers, so a frame is copied once each way, by the
// kernel, and may leave by another port than it came in by.
//
// No program is loaded here: the one that is on the interface gives a socket those frames whose queue it finds in its map.
#pragma once

#include <linux/if_xdp.h>
#include <xdp/xsk.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/engine/packet_port.h"
#include "dataplane/tables/result.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::engine {

// Receive queues of an interface; 1 where its driver does not say.
std::uint16_t receive_queues(const std::string& interface);

struct XskSettings {
    std::string interface;
    std::uint16_t workers = 1;    // that send
    rte_mempool* pool = nullptr;  // in one piece of memory; of all frames that are sent, too
};

class XskPort final : public PacketPort {
  public:
    // Nothing arrives before announce(). EBUSY: another process has a queue of this interface.
    static Result<std::unique_ptr<XskPort>> create(const XskSettings& settings);
    // Takes the sockets out of the map, and waits until no program can still use them.
    ~XskPort() override;

    // Puts the sockets into the pinned XSKMAP {receive queue -> socket}, for the program to redirect frames to.
    Result<void> announce(const std::filesystem::path& map);
    // The kernel's number of the map they are in; 0 = none.
    std::uint32_t map_id() const { return map_id_; }
    std::uint32_t ifindex() const { return ifindex_; }

    std::uint16_t receive(std::uint16_t queue, rte_mbuf** frames, std::uint16_t most) override;
    int descriptor(std::uint16_t queue) const override;
    bool link_up() override;
    std::uint64_t missed() override;

  private:
    class Socket;

    XskPort(const XskSettings& settings, std::uint32_t ifindex, std::vector<std::unique_ptr<Socket>> sockets);
    std::uint16_t transmit(std::uint16_t lane, rte_mbuf** frames, std::uint16_t count) override;
    bool tend_lane(std::uint16_t lane) override;
    void withdraw();

    std::uint32_t ifindex_;
    std::vector<std::unique_ptr<Socket>> sockets_;
    UniqueFd map_;
    std::uint32_t map_id_ = 0;
};

}  // namespace fairlead::engine
