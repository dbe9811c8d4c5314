// SPDX-License-Identifier: Apache-2.0
#include "tests/differential/corpus.h"

#include "tests/support/packet.h"

namespace fairlead::test {
namespace {

constexpr const char* kNode = "192.0.2.2";
constexpr const char* kTunnelSource = "192.0.2.33";

// For each port that services of frames.cpp may have, and one that none has.
void add_by_port(std::vector<Packet>& all, std::uint16_t port) {
    const Ethernet eth;
    all.push_back(eth / Ipv4{} / Tcp{.destination = port, .syn = true});
    all.push_back(eth / Ipv4{} / Tcp{.destination = port, .ack = true} / Payload{"data"});
    all.push_back(eth / Ipv4{} / Tcp{.destination = port, .ack = true, .fin = true});
    all.push_back(eth / Ipv4{} / Tcp{.destination = port, .rst = true});
    all.push_back(eth / Ipv4{} / Tcp{.destination = port, .syn = true, .checksum_left = true});
    all.push_back(eth / Ipv4{} / Udp{.destination = port} / Payload{"data"});
    all.push_back(eth / Ipv6{} / Tcp{.destination = port, .syn = true});
    all.push_back(eth / Ipv6{} / Tcp{.destination = port, .ack = true} / Payload{"data"});
    all.push_back(eth / Ipv6{} / Udp{.destination = port} / Payload{"data"});
    all.push_back(eth / Vlan{} / Ipv4{} / Tcp{.destination = port, .ack = true});
    all.push_back(eth / Vlan{.id = 0xa003, .ethertype = 0x88a8} / Vlan{} / Ipv6{} / Tcp{.destination = port});
    all.push_back(eth / Ipv4{.ttl = 1} / Tcp{.destination = port});
    all.push_back(eth / Ipv4{.dont_fragment = false} / Udp{.destination = port} / Payload{Bytes(1450, 1)});
    all.push_back(eth / Ipv4{} / Tcp{.destination = port, .ack = true} / Payload{Bytes(1460, 1)});
    all.push_back(eth / Ipv6{} / Tcp{.destination = port, .ack = true} / Payload{Bytes(1440, 1)});
    all.push_back(eth / Ipv4{.options = {148, 4, 0, 0}} / Tcp{.destination = port, .ack = true});
    // A first fragment and the one after it, as they follow each other on a wire.
    all.push_back(eth / Ipv4{.id = port, .dont_fragment = false, .more_fragments = true} / Udp{.destination = port} /
                  Payload{Bytes(72, 2)});
    all.push_back(eth / Ipv4{.id = port, .dont_fragment = false, .offset = 10, .protocol = std::uint8_t{17}} /
                  Payload{Bytes(40, 3)});
    all.push_back(eth / Ipv6{} / Fragment{.id = port} / Udp{.destination = port} / Payload{Bytes(72, 2)});
    all.push_back(eth / Ipv6{} / Fragment{.offset = 10, .more = false, .id = port, .next = std::uint8_t{17}} /
                  Payload{Bytes(40, 3)});
    all.push_back(eth / Ipv6{} / Extension{} / Extension{.kind = 60, .size = 24} /
                  Tcp{.destination = port, .ack = true});
    // An error about one of its connections, and its own packets in a tunnel to this node.
    const Payload quote((Ipv4{.source = Ipv4{}.destination, .destination = Ipv4{}.source} /
                         Tcp{.source = port, .destination = 40000, .ack = true})
                            .bytes());
    all.push_back(eth / Ipv4{.source = "203.0.113.77"} / Icmp{.type = 3, .code = 4, .rest = 1400} / quote);
    const Payload inner((Ipv4{} / Tcp{.destination = port, .ack = true}).bytes());
    all.push_back(eth / Ipv4{.source = kTunnelSource, .destination = kNode, .protocol = std::uint8_t{4}} / inner);
    all.push_back(eth / Ipv4{.source = kTunnelSource, .destination = kNode} / Udp{.destination = 6080} / inner);
}

}  // namespace

std::vector<Frame> corpus() {
    std::vector<Packet> all{
        Ethernet{} / Arp{},
        Ethernet{} / Vlan{} / Arp{},
        Ethernet{} / Ipv4{} / Icmp{} / Payload{"echo"},
        Ethernet{} / Ipv6{} / Icmp{.type = 128} / Payload{"echo"},
        Ethernet{} / Ipv4{.destination = "198.51.100.99"} / Tcp{},
        Ethernet{} / Ipv4{.source = "127.0.0.1"} / Tcp{.destination = 9999},
        Ethernet{} / Ipv4{.options = {131, 7, 4, 192, 0, 2, 99, 0}} / Tcp{},
        Ethernet{} / Ipv6{} / Extension{.kind = 43, .segments_left = 1} / Tcp{},
        Ethernet{} / Ipv6{} / Extension{.size = 200} / Extension{.kind = 60, .size = 200} / Tcp{},
        Ethernet{.type = std::uint16_t{0x88cc}} / Payload{Bytes(46, 0)},
    };
    for (const std::uint16_t port : {80, 443, 22, 8080, 8081, 8082, 6081, 9999}) add_by_port(all, port);
    std::vector<Frame> frames;
    for (const Packet& packet : all) frames.push_back(packet.bytes());
    return frames;
}

Frame mutated(Frame frame, std::mt19937_64& random) {
    const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
    for (std::size_t count = below(4); count; --count) {
        const std::size_t at = below(frame.size());
        if (below(2))
            frame[at] = static_cast<std::uint8_t>(frame[at] ^ 1U << below(8));
        else
            frame[at] = static_cast<std::uint8_t>(random());
    }
    if (below(8) == 0) frame.resize(14 + below(frame.size() - 13));
    if (below(8) == 0) frame.resize(frame.size() + below(64));
    return frame;
}

}  // namespace fairlead::test
