// SPDX-License-Identifier: Apache-2.0
// Frames of every kind that a balancer may meet, made from a seed: well formed, strange, cut short and damaged. Also the
// tables that give each kind something to meet. Same seed, same frames. What fails throws std::runtime_error.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "dataplane/tables/writer.h"

namespace fairlead::test {

using Frame = std::vector<std::uint8_t>;

inline constexpr std::uint32_t kOwnPort = 1;
inline constexpr std::uint32_t kOtherPort = 2;          // next hops behind it: the engine has to redirect
inline constexpr std::uint32_t kMissingPort = 3;        // in next hops, but not an interface
inline constexpr std::uint32_t kOwnVlanPort = 4;        // VLAN kVlan behind the own port
inline constexpr std::uint32_t kOtherUntaggedPort = 5;  // the other port's device, without tags
inline constexpr std::uint16_t kVlan = 7;
inline constexpr std::uint16_t kGuePort = 6080;

// Small tables, of every kind, with room for what the following put into them.
fl_limits small_limits();

// VIPs of every policy, pools of every forwarding mode and of none, next hops that resolve and that do not.
void fill_tables(tables::TableWriter& writer);

// Tables of chance, the same for the same seed: services, pools, ways to forward, states, tags, slots in transition.
void fill_random(tables::TableWriter& writer, std::uint64_t seed);

// From now on VIPs are on this VLAN of the own port alone.
void set_own_vlan(tables::TableWriter& writer, std::uint32_t vlan);

// Puts slots of every pool into transition, in each way there is: moving, learning, settling, without an owner.
void unsettle(tables::TableWriter& writer);

class FrameMaker {
  public:
    explicit FrameMaker(std::uint64_t seed) : random_(seed) {}

    Frame next();

    // Parts of it, for tests that want one thing.
    Frame ipv4(const std::string& source, const std::string& destination, std::uint8_t protocol, const Frame& payload);
    Frame ipv6(const std::string& source, const std::string& destination, std::uint8_t next, const Frame& payload);
    Frame tcp(std::uint16_t source, std::uint16_t destination, std::uint8_t flags, std::size_t data = 0);
    Frame udp(std::uint16_t source, std::uint16_t destination, std::size_t data = 0);
    static Frame ethernet(std::uint16_t type, const Frame& payload);

  private:
    std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
    bool one_in(std::uint32_t n) { return below(n) == 0; }
    template <typename T>
    const T& any_of(const std::vector<T>& choices) {
        return choices[below(static_cast<std::uint32_t>(choices.size()))];
    }
    std::uint32_t offset_of_later();
    Frame options();
    Frame extensions(std::uint8_t& next);
    Frame gue(int family, std::uint16_t port);
    Frame tagged(std::uint16_t type, const Frame& payload);
    Frame layer4(int family, std::uint8_t& protocol);
    Frame icmp(int family);
    Frame quote(int family);
    Frame packet(int family);
    Frame tunnel(int family);
    Frame with_ecn(int family, Frame packet);
    void leave_checksum(int family, Frame& packet);
    Frame arp();
    Frame solicitation();
    void damage(Frame& frame);

    std::mt19937_64 random_;
};

}  // namespace fairlead::test
