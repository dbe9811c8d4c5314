// SPDX-License-Identifier: Apache-2.0
#include "tests/bpf/frames.h"

#include <algorithm>
#include <stdexcept>

#include "dataplane/core/wire.h"

namespace fairlead::test {
namespace {

IpAddress ip(const std::string& text) { return IpAddress::parse(text).value(); }
IpPrefix prefix(const std::string& text) { return IpPrefix::parse(text).value(); }
MacAddress mac(const std::string& text) { return MacAddress::parse(text).value(); }

#define FL_MUST(expression)                                                                      \
    do {                                                                                         \
        if (const auto outcome = (expression); !outcome)                                         \
            throw std::runtime_error(std::string(#expression) + ": " + outcome.error().message); \
    } while (false)

// Addresses and ports that the tables know; the frames use these and strangers.
const std::vector<std::string> kVips[2] = {{"192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13"},
                                           {"2001:db8::10", "2001:db8::11", "2001:db8::12", "2001:db8::13"}};
const std::string kNode[2] = {"192.0.2.2", "2001:db8::2"};
const std::vector<std::string> kSources[2] = {
    {"198.51.100.7", "203.0.113.77", "192.0.2.99", "127.0.0.1", "224.0.0.1", "0.0.0.0", "192.0.2.10"},
    {"2001:db8:1::7", "2001:db8:ffff::77", "fe80::9", "::1", "ff02::1", "::", "2001:db8::10"}};
const std::vector<std::string> kTunnelSources[2] = {{"192.0.2.33", "198.51.100.7"},
                                                    {"2001:db8:5::33", "2001:db8:1::7"}};
constexpr const char* kPeer = "02:00:5e:00:53:99";

struct PoolShape {
    const char* name;
    fl_forward forward;
    std::uint32_t flags;
    std::uint16_t port;  // of its services
    bool owners;
};
constexpr PoolShape kPools[] = {
    {"dsr", FL_FORWARD_L2DSR, FL_POOL_ALL_DOWN_RESET, 80, true},
    {"tunnel", FL_FORWARD_IPIP, FL_POOL_ALL_DOWN_RESET | FL_POOL_CLIENT_IP, 443, true},
    {"local", FL_FORWARD_LOCAL, 0, 22, true},
    {"refusing", FL_FORWARD_L2DSR, FL_POOL_ALL_DOWN_RESET, 8080, false},
    {"silent", FL_FORWARD_L2DSR, 0, 8081, false},
    {"later", FL_FORWARD_NAT, 0, 8082, true},
    {"gue", FL_FORWARD_GUE, FL_POOL_TOO_BIG_PASS, 6081, true},
};
const std::vector<std::uint16_t> kServicePorts = {80, 443, 22, 8080, 8081, 8082, 6081, 9999};
constexpr std::uint32_t kBackends = 8;

// `family` 0 is IPv4.
std::string pool_name(const PoolShape& shape, int family) { return std::string(shape.name) + (family ? "6" : "4"); }

bool is_tunnel(const PoolShape& shape) { return shape.forward == FL_FORWARD_IPIP || shape.forward == FL_FORWARD_GUE; }

void add_family(tables::Desired& desired, int family) {
    const auto& vips = kVips[family];
    desired.vips.push_back({.address = ip(vips[0]), .reset = true});
    desired.vips.push_back({.address = ip(vips[1]), .reset = false});
    desired.vips.push_back({.address = ip(vips[2]), .reset = true, .local = true});
    desired.vips.push_back({.address = ip(vips[3]), .reset = true, .local = false, .role = 1});
    for (const PoolShape& shape : kPools) {
        tables::DesiredPool pool{.name = pool_name(shape, family), .flags = shape.flags, .slots = 64, .backends = {}};
        const std::uint32_t count = shape.forward == FL_FORWARD_LOCAL ? 1 : kBackends;
        for (std::uint32_t index = 0; index < count; ++index)
            pool.backends.push_back(
                {.name = "b" + std::to_string(index),
                 // One tunnel in three is of the other family.
                 .address = ip((family != (is_tunnel(shape) && index % 3 == 1) ? "2001:db8:b::" : "203.0.113.") +
                               std::to_string(index + 1)),
                 .forward = shape.forward,
                 .gue_port = kGuePort});
        desired.pools.push_back(pool);
        for (const std::string& vip : vips)
            for (const std::uint8_t protocol : {FL_PROTO_TCP, FL_PROTO_UDP})
                desired.services.push_back({.name = pool.name + vip + std::to_string(protocol),
                                            .vip = ip(vip),
                                            .port = shape.port,
                                            .protocol = protocol,
                                            .pool = pool.name});
    }
    desired.services.push_back({.name = "any" + vips[1],
                                .vip = ip(vips[1]),
                                .port = 0,
                                .protocol = FL_PROTO_TCP,
                                .pool = pool_name(kPools[0], family)});
}

constexpr int kHops = 6;

// A next hop for each way that it can be wrong, and four good ones.
std::array<std::uint32_t, kHops> make_hops(tables::TableWriter& writer) {
    const std::uint32_t ports[] = {kOwnPort, kOtherPort, kMissingPort, 0, kOwnVlanPort, kOtherUntaggedPort};
    std::array<std::uint32_t, kHops> hops{};
    for (int index = 0; index < kHops; ++index) {
        const auto hop = writer.allocate_nexthop();
        FL_MUST(hop);
        hops[index] = *hop;
        if (ports[index])
            FL_MUST(writer.set_nexthop(*hop, mac("02:00:5e:00:53:0" + std::to_string(index)), ports[index]));
    }
    return hops;
}

void fill_paths(tables::TableWriter& writer) {
    const auto hops = make_hops(writer);
    for (int family = 0; family < 2; ++family)
        for (const PoolShape& shape : kPools) {
            const std::uint32_t pool = writer.find_pool(pool_name(shape, family)).value();
            const std::uint32_t count = shape.forward == FL_FORWARD_LOCAL ? 1 : kBackends;
            for (std::uint16_t index = 0; index < count; ++index)
                FL_MUST(writer.set_backend_state(pool, index, FL_BACKEND_HEALTHY, index == 7 ? 600 : 1500,
                                                 hops[index < kHops ? index : 0U]));
            std::vector<std::uint16_t> owners(writer.slot_count(pool), FL_NO_BACKEND);
            for (std::size_t slot = 0; shape.owners && slot < owners.size(); ++slot)
                owners[slot] = static_cast<std::uint16_t>(slot % 13 == 12 ? FL_NO_BACKEND : slot % count);
            FL_MUST(writer.set_slots(pool, owners));
        }
}

std::uint16_t half(std::uint64_t value) { return static_cast<std::uint16_t>(value); }
std::uint8_t byte(std::uint64_t value) { return static_cast<std::uint8_t>(value); }

void put16(Frame& to, std::uint16_t value) {
    to.push_back(byte(value >> 8));
    to.push_back(byte(value));
}
void put32(Frame& to, std::uint32_t value) {
    put16(to, half(value >> 16));
    put16(to, half(value));
}
void put(Frame& to, const Frame& more) { to.insert(to.end(), more.begin(), more.end()); }
void put_address(Frame& to, const std::string& text) {
    const IpAddress address = ip(text);
    const auto bytes = address.family_bytes();
    to.insert(to.end(), bytes.begin(), bytes.end());
}
void put_mac(Frame& to, const std::string& text) {
    const auto bytes = mac(text).bytes;
    to.insert(to.end(), bytes.begin(), bytes.end());
}

// RFC 1071, over the IPv4 header that the packet begins with.
void finish_ipv4(Frame& header) {
    const std::size_t size = std::clamp<std::size_t>(std::size_t{header[0] & 15U} * 4, 20, header.size() & ~1UL);
    std::uint32_t sum = 0;
    for (std::size_t at = 0; at < size; at += 2) sum += static_cast<std::uint32_t>(header[at] << 8 | header[at + 1]);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    header[10] = byte(~sum >> 8);
    header[11] = byte(~sum);
}

}  // namespace

fl_limits small_limits() {
    const auto cpus = tables::possible_cpus();
    FL_MUST(cpus);
    return tables::limits_for(
        {.vips = 16, .services = 128, .pools = 16, .backends = 128, .slots = 4096, .pins = 1 << 20}, *cpus);
}

void set_own_vlan(tables::TableWriter& writer, std::uint32_t vlan) {
    FL_MUST(writer.set_port(
        kOwnPort,
        {.name = "left", .ifindex = 1, .mac = mac("02:00:5e:00:53:a1"), .way = FL_PORT_WAY(0, 0, vlan, FL_VLAN_NONE)}));
}

void fill_tables(tables::TableWriter& writer) {
    tables::Desired desired;
    add_family(desired, 0);
    add_family(desired, 1);
    FL_MUST(writer.set_hash_key({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
    FL_MUST(writer.set_encap4(prefix("10.64.0.0/16")));
    FL_MUST(writer.set_encap6(prefix("2001:db8:e::/112")));
    FL_MUST(writer.set_node(ip(kNode[0]), ip(kNode[1])));
    const std::vector<IpPrefix> sources = {prefix("192.0.2.32/27"), prefix("2001:db8:5::/48")};
    FL_MUST(writer.set_sources(sources));
    FL_MUST(writer.set_meta_flags(FL_META_DECAP));
    FL_MUST(writer.set_exception_rate(1'000'000));
    FL_MUST(writer.set_answer_rate(1'000'000));  // so that no answer depends on the clock
    FL_MUST(writer.set_role(0, UINT64_MAX));
    FL_MUST(writer.set_role(1, 0));
    FL_MUST(writer.set_gue_port(kGuePort));
    set_own_vlan(writer, FL_VLAN_NONE);
    FL_MUST(writer.set_port(kOtherPort, {.name = "right", .ifindex = 2, .mac = mac("02:00:5e:00:53:a2")}));
    FL_MUST(writer.set_port(kOwnVlanPort, {.name = "left",
                                           .ifindex = 1,
                                           .mac = mac("02:00:5e:00:53:a4"),
                                           .way = FL_PORT_WAY(kOwnPort, 0, FL_VLAN_NONE, kVlan)}));
    FL_MUST(writer.set_port(kOtherUntaggedPort, {.name = "right",
                                                 .ifindex = 2,
                                                 .mac = mac("02:00:5e:00:53:a5"),
                                                 .way = FL_PORT_WAY(kOtherPort, 0, FL_VLAN_NONE, 0)}));
    const std::vector<MacAddress> peers = {mac("02:00:5e:00:53:98"), mac(kPeer)};
    FL_MUST(writer.set_peers(peers));
    FL_MUST(writer.apply(desired));
    fill_paths(writer);
}

void unsettle(tables::TableWriter& writer) {
    tables::Tables& tables = writer.tables();
    for (const fl_pool& pool : tables.pools()) {
        const auto slots = pool.slots;
        if (!pool.backend_count || !FL_SLOTS_MASK(slots)) continue;
        for (std::uint32_t at = 0; at <= FL_SLOTS_MASK(slots); ++at) {
            const std::uint32_t slot = FL_SLOTS_BASE(slots) + at;
            auto& word = tables.slots()[slot / FL_SLOTS_PER_LINE].words[slot % FL_SLOTS_PER_LINE];
            const std::uint32_t owner = FL_SLOT_OWNER(word), other = at % 11 == 3 ? FL_NO_BACKEND : at % 6;
            if (owner == FL_NO_BACKEND && at % 2) continue;
            switch (at % 4) {
                case 0:
                    word = FL_SLOT_WORD(owner, other, 1, 0);
                    break;
                case 1:
                    word = FL_SLOT_WORD(owner, other, 1, 1);
                    break;
                case 2:
                    word = FL_SLOT_WORD(owner, owner, 1, 0);
                    break;
                default:
                    break;
            }
        }
    }
}

namespace {

// Tables of chance; the frames' addresses and ports are in them, most of the time.
class RandomTables {
  public:
    RandomTables(tables::TableWriter& writer, std::uint64_t seed) : writer_(writer), random_(seed) {}

    void fill() {
        fill_node();
        fill_ports();
        tables::Desired desired;
        for (int family = 0; family < 2; ++family) add(desired, family);
        FL_MUST(writer_.apply(desired));
        const auto hops = make_hops(writer_);
        for (const auto& pool : desired.pools) fill_pool(pool, hops);
        if (one_in(8)) break_a_service(desired);
    }

  private:
    std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
    bool one_in(std::uint32_t n) { return below(n) == 0; }

    void fill_node() {
        std::array<std::uint8_t, 16> key;
        for (auto& one : key) one = byte(random_());
        FL_MUST(writer_.set_hash_key(key));
        if (!one_in(8)) FL_MUST(writer_.set_encap4(prefix(one_in(2) ? "10.64.0.0/16" : "192.0.2.2/32")));
        if (!one_in(8)) FL_MUST(writer_.set_encap6(prefix(one_in(2) ? "2001:db8:e::/112" : "2001:db8::2/128")));
        FL_MUST(writer_.set_node(ip(kNode[0]), ip(kNode[1])));
        const std::vector<IpPrefix> sources = {prefix("192.0.2.32/27"), prefix("2001:db8:5::/48")};
        if (!one_in(4)) FL_MUST(writer_.set_sources(sources));
        FL_MUST(writer_.set_meta_flags(one_in(4) ? 0 : FL_META_DECAP));
        FL_MUST(writer_.set_answer_rate(one_in(8) ? 0 : 1'000'000));  // no answer depends on the clock
        FL_MUST(writer_.set_role(0, one_in(8) ? 0 : UINT64_MAX));
        FL_MUST(writer_.set_role(1, one_in(2) ? 0 : UINT64_MAX));
        FL_MUST(writer_.set_gue_port(one_in(4) ? 0 : kGuePort));
        const std::vector<MacAddress> peers = {mac("02:00:5e:00:53:98"), mac(kPeer)};
        if (!one_in(4)) FL_MUST(writer_.set_peers(peers));
    }

    void fill_ports() {
        const std::uint32_t bond = one_in(4) ? 3 : 0;  // of own and other port
        const std::uint32_t in = one_in(4) ? (one_in(2) ? 0U : kVlan) : FL_VLAN_NONE;
        const auto port = [&](std::uint32_t number, const char* name, const char* address, std::uint64_t way) {
            FL_MUST(writer_.set_port(number, {.name = name,
                                              .ifindex = name[0] == 'l' ? 1U : 2U,
                                              .mac = mac(address),
                                              .mtu = one_in(4) ? 1400U : 1500U,
                                              .way = way}));
        };
        port(kOwnPort, "left", "02:00:5e:00:53:a1", FL_PORT_WAY(0, bond, in, FL_VLAN_NONE));
        port(kOtherPort, "right", "02:00:5e:00:53:a2", FL_PORT_WAY(0, bond, FL_VLAN_NONE, FL_VLAN_NONE));
        port(kOwnVlanPort, "left", "02:00:5e:00:53:a4", FL_PORT_WAY(kOwnPort, 0, FL_VLAN_NONE, 1 + below(4000)));
        port(kOtherUntaggedPort, "right", "02:00:5e:00:53:a5", FL_PORT_WAY(kOtherPort, 0, FL_VLAN_NONE, 0));
    }

    void add(tables::Desired& desired, int family) {
        const std::uint32_t pools = 2 + below(6);
        for (std::uint32_t number = 0; number < pools; ++number) desired.pools.push_back(pool(family, number));
        for (const std::string& vip : kVips[family]) {
            if (one_in(16)) continue;
            desired.vips.push_back(
                {.address = ip(vip), .reset = !one_in(3), .local = one_in(4), .role = one_in(4) ? 1U : 0U});
            for (const std::uint8_t protocol : {FL_PROTO_TCP, FL_PROTO_UDP})
                for (std::uint16_t port : kServicePorts) {
                    if (one_in(4)) continue;
                    if (one_in(32)) port = 0;
                    const bool twice = std::any_of(
                        desired.services.begin(), desired.services.end(),
                        [&](const auto& s) { return s.vip == ip(vip) && s.port == port && s.protocol == protocol; });
                    if (twice) continue;
                    desired.services.push_back({.name = vip + std::to_string(port) + "/" + std::to_string(protocol),
                                                .vip = ip(vip),
                                                .port = port,
                                                .protocol = protocol,
                                                .pool = pool_of(family, below(pools))});
                }
        }
    }

    static std::string pool_of(int family, std::uint32_t number) {
        return (family ? "six" : "four") + std::to_string(number);
    }

    tables::DesiredPool pool(int family, std::uint32_t number) {
        tables::DesiredPool made{.name = pool_of(family, number), .slots = 16U << below(5), .backends = {}};
        if (one_in(2)) made.flags |= FL_POOL_ALL_DOWN_RESET;
        if (one_in(3)) made.flags |= FL_POOL_CLIENT_IP;
        if (one_in(3)) made.flags |= FL_POOL_TOO_BIG_PASS;
        const auto usual = kPools[below(std::size(kPools))].forward;
        const std::uint32_t count = 1 + below(kBackends);
        for (std::uint32_t index = 0; index < count; ++index) {
            auto forward = one_in(4) ? kPools[below(std::size(kPools))].forward : usual;
            if (forward == FL_FORWARD_LOCAL && index) forward = FL_FORWARD_GUE;  // one of this node
            const bool tunnel = forward == FL_FORWARD_IPIP || forward == FL_FORWARD_GUE;
            made.backends.push_back({.name = "b" + std::to_string(index),
                                     .address = ip((family != (tunnel && one_in(3)) ? "2001:db8:b::" : "203.0.113.") +
                                                   std::to_string(index + 1)),
                                     .forward = forward,
                                     .gue_port = kGuePort});
        }
        return made;
    }

    void fill_pool(const tables::DesiredPool& pool, const std::array<std::uint32_t, kHops>& hops) {
        const std::uint32_t id = writer_.find_pool(pool.name).value();
        const auto count = static_cast<std::uint32_t>(pool.backends.size());
        constexpr fl_backend_state kStates[] = {FL_BACKEND_HEALTHY, FL_BACKEND_HEALTHY,   FL_BACKEND_HEALTHY,
                                                FL_BACKEND_HEALTHY, FL_BACKEND_UNHEALTHY, FL_BACKEND_DRAINING,
                                                FL_BACKEND_UNKNOWN, FL_BACKEND_DEAD};
        constexpr std::uint32_t kMtus[] = {1500, 1500, 1500, 600, 1280, 9000};
        for (std::uint16_t index = 0; index < count; ++index)
            FL_MUST(writer_.set_backend_state(id, index, kStates[below(std::size(kStates))],
                                              kMtus[below(std::size(kMtus))], hops[below(kHops)]));
        const auto anyone = [&] {
            return static_cast<std::uint16_t>(one_in(16) ? std::uint32_t{FL_NO_BACKEND} : below(count));
        };
        std::vector<std::uint16_t> owners(writer_.slot_count(id));
        for (auto& owner : owners) owner = anyone();
        FL_MUST(writer_.set_slots(id, owners));
        if (one_in(2)) return;
        std::vector<tables::SlotChange> changes;  // into transition
        for (std::uint32_t slot = 0; slot < owners.size(); ++slot) {
            const std::uint32_t previous = one_in(4) ? owners[slot] : anyone();
            if (!one_in(3))
                changes.push_back({.slot = slot, .word = FL_SLOT_WORD(owners[slot], previous, 1, below(2))});
        }
        FL_MUST(writer_.change_slots(id, changes, 0));
    }

    // What only a defect would do: every engine must find the same defect.
    void break_a_service(const tables::Desired& desired) {
        const auto& service = desired.services[below(static_cast<std::uint32_t>(desired.services.size()))];
        const auto id = writer_.find_service(service.vip, service.port, service.protocol).value();
        writer_.tables().services()[id].pool = writer_.tables().limits().pools + 9;
    }

    tables::TableWriter& writer_;
    std::mt19937_64 random_;
};

}  // namespace

void fill_random(tables::TableWriter& writer, std::uint64_t seed) { RandomTables(writer, seed).fill(); }

Frame FrameMaker::ethernet(std::uint16_t type, const Frame& payload) {
    Frame frame;
    put_mac(frame, "02:00:5e:00:53:a1");
    put_mac(frame, "02:00:5e:00:53:c1");
    put16(frame, type);
    put(frame, payload);
    return frame;
}

Frame FrameMaker::tcp(std::uint16_t source, std::uint16_t destination, std::uint8_t flags, std::size_t data) {
    Frame header;
    put16(header, source);
    put16(header, destination);
    put32(header, half(random_()));
    put32(header, half(random_()));
    put16(header, half(0x5000 | flags));
    put16(header, 8192);
    put32(header, 0x12340000);
    header.resize(header.size() + data, 0x61);
    return header;
}

Frame FrameMaker::udp(std::uint16_t source, std::uint16_t destination, std::size_t data) {
    Frame header;
    put16(header, source);
    put16(header, destination);
    put16(header, half(8 + data));
    put16(header, 0x1234);
    header.resize(header.size() + data, 0x62);
    return header;
}

Frame FrameMaker::ipv4(const std::string& source, const std::string& destination, std::uint8_t protocol,
                       const Frame& payload) {
    const Frame extra = one_in(10) ? options() : Frame{};
    Frame header = {byte(0x45 + extra.size() / 4), 0};
    put16(header, half(20 + extra.size() + payload.size()));
    put16(header, half(below(40)));  // few, so that fragments meet
    put16(header, one_in(2) ? FL_IPV4_DF : 0);
    put(header, {64, protocol, 0, 0});
    put_address(header, source);
    put_address(header, destination);
    if (one_in(12)) header[8] = byte(below(3));
    if (one_in(10)) header[6] = byte(FL_IPV4_MF >> 8);
    if (one_in(12)) header[7] = byte(offset_of_later());
    if (one_in(20)) header[0] = byte(0x40 + below(16));
    put(header, extra);
    finish_ipv4(header);
    put(header, payload);
    return header;
}

Frame FrameMaker::ipv6(const std::string& source, const std::string& destination, std::uint8_t next,
                       const Frame& payload) {
    std::uint8_t first = next;
    const Frame chain = one_in(5) ? extensions(first) : Frame{};
    Frame header = {0x60, 0x12, 0x34, 0x56};
    put16(header, half(chain.size() + payload.size()));
    put(header, {first, 64});
    put_address(header, source);
    put_address(header, destination);
    put(header, chain);
    if (one_in(12)) header[7] = byte(below(3));
    if (one_in(40)) header[6] = any_of<std::uint8_t>({FL_PROTO_HOPOPTS, FL_PROTO_FRAGMENT, FL_PROTO_DSTOPTS, 59});
    if (one_in(40)) header[0] = byte(random_());
    put(header, payload);
    return header;
}

std::uint32_t FrameMaker::offset_of_later() { return 1 + below(100); }

// 4 to 40 bytes of IPv4 options; a source route among them at times, a wrong length too.
Frame FrameMaker::options() {
    Frame list;
    const std::size_t size = 4 * (1 + below(10));
    while (list.size() < size) switch (below(8)) {
            case 0:
                put(list, {byte(one_in(2) ? FL_IPV4_OPTION_LSRR : FL_IPV4_OPTION_SSRR), 7, 4, 192, 0, 2, 99});
                break;
            case 1:
                list.push_back(FL_IPV4_OPTION_END);
                break;
            case 2:
                put(list, {68, byte(below(12)), 5, 0});
                break;
            case 3:
                put(list, {148, 4, 0, 0});
                break;
            default:
                list.push_back(FL_IPV4_OPTION_NOP);
        }
    list.resize(size);
    return list;
}

// A chain of extension headers that ends in `next`, which becomes the first one's number.
Frame FrameMaker::extensions(std::uint8_t& next) {
    Frame chain;
    std::uint32_t count = one_in(12) ? 5 + below(4) : 1 + below(3);
    for (; count; --count) {
        const auto kind = any_of<std::uint8_t>({FL_PROTO_HOPOPTS, FL_PROTO_DSTOPTS, FL_PROTO_ROUTING, FL_PROTO_AUTH,
                                                FL_PROTO_FRAGMENT, FL_PROTO_FRAGMENT});
        const auto units = one_in(20) ? below(40) : below(3);
        Frame header = {next, byte(units), 0, 0};
        if (kind == FL_PROTO_FRAGMENT) {
            header[1] = 0;
            const std::uint32_t later = one_in(3) ? offset_of_later() : 0;
            header[2] = byte(later >> 5);
            header[3] = byte(later << 3 | below(2));
            put32(header, below(40));
        } else {
            header[3] = kind == FL_PROTO_ROUTING && one_in(6) ? 1 : 0;
            header.resize(kind == FL_PROTO_AUTH ? (units + 2) * 4 : (units + 1) * 8, 0);
        }
        put(header, chain);
        chain = header;
        next = kind;
    }
    return chain;
}

// A UDP header for GUE, and at times the header of variant 0. What it carries is of `family`.
Frame FrameMaker::gue(int family, std::uint16_t port) {
    Frame header = udp(half(0xc000 + below(0x4000)), port);
    if (one_in(2)) return header;
    const std::uint32_t words = one_in(3) ? below(4) : 0;
    put(header, {byte(words | (one_in(8) ? 0x20 : 0) | (one_in(12) ? 0x80 : 0)),
                 family ? std::uint8_t{FL_PROTO_IPV6} : std::uint8_t{FL_PROTO_IPIP}, 0, 0});
    header.resize(header.size() + 4 * words, 0x65);
    return header;
}

Frame FrameMaker::tagged(std::uint16_t type, const Frame& payload) {
    Frame body;
    const std::uint32_t more = below(4) ? below(2) : 2;  // beside the first, whose EtherType is the frame's
    for (std::uint32_t tag = 0; tag <= more; ++tag) {
        put16(body, half(one_in(2) ? kVlan | below(8) << 13 : random_()));
        put16(body, tag < more ? std::uint16_t{FL_ETHERTYPE_VLAN} : type);
    }
    put(body, payload);
    return ethernet(one_in(2) ? FL_ETHERTYPE_VLAN : FL_ETHERTYPE_QINQ, body);
}

Frame FrameMaker::icmp(int family) {
    Frame message = {family ? std::uint8_t{FL_ICMPV6_ECHO} : std::uint8_t{FL_ICMP_ECHO}, 0, 0x12, 0x34, 0, 1, 0, 2};
    if (one_in(4)) message[0] = byte(random_());
    if (one_in(2)) {  // an error about what a VIP sent, or something else did
        message[0] = family ? byte(1 + below(4)) : any_of<std::uint8_t>({3, 11, 12});
        put(message, quote(family));
        return message;
    }
    message.resize(message.size() + below(80), 0x63);
    return message;
}

// What an ICMP error quotes: the head of a reply from a service.
Frame FrameMaker::quote(int family) {
    const std::uint16_t port = any_of(kServicePorts);
    const std::uint16_t to = half(1024 + below(60000));
    const bool is_udp = one_in(3);
    const Frame segment = is_udp ? udp(port, to, below(40)) : tcp(port, to, FL_TCP_ACK, below(40));
    const std::uint8_t protocol = is_udp ? FL_PROTO_UDP : FL_PROTO_TCP;
    const std::string& from = one_in(8) ? any_of(kSources[family]) : any_of(kVips[family]);
    const std::string& client = any_of(kSources[family]);
    Frame head = family ? ipv6(from, client, protocol, segment) : ipv4(from, client, protocol, segment);
    const std::size_t header = family ? 40 : 20;
    if (one_in(2)) head.resize(std::min(header + 8, head.size()));
    if (one_in(10)) head.resize(below(static_cast<std::uint32_t>(header + 8)));
    return head;
}

Frame FrameMaker::layer4(int family, std::uint8_t& protocol) {
    const std::uint16_t port = any_of(kServicePorts);
    const std::uint16_t from = half(1024 + below(60000));
    const std::size_t data = one_in(30) ? 1500 + below(200) : one_in(4) ? below(1400) : below(60);
    switch (below(8)) {
        case 0:
            protocol = family ? FL_PROTO_ICMPV6 : FL_PROTO_ICMP;
            return icmp(family);
        case 1:
        case 2:
            protocol = FL_PROTO_UDP;
            return udp(from, port, data);
        case 3:
            protocol = byte(random_());
            return Frame(data, 0x64);
        default:
            protocol = FL_PROTO_TCP;
            return tcp(from, port,
                       any_of<std::uint8_t>(
                           {FL_TCP_SYN, FL_TCP_ACK, FL_TCP_RST, FL_TCP_FIN | FL_TCP_ACK, FL_TCP_SYN | FL_TCP_ACK, 0}),
                       data);
    }
}

Frame FrameMaker::packet(int family) {
    std::uint8_t protocol = 0;
    const Frame payload = layer4(family, protocol);
    const std::string to = one_in(6) ? any_of(kSources[family]) : any_of(kVips[family]);
    const std::string from = one_in(6) ? any_of(kSources[family]) : kSources[family][0];
    Frame made = with_ecn(family, family ? ipv6(from, to, protocol, payload) : ipv4(from, to, protocol, payload));
    if (protocol == FL_PROTO_TCP && one_in(20)) leave_checksum(family, made);
    return made;
}

// Puts the pseudo-header's sum where the checksum is: only right where no option or extension stands in between.
void FrameMaker::leave_checksum(int family, Frame& packet) {
    const std::size_t header = family ? 40 : 20, addresses = family ? 8 : 12;
    if (packet.size() < header + 20) return;
    std::uint32_t sum = FL_PROTO_TCP + static_cast<std::uint32_t>(packet.size() - header);
    for (std::size_t at = addresses; at < header; at += 2)
        sum += static_cast<std::uint32_t>(packet[at] << 8 | packet[at + 1]);
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    packet[header + 13] = FL_TCP_SYN;
    packet[header + 16] = byte(sum >> 8);
    packet[header + 17] = byte(sum);
}

Frame FrameMaker::with_ecn(int family, Frame packet) {
    const std::uint8_t ecn = byte(below(4));
    if (family) {
        packet[1] = byte((packet[1] & 0xcf) | ecn << 4);
    } else {
        packet[1] = ecn;
        packet[10] = packet[11] = 0;
        finish_ipv4(packet);
    }
    return packet;
}

Frame FrameMaker::tunnel(int family) {
    const bool mixed = one_in(10);
    Frame inner = packet(mixed ? !family : family);
    const std::string to = one_in(8) ? any_of(kVips[family]) : kNode[family];
    const std::string& from = any_of(kTunnelSources[family]);
    std::uint8_t protocol = (family != 0) != mixed ? FL_PROTO_IPV6 : FL_PROTO_IPIP;
    if (one_in(3)) {
        Frame header = gue(protocol == FL_PROTO_IPV6, one_in(8) ? 6081 : kGuePort);
        put(header, inner);
        inner = header;
        protocol = FL_PROTO_UDP;
    }
    return with_ecn(family, family ? ipv6(from, to, protocol, inner) : ipv4(from, to, protocol, inner));
}

Frame FrameMaker::arp() {
    Frame packet;
    put16(packet, 1);
    put16(packet, FL_ETHERTYPE_IPV4);
    put(packet, {6, 4});
    put16(packet, half(1 + below(3)));
    put_mac(packet, "02:00:5e:00:53:c1");
    put_address(packet, any_of(kSources[0]));
    put_mac(packet, "00:00:00:00:00:00");
    put_address(packet, one_in(5) ? "192.0.2.200" : any_of(kVips[0]));
    packet.resize(packet.size() + below(2) * 18);
    return packet;
}

Frame FrameMaker::solicitation() {
    Frame message = {FL_ICMPV6_SOLICITATION, 0, 0, 0, 0, 0, 0, 0};
    put_address(message, one_in(5) ? "2001:db8::77" : any_of(kVips[1]));
    if (!one_in(3)) {
        put(message, {1, 1});
        put_mac(message, "02:00:5e:00:53:c1");
    }
    Frame packet =
        ipv6(any_of(kSources[1]), one_in(2) ? "ff02::1:ff00:10" : any_of(kVips[1]), FL_PROTO_ICMPV6, message);
    if (!one_in(8)) packet[7] = 255;
    return packet;
}

void FrameMaker::damage(Frame& frame) {
    if (one_in(3)) frame.resize(14 + below(static_cast<std::uint32_t>(frame.size() - 13)));
    for (std::uint32_t count = below(3); count; --count)
        frame[below(static_cast<std::uint32_t>(frame.size()))] = byte(random_());
    if (one_in(4)) frame.resize(frame.size() + below(20), 0);
}

Frame FrameMaker::next() {
    const int family = static_cast<int>(below(2));
    const std::uint16_t type = family ? FL_ETHERTYPE_IPV6 : FL_ETHERTYPE_IPV4;
    Frame frame;
    switch (below(12)) {
        case 0:
            frame = ethernet(FL_ETHERTYPE_ARP, arp());
            break;
        case 1:
            frame = ethernet(FL_ETHERTYPE_IPV6, solicitation());
            break;
        case 2:
        case 3:
            frame = ethernet(type, tunnel(family));
            break;
        case 4: {  // tagged once, twice, or once too often
            const bool question = one_in(8), family_4 = one_in(2);
            if (question)
                frame = tagged(family_4 ? FL_ETHERTYPE_ARP : FL_ETHERTYPE_IPV6, family_4 ? arp() : solicitation());
            else
                frame = tagged(type, one_in(6) ? tunnel(family) : packet(family));
            break;
        }
        default:
            frame = ethernet(type, packet(family));
            break;
    }
    if (one_in(10)) {
        const auto bytes = mac(kPeer).bytes;
        std::copy(bytes.begin(), bytes.end(), frame.begin() + 6);
    }
    if (one_in(15)) frame[0] |= 1;  // to a group
    if (one_in(5)) damage(frame);
    return frame;
}

}  // namespace fairlead::test
