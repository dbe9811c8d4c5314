// SPDX-License-Identifier: Apache-2.0
#include "ctl/net/netlink_model.h"

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_bonding.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace fairlead::net {

namespace {

// The fixed part that follows the netlink header, or nothing if the message is too short for it.
template <typename Header>
const Header* fixed_part(const nlmsghdr* message) {
    if (message->nlmsg_len < MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(Header))) return nullptr;
    return static_cast<const Header*>(mnl_nlmsg_get_payload(message));
}

// libmnl's own loops do not compile as C++. Stops at the first attribute that does not fit.
template <typename Visit>
void for_each_attribute_in(const void* first, std::size_t bytes, Visit visit) {
    const auto* end = static_cast<const char*>(first) + bytes;
    const auto* attribute = static_cast<const nlattr*>(first);
    while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
        visit(attribute);
        attribute = mnl_attr_next(attribute);
    }
}

template <typename Header, typename Visit>
void for_each_attribute(const nlmsghdr* message, Visit visit) {
    constexpr std::size_t kAttributesAt = MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(Header));
    for_each_attribute_in(reinterpret_cast<const char*>(message) + kAttributesAt, message->nlmsg_len - kAttributesAt,
                          visit);
}

template <typename Visit>
void for_each_nested(const nlattr* outer, Visit visit) {
    for_each_attribute_in(mnl_attr_get_payload(outer), mnl_attr_get_payload_len(outer), visit);
}

std::optional<std::uint32_t> number_in(const nlattr* attribute) {
    if (mnl_attr_get_payload_len(attribute) < sizeof(std::uint32_t)) return std::nullopt;
    return mnl_attr_get_u32(attribute);
}

std::optional<MacAddress> mac_in(const nlattr* attribute) {
    MacAddress mac;
    if (mnl_attr_get_payload_len(attribute) != mac.bytes.size()) return std::nullopt;
    std::memcpy(mac.bytes.data(), mnl_attr_get_payload(attribute), mac.bytes.size());
    return mac;
}

std::string text_in(const nlattr* attribute) {
    const auto* text = static_cast<const char*>(mnl_attr_get_payload(attribute));
    return {text, ::strnlen(text, mnl_attr_get_payload_len(attribute))};
}

std::optional<std::uint16_t> short_in(const nlattr* attribute) {
    if (mnl_attr_get_payload_len(attribute) < sizeof(std::uint16_t)) return std::nullopt;
    return mnl_attr_get_u16(attribute);
}

// What one message says of a link beside what goes straight into it.
struct LinkParts {
    std::optional<std::uint32_t> lower;  // IFLA_LINK: a veth's peer, or what a VLAN is on top of
    bool lower_elsewhere = false;        // in another network namespace
    std::optional<std::uint16_t> vlan_id;
    bool vlan_8021q = true;
    bool whole = false;  // a notification that says all; a wireless event names little
};

void read_vlan(const nlattr* data, LinkParts& parts) {
    for_each_nested(data, [&](const nlattr* inner) {
        if (mnl_attr_get_type(inner) == IFLA_VLAN_ID) parts.vlan_id = short_in(inner);
        if (mnl_attr_get_type(inner) == IFLA_VLAN_PROTOCOL)
            parts.vlan_8021q = short_in(inner) == __builtin_bswap16(ETH_P_8021Q);
    });
}

bool is_active_slave(const nlattr* data) {
    bool active = false;
    for_each_nested(data, [&](const nlattr* inner) {
        if (mnl_attr_get_type(inner) == IFLA_BOND_SLAVE_STATE && mnl_attr_get_payload_len(inner) >= 1)
            active = mnl_attr_get_u8(inner) == BOND_STATE_ACTIVE;
    });
    return active;
}

void read_link_info(const nlattr* info, Link& link, LinkParts& parts) {
    const nlattr* data = nullptr;
    const nlattr* slave_data = nullptr;
    std::string slave_kind;
    for_each_nested(info, [&](const nlattr* inner) {
        switch (mnl_attr_get_type(inner)) {
            case IFLA_INFO_KIND:
                link.kind = text_in(inner);
                break;
            case IFLA_INFO_DATA:
                data = inner;
                break;
            case IFLA_INFO_SLAVE_KIND:
                slave_kind = text_in(inner);
                break;
            case IFLA_INFO_SLAVE_DATA:
                slave_data = inner;
                break;
            default:
                break;
        }
    });
    if (data != nullptr && link.kind == "vlan") read_vlan(data, parts);
    link.active_slave = slave_data != nullptr && slave_kind == "bond" && is_active_slave(slave_data);
}

