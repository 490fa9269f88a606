# SPDX-License-Identifier: Apache-2.0
"""test_decorated.py -- a decorated function is a function: for the language, for pickle, and for
the frameworks that look into the functions which they are given."""
from __future__ import annotations

import functools
import importlib.util
import inspect
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import textwrap
import typing
import unittest

import coopdl
from programs import PATIENCE

SHORT = 0.02
DAY = 24 * 3600


def spin():
    while True:
        pass


class Local:
    """A type that only this module's globals know."""


@coopdl.timeout(DAY)
def add(one: int, two: int = 2, *rest: int, three: Local | int = 3) -> int:
    """It adds."""
    return one + two + sum(rest) + three


@coopdl.timeout(DAY)
def left_in_a_process(_):
    return coopdl.remaining()


@coopdl.timeout(SHORT)
def ended_in_a_process(_):
    spin()


class Object:
    @coopdl.timeout(SHORT)
    def spin(self):
        spin()

    @coopdl.timeout(DAY)
    def method(self, one, *, other):
        return self, one + other, coopdl.remaining() > 50

    @classmethod
    @coopdl.timeout(DAY)
    def class_inside(cls):
        return cls, coopdl.remaining() > 50

    @coopdl.timeout(DAY)
    @classmethod
    def class_outside(cls):
        return cls, coopdl.remaining() > 50

    @staticmethod
    @coopdl.timeout(DAY)
    def static_inside(one):
        return one, coopdl.remaining() > 50

    @coopdl.timeout(DAY)
    @staticmethod
    def static_outside(one):
        return one, coopdl.remaining() > 50

    @property
    @coopdl.timeout(DAY)
    def attribute(self):
        return coopdl.remaining() > 50


class Language(unittest.TestCase):
    def test_each_call_is_in_a_scope_of_its_own(self):
        for _ in range(2):
            with self.assertRaises(coopdl.DeadlineExceeded):
                Object().spin()
        self.assertIsNone(coopdl.deadline())

        @coopdl.timeout(DAY)
        def down(depth):
            return down(depth - 1) if depth else coopdl.remaining()

        self.assertGreater(down(20), 50)

    def test_all_limits_are_renewed(self):
        @coopdl.timeout(None)
        def unlimited():
            return coopdl.remaining()

        @coopdl.timeout_at(1e9)
        def absolute():
            return coopdl.deadline()

        @coopdl.shield()
        def shielded():
            return coopdl.remaining()

        for _ in range(2):
            with coopdl.timeout(DAY):
                self.assertGreater(unlimited(), 50)
                self.assertIsNone(shielded())
            self.assertEqual(absolute(), 1e9)

    def test_it_is_a_function(self):
        self.assertTrue(inspect.isfunction(add))
        self.assertEqual((add.__name__, add.__qualname__, add.__module__, add.__doc__),
                         ('add', 'add', __name__, 'It adds.'))
        self.assertRegex(repr(add), r'\A<function add at 0x\w+>\Z')
        self.assertIs(add.__globals__, globals())
        self.assertEqual((add.__defaults__, add.__kwdefaults__), ((2,), {'three': 3}))
        self.assertTrue(inspect.isfunction(add.__wrapped__) and add.__code__.co_name)
        self.assertEqual(list(add.__annotations__), ['one', 'two', 'rest', 'three', 'return'])
        add.mark = True
        self.assertTrue(add.mark)

    def test_what_it_is_called_with(self):
        self.assertEqual([add(1), add(1, 1), add(1, 1, 1, 1), add(two=1, one=1, three=1)],
                         [6, 5, 7, 3])
        for arguments, keywords in ((), {}), ((1,), {'one': 1}), ((1,), {'four': 4}):
            with self.assertRaises(TypeError):
                add(*arguments, **keywords)

    def test_its_signature(self):
        self.assertEqual(str(inspect.signature(add)), str(inspect.signature(add.__wrapped__)))
        self.assertIn('three', str(inspect.signature(add)))
        self.assertEqual(str(inspect.signature(add, follow_wrapped=False))[:17], '(*args, **kwargs)')
        self.assertEqual(inspect.getfullargspec(add).varkw, 'kwargs')
        self.assertIs(inspect.unwrap(add), add.__wrapped__)
        self.assertEqual(inspect.getsource(add), inspect.getsource(add.__wrapped__))
        self.assertEqual(typing.get_type_hints(add.__wrapped__)['one'], int)
        # As frameworks do that do not unwrap: in its own globals.
        self.assertIs(eval('Local', add.__globals__), Local)

    def test_as_a_method(self):
        this = Object()
        self.assertEqual(this.method(1, other=2), (this, 3, True))
        self.assertTrue(inspect.ismethod(this.method) and this.attribute)
        for where in this, Object:
            self.assertEqual(where.class_inside(), (Object, True))
            self.assertEqual(where.class_outside(), (Object, True))
            self.assertEqual(where.static_inside(1), (1, True))
            self.assertEqual(where.static_outside(1), (1, True))

    def test_by_its_name(self):
        for function in add, Object.method, Object.spin:
            self.assertIs(pickle.loads(pickle.dumps(function)), function)

    def test_other_callables(self):
        class Callable:
            def __call__(self, one):
                return one, coopdl.remaining() > 50

        for function in Callable(), Callable().__call__:
            self.assertEqual(coopdl.timeout(DAY)(function)(1), (1, True))
        self.assertEqual(coopdl.timeout(DAY)(functools.partial(max, 1))(2), 2)
        self.assertEqual(coopdl.timeout(DAY)(len)('ab'), 2)
        self.assertEqual(coopdl.timeout(DAY)(len).__name__, 'len')

    def test_what_cannot_be_decorated(self):
        async def coroutine():
            pass

        async def asynchronous():
            yield

        def generator():
            yield

        class Callable:
            async def __call__(self):
                pass

        for function in coroutine, asynchronous, Callable(), functools.partial(coroutine):
            with self.assertRaisesRegex(TypeError, 'asyncio.timeout'):
                coopdl.timeout(1)(function)
        for function in generator, staticmethod(generator):
            with self.assertRaisesRegex(TypeError, 'generator'):
                coopdl.timeout(1)(function)
        for wrong in 5, property(len):
            with self.assertRaisesRegex(TypeError, 'a function is expected, not (int|property)'):
                coopdl.timeout(1)(wrong)
        for arguments, keywords in ((), {}), ((len, len), {}), ((), {'function': len}):
            with self.assertRaises(TypeError):
                coopdl.timeout(1)(*arguments, **keywords)

    def test_singledispatch(self):
        @functools.singledispatch
        @coopdl.timeout(DAY)
        def outside(value):
            return 'any', coopdl.remaining() > 50

        @outside.register
        @coopdl.timeout(DAY)
        def _(value: int):
            return 'int', coopdl.remaining() > 50

        @coopdl.timeout(DAY)
        @functools.singledispatch
        def inside(value):
            return 'any', coopdl.remaining() > 50

        @inside.register(int)
        def _(value):
            return 'int', coopdl.remaining() > 50

        for function in outside, inside:
            self.assertEqual([function(''), function(1)], [('any', True), ('int', True)])

    def test_caches(self):
        calls = []

        @functools.lru_cache
        @coopdl.timeout(DAY)
        def cached(value):
            calls.append(value)
            return value

        self.assertEqual([cached(1), cached(1), calls], [1, 1, [1]])


