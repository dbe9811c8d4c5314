# SPDX-License-Identifier: Apache-2.0
"""Topologies of network namespaces in which Fairlead forwards real traffic.

A Lab owns everything it makes: namespaces, veths, processes, pinned tables and a folder of scratch files. Every name
carries the lab's run id, so that labs run side by side, and all of it goes away when the context is left, whether by
return, exception, SIGINT or SIGTERM.

    external    client, balancer (or two of them, lb and lb2), master and slave on one Ethernet segment
    on-master   client, master and slave; balancers run on master and slave themselves

With router=True the client sits on a network of its own behind a router; with narrow=BYTES behind two, and the link
between these carries no larger packets. With two_networks=True the balancer has a second interface, eth1, to a network
of the backends' own, and a router takes their answers back to the client's. With pair=True there are two balancers in
the topology `external`, lb and lb2; `on-master` has two in any case. front_ends=N makes more of these than Master and Slave
(FRONT_ENDS), others=("flooder",) more machines beside the client.
"""

import contextlib
import ctypes
import glob
import hashlib
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from cable import Cable  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("FAIRLEAD_BUILD_DIR", ROOT / "build"))
LBD = Path(os.environ.get("FAIRLEAD_LBD", BUILD / "ctl/lbd/lbd"))
LBCTL = Path(os.environ.get("FAIRLEAD_LBCTL", BUILD / "ctl/lbctl/lbctl"))
LB_DPDK = Path(os.environ.get("FAIRLEAD_LB_DPDK", BUILD / "dataplane/engine/lb-dpdk"))
FRONTEND_SETUP = ROOT / "scripts/frontend-setup"
PYTHON = "/usr/bin/python3"
HERE = Path(__file__).resolve().parent
BPFFS = Path("/sys/fs/bpf")

VIP4 = "192.0.2.10"
VIP6 = "2001:db8::10"
FRONT_ENDS = ("master", "slave", "third", "fourth", "fifth", "sixth")
# Node: last part of its IPv4 address in 192.0.2.0/24 and of its IPv6 address in 2001:db8::/64.
HOSTS = {"router": (1, "1"), "lb": (2, "2"), "far": (3, "3"), "lb2": (4, "4"),
         **{name: (number, str(number)) for number, name in enumerate(FRONT_ENDS, 11)},
         "client": (100, "100"), "flooder": (101, "101")}
REMOTE_CLIENT4, REMOTE_GATEWAY4 = "198.51.100.100", "198.51.100.1"
REMOTE_CLIENT6, REMOTE_GATEWAY6 = "2001:db8:1::100", "2001:db8:1::1"
# The second network of a lab: between two routers, or of the backends' own. Hosts keep the last part of their address.
SECOND4, SECOND6 = "203.0.113", "2001:db8:2:"

FORWARDING = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}

PASS_PROGRAM = """
__attribute__((section("xdp.frags"), used)) int pass(void *context) { return 2; }
char text[] __attribute__((section("license"), used)) = "GPL";
"""
# A host whose whole network is tagged: what a VLAN device would do, on kernels that have none.
TAG_PROGRAM = """
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
static long (*const vlan_push)(struct __sk_buff *, __be16, __u16) = (void *)18;
static long (*const vlan_pop)(struct __sk_buff *) = (void *)19;
__attribute__((section("push"), used)) int tag_on(struct __sk_buff *skb) {
#ifdef INNER
    if (vlan_push(skb, __builtin_bswap16(0x8100), INNER)) return TC_ACT_SHOT;
#endif
    return vlan_push(skb, __builtin_bswap16(KIND), OUTER) ? TC_ACT_SHOT : TC_ACT_OK;
}
__attribute__((section("pop"), used)) int tag_off(struct __sk_buff *skb) {
    if (!skb->vlan_present || (skb->vlan_tci & 0xfff) != OUTER || vlan_pop(skb)) return TC_ACT_SHOT;
#ifdef INNER
    if (!skb->vlan_present || (skb->vlan_tci & 0xfff) != INNER || vlan_pop(skb)) return TC_ACT_SHOT;
#endif
    return TC_ACT_OK;
}
char text[] __attribute__((section("license"), used)) = "GPL";
"""


