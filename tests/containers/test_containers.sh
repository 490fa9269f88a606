#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a container does to a process, one thing at a time, and what holds then:
# the table in docs/containers.md, row by row.
#
# meson.build sets COOPDL, COOPDL_LIBRARY, PYTHON and RUBY (empty where the module
# was not built), PACKAGE and GEM, the directories of the modules.  The report is
# TAP.  It takes root, to mount and to be another user.
#
# shellcheck disable=SC2317 # the functions that `check` calls look unreachable
set -uo pipefail

if ((EUID != 0)) || ! unshare --mount --pid --fork true 2>/dev/null; then
  echo '1..0 # SKIP it takes root, and namespaces'
  exit
fi

# Another user may not be able to read the build directory.
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
chmod 755 "$files"
mkdir "$files/python" "$files/ruby" "$files/noexec"
# shellcheck disable=SC2153 # it is not coopdl misspelt
cp "$COOPDL" "$files/coopdl"
cp "$COOPDL_LIBRARY" "$files/libcoopdl.so.0"
[[ -z $PYTHON ]] || cp -r "$PACKAGE" "$files/python"
[[ -z $RUBY ]] || cp -r "$GEM"/lib/* "$GEM_EXTENSION" "$files/ruby"

unset LD_PRELOAD "${!COOPDL_@}"
export LD_LIBRARY_PATH=$files # without /proc the loader knows no $ORIGIN
export PYTHONPATH=$files/python RUBYLIB=$files/ruby PYTHONDONTWRITEBYTECODE=1
library=$files/libcoopdl.so.0
coopdl=$files/coopdl
# shellcheck source=tests/tap.sh
source "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"

# run COMMAND...: sets `status`, `took` (ms) and `output`.
run() {
  local begun=${EPOCHREALTIME//[.,]/}
  status=0
  output=$(timeout -k 1 15 "$@" 2>&1) || status=$?
  took=$(((${EPOCHREALTIME//[.,]/} - begun) / 1000))
}

says() { # STATUS TEXT: of the last run
  ((status == $1)) && [[ $output == *"$2"* ]] && return
  echo "exit status $status, not $1, or it did not say '$2': $output"
  exit 1
}

# ends STATUS TEXT COMMAND...: not before a deadline of 200 ms.
ends() {
  run "${@:3}"
  says "$1" "$2"
  ((took >= 200)) || { echo "ended after $took ms, before its deadline"; exit 1; }
}

# does STATUS TEXT COMMAND...: whenever.
does() {
  run "${@:3}"
  says "$1" "$2"
}

by_budget=(env "LD_PRELOAD=$library" COOPDL_BUDGET=200ms sleep 60)
in_python=("$PYTHON" -c $'import coopdl, time\nwith coopdl.timeout(0.2): time.sleep(60)')
python_command=("$PYTHON" -m coopdl 200ms -c 'import time; time.sleep(60)')
in_ruby=("$RUBY" -rcoopdl -e 'Coopdl.timeout(0.2) { sleep 60 }')

# everything NAME COMMAND...: as outside, in the container that COMMAND makes.
everything() {
  local name=$1
  shift
  check "$name: coopdl" ends 124 'timed out' "$@" "$coopdl" 200ms sleep 60
  check "$name: a budget" ends 1 'timed out' "$@" "${by_budget[@]}"
  [[ -z $PYTHON ]] || {
    check "$name: Python" ends 1 DeadlineExceeded "$@" "${in_python[@]}"
    check "$name: python -m coopdl" ends 124 DeadlineReached "$@" "${python_command[@]}"
  }
  [[ -z $RUBY ]] || check "$name: Ruby" ends 1 Timeout::Error "$@" "${in_ruby[@]}"
}

# shellcheck disable=SC2016 # expanded in there
{
  everything 'process 1' unshare --pid --fork --kill-child --mount-proc
  everything 'no /proc' unshare --mount sh -c 'mount -t tmpfs none /proc && exec "$@"' -
  everything 'read-only' unshare --mount sh -c 'mount -o remount,bind,ro / && exec "$@"' -
}
# A user of its own, so that what others run does not count against the limit.
user=(setpriv --reuid=54321 --regid=54321 --clear-groups)
everything 'another user, no-new-privs' "${user[@]}" --no-new-privs

# No process or thread may be started: so whatever needs one says so.  A budget needs none to begin.
none=("${user[@]}" prlimit --nproc=1)
check 'RLIMIT_NPROC=1: coopdl' does 125 "cannot start command 'sleep'" "${none[@]}" "$coopdl" 200ms sleep 60
check 'RLIMIT_NPROC=1: a budget' ends 1 'timed out' "${none[@]}" "${by_budget[@]}"
[[ -z $PYTHON ]] ||
  check 'RLIMIT_NPROC=1: Python' does 1 'RuntimeError: coopdl cannot start a thread' "${none[@]}" "${in_python[@]}"
if [[ $RUBY ]] && ! timeout -s KILL 5 "${none[@]}" "$RUBY" -e 0 >/dev/null 2>&1; then
  skip 'RLIMIT_NPROC=1: Ruby' 'this Ruby, by itself, does not end where it cannot start a thread'
elif [[ $RUBY ]]; then
  check 'RLIMIT_NPROC=1: Ruby' does 1 'coopdl cannot start a thread' "${none[@]}" "${in_ruby[@]}"
fi

# The loader ignores what it cannot map, and the program runs without a deadline; the command does not.
# shellcheck disable=SC2016 # expanded in there
noexec=(unshare --mount sh -c
  'mount -t tmpfs -o noexec none "$0" && cp "$1" "$0" && shift && exec "$@"' "$files/noexec" "$library")
check 'noexec: coopdl' does 125 'cannot preload the library' \
  "${noexec[@]}" env "COOPDL_LIBRARY=$files/noexec/libcoopdl.so.0" "$coopdl" 200ms sleep 60
check 'noexec: a budget is ignored, and the loader says so' does 0 'cannot be preloaded' \
  "${noexec[@]}" env "LD_PRELOAD=$files/noexec/libcoopdl.so.0" COOPDL_BUDGET=200ms sleep 0.5

echo "1..$number"
exit "$bad"
