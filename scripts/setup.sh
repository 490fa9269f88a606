#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building, the demo and the tests need, on Debian: see --help.
set -euo pipefail

# Each line is a package, or several names of one, of which the first that is there is taken.
build=(
  gcc libc6-dev meson ninja-build pkg-config
)
# The probes, --stacks, and the modules: each is left out without its headers.
build_optional=(
  systemtap-sdt-dev libdw-dev python3-dev ruby-dev
)
demo=(
  python3 python3-pycurl
)
demo_optional=(
  ruby ruby-ffi ruby-typhoeus
)
tests=(
  g++ libcriterion-dev libcurl4-openssl-dev   # what the test programs are built with
  curl                                        # what they run
)
tests_optional=(
  clang make                                  # the other compiler; gem install
  ruby-minitest                               # the tests of the gem
  ruby-mysql2 ruby-pg ruby-redis              # what they time out
  python3-mesonpy patchelf python3-pip        # the Python package, and what its tests use
  'python3.11-dbg|python3-dbg'                #
  mypy python3-pytest python3-pytest-timeout  #
  python3-requests python3-psycopg2           #
  python3-redis python3-gevent                #
  python3-celery python3-click python3-eventlet #
  python3-pytest-asyncio python3-pytest-xdist #
  gunicorn python3-flask python3-django       #
  uvicorn python3-starlette                   #
  puma ruby-rack ruby-faraday                 #
  redis-server ruby-sidekiq ruby-activejob    #
  ruby-rspec                                  #
  git openssh-client openssl rsync socat wget # the programs of tests/programs/matrix.md, and
  netcat-openbsd util-linux                   # what starts them
  postgresql-client redis-tools nodejs        #
  'mariadb-client-core|mariadb-client-core-10.5'
  php-cli php-curl php-mysql php-pgsql        #
  'openjdk-17-jdk-headless|default-jdk-headless'
  libwww-perl liblwp-protocol-https-perl      #
  python3-urllib3 python3-httpx python3-grpcio #
  python3-uvloop                              #
  busybox-static tmux zsh                     # what scripts are run by, beside timeout(1)
  valgrind strace                             # what the fast path costs
  # Other people's tests.
  'libpython3.11-testsuite|libpython3.13-testsuite|libpython3.14-testsuite|libpython3.9-testsuite'
  libjemalloc2                                # what else is preloaded, or built with, or watches
  'libtcmalloc-minimal4|libtcmalloc-minimal4t64'
  'libmimalloc2.0|libmimalloc3'               #
  libfaketime libeatmydata1                   #
  libsocket-wrapper gdb                       #
  'libclang-rt-14-dev|libclang-rt-dev'        #
  scdoc mandoc mkdocs fish                    # the manual pages, docs/ as HTML, completion
  python3-stopit python3-timeout-decorator    # what the benchmark compares with, and draws by
  python3-matplotlib nginx-light              #
  clang-format clang-tidy cppcheck shellcheck # what looks at the source
  musl-tools                                  # a second libc
)
# A second word size, and other architectures, emulated.
[[ $(dpkg --print-architecture 2>/dev/null) != amd64 ]] ||
  tests_optional+=(
    gcc-multilib qemu-user binutils-aarch64-linux-gnu
    'libgcc-12-dev-arm64-cross|libgcc-14-dev-arm64-cross|libgcc-15-dev-arm64-cross'
    'libgcc-12-dev-riscv64-cross|libgcc-14-dev-riscv64-cross|libgcc-15-dev-riscv64-cross'
    binutils-riscv64-linux-gnu libc6-dev-riscv64-cross
    libc6-dev-arm64-cross # without the compiler, which gcc-multilib conflicts with
  )

# The same for others, as far as the names are known.
dnf=(gcc gcc-c++ meson ninja-build pkgconf-pkg-config systemtap-sdt-devel elfutils-devel python3-devel ruby-devel
  python3-pycurl libcurl-devel)
apk=(bash build-base linux-headers meson pkgconf elfutils-dev python3-dev ruby-dev py3-curl criterion-dev curl-dev)
pacman=(base-devel meson pkgconf libelf python ruby python-pycurl curl)

oldest_meson=1.0

