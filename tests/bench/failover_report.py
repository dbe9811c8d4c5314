# SPDX-License-Identifier: Apache-2.0
"""What the runs of failover.py amount to: an object for each deployment and in it one for each fault, and a verdict on each
limit."""

from collections import Counter

from samples import interquartile, median, number

FAIRLEAD = ("external", "on_master")
DEPLOYMENTS = (*FAIRLEAD, "keepalived")
# Milliseconds of the median outage, by the time between adverts.
OUTAGE_LIMITS = {10: {"silent": 60, "graceful": 20}, 100: {"silent": 400}}
SLOW = "silent_100ms"
# Without the sync connections must break, so many of these at least, or the run is blind to it.
BLIND, BLIND_SHARE = "sync_off", 25
# Between two probes of a sender that was not let run: more, and the outage may be the sender's own.
MOST_SENDER_GAP_MS = 10
COLUMNS = ["outage_ms", "outage_worst_ms", "connections_kept", "connections_broken", "connections_lost_with_node",
           "connections_unsynced", "new_done", "new_failed"]
# Of runs in a transition alone.
TRANSITION_COLUMNS = ["connections_in_transition", "connections_last_interval", "slots_in_transition",
                      "slots_in_transition_after"]


def longest_gap_ms(times_us, since_us, until_us):
    """The longest time without one of these, from the last one before `since_us` on."""
    before = [time for time in times_us if time <= since_us]
    points = [max(before, default=since_us), *(time for time in times_us if time > since_us), until_us]
    return max(later - earlier for earlier, later in zip(points, points[1:])) / 1000


def in_last_interval(later, run):
    """Whether a connection may have been confirmed within the last sync interval before a silent death: its greeting comes
    a moment after that, and may come when the death has begun."""
    if not run.get("cut_ns") or not later["greeted_ns"]:
        return False
    interval_ns = run["sync_ms"] * 1_000_000
    return run["fault_ns"] - interval_ns <= later["greeted_ns"] <= run["cut_ns"] + interval_ns


def count_later(run, counts, reasons):
    """Adds what became of connections that were begun in a transition."""
    for later in run.get("later", []):
        unsynced = in_last_interval(later, run)
        counts["connections_in_transition"] += 0 < later["greeted_ns"] <= run["fault_ns"]
        counts["connections_last_interval"] += unsynced
        if later["kept"]:
            counts["connections_kept"] += 1
        elif later["server"] in run["lost_with"]:
            counts["connections_lost_with_node"] += 1
        elif unsynced:
            counts["connections_unsynced"] += 1
        else:
            counts["connections_broken"] += 1
            reasons[later["reason"]] += 1


def run_object(run):
    probes = run["probes"]
    fault_us = (run["fault_ns"] - probes["began_ns"]) // 1000
    end_us = probes["sent_us"][-1]
    counts, reasons = Counter(), Counter()
    for server, of_server in run["connections"].items():
        lost = server in run["lost_with"]
        counts["connections_kept"] += of_server["kept"]
        counts["connections_lost_with_node" if lost else "connections_broken"] += of_server["broken"]
        reasons.update({} if lost else of_server["reasons"])
    count_later(run, counts, reasons)
    transition = {} if "slots_in_transition" not in run else {
        name: run[name] if name.startswith("slots") else counts[name] for name in TRANSITION_COLUMNS}
    return {**transition, "outage_ms": longest_gap_ms(probes["arrived_us"], fault_us, end_us),
            "sender_gap_ms": longest_gap_ms(probes["sent_us"], fault_us, end_us),
            **{name: counts[name] for name in COLUMNS if name.startswith("connections_")},
            "new_done": run["new"]["done"], "new_failed": run["new"]["failed"],
            "broken_reasons": reasons, "new_reasons": Counter(run["new"]["reasons"])}


def fault_object(runs):
    """Medians of times, sums of counts."""
    outages = [run["outage_ms"] for run in runs]
    return {"outage_ms": median(outages), "outage_worst_ms": max(outages), "outage_spread": interquartile(outages),
            **{name: sum(run[name] for run in runs) for name in COLUMNS if not name.startswith("outage")},
            "broken_reasons": dict(sum((run["broken_reasons"] for run in runs), Counter())),
            "new_reasons": dict(sum((run["new_reasons"] for run in runs), Counter())),
            **{name: sum(run[name] for run in runs) for name in TRANSITION_COLUMNS if name in runs[0]},
            "sender_gap_ms": median([run["sender_gap_ms"] for run in runs]), "runs": len(runs), "samples": outages}


