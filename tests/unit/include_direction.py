#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who includes and who links whom, as ARCHITECTURE.md says it.

  include_direction.py ROOT          exit code 1 and one line for each violation
  include_direction.py --self-test   plants each kind of violation in a tree of its own and expects to find it

A new folder has no rule and so fails until it is given one here.
"""
import os
import pathlib
import re
import sys
import tempfile

# Folder -> folders whose headers it may include. The longest folder that fits a file is its folder.
MAY_INCLUDE = {
    "dataplane/core": {"dataplane/core"},
    "dataplane/tables": {"dataplane/tables", "dataplane/core"},
    "dataplane/engine": {"dataplane/engine", "dataplane/core", "dataplane/tables"},
    "xdp": {"xdp", "dataplane/core", "dataplane/tables"},
    "ctl": {"ctl", "dataplane/tables", "xdp"},
}
# Whoever reaches the kernel's BPF or DPDK does it through these folders.
MAY_USE_LIBRARY = {
    "libbpf and libxdp": ({"xdp", "dataplane/tables", "dataplane/engine"},
                          re.compile(r"(bpf|xdp)/.*"), re.compile(r"\b(libbpf|libxdp)(_dep)?\b")),
    "DPDK": ({"dataplane/engine"}, re.compile(r"rte_.*|dpdk/.*"), re.compile(r"\b(libdpdk|dpdk_dep)\b")),
}
# libxdp's own headers lie in a folder of the same name as one of ours.
LIBXDP_HEADERS = {"xdp/libxdp.h", "xdp/xsk.h"}
# Files that may include more than their folder: the engine's program reads the config, and logs as all programs do.
MAY_INCLUDE_TOO = {"dataplane/engine/main.cpp": {"ctl/config/config.h", "ctl/instance.h", "ctl/lbd/log.h"}}
# The core is freestanding: nothing but the kernel's fixed-width types.
CORE_SYSTEM_HEADERS = {"linux/types.h"}
# Tests may reach into everything; config, docs and scripts hold no C or C++.
FREE = ("tests",)
SOURCES = {".c", ".h", ".cc", ".cpp", ".hpp"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
COMMENT = re.compile(r"#.*")


def files_under(root):
    for folder, names, files in os.walk(root):
        relative = pathlib.Path(folder).relative_to(root)
        names[:] = sorted(name for name in names if not name.startswith((".", "build")) and name != "__pycache__")
        if relative.parts[:1] and relative.parts[0] in FREE:
            names[:] = []
            continue
        for name in sorted(files):
            yield relative / name


def folder_of(path):
    """The longest folder of MAY_INCLUDE that holds `path`, or ''."""
    text = path.as_posix()
    return max((folder for folder in MAY_INCLUDE if text.startswith(folder + "/")), key=len, default="")


def check_include(path, folder, bracket, target):
    """What is wrong with one #include line, or ''."""
    for library, (allowed, header, _) in MAY_USE_LIBRARY.items():
        if bracket == "<" and header.fullmatch(target) and folder not in allowed:
            return f"includes <{target}>: only {', '.join(sorted(allowed))} may use {library}"
    if folder == "dataplane/core" and bracket == "<" and target not in CORE_SYSTEM_HEADERS:
        return f"includes <{target}>: dataplane/core is freestanding, it may use only {', '.join(CORE_SYSTEM_HEADERS)}"
    if ".." in target.split("/"):
        return f"includes {target}: name headers by their path from the project's root"
    other = folder_of(pathlib.PurePath(target))
    if target in MAY_INCLUDE_TOO.get(path.as_posix(), ()):
        return ""
    if bracket == "<":
        if target in LIBXDP_HEADERS:
            return ""
        return f"includes <{target}>: the project's own headers stand in quotes" if other else ""
    # The skeleton header that the build writes from a BPF object carries no folder.
    if not other:
        return "" if target.endswith(".skel.h") and folder == "xdp" else (
            f'includes "{target}": not a path from the project\'s root')
    if other not in MAY_INCLUDE[folder]:
        hint = " (the layout comes with dataplane/tables/desired.h)" if target == "dataplane/core/layout.h" else ""
        return f'includes "{target}": {folder} may know only {", ".join(sorted(MAY_INCLUDE[folder]))}{hint}'
    return ""


