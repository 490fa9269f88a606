# SPDX-License-Identifier: Apache-2.0
"""Where a block was at its deadline, for those who report it: the plugin and the middlewares."""
import traceback

import coopdl


def frames(error: coopdl.DeadlineExceeded, without: tuple[str, ...] = ()) -> traceback.StackSummary:
    """From the block inwards, but for frames of files that begin so; none if it ended by itself."""
    cause = error.__cause__
    if cause is None or cause.__traceback__ is None:
        return traceback.StackSummary()
    return traceback.StackSummary.from_list(
        [frame for frame in traceback.extract_tb(cause.__traceback__)
         if not frame.filename.startswith(without)])


def place(stack: traceback.StackSummary) -> str:
    return f'in {stack[-1].name} ({stack[-1].filename}:{stack[-1].lineno})' if stack else 'at its end'


def release(error: BaseException | None) -> None:
    """Lets go of what the block had: frameworks keep errors in cycles (error, traceback, frame,
    error), and its sockets would stay open until the collector runs."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
