# SPDX-License-Identifier: Apache-2.0
"""lbd comes and goes, is told new things and nonsense; what is forwarded must not notice."""

import time
from collections import Counter

import pytest

from lab import BPFFS, VIP4, Lbd, curl, make_config, wait_for
from load import Load, Session
from traffic import curl_many, ping


def results(records):
    return Counter(r.result for r in records)


def all_ok(records):
    return len(records) >= 50 and results(records) == {"ok": len(records)}


def test_kill9_under_load_and_adoption(bench):
    lab = bench.served(families=(4,))
    with Load(lab, lab.client, VIP4) as load:
        time.sleep(0.5)
        program, counted = lab.lbd.program_id(), lab.lbd.metrics().total("backend_syns_total", backend="master")
        assert counted > 0
        lab.lbd.kill9()
        time.sleep(1)
        assert lab.lbd.program_id() == program, "the program went with its loader"
        lab.lbd.start()
        lab.lbd.wait_up(master=True, slave=True)
        assert lab.lbd.metrics().total("backend_syns_total", backend="master") > counted, "counters were not adopted"
        time.sleep(0.5)
        records = load.stop()
    assert all_ok(records), results(records)
    assert {r.server for r in records} == {"master"}


def test_adoption_keeps_verdicts(bench):
    """A backend that was down when lbd died is not given traffic by the next lbd before it has checked it."""
    lab = bench.served(families=(4,))
    lab.servers["master"].stop()
    lab.lbd.wait_up(master=False, slave=True)
    wait_for(lambda: curl(lab.client, VIP4, check=False) == "slave", "the Slave")
    lab.lbd.kill9()
    with Load(lab, lab.client, VIP4) as load:
        lab.lbd.start()
        time.sleep(1.5)
        records = load.stop()
    assert all_ok(records), results(records)
    assert {r.server for r in records} == {"slave"}


def test_sigterm_leaves_the_data_path_and_restart_adopts(bench):
    lab = bench.served(families=(4,))
    with Load(lab, lab.client, VIP4) as load:
        time.sleep(0.3)
        assert lab.lbd.stop() == 0
        time.sleep(1)
        lab.lbd.start()
        lab.lbd.wait_up(master=True, slave=True)
        time.sleep(0.3)
        records = load.stop()
    assert all_ok(records), results(records)


def test_lbctl_with_lbd_dead(bench):
    lab = bench.served(families=(4,))
    assert curl_many(lab.client, VIP4, 5) == ["master"] * 5
    lab.lbd.kill9()
    status = lab.lbd.lbctl("status", check=False)
    assert status.returncode == 3 and "data path running, controller down since" in status.stdout
    status = lab.lbd.lbctl_json("status", check=False)
    assert status["controller"]["running"] is False and status["controller"]["last_seen"]
    assert status["ports"][0]["attached"] is True
    assert curl_many(lab.client, VIP4, 5) == ["master"] * 5
    passed = {row["reason"]: row["packets"] for row in lab.lbd.lbctl_json("counters", check=False)["passed"]}
    assert ping(lab.client, lab.lb.v4) == 3
    later = {row["reason"]: row["packets"] for row in lab.lbd.lbctl_json("counters", check=False)["passed"]}
    assert later["not_vip"] >= passed["not_vip"] + 3
    # What needs the controller says so, and does not pretend.
    drain = lab.lbd.lbctl("drain", "master", check=False)
    assert drain.returncode == 3 and drain.stderr
    assert curl(lab.client, VIP4) == "master"
    lab.lbd.lbctl("detach", "--all")
    assert lab.lbd.attached_mode() is None
    assert curl(lab.client, VIP4, check=False, max_time=1) is None
    assert lab.lbd.lbctl("status", check=False).returncode == 4
    # Nothing in the way of a fresh start.
    lab.lbd.start()
    lab.lbd.wait_up(master=True, slave=True)
    assert curl(lab.client, VIP4) == "master"


