#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the README's example with the libcurl of Debian 11: see --help.
set -euo pipefail

usage() {
  cat <<'END'
usage: scripts/old-curl.sh [BUILD [FOLDER]]

libcurl before 7.84 ignores the errors of poll: it takes a hang-up to end it.
This runs tests/programs/fetch.py with the Python, pycurl and libcurl 7.74 of
Debian 11, under a budget, under the command and in a scope, against a server
that never answers and one that never comes to an end.  Each run must end by
itself, not by a signal, within two seconds after its deadline.

They are taken from a Debian 11 that debootstrap makes in FOLDER, which takes
root, the network and some minutes, and is kept (/var/tmp/coopdl-debian-11 if not
given).  What runs is linked to this machine's libc, as the library is.

BUILD is the build directory, build/ if not given.  Exit status: 0 if all ended as
they must, 1 if one did not, 125 for an argument that is not understood or where
Debian 11 cannot be had.
END
}

fail() {
  echo "old-curl: $1" >&2
  exit 125
}

case ${1-} in
--help) usage; exit ;;
-*) fail "unknown option '$1'; accepted is --help" ;;
esac
(($# < 3)) || fail "too many arguments; usage is scripts/old-curl.sh [BUILD [FOLDER]]"
programs=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tests/programs" && pwd)
directory=${1:-$(dirname "$0")/../build}
build=$(cd "$directory" 2>/dev/null && pwd) || fail "'$directory' is no directory; it has to be a build directory"
root=${2:-/var/tmp/coopdl-debian-11}
library=$build/src/libcoopdl.so.0
servers=$build/tests/programs/servers
[[ -e $library && -x $servers ]] || fail "there is no $library or no $servers; is '$build' built?"

if [[ ! -e $root/complete ]]; then
  [[ $(id -u) == 0 ]] || fail "debootstrap takes root"
  command -v debootstrap >/dev/null || fail "debootstrap is not installed"
  debootstrap --variant=minbase --include=python3-pycurl bullseye "$root" \
    http://deb.debian.org/debian >"$root.log" 2>&1 </dev/null ||
    fail "debootstrap failed; what it said is in $root.log"
  touch "$root/complete"
fi

# Its libcurl, and what that needs and this machine does not have.
scratch=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server"; rm -rf "$scratch"' EXIT
curl=$(cd "$root" && echo usr/lib/*/libcurl-gnutls.so.4)
cp "$root/$curl" "$scratch"
chroot "$root" ldd "/$curl" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r needed; do
  /sbin/ldconfig -p | grep -q "^[[:blank:]]${needed##*/} " || cp "$root$needed" "$scratch"
done
old=(env "LD_LIBRARY_PATH=$scratch" "PYTHONHOME=$root/usr")
python=$root/usr/bin/python3.9
"${old[@]}" "$python" -c 'import pycurl; print("#", pycurl.version)'

mkfifo "$scratch/life" "$scratch/ports"
"$servers" <"$scratch/life" >"$scratch/ports" &
server=$!
exec 3>"$scratch/life" 4<"$scratch/ports"
declare -A port
for _ in 1 2; do
  read -r server_name number <&4
  port[$server_name]=$number
done

failed=0
# check NAME COMMAND...: one second, and then it ends by itself with libcurl's error.
check() {
  local name=$1 start took status=0 said
  shift
  start=$(date +%s%N)
  said=$("${old[@]}" timeout 20 "$@" 2>&1 </dev/null) || status=$?
  took=$((($(date +%s%N) - start) / 1000000))
  if ((took >= 1000 && took < 3000)) &&
    [[ $said == *"pycurl.error: "* && $said != *"sending signal"* ]]; then
    echo "ok - $name: $took ms, status $status"
  else
    echo "not ok - $name: $took ms, status $status: $said"
    failed=1
  fi
}

for server_name in blackhole drip; do
  url=http://127.0.0.1:${port[$server_name]}/
  check "budget, $server_name" env "LD_PRELOAD=$library" COOPDL_BUDGET=1s "$python" "$programs/fetch.py" "$url"
  check "command, $server_name" "$build/src/cli/coopdl" -v 1 "$python" "$programs/fetch.py" "$url"
  check "scope, $server_name" env "LD_PRELOAD=$library" "$python" "$programs/fetch_in_scope.py" "$library" 1 "$url"
done
exit "$failed"
