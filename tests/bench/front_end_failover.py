# SPDX-License-Identifier: Apache-2.0
"""New and open connections through a VIP while one of its two front-ends fails, the better one of two tiers:

    client ──┬── lb        Fairlead
             ├── master    tier 0: failover-server, nginx, and what one of the checks asks
             └── slave     tier 1: the same

Open connections are half with Slave, from a time when Master was drained, and half with Master.
"""

import json
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns"))

from failover import TCP_PORT, UDP_PORT, Servers  # noqa: E402
from lab import VIP4, Lab, LabError, Lbd, make_config, require_programs, setup_backends, wait_for  # noqa: E402
from load import Load  # noqa: E402
from traffic import curl_many  # noqa: E402

# host: it falls silent, at layer 2; process: its servers die, and its kernel refuses; flap: a check fails for less than
# failure_grace, and all else goes on.
FAULTS = ("host", "process", "flap")
NAMES = ("master", "slave")
INTERVAL_MS, TIMEOUT_MS, FALL, RISE = 200, 150, 2, 2
WEB_PORT, CHECK_PORT = 80, 7002
CHECK = {"type": "tcp", "interval": f"{INTERVAL_MS}ms", "timeout": f"{TIMEOUT_MS}ms", "rise": RISE, "fall": FALL}
POOL = {"idle_timeout": "6s", "failure_grace": "5s",
        "checks": [{**CHECK, "port": WEB_PORT}, {**CHECK, "port": CHECK_PORT}]}
PACE_S = 0.005  # from one new connection to the next
PATIENCE_S = 4  # longer than the client's kernel waits before it sends its first SYN again
BEFORE_S, AFTER_S = 0.5, 2.5
FLAP_S = 1.5  # of a check that fails
EXCHANGE_MS = 500


class Bed:
    """The lab, made whole before each fault. Not for use from several threads."""

    def __init__(self, lab, programs, connections):
        self.lab, self.programs, self.connections = lab, programs, connections
        self.nginx = {name: lab.nginx(lab.nodes[name]) for name in NAMES}
        self.checked = {}
        self.servers = Servers(lab, programs / "failover-server", NAMES)
        setup_backends(lab, "l2dsr", (4,), names=NAMES)
        backends = [{"name": name, "address": lab.nodes[name].v4, "tier": tier} for tier, name in enumerate(NAMES)]
        services = [{"ports": [WEB_PORT, TCP_PORT]}, {"name": "probes", "ports": [UDP_PORT], "protocol": "udp"}]
        self.lbd = Lbd(lab, lab.lb, make_config(lab, pool=POOL, backends=backends, services=services))

    def make_whole(self):
        self.lab.mend_link(self.lab.master)
        self.servers.start()
        for name, nginx in self.nginx.items():
            if not nginx.process.alive():
                nginx.start()
            if name not in self.checked or not self.checked[name].alive():
                self.checked[name] = self.lab.python_server(self.lab.nodes[name], "echo", CHECK_PORT)
        if not self.lbd.process:
            self.lbd.start()
        self.lbd.wait_up(timeout=20, master=True, slave=True)

    def serves(self, name):
        wait_for(lambda: set(curl_many(self.lab.client, VIP4, 5)) == {name}, f"{name} to serve", 20)

    def open_connections(self):
        """Clients by the front-end that theirs are with."""
        clients = {}
        for name, command in (("slave", "drain"), ("master", "undrain")):
            self.lbd.lbctl(command, "master")
            self.serves(name)
            clients[name] = self.lab.client.popen(
                f"clients-{name}", self.programs / "failover-client", VIP4, "--tcp", TCP_PORT, "--udp", UDP_PORT,
                "--connections", self.connections // 2, "--interval-ms", EXCHANGE_MS, "--new-per-second", 0,
                "--probe-interval-us", 100_000)
            wait_for(lambda c=clients[name]: "ready" in c.output() or not c.alive(), "the clients' connections", 20)
        return clients

    # --- faults ---

    def host(self):
        self.lab.cut_link(self.lab.master)

    def process(self):
        self.nginx["master"].stop()
        self.servers.kill("master")

    def flap(self):
        self.checked["master"].kill()
        time.sleep(FLAP_S)
        self.checked["master"] = self.lab.python_server(self.lab.master, "echo", CHECK_PORT)

    def run_fault(self, fault):
        """One run: what the clients report, and the new connections from the fault on, in ms after it."""
        self.make_whole()
        clients = self.open_connections()
        with Load(self.lab, self.lab.client, VIP4, WEB_PORT, PACE_S, 1, PATIENCE_S) as load:
            time.sleep(BEFORE_S)
            begin = time.monotonic()
            getattr(self, fault)()
            time.sleep(AFTER_S)
            records = load.stop()
        reports = {name: self.report_of(client) for name, client in clients.items()}
        for name, client in clients.items():
            self.lab.processes.remove(client)
        return {"connections": {name: report["connections"] for name, report in reports.items()},
                "lost_with": [] if fault == "flap" else ["master"],
                "new": [{"begin_ms": (r.begin - begin) * 1000, "took_ms": (r.end - r.begin) * 1000, "result": r.result,
                         "server": r.server} for r in records]}

    @staticmethod
    def report_of(client):
        client.signal(15)
        if client.popen.wait(30) != 0:
            raise LabError(f"failover-client: {client.output()}")
        return json.loads(client.output().splitlines()[-1])


def missing_programs(programs):
    found = [require_programs()] if require_programs() else []
    return ", ".join(found + [str(programs / name) for name in ("failover-client", "failover-server")
                              if not (programs / name).exists()])


def measure(programs, runs=10, connections=200):
    """{"runs": {fault: [run]}, "settings"}"""
    missing = missing_programs(programs)
    if missing:
        raise LabError(f"missing: {missing}")
    found = {fault: [] for fault in FAULTS}
    with Lab(f"frontends{os.getpid()}") as lab:
        bed = Bed(lab, programs, connections)
        for number in range(runs):
            for fault in FAULTS:
                found[fault].append(bed.run_fault(fault))
            print(f"bench: front-end-failover: run {number + 1} of {runs}", file=sys.stderr, flush=True)
    return {"runs": found, "settings": {"runs": runs, "connections": connections, "interval_ms": INTERVAL_MS,
                                        "timeout_ms": TIMEOUT_MS, "fall": FALL, "pace_ms": PACE_S * 1000}}
