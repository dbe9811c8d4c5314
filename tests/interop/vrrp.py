# SPDX-License-Identifier: Apache-2.0
"""VRRP peers in a lab: Fairlead's own (vrrp_node), Debian's keepalived, and what tshark thinks of both."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from lab import BUILD, run, wait_for

VRRP_NODE = BUILD / "tests/interop/vrrp_node"
INTERVAL_S = 0.1
VIPS = {4: ["192.0.2.10"], 6: ["fe80::10", "2001:db8::10"]}


def link_local(node):
    """The interface's link-local address, which VRRP on IPv6 is sent from."""
    addresses = json.loads(run(["ip", "-n", node.namespace, "-j", "-6", "addr", "show", "dev", "eth0"]).stdout)
    return next((info["local"] for info in addresses[0]["addr_info"] if info["scope"] == "link"
                 and info["local"] not in VIPS[6]), None)


def source_of(node, family):
    return node.v4 if family == 4 else wait_for(lambda: link_local(node), f"{node.name}'s link-local address")


class Fairlead:
    """vrrp_node on a lab's node."""

    def __init__(self, node, priority, family=4, interval_cs=10, vips=None, arguments=()):
        vips = vips or VIPS[family]
        options = [word for vip in vips for word in ("--vip", vip)]
        command = node.command([VRRP_NODE, "--source", source_of(node, family), "--priority", priority,
                                "--interval-cs", interval_cs, *options, *arguments])
        self.node = node
        self.log = node.lab.folder / f"vrrp-{node.name}-{len(node.lab.processes)}.log"
        with open(self.log, "wb") as output:
            popen = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=output,
                                     stderr=subprocess.STDOUT, start_new_session=True)
        self.popen = popen
        node.lab.processes.append(self)  # so that the lab ends it
        self.name = f"{node.name}-vrrp_node"
        wait_for(self.lines, f"vrrp_node on {node.name}: {self.output()}")
        self.realtime = self.lines()[0]["realtime"]

    def output(self):
        return self.log.read_text()

    def lines(self):
        return [json.loads(line) for line in self.output().splitlines(keepends=True)
                if line.endswith("\n") and line.startswith("{")]

    def tell(self, command):
        self.popen.stdin.write(command.encode() + b"\n")
        self.popen.stdin.flush()
        return self

    def ready(self):
        return self.tell("ready")

    def status(self):
        before = sum("status" in line for line in self.lines())
        self.tell("status")
        wait_for(lambda: sum("status" in line for line in self.lines()) > before, "a status")
        return [line["status"] for line in self.lines() if "status" in line][-1]

    def active(self):
        return self.status()["active"]

    def changes(self):
        return [line["change"] for line in self.lines() if "change" in line]

    def reason(self):
        return self.changes()[-1]["reason"]

    def wait_active(self, active=True, timeout=10):
        wait_for(lambda: self.active() is active, f"{self.node.name} {'active' if active else 'standby'}", timeout)

    def kill(self):
        self.popen.kill()
        self.popen.wait(10)

    def stop(self, timeout=5.0):
        if self.popen.poll() is None:
            self.popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.popen.wait(timeout)
        return self.kill()


class Witness:
    """A real-time thread on each processor that does nothing but look at the clock: what keeps it from running for long
    is the machine, not the program under test. To be stopped by stop()."""

    PROGRAM = """
import ctypes, os, signal, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(45))
ctypes.CDLL(None).mlockall(3)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
worst, last = 0, time.monotonic()
try:
    while True:
        time.sleep(0.002)
        now = time.monotonic()
        worst, last = max(worst, now - last), now
finally:
    print(worst)
"""

    def __init__(self):
        self.processes = [subprocess.Popen([sys.executable, "-c", self.PROGRAM, str(cpu)], stdout=subprocess.PIPE, text=True)
                          for cpu in sorted(os.sched_getaffinity(0))]

    def stop(self):
        """The longest time, in seconds, that one of them was not let run."""
        for process in self.processes:
            process.terminate()
        return max(float(process.communicate(timeout=10)[0]) for process in self.processes)


