# SPDX-License-Identifier: Apache-2.0
"""scripts/run_tests.py: a skip, a crash, a hang or a missing report must never pass for green."""
import json
import pathlib
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.smoke

# A stand-in for a gtest program: $1 says how it behaves; the report goes where --gtest_output points.
PROGRAM = r"""#!/bin/sh
for word; do
    case "$word" in
        --gtest_output=xml:*) report=${word#--gtest_output=xml:} ;;
        --gtest_list_tests) printf 'Suite.\n  Good\n  Other\n'; exit 0 ;;
        --gtest_filter=*) filter=${word#--gtest_filter=} ;;
    esac
done
write() { printf '<testsuites><testsuite>%s</testsuite></testsuites>' "$1" >"$report"; }
good='<testcase classname="Suite" name="Good" status="run" result="completed"/>'
case "$1" in
    good) case "$filter" in Suite.Good) write "$good" ;; *) write "$good<testcase classname='Suite' name='Other'/>" ;; esac ;;
    bad) write "$good<testcase classname='Suite' name='Bad'><failure message='here&#10;why'/></testcase>"
         echo what it printed; exit 1 ;;
    skip) write "$good<testcase classname='Suite' name='Skip' result='skipped'><skipped message='no root'/></testcase>" ;;
    disabled) write "$good<testcase classname='Suite' name='DISABLED_No' status='notrun' result='suppressed'/>" ;;
    crash) kill -SEGV $$ ;;
    leak) write "$good"; exit 23 ;;
    silent) exit 0 ;;
    empty) write '' ;;
    hang) sleep 60 ;;
    exit0 | exit1 | exit77) echo the last word; exit "${1#exit}" ;;
esac
"""


@pytest.fixture
def run(tmp_path):
    """run({name: behaviour}, arguments...) -> (exit code, output lines) of the runner in a project of its own."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "tests").mkdir()
    shutil.copy(SOURCE / "scripts/run_tests.py", tmp_path / "scripts")
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)

    def run(behaviours, *arguments):
        tests = [{"name": name, "cmd": [str(program), behaviour], "suite": ["fairlead:unit"], "env": {}, "workdir": None,
                  "protocol": "exitcode" if behaviour.startswith("exit") else "gtest", "timeout": 0.25}
                 for name, behaviour in behaviours.items()]
        (tmp_path / "build/meson-info").mkdir(parents=True, exist_ok=True)
        (tmp_path / "build/meson-info/intro-tests.json").write_text(json.dumps(tests))
        result = subprocess.run(["/usr/bin/python3", tmp_path / "scripts/run_tests.py", "--build-dir", tmp_path / "build",
                                 *arguments], capture_output=True, text=True, cwd=tmp_path)
        return result.returncode, (result.stdout + result.stderr).splitlines()

    return run


@pytest.mark.parametrize("behaviour, code, summary", [
    ("good", 0, "2 passed, 0 failed, 0 skipped"),
    ("bad", 1, "1 passed, 1 failed, 0 skipped"),
    ("skip", 0, "1 passed, 0 failed, 1 skipped"),
    ("disabled", 0, "1 passed, 0 failed, 0 skipped"),
    ("crash", 1, "0 passed, 1 failed, 0 skipped"),
    ("leak", 1, "1 passed, 1 failed, 0 skipped"),
    ("silent", 1, "0 passed, 1 failed, 0 skipped"),
    ("empty", 1, "0 passed, 1 failed, 0 skipped"),
    ("hang", 1, "0 passed, 1 failed, 0 skipped"),
    ("exit0", 0, "1 passed, 0 failed, 0 skipped"),
    ("exit1", 1, "0 passed, 1 failed, 0 skipped"),
    ("exit77", 0, "0 passed, 0 failed, 1 skipped"),
])
def test_counts(run, behaviour, code, summary):
    actual, lines = run({"one": behaviour})
    assert (actual, lines[-1]) == (code, summary)


def test_failures_show_what_they_printed(run):
    _, lines = run({"one": "bad"})
    assert any("what it printed" in line for line in lines)
    assert "  one:Suite.Bad: here: why" in lines


def test_no_skip_turns_a_skip_into_a_failure_and_names_it(run):
    code, lines = run({"one": "skip", "two": "good"}, "--no-skip")
    assert code == 1 and lines[-1] == "3 passed, 0 failed, 1 skipped"
    assert "  one:Suite.Skip: no root" in lines


def test_names_select_programs_and_cases(run):
    assert run({"one": "good", "two": "bad"}, "one")[1][-1] == "2 passed, 0 failed, 0 skipped"
    assert run({"one": "good"}, "suite.good")[1][-1] == "1 passed, 0 failed, 0 skipped"
    assert run({"one": "good"}, "--list") == (0, ["one:Suite.Good", "one:Suite.Other"])


def test_nothing_run_is_not_green(run):
    code, lines = run({"one": "good"}, "no-such-test")
    assert code == 1 and lines[-1] == "0 passed, 0 failed, 0 skipped"
