# SPDX-License-Identifier: Apache-2.0
"""programs.py -- programs that tests write and run.

What must hold: each is started in an environment without a word of ours, but for what the test is
about.
"""
import os
import shutil
import subprocess
import tempfile
import unittest

BUDGET = 0.3  # seconds
LOADED = bool(os.environ.get('LOAD'))
GENEROUS = 15 if LOADED else 5  # seconds late, on a machine that is busy
PATIENCE = 60  # seconds for a program that is not hung: mypy takes 6 on an idle machine


def run(*command, cwd=None, preexec_fn=None, **variables):
    """Runs a program to its end; its output is text."""
    clean = {name: value for name, value in os.environ.items()
             if not name.startswith(('COOPDL', 'LD_', 'PYTHON'))}
    return subprocess.run(command, env={**clean, **variables}, cwd=cwd, stdin=subprocess.DEVNULL,
                          preexec_fn=preexec_fn, capture_output=True, text=True,
                          timeout=PATIENCE)


class Scratch(unittest.TestCase):
    """A directory for the test."""

    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def write(self, name, *lines):
        with open(self.path(name), 'w', encoding='utf-8') as file:
            file.write('\n'.join(lines) + '\n')
        return self.path(name)

    def ended(self, done, status, output=None):
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        if output is not None:
            self.assertEqual(done.stdout, output, done.stderr)
