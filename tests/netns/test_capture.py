# SPDX-License-Identifier: Apache-2.0
"""lbctl capture: what goes through the XDP program, as tshark reads it; and lbctl stats --per-core."""

import json
import re
import signal
import struct

import pytest

from lab import BPFFS, LBCTL, VIP4, curl, run, wait_for
from traffic import curl_many, tcp_connect

CAPTURE_WORD = 120  # where fl_meta.capture_until_ns stands


@pytest.fixture(scope="module")
def lab(module_bench):
    return module_bench.served("ipip", (4,))


def begin(lab, *arguments):
    """A capture that has begun."""
    process = lab.lb.popen("capture", LBCTL, "--instance", lab.lbd.instance, *arguments)
    wait_for(lambda: "capturing" in process.output() or not process.alive(), "the capture")
    assert process.alive(), process.output()
    return process


def finish(process):
    process.signal(signal.SIGINT)
    assert process.popen.wait(10) == 0, process.output()


def packets(lab):
    return sum(service["packets"] for service in lab.lbd.lbctl_json("services")["services"])


def rows(file, *fields):
    """A list of the fields' values for each packet of the file; a field that occurs twice is 'outer,inner'."""
    options = [option for field in fields for option in ("-e", field)]
    result = run(["tshark", "-r", file, "-T", "fields", "-E", "separator=|", *options], timeout=60)
    assert "cut short" not in result.stderr and "malformed" not in result.stderr.lower(), result.stderr
    return [line.split("|") for line in result.stdout.splitlines()]


def until_word(lab):
    """Until when packets are captured; 0: none are."""
    pin = BPFFS / "fairlead" / lab.lbd.instance / "meta"
    found = json.loads(run(["bpftool", "-j", "map", "lookup", "pinned", pin, "key", "0", "0", "0", "0"]).stdout)
    value = bytes(int(byte, 16) for byte in found["value"])
    return struct.unpack_from("<Q", value, CAPTURE_WORD)[0]


@pytest.mark.smoke
def test_tshark_reads_every_packet_before_and_after(lab, tmp_path):
    file = tmp_path / "web.pcapng"
    before = packets(lab)
    process = begin(lab, "capture", "-w", file, "port", "80")  # and not the ARP before it
    assert curl_many(lab.client, VIP4, 5) == ["master"] * 5
    finish(process)
    steered = packets(lab) - before
    found = rows(file, "frame.comment", "frame.interface_name", "ip.src", "ip.dst", "ip.proto", "ip.ttl", "tcp.flags.syn")
    assert steered >= 5 * 4 and len(found) == 2 * steered
    assert f"{steered} packets captured of {steered} that matched; 0 not kept" in process.output()
    for (said, interface, source, destination, protocol, ttl, syn), after in zip(found[::2], found[1::2]):
        assert said == "before: forward to master (192.0.2.11) by ipip, service web"
        assert after[0] == "after: transmit by eth0, to master (192.0.2.11) by ipip, service web"
        assert interface == after[1] == "eth0"
        assert (source, destination, protocol) == (lab.client.v4, VIP4, "6")
        assert after[2:5] == [f"{lab.lb.v4},{source}", f"192.0.2.11,{destination}", "4,6"]
        assert after[5].split(",")[1] == str(int(ttl) - 1) and after[6] == syn
    assert sum(row[6] in ("1", "True") for row in found[::2]) == 5


def test_times_are_of_the_clock_and_the_program_names_itself(lab, tmp_path):
    file = tmp_path / "one.pcapng"
    process = begin(lab, "capture", "-w", file, "--count", "1")
    assert curl(lab.client, VIP4) == "master"
    assert process.popen.wait(10) == 0, process.output()
    now = float(run(["date", "+%s.%N"]).stdout)
    times = [float(row[0]) for row in rows(file, "frame.time_epoch")]
    assert len(times) == 2 and now - 60 < times[0] <= times[1] < now + 1
    said = run(["capinfos", file]).stdout
    assert "Fairlead" in said and "nanoseconds" in said, said


def test_to_a_program_that_reads_along(lab):
    """`-w -`, and the reader goes away first."""
    reader = lab.lb.popen("reader", "sh", "-c",
                          f"{LBCTL} --instance {lab.lbd.instance} capture -w - | tshark -l -c 1 -r - -T fields -e frame.comment")
    wait_for(lambda: "capturing" in reader.output(), "the capture")
    assert curl_many(lab.client, VIP4, 3) == ["master"] * 3
    reader.popen.wait(20)
    assert "before: forward to master" in reader.output()


@pytest.mark.parametrize("words, seen", [
    (["vip", VIP4, "port", "80", "protocol", "tcp", "backend", "master"], {"forward"}),
    (["client", "192.0.2.0/24", "verdict", "forward"], {"forward"}),
    (["client", "198.51.100.0/24"], set()),
    (["backend", "slave"], set()),
    (["reason", "reset"], {"answer"}),
    (["port", "99"], {"answer"}),
    (["protocol", "udp"], set())])
