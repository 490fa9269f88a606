#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that looks at the source without running it: see --help.
# shellcheck disable=SC2317 # the functions that `step` calls look unreachable
set -uo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

failed=() # the steps that failed

usage() {
  cat <<'END_OF_USAGE'
usage: scripts/lint.sh [--help]

Installs what is needed (scripts/setup.sh), builds with gcc into build/ and with
clang into build-clang/, warnings being errors, and looks at the source:

  clang-format   the layout is that of .clang-format (calls.def and the other
                 tables of macros have their own)
  clang-tidy     the checks of .clang-tidy
  cppcheck       warnings, performance, portability
  shellcheck     the scripts
  floors         which file of src/ includes which, and that there is no circle

The first four are asked in the versions of Debian 12, and skipped in others.
No source is changed.  The last line says whether all was clean.

Exit status: 0 when it was, 1 when something was found or could not be run, 125
for an argument that is not understood.
END_OF_USAGE
}

# A step is a function or a command that says by its status how it went.
step() {
  local name=$1
  shift
  printf '\n-- %s\n' "$name"
  "$@" || failed+=("$name")
}

# judge TOOL VERSION COMMAND...: by that version alone.  Each other one lays the source out otherwise,
# or has further opinions of it.
judge() {
  local tool=$1 version=$2 found
  found=$("$tool" --version | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1)
  if [[ ! $found || $found == "$version" || $found == "$version".* ]]; then
    step "$tool" "${@:3}"
  else
    printf '\n-- %s\nskipped: it is %s, and the source is kept clean for %s\n' "$tool" "$found" "$version"
  fi
}

build() {
  local directory=$1
  if [[ -e $directory/build.ninja ]]; then
    meson configure "$directory" -Dwerror=true
  else
    CC=$2 CXX=$3 meson setup "$directory" --werror
  fi && ninja -C "$directory" all meson-test-prereq
}

source_files() {
  find include src tests examples \( -name '*.c' -o -name '*.h' -o -name '*.cpp' \)
}

layout() {
  source_files | xargs clang-format --dry-run -Werror
}

# A file to a process: some checks of this version see ghosts from the file before.
tidy() {
  source_files | grep -v -e '\.h$' -e '^tests/fuzz/' | # which that build leaves out
    xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p build-clang 2> >(grep -v ' generated\.$' >&2)
}

# Of the architectures in an #if it sees the one that it is told of; Criterion's
# macros make functions, and Python's return from them.  alloca: between vfork and
# exec there is only the stack.
defects() {
  cppcheck --project=build/compile_commands.json -j "$(nproc)" --quiet --error-exitcode=1 \
    --enable=warning,performance,portability --inline-suppr --std=c11 \
    --suppress=allocaCalled \
    "-D__$(uname -m)__" -D__GCC_HAVE_SYNC_COMPARE_AND_SWAP_8 \
    '-DPy_RETURN_NONE=return Py_None' \
    '-DPy_RETURN_NONE=return(Py_None)' '-DTestSuite(...)=' '-DTest(suite,name,...)=void suite##_##name(void)'
}

scripts() {
  find scripts tests src examples -name '*.sh' -exec shellcheck .ci/run {} +
}

for argument; do
  if [[ $argument != --help ]]; then
    echo "lint: unknown argument '$argument'; the only one is --help" >&2
    exit 125
  fi
  usage
  exit
done

step 'set-up' scripts/setup.sh
(( ${#failed[@]} )) || step 'build with gcc' build build gcc g++
(( ${#failed[@]} )) || step 'build with clang' build build-clang clang clang++
if (( ${#failed[@]} == 0 )); then
  judge clang-format 14 layout
  judge clang-tidy 14 tidy
  judge cppcheck 2.10 defects
  judge shellcheck 0.9 scripts
  step 'floors' scripts/floors.py
fi

if (( ${#failed[@]} )); then
  printf -v reasons ', %s' "${failed[@]}"
  printf '\nlint: FAILED: %s\n' "${reasons#, }"
  exit 1
fi
printf '\nlint: all clean\n'
