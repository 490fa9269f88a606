# SPDX-License-Identifier: Apache-2.0
"""test_wsgi.py -- the middleware by itself, and the page's example under gunicorn."""
import importlib.util
import io
import shutil
import socket
import time
import unittest

import coopdl.wsgi
import pages
import web
from behaviour import in_worker
from programs import GENEROUS, Scratch

LIMIT = 0.1
LATE = '504 Gateway Timeout'


class Request:
    """One that is made by hand: .status, .body, .errors, and .closed, which a body may set."""

    def __init__(self, application, *arguments, **environ):
        self.errors, self.statuses, self.body = io.StringIO(), [], []
        environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': '/it', 'wsgi.errors': self.errors, **environ}
        began = time.monotonic()
        pieces = coopdl.wsgi.Deadline(application, *arguments)(environ, self.start_response)
        try:
            self.body.extend(pieces)
        finally:
            self.took = time.monotonic() - began
            getattr(pieces, 'close', lambda: None)()

    def start_response(self, status, headers, error=None):
        if error and self.body:
            raise error[1]
        self.statuses.append((status, dict(headers)))


def answers(environ, start_response):
    start_response('200 OK', [])
    return [b'well', str(coopdl.remaining()).encode()]


class Middleware(unittest.TestCase):
    def late(self, request):
        status, headers = request.statuses[-1]
        self.assertEqual(status, LATE)
        self.assertEqual(request.body, [b'the deadline of 0.1 s was exceeded\n'])
        self.assertEqual(headers['Content-Length'], str(len(request.body[0])))
        self.assertGreaterEqual(request.took, LIMIT)
        self.assertLess(request.took, LIMIT + GENEROUS)
        self.assertRegex(request.errors.getvalue(),
                         r'^coopdl: GET /it: the deadline of 0.1 s was exceeded, in \w+ \(.*:\d+\)\n$')
        self.assertIsNone(coopdl.deadline())

    def test_in_time(self):
        request = Request(answers, 60)
        self.assertEqual(request.statuses, [('200 OK', {})])
        self.assertEqual(request.body[0], b'well')
        self.assertLess(50, float(request.body[1]))

    def test_no_limit(self):
        self.assertEqual(Request(answers).body, [b'well', b'None'])

    def test_before_the_answer(self):
        def hangs(environ, start_response):
            time.sleep(60)
        self.late(Request(hangs, LIMIT))
        in_worker(lambda: self.late(Request(hangs, LIMIT)))

    def test_in_the_first_piece(self):
        def hangs(environ, start_response):
            start_response('200 OK', [])
            time.sleep(60)
            yield b''
        self.late(Request(hangs, LIMIT))

    def test_in_a_later_piece(self):
        closed = []

        def hangs(environ, start_response):
            start_response('200 OK', [])
            try:
                yield b'begun'
                time.sleep(60)
            finally:
                closed.append(True)
        with self.assertRaises(coopdl.DeadlineExceeded):
            Request(hangs, LIMIT)
        self.assertEqual(closed, [True])

    def test_close_is_called_and_has_the_grace(self):
        closed = []

        class Body(list):
            def __next__(self):
                time.sleep(60)

            def __iter__(self):
                return self

            def close(self):
                time.sleep(2 * LIMIT)
                closed.append(coopdl.remaining() is not None)
        self.late(Request(lambda environ, start_response: Body(), LIMIT))
        self.assertEqual(closed, [True])

    def test_between_pieces_the_server_has_no_deadline(self):
        def two(environ, start_response):
            yield b'1'
            yield b'2'
        seen = [coopdl.deadline() for _ in coopdl.wsgi.Deadline(two, 60)({}, None)]
        self.assertEqual(seen, [None, None])

    def test_the_header(self):
        for text, limit in ('5000', 5), ('90000', 60):
            left = float(Request(answers, 60, HTTP_X_DEADLINE_REMAINING_MS=text).body[1])
            self.assertLessEqual(left, limit)
            self.assertGreater(left, limit - GENEROUS)
        for arguments in (), (None,):
            request = Request(answers, *arguments, HTTP_X_DEADLINE_REMAINING_MS='5000')
            self.assertLessEqual(float(request.body[1]), 5)

    def test_a_header_that_is_wrong(self):
        request = Request(answers, 60, HTTP_X_DEADLINE_REMAINING_MS='soon')
        self.assertEqual(request.statuses[0][0], '400 Bad Request')
        self.assertEqual(request.body, [b"invalid header X-Deadline-Remaining-Ms: 'soon'; "
                                        b'accepted is a number of milliseconds\n'])

    def test_what_is_wrong_is_said_at_once(self):
        with self.assertRaises(ValueError):
            coopdl.wsgi.Deadline(answers, -1)