class Processes(unittest.TestCase):
    def test_pool(self):
        for method in 'fork', 'spawn':
            with multiprocessing.get_context(method).Pool(2) as pool:
                for left in pool.map(left_in_a_process, range(4)):
                    self.assertGreater(left, 50)
                with self.assertRaises(coopdl.DeadlineExceeded):
                    pool.map(ended_in_a_process, range(2))


class Frameworks(unittest.TestCase):
    """Each in a process of its own, without a word of it in this one."""

    def run_program(self, module, program, *command):
        if importlib.util.find_spec(module) is None:
            self.skipTest(f'no module {module}')
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, 'test_it.py')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(textwrap.dedent(program))
            done = subprocess.run([sys.executable, *command, path], cwd=directory,
                                  capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_celery(self):
        self.run_program('celery', '''
            import coopdl, celery
            app = celery.Celery('it', broker='memory://', backend='cache+memory://')
            app.conf.task_always_eager = True

            @app.task
            @coopdl.timeout(3600)
            def add(one, two=2):
                return one + two, coopdl.remaining() > 50

            @app.task(bind=True)
            @coopdl.timeout(3600)
            def bound(self, one):
                return self.name, one

            @app.task
            @coopdl.timeout(0.02)
            def slow():
                while True:
                    pass

            assert (add.name, bound.name) == ('it.add', 'it.bound'), add.name
            assert add.delay(1).get() == (3, True)
            assert add.apply_async((1,), {'two': 1}).get() == (2, True)
            assert bound.delay(1).get() == (bound.name, 1)
            assert type(slow.delay().result) is coopdl.DeadlineExceeded, slow.delay().result
            ''')

    def test_click(self):
        self.run_program('click', '''
            import click, coopdl
            from click.testing import CliRunner

            @click.group()
            def main():
                pass

            @main.command()
            @click.option('--count', default=1)
            @coopdl.timeout(3600)
            @click.argument('name')
            def greet(count, name):
                """It greets."""
                click.echo(f'{name} {count} {coopdl.remaining() > 50}')

            @main.command()
            @coopdl.timeout(0.02)
            def slow():
                while True:
                    pass

            def invoke(*arguments):
                return CliRunner().invoke(main, arguments)

            assert invoke('greet', '--count', '2', 'you').output == 'you 2 True\\n'
            assert 'It greets.' in invoke('greet', '--help').output
            assert type(invoke('slow').exception) is coopdl.DeadlineExceeded
            ''')

    def test_pytest(self):
        output = self.run_program('pytest', '''
            import coopdl, pytest

            @pytest.fixture
            @coopdl.timeout(3600)
            def one():
                return 1

            @pytest.fixture
            @coopdl.timeout(3600)
            def two(one):
                return one + 1, coopdl.remaining() > 50

            @pytest.mark.parametrize('number', [1, 2])
            @coopdl.timeout(3600)
            def test_function(two, number, one):
                assert two == (2, True) and number and coopdl.remaining() > 50

            class TestClass:
                @coopdl.timeout(3600)
                @pytest.mark.skipif(False, reason='it is a mark')
                def test_method(self, two):
                    assert two == (2, True)
            ''', '-m', 'pytest', '-q', '-p', 'no:cacheprovider')
        self.assertIn('3 passed', output)
