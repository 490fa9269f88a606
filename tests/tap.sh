# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034 # its reader prints `1..$number`, and exits with `bad`
# tap.sh -- single tests, reported as TAP.
number=0 bad=0

# check NAME COMMAND...: one test; COMMAND says by its status how it went.
check() {
  local name=$1 output verdict=ok
  shift
  output=$("$@" 2>&1) || verdict='not ok' bad=1
  number=$((number + 1))
  echo "$verdict $number - $name"
  [[ $verdict == ok ]] || printf '%s\n' "$output" | sed 's/^/# /'
}

# skip NAME WHY: a test that cannot be run here.
skip() {
  number=$((number + 1))
  echo "ok $number - $1 # SKIP $2"
}
