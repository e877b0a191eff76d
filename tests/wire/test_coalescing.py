"""Joined deltas say what the single ones said."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo.wire.coalescing import coalesce
from langchain_cerebras_demo.wire.completion import (
    Finish,
    LogprobsDelta,
    ReasoningDelta,
    TextDelta,
    ToolCallFragment,
)

TEXTS = st.text(max_size=5)
CHOICES = st.integers(0, 1)
EVENTS = st.lists(
    st.one_of(
        st.builds(TextDelta, TEXTS, CHOICES),
        st.builds(ReasoningDelta, TEXTS, CHOICES),
        st.builds(LogprobsDelta, st.just([{"token": "a"}]), st.booleans(), CHOICES),
        st.builds(
            ToolCallFragment,
            st.integers(0, 2),
            st.none() | st.just("call"),
            st.none() | st.just("add"),
            st.none() | TEXTS,
            CHOICES,
        ),
        st.builds(Finish, st.just("stop"), CHOICES),
    ),
    max_size=30,
)


def place(event):
    """What tells neighbours apart: events with equal places are joined."""
    return type(event), event.choice, getattr(event, "index", None)


def letters(events):
    """Every letter with the place it belongs to, in order."""
    for event in events:
        text = event.arguments if isinstance(event, ToolCallFragment) else getattr(event, "text", None)
        yield from [(place(event), letter) for letter in text or ""] or [(place(event), None)]


@given(EVENTS)
def test_every_letter_stays_in_its_place_and_order(events):
    """Text, reasoning and arguments, put together, are the same; what is neither is the same event."""
    joined = [found for found in letters(coalesce(events)) if found[1] is not None]
    assert joined == [found for found in letters(events) if found[1] is not None]
    others = [event for event in events if isinstance(event, LogprobsDelta | Finish)]
    assert [event for event in coalesce(events) if isinstance(event, LogprobsDelta | Finish)] == others


@given(EVENTS)
def test_no_two_neighbours_of_one_kind_are_left(events):
    """One event a run of text, of reasoning, of one tool call's fragments."""
    joined = [place(event) for event in coalesce(events)]
    pairs = itertools.pairwise(joined)
    assert all(one != other for one, other in pairs if one[0] not in (LogprobsDelta, Finish))


def test_an_id_and_a_name_come_along_from_whichever_fragment_has_them():
    """And missing arguments remain missing: some functions have no parameters."""
    fragments = [
        ToolCallFragment(0, None, "add", None),
        ToolCallFragment(0, "c1", None, None),
        ToolCallFragment(1, "c2", "sub", '{"a":'),
        ToolCallFragment(1, None, None, "1}"),
    ]
    assert list(coalesce(fragments)) == [
        ToolCallFragment(0, "c1", "add", None),
        ToolCallFragment(1, "c2", "sub", '{"a":1}'),
    ]
