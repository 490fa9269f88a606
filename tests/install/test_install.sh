#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs into an empty directory and uses what is there, as a user does:
# with pkg-config, with a compiler, with the command.  The program is the
# example of docs/c.md, so that the page is right too.
#
# meson.build sets SOURCE, BUILD, MESON, CC, CXX, VERSION and the directories of
# the installation.  The report is TAP.
#
# shellcheck disable=SC2317 # the functions that `check` calls look unreachable
# shellcheck disable=SC2153 # LIBDIR looks like libdir misspelt
set -uo pipefail
shopt -s inherit_errexit

unset LD_PRELOAD LD_LIBRARY_PATH "${!COOPDL_@}"
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT
root=$files/root
libdir=$root$LIBDIR
# shellcheck source=tests/tap.sh
source "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"

# Ends the test that is running: `check` has given it a shell of its own.
fail() {
  printf '%s\n' "$@"
  exit 1
}

# run COMMAND...: sets `status`, `took` (ms) and `output`.
run() {
  local begun=${EPOCHREALTIME//[.,]/}
  status=0
  output=$("$@" 2>&1) || status=$?
  took=$(((${EPOCHREALTIME//[.,]/} - begun) / 1000))
}

# on_time DEADLINE: of the last run, in ms; never early is exact, late is generous.
on_time() {
  ((took >= $1)) || fail "ended after $took ms, before its deadline of $1 ms"
  ((took <= $1 + 1000)) || fail "ended after $took ms; the deadline was $1 ms"
}

install_all() {
  "$MESON" install -C "$BUILD" --no-rebuild --quiet --destdir "$root"
}

# The manual pages are made where there is scdoc.
in_the_usual_places() {
  local wanted found section manual=()
  for section in $MANUAL; do
    manual+=("$MANDIR/man$section/coopdl.$section")
  done
  wanted=$(printf '%s\n' "$BINDIR/coopdl" "$INCLUDEDIR/coopdl.h" "$LIBDIR/libcoopdl.so" \
    "$LIBDIR/libcoopdl.so.0" "$LIBDIR/libcoopdl.so.$VERSION" "$LIBDIR/pkgconfig/coopdl.pc" \
    "$DATADIR/bash-completion/completions/coopdl" "$DATADIR/zsh/site-functions/_coopdl" \
    "$DATADIR/fish/vendor_completions.d/coopdl.fish" "${manual[@]}" | sort)
  found=$(cd "$root" && find . ! -type d | sed 's/^\.//' | sort)
  [[ $found == "$wanted" ]] || fail 'installed is:' "$found" 'instead of:' "$wanted"
}

has_a_soname() {
  readelf -d "$libdir/libcoopdl.so" | grep -F 'Library soname: [libcoopdl.so.0]' ||
    fail 'no soname libcoopdl.so.0'
}

# Names in the table of calls; the preprocessor knows where each macro ends.
interposed() {
  "${cc[@]}" -E -P -I"$SOURCE/src" -x c - <<'TABLE' | sed -n 's/^NAME \([A-Za-z0-9_]*\).*/\1/p' | sort
#include <features.h>
#define CALL(type, name, ...) NAME name
#define ALIAS(alias, name) NAME alias
#define FORTIFIED(type, chk, ...) NAME chk
#define MASK(type, name, ...) NAME name
#define CHILD(type, name, ...) NAME name
#define JOIN(type, name, ...) NAME name
#define VARIADIC(name) NAME name
#include "preload/calls.def"
TABLE
}

# exported: name@@VERSION, or name alone.
exported() {
  nm -D --defined-only --with-symbol-versions "$libdir/libcoopdl.so" | awk '$2 != "A" { print $3 }'
}

exports_the_table_without_version() {
  local differences
  differences=$(diff <(interposed) <(exported | grep -v '^coopdl_' | sort)) ||
    fail '< in calls.def only, > exported only:' "$differences"
  (($(interposed | wc -l) > 40)) || fail 'calls.def was not understood'
}

declared() {
  sed -n 's/^[a-z].*[ *]\(coopdl_[a-z_]*\)(.*/\1@@COOPDL_1/p' "$root$INCLUDEDIR/coopdl.h" | sort
}

exports_the_header_with_version() {
  local differences
  differences=$(diff <(declared) <(exported | grep '^coopdl_' | sort)) ||
    fail '< in coopdl.h only, > exported only:' "$differences"
}

# example COMPILER...: that of docs/c.md, built against what is installed.
build_example() {
  local flags
  flags=$(PKG_CONFIG_PATH=$libdir/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root \
    PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
    pkg-config --cflags --libs coopdl) || return
  # shellcheck disable=SC2086 # several flags
  "$@" $flags
}

# Whoever reads from a pipe that it can also write to waits for ever.
run_example() {
  local silent
  exec {silent}<>"$files/fifo"
  LD_LIBRARY_PATH=$libdir run timeout 20 "$1" <&"$silent"
  exec {silent}<&-
  ((status == 1)) || fail "exit status $status: $output"
  [[ $output == 'read: Interrupted system call'*'too late'* ]] || fail "it said: $output"
  on_time 2000
}

from_c() {
  build_example "${cc[@]}" -Wall -Werror -o "$files/c" "$files/example.c" || return
  run_example "$files/c"
}

from_cpp() {
  build_example "${cxx[@]}" -Wall -Werror -o "$files/cpp" -x c++ "$files/example.c" || return
  run_example "$files/cpp"
}

preloads_the_installed_library() {
  local wanted
  wanted=$(realpath "$libdir/libcoopdl.so")
  run "$root$BINDIR/coopdl" 10 sed -n 's/.* \(\/.*libcoopdl.*\)/\1/p' /proc/self/maps
  [[ $(sort -u <<<"$output") == "$wanted" ]] || fail "in use is: $output" "instead of: $wanted"
}

ends_a_sleep() {
  run "$root$BINDIR/coopdl" -v 1s sleep 5
  ((status == 124)) || fail "exit status $status: $output"
  [[ $output == *'deadline passed'* ]] || fail "it said: $output"
  [[ $output != *'sending signal'* ]] || fail "it sent a signal: $output"
  on_time 1000
}

# What `meson install` runs without --destdir, for a directory where no loader looks.
says_what_to_set() {
  local said
  said=$("$SOURCE/scripts/after-install.sh" "$libdir" "$libdir/pkgconfig") || return
  [[ $said == *"So say LD_PRELOAD=$libdir/libcoopdl.so.0, or name $libdir in"*"set PKG_CONFIG_PATH=$libdir/pkgconfig" ]] ||
    fail "it said: $said"
}

devenv() {
  local path library
  # shellcheck disable=SC2016 # expanded in there
  { read -r path && read -r library; } < <(
    "$MESON" devenv -C "$BUILD" sh -c 'command -v coopdl; echo "$COOPDL_LIBRARY"')
  [[ $path -ef $BUILD/src/cli/coopdl ]] || fail "coopdl is '$path'"
  [[ $library -ef $BUILD/src/libcoopdl.so ]] || fail "COOPDL_LIBRARY is '$library'"
}

read -ra cc <<<"$CC"
read -ra cxx <<<"$CXX"
mkfifo "$files/fifo"
# shellcheck disable=SC2016 # these are no command substitutions
sed -n '/^```c$/,/^```$/ { /^```/!p }' "$SOURCE/docs/c.md" >"$files/example.c"

check 'meson install --destdir' install_all
check 'everything is in the usual places' in_the_usual_places
check 'the library has a soname' has_a_soname
check 'the table of calls is exported, without a version' exports_the_table_without_version
check 'the functions of coopdl.h are exported, with one' exports_the_header_with_version
check 'the example of docs/c.md, as C' from_c
check 'the example of docs/c.md, as C++' from_cpp
check 'the command preloads the library beside it' preloads_the_installed_library
check 'the command ends a sleep without a signal' ends_a_sleep
check 'the last lines say what to set' says_what_to_set
check 'meson devenv' devenv
echo "1..$number"
exit "$bad"
