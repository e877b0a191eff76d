"""Answer types of JSON schemas and of the dicts that contain one; names, response formats and tools."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.wire.schemas.answer_type import (
    check_tool_name,
    from_mapping,
    to_response_format,
    to_schema_name,
    to_tool,
)

WORD = {"type": "string"}


def an_object(**properties):
    return {"type": "object", "properties": properties}


def closed(**properties):
    return an_object(**properties) | {"additionalProperties": False}


# -- names


@pytest.mark.parametrize(
    ("title", "name"),
    [("Person", "Person"), ("Box[int]", "Box_int_"), ("My thing", "My_thing"), ("x" * 70, "x" * 64), ("", "answer")],
)
def test_a_title_becomes_a_name(title, name):
    """Letters, digits, '_' and '-', 1 to 64 of them."""
    assert to_schema_name(title) == name


@given(st.text())
def test_every_title_becomes_a_name(title):
    """Whatever it holds, and a name stays what it is."""
    name = to_schema_name(title)
    assert check_tool_name(name) == name == to_schema_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 65, "größe", "a\n"])
def test_a_bad_tool_name_is_refused_by_name(name):
    """With what is allowed."""
    with pytest.raises(ValueError, match=re.escape(repr(name)) + ".*1 to 64 letters"):
        check_tool_name(name)


# -- dicts that contain a schema

SCHEMA = an_object(a={"type": "integer"}) | {"required": ["a"]}
FORMS = {
    "JSON schema": SCHEMA | {"title": "add", "description": "Adds."},
    "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA},
    "tool": {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": SCHEMA}},
    "Anthropic tool": {"name": "add", "description": "Adds.", "input_schema": SCHEMA},
    "json_schema": {"name": "add", "description": "Adds.", "schema": SCHEMA},
    "response format": {
        "type": "json_schema",
        "json_schema": {"name": "add", "description": "Adds.", "schema": SCHEMA, "strict": True},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_one_schema_are_one(form):
    """And they come out as they went in, once more."""
    wanted = to_response_format(FORMS[form])
    assert wanted == {
        "type": "json_schema",
        "json_schema": {
            "name": "add",
            "description": "Adds.",
            "strict": True,
            "schema": closed(a={"type": "integer"}) | {"required": ["a"]},
        },
    }
    assert to_response_format(wanted) == wanted


def test_a_function_without_parameters_is_an_empty_object():
    """{"name": …} alone."""
    assert to_tool(from_mapping({"name": "now"}))["function"]["parameters"] == an_object()
    assert to_response_format({"name": "now"})["json_schema"]["schema"] == closed()


def test_a_schema_without_a_title_is_called_answer():
    """The API wants a name."""
    assert to_response_format(SCHEMA)["json_schema"]["name"] == "answer"


def test_strict_is_the_callers_word_else_the_schemas_else_the_default():
    """Two different words are an error."""
    said = FORMS["response format"] | {"json_schema": FORMS["json_schema"] | {"strict": False}}
    assert to_response_format(said)["json_schema"]["strict"] is False
    assert to_response_format(SCHEMA, strict=False)["json_schema"]["strict"] is False
    with pytest.raises(ValueError, match="strict=True was given, but the schema has strict=False"):
        to_response_format(said, strict=True)


@pytest.mark.parametrize(
    ("given", "words"), [({"colour": "red"}, "'colour' is not a JSON schema"), ({}, r"\(none\) is not a")]
)
def test_a_dict_that_is_not_a_schema_is_refused_by_its_keys(given, words):
    """Instead of asking the service for anything at all."""
    with pytest.raises(ValueError, match=words):
        to_response_format(given)


def test_a_response_format_without_a_schema_stays_as_it_is():
    """``text`` and ``json_object``."""
    for kind in ("text", "json_object"):
        assert to_response_format({"type": kind}) == {"type": kind}
