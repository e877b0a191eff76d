"""Comparison with `langchain-openai`: the same messages produce the same request, except for the listed differences."""

from __future__ import annotations

import copy
import json
from typing import Any

import orjson
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_openai import ChatOpenAI

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.messages import to_wire
from langchain_cerebras_demo.testing import LoopbackCerebras, RawStream, Reply
from tests.support.differences import KINDS, expected, oracles_wire, text, words_of

URI = "data:image/png;base64,iVBORw0KGgo="
THINKING = {"type": "thinking", "thinking": "hm", "signature": "s"}


# -- the histories: pieces, and what is made of them


def user(*content, **more):
    return HumanMessage(list(content), **more)


def image(block):
    return user(text("see"), block)


def ask(call_id, words="well", args=None, **more):
    return AIMessage(words, tool_calls=[{"name": "add", "args": args or {"a": 1}, "id": call_id}], **more)


def tell(call_id, content="5", **more):
    return ToolMessage(content, tool_call_id=call_id, **more)


def exchange(call_id, *, kinds=(), content="5", **more):
    return ([ask(call_id, **more), tell(call_id, content)], set(kinds))


def use(call_id, kind="tool_use"):
    fields = {
        "tool_use": {"id": call_id, "input": {"a": "ü"}},
        "tool_call": {"id": call_id, "args": {"a": "ü"}},
        "function_call": {"id": "fc", "call_id": call_id, "arguments": '{"a": "ü"}'},
    }
    return {"type": kind, "name": "add", **fields[kind]}


def broken(call_id, args='{"a": '):
    return {"name": "add", "args": args, "id": call_id, "error": None}