class Keepalived:
    """keepalived on a lab's node."""

    def __init__(self, node, priority, family=4, interval_s=INTERVAL_S, preempt=True, options="",
                 globals_=""):
        self.node, self.family = node, family
        folder = node.lab.folder
        vips = "\n".join(f"    {vip}/{24 if family == 4 else 64}" for vip in VIPS[family])
        config = folder / f"keepalived-{node.name}.conf"
        config.write_text(f"""global_defs {{
  vrrp_version 3
  vrrp_garp_master_delay 0
  vrrp_garp_master_repeat 1
{globals_}
}}
vrrp_instance V1 {{
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority {priority}
  advert_int {interval_s}
  {"" if preempt else "nopreempt"}
  {options}
  virtual_ipaddress {{
{vips}
  }}
}}
""")
        self.pids = [folder / f"keepalived-{node.name}-{part}.pid" for part in ("main", "vrrp")]
        self.process = node.popen("keepalived", "keepalived", "-n", "-P", "-l", "-D", "-f", config, "-p", self.pids[0],
                                  "-r", self.pids[1])

    def active(self):
        """Holds the VIP."""
        links = json.loads(run(["ip", "-n", self.node.namespace, "-j", "addr", "show", "dev", "eth0"]).stdout)
        return VIPS[self.family][-1] in [info["local"] for info in links[0]["addr_info"]]

    def wait_active(self, active=True, timeout=10):
        wait_for(lambda: self.active() is active, f"keepalived {'active' if active else 'standby'}", timeout)

    def log(self):
        return self.process.output()

    def kill_processes(self):
        """Neither it nor its child says goodbye, and the VIP stays where it is."""
        for path in reversed(self.pids):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGKILL)
        self.process.kill()

    def kill(self):
        """Silence. The VIP is taken away by hand."""
        self.kill_processes()
        for vip in VIPS[self.family]:
            run(["ip", "-n", self.node.namespace, "addr", "del", f"{vip}/{24 if self.family == 4 else 64}", "dev",
                 "eth0"], check=False)

    def stop(self):
        return self.process.stop(10)


class Wire:
    """Everything that the client's interface sees, for a second decoder to judge."""

    def __init__(self, lab):
        self.file = lab.folder / "wire.pcap"
        self.process = lab.client.popen("tcpdump", "tcpdump", "-i", "eth0", "-U", "-w", self.file, "--immediate-mode")
        wait_for(lambda: "listening" in self.process.output(), "tcpdump")

    def rows(self, expression, *fields):
        """[{field: value}] of the packets that fit."""
        result = run(["tshark", "-r", self.file, "-Y", expression, "-T", "json", "-o", "ip.check_checksum:TRUE",
                      *[word for field in fields for word in ("-e", field)]])
        return [{field: packet["_source"]["layers"].get(field, [None])[0] for field in fields}
                for packet in json.loads(result.stdout or "[]")]

    def adverts(self, source):
        return self.rows(f"vrrp && (ip.src == {source})" if ":" not in source else f"vrrp && (ipv6.src == {source})",
                         "vrrp.prio", "vrrp.checksum.status", "vrrp.adver_int", "_ws.malformed", "_ws.expert.message",
                         "ip.ttl", "ipv6.hlim")


def neighbour(node, address):
    """The MAC that a node believes an address to have."""
    rows = json.loads(run(["ip", "-n", node.namespace, "-j", "neigh", "show", address, "dev", "eth0"]).stdout or "[]")
    return rows[0].get("lladdr") if rows else None


def remember_wrong(node, address):
    """A fresh entry that is wrong: only an announcement mends it."""
    run(["ip", "-n", node.namespace, "neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "nud", "reachable",
         "dev", "eth0"])