// RFC 8950's next hop of the other family: a family and then the address.
std::optional<IpAddress> via_in(const nlattr* attribute) {
    const std::size_t length = mnl_attr_get_payload_len(attribute);
    const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
    constexpr std::size_t kAddressAt = offsetof(rtvia, rtvia_addr);
    IpAddress::Bytes address{};
    if (length != kAddressAt + address.size()) return std::nullopt;
    std::memcpy(address.data(), bytes + kAddressAt, address.size());
    return IpAddress(address);
}

std::optional<std::uint32_t> metric_mtu(const nlattr* metrics) {
    std::optional<std::uint32_t> mtu;
    for_each_nested(metrics, [&](const nlattr* inner) {
        if (mnl_attr_get_type(inner) == RTAX_MTU) mtu = number_in(inner);
    });
    return mtu && *mtu != 0 ? mtu : std::nullopt;
}

bool expires(const nlattr* attribute) {
    rta_cacheinfo info{};
    if (mnl_attr_get_payload_len(attribute) < sizeof info) return false;
    std::memcpy(&info, mnl_attr_get_payload(attribute), sizeof info);
    return info.rta_expires != 0;
}

NeighbourState neighbour_state(std::uint16_t nud) {
    switch (nud) {
        case NUD_INCOMPLETE:
            return NeighbourState::kIncomplete;
        case NUD_REACHABLE:
            return NeighbourState::kReachable;
        case NUD_STALE:
            return NeighbourState::kStale;
        case NUD_DELAY:
            return NeighbourState::kDelay;
        case NUD_PROBE:
            return NeighbourState::kProbe;
        case NUD_FAILED:
            return NeighbourState::kFailed;
        case NUD_NOARP:
            return NeighbourState::kNoArp;
        case NUD_PERMANENT:
            return NeighbourState::kPermanent;
        default:
            return NeighbourState::kNone;
    }
}

void read_link_attribute(const nlattr* attribute, Link& link, LinkParts& parts) {
    switch (mnl_attr_get_type(attribute)) {
        case IFLA_IFNAME:
            link.name = text_in(attribute);
            break;
        case IFLA_ADDRESS:
            link.mac = mac_in(attribute).value_or(MacAddress{});
            break;
        case IFLA_MTU:
            link.mtu = number_in(attribute).value_or(link.mtu);
            parts.whole = true;
            break;
        case IFLA_MAX_MTU:
            link.max_mtu = number_in(attribute).value_or(0);
            break;
        case IFLA_MASTER:
            link.master = number_in(attribute).value_or(0);
            break;
        case IFLA_LINK:
            parts.lower = number_in(attribute);
            break;
        case IFLA_LINK_NETNSID:
            parts.lower_elsewhere = true;
            break;
        case IFLA_LINKINFO:
            read_link_info(attribute, link, parts);
            break;
        default:
            break;
    }
}

// Makes of a link's lower one what its kind makes of it.
void settle_lower(Link& link, const LinkParts& parts) {
    const bool here = parts.lower.value_or(0) != 0 && !parts.lower_elsewhere;
    if (parts.whole) {
        link.veth_peer.reset();
        link.vlan.reset();
    }
    if (here && link.kind == "veth") link.veth_peer = parts.lower;
    if (here && parts.vlan_id && parts.vlan_8021q) link.vlan = VlanOf{*parts.vlan_id, *parts.lower};
}

}  // namespace

std::optional<IpAddress> address_in(const nlattr* attribute) {
    const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
    IpAddress::Bytes v6{};
    switch (mnl_attr_get_payload_len(attribute)) {
        case 4:
            return IpAddress::from_v4(std::span<const std::uint8_t, 4>(bytes, 4));
        case sizeof v6:
            std::memcpy(v6.data(), bytes, sizeof v6);
            return IpAddress(v6);
        default:
            return std::nullopt;
    }
}

void NetlinkModel::apply(const nlmsghdr* message, Changes& changes) {
    switch (message->nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK:
            return apply_link(message, changes);
        case RTM_NEWADDR:
        case RTM_DELADDR:
            return apply_address(message, changes);
        case RTM_NEWNEIGH:
        case RTM_DELNEIGH:
            return apply_neighbour(message, changes);
        case RTM_NEWROUTE:
        case RTM_DELROUTE:
        case RTM_NEWRULE:
        case RTM_DELRULE:
        case RTM_NEWNEXTHOP:
        case RTM_DELNEXTHOP:
            changes.routes = true;
            return;
        default:
            return;
    }
}