def raw(call_id):
    return {"id": call_id, "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}, "index": 0}


def in_user(call_id, content="5"):
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


SPOKEN = {
    "question": ([HumanMessage("hi")], set()),
    "named": ([HumanMessage("hi", name="ann")], set()),
    "named in kwargs": ([HumanMessage("hi", additional_kwargs={"name": "ann"})], set()),
    "chunk": ([HumanMessageChunk("hi")], set()),
    "texts": ([user(text("a"), text("b\n"))], set()),
    "strings": ([user("a", "b")], {"string"}),
    "string and text": ([user("a", text("b"))], {"string"}),
    "cached": ([user(text("a", cache_control={"type": "ephemeral"}))], {"extra"}),
    "indexed": ([user(text("a", index=0, id="x"), "b")], {"extra", "string"}),
    "no words": ([user()], {"empty"}),
    "letters": ([HumanMessage("grün \U0001f600 \n\t\x00")], set()),
    "image": ([image({"type": "image_url", "image_url": {"url": URI, "detail": "low"}})], {"image"}),
    "image, v1": ([image({"type": "image", "base64": "AAAA", "mime_type": "image/jpeg"})], set()),
    "image, v1 uri": ([image({"type": "image", "url": URI})], set()),
    "image, v0": ([image({"type": "image", "source_type": "base64", "data": "AAAA", "mime_type": "image/png"})], set()),
    "image, Anthropic's": (
        [image({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}})],
        set(),
    ),
    "image, short": ([image({"type": "image_url", "image_url": URI})], {"image"}),
    "image, the API's": ([image({"type": "image", "image": URI})], {"image"}),
    "system": ([SystemMessage("be kind")], set()),
    "system, texts": ([SystemMessage([text("be"), text("kind")])], set()),
    "system, cached": ([SystemMessage([text("be", cache_control={"type": "ephemeral"})])], {"extra"}),
    "developer": ([SystemMessage("be kind", additional_kwargs={"__openai_role__": "developer"})], set()),
    **{
        f"chat, {role}": ([ChatMessage("hi", role=role)], set())
        for role in ("user", "system", "assistant", "developer")
    },
    "answer": ([AIMessage("hi")], set()),
    "answer, named": ([AIMessage("hi", name="bob")], set()),
    "answer, empty": ([AIMessage("")], set()),
    "answer, texts": ([AIMessage([text("a"), text("b")])], set()),
    "answer, strings": ([AIMessage(["a", "b"])], {"string"}),
    "answer, annotated": ([AIMessage([text("a", annotations=[{"type": "citation"}], index=0)])], set()),
    "answer, chunk": ([AIMessageChunk("hi")], set()),
    "answer, metadata": ([AIMessage("hi", id="x", response_metadata={"a": 1})], set()),
    "thinking": ([AIMessage([THINKING, text("hi")])], set()),
    "thinking alone": ([AIMessage([THINKING])], {"empty"}),
    "thinking, encrypted": ([AIMessage([{"type": "redacted_thinking", "data": "x"}, text("hi")])], {"thought"}),
    "reasoning": ([AIMessage([{"type": "reasoning", "reasoning": "hm"}, text("hi")])], set()),
    "reasoning in kwargs": ([AIMessage("hi", additional_kwargs={"reasoning_content": "hm"})], set()),
    "refusal": ([AIMessage([{"type": "refusal", "refusal": "no"}])], {"refusal"}),
    "refusal in kwargs": ([AIMessage("", additional_kwargs={"refusal": "no"})], {"refusal"}),
}
EXCHANGES = {
    "call": exchange("x1"),
    "call without words": exchange("x2", words="", kinds={"empty"}),
    "call with empty words": exchange("x3", words=[text("")], kinds={"empty"}),
    "call with texts": exchange("x4", words=[text("a"), text("b")]),
    "call with thinking": exchange("x5", words=[THINKING, text("a")]),
    "call with thinking alone": exchange("x6", words=[THINKING], kinds={"empty"}),
    "arguments, letters": exchange("x7", args={"ä": "grün \U0001f600 \n\t\x00\u2028"}),
    "arguments, nested": exchange("x8", args={"a": [1, 2.5, None, True, {"b": []}], "c": 10**20, "d": 1e-9}),
    "arguments, none": ([AIMessage("a", tool_calls=[{"name": "add", "args": {}, "id": "x9"}]), tell("x9")], set()),
    "call and name": exchange("x10", name="bob"),
    "call beside its block": exchange("x11", words=[text("a"), use("x11")]),
    "call beside its v1 block": exchange("x12", words=[text("a"), use("x12", "tool_call")]),
    "call in raw too": exchange("x13", additional_kwargs={"tool_calls": [raw("x13")]}),
    "call in blocks, v1": (
        [AIMessage(content_blocks=[text("a"), use("x14", "tool_call")], response_metadata={"output_version": "v1"}), tell("x14")],
        set(),
    ),
    "call in a block, Anthropic's": ([AIMessage([text("a"), use("x15")]), tell("x15")], {"block"}),
    "call in a block, OpenAI's": ([AIMessage([text("a"), use("x16", "function_call")]), tell("x16")], {"block"}),
    "call in a block, v1": ([AIMessage([text("a"), use("x17", "tool_call")]), tell("x17")], {"block"}),
    "call in a block and another": (
        [ask("x18", words=["a", use("x19")]), tell("x19"), tell("x18")],
        {"block", "string"},
    ),
    "parallel": ([AIMessage("a", tool_calls=[*ask("y1").tool_calls, *ask("y2").tool_calls]), tell("y1"), tell("y2")], set()),
    "out of order": ([AIMessage("a", tool_calls=[*ask("y3").tool_calls, *ask("y4").tool_calls]), tell("y4"), tell("y3")], set()),
    "broken": ([AIMessage("a", invalid_tool_calls=[broken("y5")]), tell("y5", "no JSON", status="error")], set()),
    "broken and whole": (
        [AIMessage("a", tool_calls=ask("y6").tool_calls, invalid_tool_calls=[broken("y7", "")]), tell("y6"), tell("y7")],
        set(),
    ),
    "broken, without arguments": ([AIMessage("a", invalid_tool_calls=[broken("y8", None)]), tell("y8")], {"id"}),
    "raw": ([AIMessage("a", additional_kwargs={"tool_calls": [raw("y9")]}), tell("y9")], set()),
    "raw alone": (
        [AIMessage("a", additional_kwargs={"tool_calls": [raw("y10")]}).model_copy(update={"tool_calls": []}), tell("y10")],
        set(),
    ),
    "chunk of a call": (
        [AIMessageChunk("a", tool_call_chunks=[{"name": "add", "args": '{"a": 1}', "id": "y11", "index": 0}]), tell("y11")],
        set(),
    ),
    "function": (
        [AIMessage("a", additional_kwargs={"function_call": raw("")["function"]}), FunctionMessage("5", name="add")],
        {"old", "id"},
    ),
    "no id": ([ask(None), tell("")], {"id"}),
    "result, named": ([ask("z1"), tell("z1", name="add", artifact=[1])], set()),
    "result, empty": exchange("z2", content=""),
    "result, texts": exchange("z3", content=[text("5"), text("6", id="x")], kinds={"result"}),
    "result, strings": exchange("z4", content=["5", " and ", "6"], kinds={"result"}),
    "result, JSON": exchange("z5", content=[text("5"), {"type": "json", "json": {"a": "ü"}}], kinds={"result"}),
    "result, nothing": exchange("z6", content=[], kinds={"result"}),
    "result, late": ([ask("z7"), SystemMessage("be kind"), tell("z7")], {"late"}),
    "result in the user's": ([ask("z8"), user(in_user("z8"))], {"user"}),
    "result and the user's words": ([ask("z9"), user(text("and"), in_user("z9"), text("now"))], {"user"}),
    "result in parts in the user's": ([ask("z10"), user(in_user("z10", [text("5"), "6"]))], {"user", "result"}),
    "results in the user's": (
        [AIMessage([text("a"), use("z11"), use("z12")]), user(in_user("z12"), in_user("z11"))],
        {"block", "user"},
    ),
}  # fmt: skip
PIECES = {**SPOKEN, **EXCHANGES}


