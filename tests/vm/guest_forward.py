# SPDX-License-Identifier: Apache-2.0
"""Runs in the machine: lbd with the shipped XDP object, in a namespace, and one crafted frame for each way that a
packet can take through it. The balancer's only neighbour is this program, at the far end of a veth pair.

    guest_forward.py BUILD_FOLDER PASS_OBJECT
"""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import frames
from frames import ACK, RST, SYN, ethernet, ethertype_of, ip, one_hop_on, tcp_packet
from guest import check, load_later_modules, mac_of, namespace, port, report, run

PORT = 80
UNLISTED_PORT = 81
READY_LIMIT_S = 120.0
FRONTEND_SETUP = Path(__file__).resolve().parents[2] / "scripts/frontend-setup"
EXCHANGE_LIMIT_S = 10.0  # met in milliseconds, or not at all
SETTINGS = Path("/run/fairlead-vm.toml")

BALANCER = {4: "192.0.2.1", 6: "2001:db8:2::1"}
CLIENT = {4: "192.0.2.100", 6: "2001:db8:2::100"}
FAR_CLIENT = {4: "192.0.2.77", 6: "2001:db8:2::77"}  # at the balancer's end of the pair
STRANGER = {4: "192.0.2.66", 6: "2001:db8:2::66"}
BACKEND = {
    "dsr4": "192.0.2.11", "dsr6": "2001:db8:2::11",
    "tunnel4": "192.0.2.12", "tunnel6": "2001:db8:2::12",
    "local4": BALANCER[4], "local6": BALANCER[6],
}  # fmt: skip
VIP = {
    "dsr4": "198.51.100.1", "dsr6": "2001:db8:100::1",
    "tunnel4": "198.51.100.2", "tunnel6": "2001:db8:100::2",
    "local4": "198.51.100.3", "local6": "2001:db8:100::3",
}  # fmt: skip
FORWARD = {"dsr": "l2dsr", "tunnel": "ipip", "local": "l2dsr"}
OUTER_PROTOCOL = {4: frames.PROTOCOL_IPIP, 6: frames.PROTOCOL_IPV6}


def settings(engine: str = "xdp", more: str = "") -> str:
    text = f"""
[[node]]
name = "vm"
interface = "lb0"
engine = "{engine}"
address = ["{BALANCER[4]}", "{BALANCER[6]}"]
{more}
"""
    for name, address in BACKEND.items():
        # Checks are generous: an emulated machine is slow, and speed is not what this test is about.
        text += f"""
[[pool]]
name = "{name}"
forward = "{FORWARD[name[:-1]]}"
checks = [{{ type = "tcp", port = {PORT}, interval = "500ms", timeout = "450ms", rise = 1, fall = 20 }}]
[[pool.backend]]
name = "{name}"
address = "{address}"
[[service]]
name = "{name}"
vip = "{VIP[name]}"
ports = [{PORT}]
protocol = "tcp"
pool = "{name}"
"""
    return text


def batch(netns: str, commands: str) -> None:
    done = subprocess.run(["ip", "-netns", netns, "-batch", "-"], input=commands, text=True, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"ip in {netns}: {done.stderr}")


def build_network(pass_object: str) -> None:
    for name in ("lb", "wire"):
        run("ip", "netns", "add", name)
    run(*"ip link add lb0 netns lb type veth peer name wire0 netns wire".split())
    address_balancer()
    batch("wire", "link set lo up\nlink set wire0 up\n"
          + addresses("add", "wire0", wire_addresses())
          + f"link set dev wire0 xdpdrv obj {pass_object} sec xdp\n")  # fmt: skip


def address_balancer() -> None:
    batch("lb", "link set lo up\nlink set lb0 up\n" + addresses("add", "lb0", BALANCER.values())
          + "".join(f"address add {VIP[name]} dev lo\n" for name in ("local4", "local6")))  # fmt: skip


def wire_addresses() -> list[str]:
    """The tunnels' ends first: they stay when the others go, and the kernel takes all others with the first."""
    return [*(BACKEND[f"{kind}{family}"] for kind in ("tunnel", "dsr") for family in (4, 6)), *CLIENT.values()]


def addresses(verb: str, interface: str, values) -> str:
    return "".join(
        f"address {verb} {value}/{'64' if ':' in value else '24'} dev {interface}"
        + (" nodad\n" if ":" in value and verb == "add" else "\n")
        for value in values
    )


