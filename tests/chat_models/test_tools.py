"""Tools and tool choices in every form, and the merging of streamed fragments."""

from __future__ import annotations

import asyncio
from typing import TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_cerebras_demo import ChatCerebrasDemo, TruncatedAnswerWarning
from langchain_cerebras_demo.chat_models.tools import to_tool_choice, to_tools
from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.testing import Reply, ScriptedCall
from langchain_cerebras_demo.testing.rules import strict_problems


@tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def subtract(a: int, b: int) -> int:
    """Subtracts two numbers."""
    return a - b


class Multiply(BaseModel):
    """Multiplies two numbers."""

    a: int
    b: int = Field(description="the second one")


class Divide(TypedDict):
    """Divides two numbers."""

    a: int
    b: int


OPENAI = {
    "type": "function",
    "function": {
        "name": "power",
        "description": "d",
        "parameters": {"type": "object", "properties": {}},
        "strict": True,
    },
    "cache_control": {"type": "ephemeral"},
}
ANTHROPIC = {"name": "root", "description": "d", "input_schema": {"type": "object", "properties": {}}}
SCHEMA = {"title": "log", "description": "d", "type": "object", "properties": {"a": {"type": "integer"}}}


def model_for(server, **fields):
    return ChatCerebrasDemo(**{"base_url": server.base_url, "api_key": server.key, "max_retries": 0, **fields})


def test_tools_come_in_every_shape():
    """LangChain tools, functions, classes, and dicts of others; keys that the API does not know are left behind."""
    converted = to_tools([add, subtract, Multiply, Divide, OPENAI, ANTHROPIC, SCHEMA])
    names = [one["function"]["name"] for one in converted]
    assert names == ["add", "subtract", "Multiply", "Divide", "power", "root", "log"]
    assert all(set(one) == {"type", "function"} for one in converted)
    assert all(set(one["function"]) <= {"name", "description", "parameters", "strict"} for one in converted)


TIMES = {
    "name": "times",
    "description": "d",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer", "nullable": True}}},
}
FLAT = {"type": "function", **TIMES}
NESTED = {"type": "function", "function": TIMES}
FORMS = {
    "LangChain tool": add,
    "function": subtract,
    "pydantic class": Multiply,
    "TypedDict": Divide,
    "OpenAI tool": NESTED,
    "OpenAI tool that is strict": OPENAI,
    "OpenAI tool that is not": {"type": "function", "function": {**TIMES, "strict": False}},
    "OpenAI function": TIMES,
    "Responses API": FLAT,
    "Responses API with nulls": {**FLAT, "strict": None, "description": None},
    "Anthropic tool": ANTHROPIC,
    "JSON schema": SCHEMA,
    "no parameters": {"type": "function", "function": {"name": "now"}},
}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_strict_is_sent_for_tools_of_every_form(server, form, strict):
    """Whatever a tool says itself, and with a schema that strict mode takes."""
    bound = model_for(server).bind_tools([add, FORMS[form]] if form != "LangChain tool" else [add], strict=strict)
    bound.invoke("hello")
    for one in server.requests[0].json["tools"]:
        assert one["function"]["strict"] is strict
        if strict and "parameters" in one["function"]:
            assert strict_problems(one["function"]["parameters"]) == []


def test_a_tool_that_wants_to_be_strict_makes_the_silent_ones_strict():
    """The service refuses a request that mixes them."""
    assert [one["function"]["strict"] for one in to_tools([add, OPENAI])] == [True, True]
    assert all("strict" not in one["function"] for one in to_tools([add, subtract]))


def free(options: dict) -> str:
    """Takes anything."""
    return str(options)


CANNOT = [
    (
        lambda: to_tools([add, free], strict=True),
        "the tool 'free' cannot be strict: .*#/properties/options is a mapping",
    ),
    (lambda: to_tools([OPENAI, free]), "the tool 'free' cannot be strict"),
    (
        lambda: to_tools([{"name": "ring", "description": "", "input_schema": {"type": "array"}}], strict=True),
        "the tool 'ring' cannot be strict: .* # ",
    ),
    (
        lambda: to_tools([OPENAI, FORMS["OpenAI tool that is not"]]),
        "must have the same strict, but power have True and times False",
    ),
]


@pytest.mark.parametrize(("call", "words"), CANNOT)
def test_a_tool_that_cannot_be_strict_is_named(call, words):
    """Nothing is dropped without a word; `strict=False` is the way out."""
    with pytest.raises(ValueError, match=f"(?i){words}.*strict=False"):
        call()


