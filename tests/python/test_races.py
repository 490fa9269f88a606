# SPDX-License-Identifier: Apache-2.0
"""test_races.py -- deadlines that pass at the very moment at which it matters: as a handler begins,
a lock is taken or given back, a destructor runs, a block ends.

What must hold: every handler runs, every lock is free, nothing is lost in a destructor, nothing is
raised behind the end.  Each test tries it often, at random moments.
"""
import asyncio
import contextlib
import ctypes
import gc
import itertools
import random
import signal
import socket
import statistics
import sys
import threading
import time
import unittest
import weakref

import coopdl
from loops import HANDLED, LOCKS
from scopes import LOADED, SHORT, Expiry, Main, Worker, spin

ROUNDS = 500 if LOADED else 10_000
LESS = 4 if LOADED else 1  # there each takes longer, and is less predictable by itself


def clean_up(seconds):
    """Does I/O, sleeps, computes and handles errors of its own."""
    end = time.monotonic() + seconds
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(seconds / 2)
        with contextlib.suppress(TimeoutError):
            ours.recv(1)
            raise AssertionError('it was not waited for')
    with contextlib.suppress(ValueError):
        int('x')
    while (left := end - time.monotonic()) > 0:
        time.sleep(left / 2 + 0.0001)


class Both(Expiry):
    def test_every_handler_of_the_body_runs(self):
        for loop in HANDLED:
            begun = 0
            while begun < 5:  # on a busy machine the deadline may pass before
                lock, log = threading.Lock(), []
                with self.subTest(loop.__name__):
                    self.ends(lambda: loop(lock, log), 0.005)
                    self.assertFalse(lock.locked())
                    self.assertIn(log, ([], ['out'], ['in', 'out']))
                begun += bool(log)

    def test_what_is_destroyed_while_it_unwinds(self):
        """The beginning of the list is nobody's by then: not even the traceback's, which holds
        frames."""
        ended, lost, watched = [], [], []

        def compute(_):
            end = time.monotonic() + 0.005
            while time.monotonic() < end:
                pass
            ended.append(True)

        class Slow:
            __del__ = compute

        class Plain:
            pass

        def plain():
            thing = Plain()
            watched.append(weakref.ref(thing, compute))
            return thing

        hook, sys.unraisablehook = sys.unraisablehook, lost.append
        try:
            for make in Slow, plain:
                with self.subTest(make.__name__):
                    ended.clear()
                    self.ends(lambda: [make(), spin()])  # noqa: B023
                    self.assertEqual(ended, [True])
                    self.assertEqual(lost, [])
        finally:
            sys.unraisablehook = hook

    def test_a_destructor_that_is_another_method(self):
        """Nothing is raised in it, but in that method where it is called."""
        begun, ended, lost = [], [], []

        class Closed:
            seconds = 0.06

            def shut(self):
                begun.append(True)
                end = time.monotonic() + self.seconds
                while time.monotonic() < end:
                    pass
                ended.append(True)

            __del__ = close = shut

        def local(given):
            return [given] and [Closed()] and None

        def of_a_function():
            return local(1)

        def of_the_type(thing):
            Closed.close(thing)

        def of_a_statement():
            thing = Closed()
            del thing

        def of_an_attribute():
            thing = Closed()
            thing.other = Closed()
            thing.seconds = 0
            thing.other = None

        hook, sys.unraisablehook = sys.unraisablehook, lost.append
        try:
            makers = of_a_statement, of_an_attribute, of_a_function
            for make in makers[:2] if sys.version_info < (3, 11) else makers:
                with self.subTest(make.__name__):
                    self.ends(lambda: [make() for _ in itertools.repeat(None)])  # noqa: B023
                    self.assertEqual(len(begun), len(ended))
                    self.assertEqual(lost, [])
            thing = Closed()
            thing.seconds = 60
            for call in (lambda: thing.shut(), lambda: thing.close(),  # noqa: PLW0108
                         thing.close, lambda: [method() for method in [thing.close]],
                         lambda: thing.close(*()), lambda: of_the_type(thing)):
                self.ends(call)
            thing.seconds = 0
        finally:
            sys.unraisablehook = hook

    def test_locks_that_are_taken_in_python(self):
        for make in LOCKS:
            for _ in range(30):
                loop, taken = make()
                with self.subTest(make.__name__):
                    self.ends(loop, random.uniform(0.001, 0.002))
                    self.assertFalse(taken())

    def test_a_lock_that_is_released_as_its_wait_is_ended(self):
        """It has been taken and given back, or it has not been taken."""
        class Timed:
            def __init__(self, lock):
                self.lock = lock

            def __enter__(self):
                while not self.lock.acquire(timeout=60):
                    pass

            def __exit__(self, *_):
                self.lock.release()

        def body():
            with timed:
                spin()

        # Where the grace is over too, who has waited until then and has the lock has not computed.
        for make, grace in itertools.product((threading.Lock, threading.Semaphore), (5, 0.001)):
            for _ in range(25 // LESS):
                timed = Timed(make())
                timed.lock.acquire()
                # It takes some ms to be sure that a thread waits.
                late = random.uniform(0.002, 0.009)
                release = threading.Timer(0.005 + late, timed.lock.release)
                release.start()
                with self.subTest((make.__name__, grace)):
                    self.ends(body, 0.005, grace=grace)
                    release.join()
                    self.assertTrue(timed.lock.acquire(False))

    def test_a_wait_that_costs_processor_time(self):
        """Signals whose handlers cost the thread that waits more than what hangs may cost."""
        libc = ctypes.CDLL(None)
        libc.signal.restype = ctypes.c_void_p
        libc.signal.argtypes = ctypes.c_int, ctypes.c_void_p
        before = libc.signal(signal.SIGUSR2, ctypes.cast(libc.srand, ctypes.c_void_p))

        class Taken:
            def __init__(self):
                self.lock, self.waiting = threading.Lock(), threading.Event()

            def __enter__(self):
                self.waiting.set()
                self.lock.acquire()

            def __exit__(self, *_):
                self.lock.release()

        def disturb(taken, thread, until):
            taken.waiting.wait()
            while time.monotonic() < until:
                signal.pthread_kill(thread, signal.SIGUSR2)
            taken.lock.release()

        def body():
            end = time.monotonic() + random.uniform(0.007, 0.014)
            other = threading.Thread(target=disturb, args=(taken, threading.get_ident(), end))
            other.start()
            others.append(other)
            with taken:
                spin()

        try:
            for _ in range(30 // LESS):
                taken, others = Taken(), []
                taken.lock.acquire()
                self.ends(body, 0.005, grace=0.001)
                taken.waiting.set()
                for other in others:
                    other.join()
                if others:  # or the deadline has passed before it has begun
                    self.assertTrue(taken.lock.acquire(False))
        finally:
            libc.signal(signal.SIGUSR2, before)

    def test_a_body_that_ends_behind_its_deadline_by_a_hair(self):
        """The clock decides, whether or not anybody has acted."""
        def run():
            ended = 0
            for _ in range(300):
                try:
                    with coopdl.timeout(0.0002) as scope:
                        while time.monotonic() < scope.when() + 0.000002:
                            pass
                except coopdl.DeadlineExceeded as error:
                    assert error.scope is scope and scope.expired()
                    ended += 1
            assert ended == 300, ended

        self.call(run)

    def test_in_short_destructors(self):
        """Each runs to its end, and nothing that is raised is lost in one."""
        begun, ended, lost = [], [], []

        class Short:
            def __del__(self):
                begun.append(True)
                self.compute()
                ended.append(True)

            def compute(self):
                end = time.monotonic() + 0.0005
                while time.monotonic() < end:
                    pass

        def body():
            while True:
                Short()

        hook, sys.unraisablehook = sys.unraisablehook, lost.append
        try:
            for _ in range(30):
                self.ends(body, random.uniform(0.001, 0.002))
        finally:
            sys.unraisablehook = hook
        self.assertEqual(lost, [])
        self.assertEqual(len(begun), len(ended))
        self.assertGreater(len(begun), 30)

    def test_a_shield_that_is_left_behind_the_deadline(self):
        """What is called then is cut with our error, not with one of its own."""
        def run():
            ours, theirs = socket.socketpair()
            with ours, theirs:
                for _ in range(300 // LESS):
                    when = time.monotonic() + 0.0005
                    end = when + random.uniform(0, 0.0003)
                    with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout_at(when):
                        try:
                            with coopdl.shield():
                                while time.monotonic() < end:
                                    pass
                            ours.recv(1)
                        except OSError as error:
                            if not isinstance(error, coopdl.DeadlineExceeded):
                                wrong.append(error)

        def three_at_once():
            workers = [threading.Thread(target=run) for _ in range(3)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

        wrong = []
        self.call(run)
        self.call(three_at_once)
        self.assertEqual(wrong, [])

    def test_nothing_is_raised_late(self):
        """Bodies that end at about their deadlines: what is raised afterwards fails the test.
        Some let go of the interpreter's lock, or nobody could raise anything in a worker."""
        counts = {'raised': 0, 'ended': 0}

        def run():
            for number in range(ROUNDS):
                seconds = random.uniform(0, 0.0004)
                end = time.monotonic() + random.uniform(0.8, 1.2) * seconds
                try:
                    with coopdl.timeout(seconds) as scope:
                        while time.monotonic() < end:
                            if number % 2:
                                time.sleep(0)
                    counts['ended'] += 1
                except coopdl.DeadlineExceeded as error:
                    assert error.scope is scope
                    counts['raised'] += 1
                for _ in range(20):
                    pass

        self.call(run)
        print('#', counts)
        self.assertEqual(sum(counts.values()), ROUNDS)
        self.assertGreater(min(counts.values()), 0)


class TestMain(Main, Both, unittest.TestCase):
    pass


class TestWorker(Worker, Both, unittest.TestCase):
    def test_many(self):
        """Threads that all expire at once while others compute."""
        late, wrong = [], []

        def run(number):
            when = time.monotonic() + 0.2
            try:
                with coopdl.timeout_at(when) as scope:
                    time.sleep(60) if number % 20 else spin()
            except coopdl.DeadlineExceeded as error:
                late.append(time.monotonic() - when)
                if error.scope is not scope:
                    wrong.append(error)

        threads = [threading.Thread(target=run, args=[n], daemon=True) for n in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertEqual((len(late), wrong), (200, []))
        self.assertGreaterEqual(min(late), 0)
        print(f'# 200 threads: {statistics.median(late) * 1000:.1f} ms late at the median, '
              f'{max(late) * 1000:.1f} at the worst')

    def rounds(self, number, count, body, seconds=0.003):
        """`number` threads do it `count` times each."""
        wrong = []

        def run():
            for _ in range(count):
                log = []
                try:
                    with coopdl.timeout(seconds) as scope:
                        body(log)
                except coopdl.DeadlineExceeded as error:
                    if error.scope is not scope or log not in ([], ['done'], ['begun', 'done']):
                        wrong.append((error, log))
                else:
                    wrong.append(log)

        threads = [threading.Thread(target=run, daemon=True) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.assertFalse([thread for thread in threads if thread.is_alive()])
        self.assertEqual(wrong, [])

    def test_clean_up_after_cut_calls(self):
        def body(log):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                try:
                    log.append('begun')
                    ours.recv(1)
                finally:
                    clean_up(0.03)
                    log.append('done')

        if sys.version_info < (3, 12):
            # What a collection eats just then may come again in the clean-up (docs/python.md); that is not
            # what is looked for here.
            gc.disable()
            self.addCleanup(gc.enable)
        self.rounds(10, 30, body)

    def test_clean_up_when_a_collection_eats_the_exception(self):
        """Up to 3.11 memory may be collected as the error of a cut call is made, and what is on
        its way then is raised in a callback, which cannot raise."""
        class Ring:
            def __init__(self):
                self.itself = self

        def body(log):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                gc.disable()
                rings = [Ring() for _ in range(1000)]
                references = [weakref.ref(ring, lambda _: None) for ring in rings]
                del rings
                try:
                    log.append('begun')
                    gc.enable()
                    ours.recv(1)
                finally:
                    gc.enable()
                    clean_up(0.03)
                    log.append('done')
                    references.clear()

        hook = sys.unraisablehook
        sys.unraisablehook = lambda _: None
        try:
            self.rounds(1, 10, body)
        finally:
            sys.unraisablehook = hook
            gc.enable()

    def test_clean_up_after_cut_calls_of_event_loops(self):
        async def waiting(log):
            try:
                log.append('begun')
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.03)
                log.append('done')

        # Without a loop of its own making: one that is interrupted as it is made complains.
        def body(log):
            loop = asyncio.new_event_loop()
            task = None
            try:
                with coopdl.shield():
                    task = loop.create_task(waiting(log))
                    loop.run_until_complete(asyncio.sleep(0, loop))
                loop.run_until_complete(task)
            finally:
                if task:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        loop.run_until_complete(task)
                loop.close()

        self.rounds(5, 20, body)


class Raiser(unittest.TestCase):
    def test_nothing_of_the_program_runs_on_it(self):
        """A collection runs destructors on the thread that happens to allocate."""
        class Ring:
            def __init__(self):
                self.me = self

            def __del__(self):
                ran_on.add(threading.get_ident())

        def work():
            known.add(threading.get_ident())
            until = time.monotonic() + 1
            while time.monotonic() < until:
                with contextlib.suppress(coopdl.DeadlineExceeded):
                    with coopdl.timeout(0.001):
                        while True:
                            Ring()

        known, ran_on = {threading.get_ident()}, set()
        thresholds = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:
            workers = [threading.Thread(target=work) for _ in range(2)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:
            gc.set_threshold(*thresholds)
        self.assertTrue(ran_on)
        self.assertLessEqual(ran_on, known)


class Traced(unittest.TestCase):
    def test_an_exception_that_waits_or_is_taken_back_stops_no_other_thread(self):
        """In 3.11 one that is traced would look for it for ever."""
        def nothing():
            pass

        def traced():
            trace = sys.gettrace()
            sys.settrace(lambda *_: None)
            try:
                # It is visited meanwhile, and kicked.
                end = time.monotonic() + 0.3
                while time.monotonic() < end:
                    nothing()
            finally:
                sys.settrace(trace)

        class Waiting:
            """Nothing is raised in its end before the grace is over."""

            def __enter__(self):
                pass

            def __exit__(self, *_):
                lock.acquire()

        def waits():
            with self.assertRaises(coopdl.DeadlineExceeded), coopdl.timeout(SHORT, grace=None):
                with Waiting():
                    pass
            log.append('ended')

        def ends_by_a_hair():
            for _ in range(300):
                when = time.monotonic() + 0.0005
                with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout_at(when):
                    while time.monotonic() < when - 0.00001:
                        pass
            log.append('ended')

        log, lock = [], threading.Lock()
        lock.acquire()
        thread = threading.Thread(target=waits)
        thread.start()
        time.sleep(2 * SHORT)
        traced()
        self.assertEqual(log, [])
        lock.release()
        thread.join()
        thread = threading.Thread(target=ends_by_a_hair)
        thread.start()
        thread.join()
        traced()
        self.assertEqual(log, ['ended', 'ended'])
