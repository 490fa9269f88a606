# SPDX-License-Identifier: Apache-2.0
"""rows_late.py -- how late after its deadline what a scope ends has ended."""
import os
import time

from measure import HERE, Failed, Row, percentile, skipped
from rows_scope import pythons

NS_IN_MS = 1e6
CALLS = ('recv', 'poll', 'nanosleep', 'fgets', 'sem_wait')


def late(what, peer, mine, theirs, p50, p99=None):
    """Rows for the median, and the 99th percentile of enough rounds; in ns, never negative."""
    if min(mine) < 0:
        raise Failed(f'{what}: early by {-min(mine)} ns')
    for percent, most in ((50, p50), (99, p99)):
        if percent == 99 and len(mine) < 100:
            continue
        value = percentile(mine, percent) / NS_IN_MS
        against = f'{peer}: {percentile(theirs, percent) / NS_IN_MS:.3f} ms' if theirs else peer
        chart = {'percent': percent, 'ms': value, 'what': what, 'peer': peer,
                 'against ms': percentile(theirs, percent) / NS_IN_MS if theirs else None}
        yield Row(f'{what}, p{percent} late', against, value, most, 'ms', chart=chart)


def in_c(tools):
    program = tools.program('bench', 'bench-late')
    for call in CALLS:
        mine, theirs = tools.columns([program, call, '200' if tools.quick else '1000'],
                                     tools.preload)
        yield from late(f'C: {call}', 'setitimer', mine, theirs, 0.1, 0.5)


def in_python(tools):
    for version, python in pythons(tools).items():
        if tools.quick and version != '3.11':
            continue
        series = tools.series([python, os.path.join(HERE, 'late.py'),
                               '20' if tools.quick else '100'],
                              dict(tools.preload, PEERS='/usr/lib/python3/dist-packages'
                                   if version == '3.11' else ''))
        for what, (peer, mine, theirs) in series.items():
            most = 0.3 if what.startswith('main') else 1 if what.endswith(('loop', 'regex')) else None
            yield from late(f'Python {version}: {what}', peer, mine, theirs, most)


def in_ruby(tools):
    series = tools.ruby('late.rb', '20' if tools.quick else '100')
    if series is None:
        yield skipped('Ruby: late', 'the gem is not built')
        return
    for what, (peer, mine, theirs) in series.items():
        if isinstance(mine, str):
            yield skipped(f'Ruby: {what}', mine)
        else:
            yield from late(f'Ruby: {what}', peer, mine, theirs, 0.5)


def of_a_command(tools):
    """A whole process: from its start until it has been waited for, less the 0.1 s."""
    def lateness(*command):
        begun = time.monotonic()
        tools.run(['sh', '-c', '"$@"; test $? = 124', 'sh', *command, '0.1s', 'sleep', '10'])
        return (time.monotonic() - begun - 0.1) * 1e9
    mine, theirs = tools.by_turns(5 if tools.quick else 100, lambda: lateness(tools.coopdl),
                                  lambda: lateness('timeout'))
    yield from late('coopdl 0.1s sleep 10', 'timeout(1)', mine, theirs, None)


def rows(tools):
    yield from in_c(tools)
    yield from in_python(tools)
    yield from in_ruby(tools)
    yield from of_a_command(tools)
