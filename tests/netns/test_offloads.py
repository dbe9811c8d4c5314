# SPDX-License-Identifier: Apache-2.0
"""Senders and receivers on the balancer's own machine that leave work to a card which is not there: half-made checksums
and merged segments. Nothing can be done for them, but it is counted, explained, and never answered wrongly."""

import hashlib
import socket

import pytest

import frames
from frames import ACK, ETHERTYPE, ethernet
from lab import curl, wait_for
from steering import CLIENT, QUIET_S, Wire, is_from, next_port
from traffic import tcp_connect
from ways import L2DSR

by_name = pytest.mark.parametrize("way", L2DSR, ids=lambda way: way.name)


def offload(lab, state):
    """What the segment's last sender leaves to the balancer's card: checksums, and with them the cutting of segments."""
    lab.sw.run("ethtool", "-K", lab.lb.peer(), "tx", state, "tso", state)


class TestChecksums:
    """The veth beside the balancer's has its offload on, as every veth and tap has by default."""

    @pytest.fixture(scope="class")
    def wire(self, class_bench):
        return Wire(class_bench.ways(L2DSR))

    @pytest.fixture
    def left_on(self, wire):
        offload(wire.lab, "on")
        yield
        offload(wire.lab, "off")

    @by_name
    def test_a_connection_is_counted_and_explained(self, wire, way, left_on):
        before = wire.counts()
        assert tcp_connect(wire.lab.client, way.vip, 80, timeout=0.5) == "timeout"
        after = wire.counts()
        assert after["checksum_offload"] > before["checksum_offload"]
        assert after["reset"] == before["reset"]
        assert "ethtool -K" in wire.lab.lbd.lbctl("counters").stdout

    @by_name
    def test_a_refusal_is_right_all_the_same(self, wire, way, left_on):
        """The reset answers a segment whose own checksum is unfinished; the client's stack checks that of the reset."""
        before = wire.counts()
        assert tcp_connect(wire.lab.client, way.vip, 81, timeout=0.9) == "refused"
        assert wire.counts()["reset"] == before["reset"] + 1

    @by_name
    def test_mended_as_the_counter_says(self, wire, way):
        assert curl(wire.lab.client, way.vip) in ("master", "slave")


class TestSuperframes:
    """In generic mode the program sees what the sender's stack has merged. (GRO of the balancer's own is switched off by
    the kernel itself where a generic program is attached.)"""

    @pytest.fixture(scope="class")
    def wire(self, class_bench):
        lab = class_bench.ways(L2DSR, nodes={"lb": {"engine": "xdp-generic"}})
        assert lab.lbd.attached_mode() == "generic"
        return Wire(lab)

    @by_name
    def test_from_a_sender_beside_us(self, wire, way):
        """One frame of 20 segments, as TSO hands it over."""
        offload(wire.lab, "on")
        client, header = CLIENT[way.family], 14 + frames.HEADER_LENGTH[way.family] + 20
        packet = frames.tcp_packet(client, next_port(), way.vip, 80, ACK, bytes(20 * 1400))
        frame = ethernet(wire.balancer, wire.client, ETHERTYPE[way.family], packet)
        length = 14 + len(packet) - (header - 20)  # of the TCP segment
        left = frames.checksum(frames.pseudo_header(client, way.vip, frames.PROTOCOL_TCP, length)) ^ 0xFFFF
        frame = frame[: header - 4] + left.to_bytes(2, "big") + frame[header - 2 :]
        try:
            with wire.counted("superframe"):
                wire.cable.drain()
                wire.cable.send_superframe(frame, way.family, header, 1400)
        finally:
            offload(wire.lab, "off")
        answer = wire.cable.expect(lambda f: f[:6] == wire.client and is_from(f, way.vip), QUIET_S)
        assert answer is None, "a sender was told of a size that it never sent"

    @by_name
    def test_upload_whose_segments_nobody_cut(self, wire, way):
        """The offload is switched on under an open connection. The upload suffers, the counter says why, and nothing of
        what came through was harmed."""
        lab, half = wire.lab, bytes(range(256)) * 4096
        before = wire.counts()
        with lab.client.inside():
            connection = socket.create_connection((way.vip, 8080), timeout=20)
        with connection:
            connection.sendall(half)
            offload(lab, "on")
            try:
                connection.setblocking(False)
                sent = connection.send(half)
                wait_for(lambda: wire.counts()["superframe"] > before["superframe"], "a merged segment")
            finally:
                offload(lab, "off")
            connection.settimeout(20)
            connection.sendall(half[sent:])
            connection.shutdown(socket.SHUT_WR)
            _, size, digest = connection.recv(4096).decode().split()
        assert (int(size), digest) == (2 * len(half), hashlib.sha256(2 * half).hexdigest())
        assert wire.counts()["frag_needed"] == before["frag_needed"]
