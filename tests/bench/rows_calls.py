# SPDX-License-Identifier: Apache-2.0
"""rows_calls.py -- what the library adds to a call that need not wait: exact counts, by
tests/count/count.c, of what 11,000 calls cost more than 1,000."""
import shutil

from measure import Row, skipped

FEW, MANY = 1000, 11000
CALLS = {'read': False, 'recv': False, 'poll': True, 'syscall': False}  # whether it has a timeout


def rows(tools):
    missing = [name for name in ('valgrind', 'strace') if not shutil.which(name)]
    if missing:
        yield skipped('instructions and system calls of a call', f'no {missing[0]}')
        return
    count = tools.program('count', 'count')

    def instructions(what, settings=None, *more):
        few, many = (tools.instructions([count, what, str(times), *more], settings)
                     for times in (FEW, MANY))
        return round((many - few) / (MANY - FEW))

    def system_calls(what, settings=None, *more):
        few, many = (tools.system_calls([count, what, str(times), *more], settings)
                     for times in (0, FEW))
        return many - few

    clock = instructions('clock')
    for call, timed in CALLS.items():
        if tools.quick and call in ('recv', 'syscall'):
            continue
        plain = instructions(call)
        threaded = instructions(call, None, 'thread')
        none = instructions(call, tools.preload) - plain
        yield Row(f'{call}, no deadline', 'without the library', none, 12, 'instructions')
        most = none + 20 + (clock if timed else 0)
        yield Row(f'{call}, inside a far scope', 'without, two threads',
                  instructions(call, tools.preload, 'scope') - threaded, most, 'instructions')
        yield Row(f'{call}, under a far budget', 'without the library',
                  instructions(call, tools.budget) - plain, most, 'instructions')
        calls = system_calls(call)
        more = [system_calls(call, tools.preload), system_calls(call, tools.preload, 'scope'),
                system_calls(call, tools.budget)]
        yield Row(f'{call}, the most of the three', 'without the library', max(more) - calls, 0,
                  'calls')
    # Until the scheduler has begun it is told of each: some dozens of calls, once.
    often = 1000 * FEW
    more = tools.system_calls([count, 'enter', str(often)], tools.preload) - \
        tools.system_calls([count, 'enter', '1'], tools.preload)
    yield Row('1,000 times enter(1 h) and leave', 'none', round(more * FEW / often), 0, 'calls')
