# SPDX-License-Identifier: Apache-2.0
"""What real networks send besides plain TCP and UDP: each kind is steered, or refused under a reason of its own."""

import contextlib
import select
import socket
import struct

import pytest

import frames
from frames import ACK, SERVICE_VLAN, SYN, VLAN
from steering import CLIENT, Wire, next_port, request, segment
from ways import IPIP, L2DSR, every_way

# IPv4 options (RFC 791, RFC 2113), padded: router alert; record route with room for three; timestamps up to the limit.
OPTIONS = {"router-alert": bytes.fromhex("94040000"), "record-route": bytes([7, 15, 4]) + bytes(13),
           "longest": bytes([68, 40, 5, 0]) + bytes(36)}
SOURCE_ROUTES = {"loose": bytes([131, 7, 4, 192, 0, 2, 99, 0]), "strict": bytes([1, 137, 7, 4, 192, 0, 2, 99])}
# IPv6 extension headers without their first byte: options that hold nothing; a routing header of which no segment is
# left; an authentication header with a check value of 12 bytes (RFC 4302 section 2.2: length in words, less two).
HOP_BY_HOP, DESTINATION = (frames.HOP_BY_HOP, frames.padding_options()), (frames.DESTINATION, frames.padding_options(2))
ROUTED = (frames.ROUTING, bytes([2, 4, 0]) + bytes(4) + frames.packed("2001:db8::99"))
AUTHENTICATED = (frames.AUTHENTICATION, bytes([4, 0, 0]) + struct.pack("!II", 7, 1) + bytes(range(12)))
WHOLE = (frames.FRAGMENT, bytes(7))  # an "atomic" fragment, RFC 6946: first and last at once
CHAINS = {"hop-by-hop": [HOP_BY_HOP], "destination": [DESTINATION], "routing": [ROUTED], "authentication": [AUTHENTICATED],
          "atomic-fragment": [WHOLE], "as-rfc-8200-orders-them": [HOP_BY_HOP, DESTINATION, ROUTED, AUTHENTICATED]}
TAGS = {"one-tag": [(VLAN, 7)], "two-tags": [(SERVICE_VLAN, 5), (VLAN, 7)], "two-customer-tags": [(VLAN, 5), (VLAN, 7)]}

of_ipv4 = pytest.mark.parametrize("way", [p for p in every_way() if p.values[0].family == 4])
of_ipv6 = pytest.mark.parametrize("way", [p for p in every_way() if p.values[0].family == 6])
of_any = pytest.mark.parametrize("way", every_way())


def each(values):
    """Parameters from a dict; the keys name the tests."""
    return [pytest.param(value, id=name) for name, value in values.items()]


class TestOptions:
    @of_ipv4
    @pytest.mark.parametrize("options", each(OPTIONS))
    def test_options_are_steered_with_their_flow(self, wire, way, options):
        for _ in range(4):
            port = next_port()
            plain = wire.forwards(way, request(way, port))
            assert wire.forwards(way, request(way, port, options=options)) == plain
            assert wire.forwards(way, segment(way, ACK, source_port=port, options=options)) in ("master", "slave")

    @of_ipv4
    @pytest.mark.parametrize("options", each(SOURCE_ROUTES))
    def test_source_routes_are_refused(self, wire, way, options):
        wire.refuses(request(way, options=options), "source_route")

    @of_ipv4
    def test_real_connection_with_options(self, wire, way):
        """A stack that puts an option on every packet that it sends."""
        with wire.lab.client.inside():
            connection = socket.socket()
        with connection:
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, OPTIONS["router-alert"])
            assert talks_http(connection, way.vip)


def talks_http(connection, address):
    """Whether one request over the unconnected socket gets its answer."""
    connection.settimeout(3)
    connection.connect((address, 80))
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while data := connection.recv(4096):
        answer += data
    return answer.startswith(b"HTTP/1.1 200 ")


