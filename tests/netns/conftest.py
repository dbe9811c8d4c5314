# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests in network namespaces. Each lab has a run id of its own, so that test runs go side by side."""

import functools
import itertools
import os
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import lab as labs  # noqa: E402
from lab import Lab, Lbd, make_config, node_tables, setup_backends  # noqa: E402
from steering import Wire  # noqa: E402
from ways import OF_FORWARD  # noqa: E402

_numbers = itertools.count(1)
NEEDS_NO_PROGRAMS = {"test_frontend_setup.py"}


def pytest_collection_modifyitems(items):
    """Without root, or before the programs are built, every test is skipped and says why."""
    missing = labs.require_programs()
    for item in items:
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="network namespaces need root"))
        elif missing and item.path.name not in NEEDS_NO_PROGRAMS:
            item.add_marker(pytest.mark.skip(reason=f"missing: {missing}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """On failure the report carries what every process of the labs in use had printed."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for lab in Bench.open_labs:
            for process in lab.processes:
                report.sections.append((f"{lab.run_id} {process.name}", process.output()[-6000:]))


class Bench:
    """Makes labs and what runs in them; the fixture that holds it takes them down."""

    open_labs = []

    def __init__(self, stack):
        self.stack = stack

    def lab(self, **options):
        lab = self.stack.enter_context(Lab(f"t{os.getpid()}x{next(_numbers)}", **options))
        Bench.open_labs.append(lab)
        self.stack.callback(Bench.open_labs.remove, lab)
        return lab

    def served(self, forward="l2dsr", families=(4, 6), topology="external", router=False, start=True, ports=(80,),
               **config):
        """A lab with nginx on Master and Slave, both prepared, and an lbd that knows both to be up."""
        lab = self.lab(topology=topology, router=router)
        lab.servers = {name: lab.nginx(lab.nodes[name], ports=ports) for name in ("master", "slave")}
        setup_backends(lab, forward, families)
        text = make_config(lab, forward, families[0], **config)
        self.balance(lab, text, start)
        return lab

    def balance(self, lab, text, start=True):
        """An lbd with this configuration on each steering node; started, it knows all backends to be up."""
        lab.lbds = {name: Lbd(lab, lab.nodes[name], text) for name in lab.steering}
        lab.lbd = lab.lbds[lab.steering[0]]
        if start:
            for lbd in lab.lbds.values():
                lbd.start()
            for lbd in lab.lbds.values():
                lbd.wait_up(master=True, slave=True)

    def ways(self, ways, nodes=None, head="", pool=None, tags=None, **options):
        """A lab in which each of these ways has a VIP of its own; Master and Slave have nginx, and take uploads. `tags`:
        those of Lab.tag(), for all its hosts."""
        lab = self.lab(**options)
        for node in lab.nodes.values() if tags else ():
            if node is not lab.sw:
                lab.tag(node, *tags)
        lab.servers = {name: lab.nginx(lab.nodes[name]) for name in ("master", "slave")}
        for name in lab.servers:
            lab.python_server(lab.nodes[name], "upload", 8080)
        vips = [way.vip for way in ways]
        setup_backends(lab, ways[0].forward, vips=vips)
        self.balance(lab, node_tables(lab, nodes, head) + "".join(way.pool(lab, **(pool or {})) for way in ways))
        return lab


@pytest.fixture
def bench():
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture(scope="class")
def class_bench():
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture(scope="module")
def module_bench():
    with ExitStack() as stack:
        yield Bench(stack)


@pytest.fixture(scope="module")
def lab_of(module_bench):
    """lab_of(forward, options of Bench.ways): one lab a forwarding mode, made when it is first asked for."""
    return functools.cache(lambda forward, **options: module_bench.ways(OF_FORWARD[forward], **options))


@pytest.fixture(scope="module")
def wire_of(lab_of):
    """wire_of(forward): the same, at the balancer's cable; the client is behind a router, as clients are."""
    return functools.cache(lambda forward: Wire(lab_of(forward, router=True)))


@pytest.fixture
def wire(wire_of, way):
    return wire_of(way.forward)
