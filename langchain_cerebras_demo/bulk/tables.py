"""Rows of tables: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from langchain_cerebras_demo.bulk.lines import MAX_LINE_BYTES, open_input, read_lines
from langchain_cerebras_demo.bulk.problems import BulkInputError
from langchain_cerebras_demo.bulk.rows import Row

_ROWS_A_READ = 256


class CsvFile:
    """A table with a header line, in UTF-8; ``.tsv`` files are parted by tabs.

    Raises:
        BulkInputError: it cannot be read, has no header, or two columns of one name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else ","

    def rows(self) -> Iterator[Row]:
        """Every row, a dict of texts by column."""
        with open_input(self._path) as file:
            lines = _Lines(file)
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            header = self._header(reader)
            number = 0
            while True:
                begins = lines.number + 1
                try:
                    cells = _next(reader)
                except StopIteration:
                    return
                except (csv.Error, UnicodeDecodeError, _TooLongError) as error:
                    number += 1
                    yield Row(number, begins, None, f"line {begins}: {_why(error)}")
                    continue
                if cells:
                    number += 1
                    yield _to_row(number, begins, header, cells)

    def _header(self, reader: Iterator[list[str]]) -> list[str]:
        try:
            header = _next(reader)
        except StopIteration:
            return []
        except (csv.Error, UnicodeDecodeError, _TooLongError) as error:
            raise BulkInputError(f"{str(self._path)!r}, line 1: no header: {_why(error)}") from None
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise BulkInputError(f"{str(self._path)!r}, line 1: two columns are named {twice!r}: rename one")
        return header


class _TooLongError(Exception):
    """A line above the bound."""


class _Lines:
    """The lines as text for ``csv``: it asks on after an exception, as it would not of a generator."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self._lines = read_lines(file)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None:
            raise _TooLongError
        return line.decode() + "\n"


def _next(reader: Iterator[list[str]]) -> list[str]:
    """The next row. The bound of a cell is the process': it is ours for this long alone."""
    before = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(before)


def _to_row(number: int, line: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        problem = f"line {line}: {len(cells)} cells under a header of {len(header)} columns"
        return Row(number, line, None, problem, repr(cells).encode("utf-8", "surrogatepass"))
    return Row(number, line, dict(zip(header, cells, strict=True)))


def _why(error: Exception) -> str:
    if isinstance(error, _TooLongError):
        return f"longer than {MAX_LINE_BYTES:,} bytes"
    if isinstance(error, UnicodeDecodeError):
        return f"no UTF-8 ({error.reason})"
    return str(error)


class ParquetFile:
    """A Parquet file, read a few hundred rows at a time (extra ``parquet``).

    Raises:
        BulkInputError: pyarrow is missing, or the file is none.
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
        """Every row, a dict by column."""
        open_input(self._path).close()  # its own words where it is missing
        try:
            with closing(self._parquet.ParquetFile(self._path)) as file:
                number = 0
                for batch in file.iter_batches(batch_size=_ROWS_A_READ):
                    for value in batch.to_pylist():
                        number += 1
                        yield Row(number, None, value)
        except (OSError, ValueError) as error:  # pyarrow's own are both, as it goes
            raise BulkInputError(f"{str(self._path)!r} cannot be read as Parquet: {error}") from None
