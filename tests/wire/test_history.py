"""The rules that tie tool calls to their results: kept where they can be, else refused by name."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_cerebras_demo.chat_models.messages import to_wire
from langchain_cerebras_demo.errors import InvalidRequestError, InvalidRequestTypeError
from langchain_cerebras_demo.testing import MODELS
from langchain_cerebras_demo.testing.refusals import RefusedError
from langchain_cerebras_demo.testing.rules import check_chat
from langchain_cerebras_demo.wire.request import to_json
from tests.support.histories import any_histories, stories

SERVED = {model.id: model for model in MODELS}
REPLAYS = (None, "reasoning", "think_tags")


def calling(*ids, **more):
    return AIMessage("", tool_calls=[{"id": call_id, "name": "add", "args": {}} for call_id in ids], **more)


def result(call_id):
    return ToolMessage("5", tool_call_id=call_id)


def order(messages):
    """Who speaks on the wire; of a result the id that it answers, of a turn with calls their ids."""
    told = []
    for wire in to_wire(messages):
        calls = [call["id"] for call in wire.get("tool_calls", ())]
        told.append(wire.get("tool_call_id") or calls or wire["role"])
    return told


def bad(call_id, args='{"a": ', **more):
    return AIMessage("", invalid_tool_calls=[{"id": call_id, "name": "add", "args": args, "error": None}], **more)


TWICE = calling("1", id="run-1")
USER, SYSTEM, ANSWER = HumanMessage("a"), SystemMessage("b"), AIMessage("c")

KEPT = {
    "results in order": ([calling("1", "2"), result("1"), result("2"), ANSWER], [["1", "2"], "1", "2", "assistant"]),
    "results out of order": ([calling("1", "2"), result("2"), result("1")], [["1", "2"], "2", "1"]),
    "two exchanges": ([calling("1"), result("1"), calling("2"), result("2")], [["1"], "1", ["2"], "2"]),
    "a late result moves up": (
        [USER, calling("1", "2"), result("2"), SYSTEM, result("1"), USER],
        ["user", ["1", "2"], "2", "1", "system", "user"],
    ),
    "all else stays": ([SYSTEM, USER, SYSTEM, ANSWER, SYSTEM], ["system", "user", "system", "assistant", "system"]),
    "a call without an id": ([USER, calling(None), result("")], ["user", ["call_1"], "call_1"]),
    "whatever its result says": ([calling(None), result("None"), ANSWER], [["call_0"], "call_0", "assistant"]),
    "an empty id": ([calling(""), result("x")], [["call_0"], "call_0"]),
    "an empty id on both sides": ([calling(""), result("")], [["call_0"], "call_0"]),
    "one among others": ([calling("1", None), result(""), result("1")], [["1", "call_0"], "call_0", "1"]),
    "one after the other": (
        [calling(None), result(""), calling(None), result("")],
        [["call_0"], "call_0", ["call_2"], "call_2"],
    ),
    "several": ([calling(None, ""), result(""), result("x")], [["call_0", "call_0_"], "call_0", "call_0_"]),
    "a result without an id": ([calling("1"), FunctionMessage("5", name="add")], [["1"], "1"]),
    "results without ids": ([calling("1", "2"), result("2"), result("")], [["1", "2"], "2", "1"]),
    "beside an id of that name": (
        [calling(None), result(""), calling("call_0"), result("call_0")],
        [["call_0_"], "call_0_", ["call_0"], "call_0"],
    ),
    "an id again in a later turn": (
        [
            calling("1"),
            result("1"),
            USER,
            calling("1"),
            result("1"),
            calling("2"),
            result("2"),
            calling("1"),
            result("1"),
        ],
        [["1"], "1", "user", ["1_2"], "1_2", ["2"], "2", ["1_3"], "1_3"],
    ),
    "an id twice in one answer": ([calling("1", "1"), result("1"), result("1")], [["1", "1_2"], "1", "1_2"]),
    "an id twice beside another": (
        [calling("1", "2", "1"), result("2"), result("1"), result("1")],
        [["1", "2", "1_2"], "2", "1", "1_2"],
    ),
    "an id again beside one that looks made up": (
        [calling("1"), result("1"), calling("1"), result("1"), calling("1_2"), result("1_2")],
        [["1"], "1", ["1_3"], "1_3", ["1_2"], "1_2"],
    ),
    "the same message twice": ([TWICE, result("1"), TWICE, result("1")], [["1"], "1", ["1_2"], "1_2"]),
    "a broken call that nobody answered": ([bad("1"), USER], [["1"], "1", "user"]),
    "a broken call at the end": ([USER, bad("1")], ["user", ["1"], "1"]),
    "a broken call that was answered": ([bad("1"), result("1"), USER], [["1"], "1", "user"]),
    "a broken call beside a good one": (
        [bad("2", tool_calls=calling("1").tool_calls), result("1"), SYSTEM, USER],
        [["1", "2"], "1", "2", "system", "user"],
    ),
    "broken calls without ids": (
        [bad(None), USER, bad(""), USER],
        [["call_0"], "call_0", "user", ["call_2"], "call_2", "user"],
    ),
    "broken calls of one id": ([bad("1"), USER, bad("1"), USER], [["1"], "1", "user", ["1_2"], "1_2", "user"]),
}


@pytest.mark.parametrize("case", KEPT)
def test_a_history_that_can_keep_the_rules_keeps_them(case):
    """Results directly behind their calls, an id for every call, and everything else where it was."""
    messages, told = KEPT[case]
    assert order(messages) == told


BROKEN = {
    "the same message twice in a row": (
        [TWICE, TWICE, result("1")],
        r"messages\[0\] calls 'add' \('1'\), but has no result directly after it: move its result, messages\[2\]",
    ),
    "one result for two calls of one id": (
        [calling("1", "1"), result("1")],
        r"messages\[0\] calls 'add' \('1'\), but has no result directly after it: add a ToolMessage",
    ),
    "no result at all": (
        [USER, calling("1")],
        r"messages\[1\] calls 'add' \('1'\), but has no result directly after it: add a ToolMessage\(…, tool_call_id='1'\)",
    ),
    "one result of two": ([calling("1", "2"), result("1"), USER], r"messages\[0\] calls 'add' \('2'\)"),
    "a result behind the user": (
        [calling("1"), USER, result("1")],
        r"messages\[0\] calls 'add' \('1'\), .* move its result, messages\[2\], there",
    ),
    "a result that Anthropic's form puts behind the user": (
        [
            calling("1", "2"),
            HumanMessage([{"type": "tool_result", "tool_use_id": "1", "content": "5"}, "and"]),
            HumanMessage([{"type": "tool_result", "tool_use_id": "2", "content": "5"}]),
        ],
        r"move its result, messages\[2\]",
    ),
    "a result before its call": ([result("1"), calling("1"), result("1")], r"messages\[0\] .* of messages\[1\]: move it directly after"),
    "two results": ([calling("1"), result("1"), result("1")], r"messages\[2\] is a second result .* of messages\[0\]: send one"),
    "a second result later": ([calling("1"), result("1"), USER, result("1")], r"messages\[3\] .* move it directly after"),
    "a result of no call": ([USER, result("9")], r"messages\[1\] answers the tool call '9', which no message makes: add"),
    "a foreign result": ([calling("1"), result("1"), result("9")], r"messages\[2\] answers the tool call '9', which no"),
    "no id at all": ([USER, result("")], r"messages\[1\] is a tool result without the id of a call"),
    "two calls without ids": ([calling(None, None), result("")], r"messages\[0\] has tool calls without an id \(add, add\), and it is not clear which of the 1 results"),
    "two results for a call without an id": ([calling(None), result(""), result("x")], "which of the 2 results"),
    "no result for a call without an id": ([calling(None), USER], r"messages\[0\] calls 'add' \(None\), but has no result"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_history_that_breaks_a_rule_is_refused_by_name(case):
    """Message, call and remedy; the service's own refusal does not say which message it means."""
    messages, told = BROKEN[case]
    with pytest.raises(ValueError, match=told):
        to_wire(messages)


