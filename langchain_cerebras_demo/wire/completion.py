"""What a completion says, as typed events: one stream chunk or one whole answer at a time.

Shapes and oddities: the API's own types (cerebras-cloud-sdk-python, ``types/chat/chat_completion.py``) and recordings of
the real service. The decoder emits text, reasoning and tool calls as they come and holds back how it ended (finish
reasons, identity, usage, timing) until the end: usage may come with the last choice, behind it or on several chunks, and
must be counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from langchain_cerebras_demo.errors import APIResponseValidationError
from langchain_cerebras_demo.wire import failure
from langchain_cerebras_demo.wire.thinking import Piece, ThinkSplitter
from langchain_cerebras_demo.wire.tool_calls import ToolCallFragment, ToolCallTracker

T = TypeVar("T")

__all__ = [
    "CompletionDecoder",
    "Event",
    "Finish",
    "Identity",
    "LogprobsDelta",
    "ReasoningDelta",
    "TextDelta",
    "Timing",
    "ToolCallFragment",
    "Usage",
]

_DONE = b"[DONE]"

# What a chunk may say besides a piece of text: with one of these it is read key by key.
_BESIDE_A_DELTA = frozenset({"finish_reason", "logprobs", "reasoning_logprobs"})
_BESIDE_CHOICES = frozenset({"error", "usage", "time_info", "service_tier", "service_tier_used"})


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
class LogprobsDelta:
    """Log probabilities of the tokens of one delta; ``of_reasoning`` tells the two lists of version 2 apart."""

    tokens: list[dict[str, Any]]
    of_reasoning: bool = False
    choice: int = 0


@dataclass(slots=True)
class Finish:
    """Why a choice ended: ``stop``, ``length``, ``tool_calls``, ``content_filter``, or ``None`` where none was said.

    ``broken_calls`` names the tool calls whose arguments are no JSON, as a cut by ``length`` leaves them; ``is_silent`` says
    that neither text nor a tool call came, as when reasoning has used up all tokens.
    """

    reason: str | None
    choice: int = 0
    broken_calls: list[str] = field(default_factory=list)
    is_silent: bool = False


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
    ``ended`` says that ``end`` has told how it ended. ``hide`` takes out of an answer what no error may repeat.
    """

    done: bool = False
    ended: bool = False
    hide: Callable[[bytes], bytes] = bytes
    _finishes: dict[int, str | None] = field(default_factory=dict)
    _identity: Identity | None = None
    _usage: Usage | None = None
    _time_info: dict[str, float] | None = None
    _text: list[str] = field(default_factory=list)
    _splitters: dict[int, ThinkSplitter] = field(default_factory=dict)
    _calls: dict[int, ToolCallTracker] = field(default_factory=dict)
    _flows: bool = False

    @property
    def complete(self) -> bool:
        """Whether the answer has ended properly."""
        return self.done or (bool(self._finishes) and None not in self._finishes.values())

    @property
    def text(self) -> str:
        """The text of the first choice so far."""
        return "".join(self._text)

    @property
    def has_choices(self) -> bool:
        """Whether the answer has begun: a choice was mentioned, with or without a word."""
        return bool(self._finishes)

    @property
    def usage(self) -> Usage | None:
        """The token counts, as far as the service has told them."""
        return self._usage

    def flush(self) -> list[Event]:
        """What was held back because it could have become a tag: at the end, or when nothing more will come."""
        events: list[Event] = []
        for choice, splitter in self._splitters.items():
            self._say_pieces(splitter.finish(), choice, events)
        return events

    def feed(self, name: str, data: bytes) -> list[Event]:
        """The events of one server-sent event; see ``feed_all``."""
        events: list[Event] = []
        self.feed_all([(name, data)], events)
        return events

    def feed_all(self, arrived: Iterable[tuple[str, bytes]], events: list[Event]) -> None:
        """Puts the events of several server-sent events behind ``events``; where one fails, those before it are there.

        Args:
            arrived: names and data; the name ``error`` marks a failure whatever its shape.
            events: is added to.

        Raises:
            APIStatusError: an event speaks of an error.
            APIResponseValidationError: an event is no JSON object, or not in the shape of a completion.
        """
        for name, data in arrived:
            if self.done:
                return  # nothing counts behind [DONE]
            if data == _DONE:
                self.done = True
            elif name == "error":
                raise failure.from_event(failure.to_json_or_text(data), self.hide)
            elif name or data.strip():  # an empty event says nothing
                chunk = self._to_object(data, "an event of the stream")
                if self._flows and (text := _lone_text(chunk)):
                    self._text.append(text)
                    events.append(TextDelta(text))
                elif failure.is_failure(chunk):
                    raise failure.from_event(failure.to_json_or_text(data), self.hide)
                else:
                    events += self._read(chunk, "delta", data)

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a whole answer, its end included.

        Raises:
            APIStatusError: the body is an error, although the status was 200.
            APIResponseValidationError: the body is no JSON object, or has no choices.
        """
        answer = self._to_object(body, "the answer")
        if failure.is_failure(answer):
            raise failure.from_event(failure.to_json_or_text(body), self.hide)
        if not answer.get("choices"):
            raise APIResponseValidationError("the answer has no choices", status_code=200)
        events = self._read(answer, "message", body)
        self.done = True
        return events + self.end()

    def end(self) -> list[Event]:
        """How the answer ended: a ``Finish`` a choice, then what is known of identity, usage and timing, each once."""
        self.ended = True
        events = self.flush()
        events += [self._finish(choice, reason) for choice, reason in sorted(self._finishes.items())]
        if self._identity is not None:
            events.append(self._identity)
        if self._usage is not None:
            events.append(self._usage)
        if self._time_info is not None:
            events.append(Timing(self._time_info))
        return events

    def _finish(self, choice: int, reason: str | None) -> Finish:
        splitter, tracker = self._splitters.get(choice), self._calls.get(choice)
        is_silent = not tracker and not (splitter and splitter.is_plain)
        return Finish(reason, choice, tracker.broken() if tracker else [], is_silent)

    def _read(self, chunk: dict[str, Any], said: str, data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            self._note(chunk)
            for position, choice in enumerate(chunk.get("choices") or ()):  # typed nullable
                index = _typed(choice.get("index"), int)
                self._read_choice(position if index is None else index, choice, choice.get(said) or {}, events)
        except (AttributeError, TypeError, ValueError):  # a list, a number or a word where an object belongs
            raise APIResponseValidationError(
                f"the answer has not the shape of a completion: {self.hide(data)[:200]!r}", status_code=200
            ) from None
        return events

    def _to_object(self, data: bytes, what: str) -> dict[str, Any]:
        try:
            decoded = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise _not_json(self.hide(data), what, error) from None
        if not isinstance(decoded, dict):
            raise APIResponseValidationError(
                f"{what} is JSON but no object: {self.hide(data)[:100]!r}", status_code=200
            )
        return decoded

    def _note(self, chunk: dict[str, Any]) -> None:
        """Latches what must be said once, whichever chunk it comes on; a later figure replaces an earlier one."""
        if self._identity is None and (chunk.get("id") or chunk.get("model")):
            self._identity = Identity(*(_typed(chunk.get(key), str) for key in ("id", "model", "system_fingerprint")))
        if chunk.get("usage"):
            self._usage = _to_usage(chunk["usage"])
        if chunk.get("time_info"):
            self._time_info = _typed(chunk["time_info"], dict)
        # Documented as service_tier_used for "auto", later seen as service_tier: either is taken.
        tier = _typed(chunk.get("service_tier") or chunk.get("service_tier_used"), str)
        if tier and self._identity is not None:
            self._identity.service_tier = tier

    def _read_choice(self, index: int, choice: dict[str, Any], said: dict[str, Any], events: list[Event]) -> None:
        reasoning = _typed(said.get("reasoning"), str)
        if reasoning:
            events.append(ReasoningDelta(reasoning, index))
        text = _typed(said.get("content"), str)
        if text:
            splitter = self._splitters.get(index)
            if splitter is None:
                splitter = self._splitters[index] = ThinkSplitter()
            if splitter.is_plain:
                self._say(text, index, events)
                self._flows = self._flows or (index == 0 and self._identity is not None)
            else:
                self._say_pieces(splitter.feed(text), index, events)
        calls = _typed(said.get("tool_calls"), list)
        if calls:
            tracker = self._calls.setdefault(index, ToolCallTracker())
            events.extend(tracker.add(call, index) for call in calls)
        for key, of_reasoning in (("logprobs", False), ("reasoning_logprobs", True)):
            tokens = _typed((choice.get(key) or {}).get("content"), list)
            if tokens:
                events.append(LogprobsDelta([dict(token) for token in tokens], of_reasoning, index))
        reason = _typed(choice.get("finish_reason"), str) or None
        if reason is not None or index not in self._finishes:
            self._finishes[index] = reason

    def _say(self, text: str, index: int, events: list[Event]) -> None:
        events.append(TextDelta(text, index))
        if index == 0:
            self._text.append(text)

    def _say_pieces(self, pieces: list[Piece], index: int, events: list[Event]) -> None:
        for kind, text in pieces:
            if kind == "reasoning":
                events.append(ReasoningDelta(text, index))
            else:
                self._say(text, index, events)


def _lone_text(chunk: dict[str, Any]) -> str | None:
    """The text of a chunk that says nothing else, as nearly all of an answer do: a third of what it costs to ask for all."""
    try:
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        text = delta["content"]
        is_lone = (
            type(text) is str
            and len(delta) == 1
            and choice["index"] == 0
            and _BESIDE_A_DELTA.isdisjoint(choice)
            and _BESIDE_CHOICES.isdisjoint(chunk)
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return text if is_lone else None


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
    prompt_tokens = _typed(usage.get("prompt_tokens"), int) or 0
    completion_tokens = _typed(usage.get("completion_tokens"), int) or 0
    # On the wire at the top in July 2026 and under the details in August: read both places.
    image_tokens = _typed(prompt.get("image_tokens"), int)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=_typed(usage.get("total_tokens"), int) or prompt_tokens + completion_tokens,
        cached_tokens=_typed(prompt.get("cached_tokens"), int),
        image_tokens=_typed(usage.get("image_tokens"), int) if image_tokens is None else image_tokens,
        reasoning_tokens=_typed(completion.get("reasoning_tokens"), int),
        accepted_prediction_tokens=_typed(completion.get("accepted_prediction_tokens"), int),
        rejected_prediction_tokens=_typed(completion.get("rejected_prediction_tokens"), int),
    )


def _typed(value: Any, kind: type[T]) -> T | None:
    """``value``, which may be null. Raises ``TypeError`` where it is of another kind."""
    if value is None or isinstance(value, kind):
        return value
    raise TypeError
