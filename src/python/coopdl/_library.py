# SPDX-License-Identifier: Apache-2.0
"""The library that this process has loaded, for the command: its path, and what only C can ask.

What must hold: it is the one that the extension uses, wherever that was found; so it is
looked up in the process, not on the disk.
"""
import ctypes
import errno
import os

import coopdl._coopdl  # which brings the library with it

NEVER = 2**63 - 1  # COOPDL_NEVER


class Info(ctypes.Structure):  # what dladdr fills in
    _fields_ = [('file', ctypes.c_char_p), ('base', ctypes.c_void_p),
                ('symbol', ctypes.c_char_p), ('address', ctypes.c_void_p)]


def path() -> str:
    """Of the loader, since a container may have no /proc."""
    extension = ctypes.CDLL(coopdl._coopdl.__file__)  # finds what it is linked to as well
    info = Info()
    function = ctypes.cast(extension.coopdl_version, ctypes.c_void_p)
    if not extension.dladdr(function, ctypes.byref(info)):
        raise RuntimeError('the loader does not know where libcoopdl.so is from')
    return os.path.realpath(os.fsdecode(info.file))


def load() -> ctypes.CDLL:
    library = ctypes.CDLL(path(), use_errno=True)
    library.coopdl_version.restype = ctypes.c_char_p
    library.coopdl_deadline.restype = ctypes.c_int64
    library.coopdl_after.restype = ctypes.c_int64
    library.coopdl_after.argtypes = [ctypes.c_int64]
    library.coopdl_duration.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_int64)]
    return library


def version(library: ctypes.CDLL) -> str:
    return str(library.coopdl_version(), 'ascii')


def nanoseconds(library: ctypes.CDLL, text: str) -> int:
    """Reads a duration as the library does; ValueError says what is accepted."""
    duration = ctypes.c_int64()
    # What the system's encoding has no bytes for, nor for a NUL, is no duration either.
    if library.coopdl_duration(text.encode(errors='replace'), ctypes.byref(duration)) == 0:
        return duration.value
    too_large = ' (too large)' if ctypes.get_errno() == errno.ERANGE else ''
    raise ValueError(f"invalid duration '{text}'{too_large}: accepted are seconds (5, 2.5) or "
                     'numbers with units d h m s ms us ns (250ms, 1m30s), without a sign, up to '
                     '292 years')
