# SPDX-License-Identifier: Apache-2.0
"""Python's own stacks at the deadline, for `coopdl --stacks` (COOPDL_STACKS: at which time).

faulthandler's watchdog writes them to a file without a name, whose title has the id of this
process; the command finds that among our descriptors.  The watchdog is a thread that runs no
Python code and needs no lock of the interpreter's, so that it writes also while C code keeps that.

What must hold: no trouble here is the program's.  A program that has faulthandler write later by
itself has its own, and no stacks here.
"""
import faulthandler
import os
import time

_file = -1


def _arm():
    global _file
    try:
        left = int(os.environ['COOPDL_STACKS']) / 1e9 - time.monotonic()
        if left <= 0:
            return
        if _file >= 0:
            os.close(_file)  # the parent's
        _file = os.memfd_create('coopdl-stacks-Python-%d' % os.getpid())
        faulthandler.dump_traceback_later(left, file=_file)
    except (AttributeError, KeyError, ValueError, OSError, OverflowError, RuntimeError):
        pass


_arm()
if _file >= 0:
    os.register_at_fork(after_in_child=_arm)
