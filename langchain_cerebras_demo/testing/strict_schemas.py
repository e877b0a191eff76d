"""What Cerebras demands of a JSON schema with ``strict: true``.

From its structured-outputs page and the version-2 rules: objects say ``additionalProperties: false``, reusable parts
stand under ``$defs``, several keywords are refused, and there are limits of depth and size. Keywords of which nothing
is known are let through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

__all__ = ["strict_problems"]

UNSUPPORTED = {"pattern", "format", "minItems", "maxItems", "$anchor", "definitions", "patternProperties"}
MAX_DEPTH = 10
MAX_CHARACTERS = 5_000
MAX_PROPERTIES = 500
MAX_ENUM_VALUES = 500
MAX_BRANCHES = 5

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def strict_problems(schema: Mapping[str, Any]) -> list[str]:
    """Why a strict schema is refused, one sentence a problem; empty = it is taken."""
    problems = [] if schema.get("type") == "object" else ["the root of a strict schema must be an object"]
    nodes = list(walk(schema))
    fields = sorted({key for _, node in nodes for key in node if key in UNSUPPORTED})
    fields += ["items"] if any(node.get("items") is True for _, node in nodes) else []
    if fields:
        problems.append(f"Unsupported JSON schema fields: {{{', '.join(map(repr, fields))}}}")
    for _, node in nodes:
        problems += node_problems(node, schema)
    if max(depth for depth, _ in nodes) > MAX_DEPTH:
        problems.append(f"the schema is nested deeper than {MAX_DEPTH} levels")
    if len(orjson.dumps(schema).decode()) > MAX_CHARACTERS:
        problems.append(f"the schema is longer than {MAX_CHARACTERS} characters")
    if sum(len(node.get("properties", ())) for _, node in nodes) > MAX_PROPERTIES:
        problems.append(f"the schema has more than {MAX_PROPERTIES} properties")
    if sum(len(node.get("enum", ())) for _, node in nodes) > MAX_ENUM_VALUES:
        problems.append(f"the schema has more than {MAX_ENUM_VALUES} enum values")
    return problems + recursion_problems(schema)


def walk(schema: Any, depth: int = 0) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Every schema inside a schema with its depth, the schema itself first. ``properties`` and ``$defs`` hold names."""
    if not isinstance(schema, dict):
        return
    yield depth, schema
    for group in ("properties", "$defs", "definitions"):
        members = schema.get(group)
        for member in members.values() if isinstance(members, dict) else ():
            yield from walk(member, depth + (group == "properties"))
    yield from walk(schema.get("items"), depth + 1)
    for group in ("anyOf", "oneOf", "allOf", "prefixItems"):
        branches = schema.get(group)
        for member in branches if isinstance(branches, list) else ():
            yield from walk(member, depth)


def node_problems(node: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one schema on its own."""
    kind = node.get("type")
    if isinstance(kind, list):
        yield "'type' must be one word; use anyOf instead of a list of types"
    if (kind == "object" or "properties" in node) and node.get("additionalProperties") is not False:
        yield "'additionalProperties' must be false on every object of a strict schema"
    if len(node.get("anyOf", ())) > MAX_BRANCHES:
        yield f"'anyOf' has more than {MAX_BRANCHES} branches"
    if "enum" in node and not enum_is_typed(node["enum"], kind):
        yield "the values of an enum must all be of one type, that of the schema"
    reference = node.get("$ref")
    if reference is not None and definition(reference, root) is None:
        yield f"'$ref' must point to a member of '$defs' of the same schema, not to {reference!r}"


def enum_is_typed(values: list[Any], kind: Any) -> bool:
    """Whether all values are of the declared type, or of one type where none is declared."""
    if isinstance(kind, str):
        allowed = _JSON_TYPES.get(kind, (object,))
        return all(isinstance(value, allowed) and (kind == "boolean" or type(value) is not bool) for value in values)
    return len({type(value) for value in values}) <= 1


def definition(reference: str, root: Mapping[str, Any]) -> Any:
    """The member of ``$defs`` that a reference names, or ``None``."""
    prefix, _, name = reference.rpartition("/")
    return root.get("$defs", {}).get(name) if prefix == "#/$defs" else None


def recursion_problems(root: Mapping[str, Any]) -> list[str]:
    """A definition that can reach itself is refused."""
    reaches = {
        name: {node["$ref"].rpartition("/")[2] for _, node in walk(part) if "$ref" in node}
        for name, part in root.get("$defs", {}).items()
    }
    for start, reached in reaches.items():
        seen: set[str] = set()
        waiting = set(reached)
        while waiting:
            name = waiting.pop()
            if name == start:
                return [f"recursive schemas are not supported: '$defs/{start}' contains itself"]
            seen.add(name)
            waiting |= reaches.get(name, set()) - seen
    return []
