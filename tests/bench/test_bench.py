# SPDX-License-Identifier: Apache-2.0
"""That the benchmarks run, and find what they forward to be right: programs check bytes, counters and slots themselves.
How long anything takes is not asserted here; scripts/bench does that."""

import glob
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import churn  # noqa: E402
import churn_report  # noqa: E402
import connections_report  # noqa: E402
import differential_report  # noqa: E402
import dpdk_lab  # noqa: E402
import dpdk_report  # noqa: E402
import e2e  # noqa: E402
import e2e_report  # noqa: E402
import failover  # noqa: E402
import failover_report  # noqa: E402
import front_end_failover  # noqa: E402
import front_end_failover_report  # noqa: E402
import sync_report  # noqa: E402

PROGRAMS = Path(os.environ.get("FAIRLEAD_BUILD_DIR", HERE.parent.parent / "build")) / "tests" / "bench"
XDP = ["loop_ns", "driver_ns", "floor_pass_ns", "floor_encap_ns", "not_vip_ns", "steady_ipip4_1flow_ns",
       "steady_ipip4_1mflows_ns", "steady_ipip6_1flow_ns", "steady_l2dsr_1flow_ns", "pinned_hit_1flow_ns",
       "pinned_hit_1mflows_ns", "syn_insert_ns", "syn_flood_settled_ns"]

DPDK = ["floor_ring_macswap", "dpdk_ring_ipip4_1flow", "dpdk_ring_ipip4_1mflows", "dpdk_ring_l2dsr", "dpdk_ring_pinned",
        "dpdk_ring_pinned_1mflows"]


def run(name, *arguments):
    program = PROGRAMS / name
    if not program.exists():
        pytest.skip(f"missing: {program}")
    result = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="loads XDP programs")
def test_xdp_bench_verifies_every_frame():
    output = run("xdp-bench", "--rounds", "3", "--repeat", "20000", "--live", "--live-frames", "50000")
    for name in XDP:
        assert len(output["samples"][name]) == 3
        assert min(output["samples"][name]) <= output[name] <= max(output["samples"][name])
    assert output["verified_insns"] > 0 and output["bytes_per_pin"] == 8
    assert {len(samples) for samples in output["live_samples"].values()} == {3}
    assert 0 < output["live_worst_share"] <= 0.05


def test_control_bench_verifies_every_slot():
    output = run("control-bench", "--flaps", "1", "--reloads", "1")
    assert len(output["samples"]["flap_to_last_slot_ms"]) == 2  # it goes, and comes back
    assert output["reload_10k_services_ms"] > 0
    assert output["tables"] == ("pinned" if os.geteuid() == 0 else "anonymous")


@pytest.mark.skipif(os.geteuid() != 0, reason="makes pinned tables")
def test_dpdk_bench_verifies_what_it_forwards():
    output = run("dpdk-bench", "--rounds", "3", "--seconds", "0.02")  # ordinary pages
    for name in DPDK:
        assert len(output["samples"][f"{name}_mpps"]) == 3
        assert output[f"{name}_mpps"] > 0 and output["cycles_per_packet"][name] > 0
        assert 0 < output["cycles_fastest_tenth"][name] <= 1000
        assert 0 < output["application_busy"][name] <= 1


@pytest.mark.skipif(os.geteuid() != 0, reason="loads XDP programs")
def test_differential_bench_finds_no_difference_but_the_planted():
    output = run("differential-bench", "--packets", "4000", "--per-world", "1000", "--seed", "7")
    assert (output["packets"], output["differences"], output["difference"]) == (4000, 0, "")
    assert output["planted_fault_found"] and output["per_verdict"]["drop"] > 0 and output["per_verdict"]["ipip_4in4"] > 0


# --- What scripts/bench makes of it --------------------------------------------------------------------------------

GOOD = {
    "xdp-bench": {
        **{name: 10.0 for name in XDP}, "live_ratio_1flow": 0.9, "live_ratio_1mflows": 0.8, "verified_insns": 1234,
        "bytes_per_pin": 8,
        "spread": {name: 0.01 for name in XDP}, "samples": {name: [10.0, 10.0, 10.0] for name in XDP},
        "live_samples": {"swap": [1.0, 1.0, 1.0]},
    },
    "maglev-bench": {"maglev_65536_1000_ms": 1.5},
    "control-bench": {"flap_to_last_slot_ms": 3.0, "reload_10k_services_ms": 900.0, "tables_mib_default": 48.0,
                      "spread": {"flap_to_last_slot_ms": 0.1}, "samples": {"flap_to_last_slot_ms": [3.0]}},
}


