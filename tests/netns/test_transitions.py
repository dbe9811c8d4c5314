# SPDX-License-Identifier: Apache-2.0
"""Open connections stay with their backend, whatever is done to it: real ones, through a real lbd.

Each lab has nginx on port 80, which the checks ask, and an echo server on port 7, which no check knows of: so a backend
can be down and answer. A slot settles in a little more than the idle timeout and four periods of the pins' time (4.3 s),
so what waits for that waits long, and only where it must.
"""

import contextlib
import json
import socket
import struct
import time

import pytest

from lab import BUILD, FRONT_ENDS, VIP4, VIP6, Lbd, curl, make_config, setup_backends, wait_for
from load import Session
from traffic import curl_many, internet_checksum

IDLE_S = 2
POOL = {"idle_timeout": f"{IDLE_S}s", "failure_grace": "1s"}
SERVICES = [{}, {"name": "echo", "ports": [7]}]
SETTLED_S = 300  # ten times what it takes
SESSIONS = 24


class Crowd:
    """Long-lived connections through the VIP that exchange data all along."""

    def __init__(self, lab, count=SESSIONS, interval=0.2):
        self.lab = lab
        self.sessions = [Session(lab.client, lab.vip, 7, interval=interval) for _ in range(count)]

    def of(self, server):
        return [session for session in self.sessions if session.server == server]

    def servers(self):
        return {session.server for session in self.sessions}

    def broken(self, server=None):
        return [session.broken for session in self.sessions if session.broken and server in (None, session.server)]

    def assert_kept(self, when, server=None):
        """Each has begun and ended an exchange since now."""
        due = {session: session.exchanges + 2 for session in self.sessions if server in (None, session.server)}
        deadline = time.monotonic() + 10
        while any(session.exchanges < count and not session.broken for session, count in due.items()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        lost = [f"{s.server}: {s.broken or 'silence'}" for s, count in due.items() if s.exchanges < count or s.broken]
        assert due and not lost, f"{when}: {len(lost)} of {len(due)} connections: {lost[:5]}"

    def close(self, server=None):
        closing = [session for session in self.sessions if server in (None, session.server)]
        for session in closing:
            session.stop()
        for session in closing:
            session.close()
        self.sessions = [session for session in self.sessions if session not in closing]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def config_of(lab, names=("master", "slave"), pool=None, weights=None, tiers=None, **more):
    backends = [{"name": name, "address": lab.nodes[name].address(lab.family), "weight": (weights or {}).get(name),
                 "tier": (tiers or {}).get(name)} for name in names]
    return make_config(lab, lab.forward, lab.family, pool={**POOL, **(pool or {})}, backends=backends, **{"services": SERVICES, **more})


def moving(bench, front_ends=2, forward="l2dsr", family=4, **options):
    """A lab whose pool has short times; other options as of config_of."""
    lab = bench.lab(front_ends=front_ends)
    lab.forward, lab.family, lab.vip = forward, family, VIP4 if family == 4 else VIP6
    names = FRONT_ENDS[:front_ends]
    lab.servers = {name: lab.nginx(lab.nodes[name]) for name in names}
    for name in names:
        lab.python_server(lab.nodes[name], "echo", 7)
    setup_backends(lab, forward, (family,), names=names)
    lab.lbd = Lbd(lab, lab.lb, config_of(lab, **options)).start()
    lab.lbd.wait_up(**{name: True for name in options.get("names", ("master", "slave"))})
    return lab


def reload(lab, *arguments, **options):
    lab.lbd.write_config(config_of(lab, **options))
    return lab.lbd.lbctl("reload", *arguments).stdout


def transitions(lab):
    return lab.lbd.lbctl_json("transitions")


def in_transition(lab):
    return transitions(lab)["slots_in_transition"]


def shares(lab):
    """{name: its row of `lbctl transitions`}"""
    return {row["name"]: row for row in transitions(lab)["pools"][0]["backends"]}


def backends(lab):
    return {row["name"]: row for row in lab.lbd.lbctl_json("backends")["backends"]}


def wait_settled(lab):
    wait_for(lambda: in_transition(lab) == 0, "all slots to be settled", SETTLED_S, 0.5)


def wait_serving(lab, *names):
    """New connections go to these, and to no other."""
    wait_for(lambda: set(curl_many(lab.client, lab.vip, 20)) == set(names), f"{names} to be served by", 20)


def assert_explained(lab, session, pinned):
    """`lbctl explain` of a packet of an open connection: by its pin, or by its slot's previous owner, and it is said."""
    source, port = session.socket.getsockname()
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0x4000, 64, 6, 0, socket.inet_aton(source), socket.inet_aton(VIP4))
    ip = ip[:10] + struct.pack("!H", internet_checksum(ip)) + ip[12:]
    tcp = struct.pack("!HHIIBBHHH", port, 7, 1, 1, 0x50, 0x10, 1024, 0, 0)  # ACK alone
    mac = bytes.fromhex(lab.lb.mac.replace(":", "") + lab.client.mac.replace(":", ""))
    said = lab.lbd.lbctl_json("explain", "--frame", (mac + b"\x08\x00" + ip + tcp).hex())
    slot = said["slot"]
    assert said["backend"]["name"] == session.server, said
    if slot["settled"] or slot["previous"] == slot["owner"]:
        assert slot["owner"] == session.server, said
    elif pinned:
        assert slot["previous"] == "master" and said["pin"]["found"] and "pinned" in said["why"], said
    else:
        assert slot["owner"] == "slave" and not said["pin"]["found"] and "previous owner" in said["why"], said
        # Asked by addresses alone, it is about a new connection, and says that an open one goes elsewhere.
        said = lab.lbd.lbctl_json("explain", f"{source}:{port}", f"{VIP4}:7")
        assert said["backend"]["name"] == "slave" and said["open"] == {"backend": "master", "pinned": False}, said


