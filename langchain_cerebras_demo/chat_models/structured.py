"""``with_structured_output``: binds the model to a schema, and parses its answers into values."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.output_parsers import BaseTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import AddableDict
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.json import parse_json_markdown

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.chat_models.arguments import Method
from langchain_cerebras_demo.chat_models.content import REASONING_KEY
from langchain_cerebras_demo.chat_models.fields import ChatFields
from langchain_cerebras_demo.chat_models.python_types import to_answer_type
from langchain_cerebras_demo.errors import InvalidRequestError, ModelRefusalError, to_refusal
from langchain_cerebras_demo.wire.schemas.answer_type import AnswerType, in_object, to_response_format, to_tool
from langchain_cerebras_demo.wire.schemas.reading import DECODER, UnfitAnswerError, explain, fit, mended, read_json

_SHOWN_REFUSAL = 1_000
# Each partial value is parsed from the beginning of the answer. Parsing only after the answer has grown by 1/64 keeps the cost of a
# long answer below quadratic; a short answer is parsed at every chunk.
_PARTS = 64


def structured_output(
    model: ChatFields,
    /,
    schema: Any = None,
    *,
    method: Method | None = None,
    include_raw: bool = False,
    strict: bool | None = None,
    tools: Sequence[Any] | None = None,
    **kwargs: Any,
) -> Runnable[LanguageModelInput, Any]:
    """Return the model bound to a schema, followed by a parser; see ``ChatCerebrasDemo.with_structured_output``.

    The parser accepts JSON in a code fence with words around it and, with ``function_calling``, in the text instead of the
    call. If the model called one of ``tools`` instead of answering, the value is ``None``.
    """
    try:
        spec = catalog.find_spec(catalog.AliasTable(model.aliases).resolve(kwargs.get("model") or model.model))
    except (TypeError, ValueError) as error:
        raise to_refusal(error) from None
    chosen = method or ("json_schema" if spec is None or spec.structured_output else "function_calling")
    _check_arguments(chosen, schema, strict=strict, tools=tools)
    answer_type = None if schema is None else in_object(to_answer_type(schema))
    bound: dict[str, Any] = {
        "ls_structured_output_format": {
            "kwargs": {"method": chosen, "strict": strict},
            "schema": schema if answer_type is None else _to_traced(schema, answer_type),
        },
    }
    tool_name: str | None = None
    if answer_type is not None and chosen == "function_calling":
        tool = to_tool(answer_type, strict=strict)
        tool_name = tool["function"]["name"]
        # Models that are not known to support parallel calls (gpt-oss-120b) may not accept the parameter that turns them off either.
        single = {"parallel_tool_calls": False} if spec is None or spec.parallel_tool_calls else {}
        bound |= {"tool_choice": tool_name, **single, **kwargs}
        asked = model.bind_tools([tool], strict=strict, **bound)
    else:
        wanted: dict[str, Any] = {"type": "json_object"}
        if answer_type is not None and chosen == "json_schema":
            wanted = to_response_format(answer_type, strict=strict)
        bound |= {"response_format": wanted, **kwargs}
        asked = model.bind_tools(tools, strict=strict, **bound) if tools else model.bind(**bound)
    expected = ExpectedAnswer(answer_type, tool_name=tool_name, may_call_tools=bool(tools))
    return asked | StructuredOutputParser(expected=expected, include_raw=include_raw)


class StructuredOutputParser(BaseTransformOutputParser[Any]):
    """A parser that turns messages into values, complete ones or while they arrive."""

    expected: Any
    """An ``ExpectedAnswer`` that describes the answers."""
    include_raw: bool = False
    """Whether to return the message as well, and to return errors instead of raising them."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Return the value of a message.

        Raises:
            OutputParserException: The answer has no valid value (unless ``include_raw``).
            ModelRefusalError: The model refused to answer (unless ``include_raw``).
        """
        first = result[0]
        message = first.message if isinstance(first, ChatGeneration) else AIMessage(first.text)
        reader = AnswerReader(self.expected)
        reader.add(message)
        if partial:
            return reader.part()
        return {"raw": message, **self._parsed(reader)} if self.include_raw else reader.whole()

    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Return the same as ``parse_result``, which does not block."""
        return self.parse_result(result, partial=partial)

    def parse(self, text: str) -> Any:
        """Return the value of an answer's text."""
        return self.parse_result([Generation(text=text)])

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:  # noqa: A002 - core's name
        reader = AnswerReader(self.expected)
        for chunk in input:
            yield from self._parts(reader, chunk)
        yield from self._end(reader)

    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:  # noqa: A002 - core's name
        reader = AnswerReader(self.expected)
        async for chunk in input:
            for value in self._parts(reader, chunk):
                yield value
        for value in self._end(reader):
            yield value

    def _parts(self, reader: AnswerReader, chunk: str | BaseMessage) -> Iterator[Any]:
        message = AIMessage(chunk) if isinstance(chunk, str) else chunk
        reader.add(message)
        if self.include_raw:  # no partial values: a sum of dicts could not remove them if the end is invalid
            yield AddableDict(raw=message)
        elif (part := reader.new_part()) is not None:
            yield part

    def _end(self, reader: AnswerReader) -> Iterator[Any]:
        if self.include_raw:
            yield AddableDict(self._parsed(reader))
        elif (value := reader.whole()) is not None and value != reader.last_part:
            yield value

    def _parsed(self, reader: AnswerReader) -> dict[str, Any]:
        try:
            return {"parsed": reader.whole(), "parsing_error": None}
        except Exception as error:  # noqa: BLE001 - a user's own validator may raise anything, and it is reported
            return {"parsed": None, "parsing_error": error}


