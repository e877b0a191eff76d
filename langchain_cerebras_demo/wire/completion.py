"""What a completion says, as typed events: one stream chunk or one whole answer at a time.

Shapes and oddities: the API's own types (cerebras-cloud-sdk-python, ``types/chat/chat_completion.py``) and recordings of
the real service. The decoder emits text, reasoning and tool calls as they come and holds back how it ended (finish
reasons, identity, usage, timing) until the end: usage may come with the last choice, behind it or on several chunks, and
must be counted once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from langchain_cerebras_demo.errors import APIResponseValidationError
from langchain_cerebras_demo.wire import failure

_DONE = b"[DONE]"


# Events are plain slotted dataclasses: a frozen one costs three times as much to make, and one is made a delta.


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of what the model thought before it answered."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class ToolCallFragment:
    """A piece of a tool call: ``id`` and ``name`` on its first fragment, ``arguments`` (JSON text) on any."""

    index: int | None
    id: str | None
    name: str | None
    arguments: str | None
    choice: int = 0


@dataclass(slots=True)
class LogprobsDelta:
    """Log probabilities of the tokens of one delta; ``of_reasoning`` tells the two lists of version 2 apart."""

    tokens: list[dict[str, Any]]
    of_reasoning: bool = False
    choice: int = 0


@dataclass(slots=True)
class Finish:
    """Why a choice ended: ``stop``, ``length``, ``tool_calls``, ``content_filter``, or ``None`` where none was said."""

    reason: str | None
    choice: int = 0


@dataclass(slots=True)
class Identity:
    """Which answer this is: the service's id, the model that served it, its fingerprint, the tier it ran on."""

    id: str | None
    model: str | None
    system_fingerprint: str | None
    service_tier: str | None = None


@dataclass(slots=True)
class Usage:
    """Token counts of the whole answer; ``completion_tokens`` include the reasoning. ``None``: not reported."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    image_tokens: int | None = None
    reasoning_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


@dataclass(slots=True)
class Timing:
    """The server's own ``time_info``: queue, prompt, completion and total time in seconds, ``created`` in Unix time."""

    time_info: dict[str, float]


Event = TextDelta | ReasoningDelta | ToolCallFragment | LogprobsDelta | Finish | Identity | Usage | Timing


