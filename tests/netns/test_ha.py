# SPDX-License-Identifier: Apache-2.0
"""Two nodes and their VIPs: lbd on Master and Slave, each a backend too. (VRRP itself is tests/interop's.)"""

import contextlib
import json
import signal
import struct
import time

import frames
import pytest
from lab import ROOT, VIP4, VIP6, curl, forget_instance, make_config, packets, pool_tables, setup_backends, wait_for
from steering import mac_bytes

HA = '[ha]\nmode = "vrrp"\nvrid = 51\nadvert_interval = "100ms"\n'
NODES = {"master": {"priority": 150}}


def neighbour(node, address):
    rows = json.loads(node.run("ip", "-j", "neigh", "show", address, "dev", "eth0").stdout or "[]")
    return rows[0].get("lladdr") if rows else None


def pair(bench, head=HA, nodes=None, start=True, family=4):
    lab = bench.served(topology="on-master", families=(family,), start=False, head=head, nodes=nodes or NODES)
    lab.share_hash_key()
    for lbd in lab.lbds.values() if start else []:
        lbd.start()
    for lbd in lab.lbds.values() if start else []:
        lbd.wait_up(master=True, slave=True)
    return lab


def external_pair(bench, nodes):
    """Two balancers on nodes of their own, lb the active one."""
    lab = bench.lab(pair=True)
    lab.servers = {name: lab.nginx(lab.nodes[name]) for name in ("master", "slave")}
    setup_backends(lab, "l2dsr", (4,))
    lab.share_hash_key()
    bench.balance(lab, make_config(lab, head=HA, nodes=nodes))
    wait_for(lambda: active(lab.lbds["lb"]) and not active(lab.lbds["lb2"]), "lb to be the active one")
    return lab


def ha(lbd):
    return lbd.lbctl_json("ha")["ha"]


def active(lbd):
    return lbd.lbctl_json("status", check=False)["role"]["active"]  # 1: all down, 3: lbd is not there


TWO_GROUPS = HA + '[[ha.group]]\nname = "second"\nvrid = 52\nvips = ["192.0.2.20"]\n'
SECOND_VIP = "192.0.2.20"


def two_groups(bench, head=TWO_GROUPS, nodes=None):
    """Two VIPs, of a group each: the Master is to be active for the first, the Slave for the second."""
    lab = bench.served(topology="on-master", families=(4,), start=False, head=head,
                       services=[{}, {"name": "second", "vip": SECOND_VIP}],
                       nodes=nodes or {"master": {"priority": {"default": 150, "second": 50}},
                                       "slave": {"priority": {"default": 50, "second": 150}}})
    for name in lab.lbds:
        lab.nodes[name].run("ip", "addr", "add", f"{SECOND_VIP}/32", "dev", "lo")
    key = lab.folder / "hash.key"
    key.write_text("00112233445566778899aabbccddeeff\n")
    key.chmod(0o600)
    for lbd in lab.lbds.values():
        lbd.start()
    for lbd in lab.lbds.values():
        lbd.wait_up(master=True, slave=True)
    return lab


def active_groups(lbd):
    return {group["name"] for group in ha(lbd)["groups"] if group["active"]}


def wait_groups(lab, **expected):
    wait_for(lambda: all(active_groups(lab.lbds[name]) == groups for name, groups in expected.items()),
             f"{expected}; now { {name: active_groups(lab.lbds[name]) for name in expected} }")


def wait_active(lab, name):
    other = "slave" if name == "master" else "master"
    wait_for(lambda: active(lab.lbds[name]) and not active(lab.lbds[other]), f"{name} to be the active one")


@pytest.fixture
def served(bench):
    lab = pair(bench)
    wait_active(lab, "master")
    return lab


def test_roles_and_what_is_shown(served):
    master, slave = served.lbds["master"], served.lbds["slave"]
    assert curl(served.client, VIP4) == "master"
    assert neighbour(served.client, VIP4) == served.master.mac
    wait_for(lambda: ha(slave)["peer"], "the slave to hear the master")
    assert ha(slave)["peer"]["priority"] == 150 and ha(slave)["peer"]["address"] == served.master.v4
    assert not ha(slave)["peer"]["addresses_differ"]
    assert master.metrics().total("ha_role") == 1 and slave.metrics().total("ha_role") == 0
    text = slave.lbctl("status").stdout
    assert "not active since" in text and "priority 150" in text
    history = master.lbctl("ha", "history").stdout
    assert "no advert for the down interval" in history


