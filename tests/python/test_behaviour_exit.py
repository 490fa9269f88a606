# SPDX-License-Identifier: Apache-2.0
"""test_behaviour_exit.py -- how a program ends whose budget is over while a thread of it
goes on.

At the budget's end the main thread gets DeadlineReached.  Python then waits for all threads
that are no daemons.  What must hold: one that waits in a system call ends by its error;
daemons are left behind as ever; one that goes on for good holds the program up for no longer
than the grace, then SIGTERM ends it.
"""
import contextlib
import os
import signal
import subprocess
import sys
import time
import unittest

BUDGETS = 1, 3, 9  # seconds: the next one where an interpreter takes longer to start
GRACE = 0.5
GENEROUS = 5  # seconds late, on a machine that is busy

PROGRAM = """
import coopdl, socket, sys, threading, time

def computes():
    while True:
        pass

def swallows():
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
    ours, theirs = socket.socketpair()
    try:
        ours.recv(1)
    except TimeoutError:
        print('the thread was cut')

threading.Thread(target=globals()[sys.argv[1]], daemon=sys.argv[2:] == ['daemon']).start()
try:
    print('ready', flush=True)
    time.sleep(60)
finally:
    print('the main thread cleaned up', file=sys.stderr)
"""


class NotReady(Exception):
    """The budget was over before the program had begun."""


class Program:
    def __init__(self, budget, grace, *arguments):
        self.end = time.monotonic() + budget
        self.process = subprocess.Popen(
            [sys.executable, '-c', PROGRAM, *arguments], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, COOPDL_BUDGET=f'{budget}s', COOPDL_GRACE=grace))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


class Exit(unittest.TestCase):
    def ended(self, program, status, at_least, at_most, said=''):
        """With this status, so many seconds after the budget's end."""
        out, err = program.process.communicate(timeout=30)
        took = time.monotonic() - program.end
        if not out.startswith('ready\n'):
            raise NotReady
        self.assertEqual(program.process.returncode, status, err)
        self.assertIn('coopdl.DeadlineReached', err)
        self.assertIn('the main thread cleaned up', err)
        self.assertEqual(out, 'ready\n' + said)
        self.assertGreaterEqual(took, at_least, 'early')
        self.assertLess(took, at_most, 'late')

    def test_threads_that_go_on(self):
        for budget in BUDGETS:
            with contextlib.suppress(NotReady):
                return self.within(budget)
        self.fail(f'a program does not begin in {budget} s')

    def within(self, budget):
        with contextlib.ExitStack() as stack:
            def start(grace, *arguments):
                return stack.enter_context(Program(budget, grace, *arguments))

            held_up = [start(f'{GRACE}s', kind) for kind in ('computes', 'swallows', 'locks')]
            left_behind = start('off', 'computes', 'daemon')
            cut = start('off', 'receives')
            self.ended(cut, 1, 0, GENEROUS, 'the thread was cut\n')
            self.ended(left_behind, 1, 0, GENEROUS)
            for program in held_up:
                self.ended(program, -signal.SIGTERM, GRACE, GRACE + GENEROUS)


if __name__ == '__main__':
    unittest.main()
