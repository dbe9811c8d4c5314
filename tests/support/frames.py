# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames for tests in Python: built whole, with every checksum filled in, so that they can be compared to the
byte; by an arithmetic that shares nothing with the core. Addresses are text, MACs are bytes; a packet begins at its IP
header, a frame at its Ethernet header."""

import ipaddress
import socket
import struct

ETHERTYPE = {4: 0x0800, 6: 0x86DD}
ETHERTYPE_ARP = 0x0806
VLAN, SERVICE_VLAN = 0x8100, 0x88A8  # IEEE 802.1Q, 802.1ad
PROTOCOL_ICMP, PROTOCOL_IPIP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_IPV6, PROTOCOL_ICMPV6 = 1, 4, 6, 17, 41, 58
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60  # RFC 8200, RFC 4302
FIN, SYN, RST, ACK = 1, 2, 4, 16
HEADER_LENGTH = {4: 20, 6: 40}
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_checksum(data: bytes, at: int, pseudo: bytes = b"") -> bytes:
    """`data` with the checksum over it and the pseudo-header filled in at an offset."""
    data = data[:at] + b"\0\0" + data[at + 2 :]
    return data[:at] + struct.pack("!H", checksum(pseudo + data)) + data[at + 2 :]


def version_of(address: str) -> int:
    return 6 if ":" in address else 4


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    """One for both families: RFC 8200's differs from RFC 9293's in zeros and order, which no sum minds."""
    return packed(source) + packed(destination) + struct.pack("!HH", protocol, length)


def ethernet(destination: bytes, source: bytes, ethertype: int, payload: bytes, tags=()) -> bytes:
    """`tags`: (ethertype, VLAN id) of each tag, the outermost first."""
    words = b"".join(struct.pack("!HH", kind, vlan) for kind, vlan in tags)
    return destination + source + words + struct.pack("!H", ethertype) + payload


def ip(source: str, destination: str, protocol: int, payload: bytes, ttl: int = 64, *, traffic_class: int = 0,
       identification: int = 0x1234, fragment: int = DONT_FRAGMENT, options: bytes = b"", chain=()) -> bytes:
    """`fragment`: the word of flags and offset; `options` must be a multiple of 4 bytes. These two and the identification
    are IPv4's alone, and IPv6's alone is `chain`: (protocol, header without its first byte) of each extension header."""
    if version_of(source) == 6:
        kinds = [kind for kind, _ in chain] + [protocol]
        headers = b"".join(bytes([following]) + body for following, (_, body) in zip(kinds[1:], chain))
        length = len(headers) + len(payload)
        header = struct.pack("!IHBB", 6 << 28 | traffic_class << 20, length, kinds[0], ttl)
        return header + packed(source) + packed(destination) + headers + payload
    header = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, traffic_class, 20 + len(options) + len(payload),
                         identification, fragment, ttl, protocol, 0)
    return with_checksum(header + packed(source) + packed(destination) + options, 10) + payload


def padding_options(blocks: int = 1) -> bytes:
    """The rest of a hop-by-hop or destination header of so many 8-byte blocks that holds nothing (PadN)."""
    size = 8 * blocks - 4
    return bytes([blocks - 1, 1, size]) + bytes(size)


def tcp(source: str, source_port: int, destination: str, port: int, flags: int, payload: bytes = b"") -> bytes:
    segment = struct.pack("!HHIIBBHHH", source_port, port, 0x01020304, 0, 5 << 4, flags, 8192, 0, 0) + payload
    return with_checksum(segment, 16, pseudo_header(source, destination, PROTOCOL_TCP, len(segment)))


def tcp_packet(source: str, source_port: int, destination: str, port: int, flags: int, payload: bytes = b"",
               **header) -> bytes:
    segment = tcp(source, source_port, destination, port, flags, payload)
    return ip(source, destination, PROTOCOL_TCP, segment, **header)


def udp(source: str, source_port: int, destination: str, port: int, payload: bytes = b"") -> bytes:
    datagram = struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload
    return with_checksum(datagram, 6, pseudo_header(source, destination, PROTOCOL_UDP, len(datagram)))


def udp_packet(source: str, source_port: int, destination: str, port: int, payload: bytes = b"", **header) -> bytes:
    return ip(source, destination, PROTOCOL_UDP, udp(source, source_port, destination, port, payload), **header)


def fragments(source: str, destination: str, protocol: int, payload: bytes, size: int, identification: int,
              **header) -> list[bytes]:
    """The packets of one datagram whose fragments carry `size` bytes each, a multiple of 8."""
    made = []
    for offset in range(0, len(payload), size):
        part, more = payload[offset : offset + size], offset + size < len(payload)
        if version_of(source) == 6:
            body = struct.pack("!BHI", 0, offset | more, identification)
            made.append(ip(source, destination, protocol, part, **{**header, "chain": [*header.get("chain", ()),
                                                                                       (FRAGMENT, body)]}))
        else:
            word = offset // 8 | (MORE_FRAGMENTS if more else 0)
            made.append(ip(source, destination, protocol, part, identification=identification, fragment=word, **header))
    return made


def header_length(packet: bytes) -> int:
    """Of the IP header with its options, without IPv6's extension headers."""
    return 40 if packet[0] >> 4 == 6 else (packet[0] & 15) * 4


