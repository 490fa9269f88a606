#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_probes.py -- the static probes: the notes in the library are what src/core/probe.h says, gdb
stops at them and finds their arguments, and the example names no others.

LIBRARY and PROBES (yes or no: what it was built with) are in the environment.  The report is TAP.
"""
import os
import re
import shutil
import subprocess
import sys
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIBRARY = os.environ['LIBRARY']
EXAMPLE = os.path.join(ROOT, 'examples', 'cuts.bt')


class Skip(Exception):
    pass


def run(*command, **options):
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith(('COOPDL', 'LD_'))}
    return subprocess.run(command, env=clean, stdin=options.pop('stdin', subprocess.DEVNULL),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                          **options).stdout


def documented():
    """The number of arguments of each probe, by its name."""
    with open(os.path.join(ROOT, 'src', 'core', 'probe.h')) as file:
        head = file.read().partition('#ifndef')[0]
    return {name: len(arguments.split(',')) for name, arguments
            in re.findall(r'^ \*   (\w+)\(([^)]*)\)  ', head, re.M)}


def notes():
    """The same of the library, as readelf shows them."""
    found = {}
    for provider, name, arguments in re.findall(
            r'Provider: (\S+)\n +Name: (\S+)\n +Location: .*\n +Arguments: (.*)',
            run('readelf', '-n', LIBRARY)):
        assert provider == 'coopdl', provider
        found.setdefault(name, set()).add(len(re.findall(r'-?\d@', arguments)))
    return found


def test_notes_are_as_documented():
    if os.environ['PROBES'] != 'yes':
        assert notes() == {}, notes()
        raise Skip('the library was built without probes: sys/sdt.h is in systemtap-sdt-dev')
    assert len(documented()) == 6, documented()
    assert notes() == {name: {count} for name, count in documented().items()}, notes()


def gdb(program, *commands, stdin):
    """What gdb says of a program that runs under a budget of 100 ms."""
    if not shutil.which('gdb'):
        raise Skip('there is no gdb')
    if os.environ['PROBES'] != 'yes':
        raise Skip('the library was built without probes')
    given = ['set confirm off', 'set pagination off', 'set breakpoint pending on',
             f'set environment LD_PRELOAD {LIBRARY}', 'set environment COOPDL_BUDGET 100ms',
             'set environment COOPDL_GRACE off', 'set startup-with-shell off',
             'handle SIGSYS SIG59 nostop noprint pass', *commands]
    return run('gdb', '--batch', '-nx', *(word for each in given for word in ('-ex', each)),
               '--args', *program, stdin=stdin)


def test_arguments_at_a_cut():
    read, write = os.pipe()
    try:
        said = gdb(['cat'], 'break -probe-stap coopdl:kicked', 'break -probe-stap coopdl:cut', 'run',
                   'printf "kicked %d, cause %d of %d\\n", $_probe_arg0, $_probe_arg1, $_probe_argc',
                   'continue',
                   'printf "cut %s deadline %ld before %d of %d\\n", (char *)$_probe_arg0, '
                   '(long)$_probe_arg1, $_probe_arg2, $_probe_argc',
                   'disable', 'continue', stdin=read)
    finally:
        os.close(read)
        os.close(write)
    if 'ptrace' in said and 'kicked' not in said:
        raise Skip('gdb may not trace here: ' + said.strip().splitlines()[-1])
    assert re.search(r'^kicked \d+, cause 0 of 2$', said, re.M), said
    cut = re.search(r'^cut read deadline (\d+) before 0 of 3$', said, re.M)
    assert cut and int(cut[1]) > 0, said


def test_example_names_what_is_there():
    with open(EXAMPLE) as file:
        text = file.read()
    named = re.findall(r'^usdt:\$1:coopdl:(\w+)$', text, re.M)
    assert named and set(named) <= set(documented()), named
    for name, body in re.findall(r'^usdt:\$1:coopdl:(\w+)\n(.*?^})', text, re.M | re.S):
        used = [int(number) for number in re.findall(r'\barg(\d)', body)]
        assert all(number < documented()[name] for number in used), (name, used)


def test_example_is_understood_by_bpftrace():
    if not shutil.which('bpftrace') or os.environ['PROBES'] != 'yes':
        raise Skip('there is no bpftrace, or no probe')
    if os.geteuid() != 0:
        raise Skip('bpftrace takes root')
    done = run('bpftrace', '-d', EXAMPLE, LIBRARY)
    assert 'usdt' in done and 'ERROR: No probes' not in done, done[-2000:]


def main():
    tests = [(name, each) for name, each in globals().items() if name.startswith('test_')]
    print(f'1..{len(tests)}')
    failed = False
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f'ok {number} - {name}')
        except Skip as reason:
            print(f'ok {number} - {name} # SKIP {reason}')
        except Exception:
            failed = True
            print(f'not ok {number} - {name}')
            print(''.join('# ' + line for line in traceback.format_exc().splitlines(True)))
    sys.exit(failed)


if __name__ == '__main__':
    main()
