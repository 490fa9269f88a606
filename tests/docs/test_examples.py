#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_examples.py -- runs examples/: each does what its head comment says, both where all is well and
where the other side hangs.

meson.build sets ASK and GREETER (the programs), LIBRARY, and PYTHONPATH where there is the package.
"""
import contextlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(HERE)), 'examples')
sys.path.insert(0, os.path.dirname(HERE))

from tap import report

LONGEST = 30  # seconds until a test gives up


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '6')
        self.end_headers()
        self.wfile.write(b'a page')

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def answering():
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_address[1]}/'
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def silent():
    """It takes connections and never answers."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        yield f'http://127.0.0.1:{server.getsockname()[1]}/'


def run(*command, least=0.0, **options):
    """What it says, and its status; a line more if it ended before `least` seconds."""
    begun = time.monotonic()
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=LONGEST, check=False, **options)
    took = time.monotonic() - begun
    lines = done.stdout.splitlines() + [f'status {done.returncode}']
    return lines + ([f'it took {took:.3f} s, less than {least} s'] if took < least else [])


def compare(found, *wanted):
    return [] if found == list(wanted) else [f'it says {found}, not {list(wanted)}']


def python_example(name, *arguments, **options):
    return run(sys.executable, os.path.join(EXAMPLES, name), *arguments, **options)


def no_package():
    return None if 'PYTHONPATH' in os.environ else 'no Python package was built'


def check_nightly():
    if no_package():
        return no_package()
    with tempfile.TemporaryDirectory() as empty:
        with answering() as url:
            wrong = compare(python_example('nightly.py', url, '20', cwd=empty), '6 bytes', 'status 0')
        with silent() as url:
            lines = python_example('nightly.py', url, '0.3', cwd=empty, least=0.3)
        if lines[-1] != 'status 1' or not lines[0].startswith('nightly: deadline of 0.3 s exceeded'):
            wrong.append(f'it says {lines}')
        return wrong + [f'it left {name}' for name in os.listdir(empty)]


def check_pool():
    if no_package():
        return no_package()
    with answering() as good, silent() as bad:
        lines = python_example('pool.py', '0.5', bad, bad, bad, good, least=0.5)
    return compare(sorted(lines), *sorted(
        [f'{bad} took too long'] * 3 + [f'{good} 6 bytes', 'status 0']))


def check_ask():
    """The last one is never answered: its pipe has a writer that says nothing."""
    ask = os.environ['ASK']
    wrong = compare(run(ask, input='n\n'), 'Continue? [Y/n] no', 'status 1')
    wrong += compare(run(ask, input='\n'), 'Continue? [Y/n] yes', 'status 0')
    reader, writer = os.pipe()
    try:
        wrong += compare(run(ask, stdin=reader, least=1.0),
                         'Continue? [Y/n] no answer in time: yes', 'status 0')
    finally:
        os.close(reader)
        os.close(writer)
    return wrong


def check_greeter():
    daemon = subprocess.Popen([os.environ['GREETER']], text=True, stdout=subprocess.PIPE)
    try:
        port = int(daemon.stdout.readline().split()[1])
        with socket.create_connection(('127.0.0.1', port), LONGEST), \
                socket.create_connection(('127.0.0.1', port), LONGEST) as prompt:
            prompt.sendall(b'world\n')
            greeting = prompt.makefile().readline()
        return compare([greeting, daemon.stdout.readline()],
                       'hello, world\n', 'a client was too slow\n')
    finally:
        daemon.kill()
        daemon.wait()


def check_php():
    if not shutil.which('php'):
        return 'no php here'
    if 'FFI' not in subprocess.run(['php', '-m'], text=True, stdout=subprocess.PIPE,
                                   check=True).stdout.split():
        return "php has no FFI"
    environment = dict(os.environ, LD_PRELOAD=os.environ['LIBRARY'])
    script = os.path.join(EXAMPLES, 'scope.php')
    with answering() as url:
        wrong = compare(run('php', script, url, '20', env=environment), '6 bytes', 'status 0')
    with silent() as url:
        return wrong + compare(run('php', script, url, '0.3', env=environment, least=0.3),
                               'too late', 'status 1')


def main():
    return report([
        ('nightly.py: a job that hangs ends, and its lock file is gone', check_nightly),
        ('pool.py: workers whose page hangs go on', check_pool),
        ('ask.cpp: a read with a limit, by coopdl.hpp', check_ask),
        ('greeter.c: the next client has its turn', check_greeter),
        ('scope.php: the C API by FFI', check_php),
    ])


if __name__ == '__main__':
    sys.exit(main())
