# SPDX-License-Identifier: Apache-2.0
"""announce = "route": the host routes that lbd keeps for a routing daemon, and the real BIRD at both ends of them."""

import json
import re
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from lab import CHECK, ROOT, VIP4, VIP6, curl, make_config, pool_tables, setup_backends, wait_for
from load import Session
from test_ha import HA, NODES, pair, wait_active

ROUTE = '[ha]\nmode = "none"\nannounce = "route"\n'
BOTH = {VIP4, VIP6}
# No network of anybody's, as an edge has them: reached by their routes alone.
EDGE4, EDGE6 = "203.0.113.10", "2001:db8:80::10"
ECHO_PORT = 7


def routes(node, table=146, protocol=146):
    """Destinations of lbd's routes in a table of the node."""
    found = set()
    for family in ("-4", "-6"):
        shown = node.run("ip", "-j", family, "route", "show", "table", table, check=False)
        rows = json.loads(shown.stdout or "[]") if shown.returncode == 0 else []  # else the table was never used
        found |= {row["dst"] for row in rows
                  if row["protocol"] == str(protocol) and row["type"] == "blackhole"}
    return found


def wait_routes(node, expected, timeout=10, **where):
    wait_for(lambda: routes(node, **where) == expected, f"routes {expected}, now {routes(node, **where)}", timeout)


def six(lab, services):
    """A pool of the backends' IPv6 addresses."""
    backends = [{"name": name, "address": lab.nodes[name].v6} for name in ("master", "slave")]
    return pool_tables({"name": "web6", "forward": "l2dsr", "checks": [CHECK]}, backends, services)


def both(lab, head=ROUTE):
    return make_config(lab, head=head) + six(lab, [{"name": "www6", "vip": VIP6}])


def served(bench, head=ROUTE, start=True):
    lab = bench.lab()
    lab.servers = {name: lab.nginx(lab.nodes[name]) for name in ("master", "slave")}
    setup_backends(lab, "l2dsr")
    bench.balance(lab, both(lab, head), start)
    return lab


def announced(lbd):
    """{VIP: (whether, why)} as the status has it."""
    rows = lbd.lbctl_json("status", check=False)["announce"]["vips"]
    return {row["vip"]: (row["announced"], row["reason"]) for row in rows}


def test_routes_follow_the_backends(bench):
    lab = served(bench)
    wait_routes(lab.lb, BOTH)
    assert {vip: is_announced for vip, (is_announced, _) in announced(lab.lbd).items()} == {VIP4: True, VIP6: True}
    assert lab.lbd.metrics().total("announced_routes") == 2
    assert "announced   2 of 2 VIPs, by routes of protocol 146 in table 146\n" in lab.lbd.lbctl("status").stdout
    # The host goes by other tables, the program before them all.
    for vip in BOTH:
        assert "blackhole" not in lab.lb.run("ip", "route", "get", vip).stdout
    assert curl(lab.client, VIP4) == "master" and curl(lab.client, VIP6) in ("master", "slave")

    for server in lab.servers.values():
        server.stop()
    wait_routes(lab.lb, set())
    assert announced(lab.lbd) == {vip: (False, "no backend is eligible") for vip in BOTH}
    assert lab.lbd.metrics().total("announced_routes") == 0
    text = lab.lbd.lbctl("status", check=False).stdout
    assert f"{VIP4} NOT ANNOUNCED: no backend is eligible" in text
    lab.servers["slave"].start()
    wait_routes(lab.lb, BOTH)


def test_a_first_start_waits_for_first_results_alone(bench):
    """Only what returns is held back, here for 20 s."""
    lab = bench.served(families=(4,), head=ROUTE, check={"interval": "10s"})
    wait_routes(lab.lb, {VIP4}, timeout=8)
    lab.lbd.lbctl("drain", "master")
    assert routes(lab.lb) == {VIP4}  # the slave stands by
    lab.lbd.lbctl("drain", "slave")
    wait_routes(lab.lb, set())
    lab.lbd.lbctl("undrain", "slave")
    assert routes(lab.lb) == set()
    is_announced, reason = announced(lab.lbd)[VIP4]
    assert not is_announced and "waits for others, at most 20" in reason


def monitor_sees(node, monitor):
    """Whether the monitor of routes sees what happens in lbd's table."""
    for change in ("add", "del"):
        node.run("ip", "route", change, "blackhole", "198.51.100.250", "table", 146)
    return "198.51.100.250" in monitor.output()


