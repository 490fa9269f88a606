# SPDX-License-Identifier: Apache-2.0
"""test_cancel.py -- a scope that is cancelled, or given another deadline, by any thread.

What must hold: what waits or computes in it ends at once, or at the new deadline, and not at the old
one; one that is left, or has expired, is not changed; nothing is raised behind the block.
"""
import contextlib
import os
import queue
import random
import socket
import subprocess
import sys
import threading
import time
import unittest

import coopdl
from scopes import BOUND, LOADED, SHORT, Expiry, Main, Worker, spin, unless_true_exit_aborts

LONG = 3600


def elsewhere(function):
    """Has another thread do this."""
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def later(function, seconds=SHORT):
    def run():
        time.sleep(seconds)
        function()
    return elsewhere(run)


def in_recv():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


def in_retries():
    while True:
        try:
            in_recv()
        except Exception:
            pass


def in_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def in_with_lock():
    lock = threading.Lock()
    lock.acquire()
    with lock:
        pass


def in_join():
    thread = threading.Thread(target=ended.wait, daemon=True)
    thread.start()
    thread.join()


ended = threading.Event()
BODIES = [spin, lambda: time.sleep(LONG), in_recv, in_retries, in_lock, in_with_lock, in_join,
          lambda: queue.Queue().get(), lambda: queue.SimpleQueue().get(),
          lambda: threading.Event().wait(), lambda: threading.Event().wait(LONG)]
if coopdl.preloaded():
    BODIES.append(lambda: subprocess.run(['sleep', str(LONG)]))


