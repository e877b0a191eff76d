"""What a failed row means for the rows still to come."""

from __future__ import annotations

import time

from langchain_cerebras_demo import errors
from langchain_cerebras_demo.bulk.problems import BulkStoppedError
from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.policy.retry import is_for_long

_DAY_SECONDS = 86_400

# Every other row would fail with these as well.
_HOPELESS = (errors.MissingKeyError, errors.KeyFormatError, errors.KeyHostError, errors.LocalServerError)
_HOPELESS_STATUS = {401, 402}


def why_stop(record: BulkRecord, problem: Exception) -> BulkStoppedError | None:
    """Return what ends the run if all other rows would fail like this one: a refused key or account, or a limit of the day.

    Args:
        record: the row's.
        problem: the exception behind its error.
    """
    if isinstance(problem, _HOPELESS) or getattr(problem, "status_code", None) in _HOPELESS_STATUS:
        return BulkStoppedError(said(record), reason="refused")
    if isinstance(problem, errors.RateLimitError) and is_for_long(problem):
        back = problem.retry_after
        if back is None:  # whether days begin at midnight or requests come back one by one, some are left by 00:00 UTC
            back = _DAY_SECONDS - time.time() % _DAY_SECONDS
        return BulkStoppedError(said(record), reason="limit", retry_after=back)
    return None


def said(record: BulkRecord) -> str:
    """Return the error of a record in words; ``""`` if it has none."""
    return f"{record.error['type']}: {record.error['message']}" if record.error else ""
