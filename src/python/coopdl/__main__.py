# SPDX-License-Identifier: Apache-2.0
"""The command: python -m coopdl DURATION SCRIPT | -m MOD | -c CODE [ARG]..., and --check.

It becomes another Python (exec, so the process keeps its id and its terminal), with the
library preloaded and the deadline in the environment, which runs the program (_script.py).

What must hold: whatever is wrong with the arguments is one line on stderr and exit status
125, with nothing started; an earlier deadline from outside goes on to rule; the interpreter's
own options are handed on.
"""
import argparse
import glob
import importlib.util
import os
import re
import sys
from typing import NoReturn

from coopdl import _check, _library

FAILED, NOT_RUN, NOT_FOUND = 125, 126, 127  # as timeout(1) has them

USAGE = 'python -m coopdl [--check | --version] DURATION (SCRIPT | -m MOD | -c CODE) [ARG]...'

DESCRIPTION = """\
Run SCRIPT (a file, or a directory or archive with a __main__.py), the module MOD
or CODE as the interpreter itself does, and have it end within DURATION: what
waits or computes then raises coopdl.DeadlineReached, in its main thread first and
then in all others, and a program that goes on regardless is sent SIGTERM after
the grace (COOPDL_GRACE, 5s).
"""

EPILOG = """\
DURATION is a number of seconds (5, 2.5) or numbers with units d h m s ms us ns
(250ms, 1m30s).  0 means no limit.  An earlier deadline from outside
(COOPDL_DEADLINE, COOPDL_BUDGET) rules.

Exit status:
  124  if a deadline's exception is in the chain of what ended the program
  125  if something is wrong with the arguments, or with the library
  126  if SCRIPT cannot be read
  127  if SCRIPT or MOD cannot be found
  that of the program otherwise
"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f'{message}; usage is {USAGE}')


def fail(message: object, status: int = FAILED) -> NoReturn:
    print('coopdl:', message, file=sys.stderr)
    sys.exit(status)


class Check(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        text, status = _check.report()
        print(text, end='')
        sys.exit(status)


class Version(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        print('coopdl', _library.version(_library.load()))
        sys.exit(0)


def parser() -> Parser:
    parser = Parser(usage=USAGE, description=DESCRIPTION, epilog=EPILOG,
                    allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', nargs=0, action=Check,
                        help='say whether a deadline will be kept here, and exit: with 0 if '
                             'it will, else 1')
    parser.add_argument('--version', nargs=0, action=Version,
                        help="print the library's version and exit")
    parser.add_argument('DURATION', help=argparse.SUPPRESS)
    # All that follows is the program's.
    parser.add_argument('PROGRAM', nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def with_preload(others: str, library: str) -> str:
    """LD_PRELOAD with the library in it: what is there already stays, behind ours."""
    if re.search('[ :]', library):
        fail(f"cannot preload '{library}': LD_PRELOAD takes no path with a blank or a colon")
    listed = re.split('[ :]+', others)
    return others if library in listed else ':'.join(filter(None, [library, others]))


def limited(duration: str) -> dict[str, str]:
    """The environment in which the deadline holds."""
    library = _library.load()
    try:
        nanoseconds = _library.nanoseconds(library, duration)
    except ValueError as error:
        fail(error)
    environment = dict(os.environ)
    if nanoseconds > 0:
        # An absolute time, so that the clock does not start anew.
        deadline = min(library.coopdl_deadline(), library.coopdl_after(nanoseconds))
        environment['COOPDL_DEADLINE'] = str(deadline)
        environment['LD_PRELOAD'] = with_preload(os.environ.get('LD_PRELOAD', ''), _library.path())
    return environment


def interpreter() -> list[str]:
    """The options that this Python was started with, up to `-m coopdl`, and ours in its place."""
    options = sys.orig_argv[1:len(sys.orig_argv) - len(sys.argv) + 1]
    options[-1] = options[-1].removesuffix('.__main__') + '._script'
    return [sys.executable, *options]


def check_module(name: str) -> None:
    """Without importing anything of it: that is for the program to do."""
    if importlib.util.find_spec(name.partition('.')[0]) is None:
        fail(f"cannot find the module '{name}'", NOT_FOUND)


def check_script(path: str) -> None:
    if not os.path.exists(path):
        fail(f"cannot find '{path}'", NOT_FOUND)
    if os.path.isdir(path) and not glob.glob(os.path.join(glob.escape(path), '__main__.py*')):
        fail(f"cannot read '{path}', a directory without a __main__.py", NOT_RUN)
    if not os.access(path, os.R_OK):
        fail(f"cannot read '{path}'", NOT_RUN)


def check(program: list[str]) -> None:
    """The program is a file, or -m or -c with what belongs to them, as for the interpreter."""
    if not program:
        fail(f'SCRIPT, -m MOD or -c CODE is missing; usage is {USAGE}')
    option, argument = program[0][:2], program[0][2:]
    if option not in ('-m', '-c'):
        check_script(program[0])
    elif not argument and len(program) < 2:
        fail(f"{'MOD' if option == '-m' else 'CODE'} is missing behind {option}; usage is {USAGE}")
    elif option == '-m':
        check_module(argument or program[1])


def main() -> None:
    given = parser().parse_args()
    environment = limited(given.DURATION)
    check(given.PROGRAM)
    environment['COOPDL_SCRIPT'] = str(os.getpid())
    os.execve(sys.executable, [*interpreter(), *given.PROGRAM], environment)


if __name__ == '__main__':
    main()
