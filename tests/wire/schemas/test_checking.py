"""Answers held against the schema that their author wrote, with `jsonschema` as the judge."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.wire.schemas.answer_type import from_mapping
from langchain_cerebras_demo.wire.schemas.checking import find_violations

WORD = {"type": "string"}


def an_object(**properties):
    return {"type": "object", "properties": properties}


# -- what is said of a place

VIOLATIONS = [
    (WORD | {"minLength": 2}, "x", "xx", "has fewer characters than 2"),
    (WORD | {"maxLength": 2}, "xxx", "xx", "has more characters than 2"),
    (WORD | {"pattern": "^x$"}, "y", "x", "does not match the pattern ^x$"),
    (WORD | {"pattern": r"\p{L}("}, None, "x", ""),
    ({"type": "array", "items": WORD, "minItems": 2}, ["x"], ["x", "x"], "has fewer items than 2"),
    ({"type": "array", "items": WORD, "maxItems": 1}, ["x", "y"], ["x"], "has more items than 1"),
    (
        {"type": "array", "contains": WORD, "minContains": 2},
        ["x", 1],
        ["x", "y"],
        "has 1 items that match 'contains'",
    ),
    ({"type": "array", "contains": WORD, "minContains": 0, "maxContains": 1}, ["x", "y"], [], "has 2 items"),
    ({"type": "array", "uniqueItems": True}, [{"a": 1}, {"a": 1.0}], ["x", "y"], "has equal items"),
    ({"type": "array", "items": WORD | {"maxLength": 1}}, ["x", "xx"], ["x"], "#/a/1 has more characters"),
    (
        {"type": "array", "prefixItems": [{"type": "integer"}, WORD]},
        ["x", "x"],
        [1, "x"],
        "#/a/0 is of type string, not integer",
    ),
    ({"type": "array", "prefixItems": [WORD], "items": False}, ["x", "y"], ["x"], "#/a/1 is not allowed"),
    (an_object(b=WORD) | {"minProperties": 1}, {}, {"b": "x"}, "has fewer properties than 1"),
    (an_object(b=WORD, c=WORD) | {"maxProperties": 1}, {"b": "x", "c": "x"}, {"b": "x"}, "more properties"),
    (an_object(b=WORD | {"minLength": 2}), {"b": "x"}, {}, "#/a/b has fewer"),
    ({"type": "integer", "minimum": 1, "maximum": 2}, 3, 2, "is more than 2"),
    ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0, 0.5, "is not more than 0"),
    ({"anyOf": [WORD | {"maxLength": 1}, {"type": "null"}]}, "xx", None, "more characters than 1"),
    ({"anyOf": [WORD | {"maxLength": 1}, WORD | {"pattern": "^y"}]}, "xx", "yy", "characters"),
    ({"type": ["string", "null"], "maxLength": 1}, "xx", "x", "more characters than 1"),
    ({"allOf": [{"$ref": "#/$defs/B"}]}, "xxx", "x", "more characters than 2"),
    (
        {
            "oneOf": [
                an_object(kind={"const": "cat"}, name=WORD | {"maxLength": 1}) | {"required": ["kind"]},
                an_object(kind={"const": "dog"}, name=WORD | {"maxLength": 3}) | {"required": ["kind"]},
            ]
        },
        {"kind": "cat", "name": "xx"},
        {"kind": "dog", "name": "xx"},
        "#/a/name has more characters than 1",
    ),
    (
        {
            "anyOf": [
                an_object(name=WORD, x=WORD) | {"required": ["x"]},
                an_object(name=WORD | {"maxLength": 3}) | {"required": ["name"]},
            ]
        },
        {"name": "xxxx"},
        {"name": "xxxx", "x": ""},
        "#/a/name has more characters than 3",
    ),
    ({"allOf": [{"minLength": 2}, {"maxLength": 3}]}, "xxxx", "xx", "more characters than 3"),
    *(
        (WORD | {"format": name}, bad, good, f"is not in the format {name}")
        for name, bad, good in [
            ("date", "31.1.2026", "2026-01-31"),
            ("date-time", "2026-01-31", "2026-01-31T12:00:00.5Z"),
            ("date-time", "2026-02-31T12:00:00Z", "2026-01-31 12:00:00+01:00"),
            ("time", "25:00", "12:00:00Z"),
            ("uuid", "x", "00000000-0000-4000-8000-000000000000"),
            ("email", "x", "x@example.com"),
            ("uri", "x", "https://example.com/"),
            ("ipv4", "1.2.3", "1.2.3.4"),
            ("ipv6", "1.2.3.4", "::1"),
        ]
    ),
    (WORD | {"format": "nobody-knows"}, None, "x", ""),
]


@pytest.mark.parametrize(("schema", "bad", "good", "words"), VIOLATIONS, ids=lambda value: str(value)[:40])
def test_an_answer_is_held_against_what_was_said_in_words(schema, bad, good, words):
    """By place, as a JSON pointer."""
    whole = an_object(a=schema) | {"$defs": {"B": WORD | {"maxLength": 2}}}
    assert find_violations({"a": good}, whole) == []
    if bad is not None:
        found = find_violations({"a": bad}, whole)
        assert len(found) == 1
        assert words in found[0]
        assert found[0].startswith("#/a")
        with pytest.raises(ValueError, match=re.escape(words)):
            from_mapping(whole).from_json({"a": bad})


ORDER = {
    "type": "object",
    "properties": {
        "name": WORD,
        "count": {"type": "integer"},
        "kind": {"enum": ["a", "b"]},
        "home": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}]},
        "tags": {"type": ["array", "null"], "items": WORD},
        "size": {"type": "number", "multipleOf": 0.1, "exclusiveMinimum": True, "minimum": 0},
        "code": {"type": "string", "nullable": True},
        "extra": {"type": "object", "patternProperties": {"^x-": WORD}, "additionalProperties": {"type": "integer"}},
    },
    "required": ["name", "count", "kind"],
    "additionalProperties": False,
    "$defs": {"Address": an_object(city=WORD) | {"required": ["city"]}},
}
GOOD = {"name": "x", "count": 1, "kind": "a"}
SAID = {
    "nothing there": ({}, ["# has no 'name', which is required", "# has no 'count', which", "# has no 'kind', which"]),
    "another type": (GOOD | {"count": "one"}, ["#/count is of type string, not integer"]),
    "a boolean is no number": (GOOD | {"count": True}, ["#/count is of type boolean, not integer"]),
    "a broken number": (GOOD | {"count": 1.5}, ["#/count is of type number, not integer"]),
    "a key more": (GOOD | {"colour": "red"}, ["# has 'colour', which is not allowed"]),
    "outside the enum": (GOOD | {"kind": "c"}, ['#/kind is "c", not "a" or "b"']),
    "no list": (GOOD | {"tags": 3}, ["#/tags is of type integer, not array or null"]),
    "in a list": (GOOD | {"tags": ["x", None]}, ["#/tags/1 is of type null, not string"]),
    "in the nearest branch": (GOOD | {"home": {"city": 5}}, ["#/home/city is of type integer, not string"]),
    "missing in the nearest branch": (GOOD | {"home": {}}, ["#/home has no 'city', which is required"]),
    "no branch": (GOOD | {"home": "Rome"}, ["#/home is of type string, not Address or null"]),
    "an exclusive limit as OpenAPI says it": (GOOD | {"size": 0}, ["#/size is not more than 0"]),
    "no multiple": (GOOD | {"size": 0.25}, ["#/size is not a multiple of 0.1"]),
    "under a pattern": (GOOD | {"extra": {"x-a": 1}}, ["#/extra/x-a is of type integer, not string"]),
    "a further key": (GOOD | {"extra": {"a": "x"}}, ["#/extra/a is of type string, not integer"]),
}


@pytest.mark.parametrize("case", SAID)
def test_each_place_is_named_once_with_what_is_wrong_there(case):
    """The type there and the one wanted, the key, the values."""
    value, sentences = SAID[case]
    found = find_violations(value, ORDER)
    assert len(found) == len(sentences)
    assert all(one.startswith(sentence) for one, sentence in zip(found, sentences, strict=True))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"count": 2.0},
        {"home": None},
        {"home": {"city": "Rome", "street": 1}},
        {"tags": None},
        {"code": None},
        {"size": 0.3},
        {"extra": {"x-a": "y", "n": 5}},
    ],
    ids=str,
)
def test_what_fits_has_no_violation(more):
    """Optional keys may be absent, 2.0 is a whole number, 0.3 a multiple of 0.1."""
    assert find_violations(GOOD | more, ORDER) == []


def test_a_long_list_of_violations_is_cut():
    """An error is to be read."""
    schema = {"type": "array", "items": WORD}
    with pytest.raises(ValueError, match=r"#/4 is of type integer, not string; and 95 more$"):
        from_mapping(schema).from_json([1] * 100)
    many = {"enum": [str(number) * 50 for number in range(500)]}
    assert len(find_violations("x" * 5_000, many)[0]) < 300


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "text"},
        {"type": ["string", "date"]},
        {"required": True, "properties": [], "minLength": "3", "maximum": None, "allOf": {}, "enum": "x", "anyOf": []},
        {"$ref": "https://example.com/x"},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#/allOf/1", "allOf": [{}]},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"x-unit": "m", "contains": WORD, "minContains": "x"},
    ],
    ids=str,
)
def test_what_means_nothing_is_ignored(schema):
    """A slip in a schema is no reason to refuse a good answer."""
    assert find_violations({"a": 1}, schema) == []


@pytest.mark.parametrize("keyword", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
@pytest.mark.parametrize("limit", ["5", None, [], False])
def test_a_limit_of_numbers_that_is_not_a_number_is_ignored(keyword, limit):
    """Nor is it compared, which would be a TypeError."""
    assert find_violations(3, {keyword: limit}) == []


def test_a_recursive_schema_is_followed_as_deep_as_the_answer():
    """By any local reference."""
    tree = an_object(name=WORD, children={"type": "array", "items": {"$ref": "#"}})
    found = find_violations({"children": [{"name": "x"}, {"children": [{"name": 5}]}]}, tree)
    assert found == ["#/children/1/children/0/name is of type integer, not string"]
    elsewhere = an_object(a=WORD, **{"b/c": {"$ref": "#/properties/a"}}, d={"$ref": "#/properties/b~1c"})
    assert find_violations({"d": 1}, elsewhere) == ["#/d is of type integer, not string"]


# -- the judge

VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 2, 2.5, -3, "", "a", "b", "ab", "xyz"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "x-a", "long name"]), inner, max_size=3)
    ),
    max_leaves=6,
)
TYPE = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
SMALL = st.integers(0, 3)


def keyword_values(inner):
    names = st.sampled_from(["a", "b", "x-a"])
    several = st.lists(inner, min_size=1, max_size=3)
    return {
        "type": TYPE | st.lists(TYPE, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "minLength": SMALL,
        "maxLength": SMALL,
        "pattern": st.sampled_from(["^a", "b$", "^x-"]),
        "minimum": SMALL,
        "maximum": SMALL,
        "exclusiveMinimum": SMALL,
        "exclusiveMaximum": SMALL,
        "multipleOf": st.integers(1, 3),
        "minItems": SMALL,
        "maxItems": SMALL,
        "uniqueItems": st.booleans(),
        "items": inner,
        "prefixItems": several,
        "contains": inner,
        "minContains": SMALL,
        "maxContains": SMALL,
        "properties": st.dictionaries(names, inner, max_size=3),
        "patternProperties": st.dictionaries(st.sampled_from(["^x-", "a"]), inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "required": st.lists(names, max_size=2, unique=True),
        "dependentRequired": st.dictionaries(names, st.lists(names, max_size=2, unique=True), max_size=2),
        "dependentSchemas": st.dictionaries(names, inner, max_size=2),
        "minProperties": SMALL,
        "maxProperties": SMALL,
        "anyOf": several,
        "oneOf": several,
        "allOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "$ref": st.sampled_from(["#/$defs/A", "#/$defs/B"]),
        "description": st.just("anything"),
        "x-unit": st.just("m"),
    }


@st.composite
def nodes(draw, inner):
    values = keyword_values(inner)
    chosen = draw(st.lists(st.sampled_from(sorted(values)), max_size=4, unique=True))
    return {keyword: draw(values[keyword]) for keyword in chosen}


FLAT = nodes(st.booleans() | st.builds(lambda kind: {"type": kind}, TYPE))
SCHEMAS = nodes(st.booleans() | nodes(FLAT))
NO_REFERENCE = st.builds(lambda node: {key: node[key] for key in node.keys() - {"$ref"}}, FLAT)


@settings(max_examples=500, deadline=None)
@given(SCHEMAS, FLAT, NO_REFERENCE, VALUES)
def test_an_answer_fits_exactly_where_jsonschema_says_so(node, part_a, part_b, value):
    """Every keyword that is held, in every mixture, on values that JSON has."""
    definitions = json.loads(json.dumps({"A": part_a, "B": part_b}).replace("#/$defs/A", "#/$defs/B"))
    schema = {**node, "$defs": definitions}
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert (find_violations(value, schema) == []) == is_valid
