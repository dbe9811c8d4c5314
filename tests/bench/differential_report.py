# SPDX-License-Identifier: Apache-2.0
"""What differential-bench counted, and a verdict on each limit."""

FULL = 10_000_000
QUICK = 500_000
RAREST = 1_000  # in a full run; a shorter one has its share


def verdicts(result):
    """As in report.py."""
    def held(kind, value, limit):
        kept = value <= limit if kind == "most" else value >= limit
        return {"value": value, "kind": kind, "limit": limit, "of": None, "kept": kept}

    wanted = result["settings"]["packets"]
    return {"packets": held("least", result["packets"], wanted), "differences": held("most", result["differences"], 0),
            "rarest": held("least", result["rarest"], RAREST * wanted // FULL),
            "planted_fault_found": held("least", int(result["planted_fault_found"]), 1)}


def summarize(measured, quick):
    result = {**measured, "rarest": min(measured["per_verdict"].values()),
              "settings": {"packets": QUICK if quick else FULL}}
    result["verdicts"] = verdicts(result)
    return result


def print_table(result):
    for name, count in sorted(result["per_verdict"].items(), key=lambda item: item[1]):
        print(f"{name:<24}{count:>14,}")
    print("\nkept from the DPDK engine, which finishes them: " +
          ", ".join(f"{name} {count:,}" for name, count in result["exceptions"].items()))
    for name, verdict in result["verdicts"].items():
        print(f"{name:<24}{verdict['value']:>14,}, at {verdict['kind']} {verdict['limit']:,}: "
              f"{'kept' if verdict['kept'] else 'MISSED'}")
    print(f"{result['packets_per_s']:,.0f} packets a second through all three, seed {result['seed']}")
    for text in (result["difference"], result["planted_fault_missed"]):
        if text:
            print(text)
