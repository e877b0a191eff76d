"""Reads the value out of an answer, whole or while it comes, and says what is wrong with one that has none."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.utils.json import parse_json_markdown

from langchain_cerebras_demo.chat_models.answer_types import AnswerType
from langchain_cerebras_demo.chat_models.content import REASONING_KEY
from langchain_cerebras_demo.errors import ModelRefusalError
from langchain_cerebras_demo.wire.lenient import mend_all

_SHOWN_CHARACTERS = 200
_SHOWN_REFUSAL = 1_000
# Every part is read from the beginning of the answer. Reading again only when 1/64 has been added keeps a long answer
# from costing the square of its length; a short one is read at every chunk.
_PARTS = 64

_DECODER = json.JSONDecoder(strict=False)  # a line break within a string is no reason to refuse an answer
_FENCE = re.compile(r"(?P<fence>`{3,}|~{3,})(?:[A-Za-z][\w.+-]*)?\s*")


@dataclass(frozen=True)
class Wanted:
    """What an answer is to be.

    Attributes:
        answer_type: its kind; ``None`` for any JSON object.
        tool_name: the tool whose arguments are the answer; ``None`` where the answer is the text.
        may_call_tools: the model may call a tool instead of answering, which is the value ``None``.
    """

    answer_type: AnswerType | None
    tool_name: str | None = None
    may_call_tools: bool = False


@dataclass
class _Call:
    name: str = ""
    text: str = ""
    arguments: dict[str, Any] | None = None  # where LangChain has read them already

    def shown(self) -> str:
        return self.text if self.arguments is None else json.dumps(self.arguments, ensure_ascii=False)


class Reading:
    """One answer as far as it has come. ``last_part`` is what ``new_part`` gave last.

    Args:
        wanted: what it is to be.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.last_part: Any = None
        self._wanted = wanted
        self._text: list[str] = []
        self._calls: dict[Any, _Call] = {}
        self._finish_reason: str | None = None
        self._has_reasoning = False
        self._refusal: list[str] = []
        self._messages: list[BaseMessage] = []
        self._characters = 0
        self._next_characters = 0

    def add(self, message: BaseMessage) -> None:
        """Takes the next chunk, or the whole message."""
        self._messages.append(message)
        self._refusal += _refusals(message)
        self._text.append(str(message.text))
        self._characters += len(self._text[-1])
        self._finish_reason = message.response_metadata.get("finish_reason") or self._finish_reason
        self._has_reasoning = self._has_reasoning or REASONING_KEY in message.additional_kwargs
        if isinstance(message, AIMessageChunk):
            for piece in message.tool_call_chunks:
                call = self._calls.setdefault(piece.get("index"), _Call())
                call.name += piece.get("name") or ""
                call.text += piece.get("args") or ""
                self._characters += len(piece.get("args") or "")
        elif isinstance(message, AIMessage):
            for made in message.tool_calls:
                self._calls[len(self._calls)] = _Call(made["name"], arguments=made["args"])
            for broken in message.invalid_tool_calls:
                self._calls[len(self._calls)] = _Call(broken["name"] or "", broken["args"] or "")

    def new_part(self) -> Any:
        """The value of what has come, if there is another than the last one; else ``None``."""
        if self._characters < self._next_characters:
            return None
        self._next_characters = self._characters + 1 + self._characters // _PARTS
        part = self.part()
        if part is None or part == self.last_part:
            return None
        self.last_part = part
        return part

    def part(self) -> Any:
        """The value of what has come, as far as it is one: instances when they are valid, dicts as they grow."""
        call = self._wanted_call()
        if call is not None and call.arguments is not None:
            decoded: Any = call.arguments
        else:
            text = "".join(self._text) if self._wanted.tool_name is None else call.text if call else ""
            try:
                decoded = parse_json_markdown(text)
            except (ValueError, RecursionError):
                return None
        kind = self._wanted.answer_type
        if kind is None or not kind.key:
            if not isinstance(decoded, dict):
                return None
        elif isinstance(decoded, dict) and decoded.keys() <= {kind.key}:
            decoded = decoded.get(kind.key)
        elif not isinstance(decoded, dict | list):  # what prose begins with may be a number
            return None
        if decoded is None or kind is None or not kind.makes_instances:
            return decoded
        try:
            return kind.from_json(decoded)
        except (ValueError, RecursionError):
            return None

    def whole(self) -> Any:
        """The value of the whole answer; ``None`` where the model called a tool, as it may.

        Raises:
            ModelRefusalError: the model refused to answer. The message has its words.
            OutputParserException: it has none. The message says why and how the answer begins.
        """
        if refusal := "".join(self._refusal).strip():
            shown = refusal if len(refusal) <= _SHOWN_REFUSAL else refusal[:_SHOWN_REFUSAL] + "…"
            raise ModelRefusalError(f"the model refused to answer: {shown}", raw_message=self._message())
        if not self._calls or not self._wanted.may_call_tools:
            return self._value()
        try:  # some models repeat an earlier call beside a good answer (vercel/ai#15349): then the answer counts
            return self._value()
        except OutputParserException:
            return None

    def _value(self) -> Any:
        name = self._wanted.tool_name
        if name is None:
            return self._fitted(self._decoded_text())
        try:
            return self._fitted(self._decoded_call(name))
        except OutputParserException as error:
            try:  # models that were told to call the tool write the arguments as text now and then
                decoded = _read_json("".join(self._text))
            except (ValueError, RecursionError):
                raise error from None
            if self._calls:  # a call was made, and it is what has to be told of
                return self._fitted_or(decoded, error)
            return self._fitted(decoded, f"is {self._what()} instead of a call of {name!r}, and ")

    def _fitted_or(self, decoded: Any, error: OutputParserException) -> Any:
        try:
            return self._fitted(decoded)
        except OutputParserException:
            raise error from None

    def _fitted(self, decoded: Any, before: str = "") -> Any:
        """The value that decoded JSON stands for. ``before``: what is to be said ahead of what is wrong with it."""
        kind = self._wanted.answer_type
        if not isinstance(decoded, dict) and (kind is None or not kind.key):
            raise self._error(f"{before}is JSON, but no object")
        try:
            return decoded if kind is None else kind.from_json(decoded)
        except RecursionError as error:
            raise self._error(f"{before}is nested too deeply to be checked") from error
        except ValueError as error:
            title = kind.title if kind else ""
            raise self._error(f"{before}does not fit {title!r}: {error}") from error

    def _wanted_call(self) -> _Call | None:
        return next((call for call in self._calls.values() if call.name == self._wanted.tool_name), None)

    def _decoded_call(self, name: str) -> Any:
        call = self._wanted_call()
        if call is None:
            raise self._error(f"is {self._what()} instead of a call of {name!r}")
        # LangChain closes what was cut off, so that a call with half of its arguments looks whole by now.
        if self._finish_reason == "length":
            raise self._error(f"is a call of {name!r} that is not whole")
        if call.arguments is not None:
            return call.arguments
        try:
            return _mended(
                _DECODER.decode(call.text or "{}"), call.text
            )  # how some models call a function without arguments
        except (ValueError, RecursionError) as error:
            raise self._error(f"is a call of {name!r} with arguments that are no JSON ({error})") from error

    def _decoded_text(self) -> Any:
        try:
            return _read_json("".join(self._text))
        except _SeveralValuesError as error:
            raise self._error(f"is text with {error}") from error
        except (ValueError, RecursionError) as error:
            raise self._error(f"is {self._what()} instead of JSON") from error

    def _message(self) -> BaseMessage:
        """The whole message, as it would have come unstreamed."""
        first, *rest = self._messages
        chunks = [chunk for chunk in rest if isinstance(chunk, AIMessageChunk)]
        if not isinstance(first, AIMessageChunk) or len(chunks) < len(rest):
            return self._messages[-1]
        return message_chunk_to_message(add_ai_message_chunks(first, *chunks))

    def _what(self) -> str:
        names = ", ".join(repr(call.name) for call in self._calls.values())
        return f"a call of {names}" if names else "text" if "".join(self._text).strip() else "empty"

    def _error(self, problem: str) -> OutputParserException:
        text = "".join(self._text) or "".join(map(_Call.shown, self._calls.values()))
        shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
        begins = f" It begins: {shown!r}." if shown.strip() else ""
        return OutputParserException(f"the answer {problem}.{begins}{self._why()}", llm_output=text)

    def _why(self) -> str:
        if self._finish_reason == "length":
            remedy = " or lower reasoning_effort, since the reasoning counts too" if self._has_reasoning else ""
            return f" It was cut off at its limit of tokens (finish_reason 'length'): raise max_tokens{remedy}."
        if self._finish_reason == "content_filter":
            return " The service withheld it (finish_reason 'content_filter')."
        return ""


