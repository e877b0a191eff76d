"""Adapts a history to the service's rules for tool calls and results, or refuses it with an error that names the message.

The rules of API version 2, the default since 2026-07-21 (inference-docs.cerebras.ai/api-reference/versions): every tool
call has a tool message directly after its turn, no tool message answers an unknown call, and no two calls have the same id.
The service's own refusals do not say which message breaks a rule. What a model produced is never refused: ids and names are
changed to valid ones, and a call that could not be run gets a result here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.wire.tool_calls import read_arguments

__all__ = ["Turn", "settle"]

Wire = dict[str, Any]
Turn = tuple[int, Wire]
"""The position of a message in the original history, and the message in the API's form."""

# The API's pattern; models sometimes make up names with dots and spaces.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_NAME = "unnamed"

_NOT_RUN = "The tool was not run: {}. Call it again with a valid JSON object."


def settle(turns: Sequence[Turn]) -> list[Wire]:
    """Return the messages so that they keep the rules, in the order in which they are sent.

    Late results, such as those after a system message, are moved to their calls. Missing and duplicate ids are replaced, in
    the call and in its result. Names that the API refuses are changed, and different names stay different. An invalid call
    without a result gets one that says so. The same history always gives the same messages. They may be changed in place.

    Raises:
        InvalidRequestError: a rule is broken; the message names message, call and remedy.
    """
    if not any("tool_calls" in wire or wire["role"] == "tool" for _, wire in turns):
        return [wire for _, wire in turns]
    _rename(turns)
    callers = _callers(turns)
    ids = _Ids(set(callers))
    settled: list[Wire] = []
    for exchange in _exchanges(turns):
        settled += _settle(exchange, callers, ids, turns)
    return settled


def _calls(turns: Sequence[Turn]) -> Iterator[tuple[int, Wire]]:
    """Yield every call of the history, with the position of the message that makes it."""
    for position, wire in turns:
        for call in wire.get("tool_calls", ()):
            yield position, call


def _rename(turns: Sequence[Turn]) -> None:
    """Change tool names that models made up to valid ones, consistently throughout the history."""
    functions = [call["function"] for _, call in _calls(turns)]
    taken = {function["name"] for function in functions if _NAME.fullmatch(function["name"])}
    renamed: dict[str, str] = {}
    for function in functions:
        name = function["name"]
        if name in taken:
            continue
        if name not in renamed:
            plain = re.sub(r"[^a-zA-Z0-9_-]+", "_", name)[:64] or _NO_NAME
            renamed[name] = _unused(plain, {*taken, *renamed.values()})
        function["name"] = renamed[name]


def _unused(wanted: str, taken: set[str]) -> str:
    """Return ``wanted`` if it is not taken, else with the first free number after it."""
    free, number = wanted, 1
    while free in taken:
        number += 1
        end = f"_{number}"
        free = wanted[: 64 - len(end)] + end
    return free


def _callers(turns: Sequence[Turn]) -> dict[str, int]:
    """Return the id of every call, with the position of the first message that makes it."""
    callers: dict[str, int] = {}
    for position, call in _calls(turns):
        if call["id"]:
            callers.setdefault(call["id"], position)
    return callers


