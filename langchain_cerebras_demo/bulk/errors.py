"""Errors that stop a bulk run or prevent it from starting. The error of a single row is in the row's record instead."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_cerebras_demo.errors import CerebrasError


class BulkError(CerebrasError):
    """The base class of the errors that a bulk run raises itself."""


class BulkInputError(BulkError, ValueError):
    """The input as a whole cannot be used: a missing file, a duplicate id, a missing column. The message names the place."""


class BulkOutputError(BulkError):
    """The output cannot be used or written: another run uses it, the settings differ, the disk is full. The message names the remedy."""


class BulkSettingsError(BulkOutputError):
    """The output was made with other settings, on which its answers depend.

    ``changed`` has the name of each changed setting, its former and its present value, as they are shown.
    """

    def __init__(self, message: str = "", *, changed: Sequence[tuple[str, str, str]] = ()) -> None:
        super().__init__(message)
        self.changed = tuple(changed)


class BulkStoppedError(BulkError):
    """The run ended before its input did. All answers are kept; ``resume=True`` continues from there.

    ``reason`` is one of ``STOP_REASONS``; ``retry_after`` is the number of seconds after which the run can be resumed, or
    ``None`` if that is not known.
    """

    def __init__(self, message: str = "", *, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


STOP_REASONS = ("refused", "limit", "budget", "deadline", "failing", "interrupted")
"""The reasons why a run stops: the key, the account, the model or a setting was refused; a limit is used up for more than two minutes; the
budget is spent; the deadline has passed; too many consecutive rows failed; a signal, or ``BulkRun.stop``."""