class _SeveralValuesError(ValueError):
    """Which of several values is the answer, nobody can tell."""


def _read_json(text: str) -> Any:
    """The JSON value that a text is, or the one in a code fence within it; half of a character in it becomes U+FFFD.

    Raises:
        ValueError: it is neither. ``_SeveralValuesError``: fences with different values.
        RecursionError: it is nested too deeply.
    """
    try:
        return _mended(parse_json_markdown(text, parser=_DECODER.decode), text)
    except ValueError:
        values = _fenced_values(text)
        if not values:
            raise
    if any(value != values[0] for value in values):
        raise _SeveralValuesError(f"{len(values)} JSON values in code fences, which differ")
    return _mended(values[0], text)


def _mended(value: Any, text: str) -> Any:
    """``value`` with no half of a character in it; only an escape in the ``text`` that it was read from can hold one."""
    return mend_all(value) if "\\u" in text else value


def _fenced_values(text: str) -> list[Any]:
    """The JSON values that fill a code fence, by reading JSON: a string in it may hold a fence itself."""
    values, place = [], 0
    while opening := _FENCE.search(text, place):
        place = opening.end()
        try:
            value, end = _DECODER.raw_decode(text, place)
        except ValueError:
            continue
        rest = text[end:].lstrip()
        if not rest or rest.startswith(opening["fence"]):
            values.append(value)
            place = len(text) - len(rest) + len(opening["fence"])
    return values


def _refusals(message: BaseMessage) -> list[str]:
    """The words of a refusal, wherever a message keeps them."""
    text = message.additional_kwargs.get("refusal")
    blocks = message.content if isinstance(message.content, list) else []
    found = [block.get("refusal") for block in blocks if isinstance(block, dict) and block.get("type") == "refusal"]
    return [one for one in ([text] if text else found) if isinstance(one, str)]
