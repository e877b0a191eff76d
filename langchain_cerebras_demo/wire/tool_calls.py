"""Tool-call fragments in order: each call with one number, its id and its name once, whatever the server does.

Seen on the wire: fragments by index (gpt-oss), whole calls in one delta (GLM), no index at all, index 0 used again for a
second call with a new id, the name repeated on every delta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from langchain_cerebras_demo.wire.lenient import Halves


@dataclass(slots=True)
class ToolCallFragment:
    """A piece of a tool call: ``id`` and ``name`` on its first fragments, ``arguments`` (JSON text) on any.

    ``index`` numbers the calls of a choice from 0, in the order in which they began.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str | None
    choice: int = 0


@dataclass(slots=True)
class _Call:
    """What is known of a call so far; its arguments are kept in pieces, joined when somebody asks."""

    id: str | None = None
    name: str | None = None
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ToolCallTracker:
    """The tool calls of one choice."""

    calls: list[_Call] = field(default_factory=list)
    _places: dict[int | None, int] = field(default_factory=dict)
    _halves: Halves = field(default_factory=Halves)

    def add(self, raw: Mapping[str, Any], choice: int) -> ToolCallFragment:
        """The fragment that ``raw``, a member of ``tool_calls``, stands for.

        Raises:
            TypeError, AttributeError: it has not the shape of one.
        """
        function = raw.get("function") or {}
        call_id, name = raw.get("id") or None, function.get("name") or None
        number, arguments = raw.get("index"), function.get("arguments")
        if not isinstance(number, int | None) or not all(
            isinstance(word, str | None) for word in (call_id, name, arguments)
        ):
            raise TypeError("a tool call is not in the shape of one")
        index = self._place(number, call_id, name)
        call = self.calls[index]
        new_id = call_id if call.id is None else None
        new_name = name if call.name is None else None
        call.id, call.name = call.id or call_id, call.name or name
        if arguments == "null" and not call.arguments:
            arguments = ""  # how some models call a function that takes none
        if arguments and ("\\" in arguments or self._halves or not arguments.isascii()):
            arguments = self._halves.join_json(index, arguments)
        if arguments:
            call.arguments.append(arguments)
        return ToolCallFragment(index, new_id, new_name, arguments, choice)

    def rest(self, choice: int) -> list[ToolCallFragment]:
        """What was held back, as it could have become a character: at the end, or when nothing more will come."""
        fragments = []
        for index, arguments in self._halves.rest().items():
            self.calls[index].arguments.append(arguments)
            fragments.append(ToolCallFragment(index, None, None, arguments, choice))
        return fragments

    def broken(self) -> list[str]:
        """The names of the calls whose arguments are not JSON: what a cut by length leaves."""
        return [call.name or "?" for call in self.calls if call.arguments and not _is_json("".join(call.arguments))]

    def _place(self, index: int | None, call_id: str | None, name: str | None) -> int:
        place = self._places.get(index) if index is not None else self._last(call_id, name)
        if place is None or self._is_another(place, call_id):
            place = len(self.calls)
            self.calls.append(_Call())
        self._places[index] = place
        return place

    def _last(self, call_id: str | None, name: str | None) -> int | None:
        """The call that a fragment without an index continues: the last one, unless it brings a name of its own."""
        if not self.calls or (name is not None and self.calls[-1].name is not None and call_id is None):
            return None
        return len(self.calls) - 1

    def _is_another(self, place: int, call_id: str | None) -> bool:
        known = self.calls[place].id
        return call_id is not None and known is not None and call_id != known


def join_fragments(fragments: Sequence[ToolCallFragment]) -> ToolCallFragment:
    """One fragment for all of a call; the id and the name may have come on different ones."""
    first = fragments[0]
    if len(fragments) == 1:
        return first
    pieces = [fragment.arguments for fragment in fragments if fragment.arguments is not None]
    return ToolCallFragment(
        first.index,
        next((fragment.id for fragment in fragments if fragment.id), None),
        next((fragment.name for fragment in fragments if fragment.name), None),
        "".join(pieces) if pieces else None,
        first.choice,
    )


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
