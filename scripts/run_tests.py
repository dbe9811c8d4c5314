#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what scripts/test has built: the tests that meson knows, then the pytest folders; counts every single case.

Meson's own runner reports a gtest program as one test and hides GTEST_SKIP. Here each program writes its JUnit file,
and the figures come from those files. A program that dies, hangs or writes no report is a failed case of its own.
"""
import argparse
import concurrent.futures
import dataclasses
import fnmatch
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
JOBS = int(os.environ.get("FAIRLEAD_JOBS") or os.cpu_count() or 1)
# Timeouts in the meson files are for an idle machine; these are for a busy one, and for sanitizers.
TIMEOUT_FACTOR = {"": 4, "asan": 8, "tsan": 16}
PYTEST_FOLDER_TIMEOUT_S = 2400  # slots take their time to settle
OUTPUT_LINES = 300
SUMMARY_COLUMNS = 200
EXIT_SKIPPED = 77  # what automake and meson mean by it
# Suites whose programs share nothing of the machine and so may run side by side.
PARALLEL_SUITES = {"unit", "lint", "fuzz", "simulation"}
SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


@dataclasses.dataclass
class Case:
    name: str
    outcome: str  # passed, failed or skipped
    message: str = ""


@dataclasses.dataclass
class Program:
    """One test() of a meson.build."""

    name: str
    command: list
    suites: set
    is_gtest: bool
    timeout_s: float
    environment: dict
    workdir: str
    sanitizer: str = ""
    build_dir: pathlib.Path = None

    @property
    def label(self):
        return f"{self.sanitizer}:{self.name}" if self.sanitizer else self.name


def load_programs(build_dir, sanitizer=""):
    raw = json.loads((build_dir / "meson-info/intro-tests.json").read_text())
    programs = []
    for test in raw:
        suites = {suite.split(":")[-1] for suite in test["suite"]}
        if sanitizer and sanitizer not in suites:
            continue
        programs.append(Program(
            name=test["name"], command=test["cmd"], suites=suites, is_gtest=test["protocol"] == "gtest",
            timeout_s=test["timeout"] * TIMEOUT_FACTOR[sanitizer], environment=test["env"],
            workdir=test["workdir"], sanitizer=sanitizer, build_dir=build_dir))
    return programs


def targets_of(build_dir, suite):
    """Ninja's names of the executables of one suite's tests."""
    programs = [program for program in load_programs(build_dir, suite)]
    paths = {pathlib.Path(word) for program in programs for word in program.command if word.startswith("/")}
    return sorted(str(path.relative_to(build_dir)) for path in paths if path.is_relative_to(build_dir))


def matches(name, patterns):
    """By plain text first: the names that pytest prints hold brackets."""
    name = name.lower()
    return any(pattern.lower() in name or fnmatch.fnmatchcase(name, f"*{pattern.lower()}*") for pattern in patterns)


def gtest_cases(program):
    """Suite.Case names as --gtest_filter takes them."""
    listing = subprocess.run(command_line(program) + ["--gtest_list_tests"], capture_output=True, text=True,
                             env=environment_of(program), timeout=120, check=True).stdout
    cases, suite = [], ""
    for line in listing.splitlines():
        text = line.split("#")[0].rstrip()
        if line.startswith("  "):
            cases.append(suite + text.strip())
        elif text.endswith("."):
            suite = text
    return cases


def command_line(program):
    # gcc 12's sanitizer runtimes cannot place their shadow memory under the address randomisation of newer kernels.
    return (["setarch", "-R"] if program.sanitizer else []) + program.command


def environment_of(program):
    environment = dict(os.environ, FAIRLEAD_BUILD_DIR=str(program.build_dir), FAIRLEAD_SOURCE_DIR=str(ROOT),
                       **program.environment)
    if program.sanitizer:
        for name, value in SANITIZER_ENVIRONMENT.items():
            environment.setdefault(name, value)
    return environment


def gtest_name(program, scope, name):
    return f"{program.label}:{scope}.{name}"


def pytest_name(scope, name):
    """The node id that pytest itself prints, from the report's "netns.test_forward.TestClass"."""
    parts = scope.split(".")
    for count in range(len(parts), 0, -1):
        if (ROOT / "tests" / "/".join(parts[:count])).with_suffix(".py").exists():
            return "::".join(["/".join(parts[:count]) + ".py", *parts[count:], name])
    return "::".join(filter(None, [scope, name]))


