"""The rows of a run: read from JSON Lines, CSV and Parquet files, or taken from any iterable."""

from __future__ import annotations

import asyncio
import csv
import importlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing, closing
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from langchain_cerebras_demo.bulk.errors import BulkInputError
from langchain_cerebras_demo.bulk.progress import Meter
from langchain_cerebras_demo.bulk.rows import IdIndex, Item, Prompts, Row

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A row with a longer line fails: it would not fit any model's context window, and each worker may hold one."""

_BOM = b"\xef\xbb\xbf"
_PARQUET_ROWS_PER_READ = 256
_SHOWN_CHARACTERS = 200
_SKIPS_PER_PAUSE = 1000  # rows that are skipped before other tasks get their turn


class Source:
    """The input of a run: counted and checked, then turned into items one at a time.

    Args:
        given: a path, or an iterable, async ones included.
        prompts: makes the prompts.
        meter: receives the number of rows, and of those that were skipped.
        check_stop: raises if the run was stopped in the meantime.
    """

    def __init__(self, given: Any, prompts: Prompts, meter: Meter, check_stop: Callable[[], None]) -> None:
        self.path = Path(given) if isinstance(given, str | os.PathLike) else None
        self._given = given
        self._prompts = prompts
        self._meter = meter
        self._check_stop = check_stop

    async def open(self, stack: AsyncExitStack) -> AsyncGenerator[Row, None]:
        """Return the rows. A file has been read through once by then.

        Raises:
            BulkInputError: the input cannot be used.
        """
        if self.path is None:
            _check_iterable(self._given)
            return await stack.enter_async_context(aclosing(self._rows_of_iterable()))
        file = open_file(self.path)
        self._meter.total = await asyncio.to_thread(survey, file, self._why_not)
        return await stack.enter_async_context(aclosing(_rows_of_file(file)))

    async def items(self, rows: AsyncGenerator[Row, None], done: IdIndex | None) -> AsyncGenerator[Item, None]:
        """Yield the items of the rows whose id is not in ``done``."""
        async for row in rows:
            row_id = row.id
            if done is not None and row_id in done:
                self._meter.skipped += 1
                if self._meter.skipped % _SKIPS_PER_PAUSE == 0:
                    await asyncio.sleep(0)
                continue
            yield self._prompts.to_item(row, row_id)

    def _why_not(self, row: Row) -> str:
        self._check_stop()
        return self._prompts.why_not(row)

    async def _rows_of_iterable(self) -> AsyncGenerator[Row, None]:
        """Yield the rows. An iterable cannot be read twice: if its first row cannot be sent, none is."""
        if hasattr(self._given, "__len__"):
            self._meter.total = len(self._given)
        async with aclosing(iterate(self._given)) as rows:
            async for row in rows:
                if row.number == 1 and (problem := self._prompts.why_not(row)):
                    raise BulkInputError(problem)
                yield row


def _check_iterable(given: Any) -> None:
    if hasattr(given, "columns") and hasattr(given, "to_dict"):  # iterating pandas yields the names of its columns
        raise BulkInputError('records is a table that iterates over its columns: give table.to_dict("records")')
    if not isinstance(given, Iterable | AsyncIterable):
        raise BulkInputError(
            f"records of type {type(given).__name__} cannot be iterated: give a path, or texts, messages or dicts"
        )


class RowFile(Protocol):
    """A file that can be read repeatedly."""

    def rows(self) -> Iterator[Row]:
        """Yield every row in order, unreadable ones with their ``problem``."""


def open_file(path: str | os.PathLike[str]) -> RowFile:
    """Return the file by its suffix: ``.jsonl``, ``.ndjson``, ``.csv``, ``.tsv``, ``.parquet``.

    Raises:
        BulkInputError: another suffix, or no such file.
    """
    found = Path(path)
    kind = _KINDS.get(found.suffix.lower())
    if kind is None:
        raise BulkInputError(f"the input {str(found)!r} has none of the suffixes {', '.join(_KINDS)}: rename it")
    if found.is_dir():
        raise BulkInputError(f"the input {str(found)!r} is a folder")
    if not found.is_file():
        why = "is not a regular file, and cannot be read twice" if found.exists() else "does not exist"
        raise BulkInputError(f"the input {str(found)!r} {why}")
    return kind(found)


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
    """Add the row's own id to those seen. A derived one contains the row's number, and so is unique.

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


# -- kinds of files


def open_input(path: Path) -> BinaryIO:
    """Open the file for reading.

    Raises:
        BulkInputError: that is not possible; the message says why.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise BulkInputError(f"the input {str(path)!r} cannot be read: {error.strerror}") from None