class LabError(RuntimeError):
    """The lab itself could not be built or driven: not a verdict about the program under test."""


def run(arguments, check=True, timeout=30, **options):
    """Runs a command to its end with its output captured as text; an error shows what it printed."""
    options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
    if "input" in options:
        del options["stdin"]
    result = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=timeout, **options)
    if check and result.returncode != 0:
        raise LabError(f"{' '.join(str(a) for a in arguments)} returned {result.returncode}:\n"
                       f"{result.stdout}{result.stderr}")
    return result


def wait_for(condition, what, timeout=10.0, poll=0.02):
    """Waits until condition() is true and returns its value; a timeout is an error that says what was awaited."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout} s in vain for {what}")
        time.sleep(poll)


@contextlib.contextmanager
def _in_namespace(path):
    """Puts this thread into a network namespace for the duration of the block."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", encoding="ascii") as home, open(path, encoding="ascii") as there:
        if libc.setns(there.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")
        try:
            yield
        finally:
            libc.setns(home.fileno(), 0)


class Process:
    """A program that the lab runs in a node; killed by its own pid only."""

    def __init__(self, name, popen, log):
        self.name, self.popen, self.log = name, popen, log

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self, timeout=5.0):
        """SIGTERM, then SIGKILL when that was not enough. Returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.popen.returncode

    def output(self):
        return Path(self.log).read_text(errors="replace")


class Node:
    """One namespace: a machine of the lab."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.namespace = f"fl-{lab.run_id}-{name}"
        self.path = f"/run/netns/{self.namespace}"
        v4, v6 = HOSTS.get(name, (None, None))
        self.v4 = f"192.0.2.{v4}" if v4 else None
        self.v6 = f"2001:db8::{v6}" if v6 else None
        self.interface = "eth0"

    def peer(self, interface="eth0"):
        """The switch's end of a link of this node."""
        return f"p-{self.name}" + ("" if interface == "eth0" else f"-{interface}")

    def cable(self, interface="eth0", sees="in"):
        """A raw socket on an interface of the node (support/cable.py)."""
        with self.inside():
            return Cable(interface, sees)

    def address(self, family):
        return self.v4 if family == 4 else self.v6

    @property
    def mac(self):
        return self.lab.mac_of(self)

    def command(self, arguments):
        # nsenter and not `ip netns exec`, which mounts a new /sys and so hides the BPF file system.
        return ["nsenter", f"--net={self.path}", "--", *map(str, arguments)]

    def run(self, *arguments, check=True, timeout=30, **options):
        return run(self.command(arguments), check=check, timeout=timeout, **options)

    def popen(self, name, *arguments, **options):
        return self.lab.popen(f"{self.name}-{name}", self.command(arguments), **options)

    def sysctl(self, **settings):
        """sysctl(**{"net.ipv4.ip_forward": 1})"""
        self.run("sysctl", "-qw", *[f"{key}={value}" for key, value in settings.items()])

    def forget_paths(self):
        """Drops what the node has learnt about path MTUs, in all its routing tables."""
        self.run("ip", "route", "flush", "cache")
        self.run("ip", "-6", "route", "flush", "cache", "table", "all")

    def inside(self):
        """Context in which sockets that this thread opens belong to the node."""
        return _in_namespace(self.path)

    def batch(self, lines):
        run(["ip", "-n", self.namespace, "-batch", "-"], input="\n".join(lines) + "\n")

    def counter(self, name, interface="eth0"):
        return int(self.run("cat", f"/proc/net/dev").stdout.split(f"{interface}:")[1].split()[
            {"rx_bytes": 0, "rx_packets": 1, "tx_bytes": 8, "tx_packets": 9}[name]])


