// SPDX-License-Identifier: Apache-2.0
// The UDP socket by which nodes of a fleet speak to each other, on one interface. One thread; never blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::ha {

struct PeerSocketOptions {
    std::string interface;
    std::uint32_t ifindex = 0;
    IpAddress source;         // bound to; its family is the socket's
    std::uint16_t port = 0;   // host order; of all nodes
    std::size_t longest = 0;  // message that is expected, in bytes
    int receive_buffer = 0;   // of the kernel, in bytes; 0: as it is
    bool operator==(const PeerSocketOptions&) const = default;
};

class PeerSocket {
  public:
    static Result<PeerSocket> open(const PeerSocketOptions& options);

    int fd() const { return fd_.get(); }
    bool send(const IpAddress& destination, std::span<const std::uint8_t> bytes) const;

    struct Received {
        IpAddress source;
        int ttl = -1;
        std::span<const std::uint8_t>
            bytes;  // valid until the next receive(); a byte more than `longest` if it is longer
    };
    // Nothing when there is no more.
    std::optional<Received> receive();

  private:
    PeerSocket() = default;

    UniqueFd fd_;
    PeerSocketOptions options_;
    std::vector<std::uint8_t> buffer_;
};

}  // namespace fairlead::ha
