"""An answer by a schema as the call of one more tool: the request that asks for it, and the events of the answer."""

from __future__ import annotations

import pytest

from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.wire.answer_call import AnswerCall, to_call
from langchain_cerebras_demo.wire.completion import Finish, ReasoningDelta, TextDelta, ToolCallFragment

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


def a_tool(name="f", **more):
    return {"type": "function", "function": {"name": name, **more}}


def given(*tools, strict=True, name="Box", **more):
    wanted = {"name": name, "schema": SCHEMA, "strict": strict}
    return {"tools": [*tools], "response_format": {"type": "json_schema", "json_schema": wanted}, **more}


def test_the_schema_becomes_a_tool_and_some_tool_must_be_called():
    """The other parameters stay, and what was given is not changed."""
    before = given(a_tool(), seed=1)
    fitted, name = to_call(before, "m")
    answer = {"name": "Box", "description": "Give the final answer.", "parameters": SCHEMA}
    expected = {"tools": [a_tool(), {"type": "function", "function": answer}], "tool_choice": "required", "seed": 1}
    assert (fitted, name) == (expected, "Box")
    assert before == given(a_tool(), seed=1)


@pytest.mark.parametrize(
    ("tools", "strict", "is_strict"),
    [
        ([a_tool()], True, False),
        ([a_tool(strict=True)], True, True),
        ([a_tool(strict=True)], False, True),
        ([a_tool()], False, False),
        ([a_tool(strict=True), a_tool("g")], True, False),
    ],
)
def test_the_answer_is_strict_if_the_other_tools_are(tools, strict, is_strict):
    """All tools of a request have to have the same."""
    fitted, _ = to_call(given(*tools, strict=strict), "m")
    assert fitted["tools"][-1]["function"].get("strict", False) is is_strict


def test_a_lenient_schema_becomes_strict_beside_strict_tools():
    """In the form that strict mode accepts."""
    before = given(a_tool(strict=True), strict=False)
    before["response_format"]["json_schema"]["schema"] = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 1}},
    }
    fitted, _ = to_call(before, "m")
    parameters = fitted["tools"][-1]["function"]["parameters"]
    assert parameters["additionalProperties"] is False
    assert "minimum" in before["response_format"]["json_schema"]["schema"]["properties"]["a"]


@pytest.mark.parametrize("schema", [{"type": "object", "additionalProperties": {"type": "integer"}}, None, "a schema"])
def test_a_schema_that_cannot_be_strict_is_refused_beside_strict_tools(schema):
    """By the name of the parameter, not that of the tool that would replace it."""
    before = given(a_tool(strict=True), strict=False)
    before["response_format"]["json_schema"]["schema"] = schema
    with pytest.raises(InvalidRequestError, match=r"response_format"):
        to_call(before, "m")


def test_the_answer_has_a_name_of_its_own():
    """And its description, if it has one."""
    before = given(a_tool("Box"), a_tool("Box_"))
    before["response_format"]["json_schema"]["description"] = "A box."
    fitted, name = to_call(before, "m")
    assert name == fitted["tools"][-1]["function"]["name"] == "Box__"
    assert fitted["tools"][-1]["function"]["description"] == "A box."


def test_a_tool_choice_that_decides_leaves_one_of_the_two_out():
    """No tool may be called: the schema alone. One has to be: the tools alone."""
    without, name = to_call(given(a_tool(), tool_choice="none", parallel_tool_calls=False), "m")
    assert (without, name) == ({"response_format": given()["response_format"]}, "")
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        assert to_call(given(a_tool(), tool_choice=choice), "m") == ({"tools": [a_tool()], "tool_choice": choice}, "")


def test_a_format_without_a_schema_is_refused():
    """With the remedy."""
    with pytest.raises(InvalidRequestError, match="m does not accept tools and response_format 'json_object' together"):
        to_call({"tools": [a_tool()], "response_format": {"type": "json_object"}}, "m")


