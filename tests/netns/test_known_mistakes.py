# SPDX-License-Identifier: Apache-2.0
"""What load balancers of this kind are known to get wrong, each as a test that would catch it here: katran's list as it
was measured, and the threads that users of others have opened."""

import struct

import pytest

import frames
from frames import ACK, FIN, RST, SERVICE_VLAN, SYN, VLAN, ethernet
from lab import curl
from steering import CLIENT, QUIET_S, is_from, next_port, request, segment, unwrapped
from ways import every_way

OTHER = {4: "192.0.2.77", 6: "2001:db8::77"}  # addresses of the VIPs' networks that are nobody's
of_any = pytest.mark.parametrize("way", every_way())
both = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture
def plain(wire_of):
    return wire_of("l2dsr")


def answer_of(way, port, payload=bytes(1400)):
    """What a backend has sent as the VIP in the flow of request(way, port)."""
    return frames.udp_packet(way.vip, 53, CLIENT[way.family], port, payload)


@of_any
def test_minimal_frag_needed_reaches_the_backend(wire, way):
    """RFC 792 asks for the header and 8 bytes of what is quoted, and many routers send no more."""
    chosen, router = set(), "203.0.113.99" if way.family == 4 else "2001:db8:9::99"
    for _ in range(24):
        port = next_port()
        quoted = answer_of(way, port)[: frames.HEADER_LENGTH[way.family] + 8]
        backend = wire.forwards(way, frames.too_big(router, quoted, 1400))
        assert backend == wire.forwards(way, request(way, port))
        chosen.add(backend)
    assert chosen == {"master", "slave"}


@of_any
def test_longest_errors_go_through_whole(wire, way):
    """RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 let routers quote as much as fits 576 or 1,280 bytes."""
    room = 576 - 28 if way.family == 4 else 1280 - 48
    port = next_port()
    error = frames.too_big("203.0.113.99" if way.family == 4 else "2001:db8:9::99", answer_of(way, port)[:room], 1400)
    assert wire.forwards(way, error) == wire.forwards(way, request(way, port))


@both
def test_fragments_of_others_pass_untouched(plain, family):
    client, payload = CLIENT[family], bytes(range(200))
    for piece in frames.fragments(client, OTHER[family], frames.PROTOCOL_UDP, payload, 64, 99):
        plain.leaves_alone(plain.frame(piece))


def test_options_of_others_pass_untouched(plain):
    for options in (bytes.fromhex("94040000"), bytes([131, 7, 4, 192, 0, 2, 99, 0]), bytes([0x42, 0, 0, 0])):
        plain.leaves_alone(plain.frame(request(OTHER[4], options=options)))


def test_extension_headers_of_others_pass_untouched(plain):
    options = (frames.DESTINATION, frames.padding_options())
    for chain in ([(frames.HOP_BY_HOP, frames.padding_options())], [options] * 20,
                  [(frames.ROUTING, bytes([2, 0, 1]) + bytes(4) + frames.packed("2001:db8::99"))]):
        plain.leaves_alone(plain.frame(request(OTHER[6], chain=chain)))


@both
@pytest.mark.parametrize("tags", [[(VLAN, 7)], [(SERVICE_VLAN, 5), (VLAN, 7)], [(VLAN, 1), (VLAN, 2), (VLAN, 3)]])
def test_tagged_frames_of_others_pass_untouched(plain, family, tags):
    plain.leaves_alone(plain.frame(request(OTHER[family]), tags))


@both
def test_what_is_not_for_a_vip_passes_to_the_byte(plain, family):
    """Other protocols, bad lengths, bad checksums, TTL 0, cut off in the middle of a header: the host's to judge."""
    packet = request(OTHER[family], payload=b"to the byte")
    source = CLIENT[family]
    strange = [packet, packet + b"padding!", packet[:-9], packet[:24], frames.ip(source, OTHER[family], 132, bytes(40)),
               frames.ip(source, OTHER[family], frames.PROTOCOL_UDP, bytes(8), ttl=0),
               frames.ip(source, OTHER[family], frames.PROTOCOL_TCP, bytes(3)),
               packet[: frames.HEADER_LENGTH[family]] + bytes(8), b"\x00" + packet[1:]]
    for broken in strange:
        plain.leaves_alone(ethernet(plain.balancer, plain.client, frames.ETHERTYPE[family], broken))
    for ethertype in (0x88CC, 0x8847, 0x0800 ^ 0x86DD, 0x0100):  # LLDP, MPLS, none, a length (IEEE 802.3)
        plain.leaves_alone(ethernet(plain.balancer, plain.client, ethertype, bytes(range(46))))


@both
def test_echo_is_answered_for_vips_alone(plain, family):
    vip = "192.0.2.10" if family == 4 else "2001:db8::10"
    assert plain.answer(frames.echo_request(CLIENT[family], vip, 77)) is not None
    question = frames.echo_request(CLIENT[family], OTHER[family], 77)
    before = plain.counts()["echo"]
    plain.leaves_alone(plain.frame(question))
    assert plain.cable.expect(lambda f: f[:6] == plain.client and is_from(f, OTHER[family]), QUIET_S) is None
    assert plain.counts()["echo"] == before


