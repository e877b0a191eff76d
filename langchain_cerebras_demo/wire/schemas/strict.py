"""Converts JSON schemas to what Cerebras' strict mode accepts.

The service's requirements, from its structured-outputs page, the version-2 rules and refusals that users have posted:
``additionalProperties`` false and ``properties`` on every object, a type everywhere, ``$defs`` instead of ``definitions``, no
lists of types, no ``nullable``, at most five branches of ``anyOf``, no recursion, limits of size. It refuses lengths,
patterns, formats, counts of items and ``prefixItems`` by name ("Invalid fields for schema with types ['string']:
{'maxLength'}", claude-code-router#708, elizaOS#11123). Keywords that are not known to be accepted are added to the
description in words, and ``checking.find_violations`` checks the answer against them afterwards.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.wire.schemas.plain import (
    KEYWORDS,
    NUMBER_KEYWORDS,
    ROOT,
    STRUCTURE,
    implied_type,
    in_words,
    kinds_of,
    reference_name,
    short_name,
    to_plain,
)

# Values that are not JSON are refused instead of converted.
_JSON_ALONE = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME

MAX_DEPTH = 10
MAX_CHARACTERS = 5_000
MAX_PROPERTIES = 500
MAX_ENUM_VALUES = 500
MAX_BRANCHES = 5

# These can be expressed neither in strict mode nor in words.
_UNSPEAKABLE = frozenset(
    {"allOf", "contains", "dependentRequired", "dependentSchemas", "else", "if", "not", "oneOf", "then"}
    | {"unevaluatedItems"}
)
# These tell the model nothing, or are expressed in another way.
_SILENT = frozenset({"$anchor", "$comment", "$defs", "$id", "$schema", "definitions", "discriminator", "strict"}) | {
    "deprecated",
    "readOnly",
    "unevaluatedProperties",
    "writeOnly",
}
_FREE = frozenset({"patternProperties", "propertyNames"})


def to_strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema as Cerebras' strict mode accepts it. ``schema`` is not changed, and the caller may change the result.

    Properties that are not required remain optional, and may be absent from the answer (version 2 of the API).

    Raises:
        InvalidRequestError: Strict mode does not support it: a mapping with free keys, a place without a type, recursion,
            conditions, or it is too large. The message names the place as a JSON pointer, the problem and the remedy.
    """
    try:
        text = orjson.dumps(schema, option=_JSON_ALONE)
    except TypeError:  # a mapping of another class, a date
        return _to_strict(schema)
    result: dict[str, Any] = orjson.loads(_to_strict_text(text))
    return result


@functools.lru_cache(
    maxsize=1024
)  # by text, not by identity, because a schema may be changed; agents send the same one at every step
def _to_strict_text(text: bytes) -> bytes:
    return orjson.dumps(_to_strict(orjson.loads(text)))


def _to_strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    fitted = _fit_root(schema, strict=True)
    _refuse_rings(fitted)
    _check_sizes(fitted)
    return fitted


