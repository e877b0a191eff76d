"""Checks the fields of a chat request's body by Cerebras' OpenAPI document: every key, type, range and value.

Unknown keys are refused everywhere. ``rules.py`` checks how fields may be combined. A shape accepts a value and its path and
yields one sentence per problem, in the wording of Cerebras' own validation:
``body.foo: property 'body.foo' is unsupported``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, TypeAlias

from langchain_cerebras_demo.testing.models import ALL_FORMATS

Shape: TypeAlias = Callable[[Any, str], Iterator[str]]


def anything(value: Any, path: str) -> Iterator[str]:  # noqa: ARG001 - a shape's signature
    """Any JSON at all."""
    yield from ()


def boolean(value: Any, path: str) -> Iterator[str]:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        yield f"{path}: Input should be a valid boolean"


def number(low: float, high: float) -> Shape:
    """A number within limits, both included."""

    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{path}: Input should be a valid number"
        elif not low <= value <= high:
            yield f"{path}: Input should be between {low:g} and {high:g}"

    return check


def integer(low: int | None = None, high: int | None = None) -> Shape:
    """A whole number within limits, both included; ``None`` = no limit."""

    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path}: Input should be a valid integer"
        elif low is not None and value < low:
            yield f"{path}: Input should be greater than or equal to {low}"
        elif high is not None and value > high:
            yield f"{path}: Input should be less than or equal to {high}"

    return check


def string(*, shortest: int = 0, longest: int | None = None) -> Shape:
    """A string within limits of length, in characters."""

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"{path}: Input should be a valid string"
        elif len(value) < shortest:
            yield f"{path}: String should have at least {shortest} character"
        elif longest is not None and len(value) > longest:
            yield f"{path}: String should have at most {longest} characters"

    return check


def word(*choices: str) -> Shape:
    """One of these strings."""

    def check(value: Any, path: str) -> Iterator[str]:
        if value not in choices:
            yield f"{path}: Input should be {' or '.join(map(repr, choices))}"

    return check


def array(item: Shape, *, fewest: int = 0, most: int | None = None) -> Shape:
    """A list of one shape within limits of length."""

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path}: Input should be a valid list"
            return
        if len(value) < fewest:
            yield f"{path}: List should have at least {fewest} item"
        if most is not None and len(value) > most:
            yield f"{path}: List should have at most {most} items"
        for index, member in enumerate(value):
            yield from item(member, f"{path}.{index}")

    return check


def mapping(item: Shape) -> Shape:
    """An object with any keys and values of one shape."""

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: Input should be a valid object"
            return
        for key, member in value.items():
            yield from item(member, f"{path}.{key}")

    return check


def obj(fields: Mapping[str, Shape], *, required: tuple[str, ...] = ()) -> Shape:
    """An object with these keys and no other: the API's schema has ``additionalProperties: false`` everywhere."""

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: Input should be a valid object"
            return
        for name in required:
            if name not in value:
                yield f"{path}.{name}: property '{path}.{name}' is missing"
        for key, member in value.items():
            if key in fields:
                yield from fields[key](member, f"{path}.{key}")
            else:
                yield f"{path}.{key}: property '{path}.{key}' is unsupported"

    return check


def tagged(tag: str, shapes: Mapping[str, Shape]) -> Shape:
    """The shape that the member called ``tag`` names; for an unknown one, nothing else is reported."""

    def check(value: Any, path: str) -> Iterator[str]:
        kind = value.get(tag) if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in shapes:
            yield from shapes[kind](value, path)
        else:
            yield f"{path}.{tag}: Input should be {' or '.join(map(repr, shapes))}"

    return check


def by_type(shapes: Mapping[type, Shape]) -> Shape:
    """The shape that belongs to the value's JSON type; ``NoneType`` mapped to ``anything`` makes it nullable."""

    def check(value: Any, path: str) -> Iterator[str]:
        if type(value) in shapes:
            yield from shapes[type(value)](value, path)
        else:
            names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in shapes)
            yield f"{path}: Input should be a valid {names}"

    return check


def nullable(shape: Shape) -> Shape:
    """The shape, or ``null``."""

    def check(value: Any, path: str) -> Iterator[str]:
        if value is not None:
            yield from shape(value, path)

    return check


def matching(pattern_words: str, shape: Shape, allowed: str) -> Shape:
    """A string of 1 to 64 characters out of ``allowed``; ``pattern_words`` is the pattern for the message."""

    def check(value: Any, path: str) -> Iterator[str]:
        yield from shape(value, path)
        if isinstance(value, str) and not (1 <= len(value) <= 64 and set(value) <= set(allowed)):
            yield f"{path}: String should match pattern '{pattern_words}'"

    return check


_LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAME = matching("^[a-zA-Z0-9_-]{1,64}$", string(), _LETTERS + _LETTERS.upper() + "0123456789_-")

PARTS: dict[str, Shape] = {
    "text": obj({"type": anything, "text": string()}, required=("text",)),
    "image_url": obj(
        {"type": anything, "image_url": obj({"url": string(), "detail": string()}, required=("url",))},
        required=("image_url",),
    ),
    "image": obj({"type": anything, "image": string()}, required=("image",)),
}
TEXT_PART = tagged("type", {"text": PARTS["text"]})
TEXT = by_type({str: string(), list: array(TEXT_PART)})
NULLABLE_TEXT = by_type({str: string(), list: array(TEXT_PART), NoneType: anything})
CONTENT = by_type({str: string(), list: array(tagged("type", PARTS))})

