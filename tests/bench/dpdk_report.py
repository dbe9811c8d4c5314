# SPDX-License-Identifier: Apache-2.0
"""The DPDK engine's rate: dpdk-bench with huge pages, testpmd beside it; then lb-dpdk in namespaces. Held against the limits."""

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from samples import WIDE_SPREAD, interquartile, median, number

FIGURES = ["dpdk_ring_ipip4_1flow_mpps", "dpdk_ring_ipip4_1mflows_mpps", "dpdk_ring_l2dsr_mpps", "dpdk_ring_pinned_mpps",
           "dpdk_ring_pinned_1mflows_mpps", "floor_ring_macswap_mpps", "testpmd_macswap_mpps"]
# Figure: (at least this share, of what figure of the same run).
LIMITS = {
    "dpdk_ring_ipip4_1flow_mpps": (0.6, "floor_ring_macswap_mpps"),
    "dpdk_ring_ipip4_1mflows_mpps": (0.8, "dpdk_ring_ipip4_1flow_mpps"),
    "dpdk_ring_pinned_mpps": (0.75, "dpdk_ring_ipip4_1flow_mpps"),
}
MOST_IDLE_PERCENT = 2
PAGES = Path("/proc/sys/vm/nr_hugepages")
PAGES_WANTED = 64  # of 2 MiB: 64 MiB for each of the two programs, which run one after the other, and room to spare
TESTPMD = ["dpdk-testpmd", "--no-pci", "--no-telemetry", "--in-memory", "--iova-mode=va", "-l", "0,1", "-m", "64",
           "--vdev=net_ring0", "--", "--interactive", "--forward-mode=macswap", "--burst=32", "--total-num-mbufs=2048"]


@contextlib.contextmanager
def huge_pages():
    """Whether there are enough; as many as before once it is over, however it ends."""
    before = PAGES.read_text()

    def end(number, _frame):
        sys.exit(128 + number)

    old = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with contextlib.suppress(OSError):
            PAGES.write_text(str(int(before) + PAGES_WANTED))
        yield int(PAGES.read_text()) - int(before) >= PAGES_WANTED
    finally:
        with contextlib.suppress(OSError):
            PAGES.write_text(before)
        for number, handler in old.items():
            signal.signal(number, handler)


def testpmd_samples(rounds, seconds):
    """Mpps of its macswap over a ring that is both ends of its port: packets go round on one core, nobody writes them anew
    and none crosses to another core. Or why there is none."""
    if not shutil.which(TESTPMD[0]):
        return None, "dpdk-testpmd is not installed (Debian: dpdk-dev)"
    process = subprocess.Popen(TESTPMD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def say(command):
        process.stdin.write(command + "\n")
        process.stdin.flush()
        return time.monotonic()

    try:
        say("start tx_first 16")
        took = []
        time.sleep(1)
        for _ in range(rounds):
            began = say("clear port stats all")
            time.sleep(seconds)
            took.append(say("show port stats all") - began)
            time.sleep(0.02)
        output, _ = process.communicate("stop\nquit\n", timeout=30)
    except (BrokenPipeError, subprocess.TimeoutExpired):
        return None, "dpdk-testpmd did not run"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    counts = [int(count) for count in re.findall(r"RX-packets: (\d+) +RX-missed", output)]
    if len(counts) != rounds or not all(counts):
        return None, "dpdk-testpmd said: " + output[-200:]
    return [count / took[at] / 1e6 for at, count in enumerate(counts)], None


def measure(run, lab, programs, rounds, quick):
    """`run`: report.run(), which ends the report where a program fails; `lab`: the module dpdk_lab."""
    command = [programs / "dpdk-bench", "--rounds", str(rounds or (3 if quick else 15))]
    if quick:
        command += ["--seconds", "0.05"]
    with huge_pages() as huge:
        measured = run("dpdk", command + (["--huge-pages"] if huge else []))
        print("bench: testpmd ...", file=sys.stderr, flush=True)
        samples, reason = testpmd_samples(3 if quick else 7, 0.2) if huge else (None, "no huge pages")
    behind = lab.measure(programs, 3 if quick else 7, 200_000 if quick else 1_000_000, 2 if quick else 5)
    return {**measured, **behind, "testpmd": samples, "no_testpmd_because": reason, "huge_pages": huge}


def verdicts(result):
    """As in report.py."""
    found = {}
    for name, (share, base) in LIMITS.items():
        value = result[name] / result[base]
        found[name] = {"value": value, "kind": "least", "limit": share, "of": base, "kept": value >= share}
    idle = result["idle_cpu_percent"]
    found["idle_cpu_percent"] = {"value": idle, "kind": "most", "limit": MOST_IDLE_PERCENT, "of": None,
                                 "kept": idle <= MOST_IDLE_PERCENT}
    return found


def summarize(measured):
    measured = dict(measured)
    samples = measured.pop("samples")
    testpmd = measured.pop("testpmd")
    if testpmd:
        samples = {**samples, "testpmd_macswap_mpps": testpmd}
    result = {name: median(samples[name]) if name in samples else None for name in FIGURES}
    for name in ("cycles_per_packet", "cycles_fastest_tenth", "application_busy", "idle_cpu_percent", "exception_cost",
                 "exception_cost_limited"):
        result[name] = measured.pop(name)
    result["testpmd_null_because"] = measured.pop("no_testpmd_because")
    result["huge_pages"] = measured.pop("huge_pages")
    result["spread"] = {name: interquartile(values) for name, values in samples.items()}
    result["samples"] = samples
    result["verdicts"] = verdicts(result)
    return result


def print_table(result):
    print(f"{'figure':<32}{'median':>9}{'spread':>8}{'cycles':>8}{'busy':>6}   limit")
    for name in FIGURES:
        case = name.removesuffix("_mpps")
        if result[name] is None:
            print(f"{name:<32}{'none':>9}   {result['testpmd_null_because']}")
            continue
        line = f"{name:<32}{number(result[name]):>9}{result['spread'][name]:>8.0%}"
        if case in result["cycles_per_packet"]:
            line += f"{result['cycles_per_packet'][case]:>8.0f}{result['application_busy'][case]:>6.0%}"
        verdict = result["verdicts"].get(name)
        if verdict:
            line = f"{line:<63}   {verdict['value']:.2f} × {verdict['of']}, at least {verdict['limit']}: " \
                   f"{'kept' if verdict['kept'] else 'MISSED'}"
        print(line)
    idle = result["verdicts"]["idle_cpu_percent"]
    print(f"\nidle_cpu_percent {number(idle['value'])}, at most {idle['limit']}: {'kept' if idle['kept'] else 'MISSED'}")
    for name in ("exception_cost", "exception_cost_limited"):
        shares = ", ".join(f"{share} %: {number(result[name]['mpps'][share])} ({of_none:.2f})"
                           for share, of_none in result[name]["of_none"].items())
        print(f"{name}, Mpps that the XDP program forwards with a share of exceptions: {shares}")
    load = ", ".join(f"{value:.1f}" for value in result["machine"]["load_before"])
    print(f"\nload before: {load} on {result['machine']['cpus']} processors, kernel {result['machine']['kernel']}; "
          f"{'huge pages' if result['huge_pages'] else 'no huge pages'}")
    wide = [name for name, spread in result["spread"].items() if (spread or 0) > WIDE_SPREAD]
    if wide:
        print(f"more than {WIDE_SPREAD:.0%} spread, so measure again on a quieter machine: " + ", ".join(wide))
