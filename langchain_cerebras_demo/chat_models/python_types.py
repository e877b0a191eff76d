"""Answer types from Python types: pydantic classes, dataclasses, enums, TypedDicts, functions and LangChain tools."""

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
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import NotRequired, ReadOnly, Required, get_type_hints, is_typeddict

from langchain_cerebras_demo.errors import InvalidRequestError, InvalidRequestTypeError
from langchain_cerebras_demo.wire.schemas.answer_type import AnswerType, from_mapping, from_schema

# What `Annotated[type, default, "description"]` may have as its default.
_PLAIN = (str, int, float, list, dict, type(None))


def to_answer_type(schema: Any) -> AnswerType:
    """Return the answer type of a schema of any form.

    Args:
        schema: A pydantic class (2 or 1), a dataclass or an enum: answers are instances. A TypedDict, a function, a
            LangChain tool, or a dict (a JSON schema, an OpenAI function, tool or response format, an Anthropic tool):
            answers are dicts, or what the JSON schema allows.

    Raises:
        InvalidRequestTypeError: It is none of these.
        InvalidRequestError: A class cannot be expressed as a JSON schema, or a dict is not a schema.
    """
    if isinstance(schema, AnswerType):
        return schema
    if isinstance(schema, Mapping):
        return from_mapping(schema)
    if is_typeddict(schema):
        return from_schema(_schema_of(_to_model(schema, ())), schema.__name__)
    if isinstance(schema, type) and get_origin(schema) is None:  # Python 3.10 takes list[int] for a type
        if issubclass(schema, BaseModel):
            return _of_instances(schema, _schema_of(schema))
        if _is_pydantic_1(schema):
            return _of_instances(schema, schema.schema())  # type: ignore[attr-defined]  # by name
        if dataclasses.is_dataclass(schema) or issubclass(schema, enum.Enum):
            return _of_instances(schema, _schema_of(TypeAdapter(schema)))
    if isinstance(schema, BaseTool) or inspect.isroutine(schema):
        return from_mapping(convert_to_openai_function(schema))
    raise InvalidRequestTypeError(
        f"unsupported schema {schema!r}: give a pydantic class, a dataclass, a TypedDict or a JSON schema; "
        "put a list or a union into a class with one field"
    )


def _of_instances(cls: type, schema: Mapping[str, Any]) -> AnswerType:
    return AnswerType(str(schema.get("title") or cls.__name__), schema, InstanceMaker(cls), makes_instances=True)


class InstanceMaker:
    """A factory of instances of a class from decoded answers. It is pickled by name, like a class.

    Args:
        cls: A pydantic class (2 or 1), a dataclass or an enum.
    """

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self._from_text: Callable[[str], Any]
        if _is_pydantic_1(cls):
            self._from_text = cls.parse_raw
        elif issubclass(cls, BaseModel):
            self._from_text = cls.model_validate_json
        else:
            self._from_text = TypeAdapter(cls).validate_json

    def __call__(self, value: Any) -> Any:
        """Return the instance; raise ``ValueError`` if the answer does not match."""
        # As JSON text, because pydantic's strict mode accepts dates and enums only from text.
        return self._from_text(json.dumps(value))

    def __reduce__(self) -> tuple[object, ...]:
        return (InstanceMaker, (self._cls,))


class _WithoutTitles(GenerateJsonSchema):
    """A generator that omits the titles that pydantic makes from field names, which only cost prompt tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's own
        return False


def _schema_of(source: Any) -> dict[str, Any]:
    make = source.json_schema if isinstance(source, TypeAdapter) else source.model_json_schema
    try:
        schema: dict[str, Any] = make(schema_generator=_WithoutTitles)
    except PydanticInvalidForJsonSchema as error:
        raise InvalidRequestError(f"{source} cannot be expressed as a JSON schema: {error.message}") from error
    return schema


def _is_pydantic_1(cls: type) -> bool:
    # By name: Python 3.14 cannot import `pydantic.v1`, and the import is slow elsewhere.
    return any(base.__module__ == "pydantic.v1.main" and base.__name__ == "BaseModel" for base in cls.__mro__)


# -- TypedDicts. LangChain's own conversion uses pydantic 1, fails on NotRequired and on recursion, and reads `total=False`
# as True; pydantic's refuses `typing.TypedDict` before Python 3.12 and does not know `Annotated[type, default,
# "description"]`, which LangChain's documentation recommends.


def _to_model(typed_dict: Any, above: tuple[Any, ...]) -> type[BaseModel]:
    if typed_dict in above:
        ring = " -> ".join(one.__name__ for one in (*above[above.index(typed_dict) :], typed_dict))
        raise InvalidRequestError(f"the schema contains itself: {ring}. Nest it to a fixed depth instead")
    inside, required = (*above, typed_dict), typed_dict.__required_keys__
    fields: dict[str, Any] = {}
    for name, hint in get_type_hints(typed_dict, include_extras=True).items():
        # By alias, because a key may be an invalid field name: "schema", "_id", "first-name".
        fields[f"field_{len(fields)}"] = _to_field(name, hint, inside, is_required=name in required)
    its_config = getattr(typed_dict, "__pydantic_config__", None) or {}
    is_closed = getattr(typed_dict, "__closed__", None) or its_config.get("extra") == "forbid"
    config = ConfigDict(extra="forbid") if is_closed else None
    return create_model(
        typed_dict.__name__, __config__=config, __doc__=inspect.cleandoc(typed_dict.__doc__ or ""), **fields
    )


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
