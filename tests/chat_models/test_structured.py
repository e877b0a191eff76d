"""Structured output: every kind of schema, method and way of calling; invalid answers; the requests."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import enum
import json
import pickle
import re
import warnings
from typing import Annotated, Literal

import langchain_core.exceptions
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator
from typing_extensions import NotRequired, TypedDict

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.catalog import RetiredModelWarning
from langchain_cerebras_demo.chat_models.python_types import to_answer_type
from langchain_cerebras_demo.chat_models.structured import AnswerReader, ExpectedAnswer
from langchain_cerebras_demo.errors import (
    InvalidRequestError,
    InvalidRequestTypeError,
    ModelRefusalError,
    NotFoundError,
    StreamInterruptedError,
)
from langchain_cerebras_demo.testing import CutAfter, Gate, LoopbackCerebras, Reply, ScriptedCall
from langchain_cerebras_demo.wire.schemas.answer_type import in_object

PROMPT = 'Her name is "Ada Lovelace, Countess of Lovelace" and she is 36 years of age.'
VALUE = {"name": "Ada Lovelace, Countess of Lovelace", "age": 36}


def structured(model, /, schema=None, **kwargs):
    return model.with_structured_output(schema, **kwargs)


def model_for(server, **fields):
    return ChatCerebrasDemo(**{"base_url": server.base_url, "api_key": server.key, "max_retries": 0, **fields})


@pytest.fixture(scope="module")
def shared():
    """A loopback Cerebras for tests that script nothing."""
    with LoopbackCerebras() as running:
        yield running


def merged(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None or not isinstance(chunk, dict) or "raw" not in whole else whole + chunk
    return whole


async def collected(chunks):
    return [chunk async for chunk in chunks]


WAYS = {
    "invoke": lambda chain, prompt: chain.invoke(prompt),
    "ainvoke": lambda chain, prompt: asyncio.run(chain.ainvoke(prompt)),
    "stream": lambda chain, prompt: merged(chain.stream(prompt)),
    "astream": lambda chain, prompt: merged(asyncio.run(collected(chain.astream(prompt)))),
}


# -- all kinds, methods and ways


class Person(BaseModel):
    """Someone."""

    name: str
    age: int


class Someone(TypedDict):
    """Someone."""

    name: str
    age: Annotated[int, ..., "in years"]
    nick: NotRequired[str]


@dataclasses.dataclass
class Human:
    name: str
    age: int


def pydantic_1():
    v1 = pytest.importorskip("pydantic.v1")
    return v1.create_model("Person", name=(str, ...), age=(int, ...))


SCHEMA = {
    "title": "Person",
    "description": "Someone.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
FUNCTION = {"name": "person", "parameters": {key: SCHEMA[key] for key in ("type", "properties", "required")}}
KINDS = {
    "pydantic": lambda: Person,
    "pydantic 1": pydantic_1,
    "TypedDict": lambda: Someone,
    "dataclass": lambda: Human,
    "JSON schema": lambda: SCHEMA,
    "function": lambda: FUNCTION,
    "response format": lambda: {
        "type": "json_schema",
        "json_schema": {"name": "person", "schema": FUNCTION["parameters"]},
    },
}


def expected(schema):
    return schema(**VALUE) if isinstance(schema, type) and schema is not Someone else VALUE


@pytest.mark.parametrize("include_raw", [False, True], ids=["value", "raw"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_schema_gives_its_value(shared, kind, method, way, include_raw):
    """Instances of classes, dicts for all else; by each method, through each way of calling."""
    schema = KINDS[kind]()
    result = WAYS[way](structured(model_for(shared), schema, method=method, include_raw=include_raw), PROMPT)
    if include_raw:
        assert isinstance(result["raw"], AIMessage)
        assert result["raw"].response_metadata["finish_reason"] in {"stop", "tool_calls"}
        assert result["parsing_error"] is None
        result = result["parsed"]
    assert result == expected(schema)
    assert type(result) is type(expected(schema))


@pytest.mark.parametrize("strict", [None, False, True])
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_method_takes_every_strict(shared, kind, method, strict):
    """And the service takes what is made of it."""
    chain = structured(model_for(shared), KINDS[kind](), method=method, strict=strict)
    assert chain.invoke(PROMPT) == expected(KINDS[kind]()) or kind == "pydantic 1"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("schema", [None, Person, Someone, Human, SCHEMA], ids=str)
def test_json_mode_gives_any_object_or_checks_it(shared, schema, way):
    """No schema goes out; it is held here."""
    prompt = 'Answer in JSON with the keys "name" and "age".'
    chain = structured(model_for(shared), schema, method="json_mode")
    if schema is None:
        assert set(WAYS[way](chain, prompt)) == {"name", "age"}
    else:  # what this server invents for "age" is no number
        with pytest.raises(OutputParserException, match="does not fit"):
            WAYS[way](chain, prompt)


def test_chains_and_batches(shared):
    """prompt | structured model, several at once."""
    chain = ChatPromptTemplate.from_template('"{name}" is {age} years of age.') | structured(model_for(shared), Person)
    people = chain.batch([{"name": name, "age": age} for age, name in enumerate(["Ann", "Bob", "Cy"])])
    assert people == [Person(name="Ann", age=0), Person(name="Bob", age=1), Person(name="Cy", age=2)]


# -- what goes over the wire


def test_json_schema_sends_the_fitted_schema(server):
    """Strict unless told otherwise; nothing of LangChain's own goes out."""
    structured(model_for(server), Person, temperature=0.5).invoke(PROMPT)
    structured(model_for(server), Person, method="json_schema", strict=False).invoke(PROMPT)
    sent, lenient = (request.json for request in server.requests)
    assert set(sent) == {"model", "messages", "response_format", "temperature"}
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "Person",
            "description": "Someone.",
            "strict": True,
            "schema": FUNCTION["parameters"] | {"additionalProperties": False},
        },
    }
    assert lenient["response_format"]["json_schema"]["strict"] is False
    assert "additionalProperties" not in lenient["response_format"]["json_schema"]["schema"]


