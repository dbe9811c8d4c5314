# SPDX-License-Identifier: Apache-2.0
"""An emulated machine that runs Debian's own kernel and a program of ours inside.

The kernel comes from Debian's package, unpacked into a cache below the build folder and never installed. The
guest's root is the host's, shared read-only, with a layer of memory over it: whatever runs on the host runs in the
guest, and nothing that it writes lasts. Results come over the second serial port, a line each:

    VMTEST <name> ok|FAIL [detail]

Nothing here needs root, and nothing is left behind except the cache.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
KERNEL_SERIES = "6.1"
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "veth")
# For the guest program to load, from /run/modules.
LATER_MODULES = ("ipip", "ip6_tunnel", "tun", "virtio_net", "vfio_iommu_type1", "vfio-pci")
DOWNLOAD_LIMIT_S = 300


class MachineError(RuntimeError):
    """The machine could not be built or did not come up."""


@dataclass
class Outcome:
    """What came out of one run: results in the order they were reported, and both logs for the reader of a failure."""

    results: dict[str, tuple[bool, str]] = field(default_factory=dict)
    complete: bool = False  # the guest said "end"; otherwise it crashed, hung or was stopped
    exit_code: int | None = None
    seconds: float = 0.0
    console: str = field(default="", repr=False)
    report: str = field(default="", repr=False)


    def check(self, name: str) -> None:
        assert name in self.results, "the guest did not report it"
        ok, detail = self.results[name]
        assert ok, detail

    def check_end(self, names) -> None:
        """It ran to its end, and reported these and nothing else."""
        assert self.complete, "the machine ended or was stopped before the guest program did"
        assert self.exit_code == 0
        assert set(self.results) == {"boot", *names}


def build_folder() -> Path:
    return Path(os.environ.get("FAIRLEAD_BUILD_DIR", PROJECT_ROOT / "build")).resolve()


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S)
    if done.returncode != 0:
        raise MachineError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


# --- kernel -----------------------------------------------------------------------------------------------------------


def kernel_package() -> str | None:
    """The package that linux-image-amd64 stands for today; None without apt's lists."""
    try:
        listing = _run(["apt-cache", "depends", "linux-image-amd64"])
    except (OSError, MachineError):
        return None
    found = re.search(rf"Depends: (linux-image-{re.escape(KERNEL_SERIES)}\.\S+)", listing)
    return found.group(1) if found else None


def kernel_folder(cache: Path) -> Path:
    """A folder with vmlinuz and modules/, downloaded when the cache has none."""
    package = kernel_package()
    # Another list of modules is another folder.
    contents = zlib.crc32(" ".join(BOOT_MODULES + LATER_MODULES).encode())
    if package is None:
        cached = sorted(cache.glob(f"linux-image-{KERNEL_SERIES}.*-{contents:08x}/vmlinuz"))
        if not cached:
            raise MachineError(f"apt knows no Debian kernel {KERNEL_SERIES}: run apt-get update")
        return cached[-1].parent
    folder = cache / f"{package}-{contents:08x}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="unpack-") as scratch:
            _unpack_kernel(package, Path(scratch), folder)
    return folder


def _unpack_kernel(package: str, scratch: Path, folder: Path) -> None:
    """Downloads and unpacks the package, and moves what the machine needs into place in one step."""
    # 0755, so that apt's own user can write there when root runs this.
    scratch.chmod(0o755)
    _run(["apt-get", "download", package], cwd=scratch)
    archive = next(scratch.glob("*.deb"))
    tree = scratch / "tree"
    _run(["dpkg-deb", "-x", str(archive), str(tree)])
    files = {path.stem: path for path in tree.glob("lib/modules/*/kernel/**/*.ko")}
    ready = scratch / "ready"
    (ready / "modules").mkdir(parents=True)
    boot, everything = module_order(files, BOOT_MODULES), module_order(files, BOOT_MODULES + LATER_MODULES)
    for name in everything:
        shutil.copy(files[name], ready / "modules")
    (ready / "boot").write_text(" ".join(boot))
    (ready / "later").write_text(" ".join(name for name in everything if name not in boot))
    shutil.copy(next(tree.glob("boot/vmlinuz-*")), ready / "vmlinuz")
    try:
        ready.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another run was quicker
            raise


def module_order(files: dict[str, Path], wanted: tuple[str, ...]) -> list[str]:
    """The wanted modules and what they depend on, in the order of loading (the package ships no modules.dep)."""
    ordered: list[str] = []

    def add(name: str) -> None:
        if name in ordered:
            return
        listed = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        for needed in listed.group(1).decode().split(",") if listed else []:
            if needed:
                add(needed if needed in files else needed.replace("_", "-"))
        ordered.append(name)

    for name in wanted:
        add(name)
    return ordered


