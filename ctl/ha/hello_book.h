// SPDX-License-Identifier: Apache-2.0
// What the other nodes say of themselves, and to whom this one speaks. Pure: the time is an argument. One thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ctl/ha/hello.h"

namespace fairlead::ha {

inline constexpr std::chrono::seconds kHelloInterval{1};
inline constexpr std::chrono::seconds kHelloExpiry{10};  // who is silent for longer is not there
// As many as a fleet has nodes beside this one; of those that it knows, and again of strangers.
inline constexpr std::size_t kHelloPeers = 16;

struct HelloPeer {
    IpAddress address;
    Hello hello;
    TimePoint heard;
};

struct HelloCounters {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;  // those that were believed
    std::array<std::uint64_t, kHelloRefusals> refused{};
};

// Who may be heard, and who is spoken to.
struct HelloScope {
    IpAddress own;                      // where hellos are sent from
    std::vector<IpAddress> peers;       // configured: no others are believed. None: anybody on the link
    std::vector<IpAddress> neighbours;  // spoken to as well: other nodes of the config, senders of adverts
};

class HelloBook {
  public:
    void set_scope(HelloScope scope) { scope_ = std::move(scope); }

    // True if it is to be answered: it asks, and this node does not speak to its sender anyway. An answer is not answered.
    bool received(std::span<const std::uint8_t> bytes, const IpAddress& source, int ttl, TimePoint now);
    void sent() { ++counters_.sent; }

    // To whom this node speaks by itself; each once.
    std::vector<IpAddress> destinations() const;
    // Who was heard of late, by address.
    std::vector<HelloPeer> peers(TimePoint now) const;
    const HelloCounters& counters() const { return counters_; }

  private:
    std::optional<HelloRefusal> refuse(const IpAddress& source, TimePoint now);

    HelloScope scope_;
    std::vector<HelloPeer> peers_;
    HelloCounters counters_;
};

// What of another node differs from what must be alike, for people: "hash key", "config", "table layout".
std::vector<std::string> differences(const Hello& own, const Hello& other);

// Why node `name` would not be the one to take `vrid` over from this one; nothing: it would.
std::optional<std::string> takeover_fault(std::span<const HelloPeer> peers, const std::string& name, std::uint8_t vrid);

}  // namespace fairlead::ha