def outage_limit(fault, advert_ms):
    return OUTAGE_LIMITS[100]["silent"] if fault == SLOW else OUTAGE_LIMITS.get(advert_ms, {}).get(fault)


def doubts(result):
    """`deployment.fault` -> why its outage says nothing of the deployment."""
    return {f"{deployment}.{fault}":
            f"{deployment}, {fault}: the sender of probes was not let run for {number(found['sender_gap_ms'])} ms, "
            f"more than {MOST_SENDER_GAP_MS}"
            for deployment, faults in result.items() for fault, found in faults.items()
            if found["sender_gap_ms"] > MOST_SENDER_GAP_MS}


def transition_verdicts(name, figures):
    """That the transition was open when the node died, that there were connections in it, and how few may be lost."""
    found = {f"{name}.slots_in_transition": at_least(figures["slots_in_transition"], figures["runs"]),
             f"{name}.connections_in_transition": at_least(figures["connections_in_transition"], figures["runs"])}
    if not name.endswith(BLIND):
        found[f"{name}.slots_in_transition_after"] = at_least(figures["slots_in_transition_after"], figures["runs"])
    lost, limit = figures["connections_unsynced"], figures["connections_last_interval"]
    return {**found, f"{name}.connections_unsynced": at_most(lost, limit, lost <= limit)}


def at_most(value, limit, kept):
    return {"value": value, "kind": "most", "limit": limit, "of": None, "kept": kept}


def at_least(value, limit):
    return {"value": value, "kind": "least", "limit": limit, "of": None, "kept": value >= limit}


def verdicts(result, doubted, settings):
    """As in report.py; `kept` is None where the run does not say."""
    found = {}
    for deployment in (name for name in FAIRLEAD if name in result):
        for fault, figures in result[deployment].items():
            name, limit = f"{deployment}.{fault}", outage_limit(fault, settings["advert_ms"])
            broken = figures["connections_broken"]
            found[f"{name}.connections_broken"] = at_most(broken, 0, broken == 0) if fault != BLIND else at_least(
                broken, figures["runs"] * settings["connections"] // BLIND_SHARE)
            if "slots_in_transition" in figures:
                found.update(transition_verdicts(name, figures))
            if limit is not None:
                kept = figures["outage_ms"] <= limit
                # What held in spite of the sender holds.
                found[f"{name}.outage_ms"] = at_most(figures["outage_ms"], limit,
                                                     None if name in doubted and not kept else kept)
    return found


def summarize(measured):
    result = {deployment: {fault: fault_object([run_object(run) for run in runs]) for fault, runs in faults.items()}
              for deployment, faults in measured["runs"].items()}
    doubted = doubts(result)
    verdict = verdicts(result, doubted, measured["settings"])
    unsaid = [name.removesuffix(".outage_ms") for name, one in verdict.items() if one["kept"] is None]
    return {**result, "inconclusive": bool(unsaid), "inconclusive_because": [doubted[name] for name in unsaid],
            "verdicts": verdict, "settings": measured["settings"]}


def print_table(result):
    print(f"{'':<32}" + "".join(f"{name.removeprefix('connections_'):>17}" for name in COLUMNS))
    for deployment in (name for name in DEPLOYMENTS if name in result):
        for fault, found in result[deployment].items():
            cells = [found[name] if isinstance(found[name], int) else number(found[name]) for name in COLUMNS]
            print(f"{deployment + ' ' + fault:<32}" + "".join(f"{cell:>17}" for cell in cells))
    print()
    for name, verdict in result["verdicts"].items():
        said = {True: "kept", False: "MISSED", None: "inconclusive"}[verdict["kept"]]
        value = verdict["value"] if isinstance(verdict["value"], int) else number(verdict["value"])
        print(f"{name:<56}{value}, at {verdict['kind']} {verdict['limit']}: {said}")
    settings = result["settings"]
    print(f"\n{settings['runs']} runs of each with {settings['connections']} connections; adverts every "
          f"{settings['advert_ms']} ms, in {SLOW} every 100 ms; times are medians and the worst, counts are sums")
