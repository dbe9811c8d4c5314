# SPDX-License-Identifier: Apache-2.0
"""Real requests without retries, and what became of each of them.

As a program (run inside the client's namespace) it opens new connections at a fixed pace, whether or not earlier ones
have ended, so that a silent server cannot slow it down, and writes one JSON array a request to its output:
[begin, end, result, server], times in CLOCK_MONOTONIC seconds, result one of ok, refused, reset, timeout, error.
On SIGTERM it starts no more for those under way, and ends.

    load.py ADDRESS PORT OUTPUT [--pace SECONDS] [--burst REQUESTS] [--patience SECONDS]
"""

import argparse
import asyncio
import json
import signal
import socket
import threading
import time
from collections import namedtuple
from pathlib import Path

from lab import wait_for

HANG_LIMIT = 1.0
REQUEST = b"GET / HTTP/1.1\r\nHost: front-end\r\nConnection: close\r\n\r\n"

Record = namedtuple("Record", "begin end result server")


async def exchange(loop, connection, address, port):
    """One request over one new connection; returns the name of the server that answered."""
    await loop.sock_connect(connection, (address, port))
    await loop.sock_sendall(connection, REQUEST)
    answer = b""
    while data := await loop.sock_recv(connection, 65536):
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 ") or not body:
        raise ValueError("not a whole answer")
    return body.decode().strip()


async def request(loop, family, options, sink):
    begin, result, server = time.monotonic(), "ok", None
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            async with asyncio.timeout(options.patience):
                server = await exchange(loop, connection, options.address, options.port)
        except TimeoutError:
            result = "timeout"
        except ConnectionRefusedError:
            result = "refused"
        except ConnectionResetError:
            result = "reset"
        except (OSError, ValueError) as error:
            result = f"error: {error}"
    sink.write(json.dumps([round(begin, 6), round(time.monotonic(), 6), result, server]) + "\n")


async def generate(options, sink):
    loop, family = asyncio.get_running_loop(), socket.AF_INET6 if ":" in options.address else socket.AF_INET
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    print("ready", flush=True)
    pending, next_at = set(), loop.time()
    while not stop.is_set():
        for _ in range(options.burst):
            task = asyncio.create_task(request(loop, family, options, sink))
            pending.add(task)
            task.add_done_callback(pending.discard)
        next_at = max(next_at + options.pace, loop.time())
        try:
            await asyncio.wait_for(stop.wait(), next_at - loop.time())
        except TimeoutError:
            pass
    if pending:
        await asyncio.wait(pending)


class Load:
    """The generator running in a node of a lab; what it recorded can be read while it runs."""

    def __init__(self, lab, node, address, port=80, pace=0.02, burst=4, patience=HANG_LIMIT):
        self.output = lab.folder / f"load-{len(lab.processes)}.jsonl"
        self.output.touch()
        self.patience = patience
        self.process = node.popen("load", "/usr/bin/python3", Path(__file__).resolve(), address, port, self.output,
                                  "--pace", pace, "--burst", burst, "--patience", patience)
        wait_for(lambda: "ready" in self.process.output() or not self.process.alive(), "the request generator")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def records(self):
        """Records of the requests that have ended so far, in order of their end."""
        lines = self.output.read_text().split("\n")[:-1]
        return [Record(*json.loads(line)) for line in lines]

    def stop(self):
        """Lets the requests under way end, and returns all records in order of their begin."""
        if self.process.stop(5 + self.patience) != 0:
            raise RuntimeError(f"request generator failed: {self.process.output()}")
        return sorted(self.records())

    def first(self, since, server=None, result="ok"):
        """Of the requests begun after `since`, the first to end with this result (and server), or None yet."""
        found = [r for r in self.records() if r.begin >= since and r.result == result and server in (None, r.server)]
        return min(found, key=lambda r: r.end, default=None)


class Session:
    """A long-lived connection to servers.py echo that keeps talking; `broken` says what ended it, if anything did."""

    def __init__(self, node, address, port, interval=0.05, timeout=2.0):
        with node.inside():
            self.socket = socket.create_connection((address, port), timeout=timeout)
        self.reader = self.socket.makefile("rb")
        self.server = self.reader.readline().decode().strip()
        self.interval, self.broken, self.exchanges, self.longest = interval, None, 0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self):
        while not self._stop.wait(self.interval):
            began = time.monotonic()
            try:
                line = f"line {self.exchanges}\n".encode()
                self.socket.sendall(line)
                answer = self.reader.readline()
                if answer != line:
                    raise ConnectionError(f"sent {line}, got {answer}")
            except OSError as error:
                self.broken = repr(error)
                return
            self.exchanges += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def advances(self, timeout=3.0):
        """True once another whole exchange has happened from now on."""
        target, deadline = self.exchanges + 2, time.monotonic() + timeout
        while self.exchanges < target and not self.broken and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.exchanges >= target

    def stop(self):
        """No more exchanges; without waiting for the one under way, as close() does."""
        self._stop.set()

    def close(self):
        self.stop()
        self._thread.join(5)
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("output")
    parser.add_argument("--pace", type=float, default=0.02)
    parser.add_argument("--burst", type=int, default=4)
    parser.add_argument("--patience", type=float, default=HANG_LIMIT)
    options = parser.parse_args()
    with open(options.output, "a", buffering=1, encoding="ascii") as sink:
        asyncio.run(generate(options, sink))


if __name__ == "__main__":
    main()
