# SPDX-License-Identifier: Apache-2.0
"""Runs in the machine: lb-dpdk on a virtio card with two queues that is bound to vfio-pci, behind an IOMMU. The frames of
guest_forward.py, to the byte the same; what is the host's goes through the tap that stands for the card.

    guest_vfio.py BUILD_FOLDER CARD_MAC WIRE_MAC
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import guest_forward as forward
from guest import check, load_later_modules, report, run

QUEUES = 2
HUGE_PAGES = 160  # of 2 MB
TAP_LIMIT_S = 300.0  # an emulated machine reads DPDK's hundred drivers over 9p


def card_with(mac: str) -> tuple[str, str]:
    """PCI address and interface of the card."""
    for address in Path("/sys/bus/pci/devices").glob("*/virtio*/net/*/address"):
        if address.read_text().strip() == mac:
            return address.parents[3].name, address.parent.name
    raise AssertionError(f"no card has the MAC address {mac}")


def bind_to_vfio(card: str) -> None:
    device = Path("/sys/bus/pci/devices") / card
    (device / "driver/unbind").write_text(card)
    (device / "driver_override").write_text("vfio-pci")
    Path("/sys/bus/pci/drivers_probe").write_text(card)
    assert (device / "driver").resolve().name == "vfio-pci"


class Engine:
    """lb-dpdk in the balancer's namespace; stopped by its id."""

    def __init__(self, build: Path) -> None:
        self._process = subprocess.Popen(
            ["nsenter", "--net=/run/netns/lb", str(build / "dataplane/engine/lb-dpdk"), "--config",
             str(forward.SETTINGS), "--node", "vm"])  # fmt: skip

    def wait_for_tap(self) -> str:
        started = time.monotonic()
        while subprocess.run(["ip", "-netns", "lb", "link", "show", "lb0"], capture_output=True).returncode != 0:
            assert self._process.poll() is None, f"lb-dpdk has ended with {self._process.returncode}"
            assert time.monotonic() - started < TAP_LIMIT_S, "no interface lb0"
            time.sleep(0.5)
        return f"after {time.monotonic() - started:.0f} s"

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(timeout=60)


def dpdk_settings(card: str) -> str:
    return forward.settings("dpdk", f"""
[dpdk]
supervise = false
huge_pages = true
memory_mb = 256
[[dpdk.port]]
interface = "lb0"
device = "{card}"
queues = {QUEUES}
""")


def runs_on_the_card(balancer: forward.Balancer) -> str:
    status = json.loads(balancer.control("-o", "json", "status"))
    assert [p["engine"] for p in status["ports"]] == ["dpdk"], status["ports"]
    assert status["lb_dpdk"]["workers"] == QUEUES, status["lb_dpdk"]
    return f"{status['lb_dpdk']['workers']} workers"


def both_queues_forward(wire: forward.Wire, balancer: forward.Balancer) -> str:
    """Flows spread over the card's queues, and so over the workers."""
    for source_port in range(31000, 31032):
        packet = forward.request("dsr4", source_port)
        assert wire.exchange(packet, lambda p, ends=packet[20:]: p.endswith(ends)) is not None
    rows = json.loads(balancer.control("-o", "json", "stats", "--per-core"))["cores"]
    steered = [row["steered"] for row in rows if row["engine"] == "dpdk"]
    assert len(steered) == QUEUES and all(steered), rows
    return str(steered)


def steers(wire: forward.Wire, balancer: forward.Balancer) -> None:
    check("on-the-card", lambda: runs_on_the_card(balancer))
    for name in ("dsr4", "dsr6"):
        check(name, lambda name=name: forward.layer_2(wire, name))
    for name in ("tunnel4", "tunnel6"):
        check(name, lambda name=name: forward.tunnelled(wire, name))
    for name in ("local4", "local6"):
        check(name, lambda name=name: forward.answered_by_host(wire, name))
    check("refused-dsr4", lambda: forward.refused(wire, "dsr4"))
    check("passed", lambda: forward.passed_to_host(wire))
    check("vip-echo", lambda: forward.vip_echo(wire))
    check("vip-arp", lambda: forward.vip_arp(wire))
    check("both-queues", lambda: both_queues_forward(wire, balancer))


def main(build: Path, card_mac: str, wire_mac: str) -> int:
    for name in ("lb", "wire"):
        run("ip", "netns", "add", name)
    card, _ = card_with(card_mac)
    _, far = card_with(wire_mac)
    run("ip", "link", "set", far, "netns", "wire", "name", "wire0")
    check("vfio", lambda: bind_to_vfio(card))
    Path("/proc/sys/vm/nr_hugepages").write_text(str(HUGE_PAGES))
    forward.batch("wire", "link set lo up\nlink set wire0 up\n"
                  + forward.addresses("add", "wire0", forward.wire_addresses()))  # fmt: skip
    forward.SETTINGS.write_text(dpdk_settings(card))
    Path("/run/fairlead").mkdir(parents=True, exist_ok=True)
    engine = Engine(build)
    if not check("tap", engine.wait_for_tap):
        return 1
    forward.address_balancer()
    forward.listen("wire", [value for name, value in forward.BACKEND.items() if not name.startswith("local")])
    forward.listen("lb", [value for name in ("local4", "local6") for value in (forward.BACKEND[name], forward.VIP[name])])
    balancer = forward.Balancer(build, dpdk_settings(card))
    wire = forward.Wire()
    if check("ready", lambda: forward.wait_until_steered(wire, balancer)):
        steers(wire, balancer)
    report("lbd-stopped", balancer.stop() == 0)
    report("stopped", engine.stop() == 0)
    return 0


if __name__ == "__main__":
    load_later_modules()
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
