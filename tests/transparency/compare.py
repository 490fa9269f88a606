#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""compare.py -- runs suites without and with the library, and shows what differs.

    compare.py [--tap] SUITE...

SUITE: see suite.py.  COOPDL_LIBRARY and ENTER name the library and what enter.c is built to.
Each suite runs three times: plain, under a budget of one hour, and inside a scope of one hour
in every thread.  What ends otherwise than plain is run again, AGAIN times each way:

  different   it ends with the library as it never does without: a fault of the library's
  unsteady    it ends in several ways without the library too, or it was different only once

What must hold: a test that hangs or takes its process down costs its own result and no
other's; what is left of a suite is ended, by its process group.
"""
import collections
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SILENCE = 100  # seconds that a test may take
AGAIN = 5
# What a test that was killed has left may change while it is removed; Python 3.10 knows the word.
LEFT = {'ignore_cleanup_errors': True} if sys.version_info >= (3, 10) else {}
WAYS = ('plain', 'budget', 'scope')


def environment(way):
    """What a test was given, and no more: PYTHONPATH and the like would change what runs."""
    library = os.environ['COOPDL_LIBRARY']
    given = {name: os.environ[name] for name in ('PATH', 'HOME', 'USER', 'LOGNAME', 'TMPDIR')
             if name in os.environ}
    given['LC_ALL'] = 'C.UTF-8'
    if way == 'budget':
        given.update(LD_PRELOAD=library, COOPDL_BUDGET='1h')
    elif way == 'scope':
        given['LD_PRELOAD'] = f"{os.environ['ENTER']} {library}"
    return given


class Child:
    """One process that runs (the rest of) a suite; results() yields what it says."""

    def __init__(self, suite, way, left_out, directory, log):
        self.pipe, theirs = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, 'suite.py'), str(theirs), suite, *left_out],
            env=environment(way), pass_fds=[theirs], start_new_session=True, cwd=directory,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        os.close(theirs)
        self.ended = os.pidfd_open(self.process.pid)
        self.rest = b''

    def lines(self):
        *lines, self.rest = (self.rest + os.read(self.pipe, 65536)).split(b'\n')
        return [json.loads(line) for line in lines]

    def said(self):
        """Yields what it says; ends with a text, of why it said no more."""
        while True:
            ready, _, _ = select.select([self.pipe, self.ended], [], [], SILENCE)
            if self.pipe in ready:
                lines = self.lines()
                yield from lines
                # Its children may hold the pipe open; the end of the file says nothing else.
                if lines and 'end' in lines[-1]:
                    return None
                if lines:
                    continue
            if not ready:
                return f'hangs: nothing for {SILENCE} s'
            if self.ended in ready:
                status = self.process.wait()
                return (f'ends its process by {signal.Signals(-status).name}' if status < 0
                        else f'ends its process with status {status}')

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.pipe)
        os.close(self.ended)


def run(suite, way, results, left_out=()):
    """Adds each test's (how, why, seconds) to `results`."""
    done = set(left_out)
    while True:
        at = f'{suite} (before its first test)'
        with tempfile.TemporaryDirectory(**LEFT) as directory, \
                tempfile.TemporaryFile() as log:
            child = Child(suite, way, sorted(done), directory, log)
            try:
                said = child.said()
                why = None
                while True:
                    try:
                        event = next(said)
                    except StopIteration as stop:
                        why = stop.value
                        break
                    if 'begins' in event:
                        at = event['begins']
                    elif 'id' in event:
                        results[event['id']] = event['how'], event['why'], event['seconds']
                        done.add(event['id'])
                        at = f"{suite} (after {event['id']})"
            finally:
                child.end()
            if why is None:
                return
            log.seek(0)
            results[at] = why, log.read()[-4000:].decode(errors='replace'), 0
        if at in done or at.startswith(suite + ' ('):
            return
        done.add(at)


def how(results, test):
    return results[test][0] if test in results else 'is not run'


def repeat(suite, test, way):
    """How a test ends, as a set: alone, AGAIN times; with its whole suite where it is none."""
    ends = set()
    for _ in range(AGAIN):
        results = {}
        alone = test if test.startswith(suite + '.') and ' ' not in test else suite
        run(alone, way, results)
        ends.add(how(results, test))
    return ends


def say(text):
    print(text, file=sys.stderr, flush=True)


def compare(suite):
    """Returns the number of tests, and of each that ended otherwise (verdict, text)."""
    results = {way: {} for way in WAYS}
    # What hangs without the library is not waited for again.
    seconds = []
    left_out = []
    for way in WAYS:
        begun = time.monotonic()
        run(suite, way, results[way], left_out)
        seconds.append(f'{time.monotonic() - begun:.0f}')
        if way == 'plain':
            left_out = [test for test, result in results[way].items() if result[0][:4] == 'hang']
    counts = collections.Counter(result[0].partition(':')[0] for result in results['plain'].values())
    say(f"{suite}: " + ', '.join(f'{count} {name}' for name, count in counts.most_common())
        + f" ({'/'.join(seconds)} s)")

    found = []
    tests = dict.fromkeys(test for way in WAYS for test in results[way])
    for test in tests:
        plain = how(results['plain'], test)
        for way in WAYS[1:]:
            mine = how(results[way], test)
            if mine == plain or test in left_out:
                continue
            say(f'  {test}: {plain} plain, {mine} with a {way}; again, {AGAIN} times each')
            plains = repeat(suite, test, 'plain') | {plain}
            again = repeat(suite, test, way)
            if mine in plains or again <= plains:
                verdict = 'unsteady'
            else:
                verdict = 'different'
            text = (f"{test} with a {way}: {mine}, then {' or '.join(sorted(again))}; "
                    f"without the library: {' or '.join(sorted(plains))}")
            why = results[way][test][1] if test in results[way] else ''
            say(f'  {verdict}: {text}\n' + ''.join(f'    {line}\n' for line in why.splitlines()))
            found.append((verdict, text))
    return len(results['plain']), found


def main(arguments):
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    tap = arguments[:1] == ['--tap']
    suites = arguments[tap:]
    begun = time.monotonic()
    verdicts = collections.Counter()
    total = 0
    if tap:
        print(f'1..{len(suites)}', flush=True)
    for number, suite in enumerate(suites, 1):
        count, found = compare(suite)
        total += count
        verdicts.update(verdict for verdict, _ in found)
        different = [text for verdict, text in found if verdict == 'different']
        if tap:
            good = count and not different
            print(f"{'ok' if good else 'not ok'} {number} - {suite}: {count} tests, "
                  f'{len(different)} different')
            for verdict, text in found:
                print(f'# {verdict}: {text}')
            sys.stdout.flush()
        else:
            print(f'{suite}: {count} tests, {len(different)} different', flush=True)
        if not count:
            verdicts['different'] += 1
    line = (f"{total} tests, each three times; {verdicts['different']} different, "
            f"{verdicts['unsteady']} unsteady; {time.monotonic() - begun:.0f} s")
    print(('# ' if tap else '') + line)
    return 1 if verdicts['different'] else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