def test_killed_controller_loses_the_role_and_forwards_on(served):
    served.lbds["master"].process.kill()
    assert curl(served.client, VIP4) == "master"  # to the same data path, by the neighbour entry that is there
    wait_for(lambda: active(served.lbds["slave"]), "the slave to take over")
    wait_for(lambda: neighbour(served.client, VIP4) == served.slave.mac, "the client to know the slave")
    # Without its lbd the master says nothing of itself but that its lease has run out.
    stale = json.loads(served.lbds["master"].lbctl("-o", "json", "status", check=False).stdout)
    assert stale["role"]["active"] is False
    assert curl(served.client, VIP4) == "master"


def test_frozen_controller_is_never_seen_as_active(bench):
    """Stopped for longer than its lease, with all it knew in memory, and then let go on: table, metrics and lbctl agree."""
    lab = pair(bench, head=HA + "preempt = false\n")
    wait_active(lab, "master")
    master, slave = lab.lbds["master"], lab.lbds["slave"]
    assert who_answers_arp(lab) == [mac_bytes(lab.master.mac)]
    master.process.signal(signal.SIGSTOP)
    wait_for(lambda: active(slave), "the slave to take over")
    assert who_answers_arp(lab) == [mac_bytes(lab.slave.mac)]  # the master's program runs on, and reads the table
    master.process.signal(signal.SIGCONT)
    for _ in range(10):
        assert (master.metrics().total("ha_role"), active(master), active(slave)) == (0, False, True)
    assert ha(master)["history"][0]["reason"] == "lease_lost"


def test_restart_hands_over_and_comes_back(served):
    master, slave = served.lbds["master"], served.lbds["slave"]
    began = time.monotonic()
    master.process.signal(signal.SIGTERM)
    wait_for(lambda: active(slave), "the slave to take over")
    assert time.monotonic() - began < 1.5
    assert ha(slave)["history"][0]["reason"] == "peer_stopped"
    master.process.popen.wait(10)
    master.start()
    wait_active(served, "master")
    assert ha(master)["history"][0]["reason"] == "preempted"


def test_failover_and_reload(served):
    master, slave = served.lbds["master"], served.lbds["slave"]
    assert slave.lbctl("failover", check=False).returncode == 1  # it has nothing to give
    assert "failover" not in master.lbctl("failover").stderr
    wait_active(served, "slave")
    assert curl(served.client, VIP4) == "master"  # tier 0, through the slave
    assert ha(master)["handed_over"]
    slave.lbctl("failover")
    wait_active(served, "master")


def test_a_program_that_is_taken_off_hands_over(served):
    """A node whose program an operator detaches would answer for nothing."""
    master, slave = served.lbds["master"], served.lbds["slave"]
    assert curl(served.client, VIP4) == "master" and neighbour(served.client, VIP4) == served.master.mac
    master.lbctl("detach", "--all")
    wait_active(served, "slave")
    assert ha(master)["history"][0]["reason"] == "fault" and ha(slave)["history"][0]["reason"] == "peer_stopped"
    wait_for(lambda: neighbour(served.client, VIP4) == served.slave.mac, "the client to know the slave")
    assert curl(served.client, VIP4) == "master"  # tier 0, through the slave
    master.stop()
    master.start()
    wait_active(served, "master")
    assert master.attached_mode() == "native"


def test_a_node_that_reaches_no_backend_yields(bench):
    """150 less 50 is less than the other node's 120; both are up, and only one of them is of use."""
    lab = external_pair(bench, {"lb": {"priority": 150}, "lb2": {"priority": 120}})
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    backends = [f"{lab.nodes[name].v4}/32" for name in ("master", "slave")]
    for address in backends:
        lab.lb.run("ip", "route", "add", "unreachable", address)
    wait_for(lambda: active(lb2) and not active(lb), "lb2 to take over")
    assert ha(lb)["priority"] == 100 and ha(lb)["history"][0]["reason"] == "yielded"
    assert curl(lab.client, VIP4) == "master"
    for address in backends:
        lab.lb.run("ip", "route", "del", "unreachable", address)
    wait_for(lambda: active(lb) and not active(lb2), "lb to take back")
    assert ha(lb)["priority"] == 150