def _check_arguments(method: str, schema: Any, *, strict: bool | None, tools: Sequence[Any] | None) -> None:
    if method not in get_args(Method):
        raise InvalidRequestError(f"method={method!r} is not one of {', '.join(map(repr, get_args(Method)))}: use one")
    if schema is None and method != "json_mode":
        raise InvalidRequestError(f"schema=None needs method='json_mode', not {method!r}: pass a schema")
    if strict is not None and method == "json_mode":
        raise InvalidRequestError(
            f"strict={strict} has no effect with method='json_mode', which sends no schema: leave it out"
        )
    if tools and method != "json_schema":
        raise InvalidRequestError(
            f"tools need method='json_schema', not {method!r}: change the method, or leave them out"
        )


def _to_traced(schema: Any, answer_type: AnswerType) -> Any:
    """Return the schema that LangChain's tracers convert on every call: the given one, if their conversion supports it."""
    try:
        convert_to_json_schema(schema)
    except Exception:  # noqa: BLE001 - it may raise anything, such as RecursionError
        return {**answer_type.schema, "title": answer_type.title}
    return schema


# -- reading the value of an answer, complete or while it arrives


@dataclass(frozen=True)
class ExpectedAnswer:
    """A description of the expected answer.

    Attributes:
        answer_type: the type of the value; ``None`` for any JSON object.
        tool_name: the tool whose arguments are the answer; ``None`` if the answer is text.
        may_call_tools: whether the model may call a tool instead of answering; the value is then ``None``.
    """

    answer_type: AnswerType | None
    tool_name: str | None = None
    may_call_tools: bool = False


@dataclass
class _ReceivedCall:
    name: str = ""
    text: str = ""
    arguments: dict[str, Any] | None = None  # set if LangChain has parsed them

    def shown(self) -> str:
        return self.text if self.arguments is None else json.dumps(self.arguments, ensure_ascii=False)


