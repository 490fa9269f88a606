#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_symbols.py -- holds the table of calls (src/preload/calls.def) against the
libc at hand, the library, and the list of calls in docs/calls.md.

What can block is said by two authorities that know nothing of the table: libc's
own machine code (libc.py; x86-64 and i386) and POSIX's cancellation points with
their usual variants (cancellation_points.txt; everywhere).  Each such name, and each
name at the same address, has to be wrapped or in a LEFT row.  Names with the
version GLIBC_PRIVATE are exempt: only glibc's own libraries are linked to them.

The arguments are the library, the command and the compiler.  The report is TAP.
"""
import os
import re
import shlex
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, '..', '..', 'scripts')
sys.path[:0] = [HERE, os.path.dirname(HERE), SCRIPTS]

import calls
from libc import Libc, run
from tap import report


def libc_of(library, command, compiler):
    """The libc that the library is linked to: the compiler knows where it is, or, where libc is its
    own loader (musl), the command names it."""
    compiler = shlex.split(compiler)
    name = re.search(r'\(NEEDED\).*\[(libc\..*)\]', run('readelf', '-d', library))[1]
    if name == 'libc.so':
        path = re.search(r'interpreter: (.*)\]', run('readelf', '-l', command))[1]
    else:
        path = run(*compiler, f'-print-file-name={name}').strip()
    return Libc(os.path.realpath(path), compiler)


def cancellation_points():
    with open(os.path.join(HERE, 'cancellation_points.txt')) as file:
        return [name for line in file if not line.startswith('#') for name in line.split()]


def variants(name, names):
    """fgets: _IO_fgets, fgets_unlocked, __fgets_chk ...; fopen: fopen64; scanf: __isoc99_scanf;
    wait4: __wait4_time64."""
    pattern = re.compile(rf'(__|_IO_|__isoc\d\d_)?{name}(64)?(_time64)?(_unlocked|_r)?(_chk)?')
    return {other for other in names if pattern.fullmatch(other)}


def unexplained(reasons, table):
    return [f'{name}: {why}; neither wrapped nor in a LEFT row'
            for name, why in sorted(reasons.items()) if name not in table]


def check_machine_code(libc, table):
    return unexplained({name: f'makes the system call {why}'
                        for name, why in libc.blocking().items()}, table)


def check_posix(libc, table):
    exported = libc.exported()
    return unexplained({other: f'a cancellation point, as {name}'
                        for name in cancellation_points()
                        for other in variants(name, exported)}, table)


def check_variants(libc, wrapped, table):
    exported = libc.exported()
    return unexplained({other: f'a variant of {name}' for name in wrapped
                        for other in variants(name, exported)}, table)


def check_aliases(libc, table):
    return unexplained({name: f'another name of {", ".join(sorted(names & table))}'
                        for names in libc.names.values() if names & table
                        for name in names}, table)


def check_wrapped_exist(libc, wrapped, rows):
    """Or are system calls of their own, which a newer libc has as well."""
    numbers = {row['name'] for row in rows if row.macro == 'NUMBER'}
    missing = set(wrapped) - libc.all_names() - numbers
    if not libc.is_glibc:  # musl's loader still knows them, but no longer (1.2.4) exports them
        missing -= {name + '64' for name in libc.all_names()}
    return [f'{name}: wrapped, but {libc.path} has no such function' for name in sorted(missing)]


def check_once(wrapped, left):
    names = wrapped + left
    return [f'{name}: {names.count(name)} times in the table'
            for name in sorted(set(names)) if names.count(name) > 1]


def check_exported(library, wrapped):
    lines = run('nm', '-D', '--defined-only', library).splitlines()
    names = {line.split()[2].partition('@')[0] for line in lines if line.split()[1] != 'A'}
    if not names:
        return [f'{library} exports nothing']
    return [f'{name}: exported, but neither in the table nor a coopdl_*'
            for name in sorted(names - set(wrapped)) if not name.startswith('coopdl_')]


def check_list():
    done = subprocess.run([sys.executable, os.path.join(SCRIPTS, 'calls.py'), '--check'],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.splitlines() if done.returncode else []


def check_tested(wrapped):
    """Each name stands in a unit test or its table: as a string that dlsym is asked for, or called."""
    unit = os.path.join(HERE, '..', 'unit')
    text = ''
    for name in sorted(os.listdir(unit)):
        if name.endswith('.h') or (name.startswith('test_') and name.endswith('.c')):
            with open(os.path.join(unit, name)) as file:
                text += file.read()
    words = set(re.findall(r'\b\w+(?=\(|")', text))
    return [f'{name}: wrapped, but no unit test names it'
            for name in sorted(set(wrapped) - words)]


def main(library, command, compiler):
    os.environ['CC'] = compiler
    rows = calls.read_table()
    wrapped = calls.interposed(rows)
    left = [name for _, names in calls.left(rows) for name in names]
    table = set(wrapped + left)
    libc = libc_of(library, command, compiler)

    no_code = not libc.is_x86 and 'its code is read on x86-64 and i386 only'
    # Up to glibc 2.33 its functions are in several libraries, and what waits for a lock is in each.
    parts = libc.is_glibc and 'pthread_join' not in libc.exported() and 'libc is in several libraries here'
    checks = [
        ('what blocks in the code of libc is in the table',
         lambda: no_code or parts or check_machine_code(libc, table)),
        ('the cancellation points of POSIX are in the table', lambda: check_posix(libc, table)),
        ('so is every other name of what is in the table', lambda: check_aliases(libc, table)),
        ('so are the variants of what is wrapped', lambda: check_variants(libc, wrapped, table)),
        ('libc has every function that is wrapped', lambda: parts or check_wrapped_exist(libc, wrapped, rows)),
        ('no name is in the table twice', lambda: check_once(wrapped, left)),
        ('the library exports nothing else', lambda: check_exported(library, wrapped)),
        ('every wrapped name is in a unit test', lambda: check_tested(wrapped)),
    ]
    if libc.is_glibc and not libc.is_32_bit:  # whose table the list has
        checks.append(('docs/calls.md lists the calls of the table', check_list))
    print(f'# {libc.path}: {len(libc.exported())} functions; '
          f'{len(wrapped)} names wrapped, {len(left)} left alone')
    return report(checks)


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
