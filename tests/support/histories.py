"""Histories for the tests of the converter: valid ones in every shape, with what they say, and any at all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
    ToolMessageChunk,
)

PNG, JPEG = "iVBORw0KGgo=", "/9j/4AAQSkY="
IMAGES = (
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
    {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"},
    {"type": "image", "base64": JPEG, "mime_type": "image/jpeg"},
    {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": JPEG}},
)
THOUGHTS = (
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "redacted_thinking", "data": "x"},
    {"type": "reasoning", "reasoning": "hm", "index": 0},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
)
EXTRAS = ({}, {"cache_control": {"type": "ephemeral"}}, {"annotations": [], "id": "b1", "index": 0})
PROVIDERS = (None, "cerebras", "local", "openai", "groq")

words = st.text(max_size=6)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
arguments = st.dictionaries(words, json_values, max_size=3)
names = st.from_regex(r"[a-zA-Z0-9_-]{1,64}", fullmatch=True)


@dataclass
class Story:
    """A history and what has to arrive of it.

    ``calls`` and ``results`` are by id, ``nameless`` holds call and result of those without one, in order.
    """

    messages: list[BaseMessage] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    calls: dict[str, tuple[str, Any]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    nameless: list[tuple[tuple[str, Any], str]] = field(default_factory=list)
    images: int = 0
    ids: int = 0

    def text(self, draw) -> str:
        self.texts.append(f"<{len(self.texts)}>{draw(words)}")
        return self.texts[-1]

    def new_id(self) -> str:
        self.ids += 1
        return f"c{self.ids}"

    def blocks(self, draw, kinds) -> str | list[Any]:
        if draw(st.booleans()):
            return self.text(draw)
        return [self.block(draw, kind) for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3))]

    def block(self, draw, kind) -> str | dict[str, Any]:
        if kind == "image" and self.images < 5:  # as many as the service takes in one request
            self.images += 1
            return draw(st.sampled_from(IMAGES))
        if kind == "thought":
            return draw(st.sampled_from(THOUGHTS))
        if kind == "refusal":
            return {"type": "refusal", "refusal": self.text(draw)}
        if kind == "str":
            return self.text(draw)
        return {"type": "text", "text": self.text(draw), **draw(st.sampled_from(EXTRAS))}


def tell_system(draw, story):
    content = story.blocks(draw, ["text", "str"])
    kwargs = draw(st.sampled_from([{}, {"additional_kwargs": {"__openai_role__": "developer"}}, {"name": "op"}]))
    story.messages.append(SystemMessage(content, **kwargs))


def tell_user(draw, story):
    content = story.blocks(draw, ["text", "str", "image"])
    kind = draw(st.sampled_from([HumanMessage, HumanMessageChunk, ChatMessage]))
    role = {"role": "user"} if kind is ChatMessage else {}
    story.messages.append(kind(content, **role, **draw(st.sampled_from([{}, {"name": "ann"}]))))


def tell_answer(draw, story):
    content = story.blocks(draw, ["text", "str", "thought", "refusal"])
    kind = draw(st.sampled_from([AIMessage, AIMessageChunk]))
    story.messages.append(kind(content, **draw(origins())))


def tell_exchange(draw, story):
    """One to three calls, each in a form of its own, and their results in any order."""
    content = draw(st.sampled_from([[], [{"type": "text", "text": ""}], [draw(st.sampled_from(THOUGHTS))]]))
    if draw(st.booleans()):
        content = [*content, story.text(draw)]
    fields: dict[str, Any] = {"tool_calls": [], "invalid_tool_calls": []}
    calls = [(story.new_id(), draw(names), draw(arguments)) for _ in range(draw(st.integers(1, 3)))]
    forms = draw(st.lists(st.sampled_from(sorted(FORMS)), min_size=len(calls), max_size=len(calls)))
    for form, call in zip(forms, calls, strict=True):
        FORMS[form](call, fields, content)
        story.calls[call[0]] = (call[1], "{" + json.dumps(call[2]) if form == "broken" else call[2])
    story.messages.append(AIMessage(content, **fields, **draw(origins())))
    tell_results(draw, story, [call_id for call_id, _, _ in draw(st.permutations(calls))])


def parsed(call, fields, content):
    fields["tool_calls"].append({"id": call[0], "name": call[1], "args": call[2]})


def broken(call, fields, content):
    fields["invalid_tool_calls"].append(
        {"id": call[0], "name": call[1], "args": "{" + json.dumps(call[2]), "error": None}
    )


def anthropics(call, fields, content):
    content.append({"type": "tool_use", "id": call[0], "name": call[1], "input": call[2]})


def openais(call, fields, content):
    content.append({"type": "function_call", "call_id": call[0], "name": call[1], "arguments": json.dumps(call[2])})


def langchains(call, fields, content):
    content.append({"type": "tool_call", "id": call[0], "name": call[1], "args": call[2]})


def doubled(call, fields, content):
    parsed(call, fields, content)
    anthropics(call, fields, content)


FORMS = {form.__name__: form for form in (parsed, broken, anthropics, openais, langchains, doubled)}


def tell_raw_exchange(draw, story):
    """A call in OpenAI's form, or in its oldest, or one without an id."""
    name, args = draw(names), draw(arguments)
    function = {"name": name, "arguments": json.dumps(args)}
    form = draw(st.sampled_from(["raw", "oldest", "nameless"]))
    if form == "raw":
        call_id = story.new_id()
        call = {
            "additional_kwargs": {"tool_calls": [{"id": call_id, "type": "function", "function": function, "index": 0}]}
        }
        story.messages.append(AIMessage("", **call))
        story.calls[call_id] = (name, args)
        tell_results(draw, story, [call_id])
        return
    result = story.text(draw)
    story.nameless.append(((name, args), result))
    if form == "oldest":
        story.messages.append(AIMessage("", additional_kwargs={"function_call": function}))
        story.messages.append(FunctionMessage(result, name=name))
    else:
        story.messages.append(AIMessage("", tool_calls=[{"id": None, "name": name, "args": args}]))
        story.messages.append(ToolMessage(result, tool_call_id=draw(st.sampled_from(["", "None", "c1"]))))


