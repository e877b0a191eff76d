"""Conversion of events to messages: incomplete calls stay invalid, and calls keep their ids, however chunks are added."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain.agents import create_agent
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
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

from langchain_cerebras_demo import APIStatusError, ChatCerebrasDemo, StreamInterruptedError
from langchain_cerebras_demo.chat_models.generations import Origin, to_chunks, to_result
from langchain_cerebras_demo.testing import CutAfter, LoopbackCerebras, RawStream, Reply, ScriptedCall, Status, sse
from langchain_cerebras_demo.wire.completion import CompletionDecoder
from tests.support.scripted import ScriptedResponse, ScriptedTransport
from tests.support.ways import WAYS
from tests.support.wire_shapes import call, chunk, to_data, whole

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:langgraph"),
]

ORIGIN = Origin("cerebras")
BROKEN = [
    '{"port": "Co',
    '{"port": "Co\\',
    '{"port": "Cork", "when": [1, {"a": "b',
    '{"port": "Cork"',
    '{"port": tru',
    '{"port',
    "{",
    '{"port": "Cork"} and Hull',
    '{"port": "Cork"}{"port": "Hull"}',
    '{"port": "Cork"}}',
    '["Cork"',
    '["Cork"]',
    '"Cork"',
    "5",
    "the port of Cork",
]
HUGE = ["[" * 10_000, '{"a": ' + "1" * 5000 + "}"]
WHOLE = '{"port": "Hull"}'


def chunks_of(arguments, *, size=5, is_coalesced=False, finish="tool_calls"):
    """The messages of a stream with a call of these arguments and one that is whole."""
    decoder = CompletionDecoder(salt="s")
    pieces = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    deltas = [
        call(index=0, call_id="a", name="tide", arguments=""),
        *(call(index=0, arguments=piece) for piece in pieces),
        call(index=1, call_id="b", name="tide", arguments=WHOLE),
    ]
    batches = [decoder.feed("", to_data(chunk({"tool_calls": [delta]}))) for delta in deltas]
    batches += [decoder.feed("", to_data(chunk(finish=finish))), decoder.end()]
    if is_coalesced:
        batches = [[event for batch in batches for event in batch]]
    return [one.message for batch in batches for one in to_chunks(batch, ORIGIN, is_coalesced=is_coalesced)]


def one_by_one(chunks):
    merged = chunks[0]
    for one in chunks[1:]:
        merged = merged + one
    return merged


def from_the_end(chunks):
    merged = chunks[-1]
    for one in reversed(chunks[:-1]):
        merged = one + merged
    return merged


SUMS = {
    "a + b": one_by_one,
    "a + (b + c)": from_the_end,
    "all at once": lambda chunks: add_ai_message_chunks(*chunks),
    "a list": lambda chunks: chunks[0] + chunks[1:],
    "as a message": lambda chunks: message_chunk_to_message(one_by_one(chunks)),
    "again": lambda chunks: one_by_one(chunks) + AIMessageChunk(""),
}


@pytest.mark.parametrize("add", SUMS)
@pytest.mark.parametrize("is_coalesced", [True, False])
@pytest.mark.parametrize("arguments", BROKEN)
def test_a_broken_call_is_invalid_however_the_chunks_are_added_up(arguments, is_coalesced, add):
    """LangChain would complete it, and a tool would run with wrong arguments. Other calls do not change."""
    for finish in ("tool_calls", "length", "stop"):
        merged = SUMS[add](chunks_of(arguments, is_coalesced=is_coalesced, finish=finish))
        assert [(one["id"], one["args"]) for one in merged.tool_calls] == [("b", {"port": "Hull"})]
        (broken,) = merged.invalid_tool_calls
        assert (broken["id"], broken["name"]) == ("a", "tide")
        assert broken["args"].startswith(arguments)
        assert len(broken["args"]) <= len(arguments) + 3


@pytest.mark.parametrize("arguments", HUGE, ids=["brackets", "digits"])
def test_what_python_refuses_to_read_is_broken_too(arguments):
    """Nested too deeply, or a number too long for it."""
    merged = add_ai_message_chunks(*chunks_of(arguments, is_coalesced=True))
    assert [one["id"] for one in merged.tool_calls] == ["b"]
    assert [(one["id"], one["args"]) for one in merged.invalid_tool_calls] == [("a", arguments)]


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.text(alphabet='{}[]",:\\1a\n', max_size=30)
    | st.sampled_from(BROKEN[:8]).flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end]))
)
def test_streamed_and_whole_answers_agree_on_what_is_broken(arguments):
    """Any text at all."""
    merged = one_by_one(chunks_of(arguments))
    answer = whole(
        {
            "tool_calls": [
                call(call_id="a", name="tide", arguments=arguments),
                call(call_id="b", name="tide", arguments=WHOLE),
            ]
        }
    )
    message = to_result(CompletionDecoder().feed_whole(to_data(answer)), ORIGIN).generations[0].message
    assert merged.tool_calls == message.tool_calls
    assert [one["id"] for one in merged.invalid_tool_calls] == [one["id"] for one in message.invalid_tool_calls]
    assert [one["args"] for one in message.invalid_tool_calls] in ([], [arguments])


def test_a_whole_answer_says_why_a_call_is_invalid():
    """The exact arguments, and the reason."""
    for arguments, why in (
        ('{"port": "Co', "the arguments are not valid JSON: Unterminated"),
        ("[]", "the arguments are not a JSON object"),
    ):
        answer = whole({"tool_calls": [call(call_id="a", name="tide", arguments=arguments)]})
        message = to_result(CompletionDecoder().feed_whole(to_data(answer)), ORIGIN).generations[0].message
        (broken,) = message.invalid_tool_calls
        assert broken["args"] == arguments
        assert broken["error"].startswith(why)


@pytest.fixture(scope="module")
def loopback():
    with LoopbackCerebras() as running:
        yield running


def fragment(name=None, arguments=None, **more):
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    return {"tool_calls": [{"index": 0, "type": "function", **more, "function": function}]}


@pytest.mark.parametrize("output_version", [None, "v1"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_agrees_on_broken_calls_and_made_up_ids(loopback, way, output_version):
    """Events of all versions too."""
    model = ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key, output_version=output_version)
    loopback.script(
        Reply(
            tool_calls=[ScriptedCall("tide", '{"port": "Co', id="c1"), ScriptedCall("tide", {"port": "Hull"}, id="c2")]
        )
    )
    message = WAYS[way](model)
    assert [(one["id"], one["args"]) for one in message.tool_calls] == [("c2", {"port": "Hull"})]
    assert [(one["id"], one["name"]) for one in message.invalid_tool_calls] == [("c1", "tide")]
    if "invoke" in way:
        return  # a reply with its own deltas is told by its script, ids included
    loopback.script(
        Reply(deltas=[fragment("tide", '{"po'), fragment(None, 'rt": "Cork"}')], finish_reason="tool_calls")
    )
    (made,) = WAYS[way](model).tool_calls
    assert (made["name"], made["args"]) == ("tide", {"port": "Cork"})
    assert made["id"].startswith("call_")


@pytest.mark.parametrize("coalesce", [True, False])
def test_what_a_stream_had_said_of_a_call_before_it_broke_is_not_to_be_run(loopback, coalesce):
    """In ``partial`` too it is invalid; a call that was whole by then is one."""
    deltas = [
        fragment("tide", WHOLE, id="a"),
        {"tool_calls": [{**fragment("tide", '{"port": "Co')["tool_calls"][0], "index": 1, "id": "b"}]},
        {"content": "x"},
    ]
    loopback.script(CutAfter(2, reply=Reply(deltas=deltas)))
    model = ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key, max_retries=0, coalesce=coalesce)
    with pytest.raises(StreamInterruptedError) as caught:
        list(model.stream("hi"))
    partial = caught.value.partial
    assert [one["id"] for one in partial.tool_calls] == ["a"]
    assert [one["id"] for one in partial.invalid_tool_calls] == ["b"]


def test_healthy_calls_have_no_chunk_more():
    """One a delta, and the last one; nothing is put behind their arguments."""
    chunks = chunks_of("{}")
    assert [one.chunk_position for one in chunks] == [None] * (len(chunks) - 1) + ["last"]
    assert len(chunks) == 4
    merged = message_chunk_to_message(one_by_one(chunks))
    assert type(merged) is AIMessage
    assert [one["args"] for one in merged.tool_calls] == [{}, {"port": "Hull"}]


# -- deltas that arrive together


HEADERS = {"content-type": "text/event-stream"}


def written_chunk(finish=None, **delta):
    choice = {"index": 0, "delta": delta, **({"finish_reason": finish} if finish else {})}
    return {"id": "chatcmpl-1", "model": "gpt-oss-120b", "object": "chat.completion.chunk", "choices": [choice]}


def coalesced_fragment(index, arguments, **more):
    return {
        "index": index,
        "type": "function",
        **more,
        "function": {"arguments": arguments, **({"name": "add"} if more else {})},
    }


EVENTS = [
    written_chunk(role="assistant"),
    *(written_chunk(reasoning=text) for text in ("Two ", "and ", "two…")),
    *(written_chunk(content=text) for text in ("", "4", ", ", "vier", " ✓", "\n")),
    written_chunk(reasoning=" Yes."),
    written_chunk(content="."),
    {
        **written_chunk(content="!"),
        "choices": [{**written_chunk(content="!")["choices"][0], "logprobs": {"content": [{"token": "!"}]}}],
    },
    *(
        written_chunk(tool_calls=[piece])
        for piece in (coalesced_fragment(0, "", id="c1"), coalesced_fragment(0, '{"a"'), coalesced_fragment(0, ":1}"))
    ),
    *(
        written_chunk(tool_calls=[piece])
        for piece in (coalesced_fragment(1, '{"a":2}', id="c2"), coalesced_fragment(0, " "))
    ),
    {**written_chunk("stop"), "usage": {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}},
]
BODY = sse(*EVENTS, "[DONE]")


class Tokens(BaseCallbackHandler):
    """Keeps what it hears."""

    def __init__(self):
        self.tokens = []

    def on_llm_new_token(self, token, **_):
        self.tokens.append(token)


def scripted_model(*pieces, **fields):
    transport = ScriptedTransport(ScriptedResponse(200, HEADERS, list(pieces)))
    return ChatCerebrasDemo(api_key="csk-1", transport=transport, max_retries=0, rate_limit=None, **fields)


def cut(body, places):
    edges = [0, *sorted(places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges) if end > start]


def merged(chunks):
    whole = chunks[0]
    for one in chunks[1:]:
        whole += one
    return whole


def facts(message):
    """All but LangChain's run id and the times."""
    told = message.model_dump(exclude={"id"})
    for name in ("ttft", "tokens_per_second"):
        told["response_metadata"]["calls"][0].pop(name, None)
    return told


