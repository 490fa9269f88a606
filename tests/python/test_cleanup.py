# SPDX-License-Identifier: Apache-2.0
"""test_cleanup.py -- what is not disturbed: clean-up, until its grace is over, `__enter__` and
`__exit__`, destructors; and what becomes of clean-up that does not end.
"""
import asyncio
import concurrent.futures.thread  # not first in a scope
import contextlib
import datetime
import functools
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import unittest
import warnings
import weakref
from unittest import mock

import coopdl
from scopes import BOUND, LOADED, SHORT, Expiry, Main, Worker, spin

GRACE = 0.1


class Both(Expiry):
    def test_clean_up_is_not_disturbed(self):
        def clean_up(log):
            log.clear()
            start = time.monotonic()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.settimeout(SHORT * 4)
                try:
                    ours.recv(1)
                except TimeoutError as error:
                    log.append(error)
            while time.monotonic() < start + SHORT * 6:
                with contextlib.suppress(ValueError):
                    int('x')
            time.sleep(SHORT * 4)
            self.assertGreaterEqual(time.monotonic() - start, SHORT * 10)
            log.append('done')

        class Manager:
            def __init__(self, log):
                self.log = log

            def __enter__(self):
                return self

            def __exit__(self, *_):
                clean_up(self.log)

        def in_finally(log):
            try:
                log.append('begun')
                spin()
            finally:
                clean_up(log)

        def in_except(log):
            try:
                log.append('begun')
                spin()
            except coopdl.DeadlineReached:
                clean_up(log)
                raise

        def in_exit(log):
            with Manager(log):
                log.append('begun')
                spin()

        for body in in_finally, in_except, in_exit:
            with self.subTest(body.__name__):
                log, _ = self.ends_begun(body)
                self.assertEqual(log[1:], ['done'])
                self.assertNotIsInstance(log[0], coopdl.DeadlineExceeded)

    def test_clean_up_in_a_suspended_coroutine(self):
        """The coroutine was ended while it computed, and its loop waits for its clean-up."""
        async def busy(log):
            try:
                log.append('begun')
                spin()
            finally:
                await asyncio.sleep(SHORT * 10)
                log.append('done')

        log, _ = self.ends_begun(lambda log: asyncio.run(busy(log)), bound=BOUND + SHORT * 10)
        self.assertEqual(log, ['begun', 'done'])

    def test_a_future_that_is_done_wakes_who_awaits_it(self):
        """A future in C is done before it calls call_soon, and does not call it again."""
        class Loop(asyncio.SelectorEventLoop):
            log = None

            def call_soon(self, *arguments, **keywords):
                log, self.log = self.log, None
                if log:
                    while time.monotonic() < coopdl.deadline() + SHORT:
                        int('1')
                handle = super().call_soon(*arguments, **keywords)
                if log:
                    log.append('called')
                return handle

        async def wait(loop, log):
            def wake():
                log.append('begun')
                loop.log = log
                future.set_result(None)

            future = loop.create_future()
            loop.call_soon(wake)
            await future
            spin()

        def run(log):
            loop = Loop()
            loop.set_exception_handler(lambda *_: None)
            task = loop.create_task(wait(loop, log))
            try:
                loop.run_until_complete(task)
            finally:
                if not task.done():
                    task.cancel()
                    loop.run_until_complete(asyncio.wait([task]))
                loop.close()

        log, _ = self.ends_begun(run, bound=BOUND + SHORT)
        self.assertEqual(log, ['begun', 'called'])

    def test_the_event_loop_ends_its_round(self):
        """The code of asyncio itself, of which this callback is by its file, is not interrupted."""
        source = textwrap.dedent("""
            def step(log):
                log.append('begun')
                while time.monotonic() < coopdl.deadline() + SHORT:
                    int('1')
                log.append('done')
            """)
        names = {'coopdl': coopdl, 'time': time, 'SHORT': SHORT}
        exec(compile(source, '/asyncio/step.py', 'exec'), names)

        async def wait(log):
            asyncio.get_running_loop().call_soon(names['step'], log)
            await asyncio.sleep(60)

        log, _ = self.ends_begun(lambda log: asyncio.run(wait(log)), bound=BOUND + SHORT)
        self.assertEqual(log, ['begun', 'done'])

    def test_an_exception_on_its_way_to_who_awaits_it(self):
        """It is kept for a moment and then raised again: not swallowed.  Where the processor is taken
        away for long meanwhile, there is nothing to see."""
        def body(log):
            try:
                spin()
            except coopdl.DeadlineReached as error:
                kept = error
                begun = time.monotonic()
            try:
                while time.monotonic() < begun + 0.002:
                    pass
            finally:
                if time.monotonic() < begun + 0.1:
                    log.append(kept)
            raise kept

        caught = []

        def ends(log):
            try:
                body(log)
            except coopdl.DeadlineReached as error:
                caught[:] = [error]
                raise

        log, _ = self.ends_begun(ends)
        self.assertEqual(log, caught)

    def test_in_enter_and_exit(self):
        """Code that computes there goes on until the grace is over; a call that waits is cut."""
        class Slow:
            def __init__(self, enter, leave, log):
                self.enter, self.leave, self.log = enter, leave, log

            def __enter__(self):
                if self.enter is not int:
                    self.log.append('begun')
                self.enter()

            def __exit__(self, *_):
                if self.leave is not int:
                    self.log.append('begun')
                self.leave()

        def loop():
            while True:
                int()

        def sleep():
            time.sleep(60)

        nothing, grace = int, 3 * GRACE
        for enter, leave, least in ((spin, nothing, grace), (nothing, spin, grace), (loop, nothing, grace),
                                    (nothing, loop, grace), (sleep, nothing, 0), (nothing, sleep, 0)):
            def body(log):
                with Slow(enter, leave, log):  # noqa: B023
                    pass
            with self.subTest((enter.__name__, leave.__name__)):
                _, took = self.ends_begun(body, grace=grace)
                self.assertGreaterEqual(took, SHORT + least)

    def test_in_a_function_whose_name_alone_is_that_of_a_taker(self):
        """It does not compute for the whole grace."""
        def acquire_image(log):
            log.append('begun')
            spin()

        _, took = self.ends_begun(acquire_image, grace=10 * BOUND)
        self.assertGreaterEqual(took, SHORT + 0.09)

    def test_a_scope_that_is_entered_in_such_a_function(self):
        """What its caller's function is called does not put it off: who entered it handles it."""
        far = {'grace': 10 * BOUND}

        def limited():
            with coopdl.timeout(SHORT, **far):
                spin()

        class Inside:
            def __init__(self, enter, leave):
                self.enter, self.leave = enter, leave

            def __enter__(self):
                self.enter()

            def __exit__(self, *_):
                self.leave()

            @coopdl.timeout(SHORT, **far)
            def release(self):
                spin()

        def in_enter():
            with Inside(limited, int):
                pass

        def in_exit():
            with Inside(int, limited):
                pass

        def acquire_image():
            limited()

        def of_a_decorated_method():
            Inside.release(None)

        def in_an_exit_of_the_body_of_another():
            with coopdl.timeout(SHORT / 2, **far):
                with Inside(int, limited):
                    pass

        for function in (in_enter, in_exit, acquire_image, of_a_decorated_method,
                         in_an_exit_of_the_body_of_another):
            with self.subTest(function.__name__):
                start = time.monotonic()
                with self.assertRaises(coopdl.DeadlineExceeded):
                    self.call(function)
                self.assertLess(time.monotonic() - start, SHORT + BOUND)

    def test_a_scope_that_a_destructor_enters(self):
        ended = []

        class Node:
            def __del__(self):
                with contextlib.suppress(coopdl.DeadlineExceeded):
                    with coopdl.timeout(SHORT, grace=10 * BOUND):
                        spin()
                ended.append(time.monotonic())

        start = time.monotonic()
        self.call(Node)
        self.assertLess(ended[0] - start, SHORT + BOUND)

    def test_a_lock_that_is_taken_where_a_generator_has_entered_the_scope(self):
        """The frame of its `with` is not among those that run: all of them count."""
        @contextlib.contextmanager
        def limited():
            with coopdl.timeout(SHORT, grace=3 * GRACE):
                yield

        class Slow:
            def __enter__(self):
                spin()

            def __exit__(self, *_):
                pass

        def body():
            with limited(), Slow():
                pass

        start = time.monotonic()
        with self.assertRaises(coopdl.DeadlineExceeded):
            self.call(body)
        self.assertGreaterEqual(time.monotonic() - start, SHORT + 3 * GRACE)

    def test_clean_up_that_does_not_end(self):
        """It is cut and raised in once the grace is over, again and again."""
        def waits():
            time.sleep(60)

        def computes():
            spin()

        def goes_on():
            log = []
            while len(log) < 3:
                try:
                    time.sleep(60)
                except BaseException:
                    log.append(time.monotonic())

        class Manager:
            def __init__(self, leave):
                self.__exit = leave

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.__exit()

        def in_finally(clean_up, log):
            try:
                log.append('begun')
                spin()
            finally:
                clean_up()

        def in_except(clean_up, log):
            try:
                log.append('begun')
                spin()
            except BaseException:
                clean_up()

        def in_exit(clean_up, log):
            with Manager(clean_up):
                log.append('begun')
                spin()

        for body in in_finally, in_except, in_exit:
            for clean_up in waits, computes, goes_on:
                with self.subTest((body.__name__, clean_up.__name__)):
                    _, took = self.ends_begun(functools.partial(body, clean_up), grace=GRACE)
                    self.assertGreaterEqual(took, SHORT + GRACE)

    def test_the_grace(self):
        def run():
            def cleaned(grace):
                log = []
                while not log:
                    with self.assertRaises(coopdl.DeadlineExceeded):
                        with coopdl.timeout(SHORT, grace=grace):
                            try:
                                log.append('begun')
                                spin()
                            finally:
                                time.sleep(0.5)
                                log.append('done')
                return 'done' in log
            self.assertEqual([cleaned(0), cleaned(datetime.timedelta()), cleaned(60), cleaned(None),
                              cleaned(datetime.timedelta(seconds=60))], [False, False, True, True, True])

        self.call(run)

    def test_joined_threads_are_inside(self):
        """Whose end a thread waits for when its grace is over is inside its deadline."""
        def pool(log):
            with concurrent.futures.thread.ThreadPoolExecutor(1) as executor:
                executor.submit(time.sleep, 60)
                log.append('begun')
                time.sleep(60)

        def join(log):
            thread = threading.Thread(target=spin, daemon=True)
            with coopdl.shield():
                thread.start()
            try:
                log.append('begun')
                spin()
            finally:
                thread.join()

        async def in_a_thread(log):
            future = asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
            log.append('begun')
            await future

        def loop(log):
            asyncio.run(in_a_thread(log))

        def begun(body):
            """Its first part may be ended between the start of a thread and the note of that."""
            before = set(threading.enumerate())
            log = []
            # On a loaded machine the join itself may take long to be reached.
            self.ends(lambda: body(log), grace=20 * GRACE if LOADED else GRACE)
            return before if log else None

        for body in pool, join, loop:
            with self.subTest(body.__name__), \
                    mock.patch.object(threading, 'excepthook', lambda _: None):
                before = next(filter(None, (begun(body) for _ in range(100))))
                end = time.monotonic() + BOUND
                while set(threading.enumerate()) - before and time.monotonic() < end:
                    time.sleep(0.001)
                self.assertEqual(set(threading.enumerate()) - before, set())

    def test_in_a_destructor(self):
        """Nothing is raised there; the body is ended behind it."""
        begun, ended, lost = [], [], []

        class Slow:
            def __del__(self):
                compute(None)

        def compute(_):
            begun.append(True)
            end = time.monotonic() + 5 * SHORT
            while time.monotonic() < end:
                pass
            ended.append(True)

        def in_del():
            slow = Slow()
            del slow
            spin()

        def in_a_callback():
            thing = type('', (), {})()
            watched = weakref.ref(thing, compute)
            del thing
            spin()
            return watched

        def in_a_generator():
            def numbers():
                try:
                    yield 1
                finally:
                    compute(None)
            generator = numbers()
            next(generator)
            del generator
            spin()

        def in_a_future():
            future = loop.create_future()
            future.set_exception(ValueError())
            del future
            spin()

        def in_a_coroutine():
            async def never():
                pass
            never()
            spin()

        def in_a_file():
            open(os.devnull, encoding='utf-8')
            spin()

        def _warn_unawaited_coroutine(_):
            compute(None)

        def _showwarnmsg(_):
            compute(None)

        def run(log, body):
            nonlocal begun
            begun = log
            body()

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: compute(context))
        hook, sys.unraisablehook = sys.unraisablehook, lost.append
        try:
            for body in in_del, in_a_callback, in_a_generator, in_a_future, in_a_coroutine, in_a_file:
                with self.subTest(body.__name__), warnings.catch_warnings(), mock.patch.multiple(
                        warnings, _warn_unawaited_coroutine=_warn_unawaited_coroutine,
                        _showwarnmsg=_showwarnmsg):
                    warnings.simplefilter('always')
                    ended.clear()
                    self.ends_begun(lambda log: run(log, body))  # noqa: B023
                    self.assertEqual((ended, lost), ([True], []))
        finally:
            sys.unraisablehook = hook
            loop.close()


