"""The rows of a run, from files, tables in memory and iterables."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing, closing
from pathlib import Path
from typing import Any

from langchain_cerebras_demo.bulk.answered import Answered
from langchain_cerebras_demo.bulk.errors import BulkInputError
from langchain_cerebras_demo.bulk.files import RowFile, open_file
from langchain_cerebras_demo.bulk.progress import Meter
from langchain_cerebras_demo.bulk.rows import IdIndex, Item, Prompts, Row

_SHOWN_CHARACTERS = 200
_SKIPS_PER_PAUSE = 1000  # rows to skip before other tasks may run
_ROWS_PER_SLICE = 1000


class Source:
    """The input of a run: counted and checked, then turned into items one at a time.

    Args:
        given: a path, a table, or an iterable, async ones included.
        prompts: makes the prompts.
        meter: receives the number of rows, and of those that were skipped.
        check_stop: raises if the run was stopped in the meantime.
        kind: the format of the file, in place of its suffix.

    Attributes:
        label: a short name of the input, for people.
        is_read: whether all rows have been taken.
    """

    def __init__(
        self, given: Any, prompts: Prompts, meter: Meter, check_stop: Callable[[], None], kind: str | None = None
    ) -> None:
        self.path = Path(given) if isinstance(given, str | os.PathLike) else None
        self.is_read = False
        self.label = self.path.name if self.path is not None else f"a {type(given).__name__}"
        if self.path is None and hasattr(given, "__len__"):
            self.label += f" of {len(given):,} rows"
        self._given = given
        self._prompts = prompts
        self._meter = meter
        self._check_stop = check_stop
        self._kind = kind
        self._has_prompt = False
        self._types: dict[str, Any] = {}
        if kind is not None and self.path is None:
            raise ValueError(f"format={kind!r} is only for files, but the rows are a {type(given).__name__}")

    async def open(self, stack: AsyncExitStack) -> AsyncGenerator[Row, None]:
        """Return the rows. A file is read once completely before that.

        Raises:
            BulkInputError: the input cannot be used.
        """
        if self.path is None:
            _check_iterable(self._given)
            self._types = types_of_table(self._given)
            return await stack.enter_async_context(aclosing(self._rows_of_iterable()))
        file = await asyncio.to_thread(open_file, self.path, self._kind)
        self._meter.total = await asyncio.to_thread(survey, file, self._why_not)
        self._types = await asyncio.to_thread(getattr(file, "types", dict))
        return await stack.enter_async_context(aclosing(_rows_of_file(file)))

    async def items(self, rows: AsyncGenerator[Row, None], done: Answered | None) -> AsyncGenerator[Item, None]:
        """Yield the items of the rows that have no answer in ``done``, or whose prompt has changed."""
        async for row in rows:
            item = self._prompts.to_item(row, row.id)
            known = None if done is None else done.find_row(item.id)
            if done is not None and known is not None:
                if known.prompt_hash in {"", item.prompt_hash}:
                    done.note_number(item.id, row.number)
                    self._meter.skipped += 1
                    if self._meter.skipped % _SKIPS_PER_PAUSE == 0:
                        await asyncio.sleep(0)
                    continue
                self._meter.changed += 1
            yield item
        self.is_read = True

    def items_again(self) -> Iterator[Item]:
        """Yield all items, if the rows can be read more than once.

        Raises:
            BulkInputError: they cannot.
        """
        if self.path is not None:
            rows = open_file(self.path, self._kind).rows()
        else:
            _check_iterable(self._given)
            values = rows_of_table(self._given)
            if isinstance(values, AsyncIterable) or iter(values) is values:
                raise BulkInputError(
                    f"the rows of a {type(self._given).__name__} can be read only once: use a list, a table or a file"
                )
            rows = (Row(number, None, value) for number, value in enumerate(values, 1))
        for row in rows:
            yield self._prompts.to_item(row, row.id)

    def types(self) -> dict[str, Any]:
        """Return the Arrow types of the columns as the run began; none if the input has none."""
        return self._types

    def _why_not(self, row: Row) -> str:
        self._check_stop()
        problem = self._prompts.why_not(row)
        if not problem and not self._has_prompt:  # finds a template that fits no row before anything is sent
            problem = self._prompts.to_item(row, row.id).problem
            self._has_prompt = not problem
        return problem

    async def _rows_of_iterable(self) -> AsyncGenerator[Row, None]:
        """Yield the rows. An iterable cannot be read twice, so if its first row cannot be sent, no row is."""
        if hasattr(self._given, "__len__"):
            self._meter.total = len(self._given)
        async with aclosing(iterate(rows_of_table(self._given))) as rows:
            async for row in rows:
                if row.number == 1 and (problem := self._prompts.to_item(row, row.id).problem):
                    raise BulkInputError(problem)
                yield row


def _check_iterable(given: Any) -> None:
    if hasattr(given, "collect_schema") and hasattr(given, "collect"):
        raise BulkInputError("records is a LazyFrame, which has no rows yet: pass frame.collect()")
    if not isinstance(given, Iterable | AsyncIterable) and rows_of_table(given) is given:
        raise BulkInputError(
            f"records of type {type(given).__name__} cannot be iterated: use a path, a table, or an iterable of texts, messages or dicts"
        )


def rows_of_table(given: Any) -> Any:
    """Return the rows of a pandas, Polars or Arrow table as dicts; anything else unchanged."""
    if hasattr(given, "iter_slices") and hasattr(given, "to_dicts"):
        return _Rows(lambda: (row for part in given.iter_slices(_ROWS_PER_SLICE) for row in part.to_dicts()))
    if hasattr(given, "iloc") and hasattr(given, "to_dict"):
        return _Rows(lambda: _rows_of_pandas(given))
    if hasattr(given, "schema") and hasattr(given, "to_batches"):
        return _Rows(lambda: (row for part in given.to_batches(_ROWS_PER_SLICE) for row in part.to_pylist()))
    if hasattr(given, "read_next_batch"):  # a reader, which reads once
        return (row for part in given for row in part.to_pylist())
    if hasattr(given, "schema") and hasattr(given, "to_pylist"):  # a record batch
        return _Rows(lambda: iter(given.to_pylist()))
    return given


class _Rows:
    """Rows that can be iterated repeatedly."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return self._make()


