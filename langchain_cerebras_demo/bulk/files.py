"""Readers of input files: JSON, CSV, text and Parquet, optionally compressed with gzip."""

from __future__ import annotations

import codecs
import csv
import gzip
import importlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import orjson

from langchain_cerebras_demo.bulk import exact_json
from langchain_cerebras_demo.bulk.errors import BulkInputError
from langchain_cerebras_demo.bulk.rows import Row

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A row with a longer line fails: it would exceed every model's context window, and each worker may hold one in memory."""

_BOM = b"\xef\xbb\xbf"
_PARQUET_ROWS_PER_READ = 256
_SHOWN_CHARACTERS = 200
_CHUNK_BYTES = 64 * 1024


class RowFile(Protocol):
    """A file that can be read repeatedly."""

    def rows(self) -> Iterator[Row]:
        """Yield every row in order, unreadable ones with their ``problem``."""


def open_file(path: str | os.PathLike[str], kind: str | None = None) -> RowFile:
    """Return a reader for the file, by its suffix: one of ``FORMATS``, with or without ``.gz``.

    Args:
        path: the file.
        kind: one of ``FORMATS``, in place of the suffix.

    Raises:
        BulkInputError: another suffix or format, or no such file.
    """
    found = Path(path)
    is_compressed = found.suffix.lower() == ".gz"
    suffix = (
        f".{kind.lower().removeprefix('.')}" if kind else Path(found.stem if is_compressed else found).suffix.lower()
    )
    make = _KINDS.get(suffix)
    if make is None:
        names = ", ".join(_KINDS)
        if kind:
            raise BulkInputError(f"format={kind!r}: use one of {', '.join(FORMATS)}")
        raise BulkInputError(
            f"the input {str(found)!r} has none of the suffixes {names}, with or without .gz: rename it, or pass its format"
        )
    if found.is_dir():
        raise BulkInputError(f"the input {str(found)!r} is a folder")
    if not found.is_file():
        why = "is not a regular file, and cannot be read twice" if found.exists() else "does not exist"
        raise BulkInputError(f"the input {str(found)!r} {why}")
    return make(found, suffix)


@contextmanager
def open_input(path: Path) -> Iterator[BinaryIO]:
    """Open the file for reading, uncompressed.

    Raises:
        BulkInputError: it cannot be read; the message says why.
    """
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as file:
                yield cast("BinaryIO", file)
        else:
            with path.open("rb") as plain:
                yield plain
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BulkInputError(f"the input {str(path)!r} cannot be uncompressed: {error}") from None
    except OSError as error:
        raise BulkInputError(f"the input {str(path)!r} cannot be read: {error.strerror or error}") from None


def read_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line's number, from 1, and its bytes with the line break.

    A line above ``MAX_LINE_BYTES`` is skipped piece by piece, and yields ``None``. A BOM at the beginning is left out.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield number, None


class JsonFile:
    """A JSON value per line: an object with columns, a text, or a list of messages. Empty lines are skipped.

    An array may take several lines, and in a ``.json`` file also one; its members are the rows.

    Raises:
        BulkInputError: an array, or a ``.json`` file, that is not valid JSON.
    """

    def __init__(self, path: Path, suffix: str) -> None:
        self._path = path
        self._may_be_array = suffix == ".json"

    def rows(self) -> Iterator[Row]:
        """Yield every row; a line that is not valid JSON has its ``problem``."""
        with open_input(self._path) as file:
            first = _first_line(file)
        is_part = len(first) < MAX_LINE_BYTES - len(_BOM) and not _is_json(first)
        if first.startswith(b"[") and (self._may_be_array or is_part):
            yield from self._members()
        elif self._may_be_array and first.startswith(b"{") and is_part:
            raise BulkInputError(
                f"the input {str(self._path)!r} is neither an array of rows nor a JSON value per line: convert it to one of these"
            )
        else:
            yield from self._lines()

    def _members(self) -> Iterator[Row]:
        with open_input(self._path) as file:
            try:
                for number, value in enumerate(read_array(file), 1):
                    yield Row(number, None, value)
            except ValueError as error:
                problem = str(error)[:_SHOWN_CHARACTERS]
                raise BulkInputError(f"the input {str(self._path)!r} is not a valid JSON array: {problem}") from None

    def _lines(self) -> Iterator[Row]:
        with open_input(self._path) as file:
            number = 0
            for line, data in read_lines(file):
                if data is None:
                    number += 1
                    yield Row(number, line, None, f"line {line}: longer than {MAX_LINE_BYTES:,} bytes", b"")
                elif data.strip():
                    number += 1
                    yield _from_json(number, line, data.rstrip(b"\r\n"))


