#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes docs/ into HTML: see --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'END'
usage: scripts/docs.sh [--help]

Makes the pages of docs/ into HTML, in build/site/, with mkdocs (Debian: mkdocs).
It needs no network.

Exit status: 0 when that worked, 1 when not, 125 for an argument that is not
understood.
END
}

for argument; do
  [[ $argument == --help ]] || {
    echo "docs: unknown argument '$argument'; the only one is --help" >&2
    exit 125
  }
  usage
  exit
done

command -v mkdocs >/dev/null || {
  echo 'docs: there is no mkdocs; scripts/setup.sh installs it' >&2
  exit 1
}
mkdocs --quiet build --clean
echo 'docs: build/site/index.html'
