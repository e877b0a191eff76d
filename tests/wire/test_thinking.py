"""Reasoning in the content is told apart from the text, wherever the stream is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.wire.thinking import ThinkSplitter, with_reasoning

EXAMPLES = [
    ("<think>Hm.</think>Four.", "Hm.", "Four."),
    ("<think>\nHm.\n</think>\n\nFour.\n", "Hm.\n", "Four.\n"),
    ("  \n<think>Hm.</think>Four.", "Hm.", "Four."),
    ("<think></think>Four.", "", "Four."),
    ("<think>a </thin b</think>Four.", "a </thin b", "Four."),
    ("<think>a<think>b</think>Four.</think>", "a<think>b", "Four.</think>"),
    ("<think>never closed", "never closed", ""),
    ("<think>cut in the tag </thi", "cut in the tag </thi", ""),
    ("Four.", "", "Four."),
    ("A <think> tag is an odd thing.</think>", "", "A <think> tag is an odd thing.</think>"),
    ("<thin ice", "", "<thin ice"),
    ("<thi", "", "<thi"),
    ("  two blanks stay", "", "  two blanks stay"),
    ("", "", ""),
]


def split(pieces):
    splitter = ThinkSplitter()
    found = [part for piece in pieces for part in splitter.feed(piece)] + splitter.finish()
    assert all(text for _, text in found)
    return tuple("".join(text for kind, text in found if kind == wanted) for wanted in ("reasoning", "text"))


@pytest.mark.parametrize(("content", "reasoning", "text"), EXAMPLES)
def test_a_think_block_in_front_is_reasoning(content, reasoning, text):
    """In front alone; a tag further down belongs to the text; what is never closed is reasoning to the end."""
    assert split([content]) == (reasoning, text)


@pytest.mark.parametrize(("content", "reasoning", "text"), EXAMPLES)
def test_any_cut_gives_the_same(content, reasoning, text):
    """One character at a time, and in two at every place."""
    assert split(content) == (reasoning, text)
    for cut in range(len(content)):
        assert split([content[:cut], content[cut:]]) == (reasoning, text)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "think>", "/", "a", " ", "\n", "</th"]), max_size=12))
def test_cuts_never_matter(pieces):
    """Whatever the content, it splits as if it had come in one piece."""
    assert split(pieces) == split(["".join(pieces)])


def test_text_flows_at_once_when_no_block_is_there():
    """Nothing is held back once the beginning is known to be plain."""
    splitter = ThinkSplitter()
    assert splitter.feed("Four") == [("text", "Four")]
    assert splitter.is_plain
    assert splitter.feed(" <think>") == [("text", " <think>")]


@pytest.mark.parametrize(
    ("content", "reasoning", "replay", "sent"),
    [
        ("4", "hm", "reasoning", {"content": "4", "reasoning": "hm"}),
        ("4", "hm", "think_tags", {"content": "<think>hm</think>4"}),
        (
            [{"type": "text", "text": "4"}],
            "hm",
            "think_tags",
            {"content": [{"type": "text", "text": "<think>hm</think>"}, {"type": "text", "text": "4"}]},
        ),
        ("4", "hm", None, {"content": "4"}),
        ("4", "", "think_tags", {"content": "4"}),
    ],
)
def test_an_earlier_answer_has_its_reasoning_where_the_model_expects_it(content, reasoning, replay, sent):
    """In its own field or before the text; the given message is not changed."""
    message = {"role": "assistant", "content": content}
    assert with_reasoning(message, reasoning, replay) == {"role": "assistant", **sent}
    assert message == {"role": "assistant", "content": content}
