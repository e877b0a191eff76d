"""What a caller wants back, in all the ways that LangChain's users say it, as a JSON schema and a way back from JSON."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import json
import operator
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.errors import PydanticInvalidForJsonSchema
from typing_extensions import NotRequired, ReadOnly, Required, get_type_hints, is_typeddict

from langchain_cerebras_demo.wire.schemas.checking import find_violations
from langchain_cerebras_demo.wire.schemas.plain import ROOT, implied_type, reference_name, to_plain

_SHOWN_VIOLATIONS = 5


@dataclasses.dataclass(frozen=True)
class AnswerType:
    """A kind of answer.

    Attributes:
        title: what it is called, as its author wrote it.
        schema: its JSON schema, as its author wrote it.
        from_json: makes the value of a decoded answer. Raises ``ValueError`` for one that does not fit.
        makes_instances: values are instances, which are valid or not; else dicts, of which a part is of use as well.
        strict: what the schema says of ``strict`` itself; ``None`` for nothing.
        key: where answers are no objects, the property of the object around them; else empty (see ``in_object``).
    """

    title: str
    schema: Mapping[str, Any]
    from_json: Callable[[Any], Any]
    makes_instances: bool = False
    strict: bool | None = None
    key: str = ""


def to_answer_type(schema: Any) -> AnswerType:
    """The kind of answer that a schema of any form asks for.

    Args:
        schema: a pydantic class (2 or 1), a dataclass or an enum: answers are instances. A TypedDict, a function, a
            LangChain tool, or a dict (a JSON schema, an OpenAI function, tool or response format, an Anthropic tool):
            answers are dicts, or whatever the JSON schema says.

    Raises:
        TypeError: it is none of these.
        ValueError: a class that no JSON schema can stand for, or a dict that is no schema.
    """
    if isinstance(schema, AnswerType):
        return schema
    if isinstance(schema, Mapping):
        return _from_mapping(schema)
    if is_typeddict(schema):
        return _of_dicts(_schema_of(_to_model(schema, ())), schema.__name__)
    if isinstance(schema, type) and get_origin(schema) is None:  # Python 3.10 takes list[int] for a type
        if issubclass(schema, BaseModel):
            return _of_instances(schema, _schema_of(schema), schema.model_validate_json)
        if _is_pydantic_1(schema):
            return _of_instances(schema, schema.schema(), schema.parse_raw)  # type: ignore[attr-defined]  # by name
        if dataclasses.is_dataclass(schema) or issubclass(schema, enum.Enum):
            adapter: TypeAdapter[Any] = TypeAdapter(schema)
            return _of_instances(schema, _schema_of(adapter), adapter.validate_json)
    if isinstance(schema, BaseTool) or inspect.isroutine(schema):
        return _from_mapping(convert_to_openai_function(schema))
    raise TypeError(
        f"the schema {schema!r} is not taken: give a pydantic class, a dataclass, a TypedDict or a JSON schema; "
        "put a list or a union into a class with one field"
    )


def in_object(kind: AnswerType) -> AnswerType:
    """``kind`` as the property of an object where its answers are lists, texts or other values that are no objects.

    The arguments of a call are an object, and so is the root of a strict schema. An answer without the object around it,
    as a model may write it in text, is taken too.
    """
    if _is_object(kind.schema, kind.schema):
        return kind
    key, written = "value", json.dumps(kind.schema, default=str)
    while f'"{key}"' in written:  # a name of its own: the object around an answer is never taken for the answer
        key += "_"
    moved = _moved(kind.schema, f"{ROOT}/properties/{key}")
    outer = {name: moved.pop(name) for name in _OF_THE_ROOT if name in moved}
    outer |= {"type": "object", "properties": {key: moved}, "required": [key]}

    def from_json(value: Any) -> Any:
        return kind.from_json(value[key] if isinstance(value, dict) and value.keys() == {key} else value)

    return dataclasses.replace(kind, schema=outer, from_json=from_json, key=key)


_OF_THE_ROOT = ("$defs", "definitions", "$schema", "$id", "description")


def _moved(node: Any, root: str) -> Any:
    """A copy in which references to the root, or to parts of it that move along, go to where the root is then."""
    if isinstance(node, Mapping):
        copy = {name: _moved(value, root) for name, value in node.items()}
        reference = copy.get("$ref")
        if isinstance(reference, str) and reference.startswith(ROOT) and reference_name(reference) is None:
            copy["$ref"] = root + reference[len(ROOT) :]
        return copy
    return [_moved(value, root) for value in node] if isinstance(node, list | tuple) else node


def _is_object(node: Any, root: Mapping[str, Any], depth: int = 0) -> bool:
    """Whether all that fits a node are objects, as far as the service would see it."""
    plain = to_plain(node) if isinstance(node, Mapping) else {}
    name = reference_name(plain.get("$ref"))
    if name is not None and depth < _MAX_REFERENCES:
        return _is_object({**root.get("definitions", {}), **root.get("$defs", {})}.get(name), root, depth + 1)
    if any(_is_object(part, root, depth + 1) for part in plain.get("allOf") or () if depth < _MAX_REFERENCES):
        return True
    return (plain.get("type") or implied_type(plain)) == "object"


_MAX_REFERENCES = 10


def _of_instances(cls: type, schema: Mapping[str, Any], from_text: Callable[[str], Any]) -> AnswerType:
    def from_json(value: Any) -> Any:
        # As JSON text: a class in pydantic's strict mode takes a date or an enum only from there.
        return from_text(json.dumps(value))

    return AnswerType(str(schema.get("title") or cls.__name__), schema, from_json, makes_instances=True)


def _of_dicts(schema: Mapping[str, Any], title: str, strict: bool | None = None) -> AnswerType:
    def from_json(value: Any) -> Any:
        if found := find_violations(value, schema):
            more = f"; and {len(found) - _SHOWN_VIOLATIONS} more" if len(found) > _SHOWN_VIOLATIONS else ""
            raise ValueError("; ".join(found[:_SHOWN_VIOLATIONS]) + more)
        return value

    return AnswerType(title, schema, from_json, strict=strict)


def _from_mapping(given: Mapping[str, Any]) -> AnswerType:
    """A JSON schema, or one of the envelopes that a schema travels in."""
    for kind in ("json_schema", "function"):
        if given.get("type") == kind and isinstance(given.get(kind), Mapping):
            return _from_mapping(given[kind])
    body: Any = given
    for key in ("schema", "parameters", "input_schema"):
        if "name" in given and isinstance(given.get(key), Mapping):
            body = {"description": given["description"], **given[key]} if given.get("description") else given[key]
            break
    else:
        if "name" in given and not given.keys() & _SCHEMA_WORDS:  # a function without parameters
            body = {"type": "object", "properties": {}, **{k: v for k, v in given.items() if k == "description"}}
        elif not given.keys() & _SCHEMA_WORDS:
            raise ValueError(f"the dict with the keys {', '.join(map(repr, given)) or '(none)'} is no JSON schema")
    strict = given.get("strict")
    title = given.get("title") if body is given else given["name"]
    return _of_dicts(body, str(title or "answer"), strict if isinstance(strict, bool) else None)


_SCHEMA_WORDS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "items"})


def _schema_of(source: Any) -> dict[str, Any]:
    make = source.json_schema if isinstance(source, TypeAdapter) else source.model_json_schema
    try:
        schema: dict[str, Any] = make()
    except PydanticInvalidForJsonSchema as error:
        raise ValueError(f"no JSON schema can stand for {source}: {error.message}") from error
    return schema


def _is_pydantic_1(cls: type) -> bool:
    """By name: Python 3.14 cannot import ``pydantic.v1``, and nobody else should have to."""
    return any(base.__module__ == "pydantic.v1.main" and base.__name__ == "BaseModel" for base in cls.__mro__)


# -- TypedDicts. LangChain's own conversion goes by pydantic 1, fails on NotRequired and on recursion, and takes
# `total=False` for True; pydantic's refuses `typing.TypedDict` before Python 3.12 and knows no `Annotated[type, default,
# "description"]`, which LangChain taught its users.


def _to_model(typed_dict: Any, above: tuple[Any, ...]) -> type[BaseModel]:
    if typed_dict in above:
        ring = " -> ".join(one.__name__ for one in (*above[above.index(typed_dict) :], typed_dict))
        raise ValueError(f"the schema contains itself: {ring}. Unroll it as deep as you need it")
    inside, required = (*above, typed_dict), typed_dict.__required_keys__
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(typed_dict, include_extras=True).items():
        # By alias, since a key may be what no field can be called: "schema", "_id", "first-name".
        fields[f"field_{len(fields)}"] = _to_field(name, hint, inside, is_required=name in required)
    is_closed = getattr(typed_dict, "__closed__", None) or _config_of(typed_dict).get("extra") == "forbid"
    config = ConfigDict(extra="forbid") if is_closed else None
    return create_model(
        typed_dict.__name__, __config__=config, __doc__=inspect.cleandoc(typed_dict.__doc__ or ""), **fields
    )


def _config_of(typed_dict: Any) -> Mapping[str, Any]:
    return getattr(typed_dict, "__pydantic_config__", None) or {}


def _to_field(name: str, hint: Any, above: tuple[Any, ...], *, is_required: bool) -> tuple[Any, Any]:
    details: dict[str, Any] = {}
    constraints: list[Any] = []
    while get_origin(hint) in {Annotated, Required, NotRequired, ReadOnly}:
        inner, *extras = get_args(hint)
        if get_origin(hint) in {Required, NotRequired}:
            is_required = get_origin(hint) is Required
        elif extras and (extras[0] is ... or isinstance(extras[0], _PLAIN)):
            details.update(zip(("default", "description"), extras, strict=False))
        else:
            constraints += extras
        hint = inner
    kind = _without_typed_dicts(hint, above)
    for constraint in constraints:
        kind = Annotated[kind, constraint]
    default = details.get("default", ...)
    if default is ... and not is_required:
        default = None
    return kind, Field(default, alias=name, title=name, description=details.get("description"))


_PLAIN = (str, int, float, list, dict, type(None))


def _without_typed_dicts(hint: Any, above: tuple[Any, ...]) -> Any:
    if is_typeddict(hint):
        return _to_model(hint, above)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is None or not arguments:
        return hint
    changed = tuple(_without_typed_dicts(argument, above) for argument in arguments)
    if changed == arguments:
        return hint
    return functools.reduce(operator.or_, changed) if origin in {Union, UnionType} else origin[changed]
