#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fetch.py in a scope of the C API: fetch_in_scope.py LIBRARY SECONDS URL

For a Python that has no module of ours: the library is preloaded, and called by
ctypes.  Says "too late" on standard error where the scope says so as it is left.
"""
import ctypes
import os
import runpy
import sys

library = ctypes.CDLL(sys.argv[1])
library.coopdl_after.argtypes = [ctypes.c_int64]
library.coopdl_after.restype = ctypes.c_int64
library.coopdl_enter.argtypes = [ctypes.c_void_p, ctypes.c_int64]
library.coopdl_leave.argtypes = [ctypes.c_void_p]

scope = ctypes.create_string_buffer(1024)  # more than a coopdl_scope needs
library.coopdl_enter(scope, library.coopdl_after(int(float(sys.argv[2]) * 1e9)))
try:
    sys.argv[1:] = sys.argv[3:]
    runpy.run_path(os.path.join(os.path.dirname(__file__), 'fetch.py'))
finally:
    if library.coopdl_leave(scope) == 1:
        print('too late', file=sys.stderr)