def one_hop_on(packet: bytes) -> bytes:
    """The packet with its TTL or hop limit one less and the IPv4 checksum made anew: what forwarding may change."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    length = header_length(packet)
    return with_checksum(packet[:8] + bytes([packet[8] - 1]) + packet[9:length], 10) + packet[length:]


def protocol_of(packet: bytes) -> int:
    """What the IP header says comes next: in IPv6 perhaps an extension header."""
    return packet[6] if packet[0] >> 4 == 6 else packet[9]


def ttl_of(packet: bytes) -> int:
    return packet[7] if packet[0] >> 4 == 6 else packet[8]


def addresses_of(packet: bytes) -> tuple[str, str]:
    """(source, destination) as text."""
    at, size = (8, 16) if packet[0] >> 4 == 6 else (12, 4)
    return tuple(str(ipaddress.ip_address(packet[i : i + size])) for i in (at, at + size))


def echo_request(source: str, destination: str, identifier: int) -> bytes:
    return icmp(source, destination, 128 if version_of(source) == 6 else 8, 0,
                struct.pack("!HH", identifier, 1) + b"fairlead")


def icmp(source: str, destination: str, kind: int, code: int, rest: bytes, **header) -> bytes:
    """`rest`: everything behind the checksum, of ICMP or ICMPv6 according to the addresses."""
    message = struct.pack("!BBH", kind, code, 0) + rest
    v6 = version_of(source) == 6
    protocol = PROTOCOL_ICMPV6 if v6 else PROTOCOL_ICMP
    pseudo = pseudo_header(source, destination, protocol, len(message)) if v6 else b""
    return ip(source, destination, protocol, with_checksum(message, 2, pseudo), **header)


def too_big(source: str, quoted: bytes, mtu: int) -> bytes:
    """Fragmentation needed (RFC 1191 section 4) or packet too big (RFC 4443 section 3.2) about a packet, to its source."""
    if quoted[0] >> 4 == 6:
        return icmp(source, addresses_of(quoted)[0], 2, 0, struct.pack("!I", mtu) + quoted)
    return icmp(source, addresses_of(quoted)[0], 3, 4, struct.pack("!HH", 0, mtu) + quoted)


def mtu_said(packet: bytes) -> int | None:
    """The MTU in a fragmentation needed or packet too big; None for any other packet."""
    v6, header = packet[0] >> 4 == 6, header_length(packet)
    message = packet[header:]
    expected = (PROTOCOL_ICMPV6, 2, 0) if v6 else (PROTOCOL_ICMP, 3, 4)
    if len(message) < 8 or (protocol_of(packet), message[0], message[1]) != expected:
        return None
    return struct.unpack("!I", message[4:8])[0] if v6 else struct.unpack("!H", message[6:8])[0]


def arp_request(mac: bytes, source: str, target: str) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + packed(source) + bytes(6) + packed(target)
    return ethernet(b"\xff" * 6, mac, ETHERTYPE_ARP, body)


def ethertype_of(frame: bytes) -> int:
    return struct.unpack("!H", frame[12:14])[0]


def tags_and_packet(frame: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """The VLAN tags of a frame as ethernet() takes them, and what they stand before."""
    tags, at = [], 12
    while ethertype_of(frame[at - 12 :]) in (VLAN, SERVICE_VLAN):
        kind, control = struct.unpack("!HH", frame[at : at + 4])
        tags.append((kind, control & 0xFFF))
        at += 4
    return tags, frame[at + 2 :]