def test_interface_replaced_while_lbd_was_dead(bench):
    """The pinned link has lost its interface: the next lbd attaches to the one that has its name now."""
    lab = bench.served(families=(4,))
    lab.lbd.kill9()
    lab.replace_interface(lab.lb)
    assert lab.lbd.attached_mode() is None
    lab.lbd.start()
    lab.lbd.wait_up(master=True, slave=True)
    assert lab.lbd.attached_mode() == "native"
    lab.client.run("ip", "neigh", "flush", "all")
    assert curl_many(lab.client, VIP4, 5) == ["master"] * 5


def test_interface_replaced_while_lbd_runs(bench):
    """lbd notices, says so, and attaches to the interface that has the name now."""
    lab = bench.served(families=(4,))
    lab.replace_interface(lab.lb)
    wait_for(lambda: lab.lbd.attached_mode() == "native", "the program on the new interface")
    lab.client.run("ip", "neigh", "flush", "all")
    wait_for(lambda: curl_many(lab.client, VIP4, 5) == ["master"] * 5, "traffic by the new interface")
    assert "the interface is gone" in lab.lbd.log()


def test_second_lbd_is_kept_out(bench):
    lab = bench.served(families=(4,))
    second = Lbd(lab, lab.lb, lab.lbd.config_file.read_text()).start(wait=False)
    wait_for(lambda: not second.process.alive(), "the second lbd to give up")
    assert second.process.popen.returncode != 0 and second.log().strip()
    assert lab.lbd.process.alive() and curl(lab.client, VIP4) == "master"


def test_reload_applies_the_difference(bench):
    lab = bench.served(families=(4,))
    with Session(lab.client, *echo_on(lab)) as session, Load(lab, lab.client, VIP4) as load:
        program = lab.lbd.program_id()
        lab.lbd.write_config(make_config(lab, services=[{}, {"name": "echo", "ports": [7]}]))
        lab.lbd.lbctl("reload")
        with Session(lab.client, VIP4, 7) as through_vip:
            assert through_vip.server == "master" and through_vip.advances()
            # Taken away again, by signal this time; the service that stays is not disturbed.
            lab.lbd.write_config(make_config(lab))
            lab.lbd.process.signal(1)
            wait_for(lambda: not lab.lbd.metrics().rows("service_packets_total", service="echo"), "the reload")
        assert session.advances()
        assert lab.lbd.program_id() == program
        time.sleep(0.5)
        records = load.stop()
    assert all_ok(records), results(records)


def test_a_changed_check_keeps_the_verdict(bench):
    """Another interval is another check, but not another backend: nobody is out until it has spoken."""
    lab = bench.served(families=(4,))
    with Load(lab, lab.client, VIP4) as load:
        for interval in ("900ms", "300ms", "700ms"):
            lab.lbd.write_config(make_config(lab, check={"interval": interval}))
            lab.lbd.lbctl("reload")
            time.sleep(0.2)
        records = load.stop()
    assert all_ok(records), results(records)
    assert lab.lbd.lbctl_json("backends")["backends"][0]["checks"][0]["state"] == "up"


def echo_on(lab):
    """Starts echo on the nodes and the balancer; returns where the balancer's own is."""
    for name in ("master", "slave", "lb"):
        lab.python_server(lab.nodes[name], "echo", 7)
    return lab.lb.v4, 7


BAD_CONFIGS = {
    "syntax": ("[[service]\n", ":"),
    "unknown key": ('colour = "blue"\n', "colour"),
    "near miss": ('hash_key_fil = "/tmp/key"\n', "hash_key_file"),
    "reserved": ("[ha]\nmode = \"vrrp\"\n", "ha"),
    "limits": ("[limits]\nslots = 2097152\n", "restart"),
}


@pytest.mark.parametrize("how", ["lbctl", "signal"])
def test_bad_reload_changes_nothing(bench, how):
    lab = bench.served(families=(4,))
    good = lab.lbd.config_file.read_text()
    program, services = lab.lbd.program_id(), lab.lbd.lbctl("services").stdout
    with Load(lab, lab.client, VIP4) as load:
        for addition, expected in BAD_CONFIGS.values():
            bad = good + addition if addition.startswith("[") else addition + good
            # Two services fewer and a moved VIP, were it applied.
            lab.lbd.write_config(bad.replace(VIP4, "192.0.2.99"))
            logged = len(lab.lbd.log())
            if how == "lbctl":
                result = lab.lbd.lbctl("reload", check=False)
                assert result.returncode != 0 and expected in result.stderr + result.stdout
            else:
                lab.lbd.process.signal(1)
                wait_for(lambda: expected in lab.lbd.log()[logged:], f"a complaint about {expected!r}")
            assert lab.lbd.process.alive()
        time.sleep(0.5)
        records = load.stop()
    assert all_ok(records), results(records)
    assert lab.lbd.program_id() == program
    assert "192.0.2.99" not in lab.lbd.lbctl("services").stdout and VIP4 in services


