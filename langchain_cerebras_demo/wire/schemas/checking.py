"""Checks an answer against its JSON schema: the common keywords, with the meaning of draft 2020-12.

``format`` is checked, too, which validators do not do by default: strict mode refuses the keyword, so the service has not
checked it. ``nullable``, a list under ``items`` and a boolean ``exclusiveMinimum`` mean the same as in OpenAPI and older
drafts. Unknown keywords, invalid values of keywords, and references to other documents are ignored.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, NamedTuple
from urllib.parse import unquote

from langchain_cerebras_demo.wire.schemas.plain import KEYWORDS, ROOT, short_name

_SHOWN_CHARACTERS = 100
_DETAIL, _MEMBERS, _TYPE = range(3)


def find_violations(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an answer, one sentence per place; an empty list if it fits.

    Args:
        value: the answer, decoded from JSON.
        schema: the schema as its author wrote it, not as it was sent.
    """
    return [f"{found.path} {found.words}" for found in _Checker(schema).check(value, schema, ROOT)]


class _Violation(NamedTuple):
    path: str
    words: str
    level: int = _DETAIL
    """How much the value differs: it has another type, other members, or is wrong in a detail."""


class _Checker:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._followed: set[tuple[str, int]] = set()

    def check(self, value: Any, node: Any, path: str) -> list[_Violation]:
        if node is False:
            return [_Violation(path, "is not allowed", _TYPE)]
        if not isinstance(node, Mapping) or (value is None and node.get("nullable") is True):
            return []
        if not _has_type(value, node.get("type")):
            kinds = " or ".join(_listed(node["type"]))
            return [_Violation(path, f"is of type {_type_of(value)}, not {kinds}", _TYPE)]
        found = [*self._reference(value, node, path), *_own_violations(value, node, path)]
        for combined in (self._branches, self._conditions):
            found += combined(value, node, path)
        if isinstance(value, Mapping):
            found += self._object(value, node, path)
        elif isinstance(value, list):
            found += self._array(value, node, path)
        return found

    def _reference(self, value: Any, node: Mapping[str, Any], path: str) -> list[_Violation]:
        reference = node.get("$ref")
        place = (str(reference), id(value))
        if (
            not isinstance(reference, str) or place in self._followed
        ):  # a circular reference, which does not constrain the value
            return []
        self._followed.add(place)
        try:
            return self.check(value, self._target(reference), path)
        finally:
            self._followed.discard(place)

    def _target(self, reference: str) -> Any:
        """Return the node of a JSON pointer within this schema; ``None`` if there is none."""
        if reference != ROOT and not reference.startswith(f"{ROOT}/"):
            return None
        node: Any = self._root
        for part in reference.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                node = node.get(name) if isinstance(node, Mapping) else None
        return node

    def _branches(self, value: Any, node: Mapping[str, Any], path: str) -> Iterator[_Violation]:
        for part in _list(node, "allOf"):
            yield from self.check(value, part, path)
        for keyword in ("anyOf", "oneOf"):
            branches = _list(node, keyword)
            tried = [self.check(value, branch, path) for branch in branches]
            fitting = sum(not found for found in tried)
            if branches and not fitting:
                yield from _closest(value, branches, tried, path)
            elif keyword == "oneOf" and fitting > 1:
                yield _Violation(path, f"fits {fitting} branches of oneOf, but may fit only one")

    def _conditions(self, value: Any, node: Mapping[str, Any], path: str) -> Iterator[_Violation]:
        if "not" in node and not self.check(value, node["not"], path):
            yield _Violation(path, "fits the schema under 'not'")
        if "if" in node:
            chosen = "else" if self.check(value, node["if"], path) else "then"
            yield from self.check(value, node.get(chosen), path)
        if isinstance(value, Mapping):
            for name, part in _mapping(node, "dependentSchemas").items():
                if name in value:
                    yield from self.check(value, part, path)

    def _object(self, value: Mapping[str, Any], node: Mapping[str, Any], path: str) -> Iterator[_Violation]:
        needed = {name: "" for name in _list(node, "required") if isinstance(name, str)}
        for name, others in _mapping(node, "dependentRequired").items():
            if name in value and isinstance(others, list):
                needed |= {str(other): f", which is required with {name!r}" for other in others}
        for name, why in needed.items():
            if name not in value:
                yield _Violation(path, f"has no {name!r}{why or ', which is required'}", _MEMBERS)
        properties, patterns = _mapping(node, "properties"), _mapping(node, "patternProperties")
        others = node.get("additionalProperties")
        for name, member in value.items():
            nodes = [properties[name]] if name in properties else []
            nodes += [part for pattern, part in patterns.items() if _matches(name, pattern)]
            if not nodes and others is False:
                yield _Violation(path, f"has {name!r}, which is not allowed", _MEMBERS)
            for part in nodes or ([] if others is False else [others]):
                yield from self.check(member, part, f"{path}/{name}")
            if "propertyNames" in node and self.check(name, node["propertyNames"], path):
                yield _Violation(path, f"has the key {name!r}, which propertyNames does not allow", _MEMBERS)

    def _array(self, value: list[Any], node: Mapping[str, Any], path: str) -> Iterator[_Violation]:
        items = node.get("items")
        if isinstance(items, list):  # as older drafts, and pydantic 1, write a tuple
            places, rest = items, node.get("additionalItems")
        else:
            places, rest = _list(node, "prefixItems"), items
        for number, item in enumerate(value):
            part = places[number] if number < len(places) else rest
            yield from self.check(item, part, f"{path}/{number}")
        if "contains" in node:
            count = sum(not self.check(item, node["contains"], path) for item in value)
            low, high = _limit(node, "minContains"), _limit(node, "maxContains")
            if count < (1 if low is None else low) or count > (math.inf if high is None else high):
                yield _Violation(path, f"has {count} items that match 'contains', which is too few or too many")


