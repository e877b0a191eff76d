"""Tables of answers: the rows of the input in their order, with all their columns and the columns of the answers.

A table is made of the records when a run ends, or when one is asked for: the records themselves are appended in the order in
which answers arrive. Two passes over them take bounded memory: one finds the columns, their types and the order, the other writes.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO, TextIO

from langchain_cerebras_demo.bulk import exact_json
from langchain_cerebras_demo.bulk.errors import BulkError, BulkOutputError
from langchain_cerebras_demo.bulk.records import text_of
from langchain_cerebras_demo.bulk.rows import to_id_key

TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".parquet", ".pq")
RECORD_SUFFIXES = (".jsonl", ".ndjson")

LAST = 2**62
"""The place of a record whose row is unknown."""

_CACHE_KIB = 16 * 1024
_ROWS_A_BATCH = 2000
_MOST_SHAPES = 1000
_EXACT_IN_A_FLOAT = 2**53

# Fields of records that become columns only if they are used.
_OPTIONAL = ("reasoning", "tool_calls", "reused")

# The kinds of values found in a column.
_BOOL, _INT, _FLOAT, _TEXT, _NESTED, _LONG = 1, 2, 4, 8, 16, 32
_KINDS = {NoneType: 0, bool: _BOOL, float: _FLOAT, str: _TEXT}


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


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the object of a complete line that has an id; ``None`` for any other line."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = exact_json.loads_line(line)
    except ValueError:
        try:
            found = json.loads(line)
        except ValueError:
            return None
    return found if isinstance(found, dict) and isinstance(found.get("id"), str | int) else None


class AnswerTable:
    """The table of a run's records. It must be closed.

    Args:
        records: the file of the answered rows.
        failures: the file of the failed rows.
        place_of: returns a record's place in the table; ``None`` leaves it out.
        types: Arrow types of the input's columns by name, where the input has them.
    """

    def __init__(
        self,
        records: Path,
        failures: Path,
        place_of: Callable[[dict[str, Any]], int | None],
        types: dict[str, Any] | None = None,
    ) -> None:
        self._files: list[BinaryIO] = []
        self._types = types or {}
        self._columns = _Columns()
        self._index = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._index.execute("CREATE TABLE lines (id TEXT PRIMARY KEY, place INTEGER, file INTEGER, start INTEGER)")
        self._index.execute("BEGIN")
        for path in (records, failures):
            if not path.is_file():
                continue
            number = len(self._files)
            find = place_of if path == records else lambda record: record.get("row") or LAST
            self._index.executemany("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?)", self._note(path, number, find))
            self._files.append(path.open("rb"))
        self.names = self._columns.names()

    def close(self) -> None:
        """Close the files."""
        self._index.close()
        for file in self._files:
            file.close()

    def _note(
        self, path: Path, number: int, place_of: Callable[[dict[str, Any]], int | None]
    ) -> Iterator[tuple[bytes, int, int, int]]:
        """Collect the columns of a file's records, and yield the lines for the index."""
        for start, record in read_objects(path):
            place = place_of(record)
            if place is not None:
                self._columns.note(record)
                yield to_id_key(record["id"]), place, number, start

    def rows(self) -> Iterator[list[Any]]:
        """Yield the values of each row, in the order of the table."""
        for number, start in self._index.execute("SELECT file, start FROM lines ORDER BY place, rowid"):
            file = self._files[number]
            file.seek(start)
            record = parse_line(file.readline())
            if record is not None:
                yield self._columns.values(record)

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
        for row in chain((self.names,), self.rows()):
            file.write(delimiter.join([_to_cell(value, delimiter) for value in row]) + "\r\n")

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


