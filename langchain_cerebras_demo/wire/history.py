"""The rules that tie tool calls to their results across a history: kept where they can be, else refused by name.

The service's API version 2, the default since 2026-07-21 (inference-docs.cerebras.ai/api-reference/versions): every tool
call is answered by a tool message directly behind its turn, none answers an unknown call, no id stands for two calls. Its
refusals do not say which message is meant; these do. What a model did is never refused: its ids and names are made
sendable, and a call that could not be run is answered here.
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
"""A message in the API's form, behind its position in the history that it came from."""

# The API's pattern; models do make up names with dots and spaces in them.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_NAME = "unnamed"

_NOT_RUN = "The tool was not run: {}. Call it again with a valid JSON object."


def settle(turns: Sequence[Turn]) -> list[Wire]:
    """Return the messages of a history that keeps the rules, in the order they go out.

    Results that come late, behind a system message, move up to their calls. Ids that are missing or come again are replaced,
    in the call and in its result; names that the API refuses are rewritten, two different ones differently; a broken call
    without a result gets one that says so. The same history gives the same messages. They may be changed in place.

    Raises:
        InvalidRequestError: a rule is broken; the error names message, call and remedy.
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
    """Every call of the history behind the position of the message that makes it."""
    for position, wire in turns:
        for call in wire.get("tool_calls", ()):
            yield position, call


def _rename(turns: Sequence[Turn]) -> None:
    """Makes the names of tools that models made up sendable, each in the same way throughout the history."""
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
    """``wanted`` if nobody has it, else with the first free number behind it."""
    free, number = wanted, 1
    while free in taken:
        number += 1
        end = f"_{number}"
        free = wanted[: 64 - len(end)] + end
    return free


def _callers(turns: Sequence[Turn]) -> dict[str, int]:
    """The id of every call, and the position of the message that makes it first."""
    callers: dict[str, int] = {}
    for position, call in _calls(turns):
        if call["id"]:
            callers.setdefault(call["id"], position)
    return callers


def _exchanges(turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """The history in pieces, each a user's or an assistant's turn with all that follows it up to the next one."""
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
    """Ids for the calls of a history, none of them twice.

    Args:
        known: those that calls came with. The first call with one of them keeps it.
    """

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._taken: set[str] = set()
        self._times: dict[str, int] = {}

    def take(self, call_id: str | None, position: int) -> str:
        """Return the id under which a call of the message at this position goes out."""
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
    """The results by the numbers of the calls that they answer, and those that answer none.

    Of several calls with one id the first that is free is meant. Results that name none of the calls answer those without
    an id, or, if they have no id themselves, whichever are left: in their order, where there are as many of both.
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
    """The result of a call that could not be run; ``None`` for one that could."""
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
            f"messages[{position}] has tool calls without an id ({_names(nameless)}), and which of the {len(strays)} "
            "results behind it answers which is not certain: give every call an id, and its ToolMessage the same"
        )
    stray_position, stray = strays[0]
    return _astray(stray_position, stray["tool_call_id"], callers, position)


def _names(calls: list[Wire]) -> str:
    return ", ".join(call["function"]["name"] for call in calls)


def _astray(position: int, call_id: str, callers: dict[str, int], turn_position: int) -> InvalidRequestError:
    answers = f"answers the tool call {call_id!r}" if call_id else "is a tool result without a call's id"
    place, caller = f"messages[{position}] {answers}", callers.get(call_id)
    if caller is None:
        remedy = "which no message makes: send the message that makes the call too, or leave this one out"
    elif caller == turn_position:
        remedy = f"which messages[{caller}] makes, a second time: send one result for a call"
    else:
        remedy = f"which messages[{caller}] makes, but stands apart from it: put it directly behind that message"
    return InvalidRequestError(f"{place}, {remedy}")


def _unanswered(exchange: list[Turn], call: Wire, turns: Sequence[Turn]) -> InvalidRequestError:
    call_id, name = call["id"], call["function"]["name"]
    near = {place for place, _ in exchange}
    apart = [
        place
        for place, wire in turns
        if wire["role"] == "tool" and wire["tool_call_id"] == call_id and place not in near
    ]
    remedy = (
        f"its result, messages[{apart[0]}], stands apart: put it directly behind that message"
        if apart
        else f"put a ToolMessage(…, tool_call_id={call_id!r}) there, or take the call out"
    )
    return InvalidRequestError(
        f"messages[{exchange[0][0]}] calls {name!r} ({call_id!r}), and no result follows directly: {remedy}"
    )
