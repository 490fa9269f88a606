# SPDX-License-Identifier: Apache-2.0
"""behaviour.py -- what each way to hang has to do at its deadline.

A case is a generator function: it prepares something that blocks or computes for
ever, yields it as a function without arguments, and afterwards asserts that nothing is
left in a wrong state.  Table.classes() makes two TestCases of a table of cases: Main
runs each in the main thread, Worker in another thread.

What must hold in each run of a case:
- it is ended by DeadlineExceeded, whose scope is the one around it;
- never early, exactly;
- late by little: on a shared machine within a generous bound, with --strict within the
  promised one.  The figures are printed either way (run.py);
- afterwards the thread has no deadline and nothing is raised in it.

A wait for another thread does no work meanwhile.  Such a case yields the function and another one
that frees what it waits for, which is called afterwards.
"""
import contextlib
import importlib.util
import os
import statistics
import threading
import time
import unittest

import coopdl

STRICT = bool(os.environ.get('STRICT'))
RUNS = int(os.environ['RUNS'])
DEADLINE = 0.03
MEDIAN, WORST = (0.010, 0.050) if STRICT else (1, 4)
GIL = 0.005  # what a worker thread may need to get it
QUIET = 0.01  # how long nothing may be raised afterwards
WORK = 0.05  # seconds of processor time that are no spinning


def in_worker(function):
    """Calls it in a thread, and raises here what it raised there."""
    raised = []

    def call():
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@contextlib.contextmanager
def elsewhere(prepare):
    """Another thread is inside the context manager that prepare() makes, until the block
    is left or the function that it gets is called."""
    inside, done = threading.Event(), threading.Event()

    def hold():
        with prepare():
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()

    def free():
        done.set()
        thread.join()

    try:
        yield free
    finally:
        free()


def in_main_thread():
    return threading.current_thread() is threading.main_thread()


class Run:
    """One run of a case.  Afterwards .late is in seconds after the deadline."""

    def __init__(self, test, case):
        self.test = test
        with contextlib.contextmanager(case)() as prepared:
            block, free = prepared if isinstance(prepared, tuple) else (prepared, None)
            try:
                self.ends(block, sleeps=free)
            finally:
                if free:
                    free()
        self.is_quiet()

    def ends(self, block, sleeps):
        test, returned = self.test, None
        began, work = time.monotonic(), time.thread_time()
        try:
            with coopdl.timeout(DEADLINE) as scope:
                returned = repr(block())
        except coopdl.DeadlineExceeded as error:
            ended, work = time.monotonic(), time.thread_time() - work
            test.assertIs(error.scope, scope)
        else:
            test.fail(f'ended without an error after {time.monotonic() - began:.6f} s of '
                      f'{DEADLINE} s; returned {returned}')
        test.assertGreaterEqual(ended, began + DEADLINE, 'early')
        test.assertGreaterEqual(ended, scope.when(), 'early')
        self.late = ended - scope.when()
        if sleeps:
            test.assertLess(work, WORK, 'a core was burnt while waiting for a lock')

    def is_quiet(self):
        until = time.monotonic() + QUIET
        while time.monotonic() < until:
            pass
        time.sleep(0.001)
        self.test.assertIsNone(coopdl.deadline())
        self.test.assertIsNone(coopdl.remaining())


def check(test, case):
    runs = [Run(test, case) for _ in range(RUNS)]
    late = [run.late for run in runs]
    grace = 0 if in_main_thread() else GIL
    median, worst = statistics.median(late), max(late)
    test.figures = {'runs': RUNS, 'median': median, 'worst': worst}
    test.assertLessEqual(median, MEDIAN + grace, 'late at the median')
    test.assertLessEqual(worst, WORST + grace, 'late at the worst')


class Table:
    def __init__(self, module):
        self.module = module
        self.cases = []

    def case(self, *needs, main_only=None):
        """needs: modules without which it is skipped.  main_only: why it is not run in a
        worker thread."""
        def add(function):
            self.cases.append((function, needs, main_only))
            return function
        return add

    def method(self, function, needs, worker):
        def test(self):
            for name in needs:
                if importlib.util.find_spec(name) is None:
                    self.skipTest(f'no module {name}')
            if worker:
                in_worker(lambda: check(self, function))
            else:
                check(self, function)
        return test

    def classes(self):
        """Main and Worker; a case is written next to its reason, not a test."""
        both = {'Main': {}, 'Worker': {}}
        for function, needs, main_only in self.cases:
            name = 'test_' + function.__name__
            both['Main'][name] = self.method(function, needs, False)
            if not main_only:
                both['Worker'][name] = self.method(function, needs, True)
        return [type(name, (unittest.TestCase,), dict(tests, __module__=self.module))
                for name, tests in both.items()]
