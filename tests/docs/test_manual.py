#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_manual.py -- the manual pages, and docs/command.md and environments.md, against what they
describe: `coopdl --help`, coopdl.h, the source that reads the environment, and the table of calls.
Everything there is documented, and nothing else is.

The arguments are the command and the pages as scdoc made them, of which there may be none.
"""
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(ROOT, 'scripts')]

import calls
from tap import differences, report


def read(*path):
    with open(os.path.join(ROOT, *path), encoding='utf-8') as file:
        return file.read()


def page(section):
    return read('man', f'coopdl.{section}.scd')


def part(text, heading):
    """What stands under `# HEADING`."""
    return re.search(rf'^# {heading}\n(.*?)(?=^# |\Z)', text, re.M | re.S)[1]


def options_of(command):
    """With the same values: `--grace=DURATION`, `-f`."""
    said = subprocess.run([command, '--help'], text=True, stdout=subprocess.PIPE, check=True).stdout
    short = set(re.findall(r'^ +(-\w), ', said, re.M))
    return short | set(re.findall(r'^ +(?:-\w, )?(--[\w-]+(?:=\w+|\[=\w+\]| \[\w+\]| [A-Z]+)?)', said, re.M))


def check_options(command):
    terms = re.findall(r'^(\*-.*)$', part(page(1), 'OPTIONS'), re.M)
    options = {option for term in terms for option in re.sub(r'[*_]', '', term).split(', ')}
    return differences(options, options_of(command), '`coopdl --help`')


def check_command_page(command):
    cells = re.findall(r'^\| (`-.*?) \|', read('docs', 'command.md'), re.M)
    options = {option for cell in cells for option in re.findall(r'`(-[^`]+)`', cell)}
    return differences(options, options_of(command), '`coopdl --help`')


def check_statuses(command):
    said = subprocess.run([command, '--help'], text=True, stdout=subprocess.PIPE, check=True).stdout
    wanted = set(re.findall(r'^  (\d+)  ', said, re.M))
    return differences(set(re.findall(r'^\*(\d+)\*$', part(page(1), 'EXIT STATUS'), re.M)), wanted,
                       '`coopdl --help`')


def declared():
    """The prototypes of coopdl.h by the names of their functions."""
    header = re.sub(r'/\*.*?\*/', '', read('include', 'coopdl.h'), flags=re.S)
    return {name: ' '.join(text.split())
            for text, name in re.findall(r'^(\w[\w *]*?\b(coopdl_\w+)\([^;]*\);)', header, re.M)}


def check_functions():
    """The synopsis has the prototypes, and NAME and DESCRIPTION name each function."""
    text = page(3)
    shown = set(re.findall(r'^\w.*\);$', part(text, 'SYNOPSIS'), re.M))
    wrong = differences(shown, set(declared().values()), 'coopdl.h')
    for heading in 'NAME', 'DESCRIPTION':
        names = set(re.findall(r'\bcoopdl_\w+\b(?!\.h)', part(text, heading)))
        wrong += [f'{heading}: {line}' for line in differences(names, set(declared()), 'coopdl.h')]
    return wrong


def check_constants():
    """Those that mean something to a caller; COOPDL_KICK_CAUSES is how many there are."""
    header = re.sub(r'/\*.*?\*/', '', read('include', 'coopdl.h'), flags=re.S)
    there = set(re.findall(r'\bCOOPDL_[A-Z_]+\b', header)) - {'COOPDL_H', 'COOPDL_KICK_CAUSES'}
    shown = set(re.findall(r'\bCOOPDL_[A-Z_]+\b', page(3)))
    environment = {'COOPDL_LOG'}
    return differences(shown - environment, there, 'coopdl.h')


def variables():
    """Those that a C source names as a string of its own."""
    found = set()
    for directory, _, files in os.walk(os.path.join(ROOT, 'src')):
        for name in files:
            if name.endswith('.c'):
                found |= set(re.findall(r'"(COOPDL_[A-Z_]+)[="]', read(directory, name)))
    return found


def check_variables():
    shown = set(re.findall(r'^\*(COOPDL_\w+)\*$', part(page(7), 'ENVIRONMENT'), re.M))
    return differences(shown, variables(), 'the source')


def check_environments_page():
    shown = set(re.findall(r'^\| `(COOPDL_\w+)` \|', read('docs', 'environments.md'), re.M))
    return differences(shown, variables(), 'the source')


def check_calls():
    """All names that a program may call; __poll_chk and the like are the compiler's."""
    rows = calls.read_table()
    there = {row['name'] for row in rows if row.exported() and not row['name'].startswith('_')}
    shown = re.findall(r'\*(\w+)\*(?!\()', part(page(7), 'CALLS').replace('\\_', '_'))
    return differences(set(shown), there, 'calls.def')


def check_lint(pages):
    """But for what scdoc writes that is no error: paragraphs that are empty, a date with its hyphens
    escaped."""
    if not pages:
        return 'no scdoc when this was built'
    if not shutil.which('mandoc'):
        return 'no mandoc here'
    said = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', *pages], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    return [line for line in said.splitlines() if 'skipping paragraph macro: PP' not in line and
            not ('cannot parse date' in line and r'\-' in line)]


def main(command, *pages):
    return report([
        ('coopdl(1) has the options of --help', lambda: check_options(command)),
        ('coopdl(1) has the exit statuses of --help', lambda: check_statuses(command)),
        ('coopdl(3) has the functions of coopdl.h', check_functions),
        ('coopdl(3) has the constants of coopdl.h', check_constants),
        ('coopdl(7) has the variables that are read', check_variables),
        ('coopdl(7) has the calls of the table', check_calls),
        ('docs/command.md has the options of --help', lambda: check_command_page(command)),
        ('docs/environments.md has the variables that are read', check_environments_page),
        ('mandoc finds nothing', lambda: check_lint(pages)),
    ])


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
