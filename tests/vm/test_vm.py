# SPDX-License-Identifier: Apache-2.0
"""The shipped XDP object on Debian's own kernel 6.1, in an emulated machine: it loads, attaches natively and forwards
a packet of each mode under the real controller. One boot for all tests of this file."""

import subprocess
from pathlib import Path

import pytest

from machine import KERNEL_SERIES, build_folder, run_in_machine

HERE = Path(__file__).resolve().parent
LIMIT_S = 400  # a hang, not a slow run: an idle machine needs about 35, a very busy one four times that
CASES = (
    "ready", "native", "dsr4", "dsr6", "tunnel4", "tunnel6", "local4", "local6", "refused-dsr4", "refused-dsr6",
    "passed", "vip-echo", "vip-arp", "lbd-stopped", "steers-on",
    "decap-attach", "decap-tunnel4", "stranger-tunnel4", "decap-tunnel6", "stranger-tunnel6",
    "frontend-setup", "device-tunnel4", "device-tunnel6",
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    pass_object = tmp_path_factory.mktemp("vm") / "pass.o"
    flags = ["-O2", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu"]
    subprocess.run(["clang-14", *flags, "-c", HERE / "pass.bpf.c", "-o", pass_object], check=True)
    result = run_in_machine(HERE / "guest_forward.py", [str(build_folder()), str(pass_object)], LIMIT_S)
    print(result.console, result.report, f"{result.seconds:.0f} s", sep="\n")  # pytest shows it when a test fails
    return result


def test_boots_debian_kernel(outcome):
    ok, release = outcome.results.get("boot", (False, "nothing reported"))
    assert ok, release
    assert release.startswith(KERNEL_SERIES + ".")


@pytest.mark.parametrize("name", CASES)
def test_guest(outcome, name):
    outcome.check(name)


def test_guest_ran_to_its_end(outcome):
    outcome.check_end(CASES)
