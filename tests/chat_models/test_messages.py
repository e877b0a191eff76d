"""Conversion of LangChain's messages to the API's form, and the errors for messages that it does not support."""

from __future__ import annotations

import copy
import datetime as dt
import time

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_cerebras_demo import ChatCerebrasDemo
from langchain_cerebras_demo.chat_models.messages import to_wire

PNG = "iVBORw0KGgo="
URI = f"data:image/png;base64,{PNG}"
IMAGE = {"type": "image_url", "image_url": {"url": URI}}
CALL = {"name": "add", "args": {"a": 1, "text": "grün"}, "id": "c1", "type": "tool_call"}
WIRE_CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "text": "grün"}'}}


def text(words):
    return {"type": "text", "text": words}


def wire_call(arguments, call_id="c1", name="add"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def raw(arguments, call_id="c1"):
    return {**wire_call(arguments, call_id), "index": 0}


def alone(message, **more):
    """The message without its neighbours, which the rules for a history ask for."""
    return to_wire([message], check=False, **more)


class OwnMessage(HumanMessage):
    """A user's own class."""


# -- who speaks, and what is said

SPOKEN = {
    "a text": (HumanMessage("hi"), {"role": "user", "content": "hi"}),
    "a name": (HumanMessage("hi", name="ann"), {"role": "user", "content": "hi", "name": "ann"}),
    "a name where older code keeps it": (
        HumanMessage("hi", additional_kwargs={"name": "ann"}),
        {"role": "user", "content": "hi", "name": "ann"},
    ),
    "an empty name": (HumanMessage("hi", name=""), {"role": "user", "content": "hi"}),
    "a system message": (SystemMessage("be kind"), {"role": "system", "content": "be kind"}),
    "OpenAI's developer role": (
        SystemMessage("be kind", additional_kwargs={"__openai_role__": "developer"}),
        {"role": "developer", "content": "be kind"},
    ),
    "the assistant's name": (AIMessage("hi", name="bob"), {"role": "assistant", "content": "hi", "name": "bob"}),
    **{
        f"a chat message of the {role}": (ChatMessage("hi", role=role), {"role": role, "content": "hi"})
        for role in ("system", "developer", "user", "assistant")
    },
    "a chunk": (AIMessageChunk("hello"), {"role": "assistant", "content": "hello"}),
    "a user's chunk": (HumanMessageChunk("hello"), {"role": "user", "content": "hello"}),
    "a class of the user's own": (OwnMessage("hello"), {"role": "user", "content": "hello"}),
    "an empty answer": (AIMessage(""), {"role": "assistant", "content": ""}),
    "an empty list": (HumanMessage([]), {"role": "user", "content": ""}),
    "texts stay apart": (
        HumanMessage(["a", "b\n", text("c")]),
        {"role": "user", "content": [text("a"), text("b\n"), text("c")]},
    ),
    "a system message's texts too": (
        SystemMessage(["a", text("b")]),
        {"role": "system", "content": [text("a"), text("b")]},
    ),
    "a text's extras are taken off": (
        HumanMessage([{**text("b"), "cache_control": {"type": "ephemeral"}, "index": 0, "id": "x", "annotations": []}]),
        {"role": "user", "content": [text("b")]},
    ),
    "an answer's extras too": (
        AIMessage([{**text("b"), "annotations": [{"type": "citation"}], "extras": {"a": 1}, "index": "lc_txt_0"}]),
        {"role": "assistant", "content": [text("b")]},
    ),
    "another vendor's thinking is taken out": (
        AIMessage(
            [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "reasoning", "summary": []},
                {"type": "reasoning_content", "reasoning_content": {"text": "hm"}},
                text("well"),
            ]
        ),
        {"role": "assistant", "content": [text("well")]},
    ),
    "thinking alone leaves an empty answer": (
        AIMessage([{"type": "thinking", "thinking": "hm"}]),
        {"role": "assistant", "content": ""},
    ),
    "a refusal is what the user read": (
        AIMessage([{"type": "refusal", "refusal": "no"}]),
        {"role": "assistant", "content": [text("no")]},
    ),
    "a refusal beside an empty content too": (
        AIMessage("", additional_kwargs={"refusal": "no"}),
        {"role": "assistant", "content": "no"},
    ),
    "a refusal beside words is said already": (
        AIMessage("no, sorry", additional_kwargs={"refusal": "no"}),
        {"role": "assistant", "content": "no, sorry"},
    ),
}


