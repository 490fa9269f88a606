#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs other people's test suites without and with the library: see --help.
set -euo pipefail

# What the default run has: suites of the interpreter's that block, are interrupted, start threads
# and children, and are quick.
short=(
  test.test_select test.test_epoll test.test_fcntl test.test_fork1 test.test_wait4 test.test_openpty
  test.test_popen test.test_posix test.test_threadsignals test.test_mmap
)

# With --all: every suite that has to do with waiting, signals, threads, children, descriptors.
all=(
  test.test_socket test.test_select test.test_poll test.test_epoll test.test_selectors
  test.test_signal test.test_threading test.test_subprocess test.test_time test.test_eintr
  test.test_fcntl test.test_io test.test_ssl test.test_queue test.test_asyncio
)

usage() {
  cat <<END
usage: scripts/transparency.sh [--tap] [--all] [BUILD [SUITE]...]

Runs test suites that come with Debian's Python, three times: without the
library, preloaded under a budget of one hour, and inside a scope of one hour
in every thread; and shows every test that ends otherwise with the library.
There must be none.  A test that is found to differ is run again, five times
each way: 'different' is what never ends so without the library and does again
with it, 'unsteady' what ends in several ways without it too, or was different
once and never again.

A SUITE is a module, class or test, as unittest takes it.  Without one, a short
selection is run, in about a minute; with --all, in about an hour:
$(printf '%s ' "${all[@]}" | fold -s -w 78 | sed 's/^/  /; s/ *$//')

BUILD is the build directory, build/ if not given.  With --tap the report is
TAP.  Exit status: 0 if nothing differs, 1 if something does, 125 for an
argument that is not understood.
END
}

fail() {
  echo "transparency: $1" >&2
  exit 125
}

tap=() suites=("${short[@]}")
while (($#)); do
  case $1 in
  --help) usage; exit ;;
  --tap) tap=(--tap) ;;
  --all) suites=("${all[@]}") ;;
  -*) fail "unknown option '$1'; accepted are --tap, --all and --help" ;;
  *) break ;;
  esac
  shift
done
directory=${1:-$(dirname "$0")/../build}
build=$(cd "$directory" 2>/dev/null && pwd) || fail "'$directory' is no directory; it has to be a build directory"
(($# < 2)) || suites=("${@:2}")

export COOPDL_LIBRARY=$build/src/libcoopdl.so.0
export ENTER=$build/tests/transparency/libenter.so
for file in "$COOPDL_LIBRARY" "$ENTER"; do
  [[ -e $file ]] || fail "there is no $file; is '$build' built?"
done
if ! /usr/bin/python3 -c 'import test.test_select' 2>/dev/null; then
  missing="the tests of /usr/bin/python3 are not installed (Debian 12: libpython3.11-testsuite)"
  [[ ${#tap[@]} == 0 ]] || { echo "1..0 # SKIP $missing"; exit; }
  fail "$missing"
fi
exec /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/../tests/transparency/compare.py" \
  "${tap[@]}" "${suites[@]}"