def plan_of(lab, *arguments, **options):
    """(exit code, plan) of `lbctl plan`"""
    file = lab.folder / "planned.toml"
    file.write_text(config_of(lab, **options))
    result = lab.lbd.lbctl("-o", "json", "plan", file, *arguments, check=False)
    return result.returncode, json.loads(result.stdout)


def test_a_drain_and_its_end(bench):
    """Open connections stay and new ones go elsewhere, each thing is said, and an undrain leads back to the start."""
    lab = moving(bench, pool={"idle_timeout": "4s"})
    assert in_transition(lab) == 0
    with Crowd(lab) as crowd:
        assert crowd.servers() == {"master", "slave"}
        assert lab.lbd.metrics().total("pin_inserts_total") == 0, "while nothing changes, nothing is remembered"
        lab.lbd.lbctl("drain", "master")
        with Crowd(lab) as late:  # pinned to their new owner, where the slot was Master's
            assert late.servers() == {"slave"}
            rows = shares(lab)
            moved = rows["master"]["slots_previous"]
            assert moved == in_transition(lab) > 0 and rows["master"]["slots"] == 0
            assert rows["master"]["state"] == "draining" and "draining" in lab.lbd.lbctl("transitions").stdout
            assert lab.lbd.metrics().total("slots_in_transition", pool="web") == moved
            for session in late.sessions:
                assert_explained(lab, session, pinned=True)
            for session in crowd.of("master"):
                assert_explained(lab, session, pinned=False)
            crowd.assert_kept("drained")
            wait_serving(lab, "slave")
            assert lab.lbd.metrics().total("pin_inserts_total") > 0
            assert lab.lbd.metrics().total("previous_packets_total") > 0
            wait_for(lambda: lab.lbd.metrics().total("pins", state="confirmed") > 0, "a count of pins", 60, 0.2)
            lab.lbd.lbctl("undrain", "master")
            wait_serving(lab, "master", "slave")
            time.sleep(3 * IDLE_S)
            late.assert_kept("undrained, pinned to what owns the slot no more")
        crowd.assert_kept("undrained")
        wait_settled(lab)  # with the connections of the start still open: they are their owner's again
        wait_for(lambda: lab.lbd.metrics().total("pins", state="confirmed") == 0, "the pins to go", SETTLED_S, 0.5)
        crowd.assert_kept("settled")


@pytest.mark.parametrize("forward, family", [("ipip", 6), ("gue", 4), ("l2dsr", 6)])
def test_a_drain_by_other_ways(bench, forward, family):
    lab = moving(bench, forward=forward, family=family)
    with Crowd(lab) as crowd:
        assert crowd.servers() == {"master", "slave"}
        lab.lbd.lbctl("drain", "master")
        with Crowd(lab) as late:
            assert late.servers() == {"slave"}
            time.sleep(2 * IDLE_S)
            lab.lbd.lbctl("undrain", "master")
            wait_serving(lab, "master", "slave")
            crowd.assert_kept("drained and undrained")
            late.assert_kept("drained and undrained, pinned")


