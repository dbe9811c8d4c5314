# SPDX-License-Identifier: Apache-2.0
"""That the benchmarks run, and find what they forward to be right: programs check bytes, counters and slots themselves.
How long anything takes is not asserted here; scripts/bench does that."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
PROGRAMS = Path(os.environ.get("FAIRLEAD_BUILD_DIR", HERE.parent.parent / "build")) / "tests" / "bench"
XDP = ["loop_ns", "driver_ns", "floor_pass_ns", "floor_encap_ns", "not_vip_ns", "steady_ipip4_1flow_ns",
       "steady_ipip4_1mflows_ns", "steady_ipip6_1flow_ns", "steady_l2dsr_1flow_ns"]


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
    assert output["verified_insns"] > 0
    assert {len(samples) for samples in output["live_samples"].values()} == {3}
    assert 0 < output["live_worst_share"] <= 0.05


def test_control_bench_verifies_every_slot():
    output = run("control-bench", "--flaps", "1", "--reloads", "1")
    assert len(output["samples"]["flap_to_last_slot_ms"]) == 2  # it goes, and comes back
    assert output["reload_10k_services_ms"] > 0
    assert output["tables"] == ("pinned" if os.geteuid() == 0 else "anonymous")


# --- What scripts/bench makes of it --------------------------------------------------------------------------------

GOOD = {
    "xdp-bench": {
        **{name: 10.0 for name in XDP}, "live_ratio_1flow": 0.9, "live_ratio_1mflows": 0.8, "verified_insns": 1234,
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
    ("not_vip_ns", 20.0, 20.1), ("live_ratio_1flow", 0.75, 0.74), ("live_ratio_1mflows", 0.70, 0.69),
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