def test_no_mastership_before_the_first_round_of_checks(bench):
    """A node comes back, the better one, and one of its checks takes three seconds to say anything."""
    check_s = 3
    lab = pair(bench)
    master, slave = lab.lbds["master"], lab.lbds["slave"]
    wait_active(lab, "master")
    master.stop()
    wait_for(lambda: active(slave), "the slave to take over")
    silent = lab.nodes["client"].v4.rsplit(".", 1)[0] + ".77"  # nobody's
    slow = {"type": "tcp", "port": 9, "interval": f"{check_s + 1}s", "timeout": f"{check_s}s"}
    master.write_config(master.config_file.read_text() + pool_tables(
        {"name": "slow", "checks": [slow]}, [{"name": "silent", "address": silent}],
        [{"name": "slow", "vip": VIP4, "ports": [81], "pool": "slow"}]))
    lab.master.run("ip", "neigh", "replace", silent, "lladdr", "02:00:00:00:00:77", "nud", "permanent", "dev", "eth0")
    began = time.monotonic()
    master.start(wait=False)
    wait_for(lambda: master.lbctl("ha", check=False).returncode == 0, "lbd to answer")
    wait_for(lambda: active(master), "the master to come back", timeout=10 * check_s)
    assert time.monotonic() - began > check_s
    wait_for(lambda: [entry["reason"] for entry in ha(slave)["history"][:2]] == ["yielded", "peer_stopped"],
             "the slave to have been active until then")
    assert master.log().index("serving 1 VIPs") < master.log().index("backup -> active")
    assert ha(master)["history"][0]["reason"] == "preempted"


def between(lab, cut):
    """Cuts the two balancers off from each other, and from nobody else; or mends that."""
    for name in lab.lbds:
        lab.sw.run("bridge", "link", "set", "dev", lab.nodes[name].peer(), "isolated", "on" if cut else "off")


def test_split_between_the_balancers_heals(bench):
    """Both go on seeing the clients, so both serve them; three times over. One master within three adverts of healing, and
    neighbour tables that are right again at once. What passes on the wire is counted, for clocks are not to be trusted on
    a busy machine; the times are bounded by ten times what they should be, and printed."""
    interval_s, rounds = 0.1, 3
    lab = external_pair(bench, {"lb": {"priority": 150}})
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    adverts = lab.capture(lab.lb2, "ip proto 112")
    assert curl(lab.client, VIP4) == "master" and neighbour(lab.client, VIP4) == lab.lb.mac
    healed_after, known_after = [], []
    for turn in range(1, rounds + 1):
        between(lab, cut=True)
        wait_for(lambda: active(lb) and active(lb2), "both to be active")
        wait_for(lambda: neighbour(lab.client, VIP4) == lab.lb2.mac, "the client to believe whoever announced last")
        assert curl(lab.client, VIP4) == "master"
        before = len(packets(adverts))
        between(lab, cut=False)
        began = time.monotonic()
        wait_for(lambda: not active(lb2), "lb2 to yield", poll=0.001)
        healed_after.append(time.monotonic() - began)
        wait_for(lambda: neighbour(lab.client, VIP4) == lab.lb.mac, "the client to know lb again", poll=0.001)
        known_after.append(time.monotonic() - began)
        assert active(lb) and curl(lab.client, VIP4) == "master"
        wait_for(lambda: ha(lb)["split_brains"] == turn, f"{turn} splits to be counted")
        history = ha(lb2)["history"][0]
        assert history["to"] == "backup" and history["reason"] == "yielded"
        # Of the worse node's adverts those that claim the VIP, from when it can hear; its last words have priority 0.
        seen = packets(adverts)[before:]
        heard = next(number for number, line in enumerate(seen) if f"{lab.lb.v4} > " in line)
        claims = [line for line in seen[heard:] if f"{lab.lb2.v4} > " in line and "prio 0," not in line]
        assert 1 <= len(claims) <= 3, seen
    assert lb.metrics().total("ha_split_brain_total") == rounds and lb2.metrics().total("ha_split_brain_total") == 0
    in_ms = [[round(1000 * seconds) for seconds in times] for times in (healed_after, known_after)]
    print(f"after healing: one master in {in_ms[0]} ms, the client's neighbour table right in {in_ms[1]} ms")
    assert max(healed_after) < 10 * 3 * interval_s
    assert max(known_after) < 10 * (3 * interval_s + 0.1)
    said = f"SPLIT BRAIN: another node was active too: {lab.lb2.v4}"
    wait_for(lambda: said in lb.log(), "the log to say so")


def test_vips_of_ipv6_alone(bench):
    """The nodes have IPv4 addresses, but an advert from one could name no VIP."""
    lab = pair(bench, family=6)
    wait_active(lab, "master")
    assert curl(lab.client, VIP6) == "master" and neighbour(lab.client, VIP6) == lab.master.mac
    assert ha(lab.lbds["slave"])["peer"]["address"].startswith("fe80::")
    lab.lbds["master"].lbctl("failover")
    wait_active(lab, "slave")
    wait_for(lambda: neighbour(lab.client, VIP6) == lab.slave.mac, "the client to know the slave")
    assert curl(lab.client, VIP6) == "master"