def test_drain_wait(bench):
    lab = moving(bench)
    with Crowd(lab) as crowd:
        assert crowd.of("master")
        result = lab.lbd.lbctl("drain", "master", "--wait", "--timeout", "6", check=False)
        assert result.returncode == 1 and "master" in result.stderr and "remain" in result.stderr
        crowd.assert_kept("the time for the drain is over")
        crowd.close("master")
        begin = time.monotonic()
        done = lab.lbd.lbctl("drain", "master", "--wait", "--timeout", str(SETTLED_S), timeout=SETTLED_S + 10)
        assert time.monotonic() - begin > 0.5 and "no connection is left" in done.stdout
        assert shares(lab)["master"]["slots_previous"] == 0
        crowd.assert_kept("the other one is gone")


class Many:
    """Connections of tests/bench's failover-client, more than a Crowd can have."""

    SERVICES = [{"ports": [80, 7000]}, {"name": "probes", "ports": [7001], "protocol": "udp"}]
    PROGRAMS = BUILD / "tests/bench"

    def __init__(self, lab, count):
        self.client = lab.client.popen(
            f"clients{count}", "prlimit", "--nofile=16384", self.PROGRAMS / "failover-client", VIP4, "--tcp", 7000, "--udp",
            7001, "--connections", count, "--interval-ms", 1000, "--new-per-second", 0, "--probe-interval-us", 500_000)
        wait_for(lambda: "ready" in self.client.output() or not self.client.alive(), f"{count} connections", 30)
        assert self.client.alive(), self.client.output()

    @classmethod
    def serve(cls, lab, *names):
        servers = [lab.nodes[name].popen("server", "prlimit", "--nofile=16384", cls.PROGRAMS / "failover-server", "--name",
                                         name, "--tcp", 7000, "--udp", 7001) for name in names]
        for server in servers:
            wait_for(lambda s=server: "ready" in s.output(), "a server")

    def end(self):
        """(kept, broken) after one more exchange of each."""
        self.client.signal(15)
        assert self.client.popen.wait(60) == 0, self.client.output()
        servers = json.loads(self.client.output().splitlines()[-1])["connections"].values()
        return sum(server["kept"] for server in servers), sum(server["broken"] for server in servers)


def test_more_connections_than_pins(bench):
    """What finds no place for its pin goes to the slot's previous owner, is counted, and stays there."""
    if not (Many.PROGRAMS / "failover-client").exists():
        pytest.skip(f"missing: {Many.PROGRAMS / 'failover-client'}")
    options = {"pool": {"idle_timeout": "10s"}, "head": "[limits]\npins = 1024\n", "services": Many.SERVICES}
    lab = moving(bench, **options)
    Many.serve(lab, "master", "slave")
    old = Many(lab, 300)
    lab.lbd.lbctl("drain", "master")
    new = Many(lab, 3000)  # half of them in slots that were Master's
    assert lab.lbd.metrics().total("pins_full_total") > 300
    time.sleep(3)
    wait_serving(lab, "slave", "master")  # drained, but the only place where such a connection is sure to be found again
    lab.lbd.lbctl("undrain", "master")
    time.sleep(3)
    assert new.end() == (3000, 0) and old.end() == (300, 0)


def test_weight_addition_and_the_plan(bench):
    """`lbctl plan` says how many slots a file would move; so many do, and nobody notices."""
    lab = moving(bench, front_ends=3)
    with Crowd(lab) as crowd:
        code, plan = plan_of(lab, names=("master", "slave", "third"))
        assert code == 0 and plan["cut"] == [] and any("third" in line for line in plan["changes"])
        slots, moved = plan["pools"][0]["slots"], plan["pools"][0]["slots_moved"]
        assert 0.25 * slots < moved < 0.45 * slots  # a third of them
        assert in_transition(lab) == 0
        reload(lab, names=("master", "slave", "third"))
        lab.lbd.wait_up(third=True)
        wait_for(lambda: shares(lab)["third"]["slots"] > 0, "the third to own slots")
        # Maglev moves a few between the others as well.
        assert in_transition(lab) == moved and 0.95 * moved < shares(lab)["third"]["slots"] <= moved
        wait_serving(lab, "master", "slave", "third")
        crowd.assert_kept("another one was added")
        lab.lbd.lbctl("weight", "slave", "10")
        wait_for(lambda: shares(lab)["slave"]["slots"] < 0.1 * slots, "the new weight")
        crowd.assert_kept("the weight is another")
        assert backends(lab)["slave"]["weight"] == 10 and backends(lab)["slave"]["configured_weight"] == 100
        lab.lbd.lbctl("weight", "slave", "0")
        wait_serving(lab, "master", "third")
        crowd.assert_kept("weight 0")
        assert crowd.of("slave")


