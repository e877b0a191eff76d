"""`langchain-openai` as the oracle for the shared wire: the same bytes give the same merged message.

Intended differences, each for a reason: the reasoning (it has no field for it), and what we add to ``response_metadata``
(``id``, and ``calls`` with the figures of the call). Everything else has to be equal.
"""

from __future__ import annotations

import orjson
import pytest
from langchain_openai import ChatOpenAI

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.testing import LoopbackCerebras, RawStream

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_cerebras_demo.TruncatedAnswerWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the oracle's own client
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FRAME = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-oss-120b",
    "system_fingerprint": "fp_1",
}
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
PLAIN_USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
ROLE = {"role": "assistant"}


def chunk(delta=None, finish=None, **more):
    choice = {"index": 0, "delta": delta or {}}
    if finish:
        choice["finish_reason"] = finish
    if "logprobs" in more:
        choice["logprobs"] = more.pop("logprobs")
    return {**FRAME, "choices": [choice], **more}


def call(index, call_id=None, name=None, arguments=None):
    function = {key: value for key, value in {"name": name, "arguments": arguments}.items() if value is not None}
    found = {"index": index, "type": "function", "function": function}
    return {"tool_calls": [{**found, "id": call_id} if call_id else found]}


def text(*words):
    return [chunk(ROLE), *[chunk({"content": word}) for word in words]]


def lines(*events, newline=b"\n", done=True):
    stream = b"".join(b"data: " + orjson.dumps(event) + newline * 2 for event in events)
    return stream + (b"data: [DONE]" + newline * 2 if done else b"")


END = chunk(finish="stop", usage=USAGE)
TOOLS_END = chunk(finish="tool_calls", usage=USAGE)
LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}], "refusal": None}

STREAMS = {
    "text": lines(*text("Hello ", "Ann"), END),
    "one word": lines(*text("Hi"), END),
    "many words": lines(*text(*["word "] * 200), END),
    "unicode": lines(*text("Grüße, ", "世界 ", "🎉"), END),
    "white space": lines(*text(" ", "\n\n", " a ", "\t"), END),
    "CRLF": lines(*text("Hello ", "Ann"), END, newline=b"\r\n"),
    "comments in between": b": ping\n\n".join([lines(event, done=False) for event in (*text("a", "b"), END)])
    + b"data: [DONE]\n\n",
    "no blank behind the colon": lines(*text("a", "b"), END).replace(b"data: ", b"data:"),
    "usage behind the last choice": lines(*text("a"), chunk(finish="stop"), {**FRAME, "choices": [], "usage": USAGE}),
    "usage without details": lines(*text("a"), chunk(finish="stop", usage=PLAIN_USAGE)),
    "no usage": lines(*text("a"), chunk(finish="stop")),
    "no [DONE]": lines(*text("a", "b"), END, done=False),
    "role and content in one chunk": lines(chunk({**ROLE, "content": "a"}), chunk({"content": "b"}), END),
    "content null": lines(chunk({**ROLE, "content": None}), *text("a")[1:], END),
    "empty content": lines(chunk({**ROLE, "content": ""}), *text("a")[1:], END),
    "finish on the last word": lines(chunk(ROLE), chunk({"content": "a"}, "stop", usage=USAGE)),
    "cut by length": lines(*text("a", "b"), chunk(finish="length", usage=USAGE)),
    "filtered": lines(chunk(ROLE), chunk(finish="content_filter", usage=USAGE)),
    "log probabilities": lines(chunk(ROLE), chunk({"content": "Hi"}, logprobs=LOGPROBS), END),
    "a call in fragments": lines(
        chunk(ROLE),
        chunk(call(0, "c1", "add", "")),
        chunk(call(0, arguments='{"a": 1, ')),
        chunk(call(0, arguments='"b": 2}')),
        TOOLS_END,
    ),
    "a call in one delta": lines(chunk(ROLE), chunk(call(0, "c1", "add", '{"a": 1}')), TOOLS_END),
    "a call without arguments": lines(chunk(ROLE), chunk(call(0, "c1", "now", "")), TOOLS_END),
    "two calls": lines(
        chunk(ROLE), chunk(call(0, "c1", "add", '{"a": 1}')), chunk(call(1, "c2", "sub", '{"a": 2}')), TOOLS_END
    ),
    "two calls interleaved": lines(
        chunk(ROLE),
        chunk(call(0, "c1", "add", "")),
        chunk(call(1, "c2", "sub", "")),
        chunk(call(0, arguments='{"a": 1}')),
        chunk(call(1, arguments='{"a": 2}')),
        TOOLS_END,
    ),
    "text and a call": lines(*text("Let me see."), chunk(call(0, "c1", "add", '{"a": 1}')), TOOLS_END),
    "arguments with unicode": lines(chunk(ROLE), chunk(call(0, "c1", "say", '{"a": "Grüße 世界"}')), TOOLS_END),
    "nested arguments": lines(chunk(ROLE), chunk(call(0, "c1", "f", '{"a": {"b": [1, {"c": null}]}}')), TOOLS_END),
    "broken arguments": lines(chunk(ROLE), chunk(call(0, "c1", "f", '{"a": 1, b}}')), TOOLS_END),
    "unknown fields": lines(*[{**event, "timings": {"a": 1}, "x": [1]} for event in (*text("a"), END)]),
}


def facts_of(message):
    metadata = message.response_metadata
    usage = message.usage_metadata or {}
    details = {key: value for key, value in (usage.get("output_token_details") or {}).items() if key == "reasoning"}
    return {
        "content": message.content,
        "tool_calls": message.tool_calls,
        "invalid": [(bad["name"], bad["args"], bad["id"]) for bad in message.invalid_tool_calls],
        "usage": [usage.get(key) for key in ("input_tokens", "output_tokens", "total_tokens")],
        "details": [(usage.get("input_token_details") or {}).get("cache_read"), details],
        "metadata": [metadata.get(key) for key in ("finish_reason", "model_name", "system_fingerprint")],
        "logprobs": (metadata.get("logprobs") or {}).get("content"),
    }


def merged(chunks):
    whole = None
    for one in chunks:
        whole = one if whole is None else whole + one
    return whole


@pytest.fixture(scope="module")
def loopback():
    with LoopbackCerebras() as running:
        yield running


@pytest.mark.parametrize("name", STREAMS)
def test_the_same_bytes_give_the_same_message(loopback, name):
    """Content, calls, usage, finish reason and model, merged from a stream cut anywhere."""
    body = STREAMS[name]
    end = "eof"  # the bodies bring their own [DONE]
    ours = ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key, max_retries=0)
    theirs = ChatOpenAI(
        base_url=loopback.base_url, api_key=loopback.key, model="gpt-oss-120b", max_retries=0, stream_usage=True
    )
    for pieces in ([], range(7, len(body), 61)):
        loopback.script(*[RawStream([body], end=end, pieces=list(pieces))] * 2)
        assert facts_of(merged(ours.stream("hello"))) == facts_of(merged(theirs.stream("hello")))


def test_there_are_enough_streams():
    """At least 25, so that the oracle speaks of the whole wire."""
    assert len(STREAMS) >= 25