def test_external_mode(bench):
    lab = pair(bench, head='[ha]\nmode = "external"\n')
    master, slave = lab.lbds["master"], lab.lbds["slave"]
    assert not active(master) and not active(slave)
    slave.lbctl("role", "active")
    wait_active(lab, "slave")
    assert curl(lab.client, VIP4) == "master"
    slave.lbctl("role", "standby")
    master.lbctl("role", "active")
    wait_active(lab, "master")
    assert master.lbctl("failover", check=False).returncode == 1


def nodes_of(lbd):
    """{name of another node: what differs there}"""
    return {node["name"]: node["differs"] for node in lbd.lbctl_json("status")["nodes"]}


def test_different_configs_are_found(served):
    master, slave = served.lbds["master"], served.lbds["slave"]
    wait_for(lambda: nodes_of(master) == {"slave": []} and nodes_of(slave) == {"master": []}, "hellos both ways")
    assert master.metrics().total("ha_config_differs") == 0 and master.metrics().total("ha_nodes_heard") == 1
    assert "slave at 192.0.2.12, last heard" in master.lbctl("status").stdout
    slave.write_config(slave.config_file.read_text().replace("tier = 1", "tier = 1\nweight = 50"))
    slave.lbctl("reload")
    wait_for(lambda: nodes_of(master) == {"slave": ["config"]} and nodes_of(slave) == {"master": ["config"]}, "both to see")
    assert master.metrics().total("ha_config_differs") == 1
    assert "HAS ANOTHER CONFIG" in master.lbctl("ha").stdout
    wait_for(lambda: "another config on slave" in master.log(), "the log to say so")
    # Comments and a node's own things are no difference.
    text = master.config_file.read_text().replace("tier = 1", "tier = 1\nweight = 50").replace("priority = 150", "priority = 151")
    master.write_config("# another comment\n" + text)
    master.lbctl("reload")
    wait_for(lambda: nodes_of(master) == {"slave": []}, "the same config again")
    slave.process.kill()
    wait_for(lambda: nodes_of(master) == {}, "the slave to be forgotten", timeout=15)


def test_another_hash_key_is_found(bench):
    lab = pair(bench, start=False)
    for name, lbd in lab.lbds.items():
        key = lab.folder / f"{name}.key"
        key.write_text(f"00112233445566778899aabbccddee{'ff' if name == 'master' else '00'}\n")
        key.chmod(0o600)
        lbd.write_config(lbd.config_file.read_text().replace("/hash.key", f"/{name}.key"))
        lbd.start()
    wait_for(lambda: nodes_of(lab.lbds["master"]) == {"slave": ["hash key"]}, "the difference")


def send_udp(node, source, destination, port, payload, ttl=255):
    """One datagram from the node's stack."""
    program = ("import socket, sys\n"
               "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
               "s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(sys.argv[4]))\n"
               "s.bind((sys.argv[1], 0))\n"
               "s.sendto(bytes.fromhex(sys.argv[5]), (sys.argv[2], int(sys.argv[3])))\n")
    node.run("/usr/bin/python3", "-c", program, source, destination, port, ttl, payload.hex())


def test_hellos_that_are_none_change_nothing(served):
    """From the client, which is on the link: nothing but counters moves, and no more comes back than was sent."""
    master, client = served.lbds["master"], served.client
    wait_for(lambda: nodes_of(master) == {"slave": []}, "the slave's hello")
    good = b"FLHI" + bytes([1, 0, 4, 0]) + bytes(16) + b"evil".ljust(64, b"\0") + bytes(1020)
    back = served.capture(client, f"udp and src host {served.master.v4} and dst port 9436")
    bad = {"length": good[:-1], "magic": b"x" + good[1:], "version": good[:4] + b"\2" + good[5:],
           "content": good[:24] + b"\x1b" + good[25:]}
    for payload in bad.values():
        send_udp(client, client.v4, served.master.v4, 9436, payload)
    send_udp(client, client.v4, served.master.v4, 9436, good, ttl=254)
    send_udp(client, client.v4, served.master.v4, 9436, b"")

    def refused():
        return {labels["reason"]: value for labels, value in master.metrics().rows("ha_hellos_rejected_total") if value}
    wait_for(lambda: refused() == {"length": 2, "magic": 1, "version": 1, "content": 1, "ttl": 1}, f"counters; {refused()}")
    assert nodes_of(master) == {"slave": []} and not packets(back)
    # One that is well formed is shown, answered once and by as much, and decides nothing.
    send_udp(client, client.v4, served.master.v4, 9436, good)
    wait_for(lambda: "evil" in nodes_of(master), "the stranger")
    wait_for(lambda: packets(back), "an answer")
    assert len(packets(back)) == 1 and f"length {len(good)}" in packets(back)[0]
    assert active(master) and master.lbctl("failover", "--to", "evil", check=False).returncode == 1
    assert active(master)


