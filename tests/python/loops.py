# SPDX-License-Identifier: Apache-2.0
"""loops.py -- loops that hold or take a lock, to be ended anywhere (HANDLED, LOCKS)."""
import itertools
import multiprocessing
import os
import queue
import socket
import threading

import coopdl

# What the interpreter's own delivery leaves out in one version or another: each takes a lock and
# a list, says there that it has begun, and has to have let go of the one and written to the other
# when it has been ended.

def loop_on_two_lines(lock, log):
    try:
        log.append('in')
        while True: pass  # noqa: E701
    finally:
        log.append('out')


def loop_at_the_beginning(lock, log):
    log.append('in')
    try:
        while True: pass  # noqa: E701
    finally:
        log.append('out')


def loop_on_three_lines(lock, log):
    try:
        log.append('in')
        while True:
            pass
    finally:
        log.append('out')


def loop_with_a_condition(lock, log):
    going = True
    try:
        log.append('in')
        with lock:
            while going: pass  # noqa: E701
    finally:
        log.append('out')


def loop_in_a_lock(lock, log):
    try:
        log.append('in')
        with lock:
            while True: pass  # noqa: E701
    finally:
        log.append('out')


def loop_over_an_iterator(lock, log):
    try:
        log.append('in')
        with lock:
            for _ in itertools.count():
                pass
    finally:
        log.append('out')


def loop_that_retries(lock, log):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            log.append('in')
            with lock:
                while True:
                    try:
                        ours.recv(1)
                    except OSError:
                        continue
        finally:
            log.append('out')


def loop_over_a_pipe(lock, log):
    reading, writing = os.pipe()
    with os.fdopen(reading) as lines, os.fdopen(writing, 'w'):
        try:
            log.append('in')
            with lock:
                for _ in lines:
                    pass
        finally:
            log.append('out')


def loop_that_handles(lock, log):
    try:
        log.append('in')
        loop_on_two_lines(lock, [])
    except coopdl.DeadlineReached:
        log.append('out')
        raise


def loop_in_a_generator(lock, log):
    def numbers():
        with lock:
            while True: pass  # noqa: E701
            yield
    try:
        log.append('in')
        for _ in numbers():
            pass
    finally:
        log.append('out')


def comprehension(lock, log):
    try:
        log.append('in')
        with lock:
            [0 for _ in itertools.count() if False]
    finally:
        log.append('out')


def recursion(lock, log):
    def down(depth):
        return down(depth - 1) if depth else 0
    try:
        log.append('in')
        with lock:
            while True: down(50)  # noqa: E701
    finally:
        log.append('out')


HANDLED = (loop_on_two_lines, loop_at_the_beginning, loop_on_three_lines, loop_with_a_condition, loop_in_a_lock,
           loop_over_an_iterator, loop_that_retries, loop_over_a_pipe, loop_that_handles,
           loop_in_a_generator, comprehension, recursion)


# Locks whose __enter__ and __exit__ are written in Python: each returns what a loop does with it,
# and whether it has been left taken.

class Wrapped:
    """A lock whose __enter__ and __exit__ are written in Python."""

    def __init__(self):
        self.lock = threading.Lock()

    def __enter__(self):
        return self.lock.__enter__()

    def __exit__(self, *error):
        return self.lock.__exit__(*error)


def taken_and_given_back(lock):
    def loop():
        while True:
            with lock:
                pass
    return loop


def wrapped():
    lock = Wrapped()
    return taken_and_given_back(lock), lock.lock.locked


def condition():
    lock = threading.Condition(threading.Lock())
    return taken_and_given_back(lock), lock._lock.locked


def semaphore():
    lock = threading.Semaphore()
    return taken_and_given_back(lock), lambda: lock._cond._lock.locked() or not lock.acquire(False)


def of_processes():
    lock = multiprocessing.Lock()
    return taken_and_given_back(lock), lambda: not lock.acquire(False)


def of_a_queue():
    numbers = queue.Queue()

    def loop():
        while True:
            numbers.put(1)
            numbers.get()
    return loop, numbers.mutex.locked


LOCKS = wrapped, condition, semaphore, of_processes, of_a_queue
