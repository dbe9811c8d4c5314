# SPDX-License-Identifier: Apache-2.0
"""lb-dpdk in namespaces: what it costs while nothing comes, and what its exceptions cost the XDP program before it."""

import json
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns"))

from lab import LB_DPDK, LBD, LBCTL, VIP4, Lab, LabError, Lbd, make_config, wait_for  # noqa: E402
from samples import median  # noqa: E402

# Share of exceptions in percent: one frame in so many.
SHARES = {"0": 0, "0.1": 1000, "1": 100, "5": 20}
CONFIG = "[dpdk]\nsupervise = false\nmemory_mb = 96\ncores = [1]\nexceptions = true\nexceptions_per_second = {}\n"
UNLIMITED = 10_000_000
LIMITED = 10_000  # the shipped limit


def missing_programs(programs):
    return ", ".join(str(path) for path in (LB_DPDK, LBD, LBCTL, programs / "live-generator") if not path.exists())


class LbDpdk:
    def __init__(self, lbd):
        self.process = lbd.node.popen("lb-dpdk", LB_DPDK, "--config", lbd.config_file, "--node", lbd.node.name,
                                      "--instance", lbd.instance)
        wait_for(lambda: "by AF_XDP" in self.process.output() or not self.process.alive(), "lb-dpdk to listen", 30)
        if not self.process.alive():
            raise LabError(f"lb-dpdk ended:\n{self.process.output()}")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_cpu_percent(dpdk, seconds):
    before, begun = dpdk.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return 100 * (dpdk.cpu_seconds() - before) / (time.monotonic() - begun)


def generate(lab, programs, every, frames):
    """Forwarded frames a second, in millions, and the share of them that came back. Generator, XDP program and sink are on
    one processor, lb-dpdk on another."""
    output = lab.sw.run("taskset", "-c", "0", programs / "live-generator", "--interface", lab.lb.peer(), "--source", "02:00:00:00:00:c1",
                        "--destination", lab.lb.mac, "--vip", VIP4, "--frames", frames, "--exceptions-every", every,
                        timeout=120).stdout
    counted = json.loads(output)
    return counted["seen"] / counted["seconds"] / 1e6, counted["seen"] / counted["wanted"]


def start(lab, limit):
    config = make_config(lab, forward="ipip", head=CONFIG.format(limit),
                         pool={"checks": [{"type": "tcp", "port": 80, "interval": "1s", "timeout": "500ms"}]})
    return LbDpdk(Lbd(lab, lab.lb, config).start())


def measure_shares(lab, programs, rounds, frames):
    samples = {share: [] for share in SHARES}
    whole = 1.0
    for _ in range(rounds):
        for share, every in SHARES.items():
            mpps, arrived = generate(lab, programs, every, frames)
            samples[share].append(mpps)
            whole = min(whole, arrived)
    return {"mpps": {share: median(values) for share, values in samples.items()},
            "of_none": {share: median(values) / median(samples["0"]) for share, values in samples.items()},
            "least_arrived": whole, "samples": samples}


def measure(programs, rounds, frames, idle_seconds):
    """idle_cpu_percent; exception_cost: XDP's rate of forwarded frames with each share of exceptions, all handed over, and
    with the shipped limit of rate."""
    missing = missing_programs(programs)
    if missing:
        raise LabError(f"missing: {missing}")
    result = {}
    for name, limit in (("exception_cost", UNLIMITED), ("exception_cost_limited", LIMITED)):
        print(f"bench: dpdk: {name} ...", file=sys.stderr, flush=True)
        with Lab(run_id=f"dpdk{os.getpid()}") as lab:
            for node in ("master", "slave"):
                lab.nginx(lab.nodes[node])
            dpdk = start(lab, limit)
            result.setdefault("idle_cpu_percent", idle_cpu_percent(dpdk, idle_seconds))
            result[name] = measure_shares(lab, programs, rounds, frames)
    return result