def to_lenient_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema for ``strict: false``, where it is a hint: keywords that the service refuses are put into words.

    Nothing is refused; what strict mode does not support (mappings with free keys, recursion) is not changed.
    """
    return _fit_root(schema, strict=False)


def _refuse(path: str, problem: str, remedy: str) -> NoReturn:
    raise InvalidRequestError(
        f"the schema does not fit Cerebras' strict mode: {path} {problem}. {remedy}, or pass strict=False: "
        "the schema is then a hint to the model"
    )


# -- fitting


def _fit_root(schema: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    root = _copied(schema)
    definitions: dict[str, Any] = {**root.pop("definitions", {}), **root.pop("$defs", {})}
    seen: set[str | None] = set()
    while (name := reference_name(to_plain(root).get("$ref"))) in definitions.keys() - seen:
        # If a class is among its own definitions, the root of pydantic's schema is a reference to it.
        seen.add(name)
        root = {**definitions[str(name)], **{key: value for key, value in to_plain(root).items() if key != "$ref"}}
    fitter = _Fitter(strict, frozenset(definitions))
    fitted: dict[str, Any] = fitter.fit(root, ROOT)
    fitted.pop("title", None)  # the name beside the schema is the same
    if strict and fitted.get("type") != "object":
        _refuse(ROOT, "is not an object", "Wrap it in an object with one property")
    parts: dict[str, Any] = {}
    waiting = _references(fitted) if strict else list(definitions)
    while waiting:  # definitions without a reference would only count against the limits
        part = waiting.pop(0)
        if part in definitions and part not in parts:
            parts[part] = fitter.fit(definitions[part], f"{ROOT}/$defs/{part}", part)
            waiting += _references(parts[part])
    return {**fitted, "$defs": parts} if parts else fitted


def _copied(node: Any) -> Any:
    """Return a deep copy in which references point to ``$defs``."""
    if isinstance(node, Mapping):
        copy = {key: _copied(value) for key, value in node.items()}
        if name := reference_name(copy.get("$ref")):
            copy["$ref"] = f"{ROOT}/$defs/{name}"
        return copy
    return [_copied(value) for value in node] if isinstance(node, list | tuple) else node


@dataclass(frozen=True)
class _Fitter:
    """Converts a schema node by node. If it is not strict, nodes that it would refuse are not changed."""

    strict: bool
    names: frozenset[str]

    def fit(self, node: Any, path: str, name: str = "") -> Any:
        """Return ``node`` as the service accepts it. ``path`` is its place, and ``name`` its name there."""
        if not isinstance(node, Mapping):
            if self.strict:
                _refuse(path, "allows anything" if node else "allows nothing", "Give it a type")
            return node
        plain = to_plain(node)
        if odd := sorted(plain.keys() & _UNSPEAKABLE):
            if self.strict:
                _refuse(
                    f"{path}/{odd[0]}", "is a condition, which is not supported", "Leave it out and check it yourself"
                )
            return node
        said: list[str] = []
        if "$ref" in plain:
            fitted = self._reference(plain, path)
        elif "anyOf" in plain:
            fitted = self._union(plain, path, said)
        else:
            fitted = self._typed(plain, path, said)
        try:
            return node if fitted is None else _described(fitted, plain, said, name)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"the schema's {path} {error}") from None

    def _reference(self, plain: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        name, target = reference_name(plain["$ref"]), plain["$ref"]
        if name in self.names and not self._has_beside(plain, "$ref", path):
            return {"$ref": target}
        if self.strict and target == ROOT:
            _refuse(path, "refers to the whole schema, so it contains itself", "Nest it to a fixed depth instead")
        if self.strict:
            _refuse(path, f"refers to {target!r}, which is not in $defs", "Add it to $defs")
        return None

    def _has_beside(self, plain: Mapping[str, Any], keyword: str, path: str) -> bool:
        """Return whether a node has a second structure, which would have to be merged; refuse it if strict."""
        others = sorted(plain.keys() & STRUCTURE - {keyword, "type"})
        if others and self.strict:
            _refuse(path, f"has {others[0]!r} beside {keyword!r}", "Merge them")
        return bool(others)

    def _union(self, plain: Mapping[str, Any], path: str, said: list[str]) -> dict[str, Any] | None:
        if self._has_beside(plain, "anyOf", path):
            return None
        branches = []
        for number, branch in enumerate(plain["anyOf"]):
            typed = branch
            if "type" in plain and isinstance(branch, Mapping) and not branch.keys() & _TYPED:
                typed = {"type": plain["type"], **branch}
            branches.append(self.fit(typed, f"{path}/anyOf/{number}"))
        return self._join(branches, path, said)

    def _join(self, branches: list[Any], path: str, said: list[str]) -> dict[str, Any]:
        """Return the union of converted branches; for a single branch, the branch itself."""
        flat: list[Any] = []
        for branch in branches:
            inner = branch["anyOf"] if isinstance(branch, dict) and branch.keys() == {"anyOf"} else [branch]
            flat += [one for one in inner if one not in flat]
        if self.strict and not flat:
            _refuse(path, "has no branch", "Give it a type")
        if self.strict and len(flat) > MAX_BRANCHES:
            _refuse(path, f"has {len(flat)} branches: {len(flat) - MAX_BRANCHES} too many", "Use fewer types")
        if len(flat) != 1 or not isinstance(flat[0], dict):
            return {"anyOf": flat}
        only: dict[str, Any] = flat[0]
        if "description" in only:
            said.append(only["description"])
        return {key: value for key, value in only.items() if key != "description"}

    def _typed(self, plain: Mapping[str, Any], path: str, said: list[str]) -> dict[str, Any] | None:
        kind: Any = plain.get("type") or implied_type(plain)
        if kind not in KEYWORDS:
            if self.strict:
                _refuse(path, f"has the unknown type {kind!r}" if kind else "has no type", "Give it a type")
            return None
        if kind == "object":
            return self._object(plain, path)
        if kind == "array":
            return self._array(plain, path, said)
        fitted: dict[str, Any] = {"type": kind}
        if "enum" in plain:
            fitted["enum"] = plain["enum"]
            if self.strict and kinds_of(plain["enum"], [kind]) != {kind: plain["enum"]}:
                _refuse(path, f"has an enum with values that are not of type {kind}", "Use values of one type")
        if kind in {"integer", "number"}:
            fitted |= {keyword: plain[keyword] for keyword in NUMBER_KEYWORDS if keyword in plain}
        return fitted

    def _object(self, plain: Mapping[str, Any], path: str) -> dict[str, Any]:
        # Without additionalProperties, an object with properties is closed, and one without them is a mapping.
        is_free = plain.get("additionalProperties", "properties" not in plain) is not False or plain.keys() & _FREE
        if is_free and self.strict:
            _refuse(path, "is a mapping with free keys", "Name its properties, or use a list of keys and values")
        properties, required = plain.get("properties", {}), list(plain.get("required", ()))
        fitted: dict[str, Any] = {"type": "object"}
        if "properties" in plain or self.strict:
            fitted["properties"] = {
                name: self.fit(member, f"{path}/properties/{name}", name) for name, member in properties.items()
            }
        for name in required if self.strict else ():
            if name not in properties:
                _refuse(path, f"requires {name!r}, which is not in its properties", "Add the property")
        if required:
            fitted["required"] = required
        if self.strict:
            return {**fitted, "additionalProperties": False}
        if "additionalProperties" in plain:
            fitted["additionalProperties"] = self.fit(plain["additionalProperties"], f"{path}/additionalProperties")
        return fitted | {keyword: plain[keyword] for keyword in sorted(plain.keys() & _FREE)}

    def _array(self, plain: Mapping[str, Any], path: str, said: list[str]) -> dict[str, Any]:
        items = plain.get("items", {})
        listed = isinstance(items, list)  # pydantic 1 writes a tuple like this
        places = items if listed else plain.get("prefixItems")
        if not places:
            if self.strict and items == {}:
                _refuse(path, "has no type for its items", "Give 'items' a type")
            return {"type": "array"} | ({"items": self.fit(items, f"{path}/items")} if "items" in plain else {})
        keyword, rest = ("items", plain.get("additionalItems")) if listed else ("prefixItems", items)
        branches = [self.fit(place, f"{path}/{keyword}/{number}") for number, place in enumerate(places)]
        if isinstance(rest, Mapping) and rest:
            branches.append(self.fit(rest, f"{path}/items"))
        named = [short_name(place) for place in places]
        if len(set(named)) > 1:
            said.append("in this order: " + ", ".join(named))
        inner: list[str] = []
        joined = self._join(branches, f"{path}/{keyword}", inner)
        return {"type": "array", "items": joined | ({"description": inner[0]} if inner else {})}


_TYPED = frozenset({"$ref", "allOf", "anyOf", "const", "enum", "oneOf", "type"})


def _described(fitted: dict[str, Any], plain: Mapping[str, Any], said: list[str], name: str) -> dict[str, Any]:
    """Return ``fitted`` with the rest of ``plain`` as words in its description."""
    title = plain.get("title", fitted.pop("title", None))  # a union of one branch has the branch's
    if isinstance(title, str) and not _repeats(title, name):
        fitted["title"] = title
    known = fitted.keys() | STRUCTURE | _SILENT | {"title", "description"}
    text = "; ".join([*said, *in_words({key: value for key, value in plain.items() if key not in known})])
    if description := plain.get("description"):
        fitted["description"] = f"{description} ({text})" if text else description
    elif text:
        fitted["description"] = text[0].upper() + text[1:]
    return fitted


def _repeats(title: str, name: str) -> bool:
    """Return whether a title only repeats the node's name, as pydantic's titles do."""
    return bool(name) and re.sub(r"[\W_]", "", title).lower() == re.sub(r"[\W_]", "", name).lower()


# -- the schema as a whole


def _walk(node: Any, path: str = ROOT, depth: int = 0) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Yield every node, with its place and its depth."""
    if not isinstance(node, Mapping):
        return
    yield path, depth, node
    for group in ("properties", "$defs"):
        for name, member in node.get(group, {}).items():
            yield from _walk(member, f"{path}/{group}/{name}", depth + (group == "properties"))
    yield from _walk(node.get("items"), f"{path}/items", depth + 1)
    for number, branch in enumerate(node.get("anyOf", ())):
        yield from _walk(branch, f"{path}/anyOf/{number}", depth)


