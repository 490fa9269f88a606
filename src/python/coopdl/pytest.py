# SPDX-License-Identifier: Apache-2.0
# mypy: disallow-untyped-decorators=False
"""The pytest plugin: a deadline for each test and each fixture, and one for the session.

The wheel registers it with pytest; elsewhere `-p coopdl.pytest` does.  Without one of its options or
marks it does nothing.  docs/pytest.md says how it is used.

A piece is what has a scope of its own: the set-up of a fixture, its teardown, the test.  (Of a
unittest class: setUp, the test, tearDown, the clean-ups.)  The scope is put around the function
itself, inside of all that pytest does about it.

What must hold:
1. What leaves a piece at its deadline is pytest's own failure: pytest and unittest then
   go on as after any other.  DeadlineReached would end the session, or leave the other fixtures as
   they are.
2. Each piece of teardown is run, also after a deadline; then it has the grace.
3. A failed fixture of a wide scope is not tried again by the next test: pytest remembers
   a failure.
4. A thread that a test has left behind does not keep the process alive after the reports.
"""
import atexit
import contextlib
import functools
import importlib.util
import inspect
import os
import sys
import threading
import time
import types
import unittest
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, TypeVar

import pytest

import coopdl
from coopdl import _library, _stuck

Result = TypeVar('Result')
GRACE = 5.0  # as everywhere in the package
LAST = 0.05  # seconds to the deadline in which threads are joined at the end
# Whose frames say nothing about where a test was stuck.
OURS = (__file__, *(os.path.dirname(inspect.getfile(kind)) + os.sep
                    for kind in (pytest.Item, pytest.PytestPluginManager.mro()[1])))  # pluggy's


def seconds(given: Any, where: str) -> float | None:
    """A number of seconds, a timedelta, or a duration as the library reads it; None: no limit."""
    if isinstance(given, timedelta):
        return given.total_seconds()
    try:
        return _library.nanoseconds(_library.load(), str(given)) / 1e9 or None
    except ValueError as error:
        raise pytest.UsageError(f'{where}: {error}') from None


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    group = parser.getgroup('coopdl', 'deadlines that hold')
    group.addoption('--deadline', metavar='DURATION',
                    help='of each test and of each set-up and teardown of a fixture (10s, 1m30s)')
    group.addoption('--session-deadline', metavar='DURATION',
                    help='when the session ends, in order and with its reports (30m)')
    group.addoption('--deadline-as-timeout', action='store_true',
                    help="take pytest-timeout's options, setting and mark for deadlines")
    group.addoption('--no-deadline-preload', action='store_true',
                    help='do not start pytest anew with libcoopdl preloaded')
    parser.addini('deadline', 'what --deadline is unless given')
    theirs = importlib.util.find_spec('pytest_timeout') and not pluginmanager.is_blocked('timeout')
    if not theirs:
        group.addoption('--timeout', type=float, metavar='SECONDS',
                        help='with --deadline-as-timeout: of a test with all its fixtures')
        group.addoption('--timeout-method', help='accepted, and means nothing')
        group.addoption('--timeout-disable-debugger-detection', action='store_true',
                        help='with --deadline-as-timeout: a test under pdb is ended too')
        parser.addini('timeout', 'with --deadline-as-timeout: what --timeout is unless given')
        parser.addini('timeout_method', 'accepted, and means nothing')
        parser.addini('timeout_func_only', 'with --deadline-as-timeout: for the test alone',
                      type='bool', default=False)
        parser.addini('timeout_disable_debugger_detection',
                      'with --deadline-as-timeout: a test under pdb is ended too',
                      type='bool', default=False)


def is_the_program(config: pytest.Config) -> bool:
    """Whether this process is `pytest ...`, and not something that calls pytest.main."""
    given = list(config.invocation_params.args)
    return given == sys.argv[1:] and not hasattr(config, 'workerinput')


