# SPDX-License-Identifier: Apache-2.0
"""What the runs of front_end_failover.py amount to: an object for each fault, and a verdict on each limit."""

from collections import Counter

from samples import interquartile, median, number

SLACK_MS = 50  # what Fairlead and the machine may add to what the checks need
# A connection that takes longer has lost its first SYN: the client's kernel waits a second before it sends another.
RETRANSMITTED_MS = 700
COLUMNS = ["new_connection_gap_ms", "new_connection_gap_worst_ms", "open_connections_kept", "open_connections_broken",
           "open_connections_lost_with_host", "new_done", "new_failed", "new_retransmitted"]


def gap_ms(new):
    """From the fault to the last connection begun that was not served at once."""
    return max([0, *(one["begin_ms"] for one in new if one["result"] != "ok" or one["took_ms"] > RETRANSMITTED_MS)])


def run_object(run):
    counts, reasons = Counter(), Counter()
    for servers in run["connections"].values():
        for server, of_server in servers.items():
            lost = server in run["lost_with"]
            counts["open_connections_kept"] += of_server["kept"]
            counts["open_connections_lost_with_host" if lost else "open_connections_broken"] += of_server["broken"]
            reasons.update(of_server["reasons"])
    served = [one for one in run["new"] if one["result"] == "ok"]
    late = [one for one in served if one["took_ms"] > RETRANSMITTED_MS]
    return {"new_connection_gap_ms": gap_ms(run["new"]), **{name: counts[name] for name in COLUMNS if name.startswith("open")},
            "new_done": len(served), "new_failed": len(run["new"]) - len(served), "new_retransmitted": len(late),
            "slowest_ms": max((one["took_ms"] for one in served), default=0), "reasons": reasons,
            "new_reasons": Counter(one["result"] for one in run["new"] if one["result"] != "ok"),
            "new_at_slave": sum(one["server"] == "slave" for one in served)}


def fault_object(runs):
    """Medians of times, sums of counts."""
    gaps = [run["new_connection_gap_ms"] for run in runs]
    return {"new_connection_gap_ms": median(gaps), "new_connection_gap_worst_ms": max(gaps),
            **{name: sum(run[name] for run in runs) for name in [*COLUMNS[2:], "new_at_slave"]},
            "slowest_ms": max(run["slowest_ms"] for run in runs),
            **{name: dict(sum((run[name] for run in runs), Counter())) for name in ("reasons", "new_reasons")},
            "gap_spread": interquartile(gaps), "samples": gaps}


def gap_limit(fault, settings):
    """Checks come after the interval at the latest: their jitter only shortens it."""
    noticed = settings["interval_ms"] * settings["fall"]
    return {"host": noticed + settings["timeout_ms"] + SLACK_MS, "process": noticed + SLACK_MS, "flap": 0}[fault]


def verdicts(result, settings):
    def at_most(value, limit):
        return {"value": value, "kind": "most", "limit": limit, "of": None, "kept": value <= limit}

    found = {}
    for fault, figures in result.items():
        for name, limit in (("new_connection_gap_ms", gap_limit(fault, settings)), ("open_connections_broken", 0)):
            found[f"{fault}.{name}"] = at_most(figures[name], limit)
        kept = figures["open_connections_kept"]
        found[f"{fault}.open_connections_kept"] = {"value": kept, "kind": "least", "limit": 1, "of": None, "kept": kept >= 1}
    return found


def summarize(measured):
    result = {fault: fault_object([run_object(run) for run in runs]) for fault, runs in measured["runs"].items()}
    return {**result, "verdicts": verdicts(result, measured["settings"]), "settings": measured["settings"]}


def print_table(result):
    print(f"{'':<34}" + "".join(f"{fault:>12}" for fault in result if fault in ("host", "process", "flap")))
    for name in [*COLUMNS, "slowest_ms"]:
        cells = [result[fault][name] for fault in ("host", "process", "flap")]
        print(f"{name:<34}" + "".join(f"{cell if isinstance(cell, int) else number(cell):>12}" for cell in cells))
    print()
    for name, verdict in result["verdicts"].items():
        value = verdict["value"] if isinstance(verdict["value"], int) else number(verdict["value"])
        print(f"{name:<48}{value}, at {verdict['kind']} {verdict['limit']}: {'kept' if verdict['kept'] else 'MISSED'}")
    settings = result["settings"]
    print(f"\n{settings['runs']} runs of each with {settings['connections']} open connections; checks every "
          f"{settings['interval_ms']} ms, {settings['fall']} must fail; times are medians and the worst, counts are sums")
