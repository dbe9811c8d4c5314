# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind scripts/demo: real requests through a VIP while its front-end nodes fail and come back.

It measures as a client does. A request is never repeated; it has failed when it got no whole answer within a second.
Requests that fail while a fault is being noticed are told from all others, of which there must be none: a failed
request belongs to a window if it was open at the fault or at the switch-over, or began between the two. The
switch-over is the moment at which the first answer from the other server arrives.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter

import lab as labs
from lab import LabError, Lab, Lbd, make_config, wait_for
from load import HANG_LIMIT, Load

INTERVAL_MS, TIMEOUT_MS, FALL, RISE = 200, 150, 2, 2
SLACK_MS = 200  # what the machine may add to the detection itself
FAILOVER_LIMIT_MS = INTERVAL_MS * FALL + TIMEOUT_MS + SLACK_MS
REFUSAL_LIMIT_MS = 1000
OBSERVE_S = 1.0  # how long each state is watched after it was reached


class Screen:
    """What the person at the terminal sees."""

    def __init__(self, quiet):
        self.quiet, self.step = quiet, 0
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def write(self, text=""):
        if not self.quiet:
            print(text, flush=True)

    def head(self, text):
        self.step += 1
        self.write(f"\n{self.paint('1;36', f'── {self.step}. {text} ' + '─' * max(3, 100 - len(text)))}")

    def say(self, text):
        self.write(f"   {text}")

    def good(self, text):
        self.write(f"   {self.paint('32', '✔')} {text}")

    def bad(self, text):
        self.write(f"   {self.paint('1;31', '✘')} {text}")

    def command(self, command, output):
        self.write(f"   {self.paint('1', '$ ' + command)}")
        for line in output.rstrip().splitlines():
            self.write(f"     {line}")


class Window:
    """From a fault (or a return) to the switch-over that follows."""

    def __init__(self, fault, switch):
        self.fault, self.switch = fault, switch

    @property
    def milliseconds(self):
        return round((self.switch - self.fault) * 1000)

    def covers(self, record):
        def is_open_at(moment):
            return record.begin <= moment <= record.end
        return is_open_at(self.fault) or is_open_at(self.switch) or self.fault <= record.begin <= self.switch