def read_junit(path, name_of):
    """The cases of a report; name_of(classname, name) makes the name that a person sees."""
    cases = []
    for element in ElementTree.parse(path).iter("testcase"):
        name = name_of(element.get("classname") or "", element.get("name"))
        failure = next((child for tag in ("failure", "error") for child in element.findall(tag)), None)
        skipped = element.find("skipped")
        if failure is not None:
            cases.append(Case(name, "failed", failure.get("message") or ""))
        elif skipped is not None or element.get("result") == "skipped":
            cases.append(Case(name, "skipped", (skipped.get("message") or "") if skipped is not None else ""))
        elif element.get("status") != "notrun":  # DISABLED_ cases are neither run nor skipped
            cases.append(Case(name, "passed"))
    return cases


def run_program(program, gtest_filter, report):
    """Returns (cases, output, seconds)."""
    command = command_line(program)
    if program.is_gtest:
        command = command + [f"--gtest_output=xml:{report}", "--gtest_color=no"]
        command += [f"--gtest_filter={gtest_filter}"] if gtest_filter else []
    begun = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", env=environment_of(program), cwd=program.workdir or program.build_dir,
                               start_new_session=True)
    trouble = ""
    try:
        output, _ = process.communicate(timeout=program.timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        trouble = f"hung: killed after {program.timeout_s:.0f} s"
    seconds = time.monotonic() - begun
    code = process.returncode
    if not trouble and code < 0:
        trouble = f"died of {signal.Signals(-code).name}"
    if not program.is_gtest:
        if not trouble and code == EXIT_SKIPPED:
            lines = output.strip().splitlines()
            return [Case(program.label, "skipped", lines[-1] if lines else "")], output, seconds
        if not trouble and code != 0:
            trouble = f"exit code {code}"
        return [Case(program.label, "failed" if trouble else "passed", trouble)], output, seconds
    cases = read_junit(report, functools.partial(gtest_name, program)) if report.exists() else []
    if not trouble and not report.exists():
        trouble = f"exit code {code}, and no report"
    if not trouble and code != 0 and not any(case.outcome == "failed" for case in cases):
        trouble = f"exit code {code}, though no case failed"
    if not trouble and not cases:
        trouble = "ran no test"
    if trouble:
        cases.append(Case(program.label, "failed", trouble))
    return cases, output, seconds


def tally(cases):
    return {outcome: sum(case.outcome == outcome for case in cases) for outcome in ("passed", "failed", "skipped")}


def describe(cases, with_zero=False):
    return ", ".join(f"{count} {name}" for name, count in tally(cases).items() if count or with_zero)


def report_line(label, cases, seconds):
    mark = "FAIL" if any(case.outcome == "failed" for case in cases) else "ok"
    print(f"{mark:4} {label:40} {describe(cases):30} {seconds:6.1f} s", flush=True)


def run_programs(selected, reports):
    """`selected` is a list of (program, gtest filter)."""
    side_by_side = [item for item in selected if item[0].suites & PARALLEL_SUITES]
    alone = [item for item in selected if not item[0].suites & PARALLEL_SUITES]
    everything = []

    def run_one(item):
        program, gtest_filter = item
        return program, run_program(program, gtest_filter, reports / f"{program.label.replace(':', '-')}.xml")

    def take(result):
        program, (cases, output, seconds) = result
        report_line(program.label, cases, seconds)
        if any(case.outcome == "failed" for case in cases):
            lines = output.splitlines()
            if len(lines) > OUTPUT_LINES:
                lines = [f"[{len(lines) - OUTPUT_LINES} lines left out]"] + lines[-OUTPUT_LINES:]
            print("\n".join("    | " + line for line in lines), flush=True)
        everything.extend(cases)

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run_one, item) for item in side_by_side]):
            take(future.result())
    for item in alone:
        take(run_one(item))
    return everything


def pytest_folders():
    return sorted({path.parent for path in (ROOT / "tests").glob("*/**/test_*.py")})


def pytest_collect(folder, quick):
    command = ["/usr/bin/python3", "-m", "pytest", "--collect-only", "-q", str(folder)] + (["-m", "smoke"] if quick else [])
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "tests")
    if result.returncode not in (0, 5):
        return None, result.stdout + result.stderr
    return [line for line in result.stdout.splitlines() if "::" in line], ""


