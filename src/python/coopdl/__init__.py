# SPDX-License-Identifier: Apache-2.0
"""Deadlines for code that has none.

    with coopdl.timeout(5):
        fetch(url)                  # any library, any blocking call, in any thread

Until the block is left, nothing in it waits or computes longer than until its deadline:
there DeadlineExceeded, a TimeoutError, is raised.  Scopes nest; of nested ones the earliest
deadline rules.

A process as a whole has a deadline when COOPDL_BUDGET says so (`coopdl 5s python3 app.py`,
`python3 -m coopdl 5s app.py`); importing this package is all that it takes to have
DeadlineExceeded raised in the main thread then.

Times are in seconds; absolute ones are those of time.monotonic().
"""
from coopdl._coopdl import (
    DeadlineExceeded,
    DeadlineInsists,
    _install_budget,
    check,
    deadline,
    preloaded,
    remaining,
    shield,
    timeout,
    timeout_at,
)

__all__ = [
    'DeadlineExceeded',
    'DeadlineInsists',
    'check',
    'deadline',
    'preloaded',
    'remaining',
    'shield',
    'timeout',
    'timeout_at',
]

_install_budget()