void NetlinkModel::apply_link(const nlmsghdr* message, Changes& changes) {
    const auto* header = fixed_part<ifinfomsg>(message);
    // A bridge tells of its ports under AF_BRIDGE: a port that leaves it is no link that goes.
    if (header == nullptr || header->ifi_family != AF_UNSPEC || header->ifi_index <= 0) return;
    const auto ifindex = static_cast<std::uint32_t>(header->ifi_index);
    if (message->nlmsg_type == RTM_DELLINK) {
        changes.links |= links_.erase(ifindex) != 0;
        return;
    }
    // A partial message (wireless events) leaves what it does not name.
    Seen<Link>& seen = links_[ifindex];
    const Link before = seen.value;
    Link& link = seen.value;
    seen.generation = generation_;
    link.ifindex = ifindex;
    link.admin_up = (header->ifi_flags & IFF_UP) != 0;
    link.carrier = (header->ifi_flags & IFF_RUNNING) != 0;
    link.loopback = (header->ifi_flags & IFF_LOOPBACK) != 0;
    link.has_arp = (header->ifi_flags & (IFF_NOARP | IFF_LOOPBACK)) == 0;
    link.master = 0;  // what belongs to nothing any more is told by the attribute's absence
    LinkParts parts;
    for_each_attribute<ifinfomsg>(message,
                                  [&](const nlattr* attribute) { read_link_attribute(attribute, link, parts); });
    if (!parts.whole) link.master = before.master;
    if (link.master == 0) link.active_slave = false;
    settle_lower(link, parts);
    changes.links |= link != before;
}

void NetlinkModel::apply_address(const nlmsghdr* message, Changes& changes) {
    const auto* header = fixed_part<ifaddrmsg>(message);
    if (header == nullptr || (header->ifa_family != AF_INET && header->ifa_family != AF_INET6)) return;
    // On a point-to-point link IFA_ADDRESS is the far end's; IFA_LOCAL, where there is one, is always ours.
    std::optional<IpAddress> address;
    std::optional<IpAddress> local;
    for_each_attribute<ifaddrmsg>(message, [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == IFA_ADDRESS) address = address_in(attribute);
        if (mnl_attr_get_type(attribute) == IFA_LOCAL) local = address_in(attribute);
    });
    if (local) address = local;
    if (!address) return;
    const LocalAddress key{header->ifa_index, *address, header->ifa_prefixlen};
    if (message->nlmsg_type == RTM_DELADDR) {
        changes.addresses |= addresses_.erase(key) != 0;
        return;
    }
    const auto [entry, is_new] = addresses_.insert_or_assign(key, generation_);
    changes.addresses |= is_new;
}

void NetlinkModel::apply_neighbour(const nlmsghdr* message, Changes& changes) {
    const auto* header = fixed_part<ndmsg>(message);
    // AF_BRIDGE: a forwarding table's entry. NTF_PROXY: an address answered for, not one to send to.
    if (header == nullptr || (header->ndm_family != AF_INET && header->ndm_family != AF_INET6) ||
        (header->ndm_flags & NTF_PROXY) != 0 || header->ndm_ifindex <= 0)
        return;
    Neighbour neighbour;
    neighbour.key.ifindex = static_cast<std::uint32_t>(header->ndm_ifindex);
    neighbour.state = neighbour_state(header->ndm_state);
    std::optional<IpAddress> address;
    for_each_attribute<ndmsg>(message, [&](const nlattr* attribute) {
        switch (mnl_attr_get_type(attribute)) {
            case NDA_DST:
                address = address_in(attribute);
                break;
            case NDA_LLADDR:
                neighbour.mac = mac_in(attribute).value_or(MacAddress{});
                break;
            case NDA_FLAGS_EXT:
                neighbour.managed = (number_in(attribute).value_or(0) & NTF_EXT_MANAGED) != 0;
                break;
            default:
                break;
        }
    });
    if (!address) return;
    neighbour.key.address = *address;
    if (message->nlmsg_type == RTM_DELNEIGH) {
        if (neighbours_.erase(neighbour.key) != 0) changes.neighbours.insert(neighbour.key);
        return;
    }
    const auto [entry, is_new] = neighbours_.try_emplace(neighbour.key);
    entry->second.generation = generation_;
    if (is_new || entry->second.value != neighbour) changes.neighbours.insert(neighbour.key);
    entry->second.value = neighbour;
}

void NetlinkModel::end_dump(Changes& changes) {
    changes.links |= std::erase_if(links_, [&](const auto& e) { return e.second.generation != generation_; }) != 0;
    changes.addresses |= std::erase_if(addresses_, [&](const auto& e) { return e.second != generation_; }) != 0;
    std::erase_if(neighbours_, [&](const auto& entry) {
        if (entry.second.generation == generation_) return false;
        changes.neighbours.insert(entry.first);
        return true;
    });
}

