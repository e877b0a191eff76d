"""Standard content blocks are the same with invoke, streams, v1 and v3."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial

import pytest
from langchain_core import exceptions
from langchain_core.outputs.chat_generation import merge_chat_generation_chunks

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.generations import Origin, to_chunks
from langchain_cerebras_demo.testing import RawAnswer, RawStream, Reply, sse
from langchain_cerebras_demo.wire.completion import ReasoningDelta, TextDelta, ToolCallFragment

CALLS = [
    {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "type": "function", "function": {"arguments": '{"a": 1'}}]},
    {"tool_calls": [{"index": 0, "type": "function", "function": {"arguments": "1}"}}]},
    {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": '{"b": 2}'}}]},
]
ANSWERS = {
    "text": [{"content": "Hello "}, {"content": "Ann"}],
    "reasoning and text": [{"reasoning": "Hm. "}, {"reasoning": "Ok."}, {"content": "Hello "}, {"content": "Ann"}],
    "text and two calls": [{"content": "Hello "}, {"content": "Ann"}, *CALLS],
    "all of it": [{"reasoning": "Hm."}, {"content": "Hello "}, {"content": "Ann"}, *CALLS],
    "calls alone": CALLS,
    "think tags in the text": [{"content": "<thi"}, {"content": "nk>Hm.</think>"}, {"content": "\n\nHello Ann"}],
}
EXPECTED = {
    "reasoning": {"type": "reasoning", "reasoning": "Hm."},
    "text": {"type": "text", "text": "Hello Ann"},
    "calls": [
        {"type": "tool_call", "id": "c1", "name": "f", "args": {"a": 11}},
        {"type": "tool_call", "id": "c2", "name": "g", "args": {"b": 2}},
    ],
}


def expected(name):
    blocks = []
    if "reasoning" in name or name == "all of it" or "think" in name:
        blocks.append({"type": "reasoning", "reasoning": "Hm. Ok." if name == "reasoning and text" else "Hm."})
    if name != "calls alone":
        blocks.append(EXPECTED["text"])
    if "call" in name or name == "all of it":
        blocks += EXPECTED["calls"]
    return blocks


def plain(blocks):
    return [{key: value for key, value in block.items() if key != "index"} for block in blocks]


def merged(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


async def collected(chunks):
    return [chunk async for chunk in chunks]


async def v3_output(model):
    stream = await model.astream_events("hello", version="v3")
    return await stream.output


WAYS = {
    "invoke": lambda model: model.invoke("hello"),
    "ainvoke": lambda model: asyncio.run(model.ainvoke("hello")),
    "stream": lambda model: merged(model.stream("hello")),
    "astream": lambda model: merged(asyncio.run(collected(model.astream("hello")))),
    "stream_events v3": lambda model: model.stream_events("hello", version="v3").output,
    "astream_events v3": lambda model: asyncio.run(v3_output(model)),
}


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("output_version", [None, "v1"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ANSWERS)
def test_every_way_gives_the_same_blocks(server, name, way, output_version):
    """Reasoning first, one text block, finished tool calls, under both output versions."""
    server.script(Reply(deltas=[{"role": "assistant"}, *ANSWERS[name]]))
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, output_version=output_version)
    message = WAYS[way](model)
    assert plain(message.content_blocks) == expected(name)
    calls = [(call["id"], call["args"]) for call in message.tool_calls]
    assert calls == [(call["id"], call["args"]) for call in expected(name) if call["type"] == "tool_call"]
    assert message.usage_metadata["total_tokens"] > 0
    assert message.response_metadata["finish_reason"]


def test_a_chunk_with_a_fragment_shows_a_fragment(server):
    """Not a finished call without arguments, as LangChain's best effort would."""
    server.script(Reply(deltas=[{"role": "assistant"}, *CALLS]))
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)
    kinds = [block["type"] for chunk in model.stream("hello") for block in chunk.content_blocks]
    assert set(kinds) == {"tool_call_chunk"}


# -- refusals

REFUSAL = "That I will not do."
FRAME = {"id": "c1", "model": "m"}


