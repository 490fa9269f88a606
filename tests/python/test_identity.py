# SPDX-License-Identifier: Apache-2.0
"""test_identity.py -- C code in other threads ends at the deadline, by the main thread's identity.

What must hold: nobody can tell that the identity was lent. The main thread alone runs the handlers of
signals and may set them; no signal is lost; a forked child's main thread is the one that it has.
"""
import asyncio
import collections
import contextlib
import ctypes
import functools
import itertools
import logging
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import unittest

import coopdl
from scopes import DEBUG, LOADED, Worker

ROUNDS = 10 if LOADED else 30
PATIENCE = 30  # seconds
DEADLINE = 0.01


def regex():
    re.fullmatch(r'(a+)+\Z', 'a' * 100_000 + '!')


def power():
    3 ** 100_000_000


def stats():
    """C code that looks at nothing and gives the GIL away, for some 50 ms."""
    collections.deque(map(os.stat, itertools.repeat('/', 30_000)), maxlen=0)


# In a debug build os.stat aborts where a signal's handler raises in it.
BLOCKS = (regex,) if DEBUG else (regex, stats)


def chain(*calls):
    """They are called by C code, with no bytecode in between."""
    collections.deque(map(functools.partial.__call__, map(functools.partial, calls)), maxlen=0)


def look_late():
    """C code that looks at nothing for some 10 ms, and then at its signals."""
    chain(functools.partial(sum, range(1_000_000)), regex)


def kernel_handler(number):
    """The address that the kernel calls."""
    action = (ctypes.c_void_p * 64)()
    assert ctypes.CDLL(None).sigaction(int(number), None, action) == 0
    return action[0]


class Computing:
    """Threads that call `block` in scopes, until the end of the `with` statement."""

    def __init__(self, block, threads=2):
        self.block, self.over, self.errors, self.rounds = block, False, [], 0
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        while not self.over and not self.errors:
            try:
                with coopdl.timeout(random.uniform(0, DEADLINE)) as scope:
                    self.block()
            except coopdl.DeadlineExceeded as error:
                if error.scope is not scope:
                    self.errors.append(error)
            except BaseException as error:
                self.errors.append(error)
            else:
                if self.block is not stats:
                    self.errors.append(AssertionError('it has ended'))
            self.rounds += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


class Received:
    """Counts a signal, and notes which threads its handler has run in."""

    def __init__(self, number=signal.SIGUSR1):
        self.number = number

    def __enter__(self):
        self.count, self.threads = 0, set()
        self.before = signal.signal(self.number, self.handle)
        return self

    def handle(self, *_):
        self.count += 1
        self.threads.add(threading.current_thread())

    def __exit__(self, *_):
        signal.signal(self.number, self.before)


