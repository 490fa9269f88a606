# SPDX-License-Identifier: Apache-2.0
"""describe.py -- tells meson what it needs to build for this Python: one line each.

The suffix of an extension, the directory of the headers, the interpreter.
Fails where the headers are missing or the word size is not the machine's.
"""
import os
import sys
import sysconfig

headers = sysconfig.get_path('include')
if not os.path.exists(os.path.join(headers, 'Python.h')):
    sys.exit(f'{sys.executable}: no Python.h in {headers}')
print(sysconfig.get_config_var('EXT_SUFFIX'), headers, sys.executable, sep='\n')
