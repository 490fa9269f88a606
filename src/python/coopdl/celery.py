# SPDX-License-Identifier: Apache-2.0
"""Celery: time limits that hold in its pools, also in threads, greenlets and calls of C libraries.

    app = celery.Celery('jobs', task_cls='coopdl.celery:Task')

A task that exceeds its `soft_time_limit` or its `time_limit` fails by Celery's own exceptions, and
the thread that it was in goes on with the next one.  docs/celery.md says how it is used.

What must hold:
1. The limits are those of the message, else of the task; as in Celery, a task that is called as a
   function has none.
2. As in Celery, SoftTimeLimitExceeded is raised in the task, once: a task that catches it goes on
   until its time limit, and has succeeded with what it returns.
3. A deadline travels only with a task that asks for it: most are to be done whatever becomes of who
   has sent them.  It travels as Celery's `expires`, a time of day, since its clocks are to agree.
"""
import datetime
import functools
import itertools
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import celery  # type: ignore
from billiard.pool import SIG_SOFT_TIMEOUT, soft_timeout_sighandler  # type: ignore
from celery import signals
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded  # type: ignore
from celery.utils.time import maybe_iso8601, maybe_make_aware  # type: ignore
from celery.worker import request  # type: ignore

import coopdl
from coopdl import _stuck

GRACE = 5.0  # seconds for clean-up after the time limit


class SoftLimit(coopdl.DeadlineReached, SoftTimeLimitExceeded):  # type: ignore
    """What is raised in a task at its soft limit."""


def greenlets() -> Any:
    """In a greenlet of the gevent pool, the module that is for those; else None."""
    if 'gevent' in sys.modules:
        from coopdl import _greenlet
        if _greenlet.here():
            return _greenlet
    return None


def limit(seconds: float | None, grace: float | None, soft: bool) -> Any:
    """A scope; in a greenlet what is like one."""
    beside = greenlets()
    if beside:
        return beside.limit(seconds, grace, SoftLimit if soft else None)
    scope = coopdl.timeout(seconds, grace=grace)
    return scope._instead(SoftLimit) if soft else scope


def inside(scope: Any, seconds: float | None, error: type[Exception],
           work: Callable[[], Any]) -> Any:
    """What the work returns, however late; or this error in place of DeadlineExceeded.

    Once the work has returned DeadlineReached may be raised again, as it was swallowed.  So that the
    result is kept by then it is handed on in C, where the interpreter does not look.
    """
    done: list[Any] = []
    try:
        with scope:
            done.extend(itertools.starmap(work, [()]))
    except coopdl.DeadlineExceeded as exceeded:
        if exceeded.scope is not scope:
            raise
        _stuck.release(exceeded)
        if not done:
            raise error(seconds) from exceeded
    return done[0]


def keep_out_the_pool() -> None:
    """In a process of the prefork pool: its signal for the soft limit raises as well, and would hit
    what a task does about the limit."""
    if (threading.current_thread() is threading.main_thread() and
            signal.getsignal(SIG_SOFT_TIMEOUT) is soft_timeout_sighandler):
        signal.signal(SIG_SOFT_TIMEOUT, signal.SIG_IGN)


@signals.worker_init.connect  # type: ignore
def refuse_eventlet(sender: Any, **_: Any) -> None:
    """There limits would neither hold nor be those of one task."""
    pool = sender.pool_cls
    if 'eventlet' in (pool if isinstance(pool, str) else pool.__module__):
        sys.exit('coopdl: time limits do not hold in the eventlet pool; accepted are prefork, solo, '
                 'threads and gevent')


class Request(request.Request):  # type: ignore
    """A task that a worker has received.

    Pools that have a time limit of their own (prefork, which kills the process; gevent) are told a
    later one: it is for what nothing else ends, and the clean-up is not cut by it.
    """

    time_limits: Any = (None, None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hard, soft = self.time_limits
        hard = hard or self.task.time_limit
        self.time_limits = hard and hard + GRACE, soft


class Task(celery.Task):  # type: ignore
    """The class of an application's tasks."""
    abstract = True

    Request = 'coopdl.celery:Request'

    deadline_travels = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        hard, soft = self.limits()
        work = functools.partial(self.run, *args, **kwargs)
        if soft is not None:
            keep_out_the_pool()
            grace = None if hard is None else max(0.0, hard - soft)
            scope = limit(soft, grace, soft=True)
            work = functools.partial(inside, scope, soft, SoftTimeLimitExceeded, work)
        return inside(limit(hard, GRACE, soft=False), hard, TimeLimitExceeded, work)

    def limits(self) -> tuple[float | None, float | None]:
        """The time limit and the soft one, in seconds."""
        hard, soft = self.request.timelimit or (None, None)
        soft = soft or self.soft_time_limit
        left = self.left()
        if left is not None:
            soft = left if soft is None else min(soft, left)
        return hard or self.time_limit, soft

    def left(self) -> float | None:
        """What whoever sent it had left, less the time that it was in the queue."""
        if not self.deadline_travels or not self.request.expires:
            return None
        expires = maybe_make_aware(maybe_iso8601(self.request.expires))
        left: float = (expires - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
        return max(0.0, left)

    def apply_async(self, *args: Any, **options: Any) -> Any:
        left = (greenlets() or coopdl).remaining() if self.deadline_travels else None
        later = options.get('eta') or options.get('countdown')
        expires = options.get('expires')
        if left is not None and not later and not isinstance(expires, datetime.datetime):
            options['expires'] = left if expires is None else min(left, expires)
        return super().apply_async(*args, **options)
