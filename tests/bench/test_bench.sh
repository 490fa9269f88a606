#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# That the benchmark prints a table, and takes no argument that it does not understand.
# shellcheck disable=SC2317 # the functions that `check` calls look unreachable
set -euo pipefail

# test_bench.sh BUILD: TAP.
bench=$(dirname "$0")/../../scripts/bench.sh build=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
number=0 failed=0

# check WHAT COMMAND...
check() {
  local what=$1 verdict='not ok'
  shift
  number=$((number + 1))
  "$@" && verdict=ok || failed=1
  echo "$verdict $number - $what"
}

# Exit status 125, nothing on stdout, and one line that says what was given.
is_refused() {
  local word=$1 status=0
  shift
  timeout -k 1 20 "$bench" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
  ((status == 125)) && [[ ! -s $scratch/out ]] && (($(wc -l <"$scratch/err") == 1)) &&
    grep -q -- "^bench: .*$word" "$scratch/err"
}

prints_table() {
  timeout -k 1 60 "$bench" --quick --rows process --json "$scratch/json" "$build" \
    >"$scratch/out" 2>&1 </dev/null || { sed 's/^/# /' "$scratch/out"; return 1; }
  grep -qx 'what *| against *| measured *| to reach *| verdict' "$scratch/out" &&
    (($(grep -cE '^[^|]+ \| [^|]+ \| -?[0-9.]+ \+-[0-9.]+ [^|]+\| at most [0-9.]+ +\| (ok|over)$' \
      "$scratch/out") == 2))
}

has_the_same_in_json() {
  /usr/bin/python3 - "$scratch/json" <<'PYTHON'
import json, sys
with open(sys.argv[1]) as file:
    result = json.load(file)
assert result['machine']['processor'] and len(result['rows']) == 2
assert all(row['verdict'] in ('ok', 'over') for row in result['rows'])
PYTHON
}

check 'a table of the rows that were asked for' prints_table
check 'the same in JSON' has_the_same_in_json
check 'an unknown option is refused' is_refused --fast --fast
check 'an unknown group is refused' is_refused speed --rows speed
check 'a directory without a build is refused' is_refused "$scratch" "$scratch"
check 'a directory that is not there is refused' is_refused "$scratch/none" --svg "$scratch/none"
check 'the help says how it is called' grep -q '^usage: scripts/bench.sh' <("$bench" --help)
echo "1..$number"
exit $failed
