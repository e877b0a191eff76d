"""Decodes a completion to typed events: one chunk of a stream or one whole answer at a time.

The shapes are those of the API's own types (cerebras-cloud-sdk-python, ``types/chat/chat_completion.py``) and of recordings
of the real service. The decoder emits text, reasoning and tool calls as they arrive, but finish reasons, identity, usage and
timing only at the end: usage may come with the last choice, after it or on several chunks, and must be counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from langchain_cerebras_demo.errors import APIResponseValidationError
from langchain_cerebras_demo.wire import failure, repair
from langchain_cerebras_demo.wire.metadata import FactReader, Usage, to_count
from langchain_cerebras_demo.wire.thinking import Piece, ThinkSplitter
from langchain_cerebras_demo.wire.tool_calls import ToolCallFragment, ToolCallTracker, join_fragments

T = TypeVar("T")
E = TypeVar("E")

__all__ = [
    "CompletionDecoder",
    "Event",
    "Finish",
    "Identity",
    "LogprobsDelta",
    "ReasoningDelta",
    "RefusalDelta",
    "TextDelta",
    "Timing",
    "ToolCallFragment",
    "Usage",
    "with_whole_calls",
]

_DONE = b"[DONE]"

# The keys that every chunk with text repeats. A chunk with any other key is read key by key.
_KEYS_OF_EVERY_CHUNK = frozenset({"id", "choices", "created", "model", "system_fingerprint", "object"})

_REASONING_KEYS = frozenset({"reasoning", "reasoning_content"})
_LOGPROBS_KEYS = (("logprobs", False), ("reasoning_logprobs", True))
_TEXT_KEYS = ("content", "reasoning", "reasoning_content", "refusal")


# Events are plain slotted dataclasses: a frozen one takes three times as long to make, and each delta needs one.


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of the reasoning."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class RefusalDelta:
    """A piece of the text with which the model declines to answer."""

    text: str
    choice: int = 0


@dataclass(slots=True)
class LogprobsDelta:
    """Log probabilities of the tokens of one delta; ``of_reasoning`` says which of the two lists of version 2 they are in."""

    tokens: list[dict[str, Any]]
    of_reasoning: bool = False
    choice: int = 0


@dataclass(slots=True)
class Finish:
    """Why a choice ended: ``stop``, ``length``, ``tool_calls``, ``content_filter``, or ``None`` if it is not known.

    ``broken_calls`` are the tool calls whose arguments are not a JSON object, for example because ``length`` cut them off,
    each as one fragment. ``is_silent`` says that there was no text, refusal or tool call, for example because reasoning has
    used up all tokens; ``is_refusal`` that there was a text of refusal, with any reason.
    """

    reason: str | None
    choice: int = 0
    broken_calls: list[ToolCallFragment] = field(default_factory=list)
    is_silent: bool = False
    is_refusal: bool = False


@dataclass(slots=True)
class Identity:
    """The answer's id, the model that produced it, its fingerprint and the service tier."""

    id: str | None
    model: str | None
    system_fingerprint: str | None
    service_tier: str | None = None


@dataclass(slots=True)
class Timing:
    """The server's own ``time_info``: queue, prompt, completion and total time in seconds, ``created`` in Unix time."""

    time_info: dict[str, float]


Event = (
    TextDelta | ReasoningDelta | RefusalDelta | ToolCallFragment | LogprobsDelta | Finish | Identity | Usage | Timing
)