def test_a_backend_that_leaves_the_config(bench):
    """It drains, is shown as such, and goes with its last connection, which is said; its place is used again."""
    lab = moving(bench, front_ends=3)
    with Crowd(lab) as crowd:
        code, plan = plan_of(lab, names=("master",))
        assert code == 0 and plan["cut"] == [] and plan["pools"][0]["leave"] == ["slave"]
        said = reload(lab, names=("master",))
        assert "slave" in said
        wait_serving(lab, "master")
        row = backends(lab)["slave"]
        assert row["leaving"] and not row["eligible"] and "removed" in row["reason"], row
        assert shares(lab)["slave"]["slots_previous"] > 0
        crowd.assert_kept("removed from the config")
        # A restart in between does not forget it.
        lab.lbd.kill9()
        lab.lbd.start()
        assert backends(lab)["slave"]["leaving"]
        crowd.assert_kept("restarted while one leaves")
        crowd.close("slave")
        wait_for(lambda: "slave" not in backends(lab), "the end of slave", SETTLED_S, 0.5)
        assert "backend slave: its last connection is gone" in lab.lbd.log()
        assert not lab.lbd.metrics().rows("backend_up", backend="slave")
        reload(lab, names=("master", "third"))
        wait_serving(lab, "master", "third")
        crowd.assert_kept("another one has its place")


def test_a_name_that_gets_another_address(bench):
    """The old one drains as `slave~2` while the new one serves under the name."""
    lab = moving(bench, front_ends=3)
    with Crowd(lab) as crowd:
        text = config_of(lab).replace(lab.nodes["slave"].v4, lab.nodes["third"].v4)
        lab.lbd.write_config(text)
        lab.lbd.lbctl("reload")
        wait_serving(lab, "master", "third")
        rows = backends(lab)
        assert rows["slave"]["address"] == lab.nodes["third"].v4 and not rows["slave"]["leaving"]
        assert rows["slave~2"]["address"] == lab.nodes["slave"].v4 and rows["slave~2"]["leaving"]
        crowd.assert_kept("another address")
        crowd.close("slave")
        wait_for(lambda: "slave~2" not in backends(lab), "the end of slave~2", SETTLED_S, 0.5)
        crowd.assert_kept("the old one is gone")


def test_reload_now_cuts(bench):
    lab = moving(bench)
    with Crowd(lab) as crowd:
        code, plan = plan_of(lab, "--now", names=("master",))
        assert code == 1 and any("slave" in line for line in plan["cut"])
        assert "leave" in plan["pools"][0]
        crowd.assert_kept("only planned")
        reload(lab, "--now", names=("master",))
        wait_for(lambda: len(crowd.broken("slave")) == len(crowd.of("slave")), "the removed backend's connections")
        assert crowd.of("slave") and all("Reset" in reason for reason in crowd.broken("slave")), crowd.broken()
        crowd.assert_kept("not removed", "master")
        assert "slave" not in backends(lab)


def test_a_check_that_flaps(bench):
    """Within failure_grace nobody is cut, beyond it clients are told at once; who comes back takes nothing away."""
    lab = moving(bench, pool={"failure_grace": "5s"})
    with Crowd(lab) as crowd:
        lab.servers["master"].stop()
        wait_serving(lab, "slave")
        assert backends(lab)["master"]["state"] == "unhealthy"
        lab.servers["master"].start()
        wait_serving(lab, "master", "slave")
        time.sleep(1)
        crowd.assert_kept("the check flapped")

        lab.servers["master"].stop()
        down = time.monotonic()
        wait_for(lambda: crowd.broken("master"), "the end of failure_grace", 20)
        cut_s = time.monotonic() - down
        assert cut_s >= 5
        wait_for(lambda: len(crowd.broken("master")) == len(crowd.of("master")), "all of the dead one's", 2)
        assert all("Reset" in reason for reason in crowd.broken("master")), crowd.broken("master")
        assert backends(lab)["master"]["state"] == "dead"
        crowd.assert_kept("the other one is dead", "slave")
        with Crowd(lab) as late:  # pinned, or settled as the slots of the dead are at once
            assert late.servers() == {"slave"}
            lab.servers["master"].start()
            wait_serving(lab, "master", "slave")
            time.sleep(2 * IDLE_S)
            late.assert_kept("the dead one is back")
        crowd.assert_kept("the dead one is back", "slave")


