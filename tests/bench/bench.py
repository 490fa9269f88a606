#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench.py -- runs the groups of rows and prints the table: see scripts/bench.sh --help.

A group is a module rows_NAME with a function rows(tools), which yields a Row for each line of the
table as soon as it is measured.

What must hold: what is compared is measured in the same run, by turns, so that what else the
machine does falls on both; and what could not be measured is shown as such.
"""
import argparse
import datetime
import importlib
import json
import os
import platform
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from measure import Failed, Tools  # noqa: E402

GROUPS = ('calls', 'scope', 'compute', 'late', 'threads', 'process', 'work')
WIDTHS = (46, 34, 18, 14)
USAGE = """\
usage: scripts/bench.sh [--quick] [--rows GROUP[,GROUP]] [--json FILE] [--svg DIR] [BUILD]

Measures what the library costs against what it is compared with, in one run and
by turns, and prints a line for each: what | against | measured | to reach |
ok or over.  A ratio is a median over the rounds, and after +- is half of what lies
between their quartiles; for a lateness, half of what lies between the lowest and
the highest of five passes.  What is not installed is shown as skipped;
scripts/setup.sh installs it.  BUILD is the build directory, build/ if not given.

  --quick      fewer rounds, and not the slow rows: under two minutes
  --rows GROUP one or more of: %s
  --json FILE  all that was measured, too
  --svg DIR    charts, too: late.svg, scope.svg, threads.svg

Exit status: 0 if all was measured, within its bound or not; 1 if something
failed; 125 for an argument that is not understood.
""" % ', '.join(GROUPS)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f'bench: {message}; see --help', file=sys.stderr)
        sys.exit(125)

    def format_help(self):
        return USAGE


def groups(text):
    names = text.split(',')
    for name in names:
        if name not in GROUPS:
            raise argparse.ArgumentTypeError(f"no group '{name}', there are {', '.join(GROUPS)}")
    return names


def directory(text):
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no directory")
    return os.path.abspath(text)


def build_directory(text):
    if not os.path.exists(os.path.join(text, 'src', 'libcoopdl.so')):
        raise argparse.ArgumentTypeError(f"there is no src/libcoopdl.so in '{text}'")
    return os.path.abspath(text)


def arguments():
    parser = Parser(prog='bench')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--rows', type=groups, default=list(GROUPS))
    parser.add_argument('--json', type=argparse.FileType('w'))
    parser.add_argument('--svg', type=directory)
    parser.add_argument('build', nargs='?', metavar='BUILD', type=build_directory,
                        default=os.path.join(HERE, '..', '..', 'build'))
    return parser.parse_args()


def machine():
    with open('/proc/cpuinfo') as file:
        models = [line.split(':', 1)[1].strip() for line in file if line.startswith('model name')]
    return {
        'date': datetime.date.today().isoformat(),
        'processor': f'{os.cpu_count()} x {models[0] if models else platform.machine()}',
        'kernel': platform.release(),
        'load': os.getloadavg()[0],
    }


def line(*columns):
    return ' | '.join(text.ljust(width) for text, width in zip(columns, WIDTHS + (4,))).rstrip()


def print_row(row):
    print(line(row.what, row.against, row.measured(), row.to_reach(), row.verdict()), flush=True)


def main():
    options = arguments()
    here = machine()
    print(f"{here['date']}, {here['processor']}, Linux {here['kernel']}, load {here['load']:.1f}\n")
    print(line('what', 'against', 'measured', 'to reach', 'verdict'))
    print('-|-'.join('-' * width for width in WIDTHS + (7,)))
    rows = []
    failed = False
    with Tools(options.build, options.quick) as tools:
        for name in options.rows:
            try:
                for row in importlib.import_module('rows_' + name).rows(tools):
                    row.group = name
                    print_row(row)
                    rows.append(row)
            except Failed as error:
                failed = True
                print(f'bench: {name}: {error}', file=sys.stderr)
    if options.json:
        json.dump({'machine': here, 'rows': [row.as_json() for row in rows]}, options.json, indent=1)
        options.json.write('\n')
    if options.svg:
        failed = not draw(rows, here, options.svg) or failed
    return int(failed)


def draw(rows, here, where):
    try:
        import chart
    except ImportError as error:
        print(f'bench: no charts: {error}; scripts/setup.sh installs it', file=sys.stderr)
        return False
    chart.draw(rows, here, where)
    return True


if __name__ == '__main__':
    sys.exit(main())