def tell_results(draw, story, ids):
    if draw(st.booleans()) and draw(st.booleans()):
        tell_system(draw, story)  # results may come late
    in_blocks = draw(st.integers(0, len(ids)))
    for call_id in ids[in_blocks:]:
        content = story.blocks(draw, ["text", "str"])
        kind = draw(st.sampled_from([ToolMessage, ToolMessageChunk]))
        story.messages.append(kind(content, tool_call_id=call_id, name="add"))
        story.results[call_id] = joined(content)
    if not in_blocks:
        return
    blocks: list[Any] = []
    for call_id in ids[:in_blocks]:
        content = story.blocks(draw, ["text", "str"])
        blocks.append({"type": "tool_result", "tool_use_id": call_id, "content": content})
        story.results[call_id] = joined(content)
    if draw(st.booleans()):
        blocks.insert(0, story.text(draw))
    story.messages.append(HumanMessage(blocks))


def joined(content):
    if isinstance(content, str):
        return content
    return "".join(block if isinstance(block, str) else block["text"] for block in content)


@st.composite
def origins(draw):
    """Which model an answer is of, and what it had thought."""
    provider = draw(st.sampled_from(PROVIDERS))
    kwargs: dict[str, Any] = {"response_metadata": {"model_provider": provider} if provider else {}}
    if draw(st.booleans()):
        kwargs["additional_kwargs"] = {"reasoning_content": draw(st.sampled_from(["hm", ""]))}
    return kwargs


@st.composite
def stories(draw):
    """A history that keeps every rule of the service, in all shapes that LangChain has for it."""
    story = Story()
    tellers = (tell_user, tell_answer, tell_exchange, tell_raw_exchange, tell_system)
    for tell in draw(st.lists(st.sampled_from(tellers), min_size=1, max_size=6)):
        tell(draw, story)
    return story


# -- any history


def mostly(usual, *others):
    """``usual`` nine times in ten: a history of a dozen odd values would never go out."""
    return st.integers(0, 9).flatmap(lambda number: st.sampled_from(others) if number == 9 else st.just(usual))


ANY_IDS = st.sampled_from(["a", "b", "c", ""])
ANY_NAMES = mostly("add", "two words", "", "x" * 65)
ANY_TEXT = mostly("hm", "", "\ud800", "<think>")  # one of them is half a surrogate, which no JSON can say


