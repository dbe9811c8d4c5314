# SPDX-License-Identifier: Apache-2.0
"""What an installation puts where, and whether systemd and a fresh BPF file system agree with the units."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.smoke

BUILD = pathlib.Path(os.environ.get("FAIRLEAD_BUILD_DIR", SOURCE / "build"))
CAPABILITIES = {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_NICE", "CAP_IPC_LOCK"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An installation under a folder of its own."""
    root = tmp_path_factory.mktemp("root")
    subprocess.run(["meson", "install", "--no-rebuild", "-C", BUILD, "--destdir", root, "--quiet"], check=True,
                   capture_output=True, text=True)
    return root


def settings(unit):
    """Key -> list of values of a unit file."""
    found = {}
    for line in unit.read_text().splitlines():
        match = re.match(r"([A-Za-z]+)=(.*)", line)
        if match:
            found.setdefault(match[1], []).append(match[2])
    return found


def units(root, program="fairlead"):
    return [root / "usr/lib/systemd/system" / name for name in (f"{program}.service", f"{program}@.service")]


def test_everything_has_its_place(installed):
    for path in ("usr/lib/systemd/system/fairlead.service", "usr/lib/systemd/system/fairlead@.service",
                 "usr/lib/sysusers.d/fairlead.conf", "usr/share/man/man8/lbd.8", "usr/share/man/man8/lbctl.8",
                 "usr/share/man/man8/lb-dpdk.8", "usr/lib/systemd/system/lb-dpdk.service",
                 "usr/share/bash-completion/completions/lbctl", "usr/share/doc/fairlead/examples/minimal.toml"):
        assert (installed / path).exists() or (installed / (path + ".gz")).exists(), path
    # An operator's own file must survive an installation: nothing is put there.
    assert list((installed / "etc/fairlead").iterdir()) == []


def test_units_run_as_the_user_with_the_capabilities_of_the_design(installed):
    for unit in units(installed):
        values = settings(unit)
        assert values["User"] == ["fairlead"] and values["Group"] == ["fairlead"]
        assert set(values["AmbientCapabilities"][0].split()) == CAPABILITIES
        assert set(values["CapabilityBoundingSet"][0].split()) == CAPABILITIES
        # /sys must stay writable for the pins, and a stop must leave what forwards alone.
        assert "ProtectKernelTunables" not in values
        assert values["KillMode"] == ["process"]
        assert "@BINDIR@" not in unit.read_text()


def test_lb_dpdk_leaves_the_folder_to_lbd(installed):
    """systemd gives a RuntimeDirectory to the unit's user: lbd's socket would be out of its group's reach."""
    for unit in units(installed, "lb-dpdk"):
        values = settings(unit)
        assert "RuntimeDirectory" not in values and "User" not in values
        assert "@BINDIR@" not in unit.read_text()


def test_systemd_accepts_the_units(installed, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for unit in units(installed) + units(installed, "lb-dpdk"):
        copy = tmp_path / unit.name.replace("@.", "@one.")
        # The programs need not be on this machine for the unit to be right.
        copy.write_text(re.sub("/usr/bin/(lbd|lb-dpdk)", "/bin/true", unit.read_text()))
        # Nor its manual: systemd wants to see that too.
        copy.write_text("".join(line for line in copy.read_text().splitlines(True) if not line.startswith("Documentation=")))
        result = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True)
        assert result.returncode == 0 and result.stderr == "", result.stderr


def test_the_first_command_opens_the_bpf_file_system_to_the_user(installed):
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a BPF file system in a mount namespace of its own")
    for unit in units(installed):
        command = settings(unit)["ExecStartPre"][0]
        shell = re.fullmatch(r"\+/bin/sh -c '(.*)'", command)[1]
        # The user is `nobody` here, since the real one need not exist; the rest is the unit's own line, run twice.
        shell = shell.replace("fairlead:fairlead", "nobody:nogroup")
        script = f"""set -e
            mount -t bpf -o mode=700 bpf /sys/fs/bpf
            ({shell}) && ({shell})
            stat -c %a:%U /sys/fs/bpf /sys/fs/bpf/fairlead
            setpriv --reuid nobody --regid nogroup --clear-groups mkdir /sys/fs/bpf/fairlead/one
            ! setpriv --reuid nobody --regid nogroup --clear-groups ls /sys/fs/bpf 2>/dev/null"""
        result = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert result.stdout.split() == ["1701:root", "750:nobody"]


def test_alerts_and_dashboard_name_reasons_that_there_are():
    """A reason that is renamed would silence its alert."""
    known = set(re.findall(r'X\([A-Z_0-9]+, [A-Z]+, "([a-z0-9_]+)"', (SOURCE / "dataplane/core/reasons.h").read_text()))
    refusals = set(re.findall(r'X\(k[A-Za-z]+, "([a-z0-9_]+)"', (SOURCE / "ctl/sync/session.h").read_text()))
    assert "not_vip" in known and "mac" in refusals
    known |= refusals
    named = set()
    for name in ("prometheus-alerts.yml", "grafana-dashboard.json"):
        text = (SOURCE / "config" / name).read_text().replace("\\", "")
        for reasons in re.findall(r'(?:reason|kind)=~?"([a-z0-9_|]+)"', text):
            named |= set(reasons.split("|"))
    assert named and named <= known
