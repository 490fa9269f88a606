# SPDX-License-Identifier: Apache-2.0
"""test_behaviour_io.py -- input and output that never comes ends at its deadline, and
nothing that comes later is lost."""
import contextlib
import ctypes
import fcntl
import os
import pty
import select
import selectors
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from unittest import mock

from behaviour import Table, in_main_thread

table = Table(__name__)
case = table.case

OWN = 30  # a time-out of the code's own, far behind the deadline


@case()
def sleep():
    yield lambda: time.sleep(OWN)


# Sockets.

@contextlib.contextmanager
def pair(timeout=None):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(timeout)
        yield ours, theirs


def recv_with(timeout):
    with pair(timeout) as (ours, theirs):
        yield lambda: ours.recv(10)
        theirs.send(b'late')
        assert ours.recv(10) == b'late'


@case()
def recv():
    yield from recv_with(None)


@case()
def recv_timed():
    yield from recv_with(OWN)


@case()
def recv_loop():
    """As in code that reads until it has all that it wants."""
    with pair() as (ours, theirs):
        def block():
            while True:
                with contextlib.suppress(OSError):
                    ours.recv(10)
        yield block


@case()
def makefile_readline():
    with pair() as (ours, theirs), ours.makefile() as file:
        yield file.readline
        theirs.send(b'late')
        assert ours.recv(10) == b'late'


def accept_with(timeout):
    with socket.create_server(('127.0.0.1', 0)) as server:
        server.settimeout(timeout)
        yield server.accept
        with socket.create_connection(server.getsockname()):
            server.accept()[0].close()


@case()
def accept():
    yield from accept_with(None)


@case()
def accept_timed():
    yield from accept_with(OWN)


@contextlib.contextmanager
def full_backlog():
    """The address of a server whose queue has no room for another connection."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(('127.0.0.1', 0))
        server.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()


@case()
def connect():
    with full_backlog() as address, socket.socket() as client:
        yield lambda: client.connect(address)


@case()
def connect_timed():
    with full_backlog() as address:
        yield lambda: socket.create_connection(address, timeout=OWN)


def sendall_with(timeout):
    with pair(timeout) as (ours, theirs):
        data = bytes(range(256)) * 40_000
        yield lambda: ours.sendall(data)
        ours.close()
        got = b''.join(iter(lambda: theirs.recv(1 << 20), b''))
        assert got == data[:len(got)]


@case()
def sendall():
    yield from sendall_with(None)


@case()
def sendall_timed():
    yield from sendall_with(OWN)


# Waiting for several.

@case()
def select_select():
    with pair() as (ours, _):
        yield lambda: select.select([ours], [], [])


@case()
def select_timed():
    with pair() as (ours, _):
        yield lambda: select.select([ours], [], [], OWN)


def poll_with(timeout):
    with pair() as (ours, _):
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        yield lambda: poll.poll(timeout)


@case()
def poll():
    yield from poll_with(None)


@case()
def poll_timed():
    yield from poll_with(1000 * OWN)


def epoll_with(timeout):
    with pair() as (ours, theirs), select.epoll() as epoll:
        epoll.register(ours, select.EPOLLIN)
        yield lambda: epoll.poll(timeout)
        theirs.send(b'late')
        assert epoll.poll(OWN) == [(ours.fileno(), select.EPOLLIN)]


@case()
def epoll():
    yield from epoll_with(None)


@case()
def epoll_timed():
    yield from epoll_with(OWN)


def selector_with(timeout):
    with pair() as (ours, _), selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)
        yield lambda: selector.select(timeout)


@case()
def selector():
    yield from selector_with(None)


@case()
def selector_timed():
    yield from selector_with(OWN)


@case()
def selector_loop():
    """As in an event loop that takes a time-out for nothing to do."""
    with pair() as (ours, _), selectors.DefaultSelector() as selector:
        selector.register(ours, selectors.EVENT_READ)

        def block():
            while True:
                selector.select()
        yield block


# Pipes and files.

@contextlib.contextmanager
def pipe():
    ends = [os.fdopen(end, mode, buffering=0) for end, mode in zip(os.pipe(), ('rb', 'wb'))]
    with ends[0], ends[1]:
        yield ends[0].fileno(), ends[1].fileno()


@case()
def os_read():
    with pipe() as (reader, writer):
        yield lambda: os.read(reader, 10)
        os.write(writer, b'late')
        assert os.read(reader, 10) == b'late'


@case()
def os_write():
    with pipe() as (_, writer):
        def block():
            while True:
                os.write(writer, bytes(4096))
        yield block


@case()
def readline_from_a_pipe():
    with pipe() as (reader, writer), open(reader, closefd=False) as file:
        yield file.readline
        os.write(writer, b'late\n')
        assert file.readline() == 'late\n'


@contextlib.contextmanager
def fifo():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'fifo')
        os.mkfifo(path)
        yield path


@case()
def readline_from_a_fifo():
    with fifo() as path:
        writer = os.open(path, os.O_RDWR)
        with open(path) as file:
            yield file.readline
            os.write(writer, b'late\n')
            assert file.readline() == 'late\n'
        os.close(writer)


@case()
def opening_a_fifo():
    with fifo() as path:
        yield lambda: open(path)


@case()
def input_from_a_pipe():
    with pipe() as (reader, writer), open(reader, closefd=False) as file:
        with mock.patch.object(sys, 'stdin', file):
            yield input
            os.write(writer, b'late\n')
            assert input() == 'late'


@contextlib.contextmanager
def terminal():
    """A terminal at descriptors 0 and 1, where input() reads through C's stdio."""
    saved = os.dup(0), os.dup(1)
    master, slave = pty.openpty()
    try:
        with open(0, closefd=False) as stdin, open(1, 'w', closefd=False) as stdout:
            os.dup2(slave, 0)
            os.dup2(slave, 1)
            with mock.patch.multiple(sys, stdin=stdin, stdout=stdout):
                yield master
    finally:
        for number, descriptor in enumerate(saved):
            os.dup2(descriptor, number)
        for descriptor in *saved, master, slave:
            os.close(descriptor)