def histories(name):
    """The piece alone, in the middle of a conversation, and before two others; ids differ from piece to piece."""
    messages, kinds = PIECES[name]
    yield messages, kinds
    yield [SystemMessage("s"), HumanMessage("q"), AIMessage("a"), *messages, HumanMessage("q")], kinds
    names = list(PIECES)
    for step in (7, 40):
        more, more_kinds = PIECES[names[(names.index(name) + step) % len(names)]]
        yield messages + more, kinds | more_kinds


HISTORIES = [history for name in PIECES for history in histories(name)]


def as_json(wire):
    return json.loads(json.dumps(wire))


@pytest.mark.parametrize("name", PIECES)
def test_the_same_messages_give_the_oracles_wire_but_for_the_listed_differences(name):
    """And each difference that is listed for a history is needed for it."""
    for messages, kinds in histories(name):
        ours = as_json(to_wire(messages))
        assert ours == expected(messages, kinds)
        for kind in kinds:
            assert ours != expected(messages, kinds - {kind}), f"{kind} makes no difference"


def substance(wire):
    """What no difference may hide: texts, images, calls with their arguments, ids."""
    told: dict[str, list[Any]] = {"texts": [], "images": [], "calls": [], "ids": []}
    for message in wire:
        content = message.get("content") or []
        for part in [content] if isinstance(content, str) else content:
            kind = part.get("type") if isinstance(part, dict) else "str"
            if kind in {"image_url", "image"}:
                image = part.get("image_url", part.get("image"))
                told["images"].append(image["url"] if isinstance(image, dict) else image)
            elif kind == "tool_result":
                told["ids"].append(part["tool_use_id"])
                told["texts"] += map(words_of, part["content"])
            elif kind != "redacted_thinking":
                told["texts"].append(part["refusal"] if kind == "refusal" else words_of(part))
        calls = [call["function"] for call in message.get("tool_calls", ())]
        calls += [message["function_call"]] if "function_call" in message else []
        told["calls"] += [(call["name"], call["arguments"] or "{}") for call in calls]
        ids = [call["id"] for call in message.get("tool_calls", ())] + [message.get("tool_call_id")]
        told["ids"] += [an_id for an_id in ids if an_id]
    return told


