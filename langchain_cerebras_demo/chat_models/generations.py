"""Conversion of an answer's events to LangChain's chunks and messages, with the same content with and without streaming."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from operator import attrgetter
from typing import Any

import orjson
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.outputs.chat_generation import merge_chat_generation_chunks
from langchain_core.utils.json import parse_partial_json

from langchain_cerebras_demo.chat_models.content import REASONING_KEY, REFUSAL_KEY
from langchain_cerebras_demo.chat_models.templates import AnswerTemplate, ChunkTemplate
from langchain_cerebras_demo.client.user_code import user_stacklevel
from langchain_cerebras_demo.errors import APIError
from langchain_cerebras_demo.records import CallRecord
from langchain_cerebras_demo.wire.coalescing import coalesce
from langchain_cerebras_demo.wire.completion import (
    Event,
    Finish,
    Identity,
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallFragment,
    Usage,
)
from langchain_cerebras_demo.wire.tool_calls import read_arguments

# Appended to incomplete JSON, one of these closes a bracket that is not open, wherever the text ends: in an object, in a list,
# within a string, after a backslash. LangChain does not complete such a text to an object.
_STRAY_ENDS = ("", "]", "}", '"]', '"}', '\\"]', '\\"}')

# What differs between two answers goes here, into a list of one dict: LangChain's merge joins lists, but raises TypeError for floats
# and booleans that differ, adds up integers and joins texts.
CALLS_KEY = "calls"

# LangChain's names for how an answer ended, in ``normalized_finish_reason`` (langchain-core 1.8.4).
_NORMALIZED = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "content_filter": "refusal",
}

# The keys that tracers look for in a generation's ``generation_info``.
_INFO = ("finish_reason", "model_name", "id", "system_fingerprint", "service_tier")

_FIGURES = ("request_id", "attempts", "ttft", "tokens_per_second", "time_info", "estimated_cost_usd")


@dataclass(frozen=True)
class Origin:
    """The origin of an answer.

    Args:
        provider: the ``model_provider`` of its messages.
        call_ids: the ids of its tool calls by index, filled as they arrive.
    """

    provider: str
    call_ids: dict[int, str] = field(default_factory=dict)


class TruncatedAnswerWarning(UserWarning):
    """A warning about an answer that ended at its token limit and could be mistaken for a complete one."""


_chunks_of = lru_cache(ChunkTemplate)
_answers_of = lru_cache(AnswerTemplate)


def to_chunks(
    events: Sequence[Event | CallRecord], origin: Origin, *, is_coalesced: bool = False
) -> Iterator[ChatGenerationChunk]:
    """Yield one chunk for each delta, and a chunk marked as the last one for how the answer ended.

    Args:
        events: the events of one network read.
        origin: the origin of the answer.
        is_coalesced: whether adjacent deltas of the same kind become one chunk.
    """
    make = _chunks_of(origin.provider).copy
    ending: list[Event | CallRecord] = []
    for event in coalesce(events) if is_coalesced and len(events) > 1 else events:
        if isinstance(event, TextDelta):
            yield make(event.text)
        elif isinstance(event, ReasoningDelta):
            yield make(additional_kwargs={REASONING_KEY: event.text})
        elif isinstance(event, RefusalDelta):
            yield make(additional_kwargs={REFUSAL_KEY: event.text})
        elif isinstance(event, ToolCallFragment):
            yield make(**_to_tool_call_fields(event, origin.call_ids))
        elif isinstance(event, LogprobsDelta):
            yield make(response_metadata={"model_provider": origin.provider, **_to_logprobs([event])})
        else:
            ending.append(event)
    broken = [call for event in ending if isinstance(event, Finish) for call in event.broken_calls]
    if seals := _to_seals(broken):
        yield make(tool_call_chunks=seals)
    if ending:
        yield _last_chunk(ending, origin)


def to_result(events: Sequence[Event | CallRecord], origin: Origin) -> ChatResult:
    """Return the whole answer: one generation for each choice, with the content and metadata of a stream's merged chunks."""
    choices = sorted({event.choice for event in events if isinstance(event, Finish)}) or [0]
    generations = [_to_generation(events, choice, origin) for choice in choices]
    metadata = generations[0].message.response_metadata
    llm_output = {key: metadata[key] for key in ("token_usage", "model_provider", *_INFO[1:]) if key in metadata}
    return ChatResult(generations=generations, llm_output=llm_output)