def test_a_killed_controllers_routes_are_adopted(bench):
    lab = served(bench)
    wait_routes(lab.lb, BOTH)
    monitor = lab.lb.popen("monitor", "stdbuf", "-oL", "ip", "monitor", "route")
    wait_for(lambda: monitor_sees(lab.lb, monitor), "the monitor to run")
    lab.lbd.kill9()
    assert routes(lab.lb) == BOTH
    lab.lbd.start()
    lab.lbd.wait_up(master=True, slave=True)
    time.sleep(2.5)  # two ticks of lbd, which would put right what it takes to be wrong
    assert routes(lab.lb) == BOTH
    assert VIP4 not in monitor.output() and VIP6 not in monitor.output(), monitor.output()

    lab.lbd.kill9()  # what is in no config any more goes at the start, and nothing else
    lab.lbd.write_config(make_config(lab, head=ROUTE))
    lab.lbd.start()
    wait_routes(lab.lb, {VIP4})
    assert VIP6 in monitor.output() and VIP4 not in monitor.output()


def test_stop_withdraws_or_keeps(bench):
    lab = served(bench)
    wait_routes(lab.lb, BOTH)
    lab.lbd.stop()
    assert routes(lab.lb) == set()
    assert curl(lab.client, VIP4) == "master"  # the data path forwards what still comes
    lab.lbd.write_config(both(lab, ROUTE + 'route = { on_stop = "keep" }\n'))
    lab.lbd.start()
    wait_routes(lab.lb, BOTH)
    lab.lbd.stop()
    assert routes(lab.lb) == BOTH


def test_not_without_the_program(bench):
    lab = served(bench)
    wait_routes(lab.lb, BOTH)
    lab.lbd.lbctl("detach", "eth0")
    wait_routes(lab.lb, set())
    assert announced(lab.lbd)[VIP4] == (False, "the program is not on every interface")


def test_routes_of_others_are_left_alone(bench):
    lab = served(bench, start=False)
    lab.lb.batch([f"route add blackhole {VIP4} table 146 protocol 99",
                  "route add blackhole 192.0.2.77 table 146 protocol static",
                  "route add blackhole 192.0.2.78 table 200 protocol 146"])
    lab.lbd.start()
    wait_routes(lab.lb, {VIP6})
    is_announced, reason = announced(lab.lbd)[VIP4]
    assert not is_announced and "another program's route" in reason
    lab.lb.batch([f"route del blackhole {VIP4} table 146 protocol 99"])
    wait_routes(lab.lb, BOTH)
    lab.lb.batch([f"route del blackhole {VIP4} table 146 protocol 146"])
    wait_routes(lab.lb, BOTH)  # put right within a second
    lab.lbd.stop()
    assert routes(lab.lb) == set() and routes(lab.lb, protocol="static") == {"192.0.2.77"}
    assert routes(lab.lb, table=200) == {"192.0.2.78"}


def test_reload_moves_and_ends(bench):
    lab = served(bench)
    wait_routes(lab.lb, BOTH)
    lab.lbd.write_config(both(lab, ROUTE + "route = { table = 70000, protocol = 150 }\n"))
    lab.lbd.lbctl("reload")
    assert routes(lab.lb) == set() and routes(lab.lb, 70000, 150) == BOTH
    lab.lbd.write_config(both(lab, ""))
    lab.lbd.lbctl("reload")
    assert routes(lab.lb, 70000, 150) == set()
    assert lab.lbd.lbctl_json("status")["announce"] is None


def test_with_vrrp_the_active_one_announces(bench):
    lab = pair(bench, head=HA + 'announce = "route"\n', nodes=NODES)
    wait_active(lab, "master")
    wait_routes(lab.master, {VIP4})
    assert routes(lab.slave) == set()
    assert announced(lab.lbds["slave"])[VIP4] == (False, "this node is not the active one")
    lab.lbds["master"].lbctl("failover")
    wait_routes(lab.slave, {VIP4})
    wait_routes(lab.master, set())


# ---- BIRD ----

ROUTER = """
log stderr all;
router id 192.0.2.1;
protocol device {{ }}
protocol kernel {{ ipv4 {{ import none; export all; }}; merge paths yes; }}
protocol kernel {{ ipv6 {{ import none; export all; }}; merge paths yes; }}
protocol bfd {{ interface "*" {{ min rx interval 100 ms; min tx interval 100 ms; multiplier 3; }}; }}
template bgp balancer {{ local as 64500; bfd on; hold time 9; connect retry time 5;
    error wait time 2, 30; graceful restart off; }}
{sessions}
"""
SESSION = """protocol bgp {name}_{family} from balancer {{
    neighbor {address} as 64512; ipv{family} {{ import all; export none; }};
}}"""


