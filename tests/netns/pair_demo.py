# SPDX-License-Identifier: Apache-2.0
"""The demonstration behind scripts/demo --pair: a download through a VIP that two balancers share. Master is drained, and the
download begins, pinned to Slave where the table said Master. Then the node of the active balancer dies, and comes back: the
other one knows of the drain and the pin, the download goes on, and so do new requests. Time is judged as in demo.py."""

import json
import os
import time

import lab as labs
from downloading import RATE, Downloading
from lab import Lab, Lbd, make_config, wait_for
from load import Load
from screen import Window

ADVERT_MS = 100
HA = f'[ha]\nmode = "vrrp"\nvrid = 51\nadvert_interval = "{ADVERT_MS}ms"\n'
# Silence is noticed after three to four adverts; the rest is for the machine.
TAKEOVER_LIMIT_MS = 4 * ADVERT_MS + 300
UNTOLD_LIMIT_S = 0.2  # ten times the interval of the state sync
OBSERVE_S = 1.0  # how long each state is watched after it was reached
# Drained, and the front-end node that the download comes from instead: that one survives in either topology.
DRAINED, DOWNLOADER = "master", "slave"


class PairDemo(Downloading):
    """The balancers fail."""

    TIERS = "Master and Slave are both tier 0"

    def __init__(self, options):
        super().__init__(options)
        self.takeover_ms = self.bytes_at_death = None

    def make_lab(self):
        return Lab(f"demo{os.getpid()}", topology=self.options.topology, pair=True)

    def steps(self):
        self.prepare()
        self.start_balancers()
        self.start_requests()
        self.drain()
        self.start_download()
        self.death()
        self.comes_back()
        self.undrain()
        download = {**self.finish_download(), "bytes_at_death": self.bytes_at_death}
        return self.account(self.load.stop(), download)

    # --- who has which role, on every screen ---

    def is_active(self, balancer):
        # `status` has an exit code of its own where lbd is dead.
        return balancer.lbctl_json("status", check=False)["role"]["active"]

    def screens(self, balancer):
        """What each screen says about the role: [active or not]. Without its lbd a node has one screen."""
        said = [self.is_active(balancer)]
        if balancer.process.alive():
            said += [balancer.lbctl_json("ha")["ha"]["active"], balancer.metrics().total("ha_role") == 1]
        return said

    def show_roles(self):
        for balancer in self.balancers:
            name = balancer.node.name
            lines = balancer.lbctl("status", check=False).stdout.splitlines()
            self.screen.command(f"lbctl status | grep -E 'controller|role|peer'   (on {name})", "\n".join(
                line for line in lines if line.startswith(("controller", "role", "peer"))))
            if balancer.process.alive():
                self.screen.command(f"lbctl ha   (on {name})", balancer.lbctl("ha").stdout)
                self.show_sync(balancer)
                self.screen.command(f"curl -s http://127.0.0.1:9435/metrics | grep ^fairlead_ha_role   (on {name})", "\n".join(
                    line for line in balancer.metrics_text().splitlines() if line.startswith("fairlead_ha_role")))
        active, other = self.balancers
        said = {balancer.node.name: self.screens(balancer) for balancer in self.balancers}
        self.claim(all(said[active.node.name]) and not any(said[other.node.name]),
                   f"{active.node.name} is active and {other.node.name} is not, on every screen")
        mac = self.lab.client.run("ip", "neigh", "show", self.vip).stdout
        self.claim(active.node.mac in mac, f"the client's neighbour entry of the VIP is {active.node.name}'s MAC")

    def show_sync(self, balancer):
        # An exit code of its own while the other node is dead.
        self.screen.command(f"lbctl sync status   (on {balancer.node.name})",
                            balancer.lbctl("sync", "status", check=False).stdout)

    def is_drained(self, balancer):
        rows = balancer.lbctl_json("backends")["backends"]
        return next(row["drained"] and row["slots"] == 0 for row in rows if row["name"] == DRAINED)

    def has_pin(self, balancer):
        answer = json.loads(balancer.lbctl("-o", "json", *self.explained(self.port), check=False).stdout)
        return bool(answer["pin"] and answer["pin"]["found"])

    # --- steps ---

    def start_balancers(self):
        lab, screen = self.lab, self.screen
        screen.head("Two balancers start, with one file for both")
        lab.share_hash_key()
        sync = lab.share_sync_key()
        check = {"interval": "200ms", "timeout": "150ms", "rise": 2, "fall": 2}
        backends = [{"name": name, "address": lab.nodes[name].address(self.family)} for name in ("master", "slave")]
        config = make_config(lab, self.options.forward, self.family, check=check, backends=backends, head=HA + sync,
                             nodes={lab.steering[0]: {"priority": 150}})
        screen.command("cat fairlead.toml", config)
        self.balancers = [Lbd(lab, lab.nodes[name], config) for name in lab.steering]
        for balancer in self.balancers:
            balancer.start(wait=False)
        for balancer in self.balancers:
            balancer.wait_ready()
            balancer.wait_up(master=True, slave=True)
        self.wait_roles()
        self.wait_synced()
        labs.curl(lab.client, self.vip)  # so that the client has asked for the VIP's MAC
        self.show_roles()

    def wait_roles(self):
        active, other = self.balancers
        wait_for(lambda: self.is_active(active) and not self.is_active(other), f"{active.node.name} to be active")

    def wait_synced(self):
        for balancer in self.balancers:
            balancer.wait_synced()

    def start_requests(self):
        screen, lab = self.screen, self.lab
        screen.head("Requests, each over a new connection")
        self.choose_port(DRAINED)
        self.claim(self.chosen(self.balancers[1], self.port) == DRAINED,
                   f"both balancers would choose {DRAINED} for a connection from port {self.port}, by the same table")
        self.load = Load(lab, lab.client, self.vip)
        self.both_serve()

    def both_serve(self):
        begin = time.monotonic()
        time.sleep(OBSERVE_S)
        records = [r for r in self.load.records() if r.begin >= begin]
        self.claim(records and all(r.result == "ok" for r in records), f"{len(records)} requests, none failed")
        self.claim(min(self.served_by(records).values()) > 0, "Master and Slave have both served")

    def drain(self):
        active, other = self.balancers
        self.screen.head("Master is drained: its slots are in transition now, for as long as connections need it")
        self.screen.command(f"lbctl drain {DRAINED}   (on {active.node.name})", active.lbctl("drain", DRAINED).stdout)
        wait_for(lambda: self.is_drained(other), f"{other.node.name} to know of the drain")
        for balancer in self.balancers:
            self.screen.command(f"lbctl transitions   (on {balancer.node.name})", balancer.lbctl("transitions").stdout)

    def start_download(self):
        screen = self.screen
        screen.head(f"A download of {labs.Nginx.LARGE_BYTES >> 20} MiB at {RATE / 1e6} MB/s, from a port whose slot was Master's")
        self.downloader = DOWNLOADER
        self.begin_download()
        for balancer in self.balancers:
            wait_for(lambda one=balancer: self.has_pin(one), f"{balancer.node.name} to know of the download")
            words = self.explained(self.port)
            screen.command(f"lbctl {' '.join(words)}   (on {balancer.node.name})",
                           balancer.lbctl(*words, check=False).stdout)
            self.show_sync(balancer)
        self.claim({self.chosen(balancer, self.port) for balancer in self.balancers} == {DOWNLOADER},
                   f"it is pinned to {DOWNLOADER}, on both balancers")
        screen.say(f"{self.downloaded() / 1e6:.1f} MB downloaded so far")

    def death(self):
        dead, successor = self.balancers
        name = dead.node.name
        self.screen.head(f"The node {name} dies: its link is cut, lbd is killed")
        self.lab.cut_link(dead.node)
        fault, self.bytes_at_death = time.monotonic(), self.downloaded()
        dead.process.kill()
        if name in self.servers:
            self.servers[name].stop()
        wait_for(lambda: self.is_active(successor), f"{successor.node.name} to take over")
        if name in self.servers:
            successor.wait_up(master=False, slave=True)  # until then some requests still go to the dead node
        self.balancers.reverse()
        self.takeover_ms = round((wait_for(lambda: self.load.first(fault), "an answer").end - fault) * 1000)
        self.observe("death", fault)
        self.claim(self.takeover_ms <= TAKEOVER_LIMIT_MS,
                   f"first answer to a new request {self.takeover_ms} ms after the death, within {TAKEOVER_LIMIT_MS} ms")
        now = self.downloaded_beyond(self.bytes_at_death)
        self.claim(self.curl.alive() and now > self.bytes_at_death,
                   f"the download goes on: {self.bytes_at_death / 1e6:.1f} MB then, {now / 1e6:.1f} MB now")
        self.show_roles()

    def observe(self, name, fault):
        """Notes the window that ends now, and watches what comes after it."""
        since = time.monotonic()
        window = self.windows[name] = Window(fault, wait_for(lambda: self.load.first(since), "an answer").end)
        time.sleep(OBSERVE_S)
        after = [r for r in self.load.records() if r.begin > window.switch]
        self.claim(after and all(r.result == "ok" for r in after), f"{len(after)} requests since, none failed")

    def comes_back(self):
        stood_in, back = self.balancers
        name = back.node.name
        self.screen.head(f"{name} comes back, as after a reboot: it takes over once its checks have spoken")
        labs.forget_instance(back.instance)  # nothing pinned outlives a reboot
        fault = time.monotonic()
        self.lab.mend_link(back.node)
        if name in self.servers:
            self.servers[name].start()
        back.start()
        for balancer in self.balancers:
            balancer.wait_up(master=True, slave=True)
        self.balancers.reverse()
        self.wait_roles()
        self.wait_synced()
        self.claim(all(self.is_drained(balancer) for balancer in self.balancers), "Master is still drained, on both balancers")
        self.observe("return", fault)
        self.show_roles()
        self.screen.command(f"lbctl ha history   (on {stood_in.node.name})", stood_in.lbctl("ha", "history").stdout)

    def undrain(self):
        active = self.active
        self.screen.head("The maintenance of Master is over")
        self.screen.command(f"lbctl undrain {DRAINED}   (on {active.node.name})", active.lbctl("undrain", DRAINED).stdout)
        since = time.monotonic()
        wait_for(lambda: self.load.first(since, DRAINED), "an answer from Master")
        self.both_serve()

    def account(self, records, download):
        self.screen.head("The account")
        detection, other = self.told_apart(records)
        # A node that is preempted has no time to tell of what it pinned last, and no more than that is lost.
        begun = [r.begin for r in detection if self.windows["return"].covers(r)]
        self.claim(not begun or max(begun) - min(begun) <= UNTOLD_LIMIT_S,
                   f"{len(begun)} requests failed in the return, all begun within {UNTOLD_LIMIT_S * 1000:.0f} ms")
        return {"topology": self.options.topology, "engine": f"xdp-{self.active.attached_mode()}",
                "requests": len(records), "failed": len(other), "failed_during_detection": len(detection),
                "served_by": self.served_by(records), "takeover_ms": self.takeover_ms,
                "windows_ms": {name: window.milliseconds for name, window in self.windows.items()},
                "download": download}

    def make_whole(self):
        """Nothing is broken at the end."""
