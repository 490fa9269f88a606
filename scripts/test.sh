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
usage: scripts/test.sh [--load] [--long] [--help]

Installs what is needed (scripts/setup.sh), builds into build/ with warnings as
errors, runs every test, and looks at the source (scripts/lint.sh).  It needs no
terminal and may be started from any directory.

The Python tests run under this system's Python and under one other that the
package is built for, another one each day; with --long under all of them, which
takes minutes for each.  Those of races run beside processes that compute as
well: under one of the Pythons, another one each day, or with --load under all.

With --long each fuzzer (tests/fuzz) runs for a minute too, where there is clang.

The tests for other targets, each in a directory of its own, are steps that are
skipped where there is no compiler for them or nothing to run them: i386
(build-32/), musl (build-musl/), and under qemu-user aarch64 (build-aarch64/) and
riscv64 (build-riscv64/).

At the end comes what the programs of the tests that failed last said on stderr,
then the names of these tests, each behind the log that has the details.  The
last two lines are 'N passed, N failed, N skipped', which counts single tests
rather than test programs, but a skipped step as one, and one that says whether
all went well.

Exit status: 0 when all tests passed, 1 when one failed, none was run, or
another step failed, 125 for an argument that is not understood.
END
}

# A step is a function or a command that says by its status how it went.  The
# name of one that failed ends up in the last line.
step() {
  local name=$1 since=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@" || failed+=("$name")
  printf '== %s: %d s\n' "$name" $(( SECONDS - since ))
}

build() {
  if [[ -e build/build.ninja ]]; then
    meson configure build -Dwerror=true -Dtests=true
  else
    meson setup build --werror
  fi && ninja -C build all meson-test-prereq
}

# run_tests DIRECTORY [ARGUMENT...]: the last are meson's.  log_base: for a second run in a DIRECTORY.
run_tests() {
  local directory=$1 base=${log_base:-testlog}
  local log=$directory/meson-logs/$base
  shift
  rm -f "$log".*
  logs+=("$log")
  meson test -C "$directory" --no-rebuild --print-errorlogs --logbase "$base" "$@"
}

# names [ARGUMENT...]: of the tests in build/; the arguments are those of `meson test --list`.
names() {
  meson test -C build --list "$@" 2>/dev/null | sed -n 's|.* / ||p'
}

# pythons NAME...: the versions of Python in the names of tests.
pythons() {
  printf '%s\n' "$@" | sed -n 's/^python \(3[^ ]*\) .*/\1/p' | sort -uV
}

# today WORD...: one of them, another one each day.
today() {
  local words=("$@")
  (( $# == 0 )) || echo "${words[$(date +%s) / 86400 % $#]}"
}

# All tests, but of the Pythons only this system's and one other, unless all are asked for.
tests() {
  local all=() others=() chosen=() name mine other
  mapfile -t all < <(names)
  mine=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  mapfile -t others < <(pythons "${all[@]}" | grep -vxF "$mine")
  other=$(today "${others[@]}")
  [[ $long ]] || echo "Python: $mine and $other; all of them with --long"
  for name in "${all[@]}"; do
    case $name in
      "python $mine "* | "python $other "*) chosen+=("$name") ;;
      'python 3'*) [[ ! $long ]] || chosen+=("$name") ;;
      *) chosen+=("$name") ;;
    esac
  done
  run_tests build "${chosen[@]}"
}

