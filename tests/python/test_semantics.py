# SPDX-License-Identifier: Apache-2.0
"""test_semantics.py -- what a scope means: who is told, when, how often, and what still runs."""
import asyncio
import contextlib
import errno
import os
import socket
import time
import traceback
import unittest

import coopdl
from scopes import SHORT, Expiry, Main, Worker, spin, unless_stat_aborts, unless_true_exit_aborts


class Both(Expiry):
    def test_an_error_of_a_cut_call_becomes_ours(self):
        """At once, in the body, where no `except OSError` takes it for a failure."""
        ours, theirs = socket.socketpair()
        mistaken = []

        def wait():
            try:
                ours.recv(1)
            except Exception as error:
                mistaken.append(error)

        def run():
            with self.assertRaises(coopdl.DeadlineExceeded) as caught:
                with coopdl.timeout(SHORT):
                    wait()
            error = caught.exception
            self.assertEqual(error.errno, errno.ETIMEDOUT)
            reached = error.__cause__
            self.assertIs(type(reached), coopdl.DeadlineReached)
            self.assertIs(reached.scope, error.scope)
            where = [traceback.extract_tb(reached.__traceback__)[-1].name]
            if reached.__cause__ is not None:  # the call failed before the exception could come
                self.assertIsInstance(reached.__cause__, OSError)
                where.append(traceback.extract_tb(reached.__cause__.__traceback__)[-1].name)
            self.assertEqual(set(where), {'wait'})
            self.assertEqual(mistaken, [])

        with ours, theirs:
            for _ in range(5):
                self.call(run)

    @unless_stat_aborts
    def test_it_is_no_error_in_the_body(self):
        """No handler of errors and no default takes it for one of the code's own."""
        class Slow:
            @property
            def attribute(self):
                spin()

        def suppressing():
            with contextlib.suppress(Exception):
                spin()

        def looking():
            while os.path.exists(os.curdir):
                pass

        def asking():
            getattr(Slow(), 'attribute', None)

        def retrying():
            while True:
                try:
                    time.sleep(60)
                except (OSError, Exception):
                    continue

        for body in suppressing, looking, asking, retrying:
            goes_on = []
            with self.subTest(body.__name__):
                self.ends(lambda: [body(), goes_on.append(body)])
                self.assertEqual(goes_on, [])

    def test_what_was_swallowed_is_raised_again(self):
        """Where is not said: it may come between two of the tries, which ends the body sooner."""
        def body(caught):
            while len(caught) < 4:
                try:
                    spin()
                except BaseException as error:
                    caught.append(type(error))
            spin()

        caught, _ = self.ends_begun(body)
        self.assertTrue(all(issubclass(kind, coopdl.DeadlineReached) for kind in caught), caught)

    def test_a_class_of_the_programs_own(self):
        """As Celery's: an error, which is raised once; then the body goes on, until its grace is over."""
        class Limit(coopdl.DeadlineReached, ValueError):
            pass

        def run():
            for body in spin, lambda: time.sleep(60):
                ours, theirs = socket.socketpair()
                theirs.send(b'x')
                went_on = []
                with ours, theirs, self.assertRaises(coopdl.DeadlineExceeded):
                    with coopdl.timeout(SHORT)._instead(Limit):
                        try:
                            body()
                        except ValueError as error:
                            went_on.append(type(error))
                        time.sleep(0.2)  # not cut
                        sum(range(1_000_000))
                        went_on.append(ours.recv(1))
                self.assertEqual(went_on, [Limit, b'x'])
            with self.assertRaises(coopdl.DeadlineExceeded) as caught:
                with coopdl.timeout(SHORT, grace=0.2)._instead(Limit):
                    try:
                        spin()
                    except Limit:
                        spin()
            self.assertTrue(caught.exception.scope.expired())

        self.call(run)
        for kind, refused in (coopdl.timeout(1), TypeError), (ValueError, TypeError):
            self.assertRaises(refused, coopdl.timeout(1)._instead, kind)
        with coopdl.timeout(60) as entered:
            self.assertRaises(RuntimeError, entered._instead, Limit)

    @unless_true_exit_aborts
    def test_move_on_after(self):
        """Its end raises nothing; what is not about it goes on."""
        def waits():
            time.sleep(60)

        def wraps():
            try:
                spin()
            except coopdl.DeadlineReached as error:
                raise ValueError from error

        def run():
            for body in spin, waits, wraps:
                with coopdl.move_on_after(SHORT) as scope:
                    body()
                self.assertTrue(scope.expired())
                self.assertGreaterEqual(time.monotonic(), scope.when())
                self.assertIsNone(coopdl.deadline())
            with coopdl.move_on_after(60) as scope:
                pass
            self.assertFalse(scope.expired())
            with self.assertRaises(KeyError), coopdl.move_on_after(60):
                raise KeyError
            with self.assertRaises(coopdl.DeadlineExceeded) as caught:
                with coopdl.timeout(SHORT) as outer, coopdl.move_on_after(60) as inner:
                    spin()
            self.assertIs(caught.exception.scope, outer)
            self.assertFalse(inner.expired())
            with coopdl.move_on_after(SHORT) as outer:
                with coopdl.timeout(60):
                    spin()
            self.assertTrue(outer.expired())
            self.assertIsNone(coopdl.move_on_after(SHORT)(spin)())

        self.call(run)

    def test_an_error_of_the_bodys_own_is_not_moved_on_from(self):
        def run():
            with self.assertRaises(KeyError):
                with coopdl.move_on_after(SHORT) as scope:
                    with coopdl.shield():
                        while time.monotonic() < scope.when():
                            pass
                        raise KeyError
            self.assertTrue(scope.expired())

        self.call(run)

    def test_a_body_that_fails_otherwise_is_chained(self):
        def body():
            try:
                spin()
            except coopdl.DeadlineReached:
                raise ValueError('told so')

        self.assertIsInstance(self.ends(body).__cause__, ValueError)

    def test_an_error_before_the_deadline_is_left_alone(self):
        def run():
            with self.assertRaises(KeyError):
                with coopdl.timeout(60):
                    raise KeyError

        self.call(run)

    def test_what_is_no_error_is_left_alone(self):
        def run():
            with self.assertRaises(SystemExit):
                with coopdl.timeout(SHORT):
                    try:
                        spin()
                    except coopdl.DeadlineReached:
                        raise SystemExit(3)

        self.call(run)

    def test_a_body_that_swallows_and_returns(self):
        def body():
            with contextlib.suppress(BaseException):
                spin()

        self.ends(body)

    def test_c_code_that_swallows(self):
        def converting():
            while True:
                try:
                    int('x')
                except ValueError:
                    continue

        class Slow:
            @property
            def attribute(self):
                for _ in range(50):
                    pass
                raise AttributeError

            def __hash__(self):
                return 1

            def __eq__(self, other):
                for _ in range(50):
                    pass
                return False

        def with_a_default():
            slow = Slow()
            while True:
                getattr(slow, 'attribute', None)

        def looking_up():
            table = {Slow(): 1}
            while True:
                table.get(Slow())

        for body in converting, with_a_default, looking_up:
            for _ in range(5):
                with self.subTest(body.__name__):
                    self.ends(body)

    def test_in_handlers(self):
        """The deadline passes while these run, and ends them."""
        def in_finally():
            try:
                pass
            finally:
                spin()

        def in_except():
            try:
                raise KeyError
            except KeyError:
                spin()

        for body in in_finally, in_except:
            with self.subTest(body.__name__):
                self.ends(body)

    def test_nested(self):
        def run(outer_seconds, inner_seconds, expected):
            with self.assertRaises(coopdl.DeadlineExceeded) as context:
                with coopdl.timeout(outer_seconds) as outer:
                    with coopdl.timeout(inner_seconds) as inner:
                        spin()
            self.assertIs(context.exception.scope, inner if expected == 'inner' else outer)
            self.assertIsNone(coopdl.deadline())

        self.call(lambda: run(60, SHORT, 'inner'))
        self.call(lambda: run(SHORT, 60, 'outer'))

    def test_nested_and_equal(self):
        def run():
            when = time.monotonic() + SHORT
            with self.assertRaises(coopdl.DeadlineExceeded) as context:
                with coopdl.timeout_at(when) as outer:
                    with coopdl.timeout_at(when):
                        spin()
            self.assertIs(context.exception.scope, outer)

        self.call(run)

    def test_an_inner_one_ends_and_the_outer_goes_on(self):
        def run():
            with coopdl.timeout(60) as outer:
                with self.assertRaises(coopdl.DeadlineExceeded):
                    with coopdl.timeout(SHORT):
                        spin()
                self.assertFalse(outer.expired())
                start = time.monotonic()
                time.sleep(SHORT)
                self.assertGreaterEqual(time.monotonic() - start, SHORT)

        self.call(run)

    def test_zero(self):
        self.ends(lambda: None, 0)
        self.ends(spin, 0)

    def test_none(self):
        def run():
            with coopdl.timeout(None) as scope:
                self.assertIsNone(scope.when())
                self.assertIsNone(coopdl.remaining())
                time.sleep(0.001)
            self.assertFalse(scope.expired())

        self.call(run)

    def test_check(self):
        def body():
            while True:
                coopdl.check()

        self.ends(body)
        self.call(coopdl.check)

    def test_shield(self):
        def run():
            start = time.monotonic()
            with self.assertRaises(coopdl.DeadlineExceeded):
                with coopdl.timeout(SHORT):
                    with coopdl.shield():
                        self.assertIsNone(coopdl.deadline())
                        time.sleep(3 * SHORT)
                        while time.monotonic() < start + 6 * SHORT:
                            coopdl.check()
                        with self.assertRaises(coopdl.DeadlineExceeded):
                            with coopdl.timeout(SHORT):
                                spin()
                    spin()
            self.assertGreaterEqual(time.monotonic() - start, 7 * SHORT)

        self.call(run)

    def test_reschedule(self):
        def run():
            with coopdl.timeout(SHORT) as scope:
                scope.reschedule(time.monotonic() + 60)
                time.sleep(2 * SHORT)
                self.assertGreater(coopdl.remaining(), 50)
                scope.reschedule(None)
                self.assertIsNone(scope.when())
            self.assertFalse(scope.expired())
            with self.assertRaises(RuntimeError):
                scope.reschedule(None)
            with self.assertRaises(coopdl.DeadlineExceeded):
                with coopdl.timeout(60) as scope:
                    scope.reschedule(time.monotonic() + SHORT)
                    spin()

        self.call(run)

    def test_rescheduled_after_the_exception(self):
        def run():
            with coopdl.timeout(SHORT) as scope:
                try:
                    spin()
                except coopdl.DeadlineReached:
                    scope.reschedule(time.monotonic() + 60)
                time.sleep(SHORT)
                end = time.monotonic() + 5 * SHORT
                while time.monotonic() < end:
                    pass
            self.assertFalse(scope.expired())

        self.call(run)

    def test_left_in_the_wrong_order(self):
        def run():
            outer, inner = coopdl.timeout(60), coopdl.timeout(50)
            outer.__enter__()
            inner.__enter__()
            with self.assertRaises(RuntimeError):
                outer.__exit__(None, None, None)
            self.assertGreater(coopdl.remaining(), 40)
            self.assertLess(coopdl.remaining(), 51)
            inner.__exit__(None, None, None)
            self.assertIsNone(coopdl.deadline())
            with self.assertRaises(RuntimeError):
                inner.__exit__(None, None, None)

        self.call(run)

    def test_entered_twice(self):
        def run():
            with coopdl.timeout(60) as scope:
                with self.assertRaises(RuntimeError):
                    scope.__enter__()
            with scope:
                self.assertGreater(coopdl.remaining(), 50)

        self.call(run)

    def test_a_with_statement_that_does_not_call_exit(self):
        """Its scope is left as soon as its __exit__ is gone; one that is looked up later is another."""
        def run():
            scope = coopdl.timeout(60)
            leave = scope.__exit__
            scope.__enter__()
            self.assertIsNotNone(coopdl.deadline())
            del leave
            self.assertIsNone(coopdl.deadline())
            scope.__enter__()
            self.assertTrue(hasattr(scope, '__exit__'))
            self.assertIsNotNone(coopdl.deadline())
            scope.__exit__(None, None, None)
            self.assertIsNone(coopdl.deadline())

        self.call(run)

    def test_a_scope_that_is_never_left(self):
        def run():
            scope = coopdl.timeout(SHORT)
            scope.__enter__()
            inner = coopdl.timeout(60)
            inner.__enter__()
            del scope
            self.assertGreater(coopdl.remaining(), 50)
            end = time.monotonic() + 3 * SHORT
            while time.monotonic() < end:
                pass
            inner.__exit__(None, None, None)
            self.assertIsNone(coopdl.deadline())

        self.call(run)

    def test_a_generator_that_suspends(self):
        def run():
            def limited():
                with coopdl.timeout(60):
                    yield coopdl.remaining()

            generator = limited()
            self.assertGreater(next(generator), 50)
            generator.close()
            self.assertIsNone(coopdl.deadline())

        self.call(run)


class TestMain(Main, Both, unittest.TestCase):
    def test_other_threads_cannot_leave(self):
        scope = coopdl.timeout(60)
        worker = Worker()
        with scope:
            with self.assertRaises(RuntimeError):
                worker.call(lambda: scope.__exit__(None, None, None))
        self.assertIsNone(coopdl.deadline())

    def test_a_regular_expression(self):
        import re
        self.ends(lambda: re.fullmatch(r'(a+)+\Z', 'a' * 100_000 + '!'))

    def test_async_with(self):
        async def wrong():
            async with coopdl.timeout(1):
                pass
        with self.assertRaisesRegex(TypeError, 'asyncio.timeout'):
            asyncio.run(wrong())

    def test_asyncio_inside(self):
        self.ends(lambda: asyncio.run(asyncio.sleep(60)))


class TestWorker(Worker, Both, unittest.TestCase):
    pass
