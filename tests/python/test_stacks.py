# SPDX-License-Identifier: Apache-2.0
"""test_stacks.py -- Python's own stacks under `coopdl --stacks`: those of the deadline.

On a machine so busy that calls were cut before all was stopped, or that a thread never came to its
stop, or that time was up, the command says so: then it is run again.
"""
import os
import re
import sys
import time
import unittest

from programs import Scratch, run

COOPDL = os.environ['COOPDL']
TRYING = 12  # seconds; the harness waits for 24

HEADER = 'import coopdl, threading, time'


class Stacks(Scratch):
    def setUp(self):
        super().setUp()
        done = run(COOPDL, '--stacks', '9s', 'true')
        if done.returncode == 125:
            self.skipTest(done.stderr)

    def taken(self, *lines, options=()):
        """What was told of each process: its id, and the text."""
        self.write('app.py', HEADER, *lines)
        until = time.monotonic() + TRYING
        while time.monotonic() < until:
            done = run(COOPDL, '--stacks', *options, '2s', sys.executable, 'app.py',
                       cwd=self.directory)
            if not re.search(' ms after the calls were cut|to be looked at has ended|does not stop'
                             '|could not be taken in time|no time for more', done.stderr):
                break
        else:
            self.skipTest('the machine is too busy')
        self.assertEqual(done.returncode, 124, done.stderr)
        parts = re.split(r'(?m)^coopdl: stacks of \S+\[(\d+)\], as Python has them:\n', done.stderr)
        return done.stderr, dict(zip(map(int, parts[1::2]), parts[2::2]))

    def test_of_all_threads(self):
        whole, stacks = self.taken(
            'def inner(): time.sleep(60)',
            'def outer(): thread.join()',
            'thread = threading.Thread(target=inner)',
            'thread.start()',
            'outer()')
        self.assertEqual(len(stacks), 1, whole)
        told = stacks.popitem()[1]
        self.assertRegex(told, r'(?m)^(Current t|T)hread 0x')
        self.assertRegex(told, r'File ".*app\.py", line 2 in inner\n')
        self.assertRegex(told, r'File ".*app\.py", line 3 in outer\n')
        # The native ones come before.
        self.assertRegex(whole, r'(?s)coopdl: stacks of \S+\[\d+\]:\nthread .*as Python has them')

    def test_where_c_code_keeps_the_lock(self):
        whole, stacks = self.taken(
            'import re',
            'def compute(): re.fullmatch(r"(a+)+\\Z", "a" * 100 + "!")',
            'compute()')
        self.assertEqual(len(stacks), 1, whole)
        self.assertRegex(stacks.popitem()[1], r'line 3 in compute\n')

    def test_of_a_forked_child(self):
        whole, stacks = self.taken(
            'import os',
            'child = os.fork()',
            'def in_child(): time.sleep(60)',
            'def in_parent(): os.waitpid(child, 0)',
            'in_parent() if child else in_child()')
        self.assertEqual(len(stacks), 2, whole)
        parent, child = (stacks[pid] for pid in sorted(stacks))
        self.assertRegex(parent, r'in in_parent\n')
        self.assertRegex(child, r'in in_child\n')

    def test_signals_are_the_program_s(self):
        """It has set all of them back: none is sent."""
        whole, stacks = self.taken(
            'import signal',
            'for number in range(signal.SIGRTMIN, signal.SIGRTMAX):',
            '    signal.signal(number, signal.SIG_DFL)',
            'time.sleep(60)')
        self.assertEqual(stacks, {}, whole)
        self.assertRegex(whole, r'coopdl: Python in \S+\[\d+\] has not written its stacks\n')
        self.assertRegex(whole, r'(?s)coopdl: stacks of \S+\[\d+\]:\nthread ')

    def test_a_forked_child_ends(self):
        self.write('app.py', HEADER, 'import os, sys', 'child = os.fork()',
                   'sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 7)')
        done = run(COOPDL, '--stacks', '9s', sys.executable, 'app.py', cwd=self.directory)
        self.assertEqual(done.returncode, 7, done.stderr)

    def test_without_the_option_there_is_no_trace(self):
        self.write('app.py', 'import coopdl, os, sys, threading',
                   'print(threading.active_count(), "faulthandler" in sys.modules,',
                   '      len(os.listdir("/proc/self/task")), "coopdl._stacks" in sys.modules)')
        plain = run(COOPDL, '9s', sys.executable, 'app.py', cwd=self.directory)
        self.assertRegex(plain.stdout, r'\A1 False \d+ False\n\Z')


if __name__ == '__main__':
    unittest.main()
