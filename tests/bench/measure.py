# SPDX-License-Identifier: Apache-2.0
"""measure.py -- a row of the table, and how its figures are taken: programs run by turns,
instructions counted by callgrind."""
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 120  # seconds for one program


class Failed(Exception):
    pass


def half_of_quartiles(values):
    """Of few values half of what lies between the lowest and the highest."""
    if len(values) < 4:
        return (max(values) - min(values)) / 2
    first, _, third = statistics.quantiles(values, n=4)
    return (third - first) / 2


def percentile(values, percent):
    """Of few values the worst, rather than one that is better."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


class Row:
    """`value` is None where nothing was measured, and `against` then says why.  A row is within its
    bound from `least`, if there is one, to `most`; None: it is there to be compared with."""
    group = None

    def __init__(self, what, against, value, most, unit='', spread=None, least=None, chart=None):
        self.what, self.against, self.value, self.most = what, against, value, most
        self.unit, self.spread, self.least, self.chart = unit, spread, least, chart

    def measured(self):
        if self.value is None:
            return '-'
        digits = 0 if self.unit in ('instructions', 'calls', 'bytes') else 3 if self.unit == 'ms' else 2
        spread = f' +-{self.spread:.{digits}f}' if self.spread is not None else ''
        return f'{self.value:.{digits}f}{spread}' + (f' {self.unit}' if self.unit else '')

    def to_reach(self):
        if self.most is None:
            return '-'
        most = f'{self.most:g}'
        return f'{self.least:g} to {most}' if self.least is not None else f'at most {most}'

    def verdict(self):
        if self.value is None:
            return 'skipped'
        if self.most is None:
            return '-'
        early = self.least is not None and self.value < self.least
        return 'over' if self.value > self.most or early else 'ok'

    def as_json(self):
        return {'group': self.group, 'what': self.what, 'against': self.against,
                'value': self.value, 'unit': self.unit, 'spread': self.spread,
                'least': self.least, 'most': self.most, 'verdict': self.verdict(),
                'chart': self.chart}


def skipped(what, why):
    return Row(what, why, None, None)


def ratio(what, against, mine, theirs, most, least=None, chart=None):
    """Of what was measured by turns: the ratio is of each turn."""
    turns = [one / other for one, other in zip(mine, theirs)]
    return Row(what, against, statistics.median(turns), most, spread=half_of_quartiles(turns),
               least=least, chart=chart)


class Tools:
    """What the groups measure with: programs of the build, with the library or without."""

    def __init__(self, build, quick):
        self.build, self.quick = os.path.abspath(build), quick
        self.library = os.path.join(self.build, 'src', 'libcoopdl.so')
        self.coopdl = os.path.join(self.build, 'src', 'cli', 'coopdl')
        self.plain = {name: value for name, value in os.environ.items()
                      if not name.startswith('COOPDL_') and name != 'LD_PRELOAD'}
        self.preload = {'LD_PRELOAD': self.library, 'COOPDL_LIBRARY': self.library}
        self.budget = dict(self.preload, COOPDL_BUDGET='1h')

    def __enter__(self):
        self.scratch = tempfile.mkdtemp()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.scratch)

    def program(self, group, name):
        path = os.path.join(self.build, 'tests', group, name)
        if not os.path.exists(path):
            raise Failed(f'{path} is not built')
        return path

    def run(self, command, settings=None, limit=LIMIT, **more):
        """What it prints.  It has ended when this returns."""
        try:
            done = subprocess.run(command, env=dict(self.plain, **(settings or {})), timeout=limit,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, **more)
        except subprocess.TimeoutExpired:
            raise Failed(f"{' '.join(command)}: still running after {limit} s") from None
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip() or 'it printed nothing').splitlines()
            raise Failed(f"{' '.join(command)}: exit status {done.returncode}: {last[-1]}")
        return done.stdout

    def columns(self, command, settings=None, limit=LIMIT):
        """A number in each column of each line that it prints."""
        lines = [line.split() for line in self.run(command, settings, limit).splitlines()]
        return [[float(number) for number in column] for column in zip(*lines)]

    def series(self, command, settings=None, limit=LIMIT):
        """A JSON object that it prints: names, and for each its figures or why there are none."""
        return json.loads(self.run(command, settings, limit))

    def ruby(self, script, *arguments):
        """The series of a script of this directory; None where the gem is not built."""
        ruby = shutil.which('ruby')
        extension = os.path.join(self.build, 'src', 'ruby', 'ext')
        if not ruby or not os.path.isdir(extension):
            return None
        path = os.path.join(HERE, '..', '..', 'src', 'ruby', 'lib') + ':' + extension
        return self.series([ruby, os.path.join(HERE, script), *arguments],
                           dict(self.preload, RUBYLIB=path))

    def seconds(self, command, settings=None):
        begun = time.perf_counter()
        self.run(command, settings)
        return time.perf_counter() - begun

    def by_turns(self, rounds, *measures):
        """One list of `rounds` figures for each measure, and one to warm up that does not count."""
        results = [[measure() for measure in measures] for _ in range(rounds + 1)]
        return [list(column) for column in zip(*results[1:])]

    def instructions(self, command, settings=None):
        """As callgrind counts them in the first process."""
        environment = dict(self.plain, **(settings or {}))
        done = subprocess.run(['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null',
                               *command], env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=LIMIT)
        found = re.search(r'Collected : (\d+)', done.stderr)
        if done.returncode != 0 or not found:
            raise Failed(f"valgrind {' '.join(command)}: exit status {done.returncode}")
        return int(found.group(1))

    def system_calls(self, command, settings=None, besides=None):
        """Of the first thread, in all; or of all threads those besides one, which then is not slowed
        down by being counted."""
        report = os.path.join(self.scratch, 'calls')
        variables = [word for pair in (settings or {}).items() for word in ('-E', '='.join(pair))]
        which = ['--seccomp-bpf', '-f', '-e', f'trace=!{besides}'] if besides else []
        self.run(['strace', '-c', *which, '-o', report, *variables, *command])
        with open(report) as file:
            total = [line.split() for line in file if line.rstrip().endswith('total')]
        return int(total[0][3 if len(total[0]) == 6 else 2])
