"""Answer types from Python types, and their requests."""

from __future__ import annotations

import dataclasses
import enum
from datetime import date
from typing import Annotated, Generic, Literal, TypeVar

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import NotRequired, Required, TypedDict

from langchain_cerebras_demo.chat_models.python_types import to_answer_type
from langchain_cerebras_demo.testing.rules import strict_problems
from langchain_cerebras_demo.wire.schemas import answer_type
from langchain_cerebras_demo.wire.schemas.strict import to_strict_schema

WORD = {"type": "string"}


def an_object(**properties):
    return {"type": "object", "properties": properties}


def closed(**properties):
    return an_object(**properties) | {"additionalProperties": False}


def to_response_format(schema, **arguments):
    return answer_type.to_response_format(to_answer_type(schema), **arguments)


def to_tool(schema, **arguments):
    return answer_type.to_tool(to_answer_type(schema), **arguments)


# -- classes and other forms

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(BaseModel):
    """A person."""

    name: str
    born: date
    colour: Colour = Colour.RED


class Box(BaseModel, Generic[T]):
    content: T


class Node(BaseModel):
    children: list[Node]


class Address(TypedDict):
    """Where someone lives."""

    city: str


class Visitor(TypedDict):
    """A visitor.

    Args:
        name: what they are called
    """

    name: str
    age: Annotated[int | None, None, "how old"]
    badge: Annotated[str, ..., "what it says"]
    stars: Annotated[int, Field(ge=0)]
    homes: list[Address]
    nick: NotRequired[str]
    schema: str


class Partial(TypedDict, total=False):
    a: Required[int]
    b: Address | None


class Ring(TypedDict):
    next: Ring


@dataclasses.dataclass
class Point:
    """A point."""

    x: int
    where: Address | None = None


def person_parts(**more):
    return closed(
        name=WORD,
        born=WORD | {"description": "In the format date"},
        colour={"$ref": "#/$defs/Colour", "description": 'Default "red"'},
    ) | {"required": ["name", "born"], "$defs": {"Colour": WORD | {"enum": ["red", "blue"]}}, **more}


def test_a_pydantic_class_is_strict_by_default():
    """Its docstring is next to the name, its parts are under $defs."""
    assert to_response_format(Person) == {
        "type": "json_schema",
        "json_schema": {"name": "Person", "description": "A person.", "strict": True, "schema": person_parts()},
    }


def test_a_tool_says_nothing_of_strict_unless_asked():
    """As all other tools: a request must not mix them."""
    assert "strict" not in to_tool(Person)["function"]
    assert to_tool(Person, strict=True) == {
        "type": "function",
        "function": {"name": "Person", "description": "A person.", "strict": True, "parameters": person_parts()},
    }
    assert to_tool(Person, strict=False)["function"]["strict"] is False


def test_a_generic_class_has_a_name_that_the_api_takes():
    """Box[int]."""
    assert to_response_format(Box[int])["json_schema"]["name"] == "Box_int_"


def test_a_typed_dict_may_leave_keys_out_and_describe_them():
    """NotRequired, total=False, LangChain's Annotated[type, default, description], any key, nested ones."""
    wanted = to_response_format(Visitor)["json_schema"]
    assert wanted["name"] == "Visitor"
    assert wanted["description"].startswith("A visitor.")
    assert wanted["schema"] == closed(
        name=WORD,
        age={"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "how old"},
        badge=WORD | {"description": "what it says"},
        stars={"type": "integer", "minimum": 0},
        homes={"type": "array", "items": {"$ref": "#/$defs/Address"}},
        nick=WORD,
        schema=WORD,
    ) | {
        "required": ["name", "badge", "stars", "homes", "schema"],
        "$defs": {"Address": closed(city=WORD) | {"required": ["city"], "description": "Where someone lives."}},
    }
    partial = to_response_format(Partial)["json_schema"]
    assert "description" not in partial  # no docstring is not dict's docstring
    assert partial["schema"]["required"] == ["a"]


def test_a_dataclass_gives_instances():
    """Nested parts included."""
    answer_type = to_answer_type(Point)
    assert answer_type.from_json({"x": 1, "where": {"city": "Rome"}}) == Point(1, {"city": "Rome"})
    assert to_response_format(Point)["json_schema"]["description"] == "A point."


def test_pydantic_1_classes_are_taken():
    """Where `pydantic.v1` can be imported; answers are instances."""
    v1 = pytest.importorskip("pydantic.v1")

    Old = v1.create_model("Old", size=(v1.conint(ge=1), ...), colour=(Colour, v1.Field(Colour.RED, description="D")))  # noqa: N806 - a class
    wanted = to_response_format(Old)["json_schema"]["schema"]
    assert wanted["properties"] == {
        "size": {"type": "integer", "minimum": 1},
        "colour": {"$ref": "#/$defs/Colour", "description": 'D (default "red")'},
    }
    assert to_answer_type(Old).from_json({"size": 2}) == Old(size=2)
    with pytest.raises(ValueError, match="size"):
        to_answer_type(Old).from_json({"size": 0})


def test_a_class_in_pydantics_strict_mode_takes_dates_and_enums():
    """They come as JSON text, which is where strict mode allows them."""

    class Exact(BaseModel):
        model_config = ConfigDict(strict=True)
        born: date
        colour: Colour

    value = to_answer_type(Exact).from_json({"born": "2026-01-31", "colour": "red"})
    assert value == Exact(born=date(2026, 1, 31), colour=Colour.RED)


@tool
def add(a: int) -> int:
    """Adds."""
    return a


@pytest.mark.parametrize("form", [add, add.func], ids=["a LangChain tool", "a function"])
def test_functions_and_tools_are_schemas_of_their_arguments(form):
    """By their name and docstring."""
    assert to_response_format(form)["json_schema"] == {
        "name": "add",
        "description": "Adds.",
        "strict": True,
        "schema": closed(a={"type": "integer"}) | {"required": ["a"]},
    }


@pytest.mark.parametrize(
    ("schema", "kind", "words"),
    [
        (list[Person], TypeError, "a class with one field"),
        (Person | None, TypeError, "unsupported schema"),
        (5, TypeError, "unsupported schema 5"),
        (RootModel[list[int]], ValueError, "# is not an object"),
        (Node, ValueError, "Node -> Node"),
        (Ring, ValueError, "Ring -> Ring"),
    ],
    ids=str,
)
def test_what_is_no_schema_is_refused_by_name(schema, kind, words):
    """LangChain's own conversion drops a recursion in silence."""
    with pytest.raises(kind, match=words):
        to_response_format(schema)


def test_a_recursive_class_is_whole_where_the_schema_is_a_hint():
    """Nothing is dropped."""
    parameters = to_tool(Node)["function"]["parameters"]
    assert parameters["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


def test_literals_of_several_types_and_unions_by_kind_are_taken():
    """As pydantic writes them."""

    class Cat(BaseModel):
        kind: Literal["cat"]

    class Dog(BaseModel):
        kind: Literal["dog"]
        tags: tuple[int, str]

    class Zoo(BaseModel):
        beast: Cat | Dog = Field(discriminator="kind")
        mark: Literal["x", 1] | None
        spare: Annotated[int | None, Field(ge=0)] = None

    assert strict_problems(to_strict_schema(Zoo.model_json_schema())) == []