def test_gone_at_layer_2_is_dead_before_the_grace(bench):
    lab = moving(bench, pool={"failure_grace": "1h"})
    with Crowd(lab) as crowd:
        lab.cut_link(lab.master)
        cut = time.monotonic()
        wait_for(lambda: backends(lab)["master"]["state"] == "dead", "nobody to answer for it", 20)
        assert time.monotonic() - cut < 5
        wait_for(lambda: len(crowd.broken("master")) == len(crowd.of("master")), "resets in its stead", 10)
        crowd.assert_kept("the other one is gone", "slave")


def test_lbd_dies_in_the_middle(bench):
    """Transitions, drains and weights are taken over by the next lbd; a weight that the config changes wins."""
    lab = moving(bench, front_ends=3, names=("master", "slave", "third"))
    state_file = None
    with Crowd(lab) as crowd:
        lab.lbd.lbctl("weight", "third", "50")
        lab.lbd.lbctl("drain", "master")
        wait_serving(lab, "slave", "third")
        with Crowd(lab) as late:
            moved = in_transition(lab)
            assert moved > 0
            lab.lbd.kill9()
            crowd.assert_kept("without lbd")
            lab.lbd.start()
            assert in_transition(lab) == moved
            rows = backends(lab)
            assert rows["master"]["drained"] and rows["third"]["weight"] == 50
            state_file = lab.lbd.lbctl_json("status").get("state_file") or f"/var/lib/fairlead/{lab.lbd.instance}.json"
            with open(state_file, encoding="ascii") as file:
                assert "third" in file.read()
            assert "as set at run time" in lab.lbd.log()
            time.sleep(2 * IDLE_S)
            crowd.assert_kept("lbd is back")
            late.assert_kept("lbd is back")
            wait_serving(lab, "slave", "third")
            lab.lbd.lbctl("undrain", "master")
            wait_serving(lab, "master", "slave", "third")
            crowd.assert_kept("undrained")
            late.assert_kept("undrained")
            # By a reload a changed weight wins, and one that is not changed does not.
            reload(lab, names=("master", "slave", "third"), weights={"master": 70})
            assert backends(lab)["third"]["weight"] == 50 and backends(lab)["master"]["weight"] == 70
            logged = len(lab.lbd.log())
            reload(lab, names=("master", "slave", "third"), weights={"master": 70, "third": 80})
            assert backends(lab)["third"]["weight"] == 80
            assert "weight 50, set at run time, gives way" in lab.lbd.log()[logged:]
            # By a restart too.
            lab.lbd.lbctl("weight", "slave", "20")
            lab.lbd.kill9()
            lab.lbd.write_config(config_of(lab, names=("master", "slave", "third"), weights={"slave": 90}))
            lab.lbd.start()
            wait_for(lambda: backends(lab)["slave"]["weight"] == 90, "the config's weight")
            assert "weight 20, set at run time, gives way" in lab.lbd.log()
            crowd.assert_kept("restarted again")
            late.assert_kept("restarted again")


TIERS = {"master": 0, "slave": 1}


def test_failback_waits_to_be_told(bench):
    lab = moving(bench, pool={"failback": False}, tiers=TIERS)
    wait_serving(lab, "master")
    lab.servers["master"].stop()
    wait_serving(lab, "slave")
    with Crowd(lab, 8) as crowd:
        assert crowd.servers() == {"slave"}
        lab.servers["master"].start()
        lab.lbd.wait_up(master=True)
        time.sleep(1)
        assert set(curl_many(lab.client, VIP4, 20)) == {"slave"}
        assert "failback" in backends(lab)["master"]["reason"]
        lab.lbd.kill9()  # the state file says which tier it was
        lab.lbd.start()
        lab.lbd.wait_up(master=True, slave=True)
        assert set(curl_many(lab.client, VIP4, 20)) == {"slave"}
        lab.lbd.lbctl("failback")
        wait_serving(lab, "master")
        crowd.assert_kept("given back")


