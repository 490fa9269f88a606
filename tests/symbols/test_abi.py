#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_abi.py -- the C ABI: the library exports what libcoopdl0.symbols says, and the types and
constants of coopdl.h are what programs were compiled with.

The arguments are the library and the compiler.  The report is TAP.
"""
import os
import re
import shlex
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from tap import report

INCLUDE = os.path.join(HERE, '..', '..', 'include')

CONSTANTS = """
#include <coopdl.h>
#include <stddef.h>
#define IS(what, value) _Static_assert((what) == (value), #what " is no longer " #value);
IS(COOPDL_MICROSECOND, 1000) IS(COOPDL_MILLISECOND, 1000000) IS(COOPDL_SECOND, 1000000000)
IS(COOPDL_NEVER, INT64_MAX)
IS(COOPDL_KICK_EXPIRY, 0) IS(COOPDL_KICK_UNTRAPPED, 1) IS(COOPDL_KICK_FUTEX, 2)
IS(COOPDL_KICK_MOMENT, 3) IS(COOPDL_KICK_CALL, 4)
IS(COOPDL_LOG_CUTS, 0) IS(COOPDL_LOG_DEBUG, 1)
IS(COOPDL_OWNER_SCOPE, 0) IS(COOPDL_OWNER_BUDGET, 1) IS(COOPDL_OWNER_LENT, 2)
IS(COOPDL_CUT, 0) IS(COOPDL_KICK, 1) IS(COOPDL_HANDLING, 2)
IS(offsetof(struct coopdl_hooks, expired), 0) IS(offsetof(struct coopdl_hooks, kicked), sizeof(void *))
IS(sizeof(struct coopdl_hooks), 2 * sizeof(void *))
#if __SIZEOF_POINTER__ == 8
IS(sizeof(coopdl_scope), 32) IS(_Alignof(coopdl_scope), 8)
IS(sizeof(struct coopdl_cut), 368) IS(offsetof(struct coopdl_cut, name), 72)
#endif
"""


def promised():
    with open(os.path.join(HERE, 'libcoopdl0.symbols'), encoding='utf-8') as file:
        return set(re.findall(r'^ (\S+@\S+) ', file.read(), re.M))


def check_exported(library):
    listed = subprocess.run(['nm', '-D', '--defined-only', '--with-symbol-versions', library],
                            text=True, stdout=subprocess.PIPE, check=True).stdout
    exported = {name.replace('@@', '@') for name in re.findall(r' (coopdl_\S+)$', listed, re.M)}
    return ([f'{name}: gone, so programs that use it no longer start'
             for name in sorted(promised() - exported)] +
            [f'{name}: new; add it to libcoopdl0.symbols' for name in sorted(exported - promised())])


def check_constants(compiler):
    done = subprocess.run(shlex.split(compiler) + ['-fsyntax-only', '-I', INCLUDE, '-x', 'c', '-'],
                          input=CONSTANTS, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    return done.stdout.splitlines() if done.returncode else []


def main(library, compiler):
    return report([
        ('the library exports what was promised', lambda: check_exported(library)),
        ('types and constants are as they were', lambda: check_constants(compiler)),
    ])


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
