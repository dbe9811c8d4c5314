# SPDX-License-Identifier: Apache-2.0
"""What sync-bench measured: a table of pins told in whole to a standby, and a verdict on whether all of it arrived."""

CASES = ("rate_100_mbit", "rate_1000_mbit", "loss_5_percent")
RATES = {"rate_100_mbit": 100, "rate_1000_mbit": 1000, "loss_5_percent": 100}
OVER_RATE = 1.05  # a burst of one window comes before the rate counts
COLUMNS = ["seconds", "megabytes", "mbit_per_s", "messages", "resent", "cpu_seconds", "missing", "new_pin_ms"]


def verdicts(result):
    """As in report.py."""
    def at_most(value, limit):
        return {"value": value, "kind": "most", "limit": limit, "of": None, "kept": value <= limit}

    found = {f"{case}.missing": at_most(result[case]["missing"], 0) for case in CASES}
    pins = result["settings"]["pins"]
    for case, rate in RATES.items():
        if pins >= 1_000_000:  # fewer are over before the rate counts
            found[f"{case}.mbit_per_s"] = at_most(result[case]["mbit_per_s"], rate * OVER_RATE)
    return found


def summarize(measured):
    return {**measured, "inconclusive": False, "inconclusive_because": [], "verdicts": verdicts(measured)}


def cell(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def print_table(result):
    print(f"{'':<18}" + "".join(f"{name:>14}" for name in COLUMNS))
    for case in CASES:
        print(f"{case:<18}" + "".join(f"{cell(result[case][name]):>14}" for name in COLUMNS))
    print()
    for name, verdict in result["verdicts"].items():
        print(f"{name:<34}{cell(verdict['value'])}, at most {cell(verdict['limit'])}: {'kept' if verdict['kept'] else 'MISSED'}")
    print(f"\n{result['settings']['pins']:,} pins, {result['settings']['slots']:,} slots, two nodes in one process")
