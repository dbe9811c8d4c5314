# SPDX-License-Identifier: Apache-2.0
"""lb-dpdk over vfio on Debian's own kernel 6.1, in an emulated machine with an IOMMU: a virtio card with two queues, and
beside it another that the kernel keeps, for what is at the other end of the cable."""

import os
import subprocess
from pathlib import Path

import pytest

from machine import Hardware, build_folder, run_in_machine

HERE = Path(__file__).resolve().parent
LIMIT_S = 900  # a hang, not a slow run
CARD, WIRE = "52:54:00:00:00:01", "52:54:00:00:00:02"
CASES = (
    "vfio", "tap", "ready", "on-the-card", "dsr4", "dsr6", "tunnel4", "tunnel6", "local4", "local6", "refused-dsr4",
    "passed", "vip-echo", "vip-arp", "both-queues", "lbd-stopped", "stopped",
)  # fmt: skip


def run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)


@pytest.fixture(scope="module")
def cable():
    """A namespace with a bridge between two taps: several queues need taps of the host's, and these are nobody else's."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes taps in a network namespace of its own")
    name = f"fl-vfio{os.getpid()}"
    run("ip", "netns", "add", name)
    try:
        lines = ["link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set br0 up"]
        for tap, queues in (("card", "multi_queue"), ("wire", "")):
            run("ip", "-netns", name, *f"tuntap add dev {tap} mode tap vnet_hdr {queues}".split())
            lines += [f"link set {tap} master br0", f"link set {tap} up"]
        subprocess.run(["ip", "-netns", name, "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=30)
        yield name
    finally:
        run("ip", "netns", "delete", name)


def card(name, mac, queues):
    several = f",queues={queues}" if queues > 1 else ""
    vectors = f",mq=on,vectors={2 * queues + 2}" if queues > 1 else ""
    offloads = ",".join(f"guest_{kind}=off" for kind in ("tso4", "tso6", "ecn", "ufo", "csum"))
    return ("-netdev", f"tap,id={name},ifname={name},script=no,downscript=no{several}",
            "-device", f"virtio-net-pci,netdev={name},mac={mac},disable-legacy=on,iommu_platform=on{vectors},csum=off,{offloads}")  # fmt: skip


@pytest.fixture(scope="module")
def outcome(cable):
    hardware = Hardware(2048, ("-device", "intel-iommu,intremap=on", *card("card", CARD, 2), *card("wire", WIRE, 1)),
                        "intel_iommu=on iommu=pt", ("nsenter", f"--net=/run/netns/{cable}", "--"))  # fmt: skip
    result = run_in_machine(HERE / "guest_vfio.py", [str(build_folder()), CARD, WIRE], LIMIT_S, hardware)
    print(result.console, result.report, f"{result.seconds:.0f} s", sep="\n")  # pytest shows it when a test fails
    return result


@pytest.mark.parametrize("name", CASES)
def test_guest(outcome, name):
    outcome.check(name)


def test_guest_ran_to_its_end(outcome):
    outcome.check_end(CASES)