def test_a_filter_shows_that_alone(lab, words, seen):
    process = begin(lab, "-o", "json", "capture", *words)
    assert curl(lab.client, VIP4) == "master"
    assert tcp_connect(lab.client, VIP4, 99) == "refused"
    finish(process)
    objects = [json.loads(line) for line in process.output().splitlines() if line.startswith("{")]
    assert {o["verdict"] for o in objects if o["stage"] == "before"} == seen
    assert all((o["backend"], o["service"]) == ("master", "web") for o in objects if o["verdict"] == "forward")


def test_lines_on_a_terminal(lab):
    process = begin(lab, "capture", "--count", "2", "verdict", "forward")
    assert curl(lab.client, VIP4) == "master"
    assert process.popen.wait(10) == 0, process.output()
    lines = [line for line in process.output().splitlines() if "eth0" in line]
    assert len(lines) == 4
    assert re.match(rf"\d\d:\d\d:\d\d\.\d{{9}}Z before eth0  {re.escape(lab.client.v4)}:\d+ > {re.escape(VIP4)}:80 tcp SYN, "
                    r"\d+ bytes: forward to master \(192\.0\.2\.11\) by ipip, service web$", lines[0]), lines
    assert re.search(rf"after  eth0  {re.escape(lab.lb.v4)} > 192\.0\.2\.11 tunnel \| ", lines[1]), lines


@pytest.mark.parametrize("words, wrong", [(["port"], "port"), (["port", "none"], "none"), (["host", "192.0.2.1"], "host"),
                                          (["vip", "192.0.2.77"], "192.0.2.77"), (["backend", "nobody"], "nobody"),
                                          (["reason", "bad_luck"], "bad_luck")])
def test_a_bad_filter_is_a_usage_error(lab, words, wrong):
    result = lab.lbd.lbctl("capture", *words, check=False)
    assert result.returncode == 2 and wrong in result.stderr and not result.stdout
    assert until_word(lab) == 0


def test_a_file_that_cannot_be_written(lab, tmp_path):
    result = lab.lbd.lbctl("capture", "-w", tmp_path / "nowhere" / "a.pcapng", check=False)
    assert result.returncode == 1 and "nowhere" in result.stderr
    assert until_word(lab) == 0


def test_one_at_a_time_and_kill_9_ends_it(lab):
    first = begin(lab, "capture", "--count", "100000")
    assert until_word(lab) > 0
    second = lab.lbd.lbctl("capture", "--count", "1", check=False)
    assert second.returncode == 1 and "one can at a time" in second.stderr
    first.kill()

    def ended():
        assert curl(lab.client, VIP4) == "master"
        return until_word(lab) == 0
    wait_for(ended, "the end of the capture", timeout=15, poll=0.2)
    third = begin(lab, "capture", "--count", "1")
    assert curl(lab.client, VIP4) == "master"
    assert third.popen.wait(10) == 0, third.output()


def test_sampled_and_bounded(lab):
    process = begin(lab, "capture", "--sample", "4")
    assert curl_many(lab.client, VIP4, 8) == ["master"] * 8
    finish(process)
    captured, matched = map(int, re.search(r"(\d+) packets? captured of (\d+) that", process.output()).groups())
    assert matched >= 8 * 4 and 0 < captured <= matched // 4 + 2  # each CPU counts for itself
    process = begin(lab, "capture", "--rate", "4")
    assert curl_many(lab.client, VIP4, 20) == ["master"] * 20
    finish(process)
    captured, matched, limited = map(int, re.search(r"(\d+) packets? captured of (\d+) that matched; (\d+) not kept",
                                                    process.output()).groups())
    assert captured + limited == matched and limited > 0


def test_it_works_without_lbd(lab):
    lab.lbd.kill9()
    try:
        process = begin(lab, "capture", "--count", "1")
        assert "controller down" in process.output()
        assert curl(lab.client, VIP4) == "master"
        assert process.popen.wait(10) == 0, process.output()
        assert "forward to master" in process.output()
    finally:
        lab.lbd.start()


def test_stats_per_core(lab):
    def cores():
        return lab.lbd.lbctl_json("stats", "--per-core")["cores"]
    before = sum(core["steered"] for core in cores())
    served = packets(lab)
    assert curl_many(lab.client, VIP4, 5) == ["master"] * 5
    after = cores()
    assert sum(core["steered"] for core in after) - before == packets(lab) - served > 0
    assert all(core["engine"] == "xdp" and core["running"] is None for core in after)
    for core in after:
        assert core["packets"] == sum(core[key] for key in ("steered", "passed", "answered", "dropped", "handed"))
    text = lab.lbd.lbctl("stats", "--per-core").stdout
    assert "cpu 0" in text and "STEERED" in text
