# SPDX-License-Identifier: Apache-2.0
"""scripts/demo itself: what it promises on its last line, and that nothing stays behind."""

import glob
import json
import os
import signal
import subprocess
import time

import pytest

from lab import HERE, PYTHON, Nginx, wait_for
from pair_demo import TAKEOVER_LIMIT_MS

LIMIT_MS = 200 * 2 + 150 + 200


def leftovers(pid):
    return glob.glob(f"/run/netns/fl-demo{pid}-*") + glob.glob(f"/sys/fs/bpf/fairlead/fl-demo{pid}-*") + \
        glob.glob(f"/run/fairlead/fl-demo{pid}-*") + glob.glob(f"/tmp/fairlead-demo{pid}-*")


def start(*options):
    return subprocess.Popen([PYTHON, HERE / "demo.py", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("options", [
    ["--json"],
    ["--json", "--forward", "ipip", "--ipv6"],
    ["--topology", "on-master", "--forward", "ipip"],
    ["--json", "--engine", "dpdk"],
], ids=lambda options: "-".join(option.strip("-") for option in options))
def test_demo(options):
    process = start(*options)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    lines = output.splitlines()
    assert len(lines) == 1 or "--json" not in options
    result = json.loads(lines[-1])
    assert result.keys() == {"engine", "requests", "failed", "failed_during_detection", "failed_during_failback",
                             "downloads_kept", "served_by", "failover_ms", "both_down_refused_ms", "xdp_packets"}
    assert result["failed_during_failback"] == 0 and result["downloads_kept"] == 2
    assert result["engine"] == ("dpdk" if "dpdk" in options else "xdp-native") and result["failed"] == 0
    assert result["served_by"].keys() == {"master", "slave"} and min(result["served_by"].values()) > 50
    assert result["requests"] == sum(result["served_by"].values()) + result["failed_during_detection"]
    assert result["xdp_packets"] > 3 * result["requests"] * 0.9
    assert 0 < result["failover_ms"]["process"] <= LIMIT_MS and 0 < result["failover_ms"]["link"] <= LIMIT_MS
    assert 0 <= result["both_down_refused_ms"] <= 1000
    assert not leftovers(process.pid)


@pytest.mark.parametrize("options", [["--topology", "external"], ["--topology", "on-master"]],
                         ids=lambda options: options[-1])
def test_pair(options):
    process = start("--pair", "--json", *options)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert len(output.splitlines()) == 1
    result = json.loads(output)
    assert result["topology"] == options[-1] and result["engine"] == "xdp-native" and result["failed"] == 0
    assert result["requests"] > 100 and min(result["served_by"].values()) > 50
    assert result["requests"] == sum(result["served_by"].values()) + result["failed_during_detection"]
    assert 0 < result["takeover_ms"] <= TAKEOVER_LIMIT_MS
    assert result["windows_ms"].keys() == {"death", "return"}
    download = result["download"]
    assert download["checksum_right"] and download["connections"] == 1 and download["server"] == "slave"
    assert 0 < download["bytes_at_death"] < download["bytes"] == Nginx.LARGE_BYTES
    assert not leftovers(process.pid)


@pytest.mark.parametrize("options", [[], ["--forward", "ipip", "--ipv6"]], ids=["l2dsr", "ipip-ipv6"])
def test_drain(options):
    process = start("--drain", "--json", *options)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    assert len(output.splitlines()) == 1
    result = json.loads(output)
    assert result["engine"] == "xdp-native" and result["failed"] == 0
    assert result["requests"] > 100 and min(result["served_by"].values()) > 50
    assert result["wait_s"] > 0
    download = result["download"]
    assert download["checksum_right"] and download["connections"] == 1 and download["server"] == "master"
    assert 0 < download["bytes_at_drain"] < download["bytes"] == Nginx.LARGE_BYTES
    assert not leftovers(process.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_nothing(number):
    process = start()
    wait_for(lambda: os.path.exists(f"/run/netns/fl-demo{process.pid}-slave"), "the demo's namespaces")
    time.sleep(1.5)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    assert not leftovers(process.pid)
