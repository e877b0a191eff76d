"""A pool of workers that send rows, each one row at a time."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_cerebras_demo import errors
from langchain_cerebras_demo.bulk.budget import Spending
from langchain_cerebras_demo.bulk.errors import BulkOutputError, BulkStoppedError
from langchain_cerebras_demo.bulk.progress import Meter
from langchain_cerebras_demo.bulk.records import BulkRecord, Stored, to_failure, to_record
from langchain_cerebras_demo.bulk.reuse import Outcome, Reuse
from langchain_cerebras_demo.bulk.rows import Item
from langchain_cerebras_demo.client.call import waiting_out_refusals
from langchain_cerebras_demo.wire.request import PARAMETERS

# Rows per worker that have been read, and whose records have not been returned yet.
_READ_AHEAD = 2
_READ_AHEAD_IN_ORDER = 4

# Errors that all other rows would raise as well.
_FATAL = (
    errors.MissingKeyError,
    errors.KeyFormatError,
    errors.KeyHostError,
    errors.LocalServerError,
    errors.NotFoundError,  # the model or the address, which all rows share
)
_FATAL_STATUS = {401, 402}

# The parameters whose refusal concerns all rows. A limit of the answer's length may depend on the prompt.
_SETTINGS = frozenset({"model", "api_key", *PARAMETERS}) - {"max_tokens", "min_tokens"}
_NAMED = re.compile(r"\bbody\.(\w+)")

_DAY_SECONDS = 86_400


def deadline_passed() -> BulkStoppedError:
    """Return the error that ends the run at its deadline."""
    return BulkStoppedError("the deadline has passed", reason="deadline")


class Runnable(Protocol):
    """An object that answers prompts: a chat model, or any LangChain runnable."""

    async def ainvoke(self, input: Any) -> Any:  # noqa: A002 - LangChain's own name
        """Return the answer."""


async def ask(runnable: Runnable, item: Item) -> BulkRecord:
    """Send one row, and return its record with the answer or the error.

    Args:
        runnable: a chat model, ``model.with_structured_output(schema, include_raw=True)``, or any chain. A returned str becomes
            the ``content``, a message sets the fields of the record, and anything else becomes ``parsed``.
        item: the row.

    Errors of a row are not raised; cancellation and ``KeyboardInterrupt`` are.
    """
    return (await ask_row(runnable, item)).record


async def ask_row(runnable: Runnable, item: Item) -> Outcome:
    """Send one row, and also return the exception that caused an error; see ``ask``."""
    if item.problem:
        return Outcome(BulkRecord(**item.facts, error={"type": "BulkInputError", "message": item.problem}))
    began = time.perf_counter()
    problem: Exception | None = None
    with waiting_out_refusals() as sends:
        try:
            answer = await runnable.ainvoke(item.prompt)
            record = to_record(item.facts, answer, time.perf_counter() - began, sends)
        except Exception as error:  # noqa: BLE001 - any error of a row becomes its record
            problem = error.with_traceback(None)
            record = to_failure(item.facts, problem, time.perf_counter() - began, sends)
    return Outcome(record, problem, sends if sends.total else None)


def why_stop(outcome: Outcome) -> BulkStoppedError | None:
    """Return the error that ends the run if all other rows would fail too: a refused key or account, or a long-lasting limit."""
    record, problem = outcome.record, outcome.problem
    if isinstance(problem, _FATAL) or getattr(problem, "status_code", None) in _FATAL_STATUS:
        return BulkStoppedError(record.error_text, reason="refused")
    if isinstance(problem, errors.RateLimitError) and not problem.is_worth_waiting:
        seconds = problem.retry_after
        if seconds is None:  # a daily limit: part of it is available again at 00:00 UTC at the latest
            seconds = _DAY_SECONDS - time.time() % _DAY_SECONDS
        return BulkStoppedError(record.error_text, reason="limit", retry_after=seconds)
    return None


def why_settings(outcome: Outcome) -> BulkStoppedError | None:
    """Return the error that ends the run if a refusal names a setting that all rows share, such as the schema.

    This is only called until a row has been answered, which proves that the settings are valid.
    """
    problem = outcome.problem
    if isinstance(problem, errors.ContextOverflowError):
        return None
    if isinstance(problem, errors.BadRequestError | errors.UnprocessableEntityError):
        named = _NAMED.search(str(problem))
        param = re.split(r"[.\[]", str(problem.param or "").removeprefix("body."))[0]
        is_shared = param in _SETTINGS or (named is not None and named[1] in _SETTINGS)
    else:
        is_shared = isinstance(problem, errors.InvalidRequestError) and not str(problem).startswith("messages")
    if not is_shared:
        return None
    return BulkStoppedError(
        f"{outcome.record.error_text.rstrip('.')}. All rows are sent with the same settings: correct them and start again",
        reason="refused",
    )


@dataclass(frozen=True)
class BulkOptions:
    """The options of a worker pool.

    Args:
        concurrency: the number of workers.
        ordered: whether records are returned in the order of their rows. They are kept in the order of their arrival.
        give_up_after: consecutive failures that stop the run; ``None`` for no bound.
    """

    concurrency: int
    ordered: bool = False
    give_up_after: int | None = None


class WorkerPool:
    """The workers of one run.

    Args:
        runnable: answers the rows.
        items: the rows, read one at a time.
        options: the options.
        keep: called with the records of the rows that were finished together, before they are returned; a problem ends the run.
        meter: counts rows and requests.
        spending: decides whether the budget allows another row.
        reuse: finds answers that are already known.
    """

    def __init__(
        self,
        runnable: Runnable,
        items: AsyncGenerator[Item, None],
        options: BulkOptions,
        *,
        keep: Callable[[Sequence[BulkRecord]], Stored],
        meter: Meter,
        spending: Spending,
        reuse: Reuse,
    ) -> None:
        self._reuse = reuse
        self._runnable = runnable
        self._items = items
        self._options = options
        self._keep = keep
        self._meter = meter
        self._spending = spending
        self._stopped: BulkStoppedError | None = None
        self._failure: Exception | None = None
        self._consecutive_failures = 0
        self._has_answer = False
        self._rows_read = self._rows_returned = 0
        self._unkept: list[tuple[int, BulkRecord]] = []  # finished in this iteration of the loop
        self._early: dict[int, BulkRecord] = {}  # with `ordered`: records that wait for those of earlier rows
        self._finished: asyncio.Queue[BulkRecord | None] = asyncio.Queue()
        read_ahead = _READ_AHEAD_IN_ORDER if options.ordered else _READ_AHEAD
        self._room = asyncio.Semaphore(read_ahead * options.concurrency)
        self._reading = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None  # the worker that waits for the next row
        self._workers: list[asyncio.Task[None]] = []

    async def records(self) -> AsyncGenerator[BulkRecord, None]:
        """Start the workers, and yield the records until all workers have ended.

        Raises:
            BulkStoppedError: the run ended before all rows were sent.
            Exception: any exception of the items, or the problem of ``keep``.
        """
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._options.concurrency)]
        ending = asyncio.create_task(self._end_with_the_workers())
        try:
            while (record := await self._finished.get()) is not None:
                self._room.release()
                yield record
        finally:
            self.cancel()
            await ending
        if self._failure is not None:
            raise self._failure
        if self._stopped is not None:
            raise self._stopped

    def stop(self, why: BulkStoppedError, grace: float | None = None) -> None:
        """Start no further row, and do not wait for the next one; rows in flight are finished.

        Args:
            why: the error to raise at the end.
            grace: seconds after which rows in flight are cancelled; ``None`` to wait for them.
        """
        self._stopped = self._stopped or why
        self._stop_reading()
        if grace is not None:
            asyncio.get_running_loop().call_later(grace, self.cancel)

    def cancel(self) -> None:
        """Cancel the rows in flight."""
        for worker in self._workers:
            worker.cancel()

    async def _end_with_the_workers(self) -> None:
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._keep_finished()  # eager tasks end before the scheduled call
        for position in sorted(self._early):  # answered, although earlier rows were not finished
            self._finished.put_nowait(self._early[position])
        self._finished.put_nowait(None)

    async def _work(self) -> None:
        try:
            while await self._work_once():
                pass
        except Exception as problem:  # noqa: BLE001 - raised where the records are read
            self._fail(problem)

    def _fail(self, problem: Exception) -> None:
        self._failure = self._failure or problem
        self._room.release()  # a row is not returned, and workers may wait for room
        self._stop_reading()
        # If answers can no longer be stored, rows in flight are cancelled; otherwise, they are finished.
        if isinstance(problem, BulkOutputError):
            self.cancel()

    async def _work_once(self) -> bool:
        """Send one row, and return whether there may be another."""
        await self._room.acquire()
        async with self._reading:
            item = await self._next_item()
            if item is None:
                self._room.release()
                return False
            position, self._rows_read = self._rows_read, self._rows_read + 1
            self._spending.begin()
            self._meter.in_flight += 1
        outcome: Outcome | None = None
        try:
            outcome = await self._reuse.ask(item, self._send)
        finally:  # also after a cancellation
            self._meter.in_flight -= 1
            self._spend(outcome)
        why = self._judge(item, outcome)
        if why is not None:
            self.stop(why)
        if why is not None and why.reason != "failing":
            self._room.release()  # the row did not cause this, and is left for the next run
        else:
            self._finish(position, outcome.record)
            await asyncio.sleep(0)  # until it is kept: if the process is killed, only what was in flight is sent again
        if self._reuse.problem is not None:
            raise self._reuse.problem
        return True

    async def _send(self, item: Item) -> Outcome:
        return await ask_row(self._runnable, item)

    def _spend(self, outcome: Outcome | None) -> None:
        """Count what was sent for a row: by the requests of our models, else by the answer of a model of another package."""
        tokens, requests, usd = 0, 0, 0.0
        if outcome is not None:
            record, _, sends = outcome
            requests = record.attempts
            if sends is not None:
                tokens, usd = sends.total_tokens, sends.usd
            elif requests:
                tokens, usd = record.total_tokens, self._meter.cost_usd(record)
        self._spending.end(tokens, requests, usd)
        self._meter.requests, self._meter.tokens = self._spending.requests, self._spending.tokens
        self._meter.usd = self._spending.usd

    async def _next_item(self) -> Item | None:
        if self._is_ending:
            return None
        if self._spending.may_ask():
            return await self._read()
        if self._meter.in_flight > 0:  # when these rows are finished, their workers ask again
            return None
        item = await self._read()
        if item is None:
            return None
        if self._spending.is_late:
            self.stop(deadline_passed())
        elif item.problem or self._reuse.is_known(item):  # costs nothing
            return item
        else:
            self.stop(BulkStoppedError(f"the budget is spent: {self._spending}", reason="budget"))
        return None

    async def _read(self) -> Item | None:
        """Return the next row; ``None`` at the end of the input, or if the run ends before there is one."""
        self._reader = asyncio.current_task()
        try:
            item = await anext(self._items, None)
        except asyncio.CancelledError:
            if not self._is_ending:
                raise
            return None
        finally:
            self._reader = None
        return None if self._is_ending else item

    def _stop_reading(self) -> None:
        """Do not wait for the next row any longer: a source may give it much later, or never."""
        if self._reader is not None:
            self._reader.cancel()

    @property
    def _is_ending(self) -> bool:
        return self._stopped is not None or self._failure is not None

    def _judge(self, item: Item, outcome: Outcome) -> BulkStoppedError | None:
        """Return why the run must end after this row; ``None`` if it continues."""
        if outcome.problem is None:
            if outcome.record.is_good:
                self._consecutive_failures = 0
                self._has_answer = True
            return None
        why = why_stop(outcome) or (None if self._has_answer else why_settings(outcome))
        if why is not None:
            return why
        self._consecutive_failures += 1
        if self._consecutive_failures == self._options.give_up_after:
            return BulkStoppedError(
                f"{self._consecutive_failures} consecutive rows failed, the last ({item.place}) with "
                f"{outcome.record.error_text}",
                reason="failing",
            )
        return None

    def _finish(self, position: int, record: BulkRecord) -> None:
        """Keep a record in the next iteration of the loop, together with others: one write takes a fraction of the time of many."""
        if not self._unkept:
            asyncio.get_running_loop().call_soon(self._keep_finished)
        self._unkept.append((position, record))

    def _keep_finished(self) -> None:
        """Keep the finished records, and return each when its turn comes."""
        finished, self._unkept = self._unkept, []
        if not finished:
            return
        kept, problem = self._keep([record for _, record in finished])
        if problem is not None:
            finished = [(position, record) for position, record in finished if any(record is one for one in kept)]
        for position, record in finished:
            self._reuse.forget(record)
            self._meter.note(record)
            if self._options.ordered:
                self._early[position] = record
            else:
                self._finished.put_nowait(record)
        while (following := self._early.pop(self._rows_returned, None)) is not None:
            self._rows_returned += 1
            self._finished.put_nowait(following)
        if problem is not None:
            self._fail(problem)
