# SPDX-License-Identifier: Apache-2.0
"""WSGI middleware: a deadline for each request.

    application = coopdl.wsgi.Deadline(application, 10)

A request that is not answered in ten seconds is answered with 504 and one line; what it was stuck in
goes to wsgi.errors, and the worker goes on.  docs/wsgi.md says how it is used.

What must hold:
1. The application is called, and its body made, inside one deadline; the server's own sending is
   not inside, for between two pieces of a body no scope is entered.
2. close() of a body is called in any case, and has the grace.
3. What a late request had open is closed before the answer.
4. Once a piece of the answer is with the server there is no other answer: then the server gets the
   error (PEP 3333: start_response with exc_info), and closes the connection.
"""
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import coopdl
from coopdl import _stuck, propagate

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

Result = TypeVar('Result')

GRACE = 5.0


class Deadline:
    """Every request of `application` ends after `seconds`, None: as the header says.

    `header` names the one in which a client says what is left to it; it can only shorten.  None:
    clients are not asked.
    """

    def __init__(self, application: Application, seconds: float | None = None, *,
                 header: str | None = propagate.HEADER, grace: float = GRACE) -> None:
        coopdl.timeout(seconds, grace=grace)  # says what is wrong with them before there is a request
        self.application = application
        self.seconds = seconds
        self.header = header
        self.grace = grace

    def limit(self, environ: Environ) -> float | None:
        limits = [] if self.seconds is None else [self.seconds]
        if self.header is not None:
            text = environ.get('HTTP_' + self.header.upper().replace('-', '_'))
            limits += [] if text is None else [propagate.seconds(text, self.header)]
        return min(limits, default=None)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        came = time.monotonic()
        try:
            limit = self.limit(environ)
        except ValueError as error:
            return answer(start_response, '400 Bad Request', str(error))
        if limit is None:
            return self.application(environ, start_response)
        return Body(self, environ, start_response, limit, came)


class Body:
    """One request: a body that is made as the server asks for it."""

    def __init__(self, deadline: Deadline, environ: Environ, start_response: StartResponse,
                 limit: float, came: float) -> None:
        self.environ, self.start_response, self.limit = environ, start_response, limit
        self.grace, self.when = deadline.grace, came + limit
        self.over = False
        self.body: Iterable[bytes] = ()
        self.pieces: Iterator[bytes] = iter(())
        self.inside(lambda: self.begin(deadline.application))

    def begin(self, application: Application) -> None:
        self.body = application(self.environ, self.start_response)
        self.pieces = iter(self.body)

    def inside(self, function: Callable[[], Result]) -> Result | None:
        """None: it was too late, and another answer is in place of the pieces."""
        scope = coopdl.timeout_at(self.when, grace=self.grace)
        try:
            with scope:
                return function()
        except coopdl.DeadlineExceeded as error:
            if error.scope is not scope:
                raise
            self.late(error)
            return None

    def late(self, error: coopdl.DeadlineExceeded) -> None:
        text = f'the deadline of {self.limit:g} s was exceeded'
        request = f'{self.environ.get("REQUEST_METHOD")} {self.environ.get("PATH_INFO")}'
        stack = _stuck.frames(error, without=(__file__,))
        print(f'coopdl: {request}: {text}, {_stuck.place(stack)}',
              file=self.environ['wsgi.errors'], flush=True)
        _stuck.release(error)
        self.over = True
        self.pieces = iter(answer(self.start_response, '504 Gateway Timeout', text, sys.exc_info()))

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = None if self.over else self.inside(lambda: next(self.pieces))
        return next(self.pieces) if piece is None else piece

    def close(self) -> None:
        close = getattr(self.body, 'close', None)
        if close is not None:
            with coopdl.timeout(self.grace, grace=self.grace):
                close()


def answer(start_response: StartResponse, status: str, text: str, *error: Any) -> list[bytes]:
    line = (text + '\n').encode()
    start_response(status, [('Content-Type', 'text/plain; charset=utf-8'),
                            ('Content-Length', str(len(line)))], *error)
    return [line]
