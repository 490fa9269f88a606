# SPDX-License-Identifier: Apache-2.0
"""matrix_run.py -- one run of one program of the matrix, and what became of it.

What must hold: nothing that was started is left.  Each program has a session of its own;
when its run is over all of that is killed, by its processes' ids, whatever became of it,
and the program dies with this process too.  It is reaped last: until then the session's
number is nobody else's.

A program is looked at from outside: its end by a pidfd, that of what it started and what all
of them use of the processor in /proc.  It has ended when the last of them has.
"""
import dataclasses
import os
import re
import select
import shutil
import signal
import subprocess
import threading
import time

import matrix_servers

GRACE = 2  # seconds, for the library and the command
TIMEOUT = 3  # seconds behind the grace: a program that is still there then hangs
WORK = 30  # seconds that a program may take with a server that works
RESTS = 0.15, 0.1, 0.05  # seconds before the deadline: in one of them it has to be at rest
LOOKS = 0.5, GRACE - 0.1  # seconds behind the deadline
TICKS = os.sysconf('SC_CLK_TCK')
TIME = r'\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d'


@dataclasses.dataclass
class Run:
    late: float = 0  # seconds behind the deadline
    status: int = 0  # a signal's is negative
    output: str = ''
    errors: str = ''
    log: str = ''  # the library's
    connected: bool = False
    rested: bool = False  # before its deadline
    hung: bool = False
    busy: float = 0  # of a core, between the two looks

    @property
    def signalled(self):
        return 'SIGTERM' in self.log or 'sending signal TERM' in self.errors

    @property
    def hung_up(self):
        return 'hung up' in self.log

    @property
    def said(self):
        """Without what the command adds, which may come in the middle of a line."""
        return re.sub(r'coopdl: .*\n', '', self.errors)

    def everything(self):
        return (f'ended {self.late:.3f} s behind its deadline with {self.status}'
                f'\n{self.errors}\n{self.output}\n{self.log}')


def clean_environment(home):
    return {'PATH': '/usr/bin:/bin', 'HOME': home, 'TMPDIR': home, 'LC_ALL': 'C.UTF-8',
            'GIT_TERMINAL_PROMPT': '0', 'NO_COLOR': '1'}


def stat(path):
    """What stands behind the name in such a file; nothing if its process has gone."""
    try:
        with open(path, encoding='ascii', errors='replace') as file:
            return file.read().rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def session_of(leader):
    """The processes of a session that have not ended, with the ticks that each has used."""
    found = {}
    for name in filter(str.isdigit, os.listdir('/proc')):
        fields = stat(f'/proc/{name}/stat')
        if fields and int(fields[3]) == leader and fields[0] not in 'ZX':
            found[int(name)] = int(fields[11]) + int(fields[12])
    return found


def is_at_rest(leader):
    """Whether no thread of the session runs, or would if it had a processor."""
    for pid in session_of(leader):
        try:
            threads = os.listdir(f'/proc/{pid}/task')
        except FileNotFoundError:
            continue
        if any((stat(f'/proc/{pid}/task/{thread}/stat') or 'S')[0] == 'R' for thread in threads):
            return False
    return True


def end_session(leader):
    while alive := session_of(leader):
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.005)


def await_end(process, until):
    """Whether all of its session has ended; the program itself is not reaped."""
    descriptor = os.pidfd_open(process.pid)
    try:
        ended = select.select([descriptor], [], [], max(0, until - time.monotonic()))[0]
    finally:
        os.close(descriptor)
    while (alive := not ended or session_of(process.pid)) and time.monotonic() < until:
        time.sleep(0.01)
    return not alive


def watch(run, process, deadline):
    for before in RESTS:
        await_end(process, deadline - before)
        run.rested |= is_at_rest(process.pid)
    looks = []
    for after in LOOKS:
        if await_end(process, deadline + after):
            break
        looks.append((time.monotonic(), sum(session_of(process.pid).values())))
    run.hung = not await_end(process, deadline + GRACE + TIMEOUT)
    run.late = time.monotonic() - deadline
    if len(looks) == 2:
        (begun, before), (ended, after) = looks
        run.busy = max(0, after - before) / TICKS / (ended - begun)


def read(name):
    try:
        with open(name, encoding='utf-8', errors='replace') as file:
            return file.read()
    except FileNotFoundError:
        return ''


class Runner:
    def __init__(self, directory):
        self.directory = directory
        self.library, self.command = os.environ['COOPDL_LIBRARY'], os.environ['COOPDL']
        self.lock = threading.Lock()
        self.count = 0
        self.running = set()  # the programs' processes
        self.over = False

    def end(self):
        """Ends what runs; nothing is started any more."""
        with self.lock:
            self.over = True
            for process in self.running:
                end_session(process.pid)

    def home(self, row):
        with self.lock:
            self.count += 1
            home = os.path.join(self.directory, f'run{self.count}')
        os.mkdir(home)
        for name, text in row.files:
            with open(os.path.join(home, name), 'w', encoding='utf-8') as file:
                file.write(text)
        return home

    def start(self, row, port, home, way, budget):
        words = [word.replace('PORT', str(port)).replace('HOME', home) for word in row.words]
        environment = clean_environment(home)
        if way == 'preload':
            environment.update(LD_PRELOAD=self.library, COOPDL_BUDGET=f'{budget}s',
                               COOPDL_GRACE=f'{GRACE}s', COOPDL_LOG=home + '/.log')
        elif way == 'command':
            environment['COOPDL_LIBRARY'] = self.library
            words = [self.command, '-v', f'--grace={GRACE}s', f'{budget}s', *words]
        with open(home + '/.output', 'wb') as output, open(home + '/.errors', 'wb') as errors, \
                self.lock:
            if self.over:
                raise InterruptedError('no more programs are to be started')
            process = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'KILL', *words], env=environment, cwd=home,
                stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True)
            self.running.add(process)
            return process

    def reap(self, process):
        end_session(process.pid)
        with self.lock:
            self.running.remove(process)
            return process.wait()

    def run(self, row, kind, way, budget):
        """way: 'plain', 'preload' with a budget in the environment, or the 'command'."""
        run, home = Run(), self.home(row)
        with matrix_servers.serving(kind, row.protocol, self.directory) as server:
            begun = time.monotonic()
            process = self.start(row, server.port, home, way, budget)
            try:
                if kind == 'working':
                    run.hung = not await_end(process, begun + WORK)
                else:
                    watch(run, process, begun + budget)
            finally:
                run.status = self.reap(process)
            run.connected = server.connected.is_set()

        def text(name):
            said = read(home + name).replace(str(server.port), 'PORT').replace(home, 'HOME')
            return re.sub(TIME, 'TIME', said)
        run.output, run.errors, run.log = text('/.output'), text('/.errors'), text('/.log')
        shutil.rmtree(home)
        return run

    def bounded(self, row, kind, way):
        """A run in which the program has reached its server and has come to rest before its
        deadline: on a machine that has other things to do some need longer for that."""
        budget = row.budget
        while True:
            run = self.run(row, kind, way, budget)
            if run.connected and run.rested or budget >= 9:
                return run
            budget *= 3
