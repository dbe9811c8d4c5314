# SPDX-License-Identifier: Apache-2.0
"""Paths with a smaller MTU than their ends know of: transfers go through, and their senders learn what fits.

    client ── far router ══ router ── switch ── balancer ══ backends

The double lines are narrow. The answers' way misses the balancer, but the router's message about them is for the VIP, so
it comes to the balancer, which has to find the backend that it is meant for.
"""

import contextlib
import hashlib

import pytest

import frames
from frames import mtu_said, tags_and_packet
from lab import http_url, wait_for
from traffic import udp_ask, upload
from ways import every_way

NARROW = 1440  # between the routers
BEHIND = 1400  # from the balancer to the backends, tunnel headers included


@pytest.fixture(params=every_way())
def way(request):
    return request.param


@pytest.fixture
def lab(lab_of, way):
    lab = lab_of(way.forward, narrow=NARROW)
    for name in ("client", "master", "slave"):
        lab.nodes[name].forget_paths()
    return lab


@contextlib.contextmanager
def narrow_behind(lab, way):
    """The balancer's routes to the backends carry BEHIND bytes at most; lbd follows its routes."""
    addresses = [lab.nodes[name].address(way.outer) for name in ("master", "slave")]

    def known():
        return [b["mtu"] for b in lab.lbd.lbctl_json("backends")["backends"] if b["pool"] == way.name]

    lab.lb.batch([f"route replace {address} dev eth0 mtu {BEHIND}" for address in addresses])
    try:
        wait_for(lambda: known() == [BEHIND, BEHIND], "lbd to learn of the narrow routes")
        yield
    finally:
        lab.lb.batch([f"route del {address} dev eth0" for address in addresses])


def path_mtu(node, destination, source=None):
    """What the node has learnt about its way to the destination; None for nothing."""
    words = node.run("ip", "route", "get", destination, *(["from", source] if source else [])).stdout.split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words and "expires" in words else None


def messages(cable, to):
    """(source, MTU) of each message about a path MTU to this address that a cable has seen."""
    packets = [tags_and_packet(frame)[1] for frame in cable.seen(lambda f: frames.ethertype_of(f) in (0x0800, 0x86dd))]
    return [(frames.addresses_of(p)[0], mtu_said(p)) for p in packets
            if mtu_said(p) is not None and frames.addresses_of(p)[1] == to]


def download(lab, vip):
    """Name of the server, and the digest of what came."""
    target = lab.folder / "download"
    headers = lab.client.run("curl", "-sS", "-g", "--fail", "--max-time", "20", "-D", "-", "-o", target,
                             http_url(vip, path="/large")).stdout.splitlines()
    server = next(line.split()[1] for line in headers if line.lower().startswith("x-server:"))
    return server, hashlib.sha256(target.read_bytes()).hexdigest()


def test_large_download(lab, way):
    """The router between narrows the answers' way: what it says to the VIP reaches the backend that sends."""
    hosts = {name: lab.nodes[name].cable() for name in ("master", "slave")}
    with contextlib.ExitStack() as stack:
        for cable in hosts.values():
            stack.enter_context(cable)
        server, digest = download(lab, way.vip)
        assert digest == lab.servers[server].large_sha256
        told = {name: messages(cable, way.vip) for name, cable in hosts.items()}
    other = "slave" if server == "master" else "master"
    router = "192.0.2.1" if way.family == 4 else "2001:db8::1"
    assert set(told[server]) == {(router, NARROW)} and not told[other]
    assert path_mtu(lab.nodes[server], lab.client.address(way.family), way.vip) == NARROW
    assert path_mtu(lab.nodes[other], lab.client.address(way.family), way.vip) is None


def test_large_upload(lab, way):
    """The way behind the balancer is narrower than the client's: the balancer says what fits, less its own headers."""
    data = (lab.folder / "large").read_bytes()
    before = lab.lbd.metrics().total("answered_packets_total", kind="frag_needed")
    with narrow_behind(lab, way), lab.client.cable() as cable:
        server, count, digest = upload(lab.client, way.vip, data)
        assert (count, digest) == (len(data), hashlib.sha256(data).hexdigest())
        told = messages(cable, lab.client.address(way.family))
        assert path_mtu(lab.client, way.vip) == BEHIND - way.overhead
    assert (way.vip, BEHIND - way.overhead) in told
    # The far router had its say first; nobody else did, and nothing that would not fit.
    gateway = "198.51.100.1" if way.family == 4 else "2001:db8:1::1"
    assert set(told) <= {(gateway, NARROW), (way.vip, BEHIND - way.overhead)}
    answered = lab.lbd.metrics().total("answered_packets_total", kind="frag_needed") - before
    assert answered == sum(source == way.vip for source, _ in told)


@pytest.fixture
def datagrams(lab):
    """Both backends answer datagrams; a server a lab is enough."""
    if not hasattr(lab, "datagrams"):
        lab.datagrams = [lab.python_server(lab.nodes[name], "udp", 53) for name in ("master", "slave")]


def test_datagrams_of_8_kb_arrive_whole(lab, way, datagrams):
    """Six fragments each, of which only the first has ports; an answer of the same length proves that all came to one
    backend. IPv4's are cut once more on the way, IPv6's sender is told to cut smaller."""
    payload, heard = bytes(range(32, 127)) * 85, set()  # 8,075 bytes

    def both_heard():
        heard.add(udp_ask(lab.client, way.vip, 53, payload, 0.3).partition(" ")[0])
        return {"master", "slave"} <= heard

    wait_for(both_heard, "the client and both backends to learn of their paths")
    before = lab.lbd.metrics().total("drops_total", reason="fragment_orphan")
    answers = [udp_ask(lab.client, way.vip, 53, payload) for _ in range(24)]
    assert {answer.partition(" ")[2] for answer in answers} == {payload.decode()}
    assert {answer.partition(" ")[0] for answer in answers} == {"master", "slave"}
    assert lab.lbd.metrics().total("drops_total", reason="fragment_orphan") == before
