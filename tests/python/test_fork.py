# SPDX-License-Identifier: Apache-2.0
"""test_fork.py -- a child that is forked in a scope."""
import contextlib
import os
import sys
import threading
import time
import unittest

import coopdl
from loops import loop_on_two_lines
from scopes import BOUND, LOADED, SHORT, Expiry, Main, Worker, spin

NOT_BEGUN = 99  # the status of a child that was ended before its first line


class Callback:
    """What os.fork calls before it forks, as long as it is armed: its name is that of logging's, which
    would be one of a function that takes something."""
    work = None

    def acquireLock(self):
        if self.work:
            self.work()


callback = Callback()
os.register_at_fork(before=callback.acquireLock)


class Both(Expiry):
    def test_in_a_callback_of_fork(self):
        """Nothing is raised there, where it is thrown away, but after the fork."""
        lock = threading.Lock()

        def waits():
            with lock:
                done.append(True)

        def waits_again_and_again():
            while not lock.acquire(timeout=0.005):
                pass
            lock.release()
            done.append(True)

        def computes():
            end = time.monotonic() + 20 * SHORT
            while time.monotonic() < end:
                pass
            done.append(True)

        def body():
            parent = os.getpid()
            try:
                os.fork()
            finally:
                if os.getpid() != parent:
                    os._exit(0)
            spin()

        lost = []
        hook, sys.unraisablehook = sys.unraisablehook, lambda lost_one: lost.append(repr(lost_one))
        self.addCleanup(setattr, callback, 'work', None)
        self.addCleanup(setattr, sys, 'unraisablehook', hook)
        for work in waits, waits_again_and_again, computes:
            with self.subTest(work.__name__):
                done = []
                lock.acquire()
                release = threading.Timer(20 * SHORT, lock.release)
                release.start()
                callback.work = work
                self.ends(body)
                callback.work = None
                release.join()
                self.assertEqual((done, lost), ([True], []))

    def forked(self, child, seconds=5 * SHORT, **options):
        """The status of a child that was forked in a scope; and how long it lived.

        On a busy machine the deadline may pass before the parent forks, and that of the child before
        its first line: then once more."""
        def run():
            parent, process, begun = os.getpid(), None, False
            with self.assertRaises(coopdl.DeadlineExceeded):
                with coopdl.timeout(seconds, **options) as scope:
                    self.when = scope.when()
                    try:
                        process = os.fork()
                        if process == 0:
                            begun = True
                            child(scope)
                        spin()
                    finally:
                        if os.getpid() != parent:
                            # As the interpreter ends whom nothing catches.
                            error = sys.exc_info()[1]
                            code = error.code if isinstance(error, SystemExit) else 1
                            os._exit(code if begun else NOT_BEGUN)
            if process is None:
                return
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if status != NOT_BEGUN:
                took.append((status, time.monotonic() - self.when))

        took = []
        while not took:
            self.call(run)
        return took[0]

    def test_fork(self):
        """A child is inside the scopes that it was forked in, a little later, and ends quietly."""
        def handled(scope):
            log = []
            try:
                loop_on_two_lines(None, log)
            except SystemExit as error:
                wrong = [error.code != 124, log != ['in', 'out'], time.monotonic() < self.when + 0.05]
                os._exit(42 + sum(bit << position for position, bit in enumerate(wrong)))

        for _ in range(20):  # on a busy machine it may be raised before the child is in its loop
            if (status := self.forked(handled)[0]) != 124:
                break
        self.assertEqual(status, 42)
        for child in lambda _: spin(), lambda _: time.sleep(60):
            status, late = self.forked(child)
            self.assertEqual(status, 124)
            self.assertGreaterEqual(late, 0.05)
            self.assertLess(late, BOUND)

    def test_a_child_that_is_not_inside(self):
        def child(scope):
            os._exit(42 if coopdl.deadline() is None else 43)

        self.assertEqual(self.forked(child, inherit=False)[0], 42)

    def test_a_scope_of_the_childs_own(self):
        def child(_):
            with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout(SHORT) as scope:
                spin()
            os._exit(42 if scope.expired() else 43)

        # The parent's leaves time for it on a machine that is busy.
        self.assertEqual(self.forked(child, 100 * SHORT if LOADED else 50 * SHORT)[0], 42)


class TestMain(Main, Both, unittest.TestCase):
    pass


class TestWorker(Worker, Both, unittest.TestCase):
    pass
