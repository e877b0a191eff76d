"""The rows of a run, one at a time, with all that can be refused beforehand refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

from langchain_cerebras_demo.bulk.index import IdIndex
from langchain_cerebras_demo.bulk.items import Item
from langchain_cerebras_demo.bulk.problems import BulkInputError
from langchain_cerebras_demo.bulk.progress import Meter
from langchain_cerebras_demo.bulk.prompts import Prompts
from langchain_cerebras_demo.bulk.rows import Row
from langchain_cerebras_demo.bulk.sources import iterate, open_file, survey

_SKIPPED_AT_ONCE = 1000  # rows that are passed over before others on the loop have their turn


class Feed:
    """Makes items of what the user gave.

    Args:
        given: a path, or an iterable, async too.
        prompts: makes the prompts.
        meter: is told how many rows there are, and how many were skipped.
        go_on: raises where the run was stopped meanwhile.
    """

    def __init__(self, given: Any, prompts: Prompts, meter: Meter, go_on: Callable[[], None]) -> None:
        self.path = Path(given) if isinstance(given, str | os.PathLike) else None
        self._given = given
        self._prompts = prompts
        self._meter = meter
        self._go_on = go_on

    async def open(self, stack: AsyncExitStack) -> AsyncGenerator[Row, None]:
        """The rows. A file has been read through once by then.

        Raises:
            BulkInputError: the file cannot be used.
        """
        if self.path is None:
            _check_iterable(self._given)
            return await stack.enter_async_context(aclosing(self._rows_of_an_iterable()))
        file = open_file(self.path)
        found = await asyncio.to_thread(survey, file, self._why_not)
        self._meter.total = found.rows
        return await stack.enter_async_context(aclosing(_each(file.rows())))

    async def items(self, rows: AsyncGenerator[Row, None], done: IdIndex | None) -> AsyncGenerator[Item, None]:
        """The items of the rows that are not done."""
        async for row in rows:
            row_id = row.id
            if done is not None and row_id in done:
                self._meter.skipped += 1
                if self._meter.skipped % _SKIPPED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                continue
            yield self._prompts.to_item(row, row_id)

    def _why_not(self, row: Row) -> str:
        self._go_on()
        return self._prompts.why_not(row)

    async def _rows_of_an_iterable(self) -> AsyncGenerator[Row, None]:
        """It can be looked at once alone: if its first row cannot be asked, none will be."""
        if hasattr(self._given, "__len__"):
            self._meter.total = len(self._given)
        async with aclosing(iterate(self._given)) as rows:
            async for row in rows:
                if row.number == 1 and (problem := self._prompts.why_not(row)):
                    raise BulkInputError(problem)
                yield row


def _check_iterable(given: Any) -> None:
    if hasattr(given, "columns") and hasattr(given, "to_dict"):  # pandas: it would give the names of its columns
        raise BulkInputError('records is a table that is iterated by its columns: give table.to_dict("records")')
    if not isinstance(given, Iterable | AsyncIterable):
        raise BulkInputError(
            f"records of type {type(given).__name__} cannot be iterated: give a path, or texts, messages or dicts"
        )


async def _each(rows: Iterator[Row]) -> AsyncGenerator[Row, None]:
    for row in rows:
        yield row
