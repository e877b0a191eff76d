"""Reasoning goes back to the model that had it, in the form that the model wants, and to no other."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage

from langchain_cerebras_demo.chat_models.messages import to_wire


def text(words):
    return {"type": "text", "text": words}


THOUGHT = {"additional_kwargs": {"reasoning_content": "hm"}}
OURS = {"response_metadata": {"model_provider": "cerebras"}}
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