class Lab:
    """See the module's text. Not for use from several threads, except the run and popen of its nodes."""

    def __init__(self, run_id=None, topology="external", router=False, steering=None, narrow=None, two_networks=False,
                 mtu=1500, pair=False, front_ends=2, others=(), queues=1):
        if topology not in ("external", "on-master"):
            raise ValueError(topology)
        self.run_id = str(run_id or os.getpid())
        self.topology, self.routed = topology, bool(router or narrow)
        self.narrow, self.two_networks, self.mtu, self.queues = narrow, two_networks, mtu, queues
        balancers = ["master", "slave"] if topology == "on-master" else ["lb", "lb2"] if pair else ["lb"]
        names = ["sw", "client", *dict.fromkeys([*FRONT_ENDS[:front_ends], *balancers]), *others]
        names += ["router"] if self.routed or two_networks else []
        names += ["far"] if narrow else []
        self.nodes = {name: Node(self, name) for name in names}
        # Nodes whose eth0 may carry an XDP program that transmits; the others may still carry one that only passes.
        self.steering = steering or balancers
        self.folder = None
        self.processes, self.instances = [], []
        self._macs, self._old_handlers, self._stale = {}, {}, True

    def __getattr__(self, name):
        nodes = self.__dict__.get("nodes", {})
        if name in nodes:
            return nodes[name]
        raise AttributeError(name)

    # --- life ---

    def __enter__(self):
        if os.geteuid() != 0:
            raise LabError("network namespaces need root")
        self._catch_signals()
        try:
            self._sweep()
            self.folder = Path(tempfile.mkdtemp(prefix=f"fairlead-{self.run_id}-"))
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Removes everything; safe to call twice, and not interrupted by a second Ctrl-C."""
        for number in self._old_handlers:
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self.processes):
            with contextlib.suppress(Exception):
                process.stop(2.0)
        self.processes.clear()
        self._sweep()
        if self.folder and not os.environ.get("FAIRLEAD_KEEP_LOGS"):
            shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        self._old_handlers.clear()

    def _catch_signals(self):
        if threading.current_thread() is not threading.main_thread():
            return

        def leave(number, _frame):
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._old_handlers[number] = signal.signal(number, leave)

    def _sweep(self):
        """Removes namespaces, processes in them, and pinned tables of this run id, its own leftovers included."""
        prefix = f"fl-{self.run_id}-"
        for path in glob.glob(f"/run/netns/{glob.escape(prefix)}*"):
            namespace = os.path.basename(path)
            if namespace[len(prefix):] not in HOSTS and namespace[len(prefix):] != "sw":
                continue  # another run whose id begins with ours
            for pid in run(["ip", "netns", "pids", namespace], check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            forget_frontend_setup(path)
            run(["ip", "netns", "delete", namespace], check=False)
        for role in HOSTS:
            forget_instance(f"{prefix}{role}")

    def _build(self):
        for node in self.nodes.values():
            run(["ip", "netns", "add", node.namespace])
            forget_frontend_setup(node.path)
            node.sysctl(**{"net.ipv4.ip_forward": 0, "net.ipv6.conf.all.forwarding": 0,
                           "net.ipv6.conf.default.accept_dad": 0, "net.ipv6.conf.default.accept_ra": 0,
                           "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0})
        # mcast_snooping off: there is no querier here, and neighbour discovery must reach everybody.
        for bridge in ["br0"] + (["br1"] if self.two_networks else []):
            self.sw.batch([f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                           f"link set {bridge} up"])
        for name in [n for n in self.nodes if n not in ("sw", "far")]:
            if self.routed and name == "client":
                continue
            self._connect(self.nodes[name], second=self.two_networks and name in ("master", "slave"))
        if self.two_networks:
            for node in (self.lb, self.router):
                self._connect(node, "eth1", second=True)
            self.router.sysctl(**FORWARDING)
        if self.routed:
            self._place_routers()
        for interface in ["eth0"] + (["eth1"] if self.two_networks else []):
            self._prepare_xdp(interface)

    def _connect(self, node, interface="eth0", second=False):
        """Plugs the node into the switch: into its first network, or into the backends' own."""
        v4, v6 = HOSTS[node.name]
        # As many each way: an XDP program needs at least as many receive queues as its peer has transmit queues.
        queues = f"numtxqueues {self.queues} numrxqueues {self.queues}"
        peer, network4, network6 = node.peer(interface), "192.0.2", "2001:db8:"
        if second:
            network4, network6 = SECOND4, SECOND6
        if interface == "eth0":
            node.v4, node.v6 = f"{network4}.{v4}", f"{network6}:{v6}"
        self.sw.batch([
            f"link add {peer} mtu {self.mtu} {queues} type veth peer name {interface} mtu {self.mtu} netns "
            f"{node.namespace} {queues}",
            f"link set {peer} master {'br1' if second else 'br0'}", f"link set {peer} up"])
        node.batch(["link set lo up", f"addr add {network4}.{v4}/24 dev {interface}",
                    f"addr add {network6}:{v6}/64 dev {interface} nodad", f"link set {interface} up"])
        if second and interface == "eth0" or self.routed and node.name not in ("router", "client"):
            node.batch([f"route add default via {network4}.1", f"route add ::/0 via {network6}:1"])

    def _place_routers(self):
        """Client, its gateway, and with `narrow` another network and another router between that and the switch."""
        gateway, client = self.far if self.narrow else self.router, self.client
        self._link(gateway, "eth1", client, "eth0")
        gateway.batch([f"addr add {REMOTE_GATEWAY4}/24 dev eth1", f"addr add {REMOTE_GATEWAY6}/64 dev eth1 nodad"])
        client.batch([f"addr add {REMOTE_CLIENT4}/24 dev eth0", f"addr add {REMOTE_CLIENT6}/64 dev eth0 nodad",
                      f"route add default via {REMOTE_GATEWAY4}", f"route add ::/0 via {REMOTE_GATEWAY6}"])
        client.v4, client.v6 = REMOTE_CLIENT4, REMOTE_CLIENT6
        gateway.sysctl(**FORWARDING)
        if self.narrow:
            self._place_narrow_link()

    def _place_narrow_link(self):
        self._link(self.router, "eth1", self.far, "eth0", self.narrow)
        self.router.batch([f"addr add {SECOND4}.1/24 dev eth1", f"addr add {SECOND6}:1/64 dev eth1 nodad",
                           f"route add 198.51.100.0/24 via {SECOND4}.3", f"route add 2001:db8:1::/64 via {SECOND6}:3"])
        self.far.batch([f"addr add {SECOND4}.3/24 dev eth0", f"addr add {SECOND6}:3/64 dev eth0 nodad",
                        f"route add default via {SECOND4}.1", f"route add ::/0 via {SECOND6}:1"])
        self.router.sysctl(**FORWARDING)

    def _link(self, one, one_interface, other, other_interface, mtu=1500):
        """A cable between two nodes, past the switch."""
        run(["ip", "-n", one.namespace, "link", "add", one_interface, "mtu", mtu, "type", "veth", "peer", "name",
             other_interface, "mtu", mtu, "netns", other.namespace])
        for node, interface in ((one, one_interface), (other, other_interface)):
            node.batch(["link set lo up", f"link set {interface} up"])

    def _prepare_xdp(self, interface="eth0", names=()):
        """What native XDP on veth needs of the other end (real network cards need none of it)."""
        pass_object = self.compile("pass", PASS_PROGRAM)
        for name in names or [n for n in ("lb", "lb2", "master", "slave") if n in self.nodes]:
            peer = self.nodes[name].peer(interface)
            if interface != "eth0" and name != "lb":
                continue
            # A local sender leaves checksums to the hardware, and a bridge its VLAN tags; both must be in the frame
            # before an XDP program reads it.
            self.sw.run("ethtool", "-K", peer, "tx", "off", "txvlan", "off", "tx-vlan-stag-hw-insert", "off")
            if name in self.steering:
                # What a program transmits into a veth arrives only if the peer has a program too.
                self.sw.run("ip", "link", "set", "dev", peer, "xdpdrv", "obj", pass_object, "sec", "xdp.frags")
        if not os.path.ismount(BPFFS):
            run(["mount", "-t", "bpf", "bpf", BPFFS])

    def compile(self, name, text, **definitions):
        """The object of a small BPF program."""
        source, target = self.folder / f"{name}.bpf.c", self.folder / f"{name}.bpf.o"
        source.write_text(text)
        clang = shutil.which("clang-14") or shutil.which("clang")
        if not clang:
            raise LabError("clang is not installed")
        run([clang, "-O2", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu",
             *[f"-D{key}={value}" for key, value in definitions.items()], "-c", source, "-o", target])
        return target

    def tag(self, node, vlan, inner=None):
        """From now on everything that the node's stack sends is tagged, and only what is tagged so reaches it: 802.1Q,
        or 802.1ad around 802.1Q where `inner` is given."""
        definitions = {"OUTER": vlan, "KIND": "0x8100"} if inner is None else \
            {"OUTER": vlan, "KIND": "0x88a8", "INNER": inner}
        program = self.compile(f"tag-{node.name}", TAG_PROGRAM, **definitions)
        node.run("tc", "qdisc", "replace", "dev", "eth0", "clsact")
        for way, section in (("egress", "push"), ("ingress", "pop")):
            node.run("tc", "filter", "replace", "dev", "eth0", way, "prio", 1, "handle", 1, "bpf", "da", "obj", program,
                     "sec", section)

    # --- parts ---

    def popen(self, name, arguments, **options):
        log = self.folder / f"{name}-{len(self.processes)}.log"
        with open(log, "wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches the lab alone, which then stops its processes.
            popen = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=subprocess.STDOUT, start_new_session=True, **options)
        process = Process(name, popen, log)
        self.processes.append(process)
        return process

    def mac_of(self, node, interface="eth0"):
        if (node.name, interface) not in self._macs:
            links = json.loads(run(["ip", "-n", node.namespace, "-j", "link", "show", "dev", interface]).stdout)
            self._macs[node.name, interface] = links[0]["address"]
        return self._macs[node.name, interface]

    def share_hash_key(self):
        """The key that all balancers of the lab hash with: with [ha], lbd makes none of its own."""
        key = self.folder / "hash.key"
        key.write_text("00112233445566778899aabbccddeeff\n")
        key.chmod(0o600)

    def share_sync_key(self):
        """The key that the balancers of the lab sync with. Returns the table of a configuration that names it."""
        key = self.folder / "sync.key"
        key.write_text("0123456789abcdef" * 4 + "\n")
        key.chmod(0o600)
        return f'[sync]\nkey_file = "{key}"\n'

    def replace_interface(self, node):
        """Pulls the node's network card out and puts in another, with the same name and addresses."""
        self.sw.run("ip", "link", "delete", node.peer())
        self._connect(node)
        self._macs.pop((node.name, "eth0"), None)
        self._prepare_xdp(names=[node.name])

    def cut_link(self, node):
        """The switch stops forwarding to and from the node: silence, with the carrier still there."""
        self.sw.run("bridge", "link", "set", "dev", node.peer(), "state", "0")

    def mend_link(self, node):
        self.sw.run("bridge", "link", "set", "dev", node.peer(), "state", "3")

    def capture(self, node, expression, interface="eth0"):
        """Starts tcpdump; the process is ready when this returns. Read it with `packets(process)`."""
        process = node.popen("tcpdump", "tcpdump", "-i", interface, "-nn", "-e", "-l", "--immediate-mode",
                             *expression.split())
        wait_for(lambda: "listening on" in process.output(), "tcpdump")
        return process

    def nginx(self, node, **options):
        return Nginx(self, node, **options)

    def python_server(self, node, kind, port, **options):
        process = node.popen(kind, PYTHON, HERE / "servers.py", kind, "--name", node.name, "--port", port, **options)
        wait_for(lambda: "ready" in process.output() or not process.alive(), f"{kind} server on {node.name}")
        return process

    def frontend_setup(self, node, *arguments, check=True):
        environment = dict(os.environ, LBCTL=str(LBCTL))
        return node.run(FRONTEND_SETUP, *arguments, check=check, env=environment)