# --- initramfs --------------------------------------------------------------------------------------------------------


class Cpio:
    """Writes an archive of the kernel's "newc" kind (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def add(self, name: str, mode: int, content: bytes = b"") -> None:
        self._inode += 1
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        self._data += b"070701" + b"".join(b"%08x" % value for value in fields)
        self._data += name.encode() + b"\0"
        self._pad()
        self._data += content
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)

    def finish(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self._data)


def initramfs(kernel: Path, program: Path, arguments: list[str]) -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise MachineError("no busybox: install busybox-static")
    directory, executable, plain = 0o040755, 0o100755, 0o100644
    archive = Cpio()
    for folder in ("bin", "dev", "proc", "modules"):
        archive.add(folder, directory)
    archive.add("bin/busybox", executable, Path(busybox).read_bytes())
    for applet in ("sh", "mount", "mkdir", "insmod", "ln", "chroot", "env", "poweroff", "ip", "uname"):
        archive.add(f"bin/{applet}", 0o120777, b"busybox")
    for path in sorted((kernel / "modules").glob("*.ko")):
        archive.add(f"modules/{path.name}", plain, path.read_bytes())
    archive.add("modules/later", plain, (kernel / "later").read_bytes())
    settings = {
        "GUEST_PROGRAM": str(program),
        "GUEST_ARGUMENTS": " ".join(arguments),
        "GUEST_MODULES": (kernel / "boot").read_text(),
    }
    archive.add("guest.env", plain, "".join(f"{key}='{value}'\n" for key, value in settings.items()).encode())
    archive.add("init", executable, (Path(__file__).parent / "init").read_bytes())
    return archive.finish()


# --- the machine ------------------------------------------------------------------------------------------------------


def _die_with_parent() -> None:
    """In the child: the emulator is killed when this process ends, however it ends."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Hardware:
    """What a machine has beyond the least: more memory, cards, an IOMMU. `prefix`: how the emulator is to be started."""

    memory_mb: int = 1024
    devices: tuple[str, ...] = ()
    boot: str = ""
    prefix: tuple[str, ...] = ()


def _command(kernel: Path, scratch: Path, hardware: Hardware) -> list[str]:
    return [
        *hardware.prefix,
        "qemu-system-x86_64", "-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "max",
        "-m", str(hardware.memory_mb), "-smp", "2", *hardware.devices,
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-serial", f"file:{scratch}/console", "-serial", f"file:{scratch}/report",
        "-kernel", str(kernel / "vmlinuz"), "-initrd", str(scratch / "initramfs"),
        # tsc=reliable skips a calibration that emulation fails.
        "-append", f"console=ttyS0 loglevel=4 panic=-1 tsc=reliable random.trust_cpu=on {hardware.boot}",
        "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
    ]  # fmt: skip


def parse_report(text: str) -> Outcome:
    outcome = Outcome(report=text)
    for line in text.splitlines():
        words = line.strip().split(None, 3)
        if words[:1] != ["VMTEST"]:
            continue
        if words[1:] == ["end"]:
            outcome.complete = True
        elif words[1] == "exit":
            outcome.exit_code = int(words[2])
        elif len(words) >= 3:
            outcome.results[words[1]] = (words[2] == "ok", words[3] if len(words) > 3 else "")
    return outcome


def run_in_machine(program: Path, arguments: list[str], limit_s: float, hardware: Hardware | None = None) -> Outcome:
    """Boots, runs `python3 program arguments…` in the guest, and returns what it reported within `limit_s`."""
    if shutil.which("qemu-system-x86_64") is None:
        raise MachineError("no qemu-system-x86_64: install qemu-system-x86")
    kernel = kernel_folder(build_folder() / "vm")
    with tempfile.TemporaryDirectory(prefix="fairlead-vm-") as name:
        scratch = Path(name)
        (scratch / "initramfs").write_bytes(initramfs(kernel, program, arguments))
        started = time.monotonic()
        emulator = subprocess.Popen(
            _command(kernel, scratch, hardware or Hardware()), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(scratch / "emulator").open("wb"), preexec_fn=_die_with_parent,
        )  # fmt: skip
        try:
            emulator.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if emulator.poll() is None:
                emulator.kill()
            emulator.wait()
        logs = {log: _read(scratch / log) for log in ("report", "console", "emulator")}
        outcome = parse_report(logs["report"])
        outcome.seconds = time.monotonic() - started
        outcome.console = logs["emulator"] + logs["console"]
        return outcome


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
