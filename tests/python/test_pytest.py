# SPDX-License-Identifier: Apache-2.0
"""test_pytest.py -- the plugin in real sessions of pytest, each a process of its own.

Most of their tests hang for a minute; a session that does not end them does not end in time.
"""
import importlib.util
import os
import re
import subprocess
import sys
import textwrap
import unittest
import xml.etree.ElementTree

import pages
from programs import GENEROUS, PATIENCE, Scratch, run

LIMIT = 0.3  # seconds
HANGS = 1.5  # seconds in which what does not hang would have ended, mostly in starting Python
PATH = os.path.dirname(os.path.dirname(importlib.util.find_spec('coopdl').origin))


def needs(*modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return unittest.skipIf(missing, f'no module {" ".join(missing)}')


@needs('pytest')
class Sessions(Scratch):
    def source(self, text, name='test_it.py'):
        self.write(name, 'import threading, time, unittest, pytest, os',
                   'def note(text):',
                   f'    with open({self.path("notes")!r}, "a") as file: file.write(text + " ")',
                   textwrap.dedent(text))

    def notes(self):
        with open(self.path('notes'), encoding='utf-8') as file:
            return file.read().split()

    def command(self, *arguments):
        return [sys.executable, '-m', 'pytest', '-p', 'coopdl.pytest', '-p', 'no:cacheprovider',
                *arguments]

    def pytest(self, *arguments, **variables):
        """Returns how many tests ended how, and all that was said."""
        variables = {'LD_PRELOAD': os.environ['COOPDL_LIBRARY'], 'PYTHONPATH': PATH, **variables}
        done = run(*self.command(*arguments), cwd=self.directory, **variables)
        self.status, text = done.returncode, done.stdout + done.stderr
        self.assertNotIn('INTERNALERROR', text)
        counts = re.findall(r'(\d+) (passed|failed|error)', (done.stdout.splitlines() or [''])[-1])
        return {what: int(count) for count, what in counts}, text

    def hangs(self, *command):
        with self.assertRaises(subprocess.TimeoutExpired):
            subprocess.run(command, cwd=self.directory, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, timeout=HANGS)


class Page(Sessions):
    def test_the_example(self):
        pages.write('pytest.md', self.directory)
        self.hangs(sys.executable, '-m', 'pytest', 'test_orders.py')
        counts, text = self.pytest('--deadline=1s', 'test_orders.py')
        self.assertEqual(counts, {'failed': 1, 'passed': 1}, text)
        self.assertRegex(text, r'DeadlineExceeded: the deadline of 1 s was exceeded after [1-9]\.')
        self.assertIn('urllib.request.urlopen(server)', text)
        self.assertNotIn('_pytest', text)
        self.assertIn('the server is closed', text)


class Pieces(Sessions):
    def test_set_up_and_teardown(self):
        self.source('''
            @pytest.fixture
            def outer():
                yield
                note('outer')
            @pytest.fixture
            def hangs_at_set_up(outer):
                time.sleep(60)
            @pytest.fixture
            def hangs_at_teardown(outer):
                yield
                time.sleep(60)
            @pytest.fixture
            def hangs_in_a_finalizer(outer, request):
                request.addfinalizer(lambda: time.sleep(60))
            class TestMethods:
                @pytest.fixture
                def hangs(self, outer):
                    assert isinstance(self, TestMethods)
                    yield 3
                    time.sleep(60)
                def test_method(self, hangs): assert hangs == 3
            def test_set_up(hangs_at_set_up): pass
            def test_teardown(hangs_at_teardown): note('1')
            def test_finalizer(hangs_in_a_finalizer): note('2')
            def test_itself(outer): time.sleep(60)
            def test_after_all(): time.sleep(0.01)
            ''')
        counts, text = self.pytest('--deadline=300ms')
        self.assertEqual(counts, {'passed': 4, 'failed': 1, 'error': 4}, text)
        self.assertEqual(self.notes(), 'outer outer 1 outer 2 outer outer'.split())
        self.assertEqual(text.count('DeadlineExceeded: the deadline of 0.3 s was exceeded'), 5, text)
        self.assertIn(', in hangs_at_set_up (', text)
        self.assertEqual(self.status, 1)

    def test_never_early(self):
        self.source(f'''
            import coopdl
            set_up = None
            @pytest.fixture
            def begins():
                global set_up
                set_up = time.monotonic()
            def test_hangs(begins):
                when = coopdl.deadline()
                try:
                    time.sleep(60)
                finally:
                    note(str(time.monotonic() - when))
                    note(str(when - set_up))
            def test_ends(): time.sleep({LIMIT / 3})
            ''')
        counts, text = self.pytest(f'--deadline={LIMIT}')
        self.assertEqual(counts, {'passed': 1, 'failed': 1}, text)
        late, limit = map(float, self.notes())
        self.assertGreaterEqual(late, 0)
        self.assertLess(late, GENEROUS)
        self.assertGreaterEqual(limit, LIMIT)

    def test_a_fixture_of_the_session_is_tried_once(self):
        self.source('''
            @pytest.fixture(scope='session')
            def hangs():
                note('tried')
                time.sleep(60)
            def test_one(hangs): pass
            def test_two(hangs): pass
            ''')
        counts, text = self.pytest('--deadline=300ms')
        self.assertEqual(counts, {'error': 2}, text)
        self.assertEqual(self.notes(), ['tried'])

    def test_the_mark_and_its_grace(self):
        self.source('''
            def clean(seconds):
                try:
                    time.sleep(60)
                finally:
                    time.sleep(seconds)
                    note('cleaned')
            @pytest.fixture
            def slow():
                yield
                time.sleep(0.6)
                note('torn')
            @pytest.mark.deadline('300ms', grace=60)
            def test_in_the_grace(slow): clean(0.6)
            @pytest.mark.deadline(0.3, grace=0.3)
            def test_beyond_it(): clean(60)
            @pytest.mark.deadline(0)
            def test_none(): time.sleep(0.5)
            ''')
        counts, text = self.pytest('--deadline=400ms')
        self.assertEqual(counts, {'passed': 1, 'failed': 2}, text)
        self.assertEqual(self.notes(), ['cleaned', 'torn'])

    def test_the_setting(self):
        self.source('def test_hangs(): time.sleep(60)')
        self.write('pytest.ini', '[pytest]', 'deadline = 300ms')
        self.assertEqual(self.pytest()[0], {'failed': 1})

    def test_unittest(self):
        self.source('''
            class Test(unittest.TestCase):
                def setUp(self):
                    self.addCleanup(note, 'clean')
                    if 'set_up' in self.id(): time.sleep(60)
                def tearDown(self):
                    note('down')
                    if 'tear_down' in self.id(): time.sleep(60)
                def test_hangs(self): time.sleep(60)
                def test_clean_up(self): self.addCleanup(time.sleep, 60)
                def test_set_up(self): pass
                def test_tear_down(self): pass
                def test_zero(self): pass
            ''')
        counts, text = self.pytest('--deadline=300ms')
        self.assertEqual(counts, {'passed': 1, 'failed': 4}, text)
        self.assertEqual(self.notes(), 'down clean down clean clean down clean down clean'.split())

    @needs('pycurl')
    def test_a_c_library_in_a_worker(self):
        self.source('''
            import pycurl, socket
            from concurrent.futures import ThreadPoolExecutor
            def fetch(port):
                curl = pycurl.Curl()
                curl.setopt(curl.URL, f'http://127.0.0.1:{port}/')
                curl.perform()
            @pytest.mark.deadline(0.3, grace=0.3)
            def test_hangs():
                with socket.create_server(('127.0.0.1', 0)) as server, ThreadPoolExecutor() as pool:
                    pool.submit(fetch, server.getsockname()[1]).result()
            def test_after_it():
                assert threading.active_count() == 1
            ''')
        counts, text = self.pytest('--deadline=10s')
        self.assertEqual(counts, {'passed': 1, 'failed': 1}, text)

    @needs('pytest_asyncio')
    def test_asyncio(self):
        self.source('''
            import asyncio, pytest_asyncio
            @pytest_asyncio.fixture
            async def up(): await asyncio.sleep(60)
            @pytest_asyncio.fixture
            async def down():
                yield
                await asyncio.sleep(60)
            @pytest.mark.asyncio
            async def test_up(up): pass
            @pytest.mark.asyncio
            async def test_down(down): pass
            @pytest.mark.asyncio
            async def test_awaits(): await asyncio.sleep(60)
            @pytest.mark.asyncio
            async def test_blocks(): time.sleep(60)
            @pytest.mark.asyncio
            async def test_ends(): await asyncio.sleep(0.01)
            class Test(unittest.IsolatedAsyncioTestCase):
                async def test_awaits(self): await asyncio.sleep(60)
                async def test_ends(self): await asyncio.sleep(0.01)
            ''')
        counts, text = self.pytest('--deadline=300ms')
        self.assertEqual(counts, {'passed': 3, 'failed': 3, 'error': 2}, text)

    def in_pdb(self, lines, *arguments, seconds=0):
        self.source(f'def test_it():\n    breakpoint()\n    time.sleep({seconds})\n    note("went on")')
        done = subprocess.run(self.command(*arguments, '-s', '--no-deadline-preload'),
                              cwd=self.directory, capture_output=True, text=True, timeout=PATIENCE,
                              input=lines, env={**os.environ, 'PYTHONPATH': PATH})
        return done.returncode, done.stdout + done.stderr

    def test_pdb(self):
        status, text = self.in_pdb('import time; time.sleep(0.6)\nc\n', '--deadline=300ms')
        self.assertEqual(status, 0, text)
        self.assertEqual(self.notes(), ['went', 'on'])

    def test_pdb_is_ended_too_if_that_is_asked_for(self):
        """pdb swallows what is raised in its own lines: then it is raised again."""
        status, text = self.in_pdb('import time; time.sleep(60)\nc\n', '-p', 'no:timeout',
                                   '--deadline-as-timeout', '--timeout=0.3', '--timeout-method=thread',
                                   '--timeout-disable-debugger-detection', seconds=60)
        self.assertEqual(status, 1, text)
        self.assertFalse(os.path.exists(self.path('notes')))
        self.assertRegex(text, r'Timeout \(?>0\.3s')


class Threads(Sessions):
    def test_left_behind(self):
        """Python would wait for them, for ever."""
        self.source('''
            def test_hangs():
                threading.Thread(target=time.sleep, args=(60,)).start()
                time.sleep(60)
            ''')
        counts, text = self.pytest('--deadline=300ms')
        self.assertEqual((counts, self.status), ({'failed': 1}, 1), text)
        self.assertNotIn('not waited for', text)

    def test_that_nothing_ends(self):
        self.source('''
            import atexit
            def test_hangs():
                atexit.register(note, 'exit')
                lock = threading.Lock()
                lock.acquire()
                threading.Thread(target=lock.acquire, name='stuck').start()
                time.sleep(60)
            ''')
        done = run(*self.command('--deadline=300ms'), cwd=self.directory, PYTHONPATH=PATH)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn('coopdl: not waited for, since nothing ends them: stuck\n', done.stderr)
        self.assertIn('1 failed', done.stdout)
        self.assertEqual(self.notes(), ['exit'])


class Session(Sessions):
    SOURCE = '''
        @pytest.fixture(autouse=True, scope='session')
        def session():
            yield
            time.sleep(0.01)
            note('down')
        def test_ends(): pass
        @pytest.mark.parametrize('number', [1, 2])
        def test_hangs(number): time.sleep(60)
        '''

    def outcomes(self):
        tree = xml.etree.ElementTree.parse(self.path('report.xml'))
        return {case.get('name'): [child.tag for child in case] for case in tree.iter('testcase')}

    def test_in_a_test(self):
        self.source(self.SOURCE)
        _, text = self.pytest('--session-deadline=3s', '--junitxml=report.xml')
        self.assertEqual(self.status, 2, text)
        self.assertEqual(self.outcomes(), {'test_ends': [], 'test_hangs[1]': ['failure']})
        self.assertEqual(self.notes(), ['down'])
        self.assertIn("DeadlineExceeded: the session's deadline of 3 s was exceeded", text)
        self.assertIn("Interrupted: the session's deadline of 3 s was exceeded", text)

    def test_in_an_import(self):
        self.source(self.SOURCE)
        self.source('time.sleep(60)', 'test_imports.py')
        _, text = self.pytest('--session-deadline=3s', '--junitxml=report.xml',
                              'test_imports.py', 'test_it.py')
        self.assertEqual((self.status, self.outcomes()), (2, {'test_imports': ['error']}), text)
        self.assertIn("Interrupted: the session's deadline of 3 s was exceeded", text)

    @needs('xdist')
    def test_xdist(self):
        self.source(self.SOURCE)
        _, text = self.pytest('--session-deadline=4s', '-n1', '--junitxml=report.xml')
        self.assertNotEqual(self.status, 0, text)
        outcomes = self.outcomes()
        self.assertEqual(outcomes['test_ends'], [], text)
        self.assertLessEqual(1, sum(outcome == ['failure'] for outcome in outcomes.values()), text)
        self.assertEqual(self.notes(), ['down'])

    @needs('xdist')
    def test_xdist_and_a_deadline_for_each(self):
        self.source(self.SOURCE)
        counts, text = self.pytest('--deadline=300ms', '-n2')
        self.assertEqual((counts, self.status), ({'failed': 2, 'passed': 1}, 1), text)


class Timeout(Sessions):
    """As pytest-timeout has it: with it, and without."""

    def both(self, counts, *arguments, **variables):
        for other in ('-p', 'no:timeout'), ():
            if not other and importlib.util.find_spec('pytest_timeout') is None:
                continue
            found, text = self.pytest('--deadline-as-timeout', *other, *arguments, **variables)
            self.assertEqual(found, counts, text)
            self.assertIn('DeadlineExceeded: the timeout of ', text)

    def test_option(self):
        self.source('''
            @pytest.fixture(scope='session')
            def slow(): time.sleep(0.2)
            @pytest.fixture
            def hangs(): yield; time.sleep(60)
            def test_all_together(slow): time.sleep(0.2)
            def test_ends(): pass
            def test_teardown(hangs): pass
            @pytest.mark.timeout(60)
            class TestClass:
                def test_mark(self): time.sleep(0.4)
                @pytest.mark.timeout(timeout=0.1, method='thread')
                def test_inner(self): time.sleep(60)
            @pytest.mark.timeout(func_only=True)
            def test_func_only(request): time.sleep(60)
            ''')
        self.both({'failed': 3, 'passed': 3, 'error': 1}, '--timeout=0.3')
        self.assertRegex(self.pytest('--deadline-as-timeout', '--timeout=0.3')[1],
                         r'Timeout \(?>0\.3s')

    def test_setting_and_environment(self):
        self.source('''
            @pytest.fixture
            def slow(): time.sleep(0.6)
            def test_slow(slow): pass
            def test_hangs(): time.sleep(60)
            ''')
        self.both({'failed': 1, 'error': 1}, PYTEST_TIMEOUT='0.3')
        self.write('pytest.ini', '[pytest]', 'timeout = 0.3', 'timeout_func_only = true')
        found, text = self.pytest('--deadline-as-timeout', '-p', 'no:timeout')
        self.assertEqual(found, {'failed': 1, 'passed': 1}, text)

    @needs('pytest_timeout')
    def test_not_asked_for(self):
        self.source('def test_hangs(): time.sleep(60)')
        counts, text = self.pytest('--timeout=0.3')
        self.assertEqual(counts, {'failed': 1})
        self.assertRegex(text, r'Timeout \(?>0\.3s')


class Preload(Sessions):
    def header(self, *arguments):
        self.source('def test_it(): print(os.getpid())')
        return re.findall(r'^deadline: (.*)$', self.pytest(*arguments, LD_PRELOAD='')[1], re.M)

    def test_it_starts_anew(self):
        self.assertEqual(self.header('--deadline=1m', '--session-deadline=1h'),
                         ['each 60 s, session 3600 s (preloaded)'])

    def test_unless_told_not_to(self):
        self.assertEqual(self.header('--deadline=1m', '--no-deadline-preload'),
                         ['each 60 s (not preloaded)'])

    def test_unless_nothing_is_asked_for(self):
        self.assertEqual(self.header(), [])

    def test_not_what_calls_pytest(self):
        self.source('def test_it(): pass')
        program = self.write('main.py', 'import pytest', 'print("begins", flush=True)',
                             'pytest.main(["-p", "coopdl.pytest", "--deadline=60"])')
        done = run(sys.executable, program, cwd=self.directory, PYTHONPATH=PATH)
        self.assertEqual(done.stdout.count('begins'), 1, done.stdout)
        self.assertIn('deadline: each 60 s (not preloaded)', done.stdout)


class Wrong(Sessions):
    def test_a_duration(self):
        for option in '--deadline', '--session-deadline':
            _, text = self.pytest(f'{option}=soon')
            self.assertEqual(self.status, 4, text)
            self.assertRegex(text, r"deadline: invalid duration 'soon': accepted are seconds")

    def test_a_mark(self):
        for mark, why in ('(1, 2, 3)', 'too many positional arguments'), \
                ('("soon")', "invalid duration 'soon'"), ('(-1)', "invalid duration '-1'"):
            self.source(f'def test_ends(): note("run")\n@pytest.mark.deadline{mark}\n'
                        'def test_it(): pass')
            _, text = self.pytest()
            self.assertEqual(self.status, 4, text)
            self.assertIn('test_it.py::test_it: @pytest.mark.deadline', text)
            self.assertIn(why, text)
        self.assertFalse(os.path.exists(self.path('notes')))
