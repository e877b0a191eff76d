"""Rows from wherever they are: files of three kinds, and anything that can be iterated."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from langchain_cerebras_demo.bulk.index import IdIndex
from langchain_cerebras_demo.bulk.lines import MAX_LINE_BYTES, open_input, read_lines
from langchain_cerebras_demo.bulk.problems import BulkInputError
from langchain_cerebras_demo.bulk.rows import Row
from langchain_cerebras_demo.bulk.tables import CsvFile, ParquetFile

_SHOWN_CHARACTERS = 200


class RowFile(Protocol):
    """A file that can be read from its beginning as often as one likes."""

    def rows(self) -> Iterator[Row]:
        """Every row in order, the unreadable ones with their ``problem``."""


class JsonLines:
    """A JSON value a line: an object with columns, a text, or a list of messages. Empty lines are passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self) -> Iterator[Row]:
        """Every row; one that is no JSON has its ``problem``."""
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
            return Row(number, line, None, f"line {line}: no UTF-8 at byte {wrong.start + 1}", data)
        return Row(number, line, None, f"line {line}: no JSON: {str(error)[:_SHOWN_CHARACTERS]}", data)


_KINDS: dict[str, Callable[[Path], RowFile]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".parquet": ParquetFile,
    ".pq": ParquetFile,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".json": JsonLines,
}


def open_file(path: str | os.PathLike[str]) -> RowFile:
    """The file by its ending: ``.jsonl``, ``.ndjson``, ``.csv``, ``.tsv``, ``.parquet``.

    Raises:
        BulkInputError: another ending, or no such file.
    """
    found = Path(path)
    kind = _KINDS.get(found.suffix.lower())
    if kind is None:
        raise BulkInputError(f"the input {str(found)!r} ends in none of {', '.join(_KINDS)}: rename it")
    if not found.is_file():
        why = (
            "is a folder"
            if found.is_dir()
            else "is no file that can be read twice"
            if found.exists()
            else "does not exist"
        )
        raise BulkInputError(f"the input {str(found)!r} {why}")
    return kind(found)


class Survey(NamedTuple):
    """What was found in a file before anything was sent: how many rows, and how many of them cannot be asked."""

    rows: int
    unusable: int


def survey(file: RowFile, why_not: Callable[[Row], str]) -> Survey:
    """Reads the whole file once: a million rows of 100 bytes take two to four seconds.

    Args:
        file: the input.
        why_not: why a row cannot be asked; ``""`` where it can.

    Raises:
        BulkInputError: an id stands in two rows; no row at all can be asked; the file cannot be read.
    """
    ids = IdIndex()
    count = unusable = 0
    first_problem = ""
    for row in file.rows():
        count += 1
        refuse_double(ids, row)
        problem = why_not(row)
        if problem:
            unusable += 1
            first_problem = first_problem or problem
    if count and unusable == count:
        raise BulkInputError(f"none of the {count:,} rows can be asked. {first_problem}")
    return Survey(count, unusable)


def refuse_double(ids: IdIndex, row: Row) -> None:
    """Notes the row's id.

    Raises:
        BulkInputError: another row has it.
    """
    given = row.given_id
    if given is None:
        return  # a derived one holds the row's number
    other = ids.add(given, row.line or row.number)
    if other is not None:
        kind = "line" if row.line is not None else "row"
        raise BulkInputError(
            f"the id {str(given)[:_SHOWN_CHARACTERS]!r} stands in {kind} {other} and in {row.place}: make one of them another"
        )


async def iterate(values: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Row, None]:
    """The rows of any iterable, or async iterable.

    Raises:
        BulkInputError: an id comes a second time.
    """
    ids, number = IdIndex(), 0
    if isinstance(values, AsyncIterable):
        async for value in values:
            number += 1
            yield _checked(ids, Row(number, None, value))
    else:
        for value in values:
            number += 1
            yield _checked(ids, Row(number, None, value))


def _checked(ids: IdIndex, row: Row) -> Row:
    refuse_double(ids, row)
    return row