def report(folder, *arguments, **changes):
    """report.py over programs that print what they are told to."""
    for name, output in GOOD.items():
        program = folder / name
        changed = {**output, **{key: value for key, value in changes.items() if key in output}}
        program.write_text(f"#!/bin/sh\necho {shlex.quote(json.dumps(changed))}\n")
        program.chmod(0o755)
    command = [sys.executable, HERE / "report.py", "xdp", "--programs", folder, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_report_is_one_object_with_every_figure(tmp_path):
    result = report(tmp_path, "--json")
    assert result.returncode == 0, result.stderr
    output = json.loads(result.stdout)
    for name in [*XDP, "live_ratio_1flow", "live_ratio_1mflows", "maglev_65536_1000_ms", "flap_to_last_slot_ms",
                 "reload_10k_services_ms", "tables_mib_default", "verified_insns"]:
        assert isinstance(output[name], (int, float)), name
    assert output["samples"]["driver_ns"] == [10.0, 10.0, 10.0]
    assert output["samples"]["live_swap_ns"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name, at_limit, beyond", [
    ("steady_ipip4_1flow_ns", 25.0, 25.1), ("steady_ipip6_1flow_ns", 25.0, 25.1), ("steady_ipip4_1mflows_ns", 13.0, 13.1),
    ("not_vip_ns", 20.0, 20.1), ("pinned_hit_1flow_ns", 18.0, 18.1), ("syn_insert_ns", 30.0, 30.1),
    ("bytes_per_pin", 8, 9), ("live_ratio_1flow", 0.75, 0.74), ("live_ratio_1mflows", 0.70, 0.69),
    ("flap_to_last_slot_ms", 5.0, 5.1), ("tables_mib_default", 64.0, 64.1)])
def test_a_missed_limit_is_named_and_fails(tmp_path, name, at_limit, beyond):
    assert report(tmp_path, **{name: at_limit}).returncode == 0
    missed = report(tmp_path, **{name: beyond})
    assert missed.returncode == 1
    assert f"limit missed: {name} is" in missed.stderr
    assert missed.stdout.count("MISSED") == 1


def test_a_program_that_fails_is_no_result(tmp_path):
    report(tmp_path)
    (tmp_path / "xdp-bench").write_text("#!/bin/sh\nexit 1\n")
    command = [sys.executable, HERE / "report.py", "xdp", "--programs", tmp_path, "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")


# --- Connections -----------------------------------------------------------------------------------------------------

def counted(**changes):
    """What connections-bench prints; `changes`: scheme_scenario to figures."""
    zero = {"flows": 1000, "broken": 0, "tracked_share": 0.0, "peak_entries": 0, "failed_handshakes": 0,
            "lost_with_backend": 0, "refused": 0}
    result = {scheme: {name: {**zero, **changes.get(f"{scheme}_{name}", {})} for name in connections_report.SCENARIOS}
              for scheme in connections_report.SCHEMES}
    for name in connections_report.SCENARIOS[1:]:
        result["maglev"][name].update({"broken": 5} | changes.get(f"maglev_{name}", {}))
    return {**result, "traffic": {}, "settings": {}}


def missed_of(result):
    return [name for name, verdict in result["verdicts"].items() if not verdict["kept"]]


@pytest.mark.parametrize("name, most", [("quiet", 0), ("flap", 0), ("drain", 0), ("scale_out", 0), ("weight", 0),
                                        ("slow_start", 0), ("tiers", 0), ("mix", 5), ("flood", 5)])
def test_a_limit_on_broken_connections_is_held(name, most):
    kept = connections_report.summarize(counted(**{f"fairlead_{name}": {"broken": most, "lost_with_backend": 9}}))
    assert missed_of(kept) == [] and not kept["inconclusive"]
    missed = connections_report.summarize(counted(**{f"fairlead_{name}": {"broken": most + 1}}))
    assert missed_of(missed) == [f"fairlead.{name}.broken"]


@pytest.mark.parametrize("figure", ["tracked_share", "peak_entries"])
def test_state_while_nothing_changes_is_a_missed_limit(figure):
    assert missed_of(connections_report.summarize(counted(fairlead_quiet={figure: 1}))) == [f"fairlead.quiet.{figure}"]
    assert missed_of(connections_report.summarize(counted(fairlead_flap={figure: 1}))) == []


def test_changes_that_break_nobody_without_state_say_nothing():
    result = connections_report.summarize(counted(maglev_drain={"broken": 4}))
    assert result["inconclusive"] and "drain" in result["inconclusive_because"][0]


def test_connections_bench_counts_every_scheme_in_every_scenario():
    output = run("connections-bench", "--flows", "20000", "--seed", "3")
    for scheme in connections_report.SCHEMES:
        assert tuple(output[scheme]) == connections_report.SCENARIOS
        for figures in output[scheme].values():
            assert figures["flows"] == 20000 and set(connections_report.COLUMNS) <= figures.keys()
    result = connections_report.summarize(output)
    assert missed_of(result) == [] and not result["inconclusive"], result["verdicts"]
    assert {figures["tracked_share"] for figures in output["lru"].values()} == {1.0}
    assert output["settings"]["seed"] == 3


# --- State sync ---


