// SPDX-License-Identifier: Apache-2.0
// The UDP socket that hellos go through, on one interface. One thread; never blocks.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "ctl/ha/hello.h"
#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"
#include "dataplane/tables/unique_fd.h"

namespace fairlead::ha {

struct HelloSocketOptions {
    std::string interface;
    std::uint32_t ifindex = 0;
    IpAddress source;        // bound to; its family is the socket's
    std::uint16_t port = 0;  // host order; of all nodes
    bool operator==(const HelloSocketOptions&) const = default;
};

class HelloSocket {
  public:
    static Result<HelloSocket> open(const HelloSocketOptions& options);

    int fd() const { return fd_.get(); }
    bool send(const IpAddress& destination, std::span<const std::uint8_t> bytes) const;

    struct Received {
        IpAddress source;
        int ttl = -1;
        std::span<const std::uint8_t>
            bytes;  // valid until the next receive(); a byte more than a hello if it is longer
    };
    // Nothing when there is no more.
    std::optional<Received> receive();

  private:
    HelloSocket() = default;

    UniqueFd fd_;
    HelloSocketOptions options_;
    std::array<std::uint8_t, kHelloBytes + 1> buffer_{};
};

}  // namespace fairlead::ha
