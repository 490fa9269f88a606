# SPDX-License-Identifier: Apache-2.0
"""The extension: scopes, and how an expiry becomes an exception.  Use it as `coopdl`."""
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Literal, NoReturn, TypeVar, final
from typing_extensions import ParamSpec, Self

_P = ParamSpec('_P')
_R = TypeVar('_R')

class DeadlineExceeded(TimeoutError):
    """A deadline has passed: what a scope raises at its end.

    Its cause is the DeadlineReached that was raised in the body, if there was one.  Its errno is
    errno.ETIMEDOUT.
    """

    scope: timeout | None
    """The scope whose deadline it was."""
    call: str | None
    """The call that the deadline has ended first, such as 'recv'; None if no call was ended."""
    target: str | None
    """What that waited for, such as 'tcp 10.0.0.7:5432', 'pipe', 'pid 4711 sleep 60'."""
    library: str | None
    """Which file has made the call, such as 'libpq.so.5'."""
    waited: float | None
    """For how many seconds the call had waited; None where that is not known."""

class DeadlineReached(BaseException):
    """A deadline has passed: what is raised in the body of its scope.

    Not an Exception, so that nothing there takes it for an error of its own.  The scope turns it
    into DeadlineExceeded at its end; code that keeps it is raised in again.  For the budget of the
    process it is a KeyboardInterrupt as well, and stays what it is.
    """

    scope: timeout | None
    """The scope whose deadline it was; None for the budget of the process."""
    call: str | None
    target: str | None
    library: str | None
    waited: float | None
    """What has been ended by then, as in DeadlineExceeded."""

class _Block:
    def __enter__(self) -> Self:
        """Enters the scope; returns it."""
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> Literal[False]:
        """Leaves the scope; raises DeadlineExceeded if it has expired."""
    def __aenter__(self) -> NoReturn:
        """Raises TypeError: a scope is no asynchronous context manager."""
    def __aexit__(self, *error: object) -> NoReturn:
        """Raises TypeError: a scope is no asynchronous context manager."""
    def __call__(self, function: Callable[_P, _R], /) -> Callable[_P, _R]:
        """Decorates a function: each call of it is made in a scope of its own."""
    def _renew(self) -> Self:
        """A new scope with the same arguments."""

@final
class timeout(_Block):
    """A scope that ends what is done in it `seconds` after it was entered.

    A context manager and a decorator.  None: no limit.  Where the deadline passes, DeadlineReached
    is raised, and DeadlineExceeded at the end of the block.  Clean-up is not disturbed for `grace`
    seconds more, for ever with None.  A child that is forked inside is inside too, for 50 ms
    longer, unless `inherit` is False.
    """

    def __new__(
        cls, seconds: float | timedelta | None, *, grace: float | timedelta | None = 5.0,
        inherit: bool = True,
    ) -> Self: ...
    def when(self) -> float | None:
        """The deadline on the clock of time.monotonic(), or None."""
    def expired(self) -> bool:
        """Whether the deadline has passed while the scope was entered."""
    def reschedule(self, when: float | None, /) -> None:
        """Gives the scope another deadline, or none (None); from any thread, until its deadline has
        passed.
        """
    def _instead(self, kind: type[DeadlineReached], /) -> Self:
        """The class that is raised in the body, once until the grace is over; returns the scope."""
    def cancel(self) -> None:
        """Ends what is done in the scope as if its deadline were now; from any thread.

        Of a scope that is not entered yet: as soon as it is.  Of one that has expired or was left:
        nothing.
        """

def timeout_at(
    when: float | None, *, grace: float | timedelta | None = 5.0, inherit: bool = True
) -> timeout:
    """The same scope with a deadline, on the clock of time.monotonic()."""

class _Silent(timeout):  # type: ignore[misc]
    """What move_on_after makes, for type checkers: at run time it is a timeout."""

    def __exit__(  # type: ignore[override]
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> bool:
        """Leaves the scope.  True: what was raised in the body is not to be seen."""

def move_on_after(
    seconds: float | timedelta | None, *, grace: float | timedelta | None = 5.0,
    inherit: bool = True,
) -> _Silent:
    """The same scope, whose end raises nothing: its expired() tells."""

@final
class shield(_Block):
    """A stretch of code that no deadline from outside it cuts."""

    def __new__(cls) -> Self: ...

def remaining() -> float | None:
    """The seconds that are left to the calling thread, 0.0 once its deadline has passed;
    None if it has none.
    """

def deadline() -> float | None:
    """The deadline that rules the calling thread, on the clock of time.monotonic(); None if it
    has none.
    """

def check() -> None:
    """Raises DeadlineReached if the calling thread's deadline has passed."""

def preloaded() -> bool:
    """Whether the calls that libraries make are cut too, as they are when the library is
    preloaded.
    """

def _install_budget(held: bool, /) -> None:
    """Has the budget of the process, if there is one, raised; if it is held, from _begin on."""

def _begin() -> None:
    """The program begins: a budget that was held may be raised."""
