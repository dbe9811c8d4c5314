# SPDX-License-Identifier: Apache-2.0
"""What the active balancer knows is on the standby before it is needed: two lbd on nodes of their own, lb the active one.

What the network loses, doubles and reorders is tests/simulation's: the lab's kernel has no netem.
"""

import json

import pytest

from lab import FRONT_ENDS, VIP4, VIP6, forget_instance, make_config, setup_backends, wait_for
from test_ha import HA, active, ha
from test_take_over import NEXT
from test_transitions import SERVICES, Crowd

NODES = {"lb": {"priority": 150}}
SYNC_PORT = 9437
# In transition for as long as a test takes; and an unhealthy backend is not dead before it ends.
POOL = {"idle_timeout": "1h", "failure_grace": "10m"}
# What leaves a node and matches is dropped.
DROP_PROGRAM = """
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
static long (*const load)(const struct __sk_buff *, __u32, void *, __u32) = (void *)26;
__attribute__((section("drop"), used)) int lose(struct __sk_buff *skb) {
    unsigned char head[38];
    if (skb->len < LENGTH || load(skb, 0, head, sizeof(head))) return TC_ACT_OK;
    if (head[12] != 0x08 || head[13] || head[14] != 0x45 || head[23] != PROTOCOL) return TC_ACT_OK;
    return head[33] == LAST_BYTE && (head[36] << 8 | head[37]) == PORT ? TC_ACT_SHOT : TC_ACT_OK;
}
char text[] __attribute__((section("license"), used)) = "GPL";
"""
UDP, TCP = 17, 6


def drop(lab, node, protocol, destination, port, length=0):
    """From now on these of the node's own packets are lost, if their frames are so long at least."""
    program = lab.compile(f"drop-{node.name}", DROP_PROGRAM, PROTOCOL=protocol, PORT=port, LENGTH=length,
                          LAST_BYTE=destination.v4.split(".")[3])
    node.run("tc", "qdisc", "replace", "dev", "eth0", "clsact")
    node.run("tc", "filter", "replace", "dev", "eth0", "egress", "prio", 1, "handle", 1, "bpf", "da", "obj", program, "sec",
             "drop")


def drop_none(node):
    node.run("tc", "qdisc", "del", "dev", "eth0", "clsact")


def pair(bench, front_ends=2, sync="", start=True, family=4):
    lab = bench.lab(pair=True, front_ends=front_ends)
    names = FRONT_ENDS[:front_ends]
    lab.servers = {name: lab.nginx(lab.nodes[name]) for name in names}
    for name in names:
        lab.python_server(lab.nodes[name], "echo", 7)
    setup_backends(lab, "l2dsr", (family,), names=names)
    lab.share_hash_key()
    lab.vip = VIP4 if family == 4 else VIP6
    lab.config = make_config(lab, pool=POOL, services=SERVICES, nodes=NODES, head=HA + lab.share_sync_key() + sync,
                             backends=[{"name": name, "address": lab.nodes[name].address(family)} for name in names],
                             family=family)
    bench.balance(lab, lab.config, start)
    if start:
        wait_roles(lab, "lb", "lb2")
        wait_synced(lab)
    return lab


def wait_roles(lab, one, other):
    wait_for(lambda: active(lab.lbds[one]) and not active(lab.lbds[other]), f"{one} to be the active one", 30)


def wait_synced(lab):
    for lbd in lab.lbds.values():
        lbd.wait_synced(30)


def known(lbd):
    """What both nodes must have alike, by backend, and how much is in transition."""
    rows = {row["name"]: [row[key] for key in ("drained", "weight", "slots", "state", "eligible")]
            for row in lbd.lbctl_json("backends")["backends"]}
    transitions = lbd.lbctl_json("transitions")
    for row in transitions["pools"][0]["backends"]:
        rows[row["name"]].append(row["slots_previous"])
    return {**rows, "in_transition": transitions["slots_in_transition"]}


def wait_alike(lab, what):
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    try:
        wait_for(lambda: known(lb) == known(lb2), what)
    except Exception as error:
        raise AssertionError(f"{what}: {known(lb)}, {known(lb2)}") from error
    return known(lb2)


