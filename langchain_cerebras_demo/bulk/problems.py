"""What stops a bulk run, or keeps it from starting. What goes wrong with one row is no exception: it stands in its record."""

from __future__ import annotations

from langchain_cerebras_demo.errors import CerebrasError


class BulkError(CerebrasError):
    """The base of what a bulk run raises itself."""


class BulkInputError(BulkError, ValueError):
    """The input cannot be used as a whole: no such file, a doubled id, a column that no row has. Names the place."""


class BulkOutputError(BulkError):
    """The output cannot be used or written: another run has it, other settings made it, the disk is full. Says what to do."""


class BulkStoppedError(BulkError):
    """The run ended before its input did. All that was answered is kept; ``resume=True`` goes on from there.

    ``reason`` is one word of ``STOP_REASONS``, ``retry_after`` the seconds until it is worth coming back, where that is known.
    """

    def __init__(self, message: str = "", *, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


STOP_REASONS = ("refused", "limit", "budget", "failing", "interrupted")
"""Why a run stops: the key or the account is refused; a limit of the day is used up; the budget is spent; row after row has
failed; a signal or ``BulkRun.stop``."""