def piece(index, name=None, arguments=None, choice=0):
    return ToolCallFragment(index, f"c{index}" if name else None, name, arguments, choice)


HALVES = [piece(0, "Box", '{"a"'), piece(0, None, ": 1}")]
CASES = {
    "the answer": ([*HALVES, Finish("tool_calls")], [TextDelta('{"a"'), TextDelta(": 1}"), Finish("stop")]),
    "reasoning first": (
        [ReasoningDelta("Hm."), *HALVES, Finish("tool_calls")],
        [ReasoningDelta("Hm."), TextDelta('{"a"'), TextDelta(": 1}"), Finish("stop")],
    ),
    "text beside it": (
        [TextDelta("Here:"), *HALVES, Finish("tool_calls")],
        [TextDelta('{"a"'), TextDelta(": 1}"), Finish("stop")],
    ),
    "another call": (
        [piece(0, "f", "{}"), Finish("tool_calls")],
        [piece(0, "f", "{}"), Finish("tool_calls")],
    ),
    "another call beside it": (
        [piece(0, "Box", "{}"), piece(1, "f", "{}"), Finish("tool_calls")],
        [TextDelta("{}"), piece(1, "f", "{}"), Finish("tool_calls")],
    ),
    "the answer twice": (
        [piece(0, "Box", "{}"), piece(1, "Box", "{"), piece(1, None, "}"), Finish("tool_calls")],
        [TextDelta("{}"), Finish("stop")],
    ),
    "a name in pieces": (
        [
            piece(0, "B"),
            piece(0, None, ""),
            piece(0, "ox"),
            piece(0, None, '{"a"'),
            piece(0, None, ": 1}"),
            Finish("tool_calls"),
        ],
        [TextDelta('{"a"'), TextDelta(": 1}"), Finish("stop")],
    ),
    "an id before the name": (
        [ToolCallFragment(0, "c0", None, None), ToolCallFragment(0, None, "Box", "{}"), Finish("tool_calls")],
        [TextDelta("{}"), Finish("stop")],
    ),
    "arguments before the name": (
        [piece(0, None, '{"a"'), piece(0, "Box", ": 1}"), Finish("tool_calls")],
        [TextDelta('{"a": 1}'), Finish("stop")],
    ),
    "another name that begins alike": (
        [piece(0, "Bo"), piece(0, "tany"), piece(0, None, "{}"), Finish("tool_calls")],
        [piece(0, "Botany"), piece(0, None, "{}"), Finish("tool_calls")],
    ),
    "another name that goes on": (
        [piece(0, "Box"), piece(0, "er"), piece(0, None, "{}"), Finish("tool_calls")],
        [piece(0, "Boxer"), piece(0, None, "{}"), Finish("tool_calls")],
    ),
    "another call without a whole name": (
        [piece(0, "Bo", "{}"), Finish("tool_calls")],
        [piece(0, "Bo", "{}"), Finish("tool_calls")],
    ),
    "no arguments": (
        [piece(0, "Box"), TextDelta("Here."), Finish("tool_calls")],
        [Finish("stop")],
    ),
    "text alone": (
        [TextDelta("No"), TextDelta("."), Finish("stop")],
        [TextDelta("No"), TextDelta("."), Finish("stop")],
    ),
    "cut off": (
        [piece(0, "Box", '{"a'), Finish("length", broken_calls=[piece(0, "Box", '{"a')])],
        [TextDelta('{"a'), Finish("length")],
    ),
    "two choices": (
        [piece(0, "Box", "{}"), TextDelta("No.", 1), Finish("tool_calls"), Finish("stop", 1)],
        [TextDelta("{}"), Finish("stop"), TextDelta("No.", 1), Finish("stop", 1)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_call_becomes_the_answers_text(case):
    """Whether the events arrive together or one by one."""
    events, told = CASES[case]
    assert AnswerCall("Box").read(events) == told
    reader = AnswerCall("Box")
    assert [one for event in events for one in reader.read([event])] == told
