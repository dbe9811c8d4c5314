# SPDX-License-Identifier: Apache-2.0
"""What the operator sees and does: lbctl, metrics, logs."""

import json
import re

import pytest

from lab import LBCTL, LBD, VIP4, curl, run, wait_for
from traffic import curl_many, http_from

ONE_TIER = [{"name": "master", "address": "192.0.2.11"}, {"name": "slave", "address": "192.0.2.12"}]


@pytest.fixture(scope="module")
def lab(module_bench):
    """Two backends of one tier; the tests put back what they change."""
    return module_bench.served(families=(4,), backends=ONE_TIER)


FIELDS = {  # docs/api.md; a field may be added, none may go
    "status": {"instance", "node", "version", "controller", "config", "role", "ports", "ways", "pools", "tables",
               "tables_bytes", "hash_key_id"},
    "services": {"name", "vip", "port", "protocol", "pool", "state", "backends", "eligible", "packets", "bytes", "syns"},
    "backends": {"pool", "name", "address", "tier", "weight", "configured_weight", "forward", "state", "eligible",
                 "in_use", "reason", "drained", "leaving", "slots", "pool_slots", "mtu", "next_hop", "checks", "packets", "bytes",
                 "syns"},
    "counters": {"passed", "answered", "dropped", "handed"},
    "transitions": {"slots_in_transition", "pins", "events", "pools"},
}


@pytest.mark.parametrize("command", FIELDS)
def test_tables_and_json(lab, command):
    text = lab.lbd.lbctl(command).stdout
    assert text.strip() and not text.lstrip().startswith("{")
    data = lab.lbd.lbctl_json(command)
    objects = data[command] if command in ("services", "backends") else [data]
    assert objects and all(FIELDS[command] <= item.keys() for item in objects), FIELDS[command] - objects[0].keys()


def test_stats(lab):
    curl_many(lab.client, VIP4, 5)
    text = lab.lbd.lbctl("stats").stdout
    assert "master" in text and "slave" in text and "web" in text


def test_status_names_what_matters(lab):
    text = lab.lbd.lbctl("status").stdout
    assert lab.lbd.instance in text and "eth0" in text and "native" in text
    status = lab.lbd.lbctl_json("status")
    assert status["controller"]["running"] is True and status["controller"]["pid"] == lab.lbd.process.pid
    assert [(p["interface"], p["engine"], p["attached"]) for p in status["ports"]] == [("eth0", "xdp-native", True)]


def test_backends_show_health_and_next_hop(lab):
    text = lab.lbd.lbctl("backends").stdout
    assert re.search(r"master.*192\.0\.2\.11", text) and re.search(r"slave.*192\.0\.2\.12", text)
    backends = {b["name"]: b for b in lab.lbd.lbctl_json("backends")["backends"]}
    for name, backend in backends.items():
        assert backend["state"] == "healthy" and backend["eligible"] and backend["in_use"]
        assert backend["next_hop"]["mac"] == lab.nodes[name].mac and backend["next_hop"]["resolved"]
        assert backend["checks"][0]["state"] == "up" and backend["checks"][0]["last_ms"] > 0
    assert sum(b["slots"] for b in backends.values()) == backends["master"]["pool_slots"]


def test_counters_agree_with_metrics(lab):
    curl_many(lab.client, VIP4, 5)
    rows = {r["reason"]: r["packets"] for r in lab.lbd.lbctl_json("counters")["dropped"]}
    metrics = {labels["reason"]: value for labels, value in lab.lbd.metrics().rows("drops_total")}
    assert rows.keys() == metrics.keys() and "no_neighbour" in rows
    served = sum(b["syns"] for b in lab.lbd.lbctl_json("backends")["backends"])
    assert served == lab.lbd.metrics().total("backend_syns_total") == \
        sum(len(server.requests(VIP4)) for server in lab.servers.values())


def test_drain_and_undrain(lab):
    logged = len(lab.lbd.log())
    lab.lbd.lbctl("drain", "slave")
    wait_for(lambda: set(curl_many(lab.client, VIP4, 20)) == {"master"}, "the drain")
    assert lab.lbd.metrics().total("backend_eligible", backend="slave") == 0
    assert lab.lbd.metrics().total("backend_up", backend="slave") == 1
    assert "drain" in lab.lbd.lbctl("backends").stdout
    # The log says who did it.
    assert re.search(r"slave.*uid.?0|uid.?0.*slave", lab.lbd.log()[logged:])
    lab.lbd.lbctl("undrain", "slave")
    wait_for(lambda: set(curl_many(lab.client, VIP4, 20)) == {"master", "slave"}, "the return")


