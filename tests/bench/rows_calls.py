# SPDX-License-Identifier: Apache-2.0
"""rows_calls.py -- what the library adds to a call that need not wait: exact counts, by
tests/count/count.c, of what 11,000 calls cost more than 1,000; and what a report adds to it, by the
clock."""
import contextlib
import shutil
import statistics
import subprocess

from measure import Failed, Row, half_of_quartiles, skipped

FEW, MANY = 1000, 11000
CALLS = {'read': False, 'recv': False, 'poll': True, 'syscall': False}  # whether it has a timeout


@contextlib.contextmanager
def table(tools):
    """The variables of a process that coopdl measures, as long as that coopdl is there."""
    with subprocess.Popen([tools.coopdl, '--report=/dev/null', '1h', 'sh', '-c',
                           'echo "$COOPDL_MEASURE"; exec sleep 3600'],
                          env=dict(tools.plain, COOPDL_LIBRARY=tools.library),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as command:
        try:
            path = command.stdout.readline().strip()
            if not path:
                raise Failed('coopdl --report measures nothing')
            yield dict(tools.budget, COOPDL_MEASURE=path)
        finally:
            command.terminate()


def reported(tools, count):
    """What a report costs a call that need not wait, by the clock and in system calls."""
    times = 200_000 if tools.quick else 1_000_000
    for call, calls, most in [('read', 0, 1000), ('poll', 1, 3000)]:
        def nanoseconds(report, call=call):
            command = [tools.coopdl, *report, '1h', count, call]
            settings = {'COOPDL_LIBRARY': tools.library}
            return (tools.seconds(command + [str(times)], settings) -
                    tools.seconds(command + ['1'], settings)) * 1e9 / times
        mine, theirs = tools.by_turns(5, lambda: nanoseconds(['--report=/dev/null']),
                                      lambda: nanoseconds([]))
        more = [one - other for one, other in zip(mine, theirs)]
        yield Row(f'{call}, measured for a report, more',
                  f'under a far budget: {statistics.median(theirs):.0f} ns',
                  statistics.median(more), most, 'ns', half_of_quartiles(more))
        if not shutil.which('strace'):
            yield skipped(f'{call}, measured for a report', 'no strace')
            continue
        # A call that strace stops takes long enough to be taken for one that has waited.
        with table(tools) as settings:
            few, many = (tools.system_calls([count, call, str(FEW + rounds)], settings, call) -
                         tools.system_calls([count, call, str(FEW + rounds)], tools.budget, call)
                         for rounds in (0, FEW))
        yield Row(f'1,000 times {call}, measured for a report, more', 'under a far budget',
                  many - few, calls * FEW + FEW // 10, 'calls')


def rows(tools):
    yield from reported(tools, tools.program('count', 'count'))
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
