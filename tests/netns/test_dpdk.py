# SPDX-License-Identifier: Apache-2.0
"""lb-dpdk, instead of XDP and behind it: every way of forwarding over a port of DPDK's and over AF_XDP, by the tests that
XDP has; what the XDP program cannot finish; and what becomes of the host's own traffic."""

import hashlib
import os
import random
import re
import signal
import time

import pytest

import frames
from lab import LB_DPDK, VIP4, VIP6, Lbd, curl, make_config, setup_backends, wait_for
from load import Load
from steering import CLIENT, LIMIT_S, Wire, next_port, request
from test_capture import begin, finish, rows
from traffic import curl_many, download_sha256, neighbour, ping, upload
from ways import GUE, IPIP, L2DSR, OF_FORWARD

pytestmark = pytest.mark.skipif(not LB_DPDK.exists(), reason=f"missing: {LB_DPDK}")

DPDK = "[dpdk]\nsupervise = false\nmemory_mb = 96\n"
# af_packet: the kernel sees the frames too. af_xdp: the program feeds lb-dpdk.
ENGINES = {"af_packet": '[[dpdk.port]]\ninterface = "eth0"\ndevice = "net_af_packet0,iface=eth0"\n', "af_xdp": ""}
STEERS = "steering by the tables"
RUNTIME = "/var/run/dpdk"


class LbDpdk:
    """One lb-dpdk beside an lbd, with the same config."""

    def __init__(self, lbd, *arguments, wait=True):
        self.lbd, self.arguments = lbd, arguments
        self.start(wait)

    def start(self, wait=True):
        self.process = self.lbd.node.popen(
            "lb-dpdk", LB_DPDK, "--config", self.lbd.config_file, "--node", self.lbd.node.name, "--instance",
            self.lbd.instance, *self.arguments)
        if wait:
            wait_for(lambda: self.steers() or not self.process.alive(), f"lb-dpdk: {self.process.output()}", 30)
            assert self.process.alive(), self.process.output()

    def steers(self):
        """By a port of DPDK's once it has the tables; by AF_XDP once the sockets are in the program's map."""
        log = self.process.output()
        return STEERS in log and ("net_af_packet" in log or "by AF_XDP" in log)

    def stop(self):
        """SIGTERM; what it says it did."""
        assert self.process.stop(15) == 0, self.process.output()
        said = re.search(r"received (\d+), transmitted (\d+), given to the host (\d+), dropped (\d+), unsent (\d+)",
                         self.process.output())
        return dict(zip(("received", "transmitted", "passed", "dropped", "unsent"), map(int, said.groups())))

    def cpu_seconds(self):
        """Processor time of the whole process so far."""
        fields = open(f"/proc/{self.process.pid}/stat", encoding="ascii").read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def dpdk_lab(module_bench):
    """dpdk_lab(engine, forward): a lab of all ways of one forwarding mode on this engine."""
    made = {}

    def lab_of(engine, forward):
        if (engine, forward) not in made:
            lab = module_bench.ways(OF_FORWARD[forward], nodes={"lb": {"engine": "dpdk"}}, head=DPDK + ENGINES[engine],
                                    router=True)
            lab.dpdk = LbDpdk(lab.lbd)
            made[engine, forward] = lab
        return made[engine, forward]
    return lab_of


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", L2DSR + IPIP + GUE[:2], ids=lambda way: way.name)
class TestInsteadOfXdp:
    def test_real_connections(self, dpdk_lab, engine, way):
        lab = dpdk_lab(engine, way.forward)
        assert lab.lbd.attached_mode() == (None if engine == "af_packet" else "native")
        assert set(curl_many(lab.client, way.vip, 20)) == {"master", "slave"}
        assert download_sha256(lab, lab.client, way.vip) == lab.servers["master"].large_sha256
        data = os.urandom(300_000)
        server, count, digest = upload(lab.client, way.vip, data)
        assert server in ("master", "slave") and count == len(data) and digest == hashlib.sha256(data).hexdigest()

    def test_to_the_byte(self, dpdk_lab, engine, way):
        wire = Wire(dpdk_lab(engine, way.forward))
        assert {wire.forwards(way, request(way)) for _ in range(16)} == {"master", "slave"}

    def test_the_vip_answers(self, dpdk_lab, engine, way):
        lab = dpdk_lab(engine, way.forward)
        assert ping(lab.router, way.vip) == 3
        assert neighbour(lab.router, way.vip)[0] == lab.lb.mac


