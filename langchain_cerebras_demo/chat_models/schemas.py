"""What is to come back, as the API wants to be told: a response format, or a tool of which the arguments are the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from langchain_cerebras_demo.chat_models.answer_types import AnswerType, to_answer_type
from langchain_cerebras_demo.wire.schemas.strict import to_lenient_schema, to_strict_schema

__all__ = [
    "check_tool_name",
    "to_lenient_schema",
    "to_response_format",
    "to_schema_name",
    "to_strict_schema",
    "to_tool",
]

# A contract derived from the documentation gives this pattern; OpenAI's is the same.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def to_schema_name(title: str) -> str:
    """A name that the API takes, made of a title: ``Box[int]`` becomes ``Box_int_``. Never empty."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", title)[:64] or "answer"


def check_tool_name(name: str) -> str:
    """``name``, if it is one to the API.

    Raises:
        ValueError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"the tool name {name!r} is not taken: use 1 to 64 letters, digits, '_' and '-'")
    return name


def to_response_format(schema: Any, *, strict: bool | None = None, default: bool = True) -> dict[str, Any]:
    """The ``response_format`` that asks for answers of this schema.

    Args:
        schema: a pydantic class (2 or 1), TypedDict, dataclass, function, ``AnswerType``, or a dict: a JSON schema, an
            OpenAI function or tool, or a response format as it is.
        strict: whether the service holds every token to the schema. ``None`` is what the dict itself says.
        default: what counts where neither says.

    Raises:
        ValueError: strict mode cannot do it (see ``to_strict_schema``), or the dict itself says another ``strict``.
        TypeError: ``schema`` is none of these.
    """
    if isinstance(schema, Mapping) and schema.get("type") in {"text", "json_object"}:
        return dict(schema)  # the formats that have no schema
    answer_type = to_answer_type(schema)
    wanted = {**_named(answer_type), "strict": agreed_strict(answer_type, strict, default=default)}
    fit = to_strict_schema if wanted["strict"] else to_lenient_schema
    wanted["schema"] = fit(answer_type.schema)
    wanted["schema"].pop("description", None)  # it stands beside the name already
    return {"type": "json_schema", "json_schema": wanted}


def to_tool(schema: Any, *, strict: bool | None = None) -> dict[str, Any]:
    """The tool, in the API's own form, whose arguments are an answer of this schema.

    Args:
        schema: as for ``to_response_format``.
        strict: as there, but ``None`` is no: so it is for every other tool, and a request must not mix the two.

    Raises:
        ValueError, TypeError: as ``to_response_format``.
    """
    answer_type = to_answer_type(schema)
    function = _named(answer_type)
    is_strict = agreed_strict(answer_type, strict, default=None)
    function["parameters"] = (to_strict_schema if is_strict else to_lenient_schema)(answer_type.schema)
    function["parameters"].pop("description", None)
    if is_strict is not None:
        function["strict"] = is_strict
    return {"type": "function", "function": function}


def agreed_strict(answer_type: AnswerType, strict: bool | None, *, default: bool | None) -> bool | None:
    """What the caller says, else what the schema says itself, else ``default``.

    Raises:
        ValueError: caller and schema disagree.
    """
    if strict is not None and answer_type.strict is not None and strict is not answer_type.strict:
        raise ValueError(f"the schema says strict={answer_type.strict} itself and strict={strict} was given: keep one")
    said = answer_type.strict if strict is None else strict
    return default if said is None else said


def _named(answer_type: AnswerType) -> dict[str, Any]:
    description = answer_type.schema.get("description")
    return {
        "name": to_schema_name(answer_type.title),
        **({"description": description} if description else {}),
    }
