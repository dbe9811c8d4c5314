# SPDX-License-Identifier: Apache-2.0
"""lbd as a user of its own, with its capabilities and no others (DESIGN section 10)."""

import json
import os

from lab import VIP4, Lbd, LBCTL, run, wait_for
from test_route import ROUTE, routes
from traffic import curl_many

CAPABILITIES = {"net_admin": 12, "net_raw": 13, "ipc_lock": 14, "sys_nice": 23, "perfmon": 38, "bpf": 39}
USER = 65534


class Unprivileged(Lbd):
    """Runs lbd in a mount namespace of its own, whose run-time folders and BPF file system belong to the user."""

    def start(self, wait=True, prefix=None):
        folder = self.lab.folder / "own"
        for name in ("run", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            os.chown(folder / name, USER, USER)
        for path in (self.lab.folder, folder):
            os.chmod(path, 0o755)
        os.chown(self.config_file, USER, USER)
        os.makedirs("/run/fairlead", exist_ok=True)
        os.makedirs("/var/lib/fairlead", exist_ok=True)
        capabilities = ",".join(f"+{name}" for name in CAPABILITIES)
        script = (f"mount --bind {folder}/run /run/fairlead && mount --bind {folder}/state /var/lib/fairlead && "
                  f"mount -t bpf bpf /sys/fs/bpf && mkdir -m 755 /sys/fs/bpf/fairlead && "
                  f"chown {USER}:{USER} /sys/fs/bpf/fairlead && "
                  f"exec setpriv --reuid {USER} --regid {USER} --clear-groups --bounding-set -all,{capabilities} "
                  f"--inh-caps -all,{capabilities} --ambient-caps -all,{capabilities} --no-new-privs -- \"$@\"")
        return super().start(wait, ["unshare", "--mount", "--", "sh", "-c", script, "sh"])

    def write_config(self, config):
        super().write_config(config.replace(f"{self.lab.folder}/hash.key", "/var/lib/fairlead/hash.key"))

    def lbctl(self, *arguments, check=True, timeout=30):
        return run(["nsenter", "--mount", "--net", f"--target={self.process.pid}", "--", LBCTL, "--instance",
                    self.instance, *arguments], check=check, timeout=timeout)


def program_of(lbd):
    """Sizes of the attached program as the verifier left it, and as the JIT made it."""
    program = json.loads(run(["bpftool", "-j", "prog", "show", "id", lbd.program_id()]).stdout)
    return program["bytes_xlated"], program["bytes_jited"]


def test_own_user_and_capabilities(bench):
    lab = bench.served(families=(4,), head=ROUTE)
    as_root = program_of(lab.lbd)
    assert lab.lbd.stop() == 0
    text = lab.lbd.config_file.read_text()
    lab.lbd.lbctl("detach", "--all")

    lbd = Unprivileged(lab, lab.lb, text, instance=f"{lab.lbd.instance}-own").start()
    lbd.wait_up(master=True, slave=True)
    assert routes(lab.lb) == {VIP4}
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{lbd.process.pid}/status", encoding="ascii")
                  if ":\t" in line)
    assert status["Uid"].split() == [str(USER)] * 4
    mask = sum(1 << bit for bit in CAPABILITIES.values())
    assert int(status["CapEff"], 16) & ~mask == 0 and int(status["CapBnd"], 16) == mask
    assert lbd.attached_mode() == "native"
    assert curl_many(lab.client, VIP4, 10) == ["master"] * 10
    # Without CAP_PERFMON the verifier would add speculation guards, and the program would be longer and slower.
    assert program_of(lbd) == as_root
    assert "native" in lbd.lbctl("status").stdout
    lab.servers["master"].stop()
    lbd.wait_up(master=False, slave=True)
    wait_for(lambda: curl_many(lab.client, VIP4, 3) == ["slave"] * 3, "the Slave")


def test_missing_capability_is_named(bench):
    """Without CAP_BPF and CAP_NET_ADMIN lbd does not start, and says what it lacks."""
    lab = bench.served(families=(4,), start=False)
    lab.lbd.start(wait=False, prefix=["setpriv", "--bounding-set", "-net_admin,-bpf,-sys_admin", "--inh-caps",
                                      "-net_admin,-bpf,-sys_admin", "--"])
    wait_for(lambda: not lab.lbd.process.alive(), "lbd to give up")
    assert lab.lbd.process.popen.returncode != 0
    assert "CAP_" in lab.lbd.log() or "ermi" in lab.lbd.log(), lab.lbd.log()
    assert lab.lbd.attached_mode() is None
