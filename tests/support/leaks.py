"""Whether an exception would show a secret to anybody who looks at it, however deep."""

from __future__ import annotations

import traceback

__all__ = ["all_that_shows"]


def all_that_shows(error: BaseException) -> str:
    """Everything that a log, a tracer or a debugger prints of an exception: its text, attributes, causes and frames.

    The frames are shown with their local variables, as ``traceback`` does with ``capture_locals=True``; those of the
    caller's too, so a test keeps its secret in a global.
    """
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.append(one)
            waiting += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
    shown = [part for one in seen for part in (str(one), repr(one), repr(one.args), repr(vars(one)))]
    for one in seen:
        shown += traceback.TracebackException.from_exception(one, capture_locals=True).format()
    return "\n".join(shown)
