# SPDX-License-Identifier: Apache-2.0
"""What the demonstrations share: what the person at the terminal sees, what is claimed, and how time is judged."""

import json
import os
import sys
import time

import lab as labs
from lab import Lab


class Screen:
    """What the person at the terminal sees."""

    def __init__(self, quiet):
        self.quiet, self.step = quiet, 0
        self.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def write(self, text=""):
        if not self.quiet:
            print(text, flush=True)

    def head(self, text):
        self.step += 1
        self.write(f"\n{self.paint('1;36', f'── {self.step}. {text} ' + '─' * max(3, 100 - len(text)))}")

    def say(self, text):
        self.write(f"   {text}")

    def good(self, text):
        self.write(f"   {self.paint('32', '✔')} {text}")

    def bad(self, text):
        self.write(f"   {self.paint('1;31', '✘')} {text}")

    def command(self, command, output):
        self.write(f"   {self.paint('1', '$ ' + command)}")
        for line in output.rstrip().splitlines():
            self.write(f"     {line}")


class Window:
    """From a fault (or a return) to the switch-over that follows."""

    def __init__(self, fault, switch):
        self.fault, self.switch = fault, switch

    @property
    def milliseconds(self):
        return round((self.switch - self.fault) * 1000)

    def covers(self, record):
        def is_open_at(moment):
            return record.begin <= moment <= record.end
        return is_open_at(self.fault) or is_open_at(self.switch) or self.fault <= record.begin <= self.switch


class Show:
    """A demonstration: steps that claim things of a lab, and a last line for machines."""

    def __init__(self, options):
        self.options = options
        self.family = 6 if options.ipv6 else 4
        self.vip = labs.VIP6 if options.ipv6 else labs.VIP4
        self.screen = Screen(options.json)
        self.lab = self.load = None
        self.servers, self.balancers, self.windows, self.faults = {}, [], {}, []

    def make_lab(self):
        return Lab(f"demo{os.getpid()}", topology=self.options.topology)

    def steps(self):
        """Runs them all; returns the object of the last line."""
        raise NotImplementedError

    def run(self):
        with self.make_lab() as self.lab:
            result = self.steps()
            if self.options.stay:
                self.stay()
        self.screen.write(f"\n   Everything removed. {self.screen.paint('1;31' if self.faults else '1;32', self.verdict())}")
        print(json.dumps(result), flush=True)
        if self.faults and self.options.json:
            print(f"scripts/demo: {self.verdict()}", file=sys.stderr)
        return 1 if self.faults else 0

    def verdict(self):
        return f"The demonstration failed: {'; '.join(self.faults)}" if self.faults else "All claims hold."

    def claim(self, holds, text):
        (self.screen.good if holds else self.screen.bad)(text)
        if not holds:
            self.faults.append(text)

    @property
    def active(self):
        """The balancer that holds the VIP."""
        return self.balancers[0]

    def explained(self, port):
        """The words of `lbctl explain` for a connection of the client from this port."""
        client = self.lab.client.address(self.family)
        form = "[{}]:{}" if self.family == 6 else "{}:{}"
        return ["explain", form.format(client, port), form.format(self.vip, 80)]

    def prepare(self):
        """The machines, nginx, and frontend-setup on the front-end nodes."""
        options, screen = self.options, self.screen
        screen.head(f"The machines: {options.topology}, {options.forward}, IPv{self.family}")
        for node in self.lab.nodes.values():
            if node.name != "sw":
                screen.say(f"{node.name:8}{node.address(self.family):18}{self.holds(node):22}network namespace {node.namespace}")
        screen.say(f"{'VIP':8}{self.vip:18}port 80; {self.TIERS}")
        for name in ("master", "slave"):
            self.servers[name] = self.lab.nginx(self.lab.nodes[name])
        for node, output in labs.each_setup(self.lab, options.forward, (self.family,)):
            screen.command(f"scripts/frontend-setup {options.forward} {self.vip}   (on {node.name})", output)

    def holds(self, node):
        """What runs on a machine."""
        front_end = ["nginx"] if node.name in ("master", "slave") else []
        balancer = ["Fairlead"] if node.name in self.lab.steering else []
        return " and ".join(front_end + balancer) or {"client": "clients"}.get(node.name, node.name)

    def served_by(self, records):
        return {name: sum(r.server == name for r in records) for name in ("master", "slave")}

    def told_apart(self, records):
        """What failed while a fault was noticed, and what failed otherwise: there is none, or it is said."""
        failures = [r for r in records if r.result != "ok"]
        detection = [r for r in failures if any(w.covers(r) for w in self.windows.values())]
        other = [r for r in failures if r not in detection]
        for record in other[:5]:
            self.screen.bad(f"failed outside of all windows: {record}")
        served = self.served_by(records)
        self.screen.say(f"{len(records)} requests: {served['master']} served by Master, {served['slave']} by Slave, "
                        f"{len(detection)} failed while a fault was noticed, {len(other)} otherwise")
        for name, window in self.windows.items():
            inside = sum(window.covers(r) for r in detection)
            self.screen.say(f"{name:14}{window.milliseconds:5} ms, {inside:3} requests failed in it")
        self.claim(not other, "no request failed outside of a detection window")
        return detection, other

    def make_whole(self):
        """Mends what the steps have left broken."""
        raise NotImplementedError

    def stay(self):
        """Leaves it running until Ctrl-C."""
        self.make_whole()
        screen = self.screen
        screen.head("Yours to try; Ctrl-C ends it and removes everything")
        screen.say(f"nsenter --net={self.lab.client.path} curl {labs.http_url(self.vip)}")
        for balancer in self.balancers:
            screen.say(f"nsenter --net={balancer.node.path} {labs.LBCTL} --instance {balancer.instance} status")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass
