# SPDX-License-Identifier: Apache-2.0
"""ASGI middleware: a deadline for each request, also for what it does in a thread.

    application = coopdl.asgi.Deadline(application, 10)

    @coopdl.asgi.threaded           # a route that is no coroutine is called in a thread
    def report(request): ...

Coroutines are cancelled by asyncio at the deadline, threads are ended by a scope of their own.
docs/asgi.md says how it is used.

What must hold:
1. No scope is entered in the thread of the event loop: it would be all requests'.
2. The deadline reaches the thread by a context variable, which frameworks copy (anyio,
   asyncio.to_thread), so that it is the request's own.  The thread's error may reach the framework
   before asyncio cancels the request: what it would answer then, mostly 500, is refused.
3. Once an answer has begun there is no other: then the error goes to the server, which closes the
   connection.
"""
import asyncio
import contextvars
import functools
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

import coopdl
from coopdl import propagate

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
Result = TypeVar('Result')

COARSE = 0.002  # seconds that a timer of uvloop's may be early: it counts whole milliseconds

when: contextvars.ContextVar[float | None] = contextvars.ContextVar('coopdl.asgi.when', default=None)


def threaded(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function that a request calls in a thread ends by the request's deadline."""
    @functools.wraps(function)
    def limited(*args: Any, **kwargs: Any) -> Result:
        with coopdl.timeout_at(when.get()):
            return function(*args, **kwargs)
    return limited


class Deadline:
    """Every request of `application` ends after `seconds`, None: as the header says.

    `header` names the one in which a client says what is left to it; it can only shorten.  None:
    clients are not asked.
    """

    def __init__(self, application: Application, seconds: float | None = None, *,
                 header: str | None = propagate.HEADER) -> None:
        coopdl.timeout(seconds)  # says what is wrong with it before there is a request
        self.application = application
        self.seconds = seconds
        self.header = header

    def limit(self, scope: Message) -> float | None:
        said = None if self.header is None else propagate.left(scope['headers'], self.header)
        return min((limit for limit in (self.seconds, said) if limit is not None), default=None)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            return await self.application(scope, receive, send)
        came = time.monotonic()
        try:
            limit = self.limit(scope)
        except ValueError as error:
            return await answer(send, 400, str(error))
        begun = False

        async def sends(message: Message) -> None:
            nonlocal begun
            if not begun and limit is not None and time.monotonic() >= came + limit:
                raise coopdl.DeadlineExceeded
            begun = True
            await send(message)

        token = when.set(None if limit is None else came + limit)
        try:
            await asyncio.wait_for(self.application(scope, receive, sends),
                                   None if limit is None else limit + COARSE)
        except (asyncio.TimeoutError, coopdl.DeadlineExceeded):
            if begun or limit is None or time.monotonic() < came + limit:
                raise
            await answer(send, 504, f'the deadline of {limit:g} s was exceeded')
        finally:
            when.reset(token)


async def answer(send: Send, status: int, text: str) -> None:
    line = (text + '\n').encode()
    await send({'type': 'http.response.start', 'status': status,
                'headers': [(b'content-type', b'text/plain; charset=utf-8'),
                            (b'content-length', str(len(line)).encode())]})
    await send({'type': 'http.response.body', 'body': line})