def test_session_not_for_a_vip_survives_everything(bench):
    """TCP of others on the same interface, across attach, reload, kill, adoption and detach."""
    lab = bench.served(families=(4,), start=False)
    echo_on(lab)
    with Session(lab.client, lab.lb.v4, 7) as v4, Session(lab.client, lab.lb.v6, 7) as v6:
        def alive(when):
            assert v4.advances() and v6.advances(), f"{when}: {v4.broken or v6.broken or 'silent'}"

        alive("before")
        lab.lbd.start()
        lab.lbd.wait_up(master=True, slave=True)
        alive("attached")
        lab.lbd.write_config(make_config(lab, services=[{}, {"name": "more", "ports": [8000]}]))
        lab.lbd.lbctl("reload")
        alive("reloaded")
        lab.lbd.kill9()
        alive("controller dead")
        lab.lbd.start()
        lab.lbd.wait_up(master=True, slave=True)
        alive("adopted")
        lab.lbd.stop()
        lab.lbd.lbctl("detach", "--all")
        assert lab.lbd.attached_mode() is None
        alive("detached")
        assert v4.server == v6.server == "lb"


def test_two_instances_side_by_side(bench):
    one, two = bench.served(families=(4,)), bench.served(families=(4,))
    for lab in (one, two):
        assert curl(lab.client, VIP4) == "master"
        assert (BPFFS / "fairlead" / lab.lbd.instance).is_dir()
    one.lbd.lbctl("drain", "master")
    wait_for(lambda: curl(one.client, VIP4, check=False) == "slave", "the drain")
    assert curl_many(two.client, VIP4, 5) == ["master"] * 5
    one.lbd.kill9()
    one.lbd.lbctl("detach", "--all")
    assert one.lbd.attached_mode() is None and two.lbd.attached_mode() == "native"
    assert curl_many(two.client, VIP4, 5) == ["master"] * 5
    assert not list((BPFFS / "fairlead" / one.lbd.instance).glob("*"))


def test_cold_start_refuses_nothing_live(bench):
    """Until every check has had its first result the VIP is not answered for: no early refusal of clients."""
    lab = bench.served(families=(4,), start=False)
    with Load(lab, lab.client, VIP4) as load:
        lab.lbd.start()
        lab.lbd.wait_up(master=True, slave=True)
        time.sleep(0.5)
        records = load.stop()
    assert "refused" not in results(records) and "reset" not in results(records), results(records)
    assert records[-1].result == "ok"


def test_generic_attach_says_why(bench):
    """engine = "xdp-generic" forwards too, and every screen says that it is not native."""
    lab = bench.served(families=(4,), nodes={"lb": {"engine": "xdp-generic"}})
    assert lab.lbd.attached_mode() == "generic"
    assert curl_many(lab.client, VIP4, 5) == ["master"] * 5
    assert "generic" in lab.lbd.lbctl("status").stdout


def test_backend_with_a_new_mac_is_followed(bench):
    """A backend whose MAC address changes is followed without a reload."""
    lab = bench.served(families=(4,))
    assert curl(lab.client, VIP4) == "master"
    lab.master.sysctl(**{"net.ipv4.conf.eth0.arp_notify": 1})
    time.sleep(1.2)  # kernels ignore an announcement within a second of the last
    lab.master.batch(["link set eth0 address 02:00:00:00:0b:01"])
    wait_for(lambda: curl(lab.client, VIP4, check=False, max_time=1) == "master" and lab.lbd.up().get("master"),
             "Master under its new MAC", timeout=20)
