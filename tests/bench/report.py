# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmark programs, makes one object of what they print, and holds it against the limits."""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import churn_report
import connections_report
import differential_report
import dpdk_report
import e2e_report
import failover_report
import front_end_failover_report
import sync_report
from samples import WIDE_SPREAD, interquartile, number

# In the order of the report.
FIGURES = {
    "xdp": ["loop_ns", "driver_ns", "floor_pass_ns", "floor_encap_ns", "not_vip_ns",
            "steady_ipip4_1flow_ns", "steady_ipip4_1mflows_ns", "steady_ipip6_1flow_ns", "steady_l2dsr_1flow_ns",
            "pinned_hit_1flow_ns", "pinned_hit_1mflows_ns", "syn_insert_ns", "syn_flood_settled_ns", "bytes_per_pin",
            "live_ratio_1flow", "live_ratio_1mflows", "verified_insns"],
    "maglev": ["maglev_65536_1000_ms"],
    "control": ["flap_to_last_slot_ms", "reload_10k_services_ms", "tables_mib_default"],
}
# Figure: (at most or at least, factor, of what figure of the same run; None = of 1).
LIMITS = {
    "steady_ipip4_1flow_ns": ("most", 2.5, "floor_encap_ns"),
    "steady_ipip6_1flow_ns": ("most", 2.5, "floor_encap_ns"),
    "steady_ipip4_1mflows_ns": ("most", 1.3, "steady_ipip4_1flow_ns"),
    "pinned_hit_1flow_ns": ("most", 1.8, "steady_ipip4_1flow_ns"),
    "syn_insert_ns": ("most", 3, "steady_ipip4_1flow_ns"),
    "bytes_per_pin": ("most", 8, None),
    "not_vip_ns": ("most", 2.0, "floor_pass_ns"),
    "live_ratio_1flow": ("least", 0.75, None),
    "live_ratio_1mflows": ("least", 0.70, None),
    "flap_to_last_slot_ms": ("most", 5, None),
    "tables_mib_default": ("most", 64, None),
}


def commands(bench, programs, rounds, quick):
    xdp = [programs / "xdp-bench", "--live", "--rounds", str(rounds or (5 if quick else 15))]
    control = [programs / "control-bench", "--flaps", str(rounds or (5 if quick else 15)),
               "--reloads", str(min(rounds, 15) if rounds else 1 if quick else 5)]
    if quick:
        xdp += ["--repeat", "200000", "--live-frames", "500000"]
    every = {"xdp": xdp, "maglev": [programs / "maglev-bench"], "control": control}
    return every if bench == "xdp" else {bench: every[bench]}


def run(name, command):
    print(f"bench: {name} ...", file=sys.stderr, flush=True)
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        print(f"bench: {Path(command[0]).name} ended with {result.returncode}: nothing is reported", file=sys.stderr)
        sys.exit(2)
    return json.loads(result.stdout)


def merge(outputs):
    """The promised names first and flat; samples and spread of all programs together; the rest under its program."""
    figures, samples, spread, details = {}, {}, {}, {}
    for bench, output in outputs.items():
        for name in FIGURES[bench]:
            figures[name] = output.pop(name)
        samples.update(output.pop("samples", {}))
        spread.update(output.pop("spread", {}))
        for name, values in output.pop("live_samples", {}).items():
            samples[f"live_{name}_ns"] = values
            spread[f"live_{name}_ns"] = interquartile(values)
        details[bench] = output
    return {**figures, "spread": spread, "samples": samples, "details": details}


def verdicts(result):
    """Figure -> what it is measured by, its limit, and whether it keeps it."""
    found = {}
    for name, (kind, factor, base) in LIMITS.items():
        if name not in result:
            continue
        value = result[name] / result[base] if base else result[name]
        kept = value <= factor if kind == "most" else value >= factor
        found[name] = {"value": value, "kind": kind, "limit": factor, "of": base, "kept": kept}
        if base:  # the same with the kernel's test loop taken off both: for people, no limit is on it
            loop = result["loop_ns"]
            found[name]["without_loop"] = (result[name] - loop) / max(result[base] - loop, 0.001)
    return found