class Lent(unittest.TestCase):
    def test_the_main_thread_is_the_main_thread(self):
        """Whenever it has the GIL, which it takes from the others all the time."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-5)
        for block in BLOCKS:
            with self.subTest(block.__name__), Computing(block) as computing:
                until = time.monotonic() + PATIENCE
                while computing.rounds < ROUNDS and time.monotonic() < until:
                    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
                    time.sleep(0)
                self.assertGreaterEqual(computing.rounds, ROUNDS)

    def test_other_threads_are_not(self):
        """A worker has given back what it was lent when it cleans up, and behind its scope."""
        seen = []

        def look(where):
            """An error here would be replaced at the scope's end."""
            try:
                signal.signal(signal.SIGUSR2, signal.SIG_DFL)
            except ValueError:
                seen.append(where)
            else:
                seen.append(f'{where}, as the main thread')

        def work():
            for _ in range(ROUNDS):
                with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout(0.001):
                    try:
                        regex()
                    finally:
                        look('inside')
                look('behind')

        Worker().call(work)
        self.assertEqual(seen, ['inside', 'behind'] * ROUNDS)

    def test_signals_wait_for_the_main_thread(self):
        """Each one, whichever thread it comes to."""
        for block in (*BLOCKS, look_late):
            with self.subTest(block.__name__), Received() as received, Computing(block) as computing:
                to = [threading.main_thread(), *computing.threads]
                for sent in range(1, ROUNDS):
                    signal.pthread_kill(to[sent % 3].ident, signal.SIGUSR1)
                    until = time.monotonic() + PATIENCE
                    while received.count < sent and time.monotonic() < until:
                        time.sleep(0.0001)
                    self.assertEqual(received.count, sent)
                self.assertEqual(received.threads, {threading.main_thread()})

    def test_signals_while_the_identity_is_lent(self):
        """It is lent for as long as C code does not look."""
        ringing = Received(signal.SIGALRM)
        with ringing:
            before = kernel_handler(signal.SIGALRM)
            with Computing(look_late) as computing:
                signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
                try:
                    until = time.monotonic() + PATIENCE
                    while computing.rounds < ROUNDS and time.monotonic() < until:
                        time.sleep(0.001)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            self.assertEqual(kernel_handler(signal.SIGALRM), before)
        self.assertGreaterEqual(computing.rounds, ROUNDS)
        self.assertEqual(ringing.threads, {threading.main_thread()})

    def test_ctrl_c(self):
        with Computing(power) as computing:
            for turn in range(ROUNDS):
                with self.assertRaises(KeyboardInterrupt):
                    signal.pthread_kill(computing.threads[turn % 2].ident, signal.SIGINT)
                    until = time.monotonic() + PATIENCE
                    while time.monotonic() < until:
                        time.sleep(0.0001)

    def test_an_event_loop_gets_its_signals(self):
        async def wait_for_signals():
            arrived = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, arrived.set)
            for _ in range(ROUNDS):
                os.kill(os.getpid(), signal.SIGUSR1)
                await asyncio.wait_for(arrived.wait(), PATIENCE)
                arrived.clear()

        with Computing(regex):
            asyncio.run(wait_for_signals())

    def test_a_wakeup_descriptor_gets_them_alone(self):
        """An event loop's would be woken, or be closed by then and be a file of another thread's."""
        ours, theirs = socket.socketpair()
        with ours, theirs, Received() as received:
            theirs.setblocking(False)
            before = signal.set_wakeup_fd(theirs.fileno())
            try:
                with Computing(regex) as computing:
                    until = time.monotonic() + PATIENCE
                    while computing.rounds < ROUNDS and time.monotonic() < until:
                        with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout(0.001):
                            power()
                signal.raise_signal(signal.SIGUSR1)
            finally:
                signal.set_wakeup_fd(before)
            theirs.close()
            self.assertEqual((ours.recv(1000), received.count), (bytes([signal.SIGUSR1]), 1))

    def test_an_action_that_is_changed_meanwhile_stays(self):
        """By the main thread, between two loans, and by C code that has no GIL."""
        with Computing(regex):
            for _ in range(ROUNDS):
                for action in signal.SIG_IGN, signal.default_int_handler, signal.SIG_DFL:
                    signal.signal(signal.SIGUSR1, action)
                    time.sleep(0.001)
                    self.assertEqual(signal.getsignal(signal.SIGUSR1), action)
                    if action is signal.SIG_IGN:
                        os.kill(os.getpid(), signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def test_both_at_once(self):
        """The main thread has deadlines of its own."""
        with Computing(regex, 1):
            for _ in range(ROUNDS):
                with self.assertRaises(coopdl.DeadlineExceeded), coopdl.timeout(DEADLINE / 2):
                    power()

    def test_a_child_that_is_forked_meanwhile(self):
        """By C code: the loan has not been ended by then.  The child gets its signals, has a main thread,
        and lends that one's identity."""
        statuses = []

        def compute():
            with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout(0.002):
                regex()

        def child():
            signal.raise_signal(signal.SIGUSR1)
            if received.count != 1:
                return 1
            thread = threading.Thread(target=compute, daemon=True)
            thread.start()
            thread.join(PATIENCE / 3)
            if thread.is_alive():
                return 2
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            return 7

        def fork():
            parent = os.getpid()
            long = functools.partial(sum, range(500_000))
            try:
                with coopdl.timeout(0.002, inherit=False):
                    try:
                        chain(long, os.fork, long)
                    finally:
                        if os.getpid() != parent:
                            os._exit(child())
            except coopdl.DeadlineExceeded:
                pass
            finally:
                if os.getpid() != parent:
                    os._exit(8)
            with contextlib.suppress(ChildProcessError):  # the deadline came before the fork
                _, status = os.wait()
                statuses.append(os.waitstatus_to_exitcode(status))

        def work():
            until = time.monotonic() + PATIENCE
            while len(statuses) < ROUNDS and time.monotonic() < until:
                fork()

        with Received() as received:
            Worker().call(work)
        self.assertEqual(statuses, [7] * ROUNDS)
        self.assertTrue(logging._lock.acquire(blocking=False))  # its callbacks have run
        logging._lock.release()


class Without(unittest.TestCase):
    def test_where_the_program_takes_the_handler_away(self):
        """C code in workers ends when it ends, and Python code at its deadline."""
        ours = [number for number in signal.valid_signals()
                if getattr(signal.getsignal(number), '__name__', None) == '_on_signal']
        self.assertEqual(len(ours), 1)
        handler = signal.signal(ours[0], signal.SIG_DFL)
        del handler

        def loop():
            while True:
                pass

        with Computing(loop, 1) as computing:
            until = time.monotonic() + PATIENCE
            while computing.rounds < ROUNDS and time.monotonic() < until:
                time.sleep(0.001)
        self.assertGreaterEqual(computing.rounds, ROUNDS)
