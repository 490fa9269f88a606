# SPDX-License-Identifier: Apache-2.0
"""test_coexistence.py -- scopes beside what else has its hands on signals, threads and
exceptions: event loops, test runners, tracebacks, other handlers, Ctrl-C."""
import asyncio
import faulthandler
import importlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import unittest
from unittest import mock

import coopdl
from behaviour import DEADLINE, WORST, in_worker
from programs import PATIENCE
from scopes import LOADED

ROUNDS = 30
BUSY = 20 * DEADLINE if LOADED else DEADLINE


class Scoped(unittest.TestCase):
    """ends(block): the block is ended by a scope, never early.  What is to happen in it before needs
    time to begin on a machine that is busy."""

    def ends(self, block, seconds=DEADLINE):
        with self.assertRaises(coopdl.DeadlineExceeded) as caught:
            with coopdl.timeout(seconds) as scope:
                block()
        self.assertIs(caught.exception.scope, scope)
        self.assertGreaterEqual(time.monotonic(), scope.when())
        self.assertLessEqual(time.monotonic(), scope.when() + WORST)
        return caught.exception


class Asyncio(Scoped):
    def loop_ends(self):
        cleaned = []

        async def forever():
            try:
                await asyncio.sleep(30)
            finally:
                await asyncio.sleep(0.01)
                cleaned.append(True)

        self.ends(lambda: asyncio.run(forever()), BUSY)
        self.assertEqual(cleaned, [True])

    def test_a_scope_outside_ends_the_loop(self):
        self.loop_ends()

    def test_a_scope_outside_ends_the_loop_in_a_worker(self):
        in_worker(self.loop_ends)

    def busy_ends(self):
        async def busy():
            while True:
                pass
        self.ends(lambda: asyncio.run(busy()))

    def test_a_coroutine_that_never_yields(self):
        self.busy_ends()

    def test_a_coroutine_that_never_yields_in_a_worker(self):
        in_worker(self.busy_ends)

    def test_another_loop_afterwards(self):
        async def answer():
            await asyncio.sleep(0.001)
            return 42
        self.loop_ends()
        self.assertEqual(asyncio.run(answer()), 42)

    def test_its_own_timeouts_inside(self):
        async def waits():
            await asyncio.wait_for(asyncio.sleep(30), 0.01)
        with coopdl.timeout(30) as scope:
            with self.assertRaises(asyncio.TimeoutError) as caught:
                asyncio.run(waits())
        self.assertNotIsInstance(caught.exception, coopdl.DeadlineExceeded)
        self.assertFalse(scope.expired())


