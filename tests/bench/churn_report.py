# SPDX-License-Identifier: Apache-2.0
"""What the two runs of churn.py amount to, and a verdict on each limit."""

from collections import Counter

from samples import number

LEAST_CHANGES, LEAST_CHANGES_QUICK = 30, 10
# Of the run in which slots settle at once: fewer, and the run would not have seen connections break.
LEAST_BROKEN_BLIND = 100
WRONG = "wrong data"
FIGURES = ["connections", "broken", "bytes_wrong", "exchanges", "changes", "slots_moved", "previous_packets", "pins_peak",
           "new_done", "new_failed", "wrk_requests", "wrk_failed", "flood_syns"]


def run_object(run):
    reasons, counts = Counter(), Counter()
    for client in run["clients"]:
        counts["exchanges"] += client["exchanges"]
        counts["new_done"] += client["new"]["done"]
        counts["new_failed"] += client["new"]["failed"]
        for server in client["connections"].values():
            counts["connections"] += server["kept"] + server["broken"]
            counts["broken"] += server["broken"]
            reasons.update(server["reasons"])
    download = run["download"]
    # The download is a connection as well. One that ended with other bytes is worse than one that broke.
    whole = download["status"] == 0
    broken_download = 0 if whole and download["connections"] == 1 else 1
    wrong = reasons[WRONG] + run["wrong_at_servers"] + (1 if whole and not download["checksum_right"] else 0)
    return {"connections": counts["connections"] + 1, "broken": counts["broken"] + broken_download, "bytes_wrong": wrong,
            "exchanges": counts["exchanges"], "changes": len(run["changes"]), "slots_moved": run["slots_moved"],
            "previous_packets": run["previous_packets"], "pins_peak": run["pins_peak"], "new_done": counts["new_done"],
            "new_failed": counts["new_failed"], "wrk_requests": run["wrk"]["requests"], "wrk_failed": run["wrk"]["failed"],
            "flood_syns": run["flood_syns"], "broken_reasons": dict(reasons), "download": download}


def verdicts(result, settings):
    def at_most(value, limit):
        return {"value": value, "kind": "most", "limit": limit, "of": None, "kept": value <= limit}

    def at_least(value, limit):
        return {"value": value, "kind": "least", "limit": limit, "of": None, "kept": value >= limit}

    changes = LEAST_CHANGES if settings["changes"] >= LEAST_CHANGES else LEAST_CHANGES_QUICK
    return {**{name: at_most(result[name], 0) for name in ("broken", "bytes_wrong", "new_failed", "wrk_failed")},
            "changes": at_least(result["changes"], changes),
            **{name: at_least(result[name], 1) for name in ("slots_moved", "previous_packets", "pins_peak", "wrk_requests",
                                                            "flood_syns")}}


def summarize(measured):
    result, control = run_object(measured["run"]), run_object(measured["control"])
    blind = control["broken"] < LEAST_BROKEN_BLIND
    doubts = [f"where slots settle at once {control['broken']} connections broke, fewer than {LEAST_BROKEN_BLIND}: the run "
              "is blind"] if blind else []
    return {**result, "control": control, "inconclusive": blind, "inconclusive_because": doubts,
            "verdicts": verdicts(result, measured["settings"]), "steps": measured["run"]["changes"],
            "settings": measured["settings"]}


def print_table(result):
    print(f"{'':<20}{'run':>14}{'control':>14}   limit")
    for name in FIGURES:
        verdict = result["verdicts"].get(name)
        said = f"at {verdict['kind']} {verdict['limit']}: {'kept' if verdict['kept'] else 'MISSED'}" if verdict else ""
        print(f"{name:<20}{result[name]:>14}{result['control'][name]:>14}   {said}".rstrip())
    settings, download = result["settings"], result["download"]
    print(f"\n{settings['seconds']} s, idle_timeout {settings['idle_timeout']}; a download of {download['bytes']} bytes in "
          f"{number(download['seconds'] or 0)} s, checksum {'right' if download['checksum_right'] else 'WRONG'}; in control, "
          f"every slot settles at once")
