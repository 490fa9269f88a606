# SPDX-License-Identifier: Apache-2.0
"""rows_scope.py -- what a scope costs that is entered and left: in C, Python and Ruby."""
import glob
import os
import statistics

from measure import HERE, ratio, skipped


def pythons(tools):
    """Each that the package was built for, by its version."""
    found = glob.glob(os.path.join(tools.build, 'tests', 'python', 'venv-*', 'bin', 'python'))
    versions = {path.split(os.sep)[-3][len('venv-'):]: path for path in found}
    return {version: path for version, path in sorted(versions.items()) if 'dbg' not in version}


def cost(mine, theirs):
    return {'ns': statistics.median(mine), 'against ns': statistics.median(theirs)}


def in_c(tools):
    program = tools.program('bench', 'bench-scope')
    clock, given, from_now = [], [], []
    for _ in range(5):
        columns = tools.columns([program, '20' if tools.quick else '100'], tools.preload)
        for series, column in zip((clock, given, from_now), columns):
            series += column
    yield ratio('C: enter(deadline) and leave', 'clock_gettime', given, clock, 0.8,
                chart=cost(given, clock))
    yield ratio('C: enter(now + 1 h) and leave', 'clock_gettime', from_now, clock, 1.8,
                chart=cost(from_now, clock))


def in_python(tools):
    for version, python in pythons(tools).items():
        rounds = '20' if tools.quick else '100'
        series = tools.series([python, os.path.join(HERE, 'scope.py'), rounds],
                              dict(tools.preload, PEERS='/usr/lib/python3/dist-packages'
                                   if version == '3.11' else ''))
        mine = series.pop('timeout')
        for peer, figures in series.items():
            what = f'Python {version}: with timeout(3600)'
            if isinstance(figures, str):
                yield skipped(what, f'{peer}: {figures}')
                continue
            most = 0.6 if peer == 'nullcontext' else 0.1
            yield ratio(what, peer, mine, figures, most, chart=cost(mine, figures))


def in_ruby(tools):
    what = 'Ruby: Coopdl.timeout(10) {}'
    for peer, most in (('stdlib', 0.02), ('0.6.1', 0.15)):
        series = tools.ruby('scope.rb', peer, '10' if tools.quick else '50')
        if series is None:
            yield skipped(what, 'the gem is not built')
            return
        if isinstance(series['peer'], str):
            yield skipped(what, series['peer'])
            continue
        yield ratio(what, series['name'], series['coopdl'], series['peer'], most,
                    chart=cost(series['coopdl'], series['peer']))


def rows(tools):
    yield from in_c(tools)
    yield from in_python(tools)
    yield from in_ruby(tools)