class Demo:
    def __init__(self, options):
        self.options = options
        self.family = 6 if options.ipv6 else 4
        self.vip = labs.VIP6 if options.ipv6 else labs.VIP4
        self.screen = Screen(options.json)
        self.lab = self.load = None
        self.servers, self.balancers, self.windows, self.faults = {}, [], {}, []
        self.both_down_ms, self.failed_unnoticed, self.handed_over = None, 0, Counter()

    # --- claims ---

    def claim(self, holds, text):
        (self.screen.good if holds else self.screen.bad)(text)
        if not holds:
            self.faults.append(text)

    @property
    def active(self):
        """The balancer that holds the VIP."""
        return self.balancers[0]

    def total(self, name, **labels):
        return sum(b.metrics().total(name, **labels) for b in self.balancers)

    def counted(self, counter, name):
        """A counter of one backend, of the balancer that held the VIP at the time. (Where two run, what the holder
        steers to the other node is seen by that node's program as well.)"""
        def now(balancer):
            return int(balancer.metrics().total(counter, backend=name))
        return now(self.active) + self.handed_over[counter, name]

    def note_hand_over(self, old, new):
        """From the last metrics of the old holder, which is cut off, and the new one's from before it was asked."""
        for counter in ("backend_syns_total", "backend_packets_total"):
            for name in self.servers:
                self.handed_over[counter, name] = int(old.total(counter, backend=name) - new.total(counter, backend=name))

    def show(self, *commands):
        for command in commands:
            # `status` has an exit code of its own for a VIP without a backend.
            self.screen.command(f"lbctl {command}", self.active.lbctl(*command.split(), check=False).stdout)
        rows = [line for line in self.active.metrics_text().splitlines()
                if line.startswith(("fairlead_backend_up{", "fairlead_backend_eligible{", "fairlead_backend_syns_total{"))]
        self.screen.command("curl -s http://127.0.0.1:9435/metrics | grep fairlead_backend_", "\n".join(rows))

    # --- steps ---

    def run(self):
        options = self.options
        with Lab(f"demo{os.getpid()}", topology=options.topology) as self.lab:
            self.prepare()
            self.start_balancers()
            self.all_well()
            self.fail_process()
            self.fail_link()
            records = self.load.stop()
            self.both_down()
            result = self.account(records)
            if options.stay:
                self.stay()
        self.screen.write(f"\n   Everything removed. {self.screen.paint('1;31' if self.faults else '1;32', self.verdict())}")
        print(json.dumps(result), flush=True)
        return 1 if self.faults else 0

    def verdict(self):
        return f"The demonstration failed: {'; '.join(self.faults)}" if self.faults else "All claims hold."

    def prepare(self):
        options, screen = self.options, self.screen
        screen.head(f"The machines: {options.topology}, {options.forward}, IPv{self.family}")
        for node in self.lab.nodes.values():
            if node.name != "sw":
                holds = {"client": "clients", "lb": "Fairlead", "router": "router"}.get(node.name, "nginx")
                if options.topology == "on-master" and node.name in ("master", "slave"):
                    holds += " and Fairlead"
                screen.say(f"{node.name:8}{node.address(self.family):18}{holds:22}network namespace {node.namespace}")
        screen.say(f"{'VIP':8}{self.vip:18}port 80; Master is tier 0, Slave tier 1")
        for name in ("master", "slave"):
            self.servers[name] = self.lab.nginx(self.lab.nodes[name])
        for node, output in labs.each_setup(self.lab, options.forward, (self.family,)):
            screen.command(f"scripts/frontend-setup {options.forward} {self.vip}   (on {node.name})", output)
        if options.topology == "external":
            self.check_that_only_fairlead_can_forward()

    def check_that_only_fairlead_can_forward(self):
        node = self.lab.lb
        forwarding = node.run("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding").stdout
        self.claim(forwarding.split() == ["0", "0"], "the balancer's kernel does not forward")
        tables = node.run("cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names", check=False).stdout
        rules = ""
        if labs.shutil.which("nft"):
            rules = node.run("nft", "list", "ruleset", check=False).stdout
        self.claim(not rules.strip() and not tables.strip(), "the balancer has no netfilter rule")
        self.claim(self.vip not in [a["local"] for link in json.loads(node.run("ip", "-j", "addr").stdout)
                                    for a in link["addr_info"]], "the balancer's kernel does not have the VIP")

    def start_balancers(self):
        screen = self.screen
        screen.head("Fairlead starts")
        config = make_config(self.lab, self.options.forward, self.family, check={
            "interval": f"{INTERVAL_MS}ms", "timeout": f"{TIMEOUT_MS}ms", "rise": RISE, "fall": FALL})
        screen.command("cat fairlead.toml", config)
        for name in self.lab.steering:
            self.balancers.append(Lbd(self.lab, self.lab.nodes[name], config).start())
        for balancer in self.balancers:
            balancer.wait_up(master=True, slave=True)
            mode = balancer.attached_mode()
            self.claim(mode == "native", f"XDP program attached to eth0 of {balancer.node.name}: {mode}")
        if self.options.topology == "on-master":
            self.place_vip(self.lab.master)
        self.show("status", "services", "backends")
        client = self.lab.client.address(self.family)
        source, target = (f"[{client}]:40000", f"[{self.vip}]:80") if self.family == 6 else \
                         (f"{client}:40000", f"{self.vip}:80")
        screen.command(f"lbctl explain {source} {target}", self.active.lbctl("explain", source, target).stdout)

    def place_vip(self, node):
        """This version has no election between the nodes: here the client's neighbour entry says who holds the VIP."""
        self.screen.say(f"(no high availability yet: the demo itself puts the VIP on {node.name})")
        self.lab.client.run("ip", "neigh", "replace", self.vip, "lladdr", node.mac, "dev", "eth0", "nud", "permanent")

    def all_well(self):
        self.screen.head("All is well: concurrent requests, none of them repeated")
        self.load = Load(self.lab, self.lab.client, self.vip)
        begin = time.monotonic()
        time.sleep(2 * OBSERVE_S)
        records = [r for r in self.load.records() if r.begin >= begin]
        served = {name: sum(r.server == name for r in records) for name in ("master", "slave")}
        self.claim(records and all(r.result == "ok" for r in records), f"{len(records)} requests, none failed")
        self.claim(served["slave"] == 0, f"all were served by Master ({served['master']})")
        self.show("status", "backends")

    def fail_process(self):
        self.screen.head("Master's nginx is stopped")
        self.fault("process", "slave", self.servers["master"].stop)
        self.show("status", "backends")
        self.screen.head("Master is back")
        self.fault("process back", "master", self.servers["master"].start)
        self.show("backends")

    def fail_link(self):
        self.screen.head("Master's link is cut: silence, the hard failure")
        self.fault("link", "slave", self.cut_master)
        self.show("status", "backends")
        self.screen.head("Master is back")
        self.fault("link back", "master", lambda: self.lab.mend_link(self.lab.master))
        self.show("backends")

    def cut_master(self):
        self.lab.cut_link(self.lab.master)
        return self.hand_over if self.options.topology == "on-master" else None

    def hand_over(self):
        """Master took the VIP down with it; what an election will do is done here when Slave's checks say so."""
        self.balancers.reverse()

        def scrape_once_master_is_down():
            metrics = self.active.metrics()
            return metrics if metrics.total("backend_up", backend="master") == 0 else None

        before = wait_for(scrape_once_master_is_down, "Slave's checks")
        self.place_vip(self.lab.slave)
        self.note_hand_over(self.balancers[1].metrics(), before)

    def fault(self, name, successor, action):
        """Does something to a server until `successor` answers, and notes the window in between."""
        fault = time.monotonic()
        follow_up = action()
        if follow_up:
            follow_up()
        first = wait_for(lambda: self.load.first(fault, successor), f"an answer from {successor}")
        window = self.windows[name] = Window(fault, first.end)
        time.sleep(OBSERVE_S)
        after = [r for r in self.load.records() if r.begin > window.switch]
        self.claim(after and all(r.result == "ok" and r.server == successor for r in after),
                   f"{successor} took over after {window.milliseconds} ms and served {len(after)} requests since")
        if name in ("process", "link"):
            self.claim(window.milliseconds <= FAILOVER_LIMIT_MS,
                       f"within {FAILOVER_LIMIT_MS} ms (interval × fall + timeout + {SLACK_MS})")

    def both_down(self):
        self.screen.head("Both are down: clients get a clear refusal")
        resets = self.total("answered_packets_total", kind="reset")
        silent = self.options.topology == "external"  # else a balancer would be cut off too
        with Load(self.lab, self.lab.client, self.vip) as load:
            time.sleep(0.2)
            if silent:
                self.lab.cut_link(self.lab.master)
                self.lab.cut_link(self.lab.slave)
            else:
                self.servers["master"].stop()
                self.servers["slave"].stop()
            fault = time.monotonic()
            self.active.wait_up(master=False, slave=False)
            # With the nodes' kernels alive a refusal is surely Fairlead's own only once it knows.
            since = fault if silent else time.monotonic()
            first = wait_for(lambda: load.first(since, result="refused"), "a refusal")
            time.sleep(OBSERVE_S)
            records = load.stop()
        self.failed_unnoticed = sum(r.result != "ok" for r in records if r.begin <= first.end)
        records = [r for r in records if r.begin > first.end]
        self.both_down_ms = round((first.end - fault) * 1000)
        refusals = sum(r.result == "refused" for r in records)
        slowest = max((r.end - r.begin for r in records), default=0) * 1000
        self.claim(self.both_down_ms <= REFUSAL_LIMIT_MS, f"first refusal by Fairlead {self.both_down_ms} ms after the fault")
        self.claim(records and refusals == len(records),
                   f"{refusals} of {len(records)} requests since were refused, the slowest within {slowest:.0f} ms")
        answered = self.total("answered_packets_total", kind="reset") - resets
        self.claim(answered >= refusals, f"Fairlead itself sent the refusals ({answered:.0f} resets)")
        self.show("status", "services", "backends", "counters")

    def account(self, records):
        screen = self.screen
        screen.head("The account")
        failures = [r for r in records if r.result != "ok"]
        detection = [r for r in failures if any(w.covers(r) for w in self.windows.values())]
        failed = len(failures) - len(detection)
        for record in [r for r in failures if r not in detection][:5]:
            screen.bad(f"failed outside of all windows: {record}")
        served = {name: sum(r.server == name for r in records) for name in ("master", "slave")}
        screen.say(f"{len(records)} requests: {served['master']} served by Master, {served['slave']} by Slave, "
                   f"{len(detection)} failed while a fault was noticed, {failed} otherwise")
        for name, window in self.windows.items():
            inside = sum(window.covers(r) for r in detection)
            screen.say(f"{name:14}{window.milliseconds:5} ms, {inside:3} requests failed in it")
        self.claim(failed == 0, "no request failed outside of a detection window")
        for name in ("master", "slave"):
            self.compare_counters(name, len(failures) + self.failed_unnoticed)
        return {"engine": f"xdp-{self.active.attached_mode()}", "requests": len(records), "failed": failed,
                "failed_during_detection": len(detection), "served_by": served,
                "failover_ms": {name: self.windows[name].milliseconds for name in ("process", "link")},
                "both_down_refused_ms": self.both_down_ms,
                "xdp_packets": sum(self.counted("backend_packets_total", name) for name in self.servers)}

    def compare_counters(self, name, failures):
        """The program counted a SYN for each connection that the node accepted; a request that failed may have left
        up to two more (its own and one repeated by the client's kernel)."""
        seen = len(self.servers[name].requests(self.vip))
        syns, packets = (self.counted(f"backend_{what}_total", name) for what in ("syns", "packets"))
        self.claim(seen <= syns <= seen + 2 * failures and packets >= 3 * seen,
                   f"{name}: nginx saw {seen} requests; the program counted {syns} connections, {packets} packets")

    def stay(self):
        for node in (self.lab.master, self.lab.slave):
            self.lab.mend_link(node)
        for server in self.servers.values():
            if not server.process.alive():
                server.start()
        self.active.wait_up(master=True, slave=True)
        screen = self.screen
        screen.head("Yours to try; Ctrl-C ends it and removes everything")
        screen.say(f"nsenter --net={self.lab.client.path} curl {labs.http_url(self.vip)}")
        screen.say(f"nsenter --net={self.active.node.path} {labs.LBCTL} --instance {self.active.instance} backends")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Real HTTP requests through a Fairlead VIP in network namespaces, while the "
        "front-end nodes fail and come back. Needs root. Everything it makes is removed at the end.",
        epilog="The last line is one JSON object. Its `requests` are those up to the step in which both nodes are "
        "down; those of that step are all refused, and counted by themselves. Exit status: 0 all claims hold, 1 not, "
        "2 the demonstration could not be set up or driven.")
    parser.add_argument("--topology", choices=["external", "on-master"], default="external",
                        help="balancer on a node of its own (default), or on Master and Slave themselves")
    parser.add_argument("--forward", choices=["l2dsr", "ipip"], default="l2dsr",
                        help="how packets reach the nodes (default: l2dsr)")
    parser.add_argument("--ipv6", action="store_true", help="VIP and nodes by IPv6")
    parser.add_argument("--stay", action="store_true", help="leave it running at the end, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print the JSON object alone")
    options = parser.parse_args()
    missing = labs.require_programs()
    if missing or os.geteuid() != 0:
        print(f"scripts/demo: {'missing: ' + missing if missing else 'needs root'}", file=sys.stderr)
        return 2
    try:
        return Demo(options).run()
    except (LabError, OSError, RuntimeError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("scripts/demo: interrupted; everything removed", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
