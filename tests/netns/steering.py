# SPDX-License-Identifier: Apache-2.0
"""Crafted frames on the wire between switch and balancer, and what becomes of each: its bytes and its counter."""

import contextlib
import itertools
import struct
from dataclasses import dataclass

import frames
from frames import ETHERTYPE, ethernet, one_hop_on, tags_and_packet
from lab import wait_for
from ways import GUE_PORT, HEADER

LIMIT_S = 2.0  # a frame takes microseconds; a busy machine may look away
QUIET_S = 0.15  # for what must not come: as long again as anything has ever taken, many times over
# Clients that nobody is, behind no route: what backends answer them goes nowhere.
CLIENT = {4: "198.51.100.7", 6: "2001:db8:1::7"}
_ports = itertools.count(20000)


def next_port():
    """A source port of its own for each flow, so that tests that share a lab stay apart."""
    return next(_ports)


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


@dataclass
class Steered:
    """A frame that the balancer sent to one of its backends."""

    backend: str
    tags: list
    packet: bytes


class Wire:
    """The balancer's cable at the switch's end, its backends' as seen from there, and its counters."""

    def __init__(self, lab):
        self.lab = lab
        self.balancer, self.client = mac_bytes(lab.lb.mac), mac_bytes(lab.client.mac)
        self.backends = {mac_bytes(lab.nodes[name].mac): name for name in ("master", "slave")}
        self.cable, self.host = lab.sw.cable(lab.lb.peer()), lab.lb.cable()

    def frame(self, packet, tags=()):
        return ethernet(self.balancer, self.client, ETHERTYPE[packet[0] >> 4], packet, tags)

    def send(self, packet, tags=()):
        self.cable.drain()
        self.cable.send(self.frame(packet, tags))

    def steered(self, tail, limit_s=LIMIT_S):
        """The next frame to a backend that ends in these bytes; the balancer's checks and ARP are on the wire too."""
        found = self.cable.expect(
            lambda f: f[:6] in self.backends and f[6:12] == self.balancer and f.endswith(tail), limit_s)
        if found is None:
            return None
        return Steered(self.backends[found[:6]], *tags_and_packet(found))

    def forwards(self, way, packet, tags=(), tags_out=None):
        """Sends a packet; the name of its backend. It must come there as it was sent, one hop on and under the same tags,
        whole inside its tunnel if there is one."""
        self.send(packet, tags)
        got = self.steered(packet[-8:])
        assert got is not None, f"not forwarded: {packet.hex()}"
        assert got.tags == list(tags if tags_out is None else tags_out)
        inner = unwrapped(way, got.packet, self.lab.lb, self.lab.nodes[got.backend])
        assert inner.hex() == one_hop_on(packet).hex()
        return got.backend

    def answer(self, packet, matches=lambda packet: True, tags=()):
        """Sends a packet; what the balancer sent back as the address that was asked, as (tags, packet), or None."""
        self.send(packet, tags)
        asked = frames.addresses_of(packet)[1]
        found = self.cable.expect(lambda f: f[:12] == self.client + self.balancer and is_from(f, asked)
                                  and matches(tags_and_packet(f)[1]), LIMIT_S)
        return None if found is None else tags_and_packet(found)

    def counts(self):
        """{reason: packets} of everything that was not forwarded."""
        counters = self.lab.lbd.lbctl_json("counters")
        return {row["reason"]: row["packets"] for kind in ("passed", "answered", "dropped", "handed") for row in counters[kind]}

    @contextlib.contextmanager
    def counted(self, reason, packets=1):
        """The block makes so many packets end by this reason, within a while."""
        before = self.counts()[reason]
        yield
        wait_for(lambda: self.counts()[reason] >= before + packets, f"{packets} more of {reason}", LIMIT_S)
        assert self.counts()[reason] == before + packets

    def refuses(self, packet, reason, tags=()):
        """Sends a packet that is dropped under this reason: nothing is forwarded, and nothing answered."""
        with self.counted(reason):
            self.send(packet, tags)
        vip = frames.addresses_of(packet)[1]
        sent = self.cable.expect(lambda f: f[6:12] == self.balancer and (
            f[:6] in self.backends and f.endswith(packet[-8:]) or f[:6] == self.client and is_from(f, vip)), QUIET_S)
        assert sent is None, f"sent {sent.hex()}"

    def leaves_alone(self, frame):
        """Sends a frame that comes to the balancer's own stack as it was, to the byte, and to nobody else."""
        self.host.drain()
        self.cable.drain()
        self.cable.send(frame)
        got = self.host.expect(lambda f: f[-8:] == frame[-8:], LIMIT_S)
        assert got is not None and got.hex() == frame.hex()
        sent = self.cable.expect(lambda f: f[:6] in self.backends and f.endswith(frame[-8:]), 0.02)
        assert sent is None, f"sent {sent.hex()}"