def test_each_result_stays_with_its_own_call():
    """By its place, where the ids are equal."""
    calls = [{"id": "1", "name": name, "args": {}} for name in ("add", "mul")]
    results = [ToolMessage("sum", tool_call_id="1"), ToolMessage("product", tool_call_id="1")]
    wire = to_wire([AIMessage("", tool_calls=calls), *results, USER, AIMessage("", tool_calls=calls), *results])
    told = {call["id"]: call["function"]["name"] for message in wire for call in message.get("tool_calls", ())}
    answers = [(told[message["tool_call_id"]], message["content"]) for message in wire if message["role"] == "tool"]
    assert answers == [("add", "sum"), ("mul", "product")] * 2
    assert len(told) == 4


@pytest.mark.parametrize(
    ("args", "why"), [('{"a": ', "not valid JSON"), ("", None), ("[1]", "not a JSON object"), ("x", "not valid")]
)
def test_a_broken_call_that_nobody_answered_is_told_to_the_model(args, why):
    """Why it was not run, and what to do; its arguments go out as they were."""
    wire = to_wire([bad("1", args or "{"), USER])
    assert wire[0]["tool_calls"][0]["function"] == {"name": "add", "arguments": args or "{"}
    assert wire[1]["content"].startswith("The tool was not run: the arguments are not ")
    assert (why or "not valid JSON") in wire[1]["content"]
    assert wire[1]["content"].endswith("Call it again with a valid JSON object.")