def wait_standby(lbd, name):
    """Until a node knows of another that it stands by, ready."""
    wait_for(lambda: [(node["name"], group["state"], group["ready"]) for node in lbd.lbctl_json("status")["nodes"]
                      for group in node["groups"]] == [(name, "backup", True)], f"{name} to stand by")


def test_failover_to_a_node(served):
    master, slave = served.lbds["master"], served.lbds["slave"]
    wait_standby(master, "slave")
    for name, why in (("slaev", "was not heard of late (heard: slave)"), ("master", "this node is master")):
        refused = master.lbctl("failover", "--to", name, check=False)
        assert refused.returncode == 1 and why in refused.stderr
        assert active(master)
    master.lbctl("failover", "--to", "slave")
    wait_active(served, "slave")
    wait_standby(slave, "master")
    slave.lbctl("failover", "--to", "master")
    wait_active(served, "master")
    # A standby whose interface is down, or that is gone, is not handed over to.
    slave.process.kill()
    wait_for(lambda: nodes_of(master) == {}, "the slave to be forgotten", timeout=15)
    assert master.lbctl("failover", "--to", "slave", check=False).returncode == 1 and active(master)


def test_two_groups_each_active_on_a_node(bench):
    """Active-active; one node dies, the other takes both."""
    lab = two_groups(bench)
    master, slave = lab.lbds["master"], lab.lbds["slave"]
    wait_groups(lab, master={"default"}, slave={"second"})
    for vip, node in ((VIP4, lab.master), (SECOND_VIP, lab.slave)):
        assert curl(lab.client, vip) == "master"
        assert neighbour(lab.client, vip) == node.mac
    assert master.metrics().total("ha_role", group="default") == 1
    assert master.metrics().total("ha_role", group="second") == 0
    assert not any(group["adverts"]["refused"]["vrid"] for group in ha(master)["groups"])
    text = master.lbctl("status").stdout
    assert f"group default ({VIP4}): active since" in text and f"group second ({SECOND_VIP}): not active" in text

    # A failover of one group leaves the other alone; the operator on the other node gives it back.
    assert master.lbctl("failover", "--group", "second", check=False).returncode == 1
    assert master.lbctl("failover", "--group", "third", check=False).returncode == 1
    master.lbctl("failover", "--group", "default")
    wait_groups(lab, master=set(), slave={"default", "second"})
    slave.lbctl("failover", "--group", "default")
    wait_groups(lab, master={"default"}, slave={"second"})

    slave.process.kill()
    lab.cut_link(lab.slave)
    wait_groups(lab, master={"default", "second"})
    wait_for(lambda: neighbour(lab.client, SECOND_VIP) == lab.master.mac, "the client to know the master")
    wait_for(lambda: curl(lab.client, SECOND_VIP, check=False) == "master", "an answer")
    assert "no advert for the down interval" in master.lbctl("ha", "history").stdout


def test_a_reload_moves_a_vip_to_another_group(bench):
    lab = two_groups(bench)
    wait_groups(lab, master={"default"}, slave={"second"})
    third = "192.0.2.30"
    for lbd in lab.lbds.values():
        text = lbd.config_file.read_text()
        text += f'[[service]]\nname = "third"\nvip = "{third}"\nports = [80]\npool = "web"\n'
        lbd.write_config(text)
        lbd.node.run("ip", "addr", "add", f"{third}/32", "dev", "lo")
        assert f"vip {third} added" in lbd.lbctl("reload").stdout
    wait_for(lambda: curl(lab.client, third, check=False) == "master", "the new VIP")
    assert neighbour(lab.client, third) == lab.master.mac  # of the default group
    for lbd in lab.lbds.values():
        lbd.write_config(lbd.config_file.read_text().replace(f'["{SECOND_VIP}"]', f'["{SECOND_VIP}", "{third}"]'))
        assert "vrid 51 -> 52" in lbd.lbctl("config", "diff", lbd.config_file, check=False).stdout
        lbd.lbctl("reload")
    wait_for(lambda: neighbour(lab.client, third) == lab.slave.mac, "the client to know the slave")
    assert curl(lab.client, third) == "master"
    wait_groups(lab, master={"default"}, slave={"second"})


