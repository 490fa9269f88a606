# SPDX-License-Identifier: Apache-2.0
"""scope.py -- `scope.py ROUNDS` prints ns of one entered and left scope of each kind, by turns, as
JSON.  $PEERS is where Debian keeps the modules that it is compared with."""
import asyncio
import contextlib
import json
import os
import signal
import sys
import time

import coopdl

if os.environ.get('PEERS'):
    sys.path.append(os.environ['PEERS'])


@contextlib.contextmanager
def setitimer(seconds):
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_scopes(make, times):
    begun = time.process_time_ns()
    for _ in range(times):
        with make(3600):
            pass
    return (time.process_time_ns() - begun) / times


def in_calls(function, times):
    begun = time.process_time_ns()
    for _ in range(times):
        function()
    return (time.process_time_ns() - begun) / times


def nothing():
    pass


def in_asyncio(times):
    async def run():
        begun = time.process_time_ns()
        for _ in range(times):
            async with asyncio.timeout(3600):
                pass
        return (time.process_time_ns() - begun) / times
    return asyncio.run(run())


def timeout(times):
    begun = time.process_time_ns()
    for _ in range(times):
        with coopdl.timeout(3600):
            pass
    return (time.process_time_ns() - begun) / times


def nullcontext(times):
    begun = time.process_time_ns()
    for _ in range(times):
        with contextlib.nullcontext():
            pass
    return (time.process_time_ns() - begun) / times


def with_stopit(kind):
    import stopit
    make = getattr(stopit, kind)
    return lambda times: in_scopes(make, times)


def with_timeout_decorator():
    import timeout_decorator
    function = timeout_decorator.timeout(3600)(nothing)
    return lambda times: in_calls(function, times)


def with_func_timeout():
    import func_timeout
    return lambda times: in_calls(lambda: func_timeout.func_timeout(3600, nothing), times)


# Name, how many in one round, and what gives the function.  timeout-decorator's and func-timeout's
# cost of a call stands for that of a scope: they have none.
KINDS = [
    ('timeout', 5000, lambda: timeout),
    ('nullcontext', 5000, lambda: nullcontext),
    ('setitimer in a context manager', 200, lambda: lambda times: in_scopes(setitimer, times)),
    ('asyncio.timeout', 200, lambda: in_asyncio if hasattr(asyncio, 'timeout') else None),
]
PEERS = [
    ('stopit.ThreadingTimeout', 50, lambda: with_stopit('ThreadingTimeout')),
    ('stopit.SignalTimeout', 50, lambda: with_stopit('SignalTimeout')),
    ('timeout-decorator', 200, with_timeout_decorator),
    ('func-timeout', 20, with_func_timeout),
]


def main():
    measures, results = {}, {}
    for name, times, find in KINDS + (PEERS if os.environ.get('PEERS') else []):
        try:
            measures[name] = (find(), times)
            results[name] = []
        except ImportError:
            results[name] = 'not installed'
        else:
            if not measures[name][0]:
                results[name] = 'not in this Python'
                del measures[name]
    for turn in range(int(sys.argv[1]) + 1):
        for name, (measure, times) in measures.items():
            ns = measure(times)
            if turn:  # the first warms up
                results[name].append(ns)
    json.dump(results, sys.stdout)


main()
