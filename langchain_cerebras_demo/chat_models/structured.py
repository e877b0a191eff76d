"""``with_structured_output``: the model bound to a schema, and the parser that makes values of its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, get_args

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import BaseTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable
from langchain_core.runnables.utils import AddableDict
from langchain_core.utils.function_calling import convert_to_json_schema

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.chat_models.answer_types import AnswerType, in_object, to_answer_type
from langchain_cerebras_demo.chat_models.fields import ChatFields, Method
from langchain_cerebras_demo.chat_models.readings import Reading, Wanted
from langchain_cerebras_demo.chat_models.schemas import to_response_format, to_tool


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
    """The model, bound so that it answers by a schema, and a parser behind it.

    Args:
        model: the chat model.
        schema: a pydantic class, a dataclass or an enum (answers are instances), a TypedDict or a dict such as a JSON
            schema (answers are dicts that fit it, or what else it says). ``None`` only with ``json_mode``.
        method: ``"json_schema"`` (the default where the model can): the service writes the answer by the schema.
            ``"function_calling"``: the answer is the arguments of a forced call. ``"json_mode"``: any JSON object; the
            prompt has to say which.
        include_raw: answers are ``{"raw": message, "parsed": value, "parsing_error": exception or None}``, and a bad
            answer raises nothing.
        strict: whether the service holds the answer to the schema; ``None``: yes with ``json_schema``, no with
            ``function_calling``, as the schema itself may say otherwise.
        tools: tools that the model may call instead of answering (``json_schema`` alone); the value is then ``None``.
        **kwargs: more of a call's arguments, bound as they are.

    Returns:
        A runnable. It raises ``OutputParserException`` for an answer that is cut off, empty, not valid JSON or not what the
        schema says, and ``ModelRefusalError`` for a refusal. JSON may stand in a code fence with words around it, and with
        ``function_calling`` in the text instead of the call. Streamed, the runnable yields dicts as they grow, instances
        whenever they are valid, and checks the end.

    Raises:
        ValueError: arguments that do not go together, or a schema that strict mode cannot do.
        TypeError: ``schema`` is no schema.
    """
    spec = _spec(kwargs.get("model") or model.model, model.aliases)
    chosen = method or _method(spec)
    _check_arguments(chosen, schema, strict=strict, tools=tools)
    answer_type = None if schema is None else in_object(to_answer_type(schema))
    bound: dict[str, Any] = {
        "ls_structured_output_format": {
            "kwargs": {"method": chosen, "strict": strict},
            "schema": schema if answer_type is None else _to_traced(schema, answer_type),
        },
    }
    tool_name: str | None = None
    if chosen == "function_calling":
        tool = to_tool(answer_type, strict=strict)
        tool_name = tool["function"]["name"]
        bound |= {"tool_choice": tool_name, **_one_call_at_a_time(spec), **kwargs}
        asked = model.bind_tools([tool], strict=strict, **bound)
    else:
        wanted = to_response_format(answer_type, strict=strict) if chosen == "json_schema" else {"type": "json_object"}
        bound |= {"response_format": wanted, **kwargs}
        asked = model.bind_tools(tools, strict=strict, **bound) if tools else model.bind(**bound)
    reader = Wanted(answer_type, tool_name=tool_name, may_call_tools=bool(tools))
    return asked | StructuredOutputParser(wanted=reader, include_raw=include_raw)


def default_method(name: str, aliases: Any = None) -> Method:
    """The method for a model: the service's own where the catalogue says that the model can, or does not know it.

    Args:
        name: model id or alias.
        aliases: the user's aliases, over the built-in ones.
    """
    return _method(_spec(name, aliases))


def _spec(name: str, aliases: Any) -> catalog.ModelSpec | None:
    return catalog.find_spec(catalog.AliasTable(aliases).resolve(name))


def _method(spec: catalog.ModelSpec | None) -> Method:
    return "json_schema" if spec is None or spec.structured_output else "function_calling"


def _one_call_at_a_time(spec: catalog.ModelSpec | None) -> dict[str, bool]:
    """Nobody knows what a model does with the word that makes single calls only (gpt-oss-120b): it is not told so."""
    return {} if spec is not None and spec.parallel_tool_calls is False else {"parallel_tool_calls": False}


class StructuredOutputParser(BaseTransformOutputParser[Any]):
    """Makes values of messages, whole or while they come."""

    wanted: Any
    """What the answers are to be: a ``Wanted``."""
    include_raw: bool = False
    """Whether the message comes along, and an error takes the value's place instead of being raised."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """The value of a message.

        Raises:
            OutputParserException: the answer is not what was asked for (unless ``include_raw``).
            ModelRefusalError: the model refused to answer (unless ``include_raw``).
        """
        first = result[0]
        message = first.message if isinstance(first, ChatGeneration) else AIMessage(first.text)
        reading = Reading(self.wanted)
        reading.add(message)
        if partial:
            return reading.part()
        return {"raw": message, **self._parsed(reading)} if self.include_raw else reading.whole()

    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """As ``parse_result``; there is nothing in it to wait for."""
        return self.parse_result(result, partial=partial)

    def parse(self, text: str) -> Any:
        """The value of an answer's text."""
        return self.parse_result([Generation(text=text)])

    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:  # noqa: A002 - core's name
        reading = Reading(self.wanted)
        for chunk in input:
            yield from self._read(reading, chunk)
        yield from self._end(reading)

    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:  # noqa: A002 - core's name
        reading = Reading(self.wanted)
        async for chunk in input:
            for value in self._read(reading, chunk):
                yield value
        for value in self._end(reading):
            yield value

    def _read(self, reading: Reading, chunk: str | BaseMessage) -> Iterator[Any]:
        message = AIMessage(chunk) if isinstance(chunk, str) else chunk
        reading.add(message)
        if self.include_raw:  # no parts of the value: a sum of dicts could not take them back if the end is bad
            yield AddableDict(raw=message)
        elif (part := reading.new_part()) is not None:
            yield part

    def _end(self, reading: Reading) -> Iterator[Any]:
        if self.include_raw:
            yield AddableDict(self._parsed(reading))
        elif (value := reading.whole()) is not None and value != reading.last_part:
            yield value

    def _parsed(self, reading: Reading) -> dict[str, Any]:
        try:
            return {"parsed": reading.whole(), "parsing_error": None}
        except Exception as error:  # noqa: BLE001 - a user's own validator may raise anything, and it is to be reported
            return {"parsed": None, "parsing_error": error}


def _check_arguments(method: str, schema: Any, *, strict: bool | None, tools: Sequence[Any] | None) -> None:
    if method not in get_args(Method):
        raise ValueError(f"method={method!r} is none of {', '.join(map(repr, get_args(Method)))}")
    if schema is None and method != "json_mode":
        raise ValueError(f"schema=None goes with method='json_mode' alone, not with {method!r}: give a schema")
    if strict is not None and method == "json_mode":
        raise ValueError(f"strict={strict} means nothing with method='json_mode', which sends no schema: leave it out")
    if tools and method != "json_schema":
        raise ValueError(f"tools go with method='json_schema' alone, not with {method!r}")


def _to_traced(schema: Any, answer_type: AnswerType) -> Any:
    """What LangChain's tracers convert on every call: the schema itself where their conversion can do it."""
    try:
        convert_to_json_schema(schema)
    except Exception:  # noqa: BLE001 - it raises whatever its parts do, RecursionError among them
        return {**answer_type.schema, "title": answer_type.title}
    return schema