def start_anew(config: pytest.Config) -> None:
    """Under the preload: the same process, so that whoever waits for it notices nothing."""
    from coopdl.__main__ import with_preload
    others, library = os.environ.get('LD_PRELOAD', ''), _library.path()
    preload = with_preload(others, library)
    if preload == others:  # the loader has refused it, and has said so
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]],
              {**os.environ, 'LD_PRELOAD': preload})


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Before pytest redirects standard output, which a new program would inherit."""
    given = early_config.known_args_namespace
    asked = (given.deadline or given.session_deadline or given.deadline_as_timeout
             or early_config.getini('deadline'))
    if asked and not given.no_deadline_preload and not coopdl.preloaded() \
            and is_the_program(early_config):
        start_anew(early_config)
    deadlines = Deadlines(early_config)
    early_config.pluginmanager.register(deadlines, 'coopdl-deadlines')
    early_config.add_cleanup(deadlines.leave)  # the first to be added is the last to be called
    yield


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line('markers', 'deadline(limit, grace=5): the deadline of this test and of '
                            'its fixtures, in seconds or as a duration; their clean-up has the grace')
    config.addinivalue_line('markers', 'timeout(timeout, method=None, func_only=False, '
                            'disable_debugger_detection=False): with --deadline-as-timeout, of this '
                            'test with its fixtures')


class Deadlines:
    """What is known of the deadlines of one session, and of the test that is run."""

    def __init__(self, config: pytest.Config) -> None:
        given = config.known_args_namespace
        self.config = config
        self.each = seconds(given.deadline or config.getini('deadline') or 0, 'deadline')
        self.session = seconds(given.session_deadline or 0, '--session-deadline')
        self.ends: float | None = None  # the session's
        self.until: float | None = None  # pytest-timeout's, of a test with all its pieces
        self.timeout: float | None = None  # how long that is
        self.of_the_test: float | None = None  # the same with func_only
        self.ends_in_pdb = False  # pytest-timeout's disable_debugger_detection
        self.limit, self.grace = self.each, GRACE
        self.late = False  # a piece of this test was
        self.entered: list[coopdl.timeout] = []
        self.threads: set[threading.Thread] = set()
        self.status: int | None = None

    # The scope of a piece.

    def rules(self) -> tuple[float | None, str]:
        """The deadline of a piece that begins now, and whose it is."""
        now = time.monotonic()
        limit = self.grace if self.late else self.limit
        limits = [] if limit is None else [(now + limit, f'the deadline of {limit:g} s')]
        if self.ends is not None and not self.late:
            limits.append((self.ends, f"the session's deadline of {self.session:g} s"))
        if self.until is not None and not self.late:
            # In pytest-timeout's words too, which people look for.
            limits.append((self.until, f'the timeout of {self.timeout:g} s (Timeout >{self.timeout}s)'))
        return min(limits, default=(None, ''))

    def limited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            began = time.monotonic()
            when, whose = self.rules()
            scope = coopdl.timeout_at(when, grace=self.grace)
            self.entered.append(scope)
            try:
                with scope:
                    return function(*args, **kwargs)
            except coopdl.DeadlineExceeded as error:
                if error.scope is not scope:
                    raise
                self.late = True
                took = time.monotonic() - began
                stack = _stuck.frames(error, without=OURS)
                failed = pytest.fail.Exception(
                    f'DeadlineExceeded: {whose} was exceeded after {took:.3f} s, '
                    f'{_stuck.place(stack)}\n' + ''.join(stack.format()), pytrace=False)
            finally:
                self.entered.remove(scope)
            raise failed
        return limited

    def limited_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Both halves of a fixture that yields are pieces."""
        step = self.limited(next)

        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            generator = function(*args, **kwargs)
            while True:
                try:
                    value = step(generator)
                except StopIteration:
                    return
                yield value
        return limited

    # Pieces.

    def limited_fixture(self, function: Any) -> Any:
        bound = getattr(function, '__self__', None)
        if bound is not None and hasattr(function, '__func__'):
            return types.MethodType(self.limited_fixture(function.__func__), bound)
        if inspect.isgeneratorfunction(function):
            return self.limited_generator(function)
        return self.limited(function)

    # Behind the wrappers of plugins for asyncio, which have made a plain function of a coroutine's.
    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, None, None]:
        function, add = fixturedef.func, fixturedef.addfinalizer
        fixturedef.func = self.limited_fixture(function)
        # request.addfinalizer ends there.
        fixturedef.addfinalizer = lambda finalizer: add(self.limited(finalizer))
        try:
            yield
        finally:
            fixturedef.func = function
            del fixturedef.addfinalizer

    # Inside of pytest-timeout's wrapper, which says there what func_only is for.
    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        limit = self.limit
        self.limit = self.of_the_test or limit
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, self, 'limit', limit)
            self.limit_test(item, stack)
            yield

    def limit_test(self, item: Any, stack: contextlib.ExitStack) -> None:
        test: Any = getattr(item, 'obj', None)
        case: Any = getattr(test, '__self__', None)
        if issubclass(type(case), unittest.TestCase) and not inspect.iscoroutinefunction(test):
            for name in 'setUp', 'tearDown':
                setattr(case, name, self.limited(getattr(case, name)))
            add = case.addCleanup
            case.addCleanup = lambda clean_up, *args, **kwargs: \
                add(self.limited(clean_up), *args, **kwargs)
            item.obj = self.limited(test)
        else:
            item.runtest = self.limited(item.runtest)
            stack.callback(delattr, item, 'runtest')

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """What is left of a test that used its time up is clean-up."""
        limits = [limit for limit in (self.until, self.ends) if limit is not None]
        self.late |= bool(limits) and time.monotonic() >= min(limits)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: Any) -> Generator[None, None, None]:
        """To import a module of tests has only the session's deadline."""
        collect, limit = collector.collect, self.limit
        self.limit, self.late = None, False
        collector.collect = self.limited(lambda: list(collect()))
        try:
            yield
        finally:
            self.limit = limit
            del collector.collect
            self.stop_if_over(collector.session)

    # The test that is run.

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, None, None]:
        self.late, self.until, self.of_the_test = False, None, None
        self.ends_in_pdb = False
        self.limit, self.grace = self.limits(item)
        if self.config.known_args_namespace.deadline_as_timeout:
            self.take_timeout(item)
        yield
        self.until, self.of_the_test, self.limit = None, None, self.each
        self.stop_if_over(item.session)

    def limits(self, item: pytest.Item) -> tuple[float | None, float]:
        def limits(limit: Any = self.each or 0, grace: Any = GRACE) -> tuple[float | None, float]:
            where = f'{item.nodeid}: @pytest.mark.deadline'
            return seconds(limit, where), seconds(grace, where) or 0.0
        return self.call_with_mark(limits, item, 'deadline')

    def call_with_mark(self, function: Callable[..., Result], item: pytest.Item, name: str
                       ) -> Result:
        mark = item.get_closest_marker(name)
        args, kwargs = (mark.args, mark.kwargs) if mark is not None else ((), {})
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            raise pytest.UsageError(f'{item.nodeid}: @pytest.mark.{name}: {error}') from None
        return function(*args, **kwargs)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """A mark that is wrong is said before the first test is run."""
        for item in items:
            self.limits(item)

    def stop_if_over(self, session: pytest.Session) -> None:
        if self.ends is not None and time.monotonic() >= self.ends:
            session.shouldstop = f"the session's deadline of {self.session:g} s was exceeded"

    @pytest.hookimpl(tryfirst=True)
    def pytest_enter_pdb(self) -> None:
        """Who looks into a test has time."""
        if self.ends_in_pdb:
            return
        for scope in self.entered:
            scope.reschedule(None)

    # In place of pytest-timeout: by its hooks where it is installed, else from the same settings.

    def take_timeout(self, item: pytest.Item) -> None:
        if self.config.pluginmanager.hasplugin('timeout'):
            return
        settings = (self.config.getoption('timeout'), os.environ.get('PYTEST_TIMEOUT'),
                    self.config.getini('timeout') or None)
        default = next((given for given in settings if given is not None), 0)
        for_the_test_alone = self.config.getini('timeout_func_only')
        in_pdb = (self.config.getoption('timeout_disable_debugger_detection')
                  or self.config.getini('timeout_disable_debugger_detection'))

        def take(timeout: Any = default, method: Any = None, func_only: bool = for_the_test_alone,
                 disable_debugger_detection: bool = in_pdb) -> None:
            self.use_timeout(seconds(timeout, f'{item.nodeid}: timeout'), func_only,
                             disable_debugger_detection)
        self.call_with_mark(take, item, 'timeout')

    def use_timeout(self, limit: float | None, func_only: bool, ends_in_pdb: bool) -> None:
        if not limit:
            return
        self.ends_in_pdb = ends_in_pdb
        if func_only:
            self.of_the_test = limit
        else:
            self.timeout, self.until = limit, time.monotonic() + limit

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, settings: Any) -> bool | None:
        if not self.config.known_args_namespace.deadline_as_timeout:
            return None
        self.use_timeout(settings.timeout, settings.func_only,
                         getattr(settings, 'disable_debugger_detection', False))
        return True

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_cancel_timer(self) -> bool | None:
        return self.config.known_args_namespace.deadline_as_timeout or None

    # The session.

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        self.threads = set(threading.enumerate())
        left = getattr(self.config, 'workerinput', {}).get('coopdl_left', self.session)
        self.ends = None if left is None else time.monotonic() + left

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """pytest-xdist starts a worker: it gets what is left."""
        if self.ends is not None:
            node.workerinput['coopdl_left'] = max(0.001, self.ends - time.monotonic())

    def pytest_report_header(self) -> str | None:
        given = {'each': self.each, 'session': self.session}
        texts = [f'{name} {limit:g} s' for name, limit in given.items() if limit is not None]
        preload = 'preloaded' if coopdl.preloaded() else 'not preloaded'
        return f'deadline: {", ".join(texts)} ({preload})' if texts else None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.status = int(exitstatus)

    def left_behind(self) -> list[threading.Thread]:
        """Python waits for these at its exit, for ever.  is_alive() is not asked: up to 3.12 it is
        False after a join() that was interrupted."""
        running = sys._current_frames()
        return [thread for thread in threading.enumerate()
                if thread.ident in running and not thread.daemon and thread not in self.threads]

    def leave(self) -> None:
        """After all reports.  A thread that is joined after the grace is ended with its joiner; who
        waits for a lock that is never freed cannot be."""
        if self.status is None or not self.left_behind():
            return
        with coopdl.move_on_after(LAST, grace=0):
            try:
                time.sleep(2 * LAST)
            finally:
                for thread in self.left_behind():
                    thread.join()
        remain = self.left_behind()
        if remain and (is_the_program(self.config) or hasattr(self.config, 'workerinput')):
            print('coopdl: not waited for, since nothing ends them: '
                  + ', '.join(thread.name for thread in remain), file=sys.stderr)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.status)
