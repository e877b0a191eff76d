"""One answer, every way: invoke, ainvoke, stream, astream, events v2 and v3, under both output versions."""

from __future__ import annotations

import asyncio

import pytest

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.testing import Call, Reply

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning"),
]

ANSWERS = {
    "text": Reply(text="The sky is blue because of scattering, and so on."),
    "reasoning": Reply(text="4.", reasoning="Two and two. That is four."),
    "a tool call": Reply(tool_calls=[Call("add", {"a": 2, "b": 3}, id="call00001")]),
    "several tool calls": Reply(
        text="Let me see.",
        reasoning="Both.",
        tool_calls=[Call("add", {"a": 2}, id="call00001"), Call("sub", {"a": 3}, id="call00002")],
    ),
    "cut by length": Reply(text="The sky is", finish_reason="length"),
    "reasoning cut by length": Reply(reasoning="Let me think about", finish_reason="length"),
    "filtered": Reply(text="", finish_reason="content_filter"),
    "think tags": Reply(text="<think>Hm.</think>\n\nFour."),
}


def merged(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


async def collected(chunks):
    return [chunk async for chunk in chunks]


async def v2_output(model, **kwargs):
    events = [event async for event in model.astream_events("hello", version="v2", **kwargs)]
    return next(event["data"]["output"] for event in events if event["event"] == "on_chat_model_end")


async def v3_output(model, **kwargs):
    stream = await model.astream_events("hello", version="v3", **kwargs)
    return await stream.output


WAYS = {
    "invoke": lambda model, **kwargs: model.invoke("hello", **kwargs),
    "ainvoke": lambda model, **kwargs: asyncio.run(model.ainvoke("hello", **kwargs)),
    "stream": lambda model, **kwargs: merged(model.stream("hello", **kwargs)),
    "astream": lambda model, **kwargs: merged(asyncio.run(collected(model.astream("hello", **kwargs)))),
    "astream_events v2": lambda model, **kwargs: asyncio.run(v2_output(model, **kwargs)),
    "stream_events v3": lambda model, **kwargs: model.stream_events("hello", version="v3", **kwargs).output,
    "astream_events v3": lambda model, **kwargs: asyncio.run(v3_output(model, **kwargs)),
}


MEASURED = ("id", "request_id", "ttft", "tokens_per_second", "time_info")


def facts_of(message):
    """What a user reads of an answer; ids and times are the run's own."""
    metadata = {
        key: value
        for key, value in message.response_metadata.items()
        if key not in {"id", "output_version", "logprobs", "calls"}
    }
    (call,) = message.response_metadata["calls"]
    return {
        "text": message.text,
        "reasoning": "".join(block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning"),
        "tool_calls": message.tool_calls,
        "invalid": [(call["name"], call["args"]) for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "metadata": metadata,
        "call": {key: value for key, value in call.items() if key not in MEASURED},
        "timed": set(call["time_info"]),
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_every_way_gives_the_same_answer(server, name):
    """Content, reasoning, tool calls, usage and metadata: equal through all seven ways and both output versions."""
    seen = {}
    for output_version in (None, "v1"):
        model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, output_version=output_version)
        for way, call in WAYS.items():
            server.script(ANSWERS[name])
            seen[way, output_version] = facts_of(call(model))
    first = seen["invoke", None]
    assert {way: facts for way, facts in seen.items() if facts != first} == {}
    assert first["metadata"]["finish_reason"]
    assert first["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "astream_events v2"])
def test_log_probabilities_come_whole(server, way):
    """In response_metadata, a list of tokens in the order they came; the same whichever way."""
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, logprobs=True, top_logprobs=2)
    tokens = [WAYS[one](model).response_metadata["logprobs"]["content"] for one in ("invoke", way)]
    assert len(tokens[0]) > 3
    assert [token["token"] for token in tokens[0]] == [token["token"] for token in tokens[1]]


@pytest.mark.parametrize("way", ["generate", "agenerate"])
def test_two_answers_are_two_generations(server, way):
    """n=2: each its own text; the usage counts both and stands on the first."""
    from langchain_core.messages import HumanMessage

    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, n=2)
    asked = [[HumanMessage("hello")]]
    result = model.generate(asked) if way == "generate" else asyncio.run(model.agenerate(asked))
    first, second = result.generations[0]
    assert first.message.usage_metadata
    assert second.message.usage_metadata is None
    assert first.text
    assert second.text
    assert second.message.response_metadata["finish_reason"] == "stop"