const Link* NetlinkModel::link(std::uint32_t ifindex) const {
    const auto found = links_.find(ifindex);
    return found == links_.end() ? nullptr : &found->second.value;
}

const Link* NetlinkModel::link(std::string_view name) const {
    for (const auto& [ifindex, seen] : links_)
        if (seen.value.name == name) return &seen.value;
    return nullptr;
}

const Link* NetlinkModel::vlan_on(std::uint32_t lower, std::uint16_t id) const {
    for (const auto& [ifindex, seen] : links_)
        if (seen.value.vlan == VlanOf{id, lower}) return &seen.value;
    return nullptr;
}

const Neighbour* NetlinkModel::neighbour(const NeighbourKey& key) const {
    const auto found = neighbours_.find(key);
    return found == neighbours_.end() ? nullptr : &found->second.value;
}

std::vector<Link> NetlinkModel::links() const {
    std::vector<Link> all;
    for (const auto& [ifindex, seen] : links_) all.push_back(seen.value);
    return all;
}

std::vector<LocalAddress> NetlinkModel::addresses() const {
    std::vector<LocalAddress> all;
    for (const auto& [address, generation] : addresses_) all.push_back(address);
    return all;
}

std::vector<Neighbour> NetlinkModel::neighbours() const {
    std::vector<Neighbour> all;
    for (const auto& [key, seen] : neighbours_) all.push_back(seen.value);
    return all;
}

Result<Route> parse_route(const nlmsghdr* message) {
    const auto* header = fixed_part<rtmsg>(message);
    if (header == nullptr || message->nlmsg_type != RTM_NEWROUTE) return fail("the kernel's answer is not a route");
    if (header->rtm_type != RTN_UNICAST && header->rtm_type != RTN_LOCAL)
        return fail(header->rtm_type == RTN_BROADCAST || header->rtm_type == RTN_MULTICAST ||
                            header->rtm_type == RTN_ANYCAST
                        ? "not the address of one node"
                        : "the route refuses it");
    Route route;
    route.local = header->rtm_type == RTN_LOCAL;
    bool mtu_expires = false;
    for_each_attribute<rtmsg>(message, [&](const nlattr* attribute) {
        switch (mnl_attr_get_type(attribute)) {
            case RTA_OIF:
                route.ifindex = number_in(attribute).value_or(0);
                break;
            case RTA_GATEWAY:
                route.gateway = address_in(attribute);
                break;
            case RTA_VIA:
                route.gateway = via_in(attribute);
                break;
            case RTA_PREFSRC:
                route.source = address_in(attribute);
                break;
            case RTA_METRICS:
                route.mtu = metric_mtu(attribute);
                break;
            case RTA_CACHEINFO:
                mtu_expires = expires(attribute);
                break;
            default:
                break;
        }
    });
    // A learned path MTU ends without a word; only what is configured is followed.
    if (mtu_expires) route.mtu.reset();
    if (route.ifindex == 0) return fail("the kernel's answer names no interface");
    return route;
}

std::optional<std::chrono::milliseconds> parse_since_confirmed(const nlmsghdr* message) {
    std::optional<std::chrono::milliseconds> since;
    for_each_attribute<ndmsg>(message, [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) != NDA_CACHEINFO) return;
        if (mnl_attr_get_payload_len(attribute) < sizeof(nda_cacheinfo)) return;
        nda_cacheinfo info{};
        std::memcpy(&info, mnl_attr_get_payload(attribute), sizeof info);
        since = std::chrono::milliseconds(std::int64_t{1000} * info.ndm_confirmed / ::sysconf(_SC_CLK_TCK));
    });
    return since;
}

std::optional<IpAddress> parse_host_route(const nlmsghdr* message, const RouteOwner& owner) {
    const auto* header = fixed_part<rtmsg>(message);
    if (header == nullptr || message->nlmsg_type != RTM_NEWROUTE || header->rtm_type != RTN_BLACKHOLE ||
        header->rtm_protocol != owner.protocol)
        return std::nullopt;
    std::uint32_t table = header->rtm_table;
    std::optional<IpAddress> destination;
    for_each_attribute<rtmsg>(message, [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == RTA_TABLE) table = number_in(attribute).value_or(table);
        if (mnl_attr_get_type(attribute) == RTA_DST) destination = address_in(attribute);
    });
    if (!destination || table != owner.table || header->rtm_dst_len != destination->family_bytes().size() * 8)
        return std::nullopt;
    return destination;
}

}  // namespace fairlead::net