def combine_outputs(outputs: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return the ``llm_output`` of several prompts: the sum of their tokens, and the other values that are equal for all."""
    first, *others = [output for output in outputs if output] or [{}]
    combined = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    if usage := first.get("token_usage"):
        combined["token_usage"] = reduce(_add_counts, [other.get("token_usage") or {} for other in others], usage)
    return combined


def _add_counts(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    total = dict(left)
    for name, count in right.items():
        if isinstance(count, Mapping):
            total[name] = _add_counts(total.get(name, {}), count)
        else:
            total[name] = total.get(name, 0) + count
    return total


def without_calls(generations: Iterable[ChatGeneration]) -> list[ChatGeneration]:
    """Return answers from a cache without the figures of the calls that first produced them."""
    kept: list[ChatGeneration] = []
    for generation in generations:
        metadata = dict(generation.message.response_metadata)
        if metadata.pop(CALLS_KEY, None) is not None:
            # A copy, because an in-memory cache holds the same message object that the first caller got.
            message = generation.message.model_copy(update={"response_metadata": metadata})
            generation = generation.model_copy(update={"message": message})  # noqa: PLW2901 - a modified copy
        kept.append(generation)
    return kept


def set_partial(error: APIError, sent: Sequence[ChatGenerationChunk]) -> None:
    """Set ``error.partial`` to the merged message of the chunks that were sent before it."""
    merged = merge_chat_generation_chunks(list(sent))
    error.partial = merged.message if merged and isinstance(merged.message, AIMessageChunk) else None
    if error.partial is not None:
        check_calls(error.partial)


def check_calls(message: AIMessageChunk) -> None:
    """Mark the incomplete tool calls of an incomplete answer as invalid: LangChain's merge completes their JSON."""
    if not message.tool_call_chunks:
        return
    calls: list[Any] = []
    invalid_calls: list[Any] = []
    for half in message.tool_call_chunks:
        _add_tool_call(ToolCallFragment(0, half["id"], half["name"], half["args"]), calls, invalid_calls)
    message.tool_calls, message.invalid_tool_calls = calls, invalid_calls


def _to_tool_call_fields(event: ToolCallFragment, call_ids: dict[int, str]) -> dict[str, Any]:
    # Every fragment has the id: when several answers are added, LangChain distinguishes calls of the same index by their ids.
    if event.id:
        call_ids[event.index] = event.id
    call_id = call_ids.get(event.index)
    # AIMessageChunk's constructor would parse every fragment as if it were a complete call: 1 ms for 100 characters.
    fields: dict[str, Any] = {
        "tool_call_chunks": [tool_call_chunk(name=event.name, args=event.arguments, id=call_id, index=event.index)]
    }
    if event.name:  # the same as the constructor would set for a call that begins, or is complete
        fields["tool_calls"] = [tool_call(name=event.name, args=_to_arguments(event.arguments), id=call_id)]
    return fields


def _to_arguments(text: str | None) -> dict[str, Any]:
    """Return the arguments if they are complete, else an empty dict."""
    try:
        arguments = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _to_seals(broken: Iterable[ToolCallFragment]) -> list[ToolCallChunk]:
    """Return fragments that keep incomplete calls invalid.

    When chunks are added, LangChain closes the brackets of arguments that were cut off, and a tool would run with them. Appending
    a bracket that does not match prevents that.
    """
    ends = [(call, _stray_end(call.arguments or "")) for call in broken]
    return [tool_call_chunk(name=None, args=end, id=call.id, index=call.index) for call, end in ends if end]


def _stray_end(arguments: str) -> str:
    for end in _STRAY_ENDS:
        try:
            mended = parse_partial_json(arguments + end)
        except (ValueError, RecursionError):
            return end
        if not isinstance(mended, dict):
            return end
    return ""


def _last_chunk(ending: Sequence[Event | CallRecord], origin: Origin) -> ChatGenerationChunk:
    """Return the chunk with finish reason, identity, usage and figures, which must occur once: LangChain's merge adds them."""
    mine = _by_type(ending, 0)
    _warn_of_cut(mine[Finish], is_streamed=True)
    metadata = _to_metadata(mine, 0, origin, has_calls=bool(origin.call_ids))
    message = AIMessageChunk(
        content="",
        response_metadata=metadata,
        usage_metadata=_to_usage_metadata(mine[Usage]),
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message, generation_info=_to_info(metadata))


def _to_generation(events: Sequence[Event | CallRecord], choice: int, origin: Origin) -> ChatGeneration:
    mine = _by_type(events, choice)
    _warn_of_cut(mine[Finish], is_streamed=False)
    metadata = _to_metadata(mine, choice, origin, has_calls=bool(mine[ToolCallFragment]))
    logprobs = _to_logprobs(mine[LogprobsDelta])
    metadata.update(logprobs)
    more: dict[str, Any] = {}
    for key, kind in ((REASONING_KEY, ReasoningDelta), (REFUSAL_KEY, RefusalDelta)):
        if text := _join(mine[kind]):
            more[key] = text
    tool_calls: list[Any] = []
    invalid_tool_calls: list[Any] = []
    if fragments := mine[ToolCallFragment]:
        for call in coalesce(sorted(fragments, key=attrgetter("index"))):
            _add_tool_call(call, tool_calls, invalid_tool_calls)
    return _answers_of(origin.provider).copy(
        _join(mine[TextDelta]),
        {**_to_info(metadata), **logprobs},
        additional_kwargs=more,
        response_metadata=metadata,
        usage_metadata=_to_usage_metadata(mine[Usage]) if choice == 0 else None,  # it counts all choices together
        tool_calls=tool_calls,
        invalid_tool_calls=invalid_tool_calls,
    )


def _by_type(events: Iterable[Event | CallRecord], choice: int) -> defaultdict[type, list[Any]]:
    """Return the events of a choice, and those that concern all choices, by their types."""
    found: defaultdict[type, list[Any]] = defaultdict(list)
    for event in events:
        if getattr(event, "choice", choice) == choice:
            found[type(event)].append(event)
    return found


def _join(deltas: Sequence[TextDelta | ReasoningDelta | RefusalDelta]) -> str:
    return deltas[0].text if len(deltas) == 1 else "".join([delta.text for delta in deltas])


def _to_info(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metadata[key] for key in _INFO if metadata.get(key) is not None}


def _warn_of_cut(finishes: Iterable[Finish], *, is_streamed: bool) -> None:
    """Warn about an answer that was cut off (``finish_reason: length``) and could be mistaken for complete.

    A merged stream does not say why a tool call is invalid, so streams (``is_streamed``) also warn about that.
    """
    for finish in finishes:
        if finish.reason != "length":
            continue
        if finish.broken_calls and is_streamed:
            names = ", ".join(call.name or "?" for call in finish.broken_calls)
            warnings.warn(
                f"the arguments of the tool call {names} were cut off at the token limit: it is in invalid_tool_calls and must "
                "not be run; raise max_tokens",
                TruncatedAnswerWarning,
                stacklevel=user_stacklevel(),
            )
        if finish.is_silent:
            warnings.warn(
                "all tokens were used for reasoning and none for the answer: raise max_tokens or lower reasoning_effort",
                TruncatedAnswerWarning,
                stacklevel=user_stacklevel(),
            )


def _add_tool_call(call: ToolCallFragment, tool_calls: list[Any], invalid_tool_calls: list[Any]) -> None:
    try:
        arguments = read_arguments(call.arguments)
    except ValueError as error:
        invalid_tool_calls.append(invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=str(error)))
    else:
        tool_calls.append(tool_call(name=call.name or "", args=arguments, id=call.id))


