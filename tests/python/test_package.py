# SPDX-License-Identifier: Apache-2.0
"""test_package.py -- the package as a user gets it: the wheel, the hook that installs the
budget, the stubs.

meson.build sets SOURCE, VERSION, COOPDL (the command), COOPDL_LIBRARY, PYTHONPATH (the package
in the build directory) and WHEELS (a directory; empty where no wheel can be built).
"""
import ast
import glob
import inspect
import os
import re
import shutil
import statistics
import sys
import sysconfig
import time
import unittest
import zipfile

import coopdl
from programs import BUDGET, GENEROUS, Scratch, run

BUILT = os.environ['PYTHONPATH']
PACKAGE = os.path.dirname(coopdl.__file__)
STUBS = os.path.join(PACKAGE, '_coopdl.pyi')
SUFFIX = sysconfig.get_config_var('EXT_SUFFIX')

def wheel():
    found = glob.glob(os.path.join(os.environ['WHEELS'] or os.devnull, '*.whl'))
    if not found:
        raise unittest.SkipTest('there is no wheel: it takes pip and python3-mesonpy')
    return found[0]


class Import(Scratch):
    def test_it_is_the_one_that_was_built(self):
        self.assertEqual(PACKAGE, os.path.join(BUILT, 'coopdl'))
        self.assertTrue(coopdl._coopdl.__file__.endswith('_coopdl' + SUFFIX))

    def test_with_and_without_the_preload(self):
        program = 'import coopdl; print(coopdl.preloaded())'
        self.ended(run(sys.executable, '-c', program, PYTHONPATH=BUILT), 0, 'False\n')
        self.ended(run(sys.executable, '-c', program, PYTHONPATH=BUILT,
                       LD_PRELOAD=os.environ['COOPDL_LIBRARY']), 0, 'True\n')

    def test_the_library_is_there_once(self):
        program = ("import coopdl, re; "
                   "print(len(set(re.findall(r'/\\S*libcoopdl\\S*', open('/proc/self/maps').read()))))")
        self.ended(run(sys.executable, '-c', program, PYTHONPATH=BUILT), 0, '1\n')
        self.ended(run(sys.executable, '-c', program, PYTHONPATH=BUILT,
                       LD_PRELOAD=os.environ['COOPDL_LIBRARY']), 0, '1\n')

    def test_older_and_newer_pythons_are_refused(self):
        for minor in (9, 15):
            program = f'import sys; sys.version_info = (3, {minor}, 1, "final", 0); import coopdl'
            done = run(sys.executable, '-c', program, PYTHONPATH=BUILT)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f'ImportError: coopdl needs CPython 3.10 to 3.14, and this is cpython 3.{minor}\n',
                          done.stderr)

    def test_in_meson_devenv(self):
        meson = shutil.which('meson')
        if not meson:
            self.skipTest('meson is not in PATH')
        done = run(meson, 'devenv', '-C', os.path.join(BUILT, os.pardir, os.pardir),
                   sys.executable, '-c', 'import coopdl; print(coopdl.__file__)')
        self.ended(done, 0, os.path.join(PACKAGE, '__init__.py') + '\n')


