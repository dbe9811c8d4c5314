# SPDX-License-Identifier: Apache-2.0
"""HTTP from a client to nginx on two backends, end to end, four ways through the same namespaces:

    client ── router ──┬── lb            what is in lb differs: `direct`, `haproxy`, `fairlead_l2dsr`, `fairlead_ipip`
                       ├── master        nginx
                       └── slave         nginx

All cases ask the same VIP, and the router sends what is for it to lb, so that every request goes the same hops. In
`direct`, lb is a plain router: the kernel forwards by a route with two next hops, chosen by the flow's hash. Each case
has lb, and the network around it, to itself: what native XDP on veth needs of the other end is there only while XDP is.
"""

import contextlib
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns"))

from lab import (VIP4, Lab, LabError, Lbd, Nginx, make_config, require_programs, setup_backends,  # noqa: E402
                 wait_for)

CASES = ("direct", "haproxy", "fairlead_l2dsr", "fairlead_ipip")
BACKENDS = ("master", "slave")
WRK_CONNECTIONS, PACED_CONNECTIONS = 64, 32
FILE_BYTES = 1024
# Share of what HAProxy answers at most: open-loop requests cost more each than a full machine's, which come in batches.
PACED_SHARE = 0.125
WARM_UP_SECONDS = 0.5
# Of the packets, for each backend: 64 connections chosen by hash never come to less, unless one is not used at all.
LEAST_SHARE = 0.15
# A round is worth more the less else ran during it. At most so many times the rounds asked for are run to find quiet ones.
QUIET_PERCENT = 10
PATIENCE = 2

HAPROXY = """
global
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 50s
    timeout server 50s
listen web
    bind {vip}:80
    balance roundrobin
{servers}
"""


class QuietNginx(Nginx):
    """nginx as one would run it for speed: a small static file, no access log, connections that stay."""

    TEMPLATE = """
daemon off; user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; keepalive_timeout 600; keepalive_requests 1000000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
{listen}
        server_name _; root {folder}/www; default_type text/plain; add_header X-Server {name};
    }}
}}
"""

    def start(self):
        (self.folder / "www/index.html").write_bytes(b"f" * FILE_BYTES)
        super().start()


# --- The machine's time ---------------------------------------------------------------------------------------------

def cpu_times():
    """Seconds of all processors since boot, by /proc/stat's names, and the clock."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    ticks = os.sysconf("SC_CLK_TCK")
    return {**{name: int(value) / ticks for name, value in zip(names, fields)}, "clock": time.monotonic()}


def cpu_between(before, after):
    """Busy is all that is not idle: the kernel times idling exactly, and the rest by samples at its timer's ticks."""
    spent = {name: after[name] - before[name] for name in before}
    total = spent["clock"] * os.cpu_count()
    busy = total - spent["idle"] - spent["iowait"] - spent["steal"]
    interrupts = spent["irq"] + spent["softirq"]
    return {"seconds": spent["clock"], "busy": max(busy, 0.0), "total": total, "interrupts": interrupts,
            "steal": spent["steal"]}


@contextlib.contextmanager
def measured_cpu(result, processes=()):
    """Fills the dict with what the machine did during the block, and how much of it these processes did."""
    own, before = own_time(processes), cpu_times()
    yield
    result.update(cpu_between(before, cpu_times()), own=own_time(processes) - own)


def own_time(processes):
    """Seconds that the processes, their children, the kernel's softirq threads and what has ended here ran so far.

    A packet's way through the namespaces is run by whoever sent it, or by a softirq thread when there is much to do; so
    this is nearly all of the load's time, whatever else the machine is busy with.
    """
    alive = [process.pid for process in processes if process.alive()]
    pids = [*alive, *(child for pid in alive for child in children_of(pid))]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(map(run_time, pids + SOFTIRQ_THREADS)) + ended.ru_utime + ended.ru_stime


def children_of(pid):
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())


