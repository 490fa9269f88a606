# SPDX-License-Identifier: Apache-2.0
"""test_waits.py -- a wait for another thread that ends at its deadline has got nothing, and one
that has got something says so; and outside of a scope nobody can tell that its function has been
replaced.

Between a call that returns and the bytecode that keeps what it returned an exception may come.
So a result is kept by C code: a list is extended by map(), which calls and keeps in one step.
"""
import contextlib
import inspect
import multiprocessing
import queue
import random
import subprocess
import sys
import threading
import time
import unittest

import coopdl
from scopes import BOUND, SHORT, Expiry, Main, Worker, spin

ROUNDS = 150
SCOPE = 0.002
spawn = multiprocessing.get_context('spawn')


def kept(function, *arguments):
    """What the call has returned before its deadline ended the scope, in a list, or nothing."""
    got = []
    with contextlib.suppress(coopdl.DeadlineExceeded):
        with coopdl.timeout(SCOPE):
            got.extend(map(function, *([argument] for argument in arguments)))
    return got


def near_the_deadline():
    time.sleep(SCOPE + random.uniform(-0.0005, 0.0005))


class Races(Worker, unittest.TestCase):
    """What a thread waits for comes when the deadline passes."""

    def lock(self, lock, *arguments):
        theirs, got, ready, done = False, [], threading.Barrier(2), threading.Barrier(2)
        outcomes = set()

        def wait():
            for _ in range(ROUNDS):
                ready.wait()
                got.extend(kept(lock.acquire, *arguments))
                if got:
                    self.assertEqual(got, [True])
                    self.assertFalse(theirs, 'two threads have the lock')
                    lock.release()
                outcomes.add(bool(got))
                done.wait()
                got.clear()

        thread = threading.Thread(target=self.call, args=(wait,))
        thread.start()
        for _ in range(ROUNDS):
            lock.acquire()
            theirs = True
            ready.wait()
            near_the_deadline()
            theirs = False
            lock.release()
            done.wait()
            self.assertTrue(lock.acquire(False), 'it is held by nobody')
            lock.release()
        thread.join()
        self.assertIn(False, outcomes)

    def test_lock(self):
        self.lock(threading.Lock(), True)

    def test_lock_timed(self):
        self.lock(threading.Lock(), True, 30)

    def test_rlock(self):
        self.lock(threading.RLock(), True)

    def test_semaphore_of_processes(self):
        self.lock(spawn.Lock(), True)

    def test_simple_queue(self):
        q, outcomes = queue.SimpleQueue(), set()

        def run():
            for i in range(ROUNDS):
                putter = threading.Thread(target=lambda: (near_the_deadline(), q.put(i)))  # noqa: B023
                putter.start()
                got = kept(q.get, True)
                putter.join()
                outcomes.add(bool(got))
                self.assertEqual(got or [q.get(False)], [i])
                self.assertTrue(q.empty())

        self.call(run)
        self.assertIn(False, outcomes)


class Joins(Expiry):
    def test_a_thread_that_is_not_joined_is_alive(self):
        for timeout in None, 30:
            event = threading.Event()
            thread = threading.Thread(target=event.wait)
            thread.start()
            self.ends(lambda: thread.join(timeout))  # noqa: B023
            self.assertTrue(thread.is_alive())
            event.set()
            thread.join()
            self.assertFalse(thread.is_alive())

    def test_a_thread_that_is_started_has_begun(self):
        """One that has not is not awaited at the end, where the interpreter up to 3.12 crashes."""
        class Late(threading.Thread):
            def __init__(self, log):
                super().__init__()
                self.log = log

            def _bootstrap(self):
                self.log.append(self)
                time.sleep(SHORT * 3)
                super()._bootstrap()

        class Server:
            def __init__(self, log):
                self.thread = Late(log)

            def __enter__(self):
                self.thread.start()

            def __exit__(self, *_):
                pass

        def by_itself(log):
            Late(log).start()
            spin()

        def in_enter(log):
            with Server(log):
                spin()

        for body in by_itself, in_enter:
            with self.subTest(body.__name__):
                log, _ = self.ends_begun(body)
                for thread in log:
                    self.assertTrue(thread._started.is_set())
                    thread.join()

    def test_a_thread_that_never_begins(self):
        event = threading.Event()

        class Never(threading.Thread):
            def _bootstrap(self):
                event.wait()

        thread = Never(daemon=True)
        try:
            self.ends(thread.start, grace=SHORT)
        finally:
            event.set()


