# SPDX-License-Identifier: Apache-2.0
"""interpreters.py -- tells meson of every other Python that the package is built and tested for.

Four lines each: the version (3.13-dbg: with assertions of its own), the suffix of an extension, the directory of the headers, the interpreter.  They are
looked for in PATH, and where pyenv keeps those that its shims in PATH do not start (they start
what `pyenv global` names).  One without headers, with another word size or with the suffix of
one before it is left out.
"""
import glob
import itertools
import os
import subprocess
import sys

NAMES = [f'python3.{minor}{kind}' for minor in (10, 11, 12, 13, 14) for kind in ('', '-dbg')]

DESCRIBE = """
import os, struct, sys, sysconfig
headers = sysconfig.get_path('include')
if os.path.exists(os.path.join(headers, 'Python.h')) and struct.calcsize('P') == int(sys.argv[1]):
    kind = '-dbg' * hasattr(sys, 'gettotalrefcount')
    print('%d.%d' % sys.version_info[:2] + kind, sysconfig.get_config_var('EXT_SUFFIX'), headers,
          sys.executable, sep='\\n')
"""


def candidates(name):
    pyenv = os.environ.get('PYENV_ROOT') or os.path.expanduser('~/.pyenv')
    for directory in [*os.get_exec_path(), *sorted(glob.glob(f'{pyenv}/versions/*/bin'))]:
        program = os.path.join(directory, name)
        if os.access(program, os.X_OK):
            yield program


def described(program, word_size):
    done = subprocess.run([program, '-c', DESCRIBE, word_size], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    lines = done.stdout.splitlines()
    return lines if done.returncode == 0 and len(lines) == 4 else None


def main(word_size, suffix):
    known = {suffix}
    for program in itertools.chain.from_iterable(map(candidates, NAMES)):
        lines = described(program, word_size)
        if lines and lines[1] not in known:
            known.add(lines[1])
            print(*lines, sep='\n')


main(*sys.argv[1:])
