"""JSON schemas made fit for strict mode: each rule and each refusal."""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
from types import MappingProxyType

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.testing.invention import Facts, invent
from langchain_cerebras_demo.testing.rules import strict_problems
from langchain_cerebras_demo.wire.schemas import strict
from langchain_cerebras_demo.wire.schemas.checking import find_violations
from langchain_cerebras_demo.wire.schemas.strict import to_lenient_schema, to_strict_schema

WORD = {"type": "string"}


def an_object(**properties):
    return {"type": "object", "properties": properties}


def closed(**properties):
    return an_object(**properties) | {"additionalProperties": False}


def fitted(member, **more):
    """The property `a` of an object, made fit."""
    return to_strict_schema(an_object(a=member) | more)["properties"]["a"]


# -- one property in, one property out

RULES = {
    "an object is closed": (an_object(b=WORD), closed(b=WORD)),
    "an object without properties is closed": (an_object(), closed()),
    "an object that allows nothing is closed": ({"type": "object", "additionalProperties": False}, closed()),
    "the type is read from the keywords": ({"properties": {"b": WORD}}, closed(b=WORD)),
    "what is required stays, the rest stays optional": (
        an_object(b=WORD, c=WORD) | {"required": ["b"]},
        {"type": "object", "properties": {"b": WORD, "c": WORD}, "required": ["b"], "additionalProperties": False},
    ),
    "a list of types is a union": ({"type": ["string", "null"]}, {"anyOf": [WORD, {"type": "null"}]}),
    "a list of one type is the type": ({"type": ["string"]}, WORD),
    "each type of a list keeps what is said of it": (
        {"type": ["integer", "string"], "minimum": 3, "maxLength": 2, "description": "D"},
        {
            "anyOf": [{"type": "integer", "minimum": 3}, WORD | {"description": "At most 2 characters"}],
            "description": "D",
        },
    ),
    "nullable is a union with null": (WORD | {"nullable": True}, {"anyOf": [WORD, {"type": "null"}]}),
    "nullable beside a union": (
        {"anyOf": [WORD, {"type": "integer"}], "nullable": True},
        {"anyOf": [WORD, {"type": "integer"}, {"type": "null"}]},
    ),
    "nullable beside an enum": (
        WORD | {"nullable": True, "enum": ["x"]},
        {"anyOf": [WORD | {"enum": ["x"]}, {"type": "null"}]},
    ),
    "not nullable says nothing": (WORD | {"nullable": False}, WORD),
    "allOf around one is that one": ({"allOf": [WORD], "description": "D"}, WORD | {"description": "D"}),
    "oneOf is anyOf, the discriminator goes": (
        {"oneOf": [WORD, {"type": "integer"}], "discriminator": {"propertyName": "kind"}},
        {"anyOf": [WORD, {"type": "integer"}]},
    ),
    "a union in a union is one union": (
        {"anyOf": [{"anyOf": [WORD, {"type": "integer"}]}, {"type": "null"}]},
        {"anyOf": [WORD, {"type": "integer"}, {"type": "null"}]},
    ),
    "a union of one is that one": (
        {"anyOf": [WORD | {"description": "B"}], "description": "A"},
        WORD | {"description": "A (B)"},
    ),
    "equal branches are one": ({"anyOf": [WORD, WORD]}, WORD),
    "the type beside a union belongs to its branches": (
        {"type": "string", "anyOf": [{"maxLength": 1}, {"enum": ["xx"]}]},
        {"anyOf": [WORD | {"description": "At most 1 character"}, WORD | {"enum": ["xx"]}]},
    ),
    "const is an enum of one": ({"const": "x"}, WORD | {"enum": ["x"]}),
    "const null is null": ({"const": None}, {"type": "null"}),
    "an enum gets its type": ({"enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
    "whole and broken numbers are numbers": ({"enum": [1, 2.5]}, {"type": "number", "enum": [1, 2.5]}),
    "a boolean is no number": (
        {"enum": [True, 1]},
        {"anyOf": [{"type": "boolean", "enum": [True]}, {"type": "integer", "enum": [1]}]},
    ),
    "an enum of several types is a union": (
        {"enum": ["x", 1, None]},
        {"anyOf": [WORD | {"enum": ["x"]}, {"type": "integer", "enum": [1]}, {"type": "null"}]},
    ),
    "values of an enum that its type excludes go": (WORD | {"enum": ["x", 1]}, WORD | {"enum": ["x"]}),
    "numbers keep their constraints": (
        {"type": "integer", "minimum": 0, "exclusiveMaximum": 9, "multipleOf": 3},
        {"type": "integer", "minimum": 0, "exclusiveMaximum": 9, "multipleOf": 3},
    ),
    "constraints of a type that it is not mean nothing": (WORD | {"minimum": 3}, WORD),
    "counts in words": (
        {"type": "array", "items": WORD, "minItems": 2, "maxItems": 5, "uniqueItems": True},
        {"type": "array", "items": WORD, "description": "2 to 5 items; no equal items"},
    ),
    "one count": (
        {"type": "array", "items": WORD, "minItems": 1},
        {"type": "array", "items": WORD, "description": "At least 1 item"},
    ),
    "no count": ({"type": "array", "items": WORD, "minItems": 0}, {"type": "array", "items": WORD}),
    "lengths, pattern and format behind the description": (
        WORD | {"description": "A code.", "minLength": 3, "maxLength": 3, "pattern": "^x", "format": "date"},
        WORD | {"description": "A code. (exactly 3 characters; matches the regular expression ^x; in the format date)"},
    ),
    "default and examples in words, null is no news": (
        {"type": "integer", "default": 3, "examples": [4, 5]},
        {"type": "integer", "description": "Default 3; for example 4, 5"},
    ),
    "a default of null says nothing": (WORD | {"default": None}, WORD),
    "keywords that nobody knows stand as JSON": (WORD | {"x-unit": ["m"]}, WORD | {"description": 'X-unit: ["m"]'}),
    "what says nothing to a model goes": (WORD | {"$comment": "x", "deprecated": True, "$id": "y"}, WORD),
    "a title that repeats the name goes": (WORD | {"title": "A"}, WORD),
    "another title stays": (WORD | {"title": "Full name"}, WORD | {"title": "Full name"}),
    "a tuple is a list in words": (
        {"type": "array", "prefixItems": [{"type": "integer"}, WORD], "minItems": 2, "maxItems": 2},
        {
            "type": "array",
            "items": {"anyOf": [{"type": "integer"}, WORD]},
            "description": "In this order: integer, string; exactly 2 items",
        },
    ),
    "a tuple of one type": (
        {"type": "array", "items": [WORD, WORD], "minItems": 2, "maxItems": 2},
        {"type": "array", "items": WORD, "description": "Exactly 2 items"},
    ),
    "properties called like keywords are properties": (
        an_object(pattern=WORD, title=WORD, definitions=WORD),
        closed(pattern=WORD, title=WORD, definitions=WORD),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_schema_is_reworded_for_strict_mode(rule):
    """What the service refuses is said in a way that it takes; nothing is lost."""
    given_, expected = RULES[rule]
    assert fitted(given_) == expected
    assert strict_problems(to_strict_schema(an_object(a=given_))) == []


def test_definitions_stand_under_defs_and_references_follow():
    """`definitions` is refused; what nothing refers to goes, since it would count against the size."""
    schema = an_object(a={"allOf": [{"$ref": "#/definitions/B"}], "description": "D"}) | {
        "definitions": {"B": an_object(c={"$ref": "#/definitions/C"}) | {"title": "B"}, "C": WORD, "Unused": WORD}
    }
    assert to_strict_schema(schema) == closed(a={"$ref": "#/$defs/B", "description": "D"}) | {
        "$defs": {"B": closed(c={"$ref": "#/$defs/C"}), "C": WORD}
    }


def test_a_root_that_is_a_reference_is_what_it_refers_to():
    """As pydantic writes a class that stands among its own parts."""
    schema = {"$ref": "#/$defs/A", "$defs": {"A": an_object(b=WORD)}}
    assert to_strict_schema(schema) == closed(b=WORD)


def test_the_schema_that_was_given_is_not_changed():
    """Not at any depth, and the new one shares nothing with it."""
    schema = an_object(a={"enum": ["x"]}, b={"$ref": "#/definitions/B"}) | {"definitions": {"B": an_object(c=WORD)}}
    before = copy.deepcopy(schema)
    out = to_strict_schema(schema)
    out["properties"]["a"]["enum"].append("y")
    out["$defs"]["B"]["properties"].clear()
    assert schema == before


# -- refusals


def nested(depth):
    schema = WORD
    for _ in range(depth):
        schema = an_object(a=schema)
    return schema


REFERENCE_B, REFERENCE_C = {"$ref": "#/$defs/B"}, {"$ref": "#/$defs/C"}
REFUSALS = {
    "open object": (
        an_object(a=an_object(b=WORD) | {"additionalProperties": True}),
        r"#/properties/a is a mapping with free keys. Name its properties, or use a list",
    ),
    "mapping": (an_object(a={"type": "object", "additionalProperties": WORD}), "#/properties/a is a mapping"),
    "bare object": (an_object(a={"type": "object"}), "#/properties/a is a mapping"),
    "keys by pattern": (an_object(a=an_object() | {"patternProperties": {"^x": WORD}}), "#/properties/a is a mapping"),
    "keys by name": (
        an_object(a={"type": "object", "propertyNames": {"enum": ["x"]}, "additionalProperties": WORD}),
        "#/properties/a is a mapping",
    ),
    "mapping in a list in a part": (
        an_object(a=REFERENCE_B) | {"$defs": {"B": an_object(c={"type": "array", "items": {"type": "object"}})}},
        r"#/\$defs/B/properties/c/items is a mapping",
    ),
    "anything": (an_object(a={}), "#/properties/a has no type. Give it a type"),
    "true": (an_object(a=True), "#/properties/a allows anything"),
    "list of anything": (an_object(a={"type": "array", "items": {}}), "#/properties/a has no type for its items"),
    "list without items": (an_object(a={"type": "array"}), "#/properties/a has no type for its items"),
    "list of nothing": (an_object(a={"type": "array", "items": False}), "#/properties/a/items allows nothing"),
    "two structures": (
        an_object(a={"allOf": [an_object(b=WORD)], "properties": {"c": WORD}}),
        "#/properties/a/allOf is a condition",
    ),
    "list of true": (an_object(a={"type": "array", "items": True}), "#/properties/a/items allows anything"),
    "unknown type": (an_object(a={"type": "text"}), "#/properties/a has the unknown type 'text'"),
    "enum of objects": (an_object(a={"enum": [{}]}), "#/properties/a has no type"),
    "enum of another type": (an_object(a=WORD | {"enum": [1]}), "#/properties/a has an enum .* not of type string"),
    "empty union": (an_object(a={"anyOf": []}), "#/properties/a has no branch"),
    "many branches": (
        an_object(a={"anyOf": [WORD | {"enum": [str(n)]} for n in range(7)]}),
        "#/properties/a has 7 branches: 2 too many",
    ),
    "properties beside a union": (
        an_object(a={"properties": {"b": WORD}, "anyOf": [WORD]}),
        "#/properties/a has 'properties' beside 'anyOf'",
    ),
    "properties beside a reference": (
        an_object(a=REFERENCE_B | {"required": ["x"]}) | {"$defs": {"B": an_object(x=WORD)}},
        "#/properties/a has 'required' beside '\\$ref'",
    ),
    "conjunction": (
        an_object(a=WORD | {"allOf": [{"minLength": 1}, {"maxLength": 2}]}),
        "#/properties/a/allOf is a condition",
    ),
    "negation": (
        an_object(a=WORD | {"not": {"const": "x"}}),
        "#/properties/a/not is a condition, .* check it yourself",
    ),
    "condition": (an_object(a=WORD) | {"if": {}, "then": {}}, "#/if is a condition"),
    "reference elsewhere": (
        an_object(a={"$ref": "https://example.com/x"}),
        "#/properties/a refers to 'https://example",
    ),
    "reference to nothing": (an_object(a=REFERENCE_B), r"refers to '#/\$defs/B', which is not in \$defs"),
    "reference to a property": (an_object(a={"$ref": "#/properties/b"}, b=WORD), "refers to '#/properties/b'"),
    "requires what it has not": (an_object(a=WORD) | {"required": ["b"]}, "# requires 'b', which is not in"),
    "root is a list": ({"type": "array", "items": WORD}, "# is not an object. Wrap it"),
    "root is a union": ({"anyOf": [an_object(a=WORD), an_object(b=WORD)]}, "# is not an object"),
    "contains itself": (
        an_object(a=REFERENCE_B) | {"$defs": {"B": an_object(b=REFERENCE_B)}},
        r"#/\$defs/B contains itself: B -> B",
    ),
    "contain each other": (
        an_object(a=REFERENCE_B)
        | {"$defs": {"B": an_object(c={"type": "array", "items": REFERENCE_C}), "C": {"anyOf": [REFERENCE_B, WORD]}}},
        "B -> C -> B",
    ),
    "refers to the whole": (
        an_object(a={"$ref": "#"}),
        "#/properties/a refers to the whole schema, so it contains itself",
    ),
    "root is a ring": ({"$ref": "#/$defs/B", "$defs": {"B": an_object(b=REFERENCE_B)}}, "B -> B"),
    "too deep": (nested(11), "(/properties/a){11} is nested 11 levels deep: 1 too many"),
    "too long": (
        an_object(a=WORD | {"enum": ["x" * 3_000, "y" * 2_000]}, b=WORD | {"description": "z" * 9_000}),
        r"# has 5002 characters of names and enum values: 2 too many; most are in #/properties/a \(5000\), # \(2\)",
    ),
    "too many properties": (
        an_object(a=an_object(**{f"p{n}": WORD for n in range(502)})),
        r"has 503 properties in total: 3 too many; most are in #/properties/a \(502\)",
    ),
    "too many enum values": (
        an_object(a={"enum": list(range(501))}),
        r"has 501 enum values in total: 1 too many; most are in #/properties/a \(501\)",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_strict_mode_cannot_do_is_refused_by_place_and_remedy(case):
    """A JSON pointer, what is wrong, what to do; `strict=False` is always a way."""
    schema, words = REFUSALS[case]
    with pytest.raises(ValueError, match=words) as caught:
        to_strict_schema(schema)
    assert "or pass strict=False" in str(caught.value)


@pytest.mark.parametrize("convert", [to_strict_schema, to_lenient_schema])
@pytest.mark.parametrize("annotation", [{"default": 2**70}, {"examples": [1, 2**70]}])
def test_a_value_that_json_cannot_write_is_refused_by_place_and_keyword(convert, annotation):
    """An integer of more than 64 bits, as a keyword that is put into words."""
    (keyword,) = annotation
    schema = an_object(a=an_object(n={"type": "integer", **annotation}))
    words = rf"the schema's #/properties/a/properties/n has {keyword}=1180591620717411303424, which .* 64-bit"
    with pytest.raises(InvalidRequestError, match=words) as caught:
        convert(schema)
    assert str(caught.value).count("the schema's") == 1


def test_long_descriptions_do_not_count():
    """The service counts names and the values of enums."""
    schema = an_object(a=WORD | {"description": "x" * 9_000})
    assert to_strict_schema(schema) == schema | {"additionalProperties": False}
    assert strict_problems(to_strict_schema(schema)) == []


@pytest.mark.parametrize("case", REFUSALS)
def test_a_lenient_schema_refuses_nothing(case):
    """What strict mode could not do stays as it is."""
    to_lenient_schema(REFUSALS[case][0])


def test_a_lenient_schema_is_reworded_too_and_stays_open():
    """The service refuses some keywords without strict as well (claude-code-router#708)."""
    schema = an_object(
        a={"type": "array", "items": WORD, "minItems": 2}, b={"type": "object", "additionalProperties": WORD}
    )
    assert to_lenient_schema(schema) == an_object(
        a={"type": "array", "items": WORD, "description": "At least 2 items"},
        b={"type": "object", "additionalProperties": WORD},
    )
    odd = an_object(a={"not": {"$ref": "#/definitions/B"}}) | {"definitions": {"B": WORD}}
    assert to_lenient_schema(odd) == an_object(a={"not": REFERENCE_B}) | {"$defs": {"B": WORD}}
    ring = {"$ref": "#/definitions/B", "definitions": {"B": an_object(b={"$ref": "#/definitions/B"})}}
    assert to_lenient_schema(ring) == an_object(b=REFERENCE_B) | {"$defs": {"B": an_object(b=REFERENCE_B)}}


# -- all of it at once

REASONS = (
    "is a mapping with free keys|has no type|allows anything|has the unknown type|has an enum|has no branch|too many"
    "|beside|is a condition|refers to|requires|is not an object|contains itself"
)
SCALARS = [
    WORD | {"minLength": 2, "pattern": "^x", "title": "A"},
    WORD | {"maxLength": 4, "enum": ["x", "yyyyy"], "description": "D"},
    {"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "default": 3},
    {"type": ["string", "null"], "minLength": 1, "title": "Other"},
    {"type": "boolean"},
    {"type": "number"},
    {"const": "x"},
    {"enum": ["x", 1, None]},
]
ODD = [
    *({}, True, {"type": "object"}, {"type": "array"}, {"type": "object", "additionalProperties": WORD}),
    *(
        {"enum": [{}]},
        {"type": "text"},
        {"$ref": "#"},
        {"not": {}},
        WORD | {"not": {}},
        {"anyOf": []},
        {"allOf": [True]},
    ),
    *(
        {"$ref": "#/$defs/A"},
        {"$ref": "#/$defs/B"},
        {"$ref": "#/$defs/A", "description": "D"},
        WORD | {"nullable": True},
    ),
    *(
        {"oneOf": [WORD], "anyOf": [WORD]},
        {"anyOf": [{"const": n} for n in "abcdef"]},
        {"properties": {}, "required": ["x"]},
    ),
]


@st.composite
def members(draw, leaves, depth=3):
    """A schema as pydantic and others write them."""
    kind = (
        draw(st.sampled_from(["leaf", "leaf", "object", "list", "tuple", "anyOf", "oneOf", "allOf"]))
        if depth
        else "leaf"
    )
    if kind == "leaf":
        return copy.deepcopy(draw(st.sampled_from(leaves)))
    if kind == "object":
        return draw(objects(leaves, depth))
    inner = [draw(members(leaves, depth - 1)) for _ in range(draw(st.integers(1, 3)))]
    if kind == "list":
        return {"type": "array", "items": inner[0]} | draw(
            st.sampled_from([{}, {"minItems": 2}, {"uniqueItems": True}])
        )
    if kind == "tuple":
        return {"type": "array", "prefixItems": inner, "minItems": len(inner), "maxItems": len(inner)}
    return {kind: inner} if kind != "allOf" else {"allOf": inner[:1], "description": "E"}


@st.composite
def objects(draw, leaves, depth=3):
    names = draw(st.lists(st.sampled_from(["a", "b", "title", "pattern"]), unique=True, max_size=3))
    schema = an_object(**{name: draw(members(leaves, depth - 1)) for name in names})
    if names:
        schema["required"] = names[: draw(st.integers(0, len(names)))]
    return schema | draw(st.sampled_from([{}, {"additionalProperties": False}, {"minProperties": 1}]))


@st.composite
def schemas(draw, leaves):
    return draw(objects(leaves)) | {"$defs": {name: draw(members(leaves, 1)) for name in "AB"}}


@settings(max_examples=100, deadline=None)
@given(schemas([*SCALARS, *ODD]))
def test_every_schema_is_made_fit_or_refused_for_a_reason(schema):
    """The strict service takes what comes out; making it fit again changes nothing; the input is left alone."""
    before = copy.deepcopy(schema)
    lenient = to_lenient_schema(schema)
    assert to_lenient_schema(lenient) == lenient
    try:
        out = to_strict_schema(schema)
    except ValueError as refusal:
        assert re.match(f"the schema does not fit Cerebras' strict mode: #[^ ]* .*({REASONS})", str(refusal))  # noqa: PT017
    else:
        assert strict_problems(out) == []
        assert to_strict_schema(out) == out
    assert schema == before


@settings(max_examples=100, deadline=None)
@given(schemas(SCALARS), st.sampled_from(["x", '"yy" 2', "title pattern 7", "b: 3"]))
def test_what_the_service_writes_and_the_check_lets_through_fits_the_schema(schema, prompt):
    """An answer written by the fitted schema alone, without a violation, is one of the schema that was given."""
    try:
        answer = invent(to_strict_schema(schema), "answer", Facts(prompt))
    except ValueError:
        assume(False)
    assume(not find_violations(answer, schema))
    any_branch_may_fit = json.loads(json.dumps(schema).replace('"oneOf"', '"anyOf"'))
    jsonschema.Draft202012Validator(any_branch_may_fit).validate(answer)


def test_a_schema_is_fitted_once(monkeypatch):
    """Agents send the same tools at every step. A refused one is refused each time."""
    fits = []
    fit = strict._fit_root
    monkeypatch.setattr(strict, "_fit_root", lambda schema, **given: fits.append(1) or fit(schema, **given))
    schema = an_object(of_this_test_alone=WORD)
    assert to_strict_schema(schema) == to_strict_schema(copy.deepcopy(schema))
    assert len(fits) == 1
    to_strict_schema(an_object(of_this_test_alone=WORD, and_more=WORD))
    assert len(fits) == 2
    for _ in range(2):
        with pytest.raises(ValueError, match="strict mode"):
            to_strict_schema({"type": "object", "additionalProperties": WORD})


@pytest.mark.parametrize("value", ["text", dt.date(2026, 1, 1)])
def test_a_schema_that_is_not_json_alone_is_fitted_without_being_kept(value):
    """A mapping of another class, a date."""
    schema = MappingProxyType(an_object(a={"type": "integer", "description": "d", "default": value}))
    assert to_strict_schema(schema)["properties"].keys() == {"a"}
