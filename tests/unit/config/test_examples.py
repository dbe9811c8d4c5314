# SPDX-License-Identifier: Apache-2.0
"""The routing daemons' own parsers read the shipped examples, and these name lbd's table and protocol number."""
import pathlib
import re
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
EXAMPLES = SOURCE / "config/examples"
pytestmark = pytest.mark.smoke


def parsed(*command):
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr


def broken(folder, name, line):
    """The example with a line of nonsense, which its parser must notice."""
    path = folder / name
    path.write_text((EXAMPLES / name).read_text() + line)
    path.chmod(0o644)
    return path


def test_bird_reads_its_example(tmp_path):
    assert parsed("bird", "-p", "-c", EXAMPLES / "bird.conf") == (0, "")
    assert parsed("bird", "-p", "-c", broken(tmp_path, "bird.conf", "protocol nonsense {}\n"))[0] != 0


def test_frr_reads_its_example(tmp_path):
    code, text = parsed("vtysh", "-C", "-f", EXAMPLES / "frr.conf")
    assert code == 0 and "%" not in text, text
    code, text = parsed("vtysh", "-C", "-f", broken(tmp_path, "frr.conf", "router nonsense\n"))
    assert code != 0 or "%" in text


def test_examples_name_the_defaults():
    header = (SOURCE / "ctl/config/config.h").read_text()
    defaults = re.search(r"struct AnnouncedRoutes {.*?};", header, re.S)[0]
    table, protocol = (re.search(rf"{name} = (\d+);", defaults)[1] for name in ("table", "protocol"))
    bird, frr = ((EXAMPLES / name).read_text() for name in ("bird.conf", "frr.conf"))
    assert re.findall(r"^define VIP_TABLE\s*= (\d+);", bird, re.M) == [table]
    assert re.findall(r"^define VIP_PROTOCOL\s*= (\d+);", bird, re.M) == [protocol]
    assert set(re.findall(r"^ *(?:ip import-table|redistribute table) (\d+)", frr, re.M)) == {table}