def listen(netns: str, values) -> None:
    """Accepts and closes connections on each address: what a health check asks of a backend."""

    def serve(listener: socket.socket) -> None:
        while True:
            listener.accept()[0].close()

    with namespace(netns):
        for value in values:
            listener = socket.create_server((value, PORT), family=socket.AF_INET6 if ":" in value else socket.AF_INET)
            threading.Thread(target=serve, args=(listener,), daemon=True).start()


class Balancer:
    """lbd in its namespace; stopped by its id."""

    def __init__(self, build: Path, text: str) -> None:
        self._build = build
        for folder in ("/run/fairlead", "/var/lib/fairlead"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        SETTINGS.write_text(text)
        self._process = subprocess.Popen(
            ["nsenter", "--net=/run/netns/lb", str(build / "ctl/lbd/lbd"), "--config", str(SETTINGS), "--node", "vm"]
        )

    def control(self, *arguments: str) -> str:
        return run("nsenter", "--net=/run/netns/lb", str(self._build / "ctl/lbctl/lbctl"), *arguments)

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(timeout=30)


class Wire:
    """The far end of the pair: client, neighbour and backends in one."""

    def __init__(self) -> None:
        self.port = port("wire", "wire0")
        self.mac = mac_of("wire", "wire0")
        self.balancer_mac = mac_of("lb", "lb0")

    def exchange(self, packet: bytes, matches, limit_s: float = EXCHANGE_LIMIT_S) -> bytes | None:
        """Sends the packet to the balancer; the matching frame that came back, its Ethernet header checked."""
        family = packet[0] >> 4
        self.port.drain()
        self.port.send(ethernet(self.balancer_mac, self.mac, frames.ETHERTYPE[family], packet))
        frame = self.port.expect(lambda f: ethertype_of(f) in frames.ETHERTYPE.values() and matches(f[14:]), limit_s)
        if frame is not None and frame[:12] != self.mac + self.balancer_mac:
            raise AssertionError(f"MACs are {frame[:12].hex()}")
        return None if frame is None else frame[14:]


def request(name: str, source_port: int, flags: int = SYN, to_port: int = PORT) -> bytes:
    payload = b"" if flags & SYN else b"some payload"
    return tcp_packet(CLIENT[int(name[-1])], source_port, VIP[name], to_port, flags, payload)


def is_tunnel_to(address: str):
    protocol_at, destination = (9, slice(16, 20)) if ":" not in address else (6, slice(24, 40))
    protocol = OUTER_PROTOCOL[frames.version_of(address)]
    return lambda packet: packet[protocol_at] == protocol and packet[destination] == frames.packed(address)


def equal(got: bytes | None, wanted: bytes) -> None:
    if got is None:
        raise AssertionError("no frame came back")
    if got != wanted:
        raise AssertionError(f"got {got.hex()}, wanted {wanted.hex()}")


def wait_until_steered(wire: Wire, balancer: Balancer) -> None:
    """Every backend has had its first good check and every neighbour its answer when all modes forward."""
    started = time.monotonic()
    waiting = {name for name in VIP if not name.startswith("local")}
    while waiting:
        if not balancer.running():
            raise AssertionError("lbd has ended")
        if time.monotonic() - started > READY_LIMIT_S:
            raise AssertionError(f"not steered: {sorted(waiting)}; {balancer.control('backends')}")
        for name in sorted(waiting):
            packet = request(name, 30000)
            ends = packet[40:] if name[-1] == "6" else packet[20:]
            if wire.exchange(packet, lambda p: p.endswith(ends) and len(p) >= len(packet) and not is_reset(p), 0.3):
                waiting.discard(name)


def is_reset(packet: bytes) -> bool:
    header = frames.HEADER_LENGTH[packet[0] >> 4]
    return len(packet) >= header + 20 and bool(packet[header + 13] & RST)


def layer_2(wire: Wire, name: str) -> None:
    for flags in (SYN, ACK):
        packet = request(name, 40001, flags)
        equal(wire.exchange(packet, lambda p: p[-20:] == packet[-20:]), one_hop_on(packet))


def tunnelled(wire: Wire, name: str) -> str:
    """The inner packet comes whole, one hop on; the outer header is checked field by field."""
    for flags in (SYN, ACK):
        packet = request(name, 40002, flags)
        got = wire.exchange(packet, is_tunnel_to(BACKEND[name]))
        family = int(name[-1])
        header = frames.HEADER_LENGTH[family]
        equal(got and got[header:], one_hop_on(packet))
        outer = got[:header]
        source = outer[12:16] if family == 4 else outer[8:24]
        if source != frames.packed(BALANCER[family]):
            raise AssertionError(f"outer source {source.hex()}")
        if family == 4 and (frames.checksum(outer) != 0 or outer[2:4] != len(got).to_bytes(2, "big") or outer[8] < 32):
            raise AssertionError(f"outer header {outer.hex()}")
        if family == 6 and (outer[4:6] != len(packet).to_bytes(2, "big") or outer[7] < 32):
            raise AssertionError(f"outer header {outer.hex()}")
    return f"outer {outer.hex()}"


def answered_by_host(wire: Wire, name: str) -> None:
    """A local backend is this machine's own TCP, which answers a SYN for the VIP on its loopback."""
    header = frames.HEADER_LENGTH[int(name[-1])]
    source = slice(12, 16) if name[-1] == "4" else slice(8, 24)
    wanted = frames.packed(VIP[name])
    packet = request(name, 40003)
    got = wire.exchange(packet, lambda p: p[source] == wanted and len(p) > header + 13)
    if got is None or got[header + 13] != SYN | ACK:
        raise AssertionError(f"no SYN-ACK but {got and got.hex()}")


def is_echo_reply_from(address: str):
    return lambda p: p[9] == frames.PROTOCOL_ICMP and p[20] == 0 and p[12:16] == frames.packed(address)


def passed_to_host(wire: Wire) -> None:
    """What is for no VIP reaches the host untouched: its own kernel answers the echo."""
    packet = frames.echo_request(CLIENT[4], BALANCER[4], 0x4642)
    got = wire.exchange(packet, is_echo_reply_from(BALANCER[4]))
    if got is None or got[24:] != packet[24:]:
        raise AssertionError(f"no echo reply but {got and got.hex()}")


def vip_echo(wire: Wire) -> None:
    packet = frames.echo_request(CLIENT[4], VIP["dsr4"], 0x4643)
    got = wire.exchange(packet, is_echo_reply_from(VIP["dsr4"]))
    if got is None or got[24:] != packet[24:] or frames.checksum(got[20:]) != 0 or frames.checksum(got[:20]) != 0:
        raise AssertionError(f"no echo reply but {got and got.hex()}")


def vip_arp(wire: Wire) -> None:
    wire.port.drain()
    wire.port.send(frames.arp_request(wire.mac, CLIENT[4], VIP["dsr4"]))
    got = wire.port.expect(lambda f: ethertype_of(f) == frames.ETHERTYPE_ARP and f[28:32] == frames.packed(VIP["dsr4"]))
    if got is None or got[20:28] != b"\0\2" + wire.balancer_mac:
        raise AssertionError(f"no answer but {got and got.hex()}")


def refused(wire: Wire, name: str) -> None:
    header = frames.HEADER_LENGTH[int(name[-1])]
    packet = request(name, 40004, to_port=UNLISTED_PORT)
    got = wire.exchange(packet, is_reset)
    reversed_ports = packet[header + 2 : header + 4] + packet[header : header + 2]
    if got is None or got[header : header + 4] != reversed_ports:
        raise AssertionError(f"no reset but {got and got.hex()}")


def attached_natively() -> str:
    link = json.loads(run("ip", "-netns", "lb", "-d", "-json", "link", "show", "dev", "lb0"))[0]
    if link.get("xdp", {}).get("mode") != 1:  # XDP_ATTACHED_DRV
        raise AssertionError(f"xdp is {link.get('xdp')}")
    return f"program {link['xdp']['prog']['id']}"


def in_wire(*command: str) -> str:
    return run("nsenter", "--net=/run/netns/wire", *command)


def attach_decap(lbctl: str) -> str:
    """The wire becomes a front-end node that unwraps by fl_decap, for the tunnels' ends alone."""
    ends = {BACKEND["tunnel4"], BACKEND["tunnel6"]}
    batch("wire", "link set dev wire0 xdpdrv off\n"
          + addresses("del", "wire0", [value for value in wire_addresses() if value not in ends]))  # fmt: skip
    return in_wire(
        lbctl, "decap", "attach", "--interface", "wire0", "--source", BALANCER[4], "--source", BALANCER[6],
        "--vip", VIP["tunnel4"], "--vip", VIP["tunnel6"],
    )  # fmt: skip


def prepare_front_end(lbctl: str, pass_object: str) -> str:
    """The same with the kernel's own tunnel devices, which frontend-setup prefers where they exist."""
    in_wire(lbctl, "decap", "detach", "--interface", "wire0")
    load_later_modules()
    batch("wire", f"link set dev wire0 xdpdrv obj {pass_object} sec xdp\n")
    batch("lb", addresses("add", "lb0", FAR_CLIENT.values()))
    vips = (VIP["tunnel4"], VIP["tunnel6"])
    said = in_wire(str(FRONTEND_SETUP), "ipip", *vips, "--interface", "wire0", "--lbctl", lbctl)
    if "link set tunl0 up" not in said.replace("dev ", "") or "decap attach" in said:
        raise AssertionError(f"did not take the tunnel device: {said}")
    listen("wire", vips)
    return said


def served_through_device(wire: Wire, name: str) -> None:
    """A client's SYN goes through the balancer and the tunnel; the node's TCP answers as the VIP, straight to it."""
    family = int(name[-1])
    header = frames.HEADER_LENGTH[family]
    client = port("lb", "lb0")
    packet = tcp_packet(FAR_CLIENT[family], 40007, VIP[name], PORT, SYN)
    wire.port.send(ethernet(wire.balancer_mac, wire.mac, frames.ETHERTYPE[family], packet))
    ports = packet[header + 2 : header + 4] + packet[header : header + 2]
    got = client.expect(lambda f: f[14 + header : 18 + header] == ports)
    if got is None or got[14 + header + 13] != SYN | ACK:
        raise AssertionError(f"no SYN-ACK but {got and got.hex()}")


def unwrapped(wire: Wire, name: str) -> None:
    """There and back: the balancer wraps the packet, fl_decap at the far end takes the wrapping off."""
    packet = request(name, 40005)
    equal(wire.exchange(packet, lambda p: p[-20:] == packet[-20:]), one_hop_on(packet))


def stranger_refused(wire: Wire, name: str) -> None:
    """What another than the balancer wraps for the VIP stays out; the same frame from the balancer comes in."""
    family = int(name[-1])
    packet = request(name, 40006)
    balancer = port("lb", "lb0")
    wire.port.drain()
    for source, comes_in in ((STRANGER[family], False), (BALANCER[family], True)):
        outer = ip(source, BACKEND[name], OUTER_PROTOCOL[family], packet)
        balancer.send(ethernet(wire.mac, wire.balancer_mac, frames.ETHERTYPE[family], outer))
        got = wire.port.expect(lambda f: f.endswith(packet[-20:]), EXCHANGE_LIMIT_S if comes_in else 1.0)
        if comes_in != (got is not None and got[14:] == packet):
            raise AssertionError(f"from {source}: {got and got.hex()}")


def forwards(wire: Wire) -> None:
    check("native", attached_natively)
    for name in ("dsr4", "dsr6"):
        check(name, lambda name=name: layer_2(wire, name))
    for name in ("tunnel4", "tunnel6"):
        check(name, lambda name=name: tunnelled(wire, name))
    for name in ("local4", "local6"):
        check(name, lambda name=name: answered_by_host(wire, name))
    for name in ("dsr4", "dsr6"):
        check(f"refused-{name}", lambda name=name: refused(wire, name))
    check("passed", lambda: passed_to_host(wire))
    check("vip-echo", lambda: vip_echo(wire))
    check("vip-arp", lambda: vip_arp(wire))


def front_end(wire: Wire, lbctl: str, pass_object: str) -> None:
    check("decap-attach", lambda: attach_decap(lbctl))
    for name in ("tunnel4", "tunnel6"):
        check(f"decap-{name}", lambda name=name: unwrapped(wire, name))
        check(f"stranger-{name}", lambda name=name: stranger_refused(wire, name))
    check("frontend-setup", lambda: prepare_front_end(lbctl, pass_object))
    for name in ("tunnel4", "tunnel6"):
        check(f"device-{name}", lambda name=name: served_through_device(wire, name))


def main(build: Path, pass_object: str) -> int:
    build_network(pass_object)
    listen("wire", [BACKEND[name] for name in BACKEND if not name.startswith("local")])
    listen("lb", [value for name in ("local4", "local6") for value in (BACKEND[name], VIP[name])])
    balancer = Balancer(build, settings())
    wire = Wire()
    if not check("ready", lambda: wait_until_steered(wire, balancer)):
        balancer.stop()
        return 1
    forwards(wire)
    report("lbd-stopped", balancer.stop() == 0)
    check("steers-on", lambda: layer_2(wire, "dsr4"))
    front_end(wire, str(build / "ctl/lbctl/lbctl"), pass_object)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