class Wheel(Scratch):
    def test_contents(self):
        ours = {'coopdl.pth', 'coopdl/_coopdl' + SUFFIX, 'coopdl/libcoopdl.so.0', 'coopdl/coopdl',
                *('coopdl/' + name for name in (
                    '__init__.py', '__main__.py', '_check.py', '_command.py', '_coopdl.pyi', '_greenlet.py',
                    '_library.py', '_limited.py', '_script.py', '_stacks.py', '_stuck.py', 'asgi.py', 'celery.py', 'propagate.py',
                    'py.typed', 'pytest.py', 'wsgi.py'))}
        with zipfile.ZipFile(wheel()) as archive:
            names = archive.namelist()
        found = [name for name in names if '.dist-info/' not in name]
        self.assertEqual(sorted(found), sorted(ours))
        self.assertIn(f'coopdl-{os.environ["VERSION"]}.dist-info/LICENSE', names)

    def test_pytest_finds_its_plugin(self):
        with zipfile.ZipFile(wheel()) as archive:
            points = archive.read(f'coopdl-{os.environ["VERSION"]}.dist-info/entry_points.txt')
        self.assertIn('[pytest11]\ncoopdl.pytest = coopdl.pytest\n', points.decode())

    def test_it_looks_for_the_library_in_itself_alone(self):
        with zipfile.ZipFile(wheel()) as archive:
            files = [archive.extract(name, self.directory)
                     for name in ('coopdl/_coopdl' + SUFFIX, 'coopdl/coopdl')]
        for file in files:
            done = run('readelf', '-d', file)
            self.ended(done, 0)
            self.assertEqual(re.findall(r'R(?:UN)?PATH.*\[(.*)\]', done.stdout), ['$ORIGIN'], file)

    def test_installed_by_pip(self):
        target = self.path('target')
        self.ended(run(sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install',
                       '--no-index', '--no-compile', '--target', target, wheel()), 0)
        program = ('import coopdl\n'
                   'with coopdl.timeout(60) as scope:\n'
                   '    print(coopdl.__file__, coopdl.remaining() > 50, scope.expired())')
        done = run(sys.executable, '-c', program, PYTHONPATH=target)
        self.ended(done, 0, f'{target}/coopdl/__init__.py True False\n')
        done = run(sys.executable, '-m', 'coopdl', '--check', PYTHONPATH=target)
        self.ended(done, 0)
        self.assertIn(f'{target}/coopdl/libcoopdl.so.0, version {os.environ["VERSION"]}\n',
                      done.stdout)
        lines = done.stdout.splitlines()
        self.assertEqual('what says no above is' in lines[-1], any(line.startswith('no ') for line in lines))
        # The command comes into PATH.
        done = run(os.path.join(target, 'bin', 'coopdl'), '0.2s', 'sleep', '60', PYTHONPATH=target)
        self.assertEqual(done.returncode, 124, done.stderr)