# The Python tests beside processes that compute: with --load all of them, otherwise those of one
# Python, by turns.
under_load() {
  local all=() chosen=() versions=() name one
  mapfile -t all < <(names --suite load | grep '^python ')
  if (( ${#all[@]} == 0 )); then
    echo 'skipped: the Python package is not built here'
    (( ++skipped ))
    return
  fi
  mapfile -t versions < <(pythons "${all[@]}")
  one=$(today "${versions[@]}")
  for name in "${all[@]}"; do
    [[ $load != all && $name != "python $one "* ]] || chosen+=("$name")
  done
  log_base=load run_tests build --suite load "${chosen[@]}"
}

# sanitized SANITIZERS SUITE...: what can run under them.  A sanitized library
# cannot be preloaded into plain programs, and Criterion cannot have the memory
# that it wants under ThreadSanitizer: there the soak runs alone.
sanitized() {
  local directory=build-${1%%,*}
  [[ -e $directory/build.ninja ]] ||
    meson setup "$directory" --werror -Db_sanitize="$1" -Db_lundef=false || return
  ninja -C "$directory" all meson-test-prereq && run_tests "$directory" "${@:2}"
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
  ninja -C "$directory" all meson-test-prereq && run_tests "$directory"
}

# For 32 bits, where libc has 64-bit times (glibc 2.34).
bits_32() {
  if ! printf '#include <time.h>\n_Static_assert(sizeof(time_t) == 8, "32 bits");\n' |
    gcc -m32 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -fsyntax-only -x c -; then
    echo 'skipped: there is no gcc -m32, or its libc has no 64-bit times; the errors are above'
    (( ++skipped ))
    return
  fi
  other build-32 'gcc -m32' ''
}

# Its skipped steps count as those here do.
lint() {
  local said status
  said=$(mktemp) || return
  scripts/lint.sh 2>&1 | tee "$said"
  status=${PIPESTATUS[0]}
  (( skipped += $(grep -c '^skipped: ' "$said") ))
  rm -f "$said"
  return "$status"
}

# Each fuzzer for a minute.  What one finds it leaves in build-fuzz/.
fuzz() {
  [[ -e build-fuzz/build.ninja ]] ||
    CC=clang meson setup build-fuzz --werror -Dfuzz=true -Dtests=false -Dpython=disabled -Druby=disabled || return
  ninja -C build-fuzz || return
  local fuzzer status=0
  for fuzzer in build-fuzz/tests/fuzz/fuzz_*; do
    [[ -f $fuzzer && -x $fuzzer ]] || continue
    (cd build-fuzz && "../$fuzzer" -max_total_time=60 -verbosity=0 -print_final_stats=1) || status=1
  done
  return "$status"
}

# meson's junit file has the single tests.  But it does not say that a program
# timed out, nor that one ended badly after all its tests had passed; the json
# file does.  Such a program counts as one failed test.
# The first argument is how many steps were skipped.
# Where the output of this script is kept, its head may be cut off: so the tests
# that failed are printed again before the counts, which are the last line.
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
failures = []
names = []  # again, behind the details: those may be long
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
                names.append(f"failed: {log}: {name}: {plain(case.get('name'))}")
                failures.append(names[-1])
        if program in with_failures:
            said = (suite.findtext("system-err") or "").splitlines()
            failures += ["    " + line[:160] for line in said[-20:]]

    for line in open(log + ".json", encoding="utf-8"):
        test = json.loads(line)
        name = plain(test["name"])
        if name in with_failures:  # what a program that reports in TAP says of a failure
            said = [line for line in test.get("stdout", "").splitlines() if line.startswith("#")]
            failures += [f"    {name}: {line[:160]}" for line in said[-20:]]
        if test["result"] in ("OK", "SKIP", "EXPECTEDFAIL") or name in with_failures:
            continue
        count["failed"] += 1
        names.append(f"failed: {log}: {name}: {test['result']}")
        if name in alone:
            count[alone[name]] -= 1

for line in failures + names:
    print(line)
print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % count)
END
}

finish() {
  local counted counts reasons
  counted=$(count "$skipped" "${logs[@]}") || { failed+=('counting') counted='0 passed, 0 failed, 0 skipped'; }
  counts=${counted##*$'\n'}
  if (( ${#failed[@]} == 0 )); then
    [[ $counts == *' 0 failed,'* ]] || failed+=('some tests')
    [[ $counts != '0 passed, 0 failed,'* ]] || failed+=('no test was run')
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

load=one # of the Pythons
long=
for argument; do
  case $argument in
    --load) load=all ;;
    --long) long=yes ;;
    --help)
      usage
      exit
      ;;
    *)
      echo "test: unknown argument '$argument'; there are --load, --long and --help" >&2
      exit 125
      ;;
  esac
done

# What is to be tested is what is built here, without a deadline from outside.
for name in "${!COOPDL_@}"; do
  unset "$name"
done
step 'set-up' scripts/setup.sh
(( ${#failed[@]} )) || step 'build' build
if (( ${#failed[@]} == 0 )); then
  step 'tests' tests
  step 'tests under load' under_load
  step 'tests for 32 bits' bits_32
  step 'tests for musl' other build-musl musl-gcc ''
  step 'tests for aarch64' other build-aarch64 'clang --target=aarch64-linux-gnu' \
    'qemu-aarch64 -L /usr/aarch64-linux-gnu' --cross-file scripts/aarch64.ini
  step 'tests for riscv64' other build-riscv64 'clang --target=riscv64-linux-gnu' \
    'qemu-riscv64 -L /usr/riscv64-linux-gnu' --cross-file scripts/riscv64.ini
  step 'AddressSanitizer and UndefinedBehaviorSanitizer' \
    sanitized address,undefined --suite unit --suite soak
  step 'ThreadSanitizer' sanitized thread --suite soak
  [[ ! $long ]] || step 'fuzzers' fuzz
  step 'lint' lint
fi
finish