async def streamed(model, handler=None):
    return [one async for one in model.astream("hello", {"callbacks": [handler] if handler else []})]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, len(BODY) - 1), max_size=8))
def test_the_answer_is_the_same_however_it_arrives(places):
    """Joined or not, cut anywhere: the sum of the chunks is equal in every field, and so is what callbacks hear."""
    told = {}
    for is_coalesced in (True, False):
        handler = Tokens()
        chunks = asyncio.run(streamed(scripted_model(*cut(BODY, places), coalesce=is_coalesced), handler))
        told[is_coalesced] = facts(merged(chunks)), "".join(handler.tokens), [one.chunk_position for one in chunks][-1]
        assert len(handler.tokens) == len(chunks)
    assert told[True] == told[False]
    assert told[True][0]["content"] == "4, vier ✓\n.!"
    assert told[True][2] == "last"


@pytest.mark.parametrize("is_sync", [True, False])
def test_what_arrived_in_one_read_is_one_chunk_a_run(is_sync):
    """Reasoning, text, reasoning, text, tool calls: each run one chunk, in the order in which they came."""
    model = scripted_model(BODY, coalesce=True)
    chunks = list(model.stream("hello")) if is_sync else asyncio.run(streamed(model))
    assert [one.content for one in chunks if one.content] == ["4, vier ✓\n", ".!"]
    assert [one.additional_kwargs.get("reasoning_content") for one in chunks][:3] == ["Two and two…", None, " Yes."]
    pieces = [(piece["index"], piece["args"]) for one in chunks for piece in one.tool_call_chunks]
    assert pieces == [(0, '{"a":1}'), (1, '{"a":2}'), (0, " ")]
    whole = next(one for one in chunks if one.tool_call_chunks)
    assert whole.tool_calls[0]["args"] == {"a": 1}


