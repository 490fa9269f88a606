# SPDX-License-Identifier: Apache-2.0
"""A decorated function: each call of it is made inside a scope of its own.

What must hold: what a decorator of functools.wraps gives is there, so the result is a function in
all respects: a method, picklable by its name, with the signature, the defaults and the globals of
the original, in which frameworks look up annotations that are strings.

A function that only makes an object which computes later (a coroutine, a generator) is refused:
the scope would be left before anything is done.
"""
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

R = TypeVar('R')


class Scope(Protocol):
    def __enter__(self) -> object: ...
    def __exit__(self, *error: Any) -> object: ...
    def _renew(self) -> 'Scope': ...


def refuse(function: Any) -> None:
    if not callable(function):
        raise TypeError(f'a function is expected, not {type(function).__name__}')
    for code in function, getattr(function, '__call__', None):
        if inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code):
            raise TypeError(f'{function!r} is an `async def` function, which coopdl.timeout cannot '
                            'limit: use asyncio.timeout inside it')
        if inspect.isgeneratorfunction(code):
            raise TypeError(f'{function!r} is a generator function: its call ends before its body '
                            'begins; use `with coopdl.timeout(...)` where it is iterated over')


def limit(scope: Scope, function: Any) -> Any:
    """What `scope(function)` is.  The scope itself is never entered: each call makes one like it."""
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(limit(scope, function.__func__))
    refuse(function)

    # It names nothing global, so that it works with the globals of any function.
    def limited(*args, **kwargs):  # type: ignore[no-untyped-def]
        with scope._renew():
            return function(*args, **kwargs)

    made: Any = types.FunctionType(limited.__code__, getattr(function, '__globals__', globals()),
                                   'limited', None, limited.__closure__)
    functools.update_wrapper(made, function)
    # The call itself reads neither, as it has no parameter that they could be for.
    made.__defaults__ = getattr(function, '__defaults__', None)
    made.__kwdefaults__ = getattr(function, '__kwdefaults__', None)
    return made
