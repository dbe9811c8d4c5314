# SPDX-License-Identifier: Apache-2.0
"""scripts/frontend-setup on a node of the lab: what it sets up, finds missing, and takes back."""

import pytest

from lab import VIP4, VIP6
from traffic import neighbour, ping

BOTH = (VIP4, VIP6)


def snapshot(node):
    """Everything that the script may touch."""
    settings = [f"/proc/sys/net/ipv4/conf/{device}/{name}" for device in ("all", "eth0", "lo")
                for name in ("arp_ignore", "arp_announce", "rp_filter")]
    return [node.run(*command).stdout for command in (
        ["ip", "-o", "addr", "show", "dev", "lo"], ["ip", "rule"], ["ip", "-6", "rule"],
        ["ip", "route", "show", "table", "all"], ["ip", "-6", "route", "show", "table", "all"], ["cat", *settings])]


@pytest.mark.parametrize("mode", ["l2dsr", "ipip", "gue"])
def test_apply_check_undo(bench, mode):
    lab = bench.lab(router=True)
    arguments = [mode, *BOTH, "--no-decap"]
    before = snapshot(lab.master)
    assert lab.frontend_setup(lab.master, *arguments, "--check", check=False).returncode == 1
    assert snapshot(lab.master) == before, "--check changed something"

    first = lab.frontend_setup(lab.master, *arguments).stdout
    assert f"ip addr add {VIP4}/32 dev lo" in first and f"ip -6 addr add {VIP6}/128 dev lo" in first
    assert lab.frontend_setup(lab.master, *arguments, "--check").stdout.startswith("ready:")
    applied = snapshot(lab.master)
    lab.frontend_setup(lab.master, *arguments)
    assert snapshot(lab.master) == applied, "a second run changed something"

    lab.frontend_setup(lab.master, *arguments, "--undo")
    assert snapshot(lab.master) == before


@pytest.mark.parametrize("spoil, complaint", [
    (["ip", "addr", "del", f"{VIP4}/32", "dev", "lo"], f"{VIP4} is not on the loopback device"),
    (["sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0"], "net.ipv4.conf.all.arp_ignore is 0"),
    (["ip", "-6", "rule", "del", "from", VIP6], f"no rule sends answers from {VIP6}"),
    (["ip", "route", "flush", "table", "20469"], "no route to default"),
])
def test_check_names_what_is_missing(bench, spoil, complaint):
    lab = bench.lab(router=True)
    lab.frontend_setup(lab.master, "ipip", *BOTH, "--no-decap")
    lab.master.run(*spoil)
    result = lab.frontend_setup(lab.master, "ipip", *BOTH, "--no-decap", "--check", check=False)
    assert result.returncode == 1 and complaint in result.stdout


@pytest.mark.parametrize("mode, tunnel, size4, size6", [
    ("ipip", [], 1440, 1400),
    ("ipip", ["--tunnel", "6"], 1420, 1400),
    ("ipip", ["--tunnel", "4"], 1440, 1420),
    ("ipip", ["--source", "2001:db8:1::2"], 1420, 1400),
    ("ipip", ["--source", "192.0.2.2", "--source", "2001:db8:1::2"], 1420, 1400),
    ("gue", ["--tunnel", "4"], 1432, 1412),
    ("gue", ["--tunnel", "6"], 1412, 1392),
])
def test_segment_size_is_what_the_tunnel_leaves(bench, mode, tunnel, size4, size6):
    """The outer packet's family counts: an IPv4 VIP in an IPv6 tunnel loses 40 bytes, not 20."""
    lab = bench.lab(router=True)
    lab.frontend_setup(lab.master, mode, *BOTH, "--no-decap", *tunnel)
    for family, size in (("-4", size4), ("-6", size6)):
        assert f"advmss {size}" in lab.master.run("ip", family, "route", "show", "table", "20469").stdout


def test_undo_of_one_vip_keeps_the_other(bench):
    lab = bench.lab(router=True)
    lab.frontend_setup(lab.master, "ipip", *BOTH, "--no-decap")
    lab.frontend_setup(lab.master, "ipip", VIP4, "--no-decap", "--undo")
    assert lab.frontend_setup(lab.master, "ipip", VIP6, "--no-decap", "--check").returncode == 0
    assert lab.frontend_setup(lab.master, "ipip", VIP4, "--no-decap", "--check", check=False).returncode == 1


@pytest.mark.parametrize("arguments", [[], ["tunnel", VIP4], ["l2dsr"], ["l2dsr", "master"], ["l2dsr", VIP4, "--what"],
                                       ["l2dsr", VIP4, "--interface", "eth9"], ["l2dsr", VIP4, "--interface"],
                                       ["gue", VIP4, "--gue-port", "0"], ["ipip", VIP4, "--tunnel", "5"]])
def test_wrong_usage(bench, arguments):
    lab = bench.lab(router=True)
    before = snapshot(lab.master)
    result = lab.frontend_setup(lab.master, *arguments, check=False)
    assert result.returncode == 2 and result.stderr
    assert snapshot(lab.master) == before


def test_prepared_node_is_silent_about_the_vip(bench):
    """Nobody may learn a front-end node's MAC as that of the VIP."""
    lab = bench.lab()
    lab.frontend_setup(lab.master, "l2dsr", *BOTH, "--interface", "eth0")
    for vip in BOTH:
        assert ping(lab.client, vip, count=1) == 0
        assert neighbour(lab.client, vip)[0] is None
    assert ping(lab.client, lab.master.v4, count=1) == 1 and ping(lab.client, lab.master.v6, count=1) == 1