class Bird:
    """bird on a node of a lab; run in the foreground, without a user of its own."""

    def __init__(self, node, text):
        self.node, folder = node, node.lab.folder
        self.control = folder / f"bird-{node.name}.ctl"
        config = folder / f"bird-{node.name}.conf"
        config.write_text(text)
        self.process = node.popen("bird", "bird", "-d", "-c", config, "-s", self.control,
                                  "-P", folder / f"bird-{node.name}.pid")
        wait_for(lambda: self.control.exists() or not self.process.alive(), f"bird on {node.name}")

    def show(self, *what):
        return self.node.run("birdc", "-s", self.control, "show", *what, check=False).stdout


def balancers_bird(node, router):
    """The shipped example with this lab's addresses."""
    text = (ROOT / "config/examples/bird.conf").read_text().replace("log syslog all;", "log stderr all;")
    for name, value in {"SELF": node.v4, "ROUTER4": router.v4, "ROUTER6": router.v6}.items():
        text, count = re.subn(rf"^(define {name}\s*=) [^;]*;", rf"\1 {value};", text, flags=re.M)
        assert count == 1, name
    return Bird(node, text)


def routers_bird(router, balancers):
    sessions = [SESSION.format(name=node.name, family=family, address=node.address(family))
                for node in balancers for family in (4, 6)]
    return Bird(router, ROUTER.format(sessions="\n".join(sessions)))


def addresses(node):
    links = json.loads(node.run("ip", "-j", "addr", "show", "dev", "eth0").stdout)
    return {info["local"] for info in links[0]["addr_info"]}  # link-local ones too, which BGP's next hops may be


def ways(lab, vip):
    """Names of the balancers that the router spreads a VIP's flows over; None among them for what is none."""
    family = "-6" if ":" in vip else "-4"
    rows = json.loads(lab.router.run("ip", "-j", family, "route", "show", vip).stdout or "[]")
    gateways = {hop["gateway"] for row in rows for hop in row.get("nexthops", [row]) if "gateway" in hop}
    names = {address: name for name in lab.steering for address in lab.addresses[name]}
    return {names.get(gateway) for gateway in gateways}


@pytest.fixture
def edge(bench):
    """Two balancers that announce by BIRD, a router that spreads by ECMP, a client behind it."""
    if not shutil.which("bird"):
        pytest.skip("missing: bird")
    lab = bench.lab(router=True, pair=True)
    lab.router.sysctl(**{"net.ipv4.fib_multipath_hash_policy": 1, "net.ipv6.fib_multipath_hash_policy": 1})
    (lab.folder / "hash.key").write_text("00112233445566778899aabbccddeeff\n")
    (lab.folder / "hash.key").chmod(0o600)
    for name in ("master", "slave"):
        lab.nginx(lab.nodes[name])
        lab.python_server(lab.nodes[name], "echo", ECHO_PORT)
    setup_backends(lab, "l2dsr", vips=[EDGE4, EDGE6])
    backends = [{"name": name, "address": lab.nodes[name].v4} for name in ("master", "slave")]
    services = [{"vip": EDGE4, "ports": [ECHO_PORT, 80]}]
    bench.balance(lab, make_config(lab, head=ROUTE, backends=backends, services=services) +
                  six(lab, [{"name": "web6", "vip": EDGE6, "ports": [ECHO_PORT, 80]}]))
    lab.addresses = {name: addresses(lab.nodes[name]) for name in lab.steering}
    lab.birds = [balancers_bird(lab.nodes[name], lab.router) for name in lab.steering]
    lab.birds.append(routers_bird(lab.router, [lab.nodes[name] for name in lab.steering]))
    return lab


def wait_ways(lab, *names, timeout=60):
    """Until the router goes by exactly these balancers, for both families."""
    try:
        wait_for(lambda: all(ways(lab, vip) == set(names) for vip in (EDGE4, EDGE6)),
                 f"the router to go by {names}", timeout, 0.1)
    except Exception:
        for bird in lab.birds:
            print(bird.node.name, bird.show("protocols"), bird.show("bfd", "sessions"), bird.show("route", "all"))
        raise


def wait_alive(sessions):
    """Every connection goes on: with the backend that it had, which echoes what it alone was sent."""
    targets = [session.exchanges + 2 for session in sessions]
    wait_for(lambda: all(session.broken or session.exchanges >= target for session, target in zip(sessions, targets)),
             "another exchange of every connection", 60)
    assert [session.broken for session in sessions] == [None] * len(sessions)


def forwarded(lab, name):
    return {vip: lab.lbds[name].metrics().total("service_packets_total", vip=vip) for vip in (EDGE4, EDGE6)}


def states(lbd):
    return {backend["state"] for backend in lbd.lbctl_json("backends")["backends"]}