def spread_of(result, name):
    live = {"live_ratio_1flow": "live_1flow_ns", "live_ratio_1mflows": "live_1mflows_ns"}
    return result["spread"].get(live.get(name, name))


def print_table(result):
    print(f"{'figure':<26}{'median':>12}{'spread':>9}   limit")
    for name in (name for names in FIGURES.values() for name in names if name in result):
        spread = spread_of(result, name)
        line = f"{name:<26}{number(result[name]):>12}{'' if spread is None else f'{spread:.0%}':>9}   "
        verdict = result["verdicts"].get(name)
        if verdict:
            ratio = f"{verdict['value']:.2f} × {verdict['of']}, " if verdict["of"] else ""
            line += f"{ratio}at {verdict['kind']} {verdict['limit']}: {'kept' if verdict['kept'] else 'MISSED'}"
            if verdict["of"]:
                line += f" ({verdict['without_loop']:.2f} without loop_ns)"
        print(line.rstrip())
    load = ", ".join(f"{value:.1f}" for value in result["machine"]["load_before"])
    print(f"\nload before: {load} on {result['machine']['cpus']} processors, kernel {result['machine']['kernel']}")
    wide = [name for name in result["verdicts"] if (spread_of(result, name) or 0) > WIDE_SPREAD]
    if wide:
        print(f"more than {WIDE_SPREAD:.0%} spread, so measure again on a quieter machine: " + ", ".join(wide))


def report_programs(options):
    wanted = commands(options.bench, options.programs, options.rounds, options.quick)
    result = merge({name: run(name, command) for name, command in wanted.items()})
    result["verdicts"] = verdicts(result)
    return result


def report_e2e(options):
    """In this process, so that a signal takes its namespaces down whoever gets it."""
    import e2e  # it needs the lab of tests/netns, the others need nothing of it
    rounds, seconds = (3, 2) if options.quick else (7, 5)
    try:
        measured = e2e.measure(options.programs / "paced-client", options.rounds or rounds, options.seconds or seconds,
                               options.rate, patient=not options.quick)
    except e2e.LabError as error:
        print(f"bench: e2e: {error}: nothing is reported", file=sys.stderr)
        sys.exit(2)
    return e2e_report.summarize(measured)


def report_failover(options):
    import failover  # as e2e, and keepalived of tests/interop
    try:
        measured = failover.measure(options.programs, options.runs or (3 if options.quick else 10))
    except failover.LabError as error:
        print(f"bench: failover: {error}: nothing is reported", file=sys.stderr)
        sys.exit(2)
    return failover_report.summarize(measured)


def report_connections(options):
    command = [options.programs / "connections-bench", "--seed", str(options.seed or 1)]
    return connections_report.summarize(run("connections", command + (["--flows", "100000"] if options.quick else [])))


def report_sync(options):
    return sync_report.summarize(run("sync", [options.programs / "sync-bench"] + (["--pins", "100000"] if options.quick else [])))


def report_differential(options):
    packets = differential_report.QUICK if options.quick else differential_report.FULL
    command = [options.programs / "differential-bench", "--packets", str(packets), "--seed", str(options.seed or 1)]
    return differential_report.summarize(run("differential", command), options.quick)


def report_dpdk(options):
    import dpdk_lab  # as e2e
    try:
        return dpdk_report.summarize(dpdk_report.measure(run, dpdk_lab, options.programs, options.rounds, options.quick))
    except dpdk_lab.LabError as error:
        print(f"bench: dpdk: {error}: nothing is reported", file=sys.stderr)
        sys.exit(2)