def _first_line(file: BinaryIO) -> bytes:
    """Return the first line that is not empty, without spaces around it, or its first ``MAX_LINE_BYTES``."""
    data = file.readline(MAX_LINE_BYTES).removeprefix(_BOM)
    while data and not data.strip():
        data = file.readline(MAX_LINE_BYTES)
    return data.strip()


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def read_array(file: BinaryIO) -> Iterator[Any]:
    """Yield the members of a JSON array, reading a piece of the file at a time.

    Raises:
        ValueError: it is not a valid array, or a member is longer than ``MAX_LINE_BYTES``; the message names the member.
    """
    decoder, decode = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8-sig")().decode
    text, position, number = "", 0, 0
    is_over = False

    def read() -> None:
        nonlocal text, position, is_over
        data = file.read(max(_CHUNK_BYTES, len(text) - position))
        is_over = not data
        text, position = text[position:] + decode(data, final=is_over), 0

    def next_sign() -> str:
        nonlocal position
        while True:
            while position < len(text) and text[position].isspace():
                position += 1
            if position < len(text) or is_over:
                return text[position : position + 1]
            read()

    next_sign()
    position += 1  # the bracket
    while (sign := next_sign()) != "]" or number:
        number += 1
        while True:
            try:
                value, end = decoder.raw_decode(text, position)
                if end < len(text) or is_over:  # otherwise a number may continue
                    break
            except json.JSONDecodeError as error:
                if is_over:
                    raise ValueError(f"row {number}: {error.msg}") from None
            if len(text) - position > MAX_LINE_BYTES:
                raise ValueError(f"row {number} is not valid JSON, or longer than {MAX_LINE_BYTES:,} bytes")
            read()
        yield value
        position = end
        sign = next_sign()
        position += 1
        if sign == "]":
            position -= 1
            break
        if sign != ",":
            raise ValueError(f"row {number} is followed by {sign or 'the end of the file'!r}, not by a comma")
    position += 1
    if rest := next_sign():
        raise ValueError(f"{rest!r} after the array; if each line is a JSON value, name the file .jsonl")


def _from_json(number: int, line: int, data: bytes) -> Row:
    try:
        return Row(number, line, exact_json.loads(data), raw=data)
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

    def __init__(self, path: Path, suffix: str) -> None:
        self._path = path
        self._delimiter = "\t" if suffix == ".tsv" else ","

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
                    cell = "cell" if len(cells) == 1 else "cells"
                    problem = f"line {first_line}: {len(cells)} {cell}, the header has {len(header)}"
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
    """The lines of a file as text, for ``csv``. Unlike a generator, it can continue after an exception."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self._lines = read_lines(file)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None:
            raise _LineTooLongError
        return line.decode()


def _next_cells(reader: Iterator[list[str]]) -> list[str]:
    """Return the next row. The process-wide limit of a cell's size is changed only during this call."""
    before = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        return next(reader)
    finally:
        csv.field_size_limit(before)


def _csv_problem(error: Exception) -> str:
    if isinstance(error, _LineTooLongError):
        return f"longer than {MAX_LINE_BYTES:,} bytes"
    return f"not UTF-8 ({error.reason})" if isinstance(error, UnicodeDecodeError) else str(error)


class TextFile:
    """A text per line. Empty lines are skipped."""

    def __init__(self, path: Path, _suffix: str) -> None:
        self._path = path

    def rows(self) -> Iterator[Row]:
        """Yield every line; one that is not UTF-8 has its ``problem``."""
        with open_input(self._path) as file:
            number = 0
            for line, data in read_lines(file):
                if data is not None and not data.strip():
                    continue
                number += 1
                if data is None:
                    yield Row(number, line, None, f"line {line}: longer than {MAX_LINE_BYTES:,} bytes", b"")
                    continue
                try:
                    yield Row(number, line, data.decode().rstrip("\r\n"))
                except UnicodeDecodeError as wrong:
                    yield Row(number, line, None, f"line {line}: not UTF-8 at byte {wrong.start + 1}", data)


class ParquetFile:
    """A Parquet file, read a few hundred rows at a time (extra ``parquet``).

    Raises:
        BulkInputError: pyarrow is missing, or the file is not a Parquet file.
    """

    def __init__(self, path: Path, _suffix: str) -> None:
        try:
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise BulkInputError(
                f'{str(path)!r}: Parquet needs the extra "parquet": pip install "langchain-cerebras-demo[parquet]"'
            ) from None
        self._path = path

    def rows(self) -> Iterator[Row]:
        """Yield every row, a dict by column."""
        with self._open() as file:
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS_PER_READ):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(number, None, value)

    def types(self) -> dict[str, Any]:
        """Return the Arrow types of the columns."""
        with self._open() as file:
            schema = file.schema_arrow
            return dict(zip(schema.names, schema.types, strict=True))

    @contextmanager
    def _open(self) -> Iterator[Any]:
        with open_input(self._path) as given:  # for its clearer errors
            try:
                if self._path.suffix.lower() != ".gz":
                    with self._parquet.ParquetFile(self._path) as file:
                        yield file
                    return
                with tempfile.TemporaryFile() as seekable:  # Parquet is read from its end
                    shutil.copyfileobj(given, seekable)
                    with self._parquet.ParquetFile(seekable) as file:
                        yield file
            except (gzip.BadGzipFile, zlib.error, EOFError):
                raise
            except (OSError, ValueError) as error:  # the bases of pyarrow's own errors
                raise BulkInputError(f"{str(self._path)!r} cannot be read as Parquet: {error}") from None


_KINDS: dict[str, Callable[[Path, str], RowFile]] = {
    ".csv": CsvFile,
    ".tsv": CsvFile,
    ".jsonl": JsonFile,
    ".ndjson": JsonFile,
    ".json": JsonFile,
    ".txt": TextFile,
    ".parquet": ParquetFile,
    ".pq": ParquetFile,
}

FORMATS = tuple(suffix.removeprefix(".") for suffix in _KINDS)
"""The formats of inputs, each also the suffix of its files."""
