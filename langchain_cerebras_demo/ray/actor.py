"""The actor that answers the blocks of rows that Ray passes to it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pyarrow as pa

from langchain_cerebras_demo.bulk.errors import BulkInputError, BulkStoppedError
from langchain_cerebras_demo.bulk.records import BulkRecord, text_of
from langchain_cerebras_demo.bulk.reuse import Outcome
from langchain_cerebras_demo.bulk.rows import Item
from langchain_cerebras_demo.bulk.workers import ask_row, why_stop
from langchain_cerebras_demo.chat_models import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.bulk_support import without_runs
from langchain_cerebras_demo.ray.limiting import share_limits

_CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read and written.

    Args:
        id: the row's id.
        prompt: a text, or a list of messages in the API's form.
        output: the answer's text; null if there is none.
        error: null, or the error as text, such as ``"RateLimitError: …"``.
        record: the whole record as JSON, as in a line of a bulk output; ``None`` for no such column.
    """

    id: str
    prompt: str
    output: str
    error: str
    record: str | None = None

    def check(self, names: Sequence[str]) -> None:
        """Check the columns of a table.

        Raises:
            BulkInputError: a column is missing, or would be overwritten.
        """
        for given, name in (("id_column", self.id), ("prompt_column", self.prompt)):
            if name not in names:
                shown = ", ".join(map(repr, names[:20])) or "none"
                raise BulkInputError(f"{given}={name!r}: there is no such column; the columns are {shown}")
        written = {"output_column": self.output, "error_column": self.error, "record_column": self.record}
        for given, new in written.items():
            if new in names:
                raise BulkInputError(
                    f"{given}={new!r}: there is already a column of that name: use another name, or drop it"
                )
        if len(set(written.values())) < len(written):
            raise BulkInputError(f"two columns to write have the same name: {written}")

    def fill(self, table: pa.Table, records: Sequence[BulkRecord]) -> pa.Table:
        """Return the table with the results of its rows. The types are explicit, so that a block of nulls matches other blocks."""
        table = table.append_column(self.output, pa.array(map(_to_text, records), pa.string()))
        errors = (record.error_text or None for record in records)
        table = table.append_column(self.error, pa.array(errors, pa.string()))
        if self.record is not None:
            table = table.append_column(self.record, pa.array((one.to_json() for one in records), pa.string()))
        return table


