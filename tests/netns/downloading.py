# SPDX-License-Identifier: Apache-2.0
"""A demonstration with a download through the VIP: one connection, slow enough to live through what happens meanwhile."""

import hashlib
import json
import time

import lab as labs
from screen import Show

RATE = 1_500_000  # bytes a second: about 9 s for all of it
FIRST_PORT = 40000
MORE_LIMIT_S = 5
# What the client would take ahead of a program that reads slowly is as much as the whole file: a connection that has
# nothing to carry any more would prove nothing.
SMALL_BUFFER = {"net.ipv4.tcp_rmem": "4096 32768 32768"}


class Downloading(Show):
    """See the module's text."""

    def __init__(self, options):
        super().__init__(options)
        self.curl = self.port = self.downloader = None
        self.ports = iter(range(FIRST_PORT, FIRST_PORT + 200))  # none is used twice: it may wait for stray packets

    def chosen(self, balancer, port):
        """The backend that a balancer would steer the client's connection from this port to."""
        # Of an inactive node it is no success.
        answer = json.loads(balancer.lbctl("-o", "json", *self.explained(port), check=False).stdout)
        return answer["backend"]["name"]

    def choose_port(self, downloader):
        """One from which a connection comes to this front-end node."""
        self.downloader = downloader
        self.port = next(port for port in self.ports if self.chosen(self.active, port) == downloader)

    def begin_download(self, rate=RATE):
        self.lab.client.sysctl(**SMALL_BUFFER)
        self.curl = self.lab.client.popen("download", "curl", "-sS", "-g", "--fail", "--max-time", 60, "--limit-rate", rate,
                                          "--local-port", self.port, "-o", self.target, "-w", "%{json}",
                                          labs.http_url(self.vip, path="/large"))

    @property
    def target(self):
        return self.lab.folder / "download"

    def downloaded(self):
        return self.target.stat().st_size if self.target.exists() else 0

    def downloaded_beyond(self, before):
        """How much has come, as soon as it is more than before: curl keeps to its rate by pauses, of a second and more."""
        deadline = time.monotonic() + MORE_LIMIT_S
        while self.downloaded() <= before and self.curl.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.downloaded()

    def finish_download(self):
        """The object that tells of it."""
        self.screen.head("The download ends")
        return self.end_download()

    def end_download(self):
        self.curl.popen.wait(60)
        said = json.loads(self.curl.output().splitlines()[-1])
        right = hashlib.sha256(self.target.read_bytes()).hexdigest() == self.servers[self.downloader].large_sha256
        self.claim(self.curl.popen.returncode == 0 and said["http_code"] == 200 and right,
                   f"{said['size_download'] / 1e6:.1f} MB in {said['time_total']:.1f} s, and the checksum is right")
        self.claim(said["num_connects"] == 1 and said["local_port"] == self.port,
                   f"all of it came over one connection, from port {said['local_port']}")
        return {"bytes": said["size_download"], "checksum_right": right, "seconds": said["time_total"],
                "connections": said["num_connects"], "server": self.downloader}
