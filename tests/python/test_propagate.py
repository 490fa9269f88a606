# SPDX-License-Identifier: Apache-2.0
"""test_propagate.py -- deadlines in headers: what is written and read, and three servers in a row."""
import contextlib
import importlib.util
import os
import queue
import subprocess
import sys
import threading
import time
import unittest

import coopdl
import coopdl.propagate
import pages
from programs import GENEROUS, LOADED, PATIENCE, Scratch

LIMIT = 20 if LOADED else 2.5
HOP = LIMIT / 5  # of the LIMIT, for each way
CLIENTS = {
    'requests': 'requests.get(url, headers=coopdl.propagate.headers())',
    'httpx': 'httpx.get(url, headers=coopdl.propagate.headers(), timeout=None)',
    'urllib3': 'urllib3.PoolManager().request("GET", url, headers=coopdl.propagate.headers())',
}


class Values(unittest.TestCase):
    def test_milliseconds(self):
        for seconds, text in (0, '0'), (0.0019, '1'), (1.5, '1500'), (86400, '86400000'):
            self.assertEqual(coopdl.propagate.text(seconds), text)
            self.assertEqual(coopdl.propagate.seconds(text), int(text) / 1000)

    def test_grpc(self):
        for seconds, text in (0, '0n'), (0.5, '500000u'), (2, '2000000u'), (200, '200000m'), \
                (2e5, '200000S'), (1e9, '16666666M'), (1e10, '2777777H'), (1e18, '99999999H'):
            self.assertEqual(coopdl.propagate.text(seconds, 'Grpc-Timeout'), text)
            self.assertLessEqual(coopdl.propagate.seconds(text, 'grpc-timeout'), seconds)
        for text, seconds in ('1H', 3600), ('2M', 120), ('3S', 3), ('4m', .004), ('5u', 5e-6):
            self.assertAlmostEqual(coopdl.propagate.seconds(text, 'grpc-timeout'), seconds, 9)

    def test_what_is_wrong(self):
        for header, wrong, accepted in (
                ('X-Deadline-Remaining-Ms', ('', '-1', '1s', 'nan', '1e3', ' 1', '1\n', '٣', '1' * 16),
                 'a number of milliseconds'),
                ('grpc-timeout', ('', '1', '-1S', '1s', '123456789S', '1.5S', '1S\n'),
                 'up to 8 digits and one of the units H M S m u n')):
            for text in wrong:
                with self.assertRaises(ValueError) as caught:
                    coopdl.propagate.from_headers({header: text}, header)
                self.assertEqual(str(caught.exception), f'invalid header {header}: {text!r}; '
                                 f'accepted is {accepted}')

    def test_all_kinds_of_headers(self):
        for given in {'x-deadline-remaining-ms': '1500'}, [(b'X-DEADLINE-REMAINING-MS', b'1500')], \
                [('x-deadline-remaining-ms', '9000'), ('X-Deadline-Remaining-Ms', '1500')]:
            self.assertEqual(coopdl.propagate.left(given), 1.5)
        self.assertIsNone(coopdl.propagate.left({'Other': '1'}))
        self.assertEqual(coopdl.propagate.left({'Left': '1', 'X-Deadline-Remaining-Ms': '2'}, 'left'),
                         0.001)


class Scopes(unittest.TestCase):
    def test_none(self):
        self.assertEqual(coopdl.propagate.headers(), {})
        with coopdl.propagate.from_headers({}) as scope:
            self.assertIsNone(scope.when())
            self.assertIsNone(coopdl.deadline())

    def test_nothing_is_added(self):
        """Not more than the time between sending and receiving, which nobody knows."""
        with coopdl.timeout(60) as outer:
            for _ in range(1000):
                before = time.monotonic()
                sent = coopdl.propagate.headers(hop=0)
                received = time.monotonic()
                with coopdl.propagate.from_headers(sent, received=received) as scope:
                    self.assertLess(scope.when() - received, outer.when() - before + 1e-6)

    def test_the_hop_is_subtracted(self):
        with coopdl.timeout(60):
            left = coopdl.remaining()
            for header in coopdl.propagate.HEADER, 'grpc-timeout':
                sent = coopdl.propagate.left(coopdl.propagate.headers(header, hop=20), header)
                self.assertLessEqual(sent, left - 20)
                self.assertGreater(sent, left - 20 - GENEROUS)
            self.assertEqual(coopdl.propagate.headers(hop=61), {'X-Deadline-Remaining-Ms': '0'})

    def test_when_it_came(self):
        scope = coopdl.propagate.from_headers({'X-Deadline-Remaining-Ms': '60000'}, received=100)
        self.assertEqual(scope.when(), 160)

    def test_at_most(self):
        for sent, most, limit in ('60000', 10, 10), ('5000', 10, 5), (None, 10, 10):
            headers = {} if sent is None else {'X-Deadline-Remaining-Ms': sent}
            scope = coopdl.propagate.from_headers(headers, at_most=most, received=100)
            self.assertEqual(scope.when(), 100 + limit)

    def test_it_ends(self):
        began = time.monotonic()
        with self.assertRaises(coopdl.DeadlineExceeded):
            with coopdl.propagate.from_headers({'X-Deadline-Remaining-Ms': '100'}):
                time.sleep(60)
        self.assertGreaterEqual(time.monotonic(), began + 0.1)


