// SPDX-License-Identifier: Apache-2.0
// Adverts as one writes them down, for the tests of ctl/ha. The arithmetic is that of tests/support/packet.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ctl/ha/vrrp_packet.h"
#include "tests/support/packet.h"

namespace fairlead::ha {

inline IpAddress ip(const std::string& text) { return IpAddress::parse(text).value(); }

// A VRRP message by RFC 9568 section 5.1, with the checksum that belongs to it.
struct AdvertText {
    std::uint8_t first = 0x31;  // version and type
    std::uint8_t vrid = 51;
    std::uint8_t priority = 100;
    std::uint16_t interval_cs = 100;
    std::vector<std::string> addresses = {"192.0.2.10"};
    std::string source = "192.0.2.2";
    std::string destination = "224.0.0.18";
    bool pseudo_header = true;

    test::Bytes bytes() const {
        test::Bytes message = {first,
                               vrid,
                               priority,
                               static_cast<std::uint8_t>(addresses.size()),
                               static_cast<std::uint8_t>(interval_cs >> 8),
                               static_cast<std::uint8_t>(interval_cs),
                               0,
                               0};
        for (const auto& address : addresses) {
            const auto more = test::address_bytes(address);
            message.insert(message.end(), more.begin(), more.end());
        }
        test::Bytes covered = message;
        if (pseudo_header) {
            for (const auto& end : {source, destination}) {
                const auto more = test::address_bytes(end);
                covered.insert(covered.end(), more.begin(), more.end());
            }
            const auto size = static_cast<std::uint16_t>(message.size());
            covered.insert(covered.end(),
                           {static_cast<std::uint8_t>(size >> 8), static_cast<std::uint8_t>(size), 0, 112});
        }
        const auto sum = test::internet_checksum(covered);
        message[6] = static_cast<std::uint8_t>(sum >> 8);
        message[7] = static_cast<std::uint8_t>(sum);
        return message;
    }
    Arrival arrival() const { return {ip(source), ip(destination), 255}; }
};

inline AdvertText advert6() {
    AdvertText text;
    text.addresses = {"2001:db8::10", "2001:db8::11"};
    text.source = "fe80::2";
    text.destination = "ff02::12";
    return text;
}

}  // namespace fairlead::ha