class MainJoins(Main, Joins, unittest.TestCase):
    pass


class WorkerJoins(Worker, Joins, unittest.TestCase):
    pass


class GivenBack(Expiry, Worker, unittest.TestCase):
    """A wait on whose success a release depends goes on behind the deadline."""

    def condition(self, condition, lock):
        waiting = threading.Event()

        def notify():
            waiting.wait()
            condition.acquire()
            condition.notify()
            time.sleep(0.15)  # past the deadline, with the lock
            self.assertFalse(lock.acquire(False), 'somebody has released what was ours')
            condition.release()

        def body():
            with condition:
                waiting.set()
                condition.wait()

        thread = threading.Thread(target=notify)
        thread.start()
        self.ends(body, 0.1)
        thread.join()
        self.assertTrue(lock.acquire(False), 'it is held by nobody')
        lock.release()

    def test_condition(self):
        lock = threading.Lock()
        self.condition(threading.Condition(lock), lock)

    def test_condition_of_processes(self):
        lock = spawn.Lock()
        self.condition(spawn.Condition(lock), lock)

    def test_semaphore(self):
        semaphore, inside, held = threading.Semaphore(1), threading.Event(), threading.Event()

        def hold():
            inside.wait()
            with semaphore._cond:
                held.set()
                time.sleep(0.1)

        def body():
            with semaphore:
                inside.set()
                held.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        self.ends(body, 0.05)
        thread.join()
        self.assertTrue(semaphore.acquire(False), 'it was not given back')

    def test_a_wait_to_give_back_ends_after_the_grace(self):
        class Resource:
            def __enter__(self):
                pass

            def __exit__(self, *_):
                lock.acquire()

        lock = threading.Lock()
        lock.acquire()

        def body():
            with Resource():
                pass

        took = time.monotonic()
        self.ends(body, 0.02, grace=0.1)
        self.assertGreaterEqual(time.monotonic() - took, 0.12)


class CleanUp(Expiry, Worker, unittest.TestCase):
    def test_a_wait_in_clean_up_is_left_alone(self):
        lock = threading.Lock()
        lock.acquire()
        threading.Timer(0.1, lock.release).start()
        got = []

        def body():
            try:
                threading.Event().wait()
            finally:
                got.append(lock.acquire())

        self.ends(body)
        self.assertEqual(got, [True])

    def test_it_has_a_deadline_of_its_own(self):
        lock, took = threading.Lock(), []
        lock.acquire()

        def body():
            try:
                threading.Event().wait()
            finally:
                start = time.monotonic()
                with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout(0.05):
                    lock.acquire()
                took.append(time.monotonic() - start)

        self.ends(body)
        self.assertGreaterEqual(took[0], 0.05)
        self.assertLess(took[0], BOUND)


NAN = float('nan')  # some wait for ever
CALLS = [((), {}), ((True,), {}), ((False,), {}), ((1,), {}), ((True, 0), {}), ((True, 0.001), {}),
         ((), {'timeout': 0.001}), ((False, 1), {}), ((), {'blocking': False, 'timeout': 1}),
         ((True, -2), {}), ((True, -2.0), {}),
         ((True, -1), {}), ((True, None), {}), (('x',), {}), ((True, 'x'), {}),
         ((True, 1e300), {}), ((True, NAN), {}), ((True, 1, 1), {}), ((), {'foo': 1}),
         ((True,), {'blocking': True}), ((), {'block': False}), ((), {'block': True, 'timeout': 0.001}),
         ((), {'blocking': True, 'timeout': 0.001}), ((True, 10**30), {}), ((10**30, 0.001), {}),
         ((2, 0.001), {}),
         ((True, True), {}), (([], 0.001), {})]


def outcome(function, arguments, keywords):
    try:
        return repr(function(*arguments, **keywords))
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def outcomes(make, name, waits):
    """Of each call on a new object; those that would wait for ever are left out."""
    return {f'{name} {arguments} {keywords}': outcome(getattr(make(), name), arguments, keywords)
            for arguments, keywords in CALLS if not waits(arguments, keywords)}