def test_function_calling_forces_one_call(server):
    """The tool, its name as the choice, no second call beside it."""
    model = model_for(server, model="qwen-3.8-27b")  # one that takes parallel_tool_calls
    structured(model, Person, method="function_calling").invoke(PROMPT)
    structured(model, Person, method="function_calling", strict=True).invoke(PROMPT)
    sent, strict = (request.json for request in server.requests)
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {"name": "Person", "description": "Someone.", "parameters": FUNCTION["parameters"]},
        }
    ]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "Person"}}
    assert sent["parallel_tool_calls"] is False
    assert "response_format" not in sent
    assert strict["tools"][0]["function"]["strict"] is True
    assert strict["tools"][0]["function"]["parameters"]["additionalProperties"] is False


def test_json_mode_sends_the_wish_alone(server):
    """{"type": "json_object"}."""
    server.script(Reply(text='{"name": "Ada", "age": 36}'))
    structured(model_for(server), Someone, method="json_mode").invoke(PROMPT)
    assert server.requests[0].json["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("name", "aliases", "method"),
    [
        ("gpt-oss-120b", None, "json_schema"),
        ("gpt-oss", None, "json_schema"),
        ("zai-glm-4.6", None, "function_calling"),
        ("glm-4.6", None, "function_calling"),
        ("mine", {"mine": "zai-glm-4.6"}, "function_calling"),
        ("an-endpoint-of-our-own", None, "json_schema"),
    ],
)
def test_the_default_method_is_what_the_catalogue_says_the_model_supports(name, aliases, method):
    """Aliases are followed; an id that it does not know is taken to support everything."""
    chain = structured(ChatCerebrasDemo(model=name, aliases=aliases), Person)
    assert chain.first.kwargs["ls_structured_output_format"]["kwargs"]["method"] == method


def test_the_default_method_follows_the_model_of_the_call(server):
    """`model=` bound with the schema."""
    chain = structured(model_for(server), Person, model="zai-glm-4.6")
    with pytest.raises(NotFoundError), pytest.warns(RetiredModelWarning):
        chain.invoke(PROMPT)
    assert "tools" in server.requests[0].json


