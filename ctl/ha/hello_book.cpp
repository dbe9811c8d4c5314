// SPDX-License-Identifier: Apache-2.0
#include "ctl/ha/hello_book.h"

#include <algorithm>
#include <utility>

namespace fairlead::ha {
namespace {

bool contains(const std::vector<IpAddress>& list, const IpAddress& address) {
    return std::find(list.begin(), list.end(), address) != list.end();
}

const HelloGroup* group_of(const HelloPeer& peer, std::uint8_t vrid) {
    const auto& groups = peer.hello.groups;
    const auto found =
        std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.vrid == vrid; });
    return found == groups.end() ? nullptr : &*found;
}

}  // namespace

std::vector<IpAddress> HelloBook::destinations() const {
    std::vector<IpAddress> all;
    const auto add = [&](const IpAddress& address) {
        if (address.is_v4() == scope_.own.is_v4() && address != scope_.own && !contains(all, address) &&
            all.size() < kHelloPeers)
            all.push_back(address);
    };
    for (const auto& address : scope_.peers) add(address);
    for (const auto& address : scope_.neighbours) add(address);
    return all;
}

std::optional<HelloRefusal> HelloBook::refuse(const IpAddress& source, TimePoint now) {
    if (source == scope_.own) return HelloRefusal::kOwnAddress;
    if (!scope_.peers.empty() && !contains(scope_.peers, source)) return HelloRefusal::kPeer;
    std::erase_if(peers_, [&](const HelloPeer& peer) { return now - peer.heard > kHelloExpiry; });
    const auto is_source = [&](const HelloPeer& peer) { return peer.address == source; };
    if (std::any_of(peers_.begin(), peers_.end(), is_source)) return std::nullopt;
    // Strangers do not take the place of those whom this node speaks to, and these are kHelloPeers at the most.
    if (peers_.size() >= 2 * kHelloPeers) return HelloRefusal::kFull;
    const auto known = destinations();
    if (contains(known, source)) return std::nullopt;
    const auto strangers = std::count_if(peers_.begin(), peers_.end(),
                                         [&](const HelloPeer& peer) { return !contains(known, peer.address); });
    if (static_cast<std::size_t>(strangers) >= kHelloPeers) return HelloRefusal::kFull;
    return std::nullopt;
}

bool HelloBook::received(std::span<const std::uint8_t> bytes, const IpAddress& source, int ttl, TimePoint now) {
    auto hello = decode_hello(bytes, ttl);
    const auto refusal = hello ? refuse(source, now) : std::optional(hello.error());
    if (refusal) {
        ++counters_.refused.at(static_cast<std::size_t>(*refusal));
        return false;
    }
    ++counters_.received;
    const bool asks = !hello->answer && !contains(destinations(), source);
    const auto place = std::lower_bound(peers_.begin(), peers_.end(), source,
                                        [](const HelloPeer& peer, const IpAddress& at) { return peer.address < at; });
    if (place != peers_.end() && place->address == source)
        *place = {source, std::move(*hello), now};
    else
        peers_.insert(place, {source, std::move(*hello), now});
    return asks;
}

std::vector<HelloPeer> HelloBook::peers(TimePoint now) const {
    std::vector<HelloPeer> present;
    for (const auto& peer : peers_)
        if (now - peer.heard <= kHelloExpiry) present.push_back(peer);
    return present;
}

std::vector<std::string> differences(const Hello& own, const Hello& other) {
    std::vector<std::string> list;
    if (own.key_id != other.key_id) list.emplace_back("hash key");
    if (own.config_digest != other.config_digest) list.emplace_back("config");
    if (own.abi != other.abi) list.emplace_back("table layout");
    return list;
}

std::optional<std::string> takeover_fault(std::span<const HelloPeer> peers, const std::string& name,
                                          std::uint8_t vrid) {
    const auto named = [&](const HelloPeer& peer) { return peer.hello.name == name; };
    const auto wanted = std::find_if(peers.begin(), peers.end(), named);
    if (wanted == peers.end()) {
        std::string heard;
        for (const auto& peer : peers) heard += (heard.empty() ? "" : ", ") + peer.hello.name;
        return "node " + name + " was not heard of late (heard: " + (heard.empty() ? "none" : heard) + ")";
    }
    const auto* group = group_of(*wanted, vrid);
    if (group == nullptr) return "node " + name + " has no group with vrid " + std::to_string(vrid);
    if (!group->may_take_over) return "node " + name + " is not ready to take over, or a fault forbids it";
    // Among those that listen the highest priority wins, then the highest address.
    for (const auto& peer : peers) {
        const auto* other = named(peer) ? nullptr : group_of(peer, vrid);
        if (other == nullptr || !other->may_take_over) continue;
        if (std::pair(other->priority, peer.address) > std::pair(group->priority, wanted->address))
            return "node " + peer.hello.name + " would take over: its priority is " + std::to_string(other->priority) +
                   ", and that of " + name + " " + std::to_string(group->priority);
    }
    return std::nullopt;
}

}  // namespace fairlead::ha