usage() {
  cat <<END
usage: scripts/setup.sh [build | demo | tests] [--help]

Installs the Debian packages that building libcoopdl, its demo or its tests
need, with apt-get, through sudo where the user is not root.  The demo needs
those for building as well, and the tests need all; without an argument it is
all.  Of several names the first that the system has is taken.

build:
$(in_lines "${build[@]}")
  if there are such: $(in_lines "${build_optional[@]}" | sed '1s/^  //')
demo:
$(in_lines "${demo[@]}")
  if there are such: $(in_lines "${demo_optional[@]}" | sed '1s/^  //')
tests:
$(in_lines "${tests[@]}")
  if there are such:
$(in_lines "${tests_optional[@]}")

It may be run any number of times.  If nothing is missing it prints nothing and
does not use the network.  Packages that the system does not have are named, and
what needs them is then left out or skipped.  Where there is no apt-get it says
what to install instead, and only looks for a compiler, meson and ninja.

Exit status: 0 when all is installed, 1 when that failed, 125 for an argument
that is not understood.
END
}

in_lines() {
  printf '%s\n' "$@" | tr '\n' ' ' | fold -s -w 76 | sed 's/^/  /; s/ *$//'
}

fail() {
  echo "setup: $1" >&2
  exit "${2:-1}"
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
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null
}

# missing NAMES...: those of which nothing is installed.
missing() {
  local names name
  for names; do
    for name in ${names//|/ }; do
      [[ ! ${installed[$name]-} ]] || continue 2
    done
    echo "$names"
  done
}

# available NAMES...: the first name of each that can be installed.
available() {
  local names name
  for names; do
    for name in ${names//|/ }; do
      [[ $(apt-cache policy "$name") != *'  Candidate: '[!\(]* ]] || { echo "$name" && break; }
    done
  done
}

# Sets `needed` and `wanted`, of which something is missing, and `optional`: what there is of the latter.
look() {
  local name
  installed=()
  # shellcheck disable=SC2016 # dpkg-query expands it, not the shell
  while read -r name; do
    installed[$name]=1
  done < <(dpkg-query -W -f='${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
  mapfile -t needed < <(missing "${required_names[@]}")
  mapfile -t wanted < <(missing "${optional_names[@]}")
  mapfile -t optional < <(available "${wanted[@]}")
}

install_packages() {
  local needed_names package
  (( EUID == 0 )) || command -v sudo >/dev/null ||
    fail "not root, and there is no sudo; missing: ${needed[*]} ${optional[*]}"
  apt update || fail "'apt-get update' failed; its errors are above"
  look
  mapfile -t needed_names < <(available "${needed[@]}")
  echo "setup: installing ${needed_names[*]} ${optional[*]}"
  apt install --no-install-recommends "${needed_names[@]}" "${optional[@]}" && return

  # One that is there and cannot be installed must not keep the others out.
  (( ${#optional[@]} )) || return 0
  apt install --no-install-recommends "${needed_names[@]}" || return 0
  for package in "${optional[@]}"; do
    apt install --no-install-recommends "$package" || true
  done
}

apt_has_lists() {
  compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}

# advise MANAGER COMMAND NAME...: where there is that manager.
advise() {
  ! command -v "$1" >/dev/null || echo "setup: there is no apt-get; install what is missing: ${*:2}"
}

without_apt() {
  local tool
  advise dnf 'dnf install' "${dnf[@]}"
  advise apk 'apk add' "${apk[@]}"
  advise pacman 'pacman -S --needed' "${pacman[@]}"
  for tool in cc meson ninja; do
    command -v "$tool" >/dev/null ||
      fail "there is no apt-get and no $tool; install what Debian calls: ${required_names[*]}"
  done
}

declare -A installed
required_names=() optional_names=()
(( $# <= 1 )) || fail "'$*' is too much: one of build, demo and tests, or --help" 125
case ${1-tests} in
  --help)
    usage
    exit
    ;;
  build) groups=(build) ;;
  demo) groups=(build demo) ;;
  tests) groups=(build demo tests) ;;
  *) fail "unknown argument '$1'; there are build, demo, tests and --help" 125 ;;
esac
for group in "${groups[@]}"; do
  declare -n names=$group more=${group}_optional
  required_names+=("${names[@]}")
  optional_names+=("${more[@]}")
done

if command -v dpkg-query apt-get >/dev/null; then
  look
  # Without lists nothing is known of what there is.
  if (( ${#needed[@]} || ${#optional[@]} )) || { (( ${#wanted[@]} )) && ! apt_has_lists; }; then
    install_packages
    look
    (( ${#needed[@]} == 0 )) || fail "still missing: ${needed[*]}"
    echo 'setup: done'
  fi
  (( ${#wanted[@]} == 0 )) ||
    echo "setup: not to be had here, and what needs them is left out: ${wanted[*]}"
else
  without_apt
fi

version=$(meson --version)
[[ $(printf '%s\n' "$oldest_meson" "$version" | sort -V | head -n 1) == "$oldest_meson" ]] ||
  fail "meson is $version, and $oldest_meson or later is needed; there may be one by 'pip install meson'"
