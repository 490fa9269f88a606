# SPDX-License-Identifier: Apache-2.0
"""The extension: scopes, and how an expiry becomes an exception.  Use it as `coopdl`."""
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TypeVar, final
from typing_extensions import ParamSpec, Self

_P = ParamSpec('_P')
_R = TypeVar('_R')

class DeadlineExceeded(TimeoutError):
    """A deadline has passed."""

    scope: timeout | timeout_at | None
    """The scope whose deadline it was; None for the budget of the process."""

class DeadlineInsists(BaseException):
    """A deadline has passed, and the DeadlineExceeded that said so was swallowed.

    Not an Exception, so that `except Exception` in a loop does not keep it.  The scope
    turns it into DeadlineExceeded at its end.
    """

    scope: timeout | timeout_at | None
    """The scope whose deadline it was; None for the budget of the process."""

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
    def __call__(self, function: Callable[_P, _R], /) -> Callable[_P, _R]:
        """Decorates a function: each call of it is made in a scope of its own."""

class _Scope(_Block):
    def when(self) -> float | None:
        """The deadline on the clock of time.monotonic(), or None."""
    def expired(self) -> bool:
        """Whether the deadline has passed while the scope was entered."""
    def reschedule(self, when: float | None, /) -> None:
        """Gives the scope another deadline, or none (None)."""

@final
class timeout(_Scope):
    """A scope that ends what is done in it `seconds` after it was entered.

    A context manager and a decorator.  None: no limit.  Where the deadline passes,
    DeadlineExceeded is raised.
    """

    def __new__(cls, seconds: float | None) -> Self: ...

@final
class timeout_at(_Scope):
    """The same with a deadline, on the clock of time.monotonic()."""

    def __new__(cls, when: float | None) -> Self: ...

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
    """Raises DeadlineExceeded if the calling thread's deadline has passed."""

def preloaded() -> bool:
    """Whether the calls that libraries make are cut too, as they are when the library is
    preloaded.
    """

def _install_budget() -> None:
    """Has the budget of the process, if there is one, raised in the main thread."""
