# SPDX-License-Identifier: Apache-2.0
"""Fairlead's VRRP beside Debian's keepalived, both ways round, and beside itself where processes die."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest
from vrrp import INTERVAL_S, VIPS, Fairlead, Keepalived, Wire, Witness, neighbour, remember_wrong, source_of

from lab import wait_for

FAMILIES = pytest.mark.parametrize("family", [4, 6])
FOREIGN = ["--foreign-peers"]
# Down timer of priority 100, and what a loaded machine adds.
DOWN_S = 3 * INTERVAL_S + 156 / 256 * INTERVAL_S
SLACK_S = 1.0


def refused(node):
    return {reason: count for reason, count in node.status()["refused"].items() if count}


@FAMILIES
def test_preempts_keepalived_and_hands_back(lab, family):
    wire = Wire(lab)
    keepalived = Keepalived(lab.slave, 100, family)
    keepalived.wait_active()
    for vip in VIPS[family]:
        remember_wrong(lab.client, vip)
    ours = Fairlead(lab.master, 150, family, arguments=FOREIGN).ready()
    ours.wait_active()
    assert ours.reason() == "preempted"
    keepalived.wait_active(False)
    for vip in VIPS[family]:
        wait_for(lambda v=vip: neighbour(lab.client, v) == lab.master.mac, f"the client to know where {vip} is")
    time.sleep(5 * INTERVAL_S)
    assert ours.active() and not keepalived.active() and refused(ours) == {}

    ours.stop()  # priority 0: keepalived does not wait for silence
    began = time.monotonic()
    keepalived.wait_active()
    assert time.monotonic() - began < INTERVAL_S + SLACK_S

    mine = wire.adverts(source_of(lab.master, family))
    assert len(mine) > 5 and mine[-1]["vrrp.prio"] == "0"
    for advert in mine:
        assert advert["_ws.malformed"] is None and advert["_ws.expert.message"] is None, advert
        assert advert["vrrp.checksum.status"] == "1", advert  # good
        assert (advert["ip.ttl"] or advert["ipv6.hlim"]) == "255"


@FAMILIES
def test_yields_to_keepalived_and_takes_over(lab, family):
    ours = Fairlead(lab.master, 100, family, arguments=FOREIGN).ready()
    ours.wait_active()
    keepalived = Keepalived(lab.slave, 150, family)
    keepalived.wait_active()
    ours.wait_active(False)
    assert ours.reason() == "yielded"
    time.sleep(5 * INTERVAL_S)
    assert keepalived.active() and not ours.active() and refused(ours) == {}
    keepalived.stop()
    ours.wait_active()
    assert ours.reason() == "peer_stopped"

    keepalived = Keepalived(lab.slave, 150, family)
    keepalived.wait_active()
    ours.wait_active(False)
    keepalived.kill()
    began = time.monotonic()
    ours.wait_active()
    assert ours.reason() == "silence"
    assert time.monotonic() - began < DOWN_S + SLACK_S


@FAMILIES
def test_keepalived_takes_over_in_silence(lab, family):
    ours = Fairlead(lab.master, 150, family, arguments=FOREIGN).ready()
    ours.wait_active()
    keepalived = Keepalived(lab.slave, 100, family)
    time.sleep(10 * INTERVAL_S)
    assert not keepalived.active()
    ours.kill()
    began = time.monotonic()
    keepalived.wait_active()
    assert time.monotonic() - began < DOWN_S + SLACK_S


def test_neither_preempts_where_told_not_to(lab):
    keepalived = Keepalived(lab.slave, 100, preempt=False)
    keepalived.wait_active()
    ours = Fairlead(lab.master, 150, arguments=[*FOREIGN, "--no-preempt"]).ready()
    time.sleep(15 * INTERVAL_S)
    assert keepalived.active() and not ours.active()
    keepalived.stop()
    ours.wait_active()
    keepalived = Keepalived(lab.slave, 200, preempt=False)
    time.sleep(15 * INTERVAL_S)
    assert ours.active() and not keepalived.active()


def test_finds_the_peers_way_of_the_checksum(lab):
    """keepalived does not believe adverts without the pseudo-header; ours does, and then sends them as it does."""
    ours = Fairlead(lab.master, 150, arguments=[*FOREIGN, "--no-pseudo-header"]).ready()
    ours.wait_active()
    keepalived = Keepalived(lab.slave, 100)
    wait_for(lambda: ours.status()["received"] > 0, "keepalived to speak")
    keepalived.wait_active(False)
    time.sleep(10 * INTERVAL_S)
    assert ours.active() and not keepalived.active() and refused(ours) == {}


def test_split_heals_and_the_clients_know(lab):
    """The switch parts two of ours; both are active; afterwards the better one is, and clients are told."""
    better = Fairlead(lab.master, 150).ready()
    worse = Fairlead(lab.slave, 100).ready()
    better.wait_active()
    lab.cut_link(lab.slave)
    worse.wait_active()
    assert better.active()
    remember_wrong(lab.client, VIPS[4][0])
    lab.mend_link(lab.slave)
    began = time.monotonic()
    worse.wait_active(False)
    assert time.monotonic() - began < 3 * INTERVAL_S + SLACK_S
    assert worse.reason() == "yielded" and better.active()
    wait_for(lambda: neighbour(lab.client, VIPS[4][0]) == lab.master.mac, "the client to know better", 3)
    assert better.status()["split_brains"] == 1


def test_killed_or_frozen_the_other_takes_over(lab):
    """kill -9, and SIGSTOP for longer than the lease: the other takes over, and whoever wakes up does not act."""
    better = Fairlead(lab.master, 150).ready()
    worse = Fairlead(lab.slave, 100).ready()
    better.wait_active()
    better.popen.send_signal(signal.SIGSTOP)
    worse.wait_active()
    assert worse.reason() == "silence"
    better.popen.send_signal(signal.SIGCONT)
    better.wait_active()  # by preempting
    assert [change["reason"] for change in better.changes()][-2:] == ["lease_lost", "preempted"]
    worse.wait_active(False)
    better.kill()
    worse.wait_active()


def test_unicast_peers(lab):
    first = Fairlead(lab.master, 150, arguments=["--peer", lab.slave.v4]).ready()
    second = Fairlead(lab.slave, 100, arguments=["--peer", lab.master.v4]).ready()
    keepalived = Keepalived(lab.client, 50, options=f"unicast_peer {{ {lab.master.v4} }}")
    first.wait_active()
    time.sleep(10 * INTERVAL_S)
    assert not second.active() and first.status()["split_brains"] == 0
    assert set(refused(first)) == {"peer"}  # keepalived is not among them
    keepalived.stop()


def advert(first=0x31, vrid=51, priority=254, count=1, interval=10, addresses=("192.0.2.10",), spoil=0):
    """An IPv4 advert to the group, with a checksum without pseudo-header."""
    body = struct.pack("!BBBBHH", first, vrid, priority, count, interval, 0) + b"".join(
        socket.inet_aton(address) for address in addresses)
    total = sum(struct.unpack(f"!{len(body) // 2}H", body))
    total = (total & 0xffff) + (total >> 16)
    checksum = ~((total & 0xffff) + (total >> 16)) & 0xffff
    return body[:6] + struct.pack("!H", checksum ^ spoil) + body[8:]


HOSTILE = [
    ("ttl", {}, 254, None), ("vrid", {"vrid": 99}, 255, None), ("checksum", {"spoil": 0x10}, 255, None),
    ("length", {}, 255, 11), ("length", {}, 255, 7), ("length", {"count": 2}, 255, None),
    ("version", {"first": 0x41}, 255, None), ("authentication", {"first": 0x21, "interval": 0x0101}, 255, None),
    ("type", {"first": 0x32}, 255, None), ("interval", {"interval": 0}, 255, None),
    ("addresses", {"addresses": ["198.51.100.1"]}, 255, None), ("count", {"count": 0, "addresses": []}, 255, None)]


def send_advert(lab, ttl, message):
    with lab.client.inside(), socket.socket(socket.AF_INET, socket.SOCK_RAW, 112) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(lab.client.v4))
        sender.sendto(message, ("224.0.0.18", 0))


def test_hostile_adverts_change_nothing_and_are_counted(lab):
    ours = Fairlead(lab.master, 100).ready()
    ours.wait_active()
    changes = ours.changes()
    expected = {}
    for reason, parts, ttl, cut in HOSTILE:
        expected[reason] = expected.get(reason, 0) + 1
        send_advert(lab, ttl, advert(**parts)[:cut])
    wait_for(lambda: refused(ours) == expected, f"refusals {expected}, now {refused(ours)}")
    assert ours.active() and ours.changes() == changes
    send_advert(lab, 255, advert())
    ours.wait_active(False)  # the same one, with nothing wrong about it, is believed
    assert ours.changes()[-1]["reason"] == "yielded"


def longest_stall_under_load():
    """Seconds that a real-time thread was not let run, while as many busy threads as twice the processors ran."""
    witness = Witness()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        time.sleep(60 if os.environ.get("FAIRLEAD_LONG") else 15)
    finally:
        for process in busy:
            process.kill()
            process.wait()
        stall_s = witness.stop()
    return stall_s


def test_busy_machine_at_10_ms(lab):
    """Four busy threads, adverts every 10 ms: no false takeover. FAIRLEAD_LONG=1: for a minute. Where the machine itself
    stood still for longer than a lease can go without renewal, that says nothing of Fairlead, and is tried again."""
    first = Fairlead(lab.master, 150, interval_cs=1)
    if not first.realtime:
        pytest.skip("SCHED_FIFO is not allowed here")
    second = Fairlead(lab.slave, 100, interval_cs=1).ready()
    first.ready().wait_active()
    second.wait_active(False)
    for _ in range(3):
        before = len(second.changes()), len(first.changes())
        stall_s = longest_stall_under_load()
        unchanged = (len(second.changes()), len(first.changes())) == before
        if unchanged or stall_s <= 1.5 * 0.01:  # between an advert that is due and the end of renewal
            break
        first.wait_active()
        second.wait_active(False)
    assert unchanged, (f"a real-time thread was at worst let run after {1000 * stall_s:.1f} ms", first.changes(),
                       second.changes())
    assert first.active() and not second.active()