@pytest.mark.parametrize("case", SPOKEN)
def test_a_message_goes_out_as_the_api_takes_it(case):
    """Exactly these keys: the API refuses any other."""
    message, wire = SPOKEN[case]
    assert to_wire([message]) == [wire]


THOUGHT = {"additional_kwargs": {"reasoning_content": "hm"}}
OURS = {"response_metadata": {"model_provider": "cerebras"}}


# -- tool calls

TOOL_CALLS = {
    "a call": (AIMessage("", tool_calls=[CALL]), {"tool_calls": [WIRE_CALL]}),
    "a call and words": (AIMessage("well", tool_calls=[CALL]), {"content": "well", "tool_calls": [WIRE_CALL]}),
    "empty words beside a call": (AIMessage([text(""), text("")], tool_calls=[CALL]), {"tool_calls": [WIRE_CALL]}),
    "white space beside a call": (AIMessage("\n", tool_calls=[CALL]), {"content": "\n", "tool_calls": [WIRE_CALL]}),
    "a broken call": (
        AIMessage("", invalid_tool_calls=[{"name": "add", "args": '{"a": ', "id": "c1", "error": None}]),
        {"tool_calls": [wire_call('{"a": ')]},
    ),
    "a good and a broken one": (
        AIMessage("", tool_calls=[CALL], invalid_tool_calls=[{"name": "add", "args": None, "id": "c2", "error": "e"}]),
        {"tool_calls": [WIRE_CALL, wire_call("{}", "c2")]},
    ),
    "Anthropic's block beside its call": (
        AIMessage([text("well"), {"type": "tool_use", "id": "c1", "name": "add", "input": {}}], tool_calls=[CALL]),
        {"content": [text("well")], "tool_calls": [WIRE_CALL]},
    ),
    "Anthropic's block alone": (
        AIMessage([text("well"), {"type": "tool_use", "id": "c2", "name": "add", "input": {"a": "ü"}}]),
        {"content": [text("well")], "tool_calls": [wire_call('{"a": "ü"}', "c2")]},
    ),
    "Anthropic's block of another call": (
        AIMessage([{"type": "tool_use", "id": "c2", "name": "add", "input": {}}], tool_calls=[CALL]),
        {"tool_calls": [WIRE_CALL, wire_call("{}", "c2")]},
    ),
    "Anthropic's stream": (
        AIMessageChunk(
            [
                {"type": "tool_use", "id": "c1", "name": "add", "input": {}, "index": 1},
                {"type": "input_json_delta", "partial_json": '{"a": 1}', "index": 2},
            ],
            tool_call_chunks=[{"name": "add", "args": '{"a": 1}', "id": "c1", "index": 1, "type": "tool_call_chunk"}],
        ),
        {"tool_calls": [wire_call('{"a": 1}')]},
    ),
    "OpenAI's block": (
        AIMessage([{"type": "function_call", "id": "fc", "call_id": "c1", "name": "add", "arguments": '{"a":1}'}]),
        {"tool_calls": [wire_call('{"a":1}')]},
    ),
    "LangChain's v1 blocks": (
        AIMessage(content_blocks=[{"type": "reasoning", "reasoning": "hm"}, text("well"), CALL]),
        {"content": [text("well")], "tool_calls": [WIRE_CALL]},
    ),
    "LangChain's v1 block alone": (AIMessage([CALL]), {"tool_calls": [WIRE_CALL]}),
    "LangChain's v1 broken block": (
        AIMessage([{"type": "invalid_tool_call", "id": "c1", "name": "add", "args": "{", "error": "e"}]),
        {"tool_calls": [wire_call("{")]},
    ),
    "OpenAI's raw calls": (
        AIMessage("", additional_kwargs={"tool_calls": [raw('{"a": 1}')]}),
        {"tool_calls": [wire_call('{"a": 1}')]},
    ),
    "raw calls beside parsed ones": (
        AIMessage("", tool_calls=[CALL], additional_kwargs={"tool_calls": [raw('{"a":1,"text":"gr\\u00fcn"}')]}),
        {"tool_calls": [WIRE_CALL]},
    ),
    "raw calls with arguments as a dict": (
        AIMessage("", additional_kwargs={"tool_calls": [raw({"a": "ü"})]}),
        {"tool_calls": [wire_call('{"a": "ü"}')]},
    ),
    "OpenAI's oldest call": (
        AIMessage("", additional_kwargs={"function_call": {"name": "add", "arguments": "{}"}}),
        {"tool_calls": [wire_call("{}", None)]},
    ),
    "a chunk's calls": (
        AIMessageChunk("", tool_call_chunks=[{"name": "add", "args": '{"a": 1}', "id": "c1", "index": 0}]),
        {"tool_calls": [wire_call('{"a": 1}')]},
    ),
    "a chat message's block": (
        ChatMessage([{"type": "tool_use", "id": "c1", "name": "add", "input": {}}], role="assistant"),
        {"tool_calls": [wire_call("{}")]},
    ),
}


