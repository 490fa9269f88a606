#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs other people's test suites without and with the library: see --help.
set -euo pipefail

# What the default run has: suites that wait, are interrupted, start threads and children, change
# who they are, and are quick.
short=(
  test.test_select test.test_epoll test.test_fcntl test.test_posix test.test_popen test.test_mmap
  test.test_threading.ThreadJoinOnShutdown test.test_signal.PosixTests
  test.test_signal.PendingSignalsTests.test_pthread_sigmask
  test.test_signal.WakeupSignalTests test.test_socket.BasicTCPTest
  test.test_socket.TCPTimeoutTest test.test_socket.InterruptedRecvTimeoutTest
  test.test_subprocess.RunFuncTestCase
)

# With --all: every suite that has to do with waiting, signals, threads, children, descriptors.
all=()
for name in socket select poll epoll selectors signal threading subprocess time eintr fcntl io ssl \
  queue asyncio os posix faulthandler fork1 thread mmap pty asyncore asynchat wait3 wait4 popen \
  file_eintr socketserver httplib httpservers ftplib smtplib poplib imaplib telnetlib xmlrpc \
  urllib2_localnet concurrent_futures multiprocessing_fork multiprocessing_forkserver \
  multiprocessing_spawn multiprocessing_main_handling fileio openpty pipes shutil tempfile logging \
  threadsignals timeout resource ioctl threading_local ctypes cmd_line; do
  all+=("test.test_$name")
done

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