class Pytest(unittest.TestCase):
    def run_pytest(self, source, *needs, plugin='', **variables):
        """pytest on a file of its own, with a plugin of these lines."""
        for name in ('pytest', *needs):
            if importlib.util.find_spec(name) is None:
                self.skipTest(f'no module {name}')
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'test_it.py')
            with open(path, 'w') as file:
                file.write('import time, coopdl, pytest\n' + textwrap.dedent(source))
            with open(os.path.join(directory, 'conftest.py'), 'w') as file:
                file.write(textwrap.dedent(plugin))
            return subprocess.run(
                [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', path],
                cwd=directory, capture_output=True, text=True, timeout=PATIENCE,
                env={**os.environ, **variables})

    def pytest(self, source, *needs):
        """Its report: what passed and failed, and the text."""
        done = self.run_pytest(source, *needs)
        text = done.stdout + done.stderr
        counts = {what: int(count) for count, what
                  in re.findall(r'(\d+) (passed|failed|error)', (done.stdout.splitlines() or [''])[-1])}
        return counts, text

    def test_a_test_that_expects_it(self):
        counts, text = self.pytest('''
            def test_ends():
                with pytest.raises(coopdl.DeadlineExceeded):
                    with coopdl.timeout(0.05):
                        time.sleep(30)
            def test_after_it():
                time.sleep(0.05)
            ''')
        self.assertEqual(counts, {'passed': 2}, text)

    def test_a_test_that_does_not(self):
        counts, text = self.pytest('''
            @coopdl.timeout(0.05)
            def test_slow():
                time.sleep(30)
            def test_after_it():
                time.sleep(0.05)
            ''')
        self.assertEqual(counts, {'passed': 1, 'failed': 1}, text)
        self.assertIn('DeadlineExceeded', text)
        self.assertIn('time.sleep(30)', text)

    def test_a_budget_over_all(self):
        """It writes its report, as on Ctrl-C, however long that computes."""
        done = self.run_pytest('''
            def test_first():
                pass
            def test_hangs():
                time.sleep(60)
            ''', plugin='''
            import time
            def pytest_sessionfinish():
                end = time.process_time() + 0.3
                while time.process_time() < end:
                    pass
            ''', COOPDL_BUDGET='20s' if LOADED else '3s', COOPDL_GRACE='30s')
        self.assertNotIn('INTERNALERROR', done.stdout + done.stderr)
        self.assertRegex(done.stdout, r'\n1 passed in')
        self.assertIn('DeadlineReached', done.stdout)
        # pytest has swallowed it.  Where it takes itself down slowly, it is raised again, behind the
        # report.
        ended = [2] if 'Traceback' not in done.stderr else [1, -signal.SIGINT]
        self.assertIn(done.returncode, ended, done.stderr)

    def test_pytest_timeout_further_away(self):
        for method in 'signal', 'thread':
            counts, text = self.pytest(f'''
                @pytest.mark.timeout(10, method='{method}')
                def test_ends():
                    with pytest.raises(coopdl.DeadlineExceeded):
                        with coopdl.timeout(0.05):
                            time.sleep(30)
                ''', 'pytest_timeout')
            self.assertEqual(counts, {'passed': 1}, text)

    def test_pytest_timeout_nearer(self):
        counts, text = self.pytest('''
            @pytest.mark.timeout(0.1, method='signal')
            def test_hangs():
                with coopdl.timeout(30):
                    time.sleep(30)
            def test_after_it():
                with pytest.raises(coopdl.DeadlineExceeded):
                    with coopdl.timeout(0.05):
                        time.sleep(30)
            ''', 'pytest_timeout')
        self.assertEqual(counts, {'passed': 1, 'failed': 1}, text)
        self.assertRegex(text, r'Timeout \(?>0\.1s')


class Faulthandler(Scoped):
    def test_a_dump_meanwhile(self):
        dump = ''
        for _ in range(20):  # on a busy machine the dump may come after the deadline
            with tempfile.TemporaryFile('w+') as file:
                faulthandler.dump_traceback_later(DEADLINE / 2, file=file)
                self.addCleanup(faulthandler.cancel_dump_traceback_later)
                self.ends(lambda: time.sleep(30))
                faulthandler.cancel_dump_traceback_later()
                file.seek(0)
                dump = file.read()
            if dump:
                break
        self.assertIn('test_a_dump_meanwhile', dump)

    def test_a_dump_on_a_signal(self):
        with tempfile.TemporaryFile('w+') as file:
            faulthandler.register(signal.SIGUSR1, file=file, all_threads=False)
            self.addCleanup(faulthandler.unregister, signal.SIGUSR1)
            timer = threading.Timer(DEADLINE / 2, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            self.ends(lambda: time.sleep(30))
            timer.join()
            file.seek(0)
            self.assertIn('test_a_dump_on_a_signal', file.read())


class Stop(Exception):
    pass


class Signals(Scoped):
    def handle(self, number, handler):
        self.addCleanup(signal.signal, number, signal.signal(number, handler))

    def ticks(self, handler):
        self.handle(signal.SIGALRM, handler)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, DEADLINE / 10, DEADLINE / 10)

    def test_handlers_that_return(self):
        handled = []
        self.ticks(lambda number, frame: handled.append(number))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.ends(lambda: ours.recv(1), BUSY)
        self.assertGreaterEqual(len(handled), 3)

    def test_a_handler_that_raises(self):
        def stop(number, frame):
            raise Stop
        self.ticks(stop)
        with self.assertRaises(Stop):
            with coopdl.timeout(30) as scope:
                time.sleep(30)
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.assertFalse(scope.expired())
        self.assertIsNone(coopdl.deadline())

    def test_a_scope_in_a_handler(self):
        ended = []

        def handler(number, frame):
            signal.setitimer(signal.ITIMER_REAL, 0)
            with self.assertRaises(coopdl.DeadlineExceeded):
                with coopdl.timeout(0.01):
                    time.sleep(30)
            ended.append(time.monotonic())

        self.ticks(handler)
        self.ends(lambda: time.sleep(30), BUSY)
        self.assertEqual(len(ended), 1)

    def test_handlers_stay_as_they_are(self):
        numbers = range(1, signal.SIGRTMIN)
        before = [signal.getsignal(number) for number in numbers]
        self.ends(lambda: time.sleep(30))
        self.assertEqual([signal.getsignal(number) for number in numbers], before)

    def test_every_handler_is_set_back(self):
        """Ours too: in that scope, and in the next one."""
        def set_back():
            for number in range(signal.SIGRTMIN, signal.SIGRTMAX):
                signal.signal(number, signal.SIG_DFL)

        def computes():
            while True:
                pass

        for body in computes, lambda: time.sleep(30):
            self.ends(lambda: (set_back(), body()))
            self.ends(lambda: re.match('(a+)+$', 40 * 'a' + 'b'))

    def test_every_signal_blocked(self):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.addCleanup(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        self.ends(lambda: time.sleep(30))

    def test_wakeup_descriptor(self):
        """An event loop's: whoever reads it sees the program's own signals alone."""
        ours, theirs = socket.socketpair()
        signal.signal(signal.SIGUSR1, lambda *_: None)
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.SIG_DFL)
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            before = signal.set_wakeup_fd(theirs.fileno())
            self.addCleanup(signal.set_wakeup_fd, before)
            self.ends(lambda: time.sleep(30))
            self.ends(lambda: re.match('(a+)+$', 40 * 'a' + 'b'))
            signal.raise_signal(signal.SIGUSR1)
            signal.set_wakeup_fd(before)
            theirs.close()
            self.assertEqual(ours.recv(100), bytes([signal.SIGUSR1]))


class Threads(Scoped):
    def test_excepthook(self):
        hooked, unraisable = [], []

        def work():
            with coopdl.timeout(DEADLINE):
                time.sleep(30)

        with mock.patch.object(threading, 'excepthook', hooked.append), \
                mock.patch.object(sys, 'unraisablehook', unraisable.append):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        self.assertEqual([args.exc_type for args in hooked], [coopdl.DeadlineExceeded])
        text = ''.join(traceback.format_exception(*hooked[0][:3]))
        self.assertIn('time.sleep(30)', text)
        self.assertEqual(unraisable, [])


IN_A_SUBINTERPRETER = """
import socket, time
import coopdl
ours, theirs = socket.socketpair()
begun = time.monotonic()
try:
    with coopdl.timeout(0.05) as scope:
        try:
            ours.recv(1)  # cut, and nothing is raised in between
        except TimeoutError as error:
            assert type(error) is TimeoutError
            cut = True
except coopdl.DeadlineExceeded as error:
    assert error.scope is scope and cut
else:
    raise AssertionError('it was not ended')
assert time.monotonic() - begun >= 0.05
with coopdl.timeout(60), coopdl.shield(), coopdl.timeout(50):
    assert 40 < coopdl.remaining() <= 50
coopdl.timeout(0.01).__enter__()
left = coopdl.timeout(0.01)
left.__enter__()
"""


class Subinterpreters(Scoped):
    def setUp(self):
        for name in '_interpreters', '_xxsubinterpreters':
            if importlib.util.find_spec(name):
                self.module = importlib.import_module(name)
                return
        self.skipTest('no module for subinterpreters')

    def in_one(self):
        interpreter = self.module.create()
        run = getattr(self.module, 'exec', self.module.run_string)
        self.assertIsNone(run(interpreter, IN_A_SUBINTERPRETER))
        self.module.destroy(interpreter)  # with a scope that is entered
        self.assertIsNone(coopdl.deadline())
        self.ends(lambda: time.sleep(30))

    def test_in_the_main_thread(self):
        self.in_one()

    def test_in_a_worker(self):
        in_worker(self.in_one)

    def test_inside_a_scope_of_the_main_interpreter(self):
        def outer():
            interpreter = self.module.create()
            run = getattr(self.module, 'exec', self.module.run_string)
            try:
                with coopdl.shield():
                    run(interpreter, 'import coopdl\nwith coopdl.timeout(60): pass')
                run(interpreter, 'import time, coopdl\nwith coopdl.timeout(60): time.sleep(30)')
            finally:
                self.module.destroy(interpreter)
            while True:
                pass
        self.ends(outer)
        in_worker(lambda: self.ends(outer))


class Interrupt(unittest.TestCase):
    def both(self, block, offset):
        """Ctrl-C comes `offset` after the deadline; returns whether the scope ended the block."""
        ended = interrupted = False
        signal.setitimer(signal.ITIMER_REAL, DEADLINE + offset)
        try:
            try:
                with coopdl.timeout(DEADLINE):
                    block()
            except coopdl.DeadlineExceeded:
                ended = True
            time.sleep(DEADLINE)
        except KeyboardInterrupt:
            interrupted = True
        self.assertTrue(interrupted, 'Ctrl-C was lost')
        self.assertIsNone(coopdl.deadline())
        return ended

    def check(self, block):
        # A timer can be aimed better than a thread that needs the interpreter's lock.
        self.addCleanup(signal.signal, signal.SIGALRM,
                        signal.signal(signal.SIGALRM, signal.default_int_handler))
        ended = [self.both(block, 0.00005 * (number - ROUNDS // 2)) for number in range(ROUNDS)]
        self.figures = f'the deadline came first in {sum(ended)} of {ROUNDS}'

    def test_while_it_is_handled(self):
        """What a program does about it is not disturbed for a while, of the clock's time: where the
        processor is taken away for as long, there is nothing to see."""
        done, late = [], []

        def handles(scope):
            signal.setitimer(signal.ITIMER_REAL, DEADLINE / 2)
            try:
                time.sleep(30)
            except KeyboardInterrupt:
                try:
                    while time.monotonic() < scope.when() + 0.02:
                        pass
                    done.append(True)
                finally:
                    late.append(time.monotonic() > scope.when() + 0.08)
                raise

        self.addCleanup(signal.signal, signal.SIGALRM,
                        signal.signal(signal.SIGALRM, signal.default_int_handler))
        for _ in range(50):
            with self.assertRaises((KeyboardInterrupt, coopdl.DeadlineExceeded)):
                with coopdl.timeout(DEADLINE) as scope:
                    handles(scope)
            if late and not late.pop():
                break
        self.assertTrue(done)

    def test_at_the_same_moment_in_a_sleep(self):
        self.check(lambda: time.sleep(30))

    def test_at_the_same_moment_in_a_loop(self):
        def block():
            while True:
                pass
        self.check(block)