def read_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    r"""Yield each line's number, from 1, and its bytes without the line break (``\n`` or ``\r\n``).

    A line above ``MAX_LINE_BYTES`` is skipped piece by piece, and yields ``None``. A BOM at the beginning is left out.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line.rstrip(b"\r\n")
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield number, None


class JsonLines:
    """A JSON value per line: an object with columns, a text, or a list of messages. Empty lines are skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self) -> Iterator[Row]:
        """Yield every row; one that is not valid JSON has its ``problem``."""
        with open_input(self._path) as file:
            number = 0
            for line, data in read_lines(file):
                if data is None:
                    number += 1
                    yield Row(number, line, None, f"line {line}: longer than {MAX_LINE_BYTES:,} bytes", b"")
                elif data.strip():
                    number += 1
                    yield _from_json(number, line, data)


def _from_json(number: int, line: int, data: bytes) -> Row:
    try:
        return Row(number, line, orjson.loads(data), raw=data)
    except orjson.JSONDecodeError as error:
        try:
            data.decode()
        except UnicodeDecodeError as wrong:
            return Row(number, line, None, f"line {line}: not UTF-8 at byte {wrong.start + 1}", data)
        return Row(number, line, None, f"line {line}: not valid JSON: {str(error)[:_SHOWN_CHARACTERS]}", data)


class CsvFile:
    """A table with a header line, in UTF-8; a ``.tsv`` file is separated by tabs.

    Raises:
        BulkInputError: it cannot be read, has no header, or two columns have the same name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else ","

    def rows(self) -> Iterator[Row]:
        """Yield every row, a dict of texts by column."""
        with open_input(self._path) as file:
            lines = _TextLines(file)
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            header = self._header(reader)
            number = 0
            while True:
                first_line = lines.number + 1
                try:
                    cells = _next_cells(reader)
                except StopIteration:
                    return
                except (csv.Error, UnicodeDecodeError, _LineTooLongError) as error:
                    number += 1
                    yield Row(number, first_line, None, f"line {first_line}: {_csv_problem(error)}")
                    continue
                if not cells:
                    continue
                number += 1
                if len(cells) == len(header):
                    yield Row(number, first_line, dict(zip(header, cells, strict=True)))
                else:
                    problem = f"line {first_line}: {len(cells)} cells, and the header has {len(header)} columns"
                    yield Row(number, first_line, None, problem, repr(cells).encode("utf-8", "surrogatepass"))

    def _header(self, reader: Iterator[list[str]]) -> list[str]:
        try:
            header = _next_cells(reader)
        except StopIteration:
            return []
        except (csv.Error, UnicodeDecodeError, _LineTooLongError) as error:
            raise BulkInputError(f"{str(self._path)!r}, line 1: no header: {_csv_problem(error)}") from None
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise BulkInputError(f"{str(self._path)!r}, line 1: two columns are named {twice!r}: rename one")
        return header


class _LineTooLongError(Exception):
    """A line of a CSV file is longer than ``MAX_LINE_BYTES``."""


class _TextLines:
    """The lines as text for ``csv``. Unlike a generator, it can be read further after an exception."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self._lines = read_lines(file)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None:
            raise _LineTooLongError
        return line.decode() + "\n"


def _next_cells(reader: Iterator[list[str]]) -> list[str]:
    """Return the next row. The process-wide bound of a cell's size is ours during this call only."""
    before = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(before)


def _csv_problem(error: Exception) -> str:
    if isinstance(error, _LineTooLongError):
        return f"longer than {MAX_LINE_BYTES:,} bytes"
    return f"not UTF-8 ({error.reason})" if isinstance(error, UnicodeDecodeError) else str(error)


class ParquetFile:
    """A Parquet file, read a few hundred rows at a time (extra ``parquet``).

    Raises:
        BulkInputError: pyarrow is missing, or the file is not a Parquet file.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise BulkInputError(
                f'{str(path)!r}: Parquet needs the extra "parquet": pip install "langchain-cerebras-demo[parquet]"'
            ) from None
        self._path = path

    def rows(self) -> Iterator[Row]:
        """Yield every row, a dict by column."""
        open_input(self._path).close()  # for its clearer error
        try:
            with closing(self._parquet.ParquetFile(self._path)) as file:
                number = 0
                for batch in file.iter_batches(batch_size=_PARQUET_ROWS_PER_READ):
                    for value in batch.to_pylist():
                        number += 1
                        yield Row(number, None, value)
        except (OSError, ValueError) as error:  # the bases of pyarrow's own errors
            raise BulkInputError(f"{str(self._path)!r} cannot be read as Parquet: {error}") from None


_KINDS: dict[str, Callable[[Path], RowFile]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".parquet": ParquetFile,
    ".pq": ParquetFile,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".json": JsonLines,
}
