"""The type of an answer: its JSON schema, the conversion of JSON to a value, and the response format or tool to request it."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.wire.schemas.checking import find_violations
from langchain_cerebras_demo.wire.schemas.plain import ROOT, implied_type, reference_name, to_plain
from langchain_cerebras_demo.wire.schemas.strict import to_lenient_schema, to_strict_schema

_SHOWN_VIOLATIONS = 5
_MAX_REFERENCES = 10

_SCHEMA_WORDS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "items"})
_KEYS_OF_THE_ROOT = ("$defs", "definitions", "$schema", "$id", "description")

# A contract derived from the documentation gives this pattern; OpenAI's is the same.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclasses.dataclass(frozen=True)
class AnswerType:
    """The type of an answer.

    Attributes:
        title: Its name, as its author wrote it.
        schema: Its JSON schema, as its author wrote it.
        from_json: Converts a decoded answer to a value; raises ``ValueError`` if the answer does not fit. Not a nested
            function, because those cannot be pickled.
        makes_instances: Whether values are instances, which are complete or invalid; dicts are useful when incomplete, too.
        strict: The schema's own ``strict``; ``None`` if it has none.
        key: If answers are not objects, the property of the object that wraps them; otherwise empty (see ``in_object``).
    """

    title: str
    schema: Mapping[str, Any]
    from_json: Callable[[Any], Any]
    makes_instances: bool = False
    strict: bool | None = None
    key: str = ""


def from_schema(schema: Mapping[str, Any], title: str, strict: bool | None = None) -> AnswerType:
    """Return the answer type of a JSON schema. Its values are the decoded answers, checked against the schema."""
    return AnswerType(title, schema, functools.partial(_checked, schema), strict=strict)


def _checked(schema: Mapping[str, Any], value: Any) -> Any:
    if found := find_violations(value, schema):
        more = f"; and {len(found) - _SHOWN_VIOLATIONS} more" if len(found) > _SHOWN_VIOLATIONS else ""
        raise ValueError("; ".join(found[:_SHOWN_VIOLATIONS]) + more)
    return value


def from_mapping(given: Mapping[str, Any]) -> AnswerType:
    """Return the answer type of a JSON schema, or of a dict that contains one.

    Args:
        given: A JSON schema, an OpenAI function, tool or response format, or an Anthropic tool.

    Raises:
        InvalidRequestError: It is none of these.
    """
    for kind in ("json_schema", "function"):
        if given.get("type") == kind and isinstance(given.get(kind), Mapping):
            return from_mapping(given[kind])
    body: Any = given
    for key in ("schema", "parameters", "input_schema"):
        if "name" in given and isinstance(given.get(key), Mapping):
            body = {"description": given["description"], **given[key]} if given.get("description") else given[key]
            break
    else:
        if "name" in given and not given.keys() & _SCHEMA_WORDS:  # a function without parameters
            body = {"type": "object", "properties": {}, **{k: v for k, v in given.items() if k == "description"}}
        elif not given.keys() & _SCHEMA_WORDS:
            raise InvalidRequestError(
                f"the dict with the keys {', '.join(map(repr, given)) or '(none)'} is not a JSON schema: give one with "
                "'type' or 'properties'"
            )
    strict = given.get("strict")
    title = given.get("title") if body is given else given["name"]
    return from_schema(body, str(title or "answer"), strict if isinstance(strict, bool) else None)


def in_object(kind: AnswerType) -> AnswerType:
    """Return ``kind`` wrapped in an object with one property, if its answers are not objects but lists, texts or others.

    The arguments of a call and the root of a strict schema have to be objects. Answers without the object around them, which
    a model may write as text, are accepted too.
    """
    if _is_object(kind.schema, kind.schema):
        return kind
    key, written = "value", json.dumps(kind.schema, default=str)
    while (
        f'"{key}"' in written
    ):  # a name that the schema does not use, so that the wrapper is never mistaken for the answer
        key += "_"
    moved = _moved(kind.schema, f"{ROOT}/properties/{key}")
    outer = {name: moved.pop(name) for name in _KEYS_OF_THE_ROOT if name in moved}
    outer |= {"type": "object", "properties": {key: moved}, "required": [key]}
    return dataclasses.replace(
        kind, schema=outer, from_json=functools.partial(_from_inside, kind.from_json, key), key=key
    )


def _from_inside(from_json: Callable[[Any], Any], key: str, value: Any) -> Any:
    return from_json(value[key] if isinstance(value, dict) and value.keys() == {key} else value)


def to_schema_name(title: str) -> str:
    """Return a name that the API accepts, made from a title: ``Box[int]`` becomes ``Box_int_``. Never empty."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", title)[:64] or "answer"


