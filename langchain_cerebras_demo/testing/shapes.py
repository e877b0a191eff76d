"""Small checkers of JSON shapes, put together to describe a request body.

A shape takes a value and the path to it and yields one sentence a problem, in the wording that Cerebras' validation
uses: ``body.foo: property 'body.foo' is unsupported``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

__all__ = [
    "Shape",
    "anything",
    "array",
    "boolean",
    "by_type",
    "integer",
    "mapping",
    "number",
    "obj",
    "string",
    "tagged",
    "word",
]

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
    """An object with these keys and no other: the API's schema says ``additionalProperties: false`` everywhere."""

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
    """The shape that the member called ``tag`` names; an unknown one is the only problem told."""

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
