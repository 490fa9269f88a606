#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints what the library costs, as a table of measured ratios: see --help.
set -euo pipefail

# Debian's, for which setup.sh installs the peers.
exec /usr/bin/python3 "$(dirname "$0")/../tests/bench/bench.py" "$@"
