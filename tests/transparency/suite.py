#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""suite.py -- runs one suite of unittest tests and says how each of them ended.

    suite.py FD SUITE [ID]...

SUITE is what unittest takes: a module, a package, a class.  The tests with these IDs are
left out.  On FD, one line of json for each event: {"begins": ID}, {"id": ID, "how": ...,
"why": ..., "seconds": ...}, and {"end": true} after the last one.

What must hold: the tests see what `python3 -m test` would show them, in an empty directory
of their own; only the descriptor is more, and that is the same with and without the library.
"""
import faulthandler
import json
import os
import sys
import time
import traceback
import unittest


class Report(unittest.TestResult):
    """Tells how a test ended when it has ended: the worst of what was said of it."""

    WORST = ('ok', 'expected failure', 'skipped', 'unexpected success', 'failed')

    def __init__(self, say):
        super().__init__()
        self.say = say
        self.current = None

    def startTest(self, test):
        super().startTest(test)
        self.say(begins=test.id())
        self.current = test
        self.how, self.why, self.begun = 'ok', '', time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        self.say(id=test.id(), how=self.how, why=self.why,
                 seconds=round(time.monotonic() - self.begun, 3))
        self.current = None

    def note(self, test, how, why=''):
        if self.current is None:  # setUpModule, setUpClass and their ends are no tests
            self.say(id=test.id(), how=how, why=why, seconds=0)
        elif self.WORST.index(how) > self.WORST.index(self.how):
            self.how, self.why = how, why

    def addError(self, test, error):
        self.note(test, 'failed', ''.join(traceback.format_exception(*error)))

    addFailure = addError

    def addSkip(self, test, reason):
        self.note(test, 'skipped', reason)

    def addExpectedFailure(self, test, error):
        self.note(test, 'expected failure')

    def addUnexpectedSuccess(self, test):
        self.note(test, 'unexpected success')

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.addError(test, error)


def without(suite, left_out):
    rest = unittest.TestSuite() if type(suite) is unittest.TestSuite else type(suite)()
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            rest.addTest(without(test, left_out))
        elif test.id() not in left_out:
            rest.addTest(test)
    return rest


def main(fd, name, *left_out):
    fd = int(fd)
    os.set_inheritable(fd, False)
    process = os.getpid()

    def say(**what):
        if os.getpid() == process:  # not a child that a test has forked
            os.write(fd, json.dumps(what).encode() + b'\n')

    faulthandler.enable(all_threads=True)
    if name.startswith('test.'):
        from test import support
        support.use_resources = ()  # what `python3 -m test` leaves out: networks, gigabytes
        support.verbose = 0
    suite = unittest.defaultTestLoader.loadTestsFromName(name)
    without(suite, frozenset(left_out)).run(Report(say))
    say(end=True)
    # A thread that a test has left behind must not keep this process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == '__main__':
    main(*sys.argv[1:])
