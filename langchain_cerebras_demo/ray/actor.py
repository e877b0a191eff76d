"""What an actor does with the blocks of rows that Ray hands to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from langchain_cerebras_demo.bulk.asking import asked
from langchain_cerebras_demo.bulk.items import Item
from langchain_cerebras_demo.bulk.patience import said, why_stop
from langchain_cerebras_demo.bulk.problems import BulkInputError, BulkStoppedError
from langchain_cerebras_demo.bulk.records import BulkRecord
from langchain_cerebras_demo.chat_models import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.bulk_support import without_runs
from langchain_cerebras_demo.ray.limiting import share_limits

_CLOSE_SECONDS = 5.0


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read and written.

    Args:
        id: names the row.
        prompt: a text, or a list of messages as the API has them.
        output: the answer's text; null where there is none.
        error: null, or ``"RateLimitError: …"``.
        record: the whole record as JSON, as in the lines of a bulk output; ``None`` for no such column.
    """

    id: str
    prompt: str
    output: str
    error: str
    record: str | None = None

    def check(self, names: Sequence[str]) -> None:
        """Raises ``BulkInputError`` where the table with columns of these names cannot be asked, or would lose one."""
        for given, name in (("id_column", self.id), ("prompt_column", self.prompt)):
            if name not in names:
                shown = ", ".join(map(repr, names[:20])) or "none"
                raise BulkInputError(f"{given}={name!r}: there is no such column; the columns are {shown}")
        written = {"output_column": self.output, "error_column": self.error, "record_column": self.record}
        for given, new in written.items():
            if new in names:
                raise BulkInputError(f"{given}={new!r}: there is a column of that name: give another, or drop it")
        if len(set(written.values())) < len(written):
            raise BulkInputError(f"two columns to write have one name: {written}")

    def fill(self, table: pa.Table, records: Sequence[BulkRecord]) -> pa.Table:
        """The table with what came of its rows. The types are given: blocks of nothing but nulls must fit the others."""
        table = table.append_column(self.output, pa.array(map(_to_text, records), pa.string()))
        table = table.append_column(self.error, pa.array(map(_to_error, records), pa.string()))
        if self.record is not None:
            table = table.append_column(self.record, pa.array((one.to_json() for one in records), pa.string()))
        return table


class Order:
    """What every actor is to do. Shows nothing but the model's name: Ray writes the text of its arguments into plans.

    Args:
        model: what is asked.
        columns: the names of the columns.
        in_flight: rows that one actor asks at once.
        account: the name of the actor that keeps the limits.
        desk: that actor; ``None`` where no limit is shared.
    """

    def __init__(self, model: ChatCerebrasDemo, columns: Columns, in_flight: int, account: str, desk: Any) -> None:
        self.model = model
        self.columns = columns
        self.in_flight = in_flight
        self.account = account
        self.desk = desk

    def __repr__(self) -> str:
        return f"<Order for {self.model.model}>"


class Block:
    """The records of a block of rows, and who waits for them.

    Args:
        size: rows.
    """

    def __init__(self, size: int) -> None:
        self.records: asyncio.Future[list[BulkRecord]] = asyncio.get_running_loop().create_future()
        self._found: dict[int, BulkRecord] = {}
        self._size = size

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more: it has failed, or was given up."""
        return self.records.done()

    def put(self, row: int, record: BulkRecord) -> None:
        """What came of a row, counted from 1."""
        self._found[row] = record
        if len(self._found) == self._size and not self.is_over:
            self.records.set_result([self._found[number] for number in range(1, self._size + 1)])

    def fail(self, why: Exception) -> None:
        """It cannot be answered."""
        if not self.is_over:
            self.records.set_exception(why)


class AskRows:
    """What an actor is: a client for the blocks of rows that Ray hands to it.

    Args:
        order: what to do.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._runnable = without_runs(order.model)
        self._rows: deque[tuple[Block, Item]] = deque()
        self._workers: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly
        self._at_work = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        if order.desk is not None:
            share_limits(order.desk, order.account)

    async def __call__(self, table: pa.Table) -> pa.Table:
        """The block with its answers, a row for a row.

        Raises:
            BulkInputError: a column is missing.
            BulkStoppedError: the key or the account is refused, or a limit of the day is used up: so would all other rows be.
        """
        self._loop = asyncio.get_running_loop()
        columns = self._order.columns
        columns.check(table.column_names)
        pairs = zip(table[columns.id].to_pylist(), table[columns.prompt].to_pylist(), strict=True)
        items = [to_item(row_id, prompt, number) for number, (row_id, prompt) in enumerate(pairs, 1)]
        if not items:
            return columns.fill(table, [])
        block = Block(len(items))
        self._rows.extend((block, item) for item in items)
        for _ in range(min(len(items), self._order.in_flight - self._at_work)):
            self._at_work += 1
            worker = asyncio.ensure_future(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return columns.fill(table, await block.records)

    async def _work(self) -> None:
        """Asks row after row, of whatever block is next, until there are none."""
        while self._rows:
            await self._ask(*self._rows.popleft())
        self._at_work -= 1  # here and not in a callback: a block that comes before that would find nobody

    async def _ask(self, block: Block, item: Item) -> None:
        if block.is_over:
            return
        try:
            record, problem = await asked(self._runnable, item)
            if problem is not None:
                _stop_if_hopeless(record, problem)
            block.put(item.row, record)
        except Exception as why:  # noqa: BLE001 - raised where the block is waited for
            block.fail(why)

    def close(self) -> None:
        """Closes the connections. To be called from outside of the loop that the rows were asked on; may be called again."""
        loop, self._loop = self._loop, None
        if loop is not None and loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(self._order.model.aclose(), loop)
            with contextlib.suppress(Exception):  # the process ends: whatever is open then, is closed by the system
                closing.result(_CLOSE_SECONDS)

    def __del__(self) -> None:
        """Ray lets go of an actor that has nothing more to do, at the end or when the pool shrinks; all is answered by then."""
        self.close()


def to_item(row_id: Any, prompt: Any, number: int) -> Item:
    """A row, ready to be asked; or with what is wrong with it."""
    problem = ""
    if isinstance(prompt, list) and prompt:
        prompt = [_without_nulls(message) for message in prompt]
    elif not isinstance(prompt, str) or not prompt.strip():
        problem = (
            f"the prompt is {'empty' if prompt in (None, '', []) else type(prompt).__name__}: give a text or messages"
        )
    return Item(row_id, prompt, number, problem=problem)


def _without_nulls(message: Any) -> Any:
    """Arrow gives each struct the fields of all others."""
    return (
        {name: value for name, value in message.items() if value is not None} if isinstance(message, dict) else message
    )


def _stop_if_hopeless(record: BulkRecord, problem: Exception) -> None:
    why = why_stop(record, problem)
    if why is not None:
        when = "once that is settled"
        if why.retry_after is not None:
            when = time.strftime("from %Y-%m-%d %H:%M:%S UTC on", time.gmtime(time.time() + why.retry_after))
        raise BulkStoppedError(f"{why}; run again with done= {when}", reason=why.reason, retry_after=why.retry_after)


def _to_text(record: BulkRecord) -> str | None:
    content = record.content
    if record.error is not None or content is None:
        return None
    if isinstance(content, str):
        return content
    return "".join(block if isinstance(block, str) else str(block.get("text") or "") for block in content)


def _to_error(record: BulkRecord) -> str | None:
    return said(record) or None