@pytest.mark.parametrize("engine", ENGINES)
def test_it_was_lb_dpdk_and_it_leaves_nothing(dpdk_lab, engine):
    """The last of its lab: it steered, it knows how much, and takes along what it made."""
    lab = dpdk_lab(engine, "l2dsr")
    for _ in range(3):
        assert curl(lab.client, VIP4) in ("master", "slave")
    pid = lab.dpdk.process.pid
    assert [name for name in os.listdir(RUNTIME) if name.endswith(f"-{pid}")]
    did = lab.dpdk.stop()
    assert did["transmitted"] > 100 and did["unsent"] == 0
    assert not [name for name in os.listdir(RUNTIME) if name.endswith(f"-{pid}")]
    assert not os.path.exists(f"/run/fairlead/{lab.lbd.instance}-dpdk.lock")
    assert "flh" not in lab.lb.run("ip", "-o", "link").stdout
    if engine == "af_xdp":  # the program steers where nobody listens
        assert curl_many(lab.client, VIP4, 10).count(None) == 0
    lab.dpdk.start()
    assert curl(lab.client, VIP4) in ("master", "slave")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_capture_shows_what_it_steers(dpdk_lab, engine, tmp_path):
    """Before and after, as of the XDP program (test_capture.py), and of lb-dpdk's workers."""
    lab, file = dpdk_lab(engine, "ipip"), tmp_path / "dpdk.pcapng"
    before = sum(steered_by_worker(lab))
    process = begin(lab, "capture", "-w", file, "port", "80")
    assert curl_many(lab.client, VIP4, 5).count(None) == 0
    finish(process)
    steered = sum(steered_by_worker(lab)) - before
    found = rows(file, "frame.comment", "frame.interface_name", "ip.src", "ip.proto", "ip.ttl")
    assert steered >= 5 * 4 and len(found) == 2 * steered
    for came, left in zip(found[::2], found[1::2]):
        assert came[0].startswith("before: forward to ") and " by ipip, service " in came[0]
        assert left[0].startswith("after: transmit by eth0, to ") and came[1] == left[1] == "eth0"
        assert came[2:4] == [lab.client.v4, "6"] and left[2:4] == [f"{lab.lb.v4},{lab.client.v4}", "4,6"]
        assert left[4].split(",")[1] == str(int(came[4]) - 1)


def test_idle_it_sleeps(dpdk_lab):
    """By AF_XDP until a frame comes. Nothing tells that of af_packet's, so it looks every millisecond, while the balancer's
    own checks come by; to wake takes 35 us on a virtual machine. Polling would take a CPU whole."""
    for engine, limit in (("af_xdp", 0.02), ("af_packet", 0.1)):
        dpdk = dpdk_lab(engine, "l2dsr").dpdk
        before, begun = dpdk.cpu_seconds(), time.monotonic()
        time.sleep(3)
        assert (dpdk.cpu_seconds() - before) / (time.monotonic() - begun) < limit, engine


def steered_by_worker(lab):
    return [row["steered"] for row in lab.lbd.lbctl_json("stats", "--per-core")["cores"] if row["engine"] == "dpdk"]


