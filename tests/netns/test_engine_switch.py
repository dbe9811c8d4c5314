# SPDX-License-Identifier: Apache-2.0
"""Who steers on an interface that is the kernel's: the XDP program, or lb-dpdk that it feeds. No connection notices when
the one takes over from the other, nor when lb-dpdk is killed: the program steers where nobody listens."""

import os
import signal

import pytest

from lab import LB_DPDK, VIP4, Lbd, curl, make_config, setup_backends, wait_for
from test_take_over import CONNECTIONS, NAMES, TCP_PORT, UDP_PORT, clients, report_of, result_of, serve_numbers

LONGEST_GAP_MS = 1000  # what the machine takes, more than ten times over: 36 were measured
DPDK = "\n[dpdk]\nmemory_mb = 128\n"


def config(lab, **keys):
    return make_config(lab, backends=[{"name": name, "address": lab.nodes[name].v4} for name in NAMES],
                       services=[{"ports": [80, TCP_PORT]}, {"name": "probes", "ports": [UDP_PORT], "protocol": "udp"}],
                       **keys) + DPDK


@pytest.fixture(scope="module")
def lab(module_bench):
    if not LB_DPDK.exists():
        pytest.skip(f"missing: {LB_DPDK}")
    lab = module_bench.lab()
    serve_numbers(lab)
    lab.lbd = Lbd(lab, lab.lb, config(lab)).start()
    lab.lbd.wait_up(master=True, slave=True)
    return lab


def status(lab):
    return lab.lbd.lbctl_json("status", check=False)


def steered_by_dpdk(lab):
    """Packets of services that workers of lb-dpdk have forwarded."""
    rows = lab.lbd.lbctl_json("stats", "--per-core")["cores"]
    return sum(row["steered"] for row in rows if row["engine"] == "dpdk")


def wait_for_dpdk(lab):
    """Until lb-dpdk steers what comes."""
    def steers():
        before = steered_by_dpdk(lab)
        assert curl(lab.client, VIP4) in NAMES
        return steered_by_dpdk(lab) > before
    wait_for(steers, "lb-dpdk to steer", 30, 0.1)


def switch(lab, engine):
    changed = lab.lbd.lbctl_json("engine", "switch", engine)["changed"]
    name = "dpdk" if engine == "dpdk" else "xdp-native"
    assert status(lab)["ports"][0]["engine"] == name
    assert [labels["engine"] for labels, _ in lab.lbd.metrics().rows("engine_info")] == [name]
    return changed


def test_open_connections_go_from_one_engine_to_the_other(lab):
    program = lab.lbd.program_id()
    held = clients(lab, "held", CONNECTIONS)
    probes = clients(lab, "probes", 1, probe_interval_us=1000)
    assert any("lb-dpdk is being started" in line for line in switch(lab, "dpdk"))
    assert lab.lbd.program_id() != program, "replaced under its link"
    wait_for_dpdk(lab)
    later = clients(lab, "later", 50)
    # Killed under load: the program steers until the next one listens.
    wait_for(lambda: steered_by_dpdk(lab) > 2 * CONNECTIONS, "the open connections' packets", 30)
    pid = status(lab)["lb_dpdk"]["pid"]
    os.kill(pid, signal.SIGKILL)
    for _ in range(20):
        assert curl(lab.client, VIP4) in NAMES
    wait_for(lambda: (status(lab)["lb_dpdk"] or {}).get("pid") not in (None, pid), "another lb-dpdk", 30)
    wait_for_dpdk(lab)
    assert any("the XDP program steers" in line for line in switch(lab, "xdp"))
    wait_for(lambda: status(lab)["lb_dpdk"] is None, "the end of lb-dpdk", 30)
    arrived = report_of(probes)["probes"]["arrived_us"]
    gap_ms = max(after - before for before, after in zip(arrived, arrived[1:])) / 1000
    print(f"longest time without an answer, over two switches and a kill: {gap_ms:.1f} ms")
    assert gap_ms < LONGEST_GAP_MS
    for name, process, count in (("held", held, CONNECTIONS), ("later", later, 50)):
        found = result_of(process)
        assert sum(kept for kept, _ in found.values()) == count, (name, found)
        assert all(broken == 0 for _, broken in found.values()), (name, found)


def test_it_outlives_lbd(lab):
    switch(lab, "dpdk")
    wait_for_dpdk(lab)
    pid = status(lab)["lb_dpdk"]["pid"]
    lab.lbd.kill9()
    before = steered_by_dpdk(lab)
    assert curl(lab.client, VIP4) in NAMES
    assert steered_by_dpdk(lab) > before
    # The next one leaves it so, and goes on with the lb-dpdk that is there.
    lab.lbd.start()
    assert status(lab)["ports"][0]["engine"] == "dpdk"
    wait_for_dpdk(lab)
    assert status(lab)["lb_dpdk"]["pid"] == pid
    switch(lab, "xdp")
    wait_for(lambda: status(lab)["lb_dpdk"] is None, "the end of lb-dpdk", 30)
    # Back where the config is: so is the next one.
    lab.lbd.stop()
    lab.lbd.start()
    assert status(lab)["ports"][0]["engine"] == "xdp-native"
    assert curl(lab.client, VIP4) in NAMES


def test_another_engine_in_the_config_wins(lab):
    switch(lab, "dpdk")
    lab.lbd.stop()
    lab.lbd.write_config(config(lab, nodes={"lb": {"engine": "xdp"}}))
    lab.lbd.start()
    assert status(lab)["ports"][0]["engine"] == "xdp-native"
    assert "engine dpdk, set at run time, gives way to the config's new xdp" in lab.lbd.log()
    lab.lbd.stop()
    lab.lbd.write_config(config(lab))
    lab.lbd.start()
    assert status(lab)["ports"][0]["engine"] == "xdp-native", "it does not come back"


def test_what_cannot_be_switched_is_said(lab, bench):
    refused = lab.lbd.lbctl("engine", "switch", "frob", check=False)
    assert refused.returncode != 0 and "dpdk" in refused.stderr
    # A device of DPDK's.
    other = bench.lab()
    other.nginx(other.master)
    setup_backends(other, "l2dsr", (4,), names=("master",))
    head = '[dpdk]\nsupervise = false\n[[dpdk.port]]\ninterface = "eth0"\ndevice = "net_af_packet0,iface=eth0"\n'
    text = make_config(other, nodes={"lb": {"engine": "dpdk"}}, head=head,
                       backends=[{"name": "master", "address": other.master.v4}])
    lbd = Lbd(other, other.lb, text).start()
    for engine in ("xdp", "dpdk"):
        refused = lbd.lbctl("engine", "switch", engine, check=False)
        assert refused.returncode != 0 and "eth0 has a [[dpdk.port]]" in refused.stderr and "restart" in refused.stderr
    port = lbd.lbctl_json("status", check=False)["ports"][0]
    assert port["engine"] == "dpdk" and not port["attached"], "lb-dpdk does not run here"
    assert lbd.attached_mode() is None
