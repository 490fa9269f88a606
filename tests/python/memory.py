#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""memory.py -- all of the package under valgrind (api.py); the report is TAP.

Valgrind runs one thread at a time, and without --fair-sched lets one that computes go on for
minutes while the others wait for their turn, who are to end it.

What must hold: valgrind has nothing to say in which the extension or the library occurs.  What
the interpreter and the dynamic loader do on their own is theirs.
"""
import os
import shutil
import subprocess
import sys

SUPPRESSIONS = '/usr/lib/valgrind/python3.supp'


def complaints(report):
    """Each is a block of lines that begin with ==PID==, apart by one that is empty."""
    blocks, block = [], []
    for line in report.splitlines():
        text = line.split('== ', 1)[-1].strip() if line.startswith('==') else None
        if text:
            block.append(text)
        elif block:
            blocks.append(block)
            block = []
    return [block for block in [*blocks, block] if any('coopdl' in line for line in block)]


def main():
    print('1..1')
    valgrind = shutil.which('valgrind')
    if not valgrind or not os.path.exists(SUPPRESSIONS):
        print('ok 1 - memory # SKIP there is no valgrind, or no', SUPPRESSIONS)
        return 0
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'api.py')
    done = subprocess.run(
        [valgrind, '-q', '--fair-sched=try', '--suppressions=' + SUPPRESSIONS, '--num-callers=20',
         sys.executable, script],
        env={**os.environ, 'LD_PRELOAD': os.environ['COOPDL_LIBRARY'], 'PYTHONMALLOC': 'malloc',
             'PYTHONDONTWRITEBYTECODE': '1'},
        capture_output=True, text=True, timeout=200)
    found = complaints(done.stderr)
    ok = done.returncode == 0 and done.stdout == 'done\n' and not found
    print('ok 1 - memory' if ok else 'not ok 1 - memory')
    if not ok:
        for line in [f'exit status {done.returncode}', *done.stdout.splitlines(),
                     *(line for block in found for line in [*block, '']),
                     *(done.stderr.splitlines()[-40:] if not found else [])]:
            print(line, file=sys.stderr)  # which scripts/test.sh repeats at its end
    return 0 if ok else 1


sys.exit(main())
