#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""matrix.py -- real clients against servers that never come to an end.

usage: matrix.py [--show | --write] [ROW...]

Runs each program of matrix_rows.py under a budget, and those that have a working server
also under a far one, and holds what it does against its row.  A ROW is a part of a row's
name.  The report is TAP.  With --show it is a table, of RUNS runs of each, and of one
under the command; --write puts that of all rows into matrix.md, beside this file, without
the figures that are others each time.  COOPDL_LIBRARY and COOPDL say where libcoopdl.so
and the command are.
"""
import collections
import concurrent.futures
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import matrix_run  # noqa: E402
import matrix_servers  # noqa: E402
from matrix_rows import ROWS  # noqa: E402

DOCUMENT = os.path.join(HERE, 'matrix.md')
USAGE = 'usage: matrix.py [--show | --write] [ROW...]'
RUNS = 3
MORE_RUNS = 12  # while none was in time: this machine may have had other things to do
AT_ONCE = 8  # programs, which sleep most of the time
AT_ONCE_MEASURED = 3
BUSY = 0.12  # of a core: what a program may use while it waits for the end of the grace
LATE = 0.25  # seconds: what is in time
# How programs end that do not by themselves.
BY_SIGTERM, HUNG_UP, SIGNALLED = 'by `SIGTERM`', 'hung up', 'signalled at once'

CRASH = re.compile(r'(?<!Connection )[Aa]bort|[Pp]anic|\[.*BUG\]|core dumped|dumped core|terminate called|'
                   r'[Aa]ssert|[Ss]egmentation|Fatal Python|FATAL ERROR|fatal error has been|'
                   r'double free|stack smashing')

HEAD = '''\
# Programs that hang, and what becomes of them

Written by `meson compile -C build matrix`; the rows are those of `matrix_rows.py`, and every run
of the tests holds the programs against them.  Each program has a budget and a grace of two
seconds, and a server that never comes to an end:

- **black hole**: accepts, reads nothing, never answers;
- **stalled TLS**: the same for a client that has sent its ClientHello;
- **drip**: begins an answer of the protocol and goes on with a byte each 100 ms, for ever.

"In time" is within 250 ms after the budget's end, in the best of three runs; "later" is before the
grace was over.  "Hung up" is after its connection was, 250 ms after the budget's end or later.
"Signalled at once" is a shell, which got its `SIGTERM` at the budget's end.
All are the end of all that a program has started.  The exit status is the
program's own; under `coopdl` each of them ended with 124.  No program crashed, none ended before
its deadline, and none left anything running.  "Busy" is what a program that waited for its
`SIGTERM` used of a core meanwhile.  "Same": with a server that works, and an hour's budget, it
gave the same output and the same status as without the library.
'''


# The programs are older than those of matrix.md, which are Debian 12's and later ones.  They say other
# things, and some take no error yet.  Of each is judged then that it ends, when, and without a crash.
OLDER = tuple(map(int, os.confstr('CS_GNU_LIBC_VERSION').split()[1].split('.'))) < (2, 36)


def what_it_says(row, run):
    """That by which it says what happened."""
    said = re.search(row.error, run.said) or re.search(row.error, run.output)
    return said.group().strip() if said else ''


def expected_status(row, way):
    if way == 'command':
        return '124'
    return row.status or ('-15' if row.sigterm or row.at_once else '[1-9][0-9]*')


def faults(row, run, way):
    """What a run did that it was not to do."""
    if run.hung:
        yield f'it was still there {run.late:.1f} s behind its deadline'
        return
    if not run.connected:
        yield 'it never reached its server'
    if run.late < 0:
        yield f'it ended {-run.late:.3f} s before its deadline'
    if crash := CRASH.search(run.errors + run.output):
        yield f'it says {crash.group()!r}'
    if run.busy > BUSY:
        yield f'it used {run.busy:.2f} of a core behind its deadline'
    if OLDER:
        return
    if way == 'preload' and run.hung_up != bool(row.hangup) and not row.at_once:
        yield 'its connection was hung up' if run.hung_up else 'it ended without a hang-up'
    if run.signalled != bool(row.sigterm or (row.at_once and way == 'preload')):
        yield 'SIGTERM ended it' if run.signalled else 'it ended by itself, without a SIGTERM'
    if row.error and not what_it_says(row, run):
        yield f'nothing that it says matches {row.error!r}'
    if not re.fullmatch(expected_status(row, way), str(run.status)):
        yield f'its exit status is {run.status}'


def differences(plain, far):
    """What the library changed, with a deadline that is far."""
    if OLDER and plain.status != 0:
        return
    if plain.hung or plain.status != 0:
        yield 'it does not work without the library either'
    for name in 'status', 'output', 'errors', 'hung':
        before, after = getattr(plain, name), getattr(far, name)
        if before != after:
            yield f'{name}: {before!r} without the library, {after!r} with it'


def missing(row):
    """Why a row cannot be run here, or None."""
    environment = matrix_run.clean_environment('/nonexistent')
    if not shutil.which(row.words[0], path=environment['PATH']):
        return f'there is no {row.words[0]}'
    if row.needs and subprocess.run(row.needs, env=environment, capture_output=True, timeout=60,
                                    check=False).returncode != 0:
        return f'{" ".join(row.needs)} fails'
    return None


class Case:
    """A row with one of its servers; test and measure return the faults of its runs."""

    def __init__(self, row, server):
        self.row, self.server = row, server
        self.name = f'{row.name}, {server}'
        self.skipped = None
        self.runs = []

    def bounded(self, runner, way, times):
        """Faults of so many runs, of which one is kept that has some."""
        found = []
        for _ in range(times):
            run = runner.bounded(self.row, self.server, way)
            found += [f'{way}: {fault}' for fault in faults(self.row, run, way)]
            if way == 'preload' or found:
                self.runs.append(run)
        return found

    def test(self, runner):
        return (self.bounded(runner, 'preload', 1) or
                self.bounded(runner, 'command', self.server == self.row.servers[0]))

    def measure(self, runner):
        found = self.bounded(runner, 'preload', RUNS) + self.bounded(runner, 'command', 1)
        for _ in range(MORE_RUNS):
            if ends(self.row, self.runs) == 'later':
                found += self.bounded(runner, 'preload', 1)
        return found


class Working(Case):
    """A row with a server that works."""

    def __init__(self, row):
        super().__init__(row, 'working')

    def test(self, runner):
        self.runs = [runner.run(self.row, 'working', way, 3600) for way in ('plain', 'preload')]
        return list(differences(*self.runs))

    measure = test


def cases_of(names):
    for row in ROWS:
        if names and not any(name in row.name for name in names):
            continue
        for server in row.servers:
            yield Case(row, server)
        if row.works:
            yield Working(row)


def perform(cases, runner, what, at_once):
    """Yields each case with its faults, in order."""
    why = {row: missing(row) for row in {case.row for case in cases} if row}

    def one(case):
        case.skipped = why.get(case.row)
        return [] if case.skipped else getattr(case, what)(runner)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        try:
            yield from zip(cases, pool.map(one, cases))
        finally:
            runner.end()


def comment(text):
    for line in text.splitlines():
        print('#', line)


def documented():
    """The lines of matrix.md: program, server and how it ends, where that is not by itself."""
    with open(DOCUMENT, encoding='utf-8') as file:
        for line in file:
            words = [word.strip() for word in line.split('|')]
            if len(words) > 3:
                yield (re.sub(r' \(\d+\)$', '', words[1]), words[2],
                       words[3] if words[3] in (BY_SIGTERM, HUNG_UP, SIGNALLED) else '')


class Document:
    """That matrix.md says of each row what the row does."""
    name, skipped, runs = 'matrix.md', None, ()
    row = None

    def test(self, _):
        lines = set(documented())
        return [f'it has nothing of {row.name}, {server}, as the row is now'
                for row in ROWS for server in row.servers
                if (row.name, server, not_by_itself(row)) not in lines]


def tap(cases, runner):
    failed = False
    print(f'1..{len(cases)}', flush=True)
    for number, (case, problems) in enumerate(perform(cases, runner, 'test', AT_ONCE), 1):
        failed |= bool(problems)
        print(f'{"not ok" if problems else "ok"} {number} - {case.name}'
              + (f' # SKIP {case.skipped}' if case.skipped else ''))
        for problem in problems:
            comment(problem)
        for run in case.runs[-1:] if problems else ():
            comment(run.everything())
        sys.stdout.flush()
    return failed


def not_by_itself(row):
    if row.at_once:
        return SIGNALLED
    return BY_SIGTERM if row.sigterm else HUNG_UP if row.hangup else ''


def ends(row, runs):
    if row.sigterm or row.hangup or row.at_once:
        return not_by_itself(row)
    return 'in time' if min(run.late for run in runs) <= LATE else 'later'


def status_of(runs):
    """A signal is shown by its name; several that were seen are all shown."""
    return ' or '.join(sorted({signal.Signals(-run.status).name if run.status < 0
                               else str(run.status) for run in runs}))


def cells(case, same):
    row, runs = case.row, case.runs
    busy = statistics.median(run.busy for run in runs)
    return (row.name, case.server, ends(row, runs), status_of(runs),
            what_it_says(row, runs[0]) or ('' if not row.error else '?'),
            ('idle' if busy < BUSY else f'{busy:.0%}') if row.sigterm else '',
            {None: '', True: 'yes', False: '**no**'}[same.get(row.name)])


def line_of(words):
    return '| ' + ' | '.join(word.replace('|', r'\|') for word in words) + ' |'


def document(done, same):
    notes = collections.OrderedDict()
    rows = []
    for case in done:
        name, *others = cells(case, same)
        if why := case.row.sigterm or case.row.hangup:
            number = notes.setdefault(why, len(notes) + 1)
            name += f' ({number})'
        rows.append(line_of([name, *others]))
    yield HEAD
    yield line_of(('program', 'server', 'ends', 'status', 'says', 'busy', 'same'))
    yield '|---|---|---|---|---|---|---|'
    yield from rows
    yield ''
    for why, number in notes.items():
        yield f'{number}. Not by itself: {why}.'


def table(cases, runner, write):
    """Returns whether anything was not as its row says."""
    problems, done, same, skipped = [], [], {}, []
    for case, found in perform(cases, runner, 'measure', AT_ONCE_MEASURED):
        problems += [f'{case.name}: {problem}' for problem in found]
        if case.skipped:
            skipped.append(f'{case.name}: {case.skipped}')
            continue
        if isinstance(case, Working):
            same[case.row.name] = not found
            continue
        done.append(case)
        late = sorted(1000 * run.late for run in case.runs)
        print(f'{case.name:42} {ends(case.row, case.runs):12} {status_of(case.runs):8}'
              f' late {late[0]:5.0f} {late[len(late) // 2]:5.0f} {late[-1]:5.0f} ms,'
              f' busy {max(run.busy for run in case.runs):4.0%}'
              f'  {what_it_says(case.row, case.runs[0])[:60]}', flush=True)
    print(f'\n{len(done)} programs and servers, {len(skipped)} skipped, {len(problems)} faults;'
          f' {sum(same.values())} of {len(same)} the same with a server that works')
    print('\n'.join([f'skipped: {line}' for line in skipped] + problems))
    if write and (problems or skipped):
        print('matrix.md is not written: all rows have to be run, and to be as they should')
        return True
    if write:
        with open(DOCUMENT, 'w', encoding='utf-8') as file:
            file.write('\n'.join(document(done, same)) + '\n')
    return bool(problems)


def stop(number, _):
    sys.exit(128 + number)


def main(arguments):
    how = arguments[0] if arguments[:1] in (['--show'], ['--write']) else None
    names = arguments[how is not None:]
    cases = list(cases_of(names))
    if not cases or any(name.startswith('-') for name in names) or (how == '--write' and names):
        sys.exit(f"matrix.py: got {' '.join(arguments)!r}\n{USAGE}")
    for variable in 'COOPDL_LIBRARY', 'COOPDL':
        if not os.path.exists(os.environ.get(variable, '')):
            sys.exit(f'matrix.py: {variable}={os.environ.get(variable, "")!r} is no file')
    signal.signal(signal.SIGTERM, stop)
    with tempfile.TemporaryDirectory(prefix='coopdl-matrix-') as directory:
        matrix_servers.prepare(directory)
        runner = matrix_run.Runner(directory)
        if how:
            sys.exit(table(cases, runner, how == '--write'))
        sys.exit(tap(cases if names else [Document(), *cases], runner))


if __name__ == '__main__':
    main(sys.argv[1:])