class _Columns:
    """The columns of a table: those of the input, then those of the answers."""

    def __init__(self) -> None:
        self._input: dict[str, int] = {}
        self._parsed: dict[str, int] = {}
        self._optional = dict.fromkeys(("parsed", *_OPTIONAL), 0)
        self._ids = 0
        self._shapes: set[tuple[Any, ...]] = set()

    def note(self, record: dict[str, Any]) -> None:
        """Collect the kinds of the values of a record."""
        given, parsed = record.get("input") or {}, record.get("parsed")
        if self._is_known(given, [parsed, *map(record.get, _OPTIONAL), record["id"]]):
            return
        kinds = self._input
        for name, value in given.items():
            kinds[name] = kinds.get(name, 0) | _kind_of(value)
        for name, value in (parsed if isinstance(parsed, dict) else {"parsed": parsed}).items():
            kinds = self._parsed if isinstance(parsed, dict) else self._optional
            kinds[name] = kinds.get(name, 0) | _kind_of(value)
        for name in _OPTIONAL:
            self._optional[name] |= _kind_of(record.get(name))
        self._ids |= _kind_of(record["id"])

    def _is_known(self, given: dict[str, Any], others: list[Any]) -> bool:
        """Return whether a record with the same columns and types has been noted, as is usual; the kind of an int depends on its value."""
        types = (*map(type, given.values()), *map(type, others))
        if int in types or dict in types:
            return False
        shape = (*given, *types)
        if shape in self._shapes:
            return True
        if len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(shape)
        return False

    @cached_property
    def _answers(self) -> list[tuple[str, bool, int]]:
        """The columns of the answers: name, whether it is a field of a structured answer, and the kinds of its values."""
        seen = {name: kind for name, kind in self._optional.items() if kind}
        counts = {"finish_reason": _TEXT, "input_tokens": _INT, "output_tokens": _INT, "requests": _INT}
        after = {name: seen[name] for name in ("parsed", "reasoning", "tool_calls") if name in seen} | counts
        after |= {"reused": seen["reused"]} if "reused" in seen else {}
        return [
            ("answer", False, _TEXT),
            *((name, True, kind) for name, kind in self._parsed.items()),
            *((name, False, kind) for name, kind in after.items()),
            ("error", False, _TEXT),
        ]

    def names(self) -> list[str]:
        """Return the names of all columns; a name that the input also has gets a number."""
        names = list(self._input) or ["id"]
        for wanted, _, _ in self._answers:
            unique, number = wanted, 2
            while unique in names:
                unique, number = f"{wanted}_{number}", number + 1
            names.append(unique)
        return names

    def values(self, record: dict[str, Any]) -> list[Any]:
        """Return a record's values, in the order of the names."""
        given = record.get("input") or {}
        values = [given.get(name) for name in self._input] if self._input else [record["id"]]
        parsed, usage, error = record.get("parsed"), record.get("usage") or {}, record.get("error")
        known = {
            **record,
            "answer": None if error else text_of(record.get("content")),
            "input_tokens": usage.get("input_tokens"),
            "output_tokens": usage.get("output_tokens"),
            "requests": record.get("attempts"),
            "error": f"{error['type']}: {error['message']}" if error else None,
        }
        fields = parsed if isinstance(parsed, dict) else {}
        if fields:
            known["parsed"] = None
        values.extend((fields if is_field else known).get(name) for name, is_field, _ in self._answers)
        return values

    def arrow_types(self, pa: Any, known: dict[str, Any]) -> list[Any]:
        """Return the Arrow type of each column: that of the input, or one that matches the values."""
        given = self._input or {"id": self._ids}
        types = [_usable(pa, known[name]) if name in known else None for name in given]
        kinds = [*given.values(), *(kind for _, _, kind in self._answers)]
        types += [None] * (len(kinds) - len(types))
        return [_to_arrow_type(pa, kind) if found is None else found for found, kind in zip(types, kinds, strict=True)]


def _kind_of(value: Any) -> int:
    if type(value) is int:
        if abs(value) < _EXACT_IN_A_FLOAT:
            return _INT
        return _INT | _LONG if -(2**63) <= value < 2**63 else _TEXT
    return _KINDS.get(type(value), _NESTED)


def _to_arrow_type(pa: Any, kind: int) -> Any:
    if kind == _BOOL:
        return pa.bool_()
    if kind in {_INT, _INT | _LONG}:
        return pa.int64()
    return pa.float64() if kind in {_FLOAT, _INT | _FLOAT} else pa.string()


def _usable(pa: Any, kind: Any) -> Any:
    """Return a type for the values of records; ``None`` if the records cannot represent the type."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind) and not kind.num_fields:  # Parquet has no struct without fields
        return None
    is_ = pa.types
    checks = (
        is_.is_integer,
        is_.is_floating,
        is_.is_boolean,
        is_.is_string,
        is_.is_large_string,
        is_.is_date,
        is_.is_time,
    )
    more = (
        is_.is_timestamp,
        is_.is_decimal,
        is_.is_list,
        is_.is_large_list,
        is_.is_struct,
        is_.is_binary,
        is_.is_large_binary,
    )
    return kind if any(check(kind) for check in (*checks, *more)) else None


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
