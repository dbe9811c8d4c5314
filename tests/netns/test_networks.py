# SPDX-License-Identifier: Apache-2.0
"""Networks other than one untagged segment of 1,500 bytes: VLANs, two interfaces, jumbo frames; with real stacks."""

import hashlib

import pytest

import frames
from frames import SERVICE_VLAN, SYN, VLAN
from lab import VIP4, node_tables
from steering import Wire, request, segment
from traffic import curl_many, download_sha256, neighbour, ping, tcp_connect, upload
from ways import IPIP, L2DSR


def serves(lab, way, count=20):
    """Both backends answer, nobody else, and large transfers are whole both ways."""
    assert set(curl_many(lab.client, way.vip, count)) == {"master", "slave"}
    assert download_sha256(lab, lab.client, way.vip) == lab.servers["master"].large_sha256
    data = (lab.folder / "large").read_bytes()
    server, size, digest = upload(lab.client, way.vip, data)
    assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())


def by_name(ways):
    return pytest.mark.parametrize("way", ways, ids=lambda way: way.name)


class TestTaggedHosts:
    """Every host is on tagged networks, the balancer too. It is not told so: what comes tagged leaves tagged."""

    @pytest.fixture(scope="class", params=[(7, None), (5, 7)], ids=["802.1Q", "802.1ad"])
    def lab(self, class_bench, request):
        lab = class_bench.ways(L2DSR, tags=request.param, mtu=1508)
        # Two tags are 4 bytes more than a frame may have beyond its interface's MTU, so the client keeps below that.
        lab.client.batch(["route replace 192.0.2.0/24 dev eth0 mtu 1500",
                          "route replace 2001:db8::/64 dev eth0 metric 256 mtu 1500"])
        return lab

    @by_name(L2DSR)
    def test_served(self, lab, way):
        assert ping(lab.client, way.vip) == 3
        assert neighbour(lab.client, way.vip)[0] == lab.lb.mac
        assert tcp_connect(lab.client, way.vip, 81, timeout=0.9) == "refused"
        serves(lab, way)


class TestVlanOfTheNode:
    """`interfaces = [{ name = "eth0", vlan = 7 }]`: VIPs are on that VLAN and on no other."""

    @pytest.fixture(scope="class")
    def wire(self, class_bench):
        return Wire(class_bench.ways(L2DSR, tags=(7, None), nodes={
            "lb": {"interface": None, "interfaces": [{"name": "eth0", "vlan": 7}]}}))

    @by_name(L2DSR)
    def test_served_on_its_vlan(self, wire, way):
        serves(wire.lab, way)

    @by_name(L2DSR)
    @pytest.mark.parametrize("tags", [[], [(VLAN, 8)], [(SERVICE_VLAN, 8), (VLAN, 7)]], ids=["untagged", "8", "7-in-8"])
    def test_other_vlans_are_the_hosts(self, wire, way, tags):
        packets = [request(way), segment(way, SYN), segment(way, SYN, port=81),
                   frames.echo_request("192.0.2.100" if way.family == 4 else "2001:db8::100", way.vip, 7)]
        with wire.counted("other_vlan", len(packets)):
            for packet in packets:
                wire.leaves_alone(wire.frame(packet, tags))

    def test_asked_for_on_another_vlan(self, wire):
        """Whoever has the address there may answer."""
        question = frames.arp_request(wire.client, "192.0.2.100", VIP4)
        wire.leaves_alone(question[:12] + bytes.fromhex("81000008") + question[12:])
        answer = wire.cable.expect(lambda f: f[:6] == wire.client and f[12:16] == bytes.fromhex("81000008"), 0.2)
        assert answer is None


class TestVlanOfABackend:
    """Clients on one VLAN, a backend on another, reached by a MAC address that the file states: what an interface of the
    backend's VLAN would resolve, had this kernel VLAN devices."""

    @pytest.fixture(scope="class")
    def wire(self, class_bench):
        lab = class_bench.lab()
        more = {"master": {"vlan": 8, "mac": lab.master.mac}, "slave": {"mac": lab.slave.mac}}
        pools = "".join(way.pool(lab, more, checks=[]) for way in L2DSR)
        class_bench.balance(lab, node_tables(lab) + pools)
        return Wire(lab)

    @by_name(L2DSR)
    @pytest.mark.parametrize("tags", [[], [(VLAN, 7)], [(VLAN, 8)]], ids=["untagged", "7", "8"])
    def test_leaves_on_the_backends_vlan(self, wire, way, tags):
        chosen = set()
        for _ in range(12):
            packet = request(way)
            wire.send(packet, tags)
            got = wire.steered(packet[-8:])
            assert got.packet == frames.one_hop_on(packet)
            assert got.tags == ([(VLAN, 8)] if got.backend == "master" else tags)
            chosen.add(got.backend)
        assert chosen == {"master", "slave"}


@pytest.mark.parametrize("ways", [L2DSR, IPIP], ids=["l2dsr", "ipip"])
def test_two_networks(bench, ways):
    """In by one interface, out by another, with the other's MAC address; answers come back past the balancer."""
    lab = bench.ways(ways, two_networks=True, nodes={"lb": {"interface": None, "interfaces": ["eth0", "eth1"]}})
    assert lab.lbd.attached_mode("eth0") == lab.lbd.attached_mode("eth1") == "native"
    with lab.sw.cable(lab.lb.peer("eth1")) as behind:
        for way in ways:
            serves(lab, way)
            packet = request(way)
            Wire(lab).send(packet)
            sent = behind.expect(lambda f, tail=packet[-8:]: f.endswith(tail), 2)
            assert sent[6:12].hex(":") == lab.mac_of(lab.lb, "eth1")


@pytest.mark.parametrize("ways", [L2DSR, IPIP], ids=["l2dsr", "ipip"])
def test_jumbo_frames(bench, ways):
    """More than a page of memory holds: such frames come in several buffers."""
    lab = bench.ways(ways, mtu=9000)
    assert lab.lbd.attached_mode() == "native"
    for way in ways:
        with lab.sw.cable(lab.lb.peer()) as cable:
            serves(lab, way)
            assert max(map(len, cable.seen())) > 8192
    assert lab.lbd.lbctl_json("status")["ports"][0]["mtu"] == 9000
