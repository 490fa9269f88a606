# SPDX-License-Identifier: Apache-2.0
"""test_behaviour_compute.py -- code that computes for ever ends at its deadline."""
import itertools
import json
import re
import sys
import unittest

from behaviour import Table

table = Table(__name__)
case = table.case

IN_C = 'C code that looks for signals, and those are for the main thread'


@case()
def while_true():
    def block():
        while True:
            pass
    yield block


@case()
def for_loop():
    def block():
        for _ in itertools.repeat(None):
            pass
    yield block


@case()
def calls():
    def nothing():
        pass

    def block():
        while True:
            nothing()
    yield block


@case()
def list_comprehension():
    """That makes no list: to free one takes as long as to fill it."""
    yield lambda: [None for _ in itertools.repeat(None) if False]


@case()
def dict_comprehension():
    yield lambda: {None: None for _ in itertools.repeat(None)}


@case()
def generator_read_by_c():
    yield lambda: sum(0 for _ in itertools.repeat(None))


@case()
def regular_expression():
    yield lambda: re.fullmatch(r'(a+)+\Z', 'a' * 100_000 + '!')


@case()
def power():
    exponent = 100_000_000
    yield lambda: 3 ** exponent


def without_limit(block):
    """int and str refuse long conversions, unless they are told not to."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield block
    finally:
        sys.set_int_max_str_digits(limit)


@case()
def int_to_str():
    """From 3.12 on, one of millions of digits is cut up for C code that looks at nothing for tens
    of milliseconds."""
    number = 7 << 200_000

    def block():
        while True:
            str(number)
    yield from without_limit(block)


@case()
def str_to_int():
    if sys.version_info < (3, 12):
        raise unittest.SkipTest('before 3.12 C code that looks at nothing')
    digits = '7' * 600_000

    def block():
        while True:
            int(digits)
    yield from without_limit(block)


@case()
def json_dumps():
    value = 7
    for _ in range(8):
        value = [value] * 10
    yield lambda: json.dumps(value)


Main, Worker = table.classes()
