#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds what can be given away, and tries it: see --help.
# shellcheck disable=SC2317 # the functions that `step` calls look unreachable
set -uo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() {
  cat <<'END'
usage: scripts/package.sh [ROOT...]

Builds into dist/, from the last commit:

  libcoopdl-VERSION-linux-ARCH.tar.gz  library, command and header, to be
                                       unpacked under any prefix
  coopdl-VERSION-*.whl                 the Python package with library and
                                       command, for each CPython that is found
  coopdl-VERSION.tar.gz                its source, for pip
  coopdl-VERSION.gem                   the gem, which is compiled where it is
                                       installed, against an installed library
  *_VERSION_ARCH.deb                   Debian's packages, where dpkg-buildpackage
                                       and what scripts/debian/control names are
  libcoopdl_VERSION.dsc, .tar.xz       their source, for a Debian with another Ruby

and tries the tarball and the wheel for python3, here and in each ROOT, a
directory that chroot can enter, such as those that scripts/distributions.sh
makes; that takes root.  In each ROOT that is Debian's it tries the packages as
well: all for which it has Python and Ruby; nothing of them stays there.

All that is compiled needs nothing above glibc 2.17; that is tested
(tests/portable), and the wheels are named manylinux_2_17.  Debian's packages are
built twice, and have to be the same, without an error of lintian's.  Their
maintainer's address is a placeholder, which lintian is not asked about: it is to
be set in scripts/debian/control before they are given to Debian.

Exit status: 0 when all is there and works, 1 when not, 125 for an argument that
is not understood.
END
}

arch=$(uname -m)
failed=()

step() { # NAME COMMAND...
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" >"$files/log" 2>&1 || {
    cat "$files/log"
    failed+=("$name")
  }
}

export_tree() { # FOLDER
  mkdir -p "$1" && git archive HEAD | tar -x -C "$1"
}

build() {
  meson setup "$files/build" "$files/tree" -Dtests=false -Dpython=enabled -Druby=disabled \
    -Dportable=true -Dbuildtype=release -Dprefix=/usr/local -Dpkgconfig.relocatable=true &&
    ninja -C "$files/build" &&
    "$files/tree/tests/portable/test_portable.sh" "$files/build" objdump portable
}

# The same files give the same archive.
tarball() {
  local name=libcoopdl-$version-linux-$arch
  meson install -C "$files/build" --no-rebuild --quiet --destdir "$files/root" --strip &&
    mv "$files/root/usr/local" "$files/$name" &&
    cp LICENSE "$files/$name" &&
    tar -c -C "$files" --sort=name --owner=0 --group=0 --numeric-owner \
      --mtime="@$(git log -1 --format=%ct)" "$name" | gzip -n >"dist/$name.tar.gz"
}

# in_root ROOT COMMAND...: with /proc, which the loader needs to know where a program lies.
in_root() {
  # shellcheck disable=SC2016 # expanded in there
  unshare --mount sh -c '
    [ "$1" = / ] || mount -t proc proc "$1/proc" && exec chroot "$@"' - "$@"
}

# The deadline of a program ends it, by what lies in a directory of ROOT's: try_in ROOT FILL PROGRAM...
try_in() {
  local root=$1 fill=$2 directory status
  directory=$(mktemp -d -p "$root/tmp") && "$fill" "$directory" || return
  in_root "$root" env "PYTHONPATH=${directory#"${root%/}"}" "PATH=${directory#"${root%/}"}/bin:$PATH" "${@:3}"
  status=$?
  rm -rf "$directory"
  echo "exit status $status"
  ((status == 124))
}

unpack_tarball() {
  tar -x -C "$1" --strip-components=1 -f "dist/libcoopdl-$version-linux-$arch.tar.gz"
}

# The wheel for the Python of ROOT, if it has one for which there is a wheel.
wheel_for() { # ROOT
  local tag wheels
  tag=$(in_root "$1" python3 -c 'import sys; print("cp%d%d" % sys.version_info[:2])') &&
    wheels=(dist/coopdl-"$version-$tag"-*.whl) && [[ -e ${wheels[0]} ]] && echo "${wheels[0]}"
}

unpack_wheel() {
  /usr/bin/python3 -m zipfile -e "$wheel" "$1"
}

install_wheel() {
  /usr/bin/python3 -m pip --quiet --disable-pip-version-check install --no-index --target "$1" "$wheel"
}

# pip makes the command executable, zipfile does not: it is Python's turn.
python_waits=(python3 -m coopdl 0.5s -c 'import time; time.sleep(60)')

