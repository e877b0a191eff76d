"""Answers that are added up: LangChain merges what a chain, an agent or a graph streams, whichever call it came from."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import reduce
from operator import add

import pytest
from langchain.agents import create_agent
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps, load
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    merge_message_runs,
    message_chunk_to_message,
)
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.outputs.chat_generation import merge_chat_generation_chunks
from langchain_core.runnables import RunnableGenerator, chain
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.testing import Call, RawStream, Reply, Status, sse

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:langgraph"),
]

WORDS = ("One and more.", "Two and more.", "Three and more.", "Four and more.")
THOUGHTS = ("First.", "Second.", "Third.", "Fourth.")
CUT = {"index": 0, "id": "c2", "function": {"name": "tide", "arguments": '{"port": "Co'}}
CUT = {"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [CUT]}}]}
END = {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
FIGURES = {"request_id", "attempts", "ttft", "tokens_per_second", "time_info", "estimated_cost_usd"}


def replies(count):
    """Answers with thoughts, text and two calls of long arguments each; the calls' numbers begin at 0 in every answer."""
    return [
        Reply(
            text=WORDS[turn],
            reasoning=THOUGHTS[turn],
            tool_calls=[Call("tide", {"port": f"Port number {turn}{place}"}, id=f"c{turn}{place}") for place in "ab"],
        )
        for turn in range(count)
    ]


def expected_calls(count):
    return [(f"c{turn}{place}", {"port": f"Port number {turn}{place}"}) for turn in range(count) for place in "ab"]


@tool
def tide(port: str) -> str:
    """The tide at a port."""
    return f"high at {port}"


@pytest.fixture(params=[True, False], ids=["coalesced", "exact"])
def model(request, server):
    return model_for(server, coalesce=request.param)


def model_for(server, **fields):
    return ChatCerebrasDemo(base_url=server.base_url, api_key=server.key, logprobs=True, **fields)


async def collected(chunks):
    return [chunk async for chunk in chunks]


def check(message, count, turns_with_calls=None):
    """Nothing of ``count`` answers is lost, their usage is summed, and each has figures of its own."""
    turns_with_calls = count if turns_with_calls is None else turns_with_calls
    assert str(message.text) == "".join(WORDS[:count])
    thoughts = [block["reasoning"] for block in message.content_blocks if block["type"] == "reasoning"]
    assert "".join(thoughts) == "".join(THOUGHTS[:count])
    assert [(call["id"], call["args"]) for call in message.tool_calls] == expected_calls(turns_with_calls)
    assert message.invalid_tool_calls == []
    metadata = message.response_metadata
    assert metadata["model_provider"] == "cerebras"
    for key, words in (("logprobs", WORDS), ("reasoning_logprobs", THOUGHTS)):
        assert "".join(token["token"] for token in metadata[key]["content"]) == "".join(words[:count])
    calls = metadata["calls"]
    assert len(calls) == count
    assert len({call["request_id"] for call in calls}) == len({call["id"] for call in calls}) == count
    for call in calls:
        assert call.keys() >= FIGURES
        assert (call["model_name"], call["attempts"]) == ("gpt-oss-120b", 1)
        assert call["finish_reason"] in {"stop", "tool_calls"}
    usage = message.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > count
    assert usage["output_token_details"]["reasoning"] >= count
    assert sum(call["estimated_cost_usd"] for call in calls) == pytest.approx(
        (usage["input_tokens"] * 0.35 + usage["output_tokens"] * 0.75) / 1e6
    )


def test_a_broken_call_of_the_second_answer_leaves_the_call_of_the_first_alone(server, model):
    """Both have number 0, and LangChain tells them apart by their ids."""
    [whole] = [Call("tide", {"port": "Cork"}, id="c1")]
    server.script(Reply(tool_calls=[whole]), RawStream([sse(CUT), sse(END)]))
    merged = reduce(add, chain_of(model, 2).stream("Tides?"))
    assert [(call["id"], call["args"]) for call in merged.tool_calls] == [("c1", {"port": "Cork"})]
    assert [call["id"] for call in merged.invalid_tool_calls] == ["c2"]


def chain_of(model, count):
    """A chain that streams several answers, one behind the other."""

    @chain
    def several(question):
        for _ in range(count):
            yield from model.stream(question)

    return several


def generator_of(model, count):
    """The same as a transformer of its input."""

    def several(questions):
        for question in questions:
            for _ in range(count):
                yield from model.stream(question)

    return several


def async_chain_of(model, count):
    @chain
    async def several(question):
        for _ in range(count):
            async for chunk in model.astream(question):
                yield chunk

    return several