def pins(lbd):
    counted = lbd.lbctl_json("transitions")["pins"]
    return counted["confirmed"] + counted["closing"] if counted else 0


def peer(lbd):
    return lbd.sync()["peers"][0]


def refused(lbd, reason):
    sync = lbd.sync()
    return sync["refused"][reason] + sum(one["refused"][reason] for one in sync["peers"])


def drain_with_crowds(lab):
    """Connections from before a drain of the Master, and from within it; the standby knows of both."""
    before = Crowd(lab)
    assert before.servers() == {"master", "slave"}
    lab.lbds["lb"].lbctl("drain", "master")
    within = Crowd(lab)
    assert within.servers() == {"slave"}
    assert wait_alike(lab, "the drain to be alike")["in_transition"] > 300
    wait_for(lambda: peer(lab.lbds["lb"])["lag_s"] == 0 and pins(lab.lbds["lb2"]) > 0, "pins to be told", 60)
    return before, within


def assert_all_kept(crowds, when):
    for crowd in crowds:
        crowd.assert_kept(when)


def test_the_standby_has_what_the_active_one_knows(bench):
    lab = pair(bench, front_ends=3)
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    with Crowd(lab):
        lb.lbctl("weight", "third", "30")
        found = wait_alike(lab, "a weight to be alike")
        assert found["third"][1] == 30 and found["in_transition"] > 0
        lb.lbctl("drain", "master")
        found = wait_alike(lab, "a drain to be alike")
        assert found["master"][0] is True and found["master"][2] == 0 and found["master"][5] > 0
        with Crowd(lab):
            wait_for(lambda: 0 < pins(lb) == pins(lb2), f"as many pins (now {pins(lb)}, {pins(lb2)})", 60)
        lb.lbctl("undrain", "master")
        lb.lbctl("weight", "third", "default")
        found = wait_alike(lab, "both to be alike again")
        assert found["third"][1] == 100 and not found["master"][0]

    # What is shown of it, on either side.
    assert lb.lbctl("sync", "status").returncode == 0 and lb2.lbctl("sync", "status").returncode == 0
    assert (peer(lb)["part"], peer(lb2)["part"]) == ("sends", "receives")
    assert (peer(lb)["name"], peer(lb2)["address"]) == ("lb2", lab.lb.v4)
    assert lb.sync()["pools_followed"] == [] and lb2.sync()["pools_followed"] == ["web"]
    assert peer(lb)["sent"]["slots"] >= 1024 and peer(lb2)["received"]["slots"] >= 1024
    assert peer(lb)["last_full"] and peer(lb2)["last_full"]
    assert "sync        lb2: sends, lag" in lb.lbctl("status").stdout
    assert "receives" in lb2.lbctl("sync", "status").stdout
    metrics = lb2.metrics()
    assert metrics.total("sync_heard", peer="lb") == 1 and metrics.total("sync_pins_total", direction="received") > 0
    assert metrics.rows("sync_lag_seconds", peer="lb") and metrics.total("sync_messages_total", direction="received") > 0
    assert metrics.total("sync_rejected_total", reason="mac") == 0
    assert metrics.total("sync_rejected_total", reason="content") == 0


def test_a_silent_death_in_a_transition(bench):
    lab = pair(bench)
    crowds = drain_with_crowds(lab)
    lab.cut_link(lab.lb)
    lab.lbds["lb"].process.kill()
    wait_for(lambda: active(lab.lbds["lb2"]), "lb2 to take over")
    assert_all_kept(crowds, "lb died")
    rows = {row["name"]: row for row in lab.lbds["lb2"].lbctl_json("backends")["backends"]}
    assert rows["master"]["drained"] and rows["master"]["slots"] == 0, "an operator's drain outlives the node"
    assert lab.lbds["lb2"].lbctl("sync", "status", check=False).returncode == 1
    assert "sync        lb NOT HEARD" in lab.lbds["lb2"].lbctl("status", check=False).stdout
    for crowd in crowds:
        crowd.close()