@dataclass(
    slots=True, repr=False
)  # a traceback that shows variables must not show the answer, which may repeat the key
class CompletionDecoder:
    """Decodes one answer, streamed or whole.

    ``complete`` says whether it has ended properly: every choice that began has its finish reason, or ``[DONE]`` came.
    ``done`` says that ``[DONE]`` came or the answer was not streamed, so nothing more has to be read. ``ended`` says that
    ``end`` was called. ``hide`` removes from an answer what errors may not repeat. ``salt`` is a part of the ids that tool
    calls without one get: with different salts, the ids of two answers differ. ``closing_tag_only`` says that the content
    begins with the reasoning, without an opening tag.
    """

    done: bool = False
    ended: bool = False
    hide: Callable[[bytes], bytes] = bytes
    salt: str = ""
    closing_tag_only: bool = False
    _finishes: dict[int, str | None] = field(default_factory=dict)
    _identity: Identity | None = None
    _usage: Usage | None = None
    _time_info: dict[str, float] | None = None
    _text: list[str] = field(default_factory=list)
    _splitters: dict[int, ThinkSplitter] = field(default_factory=dict)
    _calls: dict[int, ToolCallTracker] = field(default_factory=dict)
    _reasoned: set[int] = field(default_factory=set)
    _refused: set[int] = field(default_factory=set)
    _said_in_messages: set[tuple[int, str]] = field(default_factory=set)
    _facts: FactReader = field(default_factory=FactReader)
    _halves: repair.Halves = field(default_factory=repair.Halves)
    _has_halves: bool = False  # whether a chunk has come that may hold half of a character
    _flows: bool = False  # whether the first choice's text has begun, so that _lone_text may be used

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
        """Whether the answer has begun: a choice was mentioned, even without text."""
        return bool(self._finishes)

    @property
    def usage(self) -> Usage | None:
        """The token counts that have arrived, or ``None``."""
        return self._usage

    def flush(self) -> list[Event]:
        """Return events for text that was held back as a possible beginning of a tag or a character, when no more will arrive."""
        events: list[Event] = []
        for (choice, key), text in self._halves.rest().items():
            self._read_choice(choice, {}, {key: text}, events)
        for choice, tracker in self._calls.items():
            events += tracker.close(choice)
        for choice, splitter in self._splitters.items():
            self._say_pieces(splitter.finish(), choice, events)
        return events

    def feed(self, name: str, data: bytes) -> list[Event]:
        """Return the events of one server-sent event; see ``feed_all``."""
        events: list[Event] = []
        self.feed_all([(name, data)], events)
        return events

    def feed_all(self, arrived: Iterable[tuple[str, bytes]], events: list[Event]) -> None:
        """Append the events of several server-sent events to ``events``. If one fails, the events before it are appended.

        Args:
            arrived: names and data; the name ``error`` marks an error of any shape.
            events: the list that is appended to.

        Raises:
            APIStatusError: an event reports an error.
            APIResponseValidationError: an event is not a JSON object, or does not have the shape of a completion.
        """
        for name, data in arrived:
            if self.done:
                return  # anything after [DONE] is ignored
            if data == _DONE:
                self.done = True
            elif name == "error":
                raise failure.from_event(failure.to_json_or_text(data), self.hide)
            elif data.strip():  # an event without data is ignored, with any name
                chunk = self._to_object(data, "an event of the stream")
                if self._flows and (text := _lone_text(chunk)):
                    self._text.append(text)
                    events.append(TextDelta(text))
                elif failure.is_failure(chunk):
                    raise failure.from_event(failure.to_json_or_text(data), self.hide)
                else:
                    events += self._read(chunk, "delta", "message", data)

    def feed_whole(self, body: bytes) -> list[Event]:
        """Return the events of a whole answer, including those of ``end``.

        Raises:
            APIStatusError: the body is an error, although the status was 200.
            APIResponseValidationError: the body is not a JSON object, or has no choices.
        """
        answer = self._to_object(body, "the answer")
        if failure.is_failure(answer):
            raise failure.from_event(failure.to_json_or_text(body), self.hide)
        if not answer.get("choices"):
            raise APIResponseValidationError("the answer has no choices", status_code=200)
        events = self._read(answer, "message", "delta", body)
        self.done = True
        return events + self.end()

    def end(self) -> list[Event]:
        """Return the last events: a ``Finish`` per choice, then identity, usage and timing, if they are known, each once."""
        self.ended = True
        events = self.flush()
        self._say_unclosed(events)
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
        has_calls = tracker is not None and bool(tracker.calls)
        has_refused = choice in self._refused
        is_silent = not has_calls and not has_refused and not (splitter and splitter.is_plain)
        return Finish(reason, choice, tracker.broken(choice) if tracker else [], is_silent, has_refused)

    def _say_unclosed(self, events: list[Event]) -> None:
        """Add the text of a model that never closed its reasoning.

        If it ran out of tokens, it was still reasoning, as in all recordings without a closing tag. If it stopped by itself,
        what it wrote is the answer, as with a response format that does not allow reasoning. By then, the text has been
        emitted as reasoning, so it is emitted again as text: the answer must not be empty.
        """
        for choice, splitter in self._splitters.items():
            if (
                self._finishes.get(choice) == "stop"
                and choice not in self._calls
                and (text := splitter.take_unclosed())
            ):
                self._say(text, choice, events)

    def _read(self, chunk: dict[str, Any], usual: str, other: str, data: bytes) -> list[Event]:
        """Return the events of a chunk. Its choices have the key ``usual`` or else ``other``: ``delta`` or ``message``."""
        events: list[Event] = []
        try:
            if self._has_halves:
                self._join_halves(chunk)
                chunk = repair.mend_all(chunk, but="arguments")  # which come in pieces too: the tracker joins them
            self._note(chunk)
            for position, choice in enumerate(chunk.get("choices") or ()):  # typed nullable
                index = _to_index(choice, position)
                said = choice.get(usual) or {}
                if unusual := choice.get(other):
                    said = self._unsaid(index, unusual) | {key: value for key, value in said.items() if value}
                self._read_choice(index, choice, said, events)
        except (AttributeError, TypeError, ValueError) as error:  # a list, a number or a string instead of an object
            raise APIResponseValidationError(
                f"the answer does not have the shape of a completion: {self.hide(data)[:200]!r}", status_code=200
            ) from error
        if self._halves:
            self._flows = False
        return events

    def _unsaid(self, index: int, message: dict[str, Any]) -> dict[str, Any]:
        """Return what a message in place of a delta adds: after deltas, a message repeats their content."""
        known = {
            "content": self._splitters,
            **dict.fromkeys(_REASONING_KEYS, self._reasoned),
            "refusal": self._refused,
            "tool_calls": self._calls,
        }
        unsaid = {
            key: value
            for key, value in message.items()
            if (index, key) in self._said_in_messages or index not in known.get(key, ())
        }
        self._said_in_messages.update((index, key) for key in unsaid)
        return unsaid

    def _to_object(self, data: bytes, what: str) -> dict[str, Any]:
        try:
            decoded = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            decoded = self._to_lenient(data, what, error)
        if not isinstance(decoded, dict):
            raise APIResponseValidationError(
                f"{what} is JSON, but not an object: {self.hide(data)[:100]!r}", status_code=200
            )
        return decoded

    def _to_lenient(self, data: bytes, what: str, error: ValueError) -> Any:
        """Return the value of a document that orjson refuses. From then on, texts are checked for halves of characters."""
        try:
            decoded = repair.loads_with_halves(data)
        except (ValueError, RecursionError):
            raise _not_json(self.hide(data), what, error) from None
        self._has_halves, self._flows = True, False
        if b"NaN" in data or b"Infinity" in data:
            self._facts.leave_out("a number that is not finite")
        return decoded

    def _join_halves(self, chunk: dict[str, Any]) -> None:
        """Hold back half of a character at the end of a text until the text's next piece arrives."""
        for position, choice in enumerate(chunk.get("choices") or ()):
            index = _to_index(choice, position)
            for said in filter(None, (choice.get("delta"), choice.get("message"))):
                for key in _TEXT_KEYS:
                    if isinstance(text := said.get(key), str):
                        said[key] = self._halves.join((index, key), text)

    def _note(self, chunk: dict[str, Any]) -> None:
        """Keep what is emitted once at the end, from any chunk; a later figure replaces an earlier one."""
        if self._identity is None and (chunk.get("id") or chunk.get("model")):
            self._identity = Identity(*(self._facts.word(chunk, key) for key in ("id", "model", "system_fingerprint")))
        if chunk.get("usage"):
            self._usage = self._facts.usage(chunk["usage"]) or self._usage
        if chunk.get("time_info"):
            self._time_info = self._facts.time_info(chunk["time_info"]) or self._time_info
        # Documented as service_tier_used for "auto", later seen as service_tier: both are read.
        if ("service_tier" in chunk or "service_tier_used" in chunk) and self._identity is not None:
            tier = self._facts.word(chunk, "service_tier") or self._facts.word(chunk, "service_tier_used")
            self._identity.service_tier = tier or self._identity.service_tier

    def _read_choice(self, index: int, choice: dict[str, Any], said: dict[str, Any], events: list[Event]) -> None:
        # Other servers of this protocol call it reasoning_content. If both are present, they are the same.
        if reasoning := _typed(said.get("reasoning") or said.get("reasoning_content"), str):
            self._reasoned.add(index)
            events.append(ReasoningDelta(reasoning, index))
        if (content := said.get("content")) and (text := _to_text(content)):
            self._read_text(text, index, events)
        if refusal := _typed(said.get("refusal"), str):
            self._refused.add(index)
            events.append(RefusalDelta(refusal, index))
        if said.get("tool_calls") or said.get("function_call"):
            tracker = self._calls.setdefault(index, ToolCallTracker(f"call_{self.salt}{index}_"))
            events.extend(tracker.read(said, index, is_message=bool(choice.get("message"))))
        for key, of_reasoning in _LOGPROBS_KEYS:
            if choice.get(key) and (tokens := self._facts.tokens(choice[key], key)):
                events.append(LogprobsDelta(tokens, of_reasoning, index))
        reason = choice.get("finish_reason")
        if reason or index not in self._finishes:
            self._finishes[index] = str(reason) if reason else None  # of any type: it ends the choice

    def _read_text(self, text: str, index: int, events: list[Event]) -> None:
        splitter = self._splitters.get(index)
        if splitter is None:
            starts = self.closing_tag_only and index not in self._reasoned  # otherwise reasoning has its own field
            splitter = self._splitters[index] = ThinkSplitter(closing_tag_only=starts)
        if splitter.is_plain:
            self._say(text, index, events)
            self._flows = self._flows or (index == 0 and self._identity is not None)
        else:
            self._say_pieces(splitter.feed(text), index, events)

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


