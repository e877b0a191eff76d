"""Conversion of Cerebras requests for the embedded server."""

from __future__ import annotations

import copy

import pytest

from langchain_cerebras_demo.local.dialect import CEREBRAS_ONLY, LOCAL_HEADERS, LOCAL_MODEL, to_local
from langchain_cerebras_demo.wire.request import PARAMETERS


def tool(name):
    return {"type": "function", "function": {"name": name, "strict": True, "parameters": {"type": "object"}}}


def body(**more):
    return {"model": "gpt-oss-120b", "messages": [{"role": "user", "content": "hi"}], **more}


def test_the_least_body_gets_the_alias_a_limit_and_the_sampling_of_the_model_card():
    """Everything that llama.cpp would otherwise choose for itself is sent."""
    assert to_local(body()) == {
        "model": LOCAL_MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.2,
        "top_p": 0.9,
        "dry_multiplier": 0.8,
        "dry_allowed_length": 4,
        "max_completion_tokens": 512,
    }


def test_what_the_user_chose_stays():
    """Sampling, limits, stops and formats are the user's, one default does not replace the other."""
    chosen = {
        "temperature": 0,
        "max_completion_tokens": 7,
        "stop": ["."],
        "seed": 3,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "response_format": {"type": "json_object"},
        "user": "u",
    }
    local = to_local(body(**chosen))
    assert {key: local[key] for key in chosen} == chosen
    assert local["top_p"] == 0.9


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, 512),
        ({"max_completion_tokens": None}, 512),
        ({"max_completion_tokens": -1}, 512),
        ({"max_completion_tokens": 0}, 0),
        ({"max_tokens": 9}, 9),
        ({"max_tokens": -1}, 512),
        ({"max_tokens": 9, "max_completion_tokens": 4}, 4),
    ],
)
def test_there_is_always_one_limit(given, sent):
    """Cerebras' -1 means as much as fits, with which this model would ramble to the end of its context."""
    local = to_local(body(**given))
    assert local["max_completion_tokens"] == sent
    assert "max_tokens" not in local


@pytest.mark.parametrize(
    "key",
    [
        "reasoning_effort",
        "reasoning_format",
        "clear_thinking",
        "disable_reasoning",
        "service_tier",
        "prediction",
        "prompt_cache_key",
        "model_parameters",
        "min_tokens",
        "min_completion_tokens",
    ],
)
def test_what_only_cerebras_knows_is_dropped(key):
    """The embedded server would accept and ignore it."""
    assert key not in to_local(body(**{key: "x"}))


LLAMA_CPP_HAS = {
    "max_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "seed",
    "stop",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "user",
}
SENT_AS_HEADERS = {"queue_threshold"}


def test_every_parameter_is_either_sent_to_the_embedded_server_or_dropped():
    """A new parameter is added to ``CEREBRAS_ONLY`` or to ``LLAMA_CPP_HAS``."""
    assert set(PARAMETERS) - CEREBRAS_ONLY == LLAMA_CPP_HAS | SENT_AS_HEADERS


def test_a_null_counts_as_absent():
    """Cerebras takes null for most parameters; the defaults hold for it."""
    local = to_local(body(temperature=None, top_p=None, stop=None, tools=None, stream=None))
    assert local == to_local(body())


def test_a_stream_asks_for_its_usage():
    """Cerebras sends the usage unasked."""
    assert to_local(body(stream=True))["stream_options"] == {"include_usage": True}
    assert to_local(body(stream=True, stream_options={"include_usage": False}))["stream_options"] == {
        "include_usage": True
    }
    assert "stream_options" not in to_local(body(stream=False))


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_call_is_required_single_and_opened_by_the_template(choice):
    """The one shape that gave a valid call in 40 of 40; a response format would win over it."""
    given = body(
        tools=[tool("add")],
        tool_choice=choice,
        parallel_tool_calls=True,
        chat_template_kwargs={"x": 1},
        response_format={"type": "json_object"},
    )
    local = to_local(given)
    assert local["tools"] == [tool("add")]
    assert local["tool_choice"] == "required"
    assert local["parallel_tool_calls"] is False
    assert local["chat_template_kwargs"] == {"x": 1, "force_tool": True}
    assert "response_format" not in local


def test_a_named_choice_sends_that_tool_alone():
    """The server handles a named choice as "auto"; required with one tool is the same wish."""
    choice = {"type": "function", "function": {"name": "b"}}
    local = to_local(body(tools=[tool("a"), tool("b")], tool_choice=choice))
    assert local["tools"] == [tool("b")]


@pytest.mark.parametrize("function", [{"name": "c"}, "c"])
def test_a_choice_of_an_unknown_tool_is_refused(function):
    """The server would answer with plain text. A name where the API has a mapping is no choice either."""
    choice = {"type": "function", "function": function}
    with pytest.raises(ValueError, match=r"tool_choice names 'c', which is not among tools: 'a', 'b'"):
        to_local(body(tools=[tool("a"), tool("b")], tool_choice=choice))


@pytest.mark.parametrize("given", [{}, {"tool_choice": "auto"}, {"tool_choice": "none"}, {"parallel_tool_calls": True}])
def test_a_free_choice_is_no_call(given):
    """ "auto" never called in 20 of 20, and can end in a 500."""
    local = to_local(body(tools=[tool("a")], **given))
    assert local["tools"] == [tool("a")]
    assert local["tool_choice"] == "none"
    assert "parallel_tool_calls" not in local
    assert "chat_template_kwargs" not in local


@pytest.mark.parametrize("tools", [None, []])
def test_without_tools_nothing_speaks_of_tools(tools):
    """Neither an empty list nor a choice remains."""
    local = to_local(body(tools=tools, tool_choice="required", parallel_tool_calls=False))
    assert local.keys().isdisjoint({"tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs"})


def test_the_reasoning_of_earlier_turns_is_left_out():
    """The model has none; all else of the message stays."""
    turn = {"role": "assistant", "content": "4", "reasoning": "2+2", "reasoning_content": "2+2", "tool_calls": []}
    local = to_local(body(messages=[turn]))
    assert local["messages"] == [{"role": "assistant", "content": "4", "tool_calls": []}]


@pytest.mark.parametrize("kind", ["image_url", "image", "input_audio"])
def test_what_is_not_text_is_refused_with_the_place(kind):
    """llama.cpp would answer 500."""
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": kind}]},
    ]
    with pytest.raises(ValueError, match=rf"messages\[1\] has a part of type '{kind}'.*reads text only"):
        to_local(body(messages=messages))


def test_text_parts_pass():
    """The server joins them itself."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    assert to_local(body(messages=messages))["messages"] == messages


def test_the_given_body_is_not_changed():
    """The same body may be sent to Cerebras next."""
    given = body(
        messages=[{"role": "assistant", "content": [{"type": "text", "text": "a"}], "reasoning": "r"}],
        tools=[tool("a"), tool("b")],
        tool_choice={"type": "function", "function": {"name": "a"}},
        parallel_tool_calls=True,
        stream=True,
        stream_options={"include_usage": False},
        chat_template_kwargs={},
        max_tokens=1,
        response_format={"type": "text"},
    )
    before = copy.deepcopy(given)
    to_local(given)
    assert given == before


def test_connections_are_not_kept():
    """After a stream the server closes them without a word."""
    assert LOCAL_HEADERS == {"Connection": "close"}
