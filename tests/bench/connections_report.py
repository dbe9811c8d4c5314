# SPDX-License-Identifier: Apache-2.0
"""What connections-bench counted: an object for each scheme and in it one for each scenario, and a verdict on each limit."""

SCHEMES = ("fairlead", "maglev", "lru")
SCENARIOS = ("quiet", "flap", "drain", "scale_out", "weight", "slow_start", "tiers", "mix", "flood")
# Connections of Fairlead's that may be broken.
MOST_BROKEN = {name: 5 if name in ("mix", "flood") else 0 for name in SCENARIOS}
# Of the flows: if a change breaks fewer without any state, the traffic would not show what is wrong.
LEAST_BROKEN_BY_MAGLEV = 0.005
COLUMNS = ["broken", "tracked_share", "peak_entries", "failed_handshakes", "lost_with_backend", "refused"]


def verdicts(result):
    """As in report.py."""
    def at_most(value, limit):
        return {"value": value, "kind": "most", "limit": limit, "of": None, "kept": value <= limit}

    fairlead = result["fairlead"]
    found = {f"fairlead.{name}.broken": at_most(fairlead[name]["broken"], most) for name, most in MOST_BROKEN.items()}
    for figure in ("tracked_share", "peak_entries"):
        found[f"fairlead.quiet.{figure}"] = at_most(fairlead["quiet"][figure], 0)
    return found


def doubts(result):
    return [f"{name}: stateless Maglev broke {figures['broken']} of {figures['flows']} connections: too few to tell"
            for name, figures in result["maglev"].items()
            if name != "quiet" and figures["broken"] < LEAST_BROKEN_BY_MAGLEV * figures["flows"]]


def summarize(measured):
    because = doubts(measured)
    return {**{scheme: measured[scheme] for scheme in SCHEMES}, "traffic": measured["traffic"],
            "inconclusive": bool(because), "inconclusive_because": because, "verdicts": verdicts(measured),
            "settings": measured["settings"]}


def cell(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.2%}"


def print_table(result):
    print(f"{'':<22}" + "".join(f"{name:>19}" for name in COLUMNS))
    for name in SCENARIOS:
        for scheme in SCHEMES:
            cells = [cell(result[scheme][name][column]) for column in COLUMNS]
            print(f"{name + ' ' + scheme:<22}" + "".join(f"{text:>19}" for text in cells))
    print()
    for name, verdict in result["verdicts"].items():
        print(f"{name:<34}{cell(verdict['value'])}, at most {verdict['limit']}: {'kept' if verdict['kept'] else 'MISSED'}")
    settings, flows = result["settings"], result["fairlead"]["quiet"]["flows"]
    print(f"\n{flows:,} connections in {settings['seconds']} s of each scenario, seed {settings['seed']}; "
          f"{settings['slots']:,} slots, 100 backends, {settings['pins']:,} pins and entries of the full table (lru), "
          f"{settings['flood_per_s']:,} SYNs a second in flood")
