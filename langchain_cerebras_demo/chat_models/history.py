"""The rules that tie tool calls to their results across a history, kept where they can be, else refused by name.

The service's API version 2, the default since 2026-07-21 (inference-docs.cerebras.ai/api-reference/versions): every tool
call is answered by a tool message directly behind its turn, none answers an unknown call, no id stands for two calls. Its
refusals do not say which message is meant; these do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["Turn", "settle"]

Wire = dict[str, Any]
Turn = tuple[int, Wire]
"""A message in the API's form, behind its position in the history that it came from."""

# The API's pattern; models do make up names with dots and spaces in them.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def settle(turns: Sequence[Turn]) -> list[Wire]:
    """The messages of a history that keeps the rules, in the order they go out.

    Results that come late, behind a system message, move up to their calls. A call without an id is given one where just
    one result can be its answer. The messages may be changed in place.

    Raises:
        ValueError: a rule is broken; the error names message, call and remedy.
    """
    if not any("tool_calls" in wire or wire["role"] == "tool" for _, wire in turns):
        return [wire for _, wire in turns]
    callers = _callers(turns)
    settled: list[Wire] = []
    for exchange in _exchanges(turns):
        settled += _settle(exchange, callers, turns)
    return settled


def _callers(turns: Sequence[Turn]) -> dict[str, int]:
    """The id of every call and the position of the message that makes it."""
    callers: dict[str, int] = {}
    for position, wire in turns:
        for call in wire.get("tool_calls", ()):
            name = call["function"]["name"]
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"messages[{position}] calls a tool named {name!r}: the API takes names of 1 to 64 letters, digits, "
                    "_ and -, so rename the tool, in the call too"
                )
            call_id = call["id"]
            if call_id in callers:
                raise ValueError(
                    f"messages[{position}] has the tool call id {call_id!r} of messages[{callers[call_id]}] again: "
                    "send a message once, and give every call an id of its own"
                )
            if call_id:
                callers[call_id] = position
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


def _settle(exchange: list[Turn], callers: dict[str, int], turns: Sequence[Turn]) -> list[Wire]:
    position, head = exchange[0]
    calls: list[Wire] = head.get("tool_calls", [])
    results = [turn for turn in exchange if turn[1]["role"] == "tool"]
    _make_up_id(position, calls, results, callers)
    unanswered = {call["id"]: call for call in calls}
    for result_position, result in results:
        if unanswered.pop(result["tool_call_id"], None) is None:
            raise _astray(result_position, result["tool_call_id"], callers, position)
    for call in unanswered.values():
        raise _unanswered(position, call, turns)
    if not calls:
        return [wire for _, wire in exchange]
    others = [wire for _, wire in exchange[1:] if wire["role"] != "tool"]
    return [head, *(wire for _, wire in results), *others]


def _make_up_id(position: int, calls: list[Wire], results: list[Turn], callers: dict[str, int]) -> None:
    """Gives a call without an id, and the one result that can be its answer, an id: the same one every time.

    Which id a result was built with does not matter then: it answers no other call of the turn that it follows.
    """
    nameless = [call for call in calls if not call["id"]]
    if not nameless:
        return
    ids = {call["id"] for call in calls if call["id"]}
    strays = [result for _, result in results if result["tool_call_id"] not in ids]
    if len(nameless) == len(strays) == 1:
        made_up = f"call_{position}"
        while made_up in callers:
            made_up += "_"
        nameless[0]["id"] = strays[0]["tool_call_id"] = made_up
    elif strays:
        raise ValueError(
            f"messages[{position}] has tool calls without an id ({_names(nameless)}), and which of the {len(strays)} "
            "results behind it answers which is not certain: give every call an id, and its ToolMessage the same"
        )


def _names(calls: list[Wire]) -> str:
    return ", ".join(call["function"]["name"] for call in calls)


def _astray(position: int, call_id: str, callers: dict[str, int], turn_position: int) -> ValueError:
    answers = f"answers the tool call {call_id!r}" if call_id else "is a tool result without a call's id"
    place, caller = f"messages[{position}] {answers}", callers.get(call_id)
    if caller is None:
        remedy = "which no message makes: send the message that makes the call too, or leave this one out"
    elif caller == turn_position:
        remedy = f"which messages[{caller}] makes, a second time: send one result for a call"
    else:
        remedy = f"which messages[{caller}] makes, but stands apart from it: put it directly behind that message"
    return ValueError(f"{place}, {remedy}")


def _unanswered(position: int, call: Wire, turns: Sequence[Turn]) -> ValueError:
    call_id, name = call["id"], call["function"]["name"]
    apart = [place for place, wire in turns if wire["role"] == "tool" and wire["tool_call_id"] == call_id]
    remedy = (
        f"its result, messages[{apart[0]}], stands apart: put it directly behind that message"
        if apart
        else f"put a ToolMessage(…, tool_call_id={call_id!r}) there, or take the call out"
    )
    return ValueError(f"messages[{position}] calls {name!r} ({call_id!r}), and no result follows directly: {remedy}")