def test_of_ipv6_alone(bench):
    """Adverts, and with them the sync, go between link-local addresses, which each learns when the other speaks."""
    lab = pair(bench, family=6)
    assert all(peer(lbd)["address"].startswith("fe80::") and len(lbd.sync()["peers"]) == 1 for lbd in lab.lbds.values())
    crowds = drain_with_crowds(lab)
    lab.cut_link(lab.lb)
    lab.lbds["lb"].process.kill()
    wait_for(lambda: active(lab.lbds["lb2"]), "lb2 to take over")
    assert_all_kept(crowds, "lb died")
    lab.mend_link(lab.lb)
    lab.lbds["lb"].start()
    wait_roles(lab, "lb", "lb2")
    assert lab.lbds["lb"].sync()["mastership"] == "synced"
    assert_all_kept(crowds, "lb is back")
    for crowd in crowds:
        crowd.close()


def test_own_checks_do_not_pull_the_tables_apart(bench):
    """The standby cannot reach a backend: it adopts the active one's view while that is heard, and its own when it is not."""
    lab = pair(bench)
    lb2 = lab.lbds["lb2"]
    before = known(lb2)
    drop(lab, lab.lb2, TCP, lab.master, 80)

    def own_check():
        row = next(row for row in lb2.lbctl_json("backends")["backends"] if row["name"] == "master")
        return row["checks"][0]["state"]

    wait_for(lambda: own_check() == "down", "lb2's own check to fail")
    assert wait_alike(lab, "the tables to stay alike") == before
    assert before["in_transition"] == 0 and known(lb2)["in_transition"] == 0
    lab.cut_link(lab.lb)
    lab.lbds["lb"].process.kill()
    wait_for(lambda: active(lb2) and known(lb2)["master"][2] == 0, "lb2 to go by its own checks", 30)


def test_a_cut_link_heals_by_one_full_sync(bench):
    lab = pair(bench)
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    drop(lab, lab.lb, UDP, lab.lb2, SYNC_PORT)
    wait_for(lambda: lb2.lbctl("sync", "status", check=False).returncode == 1, "lb2 to hear nothing")
    streams = peer(lb)["sent"]["streams"]
    with Crowd(lab):
        for weight in (10, 20, 30, 40, 50, 60, 70, 80):
            lb.lbctl("weight", "master", weight)
        lb.lbctl("drain", "slave")
        assert not known(lb2)["slave"][0]
        drop_none(lab.lb)
        wait_synced(lab)
        found = wait_alike(lab, "both to be alike again")
        assert found["slave"][0] and found["master"][1] == 80
    assert peer(lb)["sent"]["streams"] - streams <= 1
    assert active(lb) and not active(lb2)


def test_another_key_is_refused_and_seen(bench):
    lab = pair(bench, start=False)
    other = lab.folder / "other.key"
    other.write_text("f" * 64 + "\n")
    other.chmod(0o600)
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    lb2.write_config(lab.config.replace("sync.key", "other.key"))
    for lbd in lab.lbds.values():
        lbd.start()
        lbd.wait_up(master=True, slave=True)
    wait_roles(lab, "lb", "lb2")
    for lbd in lab.lbds.values():
        wait_for(lambda one=lbd: refused(one, "mac") > 10, "messages to be refused")
        assert lbd.metrics().total("sync_rejected_total", reason="mac") > 10
        assert peer(lbd)["received"] == {"messages": 0, "streams": 0, "slots": 0, "pins": 0, "pins_swept": 0}
        shown = lbd.lbctl("sync", "status", check=False)
        assert shown.returncode == 1 and "NOT HEARD" in shown.stdout and " mac" in shown.stdout
    lb.lbctl("drain", "master")
    wait_for(lambda: known(lb)["master"][2] == 0, "the drain")
    assert not known(lb2)["master"][0] and known(lb2)["in_transition"] == 0


def test_a_key_that_cannot_be_used_is_said(bench):
    lab = pair(bench, start=False)
    lb = lab.lbds["lb"]
    (lab.folder / "sync.key").chmod(0o644)
    lb.start(wait=False)
    wait_for(lambda: not lb.process.alive(), "lbd to end")
    assert "sync.key" in lb.log() and "0123456789abcdef" not in lb.log()


