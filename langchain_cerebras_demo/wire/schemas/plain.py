"""One node of a JSON schema, of the many ways in which it may be written, in one way; and keywords in words. Pure.

Pydantic 2 writes ``const``, ``oneOf`` with a ``discriminator`` and enums of mixed types, pydantic 1 an ``allOf`` around each
reference, others lists of types or OpenAPI's ``nullable``. Cerebras takes none of the last five, and of unions ``anyOf``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

ROOT = "#"
"""The whole schema, as a reference and at the start of a path."""

NUMBER_KEYWORDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
"""Constraints of numbers."""

KEYWORDS: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "patternProperties", "propertyNames"})
    | {"minProperties", "maxProperties"},
    "array": frozenset({"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType"}),
    "integer": frozenset(NUMBER_KEYWORDS),
    "number": frozenset(NUMBER_KEYWORDS),
    "boolean": frozenset(),
    "null": frozenset(),
}
"""The types, and what can be said of each alone."""

STRUCTURE = frozenset({"type", "enum", "const", "nullable", "$ref", "anyOf", "properties", "required"}) | {
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
}
"""Keywords of which a schema is built; all others constrain or describe."""

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated"})
_REFERENCE = re.compile(r"#/(?:\$defs|definitions)/([^/]+)")


def to_plain(node: Mapping[str, Any]) -> dict[str, Any]:
    """The node itself, without what lies inside it, in the one way: a type of one word, ``enum``, ``anyOf``, ``$ref``."""
    plain = dict(node)
    while isinstance(wrapped := plain.get("allOf"), list) and len(wrapped) == 1 and isinstance(wrapped[0], Mapping):
        inner, rest = dict(wrapped[0]), {key: value for key, value in plain.items() if key != "allOf"}
        if (inner.keys() & rest.keys()) - _ANNOTATIONS:
            break
        plain = {**inner, **rest}
    if "oneOf" in plain and "anyOf" not in plain:
        plain["anyOf"] = plain.pop("oneOf")
    if "const" in plain:
        plain["enum"] = [plain.pop("const")]
    if plain.pop("nullable", False) is True:
        plain = _with_null(plain)
    return plain if plain.keys() & {"$ref", "anyOf"} else _by_type(plain)


def kinds_of(values: Iterable[Any], allowed: Iterable[str] = ()) -> dict[str, list[Any]]:
    """Single values by their JSON type; those of another type than ``allowed`` (none: any) fit nothing and are left out."""
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    values, allowed = list(values), set(allowed)
    if "number" in allowed or (not allowed and any(isinstance(value, float) for value in values)):
        kinds[int] = "number"
    found: dict[str, list[Any]] = {}
    for value in values:
        kind = kinds.get(type(value), "")
        if kind and (not allowed or kind in allowed):
            found.setdefault(kind, []).append(value)
    return found


def implied_type(plain: Mapping[str, Any]) -> str | None:
    """The type that the keywords speak of where none is given; ``None`` where they say nothing."""
    return next((kind for kind, keywords in KEYWORDS.items() if keywords & plain.keys()), None)


def reference_name(reference: Any) -> str | None:
    """The name of the definition that a ``$ref`` points to; ``None`` where it points elsewhere."""
    found = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    return found[1] if found else None


def short_name(node: Any) -> str:
    """A word or two for what fits a node."""
    if not isinstance(node, Mapping):
        return "anything"
    plain = to_plain(node)
    if "anyOf" in plain:
        return " or ".join(map(short_name, plain["anyOf"]))
    return reference_name(plain.get("$ref")) or str(plain.get("type") or implied_type(plain) or "anything")


def in_words(keywords: Mapping[str, Any]) -> list[str]:
    """What constraints and annotations say, for the description; what has no words of its own stands as JSON."""
    said = dict(keywords)
    words = [
        _count(said.pop(f"min{what}", 0), said.pop(f"max{what}", None), one, many)
        for what, one, many in (
            ("Items", "item", "items"),
            ("Length", "character", "characters"),
            ("Properties", "property", "properties"),
        )
    ]
    if said.pop("uniqueItems", False) is True:
        words.append("no item twice")
    if said.get("default", ...) is None:
        del said["default"]  # "may be left out" is said by `required`
    return [text for text in words if text] + [
        f"{_SENTENCES.get(keyword, keyword + ':')} {_to_text(keyword, value)}" for keyword, value in said.items()
    ]


_SENTENCES = {
    "pattern": "matches the regular expression",
    "format": "in the format",
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
    "examples": "for example",
    "default": "default",
}


def _to_text(keyword: str, value: Any) -> str:
    if keyword in {"pattern", "format"}:
        return str(value)
    if keyword == "examples" and isinstance(value, list):
        return ", ".join(_to_text("", one) for one in value)
    return orjson.dumps(value, default=str).decode()


def _count(low: Any, high: Any, one: str, many: str) -> str:
    noun = one if (low if high is None else high) == 1 else many
    if low == high:
        return f"exactly {low} {noun}"
    if low and high is not None:
        return f"{low} to {high} {noun}"
    if high is not None:
        return f"at most {high} {noun}"
    return f"at least {low} {noun}" if low else ""


def _with_null(plain: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's ``nullable``."""
    if "enum" in plain:
        plain["enum"] = [*plain["enum"], *([] if None in plain["enum"] else [None])]
    if "type" in plain:
        plain["type"] = [*_types(plain), "null"]
    elif "enum" not in plain:
        kept = {key: value for key, value in plain.items() if key in _ANNOTATIONS}
        inner = {key: value for key, value in plain.items() if key not in _ANNOTATIONS}
        plain = {"anyOf": [inner, {"type": "null"}], **kept}
    return plain


def _types(plain: Mapping[str, Any]) -> list[Any]:
    kinds = plain.get("type", [])
    return list(dict.fromkeys(kinds)) if isinstance(kinds, list) else [kinds]


def _by_type(plain: dict[str, Any]) -> dict[str, Any]:
    """A branch a type, each with what is said of that type; one branch is the node itself."""
    kinds = _types(plain)
    branches: list[dict[str, Any]] = [{"type": kind} for kind in kinds]
    if isinstance(plain.get("enum"), list) and not any(isinstance(value, list | dict) for value in plain["enum"]):
        found = kinds_of(plain["enum"], kinds)
        branches = [
            {"type": kind, "enum": values} if kind != "null" else {"type": kind} for kind, values in found.items()
        ]
    if not branches:
        return {key: value for key, value in plain.items() if key != "type" or value}
    spoken_for = frozenset({"type", "enum"}).union(*KEYWORDS.values())
    rest = {key: value for key, value in plain.items() if key not in spoken_for}
    for branch in branches:
        own = KEYWORDS.get(branch["type"], frozenset())
        branch.update({key: value for key, value in plain.items() if key in own})
    return {**branches[0], **rest} if len(branches) == 1 else {"anyOf": branches, **rest}
