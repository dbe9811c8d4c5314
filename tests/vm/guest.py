# SPDX-License-Identifier: Apache-2.0
"""What a program inside the machine needs: reports, namespaces, and a raw port that sends and captures frames."""

import ctypes
import os
import select
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPORT_DESCRIPTOR = 3
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4

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


class Port:
    """A packet socket on one interface: sends whole frames and sees what arrives, not what it or the host sends."""

    def __init__(self, netns: str, interface: str) -> None:
        with namespace(netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.bind((interface, 0))
        self._socket.setblocking(False)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def drain(self) -> None:
        while self._receive() is not None:
            pass

    def expect(self, matches: Callable[[bytes], bool], limit_s: float = 10.0) -> bytes | None:
        """The first arriving frame that matches, or None when the time is over."""
        deadline = time.monotonic() + limit_s
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                break
            frame = self._receive()
            if frame and matches(frame):
                return frame
        return None

    def _receive(self) -> bytes | None:
        """The next frame; empty for one that is leaving, None when there is none."""
        try:
            frame, address = self._socket.recvfrom(65536)
        except BlockingIOError:
            return None
        return b"" if address[2] == PACKET_OUTGOING else frame
