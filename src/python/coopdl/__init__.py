# SPDX-License-Identifier: Apache-2.0
"""Deadlines for code that has none.

    with coopdl.timeout(5):
        fetch(url)                  # any library, any blocking call, in any thread

Nothing in the block waits or computes longer than until its deadline: there DeadlineReached is
raised, which is no Exception, so that no handler of errors in the block takes it for one.  The end
of the block turns it into DeadlineExceeded, a TimeoutError.  Scopes nest; of nested ones the
earliest deadline rules.

What must hold:
1. Nothing of the program runs on a thread of the package's.
2. Nothing is raised outside the block that it is for: not in a destructor or the callback of a weak
   reference, not in __enter__ or __exit__, not behind the block.
3. A scope whose `with` statement is over has been left, however it ended.
4. Every `with`, `finally` and `except` in the block runs; `with lock:` has given its lock back.
Clean-up in the block is not disturbed for the grace (5 s unless given), then it is ended too.

A process as a whole has a deadline if COOPDL_BUDGET is set (`coopdl 5s python3 app.py`,
`python3 -m coopdl 5s app.py`). If the program has imported this package, DeadlineReached is raised
in the main thread at that deadline, and then in all others. There it is a KeyboardInterrupt, and
ends the program as Ctrl-C does.

Times are in seconds, or a datetime.timedelta; absolute ones are those of time.monotonic().

pytest finds this imported by coopdl.pth, and is told by this not to warn of it: PYTEST_DONT_REWRITE
"""
import os
import sys

if not (3, 10) <= sys.version_info < (3, 15):
    raise ImportError('coopdl needs CPython 3.10 to 3.14, and this is %s %d.%d'
                      % (sys.implementation.name, *sys.version_info[:2]))

from coopdl._coopdl import (
    DeadlineExceeded,
    DeadlineReached,
    _install_budget,
    check,
    deadline,
    move_on_after,
    preloaded,
    remaining,
    shield,
    timeout,
    timeout_at,
)

__all__ = [
    'DeadlineExceeded',
    'DeadlineInsists',
    'DeadlineReached',
    'check',
    'deadline',
    'move_on_after',
    'preloaded',
    'remaining',
    'shield',
    'timeout',
    'timeout_at',
]

DeadlineInsists = DeadlineReached  # its name when it is raised again, up to 0.1

# `python -m coopdl` turns the exception into its exit status, once it is there to do so.
if 'COOPDL_STACKS' in os.environ:
    import coopdl._stacks  # noqa: F401
_install_budget(os.environ.pop('COOPDL_SCRIPT', '') == str(os.getpid()))