def _to_metadata(
    events: Mapping[type, Sequence[Any]], choice: int, origin: Origin, *, has_calls: bool
) -> dict[str, Any]:
    """Return the ``response_metadata``.

    Args:
        events: the events of the choice, and those that concern all choices, by their types.
        choice: the choice.
        origin: the origin of the answer.
        has_calls: whether the choice has tool calls.
    """
    said: dict[str, Any] = {}
    for finish in events[Finish]:
        said["finish_reason"] = finish.reason
        if normalized := _to_normalized(finish, has_calls=has_calls):
            said["normalized_finish_reason"] = normalized
    for identity in events[Identity]:
        named = {
            "model_name": identity.model,
            "id": identity.id,
            "system_fingerprint": identity.system_fingerprint,
            "service_tier": identity.service_tier,
        }
        said.update({key: value for key, value in named.items() if value is not None})
    metadata = {"model_provider": origin.provider, **said}
    for usage in events[Usage] if choice == 0 else ():  # it counts all choices together
        metadata["token_usage"] = _to_token_usage(usage)
    for record in events[CallRecord]:
        metadata[CALLS_KEY] = [{**said, **_to_figures(record, choice)}]
    return metadata


def _to_normalized(finish: Finish, *, has_calls: bool) -> str | None:
    """Return LangChain's name for how an answer ended, corrected as LangChain does; ``None`` if it has none."""
    if finish.is_refusal:
        return "refusal"
    normalized = _NORMALIZED.get(finish.reason or "")
    return "tool_call" if normalized == "stop" and has_calls else normalized