CHAINS = {
    "invoke": lambda model, count: chain_of(model, count).invoke("hi"),
    "stream": lambda model, count: reduce(add, chain_of(model, count).stream("hi")),
    "ainvoke": lambda model, count: asyncio.run(async_chain_of(model, count).ainvoke("hi")),
    "astream": lambda model, count: reduce(add, asyncio.run(collected(async_chain_of(model, count).astream("hi")))),
    "generator": lambda model, count: RunnableGenerator(generator_of(model, count)).invoke("hi"),
}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("way", CHAINS)
def test_a_chain_of_several_streams_loses_nothing(server, model, way, count):
    """Text, thoughts, tool calls, log probabilities: one behind the other, with a dict of figures a call."""
    server.script(*replies(count))
    check(CHAINS[way](model, count), count)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_content_blocks_of_several_streams_add_up(server, way):
    """Under ``output_version="v1"`` too, where the content is a list of blocks."""
    server.script(*replies(2))
    check(CHAINS[way](model_for(server, output_version="v1"), 2), 2)


async def test_a_chain_of_streams_is_followed_by_events(server, model):
    """``astream_events`` tells the sum at the end of the chain, and one output a call."""
    server.script(*replies(2))
    events = [event async for event in async_chain_of(model, 2).astream_events("hi", version="v2")]
    ends = [event["data"]["output"] for event in events if event["event"] == "on_chat_model_end"]
    assert [len(end.response_metadata["calls"]) for end in ends] == [1, 1]
    (whole,) = [e["data"]["output"] for e in events if e["event"] == "on_chain_end" and not e["parent_ids"]]
    check(whole, 2)


async def test_protocol_events_tell_the_figures_of_their_call(server, model):
    """``astream_events`` v3 of the model: the message has them, and two of them can be added up."""
    server.script(*replies(2))
    messages = []
    for _ in range(2):
        stream = await model.astream_events("hi", version="v3")
        messages.append(await stream.output)
    assert [len(message.response_metadata["calls"]) for message in messages] == [1, 1]
    metadata = [AIMessageChunk("", response_metadata=message.response_metadata) for message in messages]
    assert len(add_ai_message_chunks(*metadata).response_metadata["calls"]) == 2


NO_TOKENS = "on Python 3.10 async agents stream no tokens: asyncio's tasks take no context (LangGraph's documentation)"


@pytest.mark.parametrize(
    "way",
    ["stream", pytest.param("astream", marks=pytest.mark.skipif(sys.version_info < (3, 11), reason=NO_TOKENS))],
)
def test_what_an_agent_streams_over_four_turns_adds_up(server, model, way):
    """``stream_mode="messages"``, ``gathered + chunk``: three turns with two tool calls each, and the answer."""
    server.script(*replies(3), Reply(text=WORDS[3], reasoning=THOUGHTS[3]))
    agent, given = create_agent(model, [tide]), {"messages": [HumanMessage("hi")]}
    if way == "stream":
        parts = list(agent.stream(given, stream_mode="messages"))
    else:
        parts = asyncio.run(collected(agent.astream(given, stream_mode="messages")))
    gathered = reduce(add, [message for message, _ in parts if isinstance(message, AIMessageChunk)])
    assert len(server.requests) == 4
    check(gathered, 4, turns_with_calls=3)


async def test_an_agents_protocol_events_end_with_every_call(server, model):
    """Version 3 over a graph: each of its messages has the figures of its own call."""
    server.script(*replies(1), Reply(text=WORDS[1]))
    run = await create_agent(model, [tide]).astream_events({"messages": [HumanMessage("hi")]}, version="v3")
    state = await run.output()
    answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
    assert [len(answer.response_metadata["calls"]) for answer in answers] == [1, 1]


def test_langchains_own_ways_of_adding_agree(server, model):
    """All at once, one by one, as generations: the same message."""
    server.script(*replies(2))
    chunks = [*model.stream("hi"), *model.stream("hi")]
    sums = [
        reduce(add, chunks),
        add_ai_message_chunks(*chunks),
        chunks[0] + chunks[1:],
        reduce(add, [reduce(add, part) for part in (chunks[:5], chunks[5:])]),
        merge_chat_generation_chunks([ChatGenerationChunk(message=chunk) for chunk in chunks]).message,
    ]
    for one in sums:
        check(one, 2)
        check(message_chunk_to_message(one), 2)
    assert all(one == sums[0] for one in sums)


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_runs_of_messages_are_merged(server, model, way):
    """LangChain keeps the first message's metadata alone; text, calls and usage are those of both."""
    server.script(*replies(2))
    ask = model.invoke if way == "invoke" else lambda text: reduce(add, model.stream(text))
    (merged,) = merge_message_runs([ask("hi"), ask("hi")])
    assert merged.content == "\n".join(WORDS[:2])
    assert [(call["id"], call["args"]) for call in merged.tool_calls] == expected_calls(2)
    assert merged.usage_metadata["output_token_details"]["reasoning"] >= 2
    assert len(merged.response_metadata["calls"]) == 1