def run_pytest(folder, arguments, build_dir, reports):
    label = str(folder.relative_to(ROOT / "tests"))
    report = reports / f"pytest-{label.replace('/', '-')}.xml"
    command = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-o", "junit_family=xunit2", "-ra",
               "--tb=short", f"--junitxml={report}", *arguments]
    environment = dict(os.environ, FAIRLEAD_BUILD_DIR=str(build_dir), FAIRLEAD_SOURCE_DIR=str(ROOT),
                       PYTHONDONTWRITEBYTECODE="1")
    begun = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT / "tests", env=environment, stdin=subprocess.DEVNULL)
    trouble = ""
    try:
        code = process.wait(timeout=PYTEST_FOLDER_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # An interrupt lets fixtures take their namespaces away.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
        code, trouble = process.wait(), f"hung: stopped after {PYTEST_FOLDER_TIMEOUT_S} s"
    cases = read_junit(report, pytest_name) if report.exists() else []
    if not trouble and code not in (0, 5) and not any(case.outcome == "failed" for case in cases):
        trouble = f"pytest ended with {code}"
    if trouble:
        cases.append(Case(label, "failed", trouble))
    report_line(label, cases, time.monotonic() - begun)
    return cases


def select_programs(programs, patterns):
    """Pairs of program and gtest filter. A pattern that matches the program's name takes the whole of it."""
    selected = []
    for program in programs:
        if not patterns or matches(program.label, patterns):
            selected.append((program, ""))
        elif program.is_gtest:
            cases = [case for case in gtest_cases(program) if matches(f"{program.label}:{case}", patterns)]
            if cases:
                selected.append((program, ":".join(cases)))
    return selected


def select_pytest(patterns, quick):
    """Pairs of folder and pytest arguments, and what could not be collected."""
    selected, broken = [], []
    for folder in pytest_folders():
        label = str(folder.relative_to(ROOT / "tests"))
        if not patterns and not quick:
            selected.append((folder, [str(folder)]))
            continue
        names, complaint = pytest_collect(folder, quick)
        if names is None:
            print(complaint)
            broken.append(Case(label, "failed", "pytest could not collect it"))
            continue
        chosen = [name for name in names if not patterns or matches(name, patterns)]
        if chosen:
            selected.append((folder, chosen))
    return selected, broken


def list_tests(programs, folders):
    for program, gtest_filter in programs:
        if not program.is_gtest:
            print(program.label)
            continue
        for case in gtest_filter.split(":") if gtest_filter else gtest_cases(program):
            print(f"{program.label}:{case}")
    for folder, arguments in folders:
        names = arguments if arguments != [str(folder)] else pytest_collect(folder, False)[0] or []
        print("\n".join(names))


def finish(cases, no_skip):
    counts = tally(cases)
    for outcome in ("skipped", "failed"):
        chosen = [case for case in cases if case.outcome == outcome]
        if chosen:
            print(f"\n{outcome}:")
        for case in chosen:
            # A gtest's first line is where, its second is what.
            print(("  " + ": ".join([case.name, *case.message.splitlines()[:2]]))[:SUMMARY_COLUMNS])
    ok = counts["failed"] == 0 and bool(cases)
    if no_skip and counts["skipped"]:
        print("\n--no-skip: a skipped test fails this run")
        ok = False
    if not cases:
        print("no test ran")
    print(describe(cases, with_zero=True), flush=True)
    return 0 if ok else 1


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/test")
    parser.add_argument("--build-dir", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--asan-dir", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--tsan-dir", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--targets-of", metavar="SUITE", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-skip", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    return parser.parse_args()


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # scripts/test --list | head
    arguments = parse_arguments()
    if arguments.targets_of:
        for target in targets_of(arguments.build_dir, arguments.targets_of):
            print(target)
        return 0
    programs = load_programs(arguments.build_dir)
    for sanitizer, folder in (("asan", arguments.asan_dir), ("tsan", arguments.tsan_dir)):
        programs += load_programs(folder, sanitizer) if folder else []
    if arguments.quick and not arguments.names:
        programs = [program for program in programs if program.suites & {"unit", "smoke", "lint"}]
    selected = select_programs(programs, arguments.names)
    folders, cases = select_pytest(arguments.names, arguments.quick and not arguments.names)
    if arguments.list:
        list_tests(selected, folders)
        return 0
    reports = arguments.build_dir / "test-reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir()
    cases += run_programs(selected, reports)
    for folder, names in folders:
        cases += run_pytest(folder, names, arguments.build_dir, reports)
    return finish(cases, arguments.no_skip)


if __name__ == "__main__":
    sys.exit(main())