async def test_nothing_is_held_back():
    """A delta that is alone in its read is handed out before the next one is here."""
    more = asyncio.Event()
    model = scripted_model(sse(*EVENTS[:2]), more, sse(*EVENTS[2:], "[DONE]"))
    chunks = model.astream("hello")
    assert (await anext(chunks)).additional_kwargs["reasoning_content"] == "Two "
    more.set()
    assert len([one async for one in chunks]) > 3


async def test_an_error_behind_joined_deltas_carries_them():
    """``partial`` is all that had come."""
    failure = {"message": "out of order", "type": "server_error", "code": "500"}
    model = scripted_model(sse(*EVENTS[:6], failure))
    seen = []
    with pytest.raises(APIStatusError) as caught:
        seen += [one async for one in model.astream("hello")]
    assert caught.value.partial.content == "4"
    assert caught.value.partial.additional_kwargs["reasoning_content"] == "Two and two…"


def test_one_chunk_a_delta_where_that_is_wanted():
    """``coalesce=False``: as many chunks as deltas that say something, and one that is last."""
    chunks = list(scripted_model(BODY, coalesce=False).stream("hello"))
    assert [one.content for one in chunks if one.content] == ["4", ", ", "vier", " ✓", "\n", ".", "!"]
    assert len([one for one in chunks if one.tool_call_chunks]) == 5