@pytest.mark.parametrize("case", TOOL_CALLS)
def test_every_call_goes_out_once_wherever_it_stands(case):
    """Under its id and with the arguments that were given, broken ones too; empty words beside it are left out."""
    message, wire = TOOL_CALLS[case]
    assert alone(message) == [{"role": "assistant", **wire}]


def test_raw_calls_count_where_the_parsed_ones_are_gone():
    """LangChain parses them when the message is made and leaves them where they were."""
    oldest = {"name": "other", "arguments": "{}"}  # older still: counts where there is nothing else
    message = AIMessage("", additional_kwargs={"tool_calls": [raw('{"a": 1}')], "function_call": oldest})
    message.tool_calls = []
    assert alone(message) == [{"role": "assistant", "tool_calls": [wire_call('{"a": 1}')]}]


# -- tool results


def test_anthropics_tool_results_go_before_the_rest_of_the_users_message():
    """They answer the turn before; a message of results alone leaves nothing behind."""
    first = {"type": "tool_result", "tool_use_id": "c1", "content": "5", "is_error": True}
    second = {"type": "tool_result", "tool_use_id": "c2", "content": [text("6"), text("7")]}
    third = {"type": "tool_result", "tool_use_id": "c3"}
    results = [("c1", "5"), ("c2", "67"), ("c3", "")]
    wire = [{"role": "tool", "tool_call_id": call_id, "content": content} for call_id, content in results]
    rest = {"role": "user", "content": [text("and"), text("now?")], "name": "ann"}
    assert alone(HumanMessage(["and", first, text("now?"), second, third], name="ann")) == [*wire, rest]
    assert alone(HumanMessage([first, second, third])) == wire


NOTE = "[The image is in the next message.]"


def label(call_id):
    return text(f"From the result of the tool call {call_id}:")


