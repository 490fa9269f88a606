# SPDX-License-Identifier: Apache-2.0
"""test_behaviour_exit.py -- how a program ends whose budget is over while threads of it go on.

What must hold: DeadlineReached is raised in the main thread first, and then in every other thread
that runs Python; the program ends without the signal that follows after the grace, which is turned
off here.  The main thread's clean-up can use the other threads.  Daemons that nobody waits for are
left behind as ever; a thread that is not inside the budget goes on.
"""
import contextlib
import os
import signal
import subprocess
import sys
import time
import unittest

BUDGETS = 1, 3, 9  # seconds: the next one where an interpreter takes longer to start
GRACE = 1.5
GENEROUS = 10  # seconds late, on a machine that is busy

PROGRAM = """
import hashlib, sys, threading, time
import coopdl

def say(*what):
    print(*what, file=sys.stderr, flush=True)

begun = threading.Event()

# What a thread does.

def computes():
    while True:
        pass

def computes_in_c():
    begun.set()
    hashlib.pbkdf2_hmac('sha512', b'', b'', 10 ** 9)

def swallows():
    for _ in range(5):
        with_suppressed(time.sleep, 60)

def with_suppressed(work, *arguments):
    try:
        work(*arguments)
    except BaseException as error:
        say('swallowed', type(error).__name__)

def insists():
    while True:
        try:
            time.sleep(60)
        except Exception:
            pass

def locks():
    lock = threading.Lock()
    with lock, lock:
        pass

def receives():
    import socket
    ours, theirs = socket.socketpair()
    ours.recv(1)

def inside_a_scope():
    with coopdl.timeout(3600):
        receives()

def joins():
    thread = threading.Thread(target=computes)
    thread.start()
    thread.join()

def cleans_up():
    try:
        time.sleep(60)
    finally:
        time.sleep(0.6)
        say('the thread cleaned up')

# What the main thread does.

def waits():
    print('ready', flush=True)
    time.sleep(60)

def thread(work, daemon='', then=waits):
    threading.Thread(target=globals()[work], daemon=bool(daemon)).start()
    then()

def raw_thread():
    import _thread
    def computes_then_frees():
        try:
            computes()
        finally:
            free.release()
    free = threading.Lock()
    free.acquire()
    _thread.start_new_thread(computes_then_frees, ())
    try:
        waits()
    finally:
        free.acquire()

def destroyed_as_a_thread_ends():
    import _thread
    class Thing:
        def __init__(self):
            self.end = coopdl.deadline() + 0.5
        def __del__(self):
            try:
                while time.monotonic() < self.end:
                    pass
                say('the destructor has ended')
            finally:
                free.release()
    free = threading.Lock()
    free.acquire()
    _thread.start_new_thread(lambda thing: None, (Thing(),))
    try:
        waits()
    finally:
        free.acquire()

def c_thread():
    import ctypes
    libc = ctypes.CDLL(None)
    kind = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    function, number = kind(lambda _: with_suppressed(computes)), ctypes.c_ulong()
    libc.pthread_create(ctypes.byref(number), None, function, None)
    try:
        waits()
    finally:
        libc.pthread_join(number, None)

def c_code_in_a_thread():
    thread('computes_in_c', then=begun.wait)
    waits()

def is_done():
    thread('computes', then=lambda: print('ready', flush=True))

def executor():
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        # They keep what is raised.
        futures = [executor.submit(work) for work in (receives, receives, computes)]
        waits()

def asyncio_executor():
    import asyncio
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(None, receives)
        print('ready', flush=True)
        await future
    asyncio.run(main())

def loop_in_a_thread():
    import asyncio
    async def close():
        await asyncio.sleep(0.05)
        say('the loop cleaned up')
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        waits()
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()

def thread_in_clean_up():
    try:
        waits()
    finally:
        thread('computes', then=lambda: None)

def excluded():
    import ctypes
    end = time.monotonic() + coopdl.remaining() + 1
    def work():
        while time.monotonic() < end:
            event.wait(0.01)
        say('the thread was left alone')
    def name(text, PR_SET_NAME=15):
        ctypes.CDLL(None).prctl(PR_SET_NAME, text)
    event = threading.Event()
    name(b'left-alone')  # which a thread inherits
    thread = threading.Thread(target=work)
    thread.start()
    name(b'python3')
    waits()

def subinterpreter():
    import importlib
    name = '_interpreters' if sys.version_info >= (3, 13) else '_xxsubinterpreters'
    interpreters = importlib.import_module(name)
    number = interpreters.create()
    code = '''if True:
        import sys, time
        end = time.monotonic() + %f
        while time.monotonic() < end:
            try:
                time.sleep(0.001)
            except OSError:
                pass
        sys.stderr.write("the interpreter was left alone")
        sys.stderr.flush()
        '''
    def work():
        interpreters.run_string(number, code % (coopdl.remaining() + 1))
    threading.Thread(target=work).start()
    waits()

def begins_late():
    real = threading.get_native_id
    def slow():  # what a thread calls before it says that it has begun
        end = time.monotonic() + coopdl.remaining() + 0.5
        while time.monotonic() < end:
            pass
        return real()
    threading.get_native_id = slow
    thread = threading.Thread(target=computes)
    print('ready', flush=True)
    try:
        thread.start()
    finally:
        while not thread._started.is_set():
            time.sleep(0.01)
        thread.join()

def begins_and_ends():
    def short():
        pass
    print('ready', flush=True)
    while True:
        threads = [threading.Thread(target=short) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

try:
    globals()[sys.argv[1]](*sys.argv[2:])
finally:
    say('the main thread cleaned up')
"""