def with_whole_calls(events: Iterable[E]) -> list[E]:
    """Return the events with each call as one fragment, in the place of its first one."""
    fragments: dict[tuple[int, int], list[ToolCallFragment]] = {}
    joined: list[Any] = []
    for event in events:
        if not isinstance(event, ToolCallFragment):
            joined.append(event)
        elif (known := fragments.get((event.choice, event.index))) is not None:
            known.append(event)
        else:
            fragments[event.choice, event.index] = [event]
            joined.append(event)
    for place, event in enumerate(joined):
        if isinstance(event, ToolCallFragment):
            joined[place] = join_fragments(fragments[event.choice, event.index])
    return joined


def _lone_text(chunk: dict[str, Any]) -> str | None:
    """Return the text of a chunk that contains nothing else, as most do, in a third of the time of reading all keys."""
    try:
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        text = delta["content"]
        is_lone = (
            type(text) is str
            and len(delta) == 1
            and len(choice) == 2
            and choice["index"] == 0
            and _KEYS_OF_EVERY_CHUNK.issuperset(chunk)
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
            f"{what} is an HTML page, not JSON: check base_url, and for a proxy or a login page ({text.strip()[:100]!r})",
            status_code=200,
        )
    return APIResponseValidationError(f"{what} is not JSON ({error}): {text[:200]!r}", status_code=200)


def _to_index(choice: dict[str, Any], position: int) -> int:
    """Return the choice's index, or its position if it has no readable index."""
    index = choice.get("index")
    if type(index) is int and index >= 0:
        return index
    index = to_count(index)
    return position if index is None else index


def _to_text(content: Any) -> str | None:
    """Return the text of ``content``, which may be a list of parts."""
    if isinstance(content, list):
        texts = [part if isinstance(part, str) else _typed(part.get("text"), str) for part in content]
        return "".join(text for text in texts if text)
    return _typed(content, str)


def _typed(value: Any, kind: type[T]) -> T | None:
    """Return ``value`` if it is null or of this type. Raises ``TypeError`` otherwise."""
    if value is None or isinstance(value, kind):
        return value
    raise TypeError