def test_sync_bench_finds_every_pin_at_the_standby():
    output = run("sync-bench", "--pins", "20000")
    for case in sync_report.CASES:
        assert set(sync_report.COLUMNS) <= output[case].keys()
        assert output[case]["missing"] == 0 and output[case]["applied"] >= 20000
    assert output["loss_5_percent"]["resent"] > 0
    assert missed_of(sync_report.summarize(output)) == []
    output["rate_100_mbit"]["missing"] = 1
    assert missed_of(sync_report.summarize(output)) == ["rate_100_mbit.missing"]


# --- End to end ------------------------------------------------------------------------------------------------------

def e2e_command(*arguments):
    """To be run from the namespaces' point of view: with root, and every program there."""
    missing = "root" if os.geteuid() != 0 else e2e.missing_programs(PROGRAMS / "paced-client")
    if missing:
        pytest.skip(f"missing: {missing}")
    return [sys.executable, HERE / "report.py", "e2e", "--programs", PROGRAMS, "--json", "--quick", *arguments]


def namespaces_of(pid):
    return glob.glob(f"/run/netns/fl-e2e{pid}-*")


def test_e2e_answers_every_request_in_every_case():
    process = subprocess.Popen(e2e_command("--rounds", "2", "--seconds", "1", "--rate", "200"), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=400)
    assert process.returncode in (0, 1, 2) and output, errors
    result = json.loads(output)
    for case in e2e.CASES:
        assert result[case]["failed"] == 0
        assert result[case]["requests"] >= 2 * 200
        for name in ("rps", "p50_ms", "p99_ms", "cpu_us_per_request", "paced_p50_ms", "paced_p99_ms", "busy_percent"):
            assert isinstance(result[case][name], float), name
            assert name in result[case]["spread"]
            assert len(result["samples"][case][name]) == 2
    assert result["verdicts"]["failed"]["kept"]
    assert result["inconclusive"] == (process.returncode == 2)
    assert not namespaces_of(process.pid)


