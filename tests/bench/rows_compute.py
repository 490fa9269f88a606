# SPDX-License-Identifier: Apache-2.0
"""rows_compute.py -- Python code that computes, inside a scope against outside."""
import os

from measure import HERE, ratio
from rows_scope import pythons

LOOPS = ('pass_loop', 'arithmetic_loop', 'listcomp_work')


def rows(tools):
    for version, python in pythons(tools).items():
        series = tools.series([python, os.path.join(HERE, 'compute.py'),
                               '20' if tools.quick else '150'], tools.preload)
        for name in LOOPS:
            yield ratio(f'Python {version}: {name}, inside', 'outside', series[name]['inside'],
                        series[name]['outside'], 1.01, least=0.99)
