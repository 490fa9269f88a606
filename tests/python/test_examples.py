# SPDX-License-Identifier: Apache-2.0
"""test_examples.py -- what the CPython pull request that this package grew from promises:
a limit for code that computes in C, limits inside limits, and a limit of nothing."""
import re
import threading
import time
import unittest

import coopdl
from behaviour import WORST, in_worker

CATASTROPHE = r'(a+)+\Z', 'a' * 100_000 + '!'


class Timed:
    """How long the block took, and that it was ended by its scope."""

    def __init__(self, test, seconds):
        self.test = test
        self.seconds = seconds

    def __enter__(self):
        self.began = time.monotonic()

    def __exit__(self, kind, error, traceback):
        took = time.monotonic() - self.began
        self.test.assertIs(kind, coopdl.DeadlineExceeded)
        self.test.assertIsInstance(error, TimeoutError)
        self.test.assertGreaterEqual(took, self.seconds)
        self.test.assertLessEqual(took, self.seconds + WORST)
        return True


class Examples(unittest.TestCase):
    def test_regular_expression(self):
        with Timed(self, 0.01), coopdl.timeout(0.01):
            re.fullmatch(*CATASTROPHE)

    def test_regular_expression_again_and_again(self):
        for _ in range(20):
            with Timed(self, 0.01), coopdl.timeout(0.01):
                re.fullmatch(*CATASTROPHE)

    def test_a_scope_that_is_left_in_time_limits_nothing_after_it(self):
        with coopdl.timeout(0.02):
            pass
        self.assertIsNone(re.fullmatch(r'(a+)+\Z', 'a' * 20 + '!'))
        time.sleep(0.04)

    def test_many_scopes_left_in_time(self):
        for _ in range(10_000):
            with coopdl.timeout(1):
                pass
        self.assertIsNone(coopdl.deadline())

    def test_the_inner_limit_first(self):
        with coopdl.timeout(30) as outer:
            with Timed(self, 0.02), coopdl.timeout(0.02):
                re.fullmatch(*CATASTROPHE)
            self.assertFalse(outer.expired())
            time.sleep(0.01)

    def test_the_outer_limit_first(self):
        with self.assertRaises(coopdl.DeadlineExceeded) as caught:
            with coopdl.timeout(0.02) as outer, coopdl.timeout(30):
                re.fullmatch(*CATASTROPHE)
        self.assertIs(caught.exception.scope, outer)

    def test_one_limit_after_the_other(self):
        with Timed(self, 0.06), coopdl.timeout(0.06):
            with Timed(self, 0.02), coopdl.timeout(0.02):
                re.fullmatch(*CATASTROPHE)
            re.fullmatch(*CATASTROPHE)

    def no_time_at_all(self):
        with Timed(self, 0), coopdl.timeout(0):
            time.sleep(30)
        with Timed(self, 0), coopdl.timeout(0):
            while True:
                pass
        with Timed(self, 0), coopdl.timeout(0):
            threading.Event().wait(30)

    def test_no_time_at_all(self):
        self.no_time_at_all()
        with Timed(self, 0), coopdl.timeout(0):
            re.fullmatch(*CATASTROPHE)

    def test_no_time_at_all_in_a_worker(self):
        in_worker(self.no_time_at_all)

    def test_no_limit(self):
        with coopdl.timeout(None):
            self.assertIsNone(coopdl.remaining())
            time.sleep(0.01)

    def test_threads_each_with_its_own(self):
        ended = []

        def work(seconds):
            try:
                with coopdl.timeout(seconds):
                    while True:
                        time.sleep(30)
            except coopdl.DeadlineExceeded:
                ended.append(seconds)

        each = [0.02 + 0.04 * number for number in range(5)]
        threads = [threading.Thread(target=work, args=(seconds,)) for seconds in each]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(ended), each)