# -- sums of chunks and messages


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
            tool_calls=[
                ScriptedCall("tide", {"port": f"Port number {turn}{place}"}, id=f"c{turn}{place}") for place in "ab"
            ],
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
    return model_with_logprobs(server, coalesce=request.param)


def model_with_logprobs(server, **fields):
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
    for figures in calls:
        assert figures.keys() >= FIGURES
        assert (figures["model_name"], figures["attempts"]) == ("gpt-oss-120b", 1)
        assert figures["finish_reason"] in {"stop", "tool_calls"}
    usage = message.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > count
    assert usage["output_token_details"]["reasoning"] >= count
    assert sum(call["estimated_cost_usd"] for call in calls) == pytest.approx(
        (usage["input_tokens"] * 0.35 + usage["output_tokens"] * 0.75) / 1e6
    )


def test_a_broken_call_of_the_second_answer_leaves_the_call_of_the_first_alone(server, model):
    """Both have number 0, and LangChain tells them apart by their ids."""
    [whole] = [ScriptedCall("tide", {"port": "Cork"}, id="c1")]
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
            async for piece in model.astream(question):
                yield piece

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
    check(CHAINS[way](model_with_logprobs(server, output_version="v1"), 2), 2)


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
    for added in (ours + plain, plain + ours, plain + ours + plain):
        assert len(added.response_metadata["calls"]) == 1
        assert WORDS[0] in added.content
        assert [(call["id"], call["args"]) for call in added.tool_calls] == expected_calls(1)
        assert added.usage_metadata["total_tokens"] >= ours.usage_metadata["total_tokens"]


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
        yield model_with_logprobs(server)
        set_llm_cache(None)
    else:
        yield model_with_logprobs(server, cache=InMemoryCache() if request.param == "field" else WrittenCache())


