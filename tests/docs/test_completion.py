#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_completion.py -- the completions for bash, zsh and fish: each has the options of
`coopdl --help`, and each shell takes its file and completes with it.

The argument is the command.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
FILES = os.path.join(os.path.dirname(os.path.dirname(HERE)), 'src', 'cli', 'completion')
sys.path.insert(0, os.path.dirname(HERE))

from tap import differences, report

IN_BASH = r'''
source "$1"
complete_words() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
  _coopdl
  echo "${COMPREPLY[*]}"
}
complete_words coopdl --gra
complete_words coopdl --signal = USR
complete_words coopdl -k 1s 30
complete_words coopdl -v 5s --gra
'''

IN_FISH = r'''
source $argv[1]
echo (complete -C 'coopdl --gra' | string split -f 1 \t)
echo (complete -C 'coopdl -s USR' | string split -f 1 \t)
echo (complete -C 'coopdl -k 1s 30' | string split -f 1 \t)
echo (complete -C 'coopdl -v 5s true --gra' | string split -f 1 \t)
'''


def text(name):
    with open(os.path.join(FILES, name), encoding='utf-8') as file:
        return re.sub(r'^\s*#.*', '', file.read(), flags=re.M)


def wanted(command):
    """-s and --signal from `-s, --signal=SIGNAL`."""
    said = subprocess.run([command, '--help'], text=True, stdout=subprocess.PIPE, check=True).stdout
    return {option for pair in re.findall(r'^ +(?:(-\w), )?(--[\w-]+)', said, re.M)
            for option in pair if option}


def bash_options():
    listed = re.search(r"compgen -W '(--grace=.*?)'", text('coopdl.bash'), re.S)[1]
    return {word.rstrip('=') for word in listed.split()}


def zsh_options():
    lines = re.findall(r"^  '?.*\[", text('_coopdl'), re.M)
    return {option for line in lines
            for option in re.findall(r'''(?:^  '|[{,]|\))(--?\w[\w-]*)''', line)}


def fish_options():
    lines = text('coopdl.fish').splitlines()
    return {sign + option for line in lines for flag, sign in (('-s', '-'), ('-l', '--'))
            for option in re.findall(rf' {flag} ([\w-]+)', line) if line.startswith('complete ')}


def shell(name, *arguments):
    """What it says, line by line; None where there is no such shell."""
    if not shutil.which(name):
        return None
    with tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ, HOME=home, XDG_CONFIG_HOME=home, XDG_DATA_HOME=home)
        return subprocess.run([name, *arguments], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
                              timeout=20, check=False).stdout.splitlines()


def expected(lines, *expectations):
    if lines is None:
        return 'no such shell here'
    if 'invalid option' in ''.join(lines):
        return 'this one does not know how to be started without its configuration'
    return [] if lines == list(expectations) else [f'it says {lines}, not {list(expectations)}']


def check_bash():
    return expected(shell('bash', '--norc', '-c', IN_BASH, 'bash', os.path.join(FILES, 'coopdl.bash')),
                    '--grace=', 'SIGUSR1 SIGUSR2', '30s', '')


def check_fish():
    return expected(shell('fish', '-N', '-c', IN_FISH, os.path.join(FILES, 'coopdl.fish')),
                    '--grace', 'USR1 USR2', '30s', '')


def check_zsh():
    """Its completion takes a terminal to be tried; the syntax does not."""
    return expected(shell('zsh', '-f', '-n', os.path.join(FILES, '_coopdl')))


def main(command):
    options = wanted(command)
    where = '`coopdl --help`'
    return report([
        ('bash has the options of --help', lambda: differences(bash_options(), options, where)),
        ('zsh has the options of --help', lambda: differences(zsh_options(), options, where)),
        ('fish has the options of --help', lambda: differences(fish_options(), options, where)),
        ('bash completes', check_bash),
        ('fish completes', check_fish),
        ('zsh takes its file', check_zsh),
    ])


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