@functools.lru_cache(maxsize=4096)  # agents send the same tools at every step
def check_tool_name(name: str) -> str:
    """Return ``name`` if the API accepts it as a tool's name.

    Raises:
        InvalidRequestError: The API does not.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(f"invalid tool name {name!r}: use 1 to 64 letters, digits, '_' and '-'")
    return name


def to_response_format(
    schema: AnswerType | Mapping[str, Any], *, strict: bool | None = None, default: bool = True
) -> dict[str, Any]:
    """Return the ``response_format`` for answers of this schema.

    Args:
        schema: An answer type, anything that ``from_mapping`` accepts, or a response format without a schema.
        strict: Whether the service makes the answer follow the schema. ``None``: the schema's own ``strict``.
        default: The value of ``strict`` if neither is given.

    Raises:
        InvalidRequestError: Strict mode does not support the schema (see ``to_strict_schema``), or the schema has another
            ``strict``.
    """
    if isinstance(schema, Mapping) and schema.get("type") in {"text", "json_object"}:
        return dict(schema)
    answer_type = schema if isinstance(schema, AnswerType) else from_mapping(schema)
    is_strict = agreed_strict(answer_type, strict, default=default)
    fitted = (to_strict_schema if is_strict else to_lenient_schema)(answer_type.schema)
    fitted.pop("description", None)  # it is beside the name already
    return {"type": "json_schema", "json_schema": {**_named(answer_type), "strict": is_strict, "schema": fitted}}


def to_tool(answer_type: AnswerType, *, strict: bool | None = None) -> dict[str, Any]:
    """Return the tool, in the API's form, whose arguments are an answer of this type.

    Args:
        answer_type: The kind of answer.
        strict: As in ``to_response_format``, but ``None`` means no, as for every other tool: all tools of a request must
            have the same.

    Raises:
        InvalidRequestError: As ``to_response_format``.
    """
    function = _named(answer_type)
    is_strict = agreed_strict(answer_type, strict, default=None)
    parameters = to_strict_schema(answer_type.schema) if is_strict else answer_type.schema
    # Title and description are already in the function.
    function["parameters"] = {key: value for key, value in parameters.items() if key not in {"title", "description"}}
    if is_strict is not None:
        function["strict"] = is_strict
    return {"type": "function", "function": function}


def agreed_strict(answer_type: AnswerType, strict: bool | None, *, default: bool | None) -> bool | None:
    """Return the caller's ``strict``, else the schema's own, else ``default``.

    Raises:
        InvalidRequestError: The caller's and the schema's differ.
    """
    if strict is not None and answer_type.strict is not None and strict is not answer_type.strict:
        raise InvalidRequestError(
            f"strict={strict} was given, but the schema has strict={answer_type.strict}: remove one of them"
        )
    given = answer_type.strict if strict is None else strict
    return default if given is None else given


def _named(answer_type: AnswerType) -> dict[str, Any]:
    description = answer_type.schema.get("description")
    return {
        "name": to_schema_name(answer_type.title),
        **({"description": description} if description else {}),
    }


def _moved(node: Any, root: str) -> Any:
    """Return a copy in which references to the root, or to parts that move with it, point to the root's new place."""
    if isinstance(node, Mapping):
        copy = {name: _moved(value, root) for name, value in node.items()}
        reference = copy.get("$ref")
        if isinstance(reference, str) and reference.startswith(ROOT) and reference_name(reference) is None:
            copy["$ref"] = root + reference[len(ROOT) :]
        return copy
    return [_moved(value, root) for value in node] if isinstance(node, list | tuple) else node


def _is_object(node: Any, root: Mapping[str, Any], depth: int = 0) -> bool:
    """Return whether everything that fits a node is an object, as the service reads it."""
    plain = to_plain(node) if isinstance(node, Mapping) else {}
    name = reference_name(plain.get("$ref"))
    if name is not None and depth < _MAX_REFERENCES:
        return _is_object({**root.get("definitions", {}), **root.get("$defs", {})}.get(name), root, depth + 1)
    if any(_is_object(part, root, depth + 1) for part in plain.get("allOf") or () if depth < _MAX_REFERENCES):
        return True
    return (plain.get("type") or implied_type(plain)) == "object"