class Hook(Scratch):
    """coopdl.pth, in an environment of its own (python -m venv) that has the wheel."""

    def setUp(self):
        super().setUp()
        archive = wheel()
        self.ended(run(sys.executable, '-m', 'venv', '--without-pip', self.directory), 0)
        self.python = self.path('bin', 'python3')
        self.site = run(self.python, '-c', 'import sysconfig; print(sysconfig.get_path("platlib"))'
                        ).stdout.strip()
        with zipfile.ZipFile(archive) as files:
            files.extractall(self.site)
        self.pth = os.path.join(self.site, 'coopdl.pth')

    def imported(self, **variables):
        done = run(self.python, '-c', 'import sys; print("coopdl" in sys.modules)', **variables)
        self.ended(done, 0)
        self.assertEqual(done.stderr, '')
        return done.stdout.strip()

    def test_only_with_a_deadline(self):
        self.assertEqual(self.imported(), 'False')
        self.assertEqual(self.imported(COOPDL_GRACE='1'), 'False')
        self.assertEqual(self.imported(COOPDL_BUDGET='60'), 'True')
        self.assertEqual(self.imported(COOPDL_DEADLINE=str(2**62)), 'True')

    def test_it_costs_no_import(self):
        def modules():
            done = run(self.python, '-X', 'importtime', '-c', 'pass')
            self.ended(done, 0)
            found = re.findall(r'(?m)^import time:.*\| +(\S+)$', done.stderr)
            self.assertIn('site', found)
            return sorted(set(found) - {'encodings.utf_8_sig'})  # by which newer ones read any .pth

        def start_up():
            begun = time.perf_counter()
            run(self.python, '-c', 'pass')
            return (time.perf_counter() - begun) * 1000

        there = modules()
        away = self.pth + '.away'
        with_hook, without = [], []
        for _ in range(20):  # by turns: what else the machine does hits both
            with_hook.append(start_up())
            os.rename(self.pth, away)
            without.append(start_up())
            os.rename(away, self.pth)
        os.unlink(self.pth)
        self.assertEqual(there, modules())
        self.figures = (f'start-up, median of 20: {statistics.median(with_hook):.1f} ms with the '
                        f'hook, {statistics.median(without):.1f} ms without')

    def breaks(self, why):
        """With a deadline: one line, and Python goes on; without: none."""
        program = 'print("goes on")'
        done = run(self.python, '-c', program, COOPDL_BUDGET='60')
        self.ended(done, 0, 'goes on\n')
        self.assertRegex(done.stderr, rf'\Acoopdl: [^\n]*{why}[^\n]*\n\Z')
        done = run(self.python, '-c', program)
        self.ended(done, 0, 'goes on\n')
        self.assertEqual(done.stderr, '')

    def test_the_library_is_missing(self):
        os.unlink(os.path.join(self.site, 'coopdl', 'libcoopdl.so.0'))
        self.breaks('libcoopdl')

    def test_the_extension_is_for_another_python(self):
        extension = os.path.join(self.site, 'coopdl', '_coopdl')
        os.rename(extension + SUFFIX, extension + '.cpython-300.so')
        self.breaks('_coopdl')

    def test_the_package_is_missing(self):
        shutil.rmtree(os.path.join(self.site, 'coopdl'))
        self.breaks('coopdl')

    def test_the_command_ends_a_python_with_a_traceback(self):
        script = self.write('app.py', 'import socket, time', 'def fetch():',
                            '    a, b = socket.socketpair()', '    a.recv(1)', 'fetch()')
        begun = time.monotonic()
        done = run(os.environ['COOPDL'], f'{BUDGET}', self.python, script)
        took = time.monotonic() - begun
        self.ended(done, 124, '')
        self.assertTrue(BUDGET <= took < BUDGET + GENEROUS, took)
        self.assertIn(f'File "{script}", line 4, in fetch\n', done.stderr)
        self.assertRegex(done.stderr, r'\ncoopdl\.DeadlineReached')

    def test_the_traceback_is_whole(self):
        """What nobody has caught is printed: not swallowed, so not to be raised again."""
        for _ in range(10):
            done = run(os.environ['COOPDL'], '100ms', self.python, '-c', 'while True: pass')
            self.ended(done, 124, '')
            self.assertRegex(done.stderr, r'\ATraceback [^\n]*\n(  [^\n]*\n)*'
                             r'coopdl\.DeadlineReached: [^\n]*\n\Z')

    def test_a_budget_that_ends_before_the_program_begins(self):
        """Also in the middle of the interpreter's start, where an exception would be fatal."""
        for milliseconds in 0.001, 2, *(4 + i / 4 for i in range(64)):
            done = run(os.environ['COOPDL'], f'{milliseconds}ms', self.python, '-c',
                       'while True: pass')
            self.ended(done, 124, '')
            # From 3.13 on with the line itself.  3.14 imports a module before it runs a `-c`.
            place = r'  File "<(string|frozen [.\w]+)>", line \d+, in [<>\w]+\n(    [^\n]*\n)*' \
                if sys.version_info >= (3, 14) else \
                r'  File "<string>", line [01], in <module>\n(    [^\n]*\n)*'
            self.assertRegex(re.sub(r'\A(.*\n)*\nDuring handling of the above .*\n\n', '', done.stderr),
                             rf'\ATraceback [^\n]*\n({place})+'
                             r'coopdl\.DeadlineReached: [^\n]*\n\Z')