def test_external_groups_are_adopted(bench):
    """What another program decided, for each group by itself, outlives lbd."""
    lab = two_groups(bench, head='[ha]\nmode = "external"\n' + TWO_GROUPS.split("\n", 4)[4], nodes={"master": {}})
    master = lab.lbds["master"]
    assert active_groups(master) == set()
    master.lbctl("role", "active", "--group", "second")
    wait_groups(lab, master={"second"})
    master.process.kill()
    master.start()
    wait_groups(lab, master={"second"})
    assert curl(lab.client, SECOND_VIP) == "master" and curl(lab.client, VIP4, check=False, max_time=1) is None
    master.lbctl("role", "active")
    wait_groups(lab, master={"default", "second"})


def test_external_role_without_lbd(bench):
    """The deciding program moves the VIP although lbd is dead; the next lbd goes on from there."""
    lab = pair(bench, head='[ha]\nmode = "external"\n')
    master, slave = lab.lbds["master"], lab.lbds["slave"]
    master.lbctl("role", "active")
    wait_active(lab, "master")
    assert curl(lab.client, VIP4) == "master" and neighbour(lab.client, VIP4) == lab.master.mac
    for lbd in (master, slave):
        lbd.process.kill()
    slave_config = ("--config", slave.config_file)
    assert "standby, stored without lbd" in master.lbctl("role", "standby", "--config", master.config_file).stdout
    text = slave.lbctl("role", "active", *slave_config).stdout
    assert "data path running, controller down" in text and "group default: active, stored without lbd" in text
    wait_for(lambda: neighbour(lab.client, VIP4) == lab.slave.mac, "the client to know the slave")
    assert curl(lab.client, VIP4) == "master"  # tier 0, through the slave
    assert slave.lbctl("role", "active", *slave_config).stdout.endswith("nothing changed\n")
    # Not where VRRP decides, nor for a group that there is not.
    vrrp = lab.folder / "vrrp.toml"
    vrrp.write_text(slave.config_file.read_text().replace('mode = "external"', 'mode = "vrrp"\nvrid = 51'))
    for arguments in (("--config", vrrp), ("--group", "second", *slave_config)):
        assert slave.lbctl("role", "standby", *arguments, check=False).returncode == 1
    slave.start()
    wait_for(lambda: active(slave), "the slave's lbd to go on")


# --- hostile adverts ---

VRRP = 112
GROUP4, GROUP4_MAC = "224.0.0.18", bytes.fromhex("01005e000012")


def advert(source, destination, *, vrid=51, priority=254, interval=10, vips=(VIP4,), count=None, first=0x31, cut=0, spoilt=0):
    """The bytes of an advert: good, and of a better node, unless told otherwise."""
    body = struct.pack("!BBBBHH", first, vrid, priority, len(vips) if count is None else count, interval, 0)
    body += b"".join(map(frames.packed, vips))
    body = body[: len(body) - cut]
    pseudo = frames.pseudo_header(source, destination, VRRP, len(body))
    body = frames.with_checksum(body, 6, pseudo)
    return body[:6] + bytes([body[6] ^ spoilt]) + body[7:]


def hostile(source, destination):
    """{reason: (advert, TTL)}: each wrong in one thing."""
    def bad(**changes):
        return advert(source, destination, **changes), 255
    return {"ttl": (advert(source, destination), 254), "version": bad(first=0x21), "type": bad(first=0x32),
            "vrid": bad(vrid=52), "length": bad(cut=2), "count": bad(count=0, vips=()), "checksum": bad(spoilt=1),
            "interval": bad(interval=0), "addresses": bad(vips=("198.51.100.10",))}


def refused_adverts(lbd):
    return {labels["reason"]: value for labels, value in lbd.metrics().rows("ha_adverts_rejected_total") if value}


def send_adverts(lab, node, adverts, destination=GROUP4, source=None):
    """From the client's wire to one node alone, as adverts by multicast would come."""
    with contextlib.closing(lab.client.cable()) as cable:
        for body, ttl in adverts:
            packet = frames.ip(source or lab.client.v4, destination, VRRP, body, ttl)
            to = GROUP4_MAC if destination == GROUP4 else mac_bytes(node.mac)
            cable.send(frames.ethernet(to, mac_bytes(lab.client.mac), 0x0800, packet))


