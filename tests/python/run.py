#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py -- runs unittest modules under the library: see USAGE.

The tests run in a child, with the library preloaded: in a virtual environment that has the
package (installed.py), or with the interpreter that runs this file, where PYTHONPATH says where the
package is and COOPDL_LIBRARY where libcoopdl.so is.  The report is TAP.

What must hold: a test that hangs, or takes the interpreter down, costs its own result and
no other's.  So the child says on a pipe of its own when a test begins and how it ended; a
child that is silent for too long prints the tracebacks of its threads (faulthandler, on
SIGABRT) and is killed with all of its process group, and a new one goes on behind the test
that it was at.
"""
import argparse
import ctypes
import faulthandler
import glob
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

USAGE = """\
usage: run.py [--venv DIRECTORY] [--load N] [--strict] [--runs N] [NAME...]

A NAME is a module in this directory or part of one: test_behaviour_io,
test_behaviour_io.Main.test_recv; without one, all of test_behaviour_*.

--venv DIRECTORY  test what is installed there
--load N   beside N processes and two threads that compute
--runs N   how often each case of test_behaviour_* is run; 2 unless given
--strict   for an idle machine: they are held to the bounds that are promised,
           and a table of all their figures is printed at the end

What is promised is measured with, for each Python that the package was built for,
    meson devenv -C build python3 ../tests/python/run.py --strict --runs 100"""
BEHAVIOUR = ['test_behaviour_' + name for name in ('clients', 'compute', 'exit', 'io', 'locks')]
RUNS = 2
SILENCE = 20  # seconds that a test may take
SILENCE_OF_A_RUN = 2  # and more for each run
UNDER_LOAD = 3  # times as long
THREADS = 2  # that compute beside the tests under load
DUMP = 2  # seconds for the tracebacks of a child that hangs


def in_ms(figures):
    return dict(figures, median=1000 * figures['median'], worst=1000 * figures['worst'])


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


def compute():
    while True:
        pass


class Busy:
    """Processes that compute, until the block is left or the parent ends."""

    def __init__(self, count):
        self.count = count
        self.processes = []

    def __enter__(self):
        parent = os.getpid()
        for _ in range(self.count):
            self.processes.append(os.fork())
            if self.processes[-1] == 0:
                end_with_the_parent()
                compute() if os.getppid() == parent else os._exit(1)

    def __exit__(self, *_):
        for process in self.processes:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def is_the_installed_one():
    """In a virtual environment the package is to come from there."""
    if sys.prefix != sys.base_prefix and \
            not importlib.util.find_spec('coopdl').origin.startswith(sys.prefix + os.sep):
        raise AssertionError(f'coopdl is not installed in {sys.prefix}')


def child(pipe, first, names):
    def say(**what):
        os.write(pipe, json.dumps(what).encode() + b'\n')

    end_with_the_parent()
    is_the_installed_one()
    if os.environ['LOAD']:
        for _ in range(THREADS):
            threading.Thread(target=compute, daemon=True).start()
    faulthandler.enable(all_threads=True)
    tests = list(tests_in(unittest.defaultTestLoader.loadTestsFromNames(names)))
    say(count=len(tests))
    for test in tests[first:]:
        say(begins=test.id())
        report = Report()
        unittest.TestSuite([test]).run(report)
        say(**report.how, figures=getattr(test, 'figures', None))
    # A thread that a failed test has left behind must not keep the child alive.
    sys.stderr.flush()
    os._exit(0)


class Tap:
    def __init__(self):
        self.count = 0
        self.name = None
        self.planned = None
        self.failed = False
        self.table = []

    def comment(self, text):
        for line in text.splitlines():
            print('#', line)

    def result(self, ok, why='', skip=None, figures=None):
        self.count += 1
        self.failed |= not ok
        print(f"{'ok' if ok else 'not ok'} {self.count} - {self.name}"
              + (f' # SKIP {skip}' if skip is not None else ''))
        if isinstance(figures, str):
            self.comment(figures)
        elif figures:
            self.comment('late by {median:.2f} ms at the median, {worst:.2f} ms at the worst of {runs}'
                         .format(**in_ms(figures)))
            self.table.append((self.name, ok, in_ms(figures)))
        self.comment(why)
        sys.stdout.flush()
        self.name = None

    def summary(self):
        """Of all tests that have figures, and which of them failed."""
        self.comment(f"{'thread':7} {'case':32} {'runs':>4} {'median':>9} {'worst':>10}")
        for name, ok, figures in self.table:
            _, thread, case = name.rsplit('.', 2)
            self.comment(f"{thread.lower():7} {case.removeprefix('test_'):32} {figures['runs']:4}"
                         f" {figures['median']:6.2f} ms {figures['worst']:7.2f} ms"
                         + ('' if ok else '  MISSED'))
        missed = sum(not ok for _, ok, _ in self.table)
        self.comment(f'{missed} of {len(self.table)} missed the bounds')
        sys.stdout.flush()

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
    for number, timeout in (signal.SIGABRT, DUMP), (signal.SIGKILL, None):
        try:
            os.killpg(process.pid, number) if timeout is None else process.send_signal(number)
        except ProcessLookupError:
            pass
        try:
            process.wait(timeout)
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


def start(tap, names, wanted):
    ours, theirs = os.pipe()
    environment = dict(os.environ, LD_PRELOAD=os.environ['COOPDL_LIBRARY'],
                       PYTHONDONTWRITEBYTECODE='1', STRICT='1' if wanted.strict else '',
                       RUNS=str(wanted.runs), LOAD=str(wanted.load or ''))
    process = subprocess.Popen(
        [wanted.python, __file__, '--child', str(theirs), str(tap.count), *names],
        env=environment, pass_fds=[theirs], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=sys.stderr)
    os.close(theirs)
    return process, ours


def run(names, wanted):
    tap = Tap()
    silence = (SILENCE + wanted.runs * SILENCE_OF_A_RUN) * (UNDER_LOAD if wanted.load else 1)
    while tap.planned is None or tap.count < tap.planned:
        process, pipe = start(tap, names, wanted)
        why = listen(process, pipe, tap, silence)
        end(process)
        os.close(pipe)
        if tap.planned is None:
            print(f'Bail out! no test could be loaded: {why}')
            return 1
        if tap.count < tap.planned:
            tap.name = tap.name or f'number {tap.count + 1}'
            tap.result(False, why or 'the child ended in the middle')
    if wanted.strict:
        tap.summary()
    return 1 if tap.failed else 0


def install(wanted):
    """From now on the package is the one in the virtual environment, and so is the library."""
    directory = os.path.abspath(wanted.venv)
    found = glob.glob(f'{glob.escape(directory)}/lib/python3*/site-packages/coopdl/libcoopdl.so.0')
    if not found:
        sys.exit(f'run.py: --venv {wanted.venv}: there is no installed coopdl')
    wanted.python = os.path.join(directory, 'bin', 'python3')
    os.environ['COOPDL_LIBRARY'] = found[0]
    for name in 'PYTHONPATH', 'LD_LIBRARY_PATH':  # the last is meson's, with the library in it
        os.environ.pop(name, None)


def main(arguments):
    if arguments[:1] == ['--child']:
        child(int(arguments[1]), int(arguments[2]), arguments[3:])
    parser = argparse.ArgumentParser(usage=USAGE.removeprefix('usage: '), add_help=False)
    parser.add_argument('--help', action='store_true')
    parser.add_argument('--venv')
    parser.add_argument('--load', type=int, default=0)
    parser.add_argument('--strict', action='store_true')
    parser.add_argument('--runs', type=int, default=RUNS)
    parser.add_argument('names', nargs='*')
    wanted = parser.parse_args(arguments)
    if wanted.help:
        print(USAGE)
        sys.exit()
    if wanted.runs < 1:
        parser.error(f'--runs {wanted.runs}: it has to be 1 or more')
    if not 0 <= wanted.load <= 100:
        parser.error(f'--load {wanted.load}: it has to be from 0 to 100')
    wanted.python = sys.executable
    if wanted.venv:
        install(wanted)
    if not os.path.exists(os.environ.get('COOPDL_LIBRARY', '')):
        sys.exit(f"run.py: COOPDL_LIBRARY={os.environ.get('COOPDL_LIBRARY', '')!r} is no file; "
                 'it has to be the path of libcoopdl.so')
    with Busy(wanted.load):
        status = run(wanted.names or BEHAVIOUR, wanted)
    sys.exit(status)


if __name__ == '__main__':
    main(sys.argv[1:])