def test_each_queue_has_its_worker(bench):
    """The kernel spreads flows over an interface's queues, and each has a socket."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two processors: there are no more workers than that")
    lab = bench.ways(L2DSR[:1], nodes={"lb": {"engine": "dpdk"}}, head=DPDK, queues=2)
    dpdk = LbDpdk(lab.lbd)
    assert "2 queues by AF_XDP" in dpdk.process.output()
    assert set(curl_many(lab.client, VIP4, 10)) == {"master", "slave"}
    wire, before = Wire(lab), steered_by_worker(lab)
    assert {wire.forwards(L2DSR[0], request(L2DSR[0])) for _ in range(40)} == {"master", "slave"}
    assert len(before) == 2
    # Forty flows by hash: both have some but once in 2^39.
    assert all(after > then for after, then in zip(steered_by_worker(lab), before))


@pytest.mark.parametrize("family", (4, 6))
def test_a_local_backend_gets_its_packets(bench, family):
    """Masters that balance to themselves: what the socket took from the kernel is given back through a tap."""
    lab = bench.served("ipip", (family,), topology="on-master", head=DPDK,
                       nodes={name: {"engine": "dpdk"} for name in ("master", "slave")})
    vip = VIP4 if family == 4 else VIP6
    engines = {name: LbDpdk(lbd) for name, lbd in lab.lbds.items()}
    lab.client.run("ip", "neigh", "replace", vip, "lladdr", lab.master.mac, "dev", "eth0", "nud", "permanent")
    assert curl_many(lab.client, vip, 10) == ["master"] * 10
    assert download_sha256(lab, lab.client, vip) == lab.servers["master"].large_sha256
    # The other's tunnel is not fed: its program unwraps, as ever.
    lab.servers["master"].stop()
    lab.lbds["master"].wait_up(master=False, slave=True)
    wait_for(lambda: curl(lab.client, vip, check=False) == "slave", "the Slave")
    assert curl_many(lab.client, vip, 10) == ["slave"] * 10
    did = engines["master"].stop()
    assert did["passed"] > 20 and did["transmitted"] > 20
    assert "flh" not in lab.master.run("ip", "-o", "link").stdout


@pytest.mark.parametrize("engine", ENGINES)
def test_new_tables_and_a_new_interface_are_taken_up(bench, engine):
    """lb-dpdk runs on while lbd makes tables anew, and while its interface is another."""
    lab = bench.ways(L2DSR[:1], nodes={"lb": {"engine": "dpdk"}}, head=DPDK + ENGINES[engine])
    dpdk = LbDpdk(lab.lbd)

    def steers():
        before = sum(steered_by_worker(lab))
        return curl(lab.client, VIP4, check=False, max_time=1) and sum(steered_by_worker(lab)) > before
    wait_for(steers, "lb-dpdk to steer")
    lab.lbd.stop()
    lab.lbd.lbctl("detach", "--all")
    wait_for(lambda: "are gone" in dpdk.process.output(), "lb-dpdk to see it")
    lab.lbd.start()
    lab.lbd.wait_up(master=True, slave=True)
    wait_for(steers, "lb-dpdk to steer by new tables")
    lab.replace_interface(lab.lb)
    wait_for(steers, "lb-dpdk to steer on another interface", 20, 0.2)
    assert dpdk.process.alive()


@pytest.mark.parametrize("engine", ENGINES)
def test_tables_of_other_sizes_take_over_under_load(bench, engine):
    """The old ones are steered by until lbd has filled the new: no request is lost."""
    lab = bench.ways(L2DSR[:1], nodes={"lb": {"engine": "dpdk"}}, head=DPDK + ENGINES[engine])
    dpdk = LbDpdk(lab.lbd)
    with Load(lab, lab.client, VIP4) as load:
        wait_for(lambda: len(load.records()) > 50, "requests")
        lab.lbd.stop()
        lab.lbd.write_config(lab.lbd.config_file.read_text().replace("[dpdk]", "[limits]\npins = 65536\n[dpdk]", 1))
        lab.lbd.start()
        wait_for(lambda: dpdk.process.output().count(STEERS) == 2, "lb-dpdk to take up the new tables")
        seen = len(load.records())
        wait_for(lambda: len(load.records()) > seen + 50, "requests by the new tables")
        records = load.stop()
    assert {record.result for record in records} == {"ok"}


# ---- Behind XDP ----


@pytest.fixture(scope="module", params=("xdp", "xdp-generic"))
def behind(module_bench, request):
    """IPIP over IPv4 and IPv6 by the XDP program, in the driver and in the stack, with lb-dpdk for what it cannot finish."""
    lab = module_bench.ways(IPIP[:2], nodes={"lb": {"engine": request.param}}, head=DPDK + "exceptions = true\n")
    lab.dpdk = LbDpdk(lab.lbd)
    lab.wire = Wire(lab)
    return lab


def datagram(way, identification, port, length=8192):
    """The fragments of one large datagram, as its sender cuts it, with contents that tell each from every other."""
    payload = hashlib.shake_128(f"{identification}".encode()).digest(length)
    # Room for the tunnel's header in each.
    size = {4: 1448, 6: 1408}[way.family]
    return frames.fragments(CLIENT[way.family], way.vip, frames.PROTOCOL_UDP,
                            frames.udp(CLIENT[way.family], port, way.vip, 53, payload), size, identification)


ORDERS = {"in-order": list, "reversed": lambda pieces: pieces[::-1],
          "shuffled": lambda pieces: random.Random(6).sample(pieces, len(pieces))}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("way", IPIP[:2], ids=lambda way: way.name)
def test_large_datagrams_arrive_whole_at_one_backend(behind, way, order):
    wire, chosen = behind.wire, set()
    for identification in range(1, 13):
        pieces = ORDERS[order](datagram(way, 100 * list(ORDERS).index(order) + identification, next_port()))
        wire.cable.drain()
        for piece in pieces:
            wire.cable.send(wire.frame(piece))
        found = collect(wire, pieces)
        assert set(found) == set(pieces), f"{len(found)} of {len(pieces)} arrived"
        assert len(set(found.values())) == 1
        chosen |= set(found.values())
    assert chosen == {"master", "slave"}


def collect(wire, pieces):
    """Which backend each of these packets went to; those that did not come are missing."""
    found, end = {}, time.monotonic() + LIMIT_S
    tails = {piece[-16:]: piece for piece in pieces}
    while len(found) < len(pieces) and time.monotonic() < end:
        frame = wire.cable.expect(lambda f: f[:6] in wire.backends and f[6:12] == wire.balancer and f[-16:] in tails, 0.2)
        if frame:
            found[tails[frame[-16:]]] = wire.backends[frame[:6]]
    return found


def test_ipv4_is_fragmented_for_the_tunnel(behind):
    """1488 bytes of IPv4 without DF, 20 more than fit beside the outer header: two fragments, and no answer."""
    way, wire = IPIP[0], behind.wire
    packet = request(way, payload=bytes(range(256)) * 5 + bytes(180), fragment=0, identification=77)
    wire.send(packet)
    got = []
    while len(got) < 2:
        found = wire.cable.expect(lambda f: f[:6] in wire.backends and f[6:12] == wire.balancer and f[23] == 4, LIMIT_S)
        assert found is not None, f"{len(got)} of 2 pieces"
        got.append((found[:6], found[34:]))
    assert got[0][0] == got[1][0]
    payload = b""
    for (_, piece), more in zip(got, (True, False)):
        word = int.from_bytes(piece[6:8], "big")
        assert frames.checksum(piece[:20]) == 0 and len(piece) <= 1480
        assert (word & 0x1fff) * 8 == len(payload) and bool(word & 0x2000) == more
        assert piece[4:6] == packet[4:6]
        payload += piece[20 : int.from_bytes(piece[2:4], "big")]
    assert payload == packet[20:]


def test_long_chains_are_steered(behind):
    way = IPIP[1]
    chain = [(frames.DESTINATION, frames.padding_options())] * 12
    port = next_port()
    plain = behind.wire.forwards(way, request(way, port))
    assert behind.wire.forwards(way, request(way, port, chain=chain)) == plain


def test_killed_it_costs_the_rest_nothing(behind):
    """The XDP path loses no packet to the death of lb-dpdk; fragments before their first end as orphans; the next one
    picks up."""
    way, wire, total = IPIP[0], behind.wire, 400
    behind.dpdk.process.signal(signal.SIGKILL)
    backends = [wire.forwards(way, request(way)) for _ in range(total // 4)]
    assert set(backends) == {"master", "slave"}
    behind.dpdk.process.popen.wait(10)
    with wire.counted("fragment_orphan", 1):
        wire.send(datagram(way, 5000, next_port())[1])
    behind.dpdk.start()
    pieces = datagram(way, 5001, next_port())[::-1]
    for piece in pieces:
        wire.cable.send(wire.frame(piece))
    assert set(collect(wire, pieces)) == set(pieces)


def test_there_is_one_of_an_instance(behind):
    second = LbDpdk(behind.lbd, wait=False)
    assert second.process.popen.wait(30) == 1
    assert "another lb-dpdk runs" in second.process.output()
    lock = f"/run/fairlead/{behind.lbd.instance}-dpdk.lock"
    assert open(lock, encoding="ascii").read() == f"{behind.dpdk.process.pid}\n"


# ---- The host's own traffic ----


def test_a_local_backend_is_refused_where_the_kernel_sees_all(bench):
    lab = bench.lab()
    lab.nginx(lab.lb)
    text = make_config(lab, backends=[{"name": "self", "address": lab.lb.v4}], nodes={"lb": {"engine": "dpdk"}},
                       head=DPDK + ENGINES["af_packet"])
    lbd = Lbd(lab, lab.lb, text).start()
    dpdk = LbDpdk(lbd, wait=False)
    assert dpdk.process.popen.wait(30) == 1
    assert "as a backend" in dpdk.process.output() and "net_af_packet0,iface=eth0" in dpdk.process.output()


def test_all_else_goes_through_a_tap(bench):
    """A card that the kernel does not see: its name and address are a tap's, and the host answers through it, resolves
    its neighbours through it, and checks its backends."""
    lab = bench.lab()
    lab.servers = {name: lab.nginx(lab.nodes[name]) for name in ("master", "slave")}
    setup_backends(lab, "l2dsr", (4,))
    mac = lab.lb.mac
    lab.lb.sysctl(**{"net.ipv6.conf.eth0.disable_ipv6": 1})
    lab.lb.batch(["link set eth0 down", "link set eth0 name card0", "addr flush dev card0", "link set card0 up"])
    head = DPDK + '[[dpdk.port]]\ninterface = "eth0"\ndevice = "net_af_packet0,iface=card0"\n'
    text = make_config(lab, nodes={"lb": {"engine": "dpdk"}}, head=head)
    lbd = Lbd(lab, lab.lb, text)
    dpdk = LbDpdk(lbd, wait=False)
    wait_for(lambda: "eth0" in lab.lb.run("ip", "-o", "link").stdout, "the tap", 30)
    lab.lb.batch([f"addr add {lab.lb.v4}/24 dev eth0"])
    assert lab.mac_of(lab.lb) == mac
    assert ping(lab.client, lab.lb.v4) == 3, "without tables all is the host's"
    lbd.start()
    lbd.wait_up(master=True, slave=True)
    wait_for(dpdk.steers, "lb-dpdk", 30)
    assert curl_many(lab.client, VIP4, 20) == ["master"] * 20
    assert ping(lab.client, lab.lb.v4) == 3 and ping(lab.client, VIP4) == 3
    did = dpdk.stop()
    assert did["transmitted"] > 60 and did["passed"] > 0
    assert "eth0" not in lab.lb.run("ip", "-o", "link").stdout