def unchanged(lab):
    """What hostile adverts must not move: state, priority heard, and how often the state changed, on both nodes."""
    def of(lbd):
        group = ha(lbd)
        return (group["state"], group["active"], group["transitions"], group["split_brain"], group["split_brains"],
                group["peer"] and (group["peer"]["address"], group["peer"]["priority"]))
    return {name: of(lbd) for name, lbd in lab.lbds.items()}


def test_hostile_adverts_change_nothing_and_are_counted(served):
    """Malformed, from too far, or for others: against the active node and the standby alike, for they are multicast."""
    master, slave = served.lbds["master"], served.lbds["slave"]
    wait_for(lambda: ha(slave)["peer"], "the slave to hear the master")
    before = unchanged(served)
    bad = hostile(served.client.v4, GROUP4)
    for _ in range(5):
        send_adverts(served, served.master, bad.values())
        time.sleep(0.05)
    expected = {reason: 5 for reason in bad}
    for lbd in (master, slave):
        wait_for(lambda: refused_adverts(lbd) == expected, f"{expected}; {refused_adverts(lbd)}")
    assert unchanged(served) == before
    assert curl(served.client, VIP4) == "master" and neighbour(served.client, VIP4) == served.master.mac
    refused = master.lbctl("ha").stdout
    assert "5 refused: checksum" in refused and "5 refused: ttl" in refused


def test_adverts_of_strangers_are_refused_where_peers_are_named(bench):
    """Well formed, of a better priority, of the right group: believed from peers alone."""
    lab = pair(bench, head=HA + 'peers = ["192.0.2.11", "192.0.2.12"]\n')
    wait_active(lab, "master")
    wait_for(lambda: ha(lab.lbds["slave"])["peer"], "the slave to hear the master")
    before = unchanged(lab)
    for name in ("master", "slave"):
        node, lbd = lab.nodes[name], lab.lbds[name]
        forged = [(advert(lab.client.v4, node.v4, priority=priority), 255) for priority in (0, 1, 254, 255)]
        send_adverts(lab, node, forged, destination=node.v4)
        wait_for(lambda: refused_adverts(lbd) == {"peer": 4}, f"4 to be refused; {refused_adverts(lbd)}")
    time.sleep(0.5)  # longer than any of them would need to take effect
    assert unchanged(lab) == before


# --- where VIPs are announced ---


def joined(node, interface):
    groups = json.loads(node.run("ip", "-j", "-6", "maddr", "show", "dev", interface).stdout)
    return {entry["address"] for link in groups for entry in link["maddr"] if "address" in entry}


def announced(frame):
    """(VLAN tags, VIP) of a gratuitous ARP request or an unsolicited neighbour advertisement."""
    tags, packet = frames.tags_and_packet(frame)
    kind = frames.ethertype_of(frame[4 * len(tags):])
    numbers = [number for _, number in tags]
    if kind == 0x0806 and packet[6:8] == b"\0\1" and packet[14:18] == packet[24:28] == frames.packed(VIP4):
        return numbers, VIP4
    if kind == 0x86dd and packet[6] == 58 and packet[40] == 136 and packet[48:64] == frames.packed(VIP6):
        return numbers, VIP6
    return None


def test_every_interface_has_its_groups_and_its_vlan(bench):
    """Solicited-node groups are joined on each interface, active or not; announcements leave with that one's tag."""
    lab = bench.lab(two_networks=True)
    text = make_config(lab, family=4, head='[ha]\nmode = "external"\n', services=[{}],
                       nodes={"lb": {"interface": None, "interfaces": [{"name": "eth0", "vlan": 7}, {"name": "eth1"}]}})
    text += f'[[service]]\nname = "six"\nvip = "{VIP6}"\nports = [80]\nbackends = ["2001:db8:2::11"]\n'
    (lab.folder / "hash.key").write_text("00112233445566778899aabbccddeeff\n")
    (lab.folder / "hash.key").chmod(0o600)
    bench.balance(lab, text, start=False)
    lab.lbd.start()
    group = "ff02::1:ff00:10"  # of 2001:db8::10
    for interface in ("eth0", "eth1"):
        wait_for(lambda: group in joined(lab.lb, interface), f"{group} on {interface}; {joined(lab.lb, interface)}")
    assert not ha(lab.lbd)["active"]

    wires = {name: lab.sw.cable(lab.lb.peer(name)) for name in ("eth0", "eth1")}
    lab.lbd.lbctl("role", "active")
    time.sleep(0.8)  # three rounds
    for name, tags in (("eth0", [7]), ("eth1", [])):
        seen = [said for said in map(announced, wires[name].seen()) if said]
        assert {vip for _, vip in seen} == {VIP4, VIP6}, (name, seen)
        assert all(numbers == tags for numbers, _ in seen), (name, seen)
        assert len(seen) >= 6
    # A VIP that goes takes its group along.
    lab.lbd.write_config(text[: text.index('[[service]]\nname = "six"')])
    lab.lbd.lbctl("reload")
    for interface in ("eth0", "eth1"):
        wait_for(lambda: group not in joined(lab.lb, interface), f"{group} to be left on {interface}")