class ActorOptions:
    """The options of all actors of a job. Its ``repr`` shows only the model's name, because Ray writes it into plans.

    Args:
        model: answers the rows.
        columns: the names of the columns.
        in_flight: rows that one actor sends at once.
        account: the name of the actor that holds the limiter.
        limiter: the handle of that actor; ``None`` if no limits are shared.
        trace: the span that started the job, as W3C headers; empty without a span.
    """

    def __init__(
        self,
        model: ChatCerebrasDemo,
        columns: Columns,
        in_flight: int,
        account: str,
        limiter: Any,
        *,
        trace: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.columns = columns
        self.in_flight = in_flight
        self.account = account
        self.limiter = limiter
        self.trace = dict(trace or {})

    def __repr__(self) -> str:
        return f"<ActorOptions for {self.model.model}>"


class Block:
    """The records of a block of rows.

    Args:
        size: the number of rows.

    Attributes:
        records: a future that is done when all rows are.
    """

    def __init__(self, size: int) -> None:
        self.records: asyncio.Future[list[BulkRecord]] = asyncio.get_running_loop().create_future()
        self._found: dict[int, BulkRecord] = {}
        self._size = size

    @property
    def is_over(self) -> bool:
        """Whether its result is no longer needed, because it has failed or was cancelled."""
        return self.records.done()

    def put(self, position: int, record: BulkRecord) -> None:
        """Add the record of the row at a position of the block, from 0."""
        self._found[position] = record
        if len(self._found) == self._size and not self.is_over:
            self.records.set_result([self._found[position] for position in range(self._size)])

    def fail(self, why: Exception) -> None:
        """End the block with an error."""
        if not self.is_over:
            self.records.set_exception(why)


class AskRows:
    """The actor, which answers the blocks of rows that Ray passes to it.

    Args:
        options: the options of all actors of the job.
    """

    def __init__(self, options: ActorOptions) -> None:
        self._options = options
        self._runnable = without_runs(options.model)
        self._rows: deque[tuple[Block, int, Item]] = deque()
        self._workers: set[asyncio.Task[None]] = set()  # event loops hold only weak references to tasks
        self._running = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        if options.limiter is not None:
            share_limits(options.limiter, options.account)

    async def __call__(self, table: pa.Table) -> pa.Table:
        """Return the block with the results of its rows.

        Raises:
            BulkInputError: a column is missing.
            BulkStoppedError: the key or the account was refused, or a limit lasts for more than two minutes: all other rows
                would fail as well.
        """
        self._loop = asyncio.get_running_loop()
        columns = self._options.columns
        columns.check(table.column_names)
        pairs = zip(table[columns.id].to_pylist(), table[columns.prompt].to_pylist(), strict=True)
        items = [to_item(row_id, prompt) for row_id, prompt in pairs]
        if not items:
            return columns.fill(table, [])
        block = Block(len(items))
        self._rows.extend((block, position, item) for position, item in enumerate(items))
        for _ in range(min(len(items), self._options.in_flight - self._running)):
            self._running += 1
            worker = asyncio.ensure_future(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return columns.fill(table, await block.records)

    async def _work(self) -> None:
        """Send rows of all blocks, one after the other, until there are none left."""
        _continue_trace(self._options.trace)
        while self._rows:
            block, position, item = self._rows.popleft()
            if block.is_over:
                continue
            try:
                outcome = await ask_row(self._runnable, item)
                _stop_if_fatal(outcome)
                block.put(position, outcome.record)
            except Exception as why:  # noqa: BLE001 - raised by the task that awaits the block
                block.fail(why)
        self._running -= 1  # not in a callback, before which a new block would start too few workers

    def close(self) -> None:
        """Close the connections. Call it from outside the loop that sent the rows; it may be called repeatedly."""
        loop, self._loop = self._loop, None
        if loop is not None and loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(self._options.model.aclose(), loop)
            with contextlib.suppress(Exception):  # the process ends, and the operating system closes its connections
                closing.result(_CLOSE_SECONDS)

    def __del__(self) -> None:
        """Close the connections when Ray drops the actor, at the end or when the pool shrinks. All rows are answered before that."""
        self.close()


def current_trace() -> dict[str, str]:
    """Return the current span as W3C headers, if this process traces calls."""
    telemetry = sys.modules.get("langchain_cerebras_demo.telemetry")
    return {} if telemetry is None else telemetry.current_trace()


def _continue_trace(trace: Mapping[str, str]) -> None:
    """Make that span the parent of this task's spans, if tracing is installed in this process."""
    if trace:
        with contextlib.suppress(ImportError):
            import_module("langchain_cerebras_demo.telemetry").continue_trace(trace)


def to_item(row_id: Any, prompt: Any) -> Item:
    """Return a row that is ready to be sent, or has a ``problem``."""
    problem = ""
    if isinstance(prompt, list) and prompt:
        # In Arrow, each struct has the fields of all others, as nulls.
        prompt = [_without_nulls(message) if isinstance(message, dict) else message for message in prompt]
    elif not isinstance(prompt, str) or not prompt.strip():
        kind = "empty" if prompt in (None, "", []) else type(prompt).__name__
        problem = f"the prompt is {kind}: use a text or messages"
    return Item(row_id, prompt, 0, problem=problem)


def _without_nulls(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if value is not None}


def _stop_if_fatal(outcome: Outcome) -> None:
    why = why_stop(outcome)
    if why is None:
        return
    when = "after fixing this"
    if why.retry_after is not None:
        when = time.strftime("after %Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + why.retry_after))
    raise BulkStoppedError(f"{why}; run again with done= {when}", reason=why.reason, retry_after=why.retry_after)


def _to_text(record: BulkRecord) -> str | None:
    return None if record.error is not None else text_of(record.content)