TOOL_CALL = obj(
    {
        "id": string(shortest=1),
        "type": word("function"),
        "function": obj({"name": NAME, "arguments": string()}, required=("name", "arguments")),
        "index": nullable(integer()),
    },
    required=("id", "type", "function"),
)

_SPOKEN = obj({"role": anything, "content": CONTENT, "name": nullable(string())}, required=("content",))
MESSAGES: dict[str, Shape] = {
    "system": _SPOKEN,
    "developer": _SPOKEN,
    "user": _SPOKEN,
    "assistant": obj(
        {
            "role": anything,
            "content": NULLABLE_TEXT,
            "reasoning": NULLABLE_TEXT,  # `reasoning_content` is refused: the commonest 400 of other clients
            "tool_calls": nullable(array(TOOL_CALL, fewest=1)),
            "name": nullable(string()),
        }
    ),
    "tool": obj(
        {"role": anything, "content": TEXT, "tool_call_id": string(shortest=1), "name": nullable(string())},
        required=("content", "tool_call_id"),
    ),
}


def message(value: Any, path: str) -> Iterator[str]:
    """A message, by its role; the role is part of the path, as in the recorded refusals."""
    role = value.get("role") if isinstance(value, dict) else None
    if isinstance(role, str) and role in MESSAGES:
        yield from MESSAGES[role](value, f"{path}.{role}")
    else:
        yield f"{path}.role: Input should be {' or '.join(map(repr, MESSAGES))}"


TOOL = obj(
    {
        "type": word("function"),
        "function": obj(
            {
                "name": NAME,
                "description": nullable(string()),
                "parameters": nullable(mapping(anything)),
                "strict": nullable(boolean),
            },
            required=("name",),
        ),
    },
    required=("type", "function"),
)

NAMED_CHOICE = obj(
    {"type": word("function"), "function": obj({"name": string()}, required=("name",))}, required=("type", "function")
)

FORMATS: dict[str, Shape] = {
    "text": obj({"type": anything}),
    "json_object": obj({"type": anything}),
    "json_schema": obj(
        {
            "type": anything,
            "json_schema": obj(
                {
                    "name": NAME,
                    "description": nullable(string()),
                    "schema": nullable(mapping(anything)),
                    "strict": nullable(boolean),
                },
                required=("name",),
            ),
        },
        required=("json_schema",),
    ),
}

STOP = by_type({str: string(shortest=1), list: array(string(shortest=1), fewest=1, most=4), NoneType: anything})
PREDICTION = obj({"type": word("content"), "content": TEXT}, required=("type", "content"))

PARAMETERS: dict[str, Shape] = {
    "messages": array(message, fewest=1),
    "model": string(),
    "max_completion_tokens": nullable(integer(-1)),
    "max_tokens": nullable(integer(-1)),
    "min_completion_tokens": nullable(integer(-1)),
    "min_tokens": nullable(integer(-1)),
    "temperature": nullable(number(0, 2)),
    "top_p": nullable(number(0, 1)),
    "frequency_penalty": nullable(number(-2, 2)),
    "presence_penalty": nullable(number(-2, 2)),
    "logit_bias": nullable(mapping(number(-100, 100))),
    "logprobs": nullable(boolean),
    "top_logprobs": nullable(integer(0, 20)),
    "n": nullable(integer(1)),
    "seed": nullable(integer()),
    "stop": STOP,
    "stream": nullable(boolean),
    "stream_options": nullable(obj({"include_usage": nullable(boolean)})),
    "tools": nullable(array(TOOL, fewest=1)),
    "tool_choice": by_type({str: word("none", "auto", "required"), dict: NAMED_CHOICE, NoneType: anything}),
    "parallel_tool_calls": nullable(boolean),
    "response_format": nullable(tagged("type", FORMATS)),
    "reasoning_effort": nullable(word("none", "low", "medium", "high")),
    "reasoning_format": word(*ALL_FORMATS),  # the one that may not be null
    "disable_reasoning": nullable(boolean),
    "clear_thinking": nullable(boolean),
    "prediction": nullable(PREDICTION),
    "prompt_cache_key": nullable(string(longest=1024)),
    "service_tier": nullable(word("auto", "default", "flex", "priority")),
    "model_parameters": nullable(mapping(anything)),
    "user": nullable(string()),
}

REQUIRED = ("model", "messages")
# A recorded refusal inside a message starts at "messages", one of a plain parameter at "body".
_NESTED = {"messages", "tools", "tool_choice", "response_format", "stream_options", "prediction"}


def shape_problems(body: Any) -> list[str]:
    """Return what is wrong with the fields of a chat request's body, one sentence per problem; empty if nothing is."""
    if not isinstance(body, dict):
        return ["body: Input should be a valid object"]
    problems = [f"body.{name}: property 'body.{name}' is missing" for name in REQUIRED if name not in body]
    for key, value in body.items():
        if key not in PARAMETERS:
            problems.append(f"body.{key}: property 'body.{key}' is unsupported")
        else:
            problems += PARAMETERS[key](value, key if key in _NESTED else f"body.{key}")
    return problems