@pytest.mark.parametrize("other", ["", "also", "with usage"])
def test_a_plain_chunk_may_stand_before_or_behind(server, model, other):
    """What somebody else's runnable yields between ours."""
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3} if other == "with usage" else None
    plain = AIMessageChunk(other, usage_metadata=usage)
    server.script(*replies(1))
    ours = reduce(add, model.stream("hi"))
    for whole in (ours + plain, plain + ours, plain + ours + plain):
        assert len(whole.response_metadata["calls"]) == 1
        assert WORDS[0] in whole.content
        assert [(call["id"], call["args"]) for call in whole.tool_calls] == expected_calls(1)
        assert whole.usage_metadata["total_tokens"] >= ours.usage_metadata["total_tokens"]


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_whole_answer_has_its_figures_in_the_same_form(server, model, way):
    """One dict, whichever way it came; every retry counted, and the speed of a stream where there was one."""
    server.script(Status(503, headers={"retry-after-ms": "1"}), *replies(1))
    message = model.invoke("hi") if way == "invoke" else reduce(add, model.stream("hi"))
    (call,) = message.response_metadata["calls"]
    assert call["attempts"] == 2
    assert call.keys() >= (FIGURES if way == "stream" else FIGURES - {"ttft", "tokens_per_second"})
    assert "index" not in call  # LangChain would merge the dicts of two calls by it
    assert not FIGURES & message.response_metadata.keys()
    said = ("finish_reason", "model_name", "id", "system_fingerprint")
    assert [call[name] for name in said] == [message.response_metadata[name] for name in said]


def test_sums_survive_a_checkpoint_and_langchains_own_json(server, model):
    """What was added up once can be kept, read again and added to."""
    server.script(*replies(2), Reply(text=WORDS[2], reasoning=THOUGHTS[2]))
    whole = chain_of(model, 2).invoke("hi")
    read = load(json.loads(dumps(whole)), allowed_objects="messages")
    assert read == whole
    check(read, 2)
    check(reduce(add, [read, *model.stream("hi")]), 3, turns_with_calls=2)


def test_a_thread_of_several_turns_keeps_the_figures_of_each(server, model):
    """In LangGraph's checkpointer, read from another agent's state."""
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "1"}}
    server.script(*replies(2), Reply(text=WORDS[2]))
    create_agent(model, [tide], checkpointer=saver).invoke({"messages": [HumanMessage("hi")]}, config)
    state = create_agent(model, [tide], checkpointer=saver).get_state(config)
    answers = [message for message in state.values["messages"] if isinstance(message, AIMessage)]
    assert [len(answer.response_metadata["calls"]) for answer in answers] == [1, 1, 1]
    assert all(answer.response_metadata["calls"][0]["time_info"]["total_time"] >= 0 for answer in answers)


# -- an answer out of a cache is no call


class WrittenCache(BaseCache):
    """Keeps answers as a database does: as LangChain's JSON."""

    def __init__(self):
        self._rows = {}

    def lookup(self, prompt, llm_string):
        row = self._rows.get((prompt, llm_string))
        return row and [load(json.loads(text), allowed_objects="core") for text in row]

    def update(self, prompt, llm_string, return_val):
        self._rows[prompt, llm_string] = [dumps(generation) for generation in return_val]

    def clear(self, **kwargs):
        self._rows = {}


@pytest.fixture(params=["field", "process", "written"])
def cached(request, server):
    if request.param == "process":
        set_llm_cache(InMemoryCache())
        yield model_for(server)
        set_llm_cache(None)
    else:
        yield model_for(server, cache=InMemoryCache() if request.param == "field" else WrittenCache())


@pytest.mark.parametrize("first", ["invoke", "ainvoke"])
@pytest.mark.parametrize("second", ["invoke", "ainvoke", "batch", "events"])
def test_an_answer_out_of_a_cache_has_no_figures_of_a_call(server, cached, first, second):
    """Nothing was sent for it; what the model said is as it was, and the first answer keeps its own."""
    ways = {
        "invoke": cached.invoke,
        "ainvoke": lambda text: asyncio.run(cached.ainvoke(text)),
        "batch": lambda text: cached.batch([text])[0],
        "events": lambda text: asyncio.run(end_of(cached, text)),
    }
    server.script(*replies(1))
    fresh = ways[first]("hi")
    for _ in range(2):
        again = ways[second]("hi")
        assert "calls" not in again.response_metadata
        assert (again.content, again.tool_calls) == (fresh.content, fresh.tool_calls)
        assert again.usage_metadata["total_cost"] == 0
        kept = {key: value for key, value in fresh.response_metadata.items() if key != "calls"}
        assert again.response_metadata == kept
    assert len(fresh.response_metadata["calls"]) == len(server.requests) == 1


async def end_of(model, text):
    async def ask(given):
        return await model.ainvoke(given)

    events = [event async for event in chain(ask).astream_events(text, version="v2")]
    return events[-1]["data"]["output"]
