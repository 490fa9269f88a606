#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets up, builds and runs every test: see --help.
# shellcheck disable=SC2317 # the functions that `step` calls look unreachable
set -uo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

skipped=0 # steps that could not be run here
logs=()   # of each run of `meson test`, without their endings: what is counted
failed=() # the steps that failed

usage() {
  cat <<'END'
usage: scripts/test.sh [--help]

Installs what is needed (scripts/setup.sh), builds into build/ with warnings as
errors, runs every test, and looks at the source (scripts/lint.sh).  It needs no
terminal and may be started from any directory.

The tests for other targets, each in a directory of its own, are steps that are
skipped where there is no compiler for them or nothing to run them: i386
(build-32/), musl (build-musl/), and aarch64 under qemu-user (build-aarch64/).

The last two lines are 'N passed, N failed, N skipped', which counts single
tests rather than test programs, but a skipped step as one, and one that says
whether all went well.

Exit status: 0 when all tests passed, 1 when one failed, none was run, or
another step failed, 125 for an argument that is not understood.
END
}

# A step is a function or a command that says by its status how it went.  The
# name of one that failed ends up in the last line.
step() {
  local name=$1
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+=("$name")
}

build() {
  if [[ -e build/build.ninja ]]; then
    meson configure build -Dwerror=true
  else
    meson setup build --werror
  fi && ninja -C build
}

# run_tests DIRECTORY [ARGUMENT...]: the last are meson's
run_tests() {
  local directory=$1 log=$1/meson-logs/testlog
  shift
  rm -f "$log".*
  logs+=("$log")
  meson test -C "$directory" --no-rebuild --print-errorlogs "$@"
}

# sanitized SANITIZERS SUITE...: what can run under them.  A sanitized library
# cannot be preloaded into plain programs, and Criterion cannot have the memory
# that it wants under ThreadSanitizer: there the soak runs alone.
sanitized() {
  local directory=build-${1%%,*}
  [[ -e $directory/build.ninja ]] ||
    meson setup "$directory" --werror -Db_sanitize="$1" -Db_lundef=false || return
  ninja -C "$directory" && run_tests "$directory" "${@:2}"
}

# other DIRECTORY COMPILER RUN [ARGUMENT...]: for another target, where the compiler makes a program
# that RUN (a command, may be empty) runs.  The last arguments are those of `meson setup`.
other() {
  local directory=$1 compiler=$2 run=$3 program
  shift 3
  program=$(mktemp) || return
  # shellcheck disable=SC2086 # these are commands with arguments
  if ! { echo 'int main(void) { return 0; }' | $compiler -x c -o "$program" - && $run "$program"; }
  then
    echo "skipped: $compiler makes no program that runs here; the errors are above"
    (( ++skipped ))
    rm -f "$program"
    return
  fi
  rm -f "$program"
  [[ -e $directory/build.ninja ]] || CC=$compiler meson setup "$directory" --werror "$@" || return
  ninja -C "$directory" && run_tests "$directory"
}

# meson's junit file has the single tests.  But it does not say that a program
# timed out, nor that one ended badly after all its tests had passed; the json
# file does.  Such a program counts as one failed test.
# The first argument is how many steps were skipped.
count() {
  /usr/bin/python3 - "$@" <<'END'
import collections
import json
import sys
import xml.etree.ElementTree

count = collections.Counter()


def plain(name):
    """Without the project and the suite."""
    return name.rpartition(" / ")[2]


def verdict(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


count["skipped"] = int(sys.argv[1])
for log in sys.argv[2:]:
    with_failures = set()
    alone = {}  # programs that are one test
    for suite in xml.etree.ElementTree.parse(log + ".junit.xml").iter("testsuite"):
        program = plain(suite.get("name").partition(".")[2])
        for case in suite.iter("testcase"):
            count[verdict(case)] += 1
            name = program or plain(case.get("name"))
            if not program:
                alone[name] = verdict(case)
            if verdict(case) == "failed":
                with_failures.add(name)

    for line in open(log + ".json", encoding="utf-8"):
        test = json.loads(line)
        name = plain(test["name"])
        if test["result"] in ("OK", "SKIP", "EXPECTEDFAIL") or name in with_failures:
            continue
        count["failed"] += 1
        if name in alone:
            count[alone[name]] -= 1

print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % count)
END
}

finish() {
  local counted reasons
  counted=$(count "$skipped" "${logs[@]}") || { failed+=('counting') counted='0 passed, 0 failed, 0 skipped'; }
  if (( ${#failed[@]} == 0 )); then
    [[ $counted == *' 0 failed,'* ]] || failed+=('some tests')
    [[ $counted != '0 passed, 0 failed,'* ]] || failed+=('no test was run')
  fi
  printf '\n%s\n' "$counted"
  if (( ${#failed[@]} )); then
    printf -v reasons ', %s' "${failed[@]}"
    echo "test: FAILED: ${reasons#, }"
    exit 1
  fi
  echo 'test: all passed'
  exit 0
}

for argument; do
  if [[ $argument != --help ]]; then
    echo "test: unknown argument '$argument'; the only one is --help" >&2
    exit 125
  fi
  usage
  exit
done

# What is to be tested is what is built here, without a deadline from outside.
for name in "${!COOPDL_@}"; do
  unset "$name"
done
step 'set-up' scripts/setup.sh
(( ${#failed[@]} )) || step 'build' build
if (( ${#failed[@]} == 0 )); then
  step 'tests' run_tests build
  step 'tests for 32 bits' other build-32 'gcc -m32' ''
  step 'tests for musl' other build-musl musl-gcc ''
  step 'tests for aarch64' other build-aarch64 'clang --target=aarch64-linux-gnu' \
    'qemu-aarch64 -L /usr/aarch64-linux-gnu' --cross-file scripts/aarch64.ini
  step 'AddressSanitizer and UndefinedBehaviorSanitizer' \
    sanitized address,undefined --suite unit --suite soak
  step 'ThreadSanitizer' sanitized thread --suite soak
  step 'lint' scripts/lint.sh
fi
finish
