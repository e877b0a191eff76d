"""Tool calls of servers that number and name them badly: one call stays one, and two stay two."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.wire.completion import Finish, ToolCallFragment
from tests.wire.shapes import call, chunk, facts, read, read_whole, to_sse, whole


def streamed(*chunks):
    return read(to_sse(*chunks))[0]


def only(kind, events):
    return [event for event in events if isinstance(event, kind)]


FRAGMENTS = {
    "id and name on every fragment": [
        [call(index=0, call_id="a", name="f", arguments="{")],
        [call(index=0, call_id="a", name="f", arguments="}")],
    ],
    "no index": [[call(call_id="a", name="f", arguments="{")], [call(arguments="}")]],
    "empty words": [
        [call(index=0, call_id="a", name="f", arguments="{")],
        [call(index=0, call_id="", name="", arguments="}")],
    ],
    "the name after the id": [[call(index=0, call_id="a")], [call(index=0, name="f", arguments="{}")]],
    "a number of its own": [[call(index=3, call_id="a", name="f", arguments="{}")]],
    "no function at first": [
        [{"index": 0, "id": "a", "function": None}],
        [call(index=0, name="f", arguments="{}")],
    ],
}


@pytest.mark.parametrize("fragments", FRAGMENTS.values(), ids=FRAGMENTS.keys())
def test_a_tool_call_is_one_call_with_its_id_and_name_said_once(fragments):
    """LangChain joins what is said twice: a name on every fragment would become "ff"."""
    events = streamed(*(chunk({"tool_calls": calls}) for calls in fragments))
    assert {key: said for key, said in facts(events).items() if key[0] == "call"} == {("call", 0, 0): ["a", "f", "{}"]}


@pytest.mark.parametrize(
    ("arguments", "broken"),
    [('{"text": "hel', ["f"]), ('{"text": "hello"}', []), ("", []), ("null", []), ("[", ["f"])],
)
def test_the_end_names_the_calls_that_were_cut_off(arguments, broken):
    """LangChain would mend half an argument into a whole one, and a tool would run with it."""
    fragments = [call(index=0, call_id="a", name="f", arguments=arguments[:3]), call(index=0, arguments=arguments[3:])]
    events = streamed(*(chunk({"tool_calls": [fragment]}) for fragment in fragments), chunk(finish="length"))
    assert [event.broken_calls for event in only(Finish, events)] == [broken]


def test_null_for_arguments_is_a_call_without_any():
    """How some models call a function that takes none; within arguments it is JSON like any other."""
    fragments = [call(index=0, call_id="a", name="f", arguments="null")]
    assert only(ToolCallFragment, streamed(chunk({"tool_calls": fragments}))) == [ToolCallFragment(0, "a", "f", "")]
    turns = [call(index=0, call_id="a", name="f", arguments='{"x":'), call(index=0, arguments="null")]
    events = streamed(*(chunk({"tool_calls": [fragment]}) for fragment in turns))
    assert [event.arguments for event in only(ToolCallFragment, events)] == ['{"x":', "null"]


@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize("together", [True, False])
def test_calls_of_one_number_are_told_apart_by_their_ids(index, together):
    """Some servers call every call number 0, and some give no number at all."""
    first = call(index=index, call_id="a", name="f", arguments="{}")
    second = call(index=index, call_id="b", name="g", arguments="[")
    deltas = [[first, second]] if together else [[first], [second]]
    events = streamed(*(chunk({"tool_calls": calls}) for calls in deltas))
    assert only(ToolCallFragment, events) == [ToolCallFragment(0, "a", "f", "{}"), ToolCallFragment(1, "b", "g", "[")]


def test_calls_are_told_apart_by_their_numbers_else_by_their_place():
    """Fragments of two calls may take turns; a whole answer may give neither numbers nor ids."""
    turns = [(0, "{"), (1, "["), (0, "}"), (1, "]")]
    events = streamed(*(chunk({"tool_calls": [call(index=index, arguments=text)]}) for index, text in turns))
    assert [(event.index, event.arguments) for event in only(ToolCallFragment, events)] == turns
    events = read_whole(whole({"tool_calls": [call(name="f"), call(name="g")]}))
    assert only(ToolCallFragment, events) == [
        ToolCallFragment(0, None, "f", None),
        ToolCallFragment(1, None, "g", None),
    ]