def taken(kind):
    lock = kind()
    lock.acquire()
    return lock


def waits_for_ever(arguments, keywords):
    return not keywords and (arguments in ((), (True,), (1,), ('x',), (True, -1), (True, None))
                             or arguments[1:2] == (NAN,))


def never(*_):
    return False


class Recursive(type(threading.RLock())):
    pass


def seen():
    """All that a program may see of the functions."""
    lock = type(threading.Lock())
    functions = [lock.acquire, lock.acquire_lock, lock.__enter__, Recursive.acquire,
                 Recursive.__enter__, queue.SimpleQueue.get]
    for function in functions:
        yield repr(function), function.__doc__, function.__qualname__, \
            function.__text_signature__, outcome(inspect.signature, (function,), {})
    yield outcome(inspect.signature, (threading.Lock().acquire,), {}).partition(' at 0x')[0]
    for make in threading.Lock, threading.RLock, Recursive, queue.SimpleQueue, lambda: spawn.Lock()._semlock:
        names = ['get'] if make is queue.SimpleQueue else ['acquire']
        for name in names:
            yield outcomes(make, name, waits_for_ever if name == 'get' else never)
    yield outcomes(lambda: taken(threading.Lock), 'acquire', waits_for_ever)
    yield outcomes(lambda: taken(lambda: spawn.Lock()._semlock), 'acquire', waits_for_ever)


class Transparent(Worker, unittest.TestCase):
    maxDiff = None

    def test_nobody_can_tell(self):
        before = subprocess.run([sys.executable, '-c', 'import test_waits; print(list(test_waits.seen()))'],
                                capture_output=True, text=True, cwd=sys.path[0], check=True).stdout
        after = []

        def run():
            with coopdl.timeout(60):
                pass
            after.append(f'{list(seen())}\n')
            with coopdl.timeout(60):
                after.append(f'{list(seen())}\n')

        self.call(run)
        for text in after:
            self.assertEqual(text, before)

    def test_a_method_that_was_taken_before(self):
        subprocess.run([sys.executable, '-c', '''if True:
            import faulthandler, threading, coopdl
            faulthandler.dump_traceback_later(20, exit=True)
            lock = threading.Lock()
            acquire, condition, ended = lock.acquire, threading.Condition(lock), []
            acquire()
            def run():
                try:
                    with coopdl.timeout(0.02):
                        acquire()
                except coopdl.DeadlineExceeded:
                    ended.append(True)
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            thread.join(30)
            assert ended
        '''], check=True)

    def run_without_the_preload(self, source):
        environment = {'PATH': '/usr/bin:/bin', 'PYTHONPATH': ':'.join(filter(None, sys.path))}
        subprocess.run([sys.executable, '-c', source], check=True, env=environment)

    def test_without_the_preload(self):
        self.run_without_the_preload('''if True:
            import faulthandler, queue, threading, time, coopdl
            faulthandler.dump_traceback_later(20, exit=True)
            assert not coopdl.preloaded()
            lock, event = threading.Lock(), threading.Event()
            ended = []
            other = threading.Thread(target=event.wait)
            other.start()
            lock.acquire()
            def run():
                for wait in (lock.acquire, lambda: lock.acquire(timeout=60), queue.SimpleQueue().get,
                             other.join, lambda: other.join(60)):
                    start = time.monotonic()
                    try:
                        with coopdl.timeout(0.02):
                            wait()
                    except coopdl.DeadlineExceeded:
                        assert time.monotonic() - start < 30
                        ended.append(wait)
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            event.set()
            assert len(ended) == 5, ended
        ''')

    def test_many_without_the_preload(self):
        """CPython took a time-out that had just run out for none, and waited for ever."""
        self.run_without_the_preload('''if True:
            import faulthandler, queue, threading, coopdl
            faulthandler.dump_traceback_later(60, exit=True)
            ended = []
            def run():
                for _ in range(500):
                    try:
                        with coopdl.timeout(0.001):
                            queue.SimpleQueue().get()
                    except coopdl.DeadlineExceeded:
                        ended.append(True)
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            assert len(ended) == 500, ended
        ''')
