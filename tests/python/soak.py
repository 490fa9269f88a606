#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""soak.py -- threads that do at random all that a deadline may interrupt: see USAGE.

What must hold: every count in the table is 0.  Each of them fires where it should: --self-check
does what it is there to find.
"""
import argparse
import contextlib
import errno
import faulthandler
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from run import DUMP, Busy, compute, end_with_the_parent, install  # noqa: E402

USAGE = """\
usage: soak.py [--seconds N] [--seed N] [--load N] [--venv DIRECTORY] [--self-check]

--seconds N       60 unless given
--seed N          what is random is the same for the same seed; printed at the beginning
--load N          beside N processes and two threads that compute
--venv DIRECTORY  test what is installed there (installed.py); otherwise what PYTHONPATH has, with
                  COOPDL_LIBRARY preloaded
--self-check      each count in turn is made to fire"""

COUNTS = {
    'early': 'cut before the deadline',
    'stray': 'raised outside of any scope, or for another one',
    'lost': 'a body that went on long after its deadline',
    'swallowed': 'a body that ended late, and nothing was raised',
    'locked': 'a lock that was left locked',
    'entered': 'a scope that was left entered',
    'destructor': 'raised in a destructor or a callback',
    'gone': 'a thread that ended, or did not',
    'finally': 'a finally block that did not run',
    'mistaken': 'taken for the failure of a call',
    'child': 'a forked child that went wrong',
}
THREADS = 8  # the main thread is one of them
LONG = 10.0 if os.environ.get('LOAD') else 2.0  # after its deadline a body is lost
GRACE = 5.0  # of each scope: a body that only its end has ended was lost, however slow the machine
EXAMPLES = 3  # of each count are printed


def child_main(seconds, seed, broken):
    import coopdl
    from soak_bodies import BOUND, OFTEN, SELDOM, Things, Token, forget_loops, fork, not_mistaken, step

    Reached = coopdl.DeadlineReached
    ours = Reached, coopdl.DeadlineExceeded

    class Report:
        def __init__(self):
            self.counts = dict.fromkeys(COUNTS, 0)
            self.others = {}
            self.lock = threading.Lock()

        def count(self, name, why):
            with coopdl.shield(), self.lock:
                self.counts[name] += 1
                if self.counts[name] <= EXAMPLES:
                    print(f'{name}: {why}', flush=True)

        def other(self, error):
            """An error of the program's own, as an end in the middle of something makes them."""
            with self.lock:
                where = traceback.extract_tb(error.__traceback__)[-1]
                key = f'{type(error).__name__}: {str(error)[:60]} ({where.name})'
                self.others[key] = self.others.get(key, 0) + 1

    class Thread(Things):
        def __init__(self, number, report, shared):
            super().__init__()
            self.random = random.Random(f'{seed} {number}')
            self.report, self.shared = report, shared
            self.broken = broken if number == THREADS - 1 else None
            self.count = report.count
            self.tokens, self.late_tokens = [], []
            self.outermost = self.until = None  # the scope, and its deadline while it is entered
            self.rounds = self.raised = self.told = 0
            self.finished = False

        def judge_time(self, error):
            scope = getattr(error, 'scope', None)
            if scope is None:
                self.count('stray', 'without a scope')
            elif time.monotonic() < scope.when():
                self.count('early', f'{1e6 * (scope.when() - time.monotonic()):.0f} us')
            elif time.monotonic() > scope.when() + GRACE:
                self.count('lost', ''.join(traceback.format_exception(error)))

        def nest(self, depth):
            """A scope in which others come and go, and then a body."""
            scope = coopdl.timeout(self.random.uniform(0, BOUND))
            inner = depth and self.random.random() < 0.7
            body = self.random.choice(SELDOM if self.random.random() < 0.05 else OFTEN)
            if self.outermost is None:
                self.outermost = scope
            late = None
            with scope:
                if self.outermost is scope:
                    self.until = scope.when()
                if inner:
                    self.within(depth)
                if self.random.random() < 0.8:
                    body(self)
                late = time.monotonic() - scope.when()
            if late is not None and late > 1e-6:
                self.count('swallowed', f'{body.__name__}, {1e6 * late:.0f} us late')

        def within(self, depth):
            try:
                self.nest(depth - 1)
            except coopdl.DeadlineExceeded as error:
                self.judge_time(error)
                if error.scope is self.outermost:
                    raise

        def scoped(self):
            self.outermost = self.until = None
            try:
                self.nest(self.random.randrange(4))
            except coopdl.DeadlineExceeded as error:
                self.raised += 1
                self.judge_time(error)
                if error.scope is not self.outermost:
                    self.count('stray', 'of another scope')
            except Exception as error:
                self.report.other(error)
            finally:
                self.until = None

        def between(self):
            """Outside of all scopes."""
            if coopdl.deadline() is not None:
                self.count('entered', f'{coopdl.deadline() - time.monotonic():.3f} s left')
            for name in self.left_locked():
                self.count('locked', name)
            # A frame that an error holds may hold what has a finally yet.
            self.late_tokens += [token for token in self.tokens if token.missed()]
            self.tokens.clear()
            end = time.monotonic() + self.random.uniform(0, 0.0005)
            while time.monotonic() < end:
                step(1)

        def run(self, until):
            here = os.getpid()
            while time.monotonic() < until:
                try:
                    self.scoped()
                    self.between()
                    if self.broken:
                        self.misbehave()
                except SystemExit:
                    if os.getpid() == here:
                        raise
                    os._exit(124)
                except ours as error:
                    self.count('stray', ''.join(traceback.format_exception(type(error), error,
                                                                           error.__traceback__)))
                self.rounds += 1
            self.finished = True

        def misbehave(self):
            """Does what the count is there to find."""
            broken = self.broken
            self.broken = None if broken in ('lost', 'gone') else broken
            if broken == 'early':
                error = Reached()
                error.scope = coopdl.timeout_at(time.monotonic() + 60)
                self.judge_time(error)
            elif broken == 'stray':
                raise Reached
            elif broken == 'lost':
                scope = coopdl.timeout(0)
                try:
                    with scope, coopdl.shield():
                        self.until = scope.when()
                        time.sleep(LONG + 0.5)
                except coopdl.DeadlineExceeded:
                    self.until = None
            elif broken == 'swallowed':
                scope = coopdl.timeout
                coopdl.timeout = Swallowing
                try:
                    self.scoped()
                finally:
                    coopdl.timeout = scope
            elif broken == 'locked':
                self.random.choice(self.own).__enter__()
            elif broken == 'entered':
                self.left = coopdl.timeout(60)
                self.left.__enter__()
            elif broken == 'destructor':
                Raising()
            elif broken == 'gone':
                sys.exit()
            elif broken == 'finally':
                token = Token('misbehave')
                token.begun = True
                self.tokens.append(token)
            elif broken == 'mistaken':
                with contextlib.suppress(OSError):
                    not_mistaken(self, self.fail)
            elif broken == 'child':
                fork(self)

        def fail(self):
            raise OSError(errno.ETIMEDOUT, 'as a cut call fails')

    class Swallowing:
        """A scope that does nothing at its end; no body may be without one, so it takes one."""

        def __init__(self, seconds):
            self.scope = made(seconds)
            self.when = self.scope.when

        def __enter__(self):
            return self.scope.__enter__()

        def __exit__(self, *error):
            try:
                self.scope.__exit__(*error)
            except coopdl.DeadlineExceeded:
                pass
            return True

    made = coopdl.timeout

    class Raising:
        def __del__(self):
            raise Reached

    def look_at_destructors():
        while unraisable:
            what = unraisable.pop()
            if issubclass(what.exc_type, (*ours, SystemError)):
                report.count('destructor', f'{what.exc_type.__name__} in {what.object!r:.100}')
            elif what.exc_value is not None:
                report.other(what.exc_value.with_traceback(what.exc_traceback))

    def watch():
        """Looks at the other threads; it is in no scope."""
        while not done.wait(0.05):
            look_at_destructors()
            now = time.monotonic()
            for thread in threads:
                until, rounds = thread.until, thread.rounds
                if until is not None and now > until + LONG and thread.told != rounds + 1:
                    thread.told = rounds + 1
                    frame = sys._current_frames().get(thread.ident)
                    report.count('lost', ''.join(traceback.format_stack(frame)) if frame else '')

    def work(thread):
        thread.ident = threading.get_ident()
        thread.run(until)
        forget_loops()  # and with them their coroutines, which are closed

    warnings.simplefilter('ignore')
    report, shared, done = Report(), threading.Lock(), threading.Event()
    unraisable = []
    sys.unraisablehook = unraisable.append  # nothing can be raised in it
    until = time.monotonic() + seconds
    threads = [Thread(number, report, shared) for number in range(THREADS)]
    workers = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in threads[1:]]
    watcher = threading.Thread(target=watch, daemon=True)
    for worker in [watcher, *workers]:
        worker.start()
    work(threads[0])
    for thread, worker in zip(threads[1:], workers):
        worker.join(max(0, until + 2 * LONG - time.monotonic()))
        if not thread.finished:
            report.count('gone', f'after {thread.rounds} rounds')
    done.set()
    watcher.join()
    gc.collect()
    look_at_destructors()
    for thread in threads:
        for token in filter(Token.missed, thread.late_tokens):
            report.count('finally', token.where)
    show(report, sum(thread.rounds for thread in threads), sum(thread.raised for thread in threads))
    sys.stdout.flush()
    # A thread that is left behind must not keep the process alive.
    os._exit(1 if any(report.counts.values()) else 0)


