"""Values that are made from a schema and a prompt match the schema."""

from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.testing.invention import Facts, invent, invent_object

NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Node"}]}},
    "required": ["value", "next"],
}

FITTING = [
    ({"type": "integer"}, "magic_function(3)", 3),
    ({"type": "number"}, "about 2.5 litres", 2.5),
    ({"type": "integer", "minimum": 10}, "3", 10),
    ({"type": "integer", "exclusiveMaximum": 3}, "7", 2),
    ({"type": "number", "multipleOf": 0.5}, "1.2", 1.5),
    ({"type": "integer"}, "nothing", 0),
    ({"type": "string"}, 'called "Ada"', "Ada"),
    ({"type": "string"}, "named '你好啊集团' (Hello Group)", "你好啊集团"),
    ({"type": "string"}, "it's what they don't say", "x: it's what they don't say"),
    ({"type": "string"}, "generate a Pirate greeting", "Pirate"),
    ({"type": "string"}, "hello", "x: hello"),
    ({"type": "string", "maxLength": 2}, '"Ada"', "Ad"),
    ({"type": "string", "minLength": 5}, '"Ada"', "Adaxx"),
    ({"type": "string", "format": "date"}, "today", "2026-01-31"),
    ({"type": "boolean"}, "do it", True),
    ({"type": "boolean"}, "do not", False),
    ({"type": "null"}, "", None),
    ({"type": ["null", "integer"]}, "4", 4),
    ({"enum": ["red", "green"]}, "the green one", "green"),
    ({"enum": ["red", "green"]}, "any", "red"),
    ({"const": 7}, "8", 7),
    ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, "9", 9),
    ({"allOf": [{"type": "integer"}, {"minimum": 5}]}, "1", 5),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, "4 and 5", [4, 5]),
    ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, "4", []),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "minItems": 2}, "4", [4, True]),
    ({"properties": {"a": {"type": "integer"}}, "required": ["a", "b"]}, "1", {"a": 1, "b": "b: 1"}),
    (True, "hello", "x: hello"),
    ({"$ref": "#/$defs/Age", "$defs": {"Age": {"type": "integer"}}}, "30", 30),
]


@pytest.mark.parametrize(("schema", "prompt", "value"), FITTING)
def test_a_value_comes_from_the_prompt_and_fits(schema, prompt, value):
    """Numbers, quoted strings and proper names are taken in order; limits move them."""
    assert invent(schema, "x", Facts(prompt)) == value
    jsonschema.validate(value, schema)


def test_a_number_behind_its_name_goes_first():
    """Names in the prompt say which number is which."""
    schema = {"properties": {"age": {"type": "integer"}, "size": {"type": "integer"}}, "required": ["age", "size"]}
    assert invent(schema, "x", Facts("size: 42, age: 30")) == {"age": 30, "size": 42}
    assert invent(schema, "x", Facts("30 and 42")) == {"age": 30, "size": 42}


def test_the_last_fact_stays():
    """A prompt with fewer facts than the schema has places fills them all."""
    numbers = {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
    assert invent(numbers, "x", Facts("7")) == {"a": 7, "b": 7}
    strings = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a", "b"]}
    assert invent(strings, "x", Facts("'one'")) == {"a": "one", "b": "one"}


@pytest.mark.parametrize(
    ("prompt", "keys"),
    [("a joke", {"setup"}), ("a joke with a punchline", {"setup", "punchline"}), ("no punchline", {"setup"})],
)
def test_an_optional_property_comes_when_it_is_spoken_of(prompt, keys):
    """And stays away when the prompt forbids it."""
    schema = {"properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}}, "required": ["setup"]}
    assert invent(schema, "x", Facts(prompt)).keys() == keys


def test_a_recursive_schema_comes_to_an_end():
    """Deep down the branch with null is taken; where there is none, anything ends it."""
    value = invent({"$ref": "#/$defs/Node", "$defs": {"Node": NODE}}, "x", Facts("1"))
    jsonschema.validate(value, {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}})
    endless = {"$defs": {"A": {"properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}}, "$ref": "#/$defs/A"}
    assert invent(endless, "x", Facts("1"))["a"]["a"]


SCALARS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "minLength": 3, "maxLength": 5},
        {"type": "integer", "minimum": -3, "maximum": 4},
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "boolean"},
        {"enum": ["a", 1, None]},
    ]
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(lambda item, n: {"type": "array", "items": item, "minItems": n}, inner, st.integers(0, 3))
        | st.builds(
            lambda members, strict: {
                "type": "object",
                "properties": members,
                "required": list(members)[:strict],
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from("abcdef"), inner, max_size=4),
            st.integers(0, 4),
        )
        | st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner)
    ),
    max_leaves=12,
)


@given(SCHEMAS, st.text(max_size=60))
def test_every_value_validates(schema, prompt):
    """Whatever schema and prompt come together, the value fits the schema."""
    jsonschema.validate(invent(schema, "x", Facts(prompt)), schema)


def test_json_without_a_schema_has_a_key_in_any_case():
    """Where the prompt quotes no name there is one key."""
    assert invent_object(Facts("JSON please")).keys() == {"answer"}
