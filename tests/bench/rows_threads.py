# SPDX-License-Identifier: Apache-2.0
"""rows_threads.py -- many threads that all expire within 100 ms, and what a thread costs."""
import os
import resource
import statistics

from measure import Row, half_of_quartiles, ratio, skipped

SPREAD_MS = 100
MOST = 10000
NS_IN_MS = 1e6


def limit():
    """Of threads, with room for others of the user."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    limits = [soft] if soft >= 0 else []
    for path in ('/proc/sys/kernel/threads-max', '/sys/fs/cgroup/pids.max'):
        if os.path.exists(path):
            with open(path) as file:
                text = file.read().strip()
            limits += [int(text)] if text != 'max' else []
    return min(limits) - 1000 if limits else MOST


def rows(tools):
    program = tools.program('bench', 'bench-threads')
    counts = [count for count in (10, 100, 1000, 3000, MOST) if count <= limit()]
    if tools.quick:
        counts = [count for count in counts if count not in (100, 3000)]
    rounds = 2 if tools.quick else 5
    work, costs = {}, {}

    def sample(kind, count):
        return [column[0] for column in
                tools.columns([program, kind, str(count), str(SPREAD_MS)],
                              tools.preload if kind == 'scope' else None)]

    for count in counts:
        mine, theirs = tools.by_turns(rounds, lambda count=count: sample('scope', count),
                                      lambda count=count: sample('sleep', count))
        p50, worst, cost, size, spent = (list(column) for column in zip(*mine))
        their_p50, their_worst = (list(column) for column in list(zip(*theirs))[:2])
        costs[count], work[count] = cost, spent
        if count < 1000:
            continue
        for name, ours, other in (('p50', p50, their_p50), ('worst', worst, their_worst)):
            mid = statistics.median(other) / NS_IN_MS
            yield ratio(f'{count} threads in scopes, {name} late', f'clock_nanosleep: {mid:.0f} ms',
                        ours, other, 1.2,
                        chart={'count': count, 'which': name, 'against ms': mid,
                               'ms': statistics.median(ours) / NS_IN_MS})
        yield Row(f'{count} threads in scopes, resident each', 'outside', statistics.median(size),
                  128, 'bytes', spread=half_of_quartiles(size))
    for count in counts[1:]:
        yield ratio(f'enter and leave beside {count} threads', f'beside {counts[0]}', costs[count],
                    costs[counts[0]], 1.2)
        yield ratio(f"the scheduler's time for each of {count}", f'for each of {counts[0]}',
                    work[count], work[counts[0]], len(str(count)) - 1)
    if counts[-1] < MOST:
        yield skipped(f'{MOST} threads', f'only {limit()} may be started')