class Types(Scratch):
    """The stubs, by mypy; python3's own, for it is not in PATH for others."""

    def tool(self, name, *arguments):
        tool = shutil.which(name, path='/usr/bin:' + os.environ['PATH'])
        if not tool:
            self.skipTest(f'there is no {name}: it takes the package mypy')
        return run(tool, *arguments, cwd=self.directory, MYPYPATH=BUILT, PYTHONPATH=BUILT)

    def test_the_package_is_typed(self):
        self.ended(self.tool('mypy', '--strict', PACKAGE), 0)

    def check(self, *lines):
        """What mypy says of a program: the number of the line, and the kind of error."""
        done = self.tool('mypy', '--strict', '--show-error-codes', '--python-version', '3.10',
                         self.write('program.py', *lines))
        return [(int(line), code)
                for line, code in re.findall(r':(\d+): error: .*\[([a-z-]+)\]$', done.stdout, re.M)]

    def test_what_is_right(self):
        self.assertEqual(self.check(
            'from __future__ import annotations',
            'from datetime import timedelta',
            'from typing_extensions import assert_type',
            'import coopdl',
            'with coopdl.timeout(5) as scope:',
            '    assert_type(scope.when(), "float | None")',
            '    assert_type(scope.expired(), bool)',
            '    scope.reschedule(None)',
            '    scope.cancel()',
            'with coopdl.timeout_at(None), coopdl.shield():',
            '    assert_type(coopdl.remaining(), "float | None")',
            '    assert_type(coopdl.deadline(), "float | None")',
            '    assert_type(coopdl.preloaded(), bool)',
            '    coopdl.check()',
            '    coopdl.timeout(seconds=1, grace=None, inherit=False)',
            '    coopdl.timeout(timedelta(1), grace=timedelta(1))',
            '    assert_type(coopdl.timeout_at(1, grace=2), coopdl.timeout)',
            '@coopdl.timeout(1.5)',
            'def fetch(url: str, *, tries: int = 1) -> bytes:',
            '    return b""',
            'assert_type(fetch("", tries=2), bytes)',
            'def returns_behind_the_block() -> int:',
            '    with coopdl.timeout(1):',
            '        return 1',
            'try:',
            '    pass',
            'except TimeoutError as error:',
            '    if isinstance(error, coopdl.DeadlineExceeded):',
            '        assert_type(error.scope, "coopdl.timeout | None")',
        ), [])

    def test_what_is_wrong(self):
        self.assertIn(self.check(
            'import coopdl',
            'coopdl.timeout("5")',
            'coopdl.timeout()',
            'coopdl.timeout(1).reschedule("soon")',
            'coopdl.nothing',
            'coopdl.timeout(1, 2)',
            '@coopdl.timeout(1)',
            'def fetch(url: str) -> bytes:',
            '    return b""',
            'fetch(1)',
        ), [[(2, 'arg-type'), (3, 'call-arg'), (4, 'arg-type'), (5, 'attr-defined'), (6, too_many),
             (10, 'arg-type')] for too_many in ('misc', 'call-arg')])  # what mypy calls it

    def test_the_stubs_are_what_the_extension_has(self):
        if os.path.realpath(sys.executable) != os.path.realpath('/usr/bin/python3'):
            self.skipTest('stubtest looks at the extension of its own Python')
        self.ended(self.tool('stubtest', 'coopdl._coopdl'), 0)

    def test_all_that_is_public_is_there(self):
        self.assertEqual(sorted(coopdl.__all__), sorted(
            ['DeadlineInsists', *(name for name in vars(coopdl._coopdl) if not name.startswith('_'))]))


class Docstrings(unittest.TestCase):
    def test_in_the_extension(self):
        for name in coopdl.__all__:
            found = getattr(coopdl, name)
            self.assertTrue(inspect.getdoc(found), name)
            if inspect.isclass(found) and not issubclass(found, BaseException):
                for attribute, value in vars(found).items():
                    if not attribute.startswith('_'):
                        self.assertTrue(inspect.getdoc(value), f'{name}.{attribute}')
        self.assertTrue(coopdl.__doc__ and coopdl._coopdl.__doc__)

    def test_in_the_stubs(self):
        with open(STUBS, encoding='utf-8') as file:
            stubs = ast.parse(file.read())
        self.assertTrue(ast.get_docstring(stubs))
        missing = [node.name for node in ast.walk(stubs)
                   if isinstance(node, (ast.ClassDef, ast.FunctionDef))
                   and not node.name.startswith(('__new__', '_Block')) and not ast.get_docstring(node)]
        self.assertEqual(missing, [])