def _closest(value: Any, branches: Sequence[Any], tried: Sequence[list[_Violation]], path: str) -> Sequence[_Violation]:
    """Return what is wrong with a value that fits no branch, for the branch that is closest to it."""

    def distance(found: list[_Violation]) -> tuple[bool, int, int]:
        is_other = any(one.level == _TYPE and one.path == path for one in found)
        return is_other, sum(one.level > _DETAIL for one in found), len(found)

    best = min(tried, key=distance)
    if not distance(best)[0]:
        return best
    kinds = " or ".join(dict.fromkeys(map(short_name, branches)))
    return [_Violation(path, f"is of type {_type_of(value)}, not {kinds}", _TYPE)]


# -- a value on its own, without its members


def _own_violations(value: Any, node: Mapping[str, Any], path: str) -> Iterator[_Violation]:
    allowed = [node["const"]] if "const" in node else node.get("enum")
    if isinstance(allowed, list) and _comparable(value) not in set(map(_comparable, allowed)):
        yield _Violation(path, f"is {_shown(value)}, not {_cut(' or '.join(map(_shown, allowed)))}", _MEMBERS)
    for kind, checks in _CHECKS:
        if not isinstance(value, kind) or isinstance(value, bool):
            continue
        for keyword, (holds, words) in checks.items():
            limit = _limit(node, keyword)
            if limit is not None and not holds(value, limit):
                yield _Violation(path, f"{words} {limit}")


def _limit(node: Mapping[str, Any], keyword: str) -> Any:
    """Return a keyword's value if it has a valid type, else ``None``."""
    limit = node.get(keyword)
    if keyword in {"pattern", "format"}:
        return limit if isinstance(limit, str) else None
    if keyword == "uniqueItems":
        return limit or None
    if limit is True and keyword.startswith("exclusive"):  # as in OpenAPI 3.0
        limit = node.get("minimum" if keyword == "exclusiveMinimum" else "maximum")
    return limit if isinstance(limit, int | float) and not isinstance(limit, bool) else None


def _mapping(node: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    found = node.get(keyword)
    return found if isinstance(found, Mapping) else {}


def _list(node: Mapping[str, Any], keyword: str) -> list[Any]:
    found = node.get(keyword)
    return found if isinstance(found, list) else []


def _listed(kinds: Any) -> list[Any]:
    return kinds if isinstance(kinds, list) else [kinds]


def _has_type(value: Any, kinds: Any) -> bool:
    known = [kind for kind in _listed(kinds) if isinstance(kind, str) and kind in KEYWORDS]
    if kinds is None or len(known) < len(_listed(kinds)):  # an unknown type may be any
        return True
    found = _type_of(value)
    return found in known or (found == "integer" and "number" in known)


def _type_of(value: Any) -> str:
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _TYPES.get(type(value), "object")


_TYPES = {str: "string", bool: "boolean", int: "integer", type(None): "null", list: "array"}


def _comparable(value: Any) -> Any:
    """Return a hashable value that is equal for equal JSON values: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, Mapping):
        return frozenset((name, _comparable(member)) for name, member in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_comparable, value))
    return ("bool", value) if isinstance(value, bool) else value


def _shown(value: Any) -> str:
    return f"an {_type_of(value)}" if isinstance(value, Mapping | list) else _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _matches(value: str, pattern: Any) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:  # JSON schemas use ECMAScript's dialect
        return True


def _has_format(value: str, name: str) -> bool:
    check = _FORMATS.get(name)
    try:
        return check is None or bool(check(value))
    except ValueError:
        return False


def _is_unique(value: Iterable[Any], _wanted: Any) -> bool:
    items = list(map(_comparable, value))
    return len(set(items)) == len(items)


def _is_multiple(value: float, step: float) -> bool:
    # By decimal digits: 0.3 is a multiple of 0.1, but not in binary.
    return step == 0 or (math.isfinite(value) and (Fraction(str(value)) / Fraction(str(step))).denominator == 1)


def _is_date_time(value: str) -> bool:
    date.fromisoformat(value[:10])
    return value[10:11] in {"T", "t", " "} and _TIME.fullmatch(value[11:]) is not None


_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:([0-5]\d|60)(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)?")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")

# The formats that Python can check without another package; some checks accept a little more than the standard.
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
            "uniqueItems": (_is_unique, "has equal items, but uniqueItems is"),
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
            "multipleOf": (_is_multiple, "is not a multiple of"),
        },
    ),
)
