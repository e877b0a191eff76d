"""An answer held against what a schema says and the service was told only in words. Pure.

Types, names and single values are the service's business, which writes the answer by the schema; here it is lengths,
patterns, formats, counts, ranges, and the order of a tuple.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from langchain_cerebras_demo.chat_models.plain_schemas import (
    ROOT,
    implied_type,
    kinds_of,
    reference_name,
    short_name,
    to_plain,
)


def find_violations(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with an answer, one sentence a place; empty = nothing.

    Args:
        value: the answer, decoded from JSON.
        schema: as its author wrote it, not as it went out.
    """
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    return list(_Checker(definitions).check(value, schema, ROOT))


class _Checker:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def check(self, value: Any, node: Any, path: str) -> Iterator[str]:
        plain = self._resolve(node)
        if "anyOf" in plain:
            fitting = [branch for branch in plain["anyOf"] if self._can_be(value, branch)]
            found = [list(self.check(value, branch, path)) for branch in fitting]
            yield from min(found, key=len, default=[])
        for part in plain.get("allOf", ()):
            yield from self.check(value, part, path)
        yield from _own_violations(value, plain, path)
        if isinstance(value, Mapping):
            for name, member in plain.get("properties", {}).items():
                if name in value:
                    yield from self.check(value[name], member, f"{path}/{name}")
        elif isinstance(value, list):
            yield from self._check_items(value, plain, path)

    def _check_items(self, value: list[Any], plain: Mapping[str, Any], path: str) -> Iterator[str]:
        is_tuple = isinstance(plain.get("items"), list) or bool(plain.get("prefixItems"))
        for number, (item, member) in enumerate(zip(value, _members(plain, len(value)), strict=True)):
            if is_tuple and not self._can_be(item, member):
                yield f"{path}/{number} is not {'allowed' if member is False else short_name(member)}"
            yield from self.check(item, member, f"{path}/{number}")

    def _resolve(self, node: Any) -> dict[str, Any]:
        """The node with the definition that it refers to put in."""
        plain = to_plain(node) if isinstance(node, Mapping) else {}
        seen: set[str] = set()
        while (name := reference_name(plain.get("$ref"))) in self._definitions.keys() - seen:
            seen.add(str(name))
            rest = {key: value for key, value in plain.items() if key != "$ref"}
            plain = {**to_plain(self._definitions[str(name)]), **rest}
        return plain

    def _can_be(self, value: Any, node: Any) -> bool:
        """Whether a value has the structure of a node: types, single values and what is required, all the way down."""
        if node is False:
            return False
        plain = self._resolve(node)
        if "anyOf" in plain:
            return any(self._can_be(value, branch) for branch in plain["anyOf"])
        if "enum" in plain and value not in plain["enum"]:
            return False
        kind = plain.get("type") or implied_type(plain)
        if isinstance(value, Mapping):
            properties = plain.get("properties", {})
            return (
                kind in {None, "object"}
                and set(plain.get("required", ())) <= value.keys()
                and all(self._can_be(value[name], properties[name]) for name in properties.keys() & value.keys())
            )
        if isinstance(value, list):
            return kind in {None, "array"} and all(map(self._can_be, value, _members(plain, len(value))))
        return kind is None or kind in kinds_of([value], [kind])


def _members(plain: Mapping[str, Any], length: int) -> list[Any]:
    """The schema of each place of a list."""
    items = plain.get("items", {})
    listed = isinstance(items, list)  # how pydantic 1 writes a tuple
    places = items if listed else plain.get("prefixItems", [])
    rest = plain.get("additionalItems", {}) if listed else items
    return [*places, *[rest] * length][:length]


def _own_violations(value: Any, plain: Mapping[str, Any], path: str) -> Iterator[str]:
    for kind, checks in _CHECKS:
        if not isinstance(value, kind) or isinstance(value, bool):
            continue
        for keyword, (holds, words) in checks.items():
            if keyword in plain and not holds(value, plain[keyword]):
                yield f"{path} {words} {plain[keyword]}"


def _matches(value: str, pattern: Any) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:  # another dialect: JSON schemas speak ECMAScript's
        return True


def _has_format(value: str, name: Any) -> bool:
    check = _FORMATS.get(name)
    try:
        return check is None or bool(check(value))
    except ValueError:
        return False


def _is_unique(value: list[Any], wanted: Any) -> bool:
    return not wanted or all(item not in value[:number] for number, item in enumerate(value))


def _is_date_time(value: str) -> bool:
    date.fromisoformat(value[:10])
    return value[10:11] in {"T", "t", " "} and _TIME.fullmatch(value[11:]) is not None


_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:([0-5]\d|60)(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")

# Those that Python can tell without a further package, a little wider than their standards.
_FORMATS: Mapping[str, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "date-time": _is_date_time,
    "email": _EMAIL.fullmatch,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "time": _TIME.fullmatch,
    "uri": _URI.fullmatch,
    "uuid": uuid.UUID,
}

_Check = tuple[Callable[[Any, Any], bool], str]
_CHECKS: Sequence[tuple[type | tuple[type, ...], Mapping[str, _Check]]] = (
    (
        str,
        {
            "minLength": (lambda value, limit: len(value) >= limit, "has fewer characters than"),
            "maxLength": (lambda value, limit: len(value) <= limit, "has more characters than"),
            "pattern": (_matches, "does not match the pattern"),
            "format": (_has_format, "is not in the format"),
        },
    ),
    (
        list,
        {
            "minItems": (lambda value, limit: len(value) >= limit, "has fewer items than"),
            "maxItems": (lambda value, limit: len(value) <= limit, "has more items than"),
            "uniqueItems": (_is_unique, "has an item twice, but uniqueItems is"),
        },
    ),
    (
        Mapping,
        {
            "minProperties": (lambda value, limit: len(value) >= limit, "has fewer properties than"),
            "maxProperties": (lambda value, limit: len(value) <= limit, "has more properties than"),
        },
    ),
    (
        (int, float),
        {
            "minimum": (lambda value, limit: value >= limit, "is less than"),
            "maximum": (lambda value, limit: value <= limit, "is more than"),
            "exclusiveMinimum": (lambda value, limit: value > limit, "is not more than"),
            "exclusiveMaximum": (lambda value, limit: value < limit, "is not less than"),
        },
    ),
)