class Options(BaseCallbackHandler):
    def __init__(self):
        self.seen = []

    def on_chat_model_start(self, *args, options, **kwargs):
        self.seen.append(options["ls_structured_output_format"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("kind", KINDS)
def test_tracers_are_told_of_the_schema(shared, kind, method):
    """As LangChain converts it; where it cannot, as we do."""
    schema, handler = KINDS[kind](), Options()
    structured(model_for(shared), schema, method=method).invoke(PROMPT, config={"callbacks": [handler]})
    (seen,) = handler.seen
    assert seen["kwargs"] == {"method": method, "strict": None}
    if kind in {"TypedDict", "response format"}:  # NotRequired, and a form that it does not know
        assert seen["schema"]["properties"].keys() >= {"name", "age"}
    else:
        assert seen["schema"] == convert_to_json_schema(schema)


# -- streams


def test_dicts_grow_while_they_come(server):
    """The first parts are there before the server has gone on."""
    deltas = [{"content": text} for text in ('{"na', 'me": "A', 'da", "age"', ": 3", "6", "}", " ")]
    gate = Gate(after=2, reply=Reply(deltas=deltas))
    server.script(gate)
    parts = structured(model_for(server, coalesce=False), SCHEMA).stream(PROMPT)
    seen = [next(parts), next(parts)]
    gate.open()
    assert [*seen, *parts] == [
        {},
        {"name": "A"},
        {"name": "Ada"},
        {"name": "Ada", "age": 3},
        {"name": "Ada", "age": 36},
    ]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_instances_come_whenever_they_are_valid(server, method):
    """Never one with a required field missing; the last one is the whole."""

    class Note(BaseModel):
        title: str
        text: str = ""

    text = '{"title": "T", "text": "some more words that come in parts"}'
    server.script(Reply(tool_calls=[ScriptedCall("Note", text)]) if method == "function_calling" else Reply(text=text))
    parts = list(structured(model_for(server, coalesce=False), Note, method=method).stream(PROMPT))
    assert len(parts) > 2
    assert all(isinstance(part, Note) for part in parts)
    assert parts[-1] == Note(title="T", text="some more words that come in parts")
    assert all(parts[-1].text.startswith(part.text) for part in parts)


async def test_raw_chunks_stream_and_add_up(server):
    """{"raw": chunk} as they come, the value and the error at the end; the sum is what invoke gives."""
    parts = await collected(structured(model_for(server), Person, include_raw=True).astream(PROMPT))
    assert all(isinstance(part["raw"], AIMessageChunk) for part in parts[:-1])
    assert parts[-1] == {"parsed": Person(**VALUE), "parsing_error": None}
    assert merged(parts)["raw"].usage_metadata["output_tokens"] > 0


def test_a_long_answer_is_not_read_anew_at_every_chunk():
    """The number of parts grows with the logarithm of the length."""
    reading, parts = AnswerReader(ExpectedAnswer(None)), 0
    reading.add(AIMessageChunk('{"text": "'))
    for _ in range(5_000):
        reading.add(AIMessageChunk("word "))
        parts += reading.new_part() is not None
    assert 100 < parts < 600
    reading.add(AIMessageChunk('"}'))
    assert reading.whole() == {"text": "word " * 5_000}


# -- answers that are none

HALF = '{"name": "Ada Lov'
BAD_ANSWERS = {
    "text": (Reply(text="I am sorry, I cannot."), "json_schema", "is text instead of JSON. It begins: 'I am sorry"),
    "text, no call": (
        Reply(text="I am Ada."),
        "function_calling",
        "is text instead of a call of 'Person'. .*'I am Ada",
    ),
    "empty": (Reply(text=""), "json_schema", "is empty instead of JSON"),
    "empty, no call": (Reply(text=""), "function_calling", "is empty instead of a call of 'Person'"),
    "cut": (
        Reply(text=HALF, finish_reason="length"),
        "json_schema",
        "^the answer was cut off at its limit of tokens .* before its JSON was complete: raise max_tokens",
    ),
    "eaten by the reasoning": (
        Reply(reasoning="Hm. Hm.", finish_reason="length"),
        "json_schema",
        "raise max_tokens or lower reasoning_effort.* is empty",
    ),
    "call cut": (
        Reply(tool_calls=[ScriptedCall("Person", '{"name": "Ada", "age": 3')], finish_reason="length"),
        "function_calling",
        "before its JSON was complete: raise max_tokens.* is a call of 'Person' that is incomplete",
    ),
    "broken call": (
        Reply(tool_calls=[ScriptedCall("Person", '{"name": ]')]),
        "function_calling",
        r"is a call of 'Person' with arguments that are not valid JSON .* begins: '{\"name\": ]'",
    ),
    "another call": (
        Reply(tool_calls=[ScriptedCall("Dog", {"name": "Rex"})]),
        "function_calling",
        "is a call of 'Dog' instead of a call of 'Person'",
    ),
    "a call instead": (
        Reply(tool_calls=[ScriptedCall("Dog", {})]),
        "json_schema",
        "is a call of 'Dog' instead of JSON",
    ),
    "a list": (Reply(text="[1]"), "json_schema", "is JSON, but not an object. It begins"),
    "half of it": (Reply(text='{"name": "Ada"}'), "json_schema", r"does not fit 'Person': .*\n?age"),
    "cut JSON that ends well": (Reply(text=HALF), "json_schema", "is text instead of JSON"),
    "wrong arguments": (
        Reply(tool_calls=[ScriptedCall("Person", {"name": "Ada", "age": "old"})]),
        "function_calling",
        "does not fit 'Person'",
    ),
    "deep nonsense": (Reply(text="[" * 10_000), "json_schema", "is text instead of JSON"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the cut call, which the model warns of by itself
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_an_answer_that_is_none_is_a_parsing_error_with_its_reason(server, case, way):
    """Never None or a partial object; with include_raw, the error is returned together with the message."""
    reply, method, words = BAD_ANSWERS[case]
    server.script(reply, reply)
    with pytest.raises(OutputParserException, match=f"(?s){words}") as caught:
        WAYS[way](structured(model_for(server), Person, method=method), PROMPT)
    assert len(str(caught.value)) < 2_000
    result = WAYS[way](structured(model_for(server), Person, method=method, include_raw=True), PROMPT)
    assert result["parsed"] is None
    assert isinstance(result["raw"], AIMessage)
    assert str(result["parsing_error"]) == str(caught.value)


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_arguments_that_are_a_list_are_no_answer(server, way):
    """JSON, but not what arguments are."""
    server.script(Reply(tool_calls=[ScriptedCall("Person", "[1]")]))
    with pytest.raises(OutputParserException, match="is JSON, but not an object"):
        WAYS[way](structured(model_for(server), Person, method="function_calling"), PROMPT)


def test_a_cut_call_is_an_error_when_invoke_streams_inside(server):
    """LangChain closes the cut arguments while it merges: they look whole, and are not."""
    server.script(BAD_ANSWERS["call cut"][0])
    chain = structured(model_for(server, streaming=True), Person, method="function_calling")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(OutputParserException, match="that is incomplete"):
            chain.invoke(PROMPT)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "text",
    ['```json\n{"name": "Ada", "age": 36}\n```', ' {"name": "Ada", "age": 36}\n', '{"name": "Ada", "age": 36, "x": 1}'],
)
def test_json_in_a_fence_or_with_more_than_asked_is_an_answer(server, text, way):
    """As LangChain's own parsers read it."""
    server.script(Reply(text=text))
    assert WAYS[way](structured(model_for(server), Person), PROMPT) == Person(name="Ada", age=36)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_whole_json_at_the_limit_of_tokens(server, method):
    """Complete text is accepted; whether a call is complete cannot be determined."""
    text = '{"name": "Ada", "age": 36}'
    reply = Reply(tool_calls=[ScriptedCall("Person", text)]) if method == "function_calling" else Reply(text=text)
    server.script(dataclasses.replace(reply, finish_reason="length"))
    result = structured(model_for(server), Person, method=method, include_raw=True).invoke(PROMPT)
    assert (result["parsed"] is None) == (method == "function_calling")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("arguments", ["", "null", "{}"])
def test_an_answer_without_fields_may_be_nothing(server, method, arguments):
    """A class without fields, a call without arguments."""

    class Done(BaseModel):
        """Nothing to say."""

    reply = Reply(tool_calls=[ScriptedCall("Done", arguments)]) if method == "function_calling" else Reply(text="{}")
    for way in WAYS.values():
        server.script(reply)
        assert way(structured(model_for(server), Done, method=method), PROMPT) == Done()


def test_the_reason_of_the_end_need_not_come_last():
    """Other servers send usage behind it."""
    reading = AnswerReader(ExpectedAnswer(None))
    reading.add(AIMessageChunk('{"a": ', response_metadata={"finish_reason": "length"}))
    reading.add(AIMessageChunk(""))
    with pytest.raises(OutputParserException, match="raise max_tokens"):
        reading.whole()


def test_a_broken_line_is_no_parsing_error(server):
    """include_raw hides bad answers, not lost ones."""
    server.script(CutAfter(events=3, reply=Reply(text='{"name": "Ada", "age": 36}')))
    with pytest.raises(StreamInterruptedError):
        list(structured(model_for(server), Person, include_raw=True).stream(PROMPT))


def test_a_validator_may_raise_what_it_likes(server):
    """The exception is raised unchanged, and is in parsing_error with include_raw."""

    class Odd(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def look_up(cls, value):
            raise KeyError(value)

    server.script(Reply(text='{"name": "Ada"}'), Reply(text='{"name": "Ada"}'))
    with pytest.raises(KeyError, match="Ada"):
        structured(model_for(server), Odd).invoke(PROMPT)
    assert isinstance(structured(model_for(server), Odd, include_raw=True).invoke(PROMPT)["parsing_error"], KeyError)


class Note(TypedDict):
    """A note."""

    text: str
    stars: int
    kind: Literal["a", "b"]
    author: NotRequired[str]


class ForbiddingNote(Note):
    __pydantic_config__ = ConfigDict(extra="forbid")


class ClosedNote(TypedDict, closed=True):
    text: str
    stars: int
    kind: Literal["a", "b"]
    author: NotRequired[str]


NOTE = {
    "title": "Note",
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "stars": {"type": "integer"},
        "kind": {"enum": ["a", "b"]},
        "author": {"type": "string"},
    },
    "required": ["text", "stars", "kind"],
    "additionalProperties": False,
}
GOOD_NOTE = {"text": "x", "stars": 3, "kind": "a"}
BAD_NOTES = {
    "nothing": ({}, "# has no 'text', which is required"),
    "text for a number": (GOOD_NOTE | {"stars": "three"}, "#/stars is of type string, not integer"),
    "outside the enum": (GOOD_NOTE | {"kind": "c"}, '#/kind is "c", not "a" or "b"'),
    "null": (GOOD_NOTE | {"author": None}, "#/author is of type null, not string"),
    "a key more": (GOOD_NOTE | {"colour": "red"}, "# has 'colour', which is not allowed"),
}


def reply_of(method, name, value):
    text = json.dumps(value)
    return Reply(tool_calls=[ScriptedCall(name, text)]) if method == "function_calling" else Reply(text=text)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("schema", [NOTE, Note, ClosedNote, ForbiddingNote], ids=str)
def test_dicts_are_held_to_their_schema(server, schema, method, way):
    """By every method, whole and at the end of a stream; a TypedDict that does not say that it is closed is open."""
    name = to_answer_type(schema).title
    chain = structured(model_for(server), schema, method=method)
    raw = structured(model_for(server), schema, method=method, include_raw=True)
    for value in (GOOD_NOTE, GOOD_NOTE | {"author": "Ann"}):
        server.script(reply_of(method, name, value))
        assert WAYS[way](chain, PROMPT) == value
    for case, (value, words) in BAD_NOTES.items():
        reply = reply_of(method, name, value)
        server.script(reply)
        if case == "a key more" and schema is Note:
            assert WAYS[way](chain, PROMPT) == value
            continue
        with pytest.raises(OutputParserException, match=f"does not fit '{name}': {re.escape(words)}"):
            WAYS[way](chain, PROMPT)
        server.script(reply)
        result = WAYS[way](raw, PROMPT)
        assert result["parsed"] is None
        assert words in str(result["parsing_error"])


def test_half_of_a_character_in_a_value_becomes_a_replacement_character():
    """JSON may hold one as an escape, and no encoding would take the value."""
    reading = AnswerReader(
        ExpectedAnswer(to_answer_type({"title": "Word", "type": "object", "properties": {"word": {}}}))
    )
    reading.add(AIMessage(r'{"word": "a\ud83d", "joined": "\ud83d\ude00"}'))
    assert reading.whole() == {"word": "a\ufffd", "joined": "😀"}


def test_an_answer_deeper_than_python_recurses_is_an_error(server):
    """It can be read, and not be held against a schema."""
    deep = AnswerReader(
        ExpectedAnswer(to_answer_type({"title": "Tree", "type": "object", "properties": {"a": {"$ref": "#"}}}))
    )
    deep.add(AIMessage('{"a": ' * 600 + "{}" + "}" * 600))
    with pytest.raises(OutputParserException, match="too deep"):
        deep.whole()


TAGS = {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 2}
TAGGED = {"title": "Tagged", "type": "object", "properties": {"tags": TAGS}, "required": ["tags"]}


class TaggedDict(TypedDict):
    tags: Annotated[list[str], Field(min_length=2)]


class TaggedModel(BaseModel):
    tags: Annotated[list[str], Field(min_length=2)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("schema", [TAGGED, TaggedDict, TaggedModel], ids=["JSON schema", "TypedDict", "pydantic"])
def test_what_the_service_does_not_hold_the_answer_to_is_checked_after_it(server, schema, method, way):
    """Strict mode knows no counts of items, and without it nothing is promised."""
    server.script(Reply(text='{"tags": ["x"]}'))
    with pytest.raises(OutputParserException, match=r"(?s)does not fit .*tags.*(fewer items than 2|at least 2 items)"):
        WAYS[way](structured(model_for(server), schema, method=method), PROMPT)


# -- answers in text

FENCED = {
    "words behind": '```json\n{"text": "x"}\n```\nI hope this helps.',
    "words before and behind": 'Here you are:\n\n```json\n{"text": "x"}\n```\n\nAnything else?',
    "no language": 'Sure.\n```\n{"text": "x"}\n```\nDone.',
    "on one line": 'Sure: ```json {"text": "x"}``` Done.',
    "tildes": 'Sure.\n~~~json\n{"text": "x"}\n~~~\nDone.',
    "code of another language beside it": '```python\nprint()\n```\n```json\n{"text": "x"}\n```\nDone.',
    "the same one twice": '```json\n{"text": "x"}\n```\nOnce more:\n```json\n{"text": "x"}\n```',
    "a fence that is not closed": 'Sure.\n```python\nprint()\n```\n```json\n{"text": "x"}',
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
@pytest.mark.parametrize("case", FENCED)
def test_one_value_in_a_fence_counts_whatever_words_surround_it(server, case, method, way):
    """By every method: with function_calling it is text in place of the call."""
    server.script(Reply(text=FENCED[case]))
    schema = {"title": "Text", "type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    assert WAYS[way](structured(model_for(server), schema, method=method), PROMPT) == {"text": "x"}


def test_a_string_may_hold_a_fence_itself(server):
    """It is JSON that is read, not lines."""
    server.script(Reply(text='Sure.\n```json\n{"text": "```json\\n{}\\n```"}\n```\nDone.'))
    assert structured(model_for(server), method="json_mode").invoke(PROMPT) == {"text": "```json\n{}\n```"}


NO_VALUE = {
    "prose": ("I am Ada.", "is text instead of JSON"),
    "JSON within prose": ('It is {"text": "x"}, I hope.', "is text instead of JSON"),
    "broken JSON in a fence": ('Sure.\n```json\n{"text": "x\n```\nDone.', "is text instead of JSON"),
    "prose in a fence": ("```\nI am Ada.\n```", "is text instead of JSON"),
    "two values": (
        '```json\n{"text": "x"}\n```\nor\n```json\n{"text": "y"}\n```',
        "is text with 2 JSON values in code fences, which differ",
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", NO_VALUE)
def test_text_without_one_value_is_an_error(server, case, way):
    """With two values, it is unclear which one is meant."""
    text, words = NO_VALUE[case]
    server.script(Reply(text=text))
    with pytest.raises(OutputParserException, match=words):
        WAYS[way](structured(model_for(server), method="json_mode"), PROMPT)


TEXT_FOR_A_CALL = {
    "JSON": (Reply(text='{"name": "Ada", "age": 36}'), None),
    "JSON and another call": (Reply(text='{"name": "Ada", "age": 36}', tool_calls=[ScriptedCall("Dog", {})]), None),
    "JSON and a broken call": (
        Reply(text='{"name": "Ada", "age": 36}', tool_calls=[ScriptedCall("Person", '{"name": ]')]),
        None,
    ),
    "JSON that does not fit": (
        Reply(text='{"name": "Ada"}'),
        "is text instead of a call of 'Person', and does not fit 'Person': (.|\n)*age",
    ),
    "JSON that is no object": (
        Reply(text="[1]"),
        "is text instead of a call of 'Person', and is JSON, but not an object",
    ),
    "JSON that does not fit, and another call": (
        Reply(text='{"name": "Ada"}', tool_calls=[ScriptedCall("Dog", {})]),
        "is a call of 'Dog' instead of a call of 'Person'",
    ),
    "prose": (Reply(text="I am Ada."), "is text instead of a call of 'Person'"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", TEXT_FOR_A_CALL)
def test_json_in_text_counts_where_the_call_is_missing(server, case, way):
    """If it fits; else the error tells of the call and of the text."""
    reply, words = TEXT_FOR_A_CALL[case]
    server.script(reply)
    chain = structured(model_for(server), Person, method="function_calling")
    if words is None:
        assert WAYS[way](chain, PROMPT) == Person(name="Ada", age=36)
    else:
        with pytest.raises(OutputParserException, match=words):
            WAYS[way](chain, PROMPT)


# -- answers that are no objects


class Numbers(RootModel[list[int]]):
    """Some numbers."""


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    value: int = 0


class Dog(BaseModel):
    kind: Literal["dog"]


class Pet(RootModel[Annotated[Cat | Dog, Field(discriminator="kind")]]):
    pass


ROOTS = {
    "root model": (Numbers, [3, 4], Numbers([3, 4])),
    "list": (
        {"title": "Ns", "type": "array", "items": {"$ref": "#/$defs/N"}, "$defs": {"N": {"type": "integer"}}},
        [3, 4],
        [3, 4],
    ),
    "enum": ({"title": "Colour", "enum": ["red", "blue"]}, "red", "red"),
    "enum class": (Colour, "red", Colour.RED),
    "number": ({"title": "N", "type": "integer", "minimum": 2}, 3, 3),
    "object or null": (
        {"title": "P", "type": ["object", "null"], "properties": {"a": {"type": "integer"}}},
        {"a": 1},
        {"a": 1},
    ),
    "union of objects": (Pet, {"kind": "cat", "value": 5}, Pet(Cat(kind="cat", value=5))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("root", ROOTS)
def test_a_schema_of_something_else_than_an_object_is_the_property_of_one(server, root, method, way):
    """The service takes it so by each method, strict or not; an answer without the object around it counts as well."""
    schema, answer, value = ROOTS[root]
    kind = in_object(to_answer_type(schema))
    name, key = kind.title, kind.key
    assert key == ("value_" if root == "union of objects" else "value")  # one that the schema itself does not use
    for strict in [None] if method == "json_mode" else [None, True, False]:
        chain = structured(model_for(server), schema, method=method, strict=strict)
        server.script(reply_of(method, name, {key: answer}), Reply(text=json.dumps(answer)))
        assert [WAYS[way](chain, PROMPT) for _ in range(2)] == [value, value]
        server.script(reply_of(method, name, {key: ["x"]}))
        with pytest.raises(OutputParserException, match=f"does not fit '{name}'"):
            WAYS[way](chain, PROMPT)
    body = server.requests[-1].json
    if method == "json_schema":
        assert body["response_format"]["json_schema"]["schema"]["properties"].keys() == {key}
    elif method == "function_calling":
        assert body["tools"][0]["function"]["parameters"]["required"] == [key]


def test_a_list_grows_while_it_comes(server):
    """Without the object around it."""
    deltas = [{"content": text} for text in ('{"val', 'ue": [', "3, ", "4", "]}")]
    server.script(Reply(deltas=deltas))
    schema = ROOTS["list"][0]
    assert list(structured(model_for(server, coalesce=False), schema).stream(PROMPT)) == [[], [3], [3, 4]]


def test_a_list_of_lists_refers_to_itself():
    """References to the root follow it into the object."""
    nested = in_object(to_answer_type({"title": "Tree", "type": "array", "items": {"$ref": "#"}}))
    assert nested.schema["properties"]["value"]["items"] == {"$ref": "#/properties/value"}
    assert nested.from_json({"value": [[], [[]]]}) == [[], [[]]]
    with pytest.raises(ValueError, match="#/0/0 is of type integer, not array"):
        nested.from_json([[3]])


# -- refusals

REFUSAL = "That I will not do."


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_a_refusal_is_an_error_of_its_own(method, include_raw):
    """With its words and the message, whole and streamed."""
    parser = structured(ChatCerebrasDemo(api_key="x"), Person, method=method, include_raw=include_raw).last
    whole = [AIMessage("", additional_kwargs={"refusal": REFUSAL}, response_metadata={"finish_reason": "stop"})]
    chunks = [
        AIMessageChunk("", additional_kwargs={"refusal": REFUSAL[:7]}),
        AIMessageChunk("", additional_kwargs={"refusal": REFUSAL[7:]}),
        AIMessageChunk("", response_metadata={"finish_reason": "stop"}),
    ]
    blocks = [AIMessage([{"type": "refusal", "refusal": REFUSAL}])]
    for messages in (whole, chunks, blocks):
        if include_raw:
            result = merged(parser.transform(iter(messages)))
            assert result["parsed"] is None
            error = result["parsing_error"]
        else:
            with pytest.raises(ModelRefusalError) as caught:
                list(parser.transform(iter(messages)))
            error = caught.value
        assert isinstance(error, ModelRefusalError)
        assert isinstance(error, getattr(langchain_core.exceptions, "ModelRefusalError", OutputParserException))
        assert str(error).startswith(f"the model refused to answer: {REFUSAL}")
        assert isinstance(error.raw_message, AIMessage)
        if messages is not blocks:
            assert error.raw_message.additional_kwargs["refusal"] == REFUSAL
            assert error.raw_message.response_metadata["finish_reason"] == "stop"
    if not include_raw:
        with pytest.raises(ModelRefusalError, match=REFUSAL):
            parser.invoke(whole[0])


def test_an_empty_refusal_is_none():
    """Some servers send the key with every answer."""
    parser = structured(ChatCerebrasDemo(api_key="x"), Person).last
    for nothing in ("", None):
        message = AIMessage('{"name": "Ada", "age": 36}', additional_kwargs={"refusal": nothing})
        assert parser.invoke(message) == Person(name="Ada", age=36)


# -- tools beside the schema


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return city


ANSWER = '{"name": "Ada", "age": 36}'
BESIDE_TOOLS = {
    "a call": (Reply(tool_calls=[ScriptedCall("get_weather", {"city": "Rome"})]), None),
    "a call with a word before": (
        Reply(text="Let me see.", tool_calls=[ScriptedCall("get_weather", {"city": "Rome"})]),
        None,
    ),
    "an answer": (Reply(text=ANSWER), Person(name="Ada", age=36)),
    "an answer and a repeated call": (
        Reply(text=ANSWER, tool_calls=[ScriptedCall("get_weather", {"city": "Rome"})]),
        Person(name="Ada", age=36),
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", BESIDE_TOOLS)
def test_a_model_with_tools_answers_or_calls_one(server, case, way):
    """The value of a call is None; a valid answer is used even if there is also a call."""
    reply, value = BESIDE_TOOLS[case]
    server.script(reply, reply)
    assert WAYS[way](structured(model_for(server), Person, tools=[get_weather]), PROMPT) == value
    result = WAYS[way](structured(model_for(server), Person, tools=[get_weather], include_raw=True), PROMPT)
    assert (result["parsed"], result["parsing_error"]) == (value, None)
    assert [call["name"] for call in result["raw"].tool_calls] == ["get_weather"] * (case != "an answer")
    body = server.requests[-1].json
    assert [one["function"]["name"] for one in body["tools"]] == ["get_weather", "Person"]
    assert body["tool_choice"] == "required"
    assert "response_format" not in body


@pytest.mark.parametrize("way", WAYS)
def test_where_a_schema_cannot_go_out_with_tools_the_answer_is_a_call_that_nobody_sees(server, way):
    """Streamed as it grows, like any other answer; text beside the call is no part of it."""
    answer = Reply(text="Here it is:", tool_calls=[ScriptedCall("Person", {"name": "Ada", "age": 36})])
    server.script(answer, answer)
    assert WAYS[way](structured(model_for(server), Person, tools=[get_weather]), PROMPT) == Person(name="Ada", age=36)
    result = WAYS[way](structured(model_for(server), Person, tools=[get_weather], include_raw=True), PROMPT)
    message = result["raw"]
    assert json.loads(message.content) == {"name": "Ada", "age": 36}
    assert message.tool_calls == message.invalid_tool_calls == []
    assert message.response_metadata["finish_reason"] == "stop"


def test_a_model_that_is_not_in_the_catalogue_gets_tools_and_schema_together():
    """Nothing is known against it."""
    with LoopbackCerebras(models=["our-endpoint"]) as server:
        server.script(Reply(text=ANSWER))
        model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, model="our-endpoint")
        assert structured(model, Person, tools=[get_weather]).invoke(PROMPT) == Person(name="Ada", age=36)
        body = server.requests[-1].json
    assert [one["function"]["name"] for one in body["tools"]] == ["get_weather"]
    assert body["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_answer_is_an_error_with_tools_too(server, way):
    """Where no tool was called, None would hide it."""
    server.script(Reply(text="I am Ada."))
    with pytest.raises(OutputParserException, match="is text instead of JSON"):
        WAYS[way](structured(model_for(server), Person, tools=[get_weather]), PROMPT)


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"schema": None}, InvalidRequestError, "schema=None needs method='json_mode'"),
        ({"schema": None, "method": "function_calling"}, InvalidRequestError, "schema=None"),
        ({"schema": Person, "method": "xml"}, InvalidRequestError, "method='xml' is not one of 'json_schema'"),
        ({"schema": Person, "method": "json_mode", "strict": True}, InvalidRequestError, "strict=True has no effect"),
        ({"schema": Person, "method": "json_mode", "tools": [get_weather]}, InvalidRequestError, "tools need"),
        ({"schema": Person, "method": "function_calling", "tools": [get_weather]}, InvalidRequestError, "tools need"),
        ({"schema": list[Person]}, InvalidRequestTypeError, "a class with one field"),
        ({"schema": SCHEMA | {"additionalProperties": True}}, InvalidRequestError, "pass strict=False"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(shared, arguments, kind, words):
    """At once, by name and remedy; as ValueError or TypeError, too."""
    assert issubclass(kind, ValueError)
    assert issubclass(kind, TypeError) is (kind is InvalidRequestTypeError)
    with pytest.raises(kind, match=words):
        structured(model_for(shared), **arguments)


def test_the_parser_reads_plain_text_too():
    """As any parser of LangChain: parse, and strings in a stream."""
    parser = structured(ChatCerebrasDemo(api_key="x"), Person).last
    assert parser.parse('{"name": "Ada", "age": 36}') == Person(name="Ada", age=36)
    assert list(parser.transform(iter(['{"name": "Ada",', ' "age": 36}']))) == [Person(name="Ada", age=36)]


def test_an_answer_type_may_be_given_itself():
    """What is made once need not be made again."""
    kind = to_answer_type(Person)
    assert to_answer_type(kind) is kind


class Suit(enum.Enum):
    """An answer that is not an object."""

    HEARTS = "hearts"
    SPADES = "spades"


@dataclasses.dataclass
class Card:
    """A dataclass with an enum."""

    suit: Suit


class Entry(TypedDict):
    """A TypedDict."""

    name: str


PICKLED = {
    "pydantic": (Person, {"name": "Ada", "age": 36}, Person(name="Ada", age=36)),
    "TypedDict": (Entry, {"name": "Ada"}, {"name": "Ada"}),
    "dataclass": (Card, {"suit": "hearts"}, Card(Suit.HEARTS)),
    "enum": (Suit, {"value": "spades"}, Suit.SPADES),
    "JSON schema": ({"title": "Ages", "type": "array", "items": {"type": "integer"}}, {"value": [3]}, [3]),
}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("kind", PICKLED)
def test_a_runnable_pickles_without_its_key_and_answers_as_before(server, monkeypatch, kind, method):
    """As workers of Ray and processes need it: the copy asks its own environment for the key."""
    schema, answer, value = PICKLED[kind]
    chain = ChatPromptTemplate.from_messages([("user", "{input}")]) | structured(
        model_for(server), schema, method=method
    )
    state = pickle.dumps(chain)
    assert server.key.encode() not in state
    name = schema["title"] if isinstance(schema, dict) else schema.__name__
    if method == "json_schema":
        reply = Reply(text=json.dumps(answer))
    else:
        reply = Reply(tool_calls=[ScriptedCall(name, answer, id="c1")])
    server.script(reply, reply, reply)
    monkeypatch.setenv("CEREBRAS_API_KEY", server.key)
    for made in (chain, pickle.loads(state), copy.deepcopy(chain)):
        assert made.invoke({"input": "hi"}) == value
    first, *others = [request.json for request in server.requests]
    assert others == [first, first]


# -- the embedded model


@pytest.fixture(scope="module")
def embedded():
    return ChatCerebrasDemo(base_url="local", temperature=0, max_tokens=80)


@pytest.mark.xdist_group("embedded")
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize(("kind", "way"), [("pydantic", "invoke"), ("JSON schema", "astream")])
def test_the_embedded_model_answers_by_the_schema(embedded, kind, method, way):
    """A real model, whose grammar is made of the schema."""
    schema = KINDS[kind]()
    result = WAYS[way](structured(embedded, schema, method=method), "Ann is 30 years old. Who is it?")
    assert {name: type(value) for name, value in dict(result).items()} == {"name": str, "age": int}


@pytest.mark.xdist_group("embedded")
def test_the_embedded_model_may_be_cut_off(embedded):
    """Two tokens are no answer."""
    chain = structured(embedded, Person, max_tokens=2)
    with pytest.raises(OutputParserException, match="raise max_tokens"):
        chain.invoke("Ann is 30 years old. Who is it?")
