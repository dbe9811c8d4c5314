# SPDX-License-Identifier: Apache-2.0
"""What the rounds of e2e.py amount to: an object for each case, a verdict on each limit, and whether they mean anything."""

from samples import WIDE_SPREAD, interquartile, median, number

# In the order of the report. `cpu_added_us` is the case's cpu_us_per_request less that of `direct` in the same round.
FIGURES = ["rps", "p50_ms", "p99_ms", "cpu_us_per_request", "cpu_added_us", "own_cpu_us_per_request",
           "own_cpu_added_us", "interrupt_us_per_request", "paced_p50_ms", "paced_p99_ms",
           "paced_cpu_us_per_request", "paced_own_cpu_us_per_request", "paced_rate", "busy_percent", "background_percent",
           "steal_percent"]
FAIRLEAD = ["fairlead_l2dsr", "fairlead_ipip"]
CPU_SHARE = 0.2         # of what HAProxy adds
LATENCY_FACTOR = 1.2    # of direct
MOST_SPREAD = 0.5       # of what HAProxy adds
MOST_BUSY_PERCENT = 40  # above, latency is that of waiting for a processor
# Above, the baseline is wrong: other work gets less of a machine under load than of one without.
MOST_BACKGROUND_PERCENT = 25


def samples_of(rounds):
    """{case: {figure: [value of each round]}}"""
    samples = {case: {name: [one[case][name] for one in rounds] for name in rounds[0][case]} for case in rounds[0]}
    for case in samples:
        for kind in ("cpu", "own_cpu"):
            pairs = zip(samples[case][f"{kind}_us_per_request"], samples["direct"][f"{kind}_us_per_request"])
            samples[case][f"{kind}_added_us"] = [value - base for value, base in pairs]
    return samples


def case_object(samples):
    figures = {name: median(samples[name]) for name in FIGURES}
    counts = {name: sum(samples[name]) for name in ("requests", "failed")}
    return {**figures, **counts, "spread": {name: interquartile(samples[name]) for name in FIGURES}}


def doubts(result):
    """Kind of verdict -> why this run gives none: `cpu` and `latency`, each only where there is a reason."""
    found = {}
    added, spread = result["haproxy"]["cpu_added_us"], result["haproxy"]["spread"]["cpu_added_us"]
    background = max(result[case]["background_percent"] for case in result["samples"])
    busy = max(result[case]["busy_percent"] for case in result["samples"])
    if spread is None or spread > MOST_SPREAD:
        share = "no base for a share" if spread is None else f"{spread:.0%} of it"
        found["cpu"] = f"haproxy - direct is {number(added)} us with a spread of {share}, more than {MOST_SPREAD:.0%}"
    elif background > MOST_BACKGROUND_PERCENT:
        found["cpu"] = f"other work took {background:.0f} % of the machine, more than {MOST_BACKGROUND_PERCENT} %"
    if busy > MOST_BUSY_PERCENT:
        found["latency"] = f"the machine was {busy:.0f} % busy at the fixed rate, more than {MOST_BUSY_PERCENT} %"
    return found


def verdicts(result, doubted):
    """As in report.py; `kept` is None where the run does not say, and `value` where there is nothing to divide by."""
    def at_most(value, limit, base, kind):
        kept = None if kind in doubted else value <= limit
        return {"value": value, "kind": "most", "limit": limit, "of": base, "kept": kept}

    def ratio(case, figure, base_case):
        base = result[base_case][figure]
        return result[case][figure] / base if base > 0 else None

    found = {"failed": at_most(sum(result[case]["failed"] for case in result["samples"]), 0, None, "requests")}
    for case in FAIRLEAD:
        found[f"{case}.cpu_added_us"] = at_most(ratio(case, "cpu_added_us", "haproxy"), CPU_SHARE,
                                                "haproxy.cpu_added_us", "cpu")
        found[f"{case}.paced_p99_ms"] = at_most(ratio(case, "paced_p99_ms", "direct"), LATENCY_FACTOR,
                                                "direct.paced_p99_ms", "latency")
    return found


def summarize(measured):
    samples = samples_of(measured["rounds"])
    result = {case: case_object(values) for case, values in samples.items()}
    result["spread"] = {"haproxy_minus_direct": result["haproxy"]["spread"]["cpu_added_us"]}
    result["samples"] = samples
    doubted = doubts(result)
    result["inconclusive"] = bool(doubted)
    result["inconclusive_because"] = list(doubted.values())
    result["verdicts"] = verdicts(result, doubted)
    result["settings"] = measured["settings"]
    return result


def print_table(result):
    cases = list(result["samples"])
    print(f"{'':<30}" + "".join(f"{case:>22}" for case in cases))
    for name in FIGURES:
        print(f"{name:<30}" + "".join(f"{cell(result[case], name):>22}" for case in cases).rstrip())
    print()
    for name, verdict in result["verdicts"].items():
        said = {True: "kept", False: "MISSED", None: "inconclusive"}[verdict["kept"]]
        value = "?" if verdict["value"] is None else f"{verdict['value']:.2f}" if verdict["of"] else verdict["value"]
        of = f" × {verdict['of']}" if verdict["of"] else ""
        print(f"{name:<30}{value}{of}, at {verdict['kind']} {verdict['limit']}: {said}")
    print_by_own_time(result)
    settings = result["settings"]
    print(f"\n{settings['rounds']} of {settings['rounds_run']} rounds of {settings['seconds']} s, the quietest; paced: "
          f"{number(settings['paced_rate'])} requests a second; the spread is in brackets")
    wide = [case for case in cases if (result[case]["spread"]["cpu_us_per_request"] or 0) > WIDE_SPREAD]
    if wide:
        print(f"more than {WIDE_SPREAD:.0%} spread of CPU, so measure again on a quieter machine: {', '.join(wide)}")


def cell(figures, name):
    spread = figures["spread"][name]
    return number(figures[name]) + (f" ({spread:.0%})" if spread is not None else "")


def print_by_own_time(result):
    """The same comparison by the run time of the bench's own processes: no limit is on it."""
    base = result["haproxy"]["own_cpu_added_us"]
    if base > 0:
        shares = ", ".join(f"{case} {result[case]['own_cpu_added_us'] / base:.2f}" for case in FAIRLEAD)
        print(f"by the run time of the bench's own processes, of what HAProxy adds: {shares}")
