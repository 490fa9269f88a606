#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows what the library is for: see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: scripts/demo.sh [--help]

Installs what is needed (scripts/setup.sh demo), builds into build/, and runs a
Python program, which fetches a page with pycurl and has no time-out, three
times against a server that accepts and never answers:

  1. without the library: the demo has to kill it after 5 seconds
  2. with the library and a budget of 2 seconds: it ends with its own error
  3. with the command `coopdl 2s`: the same, and the exit status is timeout's

and a Ruby program, which fetches it inside Timeout.timeout(3), twice:

  4. without the library: the time-out does nothing, the demo has to kill it
  5. with the library and Timeout.timeout put on it: it ends at 3.0 seconds

Where there is no Ruby that the gem is for, or no Typhoeus, it says so and leaves
the Ruby program out.

Set-up and build apart it takes less than 20 seconds.  The last line says
whether it worked.

Exit status: 0 when all went as described, 1 when it did not, 125 for an
argument that is not understood.
END
}

python=/usr/bin/python3 # not just any in PATH: this one has pycurl
fetch=tests/programs/fetch.py
ruby=/usr/bin/ruby # this one has Typhoeus
timed=tests/programs/fetch.rb
library=build/src/libcoopdl.so.0
coopdl=build/src/cli/coopdl
gem=src/ruby/lib:build/src/ruby/ext

budget=2
late=1000000 # microseconds; libcurl before 7.84 takes a hang-up, 0.3 s after the deadline
hopeless=5   # seconds for a run without the library
patience=30  # for one with it, which has to end by itself; on a busy machine Ruby takes seconds to start
signal=TERM  # not KILL: coopdl hands it on to its child

files=$(mktemp -d)
servers=$files/servers
running=() # ids of what this script has started and not yet seen end

stop() {
  kill -"$signal" "$1" || return 0
  wait "$1" || true
} 2>/dev/null

clean_up() {
  local id
  for id in "${running[@]}"; do
    stop "$id"
  done
  rm -rf "$files"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  printf '\ndemo: FAILED: %s\n' "$1"
  exit 1
}

# The tests need more than the demo; scripts/test.sh turns them on again.
build() {
  [[ -e build/build.ninja ]] || meson setup build -Dtests=false || return
  ninja -C build && cc -O1 -D_GNU_SOURCE -o "$servers" tests/programs/servers.c
}

# `coproc` holds the server's stdin open; the server ends with it.
start_server() {
  local name port
  coproc SERVER { exec "$servers"; }
  running+=("$SERVER_PID")
  read -r name port <&"${SERVER[0]}" || fail 'the server did not start'
  [[ $name == blackhole ]] || fail "the server said '$name', not 'blackhole'"
  url=http://127.0.0.1:$port/
}

# What the kernel says of $program, which hangs.  Sets `where`.  The shell reads
# the file itself: where ptrace is restricted, only an ancestor may.
look_where() {
  local call=
  for _ in {1..100}; do
    read -r call _ <"/proc/$program/syscall" || break
    [[ $call == running ]] || break
  done 2>/dev/null
  case $HOSTTYPE:$call in
    x86_64:7) where='poll()' ;;
    x86_64:271 | aarch64:73) where='ppoll()' ;;
    *:[0-9]*) where="system call $call" ;;
    *) read -r where <"/proc/$program/wchan" 2>/dev/null || where='the kernel' ;;
  esac
}

