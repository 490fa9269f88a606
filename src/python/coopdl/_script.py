# SPDX-License-Identifier: Apache-2.0
"""What `python -m coopdl` becomes: python -m coopdl._script SCRIPT | -m MOD | -c CODE [ARG]...

What must hold: the program finds the process as the interpreter itself would have made it:
sys.argv, sys.path, __main__, the traceback and the exit status are its own.  The one difference is
the status 124 where a deadline's exception is in the chain of what ended it.
"""
import importlib.machinery
import linecache
import os
import pkgutil
import runpy
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import coopdl
from coopdl import _coopdl

LATE = 124  # as timeout(1) says it
OURS = __file__, runpy._run_code.__code__.co_filename  # type: ignore[attr-defined]


def new_main(**attributes: object) -> dict[str, Any]:
    """The names of a new __main__."""
    main = sys.modules['__main__'] = types.ModuleType('__main__')
    vars(main).update(attributes, __builtins__=sys.modules['builtins'])
    if sys.version_info < (3, 14):
        vars(main)['__annotations__'] = {}
    return vars(main)


def set_path(directory: str, for_certain: bool = False) -> None:
    """What comes first in sys.path.  For -m the interpreter has put a directory there already,
    unless it is to be safe: then only that of an archive is put there."""
    safe = sys.flags.isolated or getattr(sys.flags, 'safe_path', False)
    if not safe:
        del sys.path[0]
    if not safe or for_certain:
        sys.path.insert(0, directory)


def run_module(name: str, alter_argv: bool = True) -> None:
    """As the interpreter does it, for -m, directories and archives."""
    new_main()
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


def run_command(code: str) -> None:
    set_path('')
    if sys.version_info >= (3, 13):  # where tracebacks show the lines of such code
        lines = [line + '\n' for line in code.splitlines()]
        linecache.cache['<string>'] = len(code), None, lines, '<string>'
    names = new_main(__loader__=importlib.machinery.BuiltinImporter)
    exec(compile(code, '<string>', 'exec', dont_inherit=True), names)


def run_file(name: str) -> None:
    path = os.path.join(os.getcwd(), name)
    set_path(os.path.dirname(os.path.realpath(path)))
    loader: Any = importlib.machinery.SourceFileLoader
    if path.endswith('.pyc'):
        loader = importlib.machinery.SourcelessFileLoader
    names = new_main(__file__=path, __cached__=None, __loader__=loader('__main__', path))
    with open(path, 'rb') as file:
        code: Any = pkgutil.read_code(file) if path.endswith('.pyc') else file.read()
    if isinstance(code, bytes):
        code = compile(code, path, 'exec', dont_inherit=True)
    exec(code, names)


def run() -> None:
    """sys.argv is what was given: it becomes what the program is to see."""
    kind, rest = sys.argv[0][:2], sys.argv[0][2:]
    if kind in ('-m', '-c'):
        argument = rest or sys.argv.pop(1)
        sys.argv[0] = kind
        if kind == '-m':
            run_module(argument)
        else:
            run_command(argument)
    elif pkgutil.get_importer(sys.argv[0]):
        set_path(os.path.join(os.getcwd(), sys.argv[0]), for_certain=True)
        run_module('__main__', alter_argv=False)
    else:
        run_file(sys.argv[0])


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and all that it names as its reason or holds."""
    found: list[BaseException | None] = [error]
    seen: set[int] = set()
    while found:
        error = found.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            yield error
            found += [error.__cause__, error.__context__, *getattr(error, 'exceptions', ())]


def is_late(error: BaseException) -> bool:
    return any(isinstance(each, (coopdl.DeadlineExceeded, coopdl.DeadlineReached))
               for each in chain(error))


def below(trace: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback from the program's first frame on."""
    while trace and trace.tb_frame.f_code.co_filename in OURS:
        trace = trace.tb_next
    return trace


def hide_ours(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A hook like sys.excepthook, by which the interpreter prints what we do not handle here: the
    status and sys.last_value are its own business, and so is Ctrl-C."""
    def show(kind: type[BaseException], error: BaseException,
             trace: types.TracebackType | None) -> Any:
        error.__traceback__ = below(trace)
        return hook(kind, error, error.__traceback__)
    return show


def late_status(end: SystemExit) -> None:
    """sys.exit without a number, from where a deadline's exception was handled."""
    if end.code is not None:
        print(end.code, file=sys.stderr)
    end.code = LATE


def main() -> None:
    del sys.argv[0]
    try:
        _coopdl._begin()
        coopdl.check()
        run()
    except SystemExit as end:
        if not isinstance(end.code, int) and is_late(end):
            late_status(end)
        raise
    except BaseException as error:
        sys.excepthook = hide_ours(sys.excepthook)
        if not is_late(error):
            raise
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(LATE)


if __name__ == '__main__':
    main()
