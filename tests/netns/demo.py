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
from downloading import Downloading
from drain_demo import DrainDemo
from lab import LabError, Lbd, make_config, wait_for
from load import Load
from pair_demo import PairDemo
from screen import Window

INTERVAL_MS, TIMEOUT_MS, FALL, RISE = 200, 150, 2, 2
SLACK_MS = 200  # what the machine may add to the detection itself
FAILOVER_LIMIT_MS = INTERVAL_MS * FALL + TIMEOUT_MS + SLACK_MS
REFUSAL_LIMIT_MS = 1000
OBSERVE_S = 1.0  # how long each state is watched after it was reached
DOWNLOAD_RATE = 3_000_000  # bytes a second: it begins before Master comes back, and ends after
FAILBACKS = ("process back", "link back")


class Demo(Downloading):
    """The front-end nodes fail."""

    TIERS = "Master is tier 0, Slave tier 1"

    def __init__(self, options):
        super().__init__(options)
        self.both_down_ms, self.failed_unnoticed, self.handed_over = None, 0, Counter()
        self.kept = 0  # downloads that went on over a failback

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

    def steps(self):
        self.prepare()
        self.start_balancers()
        self.all_well()
        self.fail_process()
        self.fail_link()
        records = self.load.stop()
        self.both_down()
        return self.account(records)

    def prepare(self):
        super().prepare()
        if self.options.topology == "external":
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
            "interval": f"{INTERVAL_MS}ms", "timeout": f"{TIMEOUT_MS}ms", "rise": RISE, "fall": FALL},
            **self.engine_settings())
        screen.command("cat fairlead.toml", config)
        for name in self.lab.steering:
            self.balancers.append(Lbd(self.lab, self.lab.nodes[name], config).start())
        for balancer in self.balancers:
            balancer.wait_up(master=True, slave=True)
            mode = balancer.attached_mode()
            self.claim(mode == "native", f"XDP program attached to eth0 of {balancer.node.name}: {mode}")
        if self.options.engine == "dpdk":
            self.wait_for_dpdk()
        if self.options.topology == "on-master":
            self.place_vip(self.lab.master)
        self.show("status", "services", "backends")
        words = self.explained(40000)
        screen.command(f"lbctl {' '.join(words)}", self.active.lbctl(*words).stdout)

    def engine_settings(self):
        """What the configuration says of the engine."""
        if self.options.engine == "xdp":
            return {}
        return {"nodes": {name: {"engine": "dpdk"} for name in self.lab.steering}, "head": "[dpdk]\nmemory_mb = 128\n"}

    def wait_for_dpdk(self):
        for balancer in self.balancers:
            found = wait_for(lambda: balancer.lbctl_json("status")["lb_dpdk"], "lb-dpdk", 30)
            self.claim(balancer.lbctl_json("status")["ports"][0]["engine"] == "dpdk",
                       f"lb-dpdk (process {found['pid']}) steers on {balancer.node.name}; the program hands it what is for the VIP")

    def place_vip(self, node):
        """Without [ha] nothing elects: the client's neighbour entry says who holds the VIP."""
        self.screen.say(f"(without [ha], which --pair shows: the demo itself puts the VIP on {node.name})")
        self.lab.client.run("ip", "neigh", "replace", self.vip, "lladdr", node.mac, "dev", "eth0", "nud", "permanent")

    def all_well(self):
        self.screen.head("All is well: concurrent requests, none of them repeated")
        self.load = Load(self.lab, self.lab.client, self.vip)
        begin = time.monotonic()
        time.sleep(2 * OBSERVE_S)
        records = [r for r in self.load.records() if r.begin >= begin]
        served = self.served_by(records)
        self.claim(records and all(r.result == "ok" for r in records), f"{len(records)} requests, none failed")
        self.claim(served["slave"] == 0, f"all were served by Master ({served['master']})")
        self.show("status", "backends")

    def fail_process(self):
        self.screen.head("Master's nginx is stopped")
        self.fault("process", "slave", self.servers["master"].stop)
        self.show("status", "backends")
        self.screen.head("Master is back")
        self.failback("process back", self.servers["master"].start)
        self.show("backends")

    def fail_link(self):
        self.screen.head("Master's link is cut: silence, the hard failure")
        self.fault("link", "slave", self.cut_master)
        self.show("status", "backends")
        self.screen.head("Master is back")
        self.failback("link back", lambda: self.lab.mend_link(self.lab.master))
        self.show("backends")

    def cut_master(self):
        self.lab.cut_link(self.lab.master)
        return self.hand_over if self.options.topology == "on-master" else None

    def hand_over(self):
        """Master took the VIP down with it; what an election does is done here when Slave's checks say so."""
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

    def failback(self, name, action):
        """Master takes the VIP's traffic back while a client downloads from Slave."""
        self.choose_port("slave")
        self.begin_download(DOWNLOAD_RATE)
        wait_for(lambda: self.downloaded() > 0, "the download's first bytes")
        self.fault(name, "master", action)
        self.claim(self.curl.alive(), f"a download that Slave began goes on: {self.downloaded() / 1e6:.1f} MB so far")
        self.kept += self.end_download()["checksum_right"]
        self.target.unlink()

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
        self.screen.head("The account")
        detection, other = self.told_apart(records)
        at_failback = [r for r in detection if any(self.windows[name].covers(r) for name in FAILBACKS)]
        self.claim(not at_failback, "no request failed while Master took its traffic back")
        for name in ("master", "slave"):
            self.compare_counters(name, len(detection) + len(other) + self.failed_unnoticed)
        engine = self.active.lbctl_json("status", check=False)["ports"][0]["engine"]
        return {"engine": engine, "requests": len(records), "failed": len(other),
                "failed_during_detection": len(detection), "failed_during_failback": len(at_failback),
                "downloads_kept": self.kept, "served_by": self.served_by(records),
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

    def make_whole(self):
        for node in (self.lab.master, self.lab.slave):
            self.lab.mend_link(node)
        for server in self.servers.values():
            if not server.process.alive():
                server.start()
        self.active.wait_up(master=True, slave=True)


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Real HTTP requests through a Fairlead VIP in network namespaces, while the "
        "front-end nodes fail and come back; with --pair, a download through a VIP that two balancers share, while "
        "a front-end node is drained and the active balancer dies; with --drain, a download from a front-end node that is drained meanwhile. Needs root. Everything it makes is removed at the end.",
        epilog="The last line is one JSON object. Its `requests` are those up to the step in which both nodes are "
        "down; those of that step are all refused, and counted by themselves. Exit status: 0 all claims hold, 1 not, "
        "2 the demonstration could not be set up or driven.")
    parser.add_argument("--pair", action="store_true",
                        help="two balancers and one VIP (VRRP): a drain, in which the node of the active one dies, and comes back")
    parser.add_argument("--drain", action="store_true",
                        help="a front-end node is drained while a client downloads from it")
    parser.add_argument("--topology", choices=["external", "on-master"], default="external",
                        help="balancers on nodes of their own (default), or on Master and Slave themselves")
    parser.add_argument("--forward", choices=["l2dsr", "ipip"], default="l2dsr",
                        help="how packets reach the nodes (default: l2dsr)")
    parser.add_argument("--ipv6", action="store_true", help="VIP and nodes by IPv6")
    parser.add_argument("--engine", choices=["xdp", "dpdk"], default="xdp",
                        help="who steers: the XDP program (default), or lb-dpdk over AF_XDP")
    parser.add_argument("--stay", action="store_true", help="leave it running at the end, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print the JSON object alone")
    options = parser.parse_args()
    if options.engine == "dpdk" and (options.pair or options.drain):
        parser.error("--engine goes with neither --pair nor --drain")
    if options.drain and (options.pair or options.topology != "external"):
        parser.error("--drain goes with neither --pair nor --topology on-master")
    missing = labs.require_programs()
    if missing or os.geteuid() != 0:
        print(f"scripts/demo: {'missing: ' + missing if missing else 'needs root'}", file=sys.stderr)
        return 2
    try:
        return (PairDemo if options.pair else DrainDemo if options.drain else Demo)(options).run()
    except (LabError, OSError, RuntimeError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("scripts/demo: interrupted; everything removed", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