AS_GIVEN = {
    "type": "object",
    "title": "Arguments",
    "properties": {
        "one": {"type": ["string", "array"], "enum": ["a"], "items": {"type": "string", "enum": ["a", "b"]}},
        "other": {"type": "string", "default": "x", "minLength": 1, "format": "date"},
        "ring": {"$ref": "#/definitions/Ring"},
    },
    "definitions": {"Ring": {"type": "object", "properties": {"ring": {"$ref": "#/definitions/Ring"}}}},
    "additionalProperties": True,
    "required": ["one"],
}


@pytest.mark.parametrize("strict", [None, False])
def test_the_schema_of_a_lenient_tool_goes_out_as_it_was_given(server, strict):
    """The service accepted such ones: lists of types, defaults, what strict mode refuses."""
    tool = {"type": "function", "function": {"name": "f", "parameters": AS_GIVEN}}
    model_for(server).bind_tools([tool], strict=strict).invoke("hello")
    (request,) = server.requests
    assert request.json["tools"][0]["function"]["parameters"] == AS_GIVEN


def test_free_mappings_stay_open_where_nothing_is_strict():
    """And are never closed behind their author's back."""
    (one,) = to_tools([free], strict=False)
    assert one["function"]["parameters"]["properties"]["options"].get("additionalProperties") is not False


WAYS_TO_GIVE = {
    "bind_tools": lambda model, tools: model.bind_tools(tools),
    "bind": lambda model, tools: model.bind(tools=tools),
    "field": lambda model, tools: ChatCerebrasDemo(base_url=model.base_url, api_key=model.api_key, tools=tools),
    "beside a schema": lambda model, tools: model.with_structured_output(Multiply, tools=tools),
}


@pytest.mark.parametrize("way", WAYS_TO_GIVE)
@pytest.mark.parametrize("form", [form for form in FORMS if form != "OpenAI tool that is strict"])
def test_tools_of_every_form_are_taken_wherever_tools_are(server, form, way):
    """The Responses API's flat form among them; what goes out is the form that the service knows."""
    server.script(Reply(text='{"a": 1, "b": 2}'))
    WAYS_TO_GIVE[way](model_for(server), [FORMS[form]]).invoke("hello")
    sent, *answer = server.requests[0].json["tools"]
    assert len(answer) == (way == "beside a schema")
    assert set(sent) == {"type", "function"}
    assert sent["function"]["name"] in {"add", "subtract", "Multiply", "Divide", "power", "times", "root", "log", "now"}