def _rows_of_pandas(given: Any) -> Iterator[Any]:
    """Yield the rows of a frame as dicts, or the values of a series; NaN, NaT and NA become null."""
    for start in range(0, len(given), _ROWS_PER_SLICE):
        part = given.iloc[start : start + _ROWS_PER_SLICE]
        part = part.astype(object).where(part.notna(), None)
        yield from part.to_dict("records") if hasattr(part, "columns") else part.tolist()


def types_of_table(given: Any) -> dict[str, Any]:
    """Return the Arrow types of the columns of a table in memory; none for other inputs, or without pyarrow."""
    try:
        if hasattr(given, "iter_slices") and hasattr(given, "to_arrow"):
            schema = given.head(0).to_arrow().schema
        elif hasattr(given, "iloc") and hasattr(given, "columns"):
            schema = importlib.import_module("pyarrow").Schema.from_pandas(given, preserve_index=False)
        else:
            schema = getattr(given, "schema", None)
        return dict(zip(schema.names, schema.types, strict=True))
    except Exception:  # noqa: BLE001 - the types are then those of the values
        return {}


async def _rows_of_file(file: RowFile) -> AsyncGenerator[Row, None]:
    for row in file.rows():
        yield row


def survey(file: RowFile, why_not: Callable[[Row], str]) -> int:
    """Read the whole file once, and return its number of rows.

    Args:
        file: the input.
        why_not: returns why a row cannot be sent; ``""`` if it can.

    Raises:
        BulkInputError: two rows have the same id; no row can be sent; the file cannot be read.
    """
    count = unusable = 0
    first_problem = ""
    with closing(IdIndex()) as ids:
        for row in file.rows():
            count += 1
            check_id(ids, row)
            if problem := why_not(row):
                unusable += 1
                first_problem = first_problem or problem
    if count and unusable == count:
        raise BulkInputError(f"none of the {count:,} rows can be sent. {first_problem}")
    return count


async def iterate(values: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Row, None]:
    """Yield the rows of an iterable, or async iterable.

    Raises:
        BulkInputError: two rows have the same id.
    """
    number = 0
    with closing(IdIndex()) as ids:
        if isinstance(values, AsyncIterable):
            async for value in values:
                number += 1
                row = Row(number, None, value)
                check_id(ids, row)
                yield row
        else:
            for value in values:
                number += 1
                row = Row(number, None, value)
                check_id(ids, row)
                yield row


def check_id(ids: IdIndex, row: Row) -> None:
    """Add the row's given id to the index. Derived ids contain the row's number, and so are unique.

    Raises:
        BulkInputError: another row has it.
    """
    given = row.given_id
    other = None if given is None else ids.add(given, row.line or row.number)
    if other is not None:
        kind = "line" if row.line is not None else "row"
        raise BulkInputError(
            f"the id {str(given)[:_SHOWN_CHARACTERS]!r} is used in {kind} {other} and in {row.place}: change one of them"
        )