def _exchanges(turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """Yield the history in parts: each is a user's or an assistant's turn with everything up to the next one."""
    exchange: list[Turn] = []
    for turn in turns:
        if exchange and turn[1]["role"] in {"user", "assistant"}:
            yield exchange
            exchange = []
        exchange.append(turn)
    yield exchange


def _settle(exchange: list[Turn], callers: dict[str, int], ids: _Ids, turns: Sequence[Turn]) -> list[Wire]:
    position, head = exchange[0]
    calls: list[Wire] = head.get("tool_calls", [])
    results = [turn for turn in exchange if turn[1]["role"] == "tool"]
    answers, strays = _pair(calls, results)
    if strays:
        raise _ambiguous_or_astray(position, calls, answers, strays, callers)
    made_up: list[Wire] = []
    for number, call in enumerate(calls):
        result = answers.get(number)
        if result is None:
            result = _refusal(call)
            if result is None:
                raise _unanswered(exchange, call, turns)
            made_up.append(result)
        call["id"] = result["tool_call_id"] = ids.take(call["id"], position)
    if not calls:
        return [wire for _, wire in exchange]
    others = [wire for _, wire in exchange[1:] if wire["role"] != "tool"]
    return [head, *(wire for _, wire in results), *made_up, *others]


class _Ids:
    """Unique ids for the calls of a history.

    Args:
        known: the ids that calls already have. The first call with such an id keeps it.
    """

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._taken: set[str] = set()
        self._times: dict[str, int] = {}

    def take(self, call_id: str | None, position: int) -> str:
        """Return the id with which a call of the message at this position is sent."""
        final = call_id or f"call_{position}"
        while final in self._taken or (final in self._known and final != call_id):
            if call_id:
                self._times[call_id] = self._times.get(call_id, 1) + 1
                final = f"{call_id}_{self._times[call_id]}"
            else:
                final += "_"
        self._taken.add(final)
        return final


def _pair(calls: list[Wire], results: list[Turn]) -> tuple[dict[int, Wire], list[Turn]]:
    """Return the results by the numbers of the calls that they answer, and the results that answer no call.

    Of several calls with the same id, a result answers the first that has none. Results whose id is not that of a call answer
    the calls without an id, or, if the results have no ids themselves, the remaining calls: in order, if there are as many of
    both.
    """
    answers: dict[int, Wire] = {}
    strays: list[Turn] = []
    free: dict[str, list[int]] = {}
    for number, call in enumerate(calls):
        free.setdefault(call["id"] or "", []).append(number)
    for turn in results:
        numbers = free.get(turn[1]["tool_call_id"] or "", []) if turn[1]["tool_call_id"] else []
        if numbers:
            answers[numbers.pop(0)] = turn[1]
        else:
            strays.append(turn)
    left = free.get("", [])
    if len(left) != len(strays) and not any(wire["tool_call_id"] for _, wire in strays):
        left = [number for number in range(len(calls)) if number not in answers]
    if len(left) != len(strays):
        return answers, strays
    answers.update(zip(left, (wire for _, wire in strays), strict=True))
    return answers, []


def _refusal(call: Wire) -> Wire | None:
    """Return the result of a call that could not be run; ``None`` for a valid call."""
    try:
        read_arguments(call["function"]["arguments"])
    except ValueError as error:
        return {"role": "tool", "tool_call_id": call["id"], "content": _NOT_RUN.format(error)}
    return None


def _ambiguous_or_astray(
    position: int, calls: list[Wire], answers: dict[int, Wire], strays: list[Turn], callers: dict[str, int]
) -> InvalidRequestError:
    nameless = [call for number, call in enumerate(calls) if not call["id"] and number not in answers]
    if nameless:
        return InvalidRequestError(
            f"messages[{position}] has tool calls without an id ({_names(nameless)}), and it is not clear which of the "
            f"{len(strays)} results after it belongs to which: give every call an id, and its ToolMessage the same"
        )
    stray_position, stray = strays[0]
    return _astray(stray_position, stray["tool_call_id"], callers, position)


def _names(calls: list[Wire]) -> str:
    return ", ".join(call["function"]["name"] for call in calls)


def _astray(position: int, call_id: str, callers: dict[str, int], turn_position: int) -> InvalidRequestError:
    place, caller = f"messages[{position}]", callers.get(call_id)
    if not call_id:
        problem = "is a tool result without the id of a call: set its tool_call_id"
    elif caller is None:
        problem = f"answers the tool call {call_id!r}, which no message makes: add that message, or leave this one out"
    elif caller == turn_position:
        problem = f"is a second result of the tool call {call_id!r} of messages[{caller}]: send one result per call"
    else:
        problem = f"answers the tool call {call_id!r} of messages[{caller}]: move it directly after that message"
    return InvalidRequestError(f"{place} {problem}")


def _unanswered(exchange: list[Turn], call: Wire, turns: Sequence[Turn]) -> InvalidRequestError:
    call_id, name = call["id"], call["function"]["name"]
    near = {place for place, _ in exchange}
    apart = [
        place
        for place, wire in turns
        if wire["role"] == "tool" and wire["tool_call_id"] == call_id and place not in near
    ]
    remedy = (
        f"move its result, messages[{apart[0]}], there"
        if apart
        else f"add a ToolMessage(…, tool_call_id={call_id!r}) there, or remove the call"
    )
    return InvalidRequestError(
        f"messages[{exchange[0][0]}] calls {name!r} ({call_id!r}), but has no result directly after it: {remedy}"
    )
