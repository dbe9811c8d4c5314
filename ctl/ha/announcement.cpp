// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/announcement.h"

#include <algorithm>

#include "ctl/ha/internet_checksum.h"

namespace fairlead::ha {

namespace {

constexpr std::uint16_t kEthertypeVlan = 0x8100, kEthertypeArp = 0x0806, kEthertypeIpv6 = 0x86dd;
constexpr std::uint8_t kIcmpv6 = 58;
constexpr std::uint8_t kNeighbourAdvertisement = 136, kOverride = 0x20, kTargetLinkLayerAddress = 2;
constexpr std::uint8_t kNeighbourSolicitation = 135, kSourceLinkLayerAddress = 1;
constexpr std::array<std::uint8_t, 6> kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr std::array<std::uint8_t, 6> kAllNodesMac = {0x33, 0x33, 0, 0, 0, 1};
constexpr IpAddress::Bytes kAllNodes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

class Writer {
  public:
    explicit Writer(Frame& frame) : frame_(frame) {}
    Writer& bytes(std::span<const std::uint8_t> part) {
        std::copy(part.begin(), part.end(), frame_.bytes.begin() + static_cast<std::ptrdiff_t>(frame_.size));
        frame_.size += part.size();
        return *this;
    }
    Writer& byte(std::uint8_t value) { return bytes({&value, 1}); }
    Writer& word(std::uint16_t value) {
        return byte(static_cast<std::uint8_t>(value >> 8)).byte(static_cast<std::uint8_t>(value));
    }
    Writer& zeroes(std::size_t count) {
        frame_.size += count;
        return *this;
    }

  private:
    Frame& frame_;
};

void write_arp_request(Writer& out, const IpAddress& sender, const MacAddress& mac, const IpAddress& target) {
    constexpr std::uint16_t kEthernet = 1, kIpv4 = 0x0800, kRequest = 1;
    out.word(kEthernet).word(kIpv4).byte(6).byte(4).word(kRequest);
    out.bytes(mac.bytes).bytes(sender.family_bytes());
    out.zeroes(6).bytes(target.family_bytes());
}

// A message of neighbour discovery: who sends it to whom, about which address, and the sender's MAC as its one option.
struct Discovery {
    std::uint8_t type, flags, option;
    IpAddress from, to, about;
};

void write_discovery(Frame& frame, Writer& out, const Discovery& message, const MacAddress& mac) {
    constexpr std::uint16_t kLength = 32;
    out.byte(0x60).zeroes(3).word(kLength).byte(kIcmpv6).byte(255);
    out.bytes(message.from.bytes()).bytes(message.to.bytes());
    const std::size_t begin = frame.size;
    out.byte(message.type).byte(0).word(0).byte(message.flags).zeroes(3).bytes(message.about.bytes());
    out.byte(message.option).byte(1).bytes(mac.bytes);

    InternetChecksum sum;
    sum.add(frame.span().subspan(begin));
    sum.add_pseudo_header(message.from, message.to, kIcmpv6, kLength);
    frame.bytes.at(begin + 2) = static_cast<std::uint8_t>(sum.value() >> 8);
    frame.bytes.at(begin + 3) = static_cast<std::uint8_t>(sum.value());
}

}  // namespace

Frame announcement(const IpAddress& vip, const MacAddress& mac, std::optional<std::uint16_t> vlan) {
    Frame frame;
    Writer out(frame);
    out.bytes(vip.is_v4() ? kBroadcast : kAllNodesMac).bytes(mac.bytes);
    if (vlan) out.word(kEthertypeVlan).word(*vlan);
    out.word(vip.is_v4() ? kEthertypeArp : kEthertypeIpv6);
    if (vip.is_v4())
        write_arp_request(out, vip, mac, vip);
    else
        write_discovery(frame, out,
                        {kNeighbourAdvertisement, kOverride, kTargetLinkLayerAddress, vip, IpAddress(kAllNodes), vip},
                        mac);
    return frame;
}

Frame solicitation(const IpAddress& target, const IpAddress& own, const MacAddress& mac) {
    Frame frame;
    Writer out(frame);
    if (target.is_v4()) {
        out.bytes(kBroadcast).bytes(mac.bytes).word(kEthertypeArp);
        write_arp_request(out, own, mac, target);
        return frame;
    }
    const auto group = solicited_node_group(target);
    const auto low = std::span(group.bytes()).last(4);  // RFC 2464 section 7
    out.word(0x3333).bytes(low).bytes(mac.bytes).word(kEthertypeIpv6);
    write_discovery(frame, out, {kNeighbourSolicitation, 0, kSourceLinkLayerAddress, own, group, target}, mac);
    return frame;
}

IpAddress solicited_node_group(const IpAddress& address) {
    IpAddress::Bytes group = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
    std::copy(address.bytes().end() - 3, address.bytes().end(), group.end() - 3);
    return IpAddress(group);
}

void AnnouncementSchedule::begin(std::size_t count, TimePoint now) {
    if (count_ != 0 && now - began_ < kRestartGap) return;
    count_ = count;
    round_ = 0;
    position_ = 0;
    began_ = now;
    next_ = now;
}

AnnouncementSchedule::Range AnnouncementSchedule::take(TimePoint now) {
    if (count_ == 0 || now < next_) return {};
    const Range range{position_, std::min(kBatch, count_ - position_)};
    position_ += range.count;
    if (position_ < count_) {
        next_ = now + kBatchGap;
        return range;
    }
    position_ = 0;
    if (++round_ == kRounds.size())
        count_ = 0;
    else
        next_ = std::max<TimePoint>(began_ + kRounds.at(round_), now + kBatchGap);
    return range;
}

std::optional<TimePoint> AnnouncementSchedule::next() const {
    if (count_ == 0) return std::nullopt;
    return next_;
}

}  // namespace fairlead::ha