@of_any
def test_vlan_tagged_packets_are_balanced(wire, way):
    assert {wire.forwards(way, request(way), [(VLAN, 7)]) for _ in range(24)} == {"master", "slave"}


@pytest.mark.parametrize("way", [p for p in every_way() if p.values[0].family == 6])
def test_hop_by_hop_packets_are_balanced(wire, way):
    chain = [(frames.HOP_BY_HOP, frames.padding_options())]
    assert {wire.forwards(way, request(way, chain=chain)) for _ in range(24)} == {"master", "slave"}


@of_any
def test_no_reset_to_a_reset(wire, way):
    for flags in (RST, RST | ACK):
        wire.refuses(segment(way, flags, port=81), "not_answerable")
    got = wire.answer(segment(way, SYN, port=81))
    assert got is not None and got[1][frames.header_length(got[1]) + 13] & RST


@of_any
def test_no_icmp_about_icmp(wire, way):
    """Neither about errors whose flow has no service, nor about those that quote nothing of ours."""
    router = "203.0.113.99" if way.family == 4 else "2001:db8:9::99"
    unlisted = frames.udp_packet(way.vip, 81, CLIENT[way.family], next_port(), b"quoted in an error")
    wire.refuses(frames.too_big(router, unlisted, 1400), "not_answerable")
    others = frames.too_big(router, request(way), 1400)
    kind = 1 if way.family == 6 else 3
    wire.refuses(frames.icmp(router, way.vip, kind, 1, others[frames.HEADER_LENGTH[way.family] + 4 :]), "icmp")


@of_any
@pytest.mark.parametrize("flags", [SYN, ACK, SYN | ACK, FIN | ACK])
def test_resets_have_the_numbers_that_a_stack_accepts(wire, way, flags):
    """RFC 9293 section 3.10.7.1: from the acknowledgement where there is one, else acknowledging all that came."""
    packet = segment(way, flags, port=81, payload=b"data")
    _, reset = wire.answer(packet)
    sequence, acknowledged, _, got = struct.unpack("!IIBB", reset[frames.header_length(reset) + 4 :][:10])
    if flags & ACK:
        assert (sequence, acknowledged, got) == (0, 0, RST)  # the packet acknowledges 0
    else:
        assert (sequence, acknowledged, got) == (0, 0x01020304 + 1 + 4, RST | ACK)
    assert frames.checksum(frames.pseudo_header(*frames.addresses_of(reset), frames.PROTOCOL_TCP, 20)
                           + reset[-20:]) == 0


@of_any
@pytest.mark.parametrize("ecn", range(4), ids=["not-ect", "ect1", "ect0", "ce"])
def test_dscp_and_ecn_are_carried(wire, way, ecn):
    """Inside as they came; outside the same (RFC 2983's uniform model, RFC 6040 section 4.1)."""
    packet = request(way, traffic_class=46 << 2 | ecn)
    wire.forwards(way, packet)
    wire.send(packet)
    outer = wire.steered(packet[-8:]).packet
    seen = outer[1] if outer[0] >> 4 == 4 else int.from_bytes(outer[:2], "big") >> 4 & 0xFF
    assert seen == 46 << 2 | ecn


@of_any
def test_ttl_is_decremented_and_ends(wire, way):
    """Two balancers that take each other for the backend would otherwise keep a packet for ever."""
    for ttl in (255, 64, 2):
        wire.forwards(way, request(way, ttl=ttl))
    for ttl in (1, 0):
        wire.refuses(request(way, ttl=ttl), "ttl_expired")


@of_any
def test_padding_of_short_frames_is_not_payload(wire, way):
    """A frame of at least 60 bytes holds more than its packet; the tunnel's lengths are those of the packet."""
    packet = segment(way, ACK)
    wire.send(packet + b"PADDED")
    got = wire.steered(packet[-8:] + b"PADDED", 0.5) or wire.steered(packet[-8:], 0.5)
    carried = got.packet.removesuffix(b"PADDED")
    assert unwrapped(way, carried, wire.lab.lb, wire.lab.nodes[got.backend]) == frames.one_hop_on(packet)


@both
def test_impossible_sources_get_no_answer(plain, family):
    vip = "192.0.2.10" if family == 4 else "2001:db8::10"
    for source in ("127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", vip) if family == 4 else \
            ("::1", "ff02::1", "::", vip):
        plain.refuses(frames.echo_request(source, vip, 7), "not_answerable")
        plain.refuses(frames.tcp_packet(source, 4242, vip, 81, SYN), "not_answerable")


@both
def test_answers_leave_other_traffic_of_the_flow_alone(plain, family):
    """Refusing one port of a VIP is no reason to disturb the others."""
    vip = "192.0.2.10" if family == 4 else "2001:db8::10"
    plain.answer(segment(vip, SYN, port=81))
    assert curl(plain.lab.client, vip) in ("master", "slave")
