"""The columns of a table of answers: their names, in order, and their types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from types import NoneType
from typing import Any

from langchain_cerebras_demo.bulk.records import text_of

_EXACT_IN_A_FLOAT = 2**53
_MOST_SHAPES = 1000

# Fields of records that become columns only if they are used.
_OPTIONAL = ("reasoning", "tool_calls", "reused")

# The kinds of values found in a column.
_BOOL, _INT, _FLOAT, _TEXT, _NESTED, _LONG = 1, 2, 4, 8, 16, 32
_KINDS = {NoneType: 0, bool: _BOOL, float: _FLOAT, str: _TEXT}

_JSON_TYPES = {NoneType, bool, int, float, str, list, dict}
_TYPES_OF_ONE_KIND = {NoneType, bool, str, list}  # the kind of an int depends on its value


class Columns:
    """The columns of a table: those of the input, then those of the answers."""

    def __init__(self) -> None:
        self._input: dict[str, int] = {}
        self._parsed: dict[str, int] = {}
        self._optional = dict.fromkeys(("parsed", *_OPTIONAL), 0)
        self._ids = 0
        self._shapes: set[tuple[Any, ...]] = set()

    def note(self, record: Mapping[str, Any]) -> bool:
        """Collect the names and kinds of a record's values.

        Args:
            record: the fields of a record, read from JSON or about to be written as JSON.

        Returns:
            Whether the kinds are those of the JSON. If not, for example because a value is a date, the columns must be collected from
            the JSON.
        """
        given, parsed = record.get("input") or {}, record.get("parsed")
        values = [parsed, *map(record.get, _OPTIONAL), record["id"], *given.values()]
        shape = (*given, *map(type, values))
        if shape in self._shapes:  # as usual
            return True
        fields = parsed if isinstance(parsed, dict) else {}
        _add_kinds(self._input, given)
        _add_kinds(self._parsed, fields)
        _add_kinds(self._optional, {name: record.get(name) for name in _OPTIONAL})
        if not isinstance(parsed, dict):
            _add_kinds(self._optional, {"parsed": parsed})
        self._ids |= _kind_of(record["id"])
        is_json = all(type(name) is str for name in (*given, *fields)) and all(
            map(_is_json, (*values, *fields.values()))
        )
        if is_json and _TYPES_OF_ONE_KIND.issuperset(map(type, values)) and len(self._shapes) < _MOST_SHAPES:
            self._shapes.add(shape)
        return is_json

    def add(self, other: Columns) -> None:
        """Add the columns of other records; new ones come after those of these records."""
        for mine, more in (
            (self._input, other._input),
            (self._parsed, other._parsed),
            (self._optional, other._optional),
        ):
            for name, kind in more.items():
                mine[name] = mine.get(name, 0) | kind
        self._ids |= other._ids

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
        values = list(map(given.get, self._input)) if self._input else [record["id"]]
        parsed, usage, error = record.get("parsed"), record.get("usage") or {}, record.get("error")
        fields = parsed if isinstance(parsed, dict) else {}
        known = {
            "answer": None if error else text_of(record.get("content")),
            "parsed": None if fields else parsed,
            "reasoning": record.get("reasoning"),
            "tool_calls": record.get("tool_calls"),
            "finish_reason": record.get("finish_reason"),
            "input_tokens": usage.get("input_tokens"),
            "output_tokens": usage.get("output_tokens"),
            "requests": record.get("attempts"),
            "reused": record.get("reused"),
            "error": f"{error['type']}: {error['message']}" if error else None,
        }
        return values + [(fields if is_field else known).get(name) for name, is_field, _ in self._answers]

    def arrow_types(self, pa: Any, known: dict[str, Any]) -> list[Any]:
        """Return the Arrow type of each column: that of the input, or one that matches the values."""
        given = self._input or {"id": self._ids}
        types = [_usable(pa, known[name]) if name in known else None for name in given]
        kinds = [*given.values(), *(kind for _, _, kind in self._answers)]
        types += [None] * (len(kinds) - len(types))
        return [_to_arrow_type(pa, kind) if found is None else found for found, kind in zip(types, kinds, strict=True)]


def _add_kinds(kinds: dict[str, int], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        kinds[name] = kinds.get(name, 0) | _kind_of(value)


def _is_json(value: Any) -> bool:
    """Return whether the value has the same type after a round trip through JSON."""
    return type(value) in _JSON_TYPES and (type(value) is not float or math.isfinite(value))


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
