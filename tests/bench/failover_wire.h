// SPDX-License-Identifier: Apache-2.0
// What failover-client and failover-server say to each other. Both run on one machine: everything is in its byte order.
//
// TCP: the server greets with its name, then gives each message back, once it has seen that it is meant for this server and
// is the next one of its connection. UDP: the server gives a probe back with its name and
// the time at which its kernel received it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace fairlead::bench {

using Name = std::array<char, 16>;  // padded with zeros

struct Message {
    std::uint64_t connection = 0;
    std::uint64_t number = 0;  // from 1
    Name server{};             // that greeted
    friend bool operator==(const Message&, const Message&) = default;
};

struct Probe {
    std::uint64_t number = 0;
    std::int64_t received_ns = 0;  // CLOCK_REALTIME; filled in by the server
    Name name{};                   // of the server; filled in by it
};

inline std::string text_of(const Name& name) {
    const std::string text(name.data(), name.size());
    return text.substr(0, text.find('\0'));
}

}  // namespace fairlead::bench