@unittest.skipUnless(importlib.util.find_spec('grpc'), 'no module grpc')
class Grpc(unittest.TestCase):
    """As the page has it: gRPC writes and reads the header itself, and its metadata takes ours.  Who
    asks has more time than is said, so as to hear the answer."""

    def setUp(self):
        import grpc
        from concurrent.futures import ThreadPoolExecutor
        self.seen = queue.SimpleQueue()
        self.server = grpc.server(ThreadPoolExecutor(1))
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler('it', {
            name: grpc.unary_unary_rpc_method_handler(getattr(self, name))
            for name in ('by_its_own', 'by_metadata')})])
        port = self.server.add_insecure_port('127.0.0.1:0')
        self.server.start()
        self.addCleanup(lambda: self.server.stop(None).wait())
        self.channel = grpc.insecure_channel(f'127.0.0.1:{port}')
        self.addCleanup(self.channel.close)

    def work(self, scope):
        try:
            with scope:
                self.seen.put(coopdl.deadline())
                time.sleep(60)
        except coopdl.DeadlineExceeded:
            self.seen.put(time.monotonic())
        return b''

    def by_its_own(self, request, context):
        return self.work(coopdl.timeout(context.time_remaining()))

    def by_metadata(self, request, context):
        return self.work(coopdl.propagate.from_headers(context.invocation_metadata()))

    def test_its_own(self):
        import grpc
        with coopdl.timeout(60) as scope, self.assertRaises(grpc.RpcError) as caught:
            self.channel.unary_unary('/it/by_its_own')(b'', timeout=coopdl.remaining() - 58)
        self.assertIs(caught.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.ended(scope)

    def test_metadata(self):
        with coopdl.timeout(60) as scope:
            sent = coopdl.propagate.headers('x-deadline-remaining-ms', hop=59)
            self.channel.unary_unary('/it/by_metadata')(b'', metadata=list(sent.items()))
        self.ended(scope)

    def ended(self, scope):
        """The servant's work, by its deadline, which comes before this one."""
        deadline, ended = self.seen.get(timeout=PATIENCE), self.seen.get(timeout=PATIENCE)
        self.assertLess(deadline, scope.when())
        self.assertGreaterEqual(ended, deadline)


class Server:
    """A program of the page, and what it has said."""

    def __init__(self, program, *arguments):
        path = os.path.dirname(os.path.dirname(coopdl.__file__))
        self.process = subprocess.Popen([sys.executable, program, *arguments], text=True,
                                        stdout=subprocess.PIPE,
                                        env={**os.environ, 'PYTHONPATH': path})
        self.url = f'http://127.0.0.1:{self.next("port"):.0f}/'

    def next(self, what):
        name, value = self.process.stdout.readline().split()
        assert name == what, name
        return float(value)

    def close(self):
        self.process.kill()
        self.process.communicate()


class Hops(Scratch):
    def setUp(self):
        super().setUp()
        if importlib.util.find_spec('requests') is None:
            self.skipTest('no module requests')
        pages.write('propagate.md', self.directory)

    def hop(self, stack, client, *following):
        """The page's server, with this client, and more time for the way, so that a busy machine
        does not need longer."""
        with open(self.path('hop.py'), encoding='utf-8') as file:
            program = file.read()
        ours = 'requests.get(sys.argv[1], headers=coopdl.propagate.headers())'
        self.assertIn(ours, program)
        program = program.replace(ours, CLIENTS[client].replace('(url', '(sys.argv[1]').replace(' url', ' sys.argv[1]')) \
                         .replace('headers()', f'headers(hop={HOP})') \
                         .replace('import requests', 'import ' + client)
        server = Server(self.write(f'hop_{client}.py', program), *following)
        stack.callback(server.close)
        return server

    def ask(self, url, headers):
        importlib.import_module('requests').get(url, headers=headers)

    def test_three(self):
        with contextlib.ExitStack() as stack:
            third = self.hop(stack, 'requests')
            second = self.hop(stack, 'httpx', third.url)
            first = self.hop(stack, 'urllib3', second.url)
            with coopdl.timeout(LIMIT) as scope:
                self.ask(first.url, coopdl.propagate.headers(hop=HOP))
            deadlines = [server.next('deadline') for server in (third, second, first)]
            ended = [server.next('ended') for server in (third, second, first)]
        self.assertEqual(sorted(deadlines), deadlines)
        self.assertLess(deadlines[-1], scope.when())
        self.assertEqual(sorted(ended), ended)
        self.assertGreaterEqual(ended[0], deadlines[0])
        self.assertFalse(scope.expired())

    def test_without_the_header(self):
        """The last one works on, behind the deadline of who asked."""
        with contextlib.ExitStack() as stack:
            server = self.hop(stack, 'requests')
            with self.assertRaises(coopdl.DeadlineExceeded):
                with coopdl.timeout(HOP):
                    self.ask(server.url, {})
            self.assertEqual(server.process.stdout.readline(), 'deadline None\n')
            told = []
            reader = threading.Thread(target=lambda: told.append(server.process.stdout.read()))
            reader.start()
            reader.join(0.5)
            self.assertEqual(told, [])
            server.process.kill()
            reader.join()
            self.assertEqual(told, [''])