def check(root):
    """All violations under `root`, as printable lines."""
    found = []
    for path in files_under(root):
        folder = folder_of(path)
        if path.name == "meson.build" and folder:
            for number, line in enumerate((root / path).read_text().splitlines(), 1):
                for library, (allowed, _, dependency) in MAY_USE_LIBRARY.items():
                    if dependency.search(COMMENT.sub("", line)) and folder not in allowed:
                        found.append(f"{path}:{number}: links {library}: only {', '.join(sorted(allowed))} may")
        if path.suffix not in SOURCES:
            continue
        if not folder:
            found.append(f"{path}:1: this folder has no rule; add it to {pathlib.Path(__file__).name}")
            continue
        for number, line in enumerate((root / path).read_text(errors="replace").splitlines(), 1):
            match = INCLUDE.match(line)
            complaint = check_include(path, folder, *match.groups()) if match else ""
            if complaint:
                found.append(f"{path}:{number}: {complaint}")
    return found


GOOD = {
    "dataplane/core/parse.h": '#include <linux/types.h>\n#include "dataplane/core/hash.h"\n',
    "dataplane/tables/tables.cpp": '#include <bpf/bpf.h>\n#include "dataplane/core/layout.h"\n',
    "dataplane/tables/meson.build": "dependencies: [libbpf_dep]\n",
    "dataplane/engine/port.c": '#include <rte_mbuf.h>\n#include <xdp/xsk.h>\n#include "dataplane/core/parse.h"\n',
    "dataplane/engine/main.cpp": '#include "ctl/config/config.h"\n',
    "xdp/loader.cpp": '#include <bpf/libbpf.h>\n#include "steer.skel.h"\n#include "dataplane/tables/result.h"\n',
    "ctl/plan/plan.cpp": '#include <vector>\n#include "dataplane/tables/address.h"\n#include "xdp/loader.h"\n',
    "ctl/meson.build": "dependencies: [tables_dep]  # which brings libbpf_dep\n",
    "tests/unit/any_test.cpp": '#include "dataplane/core/parse.h"\n#include "ctl/plan/plan.h"\n',
    "build/generated.c": '#include "../anything.h"\n',
}
PLANTED = [
    ("dataplane/core/parse.h", '#include "dataplane/tables/result.h"\n', "dataplane/core may know only"),
    ("dataplane/core/parse.h", "#include <bpf/bpf_helpers.h>\n", "may use libbpf"),
    ("dataplane/core/parse.h", "#include <string.h>\n", "is freestanding"),
    ("dataplane/tables/tables.cpp", '#include "ctl/plan/plan.h"\n', "dataplane/tables may know only"),
    ("dataplane/tables/tables.cpp", '#include "xdp/loader.h"\n', "dataplane/tables may know only"),
    ("dataplane/engine/port.c", '#include "ctl/config/config.h"\n', "dataplane/engine may know only"),
    ("dataplane/engine/main.cpp", '#include "ctl/plan/plan.h"\n', "dataplane/engine may know only"),
    ("xdp/loader.cpp", '#include "ctl/plan/plan.h"\n', "xdp may know only"),
    ("xdp/loader.cpp", "#include <rte_ether.h>\n", "may use DPDK"),
    ("ctl/plan/plan.cpp", '#include "dataplane/core/parse.h"\n', "ctl may know only"),
    ("ctl/plan/plan.cpp", '#include "dataplane/engine/port.h"\n', "ctl may know only"),
    ("ctl/plan/plan.cpp", "  #  include <bpf/libbpf.h>\n", "may use libbpf"),
    ("ctl/plan/plan.cpp", "#include <xdp/xsk.h>\n", "may use libbpf"),
    ("ctl/plan/plan.cpp", '#include "../plan/plan.h"\n', "path from the project's root"),
    ("ctl/plan/plan.cpp", '#include "plan.h"\n', "not a path from the project's root"),
    ("ctl/plan/plan.cpp", "#include <xdp/loader.h>\n", "may use libbpf"),
    ("ctl/plan/plan.cpp", "#include <ctl/plan/plan.h>\n", "stand in quotes"),
    ("ctl/plan/meson.build", "dependencies: [libbpf_dep]\n", "links libbpf"),
    ("xdp/meson.build", "dependency('libdpdk')\n", "links DPDK"),
    ("surprise/new.cpp", "int x;\n", "has no rule"),
]


def write_tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def self_test():
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        write_tree(pathlib.Path(folder), GOOD)
        failures += [f"a clean tree is refused: {line}" for line in check(pathlib.Path(folder))]
    for name, text, expected in PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            write_tree(pathlib.Path(folder), {**GOOD, name: text})
            found = check(pathlib.Path(folder))
            if len(found) != 1 or expected not in found[0] or not found[0].startswith(f"{name}:1:"):
                failures.append(f"{name} with {text!r}: expected one '{expected}', found {found}")
    return failures


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found = self_test() if sys.argv[1] == "--self-test" else check(pathlib.Path(sys.argv[1]))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
