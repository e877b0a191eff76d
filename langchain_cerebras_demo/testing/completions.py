"""A finished answer, and its two forms: one ``chat.completion`` or several ``chat.completion.chunk``.

Both forms are made from one ``Completion``, so they always have the same text, reasoning, calls and usage. The places of
the keys, and which of them are omitted, are as recorded from the real API (2026-04 to 2026-08).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_cerebras_demo.testing.models import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


TOKENS_A_DELTA = 4  # the service sends several tokens a chunk, whole phrases


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call in an answer; ``arguments`` is JSON text, or the rest of it if the answer was cut."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of an answer; ``deltas`` are the exact deltas of a stream, if a script gives them."""

    content: str | None = None
    reasoning: str | None = None
    calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    deltas: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. ``top_logprobs`` is the number of alternatives for each token; ``None`` = no log probabilities."""

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Mapping[str, Any]
    time_info: Mapping[str, float]
    sends_whole_calls: bool = False
    top_logprobs: int | None = None

    def frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what every chunk, and the whole answer, has around its choices."""
        fingerprint = f"fp_{sum(self.model.encode()):020x}"
        return {
            "id": self.id,
            "choices": choices,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": fingerprint,
            "object": kind,
        }

    def ending(self) -> dict[str, Any]:
        """Return what the whole answer and the last chunk contain in addition."""
        return {"usage": dict(self.usage), "time_info": dict(self.time_info)}


def to_completion(answer: Completion) -> dict[str, Any]:
    """Return the answer as one ``chat.completion``. ``content`` is left out if there is none, as in the real API."""
    choices = []
    for index, choice in enumerate(answer.choices):
        message: dict[str, Any] = {"role": "assistant"}
        if choice.content is not None:
            message["content"] = choice.content
        if choice.reasoning is not None:
            message["reasoning"] = choice.reasoning
        if choice.calls:
            message["tool_calls"] = [to_call(call) for call in choice.calls]
        row = {"finish_reason": choice.finish_reason, "index": index, "message": message}
        choices.append(row | logprobs_of(answer, choice.content, choice.reasoning))
    return answer.frame("chat.completion", choices) | answer.ending()


def to_call(call: ToolCall) -> dict[str, Any]:
    """A call of a whole answer; it has no ``index``."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def to_chunks(answer: Completion) -> list[dict[str, Any]]:
    """Return the answer as the chunks of a stream, without ``[DONE]``; usage and timing are in the last one."""
    rows = [list(choice_rows(answer, index, choice)) for index, choice in enumerate(answer.choices)]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*rows))
    chunks = [answer.frame("chat.completion.chunk", [row]) for row in turns if row is not None]
    chunks[-1] |= answer.ending()
    return chunks


def choice_rows(answer: Completion, index: int, choice: Choice) -> Iterator[dict[str, Any]]:
    """Yield the ``choices`` entry of each chunk of one choice."""
    deltas = choice.deltas if choice.deltas is not None else derived_deltas(answer, choice)
    for delta in deltas:
        row = {"delta": dict(delta), "index": index}
        yield row | logprobs_of(answer, delta.get("content"), delta.get("reasoning"))
    yield {"delta": {}, "finish_reason": choice.finish_reason, "index": index}


def derived_deltas(answer: Completion, choice: Choice) -> Iterator[dict[str, Any]]:
    """Yield the deltas of role, reasoning, content and calls, in this order, as in the real API."""
    yield {"role": "assistant"}
    for key, text in (("reasoning", choice.reasoning), ("content", choice.content)):
        for phrase in phrases(text or ""):
            yield {key: phrase}
    for index, call in enumerate(choice.calls):
        if answer.sends_whole_calls:
            yield {"tool_calls": [{"index": index, **to_call(call)}]}
            continue
        # gpt-oss: name and id first, with empty arguments; then only index, type and text of the arguments
        yield {"tool_calls": [{"index": index, **to_call(ToolCall(call.id, call.name, ""))}]}
        for phrase in phrases(call.arguments):
            yield {"tool_calls": [{"index": index, "type": "function", "function": {"arguments": phrase}}]}


def phrases(text: str) -> Iterator[str]:
    """Yield a text in the pieces of its deltas."""
    tokens = pieces(text)
    for start in range(0, len(tokens), TOKENS_A_DELTA):
        yield "".join(tokens[start : start + TOKENS_A_DELTA])


def logprobs_of(answer: Completion, content: str | None, reasoning: str | None) -> dict[str, Any]:
    """Return the log probabilities of one choice or delta; reasoning apart from content (version 2)."""
    if answer.top_logprobs is None:
        return {}
    found: dict[str, Any] = {}
    for key, text in (("logprobs", content), ("reasoning_logprobs", reasoning)):
        if text:
            rows = [logprob(token, answer.top_logprobs) for token in pieces(text)]
            found[key] = {"content": rows, "refusal": None}
    return found


def logprob(token: str, alternatives: int) -> dict[str, Any]:
    """Return one token's entry: a number that depends only on the token, and made-up alternatives below it."""
    value = -round(1 / (1 + len(token)), 4)
    tops = [(token, value), *((f"{token}{n}", round(value - n, 4)) for n in range(1, alternatives))]
    return {
        "token": token,
        "logprob": value,
        "bytes": list(token.encode()),
        "top_logprobs": [
            {"token": text, "logprob": number, "bytes": list(text.encode())} for text, number in tops[:alternatives]
        ],
    }


def merged(deltas: tuple[Mapping[str, Any], ...]) -> Choice:
    """Return the sum of explicit deltas, for a request that is not streamed."""
    texts: dict[str, str] = {}
    calls: dict[int, dict[str, str]] = {}
    for delta in deltas:
        for key in ("content", "reasoning"):
            if delta.get(key) is not None:
                texts[key] = texts.get(key, "") + delta[key]
        for part in delta.get("tool_calls") or ():
            call = calls.setdefault(part.get("index", 0), {"id": "", "name": "", "arguments": ""})
            function = part.get("function") or {}
            call["id"] = part.get("id") or call["id"]
            call["name"] = function.get("name") or call["name"]
            call["arguments"] += function.get("arguments") or ""
    return Choice(texts.get("content"), texts.get("reasoning"), tuple(ToolCall(**calls[key]) for key in sorted(calls)))
