#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py -- runs unittest modules under the library: run.py [--strict] NAME...

A NAME is a module in this directory or part of one: test_behaviour,
test_behaviour.Main.test_recv.  The tests run with the interpreter that runs this
file, in a child, with the library preloaded; PYTHONPATH says where the package is and
COOPDL_LIBRARY where libcoopdl.so is.  --strict is for an idle machine: many runs of each
case, held to the promised bounds.  The report is TAP.

What must hold: a test that hangs, or takes the interpreter down, costs its own result and
no other's.  So the child says on a pipe of its own when a test begins and how it ended; a
child that is silent for too long prints the tracebacks of its threads (faulthandler, on
SIGABRT) and is killed with all of its process group, and a new one goes on behind the test
that it was at.
"""
import ctypes
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

USAGE = 'usage: run.py [--strict] NAME...'
SILENCE = 20  # seconds that a test may take
SILENCE_STRICT = 180
DUMP = 2  # seconds for the tracebacks of a child that hangs


def tests_in(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_in(test)
        else:
            yield test


class Report(unittest.TestResult):
    """How the one test that was run last ended."""

    def __init__(self):
        super().__init__()
        self.how = {'ok': True}

    def fail(self, error, part=''):
        self.how = {'ok': False, 'why': part + ''.join(traceback.format_exception(*error))}

    def addError(self, test, err):
        self.fail(err)

    def addFailure(self, test, err):
        self.fail(err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.fail(err, f'{subtest}\n')

    def addSkip(self, test, reason):
        self.how = {'ok': True, 'skip': reason}

    def addUnexpectedSuccess(self, test):
        self.how = {'ok': False, 'why': 'was expected to fail'}


def end_with_the_parent():
    """Whoever kills the parent need not know of the child's process group."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def child(pipe, first, names):
    def say(**what):
        os.write(pipe, json.dumps(what).encode() + b'\n')

    end_with_the_parent()
    faulthandler.enable(all_threads=True)
    tests = list(tests_in(unittest.defaultTestLoader.loadTestsFromNames(names)))
    say(count=len(tests))
    for test in tests[first:]:
        say(begins=test.id())
        report = Report()
        unittest.TestSuite([test]).run(report)
        say(**report.how, figures=getattr(test, 'figures', ''))
    # A thread that a failed test has left behind must not keep the child alive.
    sys.stderr.flush()
    os._exit(0)


class Tap:
    def __init__(self):
        self.count = 0
        self.name = None
        self.planned = None
        self.failed = False

    def comment(self, text):
        for line in text.splitlines():
            print('#', line)

    def result(self, ok, why='', skip=None, figures=''):
        self.count += 1
        self.failed |= not ok
        print(f"{'ok' if ok else 'not ok'} {self.count} - {self.name}"
              + (f' # SKIP {skip}' if skip is not None else ''))
        self.comment(figures)
        self.comment(why)
        sys.stdout.flush()
        self.name = None

    def hear(self, said):
        if 'count' in said:
            if self.planned is None:
                self.planned = said['count']
                print(f'1..{self.planned}', flush=True)
        elif 'begins' in said:
            self.name = said['begins']
        else:
            self.result(**said)


def end(process):
    """Everything that the child started is in its process group."""
    for number, patience in (signal.SIGABRT, DUMP), (signal.SIGKILL, None):
        try:
            os.killpg(process.pid, number) if patience is None else process.send_signal(number)
        except ProcessLookupError:
            pass
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass


def listen(process, pipe, tap, silence):
    """Returns why the child stopped before the last test, or None."""
    rest = b''
    until = time.monotonic() + silence
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0, until - time.monotonic()))
        if not ready:
            end(process)
            return f'hung: nothing for {silence} s; its tracebacks are on stderr'
        data = os.read(pipe, 65536)
        if not data:
            return None if process.wait() == 0 else f'the child ended with {process.returncode}'
        *lines, rest = (rest + data).split(b'\n')
        for line in lines:
            until = time.monotonic() + silence
            tap.hear(json.loads(line))


def start(tap, names, strict):
    ours, theirs = os.pipe()
    environment = dict(os.environ, LD_PRELOAD=os.environ['COOPDL_LIBRARY'],
                       PYTHONDONTWRITEBYTECODE='1', STRICT='1' if strict else '')
    process = subprocess.Popen(
        [sys.executable, __file__, '--child', str(theirs), str(tap.count), *names],
        env=environment, pass_fds=[theirs], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=sys.stderr)
    os.close(theirs)
    return process, ours


def run(names, strict):
    tap = Tap()
    while tap.planned is None or tap.count < tap.planned:
        process, pipe = start(tap, names, strict)
        why = listen(process, pipe, tap, SILENCE_STRICT if strict else SILENCE)
        end(process)
        os.close(pipe)
        if tap.planned is None:
            print(f'Bail out! no test could be loaded: {why}')
            return 1
        if tap.count < tap.planned:
            tap.name = tap.name or f'number {tap.count + 1}'
            tap.result(False, why or 'the child ended in the middle')
    return 1 if tap.failed else 0


def main(arguments):
    if arguments[:1] == ['--child']:
        child(int(arguments[1]), int(arguments[2]), arguments[3:])
    strict = arguments[:1] == ['--strict']
    names = arguments[strict:]
    if not names or names[0].startswith('-'):
        sys.exit(f"run.py: got {' '.join(arguments) or 'no argument'!r}\n{USAGE}")
    if not os.path.exists(os.environ.get('COOPDL_LIBRARY', '')):
        sys.exit(f"run.py: COOPDL_LIBRARY={os.environ.get('COOPDL_LIBRARY', '')!r} is no file; "
                 'it has to be the path of libcoopdl.so')
    sys.exit(run(names, strict))


if __name__ == '__main__':
    main(sys.argv[1:])
