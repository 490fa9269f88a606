# SPDX-License-Identifier: Apache-2.0
"""The extension: scopes, and how an expiry becomes an exception.  Use it as `coopdl`."""
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TypeVar, final
from typing_extensions import ParamSpec

_P = ParamSpec('_P')
_R = TypeVar('_R')

class DeadlineExceeded(TimeoutError):
    """A deadline passed before the block was left."""

    scope: timeout | None
    """The scope whose deadline it was; None for the process's own, the budget."""

class DeadlineInsists(BaseException):
    """Raised in the place of a DeadlineExceeded that was swallowed.

    `except Exception` does not catch it.  The scope turns it into DeadlineExceeded.
    """

@final
class timeout:
    """timeout(seconds) -> a scope: a block that ends within that many seconds.

    None means no limit.  To be used in a `with` statement, once at a time, or as a
    decorator, for each call anew.  At the deadline DeadlineExceeded is raised in the thread
    that is in the block.
    """

    def __new__(cls, seconds: float | None, /) -> timeout: ...
    def when(self) -> float | None:
        """The deadline, as time.monotonic() tells the time; None if there is none."""
    def reschedule(self, when: float | None, /) -> None:
        """Gives the scope another deadline, earlier or later."""
    def expired(self) -> bool:
        """Whether the deadline passed before the block was left."""
    def __enter__(self) -> timeout:
        """Begins the block."""
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> Literal[False]:
        """Ends the block; raises DeadlineExceeded if the body was cut and hid it."""
    def __call__(self, function: Callable[_P, _R], /) -> Callable[_P, _R]:
        """Decorates a function: each call of it is a block of its own."""

@final
class shield:
    """shield() -> a block that no deadline from outside it cuts or raises in."""

    def __new__(cls) -> shield: ...
    def __enter__(self) -> shield:
        """Begins the block."""
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> Literal[False]:
        """Ends the block."""

def timeout_at(when: float | None, /) -> timeout:
    """timeout, but for an absolute deadline, as time.monotonic() tells the time."""

def remaining() -> float | None:
    """What is left of the deadline that rules this thread: 0.0 once it has passed, or None."""

def deadline() -> float | None:
    """The deadline that rules this thread, as time.monotonic() tells the time, or None."""

def check() -> None:
    """Raises DeadlineExceeded if a deadline of this thread has passed."""

def preloaded() -> bool:
    """Whether libc's blocking calls in this process go through the library."""

def _install_budget() -> None:
    """Has the budget raise DeadlineExceeded in the main thread."""
