# SPDX-License-Identifier: Apache-2.0
"""What is left of a deadline, carried to other processes and machines in a header.

    requests.get(url, headers=coopdl.propagate.headers())       # there

    with coopdl.propagate.from_headers(request.headers):        # and here
        answer(request)

A duration travels and no time of day, as clocks differ.  So what the way itself takes is known to
nobody; the sender takes HOP off for it, and rounds down.  Whoever receives counts from the moment
at which the request came, if it knows that.

What must hold:
1. Nothing is added on the way: the receiver has at most what was left to the sender, less the hop.
2. What a header says can only shorten the receiver's own limits.
3. A header that says nothing understandable is an error of one line, and never no limit.
"""
import re
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

import coopdl

HEADER = 'X-Deadline-Remaining-Ms'
GRPC = 'grpc-timeout'  # at most eight digits and a unit
HOP = 0.01  # seconds
UNITS = {'n': 1e-9, 'u': 1e-6, 'm': 1e-3, 'S': 1.0, 'M': 60.0, 'H': 3600.0}
DIGITS = 8


@runtime_checkable
class HasItems(Protocol):
    """A mapping, or what is like one: email.message.Message, werkzeug's Headers."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...


Headers = HasItems | Iterable[tuple[Any, Any]]


def text(seconds: float, header: str = HEADER) -> str:
    """A duration as that header has it, rounded down."""
    if header.lower() != GRPC:
        return str(int(seconds * 1000))
    for unit, size in UNITS.items():
        number = int(seconds / size)
        if number < 10**DIGITS:
            return f'{number}{unit}'
    return '9' * DIGITS + 'H'


def seconds(text: str, header: str = HEADER) -> float:
    """The reverse; ValueError says what is accepted."""
    if header.lower() == GRPC:
        found = re.fullmatch(r'(\d{1,8})([HMSmun])', text, re.ASCII)
        if found:
            return int(found[1]) * UNITS[found[2]]
        accepted = 'up to 8 digits and one of the units H M S m u n'
    else:
        if re.fullmatch(r'\d{1,15}(\.\d{1,9})?', text, re.ASCII):
            return float(text) / 1000
        accepted = 'a number of milliseconds'
    raise ValueError(f'invalid header {header}: {text[:40]!r}; accepted is {accepted}')


def headers(header: str = HEADER, *, hop: float = HOP) -> dict[str, str]:
    """What is left to the calling thread, less what the way takes; empty if it has no deadline."""
    left = coopdl.remaining()
    return {} if left is None else {header: text(max(0.0, left - hop), header)}


def as_text(value: Any) -> str:
    return value.decode('latin-1') if isinstance(value, bytes) else str(value)


def left(headers: Headers, header: str = HEADER) -> float | None:
    """The seconds that a header says, or None where there is none; of several the least.

    `headers` is a mapping or has pairs, of text or of bytes; the names may have any case.
    """
    pairs = headers.items() if isinstance(headers, HasItems) else headers
    return min((seconds(as_text(value), header) for name, value in pairs
                if as_text(name).lower() == header.lower()), default=None)


def from_headers(headers: Headers, header: str = HEADER, *, at_most: float | None = None,
                 received: float | None = None, grace: float | timedelta | None = 5.0
                 ) -> coopdl.timeout:
    """A scope with the deadline that a header says, and in any case with `at_most` seconds.

    `received` is when the request came, on the clock of time.monotonic(); now, unless given.
    """
    limits = [limit for limit in (left(headers, header), at_most) if limit is not None]
    if not limits:
        return coopdl.timeout(None, grace=grace)
    came = time.monotonic() if received is None else received
    return coopdl.timeout_at(came + min(limits), grace=grace)