def test_bird_announces_and_a_balancers_death_breaks_nothing(edge):
    wait_ways(edge, "lb", "lb2")
    with ExitStack() as stack:
        sessions = [stack.enter_context(Session(edge.client, vip, ECHO_PORT, interval=0.2, timeout=60))
                    for vip in (EDGE4, EDGE6) for _ in range(12)]
        wait_alive(sessions)
        assert {session.server for session in sessions} == {"master", "slave"}
        for name in ("lb", "lb2"):  # the router spreads: both balancers carry some of each family
            assert all(count > 0 for count in forwarded(edge, name).values()), forwarded(edge, name)

        edge.lbds["lb"].stop()  # withdraws; its BIRD runs on
        wait_ways(edge, "lb2")
        wait_alive(sessions)
        edge.lbds["lb"].start()
        wait_ways(edge, "lb", "lb2")
        wait_alive(sessions)

        edge.cut_link(edge.lb2)  # dies without a word
        wait_ways(edge, "lb")
        wait_alive(sessions)
        assert curl(edge.client, EDGE4, max_time=10) and curl(edge.client, EDGE6, max_time=10)
        # It takes all backends for lost, asks for them in vain, and then finds one before the other, which owns every
        # slot meanwhile.
        wait_for(lambda: states(edge.lbds["lb2"]) == {"unhealthy"}, "the node that is cut off to lose every backend", 30)
        time.sleep(1)
        edge.mend_link(edge.lb2)
        wait_ways(edge, "lb", "lb2")
        wait_alive(sessions)
        assert "nobody answers" not in edge.lbds["lb2"].process.output(), "those that it found later were not gone"


def test_bird_withdraws_what_no_backend_serves(edge):
    wait_ways(edge, "lb", "lb2")
    for lbd in edge.lbds.values():
        for backend in ("master", "slave"):
            lbd.lbctl("drain", "--pool", "web", backend)
    wait_for(lambda: ways(edge, EDGE4) == set(), "the IPv4 VIP's route to go", 60)
    assert ways(edge, EDGE6) == {"lb", "lb2"}
    edge.lbds["lb"].lbctl("undrain", "--pool", "web", "master")
    wait_for(lambda: ways(edge, EDGE4) == {"lb"}, "the route by the one balancer that serves again", 60)


# ---- FRR ----

FRR = Path("/usr/lib/frr")


class Frr:
    """zebra, bfdd and bgpd on a node, told the shipped example with this lab's addresses."""

    def __init__(self, node, router, stack):
        # The daemons are the user frr, for whom a lab's folder is closed.
        self.node, self.folder = node, Path("/run/frr") / node.namespace
        folder = self.folder
        folder.mkdir(parents=True)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        shutil.chown(folder, "frr", "frr")
        empty, config = folder / "empty.conf", folder / "frr.conf"
        empty.touch()
        text = (ROOT / "config/examples/frr.conf").read_text().replace("log syslog", "log stdout")
        config.write_text(text.replace("198.51.100.254", router.v4).replace("198.51.100.1", node.v4))
        for daemon in ("zebra", "bfdd", "bgpd"):
            process = node.popen(daemon, FRR / daemon, "-N", folder.name, "-f", empty, "-A", "127.0.0.1")
            stack.callback(process.stop)
            wait_for(lambda d=daemon, p=process: (folder / f"{d}.vty").exists() or not p.alive(), daemon)
        result = self.vtysh("-f", config)
        assert "%" not in result.stdout + result.stderr, result.stdout + result.stderr

    def vtysh(self, *arguments):
        return self.node.run("vtysh", "--vty_socket", self.folder, *arguments, check=False)


def test_frr_announces_and_withdraws(bench):
    if not FRR.exists() or not shutil.which("bird"):
        pytest.skip("missing: frr or bird")
    lab = bench.lab(router=True)
    servers = [lab.nginx(lab.nodes[name]) for name in ("master", "slave")]
    setup_backends(lab, "l2dsr", vips=[EDGE4])
    bench.balance(lab, make_config(lab, head=ROUTE, services=[{"vip": EDGE4}]))
    lab.addresses = {"lb": addresses(lab.lb)}
    with ExitStack() as stack:
        frr = Frr(lab.lb, lab.router, stack)
        routers_bird(lab.router, [lab.lb])
        try:
            wait_for(lambda: ways(lab, EDGE4) == {"lb"}, "the router to learn of the VIP", 60, 0.1)
        except Exception:
            print(*[frr.vtysh("-c", f"show {what}").stdout for what in ("ip route", "bgp ipv4", "bgp summary")])
            raise
        # zebra has copied it into the main table, where it stops nothing that XDP forwards.
        assert "blackhole" in lab.lb.run("ip", "route", "show", EDGE4).stdout
        assert curl(lab.client, EDGE4) == "master"
        for server in servers:
            server.stop()
        wait_for(lambda: ways(lab, EDGE4) == set(), "the route to go", 60, 0.1)
