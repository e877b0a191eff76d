"""Converts a node of a JSON schema to one canonical form, and keywords to words.

Pydantic 2 writes ``const``, ``oneOf`` with a ``discriminator`` and enums of mixed types, pydantic 1 an ``allOf`` around each
reference, others lists of types or OpenAPI's ``nullable``. Of these, Cerebras only accepts ``const``; unions must be ``anyOf``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from langchain_cerebras_demo.errors import InvalidRequestError

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
"""The types, with the keywords that only apply to each."""

STRUCTURE = frozenset({"type", "enum", "const", "nullable", "$ref", "anyOf", "properties", "required"}) | {
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
}
"""The keywords that define a schema's structure; all others constrain or describe."""

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated"})
_REFERENCE = re.compile(r"#/(?:\$defs|definitions)/([^/]+)")


def to_plain(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node in the canonical form, without changing inner nodes: one type, ``enum``, ``anyOf``, ``$ref``."""
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
    """Return values by their JSON type, without those of a type that is not in ``allowed`` (if it is empty: any type)."""
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
    """Return the type that the keywords imply, if no type is given; ``None`` if they do not."""
    return next((kind for kind, keywords in KEYWORDS.items() if keywords & plain.keys()), None)


def reference_name(reference: Any) -> str | None:
    """Return the name of the definition that a ``$ref`` points to; ``None`` if it points elsewhere."""
    found = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    return found[1] if found else None


def short_name(node: Any) -> str:
    """Return a short name for the values that fit a node."""
    if not isinstance(node, Mapping):
        return "anything"
    plain = to_plain(node)
    if "anyOf" in plain:
        return " or ".join(map(short_name, plain["anyOf"]))
    return reference_name(plain.get("$ref")) or str(plain.get("type") or implied_type(plain) or "anything")


def in_words(keywords: Mapping[str, Any]) -> list[str]:
    """Return constraints and annotations as words for the description; those without a phrase are written as JSON.

    Raises:
        InvalidRequestError: A value cannot be written as JSON. The message begins with a verb; the caller adds the place.
    """
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
        words.append("no equal items")
    if said.get("default", ...) is None:
        del said["default"]  # `required` already says that it may be left out
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
    """Return a keyword's value as words or JSON.

    Raises:
        InvalidRequestError: It cannot be written as JSON, such as an integer of more than 64 bits.
    """
    if keyword in {"pattern", "format"}:
        return str(value)
    if keyword == "examples" and isinstance(value, list):
        return ", ".join(_to_text("examples", one) for one in value)
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError as error:
        raise InvalidRequestError(
            f"has {keyword}={value!r:.80}, which cannot be written as JSON ({error}): use a smaller number or a string"
        ) from None


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
    """Return a branch for each type, with the keywords of that type; a single branch is the node itself."""
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