wheels() {
  /usr/bin/python3 -m pip --quiet --disable-pip-version-check wheel --no-index --no-deps \
    --no-build-isolation --no-cache-dir --wheel-dir "$files/wheel" "$files/tree" &&
    scripts/wheels.py "$files"/wheel/*.whl "$files/build" dist
}

source_for_pip() {
  (cd "$files/tree" && git init -q && git add -A && git -c user.name=- -c user.email=- commit -qm - &&
    /usr/bin/python3 -c 'import mesonpy, sys; mesonpy.build_sdist(sys.argv[1])' "$OLDPWD/dist")
}

gem() {
  (cd "$files/tree/src/ruby" && command gem build --quiet coopdl.gemspec --output "$OLDPWD/dist/coopdl-$version.gem")
}

missing_for_debian() {
  command -v dpkg-buildpackage >/dev/null || { echo 'there is no dpkg-buildpackage' && return; }
  dpkg-checkbuilddeps scripts/debian/control 2>&1
}

# Into FOLDER; the date of all files is that of the commit, by the changelog.
build_debian() { # FOLDER
  local tree=$1/libcoopdl-$version maintainer
  export_tree "$tree" && mv "$tree/scripts/debian" "$tree" &&
    maintainer=$(sed -n 's/^Maintainer: //p' "$tree/debian/control") &&
    printf 'libcoopdl (%s) unstable; urgency=medium\n\n  * Release %s.\n\n -- %s  %s\n' "$version" "$version" \
      "$maintainer" "$(git log -1 --format=%cD)" >"$tree/debian/changelog" &&
    (cd "$tree" && DEB_BUILD_OPTIONS=noautodbgsym dpkg-buildpackage -us -uc --build=full)
}

debian() {
  local package
  build_debian "$files/debian" && build_debian "$files/again/debian" || return
  for package in "$files"/debian/*.deb "$files"/debian/*.tar.xz; do
    cmp "$package" "$files/again/${package#"$files"/}" || return
  done
  cp "$files"/debian/*.deb "$files"/debian/*.dsc "$files"/debian/*.tar.xz dist
}

without_errors() {
  lintian --allow-root --fail-on error --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog \
    "$files"/debian/*.changes
}

# Runs in a root, with dist/ in /mnt.
# shellcheck disable=SC2016 # expanded in there
try_packages='
  holds() { # PACKAGE TEXT: a name of one of its files
    dpkg-deb --contents /mnt/$1_*.deb | grep -F -- "$2" >/dev/null
  }
  installed() {
    [ "$(dpkg-query -W -f "\${db:Status-Status}" "$1" 2>/dev/null)" = installed ]
  }
  ends() { # COMMAND...: at its deadline
    status=0
    "$@" || status=$?
    [ "$status" = 124 ] || { echo "exit status $status of $*"; exit 1; }
  }
  set -e
  cd /
  packages="libcoopdl0 libcoopdl-dev coopdl"
  dpkg --install /mnt/libcoopdl0_*.deb /mnt/libcoopdl-dev_*.deb /mnt/coopdl_*.deb
  ends coopdl 0.5s sleep 60
  if installed python3 && holds python3-coopdl "$(python3 -c "import sys; print(sys.implementation.cache_tag)")-"; then
    packages="$packages python3-coopdl"
    dpkg --install /mnt/python3-coopdl_*.deb
    ends python3 -m coopdl 0.5s -c "import time; time.sleep(60)"
    python3 -c "import importlib.metadata as of; print(of.version(\"coopdl\"))"
  fi
  if installed ruby && holds ruby-coopdl "/$(ruby -rrbconfig -e "print RbConfig::CONFIG[%q(ruby_version)]")/"; then
    packages="$packages ruby-coopdl"
    dpkg --install /mnt/ruby-coopdl_*.deb
    ends env LD_PRELOAD=libcoopdl.so ruby -e "gem %q(coopdl); require %q(coopdl)
      begin Coopdl.timeout(0.5) { sleep 60 }; rescue Timeout::Error; exit 124; end"
  fi
  dpkg --purge $packages
  echo "tried: $packages"
'

# What is written into ROOT meanwhile is in memory.
debian_in() { # ROOT
  # shellcheck disable=SC2016 # expanded in there
  mkdir -p "$files/memory" && unshare --mount sh -c '
    cd "$2" && mount -t tmpfs tmpfs . && cd "$2" && mkdir upper work root &&
      mount -t overlay -o "lowerdir=$1,upperdir=upper,workdir=work" overlay root &&
      mount -t proc proc root/proc && mount --bind "$3" root/mnt && exec chroot root sh -c "$4"' \
    - "$(realpath "$1")" "$files/memory" "$PWD/dist" "$try_packages"
}

for root; do
  case $root in
    --help)
      usage
      exit
      ;;
    *)
      [[ -d $root/tmp ]] || { echo "package: '$root' is no root: it has no /tmp" >&2; exit 125; }
      ;;
  esac
done
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
rm -rf dist
mkdir dist

step 'the last commit' export_tree "$files/tree"
step 'build' build
if (( ${#failed[@]} == 0 )); then
  step 'tarball' tarball
  step 'wheels' wheels
  step 'source for pip' source_for_pip
  step 'gem' gem
  lacking=$(missing_for_debian)
  if [[ $lacking ]]; then
    echo "skipped: no Debian packages: $lacking"
  else
    step 'Debian packages, built twice' debian
    if command -v lintian >/dev/null; then
      step 'Debian packages, lintian' without_errors
    else
      echo 'skipped: there is no lintian'
    fi
  fi
  step 'tarball, tried' try_in / unpack_tarball coopdl 0.5s sleep 60
  wheel=$(wheel_for /)
  step 'wheel, tried' try_in / install_wheel coopdl 0.5s sleep 60
  for root; do
    step "tarball, tried in $root" try_in "$root" unpack_tarball coopdl 0.5s sleep 60
    if wheel=$(wheel_for "$root" 2>/dev/null); then
      step "wheel, tried in $root" try_in "$root" unpack_wheel "${python_waits[@]}"
    else
      echo "skipped: $root has no Python that there is a wheel for"
    fi
    if compgen -G 'dist/*.deb' >/dev/null && [[ -x $root/usr/bin/dpkg ]]; then
      step "Debian packages, tried in $root" debian_in "$root"
    else
      echo "skipped: $root is none of Debian's, or there are no packages"
    fi
  done
fi
ls -l dist
if (( ${#failed[@]} )); then
  printf -v reasons ', %s' "${failed[@]}"
  echo "package: FAILED: ${reasons#, }"
  exit 1
fi
echo 'package: done'
