# SPDX-License-Identifier: Apache-2.0
"""rows_process.py -- what a process pays that has the library and no deadline: to start, and in
memory."""
import os
import statistics
import sys
import time

from measure import Row, half_of_quartiles

SCRIPT = """
import sys
kb = {}
with open('/proc/self/smaps_rollup') as file:
    for line in file:
        if line.startswith(('Pss:', 'Private')):
            name, size = line.split()[:2]
            kb[name] = int(size)
print(sum(size for name, size in kb.items() if name.startswith('Private')))
"""


def start_ms(environment):
    begun = time.perf_counter()
    process = os.posix_spawn('/bin/true', ['true'], environment)
    os.waitpid(process, 0)
    return (time.perf_counter() - begun) * 1000


def rows(tools):
    preload = dict(tools.plain, **tools.preload)
    mine, theirs = tools.by_turns(100 if tools.quick else 1000, lambda: start_ms(preload),
                                  lambda: start_ms(tools.plain))
    more = [one - other for one, other in zip(mine, theirs)]
    yield Row('/bin/true from start to end, more', f'without: {statistics.median(theirs):.2f} ms',
              statistics.median(more), 0.15, 'ms', half_of_quartiles(more))

    def private(settings):
        return float(tools.run([sys.executable, '-S', '-c', SCRIPT], settings))
    mine, theirs = tools.by_turns(5, lambda: private(tools.preload), lambda: private({}))
    more = [one - other for one, other in zip(mine, theirs)]
    yield Row('private memory of a process, more', f'without: {statistics.median(theirs):.0f} KiB',
              statistics.median(more), 200, 'KiB', half_of_quartiles(more))
