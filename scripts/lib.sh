# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the scripts share; source it after `set -euo pipefail`.
#
#   FAIRLEAD_BUILD_DIR   build here instead of build/
#   FAIRLEAD_JOBS        compile and test this many at a time instead of one for each processor

fairlead_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fairlead_build_dir=${FAIRLEAD_BUILD_DIR:-$fairlead_root/build}
[[ $fairlead_build_dir == /* ]] || fairlead_build_dir=$PWD/$fairlead_build_dir

say() { printf '%s\n' "$*" >&2; }
die() {
    say "$(basename "$0"): $*"
    exit 1
}

# fairlead_setup DIR [MESON OPTION...]: configures DIR, anew or where the options differ from those of the last time.
# Meson finds ccache by itself.
fairlead_setup() {
    local dir=$1 stamp=$1/.fairlead-options log
    shift
    # Line numbers in stack traces, but no variables: a quarter less to compile. A folder of one's own, made by meson
    # setup, has all of it.
    set -- "$@" -Dcpp_args=-g1
    if [[ -f $dir/build.ninja && "$(cat "$stamp" 2>/dev/null)" == "$*" ]]; then
        # Meson's files may have changed: what it says of its tests must not be of an earlier state.
        log=$(ninja -C "$dir" build.ninja 2>&1) || die "meson could not configure $dir again: $log"
        return
    fi
    local -a command=(meson setup "$dir" "$fairlead_root")
    [[ ! -f $dir/build.ninja ]] || command+=(--reconfigure)
    log=$(mktemp)
    if ! "${command[@]}" "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "meson could not configure $dir"
    fi
    rm -f "$log"
    printf '%s' "$*" >"$stamp"
}

# fairlead_ninja DIR [TARGET...]: builds, quietly unless something is wrong.
fairlead_ninja() {
    local dir=$1
    shift
    local -a quiet=(--quiet)
    [[ ! -t 1 ]] || quiet=()
    ninja -C "$dir" ${FAIRLEAD_JOBS:+-j"$FAIRLEAD_JOBS"} "${quiet[@]}" "$@" >&2
}

# fairlead_build [with-tests]: the programs, and the tests where asked, in the usual build folder. A folder that has its
# tests switched on keeps them.
fairlead_build() {
    local tests=disabled
    if [[ ${1:-} == with-tests ]] || grep -qs 'tests=enabled' "$fairlead_build_dir/.fairlead-options"; then
        tests=enabled
    fi
    fairlead_setup "$fairlead_build_dir" -Dtests=$tests
    fairlead_ninja "$fairlead_build_dir"
}