# run SECONDS COMMAND...: for at most so long.  Sets `took` (microseconds) and
# `status`, or `where` if it was still there and had to be killed.
run() {
  local begun clock ended
  where=
  begun=${EPOCHREALTIME//[.,]/}
  "${@:2}" >"$files/output" 2>&1 &
  program=$!
  sleep "$1" &
  clock=$!
  running+=("$program" "$clock")

  status=0
  wait -n -p ended "$program" "$clock" || status=$?
  took=$((${EPOCHREALTIME//[.,]/} - begun))
  if [[ $ended == "$clock" ]]; then
    look_where
    stop "$program"
  else
    stop "$clock"
  fi
  unset 'running[-1]' 'running[-1]'
  sed 's/^/   /' "$files/output"
}

seconds() {
  printf '%d.%03d s' $((took / 1000000)) $((took / 1000 % 1000))
}

ends_by_itself() {
  [[ -z $where ]] || fail "it was still stuck in $where after $(seconds)"
  printf '   -> ended by itself after %s, exit status %d\n' "$(seconds)" "$status"
  (( took >= budget * 1000000 )) || fail "$(seconds) is before its budget of $budget s"
  (( took <= budget * 1000000 + late )) || fail "$(seconds) is too late for a budget of $budget s"
  grep -q 'pycurl.error' "$files/output" || fail 'it did not report the error that it got'
}

ruby_part() {
  cat <<END

4. $timed, with Ruby's own Timeout.timeout(3):
   \$ $ruby $timed $url
END
  signal=KILL # libcurl does not let Ruby see another
  run "$hopeless" "$ruby" "$timed" "$url"
  signal=TERM
  [[ $where ]] || fail "it ended by itself after $(seconds): exit status $status"
  echo "   -> after $(seconds) still stuck in $where; killed by the demo"

  cat <<END

5. The same with the library, and its gem:
   \$ LD_PRELOAD=$library RUBYLIB=$gem \\
     $ruby -rcoopdl/timeout $timed $url
END
  run "$patience" env LD_PRELOAD="$library" RUBYLIB="$gem" "$ruby" -rcoopdl/timeout "$timed" "$url"
  [[ -z $where ]] || fail "it was still stuck in $where after $(seconds)"
  printf '   -> ended by itself after %s, exit status %d\n' "$(seconds)" "$status"
  grep -Eq '^fetch.rb: Timeout::Error: execution expired( in .*)?, after 3\.[0-4]' "$files/output" ||
    fail 'its Timeout.timeout(3) did not end at 3.0 s'
}

for argument; do
  if [[ $argument != --help ]]; then
    echo "demo: unknown argument '$argument'; the only one is --help" >&2
    exit 125
  fi
  usage
  exit
done

# Nothing of the caller's may help or hinder.
unset http_proxy all_proxy ALL_PROXY LD_PRELOAD "${!COOPDL_@}"

scripts/setup.sh demo || fail 'the set-up'
build >"$files/log" 2>&1 || { cat "$files/log"; fail 'the build'; }
start_server

cat <<END
A server at $url accepts every connection and never answers.
$fetch fetches that with pycurl and has no time-out.

1. Without the library:
   \$ $python $fetch $url
END
run "$hopeless" "$python" "$fetch" "$url"
[[ $where ]] || fail "it ended by itself after $(seconds): exit status $status"
echo "   -> after $(seconds) still stuck in $where; killed by the demo"

cat <<END

2. With the library and a budget:
   \$ LD_PRELOAD=$library COOPDL_BUDGET=${budget}s \\
     $python $fetch $url
END
run "$patience" env LD_PRELOAD="$library" COOPDL_BUDGET="${budget}s" "$python" "$fetch" "$url"
ends_by_itself
(( status == 1 )) || fail "its exit status should be 1"

cat <<END

3. With the command, in place of timeout(1):
   \$ $coopdl ${budget}s $python $fetch $url
END
run "$patience" "$coopdl" "${budget}s" "$python" "$fetch" "$url"
ends_by_itself
(( status == 124 )) || fail "its exit status should be 124, as timeout's is"

if [[ ! -e build/src/ruby/ext/coopdl/coopdl.so ]]; then
  printf '\n4. and 5. are left out: the gem is not built here; it is for Ruby 3.1 and later\n'
elif ! "$ruby" -rtyphoeus -e '' 2>/dev/null; then
  printf '\n4. and 5. are left out: this Ruby has no Typhoeus\n'
else
  ruby_part
fi

printf '\ndemo: worked\n'
