#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the demo and the tests on several releases of Debian: see --help.
set -uo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() {
  cat <<'END'
usage: scripts/distributions.sh [SUITE...]

Makes a root for each SUITE of Debian with mmdebstrap, runs scripts/demo.sh and
scripts/test.sh in it, on a copy of this tree, and prints a table of how they went.
SUITE is a name such as trixie; without one they are bullseye, bookworm, trixie
and sid.

The roots, each with a log of what was done there, are in coopdl-distributions/
under TMPDIR, or under /var/tmp where that is not set, and are kept for the next
time.  The packages come from where this system has its own.  It takes root, and
up to an hour and 5 GB for each.

bullseye has no meson that is new enough: it gets the package of this system.

Exit status: 0 if all went well everywhere, 1 if not, 125 for an argument that is
not understood or a system that lacks something.
END
}

fail() {
  echo "distributions: $1" >&2
  exit 125
}

# Where this system has Debian's packages from.
mirror() {
  # shellcheck disable=SC2016 # apt-get expands it, not the shell
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' |
    head -n 1
}

# make_root SUITE: unless it is there.  A mirror may be some weeks behind, and what it has will do.
make_root() {
  local root=$folder/$1
  [[ ! -e $root.complete ]] || return 0
  rm -rf "$root"
  mmdebstrap --variant=minbase --include=ca-certificates --aptopt='Acquire::Check-Valid-Until "false"' \
    "$1" "$root" "$(mirror)" && touch "$root.complete"
}

# The files of this tree that are not ignored, and none of an earlier run.
copy_tree() {
  rm -rf "$1"
  mkdir -p "$1"
  git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$1"
}

# inside ROOT COMMAND...: with processes and mounts of its own, which end with it.  The root is a
# mount, so that its mounts can be made private in there, as tests do for a world of their own.
inside() {
  # shellcheck disable=SC2016 # expanded in there
  unshare --mount --pid --fork --kill-child sh -c '
    root=$1
    shift
    mount --bind "$root" "$root" && mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && mount --rbind /sys "$root/sys" &&
      exec env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        chroot "$root" "$@"' - "$@"
}

# A root whose own meson is too old gets that of this system, a package for all architectures.
newer_meson() {
  local candidate
  inside "$1" apt-get -qq update || return
  candidate=$(inside "$1" apt-cache policy meson | sed -n 's/^ *Candidate: //p')
  if dpkg --compare-versions "$candidate" ge 1.0; then
    return
  fi
  rm -f "$1"/tmp/meson_*.deb
  (cd "$1/tmp" && apt-get -qq download meson) || return
  inside "$1" sh -c 'apt-get -qq install --no-install-recommends -y /tmp/meson_*.deb'
}

# What the table says of ROOT: glibc gcc Python Ruby.
versions() {
  # shellcheck disable=SC2016 # expanded in there
  inside "$1" sh -c '
    ldd --version | sed -n "1s/.* //p"
    gcc -dumpfullversion
    /usr/bin/python3 --version | sed "s/.* //"
    ruby -e "puts RUBY_VERSION" || echo -' 2>/dev/null
}

# run_in SUITE: a row of the table, and the log beside the root.
run_in() {
  local root=$folder/$1 log=$folder/$1.log counts columns demo
  if ! { make_root "$1" && cp -L /etc/resolv.conf "$root/etc/" && newer_meson "$root" &&
    copy_tree "$root/src"; } >"$log" 2>&1; then
    row "$1" - - - - "no root: see $log"
    return 1
  fi
  demo='demo FAILED,'
  ! inside "$root" /src/scripts/demo.sh >>"$log" 2>&1 || demo=
  # What the demo has built is not what the tests are to find.
  rm -rf "$root/src/build"
  inside "$root" /src/scripts/test.sh >>"$log" 2>&1
  counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
  mapfile -t columns < <(versions "$root")
  row "$1" "${columns[@]}" "$demo ${counts:-no test was run}"
  [[ -z $demo && $(tail -n 1 "$log") == 'test: all passed' ]]
}

row() {
  printf '%-10s | %-6s | %-7s | %-7s | %-6s | %s\n' "$@"
}

suites=("$@")
for suite in "${suites[@]}"; do
  case $suite in
    --help)
      usage
      exit
      ;;
    *[!a-z]* | '') fail "'$suite' is no name of a suite; it has to be one such as trixie" ;;
  esac
done
(( ${#suites[@]} )) || suites=(bullseye bookworm trixie sid)
(( EUID == 0 )) || fail 'a root takes root to make and to enter'
for tool in mmdebstrap unshare git apt-get; do
  command -v "$tool" >/dev/null || fail "there is no $tool"
done
folder=${TMPDIR:-/var/tmp}/coopdl-distributions
mkdir -p "$folder" || exit 125

failed=0
row suite glibc gcc Python Ruby 'passed failed skipped'
for suite in "${suites[@]}"; do
  run_in "$suite" || failed=1
done
exit "$failed"
