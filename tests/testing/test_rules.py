"""The rules that a strict schema must follow."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.testing.rules import strict_problems


def closed(**properties):
    return {"type": "object", "properties": properties, "additionalProperties": False}


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = closed(a=schema)
    return schema


WORD = {"type": "string"}
GOOD = [
    closed(a=WORD, b={"type": "array", "items": closed(c=WORD)}),
    closed(a={"anyOf": [WORD, {"type": "null"}]}) | {"required": ["a"]},
    closed(a={"$ref": "#/$defs/B"}) | {"$defs": {"B": closed(c={"$ref": "#/$defs/C"}), "C": WORD}},
    closed(a={"type": "string", "enum": ["x", "y"]}, b={"enum": [1, 2]}, c={"type": "boolean", "enum": [True]}),
    closed(pattern=WORD, format=WORD),
    nested(10),
]
BAD = [
    ({"type": "array", "items": WORD}, "root"),
    ({"type": "object", "properties": {}}, "additionalProperties"),
    (closed(a={"type": "object", "properties": {}}), "additionalProperties"),
    (closed(a=WORD) | {"additionalProperties": True}, "additionalProperties"),
    (closed(a={"type": "array", "items": WORD, "minItems": 1}), "{'minItems'}"),
    (closed(a={"type": "string", "pattern": "x", "format": "date"}), "{'format', 'pattern'}"),
    (closed(a={"type": "array", "items": True}), "{'items'}"),
    (closed() | {"definitions": {"A": WORD}}, "{'definitions'}"),
    (closed(a={"type": ["string", "null"]}), "anyOf"),
    (closed(a={"anyOf": [WORD] * 6}), "5 branches"),
    (closed(a={"enum": [1, "x"]}), "enum"),
    (closed(a={"type": "string", "enum": [1]}), "enum"),
    (closed(a={"type": "integer", "enum": [True]}), "enum"),
    (closed(a={"$ref": "https://example.com/x"}), "$ref"),
    (closed(a={"$ref": "#/$defs/B"}), "$ref"),
    (closed(a={"$ref": "#/$defs/B"}) | {"$defs": {"B": closed(b={"$ref": "#/$defs/B"})}}, "recursive"),
    (nested(11), "deeper than 10"),
    (closed(a={"type": "string", "enum": ["x" * 5000]}), "longer than 5000"),
    (closed(a={"type": "string", "maxLength": 5}), "maxLength"),
    (closed(a={"enum": list(range(501))}), "500 enum"),
    (closed(**{f"p{n}": {} for n in range(501)}), "500 properties"),
]


@pytest.mark.parametrize("schema", GOOD)
def test_an_explicit_schema_is_taken(schema):
    """Closed objects, $defs, typed enums and ten levels are within the limits; names are not keywords."""
    assert strict_problems(schema) == []


@pytest.mark.parametrize(("schema", "words"), BAD, ids=[words for _, words in BAD])
def test_what_strict_mode_cannot_do_is_named(schema, words):
    """Each limit has its own sentence."""
    assert any(words in problem for problem in strict_problems(schema))