def test_weight(lab):
    lab.lbd.lbctl("weight", "slave", "0")
    wait_for(lambda: set(curl_many(lab.client, VIP4, 20)) == {"master"}, "weight 0")
    lab.lbd.lbctl("weight", "slave", "100")
    wait_for(lambda: set(curl_many(lab.client, VIP4, 20)) == {"master", "slave"}, "weight 100")
    assert lab.lbd.metrics().total("backend_weight", backend="slave") == 100


@pytest.mark.parametrize("arguments, code", [
    (["drain", "nobody"], {1}), (["drain", "nobody", "--wait"], {1}), (["drain", "slave", "--timeout", "3"], {2}),
    (["plan", "/nowhere/fairlead.toml"], {2}), (["failback", "nowhere"], {1}), (["weight", "slave", "many"], {1, 2}), (["weight", "slave", "70000"], {1, 2}),
    (["frobnicate"], {2}), ([], {2}), (["explain", "nonsense", "192.0.2.10:80"], {1, 2})])
def test_wrong_commands_fail_and_say_why(lab, arguments, code):
    result = lab.lbd.lbctl(*arguments, check=False)
    assert result.returncode in code and (result.stderr or result.stdout).strip()
    assert set(curl_many(lab.client, VIP4, 20)) == {"master", "slave"}


def test_explain_agrees_with_what_happens(lab):
    """The backend that explain names is the one that answers, for two dozen source ports."""
    chosen = set()
    for port in range(42000, 42024):
        text = lab.lbd.lbctl("-o", "json", "explain", f"{lab.client.v4}:{port}", f"{VIP4}:80").stdout
        server = http_from(lab.client, VIP4, port)
        other = "slave" if server == "master" else "master"
        assert f'"{server}"' in text and f'"{other}"' not in text, f"{port}: {server} answered; {text}"
        assert lab.nodes[server].mac in text
        chosen.add(server)
    assert chosen == {"master", "slave"}


def test_explain_what_is_not_served(lab):
    assert "unlisted" in lab.lbd.lbctl("explain", f"{lab.client.v4}:42000", f"{VIP4}:99", check=False).stdout.lower() \
        or "no service" in lab.lbd.lbctl("explain", f"{lab.client.v4}:42000", f"{VIP4}:99", check=False).stdout.lower()


