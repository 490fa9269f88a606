# SPDX-License-Identifier: Apache-2.0
"""scopes.py -- how the tests of scopes say what they expect.

Each test that a thread's kind may matter for is made twice, in the main thread and in another one
(Main, Worker).
"""
import os
import sys
import threading
import time
import unittest

import coopdl

LOADED = bool(os.environ.get('LOAD'))
SHORT = 0.02
BOUND = 10.0 if LOADED else 2.0  # how late at most, on a shared machine
DEBUG = hasattr(sys, 'gettotalrefcount')
# os.stat goes on after an error that a signal's handler has raised in it; a debug build aborts then.
unless_stat_aborts = unittest.skipIf(DEBUG, 'os.stat aborts where a signal handler raises in a debug build')
unless_true_exit_aborts = unittest.skipIf(
    DEBUG and sys.version_info >= (3, 14),
    'a debug build of 3.14 aborts where an __exit__ is true that is no method of Python or C')


def spin():
    while True:
        pass


class Main:
    """Runs what a test does where the test is."""

    def call(self, function):
        function()


class Worker:
    """Runs it in another thread."""

    def call(self, function):
        raised = []

        def run():
            try:
                function()
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive(), 'it was not ended'
        if raised:
            raise raised[0]


class Expiry:
    """How to expect one."""

    def ends(self, body, seconds=SHORT, bound=BOUND, **options):
        """The body is ended by its deadline: the exception."""
        caught = []

        def run():
            start = time.monotonic()
            with self.assertRaises(coopdl.DeadlineExceeded) as context:
                with coopdl.timeout(seconds, **options) as scope:
                    body()
            took = time.monotonic() - start
            self.assertIs(context.exception.scope, scope)
            self.assertTrue(scope.expired())
            self.assertGreaterEqual(took, seconds)
            self.assertLess(took, seconds + bound)
            self.assertIsNone(coopdl.deadline())
            caught.append(context.exception)

        self.call(run)
        return caught[0]

    def ends_begun(self, body, **options):
        """The same with a body that says when it has begun, by a list that it is called with: on a
        busy machine the deadline may pass before.  Returns the list, and how long it took."""
        for _ in range(100):
            log, start = [], time.monotonic()
            self.ends(lambda: body(log), **options)  # noqa: B023
            if log:
                return log, time.monotonic() - start
        raise AssertionError('it never began')
