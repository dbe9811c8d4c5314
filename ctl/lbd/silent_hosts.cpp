// SPDX-License-Identifier: Apache-2.0
#include "ctl/lbd/silent_hosts.h"

#include <spdlog/spdlog.h>

#include "ctl/ha/announcement.h"
#include "ctl/ha/vrrp_socket.h"

namespace fairlead {
namespace {
constexpr std::chrono::milliseconds kClockStep{20};  // of the kernel's memory of neighbours, and a little
}

void SilentHosts::timed_out(const net::NextHop& hop) {
    const auto& address = hop.destination.address;
    const bool asks = hop.via == address && hop.source && hop.ifindex && hop.reach != net::Reach::kLocal;
    if (!asks || gone_.contains(address)) return;
    const auto [found, is_new] = asked_.try_emplace(address);
    if (!is_new) return;
    found->second = std::make_unique<Asked>(io_);
    found->second->hop = hop;
    ask(address);
}

void SilentHosts::answered(const IpAddress& address) {
    asked_.erase(address);
    gone_.erase(address);
}

void SilentHosts::ask(const IpAddress& address) {
    auto& asked = *asked_.at(address);
    if (asked.times == kTimes) return conclude(address);
    const auto* link = network_.link(asked.hop.ifindex);
    auto sender = ha::FrameSender::open(asked.hop.ifindex);
    if (!link || !sender) {
        spdlog::warn("cannot ask for {} at layer 2: {}", address.to_string(),
                     link ? sender.error().message : "its interface is gone");
        asked_.erase(address);
        return;
    }
    sender->send(ha::solicitation(address, *asked.hop.source, link->mac));
    ++asked.times;
    asked.timer.expires_after(kApart);
    asked.timer.async_wait([this, address](const boost::system::error_code& error) {
        if (!error) ask(address);
    });
}

// What the kernel has learnt since the first question counts, from whatever it learnt that.
void SilentHosts::conclude(const IpAddress& address) {
    const auto hop = asked_.at(address)->hop;
    asked_.erase(address);
    const auto since = network_.since_confirmed({hop.ifindex, hop.via});
    if (!since) return spdlog::warn("{}", since.error().message);
    if (*since && **since <= kTimes * kApart + kClockStep) return;
    gone_.insert(address);
    on_gone_(address);
}

}  // namespace fairlead