def report_front_end_failover(options):
    import front_end_failover  # as e2e
    try:
        measured = front_end_failover.measure(options.programs, options.runs or (3 if options.quick else 10))
    except front_end_failover.LabError as error:
        print(f"bench: front-end-failover: {error}: nothing is reported", file=sys.stderr)
        sys.exit(2)
    return front_end_failover_report.summarize(measured)


def report_churn(options):
    import churn  # as e2e
    try:
        measured = churn.measure(options.programs, **(churn.QUICK if options.quick else {}))
    except churn.LabError as error:
        print(f"bench: churn: {error}: nothing is reported", file=sys.stderr)
        sys.exit(2)
    return churn_report.summarize(measured)


# What has a report of its own: how it is measured, and how it is printed.
OWN_REPORT = {"connections": (report_connections, connections_report.print_table),
              "differential": (report_differential, differential_report.print_table),
              "dpdk": (report_dpdk, dpdk_report.print_table),
              "e2e": (report_e2e, e2e_report.print_table), "failover": (report_failover, failover_report.print_table),
              "front-end-failover": (report_front_end_failover, front_end_failover_report.print_table),
              "sync": (report_sync, sync_report.print_table),
              "churn": (report_churn, churn_report.print_table)}
# What is repeated, or chosen, and by which option; all others have rounds.
REPEATS = {"failover": "runs", "front-end-failover": "runs", "connections": "seed", "differential": "seed",
           "churn": None, "sync": None}


def parse():
    benches = [*FIGURES, *OWN_REPORT]
    usage = f"scripts/bench {'|'.join(benches)} [--json] [--rounds N] [--quick], e2e also [--seconds S] [--rate R], " \
            "failover and front-end-failover [--runs N] and connections and differential [--seed N] instead of --rounds"
    parser = argparse.ArgumentParser(prog="scripts/bench", usage=usage)
    parser.add_argument("bench", choices=benches)
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--check-options", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, choices=range(2, 1001), metavar="N")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=int, choices=range(1, 61), metavar="S")
    parser.add_argument("--rate", type=int, choices=range(10, 1_000_001), metavar="R")
    parser.add_argument("--runs", type=int, choices=range(1, 1001), metavar="N")
    parser.add_argument("--seed", type=int, choices=range(1, 1_000_001), metavar="N")
    options = parser.parse_args()
    repeats = REPEATS.get(options.bench, "rounds")
    if any(getattr(options, name) for name in {"rounds", "runs", "seed"} - {repeats}):
        parser.error("--runs is for failover and front-end-failover, --seed for connections and differential, --rounds for the others; churn "
                     "and sync have none of them")
    if options.bench != "e2e" and (options.seconds or options.rate):
        parser.error("--seconds and --rate are for e2e")
    return options


def figure_of(result, name, otherwise):
    """What `case.figure` names in the result, or another value for what is not a figure of it."""
    for part in name.split("."):
        if part not in result:
            return otherwise
        result = result[part]
    return result


def say_missed(result):
    """On standard error; the exit code that it comes to."""
    doubts = result.get("inconclusive_because", [])
    for reason in doubts:
        print(f"bench: inconclusive: {reason}", file=sys.stderr)
    missed = {name: verdict for name, verdict in result["verdicts"].items() if verdict["kept"] is False}
    for name, verdict in missed.items():
        against = f"{verdict['limit']} × {verdict['of']}" if verdict["of"] else str(verdict["limit"])
        value = number(figure_of(result, name, verdict["value"]))
        print(f"bench: limit missed: {name} is {value}, at {verdict['kind']} {against}", file=sys.stderr)
    return 2 if doubts else 1 if missed else 0


def main():
    options = parse()
    if options.check_options:
        return 0
    machine = {"load_before": os.getloadavg(), "cpus": os.cpu_count(), "kernel": platform.release()}
    measure, show = OWN_REPORT.get(options.bench, (report_programs, print_table))
    result = measure(options)
    result["machine"] = machine
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    return say_missed(result)


if __name__ == "__main__":
    sys.exit(main())