class TestExtensionHeaders:
    @of_ipv6
    @pytest.mark.parametrize("chain", each(CHAINS))
    def test_chains_are_steered_with_their_flow(self, wire, way, chain):
        for _ in range(4):
            port = next_port()
            plain = wire.forwards(way, request(way, port))
            assert wire.forwards(way, request(way, port, chain=chain)) == plain
            assert wire.forwards(way, segment(way, ACK, source_port=port, chain=chain)) in ("master", "slave")

    @of_ipv6
    def test_longer_chain_is_counted(self, wire, way):
        wire.refuses(request(way, chain=[DESTINATION] * 20), "extension_chain")

    @of_ipv6
    def test_source_route_is_refused(self, wire, way):
        """RFC 5095: type 0, with a segment left to visit."""
        route = (frames.ROUTING, bytes([2, 0, 1]) + bytes(4) + frames.packed("2001:db8::99"))
        wire.refuses(request(way, chain=[route]), "source_route")

    @of_ipv6
    @pytest.mark.parametrize("option", [pytest.param(socket.IPV6_HOPOPTS, id="hop-by-hop"),
                                        pytest.param(socket.IPV6_DSTOPTS, id="destination")])
    def test_real_connection_with_headers(self, wire, way, option):
        with wire.lab.client.inside():
            connection = socket.socket(socket.AF_INET6)
        with connection:
            connection.setsockopt(socket.IPPROTO_IPV6, option, b"\0" + frames.padding_options())
            assert talks_http(connection, way.vip)


def pieces(way, identification, port=None, **header):
    """A datagram in three fragments of different contents."""
    client = CLIENT[way.family]
    payload = b"".join(bytes([kind]) * 64 for kind in b"abc")[8:]
    datagram = frames.udp(client, port or next_port(), way.vip, 53, payload)
    return frames.fragments(client, way.vip, frames.PROTOCOL_UDP, datagram, 64, identification, **header)


@of_any
class TestFragments:
    def test_later_ones_follow_the_first(self, wire, way):
        chosen = set()
        for identification in range(1, 17):
            port = next_port()
            backends = {wire.forwards(way, piece) for piece in pieces(way, identification, port)}
            assert backends == {wire.forwards(way, request(way, port))}
            chosen |= backends
        assert chosen == {"master", "slave"}

    def test_orphans_are_counted(self, wire, way):
        for piece in pieces(way, 1000)[1:]:
            wire.refuses(piece, "fragment_orphan")

    def test_memory_is_of_one_datagram(self, wire, way):
        """Neither another datagram of the same flow nor one of another client follows what was remembered."""
        port = next_port()
        first, second, _ = pieces(way, 1001, port)
        backend = wire.forwards(way, first)
        wire.refuses(pieces(way, 1002, port)[1], "fragment_orphan")
        assert wire.forwards(way, second) == backend

    def test_late_first_serves_those_behind_it(self, wire, way):
        first, second, third = pieces(way, 1003)
        wire.refuses(second, "fragment_orphan")
        assert wire.forwards(way, first) == wire.forwards(way, third)


@of_ipv6
def test_fragments_behind_other_headers(wire, way):
    port = next_port()
    backends = {wire.forwards(way, piece) for piece in pieces(way, 1004, port, chain=[HOP_BY_HOP, DESTINATION])}
    assert backends == {wire.forwards(way, request(way, port))}


@pytest.fixture(scope="module")
def by_client(module_bench):
    lab = module_bench.ways(L2DSR, pool={"affinity": "client-ip"})
    return Wire(lab)


@pytest.mark.parametrize("way", L2DSR, ids=lambda way: way.name)
def test_client_affinity_needs_no_memory(by_client, way):
    """The client's address is in every fragment, so the last may come first."""
    with by_client.counted("fragment_orphan", 0):
        sent = [piece for number in range(4) for piece in reversed(pieces(way, 2000 + number))]
        backends = {by_client.forwards(way, piece) for piece in sent}
    assert len(backends) == 1


@of_any
@pytest.mark.parametrize("tags", each(TAGS))
class TestTags:
    def test_steered_under_the_same_tags(self, wire, way, tags):
        for _ in range(4):
            port = next_port()
            assert wire.forwards(way, request(way, port), tags) == wire.forwards(way, request(way, port))

    def test_answered_under_the_same_tags(self, wire, way, tags):
        echo = frames.echo_request(CLIENT[way.family], way.vip, 7)
        for question, is_answer in ((echo, lambda p: p[-8:] == echo[-8:]),
                                    (segment(way, SYN, port=81), lambda p: p[frames.header_length(p) + 13] & frames.RST),
                                    (request(way, port=81), lambda p: p[frames.header_length(p)] in (3, 1))):
            got = wire.answer(question, is_answer, tags)
            assert got is not None and got[0] == tags


