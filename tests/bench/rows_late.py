# SPDX-License-Identifier: Apache-2.0
"""rows_late.py -- how late after its deadline what a scope ends has ended."""
import os
import time

from measure import HERE, Failed, Row, percentile, skipped
from rows_scope import pythons

NS_IN_MS = 1e6
CALLS = ('recv', 'poll', 'nanosleep', 'fgets', 'sem_wait')


def passes(tools):
    """How often each kind is measured, the others in between: a virtual machine wakes threads slowly
    for minutes at a time."""
    return range(2 if tools.quick else 5)


def late(what, peer, mine, theirs, p50, p99=None):
    """Rows for the median, and for the 99th percentile where there is a bound for it and are the rounds,
    of the passes together.  In ns, never negative.  The spread is half of what lies between the lowest
    and the highest pass."""
    if min(map(min, mine)) < 0:
        raise Failed(f'{what}: early by {-min(map(min, mine))} ns')
    all_mine, all_theirs = sum(mine, []), sum(theirs, [])
    for percent, most in ((50, p50), (99, p99)):
        if percent == 99 and not p99:
            continue
        value = percentile(all_mine, percent) / NS_IN_MS
        each = [percentile(one, percent) / NS_IN_MS for one in mine]
        other = percentile(all_theirs, percent) / NS_IN_MS if all_theirs else None
        yield Row(f'{what}, p{percent} late', f'{peer}: {other:.3f} ms' if all_theirs else peer, value,
                  most, 'ms', spread=(max(each) - min(each)) / 2,
                  chart={'percent': percent, 'ms': value, 'what': what, 'peer': peer,
                         'against ms': other})


def in_c(tools):
    program = tools.program('bench', 'bench-late')
    taken = {call: [] for call in CALLS}
    for _ in passes(tools):
        for call in CALLS:
            taken[call].append(tools.columns([program, call, '100' if tools.quick else '200'],
                                             tools.preload))
    for call in CALLS:
        mine, theirs = zip(*taken[call])
        yield from late(f'C: {call}', 'setitimer', list(mine), list(theirs), 0.1, 0.5)


def joined(turns):
    """Of a script's series: {what: [peer, passes of mine, passes of theirs]}."""
    return {what: (peer, [turn[what][1] for turn in turns], [turn[what][2] for turn in turns])
            for what, (peer, *_) in turns[0].items()}


def in_python(tools):
    versions = {version: python for version, python in pythons(tools).items()
                if not tools.quick or version == '3.11'}
    turns = {version: [] for version in versions}
    for _ in passes(tools):
        for version, python in versions.items():
            peers = '/usr/lib/python3/dist-packages' if version == '3.11' else ''
            turns[version].append(tools.series([python, os.path.join(HERE, 'late.py'),
                                                '10' if tools.quick else '20'],
                                               dict(tools.preload, PEERS=peers)))
    for version in versions:
        for what, (peer, mine, theirs) in joined(turns[version]).items():
            most = 0.3 if what.startswith('main') else 1 if what.endswith(('loop', 'regex')) else None
            yield from late(f'Python {version}: {what}', peer, mine, theirs, most)


def in_ruby(tools):
    turns = [tools.ruby('late.rb', '10' if tools.quick else '20') for _ in passes(tools)]
    if turns[0] is None:
        yield skipped('Ruby: late', 'the gem is not built')
        return
    for what, (peer, mine, theirs) in joined(turns).items():
        if isinstance(mine[0], str):
            yield skipped(f'Ruby: {what}', mine[0])
        else:
            yield from late(f'Ruby: {what}', peer, mine, theirs, 0.5)


def of_a_command(tools):
    """A whole process: from its start until it has been waited for, less the 0.1 s."""
    def lateness(*command):
        begun = time.monotonic()
        tools.run(['sh', '-c', '"$@"; test $? = 124', 'sh', *command, '0.1s', 'sleep', '10'])
        return (time.monotonic() - begun - 0.1) * 1e9
    turns = [tools.by_turns(3 if tools.quick else 20, lambda: lateness(tools.coopdl),
                            lambda: lateness('timeout')) for _ in passes(tools)]
    mine, theirs = zip(*turns)
    yield from late('coopdl 0.1s sleep 10', 'timeout(1)', list(mine), list(theirs), None)


def rows(tools):
    yield from in_c(tools)
    yield from in_python(tools)
    yield from in_ruby(tools)
    yield from of_a_command(tools)