class NotReady(Exception):
    """The budget was over before the program had begun."""


class Program:
    def __init__(self, budget, grace, *arguments, **variables):
        self.end = time.monotonic() + budget
        self.process = subprocess.Popen(
            [sys.executable, '-c', PROGRAM, *arguments], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, COOPDL_BUDGET=f'{budget}s', COOPDL_GRACE=grace, **variables))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


# From 3.14 on a program that is given by -c ends as by Ctrl-C.
UNHANDLED = -signal.SIGINT if sys.version_info >= (3, 14) else 1


class Exit(unittest.TestCase):
    def ended(self, program, status=UNHANDLED, said='', at_least=0):
        """With this status, so many seconds after the budget's end; what it has said."""
        out, err = program.process.communicate(timeout=30)
        took = time.monotonic() - program.end
        if not out.startswith('ready\n'):
            raise NotReady
        err += f'({program.process.args[3:]})'
        self.assertEqual(program.process.returncode, status, err)
        self.assertIn('the main thread cleaned up', err)
        self.assertIn(said, err)
        # Threads that write at once write between the words of each other's lines.
        self.assertRegex(err, r'(?s)\bcoopdl.*DeadlineReached')
        self.assertNotRegex(err, r'\nTimeoutError: [^\n]*\n(?!\nThe above exception)')
        self.assertGreaterEqual(took, at_least, 'early')
        self.assertLess(took, at_least + GENEROUS, 'late')
        return err

    def each(self, check, *programs, **options):
        """Programs that run at once: with a longer budget where one of them is late."""
        for budget in BUDGETS:
            with contextlib.suppress(NotReady), contextlib.ExitStack() as stack:
                started = [stack.enter_context(Program(budget, 'off', *program, **options))
                           for program in programs]
                for program in started:
                    check(program)
                return
        self.fail(f'a program does not begin in {BUDGETS[-1]} s')

    def test_threads(self):
        """Nothing holds the program up, and each thread says where it was."""
        def check(program):
            err = self.ended(program, said='Exception in thread Thread-')
            self.assertGreaterEqual(err.count('DeadlineReached'), 2, err)

        self.each(check, *[('thread', kind) for kind in
                           ('computes', 'insists', 'locks', 'receives', 'inside_a_scope', 'joins')])

    def test_swallowed(self):
        """What is swallowed is raised again."""
        self.each(lambda program: self.assertEqual(
            self.ended(program).count('swallowed DeadlineReached'), 5), ('thread', 'swallows'))

    def test_clean_up(self):
        """Of a thread: it is waited for.  Of the main thread: other threads work for it."""
        self.each(lambda program: self.ended(program, said='the thread cleaned up', at_least=0.6),
                  ('thread', 'cleans_up'))
        self.each(lambda program: self.ended(program, said='the loop cleaned up'),
                  ('loop_in_a_thread',))

    def test_threads_of_other_kinds(self):
        self.each(self.ended, ('raw_thread',), ('thread_in_clean_up',))
        self.each(lambda program: self.ended(program, said='swallowed DeadlineReached'), ('c_thread',))

    def test_a_destructor_that_only_c_code_has_called(self):
        """A thread's arguments are destroyed when its function has returned."""
        def check(program):
            err = self.ended(program, said='the destructor has ended', at_least=0.5)
            self.assertNotIn('ignored', err)

        self.each(check, ('destroyed_as_a_thread_ends',))

    def test_executors(self):
        self.each(self.ended, ('executor',), ('asyncio_executor',))

    def test_the_main_thread_is_done(self):
        """It only waits for the other: there nothing is raised in it."""
        def check(program):
            err = self.ended(program, 0)
            self.assertEqual(err.count('DeadlineReached'), 1, err)
            self.assertNotIn('ignored', err)

        self.each(check, ('is_done',))

    def test_threads_that_begin_and_end(self):
        """A thread that is raised in has begun, and is taken off the list."""
        def check(program):
            err = self.ended(program)
            self.assertNotIn('KeyError', err)
            self.assertNotIn('_delete', err)

        self.each(check, ('begins_and_ends',), ('begins_and_ends',), ('begins_late',))

    def test_not_inside(self):
        def check(program):
            self.ended(program, said='was left alone', at_least=0.5)

        self.each(check, ('excluded',), COOPDL_EXCLUDE_THREADS='left-alone')
        self.each(check, ('subinterpreter',))

    def test_daemons(self):
        """They are left behind, and say nothing."""
        def check(program):
            err = self.ended(program)
            self.assertEqual(err.count('DeadlineReached'), 1, err)

        self.each(check, ('thread', 'computes', 'daemon'), ('thread', 'locks', 'daemon'),
                  ('thread', 'receives', 'daemon'))

    def test_the_signal(self):
        """A thread that nothing ends holds the program up for no longer than the grace."""
        for budget in BUDGETS:
            with contextlib.suppress(NotReady), \
                    Program(budget, f'{GRACE}s', 'c_code_in_a_thread') as program:
                self.ended(program, -signal.SIGTERM, at_least=GRACE)
                return
        self.fail(f'a program does not begin in {BUDGETS[-1]} s')


if __name__ == '__main__':
    unittest.main()
