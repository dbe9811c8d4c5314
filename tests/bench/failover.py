# SPDX-License-Identifier: Apache-2.0
"""Traffic through one VIP while one of the two nodes that share it fails, in three deployments:

    external     client ──┬── lb, lb2          Fairlead; lb holds the VIP while it can
                          └── master, slave    front-ends, both used
    on_master    client ──── master, slave     Fairlead and front-end on both; master holds the VIP while it can
    keepalived   client ──┬── lb, lb2          Debian's keepalived moves the VIP, Debian's HAProxy listens on it
                          └── master, slave    front-ends, both used

A run is one fault (`FAULTS`) under one set of traffic (failover_client.cpp), with everything whole before and afterwards.
The faults of `TRANSITION_FAULTS` come while a backend is being drained, with a fifth of the connections begun since, and under
a flood of SYNs: what the standby needs then does not follow from the config, so they need the state sync. `sync_off` is one of
them without it: connections must break there, or else the run sees nothing.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "netns"), str(HERE.parent / "interop")]

from lab import (BUILD, PYTHON, VIP4, Lab, LabError, Lbd, forget_instance, make_config,  # noqa: E402
                 require_programs, setup_backends, wait_for)
from vrrp import Keepalived  # noqa: E402

# silent: the active node falls silent and dies; graceful: its controller is stopped; controller_killed: kill -9;
# failback: the controller that was stopped starts again, and takes the VIP back.
FAULTS = ("silent", "graceful", "controller_killed", "failback")
# The same in a transition; rolling_upgrade: both controllers are replaced by the next version, one after the other;
# sync_off: a graceful one of nodes that do not sync.
TRANSITION_FAULTS = ("silent_in_transition", "graceful_in_transition", "rolling_upgrade", "sync_off")
NEXT = BUILD / "ctl/lbd/lbd-next"  # the same program, of the next layout
SYNC_MS = 20  # the sync's interval
DRAINED = "master"
LATER_SHARE, LATER_PER_SECOND = 5, 50  # one in so many connections begins in the transition
LATER_AT_FAULT = 0.95  # of them: so that some were confirmed just before
FLOOD_PER_SECOND = 1000  # to each balancer
UPGRADE_S = 60  # for a node to be whole again, ten times what it takes
BACKENDS = ("master", "slave")
FAST_MS, SLOW_MS = 10, 100  # between adverts
TCP_PORT, UDP_PORT = 7000, 7001
CHECK = {"type": "tcp", "port": TCP_PORT, "interval": "300ms", "timeout": "250ms", "rise": 2, "fall": 3}
BEFORE_S, AFTER_S = 0.5, 2.5  # of traffic; afterwards a dead front-end's slots move too, and TCP sends again
PRIORITIES = (150, 100)  # of the first and the second node

# keepalived's own default is ordinary scheduling, and Fairlead's is not.
REALTIME = "  vrrp_rt_priority 50\n  vrrp_rlimit_rttime 10000000"
HAPROXY = """
global
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen web
    bind {vip}:{port}
    balance roundrobin
{servers}
"""


class Servers:
    """failover-server on nodes; they are started again where they have died."""

    def __init__(self, lab, program, names):
        self.lab, self.program, self.running = lab, program, dict.fromkeys(names)

    def start(self):
        for name, process in self.running.items():
            if process is None or not process.alive():
                self.running[name] = self.lab.nodes[name].popen(
                    "server", self.program, "--name", name, "--tcp", TCP_PORT, "--udp", UDP_PORT)
        for name, process in self.running.items():
            wait_for(lambda p=process: "ready" in p.output() or not p.alive(), f"the server on {name}")
            if not process.alive():
                raise LabError(f"failover-server on {name}: {process.output()}")

    def kill(self, name):
        if self.running.get(name):
            self.running[name].kill()


# --- Deployments: how each fails, and is made whole -----------------------------------------------------------------

class FairleadPair:
    """Two lbd with one file."""

    def __init__(self, topology, programs, advert_ms):
        self.lab = Lab(f"failover{os.getpid()}", topology=topology, pair=True, others=("flooder",))
        self.programs, self.advert_ms = programs, advert_ms
        self.first, self.second = self.lab.steering
        self.cut_ns = None  # when the silent node's link was cut for certain
        self.in_transition = False  # tables, or the config, are those of a fault in a transition
        # In on_master the first node takes its own front-end with it; probes are to go to the other in any case.
        self.probe_server = "slave"

    def build(self):
        self.lab.share_hash_key()
        setup_backends(self.lab, "l2dsr", (4,))
        self.servers = Servers(self.lab, self.programs / "failover-server", BACKENDS)
        self.sync = self.lab.share_sync_key() + f'interval = "{SYNC_MS}ms"\n'
        self.lbds = {name: Lbd(self.lab, self.lab.nodes[name], self.config()) for name in self.lab.steering}

    def config(self, sync=True):
        ha = f'[ha]\nmode = "vrrp"\nvrid = 51\nadvert_interval = "{self.advert_ms}ms"\n'
        return make_config(
            self.lab, pool={"checks": [CHECK]},
            backends=[{"name": name, "address": self.lab.nodes[name].v4} for name in BACKENDS],
            services=[{"ports": [TCP_PORT]}, {"name": "probes", "ports": [UDP_PORT], "protocol": "udp"}],
            head=ha + (self.sync if sync else ""),
            nodes={name: {"priority": priority} for name, priority in zip(self.lab.steering, PRIORITIES)})

    def begin_anew(self, sync=True):
        """Without anything that earlier runs left in tables: what is in transition stays so for an hour."""
        for lbd in self.lbds.values():
            if lbd.process and lbd.process.alive():
                lbd.stop()
            forget_instance(lbd.instance)
            lbd.write_config(self.config(sync))
        self.in_transition = False
        self.make_whole()
        if sync:
            self.wait_synced()

    def wait_synced(self):
        for lbd in self.lbds.values():
            lbd.wait_synced(UPGRADE_S)

    def make_whole(self):
        """Everything runs, the first node holds the VIP, and both know both front-ends to be up."""
        self.servers.start()
        self.lab.mend_link(self.lab.nodes[self.first])
        for lbd in self.lbds.values():
            if not lbd.process or not lbd.process.alive():
                lbd.start(wait=False)
        for lbd in self.lbds.values():
            lbd.wait_ready()
            lbd.wait_up(master=True, slave=True)
        self.wait_active(self.first)

    def active(self, name):
        return self.lbds[name].lbctl_json("status", check=False)["role"]["active"]

    def wait_active(self, name):
        wait_for(lambda: self.active(name), f"{name} to be active", poll=0.2)

    def silent(self):
        self.lab.cut_link(self.lab.nodes[self.first])
        self.cut_ns = time.time_ns()
        self.lbds[self.first].process.kill()
        self.servers.kill(self.first)
        forget_instance(self.lbds[self.first].instance)  # it is dead, and begins anew
        return self.second

    def graceful(self):
        self.lbds[self.first].stop()
        return self.second

    def controller_killed(self):
        self.lbds[self.first].process.kill()
        return self.second

    def prepare_failback(self):
        self.lbds[self.first].stop()
        self.wait_active(self.second)

    def failback(self):
        self.lbds[self.first].start(wait=False)
        return self.first

    silent_in_transition, graceful_in_transition, sync_off = silent, graceful, graceful

    def rolling_upgrade(self):
        """As docs/operators-guide.md has it: the standby, a hand-over, the other one, which takes the VIP back."""
        for name, other in ((self.second, self.first), (self.first, self.second)):
            self.lbds[name].stop()
            self.lbds[name].start(program=NEXT)
            self.wait_synced()
            if name == self.second:
                self.lbds[other].lbctl("failover", "--to", name)
                self.wait_active(name)
        return self.first

    def begin_transition(self):
        """Some slots have another owner from now on, and their connections stay."""
        self.in_transition = True
        self.lbds[self.first].lbctl("drain", DRAINED)

    def slots_in_transition(self, name):
        return self.lbds[name].lbctl_json("transitions")["slots_in_transition"]

    @contextlib.contextmanager
    def flood(self):
        flooder = self.lab.flooder
        floods = [flooder.popen("flood", PYTHON, HERE / "syn_flood.py", "eth0", flooder.mac, self.lab.nodes[name].mac, VIP4,
                                TCP_PORT, "--rate", FLOOD_PER_SECOND) for name in self.lab.steering]
        try:
            for process in floods:
                wait_for(lambda p=process: "ready" in p.output() or not p.alive(), "the flood")
            yield
        finally:
            for process in floods:
                process.stop()
                self.lab.processes.remove(process)

    def lost_with(self, fault):
        """Names of front-ends that die of a fault."""
        return [self.first] if fault.startswith("silent") and self.first in BACKENDS else []


class KeepalivedPair:
    """keepalived with HAProxy behind it. A connection is the proxy's, so it ends where the VIP leaves; probes, which
    HAProxy does not carry, are answered by the node that holds the VIP."""

    probe_server = ""
    in_transition = False

    def __init__(self, programs, advert_ms):
        self.lab = Lab(f"failover{os.getpid()}", topology="external", pair=True)
        self.programs, self.advert_ms = programs, advert_ms
        self.first, self.second = self.lab.steering
        self.keepalived, self.proxies = {}, {}

    def build(self):
        lab = self.lab
        self.servers = Servers(lab, self.programs / "failover-server", BACKENDS)
        self.responders = Servers(lab, self.programs / "failover-server", lab.steering)
        self.haproxy_config = lab.folder / "haproxy.cfg"
        servers = "\n".join(f"    server {name} {lab.nodes[name].v4}:{TCP_PORT} check inter 300 fall 3 rise 2"
                            for name in BACKENDS)
        self.haproxy_config.write_text(HAPROXY.format(vip=VIP4, port=TCP_PORT, servers=servers))
        for name in lab.steering:
            lab.nodes[name].sysctl(**{"net.ipv4.ip_nonlocal_bind": 1})

    def make_whole(self):
        self.servers.start()
        self.responders.start()
        self.lab.mend_link(self.lab.nodes[self.first])
        for name in self.lab.steering:
            node = self.lab.nodes[name]
            if name not in self.proxies or not self.proxies[name].alive():
                self.proxies[name] = node.popen("haproxy", "haproxy", "-db", "-f", self.haproxy_config)
            if name not in self.keepalived:
                self.start_keepalived(name)
        self.keepalived[self.first].wait_active()
        wait_for(self.answers, "an answer through HAProxy")

    def start_keepalived(self, name):
        node = self.lab.nodes[name]
        node.run("ip", "addr", "del", f"{VIP4}/24", "dev", "eth0", check=False)  # of one that was killed
        priority = PRIORITIES[self.lab.steering.index(name)]
        self.keepalived[name] = Keepalived(node, priority, interval_s=self.advert_ms / 1000, globals_=REALTIME)

    def answers(self):
        command = f"exec 3<>/dev/tcp/{VIP4}/{TCP_PORT} && head -c 1 <&3"
        return self.lab.client.run("timeout", 1, "bash", "-c", command, check=False).returncode == 0

    def silent(self):
        self.lab.cut_link(self.lab.nodes[self.first])
        self.keepalived.pop(self.first).kill()
        self.proxies[self.first].kill()
        return self.second

    def graceful(self):
        self.keepalived.pop(self.first).stop()
        return self.second

    def controller_killed(self):
        self.keepalived.pop(self.first).kill_processes()
        return self.second

    def prepare_failback(self):
        if self.first in self.keepalived:
            self.keepalived.pop(self.first).stop()
        self.keepalived[self.second].wait_active()

    def failback(self):
        self.start_keepalived(self.first)
        return self.first

    def wait_active(self, name):
        self.keepalived[name].wait_active()

    def lost_with(self, _fault):
        return []


def deployment(name, programs, advert_ms):
    if name == "keepalived":
        return KeepalivedPair(programs, advert_ms)
    return FairleadPair(name.replace("_", "-"), programs, advert_ms)


# --- Runs -----------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def traffic(pair, connections, later=0):
    """Runs the clients; what they report is in the dict afterwards. Yields it and what begins the `later` connections."""
    client = pair.lab.client.popen(
        "clients", pair.programs / "failover-client", VIP4, "--tcp", TCP_PORT, "--udp", UDP_PORT, "--connections",
        connections, "--later", later, "--later-per-second", LATER_PER_SECOND,
        *(["--probe-server", pair.probe_server] if pair.probe_server else []))
    report = {}
    try:
        wait_for(lambda: "ready" in client.output() or not client.alive(), "the clients' connections", 20)
        yield report, lambda: client.signal(signal.SIGUSR1)
        if client.stop(30) != 0:
            raise LabError(f"failover-client: {client.output()}")
        report.update(json.loads(client.output().splitlines()[-1]))
    finally:
        client.kill()
        pair.lab.processes.remove(client)


def run_fault(pair, fault, connections):
    """One run: {"fault_ns", "lost_with", and what failover-client reports}."""
    if pair.in_transition:
        pair.begin_anew()
    pair.make_whole()
    if fault == "failback":
        pair.prepare_failback()
    with traffic(pair, connections) as (report, _):
        time.sleep(BEFORE_S)
        fault_ns = time.time_ns()
        successor = getattr(pair, fault)()
        time.sleep(AFTER_S)
        pair.wait_active(successor)
    return {"fault_ns": fault_ns, "lost_with": pair.lost_with(fault), **report}


def run_in_transition(pair, fault, connections):
    """The same in the middle of a transition, as TRANSITION_FAULTS have it."""
    later = connections // LATER_SHARE
    pair.begin_anew(sync=fault != "sync_off")
    with traffic(pair, connections - later, later) as (report, begin_later), pair.flood():
        time.sleep(BEFORE_S)
        pair.begin_transition()
        begin_later()
        time.sleep(LATER_AT_FAULT * later / LATER_PER_SECOND)
        moved = pair.slots_in_transition(pair.first)
        pair.cut_ns, fault_ns = None, time.time_ns()
        successor = getattr(pair, fault)()
        time.sleep(AFTER_S)
        pair.wait_active(successor)
        still = pair.slots_in_transition(successor)
    return {"fault_ns": fault_ns, "cut_ns": pair.cut_ns, "sync_ms": SYNC_MS, "lost_with": pair.lost_with(fault),
            "slots_in_transition": moved, "slots_in_transition_after": still, **report}


def run_deployment(name, faults, programs, runs, connections, advert_ms):
    """{fault: [run, ...]}, the faults in turn; those in transition, which take long, a third as often."""
    pair = deployment(name, programs, advert_ms)
    found = {fault: [] for fault in faults}
    with pair.lab:
        pair.build()
        for number in range(runs):
            for fault in faults:
                if fault not in TRANSITION_FAULTS:
                    found[fault].append(run_fault(pair, fault, connections))
                elif number % 3 == 0:
                    found[fault].append(run_in_transition(pair, fault, connections))
            print(f"bench: failover: {name}, adverts every {advert_ms} ms: run {number + 1} of {runs}", file=sys.stderr,
                  flush=True)
    return found


def missing_programs(programs):
    found = [require_programs()] if require_programs() else []
    found += [tool for tool in ("keepalived", "haproxy") if not shutil.which(tool)]
    needed = [NEXT, *(programs / name for name in ("failover-client", "failover-server"))]
    return ", ".join(found + [str(program) for program in needed if not program.exists()])


PLAN = {"external": FAULTS + TRANSITION_FAULTS, "on_master": FAULTS + TRANSITION_FAULTS, "keepalived": FAULTS}


def measure(programs, runs=10, connections=500, plan=None, fast_ms=FAST_MS, slow=True):
    """{"runs": {deployment: {fault: [run]}}, "settings"}. `slow`: silence with slow adverts too, as `silent_100ms`."""
    missing = missing_programs(programs)
    if missing:
        raise LabError(f"missing: {missing}")
    measured = {}
    for name, faults in (plan or PLAN).items():
        measured[name] = run_deployment(name, faults, programs, runs, connections, fast_ms)
        if slow:
            silent = run_deployment(name, ["silent"], programs, runs, connections, SLOW_MS)
            measured[name][f"silent_{SLOW_MS}ms"] = silent["silent"]
    return {"runs": measured, "settings": {"runs": runs, "connections": connections, "advert_ms": fast_ms}}
