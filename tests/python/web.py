# SPDX-License-Identifier: Apache-2.0
"""web.py -- servers for tests: one that never answers, others that are programs, and their clients."""
import contextlib
import ctypes
import http.client
import operator
import os
import signal
import socketserver
import subprocess
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import coopdl

PATH = os.path.dirname(os.path.dirname(coopdl.__file__))
# Seconds for a server to begin, or a client to be answered.
TIMEOUT = 45 if os.environ.get('LOAD') else 15


class Silent(socketserver.ThreadingTCPServer):
    """It takes connections and reads, and never answers.  `open` is how many it has."""
    daemon_threads = True
    request_queue_size = 200

    def __init__(self):
        self.open = 0
        self.lock = threading.Lock()
        super().__init__(('127.0.0.1', 0), None)
        self.url = f'http://127.0.0.1:{self.server_address[1]}/'
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def count(self, number):
        with self.lock:
            self.open += number

    def finish_request(self, request, client_address):
        self.count(1)
        with contextlib.suppress(OSError):
            while request.recv(4096):
                pass
        self.count(-1)

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def get(port, path, **headers):
    """The status and the body."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request('GET', path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


def get_all(port, paths, **headers):
    """All at once, each from a thread of its own."""
    barrier = threading.Barrier(len(paths))

    def one(path):
        barrier.wait()
        return get(port, path, **headers)
    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(one, paths))


def wait_until(true, describe=lambda: 'it'):
    until = time.monotonic() + TIMEOUT
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f'{describe()} does not become true')
        time.sleep(0.01)


def end_with_the_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def kill_group(process):
    """One that was started in a session of its own, with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Program:
    """A server that is a program; it listens on a socket that it inherits, so that it is there
    before it has begun."""

    def __init__(self, *command, cwd, log, descriptor, **variables):
        self.log = log
        with open(log, 'wb') as file:
            self.process = subprocess.Popen(
                command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True, preexec_fn=end_with_the_parent, pass_fds=[descriptor],
                env={**os.environ, 'PYTHONPATH': PATH, 'PYTHONUNBUFFERED': '1', **variables})

    def said(self):
        with open(self.log, encoding='utf-8') as file:
            return file.read()

    def children(self):
        pid = self.process.pid
        with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as file:
            return sorted(int(child) for child in file.read().split())

    def close(self):
        kill_group(self.process)


def holds(pid):
    """How many threads and how many sockets, pipes and files a process has."""
    return len(os.listdir(f'/proc/{pid}/task')), len(os.listdir(f'/proc/{pid}/fd'))


def holds_no_more(pid, before):
    return all(map(operator.le, holds(pid), before))


def quoted(url):
    return urllib.parse.quote(url, safe='')
