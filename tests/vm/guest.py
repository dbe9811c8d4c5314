# SPDX-License-Identifier: Apache-2.0
"""What a program inside the machine needs: reports, namespaces, and a raw port on a wire."""

import ctypes
import os
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cable import Cable

REPORT_DESCRIPTOR = 3
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_report = os.fdopen(REPORT_DESCRIPTOR, "w", buffering=1)


def report(name: str, ok: bool, detail: str = "") -> None:
    _report.write(f"VMTEST {name} {'ok' if ok else 'FAIL'} {' '.join(detail.split())}".rstrip() + "\n")


def check(name: str, body: Callable[[], str | None]) -> bool:
    """Runs one test; it passes unless it raises. What it returns is the detail of the line, behind its duration."""
    begun = time.monotonic()
    try:
        detail, ok = body() or "", True
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a test is that test's result
        traceback.print_exc()
        detail, ok = f"{type(error).__name__}: {error}", False
    report(name, ok, f"{time.monotonic() - begun:.1f} s {detail}")
    return ok


def run(*command: str, limit_s: float = 180) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stdout} {done.stderr}")
    return done.stdout


def load_later_modules() -> None:
    """What the machine was given beyond its own needs (machine.py, LATER_MODULES)."""
    folder = Path("/run/modules")
    for name in (folder / "later").read_text().split():
        run("busybox", "insmod", str(folder / f"{name}.ko"))


@contextmanager
def namespace(name: str) -> Iterator[None]:
    """The calling thread works in the network namespace; sockets made here stay in it."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(here)
        os.close(there)
        os.close(here)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def mac_of(netns: str, interface: str) -> bytes:
    text = run("ip", "-netns", netns, "-br", "link", "show", "dev", interface).split()[2]
    return bytes.fromhex(text.replace(":", ""))


def port(netns: str, interface: str) -> Cable:
    """Sees what arrives, not what it or the host sends."""
    with namespace(netns):
        return Cable(interface)
