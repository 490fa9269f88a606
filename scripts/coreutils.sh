#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the tests that coreutils has for timeout(1), with coopdl in its place: see --help.
set -euo pipefail

tests=(timeout.sh timeout-group.sh timeout-large-parameters.sh timeout-parameters.sh timeout-blocked.pl)

usage() {
  cat <<END
usage: scripts/coreutils.sh SOURCE [BUILD]

Runs the tests of coreutils 9.1 for timeout(1) (${tests[*]})
with the machine's timeout, and with coopdl under that name and without a grace.  Some of
them are races that a busy machine's timeout loses as well: its results are for comparison.

SOURCE is the unpacked source of coreutils, which need not be built.  BUILD is the
build directory of coopdl, build/ if not given.  Exit status: 0 if coopdl passed all,
1 if not, 125 for an argument that is not understood.
END
}

fail() {
  echo "coreutils: $1" >&2
  exit 125
}

case ${1-} in
--help) usage; exit ;;
-*) fail "unknown option '$1'; accepted is --help" ;;
esac
(($# == 1 || $# == 2)) || fail "usage is scripts/coreutils.sh SOURCE [BUILD]"
source=$(cd "$1" 2>/dev/null && pwd) || fail "'$1' is no directory; it has to be the source of coreutils"
directory=${2:-$(dirname "$0")/../build}
coopdl=$(cd "$directory" 2>/dev/null && pwd)/src/cli/coopdl
[[ -x $coopdl ]] || fail "there is no $coopdl; is it built?"
[[ -e $source/tests/misc/timeout.sh ]] || fail "'$source' has no tests/misc/timeout.sh; 9.1 has"

machine=$(command -v timeout)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/machine" "$scratch/coopdl" "$scratch/source"
ln -s "$coopdl" "$scratch/coopdl/timeout"
cp -r "$source/tests" "$source/init.cfg" "$scratch/source"

# coreutils builds this program from its own source; the tests ask for these limits alone.
cat >"$scratch/machine/getlimits" <<'END'
#!/bin/sh
printf '%s\n' INT_MAX=2147483647 TIME_T_OFLOW=9223372036854775808 UINT_OFLOW=4294967296 LDBL_MAX=1.18973e+4932
END
chmod +x "$scratch/machine/getlimits"
cp "$scratch/machine/getlimits" "$scratch/coopdl"

# run NAME TEST: 9 is where coreutils' tests say why they are skipped.
run() {
  local interpreter=(bash)
  [[ $2 == *.sh ]] || interpreter=(perl -w -Itests -MCuSkip -MCoreutils -M"CuTmpdir qw(${2%.pl})")
  (cd "$scratch/source" && env PATH="$scratch/$1:$PATH" LC_ALL=C COOPDL_GRACE=0 srcdir=. abs_srcdir="$PWD" \
    abs_top_srcdir="$PWD" built_programs='timeout env' PERL=perl VERBOSE=yes \
    "$machine" -k 1 120 "${interpreter[@]}" "tests/misc/$2" >"$scratch/log" 2>&1 9>&2 </dev/null)
}

status=0
for name in machine coopdl; do
  for test in "${tests[@]}"; do
    if run "$name" "$test"; then
      echo "$name: $test: passed"
    else
      echo "$name: $test: status $?"
      sed 's/^/    /' "$scratch/log" | tail -n 20
      [[ $name == machine ]] || status=1
    fi
  done
done
exit "$status"
