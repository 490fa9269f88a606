# SPDX-License-Identifier: Apache-2.0
"""Python's own stacks at the deadline, for `coopdl --stacks` (where COOPDL_STACKS is set).

faulthandler writes them when the command sends a signal, to a file without a name: its title has
the id of this process and the signal's number, by which the command finds both among our
descriptors.  The handler runs no Python code and needs no lock of the interpreter's, so that it
writes also while C code keeps that.  (faulthandler's watchdog would not do: a forked child waits
for it for ever.)

What must hold: no trouble here is the program's.  A signal is taken that nobody has.
"""
import faulthandler
import os
import signal

_file = -1

# RTMAX-5 is the library's own, and those at both ends are what programs take first.
_CHOICE = range(signal.SIGRTMAX - 8, signal.SIGRTMIN + 7, -1)


def _arm(number: int) -> None:
    global _file
    try:
        if _file >= 0:
            os.close(_file)  # the parent's
        _file = os.memfd_create('coopdl-stacks-Python-%d-%d' % (os.getpid(), number))
        faulthandler.register(number, file=_file)
    except (OSError, RuntimeError):
        pass


def _start() -> None:
    if not hasattr(os, 'memfd_create'):
        return
    free = [n for n in _CHOICE if signal.getsignal(n) == signal.SIG_DFL]
    if free:
        _arm(free[0])
        os.register_at_fork(after_in_child=lambda: _arm(free[0]))


_start()