def test_promtool_accepts_the_metrics(lab):
    curl(lab.client, VIP4)
    text = lab.lbd.metrics_text()
    result = run(["promtool", "check", "metrics"], input=text, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr.strip(), result.stderr


def test_metric_names_and_labels(lab):
    """Names and labels are a promise to dashboards."""
    curl_many(lab.client, VIP4, 5)
    lab.client.run("curl", "-s", "--max-time", "1", f"http://{VIP4}:99/", check=False)
    metrics = lab.lbd.metrics()
    promised = {
        "service_packets_total": {"service", "vip", "port", "protocol"},
        "service_bytes_total": {"service", "vip", "port", "protocol"},
        "service_syns_total": {"service", "vip", "port", "protocol"},
        "backend_packets_total": {"pool", "backend", "address", "tier"},
        "backend_bytes_total": {"pool", "backend", "address", "tier"},
        "backend_syns_total": {"pool", "backend", "address", "tier"},
        "backend_up": {"pool", "backend"}, "backend_weight": {"pool", "backend"}, "backend_eligible": {"pool", "backend"},
        "check_failures_total": {"pool", "backend"},
        "passed_packets_total": set(), "answered_packets_total": {"kind"}, "drops_total": {"reason"},
        "slots_in_transition": {"pool"}, "pins": {"state"}, "pin_inserts_total": set(), "pin_evictions_total": {"state"},
        "previous_packets_total": set(), "table_used": {"table"}, "table_size": {"table"}, "engine_info": set(), "build_info": set(),
    }
    for name, labels in promised.items():
        rows = metrics.rows(name)
        assert rows, f"fairlead_{name} is missing"
        assert all(labels <= row.keys() for row, _ in rows), f"fairlead_{name}: {rows[0][0]}"
    assert "fairlead_check_duration_seconds" in lab.lbd.metrics_text()
    assert metrics.total("answered_packets_total", kind="reset") >= 1


def test_checks_are_logged_once_a_change(lab):
    logged = len(lab.lbd.log())
    lab.servers["slave"].stop()
    lab.lbd.wait_up(slave=False)
    lab.servers["slave"].start()
    lab.lbd.wait_up(slave=True)
    lines = [line for line in lab.lbd.log()[logged:].splitlines()
             if "slave" in line or "192.0.2.12" in line]
    assert 2 <= len(lines) <= 8, lines
    assert any("up -> down" in line for line in lines) and any("down -> up" in line for line in lines)
    assert "hash.key" not in lab.lbd.log() or (lab.folder / "hash.key").read_text().strip() not in lab.lbd.log()


@pytest.mark.parametrize("program", ["lbd", "lbctl"])
def test_config_check(lab, tmp_path, program):
    command = [LBD, "--check", "--config"] if program == "lbd" else [LBCTL, "config", "check"]
    good = run([*command, lab.lbd.config_file], check=False)
    assert good.returncode == 0, good.stdout + good.stderr
    bad = tmp_path / "bad.toml"
    text = lab.lbd.config_file.read_text().replace("ports = [80]", "ports = [80808]").replace('tcp"', 'tpc"')
    bad.write_text(text)
    result = run([*command, bad], check=False)
    complaint = result.stdout + result.stderr
    assert result.returncode != 0
    for wrong in ("80808", '"tpc"'):
        line = next(number for number, line in enumerate(text.splitlines(), 1) if wrong in line)
        assert re.search(rf"{re.escape(str(bad))}:{line}:\d+: ", complaint), complaint


def test_config_diff(lab, tmp_path):
    """0: the same, 1: what differs, 2: errors with their place; what runs is not touched."""
    running = lab.lbd.config_file.read_text()
    other = tmp_path / "other.toml"

    def diff(text):
        other.write_text(text)
        result = lab.lbd.lbctl("config", "diff", other, check=False)
        return result.returncode, result.stdout

    assert diff(running) == (0, "no difference\n")
    code, said = diff(running.replace("ports = [80]", "ports = [80, 443]"))
    assert code == 1 and "port 443 added" in said
    code, said = diff(running.replace("ports = [80]", "ports = [80808]"))
    line = next(number for number, text in enumerate(running.splitlines(), 1) if "ports = [80]" in text)
    assert code == 2 and re.search(rf"^{re.escape(str(other))}:{line}:\d+: .*80808", said)
    said = lab.lbd.lbctl_json("config", "diff", other, check=False)
    assert said["good"] is False and said["errors"][0]["line"] == line
    assert lab.lbd.lbctl("config", "diff", tmp_path / "none.toml", check=False).returncode == 2
    assert diff(running) == (0, "no difference\n")


def test_plan(lab, tmp_path):
    """0: nobody is cut off, 1: somebody is, 2: errors; what runs is not touched."""
    running = lab.lbd.config_file.read_text()
    other = tmp_path / "other.toml"

    def plan(text, *arguments):
        other.write_text(text)
        result = lab.lbd.lbctl("-o", "json", "plan", other, *arguments, check=False)
        return result.returncode, json.loads(result.stdout)

    code, said = plan(running)
    assert code == 0 and said["changes"] == [] and said["cut"] == []
    assert said["pools"] == [{"name": "web", "slots": 1024, "slots_moved": 0, "leave": []}]
    one = running[:running.index('[[pool.backend]]\nname = "slave"')] + running[running.index("[[service]]"):]
    code, said = plan(one)
    assert code == 0 and said["cut"] == [] and said["pools"][0]["leave"] == ["slave"]
    assert 400 < said["pools"][0]["slots_moved"] < 624
    code, said = plan(one, "--now")
    assert code == 1 and said["cut"]
    code, said = plan(running.replace("ports = [80]", "ports = [81]"))
    assert code == 1 and said["cut"], "the service that goes has connections"
    code, said = plan(running.replace("ports = [80]", "ports = [80808]"))
    assert code == 2 and said["good"] is False and said["errors"]
    text = lab.lbd.lbctl("plan", other.with_name("other.toml"), check=False).stdout
    assert "80808" in text
    other.write_text(one)
    text = lab.lbd.lbctl("plan", other).stdout
    assert "slave" in text and "cut: none" in text
    assert not any(row["leaving"] for row in lab.lbd.lbctl_json("backends")["backends"])


@pytest.mark.parametrize("program", [LBD, LBCTL])
def test_help_and_version(program):
    for option in ("--help", "--version"):
        result = run([program, option], check=False)
        assert result.returncode == 0 and result.stdout.strip()
