# SPDX-License-Identifier: Apache-2.0
"""test_command.py -- python -m coopdl: what it starts finds the process as the interpreter itself
would have made it, and ends with the status that says how it went."""
import ctypes
import os
import platform
import py_compile
import re
import shutil
import signal
import struct
import sys
import time
import unittest
import zipfile

import coopdl
from programs import BUDGET, GENEROUS, Scratch, run

PACKAGE = os.path.dirname(coopdl.__file__)
BUILT = os.path.dirname(PACKAGE)

PRCTL, SET_USER_DISPATCH = 157, 59  # of x86-64


def refuse(call, first=None):
    """Has a filter of system calls (seccomp) answer EPERM from now on, perhaps only to this first
    argument."""
    allow, deny = (6, 0, 0, 0x7fff0000), (6, 0, 0, 0x00050001)
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, call), deny, allow]
    if first is not None:
        steps = [(0x20, 0, 0, 0), (0x15, 0, 3, call), (0x20, 0, 0, 16), (0x15, 0, 1, first), deny,
                 allow]
    code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))
    program = struct.pack('H6xP', len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):
        raise OSError('the filter cannot be installed')


class Command(Scratch):
    """python -m coopdl"""

    def coopdl(self, *arguments, options=(), **variables):
        return run(sys.executable, *options, '-m', 'coopdl', *arguments,
                   **{'PYTHONPATH': BUILT, 'cwd': self.directory, **variables})

    def refused(self, *arguments, status=125):
        done = self.coopdl(*arguments)
        self.ended(done, status, '')
        self.assertRegex(done.stderr, r'\Acoopdl: [^\n]+\n\Z')
        return done.stderr

    SHOW = (
        'import sys',
        'print(sys.argv, sys.path[0], __name__, globals().get("__file__"), __spec__)',
        'print(__package__, __doc__, getattr(__loader__, "__name__", __loader__), sorted(globals()))',
        'print(sys.modules["__main__"].__dict__ is globals(), __builtins__)')

    def forms(self):
        """All that the interpreter takes for a program."""
        script = self.write('app.py', *self.SHOW)
        for directory in 'package', 'directory':
            os.mkdir(self.path(directory))
            self.write(os.path.join(directory, '__main__.py'), *self.SHOW)
        self.write(os.path.join('package', '__init__.py'))
        with zipfile.ZipFile(self.path('app.pyz'), 'w') as archive:
            archive.write(script, '__main__.py')
        py_compile.compile(script, cfile=self.path('app.pyc'))
        return [[script], ['app.py'], ['./app.py'], ['directory'], ['app.pyz'], ['app.pyc'],
                ['-m', 'package'], ['-m', 'app'], ['-mapp'], ['-c', '\n'.join(self.SHOW)],
                ['-c' + '\n'.join(self.SHOW)]]

    def both(self, program, options=()):
        """What a program does alone and under the command: a list of all that can be seen."""
        def seen(done):
            runpy = r'  File "[^"]*runpy[^"]*", line .*\n(    .*\n)*'
            return (done.returncode, re.sub('0x[0-9a-f]+', '', done.stdout),
                    re.sub(runpy, '', done.stderr))
        alone = run(sys.executable, *options, *program, cwd=self.directory, PYTHONPATH=BUILT)
        under = self.coopdl('60', *program, options=options)
        self.assertNotIn('runpy', under.stderr)
        self.assertNotIn('_script', under.stderr)
        return seen(alone), seen(under)

    def test_the_program_finds_what_python_gives_it(self):
        for program in self.forms():
            with self.subTest(program):
                alone, under = self.both([*program, '--check', '-m', '-x'])
                self.assertEqual(alone[0], 0)
                self.assertEqual(alone, under)

    @unittest.skipIf(sys.version_info < (3, 11), 'there is no -P')
    def test_the_path_is_safe_where_it_was_asked_to_be(self):
        self.forms()
        for program in ['app.py'], ['directory'], ['app.pyz'], ['-c', self.SHOW[0]]:
            with self.subTest(program):
                alone, under = self.both(program, ['-P'])
                self.assertEqual((alone[0], alone), (0, under))

    def test_how_a_program_ends(self):
        self.write('syntax.py', 'x = = 1')
        self.write('lacking.py', 'import not_there')
        self.write('failing.py', 'def f():', '    raise ValueError(1) from KeyError(2)', 'f()')
        self.write('hooked.py', 'import sys', 'sys.excepthook = lambda *_: print("hooked")', '1/0')
        self.write('interrupted.py', 'raise KeyboardInterrupt')
        self.write('silent.py', 'import sys', 'sys.exit()')
        self.write('saying.py', 'import sys', 'sys.exit("this")')
        for program in (['syntax.py'], ['lacking.py'], ['failing.py'], ['hooked.py'], ['silent.py'],
                        ['interrupted.py'], ['saying.py'], ['-m', 'lacking'], ['-m', 'failing'],
                        ['-m', 'json.not_there'], ['-c', '1/0'], ['-c', 'x = = 1']):
            with self.subTest(program):
                alone, under = self.both(program)
                self.assertEqual(alone, under)

    def test_the_preload_and_the_budget_are_set_up(self):
        self.write('app.py', 'import coopdl', 'print(coopdl.preloaded(), coopdl.remaining())')
        done = self.coopdl('1m', 'app.py')
        self.ended(done, 0)
        preloaded, left = done.stdout.split()
        self.assertEqual(preloaded, 'True')
        self.assertTrue(50 < float(left) < 60, left)

    def test_children_are_inside_it(self):
        self.write('app.py', 'import subprocess, sys', 'subprocess.run([sys.executable, "-c", '
                   '"import coopdl; print(coopdl.preloaded(), coopdl.remaining() < 60)"])')
        self.ended(self.coopdl('60', 'app.py'), 0, 'True True\n')

    def test_zero_is_no_limit(self):
        self.write('app.py', 'import coopdl', 'print(coopdl.preloaded(), coopdl.remaining())')
        self.ended(self.coopdl('0', 'app.py'), 0, 'False None\n')

    def test_an_earlier_deadline_rules(self):
        self.write('app.py', 'import coopdl', 'print(coopdl.remaining() < 60)')
        self.ended(self.coopdl('1h', 'app.py', COOPDL_BUDGET='60'), 0, 'True\n')
        self.ended(self.coopdl('1m', 'app.py', COOPDL_BUDGET='1h'), 0, 'True\n')

    def test_what_is_preloaded_already_stays(self):
        self.write('app.py', 'import os', 'print(os.environ["LD_PRELOAD"])')
        library = os.environ['COOPDL_LIBRARY']
        done = self.coopdl('60', 'app.py', LD_PRELOAD=library)
        self.ended(done, 0)
        self.assertEqual(done.stdout.strip().split(':')[-1], library)

    def test_the_options_of_the_interpreter_are_handed_on(self):
        self.write('app.py', 'import sys', 'print(sys.flags.dev_mode, sys.flags.dont_write_bytecode)')
        self.ended(self.coopdl('60', 'app.py', options=['-X', 'dev', '-B']), 0, 'True 1\n')

    def test_it_keeps_its_process(self):
        self.write('app.py', 'import os, signal', 'os.kill(os.getpid(), signal.SIGKILL)')
        self.ended(self.coopdl('60', 'app.py'), -9)

    def test_the_status_of_the_script(self):
        self.write('app.py', 'import sys', 'sys.exit(int(sys.argv[1]))')
        for status in 0, 7:
            self.ended(self.coopdl('60', 'app.py', str(status)), status, '')

    def statuses(self, status, *programs):
        for lines in programs:
            with self.subTest(lines):
                self.write('app.py', 'import contextlib, os, sys, coopdl',
                           'late = coopdl.DeadlineExceeded("late")', *lines)
                for program in ['app.py'], ['-m', 'app']:
                    done = self.coopdl('60', *program)
                    self.ended(done, status, '')

    def test_a_deadline_in_the_chain_of_what_ended_it(self):
        handled = ['try:', '    raise late', 'except BaseException:']
        self.statuses(
            124,
            ['with coopdl.timeout(0):', '    while True: pass'],  # a deadline of its own
            ['raise late'],
            ['raise coopdl.DeadlineInsists'],
            ['raise ValueError from late'],
            [*handled, '    raise ValueError'],
            [*handled, '    raise ValueError from None'],
            [*handled, '    try:', '        raise ValueError', '    except ValueError:',
             '        raise KeyError from OSError(1)'],
            [*handled, '    sys.exit()'],
            [*handled, '    sys.exit("a message")'],
            ['error = ValueError()', 'error.exceptions = [KeyError(), late]', 'raise error'])

    @unittest.skipIf(sys.version_info < (3, 11), 'there are no groups')
    def test_a_deadline_in_a_group(self):
        self.statuses(124, ['raise ExceptionGroup("", [KeyError(), ExceptionGroup("", [late])])'])

    def test_a_status_that_the_script_chose(self):
        handled = ['try:', '    raise late', 'except BaseException:']
        self.statuses(0, [*handled, '    sys.exit(0)'], [*handled, '    pass'])
        self.statuses(3, [*handled, '    sys.exit(3)'], [*handled, '    os._exit(3)'])
        self.statuses(1, [*handled, '    pass', 'raise ValueError'], [*handled, '    pass', 'sys.exit("x")'])

    def test_a_chain_that_is_a_ring(self):
        self.statuses(1, ['one, two = ValueError(), KeyError()', 'one.__cause__ = two',
                          'two.__cause__ = one', 'raise one'])

    def test_a_message_is_printed(self):
        self.write('app.py', 'import coopdl, sys', 'try:', '    raise coopdl.DeadlineExceeded',
                   'except TimeoutError:', '    sys.exit("a message")')
        done = self.coopdl('60', 'app.py')
        self.ended(done, 124, '')
        self.assertEqual(done.stderr, 'a message\n')

    def test_the_deadline_ends_it_where_it_is(self):
        for stuck in 'time.sleep(20)', 'while True: pass', 'sys.stdin.read()':
            lines = ['import sys, os, time', 'r, w = os.pipe()', 'sys.stdin = os.fdopen(r)',
                     'def main():', '    ' + stuck, 'main()']
            self.write('app.py', *lines)
            for program in ['app.py'], ['-m', 'app'], ['-c', '\n'.join(lines)]:
                with self.subTest((stuck, program)):
                    for budget in BUDGET, 4 * BUDGET, 16 * BUDGET:
                        begun = time.monotonic()
                        done = self.coopdl(f'{budget}', *program)
                        took = time.monotonic() - begun
                        if 'line 6' in done.stderr:  # else a busy machine has not begun by then
                            break
                    self.ended(done, 124, '')
                    self.assertTrue(budget <= took < budget + GENEROUS, took)
                    self.assertRegex(done.stderr, r'\ATraceback [^\n]*\n'
                                     r'  File "(<string>|[^"]*/app.py)", line 6, in <module>\n')
                    self.assertRegex(done.stderr, r'(app.py|<string>)", line 5, in main\n')
                    self.assertRegex(done.stderr, r'\n(coopdl\.|)Deadline\w+')

    def test_c_code_is_ended_soon(self):
        """Also where coopdl.pth has imported the package before: it was only by SIGTERM there."""
        for code in 're.fullmatch(r"(a+)+\\Z", "a" * 1000 + "!")', 'pow(7, 10**9)':
            with self.subTest(code):
                begun = time.monotonic()
                done = self.coopdl(f'{BUDGET}', '-c', 'import re\n' + code, COOPDL_GRACE='60')
                self.assertLess(time.monotonic() - begun, BUDGET + GENEROUS)
                self.ended(done, 124, '')
                self.assertIn('DeadlineReached', done.stderr)

    def test_a_budget_that_ends_before_the_program_begins(self):
        """In the interpreter's start, in runpy, or in our own imports."""
        self.write('app.py', 'while True: pass')
        for milliseconds in 0.001, 10, 15, 20, 25, 30, 40:
            for program in ['app.py'], ['-m', 'app'], ['-c', 'while True: pass']:
                with self.subTest((milliseconds, program)):
                    done = self.coopdl(f'{milliseconds}ms', *program, COOPDL_GRACE='10s')
                    self.ended(done, 124, '')
                    self.assertRegex(done.stderr,
                                     r'(\A|\n)(coopdl\.|)DeadlineReached: [^\n]*\n\Z')
                    self.assertNotRegex(done.stderr, 'runpy|_script')

    def test_the_environment_is_the_programs(self):
        self.write('app.py', 'import os', 'print([n for n in os.environ if n.startswith("COOPDL")])')
        self.ended(self.coopdl('60', 'app.py'), 0, "['COOPDL_DEADLINE']\n")

    def test_a_script_that_goes_on_is_signalled(self):
        self.write('app.py', 'sum(range(10**12))')  # C code that looks at nothing
        self.ended(self.coopdl(f'{BUDGET}', 'app.py', COOPDL_GRACE='100ms'), -15)

    def test_bad_arguments(self):
        self.write('app.py', 'print("started")')
        for arguments, word in [((), 'DURATION'), (('5s',), 'SCRIPT'), (('5s', '-m'), 'MOD is missing'),
                                (('5s', '-c'), 'CODE is missing'), (('--foo', '5s', 'app.py'), '--foo'),
                                (('--check=x',), '--check'), (('soon', 'app.py'), "'soon'"),
                                (('-5', 'app.py'), '-5'), (('', 'app.py'), "''"),
                                (('1e', 'app.py'), "'1e'"), (('\udcff', 'app.py'), 'duration'),
                                (('9' * 30, 'app.py'), 'too large')]:
            with self.subTest(arguments):
                self.assertIn(word, self.refused(*arguments))

    def test_scripts_that_cannot_be_run(self):
        self.assertIn("'nowhere.py'", self.refused('5s', 'nowhere.py', status=127))
        self.assertIn("'not_there.at_all'", self.refused('5s', '-m', 'not_there.at_all', status=127))
        self.assertIn('cannot read', self.refused('5s', os.curdir, status=126))
        if os.geteuid() == 0:
            return  # who may read everything
        os.chmod(self.write('app.py', ''), 0)
        self.assertIn("'app.py'", self.refused('5s', 'app.py', status=126))

    def test_a_path_that_cannot_be_preloaded(self):
        shutil.copytree(PACKAGE, self.path('a b', 'coopdl'))
        self.write('app.py', '')
        done = self.coopdl('5s', 'app.py', PYTHONPATH=self.path('a b'))
        self.ended(done, 125, '')
        self.assertRegex(done.stderr, r'\Acoopdl: cannot preload [^\n]+\n\Z')

    def test_help_and_version(self):
        self.ended(self.coopdl('--version'), 0, f'coopdl {os.environ["VERSION"]}\n')
        done = self.coopdl('--help')
        self.ended(done, 0)
        self.assertIn('python -m coopdl [--check | --version] DURATION (SCRIPT | -m MOD | -c CODE) [ARG]...',
                      done.stdout)

    def check(self, status=0, command=None, **variables):
        """The marks and the texts of its lines, by their names."""
        done = run(command, '--check', **variables) if command else \
            self.coopdl('--check', **variables)
        self.ended(done, status)
        self.assertEqual(done.stderr, '')
        lines = re.findall(r'(?m)^(ok|no)  (\w+) +(.+)$', done.stdout)
        self.assertEqual(len(lines), done.stdout.count('\n'), done.stdout)
        self.assertEqual(lines[-1][1], 'deadline')
        self.assertEqual(lines[-1][0], 'no' if status else 'ok')
        return {name: (mark, text) for mark, name, text in lines}

    def test_check_alone(self):
        found = self.check()
        self.assertEqual(list(found), [
            'kernel', 'machine', 'libc', 'library', 'python', 'preload', 'cut', 'kick', 'trap',
            'seccomp', 'raise', 'worker', 'process', 'budget', 'deadline'])
        self.assertEqual(found['library'][1],
                         f'{PACKAGE}/libcoopdl.so.0, version {os.environ["VERSION"]}')
        self.assertIn(PACKAGE, found['python'][1])
        self.assertIn('.'.join(map(str, sys.version_info[:3])), found['python'][1])
        self.assertRegex(found['kick'][1], r'^signal 59 is free, and ended a call \d+\.\d ms after')
        self.assertRegex(found['raise'][1], r'^DeadlineExceeded, \d+\.\d ms after')
        self.assertEqual(found['worker'][0], 'ok')
        self.assertRegex(found['worker'][1], r'ended \d+\.\d ms after its deadline')
        self.assertEqual(found['process'][0], 'no')
        self.assertEqual(found['budget'][1], 'none')

    def test_check_with_all_in_place(self):
        library = os.environ['COOPDL_LIBRARY']
        found = self.check(LD_PRELOAD=library, COOPDL_BUDGET='60', COOPDL_TRAP='0')
        self.assertEqual(found['library'][1],
                         f'{os.path.realpath(library)}, version {os.environ["VERSION"]}')
        self.assertEqual(found['process'][0], 'ok')
        self.assertRegex(found['budget'][1], r'^5\d\.\d{3} s left$')
        self.assertEqual(found['trap'][0], 'no')
        self.assertRegex(found['trap'][1], '^COOPDL_TRAP=0')

    def agree(self, status=0, **variables):
        """What both commands have a line for, they say the same of."""
        ours = self.check(status, **variables)
        theirs = self.check(status, os.environ['COOPDL'], **variables)
        shared = [name for name in theirs if name in ours and name != 'python']
        self.assertGreaterEqual(len(shared), 7, shared)
        self.assertEqual([(name, ours[name][0]) for name in shared],
                         [(name, theirs[name][0]) for name in shared])
        return ours

    def test_check_agrees_with_the_command(self):
        self.agree()
        self.agree(COOPDL_TRAP='0')
        found = self.agree(COOPDL_SIGNAL='USR2')
        self.assertRegex(found['kick'][1], '^signal 12 is free')

    def test_check_where_signals_are_taken(self):
        self.agree(preexec_fn=lambda: signal.signal(59, signal.SIG_IGN))
        blocked = self.agree(preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [59]))
        self.assertRegex(blocked['kick'][1], '^signal 59 is blocked')

    @unittest.skipUnless(platform.machine() == 'x86_64', 'the filter is for the calls of x86-64')
    def test_check_under_a_filter(self):
        found = self.agree(preexec_fn=lambda: refuse(PRCTL, SET_USER_DISPATCH))
        self.assertEqual([found[name][0] for name in ('trap', 'seccomp')], ['no', 'no'])
        self.assertIn('have it allow', found['trap'][1])
        # The kick: rt_tgsigqueueinfo and tgkill.
        self.agree(1, preexec_fn=lambda: (refuse(297), refuse(234)))

    def test_check_of_a_package_that_cannot_be_preloaded(self):
        copy = self.path('with blank')
        shutil.copytree(PACKAGE, f'{copy}/coopdl')
        found = self.check(1, PYTHONPATH=copy)
        self.assertEqual(found['preload'][0], 'no')