def test_no_difference_hides_what_the_oracle_sends():
    """Every text, image, call and id of the oracle's wire is in ours, as often."""
    for messages, _ in HISTORIES:
        theirs, ours = substance(oracles_wire(messages)), substance(to_wire(messages))
        everything = "".join(ours["texts"])
        assert [words for words in theirs.pop("texts") if words not in everything] == []
        for what, told in theirs.items():
            assert [thing for thing in told if told.count(thing) > ours[what].count(thing)] == []


def test_the_table_of_differences_is_short_and_every_kind_is_met():
    """A difference that no history shows is none."""
    assert len(HISTORIES) >= 80
    assert len(KINDS) <= 12
    assert set.union(*(kinds for _, kinds in HISTORIES)) == set(KINDS)
    assert all(kind.reason for kind in KINDS.values())


def lose_a_message(wire):
    wire.pop()


def change_a_text(wire):
    for message in wire:
        if isinstance(message.get("content"), str):
            message["content"] += " "
        elif message.get("content"):
            message["content"][0] = text("something else")


def join_texts(wire):
    for message in wire:
        if isinstance(message.get("content"), list) and all(part["type"] == "text" for part in message["content"]):
            message["content"] = "\n".join(part["text"] for part in message["content"])


def change_ids(wire):
    for message in wire:
        for call in message.get("tool_calls", ()):
            call["id"] += "x"
        if "tool_call_id" in message:
            message["tool_call_id"] += "x"


def change_arguments(wire):
    for message in wire:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] += " "


def add_a_key(wire):
    wire[0]["reasoning_content"] = "hm"


@pytest.mark.parametrize("change", [lose_a_message, change_a_text, join_texts, change_ids, change_arguments, add_a_key])
def test_a_difference_of_no_listed_kind_is_found(change):
    """Even where all kinds were allowed at once: none of them is so wide that another hides in it."""
    found = 0
    for messages, _ in HISTORIES:
        ours = as_json(to_wire(messages))
        assert ours == expected(messages, set(KINDS))
        changed = copy.deepcopy(ours)
        change(changed)
        if changed != ours:
            found += 1
            assert changed != expected(messages, set(KINDS))
    assert found


# -- streams


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


# -- what tracers are given


class Ends(BaseCallbackHandler):
    run_inline = True

    def __init__(self):
        self.results = []

    def on_llm_end(self, response, **_):
        self.results.append(response)


def traced(model, way):
    ends = Ends()
    if way == "invoke":
        model.invoke("hello", {"callbacks": [ends]})
    else:
        list(model.stream("hello", {"callbacks": [ends]}))
    return ends.results[0]


@pytest.mark.upstream
@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_generation_info_and_llm_output_are_filled_as_the_oracle_fills_them(loopback, way):
    """The same keys with the same values; ours also have the answer's id."""
    ours = ChatCerebrasDemo(base_url=loopback.base_url, api_key=loopback.key, max_retries=0)
    theirs = ChatOpenAI(
        base_url=loopback.base_url, api_key=loopback.key, model="gpt-oss-120b", max_retries=0, stream_usage=True
    )
    loopback.script(Reply(text="Hi."), Reply(text="Hi."))
    mine, other = traced(ours, way), traced(theirs, way)
    given, wanted = mine.generations[0][0].generation_info, other.generations[0][0].generation_info
    for key in wanted.keys() - {"logprobs"}:  # null where they were not asked for
        assert given[key] == wanted[key]
    if way == "stream":
        assert mine.llm_output == other.llm_output
    else:
        assert mine.llm_output.keys() >= other.llm_output.keys()
    usage = (other.llm_output or {}).get("token_usage") or {}
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert (mine.llm_output or {}).get("token_usage", {}).get(name) == usage.get(name)
