#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building, testing and the demo need, on Debian 12: see --help.
set -euo pipefail

packages=(
  gcc g++ clang libc6-dev                     # both compilers; g++ for coopdl.h in C++
  meson ninja-build pkg-config                # the build
  libcriterion-dev libcurl4-openssl-dev       # the tests
  curl python3 python3-pycurl ruby            # the programs that the tests and the demo run
  ruby-dev ruby-minitest                      # the gem, and its tests
  ruby-ffi ruby-mysql2 ruby-pg ruby-redis     # what they time out
  ruby-typhoeus                               #
  python3-dev python3-mesonpy python3-pip     # the Python package, and what its tests use
  python3.11-dbg                              #
  mypy python3-pytest python3-pytest-timeout  #
  python3-requests python3-psycopg2           #
  python3-redis python3-gevent                #
  git openssh-client openssl rsync socat wget # the programs of tests/programs/matrix.md, and
  netcat-openbsd util-linux                   # what starts them
  postgresql-client redis-tools nodejs        #
  mariadb-client-core php-cli php-curl        #
  php-mysql php-pgsql openjdk-17-jdk-headless #
  libwww-perl liblwp-protocol-https-perl      #
  python3-urllib3 python3-httpx               #
  python3-uvloop                              #
  valgrind strace                             # what the fast path costs
  libpython3.11-testsuite                     # other people's tests
  libjemalloc2 libtcmalloc-minimal4           # what else is preloaded, or built with, or watches
  libmimalloc2.0 libfaketime libeatmydata1    #
  libsocket-wrapper libclang-rt-14-dev gdb    #
  clang-format clang-tidy cppcheck shellcheck # what looks at the source
)

# Other targets to build and test for: a second word size, where the architecture has one; a second
# libc; a second architecture, emulated.
[[ $(dpkg --print-architecture 2>/dev/null) != amd64 ]] ||
  packages+=(
    gcc-multilib
    binutils-aarch64-linux-gnu libgcc-12-dev-arm64-cross libc6-dev-arm64-cross qemu-user
  )
packages+=(musl-tools)

usage() {
  cat <<END
usage: scripts/setup.sh [--help]

Installs the Debian packages that building libcoopdl, its tests and its demo
need, with apt-get, through sudo where the user is not root:
$(printf '%s ' "${packages[@]}" | fold -s -w 78 | sed 's/^/  /; s/ *$//')

It may be run any number of times.  If nothing is missing it prints nothing and
does not use the network.

Exit status: 0 when all is installed, 1 when that failed, 125 for an argument
that is not understood.
END
}

fail() {
  echo "setup: $1" >&2
  exit "${2:-1}"
}

# A package may be there for several architectures, with a line for each.
is_installed() {
  # shellcheck disable=SC2016 # dpkg-query expands it, not the shell
  dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

missing() {
  local package
  for package in "${packages[@]}"; do
    is_installed "$package" || echo "$package"
  done
}

as_root() {
  if (( EUID == 0 )); then
    "$@"
  else
    sudo "$@"
  fi
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null ||
    fail "'apt-get $1' failed; its errors are above"
}

for argument; do
  [[ $argument == --help ]] || fail "unknown argument '$argument'; the only one is --help" 125
  usage
  exit
done

command -v dpkg-query apt-get >/dev/null ||
  fail "this is not a Debian system: install the equivalents of: ${packages[*]}"

mapfile -t wanted < <(missing)
(( ${#wanted[@]} )) || exit 0

(( EUID == 0 )) || command -v sudo >/dev/null ||
  fail "not root, and there is no sudo; missing: ${wanted[*]}"

echo "setup: installing ${wanted[*]}"
apt update
apt install --no-install-recommends "${wanted[@]}"

mapfile -t wanted < <(missing)
(( ${#wanted[@]} == 0 )) || fail "still missing: ${wanted[*]}"
echo "setup: done"