def show(report, rounds, raised):
    print(f'{rounds} rounds, {raised} of them ended by their deadline')
    for name, count in report.counts.items():
        print(f'{name:12} {count:6}  {COUNTS[name]}')
    for error, count in sorted(report.others.items()):
        print(f'  besides {count:6}  {error}')


def child(arguments):
    end_with_the_parent()
    faulthandler.enable(all_threads=True)
    if os.environ['LOAD']:
        for _ in range(2):
            threading.Thread(target=compute, daemon=True).start()
    child_main(float(arguments[0]), arguments[1], arguments[2])


def soak(wanted, seconds, broken=''):
    """The child's exit status; one that hangs prints the tracebacks of its threads."""
    environment = dict(os.environ, LD_PRELOAD=os.environ['COOPDL_LIBRARY'], LOAD=str(wanted.load or ''))
    process = subprocess.Popen(
        [wanted.python, __file__, '--child', str(seconds), str(wanted.seed), broken], env=environment,
        stdin=subprocess.DEVNULL, start_new_session=True,
        stdout=subprocess.PIPE if broken else None, text=True)
    try:
        output, _ = process.communicate(timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        print('hung; its tracebacks are on stderr', flush=True)
        process.send_signal(signal.SIGABRT)
        time.sleep(DUMP)
        output = ''
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # and the children that it has forked
        except ProcessLookupError:
            pass
        process.wait()
    return process.returncode, output


def self_check(wanted):
    """Whether each count fires, and none of the others does for it."""
    failed = False
    for name in COUNTS:
        status, output = soak(wanted, 3 if name == 'lost' else 1, name)
        counts = [line.split() for line in output.splitlines()]
        fired = [words[0] for words in counts if len(words) > 2 and words[0] in COUNTS and
                 words[1].isdigit() and words[1] != '0']
        right = status == 1 and name in fired
        failed |= not right
        print(f'{name:12} {"fires" if right else "DOES NOT FIRE"}; fired: {" ".join(fired)}', flush=True)
    return failed


def main(arguments):
    if arguments[:1] == ['--child']:
        child(arguments[1:])
    parser = argparse.ArgumentParser(usage=USAGE.removeprefix('usage: '))
    parser.add_argument('--seconds', type=float, default=60)
    parser.add_argument('--seed', type=int, default=random.randrange(10**6))
    parser.add_argument('--load', type=int, default=0)
    parser.add_argument('--venv')
    parser.add_argument('--self-check', action='store_true')
    wanted = parser.parse_args(arguments)
    wanted.python = sys.executable
    if wanted.venv:
        install(wanted)
    print(f'soak.py --seconds {wanted.seconds:g} --seed {wanted.seed} --load {wanted.load}', flush=True)
    with Busy(wanted.load):
        failed = self_check(wanted) if wanted.self_check else soak(wanted, wanted.seconds)[0]
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main(sys.argv[1:])