RARE_KINDS = ["image", "tool_call", "tool_result", "known", "any"]


@st.composite
def any_blocks(draw):
    """Mostly blocks of a known kind, well made or not."""
    kind = draw(st.sampled_from([*["text", "str", "thought", "tool_use", "refusal"] * 4, *RARE_KINDS]))
    if kind == "str":
        return draw(ANY_TEXT)
    if kind == "image":
        url = draw(
            st.sampled_from(["https://e.example/a.png", "data:image/gif;base64,AAAA", "data:image/png;base64,!"])
        )
        return draw(st.sampled_from([*IMAGES, {"type": "image", "url": url}, {"type": "image", "file_id": "f"}]))
    if kind == "thought":
        return draw(st.sampled_from(THOUGHTS))
    if kind == "known":
        others = ["audio", "video", "file", "non_standard", "server_tool_call", "text-plain", "input_audio", "json"]
        return {"type": draw(st.sampled_from(others)), "value": draw(json_values)}
    if kind == "any":
        return draw(
            st.dictionaries(st.sampled_from(["type", "text", "id", "image", "source"]), json_values, max_size=3)
        )
    made = {
        "text": {"text": draw(ANY_TEXT | st.none())},
        "refusal": {"refusal": draw(ANY_TEXT)},
        "tool_use": {"id": draw(ANY_IDS), "name": draw(ANY_NAMES), "input": draw(json_values)},
        "tool_call": {"id": draw(ANY_IDS | st.none()), "name": draw(ANY_NAMES), "args": draw(json_values)},
        "tool_result": {"tool_use_id": draw(ANY_IDS), "content": draw(ANY_TEXT | st.none() | st.just([{"a": 1}]))},
    }
    return {"type": kind, **made[kind]}


ANY_CONTENT = ANY_TEXT | ANY_TEXT | st.lists(any_blocks(), max_size=2)


@st.composite
def any_messages(draw):
    """Whatever LangChain lets anybody build."""
    content = draw(ANY_CONTENT)
    kind = draw(
        st.sampled_from(["user", "user", "ai", "calls", "calls", "result", "result", "system", "chat", "function"])
    )
    if kind == "user":
        return HumanMessage(content, additional_kwargs=draw(mostly({}, {"name": 5}, {"name": "ann"})))
    if kind == "system":
        return SystemMessage(content)
    if kind == "function":
        return FunctionMessage(content, name="add")
    if kind == "chat":
        return ChatMessage(content, role=draw(st.sampled_from(["user", "assistant", "developer", "tool", "alien"])))
    if kind == "result":
        return ToolMessage(content, tool_call_id=draw(ANY_IDS), status=draw(st.sampled_from(["success", "error"])))
    if kind == "ai":
        raw = mostly({}, {"function_call": {"name": "add", "arguments": "{}"}}, {"tool_calls": [{"id": "a"}]})
        return AIMessage(content, additional_kwargs=draw(raw), **draw(st.just({}) | st.just({"name": "bob"})))
    ids = st.uuids().map(str) | st.uuids().map(str) | ANY_IDS | st.none()
    call = st.fixed_dictionaries({"id": ids, "name": ANY_NAMES, "args": arguments})
    bad_fields = {"id": ids, "name": ANY_NAMES | st.none(), "args": words | st.none(), "error": st.none()}
    bad = st.fixed_dictionaries(bad_fields)
    return AIMessage(
        content,
        tool_calls=draw(st.lists(call, max_size=2)),
        invalid_tool_calls=draw(st.lists(bad, max_size=1)),
        **draw(origins()),
    )


@st.composite
def any_histories(draw):
    """Any messages; some of them twice, and some calls answered as they should be."""
    history: list[BaseMessage] = []
    for message in draw(st.lists(any_messages(), min_size=1, max_size=4)):
        history.append(message)
        if isinstance(message, AIMessage) and draw(st.integers(0, 5)):
            calls = (*message.tool_calls, *message.invalid_tool_calls)
            history += [ToolMessage("x", tool_call_id=call["id"] or "") for call in calls]
        if draw(st.integers(0, 7)) == 7:
            history.append(message)
    return history