@case()
def input_from_a_terminal():
    with terminal() as master:
        yield input
        os.write(master, b'late\n')
        assert input() == 'late'


@case()
def flock():
    with tempfile.NamedTemporaryFile() as theirs, open(theirs.name) as ours:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(ours, fcntl.LOCK_EX)
        fcntl.flock(theirs, fcntl.LOCK_UN)
        fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)


@case()
def lock_of_a_range():
    """Of the open file, not of the process: else this process could not wait for it."""
    def write_lock():
        return struct.pack('hhqqi', fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

    with tempfile.NamedTemporaryFile() as theirs, open(theirs.name, 'r+') as ours:
        fcntl.fcntl(theirs, fcntl.F_OFD_SETLK, write_lock())
        yield lambda: fcntl.fcntl(ours, fcntl.F_OFD_SETLKW, write_lock())


# Children.

@contextlib.contextmanager
def sleeping_child(**options):
    with subprocess.Popen(['sleep', str(OWN)], **options) as child:
        try:
            yield child
        finally:
            child.kill()


@case()
def waitpid():
    with sleeping_child() as child:
        yield lambda: os.waitpid(child.pid, 0)
        assert child.poll() is None


@case()
def child_wait():
    with sleeping_child() as child:
        yield child.wait
        assert child.poll() is None


@case()
def child_wait_timed():
    with sleeping_child() as child:
        yield lambda: child.wait(OWN)
        assert child.poll() is None


@case()
def communicate():
    with sleeping_child(stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        yield child.communicate
        child.kill()
        assert child.communicate() == (b'', b'')


@case()
def communicate_timed():
    with sleeping_child(stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        yield lambda: child.communicate(b'input', timeout=OWN)


def deaf():
    """A child that inherits the deadline ends by itself, sooner perhaps than it is given up:
    without the library it does not."""
    return {name: value for name, value in os.environ.items() if name != 'LD_PRELOAD'}


@case()
def subprocess_run():
    yield lambda: subprocess.run(['sleep', str(OWN)], env=deaf())


@case()
def subprocess_run_timed():
    yield lambda: subprocess.run(['sleep', str(OWN)], env=deaf(), timeout=OWN)


@case()
def check_output():
    yield lambda: subprocess.check_output(['sleep', str(OWN)], env=deaf())


# Libraries of C and of Python's own.

def handshake_with(timeout):
    context = ssl.create_default_context()
    with socket.create_server(('127.0.0.1', 0)) as server:
        with socket.create_connection(server.getsockname(), timeout) as client:
            yield lambda: context.wrap_socket(client, server_hostname='localhost')


@case('ssl')
def ssl_handshake():
    yield from handshake_with(None)


@case('ssl')
def ssl_handshake_timed():
    """It takes no error of poll for an answer, only that its own time-out has run out."""
    yield from handshake_with(OWN)


@case('sqlite3')
def sqlite_lock():
    """It takes no error of a sleep for an answer, but counts what it wanted to sleep: for its own
    time-out, 5 s, a few dozen times."""
    def connection():
        return contextlib.closing(sqlite3.connect(path, isolation_level=None))

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, 'database')
        with connection() as theirs, connection() as ours:
            theirs.execute('BEGIN EXCLUSIVE')
            yield lambda: ours.execute('BEGIN EXCLUSIVE')
            theirs.execute('ROLLBACK')
            ours.execute('BEGIN EXCLUSIVE')


@case()
def ctypes_sleep():
    """Found like any other name."""
    yield lambda: ctypes.CDLL(None).sleep(OWN)


@case()
def ctypes_read():
    with pipe() as (reader, writer):
        libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(10)
        yield lambda: libc.read(reader, buffer, 10)
        os.write(writer, b'late')
        assert libc.read(reader, buffer, 10) == 4 and buffer.value == b'late'


@case()
def ctypes_libc_poll():
    """Looked up in libc itself, past the library's wrapper."""
    yield lambda: ctypes.CDLL('libc.so.6').poll(None, 0, 1000 * OWN)


@case()
def ctypes_libc_poll_loop():
    libc = ctypes.CDLL('libc.so.6')

    def block():
        while True:
            libc.poll(None, 0, -1)
    yield block


Main, Worker = table.classes()
