"""Tables of answers: the rows of the input in their order, with all their columns and the columns of the answers.

A table is made of the records when a run ends, or when one is asked for: the records themselves are appended in the order in
which answers arrive. An index holds the place of each row and the columns. A run that begins a new output fills it while it writes
records. Otherwise, all records are read to fill it, which takes about as long as writing the table. The memory of both is bounded.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from langchain_cerebras_demo.bulk import exact_json
from langchain_cerebras_demo.bulk.columns import Columns
from langchain_cerebras_demo.bulk.errors import BulkError, BulkOutputError
from langchain_cerebras_demo.bulk.rows import to_id_key

TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".parquet", ".pq")
RECORD_SUFFIXES = (".jsonl", ".ndjson")

LAST = 2**62
"""The place of a record whose row is unknown."""

_CACHE_KIB = 16 * 1024
_ROWS_A_BATCH = 2000
_LINES_A_READ = 500
_BYTES_A_READ = 512 * 1024
_LINES_A_WRITE = 10_000


def needs_pyarrow(path: Path) -> bool:
    """Return whether writing a table of that name needs pyarrow."""
    return path.suffix.lower() in {".parquet", ".pq"}


def import_pyarrow(what: str) -> Any:
    """Return pyarrow.

    Raises:
        BulkOutputError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        raise BulkOutputError(
            f'{what} needs the extra "parquet": pip install "langchain-cerebras-demo[parquet]"'
        ) from None


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the position and the object of each line; incomplete and damaged lines are skipped."""
    if not path.is_file():
        return
    end = 0
    with path.open("rb") as file:
        for line in file:
            start, end = end, end + len(line)
            if (found := parse_line(line)) is not None:
                yield start, found


def parse_line(line: bytes, loads: Callable[[bytes], Any] = exact_json.loads) -> dict[str, Any] | None:
    """Return the object of a complete line that has an id; ``None`` for any other line.

    Args:
        line: the line.
        loads: decodes JSON; ``exact_json.loads_line`` is faster for lines of this process.
    """
    if not line.endswith(b"\n"):
        return None
    try:
        found = loads(line)
    except ValueError:
        try:
            found = json.loads(line)
        except ValueError:
            return None
    return found if isinstance(found, dict) and isinstance(found.get("id"), str | int) else None


def number_in(record: dict[str, Any]) -> int:
    """Return the number of the row as the record states it; ``LAST`` if it states none."""
    number = record.get("row")
    return number if isinstance(number, int) else LAST


class TableIndex:
    """The places of a table's rows in the files of the records, and its columns. It must be closed.

    A small index is in memory, a large one in a temporary database.

    Attributes:
        was_read: whether the lines were read from existing files; otherwise, this process has written them.
    """

    def __init__(self, *, was_read: bool = False) -> None:
        self.was_read = was_read
        self._columns = (Columns(), Columns())  # of each file
        # Plain tuples, which the garbage collector skips: the place, the number of the file, the position in it, the key of the id.
        self._new: list[tuple[int, int, int, bytes | None]] = []
        self._database: sqlite3.Connection | None = None

    @classmethod
    def read(cls, files: Sequence[Path], place_of: Callable[[dict[str, Any]], int | None]) -> TableIndex:
        """Return the index of existing files.

        Args:
            files: the file of the answered rows, then that of the failed ones.
            place_of: returns the place of an answered row in the table; ``None`` leaves it out.
        """
        index = cls(was_read=True)
        finders = (place_of, number_in)
        for number, (path, find) in enumerate(zip(files, finders, strict=True)):
            for start, record in read_objects(path):
                place = find(record)
                if place is not None:
                    index.note(record, number)
                    index.add(place, number, start, to_id_key(record["id"]))
        return index

    def note(self, record: Mapping[str, Any], file: int) -> bool:
        """Note the columns of a record of a file; see ``Columns.note``."""
        return self._columns[file].note(record)

    def columns(self) -> Columns:
        """Return the columns: first those of the first file, whatever was noted first."""
        columns = Columns()
        for found in self._columns:
            columns.add(found)
        return columns

    def add(self, place: int, file: int, start: int, id_key: bytes | None = None) -> None:
        """Add a line of a file.

        Args:
            place: the place of its row in the table.
            file: the number of the file.
            start: its position in the file.
            id_key: the key of its id, if the files may have several lines with one id; of these, the last one counts.
        """
        self._new.append((place, file, start, id_key))
        if len(self._new) == _LINES_A_WRITE:
            self._write()

    def _write(self) -> None:
        if self._database is None:
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._database.execute("CREATE TABLE lines (place INTEGER, file INTEGER, start INTEGER, id TEXT UNIQUE)")
            self._database.execute("BEGIN")
        self._database.executemany("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?)", self._new)
        self._new.clear()

    def in_order(self) -> Iterator[tuple[int, int]]:
        """Yield the file and the position of each row, in the order of the table."""
        if self._database is None:
            last = {line[3] or line: line for line in self._new}
            return (line[1:3] for line in sorted(last.values()))
        self._write()
        return iter(self._database.execute("SELECT file, start FROM lines ORDER BY place, file, start"))

    def close(self) -> None:
        """Release the memory and the file."""
        if self._database is not None:
            self._database.close()


class AnswerTable:
    """The table of a run's records. It must be closed.

    Args:
        files: the file of the answered rows, then that of the failed ones, which may be missing.
        index: the places of the rows in the files; closed with the table.
        types: Arrow types of the input's columns by name, where the input has them.
    """

    def __init__(self, files: Sequence[Path], index: TableIndex, types: dict[str, Any] | None = None) -> None:
        self._index = index
        self._columns = index.columns()
        self._loads = exact_json.loads if index.was_read else exact_json.loads_line
        self._types = types or {}
        self._files = {number: path.open("rb") for number, path in enumerate(files) if path.is_file()}
        self.names = self._columns.names()

    def close(self) -> None:
        """Close the files."""
        self._index.close()
        for file in self._files.values():
            file.close()

    def rows(self) -> Iterator[list[Any]]:
        """Yield the values of each row, in the order of the table."""
        for line in self._lines():
            record = parse_line(line, self._loads)
            if record is not None:
                yield self._columns.values(record)

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines in the order of the table. Rows that are neighbours there are near each other in the files, too."""
        order = self._index.in_order()
        while places := list(islice(order, _LINES_A_READ)):
            lines: dict[tuple[int, int], bytes] = {}
            size = 0
            for place in sorted(places):  # reading forwards takes half the time
                if size > _BYTES_A_READ:
                    break
                lines[place] = self._line(*place)
                size += len(lines[place])
            for place in places:
                yield lines.pop(place) if place in lines else self._line(*place)

    def _line(self, number: int, start: int) -> bytes:
        self._files[number].seek(start)
        return self._files[number].readline()

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table``.

        Raises:
            BulkOutputError: pyarrow is not installed.
        """
        pa = import_pyarrow("a table in memory")

        def make(schema: Any) -> Any:
            return pa.Table.from_batches(list(self._batches(pa, schema)), schema)

        return self._with_types(pa, make)

    def write(self, path: Path) -> None:
        """Write the table to a file, in the format of its suffix. The file is replaced completely or not at all.

        Raises:
            BulkOutputError: it cannot be written; the message says where the answers are.
        """
        beside = path.with_name(f"{path.name}.part")
        try:
            if needs_pyarrow(path):
                self._write_parquet(beside)
            else:
                with beside.open("w", encoding="utf-8", errors="replace", newline="") as file:
                    if path.suffix.lower() == ".json":
                        self._write_json(file)
                    else:
                        self._write_csv(file, "\t" if path.suffix.lower() == ".tsv" else ",")
                    file.flush()
                    os.fsync(file.fileno())
            beside.replace(path)
        except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's errors derive from these
            beside.unlink(missing_ok=True)
            why = getattr(error, "strerror", None) or error
            raise BulkOutputError(
                f"the table {str(path)!r} cannot be written: {why}. All answers are kept in the records: resume "
                "after fixing this, to write it"
            ) from None

    def _write_csv(self, file: TextIO, delimiter: str) -> None:
        file.writelines(
            delimiter.join([_to_cell(value, delimiter) for value in row]) + "\r\n"
            for row in chain((self.names,), self.rows())
        )

    def _write_json(self, file: TextIO) -> None:
        before = "[\n"
        for row in self.rows():
            file.write(before + exact_json.dumps(dict(zip(self.names, row, strict=True))).decode())
            before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")

    def _write_parquet(self, path: Path) -> None:
        pa = import_pyarrow(f"{str(path)!r}: Parquet")
        parquet: Any = importlib.import_module("pyarrow.parquet")

        def write(schema: Any) -> None:
            with parquet.ParquetWriter(path, schema) as writer:
                for batch in self._batches(pa, schema):
                    writer.write_batch(batch)

        self._with_types(pa, write)

    def _with_types(self, pa: Any, use: Callable[[Any], Any]) -> Any:
        """Call ``use`` with the schema; if the values of a column do not match its type, the column becomes text."""
        types = self._columns.arrow_types(pa, self._types)
        while True:
            try:
                return use(pa.schema(list(zip(self.names, types, strict=True))))
            except _ColumnError as misfit:
                types[self.names.index(misfit.name)] = pa.string()

    def _batches(self, pa: Any, schema: Any) -> Iterator[Any]:
        rows = self.rows()
        while batch := list(islice(rows, _ROWS_A_BATCH)):
            columns = zip(*batch, strict=True)
            yield pa.record_batch(
                [_to_array(pa, field, values) for field, values in zip(schema, columns, strict=True)], schema=schema
            )


class _ColumnError(BulkError):
    """Values of a column do not match its type."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _to_array(pa: Any, field: Any, values: Sequence[Any]) -> Any:
    kind = field.type
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            try:
                return pa.array([to_text(value) for value in values], kind)
            except UnicodeEncodeError:  # half a surrogate pair
                clean = [to_text(value) for value in values]
                return pa.array([one and one.encode("utf-8", "replace").decode() for one in clean], kind)
        if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):  # texts in the records
            return pa.array([to_text(value) for value in values], pa.string()).cast(kind)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return pa.array([None if value is None else base64.b64decode(value) for value in values], kind)
        return pa.array(values, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        raise _ColumnError(field.name) from None


def to_text(value: Any) -> str | None:
    """Return a value as the text of a cell: a text unchanged, anything else as JSON; ``None`` for null."""
    if value is None or isinstance(value, str):
        return value
    return exact_json.dumps(value).decode()


def _to_cell(value: Any, delimiter: str) -> str:
    """Return a cell of a CSV file, as ``csv.writer`` does; that one takes several times as long for the text of an answer."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else exact_json.dumps(value).decode()
    if '"' in text or delimiter in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


def write_table(table: AnswerTable, path: Path) -> None:
    """Write a table and close it."""
    with closing(table):
        table.write(path)
