# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind scripts/demo --drain: Master is drained while a client downloads from it. The download ends as
if nothing had happened, new requests go elsewhere, and `lbctl drain --wait` returns when nothing is left."""

import time

import lab as labs
from downloading import RATE, Downloading
from lab import Lbd, make_config, wait_for
from load import Load

IDLE_S = 2
OBSERVE_S = 1.0  # how long each state is watched after it was reached
# A slot is given up after the idle timeout; pins count time in units of 4.3 s, and a few of these pass.
WAIT_LIMIT_S = 120


class DrainDemo(Downloading):
    """A front-end node is taken out for maintenance."""

    TIERS = "Master and Slave are both tier 0"

    def steps(self):
        self.prepare()
        self.start_balancer()
        self.start_download()
        at_drain = self.drain()
        download = {**self.finish_download(), "bytes_at_drain": at_drain}
        wait_s = self.wait_returns()
        self.undrain()
        return self.account(self.load.stop(), download, wait_s)

    def start_balancer(self):
        lab, screen = self.lab, self.screen
        screen.head("Fairlead starts")
        check = {"interval": "200ms", "timeout": "150ms", "rise": 2, "fall": 2}
        backends = [{"name": name, "address": lab.nodes[name].address(self.family)} for name in ("master", "slave")]
        config = make_config(lab, self.options.forward, self.family, check=check, backends=backends,
                             pool={"idle_timeout": f"{IDLE_S}s"})
        screen.command("cat fairlead.toml", config)
        self.balancers = [Lbd(lab, lab.lb, config).start()]
        self.active.wait_up(master=True, slave=True)
        self.lbctl("backends")

    def lbctl(self, *words):
        self.screen.command(f"lbctl {' '.join(words)}", self.active.lbctl(*words).stdout)

    def start_download(self):
        screen = self.screen
        screen.head(f"A download of {labs.Nginx.LARGE_BYTES >> 20} MiB from Master at {RATE / 1e6} MB/s, and new requests")
        self.choose_port("master")
        self.lbctl(*self.explained(self.port))
        self.begin_download()
        self.load = Load(self.lab, self.lab.client, self.vip)
        begin = time.monotonic()
        time.sleep(OBSERVE_S)
        records = [r for r in self.load.records() if r.begin >= begin]
        self.claim(records and all(r.result == "ok" for r in records), f"{len(records)} requests, none failed")
        self.claim(min(self.served_by(records).values()) > 0, "Master and Slave have both served")
        self.lbctl("transitions")

    def drain(self):
        """How many bytes had come by then."""
        screen = self.screen
        screen.head("Master is drained, for maintenance")
        screen.say("$ lbctl drain master --wait   (runs on, beside what follows)")
        self.drained_at, at_drain = time.monotonic(), self.downloaded()
        self.wait = self.lab.lb.popen("drain", labs.LBCTL, "--instance", self.active.instance, "drain", "master", "--wait",
                                      "--timeout", WAIT_LIMIT_S)
        wait_for(lambda: self.active.metrics().total("backend_eligible", backend="master") == 0, "the drain")
        since = time.monotonic()
        time.sleep(OBSERVE_S)
        after = [r for r in self.load.records() if r.begin > since]
        self.claim(after and all(r.result == "ok" and r.server == "slave" for r in after),
                   f"all of {len(after)} requests since went to Slave, none failed")
        now = self.downloaded_beyond(at_drain)
        self.claim(self.curl.alive() and now > at_drain,
                   f"the download goes on: {at_drain / 1e6:.1f} MB then, {now / 1e6:.1f} MB now")
        self.claim(self.wait.alive(), "lbctl drain --wait waits")
        self.lbctl("backends")
        self.lbctl("transitions")
        return at_drain

    def wait_returns(self):
        """Seconds from the end of the download to that of --wait."""
        screen, end = self.screen, time.monotonic()
        screen.head("lbctl drain master --wait returns")
        self.claim(self.wait.alive(), "not before the download has ended")
        status = self.wait.popen.wait(WAIT_LIMIT_S + 10)
        seconds = time.monotonic() - end
        screen.command("lbctl drain master --wait", self.wait.output())
        self.claim(status == 0, f"{seconds:.0f} s after it, with exit status {status}: nothing is left on Master")
        self.lbctl("transitions")
        return round(seconds, 1)

    def undrain(self):
        self.screen.head("The maintenance is over")
        self.lbctl("undrain", "master")
        since = time.monotonic()
        first = wait_for(lambda: self.load.first(since, "master"), "an answer from Master")
        time.sleep(OBSERVE_S)
        after = [r for r in self.load.records() if r.begin > first.end]
        self.claim(after and all(r.result == "ok" for r in after) and min(self.served_by(after).values()) > 0,
                   f"{len(after)} requests since, Master and Slave have both served")
        self.lbctl("backends")

    def account(self, records, download, wait_s):
        self.screen.head("The account")
        detection, other = self.told_apart(records)
        return {"engine": f"xdp-{self.active.attached_mode()}", "requests": len(records),
                "failed": len(other) + len(detection), "served_by": self.served_by(records), "wait_s": wait_s,
                "download": download}

    def make_whole(self):
        """Nothing is broken at the end."""
