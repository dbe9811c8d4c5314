# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests beside other makes' programs. The namespaces are those of tests/netns."""

import itertools
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "netns")]

from lab import Lab  # noqa: E402
from vrrp import VRRP_NODE  # noqa: E402

_numbers = itertools.count(1)


def missing():
    """What the tests here need and this machine has not."""
    names = [str(VRRP_NODE)] if not VRRP_NODE.exists() else []
    return ", ".join(names + [tool for tool in ("keepalived", "tshark", "tcpdump") if not shutil.which(tool)])


def pytest_collection_modifyitems(items):
    reason = "network namespaces need root" if os.geteuid() != 0 else f"missing: {missing()}" if missing() else None
    for item in items if reason else []:
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def lab(request):
    """Master and slave carry VRRP, the client looks on. A failed test's report has what all processes printed."""
    with Lab(f"v{os.getpid()}x{next(_numbers)}", topology="on-master") as made:
        yield made
        failed = getattr(request.node, "failed", False)
        for process in made.processes if failed else []:
            print(f"--- {process.name}\n{process.output()[-4000:]}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    item.failed = getattr(item, "failed", False) or outcome.get_result().failed