@pytest.mark.parametrize("first", ["invoke", "ainvoke"])
@pytest.mark.parametrize("second", ["invoke", "ainvoke", "batch", "events"])
def test_an_answer_out_of_a_cache_has_no_figures_of_a_call(server, cached, first, second):
    """Nothing was sent for it; the model's answer is unchanged, and the first answer keeps its figures."""
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


# -- what LangChain and tracers read of how an answer ended


class Runs(BaseCallbackHandler):
    """Keeps what a tracer is given when a model has answered."""

    run_inline = True

    def __init__(self):
        self.results = []

    def on_llm_end(self, response, **_):
        self.results.append(response)


ENDINGS = {
    "stop": (Reply(text="Hi."), "stop"),
    "length": (Reply(text="Hi", finish_reason="length"), "length"),
    "a call": (Reply(tool_calls=[ScriptedCall("tide", {}, id="c1")]), "tool_call"),
    "a call, and the reason is stop": (
        Reply(tool_calls=[ScriptedCall("tide", {}, id="c1")], finish_reason="stop"),
        "tool_call",
    ),
    "a filter": (Reply(text="Hi", finish_reason="content_filter"), "refusal"),
    "a reason of another server": (Reply(text="Hi", finish_reason="eos"), None),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_finish_reason_is_also_given_in_langchains_words(server, model, way, ending):
    """Under the name that LangChain reads; it is left out where LangChain has no word for the reason."""
    reply, word = ENDINGS[ending]
    server.script(reply)
    assert WAYS[way](model).response_metadata.get("normalized_finish_reason") == word


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_last_protocol_event_tells_the_finish_reason(server, model, ending):
    """In the event itself where langchain-core puts it there (1.8.4), else in the event's metadata."""
    reply, word = ENDINGS[ending]
    server.script(reply)
    events = list(model.stream_events("hi", version="v3"))
    (last,) = [event for event in events if event["event"] == "message-finish"]
    assert last.get("normalized_finish_reason", last["metadata"].get("normalized_finish_reason")) == word


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_tracers_find_finish_reason_model_id_and_tokens(server, model, way):
    """In generation_info, and in llm_output where LangChain hands one on: not of streams."""
    server.script(Reply(text="Hi."))
    runs = Runs()
    message = model.invoke("hi", {"callbacks": [runs]}) if way == "invoke" else None
    chunks = list(model.stream("hi", {"callbacks": [runs]})) if way == "stream" else []
    metadata = message.response_metadata if message else reduce(add, chunks).response_metadata
    (result,) = runs.results
    ((generation,),) = result.generations
    expected = {key: metadata[key] for key in ("finish_reason", "model_name", "id", "system_fingerprint")}
    assert generation.generation_info.items() >= expected.items()
    assert metadata["token_usage"]["total_tokens"] == generation.message.usage_metadata["total_tokens"]
    if way == "invoke":
        del expected["finish_reason"]
        assert result.llm_output == {**expected, "model_provider": "cerebras", "token_usage": metadata["token_usage"]}


def test_a_run_of_several_prompts_has_the_sum_of_their_tokens(server, model):
    """And of the rest what all answers share: an id is that of one answer."""
    one = model.generate([[HumanMessage("hi")]]).llm_output
    two = model.generate([[HumanMessage("hi")], [HumanMessage("hi")]])
    usages = [generations[0].message.usage_metadata for generations in two.generations]
    assert one["id"]
    assert "id" not in two.llm_output
    assert two.llm_output["model_name"] == "gpt-oss-120b"
    assert two.llm_output["token_usage"]["total_tokens"] == sum(usage["total_tokens"] for usage in usages)
    cached = usages[0]["input_token_details"]["cache_read"] + usages[1]["input_token_details"]["cache_read"]
    assert two.llm_output["token_usage"]["prompt_tokens_details"]["cached_tokens"] == cached
    assert model.generate([]).llm_output == {}
