# SPDX-License-Identifier: Apache-2.0
"""test_asgi.py -- the page's example under uvicorn: coroutines, and threads of its pool."""
import importlib.util
import shutil
import socket
import unittest

import pages
import web
from programs import Scratch

LATE = 504, 'the deadline of 1 s was exceeded\n'
WELL = 200, 'all is well\n'


@unittest.skipUnless(importlib.util.find_spec('starlette') and shutil.which('uvicorn'),
                     'no uvicorn, or no module starlette')
class Uvicorn(Scratch):
    def setUp(self):
        super().setUp()
        pages.write('asgi.md', self.directory)
        self.silent = self.enterContext(web.Silent())
        self.hangs = '/total?from=' + web.quoted(self.silent.url)

    def serve(self, application='board:app'):
        listening = self.enterContext(socket.create_server(('127.0.0.1', 0), backlog=200))
        self.server = web.Program('uvicorn', '--fd', str(listening.fileno()), application,
                                  cwd=self.directory, log=self.path('log'),
                                  descriptor=listening.fileno())
        self.addCleanup(self.server.close)
        self.port = listening.getsockname()[1]
        self.assertEqual(web.get(self.port, '/'), WELL)

    def test_fifty(self):
        """Five wait in coroutines, five in threads."""
        self.serve()
        web.get_all(self.port, [self.hangs] * 5)
        web.wait_until(lambda: self.silent.open == 0)
        before = web.holds(self.server.process.pid)
        paths = ['/', '/', self.hangs, '/', '/', '/', '/', '/waits', '/', '/'] * 5
        for path, answer in zip(paths, web.get_all(self.port, paths)):
            self.assertEqual(answer, WELL if path == '/' else LATE)
        web.wait_until(lambda: self.silent.open == 0)
        web.wait_until(lambda: web.holds_no_more(self.server.process.pid, before))
        self.assertIsNone(self.server.process.poll())
        self.assertNotIn('Traceback', self.server.said())

    def test_the_header(self):
        self.serve()
        headers = {'X-Deadline-Remaining-Ms': '200'}
        for path in '/waits', self.hangs:
            self.assertEqual(web.get(self.port, path, **headers),
                             (504, 'the deadline of 0.2 s was exceeded\n'))
        status, text = web.get(self.port, '/', **{'X-Deadline-Remaining-Ms': 'soon'})
        self.assertEqual(status, 400)
        self.assertIn("invalid header X-Deadline-Remaining-Ms: 'soon'", text)

    def test_once_an_answer_has_begun(self):
        self.write('begun.py', 'import asyncio, coopdl.asgi',
                   'async def app(scope, receive, send):',
                   '    if scope["type"] != "http": raise NotImplementedError',
                   '    await send({"type": "http.response.start", "status": 200, "headers": []})',
                   '    await send({"type": "http.response.body", "body": b"all is well\\n",',
                   '                "more_body": scope["path"] != "/"})',
                   '    if scope["path"] != "/": await asyncio.sleep(60)',
                   'app = coopdl.asgi.Deadline(app, 0.2)')
        self.serve('begun:app')
        with self.assertRaises(web.http.client.IncompleteRead):
            web.get(self.port, '/hangs')

    def test_without(self):
        with open(self.path('board.py'), encoding='utf-8') as file:
            text = file.read()
        for with_it, without in ('coopdl.asgi.Deadline(', ''), (']), 1)', '])'), \
                ('@coopdl.asgi.threaded\n', ''), ('import coopdl.asgi\n', ''):
            self.assertIn(with_it, text)
            text = text.replace(with_it, without)
        self.write('bare.py', text)
        self.serve('bare:app')
        for path in '/waits', self.hangs:
            client = self.enterContext(
                socket.create_connection(('127.0.0.1', self.port), timeout=1.5))
            client.send(f'GET {path} HTTP/1.0\r\n\r\n'.encode())
            with self.assertRaises(TimeoutError):
                client.recv(1)