def test_a_flat_tool_is_the_nested_one():
    """Its parts move under `function`; a flat choice does too."""
    assert to_tools([FLAT]) == to_tools([NESTED])
    chosen = {"type": "function", "function": {"name": "times"}}
    assert to_tool_choice({"type": "function", "name": "times"}, to_tools([FLAT])) == chosen


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        (None, None),
        (False, None),
        (True, "required"),
        ("any", "required"),
        ("required", "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("add", {"type": "function", "function": {"name": "add"}}),
        ({"type": "function", "function": {"name": "add"}}, {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_tool_choices_come_in_every_shape(choice, wire):
    """LangChain's words become the API's."""
    assert to_tool_choice(choice, to_tools([add])) == wire


REFUSED = [
    (lambda: to_tools([{"name": "a b", "description": "", "input_schema": {}}]), "'a b'"),
    (lambda: to_tools([{"name": "x" * 65, "description": "", "input_schema": {}}]), "64"),
    (lambda: to_tools([{"type": "web_search"}]), "web_search"),
    (lambda: to_tools([{"type": "function"}]), "has no name"),
    (lambda: to_tools([{"type": "function", "function": {}}]), "has no name"),
    (lambda: to_tool_choice("divide", to_tools([add])), "'divide'.*add"),
    (
        lambda: to_tool_choice({"type": "function", "function": {"name": "x"}}, to_tools([add])),
        "is not the name of a tool",
    ),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_what_the_api_does_not_take_is_refused_by_name(call, words):
    """Before anything is sent."""
    with pytest.raises(ValueError, match=words):
        call()


def test_bind_tools_gives_a_binding_of_plain_dicts(server):
    """So that caches can tell two bindings apart; the request carries the tools."""
    bound = model_for(server).bind_tools([add], tool_choice="any")
    assert isinstance(bound, RunnableBinding)
    assert isinstance(bound.kwargs["tools"][0], dict)
    message = bound.invoke("Please add 2 and 3.")
    assert message.tool_calls[0]["name"] == "add"
    assert server.requests[0].json["tool_choice"] == "required"


def test_a_response_format_may_stand_beside_the_tools(server):
    """In the API's own form as it is, made fit for strict mode, or as a class."""
    model = model_for(server)
    assert model.bind_tools([add], response_format={"type": "json_object"}).kwargs["response_format"] == {
        "type": "json_object"
    }
    bound = model.bind_tools([add], response_format=Multiply).kwargs["response_format"]["json_schema"]
    assert (bound["name"], bound["strict"], bound["schema"]["additionalProperties"]) == ("Multiply", True, False)


def test_the_response_format_is_strict_unless_told_otherwise(server):
    """By itself or by `strict=False`; what it says itself stays."""
    model, lenient = model_for(server), {"name": "M", "schema": {"type": "object", "properties": {}}, "strict": False}

    def strict_of(form, **more):
        return model.bind_tools([add], response_format=form, **more).kwargs["response_format"]["json_schema"]["strict"]

    assert [strict_of(Multiply, strict=strict) for strict in (None, True, False)] == [True, True, False]
    assert [strict_of(lenient, strict=strict) for strict in (None, True, False)] == [False, False, False]


def test_a_lenient_response_format_is_sent_with_strict_tools(server):
    """Where it goes out as one more tool, it has to be strict as the others are."""
    form = {"name": "log", "schema": SCHEMA, "strict": False}
    model_for(server).bind_tools([OPENAI], response_format=form).invoke("hello")
    (request,) = server.requests
    assert [sent["function"]["strict"] for sent in request.json["tools"]] == [True, True]
    assert strict_problems(request.json["tools"][1]["function"]["parameters"]) == []


def test_a_response_format_that_cannot_be_strict_is_refused_with_strict_tools(server):
    """By its own name: the user has given no tool of its kind."""
    free = {"title": "log", "description": "d", "type": "object", "additionalProperties": {"type": "integer"}}
    form = {"name": "log", "schema": free, "strict": False}
    with pytest.raises(InvalidRequestError, match="response_format has to be strict, because all tools of the request"):
        model_for(server).bind_tools([OPENAI], response_format=form).invoke("hello")
    assert not server.requests


@pytest.mark.parametrize("tool_choice", [None, "any"])
def test_no_tools_are_no_key(server, tool_choice, caplog):
    """With an empty list, as an agent may bind it, neither tools nor a choice are sent, and a warning is logged."""
    model_for(server).bind_tools([], tool_choice=tool_choice).invoke("hello")
    assert set(server.requests[0].json) == {"model", "messages"}
    assert ("tool_choice='any'" in caplog.text) == (tool_choice == "any")


@pytest.mark.parametrize("value", [True, False])
def test_parallel_tool_calls_goes_out_as_it_was_given(server, value):
    """To every model: what the catalogue says of it may be out of date."""
    for name in ("gpt-oss-120b", "qwen-3.8-27b"):
        model_for(server, model=name).bind_tools([add], parallel_tool_calls=value).invoke("hello")
    assert [request.json["parallel_tool_calls"] for request in server.requests] == [value, value]


# -- fragments


def fragment(index=0, call_id=None, name=None, arguments=None, **more):
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    call = {"type": "function", "function": function, **more}
    if index is not None:
        call["index"] = index
    if call_id:
        call["id"] = call_id
    return {"tool_calls": [call]}


FRAGMENTS = {
    "in order": [fragment(0, "c1", "add", ""), fragment(0, arguments='{"a": 1, '), fragment(0, arguments='"b": 2}')],
    "whole in one delta": [fragment(0, "c1", "add", '{"a": 1, "b": 2}')],
    "without an index": [fragment(None, "c1", "add", ""), fragment(None, arguments='{"a": 1, "b": 2}')],
    "name on every delta": [fragment(0, "c1", "add", '{"a": 1, '), fragment(0, "c1", "add", '"b": 2}')],
    "name behind the id": [fragment(0, "c1"), fragment(0, None, "add"), fragment(0, arguments='{"a": 1, "b": 2}')],
}


@pytest.mark.parametrize("name", FRAGMENTS)
def test_fragments_become_one_call(server, name):
    """Whatever way they come in: one call, one name, one id, whole arguments."""
    server.script(Reply(deltas=[{"role": "assistant"}, *FRAGMENTS[name]], finish_reason="tool_calls"))
    merged = sum_chunks(model_for(server).stream("add"))
    assert merged.tool_calls == [{"name": "add", "args": {"a": 1, "b": 2}, "id": "c1", "type": "tool_call"}]
    assert merged.invalid_tool_calls == []


@pytest.mark.parametrize("name", [*FRAGMENTS, "name in pieces"])
def test_fragments_of_the_answers_call_become_its_text(server, name):
    """Where a response format goes out as one more tool: nothing of that call is seen, whatever way it comes in."""
    pieces = {
        **FRAGMENTS,
        "name in pieces": [fragment(0, "c1", "ad"), fragment(0, None, "d"), *FRAGMENTS["in order"][1:]],
    }
    server.script(Reply(deltas=[{"role": "assistant"}, *pieces[name]], finish_reason="tool_calls"))
    model = model_for(server).bind_tools([subtract], response_format={"name": "add", "schema": SCHEMA, "strict": False})
    chunks = list(model.stream("add"))
    assert "".join(chunk.content for chunk in chunks) == '{"a": 1, "b": 2}'
    assert not any(chunk.tool_call_chunks for chunk in chunks)
    assert sum_chunks(chunks).response_metadata["finish_reason"] == "stop"


SEVERAL = {
    "by index": [fragment(0, "c1", "add", '{"a": 1}'), fragment(1, "c2", "add", '{"a": 2}')],
    "index 0 again": [fragment(0, "c1", "add", '{"a": 1}'), fragment(0, "c2", "add", '{"a": 2}')],
    "interleaved": [
        fragment(0, "c1", "add", ""),
        fragment(1, "c2", "add", ""),
        fragment(0, arguments='{"a": 1}'),
        fragment(1, arguments='{"a": 2}'),
    ],
    "without an index": [fragment(None, "c1", "add", '{"a": 1}'), fragment(None, "c2", "add", '{"a": 2}')],
    "both in one delta": [
        {
            "tool_calls": [
                fragment(0, "c1", "add", '{"a": 1}')["tool_calls"][0],
                fragment(1, "c2", "add", '{"a": 2}')["tool_calls"][0],
            ]
        }
    ],
}


@pytest.mark.parametrize("name", SEVERAL)
def test_fragments_of_several_calls_stay_apart(server, name):
    """Each call its own."""
    server.script(Reply(deltas=[{"role": "assistant"}, *SEVERAL[name]], finish_reason="tool_calls"))
    merged = sum_chunks(model_for(server).stream("add"))
    assert [(call["id"], call["args"]) for call in merged.tool_calls] == [("c1", {"a": 1}), ("c2", {"a": 2})]


@pytest.mark.parametrize("arguments", ["", "null", "{}"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_no_arguments_are_an_empty_mapping(server, arguments, way):
    """How models call a function that takes none."""
    server.script(Reply(tool_calls=[ScriptedCall("now", arguments, id="c1")]))
    model = model_for(server)
    message = model.invoke("now") if way == "invoke" else sum_chunks(model.stream("now"))
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("now", {})]
    assert message.invalid_tool_calls == []


def test_a_call_cut_off_by_length_is_an_invalid_one(server):
    """By invoke and merged from a stream, which cannot say why; so a warning does."""
    cut = Reply(tool_calls=[ScriptedCall("add", '{"a": 1, "b', id="c1")], finish_reason="length")
    server.script(cut, cut)
    model = model_for(server)
    message = model.invoke("add")
    assert (message.tool_calls, message.invalid_tool_calls[0]["name"]) == ([], "add")
    with pytest.warns(TruncatedAnswerWarning, match=r"add.*cut off.*invalid_tool_calls.*max_tokens") as warned:
        merged = sum_chunks(model.stream("add"))
    assert warned[0].filename == __file__
    assert (merged.tool_calls, merged.invalid_tool_calls[0]["name"]) == ([], "add")


def test_an_answer_that_reasoning_ate_warns_with_the_remedy(server):
    """finish_reason is length, and there is no text."""
    reply = Reply(reasoning="Let me think about it for", finish_reason="length")
    server.script(reply, reply)
    model = model_for(server)
    with pytest.warns(TruncatedAnswerWarning, match=r"max_tokens.*reasoning_effort") as warned:
        model.invoke("hello")
    assert warned[0].filename == __file__  # the user's line
    with pytest.warns(TruncatedAnswerWarning, match=r"max_tokens.*reasoning_effort"):
        asyncio.run(model.ainvoke([HumanMessage("hello")]))


def sum_chunks(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


# -- what agents bind at every step


def test_a_tool_in_the_apis_form_is_not_converted():
    """It goes out as it is; one with other keys, or with None for a value, is copied without them."""
    plain = {"type": "function", "function": {"name": "now", "description": "d", "parameters": {"type": "object"}}}
    assert to_tools([plain])[0] is plain
    for more in ({"cache_control": {"type": "ephemeral"}}, {"strict": None}):
        assert to_tools([{"type": "function", "function": {**plain["function"], **more}}]) == [plain]


def test_a_strict_tool_is_fitted_by_what_its_schema_says_now():
    """Not by its identity: a tool may be changed between two steps. The tool itself and earlier results stay as they are."""
    given = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    before = to_tools([given], strict=True)
    before[0]["function"]["parameters"]["properties"]["added"] = {"type": "string"}
    assert to_tools([given], strict=True)[0]["function"]["parameters"]["properties"] == {}
    given["function"]["parameters"]["properties"]["zone"] = {"type": "string"}
    given["function"]["description"] = "the time"
    again = to_tools([given], strict=True)[0]["function"]
    assert again["parameters"]["properties"] == {"zone": {"type": "string"}}
    assert again["description"] == "the time"
    assert "strict" not in given["function"]