@pytest.mark.parametrize("how", ["restarted", "rebooted"])
def test_mastership_waits_for_the_whole_state(bench, how):
    """lb comes back while lb2 is active, and is told everything before it takes the VIP back."""
    lab = pair(bench)
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    lb.stop()
    wait_roles(lab, "lb2", "lb")
    if how == "rebooted":
        forget_instance(lb.instance)
    lb2.lbctl("drain", "master")
    lb.start()
    wait_roles(lab, "lb", "lb2")
    assert lb.sync()["mastership"] == "synced" and "has the whole state of node lb2" in lb.log()
    assert lb.log().index("has the whole state of node lb2") < lb.log().index("backup -> active")
    assert known(lb)["master"][0], "the drain came along"
    wait_alike(lab, "both to be alike")


def test_the_wait_for_the_state_has_an_end(bench):
    """Short messages of lb2 arrive, and so it is heard; what tells the state does not."""
    lab = pair(bench, sync='sync_wait = "3s"\n')
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    lb.stop()
    wait_roles(lab, "lb2", "lb")
    drop(lab, lab.lb2, UDP, lab.lb, SYNC_PORT, length=200)
    lb.start()
    assert lb.sync()["mastership"] == "full" and not active(lb)
    assert "MASTERSHIP WAITS for the other node's whole state" in lb.lbctl("status", check=False).stdout
    assert "the other node's whole state" in lb.lbctl("sync", "status", check=False).stdout
    wait_roles(lab, "lb", "lb2")
    assert lb.sync()["mastership"] == "gave_up" and "within sync_wait" in lb.log()
    assert ha(lb)["history"][0]["to"] == "active"


@pytest.mark.skipif(not NEXT.exists(), reason=f"missing: {NEXT}")
def test_a_rolling_upgrade_in_a_transition(bench):
    """As the operator's guide has it: the standby first, a hand-over, then the other one; to another layout of the tables."""
    lab = pair(bench)
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    crowds = drain_with_crowds(lab)
    lb2.stop()
    lb2.start(program=NEXT)
    wait_synced(lab)
    wait_alike(lab, "both to be alike, of two versions")
    assert_all_kept(crowds, "the standby is the next version")
    lb.lbctl("failover", "--to", "lb2")
    wait_roles(lab, "lb2", "lb")
    assert_all_kept(crowds, "the next version is active")
    lb.stop()
    lb.start(program=NEXT)
    wait_synced(lab)
    wait_roles(lab, "lb", "lb2")  # the better one by its priority
    assert wait_alike(lab, "both to be alike")["in_transition"] > 300
    assert_all_kept(crowds, "both are the next version")
    for crowd in crowds:
        crowd.close()


def test_a_reload_turns_it_on_and_off(bench):
    lab = pair(bench)
    lb, lb2 = lab.lbds["lb"], lab.lbds["lb2"]
    without = lab.config.replace(lab.share_sync_key(), "")
    assert without != lab.config
    for lbd in lab.lbds.values():
        lbd.write_config(without)
        assert "[sync] on -> off" in lbd.lbctl("config", "diff", lbd.config_file, check=False).stdout
        lbd.lbctl("reload")
        assert lbd.sync() is None and not lbd.metrics().rows("sync_heard")
        assert lbd.lbctl("sync", "status", check=False).returncode == 1
    lb.lbctl("drain", "master")
    assert not known(lb2)["master"][0]
    for lbd in lab.lbds.values():
        lbd.write_config(lab.config)
        lbd.lbctl("reload")
    wait_synced(lab)
    assert wait_alike(lab, "both to be alike again")["master"][0]
    # Without its key a file is refused, and what runs goes on.
    (lab.folder / "sync.key").unlink()
    lb.write_config(lab.config.replace('sync.key"', 'sync.key"\ninterval = "50ms"'))
    refusal = lb.lbctl("reload", check=False)
    assert refusal.returncode == 1 and "sync.key" in refusal.stderr
    assert peer(lb)["heard"] and json.loads(lb.lbctl("-o", "json", "sync", "status").stdout)["sync"]["error"] is None
