"""Normalizes tool calls: each gets one index, and its id and name once, however the server sends them.

Servers have been seen to send fragments by index (gpt-oss), whole calls in one delta (GLM), no index, one index for several
calls, no ids, one id for several calls, the name repeated on every delta or cut into pieces, and the old ``function_call``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from langchain_cerebras_demo.wire.repair import Halves


@dataclass(slots=True)
class ToolCallFragment:
    """A piece of a tool call: ``id`` and ``name`` on its first fragments, ``arguments`` (JSON text) on any.

    ``index`` numbers the calls of a choice from 0, in the order in which they began. A name may come in pieces. A call
    without an id from the server gets one when the answer ends.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str | None
    choice: int = 0


def read_arguments(text: str | None) -> dict[str, Any]:
    """Return the arguments in the text. Some models send no text to call a function without parameters.

    As in LangChain, line breaks within strings are allowed.

    Raises:
        ValueError: the text is not a JSON object. The message says why.
    """
    if not text:
        return {}
    try:
        arguments = json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("the arguments are nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"the arguments are not valid JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ValueError("the arguments are not a JSON object")  # noqa: TRY004 - a text that says so, not a wrong type
    return arguments


class _Piece(NamedTuple):
    """The content of one member of ``tool_calls``."""

    number: int | None
    id: str | None
    name: str | None
    arguments: str | None

    @property
    def has_arguments(self) -> bool:
        return bool(self.arguments and self.arguments.strip())


@dataclass(slots=True)
class _TrackedCall:
    """What has arrived of a call.

    ``held`` is the beginning of its arguments while it may still become ``null``, which means no arguments. ``again`` is a
    piece that only repeated the name after complete arguments: if arguments follow, it began another call. ``halves`` keeps
    half of a character until the rest arrives.
    """

    index: int
    id: str | None = None
    name: str | None = None
    texts: list[str] = field(default_factory=list)
    held: str = ""
    again: _Piece | None = None
    halves: Halves = field(default_factory=Halves)

    def is_followed_by(self, piece: _Piece) -> bool:
        """Return whether the piece begins another call, although it has this call's number."""
        if piece.id and self.id and piece.id != self.id:
            return True
        if not piece.name:
            return self.again is not None and piece.has_arguments
        brings_id = piece.id is not None and self.id is None
        if not self._has_arguments:  # the name is repeated, or comes in pieces
            return brings_id and self.name not in {None, piece.name}
        return self.name not in {None, piece.name} or (self._is_over and (piece.has_arguments or brings_id))

    def take(self, piece: _Piece, choice: int) -> ToolCallFragment:
        """Add a piece and return what is new in it."""
        fragment = ToolCallFragment(self.index, None, None, self._take_arguments(piece.arguments), choice)
        if self.id is None:
            self.id = fragment.id = piece.id
        if piece.name and piece.name != self.name:
            self.name = (self.name or "") + piece.name
            fragment.name = piece.name
        elif piece.name and self._has_arguments and self._is_over:
            self.again = piece._replace(id=piece.id or (self.again.id if self.again else None))
        return fragment

    def rest(self, made_up: str, choice: int) -> ToolCallFragment:
        """Return what remains at the end: a made-up id, if none has arrived, and what was held back."""
        fragment = ToolCallFragment(self.index, None, None, None, choice)
        if self.id is None:
            self.id = fragment.id = made_up
        self.held += self.halves.rest().get(None, "")
        if self.held.strip() not in {"", "null"}:
            self.texts.append(self.held)
            fragment.arguments, self.held = self.held, ""
        return fragment

    def _take_arguments(self, text: str | None) -> str | None:
        if text is None:
            return None
        if "\\" in text or self.halves or not text.isascii():
            text = self.halves.join_json(None, text)
        text = self.held + text
        self.held = text if not self.texts and "null".startswith(text.strip()) else ""
        if self.held:
            return ""
        if text:
            self.texts.append(text)
        return text

    @property
    def _has_arguments(self) -> bool:
        return bool(self.texts) or self.held.strip() == "null"

    @property
    def _is_over(self) -> bool:
        """Whether its arguments are complete: only white space can follow."""
        text = "".join(self.texts).rstrip()
        return not text or (text[-1] in '}]"' and _is_json(text))


@dataclass(slots=True)
class ToolCallTracker:
    """The tool calls of one choice.

    Args:
        prefix: the beginning of the ids that are made up here; it is different for every answer and choice.
    """

    prefix: str = "call_"
    calls: list[_TrackedCall] = field(default_factory=list)
    _numbered: dict[int, _TrackedCall] = field(default_factory=dict)

    def read(self, said: Mapping[str, Any], choice: int, *, is_message: bool) -> Iterator[ToolCallFragment]:
        """Yield the fragments in ``tool_calls`` of a delta or message, or else in the old ``function_call``.

        Args:
            said: the delta or the message.
            choice: the number of its choice.
            is_message: whether it is a message, in which each member is a separate call.

        Raises:
            TypeError: a call does not have the right shape.
        """
        members = said.get("tool_calls")
        if not members and (old := said.get("function_call")):
            members = [{"function": old}]
        if not isinstance(members or [], list):
            raise TypeError("the tool calls are not a list")
        for member in members or ():
            piece = _to_piece(member)
            call = None if is_message else self._known(piece.number)
            if call is None and not (piece.id or piece.name or piece.arguments):
                continue  # it is empty
            if call is None or call.is_followed_by(piece):
                again = call.again if call is not None else None
                if again is not None and piece.name in {None, again.name}:
                    piece = piece._replace(id=piece.id or again.id, name=again.name)
                call = _TrackedCall(len(self.calls))
                self.calls.append(call)
            if piece.number is not None:
                self._numbered[piece.number] = call
            fragment = call.take(piece, choice)
            if is_message:
                rest = call.rest(self._made_up_id(call), choice)
                fragment = join_fragments([fragment, rest])
            yield fragment

    def close(self, choice: int) -> Iterator[ToolCallFragment]:
        """Yield what remains at the end, such as ids for calls without one."""
        for call in self.calls:
            rest = call.rest(self._made_up_id(call), choice)
            if rest.id or rest.arguments:
                yield rest

    def broken(self, choice: int) -> list[ToolCallFragment]:
        """Return the calls whose arguments are not a JSON object, each as one fragment."""
        broken: list[ToolCallFragment] = []
        for call in self.calls:
            text = "".join(call.texts)
            try:
                read_arguments(text)
            except ValueError:
                broken.append(ToolCallFragment(call.index, call.id, call.name, text, choice))
        return broken

    def _known(self, number: int | None) -> _TrackedCall | None:
        """Return the call with this number; without a number, the call that began last."""
        if number is not None:
            return self._numbered.get(number)
        return self.calls[-1] if self.calls else None

    def _made_up_id(self, call: _TrackedCall) -> str:
        return f"{self.prefix}{call.index}"


def _to_piece(raw: Any) -> _Piece:
    """Return the content of ``raw``; an index or id that cannot be read counts as missing.

    Raises:
        TypeError: it is not an object, or its name is not a text.
    """
    if not isinstance(raw, dict):
        raise TypeError("a tool call is not an object")
    function = raw.get("function") or raw  # some servers leave out the object around name and arguments
    if not isinstance(function, dict):
        raise TypeError("the function of a tool call is not an object")
    name, call_id, number, arguments = function.get("name"), raw.get("id"), raw.get("index"), function.get("arguments")
    if not isinstance(name, str | None):
        raise TypeError("the name of a tool call is not a text")
    if type(call_id) is int:
        call_id = str(call_id)
    if (isinstance(number, str) and number.isdecimal()) or (isinstance(number, float) and number.is_integer()):
        number = int(number)
    if not isinstance(arguments, str | None):
        arguments = orjson.dumps(arguments).decode()
    return _Piece(
        number if type(number) is int else None,
        call_id if call_id and isinstance(call_id, str) else None,
        name or None,
        arguments,
    )


def join_fragments(fragments: Sequence[ToolCallFragment]) -> ToolCallFragment:
    """Return all fragments of a call as one; any of them may have the id, and the name may be in pieces."""
    first = fragments[0]
    if len(fragments) == 1:
        return first
    pieces = [fragment.arguments for fragment in fragments if fragment.arguments is not None]
    return ToolCallFragment(
        first.index,
        next((fragment.id for fragment in fragments if fragment.id), None),
        "".join(fragment.name for fragment in fragments if fragment.name) or None,
        "".join(pieces) if pieces else None,
        first.choice,
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
