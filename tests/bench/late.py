# SPDX-License-Identifier: Apache-2.0
"""late.py -- `late.py ROUNDS` prints how many ns after its deadline each kind of work was ended, by
a scope and by turns by what it is compared with, as JSON: {what: [peer, [ns], [ns]]}.  $PEERS is
where Debian keeps the modules that it is compared with."""
import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time

import coopdl

if os.environ.get('PEERS'):
    sys.path.append(os.environ['PEERS'])
try:
    import stopit
except ImportError:
    stopit = None

DELAY = 0.01
ROUNDS = int(sys.argv[1])
# So long that whoever is not ended is seen to be: seconds.
STUCK = 5


class Alarm(Exception):
    pass


def on_alarm(*_):
    raise Alarm


@contextlib.contextmanager
def setitimer(seconds):
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def loop():
    until = time.monotonic() + STUCK
    while time.monotonic() < until:
        pass


def regex():
    re.match('(a|a)*b', 'a' * 30)


def recv():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


def lock():
    held = threading.Lock()
    held.acquire()
    held.acquire()


def lateness(scope, work):
    deadline = time.monotonic_ns() + int(DELAY * 1e9)
    try:
        with scope(DELAY):
            work()
    except (TimeoutError, Alarm):
        return time.monotonic_ns() - deadline
    raise SystemExit(f'{work.__name__} was not ended by {scope.__name__}')


def stopit_lateness(work):
    deadline = time.monotonic_ns() + int(DELAY * 1e9)
    try:
        with stopit.ThreadingTimeout(DELAY):
            work()
    except stopit.TimeoutException:  # on a busy machine it may come as the block is entered
        pass
    return time.monotonic_ns() - deadline


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def by_turns(mine, theirs):
    figures = [], []
    for _ in range(ROUNDS):
        figures[0].append(mine())
        if theirs:
            figures[1].append(theirs())
    return figures


def main():
    results = {}
    signal.signal(signal.SIGALRM, on_alarm)
    for work in (loop, regex, recv, lock):
        def mine(work=work):
            return lateness(coopdl.timeout, work)
        results[f'main thread, {work.__name__}'] = \
            'setitimer', *by_turns(mine, lambda work=work: lateness(setitimer, work))
        # An asynchronous exception alone ends no call.
        compared = stopit and work is loop
        results[f'worker, {work.__name__}'] = \
            'stopit' if compared else '-', *in_thread(lambda mine=mine, compared=compared: by_turns(
                mine, (lambda: stopit_lateness(loop)) if compared else None))
    json.dump(results, sys.stdout)


main()