class Both(Expiry):
    def cancelled(self, body, make=lambda: coopdl.timeout(LONG)):
        """The body is ended by another thread's cancel."""
        asked = []

        def cancel():
            asked.append(time.monotonic())
            scope.cancel()

        def run():
            nonlocal scope
            scope = make()
            with self.assertRaises(coopdl.DeadlineExceeded) as caught:
                with scope:
                    thread = later(cancel)
                    body()
            late = time.monotonic() - asked[0]
            self.assertIs(caught.exception.scope, scope)
            self.assertTrue(scope.expired())
            self.assertRegex(str(caught.exception), '^cancelled')
            self.assertLess(late, BOUND)
            thread.join()
            self.assertIsNone(coopdl.deadline())

        scope = None
        self.call(run)

    def test_ends_what_hangs(self):
        for number, body in enumerate(BODIES):
            with self.subTest(number):
                self.cancelled(body)

    def test_of_a_scope_without_a_limit(self):
        self.cancelled(spin, lambda: coopdl.timeout(None))
        self.cancelled(in_recv, lambda: coopdl.timeout_at(None))

    def test_behind_a_shield(self):
        def run():
            with coopdl.timeout(LONG), coopdl.shield():
                with self.assertRaises(coopdl.DeadlineExceeded):
                    with coopdl.timeout(LONG) as scope:
                        later(scope.cancel)
                        in_recv()
                with coopdl.timeout(LONG) as scope:
                    try:
                        with coopdl.shield():
                            elsewhere(scope.cancel).join()
                            time.sleep(SHORT)
                            log.append('inside')
                        spin()  # or it has come already
                    except coopdl.DeadlineReached:
                        log.append('behind')
                    scope.reschedule(None)

        log = []
        self.call(run)
        self.assertEqual(log, ['inside', 'behind'])

    def test_the_outer_one(self):
        def run():
            with self.assertRaises(coopdl.DeadlineExceeded) as caught:
                with coopdl.timeout(LONG) as outer:
                    with coopdl.timeout(LONG / 2):
                        later(outer.cancel)
                        in_recv()
            self.assertIs(caught.exception.scope, outer)

        self.call(run)

    def test_the_inner_one(self):
        def run():
            with coopdl.timeout(LONG) as outer:
                with self.assertRaises(coopdl.DeadlineExceeded) as caught:
                    with coopdl.timeout(None) as inner:
                        later(inner.cancel)
                        in_recv()
                self.assertIs(caught.exception.scope, inner)
                time.sleep(SHORT)
                self.assertGreater(coopdl.remaining(), LONG / 2)
            self.assertFalse(outer.expired())

        self.call(run)

    @unless_true_exit_aborts
    def test_silently(self):
        def run():
            with coopdl.move_on_after(LONG) as scope:
                later(scope.cancel)
                in_recv()
            self.assertTrue(scope.expired())

        self.call(run)

    def test_by_itself(self):
        def run():
            with self.assertRaises(coopdl.DeadlineExceeded):
                with coopdl.timeout(LONG) as scope:
                    scope.cancel()
                    self.assertTrue(scope.expired())
                    spin()

        self.call(run)

    def test_before_it_is_entered(self):
        def run():
            scope = coopdl.timeout(LONG)
            scope.cancel()
            for _ in range(2):
                with self.assertRaisesRegex(coopdl.DeadlineExceeded, '^cancelled'):
                    with scope:
                        in_recv()
            scope = coopdl.timeout(LONG)
            scope.cancel()
            scope.reschedule(time.monotonic() + LONG)
            with scope:
                time.sleep(SHORT)

        self.call(run)

    def test_too_late(self):
        """It changes nothing: what has expired is not begun anew, and clean-up has its grace."""
        def run():
            with coopdl.timeout(LONG) as left:
                pass
            left.cancel()
            elsewhere(left.cancel).join()
            self.assertFalse(left.expired())
            with self.assertRaisesRegex(RuntimeError, 'left already'):
                left.reschedule(None)
            with left:
                time.sleep(SHORT)
            cleaned = []
            with self.assertRaisesRegex(coopdl.DeadlineExceeded, 'deadline of'):
                with coopdl.timeout(SHORT) as scope:
                    try:
                        spin()
                    finally:
                        when = scope.when()
                        scope.cancel()
                        elsewhere(scope.cancel).join()
                        self.assertEqual(scope.when(), when)
                        time.sleep(3 * SHORT)
                        cleaned.append(1)
            self.assertEqual(cleaned, [1])

        self.call(run)

    def test_another_deadline(self):
        """Of another thread's scope: not before the new one, and nothing at the old one."""
        def run():
            for body in spin, in_recv, in_lock, lambda: queue.SimpleQueue().get():
                for first, second in (LONG, 3 * SHORT), (0.5, 0.5 + 3 * SHORT):
                    scope = coopdl.timeout(first)
                    when = []

                    def move():
                        when.append(time.monotonic() + second)
                        scope.reschedule(when[0])

                    with self.assertRaises(coopdl.DeadlineExceeded):
                        with scope:
                            elsewhere(move).join()
                            self.assertAlmostEqual(scope.when(), when[0], 3)
                            body()
                    late = time.monotonic() - when[0]
                    self.assertGreaterEqual(late, 0)
                    self.assertLess(late, BOUND)
            with coopdl.timeout(3 * SHORT) as scope:
                elsewhere(lambda: scope.reschedule(None)).join()
                time.sleep(5 * SHORT)
                self.assertIsNone(coopdl.deadline())

        self.call(run)

    def test_another_deadline_too_late(self):
        def run():
            refused = []

            def move():
                try:
                    scope.reschedule(None)
                except RuntimeError as error:
                    refused.append(str(error))

            with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout(LONG) as scope:
                with coopdl.shield():
                    scope.cancel()
                    elsewhere(move).join()
            elsewhere(move).join()
            self.assertRegex(refused[0], 'has passed')
            self.assertRegex(refused[1], 'left already')

        self.call(run)

    @unless_true_exit_aborts
    def test_at_any_moment(self):
        """Nothing is raised behind the block, none is missed, and every lock is free."""
        def run():
            lock = threading.Lock()
            scopes, over = queue.SimpleQueue(), threading.Event()

            def cancels():
                while (scope := scopes.get()) is not None:
                    time.sleep(random.random() * 0.0005)
                    scope.cancel()
                over.set()

            thread = elsewhere(cancels)
            for _ in range(100 if LOADED else 1000):
                with coopdl.move_on_after(LONG) as scope:
                    scopes.put(scope)
                    with lock:
                        time.sleep(random.random() * 0.0005)
                self.assertFalse(lock.locked())
            scopes.put(None)
            thread.join()
            time.sleep(SHORT)
            for _ in range(10_000):
                pass

        self.call(run)


class TestMain(Main, Both, unittest.TestCase):
    def test_of_a_thread_that_has_ended(self):
        scopes = []

        def enter():
            scopes.append(coopdl.timeout(LONG))
            scopes[-1].__enter__()

        for _ in range(20):
            thread = elsewhere(enter)
            thread.join()
            while os.path.exists(f'/proc/self/task/{thread.native_id}'):  # join is a little early
                time.sleep(0.001)
            with self.assertRaisesRegex(RuntimeError, 'left already'):
                scopes[-1].reschedule(None)
            scopes[-1].cancel()
        with coopdl.timeout(LONG):
            for scope in scopes:
                scope.cancel()
            time.sleep(SHORT)


class TestWorker(Worker, Both, unittest.TestCase):
    pass


class TestWithoutThePreload(unittest.TestCase):
    def test_it_ends_what_hangs(self):
        if not coopdl.preloaded():
            self.skipTest('not preloaded here either')
        environment = {name: value for name, value in os.environ.items() if name != 'LD_PRELOAD'}
        done = subprocess.run([sys.executable, '-m', 'unittest', 'test_cancel.TestMain',
                               'test_cancel.TestWorker', '-k', 'without_a_limit', '-k', 'hangs',
                               '-k', 'another_deadline'], env=environment, timeout=100,
                              cwd=os.path.dirname(__file__), capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
