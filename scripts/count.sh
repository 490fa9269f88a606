#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Counts what the library adds to a call: see --help.
set -euo pipefail

usage() {
  cat <<'END'
usage: scripts/count.sh [--tap] [BUILD]

Counts, with callgrind, the instructions that the library adds to one read and
one poll of a ready descriptor: without a deadline, inside a far scope, and
under a far budget; and, with strace, the system calls that it adds.  Counts and
measures enter(1 h)/leave too, against as many clock_gettime in one run.

BUILD is the build directory, build/ if not given.  Each bound is checked; with
--tap the report is TAP.  Exit status: 0 if all hold, 1 if not, 125 for an
argument that is not understood.

One round is what 11,000 rounds cost more than 1,000, divided by 10,000: so
start-up does not count.  Under valgrind there is no vDSO: the clock read that a
capped poll makes is counted as what clock_gettime costs there.
END
}

tap=
case ${1-} in
--help) usage; exit ;;
--tap) tap=1; shift ;;
-*) echo "count: unknown option '$1'; accepted are --tap and --help" >&2; exit 125 ;;
esac
(($# <= 1)) || { echo "count: one build directory, not '$*'" >&2; exit 125; }
build=$(cd "${1:-$(dirname "$0")/../build}" && pwd)
library=$build/src/libcoopdl.so
program=$build/tests/count/count
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
number=0 failed=0

# instructions SETTINGS WHAT ROUNDS [scope|thread]
instructions() {
  local settings=$1
  shift
  # shellcheck disable=SC2086 # several settings, no blanks in them
  env $settings valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1 |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# per_round SETTINGS WHAT [scope|thread]: instructions of one round, rounded to the nearest
per_round() {
  local few many
  few=$(instructions "$1" "$2" 1000 ${3+"$3"})
  many=$(instructions "$1" "$2" 11000 ${3+"$3"})
  echo $(((many - few + 5000) / 10000))
}

# system_calls SETTINGS WHAT ROUNDS [scope|thread]: those of the thread that makes the calls; the
# scheduler's own first ones fall into any run, and waking it would be a call of this thread's
system_calls() {
  local settings=()
  [[ -z $1 ]] || read -ra settings <<<"$1"
  shift
  strace -c -o "$scratch/calls" "${settings[@]/#/-E}" "$program" "$@" >/dev/null
  awk '$NF == "total" { print $(NF == 6 ? 4 : 3) }' "$scratch/calls"
}

# check WHAT VALUE BOUND
check() {
  number=$((number + 1))
  local verdict=ok
  if (($2 > $3)); then
    verdict='not ok'
    failed=1
  fi
  if [[ -n $tap ]]; then
    echo "$verdict $number - $1: $2, at most $3"
  else
    printf '%-56s %6d  at most %-6d %s\n' "$1" "$2" "$3" "$verdict"
  fi
}

preload=LD_PRELOAD=$library
budget="$preload COOPDL_BUDGET=1h"
clock=$(per_round '' clock)
# What a far deadline may add; gcc 10 makes one more of it than newer ones.
far=20
if [[ $(cc -dumpversion) == 10 ]]; then
  far=21
fi
for call in read poll; do
  plain=$(per_round '' $call)
  none=$(($(per_round "$preload" $call) - plain))
  check "instructions added to $call, no deadline" $none 12
  more=$((none + far))
  [[ $call == read ]] || more=$((more + clock))
  check "instructions added to $call, far budget" $(($(per_round "$budget" $call) - plain)) $more
  # A scope has a scheduler: the same against a process that has a second thread as well.
  plain=$(per_round '' $call thread)
  check "instructions added to $call, far scope" $(($(per_round "$preload" $call scope) - plain)) $more

  # What 1,000 rounds make more than none, against the same without the library.
  plain=$(($(system_calls '' $call 1000) - $(system_calls '' $call 0)))
  for how in none scope budget; do
    variables=$preload argument=
    [[ $how != budget ]] || variables=$budget
    [[ $how != scope ]] || argument=scope
    many=$(system_calls "$variables" $call 1000 $argument)
    few=$(system_calls "$variables" $call 0 $argument)
    check "system calls added to 1000 of $call, $how" $((many - few - plain)) 0
  done
done
check 'instructions of enter(1 h)/leave, the clock apart' $(($(per_round "$preload" enter) - clock)) 420
calls=$(($(system_calls "$preload" enter 10000000) - $(system_calls "$preload" enter 1)))
# Until the scheduler has begun it is told of each; some dozens of them, once.
check 'system calls of 10 million enter(1 h)/leave' $calls 1000

# Side by side in one run, by turns and the best of fifteen of each: noise only adds.  Where others
# use the machine it adds to all of them: 170 is usual, the bound is generous.
scopes=() clocks=()
for _ in {1..15}; do
  scopes+=("$(env "$preload" "$program" enter 1000000)")
  clocks+=("$(env "$preload" "$program" clock 1000000)")
done
best() { printf '%s\n' "$@" | sort -g | head -1; }
scope=$(best "${scopes[@]}") read_clock=$(best "${clocks[@]}")
ratio=$(awk "BEGIN { printf \"%d\", 100 * $scope / $read_clock + 0.5 }")
check "enter(1 h)/leave in percent of clock_gettime ($scope/$read_clock ns)" "$ratio" 400

[[ -z $tap ]] || echo "1..$number"
if ((failed)); then
  [[ -n $tap ]] || echo 'count: a bound does not hold'
  exit 1
fi
[[ -n $tap ]] || echo 'count: all bounds hold'