def names_of(*names):
    """The names on the wire of one call each, in a turn of their own."""
    told = []
    for number, name in enumerate(names):
        call = {"id": str(number), "name": name, "args": {}}
        told += [AIMessage("", tool_calls=[call]), result(str(number))]
    return [call["function"]["name"] for message in to_wire(told) for call in message.get("tool_calls", ())]


NAMES = {
    "good names": (["tide", "x" * 64, "a-B_1"], ["tide", "x" * 64, "a-B_1"]),
    "a dot": (["functions.tide"], ["functions_tide"]),
    "a blank": (["tide tool"], ["tide_tool"]),
    "special tokens": (["<|channel|>x"], ["_channel_x"]),
    "none": (["", ""], ["unnamed", "unnamed"]),
    "too long": (["x" * 65, "x" * 66], ["x" * 64, "x" * 62 + "_2"]),
    "other letters": (["tidé", "潮", "\n"], ["tid_", "_", "__2"]),
    "half a character": (["tide\ud83d"], ["tide_"]),
    "two that would be one": (["a b", "a.b", "a b"], ["a_b", "a_b_2", "a_b"]),
    "one that would be another tool's": (["a b", "a_b"], ["a_b_2", "a_b"]),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_that_models_make_up_are_made_sendable(case):
    """The same one always in the same way, and two of them differently."""
    names, told = NAMES[case]
    assert names_of(*names) == told
    broken = AIMessage("", invalid_tool_calls=[{"id": "1", "name": None, "args": "{", "error": None}])
    assert to_wire([broken])[0]["tool_calls"][0]["function"]["name"] == "unnamed"


@pytest.mark.parametrize("case", {**KEPT, **BROKEN})
def test_unchecked_a_history_goes_out_as_it_is(case):
    """In its own order, with the ids that it has."""
    messages, _ = {**KEPT, **BROKEN}[case]
    alone = [wire for message in messages for wire in to_wire([message], check=False)]
    assert to_wire(messages, check=False) == alone


# -- every history


def accepted(messages, replay):
    """The messages as the strict loopback has read them; its refusal fails the test."""
    body = json.loads(to_json({"model": "qwen-3.8-27b", "messages": to_wire(messages, replay=replay)}))
    try:
        check_chat(body, SERVED)
    except RefusedError as refusal:
        if refusal.status != 413:  # how many images an account may send is not the converter's to know
            raise
    return body["messages"]


def told_by(wire):
    for message in wire:
        content = message.get("content") or ""
        parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        yield from parts


def is_same(function, name, arguments):
    told = function["arguments"]
    same = told == arguments if isinstance(arguments, str) else json.loads(told) == arguments
    return same and function["name"] == name


def check_valid(examples):
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(stories(), st.sampled_from(REPLAYS))
    def check(story, replay):
        wire = accepted(story.messages, replay)
        everything = "".join(told_by(wire))
        assert [words for words in story.texts if words not in everything] == []
        calls = {call["id"]: call["function"] for message in wire for call in message.get("tool_calls", ())}
        results = {message["tool_call_id"]: message["content"] for message in wire if message["role"] == "tool"}
        assert len(calls) == len(results) == len(story.calls) + len(story.nameless)
        for call_id, given_call in story.calls.items():
            assert is_same(calls.pop(call_id), *given_call)
            assert results.pop(call_id) == story.results[call_id]
        for made_up, (given_call, given_result) in zip(calls, story.nameless, strict=True):
            assert is_same(calls[made_up], *given_call)
            assert results[made_up] == given_result

    check()


def test_every_valid_history_goes_out_whole_and_the_loopback_takes_it():
    """In all shapes that LangChain has: no text, call, id, argument or result is lost or changed."""
    check_valid(200)


@pytest.mark.long
def test_every_valid_history_goes_out_whole_and_the_loopback_takes_it_long():
    """The same with ten times the examples."""
    check_valid(2000)


REASONS = [
    (InvalidRequestError, r"messages\[\d+\] has role '\w+': give one of"),
    (InvalidRequestError, r"messages\[\d+\] has role 'tool' and names no call"),
    (InvalidRequestError, r"content\[\d+\] is a block of type .*, which the API does not accept in \w+ messages: use"),
    (
        InvalidRequestError,
        r"content\[\d+\] is an image in a message of role '\w+': the API accepts images in user messages only",
    ),
    (InvalidRequestError, r"content\[\d+\] is an image that the API does not accept"),
    (InvalidRequestError, r"content\[\d+\] is an image whose data is not base64"),
    (InvalidRequestError, r"content\[\d+\] is an image without data"),
    (InvalidRequestError, r"messages\[\d+\] has tool calls without an id"),
    (InvalidRequestError, r"messages\[\d+\] calls '[\w-]+' \(.*\), but has no result directly after it"),
    (
        InvalidRequestError,
        r"messages\[\d+\] (answers the tool call '\w*'|is a tool result without the id|is a second result)",
    ),
    (InvalidRequestError, r"^messages\[\d+\] cannot be written as JSON: str is not valid UTF-8"),
    (InvalidRequestTypeError, r"content\[\d+\] has (text|refusal) of type \w+: give a str"),
    (InvalidRequestTypeError, r"messages\[\d+\] has a name of type int"),
    (InvalidRequestTypeError, r"messages\[\d+\] has a tool call with (id|name) of type \w+"),
    (InvalidRequestTypeError, r"messages\[\d+\] has a raw tool call without a function"),
]


def reason_of(error):
    found = [words for kind, words in REASONS if type(error) is kind and re.search(words, str(error))]
    assert len(found) == 1, f"refused for a reason that is not listed: {error!r}"
    return found[0]


def check_any(examples):
    outcomes = Counter()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(any_histories(), st.sampled_from(REPLAYS))
    def check(messages, replay):
        try:
            accepted(messages, replay)
        except (ValueError, TypeError) as error:
            outcomes[reason_of(error)] += 1
        else:
            outcomes["goes out"] += 1

    check()
    total = outcomes.total()
    refused = total - outcomes["goes out"]
    print(f"\n{refused} of {total} histories refused ({refused / total:.0%})")
    for reason, count in outcomes.most_common():
        print(f"{count:6} {reason}")
    assert 0.1 < refused / total < 0.9  # neither half of the claim is empty


def test_any_other_history_goes_out_so_too_or_is_refused_for_a_listed_reason():
    """Nothing that LangChain can build ends in a refusal by the service or in an error that names no message."""
    check_any(200)


@pytest.mark.long
def test_any_other_history_goes_out_so_too_or_is_refused_for_a_listed_reason_long():
    """The same with ten times the examples."""
    check_any(2000)
