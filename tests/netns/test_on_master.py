# SPDX-License-Identifier: Apache-2.0
"""Balancers on Master and Slave themselves: the local backend, the remote one, and a packet is steered once."""

import time
from collections import Counter, defaultdict

import pytest

import frames
from lab import VIP4, VIP6, curl, wait_for
from load import Load
from steering import mac_bytes, said_by, unwrapped
from traffic import curl_many, download_sha256
from ways import Way

MODES = [(forward, family) for forward in ("l2dsr", "ipip", "gue") for family in (4, 6)]


def vip_at(lab, node, vip):
    """Without [ha] (test_ha.py has it) the client's neighbour entry says which node holds the VIP."""
    lab.client.run("ip", "neigh", "replace", vip, "lladdr", node.mac, "dev", "eth0", "nud", "permanent")


@pytest.fixture(params=MODES, ids=lambda mode: f"{mode[0]}-v{mode[1]}")
def lab(bench, request):
    forward, family = request.param
    lab = bench.served(forward, (family,), topology="on-master")
    lab.vip = VIP4 if family == 4 else VIP6
    lab.way = Way(forward, family, family)
    return lab


def test_local_backend_and_remote_slave(lab):
    vip_at(lab, lab.master, lab.vip)
    assert lab.lbds["master"].attached_mode() == lab.lbds["slave"].attached_mode() == "native"
    assert curl_many(lab.client, lab.vip, 10) == ["master"] * 10
    assert download_sha256(lab, lab.client, lab.vip) == lab.servers["master"].large_sha256
    # Master itself serves no more: its program steers to the Slave, whose program hands up what arrives.
    lab.servers["master"].stop()
    lab.lbds["master"].wait_up(master=False, slave=True)
    wait_for(lambda: curl(lab.client, lab.vip, check=False) == "slave", "the Slave")
    assert curl_many(lab.client, lab.vip, 10) == ["slave"] * 10
    assert download_sha256(lab, lab.client, lab.vip) == lab.servers["slave"].large_sha256
    # Once the Master is dead altogether, the Slave serves the VIP from its own node.
    lab.cut_link(lab.master)
    lab.lbds["slave"].wait_up(master=False, slave=True)
    vip_at(lab, lab.slave, lab.vip)
    wait_for(lambda: curl(lab.client, lab.vip, check=False) == "slave", "the Slave by itself")
    assert curl_many(lab.client, lab.vip, 10) == ["slave"] * 10


def steered(lab, cable, sender, receiver):
    """{what stays the same of a client's packet on its way, all behind its IP header: [seconds]} of what one node sent the
    other."""
    client, times = lab.client.address(lab.way.family), defaultdict(list)
    for frame, seconds in cable.timed():
        if frame[:6] == mac_bytes(receiver.mac) and not said_by(sender, frame):
            packet = unwrapped(lab.way, frame[14:], sender, receiver)
            assert frames.addresses_of(packet) == (client, lab.vip)
            times[packet[frames.header_length(packet) :]].append(seconds)
    return times


def close(some, others):
    """Whether any of these moments lie within a tenth of a second: the same packet, and not one sent again."""
    return any(one is not other and abs(one - other) < 0.1 for one in some for other in others)


def test_opposite_views(lab):
    """For 5 s Master would have the Slave serve and the Slave would have Master serve. What one sends the other is
    served there: no packet goes over the link between them twice, and no request fails."""
    lab.lbds["master"].lbctl("drain", "master")
    wait_for(lambda: curl(lab.client, lab.vip, check=False) is not None, "an answer")
    vip_at(lab, lab.master, lab.vip)
    wait_for(lambda: curl(lab.client, lab.vip, check=False) == "slave", "Master's view")
    vip_at(lab, lab.slave, lab.vip)
    wait_for(lambda: curl(lab.client, lab.vip, check=False) == "master", "the Slave's view")

    between = {name: lab.sw.cable(lab.nodes[name].peer()) for name in ("master", "slave")}
    deadline, node, records = time.monotonic() + 5, lab.master, []
    while time.monotonic() < deadline:
        vip_at(lab, node, lab.vip)
        with Load(lab, lab.client, lab.vip, pace=0.02, burst=2) as load:
            time.sleep(1.2)
            batch = load.stop()
        expected = "slave" if node is lab.master else "master"
        assert batch and all(r.result == "ok" and r.server == expected for r in batch), \
            Counter((r.result, r.server) for r in batch)
        records += batch
        node = lab.slave if node is lab.master else lab.master
    time.sleep(0.2)
    crossed = {"master": steered(lab, between["master"], lab.master, lab.slave),
               "slave": steered(lab, between["slave"], lab.slave, lab.master)}
    for name in crossed:
        assert sum(map(len, crossed[name].values())) >= len(records), f"little crossed from {name}"
    both_ways = [key for key in crossed["master"].keys() & crossed["slave"].keys()
                 if close(crossed["master"][key], crossed["slave"][key])]
    assert not both_ways, f"crossed in both directions: {both_ways[:3]}"
    again = [key for times in crossed.values() for key, t in times.items() if key[13] == frames.SYN and close(t, t)]
    assert not again, f"crossed twice in one direction: {again[:3]}"
