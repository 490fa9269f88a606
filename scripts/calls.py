#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: scripts/calls.py [--update | --check]

Prints the list of calls, made from the table in src/preload/calls.def; --update
writes it into docs/calls.md, between the two markers there; --check says by the
exit status whether that is what it already says.

Exit status: 0, 1 where --check finds a difference, 125 for an argument, a table
or a page that is not understood.
"""
import ast
import collections
import os
import re
import shlex
import subprocess
import sys
import textwrap

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TABLE = 'src/preload/calls.def'
PAGE = 'docs/calls.md'
BEGIN = '<!-- begin: written by scripts/calls.py --update -->'
END = '<!-- end -->'

# What the list says of rows that cut nothing.
INHERIT = 'Wrapped too, so that children inherit the deadline and waiting for them ends by it'
PURPOSE = {
    'MASK': 'Wrapped too, so that the kick stays deliverable',
    'CHILD': INHERIT,
    'VARIADIC': INHERIT,
    'JOIN': 'Wrapped too, so that the thread that is waited for gets the deadline of an expired one',
}

# Columns that hold string literals; the others are C.
TEXT = {'timeout', 'cut', 'reason'}

NAMES_SHOWN = 4  # for each reason to leave calls alone


class Row(dict):
    """One row of the table: its columns by name; `macro` is what kind of row it is."""

    def __init__(self, macro, columns):
        super().__init__(columns)
        self.macro = macro

    def exported(self):
        """The name that this row interposes; None where it interposes none."""
        if self.macro == 'NUMBER':
            return None
        return self.get('alias') or self.get('chk') or self.get('name')


def fail(message):
    print(f'calls: {message}', file=sys.stderr)
    sys.exit(125)


def read_table():
    """The rows, in their order.  The preprocessor reads them, so that #if and strings in several
    parts mean what they mean to the compiler; the names of the columns are those of the parameters
    in the empty default definitions."""
    with open(os.path.join(ROOT, TABLE)) as file:
        text = file.read()
    source = '#include <features.h>\n#ifndef __GLIBC__\n#define GNU(...)\n#endif\n'
    for macro, parameters in re.findall(r'^#ifndef \w+\n#define (\w+)\((.*)\)$', text, re.M):
        columns = [p.strip() for p in parameters.split(',')]
        pairs = ', '.join(f'("{c}", {column_value(c)})' for c in columns)
        source += f'#define {macro}({parameters}) ROW("{macro}", [{pairs}])\n'
    source += f'#include "{TABLE}"\n'
    compiler = shlex.split(os.environ.get('CC', 'cc'))
    output = subprocess.run(compiler + ['-E', '-P', '-D_GNU_SOURCE', f'-I{ROOT}', '-x', 'c', '-'],
                            input=source, text=True, stdout=subprocess.PIPE, check=True).stdout
    rows = []
    for line in output.splitlines():
        match = re.fullmatch(r'ROW(\(.*\))', line)
        if match:
            rows.append(Row(*ast.literal_eval(match[1])))
        elif line.strip():
            fail(f'{TABLE}: a row whose macro has no empty definition: {line}')
    if not rows:
        fail(f'{TABLE} has no rows')
    return rows


def column_value(column):
    if column == '...':
        return '#__VA_ARGS__'
    return column if column in TEXT else f'#{column}'


def interposed(rows):
    return [row.exported() for row in rows if row.exported()]


def left(rows):
    """Reason and names of the calls that are left alone."""
    return [(row['reason'], row['...'].split(', ')) for row in rows if row.macro == 'LEFT']


def code(names):
    return ', '.join(f'`{name}`' for name in names)


def prose(text):
    """Names of constants are code."""
    return re.sub(r'\b(E[A-Z]{3,}|[A-Z]+_[A-Z_]+)\b', r'`\1`', text)


def fill(text, first='', rest=''):
    return textwrap.fill(text, 100, initial_indent=first, subsequent_indent=rest,
                         break_long_words=False, break_on_hyphens=False)


def section(rows):
    """The list of calls."""
    calls = [row for row in rows if 'cut' in row]
    named = {row['name'] for row in calls}
    aliases = collections.defaultdict(list)
    for row in rows:
        if 'alias' in row or 'chk' in row:
            aliases[row['name']].append(row.exported())

    lines = ['| call | also as | its own timeout | after expiry |', '|---|---|---|---|']
    groups = []  # of calls that follow each other and say the same
    for row in calls:
        told = (row['timeout'], row['cut'])
        if not groups or groups[-1][0] != told:
            groups.append((told, []))
        groups[-1][1].append(row['name'])
    for (timeout, cut), names in groups:
        also = [alias for name in names for alias in aliases[name]]
        cells = [code(names), code(also), prose(timeout), prose(cut)]
        lines.append(re.sub(' +', ' ', f'| {" | ".join(cells)} |'))

    others = collections.defaultdict(list)
    for row in rows:
        if row.exported() and row.exported() == row['name'] not in named:
            if row.macro not in PURPOSE:
                fail(f'PURPOSE does not say what the list is to say of {row.macro} rows')
            others[PURPOSE[row.macro]] += [row['name']] + aliases[row['name']]
    for purpose, names in others.items():
        lines += ['', fill(f'{purpose}: {code(names)}.')]

    lines += ['', f'Left alone, and why (`{TABLE}` has all the names):',
              '']
    for reason, names in left(rows):
        shown = [n for n in names if not n.startswith('_') and '64' not in n][:NAMES_SHOWN]
        more = f' and {len(names) - len(shown)} more' if len(names) > len(shown) else ''
        if shown:
            lines.append(fill(f'{code(shown)}{more}: {prose(reason)}.', '- ', '  '))
    return '\n'.join(lines) + '\n'


def put(wanted, only_check):
    """Writes the list into the page; 1 if it was another and is only to be checked."""
    path = os.path.join(ROOT, PAGE)
    with open(path) as file:
        parts = re.split(f'({re.escape(BEGIN)}\n|{re.escape(END)}\n)', file.read())
    if [part.strip() for part in parts[1::2]] != [BEGIN, END]:
        fail(f'{PAGE} does not have the two markers, once each and in their order')
    if parts[2] == wanted:
        return 0
    if only_check:
        print(f'{PAGE} is not what calls.def says; scripts/calls.py --update makes it so')
        return 1
    parts[2] = wanted
    with open(path, 'w') as file:
        file.write(''.join(parts))
    return 0


def main(arguments):
    if len(arguments) > 1 or arguments and arguments[0] not in ('--update', '--check', '--help'):
        fail(f"arguments are '{' '.join(arguments)}'; accepted is one of --update, --check, --help")
    if arguments == ['--help']:
        print(__doc__, end='')
        return 0
    wanted = section(read_table())
    if not arguments:
        print(wanted, end='')
        return 0

    return put(wanted, arguments == ['--check'])


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
