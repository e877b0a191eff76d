"""LangChain's messages to the API's: what goes out, and what is refused by name."""

from __future__ import annotations

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.messages import to_wire

DATA = "iVBORw0KGgo="
URI = f"data:image/png;base64,{DATA}"
CALL = {"name": "add", "args": {"a": 1, "text": "grün"}, "id": "c1", "type": "tool_call"}
WIRE_CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "text": "grün"}'}}
IMAGE = {"type": "image_url", "image_url": {"url": URI}}

GOES_OUT = [
    (HumanMessage("hi"), {"role": "user", "content": "hi"}),
    (HumanMessage("hi", name="ann"), {"role": "user", "content": "hi", "name": "ann"}),
    (SystemMessage("be kind"), {"role": "system", "content": "be kind"}),
    (
        SystemMessage("be kind", additional_kwargs={"__openai_role__": "developer"}),
        {"role": "developer", "content": "be kind"},
    ),
    (ChatMessage("hi", role="developer"), {"role": "developer", "content": "hi"}),
    (
        HumanMessage(["a", {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}, "index": 0}]),
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ),
    (HumanMessage([IMAGE]), {"role": "user", "content": [IMAGE]}),
    (
        HumanMessage([{"type": "image", "base64": DATA, "mime_type": "image/png"}]),
        {"role": "user", "content": [IMAGE]},
    ),
    (
        HumanMessage([{"type": "image", "source_type": "base64", "data": DATA, "mime_type": "image/png"}]),
        {"role": "user", "content": [IMAGE]},
    ),
    (
        HumanMessage([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}]),
        {"role": "user", "content": [IMAGE]},
    ),
    (
        HumanMessage([{"type": "image_url", "image_url": {"url": URI, "detail": "low"}}]),
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": URI, "detail": "low"}}]},
    ),
    (AIMessage("hello"), {"role": "assistant", "content": "hello"}),
    (AIMessage(""), {"role": "assistant", "content": ""}),
    (AIMessageChunk("hello"), {"role": "assistant", "content": "hello"}),
    (AIMessage("", tool_calls=[CALL]), {"role": "assistant", "tool_calls": [WIRE_CALL]}),
    (
        AIMessage(
            [{"type": "text", "text": "well"}, {"type": "tool_use", "id": "c1", "name": "add", "input": {}}],
            tool_calls=[CALL],
        ),
        {"role": "assistant", "content": [{"type": "text", "text": "well"}], "tool_calls": [WIRE_CALL]},
    ),
    (
        AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "well"}]),
        {"role": "assistant", "content": [{"type": "text", "text": "well"}]},
    ),
    (
        AIMessage("", invalid_tool_calls=[{"name": "add", "args": '{"a": ', "id": "c1", "error": None}]),
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": '}}],
        },
    ),
    (ToolMessage("5", tool_call_id="c1"), {"role": "tool", "tool_call_id": "c1", "content": "5"}),
    (
        ToolMessage("5", tool_call_id="c1", name="add", status="error", artifact=object()),
        {"role": "tool", "tool_call_id": "c1", "content": "5"},
    ),
    (
        ToolMessage([{"type": "text", "text": "5"}, " and ", {"type": "json", "json": {"a": 1}}], tool_call_id="c1"),
        {"role": "tool", "tool_call_id": "c1", "content": '5 and {"type": "json", "json": {"a": 1}}'},
    ),
]


@pytest.mark.parametrize(("message", "wire"), GOES_OUT, ids=lambda value: str(value)[:50])
def test_a_message_goes_out_as_the_api_takes_it(message, wire):
    """Exactly these keys: the API refuses any other."""
    assert to_wire([message]) == [wire]


def test_every_kind_of_message_passes_the_strict_loopback(server):
    """A whole history at once, by the rules of the real service."""
    history = [
        SystemMessage("s"),
        HumanMessage("h", name="ann"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage(["5"], tool_call_id="c1"),
        AIMessage("five"),
        HumanMessage(["and", {"type": "text", "text": "now?"}]),
    ]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    model = ChatCerebrasDemo(base_url=server.base_url, api_key=server.key)
    assert model.invoke(history, tools=[tool]).content


REFUSED = [
    ([], ValueError, "messages is empty"),
    (
        [HumanMessage([{"type": "image_url", "image_url": {"url": "https://e.example/a.png"}}])],
        ValueError,
        r"messages\[0\]\.content\[0\].*https://e.example/a.png.*base64",
    ),
    ([SystemMessage([IMAGE])], ValueError, "user messages alone"),
    ([HumanMessage([{"type": "audio", "base64": "x"}])], ValueError, r"messages\[0\]\.content\[0\] is a 'audio' block"),
    ([HumanMessage([{"type": "text", "text": b"x"}])], TypeError, "text of type bytes.*decode"),
    ([HumanMessage("a"), ChatMessage("x", role="alien")], ValueError, r"messages\[1\] has role 'alien'"),
    ([FunctionMessage("x", name="f")], TypeError, r"FunctionMessage.*ToolMessage"),
    ([RemoveMessage(id="1")], TypeError, "RemoveMessage"),
]


@pytest.mark.parametrize(("messages", "kind", "words"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_the_api_does_not_take_is_refused_by_name(messages, kind, words):
    """Message, block and remedy; nothing is dropped in silence."""
    with pytest.raises(kind, match=words):
        to_wire(messages)
