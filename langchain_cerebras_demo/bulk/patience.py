"""What a failure means for the rows that are still to come: wait, go on, or give up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from langchain_cerebras_demo import errors
from langchain_cerebras_demo.bulk.asking import Asked, Runnable, asked
from langchain_cerebras_demo.bulk.items import Item
from langchain_cerebras_demo.bulk.problems import BulkStoppedError
from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.policy.rate_limit import REQUESTS_A_DAY
from langchain_cerebras_demo.policy.retry import LONGEST_WISH

# A refusal for a limit that passes is no failure of the row. The limiter makes it wait; these are the times it may come back.
_MOST_REFUSALS = 10
_LONGEST_WAIT = 8.0

# Whoever is refused like this will be refused a million times.
_HOPELESS = (errors.MissingKeyError, errors.KeyFormatError, errors.KeyHostError, errors.LocalServerError)
_HOPELESS_STATUS = {401, 402}


async def ask_patiently(runnable: Runnable, item: Item, is_over: Callable[[], bool] = lambda: False) -> Asked:
    """As ``asked``; a limit that passes within two minutes is waited for, beyond the model's own retries.

    Args:
        runnable: what is asked.
        item: the row.
        is_over: whether there is no use in waiting any more.
    """
    attempts = 0
    for refusal in range(_MOST_REFUSALS):
        record, problem = await asked(runnable, item)
        attempts += record.attempts
        if not isinstance(problem, errors.RateLimitError) or is_for_long(problem) or is_over():
            break
        await asyncio.sleep(problem.retry_after or min(_LONGEST_WAIT, 2.0**refusal) * random.random())  # noqa: S311 - jitter
    return Asked(replace(record, attempts=attempts) if attempts != record.attempts else record, problem)


def hopeless(record: BulkRecord, problem: Exception) -> BulkStoppedError | None:
    """What ends a run, where a row's failure will be that of all others: the key or the account is refused, the day is used up.

    Args:
        record: the row's.
        problem: the exception behind its error.
    """
    if isinstance(problem, _HOPELESS) or getattr(problem, "status_code", None) in _HOPELESS_STATUS:
        return BulkStoppedError(said(record), reason="refused")
    if isinstance(problem, errors.RateLimitError) and is_for_long(problem):
        return BulkStoppedError(said(record), reason="limit", retry_after=problem.retry_after)
    return None


def is_for_long(problem: errors.RateLimitError) -> bool:
    """Whether the limit is one of the day, or over in more than two minutes."""
    return problem.limit == REQUESTS_A_DAY or (problem.retry_after or 0.0) > LONGEST_WISH


def said(record: BulkRecord) -> str:
    """The error of a record in words; ``""`` where it has none."""
    return f"{record.error['type']}: {record.error['message']}" if record.error else ""
