# SPDX-License-Identifier: Apache-2.0
"""soak_bodies.py -- what the threads of soak.py do inside their scopes: all that a deadline may
interrupt, most of it without end.

What must hold: a body leaves its thread's things as they were however it ends, if every handler
runs.  So each try that matters is made by `tracked`, which remembers whether its finally has run.
"""
import asyncio
import contextlib
import errno
import os
import queue
import re
import signal
import socket
import sys
import threading
import time
import weakref

import coopdl
from loops import Wrapped

BOUND = 0.005  # seconds: the longest deadline, and the longest C call


class Token:
    """A try statement.  What is raised in its finally after the try has ended well may keep that from
    being noted: such a one does not count."""
    __slots__ = 'begun', 'completed', 'ended', 'where'

    def __init__(self, where):
        self.begun = self.completed = self.ended = False
        self.where = where

    def missed(self):
        return self.begun and not self.completed and not self.ended


def tracked(me, work):
    token = Token(work.__qualname__)
    me.tokens.append(token)
    try:
        token.begun = True
        work()
        token.completed = True
    except coopdl.DeadlineReached as error:
        me.judge_time(error)
        raise
    finally:
        token.ended = True


def step(number):
    """Something to compute, with calls of both kinds."""
    return sum(map(int, str(number)))


def loop(me):
    while True:
        step(me.random.randrange(1000))


def comprehension(me):
    while True:
        [step(number) for number in range(20) if number % 3]


def nested(me):
    def down(depth):
        tracked(me, lambda: down(depth - 1) if depth else loop(me))
    tracked(me, lambda: down(me.random.randrange(5)))


def shielded(me):
    """Nothing is raised here before the shield is left."""
    end = time.monotonic() + me.random.uniform(0, BOUND)
    inside = False
    try:
        with coopdl.shield():
            inside = True
            while time.monotonic() < end:
                step(1)
            inside = False
    except coopdl.DeadlineReached:
        if inside:
            me.count('early', 'in a shield')
        raise
    loop(me)


def locks(me):
    lock = me.random.choice(me.own)
    while True:
        with lock:
            step(1)


def shared_lock(me):
    while True:
        with me.shared:
            step(1)


def condition(me):
    while True:
        with me.condition:
            me.condition.wait(me.random.uniform(0, BOUND))


def through_a_queue(me):
    numbers = queue.Queue(1)
    while True:
        numbers.put(1)
        numbers.get()


def generator(me):
    def numbers():
        token = Token('generator')
        me.tokens.append(token)
        try:
            token.begun = True
            while True:
                yield step(1)
        finally:
            token.ended = True
    for number in numbers():
        if number == 'never':
            break


def forget_loops():
    """An outer deadline in the middle of asyncio's own finally leaves these, as Ctrl-C does.  Each holds
    a loop, with coroutines that are neither run nor closed."""
    asyncio._set_running_loop(None)
    asyncio.set_event_loop(None)
    sys.set_asyncgen_hooks(None, None)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def coroutines(me):
    async def wait():
        token = Token('coroutine')
        me.tokens.append(token)
        try:
            token.begun = True
            await asyncio.sleep(me.random.uniform(0, 2 * BOUND))
            step(1)
            token.completed = True
        finally:
            token.ended = True

    async def both():
        await asyncio.gather(wait(), wait())

    forget_loops()
    while True:
        asyncio.run(both())


class Slow:
    """A destructor, which runs to its end if it has begun."""

    me = None  # until it has been made

    def __init__(self, me):
        self.me = me
        self.itself = self if me.random.random() < 0.3 else None

    def __del__(self):
        if not self.me:
            return
        token = Token('__del__')
        self.me.tokens.append(token)
        token.begun = True
        [step(number) for number in range(3)]
        token.ended = True


def destructors(me):
    def callback(_):
        token = Token('callback')
        me.tokens.append(token)
        token.begun = True
        [step(number) for number in range(3)]
        token.ended = True

    while True:
        thing = Slow(me)
        reference = weakref.ref(thing, callback)
        del thing, reference
        kept = Slow(me)
        references = [weakref.ref(kept, callback)]
        del kept
        references.clear()


def receive(me):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if me.random.random() < 0.5:
            ours.settimeout(10)
        tracked(me, lambda: not_mistaken(me, lambda: ours.recv(1)))


def read(me):
    reading, writing = os.pipe()
    try:
        tracked(me, lambda: not_mistaken(me, lambda: os.read(reading, 1)))
    finally:
        os.close(reading)
        os.close(writing)


def sleep(me):
    tracked(me, lambda: not_mistaken(me, lambda: time.sleep(60)))


def not_mistaken(me, call):
    """A deadline is never taken for a failure by what handles those."""
    try:
        call()
    except Exception as error:
        if getattr(error, 'errno', None) == errno.ETIMEDOUT:
            me.count('mistaken', repr(error))
        raise


def predicate(me):
    while os.path.exists(os.curdir):
        pass
    me.count('mistaken', 'os.path.exists')


PATTERN = re.compile(r'(a+)+\Z')
NUMBER = 7 ** 4000


def c_calls(me):
    kinds = (lambda: PATTERN.fullmatch('a' * 15 + '!'), lambda: str(NUMBER), lambda: int('7' * 4000),
             lambda: sorted(range(200), key=step), lambda: sum(range(10_000)))
    while True:
        me.random.choice(kinds)()


def long_c_calls(me):
    """They would take hours."""
    kinds = (lambda: PATTERN.fullmatch('a' * 100_000 + '!'), lambda: 3 ** 1_000_000_000)
    while True:
        me.random.choice(kinds)()


def child(me):
    """What a forked child does: 0 if it was right."""
    try:
        with coopdl.timeout(0.002) as scope:
            loop(me)
    except coopdl.DeadlineExceeded as error:
        return error.scope is not scope or time.monotonic() < scope.when()
    except SystemExit:
        return False  # the parent's scope, a little later
    return True


def fork(me):
    process = None
    try:
        process = os.fork()
        if process == 0:
            os._exit(1 if child(me) or me.broken == 'child' else 0)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        process = None
        if status not in (0, 124):
            me.count('child', f'status {status}')
    finally:
        if process:
            with contextlib.suppress(ChildProcessError, ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


OFTEN = (loop, comprehension, nested, shielded, locks, shared_lock, condition, through_a_queue, generator,
         destructors, receive, read, sleep, predicate, c_calls, long_c_calls)
SELDOM = coroutines, fork
if hasattr(sys, 'gettotalrefcount'):
    # A debug build aborts where a signal's handler raises in os.stat, which goes on after that.
    OFTEN = tuple(body for body in OFTEN if body is not predicate)


class Things:
    """The locks of one thread."""

    def __init__(self):
        self.condition = threading.Condition(threading.Lock())
        self.semaphore = threading.Semaphore()
        self.recursive = threading.RLock()
        self.lock, self.wrapped = threading.Lock(), Wrapped()
        self.own = self.lock, self.wrapped, self.recursive, self.semaphore, self.condition

    def left_locked(self):
        """Which of them are held though nobody is in a block; from now on they are not."""
        held = [name for name, lock in (('lock', self.lock), ('wrapped', self.wrapped.lock),
                                        ('condition', self.condition._lock)) if lock.locked()]
        held += ['recursive'] * self.recursive._is_owned()
        held += ['semaphore'] * (self.semaphore._value != 1)
        if held:
            Things.__init__(self)
        return held