def is_from(frame, address):
    packet = tags_and_packet(frame)[1]
    return ethertype_before(frame, packet) in ETHERTYPE.values() and packet[0] >> 4 == frames.version_of(address) \
        and frames.addresses_of(packet)[0] == address


def said_by(node, frame):
    """Whether an untagged frame is the node's own word to a neighbour: a check, or a question for an address."""
    packet = frame[14:]
    if frames.ethertype_of(frame) not in ETHERTYPE.values() or frames.protocol_of(packet) == frames.PROTOCOL_ICMPV6:
        return True
    return frames.protocol_of(packet) == frames.PROTOCOL_TCP and frames.addresses_of(packet)[0] in (node.v4, node.v6)


def ethertype_before(frame, packet):
    return int.from_bytes(frame[len(frame) - len(packet) - 2 : len(frame) - len(packet)], "big")


def unwrapped(way, packet, balancer, backend):
    """What the way's tunnel carries, the outer headers checked; the packet itself where there is none."""
    if way.forward == "l2dsr":
        return packet
    assert frames.addresses_of(packet) == (balancer.address(way.outer), backend.address(way.outer))
    outer, inner = packet[: way.overhead], packet[way.overhead :]
    carried = frames.PROTOCOL_IPIP if way.family == 4 else frames.PROTOCOL_IPV6
    length = int.from_bytes(outer[2:4] if way.outer == 4 else outer[4:6], "big")
    assert length == len(packet) - (0 if way.outer == 4 else 40)
    assert way.outer == 6 or frames.checksum(outer[:20]) == 0
    assert frames.protocol_of(packet) == (carried if way.forward == "ipip" else frames.PROTOCOL_UDP)
    if way.forward == "gue":
        check_gue(way, packet)
    return inner


def check_gue(way, packet):
    """UDP (RFC 768), the flow's own source port, and in variant 1 nothing else. Over IPv6 the checksum may be left out
    only of what hides its own (RFC 6935 section 5, RFC 6936 section 4): plain TCP and UDP must have it."""
    datagram = packet[HEADER[way.outer] :]
    source, destination, length, checksum = struct.unpack("!HHHH", datagram[:8])
    assert source >= 0xC000 and destination == GUE_PORT and length == len(datagram)
    assert checksum or way.outer == 4 or not is_plain(datagram[8:])
    if checksum:
        pseudo = frames.pseudo_header(*frames.addresses_of(packet), frames.PROTOCOL_UDP, len(datagram))
        assert frames.checksum(pseudo + datagram) == 0


def is_plain(packet):
    """TCP or UDP right behind the IP header, and whole."""
    header, protocol = frames.header_length(packet), frames.protocol_of(packet)
    fragment = header != 40 and int.from_bytes(packet[6:8], "big") & ~frames.DONT_FRAGMENT
    plain_header = header == frames.HEADER_LENGTH[packet[0] >> 4]
    return plain_header and not fragment and protocol in (frames.PROTOCOL_TCP, frames.PROTOCOL_UDP)


def request(way_or_vip, source_port=None, port=53, payload=b"fairlead", **header):
    """A datagram of a client's to a VIP, with a source port and so a flow of its own."""
    vip = getattr(way_or_vip, "vip", way_or_vip)
    source = CLIENT[frames.version_of(vip)]
    return frames.udp_packet(source, source_port or next_port(), vip, port, payload, **header)


def segment(way_or_vip, flags, port=80, source_port=None, payload=b"", **header):
    """The same of TCP."""
    vip = getattr(way_or_vip, "vip", way_or_vip)
    source = CLIENT[frames.version_of(vip)]
    return frames.tcp_packet(source, source_port or next_port(), vip, port, flags, payload, **header)