def _to_token_usage(usage: Usage) -> dict[str, Any]:
    """Return the counts under the API's names, which some tracers read."""
    details = {
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "image_tokens": usage.image_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "accepted_prediction_tokens": usage.accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.rejected_prediction_tokens,
        },
    }
    counts: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    for name, group in details.items():
        if reported := {key: count for key, count in group.items() if count is not None}:
            counts[name] = reported
    return counts


def _to_figures(record: CallRecord, choice: int) -> dict[str, Any]:
    figures = {name: getattr(record, name) for name in _FIGURES}
    if figures["time_info"] is not None:
        figures["time_info"] = dict(figures["time_info"])  # a copy for the message
    if choice:
        del figures["estimated_cost_usd"]  # the cost of all choices is on the first
    return {name: value for name, value in figures.items() if value is not None}


def _to_logprobs(events: Iterable[LogprobsDelta]) -> dict[str, Any]:
    logprobs: dict[str, Any] = {}
    for event in events:
        key = "reasoning_logprobs" if event.of_reasoning else "logprobs"
        logprobs.setdefault(key, {"content": []})["content"].extend(event.tokens)
    return logprobs


def _to_usage_metadata(reported: Sequence[Usage]) -> UsageMetadata | None:
    if not reported:
        return None
    usage = reported[0]
    metadata = UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )
    of_input: dict[str, int | None] = {"cache_read": usage.cached_tokens, "image": usage.image_tokens}
    of_output: dict[str, int | None] = {
        "reasoning": usage.reasoning_tokens,
        "accepted_prediction": usage.accepted_prediction_tokens,
        "rejected_prediction": usage.rejected_prediction_tokens,
    }
    # Counts of zero are kept; counts that were not reported are omitted.
    if kept := {key: count for key, count in of_input.items() if count is not None}:
        metadata["input_token_details"] = InputTokenDetails(**kept)  # type: ignore[typeddict-item]  # extra keys allowed
    if kept := {key: count for key, count in of_output.items() if count is not None}:
        metadata["output_token_details"] = OutputTokenDetails(**kept)  # type: ignore[typeddict-item]  # extra keys allowed
    return metadata
