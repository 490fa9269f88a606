# SPDX-License-Identifier: Apache-2.0
"""test_interface.py -- arguments, exceptions, and what it costs."""
import contextlib
import datetime
import errno
import gc
import math
import os
import pickle
import subprocess
import sys
import time
import timeit
import tracemalloc
import unittest

import coopdl
from scopes import spin


class Interface(unittest.TestCase):
    def test_arguments(self):
        for make in coopdl.timeout, coopdl.timeout_at:
            with self.assertRaises(ValueError):
                make(math.nan)
            for wrong in '5', [], b'1', 1j:
                with self.assertRaises(TypeError):
                    make(wrong)
            with self.assertRaises(TypeError):
                make()
            self.assertIsNone(make(None).when())
            self.assertIsNone(make(math.inf).when())
        for negative in -1, -0.001, -math.inf:
            with self.assertRaises(ValueError):
                coopdl.timeout(negative)
        coopdl.timeout(seconds=1), coopdl.timeout_at(when=1), coopdl.move_on_after(seconds=1)
        for make in coopdl.timeout, coopdl.timeout_at, coopdl.move_on_after:
            for grace in None, 0, 2.5, math.inf, datetime.timedelta(seconds=1):
                make(1, grace=grace, inherit=False)
            for wrong in '5', [], 1j:
                with self.assertRaises(TypeError):
                    make(1, grace=wrong)
            with self.assertRaises(ValueError):
                make(1, grace=-1)
            for arguments, keywords in ((1, 2), {}), ((1,), {'other': 1}), ((), {'grace': 1}):
                with self.assertRaises(TypeError):
                    make(*arguments, **keywords)

    def test_in_new_memory(self):
        """A scope that nobody holds has gone, whatever the memory that it was made in held before."""
        program = ('import coopdl\n'
                   'coopdl.timeout(1000).__enter__()\n'
                   'assert coopdl.deadline() is None')
        for filled in '1', '85', '254':
            subprocess.run([sys.executable, '-c', program], check=True, timeout=60,
                           env={**os.environ, 'MALLOC_PERTURB_': filled})

    def test_one_class(self):
        self.assertIsInstance(coopdl.timeout_at(1), coopdl.timeout)
        self.assertIs(type(coopdl.timeout_at(None)), coopdl.timeout)
        self.assertIs(type(coopdl.move_on_after(1)), coopdl.timeout)
        self.assertRegex(repr(coopdl.move_on_after(1)), r'coopdl\.move_on_after\(1')
        self.assertNotIsInstance(coopdl.shield(), coopdl.timeout)

    def test_timedelta(self):
        with coopdl.timeout(datetime.timedelta(hours=1)):
            self.assertAlmostEqual(coopdl.remaining(), 3600, delta=10)
        with self.assertRaises(coopdl.DeadlineExceeded):
            with coopdl.timeout(datetime.timedelta()):
                pass
        with self.assertRaises(ValueError):
            coopdl.timeout(datetime.timedelta(seconds=-1))

    def test_when(self):
        when = time.monotonic() + 60
        with coopdl.timeout_at(when) as scope:
            self.assertAlmostEqual(scope.when(), when, delta=1e-6)
            self.assertAlmostEqual(coopdl.deadline(), when, delta=1e-6)
            self.assertAlmostEqual(coopdl.remaining(), 60, delta=1)
            with coopdl.timeout(3600):
                self.assertAlmostEqual(coopdl.deadline(), when, delta=1e-6)
        self.assertIsNone(coopdl.deadline())
        self.assertIsNone(coopdl.remaining())

    def test_exceptions(self):
        self.assertTrue(issubclass(coopdl.DeadlineExceeded, TimeoutError))
        self.assertFalse(issubclass(coopdl.DeadlineReached, (Exception, OSError)))
        self.assertIs(coopdl.DeadlineInsists, coopdl.DeadlineReached)
        self.assertIsNone(coopdl.DeadlineExceeded('mine').scope)
        with self.assertRaises(coopdl.DeadlineExceeded) as context:
            with coopdl.timeout(0):
                pass
        again = pickle.loads(pickle.dumps(context.exception))
        self.assertIsInstance(again, coopdl.DeadlineExceeded)
        self.assertEqual((str(again), again.scope), (str(context.exception), None))
        self.assertEqual((again.errno, context.exception.errno), (errno.ETIMEDOUT, errno.ETIMEDOUT))
        with self.assertRaises(coopdl.DeadlineExceeded):
            with coopdl.timeout(0) as scope:
                with self.assertRaises(coopdl.DeadlineReached) as reached:
                    coopdl.check()
                self.assertIs(reached.exception.scope, scope)

    def test_docstrings(self):
        for name in coopdl.__all__:
            self.assertTrue(getattr(coopdl, name).__doc__, name)
        for method in 'when', 'reschedule', 'cancel', 'expired':
            self.assertTrue(getattr(coopdl.timeout, method).__doc__, method)

    def test_no_leaks(self):
        def scopes(rounds):
            for _ in range(rounds):
                with coopdl.timeout(3600):
                    pass

        def expiries(rounds):
            for _ in range(rounds):
                with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout(0):
                    pass

        def resident():
            with open('/proc/self/statm') as numbers:
                return int(numbers.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

        for body, rounds in (scopes, 100_000), (expiries, 5_000):
            body(100)
            gc.collect()
            tracemalloc.start()
            try:
                before, all_before = tracemalloc.get_traced_memory()[0], resident()
                body(rounds)
                gc.collect()
                grown = tracemalloc.get_traced_memory()[0] - before
                all_grown = resident() - all_before
            finally:
                tracemalloc.stop()
            with self.subTest(body.__name__):
                self.assertLess(grown, 20_000)
                self.assertLess(all_grown, 4_000_000)  # what is not Python's is not traced

    @unittest.skipUnless(hasattr(sys, 'gettotalrefcount'), 'not a debug build of Python')
    def test_no_references_are_lost(self):
        def scopes():
            for _ in range(100_000):
                with coopdl.timeout(3600):
                    pass

        def expiries():
            for _ in range(1000):
                with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout(0.0001):
                    spin()

        for body in scopes, expiries:
            body()
            counts = []
            for _ in range(3):
                gc.collect()
                counts.append(sys.gettotalrefcount())
                body()
            with self.subTest(body.__name__):
                self.assertLess(counts[-1] - counts[0], 200)

    def test_it_costs_little(self):
        """Where the machine is idle; else that says little, and what is counted must do."""
        timers = [timeit.Timer(f'with {made}: pass', globals=globals())
                  for made in ('coopdl.timeout(3600)', 'contextlib.nullcontext()')]
        # By turns: what else the machine does hits both.
        costs = [[timer.timeit(5000) / 5000 for timer in timers] for _ in range(40)]
        ours, theirs = map(min, zip(*costs))
        self.figures = (f'a scope: {ours * 1e9:.0f} ns, contextlib.nullcontext: {theirs * 1e9:.0f} ns, '
                        f'{ours / theirs:.2f} of it')
        if os.environ.get('STRICT'):
            self.assertLess(ours, theirs * 0.6)
        blocks = sys.getallocatedblocks()
        timers[0].timeit(5000)
        self.assertLess(sys.getallocatedblocks() - blocks, 100)