def packets(process):
    """Lines of packets that a capture has printed so far."""
    return [line for line in process.output().splitlines() if re.match(r"\d\d:\d\d:\d\d\.", line)]


class Nginx:
    """nginx whose every answer names its node; /large is a fixed file, the same on all nodes."""

    LARGE_BYTES = 13 * 1024 * 1024
    TEMPLATE = """
daemon off; user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format times '$msec $server_addr $server_port $uri $status';
    access_log {folder}/access.log times;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    sendfile on; keepalive_timeout 0; tcp_nopush on;
    server {{
{listen}
        server_name _; root {folder}/www; default_type text/plain;
        add_header X-Server {name} always;
        location = / {{ return 200 "{name}\\n"; }}
        location = /large {{ }}
    }}
}}
"""

    def __init__(self, lab, node, ports=(80,)):
        self.lab, self.node, self.ports = lab, node, ports
        self.folder = lab.folder / f"nginx-{node.name}"
        (self.folder / "www").mkdir(parents=True, exist_ok=True)
        large = lab.folder / "large"
        if not large.exists():
            large.write_bytes(hashlib.shake_128(b"fairlead").digest(self.LARGE_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(large, self.folder / "www/large")
        listen = "".join(f"        listen {p} backlog=1024; listen [::]:{p} backlog=1024;\n" for p in ports)
        (self.folder / "nginx.conf").write_text(
            self.TEMPLATE.format(folder=self.folder, name=node.name, listen=listen))
        self.process = None
        self.start()

    @property
    def large_sha256(self):
        return hashlib.sha256((self.lab.folder / "large").read_bytes()).hexdigest()

    def start(self):
        self.process = self.node.popen("nginx", "nginx", "-p", self.folder, "-c", self.folder / "nginx.conf")
        wait_for(lambda: self._listens() or not self.process.alive(), f"nginx on {self.node.name}")
        if not self.process.alive():
            raise LabError(f"nginx on {self.node.name}: {self.process.output()}")

    def _listens(self):
        return self.node.run("ss", "-Hltn", f"sport = :{self.ports[0]}").stdout.strip() != ""

    def stop(self):
        """The process dies at once, listening sockets first closed: what a crash looks like from outside."""
        worker = self.node.run("cat", f"/proc/{self.process.pid}/task/{self.process.pid}/children", check=False)
        self.process.stop()
        for pid in worker.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def requests(self, address=None):
        """Requests answered so far, as (seconds since the epoch, server address, port, path, status)."""
        log = self.folder / "access.log"
        rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        rows = [(float(r[0]), r[1], int(r[2]), r[3], int(r[4])) for r in rows if len(r) == 5]
        return [r for r in rows if address is None or r[1] == address]


def forget_frontend_setup(path):
    """What the script remembers goes by the namespace's inode, which the next namespace may get."""
    shutil.rmtree(f"/run/fairlead/frontend-setup/{os.stat(path).st_ino}", ignore_errors=True)


def forget_instance(instance):
    """Removes the pinned tables and run-time files of an instance whose lbd is dead."""
    folder = BPFFS / "fairlead" / instance
    for path in [folder, *glob.glob(f"/run/dpdk/fairlead-{instance}-[0-9]*")]:
        shutil.rmtree(path, ignore_errors=True)
    for pattern in (f"/run/fairlead/{instance}.*", f"/run/fairlead/{instance}-dpdk.lock", f"/var/lib/fairlead/{instance}.*"):
        for path in glob.glob(pattern):
            with contextlib.suppress(OSError):
                os.unlink(path)


class Metrics(dict):
    """Samples of one scrape: {(name, ((label, value), ...)): number}."""

    LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
    LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    @classmethod
    def parse(cls, text):
        metrics = cls()
        for line in text.splitlines():
            match = cls.LINE.match(line)
            if match and not line.startswith("#"):
                labels = tuple(sorted(cls.LABEL.findall(match[2] or "")))
                metrics[(match[1], labels)] = float(match[3])
        return metrics

    def rows(self, name, **labels):
        """[(labels, value)] of the samples that carry all the given labels."""
        name = f"fairlead_{name}"
        wanted = set(labels.items())
        return [(dict(key[1]), value) for key, value in self.items() if key[0] == name and wanted <= set(key[1])]

    def total(self, name, **labels):
        return sum(value for _, value in self.rows(name, **labels))


class Lbd:
    """One lbd in one node, its config file, and lbctl bound to it."""

    def __init__(self, lab, node, config, instance=None, prefix=()):
        self.lab, self.node, self.prefix = lab, node, list(prefix)
        self.instance = instance or f"fl-{lab.run_id}-{node.name}"
        self.config_file = lab.folder / f"{self.instance}.toml"
        self.write_config(config)
        self.process = None
        lab.instances.append(self)

    def write_config(self, config):
        self.config_file.write_text(config)

    def start(self, wait=True, prefix=None, program=LBD):
        self.process = self.node.popen("lbd", *(self.prefix if prefix is None else prefix), program,
                                       "--config", self.config_file, "--node", self.node.name,
                                       "--instance", self.instance, env={**os.environ, "FAIRLEAD_LB_DPDK": str(LB_DPDK)})
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=15):
        """Ready: the control socket answers and every check has had its first verdict, so tables are published."""
        def ready():
            if not self.process.alive():
                raise LabError(f"lbd ended with {self.process.popen.returncode}:\n{self.process.output()}")
            return self.ready()
        try:
            wait_for(ready, f"lbd of {self.instance} to be ready", timeout, 0.05)
        except LabError as error:
            raise LabError(f"{error}\n{self.process.output()}") from None

    def ready(self):
        result = self.lbctl("-o", "json", "status", check=False)
        # 1 with an object: no backend is eligible, which some tests want; without: lbd is making its tables.
        if result.returncode not in (0, 1) or not result.stdout.strip():
            return False
        return json.loads(result.stdout)["controller"]["state"] == "running"

    def kill9(self):
        self.process.kill()

    def stop(self):
        return self.process.stop(10)

    def lbctl(self, *arguments, check=True, timeout=30):
        return self.node.run(LBCTL, "--instance", self.instance, *arguments, check=check, timeout=timeout)

    def lbctl_json(self, *arguments, check=True):
        return json.loads(self.lbctl("-o", "json", *arguments, check=check).stdout)

    def metrics_text(self):
        return self.node.run("curl", "-sS", "--fail", "--max-time", "3", "http://127.0.0.1:9435/metrics").stdout

    def metrics(self):
        return Metrics.parse(self.metrics_text())

    def up(self):
        """{backend name: whether it is up in all its pools}; empty while lbd does not answer."""
        states = {}
        with contextlib.suppress(LabError):
            for labels, value in self.metrics().rows("backend_up"):
                states[labels["backend"]] = value == 1 and states.get(labels["backend"], True)
        return states

    def wait_up(self, timeout=10, **expected):
        """wait_up(master=False, slave=True)"""
        wait_for(lambda: all(self.up().get(n) is v for n, v in expected.items()),
                 f"backends {expected} (now {self.up()})", timeout)

    def sync(self):
        """What `lbctl sync status` says; None without [sync] or lbd."""
        return self.lbctl_json("sync", "status", check=False)["sync"]

    def wait_synced(self, timeout=10):
        """The other nodes are heard, who stands by has all that the active one knows, and mastership waits for nothing."""
        def synced():
            if self.lbctl("sync", "status", check=False).returncode != 0:
                return False
            sync = self.sync()
            return sync["mastership"] not in ("peer", "full") and all(
                peer["part"] in ("sends", "receives", "both") and peer["lag_s"] == 0 for peer in sync["peers"])
        wait_for(synced, f"{self.instance} to be synced", timeout, 0.05)

    def attached_mode(self, interface="eth0"):
        """'native', 'generic' or None, as the kernel says it."""
        link = json.loads(run(["ip", "-n", self.node.namespace, "-j", "-d", "link", "show", "dev",
                               interface]).stdout)[0]
        return {1: "native", 2: "generic", 3: "offload"}.get(link.get("xdp", {}).get("mode"))

    def program_id(self, interface="eth0"):
        link = json.loads(run(["ip", "-n", self.node.namespace, "-j", "-d", "link", "show", "dev",
                               interface]).stdout)[0]
        return link.get("xdp", {}).get("prog", {}).get("id")

    def log(self):
        return self.process.output()


CHECK = {"type": "http", "port": 80, "path": "/", "expect": "200-399", "interval": "200ms", "timeout": "150ms",
         "rise": 2, "fall": 2}


def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return json.dumps(str(value))


def toml_table(header, values):
    return f"[[{header}]]\n" + "".join(f"{k} = {toml_value(v)}\n" for k, v in values.items() if v is not None) + "\n"


def make_config(lab, forward="l2dsr", family=4, services=None, check=None, pool=None, backends=None, head="",
                nodes=None):
    """A configuration of the lab: Master in tier 0, Slave in tier 1, one service on the VIP's port 80.

    services: list of dicts that override parts of that service; check: dict laid over CHECK; pool: dict laid over the
    pool; backends: list of dicts that replaces the two; nodes: dicts laid over the balancing nodes by name.
    """
    if backends is None:
        backends = [{"name": name, "address": lab.nodes[name].address(family), "tier": tier}
                    for tier, name in enumerate(("master", "slave"))]
    return node_tables(lab, nodes, head) + pool_tables(
        {"name": "web", "forward": forward, "checks": [{**CHECK, **(check or {})}], **(pool or {})}, backends,
        [{"vip": VIP4 if family == 4 else VIP6, **service} for service in services or [{}]])


def node_tables(lab, nodes=None, head=""):
    """The file's top and its nodes; `nodes` as in make_config."""
    text = f'hash_key_file = "{lab.folder}/hash.key"\n{head}\n'
    for name in lab.steering:
        node = lab.nodes[name]
        text += toml_table("node", {"name": name, "interface": "eth0", "address": [node.v4, node.v6],
                                    **(nodes or {}).get(name, {})})
    return text


def pool_tables(pool, backends, services):
    """A pool with its backends and services, each a dict; a service says at least its VIP."""
    text = toml_table("pool", {"all_down": "reset", **pool})
    for backend in backends:
        text += toml_table("pool.backend", backend)
    for service in services:
        text += toml_table("service", {"name": "web", "ports": [80], "protocol": "tcp", "pool": pool["name"], **service})
    return text


def setup_backends(*arguments, **options):
    """Prepares the front-end nodes as an operator does, with scripts/frontend-setup."""
    return list(each_setup(*arguments, **options))


def each_setup(lab, forward, families=(4, 6), vips=None, names=("master", "slave")):
    """Prepares one node after the other, and yields each with what frontend-setup printed."""
    vips = vips or [VIP4 if family == 4 else VIP6 for family in families]
    for name in names:
        node = lab.nodes[name]
        arguments = [forward, *vips, "--interface", "eth0"]
        if lab.topology == "on-master":
            arguments.append("--no-decap")
        elif forward != "l2dsr":
            arguments += ["--instance", f"fl-{lab.run_id}-{name}"]
            for source in (lab.nodes[s] for s in lab.steering):
                arguments += ["--source", source.v4, "--source", source.v6]
        yield node, lab.frontend_setup(node, *arguments).stdout


def require_programs():
    """Names the programs that are missing, or returns None."""
    missing = [str(p) for p in (LBD, LBCTL) if not p.exists()]
    missing += [t for t in ("nginx", "curl", "ethtool", "nsenter", "bridge", "clang-14") if not shutil.which(t)]
    return ", ".join(missing) or None


def http_url(address, port=80, path="/"):
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    return f"http://{host}:{port}{path}"


def curl(node, address, port=80, path="/", max_time=3, check=True):
    """Body of one request, without retries; None when it failed and check is off."""
    result = node.run("curl", "-sS", "-g", "--max-time", max_time, http_url(address, port, path), check=check)
    return result.stdout.strip() if result.returncode == 0 else None


def self_test():
    """python3 lab.py: builds and removes each topology."""
    for topology in ("external", "on-master"):
        for router in (False, True):
            with Lab(topology=topology, router=router) as lab:
                server = lab.nginx(lab.master)
                assert curl(lab.client, lab.master.v4) == "master" and curl(lab.client, lab.master.v6) == "master"
                server.stop()
                print(f"{topology} router={router}: ok")


if __name__ == "__main__":
    sys.exit(self_test())
