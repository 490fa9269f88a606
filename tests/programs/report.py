#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which library was stuck on which peer, and for how long: report.py

Real clients wait for real servers (PostgreSQL, Redis, HTTP, a name server, a child, a FIFO)
under `coopdl --report`.  The line on stderr and the report each say which library waited for
which peer.  The waiting that is told is never longer than the command took, and with one
thread that waits it is most of it.  Prints TAP; a row whose client or server is not here
is skipped.
"""
import contextlib
import http.server
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import tap  # noqa: E402  # pylint: disable=wrong-import-position

COOPDL = os.environ['COOPDL']
PYTHON = os.environ.get('PYTHON') or '/usr/bin/python3'
RUBY = os.environ.get('RUBY') or 'ruby'
CURL = os.environ.get('CURL') or 'curl'
DEADLINE = 3  # seconds, in which an interpreter begins to wait on a busy machine
LONGEST = 30

SLEEP = 'select pg_sleep(60)'
# The C library, from Python.
LIBPQ = """import ctypes
pq = ctypes.CDLL('libpq.so.5')
pq.PQconnectdb.restype = ctypes.c_void_p
pq.PQexec.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
pq.PQexec(pq.PQconnectdb(b'host=127.0.0.1 port={port} user=postgres dbname=postgres'), b'{sleep}')
"""
REDIS = 'import redis; redis.Redis("127.0.0.1", {port}).blpop("nothing", 0)'
PYCURL = """import pycurl
curl = pycurl.Curl()
curl.setopt(curl.URL, 'http://127.0.0.1:{port}/')
curl.perform()
"""
NAME = 'import socket; socket.getaddrinfo("name.example", 80)'
RUBY_PG = """require 'pg'
PG.connect(host: '127.0.0.1', port: {port}, user: 'postgres', dbname: 'postgres').exec('{sleep}')
"""
RUBY_REDIS = """require 'redis'
Redis.new(host: '127.0.0.1', port: {port}, timeout: 60, reconnect_attempts: 0).blpop('nothing', timeout: 60)
"""


# The resolver asks a name server that never answers: port 53 of a network, and a resolv.conf, that
# only this program has.
SERVED = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: up
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
server.set_inheritable(True)  # and never read from
os.execvp(sys.argv[1], sys.argv[1:])
"""
RESOLVER = ('mount --bind resolv.conf /etc/resolv.conf && '
            'mount --bind nsswitch.conf /etc/nsswitch.conf && exec "$@"')
NAMES = ['unshare', '-rmn', 'sh', '-c', RESOLVER, 'sh', PYTHON, '-c', SERVED]


class Silent(http.server.BaseHTTPRequestHandler):
    """Takes each request, and answers none before the test is over."""
    over = threading.Event()

    def do_GET(self):  # pylint: disable=invalid-name
        self.over.wait(LONGEST)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


def await_port(port, server):
    until = time.monotonic() + LONGEST
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(('127.0.0.1', port)).close()
            return True
        time.sleep(0.05)
    return False


def stop(server):
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def postgres_command(directory, port):
    """Makes a cluster there; the words that start its server, as the user that it insists on."""
    programs = shutil.which('initdb') or max(
        (os.path.join('/usr/lib/postgresql', version, 'bin/initdb')
         for version in os.listdir('/usr/lib/postgresql')), default='')
    user = []
    if os.getuid() == 0:
        pwd.getpwnam('postgres')
        shutil.chown(directory, 'postgres')
        user = ['runuser', '-u', 'postgres', '--']
    data = os.path.join(directory, 'data')
    subprocess.run(user + [programs, '-N', '-A', 'trust', '-U', 'postgres', data], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=60)
    return user + [os.path.join(os.path.dirname(programs), 'postgres'), '-D', data, '-k', directory,
                   '-h', '127.0.0.1', '-p', str(port), '-c', 'fsync=off']


def redis_command(directory, port):
    return ['redis-server', '--port', str(port), '--bind', '127.0.0.1', '--save', '',
            '--dir', directory, '--daemonize', 'no']


@contextlib.contextmanager
def server_of(kind):
    """Its port, and None where there is no such server here."""
    if kind == 'http':
        with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Silent) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server.server_address[1]
            Silent.over.set()
            server.shutdown()
        return
    port, server = free_port(), None
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        try:
            command = {'postgres': postgres_command, 'redis': redis_command}[kind](directory, port)
            # pylint: disable-next=consider-using-with
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (OSError, KeyError, subprocess.SubprocessError):
            yield None
            return
        try:
            yield port if await_port(port, server) else None
        finally:
            stop(server)


def report_of(words, directory, around=()):
    """What is on stderr, and the report.  `around`: what starts coopdl."""
    path = os.path.join(directory, 'report.json')
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('COOPDL_')}
    environment['COOPDL_LIBRARY'] = os.environ['COOPDL_LIBRARY']
    with tempfile.TemporaryFile() as said:
        subprocess.run([*around, COOPDL, f'--report={path}', '-k5s', str(DEADLINE), *words], cwd=directory,
                       env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=said, timeout=LONGEST, check=False)
        said.seek(0)
        text = said.read().decode(errors='replace')
    with open(path, encoding='utf-8') as file:
        return text, json.load(file)


