# SPDX-License-Identifier: Apache-2.0
"""The command coopdl, as pip puts it into PATH: becomes the program that lies in this package."""
import os
import sys
from typing import NoReturn

FAILED = 125  # as timeout(1) has it


def main() -> NoReturn:
    program = os.path.join(os.path.dirname(__file__), 'coopdl')
    try:
        os.execv(program, ['coopdl', *sys.argv[1:]])
    except OSError as error:
        print(f'coopdl: cannot run {program}: {error.strerror}', file=sys.stderr)
        sys.exit(FAILED)
