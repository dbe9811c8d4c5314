# SPDX-License-Identifier: Apache-2.0
"""What a client does in the tests, one attempt at a time, and what came of it."""

import errno
import hashlib
import socket
import struct
import time

from lab import http_url


def tcp_connect(node, address, port, timeout=2.0, source_port=0):
    """'connected', 'refused', 'unreachable' or 'timeout'."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with node.inside():
        connection = socket.socket(family, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(timeout)
        if source_port:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection.bind(("", source_port))
        try:
            connection.connect((address, port))
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timeout"
        except OSError:
            return "unreachable"
        return "connected"


def http_from(node, address, source_port, port=80, timeout=2.0):
    """Name of the server that answers a request sent from a given source port."""
    with node.inside():
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(timeout)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(("", source_port))
        connection.connect((address, port))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while data := connection.recv(4096):
            answer += data
    return answer.partition(b"\r\n\r\n")[2].decode().strip()


def udp_ask(node, address, port, payload=b"hello", timeout=1.0):
    """The answer as text, 'refused' (ICMP port unreachable), 'too big' (a message about the path's MTU) or 'timeout'."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with node.inside():
        udp = socket.socket(family, socket.SOCK_DGRAM)
    with udp:
        udp.settimeout(timeout)
        try:
            udp.connect((address, port))
            udp.send(payload)
            return udp.recv(65536).decode()
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "timeout"
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            return "too big"


def curl_many(node, address, count, port=80):
    """Names of the servers of `count` requests, each over a new connection, None where one failed."""
    # One curl for all: --no-keepalive alone would not open a connection each, Connection: close does.
    urls = [http_url(address, port)] * count
    result = node.run("curl", "-sS", "-g", "--max-time", "3", "-H", "Connection: close", *urls, check=False,
                      timeout=60)
    names = result.stdout.split()
    return names + [None] * (count - len(names))


def download_sha256(lab, node, address):
    target = lab.folder / "download"
    node.run("curl", "-sS", "-g", "--fail", "--max-time", "20", "-o", target, http_url(address, path="/large"))
    return hashlib.sha256(target.read_bytes()).hexdigest()


def upload(node, address, data, port=8080, timeout=20.0):
    """(server, bytes, sha256) as the upload server saw them."""
    with node.inside():
        connection = socket.create_connection((address, port), timeout=timeout)
    with connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(4096):
            answer += part
    name, count, digest = answer.decode().split()
    return name, int(count), digest


def ping(node, address, count=3, timeout=0.4, payload=b"fairlead echo payload"):
    """How many of `count` echo requests were answered with their own payload."""
    v6 = ":" in address
    with node.inside():
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) if v6 else \
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    answered = 0
    with raw:
        for sequence in range(count):
            body = struct.pack("!HH", 0xfa1e, sequence) + payload
            message = struct.pack("!BBH", 128 if v6 else 8, 0, 0) + body  # the kernel fills in ICMPv6 checksums
            if not v6:
                message = struct.pack("!BBH", 8, 0, internet_checksum(message)) + body
            raw.sendto(message, (address, 0))
            answered += awaits_echo(raw, 129 if v6 else 0, body, 0 if v6 else 20, timeout)
    return answered


def awaits_echo(raw, kind, body, header, timeout):
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        raw.settimeout(left)
        try:
            packet = raw.recv(2048)[header:]
        except TimeoutError:
            return False
        if packet[0] == kind and packet[4:] == body and (header == 0 or internet_checksum(packet) == 0):
            return True
    return False


def internet_checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def neighbour(node, address):
    """(MAC or None, state) of the node's neighbour entry."""
    words = node.run("ip", "neigh", "show", address).stdout.split()
    mac = words[words.index("lladdr") + 1] if "lladdr" in words else None
    return mac, (words[-1] if words else None)