@dataclass(slots=True)
class CompletionDecoder:
    """Collects one answer, streamed or whole.

    ``complete`` says whether it has ended as the service ends one: every choice that began has its finish reason, or
    ``[DONE]`` came. ``done`` says that ``[DONE]`` came or the answer was a whole one: nothing more is to be read.
    """

    done: bool = False
    _finishes: dict[int, str | None] = field(default_factory=dict)
    _identity: Identity | None = None
    _usage: dict[str, Any] | None = None
    _time_info: dict[str, float] | None = None
    _text: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the answer has ended properly."""
        return self.done or (bool(self._finishes) and None not in self._finishes.values())

    @property
    def text(self) -> str:
        """The text of the first choice so far."""
        return "".join(self._text)

    def feed(self, name: str, data: bytes) -> list[Event]:
        """The events of one server-sent event.

        Args:
            name: the event's name; ``error`` marks a failure whatever its shape.
            data: its data.

        Raises:
            APIStatusError: the event speaks of an error.
            APIResponseValidationError: the event is no JSON object.
        """
        if self.done:
            return []  # nothing counts behind [DONE]
        if data == _DONE:
            self.done = True
            return []
        chunk = _to_object(data, "an event of the stream")
        if name == "error" or failure.is_failure(chunk):
            raise failure.from_event(chunk)
        return self._read(chunk, "delta", data)

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a whole answer, its end included.

        Raises:
            APIStatusError: the body is an error, although the status was 200.
            APIResponseValidationError: the body is no JSON object, or has no choices.
        """
        answer = _to_object(body, "the answer")
        if failure.is_failure(answer):
            raise failure.from_event(answer)
        if not answer.get("choices"):
            raise APIResponseValidationError("the answer has no choices", status_code=200)
        events = self._read(answer, "message", body)
        self.done = True
        return events + self.end()

    def end(self) -> list[Event]:
        """How the answer ended: a ``Finish`` a choice, then what is known of identity, usage and timing, each once."""
        events: list[Event] = [Finish(reason, choice) for choice, reason in sorted(self._finishes.items())]
        if self._identity is not None:
            events.append(self._identity)
        if self._usage is not None:
            events.append(_to_usage(self._usage))
        if self._time_info is not None:
            events.append(Timing(self._time_info))
        return events

    def _read(self, chunk: dict[str, Any], said: str, data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            self._note(chunk)
            for position, choice in enumerate(chunk.get("choices") or ()):  # typed nullable
                index = choice.get("index", position)
                self._read_choice(index, choice, choice.get(said) or {}, events)
        except (AttributeError, TypeError):  # a list, a number or a word where an object belongs
            raise APIResponseValidationError(
                f"the answer has not the shape of a completion: {data[:200]!r}", status_code=200
            ) from None
        return events

    def _note(self, chunk: dict[str, Any]) -> None:
        """Latches what must be said once, whichever chunk it comes on; a later figure replaces an earlier one."""
        if self._identity is None and "id" in chunk:
            self._identity = Identity(chunk.get("id"), chunk.get("model"), chunk.get("system_fingerprint"))
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        if chunk.get("time_info"):
            self._time_info = chunk["time_info"]
        # Documented as service_tier_used for "auto", later seen as service_tier: either is taken.
        tier = chunk.get("service_tier") or chunk.get("service_tier_used")
        if tier and self._identity is not None:
            self._identity.service_tier = tier

    def _read_choice(self, index: int, choice: dict[str, Any], said: dict[str, Any], events: list[Event]) -> None:
        reasoning = said.get("reasoning")
        if reasoning:
            events.append(ReasoningDelta(reasoning, index))
        text = said.get("content")
        if text:
            if not isinstance(text, str):
                raise TypeError
            events.append(TextDelta(text, index))
            if index == 0:
                self._text.append(text)
        for position, call in enumerate(said.get("tool_calls") or ()):
            function = call.get("function") or {}
            # Whole answers number no calls: their place in the list is their number.
            number = call.get("index", position)
            fragment = ToolCallFragment(number, call.get("id"), function.get("name"), function.get("arguments"), index)
            events.append(fragment)
        for key, of_reasoning in (("logprobs", False), ("reasoning_logprobs", True)):
            tokens = (choice.get(key) or {}).get("content")
            if tokens:
                events.append(LogprobsDelta(tokens, of_reasoning, index))
        reason = choice.get("finish_reason")
        if reason is not None or index not in self._finishes:
            self._finishes[index] = reason


def _to_object(data: bytes, what: str) -> dict[str, Any]:
    try:
        decoded = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _not_json(data, what, error) from None
    if not isinstance(decoded, dict):
        raise APIResponseValidationError(f"{what} is JSON but no object: {data[:100]!r}", status_code=200)
    return decoded


def _not_json(data: bytes, what: str, error: ValueError) -> APIResponseValidationError:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return APIResponseValidationError(f"{what} is not UTF-8: {data[:100]!r}", status_code=200)
    if text.lstrip()[:1] == "<":
        return APIResponseValidationError(
            f"{what} is an HTML page, not JSON: a proxy or a login page stands in between ({text.strip()[:100]!r})",
            status_code=200,
        )
    return APIResponseValidationError(f"{what} is not JSON ({error}): {text[:200]!r}", status_code=200)


def _to_usage(usage: dict[str, Any]) -> Usage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    prompt_tokens = usage.get("prompt_tokens") or 0
    completion_tokens = usage.get("completion_tokens") or 0
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=usage.get("total_tokens") or prompt_tokens + completion_tokens,
        cached_tokens=prompt.get("cached_tokens"),
        # On the wire at the top in July 2026 and under the details in August: read both places.
        image_tokens=prompt.get("image_tokens", usage.get("image_tokens")),
        reasoning_tokens=completion.get("reasoning_tokens"),
        accepted_prediction_tokens=completion.get("accepted_prediction_tokens"),
        rejected_prediction_tokens=completion.get("rejected_prediction_tokens"),
    )
