#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Reads what was built: it needs no symbol above GLIBC_2.17, and no library at
# load time that a small system does not have (libgcc_s).  Built with the option
# `portable` it names the libraries in which glibc before 2.34 has functions that it
# calls; without, it names none that is empty here.
#
# The arguments are the build directory, objdump, and `portable` or `plain`.  The
# report is TAP.
set -uo pipefail

build=$1
objdump=$2
kind=$3
bound=2.17
number=0 bad=0

verdict() { # NAME COMPLAINT...: none, or one on a line
  number=$((number + 1))
  if [[ -z $2 ]]; then
    echo "ok $number - $1"
  else
    echo "not ok $number - $1"
    printf '%s\n' "$2" | sed 's/^/# /'
    bad=1
  fi
}

# "name version" of each symbol of glibc's that FILE needs.
needed_symbols() {
  "$objdump" -T "$1" | sed -n 's/.*\*UND\*.*(\{0,1\}GLIBC_\([0-9.]*\))\{0,1\} *\(.*\)$/\2 \1/p'
}

above_the_bound() {
  needed_symbols "$1" | awk -v bound="$bound" '
    BEGIN { split(bound, most, ".") }
    { split($2, is, ".") }
    is[1] > most[1] || is[1] == most[1] && is[2] + 0 > most[2] + 0 { print $1, "needs GLIBC_" $2 }'
}

other_libraries() {
  "$objdump" -p "$1" | awk '$1 == "NEEDED" { print $2 }' |
    grep -vE '^(libc\.so\.6|libpthread\.so\.0|libdl\.so\.2|libm\.so\.6|ld-linux.*|libcoopdl\.so\.0)$' |
    sed 's/$/ is needed at load time/'
}

# Where glibc itself has them, libpthread and libdl are empty.
wrong_libraries() {
  local named
  named=$("$objdump" -p "$1" | awk '$1 == "NEEDED" { print $2 }' |
    grep -cE '^(libpthread\.so\.0|libdl\.so\.2)$')
  case $kind in
  portable) ((named == 2)) || echo "only $named of libpthread.so.0 and libdl.so.2 are named" ;;
  *)
    if [[ $(getconf GNU_LIBC_VERSION) =~ \ 2\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 34 && named)); then
      echo "$named of libpthread.so.0 and libdl.so.2 are named"
    fi
    ;;
  esac
}

shopt -s nullglob
built=("$build"/src/libcoopdl.so.0 "$build"/src/cli/coopdl
  "$build"/src/python/coopdl/_coopdl*.so "$build"/src/ruby/ext/coopdl/*.so)
for file in "${built[@]}"; do
  name=${file#"$build/src/"}
  symbols=$(needed_symbols "$file" | wc -l)
  ((symbols > 0)) || { verdict "$name is understood" "no symbol of glibc's was found in it"; continue; }
  verdict "$name needs nothing above GLIBC_$bound" "$(above_the_bound "$file")"
  verdict "$name needs no other library" "$(other_libraries "$file")"
  # Ruby's is made by its own means, for the Ruby at hand.
  [[ $name == ruby/* ]] ||
    verdict "$name, $kind, names what it needs" "$(wrong_libraries "$file")"
done
echo "1..$number"
exit "$bad"