class TestMain(Main, Both, unittest.TestCase):
    pass


class TestWorker(Worker, Both, unittest.TestCase):
    pass


class Starved(unittest.TestCase):
    """What has no processor while the time of day goes on, as on a loaded machine: it is stopped."""

    STOPS = 20

    def stopped(self, source):
        """Runs a program, which stops itself so often; the text that it printed."""
        program = subprocess.Popen([sys.executable, '-c', textwrap.dedent(source)],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        for _ in range(self.STOPS):
            _, status = os.waitpid(program.pid, os.WUNTRACED)
            self.assertTrue(os.WIFSTOPPED(status), status)
            time.sleep(0.05)  # the time that it has no processor
            program.send_signal(signal.SIGCONT)
        text, _ = program.communicate(timeout=30)
        self.assertEqual(program.returncode, 0)
        return text

    def test_clean_up_whose_grace_is_over_before_it_has_computed(self):
        text = self.stopped(f"""
            import coopdl, os, signal, time
            def stop_and_compute():
                os.kill(os.getpid(), signal.SIGSTOP)
                end = time.thread_time() + 0.0005
                while time.thread_time() < end:
                    pass
            done = 0
            for _ in range({self.STOPS}):
                begun = False
                while not begun:
                    try:
                        with coopdl.timeout(0.02, grace=0):
                            try:
                                begun = True
                                while True:
                                    pass
                            finally:
                                if begun:
                                    stop_and_compute()
                                    done += 1
                    except coopdl.DeadlineExceeded:
                        pass
            print(done)
            """)
        self.assertEqual(text, f'{self.STOPS}\n')
