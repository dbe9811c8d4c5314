# SPDX-License-Identifier: Apache-2.0
"""What is not forwarded: answered for VIPs and for VIPs alone, refused clearly, or dropped and counted."""

import time

import pytest

from lab import VIP4, VIP6, CHECK, curl, packets, wait_for
from traffic import neighbour, ping, tcp_connect, udp_ask

FAMILIES = pytest.mark.parametrize("lab", [4, 6], ids=["v4", "v6"], indirect=True)


@pytest.fixture(scope="class")
def lab(class_bench, request):
    family = request.param
    lab = class_bench.served(families=(family,), services=[{}, {"name": "dns", "ports": [53], "protocol": "udp"}])
    lab.family, lab.vip = family, VIP4 if family == 4 else VIP6
    for name in ("master", "slave"):
        lab.python_server(lab.nodes[name], "udp", 53)
    return lab


def answered(lab, kind):
    return lab.lbd.metrics().total("answered_packets_total", kind=kind)


@FAMILIES
class TestAnswers:
    def test_echo_and_neighbour_for_the_vip(self, lab):
        before = answered(lab, "echo"), answered(lab, "arp") + answered(lab, "nd")
        assert ping(lab.client, lab.vip, count=3) == 3
        assert ping(lab.client, lab.vip, count=1, payload=bytes(range(256)) * 4) == 1
        assert neighbour(lab.client, lab.vip)[0] == lab.lb.mac
        assert answered(lab, "echo") - before[0] == 4
        assert answered(lab, "arp") + answered(lab, "nd") >= before[1] + 1

    def test_nothing_for_other_addresses(self, lab):
        """An address that nobody has stays nobody's; the balancer's own is its kernel's to answer for."""
        nobody = "192.0.2.77" if lab.family == 4 else "2001:db8::77"
        before = {kind: answered(lab, kind) for kind in ("echo", "arp", "nd", "reset", "unreachable")}
        assert ping(lab.client, nobody, count=1) == 0
        assert neighbour(lab.client, nobody)[0] is None
        assert ping(lab.client, lab.lb.address(lab.family), count=2) == 2
        assert tcp_connect(lab.client, lab.lb.address(lab.family), 4242) == "refused"
        after = {kind: answered(lab, kind) for kind in before}
        # The kernels' own look-ups of each other's and the VIP's address may go on meanwhile.
        assert all(after[kind] == before[kind] for kind in ("echo", "reset", "unreachable"))

    def test_udp_service(self, lab):
        for _ in range(10):
            assert udp_ask(lab.client, lab.vip, 53) == "master hello"

    def test_unlisted_udp_port_is_unreachable_at_once(self, lab):
        before = answered(lab, "unreachable")
        assert udp_ask(lab.client, lab.vip, 5353) == "refused"
        assert answered(lab, "unreachable") == before + 1

    def test_unlisted_tcp_port_is_refused_at_once(self, lab):
        before = answered(lab, "reset")
        assert tcp_connect(lab.client, lab.vip, 81, timeout=0.9) == "refused"
        assert answered(lab, "reset") == before + 1

    def test_unlisted_port_with_forwarding_on(self, lab):
        """The host must not see the packet: it would send it back out, and redirects after it."""
        lab.lb.sysctl(**{"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1,
                         "net.ipv4.conf.all.send_redirects": 1, "net.ipv4.conf.eth0.send_redirects": 1})
        try:
            wire = lab.capture(lab.sw, "tcp port 83 or icmp[0]=5 or icmp6[0]=137", interface="p-lb")
            assert tcp_connect(lab.client, lab.vip, 83, timeout=0.9) == "refused"
            lines = wait_for(lambda: packets(wire) if len(packets(wire)) >= 2 else None, "the capture")
            time.sleep(0.3)  # a loop or a redirect would show by now
            lines = packets(wire)
            assert len(lines) == 2, lines
            assert "Flags [S]" in lines[0] and "Flags [R" in lines[1] and "edirect" not in "".join(lines)
            assert curl(lab.client, lab.vip) == "master"
        finally:
            lab.lb.sysctl(**{"net.ipv4.ip_forward": 0, "net.ipv6.conf.all.forwarding": 0})

    def test_all_down_reset_then_back(self, lab):
        for server in lab.servers.values():
            server.stop()
        lab.lbd.wait_up(master=False, slave=False)
        before = answered(lab, "reset")
        # Far from the port's kernel too: cut off, so that only the balancer can refuse.
        lab.cut_link(lab.master)
        lab.cut_link(lab.slave)
        try:
            wait_for(lambda: tcp_connect(lab.client, lab.vip, 80, timeout=0.9) == "refused", "a refusal")
            for _ in range(5):
                assert tcp_connect(lab.client, lab.vip, 80, timeout=0.9) == "refused"
            assert answered(lab, "reset") >= before + 6
            # A datagram may be of a flow that is older than the failure, until its backend is dead (failure_grace).
            wait_for(lambda: udp_ask(lab.client, lab.vip, 53) == "refused", "a refusal of datagrams", 30)
        finally:
            lab.mend_link(lab.master)
            lab.mend_link(lab.slave)
            for server in lab.servers.values():
                server.start()
        lab.lbd.wait_up(master=True, slave=True)
        wait_for(lambda: curl(lab.client, lab.vip, check=False) == "master", "the Master")


@pytest.mark.parametrize("family", [4, 6])
def test_drop_is_silent_and_counted(bench, family):
    lab = bench.served(families=(family,), pool={"all_down": "drop"}, services=[{"unlisted": "drop"}])
    vip = VIP4 if family == 4 else VIP6

    def dropped(reason):
        return lab.lbd.metrics().total("drops_total", reason=reason)

    assert tcp_connect(lab.client, vip, 81, timeout=0.5) == "timeout"
    assert udp_ask(lab.client, vip, 53, timeout=0.3) == "timeout"
    assert dropped("unlisted") == 2
    for server in lab.servers.values():
        server.stop()
    lab.lbd.wait_up(master=False, slave=False)
    assert tcp_connect(lab.client, vip, 80, timeout=0.5) == "timeout"
    assert dropped("all_down") >= 1
    assert answered(lab, "reset") == 0


def test_all_down_any_uses_all(bench):
    lab = bench.served(families=(4,), pool={"all_down": "any", "checks": [{**CHECK, "path": "/absent"}]}, start=False)
    lab.lbd.start()
    lab.lbd.wait_up(master=False, slave=False)
    wait_for(lambda: curl(lab.client, VIP4, check=False) in ("master", "slave"), "a backend although none is healthy")