class AnswerReader:
    """A reader of the value of one answer. ``last_part`` is the last value that ``new_part`` returned.

    Args:
        expected: a description of the answer.
    """

    def __init__(self, expected: ExpectedAnswer) -> None:
        self.last_part: Any = None
        self._expected = expected
        self._text: list[str] = []
        self._calls: dict[Any, _ReceivedCall] = {}
        self._finish_reason: str | None = None
        self._has_reasoning = False
        self._refusal: list[str] = []
        self._messages: list[BaseMessage] = []
        self._characters = 0
        self._next_characters = 0

    def add(self, message: BaseMessage) -> None:
        """Add the next chunk, or the whole message."""
        self._messages.append(message)
        self._refusal += _refusals(message)
        self._text.append(str(message.text))
        self._characters += len(self._text[-1])
        self._finish_reason = message.response_metadata.get("finish_reason") or self._finish_reason
        self._has_reasoning = self._has_reasoning or REASONING_KEY in message.additional_kwargs
        if isinstance(message, AIMessageChunk):
            for piece in message.tool_call_chunks:
                call = self._calls.setdefault(piece.get("index"), _ReceivedCall())
                call.name += piece.get("name") or ""
                call.text += piece.get("args") or ""
                self._characters += len(piece.get("args") or "")
        elif isinstance(message, AIMessage):
            for made in message.tool_calls:
                self._calls[len(self._calls)] = _ReceivedCall(made["name"], arguments=made["args"])
            for broken in message.invalid_tool_calls:
                self._calls[len(self._calls)] = _ReceivedCall(broken["name"] or "", broken["args"] or "")

    def new_part(self) -> Any:
        """Return the partial value so far if it differs from the last one, else ``None``."""
        if self._characters < self._next_characters:
            return None
        self._next_characters = self._characters + 1 + self._characters // _PARTS
        part = self.part()
        if part is None or part == self.last_part:
            return None
        self.last_part = part
        return part

    def part(self) -> Any:
        """Return the partial value so far: an instance if it is valid, or a growing dict; else ``None``."""
        call = self._expected_call()
        if call is not None and call.arguments is not None:
            decoded: Any = call.arguments
        else:
            text = "".join(self._text) if self._expected.tool_name is None else call.text if call else ""
            try:
                decoded = parse_json_markdown(text)
            except (ValueError, RecursionError):
                return None
        kind = self._expected.answer_type
        if kind is None or not kind.key:
            if not isinstance(decoded, dict):
                return None
        elif isinstance(decoded, dict) and decoded.keys() <= {kind.key}:
            decoded = decoded.get(kind.key)
        elif not isinstance(decoded, dict | list):  # prose may begin with a number
            return None
        if decoded is None or kind is None or not kind.makes_instances:
            return decoded
        try:
            return kind.from_json(decoded)
        except (ValueError, RecursionError):
            return None

    def whole(self) -> Any:
        """Return the value of the complete answer; ``None`` if the model called a tool instead, where that is allowed.

        Raises:
            ModelRefusalError: The model refused to answer, and the message quotes it; or a content filter stopped it.
            OutputParserException: The answer has no value; the message says why and how the answer begins.
        """
        if refusal := "".join(self._refusal).strip():
            shown = refusal if len(refusal) <= _SHOWN_REFUSAL else refusal[:_SHOWN_REFUSAL] + "…"
            raise ModelRefusalError(f"the model refused to answer: {shown}", raw_message=self._message())
        if self._finish_reason == "content_filter":
            raise ModelRefusalError("a content filter stopped the answer", raw_message=self._message())
        if not self._calls or not self._expected.may_call_tools:
            return self._value()
        try:  # some models repeat an earlier call together with a valid answer (vercel/ai#15349): use the answer
            return self._value()
        except OutputParserException:
            return None

    def _value(self) -> Any:
        name = self._expected.tool_name
        if name is None:
            return self._fitted(self._decoded_text())
        try:
            return self._fitted(self._decoded_call(name))
        except OutputParserException as error:
            try:  # instead of calling the tool, models sometimes write its arguments as text
                decoded = read_json("".join(self._text))
            except (ValueError, RecursionError):
                raise error from None
            if self._calls:  # a call was made, so the error is about the call
                try:
                    return self._fitted(decoded)
                except OutputParserException:
                    raise error from None
            return self._fitted(decoded, f"is {self._what()} instead of a call of {name!r}, and ")

    def _fitted(self, decoded: Any, before: str = "") -> Any:
        """Return the value of decoded JSON; an error message begins with ``before``."""
        try:
            return fit(decoded, self._expected.answer_type)
        except UnfitAnswerError as error:
            raise self._error(f"{before}{error}") from error.__cause__

    def _expected_call(self) -> _ReceivedCall | None:
        return next((call for call in self._calls.values() if call.name == self._expected.tool_name), None)

    def _decoded_call(self, name: str) -> Any:
        call = self._expected_call()
        if call is None:
            raise self._error(f"is {self._what()} instead of a call of {name!r}")
        # LangChain completes arguments that were cut off, so that such a call looks complete.
        if self._finish_reason == "length":
            raise self._error(f"is a call of {name!r} that is incomplete")
        if call.arguments is not None:
            return call.arguments
        try:
            # Some models call a function without arguments by an empty text.
            return mended(DECODER.decode(call.text or "{}"), call.text)
        except (ValueError, RecursionError) as error:
            raise self._error(f"is a call of {name!r} with arguments that are not valid JSON ({error})") from error

    def _decoded_text(self) -> Any:
        try:
            return read_json("".join(self._text))
        except UnfitAnswerError as error:
            raise self._error(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise self._error(f"is {self._what()} instead of JSON") from error

    def _message(self) -> BaseMessage:
        """Return the complete message, as without streaming."""
        first, *rest = self._messages
        chunks = [chunk for chunk in rest if isinstance(chunk, AIMessageChunk)]
        if not isinstance(first, AIMessageChunk) or len(chunks) < len(rest):
            return self._messages[-1]
        return message_chunk_to_message(add_ai_message_chunks(first, *chunks))

    def _what(self) -> str:
        names = ", ".join(repr(call.name) for call in self._calls.values())
        return f"a call of {names}" if names else "text" if "".join(self._text).strip() else "empty"

    def _error(self, problem: str) -> OutputParserException:
        text = "".join(self._text) or "".join(map(_ReceivedCall.shown, self._calls.values()))
        remedy = "raise max_tokens"
        if self._has_reasoning:
            remedy += " or lower reasoning_effort, since reasoning tokens count too"
        return OutputParserException(explain(problem, text, self._finish_reason, remedy), llm_output=text)


def _refusals(message: BaseMessage) -> list[str]:
    """Return the text of a refusal, from the places where messages may have it."""
    text = message.additional_kwargs.get("refusal")
    blocks = message.content if isinstance(message.content, list) else []
    found = [block.get("refusal") for block in blocks if isinstance(block, dict) and block.get("type") == "refusal"]
    return [one for one in ([text] if text else found) if isinstance(one, str)]
