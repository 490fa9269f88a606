# SPDX-License-Identifier: Apache-2.0
"""The library that this process has loaded, for the command: its path, and what only C can ask.

What must hold: it is the one that the extension uses, wherever that was found; so it is
looked up in the process, not on the disk.
"""
import ctypes
import errno

import coopdl._coopdl  # noqa: F401  which brings the library with it

NEVER = 2**63 - 1  # COOPDL_NEVER


def path() -> str:
    with open('/proc/self/maps', encoding='utf-8', errors='surrogateescape') as maps:
        for line in maps:
            name = line.rstrip('\n').split(maxsplit=5)[5:]
            if name and name[0].rpartition('/')[2].startswith('libcoopdl.so'):
                return name[0]
    raise RuntimeError('libcoopdl.so is not in /proc/self/maps: was it linked into the extension?')


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