def complaints_of(said, report, library, target, signalled, inside=False):
    """`library` is the beginning of its name, `target` the end of the peer's.  `signalled`: at
    the deadline, in the call, so that nothing was cut.  `inside`: libc, where nothing is measured
    before."""
    rows = [row for row in report['waits'] if row['unfinished' if signalled else 'cut']]
    wrong = []
    if not report['late']:
        wrong.append('it was not late')
    # A child that has ended by the same deadline has no name any more.
    found = [row for row in rows if (row['library'] or '').startswith(library) and
             (re.search(re.escape(target) + r'$', row['target'] or '') or
              (signalled and re.fullmatch(r'pid \d+', row['target'] or '')))]
    if not found:
        return wrong + [f'no row for {library} on {target} is cut: {rows}, {said!r}']
    waited = max(row['longest_us'] for row in found)
    if waited > report['elapsed_us']:
        wrong.append(f'waited for {waited} us of {report["elapsed_us"]} us')
    if waited < 200_000 and not inside:
        wrong.append(f'waited for {waited} us alone')
    if any(row['longest_us'] > row['total_us'] or row['count'] < 1 for row in rows):
        wrong.append(f'a row that cannot be: {rows}')
    if not signalled and not any(
            'deadline passed: ' in line and target in line and f'({library}' in line
            for line in said.splitlines()):
        wrong.append(f'the line does not say {library} on {target}: {said!r}')
    return wrong


def check(words, library, target, port=None, needs=None, signalled=False, around=()):
    def run():
        if needs and not needs():
            return 'the client is not here'
        if port is None and '{port}' in target:
            return 'the server is not here'
        with tempfile.TemporaryDirectory() as directory:
            os.mkfifo(os.path.join(directory, 'fifo'))
            for name, text in [('resolv.conf', 'nameserver 127.0.0.1'), ('nsswitch.conf', 'hosts: dns')]:
                with open(os.path.join(directory, name), 'w', encoding='ascii') as file:
                    print(text, file=file)
            filled = [word.replace('{port}', str(port)).replace('{sleep}', SLEEP) for word in words]
            return complaints_of(*report_of(filled, directory, around), library,
                                 target.replace('{port}', str(port)), signalled, bool(around))
    return run


def works(*words):
    def run():
        try:
            return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, timeout=LONGEST,
                                  check=False).returncode == 0
        except OSError:
            return False
    return run


def checks(postgres, redis, web):
    peer = 'tcp 127.0.0.1:{port}'
    private = works('unshare', '-rmn', 'mount', '--bind', '/etc/hostname', '/etc/resolv.conf')
    psql = ['psql', '-h', '127.0.0.1', '-p', '{port}', '-U', 'postgres', '-c', SLEEP]
    return [
        ('C: psql', check(psql, 'libpq.so.5', peer, postgres, works('psql', '--version'))),
        ('C: redis-cli', check(['redis-cli', '-p', '{port}', 'blpop', 'nothing', '0'],
                               'redis-cli', peer, redis, works('redis-cli', '--version'))),
        ('curl', check([CURL, '-s', 'http://127.0.0.1:{port}/'], 'libcurl', peer, web,
                       works(CURL, '--version'))),
        ('Python: libpq', check([PYTHON, '-c', LIBPQ], 'libpq.so.5', peer, postgres,
                                works(PYTHON, '-c', 'import ctypes; ctypes.CDLL("libpq.so.5")'))),
        ('Python: redis', check([PYTHON, '-c', REDIS], 'python3', peer, redis,
                                works(PYTHON, '-c', 'import redis'))),
        ('Python: pycurl', check([PYTHON, '-c', PYCURL], 'libcurl', peer, web,
                                 works(PYTHON, '-c', 'import pycurl'))),
        ('Ruby: pg', check([RUBY, '-e', RUBY_PG], 'libruby', peer, postgres,
                           works(RUBY, '-rpg', '-e', '0'))),
        ('Ruby: redis', check([RUBY, '-e', RUBY_REDIS], 'libruby', peer, redis,
                              works(RUBY, '-rredis', '-e', '0'))),
        ('C: a name server', check(['getent', 'ahosts', 'name.example'], 'libc.so', 'udp 127.0.0.1:53',
                                   needs=private, around=NAMES)),
        ('Python: a name server', check([PYTHON, '-c', NAME], 'libc.so', 'udp 127.0.0.1:53',
                                        needs=private, around=NAMES)),
        ('a FIFO', check(['cat', 'fifo'], 'cat', 'fifo')),
        ('a child', check(
            [PYTHON, '-c', 'import subprocess; subprocess.run(["sleep", "60"])'],
            'python3', 'sleep 60', signalled=True)),
    ]


def main():
    with server_of('postgres') as postgres, server_of('redis') as redis, server_of('http') as web:
        return tap.report(checks(postgres, redis, web))


if __name__ == '__main__':
    sys.exit(main())