def test_e2e_leaves_nothing_when_it_is_told_to_end():
    process = subprocess.Popen(e2e_command("--rounds", "2"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pinned = f"/sys/fs/bpf/fairlead/fl-e2e{process.pid}-lb"
    # The first round begins with direct; Fairlead's tables mean that it is well under way.
    deadline = time.monotonic() + 120
    while not os.path.exists(pinned) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert os.path.exists(pinned) and namespaces_of(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not namespaces_of(process.pid) and not os.path.exists(pinned)


class StallingServer:
    """HTTP on loopback, one connection, that answers at once but for one request, which it keeps waiting."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

    def __init__(self, stalled_request, stall_seconds, answer=ANSWER):
        self.stalled_request, self.stall_seconds, self.answer = stalled_request, stall_seconds, answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        connection, _ = self.listener.accept()
        with connection:
            number = 0
            while connection.recv(4096):
                if number == self.stalled_request:
                    time.sleep(self.stall_seconds)
                connection.sendall(self.answer)
                number += 1

    def asked(self, *arguments):
        """What paced-client makes of it over one connection: (exit status, its object)."""
        if not (PROGRAMS / "paced-client").exists():
            pytest.skip("missing: paced-client")
        with self.listener:
            result = subprocess.run([PROGRAMS / "paced-client", "127.0.0.1", str(self.port), "--connections", "1",
                                     *arguments], capture_output=True, text=True, timeout=60)
        return result.returncode, json.loads(result.stdout)


def test_paced_client_counts_the_stall_for_every_request_that_was_due():
    status, output = StallingServer(20, 0.5).asked("--rate", "100", "--seconds", "1")
    assert (status, output["requests"], output["failed"]) == (0, 100, 0)
    # 50 requests were due during the stall. A client that waits for answers would have asked, and counted, one of them.
    assert output["p90_ms"] > 300
    assert output["max_ms"] >= 500


def test_paced_client_does_not_count_its_warm_up():
    status, output = StallingServer(0, 0.3).asked("--rate", "100", "--seconds", "0.5", "--warm-up", "2")
    assert (status, output["requests"], output["failed"]) == (0, 50, 0)
    assert output["max_ms"] < 300


@pytest.mark.parametrize("answer", [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
                                    StallingServer.ANSWER + b"more"])
def test_paced_client_calls_a_wrong_answer_failed(answer):
    status, output = StallingServer(-1, 0, answer).asked("--rate", "100", "--seconds", "0.2")
    assert (status, output["requests"], output["failed"]) == (1, 20, 20)


def measured_rounds(changes=(), rounds=7, **of_case):
    """What e2e.measure() returns of equal rounds: HAProxy adds 40 us, Fairlead 4; `of_case` changes a case's figures,
    `changes` the CPU of HAProxy in each round."""
    base = {name: 1.0 for name in e2e_report.FIGURES if "added" not in name}
    base |= {"busy_percent": 20.0, "background_percent": 1.0, "requests": 1000, "failed": 0}
    cpu = {"direct": 100.0, "haproxy": 140.0, "fairlead_l2dsr": 104.0, "fairlead_ipip": 104.0}
    one = {case: {**base, "cpu_us_per_request": cpu[case], **of_case.get(case, {})} for case in e2e.CASES}
    every = [json.loads(json.dumps(one)) for _ in range(rounds)]
    for number, change in enumerate(changes):
        every[number]["haproxy"]["cpu_us_per_request"] += change
    return {"rounds": every, "settings": {}}


@pytest.mark.parametrize("case", e2e_report.FAIRLEAD)
@pytest.mark.parametrize("figure, name, at_limit, beyond", [
    ("cpu_us_per_request", "cpu_added_us", 108.0, 108.1), ("paced_p99_ms", "paced_p99_ms", 1.2, 1.21)])
def test_an_end_to_end_limit_is_held(case, figure, name, at_limit, beyond):
    kept = e2e_report.summarize(measured_rounds(**{case: {figure: at_limit}}))
    assert all(verdict["kept"] for verdict in kept["verdicts"].values()) and not kept["inconclusive"]
    missed = e2e_report.summarize(measured_rounds(**{case: {figure: beyond}}))
    assert [key for key, verdict in missed["verdicts"].items() if not verdict["kept"]] == [f"{case}.{name}"]


def test_less_than_direct_keeps_the_limit():
    result = e2e_report.summarize(measured_rounds(fairlead_ipip={"cpu_us_per_request": 95.0}))
    assert result["verdicts"]["fairlead_ipip.cpu_added_us"]["kept"] is True


def test_a_failed_request_is_a_missed_limit():
    result = e2e_report.summarize(measured_rounds(haproxy={"failed": 1}))
    assert result["verdicts"]["failed"]["kept"] is False and not result["inconclusive"]


@pytest.mark.parametrize("changes, inconclusive", [
    # Of seven, the second and the sixth are the middle half's ends: 40 us apart by a half at the most.
    ((-10, -10, 0, 0, 0, 10, 10), False), ((-11, -11, 0, 0, 0, 10, 10), True), ((-40,) * 7, True)])
def test_the_spread_of_what_haproxy_adds_decides(changes, inconclusive):
    result = e2e_report.summarize(measured_rounds(changes))
    assert result["inconclusive"] is inconclusive
    assert result["verdicts"]["fairlead_l2dsr.cpu_added_us"]["kept"] is (None if inconclusive else True)
    assert result["verdicts"]["fairlead_l2dsr.paced_p99_ms"]["kept"] is True


@pytest.mark.parametrize("figure, value, doubted, sure", [
    ("busy_percent", 41.0, "paced_p99_ms", "cpu_added_us"), ("background_percent", 26.0, "cpu_added_us", "paced_p99_ms")])
def test_a_busy_machine_is_inconclusive(figure, value, doubted, sure):
    result = e2e_report.summarize(measured_rounds(direct={figure: value}))
    assert result["inconclusive"] and len(result["inconclusive_because"]) == 1
    for case in e2e_report.FAIRLEAD:
        assert result["verdicts"][f"{case}.{doubted}"]["kept"] is None
        assert result["verdicts"][f"{case}.{sure}"]["kept"] is True


class Recorded:
    """Stands in for e2e.Bench: the first round is a loud one."""

    def __init__(self):
        self.order = []

    def measure(self, case, _seconds, _rate):
        self.order.append(case)
        return {"background_percent": 50.0 if len(self.order) <= len(e2e.CASES) else 5.0}


def test_rounds_are_run_until_enough_were_quiet():
    bench = Recorded()
    chosen, run_count = e2e.run_rounds(bench, 2, 4, 1, 100)
    assert run_count == 3 and [e2e.background_of(one) for one in chosen] == [5.0, 5.0]
    loud, run_count = e2e.run_rounds(Recorded(), 2, 2, 1, 100)
    assert run_count == 2 and [e2e.background_of(one) for one in loud] == [5.0, 50.0]


def test_no_case_has_a_place_or_a_neighbour_of_its_own():
    rounds = [e2e.order_of(number) for number in range(4)]
    assert all(sorted(places) == sorted(e2e.CASES) for places in zip(*rounds))
    neighbours = {pair for one in rounds for pair in zip(one, one[1:])}
    assert len(neighbours) == 4 * 3


# --- The DPDK engine -------------------------------------------------------------------------------------------------

def dpdk_summary(testpmd=None, idle=0.5, **changes):
    mpps = {name: 10.0 for name in DPDK} | {"dpdk_ring_ipip4_1flow": 8.0, "dpdk_ring_ipip4_1mflows": 8.0} | changes
    return dpdk_report.summarize({
        "samples": {f"{name}_mpps": [value] * 3 for name, value in mpps.items()},
        "cycles_per_packet": {name: 100.0 for name in DPDK},
        "cycles_fastest_tenth": {name: 90.0 for name in DPDK}, "application_busy": {name: 0.9 for name in DPDK},
        "idle_cpu_percent": idle, "exception_cost": {}, "exception_cost_limited": {},
        "testpmd": testpmd, "no_testpmd_because": None if testpmd else "not there", "huge_pages": True})


@pytest.mark.parametrize("name, at_limit, beyond", [
    ("dpdk_ring_ipip4_1flow", 6.0, 5.9), ("dpdk_ring_ipip4_1mflows", 6.4, 6.3), ("dpdk_ring_pinned", 6.0, 5.9)])
def test_a_rate_of_the_dpdk_engine_is_held(name, at_limit, beyond):
    kept, missed = dpdk_summary(**{name: at_limit}), dpdk_summary(**{name: beyond})
    assert kept["verdicts"][f"{name}_mpps"]["kept"] and missed_of(missed) == [f"{name}_mpps"]


def test_lb_dpdk_is_idle_when_nothing_comes():
    assert not missed_of(dpdk_summary(idle=2.0)) and missed_of(dpdk_summary(idle=2.1)) == ["idle_cpu_percent"]


def test_exceptions_are_handed_over_and_the_rest_arrives():
    """A short run: what it counts and that nothing is left; how fast is not asserted."""
    missing = "root" if os.geteuid() != 0 else dpdk_lab.missing_programs(PROGRAMS)
    if missing:
        pytest.skip(f"missing: {missing}")
    result = dpdk_lab.measure(PROGRAMS, rounds=1, frames=20_000, idle_seconds=0.2)
    for name in ("exception_cost", "exception_cost_limited"):
        assert result[name]["least_arrived"] == 1.0 and all(value > 0 for value in result[name]["mpps"].values())
    assert result["idle_cpu_percent"] >= 0
    assert not glob.glob(f"/run/netns/fl-dpdk{os.getpid()}-*")


def test_without_testpmd_the_figure_is_null_and_says_why():
    assert dpdk_summary()["testpmd_macswap_mpps"] is None and dpdk_summary()["testpmd_null_because"] == "not there"
    assert dpdk_summary(testpmd=[40.0, 41.0, 44.0])["testpmd_macswap_mpps"] == 41.0


# --- Three engines -----------------------------------------------------------------------------------------------------

def differential_summary(**changes):
    counted = {"packets": 10_000_000, "differences": 0, "difference": "", "per_verdict": {"pass": 9_000_000, "drop": 1_000},
               "planted_fault_found": True, "planted_fault_missed": "", "exceptions": {}, "seed": 1, "packets_per_s": 1.0}
    return differential_report.summarize({**counted, **changes}, quick=False)


@pytest.mark.parametrize("change, missed", [
    ({}, []), ({"packets": 9_999_999}, ["packets"]), ({"differences": 1}, ["differences"]),
    ({"per_verdict": {"pass": 9_000_000, "drop": 999}}, ["rarest"]), ({"planted_fault_found": False}, ["planted_fault_found"])])
def test_what_engines_may_not_do(change, missed):
    assert missed_of(differential_summary(**change)) == missed


# --- Failover --------------------------------------------------------------------------------------------------------

def failover_run(silence=None, lost_with=(), connections=None, sender_silence=None, new_failed=0):
    """What failover.run_fault() returns: a probe each millisecond for 4 s, the fault after 1 s; `silence`: (from, to) in ms,
    in which none arrived, `sender_silence`: in which none was sent."""
    def times(*without):
        return [ms * 1000 for ms in range(4000) if not any(gap and gap[0] < ms < gap[1] for gap in without)]

    return {"fault_ns": 10**18 + 1_000_000_000, "lost_with": list(lost_with),
            "connections": connections or {"master": {"kept": 250, "broken": 0, "reasons": {}},
                                           "slave": {"kept": 250, "broken": 0, "reasons": {}}},
            "new": {"done": 100, "failed": new_failed, "reasons": {"silence": new_failed} if new_failed else {}},
            "probes": {"began_ns": 10**18, "sent_us": times(sender_silence),
                       "arrived_us": times(silence, sender_silence)}}


def failover_summary(*runs, deployment="external", fault="silent", advert_ms=10):
    return failover_report.summarize({"runs": {deployment: {fault: list(runs)}},
                                      "settings": {"runs": len(runs), "connections": 500, "advert_ms": advert_ms}})


@pytest.mark.parametrize("silence, outage", [
    (None, 1), ((1010, 1050), 40), ((990, 1050), 60),  # the last arrival before the fault counts
    ((300, 900), 1), ((1500, 4001), 2499)])  # what was before the fault does not; silence to the end does
def test_outage_is_the_longest_silence_from_the_fault_on(silence, outage):
    found = failover_summary(failover_run(silence))["external"]["silent"]
    assert found["outage_ms"] == pytest.approx(outage, abs=1)


@pytest.mark.parametrize("fault, advert_ms, limit", [
    ("silent", 10, 60), ("graceful", 10, 20), ("silent_100ms", 10, 400), ("silent", 100, 400)])
@pytest.mark.parametrize("deployment", ["external", "on_master"])
def test_an_outage_limit_is_held(deployment, fault, advert_ms, limit):
    kept, missed = (failover_summary(failover_run((1000, 1000 + ms)), deployment=deployment, fault=fault,
                                     advert_ms=advert_ms) for ms in (limit, limit + 1))
    name = f"{deployment}.{fault}.outage_ms"
    assert kept["verdicts"][name]["kept"] is True and missed["verdicts"][name]["kept"] is False
    assert not missed["inconclusive"]


def test_a_broken_connection_is_a_missed_limit_but_not_for_the_peer():
    connections = {"master": {"kept": 249, "broken": 1, "reasons": {"closed": 1}}}
    for deployment in failover_report.DEPLOYMENTS:
        result = failover_summary(failover_run(), failover_run(connections=connections), deployment=deployment)
        found = result[deployment]["silent"]
        assert (found["connections_kept"], found["connections_broken"]) == (749, 1)
        assert found["broken_reasons"] == {"closed": 1}
        missed = [name for name, verdict in result["verdicts"].items() if verdict["kept"] is False]
        assert missed == ([] if deployment == "keepalived" else [f"{deployment}.silent.connections_broken"])


def test_what_died_with_its_node_is_counted_apart():
    connections = {"master": {"kept": 0, "broken": 250, "reasons": {"closed": 250}},
                   "slave": {"kept": 250, "broken": 0, "reasons": {}}}
    result = failover_summary(failover_run(connections=connections, lost_with=["master"], new_failed=2), deployment="on_master")
    found = result["on_master"]["silent"]
    assert (found["connections_kept"], found["connections_broken"], found["connections_lost_with_node"]) == (250, 0, 250)
    assert found["new_failed"] == 2 and all(verdict["kept"] for verdict in result["verdicts"].values())


def test_a_sender_that_was_held_up_decides_nothing():
    result = failover_summary(failover_run(sender_silence=(1000, 1100)))
    assert result["inconclusive"] and result["verdicts"]["external.silent.outage_ms"]["kept"] is None
    assert not failover_summary(failover_run(sender_silence=(1000, 1030)))["inconclusive"]  # kept all the same


FAULT_NS = 10**18 + 1_000_000_000  # of failover_run()


def later(ms, kept=True, server="slave"):
    """A connection that was greeted so long after the fault."""
    return {"server": server, "greeted_ns": FAULT_NS + ms * 1_000_000, "kept": kept, **({} if kept else {"reason": "closed"})}


def transition_run(*connections, cut_ms=30, lost_with=(), slots=512, after=512):
    """What failover.run_in_transition() returns: 400 connections that are kept, and these."""
    first = {name: {"kept": 200, "broken": 0, "reasons": {}} for name in ("master", "slave")}
    return {**failover_run(connections=first, lost_with=lost_with), "cut_ns": FAULT_NS + cut_ms * 1_000_000 if cut_ms else None,
            "sync_ms": 20, "slots_in_transition": slots, "slots_in_transition_after": after, "later": list(connections)}


def transition_missed(run, fault="silent_in_transition"):
    result = failover_summary(run, fault=fault)
    return result["external"][fault], {name.removeprefix(f"external.{fault}.") for name, verdict in result["verdicts"].items()
                                       if not verdict["kept"]}


def test_what_was_confirmed_just_before_a_silent_death_is_counted_apart():
    # Before the last interval, within it, while the link was being cut, and after all that.
    connections = [later(ms, kept=False) for ms in (-21, -19, 25, 49, 51)]
    found, missed = transition_missed(transition_run(*connections, later(-500)))
    assert (found["connections_unsynced"], found["connections_broken"], found["connections_kept"]) == (3, 2, 401)
    assert (found["connections_last_interval"], found["connections_in_transition"]) == (3, 3)
    assert found["broken_reasons"] == {"closed": 2} and missed == {"connections_broken"}
    # A node that takes leave tells all before it goes.
    found, missed = transition_missed(transition_run(later(-19, kept=False), cut_ms=None), "graceful_in_transition")
    assert (found["connections_unsynced"], found["connections_broken"]) == (0, 1) and missed == {"connections_broken"}
    found, missed = transition_missed(transition_run(later(-500, False, "master"), later(-500), lost_with=["master"]))
    assert (found["connections_lost_with_node"], found["connections_broken"], missed) == (1, 0, set())


@pytest.mark.parametrize("run, missed", [
    (transition_run(later(-500)), set()), (transition_run(later(-500), slots=0), {"slots_in_transition"}),
    (transition_run(later(-500), after=0), {"slots_in_transition_after"}),
    (transition_run(later(500)), {"connections_in_transition"})])
def test_a_run_in_transition_needs_one(run, missed):
    assert transition_missed(run)[1] == missed


def test_without_the_sync_connections_must_break():
    for broken, missed in ((20, set()), (19, {"connections_broken"})):
        run = transition_run(*(later(-500, kept=number >= broken) for number in range(100)), cut_ms=None, after=0)
        found, really = transition_missed(run, "sync_off")
        assert found["connections_broken"] == broken and really == missed


def test_failover_leaves_nothing_when_it_is_told_to_end():
    missing = "root" if os.geteuid() != 0 else failover.missing_programs(PROGRAMS)
    if missing:
        pytest.skip(f"missing: {missing}")
    process = subprocess.Popen([sys.executable, HERE / "report.py", "failover", "--programs", PROGRAMS, "--runs", "1"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    prefix = f"fl-failover{process.pid}-"
    deadline = time.monotonic() + 60
    while len(glob.glob(f"/sys/fs/bpf/fairlead/{prefix}*")) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not glob.glob(f"/run/netns/{prefix}*") and not glob.glob(f"/sys/fs/bpf/fairlead/{prefix}*")


def test_failover_breaks_no_connection():
    """A short run of every fault, with slow adverts: what it counts and that nothing is left; how long is not asserted."""
    missing = "root" if os.geteuid() != 0 else failover.missing_programs(PROGRAMS)
    if missing:
        pytest.skip(f"missing: {missing}")
    plan = {"external": failover.FAULTS, "on_master": ["silent"], "keepalived": ["graceful"]}
    measured = failover.measure(PROGRAMS, runs=1, connections=60, plan=plan, fast_ms=failover.SLOW_MS, slow=False)
    result = failover_report.summarize(measured)
    for deployment, faults in plan.items():
        for fault in faults:
            found = result[deployment][fault]
            assert set(failover_report.COLUMNS) <= found.keys()
            assert sum(found[name] for name in failover_report.COLUMNS if name.startswith("connections")) == 60
            assert found["new_done"] > 100 and 0 < found["outage_ms"] <= found["outage_worst_ms"] < 2000
            if deployment != "keepalived":
                assert found["connections_broken"] == 0, found
    assert result["external"]["silent"]["connections_kept"] == 60
    assert result["on_master"]["silent"]["connections_lost_with_node"] > 0
    # A proxy's connections do end: the clients tell kept from broken.
    assert result["keepalived"]["graceful"]["connections_broken"] == 60
    assert not glob.glob(f"/run/netns/fl-failover{os.getpid()}-*")


def test_failover_in_a_transition_breaks_no_connection():
    """As above, with faults in a transition; and without the sync some break."""
    missing = "root" if os.geteuid() != 0 else failover.missing_programs(PROGRAMS)
    if missing:
        pytest.skip(f"missing: {missing}")
    plan = {"external": ["silent_in_transition", "rolling_upgrade", "sync_off"], "on_master": ["graceful_in_transition"]}
    measured = failover.measure(PROGRAMS, runs=1, connections=200, plan=plan, fast_ms=failover.SLOW_MS, slow=False)
    result = failover_report.summarize(measured)
    for deployment, faults in plan.items():
        for fault in faults:
            found = result[deployment][fault]
            assert sum(found[name] for name in failover_report.COLUMNS if name.startswith("connections")) == 200
            assert found["connections_in_transition"] > 20 and found["slots_in_transition"] > 300, found
            assert found["new_done"] > 50, found
    missed = [name for name, verdict in result["verdicts"].items() if not verdict["kept"] and not name.endswith("outage_ms")]
    assert missed == [], result


# --- Failover of front-ends --------------------------------------------------------------------------------------------

def front_end_run(last_failed_ms=None, retransmitted_ms=None, broken=0, lost_with=("master",)):
    """What run_fault() returns: a connection each 5 ms from 500 ms before the fault on; those until `last_failed_ms`
    are refused, the one at `retransmitted_ms` takes a second."""
    def new(begin):
        refused = last_failed_ms is not None and 0 <= begin <= last_failed_ms
        return {"begin_ms": begin, "took_ms": 1002 if begin == retransmitted_ms else 2,
                "result": "refused" if refused else "ok", "server": None if refused else "slave"}

    def servers(name):
        return {name: {"kept": 100 - broken, "broken": broken, "reasons": {"closed": broken} if broken else {}}}

    return {"connections": {name: servers(name) for name in ("master", "slave")}, "lost_with": list(lost_with),
            "new": [new(begin) for begin in range(-500, 2500, 5)]}


def front_end_summary(fault, *runs):
    return front_end_failover_report.summarize({"runs": {fault: list(runs)}, "settings": {
        "runs": len(runs), "connections": 200, "interval_ms": 200, "timeout_ms": 150, "fall": 2}})


@pytest.mark.parametrize("fault, limit", [("host", 600), ("process", 450), ("flap", 0)])
@pytest.mark.parametrize("how", ["last_failed_ms", "retransmitted_ms"])
def test_a_gap_of_front_ends_is_held(fault, limit, how):
    name = f"{fault}.new_connection_gap_ms"
    kept, missed = (front_end_summary(fault, front_end_run(**{how: ms})) for ms in (limit, limit + 5))
    assert kept["verdicts"][name]["kept"] and not missed["verdicts"][name]["kept"]
    assert missed[fault]["new_connection_gap_ms"] == limit + 5


def test_only_what_was_with_the_failed_front_end_may_be_lost():
    found = front_end_summary("process", front_end_run(broken=3))
    assert (found["process"]["open_connections_lost_with_host"], found["process"]["open_connections_broken"]) == (3, 3)
    assert not found["verdicts"]["process.open_connections_broken"]["kept"]
    found = front_end_summary("flap", front_end_run(broken=3, lost_with=()))
    assert found["flap"]["open_connections_broken"] == 6 and found["flap"]["open_connections_kept"] == 194


def test_front_ends_fail_over():
    """A run of each fault: what it counts and that nothing is left; how long is not asserted."""
    missing = "root" if os.geteuid() != 0 else front_end_failover.missing_programs(PROGRAMS)
    if missing:
        pytest.skip(f"missing: {missing}")
    result = front_end_failover_report.summarize(front_end_failover.measure(PROGRAMS, runs=1, connections=60))
    for fault in front_end_failover.FAULTS:
        found = result[fault]
        assert found["open_connections_broken"] == 0 and found["new_at_slave"] > 50, found
        # A client's port may still be pinned to where a connection of an earlier run from it went.
        assert found["open_connections_kept"] >= (60 if fault == "flap" else 28), found
        assert found["open_connections_kept"] + found["open_connections_lost_with_host"] == 60, found
    assert result["host"]["new_connection_gap_ms"] > 0 and result["process"]["new_connection_gap_ms"] > 0
    assert result["flap"]["new_failed"] == 0
    assert not glob.glob(f"/run/netns/fl-frontends{os.getpid()}-*")


# --- Churn -----------------------------------------------------------------------------------------------------------

def churn_run(broken=0, reason="closed", new_failed=0, wrong_at_servers=0, wrk_failed=0, previous_packets=1, pins_peak=1,
              slots_moved=1, changes=36, checksum_right=True, status=0):
    """What churn.run_once() returns."""
    connections = {"master": {"kept": 2000 - broken, "broken": broken, "reasons": {reason: broken} if broken else {}}}
    return {"clients": [{"connections": connections, "exchanges": 5, "new": {"done": 9, "failed": new_failed, "reasons": {}}}],
            "wrong_at_servers": wrong_at_servers, "flood_syns": 7, "wrk": {"requests": 8, "failed": wrk_failed},
            "download": {"bytes": 3, "seconds": 1.5, "connections": 1, "status": status, "checksum_right": checksum_right},
            "changes": ["drain master"] * changes, "slots_moved": slots_moved, "pins_peak": pins_peak,
            "previous_packets": previous_packets}


def churn_summary(control_broken=100, **run):
    return churn_report.summarize({"run": churn_run(**run), "control": churn_run(broken=control_broken),
                                   "settings": {"changes": run.get("changes", 36)}})


@pytest.mark.parametrize("fault, missed", [
    ({}, []), ({"broken": 1}, ["broken"]), ({"status": 56}, ["broken"]), ({"checksum_right": False}, ["bytes_wrong"]),
    ({"broken": 2, "reason": "wrong data"}, ["broken", "bytes_wrong"]), ({"wrong_at_servers": 1}, ["bytes_wrong"]),
    ({"new_failed": 1}, ["new_failed"]), ({"wrk_failed": 1}, ["wrk_failed"]), ({"changes": 29}, []), ({"changes": 9}, ["changes"]),
    ({"slots_moved": 0}, ["slots_moved"]), ({"previous_packets": 0}, ["previous_packets"]), ({"pins_peak": 0}, ["pins_peak"])])
def test_what_churn_may_not_do(fault, missed):
    result = churn_summary(**fault)
    assert [name for name, verdict in result["verdicts"].items() if not verdict["kept"]] == missed
    assert not result["inconclusive"]


def test_churn_that_would_not_see_a_break_says_nothing():
    assert churn_summary(control_broken=99)["inconclusive"] and not churn_summary(control_broken=100)["inconclusive"]


def test_churn_breaks_no_connection():
    """The short run, by what scripts/bench runs: its verdicts, that it is not blind, and that nothing is left."""
    missing = "root" if os.geteuid() != 0 else churn.missing_programs(PROGRAMS)
    if missing:
        pytest.skip(f"missing: {missing}")
    process = subprocess.Popen([sys.executable, HERE / "report.py", "churn", "--programs", PROGRAMS, "--json", "--quick"],
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors + output
    result = json.loads(output)
    assert set(churn_report.FIGURES) <= result.keys() and result["connections"] == 2001 and result["broken"] == 0
    assert result["control"]["broken"] >= 100
    assert not glob.glob(f"/run/netns/fl-churn{process.pid}-*")
    assert not glob.glob(f"/sys/fs/bpf/fairlead/fl-churn{process.pid}-*")
