# SPDX-License-Identifier: Apache-2.0
"""New tables beside the old ones: other limits, or another layout. Open connections, slots in transition, drains and counters
go along."""

import json
import signal

import pytest

from lab import BUILD, LBD, VIP4, Lbd, LabError, make_config, setup_backends, wait_for
from test_transitions import backends, in_transition, shares

BENCH = BUILD / "tests/bench"
NEXT = BUILD / "ctl/lbd/lbd-next"  # the same program, of the next layout
TCP_PORT, UDP_PORT = 7000, 7001
CONNECTIONS = 500
NAMES = ("master", "slave")
NEW_LIMITS = "\n[limits]\npins = 2097152\nslots = 65536\n"


def ready(process):
    wait_for(lambda: "ready" in process.output() or not process.alive(), process.name, 30)
    if not process.alive():
        raise LabError(f"{process.name}: {process.output()}")
    return process


def clients(lab, name, count, probe_interval_us=1_000_000):
    """Long-lived connections that exchange numbered messages all along, and datagrams that are answered."""
    return ready(lab.client.popen(name, "prlimit", "--nofile=16384", BENCH / "failover-client", VIP4, "--tcp", TCP_PORT,
                                  "--udp", UDP_PORT, "--connections", count, "--probe-interval-us", probe_interval_us))


def report_of(process):
    """All that clients() have to say, at their end."""
    process.signal(signal.SIGTERM)
    wait_for(lambda: not process.alive(), f"the end of {process.name}", 60)
    return json.loads(next(line for line in process.output().splitlines() if line.startswith("{")))


def result_of(process):
    """{server: (kept, broken)}"""
    return {name: (found["kept"], found["broken"]) for name, found in report_of(process)["connections"].items()}


def serve_numbers(lab):
    """nginx, and the servers that clients() talk to, on Master and Slave."""
    for name in NAMES:
        node = lab.nodes[name]
        lab.nginx(node)
        ready(node.popen(f"server-{name}", "prlimit", "--nofile=16384", BENCH / "failover-server", "--name", name, "--tcp",
                         TCP_PORT, "--udp", UDP_PORT))
    setup_backends(lab, "l2dsr", (4,), names=NAMES)


@pytest.fixture
def lab(bench):
    lab = bench.lab()
    serve_numbers(lab)
    lab.config = make_config(lab, pool={"idle_timeout": "1h"},
                             backends=[{"name": name, "address": lab.nodes[name].v4} for name in NAMES],
                             services=[{"ports": [80, TCP_PORT]}, {"name": "probes", "ports": [UDP_PORT], "protocol": "udp"}])
    lab.lbd = Lbd(lab, lab.lb, lab.config).start()
    lab.lbd.wait_up(master=True, slave=True)
    return lab


@pytest.mark.parametrize("change", ["limits", "layout"])
def test_open_connections_go_along(lab, change):
    before = lab.lbd.program_id()
    old = clients(lab, "old", CONNECTIONS)
    lab.lbd.lbctl("drain", "master")
    moved = in_transition(lab)
    assert moved > 300, "about half of 1,024 slots were Master's"
    pinned = clients(lab, "pinned", 50)  # where slots are in transition, by a pin
    packets = sum(row["packets"] for row in backends(lab).values())
    lab.lbd.stop()
    if change == "limits":
        lab.lbd.write_config(lab.config + NEW_LIMITS)
    lab.lbd.start(program=NEXT if change == "layout" else LBD)
    assert "new tables take over" in lab.lbd.log()
    assert lab.lbd.program_id() != before
    assert in_transition(lab) == moved
    assert shares(lab)["master"]["slots"] == 0 and backends(lab)["master"]["drained"]
    assert sum(row["packets"] for row in backends(lab).values()) >= packets
    wait_for(lambda: shares(lab)["slave"]["pins"], "pins to be counted", 60)
    found = result_of(old)
    assert sum(kept for kept, _ in found.values()) == CONNECTIONS and len(found) == 2, found
    assert all(kept > 100 and broken == 0 for kept, broken in found.values()), found
    assert result_of(pinned) == {"slave": (50, 0)}