def test_failback_delay_holds_who_came_back(bench):
    lab = moving(bench, pool={"failback_delay": "4s"}, tiers=TIERS)
    wait_serving(lab, "master")
    lab.servers["master"].stop()
    wait_serving(lab, "slave")
    with Crowd(lab, 8) as crowd:
        lab.servers["master"].start()
        lab.lbd.wait_up(master=True)
        up = time.monotonic()
        assert "failback_delay" in backends(lab)["master"]["reason"]
        assert curl(lab.client, VIP4) == "slave"
        wait_for(lambda: curl(lab.client, VIP4) == "master", "the end of the delay", 30, 0.1)
        assert time.monotonic() - up > 3
        crowd.assert_kept("failed back")


def test_slow_start_grows(bench):
    lab = moving(bench, pool={"slow_start": "6s"})
    lab.servers["master"].stop()
    wait_serving(lab, "slave")
    with Crowd(lab, 8) as crowd:
        lab.servers["master"].start()
        wait_for(lambda: shares(lab)["master"]["slots"] > 0, "a first share", poll=0.05)
        grown = [(row := shares(lab)["master"])["slots"]]
        slots = transitions(lab)["pools"][0]["slots"]
        deadline = time.monotonic() + 60
        while grown[-1] < 0.45 * slots and time.monotonic() < deadline:
            time.sleep(0.2)
            grown.append(shares(lab)["master"]["slots"])
        assert grown[0] < 0.3 * slots and grown == sorted(grown) and len(set(grown)) >= 4, grown
        assert grown[-1] >= 0.45 * slots, grown
        crowd.assert_kept("its share grew")


def test_client_ip_affinity(bench):
    """All of a client's connections are in one slot: the second one moves, and the first one stays all the same."""
    lab = moving(bench, pool={"affinity": "client-ip"})
    with Session(lab.client, VIP4, 7) as first, Session(lab.client, VIP4, 7) as second:
        assert first.server == second.server
        other = {"master": "slave", "slave": "master"}[first.server]
        lab.lbd.lbctl("drain", first.server)
        wait_for(lambda: curl(lab.client, VIP4) == other, "the drain")
        with Session(lab.client, VIP4, 7) as third:
            assert third.server == other
            time.sleep(2 * IDLE_S)
            assert first.advances() and second.advances() and third.advances()
            lab.lbd.lbctl("undrain", first.server)
            wait_for(lambda: curl(lab.client, VIP4) == first.server, "the return")
            assert first.advances() and second.advances() and third.advances()


class Flow:
    """One UDP flow; says who answers it."""

    def __init__(self, lab):
        with lab.client.inside():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(2.0)
        self.socket.connect((VIP4, 53))

    def server(self):
        self.socket.send(b"who")
        return self.socket.recv(512).split()[0].decode()


def test_udp_flows_stay(bench):
    """A flow that goes on is its backend's over a change; when old flows are known, new ones go to the new owner."""
    lab = bench.lab()
    lab.servers = {name: lab.nginx(lab.nodes[name]) for name in ("master", "slave")}
    for name in lab.servers:
        lab.python_server(lab.nodes[name], "udp", 53)
    setup_backends(lab, "l2dsr", (4,))
    lab.lbd = Lbd(lab, lab.lb, make_config(
        lab, pool=POOL, backends=[{"name": name, "address": lab.nodes[name].v4} for name in lab.servers],
        services=[{}, {"name": "dns", "ports": [53], "protocol": "udp"}])).start()
    lab.lbd.wait_up(master=True, slave=True)
    flows = [Flow(lab) for _ in range(SESSIONS)]
    with contextlib.ExitStack() as stack:
        for flow in flows:
            stack.callback(flow.socket.close)
        first = [flow.server() for flow in flows]
        assert set(first) == {"master", "slave"}
        lab.lbd.lbctl("drain", "master")
        until = time.monotonic() + 6 * IDLE_S
        while time.monotonic() < until:
            assert [flow.server() for flow in flows] == first
            time.sleep(0.3)
        fresh = [Flow(lab) for _ in range(SESSIONS)]
        for flow in fresh:
            stack.callback(flow.socket.close)
        assert {flow.server() for flow in fresh} == {"slave"}
        lab.lbd.lbctl("undrain", "master")
        for _ in range(10):
            assert [flow.server() for flow in flows] == first
            assert {flow.server() for flow in fresh} == {"slave"}
            time.sleep(0.3)
