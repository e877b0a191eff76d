"""Structured output as the call of an additional tool, for models that do not accept tools and a response format together.

The request then has no response format: the schema becomes the parameters of a tool, and the model has to call a tool. The
arguments of a call of that tool are the answer's text. Neither the caller nor LangChain sees the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from langchain_cerebras_demo.errors import InvalidRequestError
from langchain_cerebras_demo.wire.completion import Event, Finish, TextDelta, ToolCallFragment
from langchain_cerebras_demo.wire.schemas.strict import to_strict_schema
from langchain_cerebras_demo.wire.tool_calls import join_fragments

_DESCRIPTION = "Give the final answer."


def to_call(parameters: Mapping[str, Any], model: str) -> tuple[dict[str, Any], str]:
    """Return the parameters of a request with tools without its response format, and the name of the tool that replaces it.

    No tool is added, and the name is empty, if ``tool_choice`` already decides: with ``"none"`` the tools are left out; if it
    demands a call, the answer is that call and has no format.

    Args:
        parameters: Checked parameters with ``tools`` and a ``response_format``.
        model: The model's id, for errors.

    Raises:
        InvalidRequestError: The response format has no schema, so no tool can replace it; or all tools are strict, and its
            schema cannot be.
    """
    fitted = dict(parameters)
    choice = fitted.get("tool_choice", "auto")
    if choice == "none":
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            fitted.pop(name, None)
        return fitted, ""
    response_format = fitted.pop("response_format")
    if choice != "auto":
        return fitted, ""
    wanted = response_format.get("json_schema")
    if not isinstance(wanted, Mapping):
        raise InvalidRequestError(
            f"{model} does not accept tools and response_format {response_format.get('type')!r} together: give a JSON "
            "schema, or leave one of them out. If the catalogue is out of date: check_requests=False."
        )
    functions = [tool.get("function", {}) for tool in fitted["tools"]]
    name = str(wanted.get("name") or "answer")
    while any(function.get("name") == name for function in functions):
        name += "_"
    schema = wanted.get("schema") or {"type": "object"}
    is_strict = all(function.get("strict") for function in functions)  # all tools of a request must have the same
    if is_strict and not wanted.get("strict"):
        schema = _to_strict(schema)
    answer: dict[str, Any] = {
        "name": name,
        "description": wanted.get("description") or _DESCRIPTION,
        "parameters": schema,
    }
    if is_strict:
        answer["strict"] = True
    fitted["tools"] = [*fitted["tools"], {"type": "function", "function": answer}]
    fitted["tool_choice"] = "required"
    return fitted, name


def _to_strict(schema: Any) -> dict[str, Any]:
    problem: object = f"the schema is {schema!r:.80}: give a mapping"
    if isinstance(schema, Mapping):
        try:
            return to_strict_schema(schema)
        except InvalidRequestError as error:
            problem = error
    raise InvalidRequestError(f"response_format has to be strict, because all tools of the request are: {problem}")


class AnswerCall:
    """Turns the call of the answer's tool into the answer's text. Used for one answer.

    Text beside the call is dropped: it is not part of the answer. Text is therefore held back until the answer ends.

    Args:
        name: The tool's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._answers: dict[int, int] = {}  # by choice, the index of the call that is the answer
        self._repeated: set[tuple[int, int]] = set()
        self._others: set[tuple[int, int]] = set()
        self._undecided: dict[tuple[int, int], ToolCallFragment] = {}  # calls that may still become the answer
        self._held: dict[int, list[TextDelta]] = {}
        self._text: list[str] = []

    @property
    def text(self) -> str:
        """The text of the first choice so far."""
        return "".join(self._text)

    def read(self, events: Iterable[Event]) -> list[Event]:
        """Return the events without the call, and with the answer's text."""
        told: list[Event] = []
        for event in events:
            if isinstance(event, ToolCallFragment):
                told += self._read_call(event)
            elif isinstance(event, TextDelta):
                self._held.setdefault(event.choice, []).append(event)
            elif isinstance(event, Finish):
                told += self._decide_all(event.choice)
                held = self._held.pop(event.choice, [])
                told += [self._finish(event)] if event.choice in self._answers else [*held, event]
            else:
                told.append(event)
        self._text += [event.text for event in told if isinstance(event, TextDelta) and event.choice == 0]
        return told

    def _read_call(self, piece: ToolCallFragment) -> list[Event]:
        call = piece.choice, piece.index
        if self._answers.get(piece.choice) == piece.index:
            return [TextDelta(piece.arguments, piece.choice)] if piece.arguments else []
        if call in self._repeated:
            return []
        if call in self._others:
            return [piece]
        if call in self._undecided:
            piece = join_fragments([self._undecided.pop(call), piece])
        name = piece.name or ""
        if self._name.startswith(name) and not (name == self._name and piece.arguments):
            self._undecided[call] = piece  # a name may come in pieces, and is complete when arguments follow
            return []
        return self._decide(piece)

    def _decide_all(self, choice: int) -> list[Event]:
        calls = [call for call in self._undecided if call[0] == choice]
        return [event for call in calls for event in self._decide(self._undecided.pop(call))]

    def _decide(self, piece: ToolCallFragment) -> list[Event]:
        """Return the events of a call with a complete name: the answer, the answer once more, or the call of another tool."""
        if piece.name != self._name:
            self._others.add((piece.choice, piece.index))
            return [piece]
        if piece.choice in self._answers:
            self._repeated.add((piece.choice, piece.index))
            return []
        self._answers[piece.choice] = piece.index
        return [TextDelta(piece.arguments, piece.choice)] if piece.arguments else []

    def _finish(self, finish: Finish) -> Finish:
        reason = finish.reason
        if reason == "tool_calls" and not any(choice == finish.choice for choice, _ in self._others):
            reason = "stop"
        broken = [call for call in finish.broken_calls if call.name != self._name]
        return replace(finish, reason=reason, broken_calls=broken)
