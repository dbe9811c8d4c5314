# SPDX-License-Identifier: Apache-2.0
"""Long-lived connections through one VIP while its backends are drained, undrained, reweighted, added, removed, and their
checks flap; lbd is killed and started again in the middle, and another machine floods the VIP with SYNs all along.

    client, flooder ──┬── lb                    Fairlead
                      └── master ... sixth      failover-server, nginx, and what the checks ask

No backend dies, so no connection may. The same run is made once more with an lbd that takes every slot for settled as
soon as its owner changes: connections must break there, or else the run sees nothing.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns"))

from e2e import QuietNginx  # noqa: E402
from lab import (FRONT_ENDS, PYTHON, VIP4, Lab, LabError, Lbd, Nginx, make_config, require_programs,  # noqa: E402
                 setup_backends, wait_for)

TCP_PORT, UDP_PORT, WEB_PORT, CHECK_PORT = 7000, 7001, 80, 7002
CHECK = {"type": "tcp", "port": CHECK_PORT, "interval": "300ms", "timeout": "250ms", "rise": 2, "fall": 3}
LASTING, COMER = FRONT_ENDS[:5], FRONT_ENDS[5]  # COMER carries no long-lived connection, so that it can go
# Beyond what an exchange may be late on a busy machine; and a flap of a check is over well before the grace is.
POOL = {"idle_timeout": "6s", "failure_grace": "5m", "checks": [CHECK]}
EXCHANGE_MS = 1000
LATER_SHARE = 4  # one in so many connections begins in the middle of transitions, and so with a pin
NEW_PER_SECOND = 20
FLOOD_PER_SECOND = 2000
WRK_CONNECTIONS = 16
DESCRIPTORS = 16384
# What the client would take ahead of a program that reads slowly is as much as the whole file.
SMALL_BUFFER = {"net.ipv4.tcp_rmem": "4096 32768 32768"}
QUICK = {"seconds": 20, "changes": 12}
SETTLE_AT_ONCE = ["env", "FAIRLEAD_TEST_SETTLE_AT_ONCE=1"]


class Bed:
    """The lab of one run. Not for use from several threads."""

    def __init__(self, lab, programs, seconds, connections, blind):
        self.lab, self.programs, self.seconds, self.connections = lab, programs, seconds, connections
        self.members, self.checked = list(LASTING), {}
        self.servers = {}
        for name in FRONT_ENDS:
            node = lab.nodes[name]
            QuietNginx(lab, node, ports=(WEB_PORT,))
            self.servers[name] = self.limited(node, "server", programs / "failover-server", "--name", name, "--tcp", TCP_PORT,
                                              "--udp", UDP_PORT)
            self.start_check(name)
        for name, process in self.servers.items():
            wait_for(lambda p=process: "ready" in p.output() or not p.alive(), f"the server on {name}")
            if not process.alive():
                raise LabError(f"failover-server on {name}: {process.output()}")
        setup_backends(lab, "l2dsr", (4,), names=FRONT_ENDS)
        lab.client.sysctl(**SMALL_BUFFER)
        self.lbd = Lbd(lab, lab.lb, self.config(), prefix=SETTLE_AT_ONCE if blind else ())
        self.lbd.start()
        self.lbd.wait_up(**dict.fromkeys(LASTING, True))
        self.slots_moved = self.pins_peak = self.previous = 0
        self.done = []

    def limited(self, node, name, *command):
        return node.popen(name, "prlimit", f"--nofile={DESCRIPTORS}", *command)

    def config(self):
        backends = [{"name": name, "address": self.lab.nodes[name].v4} for name in self.members]
        services = [{"ports": [WEB_PORT, TCP_PORT]}, {"name": "probes", "ports": [UDP_PORT], "protocol": "udp"}]
        return make_config(self.lab, pool=POOL, backends=backends, services=services)

    # --- changes ---

    def start_check(self, name):
        self.checked[name] = self.lab.python_server(self.lab.nodes[name], "echo", CHECK_PORT)

    def check_down(self, name):
        self.checked[name].kill()
        self.lab.processes.remove(self.checked.pop(name))

    def check_up(self, name):
        self.start_check(name)

    def drain(self, name):
        self.lbd.lbctl("drain", name)

    def undrain(self, name):
        self.lbd.lbctl("undrain", name)

    def weigh(self, name, weight):
        self.lbd.lbctl("weight", name, str(weight))

    def add(self, name):
        self.members.append(name)
        self.reload()

    def remove(self, name):
        self.members.remove(name)
        self.reload()

    def reload(self):
        self.lbd.write_config(self.config())
        self.lbd.lbctl("reload")

    def restart(self):
        self.lbd.kill9()
        self.lbd.start()

    def cycle(self, number):
        """Twelve changes that lead back to the start, each cycle with the backends in other parts."""
        one, two, three, four = (LASTING[(number + place) % len(LASTING)] for place in range(4))
        yield from (("drain", one), ("weigh", two, 20), ("add", COMER), ("check_down", three), ("undrain", one),
                    ("check_up", three), ("weigh", two, "default"), ("drain", COMER), ("remove", four), ("remove", COMER),
                    ("add", four), ("weigh", one, 300))
        yield "weigh", one, "default"

    # --- what is seen of it ---

    def shares(self):
        """What `lbctl transitions` says: slots of each backend; peaks and counts are noted."""
        seen = self.lbd.lbctl_json("transitions")
        pins = seen["pins"] or {}
        self.pins_peak = max(self.pins_peak, sum(pins.get(state, 0) for state in ("probation", "confirmed", "closing")))
        self.previous = seen["events"]["previous"]
        return {row["name"]: row["slots"] for pool in seen["pools"] for row in pool["backends"]}

    def note_moves(self, before):
        after = self.shares()
        self.slots_moved += sum(max(0, count - before.get(name, 0)) for name, count in after.items())
        return after


class Run:
    """Traffic and changes of one run."""

    def __init__(self, bed):
        self.bed, self.clients, self.begin = bed, [], time.monotonic()

    def clients_of(self, connections):
        bed = self.bed
        client = bed.limited(bed.lab.client, f"clients{len(self.clients)}", bed.programs / "failover-client", VIP4, "--tcp",
                             TCP_PORT, "--udp", UDP_PORT, "--connections", connections, "--interval-ms", EXCHANGE_MS,
                             "--new-per-second", NEW_PER_SECOND // 2, "--probe-interval-us", 100_000)
        wait_for(lambda: "ready" in client.output() or not client.alive(), "the clients' connections", 30)
        if not client.alive():
            raise LabError(f"failover-client: {client.output()}")
        self.clients.append(client)

    def start(self):
        bed, lab = self.bed, self.bed.lab
        later = bed.connections // LATER_SHARE
        self.clients_of(bed.connections - later)
        self.later = later
        rate = int(Nginx.LARGE_BYTES / (1.2 * bed.seconds + 2))  # it outlasts the changes
        self.target = lab.folder / "download"
        self.curl = lab.client.popen("download", "curl", "-sS", "--fail", "--max-time", 2 * bed.seconds + 60, "--limit-rate",
                                     rate, "-o", self.target, "-w", "%{json}", f"http://{VIP4}/large")
        self.wrk = lab.client.popen("wrk", "wrk", "-t", 1, "-c", WRK_CONNECTIONS, "-d", f"{bed.seconds}s", "-s",
                                    HERE / "wrk_slow.lua", f"http://{VIP4}/")
        self.flood = lab.flooder.popen("flood", PYTHON, HERE / "syn_flood.py", "eth0", lab.flooder.mac, lab.lb.mac, VIP4,
                                       TCP_PORT, "--rate", FLOOD_PER_SECOND)
        wait_for(lambda: "ready" in self.flood.output() or not self.flood.alive(), "the flood")

    def churn(self, changes):
        """So many changes, evenly over the time."""
        bed = self.bed
        pause, begin = bed.seconds / (changes + 1), time.monotonic()
        shares = bed.shares()
        planned = (step for number in range(changes) for step in bed.cycle(number))
        for number in range(changes):
            self.wait_until(begin + (number + 1) * pause)
            if number == 2:
                self.clients_of(self.later)
            if number == changes // 2:
                bed.restart()
            change, *arguments = next(planned)
            getattr(bed, change)(*arguments)
            bed.done.append(" ".join(map(str, [change, *arguments])))
            shares = bed.note_moves(shares)
        self.wait_until(begin + bed.seconds)
        bed.note_moves(shares)

    def wait_until(self, moment):
        """Counts pins meanwhile."""
        while (left := moment - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))
            self.bed.shares()

    def finish(self):
        """What became of it all."""
        bed = self.bed
        for client in self.clients:
            client.signal(15)
        reports = [self.report_of(client) for client in self.clients]
        self.flood.stop()
        flooded = self.flood.output().split()
        wrk = self.ended(self.wrk, 60)
        download = self.ended(self.curl, bed.seconds + 60)
        said = json.loads(download.splitlines()[-1]) if download.strip() else {}
        right = self.target.exists() and hashlib.sha256(self.target.read_bytes()).hexdigest() == hashlib.sha256(
            (bed.lab.folder / "large").read_bytes()).hexdigest()
        return {"clients": reports, "wrong_at_servers": sum(p.output().count("wrong:") for p in bed.servers.values()),
                "flood_syns": int(flooded[-1]) if len(flooded) > 1 else 0,
                "wrk": json.loads(wrk.splitlines()[-1]),
                "download": {"bytes": int(said.get("size_download", 0)), "seconds": said.get("time_total"),
                             "connections": said.get("num_connects"), "status": self.curl.popen.returncode,
                             "checksum_right": right},
                "changes": bed.done, "slots_moved": bed.slots_moved, "pins_peak": bed.pins_peak,
                "previous_packets": bed.previous}

    @staticmethod
    def report_of(client):
        if client.popen.wait(60) != 0:
            raise LabError(f"failover-client: {client.output()}")
        return json.loads(client.output().splitlines()[-1])

    @staticmethod
    def ended(process, timeout):
        process.popen.wait(timeout)
        return process.output()


def run_once(programs, seconds, connections, changes, blind=False):
    with Lab(f"churn{os.getpid()}", front_ends=len(FRONT_ENDS), others=("flooder",)) as lab:
        bed = Bed(lab, programs, seconds, connections, blind)
        run = Run(bed)
        run.start()
        run.churn(changes)
        return run.finish()


def missing_programs(programs):
    found = [require_programs()] if require_programs() else []
    found += [tool for tool in ("wrk", "prlimit") if not shutil.which(tool)]
    return ", ".join(found + [str(programs / name) for name in ("failover-client", "failover-server")
                              if not (programs / name).exists()])


def measure(programs, seconds=180, connections=2000, changes=36):
    """{"run", "control", "settings"}: what a run gave, and what the same one with slots that settle at once."""
    missing = missing_programs(programs)
    if missing:
        raise LabError(f"missing: {missing}")
    measured = {}
    for name, blind in (("run", False), ("control", True)):
        print(f"bench: churn: {seconds} s of {name} ...", file=sys.stderr, flush=True)
        measured[name] = run_once(programs, seconds, connections, changes, blind)
    return {**measured, "settings": {"seconds": seconds, "connections": connections, "changes": changes,
                                     "idle_timeout": POOL["idle_timeout"], "exchange_ms": EXCHANGE_MS,
                                     "flood_per_second": FLOOD_PER_SECOND}}