def test_needs_the_hash_key(bench):
    lab = bench.served(topology="on-master", families=(4,), start=False, head=HA, nodes=NODES)
    lbd = lab.lbds["master"]
    with pytest.raises(Exception, match="hash key"):
        lbd.start()


# --- The shipped file for the balancer on the Master ---

PORTS = (9869, 2633, 8080)


def who_answers_arp(lab):
    """The MACs of all who answer a question for the VIP within a quarter of a second."""
    with lab.client.cable() as cable:
        cable.send(frames.arp_request(mac_bytes(lab.client.mac), lab.client.v4, VIP4))
        time.sleep(0.25)
        replies = [frame for frame in cable.seen() if frames.ethertype_of(frame) == frames.ETHERTYPE_ARP
                   and frame[20:22] == b"\0\2" and frame[28:32] == frames.packed(VIP4)]
    return [frame[22:28] for frame in replies]


@pytest.fixture
def shipped(bench):
    """config/lb-on-master.toml as it is, on both nodes; only the hash key's place is the lab's."""
    lab = bench.lab(topology="on-master")
    lab.servers = {name: lab.nginx(lab.nodes[name], ports=PORTS) for name in ("master", "slave")}
    setup_backends(lab, "l2dsr", (4,))
    lab.share_hash_key()
    bench.balance(lab, f'hash_key_file = "{lab.folder}/hash.key"\n' + (ROOT / "config/lb-on-master.toml").read_text())
    wait_active(lab, "master")
    return lab


def test_on_master_the_vip_is_on_both_and_one_answers_for_it(shipped):
    for name in ("master", "slave"):
        node = shipped.nodes[name]
        assert VIP4 in node.run("ip", "-o", "addr", "show", "dev", "lo").stdout
        assert "ready" in shipped.frontend_setup(node, "l2dsr", VIP4, "--interface", "eth0", "--check").stdout
        # The other node's checks go to its own address, the VIP being local changes nothing about them.
        assert shipped.lbds[name].up() == {"master": True, "slave": True}
        # What a node's own programs ask of the VIP stays on it, the cold tier's too.
        assert curl(node, VIP4, port=9869) == name
    assert who_answers_arp(shipped) == [mac_bytes(shipped.master.mac)]
    assert [curl(shipped.client, VIP4, port=port) for port in PORTS] == ["master"] * 3
    shipped.lbds["master"].lbctl("failover")
    wait_active(shipped, "slave")
    assert who_answers_arp(shipped) == [mac_bytes(shipped.slave.mac)]
    assert [curl(shipped.client, VIP4, port=port) for port in PORTS] == ["master"] * 3  # the tier, not the role


def test_on_master_its_death_leaves_the_slave_serving_from_itself(shipped):
    master, slave = shipped.lbds["master"], shipped.lbds["slave"]
    assert curl(shipped.client, VIP4, port=9869) == "master"
    shipped.cut_link(shipped.master)
    master.process.kill()
    shipped.servers["master"].stop()
    began = time.monotonic()
    wait_for(lambda: active(slave), "the slave to take over")
    assert time.monotonic() - began < 1.5
    slave.wait_up(master=False, slave=True)
    assert [curl(shipped.client, VIP4, port=port) for port in PORTS] == ["slave"] * 3
    assert neighbour(shipped.client, VIP4) == shipped.slave.mac
    assert ha(slave)["history"][0]["reason"] == "silence"

    # Back, as after a reboot: it holds the VIP again once its checks have spoken, and then serves again.
    forget_instance(master.instance)
    shipped.servers["master"].start()
    shipped.mend_link(shipped.master)
    master.start()
    wait_active(shipped, "master")
    for lbd in (master, slave):
        lbd.wait_up(master=True, slave=True)
    assert [curl(shipped.client, VIP4, port=port) for port in PORTS] == ["master"] * 3
    assert neighbour(shipped.client, VIP4) == shipped.master.mac