def _references(node: Any) -> list[str]:
    return [name for _, _, inner in _walk(node) if (name := reference_name(inner.get("$ref")))]


def _refuse_rings(schema: Mapping[str, Any]) -> None:
    reached = {name: _references(part) for name, part in schema.get("$defs", {}).items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            ring = " -> ".join([*above[above.index(name) :], name])
            _refuse(f"{ROOT}/$defs/{name}", f"contains itself: {ring}", "Nest it to a fixed depth instead")
        if name not in done:
            for part in reached[name]:
                visit(part, (*above, name))
            done.add(name)

    for name in reached:
        visit(name, ())


def _check_sizes(schema: Mapping[str, Any]) -> None:
    nodes = list(_walk(schema))
    path, depth, _ = max(nodes, key=lambda found: found[1])
    if depth > MAX_DEPTH:
        _refuse(path, f"is nested {depth} levels deep: {depth - MAX_DEPTH} too many", "Make the schema flatter")
    limits = (("properties", "properties", MAX_PROPERTIES), ("enum", "enum values", MAX_ENUM_VALUES))
    for keyword, name, most in limits:
        counts = {path: len(node.get(keyword, ())) for path, _, node in nodes}
        if (total := sum(counts.values())) > most:
            problem = f"has {total} {name} in total: {total - most} too many; most are in {_largest(counts)}"
            _refuse(ROOT, problem, "Leave some out")
    # The service counts names and enum values, but not descriptions (its structured-outputs page, 2026-10-01).
    names = {path: sum(map(len, (*node.get("properties", ()), *node.get("$defs", ())))) for path, _, node in nodes}
    values = {path: sum(len(str(value)) for value in node.get("enum", ())) for path, _, node in nodes}
    lengths = {path: names[path] + values[path] for path in names}
    if (length := sum(lengths.values())) > MAX_CHARACTERS:
        problem = f"has {length} characters of names and enum values: {length - MAX_CHARACTERS} too many"
        _refuse(ROOT, f"{problem}; most are in {_largest(lengths)}", "Shorten them")


def _largest(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{path} ({sizes[path]})" for path in sorted(sizes, key=lambda path: -sizes[path])[:3])
