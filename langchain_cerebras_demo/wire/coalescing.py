"""The deltas that one network read brought, joined: what has arrived together need not be handed out in pieces."""

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
    """The events with neighbours of one kind joined: text with text, reasoning with reasoning, fragments of one tool call.

    Nothing changes its place and nothing is left out, so whoever puts the pieces together gets the same answer. Deltas with
    log probabilities between them stay apart.
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
