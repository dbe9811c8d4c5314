// SPDX-License-Identifier: Apache-2.0
// Any bytes are an advert or have a reason not to be; what is an advert is written again as the same bytes, but for the
// reserved bits. The first two bytes choose the family and the checksum that the mutator gets for nothing.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "ctl/ha/internet_checksum.h"
#include "ctl/ha/vrrp_packet.h"

namespace {
using namespace fairlead;
using namespace fairlead::ha;

void check_again(const Advert& advert, const Arrival& arrival, std::span<const std::uint8_t> message) {
    std::vector<IpAddress> addresses;
    for (std::size_t i = 0; i < advert.addresses(); ++i) addresses.push_back(advert.address(i));
    if (compare_addresses(advert, addresses) == AddressMatch::kNoneOfOurs) std::abort();
    // Mapped addresses in an IPv6 advert count as IPv4 here, and the longest are more than we send.
    const bool v6 = arrival.source.is_v6();
    if (v6 && addresses.size() > kAdvertAddresses6) return;
    if (v6 && std::any_of(addresses.begin(), addresses.end(), [](const auto& a) { return a.is_v4(); })) return;
    if ((message[4] & 0xf0) != 0) return;
    const auto again = encode_advert({advert.vrid, advert.priority, advert.interval, advert.pseudo_header,
                                      arrival.source, arrival.destination, addresses});
    // 0 and 0xffff are the same checksum.
    if (!std::equal(message.begin(), message.begin() + 6, again.bytes.begin())) std::abort();
    if (!decode_advert(again.span(), arrival)) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const bool v4 = (data[0] & 1) != 0;
    const Arrival arrival{IpAddress::parse(v4 ? "192.0.2.2" : "fe80::2").value(),
                          IpAddress::parse(v4 ? "224.0.0.18" : "ff02::12").value(), (data[0] & 2) != 0 ? 254 : 255};
    std::vector<std::uint8_t> message(data + 2, data + size);
    if ((data[1] & 1) != 0 && message.size() >= 8) {
        message[6] = message[7] = 0;
        InternetChecksum sum;
        sum.add(message);
        if (!v4 || (data[1] & 2) != 0)
            sum.add_pseudo_header(arrival.source, arrival.destination, kVrrpProtocol,
                                  static_cast<std::uint32_t>(message.size()));
        message[6] = static_cast<std::uint8_t>(sum.value() >> 8);
        message[7] = static_cast<std::uint8_t>(sum.value());
    }
    message.shrink_to_fit();
    if (const auto advert = decode_advert(message, arrival)) check_again(*advert, arrival, message);
    return 0;
}
