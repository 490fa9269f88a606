# SPDX-License-Identifier: Apache-2.0
"""test_cases.py -- what went wrong once, each as it was reported: in a program of its own, for a few
seconds, in a way that went wrong in most runs.

Each is a kind of harm: a file destroyed, a lock held for ever, an exception for somebody else.
"""
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest

from scopes import LOADED, unless_stat_aborts

LATE = 1.0 if LOADED else 0.3  # seconds


class Cases(unittest.TestCase):
    def says(self, expected, program, *arguments):
        """The program ends well and prints this."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'program.py')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(textwrap.dedent(program))
            done = subprocess.run([sys.executable, path, *arguments], cwd=directory, timeout=50,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, expected), done.stderr[-3000:])
        return done

    def in_both(self, expected, program):
        """In the main thread and in another one."""
        program = textwrap.dedent(program) + textwrap.dedent('''
            if sys.argv[1] == 'main':
                main()
            else:
                thread = threading.Thread(target=main)
                thread.start()
                thread.join()
            ''')
        for where in 'main', 'worker':
            with self.subTest(where):
                self.says(expected, program, where)

    def test_busy_handler(self):
        """sqlite counts its sleeps: with 120 s of its own it ended 25 s late."""
        done = self.says('', f'''
            import os, sqlite3, sys, time, coopdl
            holder = sqlite3.connect('database', isolation_level=None)
            holder.execute('create table t(a)')
            holder.execute('begin exclusive')
            for limit in 5, 60, 120:
                ours = sqlite3.connect('database', timeout=limit)
                try:
                    with coopdl.timeout(0.2) as scope:
                        ours.execute('insert into t values(1)')
                except TimeoutError:
                    late = time.monotonic() - scope.when()
                    print(f'{{limit}} s: {{1000 * late:.1f}} ms late', file=sys.stderr)
                    if late > {LATE}:
                        print('late')
                else:
                    print('not ended')
            ''')
        self.figures = done.stderr.replace('\n', ', ')

    def test_destructors(self):
        """The program's ran on a thread of ours, and were cut in the middle."""
        self.says('[] 0\n', '''
            import gc, os, sys, threading, time, coopdl
            begun = ended = 0

            class Node:
                def __init__(self):
                    self.itself = self

                def __del__(self):
                    global begun, ended
                    begun += 1
                    names.add(threading.current_thread().name)
                    [number for number in range(3)]
                    ended += 1

            def work():
                while time.monotonic() < stop:
                    try:
                        with coopdl.timeout(0.001):
                            while True:
                                Node()
                    except TimeoutError:
                        pass

            names, lost = set(), []
            sys.unraisablehook = lost.append
            stop = time.monotonic() + 1
            threads = [threading.Thread(target=work, name='ours') for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            gc.collect()
            lost = [what.exc_type.__name__ for what in lost if what.exc_type is not AttributeError]
            # A thread of ours would have a name that is made up for it.
            lost += names - {'ours', 'MainThread'}
            # Each thread may have been between the two numbers, for += is no lock.
            print(lost, max(0, abs(begun - ended) - 2))
            ''')

    @unless_stat_aborts
    def test_overwrites(self):
        """`if not os.path.exists(path)` was answered by the deadline, and the file overwritten."""
        self.in_both('destroyed 0\n', '''
            import os, sys, threading, coopdl

            def save_if_new():
                if not os.path.exists('file'):
                    with open('file', 'w') as file:
                        file.write('{}')

            def main():
                destroyed = 0
                for _ in range(200):
                    with open('file', 'w') as file:
                        file.write('PRECIOUS')
                    try:
                        with coopdl.timeout(0.002):
                            while True:
                                save_if_new()
                    except TimeoutError:
                        pass
                    with open('file') as file:
                        destroyed += file.read() != 'PRECIOUS'
                print('destroyed', destroyed)
            ''')

    @unless_stat_aborts
    def test_walks(self):
        """os.walk ended silently, and a mirror deleted what it had not seen."""
        self.in_both('incomplete 0\n', '''
            import os, sys, threading, coopdl
            for name in 'abcdef':
                os.makedirs(os.path.join('tree', name, 'deep'), exist_ok=True)
            whole = sum(1 for _ in os.walk('tree'))

            def main():
                incomplete = 0
                for _ in range(200):
                    try:
                        with coopdl.timeout(0.002):
                            while True:
                                incomplete += sum(1 for _ in os.walk('tree')) != whole
                    except TimeoutError:
                        pass
                print('incomplete', incomplete)
            ''')

    @unless_stat_aborts
    def test_predicates(self):
        """The deadline was an answer; on 3.11 it became a SystemError as well."""
        self.in_both('wrong 0, also []\n', '''
            import os, random, sys, threading, coopdl

            def main():
                wrong, kinds = 0, set()
                for _ in range(250):
                    try:
                        with coopdl.timeout(random.uniform(0.0005, 0.003)):
                            while True:
                                wrong += not os.path.exists(os.curdir)
                    except TimeoutError as error:
                        while error:
                            kinds.add(type(error))
                            error = error.__cause__
                kinds -= {coopdl.DeadlineExceeded, coopdl.DeadlineReached}
                print(f'wrong {wrong}, also {sorted(map(str, kinds))}')
            ''')

    def test_stray(self):
        """A scope stayed entered for ever, and was raised for in code that is inside none."""
        self.in_both('', '''
            import contextlib, random, socket, sys, threading, time, coopdl

            def once(ours):
                when = time.monotonic() + 0.0005
                end = when + random.uniform(0, 0.0003)
                with contextlib.suppress(coopdl.DeadlineExceeded), coopdl.timeout_at(when):
                    try:
                        with coopdl.shield():
                            while time.monotonic() < end:
                                pass
                        ours.recv(1)
                    except OSError as error:
                        print('wrong', error)

            def main():
                ours, theirs = socket.socketpair()
                stop = time.monotonic() + 1.5
                while time.monotonic() < stop:
                    try:
                        once(ours)
                    except BaseException as error:
                        print('stray', repr(error))
                        break
                    if coopdl.deadline() is not None:
                        print('left', coopdl.deadline() - time.monotonic())
                        break
            ''')

    def test_wrong_thread(self):
        """The exception went to a thread that was just being started, whose start was waited for."""
        self.says('ended\n', '''
            import os, threading, time, coopdl

            def work():
                for _ in range(100):
                    try:
                        with coopdl.timeout(0.002):
                            while True:
                                thread = threading.Thread(target=time.monotonic)
                                thread.start()
                                thread.join()
                    except TimeoutError:
                        pass

            threading.excepthook = lambda what: print('in', what.thread.name, repr(what.exc_value))
            worker = threading.Thread(target=work, daemon=True)
            worker.start()
            worker.join(40)
            print('stuck' if worker.is_alive() else 'ended', flush=True)
            os._exit(0)
            ''')

    def test_threads_of_event_loops(self):
        """The lock of concurrent.futures stayed held."""
        self.says('ended\n', '''
            import asyncio, contextlib, os, threading, time, warnings, coopdl
            warnings.simplefilter('ignore')

            def work():
                for _ in range(20):
                    with contextlib.suppress(TimeoutError), coopdl.timeout(0.005):
                        while True:
                            asyncio.run(asyncio.to_thread(time.monotonic))

            workers = [threading.Thread(target=work, daemon=True) for _ in range(2)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(20)
            print('stuck' if any(worker.is_alive() for worker in workers) else 'ended', flush=True)
            os._exit(0)
            ''')

    def test_with_lock(self):
        self.in_both('leaked 0\n', '''
            import random, sys, threading, coopdl

            def main():
                lock, leaked = threading.Lock(), 0
                for _ in range(1500 if sys.argv[1] == 'main' else 300):  # a worker's take longer
                    try:
                        with coopdl.timeout(random.uniform(0, 3e-4)):
                            while True:
                                with lock:
                                    pass
                    except TimeoutError:
                        pass
                    if lock.locked():
                        leaked += 1
                        lock.release()
                print('leaked', leaked)
            ''')

    def test_a_child_of_a_worker_ends(self):
        """Its SystemExit ended the thread alone, and our threads kept the process."""
        self.says('124\n', '''
            import os, threading, time, coopdl

            def main():
                try:
                    with coopdl.timeout(1):
                        child = os.fork()
                        time.sleep(60)
                except TimeoutError:
                    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

            thread = threading.Thread(target=main)
            thread.start()
            thread.join()
            ''')

    def test_forks(self):
        """logging's lock stayed held in the parent, and the children died with a traceback."""
        self.in_both('free, 0 wrong\n', '''
            import contextlib, logging, os, random, sys, threading, time, coopdl

            def main():
                wrong = rounds = 0
                until = time.monotonic() + 8  # beside others a fork takes long
                while rounds < 100 and time.monotonic() < until:
                    rounds += 1
                    process = None
                    try:
                        with coopdl.timeout(random.uniform(0, 0.003)):
                            while True:
                                process = os.fork()
                                if process == 0:
                                    os._exit(0)
                                wrong += os.waitpid(process, 0)[1] != 0
                                process = None
                    except TimeoutError:
                        with contextlib.suppress(ChildProcessError):  # it may have been awaited
                            os.waitpid(process or -1, 0)
                free = logging._lock.acquire(timeout=1)
                print(f"{'free' if free else 'held'}, {wrong} wrong", flush=True)
                os._exit(0)
            ''')