def test_images_of_tools_go_behind_the_results_in_a_users_message():
    """The API accepts images only from users. A text assigns each to its call, by the id that is sent."""
    calls = AIMessage("", tool_calls=[{**CALL, "id": "c1"}, {**CALL, "id": "c1"}, {**CALL, "id": "c3"}])
    results = [
        ToolMessage(["a", {"type": "image", "base64": PNG, "mime_type": "image/png"}], tool_call_id="c1"),
        ToolMessage(
            [{"type": "image_url", "image_url": URI}, {"type": "input_image", "image_url": URI}], tool_call_id="c1"
        ),
        ToolMessage("b", tool_call_id="c3"),
    ]
    shown = {"role": "user", "content": [label("c1"), IMAGE, label("c1_2"), IMAGE, IMAGE]}
    for more in ([], [HumanMessage("and?")], [SystemMessage("s")]):
        wire = to_wire([calls, *results, *more], images=True)
        assert [message["role"] for message in wire[1:5]] == ["tool", "tool", "tool", "user"]
        assert [message["content"] for message in wire[1:4]] == [f"a{NOTE}", NOTE + NOTE, "b"]
        assert wire[4] == shown
        assert len(wire) == 5 + len(more)
    block = {
        "type": "tool_result",
        "tool_use_id": "c1",
        "content": [{"type": "image", "source": {"type": "base64", "data": PNG, "media_type": "image/png"}}],
    }
    assert alone(HumanMessage([block, "and?"]), images=True) == [
        {"role": "tool", "tool_call_id": "c1", "content": NOTE},
        {"role": "user", "content": [label("c1"), IMAGE]},
        {"role": "user", "content": [text("and?")]},
    ]