class Sockets:
    """A datagram socket on the VIP of each backend and one of a client: all that a flow needs, with errors reported."""

    RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
    HOPS = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)}

    def __init__(self, lab, way):
        self.way, self.stack = way, contextlib.ExitStack()
        family = socket.AF_INET if way.family == 4 else socket.AF_INET6
        self.backends = {}
        for node in (lab.client, lab.master, lab.slave):
            with node.inside():
                udp = self.stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            udp.settimeout(3)
            if node is lab.client:
                self.client = udp
                continue
            udp.setsockopt(*self.RECVERR[way.family], 1)
            udp.bind((way.vip, 53))
            self.backends[node.name] = udp

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def begin_flow(self):
        """(name, socket) of the backend that the client's datagram came to, and the client's address there."""
        self.client.sendto(b"hello", (self.way.vip, 53))
        ready, _, _ = select.select(self.backends.values(), [], [], 3)
        assert len(ready) == 1, "the datagram came to no backend"
        name = next(name for name, udp in self.backends.items() if udp is ready[0])
        return name, ready[0], ready[0].recvfrom(64)[1]

    def error_at(self, udp):
        """(type, code) of the ICMP error that the socket was told of (struct sock_extended_err)."""
        poll = select.poll()
        poll.register(udp, select.POLLERR)
        assert poll.poll(3000), "no error came back"
        _, ancillary, _, _ = udp.recvmsg(512, 512, socket.MSG_ERRQUEUE)
        told = next(data for level, kind, data in ancillary if (level, kind) == self.RECVERR[self.way.family])
        return told[5], told[6]

    def nothing_at(self, udp):
        with pytest.raises(BlockingIOError):
            udp.setblocking(False)
            udp.recvmsg(512, 512, socket.MSG_ERRQUEUE)


@of_any
class TestErrors:
    """Errors about a backend's answers are sent to the VIP; each must find the backend that had answered."""

    @pytest.fixture
    def unlimited(self, wire):
        """Kernels limit how many errors they send."""
        for node in (wire.lab.router, wire.lab.client):
            node.sysctl(**{"net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0})

    def flows(self, wire, way, provoke):
        """(type, code) of each error that `provoke` brought to the backend of one of 24 flows."""
        told, chosen = set(), set()
        for _ in range(24):
            with Sockets(wire.lab, way) as sockets:
                name, udp, client = sockets.begin_flow()
                provoke(sockets, udp, client)
                told.add(sockets.error_at(udp))
                for other in sockets.backends.values():
                    if other is not udp:
                        sockets.nothing_at(other)
                chosen.add(name)
        assert chosen == {"master", "slave"}
        return told

    def test_time_exceeded(self, wire, way, unlimited):
        """What a traceroute from the backend lives by: the router says where the packet ended."""
        def provoke(sockets, udp, client):
            udp.setsockopt(*sockets.HOPS[way.family], 1)
            udp.sendto(b"too short a life", client)

        assert self.flows(wire, way, provoke) == {(11, 0) if way.family == 4 else (3, 0)}

    def test_port_unreachable(self, wire, way, unlimited):
        """The client has gone when the answer comes; its stack says so."""
        def provoke(sockets, udp, client):
            sockets.client.close()
            udp.sendto(b"too late", client)

        assert self.flows(wire, way, provoke) == {(3, 3) if way.family == 4 else (1, 4)}


@pytest.mark.parametrize("too_big", ["drop", "pass"])
def test_too_big_without_df(module_bench, too_big):
    """To be fragmented on the way, and nobody here does that: dropped, or given to the host, as the pool says."""
    way = IPIP[0]
    lab = module_bench.ways([way], pool={"too_big": too_big})
    wire = Wire(lab)
    packet = request(way, payload=bytes(1460), fragment=0)
    if too_big == "drop":
        wire.refuses(packet, "too_big")
    else:
        with wire.counted("too_big_passed"):
            wire.leaves_alone(wire.frame(packet))
    got = wire.answer(request(way, payload=bytes(1460)), lambda p: frames.mtu_said(p) is not None)
    assert frames.mtu_said(got[1]) == 1480
