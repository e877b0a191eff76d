"""Joins the deltas of one network read, which arrived together and so need not be returned one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

from langchain_cerebras_demo.wire.completion import ReasoningDelta, RefusalDelta, TextDelta, ToolCallFragment
from langchain_cerebras_demo.wire.tool_calls import join_fragments

_choice = attrgetter("choice")
_call = attrgetter("choice", "index")


def coalesce(events: Iterable[Any]) -> Iterator[Any]:
    """Yield the events, with neighbours of one kind joined: text, reasoning, or fragments of one tool call.

    The order does not change and nothing is left out, so the sum of the events is the same. Deltas with log probabilities
    between them are not joined.
    """
    for kind, group in groupby(events, type):
        if kind in {TextDelta, ReasoningDelta, RefusalDelta}:
            for choice, deltas in groupby(group, _choice):
                yield kind("".join([delta.text for delta in deltas]), choice)
        elif kind is ToolCallFragment:
            for _, fragments in groupby(group, _call):
                yield join_fragments(list(fragments))
        else:
            yield from group