@unittest.skipUnless(importlib.util.find_spec('django'), 'no module django')
class Django(unittest.TestCase):
    def test_in_time_and_late(self):
        from django.conf import settings
        from django.core import wsgi
        from django.http import HttpResponse
        from django.urls import path

        def hangs(request):
            try:
                time.sleep(60)
            except Exception as error:  # what a view does about failures of its own
                return HttpResponse(repr(error))

        settings.configure(ALLOWED_HOSTS=['*'], SECRET_KEY='-', ROOT_URLCONF=(
            path('well', lambda request: HttpResponse('well')), path('it', hangs)))
        application = wsgi.get_wsgi_application()

        def request(path, limit):
            return Request(application, limit, PATH_INFO=path, SERVER_NAME='localhost',
                           SERVER_PORT='80', **{'wsgi.input': io.BytesIO()})

        self.assertEqual(request('/well', 60).body, [b'well'])
        late = request('/it', LIMIT)
        self.assertEqual(late.statuses[-1][0], LATE)
        self.assertGreaterEqual(late.took, LIMIT)
        self.assertIn('coopdl: GET /it: the deadline of 0.1 s was exceeded', late.errors.getvalue())
        self.assertEqual(request('/well', 60).body, [b'well'])


@unittest.skipUnless(importlib.util.find_spec('flask') and shutil.which('gunicorn'),
                     'no gunicorn, or no module flask')
class Gunicorn(Scratch):
    def setUp(self):
        super().setUp()
        pages.write('wsgi.md', self.directory)
        self.silent = self.enterContext(web.Silent())
        self.hangs = '/total?from=' + web.quoted(self.silent.url)

    def serve(self, *options, application='shop:app'):
        listening = self.enterContext(socket.create_server(('127.0.0.1', 0), backlog=200))
        listening.set_inheritable(True)
        self.server = web.Program(
            'sh', '-c', 'exec gunicorn --bind "fd://$0" --log-level warning "$@"',
            str(listening.fileno()), *options, application, cwd=self.directory,
            log=self.path('log'), descriptor=listening.fileno())
        self.addCleanup(self.server.close)
        self.port = listening.getsockname()[1]
        self.assertEqual(web.get(self.port, '/'), (200, 'all is well\n'))

    def fifty(self, kind, count, threads):
        """Ten of them hang.  There are `count` workers, each with so many threads."""
        self.serve('--worker-class', kind, '--workers', str(count), '--threads', str(threads))
        paths = [self.hangs if number % 5 == 0 else '/' for number in range(50)]
        web.wait_until(lambda: len(self.server.children()) == count)
        workers = self.server.children()

        def warm():
            """All threads are there, two of them ours; a sync worker's only one is its main one."""
            web.get_all(self.port, paths[:20], **{'X-Deadline-Remaining-Ms': '200'})
            own = 1 if threads == 1 else 1 + threads
            return all(web.holds(worker)[0] == own + 2 for worker in workers)
        web.wait_until(warm)
        web.wait_until(lambda: self.silent.open == 0)
        before = [web.holds(worker) for worker in workers]
        answers = web.get_all(self.port, paths)
        for path, answer in zip(paths, answers):
            self.assertEqual(answer, (200, 'all is well\n') if path == '/' else
                             (504, 'the deadline of 1 s was exceeded\n'))
        web.wait_until(lambda: self.silent.open == 0)
        web.wait_until(lambda: all(map(web.holds_no_more, workers, before)))
        self.assertEqual(self.server.children(), workers)
        self.assertEqual(self.server.said().count('coopdl: GET /total: the deadline of 1 s'), 10)

    def test_sync(self):
        self.fifty('sync', 4, 1)

    def test_gthread(self):
        self.fifty('gthread', 1, 8)
        self.a_thousand()

    def test_without(self):
        """Two requests that hang, and no thread is left for the third."""
        with open(self.path('shop.py'), encoding='utf-8') as file:
            lines = [line for line in file.read().splitlines() if 'coopdl' not in line]
        self.write('bare.py', *lines)
        self.serve('--worker-class', 'gthread', '--workers', '1', '--threads', '2',
                   application='bare:app')
        for _ in range(2):
            waiting = self.enterContext(socket.create_connection(('127.0.0.1', self.port)))
            waiting.send(f'GET {self.hangs} HTTP/1.0\r\n\r\n'.encode())
        web.wait_until(lambda: self.silent.open == 2)
        third = self.enterContext(socket.create_connection(('127.0.0.1', self.port), timeout=1.5))
        third.send(b'GET / HTTP/1.0\r\n\r\n')
        with self.assertRaises(TimeoutError):
            third.recv(1)

    def a_thousand(self):
        """In one worker, which then has what it had before, and is as fast."""
        worker, = self.server.children()

        def some(count):
            for _ in range(count):
                status, _ = web.get(self.port, self.hangs, **{'X-Deadline-Remaining-Ms': '10'})
                self.assertEqual(status, 504)

        def quick():
            began = time.monotonic()
            for _ in range(50):
                web.get(self.port, '/')
            return time.monotonic() - began

        with web.ThreadPoolExecutor(8) as pool:
            before, took = web.holds(worker), quick()
            list(pool.map(some, [125] * 8))
        web.wait_until(lambda: self.silent.open == 0)
        web.wait_until(lambda: web.holds_no_more(worker, before))
        self.assertLess(quick(), 5 * took + 1)
        self.assertEqual(self.server.children(), [worker])
