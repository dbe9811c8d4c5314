# SPDX-License-Identifier: Apache-2.0
"""scripts/bootstrap with stand-ins for Debian's tools, and a /usr/sbin of its own in a mount namespace."""
import os
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
BOOTSTRAP = SOURCE / "scripts/bootstrap"
pytestmark = [pytest.mark.smoke,
              pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a mount namespace with its own /usr/sbin")]

FAKE = {
    # Everything is installed but what $MISSING names.
    "dpkg-query": """for package in "$@"; do
            case " $MISSING -W -f=*" in *" $package "*) ;; *) printf 'installed:%s ' "$package" ;; esac
        done; exit 1""",
    "apt-get": """echo "apt-get $*" >>"$LOG"
        [ "$1" = install ] || exit 0
        if [ -x /usr/sbin/policy-rc.d ]; then /usr/sbin/policy-rc.d; echo "policy $?" >>"$LOG"; fi
        echo "runlevel $RUNLEVEL" >>"$LOG"
        case "$BEHAVIOUR" in fail) exit 100 ;; killed) kill -TERM "$PPID"; sleep 1 ;; esac""",
    "systemctl": 'echo "systemctl $*" >>"$LOG"',
}


@pytest.fixture
def run(tmp_path):
    """run(command, missing, behaviour, policy) -> (exit code, log, policy-rc.d's text afterwards, or None)."""
    for name, text in FAKE.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    sbin, log = tmp_path / "sbin", tmp_path / "log"
    sbin.mkdir()
    log.touch()

    def run(command, missing="", behaviour="", policy=None):
        if policy:
            (sbin / "policy-rc.d").write_text(policy)
            (sbin / "policy-rc.d").chmod(0o755)
        environment = dict(os.environ, PATH=f"{tmp_path}:/usr/bin:/bin", LOG=str(log), MISSING=missing, BEHAVIOUR=behaviour)
        result = subprocess.run(["unshare", "-m", "sh", "-c", f"mount --bind {sbin} /usr/sbin && exec {BOOTSTRAP} {command}"],
                                env=environment, capture_output=True, text=True)
        after = sbin / "policy-rc.d"
        return result.returncode, log.read_text(), after.read_text() if after.exists() else None

    return run


def test_nothing_missing_touches_nothing(run):
    assert run("test") == (0, "", None)


def test_only_what_is_missing_is_installed_without_recommends_and_without_starting(run):
    code, log, policy = run("test", missing="wrk meson")
    assert code == 0
    lines = log.splitlines()
    assert lines[0].startswith("apt-get update")
    assert "--no-install-recommends" in lines[1] and lines[1].endswith(" meson wrk")
    assert lines[2:] == ["policy 101", "runlevel 1"]
    assert policy is None


def test_a_new_service_does_not_come_up_at_boot_either(run):
    _, log, _ = run("test", missing="haproxy nginx-light wrk")
    assert [line for line in log.splitlines() if line.startswith("systemctl")] == [
        "systemctl disable --quiet nginx.service", "systemctl disable --quiet haproxy.service"]


@pytest.mark.parametrize("behaviour", ["fail", "killed"])
def test_the_policy_goes_away_when_the_installation_does_not_end_well(run, behaviour):
    code, log, policy = run("build", missing="meson", behaviour=behaviour)
    assert code != 0 and "policy 101" in log and policy is None


def test_the_machine_owners_policy_stays(run):
    mine = "#!/bin/sh\nexit 42\n"
    code, log, policy = run("build", missing="meson", policy=mine)
    assert code == 0 and "policy 42" in log and policy == mine


def test_each_command_installs_its_own_set():
    def packages(command):
        return set(subprocess.run([BOOTSTRAP, command, "--list"], capture_output=True, text=True, check=True).stdout.split())

    assert packages("build") < packages("demo") < packages("test")
    assert packages("build") < packages("vm") < packages("test") < packages("lint")
    assert "libgtest-dev" not in packages("demo") and "qemu-system-x86" not in packages("demo")
    assert "nginx-light" in packages("demo") and "nginx-light" not in packages("build")