def run_time(pid):
    return sum(int(path.read_text(encoding="ascii").split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


SOFTIRQ_THREADS = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm")
                   if path.read_text(encoding="ascii", errors="replace").startswith("ksoftirqd/")]


def measure_idle(seconds):
    result = {}
    with measured_cpu(result):
        time.sleep(seconds)
    return result


# --- What stands in lb ----------------------------------------------------------------------------------------------

class Bench:
    """The lab, and the four ways of standing between router and backends. Not for use from several threads."""

    def __init__(self, lab, paced_client):
        self.lab, self.paced_client = lab, paced_client
        for name in BACKENDS:
            QuietNginx(lab, lab.nodes[name])
        lab.router.batch([f"route add {VIP4}/32 via {lab.lb.v4}"])
        lab.lb.sysctl(**{"net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.eth0.send_redirects": 0,
                         "net.ipv4.fib_multipath_hash_policy": 1})
        self.undo_xdp()

    @contextlib.contextmanager
    def arranged(self, case):
        """The network as the case wants it; as it was, afterwards."""
        with getattr(self, case)():
            wait_for(self.answers, f"an answer from {VIP4} in case {case}")
            before = self.received()
            yield
            got = {name: count - before[name] for name, count in self.received().items()}
            if min(got.values()) < LEAST_SHARE * sum(got.values()):
                raise LabError(f"case {case} did not use both backends: packets {got}")

    def received(self):
        return {name: self.lab.nodes[name].counter("rx_packets") for name in BACKENDS}

    def answers(self):
        return self.lab.client.run("curl", "-sS", "--fail", "-o", "/dev/null", "--max-time", 1, f"http://{VIP4}/",
                                   check=False).returncode == 0

    @contextlib.contextmanager
    def backends_hold_vip(self, forward):
        setup_backends(self.lab, forward, (4,), names=BACKENDS)
        try:
            yield
        finally:
            for name in BACKENDS:
                self.lab.frontend_setup(self.lab.nodes[name], forward, VIP4, "--interface", "eth0", "--instance",
                                        f"fl-{self.lab.run_id}-{name}", "--undo")

    @contextlib.contextmanager
    def direct(self):
        lb = self.lab.lb
        hops = " ".join(f"nexthop via {self.lab.nodes[name].v4}" for name in BACKENDS)
        with self.backends_hold_vip("l2dsr"):
            lb.sysctl(**{"net.ipv4.ip_forward": 1})
            lb.batch([f"route add {VIP4}/32 {hops}"])
            try:
                yield
            finally:
                lb.batch([f"route del {VIP4}/32"])
                lb.sysctl(**{"net.ipv4.ip_forward": 0})

    @contextlib.contextmanager
    def haproxy(self):
        lb, config = self.lab.lb, self.lab.folder / "haproxy.cfg"
        servers = "\n".join(f"    server {name} {self.lab.nodes[name].v4}:80 check inter 2s" for name in BACKENDS)
        config.write_text(HAPROXY.format(vip=VIP4, servers=servers))
        lb.batch([f"addr add {VIP4}/32 dev lo"])
        process = lb.popen("haproxy", "haproxy", "-db", "-f", config)
        try:
            yield
        finally:
            process.stop()
            lb.batch([f"addr del {VIP4}/32 dev lo"])

    @contextlib.contextmanager
    def fairlead(self, forward):
        config = make_config(
            self.lab, forward, pool={"checks": [{"type": "tcp", "port": 80, "interval": "2s"}]},
            backends=[{"name": name, "address": self.lab.nodes[name].v4} for name in BACKENDS])
        with self.xdp_prepared(forward), self.backends_hold_vip(forward):
            lbd = Lbd(self.lab, self.lab.lb, config)
            try:
                lbd.start()
                lbd.wait_up(master=True, slave=True)
                if lbd.attached_mode() != "native":
                    raise LabError(f"lbd attached in mode {lbd.attached_mode()}, not native")
                with self.forwards(lbd):
                    yield
            finally:
                lbd.stop()
                lbd.lbctl("detach", "--all", check=False)  # an lbd that never came up has nothing to detach

    def fairlead_l2dsr(self):
        return self.fairlead("l2dsr")

    def fairlead_ipip(self):
        return self.fairlead("ipip")

    @contextlib.contextmanager
    def forwards(self, lbd):
        """That it is Fairlead that forwards what happens in the block."""
        def packets():
            return lbd.metrics().total("service_packets_total", service="web")
        before = packets()
        yield
        if packets() <= before:
            raise LabError("Fairlead forwarded nothing")

    # --- what native XDP on veth needs of the peer, and a network card does not ---

    @contextlib.contextmanager
    def xdp_prepared(self, forward):
        names = ["lb", *(BACKENDS if forward == "ipip" else ())]
        for name in names:
            self.lab.sw.run("ethtool", "-K", f"p-{name}", "tx", "off")
        self.lab.sw.run("ip", "link", "set", "dev", "p-lb", "xdpdrv", "obj", self.lab.folder / "pass.bpf.o",
                        "sec", "xdp.frags")
        try:
            yield
        finally:
            self.undo_xdp()

    def undo_xdp(self):
        """Also what the lab itself did when it was built."""
        for name in ("lb", *BACKENDS):
            self.lab.sw.run("ethtool", "-K", f"p-{name}", "tx", "on")
        self.lab.sw.run("ip", "link", "set", "dev", "p-lb", "xdpdrv", "off")

    # --- load ---

    def wrk(self, seconds):
        """Requests as fast as they are answered."""
        output = self.client_program("wrk", "wrk", "-t", os.cpu_count(), "-c", WRK_CONNECTIONS, "-d", f"{seconds}s",
                                     "-s", HERE / "wrk_report.lua", f"http://{VIP4}/", seconds=seconds)
        return json.loads(output.splitlines()[-1])

    def paced(self, seconds, rate):
        return json.loads(self.client_program(
            "paced", self.paced_client, VIP4, 80, "--rate", rate, "--seconds", seconds, "--connections",
            PACED_CONNECTIONS, "--warm-up", WARM_UP_SECONDS, seconds=seconds))

    def client_program(self, name, *command, seconds):
        process = self.lab.client.popen(name, *command)
        status = process.popen.wait(seconds + 30)
        self.lab.processes.remove(process)
        if status != 0:
            raise LabError(f"{name} ended with {status}:\n{process.output()}")
        return process.output()

    def measure(self, case, seconds, rate):
        """One round of one case: half the idling, all the load, the other half; then the paced load."""
        idle, load, paced_load = [], {}, {}
        with self.arranged(case):
            self.wrk(1)
            idle.append(measure_idle(seconds / 2))
            with measured_cpu(load, self.lab.processes):
                answered = self.wrk(seconds)
            idle.append(measure_idle(seconds / 2))
            with measured_cpu(paced_load, self.lab.processes):
                paced = self.paced(seconds, rate)
        return figures(answered, load, idle, paced, paced_load)

    def calibrate(self):
        """A rate at which even HAProxy leaves the machine mostly idle."""
        with self.arranged("haproxy"):
            self.wrk(1)
            answered = self.wrk(2)
        return max(50, round(PACED_SHARE * answered["requests"] / answered["duration_us"] * 1e6, -2))


def figures(answered, load, idle, paced, paced_load):
    """What one round of one case amounts to. CPU is what the load added to what ran without it."""
    requests = max(answered["requests"], 1)
    background = sum(part["busy"] for part in idle) / sum(part["seconds"] for part in idle)
    return {
        "rps": requests / answered["duration_us"] * 1e6,
        "p50_ms": answered["p50_us"] / 1e3,
        "p99_ms": answered["p99_us"] / 1e3,
        "cpu_us_per_request": (load["busy"] - background * load["seconds"]) / requests * 1e6,
        "own_cpu_us_per_request": load["own"] / requests * 1e6,
        "interrupt_us_per_request": load["interrupts"] / requests * 1e6,
        "paced_p50_ms": paced["p50_ms"],
        "paced_p99_ms": paced["p99_ms"],
        "paced_cpu_us_per_request": (paced_load["busy"] - background * paced_load["seconds"]) / paced["sent"] * 1e6,
        "paced_own_cpu_us_per_request": paced_load["own"] / paced["sent"] * 1e6,
        "paced_rate": paced["rate"],
        "busy_percent": 100 * paced_load["busy"] / paced_load["total"],
        "background_percent": 100 * background / os.cpu_count(),
        "steal_percent": 100 * (load["steal"] + paced_load["steal"]) / (load["total"] + paced_load["total"]),
        "requests": requests + paced["requests"],
        "failed": answered["failed"] + paced["failed"],
    }


# --- Rounds ---------------------------------------------------------------------------------------------------------

def order_of(number):
    """In four rounds each case has each place once, and comes once after each other one (a Latin square of Williams)."""
    return [CASES[(number + place) % len(CASES)] for place in (0, 1, 3, 2)]


def background_of(one_round):
    return max(case["background_percent"] for case in one_round.values())


def run_rounds(bench, rounds, most, seconds, rate):
    """Rounds until as many as asked for were quiet, but no more than `most`; the quietest of them."""
    done = []
    while len(done) < most and sum(background_of(one) <= QUIET_PERCENT for one in done) < rounds:
        measured = {case: bench.measure(case, seconds, rate) for case in order_of(len(done))}
        done.append({case: measured[case] for case in CASES})
        print(f"bench: e2e round {len(done)}: {background_of(done[-1]):.0f} % of the machine was busy without the load",
              file=sys.stderr, flush=True)
    return sorted(done, key=background_of)[:rounds], len(done)


def missing_programs(paced_client):
    found = require_programs()
    return ", ".join([*([found] if found else []), *[p for p in ("wrk", "haproxy") if not shutil.which(p)],
                      *([] if paced_client.exists() else [str(paced_client)])])


def measure(paced_client, rounds=7, seconds=5, rate=None, patient=True):
    """{"rounds": [{case: figures}], "settings"}. Raises LabError where there is nothing to measure."""
    missing = missing_programs(paced_client)
    if missing:
        raise LabError(f"missing: {missing}")
    with Lab(f"e2e{os.getpid()}", router=True) as lab:
        bench = Bench(lab, paced_client)
        rate = rate or bench.calibrate()
        chosen, run_count = run_rounds(bench, rounds, rounds * PATIENCE if patient else rounds, seconds, rate)
    return {"rounds": chosen,
            "settings": {"rounds": rounds, "rounds_run": run_count, "seconds": seconds, "paced_rate": rate,
                         "wrk_connections": WRK_CONNECTIONS, "paced_connections": PACED_CONNECTIONS,
                         "file_bytes": FILE_BYTES, "quiet_percent": QUIET_PERCENT}}