def declined(way, *, reasoning=None):
    """The scripted answer of a model that declines, as this way of calling asks for it."""
    said = {"role": "assistant", "content": None, "refusal": REFUSAL, "reasoning": reasoning}
    if "invoke" in way:
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return RawAnswer(
            headers={"content-type": "application/json"}, body=json.dumps({**FRAME, "choices": [choice]}).encode()
        )
    deltas = [
        {"role": "assistant", "content": None},
        {"reasoning": reasoning},
        {"refusal": REFUSAL[:5]},
        {"refusal": REFUSAL[5:]},
    ]
    choices = [{"index": 0, "delta": delta} for delta in deltas] + [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    return RawStream([b"".join(sse({**FRAME, "choices": [choice]}) for choice in choices)])


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("coalesce", [True, False])
@pytest.mark.parametrize("output_version", [None, "v1"])
@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_is_read_from_the_message(server, way, output_version, coalesce):
    """In additional_kwargs as langchain-openai has it, and as a block, which LangChain's own checks look for."""
    server.script(declined(way, reasoning="No."))
    model = ChatCerebrasDemo(
        base_url=server.base_url, api_key=server.key, output_version=output_version, coalesce=coalesce
    )
    message = WAYS[way](model)
    assert message.text == ""
    assert message.additional_kwargs["refusal"] == REFUSAL
    assert message.response_metadata["normalized_finish_reason"] == "refusal"
    blocks = [{"type": "reasoning", "reasoning": "No."}, {"type": "refusal", "refusal": REFUSAL}]
    # LangChain's assembly of v3 events has no place for refusals, and drops the block.
    assert plain(message.content_blocks) == (blocks[:1] if "v3" in way else blocks)


@pytest.mark.parametrize("output_version", [None, "v1"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_refusal_goes_back_as_what_the_user_read(server, way, output_version):
    """In the next turn, so that the model knows its answer."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, output_version=output_version)
    server.script(declined(way), Reply(text="Fine."))
    message = WAYS[way](model)
    model.invoke([("user", "hello"), message, ("user", "why?")])
    (told,) = [one for one in server.requests[-1].json["messages"] if one["role"] == "assistant"]
    assert told["content"] in (REFUSAL, [{"type": "text", "text": REFUSAL}])


@pytest.mark.skipif(not hasattr(exceptions, "ModelRefusalError"), reason="langchain-core knows refusals from 1.7.5 on")
def test_langchain_itself_finds_the_refusal(server):
    """Its output parsers, and the agents' middleware for refusals."""
    from langchain.agents import create_agent
    from langchain.agents.middleware import ModelRefusalMiddleware
    from langchain_core.output_parsers import JsonOutputParser

    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)
    server.script(declined("invoke"), declined("invoke"))
    for chain in (model | JsonOutputParser(), create_agent(model, middleware=[ModelRefusalMiddleware()])):
        with pytest.raises(exceptions.ModelRefusalError, match=REFUSAL):
            chain.invoke({"messages": [("user", "hello")]} if "graph" in type(chain).__module__ else "hello")


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("text", ["", "Once upon"])
@pytest.mark.parametrize("output_version", [None, "v1"])
@pytest.mark.parametrize("way", WAYS)
def test_a_filtered_answer_is_a_refusal_without_words(server, way, output_version, text):
    """Its block names the content filter; the text before it is kept."""
    server.script(Reply(text=text, finish_reason="content_filter"))
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, output_version=output_version)
    message = WAYS[way](model)
    assert message.text == text
    said = [{"type": "text", "text": text}] if text else []
    refusal = {"type": "refusal", "refusal": "", "extras": {"category": "content_filter"}}
    assert message.response_metadata["normalized_finish_reason"] == "refusal"
    # LangChain's assembly of v3 events has no place for refusals, and drops the block where the content is a list.
    is_dropped = "v3" in way and isinstance(message.content, list)
    assert plain(message.content_blocks) == [*said, *([] if is_dropped else [refusal])]


@pytest.mark.skipif(not hasattr(exceptions, "ModelRefusalError"), reason="langchain-core knows refusals from 1.7.5 on")
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_langchain_itself_finds_that_an_answer_was_filtered(server, way):
    """Parsers, middleware and our own structured output raise the same error, and name the filter."""
    from langchain.agents import create_agent
    from langchain.agents.middleware import ModelRefusalMiddleware
    from langchain_core.output_parsers import JsonOutputParser

    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, streaming=way == "stream")
    chains = [
        (model | JsonOutputParser(), "hello"),
        (create_agent(model, middleware=[ModelRefusalMiddleware()]), {"messages": [("user", "hello")]}),
        (model.with_structured_output({"title": "Box", "type": "object", "properties": {}}), "hello"),
    ]
    for chain, asked in chains:
        server.script(Reply(text='{"a": 1', finish_reason="content_filter"))
        with pytest.raises(exceptions.ModelRefusalError, match=r"content.filter"):
            chain.invoke(asked) if way == "invoke" else list(chain.stream(asked))


def test_a_filtered_answer_goes_back_as_what_the_user_read(server):
    """Without the text of the refusal block, which is not the model's."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, output_version="v1")
    server.script(Reply(text="Once upon", finish_reason="content_filter"), Reply(text="Fine."))
    model.invoke([("user", "hello"), model.invoke("hello"), ("user", "go on")])
    (told,) = [one for one in server.requests[-1].json["messages"] if one["role"] == "assistant"]
    assert told["content"] in ("Once upon", [{"type": "text", "text": "Once upon"}])


# -- cost


def function_calls_of(read):
    """How many functions reading calls: a measure of its work that does not depend on the machine."""
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        read()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    "delta",
    [
        lambda _: TextDelta("word "),
        lambda _: ReasoningDelta("word "),
        lambda number: ToolCallFragment(0, "c1" if number == 0 else None, "f" if number == 0 else None, '"'),
    ],
    ids=["text", "reasoning", "arguments"],
)
def test_reading_the_blocks_costs_the_same_however_long_the_answer_is(delta):
    """LangChain's parsers read them at each partial parse: reading must not grow with what has arrived."""
    costs = []
    for length in (100, 10_000):
        chunks = to_chunks([delta(number) for number in range(length)], Origin("cerebras"), is_coalesced=length > 100)
        message = merge_chat_generation_chunks(list(chunks)).message
        message.content_blocks  # noqa: B018 - the first read imports
        costs.append(function_calls_of(partial(getattr, message, "content_blocks")))
        (block,) = message.content_blocks
        longest = max((value for value in block.values() if isinstance(value, str)), key=len)
        held = (message.content, message.additional_kwargs.get("reasoning_content"))
        held += tuple(piece["args"] for piece in message.tool_call_chunks)
        assert any(longest is one for one in held)  # not a copy
    assert costs[0] == costs[1]
