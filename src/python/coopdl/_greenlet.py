# SPDX-License-Identifier: Apache-2.0
"""A limit for what a greenlet of gevent's does, such as a task in Celery's gevent pool.

Greenlets share a thread, and a scope is a thread's.  So the scope of a limit is entered whenever its
greenlet is switched to, and left whenever it is switched away from.  That ends a greenlet which
keeps the thread: one that computes, or that waits in a C library.  One that waits as gevent does it
runs no longer, and is ended by a gevent.Timeout; that needs the hub, which nobody keeps then.

What must hold:
1. A scope is entered only while its greenlet runs: it cuts no call of another's, nor of the hub's.
   Its deadline comes late, so that who is about to wait is ended by the Timeout: gevent's own code
   expects no exception but where it waits.
2. A limit raises once, by its scope or by its Timeout, whichever comes first.  The scope's exception
   says so as it is made; a Timeout that has raised is not pending.  After that it raises again only
   if it insists, and once its grace is over.
3. Nothing is raised in the function that greenlet calls at each switch: greenlet would call it no
   more.  The name of that function tells the extension so (frames.c).
"""
import contextlib
import functools
import time
from typing import Any

import gevent  # type: ignore
import greenlet  # type: ignore

import coopdl

HELD = 0.1  # seconds behind its limit after which a greenlet that runs is one that keeps the thread

limits: dict[Any, list['Limit']] = {}  # of each greenlet that has some, the outermost first


def here() -> bool:
    """Whether the caller is a greenlet beside others."""
    return isinstance(gevent.getcurrent(), gevent.Greenlet)


def limit(seconds: float | None, grace: float | None,
          kind: type[coopdl.DeadlineReached] | None) -> Any:
    """None: none."""
    return contextlib.nullcontext() if seconds is None else Limit(seconds, grace, kind)


def remaining() -> float | None:
    """What is left to the calling greenlet by its limits; its scope ends HELD later."""
    own = limits.get(gevent.getcurrent(), ())
    return max(0.0, min(limit.when for limit in own) - time.monotonic()) if own else None


class Reached(coopdl.DeadlineReached):
    """What a limit raises in the work."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        for limit in limits.get(gevent.getcurrent(), ()):
            if type(self) is limit.kind:
                limit.timeout.cancel()


@functools.cache
def reached(kind: Any) -> Any:
    """That class, as one that says so."""
    return type(kind.__name__, (Reached, kind), {})


class Limit:
    """Its end raises DeadlineExceeded, with the limit as the scope, if it was too late.

    In the work `kind` is raised: once, or, if that is None, DeadlineReached, which insists.
    """

    def __init__(self, seconds: float, grace: float | None,
                 kind: type[coopdl.DeadlineReached] | None) -> None:
        self.seconds, self.grace, self.insists = seconds, grace, kind is None
        raised: Any = kind or coopdl.DeadlineReached
        self.kind: Any = reached(raised)
        self.scope: coopdl.timeout | None = None

    def begin(self, seconds: float) -> None:
        self.when = time.monotonic() + seconds
        self.timeout = gevent.Timeout(seconds, self.kind)
        self.timeout.start()

    def run(self) -> None:
        """Its greenlet runs now."""
        if self.insists and self.grace is not None and not self.timeout.pending:
            self.timeout.close()
            self.begin(self.grace)
        if self.timeout.pending and self.scope is None:
            when = max(self.when, time.monotonic()) + HELD
            self.scope = coopdl.timeout_at(when, grace=self.grace)._instead(self.kind)
            self.scope.__enter__()

    def rest(self, *error: Any) -> None:
        """And now no longer."""
        scope, self.scope = self.scope, None
        if scope is None:
            return
        try:
            scope.__exit__(*error)
        except coopdl.DeadlineExceeded as exceeded:
            if exceeded.scope is scope:
                exceeded.scope = self  # type: ignore[assignment]
            raise

    def __enter__(self) -> 'Limit':
        trace()
        limits.setdefault(gevent.getcurrent(), []).append(self)
        self.begin(self.seconds)
        self.run()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        own = limits[gevent.getcurrent()]
        own.remove(self)
        if not own:
            del limits[gevent.getcurrent()]
        self.timeout.close()
        self.rest(kind, error, trace)
        if isinstance(error, self.kind):
            exceeded = coopdl.DeadlineExceeded(f'the limit of {self.seconds:g} s was exceeded')
            exceeded.scope = self  # type: ignore[assignment]
            raise exceeded from error


def release_and_acquire(before: Any, event: str, switched: tuple[Any, Any]) -> None:
    """greenlet calls it at each switch, in the one that is switched to; `before` did so before."""
    origin, target = switched
    for limit in reversed(limits.get(origin, ())):
        try:
            limit.rest(None, None, None)
        except coopdl.DeadlineExceeded:
            pass  # its Timeout is pending still, if nothing was raised
    for limit in limits.get(target, ()):
        limit.run()
    if before is not None:
        before(event, switched)


def trace() -> None:
    """In this thread, if it is not traced yet."""
    before = greenlet.gettrace()
    if not (isinstance(before, functools.partial) and before.func is release_and_acquire):
        greenlet.settrace(functools.partial(release_and_acquire, before))
