# SPDX-License-Identifier: Apache-2.0
"""Each way of forwarding, over IPv4 and IPv6, with nginx behind the VIP and curl in front of it."""

import hashlib

import pytest

import frames
from lab import VIP4, VIP6, curl, packets, wait_for
from steering import mac_bytes, said_by, unwrapped
from traffic import curl_many, download_sha256, neighbour, ping, upload
from ways import Way

MODES = [pytest.param(("l2dsr", 4), id="l2dsr-v4", marks=pytest.mark.smoke), pytest.param(("l2dsr", 6), id="l2dsr-v6"),
         pytest.param(("ipip", 4), id="ipip-v4"), pytest.param(("ipip", 6), id="ipip-v6"),
         pytest.param(("gue", 4), id="gue-v4"), pytest.param(("gue", 6), id="gue-v6")]


@pytest.fixture(scope="class", params=MODES)
def lab(class_bench, request):
    """The client is behind a router: answers take a way of their own, past the balancer."""
    forward, family = request.param
    vip = VIP4 if family == 4 else VIP6
    lab = class_bench.served(forward, (family,), router=True, services=[{}, {"name": "upload", "ports": [8080]}])
    lab.forward, lab.family, lab.vip = forward, family, vip
    for name in ("master", "slave"):
        lab.python_server(lab.nodes[name], "upload", 8080)
    return lab


class TestForward:
    def test_native_and_nothing_else_forwards(self, lab):
        assert lab.lbd.attached_mode() == "native"
        assert lab.lb.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "0"
        assert lab.vip not in lab.lb.run("ip", "-o", "addr").stdout

    def test_every_request_is_counted_once(self, lab):
        def counted(name):
            metrics = lab.lbd.metrics()
            return (metrics.total("service_syns_total", service="web"), metrics.total("backend_syns_total", backend=name),
                    metrics.total("backend_packets_total", backend=name))
        seen, before = len(lab.servers["master"].requests(lab.vip)), counted("master")
        assert curl_many(lab.client, lab.vip, 20) == ["master"] * 20
        wait_for(lambda: len(lab.servers["master"].requests(lab.vip)) - seen == 20, "nginx's log")
        after = counted("master")
        assert after[0] - before[0] == 20 and after[1] - before[1] == 20
        assert after[2] - before[2] >= 20 * 3
        assert not lab.servers["slave"].requests(lab.vip)

    def test_download_is_intact(self, lab):
        assert download_sha256(lab, lab.client, lab.vip) == lab.servers["master"].large_sha256

    def test_upload_is_intact_and_needs_no_icmp(self, lab):
        data = (lab.folder / "large").read_bytes()
        capture = lab.capture(lab.client, "icmp or icmp6[0]=2")
        before = lab.lbd.metrics().total("drops_total", reason="too_big")
        server, count, digest = upload(lab.client, lab.vip, data)
        assert (server, count, digest) == ("master", len(data), hashlib.sha256(data).hexdigest())
        assert lab.lbd.metrics().total("drops_total", reason="too_big") == before
        assert not packets(capture), "the upload depended on ICMP"

    def test_what_the_backend_receives(self, lab):
        """Addressed to its MAC; inside a tunnel from the balancer's address, or plain; one hop further."""
        way = Way(lab.forward, lab.family, lab.family)
        with lab.sw.cable(lab.lb.peer()) as cable:
            assert curl(lab.client, lab.vip) == "master"
            to_master = cable.seen(lambda f: f[:12] == mac_bytes(lab.master.mac) + mac_bytes(lab.lb.mac))
        steered = [f[14:] for f in to_master if not said_by(lab.lb, f)]
        carried = [unwrapped(way, packet, lab.lb, lab.master) for packet in steered]
        assert {frames.addresses_of(packet) for packet in carried} == {(lab.client.address(lab.family), lab.vip)}
        # 64 from the client, one less by the router, one less by the balancer.
        assert {frames.ttl_of(packet) for packet in carried} == {62} and len(carried) >= 4

    def test_balancer_answers_for_the_vip(self, lab):
        assert ping(lab.router, lab.vip) == 3
        mac, _ = neighbour(lab.router, lab.vip)
        assert mac == lab.lb.mac

    def test_failover_and_return(self, lab):
        lab.servers["master"].stop()
        lab.lbd.wait_up(master=False, slave=True)
        wait_for(lambda: curl(lab.client, lab.vip, check=False) == "slave", "the Slave")
        assert curl_many(lab.client, lab.vip, 10) == ["slave"] * 10
        lab.servers["master"].start()
        lab.lbd.wait_up(master=True, slave=True)
        wait_for(lambda: curl(lab.client, lab.vip, check=False) == "master", "the Master")
        assert curl_many(lab.client, lab.vip, 10) == ["master"] * 10


def test_spread_over_one_tier(bench):
    """Two backends of one tier with weights 3 and 1 share new connections so."""
    lab = bench.served(families=(4,), backends=[{"name": "master", "address": "192.0.2.11", "weight": 300},
                                                {"name": "slave", "address": "192.0.2.12", "weight": 100}])
    names = curl_many(lab.client, VIP4, 400)
    assert None not in names
    # 400 draws with p = 3/4: standard deviation 8.7; five of them on either side.
    assert 256 <= names.count("master") <= 344


def test_client_ip_affinity(bench):
    """All connections of one client, to all ports of a pool, reach one backend."""
    backends = [{"name": "master", "address": "192.0.2.11"}, {"name": "slave", "address": "192.0.2.12"}]
    lab = bench.served(families=(4,), backends=backends, pool={"affinity": "client-ip"}, ports=(80, 81),
                       services=[{"ports": [80, 81]}])
    chosen = set()
    for number in range(101, 125):
        lab.client.run("ip", "addr", "add", f"192.0.2.{number}/24", "dev", "eth0")
        names = {lab.client.run("curl", "-sS", "--interface", f"192.0.2.{number}", f"http://{VIP4}:{port}/").stdout.strip()
                 for port in (80, 81, 80, 81)}
        assert len(names) == 1, f"client 192.0.2.{number} reached {names}"
        chosen |= names
    assert chosen == {"master", "slave"}, "24 clients on one backend"
