// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/silent_hosts.h"

#include <spdlog/spdlog.h>

#include "ctl/ha/announcement.h"

namespace fairlead {
namespace {
constexpr std::chrono::milliseconds kClockStep{20};  // of the kernel's memory of neighbours, and a little
}

// A neighbour whose MAC is given is believed in, and the kernel does not note when it was last seen.
void SilentHosts::timed_out(const net::NextHop& hop) {
    const auto& address = hop.destination.address;
    const auto* neighbour = network_.neighbour({hop.ifindex, hop.via});
    const bool given = !hop.destination.mac.is_zero() || (neighbour && neighbour->is_static());
    const bool asks = hop.via == address && hop.source && hop.ifindex && hop.reach != net::Reach::kLocal && !given;
    if (asks && !gone_.contains(address)) begin(hop);
}

void SilentHosts::begin(const net::NextHop& hop) {
    const auto& address = hop.destination.address;
    const auto [found, is_new] = asked_.try_emplace(address);
    if (!is_new) return;
    found->second = std::make_unique<Asked>(io_);
    found->second->hop = hop;
    ask(address);
}

void SilentHosts::answered(const IpAddress& address) {
    const bool was_silent = asked_.erase(address) + gone_.erase(address) > 0;
    doubted_.erase(address);
    for (const auto& other : std::exchange(doubted_, {})) {
        if (was_silent)
            begin(gone_.extract(other).mapped());
        else
            on_gone_(other);
    }
}

// Kept: to close such a socket the kernel waits for a grace period of its own.
ha::FrameSender* SilentHosts::sender_for(std::uint32_t ifindex) {
    const auto found = senders_.find(ifindex);
    if (found != senders_.end()) return &found->second;
    auto opened = ha::FrameSender::open(ifindex);
    if (opened) return &senders_.emplace(ifindex, std::move(*opened)).first->second;
    spdlog::warn("cannot ask for hosts at layer 2: {}", opened.error().message);
    return nullptr;
}

// By a timer whose handler may run although it was taken away meanwhile.
void SilentHosts::ask(const IpAddress& address) {
    const auto found = asked_.find(address);
    if (found == asked_.end()) return;
    auto& asked = *found->second;
    if (asked.times == kTimes) return conclude(address);
    const auto* link = network_.link(asked.hop.ifindex);
    auto* sender = link ? sender_for(asked.hop.ifindex) : nullptr;
    if (!sender || !sender->send(ha::solicitation(address, *asked.hop.source, link->mac))) {
        senders_.erase(asked.hop.ifindex);
        asked_.erase(found);
        return;
    }
    ++asked.times;
    asked.timer.expires_after(kApart);
    asked.timer.async_wait([this, address](const boost::system::error_code& error) {
        if (!error) ask(address);
    });
}

// What the kernel has learnt since the first question counts, from whatever it learnt that. One that it knows nothing of
// may be there.
void SilentHosts::conclude(const IpAddress& address) {
    const auto hop = asked_.at(address)->hop;
    asked_.erase(address);
    const auto since = network_.since_confirmed({hop.ifindex, hop.via});
    if (!since) return spdlog::warn("{}", since.error().message);
    if (!*since || **since <= kTimes * kApart + kClockStep) return;
    gone_.insert_or_assign(address, hop);
    doubted_.insert(address);
}

}  // namespace fairlead
