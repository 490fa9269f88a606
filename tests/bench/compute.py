# SPDX-License-Identifier: Apache-2.0
"""compute.py -- `compute.py ROUNDS` prints ns of each loop, by turns inside a scope and outside, as
JSON."""
import contextlib
import json
import sys
import time

import coopdl

TIMES = 100


def pass_loop():
    for _ in range(1000):
        pass


def arithmetic_loop():
    total = 0
    for number in range(1000):
        total += number * number % 7
    return total


def listcomp_work():
    return [number * 2 for number in range(1000)]


def run(function):
    begun = time.process_time_ns()
    for _ in range(TIMES):
        function()
    return (time.process_time_ns() - begun) / TIMES


# Both in as many frames: where a frame lies in memory changes a loop's speed by a tenth.
def outside(function):
    with contextlib.nullcontext():
        return run(function)


def inside(function):
    with coopdl.timeout(3600):
        return run(function)


def main():
    results = {}
    for function in (pass_loop, arithmetic_loop, listcomp_work):
        figures = results[function.__name__] = {'inside': [], 'outside': []}
        for turn in range(int(sys.argv[1]) + 1):
            # Who comes first changes, lest the processor's clock favour one.
            for measure in (inside, outside) if turn % 2 else (outside, inside):
                ns = measure(function)
                if turn:  # the first warms up
                    figures[measure.__name__].append(ns)
    json.dump(results, sys.stdout)


main()
