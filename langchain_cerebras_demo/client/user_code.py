"""The user's line, to which warnings refer."""

from __future__ import annotations

import sys

_LIBRARIES = frozenset(
    {"langchain_cerebras_demo", "langchain_core", "asyncio", "concurrent", "contextlib", "threading"}
)


def user_stacklevel() -> int:
    """Return the ``stacklevel`` for a warning of the caller: the nearest frame of the user's code, or the caller's own caller.

    A synchronous call is sent on another thread, whose frames have no line of the user's.
    """
    frame, level = sys._getframe(1), 1  # noqa: SLF001 - `skip_file_prefixes` is new in Python 3.12
    while str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES:
        if frame.f_back is None:
            return 2
        frame, level = frame.f_back, level + 1
    return level
