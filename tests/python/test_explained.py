# SPDX-License-Identifier: Apache-2.0
"""test_explained.py -- what an exception says of the call that its deadline has ended.

The servers accept and never answer.
"""
import os
import re
import select
import socket
import subprocess
import sys
import time
import unittest

import coopdl
from programs import Scratch, run
from scopes import Main, Worker, spin

SECONDS = 0.2


class Explained(unittest.TestCase):
    def setUp(self):
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        self.port = listener.getsockname()[1]
        self.peer = f'tcp 127.0.0.1:{self.port}'

    def connect(self):
        connection = socket.create_connection(('127.0.0.1', self.port))
        self.addCleanup(connection.close)
        return connection

    def ended(self, body, scope=None):
        caught = []

        def within():
            with self.assertRaises(coopdl.DeadlineExceeded) as context:
                with scope or coopdl.timeout(SECONDS):
                    body()
            caught.append(context.exception)

        self.call(within)
        return caught[0]


class Calls:
    def test_a_connection(self):
        error = self.ended(lambda: self.connect().recv(1))
        self.assertEqual((error.call, error.target), ('recv', self.peer))
        self.assertRegex(error.library, r'\A(_socket\.|python3|libpython3)')
        self.assertIsNone(error.waited)
        self.assertRegex(str(error), rf'deadline of 0\.2 s exceeded in recv\(\) on {self.peer}, '
                                     rf'silent for \d+ms, called by {re.escape(error.library)}')

    def test_how_long_it_waited(self):
        def wait():
            poll = select.poll()
            poll.register(self.connect(), select.POLLIN)
            poll.poll()

        error = self.ended(wait)
        self.assertEqual((error.call, error.target), ('poll', self.peer))
        self.assertGreater(error.waited, 0)
        self.assertRegex(str(error), rf'exceeded in poll\(\) on {self.peer} for \d+ms, called by ')

    def test_a_child(self):
        child = subprocess.Popen(['sleep', '60'])
        try:
            error = self.ended(child.wait)
        finally:
            child.kill()
            child.wait()
        self.assertRegex(error.target, rf'\Apid {child.pid} .*sleep')

    def test_what_the_library_has_cut(self):
        """curl's own error is the cause."""
        try:
            import pycurl
        except ImportError:
            self.skipTest('pycurl is not there')
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, f'http://127.0.0.1:{self.port}/')
        error = self.ended(curl.perform)
        self.assertIn(error.call, ('poll', 'select'))
        self.assertEqual(error.target, self.peer)
        self.assertRegex(error.library, r'\Alibcurl')

    def test_what_computes(self):
        error = self.ended(spin)
        self.assertEqual((error.call, error.target, error.library, error.waited), (None,) * 4)
        self.assertEqual(str(error), 'deadline of 0.2 s exceeded')

    def test_a_time_has_no_length(self):
        error = self.ended(lambda: self.connect().recv(1),
                           coopdl.timeout_at(time.monotonic() + SECONDS))
        self.assertRegex(str(error), rf'\Adeadline exceeded in recv\(\) on {self.peer}, ')


class InMain(Calls, Main, Explained):
    def test_what_was_raised_inside_says_the_same(self):
        with self.assertRaises(coopdl.DeadlineExceeded) as context:
            with coopdl.timeout(SECONDS):
                with self.assertRaises(coopdl.DeadlineReached) as reached:
                    self.connect().recv(1)
        self.assertEqual(reached.exception.target, self.peer)
        self.assertEqual(str(reached.exception), str(context.exception))


class InWorker(Calls, Worker, Explained):
    pass


class Budget(Scratch):
    """That of a process, which all its threads are inside."""

    def test_other_threads_are_listed(self):
        """Those that were cut by then, and live: it is raised again until that is so.  The main
        thread does not sleep, so that may take two seconds (src/python/budget.c); a hang-up would
        have ended the other's call by then."""
        self.write('app.py',
                   'import coopdl, os, socket, threading',
                   'listener = socket.create_server(("127.0.0.1", 0))',
                   'connection = socket.create_connection(listener.getsockname())',
                   'r, w = os.pipe()',
                   'print(listener.getsockname()[1], flush=True)',
                   'def wait():',
                   '    while True:',
                   '        try:',
                   '            connection.recv(1)',
                   '        except BaseException:',
                   '            pass',
                   'threading.Thread(target=wait, daemon=True).start()',
                   'while True:',
                   '    try:',
                   '        os.read(r, 1)',
                   '    except coopdl.DeadlineReached as error:',
                   '        if "; thread" in str(error):',
                   '            raise')
        done = run(sys.executable, '-m', 'coopdl', '2s', 'app.py', cwd=self.directory,
                   PYTHONPATH=os.environ.get('PYTHONPATH', ''), COOPDL_HANGUP='off',
                   COOPDL_GRACE='30s')
        self.assertEqual(done.returncode, 124, done.stderr)
        self.assertRegex(
            done.stderr,
            r'DeadlineReached: deadline (of 2 s )?exceeded in read\(\) on pipe, called by [^;]*'
            rf'; thread \d+ \(.+\) in recv\(\) on tcp 127.0.0.1:{done.stdout.strip()}, called by ')