LEFT_OUT = {
    "an image, where the model takes none": (IMAGE, False, "[An image was left out here: this model reads text only.]"),
    "a URL": (
        {"type": "image", "url": "https://e.example/a.png"},
        True,
        "[An image was left out here: the API accepts base64 PNG or JPEG data only.]",
    ),
    "an image without its data": (
        {"type": "image", "file_id": "f"},
        True,
        "[An image was left out here: the API accepts base64 PNG or JPEG data only.]",
    ),
    "a file": (
        {"type": "file", "base64": "AAAA"},
        True,
        "[A block of type 'file' was left out here: the API accepts text only.]",
    ),
    "sound": (
        {"type": "audio", "base64": "AAAA"},
        False,
        "[A block of type 'audio' was left out here: the API accepts text only.]",
    ),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_a_tool_cannot_show_is_left_out_with_a_note(case):
    """A tool's answer is no reason to stop: the model reads what is missing and why."""
    shown, images, note = LEFT_OUT[case]
    for message in (
        ToolMessage(["a", shown, "b"], tool_call_id="c1"),
        HumanMessage([{"type": "tool_result", "tool_use_id": "c1", "content": ["a", shown, "b"]}]),
    ):
        assert to_wire([AIMessage("", tool_calls=[CALL]), message], images=images)[1:] == [
            {"role": "tool", "tool_call_id": "c1", "content": f"a{note}b"}
        ]


def test_a_thread_with_a_tools_image_goes_on(server):
    """By the rules of the real service, with a model that takes images and one that does not."""
    history = [HumanMessage("h"), AIMessage("", tool_calls=[CALL]), ToolMessage([IMAGE], tool_call_id="c1")]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    for name, images in (("qwen-3.8-27b", [IMAGE]), ("gpt-oss-120b", [])):
        model = ChatCerebrasDemo(model=name, base_url=server.base_url, api_key=server.key)
        assert model.invoke(history, tools=[tool]).content
        sent = server.requests[-1].json["messages"]
        assert [part for message in sent[3:] for part in message["content"] if part == IMAGE] == images


def test_half_a_character_in_arguments_or_a_result_is_sendable():
    """JSON can say it by an escape, and Python then holds what no UTF-8 can say."""
    call = {**CALL, "args": {"a": "x\ud83d", "b": "\ud83d\ude00"}}
    wire = to_wire([AIMessage("", tool_calls=[call]), ToolMessage("x\ud83d grün", tool_call_id="c1")])
    assert wire[0]["tool_calls"][0]["function"]["arguments"] == '{"a": "x\ufffd", "b": "\U0001f600"}'
    assert wire[1]["content"] == "x\ufffd grün"


# -- refusals


def block(kind, **more):
    return {"type": kind, **more}


REFUSED = {
    "nothing": ([], ValueError, "messages is empty"),
    "thinking of the user": ([HumanMessage([block("thinking")])], ValueError, "'thinking', which .* in user messages"),
    "a result by the assistant": ([AIMessage([block("tool_result")])], ValueError, "'tool_result', which .* assistant"),
    "a refusal of the user": ([HumanMessage([block("refusal", refusal="no")])], ValueError, "'refusal'"),
    "bytes as text": ([HumanMessage([block("text", text=b"x")])], TypeError, r"content\[0\] has text of type bytes.*decode"),
    "a block without its text": ([HumanMessage([block("text")])], TypeError, "text of type NoneType"),
    "a result that is no JSON": (
        [ToolMessage([{"at": dt.date(2026, 1, 1)}], tool_call_id="c1")],
        TypeError,
        r"messages\[0\]\.content\[0\] cannot be written as JSON.*date",
    ),
    "arguments that are no JSON": (
        [AIMessage("", tool_calls=[{**CALL, "args": {"at": object()}}])],
        TypeError,
        r"messages\[0\]: the arguments of 'add' cannot be written as JSON",
    ),
    "a result of no call": ([HumanMessage([block("tool_result")])], TypeError, "tool_use_id of type NoneType"),
    "a call with a number": ([AIMessage([block("tool_use", id=5)])], TypeError, "tool call with id of type int"),
    "a call with a list": ([AIMessage([block("tool_use", name=[])])], TypeError, "tool call with name of type list"),
    "a raw call without a function": (
        [AIMessage("", additional_kwargs={"tool_calls": [{"id": "c1", "type": "custom"}]})],
        TypeError,
        r"messages\[0\] has a raw tool call without a function",
    ),
    "a name that is none": ([HumanMessage("a", additional_kwargs={"name": 5})], TypeError, "name of type int"),
    "a role that is none": ([HumanMessage("a"), ChatMessage("x", role="alien")], ValueError, r"messages\[1\] has role 'alien'"),
    "a result that names no call": ([ChatMessage("x", role="tool")], ValueError, "names no call: give a ToolMessage"),
    "a removal": ([RemoveMessage(id="1")], TypeError, r"messages\[0\] is a RemoveMessage, for which"),
    "a string": (["hi"], TypeError, r"messages\[0\] is a str, for which the API has no role: give a HumanMessage"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_on_this_wire_is_refused_by_name(case):
    """Message, block and remedy, checked or not."""
    messages, kind, words = REFUSED[case]
    with pytest.raises(kind, match=words):
        to_wire(messages, check=False)


# -- all together


HISTORY = [
    SystemMessage("s"),
    HumanMessage(["h", IMAGE, {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"}]),
    AIMessage("", tool_calls=[CALL], **THOUGHT, **OURS),
    ToolMessage(["5"], tool_call_id="c1"),
    AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "id": "c2", "name": "add", "input": {}}]),
    HumanMessage([{"type": "tool_result", "tool_use_id": "c2", "content": "6"}, "and"], name="ann"),
    AIMessage("", additional_kwargs={"function_call": {"name": "add", "arguments": "{}"}}),
    FunctionMessage("7", name="add"),
    AIMessage("seven"),
    HumanMessage(["and", text("now?")]),
]


def test_every_kind_of_message_passes_the_strict_loopback(server):
    """A whole history at once, through LangChain's own handling of blocks, by the rules of the real service."""
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    model = ChatCerebrasDemo(model="qwen-3.8-27b", base_url=server.base_url, api_key=server.key)
    assert model.invoke(HISTORY, tools=[tool]).content
    user = server.requests[-1].json["messages"][1]
    assert user["content"] == [text("h"), IMAGE, IMAGE]


@pytest.mark.parametrize("check", [True, False])
def test_the_messages_are_not_changed(check):
    """They are the user's, and sent again with the next turn."""
    before = copy.deepcopy(HISTORY)
    first = to_wire(HISTORY, replay="reasoning", check=check)
    assert before == HISTORY
    assert to_wire(HISTORY, replay="reasoning", check=check) == first


def test_a_hundred_messages_take_no_time_to_speak_of():
    """About 70 µs of CPU, 200 with blocks. Ten times that is allowed, for slow machines: LangChain's own way of telling
    blocks apart would take 29 ms."""
    plain = [HumanMessage(f"question {number}") for number in range(100)]
    blocks = [HumanMessage([text(f"question {number}")]) for number in range(100)]
    for messages, most in ((plain, 0.7e-3), (blocks, 2e-3)):
        times = []
        for _ in range(20):
            start = time.process_time()
            for _ in range(5):
                to_wire(messages)
            times.append((time.process_time() - start) / 5)
        assert min(times) < most


# -- reasoning of earlier turns


REASONING = {
    "ours": AIMessage("hi", **THOUGHT, **OURS),
    "the embedded model's": AIMessage("hi", **THOUGHT, response_metadata={"model_provider": "local"}),
    "of nobody in particular": AIMessage("hi", **THOUGHT),
    "as blocks": AIMessage(
        [
            {"type": "reasoning", "reasoning": "h", "index": "lc_rs_0"},
            {"type": "reasoning"},
            {"type": "reasoning", "reasoning": "m"},
            text("hi"),
        ],
        **OURS,
    ),
    "beside blocks of text": AIMessage([text("hi")], **THOUGHT, **OURS),
    "as blocks too": AIMessage([{"type": "reasoning", "reasoning": "hm"}, text("hi")], **THOUGHT, **OURS),
}
FOREIGN = {
    "another vendor's": AIMessage("hi", **THOUGHT, response_metadata={"model_provider": "groq"}),
    "another vendor's blocks": AIMessage(
        [{"type": "reasoning", "reasoning": "hm"}, text("hi")], response_metadata={"model_provider": "openai"}
    ),
    "blocks of nobody in particular": AIMessage([{"type": "reasoning", "reasoning": "hm"}, text("hi")]),
    "none": AIMessage("hi", **OURS),
    "an empty one": AIMessage("hi", additional_kwargs={"reasoning_content": ""}, **OURS),
}


def said(message):
    return "hi" if isinstance(message.content, str) else [text("hi")]


@pytest.mark.parametrize("case", REASONING)
def test_our_own_reasoning_goes_back_as_the_model_wants_it(case):
    """In its field, or as think tags in front of the words; not at all where the model has no use for it."""
    message = REASONING[case]
    content = said(message)
    thought = "<think>hm</think>"
    tagged = thought + "hi" if content == "hi" else [text(thought), text("hi")]
    assert to_wire([message], replay="reasoning") == [{"role": "assistant", "reasoning": "hm", "content": content}]
    assert to_wire([message], replay="think_tags") == [{"role": "assistant", "content": tagged}]
    assert to_wire([message]) == [{"role": "assistant", "content": content}]


@pytest.mark.parametrize("replay", ["reasoning", "think_tags", None])
@pytest.mark.parametrize("case", FOREIGN)
def test_reasoning_of_another_vendors_model_never_goes_out(case, replay):
    """It is worthless to ours, and `reasoning_content` is a 400."""
    assert to_wire([FOREIGN[case]], replay=replay) == [{"role": "assistant", "content": said(FOREIGN[case])}]


def test_reasoning_goes_back_beside_a_call_without_words():
    """The commonest turn of an agent."""
    message = AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "c1"}], **THOUGHT, **OURS)
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    wire = {"role": "assistant", "tool_calls": [call]}
    assert to_wire([message], replay="reasoning", check=False) == [{**wire, "reasoning": "hm"}]
    assert to_wire([message], replay="think_tags", check=False) == [{**wire, "content": "<think>hm</think>"}]


def test_reasoning_that_is_no_text_is_refused_by_name():
    """Where it is to go back."""
    with pytest.raises(TypeError, match=r"messages\[0\] has reasoning of type dict"):
        to_wire([AIMessage("a", additional_kwargs={"reasoning_content": {"text": "hm"}})], replay="reasoning")
