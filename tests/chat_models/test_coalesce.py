"""``coalesce``: fewer chunks, the same answer, nothing held back."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler

from langchain_cerebras_demo import APIStatusError, ChatCerebrasDemo
from langchain_cerebras_demo.testing import sse
from tests.support.scripted import ScriptedResponse, ScriptedTransport

HEADERS = {"content-type": "text/event-stream"}


def chunk(finish=None, **delta):
    choice = {"index": 0, "delta": delta, **({"finish_reason": finish} if finish else {})}
    return {"id": "chatcmpl-1", "model": "gpt-oss-120b", "object": "chat.completion.chunk", "choices": [choice]}


def fragment(index, arguments, **more):
    return {
        "index": index,
        "type": "function",
        **more,
        "function": {"arguments": arguments, **({"name": "add"} if more else {})},
    }


EVENTS = [
    chunk(role="assistant"),
    *(chunk(reasoning=text) for text in ("Two ", "and ", "two…")),
    *(chunk(content=text) for text in ("", "4", ", ", "vier", " ✓", "\n")),
    chunk(reasoning=" Yes."),
    chunk(content="."),
    {
        **chunk(content="!"),
        "choices": [{**chunk(content="!")["choices"][0], "logprobs": {"content": [{"token": "!"}]}}],
    },
    *(chunk(tool_calls=[piece]) for piece in (fragment(0, "", id="c1"), fragment(0, '{"a"'), fragment(0, ":1}"))),
    *(chunk(tool_calls=[piece]) for piece in (fragment(1, '{"a":2}', id="c2"), fragment(0, " "))),
    {**chunk("stop"), "usage": {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}},
]
BODY = sse(*EVENTS, "[DONE]")


class Tokens(BaseCallbackHandler):
    """Keeps what it hears."""

    def __init__(self):
        self.tokens = []

    def on_llm_new_token(self, token, **_):
        self.tokens.append(token)


def model_for(*pieces, **fields):
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
        chunks = asyncio.run(streamed(model_for(*cut(BODY, places), coalesce=is_coalesced), handler))
        told[is_coalesced] = facts(merged(chunks)), "".join(handler.tokens), [one.chunk_position for one in chunks][-1]
        assert len(handler.tokens) == len(chunks)
    assert told[True] == told[False]
    assert told[True][0]["content"] == "4, vier ✓\n.!"
    assert told[True][2] == "last"


@pytest.mark.parametrize("is_sync", [True, False])
def test_what_arrived_in_one_read_is_one_chunk_a_run(is_sync):
    """Reasoning, text, reasoning, text, tool calls: each run one chunk, in the order in which they came."""
    model = model_for(BODY, coalesce=True)
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
    model = model_for(sse(*EVENTS[:2]), more, sse(*EVENTS[2:], "[DONE]"))
    chunks = model.astream("hello")
    assert (await anext(chunks)).additional_kwargs["reasoning_content"] == "Two "
    more.set()
    assert len([one async for one in chunks]) > 3


async def test_an_error_behind_joined_deltas_carries_them():
    """``partial`` is all that had come."""
    failure = {"message": "out of order", "type": "server_error", "code": "500"}
    model = model_for(sse(*EVENTS[:6], failure))
    seen = []
    with pytest.raises(APIStatusError) as caught:
        seen += [one async for one in model.astream("hello")]
    assert caught.value.partial.content == "4"
    assert caught.value.partial.additional_kwargs["reasoning_content"] == "Two and two…"


def test_one_chunk_a_delta_where_that_is_wanted():
    """``coalesce=False``: as many chunks as deltas that say something, and one that is last."""
    chunks = list(model_for(BODY, coalesce=False).stream("hello"))
    assert [one.content for one in chunks if one.content] == ["4", ", ", "vier", " ✓", "\n", ".", "!"]
    assert len([one for one in chunks if one.tool_call_chunks]) == 5
