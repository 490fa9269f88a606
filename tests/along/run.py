#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""run.py -- the library together with others that are preloaded, with sanitizers and tools.

    run.py [--all] [NAME]...

A NAME is the beginning of a company's, such as `libfaketime`; without one all are met.  With
--all every call is waited in with each company, and not some of them in turn.  Each is held to
this, with along.c as the program:

  same      without a deadline, and with one an hour away, the program sees what it sees in
            that company without the library
  wait      with a deadline, a call that is tried again after every EINTR fails with ETIMEDOUT:
            never before the deadline, and at most LATE after it
  churn     threads that allocate and wait, all the while interrupted, find nothing amiss
  children  children that forked and that were exec'd end as well

The report is TAP.  What is not installed is skipped, and so is what cannot work in that
company: docs/along.md says so, and what to do.  ALONG and the like name the programs: meson.build.
"""
import concurrent.futures
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LATE = 2  # seconds: generous, the machine may be busy
TIMEOUT = 60  # seconds for any one program
TRIES = 3
AT_ONCE = 2  # companies
# On a disk that others write to, the fsync of one run may take seconds, and that of the next none.
MEMORY = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
LIBRARY = os.environ['COOPDL_LIBRARY']
ALONG = os.environ['ALONG']
WAITS = ('read', 'poll', 'recv', 'poll60', 'select', 'nanosleep', 'clock_nanosleep',
         'sem_timedwait')
FIRST_WAITS = 3  # of these, without --all


@dataclasses.dataclass
class Company:
    """`preload` says where the library goes among others: OURS stands for it."""
    name: str
    preload: tuple = ('OURS',)
    program: str = ALONG
    tool: tuple = ()  # a command in front; `{environment}` in it stands for the settings
    settings: dict = dataclasses.field(default_factory=dict)
    waits: int = FIRST_WAITS
    scopes: int = 50  # in each of four threads
    lead: float = 0.1  # seconds until the deadline: the program must be waiting by then
    missing: str = ''  # why it cannot be met here
    interrupted: tuple = ()  # the calls that get EINTR alone; docs/along.md says so


OURS = 'OURS'


def library(*names):
    """The path of the first that is installed for this architecture."""
    paths = (os.path.join(os.environ['LIBRARIES'], name) for name in names)
    return next(filter(os.path.exists, paths), '')


def both_orders(name, package, files, **more):
    path = library(*files)
    missing = '' if path else f'{package} is not installed'
    yield Company(f'{name} after', (OURS, path), missing=missing, **more)
    yield Company(f'{name} before', (path, OURS), missing=missing, **more)


def sanitizer(name, variable, settings=None, first='', how=''):
    program = os.environ.get(variable, '')
    missing = '' if program else 'no compiler for it'
    preload = (OURS,)
    if program and first:
        found = re.search(rf'=> (\S*/{first}\S*)', subprocess.run(
            ['ldd', program], capture_output=True, text=True, check=True).stdout)
        preload = (found[1], OURS)
    return Company(f'{name}{how}', preload, program, settings=settings or {}, missing=missing,
                   lead=0.3)


def tool(name, *command, **more):
    return Company(name, tool=command, missing='' if shutil.which(command[0]) else
                   f'{command[0]} is not installed', **more)


def companies():
    yield Company('nothing else', waits=len(WAITS))
    yield from both_orders('jemalloc', 'libjemalloc2', ['libjemalloc.so.2'])
    yield from both_orders('tcmalloc', 'libtcmalloc-minimal4', ['libtcmalloc_minimal.so.4'])
    yield from both_orders('mimalloc', 'libmimalloc2.0', ['libmimalloc.so.2'])
    yield from both_orders('libeatmydata', 'libeatmydata1', ['libeatmydata.so.1', 'libeatmydata.so'])
    for how, when in (('ahead', '+900d'), ('behind', '-900d'), ('stopped', '2020-01-01 00:00:00'),
                      ('fast', '+0 x10'), ('slow', '+0 x0.1')):
        yield from both_orders(f'libfaketime, {how},', 'libfaketime',
                               ['faketime/libfaketimeMT.so.1'], settings={'FAKETIME': when})
    yield from both_orders('socket_wrapper', 'libsocket-wrapper',
                           ['libsocket_wrapper.so.0', 'libsocket_wrapper.so'],
                           settings={'SOCKET_WRAPPER_DIR': '{directory}'})
    yield sanitizer('ASan (gcc)', 'ALONG_ASAN', first='libasan', how=', its runtime first')
    yield sanitizer('ASan (gcc)', 'ALONG_ASAN', {'ASAN_OPTIONS': 'verify_asan_link_order=0'},
                    how=', not first')
    yield sanitizer('ASan (clang)', 'ALONG_ASAN_CLANG')
    yield sanitizer('TSan (gcc)', 'ALONG_TSAN')
    yield sanitizer('TSan (clang)', 'ALONG_TSAN_CLANG')
    yield Company('LD_BIND_NOW', settings={'LD_BIND_NOW': '1'})
    yield Company('dlopen', (), settings={'ALONG_DLOPEN': LIBRARY}, interrupted=('sem_timedwait',))
    yield tool('valgrind', 'valgrind', '--quiet', '--error-exitcode=9', lead=2, scopes=10)
    yield tool('strace', 'strace', '-f', '-o', '/dev/null', '{environment}', lead=0.3)
    # A breakpoint in its way each time, and one where it stops.
    yield tool('gdb', 'gdb', '-q', '-nx', '-batch', '-return-child-result',
               '-ex', 'set startup-with-shell off', '{environment}',
               '-ex', 'handle SIGSYS SIG59 nostop noprint pass',
               '-ex', 'break attempt if 0', '-ex', 'break main', '-ex', 'run', '-ex', 'continue',
               '--args', lead=1)


class Run:
    """One run of the program in some company; `report` is what it said."""

    def __init__(self, company, arguments, ours=True, **settings):
        with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
            self.perform(company, arguments, directory, ours, settings)

    def perform(self, company, arguments, directory, ours, settings):
        preload = [LIBRARY if path == OURS else path for path in company.preload
                   if ours or path != OURS]
        path = os.path.join(directory, 'report')
        given = {name: value.format(directory=directory)
                 for name, value in company.settings.items() if ours or name != 'ALONG_DLOPEN'}
        given.update(settings)
        if preload:
            given['LD_PRELOAD'] = ' '.join(preload)
        environment = {'PATH': os.environ['PATH'], 'TMPDIR': directory, 'HOME': directory}
        command = []
        for word in company.tool:
            if word != '{environment}':
                command.append(word)
                continue
            for name, value in given.items():
                command += (['-E', f'{name}={value}'] if company.tool[0] == 'strace' else
                            ['-ex', f'set environment {name} {value}'])
            given = {}
        command += [company.program, path, *map(str, arguments)]
        open(path, 'w').close()
        self.begun = time.monotonic()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(command, env={**environment, **given}, cwd=directory,
                                       stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            try:
                self.status = process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.status = 'hangs'
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            self.seconds = time.monotonic() - self.begun
            output.seek(0)
            self.output = output.read().decode(errors='replace')
        with open(path, encoding='utf-8', errors='replace') as file:
            self.report = file.read()

    def why(self):
        return (f'status {self.status} after {self.seconds:.1f} s\n{self.report}'
                f'its output:\n{self.output[-3000:]}')


def same(company):
    alone = Run(company, ['same'], ours=False)
    if alone.status != 0:
        return f'without the library: {alone.why()}'
    for path in company.preload:
        if path != OURS and path not in alone.report:
            return f'{path} is not there: {alone.why()}'
    for how, settings in ('without a deadline', {}), ('with one far away', {'COOPDL_BUDGET': '1h'}):
        ours = Run(company, ['same'], **settings)
        if (ours.status, ours.report) != (0, alone.report):
            return f'{how}: {ours.why()}\nwithout the library:\n{alone.report}'
        if ours.seconds > 2 * alone.seconds + LATE:
            return f'{how}: {ours.seconds:.1f} s instead of {alone.seconds:.1f}'
    return ''


def deadline(seconds):
    """As the library would write it for a child; no signal is to help."""
    return {'COOPDL_DEADLINE': str(time.monotonic_ns() + int(seconds * 1e9)),
            'COOPDL_GRACE': 'off'}


def ends(company, arguments, lines):
    """All that say when they began did so before the deadline; a slow start is tried again."""
    lead = company.lead
    for _ in range(TRIES):
        run = Run(company, arguments,
                  **({} if 'ALONG_DLOPEN' in company.settings else deadline(lead)))
        said = re.findall(r'begun (\S+) ended (\S+) after the deadline, EINTR (\d+), then (\S+)',
                          run.report)
        if 'began too late' not in run.report and all(float(begun) < 0 for begun, _, _, _ in said):
            good = run.status == 0 and len(said) == lines and all(float(late) <= LATE
                                                                  for _, late, _, _ in said)
            return '' if good else run.why()
        lead *= 3
    return f'began too late in each of {TRIES} runs: {run.why()}'


def churn(company):
    run = Run(company, ['churn', company.scopes])
    if run.status == 0 and f'churn: {4 * company.scopes} scopes expired\n' in run.report:
        return ''
    return run.why()


def meet(company, number, everything):
    """Returns the lines of TAP, without their numbers: (name, why it failed, why skipped)."""
    if company.missing:
        return [(company.name, '', company.missing)]
    results = []

    def test(what, function, *arguments):
        results.append((f'{company.name}: {what}', function(company, *arguments), ''))

    test('same', same)
    for i in range(len(WAITS) if everything else company.waits):
        call = WAITS[(number + i) % len(WAITS)]
        if call in company.interrupted:
            results.append((f'{company.name}: wait {call}', '', 'it gets EINTR alone'))
        else:
            test(f'wait {call}', ends, ['wait', call], 1)
    if company.preload:
        test('churn', churn)
        test('children', ends, ['children'], 2)
    return results


def main(arguments):
    everything = arguments[:1] == ['--all']
    names = tuple(arguments[everything:])
    guests = [company for company in companies() if not names or company.name.startswith(names)]
    if not guests:
        print(f"Bail out! no company is called {' or '.join(names)}")
        return 1
    count = failed = 0
    # What they do takes waiting, and hardly a processor.
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for results in pool.map(meet, guests, range(len(guests)), [everything] * len(guests)):
            for name, why, skip in results:
                count += 1
                failed += bool(why)
                print(f"{'not ok' if why else 'ok'} {count} - {name}"
                      + (f' # SKIP {skip}' if skip else ''))
                print(''.join(f'# {line}\n' for line in why.splitlines()), end='', flush=True)
    print(f'1..{count}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
