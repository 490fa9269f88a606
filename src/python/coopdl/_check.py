# SPDX-License-Identifier: Apache-2.0
"""What `python -m coopdl --check` prints: what is in place in this process."""
import ctypes
import os
import platform

import coopdl
from coopdl import _library

SET_USER_DISPATCH, OFF = 59, 0  # prctl


def preloaded() -> str:
    if coopdl.preloaded():
        return "yes: libc's blocking calls go through the library"
    return 'no: loops that restart their calls go on; start with python -m coopdl or coopdl'


def budget() -> str:
    left = coopdl.remaining()
    if left is None:
        return 'none'
    return f'{left:.3f} s left' if left > 0 else 'over'


def trap() -> str:
    if os.environ.get('COOPDL_TRAP') == '0':
        return 'no: COOPDL_TRAP=0'
    if platform.machine() != 'x86_64' or platform.architecture()[0] != '64bit':
        return 'no: it is there for x86-64 only'
    # To turn it off where it is off changes nothing, but a kernel that has none refuses.
    if ctypes.CDLL(None).prctl(SET_USER_DISPATCH, OFF, 0, 0, 0) != 0:
        return 'no: the kernel refuses it (it takes Linux 5.11 or later)'
    return 'yes'


def report() -> str:
    library = _library.load()
    lines = {
        'library': f'{_library.path()}, version {_library.version(library)}',
        'package': os.path.dirname(coopdl.__file__),
        'python': f'{platform.python_implementation()} {platform.python_version()}',
        'preloaded': preloaded(),
        'budget': budget(),
        'trap': trap(),
    }
    return ''.join(f'{name + ":":<11}{text}\n' for name, text in lines.items())
