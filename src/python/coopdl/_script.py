# SPDX-License-Identifier: Apache-2.0
"""What `python -m coopdl` becomes: python -m coopdl._script SCRIPT [ARG]...

What must hold: the script finds the process as `python SCRIPT` would have made it: sys.argv,
sys.path and __main__ are its own, and so is the exit status, unless the budget ends it.
"""
import importlib.machinery
import os
import sys
import types

import coopdl

LATE = 124  # as timeout(1) says it


def module(path: str) -> types.ModuleType:
    """A new __main__, with the attributes that a script has."""
    main = types.ModuleType('__main__')
    main.__file__ = path
    main.__loader__ = importlib.machinery.SourceFileLoader('__main__', path)
    vars(main)['__builtins__'] = __builtins__
    return main


def run(path: str) -> None:
    main = sys.modules['__main__'] = module(path)
    with open(path, 'rb') as file:
        code = compile(file.read(), path, 'exec', dont_inherit=True)
    exec(code, vars(main))


def main() -> None:
    del sys.argv[0]
    path = os.path.abspath(sys.argv[0])
    if not sys.flags.isolated and not getattr(sys.flags, 'safe_path', False):
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    try:
        run(path)
    except (coopdl.DeadlineExceeded, coopdl.DeadlineInsists) as late:
        if getattr(late, 'scope', None) is not None:
            raise  # a scope of the script's own
        while late.__traceback__ and late.__traceback__.tb_frame.f_code.co_filename == __file__:
            late.__traceback__ = late.__traceback__.tb_next  # down to the script
        sys.excepthook(type(late), late, late.__traceback__)
        sys.exit(LATE)


if __name__ == '__main__':
    main()
