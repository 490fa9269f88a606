# SPDX-License-Identifier: Apache-2.0
"""matrix_servers.py -- the other ends of the matrix: two that never come to an end, and
the ones that work.

Each run of a program has a server of its own, so that what the server saw is what that
program did: `connected` is set by its first connection.  All listen on ports of 127.0.0.1
that the kernel picks, and are threads of this process: they end with it.
"""
import contextlib
import http.server
import os
import socketserver
import ssl
import subprocess
import threading

EVERY = 0.1  # seconds from drop to drop

# What a drip server says first, so that the client takes it for one of its kind and waits
# for the rest; the rest is one byte now and then, for ever.  It says so when it has been
# asked, but for the protocols in which the server speaks first.
HEADS = {
    'raw': b'',
    'http': b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n',
    'tls': b'\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03',  # a long ServerHello
    'git': b'0800 HEAD\0',
    'mysql': b'\x00\x02\x00\x00\x0a',  # a handshake whose server version does not end
    'postgres': b'E\x00\x00\x40\x00S',  # an error message of 16 KiB
    'redis': b'$1000000\r\n',
    'rsync': b'@RSYNCD: 31.0\n',
    'ssh': b'SSH-2.0-',
}
UNASKED = 'raw', 'mysql', 'rsync', 'ssh'


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler):
        super().__init__(('127.0.0.1', 0), handler)
        self.connected = threading.Event()
        self.over = threading.Event()

    @property
    def port(self):
        return self.server_address[1]

    def process_request(self, request, client_address):
        self.connected.set()
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """Clients go away in the middle: that is what they are here for."""


class BlackHole(socketserver.BaseRequestHandler):
    """Accepts, reads nothing, says nothing."""

    def handle(self):
        self.server.over.wait()


def drip(protocol):
    class Drip(socketserver.BaseRequestHandler):
        def handle(self):
            if protocol not in UNASKED:
                self.request.recv(1)
            self.request.sendall(HEADS[protocol])
            while not self.server.over.wait(EVERY):
                self.request.sendall(b'.')
    return Drip


class Hello(http.server.SimpleHTTPRequestHandler):
    """The files of a directory, always with the same headers: two answers are to be equal."""

    def __init__(self, request, client_address, server):
        super().__init__(request, client_address, server, directory=server.directory)

    def date_time_string(self, timestamp=None):
        return super().date_time_string(0)

    def log_message(self, *_):
        pass


class Raw(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b'hello\n')


class Redis(socketserver.StreamRequestHandler):
    """Answers each command, an array of strings, with the same string."""

    def handle(self):
        while head := self.rfile.readline():
            for _ in range(2 * int(head[1:])):
                self.rfile.readline()
            self.wfile.write(b'$5\r\nhello\r\n')


def working(kind, directory):
    if kind not in ('http', 'tls'):
        return Server({'raw': Raw, 'redis': Redis}[kind])
    server = Server(Hello)
    server.directory = os.path.join(directory, 'site')
    if kind == 'tls':
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(directory, 'cert.pem'))
        server.socket = context.wrap_socket(server.socket, server_side=True,
                                            do_handshake_on_connect=False)
    return server


def prepare(directory):
    """What the working servers serve: a file, a git repository for its dumb protocol, and the
    certificate of the one with TLS."""
    site = os.path.join(directory, 'site')
    os.makedirs(site)
    with open(os.path.join(site, 'index.html'), 'w', encoding='utf-8') as page:
        page.write('hello\n')
    run = dict(check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
               stdin=subprocess.DEVNULL, timeout=60)
    with contextlib.suppress(FileNotFoundError):
        git = ['git', '-C', os.path.join(site, 'repository.git')]
        subprocess.run(['git', 'init', '--bare', git[-1]], **run)
        empty = subprocess.run(git + ['hash-object', '-wt', 'tree', '/dev/null'],
                               **{**run, 'stdout': subprocess.PIPE}).stdout.strip()
        who = ['-c', 'user.name=nobody', '-c', 'user.email=nobody@example.org']
        commit = subprocess.run(git[:1] + who + git[1:] + ['commit-tree', '-m', 'empty', empty],
                                **{**run, 'stdout': subprocess.PIPE}).stdout.strip()
        subprocess.run(git + ['update-ref', 'HEAD', commit], **run)
        subprocess.run(git + ['update-server-info'], **run)
    certificate = os.path.join(directory, 'cert.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
                    '-subj', '/CN=127.0.0.1', '-keyout', certificate + '.key',
                    '-out', certificate], **run)
    with open(certificate, 'a', encoding='ascii') as both:
        with open(certificate + '.key', encoding='ascii') as key:
            both.write(key.read())


@contextlib.contextmanager
def serving(kind, protocol, directory):
    """kind: 'black hole', 'drip', 'stalled TLS', 'working'."""
    if kind == 'working':
        server = working(protocol, directory)
    else:
        server = Server(drip(protocol) if kind == 'drip' else BlackHole)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
