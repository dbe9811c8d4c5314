# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames for the guest test: built whole, with every checksum filled in, so that they can be compared to
the byte. Addresses are text, MACs are bytes."""

import socket
import struct

ETHERTYPE = {4: 0x0800, 6: 0x86DD}
ETHERTYPE_ARP = 0x0806
PROTOCOL_ICMP, PROTOCOL_IPIP, PROTOCOL_TCP, PROTOCOL_IPV6 = 1, 4, 6, 41
FIN, SYN, RST, ACK = 1, 2, 4, 16
HEADER_LENGTH = {4: 20, 6: 40}


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def version_of(address: str) -> int:
    return 6 if ":" in address else 4


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ethernet(destination: bytes, source: bytes, ethertype: int, payload: bytes) -> bytes:
    return destination + source + struct.pack("!H", ethertype) + payload


def ip(source: str, destination: str, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    if version_of(source) == 6:
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl)
        return header + packed(source) + packed(destination) + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0x1234, 0x4000, ttl, protocol, 0)
    header += packed(source) + packed(destination)
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def tcp(source: str, source_port: int, destination: str, port: int, flags: int, payload: bytes = b"") -> bytes:
    segment = struct.pack("!HHIIBBHHH", source_port, port, 0x01020304, 0, 5 << 4, flags, 8192, 0, 0) + payload
    # One pseudo-header for both families: RFC 8200's differs from RFC 9293's in zeros and order, which no sum minds.
    pseudo = packed(source) + packed(destination) + struct.pack("!HH", PROTOCOL_TCP, len(segment))
    return segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]


def tcp_packet(source: str, source_port: int, destination: str, port: int, flags: int, payload: bytes = b"") -> bytes:
    segment = tcp(source, source_port, destination, port, flags, payload)
    return ip(source, destination, PROTOCOL_TCP, segment)


def one_hop_on(packet: bytes) -> bytes:
    """The packet with its TTL or hop limit one less and the IPv4 checksum made anew: what forwarding may change."""
    if packet[0] >> 4 == 6:
        return packet[:7] + bytes([packet[7] - 1]) + packet[8:]
    header = packet[:8] + bytes([packet[8] - 1]) + packet[9:10] + b"\0\0" + packet[12:20]
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + packet[20:]


def echo_request(source: str, destination: str, identifier: int) -> bytes:
    body = struct.pack("!BBHHH", 8, 0, 0, identifier, 1) + b"fairlead"
    return ip(source, destination, PROTOCOL_ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def arp_request(mac: bytes, source: str, target: str) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + packed(source) + bytes(6) + packed(target)
    return ethernet(b"\xff" * 6, mac, ETHERTYPE_ARP, body)


def ethertype_of(frame: bytes) -> int:
    return struct.unpack("!H", frame[12:14])[0]
