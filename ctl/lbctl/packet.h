// SPDX-License-Identifier: Apache-2.0
// The packet that a question of `lbctl explain` is about. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/tables/address.h"
#include "dataplane/tables/result.h"

namespace fairlead::lbctl {

struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;  // host order

    // "192.0.2.7:40000" or "[2001:db8::7]:40000"
    static Result<Endpoint> parse(const std::string& text);
    std::string to_string() const;
};

struct Question {
    Endpoint source, destination;
    bool udp = false;
    std::vector<std::uint16_t> vlans{};  // of its tags, the outermost first; two are as many as are looked through
    std::uint32_t size = 0;              // bytes of the IP packet; 0: the smallest there is
    bool later_fragment = false;         // one without the ports; the first of them is not asked about
    std::optional<bool> df{};            // IPv4's "don't fragment"; none: as hosts do it, set but for fragments
    std::vector<std::uint8_t> frame{};   // not empty: this frame, and nothing above counts
};

// The Ethernet frame. Without a size, the first packet of the flow: a TCP SYN, or an empty datagram; with one, data.
// Checksums are right. EINVAL: no such packet can be, or the two ends are not of one family.
Result<std::vector<std::uint8_t>> make_packet(const Question& question);

// "02005e...", blanks and colons between the digits allowed; else the name of a file that holds a frame, as such digits
// or as bytes.
Result<std::vector<std::uint8_t>> read_frame(const std::string& hex_or_file);

}  // namespace fairlead::lbctl
